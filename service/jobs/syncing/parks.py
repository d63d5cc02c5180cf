"""Which parks to ask for: ours, and those of the sources that are chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from service.feeds import ParkRecord
from service.feeds.themeparks_wiki import Entity
from service.jobs.matching import LARGEST_PARK_KILOMETERS, Named, Place, kilometers, likely_pairs, park_names
from service.jobs.syncing.joining import Joined, Side, Unit, by_queue_times_id, by_wiki_id
from service.jobs.syncing.report import QUEUE_TIMES, Conflict
from service.models import Park
from service.periods import country_of


class Choice(NamedTuple):
    """Which parks are brought into the catalog besides those that are refreshed because they are in it.

    `countries` are codes; `named` are parts of names, ids of Queue-Times or of ThemeParks.wiki. `fills_empty` takes all
    for a catalog without any park of a source, unless others are chosen. Doubtful pairs count with `accepts_doubtful`.
    """

    everything: bool = False
    countries: frozenset[str] = frozenset()
    named: tuple[str, ...] = ()
    fills_empty: bool = False
    accepts_doubtful: bool = False
    dry_run: bool = False


class WikiPark(NamedTuple):
    """A park in the list of ThemeParks.wiki."""

    name: str
    destination: str
    alone: bool  # whether it is the only one there


Target: TypeAlias = Unit[Park, WikiPark, ParkRecord]  # a park to ask for; its ids are of sources that may be asked


class Lists(NamedTuple):
    """The sources' parks by their ids there; None where there is no list."""

    wiki: dict[str, WikiPark] | None
    queue_times: dict[int, ParkRecord] | None

    def has_name(self, name: str) -> bool:
        """Whether a park of a source is called so."""
        wiki = [(park.name, one) for one, park in (self.wiki or {}).items()]
        parks = [(park.name, one) for one, park in (self.queue_times or {}).items()]
        return any(_is_named(name, *called) for called in [*wiki, *parks])


class Parks:
    """The sources' parks and ours: `targets` to ask for, ours first, and those that are `left_out`, as nobody chose
    them; the doubts and conflicts that the targets have part in."""

    def __init__(self, lists: Lists, rows: list[Park], places: Mapping[str, Entity | None], choice: Choice) -> None:
        self.places, self.choice = places, choice
        self.wiki = Side(lists.wiki or {}, by_wiki_id(rows), self._wiki_named)
        self.queue_times = Side(lists.queue_times or {}, by_queue_times_id(rows), _queue_times_named)
        self.joined = Joined(None, rows, self.wiki, self.queue_times, choice.accepts_doubtful)
        units = [
            unit._replace(
                wiki_id=None if lists.wiki is None else unit.wiki_id,
                queue_times_id=None if lists.queue_times is None else unit.queue_times_id,
            )
            for unit in self.joined.units
        ]
        new = [(unit, self._is_chosen(unit)) for unit in units if unit.row is None]
        self.targets = [unit for unit in units if unit.row and unit.row.is_active]
        self.targets += [unit for unit, is_chosen in new if is_chosen]
        self.left_out = [unit for unit, is_chosen in new if not is_chosen]
        wiki_ids, source_ids = {one.wiki_id for one in self.targets}, {one.queue_times_id for one in self.targets}
        doubtful = self.joined.doubtful
        self.doubtful = [one for one in doubtful if one.wiki_id in wiki_ids or one.queue_times_id in source_ids]

    def unplaced(self) -> list[str]:
        """The parks of the wiki of which has to be known where they lie: those to be added, those of ours without, and
        those that may be one of ours."""
        wanted = {target.wiki_id for target in self.targets}
        if self.choice.countries:
            wanted |= {target.wiki_id for target in self.left_out if not target.queue_times}
        sides = {one.queue_times_id for one in self.targets if not (one.row and one.row.themeparks_wiki_id)}
        wanted |= {pair.left for pair in likely_pairs(self.wiki.named, self.queue_times.named) if pair.right in sides}
        inactive = {one for one, row in self.wiki.rows.items() if not row.is_active}
        asked = wanted.intersection(self.wiki.listed) - inactive
        return [one.id for one in self.wiki.named if one.id in asked and one.place is None]

    def conflicts(self) -> Iterator[Conflict]:
        """Two rows of ours that are one park; and parks of a source each that are called alike and lie too far apart
        to be one."""
        wiki, told = self.wiki.rows, self.queue_times.rows
        yield from self.joined.doubled("parks", lambda one, other: wiki[one].is_active or told[other].is_active)
        paired, other_paired = {pair.left for pair in self.joined.pairs}, {pair.right for pair in self.joined.pairs}
        alone = {target.wiki_id for target in self.targets} - paired
        for one in [one for one in self.wiki.named if one.id in alone]:
            for other in [other for other in self.queue_times.named if other.id not in other_paired]:
                apart = kilometers(one.place, other.place) if one.place and other.place else 0.0
                if apart > LARGEST_PARK_KILOMETERS and set(one.names) & set(other.names):
                    second = f"{self.queue_times.name(other.id)} ({other.id} of {QUEUE_TIMES})"
                    yield Conflict(self.wiki.name(one.id), f"{second} is {apart:,.0f} km away, so it is another park.")

    def _is_chosen(self, target: Target) -> bool:
        both: list[tuple[str | int | None, WikiPark | ParkRecord | None]]
        both = [(target.wiki_id, target.wiki), (target.queue_times_id, target.queue_times)]
        called = [(park.name, one) for one, park in both if park]
        choice = self.choice
        if any(str(one) == name.casefold() for name in choice.named for _, one in called):
            return True  # who names its very id knows what it is
        if any(one in self.joined.held for _, one in called):
            return False
        named = any(_is_named(name, *name_and_id) for name in choice.named for name_and_id in called)
        country = told_country(target, self.places.get(target.wiki_id or ""))
        return choice.everything or named or country in choice.countries

    def _wiki_named(self, wiki_id: str, park: WikiPark | Park, row: Park | None) -> Named[str]:
        names = park_names(*park) if isinstance(park, WikiPark) else park_names(park.name)
        return Named(wiki_id, names, place_of(row) or place_of(self.places.get(wiki_id)), True)


def _queue_times_named(source_id: int, park: ParkRecord | Park, row: Park | None) -> Named[int]:
    return Named(source_id, park_names(park.name), place_of(row) or place_of(park), True)


def told_country(target: Target, entity: Entity | None) -> str | None:
    """Where a park is, as the sources say: Queue-Times, or the wiki by the time zone."""
    if target.queue_times:
        return target.queue_times.country
    return country_of(entity.timezone) if entity else None


def place_of(one: Park | ParkRecord | Entity | None) -> Place | None:
    """Where a park lies, as far as that is known."""
    if one is None or one.latitude is None or one.longitude is None:
        return None
    return Place(one.latitude, one.longitude)


def _is_named(wanted: str, name: str, source_id: object) -> bool:
    return wanted.casefold() in name.casefold() or wanted.casefold() == str(source_id)
