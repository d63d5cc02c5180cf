"""How the API answers whatever it is asked: bodies and headers of success and of every error, methods, CORS."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from peewee import OperationalError
from factories import World
from wsgi_client import Client

from service import clock, database
from service.config import Settings
from service.errors import NotFound, Unavailable
from service.models import Park, ParkActivitySnapshot, ServiceState
from service.monitoring import health
from service.queries import catalog, rankings
from service.rules import Source
from service.web import app as web
from service.web import http
from service.web.params import Query, Refused, Request

NOW = datetime(2025, 5, 18, 15, tzinfo=UTC)

RANKINGS = ["/api/parks/downtime", "/api/parks/waittimes", "/api/rides/downtime", "/api/rides/waittimes"]
ATTRIBUTED = [*RANKINGS, "/api/live/status-summary"]
QUESTIONS = [*ATTRIBUTED, "/api/search/index"]
API = ["/api/health", "/api/openapi.json", *QUESTIONS]
COMMANDS = ["/api/audit/run", "/api/audit/verify"]
EVERYTHING = ["/", *API]
NOWHERE = [
    "/api", "/api/", "/api/parks", "/api/rides", "/api/health/", "/api/parks/downtime/", "/api/parks/downtime/1",
    "/api/audit", "/api/search", "/api/trends/", "/api/parks/-1/details", "/api/rides/abc/details",
    "/API/health", "//api/health", "/api//health", "/api/../api/health", "/favicon.ico", "/api/health\0", "/*",
    "/api/health\n", "/api/parks/1/details\n",
]

HOSTILE = [
    "%27", "%22", "%27%20OR%201%3D1%20--", "1%3B%20DROP%20TABLE%20parks", "%00", "%ff%fe", "%F0%9F%8E%A2", "%",
    "%zz", "..%2f..%2fetc%2fpasswd", "%3Cscript%3Ealert(1)%3C/script%3E", "%25s%25n", "%7B%7D", "%0d%0aX-Bad:%201",
    "null", "NaN", "-1", "1e9", "9" * 500, "x" * 500, "%E2%80%AE", "\u00e9".encode().decode("latin-1"), "\xff",
    "[]", "a%26b",
]


@pytest.fixture
def client(database: Any, settings: Settings) -> Client:
    """The API over an empty, migrated database."""
    clock.replay(NOW)
    return Client(web.create_app(settings))


@pytest.fixture
def unreachable() -> Iterator[Client]:
    """The API over a server that is not there."""
    before = database.db.obj
    settings = Settings(database_url="mysql://secretuser:secretpassword@127.0.0.1:9/nothing")
    database.open_database(settings)
    yield Client(web.create_app(settings))
    database.db.initialize(before)


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERYTHING)
def test_every_endpoint_answers_an_empty_database(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Length"] == str(len(response.body))


def test_root_describes_the_api_without_a_database(unreachable: Client) -> None:
    assert unreachable.get("/").json == {
        "name": "Theme Park Downtime Tracker API",
        "version": "1.0.0",
        "status": "running",
        "endpoints": {
            "health": "/api/health",
            "parks": "/api/parks",
            "rides": "/api/rides",
            "trends": "/api/trends",
            "audit": "/api/audit",
            "search": "/api/search",
        },
    }


def test_park_downtime_envelope(client: Client) -> None:
    body = client.get("/api/parks/downtime?period=7days&filter=disney-universal&weighted=TRUE&sort_by=rides_down").json
    assert body.pop("attribution")["data_source"]
    assert body.pop("aggregate_stats")["period"] == "last_week"
    assert body == {
        "success": True,
        "period": "7days",
        "filter": "disney-universal",
        "weighted": True,
        "sort_by": "rides_down",
        "span": {"start": "2025-05-11T07:00:00Z", "end": "2025-05-18T07:00:00Z", "label": "May 11-17, 2025"},
        "data": [],
    }


@pytest.mark.parametrize("path", ["/api/parks/waittimes", "/api/rides/downtime"])
def test_ranking_envelope(client: Client, path: str) -> None:
    body = client.get(path).json
    assert body.pop("attribution")["url"]
    assert body == {
        "success": True,
        "period": "live",
        "filter": "all-parks",
        "span": {"start": "2025-05-18T07:00:00Z", "end": "2025-05-18T15:00:00Z", "label": "May 18, 2025"},
        "data": [],
    }


@pytest.mark.parametrize(("query", "period", "mode", "label"), [
    ("", "live", "live", "May 18, 2025"),
    ("period=30days", "30days", "last_month", "April 2025"),
    ("period=today&mode=yesterday", "today", "yesterday", "May 17, 2025"),
    ("mode=peak-times", "live", "peak-times", "May 18, 2025"),
    ("mode=7day-average", "live", "7day-average", "May 11-17, 2025"),
])
def test_ride_waits_name_period_and_mode(client: Client, query: str, period: str, mode: str, label: str) -> None:
    body = client.get(f"/api/rides/waittimes?{query}").json
    assert (body["period"], body["mode"], body["span"]["label"]) == (period, mode, label)
    assert set(body) == {"success", "period", "mode", "filter", "span", "data", "attribution"}


def test_status_summary_envelope(client: Client) -> None:
    nothing = {"OPERATING": 0, "DOWN": 0, "CLOSED": 0, "REFURBISHMENT": 0, "PARK_CLOSED": 0, "total": 0}
    body = client.get("/api/live/status-summary").json
    assert set(body) == {"success", "filter", "span", "status_summary", "attribution"}
    assert body["status_summary"] == nothing
    assert body["span"] == {"start": "2025-05-18T13:00:00Z", "end": "2025-05-18T15:00:00Z", "label": "last 2 hours"}
    body = client.get("/api/live/status-summary?park_id=7&filter=disney-universal").json
    assert (body["park_id"], body["filter"], body["status_summary"]) == (7, "disney-universal", nothing)


def test_body_has_sorted_keys_escapes_and_a_last_newline(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rankings, "parks_by_downtime", lambda _: [{"b": "Café \U0001f3a2", "a": 1.5}])
    body = client.get("/api/parks/downtime").body
    assert b'"data":[{"a":1.5,"b":"Caf\\u00e9 \\ud83c\\udfa2"}]' in body
    assert body.endswith(b"}\n") and body.count(b"\n") == 1
    assert list(json.loads(body)) == sorted(json.loads(body))


def test_one_request_reads_the_clock_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[datetime] = []
    monkeypatch.setattr(clock, "now", lambda: reads.append(NOW) or NOW)
    for count, path in enumerate(API, start=1):
        assert client.get(path).status == 200
        assert len(reads) == count


@pytest.mark.parametrize("path", ATTRIBUTED)
def test_question_sees_one_state_of_the_database(client: Client, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    inside: list[bool] = []
    monkeypatch.setattr(catalog, "attribution", lambda _: inside.append(database.db.in_transaction()) or {})
    assert client.get(path).status == 200
    assert inside == [True]


def test_search_index_of_nothing(client: Client) -> None:
    assert client.get("/api/search/index").json == {
        "success": True,
        "parks": [],
        "rides": [],
        "meta": {"park_count": 0, "ride_count": 0, "last_updated": "2025-05-18T15:00:00Z"},
    }


def test_search_index_lists_what_is_active_by_name(client: Client) -> None:
    world = World(5)
    zebra, apple, closed, alone = (world.park(is_active=active) for active in (True, True, False, True))
    names = [(zebra, "zebra Land"), (apple, "Apple Land"), (closed, "Closed"), (alone, "\u00c9cole")]
    world.parks = [park._replace(name=name) for park, (_, name) in zip(world.parks, names, strict=True)]
    world.parks[0] = world.parks[0]._replace(city="Paris", state_province=None)
    world.parks[3] = world.parks[3]._replace(city=None, state_province=None)
    show, coaster, twin = world.ride(zebra, category="SHOW"), world.ride(apple), world.ride(zebra)
    world.ride(apple, is_active=False), world.ride(closed)
    named = {show: "the Show", coaster: "Coaster", twin: "Coaster"}
    world.rides = [ride._replace(name=named.get(ride.ride_id, ride.name)) for ride in world.rides]
    world.store()
    body = client.get("/api/search/index").json
    assert [(park["id"], park["name"], park["location"]) for park in body["parks"]] == [
        (apple, "Apple Land", "Town, ST"), (zebra, "zebra Land", "Paris, US"), (alone, "\u00c9cole", "US"),
    ]
    places = {park.park_id: park.location for park in catalog.universe().parks.values()}  # as rankings have them
    assert {park["id"]: park["location"] for park in body["parks"]}.items() <= places.items()
    assert [(ride["id"], ride["name"], ride["park_id"], ride["park_name"]) for ride in body["rides"]] == [
        (coaster, "Coaster", apple, "Apple Land"), (twin, "Coaster", zebra, "zebra Land"),
        (show, "the Show", zebra, "zebra Land"),
    ]
    assert body["parks"][0] | {"type": "park", "url": f"/park-detail.html?id={apple}"} == body["parks"][0]
    assert body["rides"][0] | {"type": "ride", "url": f"/ride-detail.html?id={coaster}"} == body["rides"][0]
    assert body["meta"] == {"park_count": 3, "ride_count": 3, "last_updated": "2025-05-18T15:00:00Z"}


def test_simulated_data_is_said_to_be_and_names_no_page(client: Client) -> None:
    world = World(5)
    for park_id in (world.park(), world.park()):
        world.day_of(world.ride(park_id), "O", int(NOW.timestamp()) - 300)
    world.store()
    both = client.get("/api/trends/least-reliable").json["attribution"]
    assert both == "Data powered by ThemeParks.wiki - https://themeparks.wiki"
    mixed = "Data powered by ThemeParks.wiki, Simulated data - https://themeparks.wiki"
    for park_id, said in ((1, mixed), (2, "Simulated data")):
        activity = ParkActivitySnapshot
        activity.update({activity.source: Source.SIMULATION}).where(activity.park_id == park_id).execute()
        assert client.get("/api/trends/least-reliable").json["attribution"] == said
    assert client.get("/api/parks/downtime").json["attribution"] == {
        "data_source": "Simulated data", "url": "/", "sources": [{"name": "Simulated data", "url": "/"}],
    }


def test_search_index_that_fails_is_empty(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "searchable_rides", raising(RuntimeError("secret")))
    response = client.get("/api/search/index")
    assert response.status == 500
    assert response.json == {
        "success": False,
        "error": "Internal server error",
        "parks": [],
        "rides": [],
        "meta": {"park_count": 0, "ride_count": 0, "last_updated": "2025-05-18T15:00:00Z"},
    }


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RANKINGS)
@pytest.mark.parametrize("period", ["live", "today", "yesterday", "last_week", "last_month", "7days", "30days"])
def test_every_ranking_accepts_every_period(client: Client, path: str, period: str) -> None:
    assert client.get(f"{path}?period={period}").json["period"] == period


@pytest.mark.parametrize(("path", "default", "maximum"), [
    ("/api/parks/downtime", 50, 100), ("/api/parks/waittimes", 50, 100),
    ("/api/rides/downtime", 100, 200), ("/api/rides/waittimes", 100, 200),
])
def test_limit(client: Client, monkeypatch: pytest.MonkeyPatch, path: str, default: int, maximum: int) -> None:
    for name in ("parks_by_downtime", "parks_by_wait", "rides_by_downtime", "rides_by_wait"):
        monkeypatch.setattr(rankings, name, lambda standings: [{"limit": standings.question.limit}])
    assert client.get(path).json["data"] == [{"limit": default}]
    assert client.get(f"{path}?limit=3").json["data"] == [{"limit": 3}]
    assert client.get(f"{path}?limit={maximum + 1}").json["data"] == [{"limit": maximum}]
    assert client.get(f"{path}?limit={'9' * 1000}").json["data"] == [{"limit": maximum}]


@pytest.mark.parametrize(("path", "named"), [
    ("/api/parks/downtime?period=x&filter=x&sort_by=x&limit=x", "limit"),
    ("/api/parks/downtime?period=x&filter=x&sort_by=x", "period"),
    ("/api/parks/downtime?filter=x&sort_by=x", "filter"),
    ("/api/parks/downtime?sort_by=x", "sort_by"),
    ("/api/parks/waittimes?limit=x&filter=x&period=x", "period"),
    ("/api/parks/waittimes?limit=x&filter=x", "filter"),
    ("/api/parks/waittimes?limit=0", "limit"),
    ("/api/rides/downtime?limit=x&sort_by=x&filter=x&period=x", "period"),
    ("/api/rides/downtime?limit=x&sort_by=x&filter=x", "filter"),
    ("/api/rides/downtime?limit=x&sort_by=x", "sort_by"),
    ("/api/rides/downtime?limit=-1", "limit"),
    ("/api/rides/waittimes?limit=x&filter=x&mode=x&period=x", "period"),
    ("/api/rides/waittimes?limit=x&filter=x&mode=x", "mode"),
    ("/api/rides/waittimes?limit=x&filter=x", "filter"),
    ("/api/rides/waittimes?limit=", "limit"),
    ("/api/live/status-summary?park_id=x&filter=x", "filter"),
    ("/api/live/status-summary?park_id=0", "park_id"),
])
def test_first_bad_parameter_is_named(client: Client, path: str, named: str) -> None:
    response = client.get(path)
    assert response.status == 400
    assert set(response.json) == {"success", "error"} and response.json["success"] is False
    assert response.json["error"].startswith(f"Invalid {named} '") and ": use " in response.json["error"]


@pytest.mark.parametrize(("path", "name"), [
    ("/", "unknown"),
    ("/api/health", "unknown"),
    *product(RANKINGS, ["period", "mode", "filter", "sort_by", "limit", "weighted", "unknown"]),
    *product(["/api/live/status-summary"], ["filter", "park_id", "unknown"]),
])
def test_hostile_values_are_ignored_or_refused(client: Client, path: str, name: str) -> None:
    for value in HOSTILE:
        response = client.get(f"{path}?{name}={value}")
        assert response.status in (200, 400), value
        if response.status == 400:
            assert response.json["success"] is False and response.json["error"]


def test_hostile_names_are_ignored_or_refused(client: Client) -> None:
    for value in HOSTILE:
        assert client.get(f"/api/parks/downtime?{value}=1").status in (200, 400), value
        assert client.get(f"/api/parks/downtime?{value}").status in (200, 400), value


def test_wrong_parameter_is_refused_though_the_database_is_gone(unreachable: Client) -> None:
    assert unreachable.get("/api/parks/downtime?period=x").status == 400


# --- paths and methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOWHERE)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_unknown_path(client: Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert response.status == 404
    assert response.json == {"error": "Not Found", "message": "The requested resource was not found"}


@pytest.mark.parametrize("path", ["/api/health\xff", "/\xc3", "/api/parks/\xf0\x9f/downtime"])
def test_path_that_is_not_utf8(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status == 400
    assert set(response.json) == {"error", "message"}


@pytest.mark.parametrize("url", ["/api/health?q=" + "x" * 4000, "/" + "x" * 5000])
def test_overlong_url(client: Client, url: str) -> None:
    response = client.get(url)
    assert response.status == 414
    assert set(response.json) == {"error", "message"}


@pytest.mark.parametrize("path", EVERYTHING)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_other_methods_are_not_allowed(client: Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert response.json["error"] == "Method Not Allowed" and response.json["message"]


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE"])
def test_commands_are_posted_only(client: Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert response.status == 405
    assert response.headers["Allow"] == "OPTIONS, POST"
    assert method == "HEAD" or response.json["error"] == "Method Not Allowed"


@pytest.mark.parametrize("path", [*EVERYTHING, "/api/parks/downtime?period=x", "/nowhere"])
def test_head_is_get_without_the_body(client: Client, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(health, "disk_space", lambda _: {"status": "unknown"})  # it fills up between two requests
    head, get = client.request("HEAD", path), client.get(path)
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def echo(client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The API with one more command, that gives back the body it was sent."""

    def answer(request: Request) -> Any:
        sent = request.json()
        return lambda: {"success": True, "sent": sent}

    monkeypatch.setitem(web.COMMANDS, "/api/echo", answer)
    return Client(web.create_app(settings))


def test_json_object_is_read(echo: Client) -> None:
    for body in ({}, {"a": [1, 2.5, None, "\u00e9"], "b": {"c": True}}):
        assert echo.post("/api/echo", body).json == {"success": True, "sent": body}


@pytest.mark.parametrize("kind", [
    "application/json", "APPLICATION/JSON", "application/json; charset=utf-8", " application/json ;x=1",
])
def test_json_may_be_named_in_any_case_and_with_parameters(echo: Client, kind: str) -> None:
    assert echo.post("/api/echo", {}, content_type=kind).status == 200


@pytest.mark.parametrize("kind", [
    "", "text/plain", "text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "application/jsonp", "json",
])
def test_other_content_is_refused(echo: Client, kind: str) -> None:
    response = echo.post("/api/echo", {}, content_type=kind)
    assert response.status == 415
    assert response.json["error"] == "Unsupported Media Type" and "application/json" in response.json["message"]


@pytest.mark.parametrize("body", [
    b"", b" ", b"{", b'{"a": 1', b"{'a': 1}", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}', b"\xff\xfe{}",
    b'{"a": "\xe9"}', b"[" * 50_000, b'{"a": ' + b"9" * 5000 + b"}", "{}".encode("utf-16"), b"{}{}",
])
def test_malformed_json_is_refused(echo: Client, body: bytes) -> None:
    response = echo.post("/api/echo", body)
    assert response.status == 400
    assert response.json["error"] == "Bad Request" and response.json["message"]


@pytest.mark.parametrize("body", [None, [], [{}], "text", 1, 1.5, True])
def test_json_that_is_no_object_is_refused(echo: Client, body: object) -> None:
    response = echo.post("/api/echo", body)
    assert response.status == 400
    assert response.json["success"] is False and "object" in response.json["error"]


def test_large_body_is_refused(echo: Client) -> None:
    for size, status in ((100 * 1024, 200), (100 * 1024 + 1, 413)):
        body = b'{"a": "' + b"x" * (size - 9) + b'"}'
        assert len(body) == size
        response = echo.post("/api/echo", body)
        assert response.status == status
    assert response.json["error"] == "Request Entity Too Large" and response.json["message"]


def posted(body: bytes, **environ: object) -> Request:
    sent = {"CONTENT_TYPE": "application/json", "wsgi.input": io.BytesIO(body), **environ}
    return Request(Settings(), NOW, Query(""), {}, sent)


@pytest.mark.parametrize(("length", "status"), [
    ("9" * 30, 413), ("102401", 413), ("-1", 400), ("x", 400), ("1 0", 400),
])
def test_stated_length_is_looked_at_before_the_body(length: str, status: int) -> None:
    with pytest.raises(Refused) as caught:
        posted(b"{}", CONTENT_LENGTH=length).json()
    assert caught.value.status == status


def test_body_without_a_stated_length_is_read_where_the_server_knows_its_end() -> None:
    assert posted(b'{"a": 1}', **{"wsgi.input_terminated": True}).json() == {"a": 1}
    with pytest.raises(Refused, match="larger"):
        posted(b" " * 200_000, **{"wsgi.input_terminated": True}).json()
    with pytest.raises(Refused, match="not JSON"):
        posted(b'{"a": 1}').json()


@pytest.mark.parametrize("path", COMMANDS)
def test_commands_look_at_their_body(client: Client, path: str) -> None:
    assert client.request("POST", path).status == 415
    assert client.post(path, b"{").status == 400
    assert client.post(path, []).status == 400
    assert client.post(path, b"x" * 200_000).status == 413


# --- CORS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*API, "/api/parks/downtime?limit=x", "/api/nothing", "/api"])
def test_any_origin_may_read_the_api(client: Client, path: str) -> None:
    plain, foreign = client.get(path), client.get(path, origin="https://parks.example")
    assert plain.headers["Access-Control-Allow-Origin"] == "*" and "Vary" not in plain.headers
    assert foreign.headers["Access-Control-Allow-Origin"] == "https://parks.example"
    assert foreign.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in foreign.headers


@pytest.mark.parametrize("path", ["/", "/apix", "/nowhere"])
def test_no_cors_outside_the_api(client: Client, path: str) -> None:
    names = client.get(path, origin="https://parks.example").headers
    assert not [name for name in names if name.startswith("Access-Control")]


@pytest.mark.parametrize("path", API)
def test_preflight(client: Client, path: str) -> None:
    response = client.request(
        "OPTIONS", path, origin="null", access_control_request_method="GET",
        access_control_request_headers="x-api-key, Content-Type, X-Evil",
    )
    assert (response.status, response.body) == (200, b"")
    assert response.headers["Access-Control-Allow-Origin"] == "null"
    assert response.headers["Access-Control-Allow-Methods"] == "GET, OPTIONS, POST"
    assert response.headers["Access-Control-Allow-Headers"] == "x-api-key, Content-Type"
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert "Access-Control-Max-Age" not in response.headers


def test_preflight_of_a_command(client: Client) -> None:
    response = client.request("OPTIONS", "/api/audit/run", origin="https://parks.example")
    assert (response.status, response.body) == (200, b"")
    assert response.headers["Allow"] == "OPTIONS, POST"
    assert response.headers["Access-Control-Allow-Methods"] == "GET, OPTIONS, POST"


def test_options_asks_no_database(unreachable: Client) -> None:
    for path in [*EVERYTHING, *COMMANDS, "/api/parks/1/details", "/api/rides/1/details"]:
        response = unreachable.request("OPTIONS", path)
        assert (response.status, response.body) == (200, b"")
        assert response.headers["Content-Type"] == "text/plain"


@pytest.mark.parametrize("origin", ["a\r\nX-Bad: 1", "a\x01b", "\xff", "", "\0"])
def test_origin_that_no_header_may_carry_is_not_echoed(client: Client, origin: str) -> None:
    assert client.get("/api/health", origin=origin).headers["Access-Control-Allow-Origin"] == "*"


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", QUESTIONS)
def test_unreachable_database(unreachable: Client, path: str) -> None:
    response = unreachable.get(path)
    assert response.status == 503
    assert response.json == {
        "success": False, "error": "The database cannot be reached at the moment: try again later.",
    }


def test_unreachable_database_is_unhealthy(unreachable: Client) -> None:
    response = unreachable.get("/api/health")
    assert response.status == 503
    assert response.json["status"] == "unhealthy"
    assert response.json["checks"]["database"] == {"status": "unhealthy", "message": "The database cannot be reached"}
    assert b"secret" not in response.body


def test_database_without_tables(tmp_path: Path) -> None:
    before = database.db.obj
    (tmp_path / "empty.db").touch()
    settings = Settings(database_url=f"sqlite:///{tmp_path}/empty.db")
    database.open_database(settings, read_only=True)
    client = Client(web.create_app(settings))
    for path in QUESTIONS:
        response = client.get(path)
        assert response.status == 503
        assert response.json["success"] is False and "cli migrate" in response.json["error"]
    response = client.get("/api/health")
    assert response.status == 503
    assert response.json["checks"]["database"]["status"] == "healthy"
    assert response.json["checks"]["schema"]["status"] == "unhealthy"
    assert "cli migrate" in response.json["checks"]["schema"]["message"]
    database.db.initialize(before)


@pytest.mark.parametrize("path", QUESTIONS)
def test_readings_of_another_interval(client: Client, path: str) -> None:
    ServiceState.insert({ServiceState.name: "snapshot_interval_minutes", ServiceState.value: 15}).execute()
    response = client.get(path)
    assert response.status == 503
    assert "SNAPSHOT_INTERVAL_MINUTES=15" in response.json["error"]
    response = client.get("/api/health")
    assert (response.status, response.json["checks"]["schema"]["status"]) == (503, "unhealthy")


def test_connection_lost_on_the_way(
    client: Client, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if not database.is_mysql():
        return  # a file cannot be lost
    server = request.getfixturevalue("mariadb")
    with server.connect() as other, other.cursor() as cursor, monkeypatch.context() as patch:

        def lost(_: object) -> int:
            cursor.execute("KILL %s", database.db.execute_sql("SELECT CONNECTION_ID()").fetchone())
            return Park.select().count()

        patch.setattr(rankings, "parks_by_wait", lost)
        response = client.get("/api/parks/waittimes")
        assert (response.status, "cannot be reached" in response.json["error"]) == (503, True)
    assert client.get("/api/parks/waittimes").status == 200


def test_service_recovers_without_a_restart(client: Client) -> None:
    ServiceState.insert({ServiceState.name: "snapshot_interval_minutes", ServiceState.value: 15}).execute()
    assert client.get("/api/parks/downtime").status == 503
    ServiceState.update({ServiceState.value: 5}).execute()
    assert client.get("/api/parks/downtime").status == 200


def test_readiness_is_looked_at_once_and_again_after_a_failure(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Settings] = []
    monkeypatch.setattr(web, "ensure_ready", looks.append)
    for path in RANKINGS:
        assert client.get(path).status == 200
    assert len(looks) == 1
    with monkeypatch.context() as patch:
        patch.setattr(rankings, "parks_by_wait", raising(OperationalError(2013, "Lost connection to 10.0.0.7")))
        response = client.get("/api/parks/waittimes")
        assert (response.status, b"10.0.0.7" in response.body) == (503, False)
        assert client.get("/api/parks/waittimes?limit=0").status == 400
    assert len(looks) == 1
    assert client.get("/api/parks/waittimes").status == 200
    assert len(looks) == 2


@pytest.mark.parametrize("error", [
    RuntimeError("secret words"), KeyError("secret words"), OperationalError(1064, "secret words near SELECT"),
])
def test_unexpected_failure_is_logged_and_not_shown(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(rankings, "rides_by_wait", raising(error))
    response = client.get("/api/rides/waittimes")
    assert response.status == 500
    assert response.json == {"success": False, "error": "Internal server error"}
    assert "Traceback" in caplog.text and "secret words" in caplog.text


def test_value_that_json_cannot_carry_is_an_unexpected_failure(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (float("nan"), NOW):
        monkeypatch.setattr(rankings, "rides_by_wait", lambda _, value=value: [value])
        assert client.get("/api/rides/waittimes").status == 500


@pytest.mark.parametrize("error", [NotFound("Park 7 not found"), Unavailable("The query took too long.")])
def test_known_failure_says_what_it_is(client: Client, monkeypatch: pytest.MonkeyPatch, error: NotFound) -> None:
    monkeypatch.setattr(rankings, "parks_by_wait", raising(error))
    response = client.get("/api/parks/waittimes")
    assert (response.status, response.json) == (error.status, {"success": False, "error": str(error)})


def test_failure_outside_the_questions_is_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(web.DESCRIPTIONS, "/", raising(RuntimeError("secret")))
    response = Client(web.create_app(Settings())).get("/")
    assert (response.status, response.json) == (500, {"success": False, "error": "Internal server error"})


def raising(error: Exception) -> Any:
    def function(*_: object) -> None:
        raise error

    return function


# --- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", API)
def test_connection_is_given_back_after_the_body(client: Client, path: str) -> None:
    assert client.get(path).status == 200
    assert database.db.is_closed()


def test_connection_is_given_back_after_a_failure(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rankings, "parks_by_wait", raising(RuntimeError("oh")))
    assert client.get("/api/parks/waittimes").status == 500
    assert database.db.is_closed()


def test_connection_is_kept_while_the_body_is_sent(client: Client) -> None:
    def streaming(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (str(Park.select().count()).encode() for _ in range(3))

    body = http.CloseAfter(streaming)({}, lambda *_: lambda _: None)
    assert next(iter(body)) == b"0"
    assert not database.db.is_closed()
    body.close()  # type: ignore[attr-defined]
    assert database.db.is_closed()


# --- the factory -----------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    before = database.db.obj
    (tmp_path / "x.db").touch()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/x.db")
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    yield monkeypatch
    clock.replay(None)
    database.db.initialize(before)


def test_application_replays_and_cannot_write(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REPLAY_NOW", "2025-05-18T15:00:00Z")
    client = Client(web.application())
    assert client.get("/api/health").json["timestamp"] == "2025-05-18T15:00:00Z"
    with pytest.raises(OperationalError, match="readonly"):
        ServiceState.create_table()


@pytest.mark.parametrize(("name", "value"), [
    ("PORT", "x"), ("DATABASE_URL", "postgres://x"), ("SNAPSHOT_INTERVAL_MINUTES", "7"), ("REPLAY_NOW", "noon"),
    ("FRONTEND_DIR", "/nowhere"), ("API_KEYS", ", ,"), ("API_RATE_LIMIT_PER_HOUR", "many"),
    ("API_RATE_LIMIT_PER_DAY", "-1"),
])
def test_bad_setting_is_one_sentence(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        web.application()
    assert caught.value.code == 4
    said = capsys.readouterr().err
    assert name in said and said.count("\n") == 1
    assert web.exit_code_at_start() == 2
    assert capsys.readouterr().err == said
