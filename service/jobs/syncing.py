"""Bringing parks and rides up to date with ThemeParks.wiki and Queue-Times."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar

from peewee import fn

from service.config import Settings
from service.errors import BadFeed, BadRequest, ServiceError, Unanswered
from service.feeds import ParkRecord, RideRecord
from service.feeds.csv_files import OPERATORS
from service.feeds.foreign import Refusal
from service.feeds.queue_times import QueueRide, Queues
from service.feeds.sources import Sources
from service.feeds.themeparks_wiki import Children, Entity, WikiRide
from service.jobs.catalog import Change, store_catalog
from service.jobs.joblog import Run, logged
from service.jobs.marks import atomically, move_revisions, set_state
from service.jobs.matching import (
    LARGEST_PARK_KILOMETERS,
    Matching,
    Named,
    Place,
    kilometers,
    likely_pairs,
    matched,
    park_names,
    ride_names,
)
from service.jobs.patience import patiently
from service.models import Park, Ride
from service.periods import country_of
from service.queries import state
from service.rules import ParkType

WIKI: Final = "ThemeParks.wiki"
QUEUE_TIMES: Final = "Queue-Times"
FILLING: Final = "catalog_filling"  # 1 in service_state while an empty catalog is filled, killed or not

MOST_RIDES: Final = 500  # the largest parks have some 150, shows and all

T = TypeVar("T")
L = TypeVar("L", Children, Queues)
Progress = Callable[[str, int, int], object]  # of what label, how many are done, of how many


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


class Doubt(NamedTuple):
    """Two names that may mean the same; `park` says where, None if they are parks. `accepted`: it was taken so."""

    park: str | None
    wiki_name: str
    wiki_id: str
    queue_times_name: str
    queue_times_id: int
    similarity: float
    accepted: bool


class Conflict(NamedTuple):
    """What the sources say that our rows do not fit; nothing was changed for it."""

    park: str
    reason: str


class Renamed(NamedTuple):
    """A park (`ride_id` None) or ride that is called otherwise now."""

    park: str
    ride_id: int | None
    before: str
    name: str


class Moved(NamedTuple):
    """A ride that left the lists, or came back."""

    park: str
    ride_id: int
    name: str


class Refused(NamedTuple):
    """What a source said and was not used."""

    source: str
    park: str | None
    refusal: Refusal


class Failure(NamedTuple):
    """A question without an answer, or a park that cannot be stored; `park` is None where it was a whole list."""

    source: str
    park: str | None
    reason: str


@dataclass
class Report:
    """What a sync did, or with `dry_run` would do. `done` are our ids of the parks whose turn it was; `is_complete`
    says whether none is left. `not_in_catalog` counts parks of the sources that were not asked for."""

    dry_run: bool = False
    parks_asked: int = 0
    parks_added: list[str] = field(default_factory=list)
    parks_changed: int = 0
    rides_added: int = 0
    rides_changed: int = 0
    not_in_catalog: int = 0
    renamed: list[Renamed] = field(default_factory=list)
    vanished: list[Moved] = field(default_factory=list)
    returned: list[Moved] = field(default_factory=list)
    doubtful: list[Doubt] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    is_complete: bool = False
    run: Run | None = None

    @property
    def changes(self) -> int:
        """How many rows are new or different."""
        parks = len(self.parks_added) + self.parks_changed
        return parks + self.rides_added + self.rides_changed + len(self.vanished) + len(self.returned)


def sync(
    settings: Settings,
    sources: Sources,
    now: datetime,
    choice: Choice = Choice(),
    *,
    done: Collection[int] = (),
    proceed: Callable[[], bool] = lambda: True,
    progress: Progress = lambda label, done, total: None,
) -> Report:
    """Refresh the active parks that a source knows, and add those of `choice`; each is stored as soon as it is told.

    `proceed` is asked before each park. Stopped, it goes on where it was if `done` says which parks were. `sources`
    should be asked through a Round of its own. What fails is in the report, and the run in the job log has failed where
    a whole list did. Raises ServiceError if neither source has a list, BadRequest if a named park is in none.
    """
    report = Report(dry_run=choice.dry_run)
    work = _Sync(settings, sources, now, choice, report, proceed, progress)
    if choice.dry_run:
        work.go(done)
        return report
    refused: BadRequest | None = None
    with logged("catalog", now) as run:
        report.run = run
        try:
            work.go(done)
        except BadRequest as error:  # no failure of the job's
            refused = error
        finally:
            run.rows_processed, run.warnings = report.changes, len(report.failures) + len(report.refused)
        run.failure = " ".join(one.reason for one in report.failures if one.park is None) or None
    if refused:
        raise refused
    return report


# --- what is asked of whom -------------------------------------------------------------------------------------------


class _WikiPark(NamedTuple):
    """A park in the list of ThemeParks.wiki."""

    name: str
    destination: str
    alone: bool  # whether it is the only one there


class _Lists(NamedTuple):
    """The sources' parks by their ids there; None where there is no list."""

    wiki: dict[str, _WikiPark] | None
    queue_times: dict[int, ParkRecord] | None

    def has_name(self, name: str) -> bool:
        """Whether a park of a source is called so."""
        wiki = [(park.name, wiki_id) for wiki_id, park in (self.wiki or {}).items()]
        parks = [(park.name, park.source_id) for park in (self.queue_times or {}).values()]
        return any(_is_named(name, *called) for called in [*wiki, *parks])


class _Target(NamedTuple):
    """A park to ask for: its row, and what the lists say of it. The ids are of sources that may be asked."""

    row: Park | None
    wiki_id: str | None
    queue_times_id: int | None
    wiki: _WikiPark | None
    queue_times: ParkRecord | None

    @property
    def name(self) -> str:
        """The wiki's name wherever there is one, so that it stays when the wiki is silent."""
        if self.wiki:
            return self.wiki.name
        if self.row and (self.row.themeparks_wiki_id or not self.queue_times):
            return self.row.name
        return self.queue_times.name if self.queue_times else ""

    def called(self) -> list[tuple[str, str | int]]:
        """Its name and id in each list that has it."""
        found: list[tuple[str, str | int]] = []
        if self.wiki and self.wiki_id is not None:
            found.append((self.wiki.name, self.wiki_id))
        if self.queue_times:
            found.append((self.queue_times.name, self.queue_times.source_id))
        return found


class _Answers(NamedTuple):
    entity: Entity | None
    children: Children | None
    queues: Queues | None


class _Plan(NamedTuple):
    """Parks to refresh and to add, and those that nobody asked for; doubts and conflicts among those."""

    targets: list[_Target]
    left_out: list[_Target]
    doubtful: list[Doubt]
    conflicts: list[Conflict]


class _Sync:
    def __init__(
        self, settings: Settings, sources: Sources, now: datetime, choice: Choice, report: Report,
        proceed: Callable[[], bool], progress: Progress,
    ) -> None:
        self.vanished_after = timedelta(days=settings.ride_vanished_days)
        self.sources = sources
        self.now = now
        self.choice = choice
        self.report = report
        self.proceed = proceed
        self.progress = progress
        self.places: dict[str, Entity | None] = {}

    def go(self, done: Collection[int]) -> None:
        lists = self._lists()
        rows = patiently(lambda: list(Park.select().order_by(Park.park_id)))
        choice = self._choice(lists, rows)
        if not self._ask_places(_Parks(lists, rows, self.places), choice):
            return
        plan = _Parks(lists, rows, self.places).plan(choice)
        self.report.doubtful.extend(plan.doubtful)
        self.report.conflicts.extend(plan.conflicts)
        self.report.not_in_catalog = len(plan.left_out)
        targets = [target for target in plan.targets if not (target.row and target.row.park_id in done)]
        for number, target in enumerate(targets):
            self.progress("Parks", number, len(targets))
            if not self.proceed():
                return
            self._sync_park(target)
        self.progress("Parks", len(targets), len(targets))
        self.report.is_complete = True
        if self.choice.fills_empty and None not in lists and state.get_state(FILLING):
            self._note_filling(False)

    def _lists(self) -> _Lists:
        destinations = self._answer(WIKI, None, self.sources.destinations)
        parks = self._answer(QUEUE_TIMES, None, self.sources.queue_times_parks)
        if destinations is None and parks is None:
            raise ServiceError(" ".join(failure.reason for failure in self.report.failures))
        for source, found in ((WIKI, destinations), (QUEUE_TIMES, parks)):
            self._note_refused(source, None, found.refused if found else [])
        wiki = destinations and {
            park.themeparks_wiki_id: _WikiPark(park.name, resort.name, len(resort.parks) == 1)
            for resort in destinations.destinations
            for park in resort.parks
        }
        return _Lists(wiki, parks and {park.source_id: park for park in parks.parks})

    def _choice(self, lists: _Lists, rows: list[Park]) -> Choice:
        choice = self.choice
        unknown = [name for name in choice.named if not lists.has_name(name)]
        if unknown and None not in lists:
            raise BadRequest(f"No park of {WIKI} or {QUEUE_TIMES} is {unknown[0]!r}: give a part of its name or an id.")
        if not choice.fills_empty:
            return choice
        is_empty = all(row.themeparks_wiki_id is None and row.queue_times_id is None for row in rows)
        was_filling = state.get_state(FILLING) == 1
        others_chosen = choice.everything or choice.countries or choice.named
        fills = (is_empty or was_filling) and not others_chosen
        if fills != was_filling:
            self._note_filling(fills)
        return choice._replace(everything=choice.everything or fills)

    def _note_filling(self, fills: bool) -> None:
        """A catalog that is filled in part is not empty any more: the next run has to know what it began as."""
        if not self.choice.dry_run:
            patiently(partial(atomically, partial(set_state, FILLING, int(fills))))

    def _ask_places(self, parks: _Parks, choice: Choice) -> bool:
        """Ask where those parks of the wiki lie on which it depends what they are; whether there was time to."""
        asked = parks.unplaced(choice)
        for number, wiki_id in enumerate(asked):
            self.progress("Places", number, len(asked))
            if not self.proceed():
                return False
            called = parks.wiki_name(wiki_id)
            self.places[wiki_id] = self._answer(WIKI, called, partial(self.sources.wiki_park, wiki_id))
            if entity := self.places[wiki_id]:
                self._note_refused(WIKI, called, entity.refused)
        return True

    def _sync_park(self, target: _Target) -> None:
        answers = self._ask(target)
        self.report.parks_asked += 1
        store = partial(_store_park, self, target, answers)
        stored = patiently(store if self.choice.dry_run else partial(atomically, store))
        report = self.report
        report.parks_added += stored.parks_added
        report.parks_changed += stored.parks_changed
        report.rides_added += stored.rides_added
        report.rides_changed += stored.rides_changed
        for name in ("renamed", "vanished", "returned", "doubtful", "conflicts", "failures", "done"):
            getattr(report, name).extend(getattr(stored, name))

    def _ask(self, target: _Target) -> _Answers:
        children = queues = None
        if target.wiki_id is not None:
            children = self._listed(WIKI, target, partial(self.sources.children, target.wiki_id))
        if target.queue_times_id is not None:
            queues = self._listed(QUEUE_TIMES, target, partial(self.sources.queue_times, target.queue_times_id))
        for source, found in ((WIKI, children), (QUEUE_TIMES, queues)):
            self._note_refused(source, target.name, found.refused if found else [])
        return _Answers(self.places.get(target.wiki_id or ""), children, queues)

    def _listed(self, source: str, target: _Target, ask: Callable[[], L]) -> L | None:
        found = self._answer(source, target.name, ask)
        if found is None or len(found.rides) <= MOST_RIDES:
            return found
        reason = f"{source} lists {len(found.rides):,} rides of {target.name}: no park has more than {MOST_RIDES:,}."
        self.report.failures.append(Failure(source, target.name, reason))
        return None

    def _answer(self, source: str, park: str | None, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except (Unanswered, BadFeed) as error:
            self.report.failures.append(Failure(source, park, str(error)))
            return None

    def _note_refused(self, source: str, park: str | None, refused: Iterable[Refusal]) -> None:
        self.report.refused.extend(Refused(source, park, refusal) for refusal in refused)


# --- which parks -----------------------------------------------------------------------------------------------------


class _Parks:
    """The sources' parks and ours, and which of them are the same."""

    def __init__(self, lists: _Lists, rows: list[Park], places: Mapping[str, Entity | None]) -> None:
        self.wiki, self.queue_times = lists.wiki or {}, lists.queue_times or {}
        self.asks_wiki, self.asks_queue_times = lists.wiki is not None, lists.queue_times is not None
        self.rows = rows
        self.places = places
        self.by_wiki = {row.themeparks_wiki_id: row for row in rows if row.themeparks_wiki_id is not None}
        self.by_queue_times = {row.queue_times_id: row for row in rows if row.queue_times_id is not None}
        self.left = [self._wiki_named(one) for one in {**self.by_wiki, **self.wiki}]
        self.right = [self._queue_times_named(one) for one in {**self.by_queue_times, **self.queue_times}]
        known = [
            (row.themeparks_wiki_id, row.queue_times_id)
            for row in rows if row.themeparks_wiki_id is not None and row.queue_times_id is not None
        ]
        self.matching: Matching[str, int] = matched(self.left, self.right, known)

    def wiki_name(self, wiki_id: str) -> str:
        return self.wiki[wiki_id].name if wiki_id in self.wiki else self.by_wiki[wiki_id].name

    def unplaced(self, choice: Choice) -> list[str]:
        """The parks of the wiki of which has to be known where they lie: those to be added, those of ours without, and
        those that may be one of ours."""
        plan = self.plan(choice)
        wanted = {target.wiki_id for target in plan.targets}
        if choice.countries:
            wanted |= {target.wiki_id for target in plan.left_out if not target.queue_times}
        sides = {target.queue_times_id for target in plan.targets if not (target.row and target.row.themeparks_wiki_id)}
        wanted |= {pair.left for pair in likely_pairs(self.left, self.right) if pair.right in sides}
        asked = [one for one in self.left if one.id in wanted and one.place is None and one.id in self.wiki]
        return [one.id for one in asked if self._is_asked_for(self.by_wiki.get(one.id))]

    def _is_asked_for(self, row: Park | None) -> bool:
        return row is None or row.is_active

    def plan(self, choice: Choice) -> _Plan:
        """Which parks to ask for, ours first."""
        partners, doubtful, held = self._partners(choice)
        of_wiki, of_queue_times = dict(partners), {other: one for one, other in partners}
        targets = [
            self._target(
                row,
                row.themeparks_wiki_id or self._free(of_queue_times.get(row.queue_times_id or 0), self.by_wiki),
                row.queue_times_id or self._free(of_wiki.get(row.themeparks_wiki_id or ""), self.by_queue_times),
            )
            for row in self.rows
            if row.is_active and (row.themeparks_wiki_id is not None or row.queue_times_id is not None)
        ]
        found = list(self._new(of_wiki, of_queue_times))
        chosen = [target for target in found if self._is_chosen(target, choice, held)]
        left_out = [target for target in found if target not in chosen]
        targets += chosen
        told = [doubt for doubt in doubtful if _concerns(doubt.wiki_id, doubt.queue_times_id, targets)]
        conflicts = [*self._conflicts(partners), *self._apart(targets)]
        return _Plan(targets, left_out, told, conflicts)

    def _partners(self, choice: Choice) -> tuple[list[tuple[str, int]], list[Doubt], set[str | int]]:
        """Ids that belong together, doubts about others, and of those the sides that wait for them to be settled."""
        partners = [(pair.left, pair.right) for pair in self.matching.pairs]
        doubtful: list[Doubt] = []
        held: set[str | int] = set()
        for one, other, similarity in self.matching.doubtful:
            if one in self.by_wiki and other in self.by_queue_times:
                continue  # two rows of ours: nothing hangs on it
            names = self.wiki_name(one), one, self._queue_times_name(other), other
            doubtful.append(Doubt(None, *names, similarity, choice.accepts_doubtful))
            if choice.accepts_doubtful:
                partners.append((one, other))
            else:
                held.add(one if other in self.by_queue_times else other)
        return partners, doubtful, held

    def _free(self, found: T | None, stored: Mapping[T, Park]) -> T | None:
        return None if found in stored else found

    def _new(self, of_wiki: Mapping[str, int], of_queue_times: Mapping[int, str]) -> Iterator[_Target]:
        for wiki_id in _without(self.wiki, self.by_wiki):
            other = of_wiki.get(wiki_id)
            if other not in self.by_queue_times:
                yield self._target(None, wiki_id, other)
        for source_id in _without(self.queue_times, self.by_queue_times):
            if source_id not in of_queue_times:
                yield self._target(None, None, source_id)

    def _is_chosen(self, target: _Target, choice: Choice, held: set[str | int]) -> bool:
        called = target.called()
        if any(str(one) == name.casefold() for name in choice.named for _, one in called):
            return True  # who names its very id knows what it is
        if any(one in held for _, one in called):
            return False
        named = any(_is_named(name, *text_and_id) for name in choice.named for text_and_id in called)
        return choice.everything or named or self._country(target) in choice.countries

    def _country(self, target: _Target) -> str | None:
        if target.queue_times:
            return target.queue_times.country
        entity = self.places.get(target.wiki_id or "")
        return country_of(entity.timezone) if entity else None

    def _target(self, row: Park | None, wiki_id: str | None, source_id: int | None) -> _Target:
        return _Target(
            row,
            wiki_id if self.asks_wiki else None,
            source_id if self.asks_queue_times else None,
            self.wiki.get(wiki_id or ""),
            self.queue_times.get(source_id or 0),
        )

    def _conflicts(self, partners: Iterable[tuple[str, int]]) -> Iterator[Conflict]:
        for one, other in partners:
            row, second = self.by_wiki.get(one), self.by_queue_times.get(other)
            if row and second and row.park_id != second.park_id and (row.is_active or second.is_active):
                yield _two_rows(row.name, row.park_id, second.name, second.park_id, "parks", row.name)

    def _apart(self, targets: Iterable[_Target]) -> Iterator[Conflict]:
        """Parks that are called alike, one in each source only, and lie too far apart to be one."""
        paired = {pair.left for pair in self.matching.pairs}, {pair.right for pair in self.matching.pairs}
        alone = [one for one in self.left if one.id not in paired[0]], [o for o in self.right if o.id not in paired[1]]
        of_targets = {target.wiki_id for target in targets}
        for one in alone[0]:
            for other in alone[1]:
                if one.id in of_targets and one.place and other.place and set(one.names) & set(other.names):
                    apart = kilometers(one.place, other.place)
                    if apart > LARGEST_PARK_KILOMETERS:
                        second = f"{self._queue_times_name(other.id)} ({other.id} of {QUEUE_TIMES})"
                        reason = f"{second} is {apart:,.0f} km away, so it is another park."
                        yield Conflict(self.wiki_name(one.id), reason)

    def _wiki_named(self, wiki_id: str) -> Named[str]:
        row, park, entity = self.by_wiki.get(wiki_id), self.wiki.get(wiki_id), self.places.get(wiki_id)
        names = park_names(*park) if park else park_names(row.name if row else "")
        place = _place(row.latitude, row.longitude) if row else None
        return Named(wiki_id, names, place or (_place(entity.latitude, entity.longitude) if entity else None), True)

    def _queue_times_named(self, source_id: int) -> Named[int]:
        row, park = self.by_queue_times.get(source_id), self.queue_times.get(source_id)
        place = _place(row.latitude, row.longitude) if row else None
        if park:
            return Named(source_id, park_names(park.name), place or _place(park.latitude, park.longitude), True)
        return Named(source_id, park_names(row.name if row else ""), place, True)

    def _queue_times_name(self, source_id: int) -> str:
        park = self.queue_times.get(source_id)
        return park.name if park else self.by_queue_times[source_id].name


def _without(ids: Iterable[T], others: Collection[object]) -> list[T]:
    return [one for one in ids if one not in others]


def _is_named(wanted: str, name: str, source_id: object) -> bool:
    return wanted.casefold() in name.casefold() or wanted.casefold() == str(source_id)


def _concerns(wiki_id: str, source_id: int, targets: Iterable[_Target]) -> bool:
    return any(wiki_id == target.wiki_id or source_id == target.queue_times_id for target in targets)


def _place(latitude: float | None, longitude: float | None) -> Place | None:
    return None if latitude is None or longitude is None else Place(latitude, longitude)


def _two_rows(name: str, row_id: int, second: str, second_id: int, what: str, park: str) -> Conflict:
    return Conflict(
        park, f"{name} ({WIKI}) and {second} ({QUEUE_TIMES}) are one, but {row_id} and {second_id} of our {what}."
    )


# --- one park --------------------------------------------------------------------------------------------------------


class _Unit(NamedTuple):
    """A ride as the lists have it: its row, and what each source says."""

    row: Ride | None
    wiki_id: str | None
    queue_times_id: int | None
    wiki: WikiRide | None
    queue_times: QueueRide | None

    @property
    def name(self) -> str:
        """As a park's."""
        if self.wiki:
            return self.wiki.name
        if self.row and (self.row.themeparks_wiki_id or not self.queue_times):
            return self.row.name
        return self.queue_times.name if self.queue_times else ""


class _ParkStore:
    """Stores what the sources said of a park, in the transaction of the caller."""

    def __init__(self, work: _Sync, target: _Target, answers: _Answers) -> None:
        self.now = work.now
        self.vanished_after = work.vanished_after
        self.choice = work.choice
        self.answers = answers
        self.target = target._replace(row=_row_now(target))
        self.report = Report()

    def store(self) -> Report:
        row = self.target.row
        record = self._park_record(row)
        if record and row is None and (row := _namesake(record, self.target)):
            record = self._park_record(row)
        if record is None:
            return self.report
        rows = list(Ride.select().where(Ride.park == row.park_id).order_by(Ride.ride_id)) if row else []
        rides = _Rides(record.name, rows, self.answers, self._elsewhere(row), self.choice.accepts_doubtful)
        units = rides.units()
        self.report.doubtful, self.report.conflicts = rides.doubtful, rides.conflicts
        records = [_ride_record(number, unit, record.source_id) for number, unit in enumerate(units, 1)]
        catalog = store_catalog([record], records, self.now, matched=True, dry_run=self.choice.dry_run)
        self.report.parks_added = [record.name] * catalog.parks_added
        self.report.parks_changed = catalog.parks_changed
        self.report.rides_added, self.report.rides_changed = catalog.rides_added, catalog.rides_changed
        self._note_renamed(row, record, units)
        ids = {catalog.ride_ids[one.source_id] for one in records if one.source_id in catalog.ride_ids}
        listed = ids | {one.ride_id for one in rows if rides.was_refused(one)}
        park_id = catalog.park_ids[record.source_id]
        self._store_listing(park_id, record, rows, listed)
        self.report.done = [park_id]
        return self.report

    def _park_record(self, row: Park | None) -> ParkRecord | None:
        """The park as it is to be stored; None, and a failure, where country or zone cannot be told."""
        target, told, entity = self.target, self.target.queue_times, self.answers.entity
        zone, country = self._zone(row), self._country(row)
        if zone is None or country is None:
            missing = "time zone" if zone is None else "country"
            reason = f"{target.name} is left out: no source says its {missing}."
            self.report.failures = [Failure(WIKI, target.name, reason)]
            return None
        park_type, operator = _operator(target, row)
        placed = row and row.latitude is not None and (row.themeparks_wiki_id or target.wiki_id)
        places = [_place(source.latitude, source.longitude) for source in (entity, told) if source]
        latitude, longitude = next((place for place in places if place and not placed), (None, None))
        return ParkRecord(
            row.park_id if row else -1, target._replace(row=row).name, park_type, country, zone, operator,
            latitude=latitude, longitude=longitude,
            queue_times_id=target.queue_times_id, themeparks_wiki_id=target.wiki_id,
        )

    def _zone(self, row: Park | None) -> str | None:
        """A park's own answer knows best, and is asked for once: what it said stays."""
        told = self.target.queue_times
        if row:
            by_wiki = row.themeparks_wiki_id or self.target.wiki_id
            return told.timezone if told and not by_wiki else row.timezone
        entity = self.answers.entity
        return entity.timezone if entity else told and told.timezone

    def _country(self, row: Park | None) -> str | None:
        if self.target.queue_times:
            return self.target.queue_times.country
        if row:
            return row.country
        return country_of(self.answers.entity.timezone) if self.answers.entity else None

    def _elsewhere(self, row: Park | None) -> dict[str | int, Ride]:
        """Rides of other parks that have ids of this one's lists."""
        wiki = [ride.themeparks_wiki_id for ride in self.answers.children.rides] if self.answers.children else []
        queues = [ride.queue_times_id for ride in self.answers.queues.rides] if self.answers.queues else []
        held = (Ride.themeparks_wiki_id << wiki) | (Ride.queue_times_id << queues)
        found = Ride.select().where(held, Ride.park != (row.park_id if row else 0))
        ids = [(one, ride) for ride in found for one in (ride.themeparks_wiki_id, ride.queue_times_id)]
        return {one: ride for one, ride in ids if one is not None}

    def _note_renamed(self, row: Park | None, record: ParkRecord, units: Iterable[_Unit]) -> None:
        if row and row.name != record.name:
            self.report.renamed.append(Renamed(record.name, None, row.name, record.name))
        self.report.renamed += [
            Renamed(record.name, unit.row.ride_id, unit.row.name, unit.name)
            for unit in units if unit.row and unit.row.name != unit.name
        ]

    # --- rides that leave the lists, and come back ---

    def _store_listing(self, park_id: int, record: ParkRecord, rows: list[Ride], listed: set[int]) -> None:
        newest = max((row.last_listed_at for row in rows if row.last_listed_at), default=None)
        returned = [row for row in rows if row.ride_id in listed and self._has_returned(row, newest)]
        vanished = [row for row in rows if row.ride_id not in listed and self._has_vanished(row)]
        self.report.returned = [Moved(record.name, row.ride_id, row.name) for row in returned]
        self.report.vanished = [Moved(record.name, row.ride_id, row.name) for row in vanished]
        if self.choice.dry_run:
            return
        if vanished:
            # A ride that was never listed gets the day it is missed since: by it is told whether it comes back.
            since = fn.COALESCE(Ride.last_listed_at, Ride.created_at)
            changes: Change = {Ride.is_active: False, Ride.last_listed_at: since, Ride.updated_at: self.now}
            Ride.update(changes).where(Ride.ride_id << [row.ride_id for row in vanished]).execute()
        if returned:
            back: Change = {Ride.is_active: True, Ride.updated_at: self.now}
            Ride.update(back).where(Ride.ride_id << [row.ride_id for row in returned]).execute()
        if listed:
            earlier = Ride.last_listed_at.is_null() | (Ride.last_listed_at < self.now)
            raised = Ride.update({Ride.last_listed_at: self.now})
            raised.where(Ride.park == park_id, Ride.ride_id << sorted(listed), earlier).execute()
        if vanished or returned:
            move_revisions(current=True, history=True)

    def _has_vanished(self, row: Ride) -> bool:
        """Only lists with something in them tell that something is not."""
        if not row.is_active or (row.themeparks_wiki_id is None and row.queue_times_id is None):
            return False
        park, answers = self.target, self.answers
        wiki_id = park.wiki_id or (park.row and park.row.themeparks_wiki_id)
        source_id = park.queue_times_id or (park.row and park.row.queue_times_id)
        if wiki_id and not (answers.children and answers.children.rides):
            return False
        if source_id and not (answers.queues and answers.queues.rides):
            return False
        return self.now - (row.last_listed_at or row.created_at) > self.vanished_after

    def _has_returned(self, row: Ride, newest: datetime | None) -> bool:
        """Whether lists were without it for so long. That nobody asked for long is no absence."""
        if row.is_active or row.last_listed_at is None or newest is None:
            return False
        return newest - row.last_listed_at > self.vanished_after


def _store_park(work: _Sync, target: _Target, answers: _Answers) -> Report:
    return _ParkStore(work, target, answers).store()


def _row_now(target: _Target) -> Park | None:
    """The park's row as it is now: another sync may have added it since."""
    if target.row:
        return Park.get_or_none(Park.park_id == target.row.park_id)
    if target.wiki_id is not None and (row := Park.get_or_none(Park.themeparks_wiki_id == target.wiki_id)):
        return row
    if target.queue_times_id is not None:
        return Park.get_or_none(Park.queue_times_id == target.queue_times_id)
    return None


def _namesake(record: ParkRecord, target: _Target) -> Park | None:
    """The only park without an id of a source that is called so, in that country, and not elsewhere."""
    called = set(park_names(*target.wiki)) if target.wiki else set()
    called |= set(park_names(target.queue_times.name)) if target.queue_times else set()
    without = Park.select().where(
        Park.country == record.country, Park.themeparks_wiki_id.is_null(), Park.queue_times_id.is_null()
    )
    place = _place(record.latitude, record.longitude)
    found = [row for row in without if called.intersection(park_names(row.name)[:1]) and _may_be_at(row, place)]
    return found[0] if len(found) == 1 else None


def _may_be_at(row: Park, place: Place | None) -> bool:
    own = _place(row.latitude, row.longitude)
    return own is None or place is None or kilometers(own, place) <= LARGEST_PARK_KILOMETERS


def _operator(target: _Target, row: Park | None) -> tuple[ParkType, str | None]:
    """Whose park it is: as Queue-Times says, as it is stored, or as its name sounds."""
    if target.queue_times:
        return target.queue_times.park_type, target.queue_times.operator
    if row:
        return row.park_type, None
    words = f"{target.wiki.destination} {target.wiki.name}".casefold() if target.wiki else ""
    return next((OPERATORS[word] for word in ("disney", "universal") if word in words), (ParkType.OTHER, None))


def _ride_record(number: int, unit: _Unit, park_source_id: int) -> RideRecord:
    return RideRecord(
        unit.row.ride_id if unit.row else -number,
        park_source_id,
        unit.name,
        land_area=unit.queue_times.land_area if unit.queue_times else None,
        category=unit.wiki.category if unit.wiki and not unit.row else None,  # an operator's word stays
        queue_times_id=unit.queue_times_id,
        themeparks_wiki_id=unit.wiki_id,
    )


# --- one park's rides ------------------------------------------------------------------------------------------------


class _Side(Generic[T]):
    """A source's rides: those listed now by their ids, and the rows that have an id of it."""

    def __init__(self, listed: Mapping[T, str], rows: Mapping[T, Ride]) -> None:
        self.listed, self.rows = listed, rows
        self.names = {**{one: row.name for one, row in rows.items()}, **listed}

    def named(self) -> list[Named[T]]:
        return [Named(one, ride_names(name)) for one, name in self.names.items()]


class _Rides:
    """Which rides of a park's lists are the same, and which of its rows they are."""

    def __init__(
        self, park: str, rows: list[Ride], answers: _Answers, elsewhere: Mapping[str | int, Ride], accepts: bool
    ) -> None:
        self.park, self.rows = park, rows
        self.accepts = accepts
        self.doubtful: list[Doubt] = []
        self.conflicts: list[Conflict] = []
        children, queues = answers.children, answers.queues
        self.wiki = {ride.themeparks_wiki_id: ride for ride in children.rides} if children else {}
        self.queue_times = {ride.queue_times_id: ride for ride in queues.rides} if queues else {}
        self._leave_out(elsewhere)
        self.refused_ids = {
            refusal.source_id for answer in (children, queues) if answer for refusal in answer.refused
        } - {None}
        self.one = _Side[str](
            {ride_id: ride.name for ride_id, ride in self.wiki.items()},
            {row.themeparks_wiki_id: row for row in rows if row.themeparks_wiki_id is not None},
        )
        self.other = _Side[int](
            {ride_id: ride.name for ride_id, ride in self.queue_times.items()},
            {row.queue_times_id: row for row in rows if row.queue_times_id is not None},
        )

    def was_refused(self, row: Ride) -> bool:
        """Whether a list has the ride, though not so that it could be used."""
        return row.themeparks_wiki_id in self.refused_ids or row.queue_times_id in self.refused_ids

    def units(self) -> list[_Unit]:
        """What is listed, each ride once."""
        of_wiki, held = self._partners()
        of_queue_times = {other: one for one, other in of_wiki.items()}
        found = []
        for row in self.rows:
            one = row.themeparks_wiki_id or _free(of_queue_times.get(row.queue_times_id or 0), self.one.rows)
            other = row.queue_times_id or _free(of_wiki.get(row.themeparks_wiki_id or ""), self.other.rows)
            found.append(self._unit(row, one, other))
        for wiki_id in _without(self.wiki, {*self.one.rows, *held}):
            partner = of_wiki.get(wiki_id)
            if partner not in self.other.rows:
                found.append(self._unit(None, wiki_id, partner))
        for source_id in _without(self.queue_times, {*self.other.rows, *of_queue_times, *held}):
            found.append(self._unit(None, None, source_id))
        return self._with_namesakes([unit for unit in found if unit.wiki or unit.queue_times])

    def _unit(self, row: Ride | None, one: str | None, other: int | None) -> _Unit:
        return _Unit(row, one, other, self.wiki.get(one or ""), self.queue_times.get(other or 0))

    def _leave_out(self, elsewhere: Mapping[str | int, Ride]) -> None:
        """An id belongs to one row: what another park has is not taken from it."""
        listed: list[tuple[str, dict[str, WikiRide] | dict[int, QueueRide]]]
        listed = [(WIKI, self.wiki), (QUEUE_TIMES, self.queue_times)]
        for source, rides in listed:
            for ride_id in [ride_id for ride_id in rides if ride_id in elsewhere]:
                ride, row = rides.pop(ride_id), elsewhere[ride_id]  # type: ignore[arg-type]
                reason = f"{ride.name} ({source}) is ride {row.ride_id} of park {row.park_id} already."
                self.conflicts.append(Conflict(self.park, reason))

    def _partners(self) -> tuple[dict[str, int], set[str | int]]:
        """Ids of the wiki and of Queue-Times that belong together, and those that wait for a doubt to be settled."""
        known = [
            (row.themeparks_wiki_id, row.queue_times_id)
            for row in self.rows if row.themeparks_wiki_id is not None and row.queue_times_id is not None
        ]
        matching = matched(self.one.named(), self.other.named(), known)
        partners = {pair.left: pair.right for pair in matching.pairs}
        held: set[str | int] = set()
        for pair in matching.pairs:
            row, second = self.one.rows.get(pair.left), self.other.rows.get(pair.right)
            is_listed = pair.left in self.wiki or pair.right in self.queue_times
            if row and second and row.ride_id != second.ride_id and is_listed:
                names = self.one.names[pair.left], row.ride_id, self.other.names[pair.right], second.ride_id
                self.conflicts.append(_two_rows(*names, "rides", self.park))
        for one, other, similarity in matching.doubtful:
            if one in self.one.rows and other in self.other.rows:
                continue  # two rows of ours: nothing hangs on it
            names_and_ids = self.one.names[one], one, self.other.names[other], other
            self.doubtful.append(Doubt(self.park, *names_and_ids, similarity, self.accepts))
            if self.accepts:
                partners[one] = other
            else:
                held.add(one if other in self.other.rows else other)
        return partners, held

    def _with_namesakes(self, units: list[_Unit]) -> list[_Unit]:
        """New rides that are rows without an id of a source."""
        new = [Named(number, ride_names(unit.name)) for number, unit in enumerate(units) if unit.row is None]
        bare = [row for row in self.rows if row.themeparks_wiki_id is None and row.queue_times_id is None]
        rows = {row.ride_id: row for row in bare}
        pairs = matched(new, [Named(row.ride_id, ride_names(row.name)) for row in bare]).pairs
        for number, ride_id, _ in pairs:
            units[number] = units[number]._replace(row=rows[ride_id])
        return units


def _free(found: T | None, stored: Mapping[T, Ride]) -> T | None:
    return None if found in stored else found
