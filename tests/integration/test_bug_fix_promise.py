"""A corrected rule corrects history at once: hourly answers are judged when they are asked for, from what was observed.

Nothing is written, no job runs, and stored days do not stand in the way. Answers of whole past days come from stored
rows: those follow a correction when the days are computed again.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, NamedTuple

import pytest
from factories import World
from wsgi_client import Client

from service import clock, rules
from service.config import Settings
from service.database import db, fetch
from service.jobs import daily
from service.models import DailyStats, StatDay
from service.periods import instant, pacific_day
from service.queries.hours import as_date
from service.rules import ParkType, ScheduleType, Status
from service.web.app import create_app

TODAY, YESTERDAY, LAST_MONTH = DAYS = (date(2025, 6, 3), date(2025, 6, 2), date(2025, 5, 30))
FIRST_OF_CHART = 6  # the hour of a chart's first point
HOUR = 3600
POSTED, INFERRED = 1, 2  # parks
TELLS, WALK_ON, ASLEEP, GUESSED, LATE, LATER = range(1, 7)  # rides: three of the first park, three of the second
LETTERS = {  # of each ride and day from 10:00 on, an hour a word; the first park closes at 16:00, then has an event
    TELLS: "OOOO ODDO OOOO ORRO OcOO OOOO ODOO OOOO",
    WALK_ON: "oooo oooo oooo oooo oooo oooo",
    ASLEEP: "DDDD DDDD DDDD DDDD DDDD DDDD",
    GUESSED: "ODOO OOOO OODO OOOO OOOO OOOO",
    LATE: "CCCC OOOO OOOO OOOO OOOO OOOO",
    LATER: "CCCC OOOO OOOO OOOO OOOO OOOO",
}
WAITS: dict[int, list[int | None]] = {TELLS: [20, None, 20, None], WALK_ON: [0, 30, 0, 0], ASLEEP: []}

Values = dict[str, Any]


class Correction(NamedTuple):
    """A rule said anew, and what an hour of a ride is before and after: its row (None: there is none) and its point in
    a chart."""

    name: str
    rule: str
    corrected: Callable[..., Any]
    ride_id: int
    hour: int
    rows: tuple[Values | None, Values | None]
    chart: str
    points: tuple[float | None, float | None]

    @property
    def measures(self) -> str:
        """What is asked for; without a percentile, where a wait that is not known counts."""
        asked = {"downtime_minutes"}.union(*(row for row in self.rows if row)) - {"samples"}
        return ",".join(sorted(asked))


def told_only(slot: int, told: bool, first: int | None, last: int | None) -> bool:
    return told


def nothing_told(status: Any) -> bool:
    return False


def refurbishment_too(park_type: ParkType, status: Any, is_open: Any, wait: Any) -> Any:
    return is_possibly_down(park_type, status, is_open, wait) | (status == Status.REFURBISHMENT)


def unknown_is_walk_on(status: Any, is_open: Any, wait: Any) -> Any:
    return rules.is_operating(status, is_open, wait)


def zero_is_walk_on(status: Any, is_open: Any, wait: Any) -> Any:
    return rules.is_operating(status, is_open, wait) & (wait is not None)


def events_open_too(schedule_type: int, opening_at: int, closing_at: int) -> bool:
    return schedule_type in (ScheduleType.OPERATING, ScheduleType.TICKETED_EVENT)


def one_ride_is_enough(operating: int, reporting: int) -> bool:
    return operating > 0


is_possibly_down = rules.is_possibly_down


def down(minutes: int) -> Values:
    return {"samples": 4, "downtime_minutes": minutes}


CORRECTIONS = [
    Correction("a reopening proves nothing", "is_down", told_only, TELLS, 14, (down(15), down(0)), "rides", (0.25, 0)),
    Correction("DOWN is not down", "is_told_down", nothing_told, TELLS, 11, (down(30), down(0)), "rides", (0.5, 0)),
    Correction(
        "refurbishment between two openings is down", "is_possibly_down", refurbishment_too, TELLS, 13,
        (down(0), down(30)), "rides", (0, 0.5),
    ),
    Correction(
        "no wait is a wait of 0", "counts_as_wait", unknown_is_walk_on, TELLS, 10,
        ({"avg_wait_time": 20.0, "max_wait_time": 20}, {"avg_wait_time": 10.0, "max_wait_time": 20}),
        "ridewaittimes", (20, 10),
    ),
    Correction(
        "0 without a status is a wait", "counts_as_wait", zero_is_walk_on, WALK_ON, 10,
        ({"avg_wait_time": 30.0, "wait_p50": 30}, {"avg_wait_time": 7.5, "wait_p50": 0}),
        "ridewaittimes", (30, 7.5),
    ),
    Correction(
        "ticketed events open a park", "opens", events_open_too, TELLS, 16, (None, down(15)), "rides", (None, 0.25)
    ),
    Correction(
        "one ride opens a park", "looks_open", one_ride_is_enough, GUESSED, 10, (None, down(15)), "rides", (None, 0.25)
    ),
]  # fmt: skip


def at(day: date, hour: float) -> int:
    return pacific_day(day).start + int(hour * HOUR)


@pytest.fixture
def asking(database: Any, settings: Settings) -> Settings:
    """Three days alike, of which those that are over are stored."""
    world = World(15)
    assert (world.park("disney"), world.park("other")) == (POSTED, INFERRED)
    for ride_id, letters in LETTERS.items():
        assert world.ride(POSTED if ride_id in WAITS else INFERRED) == ride_id
        for day in DAYS:
            world.day_of(ride_id, letters.replace(" ", ""), at(day, 10), WAITS.get(ride_id, ()))
    for day in DAYS:
        world.open(POSTED, day, at(day, 10), at(day, 16))
        world.open(POSTED, day, at(day, 16), at(day, 18), "TICKETED_EVENT")
    world.store()
    now = instant(at(TODAY, 20))
    daily.aggregate(now)
    clock.replay(now)
    stored = {as_date(day) for (day,) in fetch(DailyStats.select(DailyStats.stat_date).distinct())}
    assert {YESTERDAY, LAST_MONTH} <= stored
    return replace(settings, snapshot_interval_minutes=15)


@contextmanager
def corrected(monkeypatch: pytest.MonkeyPatch, rule: str, said_anew: Callable[..., Any]) -> Iterator[None]:
    """The service with a rule said anew: a new process, that is, which remembers neither judgements nor statements."""
    with monkeypatch.context() as patch:
        patch.setattr(rules, rule, said_anew)
        forget()
        try:
            yield
        finally:
            forget()


def forget() -> None:
    """Empty every cache of a function in the service."""
    for name, module in list(sys.modules.items()):
        for value in vars(module).values() if name.partition(".")[0] == "service" else ():
            getattr(value, "cache_clear", lambda: None)()


def data(settings: Settings, path: str) -> Any:
    answer = Client(create_app(settings)).get(path)
    assert answer.status == 200, answer.body
    return answer.json


def hourly(settings: Settings, day: date, group_by: str, measures: str) -> dict[tuple[int, int], Values]:
    """A day's rows by group and hour."""
    window = f"start={day}T00:00:00-07:00&end={day + timedelta(days=1)}T00:00:00-07:00"
    asked = f"{window}&bucket=1h&group_by={group_by}&measures={measures}"
    answer = data(settings, f"/api/analytics/series?{asked}")
    assert answer["next_cursor"] is None
    return {(row[f"{group_by}_id"], int(row["bucket_start"][11:13])): row for row in answer["data"]}


def point(settings: Settings, chart: str, period: str, ride_id: int, hour: int) -> float | None:
    answer = data(settings, f"/api/trends/chart-data?type={chart}&period={period}&filter=all-parks")
    (line,) = (line for line in answer["chart_data"]["datasets"] if line["entity_id"] == ride_id)
    found: float | None = line["data"][hour - FIRST_OF_CHART]
    return found


def everything() -> dict[str, list[str]]:
    """All rows of all tables."""
    return {name: sorted(map(repr, db.execute_sql(f"SELECT * FROM {name}").fetchall())) for name in db.get_tables()}


def ensure(correction: Correction, settings: Settings, is_after: bool) -> None:
    """Every answer says what the rules say, before the correction or after it."""
    row, value = correction.rows[is_after], correction.points[is_after]
    for day in DAYS:
        rides = hourly(settings, day, "ride", correction.measures)
        found = rides.get((correction.ride_id, correction.hour))
        assert (found is None) == (row is None), day
        assert found is None or found.items() >= (row or {}).items(), day
        for (park_id, hour), park in hourly(settings, day, "park", correction.measures).items():
            of_park = [rides.get((ride_id, hour)) for ride_id in LETTERS if (ride_id in WAITS) == (park_id == POSTED)]
            assert park["downtime_minutes"] == sum((ride["downtime_minutes"] or 0) for ride in of_park if ride)
            assert park["samples"] == sum(ride["samples"] for ride in of_park if ride)
    for period in ("today", "yesterday"):
        assert point(settings, correction.chart, period, correction.ride_id, correction.hour) == value, period


@pytest.mark.parametrize("correction", [
    pytest.param(one, id=one.name.replace(" ", "-")) for one in CORRECTIONS
])
def test_a_corrected_rule_shows_at_once(
    asking: Settings, monkeypatch: pytest.MonkeyPatch, correction: Correction
) -> None:
    rows, statements = everything(), []
    bound: Any = db.obj
    bound.query_hooks.append(lambda event: statements.append(event.sql))
    ensure(correction, asking, is_after=False)
    with corrected(monkeypatch, correction.rule, correction.corrected):
        ensure(correction, asking, is_after=True)
    ensure(correction, asking, is_after=False)
    bound.query_hooks.pop()
    assert len(statements) > 50
    assert [sql for sql in statements if not re.match(r"\(?SELECT\b|SET TRANSACTION ISOLATION LEVEL", sql)] == []
    assert everything() == rows


def test_stored_days_follow_when_they_are_computed_again(asking: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def ranked() -> float | None:
        rides = data(asking, "/api/rides/downtime?period=yesterday")["data"]
        return next((ride["downtime_hours"] for ride in rides if ride["ride_id"] == TELLS), None)

    assert ranked() == 0.75
    with corrected(monkeypatch, "is_down", told_only):
        assert ranked() == 0.75
        daily.compute_day(YESTERDAY, instant(at(TODAY, 20)), daily.Task(rules.METRICS_VERSION))
        assert ranked() == 0.5


def test_a_roster_follows_when_its_days_are_computed_again(asking: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is down follows at once; the rides that a finished day's score is divided by stand in its row."""

    def scores() -> list[float]:
        return [hourly(asking, day, "park", "downtime_minutes,shame_score")[POSTED, 14]["shame_score"] for day in DAYS]

    assert scores() == [4.2, 4.2, 4.2]  # 10 x (2 x 1 slot + 2 x 4 slots) / (6 x 4 slots)
    with corrected(monkeypatch, "is_told_down", nothing_told):
        assert scores() == [0.8, 0.8, 0.8]  # 10 x 2 x 1 slot / (6 x 4 slots)
        StatDay.update(dirty=True).execute()
        daily.aggregate(instant(at(TODAY, 20)))
        assert scores() == [1.3, 1.3, 1.3]  # / (4 x 4 slots): the ride asleep was never on the roster
