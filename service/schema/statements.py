"""What kind of change a statement makes, which of them a migration may have together, and watching that it is so.

MySQL and MariaDB commit at every schema statement. So a migration can be taken back only if all it did before it failed
can be: added columns can be dropped again, dropped ones cannot be filled again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

from service.errors import BadRequest

UP: Final = "up"
DOWN: Final = "down"

# Begins a change of `schema.kept_rows`, which takes it back itself.
KEPT: Final = "/* in batches, rows kept */ "

CREATED = re.compile(r"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?:`([^`]+)`|(\w+))", re.I)
CHANGED = re.compile(
    r"(?:(?:CREATE|DROP)\s+TABLE\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?|ALTER\s+(?:ONLINE\s+)?(?:IGNORE\s+)?TABLE\s+"
    r"|(?:CREATE|DROP)\s.*?\bON\s+)(?:`([^`]+)`|(\w+))",
    re.I | re.S,
)
KEPT_TABLE = re.compile(re.escape(KEPT) + r"(?:UPDATE|DELETE FROM) (\S+)")

OWN_TABLES: Final = ("migratehistory", "migration_log")
HISTORY = re.compile(r"(INSERT INTO|DELETE FROM) [`\"]?migratehistory\b")


class Kind(Enum):
    """What can become of a statement's effect when a later one fails."""

    READ = "reads"
    ROWS = "changes rows"  # one transaction takes it back
    KEPT_ROWS = "changes rows in batches"  # the rows kept aside take it back
    SCHEMA = "changes the schema"  # another schema statement takes it back, without loss
    FINAL = "removes or converts"  # nothing does


# Not COMMIT and its like: what they end cannot be taken back. Nor SET STATEMENT, which is followed by any other.
READS = re.compile(
    r"(SELECT|SHOW|DESC|DESCRIBE|EXPLAIN|SET(?!\s+STATEMENT\b)|PRAGMA|SAVEPOINT|RELEASE|ROLLBACK\s+TO)\b", re.I
)
ROWS = re.compile(r"(INSERT|UPDATE|DELETE|REPLACE|WITH|LOAD|CALL|DO)\b", re.I)
ADDS = re.compile(r"CREATE\s+TABLE\b|(CREATE|DROP)\s+(UNIQUE\s+|FULLTEXT\s+|SPATIAL\s+)?INDEX\b", re.I)
ALTER = re.compile(r"ALTER\s+(ONLINE\s+)?TABLE\s+(`[^`]+`|\S+)\s+", re.I)
# Of an ALTER TABLE; DROP `name` without one of these words drops a column.
CLAUSE = re.compile(
    r"ADD\b|DROP\s+(INDEX|KEY|PRIMARY\s+KEY|FOREIGN\s+KEY|CONSTRAINT|CHECK)\b"
    r"|ALTER\s+(COLUMN\s+)?(`[^`]+`|\w+)\s+(SET|DROP)\s+DEFAULT\b|(ALGORITHM|LOCK)\b",
    re.I,
)
# Comments that begin with /*! or /*M! are executed.
# What else an ALTER TABLE may do behind an added column: nothing takes it back.
LAYOUT = re.compile(r"\b(PARTITION(S|ING|ED)?|SYSTEM\s+VERSIONING|PERIOD\s+FOR)\b", re.I)
# They are in no CREATE TABLE, so they are neither rehearsed nor known after a kill.
BESIDE_TABLES = re.compile(
    r"(CREATE|ALTER|DROP)\s(?:(?!\bTABLE\b|\bINDEX\b).)*?\b(TRIGGER|VIEW|PROCEDURE|FUNCTION|EVENT|SEQUENCE)\b", re.I
)
QUOTED_OR_COMMENT = re.compile(
    r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`)|/\*(?!M?!).*?\*/|--(?=\s|\Z)[^\n]*|#[^\n]*", re.S
)
IN_PARENTHESES = re.compile(r"\([^()]*\)")


class Statement(NamedTuple):
    """SQL with its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()

    @property
    def kind(self) -> Kind:
        """What kind of change it makes; FINAL for what is not known."""
        if self.sql.startswith(KEPT):
            return Kind.KEPT_ROWS
        sql = _bare(self.sql)
        if READS.match(sql):
            return Kind.READ
        if ROWS.match(sql):
            return Kind.ROWS
        if ADDS.match(sql) or _only_adds(sql):
            return Kind.SCHEMA
        return Kind.FINAL

    @property
    def created(self) -> str | None:
        """The table that it creates."""
        found = CREATED.match(QUOTED_OR_COMMENT.sub(lambda found: found[1] or " ", self.sql).strip())
        return found and (found[1] or found[2])

    @property
    def table(self) -> str | None:
        """The table whose structure it changes."""
        found = CHANGED.match(QUOTED_OR_COMMENT.sub(lambda found: found[1] or " ", self.sql).strip())
        return found and (found[1] or found[2])

    @property
    def kept_table(self) -> str | None:
        """The table whose rows it changes in batches."""
        found = KEPT_TABLE.match(self.sql)
        return found and found[1]

    @property
    def is_history(self) -> bool:
        """Whether it is peewee-migrate's own, which records the migration at its end."""
        return HISTORY.match(self.sql) is not None

    def __str__(self) -> str:
        return " ".join(self.sql.split())


def _only_adds(sql: str) -> bool:
    begin = ALTER.match(sql)
    if LAYOUT.search(sql):
        return False
    return begin is not None and all(CLAUSE.match(clause.strip()) for clause in sql[begin.end() :].split(","))


def _bare(sql: str) -> str:
    """The statement without comments, without what is in quotes, and without what is in parentheses."""
    bare = QUOTED_OR_COMMENT.sub(lambda found: "`quoted`" if found[1] else " ", sql).strip()
    while (shorter := IN_PARENTHESES.sub(" ", bare)) != bare:
        bare = shorter
    return bare


class Judged(Protocol):
    """What the rules look at: a statement, or what is known of one that is to come."""

    @property
    def kind(self) -> Kind: ...
    @property
    def kept_table(self) -> str | None: ...


def objection(direction: str, before: Sequence[Judged], statement: Judged) -> str | None:
    """Why `statement` may not follow those `before` it in one migration; None if it may.

    A migration changes rows or the schema, and what nothing takes back stands alone. To undo one may take more: batches
    of rows first, then the schema, and what nothing takes back last; once begun with that, the undo is carried on.
    """
    if isinstance(statement, Statement) and BESIDE_TABLES.match(_bare(statement.sql)):
        return "triggers, views and routines are not for migrations, which could not take them back"
    kind, kinds = statement.kind, {earlier.kind for earlier in before}
    changes_schema = kind in (Kind.SCHEMA, Kind.FINAL)
    if {Kind.ROWS, Kind.KEPT_ROWS} <= kinds | {kind}:
        return "it changes rows both in one transaction and in batches: each belongs in a file of its own"
    if kind is Kind.KEPT_ROWS and _lower(statement.kept_table) in {_lower(earlier.kept_table) for earlier in before}:
        return "it changes rows of one table in batches twice: each belongs in a file of its own"
    if not changes_schema and kinds & {Kind.SCHEMA, Kind.FINAL}:
        return "it changes rows after the schema: schema and data steps belong in files of their own"
    if changes_schema and (Kind.ROWS in kinds or (direction == UP and Kind.KEPT_ROWS in kinds)):
        return "it changes the schema after rows: schema and data steps belong in files of their own"
    if direction == DOWN and kind is Kind.SCHEMA and Kind.FINAL in kinds:
        return "it goes on after a step that nothing takes back: such steps come last"
    if direction == UP and before and Kind.FINAL in kinds | {kind}:
        return "it has a step that nothing takes back beside others: such a step stands alone in its file"
    return None


def _lower(name: str | None) -> str:
    """Some servers do not tell Rides from rides."""
    return (name or "").lower()


class Watch:
    """Stands between a migration and its database: holds it to the rules, and notes what it does.

    `run` executes a statement that may be. Without `rules` everything may be, and is noted.
    """

    def __init__(self, name: str, direction: str, run: Callable[[Statement], Any], *, rules: bool = True) -> None:
        self.name = name
        self.direction = direction
        self.run = run
        self.rules = rules
        self.seen: list[Statement] = []

    def execute(self, sql: str, params: Sequence[Any] | None = None, *_: Any, **__: Any) -> Any:
        """In the place of `execute_sql`. Raises BadRequest, and executes nothing, when the statement may not be."""
        statement = Statement(sql, tuple(params or ()))
        if statement.kind is Kind.READ or statement.is_history:
            return self.run(statement)
        self.note(statement)
        return self.run(statement)

    def note(self, statement: Statement) -> None:
        """Raise BadRequest unless `statement` may follow those seen."""
        reason = objection(self.direction, self.seen, statement) if self.rules else None
        if reason:
            raise BadRequest(f"Migration {self.name} is refused at `{str(statement)[:100]}`: {reason}.")
        self.seen.append(statement)


@contextmanager
def watched(bound: Any, watch: Watch) -> Iterator[None]:
    """Let every statement sent through `bound` go through `watch`."""
    bound.execute_sql = watch.execute
    try:
        yield
    finally:
        del bound.execute_sql


def unwatched(bound: Any, sql: str, values: Sequence[Any] = ()) -> Any:
    """Execute a statement of the guard's own, whether or not a watch stands before `bound`."""
    return type(bound).execute_sql(bound, sql, values)
