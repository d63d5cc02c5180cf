"""The page of one ride, worked out by hand. Slots are half an hour, the park is open 12:00-18:00 Pacific."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, time, timedelta
from typing import Any

import pytest

from factories import World, random_world
from service import rules
from service.errors import NotFound
from service.jobs import daily
from service.models import ParkActivitySnapshot, RideStatusSnapshot
from service.periods import PERIODS, instant, wall_clock
from service.queries import Row, rankings
from service.queries.catalog import ALL_PARKS
from service.queries.rankings import Question, Standings
from service.queries.ride_details import RideSpan, ride_details

TODAY = date(2025, 6, 11)  # a Wednesday
YESTERDAY = TODAY - timedelta(days=1)
MONDAY, TUESDAY = date(2025, 6, 2), date(2025, 6, 3)  # of the week before


def at(hour: float, day: date = TODAY) -> int:
    return wall_clock(day, time(0), "America/Los_Angeles") + int(hour * 3600)


def a_ride(
    days: dict[date, str], *, park_type: str = "disney", hours: tuple[float, float] = (12, 18),
    waits: Iterable[int | None] = (), **ride: Any,
) -> World:
    """A ride that did this on these days from the opening on."""
    world = World(30)
    park = world.park(park_type)
    ride_id = world.ride(park, **ride)
    for day, said in days.items():
        world.open(park, day, at(hours[0], day), at(hours[1], day))
        world.day_of(ride_id, said, at(hours[0], day), waits)
    world.store()
    return world


def page(period: str, now: float = 20, ride_id: int = 1) -> Row:
    return ride_details(RideSpan(ride_id, period, instant(at(now))))


def events(period: str, now: float = 20) -> list[tuple[str, str, int, bool]]:
    """Start and end (UTC), minutes, and whether it lasts."""
    found = page(period, now)["downtime_events"]
    assert all(event["duration_hours"] == event["minutes"] / 60 for event in found)
    return [
        (event["start_time"][8:16], event["end_time"][8:16], event["minutes"], event["is_ongoing"]) for event in found
    ]


# --- hours and days --------------------------------------------------------------------------------------------------


def test_a_day_hour_by_hour(database: Any) -> None:
    a_ride({YESTERDAY: "OOODDDOC..DO"}, waits=[10, 25, 30, None, None, None, 5], tier=1)
    found = page("yesterday")
    assert found["ride"] == {
        "ride_id": 1,
        "name": "Ride 1",
        "park_id": 1,
        "park_name": "Park 1",
        "tier": 1,
        "category": "ATTRACTION",
        "queue_times_url": "https://queue-times.com/parks/1/rides/101",
    }
    hours = ["2025-06-10T19:00:00Z", "2025-06-10T20:00:00Z", "2025-06-10T21:00:00Z", "2025-06-10T22:00:00Z"]
    hours.append("2025-06-11T00:00:00Z")  # nothing is known of 16:00
    assert [
        (row["hour_start_utc"], row["status"], row["uptime_percentage"], row["avg_wait_time_minutes"])
        for row in found["timeseries"]
    ] == [
        (hours[0], "OPERATING", 100.0, 17.5),
        (hours[1], "OPERATING", 50.0, 30.0),  # as long down as running
        (hours[2], "DOWN", 0.0, None),
        (hours[3], "OPERATING", 100.0, 5.0),
        (hours[4], "OPERATING", 50.0, None),
    ]
    assert [row["snapshot_count"] for row in found["timeseries"]] == [2] * 5
    assert [
        (row["hour_start_utc"], row["operating_snapshots"], row["down_snapshots"], row["downtime_hours"])
        for row in found["hourly_breakdown"]
    ] == [(hours[4], 1, 1, 0.5), (hours[3], 1, 0, 0.0), (hours[2], 0, 2, 1.0), (hours[1], 1, 1, 0.5),
          (hours[0], 2, 0, 0.0)]
    assert found["summary"] == {
        "total_downtime_hours": 2.0,
        "uptime_percentage": 55.6,  # 5 of 9
        "avg_wait_time": 17.5,  # 10, 25, 30 and 5
        "total_operating_hours": 4,
        "total_hours": 5,
    }


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_week_day_by_day(database: Any, is_stored: bool) -> None:
    a_ride({MONDAY: "OODDDOOOOOOO", TUESDAY: "CCCCCCCCCCCC", TODAY: "OO"}, waits=[10, 25])
    if is_stored:
        daily.aggregate(instant(at(20)))
    found = page("last_week")
    assert found["timeseries"] == [
        {
            "date": "2025-06-02",
            "avg_wait_time_minutes": 17.5,
            "uptime_percentage": 75.0,
            "status": "OPERATING",
            "snapshot_count": 12,
        },
        {
            "date": "2025-06-03",  # it did not operate: no uptime, no downtime
            "avg_wait_time_minutes": None,
            "uptime_percentage": None,
            "status": "CLOSED",
            "snapshot_count": 12,
        },
    ]
    tuesday, monday = found["hourly_breakdown"]
    assert (tuesday["date"], tuesday["downtime_hours"], tuesday["operating_hours"]) == ("2025-06-03", None, 0)
    assert (monday["downtime_hours"], monday["operating_hours"], monday["down_hours"]) == (1.5, 5, 1)
    assert found["summary"] == {
        "total_downtime_hours": 1.5,
        "uptime_percentage": 75.0,
        "avg_wait_time": 17.5,
        "total_operating_hours": 5,
        "total_hours": 6,
    }


def test_the_week_and_the_month_are_those_of_the_calendar(database: Any) -> None:
    a_ride({date(2025, 5, 31): "OD", date(2025, 6, 1): "OD", date(2025, 6, 7): "OD", date(2025, 6, 8): "OD"})
    assert [row["date"] for row in page("last_week")["timeseries"]] == ["2025-06-01", "2025-06-07"]
    assert [row["date"] for row in page("last_month")["timeseries"]] == ["2025-05-31"]


def test_live_is_today_so_far(database: Any) -> None:
    a_ride({TODAY: "OODDOOOO"})
    assert page("live", 13.6) == page("today", 13.6)
    assert len(page("live", 13.6)["timeseries"]) == 2


def test_without_observations_nothing_is_said(database: Any) -> None:
    a_ride({})
    for period in PERIODS:
        found = page(period)
        assert (found["timeseries"], found["hourly_breakdown"], found["downtime_events"]) == ([], [], [])
        assert found["summary"] == {
            "total_downtime_hours": None,
            "uptime_percentage": None,
            "avg_wait_time": None,
            "total_operating_hours": None,
            "total_hours": 0,
        }


def test_a_show_has_its_page_though_no_ranking_counts_it(database: Any) -> None:
    a_ride({YESTERDAY: "OOOD", MONDAY: "OD"}, category="SHOW", is_active=False)
    found = page("yesterday")
    assert found["ride"]["category"] == "SHOW"
    assert found["summary"]["total_downtime_hours"] == 0.5
    assert page("last_week")["summary"]["uptime_percentage"] == 50.0


def test_a_show_that_closes_between_performances_is_not_down(database: Any) -> None:
    a_ride({YESTERDAY: "OCCOCCOD"}, park_type="other", category="SHOW")
    found = page("yesterday")
    assert [event["minutes"] for event in found["downtime_events"]] == [30]  # told, not inferred
    assert (found["summary"]["total_downtime_hours"], found["summary"]["uptime_percentage"]) == (0.5, 75.0)


def test_an_unknown_ride_is_not_found(database: Any) -> None:
    for ride_id in (7, 2**31, 10**30):
        with pytest.raises(NotFound, match=f"Ride {ride_id} not found"):
            RideSpan(ride_id, "today", instant(at(20)))


@pytest.mark.parametrize(("counts", "status"), [
    ((2, 2, 4), "OPERATING"),
    ((2, 0, 4), "OPERATING"),
    ((1, 2, 4), "DOWN"),
    ((0, 2, 4), "DOWN"),
    ((0, 1, 4), "CLOSED"),
    ((1, 0, 4), "CLOSED"),
    ((0, 0, 4), "CLOSED"),
    ((0, 0, 0), "CLOSED"),
])
def test_what_a_ride_did_most(counts: tuple[int, int, int], status: str) -> None:
    assert rules.predominant(*counts).name == status


# --- outages ---------------------------------------------------------------------------------------------------------


def test_outages_are_whole_and_newest_first(database: Any) -> None:
    a_ride({YESTERDAY: "ODDDDDOODOOO"})
    assert events("yesterday") == [("10T23:00", "10T23:30", 30, False), ("10T19:30", "10T22:00", 150, False)]


def test_half_an_hour_of_silence_does_not_end_an_outage(database: Any) -> None:
    a_ride({YESTERDAY: "OD.DO.D..DOO"})
    assert events("yesterday") == [
        ("10T23:30", "11T00:00", 30, False),
        ("10T22:00", "10T22:30", 30, False),
        ("10T19:30", "10T21:00", 60, False),  # of which half an hour is unknown
    ]


def test_an_outage_that_reaches_the_newest_slot_lasts(database: Any) -> None:
    a_ride({TODAY: "OODDDDOO"})
    assert events("live", 13.1) == [("11T20:00", "11T20:30", 30, True)]
    assert events("live", 14.9) == [("11T20:00", "11T22:00", 120, True)]
    assert events("live", 15) == [("11T20:00", "11T22:00", 120, False)]


def test_an_outage_does_not_outlive_its_feed(database: Any) -> None:
    a_ride({TODAY: "OODD"})
    assert events("live", 15.5) == [("11T20:00", "11T21:00", 60, True)]
    assert events("live", 15.6) == [("11T20:00", "11T21:00", 60, False)]  # not heard of for two hours
    assert [lasts for *_, lasts in events("yesterday", 15.5 + 24)] == [False]


def test_an_outage_does_not_last_while_the_park_is_closed(database: Any) -> None:
    a_ride({TODAY: "OOOOOOOOOODDDD"})  # read on until 18:30
    assert events("live", 17.9) == [("12T00:00", "12T01:00", 60, True)]
    assert events("live", 18) == [("12T00:00", "12T01:00", 60, False)]


def test_a_suspect_slot_does_not_end_an_outage(database: Any) -> None:
    a_ride({TODAY: "OODDOO"})
    last = ParkActivitySnapshot.snapshot_time == at(14)
    ParkActivitySnapshot.update({ParkActivitySnapshot.is_suspect: True}).where(last).execute()
    assert [lasts for *_, lasts in events("live", 14.1)] == [True]
    assert [lasts for *_, lasts in events("live", 14.6)] == [False]


def test_an_outage_that_closing_time_ended_does_not_last(database: Any) -> None:
    a_ride({YESTERDAY: "OODDDDDDDDDDDD"})  # still down when the park had closed, and read on
    assert events("yesterday") == [("10T20:00", "11T01:00", 300, False)]


def test_an_outage_across_midnight_is_one(database: Any) -> None:
    a_ride({YESTERDAY: "OODDDDOO"}, hours=(22, 26))  # down from 23:00 to 01:00
    assert events("yesterday") == events("today") == [("11T06:00", "11T08:00", 120, False)]
    assert page("yesterday")["summary"]["total_downtime_hours"] == 1.0


def test_an_outage_of_another_day_is_not_listed(database: Any) -> None:
    a_ride({YESTERDAY: "OOOODDOO"}, hours=(22, 26))  # down from 00:00 to 01:00
    assert events("yesterday") == []


def test_a_ride_that_closed_and_reopened_was_down(database: Any) -> None:
    a_ride({YESTERDAY: "CCOOCCOOCCCC"}, park_type="other")
    assert events("yesterday") == [("10T21:00", "10T22:00", 60, False)]
    assert [event["kind"] for event in page("yesterday")["downtime_events"]] == ["inferred"]


def test_outages_of_a_week_that_is_stored(database: Any) -> None:
    a_ride({MONDAY: "ODDOOOOOOOOO", TUESDAY: "OOOODOOOOOOO", TODAY: "OO"})
    told = [("03T21:00", "03T21:30", 30, False), ("02T19:30", "02T20:30", 60, False)]
    assert events("last_week") == told
    daily.aggregate(instant(at(20)))
    assert events("last_week") == told


def test_without_its_readings_a_week_has_figures_but_no_outages(database: Any) -> None:
    a_ride({MONDAY: "ODDOOOOOOOOO", TODAY: "OO"})
    daily.aggregate(instant(at(20)))
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < at(0)).execute()
    found = page("last_week")
    assert found["downtime_events"] == []
    assert found["summary"] == {
        "total_downtime_hours": 1.0,
        "uptime_percentage": 83.3,
        "avg_wait_time": None,
        "total_operating_hours": 5,
        "total_hours": 6,
    }
    assert [row["status"] for row in found["timeseries"]] == ["OPERATING"]


@pytest.mark.parametrize("seed", range(6))
def test_every_ride_has_the_numbers_of_the_rankings(database: Any, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    for finished in (False, True):
        if finished:
            daily.aggregate(instant(now) + timedelta(days=30))
        for later in (0, 20 * 86400):
            compare(now + later)


def compare(now: int) -> None:
    for period in PERIODS:
        asked = Standings(Question(period, ALL_PARKS, "downtime_hours", 500, instant(now)))
        for row in rankings.rides_by_downtime(asked):
            found = page_at(row["ride_id"], period, now)
            summary = found["summary"]
            assert summary["total_downtime_hours"] == row["downtime_hours"]
            assert summary["uptime_percentage"] == row["uptime_percentage"]
            assert summary["avg_wait_time"] == row["avg_wait_time"]
            hours = [point["downtime_hours"] for point in found["hourly_breakdown"]]
            rounding = 0.005 * (len(hours) + 1)
            assert sum(hour or 0 for hour in hours) == pytest.approx(row["downtime_hours"], abs=rounding)
            assert found["downtime_events"]
        if period != "live":
            by_wait = Standings(asked.question._replace(sort_by="avg_wait_minutes"))
            for row in rankings.rides_by_wait(by_wait):
                summary = page_at(row["ride_id"], period, now)["summary"]
                assert summary["avg_wait_time"] == row["avg_wait_minutes"]


def page_at(ride_id: int, period: str, now: int) -> Row:
    return ride_details(RideSpan(ride_id, period, instant(now)))
