"""Changing rows of large tables on MySQL and MariaDB: in batches, each its own transaction, the old rows kept aside.

One transaction over 100 M rows would hold its locks for an hour and swell the undo log; batches alone could not be
taken back. So a batch first copies the rows it is about to change into `<table>__kept`. A run that was killed goes on
behind the last row kept; one that failed puts the kept rows back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from time import monotonic, sleep
from typing import Any, NamedTuple

from peewee import OperationalError, PeeweeException

from service.errors import ServiceError
from service.schema.saying import SECONDS_BETWEEN_LINES, Say
from service.schema.statements import KEPT, Statement, unwatched

SUFFIX = "__kept"
# Begins the comment of a table of kept rows. Others have tables of such names, backups made by hand for instance.
MARK = "rows of {} kept by a migration, changed: "
BATCH_ROWS = 5_000

# A deadlock, a lock that another's transaction holds, a row changed since this transaction began to read (which
# MariaDB tells with innodb_snapshot_isolation).
CLASHES = {1213, 1205, 1020}
RETRIES = 10

# Of a key: the first is not equal to what it is written as, the others are sorted by a number and compared as text.
UNORDERED = {"float", "bit", "enum", "set"}


TRIGGERS = (
    "SELECT trigger_name FROM information_schema.triggers"
    " WHERE event_object_schema = DATABASE() AND event_object_table = %s ORDER BY trigger_name"
)
CHILDREN = (
    "SELECT table_name FROM information_schema.referential_constraints"
    " WHERE unique_constraint_schema = DATABASE() AND referenced_table_name = %s ORDER BY table_name"
)


class Change(NamedTuple):
    """An UPDATE of the rows `where`, or without `values` their DELETE. `values` are pairs of a column and its SQL."""

    table: str
    where: str
    values: tuple[tuple[str, str], ...] | None = None

    @property
    def sql(self) -> str:
        """The change as one statement. Raises ServiceError for an UPDATE of no column."""
        if self.values is None:
            return f"DELETE FROM {self.table} WHERE {self.where}"  # nosec B608
        if not self.values:
            raise ServiceError(f"update_rows of {self.table} names no column.")
        given = ", ".join(f"{column} = {value}" for column, value in self.values)
        return f"UPDATE {self.table} SET {given} WHERE {self.where}"  # nosec B608

    @property
    def statement(self) -> Statement:
        """What the rules for migrations see."""
        return Statement(KEPT + self.sql)


class _Column(NamedTuple):
    name: str
    kind: str  # such as "int"
    changes_itself: bool  # ON UPDATE CURRENT_TIMESTAMP
    generated: bool


class _Table(NamedTuple):
    name: str
    key: tuple[str, ...]
    columns: tuple[_Column, ...]

    @property
    def kept(self) -> str:
        return self.name + SUFFIX

    @property
    def given(self) -> list[str]:
        """The columns that take a value; SELECT * would leave out those that are INVISIBLE."""
        return [column.name for column in self.columns if not column.generated]


def carry_out(bound: Any, change: Change, say: Say) -> None:
    """Make `change` batch by batch inside the open transaction of `bound`, which is committed after each.

    Raises ServiceError for a table whose rows could not be put back.
    """
    table = _table(bound, change.table)
    _ensure_kept(bound, table, change)
    bound.top_transaction().commit()  # creating a table has ended it
    started = said = monotonic()
    rows = 0
    act = partial(_keep_and_change, bound, table, _escaped(change))
    for changed, high in _batches(bound, table, table.name, _reached(bound, table), act, say):
        rows += changed
        if monotonic() - said > SECONDS_BETWEEN_LINES:
            said = monotonic()
            at = ", ".join(f"{column} {value}" for column, value in zip(table.key, high)) if high else "its end"
            say(f"  {table.name}: {rows:,} rows changed, now at {at}, {said - started:.0f} s")


def put_back(bound: Any, say: Say) -> None:
    """Give all kept rows their old values again. Can be killed, and run again."""
    for name, changed in _kept(bound).items():
        table = _table(bound, name.removesuffix(SUFFIX))
        say(f"  {table.name}: putting its rows back")
        with _zero_as_zero(bound):
            for _ in _batches(bound, table, name, None, partial(_give_back, bound, table, changed), say):
                pass
        unwatched(bound, f"DROP TABLE {_quoted(name)}")


def forget(bound: Any) -> None:
    """Drop what is kept: the migration has succeeded."""
    for name in kept_tables(bound):
        unwatched(bound, f"DROP TABLE {_quoted(name)}")


def kept_tables(bound: Any) -> list[str]:
    """The tables that hold kept rows: ours only, whatever others are called."""
    return list(_kept(bound))


def _escaped(change: Change) -> Change:
    """A % would be the driver's own on this engine, and is not on the other."""
    values = change.values and tuple((column, value.replace("%", "%%")) for column, value in change.values)
    return change._replace(where=change.where.replace("%", "%%"), values=values)


# --- batches ---------------------------------------------------------------------------------------------------------


def _batches(
    bound: Any, table: _Table, source: str, low: Any, act: Callable[[str, list[Any]], int], say: Say
) -> Iterator[tuple[int, Any]]:
    """Let `act` have the rows of `source` behind the key `low`, BATCH_ROWS and one at a time, as a condition and its
    values. Yields what it returns and the last key of each batch, None for the last one, which has no end."""
    while True:
        batch = partial(_batch, bound, table, source, low, act)
        rows, high = _patiently(bound, batch, f"  {table.name}: others hold these rows, the batch again", say)
        yield rows, high
        if high is None:
            return
        low = high


def _batch(
    bound: Any, table: _Table, source: str, low: Any, act: Callable[[str, list[Any]], int]
) -> tuple[int, Any]:
    """One batch, committed."""
    limits, values = _limits(table, low, None)
    key = _listed(table.key)
    behind = f"SELECT {key} FROM {_quoted(source)} FORCE INDEX (PRIMARY) WHERE {limits}"  # nosec B608: of the catalog
    high = unwatched(bound, f"{behind} ORDER BY {key} LIMIT 1 OFFSET {BATCH_ROWS}", values).fetchone()
    rows = act(*_limits(table, low, high))
    (bound.top_transaction() or bound).commit()
    return rows, high


def _patiently(bound: Any, batch: Callable[[], tuple[int, Any]], line: str, say: Say) -> tuple[int, Any]:
    """What `batch` returns. One that clashes with the transaction of another is rolled back, and tried again."""
    for attempt in range(1, RETRIES + 2):
        try:
            return batch()
        except OperationalError as error:
            if error.args[0] not in CLASHES or attempt > RETRIES:
                raise
            (bound.top_transaction() or bound).rollback()
            say(line)
            sleep(min(attempt, 5))
    raise AssertionError("not reached")


def _keep_and_change(bound: Any, table: _Table, change: Change, limits: str, values: list[Any]) -> int:
    """Copy the rows of `limits` that are to change, and change those copied, whatever `where` says by then."""
    columns, key, kept = _listed(table.given), _listed(table.key), _quoted(table.kept)
    # Along the key, and FOR UPDATE: whatever the isolation, this locks the rows of the batch and no more.
    chosen = f"SELECT {columns} FROM {_quoted(table.name)} FORCE INDEX (PRIMARY)"  # nosec B608
    copy = f"INSERT INTO {kept} ({columns}) {chosen} WHERE ({change.where}) AND {limits} FOR UPDATE"
    rows: int = unwatched(bound, copy, values).rowcount
    if rows:
        where = f"{limits} AND ({key}) IN (SELECT {key} FROM {kept} WHERE {limits})"  # nosec B608
        unwatched(bound, change._replace(where=where).sql, values * 2)
    return rows


def _give_back(bound: Any, table: _Table, changed: Sequence[str], limits: str, values: list[Any]) -> int:
    """Put the kept rows of `limits` back: the old values of the columns changed, or else the rows deleted."""
    live, columns, key = _quoted(table.name), _listed(table.given), _listed(table.key)
    kept = f"SELECT {columns} FROM {_quoted(table.kept)} WHERE {limits}"  # nosec B608
    if changed:
        given = ", ".join(f"live.{name} = kept.{name}" for name in map(_quoted, changed))
        sql = f"UPDATE {live} live JOIN ({kept}) kept USING ({key}) SET {given}"  # nosec B608
    else:
        same = _quoted(table.key[0])  # a row that another has made in between stays
        sql = f"INSERT INTO {live} ({columns}) {kept} ON DUPLICATE KEY UPDATE {live}.{same} = {live}.{same}"
    return int(unwatched(bound, sql, values).rowcount)


@contextmanager
def _zero_as_zero(bound: Any) -> Iterator[None]:
    """Let 0 be put back into a column that counts, which would take it for the next number."""
    (mode,) = unwatched(bound, "SELECT @@SESSION.sql_mode").fetchone()
    unwatched(bound, "SET SESSION sql_mode = %s", (f"{mode},NO_AUTO_VALUE_ON_ZERO",))
    try:
        yield
    finally:
        with suppress(PeeweeException):  # a connection that is gone needs no such care
            unwatched(bound, "SET SESSION sql_mode = %s", (mode,))


def _limits(table: _Table, low: Any, high: Any) -> tuple[str, list[Any]]:
    """The condition `low < key <= high`, without the side that is None, and its values."""
    sides = [_beside(table.key, sign, side) for sign, side in ((">", low), ("<=", high)) if side is not None]
    return " AND ".join(text for text, _ in sides) or "TRUE", [value for _, values in sides for value in values]


def _beside(key: Sequence[str], sign: str, side: Sequence[Any]) -> tuple[str, list[Any]]:
    """`key <sign> side` written out: the server uses no index for (a, b) > (1, 2)."""
    first = _quoted(key[0])
    if len(key) == 1:
        return f"{first} {sign} %s", [side[0]]
    rest, values = _beside(key[1:], sign, side[1:])
    return f"({first} {sign[0]} %s OR ({first} = %s AND {rest}))", [side[0], side[0], *values]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    """A name of the catalog in a statement, in which a % is the driver's."""
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"


# --- the table of kept rows ------------------------------------------------------------------------------------------


def _kept(bound: Any) -> dict[str, list[str]]:
    """Our tables of kept rows, and the columns that were changed; none where rows were deleted."""
    found = unwatched(
        bound,
        "SELECT table_name, table_comment FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND RIGHT(table_name, %s) = %s ORDER BY table_name",
        (len(SUFFIX), SUFFIX),
    ).fetchall()
    marks = {name: MARK.format(name.removesuffix(SUFFIX)) for name, _ in found}
    return {name: json.loads(text[len(marks[name]) :]) for name, text in found if text.startswith(marks[name])}


def _table(bound: Any, name: str) -> _Table:
    key = tuple(bound.get_primary_keys(name))
    if not key:
        raise ServiceError(f"Table {name} has no primary key: its rows cannot be changed in batches.")
    found = unwatched(
        bound,
        "SELECT column_name, data_type, extra, generation_expression FROM information_schema.columns"
        " WHERE table_schema = DATABASE() AND table_name = %s ORDER BY ordinal_position",
        (name,),
    ).fetchall()
    columns = (_Column(column, kind, "on update" in extra.lower(), bool(made)) for column, kind, extra, made in found)
    return _Table(name, key, tuple(columns))


def _ensure_kept(bound: Any, table: _Table, change: Change) -> None:
    """Create the table unless a run that was killed has. Its comment names the columns that change."""
    if table.kept in kept_tables(bound):
        return
    changed = _changed(table, change)
    if why := next(_objections(bound, table, changed), None):
        raise ServiceError(why)
    unwatched(
        bound,
        f"CREATE TABLE {_quoted(table.kept)} (PRIMARY KEY ({_listed(table.key)})) ENGINE = InnoDB COMMENT = %s"
        f" AS SELECT {_listed(table.given)} FROM {_quoted(table.name)} WHERE FALSE",  # nosec B608
        (MARK.format(table.name) + json.dumps(changed, ensure_ascii=False),),
    )


def _changed(table: _Table, change: Change) -> list[str]:
    """The columns that an UPDATE changes, as the catalog writes them; none of a DELETE. Raises ServiceError for a name
    that is none of them."""
    if change.values is None:
        return []
    known = {name.lower(): name for name in table.given}
    asked = [column.strip("` ").lower() for column, _ in change.values]
    if strange := [name for name in asked if name not in known]:
        raise ServiceError(f"{table.name} has no column {strange[0]} that takes a value.")
    themselves = [column.name for column in table.columns if column.changes_itself]
    return list(dict.fromkeys([*(known[name] for name in asked), *themselves]))


def _objections(bound: Any, table: _Table, changed: Sequence[str]) -> Iterator[str]:
    """Why rows of `table` could not be put back. They find their old selves by the key; another may have taken the old
    value of a unique column; what a trigger does, and rows that go with those they belong to, would not be kept."""
    unique = {*table.key, *(name for index in bound.get_indexes(table.name) if index.unique for name in index.columns)}
    for name in changed:
        if name in unique:
            yield f"{table.name}.{name} is in a unique index: it cannot be changed in batches."
    rows = f"Rows of {table.name} cannot be {'changed' if changed else 'deleted'} in batches"
    for name in sorted(map(str, unique - set(table.given))):
        yield f"{rows}: {name}, which is generated, is in a unique index."
    for column in table.columns:
        if column.name in table.key and column.kind.lower() in UNORDERED:
            yield f"{rows}: {column.name} of its key is of type {column.kind}, by which they cannot be walked."
    if table.kept in bound.get_tables():
        yield f"{rows}: they would be kept in {table.kept}, which is there and is not a migration's. Rename it."
    for (name,) in unwatched(bound, TRIGGERS, (table.name,)).fetchall():
        yield f"{rows}: nobody could take back what trigger {name} does. Drop it, and create it again afterwards."
    if not changed:
        for (name,) in unwatched(bound, CHILDREN, (table.name,)).fetchall():
            yield f"{rows}: those of {name} belong to them."


def _reached(bound: Any, table: _Table) -> Any:
    """Where a run that was killed had got: the last key kept; None at the beginning."""
    last = ", ".join(f"{_quoted(column)} DESC" for column in table.key)
    found = f"SELECT {_listed(table.key)} FROM {_quoted(table.kept)} ORDER BY {last} LIMIT 1"  # nosec B608
    return unwatched(bound, found).fetchone()
