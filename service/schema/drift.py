"""How the live schema differs from the models: what a migration forgot, or a hand has changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

from peewee import Field, ForeignKeyField, Model

from service import database
from service.errors import Unavailable
from service.models import ALL_MODELS

# What engines answer when asked for a type that has several names, or whose width means nothing.
SAME_TYPE = {"integer": "int", "bool": "tinyint(1)", "double precision": "double", "numeric": "decimal"}
WIDTH = re.compile(r"^(tinyint|smallint|mediumint|int|bigint)\((?!1\))\d+\)")


class ForeignKey(NamedTuple):
    """Where a column points, and what happens to its row when that is deleted."""

    table: str
    column: str
    on_delete: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column} ON DELETE {self.on_delete}"


class Shape(NamedTuple):
    """A table as the database or a model has it: column -> (type, null), columns of an index -> unique."""

    columns: dict[str, tuple[str, bool]]
    key: tuple[str, ...]
    indexes: dict[tuple[str, ...], bool]
    foreign_keys: dict[str, ForeignKey]


def differences(models: Iterable[type[Model]] = ALL_MODELS) -> list[str]:
    """One sentence for each difference between the open database and `models`, naming both sides; empty when equal.

    Tables without a model, names of indexes and defaults do not count.
    """
    tables = set(database.db.get_tables())
    found: list[str] = []
    for model in models:
        name = _meta(model).table_name
        if name in tables:
            found += _compare(name, _live(name), _wanted(model))
        else:
            found.append(f"table {name} is missing")
    return found


def ensure_equal() -> None:
    """Raise Unavailable, naming every difference, unless the open database has the schema of the models."""
    found = differences()
    if found:
        raise Unavailable(
            f"The database differs from the models: {'; '.join(found)}. Either something was changed by hand, or a"
            " migration was cut short, or (all foreign keys missing) this account lacks the grant REFERENCES."
        )


def _compare(table: str, live: Shape, wanted: Shape) -> Iterator[str]:
    yield from _compare_columns(table, live.columns, wanted.columns)
    if live.key != wanted.key:
        yield f"primary key of {table} is {_listed(live.key)}, models say {_listed(wanted.key)}"
    for columns in _either(live.indexes, wanted.indexes):
        sides = [_uniqueness(side.get(columns)) for side in (live.indexes, wanted.indexes)]
        if sides[0] != sides[1]:
            yield f"index {table} {_listed(columns)} is {sides[0]}, models say {sides[1]}"
    for column in _either(live.foreign_keys, wanted.foreign_keys):
        keys = [side.get(column, "none") for side in (live.foreign_keys, wanted.foreign_keys)]
        if keys[0] != keys[1]:
            yield f"foreign key of {table}.{column} is {keys[0]}, models say {keys[1]}"


def _compare_columns(
    table: str, live: dict[str, tuple[str, bool]], wanted: dict[str, tuple[str, bool]]
) -> Iterator[str]:
    for column in _either(live, wanted):
        sides = [_described(side.get(column)) for side in (live, wanted)]
        if sides[0] != sides[1]:
            yield f"column {table}.{column} is {sides[0]}, models say {sides[1]}"


def _either(live: dict[Any, Any], wanted: dict[Any, Any]) -> list[Any]:
    """The keys of both, those of the models first."""
    return [*wanted, *(key for key in live if key not in wanted)]


def _described(column: tuple[str, bool] | None) -> str:
    return "missing" if column is None else f"{column[0]} {'NULL' if column[1] else 'NOT NULL'}"


def _uniqueness(unique: bool | None) -> str:
    return "missing" if unique is None else "unique" if unique else "not unique"


def _listed(columns: tuple[str, ...]) -> str:
    return f"({', '.join(columns)})"


def _live(table: str) -> Shape:
    bound = database.db
    return Shape(
        {column.name: (_type(column.full_type), column.null) for column in bound.get_columns(table)},
        tuple(bound.get_primary_keys(table)),
        {
            tuple(index.columns): index.unique
            for index in bound.get_indexes(table)
            if index.name != "PRIMARY" and not index.name.startswith("sqlite_autoindex")
        },
        {
            key.column: ForeignKey(key.dest_table, key.dest_column, _on_delete(key.on_delete))
            for key in bound.get_foreign_keys(table)
        },
    )


def _wanted(model: type[Model]) -> Shape:
    meta = _meta(model)
    fields = cast("list[Field[Any]]", meta.sorted_fields)
    return Shape(
        {field.column_name: (_declared(field), bool(field.null)) for field in fields},
        tuple(field.column_name for field in meta.get_primary_keys()),
        {
            tuple(field.column_name for field in index._expressions): bool(index._unique)
            for index in meta.fields_to_index()
        },
        {
            field.column_name: ForeignKey(
                _meta(field.rel_model).table_name, field.rel_field.column_name, _on_delete(field.on_delete)
            )
            for field in fields
            if isinstance(field, ForeignKeyField)
        },
    )


def _meta(model: type[Model]) -> Any:
    return cast("Any", model)._meta


def _declared(field: Field[Any]) -> str:
    """The type that creating this field's column would ask for."""
    context = database.db.get_sql_context()
    return _type(context.sql(cast("Any", field).ddl_datatype(context)).query()[0])


def _type(name: str) -> str:
    name = name.strip().lower().replace(", ", ",").removesuffix(" auto_increment")
    name = WIDTH.sub(r"\1", name)
    base, bracket, rest = name.partition("(")
    return SAME_TYPE.get(name) or SAME_TYPE.get(base, base) + bracket + rest


def _on_delete(rule: str | None) -> str:
    """InnoDB says RESTRICT where nothing was asked for; the two do the same there."""
    return "NO ACTION" if rule in (None, "RESTRICT") else str(rule)
