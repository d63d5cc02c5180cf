"""Which rides of a park's lists are the same, and which of its rows they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from service.feeds.queue_times import QueueRide, Queues
from service.feeds.themeparks_wiki import Children, WikiRide
from service.jobs.matching import Named, matched, normalised, ride_names
from service.jobs.syncing.joining import Called, E, Joined, Side, T, Unit, by_queue_times_id, by_wiki_id
from service.jobs.syncing.report import QUEUE_TIMES, WIKI, Conflict, Reidentified
from service.models import Ride

ListedRide: TypeAlias = Unit[Ride, WikiRide, QueueRide]


class RideLists(NamedTuple):
    """What the sources list of a park; None where one was not asked or gave no answer."""

    children: Children | None
    queues: Queues | None

    def wiki(self) -> dict[str, WikiRide]:
        """The rides of ThemeParks.wiki, by their ids there."""
        return {ride.themeparks_wiki_id: ride for ride in self.children.rides} if self.children else {}

    def queue_times(self) -> dict[int, QueueRide]:
        """The rides of Queue-Times, by their ids there."""
        return {ride.queue_times_id: ride for ride in self.queues.rides} if self.queues else {}

    def refused_ids(self) -> set[str | int | None]:
        """The ids of what is listed, though not so that it could be used."""
        return {refusal.source_id for answer in self if answer for refusal in answer.refused} - {None}


class Rides:
    """The rides of `park` as they are `listed`, each once; `rows` are ours there, `elsewhere` those of other parks that
    have ids of these lists. `refused` are our ids of rides that a list has, though not so that it could be used."""

    def __init__(self, park: str, rows: list[Ride], lists: RideLists, elsewhere: list[Ride], accepts: bool) -> None:
        self.park, self.rows = park, rows
        self.refused_ids = lists.refused_ids()
        self.reidentified: list[Reidentified] = []
        self.conflicts: list[Conflict] = []
        wiki = self._side(WIKI, lists.wiki(), by_wiki_id(rows), by_wiki_id(elsewhere))
        queue_times = self._side(
            QUEUE_TIMES, lists.queue_times(), by_queue_times_id(rows), by_queue_times_id(elsewhere)
        )
        joined = Joined(park, rows, wiki, queue_times, accepts)
        self.doubtful = joined.doubtful
        self.conflicts += joined.doubled("rides", lambda one, other: one in wiki.listed or other in queue_times.listed)
        self.listed = self._with_namesakes([
            unit for unit in joined.units
            if (unit.wiki or unit.queue_times) and joined.held.isdisjoint((unit.wiki_id, unit.queue_times_id))
        ])
        self.refused = {
            row.ride_id for row in rows
            if row.themeparks_wiki_id in self.refused_ids or row.queue_times_id in self.refused_ids
        }

    def _side(
        self, source: str, listed: dict[T, E], rows: dict[T, Ride], elsewhere: dict[T, Ride]
    ) -> Side[T, Ride, E]:
        """A source's rides. An id belongs to one row: what another park has is not taken from it. A ride that has
        another id now is still the row that had the former one."""
        for one in [one for one in listed if one in elsewhere]:
            ride, row = listed.pop(one), elsewhere[one]
            reason = f"{ride.name} ({source}) is ride {row.ride_id} of park {row.park_id} already."
            self.conflicts.append(Conflict(self.park, reason))
        changed = self._changed_ids(listed, rows)
        self.reidentified += [
            Reidentified(self.park, rows[before].ride_id, rows[before].name, source, before, now)
            for before, now in changed.items()
        ]
        return Side(listed, {changed.get(one, one): row for one, row in rows.items()}, _named)

    def _changed_ids(self, listed: Mapping[T, E], rows: Mapping[T, Ride]) -> dict[T, T]:
        """Ids that the source has no longer, with those it has given out instead: new ones, of rides that are called
        the same. Only a name that one row and one listed ride have, whatever their ids, tells that."""
        ours = Counter(normalised(row.name) for row in self.rows)
        theirs = Counter(normalised(ride.name) for ride in listed.values())
        new = {normalised(ride.name): one for one, ride in listed.items() if one not in rows}
        telling = {name for name in new if name and ours[name] == theirs[name] == 1}
        gone = {one: normalised(row.name) for one, row in rows.items() if one not in listed}
        return {one: new[name] for one, name in gone.items() if name in telling and one not in self.refused_ids}

    def _with_namesakes(self, units: list[ListedRide]) -> list[ListedRide]:
        """New rides that are rows without an id of a source."""
        new = [Named(number, ride_names(unit.name)) for number, unit in enumerate(units) if unit.row is None]
        bare = {row.ride_id: row for row in self.rows if row.themeparks_wiki_id is None and row.queue_times_id is None}
        for number, ride_id, _ in matched(new, [_named(one, row) for one, row in bare.items()]).pairs:
            units[number] = units[number]._replace(row=bare[ride_id])
        return units


def _named(one: T, ride: Called | Ride, row: Ride | None = None) -> Named[T]:
    return Named(one, ride_names(ride.name))
