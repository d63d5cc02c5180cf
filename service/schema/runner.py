"""Runs the migrations through peewee-migrate's Router, one process at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from peewee import PeeweeException
from peewee_migrate import Router
from peewee_migrate.models import MIGRATE_TABLE, MigrateHistory

from service import database
from service.config import Settings
from service.errors import BadRequest, ServiceError, Unavailable
from service.schema.files import find_folder, migration_names

LOCK_SECONDS = 30

log = logging.getLogger(__name__)


class _Router(Router):
    """peewee-migrate's own binds one model to whichever database came last: two Routers would share a history."""

    @cached_property
    def model(self) -> type[MigrateHistory]:
        """The history table of this database."""
        history: type[MigrateHistory] = _history(self.database)
        history.create_table(safe=True)
        return history


def _history(bound: Any) -> Any:
    meta = type("Meta", (), {"database": bound, "table_name": MIGRATE_TABLE})
    return type("History", (MigrateHistory,), {"Meta": meta})


def applied() -> list[str]:
    """Names of the migrations the open database has, in the order they ran."""
    history = _history(_bound())
    if not history.table_exists():
        return []
    return [name for (name,) in history.select(history.name).order_by(history.id).tuples()]


def pending(settings: Settings) -> list[str]:
    """Names of the migrations still to run, in order.

    Raises BadRequest for files that cannot be run, Unavailable when the database has others than these.
    """
    names, done = migration_names(settings), applied()
    _ensure_one_story(names, done)
    return [name for name in names if name not in done]


def ensure_current(settings: Settings) -> None:
    """Raise Unavailable unless the open database has all migrations."""
    waiting = pending(settings)
    if waiting:
        raise Unavailable(
            f"The database is not migrated ({len(waiting)} pending, the first is {waiting[0]}): run `cli migrate`."
        )


def upgrade(settings: Settings, announce: Callable[[str], None] = log.info) -> list[str]:
    """Run what is pending and return the names; `announce` is told each name before it runs.

    On SQLite all or nothing is kept. On MySQL and MariaDB each finished migration is kept.
    """
    with _alone():
        waiting = pending(settings)
        router = _Router(_bound(), migrate_dir=find_folder(settings))
        for name in waiting:
            announce(name)
            with _naming(name):
                router.run_one(name, router.migrator, fake=False)
    return waiting


def downgrade(settings: Settings, to: str | None = None, announce: Callable[[str], None] = log.info) -> list[str]:
    """Undo the newest migration, or all after number `to` ("000" undoes all). Returns the names undone, newest first.

    Raises BadRequest for a number that is not applied.
    """
    with _alone():
        names = _after(to, migration_names(settings), applied())
        for name in names:
            announce(name)
            # A fresh router: the models one has in mind after a rollback need not be those of the database.
            router = _Router(_bound(), migrate_dir=find_folder(settings))
            with _naming(name):
                router.run_one(name, router.migrator, fake=False, downgrade=True)
    return names


def _after(to: str | None, names: list[str], done: list[str]) -> list[str]:
    _ensure_one_story(names, done)
    if to is None:
        return done[-1:]
    numbers = [name[:3] for name in done]
    if to != "000" and to not in numbers:
        raise BadRequest(f"Migration {to!r} is not applied: choose 000 or one of {', '.join(numbers) or 'none'}.")
    return [name for name in reversed(done) if name[:3] > to]


def _ensure_one_story(names: list[str], done: list[str]) -> None:
    """Raise Unavailable when the files and the history of the database cannot be one line of migrations."""
    unknown = [name for name in done if name not in names]
    if unknown:
        raise Unavailable(
            f"The database has migrations that this release does not: {', '.join(unknown)}."
            " Run the release that made them, or undo them with its `cli migrate down`."
        )
    if sorted(set(done)) != done:
        raise Unavailable(f"The database's history has migrations twice or out of order: {', '.join(done)}.")
    late = [name for name in names if done and name < done[-1] and name not in done]
    if late:
        raise Unavailable(
            f"Migration {late[0]} has a lower number than {done[-1]}, which the database already has:"
            " give it the next free number."
        )


def _bound() -> Any:
    """The database itself: peewee-migrate tells the engines apart by its class, which the proxy hides."""
    return database.db.obj


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say which migration a failure is of. Whatever its body raises, the user needs the name and the reason."""
    try:
        yield
    except Exception as error:
        reason = str(error.args[-1]) if isinstance(error, PeeweeException) and error.args else str(error)
        raise ServiceError(f"Migration {name} failed: {reason or type(error).__name__}.") from error


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other processes from migrating, and keep SQLite from cascading. State is to be read inside."""
    with _named_lock() if database.is_mysql() else _exclusive_transaction():
        yield


@contextmanager
def _named_lock() -> Iterator[None]:
    bound = _bound()
    name = f"{bound.database}.migrate"[:64]
    if bound.execute_sql("SELECT GET_LOCK(%s, %s)", (name, LOCK_SECONDS)).fetchone()[0] != 1:
        raise Unavailable("Another process is migrating this database: wait until it has finished.")
    try:
        yield
    finally:
        bound.execute_sql("SELECT RELEASE_LOCK(%s)", (name,))


@contextmanager
def _exclusive_transaction() -> Iterator[None]:
    bound = _bound()
    # Rebuilding a parent table would delete its children, and inside a transaction the pragma does nothing.
    bound.pragma("foreign_keys", 0)
    try:
        with bound.atomic("EXCLUSIVE"):
            yield
            broken = bound.execute_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise ServiceError(f"The migration would leave rows without their parent, first in {broken[0][0]}.")
    finally:
        bound.pragma("foreign_keys", 1)
