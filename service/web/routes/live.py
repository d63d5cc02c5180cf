"""The present moment."""

from datetime import datetime

from service import rules
from service.periods import epoch, iso_utc
from service.queries import catalog, live
from service.web.params import Request
from service.web.routes import Answer, Body


def status_summary(request: Request) -> Answer:
    """How many rides have which status now. `park_id` is echoed when asked for; an unknown one counts nothing."""
    park_filter, park_id, now = request.query.filter(), request.query.park_id(), request.now
    return lambda: {
        "success": True,
        "filter": park_filter,
        **({} if park_id is None else {"park_id": park_id}),
        "span": _live_span(now),
        "status_summary": live.status_summary(park_filter, park_id, now),
        "attribution": catalog.attribution(now),
    }


def _live_span(now: datetime) -> Body:
    """Where the newest slots lie."""
    start = epoch(now) - rules.LIVE_WINDOW_SECONDS
    return {"start": iso_utc(start), "end": iso_utc(now), "label": f"last {rules.LIVE_WINDOW_SECONDS // 3600} hours"}
