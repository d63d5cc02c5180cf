"""Stored days: what is computed, when, and that stored and raw answers are one."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import pytest

from factories import World, random_world
from service import rules
from service.database import fetch
from service.jobs import daily, marks
from service.models import (
    AggregationJobLog,
    DailyParkStats,
    DailyStats,
    JobStatus,
    RideStatusSnapshot,
    ServiceState,
    StatDay,
)
from service.periods import Span, instant, pacific_day, wall_clock
from service.queries import state
from service.queries.days import Tallies

DAY = date(2025, 6, 10)
PACIFIC = "America/Los_Angeles"


def noon(day: date, zone: str = PACIFIC) -> int:
    return wall_clock(day, time(12), zone)


def one_park(zone: str = PACIFIC) -> World:
    """A park whose only ride ran at noon and was down after it, on DAY."""
    world = World(30)
    ride = world.ride(world.park("disney", zone))
    world.day_of(ride, "OOODDO", noon(DAY, zone))
    return world


def stored_rows() -> list[tuple[Any, ...]]:
    """Everything in the daily tables but when it was computed."""
    found: list[tuple[Any, ...]] = []
    for model, columns in ((DailyStats, daily.RIDE_COLUMNS), (DailyParkStats, daily.PARK_COLUMNS)):
        found += fetch(model.select(*columns[:-1]).order_by(*columns[:2]))
    return found


def test_only_finished_days_are_computed_newest_first(database: Any) -> None:
    one_park().store()
    now = instant(noon(DAY + timedelta(days=3)))
    assert daily.missing_days(now, 1) == [DAY + timedelta(days=2), DAY + timedelta(days=1), DAY]
    assert daily.missing_days(now, 1, through=DAY) == [DAY]
    assert daily.missing_days(instant(noon(DAY)), 1) == []


def test_a_day_is_computed_once(database: Any) -> None:
    one_park().store()
    now = instant(noon(DAY + timedelta(days=2)))
    assert len(daily.aggregate(now).days) == 2
    before = stored_rows()
    assert daily.aggregate(now).days == []
    assert stored_rows() == before
    log = AggregationJobLog.get(AggregationJobLog.job_type == "aggregate")
    assert (log.status, log.period_start, log.period_end) == (JobStatus.SUCCESS, DAY, DAY + timedelta(days=1))


def test_the_numbers_of_a_day(database: Any) -> None:
    one_park().store()
    daily.aggregate(instant(noon(DAY + timedelta(days=1))))
    ride = DailyStats.get()
    assert (ride.operating_minutes, ride.total_downtime_minutes, ride.longest_downtime_minutes) == (120, 60, 60)
    assert (ride.open_minutes, ride.sample_count, ride.downtime_incidents, ride.status_changes) == (180, 6, 1, 2)
    park = DailyParkStats.get()
    assert (park.sample_count, park.rides_with_downtime, park.roster_weight) == (6, 1, 2)
    assert (str(park.uptime_percentage), str(park.shame_score)) == ("66.7", "3.333")  # 10 x 2 x 2 / (2 x 6)


def test_every_active_park_has_a_row_with_0_and_null_where_nothing_was_observed(database: Any) -> None:
    world = one_park()
    world.park("other")
    world.park("other", is_active=False)
    world.store()
    daily.aggregate(instant(noon(DAY + timedelta(days=1))))
    silent = DailyParkStats.get(DailyParkStats.park == 2)
    assert (silent.sample_count, silent.total_downtime_minutes, silent.wait_sum) == (0, 0, 0)
    assert (silent.shame_score, silent.uptime_percentage, silent.avg_wait_time) == (None, None, None)
    assert DailyParkStats.select().where(DailyParkStats.park == 3).count() == 0


def test_a_dirty_day_is_answered_from_readings_and_computed_again(database: Any) -> None:
    one_park().store()
    now = instant(noon(DAY + timedelta(days=1)))
    daily.aggregate(now)
    RideStatusSnapshot.update({RideStatusSnapshot.status: rules.Status.OPERATING}).execute()
    assert _down(DAY, now) == 2  # nobody said that the day changed
    StatDay.update({StatDay.dirty: True}).execute()
    assert _down(DAY, now) == 0
    assert daily.aggregate(now).days == [DAY]
    assert DailyStats.get().total_downtime_minutes == 0


def test_the_days_of_a_park_that_is_still_open_elsewhere_are_read_raw_until_it_closes(database: Any) -> None:
    world = one_park("Asia/Tokyo")  # closed at 15:00 there; the Pacific day ends at 16:00, the local day at 04:00
    park, ride = 1, 1
    world.parks[0] = world.parks[0]._replace(park_type="other")
    world.day_of(ride, "CC", noon(DAY, "Asia/Tokyo") + 3 * 3600)
    world.open(park, DAY, noon(DAY, "Asia/Tokyo"), noon(DAY, "Asia/Tokyo") + 8 * 3600)
    world.store()
    yesterday = DAY - timedelta(days=1)
    five = instant(noon(DAY, "Asia/Tokyo") + 5 * 3600)  # 17:00 in Tokyo, 01:00 Pacific
    assert daily.aggregate(five).days == [yesterday]
    assert _down(yesterday, five) == 2
    assert daily.missing_days(five, 1) == []  # not again and again until the local day is over
    World.day_of(world, ride, "O", noon(DAY, "Asia/Tokyo") + 6 * 3600)
    world.store()
    assert _down(yesterday, instant(noon(DAY, "Asia/Tokyo") + 7 * 3600)) == 4  # the reopening proves the outage
    settled = instant(noon(DAY, "Asia/Tokyo") + 17 * 3600)
    assert daily.missing_days(settled, 1) == [yesterday]
    daily.aggregate(settled)
    assert DailyStats.get().total_downtime_minutes == 120


def test_readings_written_while_a_day_is_computed_are_not_lost(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = one_park()
    world.store()
    make, late = daily.day_stats, []

    def interrupted(*args: Any) -> daily.DayStats:
        stats = make(*args)
        if not late:
            late.append(1)
            world.day_of(1, "DDDO", noon(DAY) + 3 * 3600)
            world.store()
            ServiceState.update({ServiceState.value: 2}).where(ServiceState.name == "revision_history").execute()
        return stats

    monkeypatch.setattr(daily, "day_stats", interrupted)
    daily.aggregate(instant(noon(DAY + timedelta(days=1))))
    assert DailyStats.get().total_downtime_minutes == 60 + 90


@pytest.mark.parametrize("seed", [3, 7])
def test_computing_again_in_another_order_gives_the_same_rows(database: Any, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    late = instant(now + 10 * 86400)
    daily.aggregate(late)
    newest_first = stored_rows()
    StatDay.delete().execute()
    for day in sorted(daily.missing_days(late, 1)):
        daily.compute_day(day, late, daily.Task(1))
    assert stored_rows() == newest_first


def test_days_whose_readings_are_gone_are_answered_from_their_rows(database: Any) -> None:
    world = one_park()
    world.day_of(1, "O", noon(DAY + timedelta(days=5)))
    world.store()
    now = instant(noon(DAY + timedelta(days=6)))
    daily.aggregate(now)
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < noon(DAY + timedelta(days=3))).execute()
    StatDay.update({StatDay.dirty: True}).execute()
    assert _down(DAY, now) == 2
    assert daily.missing_days(now, 1) == []
    tallies = Tallies(now)
    assert tallies.roster(tallies.universe.parks[1], DAY + timedelta(days=5)) == {1}


def test_the_oldest_day_that_is_held_is_not_computed_from_half_of_its_local_days(database: Any) -> None:
    world = one_park("Asia/Tokyo")
    world.parks[0] = world.parks[0]._replace(park_type="other")
    world.readings.clear()
    world.day_of(1, "O" + "C" * 10 + "O", noon(DAY, "Asia/Tokyo"))  # closed from 12:30 to 17:30; midnight is at 16:00
    world.store()
    now = instant(noon(DAY + timedelta(days=4)))
    daily.aggregate(now)
    assert _down(DAY, now) == 3
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < pacific_day(DAY).start).execute()
    StatDay.update({StatDay.dirty: True}).execute()
    assert DAY not in daily.missing_days(now, 1)
    assert _down(DAY, now) == 3


def test_a_new_version_does_not_rest_on_rosters_of_the_old(database: Any) -> None:
    world = one_park()
    other = world.ride(1)
    world.day_of(other, "O", noon(DAY - timedelta(days=2)))
    world.store()
    now = instant(noon(DAY + timedelta(days=1)))
    daily.aggregate(now)
    DailyStats.update({DailyStats.operating_minutes: 0}).execute()  # as if version 1 had judged otherwise
    DailyStats.update({DailyStats.total_downtime_minutes: 0}).execute()
    daily.compute_day(DAY, now, daily.Task(2))
    rows = DailyParkStats.select().where(DailyParkStats.stat_date == DAY)
    assert {row.metrics_version: row.roster_weight for row in rows} == {1: 4, 2: 4}


def test_writers_that_are_faster_than_a_day_do_not_starve_it(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one_park().store()
    make = daily.day_stats

    def overtaken(*args: Any) -> daily.DayStats:
        stats = make(*args)
        marks.bump(state.REVISION_HISTORY)
        return stats

    monkeypatch.setattr(daily, "day_stats", overtaken)
    assert daily.aggregate(instant(noon(DAY + timedelta(days=1)))).days == [DAY]


def test_a_storm_of_short_gaps_is_one_query_too_long_for_no_engine(database: Any) -> None:
    world = World(5)
    park = world.park("other")
    for _ in range(120):
        world.day_of(world.ride(park), "OCC_CCO", noon(DAY))
    world.store()
    tallies = Tallies(instant(noon(DAY + timedelta(days=1))))
    counted = tallies.count(tallies.universe.parks[park], DAY)
    assert (len(counted.outages), sum(ride.down for ride in counted.rides.values())) == (120, 480)


def _down(day: date, now: Any) -> int:
    """Down slots of the only ride as an answer would count them."""
    tallies = Tallies(now)
    return sum(ride.down for ride in tallies.rides(Span((day,), ""), tallies.universe.parks.values()).values())
