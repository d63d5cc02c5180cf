"""New migration files: an empty one, or a draft of what the models have and the migrations do not give yet.

peewee-migrate can draft too, but not from models like ours: it writes fields of our own classes and values that its
file does not know, gives foreign keys an index they must not have, and forgets defaults, checks and table settings.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import peewee
from peewee import AutoField, CharField, DecimalField, Field, ForeignKeyField, Model, ModelIndex

from playhouse.migrate import make_index_name  # type: ignore[import-untyped]

from service.config import Settings
from service.errors import BadRequest
from service.models import ALL_MODELS
from service.models.base import COLLATION, ENGINE
from service.schema.files import PLACEHOLDER, find_folder, migration_names
from service.schema.offline import replay, unconnected
from service.schema.steps import Steps

WORDS = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

DRAFT = """

This is a draft: what the models have and the migrations before do not give. Read every line, see to every CHECK, and
leave one schema step in this file; each further one belongs in a file of its own."""

OPERATIONS = """\
# Only queue operations here: this runs again, without a database, whenever a later migration runs.
#   migrator.create_model(Model), remove_model(table), rename_table(table, new)
#   migrator.add_fields(table, name=pw.IntegerField(null=True)), change_fields(table, name=...)
#   migrator.remove_fields(table, name, ...), rename_field(table, old, new)
#   migrator.add_index(table, name, ..., unique=False), drop_index(table, name, ...)
#   migrator.add_not_null(table, name, ...), drop_not_null(table, name, ...), sql(statement, *values)
#   migrator.run(function, ...): the function may read and write, through what it is given
# `table` is the table's name, `name` the field's. isinstance(database, pw.MySQLDatabase) tells the engines apart.
pass"""

UNDO = """\
# Undo it, the last step first. With nothing to undo, a docstring says why.
pass"""

SETTINGS = (
    f'table_settings = ["ENGINE={ENGINE}", "DEFAULT CHARACTER SET utf8mb4 COLLATE {COLLATION}"] if mysql else None'
)
WHICH_ENGINE = "mysql = isinstance(database, pw.MySQLDatabase)"


class Column(NamedTuple):
    """A column as a migration file declares it."""

    name: str  # of its field
    kind: str  # peewee's own class
    options: tuple[str, ...]  # as they are written
    null: bool
    target: str | None  # the table a foreign key points at
    constraints: tuple[str, ...]  # SQL
    default: str | None  # as it is written; for rows that exist
    indexed: tuple[bool, bool]  # what the field itself says: index, unique
    key: bool  # by itself the primary key
    hidden: bool  # a foreign key that the other table knows nothing of, which remove_fields does not bear


class Table(NamedTuple):
    """A table as a migration file declares it. Columns are known by their names in the database."""

    name: str
    model: str
    columns: dict[str, Column]
    key: tuple[str, ...]
    indexes: dict[tuple[str, ...], bool]  # columns -> unique
    without_rowid: bool
    unspoken: tuple[str, ...]  # indexes that a draft cannot write
    named: dict[tuple[str, ...], str]  # indexes that are not called as `add_index` and `drop_index` would

    def names(self, columns: Iterable[str]) -> str:
        """The fields of `columns`, written as arguments."""
        return ", ".join(_quoted(self.columns[column].name) for column in columns)


def create(settings: Settings, name: str, *, auto: bool = False, models: Iterable[type[Model]] = ALL_MODELS) -> Path:
    """Write the next migration file and return its path. `auto` drafts the way from the migrations to `models`.

    Raises BadRequest for a name that is not lower_case words or in use, for files that are not numbered in one line,
    when there is nothing to draft, and when the folder cannot be written or belongs to an installed package.
    """
    folder = find_folder(settings)
    _ensure_checkout(settings, folder)
    names = migration_names(settings)
    _ensure_usable(name, names)
    source = _draft(folder, names, models) if auto else _source("", [OPERATIONS], [UNDO])
    path = folder / f"{len(names) + 1:03}_{name}.py"
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(source)
    except FileExistsError:
        raise BadRequest(f"{path} exists already.") from None
    except OSError as error:
        raise BadRequest(f"{path} cannot be written: {error.strerror}.") from error
    return path


def _ensure_checkout(settings: Settings, folder: Path) -> None:
    """What is written into an installed package is lost with its next release."""
    if settings.migrations_dir is None and not (folder.parent / "pyproject.toml").is_file():
        raise BadRequest(
            f"{folder} belongs to an installed package: write migrations in a checkout, or name it by MIGRATIONS_DIR."
        )


def _ensure_usable(name: str, names: Sequence[str]) -> None:
    if not WORDS.fullmatch(name):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        words = re.sub(r"[^a-z0-9]+", "_", words).strip("_0123456789") or "add_ride_height"
        raise BadRequest(f"{name!r} is not lower_case words that begin with a letter: for example, {words}.")
    taken = [other for other in names if other[4:] == name]
    if taken:
        raise BadRequest(f"There is a migration of this name, {taken[0]}: choose another one.")


def _source(note: str, migrate: Sequence[str], rollback: Sequence[str]) -> str:
    bodies = [_body("migrate", migrate), _body("rollback", rollback)]
    imports = "import peewee as pw\n\n\n" if any(re.search(r"^[^#]*\bpw\.", body, re.M) for body in bodies) else "\n"
    return f'"""{PLACEHOLDER}.{note}{chr(10) if note else ""}"""\n\n{imports}' + "\n\n".join(bodies)


def _body(step: str, lines: Sequence[str]) -> str:
    text = "\n".join(lines).strip()
    if re.search(r"\bif mysql\b|\bnot mysql\b", text):
        text = f"{WHICH_ENGINE}\n\n{text}"
    if not re.search(r"^[^#\n]", text, re.M):
        text += "\npass"
    return f"def {step}(migrator, database, *, fake=False):\n{_indented(text)}\n"


def _indented(text: str) -> str:
    return re.sub(r"^(?=.)", "    ", text, flags=re.M)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# --- what there is, and what there should be -------------------------------------------------------------------------


def _draft(folder: Path, names: Sequence[str], models: Iterable[type[Model]]) -> str:
    database = unconnected(mysql=False)
    migrator = _Remembering(database)
    replay(folder, names, migrator, database)
    old = {name: table._replace(named=migrator.named[name]) for name, table in _tables(migrator.orm).items()}
    new = _tables(models, old)
    migrate, rollback = list(_way(old, new)), list(_way(new, old))
    if not migrate:
        raise BadRequest("The models and the migrations agree: there is nothing to draft.")
    return _source(DRAFT, migrate, rollback)


class _Remembering(Steps):
    """Remembers what the indexes of created tables are called: peewee names them after the model, not the table."""

    def __init__(self, database: Any) -> None:
        super().__init__(database)
        self.named: defaultdict[str, dict[tuple[str, ...], str]] = defaultdict(dict)

    def create_model(self, model: Any) -> Any:
        """As Migrator's."""
        table = model._meta.table_name
        for index in filter(_is_plain, model._meta.fields_to_index()):
            if index._name != make_index_name(table, _columns(index)):
                self.named[table][_columns(index)] = index._name
        return super().create_model(model)

    def add_index(self, model: Any, *columns: str, unique: bool = False, **options: Any) -> Any:
        """As Migrator's."""
        known = super().add_index(model, *columns, unique=unique, **options)
        meta = cast("Any", known)._meta
        self.named[meta.table_name].pop(tuple(meta.fields[name].column_name for name in columns), None)
        return known


def _tables(models: Iterable[Any], known: Mapping[str, Table] | None = None) -> dict[str, Table]:
    """Models by table, parents before children; `known` are the tables that the migrations give."""
    described = (_table(model) for model in cast("Any", peewee).sort_models(list(models)))
    return {table.name: _aligned(table, (known or {}).get(table.name)) for table in described}


def _table(model: type[Model]) -> Table:
    meta = cast("Any", model)._meta
    indexes = {_columns(index): bool(index._unique) for index in meta.fields_to_index() if _is_plain(index)}
    unspoken = tuple(str(getattr(index, "_name", index)) for index in meta.fields_to_index() if not _is_plain(index))
    return Table(
        meta.table_name,
        model.__name__,
        {field.column_name: _column(field) for field in meta.sorted_fields},
        tuple(field.column_name for field in meta.get_primary_keys()),
        indexes,
        bool(meta.without_rowid),
        unspoken,
        {},
    )


def _is_plain(index: Any) -> bool:
    """Whether it is of whole columns and all rows, as `add_index` makes it."""
    if not isinstance(index, ModelIndex) or cast("Any", index)._where or cast("Any", index)._using:
        return False
    return all(isinstance(part, Field) for part in cast("Any", index)._expressions)


def _columns(index: Any) -> tuple[str, ...]:
    return tuple(field.column_name for field in index._expressions)


def _column(field: Any) -> Column:
    foreign = isinstance(field, ForeignKeyField)
    plain: Any = next(cls for cls in type(field).__mro__ if cls.__module__ == "peewee")
    if not foreign and plain.field_type != field.field_type:
        raise BadRequest(
            f"No draft can be made: {field.model.__name__}.{field.name} is {field.field_type},"
            f" but a {plain.__name__} of peewee is {plain.field_type}."
        )
    return Column(
        field.name,
        plain.__name__,
        tuple(_options(field)),
        bool(field.null),
        field.rel_model._meta.table_name if foreign else None,
        tuple(str(getattr(constraint, "sql", constraint)) for constraint in field.constraints or ()),
        _default(field),
        (bool(field.index), bool(field.unique)),
        bool(field.primary_key),
        foreign and field.backref in ("+", "!"),
    )


def _options(field: Any) -> Iterator[str]:
    if isinstance(field, ForeignKeyField) or field.name != field.column_name:
        yield f"column_name={_quoted(field.column_name)}"
    if isinstance(field, ForeignKeyField):
        if not field.rel_field.primary_key:
            yield f"field={_quoted(field.rel_field.name)}"
        for rule in ("on_delete", "on_update"):
            if getattr(field, rule) not in (None, "NO ACTION"):
                yield f"{rule}={_quoted(getattr(field, rule))}"
    if isinstance(field, CharField):
        yield f"max_length={field.max_length}"
    if isinstance(field, DecimalField):
        yield f"max_digits={field.max_digits}"
        yield f"decimal_places={field.decimal_places}"
    if field.primary_key and not isinstance(field, AutoField):
        yield "primary_key=True"
    if field.collation:
        yield f"collation={_quoted(field.collation)}"


def _default(field: Any) -> str | None:
    """The value that the column of a new row gets from Python, where it can be written down."""
    if field.default is None or callable(field.default):
        return None
    value = field.db_value(field.default)
    if isinstance(value, str):
        return _quoted(value)
    return repr(value) if isinstance(value, bool | int | float) else None


def _aligned(table: Table, known: Table | None) -> Table:
    """`table` in the words of the `known` one: other names of fields make no other table."""
    if known is None:
        return table
    columns = {name: _aligned_column(column, known.columns.get(name)) for name, column in table.columns.items()}
    return table._replace(columns=columns)


def _aligned_column(column: Column, known: Column | None) -> Column:
    if known is None:
        return column._replace(hidden=False)  # it will be added in sight, so that it can be removed
    shown = [option for option in column.options if not option.startswith("column_name=")]
    named = [option for option in known.options if option.startswith("column_name=")]
    return column._replace(
        name=known.name,
        options=(*named, *shown),
        indexed=known.indexed,
        hidden=known.hidden,
    )


# --- from the one to the other ---------------------------------------------------------------------------------------


def _way(old: Mapping[str, Table], new: Mapping[str, Table]) -> Iterator[str]:
    """The statements that make the tables `new` of the tables `old`: parents first, removals last."""
    created = [table for name, table in new.items() if name not in old]
    removed = [table for name, table in reversed(list(old.items())) if name not in new]
    if created and removed:
        yield "# CHECK: a table that only has a new name keeps its rows by migrator.rename_table(old, new)."
    for table in created:
        yield from _create(table)
    for name, table in new.items():
        if name in old:
            yield from _alter(old[name], table)
    for table in removed:
        yield f"# CHECK: the rows of {table.name} are lost. The release that still runs may not need them."
        yield f"migrator.remove_model({_quoted(table.name)})"


def _create(table: Table) -> Iterator[str]:
    yield from (f"# CHECK: not drafted: index {name}, which has expressions or a condition." for name in table.unspoken)
    fields = [f"{column.name} = {_written(table, name)}" for name, column in table.columns.items()]
    settings = [f"table_name = {_quoted(table.name)}", *_key(table), *_indexes(table), SETTINGS]
    if table.without_rowid:
        settings.append("without_rowid = not mysql")
    yield "@migrator.create_model"
    yield f"class {table.model}(pw.Model):"
    yield _indented("\n".join([*fields, "\nclass Meta:", *map(_indented, settings)]))
    yield ""


def _key(table: Table) -> Iterator[str]:
    if not table.key:
        yield "primary_key = False"
    elif not any(column.key for column in table.columns.values()):
        yield f"primary_key = pw.CompositeKey({table.names(table.key)})"


def _indexes(table: Table) -> Iterator[str]:
    wide = [f"(({table.names(columns)}), {unique})" for columns, unique in table.indexes.items() if len(columns) > 1]
    if wide:
        yield f"indexes = ({', '.join(wide)},)"


def _written(table: Table, name: str, *, added: bool = False) -> str:
    """The column `name` of `table` as Python, with the index it has of its own."""
    column = table.columns[name]
    unique = table.indexes.get((name,))
    arguments = [*column.options]
    if column.target:
        arguments.insert(0, '"self"' if column.target == table.name else f"migrator.orm[{_quoted(column.target)}]")
        # remove_fields, which undoes add_fields, has to find the way back.
        arguments.append(f"backref={_quoted(f'{table.name}_{column.name}' if added else '+')}")
    if unique:
        arguments.append("unique=True")
    elif (unique is not None) != bool(column.target):  # a foreign key has an index unless it says otherwise
        arguments.append(f"index={unique is not None}")
    if added and not column.null and column.default is not None:
        arguments.append(f"default={column.default}")
    return _call(column, arguments)


def _call(column: Column, arguments: list[str]) -> str:
    if column.null:
        arguments.append("null=True")
    if column.constraints:
        arguments.append(f"constraints=[{', '.join(f'pw.SQL({_quoted(sql)})' for sql in column.constraints)}]")
    listed = ", ".join(arguments)
    return f"pw.{column.kind}({listed})" if len(listed) < 80 else f"pw.{column.kind}(\n    {listed}\n)"


def _alter(old: Table, new: Table) -> Iterator[str]:
    by_hand = dict(_by_hand(old, new))
    if old.without_rowid != new.without_rowid:
        yield f"# CHECK: not drafted: {new.name} {'with' if new.without_rowid else 'no more with'} WITHOUT ROWID."
    yield from (f"# CHECK: not drafted: {sentence}" for sentence in dict.fromkeys(by_hand.values()))
    removed = [name for name in old.columns if name not in new.columns and name not in by_hand]
    added = [name for name in new.columns if name not in old.columns and name not in by_hand]
    kept = [name for name in new.columns if name in old.columns and name not in by_hand]
    gone, come = _changed_indexes(old, new, by_hand)
    # Indexes go before their columns and come after them. MySQL lets none go that a foreign key needs.
    first = [columns for columns in come if columns not in old.indexes and set(columns) <= set(kept)]
    for columns in first:
        yield from _add_index(new, columns)
    for columns in gone:
        if not (len(columns) == 1 and columns[0] in removed and old.columns[columns[0]].target):
            yield from _drop_index(old, new, columns)
    if removed and added:
        yield "# CHECK: a column that only has a new name keeps its values by migrator.rename_field(table, old, new)."
    yield from _remove(old, removed)
    yield from _add(new, added)
    for name in kept:
        yield from _change(old, old.columns[name], new.columns[name])
    for columns in come:
        if columns not in first and not (len(columns) == 1 and columns[0] in added):  # which comes with its column
            yield from _add_index(new, columns)


def _changed_indexes(
    old: Table, new: Table, by_hand: Mapping[str, str]
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The columns of the indexes that go, and of those that come; one that becomes unique does both."""
    gone = [columns for columns, unique in old.indexes.items() if new.indexes.get(columns) != unique]
    come = [columns for columns, unique in new.indexes.items() if old.indexes.get(columns) != unique]
    gone, come = ([columns for columns in some if not by_hand.keys() & columns] for some in (gone, come))
    return gone, come


def _by_hand(old: Table, new: Table) -> Iterator[tuple[str, str]]:
    """Columns that peewee cannot change on every engine, each with a sentence that says so."""
    if old.key != new.key:
        sentence = f"the primary key of {new.name}, from {_listed(old.key)} to {_listed(new.key)}: see 003."
        yield from ((name, sentence) for name in (*old.key, *new.key))
    for name in dict.fromkeys([*old.columns, *new.columns]):
        before, after = old.columns.get(name), new.columns.get(name)
        if before and after:
            is_key = before.target or after.target or name in old.key
            if is_key and _differs(before._replace(null=after.null), after):
                yield name, f"{new.name}.{name}, a key, from {_plain(old, name)} to {_plain(new, name)}."
        elif any(column and column.hidden for column in (before, after)):
            yield name, f"{new.name}.{name}, a foreign key that is {'removed' if before else 'there again'}."


def _plain(table: Table, name: str) -> str:
    """The column in one line, to read."""
    return re.sub(r"\s*\n\s*", "", _written(table, name).removeprefix("pw."))


def _listed(columns: Iterable[str]) -> str:
    return f"({', '.join(columns)})"


def _differs(before: Column, after: Column) -> bool:
    return before._replace(default=None) != after._replace(default=None)


def _drop_index(table: Table, new: Table, columns: tuple[str, ...]) -> Iterator[str]:
    others = [other for other in (*new.indexes, new.key) if other[:1] == columns[:1]]
    if table.columns[columns[0]].target and not others:
        yield "# CHECK: MySQL refuses to drop the only index of a foreign key."
    statement = f"migrator.drop_index({_quoted(table.name)}, {table.names(columns)})"
    name = table.named.get(columns)
    sql = f'"DROP INDEX `{name}`" + (" ON `{table.name}`" if mysql else "")'
    yield from _by_name(statement, sql) if name else [statement]


def _add_index(table: Table, columns: tuple[str, ...]) -> Iterator[str]:
    unique = table.indexes[columns]
    if unique:
        yield "# CHECK: rows that are equal in these columns make it fail: look for them first."
    suffix = ", unique=True" if unique else ""
    statement = f"migrator.add_index({_quoted(table.name)}, {table.names(columns)}{suffix})"
    name = table.named.get(columns)
    listed = ", ".join(f"`{column}`" for column in columns)
    sql = f'"CREATE {"UNIQUE " if unique else ""}INDEX `{name}` ON `{table.name}` ({listed})"'
    yield from _by_name(statement, sql) if name else [statement]


def _by_name(statement: str, sql: str) -> list[str]:
    """`statement` for an index that is called otherwise: it only tells the models, and `sql` does it."""
    return ["with migrator.fake():", f"    {statement}", f"migrator.sql({sql})"]


def _remove(table: Table, names: Sequence[str]) -> Iterator[str]:
    plain = [name for name in names if not table.columns[name].target]
    if names:
        yield f"# CHECK: the values of {', '.join(names)} are lost. The release that still runs may not need them."
    if plain:
        yield f"migrator.remove_fields({_quoted(table.name)}, {table.names(plain)})"
    for name in names:
        if name not in plain:
            # Dropping the column of a foreign key is more than SQLite can: the table is written anew.
            yield from _made_anew(table)
            legacy = '**({} if mysql else {"legacy": True})'
            yield f"migrator.remove_fields({_quoted(table.name)}, {table.names([name])}, {legacy})"


def _add(table: Table, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        column = table.columns[name]
        if not column.null and column.default is None:
            yield f"# CHECK: {name} may not be NULL and has no default: say which value the rows have that exist."
        elif not column.null:
            yield f"# CHECK: {name} is written into every row that exists."
            yield from _made_anew(table)
    if names:
        written = [f"{table.columns[name].name}={_written(table, name, added=True)}," for name in names]
        yield "\n".join([f"migrator.add_fields(\n    {_quoted(table.name)},", *map(_indented, written), ")"])


def _change(table: Table, before: Column, after: Column) -> Iterator[str]:
    where = f"{_quoted(table.name)}, "
    if not _differs(before, after):
        return
    yield from _made_anew(table)
    if before.null and not after.null:
        yield f"# CHECK: rows whose {after.name} is NULL make it fail: fill them in a migration before."
    if before.constraints != after.constraints:
        yield f"# CHECK: {_listed(before.constraints)} becomes {_listed(after.constraints)} only where it is a DEFAULT."
    if not _differs(before._replace(null=after.null), after):
        if before.constraints:
            yield f"# CHECK: on MySQL the column loses {_listed(before.constraints)}: say it again."
        yield f"migrator.{'drop' if after.null else 'add'}_not_null({where}{_quoted(after.name)})"
        return
    yield "# CHECK: every row is written anew, and a value that does not fit makes it fail."
    # Its index stays as it is.
    flags = [f"{flag}=True" for flag, given in zip(("index", "unique"), before.indexed, strict=True) if given]
    yield f"migrator.change_fields({where}{after.name}={_call(after, [*after.options, *flags])})"


def _made_anew(table: Table) -> Iterator[str]:
    if table.without_rowid:
        yield f"# CHECK: on SQLite {table.name} loses its WITHOUT ROWID: write this step by hand, as 003 does."
