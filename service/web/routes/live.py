"""The present moment."""

from service.queries import catalog, live
from service.web.params import Request
from service.web.routes import Answer


def status_summary(request: Request) -> Answer:
    """How many rides have which status now. `park_id` is echoed when asked for; an unknown one counts nothing."""
    park_filter, park_id, now = request.query.filter(), request.query.park_id(), request.now
    return lambda: {
        "success": True,
        "filter": park_filter,
        **({} if park_id is None else {"park_id": park_id}),
        "status_summary": live.status_summary(park_filter, park_id, now),
        "attribution": catalog.attribution(now),
    }
