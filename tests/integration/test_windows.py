"""Windows of time beside the reference: bounds, days whose readings are gone, pages that cost what they show."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from factories import World
from wsgi_client import Client

from service import clock
from service import database as door
from service.config import Settings
from service.jobs import daily
from service.models import RideStatusSnapshot
from service.periods import instant, iso_utc, pacific_day
from service.queries import windows
from service.web.app import create_app

FIRST = date(2025, 6, 2)
DAYS = [FIRST + timedelta(days=number) for number in range(10)]
LETTERS = "OODDOOOOOCOO"  # of a ride, half hours from 10:00 on
MEASURES = "downtime_minutes,uptime_percentage,shame_score,avg_wait_time,max_wait_time"


def at(day: date, hour: float) -> int:
    return pacific_day(day).start + int(hour * 3600)


@pytest.fixture
def client(database: Any, settings: Settings) -> Client:
    """Two parks of two rides, open 10:00 to 16:00 for ten days, the last one today."""
    world = World(30)
    for number in range(2):
        park = world.park("disney" if number else "other")
        for ride in (world.ride(park, tier=1), world.ride(park)):
            for day in DAYS:
                world.day_of(ride, LETTERS, at(day, 10), [5 * ride, 10, None, None, 20 + day.day])
        for day in DAYS:
            world.open(park, day, at(day, 10), at(day, 16))
    world.store()
    clock.replay(instant(at(DAYS[-1], 20)))
    return Client(create_app(Settings(settings.database_url, snapshot_interval_minutes=30)))


def ask(client: Client, first: date, last: date, **more: object) -> Any:
    start, end = pacific_day(first).start, pacific_day(last).end
    query = urlencode({"start": iso_utc(start), "end": iso_utc(end), **more})
    return client.get(f"/api/analytics/series?{query}").json


QUESTIONS: list[dict[str, object]] = [
    {"group_by": group, "measures": MEASURES, **bucket, **of}
    for group in ("park", "ride", "weekday", "none")
    for bucket in ({}, {"bucket": "1d"})
    for of in ({}, {"park_id": 2}, {"ride_id": 3})
]


def test_days_whose_readings_are_gone_are_answered_from_their_rows(client: Client) -> None:
    daily.aggregate(clock.now())
    before = [ask(client, DAYS[1], DAYS[8], **question) for question in QUESTIONS]
    assert all(answer["data"] for answer in before)
    gone = at(DAYS[5], 0)
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < gone).execute()
    for question, earlier in zip(QUESTIONS, before, strict=True):
        later = ask(client, DAYS[1], DAYS[8], **question)
        assert later["data"] == earlier["data"], question
    percentiles = ask(client, DAYS[1], DAYS[8], bucket="1d", park_id=1, measures="wait_p50")["data"]
    # The oldest day with readings may lack the early part of its parks' local days: it stays what its row says.
    assert [row["wait_p50"] is None for row in percentiles] == [True] * 5 + [False] * 3


def test_a_stored_day_on_which_nothing_was_seen_lowers_coverage(client: Client) -> None:
    """Silent on the third day, while the other park was seen."""
    third = RideStatusSnapshot.snapshot_time.between(at(DAYS[2], 0), at(DAYS[2], 24))
    silent = RideStatusSnapshot.ride_id.in_((1, 2)) & third
    RideStatusSnapshot.delete().where(silent).execute()
    daily.aggregate(clock.now())
    questions = [one for one in QUESTIONS if one["group_by"] in ("park", "ride", "none")]
    before = [ask(client, DAYS[1], DAYS[3], **question)["data"] for question in questions]
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < at(DAYS[5], 0)).execute()
    assert [ask(client, DAYS[1], DAYS[3], **question)["data"] for question in questions] == before
    (row,) = ask(client, DAYS[1], DAYS[3], park_id=1, measures="downtime_minutes")["data"]
    assert row["coverage"] == 0.667


def test_covered_is_what_is_answered(client: Client) -> None:
    daily.aggregate(clock.now())
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < at(DAYS[5], 0)).execute()
    query = {"start": iso_utc(at(DAYS[2], 10)), "end": iso_utc(at(DAYS[4], 12))}
    found = client.get(f"/api/analytics/series?{urlencode(query)}").json
    assert found["covered"] == {"start": iso_utc(at(DAYS[3], 0)), "end": iso_utc(at(DAYS[4], 0))}  # the whole day
    query["end"] = iso_utc(at(DAYS[2], 14))
    found = client.get(f"/api/analytics/series?{urlencode(query)}").json
    assert (found["data"], found["covered"]) == ([], {"start": None, "end": None})


@pytest.mark.parametrize("cursor", ["1.2.3", "999999999999.0.0", "253402300800.0.0", "x", "1.2"])
def test_a_cursor_of_nothing_is_refused(client: Client, cursor: str) -> None:
    answer = client.get(f"/api/analytics/series?start=2025-06-02T00:00:00Z&bucket=1h&cursor={cursor}")
    assert (answer.status, "cursor" in answer.json["error"]) == (400, True)


def test_a_cursor_of_another_question_is_refused(client: Client) -> None:
    cursor = ask(client, DAYS[0], DAYS[8], bucket="1h", limit=3)["next_cursor"]
    assert ask(client, DAYS[0], DAYS[8], bucket="1h", limit=5, cursor=cursor)["success"]
    assert "same question" in ask(client, DAYS[0], DAYS[8], bucket="30m", cursor=cursor)["error"]
    start, group, number = cursor.split(".")
    beyond = ask(client, DAYS[0], DAYS[8], bucket="1h", cursor=f"999999999999.{group}.{number}")
    assert "cursor" in beyond["error"]


def test_parts_of_days_whose_readings_are_gone_have_no_rows(client: Client) -> None:
    daily.aggregate(clock.now())
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < at(DAYS[5], 0)).execute()
    for more in ({"bucket": "1h"}, {"time_of_day": "11:00-12:00"}, {"timezone": "park"}, {"group_by": "hour"}):
        assert ask(client, DAYS[1], DAYS[4], **more)["data"] == [], more
        found = ask(client, DAYS[1], DAYS[8], **more)
        assert found["data"], more
        assert found["covered"]["start"] == iso_utc(pacific_day(DAYS[6]).start), more


def test_a_window_that_is_too_large_says_what_to_narrow(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST_PARK_DAYS", 10)
    assert ask(client, DAYS[0], DAYS[9], park_id=1)["success"]
    error = ask(client, DAYS[0], DAYS[9])["error"]
    assert "10 days of 2 parks, at most 10" in error and "park_id" in error
    monkeypatch.setattr(windows, "MOST_ROWS_A_DAY", 4 * 24)
    assert ask(client, DAYS[0], DAYS[1], group_by="ride", bucket="1h")["success"]
    error = ask(client, DAYS[0], DAYS[1], group_by="ride", bucket="30m")["error"]
    assert "192 buckets of rides a day, at most 96" in error and "wider buckets" in error


def test_a_page_costs_the_days_that_it_shows(client: Client) -> None:
    def statements(**more: object) -> int:
        seen: list[object] = []
        bound = door.db.obj
        assert bound is not None
        bound.query_hooks.append(seen.append)
        assert ask(client, DAYS[0], DAYS[8], park_id=1, bucket="1h", **more)["success"]
        bound.query_hooks.pop()
        return len(seen)

    whole, first = statements(), statements(limit=3)
    cursor = ask(client, DAYS[0], DAYS[8], park_id=1, bucket="1h", limit=50)["next_cursor"]
    assert cursor is not None
    assert first < whole / 2 and statements(cursor=cursor) < whole / 2
