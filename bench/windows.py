"""How long windows of time take cold, at production size: 80 parks, 3,500 rides, a month of readings on MariaDB.

    python bench/windows.py [--rounds 3] [--url mysql://user:password@host/database]

Questions to /api/analytics/series, through the whole application in this process, with nothing remembered. Each is
asked of several rides, parks or days, several rounds: of the best times, the 95th of a hundred is held against the bar,
on a quiet machine (the first line tells: counting the readings of a day takes 95 to 110 ms when nothing else runs).
Two bars are ratios of what is asked in turn. --url is for bench/production.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from functools import partial
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.production import NOW, opened  # noqa: E402
from bench.timing import Time, client_now, print_yardstick, timed  # noqa: E402
from service.periods import PACIFIC, iso_local, pacific_date, pacific_day  # noqa: E402
from service.queries.days import Tallies  # noqa: E402
from service.queries.windows import MEASURES, PERCENTILES  # noqa: E402
from tests.wsgi_client import Client, Response  # noqa: E402

T = TypeVar("T")

MONTH = (date(2026, 7, 1), date(2026, 7, 31))
MANY, SOME = 24, 10  # how many rides, parks or days a question is asked of
WAITS = "avg_wait_time,max_wait_time"
LUNCH = {"time_of_day": "11:00-14:00", "timezone": "park", "group_by": "park"}


class Case(NamedTuple):
    """A question of several rides, parks or days, and how many seconds it may take."""

    name: str
    bar: float
    queries: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="a database filled by bench/production.py")
    arguments = parser.parse_args()
    with opened(arguments.url) as settings:
        client = client_now(settings)
        print_yardstick()
        print(f"{'p95 ms':>8} {'in database':>12} {'median ms':>10} {'queries':>8} {'bar':>6}  question")
        for case in _cases():
            _print(case, [timed(partial(_ask, client, query), arguments.rounds) for query in case.queries])
        print()
        _compare_with_tally(client, arguments.rounds)
        _compare_buckets(client, arguments.rounds)


def _cases() -> Iterator[Case]:
    universe = Tallies(NOW).universe
    rides, parks = _spread(sorted(universe.rides), MANY), sorted(universe.parks)
    month = _month()
    for bucket in ("1h", "15m"):
        asked = [_query(month, group_by="ride", ride_id=ride, bucket=bucket) for ride in rides]
        yield Case(f"a ride over 31 days, {bucket}", 0.1, asked)
    # Another day for each of the parks.
    days = [_day(MONTH[0] + timedelta(days=number)) for number in range(MANY)]
    for group in ("ride", "park"):
        asked = [
            _query(day, group_by=group, park_id=park, bucket="15m")
            for park, day in zip(_spread(parks, MANY), days, strict=True)
        ]
        yield Case(f"a park over a day, 15m, by {group}", 0.1, asked)
    for bucket in ("1h", "15m"):
        asked = [_query(month, group_by="park", park_id=park, bucket=bucket) for park in _spread(parks, SOME)]
        yield Case(f"a park over 31 days, {bucket}", 0.5, asked)
    few = _spread(days, SOME)
    yield Case("all parks at lunch of a day, waits", 0.3, [_query(day, **LUNCH, measures=WAITS) for day in few])
    yield Case(
        "all parks at lunch of a day, percentiles too", 0.3,
        [_query(day, **LUNCH, measures=f"{WAITS},wait_p50,wait_p90,wait_p95") for day in few],
    )  # fmt: skip


def _spread(values: Sequence[T], count: int) -> list[T]:
    """As many of the values, evenly over all of them."""
    return [values[number * len(values) // count] for number in range(count)]


def _month() -> dict[str, str]:
    return _span(pacific_day(MONTH[0]).start, pacific_day(MONTH[1]).end)


def _day(day: date) -> dict[str, str]:
    return _span(*pacific_day(day))


def _span(start: int, end: int) -> dict[str, str]:
    return {"start": iso_local(start, PACIFIC), "end": iso_local(end, PACIFIC)}


def _query(window: dict[str, str], **parameters: object) -> str:
    return urlencode(window | {"limit": "10000"} | {name: str(value) for name, value in parameters.items()})


def _ask(client: Client, query: str) -> Response:
    return client.get(f"/api/analytics/series?{query}")


def _print(case: Case, times: list[Time]) -> None:
    slowest = sorted(times)[ceil(0.95 * len(times)) - 1]
    middle = median(time.best for time in times)
    mark = "  ABOVE" if slowest.best > case.bar else ""
    numbers = f"{slowest.best * 1000:8.0f} {slowest.in_database * 1000:12.0f} {middle * 1000:10.0f} {slowest.queries:8}"
    print(f"{numbers} {case.bar * 1000:6.0f}  {case.name} ({len(times)} asked){mark}", flush=True)


def _compare_with_tally(client: Client, rounds: int) -> None:
    """What is downtime at lunch is judged by the whole day, so that is what the bar is a multiple of."""
    day = pacific_date(NOW) - timedelta(days=10)
    lunch = _query(_day(day), **LUNCH, measures="downtime_minutes")
    _compare("all parks at lunch, downtime", partial(_ask, client, lunch), "the day's tally", _tally(day), rounds)


def _tally(day: date) -> Callable[[], object]:
    def count() -> None:
        tallies = Tallies(NOW)
        for park in tallies.universe.parks.values():
            tallies.count(park, day)

    return count


def _compare_buckets(client: Client, rounds: int) -> None:
    """With percentiles, which need every wait of every bucket, and without."""
    park = sorted(Tallies(NOW).universe.parks)[3]
    for measures in (",".join(MEASURES), ",".join(name for name in MEASURES if name not in PERCENTILES)):
        fine, hourly = (
            partial(
                _ask,
                client,
                _query(_month(), group_by="park", park_id=park, format="csv", bucket=bucket, measures=measures),
            )
            for bucket in ("15m", "1h")
        )
        named = "all measures" if "wait_p50" in measures else "no percentiles"
        _compare(f"a park over 31 days, CSV by 15m, {named}", fine, "by 1h", hourly, rounds)


def _compare(
    name: str, ask: Callable[[], object], base: str, against: Callable[[], object], rounds: int, bar: float = 1.2
) -> None:
    """Both in turn, so that a slow moment of the machine meets both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for run, found in zip((ask, against), times, strict=True):
            started = perf_counter()
            run()
            found.append(perf_counter() - started)
    one, other = (min(found) * 1000 for found in times)
    mark = "  ABOVE" if one > bar * other else ""
    print(f"{name}: {one:.0f} ms, {base}: {other:.0f} ms, ratio {one / other:.2f} (bar {bar}){mark}", flush=True)


if __name__ == "__main__":
    main()
