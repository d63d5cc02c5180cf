"""Filling gaps: what the parks' rides did while nobody collected, from what ThemeParks.wiki remembers.

It remembers changes: a state holds until the next one. So it says what a ride did at any slot, until the archive ends.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from peewee import fn

from service import rules
from service.config import Settings
from service.database import fetch
from service.errors import BadFeed, Silent, Unanswered
from service.feeds.sources import Sources
from service.feeds.wiki_history import History, RideHistory
from service.jobs.joblog import Run, logged
from service.jobs.patience import patiently
from service.jobs.store import store_readings
from service.jobs.targets import hours_in
from service.models import Park, ParkActivitySnapshot, Ride
from service.models.base import rows
from service.periods import DAY_SECONDS, Interval, epoch, local_date, local_day, local_day_of, local_days
from service.queries import state
from service.queries.hours import NO_SCHEDULE, schedules
from service.rules import Source, Status

JOB: Final = "fill"
INTERVALS_OLD: Final = 2  # what is younger may be being collected
# A day of which the archive knows no change in so long before a missing slot is taken to have ended early, its recorder
# having been down: an open park posts some wait or other. Nobody knows then that what was last seen went on ...
SILENCE_SECONDS: Final = 6 * 3600
BELIEVED_SECONDS: Final = 2 * 3600  # ... for longer than this.

NOT_TOLD: Final = "ThemeParks.wiki does not know what any ride did then."
ARCHIVE_ENDS: Final = "What ThemeParks.wiki remembers of the day ends before."
DOUBTED: Final = "What ThemeParks.wiki remembers stands still, or has all rides closed while the park was open."
NOT_ASKED: Final = "It was not asked for yet: the run was told to make way."
NO_RIDES: Final = "None of the park's rides has an id of ThemeParks.wiki."

Progress = Callable[[int, int], object]  # days of a park asked for, of how many
Reading: TypeAlias = tuple[int, int, Status | None, bool | None, int | None]  # as `store_readings` takes them


class Report(NamedTuple):
    """What a run did. `parks` had gaps; a day asked for, and a slot, is one of one park; `gaps` are the slots that are
    still missing, by the reason why; `refused` counts what could not be used of answers. `run` is None where nothing
    was missing; its `failure` says that nobody answered at all."""

    parks: int
    days_asked: int
    slots_filled: int
    readings_stored: int
    gaps: dict[str, int]
    refused: int
    run: Run | None


class _Park(NamedTuple):
    park_id: int
    timezone: str
    themeparks_wiki_id: str


class ParkDay(NamedTuple):
    """A day of a park by the clocks there, midnight to midnight, and its slots that are missing, in order."""

    park: _Park
    day: date
    slots: list[int]


def fill(
    settings: Settings,
    sources: Sources,
    now: datetime,
    *,
    days: int = 7,
    progress: Progress = lambda done, total: None,
    proceed: Callable[[], bool] = lambda: True,
) -> Report:
    """Store what the rides did in the slots of the last `days` x 24 hours that are missing, a day of a park at a time.

    Asked are only days with gaps, the newest first, so running it again changes nothing and asks for what is still
    missing. A day that is not given stays a gap. `proceed` is asked before each: False ends the run. A run in the job
    log, unless nothing is missing. `sources` had better ask in one Round.
    """
    missing = patiently(partial(missing_days, settings.snapshot_interval_minutes, now, days))
    if not missing:
        return Report(0, 0, 0, 0, {}, 0, None)
    with logged(JOB, now, start=missing[-1].day, end=missing[0].day) as run:
        filling = _Filling(settings.snapshot_interval_minutes, sources, now, run)
        for done, park_day in enumerate(missing, 1):
            if not proceed():
                for left in missing[done - 1 :]:
                    filling.leave(left, NOT_ASKED)
                break
            filling.fill(park_day)
            progress(done, len(missing))
        run.failure = filling.failure()
    return filling.report(len({park_day.park for park_day in missing}))


# --- what is missing -------------------------------------------------------------------------------------------------


def missing_days(interval_minutes: int, now: datetime, days: int) -> list[ParkDay]:
    """The days of active parks that ThemeParks.wiki knows with slots that nobody collected, the newest first.

    A park is missed from its first stored slot on, while it is open; where its schedule does not say, always.
    """
    step = interval_minutes * 60
    first = max(epoch(now) - days * DAY_SECONDS, state.get_state(state.RAW_FROM) or 0)
    span = Interval(first, epoch(now) - INTERVALS_OLD * step + 1)
    found = [park_day for park in _parks() for park_day in _missing_days(park, span, step)]
    return sorted(found, key=lambda park_day: (-park_day.day.toordinal(), park_day.park.park_id))


def _parks() -> list[_Park]:
    query = Park.select(Park.park_id, Park.timezone, Park.themeparks_wiki_id)
    query = query.where(Park.is_active, Park.themeparks_wiki_id.is_null(False)).order_by(Park.park_id)
    return list(rows(query, _Park))


def _missing_days(park: _Park, span: Interval, step: int) -> Iterator[ParkDay]:
    first = _first_slot(park.park_id)
    seen = None if first is None else span.cut(Interval(first + step, span.end))
    if seen is None:
        return
    stored = _stored_slots(park.park_id, seen)
    by_day: dict[date, list[int]] = defaultdict(list)
    for slot in _open_slots(park, seen, step):
        if slot not in stored:
            by_day[local_date(slot, park.timezone)].append(slot)
    yield from (ParkDay(park, day, slots) for day, slots in by_day.items())


def _first_slot(park_id: int) -> int | None:
    """The first slot that is stored of a park: it has no past before."""
    activity = ParkActivitySnapshot
    [(first,)] = fetch(activity.select(fn.MIN(activity.snapshot_time)).where(activity.park_id == park_id))
    return None if first is None else int(first)


def _stored_slots(park_id: int, span: Interval) -> set[int]:
    """Suspect ones too: what was not believed then is what the same source remembers now."""
    activity = ParkActivitySnapshot
    query = activity.select(activity.snapshot_time).where(
        activity.park_id == park_id,
        activity.snapshot_time.between(span.start, span.end - 1),
    )
    return {slot for (slot,) in fetch(query)}


def _open_slots(park: _Park, span: Interval, step: int) -> Iterator[int]:
    """The slots of `span` in which the park was open, in order, and all where its schedule does not know that."""
    locals_ = local_days(span, park.timezone)
    schedule = schedules(locals_[0], locals_[-1], [park.park_id]).get(park.park_id, NO_SCHEDULE)
    for local in locals_:
        known = schedule.knows(local)
        bounds = local_day(local, park.timezone)
        for interval in schedule.open_intervals(local, park.timezone) if known else [bounds]:
            part = interval.cut(span)
            if part is not None:
                yield from range(-(-part.start // step) * step, part.end, step)


# --- what is known of it ---------------------------------------------------------------------------------------------


class _Filling:
    """What one run has asked and stored so far."""

    def __init__(self, interval_minutes: int, sources: Sources, now: datetime, run: Run) -> None:
        self.interval_minutes, self.sources, self.now, self.run = interval_minutes, sources, now, run
        self.rides = patiently(_rides_by_park)
        self.asked = self.filled = self.refused = 0
        self.gaps: Counter[str] = Counter()
        self.silent: list[str] = []  # what hosts said that did not answer

    def fill(self, park_day: ParkDay) -> None:
        """Ask for one day of a park, and store what is known of its missing slots."""
        rides = self.rides.get(park_day.park.park_id)
        if not rides:
            self.leave(park_day, NO_RIDES)
            return
        self.asked += 1
        try:
            found = self.sources.history(park_day.park.themeparks_wiki_id, park_day.day)
        except (Unanswered, BadFeed) as error:
            self.leave(park_day, str(error))
            self.run.warnings += 1
            if isinstance(error, Silent):
                self.silent.append(str(error))
            return
        self.refused += len(found.refused)
        self.run.warnings += len(found.refused)
        self._store(park_day, found, rides)

    def leave(self, park_day: ParkDay, reason: str) -> None:
        """Its slots stay a gap."""
        self.gaps[reason] += len(park_day.slots)

    def _store(self, park_day: ParkDay, found: History, rides: Mapping[str, int]) -> None:
        believed = _believed(park_day.slots, found)
        told = list(_readings(believed, found.rides, rides))
        doubted = _doubted(park_day.park, told, found)
        known = [reading for reading in told if reading[0] not in doubted]
        filled = {slot for slot, *_ in known}
        self.filled += len(filled)
        self.gaps[ARCHIVE_ENDS] += len(park_day.slots) - len(believed)
        self.gaps[DOUBTED] += len(doubted)
        self.gaps[NOT_TOLD] += len(believed) - len(filled) - len(doubted)
        self.run.rows_processed += patiently(lambda: self._written(park_day.park.park_id, known))

    def _written(self, park_id: int, readings: Iterable[Reading]) -> int:
        stored = store_readings(
            park_id,
            readings,
            source=Source.THEMEPARKS_WIKI,
            interval_minutes=self.interval_minutes,
            now=self.now,
        )
        return stored.stored + stored.replaced

    def failure(self) -> str | None:
        """Why the run failed; None where anybody answered."""
        if not self.silent or len(self.silent) < self.asked:
            return None
        return f"No gap could be filled: {self.silent[0]}"

    def report(self, parks: int) -> Report:
        """All of it."""
        gaps = {reason: slots for reason, slots in self.gaps.most_common() if slots}
        stored = self.run.rows_processed
        return Report(parks, self.asked, self.filled, stored, gaps, self.refused, self.run)


def _rides_by_park() -> dict[int, dict[str, int]]:
    """Our ids by those of ThemeParks.wiki, of each park."""
    query = Ride.select(Ride.park, Ride.themeparks_wiki_id, Ride.ride_id).where(Ride.themeparks_wiki_id.is_null(False))
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for park_id, wiki_id, ride_id in fetch(query):
        found[park_id][wiki_id] = ride_id
    return found


def _believed(slots: Sequence[int], found: History) -> list[int]:
    """Those of a day's slots, in order, that its last state is not too old for; all if the day is known to its end."""
    newest = max((ride.states[-1].at for ride in found.rides if ride.states), default=None)
    if newest is None or slots[-1] - newest <= SILENCE_SECONDS:
        return list(slots)
    return [slot for slot in slots if slot - newest <= BELIEVED_SECONDS]


def _doubted(park: _Park, told: Iterable[Reading], found: History) -> set[int]:
    """The slots of which a collector would not have believed this either."""
    by_slot: dict[int, list[Reading]] = defaultdict(list)
    for reading in told:
        by_slot[reading[0]].append(reading)
    days = {slot: local_day_of(slot, park.timezone) for slot in by_slot}
    if not days:
        return set()
    schedule = schedules(min(days.values()), max(days.values()), [park.park_id]).get(park.park_id, NO_SCHEDULE)
    changes = sorted({state.at for ride in found.rides for state in ride.states})
    return {
        slot
        for slot, seen in by_slot.items()
        if rules.is_frozen(slot - changes[bisect_right(changes, slot) - 1], sum(bool(wait) for *_, wait in seen))
        or hours_in(schedule, slot, days[slot]).is_settled and _contradicts([status for _, _, status, *_ in seen])
    }


def _contradicts(statuses: list[Status | None]) -> bool:
    return rules.contradicts_schedule(statuses.count(Status.OPERATING), statuses.count(Status.DOWN), len(statuses))


def _readings(slots: Iterable[int], histories: Iterable[RideHistory], rides: Mapping[str, int]) -> Iterator[Reading]:
    """A reading of each of our rides in each of the slots in which its state is known."""
    ours = [(rides[ride.themeparks_wiki_id], ride) for ride in histories if ride.themeparks_wiki_id in rides]
    starts = {ride_id: [told.at for told in ride.states] for ride_id, ride in ours}
    for slot in slots:
        for ride_id, ride in ours:
            index = bisect_right(starts[ride_id], slot)
            told = ride.states[index - 1] if index else None
            if told and told.status is not None:
                yield slot, ride_id, told.status, None, told.wait_time
