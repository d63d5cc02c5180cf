"""`schedules`: asks ThemeParks.wiki for the hours of the parks."""

from __future__ import annotations

from collections.abc import Iterator

import click

from cli.output import emit, open_for, progress
from service import clock
from service.config import Settings
from service.jobs.asking import asking
from service.jobs.schedules import AskedPark, Report, Schedules, asked_parks

PARTLY_FAILED = 1
FIRST_WARNINGS = 10


@click.command()
@click.option("--force", is_flag=True, help="Ask all parks, also where their hours were asked for less than a day ago.")
@click.option("--park", "park_ids", metavar="ID", type=click.IntRange(1), multiple=True,
              help="Ask this park, whenever it was asked last. Can be given several times.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def schedules(context: click.Context, force: bool, park_ids: tuple[int, ...], as_json: bool) -> None:
    """Ask ThemeParks.wiki when the parks are open, some thirty days ahead, and store it.

    Only what is due, as the worker does: all parks if that was done last a day or longer ago, else those that have no
    hours yet. Days without an opening are stored as closed, and the past as it was. A park that tells no hours keeps
    those it has. Exit code 1 if a park failed; the others are stored.
    """
    settings: Settings = context.obj
    open_for(settings, time_limit=False)
    now, hours = clock.now(), Schedules(settings)
    parks = asked_parks(park_ids) if park_ids else asked_parks() if force else hours.due(now)
    with asking(settings) as ask, progress(None, "Asking for hours", length=len(parks)) as bar:
        report = hours.refresh(ask, now, parks=parks, progress=lambda done, _total: bar.update(done - bar.pos))
    emit(as_json, _result(report), _lines(report))
    if report.failed:
        context.exit(PARTLY_FAILED)


def _result(report: Report) -> dict[str, object]:
    return {
        "asked": report.asked,
        "rows": report.rows,
        "failed": [{**_park(failed.park), "error": failed.error} for failed in report.failed],
        "without_hours": [_park(park) for park in report.without_hours],
        "warnings": [{**_park(warned.park), "warning": warned.what} for warned in report.warnings],
    }


def _park(park: AskedPark) -> dict[str, object]:
    return {"park_id": park.park_id, "name": park.name}


def _lines(report: Report) -> Iterator[str]:
    if report.run is None:
        yield from _why_nothing()
        return
    yield f"{report.asked} {'park' if report.asked == 1 else 'parks'} asked; schedule rows written: {report.rows:,}."
    yield from (f"FAILED: {_shown(failed.park)}: {failed.error}" for failed in report.failed)
    yield from (f"No hours are told of {_shown(park)}: what is stored stays." for park in report.without_hours)
    yield from (f"Warning: {_shown(warned.park)}: {warned.what}." for warned in report.warnings[:FIRST_WARNINGS])
    if len(report.warnings) > FIRST_WARNINGS:
        yield f"{len(report.warnings) - FIRST_WARNINGS} more warnings: --json lists them all."


def _why_nothing() -> Iterator[str]:
    if asked_parks():
        yield "Nothing is due: all hours were asked for less than a day ago. --force asks for them now."
    else:
        yield "No active park has an id of ThemeParks.wiki: run `cli catalog sync` first."


def _shown(park: AskedPark) -> str:
    return f"{park.name} ({park.park_id})"
