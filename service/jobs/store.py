"""The one door through which schedules and readings enter the database.

Every call is one transaction that compares first and writes differences only: storing the same again changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from peewee import Field

from service import periods, rules
from service.database import fetch, reading, upsert
from service.feeds import Opening
from service.jobs.marks import atomically, claim_interval, judged_on, mark_dirty, move_revisions, raise_state
from service.models import Park, ParkActivitySnapshot, ParkSchedule, Ride, RideStatusSnapshot
from service.models.base import rows
from service.periods import Interval
from service.queries import state
from service.queries.hours import REACH, dates_known
from service.rules import Category, ScheduleType, Source, Status

Key = tuple[int, int]  # slot, ride_id
Fact = tuple[Status | None, bool | None, int | None]  # status, is_open, wait_time

# --- schedules -------------------------------------------------------------------------------------------------------

ScheduleKey = tuple[date, ScheduleType, int]  # schedule_date, type, opening
SCHEDULE_FIELDS: tuple[Field[Any], ...] = (
    ParkSchedule.park,
    ParkSchedule.schedule_date,
    ParkSchedule.schedule_type,
    ParkSchedule.opening_at,
    ParkSchedule.closing_at,
    ParkSchedule.fetched_at,
)


def store_schedules(park_id: int, openings: Sequence[Opening], now: datetime) -> int:
    """Store a park's schedule for the dates of `openings`; return the rows added, changed and removed.

    The rows given for a date and type replace those stored, and a date's OPERATING and CLOSED rows each other.
    Dirty become the finished days whose openness this changes: under a changed opening, and where the park's schedule
    became known or unknown. `fetched_at` is when a row last changed.
    """
    return atomically(lambda: _store_schedules(park_id, openings, now)) if openings else 0


def _store_schedules(park_id: int, openings: Sequence[Opening], now: datetime) -> int:
    given = {(row.schedule_date, row.schedule_type, row.opening_at): row.closing_at for row in openings}
    dates = [key[0] for key in given]
    stored = _stored_schedule(park_id, min(dates) - 2 * REACH, max(dates) + 2 * REACH)
    replaced = {(day, kind) for day, type_, _ in given for kind in (type_, *_OPPOSITE.get(type_, ()))}
    removed = [key for key in stored if key[:2] in replaced and key not in given]
    written = [key for key, closing in given.items() if stored.get(key) != closing]
    if not removed and not written:
        return 0
    for day, kind, opening in removed:
        ParkSchedule.delete().where(
            ParkSchedule.park == park_id,
            ParkSchedule.schedule_date == day,
            ParkSchedule.schedule_type == kind,
            ParkSchedule.opening_at == opening,
        ).execute()
    fresh = [(park_id, *key, given[key], now) for key in written]
    upsert(ParkSchedule, SCHEDULE_FIELDS, fresh, key=SCHEDULE_FIELDS[:4])
    left = {key: closing for key, closing in stored.items() if key not in removed}
    _publish_schedule(park_id, stored, {**left, **given}, now)
    return len(removed) + len(written)


_OPPOSITE = {
    ScheduleType.OPERATING: (ScheduleType.CLOSED,),
    ScheduleType.CLOSED: (ScheduleType.OPERATING,),
}


def _stored_schedule(park_id: int, first: date, last: date) -> dict[ScheduleKey, int]:
    found = ParkSchedule.select().where(
        ParkSchedule.park == park_id, ParkSchedule.schedule_date.between(first, last)
    )
    return {
        (row.schedule_date, row.schedule_type, periods.epoch(row.opening_at)): periods.epoch(row.closing_at)
        for row in found
    }


def _publish_schedule(
    park_id: int, before: Mapping[ScheduleKey, int], after: Mapping[ScheduleKey, int], now: datetime
) -> None:
    zone = Park.get(Park.park_id == park_id).timezone
    locals_ = dates_known(key[0] for key in before) ^ dates_known(key[0] for key in after)
    for opening in _openings(before) ^ _openings(after):
        locals_.update(periods.local_days(opening, zone))
    days = judged_on(locals_, zone)
    today = periods.pacific_date(now)
    move_revisions(current=any(day >= today for day in days), history=any(day < today for day in days))
    mark_dirty(days)


def _openings(schedule: Mapping[ScheduleKey, int]) -> set[Interval]:
    return {
        Interval(opening, closing)
        for (_, kind, opening), closing in schedule.items()
        if rules.opens(kind, opening, closing)
    }


# --- readings --------------------------------------------------------------------------------------------------------


class Stored(NamedTuple):
    """What became of the readings of a call."""

    stored: int
    replaced: int
    unchanged: int
    expired: int = 0  # past retention, and not looked at: their day's statistics are final


class _Ride(NamedTuple):
    ride_id: int
    park_id: int
    category: int
    last_operated_at: int | None
    timezone: str


class _Meaning(NamedTuple):
    operating: bool
    told_down: bool
    wait: int | None  # only one that counts


READING_FIELDS: tuple[Field[Any], ...] = (
    RideStatusSnapshot.snapshot_time,
    RideStatusSnapshot.ride_id,
    RideStatusSnapshot.status,
    RideStatusSnapshot.is_open,
    RideStatusSnapshot.wait_time,
)
ACTIVITY_FIELDS: tuple[Field[Any], ...] = (
    ParkActivitySnapshot.park_id,
    ParkActivitySnapshot.snapshot_time,
    ParkActivitySnapshot.rides_tracked,
    ParkActivitySnapshot.rides_open,
    ParkActivitySnapshot.rides_down,
    ParkActivitySnapshot.rides_closed,
    ParkActivitySnapshot.avg_wait_time,
    ParkActivitySnapshot.max_wait_time,
    ParkActivitySnapshot.source,
    ParkActivitySnapshot.is_suspect,
)


def store_readings(
    park_id: int,
    readings: Iterable[tuple[int, int, Status | None, bool | None, int | None]],
    *,
    source: Source,
    interval_minutes: int,
    now: datetime,
) -> Stored:
    """Store readings (slot, ride_id, status, is_open, wait_time) of a park's rides; later ones replace earlier ones.

    Those of days that retention has given up are left out: they would reopen what is final.

    Slots are epoch seconds, multiples of the interval; waits are plausible minutes. Memory and time go with the span
    from the first slot to the last: a day or so a call. Raises Unavailable for another interval than the stored one,
    ValueError for readings that no source should get this far.
    """
    given = _checked(readings, interval_minutes * 60)
    if not given:
        return Stored(0, 0, 0)
    return atomically(lambda: _store_readings(park_id, given, source, interval_minutes, now))


class NewSlot:
    """One slot of all parks while it is collected: a transaction a park, unseen until `publish` shows all at once.

    What every park needs is read here, once, so that a park costs one statement beside its batches of inserts. Of a
    slot that readers see already, as one that is collected again, they see each park's changes at once.
    """

    def __init__(self, slot: int, *, interval_minutes: int, now: datetime) -> None:
        self.slot, self.now = slot, now
        self._interval_minutes, self._is_claimed = interval_minutes, False
        self._zones: set[str] = set()  # of the parks that were written
        self._sources: set[Source] = set()
        with reading():
            self._rides = _rides_by_park()
            self._held = _held_in(slot)
            self._suspect = _suspect_in(slot)
            self._is_seen = slot <= (state.get_state(state.NEWEST_SLOT) or 0)
            self._is_expired = slot < (state.get_state(state.RAW_FROM) or 0)

    def store(
        self, park_id: int, readings: Iterable[tuple[int, Status | None, bool | None, int | None]], source: Source
    ) -> Stored:
        """Store a park's readings (ride_id, status, is_open, wait_time). Raises as `store_readings` does."""
        given = _checked(((self.slot, *said) for said in readings), self._interval_minutes * 60)
        rides = self._rides.get(park_id, {})
        _ensure_of_park(park_id, given, rides)
        held = {key: self._held[key[1]] for key in ((self.slot, ride) for ride in rides) if key[1] in self._held}
        news = {key: fact for key, fact in given.items() if not _says_less(fact, held.get(key))}
        changed = {key: fact for key, fact in news.items() if held.get(key) != fact}
        if self._is_expired or not changed:
            return Stored(0, 0, 0, len(given)) if self._is_expired else Stored(0, 0, len(given))
        replaced = sum(key in held for key in changed)
        self._atomically(lambda: self._write(park_id, changed, {**held, **changed}, source), rides)
        self._sources.add(source)
        self._held.update({ride_id: fact for (_, ride_id), fact in changed.items()})
        return Stored(len(changed) - replaced, replaced, len(given) - len(changed))

    def store_suspect(
        self, park_id: int, readings: Iterable[tuple[int, Status | None, bool | None, int | None]], source: Source
    ) -> bool:
        """Note how a park looked in an answer that is not believed, and none of its readings: what the rides did is
        unknown. Nothing is noted of a park that has readings in the slot. Returns whether it was."""
        rides = self._rides.get(park_id, {})
        if self._is_expired or not rides or any(ride_id in self._held for ride_id in rides):
            return False
        given = _checked(((self.slot, *said) for said in readings), self._interval_minutes * 60)
        _ensure_of_park(park_id, given, rides)
        [(_, _, *looks, _)] = _activity(park_id, rides, [self.slot], given, source, is_suspect=True)
        if self._suspect.get(park_id) != tuple(looks):
            self._atomically(lambda: self._write_suspect(park_id, given, source), rides)
            self._suspect[park_id] = tuple(looks)
        return True

    def publish(self) -> None:
        """Let readers see the slot, as one new revision; also what a killed collector left behind."""
        zones = () if self._is_seen else self._zones
        written = {zone: {self.slot} for zone in zones}
        atomically(lambda: _publish_slots(self.now, written, {source: self.slot for source in self._sources}))

    def _write(self, park_id: int, changed: dict[Key, Fact], held: Mapping[Key, Fact], source: Source) -> None:
        rides = self._rides[park_id]
        _upsert_readings(changed)
        _store_activity(park_id, rides, [self.slot], held, source)
        self._show(rides)
        _raise_last_operated(rides, changed)

    def _write_suspect(self, park_id: int, given: Mapping[Key, Fact], source: Source) -> None:
        rides = self._rides[park_id]
        _store_activity(park_id, rides, [self.slot], given, source, is_suspect=True)
        self._show(rides)

    def _atomically(self, write: Callable[[], None], rides: Mapping[int, _Ride]) -> None:
        def claim_and_write() -> None:
            if not self._is_claimed:
                claim_interval(self._interval_minutes)
            write()

        atomically(claim_and_write)
        self._is_claimed = True
        self._zones.add(_zone_of(rides))

    def _show(self, rides: Mapping[int, _Ride]) -> None:
        if self._is_seen:
            _publish({_zone_of(rides): {self.slot}}, self.now)


def _publish_slots(now: datetime, written: Mapping[str, set[int]], sources: Mapping[Source, int]) -> None:
    for source, slot in sources.items():
        raise_state(state.SOURCE_SLOTS[source], slot)
    found = _unseen(state.get_state(state.NEWEST_SLOT))
    _publish({zone: found.get(zone, set()) | written.get(zone, set()) for zone in {*found, *written}}, now)


def _unseen(newest: int | None) -> dict[str, set[int]]:
    """The slots after the newest one that readers see, by the zones of the parks that have them."""
    activity = ParkActivitySnapshot
    parks = activity.select(Park.timezone, activity.snapshot_time).join(Park, on=activity.park_id == Park.park_id)
    found: dict[str, set[int]] = defaultdict(set)
    for zone, slot in fetch(parks.where(activity.snapshot_time > (newest or 0)).distinct()):
        found[zone].add(slot)
    return found


def _checked(
    readings: Iterable[tuple[int, int, Status | None, bool | None, int | None]], interval: int
) -> dict[Key, Fact]:
    given: dict[Key, Fact] = {}
    for slot, ride_id, status, is_open, wait_time in readings:
        if slot % interval:
            raise ValueError(f"slot {slot} is no multiple of {interval} seconds")
        if wait_time is None:
            if status is None and is_open is None:
                raise ValueError(f"the reading of ride {ride_id} at {slot} says nothing")
        elif rules.plausible_wait(wait_time) is None:
            raise ValueError(f"ride {ride_id} at {slot}: a wait of {wait_time} minutes")
        given[slot, ride_id] = (status, is_open, wait_time)
    return given


def _store_readings(
    park_id: int, given: dict[Key, Fact], source: Source, interval_minutes: int, now: datetime
) -> Stored:
    claim_interval(interval_minutes)
    rides = _rides_by_park(park_id).get(park_id, {})
    _ensure_of_park(park_id, given, rides)
    raw_from = state.get_state(state.RAW_FROM) or 0
    expired = sum(slot < raw_from for slot, _ in given)
    if expired:
        given = {key: fact for key, fact in given.items() if key[0] >= raw_from}
    if not given:
        return Stored(0, 0, 0, expired)
    held = _held_readings(rides, min(given)[0], max(given)[0])
    changed = {key: fact for key, fact in given.items() if held.get(key) != fact}
    if not changed:
        return Stored(0, 0, len(given), expired)
    replaced = sum(key in held for key in changed)
    _upsert_readings(changed)
    slots = sorted({slot for slot, _ in changed})
    held.update(changed)
    _store_activity(park_id, rides, slots, held, source)
    _publish_own(slots, _zone_of(rides), now)
    raise_state(state.SOURCE_SLOTS[source], slots[-1])
    # After the revision: whoever stores a day locks that first, and then the rides, by foreign keys.
    _raise_last_operated(rides, changed)
    return Stored(len(changed) - replaced, replaced, len(given) - len(changed), expired)


def _says_less(fact: Fact, held: Fact | None) -> bool:
    """A flag, of a slot of which the status is known."""
    return held is not None and held[0] is not None and fact[0] is None


def _ensure_of_park(park_id: int, given: Iterable[Key], rides: Mapping[int, _Ride]) -> None:
    strangers = {ride_id for _, ride_id in given} - rides.keys()
    if strangers:
        raise ValueError(f"rides {sorted(strangers)[:5]} are not of park {park_id}")


def _upsert_readings(changed: Mapping[Key, Fact]) -> None:
    in_order = ((*key, *changed[key]) for key in sorted(changed))
    upsert(RideStatusSnapshot, READING_FIELDS, in_order, key=READING_FIELDS[:2])


def _zone_of(rides: Mapping[int, _Ride]) -> str:
    return next(iter(rides.values())).timezone


def _rides_by_park(only: int | None = None) -> dict[int, dict[int, _Ride]]:
    query = Ride.select(Ride.ride_id, Ride.park, Ride.category, Ride.last_operated_at, Park.timezone).join(Park)
    if only is not None:
        query = query.where(Ride.park == only)
    found: dict[int, dict[int, _Ride]] = defaultdict(dict)
    for ride in rows(query, _Ride):
        found[ride.park_id][ride.ride_id] = ride
    return found


def _suspect_in(slot: int) -> dict[int, tuple[object, ...]]:
    """How the parks looked in a slot whose answers were not believed."""
    time = ParkActivitySnapshot.snapshot_time
    query = ParkActivitySnapshot.select(ParkActivitySnapshot.park_id, *ACTIVITY_FIELDS[2:-1])
    return {
        park: (*counts, None if wait is None else float(wait), most, told)
        for park, *counts, wait, most, told in fetch(query.where(time == slot, ParkActivitySnapshot.is_suspect))
    }


def _held_in(slot: int) -> dict[int, Fact]:
    """What is stored of a slot, by ride."""
    query = RideStatusSnapshot.select(*READING_FIELDS[1:]).where(RideStatusSnapshot.snapshot_time == slot)
    return {ride_id: (status, is_open, wait_time) for ride_id, status, is_open, wait_time in fetch(query)}


def _held_readings(rides: Collection[int], first: int, last: int) -> dict[Key, Fact]:
    """What is stored of these rides in [first, last]. Enumerated and flag columns as the plain numbers they equal."""
    query = RideStatusSnapshot.select(*READING_FIELDS).where(
        RideStatusSnapshot.ride_id << sorted(rides), RideStatusSnapshot.snapshot_time.between(first, last)
    )
    return {
        (slot, ride_id): (status, is_open, wait_time) for slot, ride_id, status, is_open, wait_time in fetch(query)
    }


@lru_cache(maxsize=16_384)
def _meaning(status: Status | None, is_open: bool | None, wait_time: int | None) -> _Meaning:
    counts = rules.counts_as_wait(status, is_open, wait_time)
    return _Meaning(
        rules.is_operating(status, is_open, wait_time), rules.is_told_down(status), wait_time if counts else None
    )


def _store_activity(
    park_id: int,
    rides: Mapping[int, _Ride],
    slots: Sequence[int],
    held: Mapping[Key, Fact],
    source: Source,
    *,
    is_suspect: bool = False,
) -> None:
    """How the park looked in each of `slots`, over its attractions with a reading there."""
    found = _activity(park_id, rides, slots, held, source, is_suspect=is_suspect)
    upsert(ParkActivitySnapshot, ACTIVITY_FIELDS, found, key=ACTIVITY_FIELDS[:2])


def _activity(
    park_id: int,
    rides: Mapping[int, _Ride],
    slots: Sequence[int],
    held: Mapping[Key, Fact],
    source: Source,
    *,
    is_suspect: bool,
) -> list[tuple[object, ...]]:
    """Rows of ACTIVITY_FIELDS; a slot without any attraction has one only where it is suspect."""
    seen: dict[int, list[_Meaning]] = {slot: [] for slot in slots}
    attractions = {ride.ride_id for ride in rides.values() if ride.category == Category.ATTRACTION}
    for (slot, ride_id), fact in held.items():
        if slot in seen and ride_id in attractions:
            seen[slot].append(_meaning(*fact))
    found = [(park_id, slot, *_looks(readings), source, is_suspect) for slot, readings in seen.items()]
    return [row for row in found if is_suspect or row[2]]


def _looks(readings: Sequence[_Meaning]) -> tuple[int, int, int, int, float | None, int | None]:
    operating = sum(reading.operating for reading in readings)
    down = sum(reading.told_down for reading in readings)
    waits = [reading.wait for reading in readings if reading.wait is not None]
    average = rules.rounded(rules.average_wait(sum(waits), len(waits)), 1)
    return len(readings), operating, down, len(readings) - operating - down, average, max(waits, default=None)


def _raise_last_operated(rides: Mapping[int, _Ride], changed: Mapping[Key, Fact]) -> None:
    last: dict[int, int] = {}
    for (slot, ride_id), fact in changed.items():
        if _meaning(*fact).operating and slot > last.get(ride_id, 0):
            last[ride_id] = slot
    by_slot: dict[int, list[int]] = defaultdict(list)
    for ride_id, slot in last.items():
        if slot > (rides[ride_id].last_operated_at or 0):
            by_slot[slot].append(ride_id)
    for slot, ride_ids in sorted(by_slot.items()):
        earlier = Ride.last_operated_at.is_null() | (Ride.last_operated_at < slot)
        Ride.update({Ride.last_operated_at: slot}).where(Ride.ride_id << sorted(ride_ids), earlier).execute()


def _publish_own(slots: Collection[int], zone: str, now: datetime) -> None:
    """Make the slots of a park known that were written. With new ones all that others have left unseen is seen, and
    becomes known too."""
    newest = state.get_state(state.NEWEST_SLOT) or 0
    others = _unseen(newest) if any(slot > newest for slot in slots) else {}
    _publish({**others, zone: {*slots} | others.get(zone, set())}, now)


def _publish(slots: Mapping[str, Collection[int]], now: datetime) -> None:
    """Make slots known that were written, given by the zones of their parks."""
    if not slots:
        return
    midnight = periods.pacific_day(periods.pacific_date(now)).start
    in_order = {zone: sorted(found) for zone, found in slots.items()}
    newest = max(found[-1] for found in in_order.values())
    late: set[date] = set()
    touched: set[date] = set()
    for zone, found in in_order.items():
        late |= judged_on(_late_days(found, zone, midnight, periods.epoch(now)), zone)
        touched |= judged_on(periods.local_days(Interval(found[0], found[-1] + 1), zone), zone)
    raise_state(state.NEWEST_SLOT, newest)
    move_revisions(current=newest >= midnight, history=bool(late))
    mark_dirty(late)
    # Whatever the writer's clock says, these were stored as having seen the slots.
    if mark_dirty(touched, seen=min(found[0] for found in in_order.values())):
        move_revisions(current=False, history=True)


def _late_days(slots: Sequence[int], zone: str, midnight: int, now: int) -> list[date]:
    """The local days of the slots that come late: of a finished Pacific day, or of a local day that is over."""
    late: list[date] = []
    first, last = slots[0], slots[-1]
    for day in periods.local_days(Interval(first, last + 1), zone):
        bounds = periods.local_day(day, zone)
        index = bisect_left(slots, bounds.start)
        if index < len(slots) and slots[index] < bounds.end and (slots[index] < midnight or bounds.end <= now):
            late.append(day)
    return late
