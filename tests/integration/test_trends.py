"""What changed against the span before, and awards, worked out by hand. Slots are half an hour, 12:00-18:00."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import pytest
import reference as ref
from factories import World, random_world

from service.jobs import daily
from service.models import Park, Ride
from service.periods import instant, wall_clock
from service.queries import Row, rankings, trends
from service.queries.rankings import Question, Standings

TODAY = date(2025, 6, 11)  # a Wednesday
YESTERDAY = TODAY - timedelta(days=1)
DAY_BEFORE = TODAY - timedelta(days=2)
LAST_WEEK = date(2025, 6, 3)
WEEK_BEFORE = date(2025, 5, 27)
ALL = 10**6

Days = dict[date, str]
Figures = tuple[Any, ...]


def at(hour: float, day: date = TODAY) -> int:
    return wall_clock(day, time(0), "America/Los_Angeles") + int(hour * 3600)


def add(world: World, *rides: Days, park_type: str = "disney") -> int:
    """A park whose rides did this on those days, from 12:00 on."""
    park_id = world.park(park_type)
    for day in {day for ride in rides for day in ride}:
        world.open(park_id, day, at(12, day), at(18, day))
    for ride in rides:
        ride_id = world.ride(park_id)
        for day, letters in ride.items():
            world.day_of(ride_id, letters, at(12, day))
    return park_id


def asked(period: str, *, now: float = 20, limit: int = ALL, parks: str = "all-parks") -> Standings:
    return Standings(Question(period, parks, "", limit, instant(at(now))))


def changed(category: str, period: str = "yesterday", **question: Any) -> list[Row]:
    return trends.changes(asked(period, **question), category)


def ids(rows: list[Row], name: str) -> list[int]:
    return [row[name] for row in rows]


# --- changes ---------------------------------------------------------------------------------------------------------


def test_a_park_that_was_down_less_has_improved(database: Any) -> None:
    world = World()
    add(world, {DAY_BEFORE: "DDDDOOOOOOOO", YESTERDAY: "DOOOOOOOOOOO"}, {DAY_BEFORE: "O" * 12, YESTERDAY: "O" * 12})
    world.store()
    for _ in ("from readings", "from stored days"):
        assert changed("parks-improving") == [
            {
                "park_id": 1,
                "park_name": "Park 1",
                "location": "Town, ST",
                "queue_times_id": 1,
                "queue_times_url": "https://queue-times.com/parks/1",
                "current_uptime": 95.8,  # 23 of 24 slots
                "previous_uptime": 83.3,  # 20 of 24
                "improvement_percentage": 75.0,  # 1 down slot instead of 4
                "current_downtime_hours": 0.5,
                "previous_downtime_hours": 2.0,
            }
        ]
        assert changed("parks-declining") == []
        daily.aggregate(instant(at(20)))


def test_a_ride_that_was_down_more_has_declined(database: Any) -> None:
    world = World()
    add(world, {DAY_BEFORE: "DDOOOOOOOOOO", YESTERDAY: "DDDOOO"}, {DAY_BEFORE: "O" * 12, YESTERDAY: "O" * 12})
    world.store()
    assert changed("rides-declining") == [
        {
            "ride_id": 1,
            "ride_name": "Ride 1",
            "park_id": 1,
            "park_name": "Park 1",
            "queue_times_id": 101,
            "park_queue_times_id": 1,
            "queue_times_url": "https://queue-times.com/parks/1/rides/101",
            "current_uptime": 50.0,
            "previous_uptime": 83.3,
            "decline_percentage": 200.0,  # 3 of 6 slots instead of 2 of 12
            "current_downtime_hours": 1.5,
            "previous_downtime_hours": 1.0,
        }
    ]
    assert changed("rides-improving") == []


def test_a_change_of_five_percent_is_not_listed(database: Any) -> None:
    world = World(5)
    day_before, yesterday = DAY_BEFORE, YESTERDAY
    for downs in (19, 21, 18, 22):  # after 20 the day before: -5 %, 5 %, -10 %, 10 %
        letters = {day_before: "D" * 20 + "O" * 40, yesterday: "D" * downs + "O" * (60 - downs)}
        add(world, letters)
    world.store()
    for entity in ("park", "ride"):
        better, worse = changed(f"{entity}s-improving"), changed(f"{entity}s-declining")
        assert [(row[f"{entity}_id"], row["improvement_percentage"]) for row in better] == [(3, 10.0)]
        assert [(row[f"{entity}_id"], row["decline_percentage"]) for row in worse] == [(4, 10.0)]


def test_the_greatest_change_comes_first_and_ties_by_id(database: Any) -> None:
    world = World()
    for downs in (2, 1, 2, 6, 8, 6):
        add(world, {DAY_BEFORE: "D" * 4 + "O" * 8, YESTERDAY: "D" * downs + "O" * (12 - downs)})
    world.store()
    assert ids(changed("parks-improving"), "park_id") == [2, 1, 3]
    assert ids(changed("parks-declining"), "park_id") == [5, 4, 6]
    assert ids(changed("rides-improving", limit=2), "ride_id") == [2, 1]
    assert ids(changed("rides-declining", limit=1), "ride_id") == [5]


def test_without_downtime_or_operation_in_one_of_the_spans_there_is_no_change(database: Any) -> None:
    world = World()
    add(world, {DAY_BEFORE: "OOOO", YESTERDAY: "DDDD"})  # no percentage of nothing
    add(world, {YESTERDAY: "DDOO"})  # not seen before
    add(world, {DAY_BEFORE: "DDOO"})  # not seen since
    add(world, {DAY_BEFORE: "DDOO", YESTERDAY: "RRRR"})  # taken out of service: neither better nor worse
    world.store()
    assert [changed(category) for category in trends.CATEGORIES] == [[], [], [], []]


def test_a_ride_that_stopped_breaking_down_has_improved_by_everything(database: Any) -> None:
    world = World()
    add(world, {DAY_BEFORE: "DDOO", YESTERDAY: "OOOO"})
    world.store()
    (row,) = changed("rides-improving")
    assert (row["improvement_percentage"], row["current_uptime"], row["current_downtime_hours"]) == (100.0, 100.0, 0.0)


def test_today_is_compared_with_yesterday_until_the_same_time(database: Any) -> None:
    world = World()
    add(world, {YESTERDAY: "DDOOO" + "DDDDDDD", TODAY: "DOOOO"})
    world.store()
    (row,) = changed("rides-improving", "today", now=14)
    assert (row["previous_downtime_hours"], row["previous_uptime"]) == (1.0, 60.0)  # 12:00-14:00, five slots
    assert (row["current_downtime_hours"], row["current_uptime"]) == (0.5, 80.0)
    assert row["improvement_percentage"] == 50.0


def test_last_week_is_compared_with_the_week_before(database: Any) -> None:
    world = World()
    add(world, {WEEK_BEFORE: "DDDO", LAST_WEEK: "DOOO", DAY_BEFORE: "DDDD"})
    world.store()
    for period in ("last_week", "7days"):
        (row,) = changed("parks-improving", period)
        assert (row["previous_uptime"], row["current_uptime"], row["improvement_percentage"]) == (25.0, 75.0, 66.7)


@pytest.mark.parametrize(("period", "current", "previous"), [
    ("today", "2025-06-11 to 2025-06-11", "2025-06-10 to 2025-06-10"),
    ("yesterday", "2025-06-10 to 2025-06-10", "2025-06-09 to 2025-06-09"),
    ("last_week", "2025-06-01 to 2025-06-07", "2025-05-25 to 2025-05-31"),
    ("30days", "2025-05-01 to 2025-05-31", "2025-04-01 to 2025-04-30"),
])
def test_the_comparison_names_the_days(database: Any, period: str, current: str, previous: str) -> None:
    assert trends.comparison(asked(period)) == {"current_period": current, "previous_period": previous}


def test_inactive_ones_are_hidden_from_changes_of_today_only_and_the_filter_holds(database: Any) -> None:
    world = World()
    for park_type in ("disney", "other", "universal"):
        better = {DAY_BEFORE: "DDDDDD", YESTERDAY: "DDDDOO", TODAY: "DOOOOO"}
        add(world, better, better, park_type=park_type)
    world.store()
    Park.update({Park.is_active: False}).where(Park.park_id == 1).execute()
    Ride.update({Ride.is_active: False}).where(Ride.ride_id == 3).execute()
    assert ids(changed("parks-improving", "today"), "park_id") == [2, 3]
    assert ids(changed("parks-improving"), "park_id") == [1, 2, 3]
    assert ids(changed("rides-improving", "today"), "ride_id") == [4, 5, 6]
    assert ids(changed("rides-improving", parks="disney-universal"), "ride_id") == [1, 2, 5, 6]


# --- awards ----------------------------------------------------------------------------------------------------------


def waiting_world() -> World:
    world = World()
    first, second = world.park(), world.park()
    silent = LAST_WEEK + timedelta(days=2)
    for park_id, days in ((first, [YESTERDAY, LAST_WEEK, silent]), (second, [YESTERDAY])):
        for day in days:
            world.open(park_id, day, at(12, day), at(18, day))
    slow, quick, walk_on = world.ride(first), world.ride(first), world.ride(second)
    world.day_of(slow, "OOO", at(12, YESTERDAY), waits=[60, 61, None])
    world.day_of(slow, "O", at(12, LAST_WEEK), waits=[90])
    world.day_of(slow, "O", at(12, LAST_WEEK + timedelta(days=1)), waits=[45])  # the park is closed
    world.day_of(slow, "OO", at(12, silent))  # runs, and posts no wait
    world.day_of(quick, "OO", at(12, YESTERDAY), waits=[0, 5])
    world.day_of(walk_on, "OOO", at(12, YESTERDAY), waits=[0, 0, 1])  # 0.3 minutes: none to speak of
    return world


def test_the_longest_waits_of_a_day(database: Any) -> None:
    waiting_world().store()
    for _ in ("from readings", "from stored days"):
        assert trends.longest_waits(asked("yesterday"), "rides") == [
            {"rank": 1, "ride_id": 1, "ride_name": "Ride 1", "park_id": 1, "park_name": "Park 1",
             "avg_wait_time": 61.0, "peak_wait_time": 61, "snapshot_count": 2},
            {"rank": 2, "ride_id": 2, "ride_name": "Ride 2", "park_id": 1, "park_name": "Park 1",
             "avg_wait_time": 3.0, "peak_wait_time": 5, "snapshot_count": 2},
        ]
        assert trends.longest_waits(asked("yesterday"), "parks") == [
            {"rank": 1, "park_id": 1, "park_name": "Park 1", "location": "Town, ST",
             "avg_wait_time": 32.0, "rides_with_waits": 2},  # 126 minutes in 4 readings
        ]
        daily.aggregate(instant(at(20)))


def test_the_longest_waits_of_a_week_count_days(database: Any) -> None:
    waiting_world().store()
    for _ in ("from readings", "from stored days"):
        (row,) = trends.longest_waits(asked("last_week"), "rides")
        assert (row["avg_wait_time"], row["days_with_data"]) == (90.0, 1)
        assert "snapshot_count" not in row
        daily.aggregate(instant(at(20)))


def test_the_least_reliable(database: Any) -> None:
    world = World()
    add(world, {YESTERDAY: "ODDOODOOOOOO"}, {YESTERDAY: "OOOOOOOOOOOO"})
    add(world, {YESTERDAY: "DDOOOOOOOOOO"})
    add(world, {YESTERDAY: "OOOOOOOOOOOO"})
    world.store()
    for _ in ("from readings", "from stored days"):
        assert trends.least_reliable(asked("yesterday"), "rides") == [
            {"rank": 1, "ride_id": 1, "ride_name": "Ride 1", "park_id": 1, "park_name": "Park 1",
             "downtime_hours": 1.5, "downtime_incidents": 2, "uptime_percentage": 75.0},
            {"rank": 2, "ride_id": 3, "ride_name": "Ride 3", "park_id": 2, "park_name": "Park 2",
             "downtime_hours": 1.0, "downtime_incidents": 1, "uptime_percentage": 83.3},
        ]
        assert trends.least_reliable(asked("yesterday"), "parks") == [
            {"rank": 1, "park_id": 2, "park_name": "Park 2", "location": "Town, ST",
             "avg_shame_score": 1.7, "uptime_percentage": 83.3},  # 10 x 2 x 2 / (2 x 12)
            {"rank": 2, "park_id": 1, "park_name": "Park 1", "location": "Town, ST",
             "avg_shame_score": 1.3, "uptime_percentage": 87.5},  # 10 x 2 x 3 / (4 x 12)
        ]
        assert ids(trends.least_reliable(asked("yesterday", limit=1), "rides"), "ride_id") == [1]
        daily.aggregate(instant(at(20)))


# --- the same numbers everywhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_random_worlds_give_trends_and_awards_the_numbers_of_the_rankings(database: Any, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    compare(world, now)
    daily.aggregate(instant(now + 10 * 86400))
    for days in (0, 7, 30):
        compare(world, now + days * 86400)


def compare(world: World, now: int) -> None:
    oracle = world.reference(now)
    for period in ("today", "yesterday", "last_week", "last_month"):
        standings = Standings(Question(period, "all-parks", "", ALL, instant(now)))
        for category in trends.CATEGORIES:
            assert figures(trends.changes(standings, category), category) == expected(oracle, period, category)
        compare_awards(standings)


def figures(rows: list[Row], category: str) -> list[Figures]:
    id_ = "park_id" if "parks" in category else "ride_id"
    change = "improvement_percentage" if "improving" in category else "decline_percentage"
    columns = (id_, change, "current_uptime", "previous_uptime", "current_downtime_hours")
    return [tuple(row[name] for name in columns) for row in rows]


def expected(oracle: ref.Reference, period: str, category: str) -> list[Figures]:
    """The same from the reference: id, change, uptimes, hours."""
    sign = -1 if "improving" in category else 1
    if "parks" in category:
        ids_, tally = [park.park_id for park in oracle.listed_parks(period, "all-parks")], oracle.park_tally
    else:
        ids_, tally = [ride.ride_id for _, ride in oracle.listed_rides(period, "all-parks")], oracle.ride_tally
    found = []
    for id_ in ids_:
        current, before = tally(id_, oracle.span(period)), tally(id_, oracle.span_before(period))
        trend = ref.downtime_trend(current, before)
        if trend is not None and sign * trend > 5 and current.operating + current.down:
            hours = ref.rounded(oracle.hours(current.down), 2)
            uptimes = (ref.shown_uptime(current), ref.shown_uptime(before))
            found.append((-sign * trend, id_, (id_, ref.rounded(sign * trend, 1), *uptimes, hours)))
    return [row for _, _, row in sorted(found)]


def compare_awards(standings: Standings) -> None:
    standings.question = standings.question._replace(sort_by="shame_score")
    assert [
        (row["park_id"], row["avg_shame_score"]) for row in trends.least_reliable(standings, "parks")
    ] == [(row["park_id"], row["shame_score"]) for row in rankings.parks_by_downtime(standings)]
    standings.question = standings.question._replace(sort_by="downtime_hours")
    columns = ("ride_id", "downtime_hours", "uptime_percentage")
    assert [
        [row[name] for name in columns] for row in trends.least_reliable(standings, "rides")
    ] == [[row[name] for name in columns] for row in rankings.rides_by_downtime(standings)]
    for entity, ranking in (("park", rankings.parks_by_wait), ("ride", rankings.rides_by_wait)):
        awarded = ids(trends.longest_waits(standings, f"{entity}s"), f"{entity}_id")
        assert awarded == [
            row[f"{entity}_id"] for row in ranking(standings) if row["avg_wait_minutes"] >= 0.5
        ]
