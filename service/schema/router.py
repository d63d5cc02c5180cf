"""peewee-migrate, as far as it goes: the history, the models that a migration finds, and running one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from peewee import PeeweeException
from peewee_migrate import Router
from peewee_migrate.models import MIGRATE_TABLE, MigrateHistory

from service import database
from service.errors import BadRequest, ServiceError
from service.schema.offline import read, replay
from service.schema.statements import DOWN, UP, Watch, watched
from service.schema.steps import Steps


class Runs:
    """Runs migrations of `folder` on one database, and keeps its `migratehistory`."""

    def __init__(self, bound: Any, folder: Path) -> None:
        self.bound = bound
        self.folder = folder
        self.history = history_of(bound)
        self._router: _Router | None = None

    def applied(self) -> list[str]:
        """Names in the order they ran."""
        if not self.history.table_exists():
            return []
        return [name for (name,) in self.history.select(self.history.name).order_by(self.history.id).tuples()]

    def record(self, name: str, direction: str = UP) -> None:
        """Write the history of a migration that needs not, or no more, be run."""
        self.history.create_table(safe=True)
        if direction == UP:
            self.history.create(name=name)
        else:
            self.history.delete().where(self.history.name == name).execute()

    def run(self, name: str, direction: str, watch: Watch, say: Callable[[str], None]) -> None:
        """Run one migration, or undo it, and record it; its statements go through `watch`."""
        # After an undo the models that the router has in mind need not be those of the database.
        router = self._router or _Router(self.bound, migrate_dir=self.folder)
        self._router = router if direction == UP else None
        steps = router.migrator
        steps.note, steps.say = watch.note, say
        with watched(self.bound, watch):
            router.run_one(name, steps, fake=False, downgrade=direction == DOWN)


class _Router(Router):
    """peewee-migrate's own, with three things mended: it binds one model to whichever database came last, so that two
    Routers share a history; it hides the database from bodies by patching peewee for the whole process; and errors in
    a migration do not name its file."""

    @cached_property
    def model(self) -> type[MigrateHistory]:
        history: type[MigrateHistory] = history_of(self.database)
        history.create_table(safe=True)
        return history

    @cached_property
    def migrator(self) -> Steps:
        bound: Any = self.database
        steps = Steps(bound)
        replay(self.migrate_dir, self.done, steps, bound)
        return steps

    def read(self, name: str) -> tuple[Any, Any]:
        module = read(self.migrate_dir, name)
        return module.migrate, module.rollback


@contextmanager
def naming(name: str, what: str = "failed") -> Iterator[None]:
    """Say which migration a failure is of. Whatever its body raises, the user needs the name and the reason."""
    try:
        yield
    except BadRequest:
        raise  # names it already
    except Exception as error:
        if any(isinstance(link, KeyboardInterrupt) for link in database.chain(error)):
            raise KeyboardInterrupt from error  # while a statement ran: the driver then lost its connection
        # A rollback that fails in turn hides what went wrong first.
        first = [link for link in database.chain(error) if isinstance(link, PeeweeException) or link is error][-1]
        reason = str(first.args[-1]) if isinstance(first, PeeweeException) and first.args else str(first)
        raise ServiceError(f"Migration {name} {what}: {reason or type(error).__name__}.") from error


def history_of(bound: Any) -> Any:
    """peewee-migrate's model of the history, bound to `bound` alone."""
    meta = type("Meta", (), {"database": bound, "table_name": MIGRATE_TABLE})
    return type("History", (MigrateHistory,), {"Meta": meta})


def recorded_at(bound: Any) -> dict[str, datetime]:
    """When peewee-migrate recorded each migration. It writes UTC, and SQLite gives it back as text."""
    history = history_of(bound)
    if not history.table_exists():
        return {}
    found = history.select(history.name, history.migrated_at).tuples()
    times = {name: datetime.fromisoformat(str(at)) for name, at in found}
    return {name: at if at.tzinfo else at.replace(tzinfo=UTC) for name, at in times.items()}
