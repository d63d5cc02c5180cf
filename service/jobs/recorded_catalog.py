"""The parks, rides and schedules that a tape was recorded with, so that it can be played into an empty database.

They lie in the tape's folder as a recording without readings, which `cli import` reads too. Two files have columns
beyond those of docs/csv.md, for what only this module restores: the ids of rides at the sources, and who operates a
park.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from service.database import db
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
from service.feeds.tape import CATALOG
from service.jobs.catalog import store_catalog
from service.jobs.joblog import logged
from service.jobs.marks import atomically
from service.jobs.store import store_schedules
from service.models import Park, ParkSchedule, Ride
from service.periods import iso_utc, local_date
from service.queries import state

REACH: Final = timedelta(days=8)  # of schedules around now: openness looks at the dates within seven days
OPERATOR: Final = "operator_name"
QUEUE_TIMES, WIKI = "queue_times_id", "themeparks_wiki_id"
PARK_HEADER: Final = (*COLUMNS[PARKS], *OPTIONAL_COLUMNS[PARKS], OPERATOR)
RIDE_HEADER: Final = (*COLUMNS[RIDES], *OPTIONAL_COLUMNS[RIDES], QUEUE_TIMES, WIKI)

_OPERATOR_OF = {park_type: word for word, (park_type, _) in OPERATORS.items()}

Line = Iterable[object]  # the fields of a line; None is an empty one


class Restored(NamedTuple):
    """What `restore_catalog` stored, and the lines that it could not use."""

    parks: int
    rides: int
    schedule_rows: int
    refused: list[Refusal]


# --- writing ---------------------------------------------------------------------------------------------------------


def write_catalog(folder: Path, now: datetime) -> bool:
    """Store all parks and rides, and the schedules from 8 days before to 8 days after now, in the tape in `folder`.

    Whether it was written: not if the tape has a catalog already, nor if there are no parks. Killed at any moment it
    has left all or nothing. Raises BadRequest where the folder cannot be written.
    """
    target = folder / CATALOG
    try:
        if target.exists():
            return False
        with db.atomic():  # one instant of the database
            parks = list(Park.select().order_by(Park.park_id))
            return bool(parks) and _write(folder, target, parks, now)
    except OSError as error:
        raise BadRequest(f"{target} cannot be written ({error.strerror or error}): name another folder.") from None


def _write(folder: Path, target: Path, parks: list[Park], now: datetime) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(f".{CATALOG}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{CATALOG}-", dir=folder))
    made.chmod(0o755)  # as a folder that is no temporary one
    _write_table(made / PARKS, PARK_HEADER, map(_park_line, parks))
    _write_table(made / RIDES, RIDE_HEADER, map(_ride_line, Ride.select().order_by(Ride.ride_id)))
    _write_table(made / SCHEDULES, COLUMNS[SCHEDULES], _schedule_lines(parks, now))
    _write_table(made / READINGS, COLUMNS[READINGS], ())
    made.rename(target)
    return True


def _write_table(path: Path, header: Line, lines: Iterable[Line]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_text(field) for field in line] for line in lines)


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


def _schedule_lines(parks: list[Park], now: datetime) -> Iterator[Line]:
    table = ParkSchedule
    for park in parks:
        today = local_date(now, park.timezone)
        rows = table.select().where(
            table.park == park.park_id, table.schedule_date.between(today - REACH, today + REACH)
        )
        for row in rows.order_by(table.schedule_date, table.schedule_type, table.opening_at):
            has_hours = row.opening_at < row.closing_at
            hours = (iso_utc(row.opening_at), iso_utc(row.closing_at)) if has_hours else ("", "")
            yield park.park_id, row.schedule_date, row.schedule_type.name, *hours


# --- restoring -------------------------------------------------------------------------------------------------------


def restore_catalog(folder: Path, interval_minutes: int, now: datetime) -> Restored | None:
    """Store the catalog of the tape in `folder`, under the ids it had, in a database that has no parks.

    None, and nothing done, if there are parks, or the tape has no catalog. All of it is one transaction. Raises
    BadRequest for a catalog that cannot be read, Unavailable for a database of another interval.
    """
    source = folder / CATALOG
    if not source.is_dir() or Park.select().exists():
        return None
    state.ensure_interval(interval_minutes)
    restoring = _Restoring(Recording(source), now)
    restoring.add_columns(source)
    with logged("import", now) as run:
        restored = atomically(restoring.store)
        run.rows_processed = restored.parks + restored.rides + restored.schedule_rows
        run.warnings = len(restored.refused)
    return restored


@dataclass
class _Restoring:
    """A catalog on its way from its files into the database."""

    recording: Recording
    now: datetime

    def add_columns(self, source: Path) -> None:
        """Add what only these files say."""
        operators, ids = _columns(source / PARKS), _columns(source / RIDES)
        try:
            self.parks = [_with_operator(park, operators[park.source_id]) for park in self.recording.parks]
            self.rides = [_with_ids(ride, ids[ride.source_id]) for ride in self.recording.rides]
        except (KeyError, ValueError) as error:
            raise BadRequest(f"{source} is no catalog that was recorded: {error} is not understood.") from None

    def store(self) -> Restored:
        recording = self.recording
        catalog = store_catalog(self.parks, self.rides, self.now)
        rows = sum(
            store_schedules(catalog.park_ids[park_id], openings, self.now)
            for park_id, openings in recording.openings.items()
        )
        return Restored(catalog.parks_added, catalog.rides_added, rows, recording.refused)


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
