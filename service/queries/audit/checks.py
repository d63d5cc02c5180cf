"""The checks of a day's stored statistics: what cannot be, or should not be often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, NamedTuple

from peewee import DecimalField, Expression, Field, ModelSelect, fn

from service import rules
from service.database import fetch
from service.models import DailyParkStats, DailyStats, Park, Ride, RideStatusSnapshot
from service.periods import pacific_date, pacific_day, week_of
from service.queries import Row, state
from service.queries.audit import CRITICAL, INFO, WARNING
from service.queries.days import Stored, Tallies, held_by

SAMPLES = 5
WEEK_TOLERANCE_MINUTES = 30

Rides, Parks = DailyStats, DailyParkStats


class Day(NamedTuple):
    """A Pacific day and the version of its rows that readers take."""

    on: date
    tallies: Tallies

    @property
    def rows(self) -> Stored:
        """The day's rows that readers take; of a day whose readings they count, those of the active version."""
        stored = self.tallies.stored((self.on,))
        return stored[0] if stored else Stored(self.tallies.version, (self.on,))

    @property
    def minutes(self) -> int:
        """How long the day was: 23, 24 or 25 hours."""
        start, end = pacific_day(self.on)
        return (end - start) // 60

    @property
    def is_over(self) -> bool:
        """Whether the day has ended; before, it has no rows."""
        return self.on < pacific_date(self.tallies.now)


class Violations(NamedTuple):
    """How many rows are not as they should be, and the first of them."""

    number: int
    sample: list[Row]
    none_allowed: bool = False  # whatever the check tolerates


class Check(NamedTuple):
    """Something to look for; it fails when more than `max_allowed` rows are found."""

    name: str
    severity: str
    max_allowed: int
    what: str
    look: Callable[[Day], Violations]


def status(tallies: Tallies, on: date) -> Row:
    """Run every check on a day."""
    day = Day(on, tallies)
    failures = [failure for check in CHECKS if (failure := _failure(check, day))]
    critical = sum(failure["severity"] == CRITICAL for failure in failures)
    return {
        "target_date": on.isoformat(),
        "total_checks": len(CHECKS),
        "passed": len(CHECKS) - len(failures),
        "failed": len(failures),
        "critical_failures": critical,
        "status": "FAIL" if critical else "WARN" if failures else "PASS",
        "failures": failures,
    }


def _failure(check: Check, day: Day) -> Row | None:
    found = check.look(day)
    max_allowed = 0 if found.none_allowed else check.max_allowed
    if found.number <= max_allowed:
        return None
    return {
        "check_name": check.name,
        "severity": check.severity,
        "passed": False,
        "violations": found.number,
        "max_allowed": max_allowed,
        "message": f"{check.what}: {found.number} on {day.on}, {max_allowed} allowed.",
        "sample": found.sample,
    }


# --- rows with impossible values -------------------------------------------------------------------------------------


def _rides(condition: Callable[[Day], Any], *columns: Field[Any]) -> Callable[[Day], Violations]:
    """Looks for rides' rows; the sample shows these columns."""

    def look(day: Day) -> Violations:
        names = [Rides.ride, Ride.name.alias("ride_name"), Park.name.alias("park_name")]
        picked = held_by(day.rows, Rides.stat_date, Rides.metrics_version, Rides.park_id)
        query = (
            Rides.select(*names, *columns)
            .join(Ride)
            .join(Park)
            .where(picked, condition(day))
            .order_by(Rides.ride)
        )
        return _violations(query, ["ride_id", "ride_name", "park_name"], columns)

    return look


def _parks(condition: Callable[[Day], Any], *columns: Field[Any]) -> Callable[[Day], Violations]:
    """Looks for parks' rows; the sample shows these columns."""

    def look(day: Day) -> Violations:
        picked = held_by(day.rows, Parks.stat_date, Parks.metrics_version, Parks.park)
        query = (
            Parks.select(Parks.park, Park.name.alias("park_name"), *columns)
            .join(Park)
            .where(picked, condition(day))
            .order_by(Parks.park)
        )
        return _violations(query, ["park_id", "park_name"], columns)

    return look


def _violations(query: ModelSelect[Any], names: list[str], columns: Sequence[Field[Any]]) -> Violations:
    """The rows of `query`: what `names` names, then these columns. SQLite gives a whole decimal as an int."""
    number = query.count()
    sample = fetch(query.limit(SAMPLES)) if number else []
    kinds = [*[_same] * len(names), *(_decimal if isinstance(column, DecimalField) else _same for column in columns)]
    named = [*names, *(column.name for column in columns)]
    rows = ([kind(value) for kind, value in zip(kinds, row, strict=True)] for row in sample)
    return Violations(number, [dict(zip(named, row, strict=True)) for row in rows])


def _same(value: Any) -> Any:
    return value


def _decimal(value: Any) -> float | None:
    return None if value is None else float(value)


def _out_of_bounds(percentage: Any) -> Expression:
    outside: Expression = (percentage < 0) | (percentage > 100)
    return outside


# --- rows that are missing, or do not agree --------------------------------------------------------------------------


def _parks_without_rides(day: Day) -> Violations:
    """Some may be closed, but a day with readings and without any statistics was not computed: nothing else that is
    checked can be wrong about it."""
    if not day.is_over:
        return Violations(0, [])
    picked = held_by(day.rows, Rides.stat_date, Rides.metrics_version, Rides.park_id)
    present = {park_id for (park_id,) in fetch(Rides.select(Rides.park_id).where(picked).distinct())}
    absent = [
        {"park_id": park.park_id, "park_name": park.name}
        for park in day.tallies.universe.parks.values()
        if park.is_active and park.park_id not in present
    ]
    return Violations(len(absent), absent[:SAMPLES], none_allowed=not present and _was_missed(day))


def _was_missed(day: Day) -> bool:
    """Whether readings of a day are held, and nothing was made of them."""
    start, end = pacific_day(day.on)
    reading = RideStatusSnapshot.snapshot_time
    seen = RideStatusSnapshot.select().where(reading.between(start, end - 1), reading <= state.newest_slot())
    if not seen.exists():
        return False
    return not Parks.select().where(held_by(day.rows, Parks.stat_date, Parks.metrics_version, Parks.park)).exists()


def _weeks_that_differ(day: Day) -> Violations:
    """Parks whose downtime of the week, as park rankings have it, is not that of their rides on its finished days."""
    today = pacific_date(day.tallies.now)
    finished = tuple(on for on in week_of(day.on) if on < today)
    sources = day.tallies.stored(finished) if finished else []
    weekly, daily = _by_park(Parks, Parks.park, sources), _by_park(Rides, Rides.park_id, sources)
    differing = [
        {
            "park_id": park_id,
            "park_name": park.name,
            "weekly_downtime_hours": rules.rounded(rules.hours(weekly.get(park_id, 0)), 2),
            "daily_sum_hours": rules.rounded(rules.hours(daily.get(park_id, 0)), 2),
        }
        for park_id, park in day.tallies.universe.parks.items()
        if abs(weekly.get(park_id, 0) - daily.get(park_id, 0)) > WEEK_TOLERANCE_MINUTES
    ]
    return Violations(len(differing), differing[:SAMPLES])


def _by_park(stats: type[DailyParkStats] | type[DailyStats], park: Any, sources: list[Stored]) -> dict[int, int]:
    """Minutes down of each park in the stored days."""
    total: dict[int, int] = {}
    for source in sources:
        query = (
            stats.select(park, fn.SUM(stats.total_downtime_minutes))
            .where(held_by(source, stats.stat_date, stats.metrics_version, park))
            .group_by(park)
        )
        for park_id, minutes in fetch(query):
            total[park_id] = total.get(park_id, 0) + int(minutes)
    return total


CHECKS = (
    Check(
        "downtime_exceeds_24h",
        CRITICAL,
        0,
        "Rides that were down for longer than the day was",
        _rides(lambda day: Rides.total_downtime_minutes > day.minutes, Rides.total_downtime_minutes),
    ),
    Check(
        "uptime_percentage_out_of_bounds",
        CRITICAL,
        0,
        "Rides whose uptime is not between 0 and 100 %",
        _rides(lambda day: _out_of_bounds(Rides.uptime_percentage), Rides.uptime_percentage),
    ),
    Check(
        "negative_downtime",
        CRITICAL,
        0,
        "Rides with a downtime below 0",
        _rides(lambda day: Rides.total_downtime_minutes < 0, Rides.total_downtime_minutes),
    ),
    Check(
        "shame_score_negative",
        CRITICAL,
        0,
        "Parks with a shame score below 0",
        _parks(lambda day: Parks.shame_score < 0, Parks.shame_score),
    ),
    Check(
        "park_uptime_out_of_bounds",
        CRITICAL,
        0,
        "Parks whose uptime is not between 0 and 100 %",
        _parks(lambda day: _out_of_bounds(Parks.uptime_percentage), Parks.uptime_percentage),
    ),
    Check("no_ride_data_for_date", WARNING, 50, "Active parks without a ride's statistics", _parks_without_rides),
    Check(
        "rides_with_zero_operating_time",
        INFO,
        100,
        "Rides with readings that never operated",
        _rides(lambda day: Rides.operating_minutes == 0, Rides.operating_minutes, Rides.open_minutes),
    ),
    Check(
        "downtime_exceeds_operating_hours",
        CRITICAL,
        0,
        "Rides that were down for longer than their park was open",
        _rides(
            lambda day: Rides.total_downtime_minutes > Rides.open_minutes,
            Rides.total_downtime_minutes,
            Rides.open_minutes,
        ),
    ),
    Check(
        "rides_with_downtime_exceeds_total",
        CRITICAL,
        0,
        "Parks with more broken rides than rides",
        _parks(
            lambda day: Parks.rides_with_downtime > Parks.rides_tracked, Parks.rides_with_downtime, Parks.rides_tracked
        ),
    ),
    Check(
        "weekly_vs_daily_sum_mismatch",
        WARNING,
        0,
        "Parks whose downtime of the week is not that of their rides' days",
        _weeks_that_differ,
    ),
)
