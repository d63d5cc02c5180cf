"""What /api/health says of data, jobs, worker and disk, and what makes the service unhealthy or degraded."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from peewee import Field, OperationalError

from service import clock, rules
from service import database as door
from service.config import Settings
from service.models import AggregationJobLog, JobLease, JobStatus, RideStatusSnapshot, ServiceState, StatDay
from service.jobs.marks import raise_state
from service.models.base import Base
from service.monitoring import health as health_module
from service.monitoring.health import Check, health
from service.periods import epoch
from service.queries import state
from service.queries.jobs import host_name
from service.queries.days import ADOPTED_VERSION
from service.rules import Status

NOW = datetime(2025, 5, 18, 15, tzinfo=UTC)
DEAD = f"{host_name()}:999999999:a"  # a process that has ended


@pytest.fixture(autouse=True)
def _open(database: Any) -> None:
    """All of these look into a database."""


def minutes_ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def reading(at: datetime) -> None:
    raise_state(state.NEWEST_SLOT, epoch(at))
    store(RideStatusSnapshot, {
        RideStatusSnapshot.snapshot_time: at, RideStatusSnapshot.ride_id: 1,
        RideStatusSnapshot.status: Status.OPERATING,
    })


def job(kind: str, status: JobStatus, started: datetime, day: date | None = None, owner: str = "test") -> int:
    log = AggregationJobLog
    return store(log, {
        log.job_type: kind, log.status: status, log.started_at: started, log.period_start: day, log.period_end: day,
        log.finished_at: None if status is JobStatus.RUNNING else started + timedelta(minutes=2), log.owner: owner,
        log.error_details: "secret details",
    })


def lease(name: str, owner: str, seconds: int = 60) -> None:
    """For so long from the real now on."""
    store(JobLease, {
        JobLease.name: name, JobLease.owner: owner, JobLease.acquired_at: minutes_ago(60),
        JobLease.expires_at: clock.real() + timedelta(seconds=seconds),
    })


def stored(
    day: date, version: int = rules.METRICS_VERSION, at: datetime = minutes_ago(10), *, dirty: bool = False
) -> None:
    store(StatDay, {
        StatDay.stat_date: day, StatDay.metrics_version: version, StatDay.sample_count: 1, StatDay.computed_at: at,
        StatDay.dirty: dirty,
    })


def store(table: type[Base], values: Mapping[Field[Any], object]) -> int:
    key: int = table.insert(values).execute()
    return key


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
    stored(date(2025, 5, 17))
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


# --- daily aggregation ------------------------------------------------------------------------------------------------


def test_aggregation_is_the_newest_day_that_readers_take_whoever_computed_it(settings: Settings) -> None:
    job("aggregate", JobStatus.SUCCESS, minutes_ago(500), date(2025, 5, 17))
    stored(date(2025, 5, 12), ADOPTED_VERSION)
    assert checks(settings)["daily_aggregation"] == {
        "status": "success", "aggregation_date": "2025-05-12", "completed_at": "2025-05-18T14:50:00Z",
    }
    stored(date(2025, 5, 14), at=minutes_ago(90))
    stored(date(2025, 5, 15), dirty=True)
    stored(date(2025, 5, 16), version=2)
    stored(date(2025, 5, 18))  # not over yet
    assert checks(settings)["daily_aggregation"] == {
        "status": "success", "aggregation_date": "2025-05-14", "completed_at": "2025-05-18T13:30:00Z",
    }


def test_of_two_versions_of_a_day_the_one_that_is_read_tells_when_it_was_computed(settings: Settings) -> None:
    ServiceState.update({ServiceState.value: 2}).where(ServiceState.name == state.ACTIVE_VERSION).execute()
    for version, age in ((1, 30), (2, 20), (3, 10)):
        stored(date(2025, 5, 17), version, minutes_ago(age))
    assert checks(settings)["daily_aggregation"]["completed_at"] == "2025-05-18T14:40:00Z"


def test_without_a_day_that_holds_there_is_no_data(settings: Settings) -> None:
    stored(date(2025, 5, 17), dirty=True)
    assert checks(settings)["daily_aggregation"]["status"] == "no_data"
    assert health(settings, NOW)[1]["status"] == "degraded"


@pytest.mark.parametrize(("owner", "status"), [
    ("elsewhere:1:a", "running"), (DEAD, "failed"), (None, "failed"),
], ids=["alive", "dead process", "lease gone"])
def test_running_aggregation_is_told_with_the_day_that_holds(
    settings: Settings, owner: str | None, status: str
) -> None:
    reading(NOW)
    stored(date(2025, 5, 17))
    job("aggregate", JobStatus.SUCCESS, minutes_ago(500))
    job_id = job("aggregate", JobStatus.RUNNING, minutes_ago(1), date(2025, 5, 17), owner=owner or "elsewhere:1:a")
    if owner:
        lease(f"run:{job_id}", owner)
    found = checks(settings)["daily_aggregation"]
    assert (found["status"], found["aggregation_date"]) == (status, "2025-05-17")
    assert found["completed_at"] == "2025-05-18T14:50:00Z"
    assert health(settings, NOW)[1]["status"] == "healthy"


def test_failed_aggregation_is_told_until_one_succeeds_and_does_not_degrade_the_service(settings: Settings) -> None:
    reading(NOW)
    stored(date(2025, 5, 17))
    job("aggregate", JobStatus.FAILED, minutes_ago(60), date(2025, 5, 17))
    job("recompute", JobStatus.SUCCESS, minutes_ago(50), date(2025, 5, 17))
    assert health(settings, NOW)[1]["status"] == "healthy"
    assert checks(settings)["daily_aggregation"]["status"] == "failed"
    job("aggregate", JobStatus.SUCCESS, minutes_ago(40), date(2025, 5, 17))
    job("recompute", JobStatus.FAILED, minutes_ago(30), date(2025, 5, 17))
    assert checks(settings)["daily_aggregation"]["status"] == "success"


MIDNIGHT = datetime(2025, 5, 18, 7, tzinfo=UTC)  # in Los Angeles


@pytest.mark.parametrize(("now", "status"), [
    (MIDNIGHT, "success"), (MIDNIGHT + timedelta(hours=2), "success"),
    (MIDNIGHT + timedelta(hours=2, seconds=1), "stale"), (NOW, "stale"),
])
def test_a_day_without_statistics_is_missed_from_two_hours_after_midnight(
    settings: Settings, now: datetime, status: str
) -> None:
    for at in (MIDNIGHT - timedelta(days=5), MIDNIGHT - timedelta(minutes=5), now):
        reading(at)
    stored(date(2025, 5, 16))
    job("aggregate", JobStatus.FAILED if status == "stale" else JobStatus.SUCCESS, now - timedelta(minutes=10))
    document: Any = health(settings, now)[1]
    found = document["checks"]["daily_aggregation"]
    assert (found["status"], found["aggregation_date"]) == (status, "2025-05-16")
    assert document["status"] == ("degraded" if status == "stale" else "healthy")
    assert ("2025-05-17 has no statistics" in found.get("message", "")) == (status == "stale")


def test_a_missed_day_is_told_before_a_run_that_is_under_way(settings: Settings) -> None:
    for day in (13, 17):
        reading(datetime(2025, 5, day, 20, tzinfo=UTC))
    stored(date(2025, 5, 16))
    lease(f"run:{job('aggregate', JobStatus.RUNNING, minutes_ago(300), owner='elsewhere:1:a')}", "elsewhere:1:a")
    assert checks(settings)["daily_aggregation"]["status"] == "stale"


@pytest.mark.parametrize(("readings", "raw_from", "missing"), [
    ([], None, None),
    ([(16, 12)], None, "2025-05-16"),
    ([(15, 12), (17, 12)], None, "2025-05-17"),
    ([(15, 12), (18, 8)], None, None),  # today's only
    ([(16, 12), (17, 12)], (16, 7), "2025-05-17"),  # of the 16th some may be gone
    ([(16, 12), (17, 12)], (17, 7), None),
])
def test_only_whole_days_of_which_readings_are_held_are_missed(
    settings: Settings, readings: list[tuple[int, int]], raw_from: tuple[int, int] | None, missing: str | None
) -> None:
    for day, hour in [(13, 12), (14, 12), *readings]:
        reading(datetime(2025, 5, day, hour, tzinfo=UTC) + timedelta(hours=7))
    if raw_from:
        given_up = int(datetime(2025, 5, *raw_from, tzinfo=UTC).timestamp())
        ServiceState.insert({ServiceState.name: state.RAW_FROM, ServiceState.value: given_up}).execute()
    stored(date(2025, 5, 13))
    stored(date(2025, 5, 14))
    stored(date(2025, 5, 15))
    found = checks(settings)["daily_aggregation"]
    assert found["status"] == ("stale" if missing else "success")
    assert str(found.get("message", ""))[:10] == (missing or "")


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_failed_jobs_of_a_day_are_counted_without_their_details(settings: Settings) -> None:
    job("collect", JobStatus.FAILED, minutes_ago(60 * 24))
    job("collect", JobStatus.FAILED, minutes_ago(60 * 24 - 1))
    job("collect", JobStatus.SUCCESS, minutes_ago(60))
    job("prune", JobStatus.FAILED, minutes_ago(30))
    job("prune", JobStatus.SUCCESS, minutes_ago(20))
    job("prune", JobStatus.FAILED, NOW + timedelta(minutes=1))
    found = checks(settings)["jobs"]
    assert (found["status"], found["failed_last_24h"], found["failing"]) == ("warning", 2, [])
    assert found["newest_failure"] == {"job": "prune", "at": "2025-05-18T14:30:00Z"}
    assert found["message"] == "2 failed in the last 24 hours: `cli jobs` says why"
    assert "secret" not in str(checks(settings))


def test_jobs_whose_last_ended_run_failed_are_failing(settings: Settings) -> None:
    for minute in (5000, 4900, 4800):
        job("promote", JobStatus.FAILED, minutes_ago(minute))
    job("yearly", JobStatus.FAILED, minutes_ago(9000))
    job("yearly", JobStatus.SUCCESS, minutes_ago(8000))
    job("yearly", JobStatus.FAILED, minutes_ago(7000))
    job("yearly", JobStatus.FAILED, minutes_ago(6000))
    running = job("yearly", JobStatus.RUNNING, minutes_ago(1), owner="elsewhere:1:a")
    lease(f"run:{running}", "elsewhere:1:a")
    job("collect", JobStatus.FAILED, minutes_ago(4000))
    job("collect", JobStatus.SUCCESS, minutes_ago(3000))
    job("promote", JobStatus.SUCCESS, NOW + timedelta(minutes=1))  # not yet
    found = checks(settings)["jobs"]
    assert (found["status"], found["failed_last_24h"]) == ("warning", 0)
    assert found["failing"] == [
        {"job": "promote", "since": "2025-05-15T03:40:00Z", "attempts": 3},
        {"job": "yearly", "since": "2025-05-13T18:20:00Z", "attempts": 2},
    ]
    assert found["message"] == "Failing now: promote, yearly; 0 failed in the last 24 hours: `cli jobs` says why"
    assert "newest_failure" not in found and "secret" not in str(checks(settings))


def test_of_runs_of_the_same_second_the_later_one_ended_last(settings: Settings) -> None:
    for kind, last in (("promote", JobStatus.SUCCESS), ("prune", JobStatus.FAILED)):
        job(kind, JobStatus.FAILED if last is JobStatus.SUCCESS else JobStatus.SUCCESS, minutes_ago(5))
        job(kind, last, minutes_ago(5))
    found: Any = checks(settings)["jobs"]
    assert [(one["job"], one["attempts"]) for one in found["failing"]] == [("prune", 1)]
    assert found["newest_failure"]["job"] == "prune"


def test_killed_runs_failed_though_nobody_closed_them(settings: Settings) -> None:
    job("aggregate", JobStatus.SUCCESS, minutes_ago(100))
    job("aggregate", JobStatus.FAILED, minutes_ago(60))
    killed = job("aggregate", JobStatus.RUNNING, minutes_ago(50), owner=DEAD)
    lease(f"run:{killed}", DEAD)
    run_out = job("promote", JobStatus.RUNNING, minutes_ago(3000), owner="elsewhere:1:a")
    lease(f"run:{run_out}", "elsewhere:1:a", seconds=-1)
    found = checks(settings)["jobs"]
    assert (found["status"], found["failed_last_24h"]) == ("warning", 2)
    assert found["newest_failure"] == {"job": "aggregate", "at": "2025-05-18T14:10:00Z"}
    assert found["failing"] == [
        {"job": "aggregate", "since": "2025-05-18T14:00:00Z", "attempts": 2},
        {"job": "promote", "since": "2025-05-16T13:00:00Z", "attempts": 1},
    ]


def test_what_a_person_started_and_failed_is_counted_and_not_failing(settings: Settings) -> None:
    job("recompute", JobStatus.FAILED, minutes_ago(5))
    found = checks(settings)["jobs"]
    assert (found["status"], found["failed_last_24h"], found["failing"]) == ("warning", 1, [])


def test_a_run_under_way_is_no_failure(settings: Settings) -> None:
    running = job("import", JobStatus.RUNNING, minutes_ago(50), owner="elsewhere:1:a")
    lease(f"run:{running}", "elsewhere:1:a")
    assert checks(settings)["jobs"] == {
        "status": "healthy", "failed_last_24h": 0, "failing": [], "message": "No job failed in the last 24 hours",
    }


# --- worker -----------------------------------------------------------------------------------------------------------


def test_worker_runs_while_it_renews_its_lease_by_the_real_clock(settings: Settings) -> None:
    reading(NOW)
    stored(date(2025, 5, 17))
    lease("other", "elsewhere:1:a")
    assert checks(settings)["worker"]["status"] == "none"
    lease("worker", "elsewhere:1:a")
    assert checks(settings)["worker"] == {
        "status": "running", "since": "2025-05-18T14:00:00Z", "message": "A worker runs",
    }
    assert health(settings, NOW)[1]["status"] == "healthy"


def test_worker_that_left_its_lease_behind_stopped_without_a_word(settings: Settings) -> None:
    reading(NOW)
    stored(date(2025, 5, 17))
    lease("worker", "elsewhere:1:a")
    JobLease.update({JobLease.expires_at: minutes_ago(-5)}).execute()  # later than the replayed now
    assert checks(settings)["worker"] == {
        "status": "stale", "message": "The worker stopped without a word: its lease ran out at 2025-05-18T15:05:00Z",
    }
    assert health(settings, NOW)[1]["status"] == "degraded"


# --- disk, and what goes wrong ----------------------------------------------------------------------------------------


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
    def lost(*_: object) -> None:
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
