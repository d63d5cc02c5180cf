"""Migrations 002, 003 and 004 on tables of ten million rows in MariaDB: how long they take, and who waits for them.

    python bench/migrations.py [--rows 10_000_000] [--rounds 1] [--only 002] [--quick]

Starts a durable MariaDB of its own in a temporary folder and fills it there: 1 KB of disk a row. Readings keep arriving
while the index of 002 is built, in processes of their own: no insert should wait longer than two seconds. Each change
of the schema should be over within five minutes. What the guard costs is the ratio of its time to that of the same
statements executed by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any, NamedTuple

from peewee import PeeweeException

sys.path.insert(0, str(Path(__file__).parents[1]))

from service import database, schema  # noqa: E402
from service.config import Settings  # noqa: E402
from service.jobs.marks import atomically  # noqa: E402
from service.jobs.store import READING_FIELDS  # noqa: E402
from service.models import RideStatusSnapshot  # noqa: E402
from service.queries import state  # noqa: E402
from service.schema.statements import Statement  # noqa: E402
from tests.mariadb import PrivateMariaDB  # noqa: E402

WAIT_BAR_SECONDS = 2
DOWNTIME_BAR_SECONDS = 300

# As a server that must not lose what it has confirmed.
DURABLE = (
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-doublewrite=1",
    "--innodb-log-file-size=512M",
)
DISK_BYTES_PER_ROW = 1_000
DISK_BYTES_BESIDE = 3 * 2**30

PARKS, RIDES = 80, 3500
INTERVAL = 300
FIRST_SLOT = 1_767_225_600
FAR_AHEAD = 10**6 * INTERVAL

SECONDS_BETWEEN_SLOTS = 2.0
SECONDS_BETWEEN_SINGLES = 0.05
READER_SECONDS = 5.0


class Step(NamedTuple):
    """A migration to measure: what fills its tables before it runs, and what comes to be before it is undone."""

    number: int
    fill: Callable[[Any, int], None]
    revise: Callable[[Any], None]


class Round(NamedTuple):
    """Seconds of one run of a migration and of its rollback, through the guard and by hand."""

    up: float
    up_by_hand: float
    down: float
    down_by_hand: float


class Reader(NamedTuple):
    """Somebody who keeps a transaction open on the readings; seconds, from the beginning of the migration."""

    begins: float
    lasts: float


class Waits(NamedTuple):
    """What a writing process saw: pairs of when a transaction began (monotonic) and the seconds it took; errors."""

    taken: list[tuple[float, float]]
    errors: list[str]

    def within(self, begin: float, end: float) -> list[float]:
        """Seconds of the transactions that were open between `begin` and `end`, in order of length."""
        return sorted(seconds for at, seconds in self.taken if at < end and at + seconds > begin)


class Scene(NamedTuple):
    """A migration while readings arrive; `began` and `ended` are its time (monotonic)."""

    began: float
    ended: float
    attempts: int
    singles: Waits
    slots: Waits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of each large table")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of guard and hand in turn")
    numbers = [step.number for step in STEPS]
    parser.add_argument("--only", type=int, choices=numbers, metavar="NNN", help="002, 003 or 004 alone")
    parser.add_argument("--quick", action="store_true", help="200,000 rows, to try it")
    arguments = parser.parse_args()
    rows = 200_000 if arguments.quick else arguments.rows
    _ensure_disk(rows)
    with PrivateMariaDB(*DURABLE, buffer_pool="1G") as server:
        for step in (step for step in STEPS if arguments.only in (None, step.number)):
            with _installation(server, step.number) as settings:
                _measure(server, settings, step, rows, arguments.rounds, calm=4 if arguments.quick else 20)


def _ensure_disk(rows: int) -> None:
    needed, free = rows * DISK_BYTES_PER_ROW + DISK_BYTES_BESIDE, shutil.disk_usage("/tmp").free
    if free < needed:
        sys.exit(f"{rows:,} rows need {needed / 2**30:.0f} GB in /tmp, where {free / 2**30:.0f} GB are free.")


@contextlib.contextmanager
def _installation(server: PrivateMariaDB, number: int) -> Iterator[Settings]:
    """A database that has the migrations before `number`, and the settings that lead to `number`; dropped after."""
    name = server.create_database(f"bench_{number:03}")
    settings = Settings(
        database_url=server.url(name), migrations_dir=_first_migrations(server, number), slow_query_ms=3_600_000
    )
    database.open_database(settings, time_limit=False)
    schema.upgrade(
        Settings(database_url=settings.database_url, migrations_dir=_first_migrations(server, number - 1)),
        schema.Options(say=_silent),
    )
    try:
        yield settings
    finally:
        database.close()
        with server.connect() as connection:
            connection.cursor().execute(f"DROP DATABASE `{name}`")


def _first_migrations(server: PrivateMariaDB, number: int) -> Path:
    folder = server.folder / f"first_{number}"
    if not folder.exists():
        folder.mkdir()
        for name in schema.migration_names(Settings())[:number]:
            shutil.copy(schema.find_folder(Settings()) / f"{name}.py", folder)
    return folder


def _silent(line: str) -> None:
    pass


# --- what the tables hold --------------------------------------------------------------------------------------------


def _fill(cursor: Any, table: str, columns: str, values: str, rows: int) -> None:
    """Put `rows` rows of `values`, SQL over the column seq = 0, 1, ..., into a table that has none."""
    cursor.execute(f"SELECT 1 FROM {table} LIMIT 1")
    if not cursor.fetchall():
        # InnoDB loads an empty table in bulk only so.
        cursor.execute("SET unique_checks = 0, foreign_key_checks = 0")
        cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {values} FROM seq_0_to_{rows - 1}")
        cursor.execute("SET unique_checks = 1, foreign_key_checks = 1")
        cursor.execute(f"ANALYZE TABLE {table}")


def _fill_parks_and_rides(cursor: Any) -> None:
    _fill(
        cursor,
        "parks",
        "park_id, name, country, timezone, park_type, is_active, created_at, updated_at",
        "1 + seq, CONCAT('Park ', seq), 'US', 'America/Los_Angeles', 1, 1, 0, 0",
        PARKS,
    )
    _fill(
        cursor,
        "rides",
        "ride_id, park_id, name, category, is_active, created_at, updated_at",
        f"1 + seq, 1 + seq MOD {PARKS}, CONCAT('Ride ', seq), 1, 1, 0, 0",
        RIDES,
    )


def _fill_readings(cursor: Any, rows: int) -> None:
    _fill_parks_and_rides(cursor)
    _fill(
        cursor,
        "ride_status_snapshots",
        "snapshot_time, ride_id, status, wait_time, is_open",
        f"{FIRST_SLOT} + {INTERVAL} * (seq DIV {RIDES}), 1 + seq MOD {RIDES},"
        " 1 + (CRC32(seq) MOD 9 = 0), 5 * (CRC32(seq) MOD 24), 1",
        rows,
    )


def _fill_daily(cursor: Any, rows: int) -> None:
    _fill_parks_and_rides(cursor)
    measured = "240, 1200, 1150, CRC32(seq) MOD 60, 96.5, 1.234, 9000, 230, 39.1, 90, 1784000000"
    _fill(
        cursor,
        "daily_stats",
        "stat_date, ride_id, park_id, weight, downtime_incidents, status_changes, sample_count, open_minutes,"
        " operating_minutes, total_downtime_minutes, uptime_percentage, shame_score, wait_sum, wait_samples,"
        " avg_wait_time, max_wait_time, computed_at",
        f"DATE '2018-01-01' + INTERVAL seq DIV {RIDES} DAY, 1 + seq MOD {RIDES}, 1 + seq MOD {RIDES} MOD {PARKS},"
        f" 2, 1, 4, {measured}",
        rows,
    )
    _fill(
        cursor,
        "daily_park_stats",
        "stat_date, park_id, rides_tracked, rides_with_downtime, weighted_downtime_minutes, roster_weight,"
        " sample_count, open_minutes, operating_minutes, total_downtime_minutes, uptime_percentage, shame_score,"
        " wait_sum, wait_samples, avg_wait_time, peak_wait_time, computed_at",
        f"DATE '2018-01-01' + INTERVAL seq DIV {PARKS} DAY, 1 + seq MOD {PARKS}, 44, 12, 900, 90, {measured}",
        max(rows // RIDES, 1) * PARKS,
    )


def _fill_hourly(cursor: Any, rows: int) -> None:
    _fill_parks_and_rides(cursor)
    _fill(
        cursor,
        "hourly_stats",
        "hour_start_utc, ride_id, park_id, avg_wait_time_minutes, operating_snapshots, down_snapshots, downtime_hours,"
        " uptime_percentage, snapshot_count, ride_operated",
        f"{FIRST_SLOT} + 3600 * (seq DIV {RIDES}), 1 + seq MOD {RIDES}, 1 + seq MOD {RIDES} MOD {PARKS},"
        " 37.5, 11, 1, 0.08, 91.67, 12, 1",
        rows,
    )


def _no_revision(cursor: Any) -> None:
    """What is undone leaves no rows of its own."""


def _revise_daily(cursor: Any) -> None:
    """A second version of the newest tenth of the days, as a recompute leaves it; the rollback deletes it."""
    nine_tenths = "INTERVAL 0.9 * DATEDIFF(MAX(stat_date), MIN(stat_date)) DAY"
    cursor.execute(f"SELECT MIN(stat_date) + {nine_tenths} FROM daily_stats")
    (first,) = cursor.fetchone()
    for table in ("daily_stats", "daily_park_stats"):
        cursor.execute(f"SHOW COLUMNS FROM {table} WHERE field <> 'metrics_version'")
        columns = ", ".join(row[0] for row in cursor.fetchall())
        cursor.execute(
            f"INSERT INTO {table} (metrics_version, {columns}) SELECT 2, {columns} FROM {table} WHERE stat_date >= %s",
            (first,),
        )


STEPS = (
    Step(2, _fill_readings, _no_revision),
    Step(3, _fill_daily, _revise_daily),
    Step(4, _fill_hourly, _no_revision),
)


# --- the guard and the same by hand ----------------------------------------------------------------------------------


def _measure(
    server: PrivateMariaDB, settings: Settings, step: Step, rows: int, rounds: int, calm: float
) -> None:
    with server.connect(f"bench_{step.number:03}") as connection:
        name = schema.migration_names(settings)[-1]
        started = monotonic()
        step.fill(connection.cursor(), rows)
        print(f"{name}: {rows:,} rows, filled in {monotonic() - started:.0f} s; {_load()}", flush=True)
        found = [_round(connection.cursor(), settings, step, rows) for _ in range(rounds)]
        _print_rounds(found)
        if step.number == 2:
            _print_scenes(_scenes(server, connection.cursor(), settings, max(one.up for one in found), calm))


def _round(cursor: Any, settings: Settings, step: Step, rows: int) -> Round:
    """The migration and its rollback by the guard, then both by hand; the tables are as they were after each."""
    step.fill(cursor, rows)
    ((up, _),) = schema.plans(settings).values()
    guard_up = _seconds(cursor, lambda: schema.upgrade(settings, schema.Options(say=_silent)))
    step.revise(cursor)
    ((down, _),) = schema.plans(settings, undo=True).values()
    guard_down = _seconds(cursor, lambda: schema.downgrade(settings, options=schema.Options(say=_silent)))
    step.fill(cursor, rows)
    hand_up = _seconds(cursor, lambda: _by_hand(cursor, up))
    step.revise(cursor)
    hand_down = _seconds(cursor, lambda: _by_hand(cursor, down))
    return Round(guard_up, hand_up, guard_down, hand_down)


def _by_hand(cursor: Any, statements: list[Statement]) -> None:
    for statement in statements:
        cursor.execute(statement.sql, statement.parameters)


def _seconds(cursor: Any, act: Callable[[], object]) -> float:
    _settle(cursor)
    started = monotonic()
    act()
    return monotonic() - started


def _settle(cursor: Any) -> None:
    """Let the server write what earlier work has left in memory, so that nobody pays for another's pages."""
    _set(cursor, innodb_io_capacity_max=20_000, innodb_io_capacity=20_000, innodb_max_dirty_pages_pct=0)
    deadline = monotonic() + 60
    while _dirty_pages(cursor) > 1000 and monotonic() < deadline:
        sleep(0.2)
    _set(cursor, innodb_max_dirty_pages_pct=90, innodb_io_capacity=200, innodb_io_capacity_max=2000)  # the defaults


def _set(cursor: Any, **variables: int) -> None:
    for name, value in variables.items():
        cursor.execute(f"SET GLOBAL {name} = {value}")


def _dirty_pages(cursor: Any) -> int:
    cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
    return int(cursor.fetchone()[1])


# --- while readings arrive -------------------------------------------------------------------------------------------


def _scenes(
    server: PrivateMariaDB, cursor: Any, settings: Settings, build: float, calm: float
) -> dict[str, Scene]:
    """The index built and dropped again, in different company; `build` are the seconds it takes in none."""
    company = {
        "nobody else": None,
        "a reader of 5 s at the beginning": Reader(0, READER_SECONDS),
        "a reader of 5 s beyond the end": Reader(build * 0.6, build * 0.6 + READER_SECONDS),
    }
    found = {}
    for title, reader in company.items():
        _settle(cursor)
        found[title] = _scene(server, settings, cursor, reader, calm)
        schema.downgrade(settings, options=schema.Options(say=_silent))
    return found


def _scene(
    server: PrivateMariaDB, settings: Settings, cursor: Any, reader: Reader | None, calm: float
) -> Scene:
    cursor.execute("SELECT MAX(snapshot_time) FROM ride_status_snapshots")
    (newest,) = cursor.fetchone()
    said: list[str] = []
    with _Writer(settings, _store_slot, newest + INTERVAL, SECONDS_BETWEEN_SLOTS) as slots:
        with _Writer(settings, _store_single, newest + FAR_AHEAD, SECONDS_BETWEEN_SINGLES) as singles:
            sleep(calm)
            began = monotonic()
            with _reading(server, settings, reader):
                schema.upgrade(settings, schema.Options(say=said.append))
                ended = monotonic()
            sleep(1)
    attempts = 1 + sum("letting them pass" in line for line in said)
    return Scene(began, ended, attempts, singles.waits, slots.waits)


class _Writer:
    """A process that stores readings until the end of the `with`; then `waits` has what it saw."""

    def __init__(self, settings: Settings, store: Callable[[int], None], slot: int, pause: float) -> None:
        context = multiprocessing.get_context("spawn")  # shares no connection with this process
        self._stop = context.Event()
        self._results, sent = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_write, args=(settings, store, slot, pause, self._stop, sent), daemon=True
        )
        self.waits = Waits([], [])

    def __enter__(self) -> _Writer:
        self._process.start()
        self._results.recv()  # it has connected
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.waits = Waits(*self._results.recv())
        self._process.join()


def _write(
    settings: Settings, store: Callable[[int], None], slot: int, pause: float, stop: Any, results: Any
) -> None:
    """Run in a process of its own: `store` slot after slot, `pause` seconds apart."""
    database.open_database(settings)
    waits = Waits([], [])
    state.get_state(state.INTERVAL)
    results.send("connected")
    while not stop.is_set():
        started = monotonic()
        try:
            store(slot)
        except PeeweeException as error:
            waits.errors.append(str(error))
        waits.taken.append((started, monotonic() - started))
        slot += INTERVAL
        stop.wait(pause)
    results.send(tuple(waits))


def _store_slot(slot: int) -> None:
    """All rides' readings of a slot in one transaction, which looks first what is there, as `jobs.store` does."""
    atomically(lambda: _store_if_missing(slot))


def _store_if_missing(slot: int) -> None:
    state.get_state(state.INTERVAL)
    held = RideStatusSnapshot.select(*READING_FIELDS).where(
        RideStatusSnapshot.ride_id << list(range(1, RIDES + 1)),
        RideStatusSnapshot.snapshot_time.between(slot, slot),
    )
    if not database.fetch(held):
        _store(slot, RIDES)


def _store_single(slot: int) -> None:
    _store(slot, 1)


def _store(slot: int, rides: int) -> None:
    readings = [(slot, ride, 1, True, ride % 24 * 5) for ride in range(1, rides + 1)]
    database.upsert(RideStatusSnapshot, READING_FIELDS, readings, key=READING_FIELDS[:2])


@contextlib.contextmanager
def _reading(server: PrivateMariaDB, settings: Settings, reader: Reader | None) -> Iterator[None]:
    if reader is None:
        yield
        return
    name = settings.database_url.rpartition("/")[2]
    opened = threading.Event()
    thread = threading.Thread(target=_hold, args=(server, name, reader, opened))
    thread.start()
    if not reader.begins:
        opened.wait()
    yield
    thread.join()


def _hold(server: PrivateMariaDB, name: str, reader: Reader, opened: threading.Event) -> None:
    sleep(reader.begins)
    with server.connect(name) as connection:
        connection.begin()
        connection.cursor().execute("SELECT * FROM ride_status_snapshots LIMIT 1")
        opened.set()
        sleep(reader.lasts)
        connection.commit()


# --- the tables of figures -------------------------------------------------------------------------------------------


def _load() -> str:
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _print_rounds(rounds: list[Round]) -> None:
    print(f"{'':8}{'guard':>10}{'by hand':>10}{'ratio':>8}   {_load()}")
    for one in rounds:
        for label, guard, hand in (("up", one.up, one.up_by_hand), ("down", one.down, one.down_by_hand)):
            verdict = "" if guard < DOWNTIME_BAR_SECONDS else f"   ABOVE the bar of {DOWNTIME_BAR_SECONDS} s"
            print(f"{label:8}{guard:8.2f} s{hand:8.2f} s{guard / hand:8.2f}{verdict}")
    print(flush=True)


def _print_scenes(scenes: dict[str, Scene]) -> None:
    print(f"The index while readings arrive; milliseconds of inserts; {_load()}")
    singles, slots = "a reading: median, p99, longest", f"a slot of {RIDES:,}: median, longest"
    print(f"{'':34}{'build':>8}{'tries':>7}{singles:>34}{slots:>34}")
    longest = 0.0
    for title, scene in scenes.items():
        print(f"{'before':34}{'':15}{_shown(scene, 0, scene.began)}")
        took = f"{scene.ended - scene.began:.1f} s"
        print(f"{title:34}{took:>8}{scene.attempts:>7}{_shown(scene, scene.began, scene.ended)}")
        during = [waits.within(scene.began, scene.ended) for waits in (scene.singles, scene.slots)]
        longest = max([longest, *during[0], *during[1]])
        for error in scene.singles.errors + scene.slots.errors:
            print(f"  FAILED: {error}")
    verdict = "below" if longest < WAIT_BAR_SECONDS else "ABOVE"
    print(f"longest insert {longest:.2f} s: {verdict} the bar of {WAIT_BAR_SECONDS} s\n", flush=True)


def _shown(scene: Scene, begin: float, end: float) -> str:
    singles = [seconds * 1000 for seconds in scene.singles.within(begin, end)]
    slots = [seconds * 1000 for seconds in scene.slots.within(begin, end)]
    shown = f"{median(singles):14.1f}{singles[int(len(singles) * 0.99)]:10.1f}{singles[-1]:10.1f}"
    return shown + (f"{median(slots):24.0f}{slots[-1]:10.0f}" if slots else f"{'none':>34}")


if __name__ == "__main__":
    main()
