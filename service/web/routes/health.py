"""How the service is doing."""

from service.monitoring import health
from service.web.params import Request
from service.web.routes import Reply


def check(request: Request) -> Reply:
    """200 while the service can answer, 503 when it cannot; the same body in both."""
    return health.health(request.settings, request.now)
