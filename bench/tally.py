"""The whole-day tally of a million readings on MariaDB, against the same statements run by hand through pymysql.

    python bench/tally.py [--rounds 7] [--url mysql://user:password@host/scratch_database]

Starts a MariaDB of its own in a temporary folder (or uses the EMPTY database of --url), simulates one day of 80 parks
and 3,500 rides, and prints the ratio of both, which should stay below 1.5: what counting costs beyond the database's
own work.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from service import config, database, schema  # noqa: E402
from service.feeds.simulation import World  # noqa: E402
from service.jobs.demo import build_demo  # noqa: E402
from service.models import RideStatusSnapshot  # noqa: E402
from service.queries.days import Tallies  # noqa: E402
from tests.mariadb import PrivateMariaDB  # noqa: E402

BAR = 1.5
DAY = date(2026, 6, 16)
NOW = datetime(2026, 6, 17, 6, 59, tzinfo=UTC)  # the last minute of that Pacific day

Statement = tuple[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--url", help="an empty MySQL or MariaDB database to use instead of a private server")
    arguments = parser.parse_args()
    with _url(arguments.url) as url:
        _fill(url)
        _compare(arguments.rounds)
        database.close()


@contextlib.contextmanager
def _url(given: str | None) -> Iterator[str]:
    if given:
        yield given
        return
    with PrivateMariaDB("--innodb-log-file-size=512M", buffer_pool="1G") as server:
        yield server.url(server.create_database("bench"))


def _fill(url: str) -> None:
    settings = config.Settings(database_url=url)
    database.open_database(settings, time_limit=False)
    schema.upgrade(settings)
    started = perf_counter()
    report = build_demo(
        World(80, 1, "production"), 1, interval_minutes=5, now=NOW, progress=lambda done, total: None
    )
    seconds = perf_counter() - started
    print(f"simulated and stored {report.stored:,} readings of {report.rides:,} rides in {seconds:.1f} s")
    database.db.execute_sql(f"ANALYZE TABLE {RideStatusSnapshot._meta.table_name}")


def _compare(rounds: int) -> None:
    statements = _statements()
    ours, hand = [], []
    for _ in range(rounds):  # in turn, so that a slow moment of the machine meets both
        started = perf_counter()
        _tally()
        ours.append(perf_counter() - started)
        started = perf_counter()
        _by_hand(statements)
        hand.append(perf_counter() - started)
    ratios = sorted(one / other for one, other in zip(ours, hand, strict=True))
    print(f"{len(statements)} statements; median of {rounds} rounds")
    print(f"tally of the day      {median(ours) * 1000:8.0f} ms  (best {min(ours) * 1000:.0f})")
    print(f"statements by hand    {median(hand) * 1000:8.0f} ms  (best {min(hand) * 1000:.0f})")
    verdict = "below" if median(ratios) <= BAR else "ABOVE"
    print(f"ratio                 {median(ratios):8.2f}     ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"{verdict} the bar of {BAR}")


def _tally() -> int:
    tallies = Tallies(NOW)
    counted = [tallies.count(park, DAY) for park in tallies.universe.parks.values()]
    return sum(ride.samples for day in counted for ride in day.rides.values())


def _statements() -> list[Statement]:
    """Every statement that a tally runs, with its values."""
    found: list[Statement] = []
    bound = database.db.obj
    assert bound is not None
    bound.query_hooks.append(lambda event: found.append((event.sql, event.params)))
    samples = _tally()
    bound.query_hooks.pop()
    print(f"{samples:,} readings in open hours")
    return found


def _by_hand(statements: list[Statement]) -> None:
    cursor = database.db.connection().cursor()
    for sql, values in statements:
        cursor.execute(sql, values)
        cursor.fetchall()


if __name__ == "__main__":
    main()
