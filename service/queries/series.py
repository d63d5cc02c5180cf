"""How a park or a ride did over a span, point by point: by hour of one day, or by day of several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, time
from typing import NamedTuple

from service.periods import PACIFIC, Span, wall_clock
from service.queries.catalog import ParkFacts
from service.queries.days import Tallies
from service.queries.tally import ParkTally, RideTally

HOUR = 3600
FIRST_HOUR, LAST_HOUR = 6, 23  # of the labels, Pacific

HOURLY, DAILY = "hourly", "daily"


class Grid(NamedTuple):
    """The points of a chart: their labels, and the hour (epoch seconds) or the day that each stands for."""

    granularity: str
    labels: list[str]
    points: list[int] | list[date]


def grid_of(span: Span) -> Grid:
    """18 hours of a single day, "6:00" to "23:00" Pacific; or every day of a longer span, "Nov 08"."""
    if len(span.days) > 1:
        return Grid(DAILY, [f"{day:%b %d}" for day in span.days], list(span.days))
    hours = range(FIRST_HOUR, LAST_HOUR + 1)
    starts = [wall_clock(span.days[0], time(hour), PACIFIC) for hour in hours]
    return Grid(HOURLY, [f"{hour}:00" for hour in hours], starts)


def park_series(tallies: Tallies, span: Span, parks: Iterable[ParkFacts]) -> dict[int, list[ParkTally | None]]:
    """Per park a tally for each point of the span's grid; None where nothing was observed."""
    grid, parks = grid_of(span), list(parks)
    found: dict[int, dict[int | date, ParkTally]] = {park.park_id: {} for park in parks}
    if grid.granularity == DAILY:
        for row in tallies.park_days(span, parks):
            found[row.park_id][row.day] = row
    else:
        for park in parks:
            buckets = tallies.park_buckets(park, span.days[0], HOUR, span.until)
            found[park.park_id].update((start, row) for start, row in buckets.items() if row.slots)
    return {park_id: [by_point.get(point) for point in grid.points] for park_id, by_point in found.items()}


def ride_series(tallies: Tallies, span: Span, parks: Iterable[ParkFacts]) -> dict[int, list[RideTally | None]]:
    """Per attraction of the parks with readings while its park was open, a tally for each point; None without any."""
    grid = grid_of(span)
    found: dict[int, dict[int | date, RideTally]] = defaultdict(dict)
    if grid.granularity == DAILY:
        for day, rides in tallies.ride_days(span, parks).items():
            for ride in rides:
                found[ride.ride_id][day] = ride
    else:
        for park in parks:
            for start, bucket in tallies.count_buckets(park, span.days[0], HOUR, span.until).items():
                for ride in bucket.rides.values():
                    found[ride.ride_id][start] = ride
    return {ride_id: [by_point.get(point) for point in grid.points] for ride_id, by_point in found.items()}
