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
from service.schema.statements import DOWN, UP, Kind, Statement
from service.schema.structure import Structure, fingerprint, lost, restore, structure

BY_HAND = "Mend it by hand, then say which it is: `cli migrate resolve --as done` or `--as undone`."


def complete(bound: Any, run: MigrationRun) -> None:
    """Note that a migration which is in the history has succeeded."""
    if database.is_mysql():
        kept_rows.forget(bound)
    journal.finish(run)


def take_back(bound: Any, run: MigrationRun, say: Say) -> None:
    """Leave nothing of a migration. Raises ServiceError, and changes nothing, where something has happened that nothing
    takes back; and, where its rows or tables do not allow it, saying which statement failed."""
    before, plan, now = journal.before(run), journal.plan(run), structure(bound)
    if happened := _final(run, now) or ", ".join(lost(before, now)):
        raise ServiceError(
            f"{run.name} cannot be taken back, because of {happened}: run the command again to carry it on."
        )
    journal.begin_restoring(run)
    try:
        restore(bound, before, say, None if plan is None else plan.touched)
        kept_rows.put_back(bound, say)
    except PeeweeException as error:
        raise _stuck(f"{run.name} could not be taken back", error) from error
    journal.finish(run, journal.RESTORED)


def _stuck(what: str, error: PeeweeException) -> ServiceError:
    """What to say when the database refuses, without what led to it, which was said before."""
    reason = database.explained(type(error)(*error.args))
    return type(reason)(f"{what}: {str(reason).rstrip('.')}. {BY_HAND}")


def _final(run: MigrationRun, now: Structure) -> str:
    """The statement that has happened though nothing takes it back; empty without one."""
    statements = _steps(run)
    done = statements[: run.steps_done]
    if run.steps_begun > run.steps_done and not _is_before_step(run, now):
        done = statements[: run.steps_begun]
    return next((f"`{str(one)[:100]}`" for one in done if one.kind is Kind.FINAL), "")


def _steps(run: MigrationRun) -> list[Statement]:
    """The statements that change the schema; without a rehearsal only the one begun last is known, which for one that
    nothing takes back is all there is on the way up."""
    plan = journal.plan(run)
    if plan is not None:
        return [statement for statement, _ in plan.schema]
    return [Statement(run.step or "")] * run.steps_begun


def _is_before_step(run: MigrationRun, now: Structure) -> bool:
    """Whether the structure is that before the statement begun last."""
    before, plan = journal.before(run), journal.plan(run)
    if plan is None or run.steps_begun == 1:
        return _own(run, now) == before
    return fingerprint(_own(run, now)) == plan.schema[run.steps_begun - 2][1]


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
    """`now` without what others have done since the run began to tables it has nothing to do with."""
    before, plan = journal.before(run), journal.plan(run)
    if plan is None:
        return now
    return {name: text for name, text in before.items() if name not in plan.touched} | {
        name: text for name, text in now.items() if name in plan.touched
    }


def _finish(runs: Runs, run: MigrationRun, unchanged: bool, say: Say) -> bool:
    """Carry on behind the last statement that was completed, where that is known; whether it was."""
    plan, now = journal.plan(run), structure(runs.bound)
    final = _final(run, now)
    if plan is None:
        if not final:
            return False
        if run.direction == DOWN:
            raise Unavailable(f"It was not rehearsed, and had come to {final}, which nothing takes back. {BY_HAND}")
    else:
        reached = _reached(run, now)
        if reached is None and final:
            raise Unavailable(f"{final} has happened, but the structure is none that the migration makes. {BY_HAND}")
        if not reached or not (unchanged or final):
            return False
        try:
            for statement, _ in plan.schema[reached:]:
                journal.begin_step(run, statement)
                change_schema(runs.bound, statement, say)
                journal.finish_step(run)
        except PeeweeException as error:
            if _final(run, structure(runs.bound)):
                raise _stuck(f"{run.name} cannot be finished", error) from error
            say(f"It cannot be finished: {error.args[-1]}.")
            return False
    runs.record(run.name, run.direction)  # without a plan: what nothing takes back stood alone, and has happened
    return True


def _reached(run: MigrationRun, now: Structure) -> int | None:
    """How many of the planned statements have happened, by the structure and by what was noted; None if no number of
    them makes this structure."""
    plan = journal.plan(run)
    if plan is None:
        return None
    marks = [fingerprint(journal.before(run)), *(mark for _, mark in plan.schema)]
    # As a whole too: a table that was renamed is nobody's creation.
    found = {fingerprint(now), fingerprint(_own(run, now))}
    fitting = [number for number, mark in enumerate(marks) if mark in found]
    noted = [number for number in fitting if run.steps_done <= number <= run.steps_begun]
    return max(noted or fitting, default=None)


def resolve(runs: Runs, *, done: bool) -> str | None:
    """Take the word of somebody who has mended the database: the run that was cut short is done, or undone. Its name,
    or None without one."""
    run = journal.unfinished()
    if run is None:
        return None
    applied = done == (run.direction == UP)
    if applied != (run.name in runs.applied()):
        runs.record(run.name, UP if applied else DOWN)
    journal.finish(run, journal.DONE if done else journal.RESTORED)
    return run.name
