"""Who may ask, and how often: API keys and rate limits. Both are off unless the settings say otherwise."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from threading import Lock

from service.config import Settings
from service.periods import Interval, epoch, pacific_date, pacific_day
from service.web.params import Refused, Request
from service.web.routes import Reply

Handler = Callable[[Request], Reply]

MOST_CLIENTS = 20_000  # counted in a window at once: some 3 MB
HOUR_SECONDS = 3600


class Access:
    """Lets requests through to the handlers it wraps. Its counts are those of this process."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [key.encode() for key in settings.api_keys]
        limits = [
            Limit("Hourly", "hour", settings.api_rate_limit_per_hour, _hour),
            Limit("Daily", "day", settings.api_rate_limit_per_day, _day),
        ]
        self._limits = [limit for limit in limits if limit.most]
        self._lock = Lock()

    def keyed(self, handler: Handler) -> Handler:
        """`handler` for requests with one of the keys, where keys are set; the others are Refused (401)."""

        def guarded(request: Request) -> Reply:
            if self._keys and not self._knows(request):
                message = "Invalid API key" if request.api_key else "Missing X-API-Key header"
                raise Refused(HTTPStatus.UNAUTHORIZED, message, {"WWW-Authenticate": "X-API-Key"})
            return handler(request)

        return guarded

    def limited(self, handler: Handler) -> Handler:
        """`handler` for as many requests of a client as the limits allow; the others are Refused (429), and not
        counted."""

        def counted(request: Request) -> Reply:
            if self._limits:
                self._count(request)
            return handler(request)

        return counted

    def _count(self, request: Request) -> None:
        client = self._client(request)
        with self._lock:
            for limit in self._limits:
                limit.check(client, request.now)
            for limit in self._limits:
                limit.add(client)

    def _client(self, request: Request) -> bytes:
        """By a key of ours, or else by address: any other key could be sent anew with each request."""
        name = f"key {request.api_key}" if self._knows(request) else f"address {request.address}"
        return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()

    def _knows(self, request: Request) -> bool:
        """Whether the key is one of ours, in a time that tells nothing about them."""
        sent = request.api_key.encode("latin-1", "replace")
        return any([hmac.compare_digest(sent, key) for key in self._keys])


class Limit:
    """At most `most` requests of a client in each clock hour, or each Pacific day. Not safe for threads by itself."""

    def __init__(self, name: str, unit: str, most: int, window_of: Callable[[datetime], Interval]) -> None:
        self.most = most
        self._refusal = f"{name} rate limit exceeded ({most} req/{unit})"
        self._window_of = window_of
        self._window = Interval(0, 0)
        self._counts: dict[bytes, int] = {}

    def check(self, client: bytes, now: datetime) -> None:
        """Raise Refused (429) when the client has used up its window."""
        window = self._window_of(now)
        if window != self._window:
            self._window, self._counts = window, {}
        if self._counts.get(client, 0) >= self.most:
            wait = str(max(window.end - epoch(now), 1))
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, self._refusal, {"Retry-After": wait})

    def add(self, client: bytes) -> None:
        """Count one more; of too many clients the one first seen is forgotten."""
        if client not in self._counts and len(self._counts) >= MOST_CLIENTS:
            del self._counts[next(iter(self._counts))]
        self._counts[client] = self._counts.get(client, 0) + 1


def _hour(now: datetime) -> Interval:
    start = epoch(now) // HOUR_SECONDS * HOUR_SECONDS
    return Interval(start, start + HOUR_SECONDS)


def _day(now: datetime) -> Interval:
    return pacific_day(pacific_date(now))
