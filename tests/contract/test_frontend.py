"""What the unchanged frontend reads, and what it cannot forgive: the presence and the JSON type of every such field, in
every period. A field that is missing or has another name often shows as a silent 0."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import broken_world
import pytest
from wsgi_client import Client

from service.config import Settings
from service.web import app as web

PAST = ("yesterday", "last_week", "last_month", "7days", "30days")
EVERY = ("live", "today", *PAST)
FILTERS = ("all-parks", "disney-universal")

Fields = dict[str, str]

# A dot leads into an object, [] into each element of a list that must not be empty. The type ends with ? where null is
# forgiven.
PARK_DOWNTIME: Fields = {
    "success": "true",
    "aggregate_stats.total_parks_tracked": "integer",
    "data[].rank": "integer",
    "data[].park_id": "integer",
    "data[].park_name": "text",
    "data[].shame_score": "number",
    "data[].location": "text",
    "data[].total_downtime_hours": "number",
    "data[].uptime_percentage": "number",
    "data[].rides_down": "integer",
    "data[].trend_percentage": "number?",
    "data[].park_is_open": "boolean?",
}
RIDE_DOWNTIME: Fields = {
    "success": "true",
    "data[].rank": "integer",
    "data[].ride_id": "integer",
    "data[].ride_name": "text",
    "data[].tier": "integer?",
    "data[].park_name": "text",
    "data[].location": "text",
    "data[].current_is_open": "boolean?",
    "data[].park_is_open": "boolean?",
    "data[].downtime_hours": "number",
    "data[].uptime_percentage": "number",
    "data[].trend_percentage": "number?",
}
STATUS_SUMMARY: Fields = {
    "success": "true",
    "status_summary.OPERATING": "integer",
    "status_summary.DOWN": "integer",
    "status_summary.CLOSED": "integer",
    "status_summary.REFURBISHMENT": "integer",
}
PARK_WAITS: Fields = {
    "success": "true",
    "data[].park_id": "integer",
    "data[].park_name": "text",
    "data[].location": "text",
    "data[].avg_wait_minutes": "number",
    "data[].peak_wait_minutes": "number?",
    "data[].rides_reporting": "integer?",
    "data[].trend_percentage": "number?",
    "data[].park_is_open": "boolean?",
}
RIDE_WAITS: Fields = {
    "success": "true",
    "data[].ride_id": "integer",
    "data[].ride_name": "text",
    "data[].tier": "integer?",
    "data[].park_name": "text",
    "data[].location": "text",
    "data[].avg_wait_minutes": "number",
    "data[].peak_wait_minutes": "number?",
    "data[].current_is_open": "boolean?",
    "data[].park_is_open": "boolean?",
    "data[].trend_percentage": "number?",
}
AWARDS: dict[tuple[str, str], Fields] = {
    ("longest-wait-times", "parks"): {
        "data[].park_name": "text",
        "data[].location": "text",
        "data[].avg_wait_time": "number",
    },
    ("longest-wait-times", "rides"): {
        "data[].ride_name": "text",
        "data[].park_name": "text",
        "data[].avg_wait_time": "number",
    },
    ("least-reliable", "parks"): {
        "data[].park_name": "text",
        "data[].location": "text",
        "data[].avg_shame_score": "number",
        "data[].uptime_percentage": "number?",
    },
    ("least-reliable", "rides"): {
        "data[].ride_name": "text",
        "data[].park_name": "text",
        "data[].downtime_hours": "number",
    },
}
CHART: Fields = {
    "success": "true",
    "chart_data.labels[]": "text",
    "chart_data.datasets[].label": "text",
    "chart_data.datasets[].data[]": "number?",
    "mock": "false",
    "granularity": "text",
}
HEATMAP: Fields = {
    "success": "true",
    "metric": "text",
    "metric_unit": "text",
    "granularity": "text",
    "time_labels[]": "text",
    "matrix[][]": "number?",
    "entities[].entity_id": "integer",
    "entities[].entity_name": "text",
    "entities[].total_value": "number",
}
SEARCH: Fields = {
    "success": "true",
    "parks[].name": "text",
    "parks[].type": "text",
    "parks[].url": "text",
    "parks[].location": "string",
    "rides[].name": "text",
    "rides[].type": "text",
    "rides[].url": "text",
    "rides[].park_name": "text",
}
PARK_DETAILS: Fields = {
    "success": "true",
    "period": "text",
    "park.name": "text",
    "park.location": "text",
    "park.operator": "string?",
    "park.timezone": "text",
    "park.queue_times_url": "string?",
    "tier_distribution.tier_1_count": "integer",
    "tier_distribution.tier_2_count": "integer",
    "tier_distribution.tier_3_count": "integer",
    "tier_distribution.total_rides": "integer",
    "current_status.total_rides": "integer",
    "current_status.rides_open": "integer",
    "current_status.rides_closed": "integer",
    "current_status.operating": "integer",
    "excluded_rides_count": "integer",
    "chart_data.labels[]": "text",
    "chart_data.data[]": "number?",
    "chart_data.granularity": "text",
    "shame_breakdown.breakdown_type": "text",
    "shame_breakdown.shame_score": "number",
    "shame_breakdown.total_park_weight": "number",
}
DOWN_RIDES: Fields = {
    "ride_id": "integer",
    "ride_name": "text",
    "tier": "integer",
    "tier_weight": "number",
    "status": "text",
    "downtime_hours": "number",
    "weighted_contribution": "number",
}
LIVE: Fields = {
    "chart_data.current": "number",
    "shame_breakdown.park_is_open": "boolean",
    "shame_breakdown.total_weighted_down": "number",
    "shame_breakdown.total_excluded_weight": "number",
    "shame_breakdown.rides_excluded[].ride_name": "text",
    "shame_breakdown.rides_excluded[].tier_weight": "number",
    "shame_breakdown.rides_excluded[].exclusion_reason": "text",
    **{f"shame_breakdown.rides_down[].{name}": kind for name, kind in DOWN_RIDES.items()},
}
OF_A_SPAN: Fields = {
    "chart_data.average": "number",
    "chart_data.rides_down[]": "integer?",
    "shame_breakdown.rides_affected_count": "integer",
    "shame_breakdown.total_downtime_hours": "number",
    "shame_breakdown.weighted_downtime_hours": "number",
    **{f"shame_breakdown.rides[].{name}": kind for name, kind in DOWN_RIDES.items()},
}
OF_A_DAY: Fields = {
    **OF_A_SPAN,
    "chart_data.avg_wait[]": "number?",
    "shame_breakdown.park_is_open": "boolean?",
}
OF_DAYS: Fields = {
    **OF_A_SPAN,
    "shame_breakdown.period_label": "text",
    "shame_breakdown.days_in_period": "integer",
    "shame_breakdown.rides[].days_with_downtime": "integer",
}
BY_PERIOD = {"live": LIVE, "today": OF_A_DAY, "yesterday": OF_A_DAY}
RIDE_CHARTS: Fields = {
    "success": "true",
    "chart_type": "text",
    "granularity": "text",
    "labels[]": "text",
    "datasets[].label": "text",
    "datasets[].tier": "integer",
    "datasets[].data[]": "number?",
}
RIDE_DETAILS: Fields = {
    "success": "true",
    "period": "text",
    "ride.name": "text",
    "ride.park_name": "text",
    "ride.park_id": "integer",
    "ride.tier": "integer?",
    "ride.category": "text",
    "summary.total_downtime_hours": "number?",
    "summary.uptime_percentage": "number?",
    "summary.avg_wait_time": "number?",
    "summary.total_operating_hours": "number?",
    "timeseries[].avg_wait_time_minutes": "number?",
    "timeseries[].status": "text",
    "timeseries[].uptime_percentage": "number?",
    "timeseries[].snapshot_count": "integer",
    "hourly_breakdown[].avg_wait_time_minutes": "number?",
    "hourly_breakdown[].uptime_percentage": "number?",
    "hourly_breakdown[].downtime_hours": "number?",
    "hourly_breakdown[].snapshot_count": "integer",
}

KINDS = {
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "text": lambda value: isinstance(value, str) and value != "",
    "list": lambda value: isinstance(value, list),
    "true": lambda value: value is True,
    "false": lambda value: value is False,
}
MISSING = object()


def values(body: Any, path: str) -> Iterator[Any]:
    """Every value at a path; MISSING where there is none, and for a list without elements."""
    name, dot, rest = path.partition(".")
    depth = name.count("[]")
    found = [body.get(name.removesuffix("[]" * depth), MISSING) if isinstance(body, dict) else MISSING]
    for _ in range(depth):
        found = [one for value in found for one in (value if isinstance(value, list) and value else [MISSING])]
    for value in found:
        yield from values(value, rest) if dot else [value]


def problems(body: Any, fields: Fields) -> list[str]:
    """What of `fields` is missing or of another type."""
    return [
        f"{path} is {'missing' if value is MISSING else repr(value)}, not {kind}"
        for path, kind in fields.items()
        for value in values(body, path)
        if not (value is None and kind.endswith("?")) and not KINDS[kind.removesuffix("?")](value)
    ]


def test_missing_renamed_null_and_text_are_found() -> None:
    fields = {"success": "true", "data[].shame_score": "number", "data[].trend": "number?"}
    row = {"shame_score": 1.5, "trend": None}
    assert problems({"success": True, "data": [row]}, fields) == []
    for body in (
        {"success": False, "data": [row]},
        {"success": True, "data": []},
        {"success": True, "rows": [row]},
        {"success": True, "data": [row, {"shameScore": 1.5, "trend": None}]},
        {"success": True, "data": [{"shame_score": "1.5", "trend": None}]},
        {"success": True, "data": [{"shame_score": None, "trend": None}]},
        {"success": True, "data": [{"shame_score": True, "trend": None}]},
        {"success": True, "data": [{"shame_score": 1.5}]},
    ):
        assert problems(body, fields) != []


@pytest.fixture
def client(database: Any, settings: Settings) -> Client:
    """The API over a database in which everything happened."""
    broken_world.store()
    return Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=broken_world.INTERVAL)))


def read(client: Client, url: str, fields: Fields) -> Any:
    """The body that the frontend gets, looked at as it does."""
    response = client.get(url)
    assert response.status == 200, f"{url}: {response.json}"
    assert problems(response.json, fields) == [], url
    return response.json


# --- tables ----------------------------------------------------------------------------------------------------------


def test_tables(client: Client) -> None:
    for period, park_filter in product(EVERY, FILTERS):
        query = f"period={period}&filter={park_filter}"
        read(client, f"/api/parks/downtime?{query}&limit=50&sort_by=shame_score", PARK_DOWNTIME)
        read(client, f"/api/rides/downtime?{query}&limit=100&sort_by=downtime_hours", RIDE_DOWNTIME)
        parks = read(client, f"/api/parks/waittimes?{query}&limit=50", PARK_WAITS)
        read(client, f"/api/rides/waittimes?{query}&limit=100", RIDE_WAITS)
        if period in PAST:  # false would show a badge "Park Closed"
            assert {park["park_is_open"] for park in parks["data"]} == {None}


def test_status_summary(client: Client) -> None:
    for park_filter in FILTERS:
        read(client, f"/api/live/status-summary?filter={park_filter}", STATUS_SUMMARY)


def test_awards(client: Client) -> None:
    for (award, entity), fields in AWARDS.items():
        for period in ("today", *PAST):
            url = f"/api/trends/{award}?period={period}&filter=all-parks&entity={entity}&limit=1"
            assert len(read(client, url, {"success": "true", **fields})["data"]) == 1


def test_search(client: Client) -> None:
    read(client, "/api/search/index", SEARCH)


# --- charts ----------------------------------------------------------------------------------------------------------


def test_charts(client: Client) -> None:
    for kind, period, park_filter in product(("parks", "waittimes", "rides", "ridewaittimes"), EVERY, FILTERS):
        fields = CHART | ({"chart_data.datasets[].park": "text"} if "ride" in kind else {})
        body = read(client, f"/api/trends/chart-data?period={period}&type={kind}&filter={park_filter}&limit=5", fields)
        for line in body["chart_data"]["datasets"]:
            assert len(line["data"]) == len(body["chart_data"]["labels"])
            # The chart library would obey them.
            assert not {"type", "hidden", "order", "stack", "fill"} & set(line)


def test_heat_maps(client: Client) -> None:
    kinds = ("parks", "parks-shame", "rides-downtime", "rides-waittimes")
    for kind, period, park_filter in product(kinds, ("today", *PAST), FILTERS):
        own = {"location": "text"} if kind.startswith("parks") else {"tier": "integer?"}
        fields = HEATMAP | {f"entities[].{name}": of for name, of in own.items()}
        url = f"/api/trends/heatmap-data?period={period}&type={kind}&filter={park_filter}&limit=10"
        body = read(client, url, fields)
        assert len(body["matrix"]) == len(body["entities"])
        assert {len(row) for row in body["matrix"]} == {len(body["time_labels"])}
        if not kind.startswith("parks"):  # with a location a ride would be shown as a park
            assert not any("location" in entity for entity in body["entities"])


# --- pages -----------------------------------------------------------------------------------------------------------


def test_park_page(client: Client) -> None:
    for park_id, period in product((1, 2), EVERY):
        fields = PARK_DETAILS | BY_PERIOD.get(period, OF_DAYS)
        body = read(client, f"/api/parks/{park_id}/details?period={period}", fields)
        chart = body["chart_data"]
        series = [chart[name] for name in ("data", "rides_down", "avg_wait") if name in chart]
        assert {len(one) for one in series} == {len(chart["labels"])}
        assert KINDS["number"](body["current_status"].get("uptime_percentage", 0))  # absent, or a number


def test_page_of_a_park_that_is_closed_or_was_never_seen(client: Client) -> None:
    for park_id, period in product((3, 4), EVERY):
        fields = PARK_DETAILS | BY_PERIOD.get(period, OF_DAYS)
        lists = {path.partition("[]")[0]: "list" for path in fields if "[]" in path}
        scalars = {path: kind for path, kind in fields.items() if "[]" not in path}
        read(client, f"/api/parks/{park_id}/details?period={period}", scalars | lists)


def test_park_page_charts(client: Client) -> None:
    for period, kind in product(("today", *PAST), ("downtime", "wait_times")):
        body = read(client, f"/api/parks/1/rides/charts?period={period}&type={kind}", RIDE_CHARTS)
        assert body["chart_type"] == kind
        assert {len(line["data"]) for line in body["datasets"]} == {len(body["labels"])}


def test_first_chart_of_a_park_page_is_asked_for_without_a_type(client: Client) -> None:
    for period in ("today", *PAST):
        assert client.get(f"/api/parks/1/rides/charts?period={period}").json["chart_type"] == "downtime"


def test_ride_page(client: Client) -> None:
    for ride_id, period in product((1, 3, 5, 6), EVERY):
        by_day = period not in ("live", "today", "yesterday")
        at, other = ("date", "hour_start_utc") if by_day else ("hour_start_utc", "date")
        fields = RIDE_DETAILS | {f"timeseries[].{at}": "text", f"hourly_breakdown[].{at}": "text"}
        body = read(client, f"/api/rides/{ride_id}/details?period={period}", fields)
        # Which of the two is there decides what is shown.
        assert not any(other in row for row in (*body["timeseries"], *body["hourly_breakdown"]))


def test_pages_of_what_is_not_there_say_so(client: Client) -> None:
    for url in ("/api/parks/999/details", "/api/parks/999/rides/charts", "/api/rides/999/details"):
        response = client.get(f"{url}?period=today")
        assert response.status == 404
        assert problems(response.json, {"success": "false", "error": "text"}) == []


def test_pages_do_not_break_on_a_wrong_period(client: Client) -> None:
    for url in ("/api/parks/1/details", "/api/parks/1/rides/charts", "/api/rides/1/details"):
        response = client.get(f"{url}?period=ever")
        assert response.status == 400
        assert problems(response.json, {"success": "false", "error": "text"}) == []


# --- where it runs ---------------------------------------------------------------------------------------------------


def test_instants_name_their_zone(client: Client) -> None:
    """Browsers take an instant without one for their own time."""
    for url in ("/api/rides/1/details?period=today", "/api/parks/1/details?period=live", "/api/search/index"):
        for name, value in instants(client.get(url).json):
            assert value.endswith("Z"), f"{url}: {name}={value}"


def instants(body: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(body, dict):
        for key, value in body.items():
            yield from instants(value, key)
    elif isinstance(body, list):
        for value in body:
            yield from instants(value, name)
    elif isinstance(body, str) and len(body) > 10 and body[4:5] == "-" and body[10] == "T":
        yield name, body


def test_page_on_another_port_may_read_the_api(client: Client) -> None:
    response = client.get("/api/parks/downtime", origin="http://localhost:8080")
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:8080"
