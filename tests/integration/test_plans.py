"""Every critical query uses the index meant for it, with all its columns: the server says so itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from peewee import fn

from factories import World
from service import clock
from service.config import Settings
from service.database import db, fetch, is_mysql, upsert
from service.jobs import daily
from service.periods import instant
from service.queries import live, rankings
from service.queries.days import Tallies
from service.queries.hours import as_date
from service.queries.rankings import Question, Standings
from service.web.app import create_app
from wsgi_client import Client

STEP = 30 * 60
START = 1_749_567_600 - 1_749_567_600 % STEP  # 2025-06-10 15:00 UTC
DAYS = 3


@pytest.fixture
def now(database: Any) -> int:
    """Enough readings of enough rides that reading all of them would be the wrong plan."""
    world = World(30)
    for number in range(8):
        park = world.park("other")
        rides = [world.ride(park) for _ in range(10)]
        for day in range(DAYS):
            start = START + day * 86400
            world.open(park, instant(start).date(), start, start + 12 * 3600) if number else None
            for ride in rides:
                world.day_of(ride, ("OOCOOOCCOODO" if ride % 10 else "OOC.COCCOODO") * 4, start)
    world.store()
    if is_mysql():
        db.execute_sql("ANALYZE TABLE ride_status_snapshots, park_activity_snapshots, daily_stats, daily_park_stats")
    return START + (DAYS - 1) * 86400 + 8 * 3600


def plans(ask: Any, table: str) -> list[tuple[str, str]]:
    """(statement, plan) of every SELECT on `table` that `ask` runs. A plan names the index and the columns it uses."""
    asked: list[tuple[str, Any]] = []
    bound = db.obj
    assert bound is not None
    bound.query_hooks.append(lambda event: asked.append((event.sql, event.params)))
    try:
        ask()
    finally:
        bound.query_hooks.pop()
    selects = [(sql, params) for sql, params in asked if re.search(rf"^SELECT.*[`\"]{table}[`\"]", sql)]
    return [(sql, _plan(sql, params)) for sql, params in selects]


def _plan(sql: str, params: Any) -> str:
    if is_mysql():
        columns = ("id", "kind", "table", "type", "possible", "key", "key_len", "ref", "rows", "extra")
        rows = [dict(zip(columns, row, strict=False)) for row in db.execute_sql(f"EXPLAIN {sql}", params).fetchall()]
        return " / ".join(f"{row['type']} {row['key']} {row['key_len']} {row['extra']}" for row in rows)
    return " / ".join(str(row[3]) for row in db.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params).fetchall())


def _repeat_for_a_year(table: str, columns: list[Any]) -> None:
    """The first day's rows on each of the 300 days before, so that a month is a small part of the table."""
    model = columns[0].model
    first = model.select(fn.MIN(model.stat_date)).scalar()
    rows = fetch(model.select(*columns).where(model.stat_date == first))
    for days in range(1, 301):
        upsert(model, columns, [(as_date(row[0]) - timedelta(days=days), *row[1:]) for row in rows], key=columns[:3])
    if is_mysql():
        db.execute_sql(f"ANALYZE TABLE {table}")


def uses_ride_first(plan: str) -> bool:
    """The covering index by ride and time: both columns bound (4 + 8 bytes; 3 more where the status is asked for),
    the table itself never touched."""
    if is_mysql():
        return bool(re.search(r"range \S*ride_id_snapshot_time\S* (12|15) .*Using index", plan))
    return "COVERING INDEX" in plan and "(ride_id=? AND snapshot_time>? AND snapshot_time<?)" in plan


def looks_up_slots(plan: str) -> bool:
    """Some slots of some rides, by the whole primary key."""
    if is_mysql():
        return bool(re.search(r"range PRIMARY 12 ", plan))
    return "PRIMARY KEY (snapshot_time=? AND ride_id=?)" in plan


def reads_no_table(plan: str) -> bool:
    """No step of the plan goes through all of a table or of an index."""
    return not re.search(r"(^|/ )(ALL|index) " if is_mysql() else r"\bSCAN\b", plan)


def test_counting_a_day_reads_only_the_covering_index(now: int) -> None:
    def ask() -> None:
        tallies = Tallies(instant(now))
        for park in tallies.universe.parks.values():
            tallies.park_day(park, daily.pacific_date(now))

    found = [(sql, plan) for sql, plan in plans(ask, "ride_status_snapshots") if "IN (" in sql]
    assert len(found) > 10
    for sql, plan in found:
        assert uses_ride_first(plan), (plan, sql)


SHAPES: dict[str, Callable[[str], bool]] = {  # of statements, by what only they say
    "counts": lambda sql: "MAX(" in sql,
    "waits": lambda sql: re.search(r"GROUP BY.*wait_time.$", sql) is not None,
    "slots observed": lambda sql: "DISTINCT" in sql,
    "opening hours": lambda sql: "CASE" in sql and "GROUP BY" in sql,
    "possible outages": lambda sql: "ORDER BY" in sql,
    "silences": lambda sql: " IN (" not in sql,
}
OF_OUTAGES = {"possible outages", "silences"}
WINDOWS = {  # each question, and what it asks the database
    "series?group_by=ride&ride_id=10&bucket=1h": {"counts", "waits", "slots observed", *OF_OUTAGES},
    "series?group_by=ride&ride_id=10&bucket=30m&measures=avg_wait_time": {"counts"},
    "series?group_by=ride&ride_id=10&measures=downtime_minutes": {"counts", *OF_OUTAGES},
    "series?group_by=park&park_id=1&bucket=30m": {"counts", "waits", "opening hours", *OF_OUTAGES},
    "series?group_by=ride&park_id=2&bucket=30m&measures=wait_p95": {"counts", "waits"},
    "series?group_by=park&time_of_day=08:00-10:30&timezone=park": {"counts", "waits", *OF_OUTAGES},
    "series?group_by=weekday&weekdays=tue,wed&bucket=1d&measures=wait_p50": {"waits", "slots observed"},
    "series?group_by=hour&format=csv": {"counts", "waits", *OF_OUTAGES},
    "rides/10/outages": {"counts", *OF_OUTAGES},
    "parks/1/outages": {"counts", "opening hours", *OF_OUTAGES},
}


@pytest.mark.parametrize("asked", WINDOWS)
def test_a_window_reads_only_the_covering_index(now: int, settings: Settings, asked: str) -> None:
    clock.replay(instant(now))
    client = Client(create_app(replace(settings, snapshot_interval_minutes=30)))
    window = "&".join(f"{name}={quote(instant(at).isoformat())}" for name, at in (("start", START), ("end", now)))
    path = asked.replace("series", "analytics/series")
    url = f"/api/{path}{'&' if '?' in path else '?'}{window}"

    def ask() -> None:
        answer = client.get(url)
        assert answer.status == 200 and len(answer.body) > 500, answer.body

    found = [(sql, plan) for sql, plan in plans(ask, "ride_status_snapshots") if "WHERE" in sql]
    for sql, plan in found:
        assert uses_ride_first(plan) or looks_up_slots(plan), (plan, sql)
        assert reads_no_table(plan), (plan, sql)
    assert {shape for shape, is_one in SHAPES.items() if any(is_one(sql) for sql, _ in found)} >= WINDOWS[asked]


def test_the_oldest_reading_is_found_without_reading_the_table(now: int) -> None:
    found = [plan for sql, plan in plans(lambda: Tallies(instant(now)), "ride_status_snapshots") if "MIN(" in sql]
    assert found
    for plan in found:
        assert "optimized away" in plan if is_mysql() else "SEARCH" in plan, plan


def test_the_live_slot_is_one_short_range_of_the_primary_key(now: int) -> None:
    found = plans(lambda: live.status_summary("all-parks", None, instant(now)), "ride_status_snapshots")
    slots = [(sql, plan) for sql, plan in found if "`snapshot_time` = " in sql or '"snapshot_time" = ' in sql]
    assert slots
    for sql, plan in slots:
        assert ("ref PRIMARY 8" in plan) if is_mysql() else ("PRIMARY KEY (snapshot_time=?)" in plan), (plan, sql)


def test_past_periods_read_only_daily_rows_by_day(now: int) -> None:
    daily.aggregate(instant(now) + timedelta(days=20))
    for table, columns in (("daily_stats", daily.RIDE_COLUMNS), ("daily_park_stats", daily.PARK_COLUMNS)):
        _repeat_for_a_year(table, columns)

    def ask() -> None:
        later = instant(now) + timedelta(days=25)
        asked = Standings(Question("last_month", "all-parks", "uptime_percentage", 50, later))
        rankings.parks_by_downtime(asked)
        rankings.rides_by_downtime(asked)

    assert not [sql for sql, _ in plans(ask, "ride_status_snapshots") if "MIN(" not in sql]
    for table in ("daily_stats", "daily_park_stats"):
        found = plans(ask, table)
        assert found
        for sql, plan in found:
            assert ("PRIMARY" in plan) if is_mysql() else ("stat_date=?" in plan or "stat_date>" in plan), (plan, sql)
