"""The WSGI application: routes mounted, errors rendered, the connection returned. The only user of bottle."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import bottle  # type: ignore[import-untyped]
from peewee import PeeweeException

from service import clock, config, database
from service.config import Settings
from service.errors import ServiceError, Unreachable
from service.monitoring.health import ensure_ready
from service.web.params import Query, Request
from service.web.routes import Answer, Body, Reply, health, live, parks, rides, root

log = logging.getLogger("service.web")

DESCRIPTIONS: dict[str, Callable[[Request], Reply]] = {
    "/": root.describe,
    "/api/health": health.check,
}
QUESTIONS: dict[str, Callable[[Request], Answer]] = {
    "/api/parks/downtime": parks.downtime,
    "/api/parks/waittimes": parks.waittimes,
    "/api/rides/downtime": rides.downtime,
    "/api/rides/waittimes": rides.waittimes,
    "/api/live/status-summary": live.status_summary,
}

METHODS = "GET, HEAD, OPTIONS"
CORS_METHODS = "GET, OPTIONS, POST"
CORS_HEADERS = ("content-type", "x-api-key")
LONGEST_URL = 4000
GUNICORN_GIVES_UP = 4  # the exit code on which gunicorn stops instead of starting the worker again

UNEXPECTED = "Internal server error"
MESSAGES = {
    HTTPStatus.BAD_REQUEST: "The path is not UTF-8",
    HTTPStatus.NOT_FOUND: "The requested resource was not found",
    HTTPStatus.METHOD_NOT_ALLOWED: "The method is not allowed for this resource",
    HTTPStatus.REQUEST_URI_TOO_LONG: f"Path and query are longer than {LONGEST_URL} characters",
}


def application() -> WSGIApplication:
    """What gunicorn serves: the API with the settings of the environment, over a database it cannot write to."""
    try:
        return create_app(_opened())
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(GUNICORN_GIVES_UP) from None


def exit_code_at_start() -> int:
    """0 when the server may start, else the reason is said: a bad setting, a database that is not migrated, differs
    from the models or holds readings of another interval. One that does not answer may come back.

    For the start only: a worker that starts again later, while somebody migrates, answers 503 until that is done.
    """
    try:
        ensure_ready(_opened())
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


def create_app(settings: Settings) -> WSGIApplication:
    """The API over the open database."""
    app = bottle.Bottle()
    app.add_hook("before_request", _refuse_odd_urls)
    app.default_error_handler = _http_error
    for path, describe in DESCRIPTIONS.items():
        _mount(app, path, settings, describe)
    gate = Gate(settings)
    for path, question in QUESTIONS.items():
        _mount(app, path, settings, gate.guard(question))
    return CloseAfter(with_headers(app))


def _mount(app: Any, path: str, settings: Settings, handler: Callable[[Request], Reply]) -> None:
    app.route(path, "GET", lambda **ids: _respond(settings, handler, ids))
    app.route(path, "OPTIONS", lambda **_: bottle.HTTPResponse(status=200, headers={"Allow": METHODS}))


class Gate:
    """Lets questions through to a database that can answer them: reachable, migrated, of this interval.

    It looks before the first question and again after a failure, not every time.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.passed = False

    def guard(self, question: Callable[[Request], Answer]) -> Callable[[Request], Reply]:
        """`question`, answered from one consistent view of a database that is ready. Raises ServiceError."""

        def handler(request: Request) -> Reply:
            answer = question(request)
            try:
                self._look()
                with database.reading():
                    return 200, answer()
            except PeeweeException as error:
                self.passed = False
                raise database.explained(error) from error

        return handler

    def _look(self) -> None:
        if not self.passed:
            ensure_ready(self.settings)
            self.passed = True


def _respond(settings: Settings, handler: Callable[[Request], Reply], ids: Mapping[str, str]) -> Any:
    """Whatever happens in `handler`, a JSON answer. `ids` are the digits in the path, by name."""
    environ: WSGIEnvironment = bottle.request.environ
    try:
        query = Query(environ.get("QUERY_STRING", ""))
        status, body = handler(Request(settings, clock.now(), query, {name: int(text) for name, text in ids.items()}))
        text = _json(body)
    except ServiceError as error:
        status, text = error.status, _refusal(_public(error))
    except Exception:
        log.exception("%s failed", environ["PATH_INFO"])
        status, text = 500, _refusal(UNEXPECTED)
    return bottle.HTTPResponse(text, status, {"Content-Type": "application/json"})


def _public(error: ServiceError) -> str:
    """What the world may read of an error; the words of the database and its driver are for the log."""
    if error.status < 500:
        return str(error)
    log.error("%s", error, exc_info=error if error.status == 500 else None)
    if isinstance(error, Unreachable):
        return "The database cannot be reached at the moment: try again later."
    return UNEXPECTED if error.status == 500 else str(error)


def _refusal(reason: str) -> bytes:
    return _json({"success": False, "error": reason})


def _json(body: Body) -> bytes:
    return (json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _refuse_odd_urls() -> None:
    """bottle would drop the bytes of a path that are not UTF-8, and serve `/api/health%FF`."""
    environ: WSGIEnvironment = bottle.request.environ
    path: str = environ["bottle.raw_path"]
    if len(path) + len(environ.get("QUERY_STRING", "")) > LONGEST_URL:
        raise bottle.HTTPError(HTTPStatus.REQUEST_URI_TOO_LONG)
    try:
        path.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise bottle.HTTPError(HTTPStatus.BAD_REQUEST) from None


def _http_error(error: Any) -> bytes:
    """The body of an error outside any route."""
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        bottle.response.set_header("Allow", METHODS)  # bottle's own leaves HEAD out
    bottle.response.set_header("Content-Type", "application/json")
    return _json({"error": status.phrase, "message": MESSAGES.get(status, "The request could not be served")})


def with_headers(app: WSGIApplication) -> WSGIApplication:
    """`app` with the headers that every answer has, errors too."""

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        added = [("X-Content-Type-Options", "nosniff"), *_cors(environ)]

        def start(
            status: str,
            headers: list[tuple[str, str]],
            exc_info: tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None = None,
        ) -> Callable[[bytes], object]:
            return start_response(status, [*headers, *added], exc_info)

        return app(environ, start)

    return wrapped


def _cors(environ: WSGIEnvironment) -> Iterator[tuple[str, str]]:
    """Every origin may read the API, without credentials."""
    if not f"{environ['PATH_INFO']}/".startswith("/api/"):
        return
    origin: str = environ.get("HTTP_ORIGIN", "")
    # An origin that no header may carry is not worth an error.
    echoed = origin if origin.isascii() and origin.isprintable() else ""
    yield "Access-Control-Allow-Origin", echoed or "*"
    if echoed:
        yield "Vary", "Origin"
    if environ["REQUEST_METHOD"] == "OPTIONS":
        yield "Access-Control-Allow-Methods", CORS_METHODS
        asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "").split(",")
        allowed = [name.strip() for name in asked if name.strip().lower() in CORS_HEADERS]
        if allowed:
            yield "Access-Control-Allow-Headers", ", ".join(allowed)


class CloseAfter:
    """Gives the connection back once the body was sent: sending may still read. Peewee opens one when needed."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return _Body(self.app(environ, start_response))
        except BaseException:
            _give_back_connection()
            raise


class _Body:
    def __init__(self, parts: Iterable[bytes]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)

    def close(self) -> None:
        """Called by the server after the last part, and when the client went away before it."""
        try:
            getattr(self.parts, "close", lambda: None)()
        finally:
            _give_back_connection()


def _give_back_connection() -> None:
    bound = database.db.obj
    if bound is not None and not bound.is_closed():
        bound.close()
