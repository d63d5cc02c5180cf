"""The answers of every endpoint have the shapes of the HTTP contract, where that document is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from factories import World
from wsgi_client import Client

from service import clock
from service.config import Settings
from service.periods import PERIODS
from service.queries import rankings
from service.web import app as web

jsonschema = pytest.importorskip("jsonschema")

CONTRACT = Path(__file__).resolve().parents[2].parent / "shared" / "contract" / "openapi.yaml"
pytestmark = pytest.mark.skipif(not CONTRACT.is_file(), reason="the contract is not beside this checkout")

PACIFIC = ZoneInfo("America/Los_Angeles")
NOW = datetime(2025, 5, 18, 15, 0, tzinfo=PACIFIC)  # a Sunday
INTERVAL = 30
EVERY_PERIOD = (*PERIODS, "7days", "30days")
FILTERS = ("all-parks", "disney-universal")


@cache
def validator(path: str, status: str = "200") -> Any:
    """The schema of an endpoint's answer, with what the service has decided to do differently."""
    document = yaml.safe_load(CONTRACT.read_text())
    schemas = document["components"]["schemas"]
    # An answer names the sources it was really made of.
    for name in ("data_source", "url"):
        schemas["Attribution"]["properties"][name] = {"type": "string"}
    schemas["AttributionText"] = {"type": "string", "pattern": "^Data powered by .+ - .+$"}
    # The aliases of periods are accepted by every endpoint.
    waits = schemas["ParksWaitTimesResponse"]["allOf"]
    waits[0]["properties"]["period"]["enum"] += ["7days", "30days"]
    waits[1]["oneOf"][-1]["properties"]["period"]["enum"] += ["7days", "30days"]
    for name in ("ChartDataResponse", "LongestWaitTimesResponse", "LeastReliableResponse", "HeatmapResponse"):
        schemas[name]["allOf"][0]["properties"]["period"]["enum"] += ["7days", "30days"]
    schemas["ParkRidesChartResponse"]["properties"]["period"]["enum"] += ["7days", "30days"]
    for name in ("ParkDetailsResponse", "RideDetailsResponse"):
        whole, shapes = schemas[name]["allOf"]
        whole["properties"]["period"]["enum"] += ["7days", "30days"]
        shapes["oneOf"][-1]["properties"]["period"]["enum"] += ["7days", "30days"]
    # Live is today so far, where the frontend links to it.
    whole["properties"]["period"]["enum"].append("live")
    shapes["oneOf"][0]["properties"]["period"]["enum"].append("live")
    # Two modes the predecessor left empty have the rows of today and of past periods.
    ride_waits = schemas["RidesWaitTimesResponse"]["allOf"][1]["oneOf"]
    ride_waits[1]["properties"]["mode"]["enum"].append("peak-times")
    ride_waits[2]["properties"]["mode"]["enum"].append("7day-average")
    del ride_waits[3]
    answer = document["paths"][path]["get"]["responses"][status]
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    schema = answer["content"]["application/json"]["schema"]
    return jsonschema.Draft202012Validator({"components": document["components"], "allOf": [schema]})


@pytest.fixture
def client(database: Any, settings: Settings) -> Iterator[Client]:
    """The API over a park of each type that broke down in every period; one has neither a town nor outside ids."""
    world = World(INTERVAL)
    fill(world, world.park("disney"))
    fill(world, world.park("other"))
    bare = world.park("universal")
    fill(world, bare)
    world.parks[-1] = world.parks[-1]._replace(city=None, state_province=None, queue_times_id=None)
    world.store()
    clock.replay(NOW)
    yield Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=INTERVAL)))


def fill(world: World, park_id: int) -> None:
    """Rides that break down, run with a wait, are being refurbished, are closed, and send no status."""
    days = [date(2025, 4, 7), date(2025, 4, 8), *(date(2025, 5, day) for day in (5, 13, 17, 18))]
    letters = {"OODDOODD": 1, "OOOOOOOO": None, "RRRRRRRR": 3, "CCCCCCCC": 2, "oooccooo": 2, "OCCOOCOC": 3}
    rides = {world.ride(park_id, tier=tier): said for said, tier in letters.items()}
    for day in days:
        start = int(datetime(day.year, day.month, day.day, 11, 30, tzinfo=PACIFIC).timestamp())
        world.open(park_id, day, start, start + 8 * INTERVAL * 60)
        for ride_id, said in rides.items():
            world.day_of(ride_id, said, start, [5, 10, None, None, 20, 35, 60, 25])


def check(
    client: Client, path: str, query: str = "", *, rows: bool = True, described_as: str | None = None
) -> None:
    response = client.get(f"{path}?{query}")
    assert response.status == 200, response.json
    body = response.json
    described = validator(described_as or path)
    problems = [f"{list(error.absolute_path)}: {error.message}" for error in leaves(described.iter_errors(body))]
    assert not problems, f"{path}?{query}\n" + "\n".join(problems)
    if rows:
        assert body["data"], f"{path}?{query} lists nothing, so that nothing was looked at"
        assert [row["rank"] for row in body["data"]] == list(range(1, len(body["data"]) + 1))


def leaves(errors: Any) -> Iterator[Any]:
    """Of alternatives that all fail, what is wrong with each."""
    for error in errors:
        yield from leaves(error.context) if error.context else [error]


def test_parks_downtime(client: Client) -> None:
    for period in EVERY_PERIOD:
        for park_filter in FILTERS:
            for sort_by in rankings.PARK_SORTS:
                check(client, "/api/parks/downtime", f"period={period}&filter={park_filter}&sort_by={sort_by}")


def test_parks_waittimes(client: Client) -> None:
    for period in EVERY_PERIOD:
        for park_filter in FILTERS:
            check(client, "/api/parks/waittimes", f"period={period}&filter={park_filter}")


def test_rides_downtime(client: Client) -> None:
    for period in EVERY_PERIOD:
        for park_filter in FILTERS:
            for sort_by in rankings.RIDE_SORTS:
                check(client, "/api/rides/downtime", f"period={period}&filter={park_filter}&sort_by={sort_by}")


def test_rides_waittimes(client: Client) -> None:
    for mode in rankings.MODES:
        for park_filter in FILTERS:
            check(client, "/api/rides/waittimes", f"mode={mode}&filter={park_filter}")
    for period in EVERY_PERIOD:
        check(client, "/api/rides/waittimes", f"period={period}")


def test_status_summary(client: Client) -> None:
    for query in ("", "filter=disney-universal", "park_id=1", "park_id=999"):
        check(client, "/api/live/status-summary", query, rows=False)


def test_root_and_health(client: Client) -> None:
    check(client, "/", rows=False)
    check(client, "/api/health", rows=False)


def test_limit_of_one(client: Client) -> None:
    for path in ("/api/parks/downtime", "/api/parks/waittimes", "/api/rides/downtime", "/api/rides/waittimes"):
        check(client, path, "limit=1&period=today")
        assert len(client.get(f"{path}?limit=1&period=today").json["data"]) == 1


def test_errors(client: Client) -> None:
    for path in ("/api/parks/downtime", "/api/parks/waittimes", "/api/rides/downtime", "/api/rides/waittimes"):
        validator(path, "400").validate(client.get(f"{path}?limit=0").json)


def test_unhealthy(database: Any, settings: Settings) -> None:
    other = Settings(settings.database_url, migrations_dir=Path("/nowhere"))
    response = Client(web.create_app(other)).get("/api/health")
    assert response.status == 503
    validator("/api/health", "503").validate(response.json)
