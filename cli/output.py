"""What the commands share: opening the database, and how they speak.

Results go to stdout, progress and logs to stderr, so that output can be piped.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar, overload

import click

from service import database, schema
from service.config import Settings
from service.queries import state

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

V = TypeVar("V")


def open_for(settings: Settings, *, read_only: bool = False, time_limit: bool = True) -> None:
    """Open the database of `settings`, ready for work; `main` closes it when the command ends.

    Raises Unavailable when it cannot be reached, would change data silently, is not migrated, differs from the models,
    or holds readings of another interval. Says what is no reason to refuse, but worth knowing.
    """
    database.open_database(settings, read_only=read_only, time_limit=time_limit)
    database.check_server()
    schema.ensure_current(settings)
    for warning in schema.ensure_equal():
        say(f"Warning: {warning}")
    state.ensure_interval(settings.snapshot_interval_minutes)


def emit(as_json: bool, result: Mapping[str, Any], lines: Iterable[str]) -> None:
    """Print `result` as one JSON object, or `lines` for people."""
    if as_json:
        click.echo(json.dumps(result, indent=2, ensure_ascii=False, default=_as_text))
    else:
        for line in lines:
            click.echo(line)


def _as_text(value: object) -> str:
    """What JSON has no form of; instants as ISO 8601."""
    return value.isoformat() if isinstance(value, date) else str(value)


def say(line: str) -> None:
    """A line on stderr: progress, and what the user should know beside the result."""
    click.echo(line, err=True)


@overload
def progress(items: Iterable[V], label: str, *, length: int | None = ...) -> AbstractContextManager[ProgressBar[V]]: ...


@overload
def progress(
    items: None, label: str, *, length: int, show: Callable[[Any], str | None] | None = ...
) -> AbstractContextManager[ProgressBar[Any]]: ...


def progress(
    items: Any, label: str, *, length: int | None = None, show: Callable[[Any], str | None] | None = None
) -> Any:
    """A bar on stderr over `items`, or, with None, of `length` steps for `bar.update(n)`; nothing off a terminal.

    `show`: what stands beside the bar, given the `x` of the last `bar.update(n, x)`.
    """
    hidden = not sys.stderr.isatty()
    return click.progressbar(
        items, length=length, label=label, file=sys.stderr, hidden=hidden, item_show_func=show
    )


def log_to_stderr(level: str) -> None:
    """Logging of the whole process, replacing what an earlier command of the same process set."""
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    if level != "DEBUG":  # says every step of every migration, and logs the traceback of one that fails
        logging.getLogger("peewee_migrate").setLevel(logging.CRITICAL)
