"""After a failure, and after a kill: a migration on MySQL and MariaDB is finished, or nothing of it is left.

SQLite needs none of this: there all pending migrations are one transaction.
"""

from __future__ import annotations

from typing import Any

from service import database, periods
from service.errors import ServiceError, Unavailable
from service.schema import journal, kept_rows
from service.schema.execution import Say, change_schema
from service.schema.files import checksum
from service.schema.journal import MigrationRun
from service.schema.router import Runs
from service.schema.statements import DOWN, UP
from service.schema.structure import Structure, fingerprint, lost, restore, structure


def complete(bound: Any, run: MigrationRun) -> None:
    """Note that a migration which is in the history has succeeded."""
    if database.is_mysql():
        kept_rows.forget(bound)
    journal.finish(run)


def take_back(bound: Any, run: MigrationRun, say: Say) -> None:
    """Leave nothing of a failed migration. Raises ServiceError where something is gone already: then it is to be
    finished."""
    if gone := lost(journal.before(run), structure(bound)):
        raise ServiceError(f"It cannot be taken back, because {', '.join(gone)} went: run the command again.")
    restore(bound, journal.before(run))
    kept_rows.put_back(bound, say)
    journal.finish(run, journal.RESTORED)


def recover(runs: Runs, say: Say, *, resume: bool) -> MigrationRun | None:
    """Finish or take back the migration that was cut short, if there is one, and say so.

    One that changed rows in batches is returned with `resume`, to be run again: it goes on where it was.
    """
    run = journal.unfinished()
    if run is None:
        return None
    verb = "Migration" if run.direction == UP else "The undoing of migration"
    say(f"{verb} {run.name} was cut short; {run.ran_by} began it at {periods.iso_utc(run.started_at)}.")
    bound, before, now = runs.bound, journal.before(run), structure(runs.bound)
    unchanged = (runs.folder / f"{run.name}.py").exists() and checksum(runs.folder, run.name) == run.checksum
    if (run.name in runs.applied()) == (run.direction == UP):
        complete(bound, run)
        say("It had finished.")
    elif resume and unchanged and now == before and run.direction == UP and kept_rows.kept_tables(bound):
        say("It goes on where it was.")
        return run
    elif _finish(runs, run, now, unchanged, say):
        complete(bound, run)
        say("It is finished now.")
    else:
        take_back(bound, run, say)
        say("What it had done was taken back." if now != before else "Nothing of it is left.")
    return None


def _finish(runs: Runs, run: MigrationRun, now: Structure, unchanged: bool, say: Say) -> bool:
    """Carry on behind the last statement that was completed, where that is known; whether it was."""
    before, plan = journal.before(run), journal.plan(run)
    gone = lost(before, now)
    if plan is not None:
        marks = [fingerprint(before), *(mark for _, mark in plan.schema)]
        reached = marks.index(fingerprint(now)) if fingerprint(now) in marks else 0
        if not reached or not (unchanged or gone):
            return False
        for statement, _ in plan.schema[reached:]:
            change_schema(runs.bound, statement, say)
    elif not gone:
        return False
    elif run.direction == DOWN:
        raise Unavailable(f"It was not rehearsed, and {', '.join(gone)} went: finish what its rollback does by hand.")
    runs.record(run.name, run.direction)  # without a plan: what nothing takes back stood alone, and has happened
    return True
