"""`cli migrate` and `cli check`: the schema of the database, and whether the service could run on it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click
from click.core import ParameterSource
from peewee import PeeweeException, fn

from cli.output import emit, say
from service import clock, database, schema
from service.config import Settings
from service.errors import Unavailable
from service.models import AggregationJobLog, Base, MetricsVersion, Park, ParkSchedule, Ride, StatDay
from service.models import RideStatusSnapshot
from service.queries import state

HOUR_MS = 3_600_000
# Not the readings nor the daily rows: counting those takes minutes on a large database.
COUNTED = (Park, Ride, ParkSchedule, StatDay, MetricsVersion, AggregationJobLog)


dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Print the SQL that would run, tried on an empty copy of the schema; nothing touches the database itself.",
)
NOTHING_TO_DO = "Nothing to do: the database has all migrations."

wait_option = click.option(
    "--wait",
    type=click.IntRange(0, 86_400),
    default=schema.WAIT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for another process that migrates.",
)
no_rehearsal_option = click.option(
    "--no-rehearsal",
    is_flag=True,
    help="Do not try it on an empty copy of the schema first, where the account may not create one (MySQL, MariaDB).",
)


@click.group(invoke_without_command=True)
@dry_run_option
@wait_option
@no_rehearsal_option
@click.pass_context
def migrate(ctx: click.Context, dry_run: bool, wait: int, no_rehearsal: bool) -> None:
    """Bring the database's schema up to date.

    Everything is checked before anything runs, one process at a time. A migration that fails leaves schema and rows as
    they were; one that was killed is finished, or taken back, by the next run.
    """
    if ctx.invoked_subcommand:
        if dry_run or no_rehearsal or ctx.get_parameter_source("wait") is not ParameterSource.DEFAULT:
            raise click.UsageError(f"Options of `migrate {ctx.invoked_subcommand}` are written behind its name.")
        return
    settings: Settings = ctx.obj
    _ensure_rehearsed(dry_run, no_rehearsal)
    _open(settings)
    if dry_run:
        emit(False, {}, _sql(schema.plans(settings, _options(wait, no_rehearsal))) or [NOTHING_TO_DO])
        return
    names = schema.upgrade(settings, _options(wait, no_rehearsal))
    click.echo(f"Migrations applied: {len(names)}." if names else NOTHING_TO_DO)
    _compare()


@migrate.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def status(settings: Settings, as_json: bool) -> None:
    """List all migrations: applied or pending, when and by whom, and whether the file is still what was applied."""
    _open(settings, read_only=True)
    states, half = schema.states(settings), schema.unfinished()
    found = {"migrations": [state._asdict() for state in states], "cut_short": half}
    emit(as_json, found, [*(_shown_state(state) for state in states), *([_half(half)] if half else [])])


@migrate.command()
@click.option("--to", metavar="NNN", help="Keep this migration and undo all after it; 000 undoes all.")
@dry_run_option
@click.option("--force", is_flag=True, help="Also with a file that was changed after it was applied.")
@wait_option
@no_rehearsal_option
@click.pass_obj
def down(settings: Settings, to: str | None, dry_run: bool, force: bool, wait: int, no_rehearsal: bool) -> None:
    """Undo the newest migration. What its tables held is gone with them."""
    _ensure_rehearsed(dry_run, no_rehearsal)
    _open(settings)
    if dry_run:
        plans = schema.plans(settings, _options(wait, no_rehearsal), undo=True, to=to)
        emit(False, {}, _sql(plans) or ["Nothing to undo."])
        return
    wanted = schema.undone(settings, to)
    if wanted and sys.stdin.isatty():
        click.confirm(f"Undo {', '.join(wanted)}? What their tables and columns hold is lost.", abort=True)
    names = schema.downgrade(settings, to, _options(wait, no_rehearsal), changed_too=force)
    click.echo(f"Migrations undone: {len(names)}." if names else "Nothing to undo.")


@migrate.command()
@click.option("--as", "outcome", type=click.Choice(["done", "undone"]), required=True, help="How the database is now.")
@click.confirmation_option(prompt="Is the database as that says? Nothing else is looked at.")
@wait_option
@click.pass_obj
def resolve(settings: Settings, outcome: str, wait: int) -> None:
    """Say how you have mended, by hand, a migration that could neither be finished nor taken back."""
    _open(settings)
    name = schema.resolve(settings, _options(wait, False), done=outcome == "done")
    click.echo(f"{name} is {outcome}." if name else "No migration was cut short: nothing to resolve.")


@migrate.command()
@click.argument("name")
@click.option("--auto", is_flag=True, help="Draft what the models have and the migrations do not make.")
@click.pass_obj
def new(settings: Settings, name: str, auto: bool) -> None:
    """Write a new migration file with the next free number, NAME like verb_noun; needs no database."""
    click.echo(str(schema.create(settings, name, auto=auto)))
    say("Next: fill it in, then `cli migrate check`, then `cli migrate --dry-run`.")


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


def _ensure_rehearsed(dry_run: bool, no_rehearsal: bool) -> None:
    if dry_run and no_rehearsal:
        raise click.UsageError("--dry-run is a rehearsal: leave --no-rehearsal out.")


def _options(wait: int, no_rehearsal: bool) -> schema.Options:
    return schema.Options(say=say, wait_seconds=wait, rehearsed=not no_rehearsal)


def _compare() -> None:
    """Say what the migrations did not make of the schema: what was changed by hand is not theirs to mend."""
    drift = schema.compare()
    for warning in drift.warnings:
        say(f"Warning: {warning}")
    if drift.differences:
        raise Unavailable(f"All migrations are applied, but the schema differs: {'; '.join(drift.differences)}.")


def _sql(plans: Mapping[str, schema.Planned]) -> list[str]:
    """The statements of each migration, as a script with its name, and what to mind, as comments."""
    lines = []
    for name, planned in plans.items():
        lines += [f"-- {name}", *(f"-- {warning}" for warning in planned.warnings)]
        for statement in planned.statements:
            values = f"  -- {list(statement.parameters)}" if statement.parameters else ""
            lines.append(f"{statement};{values}")
    return lines


def _shown_state(state: schema.State) -> str:
    if not state.applied:
        return f"pending  {state.name}"
    at = f"{state.at:%Y-%m-%d %H:%M:%SZ}" if state.at else "at an unknown time"
    file = "" if state.file == "unchanged" else f"  FILE {state.file.upper()}"
    return f"applied  {state.name}  {at} by {state.by or 'unknown'}{file}"


def _half(name: str) -> str:
    return f"CUT SHORT or running: {name}. `cli migrate` waits for it, then finishes or restores."


def _open(settings: Settings, *, read_only: bool = False) -> None:
    """Open the database whatever its schema. Changing a large table takes longer than any query may, and is told."""
    database.open_database(replace(settings, slow_query_ms=HOUR_MS), read_only=read_only, time_limit=False)
    database.check_server()


def _examine(settings: Settings) -> dict[str, Any]:
    """All that can be found out, the `warnings`, and the `problems`: what the service cannot run with. A problem ends
    the search."""
    report: dict[str, Any] = {"settings": _shown(settings), "problems": []}
    warnings: list[str] = []
    steps: tuple[Callable[[Settings], dict[str, Any]], ...] = (_server, _pending, _differences, _readings)
    for step in steps:
        try:
            report |= step(settings)
        except PeeweeException as error:
            report["problems"].append(str(database.explained(error)))
        except Unavailable as error:
            report["problems"].append(str(error))
        report["problems"] += report.pop("found", [])
        warnings += report.pop("warnings", [])
        if report["problems"]:
            break
    return report | {"warnings": warnings}


def _server(settings: Settings) -> dict[str, Any]:
    _open(settings, read_only=True)
    return {"server": schema.server(), "size_bytes": schema.size_bytes()}


def _pending(settings: Settings) -> dict[str, Any]:
    waiting, half = schema.pending(settings), schema.unfinished()
    found = ["Migrations are pending: run `cli migrate`."] if waiting else []
    return {"pending": waiting, "found": [*found, *([_half(half)] if half else [])]}


def _differences(settings: Settings) -> dict[str, Any]:
    drift = schema.compare()
    found = ["The schema differs from the models."] if drift.differences else []
    return {"differences": drift.differences, "warnings": drift.warnings, "found": found}


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
    folder = schema.find_folder(settings)
    webhook = "***" if settings.alert_webhook_url else None
    shown = {
        "database_url": _masked(settings.database_url),
        "api_keys": len(settings.api_keys),
        "alert_webhook_url": webhook,
    }
    return {**asdict(settings), **shown, "migrations_dir": folder}


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
