"""One run of an adoption: catalog, schedules, readings, daily history, weather, in this order."""

from __future__ import annotations

from datetime import datetime

from service import clock
from service.database import fetch
from service.errors import BadRequest
from service.jobs.adopting.facts import read_facts
from service.jobs.adopting.history import adopt_history
from service.jobs.adopting.observed import Span, adopt_readings, ensure_interval_fits, readings_to_adopt
from service.jobs.adopting.position import Position
from service.jobs.adopting.predecessor import Predecessor, Window, name_of, seconds
from service.jobs.adopting.report import AdoptionReport, Remainder
from service.jobs.adopting.task import Progress, Task
from service.jobs.adopting.weather import FORECASTS, OBSERVATIONS, adopt_weather
from service.jobs.catalog import Catalog, store_catalog
from service.jobs.joblog import logged
from service.jobs.store import store_schedules
from service.models import Ride, RideStatusSnapshot
from service.models.predecessor import OPTIONAL, REQUIRED
from service.queries import state

DERIVED = "Rows not copied, for they are computed here"
ITS_OWN = "Rows not copied, for they are about the predecessor itself"
UNKNOWN = "Rows not copied, for nothing is known of them"
SPANS = ("hourly", "weekly", "monthly", "yearly")
NOT_COPIED = {
    "park_daily_stats": DERIVED,
    "park_activity_snapshots": DERIVED,
    "park_operating_sessions": DERIVED,
    "ride_status_changes": DERIVED,
    **{f"{of}_{span}_stats": DERIVED for of in ("park", "ride") for span in SPANS},
    **{f"{of}_live_rankings{twin}": DERIVED for of in ("park", "ride") for twin in ("", "_staging")},
    "aggregation_log": ITS_OWN,
    "data_quality_issues": ITS_OWN,
    "alembic_version": ITS_OWN,
    "schema_migrations": ITS_OWN,
}


def adopt(
    old: Predecessor,
    *,
    interval_minutes: int,
    now: datetime,
    progress: Progress = lambda what, done, total: None,
    force: bool = False,
    dry_run: bool = False,
) -> AdoptionReport:
    """Copy what is new in the predecessor `old`; with `dry_run` count it, and write nothing.

    Raises BadRequest for a target with readings of another origin, for one that holds the adoption of another
    predecessor, and where the readings are much further apart than the interval, unless `force`; Unavailable for a
    target of another interval. All before anything is written.
    """
    state.ensure_interval(interval_minutes)
    window = old.window()  # before the catalog, so that every reading up to here is of a ride that is in it
    left = Remainder()
    task = Task(old, read_facts(old, left), Position(), left, interval_minutes, now, progress, not dry_run)
    _begin(task, window, force)
    span = readings_to_adopt(task, window) if window else None
    if span and not force:
        ensure_interval_fits(task, span)
    if dry_run:
        task.catalog = _unwritten_catalog(task)
        _adopt(task, span)
    else:
        first, last = span.days if span and span.days else (None, None)
        with logged("adopt", now, start=first, end=last) as task.run:
            task.position.save()
            task.catalog = store_catalog(task.facts.parks, task.facts.rides, now)
            _adopt(task, span)
            task.run.warnings = sum(row.count for row in left)
    _leave_tables(task)
    task.report.left_behind = list(left)
    return task.report


def _begin(task: Task, window: Window | None, force: bool) -> None:
    """Refuse a target that is of something else; else take up its position, or begin one."""
    created, position = task.old.first_created(), task.position
    if position.source is None:
        if not force and RideStatusSnapshot.select().exists():
            raise BadRequest(
                "The database holds readings that were not adopted: adopt into a new one. --force adds the"
                " predecessor's to them; where both have a ride's reading of a slot, the predecessor's replaces it."
            )
    elif position.source != created:
        if not force:
            raise BadRequest(
                "The database holds what was adopted from another predecessor: adopt into a new one. --force adds"
                " this one to it."
            )
        position.forget(write=task.write)
    position.begin(created, seconds(window.first) if window else None)


def _adopt(task: Task, span: Span | None) -> None:
    report, facts = task.report, task.facts
    report.parks, report.rides = len(facts.parks), len(facts.rides)
    for park_id, openings in facts.openings.items():
        ours = task.catalog.park_ids[park_id]
        report.schedule_rows += store_schedules(ours, openings, clock.now()) if task.write else len(openings)
    if span:
        adopt_readings(task, span)
    adopt_history(task)
    if task.write:
        _keep_last_operated(task)
    report.weather_observations = adopt_weather(task, OBSERVATIONS)
    report.weather_forecasts = adopt_weather(task, FORECASTS)


def _unwritten_catalog(task: Task) -> Catalog:
    parks = {park.source_id: park.source_id for park in task.facts.parks}
    return Catalog(parks, {ride.source_id: ride.source_id for ride in task.facts.rides}, 0, 0, 0, 0)


def _keep_last_operated(task: Task) -> None:
    """Of rides that no adopted reading shows operating, what the predecessor knew."""
    unknown = {ride_id for (ride_id,) in fetch(Ride.select(Ride.ride_id).where(Ride.last_operated_at.is_null()))}
    for old_id, at in task.facts.last_operated.items():
        ride_id = task.catalog.ride_ids.get(old_id)
        if ride_id in unknown:
            Ride.update({Ride.last_operated_at: at}).where(Ride.ride_id == ride_id).execute()


def _leave_tables(task: Task) -> None:
    for model in OPTIONAL:
        if lack := task.old.lack(model):
            task.report.notes.append(f"The predecessor lacks {lack}: nothing of that was adopted.")
    read = {name_of(model) for model in (*REQUIRED, *OPTIONAL)}
    for table in sorted(task.old.tables - read):
        rows = task.old.count(table)
        if rows:
            task.left.note(f"{NOT_COPIED.get(table, UNKNOWN)}: {table}", "", rows)
