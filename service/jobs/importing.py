"""Imports a recording. The files are read to their end before anything is written, so that a folder that cannot be
read leaves the database as it was. Then each park's Pacific day is a transaction of its own: stopped at any moment,
whole days are in, and importing again brings the rest."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from os import SEEK_END
from pathlib import Path
from struct import Struct
from typing import IO

from service import clock
from service.feeds import Reading, is_single_rider
from service.feeds.csv_files import Recording, Refusal
from service.jobs.joblog import Run, logged
from service.jobs.catalog import Catalog, store_catalog
from service.jobs.readings import DroppedWaits, Latest, latest_per_slot, report_dropped_waits, source_of
from service.jobs.store import Stored, store_readings, store_schedules
from service.periods import instant, pacific_date
from service.queries import state
from service.rules import Source, Status, plausible_wait

HELD_READINGS = 2_000_000  # in memory, 16 bytes each; more wait in a temporary file
PROGRESS_STEP = 5_000  # readings between two signs of progress

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much
Group = tuple[date, int]  # a Pacific day, and a park by its id in the recording


@dataclass
class ImportReport:
    """What an import read and wrote.

    Of the lines of readings that were `read`, each is refused, of a single-rider queue, superseded by a later one of
    its ride and slot, or one of `readings`; those are stored, replaced, unchanged, or expired (past retention).
    `refused` names lines of all files. `first_slot` and `last_slot` are what the readings span.
    """

    read: int = 0
    readings: int = 0
    stored: int = 0
    replaced: int = 0
    unchanged: int = 0
    expired: int = 0
    superseded: int = 0
    refused: list[Refusal] = field(default_factory=list)
    dropped_waits: int = 0
    single_rider: list[str] = field(default_factory=list)
    single_rider_readings: int = 0
    parks: int = 0
    rides: int = 0
    schedule_rows: int = 0
    first_slot: datetime | None = None
    last_slot: datetime | None = None


def import_folder(
    folder: Path,
    *,
    interval_minutes: int,
    now: datetime,
    progress: Progress = lambda what, done, total: None,
    dry_run: bool = False,
) -> ImportReport:
    """Import a recording; of several readings of a ride in one slot the latest recorded wins.

    With `dry_run` the files are read and judged, and the database is not touched. Raises BadRequest for a folder that
    cannot be read, Unavailable for a database of another interval: both before anything is written.
    """
    if not dry_run:
        state.ensure_interval(interval_minutes)
    recording = Recording(folder)
    with tempfile.TemporaryFile() as overflow:
        importer = _Import(recording, _Pile(overflow), interval_minutes, now, progress)
        importer.read()
        if dry_run:
            for group in importer.pile.groups():
                importer.latest(group)
        else:
            importer.store()
    return importer.report


class _Import:
    """One import under way."""

    def __init__(
        self, recording: Recording, pile: _Pile, interval_minutes: int, now: datetime, progress: Progress
    ) -> None:
        self.recording = recording
        self.pile = pile
        self.interval_minutes = interval_minutes
        self.now = now
        self.progress = progress
        self.rides = [ride for ride in recording.rides if not is_single_rider(ride.name)]
        self.dropped: dict[int, DroppedWaits] = {}
        self.sources: dict[int, Source] = {}
        self.report = ImportReport(
            refused=recording.refused,
            single_rider=sorted(ride.name for ride in recording.rides if is_single_rider(ride.name)),
            parks=len(recording.parks),
            rides=len(self.rides),
        )

    def read(self) -> None:
        """Draw all readings and pile them up by park and Pacific day."""
        report, interval = self.report, self.interval_minutes * 60
        park_of = {ride.source_id: ride.park_source_id for ride in self.rides}
        first, last = None, None
        for number, reading in enumerate(self.recording.readings()):
            if number % PROGRESS_STEP == 0:
                self.progress("Reading bytes", self.recording.position, self.recording.size)
            park_id = park_of.get(reading.ride_id)
            if park_id is None:
                report.single_rider_readings += 1
                continue
            slot = reading.recorded_at - reading.recorded_at % interval
            first = slot if first is None else min(first, slot)
            last = slot if last is None else max(last, slot)
            if reading.wait_time is not None and plausible_wait(reading.wait_time) is None:
                reading = self._without_wait(reading, park_id)
            self.pile.add((_day_of_hour(slot // 3600), park_id), reading)
        self.progress("Reading bytes", self.recording.size, self.recording.size)
        report.read = self.recording.lines
        if first is not None and last is not None:
            report.first_slot, report.last_slot = instant(first), instant(last)

    def _without_wait(self, reading: Reading, park_id: int) -> Reading:
        at = reading.recorded_at
        before = self.dropped.get(park_id, DroppedWaits(0, reading.wait_time or 0, at, at))
        self.dropped[park_id] = before.plus(at)
        self.report.dropped_waits += 1
        return reading._replace(wait_time=None)

    def store(self) -> None:
        """Write everything, and log it as a job."""
        report = self.report
        start, end = (pacific_date(at) if at else None for at in (report.first_slot, report.last_slot))
        with logged("import", self.now, start=start, end=end) as run:
            run.warnings = len(report.refused) + report.dropped_waits
            catalog = store_catalog(self.recording.parks, self.rides, self.now)
            for park_id, openings in self.recording.openings.items():
                # The clock of the moment, here and below: an import can take so long that days get final meanwhile.
                report.schedule_rows += store_schedules(catalog.park_ids[park_id], openings, clock.now())
            self._store_readings(catalog, run)
            for park_id, waits in self.dropped.items():
                report_dropped_waits(catalog.park_ids[park_id], self.sources[park_id], waits, self.now)

    def _store_readings(self, catalog: Catalog, run: Run) -> None:
        report, total, done = self.report, len(self.pile), 0
        for group in self.pile.groups():
            self.progress("Storing readings", done, total)
            done += self.pile.size(group)
            counts = self._store_group(catalog, group[1], self.latest(group))
            report.stored += counts.stored
            report.replaced += counts.replaced
            report.unchanged += counts.unchanged
            report.expired += counts.expired
            run.rows_processed = report.stored + report.replaced
        self.progress("Storing readings", total, total)

    def _store_group(self, catalog: Catalog, park_id: int, latest: Latest) -> Stored:
        source = source_of(latest.values())
        self.sources[park_id] = min(source, self.sources.get(park_id, source))
        ours = catalog.ride_ids
        return store_readings(
            catalog.park_ids[park_id],
            ((slot, ours[ride], it.status, it.is_open, it.wait_time) for (slot, ride), it in latest.items()),
            source=source,
            interval_minutes=self.interval_minutes,
            now=clock.now(),
        )

    def latest(self, group: Group) -> Latest:
        """The readings of a park and day: of several in one slot the latest recorded, and of those the last read."""
        found = latest_per_slot(self.pile.readings(group), self.interval_minutes * 60)
        self.report.readings += len(found)
        self.report.superseded += self.pile.size(group) - len(found)
        return found


@lru_cache(maxsize=65_536)
def _day_of_hour(hour: int) -> date:
    """The Pacific date of an hour since the epoch; Pacific midnight is always on one."""
    return pacific_date(hour * 3600)


_PACKED = Struct("<iqbbh")  # ride_id, recorded_at, status, is_open, wait_time
_STATUSES = {0: None, **{status.value: status for status in Status}}
_FLAGS = {-1: None, 0: False, 1: True}


class _Pile:
    """Readings by park and Pacific day, each pile in the order they came. Holds HELD_READINGS at most in memory."""

    def __init__(self, overflow: IO[bytes]) -> None:
        self._overflow = overflow
        self._held: dict[Group, bytearray] = defaultdict(bytearray)
        self._parked: dict[Group, list[tuple[int, int]]] = defaultdict(list)  # offsets and lengths in `_overflow`
        self._sizes: dict[Group, int] = defaultdict(int)
        self._in_memory = 0

    def __len__(self) -> int:
        return sum(self._sizes.values())

    def add(self, group: Group, reading: Reading) -> None:
        """Put a reading with a plausible wait on its pile."""
        ride_id, recorded_at, status, is_open, wait = reading
        self._held[group] += _PACKED.pack(
            ride_id, recorded_at, status or 0, -1 if is_open is None else is_open, -1 if wait is None else wait
        )
        self._sizes[group] += 1
        self._in_memory += 1
        if self._in_memory >= HELD_READINGS:
            self._park()

    def groups(self) -> list[Group]:
        """The parks and days, oldest day first."""
        return sorted(self._sizes)

    def size(self, group: Group) -> int:
        """How many readings a park and day has."""
        return self._sizes[group]

    def readings(self, group: Group) -> Iterator[Reading]:
        """The readings of a park and day, in the order they came."""
        for packed in (*self._back(group), bytes(self._held[group])):
            for ride_id, recorded_at, status, is_open, wait in _PACKED.iter_unpack(packed):
                yield Reading(
                    ride_id, recorded_at, _STATUSES[status], _FLAGS[is_open], None if wait < 0 else wait
                )

    def _park(self) -> None:
        for group, packed in self._held.items():
            self._parked[group].append((self._overflow.seek(0, SEEK_END), len(packed)))
            self._overflow.write(packed)
        self._held.clear()
        self._in_memory = 0

    def _back(self, group: Group) -> Iterator[bytes]:
        for offset, length in self._parked[group]:
            self._overflow.seek(offset)
            yield self._overflow.read(length)
