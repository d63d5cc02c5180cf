"""`cli migrate` and `cli check`: the schema of the database, and whether the service could run on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click
from peewee import PeeweeException, fn

from cli.output import emit, say
from service import clock, database, schema
from service.config import Settings
from service.errors import Unavailable
from service.models import AggregationJobLog, Base, MetricsVersion, Park, ParkSchedule, Ride, StatDay
from service.models import RideStatusSnapshot
from service.queries import state

# Not the readings nor the daily rows: counting those takes minutes on a large database.
COUNTED = (Park, Ride, ParkSchedule, StatDay, MetricsVersion, AggregationJobLog)


@click.group(invoke_without_command=True)
@click.option("--dry-run", is_flag=True, help="Print what would run, and change nothing.")
@click.pass_context
def migrate(ctx: click.Context, dry_run: bool) -> None:
    """Bring the database's schema up to date."""
    if ctx.invoked_subcommand:
        if dry_run:
            raise click.UsageError(f"--dry-run belongs to `migrate` alone, not to `migrate {ctx.invoked_subcommand}`.")
        return
    settings: Settings = ctx.obj
    _open(settings, read_only=dry_run)
    names = schema.pending(settings) if dry_run else schema.upgrade(settings, announce=say)
    if dry_run:
        emit(False, {}, names or ["Nothing to do: the database has all migrations."])
    else:
        click.echo(f"Migrations applied: {len(names)}." if names else "Nothing to do: the database has all migrations.")


@migrate.command()
@click.pass_obj
def status(settings: Settings) -> None:
    """List all migrations, and which of them the database has."""
    _open(settings, read_only=True)
    waiting = schema.pending(settings)
    for name in schema.migration_names(settings):
        click.echo(f"{'pending' if name in waiting else 'applied'}  {name}")


@migrate.command()
@click.option("--to", metavar="NNN", help="Keep this migration and undo all after it; 000 undoes all.")
@click.pass_obj
def down(settings: Settings, to: str | None) -> None:
    """Undo the newest migration."""
    _open(settings)
    names = schema.downgrade(settings, to, announce=say)
    click.echo(f"Migrations undone: {len(names)}." if names else "Nothing to undo.")


@migrate.command("check")
@click.pass_context
def check_files(ctx: click.Context) -> None:
    """Look for mistakes in the migration files; needs no database."""
    folder = schema.find_folder(ctx.obj)
    found = schema.findings(folder)
    emit(False, {}, found or [f"Nothing wrong with the migrations in {folder}."])
    ctx.exit(1 if found else 0)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Show settings, schema and readings; exit 3 when anything would stop the service."""
    report = _examine(ctx.obj)
    emit(as_json, report, _lines(report))
    ctx.exit(Unavailable.exit_code if report["problems"] else 0)


def _open(settings: Settings, *, read_only: bool = False) -> None:
    """Open the database whatever its schema. Changing a large table takes longer than any query may."""
    database.open_database(settings, read_only=read_only, time_limit=False)
    database.check_server()


def _examine(settings: Settings) -> dict[str, Any]:
    """All that can be found out, and the `problems`: what the service cannot run with. A problem ends the search."""
    report: dict[str, Any] = {"settings": _shown(settings), "problems": []}
    steps: tuple[Callable[[Settings], dict[str, Any]], ...] = (_server, _pending, _differences, _readings)
    for step in steps:
        try:
            report |= step(settings)
        except PeeweeException as error:
            report["problems"].append(str(database.explained(error)))
        except Unavailable as error:
            report["problems"].append(str(error))
        report["problems"] += report.pop("found", [])
        if report["problems"]:
            break
    return report


def _server(settings: Settings) -> dict[str, Any]:
    _open(settings, read_only=True)
    return {"server": schema.server(), "size_bytes": schema.size_bytes()}


def _pending(settings: Settings) -> dict[str, Any]:
    waiting = schema.pending(settings)
    return {"pending": waiting, "found": ["Migrations are pending: run `cli migrate`."] if waiting else []}


def _differences(settings: Settings) -> dict[str, Any]:
    found = schema.differences()
    return {"differences": found, "found": ["The schema differs from the models."] if found else []}


def _readings(settings: Settings) -> dict[str, Any]:
    oldest, newest = _first_reading(fn.MIN), _first_reading(fn.MAX)
    now = clock.now()
    facts: dict[str, Any] = {
        "interval_minutes": state.get_state(state.INTERVAL),
        "oldest_reading": oldest.isoformat() if oldest else None,
        "newest_reading": newest.isoformat() if newest else None,
        "rows": {_table(model): model.select().count() for model in COUNTED},
        "warnings": [],
    }
    if newest and newest > now:
        facts["warnings"].append(f"Readings after now, {now.isoformat()}, are not looked at.")
    try:
        state.ensure_interval(settings.snapshot_interval_minutes)
    except Unavailable as error:
        facts["found"] = [str(error)]
    return facts


def _first_reading(end: Any) -> datetime | None:
    moment: datetime | None = RideStatusSnapshot.select(end(RideStatusSnapshot.snapshot_time)).scalar()
    return moment


def _table(model: type[Base]) -> str:
    name: str = model._meta.table_name
    return name


def _shown(settings: Settings) -> dict[str, Any]:
    return {**asdict(settings), "database_url": _masked(settings.database_url)}


def _masked(url: str) -> str:
    """`url` without its password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """The report for people: a name and a value a line, the problems last."""
    for name, value in report.items():
        if name == "problems":
            continue
        if isinstance(value, dict):
            yield f"{name}:"
            yield from (f"  {key}: {_shown_value(item)}" for key, item in value.items())
        elif isinstance(value, list) and value:
            yield f"{name}:"
            yield from (f"  {item}" for item in value)
        else:
            yield f"{name}: {_shown_value(value)}"
    yield from (f"PROBLEM: {problem}" for problem in report["problems"])
    if not report["problems"]:
        yield "Nothing would stop the service."


def _shown_value(value: Any) -> str:
    return "none" if value is None or value == [] else str(value)
