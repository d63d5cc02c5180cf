"""Requests to the WSGI application without a server, checked against the rules of WSGI itself."""

from __future__ import annotations

import io
import json
from typing import Any, NamedTuple
from wsgiref.types import WSGIApplication
from wsgiref.validate import validator


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)


class Client:
    """`get("/api/health")`; a path is sent as it is written, so `%` escapes are the test's own in the query only."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = validator(app)

    def get(self, url: str, **headers: str) -> Response:
        return self.request("GET", url, b"", **headers)

    def post(self, url: str, body: object, **headers: str) -> Response:
        """Send `body` as JSON; bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", url, content, **{"content_type": "application/json", **headers})

    def request(self, method: str, url: str, body: bytes = b"", **headers: str) -> Response:
        """Send `method`; `headers` are written with underscores: `origin="https://example.org"`."""
        path, _, query = url.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": (errors := io.StringIO()),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        if body:
            environ["CONTENT_LENGTH"] = str(len(body))
        for name, value in headers.items():
            plain = name in ("content_type", "content_length", "remote_addr")
            environ[name.upper() if plain else f"HTTP_{name.upper()}"] = value
        started: list[tuple[int, dict[str, str]]] = []

        def start_response(status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Any:
            names = [name for name, _ in fields]
            assert len(names) == len(set(names)), f"a header is sent twice: {names}"
            started.append((int(status.split()[0]), dict(fields)))
            return lambda _: None

        parts = self.app(environ, start_response)
        try:
            body = b"".join(parts)
        finally:
            parts.close()  # type: ignore[attr-defined]
        assert errors.getvalue() == ""
        return Response(*started[-1], body)
