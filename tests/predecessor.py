"""A database of the predecessor, invented: its tables, and parks whose readings follow from ride and time alone.

`python -m tests.predecessor --readings 1000000 mysql://root@127.0.0.1:3306/old` builds one of any size, in place of
one of that name.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import pymysql  # type: ignore[import-untyped]

PACIFIC = ZoneInfo("America/Los_Angeles")
STEP = 300
BATCH = 5000
CREATED = datetime(2024, 11, 1, 12)

# name, country, zone, operator, whether its feed gives a status
KINDS = (
    ("Castle", "US", "America/Los_Angeles", "Disney", True),
    ("Globe", "US", "America/New_York", "Universal", True),
    ("Peak", "US", "America/New_York", "Cedar Fair", True),
    ("Cove", "FR", "Europe/Paris", "Independent", False),
    ("Tower", "JP", "Asia/Tokyo", "Independent", False),
    ("Flags", "US", "America/Chicago", "Six Flags", False),
)

TABLES = """
CREATE TABLE parks (
  park_id INT AUTO_INCREMENT PRIMARY KEY, queue_times_id INT NOT NULL UNIQUE, themeparks_wiki_id CHAR(36),
  name VARCHAR(255) NOT NULL, city VARCHAR(100) NOT NULL, state_province VARCHAR(100), country VARCHAR(2) NOT NULL,
  latitude DECIMAL(10,8), longitude DECIMAL(11,8), timezone VARCHAR(50) NOT NULL DEFAULT 'America/New_York',
  operator VARCHAR(100), is_disney BOOLEAN NOT NULL DEFAULT 0, is_universal BOOLEAN NOT NULL DEFAULT 0,
  is_active BOOLEAN NOT NULL DEFAULT 1, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL);
CREATE TABLE rides (
  ride_id INT AUTO_INCREMENT PRIMARY KEY, queue_times_id INT NOT NULL UNIQUE, themeparks_wiki_id CHAR(36),
  park_id INT NOT NULL, name VARCHAR(255) NOT NULL,
  entity_type ENUM('ATTRACTION','SHOW','RESTAURANT') DEFAULT 'ATTRACTION',
  category ENUM('ATTRACTION','MEET_AND_GREET','SHOW','EXPERIENCE') DEFAULT 'ATTRACTION',
  land_area VARCHAR(100), tier TINYINT, is_active BOOLEAN DEFAULT 1, last_operated_at DATETIME,
  created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL, FOREIGN KEY (park_id) REFERENCES parks (park_id));
CREATE TABLE ride_classifications (
  classification_id INT AUTO_INCREMENT PRIMARY KEY, ride_id INT NOT NULL UNIQUE, tier TINYINT NOT NULL,
  tier_weight TINYINT NOT NULL,
  category ENUM('ATTRACTION','MEET_AND_GREET','SHOW','EXPERIENCE') NOT NULL DEFAULT 'ATTRACTION',
  confidence_score DECIMAL(3,2), FOREIGN KEY (ride_id) REFERENCES rides (ride_id));
CREATE TABLE ride_status_snapshots (
  snapshot_id BIGINT AUTO_INCREMENT PRIMARY KEY, ride_id INT NOT NULL, recorded_at DATETIME NOT NULL, is_open BOOLEAN,
  wait_time INT, computed_is_open BOOLEAN NOT NULL, status ENUM('OPERATING','DOWN','CLOSED','REFURBISHMENT'),
  last_updated_api DATETIME, KEY (ride_id, recorded_at), KEY (recorded_at));
CREATE TABLE park_activity_snapshots (
  snapshot_id BIGINT AUTO_INCREMENT PRIMARY KEY, park_id INT NOT NULL, recorded_at DATETIME NOT NULL,
  park_appears_open BOOLEAN NOT NULL, shame_score DECIMAL(4,1));
CREATE TABLE park_schedules (
  schedule_id INT AUTO_INCREMENT PRIMARY KEY, park_id INT NOT NULL, schedule_date DATE NOT NULL,
  opening_time DATETIME, closing_time DATETIME,
  schedule_type ENUM('OPERATING','TICKETED_EVENT','PRIVATE_EVENT','EXTRA_HOURS','INFO') NOT NULL,
  fetched_at DATETIME, UNIQUE (park_id, schedule_date, schedule_type));
CREATE TABLE ride_daily_stats (
  stat_id INT AUTO_INCREMENT PRIMARY KEY, ride_id INT, stat_date DATE NOT NULL, uptime_minutes INT NOT NULL DEFAULT 0,
  downtime_minutes INT NOT NULL DEFAULT 0, uptime_percentage DECIMAL(5,2) NOT NULL DEFAULT 0,
  operating_hours_minutes INT NOT NULL DEFAULT 0, avg_wait_time DECIMAL(5,2), min_wait_time INT, max_wait_time INT,
  peak_wait_time INT, status_changes INT NOT NULL DEFAULT 0, longest_downtime_minutes INT,
  metrics_version INT NOT NULL DEFAULT 1, UNIQUE (ride_id, stat_date), KEY (stat_date));
CREATE TABLE park_daily_stats (
  stat_id INT AUTO_INCREMENT PRIMARY KEY, park_id INT NOT NULL, stat_date DATE NOT NULL, shame_score DECIMAL(6,3),
  UNIQUE (park_id, stat_date));
CREATE TABLE weather_observations (
  observation_id INT AUTO_INCREMENT PRIMARY KEY, park_id INT NOT NULL, observation_time DATETIME NOT NULL,
  collected_at DATETIME, temperature_c DECIMAL(5,2), temperature_f DECIMAL(5,2), wind_speed_kmh DECIMAL(5,2),
  precipitation_mm DECIMAL(6,2), humidity_percent INT, weather_code INT, UNIQUE (park_id, observation_time));
CREATE TABLE weather_forecasts (
  forecast_id INT AUTO_INCREMENT PRIMARY KEY, park_id INT NOT NULL, issued_at DATETIME NOT NULL,
  forecast_time DATETIME NOT NULL, temperature_c DECIMAL(5,2), precipitation_probability INT, weather_code INT,
  UNIQUE (park_id, issued_at, forecast_time));
CREATE TABLE park_live_rankings (park_id INT PRIMARY KEY, shame_score DECIMAL(4,1));
CREATE TABLE aggregation_log (log_id INT AUTO_INCREMENT PRIMARY KEY, aggregation_date DATE NOT NULL)
"""


@dataclass(frozen=True)
class Shape:
    """How large it is, and when. Of each park's rides the last but one is a single-rider queue, the last a show."""

    parks: int = 6
    rides: int = 6
    readings_from: datetime = datetime(2025, 6, 10, 21, tzinfo=UTC)  # in the middle of a Pacific day
    until: datetime = datetime(2025, 6, 17, 17, tzinfo=UTC)
    history_days: int = 20  # that end on the Pacific day before `until`
    weather_days: int = 3

    def zone(self, park_id: int) -> ZoneInfo:
        return ZoneInfo(KINDS[(park_id - 1) % len(KINDS)][2])

    def has_status(self, park_id: int) -> bool:
        return KINDS[(park_id - 1) % len(KINDS)][4]

    def rides_of(self, park_id: int) -> range:
        return range((park_id - 1) * self.rides + 1, park_id * self.rides + 1)

    @property
    def today(self) -> date:
        """The Pacific day of `until`."""
        return self.until.astimezone(PACIFIC).date()


def sized(readings: int) -> Shape:
    """A shape of about so many readings; large ones have twenty parks of twenty-five rides."""
    small = readings < 200_000
    parks, rides = (6, 6) if small else (20, 25)
    slots = readings // (parks * rides)
    return Shape(parks, rides, readings_from=Shape.until - timedelta(seconds=slots * STEP))


def build(connection: Any, shape: Shape) -> None:
    """Create and fill all tables of an empty database."""
    for statement in TABLES.strip().split(";\n"):
        run(connection, statement)
    _fill(connection, "parks", PARK_COLUMNS, _parks(shape))
    _fill(connection, "rides", RIDE_COLUMNS, _rides(shape))
    _fill(connection, "ride_classifications", "ride_id, tier, tier_weight, category", _classifications(shape))
    first = shape.readings_from.date() - timedelta(days=1)
    _fill(connection, "park_schedules", SCHEDULE_COLUMNS, _schedules(shape, first))
    record(connection, shape, shape.readings_from, shape.until)
    end = shape.today - timedelta(days=1)
    keep_history(connection, shape, end - timedelta(days=shape.history_days - 1), end)
    _fill(connection, "weather_observations", OBSERVATION_COLUMNS, _observations(shape))
    _fill(connection, "weather_forecasts", FORECAST_COLUMNS, _forecasts(shape))
    run(connection, "INSERT INTO park_live_rankings VALUES (1, 3.2), (2, 1.0)")
    run(connection, "INSERT INTO park_activity_snapshots VALUES (NULL, 1, NOW(), 1, 3.2)")
    run(connection, "INSERT INTO park_daily_stats VALUES (NULL, 1, '2025-06-01', 9.9)")


def record(connection: Any, shape: Shape, start: datetime, end: datetime) -> None:
    """Add the readings of [start, end)."""
    columns = "ride_id, recorded_at, is_open, status, wait_time, computed_is_open"
    _fill(connection, "ride_status_snapshots", columns, _readings(shape, start, end))


def keep_history(connection: Any, shape: Shape, first: date, last: date) -> None:
    """Add the daily rows of these Pacific days."""
    _fill(connection, "ride_daily_stats", DAY_COLUMNS, _days(shape, first, last))


def run(connection: Any, sql: str, values: tuple[object, ...] | None = None) -> list[Any]:
    """The rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def _fill(connection: Any, table: str, columns: str, rows: Iterator[tuple[Any, ...]]) -> None:
    sql = f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * (columns.count(',') + 1))})"
    batch: list[tuple[Any, ...]] = []
    connection.begin()
    with connection.cursor() as cursor:
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                cursor.executemany(sql, batch)
                batch.clear()
        if batch:
            cursor.executemany(sql, batch)
    connection.commit()


# --- what there is ---------------------------------------------------------------------------------------------------

PARK_COLUMNS = (
    "park_id, queue_times_id, themeparks_wiki_id, name, city, country, latitude, timezone, operator, is_disney,"
    " is_universal, is_active, created_at, updated_at"
)
RIDE_COLUMNS = (
    "ride_id, queue_times_id, themeparks_wiki_id, park_id, name, category, land_area, tier, is_active,"
    " last_operated_at, created_at, updated_at"
)
SCHEDULE_COLUMNS = "park_id, schedule_date, opening_time, closing_time, schedule_type"
DAY_COLUMNS = (
    "ride_id, stat_date, uptime_minutes, downtime_minutes, operating_hours_minutes, avg_wait_time, min_wait_time,"
    " max_wait_time, peak_wait_time, status_changes, longest_downtime_minutes"
)
OBSERVATION_COLUMNS = "park_id, observation_time, collected_at, temperature_c, wind_speed_kmh, humidity_percent"
FORECAST_COLUMNS = "park_id, issued_at, forecast_time, temperature_c, precipitation_probability"


def _parks(shape: Shape) -> Iterator[tuple[Any, ...]]:
    for park_id in range(1, shape.parks + 1):
        name, country, zone, operator, has_status = KINDS[(park_id - 1) % len(KINDS)]
        wiki = f"AA000000-0000-0000-0000-{park_id:012}" if has_status else None
        flags = operator == "Disney", operator == "Universal", park_id != 6
        place = f"{name} {park_id}", "Town", country, 33.5 + park_id / 8, zone, operator
        yield park_id, 1000 + park_id, wiki, *place, *flags, CREATED, CREATED


def _rides(shape: Shape) -> Iterator[tuple[Any, ...]]:
    for park_id in range(1, shape.parks + 1):
        *rides, queue, show = shape.rides_of(park_id)
        for ride_id in (*rides, queue, show):
            wiki = f"bb000000-0000-0000-0000-{ride_id:012}" if shape.has_status(park_id) else None
            name = f"Ride {rides[0]} - Single Rider" if ride_id == queue else f"Ride {ride_id}"
            kind = ("SHOW" if ride_id == show else "ATTRACTION"), "Harbour", ride_id % 4 or None, ride_id % 11 != 0
            yield ride_id, 5000 + ride_id, wiki, park_id, name, *kind, CREATED, CREATED, CREATED


def _classifications(shape: Shape) -> Iterator[tuple[Any, ...]]:
    for ride_id in range(1, shape.parks * shape.rides, 4):
        category = "ATTRACTION" if ride_id % shape.rides else "SHOW"
        yield ride_id, 1 + ride_id % 3, 3 - ride_id % 3, category


def _schedules(shape: Shape, first: date) -> Iterator[tuple[Any, ...]]:
    for park_id in range(1, shape.parks + 1):
        if park_id % len(KINDS) == 0:
            continue  # one without a schedule
        for offset in range((shape.until.date() - first).days + 8):
            day = first + timedelta(days=offset)
            opens, closes = (
                datetime.combine(day, time(hour), shape.zone(park_id)).astimezone(UTC).replace(tzinfo=None)
                for hour in (9, 21)
            )
            yield park_id, day, opens, closes, "OPERATING"
            if offset % 3 == 0:
                yield park_id, day, None, None, "INFO"


def _readings(shape: Shape, start: datetime, end: datetime) -> Iterator[tuple[Any, ...]]:
    """A cycle each five minutes, some seconds late; each 40th is followed by another, which is stored before it."""
    for at in range(-(-int(start.timestamp()) // STEP) * STEP, int(end.timestamp()), STEP):
        cycle = at // STEP
        if cycle % 40 == 0:
            yield from _cycle(shape, at, 131)
        yield from _cycle(shape, at, 17)
        if cycle % 30 == 0:
            yield 99_999, _naive(at + 17), True, None, 5, True  # a ride that no table knows
            yield 1, _naive(at + 250), None, None, None, False  # says nothing


def _cycle(shape: Shape, at: int, late: int) -> Iterator[tuple[Any, ...]]:
    for park_id in range(1, shape.parks + 1):
        moment = _naive(at + late + park_id % 40)
        hour = datetime.fromtimestamp(at, shape.zone(park_id)).hour
        for ride_id in shape.rides_of(park_id):
            runs = 9 <= hour < 21 and not _breaks(ride_id, at, late)
            wait = (ride_id * 7 + at // STEP * 13 + late) % 61 if runs else None
            if wait is not None and (ride_id + at // STEP) % 211 == 0:
                wait = 995 if ride_id % 2 else -5
            if shape.has_status(park_id):
                broken = "DOWN" if park_id % len(KINDS) in (1, 2) and 9 <= hour < 21 else "CLOSED"
                yield ride_id, moment, runs, "OPERATING" if runs else broken, wait, runs
            else:
                yield ride_id, moment, runs, None, wait or 0, runs


def _breaks(ride_id: int, at: int, late: int) -> bool:
    """About once a day each ride is down for some of its slots; what a second look sees may differ."""
    return (at // STEP + ride_id * 37) % 290 < 3 + ride_id % 9 + (late > 100)


def _days(shape: Shape, first: date, last: date) -> Iterator[tuple[Any, ...]]:
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        for ride_id in range(1, shape.parks * shape.rides + 1):
            seed = ride_id * 31 + day.toordinal()
            up, down = 5 * (90 + seed % 40), 5 * (seed % 7) * (seed % 3 > 0)
            if seed % 17 == 0:
                yield ride_id, day, 0, 0, 0, None, None, None, None, 0, None  # the row of a ride without readings
            else:
                waits = 20 + seed % 30 + 0.25, 0, 60 + seed % 30, 95
                yield ride_id, day, up, down, up + down, *waits, 2 * (down > 0), 5 if down else None


def _observations(shape: Shape) -> Iterator[tuple[Any, ...]]:
    for hour in range(24 * shape.weather_days):
        at = _naive(int(shape.until.timestamp()) // 3600 * 3600 - hour * 3600)
        for park_id in range(1, shape.parks + 1):
            yield park_id, at, at + timedelta(minutes=7), 12 + (hour + park_id) % 20 / 4, 8.5, 40 + hour % 50


def _forecasts(shape: Shape) -> Iterator[tuple[Any, ...]]:
    for issue in range(4 * shape.weather_days):
        issued = _naive(int(shape.until.timestamp()) - issue * 6 * 3600)
        for ahead in range(24):
            for park_id in range(1, shape.parks + 1):
                yield park_id, issued, issued + timedelta(hours=ahead), 15 + ahead / 4, (issue * 7 + ahead) % 101


def _naive(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None)


def main() -> None:
    """Build one from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="mysql://user:password@host:port/name; replaced if it exists")
    parser.add_argument("--readings", type=int, default=60_000)
    asked = parser.parse_args()
    parts = urlsplit(asked.url)
    name = parts.path.lstrip("/").replace("`", "")
    connection = pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        autocommit=True,
    )
    run(connection, f"DROP DATABASE IF EXISTS `{name}`")
    run(connection, f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    connection.select_db(name)
    build(connection, sized(asked.readings))
    [(count,)] = run(connection, "SELECT COUNT(*) FROM ride_status_snapshots")
    print(f"{count:,} readings")


if __name__ == "__main__":
    main()
