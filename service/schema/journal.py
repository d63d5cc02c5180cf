"""migration_log: every run of a migration, by whom and with which file; written before it starts, so that one that was
cut short is known and can be taken back."""

from __future__ import annotations

import getpass
import json
import os
import socket
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from peewee import AutoField, CharField, TextField

from service import clock, database
from service.models.base import COLLATION, ENGINE, Base, UtcField
from service.schema.statements import UP, Statement
from service.schema.structure import Structure

RUNNING: Final = "running"
RESTORING: Final = "restoring"
DONE: Final = "done"
RESTORED: Final = "restored"


class Plan(NamedTuple):
    """What a rehearsal found that a migration will do.

    `schema` are its statements that change the schema, each with the fingerprint of the structure after it.
    """

    statements: list[Statement]
    schema: list[tuple[Statement, str]]

    @property
    def created(self) -> set[str]:
        """The tables it makes."""
        return {name for statement, _ in self.schema if (name := statement.created)}


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


def begin_restoring(run: MigrationRun) -> None:
    """Note that a run is being taken back: from now on it is not to be carried on."""
    run.status = RESTORING
    run.save()


def finish(run: MigrationRun, status: str = DONE) -> None:
    """Note how a run ended."""
    run.status, run.finished_at, run.before, run.plan = status, clock.now(), None, None
    run.save()


def unfinished() -> MigrationRun | None:
    """The run that was cut short, if there is one."""
    if not _exists():
        return None
    return MigrationRun.get_or_none(MigrationRun.status << (RUNNING, RESTORING))


def before(run: MigrationRun) -> Structure:
    """The structure before a run that was cut short."""
    found: Structure = json.loads(run.before or "{}")
    return found


def plan(run: MigrationRun) -> Plan | None:
    """What a run that was cut short would have done; None where that was not rehearsed."""
    if run.plan is None:
        return None
    statements, schema = json.loads(run.plan)
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
