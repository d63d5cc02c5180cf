"""Who broke down most in a calendar year: read from the yearly rows, never from days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from peewee import fn

from service import rules
from service.models import Ride, YearlyParkStats, YearlyRideStats
from service.models.base import rows
from service.queries import Row, state
from service.queries.catalog import ParkFacts, RideFacts, all_parks, attractions, park_columns, ride_columns
from service.queries.rankings import shows
from service.queries.trends import WAIT_PLACES


class _Made(NamedTuple):
    """At which version the rows of a year stand, and whether they are final."""

    year: int
    version: int
    is_complete: int


class _Year(NamedTuple):
    """A park's or a ride's year, as it is stored."""

    entity_id: int
    days_operated: int
    total_downtime_minutes: int
    operating_minutes: int
    wait_sum: int
    wait_samples: int
    shame_score: Decimal | float | None

    @property
    def score(self) -> Fraction | None:
        """The stored score, exactly: SQLite gives its decimals as floats."""
        return None if self.shame_score is None else Fraction(str(self.shame_score))


def park_awards(years: Iterable[int], limit: int) -> list[Row]:
    """The parks of each year by shame score, worst first; those whose score is 0.0 are left out.

    An entry a year, as given: year, is_complete, data (rows: rank, park_id, shame_score, ...). A year that runs, or
    whose days are not all final, is not complete; one without statistics has no rows.
    """
    made, known = _made(years), all_parks()
    return [_award(year, _park_rows(_of_parks(year), known, limit)) for year in made]


def ride_awards(years: Iterable[int], limit: int) -> list[Row]:
    """The same of attractions by hours down."""
    made, parks = _made(years), all_parks()
    worst = {year.year: _worst_rides(year, limit) for year in made}
    known = attractions({row.entity_id for found in worst.values() for row in found})
    return [_award(year, _ride_rows(worst[year.year], parks, known)) for year in made]


def _made(years: Iterable[int]) -> list[_Made]:
    """What each of these years was made as: at its highest version that is not above the active one. A park's row and
    those of its rides are made at once."""
    wanted, stats = list(years), YearlyParkStats
    query = (
        stats.select(stats.year, stats.metrics_version, fn.MIN(stats.is_complete))
        .where(stats.year.in_(wanted), stats.metrics_version <= state.active_version())
        .group_by(stats.year, stats.metrics_version)
        .order_by(stats.metrics_version)
    )
    found = {row.year: row for row in rows(query, _Made)}
    return [found.get(year, _Made(year, 0, 0)) for year in wanted]


def _award(year: _Made, listed: Iterable[Row]) -> Row:
    data = [{"rank": rank} | row for rank, row in enumerate(listed, start=1)]
    return {"year": year.year, "is_complete": bool(year.is_complete), "data": data}


def _of_parks(year: _Made) -> list[_Year]:
    stats = YearlyParkStats
    of_year = stats.year == year.year, stats.metrics_version == year.version
    return list(rows(stats.select(stats.park, *_columns(stats)).where(*of_year), _Year))


def _worst_rides(year: _Made, limit: int) -> list[_Year]:
    """The attractions with most downtime: one that is none any more is in no list, though its days are in those of its
    park."""
    stats = YearlyRideStats
    query = (
        stats.select(stats.ride, *_columns(stats))
        .join(Ride, on=(stats.ride == Ride.ride_id))
        .where(
            stats.year == year.year,
            stats.metrics_version == year.version,
            stats.total_downtime_minutes > 0,
            Ride.category == rules.Category.ATTRACTION,
        )
        .order_by(stats.total_downtime_minutes.desc(), stats.ride)
        .limit(limit)
    )
    return list(rows(query, _Year))


def _columns(stats: type[YearlyParkStats] | type[YearlyRideStats]) -> list[Any]:
    """The fields of _Year but the first."""
    return [
        stats.days_operated,
        stats.total_downtime_minutes,
        stats.operating_minutes,
        stats.wait_sum,
        stats.wait_samples,
        stats.shame_score,
    ]


def _park_rows(found: list[_Year], known: dict[int, ParkFacts], limit: int) -> Iterator[Row]:
    scored = [(row, row.score) for row in found if row.score is not None and shows(row.score, 1)]
    for row, score in sorted(scored, key=lambda pair: (-pair[1], pair[0].entity_id))[:limit]:
        yield park_columns(known[row.entity_id]) | {
            "shame_score": rules.rounded(score, 1),
            "total_downtime_hours": rules.rounded(_hours(row), 2),
        } | _common(row)


def _ride_rows(found: list[_Year], parks: dict[int, ParkFacts], known: dict[int, RideFacts]) -> Iterator[Row]:
    for row in found:
        ride = known[row.entity_id]
        if shows(_hours(row), 2):
            hours: Row = {"downtime_hours": rules.rounded(_hours(row), 2)}
            yield ride_columns(parks[ride.park_id], ride) | hours | _common(row)


def _hours(row: _Year) -> Fraction:
    return rules.hours(row.total_downtime_minutes)


def _common(row: _Year) -> Row:
    uptime = rules.uptime_percentage(row.operating_minutes, row.total_downtime_minutes)
    return {
        "uptime_percentage": rules.rounded(uptime, 1),
        "avg_wait_time": rules.rounded(rules.average_wait(row.wait_sum, row.wait_samples), WAIT_PLACES),
        "days_operated": row.days_operated,
    }
