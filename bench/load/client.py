"""An HTTP/1.1 client for load: keep-alive connections by the thousand in one process, and what they measured.

One request at a time on each connection; of an answer it reads the status, the length of the body and the ETag.
"""

from __future__ import annotations

import asyncio
import errno
import re
import resource
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random
from statistics import mean
from time import perf_counter, process_time
from typing import NamedTuple

from service import rules

Address = tuple[str, int]

PATIENCE_SECONDS = 30  # for an answer; what takes longer is an error
AFTER_AN_ERROR_SECONDS = 0.1
GOOD = (200, 304)
BODILESS = (204, 304)
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
ETAG = re.compile(rb"\r\netag: *([^\r]+)", re.IGNORECASE)


def allow_open_files(needed: int) -> None:
    """Raise the limit of open files of this process. Ends the program where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{needed:,} open files are needed and {hard:,} allowed: raise `ulimit -Hn`.")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class Answer(NamedTuple):
    """What came back, whole at `at` of perf_counter; the body as it was sent, without the sizes of chunks."""

    status: int
    head: bytes
    body: bytes
    at: float = 0.0


class Broken(Exception):
    """An answer that is no HTTP."""


# --- one connection --------------------------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """A connection that is kept for the next request, as long as the server keeps it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._received: list[bytes] = []
        self._size = 0
        self._needed = 1  # bytes, before another look at them is worth it

    @property
    def is_open(self) -> bool:
        """Whether it can take a request, as far as is known here."""
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send `request`. The answer is a ConnectionError when the server closes instead."""
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        """Without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return
        whole = data if len(self._received) == 1 else b"".join(self._received)
        self._received = [whole]
        try:
            answer = _parsed(whole)
        except (Broken, ValueError) as error:
            self._end(Broken(str(error)))
            return
        if isinstance(answer, int):
            self._needed = answer
        else:
            self._finish(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionResetError(errno.ECONNRESET, "closed without an answer"))

    def _finish(self, answer: Answer) -> None:
        self._received, self._size, self._needed = [], 0, 1
        if CLOSES.search(answer.head):
            self.close()
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer._replace(at=perf_counter()))  # it may be a while until who waits is woken

    def _end(self, error: Exception) -> None:
        self.close()
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)


def _parsed(data: bytes) -> Answer | int:
    """The answer, or how many bytes there must be before it can be whole. Raises Broken."""
    at = data.find(HEAD_END) + len(HEAD_END)
    if at < len(HEAD_END):
        return len(data) + 1
    head = data[: at - 2]
    if not (head.startswith(b"HTTP/1.") and head[9:12].isdigit()):
        raise Broken(f"no status line: {head[:40]!r}")
    status = int(head[9:12])
    if status in BODILESS:
        return Answer(status, head, b"")
    length = LENGTH.search(head)
    if length is not None:
        end = at + int(length[1])
        return Answer(status, head, data[at:end]) if len(data) >= end else end
    if not CHUNKED.search(head):
        raise Broken("an answer that does not tell its length")
    chunks = _chunks(data, at)
    return len(data) + 1 if chunks is None else Answer(status, head, chunks)


def _chunks(data: bytes, at: int) -> bytes | None:
    """The body whose first chunk begins at `at`; None while it is not whole. Trailers are not expected."""
    chunks: list[bytes] = []
    while (line := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line].partition(b";")[0], 16)
        start, end = line + 2, line + 2 + size
        if len(data) < end + 2:
            return None
        if not size:
            return b"".join(chunks)
        chunks.append(data[start:end])
        at = end + 2
    return None


# --- who asks --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _request(host: str, target: str) -> bytes:
    """A request as a browser sends it, up to the line before the one that ends it."""
    return (f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n").encode()


class Visitor:
    """Somebody with a connection, which is opened when there is none. With `remembers`, it sends the ETag it got."""

    def __init__(self, address: Address, *, remembers: bool = False) -> None:
        self._address = address
        self._host = "%s:%d" % address
        self._tags: dict[str, bytes] | None = {} if remembers else None
        self._connection = Connection()

    async def ask(self, target: str) -> Answer:
        """Raises OSError or Broken."""
        if not self._connection.is_open:
            loop = asyncio.get_running_loop()
            _, self._connection = await loop.create_connection(Connection, *self._address)
        request = _request(self._host, target)
        if self._tags is None:
            return await self._connection.ask(request + b"\r\n")
        tag = self._tags.get(target)
        sent = b"If-None-Match: %s\r\n\r\n" % tag if tag else b"\r\n"
        answer = await self._connection.ask(request + sent)
        found = ETAG.search(answer.head)
        if found is not None:
            self._tags[target] = found[1]
        return answer

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


# --- what was measured -----------------------------------------------------------------------------------------------


@dataclass
class Sample:
    """What one load gave. Seconds, each with what was asked; `late` is how much later than planned it was sent."""

    times: list[tuple[str, float]] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    bytes_received: int = 0  # of bodies
    seconds: float = 0.0
    client_cpu: float = 0.0  # seconds of this process
    client_queued: float = 0.0  # seconds that this process waited for a core to run on

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.times) / self.seconds if self.seconds else 0.0

    @property
    def client_share(self) -> float:
        """Of a core, that this process took."""
        return self.client_cpu / self.seconds if self.seconds else 0.0

    @property
    def client_busy(self) -> float:
        """Of the time, that this process had something to do. Near 1 it is the client that was measured."""
        return (self.client_cpu + self.client_queued) / self.seconds if self.seconds else 0.0

    def milliseconds(self, percent: int) -> float:
        """The percentile of the times; NaN without one."""
        return percentile([seconds for _, seconds in self.times], percent)

    @property
    def mean_milliseconds(self) -> float:
        return mean(seconds for _, seconds in self.times) * 1000 if self.times else float("nan")

    def by(self, group: Callable[[str], str]) -> dict[str, list[float]]:
        """Seconds by the group of what was asked."""
        found: dict[str, list[float]] = {}
        for target, seconds in self.times:
            found.setdefault(group(target), []).append(seconds)
        return found

    async def measure(self, visitor: Visitor, target: str, due: float | None = None) -> bool:
        """Ask and note the time, since it was `due` where that is given; False for an error."""
        began = perf_counter()
        if due is not None:
            self.late.append(began - due)
        try:
            answer = await visitor.ask(target)
        except (OSError, Broken) as error:
            self.errors[_name(error)] += 1
            return False
        if answer.status not in GOOD:
            self.errors[f"status {answer.status}"] += 1
            return False
        self.times.append((target, answer.at - (began if due is None else due)))
        self.statuses[answer.status] += 1
        self.bytes_received += len(answer.body)
        return True


def percentile(seconds: Sequence[float], percent: int) -> float:
    """In milliseconds; NaN of nothing."""
    found = rules.percentile(Counter(int(one * 1e6) for one in seconds), percent)
    return float("nan") if found is None else found / 1000


def _queued_seconds() -> float:
    """How long the main thread of this process has waited for a core so far."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


def _name(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return errno.errorcode.get(error.errno, str(error))
    return str(error) or type(error).__name__


# --- loads -----------------------------------------------------------------------------------------------------------


async def users(
    address: Address,
    targets: Sequence[Iterator[str]],
    seconds: float,
    *,
    pause: float = 0,
    remembers: bool = False,
) -> Sample:
    """As many users as there are `targets`, each asking for its own one after the other, about `pause` seconds apart,
    until they are through or the time is over."""
    sample = Sample()
    until = perf_counter() + seconds

    async def use(visitor: Visitor, wanted: Iterator[str], rng: Random) -> None:
        if pause:
            await asyncio.sleep(pause * rng.random())
        for target in wanted:
            if perf_counter() >= until:
                return
            if not await sample.measure(visitor, target):
                await asyncio.sleep(AFTER_AN_ERROR_SECONDS)
            if pause:
                await asyncio.sleep(pause * rng.uniform(0.5, 1.5))

    visitors = [Visitor(address, remembers=remembers) for _ in targets]
    tasks = [use(*one, Random(seed)) for seed, one in enumerate(zip(visitors, targets, strict=True))]
    return await _run(sample, visitors, tasks, seconds)


async def burst(address: Address, targets: Sequence[str]) -> Sample:
    """All of `targets` at once, each on a connection of its own. `seconds` is until the last is answered."""
    sample = Sample()
    visitors = [Visitor(address) for _ in targets]
    began = perf_counter()
    tasks = [sample.measure(*one, due=began) for one in zip(visitors, targets, strict=True)]
    return await _run(sample, visitors, tasks, 0)


async def held(
    address: Address, targets: Sequence[str], seconds: float, every: float, *, remembers: bool = False
) -> Sample:
    """As many connections as there are `targets`, each asking for its own `every` so many seconds, evenly spread. Times
    count from when a request was due, so that a client that is late does not hide what its users would wait."""
    sample = Sample()
    start = perf_counter()

    async def hold(visitor: Visitor, target: str, due: float) -> None:
        while due < start + seconds:
            await asyncio.sleep(due - perf_counter())
            await sample.measure(visitor, target, due)
            due += every

    visitors = [Visitor(address, remembers=remembers) for _ in targets]
    tasks = [
        hold(visitor, target, start + every * number / len(targets))
        for number, (visitor, target) in enumerate(zip(visitors, targets, strict=True))
    ]
    return await _run(sample, visitors, tasks, seconds)


async def _run(sample: Sample, visitors: list[Visitor], jobs: Sequence[Awaitable[object]], seconds: float) -> Sample:
    """Wait for all, PATIENCE_SECONDS longer than planned at most; who still waits then is an error."""
    began, cpu, queued = perf_counter(), process_time(), _queued_seconds()
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        done, waiting = await asyncio.wait(tasks, timeout=seconds + PATIENCE_SECONDS)
    finally:
        # Also when this program is being ended: the server would wait for what it still has to answer.
        for visitor in visitors:
            visitor.close()
    sample.seconds = perf_counter() - began
    sample.client_cpu, sample.client_queued = process_time() - cpu, _queued_seconds() - queued
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    if waiting:
        sample.errors[f"no answer in {PATIENCE_SECONDS} s"] += len(waiting)
    for task in done:
        task.result()
    return sample
