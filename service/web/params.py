"""What a request says, as typed values: its query string, its JSON body, and who sent it.

What cannot be accepted is a BadRequest that names the parameter and what it accepts.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from http import HTTPStatus
from typing import NamedTuple, NoReturn
from urllib.parse import parse_qsl
from wsgiref.types import WSGIEnvironment

from service import periods
from service.config import Settings
from service.errors import BadRequest, ServiceError
from service.periods import Interval
from service.queries import catalog, rankings

PERIODS = (*periods.PERIODS, *periods.ALIASES)
SHOWN_CHARACTERS = 40
MINUTES_OF = {"m": 1, "h": 60, "d": 1440}
LARGEST_BODY = 100 * 1024  # bytes
YEARS = range(2000, 2100)  # of dates
LAST_SECOND = periods.epoch(datetime(YEARS[-1], 12, 31, tzinfo=UTC))
MOST_YEARS = 10  # in one answer


class Refused(ServiceError):
    """A request that no route looked into, because HTTP has a status for what is wrong: its body is {error, message},
    as that of an unknown path."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = status.phrase
        self.headers = headers or {}


class Request(NamedTuple):
    """What a route is given. `now` is read once a request; `ids` are those of its path, such as `park_id`."""

    settings: Settings
    now: datetime
    query: Query
    ids: Mapping[str, int] = {}
    environ: WSGIEnvironment = {}

    @property
    def api_key(self) -> str:
        """The header X-API-Key; empty when it is not sent."""
        return str(self.environ.get("HTTP_X_API_KEY", ""))

    @property
    def address(self) -> str:
        """Who sent the request: the other end of the connection, which may be a proxy."""
        return str(self.environ.get("REMOTE_ADDR", ""))

    def json(self) -> dict[str, object]:
        """The body, a JSON object. Raises Refused (413, 415, or 400 for malformed JSON); BadRequest for other JSON."""
        if self.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send a JSON body with Content-Type: application/json")
        try:
            body = json.loads(self._body().decode(), parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "The body is not JSON in UTF-8") from None
        if not isinstance(body, dict):
            raise BadRequest("The JSON body is not an object: send {...} with the fields by name.")
        return body

    def _body(self) -> bytes:
        stated = self.environ.get("CONTENT_LENGTH", "")
        if not re.fullmatch("[0-9]*", stated):
            raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        if not stated and not self.environ.get("wsgi.input_terminated"):
            return b""  # reading on would wait for a next request
        if len(stated) > 9 or int(stated or 0) > LARGEST_BODY:
            _refuse_large_body()
        body: bytes = self.environ["wsgi.input"].read(int(stated) if stated else LARGEST_BODY + 1)
        return body if len(body) <= LARGEST_BODY else _refuse_large_body()


def _refuse_large_body() -> NoReturn:
    raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {LARGEST_BODY} bytes")


def _finite(text: str) -> float:
    """A number of a JSON body. Raises ValueError for NaN and for what is too large: neither is JSON."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


class Query:
    """The parameters of a request. Unknown ones are ignored; a known one that is repeated is refused, but for `year`;
    and an empty one, but for `weighted`."""

    def __init__(self, text: str) -> None:
        """`text` is the query string as WSGI gives it. What cannot be decoded becomes a value that nothing accepts."""
        self.string = text
        self._used: set[str] = set()

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        values: dict[str, list[str]] = defaultdict(list)
        for name, value in parse_qsl(self.string.encode("latin-1").decode(errors="replace"), keep_blank_values=True):
            values[name].append(value)
        return values

    def asked(self) -> tuple[tuple[str, ...], ...]:
        """What was looked at of the parameters so far, by name: the same for questions that differ in nothing else."""
        return tuple((name, *self._values[name]) for name in sorted(self._used) if name in self._values)

    def choice(
        self, name: str, accepted: Sequence[str], default: str | None = None, unsupported: Sequence[str] = ()
    ) -> str:
        """One of `accepted`. Without a default it must be given. `unsupported` are values that others accept."""
        value = self._one(name)
        if value is None:
            if default is None:
                raise BadRequest(f"The parameter {name} is missing: use one of {', '.join(accepted)}.")
            return default
        if value in unsupported:
            raise BadRequest(f"The {name} {value!r} is not supported here: use one of {', '.join(accepted)}.")
        if value not in accepted:
            raise BadRequest(f"Invalid {name} {_shown(value)}: use one of {', '.join(accepted)}.")
        return value

    def period(self) -> str:
        """The period as written; aliases keep their name."""
        return self.choice("period", PERIODS, "live")

    def mode(self, period: str) -> str:
        """What selects the rows of ride waits: by default the canonical name of `period`."""
        return self.choice("mode", rankings.MODES, periods.ALIASES.get(period, period))

    def filter(self, default: str = catalog.ALL_PARKS) -> str:
        """Which parks."""
        return self.choice("filter", catalog.FILTERS, default)

    def limit(self, default: int, maximum: int) -> int:
        """How many rows at most; more than `maximum` gives `maximum`."""
        value = self._whole("limit", f"a whole number, 1 or more (at most {maximum} rows are returned)")
        return default if value is None else min(value, maximum)

    def strict_limit(self, default: int, maximum: int) -> int:
        """How many rows at most; more than `maximum` is refused."""
        return self.whole("limit", default, maximum)

    def whole(self, name: str, default: int, maximum: int) -> int:
        """A whole number from 1 to `maximum`."""
        accepted = f"a whole number from 1 to {maximum}"
        value = self._whole(name, accepted) or default
        if value > maximum:
            raise BadRequest(f"Invalid {name} {_shown(str(value))}: use {accepted}.")
        return value

    def option(self, name: str, accepted: Sequence[str]) -> str | None:
        """One of `accepted`, or None when it is not given."""
        return None if self._one(name) is None else self.choice(name, accepted)

    def day(self, name: str) -> date | None:
        """A date, or None when it is not given."""
        value = self._one(name)
        return None if value is None else as_day(name, value)

    def park_id(self) -> int | None:
        """The one park asked for, or None for all."""
        return self._id("park_id")

    def ride_id(self) -> int | None:
        """The one ride asked for, or None for all."""
        return self._id("ride_id")

    def _id(self, name: str) -> int | None:
        return self._whole(name, "a whole number, 1 or more")

    def weighted(self) -> bool:
        """Only "true" is true, in any case; anything else is false, for it has no effect."""
        return (self._one("weighted") or "").lower() == "true"

    def instant(self, name: str, default: datetime | None = None) -> int:
        """An instant with its offset from UTC, as epoch seconds. Without a default it must be given."""
        value = self._one(name)
        if value is None and default is not None:
            return periods.epoch(default)
        accepted = (
            "an ISO 8601 instant with its offset, such as 2026-06-01T11:00:00-07:00 or 2026-06-01T18:00:00Z,"
            f" of the years {YEARS[0]} to {YEARS[-1]}"
        )
        if value is None:
            raise BadRequest(f"The parameter {name} is missing: use {accepted}.")
        with suppress(ValueError):
            found = datetime.fromisoformat(value.replace(" ", "+"))  # a + that was not escaped is a blank
            if found.tzinfo is not None and found.year in YEARS and "T" in value:
                return math.ceil(found.timestamp())  # slots are whole seconds: the next one is the first that counts
        raise BadRequest(f"Invalid {name} {_shown(value)}: use {accepted}.")

    def span(self, now: datetime, default_start: datetime | None = None) -> tuple[int, int]:
        """`start` and `end`, half-open epoch seconds; `end` is now when it is not given."""
        start, end = self.instant("start", default_start), self.instant("end", now)
        if start >= end:
            is_now = self._one("end") is None
            moved = "which is now: give an end" if is_now else "swap start and end, or move one of them"
            raise BadRequest(f"The start is not before the end{', ' if is_now else ': '}{moved}.")
        return start, end

    def window(self, now: datetime, default: timedelta, longest: timedelta) -> Interval:
        """The same, no longer than `longest`; `default` long where no start is given."""
        start, end = self.span(now, periods.instant(self.instant("end", now)) - default)
        if end - start > longest.total_seconds():
            raise BadRequest(f"The start is more than {longest.days} days before the end: use one that is nearer.")
        return Interval(start, end)

    def text(self, name: str) -> str | None:
        """A parameter as it was written."""
        return self._one(name)

    def choices(self, name: str, accepted: Sequence[str]) -> tuple[str, ...]:
        """Some of `accepted`, separated by commas; all when it is not given."""
        value = self._one(name)
        found = tuple(accepted) if value is None else tuple(value.split(","))
        wrong = [one for one in found if one not in accepted]
        if wrong or len(set(found)) < len(found):
            shown = _shown(wrong[0] if wrong else str(value))
            raise BadRequest(f"Invalid {name} {shown}: use some of {','.join(accepted)}, each once.")
        return found

    def length(self, name: str, step_minutes: int) -> int | None:
        """A length of time such as 15m, 1h or 1d, in seconds: a multiple of the step, at most a day."""
        value = self._one(name)
        if value is None:
            return None
        found = re.fullmatch("([1-9][0-9]{0,3})([mhd])", value)
        minutes = int(found[1]) * MINUTES_OF[found[2]] if found else 0
        if not 0 < minutes <= MINUTES_OF["d"] or minutes % step_minutes:
            accepted = f"minutes, hours or a day, such as 15m, 1h, 1d: a multiple of {step_minutes}m, at most 1d"
            raise BadRequest(f"Invalid {name} {_shown(value)}: use {accepted}.")
        return minutes * 60

    def years(self, running: int) -> list[int]:
        """The calendar years asked for, in their order; `running` where none is."""
        values = self._all("year")
        found = [int(value) for value in values if re.fullmatch("[0-9]{4}", value) and int(value) in YEARS]
        if len(set(found)) < len(values) or len(found) > MOST_YEARS:
            accepted = f"a year from {YEARS[0]} to {YEARS[-1]}, or up to {MOST_YEARS} of them, each once"
            raise BadRequest(f"Invalid year {_shown(', '.join(values))}: use {accepted}, as year=2024&year=2025.")
        return found or [running]

    def time_of_day(self, name: str) -> tuple[time, time] | None:
        """From when until when by the clock; 24:00 is the midnight that ends a day."""
        value = self._one(name)
        if value is None:
            return None
        found = re.fullmatch("([01][0-9]|2[0-3]):([0-5][0-9])-(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)", value)
        if found is None or value[:5] == value[6:]:
            accepted = "two different times such as 11:30-13:45, or 22:00-02:00 past midnight"
            raise BadRequest(f"Invalid {name} {_shown(value)}: use {accepted}.")
        hour, minute, last_hour, last_minute = (int(digits or 0) for digits in found.groups())
        return time(hour, minute), time(last_hour, last_minute)

    def after(self, name: str, question: int) -> tuple[int, int] | None:
        """Where the page before ended: two whole numbers, as an answer to the same `question` wrote them before its
        number."""
        value = self._one(name)
        if value is None:
            return None
        found = re.fullmatch(r"([0-9]{1,12})\.([0-9]{1,10})\.([0-9]{1,10})", value)
        if found is None or int(found[3]) != question or int(found[1]) > LAST_SECOND:
            raise BadRequest(f"Invalid {name} {_shown(value)}: use the next_cursor of an answer to the same question.")
        return int(found[1]), int(found[2])

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false, in any case."""
        value = self._one(name)
        if value is None:
            return default
        if value.lower() not in ("true", "false"):
            raise BadRequest(f"Invalid {name} {_shown(value)}: use true or false.")
        return value.lower() == "true"

    def _whole(self, name: str, accepted: str) -> int | None:
        """A positive whole number, of no more digits than a URL has room for."""
        value = self._one(name)
        if value is not None and not re.fullmatch("0*[1-9][0-9]*", value):
            raise BadRequest(f"Invalid {name} {_shown(value)}: use {accepted}.")
        return None if value is None else int(value)

    def _one(self, name: str) -> str | None:
        values = self._all(name)
        if len(values) > 1:
            raise BadRequest(f"The parameter {name} is given {len(values)} times: give it once.")
        return values[0] if values else None

    def _all(self, name: str) -> list[str]:
        self._used.add(name)
        return self._values.get(name, [])


def as_day(name: str, value: object) -> date:
    """The date `YYYY-MM-DD` of the parameter or field `name`."""
    if isinstance(value, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value) and int(value[:4]) in YEARS:
        with suppress(ValueError):
            return date.fromisoformat(value)
    accepted = f"a date YYYY-MM-DD of the years {YEARS[0]} to {YEARS[-1]}"
    raise BadRequest(f"Invalid {name} {_shown(str(value))}: use {accepted}.")


def _shown(value: str) -> str:
    """A value for an error message: escaped, and not longer than needed to recognise it."""
    return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "...")
