"""`cli demo` as its users see it, and what it leaves in the database."""

import json
from datetime import UTC, date, datetime

import pytest
from click.testing import CliRunner

from cli import data, main
from service import schema
from service import database as door
from service.database import fetch
from service.models import (
    DailyParkStats,
    DailyStats,
    Park,
    ParkActivitySnapshot,
    ParkSchedule,
    Ride,
    RideStatusSnapshot,
    ServiceState,
    StatDay,
    YearlyParkStats,
    YearlyRideStats,
)
from service.queries import state
from service.rules import Source

NOW = datetime(2026, 9, 16, 18, 32, tzinfo=UTC)  # 11:32 on a Wednesday in Los Angeles
SLOTS = 2 * 288 + 139  # two whole days, and from midnight to 11:30
RIDES = 8 + 13 + 11
KEPT = (
    Park,
    Ride,
    ParkSchedule,
    RideStatusSnapshot,
    ParkActivitySnapshot,
    StatDay,
    DailyStats,
    DailyParkStats,
    YearlyParkStats,
    YearlyRideStats,
)


def demo(settings, *options, now=NOW, **environ):
    variables = {"DATABASE_URL": settings.database_url, "REPLAY_NOW": now.isoformat(), **environ}
    return CliRunner().invoke(main, ["demo", "--parks", "3", "--days", "3", *options], env=variables)


def content():
    """All rows, but for the ledger of jobs."""
    return {model.__name__: sorted(fetch(model.select()), key=str) for model in (*KEPT, ServiceState)}


@pytest.fixture
def filled(settings, database):
    """Settings of a database with a demo in it."""
    result = demo(settings)
    assert result.exit_code == 0, result.output
    door.open_database(settings)
    return settings


def test_an_empty_database_gets_parks_schedules_readings_and_statistics(blank):
    result = demo(blank, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    door.open_database(blank)
    assert (report["parks"], report["rides"], report["days_computed"]) == (3, RIDES, 2)
    assert (Park.select().count(), Ride.select().count()) == (3, RIDES)
    assert (report["first_day"], report["last_day"]) == ("2026-09-14", "2026-09-16")
    assert (report["replaced"], report["unchanged"]) == (0, 0)
    assert RideStatusSnapshot.select().count() == report["stored"]
    assert 0.97 * SLOTS * RIDES < report["stored"] < SLOTS * RIDES  # what is missing, the feeds have lost
    assert ParkSchedule.select().count() == report["openings"]
    assert state.get_state(state.INTERVAL) == 5
    assert schema.differences() == []


def test_readings_end_with_the_present_slot_and_schedules_a_week_later(filled):
    newest = RideStatusSnapshot.select().order_by(RideStatusSnapshot.snapshot_time.desc()).get().snapshot_time
    oldest = RideStatusSnapshot.select().order_by(RideStatusSnapshot.snapshot_time).get().snapshot_time
    assert newest == datetime(2026, 9, 16, 18, 30, tzinfo=UTC)
    assert oldest == datetime(2026, 9, 14, 7, 0, tzinfo=UTC)
    assert state.get_state(state.NEWEST_SLOT) == int(newest.timestamp())
    dates = {row.schedule_date for row in ParkSchedule.select()}
    assert (min(dates), max(dates)) == (date(2026, 9, 13), date(2026, 9, 23))
    assert {row.park_id for row in ParkSchedule.select()} == {1, 3}


def test_simulated_readings_say_so(filled):
    assert {row.source for row in ParkActivitySnapshot.select()} == {Source.SIMULATION}


def test_both_finished_days_are_computed_for_every_park(filled):
    assert sorted(row.stat_date for row in StatDay.select()) == [date(2026, 9, 14), date(2026, 9, 15)]
    rows = list(DailyParkStats.select())
    assert len(rows) == 6
    assert all(row.roster_weight > 0 and 80 < row.uptime_percentage <= 100 for row in rows)


def test_the_year_is_computed_of_them(settings, database):
    result = demo(settings, "--json")
    door.open_database(settings)
    assert json.loads(result.stdout)["years"] == [2026]
    down = sum(row.total_downtime_minutes for row in DailyParkStats.select())
    years = list(YearlyParkStats.select())
    assert [(row.year, row.days_operated) for row in years] == [(2026, 2)] * 3
    assert sum(row.total_downtime_minutes for row in years) == down > 0
    assert YearlyRideStats.select().count() == DailyStats.select(DailyStats.ride).distinct().count()
    assert json.loads(demo(settings, "--force", "--json").stdout)["years"] == []


def test_a_database_with_readings_is_refused(filled):
    before = content()
    result = demo(filled)
    assert result.exit_code == 2
    assert result.stderr.startswith("The database holds readings already")
    assert "--force" in result.stderr
    door.open_database(filled)
    assert content() == before


def test_a_refused_database_is_not_even_migrated(blank):
    assert demo(blank, "--days", "1").exit_code == 0
    door.open_database(blank, time_limit=False)
    schema.downgrade(blank)
    assert demo(blank).exit_code == 2
    door.open_database(blank, time_limit=False)
    assert len(schema.pending(blank)) == 1


def test_forced_twice_it_changes_nothing(filled):
    before = content()
    result = demo(filled, "--force", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    door.open_database(filled)
    assert (report["openings"], report["stored"], report["replaced"], report["days_computed"]) == (0, 0, 0, 0)
    assert content() == before


def test_forced_later_it_goes_on(filled):
    before = RideStatusSnapshot.select().count()
    result = demo(filled, "--force", "--json", now=datetime(2026, 9, 17, 8, 2, tzinfo=UTC))
    report = json.loads(result.stdout)
    door.open_database(filled)
    assert (report["first_day"], report["replaced"], report["days_computed"]) == ("2026-09-15", 0, 1)
    assert RideStatusSnapshot.select().count() == before + report["stored"]


def test_stopped_halfway_it_ends_up_the_same(settings, database, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(bars, label, done, total, unit=""):
        if done > total / 2:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(data.Bars, "show", stop)
        assert demo(settings).exit_code == 1
    assert demo(settings, "--force").exit_code == 0
    door.open_database(settings)
    found = content()
    for model in reversed(KEPT):
        model.delete().execute()
    assert demo(settings).exit_code == 0
    door.open_database(settings)
    assert {name: rows for name, rows in content().items() if name != "ServiceState"} == {
        name: rows for name, rows in found.items() if name != "ServiceState"
    }


def test_readings_of_another_interval_are_refused(filled):
    result = demo(filled, "--force", SNAPSHOT_INTERVAL_MINUTES="10")
    assert result.exit_code == 3
    assert "SNAPSHOT_INTERVAL_MINUTES=5" in result.stderr


def test_an_unknown_scale_and_an_impossible_number_are_bad_arguments(settings, database):
    assert demo(settings, "--scale", "huge").exit_code == 2
    assert demo(settings, "--parks", "82").exit_code == 2
    assert demo(settings, "--days", "0").exit_code == 2


def test_progress_is_told_in_lines_off_a_terminal(settings, database, monkeypatch):
    monkeypatch.setattr(data, "SECONDS_BETWEEN_LINES", 0)
    result = demo(settings)
    lines = [line for line in result.stderr.splitlines() if line.startswith("Simulating")]
    assert len(lines) == 9
    assert lines[-1].startswith(f"Simulating: {SLOTS * RIDES:,} of {SLOTS * RIDES:,}, ")
    assert "readings/s" in lines[0] and "s left" in lines[0]
    assert "Computing days: 2 of 2" in result.stderr
    assert "Refreshing years: 1 of 1" in result.stderr
    assert "; 2 days computed, and the statistics of 2026; " in result.stdout


def test_the_end_says_what_to_do_next(settings, database):
    result = demo(settings, PORT="8123")
    assert "Next: run `cli serve`, then open\n  http://127.0.0.1:8123/\n" in result.stdout


def test_serve_starts_the_server_when_all_is_there(settings, database, monkeypatch):
    started = []
    monkeypatch.setattr(data.serve, "start", lambda settings, host, port: started.append((host, port)))
    result = demo(settings, "--serve", PORT="8123")
    assert result.exit_code == 0, result.output
    assert started == [("127.0.0.1", 8123)]
