"""The WSGI application: which path asks which question, at whose hands, and what becomes of a failure."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from wsgiref.types import WSGIApplication, WSGIEnvironment

from peewee import PeeweeException

from service import clock, config, database
from service.config import METRICS_ON_MAIN, Settings
from service.errors import ServiceError, Unreachable
from service.monitoring import metrics
from service.monitoring.health import ensure_ready
from service.web import http
from service.web.access import Access, Handler
from service.web.answers import Answers, sent
from service.web.frontend import Folder
from service.web.params import Query, Refused, Request
from service.web.routes import Answer, Body, Reply, Sent, Table
from service.web.routes import analytics, audit, health, live, parks, rides, root, search, trends

log = logging.getLogger("service.web")

DESCRIPTIONS: dict[str, Handler] = {
    "/": root.describe,
    "/api/health": health.check,
    "/api/openapi.json": root.openapi,
}
QUESTIONS: dict[str, Callable[[Request], Answer]] = {
    "/api/parks/downtime": parks.downtime,
    "/api/parks/waittimes": parks.waittimes,
    "/api/parks/awards": parks.awards,
    "/api/parks/<park_id:re:[0-9]+>/rides": parks.rides,
    "/api/parks/<park_id:re:[0-9]+>/details": parks.details,
    "/api/parks/<park_id:re:[0-9]+>/rides/charts": parks.rides_charts,
    "/api/parks/<park_id:re:[0-9]+>/outages": parks.outages,
    "/api/rides/downtime": rides.downtime,
    "/api/rides/waittimes": rides.waittimes,
    "/api/rides/awards": rides.awards,
    "/api/rides/<ride_id:re:[0-9]+>/details": rides.details,
    "/api/rides/<ride_id:re:[0-9]+>/outages": rides.outages,
    "/api/live/status-summary": live.status_summary,
    "/api/trends": trends.changes,
    "/api/trends/chart-data": trends.chart_data,
    "/api/trends/longest-wait-times": trends.longest_wait_times,
    "/api/trends/least-reliable": trends.least_reliable,
    "/api/trends/heatmap-data": trends.heatmap_data,
    "/api/analytics/series": analytics.series,
    "/api/search/index": search.index,
    "/api/audit/status": audit.status,
    "/api/audit/anomalies": audit.anomalous,
    "/api/audit/flagged-entities": audit.flagged_entities,
    "/api/audit/data-quality": audit.data_quality,
    "/api/audit/data-quality/summary": audit.data_quality_summary,
}
COMMANDS: dict[str, Callable[[Request], Answer]] = {  # sent by POST, with a JSON body
    "/api/audit/verify": audit.verify,
    "/api/audit/run": audit.run,
}

# What the body holds beside the error when a question fails in a way that nobody foresaw.
CONSOLATIONS: dict[str, Callable[[Request], Body]] = {
    "/api/search/index": search.nothing,
}
UNLIMITED = ("/", "/api/health")
UNCACHED = frozenset(path for path in QUESTIONS if path.startswith("/api/audit/"))  # about the data as it is now

GUNICORN_GIVES_UP = 4  # the exit code on which gunicorn stops instead of starting the worker again
UNEXPECTED = "Internal server error"


def application() -> WSGIApplication:
    """What gunicorn serves: the API with the settings of the environment, over a database it cannot write to."""
    try:
        return create_app(_opened(), cached=True, background=True)
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(GUNICORN_GIVES_UP) from None


def exit_code_at_start() -> int:
    """0 when the server may start, else the reason is said: a bad setting, a database that is not migrated, differs
    from the models or holds readings of another interval. One that does not answer may come back.

    For the start only: a worker that starts again later, while somebody migrates, answers 503 until that is done.
    """
    try:
        settings = _opened()
        create_app(settings)
        ensure_ready(settings)
    except Unreachable as error:
        log.warning("%s", error)
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    finally:
        database.close()
    return 0


def _opened() -> Settings:
    settings = config.load()
    database.open_database(settings, read_only=True)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    clock.replay(settings.replay_now, tick=settings.replay_tick)
    return settings


def create_app(settings: Settings, *, cached: bool = False, background: bool = False) -> WSGIApplication:
    """The API over the open database, and the frontend where one is set. Raises BadRequest when that is not there.

    `cached`: answers are kept while they hold; `background`: by threads that make them anew (`answers.Answers`).
    """
    app = http.new_app()
    access, gate = Access(settings), Gate(settings)
    answers = Answers(gate.reading, background=background) if cached else None
    for path, describe in DESCRIPTIONS.items():
        _mount(app, "GET", path, settings, describe if path in UNLIMITED else access.limited(describe))
    for path, question in QUESTIONS.items():
        guarded = gate.guard(question) if answers is None or path in UNCACHED else kept(answers, gate, path, question)
        _mount(app, "GET", path, settings, access.limited(guarded))
    for path, command in COMMANDS.items():
        _mount(app, "POST", path, settings, access.keyed(access.limited(gate.guard(command))))
    served = http.with_files(app, Folder(settings.frontend_dir)) if settings.frontend_dir else app
    return _with_metrics(http.CloseAfter(http.with_headers(served)), settings)


def _with_metrics(api: WSGIApplication, settings: Settings) -> WSGIApplication:
    """`api` with its requests counted, and the metrics beside it where they have no address of their own."""
    metrics.start(settings)
    counted = metrics.metered(api, _endpoint)
    if settings.metrics_address != METRICS_ON_MAIN:
        return counted
    shown = _metrics_app()
    return lambda environ, start: (shown if environ["PATH_INFO"] == metrics.PATH else counted)(environ, start)


def _endpoint(environ: WSGIEnvironment) -> str | None:
    route = environ.get("bottle.route")
    return template(route.rule) if route else None


def _metrics_app() -> WSGIApplication:
    """The metrics, and nothing else: without a limit, because only whoever runs the service can open this door."""
    app, headers = http.new_app(), {"Content-Type": metrics.CONTENT_TYPE}
    http.mount(app, "GET", metrics.PATH, lambda: http.answer(metrics.exposition(), 200, headers))
    return http.with_headers(app)


def listen_for_metrics() -> None:
    """Answer to GET /metrics where METRICS_ADDRESS names an address for it. For each worker, once it was forked."""
    metrics.listen(config.load(), _metrics_app())


def _mount(app: Any, method: str, path: str, settings: Settings, handler: Handler) -> None:
    asker = template(path)

    def respond(**ids: str) -> Any:
        database.asked_by.set(asker)  # for good: tables are read while they are sent
        return _respond(settings, handler, ids)

    http.mount(app, method, path, respond)


def template(path: str) -> str:
    """`/api/parks/<park_id>/rides` of a path that also says what an id looks like."""
    return re.sub(":re:[^>]*", "", path)


class Gate:
    """Lets questions through to a database that can answer them: reachable, migrated, of this interval.

    It looks before the first question and again after a failure, not every time.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.passed = False

    def guard(self, question: Callable[[Request], Answer]) -> Handler:
        """`question`, answered from one consistent view of a database that is ready. Raises ServiceError."""

        def handler(request: Request) -> Reply:
            answer = question(request)
            with self.reading():
                return 200, answer()

        return handler

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One consistent view of a database that is ready. Raises ServiceError."""
        try:
            self._look()
            with database.reading():
                yield
        except PeeweeException as error:
            self.passed = False
            raise database.explained(error) from error

    def _look(self) -> None:
        if not self.passed:
            ensure_ready(self.settings)
            self.passed = True


def kept(answers: Answers, gate: Gate, path: str, question: Callable[[Request], Answer]) -> Handler:
    """`question`, answered from what is kept; but for tables, which are sent while they are made."""
    guarded, named = gate.guard(question), re.sub("<([a-z_]+):re:[^>]*>", r"{\1}", path)

    def handler(request: Request) -> Reply:
        if question is analytics.series and request.query.text("format") == analytics.CSV:
            return guarded(request)
        # However the ids were written.
        asked = named.format(**request.ids) if request.ids else path
        found = answers.find(request, asked, question)
        metrics.answered(found.how)
        return sent(found, request)

    return handler


def _respond(settings: Settings, handler: Handler, ids: Mapping[str, str]) -> Any:
    """Whatever happens in `handler`, a JSON answer. `ids` are the digits in the path, by name."""
    environ = http.environ_now()
    query = Query(environ.get("QUERY_STRING", ""))
    numbers = {name: int(text) for name, text in ids.items()}
    request = Request(settings, clock.now(), query, numbers, environ)
    try:
        status, found = handler(request)
        if isinstance(found, Table):
            return http.csv_answer(found.lines, found.name)
        if isinstance(found, Sent):
            return http.answer(found.body, status, found.headers)
        return http.json_answer(status, found)
    except Refused as error:
        return http.json_answer(error.status, {"error": error.reason, "message": str(error)}, error.headers)
    except ServiceError as error:
        return _failed(request, error.status, _public(error))
    except Exception:
        log.exception("%s failed", environ["PATH_INFO"])
        return _failed(request, 500, UNEXPECTED)


def _failed(request: Request, status: int, reason: str) -> Any:
    beside = CONSOLATIONS.get(request.environ["PATH_INFO"]) if status == 500 else None
    return http.json_answer(status, {"success": False, "error": reason} | (beside(request) if beside else {}))


def _public(error: ServiceError) -> str:
    """What the world may read of an error; the words of the database and its driver are for the log."""
    if error.status < 500:
        return str(error)
    log.error("%s", error, exc_info=error if error.status == 500 else None)
    if isinstance(error, Unreachable):
        return "The database cannot be reached at the moment: try again later."
    return UNEXPECTED if error.status == 500 else str(error)
