"""Running the bodies of migration files without a database.

A body only queues operations on its migrator. It runs again whenever a later migration runs, to rebuild the models as
they were then, so one that reads or writes the database itself would work once and fail, or write again, a release
later.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from peewee import Database, MySQLDatabase, SqliteDatabase
from peewee_migrate import Migrator

from service.errors import ServiceError
from service.schema.statements import DOWN, UP
from service.schema.steps import Steps, refusals

STEPS = ("migrate", "rollback")
ENGINES = ("SQLite", "MySQL and MariaDB")

# All ways to the server or the file: whatever else a database offers goes through one of them.
DOORS = ("execute_sql", "connect", "connection", "cursor", "close", "begin", "commit", "rollback")


class TouchesDatabase(ServiceError):
    """A body wanted the database."""


def read(folder: Path, name: str) -> ModuleType:
    """Execute a migration file and return it as a module, fresh each time. Raises whatever the file raises."""
    path = folder / f"{name}.py"
    module = ModuleType(name)
    module.__file__ = str(path)
    # With its path, so that tracebacks name the file and show its lines.
    exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), module.__dict__)
    return module


def unconnected(*, mysql: bool) -> Database:
    """A database of the engine's class that names no server and no file: it can be asked what it is, nothing else."""
    return MySQLDatabase(None) if mysql else SqliteDatabase(None)


@contextmanager
def barred(database: Database) -> Iterator[list[TouchesDatabase]]:
    """Keep everyone from `database` meanwhile, live or not: whoever wants it gets TouchesDatabase.

    The list holds what was raised, also for those who swallowed it.
    """
    refused: list[TouchesDatabase] = []

    def refuse(*_: Any, **__: Any) -> Any:
        refused.append(TouchesDatabase("it touches the database, which is for functions given to migrator.run"))
        raise refused[-1]

    before = {door: vars(database)[door] for door in DOORS if door in vars(database)}
    vars(database).update(dict.fromkeys(DOORS, refuse))
    try:
        yield refused
    finally:
        for door in DOORS:
            del vars(database)[door]
        vars(database).update(before)


def queue(body: Callable[..., object], migrator: Migrator, database: Database, *, fake: bool = False) -> None:
    """Let `body` (a `migrate` or `rollback`) queue its operations on `migrator`.

    Raises what the body raises, and TouchesDatabase when it wanted `database`, even when it went on without.
    """
    with barred(database) as refused:
        try:
            body(migrator, database, fake=fake)
        except Exception:
            if not refused:
                raise
    if refused:
        raise refused[0]


def replay(folder: Path, names: Sequence[str], migrator: Migrator, database: Database) -> None:
    """Bring `migrator.orm` to the models as they are after migrations `names`; nothing stays queued.

    `database`, live or not, is not touched, and is what the models are bound to afterwards. Raises ServiceError
    naming the migration that cannot be replayed.
    """
    for name in names:
        try:
            queue(read(folder, name).migrate, migrator, database, fake=True)
        except Exception as error:
            raise ServiceError(f"Migration {name} cannot be replayed: {reason(error)}.") from error
        finally:
            _operations(migrator).clear()


def body_findings(modules: Sequence[ModuleType | None], *, doubtful: bool = False) -> list[str]:
    """One sentence for each body that cannot run as those of both engines must. None stands for an unreadable file.

    A body that raises is not reported behind an unreadable file or a failed body, nor when `doubtful`: that may be
    the cause. A rollback may queue nothing when its docstring says why, and may refuse with a NotImplementedError
    that says why: both are decisions.
    """
    both = [_Trial(list(map(_anew, modules)), unconnected(mysql=mysql), doubtful) for mysql in (False, True)]
    found = [sentence for module in modules if module for sentence in _misshapen(module)]
    for sentence in dict.fromkeys([*both[0].found, *both[1].found]):
        engines = [engine for engine, one in zip(ENGINES, both, strict=True) if sentence in one.found]
        found.append(sentence if len(engines) > 1 or "MySQL" in sentence else f"{sentence[:-1]} (on {engines[0]}).")
    return found + [
        f"{module.__name__}.py: {step} queues nothing" + (", and no docstring says why." if step == "rollback" else ".")
        for module in modules
        if module
        for step in STEPS
        if all(one.queued.get((module.__name__, step)) == [] for one in both)
        if step == "migrate" or not getattr(module, step).__doc__
    ]


def reason(error: BaseException) -> str:
    """What kind of error it is and what it says, without a full stop."""
    return f"{type(error).__name__}: {error}".removesuffix(": ").removesuffix(".")


def line_in(file: str, error: BaseException) -> str:
    """Where in `file` an error came from, as ", line 7"; nothing when it came from elsewhere."""
    found, step = "", error.__traceback__
    while step:
        if step.tb_frame.f_code.co_filename == file:
            found = f", line {step.tb_lineno}"
        step = step.tb_next
    return found


class _Trial:
    """All bodies in their order, as on one engine. `queued`: (migration, step) -> its operations, unless it failed."""

    def __init__(self, modules: Sequence[ModuleType | None], database: Database, doubtful: bool) -> None:
        self.database = database
        self.doubtful = doubtful
        self.found: dict[str, None] = {}
        self.queued: dict[tuple[str, str], list[str]] = {}
        migrator = Steps(database)
        for number, module in enumerate(modules, 1):
            if module:
                self._first(module, migrator)
                self._later([one for one in modules[:number] if one])
            else:
                self.doubtful = True

    def _first(self, module: ModuleType, migrator: Steps) -> None:
        operations = self._run(module, "migrate", migrator)
        if operations is None:
            self.doubtful = True
        else:
            self.queued[module.__name__, "migrate"] = operations

    def _later(self, modules: Sequence[ModuleType]) -> None:
        """Replay what ran, as each later run does, and undo the last, which finds the models as a rollback does."""
        migrator = Steps(self.database)
        again = [self._run(module, "migrate", migrator, again=True) for module in modules][-1]
        name = modules[-1].__name__
        if again is not None and again != self.queued.get((name, "migrate"), again):
            self._note(f"{name}.py: migrate queues other operations when it runs again, as later migrations make it.")
        operations = self._run(modules[-1], "rollback", migrator)
        if operations is not None:
            self.queued[name, "rollback"] = operations

    def _judge(self, module: ModuleType, step: str, operations: Sequence[Any]) -> None:
        """Hold what is queued to the rules for MySQL and MariaDB, as far as it can be told without a database."""
        if isinstance(self.database, MySQLDatabase):
            for why in refusals(UP if step == "migrate" else DOWN, operations):
                self._note(f"{module.__name__}.py: MySQL and MariaDB would refuse {step}: {why}.")

    def _run(self, module: ModuleType, step: str, migrator: Steps, *, again: bool = False) -> list[str] | None:
        """What a body queues, by name; None when it fails."""
        body: Any = getattr(module, step, None)
        if not _fits(body):
            return None
        try:
            queue(body, migrator, self.database, fake=again)
        except (Exception, SystemExit) as error:
            self._blame(module, step, error, again)
            return None
        else:
            if not again:
                self._judge(module, step, _operations(migrator))
            return [_named(operation) for operation in _operations(migrator)]
        finally:
            _operations(migrator).clear()

    def _blame(self, module: ModuleType, step: str, error: BaseException, again: bool) -> None:
        place = f"{module.__name__}.py{line_in(str(module.__file__), error)}: {step}"
        if isinstance(error, TouchesDatabase):
            self._note(f"{place} touches the database, which is for functions given to migrator.run.")
        elif step == "rollback" and isinstance(error, NotImplementedError) and str(error):
            return
        elif not self.doubtful:
            self._note(f"{place} raises {reason(error)}{' when it runs again' if again else ''}.")

    def _note(self, sentence: str) -> None:
        self.found[sentence] = None


def _anew(module: ModuleType | None) -> ModuleType | None:
    """The same file, knowing nothing of what its bodies did before."""
    return module and read(Path(str(module.__file__)).parent, module.__name__)


def _misshapen(module: ModuleType) -> Iterator[str]:
    for step in STEPS:
        body = getattr(module, step, None)
        if body is None:
            yield f"{module.__name__}.py has no function {step}."
        elif not _fits(body):
            yield f"{module.__name__}.py: {step} is not a plain function of (migrator, database, *, fake=False)."


def _fits(body: Any) -> bool:
    """Whether calling it as a body runs it: a generator or coroutine would not start."""
    if not callable(body) or inspect.isgeneratorfunction(body) or inspect.iscoroutinefunction(body):
        return False
    try:
        inspect.signature(body).bind(None, None, fake=False)
    except (TypeError, ValueError):
        return False
    return True


def _operations(migrator: Migrator) -> list[Any]:
    operations: list[Any] = migrator.__ops__
    return operations


def _named(operation: Any) -> str:
    return str(getattr(getattr(operation, "fn", operation), "__name__", operation))
