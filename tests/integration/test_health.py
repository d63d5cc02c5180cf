"""What /api/health says of data, jobs, worker and disk, and what makes the service unhealthy or degraded."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from peewee import Field, OperationalError

from service import database as door
from service.config import Settings
from service.models import AggregationJobLog, JobLease, JobStatus, RideStatusSnapshot
from service.models.base import Base
from service.monitoring import health as health_module
from service.monitoring.health import Check, health
from service.rules import Status

NOW = datetime(2025, 5, 18, 15, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _open(database: Any) -> None:
    """All of these look into a database."""


def minutes_ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def reading(at: datetime) -> None:
    store(RideStatusSnapshot, {
        RideStatusSnapshot.snapshot_time: at, RideStatusSnapshot.ride_id: 1,
        RideStatusSnapshot.status: Status.OPERATING,
    })


def job(kind: str, status: JobStatus, started: datetime, day: date | None = None) -> None:
    log = AggregationJobLog
    store(log, {
        log.job_type: kind, log.status: status, log.started_at: started, log.period_start: day, log.period_end: day,
        log.finished_at: None if status is JobStatus.RUNNING else started + timedelta(minutes=2), log.owner: "test",
        log.error_details: "secret details",
    })


def store(table: type[Base], values: Mapping[Field[Any], object]) -> None:
    table.insert(values).execute()


def checks(settings: Settings) -> dict[str, Check]:
    found: Any = health(settings, NOW)[1]["checks"]
    return found


def test_new_database_is_degraded_because_it_has_no_data(settings: Settings) -> None:
    status, document = health(settings, NOW)
    assert (status, document["status"]) == (200, "degraded")
    assert (document["timestamp"], document["api_version"]) == ("2025-05-18T15:00:00Z", "1.0.0")
    found = checks(settings)
    assert {name: check["status"] for name, check in found.items() if name != "disk_space"} == {
        "database": "healthy", "schema": "healthy", "data_collection": "no_data", "daily_aggregation": "no_data",
        "jobs": "healthy", "worker": "none",
    }
    assert all(check["message"] for check in found.values())


def test_fresh_readings_and_a_finished_day_are_healthy(settings: Settings) -> None:
    reading(minutes_ago(4))
    job("aggregate", JobStatus.SUCCESS, minutes_ago(400), date(2025, 5, 17))
    status, document = health(settings, NOW)
    assert (status, document["status"]) == (200, "healthy")


@pytest.mark.parametrize(("age", "shown", "status"), [
    (0, 0, "healthy"), (29, 29, "healthy"), (29.5, 29, "healthy"), (30, 30, "stale"), (60 * 24 * 40, 57600, "stale"),
])
def test_readings_are_stale_after_half_an_hour(settings: Settings, age: float, shown: int, status: str) -> None:
    reading(minutes_ago(age))
    reading(minutes_ago(age + 500))
    found = checks(settings)["data_collection"]
    assert (found["status"], found["age_minutes"]) == (status, shown)
    assert found["last_collection"] == minutes_ago(age).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_half_an_hour_is_too_short_where_slots_are_an_hour_apart(settings: Settings) -> None:
    hourly = Settings(settings.database_url, snapshot_interval_minutes=60)
    reading(minutes_ago(59))
    assert checks(hourly)["data_collection"]["status"] == "healthy"
    assert checks(settings)["data_collection"]["status"] == "stale"


def test_readings_after_now_are_not_there_yet(settings: Settings) -> None:
    reading(NOW + timedelta(minutes=5))
    assert checks(settings)["data_collection"]["status"] == "no_data"
    reading(minutes_ago(10))
    assert checks(settings)["data_collection"]["age_minutes"] == 10


def test_aggregation_is_the_newest_days_last_run(settings: Settings) -> None:
    job("aggregate", JobStatus.FAILED, minutes_ago(600), date(2025, 5, 17))
    job("aggregate", JobStatus.SUCCESS, minutes_ago(500), date(2025, 5, 17))
    job("aggregate", JobStatus.FAILED, minutes_ago(90), date(2025, 5, 2))
    job("recompute", JobStatus.RUNNING, minutes_ago(10), date(2025, 5, 18))
    assert checks(settings)["daily_aggregation"] == {
        "status": "success", "aggregation_date": "2025-05-17", "completed_at": "2025-05-18T06:42:00Z",
    }


def test_running_aggregation_is_not_completed(settings: Settings) -> None:
    job("aggregate", JobStatus.RUNNING, minutes_ago(1), date(2025, 5, 17))
    found = checks(settings)["daily_aggregation"]
    assert (found["status"], found["completed_at"]) == ("running", None)


def test_failed_aggregation_does_not_make_the_service_unhealthy(settings: Settings) -> None:
    reading(NOW)
    job("aggregate", JobStatus.FAILED, minutes_ago(60), date(2025, 5, 17))
    assert health(settings, NOW)[1]["status"] == "healthy"
    assert checks(settings)["daily_aggregation"]["status"] == "failed"


def test_failed_jobs_of_a_day_are_counted_without_their_details(settings: Settings) -> None:
    job("collect", JobStatus.FAILED, minutes_ago(60 * 24))
    job("collect", JobStatus.FAILED, minutes_ago(60 * 24 - 1))
    job("prune", JobStatus.FAILED, minutes_ago(30))
    job("prune", JobStatus.SUCCESS, minutes_ago(20))
    job("prune", JobStatus.FAILED, NOW + timedelta(minutes=1))
    found = checks(settings)["jobs"]
    assert (found["status"], found["failed_last_24h"]) == ("warning", 2)
    assert found["newest_failure"] == {"job": "prune", "at": "2025-05-18T14:30:00Z"}
    assert "secret" not in str(found)


def test_worker_runs_while_it_holds_its_lease(settings: Settings) -> None:
    for name, expires in (("worker", minutes_ago(-5)), ("other", minutes_ago(-5))):
        store(JobLease, {
            JobLease.name: name, JobLease.owner: "test",
            JobLease.acquired_at: minutes_ago(60), JobLease.expires_at: expires,
        })
    assert checks(settings)["worker"]["status"] == "running"
    assert checks(settings)["worker"]["since"] == "2025-05-18T14:00:00Z"
    JobLease.update({JobLease.expires_at: NOW}).execute()
    assert checks(settings)["worker"]["status"] == "none"


@pytest.mark.parametrize(("used", "status"), [(10, "healthy"), (80, "healthy"), (81, "warning"), (91, "critical")])
def test_full_disk_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch, used: int, status: str) -> None:
    usage = shutil._ntuple_diskusage(100 * 2**30, used * 2**30, (100 - used) * 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found = checks(settings)["disk_space"]
    assert (found["status"], found["usage_percent"]) == (status, used)
    assert (found["total_gb"], found["used_gb"], found["free_gb"]) == (100, used, 100 - used)


def test_disk_is_the_one_of_the_database_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Path] = []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage)
    for url in ("sqlite:////srv/my%20data/x.db", "sqlite:///var/x.db", "mysql://root@127.0.0.1/x"):
        health(Settings(database_url=url), NOW)
    assert asked == [Path("/srv/my data"), Path("var"), Path(".")]


def test_disk_that_cannot_be_looked_at_is_unknown(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    def failing(_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(shutil, "disk_usage", failing)
    assert checks(settings)["disk_space"]["status"] == "unknown"
    assert health(settings, NOW)[0] == 200


def test_database_lost_on_the_way_keeps_what_was_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise OperationalError(2013, "Lost connection to 10.0.0.7")

    monkeypatch.setattr(health_module, "daily_aggregation", lost)
    status, document = health(settings, NOW)
    assert (status, document["status"]) == (503, "unhealthy")
    found: Any = document["checks"]
    assert found["database"] == {"status": "unhealthy", "message": "The database cannot be reached"}
    assert set(found) == {"database", "schema", "data_collection", "disk_space"}


def test_reading_health_leaves_no_transaction_open(settings: Settings) -> None:
    health(settings, NOW)
    assert not door.db.in_transaction()
