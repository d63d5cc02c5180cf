"""The parks, rides and schedules that a tape was recorded with, so that it can be played into an empty database.

Whenever they have changed they lie in another folder below the tape's, named by the hash of what it holds, as a
recording without readings, which `cli import` reads too. Two files have columns beyond those of docs/csv.md, for what
only this module restores: the ids of rides at the sources, and who operates a park.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from peewee import Field

from service.database import batches, reading, upsert
from service.errors import BadRequest
from service.feeds import ParkRecord, RideRecord
from service.feeds.csv_files import (
    COLUMNS,
    OPERATORS,
    OPTIONAL_COLUMNS,
    PARKS,
    READINGS,
    RIDES,
    SCHEDULES,
    Recording,
    Refusal,
)
from service.feeds.tape import CATALOG, Cycle
from service.jobs.catalog import DEFAULTS, JUDGED, PARK_FIELDS, RIDE_FIELDS, UNIQUE
from service.jobs.joblog import logged
from service.jobs.marks import atomically, mark_raw_days_dirty, move_revisions, set_state
from service.jobs.patience import patiently
from service.jobs.store import SCHEDULE_FIELDS
from service.models import Park, ParkSchedule, Ride
from service.periods import instant, iso_utc
from service.queries import state

PLAYED: Final = "catalog_of_tape"  # in service_state: the hash of the parks, rides and hours that a tape has brought

REACH: Final = timedelta(days=8)  # of schedules around now, by UTC: openness looks at local dates within seven days
NAME_DIGITS, MARK_DIGITS = 16, 15  # hexadecimal; a mark is a signed BIGINT
OPERATOR: Final = "operator_name"
QUEUE_TIMES, WIKI = UNIQUE
PARK_HEADER: Final = (*COLUMNS[PARKS], *OPTIONAL_COLUMNS[PARKS], OPERATOR)
RIDE_HEADER: Final = (*COLUMNS[RIDES], *OPTIONAL_COLUMNS[RIDES], QUEUE_TIMES, WIKI)

_OPERATOR_OF = {park_type: word for word, (park_type, _) in OPERATORS.items()}
_PARK_COLUMNS: tuple[Field[Any], ...] = (Park.park_id, *PARK_FIELDS)
_RIDE_COLUMNS: tuple[Field[Any], ...] = (Ride.ride_id, Ride.park, *RIDE_FIELDS)

Line = Iterable[object]  # the fields of a line; None is an empty one
Row = tuple[Any, ...]


class Restored(NamedTuple):
    """How many parks, rides and rows of schedules were added, changed or removed, and the lines that could not be
    used. `is_first`: there were no parks before."""

    parks: int
    rides: int
    schedule_rows: int
    refused: list[Refusal]
    is_first: bool


# --- writing ---------------------------------------------------------------------------------------------------------


def write_catalog(folder: Path, now: datetime) -> str | None:
    """Store all parks and rides, and the schedules from 8 days before to 8 days after now, in the tape in `folder`.

    Returns the name of this catalog, None if there are no parks. What is there already is not written again. Killed at
    any moment it has left all or nothing. Raises BadRequest where the folder cannot be written.
    """
    today = _date_of(now)
    files = patiently(partial(_files, today - REACH, today + REACH))
    if files is None:
        return None
    name = _hash(files)[:NAME_DIGITS]
    target = folder / CATALOG / name
    try:
        if not target.exists():
            _write(folder, target, files)
    except OSError as error:
        raise BadRequest(f"{target} cannot be written ({error.strerror or error}): name another folder.") from None
    return name


def _date_of(now: datetime) -> date:
    return now.astimezone(UTC).date()


def _files(first: date, last: date) -> dict[str, str] | None:
    """The files of the catalog as it is, with the schedules from `first` to `last`; None without parks."""
    with reading():  # one instant of the database
        parks = list(Park.select().order_by(Park.park_id))
        return {
            PARKS: _table(PARK_HEADER, map(_park_line, parks)),
            RIDES: _table(RIDE_HEADER, map(_ride_line, Ride.select().order_by(Ride.ride_id))),
            SCHEDULES: _table(COLUMNS[SCHEDULES], _schedule_lines(first, last)),
            READINGS: _table(COLUMNS[READINGS], ()),
        } if parks else None  # fmt: skip


def _hash(files: Mapping[str, str]) -> str:
    return sha256("\0".join(part for file in files.items() for part in file).encode()).hexdigest()


def _write(folder: Path, target: Path, files: Mapping[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(f".{CATALOG}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{CATALOG}-", dir=folder))
    made.chmod(0o755)  # as a folder that is no temporary one
    for name, text in files.items():
        (made / name).write_text(text, encoding="utf-8", newline="")
    made.rename(target)


def _table(header: Line, lines: Iterable[Line]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_text(field) for field in line] for line in lines)
    return file.getvalue()


def _text(field: object) -> str:
    if isinstance(field, bool):
        return "01"[field]
    if isinstance(field, float):
        return format(Decimal(repr(field)), "f")  # every digit, and no exponent
    return "" if field is None else str(field).replace("\n", " ")  # no field of the format holds a line break


def _park_line(park: Park) -> Line:
    return (
        park.park_id, park.name, _OPERATOR_OF[park.park_type], park.country, park.timezone, park.latitude,
        park.longitude, park.queue_times_id, park.themeparks_wiki_id, park.city, park.state_province, park.is_active,
        park.operator,
    )  # fmt: skip


def _ride_line(ride: Ride) -> Line:
    return (
        ride.ride_id, ride.park_id, ride.source_ride_id, ride.name, ride.land_area, ride.category.name, ride.tier,
        ride.is_active, ride.queue_times_id, ride.themeparks_wiki_id,
    )  # fmt: skip


def _schedule_lines(first: date, last: date) -> Iterator[Line]:
    table = ParkSchedule
    rows = table.select().where(table.schedule_date.between(first, last))
    for row in rows.order_by(table.park, table.schedule_date, table.schedule_type, table.opening_at):
        has_hours = row.opening_at < row.closing_at
        hours = (iso_utc(row.opening_at), iso_utc(row.closing_at)) if has_hours else ("", "")
        yield row.park_id, row.schedule_date, row.schedule_type.name, *hours


# --- restoring -------------------------------------------------------------------------------------------------------


class PlayedCatalog:
    """Brings the catalogs of the tape in `folder` into a database without parks, as its cycles name them.

    A database with parks is left as it is, unless they, their rides and their hours are as this tape has left them:
    what it has brought is marked in service_state, by its hash and by the tape's first cycle. So a replay that was
    interrupted goes on as it began, and what anybody else has changed since stays.
    """

    def __init__(self, folder: Path, first: Cycle) -> None:
        self._below = folder / CATALOG
        self._interval_minutes = first.interval_minutes
        self._tape = f"{first.at.astimezone(UTC).isoformat()} {first.catalog}"
        self._source: Path | None = None  # what was brought last
        self._follows = patiently(self._is_ours)

    def follow(self, cycle: Cycle) -> Restored | None:
        """Before `cycle` is played: bring parks and rides, under the ids they had, and the schedules from 8 days
        before on to what they were in it. None where there is nothing to do.

        A park or ride that is not in the catalog stays without its ids at the sources, so that it is not asked about.
        All of it is one transaction. Raises BadRequest for a catalog that cannot be read, Unavailable for a database
        of another interval.
        """
        source = self._named_by(cycle)
        if not self._follows or source is None or source == self._source:
            return None
        state.ensure_interval(self._interval_minutes)
        restoring = _Restoring(source, cycle.at)
        with logged("import", cycle.at) as run:
            restored = patiently(partial(atomically, partial(self._store, restoring)))
            run.rows_processed = restored.parks + restored.rides + restored.schedule_rows
            run.warnings = len(restored.refused)
        self._source = source
        return restored

    def _named_by(self, cycle: Cycle) -> Path | None:
        if cycle.catalog is not None:
            return self._below / cycle.catalog
        return self._below if (self._below / PARKS).is_file() else None  # tapes used to have one, and no cycle named it

    def _store(self, restoring: _Restoring) -> Restored:
        restored = restoring.store()
        set_state(PLAYED, self._mark())
        return restored

    def _is_ours(self) -> bool:
        marked = state.get_state(PLAYED)
        return not Park.select().exists() or marked is not None and marked == self._mark()

    def _mark(self) -> int:
        files = _files(date.min, date.max) or {}
        return int(_hash({**files, "tape": self._tape})[:MARK_DIGITS], 16)


class _Restoring:
    """A catalog on its way from its files into the database."""

    def __init__(self, source: Path, now: datetime) -> None:
        if not source.is_dir():
            raise BadRequest(f"{source} is missing: the recording names it, so copy all of its folder.")
        self.recording, self.now = Recording(source), now
        operators, ids = _columns(source / PARKS), _columns(source / RIDES)
        try:
            parks = [_with_operator(park, operators[park.source_id]) for park in self.recording.parks]
            rides = [_with_ids(ride, ids[ride.source_id]) for ride in self.recording.rides]
            _ensure_once(rides)
        except (KeyError, ValueError) as error:
            raise BadRequest(f"{source} is no catalog that was recorded: {error} is not understood.") from None
        self.parks = {park.source_id: _values(PARK_FIELDS, park) for park in parks}
        self.rides = {ride.source_id: (ride.park_source_id, *_values(RIDE_FIELDS, ride)) for ride in rides}

    def store(self) -> Restored:
        is_first = not Park.select().exists()
        parks = _Difference(_PARK_COLUMNS, self.parks)
        parks.store(self.now)
        rides = _Difference(_RIDE_COLUMNS, self.rides)
        rides.store(self.now)
        schedule_rows = self._store_schedules()
        if parks.rows or rides.rows or schedule_rows:
            move_revisions(current=True, history=True)
        if parks.is_judged or rides.is_judged or schedule_rows:
            mark_raw_days_dirty()
        return Restored(parks.rows, rides.rows, schedule_rows, self.recording.refused, is_first)

    def _store_schedules(self) -> int:
        """Make the rows of the catalog's dates, and of all later ones, those of the catalog."""
        table: Any = ParkSchedule
        wanted = {
            (park_id, row.schedule_date, row.schedule_type, instant(row.opening_at)): instant(row.closing_at)
            for park_id, openings in self.recording.openings.items()
            for row in openings
        }
        first = min([_date_of(self.now) - REACH, *(key[1] for key in wanted)])
        query = table.select(*SCHEDULE_FIELDS[:5]).where(table.schedule_date >= first)
        stored = {row[:4]: row[4] for row in query.tuples()}
        removed = stored.keys() - wanted.keys()
        for park_id, day, kind, opening in removed:
            table.delete().where(
                table.park == park_id,
                table.schedule_date == day,
                table.schedule_type == kind,
                table.opening_at == opening,
            ).execute()
        written = [(*key, closing, self.now) for key, closing in wanted.items() if stored.get(key) != closing]
        return len(removed) + upsert(table, SCHEDULE_FIELDS, written, key=SCHEDULE_FIELDS[:4])


class _Difference:
    """What of a table of parks or rides is not as it is wanted, by id; `columns` begin with the id."""

    def __init__(self, columns: tuple[Field[Any], ...], wanted: Mapping[int, Row]) -> None:
        self.model: Any = columns[0].model
        self.columns = columns
        query = self.model.select(*columns, self.model.created_at).tuples()
        self.created = {row[0]: row[-1] for row in query}
        self.stored: dict[int, Row] = {row[0]: row[1:-1] for row in query}
        self.changed = {one: row for one, row in wanted.items() if self.stored.get(one) != row}
        known = [column.name in UNIQUE for column in columns[1:]]
        self.freed = [
            one
            for one, row in self.stored.items()
            if (one not in wanted or one in self.changed) and any(map(_is_id, known, row))
        ]
        self.rows = len(self.changed.keys() | set(self.freed))
        self.is_judged = any(
            column.name in JUDGED and before != after
            for one in self.changed.keys() & self.stored.keys()
            for column, before, after in zip(columns[1:], self.stored[one], self.changed[one], strict=True)
        )

    def store(self, now: datetime) -> None:
        """Write it. An id of a source can go from a row to another: in between nobody has it."""
        model = self.model
        for batch in batches(self.freed, 500):
            nobody = {model.queue_times_id: None, model.themeparks_wiki_id: None, model.updated_at: now}
            model.update(nobody).where(self.columns[0] << batch).execute()
        rows = [(one, *row, self.created.get(one, now), now) for one, row in self.changed.items()]
        upsert(model, (*self.columns, model.created_at, model.updated_at), rows, key=self.columns[:1])


def _is_id(is_unique: bool, value: object) -> bool:
    return is_unique and value is not None


def _values(fields: Iterable[Field[Any]], record: ParkRecord | RideRecord) -> Row:
    told = ((field.name, getattr(record, field.name)) for field in fields)
    return tuple(DEFAULTS.get(name) if value is None else value for name, value in told)


def _ensure_once(rides: Iterable[RideRecord]) -> None:
    for name in UNIQUE:
        ids = [one for ride in rides if (one := getattr(ride, name)) is not None]
        if len(set(ids)) < len(ids):
            raise ValueError(f"{name}, given twice,")


def _columns(path: Path) -> dict[int, dict[str, str]]:
    """The lines of a file by the id in their first column."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            return {int(line[(lines.fieldnames or [""])[0]]): line for line in lines}
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise BadRequest(f"{path} cannot be read: {error}.") from None


def _with_operator(park: ParkRecord, line: dict[str, str]) -> ParkRecord:
    return park._replace(operator=line[OPERATOR] or None)


def _with_ids(ride: RideRecord, line: dict[str, str]) -> RideRecord:
    queue_times = int(line[QUEUE_TIMES]) if line[QUEUE_TIMES] else None
    return ride._replace(queue_times_id=queue_times, themeparks_wiki_id=line[WIKI] or None)
