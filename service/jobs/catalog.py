"""Parks and rides as sources describe them: the door through which they enter, and how they are matched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from peewee import Field

from service.database import batches
from service.feeds import ParkRecord, RideRecord, is_single_rider, plain_text
from service.jobs.marks import atomically, mark_raw_days_dirty, move_revisions
from service.models import Park, Ride
from service.rules import Category

LARGEST_KEPT_ID = 1_000_000_000  # beyond it a source's id is not kept: the next free one would leave the column's range

Change: TypeAlias = "dict[Field[Any], object]"
T = TypeVar("T", ParkRecord, RideRecord)
M = TypeVar("M", Park, Ride)


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


def store_catalog(
    parks: Sequence[ParkRecord],
    rides: Sequence[RideRecord],
    now: datetime,
    *,
    matched: bool = False,
    dry_run: bool = False,
) -> Catalog:
    """Bring parks and rides up to date with what a source says; what it does not say (None) stays.

    Parks match by themeparks_wiki_id, queue_times_id, then name and country; rides within their park by those ids,
    source_ride_id, then name. Where a name is all that matches, differing ids make it another park or ride. An id
    that another row holds is not taken from it, and source_ride_id stays that of the first source. A new row keeps
    the source's id where that is free. Rides of parks that are not among `parks` raise KeyError.

    `matched` records were matched by the caller: their source_id is our id of the row they are of, or below 0 for a
    new one, which gets an id of ours. Nothing else is compared, and no ride of another park may have an id of theirs.
    With `dry_run` all is counted, and nothing written.
    """
    plain_parks = [_plain(park) for park in parks]
    plain_rides = [_plain(ride) for ride in rides if not is_single_rider(ride.name)]
    store = partial(_store_catalog, plain_parks, plain_rides, now, matched, dry_run)
    return store() if dry_run else atomically(store)  # where nothing may be written, no transaction may begin


def _store_catalog(
    parks: list[ParkRecord], rides: list[RideRecord], now: datetime, matched: bool, dry_run: bool
) -> Catalog:
    stored = list(Park.select().order_by(Park.park_id))
    park_sync = _Sync(PARK_FIELDS, stored, now, dry_run)
    by_name = _agreeing(lambda park: (park.name, park.country))
    park_keys = [_BY_OUR_ID] if matched else [*_BY_IDS, by_name]
    park_ids = park_sync.store(_pairs(parks, stored, park_keys), lambda park: {})

    rides_of: dict[int, list[RideRecord]] = defaultdict(list)
    for ride in rides:
        rides_of[park_ids[ride.park_source_id]].append(ride)
    stored_rides: dict[int, list[Ride]] = defaultdict(list)
    known = Ride.select().order_by(Ride.ride_id)
    for row in known.where(Ride.park << [park.source_id for park in parks]) if matched else known:
        stored_rides[row.park_id].append(row)
    ride_sync = _Sync(RIDE_FIELDS, [row for of_park in stored_rides.values() for row in of_park], now, dry_run)
    by_source = [*_BY_IDS, _Match(lambda ride: ride.source_ride_id), _agreeing(lambda ride: ride.name)]
    keys = [_BY_OUR_ID] if matched else by_source
    pairs = [pair for park_id, of_park in rides_of.items() for pair in _pairs(of_park, stored_rides[park_id], keys)]
    ride_ids = ride_sync.store(pairs, lambda ride: {Ride.park: park_ids[ride.park_source_id]})

    if not dry_run and park_sync.added + park_sync.changed + ride_sync.added + ride_sync.changed:
        move_revisions(current=True, history=True)
    if not dry_run and (park_sync.judged or ride_sync.judged):
        mark_raw_days_dirty()
    return Catalog(park_ids, ride_ids, park_sync.added, park_sync.changed, ride_sync.added, ride_sync.changed)


def _plain(record: T) -> T:
    """`record` with every text as it is stored; one that is empty says nothing."""
    texts: Any = {name: plain_text(value) or None for name, value in record._asdict().items() if isinstance(value, str)}
    return record._replace(**texts)


def our_id(row: Park | Ride) -> int:
    """A row's key."""
    return row.park_id if isinstance(row, Park) else row.ride_id


class _Match(NamedTuple):
    """One way to find a record's row: `key` is of either; None finds nothing. `agree` may object."""

    key: Callable[[Any], object]
    agree: Callable[[Any, Any], bool] = lambda record, row: True


_BY_OUR_ID = _Match(lambda item: item.source_id if isinstance(item, ParkRecord | RideRecord) else our_id(item))
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
            if our_id(row) not in taken:
                free[match.key(row)].append(row)
        for index, record in enumerate(records):
            key = match.key(record)
            if index in rows_of or key is None:
                continue
            found = next((row for row in free[key] if our_id(row) not in taken and match.agree(record, row)), None)
            if found is not None:
                rows_of[index] = found
                taken.add(our_id(found))
    return [(record, rows_of.get(index)) for index, record in enumerate(records)]


class _Sync:
    """Writes the differences between records and rows of one table, and counts them."""

    def __init__(
        self, fields: Sequence[Field[Any]], stored: Sequence[Park] | Sequence[Ride], now: datetime, dry_run: bool
    ) -> None:
        self.fields = fields
        self.dry_run = dry_run
        self.model: Any = fields[0].model
        self.now = now
        self.added = self.changed = 0
        self.judged = False
        self.ids = {our_id(row) for row in stored}
        self.holders: dict[tuple[str, object], int | None] = {
            (name, getattr(row, name)): our_id(row) for row in stored for name in UNIQUE
        }

    def store(self, pairs: Sequence[tuple[T, M | None]], more: Callable[[T], Change]) -> dict[int, int]:
        """Our ids by the records' ids. `more` = the columns of a new row that its record does not name."""
        ids = {record.source_id: self._update(record, row) for record, row in pairs if row is not None}
        new = [record for record, row in pairs if row is None]
        self.added += len(new)
        if self.dry_run:
            return {**ids, **{record.source_id: record.source_id for record in new}}
        kept = [
            record for record in new
            if record.source_id not in self.ids and 0 < record.source_id <= LARGEST_KEPT_ID
        ]
        self.ids.update(record.source_id for record in kept)
        key: Field[Any] = self.model._meta.primary_key
        for batch in batches([{key: record.source_id, **more(record), **self._row(record)} for record in kept], 500):
            columns = list(batch[0])
            self.model.insert_many([list(row.values()) for row in batch], fields=columns).execute()
        ids.update((record.source_id, record.source_id) for record in kept)
        for record in new:
            if record.source_id not in ids:
                ids[record.source_id] = self.model.insert({**more(record), **self._row(record)}).execute()
        return ids

    def _update(self, record: ParkRecord | RideRecord, row: Park | Ride) -> int:
        changes: Change = {}
        for field in self.fields:
            told, stored = getattr(record, field.name), getattr(row, field.name)
            if told is None or told == stored or field.name == "source_ride_id" and stored is not None:
                continue
            if field.name not in UNIQUE or self._takes(field.name, told, our_id(row)):
                changes[field] = told
        if changes:
            changes[self.model.updated_at] = self.now
            if not self.dry_run:
                self.model.update(changes).where(self.model._meta.primary_key == our_id(row)).execute()
            self.changed += 1
            self.judged = self.judged or any(field.name in JUDGED for field in changes)
        return our_id(row)

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
