"""A recording: parks, rides, schedules and readings as a folder of CSV files, each plain or gzipped.

A folder that cannot be used (a file or column is missing, not gzip, not UTF-8) raises BadRequest. A line that cannot
be used is refused with its reason, and the others go on.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from enum import IntEnum
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

from service.errors import BadRequest
from service.feeds import Opening, ParkRecord, Reading, RideRecord, is_single_rider, plain_text
from service.periods import epoch, known_zone, local_date, pacific_date, wall_clock
from service.rules import Category, ParkType, ScheduleType, Status, plausible_wait

PARKS, RIDES, READINGS = "parks.csv", "rides.csv", "ride_status_snapshots.csv"
SCHEDULES, RIDE_HOURS = "park_schedules.csv", "ride_operating_hours.csv"

COLUMNS: dict[str, tuple[str, ...]] = {
    PARKS: (
        "park_id", "name", "operator", "country", "timezone", "latitude", "longitude", "queue_times_id",
        "themeparks_wiki_id",
    ),
    RIDES: ("ride_id", "park_id", "source_ride_id", "name", "land"),
    READINGS: ("ride_id", "recorded_at_utc", "status", "is_open", "wait_time", "source_updated_at_utc"),
    SCHEDULES: ("park_id", "schedule_date", "type", "opening_at_utc", "closing_at_utc"),
    RIDE_HOURS: ("ride_id", "type", "starts_at_utc", "ends_at_utc"),
}  # fmt: skip
OPTIONAL_COLUMNS = {PARKS: ("city", "state_province", "is_active"), RIDES: ("category", "tier", "is_active")}

OPERATORS = {
    "disney": (ParkType.DISNEY, "Disney"),
    "universal": (ParkType.UNIVERSAL, "Universal"),
    "other": (ParkType.OTHER, None),
}
YEARS = range(2000, 2100)  # a slip of the pen elsewhere would make centuries of empty days
LONGEST_OPENING = timedelta(hours=36).total_seconds()
LONGEST_LINE = 65_536
LONGEST_SHOWN = 60
LARGEST_ID = 2**31 - 1

_NUMBER = re.compile(r"[-+]?[0-9]{1,18}")
_WIKI_ID = re.compile(r"[0-9a-z_-]{1,36}")
_DEGREES = re.compile(r"[-+]?[0-9]{1,3}(\.[0-9]{1,30})?")

R = TypeVar("R")
E = TypeVar("E", bound=IntEnum)


class Refusal(NamedTuple):
    """A line that was left out; `line` counts the header as 1."""

    file: str
    line: int
    reason: str


class BadLine(Exception):
    """Why the line at hand cannot be used."""


class Recording:
    """A folder of files, its catalog and schedules read; ids are the folder's own.

    `openings` are each park's schedule rows by the park's id, `refused` the bad lines so far: it grows as `readings`
    are drawn, and `lines` counts those that were seen. Raises BadRequest.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise BadRequest(f"{folder} is not a folder: name one that holds {PARKS}, {RIDES} and {READINGS}.")
        self.refused: list[Refusal] = []
        self.lines = 0
        self._taken: set[tuple[object, ...]] = set()
        # All headers are looked at before the first line, so that a missing column stops everything.
        tables = {name: Table(path, name, self.refused) for name, path in _present(folder).items()}
        self._readings = tables[READINGS]
        self._parks = {park.source_id: park for park in tables[PARKS].records(self._park)}
        self._rides = {ride.source_id: ride for ride in tables[RIDES].records(self._ride)}
        self.parks, self.rides = list(self._parks.values()), list(self._rides.values())
        if SCHEDULES in tables:
            self.openings = _by_park(tables[SCHEDULES].records(self._opening))
        elif RIDE_HOURS in tables:
            self.openings = self._park_hours(tables[RIDE_HOURS].records(self._ride_hours))
        else:
            self.openings = {}

    @property
    def size(self) -> int:
        """Bytes of the file of readings, as it lies on the disk."""
        return self._readings.path.stat().st_size

    @property
    def position(self) -> int:
        """How many of those bytes are read."""
        return self._readings.position

    def readings(self) -> Iterator[Reading]:
        """The readings in the order of the file, duplicates and implausible waits included."""
        for reading in self._readings.records(self._reading):
            self.lines = self._readings.lines
            yield reading
        self.lines = self._readings.lines

    def _once(self, *keys: tuple[object, ...]) -> None:
        """Take each of `keys` (a table, a column, a value) that has a value; refuse the line if one is taken."""
        given = [key for key in keys if key[-1] is not None]
        for key in given:
            if key in self._taken:
                raise BadLine(f"{key[1]} {shown(str(key[-1]))} is given twice")
        self._taken.update(given)

    def _park(self, fields: tuple[str, ...]) -> ParkRecord:
        (park_id, name, operator, country, timezone, latitude, longitude, queue_times_id, wiki_id,
         city, state, is_active) = fields  # fmt: skip
        if operator not in OPERATORS:
            raise BadLine(f"unknown operator {shown(operator)}: use {', '.join(OPERATORS)}")
        if not re.fullmatch("[A-Z]{2}", country):
            raise BadLine(f"country {shown(country)} is not a code of two capital letters")
        if len(timezone) > 50 or not known_zone(timezone):
            raise BadLine(f"unknown timezone {shown(timezone)}")
        park_type, operator_name = OPERATORS[operator]
        park = ParkRecord(
            id_of(park_id, "park_id"),
            _name(name),
            park_type,
            country,
            timezone,
            operator_name,
            _text(city, "city", 100),
            _text(state, "state_province", 100),
            _degrees(latitude, "latitude", 90),
            _degrees(longitude, "longitude", 180),
            id_of(queue_times_id, "queue_times_id") if queue_times_id else None,
            uuid_of(wiki_id) if wiki_id else None,
            _flag(is_active, "is_active"),
        )
        self._once(
            (PARKS, "park_id", park.source_id),
            (PARKS, "queue_times_id", park.queue_times_id),
            (PARKS, "themeparks_wiki_id", park.themeparks_wiki_id),
        )
        return park

    def _ride(self, fields: tuple[str, ...]) -> RideRecord:
        ride_id, park_id, source_ride_id, name, land, category, tier, is_active = fields
        ride = RideRecord(
            id_of(ride_id, "ride_id"),
            self._known(park_id, "park_id", self._parks),
            _name(name),
            _text(source_ride_id, "source_ride_id", 255),
            _text(land, "land", 100),
            member_of(Category, category, "category") if category else None,
            tier_of(tier) if tier else None,
            _flag(is_active, "is_active"),
        )
        self._once(
            (RIDES, "ride_id", ride.source_id),
            (RIDES, "source_ride_id", ride.park_source_id, ride.source_ride_id),
        )
        return ride

    def _opening(self, fields: tuple[str, ...]) -> tuple[int, Opening]:
        park_text, date_text, type_text, opens, closes = fields
        park_id = self._known(park_text, "park_id", self._parks)
        zone = self._parks[park_id].timezone
        day = _date(date_text, "schedule_date")
        schedule_type = member_of(ScheduleType, type_text, "type")
        if not opens and not closes and schedule_type is not ScheduleType.OPERATING:
            start = end = wall_clock(day, time(0), zone)  # a day without hours: CLOSED, or only a remark
        else:
            start, end = _span(opens, "opening_at_utc", closes, "closing_at_utc")
        if abs(local_date(start, zone) - day) > timedelta(days=1):
            raise BadLine(f"opening_at_utc {shown(opens)} is not on schedule_date {date_text}")
        self._once((SCHEDULES, "the opening", park_id, day, schedule_type, start))
        return park_id, Opening(day, schedule_type, start, end)

    def _ride_hours(self, fields: tuple[str, ...]) -> tuple[int, str, int, int]:
        ride_text, kind, starts, ends = fields
        ride_id = self._known(ride_text, "ride_id", self._rides)
        return ride_id, kind, *_span(starts, "starts_at_utc", ends, "ends_at_utc")

    def _park_hours(self, hours: Iterator[tuple[int, str, int, int]]) -> dict[int, list[Opening]]:
        """A park's opening on a Pacific day: from the earliest start to the latest end of its rides' own hours."""
        spans: dict[tuple[int, date], tuple[int, int]] = {}
        for ride_id, kind, start, end in hours:
            ride = self._rides[ride_id]
            if kind == "Operating" and not is_single_rider(ride.name):
                key = (ride.park_source_id, pacific_date(start))
                earliest, latest = spans.get(key, (start, end))
                spans[key] = (min(start, earliest), max(end, latest))
        return _by_park(
            (park_id, Opening(local_date(start, self._parks[park_id].timezone), ScheduleType.OPERATING, start, end))
            for (park_id, _), (start, end) in spans.items()
        )

    def _reading(self, fields: tuple[str, ...]) -> Reading:
        ride_text, recorded_at, status, is_open, wait_time, _ = fields
        reading = Reading(
            self._known(ride_text, "ride_id", self._rides),
            _instant(recorded_at, "recorded_at_utc"),
            member_of(Status, status, "status") if status else None,
            _flag(is_open, "is_open"),
            _number(wait_time, "wait_time") if wait_time else None,
        )
        if reading.status is None and reading.is_open is None and plausible_wait(reading.wait_time) is None:
            raise BadLine("says nothing: no status, no is_open, no plausible wait_time")
        return reading

    def _known(self, text: str, column: str, records: Mapping[int, object]) -> int:
        """An id of another file."""
        number = id_of(text, column)
        if number not in records:
            raise BadLine(f"unknown {column} {number}")
        return number


class Table:
    """One file. Opened anew for its records, so that nothing stays open in between."""

    def __init__(self, path: Path, name: str, refused: list[Refusal]) -> None:
        self.path = path
        self.refused = refused
        self.lines = 0
        self.position = 0
        header = [column.strip() for column in header_of(self.path)]
        twice = sorted({column for column in header if column and header.count(column) > 1})
        missing = [column for column in COLUMNS[name] if column not in header]
        if missing or twice:
            what = f"lacks the column {missing[0]}" if missing else f"has the column {twice[0]} twice"
            raise BadRequest(f"{self.path.name} {what}: its header needs {', '.join(COLUMNS[name])}.")
        self.width = len(header)
        wanted = [*COLUMNS[name], *OPTIONAL_COLUMNS.get(name, ())]
        # An optional column that is absent is read from the empty field that `records` puts behind the last.
        self.pick = itemgetter(*(header.index(column) if column in header else self.width for column in wanted))

    def records(self, parse: Callable[[tuple[str, ...]], R]) -> Iterator[R]:
        """What `parse` makes of each line's fields (in the order of COLUMNS); lines it cannot use are refused."""
        for number, line in enumerate(self._lines(), 1):
            if number == 1 or line is not None and not line.strip():
                continue
            self.lines += 1
            try:
                fields = _split(line)
                if len(fields) != self.width:
                    raise BadLine(f"{len(fields)} fields, but the header has {self.width}")
                fields.append("")
                record = parse(self.pick(fields))
            except BadLine as problem:
                self.refused.append(Refusal(self.path.name, number, str(problem)))
            except UnicodeDecodeError:
                raise BadRequest(f"{self.path.name} is not UTF-8: see line {number}.") from None
            else:
                yield record

    def _lines(self) -> Iterator[bytes | None]:
        """Each line; None for one that is too long to be meant."""
        try:
            with open(self.path, "rb") as raw:
                stream = _unpacked(raw, self.path)
                while line := stream.readline(LONGEST_LINE):
                    self.position = raw.tell()
                    if len(line) < LONGEST_LINE or line.endswith(b"\n"):
                        yield line
                    else:
                        _skip_line(stream)
                        yield None
        except (OSError, EOFError, zlib.error) as error:
            raise BadRequest(f"{self.path.name} cannot be read: {error}.") from None


def _present(folder: Path) -> dict[str, Path]:
    """The files that are there, by their plain names; the plain one where both are. Raises BadRequest."""
    found = {}
    for name in COLUMNS:
        paths = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if paths:
            found[name] = paths[0]
        elif name in (PARKS, RIDES, READINGS):
            raise BadRequest(f"{folder} has no {name} (nor {name}.gz).")
    return found


def header_of(path: Path) -> list[str]:
    """The fields of a file's first line. Raises BadRequest."""
    try:
        with open(path, "rb") as raw:
            line = _unpacked(raw, path).readline(LONGEST_LINE)
        return _split(line.decode("utf-8-sig").encode())
    except UnicodeDecodeError:
        raise BadRequest(f"{path.name} is not UTF-8: see line 1.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise BadRequest(f"{path.name} cannot be read: {error}.") from None
    except BadLine as problem:
        raise BadRequest(f"{path.name} has no usable header: {problem}.") from None


def _unpacked(raw: io.BufferedReader, path: Path) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw))) if path.suffix == ".gz" else raw


def _skip_line(stream: io.BufferedReader) -> None:
    while (rest := stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
        pass


def _split(line: bytes | None) -> list[str]:
    """The fields of one line. A quote that is not closed spoils its own line, never those below."""
    if line is None:
        raise BadLine(f"longer than {LONGEST_LINE:,} bytes")
    text = line.decode().rstrip("\r\n")
    if "\0" in text:
        raise BadLine("contains a NUL character")
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise BadLine(f"quotes do not match: {error}") from None


def _by_park(openings: Iterator[tuple[int, Opening]]) -> dict[int, list[Opening]]:
    grouped: dict[int, list[Opening]] = defaultdict(list)
    for park_id, opening in openings:
        grouped[park_id].append(opening)
    return dict(grouped)


# --- one field -------------------------------------------------------------------------------------------------------


def shown(text: str) -> str:
    """A field in a message, on one short line."""
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}...")


def _number(text: str, column: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise BadLine(f"{column} {shown(text)} is not a whole number")
    return int(text)


def id_of(text: str, column: str) -> int:
    """An id of a table. Raises BadLine, as all of these do."""
    number = _number(text, column)
    if not 0 < number <= LARGEST_ID:
        raise BadLine(f"{column} {number} is not between 1 and {LARGEST_ID}")
    return number


def tier_of(text: str) -> int:
    """A ride's tier, 1-3."""
    if text not in ("1", "2", "3"):
        raise BadLine(f"unknown tier {shown(text)}: use 1, 2 or 3")
    return int(text)


def uuid_of(text: str) -> str:
    """An id of ThemeParks.wiki, in small letters."""
    # Databases differ in which letters they take for the same; these are told apart, or not, by all alike.
    if not _WIKI_ID.fullmatch(text.lower()):
        raise BadLine(f"themeparks_wiki_id {shown(text)} is not a UUID")
    return text.lower()


def _flag(text: str, column: str) -> bool | None:
    if text not in ("0", "1", ""):
        raise BadLine(f"{column} {shown(text)} is not 0 or 1")
    return text == "1" if text else None


def member_of(enum: type[E], text: str, column: str) -> E:
    """The member of that very name."""
    member = enum.__members__.get(text)
    if member is None:
        raise BadLine(f"unknown {column} {shown(text)}: use {', '.join(enum.__members__)}")
    return member


def _text(text: str, column: str, longest: int) -> str | None:
    text = plain_text(text)
    if len(text) > longest:
        raise BadLine(f"{column} has {len(text)} characters, at most {longest} fit")
    return text or None


def _name(text: str) -> str:
    name = _text(text, "name", 255)
    if name is None:
        raise BadLine("has no name")
    return name


def _degrees(text: str, column: str, limit: int) -> float | None:
    if not text:
        return None
    if not _DEGREES.fullmatch(text) or abs(float(text)) > limit:
        raise BadLine(f"{column} {shown(text)} is not a number from -{limit} to {limit}")
    return float(text)


def _date(text: str, column: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise BadLine(f"{column} {shown(text)} is not a date such as 2025-05-18") from None
    return _plausible(day, text, column)


def _instant(text: str, column: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadLine(f"{column} {shown(text)} is not an ISO 8601 time such as 2025-05-18T15:00:00Z") from None
    if moment.tzinfo is None:
        raise BadLine(f"{column} {shown(text)} has no offset: write 2025-05-18T15:00:00Z for UTC")
    return epoch(_plausible(moment, text, column))


D = TypeVar("D", date, datetime)


def _plausible(day: D, text: str, column: str) -> D:
    if day.year not in YEARS:
        raise BadLine(f"{column} {shown(text)} is not between {YEARS[0]} and {YEARS[-1]}")
    return day


def _span(opens: str, opens_column: str, closes: str, closes_column: str) -> tuple[int, int]:
    start, end = _instant(opens, opens_column), _instant(closes, closes_column)
    if not start < end <= start + LONGEST_OPENING:
        raise BadLine(f"{closes_column} {shown(closes)} is not within 36 hours after {opens_column}")
    return start, end
