"""The client asks real sockets here; only its waiting takes no time."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fake_time import FakeTime
from upstream import Said, Upstream, busy, json_of, redirect, zipped

from service import VERSION
from service.errors import BadRequest, ServiceError, Unanswered
from service.feeds import http_client
from service.feeds.http_client import HttpClient

Clients = Callable[..., HttpClient]

NEVER = 1000.0  # per second: a ceiling that a test does not meet
RIDES = [{"id": 7, "name": "Expédition", "wait_time": 45}]
TAG, DATE = {"ETag": '"v1"'}, {"Last-Modified": "Thu, 01 May 2025 12:00:00 GMT"}


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def upstream(time: FakeTime) -> Iterator[Upstream]:
    with Upstream(clock=time.monotonic, on_drip=lambda: time.sleep(1)) as server:
        yield server


@pytest.fixture
def client(time: FakeTime) -> Iterator[Clients]:
    """Clients whose pauses are 4 and 8 s and whose ceilings are out of the way, where a test does not say otherwise."""
    made: list[HttpClient] = []

    def make(**said: Any) -> HttpClient:
        usual = {"per_second": NEVER, "total_per_second": NEVER, "clock": time.monotonic, "sleep": time.sleep}
        made.append(HttpClient(**{**usual, "jitter": lambda: 1.0, **said}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def failure(client: HttpClient, url: str) -> str:
    with pytest.raises(Unanswered) as raised:
        client.get(url)
    return str(raised.value)


# --- an answer -------------------------------------------------------------------------------------------------------


def test_an_answer_is_whole_and_says_where_it_is_from(upstream: Upstream, client: Clients) -> None:
    url = upstream.script("/parks.json", json_of(RIDES, headers={"X-Source": "theirs"}))
    answer = client().get(url)
    assert (answer.url, answer.status, answer.headers["x-source"]) == (url, 200, "theirs")
    assert answer.body == json.dumps(RIDES).encode()
    assert json.loads(answer.body) == RIDES


def test_a_request_says_who_asks_and_takes_gzip(upstream: Upstream, client: Clients) -> None:
    url = upstream.script("/parks.json", json_of(RIDES))
    client(contact="mailto:ops@example.org").get(url)
    client().get(url)
    first, second = upstream.asked()
    assert first.headers["user-agent"] == f"theme-park-hall-of-shame/{VERSION} (+mailto:ops@example.org)"
    assert second.headers["user-agent"] == f"theme-park-hall-of-shame/{VERSION}"
    assert (first.headers["accept-encoding"], first.headers["accept"]) == ("gzip", "application/json")


@pytest.mark.parametrize("contact", ["two\r\nX-Line: s", "ops@exämple.org"])
def test_a_contact_that_no_header_can_hold_is_refused(client: Clients, contact: str) -> None:
    with pytest.raises(BadRequest, match="plain ASCII"):
        client(contact=contact)


def test_the_query_is_asked_as_it_was_given(upstream: Upstream, client: Clients) -> None:
    url = upstream.script("/v1/forecast", json_of({})) + "?latitude=33.8&hourly=rain,snowfall&name=a%20b"
    client().get(url)
    assert [one.target for one in upstream.asked()] == ["/v1/forecast?latitude=33.8&hourly=rain,snowfall&name=a%20b"]


def test_a_connection_is_used_again_even_after_nothing_has_changed(upstream: Upstream, client: Clients) -> None:
    url, asking = upstream.script("/live", json_of(RIDES, headers=TAG)), client()
    statuses = [asking.get(url).status for _ in range(3)]
    assert (statuses, {one.connection for one in upstream.asked()}) == ([200, 304, 304], {1})


def test_no_cookie_is_sent_back(upstream: Upstream, client: Clients) -> None:
    url, asking = upstream.script("/live", json_of(RIDES, headers={"Set-Cookie": "who=us"})), client()
    for _ in range(2):
        asking.get(url)
    assert not any("cookie" in one.headers for one in upstream.asked())


def test_proxies_of_the_environment_are_not_asked(
    upstream: Upstream, client: Clients, monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, closed_port())
    monkeypatch.setenv("NO_PROXY", "")
    assert json.loads(client().get(upstream.script("/live", json_of(RIDES))).body) == RIDES


# --- attempts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [
    Said(status=500), Said(status=503), Said(status=599), busy(), Said(drops="at once"), Said(drops="in headers"),
    Said(drops="in body"), Said(b"{}", declared=3, drops="in body"),
], ids=["500", "503", "599", "429", "no answer", "half a head", "half a body", "a body shorter than declared"])
def test_what_may_pass_is_asked_again(upstream: Upstream, client: Clients, time: FakeTime, first: Said) -> None:
    url = upstream.script("/live", first, json_of(RIDES))
    assert json.loads(client().get(url).body) == RIDES
    assert (len(upstream.asked()), time.slept) == (2, [4.0])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 410, 418, 451, 204, 206, 300])
def test_what_will_not_pass_is_asked_once(upstream: Upstream, client: Clients, status: int) -> None:
    url = upstream.script("/live", Said(b"", status), json_of(RIDES))
    assert failure(client(), url) == f"127.0.0.1 answered with status {status}."
    assert len(upstream.asked()) == 1


@pytest.mark.parametrize(("said", "words"), [
    (Said(b"a body of theirs", 503, {"X-Token": "a secret"}), "answered with status 503"),
    (Said(drops="at once"), "did not give a whole answer"),
    (Said(b"{}", declared=100, drops="in body"), "did not give a whole answer"),
    (Said(silent=True), "did not answer in time"),
], ids=["status", "dropped", "too short", "silent"])
def test_what_does_not_pass_is_an_error_of_one_sentence(
    upstream: Upstream, client: Clients, said: Said, words: str,
) -> None:
    url = upstream.script("/live", said) + "?key=a%20secret"
    asking = client(read_seconds=0.05 if said.silent else 10.0)
    assert failure(asking, url) == f"127.0.0.1 {words}."
    assert len(upstream.asked()) == 3


def test_the_error_is_one_of_the_service(upstream: Upstream, client: Clients) -> None:
    with pytest.raises(ServiceError) as raised:
        client().get(f"{upstream.url}/nowhere")
    assert (type(raised.value), raised.value.status, raised.value.exit_code) == (Unanswered, 502, 1)


def test_nobody_there_is_tried_again_too(client: Clients, time: FakeTime) -> None:
    assert failure(client(), closed_port()) == "127.0.0.1 cannot be reached."
    assert time.slept == [4.0, 8.0]


def test_a_name_without_an_address_is_tried_again_too(
    client: Clients, time: FakeTime, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_arguments: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert failure(client(), "http://parks.example/live") == "parks.example cannot be reached."
    assert time.slept == [4.0, 8.0]


def test_pauses_double_up_to_the_longest(upstream: Upstream, client: Clients, time: FakeTime) -> None:
    url = upstream.script("/live", Said(status=500))
    failure(client(attempts=6, longest_pause_seconds=20.0), url)
    assert (time.slept, len(upstream.asked())) == ([4.0, 8.0, 16.0, 20.0, 20.0], 6)


def test_pauses_are_spread_over_their_second_half(upstream: Upstream, client: Clients, time: FakeTime) -> None:
    url, spread = upstream.script("/live", Said(status=500)), iter([0.0, 0.5])
    failure(client(jitter=lambda: next(spread)), url)
    assert time.slept == [2.0, 6.0]


def test_each_attempt_is_told_to_the_log(
    upstream: Upstream, client: Clients, caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "service.feeds.http_client"):
        client().get(upstream.script("/live", Said(status=500), json_of(RIDES)))
    assert caplog.messages == ["127.0.0.1 answered with status 500. Asking again in 4 s."]


# --- Retry-After -----------------------------------------------------------------------------------------------------


NOON = {"Date": "Thu, 01 May 2025 12:00:00 GMT"}


@pytest.mark.parametrize(("said", "second_at"), [
    (busy("30"), 30.0),
    (busy("30", status=503), 30.0),
    (busy("60"), 60.0),
    (busy("1"), 4.0),
    (busy("Thu, 01 May 2025 12:00:25 GMT", **NOON), 25.0),
    (busy("Thu, 01 May 2025 11:00:00 GMT", **NOON), 4.0),
    (busy("Thu, 01 May 2025 12:00:25", **NOON), 4.0),
    (busy("soon"), 4.0),
    (busy("-5"), 4.0),
    (busy("1e3"), 4.0),
    (busy("²"), 4.0),
], ids=["seconds", "503", "a minute", "less than the pause", "date", "past", "no zone", "word",
        "negative", "float", "superscript"])
def test_a_source_is_left_alone_for_as_long_as_it_says(
    upstream: Upstream, client: Clients, said: Said, second_at: float,
) -> None:
    client().get(upstream.script("/live", said, json_of(RIDES)))
    assert upstream.times() == pytest.approx([0.0, second_at])


@pytest.mark.parametrize(("said", "seconds"), [
    (busy("61"), 61), (busy("61", status=503), 61), (busy("9" * 5000), 3600),
    (busy("Fri, 02 May 2025 12:00:00 GMT", **NOON), 3600),
], ids=["more than a minute", "503", "digits", "tomorrow"])
def test_a_source_is_not_waited_for_longer_than_patience_lasts(
    upstream: Upstream, client: Clients, time: FakeTime, said: Said, seconds: int,
) -> None:
    asking = client()
    url = upstream.script("/live", said, json_of(RIDES))
    alone = f"to be left alone for {seconds} s."
    assert failure(asking, url) == f"127.0.0.1 answered with status {said.status}: {alone}"
    assert failure(asking, url) == f"127.0.0.1 wants {alone}"
    assert (upstream.times(), time.monotonic()) == ([0.0], 0.0)  # nobody has waited
    time.sleep(seconds)
    assert json.loads(asking.get(url).body) == RIDES


def test_a_source_that_is_busy_is_left_alone_by_all(upstream: Upstream, client: Clients) -> None:
    asking = client(attempts=1)
    failure(asking, upstream.script("/one", busy("30")))
    asking.get(upstream.script("/two", json_of(RIDES)))
    assert upstream.times() == [0.0, 30.0]


def test_another_source_is_asked_meanwhile(upstream: Upstream, client: Clients) -> None:
    asking = client(attempts=1)
    failure(asking, upstream.script("/one", busy("30")))
    upstream.script("/two", json_of(RIDES))
    asking.get(upstream.url_of("localhost") + "/two")
    assert upstream.times("localhost") == pytest.approx([0.0], abs=0.01)


# --- ceilings --------------------------------------------------------------------------------------------------------


def test_a_host_is_asked_no_more_often_than_its_ceiling(upstream: Upstream, client: Clients) -> None:
    asking = client(per_second=2.0)
    for path in "abcde":
        asking.get(upstream.script(f"/{path}", json_of(path)))
    assert upstream.times() == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_a_pause_of_ours_counts_towards_the_distance(upstream: Upstream, client: Clients, time: FakeTime) -> None:
    asking, url = client(per_second=1.0), upstream.script("/live", json_of(RIDES))
    asking.get(url)
    time.sleep(0.75)
    asking.get(url)
    time.sleep(5.0)
    asking.get(url)
    assert upstream.times() == [0.0, 1.0, 6.0]


def test_repetitions_and_redirects_count(upstream: Upstream, client: Clients) -> None:
    asking = client(per_second=0.1)
    upstream.script("/new", json_of(RIDES))
    asking.get(upstream.script("/old", Said(status=500), redirect("/new")))
    assert upstream.times() == [0.0, 10.0, 20.0]


def test_every_host_has_its_own_ceiling(upstream: Upstream, client: Clients) -> None:
    asking = client(per_second=1.0, total_per_second=float("inf"))
    upstream.script("/live", json_of(RIDES))
    for host in ("127.0.0.1", "localhost", "127.0.0.1", "localhost"):
        asking.get(upstream.url_of(host) + "/live")
    assert (upstream.times("127.0.0.1"), upstream.times("localhost")) == ([0.0, 1.0], [0.0, 1.0])


def test_all_hosts_have_one_ceiling_in_common(upstream: Upstream, client: Clients) -> None:
    asking = client(total_per_second=0.5)
    upstream.script("/live", json_of(RIDES))
    for host in ("127.0.0.1", "localhost", "127.0.0.1"):
        asking.get(upstream.url_of(host) + "/live")
    assert [one.at for one in upstream.asked()] == [0.0, 2.0, 4.0]


def test_threads_share_the_ceiling(upstream: Upstream, client: Clients, time: FakeTime) -> None:
    def sleep(seconds: float) -> None:
        upstream.wait_for(len(time.slept) + 1)  # what was let go must be there before time goes on
        time.sleep(seconds)

    asking, url = client(per_second=1.0, sleep=sleep), upstream.script("/live", json_of(RIDES))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(asking.get, [url] * 12))
    assert upstream.times() == [float(second) for second in range(12)]
    assert all(json.loads(answer.body) == RIDES for answer in answers)


def test_a_thread_that_waits_hears_that_the_source_is_busy(upstream: Upstream, client: Clients, time: FakeTime) -> None:
    """What one thread is told while another sleeps counts for that one, too."""
    said = iter([True])

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        if next(said, False):
            asking._pace("127.0.0.1").hold(30.0)

    asking, url = client(per_second=1.0, sleep=sleep), upstream.script("/live", json_of(RIDES))
    asking.get(url)
    asking.get(url)
    assert upstream.times() == [0.0, 31.0]


def test_waiting_can_be_ended(upstream: Upstream, client: Clients) -> None:
    def sleep(seconds: float) -> None:
        raise InterruptedError("the worker stops")

    asking, url = client(per_second=1.0, sleep=sleep), upstream.script("/live", json_of(RIDES))
    asking.get(url)
    for _ in range(2):  # no turn is lost by it
        with pytest.raises(InterruptedError):
            asking.get(url)


# --- deadlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_byte_now_and_then_is_no_answer(upstream: Upstream, client: Clients, time: FakeTime, part: Any) -> None:
    """Each byte comes a second after the one before, which no timeout of a single wait would end."""
    url = upstream.script("/live", Said(drips=part, declared=10**9), json_of(RIDES))
    asking = client(deadline_seconds=30.0, attempts=1)
    assert failure(asking, url) == "127.0.0.1 did not answer in time."
    assert time.monotonic() >= 30.0
    assert json.loads(asking.get(url).body) == RIDES


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("headers", "asks"), [
    (TAG, {"if-none-match": '"v1"'}),
    ({"ETag": 'W/"é"'}, {"if-none-match": 'W/"é"'}),
    (DATE, {"if-modified-since": DATE["Last-Modified"]}),
    (TAG | DATE, {"if-none-match": '"v1"', "if-modified-since": DATE["Last-Modified"]}),
], ids=["tag", "odd tag", "date", "both"])
def test_what_has_not_changed_is_not_sent_again(
    upstream: Upstream, client: Clients, headers: dict[str, str], asks: dict[str, str],
) -> None:
    url, asking = upstream.script("/live", json_of(RIDES, headers=headers)), client()
    first, second = asking.get(url), asking.get(url)
    assert (first.status, second.status, json.loads(second.body)) == (200, 304, RIDES)
    assert {name: value for name, value in upstream.asked()[1].headers.items() if name.startswith("if-")} == asks
    assert not any(name.startswith("if-") for name in upstream.asked()[0].headers)


def test_what_has_changed_is_kept_instead(upstream: Upstream, client: Clients) -> None:
    url = upstream.script("/live", json_of("old", headers=TAG), json_of("new", headers={"ETag": '"v2"'}))
    asking = client()
    assert [json.loads(asking.get(url).body) for _ in range(3)] == ["old", "new", "new"]
    assert [one.headers.get("if-none-match") for one in upstream.asked()] == [None, '"v1"', '"v2"']


def test_an_answer_without_a_tag_ends_what_was_kept(upstream: Upstream, client: Clients) -> None:
    url = upstream.script("/live", json_of("old", headers=TAG), json_of("new"))
    asking = client()
    assert [json.loads(asking.get(url).body) for _ in range(3)] == ["old", "new", "new"]
    assert [one.headers.get("if-none-match") for one in upstream.asked()] == [None, '"v1"', None]


def test_a_failure_leaves_what_was_kept(upstream: Upstream, client: Clients) -> None:
    url = upstream.script("/live", json_of(RIDES, headers=TAG), Said(status=500), json_of(RIDES, headers=TAG))
    asking = client(attempts=1)
    asking.get(url)
    failure(asking, url)
    assert asking.get(url).status == 304


def test_every_query_is_kept_by_itself(upstream: Upstream, client: Clients) -> None:
    url, asking = upstream.script("/live", json_of(RIDES, headers=TAG)), client()
    assert [asking.get(url + query).status for query in ("?a", "?b", "?a")] == [200, 200, 304]


def test_unchanged_without_having_asked_is_an_error(upstream: Upstream, client: Clients) -> None:
    url = upstream.script("/live", Said(b"", 304, TAG))
    assert failure(client(), url) == "127.0.0.1 says that nothing has changed, but was not asked that."
    assert len(upstream.asked()) == 1


def test_so_many_bodies_are_kept_and_the_least_used_goes(upstream: Upstream, client: Clients) -> None:
    a, b, c = (upstream.script(f"/{name}", json_of(name, headers=TAG)) for name in "abc")
    asking = client(kept_bodies=2)
    assert [asking.get(url).status for url in (a, b, a, c, a, b)] == [200, 200, 304, 200, 304, 200]


def test_so_many_bytes_are_kept(upstream: Upstream, client: Clients) -> None:
    a, b, c = (upstream.script(f"/{name}", Said(b"x" * 40, headers=TAG)) for name in "abc")
    huge = upstream.script("/huge", Said(b"x" * 101, headers=TAG))
    asking = client(kept_bytes=100)
    assert [asking.get(url).status for url in (a, b, huge, huge, a, c, b)] == [200, 200, 200, 200, 304, 200, 200]


# --- gzip and size ---------------------------------------------------------------------------------------------------


BODY = json.dumps(RIDES * 50).encode()
ZIPPED = gzip.compress(BODY)


@pytest.mark.parametrize("said", [
    zipped(BODY), Said(gzip.compress(BODY[:99]) + gzip.compress(BODY[99:]), headers={"Content-Encoding": "GZIP"}),
    zipped(BODY, **{"Content-Length": ""}),
], ids=["whole", "in two members", "ended by the connection"])
def test_gzip_is_unzipped(upstream: Upstream, client: Clients, said: Said) -> None:
    asking, url = client(), upstream.script("/live", said._replace(headers={**said.headers, **TAG}))
    assert [(answer.status, answer.body) for answer in (asking.get(url), asking.get(url))] == [(200, BODY), (304, BODY)]


@pytest.mark.parametrize("said", [
    *(zipped(BODY, upto=size) for size in (1, 12, len(ZIPPED) // 2, len(ZIPPED) - 1)),
    zipped(BODY, upto=len(ZIPPED) // 2, **{"Content-Length": ""}),
    Said(BODY, headers={"Content-Encoding": "gzip"}),
    Said(ZIPPED[:-6] + b"\0\0" + ZIPPED[-4:], headers={"Content-Encoding": "gzip"}),
    Said(ZIPPED[:20] + b"\xff" * 9 + ZIPPED[29:], headers={"Content-Encoding": "gzip"}),
], ids=["a byte", "its head", "half", "but for a byte", "half, of unknown size", "none", "checksum", "damaged"])
def test_broken_gzip_is_an_error(upstream: Upstream, client: Clients, said: Said) -> None:
    assert failure(client(), upstream.script("/live", said)) == "127.0.0.1 answered with broken gzip."
    assert len(upstream.asked()) == 1


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip"])
def test_an_encoding_nobody_asked_for_is_an_error(upstream: Upstream, client: Clients, coding: str) -> None:
    url = upstream.script("/live", Said(ZIPPED, headers={"Content-Encoding": coding}))
    assert failure(client(), url) == "127.0.0.1 answered in an encoding that it was not asked for."


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(upstream: Upstream, client: Clients) -> None:
    plain, packed = upstream.script("/plain", Said(b"x" * 1000)), upstream.script("/packed", zipped(b"x" * 1000))
    assert [client(body_bytes=1000).get(url).body for url in (plain, packed)] == [b"x" * 1000] * 2
    for url in (plain, packed):
        assert failure(client(body_bytes=999), url) == "127.0.0.1 answered with more than 999 bytes."
    assert len(upstream.asked()) == 4


@pytest.mark.parametrize("headers", [{}, {"Content-Length": ""}], ids=["declared", "of unknown size"])
def test_fifty_megabytes_are_not_read_to_their_end(
    upstream: Upstream, client: Clients, headers: dict[str, str],
) -> None:
    url = upstream.script("/live", Said(b"[", kilobytes=50 * 1024, headers=headers))
    assert failure(client(body_bytes=10_000), url) == "127.0.0.1 answered with more than 10000 bytes."
    # The rest of what left is in buffers of the sockets.
    assert len(upstream.asked()) == 1 and upstream.sent < 25 * 2**20


def test_a_bomb_is_not_unpacked(upstream: Upstream, client: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped(bytes(50 * 2**20))
    assert len(bomb.body) < 60_000
    unpacked: list[int] = []
    real = gzip.GzipFile.read

    def read(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        found = real(self, size)
        unpacked.append(len(found))
        return found

    monkeypatch.setattr(gzip.GzipFile, "read", read)
    assert failure(client(body_bytes=60_000), upstream.script("/live", bomb)).endswith("more than 60000 bytes.")
    assert unpacked == [60_001]


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_on_the_same_host_is_followed(upstream: Upstream, client: Clients, status: int) -> None:
    upstream.script("/new/live", json_of(RIDES))
    url = upstream.script("/old/live", redirect("../new/live?all", status))
    answer = client().get(url)
    assert (answer.url, json.loads(answer.body)) == (url, RIDES)
    assert [one.target for one in upstream.asked()] == ["/old/live", "/new/live?all"]


def test_where_it_leads_is_kept_and_asked_conditionally(upstream: Upstream, client: Clients) -> None:
    new = upstream.script("/new", json_of(RIDES, headers=TAG))
    url, asking = upstream.script("/old", redirect(new)), client()
    assert [(answer.status, answer.url, json.loads(answer.body)) for answer in (asking.get(url), asking.get(url))] == [
        (200, url, RIDES), (304, url, RIDES),
    ]
    assert [one.headers.get("if-none-match") for one in upstream.asked()] == [None, None, None, '"v1"']


def test_three_redirects_are_followed_and_no_fourth(upstream: Upstream, client: Clients) -> None:
    for step in range(4):
        upstream.script(f"/{step}", redirect(f"/{step + 1}"))
    upstream.script("/4", json_of(RIDES))
    assert json.loads(client().get(f"{upstream.url}/1").body) == RIDES
    assert failure(client(), f"{upstream.url}/0") == "127.0.0.1 redirects more than 3 times."
    assert len(upstream.asked()) == 8


@pytest.mark.parametrize(("location", "named"), [
    ("http://localhost/live", "http://localhost"),
    ("https://parks.example/live?key=secret", "https://parks.example"),
    ("//parks.example/live", "http://parks.example"),
    ("http://user:secret@parks.example/", "http://parks.example"),
    ("http://127.0.0.1:1/live", "http://127.0.0.1:1"),
    ("file:///etc/passwd", "file://"),
])
def test_a_redirect_elsewhere_is_not_followed(
    upstream: Upstream, client: Clients, location: str, named: str,
) -> None:
    url = upstream.script("/live", redirect(location))
    assert failure(client(), url) == f"127.0.0.1 redirects to {named}, which nobody said to ask."
    assert len(upstream.asked()) == 1


def test_a_redirect_to_the_encrypted_door_of_the_host_is_followed(upstream: Upstream, client: Clients) -> None:
    url = upstream.script("/live", redirect("https://127.0.0.1/live"))
    assert failure(client(attempts=1), url) == "127.0.0.1 cannot be reached."  # nobody has its certificate


@pytest.mark.parametrize("location", ["", "http://a\x7fb/"])
def test_a_redirect_to_nowhere_is_an_error(upstream: Upstream, client: Clients, location: str) -> None:
    url = upstream.script("/live", redirect(location))
    assert failure(client(), url) == "127.0.0.1 redirects, but not to an address."


# --- encryption ------------------------------------------------------------------------------------------------------


@pytest.fixture
def encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """An Upstream that speaks https, whose certificate is the only one that a client trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine to make a certificate with")
    file, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=upstream", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", file],
        check=True, capture_output=True, timeout=30,
    )
    file.write_bytes(file.read_bytes() + key.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    http_client._certificates.cache_clear()
    with Upstream(certificate=file) as server:
        yield server
    http_client._certificates.cache_clear()


def test_https_is_asked_like_http(encrypted: Upstream, client: Clients) -> None:
    url, asking = encrypted.script("/live", json_of(RIDES, headers=TAG)), client()
    assert [(answer.status, json.loads(answer.body)) for answer in (asking.get(url), asking.get(url))] == [
        (200, RIDES), (304, RIDES),
    ]
    assert {one.connection for one in encrypted.asked()} == {1}


def test_a_certificate_of_somebody_else_is_not_trusted(encrypted: Upstream, client: Clients) -> None:
    url = encrypted.script("/live", json_of(RIDES)).replace("127.0.0.1", "localhost")
    assert failure(client(attempts=1), url) == "localhost cannot be reached."
    assert encrypted.asked() == []


def test_a_redirect_does_not_take_the_encryption_off(encrypted: Upstream, client: Clients) -> None:
    plain = encrypted.url.replace("https://", "http://")
    url = encrypted.script("/live", redirect(f"{plain}/live"))
    assert failure(client(), url) == f"127.0.0.1 redirects to {plain}, which nobody said to ask."


# --- addresses and recording -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [
    "ftp://parks.example/", "file:///etc/passwd", "parks.example/live", "", "http://", "http://a..b/",
    f"http://{'a' * 64}.example/", "http://parks.example:99999/", "http://parks\x00.example/", "http://[::1/",
])
def test_only_addresses_of_the_web_are_asked(client: Clients, url: str) -> None:
    assert failure(client(), url) == "A source cannot be asked: its address must be one of http:// or https://."


def test_a_client_closes_its_connections(upstream: Upstream, time: FakeTime) -> None:
    with HttpClient(sleep=time.sleep, clock=time.monotonic) as asking:
        asking.get(upstream.script("/live", json_of(RIDES)))
        assert len(asking._pool.connections) == 1
    assert asking._pool.connections == []


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
