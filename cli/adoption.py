"""`cli adopt`: takes over the database of the predecessor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from time import monotonic

import click

from cli.data import Bars, refresh_years
from cli.output import emit, open_for
from service import clock
from service.config import Settings
from service.jobs import adopting
from service.jobs.adopting import AdoptionReport


@click.command()
@click.option("--from", "url", metavar="URL", required=True, help="mysql://user:password@host:port/name.")
@click.option("--dry-run", is_flag=True, help="Read everything and count it; write nothing.")
@click.option("--force", is_flag=True, help="Also into a database that holds readings of another origin.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def adopt(settings: Settings, url: str, dry_run: bool, force: bool, as_json: bool) -> None:
    """Adopt the database of the predecessor: parks, rides, schedules, readings, daily history and weather.

    That database is only read. What stays behind is listed with its reason. Stopped at any moment, the same command
    goes on where it was; run again later, it brings what is new. At its end the years of the history are computed.
    """
    started = monotonic()
    with adopting.opened(settings, url) as old:
        open_for(settings, read_only=dry_run, time_limit=False)
        with Bars() as bars:
            report = adopting.adopt(
                old,
                interval_minutes=settings.snapshot_interval_minutes,
                now=clock.now(),
                progress=lambda what, done, total: bars.show(what, done, total, UNITS.get(what, "")),
                force=force,
                dry_run=dry_run,
            )
            years = [] if dry_run else refresh_years(clock.now(), bars)
    result = {**asdict(report), "years": years, "seconds": round(monotonic() - started, 1), "dry_run": dry_run}
    emit(as_json, result, _lines(report, years, monotonic() - started, dry_run))


UNITS = {"Adopting readings": "readings", "Adopting daily history": "days"}


def _lines(report: AdoptionReport, years: list[int], seconds: float, dry_run: bool) -> Iterator[str]:
    yield f"Parks: {report.parks:,}. Rides: {report.rides:,}. Schedule rows: {report.schedule_rows:,}."
    yield f"Readings: {report.read:,} read, {report.superseded:,} followed by a later one in the same slot."
    if not dry_run:
        yield f"{report.stored:,} stored, {report.replaced:,} replaced, {report.unchanged:,} unchanged."
    if report.first_reading and report.last_reading:
        yield f"From {report.first_reading:%Y-%m-%d %H:%M} to {report.last_reading:%Y-%m-%d %H:%M} UTC."
    if report.history_days:
        days = f"{report.first_history_day} to {report.last_history_day}"
        yield f"Daily history: {report.history_days:,} days, {days}; {report.history_rows:,} rows."
    if years:
        yield f"Yearly statistics of {', '.join(map(str, years))} computed."
    yield f"Weather: {report.weather_observations:,} observations, {report.weather_forecasts:,} forecasts."
    yield from _left_behind(report)
    yield from report.notes
    yield f"{seconds:.0f} s in all."
    yield "Nothing was written." if dry_run else "Next: `cli aggregate` computes the statistics of the finished days."


def _left_behind(report: AdoptionReport) -> Iterator[str]:
    if report.left_behind:
        yield "Left behind:"
    for row in report.left_behind:
        example = f" (such as {row.example})" if row.example else ""
        yield f"  {row.count:,} x {row.reason}{example}"
