"""Which parks a collector asks about, and what it knows of them before: their rides, their hours, how they looked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

from peewee import Expression, fn

from service import rules
from service.database import fetch, reading
from service.models import Park, ParkActivitySnapshot, Ride
from service.models.base import rows
from service.periods import Interval, local_day_of
from service.queries.hours import NO_SCHEDULE, Schedule, schedules
from service.rules import Category, Source

CLOSED_PARK_SECONDS = 30 * 60  # a park that its schedule closes is asked about this often
DAY_SECONDS = 86400


class Hours(NamedTuple):
    """What a park's schedule says of a slot. `is_open`: None where it says nothing; `is_settled`: open, and neither
    just opened nor about to close; `is_idle`: closed, and for a while before and after."""

    is_open: bool | None
    is_settled: bool
    is_idle: bool


class Target(NamedTuple):
    """A park to ask about. Its rides by their ids at each source, as ours; `usual`: the most attractions that each
    source told of in one slot of the day before, of those that are attractions now at most."""

    park_id: int
    name: str
    themeparks_wiki_id: str | None
    queue_times_id: int | None
    hours: Hours
    wiki_rides: Mapping[str, int]
    queue_rides: Mapping[int, int]
    attractions: frozenset[int]
    usual: Mapping[Source, int]

    @property
    def sources(self) -> list[Source]:
        """Who can tell, the preferred one first: it gives a status, the other a flag. One that knows none of the rides
        cannot, unless neither does."""
        known = {Source.THEMEPARKS_WIKI: self.themeparks_wiki_id, Source.QUEUE_TIMES: self.queue_times_id}
        found = [source for source, there in known.items() if there is not None]
        return [source for source in found if self.has_rides(source)] or found

    def has_rides(self, source: Source) -> bool:
        """Whether any attraction of the park is known there."""
        rides = (self.wiki_rides if source is Source.THEMEPARKS_WIKI else self.queue_rides).values()
        return not self.attractions.isdisjoint(rides)


class _Park(NamedTuple):
    park_id: int
    name: str
    timezone: str
    themeparks_wiki_id: str | None
    queue_times_id: int | None


class _Ride(NamedTuple):
    ride_id: int
    park_id: int
    category: int
    themeparks_wiki_id: str | None
    queue_times_id: int | None


def has_targets() -> bool:
    """Whether any active park has an id at a source."""
    return Park.select().where(_is_told_of()).exists()


def _is_told_of() -> Expression:
    told: Expression = Park.is_active & (Park.themeparks_wiki_id.is_null(False) | Park.queue_times_id.is_null(False))
    return told


def targets(slot: int) -> list[Target]:
    """The active parks that a source tells of, by id; `slot` in epoch seconds."""
    with reading():
        query = Park.select(Park.park_id, Park.name, Park.timezone, Park.themeparks_wiki_id, Park.queue_times_id)
        parks = list(rows(query.where(_is_told_of()).order_by(Park.park_id), _Park))
        rides = _rides_of({park.park_id for park in parks})
        hours = _hours(parks, slot)
        usual = _usual(slot)
    return [_target(park, rides[park.park_id], hours[park.park_id], usual[park.park_id]) for park in parks]


def is_asked(target: Target, slot: int, step: int) -> bool:
    """Whether a park is asked about in a slot, `step` seconds from the next: a closed one each CLOSED_PARK_SECONDS, and
    at once where nothing is known of the last day."""
    every = max(CLOSED_PARK_SECONDS // step, 1)
    return not target.hours.is_idle or not target.usual or (slot // step + target.park_id) % every == 0


def _target(park: _Park, rides: list[_Ride], hours: Hours, usual: Mapping[Source, int]) -> Target:
    attractions = frozenset(ride.ride_id for ride in rides if ride.category == Category.ATTRACTION)
    return Target(
        park.park_id,
        park.name,
        park.themeparks_wiki_id,
        park.queue_times_id,
        hours,
        {ride.themeparks_wiki_id: ride.ride_id for ride in rides if ride.themeparks_wiki_id is not None},
        {ride.queue_times_id: ride.ride_id for ride in rides if ride.queue_times_id is not None},
        attractions,
        {source: min(most, len(attractions)) for source, most in usual.items()},
    )


def _rides_of(park_ids: set[int]) -> dict[int, list[_Ride]]:
    query = Ride.select(Ride.ride_id, Ride.park, Ride.category, Ride.themeparks_wiki_id, Ride.queue_times_id)
    found: dict[int, list[_Ride]] = defaultdict(list)
    for ride in rows(query, _Ride):
        if ride.park_id in park_ids:
            found[ride.park_id].append(ride)
    return found


def _hours(parks: list[_Park], slot: int) -> dict[int, Hours]:
    days = {park.park_id: local_day_of(slot, park.timezone) for park in parks}
    found = schedules(min(days.values()), max(days.values())) if days else {}
    return {park_id: hours_in(found.get(park_id, NO_SCHEDULE), slot, day) for park_id, day in days.items()}


def hours_in(schedule: Schedule, slot: int, day: date) -> Hours:
    """What a schedule says of a slot of the local `day`."""
    if not schedule.knows(day):
        return Hours(None, False, False)
    edge = rules.EDGE_SECONDS
    around = [Interval(opening.start - edge, opening.end + edge) for opening in schedule.openings]
    within = [Interval(opening.start + edge, opening.end - edge) for opening in schedule.openings]
    return Hours(
        any(opening.has(slot) for opening in schedule.openings),
        any(opening.has(slot) for opening in within),
        not any(opening.has(slot) for opening in around),
    )


def _usual(slot: int) -> dict[int, dict[Source, int]]:
    snapshot = ParkActivitySnapshot
    query = (
        snapshot.select(snapshot.park_id, snapshot.source, fn.MAX(snapshot.rides_tracked))
        .where(snapshot.snapshot_time.between(slot - DAY_SECONDS, slot - 1), ~snapshot.is_suspect)
        .group_by(snapshot.park_id, snapshot.source)
    )
    found: dict[int, dict[Source, int]] = defaultdict(dict)
    for park_id, source, most in fetch(query):
        found[park_id][Source(source)] = most
    return found
