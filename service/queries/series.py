"""How a park or a ride did over a span, point by point: by hour of a day or by day of several; or lately, by slot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import date, time
from fractions import Fraction
from itertools import product
from typing import NamedTuple

from service import rules
from service.periods import PACIFIC, Interval, Span, pacific_clock, pacific_days, wall_clock
from service.queries.catalog import ParkFacts
from service.queries.days import Tallies
from service.queries.parts import Cells, PartTally
from service.queries.tally import ParkTally, RideTally, Wanted

HOUR = 3600
BY_HOUR = Cells(HOUR)
FIRST_HOUR, LAST_HOUR = 6, 23  # of the labels, Pacific

MINUTES, HOURLY, DAILY = "minutes", "hourly", "daily"


class Grid(NamedTuple):
    """The points of a chart: their labels, and the slot or hour (epoch seconds) or the day that each stands for.
    `cells` are the slots or hours; days have none."""

    granularity: str
    labels: list[str]
    points: list[int] | list[date]
    cells: Cells | None = None

    @property
    def instants(self) -> list[int]:
        """The points that are slots or hours."""
        return [point for point in self.points if isinstance(point, int)]


def grid_of(span: Span) -> Grid:
    """18 hours of a single day, "6:00" to "23:00" Pacific; or every day of a longer span, "Nov 08"."""
    if len(span.days) > 1:
        return Grid(DAILY, [f"{day:%b %d}" for day in span.days], list(span.days))
    hours = range(FIRST_HOUR, LAST_HOUR + 1)
    starts = [wall_clock(span.days[0], time(hour), PACIFIC) for hour in hours]
    return Grid(HOURLY, [f"{hour}:00" for hour in hours], starts, BY_HOUR)


def recent_slots(tallies: Tallies) -> Grid:
    """The slots of the last 60 minutes, "14:05" Pacific, up to the one that runs."""
    last = tallies.now - tallies.now % tallies.step
    slots = list(range(last - HOUR + tallies.step, last + 1, tallies.step))
    return Grid(MINUTES, [pacific_clock(slot) for slot in slots], slots, Cells(tallies.step))


def park_series(
    tallies: Tallies,
    span: Span,
    parks: Iterable[ParkFacts],
    grid: Grid | None = None,
    wanted: Wanted = Wanted.ALL,
) -> dict[int, list[ParkTally | PartTally | None]]:
    """Per park a tally for each point of the span's grid, or of `recent_slots`; None where nothing was observed."""
    grid, parks = grid or grid_of(span), list(parks)
    found: dict[int, dict[int | date, ParkTally | PartTally]] = {park.park_id: {} for park in parks}
    if grid.cells is None:
        for row in tallies.park_days(span, parks, wanted):
            found[row.park_id][row.day] = row
    else:
        for day, park in product(_days_of(grid), parks):
            since = grid.instants[0]
            parts = tallies.park_parts(park, day, grid.cells, since=since, until=span.until, wanted=wanted)
            found[park.park_id].update((start, part) for start, part in parts.items() if part.slots)
    return {park_id: [by_point.get(point) for point in grid.points] for park_id, by_point in found.items()}


def ride_series(
    tallies: Tallies,
    span: Span,
    parks: Iterable[ParkFacts],
    grid: Grid | None = None,
    only: Collection[int] | None = None,
) -> dict[int, list[RideTally | None]]:
    """Per attraction of the parks (or of these ids) with readings while its park was open, a tally for each point; None
    without any."""
    grid = grid or grid_of(span)
    found: dict[int, dict[int | date, RideTally]] = defaultdict(dict)
    if grid.cells is None:
        for day, rides in tallies.ride_days(span, parks, only).items():
            for ride in rides:
                found[ride.ride_id][day] = ride
    else:
        for day, park in product(_days_of(grid), parks):
            known = tallies.universe.rides_of.get(park.park_id, [])
            ids = None if only is None else [ride_id for ride_id in known if ride_id in only]
            since = grid.instants[0]
            parts = tallies.ride_parts(park, day, grid.cells, ride_ids=ids, since=since, until=span.until)
            for start, rides_of in parts.items():
                for ride_id, tally in rides_of.items():
                    found[ride_id][start] = tally
    return {ride_id: [by_point.get(point) for point in grid.points] for ride_id, by_point in found.items()}


def hours_down(ride: RideTally, minutes: int) -> Fraction | None:
    """A ride's hours down at a point, its slots `minutes` long; None where it did not operate: it has no downtime."""
    return rules.slot_hours(ride.down, minutes) if ride.operated else None


def average_wait(tally: ParkTally | PartTally | RideTally) -> Fraction | None:
    """The pooled average wait at a point, in minutes; None without waits."""
    return rules.average_wait(tally.wait_sum, tally.wait_samples)


def _days_of(grid: Grid) -> list[date]:
    """The Pacific days that slots or hours lie in."""
    return pacific_days(Interval(grid.instants[0], grid.instants[-1] + 1))
