"""What the API is."""

from service import VERSION
from service.web.params import Request
from service.web.routes import Reply

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
