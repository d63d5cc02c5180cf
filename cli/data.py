"""Commands that bring data in: `import` reads a recording, `demo` simulates parks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import click

from cli import serve
from cli.output import emit, open_for, progress, say
from service import clock, database, rules, schema
from service.config import Settings
from service.feeds.invented import LARGEST, PRODUCTION, SCALES, SMALL
from service.feeds.simulation import World
from service.jobs import daily, yearly
from service.jobs.demo import Report, build_demo, ensure_no_readings
from service.jobs.importing import ImportReport, import_folder
from service.queries import state

FIRST_REASONS = 10
SECONDS_BETWEEN_LINES = 5  # of progress, where there is no terminal to draw a bar on
DEMO_SIZES = {SMALL: (12, 62), PRODUCTION: (80, 1)}  # parks and days; 62 days hold the whole of last month


@click.command("import")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Read and judge the files; write nothing, and need no database.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every refused line.")
@click.pass_obj
def import_recording(settings: Settings, folder: Path, dry_run: bool, as_json: bool) -> None:
    """Import a recording from the CSV files in DIR, plain or .gz.

    parks.csv, rides.csv and ride_status_snapshots.csv must be there; park_schedules.csv or ride_operating_hours.csv
    may be. Lines that cannot be used are left out and listed. Importing twice changes nothing.
    """
    if not dry_run:
        open_for(settings, time_limit=False)
    with Bars() as bars:
        report = import_folder(
            folder,
            interval_minutes=settings.snapshot_interval_minutes,
            now=clock.now(),
            progress=bars.show,
            dry_run=dry_run,
        )
    emit(as_json, _as_json(report, dry_run), _lines(report, dry_run))


@click.command()
@click.option("--parks", type=click.IntRange(1, LARGEST), help="Parks: 12, or 80 at production scale.")
@click.option("--days", type=click.IntRange(1), help="Pacific days up to now: 62, or 1 at production scale.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another world.")
@click.option("--scale", type=click.Choice(SCALES), default=SMALL, show_default=True, help="How many rides a park has.")
@click.option("--serve", "and_serve", is_flag=True, help="Serve the result when it is there.")
@click.option("--force", is_flag=True, help="Also into a database that holds readings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def demo(
    settings: Settings,
    parks: int | None,
    days: int | None,
    seed: int,
    scale: str,
    and_serve: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Fill the database with simulated parks, up to this moment, and compute their statistics.

    The small scale has 8-14 rides a park: 132 rides and 2.3 million readings in 62 days of 5 minutes (90 MB in
    SQLite). Production has 25-60 rides a park: 3,500 rides and a million readings a day.

    The same seed gives the same parks and readings. With --force an earlier demo is brought up to now; what is there
    already stays as it is.
    """
    now, started = clock.now(), monotonic()
    world = World(parks or DEMO_SIZES[scale][0], seed, scale)
    _open_and_migrate(settings, force)
    with Bars() as bars:
        report = build_demo(
            world,
            days or DEMO_SIZES[scale][1],
            interval_minutes=settings.snapshot_interval_minutes,
            now=now,
            force=force,
            progress=lambda done, total: bars.show("Simulating", done, total, "readings"),
        )
        computed, years = _compute(bars)
    result = {**report._asdict(), "seed": seed, "scale": scale, "days_computed": computed, "years": years}
    emit(as_json, result, _demo_lines(report, computed, years, monotonic() - started, settings, and_serve))
    if and_serve:
        serve.start(settings, settings.host, settings.port)


def _open_and_migrate(settings: Settings, force: bool) -> None:
    database.open_database(settings, time_limit=False)
    database.check_server()
    if not force:
        ensure_no_readings()  # a database that is refused is left as it is
    schema.upgrade(settings, schema.Options(say=say))
    schema.ensure_equal()
    state.ensure_interval(settings.snapshot_interval_minutes)


def _compute(bars: Bars) -> tuple[int, list[int]]:
    """Compute the days, then the years, that are due; how many days, and which years."""
    now = clock.now()
    total = len(daily.missing_days(now, rules.METRICS_VERSION))
    done = iter(range(1, total + 1))
    report = daily.aggregate(now, progress=lambda _done, _day: bars.show("Computing days", next(done, total), total))
    return len(report.days), refresh_years(now, bars, {day.year for day in report.days})


def refresh_years(now: datetime, bars: Bars, changed: Collection[int] = ()) -> list[int]:
    """Refresh the statistics of the years that are due, and of these, and return them."""
    due = {*yearly.due_years(now), *changed}
    done = iter(range(1, len(due) + 1))
    return yearly.refresh_years(now, due, lambda _: bars.show("Refreshing years", next(done), len(due)))


def _demo_lines(
    report: Report, computed: int, years: list[int], seconds: float, settings: Settings, and_serve: bool
) -> Iterator[str]:
    of_years = f", and the statistics of {', '.join(map(str, years))}" if years else ""
    yield f"{report.parks} parks with {report.rides:,} rides, {report.first_day} to {report.last_day} (Pacific days)."
    yield (
        f"{report.stored:,} readings stored, {report.replaced:,} replaced, {report.unchanged:,} unchanged;"
        f" {computed} days computed{of_years}; {seconds:.0f} s in all."
    )
    if report.expired:
        yield f"{report.expired:,} readings past retention were left out."
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    yield "Next: open" if and_serve else "Next: run `cli serve`, then open"
    for path in ("", "api/parks/downtime?period=today", "api/rides/downtime?period=last_week", "api/rides/waittimes"):
        yield f"  http://{host}:{settings.port}/{path}"
    yield "The live view needs readings of the last two hours: the same command with --force brings them up to then."


class Bars:
    """One progress bar after the other, a new one with each new label; off a terminal a line now and then."""

    def __init__(self) -> None:
        self.label = ""
        self.bar: Any = None
        self.started = self.said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.__exit__(kind, error, at)

    def show(self, label: str, done: int, total: int, unit: str = "") -> None:
        """`done` of `total` of what `label` says; `unit` names what there is a rate of."""
        if label != self.label:
            self._begin(label, total)
        elapsed = monotonic() - self.started
        rate = f"{done / elapsed:,.0f} {unit}/s" if unit and elapsed else ""
        self.bar.update(done - self.bar.pos, rate)
        if self.bar.hidden and self.started + elapsed >= self.said + SECONDS_BETWEEN_LINES:
            self.said = self.started + elapsed
            left = f"{elapsed * (total - done) / done:.0f} s left" if done else ""
            say(", ".join(text for text in (f"{label}: {done:,} of {total:,}", rate, left) if text))

    def _begin(self, label: str, total: int) -> None:
        self.__exit__(None, None, None)
        self.label = label
        self.bar = progress(None, label, length=total).__enter__()
        self.bar.item_show_func = lambda rate: rate or None
        self.started = self.said = monotonic()


def _as_json(report: ImportReport, dry_run: bool) -> dict[str, object]:
    refused = [refusal._asdict() for refusal in report.refused]
    instants = {name: at and at.isoformat() for name, at in _span(report).items()}
    return {**asdict(report), "refused": refused, **instants, "dry_run": dry_run}


def _span(report: ImportReport) -> dict[str, Any]:
    return {"first_slot": report.first_slot, "last_slot": report.last_slot}


def _lines(report: ImportReport, dry_run: bool) -> Iterator[str]:
    yield f"Parks: {report.parks:,}. Rides: {report.rides:,}."
    yield f"Readings: {report.read:,} read, {report.superseded:,} followed by a later one in the same slot."
    if not dry_run:
        yield f"{report.stored:,} stored, {report.replaced:,} replaced, {report.unchanged:,} unchanged."
        if report.expired:
            yield f"{report.expired:,} past retention: the statistics of their days are final, and they were left out."
        yield f"Schedule rows written: {report.schedule_rows:,}."
    if report.first_slot and report.last_slot:
        yield f"From {report.first_slot:%Y-%m-%d %H:%M} to {report.last_slot:%Y-%m-%d %H:%M} UTC."
    if report.dropped_waits:
        yield f"Waits outside 0-480 minutes, dropped: {report.dropped_waits:,}."
    if report.single_rider:
        yield f"Single-rider queues are no rides; {report.single_rider_readings:,} readings left out of:"
        yield from (f"  {name}" for name in report.single_rider)
    if report.refused:
        yield f"Lines refused: {len(report.refused):,}."
        yield from (f"  {file}, line {line}: {reason}" for file, line, reason in report.refused[:FIRST_REASONS])
        if len(report.refused) > FIRST_REASONS:
            yield "  ... and more: --json lists them all."
    yield "Nothing was written." if dry_run else "Next: `cli aggregate` computes the statistics of the finished days."
