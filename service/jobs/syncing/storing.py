"""Stores what the sources said of one park."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from peewee import fn

from service.feeds import ParkRecord, RideRecord
from service.feeds.csv_files import OPERATORS
from service.feeds.themeparks_wiki import Entity
from service.jobs.catalog import Change, store_catalog
from service.jobs.marks import move_revisions
from service.jobs.matching import LARGEST_PARK_KILOMETERS, Place, kilometers, park_names
from service.jobs.syncing.parks import Choice, Target, place_of, told_country
from service.jobs.syncing.report import WIKI, Failure, Moved, Renamed, Report
from service.jobs.syncing.rides import ListedRide, RideLists, Rides
from service.models import Park, Ride
from service.rules import ParkType


@dataclass
class ParkStore:
    """A park, and what was said about it and its rides. Those that no list has had for `vanished_after` become
    inactive, and active again once they are back."""

    target: Target
    entity: Entity | None
    lists: RideLists
    choice: Choice
    now: datetime
    vanished_after: timedelta

    def store(self) -> Report:
        """Store all of it, in the transaction of the caller, and say what changed: can be done anew. A park of which
        no source says where it is is left out, with a failure in the report."""
        row = self._row_now() or self._namesake()
        if row:
            ids = self.target.wiki_id or row.themeparks_wiki_id, self.target.queue_times_id or row.queue_times_id
            self.target = self.target._replace(row=row, wiki_id=ids[0], queue_times_id=ids[1])
        told = self.target.queue_times
        zone = self._zone(row)
        country = row.country if row and not told else told_country(self.target, self.entity)
        if zone is None or country is None:
            missing = "time zone" if zone is None else "country"
            reason = f"{self.target.name} is left out: no source says its {missing}."
            return Report(failures=[Failure(WIKI, self.target.name, reason)])
        park = self._park_record(row, zone, country)
        rows = list(Ride.select().where(Ride.park == row.park_id).order_by(Ride.ride_id)) if row else []
        rides = Rides(park.name, rows, self.lists, self._elsewhere(row), self.choice.accepts_doubtful)
        records = [_ride_record(number, unit, park.source_id) for number, unit in enumerate(rides.listed, 1)]
        catalog = store_catalog([park], records, self.now, matched=True, dry_run=self.choice.dry_run)
        [park_id] = catalog.park_ids.values()
        listed = rides.refused.union(catalog.ride_ids.values())
        vanished, returned = self._vanished(rows, listed), self._returned(rows, listed)
        if not self.choice.dry_run:
            self._store_listing(park_id, listed, vanished, returned)
        return Report(
            parks_added=[park.name] * catalog.parks_added,
            parks_changed=catalog.parks_changed,
            rides_added=catalog.rides_added,
            rides_changed=catalog.rides_changed,
            renamed=_renamed(row, park, rides.listed),
            reidentified=rides.reidentified,
            vanished=[Moved(park.name, ride.ride_id, ride.name) for ride in vanished],
            returned=[Moved(park.name, ride.ride_id, ride.name) for ride in returned],
            doubtful=rides.doubtful,
            conflicts=rides.conflicts,
            done=[park_id],
        )

    # --- the park ---

    def _row_now(self) -> Park | None:
        """The park's row as it is now: another sync may have added it since."""
        row, wiki_id, source_id, *_ = self.target
        if row:
            return Park.get_or_none(Park.park_id == row.park_id)
        found = Park.get_or_none(Park.themeparks_wiki_id == wiki_id) if wiki_id is not None else None
        if found is None and source_id is not None:
            found = Park.get_or_none(Park.queue_times_id == source_id)
        return found

    def _namesake(self) -> Park | None:
        """The only park without an id of a source that is called so, in that country, and not elsewhere."""
        wiki, told = self.target.wiki, self.target.queue_times
        called = {*(park_names(*wiki) if wiki else ()), *(park_names(told.name) if told else ())}
        without = Park.select().where(
            Park.country == told_country(self.target, self.entity),
            Park.themeparks_wiki_id.is_null(),
            Park.queue_times_id.is_null(),
        )
        place = self._told_place()
        found = [row for row in without if called.intersection(park_names(row.name)[:1]) and _may_be_at(row, place)]
        return found[0] if len(found) == 1 else None

    def _park_record(self, row: Park | None, zone: str, country: str) -> ParkRecord:
        target = self.target
        park_type, operator = _operator(target)
        is_placed = row and row.latitude is not None and target.wiki_id
        latitude, longitude = (None if is_placed else self._told_place()) or (None, None)
        return ParkRecord(
            row.park_id if row else -1, target.name, park_type, country, zone, operator,
            latitude=latitude, longitude=longitude,
            queue_times_id=target.queue_times_id, themeparks_wiki_id=target.wiki_id,
        )

    def _told_place(self) -> Place | None:
        return place_of(self.entity) or place_of(self.target.queue_times)

    def _zone(self, row: Park | None) -> str | None:
        """A park's own answer knows best, and is asked for once: what it said stays."""
        told = self.target.queue_times
        if row and (self.target.wiki_id or not told):
            return row.timezone
        known = told if row else self.entity or told
        return known.timezone if known else None

    # --- its rides ---

    def _elsewhere(self, row: Park | None) -> list[Ride]:
        """Rides of other parks that have ids of this one's lists."""
        wiki, queues = list(self.lists.wiki()), list(self.lists.queue_times())
        held = (Ride.themeparks_wiki_id << wiki) | (Ride.queue_times_id << queues)
        return list(Ride.select().where(held, Ride.park != (row.park_id if row else 0)))

    def _vanished(self, rows: list[Ride], listed: set[int]) -> list[Ride]:
        """Only lists with something in them tell that something is not."""
        ids_and_answers = (self.target.wiki_id, self.lists.children), (self.target.queue_times_id, self.lists.queues)
        if any(one and not (answer and answer.rides) for one, answer in ids_and_answers):
            return []
        return [
            row for row in rows
            if row.is_active and row.ride_id not in listed and (row.themeparks_wiki_id or row.queue_times_id)
            and self.now - (row.last_listed_at or row.created_at) > self.vanished_after
        ]

    def _returned(self, rows: list[Ride], listed: set[int]) -> list[Ride]:
        """Those that the lists were without for so long. That nobody asked for long is no absence."""
        newest = max((row.last_listed_at for row in rows if row.last_listed_at), default=self.now)
        return [
            row for row in rows
            if not row.is_active and row.ride_id in listed
            and row.last_listed_at and newest - row.last_listed_at > self.vanished_after
        ]

    def _store_listing(self, park_id: int, listed: set[int], vanished: list[Ride], returned: list[Ride]) -> None:
        if vanished:
            # A ride that was never listed gets the day it is missed since: by it is told whether it comes back.
            since = fn.COALESCE(Ride.last_listed_at, Ride.created_at)
            self._change(vanished, {Ride.is_active: False, Ride.last_listed_at: since})
        if returned:
            self._change(returned, {Ride.is_active: True})
        earlier = Ride.last_listed_at.is_null() | (Ride.last_listed_at < self.now)
        raised = Ride.update({Ride.last_listed_at: self.now})
        raised.where(Ride.park == park_id, Ride.ride_id << sorted(listed), earlier).execute()
        if vanished or returned:
            move_revisions(current=True, history=True)

    def _change(self, rows: list[Ride], changes: Change) -> None:
        changed = Ride.update({**changes, Ride.updated_at: self.now})
        changed.where(Ride.ride_id << [row.ride_id for row in rows]).execute()


def _may_be_at(row: Park, place: Place | None) -> bool:
    own = place_of(row)
    return own is None or place is None or kilometers(own, place) <= LARGEST_PARK_KILOMETERS


def _operator(target: Target) -> tuple[ParkType, str | None]:
    """Whose park it is: as Queue-Times says, as it is stored, or as its name sounds."""
    if target.queue_times:
        return target.queue_times.park_type, target.queue_times.operator
    if target.row:
        return target.row.park_type, None
    words = f"{target.wiki.destination} {target.wiki.name}".casefold() if target.wiki else ""
    return next((OPERATORS[word] for word in ("disney", "universal") if word in words), (ParkType.OTHER, None))


def _ride_record(number: int, unit: ListedRide, park_source_id: int) -> RideRecord:
    return RideRecord(
        unit.row.ride_id if unit.row else -number,
        park_source_id,
        unit.name,
        land_area=unit.queue_times.land_area if unit.queue_times else None,
        category=unit.wiki.category if unit.wiki and not unit.row else None,  # an operator's word stays
        queue_times_id=unit.queue_times_id,
        themeparks_wiki_id=unit.wiki_id,
    )


def _renamed(row: Park | None, park: ParkRecord, rides: Sequence[ListedRide]) -> list[Renamed]:
    parks = [Renamed(park.name, None, row.name, park.name)] if row and row.name != park.name else []
    return parks + [
        Renamed(park.name, unit.row.ride_id, unit.row.name, unit.name)
        for unit in rides if unit.row and unit.row.name != unit.name
    ]
