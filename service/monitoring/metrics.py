"""What Prometheus reads at /metrics: what the worker processes counted, and what the database says when it is asked.

Off unless METRICS_ADDRESS is set: then nothing here does anything, and prometheus_client is not even imported.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from socketserver import TCPServer
from threading import Lock, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from peewee import PeeweeException

from service import clock, database
from service.config import Settings
from service.errors import ServiceError
from service.monitoring.health import FAILURES_WITHIN
from service.periods import epoch
from service.queries import jobs, state

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily

EndpointOf = Callable[[WSGIEnvironment], str | None]

log = logging.getLogger("service.metrics")

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "hall_of_shame_"
PATH: Final = "/metrics"
UNKNOWN: Final = "unknown"  # one endpoint for all paths that lead nowhere: labels must not grow with what is asked
OUTCOMES: Final = ("hit", "miss", "stale")
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
DATABASE_SECONDS: Final = 3.0  # what a scrape waits for the database: it ends after ten by default
CLIENT_SECONDS: Final = 5.0  # what the listener waits for a client


def start(settings: Settings) -> None:
    """Count from now on, in this process, if the settings want it. To be called when the database is open."""
    global _counted
    _counted = _Counted(settings) if settings.metrics_address else None
    bound = database.db.obj
    if _counted and bound is not None and _queried not in bound.query_hooks:
        bound.query_hooks.append(_queried)


def answered(how: str) -> None:
    """Count an answer of the cache: a hit, a miss, or a stale one (OUTCOMES)."""
    if _counted:
        _counted.answers.labels(how).inc()


def metered(app: WSGIApplication, endpoint_of: EndpointOf) -> WSGIApplication:
    """`app`, whose requests are counted and timed, each until its answer was sent.

    `endpoint_of` names the endpoint once the request was answered, None where none is there for it.
    """
    counted = _counted
    if counted is None:
        return app

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return _Metered(counted, endpoint_of, environ, start_response).answer(app)

    return wrapped


def exposition() -> bytes:
    """All of it in Prometheus' text format: of every process, with what the database says now. Nothing when off."""
    return _counted.exposition() if _counted else b""


def listen(settings: Settings, app: WSGIApplication) -> None:
    """Answer with `app` at the address that the metrics have for themselves, if they do, in a thread of this process.

    Each worker process listens there; the kernel picks one for a request, and its threads for the API stay free.
    """
    if settings.metrics_listener is None:
        return
    try:
        server = _Server(settings.metrics_listener)
    except OSError as error:  # the API is worth more
        log.error("No metrics: cannot listen on %s: %s", settings.metrics_address, error)
        return
    server.set_app(app)
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()


# --- what is counted -------------------------------------------------------------------------------------------------


class _Counted:
    """The counters of this process. With a folder they are in its files, where every process can add up all."""

    def __init__(self, settings: Settings) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram  # not imported when off

        self._folder = settings.prometheus_multiproc_dir
        self._own = own = CollectorRegistry()
        self._asked = CollectorRegistry()
        self._asked.register(_Stored())
        self.slow_seconds = settings.slow_query_ms / 1000
        self.running = Gauge(
            f"{PREFIX}requests_in_progress",
            "Requests that are being answered",
            registry=own,
            multiprocess_mode="livesum",  # those of a worker that was killed are none any more
        )
        self.requests = Counter(
            f"{PREFIX}requests_total", "Requests, by endpoint and HTTP status", ["endpoint", "status"], registry=own
        )
        self.request_seconds = Histogram(
            f"{PREFIX}request_duration_seconds",
            "Time until an answer was sent, by endpoint",
            ["endpoint"],
            registry=own,
            buckets=BUCKETS,
        )
        self.answers = Counter(
            f"{PREFIX}cached_answers_total", "Answers of the cache: hit, miss or stale", ["outcome"], registry=own
        )
        for outcome in OUTCOMES:
            self.answers.labels(outcome)  # from 0 on, so that shares can be computed
        self.query_seconds = Histogram(
            f"{PREFIX}query_duration_seconds", "Time of database statements", registry=own, buckets=BUCKETS
        )
        self.slow_queries = Counter(
            f"{PREFIX}slow_queries_total", "Database statements slower than SLOW_QUERY_MS", registry=own
        )

    def exposition(self) -> bytes:
        from prometheus_client import generate_latest

        asked = generate_latest(self._asked)  # first: its statements are counted too
        return generate_latest(self._of_all_processes()) + asked

    def _of_all_processes(self) -> CollectorRegistry:
        if self._folder is None:
            return self._own
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        return registry


_counted: _Counted | None = None  # None: off


def _queried(event: Any) -> None:
    """A query hook."""
    if _counted:
        _counted.query_seconds.observe(event.duration)
        if event.duration > _counted.slow_seconds:
            _counted.slow_queries.inc()


class _Metered:
    """A request, and the body of its answer."""

    def __init__(
        self, counted: _Counted, endpoint_of: EndpointOf, environ: WSGIEnvironment, start_response: StartResponse
    ) -> None:
        self._counted = counted
        self._endpoint_of = endpoint_of
        self._environ = environ
        self._start_response = start_response
        self._status = "500"
        self._parts: Iterable[bytes] = ()
        self._started = time.perf_counter()

    def answer(self, app: WSGIApplication) -> Iterable[bytes]:
        self._counted.running.inc()
        try:
            self._parts = app(self._environ, self._start)
        except BaseException:
            self._end()
            raise
        return self

    def _start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None = None,
    ) -> Callable[[bytes], object]:
        self._status = status[:3]
        return self._start_response(status, headers, exc_info)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        """Called by the server after the last part, and when the client went away before it."""
        try:
            getattr(self._parts, "close", lambda: None)()
        finally:
            self._end()

    def _end(self) -> None:
        endpoint = self._endpoint_of(self._environ) or UNKNOWN
        self._counted.running.dec()
        self._counted.requests.labels(endpoint, self._status).inc()
        self._counted.request_seconds.labels(endpoint).observe(time.perf_counter() - self._started)


# --- what the database says ------------------------------------------------------------------------------------------


class _Answer(NamedTuple):
    """Seconds since the newest slot, None before the first one; by job, in epoch seconds, when the last run that
    succeeded and the last that failed began, and how many failed lately."""

    slot_age_seconds: int | None
    succeeded_at: dict[str, int]
    failed_at: dict[str, int]
    failures: dict[str, int]


class _Stored:
    """Asks the database at each scrape, in a thread of its own: one that hangs must not take the counters with it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "metrics-database")
        self._lock = Lock()
        self._pending: Future[_Answer | None] | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; those that the database has to tell are left out when it does not answer."""
        answer = self._ask()
        yield _gauge("database_reachable", "Whether the database answered this scrape", int(answer is not None))
        if answer is None:
            return
        if answer.slot_age_seconds is not None:
            yield _gauge("newest_slot_age_seconds", "Age of the newest readings", answer.slot_age_seconds)
        yield _gauge_of_jobs(
            "job_last_success_timestamp_seconds", "Start of a job's last run that succeeded", answer.succeeded_at
        )
        yield _gauge_of_jobs(
            "job_last_failure_timestamp_seconds",
            "Start of a job's last run that failed, if lately or not mended since",
            answer.failed_at,
        )
        yield _gauge_of_jobs("job_failures_24h", "Runs of a job that failed in the last 24 hours", answer.failures)

    def _ask(self) -> _Answer | None:
        """None when the database is away, or slow. Scrapes at the same time share an answer."""
        with self._lock:
            if self._pending is None or self._pending.done():
                self._pending = self._thread.submit(_read)
            pending = self._pending
        try:
            return pending.result(DATABASE_SECONDS)
        except TimeoutError:
            log.warning("The database did not answer within %s seconds", DATABASE_SECONDS)
            return None


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"{PREFIX}{name}", meaning, value)


def _gauge_of_jobs(name: str, meaning: str, values: dict[str, int]) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    gauge = GaugeMetricFamily(f"{PREFIX}{name}", meaning, labels=["job"])
    for job, value in sorted(values.items()):
        gauge.add_metric([job], value)
    return gauge


def _read() -> _Answer | None:
    try:
        with database.asking(PATH), database.reading():
            answer = _answer()
        database.db.close()
    except (PeeweeException, ServiceError) as error:
        log.warning("The metrics lack what the database knows: %s", error)
        database.drop_connection()
        return None
    return answer


def _answer() -> _Answer:
    """In one view of the database."""
    now = clock.now()
    newest = state.get_state(state.NEWEST_SLOT)
    stand = jobs.standing(now - FAILURES_WITHIN, now)
    return _Answer(
        None if newest is None else epoch(now) - newest,
        {job: started_at for job, started_at in stand.succeeded.items() if started_at is not None},
        {one.job_type: epoch(one.last) for one in [*stand.failing, *stand.recent]},  # of one in both, the same
        dict.fromkeys(stand.succeeded, 0) | {one.job_type: one.runs for one in stand.recent},
    )


# --- the address of its own ------------------------------------------------------------------------------------------


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class _Server(WSGIServer):
    """One request at a time, each of a connection of its own."""

    allow_reuse_port = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without a look at the name of this machine, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or says nothing."""
        log.debug("%s was not answered", client_address, exc_info=True)
