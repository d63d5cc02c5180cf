"""The service's own description at /api/openapi.json and the service itself say the same, in both directions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import broken_world
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as effort
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from wsgi_client import Client, Response

from service import clock
from service.config import Settings
from service.web import app as web
from service.web.params import Query

DOCUMENT: dict[str, Any] = json.loads((Path(web.__file__).parent / "openapi.json").read_text(encoding="utf-8"))
METHODS = ("get", "post", "put", "patch", "delete")
COMBINED = ("period", "mode", "type", "category", "entity")  # what the shape of an answer depends on
BODIES: dict[str, list[dict[str, object]]] = {
    "/api/audit/run": [{}, {"date": "2025-05-17"}, {"date": "2025-05-01"}],
    "/api/audit/verify": [
        {"type": kind, "entity_id": entity_id, "period": period, "displayed_value": value}
        for kind, entity_id, period, value in product(
            ("park_shame_score", "ride_downtime"), (1, 999), ("today", "7days", "30days"), (1.5, "0")
        )
    ],
}


class Operation(NamedTuple):
    """One operation of the document, its references resolved."""

    method: str
    path: str
    definition: dict[str, Any]

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Those of the query, by name."""
        return {one["name"]: one for one in self.definition.get("parameters", []) if one["in"] == "query"}

    @property
    def url(self) -> str:
        """Of park 1, or ride 1."""
        return re.sub("{[a-z_]+}", "1", self.path)

    def query(self, **chosen: object) -> str:
        """A URL with the parameters that must be given, and `chosen`; None leaves one out."""
        needed = {
            name: one["schema"]["enum"][0] for name, one in self.parameters.items() if one["required"]
        }
        given_ = {name: value for name, value in (needed | chosen).items() if value is not None}
        return f"{self.url}?{urlencode(given_)}"


def operations() -> list[Operation]:
    paths = DOCUMENT["paths"].items()
    return [Operation(method, path, one) for path, item in paths for method, one in item.items()]


ALL = operations()
QUESTIONS = [one for one in ALL if one.method == "get"]
PARAMETERS = [(one, name) for one in ALL for name in one.parameters]
ENUMS = [(one, name) for one, name in PARAMETERS if "enum" in one.parameters[name]["schema"]]


def of_type(kind: str) -> list[tuple[Operation, str]]:
    return [(one, name) for one, name in PARAMETERS if one.parameters[name]["schema"]["type"] == kind]


def named(value: object) -> str:
    return f"{value.method} {value.path}" if isinstance(value, Operation) else str(value)


@cache
def validator(path: str, method: str, status: int) -> Any:
    responses = DOCUMENT["paths"][path][method]["responses"]
    assert str(status) in responses, f"{method} {path} answers {status}, which is not in the document"
    answer = responses[str(status)]
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    schema = answer["content"]["application/json"]["schema"]
    return jsonschema.Draft202012Validator({"components": DOCUMENT["components"], "allOf": [schema]})


def check(operation: Operation, response: Response) -> None:
    """The answer is what the document says of its status."""
    found = validator(operation.path, operation.method, response.status).iter_errors(response.json)
    problems = [f"{list(error.absolute_path)}: {error.message}"[:300] for error in leaves(found)]
    assert not problems, "\n".join(problems)
    schema = validator(operation.path, operation.method, response.status).schema
    assert sorted(set(unknown(response.json, schema))) == []


def unknown(value: Any, schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """The fields of an answer that the document does not know. Objects of which it names none may have any."""
    variants = list(variants_of(schema))
    if isinstance(value, list):
        items = [one["items"] for one in variants if "items" in one]
        for one in value:
            yield from unknown(one, {"anyOf": items}, place + "[]")
    named_ = [one["properties"] for one in variants if "properties" in one]
    if isinstance(value, dict) and named_:
        for name, one in value.items():
            schemas = [properties[name] for properties in named_ if name in properties]
            yield from unknown(one, {"anyOf": schemas}, f"{place}.{name}") if schemas else [f"{place}.{name}"]


def variants_of(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema that a value may be looked at by."""
    yield schema
    if "$ref" in schema:
        yield from variants_of(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    for several in ("allOf", "anyOf", "oneOf"):
        for one in schema.get(several, []):
            yield from variants_of(one)


def leaves(errors: Any) -> Iterator[Any]:
    """Of alternatives that all fail, what is wrong with each."""
    for error in errors:
        yield from leaves(error.context) if error.context else [error]


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
    one = Query._one
    monkeypatch.setattr(Query, "_one", lambda self, name: read.add(name) or one(self, name))
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
    for value in (least, most) if most else (least, 10**9, 10**30):
        assert empty.get(operation.query(**{name: value})).status == 200, value
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


def refuses(client: Client, operation: Operation, name: str, value: object) -> None:
    """A 400 that names the parameter."""
    response = client.get(operation.query(**{name: value}))
    assert response.status == 400, value
    assert name in response.json["error"]
    check(operation, response)


# --- answers ---------------------------------------------------------------------------------------------------------


def urls(operation: Operation) -> list[str]:
    """Every combination of what an answer's shape depends on; then each other parameter by itself."""
    schemas = {name: one["schema"] for name, one in operation.parameters.items()}
    shaping = [name for name in COMBINED if "enum" in schemas.get(name, {})]
    combinations = product(*(schemas[name]["enum"] for name in shaping))
    chosen = [dict(zip(shaping, values, strict=True)) for values in combinations]
    for name, schema in schemas.items():
        if name not in shaping:
            values = schema.get("enum", ["1", "2"] if schema["type"] == "integer" else ["true", "false"])
            chosen += [{name: value} for value in (["2025-05-17"] if schema.get("format") == "date" else values)]
    return [operation.query(**one) for one in chosen]


def answers(client: Client, operation: Operation) -> Iterator[tuple[str, Response]]:
    """What was asked, and its answer."""
    for body in BODIES.get(operation.path, []):
        yield f"{named(operation)} {body}", client.post(operation.url, body)
    for url in urls(operation) if operation.method == "get" else ():
        yield url, client.get(url)


@pytest.mark.parametrize("operation", ALL, ids=named)
def test_answers_of_an_empty_database(empty: Client, operation: Operation) -> None:
    for asked, response in answers(empty, operation):
        assert response.status == (404 if "{" in operation.path else 200), asked
        check(operation, response)


def test_answers_of_a_full_database(filled: Client) -> None:
    lists: dict[str, bool] = {}  # by what it belongs to, whether anything was in it
    for operation in ALL:
        for asked, response in answers(filled, operation):
            assert response.status == 200, asked
            check(operation, response)
            for name, value in response.json.items():
                if isinstance(value, list):
                    place = asked if name == "data" else f"{operation.path} {response.json.get('category', '')} {name}"
                    lists[place] = lists.get(place, False) or bool(value)
    assert [place for place, full in lists.items() if not full] == []  # what is not there was not looked at


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
