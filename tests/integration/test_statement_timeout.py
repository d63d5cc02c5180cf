"""A question that takes the database too long is ended there, answered 503, and the connection answers the next one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factories import World
from peewee import PeeweeException
from wsgi_client import Client, Response

from service import clock
from service import database as door
from service.config import Settings
from service.database import db, explained, is_mysql
from service.errors import Unavailable
from service.periods import instant, pacific_day
from service.web.app import create_app

MIDNIGHT = pacific_day(date(2025, 6, 10)).start
HOUR = 3600
RIDES = 24
# Some ten seconds of work for the engine itself; the name tells it in the server's list of processes.
ENDLESS = (
    "SELECT COUNT(*) AS endless FROM ride_status_snapshots a, ride_status_snapshots b, ride_status_snapshots c"
    " WHERE a.snapshot_time + b.snapshot_time + c.ride_id = 7"
)
SERIES = "/api/analytics/series?start=2025-06-10T00:00:00-07:00&end=2025-06-10T20:00:00-07:00&bucket=1h"
PATHS = [SERIES, f"{SERIES}&group_by=ride&format=csv", "/api/parks/downtime?period=today"]
LONG = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT {} FROM n"


class Slow:
    """The API over a database whose counting of readings does not end while `endless`."""

    def __init__(self, settings: Settings) -> None:
        self.client = Client(create_app(settings))
        self.endless = True
        self.sessions: list[int] = []  # on MariaDB, of every counting
        bound: Any = db.obj
        self._execute = bound.execute_sql
        bound.execute_sql = self.execute

    def execute(self, sql: str, params: Any = None) -> Any:
        if "GROUP BY" not in sql or "ride_status_snapshots" not in sql:
            return self._execute(sql, params)
        if is_mysql():
            self.sessions.append(self._execute("SELECT CONNECTION_ID()").fetchone()[0])
        return self._execute(ENDLESS) if self.endless else self._execute(sql, params)


@pytest.fixture
def slow(database: Any, settings: Settings) -> Iterator[Slow]:
    """A day of a park with its rides, and one second for a statement, as the web has it."""
    world = World(30)
    park = world.park()
    world.open(park, date(2025, 6, 10), MIDNIGHT + 8 * HOUR, MIDNIGHT + 20 * HOUR)
    for _ in range(RIDES):
        world.day_of(world.ride(park), "OODDOOOO" * 3, MIDNIGHT + 8 * HOUR)
    world.store()
    door.close()
    limited = replace(settings, statement_timeout_seconds=1, snapshot_interval_minutes=30)
    door.open_database(limited, read_only=True)
    clock.replay(instant(MIDNIGHT + 21 * HOUR))
    yield Slow(limited)
    door.close()


def assert_ended(answer: Response) -> None:
    assert answer.status == 503
    body = answer.json
    assert set(body) == {"success", "error"} and body["success"] is False
    assert "time-out" in body["error"] and "narrow the question" in body["error"]
    assert "SELECT" not in body["error"]


@pytest.mark.parametrize("path", PATHS, ids=["series", "csv", "ranking"])
def test_a_question_that_takes_too_long_is_503_and_the_next_is_answered(slow: Slow, path: str) -> None:
    assert_ended(slow.client.get(path))
    slow.endless = False
    answer = slow.client.get(path)
    assert answer.status == 200 and len(answer.body) > 200
    if is_mysql():
        assert len(set(slow.sessions)) == 1 and len(slow.sessions) > 1


@pytest.mark.parametrize("settings", ["mariadb"], indirect=True)
def test_nothing_of_it_is_left_on_the_server(slow: Slow, mariadb: Any) -> None:
    answers: list[Response] = []
    seen: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(slow.client.get(SERIES)))
    with mariadb.connect() as connection, connection.cursor() as cursor:

        def running() -> list[int]:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE info LIKE %s AND id <> CONNECTION_ID()",
                ("%AS endless%",),
            )
            return [row[0] for row in cursor.fetchall()]

        asking.start()
        while asking.is_alive() and not (seen := running()):
            time.sleep(0.01)
        asking.join()
        assert seen == slow.sessions
        assert running() == []
    assert_ended(answers[0])


def test_the_connection_stays_good(slow: Slow) -> None:
    before = db.connection()
    with pytest.raises(PeeweeException) as caught, door.reading():
        db.execute_sql(ENDLESS)
    assert isinstance(explained(caught.value), Unavailable) and "time-out" in str(explained(caught.value))
    with door.reading():
        assert db.execute_sql("SELECT COUNT(*) FROM rides").fetchone()[0] == RIDES
    assert db.connection() is before


# --- SQLite, whose time-out is ours ----------------------------------------------------------------------------------


class Clock:
    """The door's clock: it stands still, or goes on by `pace` seconds whenever it is looked at."""

    perf_counter = staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self.now = self.pace = 0.0

    def monotonic(self) -> float:
        self.now += self.pace
        return self.now


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the door looks at."""
    found = Clock()
    monkeypatch.setattr(door, "time", found)
    return found


def opened(path: Path, *, time_limit: bool = True) -> Any:
    """A connected SQLite database with a time-out of ten seconds, or none."""
    settings = Settings(database_url=f"sqlite:///{path / 'own.db'}")
    database = door.connect(settings, read_only=False, time_limit=time_limit)
    database.execute_sql("CREATE TABLE numbers (i INTEGER)")
    return database


def test_sqlite_ends_a_statement_past_its_time_and_no_other(tmp_path: Path, ticking: Clock) -> None:
    database = opened(tmp_path)
    ticking.now += 3600  # between two statements, as long as it likes
    assert database.execute_sql(LONG.format("COUNT(*)")).fetchone()[0] == 200_000
    ticking.pace = 4
    with pytest.raises(PeeweeException, match="interrupted"):
        database.execute_sql(LONG.format("COUNT(*)"))
    ticking.pace = 0
    assert database.execute_sql(LONG.format("COUNT(*)")).fetchone()[0] == 200_000
    database.close()


def test_reading_the_rows_is_part_of_the_statement(tmp_path: Path, ticking: Clock) -> None:
    database = opened(tmp_path)
    cursor = database.execute_sql(LONG.format("i"))
    assert cursor.fetchone() == (1,)
    ticking.now += 11
    half_read = SimpleNamespace(execute=lambda _: cursor)
    with pytest.raises(PeeweeException, match="interrupted") as caught:
        door.fetch(SimpleNamespace(), half_read)  # type: ignore[arg-type]
    assert "time-out" in str(explained(caught.value))
    database.close()


def test_a_change_that_takes_too_long_is_undone_and_says_why(tmp_path: Path, ticking: Clock) -> None:
    database = opened(tmp_path)
    ticking.pace = 4
    with pytest.raises(PeeweeException) as caught, database.atomic():
        database.execute_sql("INSERT INTO numbers VALUES (1)")
        database.execute_sql(f"INSERT INTO numbers {LONG.format('i')}")
    assert "time-out" in str(explained(caught.value))
    ticking.pace = 0
    assert database.execute_sql("SELECT COUNT(*) FROM numbers").fetchone() == (0,)
    database.close()


def test_jobs_have_no_time_out_on_sqlite(tmp_path: Path, ticking: Clock) -> None:
    database = opened(tmp_path, time_limit=False)
    ticking.pace = 3600
    assert database.execute_sql(LONG.format("COUNT(*)")).fetchone()[0] == 200_000
    database.close()
