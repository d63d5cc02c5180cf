"""How the service is doing: whether it can answer, how fresh its data is, and how its jobs went."""

from __future__ import annotations

import logging
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from peewee import PeeweeException

from service import VERSION, database, periods, schema
from service.config import Settings
from service.errors import BadRequest, ServiceError, Unavailable, Unreachable
from service.models import AggregationJobLog, JobLease, JobStatus, RideStatusSnapshot
from service.queries import state

log = logging.getLogger("service.health")

Check = dict[str, object]  # `status` and, mostly, `message`, beside what was measured

FRESH_MINUTES = 30
FAILURES_WITHIN = timedelta(hours=24)
DISK_WARNING_PERCENT = 80
DISK_CRITICAL_PERCENT = 90
GIB = 2**30

AGGREGATE_JOB = "aggregate"
WORKER_LEASE = "worker"


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
            checks["daily_aggregation"] = daily_aggregation()
            checks["jobs"] = jobs(now)
            checks["worker"] = worker(now)


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
    newest = newest.where(RideStatusSnapshot.snapshot_time <= now)
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


def daily_aggregation() -> Check:
    """The run that reached the newest day, and of several the last one."""
    run = (
        AggregationJobLog.select()
        .where((AggregationJobLog.job_type == AGGREGATE_JOB) & AggregationJobLog.period_end.is_null(False))
        .order_by(AggregationJobLog.period_end.desc(), AggregationJobLog.job_id.desc())
        .first()
    )
    if run is None:
        return {"status": "no_data", "message": "No day has been aggregated yet"}
    return {
        "status": run.status.name.lower(),
        "aggregation_date": run.period_end.isoformat(),
        "completed_at": None if run.finished_at is None else periods.iso_utc(run.finished_at),
    }


def jobs(now: datetime) -> Check:
    """Failures of the last 24 hours, of any job. Their details are in the job log only."""
    failed = AggregationJobLog.select().where(
        (AggregationJobLog.status == JobStatus.FAILED)
        & (AggregationJobLog.started_at > now - FAILURES_WITHIN)
        & (AggregationJobLog.started_at <= now)
    )
    newest = failed.order_by(AggregationJobLog.started_at.desc(), AggregationJobLog.job_id.desc()).first()
    if newest is None:
        return {"status": "healthy", "failed_last_24h": 0, "message": "No job failed in the last 24 hours"}
    count = failed.count()
    return {
        "status": "warning",
        "failed_last_24h": count,
        "newest_failure": {"job": newest.job_type, "at": periods.iso_utc(newest.started_at)},
        "message": f"{count} failed in the last 24 hours: `cli jobs` says why",
    }


def worker(now: datetime) -> Check:
    """Whether a worker holds its lease."""
    lease = JobLease.get_or_none((JobLease.name == WORKER_LEASE) & (JobLease.expires_at > now))
    if lease is None:
        return {"status": "none", "message": "No worker runs: jobs run when they are started by hand"}
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
