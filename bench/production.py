"""A database of production size to measure against: 80 parks, 3,500 rides and a month of five-minute readings.

    python bench/production.py --url mysql://user:password@host/database

fills the EMPTY database of --url, or ends one that was begun (about ten minutes on two cores). The benchmarks that
need it take the same --url; without it they start a MariaDB of their own and fill that first.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from peewee import PeeweeException

sys.path.insert(0, str(Path(__file__).parents[1]))

from service import config, database, schema  # noqa: E402
from service.errors import ServiceError  # noqa: E402
from service.config import Settings  # noqa: E402
from service.feeds.invented import SCALES  # noqa: E402
from service.feeds.simulation import World  # noqa: E402
from service.jobs import daily  # noqa: E402
from service.jobs.demo import build_demo, world_key  # noqa: E402
from service.models import RideStatusSnapshot, ServiceState  # noqa: E402
from tests.mariadb import PrivateMariaDB  # noqa: E402

NOW = datetime(2026, 8, 2, 3, 2, tzinfo=UTC)  # Saturday 20:02 Pacific, when all but the parks of Asia are open
HOUR_MS = 3_600_000  # statements here are slow, and on purpose
PARKS, SEED, SCALE = 80, 1, "production"
DAYS = 32  # all of July, last month then, and the running day
OPTIONS = ("--innodb-log-file-size=1G",)


@contextlib.contextmanager
def opened(url: str | None, days: int = DAYS) -> Iterator[Settings]:
    """The database of `url`, or of a server that is ended with the context, filled with as many Pacific days, the
    running one among them, and open."""
    with contextlib.ExitStack() as stack:
        if url is None:
            server = stack.enter_context(PrivateMariaDB(*OPTIONS, buffer_pool="6G"))
            url = server.url(server.create_database("bench"))
        settings = config.Settings(database_url=url, slow_query_ms=HOUR_MS)
        stack.callback(database.close)
        try:
            database.open_database(settings, time_limit=False)
            _fill(settings, days)
        except (ServiceError, PeeweeException) as error:
            _say(f"The database cannot be used: {error}")
            raise SystemExit(2) from None
        yield settings


def _fill(settings: Settings, days: int) -> None:
    """Simulate up to NOW; what is there already stays, so a second call is quick to see that nothing is missing."""
    _refuse_other_readings()
    schema.upgrade(settings)
    newest = RideStatusSnapshot.select().order_by(RideStatusSnapshot.snapshot_time.desc()).first()
    if newest is None or newest.snapshot_time < NOW.replace(minute=0):
        _say("simulating 80 parks ...")
        started = perf_counter()
        world = World(PARKS, SEED, SCALE)
        report = build_demo(world, days, interval_minutes=5, now=NOW, force=True, progress=lambda done, total: None)
        _say(f"{report.stored:,} readings of {report.rides:,} rides stored in {perf_counter() - started:.0f} s")
    missing = daily.missing_days(NOW, 1)
    if missing:
        started = perf_counter()
        daily.aggregate(NOW, progress=lambda done, day: None)
        _say(f"{len(missing)} days computed in {perf_counter() - started:.0f} s")
        database.db.execute_sql(f"ANALYZE TABLE {RideStatusSnapshot._meta.table_name}")


def _refuse_other_readings() -> None:
    """End the program when somebody's own readings are there: invented parks must not get among them."""
    tables = database.db.table_exists(RideStatusSnapshot), database.db.table_exists(ServiceState)
    if not tables[0] or not RideStatusSnapshot.select(RideStatusSnapshot.snapshot_time).exists():
        return
    if not tables[1] or world_key() != (PARKS, SEED, SCALES.index(SCALE)):
        _say("The database of --url holds readings of others: name an empty one, or one filled by bench/production.py.")
        raise SystemExit(2)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="an empty MySQL or MariaDB database, or one filled by this")
    with opened(parser.parse_args().url):
        pass


if __name__ == "__main__":
    main()
