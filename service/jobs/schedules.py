"""The hours of the parks: asked of ThemeParks.wiki once a day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Final, NamedTuple

from peewee import ModelSelect, fn

from service.config import Settings
from service.errors import BadFeed, BadRequest, NotFound, Unanswered
from service.feeds import Opening
from service.feeds.foreign import Refusal
from service.feeds.sources import Ask, Sources
from service.feeds.themeparks_wiki import Schedule
from service.jobs.asking import Round, sources
from service.jobs.joblog import Run, logged
from service.jobs.patience import patiently
from service.jobs.store import store_schedules
from service.models import Park, ParkSchedule
from service.models.base import rows
from service.periods import days_between, epoch, local_date, pacific_date, wall_clock
from service.queries.catalog import LARGEST_ID
from service.queries.jobs import succeeded_at
from service.rules import ScheduleType

JOB: Final = "schedules"
FRESH_SECONDS: Final = 24 * 3600  # hours that were asked for this long ago are asked for again
ONE_DAY: Final = timedelta(days=1)

Progress = Callable[[int, int], object]  # parks asked, of how many


class AskedPark(NamedTuple):
    """A park that ThemeParks.wiki knows."""

    park_id: int
    name: str
    timezone: str
    themeparks_wiki_id: str


class Failed(NamedTuple):
    """A park whose hours were not given, and why."""

    park: AskedPark
    error: str


class Warned(NamedTuple):
    """What of a park's answer was not used, or is odd."""

    park: AskedPark
    what: str


class Report(NamedTuple):
    """What a run did. `rows`: of schedules that were added, changed or removed. `without_hours`: parks that told no
    opening from yesterday on, and whose schedule stays as it was. `left`: parks still to be asked, for the run was told
    to make way. `run` is None where nothing was due; its `failure` says that half or more of those asked failed."""

    asked: int
    rows: int
    failed: list[Failed]
    without_hours: list[AskedPark]
    warnings: list[Warned]
    left: int
    run: Run | None


class Schedules:
    """Refreshes the hours of all parks once a day, and at once those of a new park."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._begun_at = 0  # epoch seconds: when the round began that `_left` is of
        self._left: set[int] = set()  # parks that a round through all has not asked yet, or not well

    def due(self, now: datetime) -> list[AskedPark]:
        """The parks to ask, by id: all, where the last round that went well began a day or longer ago; those that a
        round has left; else those without any schedule that came since the last run. Cheap enough for every few
        seconds."""
        return patiently(partial(self._due, now))

    def refresh(
        self,
        ask: Ask,
        now: datetime,
        *,
        parks: Sequence[AskedPark] | None = None,
        progress: Progress = lambda done, total: None,
        proceed: Callable[[], bool] = lambda: True,
    ) -> Report:
        """Ask for the hours of `parks`, or of those that are due, and store them, a park a transaction.

        A run in the job log, unless there is nobody to ask. `proceed` is asked before each park: False ends the run,
        and the parks not asked stay due. A park that fails does not stop the others, and is asked again tomorrow, or
        in the next run if this one failed. A host that does not answer is not asked any more.
        """
        due = self.due(now) if parks is None else parks
        if not due:
            return Report(0, 0, [], [], [], 0, None)
        ends_round = self._ends_round(due, now)
        of_wiki = sources(self.settings, Round(ask).ask)
        with logged(JOB, now) as run:
            asking = _Asking(of_wiki, now, run)
            for park in due:
                if not proceed():
                    break
                asking.store(park)
                self._left.discard(park.park_id)
                progress(asking.asked, len(due))
            run.failure = _failure(asking)
            # Only a run that ends a round through all parks names its day: the others leave the hours as old as they
            # are.
            if ends_round and asking.asked == len(due):
                run.day = pacific_date(now)
            if run.failure and ends_round:
                self._left.update(failed.park.park_id for failed in asking.failed)
        return asking.report(left=len(due) - asking.asked)

    def run(self, ask: Ask, now: datetime, proceed: Callable[[], bool]) -> str | None:
        """For the worker: what is due, and in a few words what was done. Raises ServiceError where the run failed."""
        report = self.refresh(ask, now, proceed=proceed)
        if report.run is None:
            return None
        if report.run.failure:
            raise report.run.error()
        failed = f", {len(report.failed)} failed" if report.failed else ""
        left = f", {report.left} still to be asked" if report.left else ""
        return f"{report.asked} parks asked, {report.rows:,} rows{failed}{left}"

    def _due(self, now: datetime) -> list[AskedPark]:
        if self._left and epoch(now) - self._begun_at < FRESH_SECONDS:
            left = [park for park in asked_parks() if park.park_id in self._left]
            if left:
                return left
        self._left.clear()
        if not is_fresh(now):
            return asked_parks()
        return _unscheduled(succeeded_at(JOB, now) or 0)

    def _ends_round(self, due: Iterable[AskedPark], now: datetime) -> bool:
        """Whether with these, and those that the round has asked already, all parks are asked."""
        ids = {park.park_id for park in due}
        if ids.issuperset(park.park_id for park in asked_parks()):
            self._begun_at, self._left = epoch(now), set(ids)
        return bool(self._left) and ids >= self._left


def is_fresh(now: datetime) -> bool:
    """Whether a run that ended a round through all parks well began less than a day ago."""
    at = succeeded_at(JOB, now, dated=True)
    return at is not None and epoch(now) - at < FRESH_SECONDS


def asked_parks(only: Iterable[int] | None = None) -> list[AskedPark]:
    """The active parks with an id of ThemeParks.wiki, or those of these ids, by id. Raises NotFound for a park that
    does not exist, BadRequest for one that is not asked."""
    found = list(rows(_parks().order_by(Park.park_id), AskedPark))
    if only is None:
        return found
    wanted = set(only)
    _ensure_asked(wanted, {park.park_id for park in found})
    return [park for park in found if park.park_id in wanted]


def _ensure_asked(wanted: Iterable[int], asked: Collection[int]) -> None:
    for park_id in sorted(wanted):
        if park_id in asked:
            continue
        park = Park.get_or_none(Park.park_id == park_id) if park_id <= LARGEST_ID else None
        if park is None:
            raise NotFound(f"Park {park_id} not found")
        why = "it has no id of ThemeParks.wiki" if park.is_active else "it is not active"
        raise BadRequest(f"Nobody can be asked for the hours of park {park_id} ({park.name}): {why}.")


def _parks() -> ModelSelect[Park]:
    """The columns of AskedPark."""
    columns = (Park.park_id, Park.name, Park.timezone, Park.themeparks_wiki_id)
    return Park.select(*columns).where(Park.is_active, Park.themeparks_wiki_id.is_null(False))


def _unscheduled(since: int) -> list[AskedPark]:
    """The parks without any schedule that are new, or changed, since an instant: the others tell none."""
    row = ParkSchedule.select(ParkSchedule.park).where(ParkSchedule.park == Park.park_id)
    return list(rows(_parks().where(~fn.EXISTS(row), Park.updated_at > since).order_by(Park.park_id), AskedPark))


def _failure(asking: _Asking) -> str | None:
    """Why the run failed: a sentence for each reason, the most frequent first; None where most parks answered."""
    if not asking.failed or 2 * len(asking.failed) < asking.asked:
        return None
    reasons = Counter(failed.error for failed in asking.failed)
    return " ".join(
        f"The hours of {_parks_of(count, asking.asked)} could not be asked for: {reason}"
        for reason, count in reasons.most_common()
    )


def _parks_of(count: int, asked: int) -> str:
    return f"{count} of {asked} {'park' if asked == 1 else 'parks'}"


class _Asking:
    """What one run has asked and stored so far."""

    def __init__(self, of_wiki: Sources, now: datetime, run: Run) -> None:
        self.of_wiki, self.now, self.run = of_wiki, now, run
        self.asked = 0
        self.failed: list[Failed] = []
        self.without_hours: list[AskedPark] = []
        self.warnings: list[Warned] = []

    def store(self, park: AskedPark) -> None:
        """Ask for the hours of one park, and store them."""
        self.asked += 1
        try:
            answer = self.of_wiki.schedule(park.themeparks_wiki_id)
        except (Unanswered, BadFeed) as error:
            self.failed.append(Failed(park, str(error)))
            self.run.warnings += 1
            return
        self._warn(park, answer)
        openings = told_openings(answer, park.timezone, self.now)
        if openings:
            self.run.rows_processed += patiently(lambda: store_schedules(park.park_id, openings, self.now))
        else:
            self.without_hours.append(park)

    def _warn(self, park: AskedPark, answer: Schedule) -> None:
        found = [_refused(refusal) for refusal in answer.refused]
        if answer.timezone not in (None, park.timezone):
            found.append(f"it tells its hours in {answer.timezone}, but is known to be in {park.timezone}")
        self.warnings += [Warned(park, what) for what in found]
        self.run.warnings += len(found)

    def report(self, left: int) -> Report:
        """All of it."""
        found = (self.failed, self.without_hours, self.warnings)
        return Report(self.asked, self.run.rows_processed, *found, left, self.run)


def _refused(refusal: Refusal) -> str:
    return f"{refusal.what} was not used: {refusal.reason}"


def told_openings(answer: Schedule, zone: str, now: datetime) -> list[Opening]:
    """The rows to store of an answer: its own from the park's yesterday on, and CLOSED for each date from today to its
    last opening that has none, as one with an event for ticket holders only.

    Nothing without any opening: what has rows on a date is closed outside its openings for a week around. Nor is a date
    closed of which a row was refused, for that may have been its opening.
    """
    today = local_date(now, zone)
    told = [row for row in answer.openings if row.schedule_date >= today - ONE_DAY]
    open_on = {row.schedule_date for row in told if row.schedule_type is ScheduleType.OPERATING}
    if not open_on:
        return []
    undecided = open_on.union(answer.unsure_on)
    closed_on = {day for day in days_between(today, max(open_on)) if day not in undecided}
    closed_on |= {row.schedule_date for row in told if row.schedule_type is ScheduleType.CLOSED} - undecided
    kept = [row for row in told if row.schedule_type is not ScheduleType.CLOSED]
    return kept + [_closed(day, zone) for day in sorted(closed_on)]


def _closed(day: date, zone: str) -> Opening:
    midnight = wall_clock(day, time(0), zone)
    return Opening(day, ScheduleType.CLOSED, midnight, midnight)
