"""The one door through which catalog, schedules and readings enter the database.

Every call is one transaction that compares first and writes differences only: storing the same again changes nothing.
What it changes, it makes known: the revisions move, and days whose statistics no longer hold become dirty. These rows
are written last, so that they are locked for moments only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeVar

from peewee import Case, Field, IntegrityError, OperationalError, fn

from service import periods, rules
from service.database import batches, db, fetch, is_mysql, upsert
from service.feeds import Opening, ParkRecord, RideRecord, is_single_rider, plain_text
from service.models import Park, ParkActivitySnapshot, ParkSchedule, Ride, RideStatusSnapshot, ServiceState, StatDay
from service.models.base import rows
from service.periods import Interval
from service.queries import state
from service.rules import Category, ScheduleType, Source, Status

LARGEST_KEPT_ID = 1_000_000_000  # beyond it a source's id is not kept: the next free one would leave the column's range
ATTEMPTS = 5
# Another writer got in between: duplicate key, snapshot overtaken, lock time-out, deadlock.
OVERTAKEN = {1062, 1020, 1205, 1213}
REACH = timedelta(days=rules.SCHEDULE_REACH_DAYS)

Key = tuple[int, int]  # slot, ride_id
Fact = tuple[Status | None, bool | None, int | None]  # status, is_open, wait_time
Change: TypeAlias = "dict[Field[Any], object]"
R = TypeVar("R")
T = TypeVar("T", ParkRecord, RideRecord)
M = TypeVar("M", Park, Ride)


def _atomically(write: Callable[[], R]) -> R:
    """Run `write` in one transaction; anew when another writer got in between."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with db.atomic():
                return write()
        except (IntegrityError, OperationalError) as error:
            code = error.args[0] if error.args else None
            if attempt == ATTEMPTS or code not in OVERTAKEN or db.in_transaction():
                raise
    raise AssertionError("not reached")


# --- what the service keeps about itself -----------------------------------------------------------------------------


def bump(name: str) -> None:
    """Move a revision on by one; writers at the same moment each move it."""
    _write_state(name, 1, ServiceState.value + 1)


def raise_state(name: str, value: int) -> None:
    """Store `value` unless a larger one is there."""
    _write_state(name, value, Case(None, [(ServiceState.value < value, value)], ServiceState.value))


def _move_revisions(*, current: bool, history: bool) -> None:
    """To be called before days are marked dirty: a day that is being computed meanwhile is stored only if the
    revision is still the one it began with, so either it is not stored, or its entry is there to be marked."""
    if current:
        bump(state.REVISION_CURRENT)
    if history:
        bump(state.REVISION_HISTORY)


def _write_state(name: str, first: int, later: object) -> None:
    target = {} if is_mysql() else {"conflict_target": [ServiceState.name]}
    query = ServiceState.insert({ServiceState.name: name, ServiceState.value: first})
    query.on_conflict(update={ServiceState.value: later}, **target).execute()


def claim_interval(interval_minutes: int) -> None:
    """Make this the interval of the stored readings; raise Unavailable if they have another."""
    stored = state.get_state(state.INTERVAL)
    if stored is None:
        ServiceState.insert({ServiceState.name: state.INTERVAL, ServiceState.value: interval_minutes}).execute()
    elif stored != interval_minutes:
        state.ensure_interval(interval_minutes)


# --- days whose statistics no longer hold ----------------------------------------------------------------------------


def _judged_on(local_dates: Iterable[date], zone: str) -> set[date]:
    """The Pacific days whose statistics use readings of these local days: those that overlap them and, for the
    roster, the six that follow each."""
    overlapping = {day for local in local_dates for day in periods.pacific_days(periods.local_day(local, zone))}
    return {day + timedelta(days=later) for day in overlapping for later in range(rules.ROSTER_DAYS)}


def _mark_dirty(days: Iterable[date]) -> None:
    """Only days that were computed are in the ledger; the others will be anyway."""
    for batch in batches(sorted(days), 500):
        StatDay.update({StatDay.dirty: True}).where(StatDay.stat_date << batch, ~StatDay.dirty).execute()


def _mark_raw_days_dirty() -> None:
    """Every day that can be computed again: from the oldest reading on."""
    oldest = fetch(RideStatusSnapshot.select(fn.MIN(RideStatusSnapshot.snapshot_time)))[0][0]
    if oldest is not None:
        first = periods.pacific_date(int(oldest))
        StatDay.update({StatDay.dirty: True}).where(StatDay.stat_date >= first, ~StatDay.dirty).execute()


# --- catalog ---------------------------------------------------------------------------------------------------------


class Catalog(NamedTuple):
    """Our ids by the source's, and how many rows were added or changed. Single-rider queues are in neither."""

    park_ids: dict[int, int]
    ride_ids: dict[int, int]
    parks_added: int
    parks_changed: int
    rides_added: int
    rides_changed: int


PARK_FIELDS: tuple[Field[Any], ...] = (
    Park.name,
    Park.park_type,
    Park.country,
    Park.timezone,
    Park.operator,
    Park.city,
    Park.state_province,
    Park.latitude,
    Park.longitude,
    Park.queue_times_id,
    Park.themeparks_wiki_id,
    Park.is_active,
)
RIDE_FIELDS: tuple[Field[Any], ...] = (
    Ride.name,
    Ride.source_ride_id,
    Ride.land_area,
    Ride.category,
    Ride.tier,
    Ride.queue_times_id,
    Ride.themeparks_wiki_id,
    Ride.is_active,
)
UNIQUE = ("queue_times_id", "themeparks_wiki_id")
JUDGED = {"park_type", "timezone", "category", "tier"}  # what statistics were computed with
DEFAULTS = {"is_active": True, "category": Category.ATTRACTION}


def store_catalog(parks: Sequence[ParkRecord], rides: Sequence[RideRecord], now: datetime) -> Catalog:
    """Bring parks and rides up to date with what a source says; what it does not say (None) stays.

    Parks match by themeparks_wiki_id, queue_times_id, then name and country; rides within their park by those ids,
    source_ride_id, then name. Where a name is all that matches, differing ids make it another park or ride. An id
    that another row holds is not taken from it, and source_ride_id stays that of the first source. A new row keeps
    the source's id where that is free. Rides of parks that are not among `parks` raise KeyError.
    """
    wanted = [ride for ride in rides if not is_single_rider(ride.name)]
    return _atomically(lambda: _store_catalog([_plain(park) for park in parks], [_plain(ride) for ride in wanted], now))


def _store_catalog(parks: list[ParkRecord], rides: list[RideRecord], now: datetime) -> Catalog:
    stored = list(Park.select().order_by(Park.park_id))
    park_sync = _Sync(PARK_FIELDS, stored, now)
    by_name = _agreeing(lambda park: (park.name, park.country))
    park_ids = park_sync.store(_pairs(parks, stored, [*_BY_IDS, by_name]), lambda park: {})

    rides_of: dict[int, list[RideRecord]] = defaultdict(list)
    for ride in rides:
        rides_of[park_ids[ride.park_source_id]].append(ride)
    stored_rides: dict[int, list[Ride]] = defaultdict(list)
    for row in Ride.select().order_by(Ride.ride_id):
        stored_rides[row.park_id].append(row)
    ride_sync = _Sync(RIDE_FIELDS, [row for of_park in stored_rides.values() for row in of_park], now)
    keys = [*_BY_IDS, _Match(lambda ride: ride.source_ride_id), _agreeing(lambda ride: ride.name)]
    pairs = [pair for park_id, of_park in rides_of.items() for pair in _pairs(of_park, stored_rides[park_id], keys)]
    ride_ids = ride_sync.store(pairs, lambda ride: {Ride.park: park_ids[ride.park_source_id]})

    if park_sync.added + park_sync.changed + ride_sync.added + ride_sync.changed:
        _move_revisions(current=True, history=True)
    if park_sync.judged or ride_sync.judged:
        _mark_raw_days_dirty()
    return Catalog(park_ids, ride_ids, park_sync.added, park_sync.changed, ride_sync.added, ride_sync.changed)


def _plain(record: T) -> T:
    """`record` with every text as it is stored; one that is empty says nothing."""
    texts: Any = {name: plain_text(value) or None for name, value in record._asdict().items() if isinstance(value, str)}
    return record._replace(**texts)


def _id_of(row: Park | Ride) -> int:
    return row.park_id if isinstance(row, Park) else row.ride_id


class _Match(NamedTuple):
    """One way to find a record's row: `key` is of either; None finds nothing. `agree` may object."""

    key: Callable[[Any], object]
    agree: Callable[[Any, Any], bool] = lambda record, row: True


_BY_IDS = [_Match(lambda item: item.themeparks_wiki_id), _Match(lambda item: item.queue_times_id)]


def _agreeing(key: Callable[[Any], object]) -> _Match:
    def agree(record: Any, row: Any) -> bool:
        ids = [(getattr(record, name), getattr(row, name)) for name in UNIQUE]
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in ids)

    return _Match(key, agree)


def _pairs(records: Sequence[T], stored: Sequence[M], matches: Sequence[_Match]) -> list[tuple[T, M | None]]:
    """Each record with its row, or None. A row belongs to one record: better matches of any record come first."""
    rows_of: dict[int, M] = {}
    taken: set[int] = set()
    for match in matches:
        free: dict[object, list[M]] = defaultdict(list)
        for row in stored:
            if _id_of(row) not in taken:
                free[match.key(row)].append(row)
        for index, record in enumerate(records):
            key = match.key(record)
            if index in rows_of or key is None:
                continue
            found = next((row for row in free[key] if _id_of(row) not in taken and match.agree(record, row)), None)
            if found is not None:
                rows_of[index] = found
                taken.add(_id_of(found))
    return [(record, rows_of.get(index)) for index, record in enumerate(records)]


class _Sync:
    """Writes the differences between records and rows of one table, and counts them."""

    def __init__(self, fields: Sequence[Field[Any]], stored: Sequence[Park] | Sequence[Ride], now: datetime) -> None:
        self.fields = fields
        self.model: Any = fields[0].model
        self.now = now
        self.added = self.changed = 0
        self.judged = False
        self.ids = {_id_of(row) for row in stored}
        self.holders: dict[tuple[str, object], int | None] = {
            (name, getattr(row, name)): _id_of(row) for row in stored for name in UNIQUE
        }

    def store(self, pairs: Sequence[tuple[T, M | None]], more: Callable[[T], Change]) -> dict[int, int]:
        """Our ids by the records' ids. `more` = the columns of a new row that its record does not name."""
        ids = {record.source_id: self._update(record, row) for record, row in pairs if row is not None}
        new = [record for record, row in pairs if row is None]
        kept = [record for record in new if record.source_id not in self.ids and record.source_id <= LARGEST_KEPT_ID]
        self.ids.update(record.source_id for record in kept)
        key: Field[Any] = self.model._meta.primary_key
        for batch in batches([{key: record.source_id, **more(record), **self._row(record)} for record in kept], 500):
            columns = list(batch[0])
            self.model.insert_many([list(row.values()) for row in batch], fields=columns).execute()
        ids.update((record.source_id, record.source_id) for record in kept)
        for record in new:
            if record.source_id not in ids:
                ids[record.source_id] = self.model.insert({**more(record), **self._row(record)}).execute()
        self.added += len(new)
        return ids

    def _update(self, record: ParkRecord | RideRecord, row: Park | Ride) -> int:
        changes: Change = {}
        for field in self.fields:
            told, stored = getattr(record, field.name), getattr(row, field.name)
            if told is None or told == stored or field.name == "source_ride_id" and stored is not None:
                continue
            if field.name not in UNIQUE or self._takes(field.name, told, _id_of(row)):
                changes[field] = told
        if changes:
            changes[self.model.updated_at] = self.now
            self.model.update(changes).where(self.model._meta.primary_key == _id_of(row)).execute()
            self.changed += 1
            self.judged = self.judged or any(field.name in JUDGED for field in changes)
        return _id_of(row)

    def _row(self, record: ParkRecord | RideRecord) -> Change:
        row: Change = {}
        for field in self.fields:
            told = getattr(record, field.name)
            if field.name in UNIQUE and told is not None and not self._takes(field.name, told, None):
                told = None
            row[field] = DEFAULTS.get(field.name) if told is None else told
        return {**row, self.model.created_at: self.now, self.model.updated_at: self.now}

    def _takes(self, name: str, value: object, row_id: int | None) -> bool:
        """Hand a unique id to a row, unless another has it."""
        if (name, value) in self.holders:
            return False
        self.holders[name, value] = row_id
        return True


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
    return _atomically(lambda: _store_schedules(park_id, openings, now)) if openings else 0


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
    locals_ = _dates_known(before) ^ _dates_known(after)
    for opening in _openings(before) ^ _openings(after):
        locals_.update(periods.local_days(opening, zone))
    days = _judged_on(locals_, zone)
    today = periods.pacific_date(now)
    _move_revisions(current=any(day >= today for day in days), history=any(day < today for day in days))
    _mark_dirty(days)


def _dates_known(schedule: Mapping[ScheduleKey, int]) -> set[date]:
    """The local dates on which a park with these rows is closed outside its openings."""
    dates = {key[0] for key in schedule}
    return {near for day in dates for near in periods.days_between(day - REACH, day + REACH)}


def _openings(schedule: Mapping[ScheduleKey, int]) -> set[Interval]:
    return {
        Interval(opening, closing)
        for (_, kind, opening), closing in schedule.items()
        if kind is ScheduleType.OPERATING and closing > opening
    }


# --- readings --------------------------------------------------------------------------------------------------------


class Stored(NamedTuple):
    """What became of the readings of a call."""

    stored: int
    replaced: int
    unchanged: int


class _Ride(NamedTuple):
    ride_id: int
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

    Slots are epoch seconds, multiples of the interval; waits are plausible minutes. Memory and time go with the span
    from the first slot to the last: a day or so a call. Raises Unavailable for another interval than the stored one,
    ValueError for readings that no source should get this far.
    """
    given = _checked(readings, interval_minutes * 60)
    if not given:
        return Stored(0, 0, 0)
    return _atomically(lambda: _store_readings(park_id, given, source, interval_minutes, now))


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
    rides = _rides_of(park_id)
    strangers = {ride_id for _, ride_id in given} - rides.keys()
    if strangers:
        raise ValueError(f"rides {sorted(strangers)[:5]} are not of park {park_id}")
    held = _held_readings(rides, min(given)[0], max(given)[0])
    changed = {key: fact for key, fact in given.items() if held.get(key) != fact}
    if not changed:
        return Stored(0, 0, len(given))
    replaced = sum(key in held for key in changed)
    in_order = sorted(changed)
    upsert(RideStatusSnapshot, READING_FIELDS, ((*key, *changed[key]) for key in in_order), key=READING_FIELDS[:2])
    slots = sorted({slot for slot, _ in in_order})
    held.update(changed)
    _store_activity(park_id, rides, slots, held, source)
    _raise_last_operated(rides, changed)
    _publish_readings(slots, next(iter(rides.values())).timezone, now)
    return Stored(len(changed) - replaced, replaced, len(given) - len(changed))


def _rides_of(park_id: int) -> dict[int, _Ride]:
    query = (
        Ride.select(Ride.ride_id, Ride.category, Ride.last_operated_at, Park.timezone)
        .join(Park)
        .where(Ride.park == park_id)
    )
    return {ride.ride_id: ride for ride in rows(query, _Ride)}


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
    park_id: int, rides: Mapping[int, _Ride], slots: Sequence[int], held: Mapping[Key, Fact], source: Source
) -> None:
    """How the park looked in each of `slots`, over its attractions with a reading there."""
    seen: dict[int, list[_Meaning]] = {slot: [] for slot in slots}
    attractions = {ride.ride_id for ride in rides.values() if ride.category == Category.ATTRACTION}
    for (slot, ride_id), fact in held.items():
        if slot in seen and ride_id in attractions:
            seen[slot].append(_meaning(*fact))
    activity = [(park_id, slot, *_looks(readings), source) for slot, readings in seen.items() if readings]
    upsert(ParkActivitySnapshot, ACTIVITY_FIELDS, activity, key=ACTIVITY_FIELDS[:2])


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


def _publish_readings(slots: Sequence[int], zone: str, now: datetime) -> None:
    """`slots` in order."""
    midnight = periods.pacific_day(periods.pacific_date(now)).start
    late = _late_days(slots, zone, midnight, periods.epoch(now))
    raise_state(state.NEWEST_SLOT, slots[-1])
    _move_revisions(current=slots[-1] >= midnight, history=bool(late))
    _mark_dirty(_judged_on(late, zone))


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
