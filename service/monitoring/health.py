"""How the service is doing: whether it can answer, how fresh its data is, and how its jobs went."""

from __future__ import annotations

import logging
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from peewee import PeeweeException, fn

from service import VERSION, clock, database, periods, rules, schema
from service.config import Settings
from service.errors import BadRequest, ServiceError, Unavailable, Unreachable
from service.models import JobLease, RideStatusSnapshot, StatDay
from service.queries import state
from service.queries.days import first_whole_day
from service.queries.jobs import WORKER_LEASE, Failures, Standing, standing

log = logging.getLogger("service.health")

Check = dict[str, object]  # `status` and, mostly, `message`, beside what was measured

FRESH_MINUTES = 30
FAILURES_WITHIN = timedelta(hours=24)
DUE_SECONDS = 2 * 3600  # after its end a Pacific day has statistics
DISK_WARNING_PERCENT = 80
DISK_CRITICAL_PERCENT = 90
GIB = 2**30

AGGREGATE_JOB = "aggregate"


def ensure_ready(settings: Settings) -> None:
    """Raise Unavailable unless the database can be reached, has this release's schema and readings of this interval.

    Each difference of the schema, and each warning, is in the log.
    """
    database.check_server()
    for warning in _ensure_usable(settings):
        log.warning("%s", warning)


def _ensure_usable(settings: Settings) -> list[str]:
    """Warnings about the schema of a database that can answer."""
    try:
        schema.ensure_current(settings)
    except BadRequest as error:  # the installation's fault, not the request's
        log.error("%s", error)
        raise Unavailable("The service cannot read its migrations: its log says why.") from error
    drift = schema.compare()
    if drift.differences:
        for difference in drift.differences:
            log.error("%s", difference)
        raise Unavailable(
            f"Differences between the schema and this release's: {len(drift.differences)}."
            " The log and `cli check` name each."
        )
    state.ensure_interval(settings.snapshot_interval_minutes)
    return drift.warnings


def health(settings: Settings, now: datetime) -> tuple[int, dict[str, object]]:
    """HTTP status and health document. Unhealthy (503) means that the service cannot answer; degraded, that what it
    answers is old."""
    checks: dict[str, Check] = {"disk_space": disk_space(settings)}
    try:
        _look_into_database(settings, now, checks)
    except (PeeweeException, ServiceError) as error:
        log.error("%s", error)
        checks["database"] = {"status": "unhealthy", "message": _public(error)}
    overall = _overall(checks)
    document: dict[str, object] = {
        "status": overall,
        "timestamp": periods.iso_utc(now),
        "api_version": VERSION,
        "checks": checks,
    }
    return 503 if overall == "unhealthy" else 200, document


def _look_into_database(settings: Settings, now: datetime, checks: dict[str, Check]) -> None:
    """Fill in the checks that ask the database, up to the first that tells that no other can."""
    database.check_server()
    checks["database"] = {"status": "healthy", "message": "The database answers"}
    checks["schema"] = schema_state(settings)
    if checks["schema"]["status"] != "unhealthy":
        with database.reading():
            checks["data_collection"] = data_collection(settings, now)
            stand = standing(now - FAILURES_WITHIN, now)
            checks["daily_aggregation"] = daily_aggregation(now, stand)
            checks["jobs"] = jobs(stand)
            checks["worker"] = worker()


def _public(error: Exception) -> str:
    """The words of drivers name hosts and users: they are for the log."""
    if isinstance(error, Unavailable) and not isinstance(error, Unreachable):
        return str(error)
    return "The database cannot be reached"


def _overall(checks: dict[str, Check]) -> str:
    found = {check["status"] for check in checks.values()}
    if "unhealthy" in found:
        return "unhealthy"
    return "degraded" if found & {"stale", "no_data"} else "healthy"


def schema_state(settings: Settings) -> Check:
    """Whether the database has the tables, and readings of the interval, that this release works with. Without one of
    its indexes it answers as well, but slowly: a warning."""
    try:
        warnings = _ensure_usable(settings)
    except Unavailable as error:
        return {"status": "unhealthy", "message": str(error)}
    if warnings:
        return {"status": "warning", "message": "; ".join(warnings)}
    return {"status": "healthy", "message": "All migrations are applied, and the schema is what they make"}


def data_collection(settings: Settings, now: datetime) -> Check:
    """Age of the newest slot. Slots can be further apart than half an hour; then two of them may be missing."""
    newest = RideStatusSnapshot.select(RideStatusSnapshot.snapshot_time)
    slot = RideStatusSnapshot.snapshot_time
    newest = newest.where(slot <= now, slot <= state.newest_slot())
    reading = newest.order_by(RideStatusSnapshot.snapshot_time.desc()).first()
    if reading is None:
        return {"status": "no_data", "message": "No readings yet"}
    age = int((now - reading.snapshot_time).total_seconds()) // 60
    fresh = age < max(FRESH_MINUTES, 2 * settings.snapshot_interval_minutes)
    return {
        "status": "healthy" if fresh else "stale",
        "last_collection": periods.iso_utc(reading.snapshot_time),
        "age_minutes": age,
        "message": f"The newest readings are {age} minutes old",
    }


def daily_aggregation(now: datetime, stand: Standing) -> Check:
    """The newest day whose statistics readers take, whoever computed it.

    Of running and failed runs of the aggregation it is told, but only days without statistics make it `stale`.
    """
    newest = _newest_stored_day(now)
    if newest is None:
        return {"status": "no_data", "message": "No day has statistics that hold yet"}
    check: Check = {
        "status": _last_aggregation(stand),
        "aggregation_date": newest.stat_date.isoformat(),
        "completed_at": periods.iso_utc(newest.computed_at),
    }
    missing = _overdue_day(newest.stat_date, now)
    if missing is not None:
        message = f"{missing} has no statistics that hold, though it ended more than two hours ago"
        if state.active_version() < rules.METRICS_VERSION:
            message += f"; it may have some of version {rules.METRICS_VERSION}, which is not promoted"
        check |= {"status": "stale", "message": message}
    return check


def _last_aggregation(stand: Standing) -> str:
    if AGGREGATE_JOB in stand.running:
        return "running"
    return "failed" if AGGREGATE_JOB in {job.job_type for job in stand.failing} else "success"


def _newest_stored_day(now: datetime) -> StatDay | None:
    """The ledger's entry of the newest finished day that is read from stored rows, at the version it is read at."""
    holds = ~StatDay.dirty & (StatDay.metrics_version <= state.active_version())
    query = StatDay.select().where(holds, StatDay.stat_date < periods.pacific_date(now))
    entry: StatDay | None = query.order_by(StatDay.stat_date.desc(), StatDay.metrics_version.desc()).first()
    return entry


def _overdue_day(newest: date, now: datetime) -> date | None:
    """The first day after the newest stored one that should be stored too: it is long over, and readings are held."""
    one_day = timedelta(days=1)
    last = periods.pacific_date(periods.epoch(now) - DUE_SECONDS - 1) - one_day
    whole = first_whole_day() if newest < last else None
    if whole is None:
        return None
    first = max(newest + one_day, whole)
    slot = RideStatusSnapshot.snapshot_time
    since, until = periods.pacific_day(first).start, periods.pacific_day(last).end
    held = database.fetch(RideStatusSnapshot.select(fn.MIN(slot)).where(slot >= since, slot < until))[0][0]
    return None if held is None else periods.pacific_date(held)


def jobs(stand: Standing) -> Check:
    """Jobs whose last ended run failed, and the failures of the last 24 hours. Details are in the job log only."""
    failed = sum(job.runs for job in stand.recent)
    check: Check = {
        "status": "warning" if failed or stand.failing else "healthy",
        "failed_last_24h": failed,
        "failing": [
            {"job": job.job_type, "since": periods.iso_utc(job.first), "attempts": job.runs} for job in stand.failing
        ],
        "message": _said_of_jobs(failed, stand.failing),
    }
    if stand.recent:
        newest = stand.recent[0]
        check["newest_failure"] = {"job": newest.job_type, "at": periods.iso_utc(newest.last)}
    return check


def _said_of_jobs(failed: int, failing: list[Failures]) -> str:
    if not failed and not failing:
        return "No job failed in the last 24 hours"
    names = ", ".join(job.job_type for job in failing)
    now = f"Failing now: {names}; " if failing else ""
    return f"{now}{failed} failed in the last 24 hours: `cli jobs` says why"


def worker() -> Check:
    """Whether a worker renews its lease, by the real clock: one that is told to end gives it up."""
    lease = JobLease.get_or_none(JobLease.name == WORKER_LEASE)
    if lease is None:
        return {"status": "none", "message": "No worker runs: jobs run when they are started by hand"}
    if lease.expires_at <= clock.real():
        at = periods.iso_utc(lease.expires_at)
        return {"status": "stale", "message": f"The worker stopped without a word: its lease ran out at {at}"}
    return {"status": "running", "since": periods.iso_utc(lease.acquired_at), "message": "A worker runs"}


def disk_space(settings: Settings) -> Check:
    """Where an SQLite file lies, else where the service runs."""
    try:
        usage = shutil.disk_usage(_folder(settings.database_url))
    except OSError:
        return {"status": "unknown", "message": "The disk cannot be looked at"}
    percent = round(100 * usage.used / usage.total, 1)
    return {
        "status": _fullness(percent),
        "usage_percent": percent,
        "total_gb": round(usage.total / GIB, 2),
        "used_gb": round(usage.used / GIB, 2),
        "free_gb": round(usage.free / GIB, 2),
        "message": f"The disk is {percent} % full",
    }


def _folder(database_url: str) -> Path:
    scheme, _, name = database_url.partition(":///")
    return Path(unquote(name)).parent if scheme == "sqlite" else Path()


def _fullness(percent: float) -> str:
    if percent > DISK_CRITICAL_PERCENT:
        return "critical"
    return "warning" if percent > DISK_WARNING_PERCENT else "healthy"
