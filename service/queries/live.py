"""What is happening now: each park's newest slot, and what every attraction does in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from fractions import Fraction
from typing import NamedTuple

from peewee import Expression, fn

from service import rules
from service.database import fetch
from service.models import ParkActivitySnapshot, RideStatusSnapshot
from service.models.base import rows
from service.periods import Interval, local_day_of, local_days, pacific_date, pacific_day
from service.queries.catalog import ParkFacts, Universe
from service.queries.days import Tallies, tallies_as_of

PARK_CLOSED = "PARK_CLOSED"
STATUSES = (*(status.name for status in rules.Status), PARK_CLOSED)


class RideNow(NamedTuple):
    """An attraction in its park's live slot. `wait` is its posted wait where that counts and the park is open."""

    status: str
    wait: int | None


class ParkNow(NamedTuple):
    """A park in its live slot: whether it is open, and its attractions with a reading."""

    slot: int
    is_open: bool
    rides: dict[int, RideNow]

    @property
    def waits(self) -> list[int]:
        """The posted waits that count, in minutes."""
        return [ride.wait for ride in self.rides.values() if ride.wait is not None]

    def count(self, status: rules.Status) -> int:
        """How many attractions have this status."""
        return sum(ride.status == status.name for ride in self.rides.values())

    def weighted_down(self, universe: Universe) -> int:
        """What the rides that are down weigh together."""
        return sum(
            universe.rides[ride_id].weight
            for ride_id, ride in self.rides.items()
            if ride.status == rules.Status.DOWN.name
        )

    def score(self, universe: Universe, roster: set[int]) -> Fraction | None:
        """The shame score of this one slot; None while the park is closed."""
        weight = sum(universe.rides[ride_id].weight for ride_id in roster)
        return rules.shame_score(self.weighted_down(universe), weight, int(self.is_open))


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


def newest_slot(tallies: Tallies, park: ParkFacts) -> int | None:
    """A park's newest slot that is not suspect, however old."""
    activity = ParkActivitySnapshot
    sound = activity.select(activity.snapshot_time).where(
        activity.park_id == park.park_id, activity.snapshot_time < tallies.held.end, _is_sound()
    )
    newest = fetch(sound.order_by(activity.snapshot_time.desc()).limit(1))
    return newest[0][0] if newest else None


def live_slot(tallies: Tallies, park: ParkFacts) -> int | None:
    """A park's newest slot that is not suspect, if it still tells what happens now."""
    slot = newest_slot(tallies, park)
    return None if slot is None or slot < tallies.now - rules.LIVE_WINDOW_SECONDS else slot


def last_seen(tallies: Tallies, park: ParkFacts) -> ParkNow | None:
    """What a park did in its newest slot, however old, looked at in that slot; None for a park that was never seen."""
    slot = newest_slot(tallies, park)
    if slot is None:
        return None
    readings = _readings_in(tallies, park, [slot])[slot]
    silent = {row.ride_id for row in readings if _may_be_down(park, row)}
    ran = _operated_slots(tallies, park, silent, slot - rules.LIVE_WINDOW_SECONDS, slot)
    return _park_at(tallies, park, slot, readings, ran, slot)


def recent_scores(tallies: Tallies, park: ParkFacts, slots: list[int]) -> list[Fraction | None]:
    """The live shame score of each of these slots as of then, and of the newest one seen as of now, as the ranking has
    it; None where the park was closed, its slot suspect or missing."""
    readings = _readings_in(tallies, park, slots)
    silent = {row.ride_id for some in readings.values() for row in some if _may_be_down(park, row)}
    ran = _operated_slots(tallies, park, silent, slots[0] - rules.LIVE_WINDOW_SECONDS, slots[-1])
    scores = []
    for slot in slots:
        now = tallies.now if slot == max(readings, default=None) else slot
        seen = _park_at(tallies, park, slot, readings[slot], ran, now) if slot in readings else None
        scores.append(seen.score(tallies.universe, tallies.roster(park, pacific_date(now))) if seen else None)
    return scores


def status_summary(park_filter: str, park_id: int | None, now: datetime) -> dict[str, int]:
    """How many active attractions of active parks have each live status, and their total."""
    counts = tallies_as_of(now)
    parks = counts.universe.filtered(park_filter, active_only=True)
    chosen = [park for park in parks if park_id is None or park.park_id == park_id]
    return count_statuses(counts.universe, parks_now(counts, chosen))


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
        .where(snapshot.snapshot_time.between(tallies.now - rules.LIVE_WINDOW_SECONDS, last), _is_sound())
        .group_by(snapshot.park_id)
    )
    return dict(fetch(query))


def _is_sound() -> Expression:
    snapshot = ParkActivitySnapshot
    sound: Expression = ~snapshot.is_suspect & (snapshot.rides_tracked > 0)
    return sound


def _readings_in(tallies: Tallies, park: ParkFacts, slots: list[int]) -> dict[int, list[_Reading]]:
    """The readings of one park's attractions, by slot, of those slots that may be seen and are not suspect."""
    activity, snapshot = ParkActivitySnapshot, RideStatusSnapshot
    first, last = slots[0], min(slots[-1], tallies.held.end - 1)
    sound = activity.select(activity.snapshot_time).where(
        activity.park_id == park.park_id, activity.snapshot_time.between(first, last), _is_sound()
    )
    found: dict[int, list[_Reading]] = {slot: [] for (slot,) in fetch(sound)}
    columns = (snapshot.ride_id, snapshot.status, snapshot.is_open, snapshot.wait_time)
    query = snapshot.select(snapshot.snapshot_time, *columns).where(
        snapshot.ride_id.in_(tallies.universe.rides_of.get(park.park_id, [])),
        snapshot.snapshot_time.between(first, last),
    )
    for slot, *reading in fetch(query):
        if slot in found:
            found[slot].append(_Reading._make(reading))
    return found


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
    silent = {row.ride_id for row in readings if _may_be_down(park, row)} if _is_open(tallies, park, slot) else set()
    ran = _operated_slots(tallies, park, silent, tallies.now - rules.LIVE_WINDOW_SECONDS, slot)
    return _park_at(tallies, park, slot, readings, ran, tallies.now)


def _is_open(tallies: Tallies, park: ParkFacts, slot: int) -> bool:
    return any(opening.has(slot) for opening in tallies.openings(park, local_day_of(slot, park.timezone)))


def _may_be_down(park: ParkFacts, row: _Reading) -> bool:
    return bool(rules.is_possibly_down(park.park_type, *row.said))


def _park_at(
    tallies: Tallies, park: ParkFacts, slot: int, readings: list[_Reading], ran: dict[int, list[int]], now: int
) -> ParkNow:
    """A park in one slot, looked at at `now`; `ran` says in which slots before the silent rides operated."""
    if not _is_open(tallies, park, slot):
        return ParkNow(slot, False, {row.ride_id: RideNow(PARK_CLOSED, None) for row in readings})
    today = pacific_day(pacific_date(now)).start
    since = max(today, now - rules.LIVE_WINDOW_SECONDS)
    lately = {ride_id for ride_id, slots in ran.items() if any(since <= at <= slot for at in slots)}
    return ParkNow(
        slot,
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
    if _may_be_down(park, row) and row.ride_id in lately:
        return rules.Status.DOWN.name
    if row.status == rules.Status.REFURBISHMENT:
        return rules.Status.REFURBISHMENT.name
    return rules.Status.CLOSED.name


def _wait(row: _Reading) -> int | None:
    return row.wait_time if rules.counts_as_wait(*row.said) else None


def _operated_slots(
    tallies: Tallies, park: ParkFacts, ride_ids: Collection[int], since: int, slot: int
) -> dict[int, list[int]]:
    """In which slots from `since` to `slot` each of these rides operated or was told down while its park was open."""
    if not ride_ids:
        return {}
    snapshot = RideStatusSnapshot
    span = Interval(since, slot + 1)
    reading = (snapshot.status, snapshot.is_open, snapshot.wait_time)
    query = snapshot.select(snapshot.ride_id, snapshot.snapshot_time).where(
        snapshot.ride_id.in_(sorted(ride_ids)),
        snapshot.snapshot_time.between(since, slot),
        rules.is_operating(*reading) | rules.is_told_down(snapshot.status),
    )
    openings = [opening for day in local_days(span, park.timezone) for opening in tallies.openings(park, day)]
    ran: dict[int, list[int]] = defaultdict(list)
    for ride_id, at in fetch(query):
        if any(opening.has(at) for opening in openings):
            ran[ride_id].append(at)
    return ran
