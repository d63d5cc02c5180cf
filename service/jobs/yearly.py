"""Yearly statistics, made of the daily rows that readers take. Nothing else writes yearly rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

from peewee import Field, fn

from service import rules
from service.database import batches, fetch, reading, upsert
from service.jobs.joblog import logged
from service.jobs.marks import atomically, locked_revision, move_revisions
from service.jobs.patience import patiently
from service.models import DailyParkStats, DailyStats, StatDay, YearlyParkStats, YearlyRideStats
from service.models.base import rows
from service.periods import Span, days_between, pacific_date
from service.queries import state
from service.queries.days import Stored, Tallies, held_by
from service.queries.hours import as_date
from service.queries.tally import ParkTally

PARK_COLUMNS: list[Field[Any]] = [
    YearlyParkStats.year,
    YearlyParkStats.park,
    YearlyParkStats.metrics_version,
    YearlyParkStats.days_operated,
    YearlyParkStats.sample_count,
    YearlyParkStats.total_downtime_minutes,
    YearlyParkStats.operating_minutes,
    YearlyParkStats.wait_sum,
    YearlyParkStats.wait_samples,
    YearlyParkStats.shame_score,
    YearlyParkStats.is_complete,
    YearlyParkStats.computed_at,
]
RIDE_COLUMNS: list[Field[Any]] = [
    YearlyRideStats.year,
    YearlyRideStats.ride,
    YearlyRideStats.metrics_version,
    YearlyRideStats.days_operated,
    YearlyRideStats.sample_count,
    YearlyRideStats.total_downtime_minutes,
    YearlyRideStats.operating_minutes,
    YearlyRideStats.wait_sum,
    YearlyRideStats.wait_samples,
    YearlyRideStats.shame_score,
    YearlyRideStats.is_complete,
    YearlyRideStats.computed_at,
]
DAYS_AT_ONCE = 31  # of rides with downtime: some 35,000 rows of 3,500 rides


class _Sums(NamedTuple):
    """What adds up over days, in minutes and counts."""

    sample_count: int
    total_downtime_minutes: int
    operating_minutes: int
    wait_sum: int
    wait_samples: int

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(*(mine + more for mine, more in zip(self, other, strict=True)))


class _YearStats(NamedTuple):
    """The rows of one year, laid out as PARK_COLUMNS and RIDE_COLUMNS, and what they were made of."""

    version: int
    revision: int
    ledger: list[tuple[Any, ...]]
    parks: list[tuple[object, ...]]
    rides: list[tuple[object, ...]]


def refresh_years(
    now: datetime, years: Iterable[int] | None = None, progress: Callable[[int], None] | None = None
) -> list[int]:
    """Compute the statistics of these Pacific calendar years, or of those that are due, from the stored days, and
    replace their rows of the active version. Returns the years, newest first.

    Each year is a transaction and a run in the job log of its own: stopped at any moment, it can be run again.
    """
    wanted = sorted(set(patiently(lambda: due_years(now)) if years is None else years), reverse=True)
    for year in wanted:
        first, last = date(year, 1, 1), date(year, 12, 31)
        version = patiently(state.active_version)
        with logged("yearly", now, start=first, end=last, metrics_version=version) as run:
            run.rows_processed = patiently(partial(_refresh, year, now))
        if progress:
            progress(year)
    return wanted


def due_years(now: datetime) -> list[int]:
    """The years with stored days newer than their rows at the active version, or without rows; and, once a day, those
    that are over and not complete."""
    version = state.active_version()
    newest = _newest_days(version)
    made = _made_years(version)
    today = pacific_date(now)
    return sorted(year for year, last in newest.items() if year not in made or made[year].is_due(last, today))


class _Made(NamedTuple):
    """A year that has rows."""

    year: int
    computed_at: int
    is_complete: int

    def is_due(self, newest: int, today: date) -> bool:
        unfinished = self.year < today.year and not self.is_complete
        return newest > self.computed_at or unfinished and pacific_date(self.computed_at) < today


def _newest_days(version: int) -> dict[int, int]:
    """When the last stored day of each year was computed."""
    newest: dict[int, int] = defaultdict(int)
    for stat_date, computed_at in fetch(
        StatDay.select(StatDay.stat_date, StatDay.computed_at).where(StatDay.metrics_version <= version)
    ):
        year = as_date(stat_date).year
        newest[year] = max(newest[year], computed_at)
    return newest


def _made_years(version: int) -> dict[int, _Made]:
    stats = YearlyParkStats
    query = (
        stats.select(stats.year, fn.MIN(stats.computed_at), fn.MIN(stats.is_complete))
        .where(stats.metrics_version == version)
        .group_by(stats.year)
    )
    return {row.year: row for row in rows(query, _Made)}


def _refresh(year: int, now: datetime) -> int:
    with reading():
        stats = _year_stats(year, now)
    stored = atomically(partial(_store_year, year, now, stats))
    return len(stored.parks) + len(stored.rides)


def _store_year(year: int, now: datetime, stats: _YearStats) -> _YearStats:
    """Replace a year's rows; computed anew if its days have changed since. To be called in a transaction."""
    # Whoever stores a day, or marks it dirty, holds this row until commit.
    revision = locked_revision()
    if revision != stats.revision or _ledger(year, stats.version) != stats.ledger:
        stats = _year_stats(year, now)
    for model in (YearlyParkStats, YearlyRideStats):
        model.delete().where(model.year == year, model.metrics_version == stats.version).execute()
    upsert(YearlyParkStats, PARK_COLUMNS, stats.parks, key=PARK_COLUMNS[:3])
    upsert(YearlyRideStats, RIDE_COLUMNS, stats.rides, key=RIDE_COLUMNS[:3])
    move_revisions(current=False, history=True)
    return stats


def _ledger(year: int, version: int) -> list[tuple[Any, ...]]:
    """The year's entries that readers look at: date, version, instant, dirty."""
    query = StatDay.select(StatDay.stat_date, StatDay.metrics_version, StatDay.computed_at, StatDay.dirty).where(
        StatDay.stat_date.between(date(year, 1, 1), date(year, 12, 31)), StatDay.metrics_version <= version
    )
    return sorted((as_date(day), found, computed_at, bool(dirty)) for day, found, computed_at, dirty in fetch(query))


def _year_stats(year: int, now: datetime) -> _YearStats:
    """The rows of a year as of `now`. Writes nothing."""
    tallies = Tallies(now)
    ledger = _ledger(year, tallies.version)
    yesterday = pacific_date(now) - timedelta(days=1)
    days = tuple(days_between(date(year, 1, 1), min(date(year, 12, 31), yesterday)))
    if not days:
        return _YearStats(tallies.version, tallies.revision, ledger, [], [])
    made = _Year(year, tallies, days, is_complete=_is_complete(tallies, days, ledger))
    return _YearStats(tallies.version, tallies.revision, ledger, list(made.parks()), list(made.rides()))


def _is_complete(tallies: Tallies, days: tuple[date, ...], ledger: list[tuple[Any, ...]]) -> bool:
    """Whether the year is over, and the rows of every day that was observed are there and final for every park."""
    last = days[-1]
    if (last.month, last.day) != (12, 31):
        return False
    clean = {day for day, _, _, dirty in ledger if not dirty}
    if any(day not in clean for day, *_ in ledger):
        return False
    span = Span(days, "")
    return all(tallies.from_rows(span, park) >= set(days) for park in tallies.universe.parks.values())


class _Year:
    """One year's stored days, summed up."""

    def __init__(self, year: int, tallies: Tallies, days: tuple[date, ...], *, is_complete: bool) -> None:
        self.year = year
        self.tallies = tallies
        self.is_complete = is_complete
        self.sources = tallies.stored(days)
        self.park_days = {(row.park_id, row.day): row for row in tallies.stored_parks(days)}
        self.scores: dict[int, list[Fraction]] = defaultdict(list)
        for row in self.park_days.values():
            if row.score is not None:
                self.scores[row.park_id].append(row.score)

    def parks(self) -> Iterator[tuple[object, ...]]:
        """A row for every park with daily rows; `days_operated` = days with a score."""
        stats = DailyParkStats
        totals: dict[int, _Sums] = {}
        for source in self.sources:
            query = stats.select(stats.park, *_columns(stats)).where(
                held_by(source, stats.stat_date, stats.metrics_version, stats.park)
            )
            for park_id, *sums in fetch(query.group_by(stats.park)):
                _add(totals, park_id, sums)
        for park_id, total in sorted(totals.items()):
            scores = self.scores[park_id]
            yield self._row(park_id, len(scores), total, rules.mean(scores))

    def rides(self) -> Iterator[tuple[object, ...]]:
        """A row for every ride with daily rows; `days_operated` = days on which it operated."""
        totals: dict[int, _Sums] = {}
        operated: Counter[int] = Counter()
        park_of: dict[int, int] = {}
        for source in self.sources:
            for ride_id, park_id, days, *sums in fetch(_ride_sums(source)):
                _add(totals, ride_id, sums)
                operated[ride_id] += int(days)
                park_of[ride_id] = park_id
        shares = self._shares()
        for ride_id, total in sorted(totals.items()):
            days = len(self.scores[park_of[ride_id]])
            # The mean over the days on which its park has a score, so that the shares of rides add up to the park's.
            share = shares[ride_id] / days if days and operated[ride_id] else None
            yield self._row(ride_id, operated[ride_id], total, share)

    def _shares(self) -> dict[int, Fraction]:
        """The sum of each ride's day scores."""
        pooled: dict[int, Counter[tuple[int, int]]] = defaultdict(Counter)  # days of equal measure add up as integers
        for source in self.sources:
            for days in batches(source.days, DAYS_AT_ONCE):
                for ride_id, park_id, day, weight, minutes in fetch(_broken_rides(source._replace(days=tuple(days)))):
                    park: ParkTally | None = self.park_days.get((park_id, as_date(day)))
                    if park:
                        pooled[ride_id][park.roster_weight, park.slots] += weight * minutes
        return defaultdict(Fraction, {ride_id: self._sum_of(found) for ride_id, found in pooled.items()})

    def _sum_of(self, pooled: Counter[tuple[int, int]]) -> Fraction:
        minutes = self.tallies.interval_minutes
        shares = (
            rules.shame_score(weighted, roster_weight, slots * minutes)
            for (roster_weight, slots), weighted in pooled.items()
        )
        return sum((share for share in shares if share is not None), Fraction(0))

    def _row(self, entity_id: int, days_operated: int, total: _Sums, score: Fraction | None) -> tuple[object, ...]:
        return (
            self.year,
            entity_id,
            self.tallies.version,
            days_operated,
            *total,
            rules.rounded(score, 3),
            self.is_complete,
            self.tallies.now,
        )


def _add(totals: dict[int, _Sums], entity_id: int, sums: list[Any]) -> None:
    found = _Sums(*map(int, sums))
    totals[entity_id] = totals[entity_id].plus(found) if entity_id in totals else found


def _columns(stats: type[DailyParkStats] | type[DailyStats]) -> list[Any]:
    """What adds up to the fields of _Sums."""
    return [
        fn.SUM(stats.sample_count),
        fn.SUM(stats.total_downtime_minutes),
        fn.SUM(stats.operating_minutes),
        fn.SUM(stats.wait_sum),
        fn.SUM(stats.wait_samples),
    ]


def _ride_sums(source: Stored) -> Any:
    """Per ride its park, the days on which it operated, and its sums."""
    stats = DailyStats
    operating: Any = stats.operating_minutes
    operated = fn.SUM(rules.operated(operating, stats.total_downtime_minutes))  # type: ignore[arg-type]
    return (
        stats.select(stats.ride, fn.MAX(stats.park_id), operated, *_columns(stats))
        .where(held_by(source, stats.stat_date, stats.metrics_version, stats.park_id))
        .group_by(stats.ride)
    )


def _broken_rides(source: Stored) -> Any:
    """The rides' days with downtime: ride, park, date, weight, minutes."""
    stats = DailyStats
    return stats.select(stats.ride, stats.park_id, stats.stat_date, stats.weight, stats.total_downtime_minutes).where(
        held_by(source, stats.stat_date, stats.metrics_version, stats.park_id), stats.total_downtime_minutes > 0
    )
