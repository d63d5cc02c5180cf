"""Hourly answers are what a table of stored hours would have held: its columns, computed here by SQL of the test's own.

The park's feed tells a breakdown from a closure and its hours are posted, so that conditional sums over the readings
inside the posted hours say all there is to know of an hour.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from factories import World
from wsgi_client import Client

from service import clock
from service.config import Settings
from service.database import db, is_mysql
from service.jobs import daily
from service.periods import instant, pacific_day
from service.web.app import create_app

ZONE = "America/New_York"
MINUTES, HOUR = 15, 3600
DAYS = (date(2025, 3, 8), date(2025, 3, 9), date(2025, 3, 10))  # the second has 23 hours
EARLIER = date(2025, 3, 3)  # seven days before the last of them: on its roster no more
TIERS = (1, 2, 3, None, 1)
RETIRED, SLEEPER, SHOW = 6, 7, 8  # ran on the earlier day only; never ran; is no attraction

OF_RIDES = """
SELECT
    s.ride_id,
    s.snapshot_time - s.snapshot_time {modulo} 3600 AS hour_start,
    COUNT(*) AS snapshot_count,
    SUM(CASE WHEN s.status = 1 THEN 1 ELSE 0 END) AS operating_snapshots,
    SUM(CASE WHEN s.status = 2 THEN 1 ELSE 0 END) AS down_snapshots,
    SUM(CASE WHEN s.status = 1 THEN s.wait_time ELSE NULL END) AS wait_sum,
    SUM(CASE WHEN s.status = 1 AND s.wait_time IS NOT NULL THEN 1 ELSE 0 END) AS wait_samples,
    CASE WHEN s.ride_id IN ({expected}) THEN 1 ELSE 0 END AS ride_operated
{readings}
GROUP BY s.ride_id, hour_start
"""
OF_THE_PARK = """
SELECT
    s.snapshot_time - s.snapshot_time {modulo} 3600 AS hour_start,
    COUNT(DISTINCT s.snapshot_time) AS slots,
    COUNT(*) AS readings,
    COUNT(DISTINCT CASE WHEN s.status = 1 THEN s.ride_id END) AS rides_operating,
    COUNT(DISTINCT CASE WHEN s.status = 2 THEN s.ride_id END) AS rides_down,
    SUM(CASE WHEN s.status = 1 THEN 1 ELSE 0 END) AS operating_snapshots,
    SUM(CASE WHEN s.status = 2 THEN 1 ELSE 0 END) AS down_snapshots,
    SUM(CASE WHEN s.status = 2 THEN {weight} ELSE 0 END) AS weighted_down,
    SUM(CASE WHEN s.status = 1 THEN s.wait_time ELSE NULL END) AS wait_sum,
    SUM(CASE WHEN s.status = 1 AND s.wait_time IS NOT NULL THEN 1 ELSE 0 END) AS wait_samples,
    (SELECT SUM({weight}) FROM rides r WHERE r.ride_id IN ({roster})) AS effective_park_weight
{readings}
GROUP BY hour_start
"""
READINGS = """
FROM ride_status_snapshots s
JOIN rides r ON r.ride_id = s.ride_id AND r.category = 1
JOIN park_schedules p ON p.park_id = r.park_id AND p.schedule_type = 1
    AND p.opening_at <= s.snapshot_time AND s.snapshot_time < p.closing_at
WHERE s.snapshot_time >= {start} AND s.snapshot_time < {end}
"""
OPERATED = "SELECT DISTINCT s.ride_id {readings} AND s.status IN (1, 2)"
WEIGHT = "CASE r.tier WHEN 1 THEN 3 WHEN 3 THEN 1 ELSE 2 END"

Columns = dict[str, Any]


def local(day: date, hour: float) -> int:
    """That hour on the park's clock; three hours before the Pacific one."""
    return pacific_day(day).start + int((hour - 3) * HOUR)


NOW = local(DAYS[-1], 17.3)


@pytest.fixture
def asking(database: Any, settings: Settings) -> Settings:
    """A park open till one at night, with eight rides of which little is regular; the past days are stored."""
    world, chance = World(MINUTES), random.Random(11)
    world.park("disney", ZONE)
    for number in range(1, SHOW + 1):
        tier = TIERS[number - 1] if number <= len(TIERS) else 1
        world.ride(1, tier=tier, category="SHOW" if number == SHOW else "ATTRACTION")
    for day in (EARLIER, *DAYS):
        world.open(1, day, local(day, 9) + 420, local(day, 25))
        world.open(1, day, local(day, 6), local(day, 9), "TICKETED_EVENT")
        for ride in range(1, SHOW + 1):
            often = {SLEEPER: "CCCR", RETIRED: "O" if day == EARLIER else "C"}.get(ride, "OOOODDCR.")
            letters = "".join(chance.choice(often) * chance.randint(1, 5) for _ in range(60))[: 22 * 4]
            waits = [chance.choice((None, 0, 5, 20, 45, 90)) for _ in letters]
            world.day_of(ride, letters, local(day, 6), waits)
    world.store()
    clock.replay(instant(NOW))
    daily.aggregate(instant(NOW))
    return replace(settings, snapshot_interval_minutes=MINUTES)


def table(sql: str, **parts: str) -> list[Columns]:
    """The rows of a statement by the names of its columns."""
    cursor = db.execute_sql(sql.format(modulo="%%" if is_mysql() else "%", weight=WEIGHT, **parts))
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def stored_hours(sql: str) -> list[Columns]:
    """What the job that filled the table would have written, hour after hour."""
    found: list[Columns] = []
    for day in DAYS:
        span = pacific_day(day)
        week = pacific_day(day - timedelta(days=6)).start
        readings = READINGS.format(start=span.start, end=min(span.end, NOW + 1))
        lately = READINGS.format(start=week, end=min(span.end, NOW + 1))
        expected, roster = OPERATED.format(readings=readings), OPERATED.format(readings=lately)
        found += table(sql, readings=readings, expected=expected, roster=roster)
    return found


def half_up(amount: Any, over: Any, places: int = 1) -> float | None:
    """The exact quotient, rounded; None over nothing."""
    if not over:
        return None
    return floor(Fraction(int(amount), int(over)) * 10**places + Fraction(1, 2)) / 10**places


def answered(settings: Settings, group_by: str, **more: str) -> list[Columns]:
    window = f"start={DAYS[0]}T00:00:00-08:00&end={DAYS[-1] + timedelta(days=1)}T00:00:00-07:00"
    others = [f"{name}={value}" for name, value in more.items()]
    query = "&".join([window, "bucket=1h", f"group_by={group_by}", *others])
    answer = Client(create_app(settings)).get(f"/api/analytics/series?{query}")
    assert answer.status == 200 and answer.json["next_cursor"] is None
    rows: list[Columns] = answer.json["data"]
    return rows


def hour_of(row: Columns) -> int:
    return int(datetime.fromisoformat(row["bucket_start"]).timestamp())


def test_every_ride_and_hour(asking: Settings) -> None:
    expected = {
        (row["ride_id"], row["hour_start"]): {
            "snapshot_count": row["snapshot_count"],
            "ride_operated": bool(row["ride_operated"]),
            "down_snapshots": row["down_snapshots"],
            "downtime_hours": half_up(row["down_snapshots"] * MINUTES, 60, 2),
            "uptime_percentage": half_up(
                100 * row["operating_snapshots"], row["operating_snapshots"] + row["down_snapshots"]
            ),
            "avg_wait_time_minutes": half_up(row["wait_sum"] or 0, row["wait_samples"]),
        }
        for row in stored_hours(OF_RIDES)
    }
    found = {
        (row["ride_id"], hour_of(row)): {
            "snapshot_count": row["samples"],
            "ride_operated": row["downtime_minutes"] is not None,
            "down_snapshots": (row["downtime_minutes"] or 0) // MINUTES,
            "downtime_hours": half_up(row["downtime_minutes"] or 0, 60, 2),
            "uptime_percentage": row["uptime_percentage"],
            "avg_wait_time_minutes": row["avg_wait_time"],
        }
        for row in answered(asking, "ride")
    }
    assert found == expected
    assert len(found) > 200
    assert {ride_id for ride_id, _ in found} == {1, 2, 3, 4, 5, RETIRED, SLEEPER}
    assert not any(row["ride_operated"] for (ride_id, _), row in found.items() if ride_id in (SLEEPER, RETIRED))


def test_every_hour_of_the_park(asking: Settings) -> None:
    expected = {
        row["hour_start"]: {
            "snapshot_count": row["readings"],
            "park_was_open": True,
            "shame_score": half_up(10 * row["weighted_down"], row["effective_park_weight"] * row["slots"]),
            "total_downtime_hours": half_up(row["down_snapshots"] * MINUTES, 60, 2),
            "uptime_percentage": half_up(
                100 * row["operating_snapshots"], row["operating_snapshots"] + row["down_snapshots"]
            ),
            "avg_wait_time_minutes": half_up(row["wait_sum"] or 0, row["wait_samples"]),
            "rides_operating": row["rides_operating"],
            "rides_down": row["rides_down"],
        }
        for row in stored_hours(OF_THE_PARK)
    }
    rides: dict[int, list[Columns]] = {}
    for ride in answered(asking, "ride"):
        rides.setdefault(hour_of(ride), []).append(ride)
    found = {
        hour_of(row): {
            "snapshot_count": row["samples"],
            "park_was_open": row["coverage"] > 0,
            "shame_score": row["shame_score"],
            "total_downtime_hours": half_up(row["downtime_minutes"], 60, 2),
            "uptime_percentage": row["uptime_percentage"],
            "avg_wait_time_minutes": row["avg_wait_time"],
            "rides_operating": sum(bool(ride["uptime_percentage"]) for ride in rides[hour_of(row)]),
            "rides_down": sum(bool(ride["downtime_minutes"]) for ride in rides[hour_of(row)]),
        }
        for row in answered(asking, "park")
    }
    assert found == expected
    assert len(found) > 35
    weights = {row["effective_park_weight"] for row in stored_hours(OF_THE_PARK)}
    assert weights == {11, 14}  # with the ride that ran a week ago, and without


@pytest.mark.parametrize("ride_id", range(1, SLEEPER + 1))
def test_a_ride_alone_says_the_same(asking: Settings, ride_id: int) -> None:
    together = [row for row in answered(asking, "ride") if row["ride_id"] == ride_id]
    assert answered(asking, "ride", ride_id=str(ride_id)) == together
