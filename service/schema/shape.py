"""What a table is made of: as the open database has it, and as a model declares it, in the same words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, cast

from peewee import Field, ForeignKeyField, Model

from service import database
from service.models.base import COLLATION, ENGINE

# What engines answer when asked for a type that has several names, or whose width means nothing.
SAME_TYPE = {"integer": "int", "bool": "tinyint(1)", "double precision": "double", "numeric": "decimal"}
WIDTH = re.compile(r"^(tinyint(?!\(1\))|smallint|mediumint|int|bigint)\(\d+\)")
TEXT = re.compile(r"char|text")
FRACTION = re.compile(r"-?\d+\.\d+")

ROWID_TABLE = "a table with rowids"  # of SQLite; the other kind is
CLUSTERED = "WITHOUT ROWID"
SQLITE_GENERATED = {2: "virtual generated", 3: "stored generated"}

# A line of a table's text: columns, table and columns they point at, and rules that may be left out.
FOREIGN_KEY = re.compile(
    r"FOREIGN KEY \((.+?)\) REFERENCES (.+?) \((.+?)\)(?: ON DELETE ([A-Z ]+?))?(?: ON UPDATE ([A-Z ]+?))?,?\n"
)


class Column(NamedTuple):
    """A column; `extra` is what else the database does with it, such as numbering ("auto_increment", "rowid")."""

    type: str
    null: bool
    default: str | None
    extra: str
    collation: str | None  # of text on MariaDB and MySQL

    def __str__(self) -> str:
        default = "" if self.default is None else f" DEFAULT {self.default or repr('')}"
        return f"{self.type} {'NULL' if self.null else 'NOT NULL'}{default} {self.extra}".rstrip()


class Index(NamedTuple):
    name: str
    unique: bool


ForeignKeys = dict[str, set[str]]  # columns -> where they point, and what happens to them when that goes


class Shape(NamedTuple):
    """A table. Columns of an index tell what is special about them, as in ("day DESC", "note(10)")."""

    storage: str  # the engine on MariaDB and MySQL; with or without rowids on SQLite
    collation: str | None
    columns: dict[str, Column]
    key: tuple[str, ...]
    indexes: dict[tuple[str, ...], Index]  # without the primary key; a unique one wins over another on the same columns
    foreign_keys: ForeignKeys


def live(pointing: Iterable[str] = ()) -> dict[str, Shape]:
    """Every table of the open database by its name; `pointing` names tables that should have foreign keys."""
    return _mysql_tables(pointing) if database.is_mysql() else _sqlite_tables()


def declared(model: type[Model]) -> Shape:
    """What the database should have for `model`."""
    return _declared(model, database.is_mysql())


def table_name(model: type[Model]) -> str:
    name: str = _meta(model).table_name
    return name


# --- MariaDB and MySQL -----------------------------------------------------------------------------------------------

# The servers differ in the case of the columns' names, so rows are taken by position. A join of these would be slow.
MYSQL_TABLES = (
    "SELECT table_name, engine, table_collation FROM information_schema.tables"
    " WHERE table_schema = DATABASE() AND table_type <> 'VIEW'"
)
MYSQL_COLUMNS = (
    "SELECT table_name, column_name, column_type, is_nullable, column_default, extra, collation_name"
    " FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position"
)
MYSQL_INDEXES = (
    "SELECT table_name, index_name, non_unique, column_name, sub_part, collation, index_type"
    " FROM information_schema.statistics WHERE table_schema = DATABASE()"
    " ORDER BY table_name, index_name, seq_in_index"
)
MYSQL_REFERENCES = (
    "SELECT table_name, constraint_name, column_name, referenced_table_name, referenced_column_name,"
    " NULLIF(referenced_table_schema, table_schema)"
    " FROM information_schema.key_column_usage WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL"
    " ORDER BY table_name, constraint_name, ordinal_position"
)
MYSQL_RULES = (
    "SELECT table_name, constraint_name, delete_rule, update_rule FROM information_schema.referential_constraints"
    " WHERE constraint_schema = DATABASE()"
)


def _mysql_tables(pointing: Iterable[str]) -> dict[str, Shape]:
    tables = _ask(MYSQL_TABLES)
    columns, indexes = _by_table(MYSQL_COLUMNS), _by_table(MYSQL_INDEXES)
    foreign_keys = _mysql_foreign_keys({row[0] for row in tables} & set(pointing))
    return {
        name: Shape(
            engine or "unusable",
            collation,
            {row[1]: _mysql_column(*row[2:]) for row in columns.get(name, [])},
            tuple(row[3] for row in indexes.get(name, []) if row[1] == "PRIMARY"),
            _indexes(_mysql_indexes(indexes.get(name, []))),
            foreign_keys.get(name, {}),
        )
        for name, engine, collation in tables
    }


def _mysql_column(kind: str, null: str, default: str | None, extra: str, collation: str | None) -> Column:
    extra = extra.lower().replace("default_generated", "").strip()
    return Column(_type(kind), null == "YES", _default(default), extra, collation)


def _mysql_indexes(rows: list[Any]) -> Iterator[tuple[tuple[str, ...], Index]]:
    for name, parts in groupby(rows, key=itemgetter(1)):
        if name == "PRIMARY":
            continue
        columns = list(parts)
        kind = [] if columns[0][6] == "BTREE" else [columns[0][6]]
        yield (*(_mysql_part(*row[3:6]) for row in columns), *kind), Index(name, not columns[0][2])


def _mysql_part(column: str | None, prefix: int | None, order: str | None) -> str:
    return f"{column or 'an expression'}{f'({prefix})' if prefix else ''}{' DESC' if order == 'D' else ''}"


def _mysql_foreign_keys(pointing: Iterable[str]) -> dict[str, ForeignKeys]:
    """By table. MariaDB hides rules, or all of it, from an account that may only read; a table's text it shows."""
    rules = {(table, name): (delete, update) for table, name, delete, update in _ask(MYSQL_RULES)}
    found: dict[str, ForeignKeys] = {}
    for seen, parts in groupby(_ask(MYSQL_REFERENCES), key=itemgetter(0, 1)):
        if seen in rules:
            columns = list(parts)
            schema, table = columns[0][5], columns[0][3]
            target = f"{schema}.{table}" if schema else table
            keys = found.setdefault(seen[0], {})
            _point(keys, [row[2] for row in columns], target, [row[4] for row in columns], *rules[seen])
    return found | {table: _foreign_keys_in_text(table) for table in pointing if table not in found}


def _foreign_keys_in_text(table: str) -> ForeignKeys:
    found: ForeignKeys = {}
    text = re.sub('[`"]', "", _ask(f"SHOW CREATE TABLE `{table}`")[0][1])
    for columns, target, targets, delete, update in FOREIGN_KEY.findall(text):
        _point(found, columns.split(", "), target, targets.split(", "), delete, update)
    return found


# --- SQLite ----------------------------------------------------------------------------------------------------------

SQLITE_TABLES = "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
SQLITE_COLUMNS = (
    "SELECT t.name, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk, c.hidden"
    " FROM sqlite_master AS t JOIN pragma_table_xinfo(t.name) AS c WHERE t.type = 'table' ORDER BY t.name, c.cid"
)
SQLITE_INDEXES = (
    "SELECT t.name, i.name, i.\"unique\", i.partial, c.name, c.\"desc\", c.coll"
    " FROM sqlite_master AS t JOIN pragma_index_list(t.name) AS i JOIN pragma_index_xinfo(i.name) AS c"
    " WHERE t.type = 'table' AND i.origin <> 'pk' AND c.key = 1 ORDER BY t.name, i.name, c.seqno"
)
SQLITE_REFERENCES = (
    "SELECT t.name, f.id, f.\"from\", f.\"table\", f.\"to\", f.on_delete, f.on_update"
    " FROM sqlite_master AS t JOIN pragma_foreign_key_list(t.name) AS f WHERE t.type = 'table'"
    " ORDER BY t.name, f.id, f.seq"
)


def _sqlite_tables() -> dict[str, Shape]:
    columns, indexes, references = (_by_table(sql) for sql in (SQLITE_COLUMNS, SQLITE_INDEXES, SQLITE_REFERENCES))
    keys = {name: tuple(row[1] for row in sorted(rows, key=itemgetter(5)) if row[5]) for name, rows in columns.items()}
    storages = {name: _sqlite_storage(sql) for name, sql in _ask(SQLITE_TABLES)}
    return {
        name: Shape(
            storage,
            None,
            {row[1]: _sqlite_column(storage, keys[name], row) for row in columns[name]},
            keys[name],
            _indexes(_sqlite_indexes(indexes.get(name, []))),
            _sqlite_foreign_keys(references.get(name, []), keys),
        )
        for name, storage in storages.items()
    }


def _sqlite_storage(sql: str) -> str:
    return CLUSTERED if CLUSTERED in " ".join(sql.rpartition(")")[2].upper().split()) else ROWID_TABLE


def _sqlite_column(storage: str, key: tuple[str, ...], row: tuple[Any, ...]) -> Column:
    _, name, kind, not_null, default, _, hidden = row
    extra = SQLITE_GENERATED.get(hidden) or _rowid(storage, key, name, kind)
    return Column(_type(kind), not not_null, _default(default), extra, None)


def _rowid(storage: str, key: tuple[str, ...], column: str, kind: str) -> str:
    """SQLite numbers a key by itself if its type is this word and no other for whole numbers."""
    return "rowid" if (storage, key, kind.upper()) == (ROWID_TABLE, (column,), "INTEGER") else ""


def _sqlite_indexes(rows: list[Any]) -> Iterator[tuple[tuple[str, ...], Index]]:
    for (name, unique, partial), parts in groupby(rows, key=itemgetter(1, 2, 3)):
        columns = [_sqlite_part(*row[4:]) for row in parts]
        yield (*columns, *(["WHERE ..."] if partial else [])), Index(name, bool(unique))


def _sqlite_part(column: str | None, descending: int, collation: str) -> str:
    own = "" if collation == "BINARY" else f" COLLATE {collation}"
    return f"{column or 'an expression'}{own}{' DESC' if descending else ''}"


def _sqlite_foreign_keys(rows: list[Any], keys: dict[str, tuple[str, ...]]) -> ForeignKeys:
    found: ForeignKeys = {}
    for _, parts in groupby(rows, key=itemgetter(1)):
        columns = list(parts)
        target, delete, update = columns[0][3], columns[0][5], columns[0][6]
        # Without columns it is the key of the other table.
        targets = [row[4] for row in columns] if columns[0][4] else keys.get(target, ())
        _point(found, [row[2] for row in columns], target, targets, delete, update)
    return found


# --- models ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _declared(model: type[Model], mysql: bool) -> Shape:
    meta = _meta(model)
    storage = ENGINE if mysql else CLUSTERED if meta.without_rowid else ROWID_TABLE
    key = tuple(field.column_name for field in meta.get_primary_keys())
    fields = cast("list[Field[Any]]", meta.sorted_fields)
    return Shape(
        storage,
        COLLATION if mysql else None,
        {field.column_name: _declared_column(field, storage, key, mysql) for field in fields},
        key,
        {
            tuple(field.column_name for field in index._expressions): Index(index._name, bool(index._unique))
            for index in meta.fields_to_index()
        },
        _declared_foreign_keys(fields),
    )


def _declared_column(field: Field[Any], storage: str, key: tuple[str, ...], mysql: bool) -> Column:
    context = database.db.get_sql_context()
    raw: str = context.sql(cast("Any", field).ddl_datatype(context)).query()[0]
    kind = _type(raw)
    constraints = [str(constraint.sql) for constraint in cast("Any", field).constraints or ()]
    default = next((sql[len("DEFAULT ") :] for sql in constraints if sql.upper().startswith("DEFAULT ")), None)
    if mysql:
        extra = "auto_increment" if cast("Any", field).auto_increment else ""
    else:
        extra = _rowid(storage, key, field.column_name, raw)
    return Column(kind, bool(field.null), _default(default), extra, COLLATION if mysql and TEXT.search(kind) else None)


def _declared_foreign_keys(fields: list[Field[Any]]) -> ForeignKeys:
    found: ForeignKeys = {}
    for field in fields:
        if isinstance(field, ForeignKeyField):
            target = [field.rel_field.column_name]
            _point(found, [field.column_name], table_name(field.rel_model), target, field.on_delete, field.on_update)
    return found


def _meta(model: type[Model]) -> Any:
    return cast("Any", model)._meta


# --- the same words for all ------------------------------------------------------------------------------------------


def _ask(sql: str) -> list[Any]:
    return list(database.db.execute_sql(sql).fetchall())


def _by_table(sql: str) -> dict[str, list[Any]]:
    """The rows of a query whose first column is the table."""
    found: dict[str, list[Any]] = {}
    for row in _ask(sql):
        found.setdefault(row[0], []).append(row)
    return found


def _indexes(found: Iterable[tuple[tuple[str, ...], Index]]) -> dict[tuple[str, ...], Index]:
    return dict(sorted(found, key=lambda index: index[1].unique))


def _point(
    found: ForeignKeys,
    columns: Iterable[str],
    table: str,
    targets: Iterable[str],
    on_delete: str | None,
    on_update: str | None,
) -> None:
    """Add a foreign key to `found`."""
    update = "" if _rule(on_update) == "NO ACTION" else f" ON UPDATE {on_update}"
    key = f"{table}.{', '.join(targets)} ON DELETE {_rule(on_delete)}{update}"
    found.setdefault(", ".join(columns), set()).add(key)


def _rule(rule: str | None) -> str:
    """InnoDB says RESTRICT where nothing was asked for; the two do the same there."""
    return rule if rule and rule != "RESTRICT" else "NO ACTION"


def _type(name: str) -> str:
    name = name.strip().lower().replace(", ", ",").removesuffix(" auto_increment")
    name = WIDTH.sub(r"\1", name)
    base, bracket, rest = name.partition("(")
    return SAME_TYPE.get(name) or SAME_TYPE.get(base, base) + bracket + rest


def _default(text: str | None) -> str | None:
    """MariaDB writes defaults as SQL, NULL too; MySQL as they are; SQLite as they were written."""
    if text is None or text.upper() == "NULL":
        return None
    if text.lower().startswith("current_"):
        return text.lower().removesuffix("()")
    text = text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text
    return text.rstrip("0").removesuffix(".") if FRACTION.fullmatch(text) else text
