"""Migrations for tests: folders of files, and what a database looks like from outside."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from service import database as door
from service import schema
from service.config import Settings
from service.schema.statements import OWN_TABLES

ROOT = Path(schema.__file__).parents[2]
FOLDER = schema.find_folder(Settings())
NAMES = schema.migration_names(Settings())
NEXT = f"{len(NAMES) + 1:03}"  # the number of a further migration
HEAD = """'''{doc}'''
import peewee as pw

def migrate(migrator, database, *, fake=False):
{migrate}

def rollback(migrator, database, *, fake=False):
{rollback}
"""
NOTHING = "'Nothing to undo.'"

# Two tables, one the parent of the other: small enough to work every result out by hand.
THINGS = """
class Park(pw.Model):
    park_id = pw.AutoField()
    name = pw.CharField(max_length=20)
    note = pw.CharField(max_length=20, null=True)

    class Meta:
        table_name = "parks"

class Ride(pw.Model):
    ride_id = pw.AutoField()
    park = pw.ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE")
    name = pw.CharField(max_length=20)
    owner_id = pw.IntegerField()
    wait = pw.IntegerField(null=True)
    hits = pw.IntegerField()

    class Meta:
        table_name = "rides"

migrator.create_model(Park)
migrator.create_model(Ride)
"""
NO_THINGS = "migrator.remove_model('rides')\nmigrator.remove_model('parks')"


# --- folders of migrations -------------------------------------------------------------------------------------------


def first(count: int, settings: Settings, tmp_path: Path) -> Settings:
    """`settings` that know only the first `count` migrations of the project."""
    folder = tmp_path / f"first{count}"
    folder.mkdir(exist_ok=True)
    for name in NAMES[:count]:
        shutil.copy(FOLDER / f"{name}.py", folder)
    return replace(settings, migrations_dir=folder)


def put(settings: Settings, name: str, migrate: str, rollback: str = NOTHING) -> Settings:
    """Write a migration into the folder of `settings`, in place of one of that name; returns `settings`."""
    bodies = {"migrate": indent(dedent(migrate), "    "), "rollback": indent(dedent(rollback), "    ")}
    (settings.migrations_dir / f"{name}.py").write_text(HEAD.format(doc=name, **bodies))
    return settings


def one_more(settings: Settings, tmp_path: Path, name: str, migrate: str, rollback: str = NOTHING) -> Settings:
    """`settings` with a further migration after those of the project."""
    return put(first(len(NAMES), settings, tmp_path), name, migrate, rollback)


def two_tables(settings: Settings, tmp_path: Path) -> Settings:
    """`settings` with a folder of their own and in it 001_create_things, which is applied; two parks, three rides."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    mine = put(replace(settings, migrations_dir=folder), "001_create_things", THINGS, NO_THINGS)
    schema.upgrade(mine)
    run("INSERT INTO parks VALUES (1, 'Alpha', NULL), (2, 'Beta', 'x')")
    run("INSERT INTO rides VALUES (1, 1, 'Comet', 1, 5, 0), (2, 1, 'Comet', 2, NULL, 0), (3, 2, 'Dive', 9, 5, 0)")
    return mine


def many_rides(count: int) -> None:
    """Rides 1 to `count` of park 1 in place of those there are; `hits` are 0."""
    run("DELETE FROM rides")
    numbers = "WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < ?) SELECT n FROM seq"
    if door.is_mysql():
        numbers = "SELECT seq AS n FROM seq_1_to_100000 WHERE seq <= ?"
    run(f"INSERT INTO rides SELECT n, 1, 'Comet', n, NULL, 0 FROM ({numbers}) AS numbers", count)


# --- what the database looks like ------------------------------------------------------------------------------------


def run(sql: str, *values: object) -> list[tuple]:
    return list(door.db.execute_sql(sql.replace("?", door.db.param), values).fetchall())


def tables() -> list[str]:
    return [name for name in door.db.get_tables() if name not in OWN_TABLES]


def shapes() -> dict[str, str]:
    """What the database itself says of each table and index."""
    if not door.is_mysql():
        return dict(run(f"SELECT name, sql FROM sqlite_master WHERE tbl_name NOT IN {OWN_TABLES}"))
    return {name: re.sub(r" AUTO_INCREMENT=\d+", "", run(f"SHOW CREATE TABLE {name}")[0][1]) for name in tables()}


def rows(table: str) -> list[dict]:
    names = [column.name for column in door.db.get_columns(table)]
    return sorted((dict(zip(names, row, strict=True)) for row in run(f"SELECT * FROM {table}")), key=str)


def everything() -> dict[str, list[dict]]:
    return {table: rows(table) for table in tables()}


def whole() -> tuple:
    """Schema, rows and history: what a migration that failed must leave as it was."""
    return shapes(), everything(), schema.applied()


def databases() -> set[str]:
    """Names of all databases of the server but its own; none on SQLite."""
    if not door.is_mysql():
        return set()
    return {name for (name,) in run("SHOW DATABASES")} - {"mysql", "sys", "information_schema", "performance_schema"}


def sample(column: Any, number: int) -> object:
    """A value of the column's type; numbers are small, so that every foreign key finds its row."""
    if column.name == "metrics_version":
        return 1
    kind = column.full_type.lower()
    if "char" in kind or "text" in kind:
        return str(number)
    return f"2025-05-0{number}" if kind == "date" else number


def fill() -> None:
    """Two rows into every empty table. The versions are left to the migration that registers them."""
    for table in sorted(tables(), key=lambda name: ["parks", "rides"].index(name) if name in ("parks", "rides") else 2):
        columns = door.db.get_columns(table)
        if table == "metrics_versions" or run(f"SELECT 1 FROM {table} LIMIT 1"):
            continue
        for number in (1, 2):
            marks = ", ".join("?" * len(columns))
            run(f"INSERT INTO {table} VALUES ({marks})", *(sample(column, number) for column in columns))


# --- processes -------------------------------------------------------------------------------------------------------


def start(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    """The command as a process of its own, `cli migrate` with `arguments`."""
    folder = {"MIGRATIONS_DIR": str(settings.migrations_dir)} if settings.migrations_dir else {}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "migrate", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": settings.database_url, **folder},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def started(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """As `start`; the process is surely gone afterwards."""
    with start(settings, *arguments) as process:
        try:
            yield process
        finally:
            process.kill()


def until(found: Callable[[], Any]) -> Any:
    """What `found` returns once that is true; fails after half a minute."""
    deadline = time.monotonic() + 30
    while not (result := found()):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)
    return result
