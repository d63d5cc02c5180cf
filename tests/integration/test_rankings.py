"""Order, filters, limits and trends of the rankings, worked out by hand. Slots are half an hour, 12:00-18:00."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import pytest

from factories import World
from service import rules
from service.jobs import daily
from service.models import Park, Ride, RideStatusSnapshot
from service.periods import instant, wall_clock
from service.queries import Row, details, rankings
from service.queries.rankings import Question, Standings

TODAY = date(2025, 6, 11)  # a Wednesday
YESTERDAY = TODAY - timedelta(days=1)


def at(hour: float, day: date = TODAY) -> int:
    return wall_clock(day, time(0), "America/Los_Angeles") + int(hour * 3600)


class Parks(World):
    """Parks whose rides do something on a day from 12:00 on."""

    def add(self, days: dict[date, list[str]], park_type: str = "disney", **park: Any) -> int:
        park_id = self.park(park_type, **park)
        rides = [self.ride(park_id) for _ in next(iter(days.values()))]
        for day, letters in days.items():
            self.open(park_id, day, at(12, day), at(18, day))
            for ride_id, told in zip(rides, letters, strict=True):
                self.day_of(ride_id, told, at(12, day))
        return park_id


def asked(period: str, *, sort_by: str = "shame_score", limit: int = 50, parks: str = "all-parks") -> Standings:
    return Standings(Question(period, parks, sort_by, limit, instant(at(20))))


def parks(period: str, **question: Any) -> list[Row]:
    return rankings.parks_by_downtime(asked(period, **question))


def rides(period: str, sort_by: str = "downtime_hours") -> list[Row]:
    return rankings.rides_by_downtime(asked(period, sort_by=sort_by))


def ids(rows: list[Row], name: str = "park_id") -> list[int]:
    return [row[name] for row in rows]


def test_worst_first_and_ties_by_id(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: ["OOOODDOOOOOO"]})
    world.add({YESTERDAY: ["OOOODDDDOOOO"]})
    world.add({YESTERDAY: ["OOOOOODDOOOO"]})
    world.add({YESTERDAY: ["OOOOOOOOOOOO"]})  # nothing to be ashamed of
    world.store()
    rows = parks("yesterday")
    found = [(row["rank"], row["park_id"], row["shame_score"]) for row in rows]
    assert found == [(1, 2, 3.3), (2, 1, 1.7), (3, 3, 1.7)]
    assert ids(parks("yesterday", limit=1)) == [2]


def test_each_measure_orders_its_own_way(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: ["DDOOOOOOOOOO", "OOOOOOOOOOOO"]})  # score 0.8, uptime 91.7, 1 ride, 1 h
    world.add({YESTERDAY: ["DOOOOOOOOOOO"] * 3 + ["RRRRRRRRRRRR"]})  # score 0.8, uptime 91.7, 3 rides, 1.5 h
    world.add({YESTERDAY: ["DDRRRRRRRRRR", "OOOOOOOOOOOO", "OOOOOOOOOOOO"]})  # 0.6, 92.3, 1 ride, 1 h
    world.store()
    assert ids(parks("yesterday", sort_by="shame_score")) == [1, 2, 3]
    assert ids(parks("yesterday", sort_by="total_downtime_hours")) == [2, 1, 3]
    assert ids(parks("yesterday", sort_by="rides_down")) == [2, 1, 3]
    assert ids(parks("yesterday", sort_by="uptime_percentage")) == [1, 2, 3]
    assert [row["uptime_percentage"] for row in parks("yesterday")] == [91.7, 91.7, 92.3]


def test_the_filter_keeps_disney_and_universal(database: Any) -> None:
    world = Parks()
    for park_type in ("disney", "universal", "other"):
        world.add({YESTERDAY: ["ODOOOOOOOOOO"]}, park_type)
    world.store()
    assert ids(parks("yesterday", parks="disney-universal")) == [1, 2]
    totals = rankings.aggregate_stats(asked("yesterday", parks="disney-universal", limit=1))
    assert (totals["total_parks"], totals["total_downtime_hours"], totals["rides_down"]) == (2, 1.0, 2)


def test_inactive_parks_and_rides_are_hidden_from_today_but_not_from_the_past(database: Any) -> None:
    world = Parks()
    both = {YESTERDAY: ["ODOOOOOOOOOO", "ODDOOOOOOOOO"], TODAY: ["ODOOOOOOOOOO", "ODDOOOOOOOOO"]}
    world.add(both)
    world.add(both)
    world.store()
    Park.update({Park.is_active: False}).where(Park.park_id == 2).execute()
    Ride.update({Ride.is_active: False}).where(Ride.ride_id == 1).execute()
    assert (ids(parks("today")), ids(parks("yesterday"))) == ([1], [1, 2])
    assert ids(rides("today"), "ride_id") == [2]
    assert ids(rides("yesterday"), "ride_id") == [2, 4, 1, 3]
    assert parks("today")[0]["total_downtime_hours"] == 1.5  # the park's own number keeps its inactive ride


def test_totals_count_the_inactive_rides_whose_hours_they_add_up(database: Any) -> None:
    world = Parks()
    world.add({day: ["OODD", "OODO", "OOOO", "OOOC", "OOOR"] for day in (YESTERDAY, TODAY)})
    world.store()
    Ride.update({Ride.is_active: False}).where(Ride.ride_id != 2).execute()
    names = ("rides_operating", "rides_down", "rides_closed", "rides_refurbishment", "total_downtime_hours")
    totals = {
        period: rankings.aggregate_stats(Standings(Question(period, "all-parks", "shame_score", 9, instant(at(13.9)))))
        for period in ("live", "today", "yesterday")
    }
    assert [totals["live"][name] for name in names] == [2, 1, 1, 1, 1.5]
    assert [totals["today"][name] for name in names] == [2, 2, 1, 1, 1.5]
    assert [totals["yesterday"][name] for name in names] == [3, 2, 0, 0, 1.5]


def test_a_ride_that_is_no_attraction_any_more_is_counted_nowhere(database: Any) -> None:
    """Its stored days stay in those of its park: its readings are gone, so nothing can count them again."""
    world = Parks()
    park = world.add({YESTERDAY: ["OOOODDOOOOOO", "OOOODDDDOOOO"], TODAY: ["OO", "OO"]})
    world.store()
    daily.aggregate(instant(at(20)))
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < at(0)).execute()
    Ride.update(category=rules.Category.SHOW).where(Ride.ride_id == 2).execute()
    (row,) = parks("yesterday")
    assert (row["rides_down"], row["total_downtime_hours"]) == (1, 3.0)
    assert rankings.aggregate_stats(asked("yesterday"))["rides_down"] == 1
    assert ids(rides("yesterday"), "ride_id") == [1]
    page = Standings(Question("yesterday", "all-parks", "shame_score", 50, instant(at(20)), park))
    assert details.park_details(page)["shame_breakdown"]["rides_with_downtime"] == 1


def test_the_week_is_the_mean_of_its_days_with_a_score(database: Any) -> None:
    sunday, monday = date(2025, 6, 1), date(2025, 6, 2)
    world = Parks()
    world.add({sunday: ["DDDDDDOOOOOO"], monday: ["OOOOOOOOOOOO"]})  # 5.0 and 0.0, the other days nothing
    world.store()
    for _ in ("from readings", "from stored days"):
        (row,) = parks("last_week")
        assert (row["shame_score"], row["total_downtime_hours"], row["uptime_percentage"]) == (2.5, 3.0, 75.0)
        assert row["period_label"] == "Jun 1-7, 2025"
        assert ids(parks("last_month")) == []
        daily.aggregate(instant(at(20)))


def test_trend_is_the_change_of_downtime_per_open_slot(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: ["ODDOOOOOOOOO", "OOOOOOOOOOOO"], TODAY: ["ODDDOOOOOOOO", "OOOOOOOOOOOO"]})
    world.add({YESTERDAY: ["OOOOOOOOOOOO"], TODAY: ["ODDDOOOOOOOO"]})
    world.store()
    assert {row["park_id"]: row["trend_percentage"] for row in parks("today")} == {1: 50.0, 2: None}
    assert [row["trend_percentage"] for row in rides("today", "trend_percentage")] == [50.0, None]


def test_today_is_compared_with_the_same_hours_of_yesterday(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: ["ODOOOOODDDDD"], TODAY: ["ODDO"]})
    world.store()
    asked_at_two = Standings(Question("today", "all-parks", "shame_score", 9, instant(at(14))))
    (row,) = rankings.parks_by_downtime(asked_at_two)
    assert row["trend_percentage"] == 150.0  # 2 of 4 slots against 1 of 5, of which the last is that of 14:00 itself
    assert row["snapshot_count"] == 4


def test_rides_down_now_come_first_by_current_state(database: Any) -> None:
    world = Parks()
    world.add({TODAY: ["ODDDDDDDDDOO", "OOOOOOOOOOOD", "ODDOOOOOOOOO"]})
    world.store()
    question = Question("live", "all-parks", "current_is_open", 9, instant(at(17.6)))
    rows = rankings.rides_by_downtime(Standings(question))
    assert [(row["ride_id"], row["current_is_open"]) for row in rows] == [(2, False), (1, True), (3, True)]
    assert [row["current_status"] for row in rows] == ["DOWN", "OPERATING", "OPERATING"]


def test_waits_are_pooled_over_the_days(database: Any) -> None:
    world = World(30)
    park = world.park("disney")
    ride, other = world.ride(park), world.ride(park)
    for day, waits in ((YESTERDAY, [10, 20]), (YESTERDAY - timedelta(days=1), [60])):
        world.open(park, day, at(12, day), at(18, day))
        world.day_of(ride, "O" * len(waits), at(12, day), waits=waits)
    world.day_of(other, "OO", at(12, YESTERDAY), waits=[0, 0])  # a walk-on all day
    world.store()
    (row,) = rankings.rides_by_wait(asked("7day-average"))
    assert (row["ride_id"], row["avg_wait_minutes"], row["peak_wait_minutes"]) == (ride, 30.0, 60)
    (row,) = rankings.parks_by_wait(asked("yesterday"))
    assert (row["avg_wait_minutes"], row["peak_wait_minutes"], row["rides_reporting"]) == (7.5, 20, 1)
    assert row["trend_percentage"] == -87.5  # 60 the day before


@pytest.mark.parametrize("period", ["live", "today", "yesterday", "last_week", "last_month"])
def test_an_empty_database_has_empty_rankings(database: Any, period: str) -> None:
    assert parks(period) == rides(period) == rankings.parks_by_wait(asked(period)) == []
    assert rankings.rides_by_wait(asked(period)) == []
    totals = rankings.aggregate_stats(asked(period))
    assert (totals["total_parks"], totals["avg_uptime_percentage"], totals["total_downtime_hours"]) == (0, 100.0, 0.0)
