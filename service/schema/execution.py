"""The session that migrations run in, and executing one statement in it: nobody waits long for it, and it says how far
it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any

from peewee import MySQLDatabase, OperationalError, PeeweeException

from service import database
from service.errors import ServiceError
from service.schema.saying import SECONDS_BETWEEN_LINES, Say
from service.schema.statements import Statement, unwatched

# A change of a table waits until no open transaction uses it, and everybody else waits behind the change: so it gives
# up after a second, lets them pass, and tries again.
LOCK_SECONDS = 1
ATTEMPTS = 60
LOCK_TIMEOUT = 1205

FIRST_LINE_SECONDS = 3

# Under these the server quotes names, or backslashes, otherwise than we read and write them, or leaves settings of
# tables out of SHOW CREATE TABLE. The second line stands for sets of others, which the server adds by itself.
MISLEADING_MODES = {
    "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "NO_KEY_OPTIONS", "NO_TABLE_OPTIONS", "NO_FIELD_OPTIONS",
    "ANSI", "DB2", "MAXDB", "MSSQL", "MYSQL323", "MYSQL40", "ORACLE", "POSTGRESQL",
}  # fmt: skip

# What a function of a migration finds shut: each would end the transaction, or reach the server past the watch.
SHUT = ("begin", "commit", "rollback", "cursor", "connection", "close")


@contextmanager
def patience(bound: Any) -> Iterator[None]:
    """Let statements of this connection wait for a table's lock for a second only, in a session fit for migrations."""
    if not database.is_mysql():
        yield
        return
    fresh_session(bound)
    bound.execute_sql(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
    try:
        yield
    finally:
        with suppress(PeeweeException):  # a connection that is gone needs no such care
            bound.execute_sql("SET SESSION lock_wait_timeout = DEFAULT, sql_mode = DEFAULT")


def fresh_session(bound: Any) -> None:
    """Give the session of a MySQL or MariaDB connection the settings that every migration begins with, whatever the one
    before it set. Not inside a transaction."""
    if not isinstance(bound, MySQLDatabase):
        return
    unwatched(bound, "SET SESSION foreign_key_checks = 1, unique_checks = 1, autocommit = 1, sql_mode = DEFAULT")
    (modes,) = unwatched(bound, "SELECT @@SESSION.sql_mode").fetchone()
    kept = [mode for mode in modes.split(",") if mode.upper() not in MISLEADING_MODES]
    unwatched(bound, "SET SESSION sql_mode = %s", (",".join(kept),))


@contextmanager
def bar_commits(bound: Any) -> Iterator[None]:
    """Meanwhile `bound` can neither commit nor be reached past its `execute_sql`; models and atomic() go through that.

    Whoever tries gets a ServiceError.
    """
    send, had = bound.execute_sql, "execute_sql" in vars(bound)

    def execute(*args: Any, **kwargs: Any) -> Any:
        opened = {name: vars(bound).pop(name) for name in SHUT if name in vars(bound)}
        try:
            return send(*args, **kwargs)
        finally:
            vars(bound).update(opened)

    vars(bound).update({name: _refuser(name) for name in SHUT}, execute_sql=execute)
    try:
        yield
    finally:
        for name in SHUT:
            del vars(bound)[name]
        if had:
            bound.execute_sql = send
        else:
            del bound.execute_sql


def _refuser(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ServiceError(
            f"a migration's function may not commit, nor go round the guard: it calls database.{name}(), where"
            " database.execute_sql, models and database.atomic() may be used"
        )

    return refuse


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
