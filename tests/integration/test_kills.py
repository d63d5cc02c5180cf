"""kill -9 at any moment of a job, over and over: days stay whole, nothing stays locked, and the next run completes."""

from __future__ import annotations

import random
import time
from datetime import date
from itertools import islice, pairwise
from typing import Any

from processes import (
    DAYS,
    LATER,
    NOW,
    STORED,
    TODAY,
    Batch,
    Stream,
    clean_days,
    disagreements,
    facts_of,
    rows_of_days,
    running,
    runs_by_process,
    started,
    statistics,
    stored_facts,
    until,
    writing,
)

from service.config import Settings
from service.database import db, fetch, is_mysql
from service.jobs import daily
from service.jobs.marks import atomically, mark_raw_days_dirty
from service.models import DailyParkStats, DailyStats, ParkActivitySnapshot, Ride, RideStatusSnapshot, ServiceState
from service.models import StatDay
from service.periods import pacific_day
from service.queries import state

KILLS = 25  # of each engine
KILLS_OF_THE_WRITER = 8
BATCHES = 60
JOBS = {"recompute": ["recompute", "--days", str(DAYS)], "aggregate": ["aggregate"]}


# --- jobs -------------------------------------------------------------------------------------------------------------


def forget_statistics() -> None:
    for model in (StatDay, DailyStats, DailyParkStats):
        model.delete().execute()


def spoil(chance: random.Random) -> None:
    """Give the daily job something to do: every day is dirty, or was never computed."""
    if chance.random() < 0.5:
        atomically(mark_raw_days_dirty)
    else:
        forget_statistics()


def lasts(settings: Settings, job: str) -> float:
    """How many seconds a run works when nobody disturbs it."""
    with started(settings, *JOBS[job], now=NOW) as process:
        until(lambda: process.pid in running())
        began = time.monotonic()
        until(lambda: process.pid not in running())
        took = time.monotonic() - began
        assert process.wait() == 0
    return took


def killed(settings: Settings, job: str, delay: float) -> tuple[int, bool]:
    """Kill a run `delay` seconds after it was logged: its process id, and whether that fell into its work."""
    with started(settings, *JOBS[job], now=NOW) as process:
        until(lambda: process.pid in running() or process.poll() is not None)
        time.sleep(delay)
        process.kill()
        process.wait()
    return process.pid, process.pid in running()


def nothing_is_locked() -> bool:
    """Whether no transaction is left of the processes that were killed."""
    if is_mysql():  # ends them once it sees that nobody is there, and lists them anew if not asked for 0.1 s
        return until(lambda: not db.execute_sql("SELECT 1 FROM information_schema.innodb_trx").fetchall(), pause=0.2)
    db.execute_sql("PRAGMA busy_timeout = 0")
    with db.atomic():
        db.execute_sql("PRAGMA busy_timeout = 10000")
    return True


def run(settings: Settings, job: str) -> None:
    with started(settings, *JOBS[job], now=NOW) as process:
        assert process.wait() == 0


def of_days(rows: list[list[tuple[Any, ...]]], days: set[date]) -> list[list[tuple[Any, ...]]]:
    texts = {str(day) for day in days}
    return [[row for row in table if str(row[0]) in texts] for table in rows]


def test_killed_runs_leave_whole_days_and_the_next_completes_them(settings: Settings, database: Any) -> None:
    Stream(1).store_past()
    seconds = {job: lasts(settings, job) for job in ("aggregate", "recompute")}
    undisturbed, whole = statistics(), rows_of_days(clean_days())
    chance = random.Random(1)
    pids, at_work = set(), 0
    for _ in range(KILLS):
        job = chance.choice(list(JOBS))
        if job == "aggregate":
            spoil(chance)
        pid, worked = killed(settings, job, chance.uniform(0, 0.9) * seconds[job])
        pids.add(pid)
        at_work += worked
        if not worked:  # the machine has become faster
            seconds[job] *= 0.8
        assert nothing_is_locked()
        assert disagreements() == []
        left = clean_days()
        assert rows_of_days(left) == of_days(whole, left)
    assert at_work > KILLS / 2
    assert pids <= runs_by_process().keys()
    for job in ("aggregate", "recompute"):
        run(settings, job)
        assert statistics() == undisturbed
    assert running() == set()


# --- the writer of readings -------------------------------------------------------------------------------------------


def forget_readings() -> None:
    """Parks and rides as if nothing had ever been seen of them."""
    forget_statistics()
    for model in (RideStatusSnapshot, ParkActivitySnapshot):
        model.delete().execute()
    Ride.update({Ride.last_operated_at: None}).execute()
    ServiceState.delete().where(ServiceState.name == state.NEWEST_SLOT).execute()


def seen() -> list[Any]:
    """All that storing readings writes, and the statistics made of them."""
    activity = fetch(ParkActivitySnapshot.select().order_by(*ParkActivitySnapshot._meta.get_primary_keys()))
    operated = fetch(Ride.select(Ride.ride_id, Ride.last_operated_at).order_by(Ride.ride_id))
    daily.aggregate(LATER)
    return [stored_facts(), activity, operated, state.get_state(state.NEWEST_SLOT), statistics()]


def write(settings: Settings, batches: list[Batch]) -> list[float]:
    """Let the writer store them all; how many seconds each took."""
    ends = []
    with writing(settings, batches) as writer:
        assert writer.stdout
        for line in writer.stdout:
            assert line == STORED
            ends.append(time.monotonic())
        assert (writer.wait(), len(ends)) == (0, len(batches))
    return [0.0, *(end - begin for begin, end in pairwise(ends))]


def killed_writer(settings: Settings, batches: list[Batch], number: int, delay: float) -> int:
    """Kill the writer `delay` seconds after it began with batch `number`: how many it says it has stored."""
    with writing(settings, batches) as writer:
        assert writer.stdout
        for _ in range(number):
            assert writer.stdout.readline() == STORED
        time.sleep(delay)
        writer.kill()
        return number + writer.stdout.read().count(STORED)


def stored_by_now(before: list[Batch], batches: list[Batch], said: int) -> list[Batch]:
    """What is stored of `batches` after `before`: as many as the writer said, or one more. Fails if it is anything
    else."""
    told = [before + batches[:number] for number in (said, said + 1)]
    facts = stored_facts()
    return next(one for one in told if facts_of(one) == facts)


def clean_days_are_right() -> bool:
    """Whether the days that the ledger calls clean would be computed as they are."""
    clean = clean_days()
    held = rows_of_days(clean)
    assert daily.recompute(sorted(clean, reverse=True), LATER, 1, force=True).is_whole
    return rows_of_days(clean) == held


def test_a_killed_writer_leaves_whole_batches_and_the_next_completes_them(settings: Settings, database: Any) -> None:
    stream = Stream(2)
    batches = list(islice(stream.coming(), BATCHES))
    stream.store_past()
    daily.aggregate(NOW)
    seconds = write(settings, batches)
    undisturbed = seen()

    forget_readings()
    stream.stored.clear()
    stream.store_past()
    daily.aggregate(NOW)
    chance = random.Random(2)
    late = [number for number, batch in enumerate(batches) if batch.readings[0][0] < pacific_day(TODAY).start]
    stored = stream.stored
    for _ in range(KILLS_OF_THE_WRITER):
        number = chance.choice(late)  # the largest batches, and those that spoil statistics
        said = killed_writer(settings, batches, number, chance.uniform(0, seconds[number]))
        assert said < BATCHES
        assert nothing_is_locked()
        stored = stored_by_now(stored, batches, said)
        assert disagreements() == []
        assert clean_days_are_right()
        daily.aggregate(LATER)
    write(settings, batches)
    assert seen() == undisturbed
