"""Whole cycles through real sockets, in a world where every park's sources misbehave in their own way."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from payloads import live_of, live_path, queues_of, queues_path, ride_id, store_parks
from upstream import Said, SharedTime, Upstream, busy, redirect, zipped

from service.config import Settings
from service.database import fetch
from service.feeds.http_client import MIB, HttpClient
from service.jobs import collect
from service.jobs.asking import FIRST_PAUSE_SECONDS, HOSTS, LIVE_PATIENCE_SECONDS
from service.jobs.collect import Collector, Cycle, NothingCollected
from service.models import DataQualityIssue, ParkActivitySnapshot, RideStatusSnapshot
from service.rules import Source, Status

pytestmark = pytest.mark.usefixtures("database")

on_one_engine = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)  # where the database is not the matter

NOON = datetime(2026, 3, 4, 20, tzinfo=UTC)
FIVE = timedelta(minutes=5)
FRESH = NOON - timedelta(minutes=2)
NEVER = 1000.0  # per second: a ceiling that a test does not meet
OPERATING, DOWN, CLOSED, REFURBISHMENT = Status
WIKI_HOST, QUEUES_HOST = "127.0.0.1", "localhost"
WIKI, QUEUES = "/wiki", "/queues"
TOLD, FLAGS = "ODOCRO", "ococoo"
TOLD_ROWS = [
    (OPERATING, None, 20), (DOWN, None, None), (OPERATING, None, 20), (CLOSED, None, None),
    (REFURBISHMENT, None, None), (OPERATING, None, 20),
]  # fmt: skip
FLAG_ROWS = [
    (None, True, 10), (None, False, 0), (None, True, 10), (None, False, 0), (None, True, 10), (None, True, 10),
]  # fmt: skip


@pytest.fixture
def time() -> SharedTime:
    return SharedTime()


@pytest.fixture
def upstream(time: SharedTime) -> Iterator[Upstream]:
    with Upstream(clock=time.monotonic, on_drip=lambda: time.sleep(5), sleep=time.sleep) as server:
        yield server


@pytest.fixture
def collector(
    upstream: Upstream, time: SharedTime, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Collector]]:
    """Collectors that ask the upstream as the service asks its sources, on a clock that takes no time."""
    made: list[HttpClient] = []
    monkeypatch.setattr(collect, "monotonic", time.monotonic)

    def make(*, per_second: float = NEVER, threads: int = 8) -> Collector:
        client = HttpClient(
            per_second=per_second, total_per_second=HOSTS * per_second, first_pause_seconds=FIRST_PAUSE_SECONDS,
            patience_seconds=LIVE_PATIENCE_SECONDS, clock=time.monotonic, sleep=time.sleep,
        )  # fmt: skip
        made.append(client)
        return Collector(at(upstream), lambda url: client.get(url).body, threads=threads)

    yield make
    for one in made:
        one.close()


def at(upstream: Upstream) -> Settings:
    """The two sources as two hosts of one upstream."""
    return Settings(
        themeparks_wiki_url=upstream.url_of(WIKI_HOST) + WIKI, queue_times_url=upstream.url_of(QUEUES_HOST) + QUEUES
    )


def wiki(upstream: Upstream, park: int, *said: Said) -> None:
    """What ThemeParks.wiki says of a park; nothing: as it should be."""
    upstream.script(WIKI + live_path(park), *(said or [Said(live_of(park, TOLD, FRESH))]))


def queue_times(upstream: Upstream, park: int, *said: Said) -> None:
    upstream.script(QUEUES + queues_path(park), *(said or [Said(queues_of(park, FLAGS, FRESH))]))


def readings(now: datetime = NOON) -> dict[int, list[Any]]:
    """What is stored of a slot: status, flag and wait of each ride, by park."""
    shot = RideStatusSnapshot
    query = shot.select(shot.ride_id, shot.status, shot.is_open, shot.wait_time).where(shot.snapshot_time == now)
    found: dict[int, list[Any]] = {}
    for ride, *said in fetch(query.order_by(shot.ride_id)):
        found.setdefault(ride // ride_id(1, 0), []).append(tuple(said))
    return found


def told_by(now: datetime = NOON) -> dict[int, Source]:
    shot = ParkActivitySnapshot
    return dict(fetch(shot.select(shot.park_id, shot.source).where(shot.snapshot_time == now)))


def cycle_of(collector: Collector, now: datetime = NOON) -> Cycle:
    try:
        return collector.cycle(now)
    except NothingCollected as error:
        return error.cycle


# --- one way of misbehaving ------------------------------------------------------------------------------------------


SOUND = live_of(1, TOLD, FRESH)
HOST = "ThemeParks.wiki: 127.0.0.1"
LATE, HALF = f"{HOST} did not answer in time.", f"{HOST} did not give a whole answer."
NO_JSON = "Live data of ThemeParks.wiki is not JSON: it begins with"
TOO_MUCH = f"{HOST} answered with more than 8388608 bytes."
MISBEHAVING: dict[str, tuple[Said, str]] = {
    "headers drip": (Said(drips="headers"), LATE),
    "body drips": (Said(SOUND, drips="body", declared=10**6), LATE),
    "drops at once": (Said(drops="at once"), HALF),
    "drops in headers": (Said(SOUND, drops="in headers"), HALF),
    "drops in body": (Said(SOUND, drops="in body"), HALF),
    "shorter than declared": (Said(SOUND, declared=len(SOUND) + 1, drops="in body"), HALF),
    "304 unasked": (Said(b"", 304, {"ETag": '"v1"'}),
                    f"{HOST} says that nothing has changed, but was not asked that."),
    "429": (busy(), f"{HOST} answered with status 429."),
    "429 with a pause": (busy("5"), f"{HOST} answered with status 429."),
    "500": (Said(status=500), f"{HOST} answered with status 500."),
    "404": (Said(SOUND, 404), f"{HOST} answered with status 404."),
    "half a gzip": (zipped(SOUND, upto=60), f"{HOST} answered with broken gzip."),
    "html": (Said(b"<html>"), f"{NO_JSON} '<html>'."),
    "nothing": (Said(b""), f"{NO_JSON} ''."),
    "half a JSON": (Said(b'{"liveData": [{"id": "ride-1"'), NO_JSON + """ '{"liveData": [{"id": "ride-1"'."""),
    "a list": (Said(b"[]"), "Live data of ThemeParks.wiki is a list, not an object."),
    "no liveData": (Said(b'{"id": "park"}'), "Live data of ThemeParks.wiki has no list liveData."),
    "liveData is no list": (Said(b'{"liveData": {}}'), "Live data of ThemeParks.wiki has no list liveData."),
    "50 MB": (Said(SOUND, kilobytes=50 * 1024), TOO_MUCH),
    "50 MB in a gzip": (zipped(SOUND + b" " * 50 * MIB), TOO_MUCH),
    "another host": (redirect("http://elsewhere.example/live"),
                     f"{HOST} redirects to http://elsewhere.example, which nobody said to ask."),
}  # fmt: skip


@on_one_engine
@pytest.mark.parametrize(("said", "sentence"), MISBEHAVING.values(), ids=MISBEHAVING.keys())
def test_a_park_whose_source_misbehaves_is_told_of_by_the_other_or_by_nobody(
    upstream: Upstream, collector: Callable[..., Collector], said: Said, sentence: str
) -> None:
    store_parks(range(1, 5), [2, 3])
    for park in (1, 4):
        wiki(upstream, park)
    for park in (2, 3):
        wiki(upstream, park, said)
    queue_times(upstream, 2)  # of 3 it knows nothing
    cycle = collector().cycle(NOON)
    assert readings() == {1: TOLD_ROWS, 2: FLAG_ROWS, 4: TOLD_ROWS}
    assert told_by() == {1: Source.THEMEPARKS_WIKI, 2: Source.QUEUE_TIMES, 4: Source.THEMEPARKS_WIKI}
    assert set(cycle.sentences()) == {
        f"{sentence.removesuffix('.')} (2 parks).", "Queue-Times: localhost answered with status 404 (Park 3).",
    }
    assert (cycle.unheard, cycle.late, cycle.unstored, cycle.suspect) == (["Park 3"], [], [], {})


NOT_RIDES = {
    "nulls": b'{"liveData": [null, null, null, null]}',
    "numbers, texts and lists": b'{"liveData": [1, "ride-101", [], true]}',
    "objects of nothing": b'{"liveData": [{}, {}, {}]}',
    "wrong types": b'{"liveData": [{"id": 7, "name": [], "entityType": "ATTRACTION", "status": {}}]}',
    "none": b'{"liveData": []}',
}


@on_one_engine
@pytest.mark.parametrize("body", NOT_RIDES.values(), ids=NOT_RIDES.keys())
def test_an_answer_that_tells_of_no_ride_is_no_answer(
    upstream: Upstream, collector: Callable[..., Collector], body: bytes
) -> None:
    store_parks(range(1, 4), [2])
    wiki(upstream, 1)
    for park in (2, 3):
        wiki(upstream, park, Said(body))
    queue_times(upstream, 2)
    cycle = collector().cycle(NOON)
    assert readings() == {1: TOLD_ROWS, 2: FLAG_ROWS}
    assert cycle.sources == {"ThemeParks.wiki": 1, "Queue-Times": 1}
    assert cycle.unheard == ["Park 3"]
    assert set(cycle.sentences()) == {"ThemeParks.wiki tells of no ride that is known (2 parks)."}


def test_an_error_that_passes_costs_nothing(upstream: Upstream, collector: Callable[..., Collector]) -> None:
    store_parks(range(1, 5))
    passing = Said(status=500), busy("7"), Said(drops="in body"), Said(drips="body", declared=10**6)
    for park, first in enumerate(passing, 1):
        wiki(upstream, park, first, Said(live_of(park, TOLD, FRESH)))
    cycle = collector().cycle(NOON)
    assert readings() == dict.fromkeys(range(1, 5), TOLD_ROWS)
    assert (cycle.sentences(), len(upstream.asked())) == ([], 8)


def test_what_has_not_changed_is_a_reading_of_the_next_slot_too(
    upstream: Upstream, collector: Callable[..., Collector]
) -> None:
    store_parks([1, 2], [2])
    tag = {"ETag": '"v1"'}
    wiki(upstream, 1, Said(live_of(1, TOLD, FRESH), headers=tag))
    queue_times(upstream, 2, Said(queues_of(2, FLAGS, FRESH), headers=tag))
    asking = collector()
    for slot in (NOON, NOON + FIVE):
        asking.cycle(slot)
        assert readings(slot) == {1: TOLD_ROWS, 2: FLAG_ROWS}
    again = upstream.asked(WIKI + live_path(1))[1]
    assert again.headers["if-none-match"] == '"v1"'


# --- all of them at once ---------------------------------------------------------------------------------------------


def test_every_way_of_misbehaving_at_once(
    upstream: Upstream, collector: Callable[..., Collector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good parks stand between the bad ones: a host that never answers for a while would be given up on. The slot has
    no end: how long all of them take is not what is asked."""
    monkeypatch.setattr(collect, "monotonic", lambda: 0.0)
    bad = {2 * number: said for number, said in enumerate(MISBEHAVING.values(), 1)}
    parks = range(1, 2 * len(bad) + 2)
    helped = [park for number, park in enumerate(bad) if number % 2]
    store_parks(parks, helped)
    for park in parks:
        wiki(upstream, park, *([bad[park][0]] if park in bad else []))
    for park in helped:
        queue_times(upstream, park)
    cycle = collector(threads=1).cycle(NOON)
    sound = {park: TOLD_ROWS for park in parks if park not in bad}
    assert readings() == sound | dict.fromkeys(helped, FLAG_ROWS)
    assert cycle.failures.keys() == {sentence for _, sentence in bad.values()}
    assert cycle.unheard == [f"Park {park}" for park in bad if park not in helped]
    issues = fetch(DataQualityIssue.select(DataQualityIssue.park, DataQualityIssue.details))
    assert {park for park, _ in issues} == {park for park, (_, told) in bad.items() if not told.startswith(HOST)}


# --- memory ----------------------------------------------------------------------------------------------------------


@on_one_engine
@pytest.mark.parametrize("said", [
    Said(SOUND, kilobytes=50 * 1024), Said(SOUND, kilobytes=50 * 1024, headers={"Content-Length": ""}),
    zipped(SOUND + b" " * 50 * MIB),
    Said(gzip.compress(gzip.compress(b" " * 50 * MIB)), headers={"Content-Encoding": "gzip"}),
], ids=["plain", "without an end", "gzip", "gzip of gzip"])
def test_bodies_without_an_end_need_little_memory(
    upstream: Upstream, collector: Callable[..., Collector], said: Said
) -> None:
    store_parks(range(1, 9))
    for park in range(1, 9):
        wiki(upstream, park, said)
    asking = collector(threads=2)
    tracemalloc.start()
    try:
        cycle = cycle_of(asking)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(cycle.unheard), readings()) == (8, {})
    assert peak < 60 * MIB


# --- rates and time --------------------------------------------------------------------------------------------------


def never_closer(times: list[float], per_second: float = 1.0) -> bool:
    """Whether requests keep their ceiling, but for one that was noted late."""
    return all(later - times[0] >= number / per_second - 1 for number, later in enumerate(times)) and all(
        times[number + 5] - times[number] >= 5 / per_second - 1 for number in range(len(times) - 5)
    )


@on_one_engine
def test_eighty_parks_with_two_sources_are_asked_in_time_and_no_host_more_often_than_it_is_told(
    upstream: Upstream, collector: Callable[..., Collector], time: SharedTime
) -> None:
    parks = range(1, 81)
    store_parks(parks, parks, rides=6)
    for park in parks:
        wiki(upstream, park, *([Said(status=404)] if park % 3 == 0 else []))
        queue_times(upstream, park)
    cycle = collector(per_second=1.0).cycle(NOON)
    assert (cycle.sources, cycle.late) == ({"ThemeParks.wiki": 54, "Queue-Times": 26}, [])
    assert time.monotonic() < 120
    assert (len(upstream.times(WIKI_HOST)), len(upstream.times(QUEUES_HOST))) == (80, 26)
    assert never_closer(upstream.times(WIKI_HOST))
    assert never_closer(upstream.times(QUEUES_HOST))


@on_one_engine
@pytest.mark.parametrize("said", [
    Said(drops="at once", after=15.0), busy(), busy("60"), Said(status=500), Said(drops="at once", after=30.0),
], ids=["silent", "429", "429 with a pause", "500", "drips"])
def test_a_preferred_source_that_answers_nobody_costs_no_slot(
    upstream: Upstream, collector: Callable[..., Collector], time: SharedTime, said: Said
) -> None:
    parks = range(1, 81)
    store_parks(parks, parks)
    for park in parks:
        wiki(upstream, park, said)
        queue_times(upstream, park)
    cycle = cycle_of(collector(per_second=1.0))
    assert (cycle.sources, cycle.late) == ({"Queue-Times": 80}, [])
    assert time.monotonic() < 240
    assert never_closer(upstream.times(QUEUES_HOST))


@on_one_engine
def test_a_few_parks_that_fail_cost_no_other_park(upstream: Upstream, collector: Callable[..., Collector]) -> None:
    """As when the company behind four of them is away: its parks stand side by side."""
    parks = range(1, 41)
    store_parks(parks)
    for park in parks:
        wiki(upstream, park, *([Said(status=500)] if park <= 4 else []))
    cycle = collector(per_second=1.0).cycle(NOON)
    assert sorted(cycle.unheard) == [f"Park {park}" for park in range(1, 5)]
    assert len(readings()) == 36
