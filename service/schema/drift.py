"""How the live schema differs from the models: what a migration forgot, or a hand has changed.

A difference can spoil data or break statements, so nothing starts on it. A missing index only makes answers slow: that
is a warning. What was added and can do neither does not count: tables without a model, and indexes that are not unique.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from peewee import Model

from service import database
from service.errors import Unavailable
from service.models import ALL_MODELS
from service.schema import shape
from service.schema.shape import Column, Index, Shape


class Drift(NamedTuple):
    """Sentences, each naming what the database has, what the models say, and the remedy where it is safe to name one.

    `differences` stop the service, `warnings` do not.
    """

    differences: list[str]
    warnings: list[str]


def compare(models: Iterable[type[Model]] = ALL_MODELS) -> Drift:
    """How the open database differs from `models`, read once."""
    declared = {shape.table_name(model): shape.declared(model) for model in models}
    live = shape.live([name for name, wanted in declared.items() if wanted.foreign_keys])
    drift = Drift([], [])
    for table, wanted in declared.items():
        if table in live:
            drift.differences.extend(_differences(table, live[table], wanted))
            drift.warnings.extend(_warnings(table, live[table], wanted))
        else:
            drift.differences.append(f"table {table} is missing")
    return drift


def differences(models: Iterable[type[Model]] = ALL_MODELS) -> list[str]:
    """The differences of `compare`; empty when the service can start."""
    return compare(models).differences


def ensure_equal() -> list[str]:
    """The warnings of `compare`. Raises Unavailable, naming every difference, if there is one."""
    drift = compare()
    if drift.differences:
        raise Unavailable(
            f"The database differs from the models: {'; '.join(drift.differences)}."
            " Either something was changed by hand, or a migration was cut short."
        )
    return drift.warnings


def _differences(table: str, live: Shape, wanted: Shape) -> Iterator[str]:
    yield from _table_differences(table, live, wanted)
    for name in _either(live.columns, wanted.columns):
        yield from _column_differences(table, name, live.columns.get(name), wanted.columns.get(name))
    if live.key != wanted.key:
        yield f"primary key of {table} is {_listed(live.key)}, models say {_listed(wanted.key)}"
    for columns in _either(live.indexes, wanted.indexes):
        if _uniqueness(live, columns) != _uniqueness(wanted, columns) and _matters(live, wanted, columns):
            yield _index_sentence(table, columns, live, wanted)
    for column in _either(live.foreign_keys, wanted.foreign_keys):
        keys = [" and ".join(sorted(side.foreign_keys.get(column, ["none"]))) for side in (live, wanted)]
        if keys[0] != keys[1]:
            yield f"foreign key of {table}.{column} is {keys[0]}, models say {keys[1]}"


def _warnings(table: str, live: Shape, wanted: Shape) -> Iterator[str]:
    for columns in wanted.indexes:
        if columns not in live.indexes and not _matters(live, wanted, columns):
            yield _index_sentence(table, columns, live, wanted)


def _table_differences(table: str, live: Shape, wanted: Shape) -> Iterator[str]:
    if live.storage != wanted.storage:
        remedy = _remedy(f"ALTER TABLE {table} ENGINE={wanted.storage}") if database.is_mysql() else ""
        yield f"table {table} is {live.storage}, models say {wanted.storage}{remedy}"
    if live.collation != wanted.collation:
        yield f"table {table} is {live.collation}, models say {wanted.collation}{_converted(table, wanted)}"


def _column_differences(table: str, name: str, live: Column | None, wanted: Column | None) -> Iterator[str]:
    sides = [str(side or "missing") for side in (live, wanted)]
    if sides[0] != sides[1]:
        yield f"column {table}.{name} is {sides[0]}, models say {sides[1]}"
    collations = {side.collation for side in (live, wanted) if side and side.collation}
    if live and wanted and len(collations) > 1:
        yield f"column {table}.{name} is {live.collation}, models say {wanted.collation}{_converted(table, wanted)}"


def _matters(live: Shape, wanted: Shape, columns: tuple[str, ...]) -> bool:
    """Without a unique index upserts double rows, with one too many writes fail. Any other is a matter of speed."""
    return any(side.indexes[columns].unique for side in (live, wanted) if columns in side.indexes)


def _index_sentence(table: str, columns: tuple[str, ...], live: Shape, wanted: Shape) -> str:
    is_, should = _uniqueness(live, columns), _uniqueness(wanted, columns)
    remedy = _index_remedy(table, columns, live, wanted.indexes.get(columns))
    return f"index {table} {_listed(columns)} is {is_}, models say {should}{remedy}"


def _index_remedy(table: str, columns: tuple[str, ...], live: Shape, wanted: Index | None) -> str:
    """Makes room, also where another index has the name, then adds; nothing for an index that cannot be dropped."""
    in_the_way = [index.name for at, index in live.indexes.items() if at == columns or index.name == _name(wanted)]
    if any(name.startswith("sqlite_") for name in in_the_way):  # of a constraint: it goes with its table only
        return ""
    steps = [f"DROP INDEX `{name}`" for name in in_the_way]
    if wanted:
        target = "" if database.is_mysql() else f" ON {table}"
        verb = f"{'ADD' if database.is_mysql() else 'CREATE'} {'UNIQUE ' if wanted.unique else ''}INDEX"
        steps.append(f"{verb} `{wanted.name}`{target} {_listed(columns)}")
    return _remedy(f"ALTER TABLE {table} {', '.join(steps)}" if database.is_mysql() else "; ".join(steps))


def _name(index: Index | None) -> str | None:
    return index.name if index else None


def _converted(table: str, wanted: Shape | Column) -> str:
    charset = str(wanted.collation).partition("_")[0]
    return _remedy(f"ALTER TABLE {table} CONVERT TO CHARACTER SET {charset} COLLATE {wanted.collation}")


def _remedy(sql: str) -> str:
    return f" (remedy: {sql})"


def _uniqueness(side: Shape, columns: tuple[str, ...]) -> str:
    index = side.indexes.get(columns)
    return "missing" if index is None else "unique" if index.unique else "not unique"


def _either(live: dict[Any, Any], wanted: dict[Any, Any]) -> list[Any]:
    """The keys of both, those of the models first."""
    return [*wanted, *(key for key in live if key not in wanted)]


def _listed(columns: tuple[str, ...]) -> str:
    return f"({', '.join(columns)})"
