"""One sync: the sources' lists, the places of parks that are to be told apart by them, and park after park."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from service.config import Settings
from service.errors import BadFeed, BadRequest, ServiceError, Unanswered
from service.feeds.queue_times import Parks as QueueTimesParks
from service.feeds.queue_times import Queues
from service.feeds.sources import Sources
from service.feeds.themeparks_wiki import Children, Destinations, Entity
from service.jobs.joblog import logged
from service.jobs.marks import atomically, set_state
from service.jobs.patience import patiently
from service.jobs.syncing.parks import Choice, Lists, Parks, Target, WikiPark
from service.jobs.syncing.report import QUEUE_TIMES, WIKI, Failure, Refused, Report
from service.jobs.syncing.rides import RideLists
from service.jobs.syncing.storing import ParkStore
from service.models import Park
from service.queries import state

FILLING: Final = "catalog_filling"  # 1 in service_state while an empty catalog is filled, killed or not

MOST_RIDES: Final = 500  # the largest parks have some 150, shows and all

A = TypeVar("A", Destinations, QueueTimesParks, Entity, Children, Queues)
Progress = Callable[[str, int, int], object]  # of what label, how many are done, of how many


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
    work = _Sync(sources, now, timedelta(days=settings.ride_vanished_days), choice, report, proceed, progress)
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
        run.failure = " ".join(str(one) for one in report.failures if one.park is None) or None
    if refused:
        raise refused
    return report


@dataclass
class _Sync:
    sources: Sources
    now: datetime
    vanished_after: timedelta
    choice: Choice
    report: Report
    proceed: Callable[[], bool]
    progress: Progress
    places: dict[str, Entity | None] = field(default_factory=dict)  # of parks of the wiki that were asked for theirs

    def go(self, done: Collection[int]) -> None:
        lists = self._lists()
        rows = patiently(lambda: list(Park.select().order_by(Park.park_id)))
        choice = self._choice_now(lists, rows)
        if not self._ask_places(Parks(lists, rows, self.places, choice)):
            return
        parks = Parks(lists, rows, self.places, choice)
        self.report.doubtful += parks.doubtful
        self.report.conflicts += parks.conflicts()
        self.report.not_in_catalog = len(parks.left_out)
        targets = [target for target in parks.targets if not (target.row and target.row.park_id in done)]
        for number, target in enumerate(targets):
            self.progress("Parks", number, len(targets))
            if not self.proceed():
                return
            self._sync_park(target)
        self.progress("Parks", len(targets), len(targets))
        self.report.is_complete = True
        if self.choice.fills_empty and None not in lists and state.get_state(FILLING):
            self._note_filling(False)

    def _lists(self) -> Lists:
        destinations = self._answer(WIKI, None, self.sources.destinations)
        parks = self._answer(QUEUE_TIMES, None, self.sources.queue_times_parks)
        if destinations is None and parks is None:
            raise ServiceError(" ".join(map(str, self.report.failures)))
        wiki = destinations and {
            park.themeparks_wiki_id: WikiPark(park.name, resort.name, len(resort.parks) == 1)
            for resort in destinations.destinations
            for park in resort.parks
        }
        return Lists(wiki, parks and {park.source_id: park for park in parks.parks})

    def _choice_now(self, lists: Lists, rows: list[Park]) -> Choice:
        """The choice, of everything where the catalog is empty and to be filled."""
        choice = self.choice
        unknown = [name for name in choice.named if not lists.has_name(name)]
        if unknown and None not in lists:
            raise BadRequest(f"No park of {WIKI} or {QUEUE_TIMES} is {unknown[0]!r}: give a part of its name or an id.")
        if not choice.fills_empty:
            return choice
        is_empty = all(row.themeparks_wiki_id is None and row.queue_times_id is None for row in rows)
        was_filling = state.get_state(FILLING) == 1
        fills = (is_empty or was_filling) and not (choice.everything or choice.countries or choice.named)
        if fills != was_filling:
            self._note_filling(fills)
        return choice._replace(everything=choice.everything or fills)

    def _note_filling(self, fills: bool) -> None:
        """A catalog that is filled in part is not empty any more: the next run has to know what it began as."""
        if not self.choice.dry_run:
            patiently(partial(atomically, partial(set_state, FILLING, int(fills))))

    def _ask_places(self, parks: Parks) -> bool:
        """Ask where those parks of the wiki lie on which it depends what they are; whether there was time to."""
        asked = parks.unplaced()
        for number, wiki_id in enumerate(asked):
            self.progress("Places", number, len(asked))
            if not self.proceed():
                return False
            ask = partial(self.sources.wiki_park, wiki_id)
            self.places[wiki_id] = self._answer(WIKI, parks.wiki.name(wiki_id), ask)
        return True

    def _sync_park(self, target: Target) -> None:
        name, wiki_id, source_id = target.name, target.wiki_id, target.queue_times_id
        children = queues = None
        if wiki_id is not None:
            children = self._answer(WIKI, name, partial(self.sources.children, wiki_id))
        if source_id is not None:
            queues = self._answer(QUEUE_TIMES, name, partial(self.sources.queue_times, source_id))
        self.report.parks_asked += 1
        entity, lists = self.places.get(wiki_id or ""), RideLists(children, queues)
        store = ParkStore(target, entity, lists, self.choice, self.now, self.vanished_after).store
        self.report.add(patiently(store if self.choice.dry_run else partial(atomically, store)))

    def _answer(self, source: str, park: str | None, ask: Callable[[], A]) -> A | None:
        """What a source says; noted is what of it was refused, and that there is no answer."""
        try:
            answer = ask()
            if isinstance(answer, Children | Queues) and (count := len(answer.rides)) > MOST_RIDES:
                raise BadFeed(f"{source} lists {count:,} rides of {park}: no park has more than {MOST_RIDES:,}.")
        except (Unanswered, BadFeed) as error:
            self.report.failures.append(Failure(source, park, str(error)))
            return None
        self.report.refused += [Refused(source, park, refusal) for refusal in answer.refused]
        return answer
