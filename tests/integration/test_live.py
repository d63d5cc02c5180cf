"""The present moment, worked out by hand. The park is open 10:00-22:00 Pacific; slots are half an hour."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest

from factories import World
from service.models import ParkActivitySnapshot
from service.periods import instant, wall_clock
from service.queries import live
from service.queries.days import Tallies
from service.queries.rankings import Question, Standings, parks_by_downtime, rides_by_wait

DAY = date(2025, 6, 10)


def at(hour: float, day: date = DAY) -> int:
    return wall_clock(day, time(0), "America/Los_Angeles") + int(hour * 3600)


def a_park(park_type: str, *rides: str, hour: float = 12) -> World:
    """A park with rides that did this from `hour` on."""
    world = World(30)
    park = world.park(park_type)
    world.open(park, DAY, at(10), at(22))
    for letters in rides:
        world.day_of(world.ride(park), letters, int(at(hour)))
    world.store()
    return world


def status_of(ride: int, hour: float) -> str | None:
    tallies = Tallies(instant(at(hour)))
    park = live.parks_now(tallies, tallies.universe.parks.values()).get(1)
    return park.rides[ride].status if park and ride in park.rides else None


def test_what_the_feed_says_is_shown(database: Any) -> None:
    a_park("disney", "O", "D", "C", "R", "o")
    assert [status_of(ride, 12.1) for ride in range(1, 6)] == [
        "OPERATING",
        "DOWN",
        "CLOSED",
        "REFURBISHMENT",
        "OPERATING",
    ]
    assert live.status_summary("all-parks", None, instant(at(12.1))) == {
        "OPERATING": 2,
        "DOWN": 1,
        "CLOSED": 1,
        "REFURBISHMENT": 1,
        "PARK_CLOSED": 0,
        "total": 5,
    }


@pytest.mark.parametrize(
    ("letters", "status"),
    [
        ("OCCC", "DOWN"),  # it ran an hour and a half before
        ("OCCCC", "DOWN"),  # two hours
        ("OCCCCC", "CLOSED"),  # longer: it is taken to have closed for the day
        ("CCCC", "CLOSED"),  # it has not run today
        ("DCC", "DOWN"),  # told down before: it was expected to run
    ],
)
def test_a_possible_outage_counts_for_two_hours(database: Any, letters: str, status: str) -> None:
    a_park("other", letters)
    assert status_of(1, 12 + (len(letters) - 1) / 2) == status


def test_yesterdays_run_does_not_make_an_outage_of_today(database: Any) -> None:
    world = World(30)
    park = world.park("other")
    world.open(park, DAY, at(10), at(26))
    world.day_of(world.ride(park), "OCC", at(23.5))
    world.store()
    assert status_of(1, 24) == "CLOSED"


def test_when_the_park_is_closed_so_are_its_rides(database: Any) -> None:
    a_park("disney", "OO", "DD", hour=21.5)
    assert status_of(1, 21.9) == "OPERATING"
    assert (status_of(1, 22), status_of(2, 22)) == ("PARK_CLOSED", "PARK_CLOSED")


def test_a_slot_older_than_two_hours_is_no_news(database: Any) -> None:
    a_park("disney", "O")
    assert status_of(1, 14) == "OPERATING"
    assert status_of(1, 14 + 1 / 60) is None
    assert live.status_summary("all-parks", None, instant(at(14 + 1 / 60)))["total"] == 0


def test_a_suspect_slot_is_passed_over(database: Any) -> None:
    a_park("disney", "OD")
    assert status_of(1, 12.6) == "DOWN"
    late = ParkActivitySnapshot.snapshot_time == at(12.5)
    ParkActivitySnapshot.update({ParkActivitySnapshot.is_suspect: True}).where(late).execute()
    assert status_of(1, 12.6) == "OPERATING"


def test_readings_after_now_do_not_exist(database: Any) -> None:
    a_park("disney", "OODD")
    assert status_of(1, 12.9) == "OPERATING"


def test_inactive_rides_and_parks_are_not_in_the_summary(database: Any) -> None:
    world = World(30)
    for is_active in (True, False):
        park = world.park("disney", is_active=is_active)
        world.open(park, DAY, at(10), at(22))
        world.day_of(world.ride(park), "O", at(12))
        world.day_of(world.ride(park, is_active=False), "D", at(12))
    world.store()
    assert live.status_summary("all-parks", None, instant(at(12)))["total"] == 1
    assert live.status_summary("all-parks", 2, instant(at(12)))["total"] == 0


def test_the_live_score_is_of_the_newest_slot(database: Any) -> None:
    a_park("disney", "OOD", "OOO", "DDO")  # weights 2: one of three is down now, another was
    question = Question("live", "all-parks", "shame_score", 10, instant(at(13)))
    (row,) = parks_by_downtime(Standings(question))
    assert (row["shame_score"], row["rides_down"], row["total_rides"]) == (3.3, 1, 3)  # 10 x 2 / 6
    assert (row["total_downtime_hours"], row["uptime_percentage"]) == (1.5, 66.7)  # today so far: 3 of 9 slots


def test_live_waits_are_those_posted_now(database: Any) -> None:
    world = World(30)
    park = world.park("disney")
    world.open(park, DAY, at(10), at(22))
    world.day_of(world.ride(park), "OO", at(12), waits=[90, 30])
    world.day_of(world.ride(park), "OC", at(12), waits=[20, 25])
    world.store()
    rows = rides_by_wait(Standings(Question("live", "all-parks", "", 10, instant(at(12.6)))))
    assert [(row["ride_id"], row["current_wait_minutes"], row["peak_wait_minutes"]) for row in rows] == [(1, 30.0, 90)]


def test_a_day_turns_at_pacific_midnight(database: Any) -> None:
    world = World(30)
    park = world.park("disney")
    world.open(park, DAY, at(20), at(27))
    world.day_of(world.ride(park), "D" * 14, at(20))
    world.store()
    assert (status_of(1, 23.9), status_of(1, 24)) == ("DOWN", "DOWN")
    question = Question("today", "all-parks", "shame_score", 10, instant(at(25)))
    (row,) = parks_by_downtime(Standings(question))
    assert row["total_downtime_hours"] == 1.5  # 00:00, 00:30 and 01:00
