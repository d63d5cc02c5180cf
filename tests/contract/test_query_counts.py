"""How many statements each endpoint sends: never more for more rides, and never more than is stated here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import cycle, islice
from typing import Any, NamedTuple

import pytest
from broken_world import DAYS, INTERVAL, NOW, PACIFIC, RIDES, WAITS
from contract.described import ALL, Operation
from factories import World
from wsgi_client import Client, Response

from service import clock
from service.config import Settings
from service.jobs import daily, yearly
from service.web import app as web

PARK_TYPES = ("disney", "other", "universal")  # the last one posts no schedule
KINDS = list(islice(cycle(RIDES.items()), 10))  # ten rides; forty are four of each
SHAPING = ("group_by", "period", "mode", "type", "category", "entity", "severity")  # what decides where an answer looks
COUNTING = 3  # statements for one park's day, where it has to be counted from readings


class Most(NamedTuple):
    """The most statements an answer may take, whatever the number of rides, where finished days are stored: today is
    counted park by park, and the pages of a ride and of a doubt look at each day's readings."""

    fixed: int
    per_park: int = 0
    per_day: int = 0


MOST = {
    "/": Most(0),
    "/api/health": Most(17),
    "/api/openapi.json": Most(0),
    "/api/parks/downtime": Most(14, per_park=8),
    "/api/parks/waittimes": Most(14, per_park=8),
    "/api/parks/awards": Most(5),
    "/api/parks/{park_id}/rides": Most(16),
    "/api/parks/{park_id}/details": Most(40),
    "/api/parks/{park_id}/rides/charts": Most(16),
    "/api/parks/{park_id}/outages": Most(18, per_day=3),
    "/api/rides/downtime": Most(12, per_park=8),
    "/api/rides/waittimes": Most(12, per_park=8),
    "/api/rides/awards": Most(6),
    "/api/rides/{ride_id}/details": Most(16, per_day=2),
    "/api/rides/{ride_id}/outages": Most(18, per_day=3),
    "/api/live/status-summary": Most(12, per_park=1),
    "/api/trends": Most(12, per_park=8),
    "/api/trends/chart-data": Most(15, per_park=7),
    "/api/trends/longest-wait-times": Most(14, per_park=3),
    "/api/trends/least-reliable": Most(14, per_park=3),
    "/api/trends/heatmap-data": Most(15, per_park=7),
    "/api/analytics/series": Most(20, per_day=20),
    "/api/search/index": Most(2),
    "/api/audit/status": Most(24),
    "/api/audit/anomalies": Most(16),
    "/api/audit/flagged-entities": Most(16),
    "/api/audit/data-quality": Most(2),
    "/api/audit/data-quality/summary": Most(2),
    "/api/audit/verify": Most(40, per_day=2),
    "/api/audit/run": Most(29),
}


def test_every_endpoint_has_a_limit() -> None:
    mounted = {*web.DESCRIPTIONS, *web.QUESTIONS, *web.COMMANDS}
    assert len(mounted) == len(MOST) and MOST.keys() == {operation.path for operation in ALL}


@pytest.mark.parametrize(
    ("settings", "are_stored"), [("sqlite", True), ("sqlite", False), ("mariadb", True)], indirect=["settings"]
)
def test_more_rides_take_no_more_statements(database: Any, settings: Settings, are_stored: bool) -> None:
    world = World(INTERVAL)
    for park_type in PARK_TYPES:
        world.park(park_type)
    few = counted(database, settings, world, 10, are_stored)
    many = counted(database, settings, world, 40, are_stored)
    assert {asked: (few[asked], many[asked]) for asked in few if not is_same(asked[0], few[asked], many[asked])} == {}
    assert {asked: count for asked, count in few.items() if count > limit(asked[0], are_stored)} == {}


def is_same(path: str, few: int, many: int) -> bool:
    """Whether the rides made no difference; but that the first ten of more rides may lie in fewer parks, of which fewer
    lines are drawn."""
    return few == many or (few > many and path in ("/api/trends/chart-data", "/api/trends/heatmap-data"))


def limit(path: str, are_stored: bool) -> int:
    most = MOST[path]
    parks = 1 if "{" in path else len(PARK_TYPES)
    allowed = most.fixed + most.per_park * parks + most.per_day * len(DAYS)
    return allowed if are_stored else allowed + COUNTING * parks * len(DAYS)


def counted(
    database: Any, settings: Settings, world: World, rides: int, are_stored: bool
) -> dict[tuple[str, str], int]:
    """How many statements each answer takes when every park has so many rides."""
    grow(world, rides)
    world.store()
    if are_stored:
        daily.aggregate(NOW)
        yearly.refresh_years(NOW)
    clock.replay(NOW)
    client = Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=INTERVAL)))
    client.get("/api/search/index")  # the first question finds out whether the database is ready
    sent: list[str] = []
    database.query_hooks.append(hook := lambda event: sent.append(event.sql))
    found = {}
    for path, asked, put in questions(client):
        sent.clear()
        assert put().status == 200, asked
        found[path, asked] = len(sent)
    database.query_hooks.remove(hook)
    return found


def grow(world: World, rides: int) -> None:
    """Give each park of the world so many rides, alike in tens."""
    for park in world.parks:
        for said, tier in islice(cycle(KINDS), rides - sum(ride.park_id == park.park_id for ride in world.rides)):
            ride_id = world.ride(park.park_id, tier=tier)
            for day in DAYS:
                world.day_of(ride_id, said, opening_of(day), WAITS)
    if not world.schedules:
        for day in DAYS:
            for park in world.parks[:-1]:
                world.open(park.park_id, day, opening_of(day), opening_of(day) + len(WAITS) * INTERVAL * 60)


def opening_of(day: Any) -> int:
    return int(datetime(day.year, day.month, day.day, 11, 30, tzinfo=PACIFIC).timestamp())


def questions(client: Client) -> Iterator[tuple[str, str, Callable[[], Response]]]:
    """Every operation with each combination of what decides where it looks."""
    for operation in ALL:
        for body in BODIES.get(operation.path, []):
            yield operation.path, str(body), lambda operation=operation, body=body: client.post(operation.path, body)
        for url in sorted(urls(operation)) if operation.method == "get" else ():
            yield operation.path, url, lambda url=url: client.get(url)


def urls(operation: Operation) -> set[str]:
    return {
        operation.query(**({"filter": "all-parks"} if "filter" in operation.parameters else {}) | shaping)
        for chosen in operation.choices()
        for shaping in [{name: value for name, value in chosen.items() if name in SHAPING}]
    }


BODIES: dict[str, list[dict[str, object]]] = {
    "/api/audit/run": [{}],
    "/api/audit/verify": [
        {"type": kind, "entity_id": 1, "period": period, "displayed_value": 1}
        for kind in ("park_shame_score", "ride_downtime")
        for period in ("today", "7days", "30days")
    ],
}
