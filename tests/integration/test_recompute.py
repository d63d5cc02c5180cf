"""`cli recompute` and `cli jobs`: the same rows whenever a day is computed; what is refused, missing, or fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date, time, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import main
from cli.metrics import _shown_rate
from fake_time import FakeTime
from factories import World, random_world
from service import clock, rules
from service.config import Settings
from service.database import db, fetch
from service.errors import BadRequest
from service.jobs import daily, joblog, leases, patience
from service.models import (
    AggregationJobLog,
    DailyParkStats,
    DailyStats,
    JobLease,
    JobStatus,
    MetricsVersion,
    RideStatusSnapshot,
    StatDay,
    YearlyRideStats,
)
from service.periods import instant, iso_utc, wall_clock
from service.queries import state
from service.queries.days import ADOPTED_VERSION, Tallies
from service.queries.gaps import Gap, day_gaps
from service.queries.jobs import host_name, is_dead

DAY = date(2025, 6, 10)
ONE = timedelta(days=1)
PACIFIC = "America/Los_Angeles"
NOW = instant(wall_clock(DAY + 5 * ONE, time(12), PACIFIC))  # the 15th: days 10 to 14 are finished
STEP = 1800


def at(day: date, hour: int, zone: str = PACIFIC) -> int:
    return wall_clock(day, time(hour), zone)


def five_days() -> World:
    """A park, open 9-21, whose rides report in every slot of five days, the first a little down."""
    world = World(30)
    park = world.park()
    for ride in (world.ride(park, tier=1), world.ride(park)):
        for offset in range(5):
            day = DAY + offset * ONE
            world.day_of(ride, ("OOODDO" if ride == 1 else "OOOOOO") + "O" * 18, at(day, 9))
    for offset in range(5):
        world.open(park, DAY + offset * ONE, at(DAY + offset * ONE, 9), at(DAY + offset * ONE, 21))
    return world


def cli(settings: Settings, *arguments: str, now: Any = NOW) -> Result:
    environ = {
        "DATABASE_URL": settings.database_url, "REPLAY_NOW": iso_utc(now), "SNAPSHOT_INTERVAL_MINUTES": "30",
    }
    return CliRunner().invoke(main, arguments, env=environ)


def report(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def everything(version: int = 1) -> list[tuple[Any, ...]]:
    """All rows of a version, and the ledger's, but for the version and when they were computed."""
    found: list[tuple[Any, ...]] = []
    for model, columns in (
        (DailyStats, daily.RIDE_COLUMNS),
        (DailyParkStats, daily.PARK_COLUMNS),
        (StatDay, daily.LEDGER_COLUMNS),
    ):
        kept = [column for column in columns if column.name not in ("metrics_version", "computed_at")]
        query = model.select(*kept).where(model.metrics_version == version)  # type: ignore[attr-defined]
        found += fetch(query.order_by(*columns[:2]))
    return found


def lose(day: date, first_hour: int, last_hour: int) -> None:
    """Delete the readings of some hours, as no command does."""
    slots = RideStatusSnapshot.snapshot_time
    RideStatusSnapshot.delete().where(slots >= at(day, first_hour), slots < at(day, last_hour)).execute()


# --- the rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [3, 11])
def test_the_same_range_again_gives_the_same_rows_as_the_daily_job(database: Any, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    late = instant(now + 10 * 86400)
    days = daily.aggregate(late).days
    computed = everything()
    assert daily.recompute(days, late, 1).days == days
    assert everything() == computed
    DailyStats.update({DailyStats.operating_minutes: 0, DailyStats.total_downtime_minutes: 0}).execute()
    daily.recompute(days, late, 1)  # rests on no stored row, right or wrong
    assert everything() == computed


def test_a_recomputation_of_nothing_computed_is_the_daily_job(database: Any) -> None:
    world, now = random_world(5)
    world.store()
    late = instant(now + 10 * 86400)
    days = daily.missing_days(late, 1)
    daily.recompute(days, late, 1)
    recomputed = everything()
    assert daily.missing_days(late, 1) == []
    StatDay.delete().execute()
    daily.aggregate(late)
    assert everything() == recomputed


def test_part_of_a_range_touches_no_other_day(settings: Settings, database: Any) -> None:
    five_days().store()
    daily.aggregate(NOW)
    DailyStats.update({DailyStats.status_changes: 77}).execute()
    result = cli(settings, "recompute", "--start-date", "2025-06-11", "--end-date", "2025-06-12", "--json")
    assert (result.exit_code, report(result)["days"]) == (0, ["2025-06-12", "2025-06-11"])
    query = DailyStats.select(DailyStats.stat_date).where(DailyStats.status_changes == 77).distinct()
    assert sorted(str(row.stat_date) for row in query) == ["2025-06-10", "2025-06-13", "2025-06-14"]


def test_another_version_stands_beside_the_first(settings: Settings, database: Any) -> None:
    five_days().store()
    daily.aggregate(NOW)
    first = everything()
    result = cli(settings, "recompute", "--days", "5", "--metrics-version", "2", "--json")
    assert (result.exit_code, report(result)["metrics_version"], len(report(result)["days"])) == (0, 2, 5)
    assert everything() == first
    assert everything(2) == first
    assert {row.version for row in MetricsVersion.select()} == {1, 2}
    assert state.get_state(state.ACTIVE_VERSION) == 1


def test_a_recomputed_day_takes_the_place_of_an_adopted_one(database: Any) -> None:
    five_days().store()
    daily.aggregate(NOW)
    for model in (DailyStats, DailyParkStats, StatDay):
        model.update({model.metrics_version: ADOPTED_VERSION}).where(model.stat_date == DAY).execute()
    StatDay.update({StatDay.sample_count: 1000}).where(StatDay.stat_date == DAY).execute()
    assert daily.missing_days(NOW, 1) == []
    assert daily.recompute([DAY], NOW, 1).is_whole
    tallies = Tallies(NOW)
    assert [source.version for source in tallies.stored((DAY,))] == [1]


def test_a_killed_run_leaves_whole_days_and_the_next_completes(
    database: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    five_days().store()
    daily.aggregate(NOW)
    computed = everything()
    make = daily.upsert

    def killed(model: Any, *args: Any, **options: Any) -> int:
        if model is DailyStats and StatDay.get(StatDay.stat_date == DAY + 3 * ONE).computed_at > NOW:
            raise KeyboardInterrupt  # in the middle of the third day, its rows deleted and half of them written
        return make(model, *args, **options)

    monkeypatch.setattr(daily, "upsert", killed)
    later = NOW + timedelta(minutes=1)
    days = [DAY + offset * ONE for offset in (4, 3, 2, 1, 0)]
    with pytest.raises(KeyboardInterrupt):
        daily.recompute(days, later, 1)
    monkeypatch.undo()
    assert everything() == computed
    again = StatDay.select(StatDay.stat_date).where(StatDay.computed_at == later).order_by(StatDay.stat_date)
    assert [row.stat_date for row in again] == [DAY + 3 * ONE, DAY + 4 * ONE]
    run = AggregationJobLog.get(AggregationJobLog.job_type == "recompute")
    assert (run.status, run.rows_processed) == (JobStatus.FAILED, 6)
    assert daily.recompute(days, later, 1).is_whole
    assert everything() == computed


def test_the_years_of_the_days_follow(settings: Settings, database: Any) -> None:
    five_days().store()
    assert report(cli(settings, "recompute", "--days", "5", "--json"))["years"] == [2025]
    assert YearlyRideStats.get(YearlyRideStats.ride == 1).total_downtime_minutes == 5 * 60
    ahead = cli(settings, "recompute", "--days", "5", "--metrics-version", "2", "--json")
    assert report(ahead)["years"] == []  # nobody reads these days yet


def test_answers_that_were_remembered_are_known_to_be_old(database: Any) -> None:
    five_days().store()
    before = state.get_state(state.REVISION_HISTORY) or 0
    daily.recompute([DAY], NOW, 1)
    assert (state.get_state(state.REVISION_HISTORY) or 0) > before


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_day_of_more_readings_than_are_left_stays(settings: Settings, database: Any) -> None:
    five_days().store()
    daily.aggregate(NOW)
    computed = everything()
    lose(DAY + ONE, 12, 15)
    result = cli(settings, "recompute", "--days", "5", "--json")
    assert result.exit_code == 1
    assert report(result)["refused"] == [{"day": "2025-06-11", "stored_samples": 48, "samples": 36}]
    assert report(result)["days"] == ["2025-06-14", "2025-06-13", "2025-06-12", "2025-06-10"]
    assert everything() == computed
    assert "REFUSED: 2025-06-11" in cli(settings, "recompute", "--days", "5").stdout


def test_force_replaces_it(settings: Settings, database: Any) -> None:
    five_days().store()
    daily.aggregate(NOW)
    lose(DAY + ONE, 12, 15)
    assert cli(settings, "recompute", "--days", "5", "--force").exit_code == 0
    assert StatDay.get(StatDay.stat_date == DAY + ONE).sample_count == 36


def test_readings_lost_while_a_day_is_computed_are_seen(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    five_days().store()
    daily.aggregate(NOW)
    make, lost = daily.day_stats, []

    def interrupted(*args: Any) -> daily.DayStats:
        stats = make(*args)
        if not lost:
            lost.append(lose(DAY, 12, 15))
            daily.atomically(lambda: daily.move_revisions(current=False, history=True))
        return stats

    monkeypatch.setattr(daily, "day_stats", interrupted)
    assert [one.day for one in daily.recompute([DAY], NOW, 1).refused] == [DAY]


BAD = {
    "nothing": ([], "Which days?"),
    "half": (["--start-date", "2025-06-11"], "both"),
    "both ways": (["--start-date", "2025-06-11", "--end-date", "2025-06-12", "--days", "2"], "leave out"),
    "backwards": (["--start-date", "2025-06-12", "--end-date", "2025-06-11"], "is after"),
    "today": (["--start-date", "2025-06-12", "--end-date", "2025-06-15"], "2025-06-14 is the last finished"),
    "future": (["--start-date", "2026-01-01", "--end-date", "2026-01-02"], "is not over"),
    "before readings": (["--start-date", "2025-06-09", "--end-date", "2025-06-12"], "--start-date 2025-06-10"),
    "more days than there are": (["--days", "9"], "--days 5"),
    "old rules": (["--days", "1", "--metrics-version", "0"], "--metrics-version 0"),
    "no date": (["--start-date", "yesterday", "--end-date", "2025-06-12"], "yesterday"),
    "no days": (["--days", "0"], "--days"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_exit_2_and_say_what_to_do(settings: Settings, database: Any, name: str) -> None:
    five_days().store()
    arguments, said = BAD[name]
    result = cli(settings, "recompute", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert StatDay.select().count() == AggregationJobLog.select().count() == 0


def test_without_readings_there_is_nothing_to_compute(settings: Settings, database: Any) -> None:
    result = cli(settings, "recompute", "--days", "1")
    assert (result.exit_code, "No readings" in result.stderr) == (2, True)


def test_the_version_of_the_code_and_those_above_it_can_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "METRICS_VERSION", 3)
    for version in (3, 4):
        daily.ensure_computable(version)
    with pytest.raises(BadRequest, match="version 3"):
        daily.ensure_computable(2)


# --- gaps ------------------------------------------------------------------------------------------------------------


def test_gaps_are_warnings_and_no_failure(settings: Settings, database: Any) -> None:
    five_days().store()
    lose(DAY + ONE, 12, 15)
    lose(DAY + 2 * ONE, 9, 10)
    lose(DAY + 3 * ONE, 19, 21)
    result = cli(settings, "recompute", "--days", "5", "--json")
    assert result.exit_code == 0
    assert [(gap["park_id"], gap["from"], gap["to"], gap["minutes"]) for gap in report(result)["gaps"]] == [
        (1, "2025-06-14T02:00:00Z", "2025-06-14T04:00:00Z", 120),
        (1, "2025-06-12T16:00:00Z", "2025-06-12T17:00:00Z", 60),
        (1, "2025-06-11T19:00:00Z", "2025-06-11T22:00:00Z", 180),
    ]
    warnings = [line for line in result.stderr.splitlines() if line.startswith("Warning: ")]
    assert "Park 1 (park 1) from 2025-06-11T19:00:00Z to 2025-06-11T22:00:00Z" in warnings[2]
    assert AggregationJobLog.get(AggregationJobLog.job_type == "recompute").warnings == 3
    assert cli(settings, "recompute", "--days", "5").stdout.splitlines()[-1] == "3 gaps, 0 days refused, 0 days failed."


def test_half_an_hour_is_no_gap_and_closed_hours_are_none(database: Any) -> None:
    five_days().store()
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time == at(DAY, 12)).execute()
    assert _gaps(DAY) == []
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time == at(DAY, 12) + STEP).execute()
    assert _gaps(DAY) == [Gap(1, at(DAY, 12), at(DAY, 13))]


def test_one_ride_that_reports_is_no_gap(database: Any) -> None:
    five_days().store()
    slots = RideStatusSnapshot.snapshot_time.between(at(DAY, 12), at(DAY, 15))
    RideStatusSnapshot.delete().where(slots, RideStatusSnapshot.ride_id == 1).execute()
    assert _gaps(DAY) == []


def test_a_gap_over_pacific_midnight_is_one(database: Any) -> None:
    world = World(30)
    park = world.park(zone="Asia/Tokyo")  # Pacific midnight is 16:00 there
    ride = world.ride(park)
    for day in (DAY, DAY + ONE):
        world.open(park, day, at(day, 9, "Asia/Tokyo"), at(day, 21, "Asia/Tokyo"))
        world.day_of(ride, "O" * 13 + "__" + "O" * 9, at(day, 9, "Asia/Tokyo"))  # nothing at 15:30 and 16:00
    world.store()
    midnight = at(DAY, 16, "Asia/Tokyo")
    gap = Gap(1, midnight - STEP, midnight + STEP)
    assert gap in _gaps(DAY - ONE) and gap in _gaps(DAY)
    done = daily.recompute([DAY, DAY - ONE], NOW, 1)
    assert done.gaps == {gap, Gap(1, gap.start + 86400, gap.end + 86400)}


def test_a_day_without_any_reading_is_a_gap_of_its_opening_hours(database: Any) -> None:
    five_days().store()
    lose(DAY + ONE, 0, 23)
    assert _gaps(DAY + ONE) == [Gap(1, at(DAY + ONE, 9), at(DAY + ONE, 21))]


def test_a_refused_day_says_its_gaps(database: Any) -> None:
    five_days().store()
    daily.aggregate(NOW)
    lose(DAY + ONE, 12, 15)
    done = daily.recompute([DAY + ONE], NOW, 1)
    assert (done.days, done.gaps) == ([], {Gap(1, at(DAY + ONE, 12), at(DAY + ONE, 15))})


def _gaps(day: date) -> list[Gap]:
    return day_gaps(Tallies(NOW, recount=True), day)


# --- dry runs, failures, the log -------------------------------------------------------------------------------------


def test_a_dry_run_says_the_same_and_writes_nothing(settings: Settings, database: Any) -> None:
    five_days().store()
    daily.aggregate(NOW)
    lose(DAY + ONE, 12, 15)
    before = [fetch(model.select()) for model in (StatDay, DailyStats, DailyParkStats, AggregationJobLog)]
    revision = state.get_state(state.REVISION_HISTORY)
    dry = cli(settings, "recompute", "--days", "5", "--metrics-version", "1", "--dry-run", "--json")
    after = [fetch(model.select()) for model in (StatDay, DailyStats, DailyParkStats, AggregationJobLog)]
    assert (after, state.get_state(state.REVISION_HISTORY)) == (before, revision)
    wet = cli(settings, "recompute", "--days", "5", "--json")
    assert report(dry) == report(wet) | {"dry_run": True, "years": []}
    assert (dry.exit_code, wet.exit_code) == (1, 1)
    assert "Would recompute 4 days" in cli(settings, "recompute", "--days", "5", "--dry-run").stdout


def test_a_day_that_fails_stops_no_other(
    settings: Settings, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    five_days().store()
    daily.aggregate(NOW)
    computed = everything()
    make = daily.store_day

    def broken(day: date, *args: Any) -> None:
        make(day, *args)
        if day == DAY + 2 * ONE:
            raise ValueError("spoilt")

    monkeypatch.setattr(daily, "store_day", broken)
    result = cli(settings, "recompute", "--days", "5", "--json")
    assert result.exit_code == 1
    assert report(result)["failed"] == [{"day": "2025-06-12", "error": "ValueError: spoilt"}]
    assert report(result)["days"] == ["2025-06-14", "2025-06-13", "2025-06-11", "2025-06-10"]
    assert everything() == computed
    log = AggregationJobLog.get(AggregationJobLog.job_type == "recompute")
    assert (log.status, log.error_details) == (JobStatus.FAILED, "2025-06-12: ValueError: spoilt")


def test_a_database_that_is_gone_ends_the_run(
    settings: Settings, database: Any, monkeypatch: pytest.MonkeyPatch, fake_time: FakeTime
) -> None:
    five_days().store()
    asked: list[date] = []

    def gone(_tallies: Any, day: date, _version: int) -> daily.DayStats:
        asked.append(day)
        raise daily.PeeweeException(2013, "Lost connection to server")

    monkeypatch.setattr(daily, "day_stats", gone)
    assert cli(settings, "recompute", "--days", "5").exit_code == 3
    assert set(asked) == {date(2025, 6, 14)}
    assert patience.PATIENCE_SECONDS / 2 < fake_time.monotonic() < patience.PATIENCE_SECONDS


def test_the_log_is_listed_newest_first_with_what_was_killed(settings: Settings, database: Any) -> None:
    five_days().store()
    daily.aggregate(NOW)
    child = subprocess.Popen([sys.executable, "-c", ""])  # noqa: S603
    child.wait()
    host = host_name()
    log = AggregationJobLog
    owners = (f"{host}:{child.pid}:a", f"{host}:{os.getpid()}:b", "elsewhere:1:c", "elsewhere:1:without a lease")
    for minute, owner in enumerate(owners, start=1):
        job_id = log.insert({
            log.job_type: "recompute", log.status: JobStatus.RUNNING, log.owner: owner,
            log.started_at: NOW + timedelta(minutes=minute),
        }).execute()
        soon = clock.real() + timedelta(seconds=60 if minute < 4 else -1)
        JobLease.insert({
            JobLease.name: f"run:{job_id}", JobLease.owner: owner, JobLease.acquired_at: NOW, JobLease.expires_at: soon,
        }).execute()
    jobs = report(cli(settings, "jobs", "--json"))["jobs"]
    assert [(job["job_type"], job["status"]) for job in jobs] == [
        ("recompute", "killed"), ("recompute", "running"), ("recompute", "running"), ("recompute", "killed"),
        ("aggregate", "success"),
    ]
    last = jobs[-1]
    assert (last["period_start"], last["period_end"], last["rows_processed"]) == ("2025-06-10", "2025-06-14", 15)
    assert report(cli(settings, "jobs", "--json", "--limit", "1"))["jobs"] == jobs[:1]
    assert report(cli(settings, "jobs", "--json", "--job", "aggregate"))["jobs"] == jobs[-1:]
    lines = cli(settings, "jobs").stdout.splitlines()
    assert "killed   recompute" in lines[3] and "2025-06-10 to 2025-06-14  version 1  15 rows" in lines[4]
    cli(settings, "recompute", "--days", "1")
    closed = [job for job in report(cli(settings, "jobs", "--json"))["jobs"] if job["error_details"]]
    assert [(job["job_id"], job["status"]) for job in closed] == [(5, "failed"), (2, "failed")]
    assert {job["error_details"] for job in closed} == {joblog.KILLED}
    assert {row.name for row in JobLease.select()} == {"run:3", "run:4"}


def test_an_empty_log_says_so(settings: Settings, database: Any) -> None:
    assert cli(settings, "jobs").stdout == "No job has run yet.\n"


def test_owners_whose_process_cannot_be_known_are_not_dead() -> None:
    assert not is_dead(leases.owner())
    assert not is_dead("elsewhere:999999999:abc")
    assert not is_dead(host_name())
    assert is_dead(f"{host_name()}:999999999:abc")


def test_the_bar_says_how_fast_it_goes() -> None:
    done = daily.Computation()
    done.add(DAY, daily.DayStats([], [], 3000))
    assert _shown_rate((done, DAY, 2.0)) == "2025-06-10  1,500 readings/s"
    assert _shown_rate(None) is None


@pytest.fixture(autouse=True)
def _real_clock() -> Any:
    yield
    clock.replay(None)
    if not db.is_closed():
        db.close()
