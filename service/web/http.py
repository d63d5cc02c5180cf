"""HTTP as bottle and WSGI have it: errors outside the routes, headers of every answer, files, the connection."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import bottle  # type: ignore[import-untyped]

from service import database
from service.web.frontend import Folder

CORS_METHODS = "GET, OPTIONS, POST"
CORS_HEADERS = ("content-type", "x-api-key")
LONGEST_URL = 4000
NOT_KEPT = {"Cache-Control": "no-store"}

MESSAGES = {
    HTTPStatus.BAD_REQUEST: "The path is not UTF-8",
    HTTPStatus.NOT_FOUND: "The requested resource was not found",
    HTTPStatus.METHOD_NOT_ALLOWED: "The method is not allowed for this resource",
    HTTPStatus.REQUEST_URI_TOO_LONG: f"Path and query are longer than {LONGEST_URL} characters",
}


def new_app() -> Any:
    """A bottle application whose errors are JSON, and which refuses what bottle would take for another path."""
    app = bottle.Bottle()
    app.add_hook("before_request", _refuse_odd_urls)
    app.default_error_handler = _error
    return app


def mount(app: Any, method: str, path: str, handler: Callable[..., Any]) -> None:
    """`handler`, called with what the path names, for requests by `method`; by HEAD too where that is GET."""
    allowed = _allowed([method])
    app.route(path, method, handler)
    app.route(path, "OPTIONS", lambda **_: answer("", 200, {"Allow": allowed, "Content-Type": "text/plain"}))


def answer(body: bytes | str | Iterable[bytes], status: int, headers: Mapping[str, str]) -> Any:
    """What a handler gives back."""
    return bottle.HTTPResponse(body, status, dict(headers))


def json_answer(status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Any:
    """The same with a JSON body. Raises ValueError and TypeError for what JSON cannot carry."""
    # Nothing that is made for one request may be kept, also where caches have defaults of their own.
    return answer(json_bytes(body), status, {"Content-Type": "application/json", **NOT_KEPT, **(headers or {})})


def csv_answer(chunks: Iterable[bytes], name: str) -> Any:
    """A table that is sent while it is made, to be kept as a file of that name."""
    kept = f'attachment; filename="{name}"'
    return answer(chunks, 200, {"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": kept, **NOT_KEPT})


def environ_now() -> WSGIEnvironment:
    """The request that this thread is answering, as WSGI has it."""
    environ: WSGIEnvironment = bottle.request.environ
    return environ


def json_bytes(body: Mapping[str, object]) -> bytes:
    """JSON as it is sent. Raises ValueError and TypeError for what JSON cannot carry."""
    return (json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _refuse_odd_urls() -> None:
    """bottle would drop the bytes of a path that are not UTF-8, and a line's end: it would serve `/api/health%FF`."""
    environ = environ_now()
    path: str = environ["bottle.raw_path"]
    if len(path) + len(environ.get("QUERY_STRING", "")) > LONGEST_URL:
        raise bottle.HTTPError(HTTPStatus.REQUEST_URI_TOO_LONG)
    try:
        if not path.isascii():
            path.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise bottle.HTTPError(HTTPStatus.BAD_REQUEST) from None
    if path.endswith("\n"):
        raise bottle.HTTPError(HTTPStatus.NOT_FOUND)


def _error(error: Any) -> bytes:
    """The body of an error outside any route."""
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        bottle.response.set_header("Allow", _allowed(error.get_header("Allow", "").split(",")))
    for name, value in {"Content-Type": "application/json", **NOT_KEPT}.items():
        bottle.response.set_header(name, value)
    return json_bytes({"error": status.phrase, "message": MESSAGES.get(status, "The request could not be served")})


def _allowed(methods: Iterable[str]) -> str:
    """The header Allow: bottle's own leaves HEAD out."""
    found = {*methods, "OPTIONS"}
    return ", ".join(sorted(found | {"HEAD"} if "GET" in found else found))


def with_files(api: WSGIApplication, folder: Folder) -> WSGIApplication:
    """`api`, with the files of `folder` at every path outside /api; at `/` the API answers those who want JSON."""
    files = new_app()
    mount(files, "GET", "/<path:re:.*>", lambda path: _file(folder, path))

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO") or "/"
        is_api = f"{path}/".startswith("/api/") or (path == "/" and _wants_json(environ))
        chosen = api if is_api else files
        return chosen(environ, start_response)

    return wrapped


def _wants_json(environ: WSGIEnvironment) -> bool:
    accepted = environ.get("HTTP_ACCEPT", "").lower()
    return "application/json" in accepted and "text/html" not in accepted


def _file(folder: Folder, path: str) -> Any:
    """A file, or 304 when the client has it already."""
    name = folder.find(path)
    if name is None:
        raise bottle.HTTPError(HTTPStatus.NOT_FOUND)
    etag = folder.etag(name)
    _simplify_conditions(environ_now(), etag)
    kind, encoding = mimetypes.guess_type(name)
    kind = kind if kind and not encoding else "application/octet-stream"
    # Browsers ask each time whether a file has changed, and mostly hear that it has not.
    headers = {"Cache-Control": "no-cache", "Vary": "Accept"}
    response = bottle.static_file(name, str(folder.root), mimetype=kind, etag=etag, headers=headers)
    response.headers.pop("Date", None)  # the server writes its own
    return response


def _simplify_conditions(environ: WSGIEnvironment, etag: str) -> None:
    """bottle knows a single tag, follows a date although the tags differ, and sends parts of a changed file."""
    tags = environ.get("HTTP_IF_NONE_MATCH")
    if tags is not None:
        environ.pop("HTTP_IF_MODIFIED_SINCE", None)
        if tags.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in tags.split(",")]:
            environ["HTTP_IF_NONE_MATCH"] = etag
    if environ.get("HTTP_IF_RANGE", etag) != etag:
        environ.pop("HTTP_RANGE", None)


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
