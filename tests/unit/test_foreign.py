"""Hostile answers: whatever a source sends, a parser gives typed records or says that it is nonsense."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import date
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from service.errors import BadFeed
from service.feeds import Opening, ParkRecord, foreign
from service.feeds import queue_times as queues
from service.feeds import themeparks_wiki as wiki
from service.rules import plausible_wait

Parser = Callable[[bytes], Any]

ENTITY = {
    "id": "a-1", "name": "Comet", "entityType": "ATTRACTION", "status": "DOWN", "lastUpdated": "2026-04-14T15:00:09Z",
    "queue": {"STANDBY": {"waitTime": 5}}, "location": {"latitude": 1.5, "longitude": 2}, "parentId": "p",
}  # fmt: skip
ROW = {
    "date": "2026-04-14", "type": "OPERATING", "openingTime": "2026-04-14T09:00:00-04:00",
    "closingTime": "2026-04-14T22:00:00-04:00",
}  # fmt: skip
PARK = {"id": 7, "name": "Bay", "country": "Japan", "timezone": "Asia/Tokyo", "latitude": "1.5", "longitude": "2"}
RIDE = {"id": 10, "name": "Comet", "is_open": True, "wait_time": 5, "last_updated": "2024-05-23T18:40:04.000Z"}

GOOD: dict[Parser, Any] = {
    wiki.destinations: {"destinations": [{"id": "r", "name": "Resort", "parks": [{"id": "p", "name": "Bay"}]}]},
    wiki.children: {"children": [ENTITY]},
    wiki.live: {"liveData": [ENTITY]},
    wiki.schedule: {"timezone": "America/New_York", "schedule": [ROW, {**ROW, "type": "INFO", "openingTime": None}]},
    queues.parks: [{"id": 1, "name": "Walt Disney", "parks": [PARK]}],
    queues.queue_times: {"lands": [{"id": 1, "name": "Harbour", "rides": [RIDE]}], "rides": [{**RIDE, "id": 11}]},
}
parsers = pytest.mark.parametrize("parse", GOOD, ids=lambda parse: parse.__name__)

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
    | st.sampled_from([10**30, -1, 995, "", "\0", "\ud800", "<>", "25", "NaN", "x" * 300, "0001-01-01T00:00:00+23:59",
                       "9999-12-31T23:59:59-23:59", "2026-04-14T09:00:00", "Single Rider", "Europe/Paris", "/", ".."])
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value inside."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], by: object) -> Any:
    if not path:
        return by
    found = copy.copy(value)
    found[path[0]] = replaced(found[path[0]], path[1:], by)
    return found


def check(value: object) -> None:
    """Everything in an answer is of a type that can be stored, within its bounds."""
    if isinstance(value, foreign.Refusal):
        json.dumps(value).encode()
        assert 0 < len(value.reason) < 400
        assert "\n" not in value.reason
    elif isinstance(value, wiki.LiveRide | queues.QueueRide):
        assert value.wait_time is None or plausible_wait(value.wait_time) is not None
        assert type(value.wait_time) is not bool
    elif isinstance(value, Opening):
        assert isinstance(value.schedule_date, date)
        assert 0 <= value.closing_at - value.opening_at <= 36 * 3600
    elif isinstance(value, ParkRecord):
        assert 0 < value.source_id < 2**31
        assert len(value.country) == 2
    if isinstance(value, tuple | list):
        for inner in value:
            check(inner)
    elif isinstance(value, dict):
        check(list(value))
    elif isinstance(value, str):
        value.encode()
        assert "\0" not in value
        assert len(value) < 400
    else:
        assert value is None or isinstance(value, bool | int | float | date | IntEnum)
        assert value == value


def survives(parse: Parser, body: bytes) -> None:
    try:
        answer = parse(body)
    except BadFeed as error:
        assert len(str(error)) < 400
    else:
        check(answer)


@parsers
@effort(deadline=None)
@given(data=st.data())
def test_any_value_in_any_place_is_survived(parse: Parser, data: st.DataObject) -> None:
    spoilt = GOOD[parse]
    for _ in range(data.draw(st.integers(1, 3))):
        spoilt = replaced(spoilt, data.draw(st.sampled_from(list(places(spoilt)))), data.draw(ANYTHING))
    survives(parse, json.dumps(spoilt).encode())


@parsers
@effort(deadline=None)
@given(body=st.binary(max_size=60) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_survived(parse: Parser, body: bytes) -> None:
    survives(parse, body)


@parsers
def test_a_good_answer_is_one(parse: Parser) -> None:
    answer = parse(json.dumps(GOOD[parse]).encode())
    check(answer)
    assert answer[0]


@parsers
@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"<html><body>Bad Gateway</body></html>", b"{", b"nul", b"\xff\xfe\xfa", b"\xc3\x28", b"[" * 100_000,
     b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000, b"{}{}", b"\0", b"1" * 100_000],
    ids=range(13),
)  # fmt: skip
def test_what_is_not_json_is_nonsense(parse: Parser, body: bytes) -> None:
    with pytest.raises(BadFeed, match=r"(is not JSON: it begins with '.*'\.|, not an? (object|list)\.)$") as caught:
        parse(body)
    assert caught.value.status == 502
    assert len(str(caught.value)) < 400


@parsers
def test_a_byte_order_mark_does_no_harm(parse: Parser) -> None:
    text = json.dumps(GOOD[parse])
    assert parse(text.encode("utf-8-sig")) == parse(text.encode()) == parse(text.encode("utf-16"))


def spoilt_by(parse: Parser, literal: str) -> Iterator[bytes]:
    """The good answer with that literal instead of each of its values."""
    for path in places(GOOD[parse]):
        yield json.dumps(replaced(GOOD[parse], path, "@@")).replace('"@@"', literal).encode()


@parsers
@pytest.mark.parametrize(
    "literal",
    ["NaN", "-Infinity", "1e999", "-0.0", "9" * 5_000, "0." + "3" * 5_000, "[" * 400 + "]" * 400,
     '{"waitTime":' * 400 + "5" + "}" * 400, '"' + "x" * 100_000 + '"', '"\\ud800"', '"\\u0000"'],
    ids=range(11),
)  # fmt: skip
def test_literals_that_python_stumbles_over_are_survived(parse: Parser, literal: str) -> None:
    for body in spoilt_by(parse, literal):
        survives(parse, body)


@pytest.mark.parametrize("literal", ["NaN", "1" * 19, "9" * 5_000, "1.0", "1e2", "true"])
def test_a_number_that_is_not_whole_is_neither_a_name_nor_an_id_nor_a_wait(literal: str) -> None:
    for field, refused in (("name", "name"), ("id", "id"), ("waitTime", "waitTime")):
        spoilt = {**ENTITY, field: "@@", "queue": {"STANDBY": {"waitTime": "@@" if field == "waitTime" else 5}}}
        answer = wiki.live(json.dumps({"liveData": [spoilt]}).replace('"@@"', literal).encode())
        assert [refusal.field for refusal in answer.refused] == [refused]


@pytest.mark.parametrize(("parse", "body", "refused"), [
    (wiki.destinations, {"destinations": "@@"}, 20_000),
    (wiki.children, {"children": "@@"}, 20_000),
    (wiki.live, {"liveData": "@@"}, 20_000),
    (wiki.schedule, {"timezone": None, "schedule": "@@"}, 20_000),
    (queues.parks, "@@", 20_000),
    (queues.queue_times, {"lands": [], "rides": "@@"}, 20_000),
    (queues.queue_times, {"lands": "@@"}, 16_000),  # a land may have neither name nor rides
])  # fmt: skip
def test_thousands_of_bad_rows_are_refused_one_by_one(parse: Parser, body: object, refused: int) -> None:
    many = [None, 5, "x", [], {}] * 4_000
    answer = parse(json.dumps(body).replace('"@@"', json.dumps(many)).encode())
    assert (len(answer.refused), answer[0] or []) == (refused, [])
    check(answer.refused)
