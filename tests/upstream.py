"""A public source on the loopback, with real sockets, that answers as told: well, late, by halves, or not at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path
from socket import SHUT_RDWR, socket
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from threading import Condition, Event, Thread
from time import monotonic, sleep
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

KB = b" " * 1024
NOTHING: Mapping[str, str] = MappingProxyType({})
DRIPS = 5000
PATIENCE = 20.0  # seconds until a test that waits for what does not come has failed


class Said(NamedTuple):
    """What to answer. An answer with an ETag or Last-Modified becomes a 304 for a request that has the same."""

    body: bytes = b"{}"
    status: int = 200
    headers: Mapping[str, str] = NOTHING  # in place of those that are sent otherwise; an empty one is left out
    declared: int | None = None  # Content-Length, where it is not that of the body
    kilobytes: int = 0  # of blanks after `body`, which are made while they are sent
    drops: Literal["", "at once", "in headers", "in body"] = ""
    drips: Literal["", "headers", "body"] = ""  # from there on byte by byte, DRIPS of them, and then no more
    silent: bool = False  # nothing at all, for as long as the other side waits
    after: float = 0.0  # seconds that nothing is said, by the `sleep` of the Upstream


class Asked(NamedTuple):
    """A request as it came in."""

    at: float  # by the clock of the Upstream
    host: str  # that was asked for, without the port
    target: str  # path and query
    headers: Mapping[str, str]  # names in small letters
    connection: int  # the same number for all requests of one connection


def json_of(value: Any, **said: Any) -> Said:
    return Said(json.dumps(value).encode(), **said)


def zipped(body: bytes, *, upto: int | None = None, **headers: str) -> Said:
    """`body` as gzip, cut off after `upto` of its bytes though declared as whole."""
    return Said(gzip.compress(body)[:upto], headers={"Content-Encoding": "gzip", **headers})


def redirect(location: str, status: int = 302) -> Said:
    return Said(b"", status, {"Location": location})


def busy(retry_after: str = "", status: int = 429, **headers: str) -> Said:
    return Said(b"", status, {"Retry-After": retry_after, **headers})


class SharedTime:
    """A clock for many threads. It stands still while anybody does anything, and goes on to the next one's awakening
    once all of them sleep or have nothing to do: so waiting is concurrent, and takes no time."""

    QUIET = 0.1  # real seconds without a look at the clock: on a busy machine nobody gets to look for a while

    def __init__(self) -> None:
        self._now = 0.0
        self._looks = 0
        self._wakes: list[float] = []
        self._changed = Condition()

    def monotonic(self) -> float:
        with self._changed:
            self._looks += 1
            return self._now

    def sleep(self, seconds: float) -> None:
        with self._changed:
            wake = self._now + seconds
            self._looks += 1
            self._wakes.append(wake)
            while self._now < wake:
                looks = self._looks
                if not self._changed.wait(self.QUIET) and self._looks == looks:
                    self._now = min(self._wakes)
                    self._looks += 1
                    self._changed.notify_all()
            self._wakes.remove(wake)
            self._looks += 1


class Upstream:
    """Answers below `url` what `script` said of a path, and 404 elsewhere; notes every request in `log`.

    The same server is at `url_of("localhost")`, for which a client cannot know that it is. `clock` says when a
    request came in, `on_drip` is called after each byte of a dripping answer, `sleep` before a late one: these are for
    tests with a time of their own. `sent` is how many bytes of body have left for the newest answer. With
    `certificate`, a file that has its key too, all of it is https.
    """

    def __init__(
        self, *, clock: Callable[[], float] = monotonic, on_drip: Callable[[], Any] = lambda: None,
        sleep: Callable[[float], object] = sleep, certificate: Path | None = None,
    ) -> None:
        self.clock, self.on_drip, self.sleep = clock, on_drip, sleep
        self.log: list[Asked] = []
        self.sent = 0
        self.closing = Event()
        self._scripts: dict[str, list[Said]] = {}
        self._noted = Condition()
        self._open: dict[int, socket] = {}
        self._server = _Server(("127.0.0.1", 0), self)
        self._scheme = "https" if certificate else "http"
        if certificate:
            context = SSLContext(PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url_of("127.0.0.1")

    def url_of(self, host: str) -> str:
        return f"{self._scheme}://{host}:{self._server.server_port}"

    def script(self, path: str, *said: Said) -> str:
        """Answer requests of `path`, with or without a query, in this order and then ever the last. Gives its URL."""
        with self._noted:
            self._scripts[path] = list(said)
        return self.url + path

    def asked(self, path: str = "", *, host: str = "") -> list[Asked]:
        """The requests in order; those of a path (with its query, if it has one), or of a host."""
        with self._noted:
            return [one for one in self.log if path in ("", one.target, _path(one.target)) and host in ("", one.host)]

    def times(self, host: str = "127.0.0.1") -> list[float]:
        return [one.at for one in self.asked(host=host)]

    def wait_for(self, requests: int) -> None:
        """Return once so many requests have come in. Fails when they do not."""
        with self._noted:
            assert self._noted.wait_for(lambda: len(self.log) >= requests, PATIENCE), f"{len(self.log)} of {requests}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        with self._noted:
            for connection in self._open.values():
                _shut(connection)

    def opened(self, connection: socket) -> int:
        """For the server: a number for `connection`, which is closed with the Upstream."""
        with self._noted:
            number = len(self._open) + 1
            self._open[number] = connection
            return number

    def answer(self, asked: Asked) -> Said:
        """For the server: note the request, and what to say to it."""
        with self._noted:
            self.log.append(asked)
            self._noted.notify_all()
            left = self._scripts.get(asked.target) or self._scripts.get(_path(asked.target))
            if not left:
                return Said(b"", 404)
            return left.pop(0) if len(left) > 1 else left[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], upstream: Upstream) -> None:
        super().__init__(address, _Handler)
        self.upstream = upstream

    def handle_error(self, *_request: Any) -> None:
        """Clients that go away in the middle are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.upstream = self.server.upstream
        self.number = self.upstream.opened(self.connection)

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        host = headers.get("host", "").rpartition(":")[0]
        said = self.upstream.answer(Asked(self.upstream.clock(), host, self.path, headers, self.number))
        if said.after:
            self.upstream.sleep(said.after)
        if said.silent:
            self._end_after(self.upstream.closing.wait)
        elif said.drops == "at once":
            self._end_after()
        else:
            self._say(_unchanged(said) if _is_known(said, headers) else said)

    def _say(self, said: Said) -> None:
        head = f"HTTP/1.1 {said.status} Said\r\n" + "".join(f"{n}: {v}\r\n" for n, v in _headers(said).items() if v)
        if said.drops == "in headers":
            self._end_after(lambda: self.wfile.write(head.encode("latin-1")))
            return
        if said.drips == "headers":
            self.wfile.write(f"{head}X-Drip: ".encode("latin-1"))
            self._drip()
        self.wfile.write(f"{head}\r\n".encode("latin-1"))
        self.upstream.sent = 0
        if said.drips == "body":
            self._drip()
        for piece in _pieces(said):
            self.wfile.write(piece)
            self.upstream.sent += len(piece)
        if said.drops or not ("Content-Length" in _headers(said) or said.status == 304):
            self._end_after()

    def _drip(self) -> None:
        for _ in range(DRIPS):
            self.wfile.write(b"x")
            self.upstream.on_drip()
        raise ConnectionAbortedError  # nobody had enough of it

    def _end_after(self, last: Callable[[], Any] = lambda: None) -> None:
        last()
        self.close_connection = True

    def log_message(self, *_arguments: Any) -> None:
        pass


def _headers(said: Said) -> dict[str, str]:
    size = said.declared if said.declared is not None else len(said.body) + 1024 * said.kilobytes
    lengths = {} if said.status == 304 else {"Content-Length": str(size)}
    found = {"Date": formatdate(usegmt=True), "Content-Type": "application/json", **lengths, **said.headers}
    return {name: value for name, value in found.items() if value}


def _pieces(said: Said) -> Iterator[bytes]:
    yield said.body[: len(said.body) // 2] if said.drops == "in body" else said.body
    yield from repeat(KB, said.kilobytes)


def _is_known(said: Said, asked: Mapping[str, str]) -> bool:
    """Whether the request has what `said` would say. As the standard wants it, the date counts only without a tag."""
    if "if-none-match" in asked:
        return asked["if-none-match"] == said.headers.get("ETag")
    return "Last-Modified" in said.headers and asked.get("if-modified-since") == said.headers["Last-Modified"]


def _unchanged(said: Said) -> Said:
    kept = {name: value for name, value in said.headers.items() if name in ("ETag", "Last-Modified")}
    return Said(b"", 304, kept)


def _path(target: str) -> str:
    return target.partition("?")[0]


def _shut(connection: socket) -> None:
    try:
        connection.shutdown(SHUT_RDWR)
    except OSError:  # it is
        pass
