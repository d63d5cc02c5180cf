"""The predecessor's daily history: days of which no readings are left become statistics of the adopted version.

Its rides' minutes and waits are taken over. All that is of parks is computed from them by the one engine of daily
statistics, because its scores followed other rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import NamedTuple

from service import rules
from service.database import fetch
from service.jobs import daily
from service.jobs.adopting.predecessor import Predecessor
from service.jobs.adopting.report import Remainder
from service.jobs.adopting.task import Task
from service.jobs.marks import atomically, claim_interval, move_revisions
from service.models import MetricsVersion, StatDay
from service.models.predecessor import OldRideDay
from service.periods import last_days, pacific_date
from service.queries.catalog import ParkFacts
from service.queries.days import ADOPTED_VERSION, Tallies
from service.queries.hours import as_date
from service.queries.tally import DayTally, RideTally, Wanted

DESCRIPTION = "adopted from the predecessor's daily statistics"
NOTHING = DayTally(0, 0, {}, [])

COUNTED_ANEW = "Daily rows of days whose readings are adopted: they are counted anew"
UNFINISHED = "Daily rows of days that are not over"
SUPERSEDED = "Daily rows of superseded versions"
STRANGERS = "Daily rows of rides that are in no table, or were left behind"
NOT_RANKED = "Daily rows of shows and other rides that are not ranked"
EMPTY = "Daily rows of rides without a reading while their park was open"
WAITS = f"Waits of a ride's day with one outside 0-{rules.MAX_WAIT_MINUTES} minutes: it is in their average"
ESTIMATED = (
    "The daily history gives average waits, but not of how many: each slot in which a ride operated is taken for one."
    " Nor does it say how often a ride broke down: a day with downtime has one incident."
)


class _RideDay(NamedTuple):
    """A row of the predecessor's daily statistics."""

    ride_id: int | None
    uptime_minutes: int | None
    downtime_minutes: int | None
    operating_hours_minutes: int | None
    avg_wait_time: Decimal | None
    min_wait_time: int | None
    max_wait_time: int | None
    peak_wait_time: int | None
    status_changes: int | None
    longest_downtime_minutes: int | None
    metrics_version: int | None


class _Days:
    """The predecessor's days as tallies. `ride_ids` = our rides by its ids, `park_of` = our attractions' parks."""

    def __init__(
        self, old: Predecessor, ride_ids: Mapping[int, int], park_of: Mapping[int, int], interval_minutes: int
    ) -> None:
        self.old = old
        self.ride_ids = ride_ids
        self.park_of = park_of
        self.interval_minutes = interval_minutes

    def ride_tallies(self, day: date, left: Remainder) -> Iterator[RideTally]:
        """What each attraction did. Other rides are left behind."""
        rows = self.old.read(OldRideDay, _RideDay, OldRideDay.stat_date == day, order=[OldRideDay.metrics_version])
        newest = {row.ride_id: row for row in rows}  # of several versions the highest
        if len(rows) > len(newest):
            left.note(SUPERSEDED, day, len(rows) - len(newest))
        for old_id, row in newest.items():
            ride_id = self.ride_ids.get(old_id or 0)
            shown = f"ride {old_id} on {day}"
            if ride_id is None:
                left.note(STRANGERS, shown)
            elif ride_id not in self.park_of:
                left.note(NOT_RANKED, shown)
            elif not any((row.uptime_minutes, row.downtime_minutes, row.operating_hours_minutes)):
                left.note(EMPTY, shown)
            else:
                yield self._tally(ride_id, row, shown, left)

    def _tally(self, ride_id: int, row: _RideDay, shown: str, left: Remainder) -> RideTally:
        operating, down = self._slots(row.uptime_minutes), self._slots(row.downtime_minutes)
        tally = RideTally(
            ride_id,
            self.park_of[ride_id],
            max(self._slots(row.operating_hours_minutes), operating + down),
            rules.operated(operating, down),
            operating,
            down,
            incidents=int(down > 0),  # how many there were it does not say; at least one
            longest=min(self._slots(row.longest_downtime_minutes), down),
            status_changes=max(row.status_changes or 0, 0),
        )
        if not operating or row.avg_wait_time is None:
            return tally
        highest = row.peak_wait_time if row.max_wait_time is None else row.max_wait_time
        waits = (row.min_wait_time, highest)
        if any(wait is not None and rules.plausible_wait(wait) is None for wait in (*waits, int(row.avg_wait_time))):
            left.note(WAITS, shown)
            return tally
        total = rules.rounded(Fraction(row.avg_wait_time) * operating, 0)
        return tally._replace(
            wait_sum=int(total or 0), wait_samples=operating, wait_min=row.min_wait_time, wait_max=highest
        )

    def _slots(self, minutes: int | None) -> int:
        """The nearest number of slots."""
        return (2 * max(minutes or 0, 0) + self.interval_minutes) // (2 * self.interval_minutes)


class _AdoptedTallies(Tallies):
    """Tallies whose counts are the predecessor's."""

    def __init__(self, task: Task) -> None:
        super().__init__(task.now)
        self.interval_minutes = task.interval_minutes
        self.left = task.left
        park_of = {ride.ride_id: ride.park_id for ride in self.universe.rides.values()}
        self.source = _Days(task.old, task.catalog.ride_ids, park_of, task.interval_minutes)
        self._days: dict[date, dict[int, DayTally]] = {}

    def count(
        self, park: ParkFacts, day: date, until: int | None = None, wanted: Wanted = Wanted.ALL
    ) -> DayTally:
        """A park's whole Pacific day."""
        return self._days.get(day, {}).get(park.park_id, NOTHING)

    def roster(self, park: ParkFacts, day: date) -> set[int]:
        """The attractions that operated on any of the seven Pacific days that end with `day`."""
        week = (self.count(park, other).rides.values() for other in last_days(day, rules.ROSTER_DAYS))
        return {ride.ride_id for rides in week for ride in rides if ride.operated}

    def load(self, day: date) -> None:
        """Hold the week that ends with `day`, and nothing else. Only `day` tells what it leaves behind."""
        *earlier, last = last_days(day, rules.ROSTER_DAYS)
        held, silent = self._days, Remainder()
        self._days = {other: held[other] if other in held else self._read(other, silent) for other in earlier}
        self._days[last] = self._read(last, self.left)

    def _read(self, day: date, left: Remainder) -> dict[int, DayTally]:
        found: dict[int, dict[int, RideTally]] = defaultdict(dict)
        for ride in self.source.ride_tallies(day, left):
            found[ride.park_id][ride.ride_id] = ride
        return {park_id: _day_tally(rides) for park_id, rides in found.items()}


def _day_tally(rides: dict[int, RideTally]) -> DayTally:
    """A park was open, and observed, for as long as the ride with the most readings was."""
    slots = max(ride.samples for ride in rides.values())
    return DayTally(slots, slots, rides, [])


def adopt_history(task: Task) -> None:
    """Store the finished days that the adopted readings do not hold, oldest first; those that are stored stay."""
    if task.old.lack(OldRideDay):
        return
    rows_of = task.old.ride_days()
    days = _days_to_adopt(task, rows_of)
    if not days:
        return
    report = task.report
    report.history_days, report.first_history_day, report.last_history_day = len(days), days[0], days[-1]
    report.notes.append(ESTIMATED)
    tallies = _AdoptedTallies(task) if task.write else None
    for done, day in enumerate(days):
        task.progress("Adopting daily history", done, len(days))
        report.history_rows += _adopt_day(tallies, day, task.now) if tallies else rows_of[day]
    task.progress("Adopting daily history", len(days), len(days))


def _days_to_adopt(task: Task, rows_of: Mapping[date, int]) -> list[date]:
    today = pacific_date(task.now)
    query = StatDay.select(StatDay.stat_date).where(StatDay.metrics_version == ADOPTED_VERSION)
    stored = {as_date(day) for (day,) in fetch(query)}
    found: list[date] = []
    for day, rows in rows_of.items():
        if task.position.holds(day):
            task.left.note(COUNTED_ANEW, day, rows)
        elif day >= today:
            task.left.note(UNFINISHED, day, rows)
        elif day not in stored:
            found.append(day)
    return found


def _adopt_day(tallies: _AdoptedTallies, day: date, now: datetime) -> int:
    """Store a day in one transaction; return its rows."""
    tallies.load(day)
    stats = daily.day_stats(tallies, day, ADOPTED_VERSION)
    atomically(partial(_store, day, now, stats, tallies.interval_minutes))
    return len(stats.parks) + len(stats.rides)


def _store(day: date, now: datetime, stats: daily.DayStats, interval_minutes: int) -> None:
    claim_interval(interval_minutes)
    version = MetricsVersion
    if version.get_or_none(version.version == ADOPTED_VERSION) is None:
        version.insert(
            {version.version: ADOPTED_VERSION, version.description: DESCRIPTION, version.created_at: now}
        ).execute()
    move_revisions(current=False, history=True)
    # What was computed of the day's readings, of which only a part is held, no longer counts.
    computed = StatDay.update({StatDay.dirty: True}).where(StatDay.stat_date == day, ~StatDay.dirty)
    computed.execute()
    daily.store_day(day, now, ADOPTED_VERSION, stats)
