"""Daily statistics: one engine computes a day, and whatever is missing is computed. Nothing else writes daily rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from peewee import Field, PeeweeException

from service import database, rules
from service.database import fetch, reading, upsert
from service.errors import BadRequest, ServiceError, Unreachable
from service.jobs.joblog import logged
from service.jobs.marks import atomically, locked_revision, move_revisions
from service.jobs.versions import register
from service.models import DailyParkStats, DailyStats, StatDay
from service.periods import days_between, epoch, pacific_date, settles_at
from service.queries import state
from service.queries.catalog import ParkFacts, universe
from service.queries.days import ADOPTED_VERSION, Tallies, first_whole_day
from service.queries.gaps import Gap, day_gaps
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
log = logging.getLogger(__name__)

ERROR_CHARACTERS = 10_000  # of a job's log

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


class Refused(ServiceError):
    """A day that stays as it is, because its statistics were made of more readings than there are now."""

    def __init__(self, day: date, stored: int, samples: int) -> None:
        super().__init__(
            f"{day} was computed from {stored:,} readings in open hours, and {samples:,} are there now: it stays as it"
            " is; --force replaces it."
        )
        self.day, self.stored, self.samples = day, stored, samples


class Failure(NamedTuple):
    """A day that could not be computed, and why."""

    day: date
    error: str


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
        register(version, now)
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
    day: date,
    now: datetime,
    version: int,
    tallies: Tallies | None = None,
    *,
    recount: bool = False,
    guarded: bool = False,
) -> tuple[Tallies, DayStats]:
    """Compute a finished day and store its rows and its ledger entry in one transaction.

    `tallies` of the day computed before saves counting its neighbours again; it is dropped when readings of the past
    were written since. Writers wait for a day only if they were faster than its first computation. `recount`: take no
    stored day's word for what operated before. `guarded`: raise Refused instead of replacing a day that was made of
    more readings than this one.
    """
    tallies, stats = _count_day(day, now, version, tallies, recount)
    store = partial(_store_unless_moved, day, now, version, stats, tallies.revision, guarded)
    if not atomically(store):
        tallies, stats = atomically(partial(_compute_alone, day, now, version, recount, guarded))
    tallies.forget(after=day)
    return tallies, stats


def _count_day(
    day: date, now: datetime, version: int, tallies: Tallies | None, recount: bool
) -> tuple[Tallies, DayStats]:
    """The rows of a day, of one view of the database; writes nothing."""
    with reading():
        if tallies is None or tallies.revision != (state.get_state(state.REVISION_HISTORY) or 0):
            tallies = Tallies(now, version=version, recount=recount)
        return tallies, day_stats(tallies, day, version)


def _store_unless_moved(
    day: date, now: datetime, version: int, stats: DayStats, revision: int, guarded: bool
) -> bool:
    """Store a day that was computed at `revision`; False, and nothing written, if the past has changed since."""
    # Writers of readings move the revision before they mark days dirty: holding its row until commit means that they
    # mark this entry too, or that we see their revision here.
    if locked_revision() != revision:
        return False
    _store_guarded(day, now, version, stats, guarded)
    return True


def _compute_alone(
    day: date, now: datetime, version: int, recount: bool, guarded: bool
) -> tuple[Tallies, DayStats]:
    """Compute and store a day while whoever writes to the past waits."""
    locked_revision()
    tallies = Tallies(now, version=version, recount=recount)
    stats = day_stats(tallies, day, version)
    _store_guarded(day, now, version, stats, guarded)
    return tallies, stats


def _store_guarded(day: date, now: datetime, version: int, stats: DayStats, guarded: bool) -> None:
    if guarded:
        _ensure_no_loss(day, version, stats.sample_count)
    store_day(day, now, version, stats)


def _ensure_no_loss(day: date, version: int, samples: int) -> None:
    entry = StatDay.get_or_none((StatDay.stat_date == day) & (StatDay.metrics_version == version))
    if entry is not None and entry.sample_count > samples:
        raise Refused(day, entry.sample_count, samples)


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


# --- once more, whatever the ledger says ------------------------------------------------------------------------------

Work: TypeAlias = "Callable[[date, Tallies | None], tuple[Tallies, DayStats]]"


class Recomputation:
    """What a recomputation did, or would do: days computed, newest first, of how many rows and readings; the gaps in
    what was observed on the days looked at; days refused, and days that failed."""

    def __init__(self) -> None:
        self.days: list[date] = []
        self.rows = 0
        self.samples = 0
        self.gaps: set[Gap] = set()  # one that reaches over midnight is found on both days
        self.refused: list[Refused] = []
        self.failed: list[Failure] = []

    @property
    def is_whole(self) -> bool:
        """Whether every day was computed."""
        return not self.refused and not self.failed

    def add(self, day: date, stats: DayStats) -> None:
        """Count a day that was computed."""
        self.days.append(day)
        self.rows += len(stats.parks) + len(stats.rides)
        self.samples += stats.sample_count


def days_to_recompute(now: datetime, first: date | None, last: date | None, count: int | None) -> list[date]:
    """The days from `first` to `last`, or the last `count` finished ones, newest first.

    Raises BadRequest, with what to do, unless it is one of the two, in order, of finished Pacific days that can be
    counted from the readings held.
    """
    yesterday = pacific_date(now) - timedelta(days=1)
    if count is not None:
        if first or last:
            raise BadRequest("--days N is the last N finished days: leave out --start-date and --end-date, or --days.")
        first, last = yesterday - timedelta(days=count - 1), yesterday
    if first is None or last is None:
        raise BadRequest("Which days? --start-date and --end-date, both, or --days N for the last N finished ones.")
    if last < first:
        raise BadRequest(f"--start-date {first} is after --end-date {last}.")
    if last > yesterday:
        raise BadRequest(
            f"{last} is not over: {yesterday} is the last finished Pacific day, and the latest --end-date."
        )
    _ensure_held(first, yesterday)
    return list(reversed(list(days_between(first, last))))


def _ensure_held(first: date, yesterday: date) -> None:
    held = first_whole_day()
    if held is None or held > yesterday:
        raise BadRequest("No readings of a finished day are held: `cli import` or `cli demo` brings some.")
    if first < held:
        raise BadRequest(
            f"{first} cannot be computed again: readings of whole days are held from {held} on. Begin there"
            f" (--start-date {held}, or --days {(yesterday - held).days + 1}), or import the readings before."
        )


def ensure_computable(version: int) -> None:
    """Raise BadRequest for a version whose rules are no longer the code's."""
    if version < rules.METRICS_VERSION:
        raise BadRequest(
            f"--metrics-version {version} cannot be computed: the rules of this release are version"
            f" {rules.METRICS_VERSION}. Use that or a higher one."
        )


def recompute(
    days: list[date],
    now: datetime,
    version: int,
    *,
    force: bool = False,
    dry_run: bool = False,
    progress: Callable[[Recomputation, date], None] | None = None,
) -> Recomputation:
    """Compute these days anew from readings, in this order (newest first costs least), each in a transaction.

    A day that fails or is refused stays as it was, and does not stop the others. `force`: replace also days that were
    made of more readings. `dry_run`: compute and look, and write nothing. Without its database it ends with that error.
    """
    done = Recomputation()
    if dry_run:
        _recompute(done, days, partial(_try_day, now=now, version=version, guarded=not force), now, version, progress)
        return done
    with logged("recompute", now, start=min(days), end=max(days), metrics_version=version) as run:
        register(version, now)

        def work(day: date, tallies: Tallies | None) -> tuple[Tallies, DayStats]:
            return compute_day(day, now, version, tallies, recount=True, guarded=not force)

        try:
            _recompute(done, days, work, now, version, progress)
        finally:
            run.rows_processed, run.warnings = done.rows, len(done.gaps) + len(done.refused)
            if done.days:  # other rules may say otherwise of them
                atomically(partial(move_revisions, current=False, history=True))
        if done.failed:
            run.failure = "; ".join(f"{failure.day}: {failure.error}" for failure in done.failed)[:ERROR_CHARACTERS]
    return done


def _try_day(
    day: date, tallies: Tallies | None, *, now: datetime, version: int, guarded: bool
) -> tuple[Tallies, DayStats]:
    """What compute_day would do, without writing."""
    tallies, stats = _count_day(day, now, version, tallies, recount=True)
    if guarded:
        _ensure_no_loss(day, version, stats.sample_count)
    return tallies, stats


def _recompute(
    done: Recomputation,
    days: list[date],
    work: Work,
    now: datetime,
    version: int,
    progress: Callable[[Recomputation, date], None] | None,
) -> None:
    tallies: Tallies | None = None
    for day in days:
        try:
            tallies = _one_day(done, day, work, tallies, now, version)
        except Exception as error:
            done.failed.append(Failure(day, _said(error)))
            log.debug("%s could not be computed", day, exc_info=True)
            tallies = None
        if progress:
            progress(done, day)


def _one_day(
    done: Recomputation, day: date, work: Work, tallies: Tallies | None, now: datetime, version: int
) -> Tallies:
    try:
        tallies, stats = work(day, tallies)
        done.add(day, stats)
    except Refused as refusal:
        done.refused.append(refusal)
    with reading():
        tallies = tallies or Tallies(now, version=version, recount=True)
        done.gaps.update(day_gaps(tallies, day))
    tallies.forget(after=day)
    return tallies


def _said(error: Exception) -> str:
    """A failure in one sentence. Raised again where no other day could do better: the database is gone."""
    if not isinstance(error, PeeweeException):
        return str(error) if isinstance(error, ServiceError) else f"{type(error).__name__}: {error}"
    explained = database.explained(error)
    if isinstance(explained, Unreachable):
        raise error
    return str(explained)
