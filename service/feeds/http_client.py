"""Asks public sources as a good citizen: seldom, only for what is new, under its own name, and never without an end."""

from __future__ import annotations

import gzip
import io
import logging
import math
import random
import ssl
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any, NamedTuple, Self

import httpcore2
import httpx2

from service import VERSION
from service.errors import BadRequest, Silent, Unanswered

MIB = 2**20
REDIRECTS = 3
LONGEST_HOLD_SECONDS = 3600.0  # that a source can ask for
REDIRECTING = (301, 302, 303, 307, 308)
PASSING: dict[type[Exception], str] = {  # what may go better the next time; the first that fits says it
    httpcore2.TimeoutException: "did not answer in time",
    httpcore2.ConnectError: "cannot be reached",
    httpcore2.NetworkError: "did not give a whole answer",
    httpcore2.RemoteProtocolError: "did not give a whole answer",
}
VALIDATORS = (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified"))

Seconds = Callable[[], float]

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """A whole answer. With status 304 the source says that nothing has changed; `body` is what it gave before."""

    url: str  # that was asked, wherever it redirects to
    status: int  # 200 or 304
    headers: httpx2.Headers  # by name in any case; with 304, those that came with the body
    body: bytes


class HttpClient:
    """GET for any number of threads, which share its ceilings, its connections and the bodies it keeps.

    A request goes out `per_second` times to a host and `total_per_second` times in all; repetitions and redirects
    count. It is over after `deadline_seconds`, whatever the source does. Timeouts, broken connections, 429 and 5xx
    are asked again, `attempts` times in all, after pauses that double from `first_pause_seconds`; a Retry-After keeps
    every thread from the host, LONGEST_HOLD_SECONDS at most. A host that wants to be left alone for longer than
    `patience_seconds` is not waited for. No other pause is longer than `longest_pause_seconds`. Bodies end at
    `body_bytes`, unzipped too. `clock` counts seconds from anywhere; `sleep` may raise, to end the waiting.
    """

    def __init__(
        self, *, contact: str | None = None,
        per_second: float = 1.0, total_per_second: float = 4.0,
        connect_seconds: float = 5.0, read_seconds: float = 15.0, deadline_seconds: float = 30.0,
        attempts: int = 3, first_pause_seconds: float = 4.0, longest_pause_seconds: float = 60.0,
        patience_seconds: float = 60.0,
        body_bytes: int = 8 * MIB, kept_bodies: int = 256, kept_bytes: int = 32 * MIB,
        clock: Seconds = time.monotonic, sleep: Callable[[float], object] = time.sleep,
        jitter: Seconds = random.random,
    ) -> None:
        self._attempts, self._first_pause, self._longest_pause = attempts, first_pause_seconds, longest_pause_seconds
        self._body_bytes, self._patience, self._sleep, self._jitter = body_bytes, patience_seconds, sleep, jitter
        self._headers = _headers(contact)
        self._timeouts = {"connect": connect_seconds, "read": read_seconds, "write": read_seconds,
                          "pool": deadline_seconds}
        self._everybody = _Pace(total_per_second, clock, sleep)
        self._paces: dict[str, _Pace] = {}
        self._new_pace = partial(_Pace, per_second, clock, sleep, within=self._everybody)
        self._lock = threading.Lock()
        self._shelf = _Shelf(kept_bodies, kept_bytes)
        self._deadline = _Deadline(deadline_seconds, clock)
        # The pool beneath httpx2.Client, not the client: that would take proxies and the passwords of .netrc from the
        # environment, of which only service/config.py decides what counts, and would keep cookies. What is still
        # taken from there is where certificates are: whoever sets SSL_CERT_FILE means every program.
        self._pool = httpcore2.ConnectionPool(
            ssl_context=_certificates(), keepalive_expiry=20.0, network_backend=_Network(self._deadline),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. `get` must not be asked any more."""
        self._pool.close()

    def get(self, url: str) -> Answer:
        """The answer of `url`. Raises Unanswered with the host and what happened, and nothing else of the answer."""
        return self._persistently(_parsed(url))._replace(url=url)

    def _persistently(self, url: httpx2.URL) -> Answer:
        for attempt in range(1, self._attempts):
            try:
                return self._followed(url)
            except _LeftAlone:
                raise
            except Silent as problem:
                pause = min(self._first_pause * 2 ** (attempt - 1), self._longest_pause) * (1 + self._jitter()) / 2
                log.debug("%s Asking again in %.0f s.", problem, pause)
            self._sleep(pause)
        return self._followed(url)

    def _followed(self, url: httpx2.URL) -> Answer:
        place = url
        for _ in range(REDIRECTS + 1):
            found = self._asked(place)
            if isinstance(found, Answer):
                return found
            place = found
        raise Unanswered(f"{url.host} redirects more than {REDIRECTS} times.")

    def _asked(self, url: httpx2.URL) -> Answer | httpx2.URL:
        """What one request gives: an answer, or where to ask instead."""
        kept = self._shelf.find(str(url))
        held = self._pace(url.host).take(self._patience)
        if held:
            raise _LeftAlone(f"{url.host} wants to be left alone for {held:.0f} s.")
        self._deadline.begin()
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [*self._headers, *_validators(kept)]
        try:
            with self._pool.stream("GET", target, headers=headers, extensions={"timeout": self._timeouts}) as response:
                return self._understood(url, kept, response)
        except tuple(PASSING) as error:
            happened = next(words for kind, words in PASSING.items() if isinstance(error, kind))
            raise Silent(f"{url.host} {happened}.") from error

    def _understood(self, url: httpx2.URL, kept: Answer | None, response: httpcore2.Response) -> Answer | httpx2.URL:
        status, headers = response.status, httpx2.Headers(response.headers)
        if status == 200:
            answer = Answer(str(url), status, headers, self._body(url.host, headers, response.iter_stream()))
            self._shelf.put(answer)
            return answer
        if status == 304:
            b"".join(response.iter_stream())  # nothing, but only then the connection can be used again
            if kept is None:
                raise Unanswered(f"{url.host} says that nothing has changed, but was not asked that.")
            return kept._replace(status=status)
        if status in REDIRECTING:
            return _redirected(url, headers)
        if status == 429 or 500 <= status <= 599:
            held = min(_retry_after(headers), LONGEST_HOLD_SECONDS)
            self._pace(url.host).hold(held)
            if held > self._patience:
                raise _LeftAlone(f"{url.host} answered with status {status}: to be left alone for {held:.0f} s.")
            raise Silent(f"{url.host} answered with status {status}.")
        raise Unanswered(f"{url.host} answered with status {status}.")

    def _body(self, host: str, headers: httpx2.Headers, chunks: Iterable[bytes]) -> bytes:
        raw = b"".join(self._bounded(host, chunks))
        coding = headers.get("content-encoding", "").strip().lower()
        if coding in ("", "identity"):
            return raw
        if coding not in ("gzip", "x-gzip"):
            raise Unanswered(f"{host} answered in an encoding that it was not asked for.")
        try:
            # Not httpx2's decoder, for which half a gzip is a whole one.
            body = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(self._body_bytes + 1)
        except (EOFError, OSError, zlib.error):
            raise Unanswered(f"{host} answered with broken gzip.") from None
        return b"".join(self._bounded(host, [body]))

    def _bounded(self, host: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > self._body_bytes:
                raise Unanswered(f"{host} answered with more than {self._body_bytes} bytes.")
            yield chunk

    def _pace(self, host: str) -> _Pace:
        with self._lock:
            return self._paces.get(host) or self._paces.setdefault(host, self._new_pace())


class _LeftAlone(Silent):
    """What is not waited for."""


class _Pace:
    """Lets threads pass one by one, with a distance between them; each of them through `within`, too."""

    def __init__(
        self, per_second: float, clock: Seconds, sleep: Callable[[float], object], within: _Pace | None = None,
    ) -> None:
        self._distance, self._clock, self._sleep, self._within = 1 / per_second, clock, sleep, within
        self._turn, self._word, self._due = threading.Lock(), threading.Lock(), clock()

    def take(self, patience: float = math.inf) -> float:
        """Return 0 when it is the caller's turn, or at once the seconds until then where they are more than `patience`,
        and it is not."""
        with self._turn:  # kept while sleeping: the others would only sleep as well
            while (seconds := self._due - self._clock()) > 0:  # again, for `hold` may have come meanwhile
                if seconds > patience:
                    return seconds
                self._sleep(seconds)
            if self._within is not None:
                self._within.take()
            self.hold(self._distance)
        return 0.0

    def hold(self, seconds: float) -> None:
        """Let nobody pass for `seconds`, or for longer where that was said before."""
        with self._word:
            self._due = max(self._due, self._clock() + seconds)


class _Shelf:
    """The newest answers that their sources know again. What was not asked for longest goes first."""

    def __init__(self, bodies: int, size: int) -> None:
        self._bodies, self._size = bodies, size
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, url: str) -> Answer | None:
        with self._lock:
            if url in self._answers:
                self._answers.move_to_end(url)
            return self._answers.get(url)

    def put(self, answer: Answer) -> None:
        with self._lock:
            self._answers.pop(answer.url, None)
            if _validators(answer) and len(answer.body) <= self._size:
                self._answers[answer.url] = answer
            while len(self._answers) > self._bodies or sum(len(a.body) for a in self._answers.values()) > self._size:
                self._answers.popitem(last=False)


class _Deadline:
    """When the request of the running thread has to be over."""

    def __init__(self, seconds: float, clock: Seconds) -> None:
        self._seconds, self._clock, self._request = seconds, clock, threading.local()

    def begin(self) -> None:
        self._request.ends_at = self._clock() + self._seconds

    def within(self, timeout: float | None) -> float:
        """`timeout`, or what is left. Raises when nothing is."""
        left: float = self._request.ends_at - self._clock()
        if left <= 0:
            raise httpcore2.ReadTimeout("the deadline of the request is over")
        return left if timeout is None else min(timeout, left)


class _Network(httpcore2.SyncBackend):
    """Connections on which the deadline counts for each single wait: a byte now and then never exceeds a timeout."""

    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any) -> _Stream:
        return _Stream(super().connect_tcp(host, port, self._deadline.within(timeout), *args, **kwargs), self._deadline)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, deadline: _Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.within(timeout))

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None,
                  timeout: float | None = None) -> _Stream:
        secure = self._stream.start_tls(ssl_context, server_hostname, self._deadline.within(timeout))
        return _Stream(secure, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: it takes 30 ms."""
    return httpx2.create_ssl_context()


def _headers(contact: str | None) -> list[tuple[bytes, bytes]]:
    if contact and not (contact.isascii() and contact.isprintable()):
        raise BadRequest("The contact that sources are told must be one line of plain ASCII.")
    agent = f"theme-park-hall-of-shame/{VERSION}" + (f" (+{contact})" if contact else "")
    return httpx2.Headers({"User-Agent": agent, "Accept": "application/json", "Accept-Encoding": "gzip"}).raw


def _validators(kept: Answer | None) -> list[tuple[bytes, bytes]]:
    """The request headers that ask whether `kept` is still the newest; none where its source cannot say."""
    if kept is None:
        return []
    headers = kept.headers
    return [(asks.encode(), headers[says].encode(headers.encoding)) for asks, says in VALIDATORS if headers.get(says)]


def _parsed(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
        # As the resolver will, whose complaints of these two are not errors of the network.
        parsed.raw_host.decode().encode("idna")
        usable = bool(parsed.host) and (parsed.port or 0) < 2**16
    except (httpx2.InvalidURL, ValueError):
        usable = False
    if not usable or parsed.scheme not in ("http", "https"):
        raise Unanswered("A source cannot be asked: its address must be one of http:// or https://.")
    return parsed


def _redirected(url: httpx2.URL, headers: httpx2.Headers) -> httpx2.URL:
    """Where a redirect leads: to the same place, or to its encrypted door."""
    try:
        target = url.join(headers["location"])
    except (KeyError, httpx2.InvalidURL, ValueError):
        raise Unanswered(f"{url.host} redirects, but not to an address.") from None
    if (target.scheme, target.host, target.port) not in ((url.scheme, url.host, url.port), ("https", url.host, None)):
        where = f"{target.scheme}://{target.netloc.decode()}"
        raise Unanswered(f"{url.host} redirects to {where}, which nobody said to ask.")
    return target


def _retry_after(headers: httpx2.Headers) -> float:
    """How many seconds a source wants to be left alone, 0 where it does not say. A date counts by its own clock."""
    value = headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return (parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return 0.0
