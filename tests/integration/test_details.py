"""The page of one park, worked out by hand. Slots are half an hour, the park is open 12:00-18:00 Pacific."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from factories import World, random_world
from service.errors import NotFound
from service.jobs import daily
from service.models import ParkActivitySnapshot, Ride
from service.periods import PERIODS, instant, wall_clock
from service.queries import Row, rankings
from service.queries.catalog import ALL_PARKS
from service.queries.details import park_details, rides_chart
from service.queries.rankings import Question, Standings
from service.queries.roster import park_rides

TODAY = date(2025, 6, 11)  # a Wednesday
YESTERDAY = TODAY - timedelta(days=1)
MONDAY, TUESDAY = date(2025, 6, 2), date(2025, 6, 3)  # of the week before
ALL_DAY = "OOOOOOOOOOOO"


def at(hour: float, day: date = TODAY) -> int:
    return wall_clock(day, time(0), "America/Los_Angeles") + int(hour * 3600)


class OnePark(World):
    """A park whose rides, of these tiers, do something on a day from 12:00 on."""

    def __init__(self, *tiers: int | None, park_type: str = "disney", is_active: bool = True) -> None:
        super().__init__(30)
        self.park(park_type, is_active=is_active)
        for tier in tiers:
            self.ride(1, tier=tier)

    def day(self, day: date, *letters: str, waits: Any = ()) -> OnePark:
        self.open(1, day, at(12, day), at(18, day))
        for ride_id, said in enumerate(letters, start=1):
            self.day_of(ride_id, said, at(12, day), waits)
        return self


def asked(period: str, now: float = 20, park_id: int | None = 1) -> Standings:
    return Standings(Question(period, ALL_PARKS, "shame_score", 50, instant(at(now)), park_id))


def page(period: str, now: float = 20) -> Row:
    return park_details(asked(period, now))


def breakdown(period: str, now: float = 20) -> Row:
    found: Row = page(period, now)["shame_breakdown"]
    return found


def chart(period: str, now: float = 20) -> Row:
    found: Row = page(period, now)["chart_data"]
    return found


# --- the shame score's parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_day_is_taken_apart_ride_by_ride(database: Any, is_stored: bool) -> None:
    OnePark(1, None, 3).day(YESTERDAY, "OOOODDOOOOOO", "OODDDDOOOOOO", ALL_DAY).store()
    if is_stored:
        daily.aggregate(instant(at(20)))
    assert breakdown("yesterday") == {
        "breakdown_type": "yesterday",
        "shame_score": 1.9,  # 10 x (3 x 2 + 2 x 4) / (6 x 12)
        "total_downtime_hours": 3.0,
        "weighted_downtime_hours": 7.0,
        "avg_uptime_percentage": 83.3,  # 30 of 36
        "total_park_weight": 6.0,
        "rides_with_downtime": 2,
        "rides_affected_count": 2,
        "park_is_open": None,
        "rides": [
            {
                "ride_id": 2,
                "ride_name": "Ride 2",
                "tier": 2,
                "tier_weight": 2,
                "downtime_hours": 2.0,
                "weighted_contribution": 4.0,
                "status": "DOWN",
            },
            {
                "ride_id": 1,
                "ride_name": "Ride 1",
                "tier": 1,
                "tier_weight": 3,
                "downtime_hours": 1.0,
                "weighted_contribution": 3.0,
                "status": "DOWN",
            },
        ],
    }


def test_today_counts_the_hours_so_far(database: Any) -> None:
    OnePark(1, 3).day(TODAY, "OODD", "OOOO").store()
    found = breakdown("today", 13.6)
    assert (found["hours_tracked"], found["park_is_open"]) == (2, True)
    assert (found["shame_score"], found["total_park_weight"]) == (3.8, 4.0)  # 10 x 3 x 2 / (4 x 4)
    assert breakdown("today", 20)["park_is_open"] is None  # not seen for two hours


def test_a_week_is_the_mean_of_its_days(database: Any) -> None:
    OnePark(2, 2).day(MONDAY, "DDDOOOOOOOOO", "DOOOOOOOOOOO").day(TUESDAY, ALL_DAY, "DDOOOOOOOOOO").store()
    found = breakdown("last_week")
    assert found["shame_score"] == 1.3  # (10 x 4 / 24 + 10 x 2 / 24) / 2 = (1.67 + 0.83) / 2
    assert (found["days_tracked"], found["days_in_period"], found["period_label"]) == (2, 7, "Jun 1-7, 2025")
    assert (found["total_downtime_hours"], found["avg_daily_downtime"]) == (3.0, 1.5)
    assert (found["weighted_downtime_hours"], found["total_park_weight"]) == (6.0, 4.0)
    rows = [(row["ride_id"], row["downtime_hours"], row["days_with_downtime"]) for row in found["rides"]]
    assert rows == [(1, 1.5, 1), (2, 1.5, 2)]  # as heavy as each other: by id


def test_the_weight_of_a_period_fits_its_score(database: Any) -> None:
    # A ride that came on Tuesday makes the roster heavier: 2 on Monday (12 slots), 4 on Tuesday (4 slots).
    world = OnePark(2, 2).day(MONDAY, "DDDDDDOOOOOO").day(TUESDAY, "OOOO", "DDOO")
    world.store()
    assert breakdown("last_week")["total_park_weight"] == 2.5  # (2 x 12 + 4 x 4) / 16


def test_live_is_the_newest_slot(database: Any) -> None:
    world = OnePark(1, 2, None, 3)
    world.day(TODAY, "OODD", "OOOO", "OOOD").store()
    found = breakdown("live", 13.9)
    assert [row["ride_id"] for row in found["rides_down"]] == [1, 3]
    assert [row["downtime_hours"] for row in found["rides_down"]] == [1.0, 0.5]  # today so far
    assert (found["total_weighted_down"], found["total_park_weight"], found["shame_score"]) == (5, 7, 7.1)
    assert found["rides_excluded"] == [
        {
            "ride_id": 4,
            "ride_name": "Ride 4",
            "tier": 3,
            "tier_weight": 1,
            "exclusion_reason": "Not operated in the last 7 days",
        }
    ]
    assert (found["total_excluded_weight"], found["park_is_open"], found["is_live"]) == (1, True, True)
    assert found["last_updated"] == "2025-06-11T20:30:00Z"


def test_a_closed_park_has_no_live_score(database: Any) -> None:
    OnePark(1).day(TODAY, "OOOOOOOOOODDDD").store()  # read on until 19:00
    found = breakdown("live", 19)
    assert (found["park_is_open"], found["shame_score"], found["rides_down"]) == (False, 0.0, [])
    assert (found["total_weighted_down"], found["total_park_weight"]) == (0, 3)
    assert chart("live", 19)["current"] == 0.0


def test_inactive_rides_are_parts_of_the_score_but_not_of_the_tiers(database: Any) -> None:
    world = OnePark(2, 2).day(YESTERDAY, "DDOO", "DDDO").day(TODAY, "DDOO", "DDDO")
    world.rides[1] = world.rides[1]._replace(is_active=False)
    world.store()
    today, yesterday = breakdown("today"), breakdown("yesterday")
    for found in (today, yesterday):
        assert [row["ride_id"] for row in found["rides"]] == [2, 1]
        assert sum(row["weighted_contribution"] for row in found["rides"]) == found["weighted_downtime_hours"]
    assert today["shame_score"] == yesterday["shame_score"] == 6.3  # 10 x 5 / 8
    assert page("today")["tier_distribution"]["total_rides"] == 1


def test_an_inactive_park_has_its_page(database: Any) -> None:
    OnePark(2, is_active=False).day(TODAY, "OD").day(YESTERDAY, "OD").store()
    assert [breakdown(period, 12.9)["shame_score"] for period in ("live", "today", "yesterday")] == [10.0, 5.0, 5.0]


def test_without_observations_everything_is_zero(database: Any) -> None:
    OnePark(2).store()
    for period in PERIODS:
        found = page(period)
        assert found["shame_breakdown"]["shame_score"] == 0.0
        assert found["chart_data"]["data"] == []
        assert found["operating_sessions"] == []
    assert page("live")["current_status"] == {
        "park_id": 1,
        "park_name": "Park 1",
        "is_open": False,
        "last_updated": None,
        "rides_open": 0,
        "rides_closed": 0,
        "total_rides": 0,
        "avg_wait_time": None,
        "max_wait_time": None,
        "operating": 0,
    }


@pytest.mark.parametrize("seed", range(6))
def test_every_park_has_the_numbers_of_the_ranking(database: Any, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    for finished in (False, True):
        if finished:
            daily.aggregate(instant(now) + timedelta(days=30))
        for later in (0, 20 * 86400):
            compare(now + later)


def compare(now: int) -> None:
    for period in PERIODS:
        everyone = Standings(Question(period, ALL_PARKS, "shame_score", 100, instant(now)))
        by_hours = Standings(everyone.question._replace(sort_by="downtime_hours"))
        for row in rankings.parks_by_downtime(everyone):
            one = Standings(Question(period, ALL_PARKS, "shame_score", 100, instant(now), row["park_id"]))
            found = park_details(one)
            parts, points = found["shame_breakdown"], found["chart_data"]
            assert parts["shame_score"] == row["shame_score"]
            if period == "live":
                assert points["data"][-1:] in ([], [row["shame_score"]])  # none when the slot is older than an hour
                assert points["current"] == row["shame_score"]
                assert parts["total_park_weight"] == row["effective_park_weight"]
                continue
            assert points["average"] == points["shame_score"] == row["shame_score"]
            for ours, theirs in (
                ("total_downtime_hours", "total_downtime_hours"),
                ("weighted_downtime_hours", "weighted_downtime_hours"),
                ("avg_uptime_percentage", "uptime_percentage"),
            ):
                assert parts[ours] == row[theirs]
            listed = {
                ride["ride_id"]: ride["downtime_hours"]
                for ride in rankings.rides_by_downtime(by_hours)
                if ride["park_id"] == row["park_id"]
            }
            shown = {ride["ride_id"]: ride["downtime_hours"] for ride in parts["rides"]}
            hidden = shown.keys() - listed.keys()  # by the list of now alone
            assert {ride_id: shown[ride_id] for ride_id in shown if ride_id not in hidden} == listed
            assert not any(by_hours.tallies.universe.rides[ride_id].is_active for ride_id in hidden)
            assert period == "today" or not hidden


# --- the chart -------------------------------------------------------------------------------------------------------


def test_the_last_hour_slot_by_slot(database: Any) -> None:
    OnePark(2, 2).day(TODAY, "OODDOO", "OOOODO").store()
    found = chart("live", 14.1)
    assert (found["labels"], found["data"], found["current"]) == (["13:30", "14:00"], [5.0, 5.0], 5.0)
    assert chart("live", 14.6)["data"] == [5.0, 0.0]


def test_hours_with_data_are_charted(database: Any) -> None:
    OnePark(2, 2).day(YESTERDAY, "OODD..OO", "OOOO..OD", waits=[10, 20, 30, 60, None, None, 15, 20]).store()
    found = chart("yesterday")
    assert found == {
        "labels": ["12:00", "13:00", "15:00"],
        "data": [0.0, 5.0, 2.5],
        "rides_down": [0, 1, 1],
        "avg_wait": [15.0, 45.0, 16.7],  # 15 of three: 15, 15 and 20; the rides that are down have none
        "average": 2.5,  # 3 of 12, which is not the mean of the points on other days
        "shame_score": 2.5,
        "granularity": "hourly",
    }


@pytest.mark.parametrize("day", [date(2025, 1, 15), date(2025, 7, 15), date(2025, 3, 9), date(2025, 11, 2)])
def test_hours_are_those_of_pacific_clocks(database: Any, day: date) -> None:
    world = OnePark(2)
    noon = wall_clock(day, time(12), "America/Los_Angeles")
    world.open(1, day, noon, noon + 7200)
    world.day_of(1, "OOOO", noon)
    world.store()
    now = instant(wall_clock(day + timedelta(days=1), time(9), "America/Los_Angeles"))
    found = park_details(Standings(Question("yesterday", ALL_PARKS, "shame_score", 1, now, 1)))
    assert found["chart_data"]["labels"] == ["12:00", "13:00"]


def test_the_hour_that_comes_twice_in_autumn_is_two_points(database: Any) -> None:
    day = date(2025, 11, 2)
    midnight = wall_clock(day, time(0), "America/Los_Angeles")
    world = OnePark(2)
    world.open(1, day - timedelta(days=1), midnight, midnight + 4 * 3600)  # until 03:00
    world.day_of(1, "OOOODDOO", midnight)
    world.store()
    now = instant(midnight + 36 * 3600)
    found = park_details(Standings(Question("yesterday", ALL_PARKS, "shame_score", 1, now, 1)))["chart_data"]
    assert found["labels"] == ["0:00", "1:00", "1:00", "2:00"]  # labels of the contract have no room for more
    assert found["data"] == [0.0, 0.0, 10.0, 0.0]


def test_days_with_data_are_charted(database: Any) -> None:
    OnePark(2).day(MONDAY, "DDDOOOOOOOOO").day(TUESDAY, ALL_DAY).store()
    assert chart("last_week") == {
        "labels": ["Jun 02", "Jun 03"],
        "data": [2.5, 0.0],
        "downtime_hours": [1.5, 0.0],
        "rides_down": [1, 0],
        "average": 1.3,  # 1.25
        "shame_score": 1.3,
        "granularity": "daily",
    }


# --- how the park is and was -----------------------------------------------------------------------------------------


def test_the_live_slot_is_the_current_status(database: Any) -> None:
    OnePark(1, 2, 3).day(TODAY, "OO", "OD", "OC", waits=[None, 35]).store()
    assert page("last_month", 12.9)["current_status"] == {
        "park_id": 1,
        "park_name": "Park 1",
        "is_open": True,
        "last_updated": "2025-06-11T19:30:00Z",
        "rides_open": 1,
        "rides_closed": 2,
        "total_rides": 3,
        "avg_wait_time": 35.0,
        "max_wait_time": 35,
        "operating": 1,
    }


def test_an_old_slot_says_what_was_not_what_is(database: Any) -> None:
    OnePark(1, 2, 3).day(TODAY, "OO", "OD", "OO").store()
    status = page("live", 20)["current_status"]
    assert (status["is_open"], status["operating"], status["last_updated"]) == (False, 0, "2025-06-11T19:30:00Z")
    assert (status["rides_open"], status["rides_closed"]) == (2, 1)


def test_a_suspect_slot_is_passed_over(database: Any) -> None:
    OnePark(1, 2).day(TODAY, "OD", "OD").store()
    late = ParkActivitySnapshot.snapshot_time == at(12.5)
    ParkActivitySnapshot.update({ParkActivitySnapshot.is_suspect: True}).where(late).execute()
    for now in (12.9, 20):
        assert page("live", now)["current_status"]["rides_open"] == 2


def test_an_evening_is_one_session(database: Any) -> None:
    world = OnePark(2)
    for day in (MONDAY, YESTERDAY):
        world.open(1, day, at(20, day), at(26, day))
        world.day_of(1, "OOOOOOOOOOOOOO", at(19.5, day))  # read before and after too
    world.open(1, TUESDAY, at(20, TUESDAY), at(26, TUESDAY))  # nobody looked
    world.store()
    assert page("live")["operating_sessions"] == [
        {
            "park_id": 1,
            "date": day,
            "first_open_at": f"{day[:-2]}{int(day[-2:]) + 1:02}T03:00:00Z",
            "last_open_at": f"{day[:-2]}{int(day[-2:]) + 1:02}T08:30:00Z",
            "operating_hours": 5.5,
            "snapshot_count": 12,
        }
        for day in ("2025-06-10", "2025-06-02")
    ]


def test_sessions_of_thirty_days_newest_first(database: Any) -> None:
    world = OnePark(2)
    for back in (0, 1, 29, 30):
        day = TODAY - timedelta(days=back)
        world.open(1, day, at(12, day), at(13, day))
        world.open(1, day, at(15, day), at(16, day))
        world.day_of(1, "OOOOOOOO", at(12, day))
    world.store()
    dates = [session["date"] for session in page("live")["operating_sessions"]]
    assert dates == ["2025-06-11"] * 2 + ["2025-06-10"] * 2 + ["2025-05-13"] * 2
    assert len(page("live", 14)["operating_sessions"]) == 5  # the second of today has not begun


# --- the roster ------------------------------------------------------------------------------------------------------


def test_the_roster_is_what_ran_in_seven_days(database: Any) -> None:
    world = OnePark(3, 1, None, 2, 1)
    world.ride(1, category="SHOW")
    world.day(date(2025, 6, 4), "....", "....", "OO..").day(date(2025, 6, 5), "OO", "DD").day(TODAY, "OO", "CC", "CC")
    world.rides[4] = world.rides[4]._replace(is_active=False)
    world.store()
    Ride.update({Ride.last_operated_at: at(12.5, date(2025, 6, 4))}).where(Ride.ride_id == 3).execute()
    found = park_rides(1, instant(at(20)))
    assert [(ride["ride_id"], ride["weight"]) for ride in found["rides"]["active"]] == [(2, 3), (1, 1)]
    assert (found["effective_park_weight"], found["total_roster_weight"]) == (4, 8)
    assert found["rides"]["excluded"] == [
        {
            "ride_id": 3,
            "ride_name": "Ride 3",
            "tier": None,
            "tier_weight": 2,
            "last_operated_at": "2025-06-04T19:30:00Z",
            "days_since_operation": 7,
            "reason": "Not operated in the last 7 days",
        },
        {
            "ride_id": 4,
            "ride_name": "Ride 4",
            "tier": 2,
            "tier_weight": 2,
            "last_operated_at": None,
            "days_since_operation": None,
            "reason": "Not operated in the last 7 days",
        },
    ]
    details = page("yesterday")
    assert (details["effective_park_weight"], details["excluded_rides_count"]) == (4, 2)


def test_a_replayed_present_does_not_know_what_ran_later(database: Any) -> None:
    OnePark(2).day(date(2025, 5, 20), "O").day(TODAY, "O").store()
    Ride.update({Ride.last_operated_at: at(12)}).where(Ride.ride_id == 1).execute()
    (ride,) = park_rides(1, datetime.fromisoformat("2025-06-10T20:00:00+00:00"))["rides"]["excluded"]
    assert (ride["last_operated_at"], ride["days_since_operation"]) == ("2025-05-20T19:00:00Z", 21)


def test_the_park_says_what_it_is(database: Any) -> None:
    OnePark(1, 1, 2, 3, None).day(YESTERDAY, "O").store()
    found = page("live")
    assert found["park"] == {
        "park_id": 1,
        "name": "Park 1",
        "location": "Town, ST",
        "operator": None,
        "timezone": "America/Los_Angeles",
        "queue_times_url": "https://queue-times.com/parks/1",
    }
    assert found["tier_distribution"] == {
        "park_id": 1,
        "park_name": "Park 1",
        "tier_1_count": 2,
        "tier_2_count": 1,
        "tier_3_count": 1,
        "unclassified_count": 1,
        "total_rides": 5,
    }


def test_an_unknown_park_is_not_found(database: Any) -> None:
    with pytest.raises(NotFound, match="Park 7 not found"):
        asked("live", park_id=7)
    with pytest.raises(NotFound, match="Park 7 not found"):
        park_rides(7, instant(at(20)))


# --- the rides side by side ------------------------------------------------------------------------------------------


def test_rides_by_hour(database: Any) -> None:
    world = OnePark(3, None, 1).day(YESTERDAY, "OODD..OO", "CCCC..CC", "OOOO", waits=[10, 30, 60])
    world.store()
    found = rides_chart(asked("yesterday"), "downtime")
    assert (found["granularity"], found["labels"][0], found["labels"][-1], len(found["labels"])) == (
        "hourly", "6:00", "23:00", 18,
    )
    assert [(one["label"], one["tier"]) for one in found["datasets"]] == [("Ride 3", 1), ("Ride 1", 3)]
    assert [one["data"][6:10] for one in found["datasets"]] == [[0.0, 0.0, None, None], [0.0, 1.0, None, 0.0]]
    waits = rides_chart(asked("yesterday"), "wait_times")["datasets"]
    assert [one["data"][6:10] for one in waits] == [[20.0, 60.0, None, None], [20.0, None, None, None]]


def test_rides_by_day(database: Any) -> None:
    OnePark(2, None).day(MONDAY, "DDOO", "CCCC").day(TUESDAY, "CCCC", "OOOD", waits=[None, 10, 25]).store()
    for _ in range(2):
        found = rides_chart(asked("last_week"), "downtime")
        assert found["labels"] == [f"Jun {day:02}" for day in range(1, 8)]
        assert [one["data"][:4] for one in found["datasets"]] == [[None, 1.0, None, None], [None, None, 0.5, None]]
        (waits,) = rides_chart(asked("last_week"), "wait_times")["datasets"]
        assert (waits["ride_id"], waits["data"][:4]) == (2, [None, None, 17.5, None])
        daily.aggregate(instant(at(20)))
