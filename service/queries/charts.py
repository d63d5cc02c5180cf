"""The first parks or rides of a ranking, point by point: line charts and heat maps of the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from service import rules
from service.periods import PACIFIC
from service.queries import Row, live, rankings
from service.queries.catalog import ParkFacts, RideFacts
from service.queries.parts import PartTally
from service.queries.rankings import Standings
from service.queries.series import Grid, average_wait, grid_of, hours_down, park_series, recent_slots, ride_series
from service.queries.tally import ParkTally, RideTally, Wanted

Points = list[Fraction | None]
HEATMAPS = {  # the measure of each type of heat map
    "parks": "waittimes",
    "parks-shame": "parks",
    "rides-downtime": "rides",
    "rides-waittimes": "ridewaittimes",
}


class Chosen(NamedTuple):
    """A park, or a ride of it, and the figure that its ranking has for the whole span."""

    park: ParkFacts
    ride: RideFacts | None
    total: Fraction


class Measure(NamedTuple):
    """What a chart shows: its names for people and programs, its unit and decimals; who leads the ranking; the points
    of those of them who are shown."""

    entities: str
    title: str
    metric: str
    unit: str
    places: int
    leaders: Callable[[Standings], list[Chosen]]
    points: Callable[[Standings, Grid, list[Chosen]], list[Points]]


class Line(NamedTuple):
    """One of the chosen with its points, rounded."""

    park: ParkFacts
    ride: RideFacts | None
    total: float | None
    points: list[float | None]


def chart(asked: Standings, kind: str) -> Row:
    """`chart_data` of a line chart, a line for each of the first of the ranking, and its `granularity`."""
    grid = _grid(asked)
    lines = _lines(asked, MEASURES[kind], grid)
    data: Row = {"labels": grid.labels, "datasets": [_dataset(line) for line in lines]}
    if asked.period == "live":
        data["granularity"] = grid.granularity
    return {"chart_data": data, "granularity": grid.granularity}


def heatmap(asked: Standings, kind: str) -> Row:
    """The same as a matrix: a row for each of the first of the ranking, a column for each label."""
    grid, measure = _grid(asked), MEASURES[HEATMAPS[kind]]
    lines = _lines(asked, measure, grid)
    return {
        "granularity": grid.granularity,
        "title": f"Top {len(lines)} {measure.entities} by {measure.title} ({asked.period.replace('_', ' ').title()})",
        "metric": measure.metric,
        "metric_unit": measure.unit,
        "timezone": PACIFIC,
        "entities": [{"rank": rank} | _entity(line) for rank, line in enumerate(lines, start=1)],
        "time_labels": grid.labels,
        "matrix": [line.points for line in lines],
    }


def _dataset(line: Line) -> Row:
    # The frontend hands these to its chart library, which obeys keys such as type, hidden, order, stack and fill.
    if line.ride is None:
        about: Row = {"label": line.park.name, "entity_id": line.park.park_id, "location": line.park.location}
    else:
        about = {
            "label": line.ride.name,
            "entity_id": line.ride.ride_id,
            "park": line.park.name,
            "park_name": line.park.name,
            "tier": line.ride.tier,
        }
    return about | {"data": line.points}


def _entity(line: Line) -> Row:
    # The frontend takes an entity with a location for a park, and any other for a ride.
    if line.ride is None:
        about: Row = {
            "entity_id": line.park.park_id,
            "entity_name": line.park.name,
            "location": line.park.location,
        }
    else:
        about = {
            "entity_id": line.ride.ride_id,
            "entity_name": line.ride.name,
            "park_name": line.park.name,
            "tier": line.ride.tier,
        }
    return about | {"total_value": line.total}


# --- choosing and pointing -------------------------------------------------------------------------------------------


def _grid(asked: Standings) -> Grid:
    return recent_slots(asked.tallies) if asked.period == "live" else grid_of(asked.span)


def _lines(asked: Standings, measure: Measure, grid: Grid) -> list[Line]:
    chosen = measure.leaders(asked)[: asked.question.limit]
    return [
        Line(
            one.park,
            one.ride,
            rules.rounded(one.total, measure.places),
            [rules.rounded(point, measure.places) for point in points],
        )
        for one, points in zip(chosen, measure.points(asked, grid, chosen), strict=True)
    ]


def _worst_parks(asked: Standings) -> list[Chosen]:
    return [Chosen(span.park, None, score) for span, score in rankings.scored_parks(asked)]


def _waiting_parks(asked: Standings) -> list[Chosen]:
    return [Chosen(park, None, average) for park, _, average in rankings.waiting_parks(asked)]


def _broken_rides(asked: Standings) -> list[Chosen]:
    return _rides(asked, rankings.broken_rides(asked))


def _waiting_rides(asked: Standings) -> list[Chosen]:
    return _rides(asked, rankings.waiting_rides(asked))


def _rides(asked: Standings, found: list[tuple[RideFacts, RideTally, Fraction]]) -> list[Chosen]:
    parks = asked.tallies.universe.parks
    return [Chosen(parks[facts.park_id], facts, figure) for facts, _, figure in found]


def _scores(asked: Standings, grid: Grid, chosen: list[Chosen]) -> list[Points]:
    if asked.period == "live":
        return [live.recent_scores(asked.tallies, one.park, grid.instants) for one in chosen]
    return _park_points(asked, grid, chosen, Wanted.DOWN, lambda tally: tally.score)


def _park_waits(asked: Standings, grid: Grid, chosen: list[Chosen]) -> list[Points]:
    return _park_points(asked, grid, chosen, Wanted.WAITS, average_wait)


def _hours_down(asked: Standings, grid: Grid, chosen: list[Chosen]) -> list[Points]:
    return _ride_points(asked, grid, chosen, lambda tally: hours_down(tally, asked.minutes))


def _ride_waits(asked: Standings, grid: Grid, chosen: list[Chosen]) -> list[Points]:
    return _ride_points(asked, grid, chosen, average_wait)


def _park_points(
    asked: Standings,
    grid: Grid,
    chosen: list[Chosen],
    wanted: Wanted,
    value: Callable[[ParkTally | PartTally], Fraction | None],
) -> list[Points]:
    series = park_series(asked.tallies, asked.span, [one.park for one in chosen], grid, wanted)
    return [[value(tally) if tally else None for tally in series[one.park.park_id]] for one in chosen]


def _ride_points(
    asked: Standings, grid: Grid, chosen: list[Chosen], value: Callable[[RideTally], Fraction | None]
) -> list[Points]:
    parks = {one.park.park_id: one.park for one in chosen}
    only = {one.ride.ride_id for one in chosen if one.ride}
    series = ride_series(asked.tallies, asked.span, parks.values(), grid, only)
    nothing: list[RideTally | None] = [None] * len(grid.points)
    found = (series.get(one.ride.ride_id, nothing) for one in chosen if one.ride)
    return [[value(tally) if tally else None for tally in tallies] for tallies in found]


MEASURES = {
    "parks": Measure("Parks", "Shame Score", "shame_score", "points", 1, _worst_parks, _scores),
    "rides": Measure("Rides", "Downtime", "downtime_hours", "hours", 2, _broken_rides, _hours_down),
    "waittimes": Measure(
        "Parks", "Wait Time", "avg_wait_time_minutes", "minutes", 1, _waiting_parks, _park_waits
    ),
    "ridewaittimes": Measure(
        "Rides", "Wait Time", "avg_wait_time_minutes", "minutes", 1, _waiting_rides, _ride_waits
    ),
}
