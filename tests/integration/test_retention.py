"""Retention: which readings go, when, and that nothing that was computed of them changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from wsgi_client import Client

from cli import main
from factories import World
from service import clock, rules
from service import database as door
from service.config import Settings
from service.feeds import Opening, ParkRecord, RideRecord, simulation
from service.feeds.invented import SMALL
from service.jobs import daily, retention, store, yearly
from service.jobs.catalog import store_catalog
from service.jobs.demo import build_demo
from service.jobs.marks import atomically, set_state
from service.jobs.retention import BATCH_SECONDS, Pruned, paced, plan, prune
from service.jobs.store import Stored, store_readings
from service.models import (
    ALL_MODELS,
    AggregationJobLog,
    DataQualityIssue,
    IssueType,
    DailyParkStats,
    DailyStats,
    JobStatus,
    ParkActivitySnapshot,
    ParkSchedule,
    RideStatusSnapshot,
    StatDay,
    WeatherForecast,
    WeatherObservation,
)
from service.periods import instant, iso_utc, pacific_date, pacific_day, wall_clock
from service.queries import state
from service.queries.days import ADOPTED_VERSION, Tallies, first_whole_day, oldest_slot
from service.rules import ScheduleType, Source, Status
from service.web import app as web

PACIFIC = "America/Los_Angeles"
ONE = timedelta(days=1)
DAYS, KEPT = 20, 8  # days of readings; days that can always be counted again
SLOTS = 24  # of a day's opening hours, 9 to 21
RETAINED = 9  # days of readings left on the 21st, when the 13th to the 20th can be counted again: from the 12th on


def june(day: int) -> date:
    return date(2025, 6, day)


def at(day: int, hour: int = 12) -> int:
    return wall_clock(june(day), time(hour), PACIFIC)


NOW = instant(at(21))


def weeks() -> World:
    """A park, open 9-21, with two rides that report in every slot of 1 to 20 June, a little down in turns."""
    world = World(30)
    park = world.park()
    rides = [world.ride(park, tier=1), world.ride(park)]
    for day in range(1, DAYS + 1):
        world.open(park, june(day), at(day, 9), at(day, 21))
        for number, ride in enumerate(rides):
            down = "D" * (1 + (day + number) % 3)
            world.day_of(ride, ("OO" + down).ljust(SLOTS, "O"), at(day, 9), waits=[10 + day, 20])
    return world


LEDGER = [StatDay.stat_date, StatDay.metrics_version, StatDay.sample_count, StatDay.computed_at, StatDay.dirty]


@pytest.fixture
def kept(settings: Settings, database: Any) -> Settings:
    """Settings with a short retention, of a database with twenty days of readings that the ledger says are computed."""
    weeks().store()
    entries = [(june(day), rules.METRICS_VERSION, 2 * SLOTS, NOW, False) for day in range(1, DAYS + 1)]
    door.upsert(StatDay, LEDGER, entries, key=LEDGER[:2])
    return short(settings)


@pytest.fixture
def computed(settings: Settings, database: Any) -> Settings:
    """The same, and they are."""
    weeks().store()
    daily.aggregate(NOW)
    yearly.refresh_years(NOW)
    return short(settings)


def short(settings: Settings) -> Settings:
    return replace(settings, raw_retention_days=KEPT, snapshot_interval_minutes=30)


def cli(settings: Settings, *arguments: str, now: datetime = NOW) -> Result:
    return CliRunner().invoke(main, arguments, env=environ(settings, now))


def environ(settings: Settings, now: datetime = NOW) -> dict[str, str]:
    return {
        "DATABASE_URL": settings.database_url,
        "REPLAY_NOW": iso_utc(now),
        "SNAPSHOT_INTERVAL_MINUTES": "30",
        "RAW_RETENTION_DAYS": str(settings.raw_retention_days),
    }


def report(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def contents(*but: type) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    return {model.__name__: sorted(door.fetch(model.select()), key=repr) for model in ALL_MODELS if model not in but}


def reading_days() -> list[int]:
    """Days of the month with readings."""
    slots = door.fetch(RideStatusSnapshot.select(RideStatusSnapshot.snapshot_time).distinct())
    return sorted({pacific_date(slot).day for (slot,) in slots})


def dirty_days() -> list[int]:
    return [row.stat_date.day for row in StatDay.select().where(StatDay.dirty).order_by(StatDay.stat_date)]


def spoil(day: int, **columns: Any) -> None:
    """Change a day's entry of the ledger."""
    fields = {getattr(StatDay, name): value for name, value in columns.items()}
    StatDay.update(fields).where(StatDay.stat_date == june(day)).execute()


def late(*readings: tuple[int, int, Status], now: datetime = NOW) -> Stored:
    given = [(slot, ride, status, None, None) for slot, ride, status in readings]
    return store_readings(1, given, source=Source.SIMULATION, interval_minutes=30, now=now)


# --- which days go ---------------------------------------------------------------------------------------------------


def test_days_past_retention_go_and_the_others_can_be_counted_again(computed: Settings) -> None:
    found = prune(computed, NOW)
    assert found == Pruned(
        {
            "ride_status_snapshots": 11 * SLOTS * 2,
            "park_activity_snapshots": 11 * SLOTS,
            "park_schedules": 3,  # of the 1st to the 3rd: the 4th is eight days before the 12th
            "weather_observations": 0,
            "weather_forecasts": 0,
            "aggregation_job_log": 0,
            "data_quality_issues": 0,
        },
        pacific_day(june(12)).start,
        june(12),
        None,
    )
    assert reading_days() == list(range(12, 21))
    assert first_whole_day() == june(13)
    assert ParkActivitySnapshot.select().count() == RETAINED * SLOTS
    rows = contents()["DailyStats"]
    assert report(cli(computed, "recompute", "--days", str(KEPT), "--json"))["refused"] == []
    assert contents()["DailyStats"] == rows
    refused = cli(computed, "recompute", "--days", str(KEPT + 1))
    assert (refused.exit_code, "2025-06-12 cannot be computed again" in refused.stderr) == (2, True)
    assert f"--days {KEPT}" in refused.stderr


def test_a_second_run_finds_nothing_and_logs_nothing(kept: Settings) -> None:
    prune(kept, NOW)
    before = contents()
    again = prune(kept, NOW)
    assert (set(again.rows.values()), again.held_from, contents()) == ({0}, june(12), before)
    logged = AggregationJobLog.get(AggregationJobLog.job_type == "prune")
    assert (logged.status, logged.period_start, logged.period_end) == (JobStatus.SUCCESS, june(1), june(11))
    assert logged.rows_processed == 11 * SLOTS * 3 + 3


def test_every_day_one_more_goes(kept: Settings) -> None:
    prune(kept, NOW)
    tomorrow = NOW + ONE
    daily.aggregate(tomorrow)
    assert prune(kept, tomorrow).rows["ride_status_snapshots"] == SLOTS * 2
    assert reading_days() == list(range(13, 21))


def test_nothing_goes_before_its_time(kept: Settings) -> None:
    before = contents()
    found = prune(replace(kept, raw_retention_days=19), NOW)
    assert (found.held_from, found.raw_from, found.blocked) == (june(1), None, None)
    assert contents() == before


def test_without_readings_there_is_nothing_to_do(settings: Settings, database: Any) -> None:
    assert prune(settings, NOW) == Pruned(dict.fromkeys(prune(settings, NOW).rows, 0), None, None, None)
    assert cli(settings, "prune").stdout.splitlines()[-1] == "No readings are held."
    assert AggregationJobLog.select().count() == 0


def test_days_without_readings_are_no_obstacle(kept: Settings) -> None:
    slots = RideStatusSnapshot.snapshot_time
    RideStatusSnapshot.delete().where(slots > at(4, 0), slots < at(14, 0)).execute()
    found = prune(kept, NOW)
    assert (found.held_from, found.blocked, reading_days()) == (june(14), None, list(range(14, 21)))
    # Whatever was observed since the 12th is held, so that the 14th is whole.
    assert first_whole_day() == june(14)
    assert report(cli(kept, "recompute", "--days", "7", "--force", "--json"))["days"][-1] == "2025-06-14"


# --- what stands in the way ------------------------------------------------------------------------------------------


def _missing(day: int) -> None:
    StatDay.delete().where(StatDay.stat_date == june(day)).execute()


def _computed_at(day: int, version: int) -> None:
    for model in (StatDay, DailyStats, DailyParkStats):
        model.update({model.metrics_version: version}).where(model.stat_date == june(day)).execute()


# What is wrong with a day, and what the command then says.
WRONG: dict[str, tuple[Callable[[int], object], str]] = {
    "dirty": (lambda day: spoil(day, dirty=True), "`cli aggregate`"),
    "never computed": (_missing, "`cli aggregate`"),
    "computed before it was settled": (lambda day: spoil(day, computed_at=instant(at(day + 1, 4))), "`cli aggregate`"),
    "computed at a higher version": (lambda day: _computed_at(day, 2), "`cli metrics promote 2`"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_day_that_is_not_right_keeps_what_is_needed_to_mend_it(kept: Settings, wrong: str) -> None:
    spoiling, said = WRONG[wrong]
    spoiling(5)
    found = prune(kept, NOW)
    assert found.blocked is not None and (found.blocked.day, said in found.blocked.reason) == (june(5), True)
    # The 4th too: local days that overlap the 5th begin on it.
    assert (found.held_from, reading_days()) == (june(4), list(range(4, 21)))
    assert first_whole_day() == june(5)
    result = cli(kept, "prune")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-2].startswith("Older readings stay for 2025-06-05: ")
    assert said in result.stdout.splitlines()[-2]


def test_it_is_mended_as_the_command_says(kept: Settings) -> None:
    spoil(5, dirty=True)
    prune(kept, NOW)
    assert report(cli(kept, "aggregate", "--json"))["days"] == ["2025-06-05"]
    assert report(cli(kept, "prune", "--json"))["held_from"] == "2025-06-12"
    assert reading_days() == list(range(12, 21))


def test_a_day_above_the_active_version_is_let_go_when_that_is_promoted(kept: Settings) -> None:
    _computed_at(5, 2)
    assert cli(kept, "metrics", "promote", "2").exit_code == 0
    blocked = report(cli(kept, "prune", "--json"))["blocked"]
    assert blocked["day"] == "2025-06-01"
    assert "`cli recompute --metrics-version 2 --start-date 2025-06-01 --end-date 2025-06-01`" in blocked["reason"]
    assert cli(kept, "recompute", "--metrics-version", "2", "--days", str(DAYS)).exit_code == 0
    assert report(cli(kept, "prune", "--json"))["held_from"] == "2025-06-12"


@pytest.mark.parametrize(
    ("wrong", "held_from"), [((1,), 1), ((2,), 1), ((3, 8), 2), ((11,), 10), ((12, 15), 11), ((13,), 12)]
)
def test_the_first_day_that_is_not_right_stops_all(kept: Settings, wrong: tuple[int, ...], held_from: int) -> None:
    for day in wrong:
        spoil(day, dirty=True)
    found = prune(kept, NOW)
    assert found.held_from == june(held_from)
    # The 13th can be counted as long as the 12th is held, so nothing waits for it.
    assert (found.blocked and found.blocked.day) == (None if wrong == (13,) else june(wrong[0]))
    assert reading_days() == list(range(held_from, 21))


def test_adopted_days_are_right(kept: Settings) -> None:
    for day in range(1, 13):
        _computed_at(day, ADOPTED_VERSION)
        spoil(day, computed_at=instant(0))
    assert prune(kept, NOW).held_from == june(12)
    assert first_whole_day() == june(13)


def test_adopted_days_that_were_computed_too_early_are_not(kept: Settings) -> None:
    """Readers take the computed rows, and count the readings where those were made too early."""
    door.upsert(StatDay, LEDGER, [(june(5), ADOPTED_VERSION, 1, 0, False)], key=LEDGER[:2])
    spoil(5, computed_at=instant(at(5, 23)))
    assert prune(kept, NOW).blocked is not None


def test_a_day_that_lost_its_beginning_keeps_nothing_waiting(kept: Settings) -> None:
    """The day before the first that can be counted cannot be brought to a new version, so that is not waited for."""
    prune(kept, NOW)
    assert cli(kept, "recompute", "--metrics-version", "2", "--days", str(KEPT)).exit_code == 0
    assert cli(kept, "metrics", "promote", "2").exit_code == 0
    tomorrow = NOW + ONE
    daily.aggregate(tomorrow)
    found = prune(kept, tomorrow)
    assert (found.blocked, found.held_from) == (None, june(13))


# --- what was computed stays -----------------------------------------------------------------------------------------

ANSWERS = (
    *(f"/api/parks/downtime?period={period}" for period in ("yesterday", "last_week", "last_month")),
    *(f"/api/rides/downtime?period={period}" for period in ("yesterday", "last_week", "last_month")),
    "/api/parks/waittimes?period=last_month",
    "/api/rides/waittimes?period=last_month",
    "/api/parks/awards?year=2025",
    "/api/rides/awards?year=2025",
    "/api/trends?period=last_month&category=parks-declining",
    "/api/trends/chart-data?period=last_month&type=parks",
    "/api/trends/chart-data?period=last_month&type=rides",
    "/api/trends/chart-data?period=last_month&type=waittimes",
    "/api/trends/heatmap-data?period=last_month&type=parks",
    "/api/trends/least-reliable?period=last_month",
    "/api/trends/longest-wait-times?period=last_month",
    "/api/parks/1/details?period=last_month",
    "/api/rides/1/details?period=last_month",
    "/api/parks/1/rides/charts?period=last_month",
)


# These of the two pages of details tell what happened within a day.
OF_READINGS = ("operating_sessions", "downtime_events", "hourly_breakdown")


def test_answers_are_the_same_before_and_after_and_on_the_way(computed: Settings) -> None:
    july = instant(wall_clock(date(2025, 7, 2), time(12), PACIFIC))
    daily.aggregate(july)
    settings = replace(computed, raw_retention_days=15)  # June 15 is the last day that goes
    days = tuple(june(day) for day in range(1, DAYS + 1))
    parks = Tallies(july).stored_parks(days)
    before = answers(computed, july)
    assert prune(settings, july, proceed=after(40, lambda: False)).held_from == june(4)
    assert answers(computed, july) == before
    assert prune(settings, july).held_from == june(16)
    assert answers(computed, july) == before
    assert Tallies(july).stored_parks(days) == parks and len(parks) == DAYS
    assert before["/api/parks/downtime?period=last_month"]["data"][0]["total_downtime_hours"] > 0


def answers(settings: Settings, now: datetime) -> dict[str, Any]:
    clock.replay(now)
    client = Client(web.create_app(settings))
    found = {}
    for url in ANSWERS:
        answer = client.get(url)
        assert answer.status == 200, (url, answer.body)
        found[url] = {name: value for name, value in answer.json.items() if name not in OF_READINGS}
    return found


def test_queries_never_look_at_readings_that_were_given_up(kept: Settings) -> None:
    """Though they are not deleted yet."""
    set_state(state.RAW_FROM, pacific_day(june(12)).start)
    assert oldest_slot() == at(12, 9)
    tallies = Tallies(NOW)
    assert (tallies.first_day, tallies.held.start) == (june(13), at(12, 9))
    StatDay.delete().where(StatDay.stat_date == june(12)).execute()
    assert daily.missing_days(NOW, rules.METRICS_VERSION) == []


# --- what comes late -------------------------------------------------------------------------------------------------


def test_a_late_reading_of_a_removed_day_changes_nothing_at_all(kept: Settings) -> None:
    prune(kept, NOW)
    before = contents()
    assert late((at(11, 20), 1, Status.DOWN), (at(3, 12), 2, Status.DOWN)) == Stored(0, 0, 0, expired=2)
    assert contents() == before
    assert late((at(11, 20), 1, Status.DOWN), (at(14, 18), 2, Status.DOWN)) == Stored(0, 1, 0, expired=1)


def test_a_late_reading_of_the_oldest_days_counts_where_it_can(kept: Settings) -> None:
    prune(kept, NOW)
    assert late((at(12, 12), 1, Status.CLOSED)) == Stored(0, 1, 0)
    assert dirty_days() == [13, 14, 15, 16, 17, 18, 19]  # the 12th has lost the beginning of its local days
    assert daily.aggregate(NOW).days == [june(day) for day in range(19, 12, -1)]
    before = down_minutes(13)
    assert late((at(13, 18), 1, Status.DOWN)) == Stored(0, 1, 0)
    assert dirty_days() == [13, 14, 15, 16, 17, 18, 19, 20]
    daily.aggregate(NOW)
    assert (dirty_days(), down_minutes(13)) == ([], before + 30)
    assert prune(kept, NOW + ONE).held_from == june(13)  # the changed 12th is no obstacle


def down_minutes(day: int) -> int:
    row = DailyStats.get((DailyStats.stat_date == june(day)) & (DailyStats.ride == 1))
    return row.total_downtime_minutes


def test_an_old_recording_is_left_out_and_said_to_be(kept: Settings, tmp_path: Path) -> None:
    prune(kept, NOW)
    readings = [(at(11, 12), "DOWN"), (at(11, 12) + 1800, "OPERATING"), (at(14, 12), "DOWN")]
    lines = [f"1,{iso_utc(slot)},{status},,," for slot, status in readings]
    header = "ride_id,recorded_at_utc,status,is_open,wait_time,source_updated_at_utc"
    (tmp_path / "parks.csv").write_text(
        "park_id,name,operator,country,timezone,latitude,longitude,queue_times_id,themeparks_wiki_id\n"
        "1,Park 1,disney,US,America/Los_Angeles,,,1,\n"
    )
    (tmp_path / "rides.csv").write_text("ride_id,park_id,source_ride_id,name,land\n1,1,,Ride 1,\n")
    (tmp_path / "ride_status_snapshots.csv").write_text("\n".join([header, *lines, ""]))
    found = report(cli(kept, "import", str(tmp_path), "--json"))
    assert (found["readings"], found["replaced"], found["expired"]) == (3, 1, 2)
    assert reading_days() == list(range(12, 21))
    assert dirty_days() == [14, 15, 16, 17, 18, 19, 20]
    assert "2 past retention" in cli(kept, "import", str(tmp_path)).stdout


def test_a_changed_tier_and_changed_hours_leave_removed_days_as_they_were(kept: Settings) -> None:
    prune(kept, NOW)
    parks = [ParkRecord(1, "Park 1", rules.ParkType.DISNEY, "US", PACIFIC, queue_times_id=1)]
    store_catalog(parks, [RideRecord(1, 1, "Ride 1", tier=3)], NOW)
    assert dirty_days() == list(range(13, 21))
    daily.aggregate(NOW)
    store.store_schedules(1, [Opening(june(9), ScheduleType.OPERATING, at(9, 10), at(9, 20))], NOW)
    assert dirty_days() == [13, 14, 15, 16]  # whose rosters the 9th and 10th are part of, by their rows


def test_a_writer_that_began_before_a_day_was_given_up_does_not_reopen_it(
    mariadb: Any, kept: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its view of the database is older than the decision."""
    if not door.is_mysql():
        pytest.skip("SQLite has one writer at a time")
    look, given_up = store._held_readings, []

    def overtaken(*args: Any) -> Any:
        if not given_up:
            thread = threading.Thread(target=give_up_the_first_day)
            thread.start()
            thread.join()
        return look(*args)

    def give_up_the_first_day() -> None:
        given_up.append(atomically(partial(retention._give_up, june(1))))
        door.db.close()

    monkeypatch.setattr(store, "_held_readings", overtaken)
    late((at(1, 12), 1, Status.CLOSED))
    assert (given_up, state.get_state(state.RAW_FROM)) == ([True], pacific_day(june(2)).start)
    assert dirty_days() == [3, 4, 5, 6, 7, 8]
    daily.aggregate(NOW)
    assert (prune(kept, NOW).blocked, reading_days()) == (None, list(range(12, 21)))


# --- stopped on the way ----------------------------------------------------------------------------------------------


class Stop(Exception):
    """What a test ends a run with."""


def after(calls: int, end: Callable[[], bool]) -> Callable[[], bool]:
    """A `proceed` that says yes so often."""
    left = iter(range(calls))
    return lambda: next(left, None) is not None or end()


def fail() -> bool:
    raise Stop


LOGS = (AggregationJobLog,)
REVISED = ("revision_history", "revision_current")


def outcome() -> dict[str, Any]:
    """Everything but how it came about."""
    found = contents(*LOGS)
    found["ServiceState"] = [row for row in found["ServiceState"] if row[0] not in REVISED]
    return found


@pytest.mark.parametrize("calls", [0, 1, 2, 40, 41, 150])
def test_a_run_that_breaks_off_is_completed_by_the_next(kept: Settings, calls: int) -> None:
    def whole() -> None:
        with door.db.atomic() as unmade:
            prune(kept, NOW)
            expected.append(outcome())
            unmade.rollback()

    expected: list[Any] = []
    whole()
    with pytest.raises(Stop):
        prune(kept, NOW, proceed=after(calls, fail))
    # Whatever is half deleted is given up, so that no query sees half a day.
    raw_from = state.get_state(state.RAW_FROM) or 0
    slots = RideStatusSnapshot.select().where(RideStatusSnapshot.snapshot_time >= raw_from).count()
    first = pacific_date(raw_from).day if raw_from else 1
    assert slots == (DAYS - first + 1) * SLOTS * 2
    prune(kept, NOW)
    assert outcome() == expected[0]


def test_a_run_that_failed_says_so_in_the_log(kept: Settings) -> None:
    with pytest.raises(Stop):
        prune(kept, NOW, proceed=after(40, fail))
    failed = AggregationJobLog.get(AggregationJobLog.job_type == "prune")
    assert (failed.status, failed.rows_processed > 0) == (JobStatus.FAILED, True)


def test_a_run_that_is_told_to_end_does(kept: Settings) -> None:
    found = prune(kept, NOW, proceed=after(40, lambda: False))
    assert (found.is_complete, found.blocked) == (False, None)
    removed = DAYS * SLOTS * 2 - RideStatusSnapshot.select().count()
    assert 0 < found.rows["ride_status_snapshots"] == removed < 11 * SLOTS * 2
    ended = AggregationJobLog.get(AggregationJobLog.job_type == "prune")
    assert (ended.status, ended.rows_processed) == (JobStatus.SUCCESS, sum(found.rows.values()))
    rest = prune(kept, NOW)
    assert (rest.is_complete, reading_days()) == (True, list(range(12, 21)))


def test_what_is_left_of_the_last_day_goes_next_time(kept: Settings) -> None:
    last = pacific_day(june(12)).start
    found = prune(kept, NOW, proceed=lambda: state.get_state(state.RAW_FROM) != last)
    assert (found.is_complete, found.held_from, reading_days()[0]) == (False, june(12), 11)
    assert plan(kept, NOW).rows["ride_status_snapshots"] == SLOTS * 2
    assert prune(kept, NOW).rows["ride_status_snapshots"] == SLOTS * 2
    assert reading_days() == list(range(12, 21))


def test_a_killed_run_is_completed_by_the_next(kept: Settings) -> None:
    killing = """
import os, signal
from service.jobs import retention
deleting, left = retention._delete_slots, iter(range(100))
def killed(*args):
    found = deleting(*args)
    next(left, None) is None and os.kill(os.getpid(), signal.SIGKILL)  # its batch is not committed
    return found
retention._delete_slots = killed
from cli import main
main(["prune"])
"""
    child = subprocess.run(  # noqa: S603
        [sys.executable, "-c", killing], env={**os.environ, **environ(kept)}, capture_output=True, timeout=60
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    left = RideStatusSnapshot.select().count()
    assert RETAINED * SLOTS * 2 < left < DAYS * SLOTS * 2
    assert report(cli(kept, "prune", "--json"))["held_from"] == "2025-06-12"
    assert reading_days() == list(range(12, 21))
    assert ParkActivitySnapshot.select().count() == RETAINED * SLOTS


def test_a_day_that_becomes_wrong_meanwhile_stays(kept: Settings) -> None:
    """The plan was made before the reading came."""
    came: list[Stored] = []

    def proceed() -> bool:
        if state.get_state(state.RAW_FROM) == pacific_day(june(4)).start and not came:
            came.append(late((at(6, 12), 1, Status.CLOSED)))
        return True

    found = prune(kept, NOW, proceed=proceed)
    assert came == [Stored(0, 1, 0)]
    assert found.blocked is not None and found.blocked.day == june(6)
    assert (found.held_from, reading_days()) == (june(5), list(range(5, 21)))


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "seconds", "following"),
    [(3, 0.01, 6), (8, 0.01, 12), (12, 0.0, 12), (6, 0.2, 6), (6, 0.3, 3), (6, 2.5, 1), (12, 1.0, 3), (1, 9.0, 1)],
)
def test_a_batch_is_sized_by_how_long_the_last_one_took(slots: int, seconds: float, following: int) -> None:
    assert paced(slots, seconds, most=12) == following


@pytest.mark.parametrize("seconds_per_slot", [0.0001, 0.01, 0.03, 0.06, 0.2, 0.9])
def test_batches_settle_within_their_time(seconds_per_slot: float) -> None:
    slots, took = 3, []
    for _ in range(50):
        took.append(slots * seconds_per_slot)
        slots = paced(slots, took[-1], most=12)
    assert max(took[2:]) <= max(BATCH_SECONDS, seconds_per_slot)  # one slot is the least


def test_readings_are_deleted_in_batches_of_their_own(kept: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    deleting, batches = retention._delete_slots, []

    def counted(start: int, end: int) -> Any:
        batches.append((start, end))
        return deleting(start, end)

    monkeypatch.setattr(retention, "_delete_slots", counted)
    monkeypatch.setattr(retention, "BATCH_SECONDS", 1e9)
    prune(kept, NOW)
    assert {end - start for start, end in batches} == {1800, 3600}  # a slot at first, an hour at most
    assert batches == sorted(batches) and at(11, 21) <= batches[-1][1] < at(11, 23)
    assert len(batches) < 11 * 15  # nights are passed over


# --- the other tables ------------------------------------------------------------------------------------------------


def test_schedules_stay_as_long_as_they_judge_a_reading(kept: Settings) -> None:
    """A park that posts hours within a week is closed outside them: the row of the 4th tells so of the 11th, whose
    local day ends on the 12th."""
    ParkSchedule.delete().where(ParkSchedule.schedule_date > june(4)).execute()
    StatDay.update({StatDay.computed_at: NOW}).execute()
    openings = opened(NOW)
    prune(kept, NOW)
    assert [row.schedule_date for row in ParkSchedule.select()] == [june(4)]
    assert opened(NOW) == openings


def opened(now: datetime) -> list[Any]:
    tallies = Tallies(now)
    return [tallies.openings(park, june(day)) for park in tallies.universe.parks.values() for day in range(11, 21)]


def test_schedules_stay_while_no_reading_was_given_up(kept: Settings) -> None:
    spoil(1, dirty=True)
    assert prune(kept, NOW).rows["park_schedules"] == 0
    assert ParkSchedule.select().count() == DAYS


def test_old_weather_goes(kept: Settings) -> None:
    settings = replace(kept, weather_observation_days=10, weather_forecast_days=5)
    for table, column in ((WeatherObservation, "observation_time"), (WeatherForecast, "issued_at")):
        for hours in range(20 * 24):
            row = {table.park: 1, getattr(table, column): NOW - timedelta(hours=hours)}
            more = WeatherObservation.collected_at if table is WeatherObservation else WeatherForecast.forecast_time
            table.insert({**row, more: NOW}).execute()
    found = prune(settings, NOW)
    assert (found.rows["weather_observations"], found.rows["weather_forecasts"]) == (
        20 * 24 - 10 * 24 - 13, 20 * 24 - 5 * 24 - 13,  # NOW is the 13th hour of its day
    )
    oldest = WeatherForecast.select().order_by(WeatherForecast.issued_at).first()
    assert oldest is not None and oldest.issued_at == instant(at(16, 0))
    assert prune(replace(settings, weather_forecast_days=1), NOW).rows["weather_forecasts"] == 4 * 24


def test_doubts_about_sources_go_when_they_are_past_retention(kept: Settings) -> None:
    issue = DataQualityIssue
    for day in (11, 12, 13):
        issue.insert({
            issue.data_source: Source.QUEUE_TIMES, issue.issue_type: IssueType.STALE_DATA,
            issue.detected_at: pacific_day(june(day)).start,
        }).execute()  # fmt: skip
    assert prune(kept, NOW).rows["data_quality_issues"] == 2
    assert [row.detected_at for row in issue.select()] == [instant(pacific_day(june(13)).start)]


def test_old_runs_of_the_job_log_go_unless_they_run(kept: Settings) -> None:
    log = AggregationJobLog
    for day in range(1, 21):
        for status in (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.RUNNING):
            log.insert({
                log.job_type: "collect", log.status: status, log.owner: "elsewhere:1:a", log.started_at: at(day),
            }).execute()
    assert retention.plan(kept, NOW).rows["aggregation_job_log"] == 2 * 12
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.jobs.joblog.close_killed", lambda now: None)
        assert prune(kept, NOW).rows["aggregation_job_log"] == 2 * 12
    left = sorted(row.started_at.day for row in log.select().where(log.job_type == "collect"))
    assert left == sorted([*range(1, 21), *range(13, 21), *range(13, 21)])


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, 5])
def test_a_dry_run_says_the_same_and_writes_nothing(kept: Settings, wrong: int | None) -> None:
    if wrong:
        spoil(wrong, dirty=True)
    before = contents()
    dry = report(cli(kept, "prune", "--dry-run", "--json"))
    assert contents() == before
    text = cli(kept, "prune", "--dry-run").stdout.splitlines()
    assert (text[0], text[-1]) == (
        "Rows that would be removed:", f"Readings would be held from {dry['held_from']} on.",
    )
    expected = plan(kept, NOW)
    door.open_database(kept)  # the command's was for reading only
    assert prune(kept, NOW) == expected
    assert dry == {
        "rows": expected.rows, "held_from": str(expected.held_from), "dry_run": True,
        "blocked": expected.blocked and {"day": "2025-06-05", "reason": expected.blocked.reason},
    }


def test_the_command_says_what_went_and_what_is_left(kept: Settings) -> None:
    result = cli(kept, "prune")
    assert (result.exit_code, result.stdout.splitlines()) == (0, [
        "Rows removed:",
        "  ride_status_snapshots: 528",
        "  park_activity_snapshots: 264",
        "  park_schedules: 3",
        "  weather_observations: 0",
        "  weather_forecasts: 0",
        "  aggregation_job_log: 0",
        "  data_quality_issues: 0",
        "Readings are held from 2025-06-12 on.",
    ])


# --- for as long as it runs ------------------------------------------------------------------------------------------

GROWING = (StatDay, DailyStats, DailyParkStats)  # what is computed stays
# Schedules outlast what they judge by eight days; runs of `prune` are logged from when there is something to remove.
SETTLING_LATER = ("ParkSchedule", "AggregationJobLog")


def test_thirty_days_of_collecting_need_no_more_room_than_ten(settings: Settings, database: Any) -> None:
    world = simulation.World(2, 1, SMALL)
    settings, rows, sizes = short(settings), [], []
    begin = date(2025, 7, 1)
    for day in range(30):
        now = instant(pacific_day(begin + day * ONE).end - 60)
        build_demo(world, 1, interval_minutes=30, now=now, force=True, progress=lambda done, total: None)
        daily.aggregate(now)
        prune(settings, now)
        rows.append({model.__name__: model.select().count() for model in ALL_MODELS if model not in GROWING})
        sizes.append(size_of(settings))
    assert rows[9]["RideStatusSnapshot"] > 9 * rows[0]["RideStatusSnapshot"]
    for name in rows[0]:
        counts = [found[name] for found in rows[20 if name in SETTLING_LATER else 11:]]
        assert max(counts) <= 1.05 * min(counts) + 5, name
    assert StatDay.select().count() == 29
    assert sizes[-1] <= 1.1 * sizes[11]


def size_of(settings: Settings) -> int:
    """Bytes of a SQLite file; 0 on MariaDB."""
    if door.is_mysql():
        return 0
    door.db.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(settings.database_url.removeprefix("sqlite:///")).stat().st_size


@pytest.mark.parametrize("when", ["before it is counted", "while it is counted"])
def test_a_day_that_is_pruned_while_it_is_computed_stays_as_it_was(
    kept: Settings, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    stored, count = contents()["StatDay"], daily.day_stats
    pruned: list[Pruned] = []

    def counted(tallies: Tallies, day: date, version: int) -> daily.DayStats:
        stats = count(tallies, day, version)
        if day == june(12) and not pruned:
            clock.replay(NOW)
            pruned.append(_elsewhere(kept))
        return stats

    if when == "before it is counted":
        pruned.append(prune(kept, NOW))
    monkeypatch.setattr(daily, "day_stats", counted)
    done = daily.recompute([june(12)], NOW, 1, force=True)
    assert [failure.error for failure in done.failed] == [
        "2025-06-12 cannot be computed any more: its readings were removed meanwhile."
    ]
    assert pruned[0].raw_from == pacific_day(june(11)).end
    assert contents()["StatDay"] == stored


def _elsewhere(settings: Settings) -> Pruned:
    """Prune in another thread, which has a connection of its own."""
    found: list[Pruned] = []

    def run() -> None:
        found.append(prune(settings, NOW))
        door.drop_connection()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]
