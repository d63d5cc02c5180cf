"""When a park was open: its posted schedule where it has one near, else what its rides did."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import date, timedelta
from typing import NamedTuple

from peewee import Case, Query, fn

from service import rules
from service.models import ParkSchedule, RideStatusSnapshot
from service.models.base import rows
from service.periods import Interval, days_between, local_day, merged
from service.queries.tally import Readings, fetch_slots, picked

REACH = timedelta(days=rules.SCHEDULE_REACH_DAYS)


class _Row(NamedTuple):
    park_id: int
    schedule_date: date | str  # SQLite gives text
    schedule_type: int
    opening_at: int
    closing_at: int


class Schedule(NamedTuple):
    """One park's posted days, in order, and its OPERATING openings."""

    dates: list[date]
    openings: list[Interval]

    def knows(self, day: date) -> bool:
        """Whether any row lies within a week of the local date: then the park is closed outside its openings."""
        nearest = bisect_left(self.dates, day - REACH)
        return nearest < len(self.dates) and self.dates[nearest] <= day + REACH

    def open_intervals(self, day: date, zone: str) -> list[Interval]:
        """The openings inside the local day, overlapping and touching ones merged."""
        bounds = local_day(day, zone)
        return merged(part for opening in self.openings if (part := opening.cut(bounds)))


NO_SCHEDULE = Schedule([], [])


def dates_known(dates: Iterable[date]) -> set[date]:
    """The local dates that a schedule with rows on `dates` knows."""
    return {near for day in dates for near in days_between(day - REACH, day + REACH)}


def schedules(first: date, last: date, park_ids: Collection[int] | None = None) -> dict[int, Schedule]:
    """The schedules of all parks, or of these, with every row that can matter to local days from `first` to `last`."""
    margin = REACH + timedelta(days=1)
    query = ParkSchedule.select(
        ParkSchedule.park,
        ParkSchedule.schedule_date,
        ParkSchedule.schedule_type,
        ParkSchedule.opening_at,
        ParkSchedule.closing_at,
    ).where(ParkSchedule.schedule_date.between(first - margin, last + margin))
    if park_ids is not None:
        query = query.where(ParkSchedule.park.in_(list(park_ids)))
    dates: dict[int, set[date]] = defaultdict(set)
    openings: dict[int, list[Interval]] = defaultdict(list)
    for row in rows(query, _Row):
        dates[row.park_id].add(as_date(row.schedule_date))
        if rules.opens(row.schedule_type, row.opening_at, row.closing_at):
            openings[row.park_id].append(Interval(row.opening_at, row.closing_at))
    return {park_id: Schedule(sorted(days), sorted(openings[park_id])) for park_id, days in dates.items()}


def inferred_intervals(readings: Readings, day: date) -> list[Interval]:
    """From the first to the last slot of the local day in which the park looks open; empty if it never does."""
    bounds = local_day(day, readings.park.timezone)
    found = fetch_slots(_reporting, readings, bounds, readings.ride_ids)
    slots = [slot for slot, reporting, running in found if rules.looks_open(running, reporting)]
    return [Interval(min(slots), min(max(slots) + readings.step, bounds.end))] if slots else []


def _reporting(values: list[int]) -> Query:
    """Per slot: how many of the rides report, and how many of those operate."""
    snapshot = RideStatusSnapshot
    operating = fn.COUNT(Case(None, [(snapshot.is_operating, 1)]))
    return (
        snapshot.select(snapshot.snapshot_time, fn.COUNT(snapshot.ride_id), operating)
        .where(picked(values))
        .group_by(snapshot.snapshot_time)
    )


def as_date(value: date | str) -> date:
    """A DATE column as the driver gives it: MySQL a date, SQLite its text."""
    return date.fromisoformat(value) if isinstance(value, str) else value
