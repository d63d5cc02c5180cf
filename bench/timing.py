"""How long the API takes to answer cold, in this process: what the benchmarks of answers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from math import ceil
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from bench.production import NOW
from service import clock, database
from service.config import Settings
from service.models import RideStatusSnapshot
from service.periods import pacific_date, pacific_day
from service.web.app import create_app
from tests.wsgi_client import Client, Response


class Time(NamedTuple):
    """Seconds: the best of the rounds and its share in the database, and their median; the queries of one."""

    best: float
    in_database: float
    median: float
    queries: int


def client_now(settings: Settings) -> Client:
    """A client of the API at NOW. The first request of a process also imports and connects: that is done."""
    clock.replay(NOW)
    client = Client(create_app(settings))
    for path in ("/api/health", "/api/parks/downtime?period=today"):
        client.get(path)
    return client


def timed(ask: Callable[[], Response], rounds: int) -> Time:
    """Ask `rounds` times. Ends the program at any answer but 200."""
    seen: list[float] = []
    bound = database.db.obj
    assert bound is not None
    bound.query_hooks.append(lambda event: seen.append(event.duration))
    found = []
    for _ in range(rounds):
        seen.clear()
        started = perf_counter()
        answer = ask()
        found.append((perf_counter() - started, sum(seen)))
        if answer.status != 200:
            raise SystemExit(f"{answer.status} {answer.body!r}")
    bound.query_hooks.pop()
    return Time(*min(found), median(whole for whole, _ in found), len(seen))


@contextmanager
def watched() -> Iterator[list[Any]]:
    """Every statement run meanwhile, with its values and seconds, as peewee tells its query hooks."""
    found: list[Any] = []
    bound = database.db.obj
    assert bound is not None
    bound.query_hooks.append(found.append)
    yield found
    bound.query_hooks.pop()


def p95(times: list[Time]) -> Time:
    """The time that 95 of a hundred do not exceed, by their best."""
    return sorted(times)[ceil(0.95 * len(times)) - 1]


def print_yardstick() -> None:
    """How long the machine takes just now for what is always the same."""
    day = pacific_day(pacific_date(NOW) - timedelta(days=1))
    readings = RideStatusSnapshot.select().where(RideStatusSnapshot.snapshot_time.between(day.start, day.end - 1))
    times = []
    for _ in range(5):
        started = perf_counter()
        count = readings.count()
        times.append((perf_counter() - started) * 1000)
    print(f"counting {count:,} readings of a day: best {min(times):.0f} ms, median {median(times):.0f} ms\n")
