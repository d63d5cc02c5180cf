"""One slot of 80 parks and 3,500 rides: from the last body that arrived to readers who see it.

    python bench/collect.py [--rounds 7] [--url mysql://user:password@host/scratch_database]

Starts a durable MariaDB of its own in a temporary folder (or uses the EMPTY database of --url, or sqlite:///file.db),
simulates an hour of production size and collects slots after it, of which every answer is at hand at once: what is
timed is parsing, judging and storing alone. Beside it the same rows, inserted by one executemany of the driver in one
transaction: the ratio says what judging, and a transaction a park, cost beyond writing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.timing import watched  # noqa: E402
from service import config, database, schema  # noqa: E402
from service.config import Settings  # noqa: E402
from service.feeds.simulation import SlotReading, World  # noqa: E402
from service.jobs.catalog import store_catalog  # noqa: E402
from service.jobs.collect import Collector  # noqa: E402
from service.models import RideStatusSnapshot  # noqa: E402
from service.periods import epoch, iso_utc  # noqa: E402
from tests.mariadb import PrivateMariaDB  # noqa: E402

BAR_SECONDS, BAR_STATEMENTS = 1.0, 2.0
START = datetime(2026, 6, 16, 20, tzinfo=UTC)
STEP = timedelta(minutes=5)
MISSED = 1
DURABLE = ("--innodb-flush-log-at-trx-commit=1", "--innodb-doublewrite=1", "--innodb-log-file-size=512M")


class Round(NamedTuple):
    """A slot: seconds of the cycle and after the last body, its readings, and statements a park beyond inserts."""

    whole: float
    after: float
    readings: int
    statements: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--url", help="an empty database to use instead of a private server")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds must be 1 or more")
    with _url(given.url) as url:
        settings = config.Settings(database_url=url)
        database.open_database(settings, time_limit=False)
        schema.upgrade(settings)
        if RideStatusSnapshot.select().exists():
            raise SystemExit("The database of --url holds readings: name an empty one.")
        missed = _measure(settings, given.rounds)
        database.close()
    raise SystemExit(MISSED if missed else 0)


@contextlib.contextmanager
def _url(given: str | None) -> Iterator[str]:
    if given:
        yield given
        return
    with PrivateMariaDB(*DURABLE, buffer_pool="1G") as server:
        yield server.url(server.create_database("bench"))


def _measure(settings: Settings, rounds: int) -> bool:
    world = World(80, 1, "production")
    _store_catalog(world)
    slots = [START + number * STEP for number in range(rounds + 2)]
    found = [_round(settings, world, now) for now in slots][2:]  # the first ones warm up
    whole, after = median(one.whole for one in found), median(one.after for one in found)
    statements = max(one.statements for one in found)
    by_hand = median(_by_hand(now) for now in slots[2:])
    print(f"{found[0].readings:,} readings of 80 parks, {rounds} slots, medians")
    print(f"  whole cycle, all bodies at hand   {whole:6.3f} s")
    print(f"  after the last body               {after:6.3f} s   bar {BAR_SECONDS:.0f} s")
    print(f"  the rows alone, by executemany    {by_hand:6.3f} s   ratio of the cycle {whole / by_hand:.1f}")
    print(f"  statements a park beyond inserts  {statements:6.2f}     bar {BAR_STATEMENTS:.0f}")
    return whole > BAR_SECONDS or statements > BAR_STATEMENTS


def _store_catalog(world: World) -> None:
    parks = [park._replace(themeparks_wiki_id=f"park-{park.source_id}") for park in world.parks]
    rides = [ride._replace(themeparks_wiki_id=f"ride-{ride.source_id}") for ride in world.rides]
    store_catalog(parks, rides, START - timedelta(days=30))  # without hours, so that all parks are asked about


def _round(settings: Settings, world: World, now: datetime) -> Round:
    bodies = _bodies(world, now)
    arrived: list[float] = []
    with watched() as events:
        started = perf_counter()
        cycle = Collector(settings, _answering(bodies, arrived)).cycle(now)
        ended = perf_counter()
    inserts = sum(event.sql.startswith(("INSERT", "REPLACE")) for event in events)
    readings = cycle.stored + cycle.replaced
    return Round(ended - started, ended - max(arrived), readings, (len(events) - inserts) / 80)


def _answering(bodies: dict[str, bytes], arrived: list[float]) -> Callable[[str], bytes]:
    def ask(url: str) -> bytes:
        arrived.append(perf_counter())
        return bodies[url.split("/")[-2]]

    return ask


def _bodies(world: World, now: datetime) -> dict[str, bytes]:
    """Live data of every park, with what a real answer has besides."""
    found = {}
    for park_id, rides in world.rides_of.items():
        told = {reading[1]: reading for reading in world.slot_readings(park_id, epoch(now), 5)}
        usual = {ride.source_id: (0, ride.source_id, None, True, 10) for ride, _ in rides}
        rows = [_row(ride.name, told.get(ride.source_id, usual[ride.source_id]), now) for ride, _ in rides]
        found[f"park-{park_id}"] = json.dumps({"id": "park", "liveData": rows}).encode()
    return found


def _row(name: str, reading: SlotReading, now: datetime) -> dict[str, Any]:
    _, ride, status, is_open, wait = reading
    told = status.name if status else "OPERATING" if is_open else "CLOSED"
    return {
        "id": f"ride-{ride}", "name": name, "entityType": "ATTRACTION", "status": told, "externalId": str(ride),
        "lastUpdated": iso_utc(epoch(now) - 60), "queue": {"STANDBY": {} if wait is None else {"waitTime": wait}},
        "forecast": [{"time": iso_utc(epoch(now)), "waitTime": 20, "percentage": 30}] * 10,
    }  # fmt: skip


def _by_hand(now: datetime) -> float:
    """Seconds that the slot's rows take in one transaction, in a table of the same shape."""
    table, columns = RideStatusSnapshot, (*RideStatusSnapshot._meta.sorted_fields,)
    rows = database.fetch(table.select(*columns).where(table.snapshot_time == now))
    table.delete().where(table.snapshot_time == now).execute()
    started = perf_counter()
    with database.db.atomic():
        marks = ", ".join(["%s" if database.is_mysql() else "?"] * len(columns))
        names = ", ".join(column.column_name for column in columns)
        database.db.cursor().executemany(f"INSERT INTO ride_status_snapshots ({names}) VALUES ({marks})", rows)
    return perf_counter() - started


if __name__ == "__main__":
    main()
