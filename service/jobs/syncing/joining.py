"""Which of two sources' parks and of our rows are the same, or which rides: one way for both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from service.jobs.catalog import our_id
from service.jobs.matching import Named, matched
from service.jobs.syncing.report import QUEUE_TIMES, WIKI, Conflict, Doubt
from service.models import Park, Ride


class Called(Protocol):
    """A park or ride as a source lists it."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=str | int)
M = TypeVar("M", bound=Park | Ride)
E = TypeVar("E", bound=Called)
W = TypeVar("W", bound=Called)
Q = TypeVar("Q", bound=Called)


class Unit(NamedTuple, Generic[M, W, Q]):
    """A park or ride: our row of it, its ids, and what each source lists of it."""

    row: M | None
    wiki_id: str | None
    queue_times_id: int | None
    wiki: W | None
    queue_times: Q | None

    @property
    def name(self) -> str:
        """The wiki's name wherever there is one, so that it stays when the wiki is silent."""
        if self.wiki:
            return self.wiki.name
        if self.queue_times and not (self.row and self.row.themeparks_wiki_id):
            return self.queue_times.name
        return self.row.name if self.row else ""


class Side(Generic[T, M, E]):
    """One source: what it lists, by its ids there, and our rows by theirs. `named` says how an id is compared, by what
    is listed, or else the row, and by the row if there is one."""

    def __init__(
        self, listed: Mapping[T, E], rows: Mapping[T, M], named: Callable[[T, E | M, M | None], Named[T]]
    ) -> None:
        self.listed, self.rows = listed, rows
        self.id_of = {row: one for one, row in rows.items()}
        called: dict[T, E | M] = {**rows, **listed}
        self.named = [named(one, name_giver, rows.get(one)) for one, name_giver in called.items()]

    def name(self, one: T) -> str:
        """What an id is called."""
        return self.listed[one].name if one in self.listed else self.rows[one].name

    def free(self, one: T | None) -> T | None:
        """An id, unless a row has it."""
        return None if one in self.rows else one


def by_wiki_id(rows: Iterable[M]) -> dict[str, M]:
    """The rows that have an id of ThemeParks.wiki."""
    return {row.themeparks_wiki_id: row for row in rows if row.themeparks_wiki_id is not None}


def by_queue_times_id(rows: Iterable[M]) -> dict[int, M]:
    """The rows that have an id of Queue-Times."""
    return {row.queue_times_id: row for row in rows if row.queue_times_id is not None}


class Joined(Generic[M, W, Q]):
    """What two sources list and the rows that have an id of either: `units`, each once, rows first.

    `held` are ids that wait for a doubt to be settled: whether theirs is a unit of its own is not known. Doubtful pairs
    count if it `accepts` them.
    """

    def __init__(
        self, park: str | None, rows: Iterable[M], wiki: Side[str, M, W], queue_times: Side[int, M, Q], accepts: bool
    ) -> None:
        self.park, self.wiki, self.queue_times = park, wiki, queue_times
        stored = [row for row in rows if row in wiki.id_of or row in queue_times.id_of]
        known = [(wiki.id_of[row], queue_times.id_of[row]) for row in wiki.id_of if row in queue_times.id_of]
        self.pairs, likely = matched(wiki.named, queue_times.named, known)
        self.doubtful: list[Doubt] = []
        self.held: set[str | int | None] = set()
        self.of_wiki = {pair.left: pair.right for pair in self.pairs}
        for one, other, similarity in likely:
            if one in wiki.rows and other in queue_times.rows:
                continue  # two rows of ours: nothing hangs on it
            self.doubtful.append(Doubt(park, wiki.name(one), one, queue_times.name(other), other, similarity, accepts))
            if accepts:
                self.of_wiki[one] = other
            else:
                self.held.add(one if other in queue_times.rows else other)
        self.of_queue_times = {other: one for one, other in self.of_wiki.items()}
        self.units = [*map(self._stored, stored), *self._new()]

    def _stored(self, row: M) -> Unit[M, W, Q]:
        one, other = self.wiki.id_of.get(row), self.queue_times.id_of.get(row)
        return self._unit(
            row,
            one or self.wiki.free(self.of_queue_times.get(other or 0)),
            other or self.queue_times.free(self.of_wiki.get(one or "")),
        )

    def _new(self) -> Iterator[Unit[M, W, Q]]:
        for one in self.wiki.listed:
            partner = self.of_wiki.get(one)
            if one not in self.wiki.rows and partner not in self.queue_times.rows:
                yield self._unit(None, one, partner)
        for other in self.queue_times.listed:
            if other not in self.queue_times.rows and other not in self.of_queue_times:
                yield self._unit(None, None, other)

    def _unit(self, row: M | None, one: str | None, other: int | None) -> Unit[M, W, Q]:
        return Unit(row, one, other, self.wiki.listed.get(one or ""), self.queue_times.listed.get(other or 0))

    def doubled(self, what: str, matters: Callable[[str, int], bool]) -> Iterator[Conflict]:
        """Two rows that are one by their names, where that `matters` by the ids that say so; `what` they are."""
        for one, other, _ in self.pairs:
            row, second = self.wiki.rows.get(one), self.queue_times.rows.get(other)
            if row and second and row != second and matters(one, other):
                names = f"{self.wiki.name(one)} ({WIKI}) and {self.queue_times.name(other)} ({QUEUE_TIMES})"
                reason = f"{names} are one, but {our_id(row)} and {our_id(second)} of our {what}."
                yield Conflict(self.park or row.name, reason)
