"""What an answer about a park is worth: the readings in it that are believed, or why none of them is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from service import rules
from service.errors import BadFeed
from service.feeds.foreign import Refusal
from service.feeds.queue_times import Queues
from service.feeds.themeparks_wiki import Live
from service.jobs.doubts import Doubt, Key, Matter
from service.jobs.targets import Target
from service.periods import iso_utc
from service.rules import Source, Status

NAMES: Final = {Source.THEMEPARKS_WIKI: "ThemeParks.wiki", Source.QUEUE_TIMES: "Queue-Times"}

Said = tuple[int, Status | None, bool | None, int | None]  # ride_id, status, is_open, wait_time


class Word(NamedTuple):
    """What a source says of one ride; `ride_id` is ours, None where we do not know the ride."""

    entity: str
    name: str
    ride_id: int | None
    status: Status | None
    is_open: bool | None
    wait_time: int | None
    updated_at: int | None

    @property
    def said(self) -> tuple[Status | None, bool | None, int | None]:
        """What is stored of it."""
        return self.status, self.is_open, self.wait_time

    def age(self, now: int) -> int | None:
        """Seconds since the source last heard of the ride."""
        return None if self.updated_at is None else now - self.updated_at


class Judged(NamedTuple):
    """An answer about a park. `readings` are those of rides we know that are believed; with `suspicions` none is, and
    they only show how the park looked. `strangers`: attractions we do not know. `is_telling`: the park is not closed,
    so that what is not doubted now is in order."""

    source: Source
    readings: list[Said]
    suspicions: list[Matter]
    doubts: list[Doubt]
    strangers: int
    is_telling: bool


def of_wiki(target: Target, live: Live, now: int) -> Judged:
    """Judge live data of ThemeParks.wiki; `now` in epoch seconds. Raises BadFeed where it tells of none of the rides
    that are known there, though the park may be open."""
    words = [
        Word(ride.themeparks_wiki_id, ride.name, target.wiki_rides.get(ride.themeparks_wiki_id),
             ride.status, None, ride.wait_time, ride.updated_at)
        for ride in live.rides
    ]  # fmt: skip
    return _judged(target, Source.THEMEPARKS_WIKI, words, live.refused, now)


def of_queue_times(target: Target, queues: Queues, now: int) -> Judged:
    """Judge an answer of Queue-Times; `now` in epoch seconds. Raises BadFeed as `of_wiki` does."""
    words = [
        Word(str(ride.queue_times_id), ride.name, target.queue_rides.get(ride.queue_times_id),
             None, ride.is_open, ride.wait_time, ride.updated_at)
        for ride in queues.rides
    ]  # fmt: skip
    return _judged(target, Source.QUEUE_TIMES, words, queues.refused, now)


def _judged(target: Target, source: Source, words: list[Word], refused: Sequence[Refusal], now: int) -> Judged:
    known = {word.ride_id: word for word in words if word.ride_id is not None}
    believed = {ride: word for ride, word in known.items() if rules.is_believed(source, word.status, word.age(now))}
    look = _Look(target, source, known, believed, now)
    suspicions = [doubt.key.matter for doubt in look.suspicions]
    if not known and not suspicions and target.has_rides(source) and target.hours.is_open is not False:
        raise BadFeed(f"{NAMES[source]} tells of no ride that is known.")
    shown = known if suspicions else believed
    doubts = [*look.suspicions, *look.stale(), *_refusals(target, source, refused)] if look.is_telling else []
    readings = [(ride_id, *word.said) for ride_id, word in shown.items()]
    return Judged(source, readings, suspicions, doubts, len(words) - len(known), look.is_telling)


class _Look:
    """How a park looks in an answer."""

    def __init__(
        self, target: Target, source: Source, known: dict[int, Word], believed: dict[int, Word], now: int
    ) -> None:
        self.target, self.source, self.now = target, source, now
        self.rides = {ride_id: word for ride_id, word in known.items() if ride_id in target.attractions}
        self.believed = believed
        operating = [ride for ride, word in self.rides.items() if rules.is_operating(*word.said)]
        down = [ride for ride, word in self.rides.items() if rules.is_told_down(word.status)]
        self.waits = sum(bool(self.rides[ride].wait_time) for ride in operating)
        self.operating = sum(ride in believed for ride in operating)
        self.down = sum(ride in believed for ride in down)
        self.is_telling = target.hours.is_open if target.hours.is_open is not None else bool(operating)
        self.suspicions = list(self._suspicions())

    def _suspicions(self) -> Iterator[Doubt]:
        if not self.is_telling:
            return
        telling, usual = len(self.rides), self.target.usual.get(self.source, 0)
        if self.target.hours.is_settled and rules.contradicts_schedule(self.operating, self.down, telling):
            yield self._doubt(Matter.ALL_CLOSED, f"all {telling} rides, while the schedule says that the park is open")
        if rules.has_lost_rides(telling, usual):
            yield self._doubt(Matter.RIDES_MISSING, f"{telling} rides, where {usual} were told of in the day before")
        latest = self.now + rules.CLOCKS_APART_SECONDS
        heard = [word.updated_at for word in self.rides.values() if word.updated_at is not None]
        newest = max((at for at in heard if at <= latest), default=None)
        none_believed = self.rides and not self.rides.keys() & self.believed.keys()
        if newest is not None and (none_believed or rules.is_frozen(self.now - newest, self.waits)):
            yield self._doubt(Matter.FROZEN, f"nothing is newer than {iso_utc(newest)}")

    def stale(self) -> Iterator[Doubt]:
        """The rides of which the source has not heard for too long."""
        if self.suspicions:
            return
        for ride_id, word in self.rides.items():
            age = word.age(self.now)
            is_believed = ride_id in self.believed
            if not is_believed or word.status is Status.OPERATING and (age or 0) > rules.STALE_STATUS_SECONDS:
                use = "" if is_believed else ", and not used"
                since = iso_utc(word.updated_at or self.now)
                status = None if word.status is None else word.status.name
                key = Key(Matter.STALE, self.source, self.target.park_id, word.entity)
                told = status or ("open" if word.is_open else "not open")
                yield Doubt(key, f"{told} since {since}{use}", ride_id, word.name, status, word.updated_at)

    def _doubt(self, matter: Matter, details: str) -> Doubt:
        return Doubt(Key(matter, self.source, self.target.park_id), details, entity_name=self.target.name)


def _refusals(target: Target, source: Source, refused: Sequence[Refusal]) -> Iterator[Doubt]:
    """Of rides that have an id; the others could not be told apart."""
    of_wiki = source is Source.THEMEPARKS_WIKI
    for refusal in refused:
        entity = refusal.source_id
        if entity is not None and isinstance(entity, str) is of_wiki:
            ride_id = target.wiki_rides.get(entity) if isinstance(entity, str) else target.queue_rides.get(entity)
            key = Key(Matter.NOT_USED, source, target.park_id, str(entity))
            yield Doubt(key, refusal.reason, ride_id, refusal.what)
