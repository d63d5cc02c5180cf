"""`weather`: what the weather at the parks is now, and what is forecast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from cli.data import Bars
from cli.output import emit, open_for
from service import clock
from service.config import Settings
from service.jobs.asking import asking
from service.jobs.joblog import counted
from service.jobs.targets import has_targets
from service.jobs.weather import Report, WeatherCollector, sentences

PARTLY_FAILED = 1
NO_PARKS = "No park is known at a public source: `cli catalog sync` brings them in."
FIRST_REFUSALS = 10


@click.command()
@click.option("--force", is_flag=True, help="Ask also for parks that have the weather of this hour.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, with all that was refused.")
@click.pass_context
def weather(context: click.Context, force: bool, as_json: bool) -> None:
    """Store the weather at every active park, as Open-Meteo tells it.

    Hours of today that have begun are observations, one an hour; once every six hours those of the next days are stored
    as forecasts. Stopped at any moment, the next run goes on with the parks that are left. Exit code 1 if a park has no
    weather of this hour; the others have theirs.
    """
    settings: Settings = context.obj
    open_for(settings, time_limit=False)
    with asking(settings) as ask, Bars() as bars:
        report = WeatherCollector(settings, ask).run(
            clock.now(),
            force=force,
            progress=lambda done, total: bars.show("Asking for the weather of parks", done, total, "parks"),
        )
    emit(as_json, _result(report), _lines(report))
    if report.failed:
        context.exit(PARTLY_FAILED)


def _result(report: Report) -> dict[str, Any]:
    return {
        "asked": report.asked,
        "observations": report.observations,
        "forecasts": report.forecasts,
        "without_coordinates": report.without_coordinates,
        "refused": [{"park": park, "field": said.field, "reason": said.reason} for park, said in report.refused],
        "failed": [one._asdict() for one in report.failed],
        "failure": report.failure,
    }


def _lines(report: Report) -> Iterator[str]:
    if report.asked:
        yield (
            f"{counted(report.asked, 'park')} asked for:"
            f" {counted(report.observations, 'observation')} and {counted(report.forecasts, 'forecast')} written."
        )
    else:
        yield "No park lacks the weather of this hour: nothing was asked." if has_targets() else NO_PARKS
    if report.without_coordinates:
        yield f"Without coordinates, and so without weather: {', '.join(report.without_coordinates)}."
    if report.refused:
        yield f"Measures refused: {len(report.refused):,}."
        yield from (f"  {park}: {said.reason}" for park, said in report.refused[:FIRST_REFUSALS])
        if len(report.refused) > FIRST_REFUSALS:
            yield "  ... and more: --json lists them all."
    yield from (f"FAILED: {sentence}" for sentence in sentences(report.failed))
