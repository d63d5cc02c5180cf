"""Jobs outlive what passes: a database that is away for minutes, and single statements that fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from fake_time import FakeTime
from mariadb import PrivateMariaDB
from peewee import OperationalError

from factories import random_world
from service import database as door
from service import schema
from service.config import Settings
from service.database import db, fetch
from service.jobs import daily, patience, yearly
from service.jobs.patience import patiently
from service.models import AggregationJobLog, DailyParkStats, DailyStats, JobLease, JobStatus, StatDay
from service.periods import instant

TWO_MINUTES = 120.0
RUNS = 500  # on each engine


def stored() -> list[tuple[Any, ...]]:
    """All rows of the daily tables and the ledger, but for when they were computed."""
    found: list[tuple[Any, ...]] = []
    for model, columns in (
        (DailyStats, daily.RIDE_COLUMNS), (DailyParkStats, daily.PARK_COLUMNS), (StatDay, daily.LEDGER_COLUMNS),
    ):
        kept = [column for column in columns if column.name != "computed_at"]
        found += fetch(model.select(*kept).order_by(*columns[:2]))  # type: ignore[attr-defined]
    return found


def statuses() -> list[JobStatus]:
    return [row.status for row in AggregationJobLog.select().order_by(AggregationJobLog.job_id)]


# --- patiently -------------------------------------------------------------------------------------------------------


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = iter([error] * times)

    def work() -> str:
        for found in left:
            raise found
        return "done"

    return work


PASSING = [
    OperationalError(2013, "Lost connection to server during query"),
    OperationalError(2003, "Can't connect to server"),
    OperationalError(1213, "Deadlock found"),
    OperationalError(1205, "Lock wait timeout exceeded"),
    OperationalError(1053, "Server shutdown in progress"),
    OperationalError("database is locked"),
    OperationalError("unable to open database file"),
]


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_what_passes_is_waited_for(database: Any, fake_time: FakeTime, error: Exception) -> None:
    assert patiently(failing(6, error)) == "done"
    assert len(fake_time.slept) == 6
    assert fake_time.slept == pytest.approx([0.375, 0.75, 1.5, 3, 6, 12], rel=0.34)  # longer each time, with chance


@pytest.mark.parametrize("error", [
    OperationalError(1146, "Table 'x.parks' doesn't exist"), OperationalError(1045, "Access denied"),
    OperationalError("no such table: parks"), ValueError("not the database's fault"),
], ids=str)
def test_what_does_not_pass_is_raised_at_once(database: Any, fake_time: FakeTime, error: Exception) -> None:
    with pytest.raises(type(error)):
        patiently(failing(1, error))
    assert fake_time.slept == []


def test_patience_ends(database: Any, fake_time: FakeTime) -> None:
    with pytest.raises(OperationalError):
        patiently(failing(10**6, PASSING[0]))
    assert patience.PATIENCE_SECONDS / 2 < fake_time.monotonic() <= patience.PATIENCE_SECONDS


def test_a_step_of_a_transaction_is_not_tried_again(database: Any, fake_time: FakeTime) -> None:
    with pytest.raises(OperationalError), db.atomic():
        patiently(failing(1, PASSING[0]))
    assert fake_time.slept == []


# --- a database that is away for two minutes -------------------------------------------------------------------------


def test_a_server_that_is_away_in_mid_range_is_waited_for(mariadb: PrivateMariaDB, fake_time: FakeTime) -> None:
    """A server of its own, for it is killed; without the tests' one there is none either."""
    world, now = random_world(4)
    durable = ("--innodb-flush-log-at-trx-commit=1", "--innodb-doublewrite=1")
    with PrivateMariaDB(*durable) as server:
        settings = Settings(database_url=server.url(server.create_database("away")))
        door.open_database(settings, time_limit=False)
        schema.upgrade(settings)
        world.store()
        late = instant(now + 10 * 86400)
        days = daily.aggregate(late).days
        computed = stored()

        def go_away(done: daily.Computation, day: date) -> None:
            if len(done.days) == 2:
                server.kill()

        def come_back(waited: float) -> None:
            if waited > TWO_MINUTES and server.pid is None:
                server.start_again()

        fake_time.on_sleep = come_back
        done = daily.recompute(days, late, 1, progress=go_away)
        assert (done.days, done.failed) == (days, [])
        assert fake_time.monotonic() > TWO_MINUTES
        assert stored() == computed
        assert statuses() == [JobStatus.SUCCESS, JobStatus.SUCCESS]
        door.close()


def test_a_file_that_cannot_be_opened_in_mid_range_is_waited_for(
    database: Any, fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, now = random_world(4)
    world.store()
    late = instant(now + 10 * 86400)
    days = daily.aggregate(late).days
    computed = stored()
    gone_since: list[float] = []
    execute = type(db.obj).execute_sql

    def away(self: Any, sql: str, params: Any = None) -> Any:
        if gone_since and fake_time.monotonic() < gone_since[0] + TWO_MINUTES:
            raise OperationalError("unable to open database file")
        return execute(self, sql, params)

    def go_away(done: daily.Computation, day: date) -> None:
        if len(done.days) == 2:
            gone_since.append(fake_time.monotonic())

    monkeypatch.setattr(type(db.obj), "execute_sql", away)
    done = daily.recompute(days, late, 1, progress=go_away)
    assert (done.days, done.failed) == (days, [])
    assert fake_time.monotonic() > TWO_MINUTES
    assert stored() == computed
    assert set(statuses()) == {JobStatus.SUCCESS}


# --- a thousand runs over a database that fails now and then ---------------------------------------------------------


class Faults:
    """One statement in `rarity` fails, before it ran or after, by an error or by the loss of the connection."""

    def __init__(self, seed: int, rarity: int) -> None:
        self.chance = random.Random(seed)
        self.rarity = rarity
        self.count = 0
        self.execute = type(db.obj).execute_sql

    def __call__(self, database: Any, sql: str, params: Any = None) -> Any:
        if self.chance.randrange(self.rarity):
            return self.execute(database, sql, params)
        self.count += 1
        kind = self.chance.randrange(3)
        if kind == 0:
            raise self.chance.choice(PASSING)
        if kind == 1:
            self.execute(database, sql, params)
            raise self.chance.choice(PASSING)
        self._cut(database)
        return self.execute(database, sql, params)

    def _cut(self, database: Any) -> None:
        """What a server or a network that went away leaves behind: a connection that answers no more."""
        connection = database.connection()
        if hasattr(connection, "_force_close"):  # pymysql's
            connection._force_close()
        else:
            raise self.chance.choice(PASSING)


def test_every_run_over_a_failing_database_succeeds(
    database: Any, fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, now = random_world(2, days=2)
    world.store()
    late = instant(now + 10 * 86400)
    daily.aggregate(late)
    yearly.refresh_years(late)
    computed, days = stored(), daily.days_to_recompute(late, None, None, 11)[-2:]
    AggregationJobLog.delete().execute()
    faults = Faults(seed=7, rarity=50)
    monkeypatch.setattr(type(db.obj), "execute_sql", lambda *arguments: faults(*arguments))
    raised = 0
    for number in range(RUNS):
        try:
            if number % 4:
                daily.recompute([days[number % 2]], late + timedelta(seconds=number), 1)
            else:
                yearly.refresh_years(late, [late.year])
        except Exception:
            raised += 1
    faults.rarity = 10**9
    succeeded = statuses().count(JobStatus.SUCCESS)
    assert faults.count > RUNS / 2
    assert (succeeded, raised) == (RUNS, 0)  # the bar is 999 of 1,000
    assert stored() == computed
    assert JobLease.select().count() == 0
