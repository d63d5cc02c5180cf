"""After a failure, and after a kill: a migration on MySQL and MariaDB is finished, or nothing of it is left.

SQLite needs none of this: there all pending migrations are one transaction.
"""

from __future__ import annotations

from typing import Any

from peewee import PeeweeException

from service import database, periods
from service.errors import ServiceError, Unavailable
from service.schema import journal, kept_rows
from service.schema.execution import change_schema
from service.schema.files import checksum
from service.schema.journal import MigrationRun
from service.schema.router import Runs
from service.schema.saying import Say
from service.schema.statements import DOWN, UP
from service.schema.structure import Structure, fingerprint, lost, restore, structure


def complete(bound: Any, run: MigrationRun) -> None:
    """Note that a migration which is in the history has succeeded."""
    if database.is_mysql():
        kept_rows.forget(bound)
    journal.finish(run)


def take_back(bound: Any, run: MigrationRun, say: Say) -> None:
    """Leave nothing of a migration. Raises ServiceError, and changes nothing, where something is gone already."""
    if gone := lost(journal.before(run), structure(bound)):
        raise ServiceError(f"{run.name} cannot be taken back, because {', '.join(gone)} went.")
    journal.begin_restoring(run)
    plan = journal.plan(run)
    restore(bound, journal.before(run), say, None if plan is None else plan.created)
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
    bound, before, now = runs.bound, journal.before(run), _own(run, structure(runs.bound))
    unchanged = (runs.folder / f"{run.name}.py").exists() and checksum(runs.folder, run.name) == run.checksum
    if (run.name in runs.applied()) == (run.direction == UP):
        complete(bound, run)
        say("It had finished.")
    elif run.status == journal.RESTORING:
        take_back(bound, run, say)
        say("What it had done is taken back now.")
    elif resume and unchanged and now == before and run.direction == UP and kept_rows.kept_tables(bound):
        say("It goes on where it was.")
        return run
    elif _finish(runs, run, unchanged, say):
        complete(bound, run)
        say("It is finished now.")
    else:
        take_back(bound, run, say)
        say("What it had done was taken back." if now != before else "Nothing of it is left.")
    return None


def _own(run: MigrationRun, now: Structure) -> Structure:
    """`now` without the tables that others have made since the run began, where it is known which it makes itself."""
    before, plan = journal.before(run), journal.plan(run)
    return now if plan is None else {name: now[name] for name in now if name in before or name in plan.created}


def _finish(runs: Runs, run: MigrationRun, unchanged: bool, say: Say) -> bool:
    """Carry on behind the last statement that was completed, where that is known; whether it was."""
    before, plan, now = journal.before(run), journal.plan(run), structure(runs.bound)
    gone = lost(before, now)
    if plan is not None:
        marks = [fingerprint(before), *(mark for _, mark in plan.schema)]
        # As a whole too: a table that was renamed is nobody's creation.
        reached = max(marks.index(at) if at in marks else 0 for at in map(fingerprint, (now, _own(run, now))))
        if not reached or not (unchanged or gone):
            return False
        try:
            for statement, _ in plan.schema[reached:]:
                change_schema(runs.bound, statement, say)
        except PeeweeException as error:
            if gone:
                raise
            say(f"It cannot be finished: {error.args[-1]}.")
            return False
    elif not gone:
        return False
    elif run.direction == DOWN:
        raise Unavailable(f"It was not rehearsed, and {', '.join(gone)} went: finish what its rollback does by hand.")
    runs.record(run.name, run.direction)  # without a plan: what nothing takes back stood alone, and has happened
    return True
