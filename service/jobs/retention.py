"""Retention: readings go once the statistics of their days are right; what was computed of them stays for ever.

A day is given up first (RAW_FROM, which queries and writers heed) and its readings are deleted then, in small batches:
stopped at any moment, no answer has seen half a day, and the next run goes on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple

from peewee import Expression, fn

from service import rules
from service.config import Settings
from service.database import fetch
from service.jobs.joblog import Run, logged
from service.jobs.marks import atomically, locked_revision, move_revisions, raise_state
from service.jobs.patience import patiently
from service.models import (
    AggregationJobLog,
    DataQualityIssue,
    JobStatus,
    ParkActivitySnapshot,
    ParkSchedule,
    RideStatusSnapshot,
    StatDay,
    WeatherForecast,
    WeatherObservation,
)
from service.models.base import Base, rows
from service.periods import days_between, pacific_date, pacific_day
from service.queries import state
from service.queries.catalog import park_zones
from service.queries.days import ADOPTED_VERSION, first_whole_day, oldest_slot, settled_at
from service.queries.hours import REACH, as_date

ONE_DAY: Final = timedelta(days=1)
HOUR: Final = 3600

BATCH_SECONDS: Final = 0.25  # what deleting a batch of readings should take: nobody waits longer for its locks
FIRST_MINUTES: Final = 15  # of readings, in the first batch
MOST_MINUTES: Final = 60  # in any: after nights of nothing a day of all parks may follow
ROWS_AT_ONCE: Final = 500  # of the other tables

SNAPSHOTS: Final = (RideStatusSnapshot, ParkActivitySnapshot)

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much


class Blocked(NamedTuple):
    """The day whose readings are still needed, which keeps those before it too; why, and what to do."""

    day: date
    reason: str


class Pruned(NamedTuple):
    """What a run removed, or would remove: rows by table. What it leaves: `held_from` = the Pacific day of the oldest
    reading (None: there is none), `raw_from` = the midnight before which all were given up (epoch seconds; None: none
    ever was). `is_complete`: the run was not told to end early."""

    rows: dict[str, int]
    raw_from: int | None
    held_from: date | None
    blocked: Blocked | None
    is_complete: bool = True


class _Goal(NamedTuple):
    """The days that can be given up, oldest first, and what keeps others; where readings begin then."""

    days: list[date]
    blocked: Blocked | None
    raw_from: int | None


class _Expired(NamedTuple):
    """Rows of a table that can go, looked up by `key` in the order of an index, so many keys at once."""

    model: type[Base]
    key: Any
    order: Any
    condition: Expression
    at_once: int = ROWS_AT_ONCE


def plan(settings: Settings, now: datetime) -> Pruned:
    """What `prune` would do. Counts all rows that would go, and writes nothing."""
    goal = _goal(settings, now)
    raw_from = goal.raw_from or 0
    counts: dict[type[Base], int] = {
        part.model: part.model.select().where(part.condition).count() for part in _others(settings, now, raw_from)
    }
    for model in SNAPSHOTS:
        counts[model] = model.select().where(model.snapshot_time < raw_from).count()
    slot = RideStatusSnapshot.snapshot_time
    oldest = fetch(RideStatusSnapshot.select(fn.MIN(slot)).where(slot >= raw_from))[0][0]
    return Pruned(_by_table(counts), goal.raw_from, _date_of(oldest), goal.blocked)


def prune(
    settings: Settings,
    now: datetime,
    *,
    progress: Progress | None = None,
    proceed: Callable[[], bool] = lambda: True,
) -> Pruned:
    """Remove what is past retention: readings of days whose statistics are right, oldest first; schedules that judge
    none of the readings left; old weather, doubts and runs of the job log. One run in that log, unless there is nothing
    to do.

    Each batch is a transaction of its own, and `proceed` is asked before it: False ends the run, and the next one goes
    on. A database that is away is waited for.
    """
    goal = patiently(partial(_goal, settings, now))
    work = _Work(progress, proceed)
    if patiently(partial(_has_work, settings, now, goal)):
        first, last = (goal.days[0], goal.days[-1]) if goal.days else (None, None)
        with logged("prune", now, start=first, end=last) as work.run:
            if not work.give_up(goal.days):  # what was right is not any more
                goal = patiently(partial(_goal, settings, now))
            for part in _others(settings, now, patiently(_raw_from) or 0):
                work.remove(part)
    return patiently(partial(work.result, goal.blocked))


def paced(slots: int, seconds: float, most: int) -> int:
    """How many slots the next batch deletes, when one of `slots` took so long: at least one, at most `most`."""
    if seconds > BATCH_SECONDS:
        return max(1, min(slots // 2, int(slots * BATCH_SECONDS / seconds)))
    return min(2 * slots, most) if seconds < BATCH_SECONDS / 2 else min(slots, most)


# --- which days can go -----------------------------------------------------------------------------------------------


def _goal(settings: Settings, now: datetime) -> _Goal:
    raw_from, oldest = _raw_from(), oldest_slot()
    # Days are counted from the readings of the day before too.
    last = pacific_date(now) - (settings.raw_retention_days + 2) * ONE_DAY
    if oldest is None or pacific_date(oldest) > last:
        return _Goal([], None, raw_from)
    first = pacific_date(oldest)
    blocked = _first_needed(first, last + ONE_DAY)
    if blocked:
        last = blocked.day - 2 * ONE_DAY
    days = list(days_between(first, last))
    return _Goal(days, blocked, pacific_day(last).end if days else raw_from)


def _raw_from() -> int | None:
    return state.get_state(state.RAW_FROM)


class _Entry(NamedTuple):
    stat_date: date | str
    version: int
    computed_at: int
    dirty: int


def _first_needed(first: date, last: date) -> Blocked | None:
    """The first of the days whose statistics are not right, so that its readings are needed, and the day's before."""
    ledger: dict[date, list[_Entry]] = defaultdict(list)
    table = StatDay
    query = table.select(table.stat_date, table.metrics_version, table.computed_at, table.dirty)
    for entry in rows(query.where(table.stat_date.between(first, last)), _Entry):
        ledger[as_date(entry.stat_date)].append(entry)
    zones = park_zones()
    whole, active = first_whole_day(), state.active_version()
    for day in days_between(first, last):
        settled = settled_at(day, zones)
        can_be_counted = whole is not None and day >= whole
        reason = _why_needed(day, ledger[day], settled, active, can_be_counted)
        if reason:
            return Blocked(day, reason)
    return None


def _why_needed(
    day: date, entries: list[_Entry], settled: int, active: int, can_be_counted: bool
) -> str | None:
    """Why a day cannot be left to its entries of the ledger; None if it can.

    What readers take, the highest clean one up to the active version, must have seen all that could change the day
    (adopted history always has), and, while it can still be counted, be of the active version.
    """
    readable = [entry for entry in entries if entry.version <= active]
    best = max((entry for entry in readable if not entry.dirty), key=lambda entry: entry.version, default=None)
    if best is None:
        is_final = bool(readable) and not can_be_counted
    elif best.version == ADOPTED_VERSION:
        is_final = True
    else:
        is_final = best.computed_at >= settled and (best.version == active or not can_be_counted)
    if is_final:
        return None
    above = [entry.version for entry in entries if not entry.dirty and entry.version > active]
    if above:
        return f"its statistics are right at version {max(above)} only: `cli metrics promote {max(above)}`."
    if not can_be_counted:
        return "it has no statistics, and too few readings are left to compute them: `cli import` those before it."
    if active > rules.METRICS_VERSION:
        span = f"--start-date {day} --end-date {day}"
        return f"it is not computed at the active version: `cli recompute --metrics-version {active} {span}`."
    return "its statistics are missing or no longer right: `cli aggregate` computes them."


def _give_up(day: date) -> bool:
    """Give up the oldest day, before anything of it is deleted; False if its readings are needed. To be called in a
    transaction."""
    # Whoever marks a day dirty, or stores one, holds this first: from here on nothing becomes wrong or right.
    locked_revision()
    if _first_needed(day, day + ONE_DAY):
        return False
    raise_state(state.RAW_FROM, pacific_day(day).end)
    move_revisions(current=False, history=True)
    return True


# --- deleting --------------------------------------------------------------------------------------------------------


class _Work:
    """A run: what it removed so far, and whether it was told to end."""

    def __init__(self, progress: Progress | None, proceed: Callable[[], bool]) -> None:
        self.run = Run()
        self.progress = progress
        self.proceed = proceed
        self.removed: Counter[type[Base]] = Counter()
        self.is_stopped = False
        self.step = patiently(state.interval_minutes) * 60
        self.most = max(1, MOST_MINUTES * 60 // self.step)
        self.slots = max(1, FIRST_MINUTES * 60 // self.step)

    def result(self, blocked: Blocked | None) -> Pruned:
        """What became of it."""
        return Pruned(_by_table(self.removed), _raw_from(), _date_of(oldest_slot()), blocked, not self.is_stopped)

    def give_up(self, days: list[date]) -> bool:
        """Remove what is left of days that were given up before, then the readings of these. False if one of them is
        needed after all: it and the rest stay."""
        given_up = patiently(_raw_from) or 0
        last = pacific_day(days[-1]).end if days else given_up
        start = at = patiently(partial(_first_slot, 0, last))
        at = self._delete_until(given_up, at, start, last)
        for day in days:
            if not self._goes_on():
                break
            if not patiently(partial(atomically, partial(_give_up, day))):
                return False
            at = self._delete_until(pacific_day(day).end, at, start, last)
        return True

    def _delete_until(self, end: int, at: int, start: int, last: int) -> int:
        """Delete the readings and slots from `at`, where the first ones lie, to `end`; how far it got on the way from
        `start` to `last`."""
        while at < end and self._goes_on():
            until = min(end, at + self.slots * self.step)
            started = monotonic()
            removed = patiently(partial(atomically, partial(_delete_slots, at, until)))
            self.slots = paced(self.slots, monotonic() - started, self.most)
            self._count(removed)
            at = until if any(removed.values()) else patiently(partial(_first_slot, until, end))
            if self.progress:
                self.progress("Removing hours of readings", (at - start) // HOUR, (last - start) // HOUR)
        return at

    def remove(self, part: _Expired) -> None:
        """Delete these rows."""
        since = None
        while self._goes_on() and (found := patiently(partial(_next_keys, part, since))):
            chosen = part.condition & part.key.in_([key for key, _ in found])
            removed = patiently(partial(atomically, part.model.delete().where(chosen).execute))
            self._count({part.model: removed})
            since = found[-1][1]

    def _goes_on(self) -> bool:
        self.is_stopped = self.is_stopped or not self.proceed()
        return not self.is_stopped

    def _count(self, removed: dict[type[Base], int]) -> None:
        self.removed.update(removed)
        self.run.rows_processed = self.removed.total()


def _delete_slots(start: int, end: int) -> dict[type[Base], int]:
    """The rows deleted of each table."""
    return {
        model: model.delete().where(model.snapshot_time >= start, model.snapshot_time < end).execute()
        for model in SNAPSHOTS
    }


def _first_slot(since: int, end: int) -> int:
    """The first slot from `since` on that either table has, whether given up or not; at most `end`."""
    firsts: list[int | None] = [
        fetch(model.select(fn.MIN(model.snapshot_time)).where(model.snapshot_time >= since))[0][0]
        for model in SNAPSHOTS
    ]
    return min([end, *(first for first in firsts if first is not None)])


def _others(settings: Settings, now: datetime, raw_from: int) -> list[_Expired]:
    """What else can go when readings begin at `raw_from`."""
    observation, forecast, schedule, log = WeatherObservation, WeatherForecast, ParkSchedule, AggregationJobLog
    issue = DataQualityIssue

    def ago(days: int) -> int:
        return pacific_day(pacific_date(now) - days * ONE_DAY).start

    # Readings of a Pacific day may be of the local day before, and a row tells of those within its reach.
    judging = pacific_date(raw_from) - REACH - ONE_DAY
    ended: Any = (log.started_at < ago(settings.raw_retention_days)) & (log.status != JobStatus.RUNNING)
    observed: Any = observation.observation_time < ago(settings.weather_observation_days)
    doubted: Any = issue.detected_at < ago(settings.raw_retention_days)  # what lasts is said again each day
    issued: Any = forecast.issued_at < ago(settings.weather_forecast_days)
    return [
        _Expired(schedule, schedule.park, schedule.park, schedule.schedule_date < judging, at_once=1),
        _Expired(observation, observation.observation_id, observation.observation_time, observed),
        _Expired(forecast, forecast.forecast_id, forecast.issued_at, issued),
        _Expired(log, log.job_id, log.job_id, ended),
        _Expired(issue, issue.issue_id, issue.detected_at, doubted),
    ]


def _next_keys(part: _Expired, since: Any) -> list[tuple[Any, ...]]:
    """The next keys, and what they are in order of: looked up before, so that no lock is held on rows that stay."""
    query = part.model.select(part.key, part.order).where(part.condition)
    if since is not None:
        query = query.where(part.order >= since)
    return fetch(query.distinct().order_by(part.order, part.key).limit(part.at_once))


def _has_work(settings: Settings, now: datetime, goal: _Goal) -> bool:
    raw_from = goal.raw_from or 0
    return _first_slot(0, raw_from) < raw_from or any(
        part.model.select().where(part.condition).exists() for part in _others(settings, now, raw_from)
    )


def _by_table(removed: Mapping[type[Base], int]) -> dict[str, int]:
    models = (*SNAPSHOTS, ParkSchedule, WeatherObservation, WeatherForecast, AggregationJobLog, DataQualityIssue)
    return {model._meta.table_name: removed.get(model, 0) for model in models}


def _date_of(slot: int | None) -> date | None:
    return None if slot is None else pacific_date(slot)
