"""The door: sessions of MySQL and MariaDB, locks of SQLite, upserts, and errors in one sentence."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from peewee import OperationalError, PeeweeException

from service import database as door
from service.config import Settings
from service.database import db, explained, fetch, upsert
from service.errors import BadRequest, Unavailable, Unreachable
from service.models import ServiceState

COLUMNS = [ServiceState.name, ServiceState.value]


@pytest.fixture
def server(mariadb: Any) -> Iterator[Any]:
    """The private MariaDB; what a test opened is closed."""
    yield mariadb
    door.close()


def opened(url: str, **options: Any) -> None:
    door.open_database(Settings(database_url=url, statement_timeout_seconds=1), **options)
    door.check_server()


def test_a_percent_encoded_password_works(server: Any) -> None:
    password = "p@ss/w:rd%#?é"
    url = server.url(server.create_database("secrets"))
    with server.connect("secrets") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE USER 'odd user'@'%%' IDENTIFIED BY %s", (password,))
        cursor.execute("GRANT ALL ON secrets.* TO 'odd user'@'%'")
    opened(url.replace("root@", f"odd%20user:{quote(password, safe='')}@"))
    assert fetch_one("SELECT CURRENT_USER()") == "odd user@%"


def test_a_session_is_utc_and_has_a_time_out(server: Any) -> None:
    opened(server.url(server.create_database("session")))
    assert fetch_one("SELECT @@SESSION.time_zone") == "+00:00"
    assert float(fetch_one("SELECT @@SESSION.max_statement_time")) == 1
    with pytest.raises(PeeweeException) as caught:
        db.execute_sql("SELECT SLEEP(5), COUNT(*) FROM information_schema.columns a, information_schema.columns b")
    assert "time-out" in str(explained(caught.value))
    assert isinstance(explained(caught.value), Unavailable)
    assert fetch_one("SELECT 1") == 1  # the connection is still good


def test_schema_changes_have_no_time_out(server: Any) -> None:
    opened(server.url(server.create_database("session")), time_limit=False)
    assert float(fetch_one("SELECT @@SESSION.max_statement_time")) == 0


def test_a_server_that_cuts_values_silently_is_refused(server: Any) -> None:
    url = server.url(server.create_database("lax"))
    with server.connect("lax") as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL sql_mode = 'NO_ENGINE_SUBSTITUTION'")
    try:
        with pytest.raises(Unavailable, match="STRICT_TRANS_TABLES"):
            opened(url)
    finally:
        with server.connect("lax") as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL sql_mode = DEFAULT")


def test_a_read_only_session_cannot_write(database: Any, settings: Settings) -> None:
    door.open_database(settings, read_only=True)
    with pytest.raises(PeeweeException):
        ServiceState.insert({ServiceState.name: "x", ServiceState.value: 1}).execute()
    assert fetch(ServiceState.select(ServiceState.name)) is not None
    door.close()


def test_upsert_inserts_and_replaces(database: Any) -> None:
    rows = [(f"name {number}", number) for number in range(2500)]
    assert upsert(ServiceState, COLUMNS, rows, key=COLUMNS[:1]) == 2500
    assert upsert(ServiceState, COLUMNS, [("name 7", 700), ("new", 1)], key=COLUMNS[:1]) == 2
    assert ServiceState.get(ServiceState.name == "name 7").value == 700
    assert ServiceState.select().where(ServiceState.name.startswith("n")).count() >= 2501


def test_a_reader_sees_one_moment(database: Any) -> None:
    upsert(ServiceState, COLUMNS, [("seen", 1)], key=COLUMNS[:1])

    def write() -> None:
        upsert(ServiceState, COLUMNS, [("seen", 2)], key=COLUMNS[:1])
        db.close()

    with door.reading():
        assert ServiceState.get(ServiceState.name == "seen").value == 1
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(20)
        assert not writer.is_alive()  # readers do not hold up writers
        assert ServiceState.get(ServiceState.name == "seen").value == 1
    assert ServiceState.get(ServiceState.name == "seen").value == 2


def test_two_writers_that_read_first_both_succeed(database: Any) -> None:
    upsert(ServiceState, COLUMNS, [("sum", 0)], key=COLUMNS[:1])
    errors: list[Exception] = []

    def add() -> None:
        try:
            for _ in range(20):
                with db.atomic():
                    query = ServiceState.select(ServiceState.value).where(ServiceState.name == "sum")
                    value = fetch(query.for_update() if door.is_mysql() else query)[0][0]
                    upsert(ServiceState, COLUMNS, [("sum", value + 1)], key=COLUMNS[:1])
        except Exception as error:
            errors.append(error)
        finally:
            db.close()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert ServiceState.get(ServiceState.name == "sum").value == 80


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://localhost/x", "sqlite:///"),
        ("sqlite://x.db", "sqlite:///relative"),
        ("mysql://root@localhost", "names no database"),
        ("mysql://root@localhost:port/x", "port"),
        ("mysql://[::1/x", "not a URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        door.open_database(Settings(database_url=url))


def test_an_unreachable_server_is_said_in_one_sentence() -> None:
    door.open_database(Settings(database_url="mysql://root@127.0.0.1:9/nothing"))
    with pytest.raises(Unreachable, match="cannot be reached"):
        door.check_server()


def test_slow_queries_are_logged_without_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    door.open_database(Settings(database_url=f"sqlite:///{tmp_path / 'slow.db'}", slow_query_ms=0))
    with caplog.at_level(logging.WARNING, logger="service.sql"):
        db.execute_sql("SELECT ?", ("secret",))
    assert "SELECT ?" in caplog.text and "secret" not in caplog.text
    door.close()


def test_any_other_error_is_explained_too() -> None:
    assert "refused" in str(explained(OperationalError("near \"SELEC\": syntax error")))


def test_a_rollback_that_fails_does_not_hide_the_reason() -> None:
    try:
        try:
            raise OperationalError("database or disk is full")
        finally:
            raise OperationalError("cannot rollback - no transaction is active")
    except OperationalError as error:
        found = explained(error)
    assert isinstance(found, Unavailable) and "disk is full" in str(found)


def fetch_one(sql: str) -> Any:
    return db.execute_sql(sql).fetchone()[0]
