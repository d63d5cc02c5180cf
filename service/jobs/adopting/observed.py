"""Adopts readings, by Pacific day and park."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import NamedTuple

from service import clock
from service.errors import BadRequest
from service.feeds import Reading
from service.jobs.adopting.position import LATE_SECONDS
from service.jobs.adopting.predecessor import RawReading, RideSpan, Window, naive, seconds
from service.jobs.adopting.report import Remainder
from service.jobs.adopting.task import Task
from service.jobs.readings import DroppedWaits, Latest, latest_per_slot, report_dropped_waits, source_of
from service.jobs.store import store_readings
from service.periods import epoch, instant, pacific_date, pacific_day
from service.queries import state
from service.rules import MAX_WAIT_MINUTES, Status, plausible_wait

WAITS = f"Waits outside 0-{MAX_WAIT_MINUTES} minutes; their readings are kept without them"
STATUSES = "Words of status that are not known; their readings count as without one"
SILENT = "Readings that say nothing: no status, no open flag, no plausible wait"
EXPIRED = "Readings of days that retention has given up"
STRANGERS = "Readings of rides that are in no table, or were left behind"
QUEUES = "Readings of single-rider queues"
TIMELESS = "Readings recorded before 2000 or after 2037"


class Span(NamedTuple):
    """The readings of one run: when they were recorded, and the rides that are adopted and have any."""

    window: Window
    rides: list[RideSpan]

    @property
    def days(self) -> tuple[date, date] | None:
        """The first and the last Pacific day; None without readings."""
        if not self.rides:
            return None
        first, last = min(ride.first for ride in self.rides), max(ride.last for ride in self.rides)
        return pacific_date(first), pacific_date(last)


def readings_to_adopt(task: Task, window: Window) -> Span:
    """What is left of the predecessor's `window`, from the day on at which the last run ended."""
    resumes_on = task.position.resumes_on
    start = naive(pacific_day(resumes_on).start) if resumes_on else window.first
    window = window._replace(first=max(start, window.first))
    adopted = {ride.source_id for ride in task.facts.rides}
    found: list[RideSpan] = []
    for span in task.old.ride_spans(window):
        if span.ride_id in adopted:
            found.append(span)
        elif span.ride_id in task.facts.single_rider:
            task.left.note(QUEUES, task.facts.single_rider[span.ride_id], span.readings)
        else:
            task.left.note(STRANGERS, f"ride {span.ride_id}", span.readings)
    if outside := task.old.readings_outside():
        task.left.note(TIMELESS, "", outside)
    return Span(window, found)


def ensure_interval_fits(task: Task, span: Span) -> None:
    """Raise BadRequest for readings that are much further apart than the interval, which nothing can change later."""
    if not span.rides or state.get_state(state.INTERVAL) is not None:
        return
    found = task.old.minutes_apart(max(span.rides, key=lambda ride: ride.readings).ride_id)
    if found and found <= task.interval_minutes / 2:
        raise BadRequest(
            f"The predecessor's readings are {found} minutes apart, but SNAPSHOT_INTERVAL_MINUTES is"
            f" {task.interval_minutes}: of each slot only the last would be kept."
            f" Set SNAPSHOT_INTERVAL_MINUTES={found}, or use --force to adopt them so."
        )
    if found and found >= 2 * task.interval_minutes:
        raise BadRequest(
            f"The predecessor's readings are {found} minutes apart, but SNAPSHOT_INTERVAL_MINUTES is"
            f" {task.interval_minutes}: the slots between would count as unknown, and downtime as half or less."
            f" Set SNAPSHOT_INTERVAL_MINUTES={found}, or use --force to adopt them as they are."
        )


def adopt_readings(task: Task, span: Span) -> None:
    """Store the readings of `span`, oldest day first, and remember each day that is done."""
    total = sum(ride.readings for ride in span.rides)
    task.progress("Adopting readings", 0, total)
    for day in _days(task, span):
        for park_id, ride_ids in _rides_on(task, day, span).items():
            _adopt_park_day(task, park_id, ride_ids, day, span.window)
            task.progress("Adopting readings", task.report.read, total)
        # What was recorded after now, by a clock that is wrong, will be looked at again.
        newest = min(seconds(span.window.last) or 0, epoch(task.now))
        task.position.reach(min(pacific_day(day).end - 1, newest - LATE_SECONDS))
        if task.write:
            task.position.save()
    task.progress("Adopting readings", total, total)


def _days(task: Task, span: Span) -> Iterator[date]:
    """The Pacific days with readings, oldest first; a stray one of long ago makes no chain of empty days."""
    if span.days is None:
        return
    day, last = span.days
    while day <= last:
        before = task.report.read
        yield day
        day += timedelta(days=1)
        if task.report.read == before:
            later = task.old.next_reading(pacific_day(day).start, span.window)
            if later is None:
                return
            day = pacific_date(later)


def _rides_on(task: Task, day: date, span: Span) -> dict[int, list[int]]:
    """By park, in the catalog's order, the rides that may have readings on a day."""
    start, end = pacific_day(day)
    reporting = {ride.ride_id for ride in span.rides if ride.first < end and start <= ride.last}
    found: dict[int, list[int]] = defaultdict(list)
    for ride in task.facts.rides:
        if ride.source_id in reporting:
            found[ride.park_source_id].append(ride.source_id)
    return {park_id: found[park_id] for park_id in sorted(found)}


def _adopt_park_day(task: Task, park_id: int, ride_ids: list[int], day: date, window: Window) -> None:
    usable = _Usable(task.old.readings(ride_ids, pacific_day(day), window), task.left)
    latest = latest_per_slot(usable, task.interval_minutes * 60)
    report = task.report
    report.read += usable.read
    report.readings += len(latest)
    report.superseded += usable.given - len(latest)
    if latest:
        first, last = (instant(end(latest)[0]) for end in (min, max))
        report.first_reading = min(first, report.first_reading or first)
        report.last_reading = max(last, report.last_reading or last)
        if task.write:
            _store(task, park_id, day, latest, usable.dropped)


def _store(task: Task, park_id: int, day: date, latest: Latest, dropped: DroppedWaits | None) -> None:
    ours, source = task.catalog.ride_ids, source_of(latest.values())
    counts = store_readings(
        task.catalog.park_ids[park_id],
        ((slot, ours[ride], it.status, it.is_open, it.wait_time) for (slot, ride), it in latest.items()),
        source=source,
        interval_minutes=task.interval_minutes,
        now=clock.now(),
    )
    task.report.stored += counts.stored
    task.report.replaced += counts.replaced
    task.report.unchanged += counts.unchanged
    if counts.expired:
        task.left.note(EXPIRED, day, counts.expired)
    task.run.rows_processed = task.report.stored + task.report.replaced
    if dropped:
        subject = f"Adopted readings of {day}"
        report_dropped_waits(task.catalog.park_ids[park_id], source, dropped, task.now, subject=subject)


class _Usable:
    """The readings that say something, of those `read`; `given` of them, and the waits that were dropped on the way."""

    def __init__(self, raw: Iterable[RawReading], left: Remainder) -> None:
        self.raw, self.left = raw, left
        self.read = self.given = 0
        self.dropped: DroppedWaits | None = None

    def __iter__(self) -> Iterator[Reading]:
        for ride_id, recorded_at, told, is_open, wait in self.raw:
            self.read += 1
            status = Status.__members__.get(told) if told else None
            if told and status is None:
                self.left.note(STATUSES, told)
            if wait is not None and plausible_wait(wait) is None:
                self._drop(ride_id, recorded_at, wait)
                wait = None
            if status is None and is_open is None and wait is None:
                self.left.note(SILENT, _shown(ride_id, recorded_at))
                continue
            self.given += 1
            yield Reading(ride_id, recorded_at, status, None if is_open is None else bool(is_open), wait)

    def _drop(self, ride_id: int, recorded_at: int, wait: int) -> None:
        self.left.note(WAITS, f"{wait}, {_shown(ride_id, recorded_at)}")
        before = self.dropped or DroppedWaits(0, wait, recorded_at, recorded_at)
        self.dropped = before.plus(recorded_at)


def _shown(ride_id: int, recorded_at: int) -> str:
    return f"ride {ride_id} at {instant(recorded_at):%Y-%m-%d %H:%M:%S}"
