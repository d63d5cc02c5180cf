"""kill -9 at any moment of collecting: parks stay whole in their slots, nothing blocks the next run, and a tape that is
played again ends where an undisturbed one does."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from payloads import live_of, live_path, queues_of, queues_path, ride_id, store_parks
from processes import ROOT, running
from upstream import Said, Upstream

from service import models
from service.config import Settings
from service.database import fetch
from service.errors import Unanswered
from service.feeds import Opening
from service.feeds.tape import Addresses, Recorder
from service.jobs.collect import Collector
from service.jobs.recorded_catalog import write_catalog
from service.jobs.store import NewSlot, store_schedules
from service.models import (
    AggregationJobLog,
    DataQualityIssue,
    JobLease,
    JobStatus,
    ParkActivitySnapshot,
    RideStatusSnapshot,
    ServiceState,
)
from service.periods import epoch, iso_utc
from service.queries import state
from service.queries.days import Tallies
from service.queries.live import parks_now
from service.rules import ScheduleType, Source

pytestmark = pytest.mark.usefixtures("database")

MORNING = datetime(2026, 3, 4, 17, tzinfo=UTC)  # 9 o'clock in Los Angeles
FIVE = timedelta(minutes=5)
SLOTS, PARKS, RIDES = 24, range(1, 7), 8
KILLS = 6  # of replays, before one is left alone
LIVE_SLOTS = 9  # the last is left alone
DATA = (
    models.Park, models.Ride, models.ParkSchedule, RideStatusSnapshot, ParkActivitySnapshot, DataQualityIssue,
    models.StatDay,
)  # fmt: skip
ADDRESSES = Addresses("http://wiki.example/v1", "http://queues.example", "http://weather.example")

Slots = dict[tuple[int, int], list[tuple[Any, ...]]]  # readings by slot and park


# --- a day -----------------------------------------------------------------------------------------------------------


def letters(park: int, number: int) -> str:
    """What the rides of a park do in a slot: they break down and come back; park 5 says for an hour that all are
    closed, of which nothing is believed; parks 3 and 6 tell of one ride less now and then."""
    if park == 5 and 6 <= number < 18:
        return "C" * RIDES
    told = random.Random(f"{park} {number // 3}").choices("OODC", [6, 6, 2, 1], k=RIDES - 1)
    return "".join(told) + ("-" if park % 3 == 0 and number % 4 == 0 else "O")


def bodies(number: int) -> dict[str, bytes | None]:
    """The answers of a slot by their paths; park 4 is not at ThemeParks.wiki for a while, park 2 nowhere."""
    now = MORNING + number * FIVE
    told: dict[str, bytes | None] = {
        "/v1" + live_path(park): live_of(park, letters(park, number), now, wait=5 * (number % 9)) for park in PARKS
    }
    if 8 <= number < 12:
        told["/v1" + live_path(4)] = b"<html>"
    if number in (3, 4, 20):
        told["/v1" + live_path(2)] = None
    told[queues_path(4)] = queues_of(4, "oocooooc", now)
    return told


def arrange() -> None:
    store_parks(PARKS, [4], rides=RIDES)
    for park in (1, 4, 5):
        store_schedules(park, [Opening(date(2026, 3, 4), ScheduleType.OPERATING, *opening())], MORNING)


def opening() -> tuple[int, int]:
    return epoch(MORNING) - 3600, epoch(MORNING) + 12 * 3600


def record(folder: Path) -> None:
    """Put the day on a tape, into a database that has its parks."""
    recorder = Recorder(folder)
    catalog = write_catalog(folder, MORNING)
    for number in range(SLOTS):
        now, told = MORNING + number * FIVE, bodies(number)

        def ask(url: str, told: dict[str, bytes | None] = told) -> bytes:
            body = told.get(url.partition(".example")[2])
            if body is None:
                raise Unanswered("nowhere.example answered with status 404.")
            return body

        recorder.begin(now, 5, ADDRESSES, catalog)
        asking = recorder.ask(ask)
        settings = Settings(themeparks_wiki_url=ADDRESSES[0], queue_times_url=ADDRESSES[1])
        Collector(settings, asking).cycle(now)
        recorder.end()


def forget(*more: Any) -> None:
    for model in (*more, RideStatusSnapshot, ParkActivitySnapshot, DataQualityIssue, AggregationJobLog, JobLease):
        model.delete().execute()
    models.Ride.update({models.Ride.last_operated_at: None}).execute()
    ServiceState.delete().where(ServiceState.name != state.ACTIVE_VERSION).execute()


def forget_all() -> None:
    forget(models.ParkSchedule, models.StatDay)
    models.Ride.delete().execute()
    models.Park.delete().execute()


def data() -> dict[str, list[tuple[Any, ...]]]:
    """All rows that a replay stores, but for the numbers of issues; and the newest slot."""
    found = {}
    for model in DATA:
        columns = [field for field in model._meta.sorted_fields if field.name != "issue_id"]
        found[model._meta.table_name] = sorted((tuple(row) for row in fetch(model.select(*columns))), key=str)
    return found | {"newest": [(state.get_state(state.NEWEST_SLOT), state.get_state(state.INTERVAL))]}


def slots() -> Slots:
    shot = RideStatusSnapshot
    found: Slots = {}
    query = shot.select(shot.snapshot_time, shot.ride_id, shot.status, shot.is_open, shot.wait_time)
    for slot, ride, *said in fetch(query.order_by(shot.snapshot_time, shot.ride_id)):
        found.setdefault((slot, ride // ride_id(1, 0)), []).append((ride, *said))
    return found


# --- processes -------------------------------------------------------------------------------------------------------


@contextmanager
def collecting(settings: Settings, *arguments: str, now: datetime, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """`cli collect` as a process of its own; it is surely gone afterwards."""
    own = {"DATABASE_URL": settings.database_url, "REPLAY_NOW": iso_utc(now), "PYTHONPATH": str(ROOT), **environ}
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "collect", *arguments], cwd=ROOT, env={**os.environ, **own},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def waited_for_work(process: subprocess.Popen[bytes]) -> None:
    """Return once the process has logged a run: what comes before is only starting."""
    while process.pid not in running() and process.poll() is None:
        time.sleep(0.002)


def nothing_runs_and_nothing_is_held() -> bool:
    """Whether no run is open in the job log, and no lease is left."""
    log = AggregationJobLog
    return not log.select().where(log.status == JobStatus.RUNNING).exists() and not JobLease.select().exists()


# --- a replay --------------------------------------------------------------------------------------------------------


def test_a_replay_that_is_killed_again_and_again_ends_as_an_undisturbed_one(settings: Settings, tmp_path: Path) -> None:
    arrange()
    record(tmp_path / "tape")
    forget_all()
    arguments = ("--replay", str(tmp_path / "tape"))
    with collecting(settings, *arguments, now=MORNING) as process:
        waited_for_work(process)
        began = time.monotonic()
        assert process.wait() == 0
    seconds, undisturbed = time.monotonic() - began, data()
    assert len(undisturbed["ride_status_snapshots"]) > 900
    assert undisturbed["data_quality_issues"]

    forget_all()
    chance, at_work = random.Random(3), 0
    whole = by_slot(undisturbed)
    for _ in range(KILLS):
        with collecting(settings, *arguments, now=MORNING) as process:
            waited_for_work(process)
            time.sleep(chance.uniform(0, 0.9) * seconds)
            at_work += process.poll() is None
            process.kill()
            process.wait()
        assert all(whole[key] == said for key, said in slots().items())
    assert at_work  # how often depends on the machine
    with collecting(settings, *arguments, now=MORNING) as process:
        assert process.wait() == 0
    assert data() == undisturbed
    assert nothing_runs_and_nothing_is_held()


def by_slot(rows: dict[str, list[tuple[Any, ...]]]) -> Slots:
    columns = [field.name for field in RideStatusSnapshot._meta.sorted_fields]
    order = [columns.index(name) for name in ("ride_id", "status", "is_open", "wait_time")]
    found: Slots = {}
    for row in sorted(rows["ride_status_snapshots"], key=lambda row: row[columns.index("ride_id")]):
        ride, *said = (row[number] for number in order)
        found.setdefault((row[columns.index("snapshot_time")], ride // ride_id(1, 0)), []).append((ride, *said))
    return found


# --- live ------------------------------------------------------------------------------------------------------------


def test_a_collector_that_is_killed_in_a_slot_leaves_whole_parks_and_the_next_goes_on(settings: Settings) -> None:
    arrange()
    with Upstream() as upstream:
        environ = {
            "THEMEPARKS_WIKI_URL": f"{upstream.url}/v1", "QUEUE_TIMES_URL": upstream.url_of("localhost"),
            "FEED_REQUESTS_PER_SECOND": "1000",
        }  # fmt: skip
        at = Settings(themeparks_wiki_url=f"{upstream.url}/v1", queue_times_url=upstream.url_of("localhost"))
        undisturbed = collected_here(at)
        forget()
        chance, killed = random.Random(4), 0
        for number in range(LIVE_SLOTS):
            for path, body in bodies(number).items():
                upstream.script(path, Said(status=404) if body is None else Said(body))
            now = MORNING + number * FIVE
            before = state.get_state(state.NEWEST_SLOT)
            with collecting(settings, "--once", now=now, **environ) as process:
                waited_for_work(process)
                if number % 4:
                    time.sleep(chance.uniform(0, 0.12))
                    killed += process.poll() is None
                    process.kill()
                process.wait()
            here = {key for key in slots() if key[0] == epoch(now)}
            wanted = {key for key in undisturbed if key[0] == epoch(now)}
            newest = state.get_state(state.NEWEST_SLOT)
            assert newest in (before, epoch(now))
            assert newest == epoch(now) or number % 4
            if newest == epoch(now):
                assert here == wanted
            assert all(park.slot <= (newest or 0) for park in live(now))
            assert all(undisturbed[key] == said for key, said in slots().items())
    assert killed  # how often depends on the machine
    ran = AggregationJobLog.select(AggregationJobLog.status).order_by(AggregationJobLog.job_id)
    assert {status for (status,) in fetch(ran)} <= {JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.RUNNING}
    last = MORNING + (LIVE_SLOTS - 1) * FIVE
    assert (Collector(at, lambda url: b"{}").collect(last), state.get_state(state.NEWEST_SLOT)) == (None, epoch(last))


def test_a_first_slot_that_nobody_has_shown_is_not_seen_in_the_next() -> None:
    """Killed in its first slot, and in the second before anything was stored."""
    arrange()
    new = NewSlot(epoch(MORNING), interval_minutes=5, now=MORNING)
    new.store(1, [(ride_id(1, 1), None, True, 5)], Source.QUEUE_TIMES)
    assert live(MORNING) == []
    assert live(MORNING + FIVE) == []


def live(now: datetime) -> list[Any]:
    """The parks' present state, as readers see it."""
    tallies = Tallies(now)
    return list(parks_now(tallies, tallies.universe.parks.values()).values())


def collected_here(at: Settings) -> Slots:
    """What an undisturbed collector stores."""
    for number in range(LIVE_SLOTS):
        told = bodies(number)

        def ask(url: str, told: dict[str, bytes | None] = told) -> bytes:
            body = told.get("/" + url.split("/", 3)[3])
            if body is None:
                raise Unanswered("nowhere.example answered with status 404.")
            return body

        Collector(at, ask).cycle(MORNING + number * FIVE)
    return slots()
