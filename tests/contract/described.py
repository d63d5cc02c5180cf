"""What the service says of itself at /api/openapi.json: its operations, and whether answers are as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import jsonschema
from wsgi_client import Response

from service.web import app as web

Schema = dict[str, Any]

DOCUMENT: Schema = json.loads((Path(web.__file__).parent / "openapi.json").read_text(encoding="utf-8"))


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
    def entity(self) -> str | None:
        """The name of the id in the path: park_id, ride_id."""
        found = re.search("{([a-z_]+)}", self.path)
        return found and found[1]

    @property
    def url(self) -> str:
        """Of park 1, or ride 1."""
        return self.url_of(1)

    def url_of(self, entity_id: int) -> str:
        """Of a park or ride, where the path has a place for one."""
        return re.sub("{[a-z_]+}", str(entity_id), self.path)

    def query(self, entity_id: int = 1, **chosen: object) -> str:
        """A URL with the parameters that must be given, and `chosen`; None leaves one out."""
        needed = {name: _least(one) for name, one in self.parameters.items() if one["required"]}
        given = {name: value for name, value in (needed | chosen).items() if value is not None}
        return self.url_of(entity_id) + ("?" + urlencode(given) if given else "")

    def choices(self) -> Iterator[dict[str, object]]:
        """Every combination of the values that parameters list, or leave out where nothing says what that means; then
        some values of each other parameter, by itself."""
        schemas = {name: one["schema"] for name, one in self.parameters.items()}
        listed = {name: _listed(self.parameters[name]) for name, one in schemas.items() if "enum" in one}
        for values in product(*listed.values()):
            yield dict(zip(listed, values, strict=True))
        for name, one in self.parameters.items():
            if name not in listed:
                yield from ({name: value} for value in _some(one))


def _listed(parameter: dict[str, Any]) -> list[str | None]:
    may_be_missing = not parameter["required"] and "default" not in parameter["schema"]
    return [*parameter["schema"]["enum"], *([None] if may_be_missing else [])]


def _least(parameter: dict[str, Any]) -> Any:
    return parameter["example"] if "example" in parameter else parameter["schema"]["enum"][0]


def _some(parameter: dict[str, Any]) -> list[object]:
    schema: Schema = parameter["schema"]
    if schema["type"] == "array":
        return list(parameter["example"])
    if "example" in parameter:
        return [parameter["example"]]
    if schema["type"] == "integer":
        return [1, 2, schema.get("maximum", 10**6)]
    if schema.get("format") == "date-time":
        return []  # which instants are accepted depends on the others
    return ["2025-05-17", "2001-01-01"] if schema.get("format") == "date" else ["true", "false"]


ALL = [Operation(method, path, one) for path, item in DOCUMENT["paths"].items() for method, one in item.items()]


def named(value: object) -> str:
    """A test's id."""
    return f"{value.method} {value.path}" if isinstance(value, Operation) else str(value)


def check(operation: Operation, response: Response) -> None:
    """Assert that the answer is what the document says of its status."""
    assert problems(operation, response) == []


def problems(operation: Operation, response: Response) -> list[str]:
    """Where an answer is not what the document says of its status, or has fields that it does not know."""
    validator = _validator(operation.path, operation.method, response.status)
    return violations(validator, response.json) + sorted(set(_unknown(response.json, validator.schema)))


def violations(validator: Any, body: Any) -> list[str]:
    """What is wrong with a body, and where; of alternatives that all fail, what is wrong with each."""
    return [f"{list(error.absolute_path)}: {error.message}"[:300] for error in _leaves(validator.iter_errors(body))]


def validator_of(document: Schema, path: str, method: str, status: int) -> Any:
    """The schema that a document has for an answer."""
    responses = document["paths"][path][method]["responses"]
    assert str(status) in responses, f"{method} {path} answers {status}, which is not in the document"
    answer = responses[str(status)]
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    schema = answer["content"]["application/json"]["schema"]
    return jsonschema.Draft202012Validator({"components": document["components"], "allOf": [schema]})


@cache
def _validator(path: str, method: str, status: int) -> Any:
    return validator_of(DOCUMENT, path, method, status)


def resolved(schema: Schema) -> Schema:
    """What a reference to a schema leads to."""
    found: Schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _leaves(errors: Any) -> Iterator[Any]:
    for error in errors:
        yield from _leaves(error.context) if error.context else [error]


def _unknown(value: Any, schema: Schema, place: str = "") -> Iterator[str]:
    """The fields of an answer that the document does not know. Objects of which it names none may have any."""
    variants = list(_variants_of(schema))
    if isinstance(value, list):
        items = [one["items"] for one in variants if "items" in one]
        for one in value:
            yield from _unknown(one, {"anyOf": items}, place + "[]")
    known = [one["properties"] for one in variants if "properties" in one]
    if isinstance(value, dict) and known:
        for name, one in value.items():
            schemas = [properties[name] for properties in known if name in properties]
            yield from _unknown(one, {"anyOf": schemas}, f"{place}.{name}") if schemas else [f"{place}.{name}"]


def _variants_of(schema: Schema) -> Iterator[Schema]:
    """Every schema that a value may be looked at by."""
    yield schema
    if "$ref" in schema:
        yield from _variants_of(resolved(schema))
    for several in ("allOf", "anyOf", "oneOf"):
        for one in schema.get(several, []):
            yield from _variants_of(one)
