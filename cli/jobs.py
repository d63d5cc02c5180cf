"""Commands that compute: the daily statistics, and the yearly ones made of them."""

from __future__ import annotations

from datetime import date, datetime
from time import monotonic

import click

from cli.output import emit, open_for, progress
from service import clock, rules
from service.jobs import daily, yearly


PARTLY_FAILED = 1


@click.command()
@click.option("--through", type=click.DateTime(["%Y-%m-%d"]), help="Last Pacific day to compute (default: yesterday).")
@click.option("--dry-run", is_flag=True, help="Say which days would be computed, and stop.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def aggregate(context: click.Context, through: datetime | None, dry_run: bool, as_json: bool) -> None:
    """Compute the daily statistics that are missing or no longer right.

    Every finished Pacific day from the first reading's on is looked at, newest first; then the statistics of their
    years. Nothing else is touched, so it can be stopped at any moment and run again. Exit code 1 if a day failed; the
    others are computed.
    """
    open_for(context.obj, time_limit=False)
    now = clock.now()
    last = through.date() if through else None
    days = daily.missing_days(now, rules.METRICS_VERSION, last)
    if dry_run:
        found = [str(day) for day in days]
        emit(as_json, {"days": found, "dry_run": True}, [*found, f"{len(days)} days would be computed."])
        return
    started = monotonic()
    with progress(None, "Computing days", length=len(days)) as bar:
        report = daily.aggregate(now, last, lambda _done, _day: bar.update(1))
    years = _refreshed_years(now, report.days)
    emit(as_json, _result(report) | {"years": years}, _lines(report, monotonic() - started) + _year_lines(years))
    if report.failed:
        context.exit(PARTLY_FAILED)


def _refreshed_years(now: datetime, days: list[date]) -> list[int]:
    """Refresh the years of these days, and those that a run that was stopped left behind."""
    years = {day.year for day in days} | set(yearly.due_years(now))
    with progress(None, "Refreshing years", length=len(years)) as bar:
        return yearly.refresh_years(now, years, lambda _year: bar.update(1))


def _year_lines(years: list[int]) -> list[str]:
    return [f"Refreshed the yearly statistics of {', '.join(map(str, years))}."] if years else []


def _result(report: daily.Computation) -> dict[str, object]:
    return {
        "days": [str(day) for day in report.days],
        "rows": report.rows,
        "samples": report.samples,
        "metrics_version": rules.METRICS_VERSION,
        "failed": [{"day": str(one.day), "error": one.error} for one in report.failed],
    }


def _lines(report: daily.Computation, seconds: float) -> list[str]:
    failed = [f"FAILED: {failure.day}: {failure.error}" for failure in report.failed]
    if not report.days:
        return failed or ["Every finished day is computed already."]
    return failed + [
        f"Computed {_days(report.days)} in {seconds:.1f} s:"
        f" {report.rows:,} rows from {report.samples:,} readings in open hours."
    ]


def _days(days: list[date]) -> str:
    return f"{days[0]}" if len(days) == 1 else f"{len(days)} days, {days[-1]} to {days[0]},"
