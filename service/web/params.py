"""The query string as typed values; or BadRequest, naming the parameter and what it accepts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import parse_qsl

from service import periods
from service.config import Settings
from service.errors import BadRequest
from service.queries import catalog, rankings

PERIODS = (*periods.PERIODS, *periods.ALIASES)
SHOWN_CHARACTERS = 40


class Request(NamedTuple):
    """What a route is given. `now` is read once a request; `ids` are those of its path, such as `park_id`."""

    settings: Settings
    now: datetime
    query: Query
    ids: Mapping[str, int] = {}


class Query:
    """The parameters of a request. Unknown ones are ignored; a known one that is repeated is refused, and an empty one,
    but for `weighted`."""

    def __init__(self, text: str) -> None:
        """`text` is the query string as WSGI gives it. What cannot be decoded becomes a value that nothing accepts."""
        self._values: dict[str, list[str]] = defaultdict(list)
        for name, value in parse_qsl(text.encode("latin-1").decode(errors="replace"), keep_blank_values=True):
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
        value = self._whole("limit", f"a whole number, 1 or more (at most {maximum} rows are returned)")
        return default if value is None else min(value, maximum)

    def park_id(self) -> int | None:
        """The one park asked for, or None for all."""
        return self._whole("park_id", "a whole number, 1 or more")

    def weighted(self) -> bool:
        """Only "true" is true, in any case."""
        return (self._one("weighted") or "").lower() == "true"

    def _whole(self, name: str, accepted: str) -> int | None:
        """A positive whole number, of no more digits than a URL has room for."""
        value = self._one(name)
        if value is not None and not re.fullmatch("0*[1-9][0-9]*", value):
            raise BadRequest(f"Invalid {name} {_shown(value)}: use {accepted}.")
        return None if value is None else int(value)

    def _one(self, name: str) -> str | None:
        values = self._values.get(name, [])
        if len(values) > 1:
            raise BadRequest(f"The parameter {name} is given {len(values)} times: give it once.")
        return values[0] if values else None


def _shown(value: str) -> str:
    """A value for an error message: escaped, and not longer than needed to recognise it."""
    return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "...")
