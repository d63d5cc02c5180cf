"""Daily statistics: one engine computes a day, and whatever is missing is computed. Nothing else writes daily rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from peewee import Field

from service import rules
from service.database import fetch, reading, upsert
from service.jobs.joblog import logged
from service.jobs.marks import atomically, locked_revision
from service.models import DailyParkStats, DailyStats, StatDay
from service.periods import days_between, epoch, pacific_date, settles_at
from service.queries import state
from service.queries.catalog import ParkFacts, universe
from service.queries.days import ADOPTED_VERSION, Tallies, first_whole_day
from service.queries.hours import as_date
from service.queries.tally import ParkTally, RideTally

PARK_COLUMNS: list[Field[Any]] = [
    DailyParkStats.stat_date,
    DailyParkStats.park,
    DailyParkStats.metrics_version,
    DailyParkStats.sample_count,
    DailyParkStats.open_minutes,
    DailyParkStats.rides_tracked,
    DailyParkStats.rides_with_downtime,
    DailyParkStats.operating_minutes,
    DailyParkStats.total_downtime_minutes,
    DailyParkStats.weighted_downtime_minutes,
    DailyParkStats.roster_weight,
    DailyParkStats.uptime_percentage,
    DailyParkStats.shame_score,
    DailyParkStats.wait_sum,
    DailyParkStats.wait_samples,
    DailyParkStats.avg_wait_time,
    DailyParkStats.peak_wait_time,
    DailyParkStats.computed_at,
]
RIDE_COLUMNS: list[Field[Any]] = [
    DailyStats.stat_date,
    DailyStats.ride,
    DailyStats.metrics_version,
    DailyStats.park_id,
    DailyStats.weight,
    DailyStats.sample_count,
    DailyStats.open_minutes,
    DailyStats.operating_minutes,
    DailyStats.total_downtime_minutes,
    DailyStats.downtime_incidents,
    DailyStats.longest_downtime_minutes,
    DailyStats.status_changes,
    DailyStats.uptime_percentage,
    DailyStats.shame_score,
    DailyStats.wait_sum,
    DailyStats.wait_samples,
    DailyStats.avg_wait_time,
    DailyStats.min_wait_time,
    DailyStats.max_wait_time,
    DailyStats.computed_at,
]
LEDGER_COLUMNS: list[Field[Any]] = [
    StatDay.stat_date,
    StatDay.metrics_version,
    StatDay.sample_count,
    StatDay.computed_at,
    StatDay.dirty,
]


class DayStats(NamedTuple):
    """The rows of one day, laid out as PARK_COLUMNS and RIDE_COLUMNS, and how many readings they were made of."""

    parks: list[tuple[object, ...]]
    rides: list[tuple[object, ...]]
    sample_count: int


class Report(NamedTuple):
    """What an aggregation did: days computed, rows written, readings they were made of."""

    days: list[date]
    rows: int
    samples: int


def aggregate(
    now: datetime, through: date | None = None, progress: Callable[[date], None] | None = None
) -> Report:
    """Compute every finished Pacific day up to `through` that is missing or dirty, newest first.

    Each day is a transaction of its own: stopped at any moment, the next run goes on with what is left.
    """
    version = rules.METRICS_VERSION
    days = missing_days(now, version, through)
    if not days:
        return Report([], 0, 0)
    rows = samples = 0
    with logged("aggregate", now, start=days[-1], end=days[0], metrics_version=version) as run:
        tallies: Tallies | None = None
        for day in days:
            tallies, stats = compute_day(day, now, version, tallies)
            rows += len(stats.parks) + len(stats.rides)
            samples += stats.sample_count
            run.rows_processed = rows
            if progress:
                progress(day)
    return Report(days, rows, samples)


def missing_days(now: datetime, version: int, through: date | None = None) -> list[date]:
    """The finished Pacific days from the first reading's on whose statistics are not (or no longer) right, newest
    first: never computed, dirty, or computed before the last local day that overlaps them was over."""
    first = first_whole_day()
    yesterday = pacific_date(now) - timedelta(days=1)
    last = yesterday if through is None else min(through, yesterday)
    if first is None:
        return []
    right = set(_right_days(epoch(now), version, {park.timezone for park in universe().parks.values()}))
    return [day for day in reversed(list(days_between(first, last))) if day not in right]


def _right_days(now: int, version: int, zones: set[str]) -> Iterator[date]:
    query = StatDay.select(StatDay.stat_date, StatDay.computed_at, StatDay.metrics_version).where(
        StatDay.metrics_version.in_((version, ADOPTED_VERSION)), ~StatDay.dirty
    )
    for stat_date, computed_at, found in fetch(query):
        day = as_date(stat_date)
        settled = max((settles_at(day, zone) for zone in zones), default=0)
        # Rows made before that are right so far: see `Tallies`. Adopted ones are not made of the readings held.
        if computed_at >= settled or now < settled or found == ADOPTED_VERSION:
            yield day


def compute_day(
    day: date, now: datetime, version: int, tallies: Tallies | None = None
) -> tuple[Tallies, DayStats]:
    """Compute a finished day and store its rows and its ledger entry in one transaction.

    `tallies` of the day computed before saves counting its neighbours again; it is dropped when readings of the past
    were written since. Writers wait for a day only if they were faster than its first computation.
    """
    with reading():
        revision = state.get_state(state.REVISION_HISTORY) or 0
        if tallies is None or tallies.revision != revision:
            tallies = Tallies(now, version=version)
        stats = day_stats(tallies, day, version)
    if not atomically(partial(_store_unless_moved, day, now, version, stats, revision)):
        tallies, stats = atomically(partial(_compute_alone, day, now, version))
    tallies.forget(after=day)
    return tallies, stats


def _store_unless_moved(day: date, now: datetime, version: int, stats: DayStats, revision: int) -> bool:
    """Store a day that was computed at `revision`; False, and nothing written, if the past has changed since."""
    # Writers of readings move the revision before they mark days dirty: holding its row until commit means that they
    # mark this entry too, or that we see their revision here.
    if locked_revision() != revision:
        return False
    store_day(day, now, version, stats)
    return True


def _compute_alone(day: date, now: datetime, version: int) -> tuple[Tallies, DayStats]:
    """Compute and store a day while whoever writes to the past waits."""
    locked_revision()
    tallies = Tallies(now, version=version)
    stats = day_stats(tallies, day, version)
    store_day(day, now, version, stats)
    return tallies, stats


def day_stats(tallies: Tallies, day: date, version: int) -> DayStats:
    """The rows of a day from raw readings, for every active park and every other park with readings. Writes nothing."""
    parks: list[tuple[object, ...]] = []
    rides: list[tuple[object, ...]] = []
    samples = 0
    for park in tallies.universe.parks.values():
        counted = tallies.count(park, day)
        if not park.is_active and not counted.rides:
            continue
        total = tallies.park_day(park, day)
        parks.append(_park_row(tallies, total, version))
        rides += [_ride_row(tallies, park, total, ride, version) for ride in counted.rides.values()]
        samples += sum(ride.samples for ride in counted.rides.values())
    return DayStats(parks, rides, samples)


def _park_row(tallies: Tallies, total: ParkTally, version: int) -> tuple[object, ...]:
    minutes = tallies.interval_minutes
    return (
        total.day,
        total.park_id,
        version,
        total.slots,
        total.open_slots * minutes,
        total.rides_tracked,
        total.rides_with_downtime,
        total.operating * minutes,
        total.down * minutes,
        total.weighted_down * minutes,
        total.roster_weight,
        rules.rounded(rules.uptime_percentage(total.operating, total.down), 1),
        rules.rounded(total.score, 3),
        total.wait_sum,
        total.wait_samples,
        rules.rounded(rules.average_wait(total.wait_sum, total.wait_samples), 1),
        total.wait_max,
        tallies.now,
    )


def _ride_row(
    tallies: Tallies, park: ParkFacts, total: ParkTally, ride: RideTally, version: int
) -> tuple[object, ...]:
    minutes = tallies.interval_minutes
    weight = tallies.universe.rides[ride.ride_id].weight
    share = rules.shame_score(weight * ride.down, total.roster_weight, total.slots) if ride.operated else None
    return (
        total.day,
        ride.ride_id,
        version,
        park.park_id,
        weight,
        ride.samples,
        total.open_slots * minutes,
        ride.operating * minutes,
        ride.down * minutes,
        ride.incidents,
        ride.longest * minutes or None,
        ride.status_changes,
        rules.rounded(rules.uptime_percentage(ride.operating, ride.down), 1),
        rules.rounded(share, 3),
        ride.wait_sum,
        ride.wait_samples,
        rules.rounded(rules.average_wait(ride.wait_sum, ride.wait_samples), 1),
        ride.wait_min,
        ride.wait_max,
        tallies.now,
    )


def store_day(day: date, now: datetime, version: int, stats: DayStats) -> None:
    """Replace a day's rows and its ledger entry; to be called in a transaction."""
    for model in (DailyStats, DailyParkStats):
        model.delete().where(model.stat_date == day, model.metrics_version == version).execute()
    upsert(DailyParkStats, PARK_COLUMNS, stats.parks, key=PARK_COLUMNS[:3])
    upsert(DailyStats, RIDE_COLUMNS, stats.rides, key=RIDE_COLUMNS[:3])
    upsert(StatDay, LEDGER_COLUMNS, [(day, version, stats.sample_count, now, False)], key=LEDGER_COLUMNS[:2])
