"""One process at a time changes the schema. State is to be read inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from math import ceil
from time import monotonic
from typing import Any

from peewee import OperationalError, PeeweeException

from service import database
from service.errors import ServiceError, Unavailable
from service.schema.saying import SECONDS_BETWEEN_LINES, Say

WAIT_SECONDS = 3600


@contextmanager
def alone(bound: Any, say: Say, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Keep other processes from migrating; on SQLite also: all or nothing. Waits for another process, saying so.

    Raises Unavailable when it still migrates after `wait_seconds`.
    """
    with _named_lock(bound, say, wait_seconds) if database.is_mysql() else _one_transaction(bound, say, wait_seconds):
        yield


@contextmanager
def _named_lock(bound: Any, say: Say, wait_seconds: float) -> Iterator[None]:
    """GET_LOCK: unlike a transaction it outlives schema statements, unlike a row the process that holds it."""
    name = f"{bound.database}.migrate"[:64]
    deadline = monotonic() + wait_seconds
    while bound.execute_sql("SELECT GET_LOCK(%s, %s)", (name, _pause(deadline))).fetchone()[0] != 1:
        _still_waiting(say, deadline, _holder(bound, name))
    try:
        yield
    finally:
        with suppress(PeeweeException):  # a connection that is gone has released it
            bound.execute_sql("SELECT RELEASE_LOCK(%s)", (name,))


def _holder(bound: Any, name: str) -> str:
    """What the connection that holds the lock does. It may belong to a process that is gone: the server carries a
    statement on to its end."""
    found = bound.execute_sql(
        "SELECT id, host, time, LEFT(info, 80) FROM information_schema.processlist WHERE id = IS_USED_LOCK(%s)", (name,)
    ).fetchone()
    if found is None:
        return ""
    connection, host, seconds, statement = found
    return f" (connection {connection} from {host}, {statement or 'between statements'}, {seconds} s)"


@contextmanager
def _one_transaction(bound: Any, say: Say, wait_seconds: float) -> Iterator[None]:
    # Rebuilding a parent table would delete its children, and inside a transaction the pragma does nothing.
    bound.pragma("foreign_keys", 0)
    patience = bound.pragma("busy_timeout")
    deadline = monotonic() + wait_seconds
    try:
        with ExitStack() as stack:
            while not _entered(stack, bound, deadline):
                _still_waiting(say, deadline, "")
            before = _orphans(bound)
            yield
            if broken := _orphans(bound) - before:
                raise ServiceError(f"The migration would leave rows without their parent, first in {min(broken)}.")
    finally:
        bound.pragma("foreign_keys", 1)
        bound.pragma("busy_timeout", patience)


def _orphans(bound: Any) -> Counter[str]:
    """How many rows of each table point at none."""
    return Counter(row[0] for row in bound.execute_sql("PRAGMA foreign_key_check").fetchall())


def _entered(stack: ExitStack, bound: Any, deadline: float) -> bool:
    """Whether no other process was writing, and `stack` holds the exclusive transaction now."""
    bound.pragma("busy_timeout", _pause(deadline) * 1000)
    try:
        stack.enter_context(bound.atomic("EXCLUSIVE"))
        return True
    except OperationalError as error:
        if "locked" not in str(error):
            raise
        return False


def _pause(deadline: float) -> int:
    """Whole seconds to wait before the next line is due, or the time is up."""
    return max(0, min(SECONDS_BETWEEN_LINES, ceil(deadline - monotonic())))


def _still_waiting(say: Say, deadline: float, holder: str) -> None:
    if monotonic() > deadline:
        raise Unavailable(f"Another process is migrating this database{holder}: try again when it has finished.")
    say(f"Waiting for another process that is migrating this database{holder}.")
