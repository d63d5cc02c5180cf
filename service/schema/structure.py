"""The structure of a MySQL or MariaDB database as text: taken before a migration, compared and restored after it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from service.errors import ServiceError
from service.schema.execution import change_schema
from service.schema.kept_rows import kept_tables
from service.schema.saying import Say
from service.schema.statements import OWN_TABLES, Statement

Structure = dict[str, str]  # table -> CREATE TABLE

COUNTER = re.compile(r" AUTO_INCREMENT=\d+")


class _Parts(NamedTuple):
    """The lines of a CREATE TABLE, by the names of what they define."""

    columns: dict[str, str]
    keys: dict[str, str]
    constraints: dict[str, str]


def structure(bound: Any) -> Structure:
    """CREATE TABLE of every table but those that the migrations themselves are kept in."""
    hidden = {*OWN_TABLES, *kept_tables(bound)}
    tables = [name for name in bound.get_tables() if name not in hidden]
    created = {name: bound.execute_sql(f"SHOW CREATE TABLE `{name}`").fetchone()[1] for name in tables}
    return {name: _in_order(COUNTER.sub("", text)) for name, text in created.items()}


def _in_order(create: str) -> str:
    """CREATE TABLE with its keys by name: the server lists them as they were made, and one that is made again last."""
    first, *lines = create.split("\n")
    end = next(number for number, line in enumerate(lines) if line.startswith(")"))
    body = [line.removesuffix(",") for line in lines[:end]]
    columns, others = ([line for line in body if line.startswith("  `") is column] for column in (True, False))
    return "\n".join([first, ",\n".join([*columns, *sorted(others, key=_rank)]), *lines[end:]])


def _rank(line: str) -> tuple[int, str]:
    kinds = ("  PRIMARY KEY", "  UNIQUE KEY", "", "  CONSTRAINT")
    return next((number for number, kind in enumerate(kinds) if kind and line.startswith(kind)), 2), line


def fingerprint(of: Mapping[str, str]) -> str:
    """The same for equal structures only."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def lost(before: Structure, now: Structure) -> list[str]:
    """Tables and columns that were `before` and are no more: their rows or values cannot be brought back."""
    gone = [f"table {name}" for name in before if name not in now]
    for table in before.keys() & now.keys():
        columns = _parts(now[table]).columns
        gone += [f"column {table}.{name}" for name in _parts(before[table]).columns if name not in columns]
    return sorted(gone)


def restore(bound: Any, before: Structure, say: Say, touched: Collection[str] | None = None) -> None:
    """Take back what was added since `before`, to the tables `touched` only, where these are known.

    Raises ServiceError, and changes nothing, where anything is lost.
    """
    now = structure(bound)
    if gone := lost(before, now):
        raise ServiceError(f"The schema cannot be restored: {', '.join(gone)} went.")
    if touched is not None:
        before, now = ({name: side[name] for name in side if name in touched} for side in (before, now))
    bound.execute_sql("SET SESSION foreign_key_checks = 0")
    try:
        for table in now.keys() - before.keys():
            change_schema(bound, Statement(f"DROP TABLE `{table}`"), say)
        for table in before:
            for sql in _back(table, _parts(before[table]), _parts(now[table])):
                change_schema(bound, Statement(sql), say)
    finally:
        bound.execute_sql("SET SESSION foreign_key_checks = 1")
    left = structure(bound)
    if changed := sorted(table for table in before if before[table] != left.get(table)):
        raise ServiceError(f"The schema could not be restored wholly: look at {', '.join(changed)}.")


def _back(table: str, before: _Parts, now: _Parts) -> Iterator[str]:
    """One ALTER TABLE, and one more for constraints, whose columns and keys must be there first."""
    clauses = [*_dropped(before, now), *_columns(before, now)]
    clauses += [f"ADD {line}" for name, line in before.keys.items() if now.keys.get(name) != line]
    added = [f"ADD {line}" for name, line in before.constraints.items() if now.constraints.get(name) != line]
    for part in (clauses, added):
        if part:
            yield f"ALTER TABLE `{table}` {', '.join(part)}".replace("%", "%%")


def _dropped(before: _Parts, now: _Parts) -> Iterator[str]:
    for name, line in now.constraints.items():
        if before.constraints.get(name) != line:
            yield f"DROP {'FOREIGN KEY' if ' FOREIGN KEY ' in line else 'CONSTRAINT'} `{name}`"
    for name, line in now.keys.items():
        if before.keys.get(name) != line:
            yield "DROP PRIMARY KEY" if name == "PRIMARY" else f"DROP KEY `{name}`"


def _columns(before: _Parts, now: _Parts) -> Iterator[str]:
    yield from (f"DROP COLUMN `{name}`" for name in now.columns if name not in before.columns)
    yield from (f"MODIFY COLUMN {line}" for name, line in before.columns.items() if now.columns[name] != line)


def _parts(create: str) -> _Parts:
    columns: dict[str, str] = {}
    keys: dict[str, str] = {}
    constraints: dict[str, str] = {}
    for line in (line.strip().removesuffix(",") for line in create.split("\n")[1:]):
        if line.startswith(")"):
            break
        if line.startswith("`"):
            columns[line.split("`")[1]] = line
        elif line.startswith("CONSTRAINT"):
            constraints[line.split("`")[1]] = line
        elif line.startswith("PRIMARY"):
            keys["PRIMARY"] = line
        else:
            keys[line.split("`")[1]] = line
    return _Parts(columns, keys, constraints)
