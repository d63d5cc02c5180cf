"""What a migration file may queue, beyond peewee-migrate's own operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from peewee import SQL, Entity, Field, MySQLDatabase
from peewee_migrate import Migrator
from peewee_migrate.migrator import MySQLMigrator, SqliteMigrator
from playhouse.migrate import operation  # type: ignore[import-untyped]

from service.errors import ServiceError
from service.schema import kept_rows
from service.schema.declaration import not_null, nullable, without_default
from service.schema.execution import bar_commits
from service.schema.statements import UP, Kind, Statement, objection


class Call:
    """A queued function and what it is called with, both of which peewee-migrate hides."""

    def __init__(self, func: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.__name__ = getattr(func, "__name__", "function")

    def __call__(self) -> None:
        self.func(*self.args, **self.kwargs)


class ForeignCall(Call):
    """One of a function of the migration's own, which must leave the transaction of `bound` alone."""

    def __init__(
        self, bound: Any, func: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        super().__init__(func, args, kwargs)
        self.bound = bound

    def __call__(self) -> None:
        with bar_commits(self.bound):
            super().__call__()


# Both change a column at once. peewee-migrate's own make it NULL first, and NOT NULL again by a second statement: each
# rewrites the table, and the second may fail.


class _MySQL(MySQLMigrator):
    @operation  # type: ignore[untyped-decorator]
    def change_column(self, table: str, column_name: str, field: Field[Any]) -> Any:
        context = self._alter_table(self.make_context(), table).literal(" MODIFY COLUMN ")
        return context.sql(cast("Any", field).ddl(context))

    @operation  # type: ignore[untyped-decorator]
    def rename_column(self, table: str, old_name: str, new_name: str) -> Any:
        """One statement with the column as the server declares it; peewee's own forgets the default, and takes keys
        and foreign keys away for it."""
        return self._alter(table, f"CHANGE COLUMN `{old_name}` `{new_name}` {self._declared(table, old_name)}")

    @operation  # type: ignore[untyped-decorator]
    def add_not_null(self, table: str, column: str) -> Any:
        """One statement with the column as the server declares it, but for NOT NULL."""
        return self._alter(table, f"MODIFY COLUMN `{column}` {not_null(self._declared(table, column))}")

    @operation  # type: ignore[untyped-decorator]
    def drop_not_null(self, table: str, column: str) -> Any:
        """As `add_not_null`."""
        return self._alter(table, f"MODIFY COLUMN `{column}` {nullable(self._declared(table, column))}")

    @operation  # type: ignore[untyped-decorator]
    def add_column_default(self, table: str, column: str, default: Any) -> Any:
        """`default` is a value, or SQL; peewee's own takes text that ends with a parenthesis for SQL."""
        context = self._alter_table(self.make_context(), table).literal(" ALTER COLUMN ").sql(Entity(column))
        return context.literal(" SET DEFAULT ").sql(default)

    def _declared(self, table: str, column: str) -> str:
        """How the server declares a column, behind its name."""
        create = self.database.execute_sql(f"SHOW CREATE TABLE `{table}`").fetchone()[1]
        found = [line.strip() for line in create.split("\n") if line.strip().startswith(f"`{column}` ")]
        if not found:
            raise ServiceError(f"{table} has no column {column}")
        return str(found[0].removesuffix(",").removeprefix(f"`{column}` "))

    def _alter(self, table: str, clause: str) -> SQL:
        return SQL(f"ALTER TABLE `{table}` {clause}".replace("%", "%%"))

    @operation  # type: ignore[untyped-decorator]
    def drop_column(self, table: str, column_name: str, cascade: bool = True) -> Any:
        """One statement, which takes the column's foreign key and indexes along; these in the order of their names:
        the server lists indexes as they were made, which is another order on a copy."""
        context = self._alter_table(self.make_context(), table)
        for key in self.database.get_foreign_keys(table):
            if key.column == column_name:
                context = context.literal(" DROP FOREIGN KEY ").sql(Entity(key.name)).literal(",")
        for index in _indexes(self.database, table):
            if column_name in index.columns:
                context = context.literal(" DROP INDEX ").sql(Entity(index.name)).literal(",")
        return context.literal(" DROP COLUMN ").sql(Entity(column_name))


def _indexes(bound: Any, table: str) -> list[Any]:
    """The indexes of a table by name, without those that are its key."""
    found = [one for one in bound.get_indexes(table) if one.name != "PRIMARY"]
    return sorted((one for one in found if not one.name.startswith("sqlite_autoindex_")), key=lambda one: one.name)


class _SQLite(SqliteMigrator):
    @operation  # type: ignore[untyped-decorator]
    def change_column(self, table: str, column_name: str, field: Field[Any]) -> Any:
        return self.alter_change_column(table, column_name, field)

    @operation  # type: ignore[untyped-decorator]
    def drop_column(self, table: str, column_name: str, cascade: bool = True, legacy: bool = False) -> Any:
        """A column that points at another table, or is in an index, goes with a rebuild only, which drops these."""
        points = any(key.column == column_name for key in self.database.get_foreign_keys(table))
        indexed = any(column_name in index.columns for index in self.database.get_indexes(table))
        return super().drop_column(table, column_name, cascade=cascade, legacy=legacy or points or indexed)

    @operation  # type: ignore[untyped-decorator]
    def add_column_default(self, table: str, column: str, default: Any) -> Any:
        """A rebuild. `default` is a value, or SQL."""
        given = default.sql if isinstance(default, SQL) else self._literal(default)
        return self._update_column(table, column, lambda _, old: f"{without_default(old)} DEFAULT {given}")

    @operation  # type: ignore[untyped-decorator]
    def drop_column_default(self, table: str, column: str) -> Any:
        return self._update_column(table, column, lambda _, old: without_default(old))

    def _literal(self, value: Any) -> str:
        return str(self.database.execute_sql("SELECT quote(?)", (value,)).fetchone()[0])

    @operation  # type: ignore[untyped-decorator]
    def _update_column(self, table: str, column_to_update: str, fn: Callable[[str, str], str]) -> Any:
        """The statements of a rebuild, which forgets that a table is WITHOUT ROWID."""
        rebuild = super()._update_column(table, column_to_update, fn)
        statements = rebuild.fn(self, *rebuild.args)
        if "WITHOUT ROWID" in self._get_create_table(table)[1].rpartition(")")[2].upper():
            statements[1] = SQL(f"{statements[1].sql} WITHOUT ROWID")
        return statements


class Steps(Migrator):
    """The `migrator` that `migrate` and `rollback` of a file are given."""

    def __init__(self, database: Any) -> None:
        super().__init__(database)
        self.__migrator__ = _MySQL(database) if isinstance(database, MySQLDatabase) else _SQLite(database)
        self.bound = database
        self.note: Callable[[Statement], None] = lambda _: None  # told of each change that is made in batches
        self.say: Callable[[str], None] = lambda _: None

    def run(self, func: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call `func` when its turn comes. Raises TypeError for what it gave instead: `run(f, x)`, not `run(f(x))`."""
        if not callable(func):
            raise TypeError(f"migrator.run is given {func!r} instead of a function")
        self.__ops__.append(ForeignCall(self.bound, func, args, kwargs))

    def create_model(self, model: Any) -> Any:
        """Create a table. One that is there already is somebody else's: then the migration fails."""
        created = super().create_model(model)
        self.__ops__[-1] = Call(created.create_table, (), {"safe": False})
        return created

    def sql(self, sql: str, *params: Any) -> None:
        """Execute SQL, in which `%` is written `%%`, whatever the engine."""
        super().sql(sql if isinstance(self.bound, MySQLDatabase) else sql.replace("%%", "%"), *params)

    def drop_index(self, model: Any, *columns: str) -> Any:
        """Drop the index on these fields, whatever its name; peewee-migrate's own guesses the name from the table's,
        while `create_model` makes it of the model's."""
        with cast("Any", self).fake():
            changed = super().drop_index(model, *columns)
        meta = changed._meta
        columns_there = [meta.fields[name].column_name for name in columns]
        self.__ops__.append(Call(self._drop_index, (meta.table_name, columns_there), {}))
        return changed

    def _drop_index(self, table: str, columns: list[str]) -> None:
        names = [index.name for index in _indexes(self.bound, table) if list(index.columns) == columns]
        if not names:
            raise ServiceError(f"{table} has no index on ({', '.join(columns)})")
        self.__migrator__.drop_index(table, names[0]).run()

    def remove_fields(self, model: Any, *names: str, cascade: bool = True, **params: Any) -> Any:
        """Remove fields, with all indexes that they are in, whatever the names; peewee-migrate's own guesses one."""
        meta = cast("Any", self.__get_model__(model))._meta
        for name in names:
            meta.fields[name].unique = False
        meta.indexes = [one for one in meta.indexes if not isinstance(one, tuple) or not set(one[0]) & set(names)]
        return super().remove_fields(model, *names, cascade=cascade, **params)

    def add_default(self, model: Any, name: str, default: Any) -> Any:
        """Give a field's column a DEFAULT, a value or SQL. Rows keep their values; peewee-migrate's own changes them
        all, and makes no DEFAULT."""
        if default is None or callable(default):
            raise TypeError(f"migrator.add_default is given {default!r} instead of a value or SQL")
        with cast("Any", self).fake():
            changed = super().add_default(model, name, default)
        field = changed._meta.fields[name]
        given = default if isinstance(default, SQL) else field.db_value(default)
        step = self.__migrator__.add_column_default(changed._meta.table_name, field.column_name, given)
        self.__ops__.append(step)
        return changed

    def drop_default(self, model: Any, name: str) -> Any:
        """Take the DEFAULT of a field's column away: what undoes `add_default`."""
        changed = cast("Any", self.__get_model__(model))
        field = changed._meta.fields[name]
        field.default = None
        changed._meta.defaults.pop(field, None)
        self.__ops__.append(self.__migrator__.drop_column_default(changed._meta.table_name, field.column_name))
        return changed

    def __del_field__(self, model: Any, field: Any) -> None:
        if getattr(field, "backref", None) == "+":
            field.backref = field.declared_backref = "hidden"  # peewee makes none, and peewee-migrate deletes it
            setattr(field.rel_model, "hidden", None)
        super().__del_field__(model, field)

    def update_rows(self, table: str, values: Mapping[str, str], *, where: str) -> None:
        """Set columns of the rows `where` to SQL values; in batches on MySQL and MariaDB.

        `where` must be false for rows that were changed, or the values such that changing them twice does no harm.
        There a later column sees the new value of an earlier one: {"a": "b", "b": "a"} does not swap them.
        """
        self._queue(kept_rows.Change(table, where, tuple(values.items())))

    def delete_rows(self, table: str, *, where: str) -> None:
        """Delete the rows `where`; in batches on MySQL and MariaDB. No other table may point at `table`."""
        self._queue(kept_rows.Change(table, where))

    def _queue(self, change: kept_rows.Change) -> None:
        self.__ops__.append(Call(self._make, (change,), {}))

    def _make(self, change: kept_rows.Change) -> None:
        if isinstance(self.bound, MySQLDatabase):
            self.note(change.statement)
            kept_rows.carry_out(self.bound, change, self.say)
        else:
            self.bound.execute_sql(change.sql)


# --- what a queued operation will be ---------------------------------------------------------------------------------

SCHEMA_STEPS = {
    "create_table", "_drop_index", "add_column", "add_index", "drop_index", "add_constraint", "drop_constraint",
    "add_foreign_key_constraint", "drop_foreign_key_constraint", "add_column_default", "drop_column_default",
}  # fmt: skip
FINAL_STEPS = {
    "drop_column", "change_column", "rename_column", "rename_table", "drop_table", "add_not_null", "drop_not_null",
}  # fmt: skip


class _Planned(NamedTuple):
    """As much of a statement as the rules look at."""

    kind: Kind
    kept_table: str | None = None


def refusals(direction: str, operations: Sequence[Any]) -> Iterator[str]:
    """Why the guard would refuse queued operations on MySQL and MariaDB; what they do is known for most."""
    before: list[_Planned] = []
    for planned in (step for operation in operations for step in _planned(operation)):
        why = objection(direction, before, planned)
        if why:
            yield why
            return
        before.append(planned)
    if direction == UP:
        yield from filter(None, map(_unfilled, operations))


def _planned(operation: Any) -> list[_Planned]:
    if isinstance(operation, Call):
        if operation.args and isinstance(operation.args[0], kept_rows.Change):
            change = operation.args[0].statement
            return [_Planned(change.kind, change.kept_table)]
        return [_Planned(Kind.SCHEMA)] if operation.__name__ in SCHEMA_STEPS else []
    name = operation.fn.__name__
    if name == "sql":
        statement = Statement(operation.args[0])
        return [] if statement.kind is Kind.READ else [_Planned(statement.kind)]
    if name == "add_column" and _is_filled(operation):
        return [_Planned(Kind.SCHEMA), _Planned(Kind.ROWS)]
    return [_Planned(Kind.FINAL)] * (name in FINAL_STEPS) + [_Planned(Kind.SCHEMA)] * (name in SCHEMA_STEPS)


def _is_filled(operation: Any) -> bool:
    """peewee adds a column that may not be NULL by three statements: with NULL, filled, then without."""
    field = operation.args[2]
    return not field.null and not operation.kwargs.get("allow_not_null")


def _unfilled(operation: Any) -> str | None:
    """A column that may not be NULL, and has no default: MySQL and MariaDB would invent a value for the rows there."""
    if isinstance(operation, Call) or operation.fn.__name__ != "add_column":
        return None
    field = operation.args[2]
    defaults = [str(constraint.sql) for constraint in field.constraints or () if isinstance(constraint, SQL)]
    if field.null or any(text.upper().startswith("DEFAULT ") for text in defaults):
        return None
    return f"column {operation.args[1]} is NOT NULL without a DEFAULT, and rows that are there need a value"
