"""Rankings of today, cold, at production size: 80 parks, 3,500 rides and a million readings a day on MariaDB.

    python bench/today.py [--rounds 5] [--url mysql://user:password@host/database]

Each ranking is asked through the whole application in this process with nothing remembered, and in turn with it the
very statements of its answer are sent by hand through pymysql, all rows fetched: an answer may take 1.5 times as long.
Then all of them, one after the other, as one process is asked for them after a new slot: what the first has counted the
others share.

Figures are medians. How quiet the machine was stands before and after: counting the readings of a day takes 95 to
110 ms when nothing else runs, and an answer 1.2 s then at most.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.naive import ROUTES, Statement, connect, send  # noqa: E402
from bench.production import opened  # noqa: E402
from bench.timing import client_now, print_yardstick, watched  # noqa: E402
from service.config import Settings  # noqa: E402
from service.web.app import create_app  # noqa: E402
from tests.wsgi_client import Client  # noqa: E402

BAR = 1.5
PATHS = [f"/api/{route}?period=today" for route in ROUTES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", help="a database filled by bench/production.py")
    arguments = parser.parse_args()
    with opened(arguments.url) as settings, closing(connect(settings)) as connection:
        client, cursor = client_now(settings), connection.cursor()
        print_yardstick()
        print(f"{'answer ms':>10} {'by hand':>8} {'ratio':>6} {'statements':>11}  ranking, cold")
        for path in PATHS:
            _print(path, [_round(client, cursor, path) for _ in range(arguments.rounds)])
        shared = [_shared(settings, cursor) for _ in range(arguments.rounds)]
        for number, path in enumerate(PATHS):
            _print(f"{path}, sharing what was counted", [one[number] for one in shared], counts=number == 0)
        print()
        print_yardstick()


Round = tuple[float, float, int]  # seconds of an answer, and of its statements by hand; how many these are


def _round(client: Client, cursor: Any, path: str) -> Round:
    with watched() as events:
        started = perf_counter()
        answer = client.get(path)
        seconds = perf_counter() - started
    if answer.status != 200 or not answer.json["data"]:
        raise SystemExit(f"{path}: {answer.status} {answer.body[:500]!r}")
    statements: list[Statement] = [(event.sql, event.params) for event in events if event.sql.startswith("SELECT")]
    return seconds, sum(send(cursor, *one)[0] for one in statements), len(statements)


def _shared(settings: Settings, cursor: Any) -> list[Round]:
    """All rankings, by a process that has just started."""
    client = Client(create_app(settings, cached=True))
    client.get("/api/search/index")  # the look whether the database is ready
    return [_round(client, cursor, path) for path in PATHS]


def _print(name: str, rounds: list[Round], *, counts: bool = True) -> None:
    """`counts`: the answer counts readings, so that it is judged."""
    answer, hand = median(one[0] for one in rounds), median(one[1] for one in rounds)
    ratio = median(one[0] / one[1] for one in rounds)
    mark = "  ABOVE" if counts and ratio > BAR else ""
    figures = f"{answer * 1000:10.0f} {hand * 1000:8.0f} {ratio:6.2f} {rounds[0][2]:11}"
    print(f"{figures}  {name}{mark}", flush=True)


if __name__ == "__main__":
    main()
