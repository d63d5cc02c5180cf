"""Daily statistics: one engine computes a day, and whatever is missing is computed. Nothing else writes daily rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from peewee import Expression, Field, PeeweeException, fn

from service import database, rules
from service.database import fetch, reading, upsert
from service.errors import BadRequest, ServiceError, Unreachable
from service.jobs.joblog import Run, logged, said
from service.jobs.marks import atomically, locked_revision, move_revisions
from service.jobs.patience import patiently
from service.jobs.versions import register
from service.models import DailyParkStats, DailyStats, StatDay
from service.periods import days_between, epoch, iso_utc, pacific_date, pacific_day
from service.queries import state
from service.queries.catalog import ParkFacts, park_zones, universe
from service.queries.days import ADOPTED_VERSION, LATEST_SETTLING, Stored, Tallies, first_whole_day, held_by, settled_at
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

LEDGER_COLUMNS: list[Field[Any]] = [
    StatDay.stat_date,
    StatDay.metrics_version,
    StatDay.sample_count,
    StatDay.computed_at,
    StatDay.dirty,
]


class Task(NamedTuple):
    """What to compute of days, and how.

    `recount`: take no stored day's word for what operated before. `guarded`: raise Refused instead of replacing rows
    that were made of more readings than there are now. `parks`: only the rows of these, of days that are stored.
    """

    version: int
    recount: bool = False
    guarded: bool = False
    parks: frozenset[int] | None = None

    def tallies(self, now: datetime) -> Tallies:
        """Counts to compute from; its universe has the wanted parks only."""
        tallies = Tallies(now, version=self.version, recount=self.recount)
        if self.parks is not None:
            wanted = {park_id: park for park_id, park in tallies.universe.parks.items() if park_id in self.parks}
            tallies.universe = tallies.universe._replace(parks=wanted)
        return tallies


class DayStats(NamedTuple):
    """The rows of one day, laid out as PARK_COLUMNS and RIDE_COLUMNS, and how many readings they were made of."""

    parks: list[tuple[object, ...]]
    rides: list[tuple[object, ...]]
    sample_count: int


class Refused(ServiceError):
    """A day that stays as it is, because its statistics were made of more readings than there are now; or those of
    these parks."""

    def __init__(self, day: date, stored: int, samples: int, parks: Collection[int] | None = None) -> None:
        of = f" of {named(parks)}" if parks else ""
        super().__init__(
            f"{day} was computed from {stored:,} readings{of} in open hours, and {samples:,} are there now: it stays as"
            " it is; --force replaces it."
        )
        self.day, self.stored, self.samples = day, stored, samples


class Failure(NamedTuple):
    """A day that could not be computed, and why."""

    day: date
    error: str


class Computation:
    """What was computed, or would be: days, newest first, of how many rows and readings; the gaps in what was observed
    on the days looked at, where they are wanted; days refused, and days that failed. `run` is its run in the log."""

    def __init__(self, *, with_gaps: bool = False) -> None:
        self.days: list[date] = []
        self.rows = 0
        self.samples = 0
        self.with_gaps = with_gaps
        self.gaps: set[Gap] = set()  # one that reaches over midnight is found on both days
        self.refused: list[Refused] = []
        self.failed: list[Failure] = []
        self.run: Run | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every day was computed."""
        return not self.refused and not self.failed

    def add(self, day: date, stats: DayStats) -> None:
        """Count a day that was computed."""
        self.days.append(day)
        self.rows += len(stats.parks) + len(stats.rides)
        self.samples += stats.sample_count

    def end(self, run: Run) -> None:
        """Tell the log."""
        self.run = run
        run.rows_processed, run.warnings = self.rows, len(self.gaps) + len(self.refused)
        run.failure = "; ".join(f"{failure.day}: {failure.error}" for failure in self.failed) or None


Progress: TypeAlias = "Callable[[Computation, date], None]"
Work: TypeAlias = "Callable[[date, datetime, Task, Tallies | None], tuple[Tallies, DayStats]]"


def aggregate(
    now: datetime,
    through: date | None = None,
    progress: Progress | None = None,
    proceed: Callable[[], bool] = lambda: True,
) -> Computation:
    """Compute every finished Pacific day up to `through` that is missing or dirty, newest first.

    Each day is a transaction of its own: stopped at any moment, or when `proceed` says no, the next run goes on with
    what is left. A day that fails does not stop the others; a database that is away is waited for.
    """
    task, done = Task(rules.METRICS_VERSION), Computation()
    days = patiently(lambda: missing_days(now, task.version, through))
    if not days or not proceed():
        return done
    with logged("aggregate", now, start=days[-1], end=days[0], metrics_version=task.version) as run:
        patiently(lambda: register(task.version, now))
        try:
            _compute(done, days, compute_day, now, task, progress, proceed)
        finally:
            done.end(run)
    return done


def missing_days(now: datetime, version: int, through: date | None = None) -> list[date]:
    """The finished Pacific days from the first reading's on whose statistics are not (or no longer) right, newest
    first: never computed, dirty, or computed before the last local day that overlaps them was over."""
    first = first_whole_day()
    yesterday = pacific_date(now) - timedelta(days=1)
    last = yesterday if through is None else min(through, yesterday)
    if first is None:
        return []
    right = set(_right_days(first, last, epoch(now), version))
    return [day for day in reversed(list(days_between(first, last))) if day not in right]


def _right_days(first: date, last: date, now: int, version: int) -> Iterator[date]:
    zones = park_zones()
    query = StatDay.select(StatDay.stat_date, StatDay.computed_at, StatDay.metrics_version).where(
        StatDay.stat_date.between(first, last), StatDay.metrics_version.in_((version, ADOPTED_VERSION)), ~StatDay.dirty
    )
    for stat_date, computed_at, found in fetch(query):
        day = as_date(stat_date)
        # Rows made before that are right so far: see `Tallies`. Adopted ones are not made of the readings held.
        is_final = found == ADOPTED_VERSION or computed_at >= pacific_day(day).end + LATEST_SETTLING
        if is_final or not computed_at < settled_at(day, zones) <= now:
            yield day


def compute_day(day: date, now: datetime, task: Task, tallies: Tallies | None = None) -> tuple[Tallies, DayStats]:
    """Compute a finished day and store its rows and its ledger entry in one transaction.

    `tallies` of the day computed before saves counting its neighbours again; it is dropped when readings of the past
    were written since. Writers wait for a day only if they were faster than its first computation.
    """
    tallies, stats = _count_day(day, now, task, tallies)
    if not atomically(partial(_store_unless_moved, day, now, task, stats, tallies.revision)):
        tallies, stats = atomically(partial(_compute_alone, day, now, task))
    tallies.forget(after=day)
    return tallies, stats


def _count_day(day: date, now: datetime, task: Task, tallies: Tallies | None) -> tuple[Tallies, DayStats]:
    """The rows of a day, of one view of the database; writes nothing."""
    with reading():
        if tallies is None or tallies.revision != (state.get_state(state.REVISION_HISTORY) or 0):
            tallies = task.tallies(now)
        return tallies, _held_day_stats(tallies, day, task.version)


def _store_unless_moved(day: date, now: datetime, task: Task, stats: DayStats, revision: int) -> bool:
    """Store a day that was computed at `revision`; False, and nothing written, if the past has changed since."""
    # Writers of readings move the revision before they mark days dirty: holding its row until commit means that they
    # mark this entry too, or that we see their revision here.
    if locked_revision() != revision:
        return False
    _store_guarded(day, now, task, stats)
    return True


def _compute_alone(day: date, now: datetime, task: Task) -> tuple[Tallies, DayStats]:
    """Compute and store a day while whoever writes to the past waits."""
    locked_revision()
    tallies = task.tallies(now)
    stats = _held_day_stats(tallies, day, task.version)
    _store_guarded(day, now, task, stats)
    return tallies, stats


def _store_guarded(day: date, now: datetime, task: Task, stats: DayStats) -> None:
    _ensure_no_loss(day, task, stats.sample_count)
    if task.parks is not None:
        ensure_stored([day], now, task.version)
    store_day(day, now, task.version, stats, task.parks)


def _ensure_no_loss(day: date, task: Task, samples: int) -> None:
    if not task.guarded:
        return
    stored = _stored_samples(day, task.version, task.parks)
    if stored > samples:
        raise Refused(day, stored, samples, task.parks)


def _held_day_stats(tallies: Tallies, day: date, version: int) -> DayStats:
    if tallies.first_day is None or day < tallies.first_day:
        raise ServiceError(f"{day} cannot be computed any more: its readings were removed meanwhile.")
    return day_stats(tallies, day, version)


def day_stats(tallies: Tallies, day: date, version: int) -> DayStats:
    """The rows of a day from raw readings, for every active park of the universe and every other with readings. Writes
    nothing."""
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


def store_day(
    day: date, now: datetime, version: int, stats: DayStats, parks: Collection[int] | None = None
) -> None:
    """Replace a day's rows and its ledger entry; to be called in a transaction.

    With `parks` the rows of these only: the entry says as before when the others were computed, and whether they hold.
    """
    before = 0 if parks is None else _stored_samples(day, version, parks)
    for model, park in ((DailyStats, DailyStats.park_id), (DailyParkStats, DailyParkStats.park)):
        replaced = held_by(_rows_of(day, version, parks), model.stat_date, model.metrics_version, park)
        model.delete().where(replaced).execute()
    upsert(DailyParkStats, PARK_COLUMNS, stats.parks, key=PARK_COLUMNS[:3])
    upsert(DailyStats, RIDE_COLUMNS, stats.rides, key=RIDE_COLUMNS[:3])
    if parks is None:
        upsert(StatDay, LEDGER_COLUMNS, [(day, version, stats.sample_count, now, False)], key=LEDGER_COLUMNS[:2])
    else:
        samples: Any = StatDay.sample_count + (stats.sample_count - before)
        StatDay.update({StatDay.sample_count: samples}).where(_entry_of(day, version)).execute()


def _rows_of(day: date, version: int, parks: Collection[int] | None) -> Stored:
    return Stored(version, (day,), None if parks is None else tuple(sorted(parks)))


def _entry_of(day: date, version: int) -> Expression:
    return (StatDay.stat_date == day) & (StatDay.metrics_version == version)


def _stored_samples(day: date, version: int, parks: Collection[int] | None) -> int:
    """Of how many readings the stored rows of a day, or of these parks, were made; 0 without any."""
    if parks is None:
        query: Any = StatDay.select(StatDay.sample_count).where(_entry_of(day, version))
    else:
        stats, rows = DailyStats, _rows_of(day, version, parks)
        query = stats.select(fn.SUM(stats.sample_count)).where(
            held_by(rows, stats.stat_date, stats.metrics_version, stats.park_id)
        )
    return int(sum(samples or 0 for (samples,) in fetch(query)))


# --- once more, whatever the ledger says ------------------------------------------------------------------------------

def named(parks: Collection[int]) -> str:
    """`park 1`, or `parks 1, 5`."""
    return f"park{'s' if len(parks) > 1 else ''} {', '.join(map(str, sorted(parks)))}"


def ensure_known(parks: Collection[int]) -> None:
    """Raise BadRequest for the id of no park."""
    unknown = sorted(set(parks) - universe().parks.keys())
    if unknown:
        raise BadRequest(f"Unknown {named(unknown)}.")


def ensure_stored(days: list[date], now: datetime, version: int) -> None:
    """Raise BadRequest, with what to do, for a day without statistics, which the rows of some parks do not make whole;
    or with later ones: the entry would promise readings that rows of `now` have not seen."""
    query = StatDay.select(StatDay.stat_date).where(
        StatDay.stat_date.between(min(days), max(days)), StatDay.metrics_version == version, StatDay.computed_at <= now
    )
    missing = set(days) - {as_date(day) for (day,) in fetch(query)}
    if missing:
        raise BadRequest(
            f"{min(missing)} has no statistics at version {version} as of {iso_utc(now)}: recompute it whole, without"
            " --parks."
        )


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
        is_pruned = state.get_state(state.RAW_FROM) is not None
        raise BadRequest(
            f"{first} cannot be computed again: readings of whole days are held from {held} on. Begin there"
            f" (--start-date {held}, or --days {(yesterday - held).days + 1})"
            f"{': those before are past retention.' if is_pruned else ', or import the readings before.'}"
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
    parks: frozenset[int] | None = None,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Computation:
    """Compute these days anew from readings, in this order (newest first costs least), each in a transaction.

    A day that fails or is refused stays as it was, and does not stop the others. `parks`: the rows of these only, of
    days that are stored. `force`: replace also what was made of more readings. `dry_run`: compute and look, and write
    nothing. Without its database it ends with that error.
    """
    done = Computation(with_gaps=True)
    task = Task(version, recount=True, guarded=not force, parks=parks)
    if dry_run:
        _compute(done, days, _try_day, now, task, progress)
        return done
    with logged("recompute", now, start=min(days), end=max(days), metrics_version=version) as run:
        patiently(lambda: register(version, now))
        try:
            _compute(done, days, compute_day, now, task, progress)
        finally:
            done.end(run)
        if done.days:  # other rules may say otherwise of them
            patiently(lambda: atomically(partial(move_revisions, current=False, history=True)))
    return done


def _try_day(day: date, now: datetime, task: Task, tallies: Tallies | None) -> tuple[Tallies, DayStats]:
    """What compute_day would do, without writing."""
    tallies, stats = _count_day(day, now, task, tallies)
    _ensure_no_loss(day, task, stats.sample_count)
    return tallies, stats


def _compute(
    done: Computation,
    days: list[date],
    work: Work,
    now: datetime,
    task: Task,
    progress: Progress | None,
    proceed: Callable[[], bool] = lambda: True,
) -> None:
    tallies: Tallies | None = None
    for day in days:
        if not proceed():
            break
        try:
            tallies = patiently(partial(_one_day, done, day, work, tallies, now, task))
        except Exception as error:
            done.failed.append(Failure(day, _said(error)))
            log.debug("%s could not be computed", day, exc_info=True)
            tallies = None
        if progress:
            progress(done, day)


def _one_day(
    done: Computation, day: date, work: Work, tallies: Tallies | None, now: datetime, task: Task
) -> Tallies | None:
    refusal, stats = None, None
    try:
        tallies, stats = work(day, now, task, tallies)
    except Refused as found:
        refusal = found
    if done.with_gaps:
        with reading():
            tallies = tallies or task.tallies(now)
            gaps = day_gaps(tallies, day)
        tallies.forget(after=day)
        done.gaps.update(gaps)
    # Counted last: until here the day may be tried again.
    if refusal:
        done.refused.append(refusal)
    if stats:
        done.add(day, stats)
    return tallies


def _said(error: Exception) -> str:
    """A failure in one sentence. Raised again where no other day could do better: the database is gone."""
    if not isinstance(error, PeeweeException):
        return said(error)
    explained = database.explained(error)
    if isinstance(explained, Unreachable):
        raise error
    return str(explained)
