"""What the API is."""

import json
from functools import cache
from pathlib import Path

from service import VERSION
from service.web.params import Request
from service.web.routes import Body, Reply

OPENAPI = Path(__file__).resolve().parent.parent / "openapi.json"

DOCUMENT: dict[str, object] = {
    "name": "Theme Park Downtime Tracker API",
    "version": VERSION,
    "status": "running",
    "endpoints": {
        "health": "/api/health",
        "parks": "/api/parks",
        "rides": "/api/rides",
        "trends": "/api/trends",
        "audit": "/api/audit",
        "search": "/api/search",
    },
}


def describe(_: Request) -> Reply:
    """The constant description; only `health` of the prefixes it names is itself an endpoint."""
    return 200, DOCUMENT


def openapi(_: Request) -> Reply:
    """The description of every endpoint, for machines."""
    return 200, _openapi()


@cache
def _openapi() -> Body:
    document: Body = json.loads(OPENAPI.read_text(encoding="utf-8"))
    return document
