"""Everything that can be searched for."""

from __future__ import annotations

from service.periods import iso_utc
from service.queries import catalog
from service.web.params import Request
from service.web.routes import Answer, Body


def index(request: Request) -> Answer:
    """All active parks and their active rides, by name."""
    return lambda: {"success": True} | _index(request, catalog.searchable_parks(), catalog.searchable_rides())


def nothing(request: Request) -> Body:
    """What stands beside the error when the index cannot be made: no parks and no rides."""
    return _index(request, [], [])


def _index(request: Request, parks: list[Body], rides: list[Body]) -> Body:
    counts: Body = {"park_count": len(parks), "ride_count": len(rides), "last_updated": iso_utc(request.now)}
    return {"parks": parks, "rides": rides, "meta": counts}
