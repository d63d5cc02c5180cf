"""What is happening now: each park's newest slot, and what every attraction does in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from fractions import Fraction
from typing import NamedTuple

from peewee import fn

from service import rules
from service.database import fetch
from service.models import ParkActivitySnapshot, RideStatusSnapshot
from service.models.base import rows
from service.periods import Interval, local_day_of, local_days, pacific_date, pacific_day
from service.queries.catalog import ParkFacts, Universe
from service.queries.days import Tallies

PARK_CLOSED = "PARK_CLOSED"
STATUSES = (*(status.name for status in rules.Status), PARK_CLOSED)


class RideNow(NamedTuple):
    """An attraction in its park's live slot. `wait` is its posted wait where that counts and the park is open."""

    status: str
    wait: int | None


class ParkNow(NamedTuple):
    """A park in its live slot: whether it is open, and its attractions with a reading."""

    is_open: bool
    rides: dict[int, RideNow]

    def count(self, status: rules.Status) -> int:
        """How many attractions have this status."""
        return sum(ride.status == status.name for ride in self.rides.values())

    def score(self, universe: Universe, roster: set[int]) -> Fraction | None:
        """The shame score of this one slot; None while the park is closed."""
        down = sum(
            universe.rides[ride_id].weight
            for ride_id, ride in self.rides.items()
            if ride.status == rules.Status.DOWN.name
        )
        return rules.shame_score(down, sum(universe.rides[ride_id].weight for ride_id in roster), int(self.is_open))


class _Reading(NamedTuple):
    ride_id: int
    status: int | None
    is_open: int | None
    wait_time: int | None

    @property
    def said(self) -> tuple[int | None, int | None, int | None]:
        return self.status, self.is_open, self.wait_time


def parks_now(tallies: Tallies, parks: Iterable[ParkFacts]) -> dict[int, ParkNow]:
    """Per park with a live slot what it does; the other parks' present state is unknown."""
    slots = _live_slots(tallies)
    readings = _readings(tallies, slots)
    return {
        park.park_id: _park_now(tallies, park, slots[park.park_id], readings[park.park_id])
        for park in parks
        if park.park_id in slots
    }


def status_summary(park_filter: str, park_id: int | None, now: datetime) -> dict[str, int]:
    """How many active attractions of active parks have each live status, and their total."""
    tallies = Tallies(now)
    parks = tallies.universe.filtered(park_filter, active_only=True)
    chosen = [park for park in parks if park_id is None or park.park_id == park_id]
    return count_statuses(tallies.universe, parks_now(tallies, chosen))


def count_statuses(universe: Universe, parks: dict[int, ParkNow]) -> dict[str, int]:
    """The same for parks whose state is known already."""
    found = Counter(
        ride.status
        for park in parks.values()
        for ride_id, ride in park.rides.items()
        if universe.rides[ride_id].is_active
    )
    return {status: found[status] for status in STATUSES} | {"total": found.total()}


def _live_slots(tallies: Tallies) -> dict[int, int]:
    """Each park's newest slot that is not suspect and at most two hours old."""
    snapshot = ParkActivitySnapshot
    last = tallies.held.end - 1
    query = (
        snapshot.select(snapshot.park_id, fn.MAX(snapshot.snapshot_time))
        .where(
            snapshot.snapshot_time.between(tallies.now - rules.LIVE_WINDOW_SECONDS, last),
            ~snapshot.is_suspect,
            snapshot.rides_tracked > 0,
        )
        .group_by(snapshot.park_id)
    )
    return dict(fetch(query))


def _readings(tallies: Tallies, slots: dict[int, int]) -> dict[int, list[_Reading]]:
    """The attractions' readings in their parks' live slots, by park: one short range a distinct slot."""
    snapshot = RideStatusSnapshot
    found: dict[int, list[_Reading]] = defaultdict(list)
    for slot in sorted(set(slots.values())):
        columns = (snapshot.ride_id, snapshot.status, snapshot.is_open, snapshot.wait_time)
        query = snapshot.select(*columns).where(snapshot.snapshot_time == slot)
        for row in rows(query, _Reading):
            ride = tallies.universe.rides.get(row.ride_id)
            if ride is not None and slots.get(ride.park_id) == slot:
                found[ride.park_id].append(row)
    return found


def _park_now(tallies: Tallies, park: ParkFacts, slot: int, readings: list[_Reading]) -> ParkNow:
    openings = tallies.openings(park, local_day_of(slot, park.timezone))
    if not any(opening.has(slot) for opening in openings):
        return ParkNow(False, {row.ride_id: RideNow(PARK_CLOSED, None) for row in readings})
    today = pacific_day(pacific_date(tallies.now)).start
    since = max(today, tallies.now - rules.LIVE_WINDOW_SECONDS)
    silent = [row.ride_id for row in readings if rules.is_possibly_down(park.park_type, *row.said)]
    lately = _operated_since(tallies, park, silent, since, slot) if silent and since <= slot else set()
    return ParkNow(
        True,
        {row.ride_id: RideNow(_status(row, park, lately, slot >= today), _wait(row)) for row in readings},
    )


def _status(row: _Reading, park: ParkFacts, lately: set[int], is_today: bool) -> str:
    """A ride down now must have operated today, and without being told so within the last two hours: later it is
    taken to have closed for the day."""
    if rules.is_operating(*row.said):
        return rules.Status.OPERATING.name
    if rules.is_told_down(row.status) and is_today:
        return rules.Status.DOWN.name
    if rules.is_possibly_down(park.park_type, *row.said) and row.ride_id in lately:
        return rules.Status.DOWN.name
    if row.status == rules.Status.REFURBISHMENT:
        return rules.Status.REFURBISHMENT.name
    return rules.Status.CLOSED.name


def _wait(row: _Reading) -> int | None:
    return row.wait_time if rules.counts_as_wait(*row.said) else None


def _operated_since(tallies: Tallies, park: ParkFacts, ride_ids: list[int], since: int, slot: int) -> set[int]:
    """Which of these rides operated or were told down from `since` to `slot` while their park was open."""
    snapshot = RideStatusSnapshot
    span = Interval(since, slot + 1)
    reading = (snapshot.status, snapshot.is_open, snapshot.wait_time)
    query = snapshot.select(snapshot.ride_id, snapshot.snapshot_time).where(
        snapshot.ride_id.in_(ride_ids),
        snapshot.snapshot_time.between(since, slot),
        rules.is_operating(*reading) | rules.is_told_down(snapshot.status),
    )
    openings = [opening for day in local_days(span, park.timezone) for opening in tallies.openings(park, day)]
    return {ride_id for ride_id, at in fetch(query) if any(opening.has(at) for opening in openings)}
