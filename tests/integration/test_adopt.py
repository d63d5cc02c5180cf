"""`cli adopt`: what the predecessor observed is taken over whole, once, and nothing is done to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from peewee import PeeweeException

import predecessor
from cli import main
from factories import World
from predecessor import Shape, run
from service import clock
from service import database as door
from service.config import Settings
from service.jobs import adopting
from service.jobs.adopting import AdoptionReport
from service.models import ALL_MODELS, AggregationJobLog, DailyParkStats, DailyStats, DataQualityIssue, JobStatus
from service.models import MetricsVersion, Park, ParkActivitySnapshot, ParkSchedule, Ride, RideStatusSnapshot, StatDay
from service.models import WeatherForecast, WeatherObservation, YearlyParkStats, YearlyRideStats
from service.models.predecessor import source
from service.periods import Span, epoch, instant
from service.queries import rankings, state
from service.queries.days import Tallies
from service.queries.rankings import Question, Standings
from service.rules import Category, ParkType, ScheduleType, Source, Status

ROOT = Path(__file__).resolve().parents[2]
LARGE = Shape()
SMALL = Shape(
    parks=2,
    rides=5,
    readings_from=datetime(2025, 6, 10, 21, tzinfo=UTC),
    until=datetime(2025, 6, 12, 17, tzinfo=UTC),
    history_days=3,
    weather_days=1,
)
PDT = timedelta(hours=7)


class Old:
    """A predecessor on the tests' server."""

    def __init__(self, server: Any, name: str, shape: Shape) -> None:
        self.url = server.url(server.create_database(name))
        self.shape = shape
        self.connection = server.connect(name)
        self.run("SET time_zone = '+00:00'")

    def run(self, sql: str) -> list[Any]:
        return run(self.connection, sql)

    def checksums(self) -> list[Any]:
        return [self.run(f"CHECKSUM TABLE {name}") for (name,) in self.run("SHOW TABLES")]


@pytest.fixture(scope="module")
def large(mariadb: Any) -> Iterator[Old]:
    """Some 70,000 readings of six parks. Not to be changed."""
    old = Old(mariadb, "predecessor", LARGE)
    predecessor.build(old.connection, LARGE)
    yield old
    old.connection.close()


@pytest.fixture
def small(mariadb: Any) -> Iterator[Old]:
    """Two parks for two days, to be changed at will."""
    old = Old(mariadb, "small_predecessor", SMALL)
    predecessor.build(old.connection, SMALL)
    yield old
    old.connection.close()


@pytest.fixture
def cli(database: Any, settings: Settings) -> Callable[..., Result]:
    """Run a command on the target, at the moment the predecessor's newest reading was taken, or another."""

    def invoke(*arguments: str, now: datetime = SMALL.until, **environ: str) -> Result:
        environ = {"DATABASE_URL": settings.database_url, "REPLAY_NOW": now.isoformat(), **environ}
        return CliRunner().invoke(main, arguments, env=environ)

    return invoke


@pytest.fixture
def emptied(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Callable[[], None]:
    """Make the target what it was before the test."""

    def empty() -> None:
        door.close()
        if settings.database_url.startswith("sqlite"):
            for path in tmp_path.glob("test.db*"):
                path.unlink()
            shutil.copyfile(request.getfixturevalue("_sqlite_template"), tmp_path / "test.db")
        else:
            request.getfixturevalue("_shared_mariadb").emptied()

    return empty


def adopt(old: Old, settings: Settings, **more: Any) -> AdoptionReport:
    """Adopt without the command line, into the database that is open."""
    now = more.pop("now", old.shape.until)
    clock.replay(now)
    with adopting.opened(settings, old.url) as opened:
        return adopting.adopt(opened, interval_minutes=5, now=now, **more)


def contents() -> dict[str, list[tuple[Any, ...]]]:
    """Everything but the job log, which has one more entry for each run, and the revision that failed runs move."""
    return {
        model.__name__: sorted(
            (row for row in door.fetch(model.select()) if row[0] != state.REVISION_HISTORY), key=repr
        )
        for model in ALL_MODELS
        if model is not AggregationJobLog
    }


def left(report: dict[str, Any]) -> dict[str, int]:
    return {row["reason"]: row["count"] for row in report["left_behind"]}


# --- what goes in ----------------------------------------------------------------------------------------------------

# The latest reading of each ride and slot of those that say something, as SQL.
USABLE = """
    SELECT s.*, FLOOR(UNIX_TIMESTAMP(s.recorded_at) / 300) * 300 AS slot, r.park_id
    FROM ride_status_snapshots s JOIN rides r ON r.ride_id = s.ride_id
    WHERE r.name NOT LIKE '%single rider%' AND NOT (s.status IS NULL AND s.is_open IS NULL AND s.wait_time IS NULL)
"""
LATEST = f"""
    SELECT u.* FROM ({USABLE}) u
    JOIN (SELECT ride_id, slot, MAX(recorded_at) AS newest FROM ({USABLE}) v GROUP BY ride_id, slot) l
    ON l.ride_id = u.ride_id AND l.slot = u.slot AND l.newest = u.recorded_at
"""
SUMS = f"""
    SELECT park_id, DATE(FROM_UNIXTIME(slot) - INTERVAL 7 HOUR), COUNT(*),
        SUM(IF(wait_time BETWEEN 0 AND 480, wait_time, 0)),
        SUM(IF(status IS NULL, is_open = 1 OR wait_time BETWEEN 1 AND 480, status = 'OPERATING')),
        SUM(COALESCE(status = 'DOWN', 0))
    FROM ({LATEST}) t GROUP BY 1, 2
"""


def test_every_reading_is_there(cli: Callable[..., Result], large: Old) -> None:
    before = large.checksums()
    result = cli("adopt", "--from", large.url, "--json", now=LARGE.until)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    wanted = large.run(SUMS)
    assert report["stored"] == report["readings"] == sum(row[2] for row in wanted) > 50_000
    assert sorted(_sums()) == sorted((park, day, *map(int, sums)) for park, day, *sums in wanted)
    sample = large.run(f"SELECT ride_id, slot, status, is_open, wait_time FROM ({LATEST}) t WHERE slot % 3900 = 0")
    assert len(sample) > 4000
    stored = {(row.ride_id, epoch(row.snapshot_time)): row for row in RideStatusSnapshot.select()}
    for ride_id, slot, status, is_open, wait in sample:
        row = stored[ride_id, slot]
        assert (row.status and row.status.name, row.is_open) == (status, None if is_open is None else bool(is_open))
        assert row.wait_time == (wait if wait is not None and 0 <= wait <= 480 else None)
    assert large.checksums() == before


def _sums() -> Iterator[tuple[Any, ...]]:
    """Per park and Pacific day: readings, minutes waited, operating, told down."""
    park_of = dict(door.fetch(Ride.select(Ride.ride_id, Ride.park)))
    sums: dict[tuple[int, date], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in RideStatusSnapshot.select():
        total = sums[park_of[row.ride_id], (row.snapshot_time - PDT).date()]
        runs = row.status is Status.OPERATING or row.status is None and (row.is_open or (row.wait_time or 0) > 0)
        for index, amount in enumerate((1, row.wait_time or 0, int(runs), int(row.status is Status.DOWN))):
            total[index] += amount
    return ((*key, *total) for key, total in sums.items())


def test_parks_rides_schedules_and_weather(cli: Callable[..., Result], large: Old) -> None:
    report = json.loads(cli("adopt", "--from", large.url, "--json", now=LARGE.until).stdout)
    assert (report["parks"], report["rides"]) == (6, 30)
    parks = {park.park_id: park for park in Park.select()}
    assert [(park.name, park.park_type, park.timezone, park.is_active) for park in parks.values()] == [
        ("Castle 1", ParkType.DISNEY, "America/Los_Angeles", True),
        ("Globe 2", ParkType.UNIVERSAL, "America/New_York", True),
        ("Peak 3", ParkType.OTHER, "America/New_York", True),
        ("Cove 4", ParkType.OTHER, "Europe/Paris", True),
        ("Tower 5", ParkType.OTHER, "Asia/Tokyo", True),
        ("Flags 6", ParkType.OTHER, "America/Chicago", False),
    ]
    assert (parks[1].themeparks_wiki_id, parks[4].themeparks_wiki_id) == ("aa000000-0000-0000-0000-000000000001", None)
    assert (parks[3].queue_times_id, parks[3].latitude) == (1003, 33.875)
    rides = {ride.ride_id: ride for ride in Ride.select()}
    assert sorted(rides) == [ride_id for ride_id in range(1, 37) if ride_id % 6 != 5]  # one in six is a queue
    # Ride 1 is classified as tier 2, its own column says 1; ride 4 is of no tier.
    assert [rides[number].tier for number in (1, 2, 3, 4, 13)] == [2, 2, 3, None, 2]
    assert {rides[6].category, rides[7].category} == {Category.SHOW, Category.ATTRACTION}
    assert [number for number, ride in rides.items() if not ride.is_active] == [22, 33]
    assert rides[1].queue_times_id == 5001
    opening = ParkSchedule.get(ParkSchedule.park == 4, ParkSchedule.schedule_date == date(2025, 6, 12))
    assert (opening.opening_at, opening.closing_at) == (
        datetime(2025, 6, 12, 7, tzinfo=UTC),  # 09:00 in Paris
        datetime(2025, 6, 12, 19, tzinfo=UTC),
    )
    assert report["schedule_rows"] == ParkSchedule.select().count() == 5 * (16 + 6)
    assert ParkSchedule.select().where(ParkSchedule.schedule_type == ScheduleType.INFO).count() == 30
    assert dict(door.fetch(ParkActivitySnapshot.select(ParkActivitySnapshot.park_id, ParkActivitySnapshot.source))) == {
        1: Source.THEMEPARKS_WIKI,
        2: Source.THEMEPARKS_WIKI,
        3: Source.THEMEPARKS_WIKI,
        4: Source.QUEUE_TIMES,
        5: Source.QUEUE_TIMES,
        6: Source.QUEUE_TIMES,
    }
    assert report["weather_observations"] == WeatherObservation.select().count() == 6 * 72
    assert report["weather_forecasts"] == WeatherForecast.select().count() == 6 * 12 * 24
    noon = WeatherObservation.get(
        WeatherObservation.park == 2, WeatherObservation.observation_time == datetime(2025, 6, 17, 12, tzinfo=UTC)
    )
    assert (str(noon.temperature_c), noon.humidity_percent, noon.pressure_hpa) == ("13.75", 45, None)


def test_what_stays_behind_is_listed_with_its_reason(cli: Callable[..., Result], large: Old) -> None:
    report = json.loads(cli("adopt", "--from", large.url, "--json", now=LARGE.until).stdout)
    [(queued, unknown, silent, odd)] = large.run("""
        SELECT SUM(ride_id % 6 = 5 AND ride_id < 99), SUM(ride_id = 99999),
            SUM(status IS NULL AND is_open IS NULL AND wait_time IS NULL),
            SUM(ride_id % 6 <> 5 AND ride_id < 99 AND (wait_time < 0 OR wait_time > 480))
        FROM ride_status_snapshots""")
    [(history,)] = large.run("SELECT COUNT(*) FROM ride_daily_stats WHERE stat_date >= '2025-06-11'")
    [(queues, shows)] = large.run(
        "SELECT SUM(ride_id % 6 = 5), SUM(ride_id % 6 = 0) FROM ride_daily_stats WHERE stat_date < '2025-06-11'"
    )
    found = left(report)
    assert found.pop("Daily rows of rides without a reading while their park was open") > 10
    assert found == {
        "Single-rider queues, which are no rides": 6,
        "Readings of single-rider queues": queued,
        "Readings of rides that are in no table, or were left behind": unknown,
        "Readings that say nothing: no status, no open flag, no plausible wait": silent,
        "Waits outside 0-480 minutes; their readings are kept without them": odd,
        "Daily rows of days whose readings are adopted: they are counted anew": history,
        "Daily rows of rides that are in no table, or were left behind": queues,
        "Daily rows of shows and other rides that are not ranked": shows,
        "Rows not copied, for they are computed here: park_activity_snapshots": 1,
        "Rows not copied, for they are computed here: park_daily_stats": 1,
        "Rows not copied, for they are computed here: park_live_rankings": 2,
    }
    assert {row["reason"]: row["example"] for row in report["left_behind"]}["Readings of single-rider queues"] == (
        "Ride 1 - Single Rider"
    )
    assert report["read"] == report["readings"] + report["superseded"] + silent
    assert AggregationJobLog.get(AggregationJobLog.job_type == "adopt").status is JobStatus.SUCCESS


def test_dropped_waits_become_one_issue_per_park_and_day(cli: Callable[..., Result], small: Old) -> None:
    small.run("UPDATE ride_status_snapshots SET wait_time = NULL WHERE wait_time NOT BETWEEN 0 AND 480")
    ride_1 = "UPDATE ride_status_snapshots SET wait_time = {} WHERE ride_id = 1 AND recorded_at = '2025-06-1{}'"
    for wait, at in ((995, "1 20:00:18"), (-5, "1 20:05:18"), (481, "2 15:00:18"), (480, "2 15:05:18")):
        small.run(ride_1.format(wait, at))
    for hours in (0, 0, 3):  # again, and again when the day is older, changes nothing
        cli("adopt", "--from", small.url, now=SMALL.until + timedelta(hours=hours))
    assert [issue.details for issue in DataQualityIssue.select().order_by(DataQualityIssue.issue_id)] == [
        "Adopted readings of 2025-06-11: 2 waits outside 0-480 minutes were dropped, one of them 995;"
        " 2025-06-11T20:00:18Z to 2025-06-11T20:05:18Z",
        "Adopted readings of 2025-06-12: 1 waits outside 0-480 minutes were dropped, one of them 481;"
        " 2025-06-12T15:00:18Z to 2025-06-12T15:00:18Z",
    ]


def test_the_reading_recorded_later_wins_whatever_its_id(database: Any, settings: Settings, small: Old) -> None:
    slot = epoch(datetime(2025, 6, 11, 20, tzinfo=UTC))
    small.run("DELETE FROM ride_status_snapshots WHERE ride_id = 1")
    for number, (second, wait) in enumerate(((50, 10), (250, 20), (150, 30)), 1):
        small.run(
            "INSERT INTO ride_status_snapshots (snapshot_id, ride_id, recorded_at, status, wait_time, computed_is_open)"
            f" VALUES ({900_000 - number}, 1, FROM_UNIXTIME({slot + second}), 'OPERATING', {wait}, 0)"
        )
    adopt(small, settings)
    [row] = RideStatusSnapshot.select().where(RideStatusSnapshot.ride_id == 1)
    assert (epoch(row.snapshot_time), row.wait_time) == (slot, 20)


def test_a_ride_that_no_reading_shows_operating_keeps_when_it_last_ran(
    database: Any, settings: Settings, small: Old
) -> None:
    small.run("UPDATE rides SET last_operated_at = '2025-05-05 05:05:05'")
    small.run("DELETE FROM ride_status_snapshots WHERE ride_id = 2")
    adopt(small, settings)
    last = {ride.ride_id: ride.last_operated_at for ride in Ride.select()}
    assert last[2] == datetime(2025, 5, 5, 5, 5, 5, tzinfo=UTC)
    assert last[1] > datetime(2025, 6, 12, tzinfo=UTC)


# --- again, and after a stop -----------------------------------------------------------------------------------------


def test_adopting_again_changes_nothing_and_reads_the_running_day_only(cli: Callable[..., Result], large: Old) -> None:
    cli("adopt", "--from", large.url, now=LARGE.until)
    before = contents()
    report = json.loads(cli("adopt", "--from", large.url, "--json", now=LARGE.until + timedelta(hours=1)).stdout)
    assert contents() == before
    assert (report["stored"], report["replaced"], report["history_days"], report["schedule_rows"]) == (0, 0, 0, 0)
    assert report["first_reading"] == "2025-06-17T07:00:00+00:00"
    assert (report["weather_observations"], report["weather_forecasts"]) == (0, 0)


def test_killed_and_started_again_it_ends_with_the_same_rows(
    cli: Callable[..., Result], settings: Settings, large: Old, emptied: Callable[[], None]
) -> None:
    whole = json.loads(cli("adopt", "--from", large.url, "--json", now=LARGE.until).stdout)
    undisturbed = contents()
    emptied()
    environ = {**os.environ, "DATABASE_URL": settings.database_url, "REPLAY_NOW": LARGE.until.isoformat()}
    command = [sys.executable, "-m", "cli", "adopt", "--from", large.url]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and RideStatusSnapshot.select().count() < 8_000:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    assert 8_000 <= RideStatusSnapshot.select().count() < 50_000
    report = json.loads(cli("adopt", "--from", large.url, "--json", now=LARGE.until).stdout)
    assert contents() == undisturbed
    assert report["read"] < whole["read"]  # it did not begin anew


class Stopped(Exception):
    """In place of a power cut."""


@pytest.mark.parametrize(
    ("what", "done"),
    [
        ("Adopting readings", 0),
        ("Adopting readings", 1000),
        ("Adopting daily history", 2),
        ("Adopting observations, parks", 1),
        ("Adopting forecasts, parks", 1),
    ],
)
def test_stopped_anywhere_it_goes_on(
    database: Any, settings: Settings, small: Old, emptied: Callable[[], None], what: str, done: int
) -> None:
    adopt(small, settings)
    undisturbed = contents()
    emptied()

    def stop(label: str, at: int, total: int) -> None:
        if label == what and at >= done:
            raise Stopped

    with pytest.raises(Stopped):
        adopt(small, settings, progress=stop)
    adopt(small, settings)
    assert contents() == undisturbed


RIDE = "({0}, 1{0}, NULL, {1}, '{2}', 'ATTRACTION', NULL, 1, 1, NULL, NOW(), NOW())"


def test_what_is_recorded_after_a_run_comes_with_the_next(database: Any, settings: Settings, small: Old) -> None:
    adopt(small, settings)
    later = SMALL.until + timedelta(days=2)
    predecessor.record(small.connection, SMALL, SMALL.until, later)
    small.run(f"INSERT INTO rides ({predecessor.RIDE_COLUMNS}) VALUES {RIDE.format(77, 2, 'New')}")
    small.run("UPDATE rides SET tier = 3, name = 'Renamed' WHERE ride_id = 3")
    report = adopt(small, settings, now=later)
    assert (report.stored, report.replaced) == (2 * 288 * 8, 0)  # eight rides, two of which are shows
    assert {Ride.get(Ride.ride_id == 77).name, Ride.get(Ride.ride_id == 3).name} == {"New", "Renamed"}
    assert state.get_state(state.NEWEST_SLOT) == epoch(later) - 300


def test_a_cycle_that_was_stored_late_is_not_missed(database: Any, settings: Settings, small: Old) -> None:
    small.run("DELETE FROM ride_status_snapshots WHERE recorded_at > '2025-06-12 07:10'")  # ten past midnight there
    small.run("CREATE TABLE late AS SELECT * FROM ride_status_snapshots WHERE recorded_at >= '2025-06-12 06:40'")
    small.run("DELETE FROM ride_status_snapshots WHERE recorded_at BETWEEN '2025-06-12 06:40' AND '2025-06-12 07:00'")
    adopt(small, settings)
    small.run("REPLACE INTO ride_status_snapshots SELECT * FROM late")
    assert adopt(small, settings).stored == 4 * 8


def test_readings_of_the_future_do_not_keep_new_ones_out(database: Any, settings: Settings, small: Old) -> None:
    small.run("UPDATE ride_status_snapshots SET recorded_at = '2031-01-01' WHERE ride_id = 1 LIMIT 1")
    small.run("UPDATE ride_status_snapshots SET recorded_at = '2004-01-01' WHERE ride_id = 2 LIMIT 1")
    adopt(small, settings)
    later = SMALL.until + timedelta(hours=1)
    predecessor.record(small.connection, SMALL, SMALL.until, later)
    assert adopt(small, settings, now=later).stored == 12 * 8


# --- the daily history -----------------------------------------------------------------------------------------------

HISTORY = """
    (1, '2025-06-08', 540, 60, 600, 30.00, 0, 60, 95, 4, 5), (2, '2025-06-08', 600, 0, 600, 10.50, 5, 20, 20, 0, NULL),
    (3, '2025-06-08', 300, 0, 300, NULL, NULL, NULL, NULL, 0, NULL),
    (1, '2025-06-09', 540, 60, 600, 40, 0, 995, 995, 2, 5),
    (5, '2025-06-09', 100, 500, 600, 9, 9, 9, 9, 9, 9), (2, '2025-06-15', 0, 30, 600, NULL, NULL, NULL, NULL, 0, NULL),
    (3, '2025-06-15', 0, 0, 0, NULL, NULL, NULL, NULL, 0, NULL), (2, '2025-06-16', 600, 0, 600, 7, 7, 7, 7, 0, 0),
    (2, '2025-06-17', 100, 0, 100, 7, 7, 7, 7, 0, 0)
"""


@pytest.fixture
def history(small: Old) -> Old:
    """A predecessor with nothing but daily rows. Weights of its first park's rides: 2, 2 and 1; ride 5 is a show."""
    small.run("DELETE FROM ride_status_snapshots")
    small.run("DELETE FROM ride_daily_stats")
    small.run("DELETE FROM ride_classifications")
    small.run(f"INSERT INTO ride_daily_stats ({predecessor.DAY_COLUMNS}) VALUES {HISTORY}")
    small.run("UPDATE rides SET tier = CASE ride_id WHEN 1 THEN 2 WHEN 3 THEN 3 END")
    return small


TUESDAY = datetime(2025, 6, 17, 19, tzinfo=UTC)


def test_rides_are_taken_over_and_parks_computed(database: Any, settings: Settings, history: Old) -> None:
    report = adopt(history, settings, now=TUESDAY)
    assert (report.history_days, report.first_history_day, report.last_history_day) == (
        4,
        date(2025, 6, 8),
        date(2025, 6, 16),
    )
    ride = DailyStats.get(DailyStats.ride == 1, DailyStats.stat_date == date(2025, 6, 8))
    assert (ride.metrics_version, ride.park_id, ride.weight) == (0, 1, 2)
    assert (ride.sample_count, ride.open_minutes) == (120, 600)
    assert (ride.operating_minutes, ride.total_downtime_minutes, ride.longest_downtime_minutes) == (540, 60, 5)
    assert (ride.status_changes, ride.downtime_incidents, ride.uptime_percentage) == (4, 1, 90)
    assert (ride.wait_sum, ride.wait_samples, ride.min_wait_time, ride.max_wait_time) == (30 * 108, 108, 0, 60)
    assert float(ride.shame_score) == 0.4  # 10 x 2 x 12 slots / (2 + 2 + 1) x 120 slots
    park = DailyParkStats.get(DailyParkStats.park == 1, DailyParkStats.stat_date == date(2025, 6, 8))
    assert (park.sample_count, park.open_minutes, park.roster_weight, park.rides_tracked) == (120, 600, 5, 3)
    assert (park.operating_minutes, park.total_downtime_minutes, park.weighted_downtime_minutes) == (1440, 60, 120)
    assert (park.wait_sum, park.wait_samples, park.peak_wait_time) == (3240 + 1260, 228, 60)
    assert float(park.shame_score) == 0.4
    assert MetricsVersion.get(MetricsVersion.version == 0).promoted_at is None


def test_the_roster_reaches_back_seven_days(database: Any, settings: Settings, history: Old) -> None:
    adopt(history, settings, now=TUESDAY)
    parks = DailyParkStats.select().where(DailyParkStats.park == 1).order_by(DailyParkStats.stat_date)
    # Day 9: all three ran on day 8. Day 15: ride 1 ran on day 9, ride 2 was told down, ride 3 ran a week before.
    assert [(row.stat_date.day, row.roster_weight) for row in parks] == [(8, 5), (9, 5), (15, 4), (16, 2)]


def test_rows_that_mean_nothing_here_are_left(database: Any, settings: Settings, history: Old) -> None:
    report = adopt(history, settings, now=TUESDAY)
    assert {row.reason: (row.count, row.example) for row in report.left_behind if "Daily" in row.reason} == {
        "Daily rows of days that are not over": (1, "2025-06-17"),
        "Daily rows of rides without a reading while their park was open": (1, "ride 3 on 2025-06-15"),
        "Daily rows of shows and other rides that are not ranked": (1, "ride 5 on 2025-06-09"),
    }
    spoilt = DailyStats.get(DailyStats.ride == 1, DailyStats.stat_date == date(2025, 6, 9))
    assert (spoilt.operating_minutes, spoilt.wait_sum, spoilt.wait_samples, spoilt.max_wait_time) == (540, 0, 0, None)
    assert "each slot in which a ride operated is taken for one" in report.notes[0]


def test_weeks_are_ranked_from_the_history(database: Any, settings: Settings, history: Old) -> None:
    adopt(history, settings, now=TUESDAY)
    week = Standings(Question("last_week", "all-parks", "shame_score", 50, TUESDAY))  # June 8-14
    [park] = rankings.parks_by_downtime(week)
    assert (park["park_name"], park["shame_score"], park["total_downtime_hours"]) == ("Castle 1", 0.4, 2.0)
    assert (park["weighted_downtime_hours"], park["uptime_percentage"]) == (4.0, 94.3)  # 540 + 600 + 300 + 540 of 2100
    [ride] = rankings.rides_by_downtime(Standings(Question("7days", "all-parks", "downtime_hours", 50, TUESDAY)))
    assert (ride["ride_id"], ride["downtime_hours"], ride["uptime_percentage"]) == (1, 2.0, 90.0)
    assert [(row["ride_id"], row["avg_wait_minutes"]) for row in rankings.rides_by_wait(week)] == [(1, 30.0), (2, 10.5)]
    yesterday = Standings(Question("yesterday", "all-parks", "shame_score", 50, TUESDAY))
    assert [row["avg_wait_minutes"] for row in rankings.rides_by_wait(yesterday)] == [7.0]


def test_the_years_of_the_history_are_computed(
    cli: Callable[..., Result], history: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.data.SECONDS_BETWEEN_LINES", 0)
    history.run(
        f"INSERT INTO ride_daily_stats ({predecessor.DAY_COLUMNS}) VALUES"
        " (2, '2024-08-08', 300, 300, 600, NULL, NULL, NULL, NULL, 0, 10)"
    )
    dry = json.loads(cli("adopt", "--from", history.url, "--dry-run", "--json", now=TUESDAY).stdout)
    assert (dry["years"], YearlyParkStats.select().count()) == ([], 0)
    result = cli("adopt", "--from", history.url, "--json", now=TUESDAY)
    assert json.loads(result.stdout)["years"] == [2025, 2024]
    assert "Refreshing years: 2 of 2" in result.stderr
    rides = {(row.year, row.ride_id): row for row in YearlyRideStats.select()}
    first = rides[2025, 1]  # on June 8 and 9, each 540 minutes and 60 down
    assert (first.days_operated, first.operating_minutes, first.total_downtime_minutes) == (2, 1080, 120)
    assert (first.sample_count, first.wait_sum, first.wait_samples) == (240, 30 * 108, 108)
    assert (rides[2024, 2].operating_minutes, rides[2024, 2].total_downtime_minutes) == (300, 300)
    parks = {row.year: row for row in YearlyParkStats.select().where(YearlyParkStats.park == 1)}
    assert (parks[2024].days_operated, parks[2024].total_downtime_minutes) == (1, 300)
    assert (float(parks[2024].shame_score), parks[2024].is_complete) == (5.0, True)
    assert (parks[2025].days_operated, parks[2025].is_complete, parks[2025].metrics_version) == (4, False, 1)
    again = json.loads(cli("adopt", "--from", history.url, "--json", now=TUESDAY).stdout)
    assert again["years"] == []


def test_the_day_on_which_readings_begin_is_taken_from_the_history(cli: Callable[..., Result], small: Old) -> None:
    cli("adopt", "--from", small.url)
    cli("aggregate")
    assert ledger() == [(9, 0, False), (10, 0, False), (11, 1, False)]
    assert RideStatusSnapshot.get().snapshot_time == datetime(2025, 6, 10, 21, tzinfo=UTC)
    [(operating, down)] = small.run(
        "SELECT SUM(uptime_minutes), SUM(downtime_minutes) FROM ride_daily_stats"
        " WHERE stat_date = '2025-06-10' AND ride_id IN (1, 2, 3, 6, 7, 8)"
    )
    assert counted(date(2025, 6, 10)) == (operating, down)


def test_a_day_that_the_history_lacks_is_counted_from_what_there_is(cli: Callable[..., Result], small: Old) -> None:
    small.run("DELETE FROM ride_daily_stats WHERE stat_date = '2025-06-10'")
    cli("adopt", "--from", small.url)
    cli("aggregate")
    assert ledger() == [(9, 0, False), (10, 1, False), (11, 1, False)]


def test_days_that_were_purged_between_two_runs_come_from_the_history(cli: Callable[..., Result], small: Old) -> None:
    small.run("UPDATE parks SET timezone = 'Asia/Tokyo' WHERE park_id = 2")  # whose days are over half a day later
    cli("adopt", "--from", small.url)
    cli("aggregate", now=SMALL.until + timedelta(days=1))
    assert ledger() == [(9, 0, False), (10, 0, False), (11, 1, False), (12, 1, False)]
    until = SMALL.until + timedelta(days=4)
    predecessor.record(small.connection, SMALL, SMALL.until, until)
    predecessor.keep_history(small.connection, SMALL, date(2025, 6, 12), date(2025, 6, 15))
    small.run("DELETE FROM ride_status_snapshots WHERE recorded_at < '2025-06-15 12:00'")
    cli("adopt", "--from", small.url, now=until)
    whole = [(9, 0, False), (10, 0, False), (11, 1, False)]
    gap = [(12, 0, False), (12, 1, True), (13, 0, False), (14, 0, False), (15, 0, False)]
    assert ledger() == whole + gap
    cli("aggregate", now=until + timedelta(days=1))
    assert ledger() == [*whole, *gap, (16, 1, False)]
    [(operating, down)] = small.run(
        "SELECT SUM(uptime_minutes), SUM(downtime_minutes) FROM ride_daily_stats"
        " WHERE stat_date BETWEEN '2025-06-12' AND '2025-06-15' AND ride_id IN (1, 2, 3, 6, 7, 8)"
    )
    assert counted(*(date(2025, 6, day) for day in range(12, 16))) == (operating, down)
    before = contents()
    cli("adopt", "--from", small.url, now=until + timedelta(days=1))
    assert contents() == before


def test_new_readings_and_tiers_do_not_spoil_adopted_days(cli: Callable[..., Result], small: Old) -> None:
    cli("adopt", "--from", small.url)
    cli("aggregate")
    small.run("UPDATE ride_classifications SET tier = 3")
    small.run("UPDATE ride_status_snapshots SET wait_time = 77 WHERE wait_time = 33")
    StatDay.update({StatDay.computed_at: 0}).execute()
    cli("adopt", "--from", small.url)
    assert ledger() == [(9, 0, False), (10, 0, False), (11, 1, True)]


def test_an_adopted_day_stands_where_a_local_day_is_not_over(database: Any, settings: Settings, history: Old) -> None:
    history.run("UPDATE parks SET timezone = 'Asia/Tokyo'")
    history.run("DELETE FROM park_schedules")
    night = datetime(2025, 6, 17, 8, tzinfo=UTC)  # 01:00 Pacific, 17:00 in Tokyo
    adopt(history, settings, now=night)
    yesterday = Standings(Question("yesterday", "all-parks", "shame_score", 50, night))
    assert [row["avg_wait_minutes"] for row in rankings.rides_by_wait(yesterday)] == [7.0]


def test_the_roster_of_a_computed_day_reaches_into_the_history(cli: Callable[..., Result], small: Old) -> None:
    small.run("DELETE FROM ride_status_snapshots WHERE ride_id = 3")
    small.run("DELETE FROM ride_daily_stats WHERE ride_id = 3")
    small.run(f"INSERT INTO ride_daily_stats ({predecessor.DAY_COLUMNS}) VALUES {HISTORY.splitlines()[2][4:-1]}")
    small.run("UPDATE ride_daily_stats SET stat_date = '2025-06-10' WHERE ride_id = 3")
    cli("adopt", "--from", small.url)
    cli("aggregate")
    computed = DailyParkStats.get(DailyParkStats.park == 1, DailyParkStats.stat_date == date(2025, 6, 11))
    assert (computed.metrics_version, computed.rides_tracked, computed.roster_weight) == (1, 2, 2 + 2 + 1)


def ledger() -> list[tuple[int, int, bool]]:
    """Day of the month, version, and whether it no longer holds."""
    entries = StatDay.select().order_by(StatDay.stat_date, StatDay.metrics_version)
    return [(entry.stat_date.day, entry.metrics_version, entry.dirty) for entry in entries]


def counted(*days: date) -> tuple[int, int]:
    """Minutes operating and down of all rides, as any answer counts them."""
    tallies = Tallies(instant(epoch(SMALL.until) + 10 * 86400))
    rides = tallies.rides(Span(days, ""), tallies.universe.parks.values()).values()
    return sum(ride.operating for ride in rides) * 5, sum(ride.down for ride in rides) * 5


# --- predecessors of another age -------------------------------------------------------------------------------------


def test_columns_and_tables_that_are_not_there(database: Any, settings: Settings, small: Old) -> None:
    plain = adopt_counts(adopt(small, settings, dry_run=True))
    for statement in (
        "ALTER TABLE rides DROP COLUMN tier, DROP COLUMN entity_type, DROP COLUMN last_operated_at",
        "ALTER TABLE parks DROP COLUMN is_disney, DROP COLUMN is_universal",
        "ALTER TABLE parks DROP COLUMN latitude, DROP COLUMN created_at",
        "ALTER TABLE ride_status_snapshots MODIFY recorded_at TIMESTAMP(6) NOT NULL, ADD COLUMN more INT",
        "ALTER TABLE ride_daily_stats DROP COLUMN metrics_version, DROP COLUMN peak_wait_time",
        "ALTER TABLE park_schedules DROP INDEX park_id, DROP COLUMN fetched_at",
        "DROP TABLE ride_classifications",
        "DROP TABLE weather_forecasts",
        "ALTER TABLE weather_observations DROP COLUMN collected_at, DROP COLUMN observation_id",
        "CREATE TABLE something_else AS SELECT 1 AS one",
    ):
        small.run(statement)
    report = adopt(small, settings)
    assert adopt_counts(report) == {**plain, "weather_forecasts": 0}
    assert report.stored == plain["readings"]
    assert [note for note in report.notes if "lacks" in note] == [
        "The predecessor lacks the table ride_classifications: nothing of that was adopted.",
        "The predecessor lacks the table weather_forecasts: nothing of that was adopted.",
    ]
    assert [row.count for row in report.left_behind if row.reason.endswith("something_else")] == [1]
    assert [park.park_type for park in Park.select()] == [ParkType.DISNEY, ParkType.UNIVERSAL]
    assert {ride.tier for ride in Ride.select()} == {None}
    assert WeatherObservation.get().collected_at == WeatherObservation.get().observation_time


def adopt_counts(report: AdoptionReport) -> dict[str, int]:
    """What a dry run knows too."""
    names = ("parks", "rides", "read", "readings", "superseded", "history_days")
    names += ("weather_observations", "weather_forecasts")
    return {name: getattr(report, name) for name in names}


def test_without_schedules_and_daily_history(database: Any, settings: Settings, small: Old) -> None:
    for table in ("park_schedules", "ride_daily_stats", "weather_observations", "weather_forecasts"):
        small.run(f"DROP TABLE {table}")
    report = adopt(small, settings)
    assert (report.schedule_rows, report.history_days, report.readings) == (0, 0, report.stored)
    assert len(report.notes) == 4


def test_of_several_versions_of_a_day_the_highest_counts(database: Any, settings: Settings, history: Old) -> None:
    history.run("ALTER TABLE ride_daily_stats DROP INDEX ride_id, ADD UNIQUE (ride_id, stat_date, metrics_version)")
    history.run(
        f"INSERT INTO ride_daily_stats ({predecessor.DAY_COLUMNS}, metrics_version) VALUES"
        " (2, '2025-06-16', 500, 100, 600, 7, 7, 7, 7, 0, 0, 3), (2, '2025-06-16', 1, 1, 2, 7, 7, 7, 7, 0, 0, 2)"
    )
    report = adopt(history, settings, now=TUESDAY)
    assert DailyStats.get(DailyStats.stat_date == date(2025, 6, 16)).total_downtime_minutes == 100
    assert {row.reason: row.count for row in report.left_behind}["Daily rows of superseded versions"] == 2


def test_odd_rows_are_left_and_named(database: Any, settings: Settings, small: Old) -> None:
    values = "(50, 50, NULL, 'Nowhere', 'X', 'US', 1, 'Mars/Base', NULL, 0, 0, 1, NOW(), NOW())"
    small.run(f"INSERT INTO parks ({predecessor.PARK_COLUMNS}) VALUES {values}")
    small.run(f"INSERT INTO rides ({predecessor.RIDE_COLUMNS}) VALUES {RIDE.format(90, 50, 'Lost')}")
    small.run("UPDATE rides SET tier = 7, entity_type = 'SHOW' WHERE ride_id = 3")
    closed = "UPDATE park_schedules SET closing_time = opening_time"
    small.run(f"{closed} WHERE park_id = 1 AND schedule_date = '2025-06-11'")
    small.run("UPDATE parks SET country = '' WHERE park_id = 2")
    found = {row.reason: (row.count, row.example) for row in adopt(small, settings).left_behind}
    assert found["Parks without a name or a known time zone, with all that belongs to them"] == (1, "'Nowhere'")
    assert found["Rides without a name or of no park, with all that belongs to them"] == (1, "'Lost', id 90")
    assert found["Tiers outside 1-3"] == (1, "7 of Ride 3")
    assert found["Schedule rows whose closing is not within 36 hours after the opening"] == (
        1,
        "OPERATING of park 1 on 2025-06-11",
    )
    assert Ride.get(Ride.ride_id == 3).category is Category.SHOW
    assert Park.get(Park.park_id == 2).country == "ZZ"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("sqlite:///old.db", 2, "--from begins with 'sqlite': only mysql://user:password@host:port/name can be"),
        ("postgresql://h/d", 2, "--from begins with 'postgresql': only mysql://"),
        ("old", 2, "--from begins with 'old': only mysql://"),
        ("mysql://root@127.0.0.1:3306", 2, "--from names no database"),
        ("mysql://root@127.0.0.1:x/y", 2, "--from: the port is not a number"),
        ("mysql://root:secret@127.0.0.1:1/old", 3, "The database cannot be reached ("),
    ],
)
def test_an_address_that_cannot_be_adopted(cli: Callable[..., Result], url: str, code: int, said: str) -> None:
    result = cli("adopt", "--from", url)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(said)
    assert "secret" not in result.stderr
    if code == 3:
        assert "check --from" in result.stderr


@pytest.mark.parametrize(
    ("spoil", "lack"),
    [
        ("DROP TABLE ride_status_snapshots", "the table ride_status_snapshots"),
        ("ALTER TABLE ride_status_snapshots DROP COLUMN recorded_at", "the column ride_status_snapshots.recorded_at"),
        ("DROP TABLE ride_classifications, rides, parks", "the table parks"),
    ],
)
def test_what_is_no_predecessor(cli: Callable[..., Result], small: Old, spoil: str, lack: str) -> None:
    small.run(spoil)
    result = cli("adopt", "--from", small.url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"--from is not a predecessor's database: {lack} is missing.\n"


def test_the_session_on_the_predecessor_cannot_write(settings: Settings, small: Old) -> None:
    before = small.checksums()
    with adopting.opened(settings, small.url):
        for statement in ("DELETE FROM rides", "CREATE TABLE x (y INT)", "UPDATE parks SET name = 'x'"):
            with pytest.raises(PeeweeException, match="1792|READ ONLY"):
                source.execute_sql(statement)
    assert small.checksums() == before


def test_readings_of_another_origin_are_kept_apart(cli: Callable[..., Result], small: Old) -> None:
    world = World(5)
    world.day_of(world.ride(world.park()), "OO", epoch(SMALL.until))
    world.store()
    before = contents()
    result = cli("adopt", "--from", small.url)
    assert result.exit_code == 2
    assert result.stderr.startswith("The database holds readings that were not adopted: adopt into a new one.")
    assert contents() == before
    assert cli("adopt", "--from", small.url, "--force").exit_code == 0
    assert cli("adopt", "--from", small.url).exit_code == 0  # it goes on with what was forced


def test_another_predecessor_is_not_mixed_in(cli: Callable[..., Result], small: Old) -> None:
    cli("adopt", "--from", small.url)
    before = contents()
    small.run("UPDATE parks SET created_at = created_at + INTERVAL 1 DAY")
    result = cli("adopt", "--from", small.url)
    assert result.exit_code == 2
    assert result.stderr.startswith("The database holds what was adopted from another predecessor")
    assert contents() == before
    report = json.loads(cli("adopt", "--from", small.url, "--json", "--force").stdout)
    assert report["unchanged"] == report["readings"] > 2000  # from the beginning


@pytest.mark.parametrize("minutes", ["2", "10"])
def test_an_interval_that_does_not_fit_is_refused_before_it_is_settled(
    cli: Callable[..., Result], small: Old, minutes: str
) -> None:
    result = cli("adopt", "--from", small.url, SNAPSHOT_INTERVAL_MINUTES=minutes)
    assert result.exit_code == 2
    assert f"readings are 5 minutes apart, but SNAPSHOT_INTERVAL_MINUTES is {minutes}" in result.stderr
    assert not Park.select().exists()
    assert cli("adopt", "--from", small.url, "--force", SNAPSHOT_INTERVAL_MINUTES=minutes).exit_code == 0
    assert cli("adopt", "--from", small.url).exit_code == 3  # it is settled now


def test_a_target_without_schema_is_exit_3(blank: Settings, small: Old) -> None:
    result = CliRunner().invoke(main, ["adopt", "--from", small.url], env={"DATABASE_URL": blank.database_url})
    assert result.exit_code == 3
    assert "run `cli migrate`" in result.stderr


# --- the command -----------------------------------------------------------------------------------------------------


def test_a_dry_run_counts_and_writes_nothing(cli: Callable[..., Result], small: Old) -> None:
    before = contents()
    dry = json.loads(cli("adopt", "--from", small.url, "--dry-run", "--json").stdout)
    assert contents() == before
    assert not AggregationJobLog.select().exists()
    assert (dry["dry_run"], dry["stored"], dry["parks"], dry["rides"]) == (True, 0, 2, 8)
    real = json.loads(cli("adopt", "--from", small.url, "--json").stdout)
    same = ("read", "readings", "superseded", "schedule_rows", "history_days", "first_reading", "last_reading")
    assert [dry[name] for name in same] == [real[name] for name in same]
    assert [dry["weather_observations"], dry["weather_forecasts"]] == [48, 192]
    dry_lines = cli("adopt", "--from", small.url, "--dry-run").stdout.splitlines()
    assert dry_lines[-1] == "Nothing was written."


def test_the_summary_says_what_to_do_next(cli: Callable[..., Result], small: Old) -> None:
    lines = cli("adopt", "--from", small.url).stdout.splitlines()
    assert lines[0] == "Parks: 2. Rides: 8. Schedule rows: 30."
    assert "Daily history: 2 days, 2025-06-09 to 2025-06-10; " in lines[4]
    assert lines[5] == "Yearly statistics of 2025 computed."
    assert "  2 x Single-rider queues, which are no rides (such as Ride 1 - Single Rider)" in lines
    assert lines[-1] == "Next: `cli aggregate` computes the statistics of the finished days."


def test_progress_has_a_rate_and_the_time_left(
    cli: Callable[..., Result], small: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.data.SECONDS_BETWEEN_LINES", 0)
    said = cli("adopt", "--from", small.url).stderr
    assert " readings/s, " in said and " s left" in said
