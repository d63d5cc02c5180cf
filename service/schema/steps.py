"""What a migration file may queue, beyond peewee-migrate's own operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from peewee import Field, MySQLDatabase
from peewee_migrate import Migrator
from peewee_migrate.migrator import MySQLMigrator, SqliteMigrator
from playhouse.migrate import operation  # type: ignore[import-untyped]

from service.errors import ServiceError
from service.schema import kept_rows
from service.schema.statements import Statement


# Both change a column at once. peewee-migrate's own make it NULL first, and NOT NULL again by a second statement: each
# rewrites the table, and the second may fail.


class _MySQL(MySQLMigrator):
    @operation  # type: ignore[untyped-decorator]
    def change_column(self, table: str, column_name: str, field: Field[Any]) -> Any:
        context = self._alter_table(self.make_context(), table).literal(" MODIFY COLUMN ")
        return context.sql(cast("Any", field).ddl(context))


class _SQLite(SqliteMigrator):
    @operation  # type: ignore[untyped-decorator]
    def change_column(self, table: str, column_name: str, field: Field[Any]) -> Any:
        return self.alter_change_column(table, column_name, field)

    @operation  # type: ignore[untyped-decorator]
    def drop_column(self, table: str, column_name: str, cascade: bool = True, legacy: bool = False) -> Any:
        """A column that points at another table goes with a rebuild only."""
        points = any(key.column == column_name for key in self.database.get_foreign_keys(table))
        return super().drop_column(table, column_name, cascade=cascade, legacy=legacy or points)


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
        super().run(func, *args, **kwargs)

    def drop_index(self, model: Any, *columns: str) -> Any:
        """Drop the index on these fields, whatever its name; peewee-migrate's own guesses the name from the table's,
        while `create_model` makes it of the model's."""
        with cast("Any", self).fake():
            changed = super().drop_index(model, *columns)
        meta = changed._meta
        self.run(self._drop_index, meta.table_name, [meta.fields[name].column_name for name in columns])
        return changed

    def _drop_index(self, table: str, columns: list[str]) -> None:
        names = [index.name for index in self.bound.get_indexes(table) if list(index.columns) == columns]
        if not names:
            raise ServiceError(f"{table} has no index on ({', '.join(columns)})")
        self.__migrator__.drop_index(table, names[0]).run()

    def __del_field__(self, model: Any, field: Any) -> None:
        if getattr(field, "backref", None) == "+":
            field.backref = field.declared_backref = "hidden"  # peewee makes none, and peewee-migrate deletes it
            setattr(field.rel_model, "hidden", None)
        super().__del_field__(model, field)

    def update_rows(self, table: str, values: Mapping[str, str], *, where: str) -> None:
        """Set columns of the rows `where` to SQL values; in batches on MySQL and MariaDB.

        `where` must be false for rows that were changed, or the values such that changing them twice does no harm.
        """
        self._queue(kept_rows.Change(table, where, tuple(values.items())))

    def delete_rows(self, table: str, *, where: str) -> None:
        """Delete the rows `where`; in batches on MySQL and MariaDB. No other table may point at `table`."""
        self._queue(kept_rows.Change(table, where))

    def _queue(self, change: kept_rows.Change) -> None:
        self.run(self._make, change)

    def _make(self, change: kept_rows.Change) -> None:
        if isinstance(self.bound, MySQLDatabase):
            self.note(change.statement)
            kept_rows.carry_out(self.bound, change, self.say)
        else:
            self.bound.execute_sql(change.sql)
