"""migration_log: every run of a migration, by whom and with which file; written before it starts, so that one that was
cut short is known and can be taken back."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from peewee import SQL, AutoField, CharField, Field, IntegerField, TextField

from service import clock, database
from service.errors import Unavailable
from service.models.base import COLLATION, ENGINE, Base, UtcField
from service.schema.statements import UP, Statement, unwatched
from service.schema.structure import Structure

RUNNING: Final = "running"
RESTORING: Final = "restoring"
DONE: Final = "done"
RESTORED: Final = "restored"


class Plan(NamedTuple):
    """What a rehearsal found that a migration will do.

    `schema` are its statements that change the schema, each with the fingerprint of the structure after it; `blocking`
    are those of them that keep others from writing to their table while they run.
    """

    statements: list[Statement]
    schema: list[tuple[Statement, str]]
    blocking: tuple[Statement, ...] = ()

    @property
    def created(self) -> set[str]:
        """The tables it makes."""
        return {name for statement, _ in self.schema if (name := statement.created)}

    @property
    def touched(self) -> set[str]:
        """The tables whose structure it changes."""
        return {name for statement, _ in self.schema if (name := statement.table)}


class _LongTextField(TextField):
    """MySQL's TEXT ends at 64 KiB; a migration that inserts many rows has a longer plan."""

    field_type = "LONGTEXT"


class MigrationRun(Base):
    """One run of one migration. `before` and `plan` are held while it runs."""

    run_id = AutoField()
    name = CharField(max_length=255)
    direction = CharField(max_length=4)
    checksum = CharField(max_length=64)
    ran_by = CharField(max_length=100)
    started_at = UtcField()
    finished_at = UtcField(null=True)
    status = CharField(max_length=10)
    before = _LongTextField(null=True)
    plan = _LongTextField(null=True)
    # Of the statements that change the schema: how many were begun, how many completed, and the one begun last.
    steps_begun = IntegerField(default=0, constraints=[SQL("DEFAULT 0")])
    steps_done = IntegerField(default=0, constraints=[SQL("DEFAULT 0")])
    step = _LongTextField(null=True)

    class Meta:
        table_name = "migration_log"


class Applied(NamedTuple):
    """How an applied migration came to be. `checksum` is that of the file it was."""

    checksum: str
    ran_by: str
    at: datetime


def create() -> None:
    """Create the table if it is not there."""
    mysql_settings = [f"ENGINE={ENGINE}", f"DEFAULT CHARACTER SET utf8mb4 COLLATE {COLLATION}"]
    cast("Any", MigrationRun)._meta.table_settings = mysql_settings if database.is_mysql() else None
    MigrationRun.create_table(safe=True)


def begin(name: str, direction: str, checksum: str, before: Structure, plan: Plan | None) -> MigrationRun:
    """Note that a migration starts, with all that is needed to take it back."""
    run = MigrationRun()
    run.name, run.direction, run.checksum = name, direction, checksum
    run.ran_by, run.started_at, run.status = _who(), clock.now(), RUNNING
    run.before = json.dumps(before)
    run.plan = None if plan is None else json.dumps(plan, default=str)
    run.save()
    return run


def note(name: str, checksum: str, at: datetime) -> None:
    """Note that a migration was applied before there was a journal."""
    run = MigrationRun()
    run.name, run.direction, run.checksum, run.status = name, UP, checksum, DONE
    run.ran_by, run.started_at, run.finished_at = "not recorded", at, at
    run.save()


def begin_step(run: MigrationRun, statement: Statement) -> None:
    """Note that a statement that changes the schema is sent: whether nothing takes it back must be known afterwards."""
    run.steps_begun, run.step = run.steps_done + 1, statement.sql
    _write(run, {MigrationRun.steps_begun: run.steps_begun, MigrationRun.step: run.step})


def finish_step(run: MigrationRun) -> None:
    """Note that it is done."""
    run.steps_done = run.steps_begun
    _write(run, {MigrationRun.steps_done: run.steps_done})


def _write(run: MigrationRun, values: Mapping[Field[Any], object]) -> None:
    """Past the watch, which stands before the database while a migration runs."""
    sql, parameters = MigrationRun.update(values).where(MigrationRun.run_id == run.run_id).sql()
    unwatched(database.db.obj, sql, parameters)


def begin_restoring(run: MigrationRun) -> None:
    """Note that a run is being taken back: from now on it is not to be carried on."""
    run.status = RESTORING
    run.save()


def finish(run: MigrationRun, status: str = DONE) -> None:
    """Note how a run ended."""
    run.status, run.finished_at, run.before, run.plan, run.step = status, clock.now(), None, None, None
    run.save()


def unfinished() -> MigrationRun | None:
    """The run that was cut short, if there is one."""
    if not _exists():
        return None
    return MigrationRun.get_or_none(MigrationRun.status.not_in((DONE, RESTORED)))


def before(run: MigrationRun) -> Structure:
    """The structure before a run that was cut short. Raises Unavailable for a run that another release has noted."""
    if run.before is None or run.status not in (RUNNING, RESTORING):
        raise Unavailable(f"{run.name} was cut short under another release, whose `cli migrate` can mend it.")
    found: Structure = json.loads(run.before)
    return found


def plan(run: MigrationRun) -> Plan | None:
    """What a run that was cut short would have done; None where that was not rehearsed."""
    if run.plan is None:
        return None
    statements, schema, *_ = json.loads(run.plan)
    return Plan(
        [Statement(sql, tuple(values)) for sql, values in statements],
        [(Statement(sql, tuple(values)), mark) for (sql, values), mark in schema],
    )


def last_applied() -> dict[str, Applied]:
    """How each migration was applied the last time, by name."""
    if not _exists():
        return {}
    runs = MigrationRun.select().where(MigrationRun.status == DONE, MigrationRun.direction == UP)
    return {
        run.name: Applied(run.checksum, run.ran_by, run.finished_at or run.started_at)
        for run in runs.order_by(MigrationRun.run_id)
    }


def _exists() -> bool:
    return bool(cast("Any", MigrationRun).table_exists())


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # containers run as numbers without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:100]
