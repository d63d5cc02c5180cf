"""The answer cache: an answer is made once, holds while what it was made of stays, and outlives its database."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from peewee import OperationalError
from wsgi_client import Client, Response

from service import clock
from service import database as door
from service.config import Settings
from service.database import db
from service.errors import BadRequest
from service.feeds.simulation import World
from service.jobs import daily, yearly
from service.jobs.collect import Collector
from service.jobs.demo import build_demo
from service.jobs.marks import bump, set_state
from service.models import Park, RideStatusSnapshot
from service.periods import epoch, pacific_date, pacific_day
from service.queries import state
from service.web import answers, app
from service.web.answers import Answers, Found, is_known, takes_gzip
from service.web.params import Query, Request

NOON = datetime(2026, 3, 11, 19, tzinfo=UTC)  # Wednesday noon in Los Angeles
HALF_HOUR = timedelta(minutes=30)
PAST = ("yesterday", "last_week", "last_month", "7days", "30days")
OF_PAST = [
    *(f"{path}?period={period}" for path in sorted(answers.OF_HISTORY - answers.AWARDS) for period in PAST),
    *(f"/api/rides/waittimes?mode={mode}" for mode in (*PAST[:3], "7day-average")),
    "/api/parks/awards?year=2026&year=2025",
    "/api/rides/awards?year=2026",
]
# What the paths need beside a period.
BESIDE = {
    "/api/trends": "&category=parks-improving",
    "/api/trends/chart-data": "&type=parks",
    "/api/trends/longest-wait-times": "&entity=parks",
    "/api/trends/least-reliable": "&entity=rides",
    "/api/trends/heatmap-data": "&type=parks-shame",
}


def url(of_past: str) -> str:
    return of_past + BESIDE.get(of_past.partition("?")[0], "")


@pytest.fixture
def demo(settings: Settings, database: Any) -> Settings:
    """Three simulated parks over three days, computed, up to noon."""
    return simulated(settings, 3)


@pytest.fixture
def weeks(settings: Settings, database: Any) -> Settings:
    """The same over five weeks: all of last month."""
    return simulated(settings, 36)


def simulated(settings: Settings, count: int) -> Settings:
    clock.replay(NOON)
    build_demo(World(3, 1, "small"), count, interval_minutes=30, now=NOON, progress=lambda done, total: None)
    daily.aggregate(NOON)
    yearly.refresh_years(NOON)
    return Settings(settings.database_url, snapshot_interval_minutes=30)


def kept(settings: Settings) -> Client:
    return Client(app.create_app(settings, cached=True))


def fresh(settings: Settings) -> Client:
    return Client(app.create_app(settings))


def how(response: Response) -> str:
    return response.headers["Server-Timing"].partition(";desc=")[2].partition(",")[0]


def timeless(response: Response) -> bytes:
    """An answer but for when it was made, which is where the span of a running year ends."""
    return re.sub(rb'"(timestamp|end)":"[^"]*"', b"", response.body)


def go_on(now: datetime) -> None:
    """A slot is collected at `now`, which is the present from then on."""
    clock.replay(now)
    Collector(Settings(snapshot_interval_minutes=30)).collect(now)


# --- how long an answer holds ----------------------------------------------------------------------------------------

TODAY = "/api/parks/downtime?period=today"


def test_an_answer_is_made_once(demo: Settings) -> None:
    client = kept(demo)
    first, again = client.get(TODAY), client.get(TODAY)
    assert (how(first), how(again)) == ("miss", "hit")
    assert first.body == again.body == fresh(demo).get(TODAY).body
    assert "db;dur=0.0" in again.headers["Server-Timing"]
    assert "db;dur=0.0" not in first.headers["Server-Timing"]


def test_a_new_slot_makes_answers_of_now_anew_and_leaves_those_of_the_past(demo: Settings) -> None:
    client = kept(demo)
    last_week = "/api/parks/downtime?period=last_week"
    before = [client.get(one) for one in (TODAY, last_week)]
    assert state.get_state(state.REVISION_CURRENT)
    go_on(NOON + HALF_HOUR)
    after = [client.get(one) for one in (TODAY, last_week)]
    assert [how(one) for one in after] == ["miss", "hit"]
    assert after[0].body != before[0].body
    assert after[0].body == fresh(demo).get(TODAY).body


@pytest.mark.parametrize("hours", [-11, 0, 11])  # at 1:00, when yesterday's local days still run; noon; 23:00
def test_what_is_kept_of_the_past_is_what_would_be_said_now(weeks: Settings, hours: int) -> None:
    start = NOON + timedelta(hours=hours)
    go_on(start)
    client = kept(weeks)
    urls = [url(one) for one in OF_PAST]
    for one in urls:
        assert client.get(one).status == 200
    go_on(start + HALF_HOUR)
    again = {one: client.get(one) for one in urls}
    now = {one: fresh(weeks).get(one) for one in urls}
    assert [one for one in urls if timeless(again[one]) != timeless(now[one])] == []
    held = [one for one in urls if how(again[one]) == "hit"]
    assert len(held) > len(urls) / 2
    if hours < 0:
        assert not any("period=yesterday" in one for one in held)


def test_a_late_reading_makes_answers_of_the_past_anew(demo: Settings) -> None:
    client = kept(demo)
    one = "/api/parks/downtime?period=last_month"
    client.get(one)
    bump(state.REVISION_HISTORY)
    assert how(client.get(one)) == "miss"


def test_new_yearly_statistics_make_awards_anew(demo: Settings) -> None:
    client = kept(demo)
    one = "/api/parks/awards?year=2026"
    assert [how(client.get(one)) for _ in range(2)] == ["miss", "hit"]
    yearly.refresh_years(NOON, [2026])
    assert how(client.get(one)) == "miss"


def test_answers_of_now_are_made_anew_after_five_minutes(demo: Settings) -> None:
    client = kept(demo)
    client.get(TODAY)
    clock.replay(NOON + timedelta(seconds=299))
    assert how(client.get(TODAY)) == "hit"
    clock.replay(NOON + timedelta(seconds=300))
    assert how(client.get(TODAY)) == "miss"


def test_at_pacific_midnight_today_is_another_day_at_once(demo: Settings) -> None:
    client = kept(demo)
    midnight = datetime.fromtimestamp(pacific_day(pacific_date(NOON)).end, UTC)
    clock.replay(midnight - timedelta(seconds=1))
    before = client.get(TODAY).json["span"]["label"]
    yesterday = client.get("/api/parks/downtime?period=yesterday").json["span"]["label"]
    clock.replay(midnight)
    assert (before, yesterday) == ("Mar 11, 2026", "Mar 10, 2026")
    assert client.get(TODAY).json["span"]["label"] == "Mar 12, 2026"
    assert client.get("/api/parks/downtime?period=yesterday").json["span"]["label"] == "Mar 11, 2026"


def test_parameters_that_nobody_knows_make_no_other_answer(demo: Settings) -> None:
    client = kept(demo)
    client.get(TODAY)
    assert how(client.get(f"{TODAY}&utm_source=x&_=1&format=csv")) == "hit"
    assert how(client.get(f"{TODAY}&limit=5")) == "miss"


def test_wrong_parameters_are_refused_as_ever(demo: Settings) -> None:
    client = kept(demo)
    assert client.get("/api/parks/downtime?period=tomorrow").status == 400
    assert client.get("/api/parks/999/details").status == 404
    assert client.get("/api/parks/999/details").status == 404


@pytest.mark.parametrize("path", ["/api/health", "/api/audit/data-quality", "/api/audit/status"])
def test_what_is_about_the_data_itself_is_not_kept(demo: Settings, path: str) -> None:
    assert "Etag" not in kept(demo).get(path).headers


def test_tables_are_sent_while_they_are_made(demo: Settings) -> None:
    start = (NOON - timedelta(days=1)).isoformat().replace("+", "%2B")
    answer = kept(demo).get(f"/api/analytics/series?start={start}&format=csv")
    assert answer.headers["Content-Type"].startswith("text/csv") and "Etag" not in answer.headers


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_a_client_that_has_it_is_told_so(demo: Settings) -> None:
    client = kept(demo)
    first = client.get(TODAY)
    again = client.get(TODAY, if_none_match=f'"x", {first.headers["Etag"]}')
    assert (again.status, again.body) == (304, b"")
    assert again.headers["Etag"] == first.headers["Etag"] and "Cache-Control" in again.headers
    go_on(NOON + HALF_HOUR)
    assert client.get(TODAY, if_none_match=first.headers["Etag"]).status == 200


def test_it_is_zipped_for_who_wants_it(demo: Settings) -> None:
    client = kept(demo)
    plain, zipped = client.get(TODAY), client.get(TODAY, accept_encoding="br, gzip")
    assert "Content-Encoding" not in plain.headers and zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == plain.body
    assert "Accept-Encoding" in zipped.headers["Vary"]


@pytest.mark.parametrize(("sent", "wanted"), [
    ("gzip", True), ("gzip, deflate, br", True), ("br;q=1.0, GZIP;q=0.5", True), ("gzip;q=0", False),
    ("gzip; q=0.0, br", False), ("br", False), ("", False), ("xgzipx", False),
])
def test_who_wants_gzip(sent: str, wanted: bool) -> None:
    assert takes_gzip(sent) is wanted


@pytest.mark.parametrize(("sent", "known"), [
    ('W/"a"', True), ('"a"', True), ("*", True), ('"b", W/"a"', True), ('"b"', False), ("", False),
])
def test_who_has_it(sent: str, known: bool) -> None:
    assert is_known('W/"a"', sent) is known


def test_caches_are_told_how_long_to_keep_it(demo: Settings) -> None:
    client = kept(demo)
    assert "public, max-age=10, stale-while-revalidate=" in client.get(TODAY).headers["Cache-Control"]
    past = "/api/parks/downtime?period=last_month"
    assert "max-age=300," in client.get(past).headers["Cache-Control"]
    clock.replay(datetime.fromtimestamp(pacific_day(pacific_date(NOON)).end - 7, UTC))
    assert "max-age=7," in client.get(past).headers["Cache-Control"]  # another day's answer follows


# --- one at a time ---------------------------------------------------------------------------------------------------


def asked(query: str = "") -> Request:
    return Request(Settings(), clock.now(), Query(query))


def test_a_stampede_makes_an_answer_once(demo: Settings) -> None:
    gate, made = app.Gate(demo), []
    found = Answers(gate.reading, background=False)

    def slowly(request: Request) -> Any:
        def answer() -> dict[str, object]:
            made.append(threading.get_ident())
            time.sleep(0.3)
            return {"parks": Park.select().count()}

        return answer

    got: list[Found] = []

    def ask() -> None:
        try:
            got.append(found.find(asked(), "/api/x", slowly))
        finally:
            door.drop_connection()

    threads = [threading.Thread(target=ask) for _ in range(16 if door.is_mysql() else 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert {one.entry.body for one in got} == {b'{"parks":3}\n'} and len(got) == len(threads)


def test_who_waits_for_one_that_fails_gets_its_error(demo: Settings) -> None:
    found = Answers(app.Gate(demo).reading, background=False)
    begun = threading.Event()

    def failing(request: Request) -> Any:
        def answer() -> dict[str, object]:
            begun.set()
            time.sleep(0.2)
            raise ValueError("spoilt")

        return answer

    errors: list[BaseException] = []

    def ask() -> None:
        try:
            found.find(asked(), "/api/x", failing)
        except ValueError as error:
            errors.append(error)
        finally:
            door.drop_connection()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(error) for error in errors] == ["spoilt"] * 3
    assert not found._flights


def test_rankings_of_today_share_one_look_at_the_readings(demo: Settings) -> None:
    client, statements = kept(demo), []
    db.obj.query_hooks.append(lambda event: statements.append(event.sql))
    client.get(TODAY)
    first = len(statements)
    for one in ("/api/rides/downtime?period=today", "/api/parks/downtime?period=today&sort_by=uptime_percentage"):
        client.get(one)
    rest = [sql for sql in statements[first:] if "ride_status_snapshots" in sql and "GROUP BY" in sql]
    assert rest == []
    go_on(NOON + HALF_HOUR)
    client.get(TODAY)
    assert any("ride_status_snapshots" in sql and "GROUP BY" in sql for sql in statements[first:])


def test_it_holds_so_much_and_forgets_what_was_not_asked_for(demo: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LARGEST_CACHE", 5_000)
    found = Answers(app.Gate(demo).reading, background=False)

    def make(request: Request) -> Any:
        number = request.query.text("n")
        return lambda: {"n": number, "filling": "x" * 100}

    for number in range(20):
        found.find(asked(f"n={number}"), "/api/x", make)
        found.find(asked("n=0"), "/api/x", make)
    assert found._bytes == sum(kept.entry.size for kept in found._kept.values()) <= 5_000
    kept_numbers = {json.loads(kept.entry.body)["n"] for kept in found._kept.values()}
    assert {"0", "19"} <= kept_numbers and "1" not in kept_numbers


def test_questions_that_are_known_to_be_right_do_not_pile_up(demo: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_QUESTIONS", 5)
    found, read = Answers(app.Gate(demo).reading, background=False), []

    def make(request: Request) -> Any:
        read.append(request.query.string)
        number = request.query.whole("n", 1, 99)
        return lambda: {"n": number}

    for query in ("n=1", "n=1", "n=01", *(f"n={number}" for number in range(2, 20)), "n=3" + "&x" * 300):
        body = found.find(asked(query), "/api/x", make).entry.body
        assert json.loads(body) == {"n": int(query.partition("&")[0].partition("=")[2])}
        assert len(found._questions) <= 5
    for _ in range(2):
        with pytest.raises(BadRequest):
            found.find(asked("n=100"), "/api/x", make)
    assert read.count("n=1") == 2  # checked, and asked


def test_parameters_that_a_path_does_not_know_change_nothing(demo: Settings) -> None:
    client, unknown = kept(demo), TODAY + "&mode=last_week&mode=yesterday&x=1"
    first = client.get(unknown)
    assert (first.status, how(first), how(client.get(TODAY))) == (200, "miss", "hit")
    go_on(NOON + HALF_HOUR)
    assert client.get(TODAY).body == client.get(unknown).body == fresh(demo).get(TODAY).body != first.body
    assert "max-age=10," in client.get(unknown).headers["Cache-Control"]


def test_an_id_is_the_same_however_it_is_written(demo: Settings) -> None:
    client = kept(demo)
    asked_for = [client.get(f"/api/parks/{written}/details?period=today") for written in ("1", "01", "001", "2")]
    assert [how(response) for response in asked_for] == ["miss", "hit", "hit", "miss"]


def test_nothing_is_kept_of_what_was_sent_beside(demo: Settings) -> None:
    found = Answers(app.Gate(demo).reading, background=False)
    beside = "&".join(f"x{number}" for number in range(900))
    entry = found.find(asked(f"n=1&{beside}"), "/api/x", _numbered).entry
    assert entry.request.query.string == "n=1" and entry.request.environ == {}


def test_what_is_made_anew_takes_the_room_of_what_was(demo: Settings) -> None:
    found = Answers(app.Gate(demo).reading, background=False)
    for _ in range(5):
        for number in range(3):
            assert found.find(asked(f"n={number}"), "/api/x", _numbered).how == "miss"
        bump(state.REVISION_CURRENT)
    assert found._bytes == sum(kept.entry.size for kept in found._kept.values()) and len(found._kept) == 3


def test_a_database_that_was_set_back_is_believed(demo: Settings) -> None:
    client = kept(demo)
    first = client.get(TODAY)
    before = state.get_state(state.REVISION_CURRENT) or 0
    go_on(NOON + HALF_HOUR)
    assert client.get(TODAY).body != first.body
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time > NOON).execute()
    set_state(state.NEWEST_SLOT, epoch(NOON))
    set_state(state.REVISION_CURRENT, before - 1)
    assert client.get(TODAY).body == fresh(demo).get(TODAY).body


def test_what_is_too_large_is_not_kept(demo: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LARGEST_ANSWER", 100)
    client = kept(demo)
    assert [how(client.get(TODAY)) for _ in range(2)] == ["miss", "miss"]


def test_only_so_many_answers_are_made_anew(demo: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_REFRESHED", 3)
    found = Answers(app.Gate(demo).reading, background=False)
    for number in range(5):
        found.find(asked(f"n={number}"), "/api/x", _numbered)
    assert [key[1] for key in found._wanted()] == [(("n", str(number)),) for number in (4, 3, 2)]


def _numbered(request: Request) -> Any:
    number = request.query.text("n")
    return lambda: {"n": number}


# --- without a database ----------------------------------------------------------------------------------------------


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Set its item: every statement fails."""
    found = [False]
    execute = type(db.obj).execute_sql

    def away(self: Any, sql: str, params: Any = None) -> Any:
        if found[0]:
            raise OperationalError(2003, "Can't connect to server")
        return execute(self, sql, params)

    monkeypatch.setattr(type(db.obj), "execute_sql", away)
    yield found


def test_without_its_database_it_gives_the_last_good_answer(
    demo: Settings, gone: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SECONDS_BETWEEN_LOOKS", 0)
    client = kept(demo)
    before = client.get(TODAY)
    gone[0] = True
    clock.replay(NOON + timedelta(seconds=400))  # it would be old
    during, unknown = client.get(TODAY), client.get("/api/rides/downtime?period=today")
    assert (during.status, during.body, how(during)) == (200, before.body, "stale")
    assert during.headers["Warning"].startswith("110")
    assert (unknown.status, unknown.json["success"]) == (503, False)
    gone[0] = False
    after = client.get(TODAY)
    assert how(after) == "miss" and "Warning" not in after.headers
    assert client.get("/api/rides/downtime?period=today").status == 200


def test_a_database_that_is_away_is_not_asked_by_everybody(
    demo: Settings, gone: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = kept(demo)
    client.get(TODAY)
    gone[0] = True
    tried: list[int] = []
    execute = type(db.obj).execute_sql

    def counted(*arguments: Any) -> Any:
        tried.append(1)
        return execute(*arguments)

    monkeypatch.setattr(type(db.obj), "execute_sql", counted)
    for _ in range(50):
        assert client.get(TODAY).status == 200
    assert len(tried) <= 5


def test_one_that_goes_away_while_an_answer_is_made_leaves_the_one_before(demo: Settings) -> None:
    found, broken = Answers(app.Gate(demo).reading, background=False), [False]

    def make(request: Request) -> Any:
        def answer() -> dict[str, object]:
            if broken[0]:
                raise OperationalError(2013, "Lost connection")
            return {"good": True}

        return answer

    found.find(asked(), "/api/x", make)
    bump(state.REVISION_CURRENT)
    broken[0] = True
    again = found.find(asked(), "/api/x", make)
    assert (again.how, again.is_forsaken, again.entry.body) == ("stale", True, b'{"good":true}\n')


# --- ahead of their askers -------------------------------------------------------------------------------------------


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_thread_makes_anew_what_was_asked_for(demo: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SECONDS_BETWEEN_LOOKS", 0.1)
    monkeypatch.setattr(answers, "LENIENT_SECONDS", 60)
    client = Client(app.create_app(demo, cached=True, background=True))
    first = client.get(TODAY)
    go_on(NOON + HALF_HOUR)
    seen: list[str] = []

    def is_new() -> bool:
        response = client.get(TODAY)
        seen.append(how(response))
        return response.body != first.body

    until(is_new)
    assert "miss" not in seen[1:]  # nobody waited: the answer before, then the new one
    expected = fresh(demo).get(TODAY).body
    until(lambda: client.get(TODAY).body == expected)  # the hours of the next days were a revision before


def test_the_answer_before_is_given_for_seconds_only(demo: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(answers, "LENIENT_SECONDS", 0.3)
    monkeypatch.setattr(Answers, "_refresh", lambda self, key: None)  # as if it took for ever
    client = Client(app.create_app(demo, cached=True, background=True))
    first = client.get(TODAY)
    go_on(NOON + HALF_HOUR)
    until(lambda: client.get(TODAY).body != first.body)


def test_an_answer_that_was_old_before_is_not_given_again_with_the_next_slot(
    demo: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(answers, "LENIENT_SECONDS", 0.5)
    monkeypatch.setattr(Answers, "_refresh", lambda self, key: None)  # nobody asked for it for long
    found = Answers(app.Gate(demo).reading, background=True)
    found.find(asked(), "/api/x", _numbered)
    for _ in range(2):
        bump(state.REVISION_CURRENT)
        moved = state.get_state(state.REVISION_CURRENT)
        until(lambda: found._view is not None and found._view.current == moved)
        time.sleep(0.6)
    bump(state.REVISION_CURRENT)
    moved = state.get_state(state.REVISION_CURRENT)
    until(lambda: found._view is not None and found._view.current == moved)
    assert found.find(asked(), "/api/x", _numbered).how == "miss"


def test_an_answer_is_of_the_revision_that_was_read_though_it_moves_then(
    demo: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = answers._revisions

    def read_and_move() -> tuple[int, int]:
        found = read()
        mover = threading.Thread(target=lambda: (bump(state.REVISION_CURRENT), door.drop_connection()))
        mover.start()
        mover.join()
        return found

    monkeypatch.setattr(answers, "_revisions", read_and_move)
    found = Answers(app.Gate(demo).reading, background=False)
    entry = found.find(asked(), "/api/x", lambda _: lambda: {"n": state.get_state(state.REVISION_CURRENT)}).entry
    assert json.loads(entry.body) == {"n": entry.current}
    assert (state.get_state(state.REVISION_CURRENT) or 0) > (entry.current or 0)


def test_answers_never_mix_two_revisions(demo: Settings) -> None:
    """While slots are stored, every answer is one that a fresh look at some revision gives."""
    client, valid = kept(demo), set()
    found: list[bytes] = []
    for number in range(1, 7):
        go_on(NOON + number * HALF_HOUR)
        valid.add(fresh(demo).get(TODAY).body)
        found += [client.get(TODAY).body for _ in range(3)]
    assert set(found) == valid and epoch(NOON)
