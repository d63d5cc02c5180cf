"""The pages of one park and one ride have the shapes of the HTTP contract, and what the frontend takes for granted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contract.test_shapes import CONTRACT, EVERY_PERIOD, INTERVAL, NOW, check, client, validator
from factories import World
from service import clock
from service.config import Settings
from service.web import app as web
from wsgi_client import Client

__all__ = ["client"]  # the fixture

pytestmark = pytest.mark.skipif(not CONTRACT.is_file(), reason="the contract is not beside this checkout")

PARK_RIDES = "/api/parks/{park_id}/rides"
PARK = "/api/parks/{park_id}/details"
CHART = "/api/parks/{park_id}/rides/charts"
RIDE = "/api/rides/{ride_id}/details"
UNKNOWN = (0, 99, 2**31, 2**63, 10**40)


@pytest.fixture
def empty(database: Any, settings: Settings) -> Iterator[Client]:
    """The API over an inactive park that was never seen, with an inactive ride and a show."""
    world = World(INTERVAL)
    park_id = world.park(is_active=False)
    world.ride(park_id, is_active=False)
    world.ride(park_id, category="SHOW")
    world.store()
    clock.replay(NOW)
    yield Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=INTERVAL)))


def answer(client: Client, path: str, entity: int, query: str = "") -> Any:
    """The body, which has the shape that the contract gives `path`."""
    url = path.replace("{park_id}", str(entity)).replace("{ride_id}", str(entity))
    check(client, url, query, rows=False, described_as=path)
    return client.get(f"{url}?{query}").json


def numbers(value: Any) -> list[Any]:
    """All that the frontend formats with `toFixed`, wherever it is."""
    if isinstance(value, dict):
        return [one for name in sorted(value) for one in numbers(value[name])]
    if isinstance(value, list):
        return [one for item in value for one in numbers(item)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def test_park_details(client: Client) -> None:
    for period in EVERY_PERIOD:
        for park_id in (1, 2, 3):
            body = answer(client, PARK, park_id, f"period={period}")
            assert body["shame_breakdown"]["shame_score"] > 0
            assert body["chart_data"]["data"]
            assert body["period"] == period
            assert set(body["span"]) == {"start", "end", "label"}
            assert None not in numbers(body["shame_breakdown"])
    assert answer(client, PARK, 1)["period"] == "live"


def test_an_alias_says_what_its_period_says(client: Client) -> None:
    for alias, period in (("7days", "last_week"), ("30days", "last_month")):
        for path in (PARK, CHART, RIDE):
            by_alias, by_name = (answer(client, path, 1, f"period={name}") for name in (alias, period))
            assert by_alias == by_name | {"period": alias}


def test_park_rides(client: Client) -> None:
    for park_id in (1, 2, 3):
        body = answer(client, PARK_RIDES, park_id)
        assert body["rides"]["active"] and body["rides"]["excluded"]


def test_rides_charts(client: Client) -> None:
    for period in [period for period in EVERY_PERIOD if period != "live"]:
        for chart_type in ("downtime", "wait_times"):
            body = answer(client, CHART, 1, f"period={period}&type={chart_type}")
            assert body["chart_type"] == chart_type
            assert body["datasets"]
            assert {len(one["data"]) for one in body["datasets"]} == {len(body["labels"])}
            assert not {"type", "hidden", "order", "stack", "fill"} & body["datasets"][0].keys()
    body = answer(client, CHART, 1)
    assert (body["period"], body["chart_type"]) == ("yesterday", "downtime")


def test_ride_details(client: Client) -> None:
    for period in EVERY_PERIOD:
        for ride_id in range(1, 7):
            body = answer(client, RIDE, ride_id, f"period={period}")
            assert body["timeseries"]
            by = "date" if period in ("last_week", "last_month", "7days", "30days") else "hour_start_utc"
            assert all(by in row for row in body["timeseries"] + body["hourly_breakdown"])
    assert answer(client, RIDE, 1)["period"] == "today"


def test_a_park_and_a_ride_never_seen(empty: Client) -> None:
    for period in EVERY_PERIOD:
        body = answer(empty, PARK, 1, f"period={period}")
        assert body["shame_breakdown"]["shame_score"] == 0
        assert body["chart_data"]["data"] == []
        for ride_id in (1, 2):
            body = answer(empty, RIDE, ride_id, f"period={period}")
            assert (body["timeseries"], body["downtime_events"], body["hourly_breakdown"]) == ([], [], [])
            assert body["summary"]["uptime_percentage"] is None
    assert answer(empty, CHART, 1)["datasets"] == []
    assert answer(empty, PARK_RIDES, 1)["rides"] == {"active": [], "excluded": []}


def test_what_does_not_exist_is_not_found(client: Client) -> None:
    for entity in UNKNOWN:
        for path in (PARK, PARK_RIDES):
            response = client.get(path.replace("{park_id}", str(entity)))
            validator(path, "404").validate(response.json)
            assert (response.status, response.json["error"]) == (404, f"Park {entity} not found")
        response = client.get(CHART.replace("{park_id}", str(entity)))
        assert (response.status, response.json["error"]) == (404, f"Park {entity} not found")
        response = client.get(RIDE.replace("{ride_id}", str(entity)))
        validator(RIDE, "404").validate(response.json)
        assert (response.status, response.json["error"]) == (404, f"Ride {entity} not found")
    for path in ("/api/parks/-1/details", "/api/rides/abc/details", "/api/parks/1/details/"):
        assert client.get(path).json["error"] == "Not Found"


@pytest.mark.parametrize(("path", "query"), [
    (PARK, "period=tomorrow"), (PARK, "period="), (RIDE, "period=7day-average"), (CHART, "period=live"),
    (CHART, "type=waits"), (CHART, "type="),
])
def test_what_is_not_accepted_is_refused_by_name(client: Client, path: str, query: str) -> None:
    response = client.get(f"{path.format(park_id=1, ride_id=1)}?{query}")
    assert response.status == 400
    assert response.json["success"] is False
    assert query.partition("=")[0] in response.json["error"]
