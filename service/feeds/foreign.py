"""Answers of foreign services: JSON of any shape, read field by field. No type is taken on trust.

An answer that is not JSON or lacks its list raises BadFeed. A row that cannot be used is refused with its reason, and
the others go on; so is a field that a row can spare, which is None then.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from enum import IntEnum
from typing import NamedTuple, TypeVar

from service.errors import BadFeed
from service.feeds import plain_text
from service.feeds.csv_files import LARGEST_ID, LONGEST_SHOWN, YEARS
from service.periods import epoch, known_zone, wall_clock
from service.rules import MAX_WAIT_MINUTES, plausible_wait

LONGEST_NAME = 255
LONGEST_ZONE = 50
MOST_REFUSED = 50_000  # rows of a list: an answer with more of them is none
LONGEST_NUMBER = 18  # digits: nothing counted here has more, and Python refuses to read thousands

_WIKI_ID = re.compile(r"[0-9A-Za-z_-]{1,36}")
_DEGREES = re.compile(r"[-+]?[0-9]{1,3}(\.[0-9]{1,30})?")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

T = TypeVar("T")
E = TypeVar("E", bound=IntEnum)


class Refusal(NamedTuple):
    """What was not used: a row, or only the `field` of one. `source_id` is the row's id there, where it has one."""

    what: str
    reason: str
    field: str | None = None
    source_id: str | int | None = None


class Unusable(Exception):
    """Why a value cannot be used, worded to follow its name: `is not a whole number`."""


class BadRow(Exception):
    """Why the row at hand cannot be used: one of its fields, and what is wrong with that."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


# --- the whole answer ------------------------------------------------------------------------------------------------


def decoded(body: bytes, answer: str) -> object:
    """The JSON of `body`; `answer` names it in the message. Raises BadFeed."""
    try:
        return json.loads(body, parse_int=_number)
    except (ValueError, RecursionError):
        start = shown(body[:LONGEST_SHOWN].decode(errors="replace"))
        raise BadFeed(f"{answer} is not JSON: it begins with {start}.") from None


def _number(digits: str) -> float:
    return int(digits) if len(digits) <= LONGEST_NUMBER else float(digits)


def fields_of(value: object, answer: str) -> dict[str, object]:
    """An answer that has to be an object. Raises BadFeed."""
    if not isinstance(value, dict):
        raise BadFeed(f"{answer} is {shown(value)}, not an object.")
    return value


def list_in(fields: dict[str, object], name: str, answer: str) -> list[object]:
    """The list that an answer is about. Raises BadFeed."""
    found = fields.get(name)
    if not isinstance(found, list):
        raise BadFeed(f"{answer} has no list {name}.")
    return found


def shown(value: object) -> str:
    """A value in a message, on one short line; what a list or an object holds is not looked at."""
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}...")
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else json.dumps(value)


# --- rows ------------------------------------------------------------------------------------------------------------


class Row:
    """One object of an answer. What it spares, it refuses into the list it was given."""

    def __init__(self, fields: dict[str, object], place: str, refused: list[Refusal]) -> None:
        self.fields = fields
        self.place = place
        self.refused = refused

    def has(self, field: str) -> bool:
        """Whether the field says anything."""
        return self.fields.get(field) not in (None, "")

    def needed(self, field: str, parse: Callable[[object], T]) -> T:
        """The field as `parse` reads it; without it the row is refused."""
        if not self.has(field):
            raise BadRow(field, "is missing")
        try:
            return parse(self.fields[field])
        except Unusable as problem:
            raise BadRow(field, str(problem)) from None

    def spared(self, field: str, parse: Callable[[object], T]) -> T | None:
        """The field as `parse` reads it; None where it is absent, and where it is refused."""
        if not self.has(field):
            return None
        try:
            return parse(self.fields[field])
        except Unusable as problem:
            self.refuse(field, str(problem))
            return None

    def within(self, field: str) -> Row:
        """The object in a field, its own fields still refused as this row's; an empty one where there is none."""
        return _Part(self, self.spared(field, an_object) or {})

    def list_of(self, field: str) -> list[object]:
        """The list in a field; an empty one where there is none."""
        return self.spared(field, a_list) or []

    def refuse(self, field: str, reason: str) -> None:
        """Report a field; the row goes on."""
        self.refused.append(Refusal(self._label(), f"{field} {reason}", field, self._source_id()))

    def _label(self) -> str:
        return _or_none(name, self.fields.get("name")) or self.place

    def _source_id(self) -> str | int | None:
        said = self.fields.get("id")
        return _or_none(wiki_id, said) if isinstance(said, str) else _or_none(number_id, said)


class _Part(Row):
    """An object inside a row, which bears the row's name."""

    def __init__(self, row: Row, fields: dict[str, object]) -> None:
        super().__init__(fields, row.place, row.refused)
        self._row = row

    def refuse(self, field: str, reason: str) -> None:
        self._row.refuse(field, reason)


def rows(
    values: list[object], place: str, parse: Callable[[Row], T | None], refused: list[Refusal]
) -> Iterator[T]:
    """What `parse` makes of each object of a list, but for None; `place` names a row that has no name. Raises BadFeed
    for a list of which MOST_REFUSED rows and more cannot be used."""
    for number, value in enumerate(values, 1):
        here = f"{place} {number}"
        if len(refused) > MOST_REFUSED:
            raise BadFeed(f"An answer has more than {MOST_REFUSED:,} rows that cannot be used, up to {here}.")
        if not isinstance(value, dict):
            refused.append(Refusal(here, f"is {shown(value)}, not an object"))
            continue
        row = Row(value, here, refused)
        try:
            record = parse(row)
        except BadRow as problem:
            row.refuse(problem.field, problem.reason)
        else:
            if record is not None:
                yield record


# --- one value -------------------------------------------------------------------------------------------------------


def _or_none(parse: Callable[[object], T], value: object) -> T | None:
    try:
        return parse(value)
    except Unusable:
        return None


def text(value: object, longest: int = LONGEST_NAME) -> str:
    """Plain text that can be stored."""
    if not isinstance(value, str):
        raise Unusable(f"is {shown(value)}, not a text")
    if len(value) > longest:
        raise Unusable(f"has {len(value)} characters, at most {longest} fit")
    if _UNSTORABLE.search(value):
        raise Unusable(f"{shown(value)} has characters that cannot be stored")
    plain = plain_text(value)
    if not plain:
        raise Unusable("is empty")
    return plain


def name(value: object) -> str:
    """The name of a park or ride."""
    return text(value)


def an_object(value: object) -> dict[str, object]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise Unusable(f"is {shown(value)}, not an object")
    return value


def a_list(value: object) -> list[object]:
    """A JSON list."""
    if not isinstance(value, list):
        raise Unusable(f"is {shown(value)}, not a list")
    return value


def flag(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise Unusable(f"{shown(value)} is not true or false")
    return value


def whole(value: object) -> int:
    """A whole number; neither a text nor true."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unusable(f"{shown(value)} is not a whole number")
    return value


def number_id(value: object) -> int:
    """An id that counts."""
    number = whole(value)
    if not 0 < number <= LARGEST_ID:
        raise Unusable(f"{number} is not between 1 and {LARGEST_ID}")
    return number


def wiki_id(value: object) -> str:
    """A UUID in small letters, as ids of ThemeParks.wiki are stored."""
    if not isinstance(value, str) or not _WIKI_ID.fullmatch(value):
        raise Unusable(f"{shown(value)} is not a UUID")
    return value.lower()


def wait_minutes(value: object) -> int:
    """A posted wait that can be meant."""
    wait = plausible_wait(whole(value))
    if wait is None:
        raise Unusable(f"{shown(value)} is not between 0 and {MAX_WAIT_MINUTES}")
    return wait


def degrees(limit: int) -> Callable[[object], float]:
    """A latitude or longitude from -`limit` to `limit`, as a number or as its text."""

    def parse(value: object) -> float:
        number = math.nan
        if isinstance(value, str) and _DEGREES.fullmatch(value) or isinstance(value, int | float):
            number = float(value)
        if isinstance(value, bool) or not abs(number) <= limit:
            raise Unusable(f"{shown(value)} is not a number from -{limit} to {limit}")
        return number

    return parse


LATITUDE, LONGITUDE = degrees(90), degrees(180)


def zone(value: object) -> str:
    """A time zone of the IANA database."""
    if not isinstance(value, str) or len(value) > LONGEST_ZONE or not known_zone(value):
        raise Unusable(f"{shown(value)} is not a known time zone")
    return value


def day(value: object) -> date:
    """A calendar date."""
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.year not in YEARS:
        raise Unusable(f"{shown(value)} is not a date such as 2025-05-18")
    return found


def instant(value: object, zone_name: str | None = None) -> int:
    """Epoch seconds of an ISO 8601 time. Without an offset it is by the clocks of `zone_name`, or unusable."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) and "T" in value else None
    except ValueError:
        moment = None
    if moment is None or moment.year not in YEARS:
        raise Unusable(f"{shown(value)} is not a time such as 2025-05-18T15:00:00Z")
    if moment.tzinfo is not None:
        return epoch(moment)
    if zone_name is None:
        raise Unusable(f"{shown(value)} has no offset")
    return wall_clock(moment.date(), moment.time(), zone_name)


def member(enum: type[E]) -> Callable[[object], E]:
    """The member of that very name."""

    def parse(value: object) -> E:
        found = enum.__members__.get(value) if isinstance(value, str) else None
        if found is None:
            raise Unusable(f"{shown(value)} is unknown: known are {', '.join(enum.__members__)}")
        return found

    return parse
