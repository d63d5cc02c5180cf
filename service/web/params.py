"""The query string as typed values; or BadRequest, naming the parameter and what it accepts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import parse_qsl

from service import periods
from service.config import Settings
from service.errors import BadRequest
from service.queries import catalog, rankings

PERIODS = (*periods.PERIODS, *periods.ALIASES)
LARGEST_ID = 2**31 - 1  # ids are signed 32-bit columns
SHOWN_CHARACTERS = 40

BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


class Request(NamedTuple):
    """What a route is given. `now` is read once a request."""

    settings: Settings
    now: datetime
    query: Query


class Query:
    """The parameters of a request. Unknown ones are ignored; a known one that is empty or repeated is refused."""

    def __init__(self, text: str) -> None:
        """`text` is the query string as WSGI gives it. Raises BadRequest when it cannot be decoded."""
        if BROKEN_ESCAPE.search(text):
            raise BadRequest("The query string has a % that two hexadecimal digits do not follow: write %25 for a %.")
        try:
            pairs = parse_qsl(text.encode("latin-1").decode(), keep_blank_values=True, errors="strict")
        except UnicodeError:
            raise BadRequest("The query string is not UTF-8.") from None
        if any("\0" in part for pair in pairs for part in pair):
            raise BadRequest("The query string has a NUL character.")
        self._values: dict[str, list[str]] = defaultdict(list)
        for name, value in pairs:
            self._values[name].append(value)

    def choice(self, name: str, accepted: Sequence[str], default: str) -> str:
        """One of `accepted`."""
        value = self._one(name)
        if value is None:
            return default
        if value not in accepted:
            raise BadRequest(f"Invalid {name} {_shown(value)}: use one of {', '.join(accepted)}.")
        return value

    def period(self) -> str:
        """The period as written; aliases keep their name."""
        return self.choice("period", PERIODS, "live")

    def mode(self, period: str) -> str:
        """What selects the rows of ride waits: by default the canonical name of `period`."""
        return self.choice("mode", rankings.MODES, periods.ALIASES.get(period, period))

    def filter(self) -> str:
        """Which parks."""
        return self.choice("filter", catalog.FILTERS, catalog.ALL_PARKS)

    def limit(self, default: int, maximum: int) -> int:
        """How many rows at most; more than `maximum` gives `maximum`."""
        value = self._whole("limit", maximum, f"a whole number, 1 or more (at most {maximum} rows are returned)")
        return default if value is None else min(value, maximum)

    def park_id(self) -> int | None:
        """The one park asked for, or None for all."""
        accepted = f"a whole number from 1 to {LARGEST_ID}"
        value = self._whole("park_id", LARGEST_ID, accepted)
        if value is not None and value > LARGEST_ID:
            raise BadRequest(f"Invalid park_id, it is too large: use {accepted}.")
        return value

    def weighted(self) -> bool:
        """Only "true" is true, in any case; nothing is refused."""
        return (self._one("weighted") or "").lower() == "true"

    def _whole(self, name: str, largest: int, accepted: str) -> int | None:
        """A positive whole number; one with more digits than `largest` counts as the next after it."""
        value = self._one(name)
        if value is None:
            return None
        if not re.fullmatch("0*[1-9][0-9]*", value):
            raise BadRequest(f"Invalid {name} {_shown(value)}: use {accepted}.")
        digits = value.lstrip("0")
        # Thousands of digits would be refused by int(), with another error.
        return int(digits) if len(digits) <= len(str(largest)) else largest + 1

    def _one(self, name: str) -> str | None:
        values = self._values.get(name, [])
        if len(values) > 1:
            raise BadRequest(f"The parameter {name} is given {len(values)} times: give it once.")
        return values[0] if values else None


def _shown(value: str) -> str:
    """A value for an error message: escaped, and not longer than needed to recognise it."""
    return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "...")
