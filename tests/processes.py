"""The service as processes of its own: commands that run at once or are killed, and a writer of readings beside them.

Run as a program it is the writer: each line on stdin is a Batch, which it stores, and answers with a line.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from peewee import fn

from service import config, rules
from service import database as door
from service.config import Settings
from service.database import db, fetch, is_mysql, reading
from service.feeds.simulation import SlotReading, World
from service.jobs import daily, yearly
from service.jobs.catalog import store_catalog
from service.jobs.marks import locked_revision
from service.jobs.store import store_readings, store_schedules
from service.models import (
    AggregationJobLog,
    DailyParkStats,
    DailyStats,
    JobStatus,
    Park,
    RideStatusSnapshot,
    StatDay,
    YearlyParkStats,
    YearlyRideStats,
)
from service.periods import epoch, instant, iso_utc, pacific_day, wall_clock
from service.queries.hours import as_date

ONE = timedelta(days=1)
ROOT = Path(__file__).resolve().parents[1]
INTERVAL = 30
FIRST = date(2025, 6, 1)
DAYS = 24  # finished ones: enough for a job of some tenths of a second
TODAY = FIRST + DAYS * ONE
NOW = instant(wall_clock(TODAY, clock_time(20), "America/Los_Angeles"))  # every finished day is settled
LATER = NOW + timedelta(hours=3, minutes=59)  # what comes in meanwhile is of the running day's last four hours
LATE_FROM, LATE_TO = FIRST + 8 * ONE, FIRST + 16 * ONE  # or comes late, and is of these days
LATE_BATCHES = 12
STORED = "stored\n"  # the writer's answer
DAILY = (DailyStats, DailyParkStats, StatDay)
STATISTICS = (*DAILY, YearlyParkStats, YearlyRideStats)

R = TypeVar("R")


# --- readings ---------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Readings of one park to be stored at the instant `now`, in epoch seconds."""

    park_id: int
    now: int
    readings: list[SlotReading]

    def store(self) -> None:
        """Through the one door."""
        store_readings(
            self.park_id,
            [(at, ride, rules.Status(status) if status else None, *rest) for at, ride, status, *rest in self.readings],
            source=rules.Source.SIMULATION,
            interval_minutes=INTERVAL,
            now=instant(self.now),
        )


def simulated_days(world: World, days: int) -> list[Batch]:
    """Store the parks of `world` and their hours; its readings from the Pacific day FIRST on, a batch a park and day.

    To be called on an empty database, so that the ids are those of the source.
    """
    store_catalog(world.parks, world.rides, NOW)
    for park in world.parks:
        hours = [row for day in range(-1, days + 7) for row in world.openings(park.source_id, FIRST + day * ONE)]
        store_schedules(park.source_id, hours, NOW)
    return [
        Batch(park.source_id, epoch(NOW), list(world.readings(park.source_id, FIRST + day * ONE, INTERVAL)))
        for day in range(days)
        for park in world.parks
    ]


class Stream:
    """The readings of a world: what is there from the start, and what comes in meanwhile."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        every = simulated_days(World(3, seed, "small"), DAYS + 1)
        today = pacific_day(TODAY).start
        self.past = [self._thinned(batch) for batch in every if batch.readings[0][0] < today]
        self.today = [batch for batch in every if batch.readings[0][0] >= today]
        self.stored: list[Batch] = []

    def _thinned(self, batch: Batch) -> Batch:
        """Without every tenth reading: some of those come late, for the first time."""
        return batch._replace(readings=[one for one in batch.readings if self.chance.random() > 0.1])

    def store_past(self) -> None:
        """All that was seen until the running day."""
        for batch in self.past:
            self.store(batch)

    def store(self, batch: Batch, writer: Any = None) -> None:
        """Here, or let the writer do it."""
        if writer:
            put(writer, batch)
        else:
            batch.store()
        self.stored.append(batch)

    def late(self) -> Batch:
        """Corrections and first readings of three rides, on each of the days that late readings are of."""
        batch = self.chance.choice(self.past)
        rides = sorted({ride for _, ride, *_ in batch.readings})
        slots = range(pacific_day(LATE_FROM).start, pacific_day(LATE_TO).end, INTERVAL * 60)
        said = [(rules.Status.OPERATING, None, 35), (rules.Status.DOWN, None, None), (rules.Status.CLOSED, None, None)]
        readings = [
            (slot, ride, *self.chance.choice(said))
            for ride in self.chance.sample(rides, 3)
            for slot in slots
            if self.chance.random() < 0.2
        ]
        return Batch(batch.park_id, epoch(NOW), readings)

    def coming(self) -> Iterator[Batch]:
        """Slot by slot of the running day, and over again with other waits; between them LATE_BATCHES late ones.

        The clock goes with the slots.
        """
        now, late = epoch(NOW), LATE_BATCHES
        for turn in range(10_000):
            for slot in range(epoch(NOW), epoch(LATER), INTERVAL * 60):
                now = max(now, slot)
                for batch in self.today:
                    seen = [one for one in batch.readings if one[0] == slot]
                    yield Batch(batch.park_id, now, [(*one[:4], one[4] and turn % 100) for one in seen])
                if late and slot // (INTERVAL * 60) % 2:
                    late -= 1
                    yield self.late()._replace(now=now)


Facts = dict[tuple[int, int], tuple[Any, ...]]


def facts_of(batches: Iterable[Batch]) -> Facts:
    """What is stored once these were, in this order: status, flag and wait by slot and ride."""
    return {(slot, ride): tuple(said) for batch in batches for slot, ride, *said in batch.readings}


def stored_facts() -> Facts:
    """What is stored. Fails if a reading is there twice."""
    table = RideStatusSnapshot
    found = fetch(table.select(table.snapshot_time, table.ride_id, table.status, table.is_open, table.wait_time))
    facts = {(slot, ride): tuple(said) for slot, ride, *said in found}
    assert len(facts) == len(found)
    return facts


# --- statistics -------------------------------------------------------------------------------------------------------

Rows = dict[str, list[tuple[Any, ...]]]


def statistics(version: int = rules.METRICS_VERSION, models: Iterable[Any] = STATISTICS) -> Rows:
    """All rows of a version by table, but for the version and when they were computed."""
    return {model._meta.table_name: sorted(fetch(_rows_of(model, version)), key=str) for model in models}


def _rows_of(model: Any, version: int) -> Any:
    columns = [field for field in model._meta.sorted_fields if field.name not in ("metrics_version", "computed_at")]
    return model.select(*columns).where(model.metrics_version == version)


def clean_days(version: int = rules.METRICS_VERSION) -> set[date]:
    """The days whose statistics hold, as the ledger says."""
    query = StatDay.select(StatDay.stat_date).where(StatDay.metrics_version == version, ~StatDay.dirty)
    return {row.stat_date for row in query}


def rows_of_days(days: Iterable[date], version: int = rules.METRICS_VERSION) -> list[list[tuple[Any, ...]]]:
    """The rows of these days, but for when they were computed."""
    wanted = sorted(days)
    return [sorted(fetch(_rows_of(model, version).where(model.stat_date.in_(wanted))), key=str) for model in DAILY]


def fresh_statistics(now: datetime, version: int = rules.METRICS_VERSION) -> Rows:
    """The rows of a version computed from nothing, in one process that nobody disturbs; they replace those there."""
    days = sorted((row.stat_date for row in StatDay.select().where(StatDay.metrics_version == version)), reverse=True)
    for model in STATISTICS:
        model.delete().where(model.metrics_version == version).execute()
    assert daily.recompute(days, now, version, force=True).is_whole
    yearly.refresh_years(now)
    return statistics(version)


def disagreements() -> list[str]:
    """Where the ledger and the rows of its days do not tell of one computation, in one view of the database."""
    with reading():
        entries = {(row.stat_date, row.metrics_version): row for row in StatDay.select()}
        rides = _days_of(DailyStats, fn.SUM(DailyStats.sample_count))
        parks = _days_of(DailyParkStats, fn.COUNT(DailyParkStats.park))
        roster = Park.select().count()
    found = [f"{key}: rows without an entry" for key in (rides.keys() | parks.keys()) - entries.keys()]
    for key, entry in entries.items():
        computed = epoch(entry.computed_at)
        if rides.get(key) != (entry.sample_count, computed, computed):
            found.append(f"{key}: the entry tells of {entry.sample_count} at {computed}, the rides of {rides.get(key)}")
        if parks.get(key) != (roster, computed, computed):
            found.append(f"{key}: the entry tells of {roster} parks at {computed}, their rows of {parks.get(key)}")
    return found


def _days_of(model: Any, figure: Any) -> dict[tuple[date, int], tuple[int, int, int]]:
    """Per day and version: a figure over its rows, and when the first and the last of them was computed."""
    times = fn.MIN(model.computed_at), fn.MAX(model.computed_at)
    query = model.select(model.stat_date, model.metrics_version, figure, *times)
    rows = fetch(query.group_by(model.stat_date, model.metrics_version))
    return {(as_date(day), version): (int(number), first, last) for day, version, number, first, last in rows}


# --- processes --------------------------------------------------------------------------------------------------------


def start(settings: Settings, *arguments: str, now: datetime, log: Path | None = None) -> subprocess.Popen[str]:
    """`cli` with these arguments as a process of its own. `log`: a file for its stderr, with every statement."""
    with open(log or os.devnull, "w") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            cwd=ROOT,
            env=_environ(settings) | {"REPLAY_NOW": iso_utc(now)} | ({"SQL_ECHO": "1"} if log else {}),
            stdout=subprocess.DEVNULL,
            stderr=told,
            text=True,
        )


def _environ(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "SNAPSHOT_INTERVAL_MINUTES": str(INTERVAL),
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def started(settings: Settings, *arguments: str, now: datetime) -> Iterator[subprocess.Popen[str]]:
    """As `start`; the process is surely gone afterwards."""
    with start(settings, *arguments, now=now) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def at_once(settings: Settings, folder: Path, *commands: tuple[datetime, list[str]]) -> Iterator[list[Any]]:
    """Commands, each with its own clock, that begin to write at the same moment. They are gone afterwards."""
    logs = [folder / f"{number}.log" for number in range(len(commands))]
    processes = []
    try:
        with db.atomic():
            locked_revision()  # nobody stores a day until all have come that far
            for log, (now, arguments) in zip(logs, commands, strict=True):
                processes.append(start(settings, *arguments, now=now, log=log))
            jobs = [job for _, job in commands]
            until(lambda: all(_is_at_the_gate(log.read_text(), *job) for log, job in zip(logs, jobs, strict=True)))
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _is_at_the_gate(log: str, command: str, *_arguments: str) -> bool:
    """Whether a process, by the statements it has run, can do no more than store what it computes; on SQLite, where
    the gate stops any writer, than write the first row."""
    is_logged = is_mysql() and command in ("aggregate", "recompute")
    return ("INSERT INTO `aggregation_job_log`" if is_logged else "service_state") in log


@contextmanager
def writing(settings: Settings, batches: Iterable[Batch] | None = None) -> Iterator[subprocess.Popen[str]]:
    """The writer, at work on `batches`, or waiting for those that are `put`. It is gone afterwards."""
    with tempfile.TemporaryFile("w+") as given:
        given.writelines(json.dumps(batch) + "\n" for batch in batches or ())
        given.seek(0)
        with subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            env=_environ(settings),
            stdin=subprocess.PIPE if batches is None else given,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def put(writer: subprocess.Popen[str], batch: Batch) -> None:
    """Let the writer store a batch; returns when it has."""
    assert writer.stdin and writer.stdout
    writer.stdin.write(json.dumps(batch) + "\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == STORED


def until(found: Callable[[], R], pause: float = 0.002) -> R:
    """What `found` returns once that is true; asks every `pause` seconds, and fails after two minutes."""
    deadline = time.monotonic() + 120
    while not (result := found()):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(pause)
    return result


def running() -> set[int]:
    """The process ids of the runs that the job log says are running."""
    log = AggregationJobLog
    return {_pid(owner) for (owner,) in fetch(log.select(log.owner).where(log.status == JobStatus.RUNNING))}


def runs_by_process() -> dict[int, list[AggregationJobLog]]:
    """The rows of the job log by the process id of their owner."""
    found: dict[int, list[AggregationJobLog]] = defaultdict(list)
    for row in AggregationJobLog.select():
        found[_pid(row.owner)].append(row)
    return found


def _pid(owner: str) -> int:
    return int(owner.rsplit(":", 2)[1])  # host:pid:token


def main() -> None:
    """The writer."""
    door.open_database(config.load())
    for line in sys.stdin:
        Batch(*json.loads(line)).store()
        print(STORED, end="", flush=True)


if __name__ == "__main__":
    main()
