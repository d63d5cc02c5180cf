"""Commands on what was computed: once more (`recompute`), by which rules (`metrics`), and the job log (`jobs`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from time import monotonic
from typing import Any

import click

from cli.output import emit, open_for, progress, say
from service import clock, rules
from service.config import Settings
from service.jobs import daily, yearly
from service.jobs import versions as versions_job
from service.periods import iso_utc
from service.queries import jobs, state, versions
from service.queries.catalog import universe

DAY = click.DateTime(["%Y-%m-%d"])
MOST_DAYS = 36_500  # a century
VERSION = click.IntRange(0, 2**31 - 1)
LIMIT = click.IntRange(1, 1_000_000)
PARTLY_FAILED = 1


def _park_ids(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> frozenset[int] | None:
    """The ids of all the lists given; None without any."""
    try:
        found = [int(park_id) for text in given for park_id in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{','.join(given)!r} is no list of park ids, such as 1,5,9.") from error
    return frozenset(found) or None


@click.command()
@click.option("--start-date", type=DAY, help="First Pacific day, YYYY-MM-DD.")
@click.option("--end-date", type=DAY, help="Last Pacific day, itself included.")
@click.option(
    "--days", "count", type=click.IntRange(1, MOST_DAYS), help="Instead of both: the last N finished Pacific days."
)
@click.option("--parks", metavar="IDS", multiple=True, callback=_park_ids, help="Only these parks, such as 1,5,9.")
@click.option("--metrics-version", type=VERSION, help=f"Compute for this version (default: {rules.METRICS_VERSION}).")
@click.option("--dry-run", is_flag=True, help="Compute and report, and write nothing.")
@click.option("--force", is_flag=True, help="Replace also days that were computed from more readings than there are.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def recompute(
    context: click.Context,
    start_date: datetime | None,
    end_date: datetime | None,
    count: int | None,
    parks: frozenset[int] | None,
    metrics_version: int | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Compute the daily statistics of a range of days again, whether they are right or not; or those of some parks.

    Newest first, each day in a transaction: stopped at any moment, every day is as it was or as it should be; then the
    statistics of their years. Gaps, in which a park was open and nothing was observed, are warnings. Exit code 1 if a
    day failed, or was refused because its statistics were made of more readings than there are now.
    """
    open_for(context.obj, read_only=dry_run, time_limit=False)
    now = clock.now()
    version = rules.METRICS_VERSION if metrics_version is None else metrics_version
    daily.ensure_computable(version)
    days = daily.days_to_recompute(now, _date(start_date), _date(end_date), count)
    if parks is not None:
        daily.ensure_known(parks)
        daily.ensure_stored(days, now, version)
    started = monotonic()
    with progress(None, "Recomputing days", length=len(days), show=_shown_rate) as bar:

        def step(done: daily.Computation, day: date) -> None:
            bar.update(1, (done, day, monotonic() - started))

        done = daily.recompute(days, now, version, parks=parks, force=force, dry_run=dry_run, progress=step)
    years = set() if dry_run or version > state.active_version() else {day.year for day in done.days}
    result = _result(done, version, parks, dry_run) | {"years": yearly.refresh_years(now, years)}
    _warn(result)
    emit(as_json, result, _lines(done, version, parks, dry_run, monotonic() - started))
    if not done.is_whole:
        context.exit(PARTLY_FAILED)


def _date(given: datetime | None) -> date | None:
    return given.date() if given else None


def _shown_rate(at: tuple[daily.Computation, date, float] | None) -> str | None:
    """What stands beside the bar, which tells the time left: the day just done, and how fast it goes."""
    if at is None:
        return None
    done, day, seconds = at
    rate = done.samples / max(seconds, 0.001)
    return f"{day}  {rate:,.0f} readings/s"


def _result(
    done: daily.Computation, version: int, parks: frozenset[int] | None, dry_run: bool
) -> dict[str, Any]:
    known = universe().parks if done.gaps else {}
    return {
        "days": [str(day) for day in done.days],
        "rows": done.rows,
        "samples": done.samples,
        "metrics_version": version,
        "parks": None if parks is None else sorted(parks),
        "dry_run": dry_run,
        "gaps": [
            {
                "park_id": gap.park_id,
                "park_name": known[gap.park_id].name,
                "from": iso_utc(gap.start),
                "to": iso_utc(gap.end),
                "minutes": (gap.end - gap.start) // 60,
            }
            for gap in sorted(done.gaps, key=lambda gap: (-gap.start, gap.park_id))
        ],
        "refused": [
            {"day": str(one.day), "stored_samples": one.stored, "samples": one.samples} for one in done.refused
        ],
        "failed": [{"day": str(one.day), "error": one.error} for one in done.failed],
    }


def _warn(result: dict[str, Any]) -> None:
    for gap in result["gaps"]:
        say(
            f"Warning: nothing was observed of {gap['park_name']} (park {gap['park_id']}) from {gap['from']} to"
            f" {gap['to']}, {gap['minutes']} minutes in which it was open."
        )


def _lines(
    done: daily.Computation, version: int, parks: frozenset[int] | None, dry_run: bool, seconds: float
) -> Iterator[str]:
    yield from (f"REFUSED: {refusal}" for refusal in done.refused)
    yield from (f"FAILED: {failure.day}: {failure.error}" for failure in done.failed)
    what = _counted(len(done.days), "day") + (f" of {daily.named(parks)}" if parks else "")
    yield (
        f"{'Would recompute' if dry_run else 'Recomputed'} {what} at version {version} in {seconds:.1f} s:"
        f" {done.rows:,} rows from {done.samples:,} readings in open hours."
    )
    yield (
        f"{_counted(len(done.gaps), 'gap')}, {_counted(len(done.refused), 'day')} refused,"
        f" {_counted(len(done.failed), 'day')} failed."
    )


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


# --- versions --------------------------------------------------------------------------------------------------------


@click.group()
def metrics() -> None:
    """Versions of the statistics, side by side: each revision of the rules has its own rows.

    Answers take, per day, the highest version that holds and is not above the active one.
    """


@metrics.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def list_versions(settings: Settings, as_json: bool) -> None:
    """The versions, how many days each has, and which is active."""
    open_for(settings, read_only=True)
    found = versions.versions()
    emit(as_json, {"versions": [one._asdict() for one in found]}, [_version_line(one) for one in found])


def _version_line(one: versions.Version) -> str:
    days = f"{_counted(one.days, 'day')}" + (f" and {one.dirty_days:,} to compute again" if one.dirty_days else "")
    span = f", {one.first_day} to {one.last_day}" if one.first_day else ""
    active = "  ACTIVE" if one.active else ""
    return f"{one.version:>4}  {one.description or 'not registered'}: {days}{span}{active}"


@metrics.command()
@click.argument("one", metavar="V1", type=VERSION)
@click.argument("other", metavar="V2", type=VERSION)
@click.option("--start", type=DAY, help="First Pacific day to compare (default: all that both versions have).")
@click.option("--end", type=DAY, help="Last Pacific day to compare.")
@click.option("--limit", type=LIMIT, default=20, show_default=True, help="Parks, and rides, to list.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def compare(
    settings: Settings,
    one: int,
    other: int,
    start: datetime | None,
    end: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """What V2 says otherwise than V1, on the days that both have: the largest changes of downtime, and totals."""
    open_for(settings, read_only=True, time_limit=False)
    found = versions.compare(one, other, _date(start), _date(end), limit)
    emit(as_json, found, _comparison(found))


def _comparison(found: dict[str, Any]) -> Iterator[str]:
    days, changed = found["days"], found["changed"]
    yield f"{_counted(days['count'], 'day')}, {days['first']} to {days['last']}:"
    yield from (f"  version {total['version']}: {_figures(total)}" for total in found["totals"])
    for kind in ("parks", "rides"):
        shown = found[kind]
        of = f", the largest {len(shown):,}" if len(shown) < changed[kind] else ""
        yield f"{changed[kind]:,} {kind} changed{of}."
        yield from (f"  {_change(row)}" for row in shown)


def _change(row: dict[str, Any]) -> str:
    name = f"{row['name']} ({row['park_name']})" if "park_name" in row else row["name"]
    return f"{row['downtime_hours_change']:+.2f} h  {name}: {_figures(row['before'])} -> {_figures(row['after'])}"


def _figures(row: dict[str, Any]) -> str:
    score = f", score {_or_none(row['shame_score'])}" if "shame_score" in row else ""
    return f"{row['downtime_hours']:,.2f} h down, uptime {_or_none(row['uptime_percentage'], ' %')}{score}"


def _or_none(value: float | None, unit: str = "") -> str:
    return "none" if value is None else f"{value}{unit}"


@metrics.command()
@click.argument("version", metavar="V", type=VERSION)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def promote(settings: Settings, version: int, as_json: bool) -> None:
    """Make V the active version. It needs a day that holds; days it lacks are read at lower versions.

    Then the statistics of the years are made of its days.
    """
    open_for(settings, time_limit=False)
    now = clock.now()
    changed = versions_job.promote(version, now)
    years = yearly.refresh_years(now)
    if version > rules.METRICS_VERSION:
        say(
            f"Warning: this release computes version {rules.METRICS_VERSION}: its new days are not of version"
            f" {version}, and are kept from retention."
        )
    line = f"Version {version} is active now." if changed else f"Version {version} is active already."
    emit(as_json, {"active": version, "changed": changed, "years": years}, [line])


@metrics.command()
@click.argument("version", metavar="V", type=VERSION)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def drop(settings: Settings, version: int, as_json: bool) -> None:
    """Delete version V and its rows: not the active one, and not while a day has no other."""
    open_for(settings, time_limit=False)
    days = versions_job.drop(version)
    emit(as_json, {"dropped": version, "days": days}, [f"Version {version} is gone: {_counted(days, 'day')} dropped."])


# --- the job log -----------------------------------------------------------------------------------------------------


@click.command("jobs")
@click.option("--job", help="Only runs of this job: aggregate, collect, import, ...")
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="How many runs to list.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def list_jobs(settings: Settings, job: str | None, limit: int, as_json: bool) -> None:
    """The job log, newest first. A run that ended without a word is `killed`, and `failed` from the next run on."""
    open_for(settings, read_only=True)
    found = jobs.runs(limit, job)
    nothing = f"No run of {job!r} is in the log." if job else "No job has run yet."
    emit(as_json, {"jobs": [run._asdict() for run in found]}, _runs(found) if found else [nothing])


def _runs(found: list[jobs.JobRun]) -> Iterator[str]:
    for run in found:
        period = f"  {run.period_start} to {run.period_end}" if run.period_start else ""
        version = "" if run.metrics_version is None else f"  version {run.metrics_version}"
        took = f"  {(run.finished_at - run.started_at).total_seconds():.0f} s" if run.finished_at else ""
        warnings = f"  {_counted(run.warnings, 'warning')}" if run.warnings else ""
        rows = f"  {run.rows_processed:,} rows"
        yield f"{iso_utc(run.started_at)}  {run.status:<7}  {run.job_type}{period}{version}{rows}{took}{warnings}"
        if run.error_details:
            yield f"    {run.error_details}"
