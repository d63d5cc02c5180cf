"""Every operation with every combination of what its parameters accept, of parks and rides of every sort, on databases
of every sort: all answers are as described and in order, and the same again and on the other engine."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import broken_world
import pytest
import yaml
from contract import described
from contract.described import ALL, Operation, problems, validator_of, violations
from wsgi_client import Client, Response

from service import clock
from service import database as door
from service.config import Settings
from service.feeds.simulation import World
from service.jobs import daily, yearly
from service.jobs.demo import build_demo
from service.jobs.importing import import_folder
from service.models import Park, Ride
from service.periods import ALIASES
from service.queries import charts, rankings
from service.queries.audit import SEVERITIES
from service.rules import Category
from service.web import app as web

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
CONTRACT = SHARED / "contract" / "openapi.yaml"
NOBODY = 10**6  # no park or ride has this id

Row = dict[str, Any]


# --- databases -------------------------------------------------------------------------------------------------------


class Data(NamedTuple):
    """What a database is filled with, and the instant at which it is asked."""

    now: str
    interval_minutes: int
    fill: Callable[[Data], object]
    recording: Path | None = None

    @property
    def instant(self) -> datetime:
        return datetime.fromisoformat(self.now)


def nothing(_: Data) -> None:
    """A migrated database."""


def everything(data: Data) -> None:
    """Parks that are alike, so that there are ties; one has closed down since, one was never seen."""
    broken_world.store(data.instant)
    Park.update({Park.is_active: False}).where(Park.park_id == 2).execute()
    Ride.update({Ride.is_active: False}).where(Ride.ride_id == 2).execute()


def simulated(data: Data) -> None:
    """The last Pacific day had 23 hours; one park has closed down since."""
    build_demo(World(3, 1, "small"), 17, interval_minutes=30, now=data.instant, progress=lambda done, total: None)
    Park.update({Park.is_active: False}).where(Park.park_id == 3).execute()
    daily.aggregate(data.instant)
    yearly.refresh_years(data.instant)


def recorded(data: Data) -> None:
    assert data.recording is not None
    import_folder(data.recording, interval_minutes=data.interval_minutes, now=data.instant)
    daily.aggregate(data.instant)
    yearly.refresh_years(data.instant)


FLORIDA, PARIS = SHARED / "data" / "real" / "wdw-2025-05", SHARED / "data" / "real" / "dlp-2026-04"
MADE = {
    "nothing": Data("2025-05-18T22:00:00+00:00", 30, nothing),
    "everything": Data("2025-05-18T22:00:00+00:00", 30, everything),
    "simulated": Data("2026-03-09T21:00:00+00:00", 30, simulated),
}
RECORDED = {
    "florida": Data("2025-05-18T15:00:00+00:00", 15, recorded, FLORIDA),
    "paris": Data("2026-04-20T15:00:00+00:00", 15, recorded, PARIS),
}
DATA = MADE | RECORDED


def asked_of(
    data: Data, settings: Settings, *, backwards: bool = False, fill: bool = True, cached: bool = False
) -> dict[str, Asked]:
    """All questions with their answers, by URL and body."""
    door.open_database(settings, time_limit=False)
    app = web.create_app(
        Settings(settings.database_url, snapshot_interval_minutes=data.interval_minutes), cached=cached
    )
    client = Client(app)
    try:
        if fill:
            data.fill(data)
        clock.replay(data.instant)
        found = list(questions(entities(), data.instant))
        return {one.name: one._replace(response=one.put(client)) for one in (found[::-1] if backwards else found)}
    finally:
        door.close()
        clock.replay(None)


class Asked(NamedTuple):
    """A question, and its answer."""

    operation: Operation
    url: str
    body: Row | None = None
    response: Response | None = None

    @property
    def name(self) -> str:
        return self.url if self.body is None else f"{self.url} {json.dumps(self.body)}"

    @property
    def json(self) -> Any:
        """The body of the answer."""
        assert self.response
        return self.response.json

    def put(self, client: Client) -> Response:
        return client.get(self.url) if self.body is None else client.post(self.url, self.body)


def questions(ids: dict[str, list[int]], now: datetime) -> Iterator[Asked]:
    for operation in ALL:
        if operation.method == "post":
            yield from (Asked(operation, operation.path, body) for body in BODIES[operation.path](ids))
            continue
        entity_ids = ids[operation.entity] if operation.entity else [0]
        for entity_id, chosen in product(entity_ids, [*operation.choices(), *windows(operation, now)]):
            if chosen.get("format") != "csv":  # the same rows: tests/golden/test_windows_against_reference.py
                yield Asked(operation, operation.query(entity_id, **chosen))


def windows(operation: Operation, now: datetime) -> Iterator[Row]:
    """Where one asks for an outage's stretch of time: long and short ones, before all readings and after them."""
    for start, end in ((-93, 0), (-1.5, -0.5), (-1000, -990), (-1, 1), (1, 2)) if "/outages" in operation.path else ():
        yield {name: (now + timedelta(days=days)).isoformat() for name, days in (("start", start), ("end", end))}


def entities() -> dict[str, list[int]]:
    """By the name of the id: the first that is active, the first that is not, the last, the first show."""
    shows = Ride.select(Ride.ride_id).where(Ride.category != Category.ATTRACTION)
    found = {}
    for name, key, is_active in (("park_id", Park.park_id, Park.is_active), ("ride_id", Ride.ride_id, Ride.is_active)):
        table = key.model
        ids = [one for one, in table.select(key).where(is_active).order_by(key).tuples()]
        gone = [one for one, in table.select(key).where(~is_active).order_by(key).tuples()]
        found[name] = [*ids[:1], *gone[:1], *ids[-1:]] or [NOBODY]
    found["ride_id"] += [one for one, in shows.order_by(Ride.ride_id).limit(1).tuples()]
    return found


def verifications(ids: dict[str, list[int]]) -> list[Row]:
    kinds = {"park_shame_score": ids["park_id"], "ride_downtime": ids["ride_id"]}
    return [
        {"type": kind, "entity_id": entity_id, "period": period, "displayed_value": value}
        for kind, known in kinds.items()
        for entity_id, period, value in product([*known, NOBODY], VERIFIED, (1.5, "0"))
    ]


(VERIFY,) = (one.definition["requestBody"] for one in ALL if one.path == "/api/audit/verify")
VERIFIED = described.resolved(VERIFY["content"]["application/json"]["schema"])["properties"]["period"]["enum"]
BODIES: dict[str, Callable[[dict[str, list[int]]], list[Row]]] = {
    "/api/audit/verify": verifications,
    "/api/audit/run": lambda _: [{}, {"date": "2025-05-17"}, {"date": "2001-01-01"}],
}


class Swept(NamedTuple):
    """A database on SQLite with all it was asked."""

    kind: str
    data: Data
    settings: Settings
    asked: dict[str, Asked]

    def json(self, path: str, **chosen: object) -> Any:
        """An answer that was given, by its path and all its parameters."""
        (operation,) = (one for one in ALL if one.path == path)
        given = {key: chosen[key] for key in operation.parameters if key in chosen}
        return self.json_of(operation.query(**given))

    def json_of(self, name: str) -> Any:
        return self.asked[name].json


@pytest.fixture(scope="module", params=DATA)
def swept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Swept:
    """The answers are asked for once; tests look at them."""
    data = DATA[request.param]
    if data.recording and not data.recording.is_dir():
        pytest.skip("the real recordings are not here")
    path = tmp_path_factory.mktemp("sweep") / "swept.db"
    shutil.copyfile(_sqlite_template, path)
    settings = Settings(f"sqlite:///{path}")
    return Swept(request.param, data, settings, asked_of(data, settings))


# --- every answer ----------------------------------------------------------------------------------------------------


def test_everything_is_asked_of_parks_and_rides_of_every_sort(swept: Swept) -> None:
    """Else the other tests of this file would prove little."""
    door.open_database(swept.settings)
    found = entities()
    door.close()
    sorts = {"nothing": (1, 1), "everything": (3, 4), "simulated": (3, 4)}.get(swept.kind, (2, 2))
    assert all(len(set(found[name])) >= least for name, least in zip(("park_id", "ride_id"), sorts, strict=True))
    assert {one.operation.path for one in swept.asked.values()} == {one.path for one in ALL}
    assert len(swept.asked) > 500


def test_answers_are_what_the_service_says_of_them(swept: Swept) -> None:
    wrong = {}
    for name, one in swept.asked.items():
        expected = 404 if one.operation.entity and swept.kind == "nothing" else 200
        if re.search("series.*(park|ride)_id=", name):  # of one that may not be there
            expected = 404 if "not found" in one.json.get("error", "") else 200
        assert one.response.status == expected, f"{name}: {one.json}"
        if found := problems(one.operation, one.response):
            wrong[name] = found
    assert wrong == {}


@pytest.mark.parametrize("swept", MADE, indirect=True)
@pytest.mark.skipif(not CONTRACT.is_file(), reason="the contract is not beside this checkout")
def test_answers_are_what_the_contract_says_of_them(swept: Swept) -> None:
    document, wrong = contract(), {}
    for name, one in swept.asked.items():
        if one.operation.path in document["paths"]:
            validator = contract_of(one.operation.path, one.operation.method, one.response.status)
            if found := violations(validator, one.json):
                wrong[name] = found
    assert wrong == {}


@pytest.mark.skipif(not CONTRACT.is_file(), reason="the contract is not beside this checkout")
def test_refusals_are_what_the_contract_says_of_them() -> None:
    client = Client(web.create_app(Settings()))
    answers_of = {path: item["get"]["responses"] for path, item in contract()["paths"].items() if "get" in item}
    for operation, name in [(one, name) for one in ALL for name in one.parameters if name in ("period", "limit")]:
        response = client.get(operation.query(**{name: "many"}))
        assert response.status == 400
        if "400" in answers_of.get(operation.path, []):  # others took the nearest value there was, or are new
            assert violations(contract_of(operation.path, "get", 400), response.json) == [], f"{operation.path} {name}"


@cache
def contract() -> described.Schema:
    """The HTTP contract, with what the service has decided to do differently."""
    document: described.Schema = yaml.safe_load(CONTRACT.read_text())
    schemas = document["components"]["schemas"]
    # An answer names the sources it was really made of.
    for name in ("data_source", "url"):
        schemas["Attribution"]["properties"][name] = {"type": "string"}
    schemas["AttributionText"] = {"type": "string", "pattern": "^(Data powered by .+ - .+|Simulated data)$"}
    # The aliases of periods are accepted by every endpoint.
    waits = schemas["ParksWaitTimesResponse"]["allOf"]
    aliased = [waits[0], waits[1]["oneOf"][-1], schemas["ParkRidesChartResponse"]]
    for name in ("ChartDataResponse", "LongestWaitTimesResponse", "LeastReliableResponse", "HeatmapResponse"):
        aliased.append(schemas[name]["allOf"][0])
    for name in ("ParkDetailsResponse", "RideDetailsResponse"):
        whole, shapes = schemas[name]["allOf"]
        aliased += [whole, shapes["oneOf"][-1]]
    for schema in aliased:
        schema["properties"]["period"]["enum"] += [*ALIASES]
    # Live is today so far, where the frontend links to it.
    for schema in (whole, shapes["oneOf"][0]):
        schema["properties"]["period"]["enum"].append("live")
    # Two modes the predecessor left empty have the rows of today and of past periods.
    ride_waits = schemas["RidesWaitTimesResponse"]["allOf"][1]["oneOf"]
    ride_waits[1]["properties"]["mode"]["enum"].append("peak-times")
    ride_waits[2]["properties"]["mode"]["enum"].append("7day-average")
    del ride_waits[3]
    # An unknown park is unknown to its charts too.
    pages = document["paths"]["/api/parks/{park_id}/details"]["get"]["responses"]
    document["paths"]["/api/parks/{park_id}/rides/charts"]["get"]["responses"]["404"] = pages["404"]
    return document


@cache
def contract_of(path: str, method: str, status: int) -> Any:
    return validator_of(contract(), path, method, status)


def test_an_alias_answers_what_its_period_does(swept: Swept) -> None:
    for (name, one), (alias, period) in product(swept.asked.items(), ALIASES.items()):
        if one.response.status == 200 and one.body is None and f"period={alias}" in name:
            under_its_name = swept.json_of(name.replace(f"period={alias}", f"period={period}"))
            assert one.json == under_its_name | {"period": alias}, name


# Days whose readings were removed, days on which a ride stood still, rows after the last.
SELDOM = ("from_stored_rows", "days_from_stored_rows", "did_not_operate_on", "cursor=1746122400.0.4231853740 .data")


def test_a_full_database_fills_every_list_and_an_empty_one_none(swept: Swept) -> None:
    """What is not there was not looked at; where nothing was seen, nothing is invented."""
    full: dict[str, bool] = {}
    for name, one in swept.asked.items():
        for place, value in lists_of(one.json) if one.operation.path != "/api/openapi.json" else ():
            # Of one park or ride there may be nothing to tell.
            if place == ".data" and one.operation.path.endswith("/awards"):
                continue  # the years that were asked for
            by_question = place in (".data", ".matrix") and not one.operation.entity
            place = f"{name} {place}" if by_question else f"{one.operation.path} {place}"
            full[place] = full.get(place, False) or bool(value)
    if swept.kind == "everything":
        assert [place for place, is_full in full.items() if not is_full and not place.endswith(SELDOM)] == []
    if swept.kind == "nothing":
        found = {place.rpartition(".")[2] for place, is_full in full.items() if is_full}
        assert found == {"labels", "time_labels", "sources", "computation_trace", "measures"}


def lists_of(body: Any, place: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Every list, and where it is."""
    if isinstance(body, dict):
        for name, value in body.items():
            yield from lists_of(value, f"{place}.{name}")
    elif isinstance(body, list):
        yield place, body
        for value in body:
            yield from lists_of(value, f"{place}[]")


@pytest.mark.parametrize("swept", ["everything"], indirect=True)
def test_asked_again_everything_is_answered_alike(swept: Swept) -> None:
    again = asked_of(swept.data, swept.settings, backwards=True, fill=False)
    assert differing(swept.asked, again) == []


@pytest.mark.parametrize("swept", MADE, indirect=True)
def test_answers_that_are_kept_and_counts_that_they_share_are_the_same(swept: Swept) -> None:
    kept = asked_of(swept.data, swept.settings, backwards=True, fill=False, cached=True)
    assert [name for name, one in kept.items() if said(one) != said(swept.asked[name]) and name != "/api/health"] == []
    timed = [one.response.headers.get("Server-Timing", "") for one in kept.values() if one.response]
    assert sum(how.startswith("cache;desc=miss") for how in timed) > len(timed) / 2


def said(one: Asked) -> tuple[int, bytes]:
    """An answer but for its headers."""
    assert one.response
    return one.response.status, one.response.body


@pytest.mark.parametrize("swept", MADE, indirect=True)
def test_both_engines_give_the_same_bytes(swept: Swept, request: pytest.FixtureRequest) -> None:
    """Asked from the last question to the first."""
    settings = request.getfixturevalue("_shared_mariadb").emptied()
    assert differing(swept.asked, asked_of(swept.data, settings, backwards=True)) == []


def differing(these: dict[str, Asked], those: dict[str, Asked]) -> list[str]:
    """What is answered otherwise; but for the health, which looks at the disk."""
    assert these.keys() == those.keys()
    return [name for name, one in these.items() if one.response != those[name].response and name != "/api/health"]


# --- order -----------------------------------------------------------------------------------------------------------


class Order(NamedTuple):
    """What a list is sorted by, the least first, as far as it shows. Rows with equal keys are sorted by `id`: always
    where what they show is `exact`, else where everything shown of them is equal in a database made of equals."""

    key: Callable[[Row], tuple[Any, ...]]
    id: str | None = None
    exact: bool = True


def least(name: str, key: str, *, exact: bool = False) -> Order:
    return Order(lambda row: (row[name],), key, exact)


def most(name: str, key: str | None, *, exact: bool = False) -> Order:
    return Order(lambda row: (-row[name],), key, exact)


def newest(name: str, key: str | None = None) -> Order:
    return Order(lambda row: (-datetime.fromisoformat(row[name]).timestamp(), *([-row[key]] if key else [])))


def heaviest(weight: str, name: str, key: str) -> Order:
    return Order(lambda row: (-row[weight], row[name].casefold()), key)


def by_state(row: Row) -> tuple[Any, ...]:
    """Those that are down or closed, the unknown, those that run; of each, the most broken first."""
    return (False, None, True).index(row["current_is_open"]), -row["downtime_hours"]


def by_trend(row: Row) -> tuple[Any, ...]:
    """The greatest first, those without one last."""
    return row["trend_percentage"] is None, -(row["trend_percentage"] or 0)


def by_severity(row: Row) -> tuple[Any, ...]:
    return SEVERITIES.index(row["severity"]), row["entity_type"], row["entity_id"], row["metric"], row["anomaly_type"]


# Slots are counted, so that hours, minutes and numbers of rides are exact as they are shown. Means and shares are not.
BY_PARAMETERS: dict[str, Callable[[dict[str, str]], Order]] = {
    "/api/parks/downtime": lambda asked: {
        "shame_score": most("shame_score", "park_id"),
        "total_downtime_hours": most("total_downtime_hours", "park_id", exact=True),
        "uptime_percentage": least("uptime_percentage", "park_id"),
        "rides_down": most("rides_down", "park_id", exact=True),
    }[asked.get("sort_by", "shame_score")],
    "/api/parks/waittimes": lambda _: most("avg_wait_minutes", "park_id"),
    "/api/rides/downtime": lambda asked: {
        "downtime_hours": most("downtime_hours", "ride_id", exact=True),
        "uptime_percentage": least("uptime_percentage", "ride_id"),
        "trend_percentage": Order(by_trend, "ride_id", exact=False),
        "current_is_open": Order(by_state, "ride_id"),
    }[asked.get("sort_by", "downtime_hours")],
    "/api/rides/waittimes": lambda asked: {
        "live": most("avg_wait_minutes", "ride_id", exact=True),
        "peak-times": most("peak_wait_minutes", "ride_id", exact=True),
    }.get(asked.get("mode", asked.get("period", "live")), most("avg_wait_minutes", "ride_id")),
    "/api/trends/longest-wait-times": lambda asked: most("avg_wait_time", None),  # of rounder figures
    "/api/trends/least-reliable": lambda asked: (
        most("avg_shame_score", "park_id")
        if asked.get("entity") == "parks"
        else most("downtime_hours", "ride_id", exact=True)
    ),
    "/api/trends/heatmap-data": lambda asked: most(
        "total_value", "entity_id", exact=asked["type"] == "rides-downtime"
    ),
}
ALWAYS: dict[tuple[str, str], Order] = {
    ("/api/trends", "parks-improving"): most("improvement_percentage", "park_id"),
    ("/api/trends", "parks-declining"): most("decline_percentage", "park_id"),
    ("/api/trends", "rides-improving"): most("improvement_percentage", "ride_id"),
    ("/api/trends", "rides-declining"): most("decline_percentage", "ride_id"),
    ("/api/parks/{park_id}/rides", ".rides.active"): heaviest("weight", "name", "ride_id"),
    ("/api/parks/{park_id}/rides", ".rides.excluded"): heaviest("tier_weight", "ride_name", "ride_id"),
    ("/api/parks/{park_id}/rides/charts", ".datasets"): Order(
        lambda row: (row["tier"], row["label"].casefold()), "ride_id"
    ),
    ("/api/parks/{park_id}/outages", ".data"): Order(newest("start").key, "ride_id"),
    ("/api/parks/{park_id}/details", ".operating_sessions"): newest("first_open_at"),
    ("/api/parks/{park_id}/details", ".shame_breakdown.rides"): most("weighted_contribution", "ride_id", exact=True),
    ("/api/parks/{park_id}/details", ".shame_breakdown.rides_down"): most(
        "weighted_contribution", "ride_id", exact=True
    ),
    ("/api/parks/{park_id}/details", ".shame_breakdown.rides_excluded"): heaviest(
        "tier_weight", "ride_name", "ride_id"
    ),
    ("/api/rides/{ride_id}/details", ".timeseries"): Order(lambda row: (row.get("date") or row["hour_start_utc"],)),
    ("/api/rides/{ride_id}/details", ".hourly_breakdown"): Order(
        lambda row: (-datetime.fromisoformat(row.get("date") or row["hour_start_utc"]).timestamp(),)
    ),
    ("/api/rides/{ride_id}/details", ".downtime_events"): newest("start_time"),
    ("/api/rides/{ride_id}/outages", ".data"): newest("start"),
    ("/api/parks/awards", ".data[].data"): most("shame_score", "park_id"),
    ("/api/rides/awards", ".data[].data"): most("downtime_hours", "ride_id", exact=True),
    ("/api/search/index", ".parks"): Order(lambda row: (row["name"].casefold(),), "id"),
    ("/api/search/index", ".rides"): Order(lambda row: (row["name"].casefold(),), "id"),
    ("/api/audit/anomalies", ".anomalies"): Order(by_severity),
    ("/api/audit/run", ".anomalies"): Order(by_severity),
    ("/api/audit/flagged-entities", ".flagged_parks"): Order(lambda found: (found,)),
    ("/api/audit/flagged-entities", ".flagged_rides"): Order(lambda found: (found,)),
    ("/api/audit/data-quality", ".issues"): newest("detected_at", "issue_id"),
    ("/api/audit/data-quality/summary", ".summary"): Order(
        lambda row: (-row["issue_count"], -(row["max_staleness_minutes"] or 0)), "entity_name", exact=False
    ),
}
RANKED = {".data", ".entities"}


def test_lists_are_in_order(swept: Swept) -> None:
    alike = shown if swept.kind == "everything" else lambda row: row
    seen, ties = set(), set()
    for name, one in swept.asked.items():
        for place, listed in lists_of(one.json):
            where, order = order_of(one, place)
            for row, after in pairwise(listed) if order else ():
                assert order.key(row) <= order.key(after), f"{name}: {row} before {after}"
                seen.add(where)
                if order.key(row) == order.key(after) and (order.exact or order.id and alike(row) == alike(after)):
                    assert order.id and row[order.id] < after[order.id], f"{name}: {row} before {after}"
                    ties.add(where)
            if place in RANKED and "rank" in (listed[0] if listed and isinstance(listed[0], dict) else ()):
                assert [row["rank"] for row in listed] == list(range(1, len(listed) + 1)), name
    if swept.kind == "everything":
        assert {" ".join(where) for where in ALWAYS} - seen == {"/api/trends parks-improving"}  # of which there is one
        assert BY_PARAMETERS.keys() == {where.partition(" ")[0] for where in seen} & BY_PARAMETERS.keys()
        assert ties >= {f"/api/rides/downtime {sort}" for sort in rankings.RIDE_SORTS} | {"/api/parks/waittimes"}


def order_of(one: Asked, place: str) -> tuple[str, Order | None]:
    """The order of a list in an answer, and a name for it."""
    path, parameters = one.operation.path, parameters_of(one)
    if path in BY_PARAMETERS and place in RANKED:
        shaping = [parameters[key] for key in ("sort_by", "mode", "entity", "type") if key in parameters]
        return " ".join([path, *shaping]), BY_PARAMETERS[path](parameters)
    if path == "/api/trends" and place in (".parks", ".rides"):
        place = parameters["category"]
    return f"{path} {place}", ALWAYS.get((path, place))


def parameters_of(one: Asked) -> dict[str, str]:
    return dict(parse_qsl(one.url.partition("?")[2]))


def shown(row: Row) -> Row:
    """The figures of a row: all but who it is, and where."""
    return {name: value for name, value in row.items() if not isinstance(value, str) and not NAMING.search(name)}


NAMING = re.compile("_id$|^rank$|^tier$")


# What a chart, a heat map or an award shows is the beginning of a ranking.
RANKING_OF = {
    "parks": ("/api/parks/downtime", {"sort_by": "shame_score"}, "park_id"),
    "waittimes": ("/api/parks/waittimes", {}, "park_id"),
    "rides": ("/api/rides/downtime", {"sort_by": "downtime_hours"}, "ride_id"),
    "ridewaittimes": ("/api/rides/waittimes", {"mode": None}, "ride_id"),
}
KINDS_OF = {
    "/api/trends/chart-data": lambda asked: asked["type"],
    "/api/trends/heatmap-data": lambda asked: charts.HEATMAPS[asked["type"]],
    "/api/trends/longest-wait-times": lambda asked: {"parks": "waittimes", "rides": "ridewaittimes"}[asked["entity"]],
    "/api/trends/least-reliable": lambda asked: asked["entity"],
}


def test_charts_and_awards_show_the_first_of_a_ranking_in_its_order(swept: Swept) -> None:
    for name, one in swept.asked.items():
        asked = parameters_of(one)
        if one.operation.path in KINDS_OF and {"period", "filter"} <= asked.keys():
            path, how, key = RANKING_OF[KINDS_OF[one.operation.path](asked)]
            ranking = swept.json(path, period=asked["period"], filter=asked["filter"], **how)["data"]
            listed = next(one.json[field] for field in ("chart_data", "entities", "data") if field in one.json)
            rows = listed["datasets"] if isinstance(listed, dict) else listed
            limit = len(rows) if "longest" in name else 10  # that award leaves out what rounds to a whole 0
            assert [row.get("entity_id", row.get(key)) for row in rows] == [row[key] for row in ranking[:limit]], name
