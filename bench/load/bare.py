"""A bottle application that does nothing but return the bytes it was given: what gunicorn and bottle cost at least.

ANSWERS names a JSON file: {target: {"headers": [[name, value], ...], "body": base64}}.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections import defaultdict
from pathlib import Path
from typing import Any

import bottle  # type: ignore[import-untyped]

VARIABLE = "ANSWERS"


def application() -> Any:
    """One route a path; the query string chooses among its answers."""
    by_path: dict[str, dict[str, tuple[bytes, dict[str, str]]]] = defaultdict(dict)
    for target, told in json.loads(Path(os.environ[VARIABLE]).read_text()).items():
        path, _, query = target.partition("?")
        by_path[path][query] = (b64decode(told["body"]), dict(told["headers"]))
    app = bottle.Bottle()
    for path, answers in by_path.items():
        app.route(path, "GET", _handler(answers))
    return app


def _handler(answers: dict[str, tuple[bytes, dict[str, str]]]) -> Any:
    def handler() -> Any:
        body, headers = answers[bottle.request.environ["QUERY_STRING"]]
        return bottle.HTTPResponse(body, 200, headers)

    return handler
