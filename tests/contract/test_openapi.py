"""The service's own description at /api/openapi.json and the service itself say the same, in both directions."""

from __future__ import annotations

import json
import re
from typing import Any

import broken_world
import jsonschema
import pytest
import schemathesis
from contract.described import ALL, DOCUMENT, Operation, check, named
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as effort
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from wsgi_client import Client

from service import clock
from service.config import Settings
from service.web import app as web
from service.web.params import Query

METHODS = ("get", "post", "put", "patch", "delete")
QUESTIONS = [one for one in ALL if one.method == "get"]
PARAMETERS = [(one, name) for one in ALL for name in one.parameters]
ENUMS = [(one, name) for one, name in PARAMETERS if "enum" in one.parameters[name]["schema"]]


def of_type(kind: str) -> list[tuple[Operation, str]]:
    return [(one, name) for one, name in PARAMETERS if one.parameters[name]["schema"]["type"] == kind]


@pytest.fixture
def empty(database: Any, settings: Settings) -> Client:
    """The API over a database without readings."""
    clock.replay(broken_world.NOW)
    return Client(web.create_app(settings))


@pytest.fixture
def filled(database: Any, settings: Settings) -> Client:
    """The API over a database in which everything happened."""
    broken_world.store()
    return Client(web.create_app(of_world(settings)))


def of_world(settings: Settings) -> Settings:
    return Settings(settings.database_url, snapshot_interval_minutes=broken_world.INTERVAL)


# --- the document ----------------------------------------------------------------------------------------------------


def test_document_is_served_as_it_is_kept() -> None:
    response = Client(web.create_app(Settings())).get("/api/openapi.json")
    assert response.json == DOCUMENT
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_every_reference_leads_somewhere_and_everything_is_referred_to() -> None:
    kept = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in DOCUMENT["components"][kind]}
    assert set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(DOCUMENT))) == kept


def test_every_operation_says_what_it_is() -> None:
    assert len({one.definition["operationId"] for one in ALL}) == len(ALL)
    for one in ALL:
        assert one.definition["summary"] and one.definition["tags"], named(one)
    assert {tag for one in ALL for tag in one.definition["tags"]} == {tag["name"] for tag in DOCUMENT["tags"]}


def test_every_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_document_speaks_of_this_service_only() -> None:
    text = json.dumps(DOCUMENT).lower()
    for word in ("original", "predecessor", "x-original", "semantics.md", "hourly_aggregation", "new implementation"):
        assert word not in text


# --- paths and parameters --------------------------------------------------------------------------------------------


def test_paths_and_methods_are_those_of_the_service() -> None:
    mounted = {"get": [*web.DESCRIPTIONS, *web.QUESTIONS], "post": [*web.COMMANDS]}
    assert {(one.method, one.path) for one in ALL} == {
        (method, re.sub("<([a-z_]+):re:[^>]+>", r"{\1}", path)) for method, paths in mounted.items() for path in paths
    }


@pytest.mark.parametrize("operation", ALL, ids=named)
def test_other_methods_are_not_allowed(operation: Operation) -> None:
    client = Client(web.create_app(Settings()))
    described = {method for method in METHODS if method in DOCUMENT["paths"][operation.path]}
    for method in METHODS:
        if method not in described:
            response = client.request(method.upper(), operation.url)
            assert response.status == 405
            allowed = {*described, "options"} | ({"head"} if "get" in described else set())
            assert {name.lower() for name in response.headers["Allow"].split(", ")} == allowed


@pytest.mark.parametrize("operation", QUESTIONS, ids=named)
def test_parameters_are_those_the_service_reads(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    all_of = Query._all
    monkeypatch.setattr(Query, "_all", lambda self, name: read.add(name) or all_of(self, name))
    Client(web.create_app(Settings("mysql://nobody@127.0.0.1:9/nothing"))).get(operation.query())
    assert read == set(operation.parameters)


on_one_engine = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


@on_one_engine
@pytest.mark.parametrize(("operation", "name"), ENUMS, ids=named)
def test_every_value_of_an_enum_is_accepted_and_no_other(empty: Client, operation: Operation, name: str) -> None:
    values = operation.parameters[name]["schema"]["enum"]
    for value in values:
        status = empty.get(operation.query(**{name: value})).status
        assert status == (404 if "{" in operation.path else 200), value
    known = {"live", "today", "7days", "parks", "rides", "yesterday", "INFO", "peak-times"}
    for value in (*sorted(known - set(values)), values[0] + "x", values[0].swapcase(), ""):
        refuses(empty, operation, name, value)


@on_one_engine
@pytest.mark.parametrize(("operation", "name"), of_type("integer"), ids=named)
def test_whole_numbers_have_the_bounds_they_say(empty: Client, operation: Operation, name: str) -> None:
    schema = operation.parameters[name]["schema"]
    least, most = schema["minimum"], schema.get("maximum")
    is_sought = operation.entity or (name.endswith("_id") and "404" in operation.definition["responses"])
    for value in (least, most) if most else (least, 10**9, 10**30):
        assert empty.get(operation.query(**{name: value})).status == (404 if is_sought else 200), value
    for value in (least - 1, -1, "x", "1.5", "", "1e3", *([most + 1, 10**30] if most else [])):
        refuses(empty, operation, name, value)


@on_one_engine
def test_parameter_given_twice_is_refused(empty: Client) -> None:
    for operation, name in PARAMETERS:
        response = empty.get(f"{operation.url}?{name}=1&{name}=2")
        assert response.status == 400, f"{named(operation)} {name}"
        check(operation, response)


@on_one_engine
def test_required_parameter_is_missed(empty: Client) -> None:
    for operation, name in PARAMETERS:
        if operation.parameters[name]["required"]:
            response = empty.get(operation.query(**{name: None}))
            assert (response.status, name in response.json["error"]) == (400, True), f"{named(operation)} {name}"


@on_one_engine
def test_default_is_what_is_answered_without_the_parameter(filled: Client) -> None:
    for operation, name in PARAMETERS:
        default = operation.parameters[name]["schema"].get("default")
        if default is not None:
            said = str(default).lower() if isinstance(default, bool) else default
            without = filled.get(operation.query()).json
            assert filled.get(operation.query(**{name: said})).json == without, f"{named(operation)} {name}"


def test_live_heat_maps_are_refused_in_so_many_words() -> None:
    error = Client(web.create_app(Settings())).get("/api/trends/heatmap-data?period=live&type=parks").json["error"]
    assert "live" in error and "not supported" in error
    assert error.endswith("use one of today, yesterday, last_week, last_month, 7days, 30days.")


def refuses(client: Client, operation: Operation, name: str, value: object) -> None:
    """A 400 that names the parameter."""
    response = client.get(operation.query(**{name: value}))
    assert response.status == 400, value
    assert name in response.json["error"]
    check(operation, response)


@pytest.mark.parametrize("number", ["0", "999", "2147483647", "2147483648", "9" * 25, "9" * 3000])
def test_unknown_park_or_ride(empty: Client, number: str) -> None:
    for operation in ALL:
        if "{" in operation.path:
            response = empty.get(re.sub("{[a-z_]+}", number, operation.path))
            kind = "Park" if "{park_id}" in operation.path else "Ride"
            assert response.status == 404
            assert response.json == {"success": False, "error": f"{kind} {int(number)} not found"}
            check(operation, response)


# --- whatever is asked -----------------------------------------------------------------------------------------------

FAST = {
    "max_examples": 8,
    "deadline": None,
    "database": None,
    "derandomize": True,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
}
CONFORMS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_nothing_generated_gets_another_answer(database: Any, settings: Settings, mode: GenerationMode) -> None:
    broken_world.store()
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.app = web.create_app(of_world(settings))
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not operation.query and not operation.body:
            continue  # nothing to get wrong
        tried += 1

        @given(operation.as_strategy(generation_mode=mode))
        @effort(**FAST)
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CONFORMS)

        ask()
    assert tried == (len(ALL) if mode is GenerationMode.POSITIVE else tried) and tried > 10
