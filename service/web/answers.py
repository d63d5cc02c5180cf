"""The answer cache: an answer is made once, and holds while what it was made of stays as it is.

Two revisions tell that (`queries.state`): one moves with the readings of the running Pacific day, the other with
everything else. An answer is made in one consistent view of the database, of which they are read first, so it never
mixes two. When they move, a thread makes the answers anew that were asked for lately; for a few seconds more their
askers get the previous ones. When the database is away, everybody gets the last good ones.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import urlencode

from peewee import PeeweeException

from service import clock, database, periods
from service.errors import ServiceError, Unavailable, Unreachable
from service.periods import epoch, pacific_date, pacific_day
from service.queries import days, state
from service.queries.days import Shared
from service.web import http
from service.web.params import Query, Request
from service.web.routes import Answer, Reply, Sent, Table

LARGEST_CACHE = 32 * 2**20  # bytes a process holds
LARGEST_ANSWER = 2 * 2**20
LEFT_AFTER_FORGETTING = 0.9  # of what a process may hold: there is seldom a reason to look who was not asked for
MOST_QUESTIONS = 5_000  # query strings that are known to be right
LONGEST_QUESTION = 300  # characters
SMALLEST_ZIPPED = 1024
ZIP_LEVEL = 5

LIVE_SECONDS = 300  # after which an answer about now is old, though no reading came
SECONDS_BETWEEN_LOOKS = 1.0
PATIENT_SECONDS = 10.0  # a look may hang while the network does: requests do not hang with it
LENIENT_SECONDS = 4.0  # after a revision in which the previous answer is still given, while new ones are made
REFRESHED_SECONDS = 600.0  # answers that somebody asked for in this time are made anew
MOST_REFRESHED = 300
MAX_AGE, MAX_AGE_OF_PAST = 10, 300  # seconds that others may keep an answer
STALE_WHILE_REVALIDATE = 60

# Of these paths the answers about periods that are over rest on nothing that the running day can change, but for the
# names of the sources that parks have now.
OF_HISTORY = frozenset({
    "/api/parks/downtime",
    "/api/parks/waittimes",
    "/api/parks/awards",
    "/api/rides/downtime",
    "/api/rides/waittimes",
    "/api/rides/awards",
    "/api/trends",
    "/api/trends/chart-data",
    "/api/trends/longest-wait-times",
    "/api/trends/least-reliable",
    "/api/trends/heatmap-data",
})
AWARDS = frozenset({"/api/parks/awards", "/api/rides/awards"})

log = logging.getLogger("service.answers")

How = Literal["hit", "miss", "stale"]
Key: TypeAlias = "tuple[str, Asked]"  # path, parameters
Ask = Callable[[Request], Answer]
Asked: TypeAlias = "tuple[tuple[str, ...], ...]"


class View(NamedTuple):
    """What the database holds: its revisions, and the instant as of which answers are made of it."""

    current: int
    history: int
    now: datetime
    settled: bool  # whether yesterday is final for every park
    seen_at: float  # on the monotonic clock
    shared: Shared

    @property
    def revisions(self) -> tuple[int, int]:
        return self.current, self.history


class Move(NamedTuple):
    """What the revisions were seen to be, and when, on the monotonic clock."""

    current: int
    history: int
    seen_at: float


class Entry(NamedTuple):
    """An answer as it is sent, what it rests on, and how to make it anew."""

    body: bytes
    zipped: bytes | None
    etag: str
    history: int
    current: int | None  # None: it rests on the past alone
    made_at: datetime
    day: date  # the Pacific one of that instant
    database_ms: float
    request: Request
    ask: Ask
    asker: str  # whom the query log names

    def holds(self, view: View, now: datetime) -> bool:
        """Whether it still says what would be said as of `now`."""
        is_same = self.history == view.history and self.current in (None, view.current)
        return is_same and self._is_of_now(now, LIVE_SECONDS)

    def held(self, floor: Move, now: datetime) -> bool:
        """Whether it did when the revisions were those of `floor`, and not much more time has passed."""
        is_later = self.history >= floor.history and (self.current is None or self.current >= floor.current)
        return is_later and self._is_of_now(now, LIVE_SECONDS + LENIENT_SECONDS)

    def _is_of_now(self, now: datetime, seconds: float) -> bool:
        """Whether it is of the same Pacific day, and if it is about the running day, made in the last `seconds`. An
        asker may have read the clock just before."""
        if self.day != pacific_date(now):
            return False
        return self.current is None or -LENIENT_SECONDS < (now - self.made_at).total_seconds() < seconds

    @property
    def size(self) -> int:
        """Bytes it takes, with the question, which is kept in pieces."""
        return len(self.body) + len(self.zipped or b"") + 8 * len(self.request.query.string) + 2000


class Kept:
    """What is remembered of a question: its answer, and when it was asked last, on the monotonic clock."""

    __slots__ = ("entry", "asked_at")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.asked_at = time.monotonic()


class Found(NamedTuple):
    """An answer, and whether it was there, was made, or is the one before."""

    entry: Entry
    how: How
    is_forsaken: bool = False  # the database is away


class Answers:
    """The answers of this process. `reading` is the door to a database that is ready (`app.Gate`)."""

    def __init__(self, reading: Callable[[], Any], *, background: bool) -> None:
        """`background`: a thread looks at the revisions and makes answers anew; else each request looks."""
        self._reading = reading
        self._background = background
        self._lock = threading.Lock()
        self._kept: dict[Key, Kept] = {}
        self._questions: dict[tuple[str, str], Asked] = {}
        self._flights: dict[Key, Future[Entry]] = {}
        self._bytes = 0
        self._view: View | None = None
        self._looked_at = -SECONDS_BETWEEN_LOOKS
        self._moves: tuple[Move, ...] = ()
        self._away: ServiceError | None = None
        self._moved = threading.Event()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._pid = 0  # of the process that has the threads: they do not survive a fork

    def find(self, request: Request, path: str, ask: Ask) -> Found:
        """The answer to `request`. Raises what `ask` and its Answer raise; Unavailable when there is none."""
        key = (path, self._asked(request, path, ask))
        view = self._look(request.now)
        # At first without the lock: nobody should wait for who has it and is not running.
        found = self._at_hand(key, view, request.now)
        if found:
            return found
        if view is None and self._away:
            raise self._away.with_traceback(None)  # and let nobody wait for what does not answer
        found = self._made(key, view, request, ask)
        if self._may_do(found, request.now):
            return found
        # Somebody had begun to make it before what it rests on changed.
        return self._made(key, self._view, request, ask)

    def _made(self, key: Key, view: View | None, request: Request, ask: Ask) -> Found:
        """The answer, made by this thread or by the one that is at it."""
        with self._lock:
            found = self._at_hand(key, view, request.now)
            if found:
                return found
            kept = self._kept.get(key)
            flight, leads = self._flights.get(key), key not in self._flights
            if flight is None:
                flight = self._flights[key] = Future()
        before = kept.entry if kept else None
        if leads:
            return self._lead(key, before, flight, request, ask)
        return self._follow(before, flight)

    def _may_do(self, found: Found, now: datetime) -> bool:
        view = self._view
        if found.is_forsaken or view is None:
            return True
        return found.entry.holds(view, now) or self._held_just_now(found.entry, now)

    def _asked(self, request: Request, path: str, ask: Ask) -> Asked:
        """What is asked for, as `ask` reads it: the same however it is written. Raises what wrong parameters do."""
        string = request.query.string
        known = self._questions.get((path, string))
        if known is None:
            ask(request)
            known = request.query.asked()
            if len(path) + len(string) <= LONGEST_QUESTION:
                if len(self._questions) >= MOST_QUESTIONS:
                    self._questions.clear()
                self._questions[path, string] = known
        return known

    def _at_hand(self, key: Key, view: View | None, now: datetime) -> Found | None:
        """An answer that need not be made, if there is one."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        kept.asked_at = time.monotonic()
        entry = kept.entry
        if view is None:
            return Found(entry, "stale", is_forsaken=True)
        if entry.holds(view, now):
            return Found(entry, "hit")
        return Found(entry, "stale") if self._held_just_now(entry, now) else None

    def _held_just_now(self, entry: Entry, now: datetime) -> bool:
        """Whether it may be given for moments more, while a thread makes a new one."""
        since, moves = time.monotonic() - LENIENT_SECONDS, self._moves
        floor = next((move for move in reversed(moves) if move.seen_at <= since), moves[0] if moves else None)
        return self._background and floor is not None and entry.held(floor, now)

    # --- making one --------------------------------------------------------------------------------------------------

    def _lead(self, key: Key, before: Entry | None, flight: Future[Entry], request: Request, ask: Ask) -> Found:
        try:
            made = self._make(key, request, ask)
            flight.set_result(made)
            return Found(made, "miss")
        except BaseException as error:
            flight.set_exception(error)
            if before and isinstance(error, Unavailable):
                return Found(before, "stale", is_forsaken=True)
            raise
        finally:
            with self._lock:
                self._flights.pop(key, None)

    def _follow(self, before: Entry | None, flight: Future[Entry]) -> Found:
        try:
            return Found(flight.result(), "miss")
        except Unavailable:
            if before:
                return Found(before, "stale", is_forsaken=True)
            raise

    def _make(self, key: Key, request: Request, ask: Ask) -> Entry:
        """Make an answer in one view of the database, and remember it. It is made of its key alone, so that nothing
        else that somebody sent gets into it."""
        began = time.monotonic()
        with self._reading(), _timed() as spent:
            view = self._seen(*_revisions(), request.now, began)
            asked = request._replace(now=view.now, query=_query(key[1]), environ={})
            with days.sharing(view.shared):
                found = ask(asked)()
        if isinstance(found, Table):
            raise TypeError(f"{key[0]}: a table is not kept")
        body = http.json_bytes(found)
        of_past = self._is_of_past(key, view)
        entry = Entry(
            body,
            gzip.compress(body, ZIP_LEVEL, mtime=0) if len(body) >= SMALLEST_ZIPPED else None,
            f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"',
            view.history,
            None if of_past else view.current,
            view.now,
            pacific_date(view.now),
            sum(spent),
            asked,
            ask,
            database.asked_by.get(),
        )
        with self._lock:
            self._remember(key, entry)
        return entry

    def _is_of_past(self, key: Key, view: View) -> bool:
        path, asked = key
        if path not in OF_HISTORY:
            return False
        if path in AWARDS:
            return True
        said = {name: values[0] for name, *values in asked}
        period = said.get("mode") or said.get("period") or "live"
        try:
            span = periods.named(period, view.now)
        except ServiceError:
            return False
        yesterday = pacific_date(view.now) - timedelta(days=1)
        return span.until is None and (view.settled or span.days[-1] < yesterday)

    # --- what is remembered ------------------------------------------------------------------------------------------

    def _remember(self, key: Key, entry: Entry) -> None:
        if entry.size > LARGEST_ANSWER:
            self._forget(key)
            return
        kept = self._kept.get(key)
        if kept is None:
            self._kept[key] = Kept(entry)
        else:
            self._bytes -= kept.entry.size
            kept.entry = entry
        self._bytes += entry.size
        if self._bytes > LARGEST_CACHE:
            self._forget_some()

    def _forget_some(self) -> None:
        """Those that nobody has asked for the longest."""
        for key in sorted(self._kept, key=lambda key: self._kept[key].asked_at):
            if self._bytes <= LARGEST_CACHE * LEFT_AFTER_FORGETTING:
                return
            self._forget(key)

    def _forget_all(self) -> None:
        self._kept, self._bytes, self._moves = {}, 0, ()

    def _forget(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept:
            self._bytes -= kept.entry.size

    # --- revisions ---------------------------------------------------------------------------------------------------

    def _look(self, now: datetime) -> View | None:
        """What the database holds, at most a second ago; None when it is away."""
        if self._background:
            self._ensure_threads()
        view = self._view
        of_today = view is not None and pacific_date(view.now) == pacific_date(now)
        waited = time.monotonic() - self._looked_at
        if self._away and waited < SECONDS_BETWEEN_LOOKS:
            return None
        if self._background and of_today and waited < PATIENT_SECONDS:
            return None if self._away else view
        return self._look_now(now)

    def _look_now(self, now: datetime) -> View | None:
        self._looked_at = began = time.monotonic()
        try:
            with self._reading():
                view = self._seen(*_revisions(), now, began)
        except (PeeweeException, ServiceError) as error:
            if not self._away:
                log.warning("Answers are the last good ones: %s", error)
            self._away = error if isinstance(error, ServiceError) else Unreachable(str(error))
            database.drop_connection()
            return None
        self._away = None
        return view

    def _seen(self, current: int, history: int, now: datetime, began: float) -> View:
        """The view of these revisions: the one at hand, or a new one; one that is older is shared with nobody. To be
        called in a view of the database that was opened at `began` or later."""
        known = self._view
        if known and known.revisions == (current, history) and _is_young(known, now):
            return known
        view = View(current, history, now, days.is_settled(now), time.monotonic(), Shared(now))
        with self._lock:
            known = self._view
            if known and known.revisions == (current, history) and _is_young(known, now):
                return known
            is_ahead = known is None or (current >= known.current and history >= known.history)
            was_late = known is not None and 0 < (known.now - now).total_seconds() < LIVE_SECONDS
            if was_late or not (is_ahead or (known and began > known.seen_at)):
                return view
            if not is_ahead:  # of another database, or one that was restored
                self._forget_all()
            self._show(view)
            return view

    def _show(self, view: View) -> None:
        since = view.seen_at - LENIENT_SECONDS
        recent = [move for move in self._moves if move.seen_at > since]
        before = [move for move in self._moves if move.seen_at <= since][-1:]
        self._moves = (*before, *recent, Move(view.current, view.history, view.seen_at))
        self._view = view
        self._moved.set()

    # --- threads -----------------------------------------------------------------------------------------------------

    def _ensure_threads(self) -> None:
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            works = (self._keep_looking, self._keep_refreshing)
            self._threads = [threading.Thread(target=work, name=work.__name__, daemon=True) for work in works]
            for thread in self._threads:
                thread.start()

    def close(self) -> None:
        """End the threads."""
        self._ended.set()
        self._moved.set()
        for thread in self._threads:
            thread.join()

    def _keep_looking(self) -> None:
        while not self._ended.is_set():
            try:
                with database.asking("a look at the revisions"):
                    self._look_now(clock.now())
            except Exception:  # whatever it was, the next look may be luckier: without them nothing becomes new
                log.exception("The revisions could not be looked at")
            self._ended.wait(SECONDS_BETWEEN_LOOKS)
        database.drop_connection()

    def _keep_refreshing(self) -> None:
        while not self._ended.is_set():
            self._moved.wait()
            self._moved.clear()
            for key in self._wanted():
                if self._moved.is_set():
                    break  # of yet another revision: begin anew
                self._refresh(key)
            database.drop_connection()

    def _wanted(self) -> list[Key]:
        """The keys asked for lately, the last one first; not all that somebody made up."""
        since = time.monotonic() - REFRESHED_SECONDS
        with self._lock:
            lately = [(kept.asked_at, key) for key, kept in self._kept.items() if kept.asked_at > since]
        lately.sort(key=lambda one: -one[0])
        return [key for _, key in lately[:MOST_REFRESHED]]

    def _refresh(self, key: Key) -> None:
        with self._lock:
            kept, view = self._kept.get(key), self._view
            now = clock.now()
            if kept is None or view is None or key in self._flights or kept.entry.holds(view, now):
                return
            entry = kept.entry
            flight = self._flights[key] = Future()
        try:
            with database.asking(entry.asker):
                self._lead(key, None, flight, entry.request._replace(now=now), entry.ask)
        except Exception as error:
            log.debug("%s could not be made anew: %s", key[0], error)


def sent(found: Found, request: Request) -> Reply:
    """An answer as it was made, or word (304) that the client has it."""
    entry, asked = found.entry, request.environ
    headers = _headers(found, request.now)
    if is_known(entry.etag, asked.get("HTTP_IF_NONE_MATCH", "")):
        return 304, Sent(b"", headers)
    if entry.zipped and takes_gzip(asked.get("HTTP_ACCEPT_ENCODING", "")):
        return 200, Sent(entry.zipped, {**headers, "Content-Encoding": "gzip"})
    return 200, Sent(entry.body, headers)


def _headers(found: Found, now: datetime) -> dict[str, str]:
    """What tells clients, proxies and people about an answer."""
    entry, how = found.entry, found.how
    said = {
        "Content-Type": "application/json",
        "ETag": entry.etag,
        "Cache-Control": f"public, {_keeping(found, now)}",
        "Vary": "Accept-Encoding",
        "Server-Timing": f"cache;desc={how}, db;dur={entry.database_ms if how == 'miss' else 0:.1f}",
    }
    return {**said, "Warning": '110 - "Response is Stale"'} if found.is_forsaken else said


def _keeping(found: Found, now: datetime) -> str:
    """How long others may keep an answer: in no case beyond Pacific midnight."""
    left = max(pacific_day(pacific_date(now)).end - epoch(now), 0)
    seconds = 1 if found.how == "stale" else MAX_AGE if found.entry.current is not None else MAX_AGE_OF_PAST
    kept = f"max-age={min(left, seconds)}"
    if found.is_forsaken:
        return kept
    return f"{kept}, stale-while-revalidate={min(STALE_WHILE_REVALIDATE, left - min(left, seconds))}"


def is_known(etag: str, if_none_match: str) -> bool:
    """Whether a client that sends this header has the answer already."""
    if not if_none_match:
        return False
    tags = [tag.strip() for tag in if_none_match.split(",")]
    return "*" in tags or etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in tags]


@lru_cache(maxsize=128)  # browsers send few
def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client that sends this header wants gzip."""
    return re.search(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", accept_encoding, re.IGNORECASE) is not None


def _query(asked: Asked) -> Query:
    return Query(urlencode([(name, value) for name, *values in asked for value in values]))


def _is_young(view: View, now: datetime) -> bool:
    is_recent = view.now <= now < view.now + timedelta(seconds=LIVE_SECONDS)
    return is_recent and pacific_date(view.now) == pacific_date(now)


def _revisions() -> tuple[int, int]:
    """Of current and of history, of one view of the database."""
    found = state.get_states(state.REVISION_CURRENT, state.REVISION_HISTORY)
    return found.get(state.REVISION_CURRENT, 0), found.get(state.REVISION_HISTORY, 0)


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Collects the milliseconds of the statements that this thread runs meanwhile."""
    spent: list[float] = []
    with database.observed(lambda seconds: spent.append(seconds * 1000)):
        yield spent
