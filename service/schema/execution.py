"""Executing one statement on a live MySQL or MariaDB database: nobody waits long for it, and it says how far it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any

from peewee import MySQLDatabase, OperationalError, PeeweeException

from service import database
from service.schema.saying import SECONDS_BETWEEN_LINES, Say
from service.schema.statements import Statement, unwatched

# A change of a table waits until no open transaction uses it, and everybody else waits behind the change: so it gives
# up after a second, lets them pass, and tries again.
LOCK_SECONDS = 1
ATTEMPTS = 60
LOCK_TIMEOUT = 1205

FIRST_LINE_SECONDS = 3


@contextmanager
def patience(bound: Any) -> Iterator[None]:
    """Let statements of this connection wait for a table's lock for a second only."""
    if not database.is_mysql():
        yield
        return
    bound.execute_sql(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
    try:
        yield
    finally:
        with suppress(PeeweeException):  # a connection that is gone needs no such care
            bound.execute_sql("SET SESSION lock_wait_timeout = DEFAULT")


def change_schema(bound: Any, statement: Statement, say: Say) -> Any:
    """Execute `statement`, again and again while others use its table, with lines of progress."""
    with _progress(bound, say):
        for attempt in range(1, ATTEMPTS + 1):
            started = monotonic()
            try:
                return unwatched(bound, *statement)
            except OperationalError as error:
                if error.args[0] != LOCK_TIMEOUT or attempt == ATTEMPTS:
                    raise
                spent = f"after {monotonic() - started:.0f} s, which are lost, " if monotonic() - started > 2 else ""
                say(f"  {spent}somebody uses the table{_oldest_transaction(bound)}: letting them pass, then again")
                sleep(min(attempt, 5))
    raise AssertionError("not reached")


def _oldest_transaction(bound: Any) -> str:
    """Who is the likeliest to use the table, where this account may know."""
    with suppress(PeeweeException):
        found = unwatched(
            bound,
            "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) FROM information_schema.innodb_trx"
            " WHERE trx_mysql_thread_id <> CONNECTION_ID() ORDER BY trx_started LIMIT 1",
        ).fetchone()
        return f" (the oldest transaction is of connection {found[0]}, for {found[1]} s)" if found else ""
    return ""


@contextmanager
def _progress(bound: Any, say: Say) -> Iterator[None]:
    """Lines about the statement that this connection executes meanwhile, from a thread with a connection of its own."""
    done = threading.Event()
    (connection,) = unwatched(bound, "SELECT CONNECTION_ID()").fetchone()
    thread = threading.Thread(target=_report, args=(bound, connection, done, say), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _report(bound: Any, connection: int, done: threading.Event, say: Say) -> None:
    started = monotonic()
    if done.wait(FIRST_LINE_SECONDS):
        return
    observer = MySQLDatabase(bound.database, **bound.connect_params)
    try:
        say_again = True
        while say_again:
            say(f"  {_stage(observer, connection)}{monotonic() - started:.0f} s")
            say_again = not done.wait(SECONDS_BETWEEN_LINES)
    except PeeweeException as error:
        say(f"  (its progress cannot be followed: {error})")
    finally:
        observer.close()


def _stage(observer: Any, connection: int) -> str:
    """How far the server says it is, such as "altering table, stage 1 of 2, 34 %, "; MySQL does not tell."""
    columns = [row[0].lower() for row in observer.execute_sql("SHOW COLUMNS FROM information_schema.processlist")]
    if "progress" not in columns:
        return ""
    row = observer.execute_sql(
        "SELECT state, stage, max_stage, progress FROM information_schema.processlist WHERE id = %s", (connection,)
    ).fetchone()
    if row is None or not row[2]:
        return f"{row[0]}, " if row and row[0] else ""
    return f"{row[0]}, stage {row[1]} of {row[2]}, {float(row[3]):.0f} %, "
