"""How long the awards of calendar years take cold: 80 parks and 3,500 rides over five years, on MariaDB and SQLite.

    python bench/yearly.py [--rounds 100] [--url mysql://user:password@host/scratch_database]

Fills a MariaDB of its own and an SQLite file, both in temporary folders (or the EMPTY database of --url alone), with
the yearly rows of five finished years, and asks through the whole application in this process, with nothing remembered.
The 95th of a hundred answers on parks over five years is held against the bar, on a quiet machine. SQLite finds rows
while they are read: that is not in its time in the database.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.production import NOW  # noqa: E402
from bench.timing import Time, client_now, p95, timed  # noqa: E402
from service import database, rules, schema  # noqa: E402
from service.config import Settings  # noqa: E402
from service.database import upsert  # noqa: E402
from service.feeds.simulation import World  # noqa: E402
from service.jobs import yearly  # noqa: E402
from service.jobs.catalog import store_catalog  # noqa: E402
from service.jobs.store import ACTIVITY_FIELDS  # noqa: E402
from service.models import ParkActivitySnapshot, YearlyParkStats, YearlyRideStats  # noqa: E402
from service.periods import epoch  # noqa: E402
from tests.mariadb import PrivateMariaDB  # noqa: E402

YEARS = range(2021, 2026)
BAR_SECONDS = 0.05  # of the parks' answer over all years
MOST = {"parks": 100, "rides": 200}  # rows of a year
OPEN_MINUTES = 12 * 60  # a day
STEP = 300  # seconds between slots
SLOTS = 288  # of each park, among which answers look for the newest and who told of it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--url", help="an empty database to use instead")
    arguments = parser.parse_args()
    for engine, url in _urls(arguments.url):
        settings = Settings(database_url=url)
        database.open_database(settings, time_limit=False)
        _fill(settings)
        print(f"{engine}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        _measure(settings, arguments.rounds)
        database.close()


def _urls(given: str | None) -> Iterator[tuple[str, str]]:
    """Each engine's name, and an empty database of it that is gone when the next is asked for."""
    if given:
        yield given.partition(":")[0], given
        return
    with PrivateMariaDB(buffer_pool="1G") as server:
        yield "MariaDB", server.url(server.create_database("bench"))
    with tempfile.TemporaryDirectory() as folder:
        yield "SQLite", f"sqlite:///{folder}/bench.db"


def _measure(settings: Settings, rounds: int) -> None:
    client = client_now(settings)
    print(f"{'median ms':>10} {'p95 ms':>8} {'in database':>12} {'queries':>8}  request")
    for path in _paths():
        if not all(year["data"] for year in client.get(path).json["data"]):
            raise SystemExit(f"{path}: a year without rows")
        _print(path, [timed(partial(client.get, path), 1) for _ in range(rounds)])
    print()


def _paths() -> Iterator[str]:
    """The last year and all of them; as many rows as are given unasked, and the most."""
    for entity, most in MOST.items():
        for years in (YEARS[-1:], YEARS):
            asked = "&".join(f"year={year}" for year in years)
            yield f"/api/{entity}/awards?{asked}"
            yield f"/api/{entity}/awards?{asked}&limit={most}"


def _print(path: str, times: list[Time]) -> None:
    slow = p95(times)
    middle, in_database = (median(column) * 1000 for column in list(zip(*times, strict=True))[:2])
    is_barred = path.startswith("/api/parks") and path.count("year=") == len(YEARS)
    verdict = f"  ABOVE {BAR_SECONDS * 1000:.0f}" if is_barred and slow.best > BAR_SECONDS else ""
    print(f"{middle:10.1f} {slow.best * 1000:8.1f} {in_database:12.1f} {slow.queries:8}  {path}{verdict}", flush=True)


# --- what the tables hold --------------------------------------------------------------------------------------------


def _fill(settings: Settings) -> None:
    schema.upgrade(settings)
    world, chance = World(80, 1, "production"), random.Random(1)
    catalog = store_catalog(world.parks, world.rides, NOW)
    parks, rides = list(catalog.park_ids.values()), list(catalog.ride_ids.values())
    for year in YEARS:
        of_parks = (_row(chance, year, park, len(rides) // len(parks)) for park in parks)
        upsert(YearlyParkStats, yearly.PARK_COLUMNS, of_parks, key=yearly.PARK_COLUMNS[:3])
        of_rides = (_row(chance, year, ride, 1) for ride in rides)
        upsert(YearlyRideStats, yearly.RIDE_COLUMNS, of_rides, key=yearly.RIDE_COLUMNS[:3])
    last = epoch(NOW) // STEP * STEP
    activity = [
        (park, last - slot * STEP, 40, 38, 1, 1, 25, 60, rules.Source.SIMULATION)
        for park in parks
        for slot in range(SLOTS)
    ]
    upsert(ParkActivitySnapshot, ACTIVITY_FIELDS, activity, key=ACTIVITY_FIELDS[:2])


def _row(chance: random.Random, year: int, entity_id: int, rides: int) -> tuple[object, ...]:
    """A finished year of a ride, or of a park of as many: open on most days, down for a few hours in a hundred."""
    days = chance.randint(200, 365)
    minutes = days * OPEN_MINUTES * rides
    down = int(minutes * chance.uniform(0, 0.1))
    slots = days * OPEN_MINUTES * 60 // STEP
    waits = slots * rides
    score = round(chance.uniform(0, 1), 3)
    samples = slots if rides > 1 else waits
    return year, entity_id, 1, days, samples, down, minutes - down, waits * 25, waits, score, True, NOW


if __name__ == "__main__":
    main()
