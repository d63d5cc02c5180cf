"""The query log: slow statements with who asked for them, and never with a value."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import broken_world
import pytest
from click.testing import CliRunner
from peewee import IntegrityError

from cli import main
from service import database as door
from service.config import Settings
from service.database import asking, db, fetch, fetch_prepared, is_mysql, upsert
from service.jobs.joblog import logged
from service.models import Park, Ride, ServiceState
from service.periods import iso_utc
from service.web.app import create_app
from wsgi_client import Client

SECRET = "Xanadu-4711"
NOW = datetime(2026, 3, 4, 20, tzinfo=UTC)
NEVER_MS = 3_600_000


@pytest.fixture
def logging_all(
    database: Any, settings: Settings, caplog: pytest.LogCaptureFixture
) -> Iterator[pytest.LogCaptureFixture]:
    """Every statement is slow: the limit is 0 ms."""
    reopen(settings, slow_query_ms=0)
    caplog.set_level(logging.DEBUG)
    yield caplog
    door.close()


def reopen(settings: Settings, **changes: Any) -> None:
    door.close()
    door.open_database(replace(settings, **changes))


def said(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    """What the log says of the statements with this part."""
    return [found for found in map(logging.LogRecord.getMessage, caplog.records) if part in found]


def keep(*names: str) -> None:
    columns = [ServiceState.name, ServiceState.value]
    upsert(ServiceState, columns, [(name, 1) for name in names], key=columns[:1])


def by_number(numbers: Any) -> Any:
    return Ride.select(Ride.name).where(Ride.ride_id << numbers)


def test_a_slow_statement_is_logged_once_with_placeholders_and_who_asked(
    logging_all: pytest.LogCaptureFixture,
) -> None:
    with asking("a tester"):
        assert list(Park.select().where(Park.name == SECRET)) == []
    (line,) = said(logging_all, "parks")
    assert line.startswith("slow query, ") and " ms, asked by a tester: SELECT " in line
    assert ("`name` = %s" if is_mysql() else '"name" = ?') in line
    assert SECRET not in logging_all.text


def test_bulk_reads_tell_their_rows(logging_all: pytest.LogCaptureFixture) -> None:
    keep("one", "two", "three")
    logging_all.clear()
    assert len(fetch(ServiceState.select().where(ServiceState.name << ["one", "two"]))) == 2
    (line,) = said(logging_all, "service_state")
    assert " ms, 2 rows, asked by " in line


def test_prepared_reads_are_logged_too(logging_all: pytest.LogCaptureFixture) -> None:
    assert fetch_prepared(by_number, [47_114_711]) == []
    (line,) = said(logging_all, "rides")
    assert " ms, 0 rows, asked by " in line
    assert "47114711" not in logging_all.text


def test_upserts_are_logged_too(logging_all: pytest.LogCaptureFixture) -> None:
    keep("one", SECRET)
    (line,) = said(logging_all, "INSERT")
    assert " ms, 2 rows, asked by " in line
    assert SECRET not in logging_all.text


def test_statements_that_fail_are_logged_without_the_error(logging_all: pytest.LogCaptureFixture) -> None:
    keep(SECRET)
    logging_all.clear()
    with pytest.raises(IntegrityError):
        ServiceState.insert({ServiceState.name: SECRET, ServiceState.value: 1}).execute()
    (line,) = said(logging_all, "INSERT")
    assert " ms, failed, asked by " in line
    logging_all.clear()
    columns = [ServiceState.name, ServiceState.value]
    with pytest.raises(IntegrityError):
        upsert(ServiceState, columns, [(SECRET, None)], key=columns[:1])
    (line,) = said(logging_all, "INSERT")
    assert " ms, failed, asked by " in line
    assert SECRET not in logging_all.text


def test_nothing_is_logged_below_the_limit(
    database: Any, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    reopen(settings, slow_query_ms=NEVER_MS)
    caplog.set_level(logging.DEBUG)
    keep("one")
    assert fetch(ServiceState.select()) and fetch_prepared(by_number, [1]) == []
    assert ServiceState.select().count()
    assert caplog.records == []


def test_the_time_of_reading_rows_counts(
    database: Any, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reopen(settings, slow_query_ms=1000)
    keep("one")
    execute = type(db.obj).execute_sql

    class Slow:
        perf_counter = staticmethod(lambda: read_at[-1])
        monotonic = staticmethod(door.time.monotonic)

    read_at = [0.0]

    def execute_then_wait(*arguments: Any) -> Any:
        cursor = execute(*arguments)
        read_at.append(7.5)
        return cursor

    monkeypatch.setattr(type(db.obj), "execute_sql", execute_then_wait)
    monkeypatch.setattr(door, "time", Slow)
    fetch(ServiceState.select())
    (line,) = said(caplog, "service_state")
    assert line.startswith("slow query, 7500.0 ms, ")


def test_echo_logs_every_statement_the_same_way(
    database: Any, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    reopen(settings, slow_query_ms=NEVER_MS, sql_echo=True)
    caplog.set_level(logging.INFO, "service.sql")
    with asking("a tester"):
        keep(SECRET)
        fetch(ServiceState.select().where(ServiceState.name == SECRET))
    write, read = said(caplog, "service_state")
    assert write.startswith("query, ") and " ms, 1 rows, asked by a tester: INSERT " in write
    assert read.startswith("query, ") and " ms, 1 rows, asked by a tester: SELECT " in read
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert SECRET not in caplog.text


# --- who asks --------------------------------------------------------------------------------------------------------


def askers(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {line.split("asked by ")[1].split(": ")[0] for line in said(caplog, "slow query")}


def test_a_path_asks_by_its_template(logging_all: pytest.LogCaptureFixture, settings: Settings) -> None:
    broken_world.store()
    api = Client(create_app(replace(settings, snapshot_interval_minutes=broken_world.INTERVAL)))
    day = "start=2025-05-17T00:00:00-07:00&end=2025-05-18T00:00:00-07:00"
    asked = {}
    for path, template in {
        "/api/parks/1/details?period=today": "/api/parks/<park_id>/details",
        "/api/rides/downtime?period=today": "/api/rides/downtime",
        "/api/health": "/api/health",
        f"/api/analytics/series?{day}&format=csv": "/api/analytics/series",  # is read while it is sent
    }.items():
        logging_all.clear()
        assert api.get(path).status == 200
        asked[template] = askers(logging_all)
    assert asked == {template: {template} for template in asked}
    assert len(said(logging_all, "SELECT")) > 2


def test_a_job_asks_by_its_name(logging_all: pytest.LogCaptureFixture) -> None:
    with asking("cli aggregate"):
        with logged("aggregate", NOW):
            list(Park.select())
        assert askers(logging_all) == {"job aggregate"}
        logging_all.clear()
        list(Park.select())
    assert askers(logging_all) == {"cli aggregate"}


def test_a_job_that_fails_asks_no_more(logging_all: pytest.LogCaptureFixture) -> None:
    with asking("a tester"):
        with pytest.raises(ValueError, match="no good"), logged("aggregate", NOW):
            raise ValueError("no good")
        logging_all.clear()
        list(Park.select())
    assert askers(logging_all) == {"a tester"}


def test_a_command_asks_by_its_name(database: Any, settings: Settings) -> None:
    environ = {"DATABASE_URL": settings.database_url, "SLOW_QUERY_MS": "0", "REPLAY_NOW": iso_utc(NOW)}
    result = CliRunner().invoke(main, ["jobs"], env=environ)
    assert result.exit_code == 0
    assert "asked by cli jobs: SELECT" in result.stderr
    assert door.asked_by.get() != "cli jobs"
