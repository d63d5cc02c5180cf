"""New migration files: an empty one, or a draft of what the models have and the migrations do not give yet.

peewee-migrate can draft too, but not from models like ours: it writes fields of our own classes and values that its
file does not know, gives foreign keys an index they must not have, and forgets defaults, checks and table settings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import peewee
from peewee import AutoField, Field, ForeignKeyField, Model

from service.config import Settings
from service.errors import BadRequest
from service.models import ALL_MODELS
from service.models.base import COLLATION, ENGINE
from service.schema.files import DOUBT, PLACEHOLDER, find_folder, migration_names
from service.schema.offline import replay, unconnected
from service.schema.steps import Steps

T = TypeVar("T")

WORDS = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

DRAFT = """

This is a draft of what the models have and the migrations before do not give, as much of it as may be in one file.
Read every line, and see to every CHECK.
"""

OPERATIONS = """\
# Only queue operations here: this runs again, without a database, whenever a later migration runs.
#   migrator.create_model(Model), remove_model(table), rename_table(table, new)
#   migrator.add_fields(table, name=pw.IntegerField(null=True)), change_fields(table, name=...)
#   migrator.remove_fields(table, name, ...), rename_field(table, old, new)
#   migrator.add_index(table, name, ..., unique=False), drop_index(table, name, ...)
#   migrator.add_not_null(table, name, ...), drop_not_null(table, name, ...), sql(statement, *values)
#   migrator.update_rows(table, {column: "SQL value"}, where="..."), delete_rows(table, where="...")
#   migrator.run(function, ...): the function may read and write, through what it is given
# `table` is the table's name, `name` the field's. isinstance(database, pw.MySQLDatabase) tells the engines apart.
pass"""

UNDO = """\
# Undo it, the last step first. With nothing to undo, a docstring says why.
pass"""

OPTIONS = ("max_length", "max_digits", "decimal_places", "collation", "on_delete", "on_update")  # of peewee's fields
RENAMED = "if it is only a new name of {}: migrator.rename_{}, in a file of its own, keeps what is there."
WHICH_ENGINE = "mysql = isinstance(database, pw.MySQLDatabase)"
SETTINGS = (
    f'table_settings = ["ENGINE={ENGINE}", "DEFAULT CHARACTER SET utf8mb4 COLLATE {COLLATION}"] if mysql else None'
)


class Column(NamedTuple):
    """A column as a migration file declares it."""

    name: str  # of its field
    kind: str  # peewee's own class
    options: tuple[str, ...]  # as they are written
    null: bool
    foreign: bool
    indexed: bool | None  # by the field itself: True when unique, None when not at all


class Table(NamedTuple):
    """A table as a migration file declares it. Columns are known by their names in the database."""

    name: str
    model: str
    columns: dict[str, Column]
    key: tuple[str, ...]
    indexes: dict[tuple[str, ...], bool]  # columns -> unique
    without_rowid: bool

    def names(self, columns: Iterable[str]) -> str:
        """The fields of `columns`, written as arguments."""
        return ", ".join(_quoted(self.columns[column].name) for column in columns)

    def call(self, operation: str, *arguments: str) -> str:
        """An operation on this table, as it is written."""
        return _call(f"migrator.{operation}", [_quoted(self.name), *arguments])


class Step(NamedTuple):
    """A change of the schema and what undoes it, as they are written."""

    do: str
    undo: str
    alone: bool = False  # nothing takes it back, so that its file may hold nothing else


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
    bodies = "\n\n".join([_body("migrate", migrate), _body("rollback", rollback)])
    imports = "import peewee as pw\n\n" if "pw." in bodies else ""
    return f'"""{PLACEHOLDER}.{note}"""\n\n{imports}\n{bodies}'


def _body(step: str, parts: Sequence[str]) -> str:
    text = "\n".join(filter(None, parts)).strip()
    if SETTINGS in text:
        text = f"{WHICH_ENGINE}\n\n{text}"
    if not re.search(r"^[^#\n]", text, re.M):
        text += "\npass"
    return f"def {step}(migrator, database, *, fake=False):\n{_indented(text)}\n"


def _indented(text: str) -> str:
    return re.sub(r"^(?=.)", "    ", text, flags=re.M)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _call(function: str, arguments: Iterable[str]) -> str:
    listed = ", ".join(arguments)
    return f"{function}({listed})" if len(listed) < 80 else f"{function}(\n{_indented(listed)}\n)"


def _checked(operation: str, *checks: object) -> str:
    """`operation` under those `checks` that are not falsy."""
    return "\n".join([*(f"# {DOUBT} {check}" for check in checks if check), operation])


def _missing(some: Iterable[T], others: Collection[T]) -> list[T]:
    return [one for one in some if one not in others]


# --- what there is, and what there should be -------------------------------------------------------------------------


def _draft(folder: Path, names: Sequence[str], models: Iterable[type[Model]]) -> str:
    database = unconnected(mysql=False)
    migrator = Steps(database)
    replay(folder, names, migrator, database)
    old, new, notes = _tables(migrator.orm), _tables(models), []
    for name in [name for name in new if name in old]:
        new[name] = _aligned(new[name], old[name])
        by_hand = _by_hand(old[name], new[name])
        new[name] = _left_alone(new[name], old[name], by_hand)
        notes += [f"not drafted: {sentence}" for sentence in dict.fromkeys(by_hand.values())]
    steps = list(_steps(old, new))
    if not notes and not steps:
        raise BadRequest("The models and the migrations agree: there is nothing to draft.")
    here = [step for step in steps if not step.alone] or steps[:1]
    if len(here) < len(steps):
        notes.append("more is left, for files of its own: when this one is right, --auto drafts the next.")
    return _source(DRAFT, [_checked("", *notes), *(step.do for step in here)], [step.undo for step in reversed(here)])


def _tables(models: Iterable[Any]) -> dict[str, Table]:
    """Models by table, parents before children."""
    return {table.name: table for table in map(_table, cast("Any", peewee).sort_models(list(models)))}


def _table(model: type[Model]) -> Table:
    meta = cast("Any", model)._meta
    return Table(
        meta.table_name,
        model.__name__,
        {field.column_name: _column(field) for field in meta.sorted_fields},
        tuple(field.column_name for field in meta.get_primary_keys()),
        {_columns(model, index): bool(index._unique) for index in meta.fields_to_index()},
        bool(meta.without_rowid),
    )


def _columns(model: type[Model], index: Any) -> tuple[str, ...]:
    parts = getattr(index, "_expressions", [None])
    if not all(isinstance(part, Field) for part in parts) or index._where or index._using:
        name = getattr(index, "_name", index)
        raise BadRequest(f"No draft can be made: index {name} of {model.__name__} has expressions or a condition.")
    return tuple(part.column_name for part in parts)


def _column(field: Any) -> Column:
    foreign = isinstance(field, ForeignKeyField)
    plain: Any = next(cls for cls in type(field).__mro__ if cls.__module__ == "peewee")
    if not foreign and plain.field_type != field.field_type:
        raise BadRequest(
            f"No draft can be made: {field.model.__name__}.{field.name} is {field.field_type},"
            f" but a {plain.__name__} of peewee is {plain.field_type}."
        )
    indexed = True if field.unique else False if field.index else None
    return Column(field.name, plain.__name__, tuple(_options(field)), bool(field.null), foreign, indexed)


def _options(field: Any) -> Iterator[str]:
    if isinstance(field, ForeignKeyField):
        target = field.rel_model._meta.table_name
        yield '"self"' if field.rel_model is field.model else f"migrator.orm[{_quoted(target)}]"
        yield 'backref="+"'
        if not field.rel_field.primary_key:
            yield f"field={_quoted(field.rel_field.name)}"
    for name in OPTIONS:
        value = vars(field).get(name)
        if value not in (None, "NO ACTION"):
            yield f"{name}={json.dumps(value)}"
    if field.primary_key and not isinstance(field, AutoField):
        yield "primary_key=True"
    constraints = [f"pw.SQL({_quoted(str(getattr(one, 'sql', one)))})" for one in field.constraints or ()]
    if constraints:
        yield f"constraints=[{', '.join(constraints)}]"


def _aligned(table: Table, known: Table) -> Table:
    """`table` in the words of the `known` one: other names of fields make no other table."""
    columns = dict(table.columns)
    for name in columns.keys() & known.columns.keys():
        columns[name] = columns[name]._replace(name=known.columns[name].name, indexed=known.columns[name].indexed)
    return table._replace(columns=columns)


def _by_hand(old: Table, new: Table) -> dict[str, str]:
    """Columns that peewee cannot change on every engine, each with a sentence that says so."""
    found = {}
    if (old.key, old.without_rowid) != (new.key, new.without_rowid):
        keys = [f"({', '.join(table.key)}){' WITHOUT ROWID' * table.without_rowid}" for table in (old, new)]
        sentence = f"the primary key of {new.name}, from {' to '.join(keys)}: see 003."
        found = dict.fromkeys([*old.key, *new.key], sentence)
    for name, column in new.columns.items():
        known = old.columns.get(name, column)
        is_key = known.foreign or column.foreign or name in old.key
        if is_key and column != known._replace(null=column.null):
            found.setdefault(name, f"{new.name}.{name}, which is a key, has changed.")
    return found


def _left_alone(table: Table, known: Table, by_hand: Collection[str]) -> Table:
    """`table`, but as the `known` one is in the columns `by_hand`, and in the indexes they are in."""
    columns = {name: column for name, column in table.columns.items() if name not in by_hand}
    columns |= {name: column for name, column in known.columns.items() if name in by_hand}
    indexes = {at: unique for at, unique in table.indexes.items() if not set(at) & set(by_hand)}
    indexes |= {at: unique for at, unique in known.indexes.items() if set(at) & set(by_hand)}
    return table._replace(columns=columns, indexes=indexes, key=known.key, without_rowid=known.without_rowid)


# --- from the one to the other ---------------------------------------------------------------------------------------


def _steps(old: Mapping[str, Table], new: Mapping[str, Table]) -> Iterator[Step]:
    """The way from the tables `old` to `new`: what can be taken back first, in an order that MySQL can undo."""
    pairs = [(old[name], table) for name, table in new.items() if name in old]
    gone = ", ".join(_missing(old, new))
    for name in _missing(new, old):
        yield Step(_checked(_create(new[name]), gone and RENAMED.format(gone, "table")), _drop(new[name]))
    for before, after in pairs:
        gone = ", ".join(_missing(before.columns, after.columns))
        for name in _missing(after.columns, before.columns):
            yield Step(_checked(_add(after, name), gone and RENAMED.format(gone, "field")), _remove(after, name))
    for before, after in pairs:
        yield from _index_steps(before, after)
    for before, after in pairs:
        for name, column in before.columns.items():
            if name not in after.columns:
                with_it = [_add_index(before, at) for at in before.indexes if name in at and len(at) > 1]
                yield Step(_remove(before, name), "\n".join([_add(before, name), *with_it]), alone=True)
            elif column != after.columns[name]:
                yield Step(_change(before, after, name), _change(after, before, name), alone=True)
    for name in reversed(_missing(old, new)):
        yield Step(_drop(old[name]), _create(old[name]), alone=True)


def _index_steps(old: Table, new: Table) -> Iterator[Step]:
    """New ones first: MySQL lets none go that a foreign key needs. A column brings the one on it alone, and takes along
    all that it is in."""
    for columns in _missing(new.indexes, old.indexes):
        if old.columns.keys() >= set(columns):
            yield Step(_add_index(new, columns), _drop_index(new, columns))
        elif len(columns) > 1:
            yield Step(_add_index(new, columns), "")
    for columns in old.indexes:
        if columns not in new.indexes and new.columns.keys() >= set(columns):
            yield Step(_drop_index(old, columns), _add_index(old, columns))
        elif new.indexes.get(columns, old.indexes[columns]) != old.indexes[columns]:
            there, back = (f"{_drop_index(old, columns)}\n{_add_index(table, columns)}" for table in (new, old))
            yield Step(there, back)


def _create(table: Table) -> str:
    fields = [f"{column.name} = {_written(table, name)}" for name, column in table.columns.items()]
    settings = [f"table_name = {_quoted(table.name)}", SETTINGS]
    if len(table.key) != 1:
        settings.append(f"primary_key = {f'pw.CompositeKey({table.names(table.key)})' if table.key else False}")
    wide = [f"(({table.names(columns)}), {unique})" for columns, unique in table.indexes.items() if len(columns) > 1]
    if wide:
        settings.append(f"indexes = ({', '.join(wide)},)")
    if table.without_rowid:
        settings.append("without_rowid = not mysql")
    body = "\n".join([*fields, "\nclass Meta:", *map(_indented, settings)])
    return f"@migrator.create_model\nclass {table.model}(pw.Model):\n{_indented(body)}\n"


def _drop(table: Table) -> str:
    check = f"the rows of {table.name} are lost. The release that still runs may not need them."
    return _checked(table.call("remove_model"), check)


def _written(table: Table, name: str, *, changed: bool = False) -> str:
    """The column `name` of `table` as Python, with its own index; one that is `changed` keeps the one it has."""
    column = table.columns[name]
    indexed = column.indexed if changed else table.indexes.get((name,))
    arguments = [*column.options]
    if column.foreign or name != column.name:
        arguments.insert(column.foreign, f"column_name={_quoted(name)}")
    if indexed:
        arguments.append("unique=True")
    elif (indexed is not None) != column.foreign:  # a foreign key has an index unless it says otherwise
        arguments.append(f"index={indexed is not None}")
    if column.null:
        arguments.append("null=True")
    return _call(f"pw.{column.kind}", arguments)


def _add(table: Table, name: str) -> str:
    column = table.columns[name]
    check = (
        f"{column.name} may not be NULL and has no DEFAULT for the rows that exist: give it one, or\n"
        "# add it with NULL, fill it by update_rows in a second file, and add_not_null in a third."
    )
    flags = [] if column.null else ["allow_not_null=True"]
    given = column.null or 'pw.SQL("DEFAULT ' in "".join(column.options)
    return _checked(table.call("add_fields", *flags, f"{column.name}={_written(table, name)}"), not given and check)


def _remove(table: Table, name: str) -> str:
    check = f"the values of {name} are lost. The release that still runs may not need them."
    return _checked(table.call("remove_fields", table.names([name])), check)


def _change(old: Table, new: Table, name: str) -> str:
    before, after = old.columns[name], new.columns[name]
    nulls = before.null and not after.null and f"rows whose {name} is NULL make it fail: update_rows first."
    if before == after._replace(null=before.null):
        return _checked(new.call(f"{'drop' if after.null else 'add'}_not_null", new.names([name])), nulls)
    operation = new.call("change_fields", f"{after.name}={_written(new, name, changed=True)}")
    return _checked(operation, nulls, "every row is written anew, and a value that does not fit makes it fail.")


def _add_index(table: Table, columns: tuple[str, ...]) -> str:
    unique = ["unique=True"] if table.indexes[columns] else []
    operation = table.call("add_index", table.names(columns), *unique)
    return _checked(operation, unique and "rows that are equal in these columns make it fail: look for them first.")


def _drop_index(table: Table, columns: tuple[str, ...]) -> str:
    return table.call("drop_index", table.names(columns))
