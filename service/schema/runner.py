"""Runs the migrations: checks first, one process at a time, rehearsed, and taken back when they fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from peewee import PeeweeException

from service import database, periods
from service.config import Settings
from service.errors import BadRequest, ServiceError, Unavailable, Unreachable
from service.models import ALL_MODELS
from service.schema import journal
from service.schema.execution import change_schema, fresh_session, patience
from service.schema.files import checksum, ensure_sound, find_folder, migration_names, paths
from service.schema.journal import Plan
from service.schema.lock import WAIT_SECONDS, alone
from service.schema.recovery import complete, recover, take_back
from service.schema.recovery import resolve as settle
from service.schema.rehearsal import blocking_lines, rehearse
from service.schema.router import Runs, naming, recorded_at
from service.schema.saying import Say
from service.schema.statements import DOWN, UP, Kind, Statement, Watch, unwatched
from service.schema.shape import table_name
from service.schema.structure import structure

log = logging.getLogger(__name__)


class Options(NamedTuple):
    """How to migrate: whom to tell, how long to wait for another process, whether to rehearse."""

    say: Say = log.info
    wait_seconds: float = WAIT_SECONDS
    rehearsed: bool = True


class Planned(NamedTuple):
    """What a migration would execute, and which of it keeps others from writing meanwhile."""

    statements: list[Statement]
    warnings: list[str]


class State(NamedTuple):
    """A migration as `status` tells it. `file` is unchanged, changed, missing, not recorded, or new when pending."""

    name: str
    applied: bool
    at: datetime | None
    by: str | None
    file: str


# --- looking ---------------------------------------------------------------------------------------------------------


def applied() -> list[str]:
    """Names of the migrations the open database has, in the order they ran."""
    return Runs(_bound(), Path()).applied()


def pending(settings: Settings) -> list[str]:
    """Names of the migrations still to run, in order.

    Raises BadRequest for files that cannot be run, Unavailable when the database has others than these.
    """
    names, done = migration_names(settings), applied()
    _ensure_one_story(names, done)
    return [name for name in names if name not in done]


def ensure_current(settings: Settings) -> None:
    """Raise Unavailable unless the open database has all migrations, and none of them half."""
    waiting = pending(settings)
    if waiting:
        raise Unavailable(
            f"The database is not migrated ({len(waiting)} pending, the first is {waiting[0]}): run `cli migrate`."
        )
    half = journal.unfinished()
    if half:
        raise Unavailable(f"Migration {half.name} runs, or was cut short: wait for it, or run `cli migrate`.")


def unfinished() -> str | None:
    """Name of the migration that runs now, or was cut short."""
    run = journal.unfinished()
    return None if run is None else run.name


def states(settings: Settings) -> list[State]:
    """All migrations, of the files and of the database, in order; whatever is wrong with them."""
    folder, done, known = find_folder(settings), applied(), journal.last_applied()
    times = recorded_at(_bound())
    files = {path.stem for path in paths(folder)}
    found = []
    for name in sorted(files | set(done)):
        run = known.get(name)
        at = run.at if run else times.get(name)
        if name in done:
            found.append(State(name, True, at, run and run.ran_by, _file_state(folder, name, run)))
        else:
            found.append(State(name, False, None, None, "new"))
    return found


def _file_state(folder: Path, name: str, run: journal.Applied | None) -> str:
    if not (folder / f"{name}.py").exists():
        return "missing"
    if run is None:
        return "not recorded"
    return "unchanged" if checksum(folder, name) == run.checksum else "changed"


def _ensure_one_story(names: list[str], done: list[str]) -> None:
    """Raise Unavailable when the files and the history of the database cannot be one line of migrations."""
    unknown = [name for name in done if name not in names]
    if unknown:
        raise Unavailable(
            f"The database has migrations that this release does not: {', '.join(unknown)}."
            " Run the release that made them, or undo them with its `cli migrate down`."
        )
    if sorted(set(done)) != done:
        raise Unavailable(f"The database's history has migrations twice or out of order: {', '.join(done)}.")
    late = [name for name in names if done and name < done[-1] and name not in done]
    if late:
        raise Unavailable(
            f"Migration {late[0]} has a lower number than {done[-1]}, which the database already has:"
            " give it the next free number."
        )


def _ensure_unchanged(folder: Path, done: Sequence[str]) -> None:
    """Raise BadRequest for a file that is no more what was applied: nobody could tell what the database has."""
    known = journal.last_applied()
    for name in done:
        if name in known and checksum(folder, name) != known[name].checksum:
            raise BadRequest(
                f"Migration {name} was changed after {known[name].ran_by} applied it at"
                f" {periods.iso_utc(known[name].at)}: bring the file back as it was, and put the change in a new one."
                " (`cli migrate down --force` undoes one whose rollback was mended.)"
            )


# --- changing --------------------------------------------------------------------------------------------------------


def upgrade(settings: Settings, options: Options = Options()) -> list[str]:
    """Run what is pending and return the names; each is said before it runs.

    All or nothing of a migration is kept; on SQLite, all or nothing of all that are pending. Raises BadRequest for
    files that may not run, ServiceError for a migration that failed, Unavailable for a database that cannot be used.
    """
    folder = _sound_folder(settings)
    with _in_order(options) as bound:
        runs = Runs(bound, folder)
        _ensure_ours(bound, runs)
        journal.create()
        resumed = recover(runs, options.say, resume=True)
        waiting = pending(settings)
        _ensure_unchanged(folder, runs.applied())
        _record_unrecorded(folder, runs)
        _run_all(runs, waiting, UP, options, resumed)
    return waiting


def downgrade(
    settings: Settings, to: str | None = None, options: Options = Options(), *, changed_too: bool = False
) -> list[str]:
    """Undo the newest migration, or all after number `to` ("000" undoes all). Returns the names undone, newest first.

    Raises BadRequest for a number that is not applied, and for a file that was changed since, unless `changed_too`.
    """
    folder = _sound_folder(settings)
    with _in_order(options) as bound:
        runs = Runs(bound, folder)
        journal.create()
        half = journal.unfinished()
        recover(runs, options.say, resume=False)
        if to is None and half and half.name not in runs.applied():
            return [half.name]  # that was the newest
        names = _after(to, migration_names(settings), runs.applied())
        if not changed_too:
            _ensure_unchanged(folder, names)
        _run_all(runs, names, DOWN, options, None)
    return names


def resolve(settings: Settings, options: Options = Options(), *, done: bool) -> str | None:
    """Note that the migration which was cut short is `done`, or else undone: somebody has seen to it by hand. Its name;
    None where none was cut short."""
    with _in_order(options) as bound:
        return settle(Runs(bound, find_folder(settings)), done=done)


def undone(settings: Settings, to: str | None = None) -> list[str]:
    """What `downgrade` would undo, newest first. Raises BadRequest for a number that is not applied."""
    return _after(to, migration_names(settings), applied())


def plans(
    settings: Settings, options: Options = Options(), *, undo: bool = False, to: str | None = None
) -> dict[str, Planned]:
    """What `upgrade`, or with `undo` `downgrade`, would execute, by migration; tried on an empty copy of the schema."""
    folder = _sound_folder(settings)
    bound = _bound()
    with alone(bound, options.say, options.wait_seconds) if database.is_mysql() else nullcontext():
        _ensure_ours(bound, Runs(bound, folder))
        done = applied()
        names = undone(settings, to) if undo else pending(settings)
        _ensure_unchanged(folder, names if undo else done)
        found = rehearse(bound, folder, names, DOWN if undo else UP, done) if names else []
        return {
            name: Planned(plan.statements, list(blocking_lines(bound, plan)))
            for name, plan in zip(names, found, strict=True)
        }


def _after(to: str | None, names: list[str], done: list[str]) -> list[str]:
    _ensure_one_story(names, done)
    if to is None:
        return done[-1:]
    numbers = [name[:3] for name in done]
    if to != "000" and to not in numbers:
        raise BadRequest(f"Migration {to!r} is not applied: choose 000 or one of {', '.join(numbers) or 'none'}.")
    return [name for name in reversed(done) if name[:3] > to]


def _sound_folder(settings: Settings) -> Path:
    folder = find_folder(settings)
    ensure_sound(folder)
    return folder


@contextmanager
def _in_order(options: Options) -> Iterator[Any]:
    """The open database, while no other process migrates it."""
    bound = _bound()
    with patience(bound), alone(bound, options.say, options.wait_seconds):
        yield bound


def _ensure_ours(bound: Any, runs: Runs) -> None:
    """Raise BadRequest where tables of our names are not of our migrations: undoing would drop them."""
    names = {table_name(model) for model in ALL_MODELS} & set(bound.get_tables())
    if names and not runs.applied() and journal.unfinished() is None:
        raise BadRequest(
            f"The database holds tables of another program ({', '.join(sorted(names))}): name an empty one in"
            " DATABASE_URL. `cli adopt` then takes a predecessor's over."
        )


def _record_unrecorded(folder: Path, runs: Runs) -> None:
    """Take the files of migrations from before there was a journal for what was applied."""
    known, times = journal.last_applied(), recorded_at(runs.bound)
    for name in runs.applied():
        if name not in known:
            journal.note(name, checksum(folder, name), times[name])


def _run_all(
    runs: Runs, names: Sequence[str], direction: str, options: Options, resumed: journal.MigrationRun | None
) -> None:
    plans: Sequence[Plan | None] = [None] * len(names)
    if names and database.is_mysql() and options.rehearsed:
        plans = rehearse(runs.bound, runs.folder, names, direction, runs.applied())
    for name, plan in zip(names, plans, strict=True):
        options.say(name)
        for line in blocking_lines(runs.bound, plan) if plan else ():
            options.say(f"  {line}")
        fresh_session(runs.bound)
        before = structure(runs.bound) if database.is_mysql() else {}
        run = resumed if resumed and resumed.name == name else None
        run = run or journal.begin(name, direction, checksum(runs.folder, name), before, plan)
        _run_one(runs, run, plan, options.say)


def _run_one(runs: Runs, run: journal.MigrationRun, plan: Plan | None, say: Say) -> None:
    started = monotonic()
    mysql = database.is_mysql()
    watch = Watch(run.name, run.direction, _executor(runs.bound, run, plan, say), rules=mysql)
    try:
        with naming(run.name):
            runs.run(run.name, run.direction, watch, say)
    except ServiceError as error:
        if mysql:
            _give_up(runs.bound, run, error, say)
        raise type(error)(f"{error} Nothing of this run is kept: schema and rows are as they were.") from error
    complete(runs.bound, run)
    if monotonic() - started > 1:
        say(f"  done in {monotonic() - started:.0f} s")


def _give_up(bound: Any, run: journal.MigrationRun, error: ServiceError, say: Say) -> None:
    """Take back what a failed migration did, and say so with the reason."""
    try:
        take_back(bound, run, say)
    except (PeeweeException, Unreachable):
        raise Unavailable(
            f"{error} What it had done is not taken back yet: run `cli migrate` when the database answers again."
        ) from error
    except ServiceError as again:
        raise ServiceError(f"{error} {again}") from error
    raise type(error)(f"{error} Schema and rows are as they were before it.") from error


def _executor(bound: Any, run: journal.MigrationRun, plan: Plan | None, say: Say) -> Callable[[Statement], Any]:
    """Executes the statements of a migration, of those that change the schema only the ones rehearsed."""
    if not database.is_mysql():
        return lambda statement: unwatched(bound, *statement)
    expected = None if plan is None else iter([statement for statement, _ in plan.schema])

    def execute(statement: Statement) -> Any:
        changes = statement.kind in (Kind.SCHEMA, Kind.FINAL)
        if expected is not None and (changes or statement.is_history):
            due = next(expected, None)
            if due != (statement if changes else None):
                raise BadRequest(
                    f"Migration {run.name} is refused at `{str(due or statement)[:100]}`: on an empty database it does"
                    " something else, so it could not be tried. What it does to the schema must not depend on rows."
                )
        if changes:
            journal.begin_step(run, statement)
            result = change_schema(bound, statement, say)
            journal.finish_step(run)
            return result
        # Somebody may hold the history's table too, as a dump does.
        return change_schema(bound, statement, say) if statement.is_history else unwatched(bound, *statement)

    return execute


def _bound() -> Any:
    """The database itself: peewee-migrate tells the engines apart by its class, which the proxy hides."""
    return database.db.obj
