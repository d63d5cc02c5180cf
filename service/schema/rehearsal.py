"""Runs migrations on an empty copy of the schema first: what cannot run is known before anything is touched, and what
they will do is known statement by statement."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

from peewee import MySQLDatabase, PeeweeException, SqliteDatabase

from service import database
from service.errors import BadRequest, Unavailable
from service.schema import kept_rows
from service.schema.execution import fresh_session
from service.schema.journal import Plan
from service.schema.router import Runs, naming
from service.schema.statements import IN_PARENTHESES, QUOTED_OR_COMMENT, Kind, Statement, Watch, unwatched
from service.schema.structure import Structure, fingerprint, structure

SUFFIX = "__rehearsal"
LONGEST_NAME = 64
ACCESS_DENIED = {1044, 1142, 1227}

# A table that says: this database is one of ours, which may be dropped.
MARK = "migration_rehearsal"

SETS_GLOBAL = re.compile(r"SET\b.*(\bGLOBAL\b|@@GLOBAL\b|\bPERSIST(_ONLY)?\b|@@PERSIST)", re.I | re.S)
OF_THE_SERVER = re.compile(
    r"(USE|GRANT|REVOKE|FLUSH|KILL|RESET|PURGE|SHUTDOWN|INSTALL|UNINSTALL|CHANGE|STOP|START\s+(?!TRANSACTION)"
    r"|SET\s+(PASSWORD|DEFAULT\s+ROLE)|RENAME\s+USER|(CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?"
    r"(DATABASE|SCHEMA|USER|ROLE|SERVER|TABLESPACE|LOGFILE|RESOURCE))\b",
    re.I,
)
HIDDEN = re.compile(r"(PREPARE|EXECUTE)\b", re.I)
CHANGES_SCHEMA = re.compile(r"(CREATE|ALTER|DROP|RENAME|TRUNCATE|OPTIMIZE)\b", re.I)
WAITS = re.compile(r"\bNOWAIT\b|\bWAIT\s+\d", re.I)
SETS_PATIENCE = re.compile(r"SET\b.*\block_wait_timeout\b", re.I | re.S)
EXECUTED_COMMENT = re.compile(r"/\*M?!\d*|\*/")

ALTERS = re.compile(r"ALTER\s+(ONLINE\s+)?(IGNORE\s+)?TABLE\b", re.I)
# Is done in an instant, though not with LOCK=NONE.
RENAMES = re.compile(r"ALTER\s+TABLE\s+\S+\s+RENAME\s+(TO\s+|AS\s+)?[^\s,]+\s*;?\Z", re.I)
INDEXES = re.compile(r"(CREATE|DROP)\s(.*\s)?INDEX\b", re.I)
LOCKS = re.compile(r"\bLOCK\s*=?\s*(SHARED|EXCLUSIVE)\b", re.I)
NEEDS_LOCK = {1845, 1846}


def rehearse(bound: Any, folder: Path, names: Sequence[str], direction: str, applied: Sequence[str]) -> list[Plan]:
    """What each migration of `names` does, in this order, to a database that has those `applied`.

    Raises BadRequest for one that breaks the rules, ServiceError for one that fails.
    """
    with _copy(bound) as scratch:
        runs = Runs(scratch, folder)
        for name in applied:
            runs.record(name)
        return [_rehearse_one(runs, name, direction, str(bound.database)) for name in names]


def blocking_lines(bound: Any, plan: Plan) -> list[str]:
    """One line for each statement of `plan` that keeps others from writing to a table that is there."""
    lines = []
    for statement in plan.blocking:
        found = unwatched(
            bound,
            "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s",
            (statement.table,),
        ).fetchone()
        if found:
            text = shorten(str(statement), 70, placeholder=" ...")
            lines.append(f"{text} blocks writers of {statement.table} while it runs (about {found[0] or 0:,} rows)")
    return lines


def _rehearse_one(runs: Runs, name: str, direction: str, live: str) -> Plan:
    scratch, mysql = runs.bound, isinstance(runs.bound, MySQLDatabase)
    schema: list[tuple[Statement, str]] = []
    blocking: list[Statement] = []

    def run(statement: Statement) -> Any:
        trial.ensure_inside(statement)
        if not mysql or statement.kind not in (Kind.SCHEMA, Kind.FINAL):
            return unwatched(scratch, *statement)
        result, blocks = _execute(scratch, statement)
        schema.append((statement, fingerprint(_structure(scratch))))
        blocking.extend([statement] * blocks)
        return result

    # SQLite takes everything back anyway, and rebuilds tables by copying rows.
    trial = _Trial(name, direction, run, rules=mysql)
    trial.scratch, trial.live = scratch, live
    fresh_session(scratch)
    with naming(name, "would fail, and was not begun"):
        runs.run(name, direction, trial, lambda _: None)
    if mysql:
        kept_rows.forget(scratch)  # a later migration may change the table, and its rows again
    return Plan(trial.seen, schema, tuple(blocking))


class _Trial(Watch):
    """A watch that also keeps statements inside the copy `scratch` of the database `live`."""

    scratch: Any
    live: str

    def note(self, statement: Statement) -> None:
        self.ensure_inside(statement)
        super().note(statement)

    def ensure_inside(self, statement: Statement) -> None:
        """Raise BadRequest for a statement that would reach what is live, or wait for a lock as it likes."""
        why = _reaches_out(self.scratch, self.live, _plain(statement.sql)) if self.rules else None
        if why:
            raise BadRequest(f"Migration {self.name} is refused at `{str(statement)[:100]}`: {why}.")


def _plain(sql: str) -> str:
    """Without comments and text in quotes; names in backticks stay, as does what the server executes of comments."""
    text = QUOTED_OR_COMMENT.sub(lambda found: found[1] if (found[1] or "").startswith("`") else " ", sql)
    return EXECUTED_COMMENT.sub(" ", text).strip()


def _reaches_out(scratch: Any, live: str, text: str) -> str | None:
    """Why trying a statement would change more than the copy, or why it would not wait as all others do."""
    if _names_database(scratch, live, text):
        return f"it names the database {live}, so trying it would reach what is live: leave that name out"
    if SETS_GLOBAL.match(text) or OF_THE_SERVER.match(text):
        return "it is for the whole server, where trying it would be doing it"
    if HIDDEN.match(text):
        return "it hides what it executes"
    if SETS_PATIENCE.match(text) or (CHANGES_SCHEMA.match(text) and WAITS.search(_outside_parentheses(text))):
        return "it says itself how long it waits for a lock, and everybody else would wait behind it"
    return None


def _names_database(scratch: Any, live: str, text: str) -> bool:
    """Whether the database's name is before a dot, but for `table.column` of a table that is called like it."""
    quoted, plain = re.escape(live.replace("`", "``")), re.escape(live)
    found = re.findall(rf"(?<![.\w$`])(?:`{quoted}`|{plain})\s*\.\s*`?([\w$]+)?", text, re.I)
    if not found or live not in scratch.get_tables():
        return bool(found)
    return not set(found) <= {column.name for column in scratch.get_columns(live)}


def _outside_parentheses(text: str) -> str:
    while (shorter := IN_PARENTHESES.sub(" ", text)) != text:
        text = shorter
    return text


def _execute(scratch: Any, statement: Statement) -> tuple[Any, bool]:
    """What it returns, and whether the server says that it would keep others from writing; False where it cannot say.

    The server refuses LOCK=NONE before it does anything, so that it is asked by trying.
    """
    text = _plain(statement.sql)
    comma = "," if ALTERS.match(text) else "" if INDEXES.match(text) else None
    if comma is None or RENAMES.match(text) or LOCKS.search(text):
        return unwatched(scratch, *statement), LOCKS.search(text) is not None
    # On a line of its own, because a comment may end the statement.
    free = statement._replace(sql=f"{statement.sql.rstrip().rstrip(';')}\n{comma} LOCK=NONE")
    try:
        return unwatched(scratch, *free), False
    except PeeweeException as error:
        blocks = error.args[0] in NEEDS_LOCK
    return unwatched(scratch, *statement), blocks


def _structure(scratch: Any) -> Structure:
    return {name: created for name, created in structure(scratch).items() if name != MARK}


@contextmanager
def _copy(bound: Any) -> Iterator[Any]:
    with _mysql_copy(bound) if database.is_mysql() else _sqlite_copy(bound) as scratch:
        yield scratch


@contextmanager
def _sqlite_copy(bound: Any) -> Iterator[Any]:
    made = bound.execute_sql(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type = 'index'"
    ).fetchall()
    scratch: Any = SqliteDatabase(":memory:")
    with closing(scratch):
        for (sql,) in made:
            scratch.execute_sql(sql)
        yield scratch


def _name(live: str) -> str:
    """A name of 64 characters at most, another for each live database."""
    if len(live) + len(SUFFIX) <= LONGEST_NAME:
        return live + SUFFIX
    mark = hashlib.sha256(live.encode()).hexdigest()[:8]
    return f"{live[: LONGEST_NAME - len(mark) - len(SUFFIX)]}{mark}{SUFFIX}"


@contextmanager
def _mysql_copy(bound: Any) -> Iterator[Any]:
    """A database beside the live one, its tables without their rows; dropped in the end, and before if it was left."""
    name = _name(bound.database)
    fresh_session(bound)
    created = structure(bound)
    character_set, collation = bound.execute_sql("SELECT @@character_set_database, @@collation_database").fetchone()
    _ensure_ours(bound, name)
    try:
        bound.execute_sql(f"DROP DATABASE IF EXISTS `{name}`")
        bound.execute_sql(f"CREATE DATABASE `{name}` CHARACTER SET {character_set} COLLATE {collation}")
    except PeeweeException as error:
        if error.args[0] not in ACCESS_DENIED:
            raise
        raise Unavailable(
            f"This account may not create the database {name}, on which migrations are tried before they run:"
            f" GRANT ALL ON `{name}`.* to it, or use --no-rehearsal to do without that safety."
        ) from error
    scratch: Any = MySQLDatabase(name, **bound.connect_params)
    try:
        scratch.execute_sql(f"CREATE TABLE `{MARK}` (made_by_migrations INT)")
        fresh_session(scratch)
        scratch.execute_sql("SET SESSION foreign_key_checks = 0")
        for sql in created.values():
            scratch.execute_sql(sql.replace("%", "%%"))
        yield scratch
    finally:
        scratch.close()
        bound.execute_sql(f"DROP DATABASE IF EXISTS `{name}`")


def _ensure_ours(bound: Any, name: str) -> None:
    """Raise Unavailable for a database of that name which holds something, and which no rehearsal has made."""
    held = {
        row[0]
        for row in bound.execute_sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
            " UNION SELECT routine_name FROM information_schema.routines WHERE routine_schema = %s"
            " UNION SELECT event_name FROM information_schema.events WHERE event_schema = %s",
            (name, name, name),
        ).fetchall()
    }
    if held and MARK not in held:
        raise Unavailable(
            f"The database {name} is in the way: migrations are tried in one of that name, which is dropped then, but"
            f" no migration has made this one, which holds {min(held)}. Rename or drop it, or use --no-rehearsal."
        )
