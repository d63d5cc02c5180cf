"""Changing rows of large tables on MySQL and MariaDB: in batches, each its own transaction, the old rows kept aside.

One transaction over 100 M rows would hold its locks for an hour and swell the undo log; batches alone could not be
taken back. So a batch first copies the rows it is about to change into `<table>__kept`. A run that was killed goes on
behind the last row kept; one that failed puts the kept rows back.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any, NamedTuple

from service.errors import ServiceError
from service.schema.saying import SECONDS_BETWEEN_LINES, Say
from service.schema.statements import KEPT, Statement, unwatched

SUFFIX = "__kept"
BATCH_ROWS = 5_000


class Change(NamedTuple):
    """An UPDATE of the rows `where`, or without `values` their DELETE. `values` are pairs of a column and its SQL."""

    table: str
    where: str
    values: tuple[tuple[str, str], ...] = ()

    @property
    def sql(self) -> str:
        """The change as one statement."""
        given = ", ".join(f"{column} = {value}" for column, value in self.values)
        verb = f"UPDATE {self.table} SET {given}" if given else f"DELETE FROM {self.table}"  # nosec B608
        return f"{verb} WHERE {self.where}"

    @property
    def statement(self) -> Statement:
        """What the rules for migrations see."""
        return Statement(KEPT + self.sql)


class _Table(NamedTuple):
    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def kept(self) -> str:
        return self.name + SUFFIX

    @property
    def lead(self) -> str:
        """The first column of the key, along which the table is walked."""
        return self.key[0]


def carry_out(bound: Any, change: Change, say: Say) -> None:
    """Make `change` batch by batch inside the open transaction of `bound`, which is committed after each.

    Raises ServiceError for a table whose rows could not be put back.
    """
    table = _table(bound, change.table)
    change = _escaped(change)
    _ensure_kept(bound, table, change)
    transaction = bound.top_transaction()
    transaction.commit()  # creating a table has ended it
    started = said = monotonic()
    rows = 0
    for low, high in _ranges(bound, table, table.name, _reached(bound, table)):
        rows += _change_batch(bound, table, change, low, high)
        transaction.commit()
        if monotonic() - said > SECONDS_BETWEEN_LINES:
            said = monotonic()
            say(f"  {table.name}: {rows:,} rows changed, now at {table.lead} {high}, {said - started:.0f} s")


def put_back(bound: Any, say: Say) -> None:
    """Give all kept rows their old values again. Can be killed, and run again."""
    for name in kept_tables(bound):
        table = _table(bound, name.removesuffix(SUFFIX))
        say(f"  {table.name}: putting its rows back")
        back = _back(table, _changed(bound, table))
        for low, high in _ranges(bound, table, name, None):
            limits, values = _limits(table, low, high)
            unwatched(bound, back.format(limits=limits), values)
        unwatched(bound, f"DROP TABLE `{name}`")


def forget(bound: Any) -> None:
    """Drop what is kept: the migration has succeeded."""
    for name in kept_tables(bound):
        unwatched(bound, f"DROP TABLE `{name}`")


def kept_tables(bound: Any) -> list[str]:
    """The tables that hold kept rows."""
    return [name for name in bound.get_tables() if name.endswith(SUFFIX)]


def _escaped(change: Change) -> Change:
    """A % would be the driver's own on this engine, and is not on the other."""
    values = tuple((column, value.replace("%", "%%")) for column, value in change.values)
    return change._replace(where=change.where.replace("%", "%%"), values=values)


# --- one batch -------------------------------------------------------------------------------------------------------


def _change_batch(bound: Any, table: _Table, change: Change, low: Any, high: Any) -> int:
    limits, values = _limits(table, low, high)
    where = f"({change.where}) AND {limits}"
    # The copying locks what it reads until the commit: nobody changes these rows, or adds one, in between.
    copy = f"INSERT INTO `{table.kept}` SELECT * FROM `{table.name}` WHERE {where}"  # nosec B608: names of the catalog
    rows: int = unwatched(bound, copy, values).rowcount
    if rows:
        unwatched(bound, change._replace(where=where).sql, values)
    return rows


def _ranges(bound: Any, table: _Table, source: str, low: Any) -> Iterator[tuple[Any, Any]]:
    """The values of the leading column of `source` after `low` as (after, up to), BATCH_ROWS rows or a little more
    each; the last one has no end."""
    key = ", ".join(f"`{column}`" for column in table.key)
    while True:
        limits, values = _limits(table, low, None)
        found = f"SELECT `{table.lead}` FROM `{source}` WHERE {limits}"  # nosec B608
        high = unwatched(bound, f"{found} ORDER BY {key} LIMIT 1 OFFSET {BATCH_ROWS}", values).fetchone()
        yield low, high and high[0]
        if high is None:
            return
        low = high[0]


def _limits(table: _Table, low: Any, high: Any) -> tuple[str, list[Any]]:
    """The condition `low < leading column <= high`, without the side that is None, and its values."""
    sides = [(f"`{table.lead}` {sign} %s", side) for sign, side in ((">", low), ("<=", high)) if side is not None]
    return " AND ".join(text for text, _ in sides) or "TRUE", [side for _, side in sides]


def _back(table: _Table, changed: list[str]) -> str:
    """Puts the kept rows of `{limits}` back: the old values of the columns changed, or else the rows deleted."""
    if changed:
        given = ", ".join(f"live.`{column}` = kept.`{column}`" for column in changed)
        key = ", ".join(f"`{column}`" for column in table.key)
        kept = f"(SELECT * FROM `{table.kept}` WHERE {{limits}})"  # nosec B608
        return f"UPDATE `{table.name}` live JOIN {kept} kept USING ({key}) SET {given}"  # nosec B608
    columns = ", ".join(f"`{column}`" for column in table.columns)
    return (
        f"INSERT INTO `{table.name}` ({columns}) SELECT {columns} FROM `{table.kept}` WHERE {{limits}}"  # nosec B608
        f" ON DUPLICATE KEY UPDATE `{table.name}`.`{table.lead}` = `{table.name}`.`{table.lead}`"
    )


# --- the table of kept rows ------------------------------------------------------------------------------------------


def _table(bound: Any, name: str) -> _Table:
    key = tuple(bound.get_primary_keys(name))
    if not key:
        raise ServiceError(f"Table {name} has no primary key: its rows cannot be changed in batches.")
    return _Table(name, key, tuple(column.name for column in bound.get_columns(name)))


def _ensure_kept(bound: Any, table: _Table, change: Change) -> None:
    """Create the table unless a run that was killed has. Its comment names the columns that change."""
    if table.kept in bound.get_tables():
        return
    _ensure_can_go_back(bound, table, change)
    key = ", ".join(f"`{column}`" for column in table.key)
    changed = ",".join(column for column, _ in change.values)
    unwatched(
        bound,
        f"CREATE TABLE `{table.kept}` (PRIMARY KEY ({key})) COMMENT = '{changed}'"
        f" AS SELECT * FROM `{table.name}` WHERE FALSE",  # nosec B608
    )


def _ensure_can_go_back(bound: Any, table: _Table, change: Change) -> None:
    """A row finds its old self by its key, and another may have taken the old value of a unique column; rows that go
    with those they belong to would not be kept."""
    unique = {*table.key, *(name for index in bound.get_indexes(table.name) if index.unique for name in index.columns)}
    moved = [column for column, _ in change.values if column.strip("`") in unique]
    if moved:
        raise ServiceError(f"{table.name}.{moved[0]} is in a unique index: it cannot be changed in batches.")
    if change.values:
        return
    children = unwatched(
        bound,
        "SELECT table_name FROM information_schema.referential_constraints"
        " WHERE constraint_schema = DATABASE() AND referenced_table_name = %s",
        (table.name,),
    ).fetchall()
    if children:
        raise ServiceError(
            f"Rows of {table.name} cannot be deleted in batches: those of {children[0][0]} belong to them."
        )


def _changed(bound: Any, table: _Table) -> list[str]:
    (comment,) = unwatched(
        bound,
        "SELECT table_comment FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s",
        (table.kept,),
    ).fetchone()
    return [column for column in comment.split(",") if column]


def _reached(bound: Any, table: _Table) -> Any:
    """Where a run that was killed had got: the last value kept of the leading column."""
    return unwatched(bound, f"SELECT MAX(`{table.lead}`) FROM `{table.kept}`").fetchone()[0]  # nosec B608
