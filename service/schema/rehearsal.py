"""Runs migrations on an empty copy of the schema first: what cannot run is known before anything is touched, and what
they will do is known statement by statement."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from peewee import MySQLDatabase, PeeweeException, SqliteDatabase

from service import database
from service.errors import Unavailable
from service.schema import kept_rows
from service.schema.journal import Plan
from service.schema.router import Runs, naming
from service.schema.statements import Kind, Statement, Watch, unwatched
from service.schema.structure import fingerprint, structure

SUFFIX = "__rehearsal"
LONGEST_NAME = 64
ACCESS_DENIED = {1044, 1142, 1227}


def rehearse(bound: Any, folder: Path, names: Sequence[str], direction: str, applied: Sequence[str]) -> list[Plan]:
    """What each migration of `names` does, in this order, to a database that has those `applied`.

    Raises BadRequest for one that breaks the rules, ServiceError for one that fails.
    """
    with _copy(bound) as scratch:
        runs = Runs(scratch, folder)
        for name in applied:
            runs.record(name)
        return [_rehearse_one(runs, name, direction) for name in names]


def _rehearse_one(runs: Runs, name: str, direction: str) -> Plan:
    scratch, mysql = runs.bound, isinstance(runs.bound, MySQLDatabase)
    schema: list[tuple[Statement, str]] = []

    def run(statement: Statement) -> Any:
        result = unwatched(scratch, *statement)
        if mysql and statement.kind in (Kind.SCHEMA, Kind.FINAL):
            schema.append((statement, fingerprint(structure(scratch))))
        return result

    # SQLite takes everything back anyway, and rebuilds tables by copying rows.
    watch = Watch(name, direction, run, rules=mysql)
    with naming(name, "would fail, and was not begun"):
        runs.run(name, direction, watch, lambda _: None)
    if mysql:
        kept_rows.forget(scratch)  # a later migration may change the table, and its rows again
    return Plan(watch.seen, schema)


@contextmanager
def _copy(bound: Any) -> Iterator[Any]:
    with _mysql_copy(bound) if database.is_mysql() else _sqlite_copy(bound) as scratch:
        yield scratch


@contextmanager
def _sqlite_copy(bound: Any) -> Iterator[Any]:
    made = bound.execute_sql(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type = 'index'"
    ).fetchall()
    scratch: Any = SqliteDatabase(":memory:")
    with closing(scratch):
        for (sql,) in made:
            scratch.execute_sql(sql)
        yield scratch


def _name(live: str) -> str:
    """A name of 64 characters at most, another for each live database."""
    if len(live) + len(SUFFIX) <= LONGEST_NAME:
        return live + SUFFIX
    mark = hashlib.sha256(live.encode()).hexdigest()[:8]
    return f"{live[: LONGEST_NAME - len(mark) - len(SUFFIX)]}{mark}{SUFFIX}"


@contextmanager
def _mysql_copy(bound: Any) -> Iterator[Any]:
    """A database beside the live one, its tables without their rows; dropped in the end, and before if it was left."""
    name = _name(bound.database)
    created = structure(bound)
    character_set, collation = bound.execute_sql("SELECT @@character_set_database, @@collation_database").fetchone()
    try:
        bound.execute_sql(f"DROP DATABASE IF EXISTS `{name}`")
        bound.execute_sql(f"CREATE DATABASE `{name}` CHARACTER SET {character_set} COLLATE {collation}")
    except PeeweeException as error:
        if error.args[0] not in ACCESS_DENIED:
            raise
        raise Unavailable(
            f"This account may not create the database {name}, on which migrations are tried before they run:"
            f" GRANT ALL ON `{name}`.* to it, or use --no-rehearsal to do without that safety."
        ) from error
    scratch: Any = MySQLDatabase(name, **bound.connect_params)
    try:
        scratch.execute_sql("SET SESSION foreign_key_checks = 0")
        for sql in created.values():
            scratch.execute_sql(sql.replace("%", "%%"))
        scratch.execute_sql("SET SESSION foreign_key_checks = 1")
        yield scratch
    finally:
        scratch.close()
        bound.execute_sql(f"DROP DATABASE IF EXISTS `{name}`")
