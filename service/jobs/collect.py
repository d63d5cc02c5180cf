"""One slot of readings, now: what the parks' sources say of each ride."""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final, NamedTuple

from service.config import Settings
from service.errors import BadFeed, ServiceError, Unanswered
from service.feeds.simulation import World
from service.feeds.sources import Ask, Sources
from service.jobs.asking import Round, sources
from service.jobs.catalog import Catalog
from service.jobs.demo import SCHEDULED_AHEAD, known_world, world_key
from service.jobs.doubts import Doubt, Key, Matter, store_doubts
from service.jobs.joblog import Run, counted, logged
from service.jobs.judging import NAMES, Judged, of_queue_times, of_wiki
from service.jobs.leases import Lease
from service.jobs.marks import atomically, set_state
from service.jobs.patience import patiently
from service.jobs.store import NewSlot, store_schedules
from service.jobs.targets import Target, has_targets, is_asked, targets
from service.periods import days_between, epoch, pacific_date
from service.queries import state
from service.rules import Source

THREADS: Final = 8  # that wait for answers: the rate of a host, not its slowness, is what a round takes
SHARE_OF_INTERVAL: Final = 0.8  # after which no more answers are waited for: the next slot comes
LEAST_SECONDS: Final = 30.0  # for a cycle that begins late in its slot
WAIT_SECONDS: Final = 15  # until it is looked again whether another process still collects
LEASE: Final = "collect"

Progress = Callable[[int, int], None]  # parks that are done, of how many

log = logging.getLogger("service.jobs.collect")


class Answered(NamedTuple):
    """What came of asking about a park: the best answer, if any; why a source gave none; and what was not believed
    before that."""

    target: Target
    judged: Judged | None
    failures: dict[Source, str]
    doubts: list[Doubt]
    rejected: Judged | None = None


@dataclass
class Cycle:
    """What a slot brought. `failures`: the sources' sentences, and the parks each was about; `unheard`: parks of which
    no source told; `sources`: how many parks each told of, and was believed; `suspect`: parks whose answer was not, and
    why; `instead`: those of which the other source's was; `idle`: closed parks that were not asked; `late`: parks whose
    answer did not come in time; `strangers`: attractions that are not in the catalog."""

    slot: int
    asked: int = 0
    stored: int = 0
    replaced: int = 0
    unchanged: int = 0
    simulated: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    suspect: dict[str, list[str]] = field(default_factory=dict)
    instead: dict[str, list[str]] = field(default_factory=dict)
    unheard: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    unstored: list[str] = field(default_factory=list)
    idle: int = 0
    strangers: int = 0
    new_doubts: int = 0

    @property
    def is_partial(self) -> bool:
        """Whether a park is missing that was asked about."""
        return bool(self.unheard or self.late or self.unstored)

    @property
    def is_empty(self) -> bool:
        """Whether nothing came of it, though somebody was asked."""
        return bool(self.asked) and not (self.sources or self.suspect or self.simulated)

    def sentences(self) -> list[str]:
        """Why something is missing: one sentence for each thing that sources said, or did not."""
        return [f"{said.removesuffix('.')} ({_parks(names)})." for said, names in self.failures.items()]

    def __str__(self) -> str:
        told = [f"{name} of {counted(number, 'park')}" for name, number in self.sources.items()]
        if self.simulated:
            told.append(counted(self.simulated, "simulated park"))
        if self.suspect:
            told.append(f"{counted(len(self.suspect), 'park')} not believed")
        readings = self.stored + self.replaced + self.unchanged
        return f"{counted(readings, 'reading')}: {', '.join(told) or 'no park answered'}"


def _parks(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} parks"


class Collector:
    """Collects each slot once. A slot that was missed stays missing: nobody can tell any more what it was like.

    `ask` gives the body of an address (`service.jobs.asking`); without it only simulated parks are collected. A host
    that is silent is not asked again in the same cycle, unless `gives_up` is false.
    """

    def __init__(
        self, settings: Settings, ask: Ask | None = None, *, threads: int = THREADS, gives_up: bool = True
    ) -> None:
        self.settings = settings
        self._ask, self._threads, self._gives_up = ask, threads, gives_up
        self._step = settings.snapshot_interval_minutes * 60
        self._last_slot = 0
        self._waits_until = 0  # for another process, which collects: epoch seconds
        self._given_up_on: frozenset[str] = frozenset()  # hosts, in the cycle before
        self._asked_in: dict[int, int] = {}  # by park: the slot in which it was asked about last
        self._has_targets = False
        self._scheduled: date | None = None
        self._key: tuple[int, ...] | None = None
        self._simulated: tuple[World, Catalog] | None = None

    def slot(self, now: datetime) -> int:
        """The slot of an instant, in epoch seconds."""
        return epoch(now) // self._step * self._step

    def is_due(self, now: datetime) -> bool:
        """Whether the slot of `now` is still to be collected, also by other processes, and there is somebody to ask."""
        if self.slot(now) <= self._last_slot or epoch(now) < self._waits_until or not self.has_parks(now):
            return False
        if patiently(partial(state.get_state, state.COLLECTED_SLOT)) == self.slot(now):
            self._last_slot = self.slot(now)
        return self.slot(now) > self._last_slot

    def has_parks(self, now: datetime) -> bool:
        """Whether there is somebody to ask."""
        patiently(partial(self._look, now))
        return self._simulated is not None or self._has_targets

    def _look(self, now: datetime) -> None:
        """The world may have changed since."""
        key = world_key()
        if key != self._key:
            self._simulated = known_world(now)
            self._key = key
        self._has_targets = self._ask is not None and has_targets()

    def collect(self, now: datetime, within: Callable[[], AbstractContextManager[object]] = nullcontext) -> str | None:
        """Collect the slot of `now`, unless it is not due or another process does; say what it brought. `within` makes
        the context that it is done in.

        Raises NothingCollected when no source answered about any park; what can be collected otherwise is, and what
        cannot is a warning of the run.
        """
        if not self.is_due(now):
            return None
        try:
            with _leased(), within():
                cycle = self.cycle(now)
        except Busy:
            self._waits_until = epoch(now) + WAIT_SECONDS
            return None
        except NothingCollected as error:
            _warn(error.cycle)
            raise
        _warn(cycle)
        return str(cycle)

    def once(self, now: datetime, progress: Progress) -> Cycle:
        """Collect the slot of `now`, whether it is there already or not. Raises as `cycle` does, and Busy while another
        process collects."""
        with _leased():
            return self.cycle(now, progress)

    def cycle(self, now: datetime, progress: Progress = lambda done, total: None) -> Cycle:
        """Collect the slot of `now`, a park a transaction, all seen at once. Raises NothingCollected as `collect` does.
        """
        patiently(partial(self._look, now))
        slot, today = self.slot(now), pacific_date(now)
        self._last_slot = slot
        cycle = Cycle(slot)
        with logged("collect", now, start=today, end=today) as run:
            wanted = self._wanted(cycle) if self._ask is not None else []
            # After them, so that it knows every ride that they know.
            new = patiently(lambda: NewSlot(slot, interval_minutes=self.settings.snapshot_interval_minutes, now=now))
            self._collect_simulated(new, cycle, now)
            doubts, asked = self._collect_told(new, cycle, wanted, now, progress)
            patiently(new.publish)
            if not cycle.is_empty:
                cycle.new_doubts = patiently(lambda: store_doubts(doubts, asked, now))
                patiently(partial(atomically, partial(set_state, state.COLLECTED_SLOT, slot)))
            _end(run, cycle)
        return cycle

    # --- what sources tell -------------------------------------------------------------------------------------------

    def _collect_told(
        self, new: NewSlot, cycle: Cycle, wanted: list[Target], now: datetime, progress: Progress
    ) -> tuple[list[Doubt], set[tuple[Source, int]]]:
        """Store what sources say; return the doubts, and the sources and parks that they would be about."""
        doubts: list[Doubt] = []
        asked: set[tuple[Source, int]] = set()
        missing = {target.park_id: target for target in wanted}
        for done, answered in enumerate(self._answers(wanted, now), 1):
            del missing[answered.target.park_id]
            doubts += answered.doubts
            if answered.judged is not None and answered.judged.is_telling:
                asked.add((answered.judged.source, answered.target.park_id))
            self._store(new, cycle, answered)
            progress(done, len(wanted))
        cycle.late += [target.name for target in missing.values()]
        return doubts, asked

    def _wanted(self, cycle: Cycle) -> list[Target]:
        """Whom to ask about: those first that have waited longest, for there may be too many for an interval."""
        found = patiently(lambda: targets(cycle.slot))
        wanted = [target for target in found if is_asked(target, cycle.slot, self._step)]
        cycle.asked, cycle.idle = len(wanted), len(found) - len(wanted)
        return sorted(wanted, key=lambda target: self._asked_in.get(target.park_id, 0))

    def _answers(self, wanted: list[Target], now: datetime) -> Iterator[Answered]:
        """What comes of asking about each park, as it comes, until the time of the slot is over."""
        if self._ask is None:
            return
        left = self.slot(now) + self._step - epoch(now)
        deadline = monotonic() + min(SHARE_OF_INTERVAL * self._step, max(left, LEAST_SECONDS))
        round_ = Round(self._ask, self._given_up_on)
        told = sources(self.settings, round_.ask if self._gives_up else self._ask)
        crew = _Crew(told, wanted, epoch(now), self._threads)
        try:
            for _ in wanted:
                answered = crew.next(deadline - monotonic())
                if answered is None:
                    return
                yield answered
        finally:
            crew.dismiss()
            self._given_up_on = round_.given_up_on

    def _store(self, new: NewSlot, cycle: Cycle, answered: Answered) -> None:
        target, judged = answered.target, answered.judged
        self._asked_in[target.park_id] = cycle.slot
        for sentence in answered.failures.values():
            cycle.failures[sentence].append(target.name)
        if judged is None:
            cycle.unheard.append(target.name)
            return
        cycle.strangers += judged.strangers
        if judged.suspicions:
            cycle.suspect[target.name] = _said(judged)
        else:
            cycle.sources[NAMES[judged.source]] += 1
        if answered.rejected is not None:
            cycle.instead[target.name] = _said(answered.rejected)
        _keep(new, cycle, target.name, target.park_id, judged)

    # --- the parks of a demo -----------------------------------------------------------------------------------------

    def _collect_simulated(self, new: NewSlot, cycle: Cycle, now: datetime) -> None:
        if self._simulated is None:
            return
        world, catalog = self._simulated
        today = pacific_date(now)
        if self._scheduled != today:
            _store_hours(world, catalog, today, now)
            self._scheduled = today
        for source_id, park_id in catalog.park_ids.items():
            told = world.slot_readings(source_id, cycle.slot, self.settings.snapshot_interval_minutes)
            readings = [(catalog.ride_ids[ride], status, is_open, wait) for _, ride, status, is_open, wait in told]
            name = f"the simulated park {park_id}"
            _keep(new, cycle, name, park_id, Judged(Source.SIMULATION, readings, [], [], 0, True))
            cycle.simulated += 1


@contextmanager
def _leased() -> Iterator[None]:
    """Nobody else collects meanwhile: it would be right, and ask the sources twice."""
    lease = Lease(LEASE)
    if not lease.take():
        raise Busy("Another process collects at the moment: try again in a minute.")
    try:
        yield
    finally:
        lease.release()


def _said(judged: Judged) -> list[str]:
    return [matter.value[0] for matter in judged.suspicions]


def _store_hours(world: World, catalog: Catalog, today: date, now: datetime) -> None:
    days = list(days_between(today - timedelta(days=1), today + SCHEDULED_AHEAD))
    for source_id, park_id in catalog.park_ids.items():
        store_schedules(park_id, [row for day in days for row in world.openings(source_id, day)], now)


def _keep(new: NewSlot, cycle: Cycle, name: str, park_id: int, judged: Judged) -> None:
    try:
        if judged.suspicions:
            patiently(lambda: new.store_suspect(park_id, judged.readings, judged.source))
            return
        stored = patiently(lambda: new.store(park_id, judged.readings, judged.source))
    except ValueError:  # of this park alone: the others go on
        log.exception("The readings of %s could not be stored", name)
        cycle.unstored.append(name)
        return
    cycle.stored += stored.stored
    cycle.replaced += stored.replaced
    cycle.unchanged += stored.unchanged


def _end(run: Run, cycle: Cycle) -> None:
    run.rows_processed = cycle.stored + cycle.replaced
    run.warnings = len(cycle.unheard) + len(cycle.late) + len(cycle.unstored) + len(cycle.suspect)
    if cycle.is_empty:
        raise NothingCollected(cycle)


def _warn(cycle: Cycle) -> None:
    """Log what is missing: for runs that nobody looks at."""
    for sentence in cycle.sentences():
        log.warning("%s", sentence)
    for said, names in (("did not answer in time", cycle.late), ("could not be stored", cycle.unstored)):
        if names:
            log.warning("%s %s", ", ".join(names), said)


class Busy(ServiceError):
    """Another process collects."""


class NothingCollected(ServiceError):
    """No source told of any park."""

    def __init__(self, cycle: Cycle) -> None:
        super().__init__(" ".join(cycle.sentences()) or "No park could be collected in time.")
        self.cycle = cycle


class _Crew:
    """Threads that ask about parks, one at a time each. They end with their work, or after the park at hand when they
    are dismissed; the process does not wait for them."""

    def __init__(self, told: Sources, wanted: Sequence[Target], now: int, threads: int) -> None:
        self._told, self._now = told, now
        self._wanted: SimpleQueue[Target] = SimpleQueue()
        self._found: SimpleQueue[Answered] = SimpleQueue()
        self._is_dismissed = threading.Event()
        for target in wanted:
            self._wanted.put(target)
        for _ in range(min(threads, len(wanted))):
            threading.Thread(target=self._work, name="collect", daemon=True).start()

    def next(self, seconds: float) -> Answered | None:
        """What came of some park; None if nothing does in time."""
        try:
            return self._found.get(timeout=max(seconds, 0))
        except Empty:
            return None

    def dismiss(self) -> None:
        """Ask about no other park."""
        self._is_dismissed.set()

    def _work(self) -> None:
        while not self._is_dismissed.is_set():
            try:
                target = self._wanted.get_nowait()
            except Empty:
                return
            self._found.put(self._answered(target))

    def _answered(self, target: Target) -> Answered:
        """The first answer that is believed; else the first at all."""
        best: Judged | None = None
        failures: dict[Source, str] = {}
        doubts: list[Doubt] = []
        for source in target.sources:
            try:
                judged = self._judged(target, source)
            except (Unanswered, BadFeed) as error:
                failures[source] = str(error) if isinstance(error, BadFeed) else f"{NAMES[source]}: {error}"
                if isinstance(error, BadFeed):
                    key = Key(Matter.BAD_ANSWER, source, target.park_id)
                    doubts.append(Doubt(key, str(error), entity_name=target.name))
                continue
            except Exception:  # a fault of ours with this answer: the other parks go on
                log.exception("What %s says of %s cannot be understood", NAMES[source], target.name)
                failures[source] = f"What {NAMES[source]} says cannot be understood: the log says where."
                continue
            doubts += judged.doubts
            if not judged.suspicions:
                return Answered(target, judged, failures, doubts, best)
            best = best or judged
        return Answered(target, best, failures, doubts)

    def _judged(self, target: Target, source: Source) -> Judged:
        if source is Source.THEMEPARKS_WIKI and target.themeparks_wiki_id is not None:
            return of_wiki(target, self._told.live(target.themeparks_wiki_id), self._now)
        assert target.queue_times_id is not None
        return of_queue_times(target, self._told.queue_times(target.queue_times_id), self._now)
