"""Who broke down most in a calendar year: read from the yearly rows, never from days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice, takewhile
from typing import Any, NamedTuple

from peewee import ModelSelect, fn

from service import rules
from service.models import YearlyParkStats, YearlyRideStats
from service.models.base import rows
from service.queries import Row, state
from service.queries.catalog import Universe, park_columns, ride_columns, universe
from service.queries.rankings import shows
from service.queries.trends import WAIT_PLACES


class _Year(NamedTuple):
    """A park's or a ride's year, as it is stored."""

    entity_id: int
    year: int
    days_operated: int
    total_downtime_minutes: int
    operating_minutes: int
    wait_sum: int
    wait_samples: int
    shame_score: Decimal | float | None
    is_complete: int

    @property
    def score(self) -> Fraction | None:
        """The stored score, exactly: SQLite gives its decimals as floats."""
        return None if self.shame_score is None else Fraction(str(self.shame_score))


def park_awards(years: Iterable[int], limit: int) -> list[Row]:
    """The parks of each year by shame score, worst first; those whose score is 0.0 are left out.

    An entry a year, as given: year, is_complete, data (rows: rank, park_id, shame_score, ...). A year that runs, or
    whose days are not all final, is not complete; one without statistics has no rows.
    """
    return _awards(YearlyParkStats, YearlyParkStats.park, _park_rows, years, limit)


def ride_awards(years: Iterable[int], limit: int) -> list[Row]:
    """The same of attractions by hours down."""
    return _awards(YearlyRideStats, YearlyRideStats.ride, _ride_rows, years, limit)


def _awards(
    stats: type[YearlyParkStats] | type[YearlyRideStats],
    entity: Any,
    listed: Callable[[list[_Year], Universe], Iterator[Row]],
    years: Iterable[int],
    limit: int,
) -> list[Row]:
    everyone, wanted = universe(), list(years)
    found: dict[int, list[_Year]] = defaultdict(list)
    for row in rows(_stored_years(stats, entity, wanted, state.active_version()), _Year):
        found[row.year].append(row)
    return [
        {
            "year": year,
            "is_complete": bool(found[year]) and all(row.is_complete for row in found[year]),
            "data": [
                {"rank": rank} | row
                for rank, row in enumerate(islice(listed(found[year], everyone), limit), start=1)
            ],
        }
        for year in wanted
    ]


def _stored_years(
    stats: type[YearlyParkStats] | type[YearlyRideStats], entity: Any, years: list[int], active: int
) -> ModelSelect[Any]:
    """The rows of these years, each year at its highest version that is not above the active one."""
    best = (
        stats.select(stats.year.alias("best_year"), fn.MAX(stats.metrics_version).alias("best_version"))
        .where(stats.year.in_(years), stats.metrics_version <= active)
        .group_by(stats.year)
        .alias("best")
    )
    return stats.select(
        entity,
        stats.year,
        stats.days_operated,
        stats.total_downtime_minutes,
        stats.operating_minutes,
        stats.wait_sum,
        stats.wait_samples,
        stats.shame_score,
        stats.is_complete,
    ).join(best, on=((stats.year == best.c.best_year) & (stats.metrics_version == best.c.best_version)))


def _park_rows(found: list[_Year], known: Universe) -> Iterator[Row]:
    scored = [(row, row.score) for row in found if row.score is not None and shows(row.score, 1)]
    for row, score in sorted(scored, key=lambda pair: (-pair[1], pair[0].entity_id)):
        yield park_columns(known.parks[row.entity_id]) | {
            "shame_score": rules.rounded(score, 1),
            "total_downtime_hours": rules.rounded(_hours(row), 2),
        } | _common(row)


def _ride_rows(found: list[_Year], known: Universe) -> Iterator[Row]:
    # A ride that is no attraction any more is in no list, though its days are in those of its park.
    rides = [row for row in found if row.entity_id in known.rides]
    rides.sort(key=lambda row: (-row.total_downtime_minutes, row.entity_id))
    # Only as far as is asked for: thousands of exact hours take longer than reading them.
    for row in takewhile(lambda row: shows(_hours(row), 2), rides):
        ride = known.rides[row.entity_id]
        hours: Row = {"downtime_hours": rules.rounded(_hours(row), 2)}
        yield ride_columns(known.parks[ride.park_id], ride) | hours | _common(row)


def _hours(row: _Year) -> Fraction:
    return rules.hours(row.total_downtime_minutes)


def _common(row: _Year) -> Row:
    uptime = rules.uptime_percentage(row.operating_minutes, row.total_downtime_minutes)
    return {
        "uptime_percentage": rules.rounded(uptime, 1),
        "avg_wait_time": rules.rounded(rules.average_wait(row.wait_sum, row.wait_samples), WAIT_PLACES),
        "days_operated": row.days_operated,
    }
