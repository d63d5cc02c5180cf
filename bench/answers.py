"""How long the API takes to answer cold, at production size: 80 parks, 3,500 rides, a month of readings on MariaDB.

    python bench/answers.py [--rounds 5] [--url mysql://user:password@host/database] [--only TEXT]

Each request goes through the whole application in this process, with nothing remembered from the one before. The bars:
rankings and charts of past periods under 200 ms, everything else under 1.2 s, on a quiet machine: they are held against
the best of the rounds; the median stands beside it, and how much of the best the database took in how many queries.
The first line tells how quiet it was: counting the readings of a day takes 95 to 110 ms when nothing else runs.
--url is for bench/production.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.production import NOW, opened  # noqa: E402
from bench.timing import Time, client_now, print_yardstick, timed  # noqa: E402
from service.monitoring.baselines import questions  # noqa: E402
from service.periods import PERIODS, pacific_date  # noqa: E402
from tests.wsgi_client import Client, Response  # noqa: E402

PAST = ("yesterday", "last_week", "last_month")
BARS = {True: 0.2, False: 1.2}  # seconds; by whether it is a ranking or a chart of a past period


class Request(NamedTuple):
    """What is asked; `past` for rankings and charts of past periods."""

    path: str
    past: bool = False
    body: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", help="a database filled by bench/production.py")
    parser.add_argument("--only", default="", help="only the requests whose path contains this")
    arguments = parser.parse_args()
    with opened(arguments.url) as settings:
        client = client_now(settings)
        requests = [request for request in _requests() if arguments.only in request.path]
        print_yardstick()
        _print({request: timed(partial(_ask, client, request), arguments.rounds) for request in requests})


def _ask(client: Client, request: Request) -> Response:
    return client.post(request.path, request.body.encode()) if request.body else client.get(request.path)


def _requests() -> Iterator[Request]:
    """Every endpoint with every period and kind."""
    for asked in questions(NOW, PERIODS):
        parameters = dict(parse_qsl(asked.query))
        is_past = parameters.get("period") in PAST or parameters.get("mode") == "7day-average"
        yield Request(asked.path, is_past and not asked.route.endswith("/details"))
    yield Request("/api/audit/run", body=json.dumps({"date": str(pacific_date(NOW))}))


def _print(times: dict[Request, Time]) -> None:
    print(f"{'best ms':>8} {'in database':>12} {'median ms':>10} {'queries':>8}  request")
    for past, bar in sorted(BARS.items(), reverse=True):
        group = {request: time for request, time in times.items() if request.past == past}
        for request, time in sorted(group.items(), key=lambda item: -item[1].best):
            mark = "  ABOVE" if time.best > bar else ""
            best, in_database, middle = (seconds * 1000 for seconds in time[:3])
            print(f"{best:8.0f} {in_database:12.0f} {middle:10.0f} {time.queries:8}  {request.path}{mark}")
        above = sum(time.best > bar for time in group.values())
        print(f"{len(group)} requests, {above} above the bar of {bar * 1000:.0f} ms\n")


if __name__ == "__main__":
    main()
