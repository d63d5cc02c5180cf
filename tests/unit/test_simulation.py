import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from datetime import date, timedelta

import pytest

from service.errors import BadRequest
from service.feeds.simulation import World
from service.periods import known_zone, pacific_date, pacific_day
from service.rules import Category, ParkType, ScheduleType, Status

SPRING_FORWARD, FALL_BACK = date(2026, 3, 8), date(2026, 11, 1)
ORDINARY = date(2026, 9, 16)
MONTH = [date(2026, 9, 10) + timedelta(days=days) for days in range(30)]

FINGERPRINT = """
import hashlib
from datetime import date
from service.feeds.simulation import World
world = World(12, 7, "small")
readings = [list(world.readings(park_id, date(2026, 9, 16), 5)) for park_id in world.sites]
text = repr((world.parks, world.rides, readings))
print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def world():
    return World(12, 7, "small")


@pytest.fixture(scope="module")
def month(world):
    """Per ride: its readings of 30 days, 15 minutes apart."""
    readings = defaultdict(list)
    for day in MONTH:
        for park_id in world.sites:
            for slot, ride_id, status, is_open, wait in world.readings(park_id, day, 15):
                readings[ride_id].append((slot, status, is_open, wait))
    return readings


def fingerprint(hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.check_output([sys.executable, "-c", FINGERPRINT], env=environment, text=True).strip()


# --- the same world, whoever looks -----------------------------------------------------------------------------------


def test_every_process_sees_the_same_bytes(world):
    readings = [list(world.readings(park_id, ORDINARY, 5)) for park_id in world.sites]
    text = repr((world.parks, world.rides, readings))
    here = hashlib.sha256(text.encode()).hexdigest()
    assert [fingerprint("1"), fingerprint("2")] == [here, here]


def test_a_day_alone_equals_that_day_within_a_run(world):
    run = {day: list(world.readings(4, day, 5)) for day in MONTH[:5]}
    assert list(World(12, 7, "small").readings(4, MONTH[3], 5)) == run[MONTH[3]]


def test_another_seed_is_another_world():
    readings = [list(World(1, seed, "small").readings(1, ORDINARY, 60)) for seed in (1, 2)]
    assert readings[0] != readings[1]


def test_a_larger_catalog_only_adds(world):
    few, production = World(3, 7, "small"), World(12, 7, "production")
    assert few.parks == world.parks[:3]
    assert set(few.rides) < set(world.rides) < set(production.rides)
    small_day = list(world.readings(2, ORDINARY, 5))
    ids = {ride_id for _, ride_id, *_ in small_day}
    assert [reading for reading in production.readings(2, ORDINARY, 5) if reading[1] in ids] == small_day


def test_a_coarser_interval_sees_the_same_world(world):
    fine = {reading[:2]: reading for reading in world.readings(5, ORDINARY, 5)}
    coarse = list(world.readings(5, ORDINARY, 30))
    assert coarse == [fine[reading[:2]] for reading in coarse]


# --- the catalog -----------------------------------------------------------------------------------------------------


def test_production_is_80_parks_with_3500_rides():
    world = World(80, 1, "production")
    sizes = [len(rides) for rides in world.rides_of.values()]
    assert (len(world.parks), len(world.rides), min(sizes), max(sizes)) == (80, 3500, 25, 60)
    assert len({park.name for park in world.parks}) == 80
    for rides in world.rides_of.values():
        assert len({ride.name for ride, _ in rides}) == len(rides)


def test_catalog_has_every_kind_of_park_and_ride(world):
    assert {park.park_type for park in world.parks} == set(ParkType)
    assert len({park.timezone for park in world.parks}) >= 8
    assert all(known_zone(park.timezone) for park in World(81, 1, "small").parks)
    assert {ride.tier for ride in world.rides if ride.category is Category.ATTRACTION} == {1, 2, 3, None}
    assert {ride.category for ride in world.rides} == set(Category)
    assert 1 <= sum(not ride.is_active for ride in world.rides) <= 6
    assert len({ride.source_id for ride in world.rides}) == len(world.rides)
    names = " ".join(record.name for record in [*world.parks, *world.rides])
    assert "'" in names and not names.isascii()
    assert "single rider" not in names.lower()


@pytest.mark.parametrize("arguments", [(0, 1, "small"), (82, 1, "small"), (3, 1, "huge")])
def test_a_world_that_does_not_exist_is_refused(arguments):
    with pytest.raises(BadRequest, match="1 to 81 parks|small or production"):
        World(*arguments)


# --- hours -----------------------------------------------------------------------------------------------------------


def test_one_park_posts_no_hours_and_runs_all_the_same(world, month):
    silent = [park_id for park_id in world.sites if not any(world.openings(park_id, day) for day in MONTH)]
    assert silent == [2]
    assert any(is_open for ride, _ in world.rides_of[2] for _, _, is_open, _ in month[ride.source_id])


def test_openings_are_in_order_and_belong_to_their_day(world):
    for park_id in world.sites:
        for day in MONTH:
            for row in world.openings(park_id, day):
                assert row.schedule_date == day
                assert (row.opening_at < row.closing_at) is (row.schedule_type is not ScheduleType.CLOSED)


def test_some_park_closes_after_midnight(world):
    late = world.sites[8].record
    (row,) = world.openings(8, date(2026, 9, 18))
    assert late.timezone == "Europe/Madrid"
    assert row.closing_at == 1_789_772_400  # 2026-09-19 01:00 in Madrid, 2026-09-18 23:00 UTC


def test_a_seasonal_park_rests_two_weeks_of_six(world):
    days = [date(2026, 6, 1) + timedelta(days=number) for number in range(42)]
    kinds = [[row.schedule_type for row in world.openings(9, day)] for day in days]
    assert kinds.count([ScheduleType.CLOSED]) == 14
    assert kinds.count([ScheduleType.OPERATING]) == 28


def test_extra_hours_and_events_are_posted_beside_the_hours(world):
    kinds = {row.schedule_type for park_id in world.sites for day in MONTH for row in world.openings(park_id, day)}
    assert kinds >= {ScheduleType.OPERATING, ScheduleType.EXTRA_HOURS, ScheduleType.TICKETED_EVENT}


# --- readings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [1, 5, 20, 60])
@pytest.mark.parametrize("day", [ORDINARY, SPRING_FORWARD, FALL_BACK])
def test_slots_are_in_order_multiples_of_the_interval_and_inside_the_pacific_day(world, day, interval):
    for park_id in (1, 6, 11):
        slots = [slot for slot, *_ in world.readings(park_id, day, interval)]
        assert slots == sorted(slots)
        assert all(slot % (interval * 60) == 0 and pacific_date(slot) == day for slot in slots)


def test_a_zone_of_half_hours_has_its_readings_on_the_same_slots():
    world = World(22, 1, "small")
    assert world.sites[22].record.timezone == "Asia/Kolkata"
    span = pacific_day(FALL_BACK)
    slots = {slot for slot, *_ in world.readings(22, FALL_BACK, 60)}
    gaps = world.collector_gaps(FALL_BACK)
    assert slots == {
        slot for slot in range(span.start, span.end, 3600) if not any(gap.start <= slot < gap.end for gap in gaps)
    }


def test_no_ride_has_two_readings_in_a_slot(world):
    keys = [reading[:2] for reading in world.readings(3, FALL_BACK, 5)]
    assert len(keys) == len(set(keys))


def test_waits_are_plausible_and_posted_only_while_operating(month):
    waits = [wait for readings in month.values() for _, status, is_open, wait in readings if wait is not None]
    assert min(waits) == 0 and 100 < max(waits) <= 480
    for readings in month.values():
        for _, status, is_open, wait in readings:
            assert not wait or status is Status.OPERATING or is_open


def test_statuses_come_only_from_feeds_that_tell(world, month):
    telling = set()
    for park in world.parks:
        for ride, _ in world.rides_of[park.source_id]:
            for _, status, is_open, wait in month[ride.source_id]:
                assert (status is None) is (is_open is not None)
                assert status is not None or wait is not None
                if status is not None:
                    telling.add(park.source_id)
    assert telling == {1, 3, 4, 5, 6, 7, 10, 12}
    assert {park.park_type for park in world.parks if park.source_id not in telling} == {ParkType.OTHER}


def test_readings_go_on_while_the_park_is_closed(world, month):
    span = pacific_day(MONTH[0])
    ride, _ = world.rides_of[1][0]
    slots = [slot for slot, *_ in month[ride.source_id] if span.start <= slot < span.end]
    assert slots[0] == span.start and slots[-1] == span.end - 900
    assert (span.start, Status.CLOSED, None, None) in month[ride.source_id]


# --- the traits of real recordings -----------------------------------------------------------------------------------


def test_there_are_outages_refurbishments_walk_ons_and_rides_without_waits(world, month):
    statuses = {status for readings in month.values() for _, status, _, _ in readings}
    assert statuses == {None, *Status}
    operating = {
        ride.source_id: [wait for _, status, is_open, wait in month[ride.source_id] if status is Status.OPERATING]
        for park_id in (1, 3, 5)
        for ride, _ in world.rides_of[park_id]
        if ride.category is Category.ATTRACTION
    }
    assert any(waits and all(wait is None for wait in waits) for waits in operating.values())
    assert any(0 in waits for waits in operating.values())


def test_a_refurbishment_lasts_for_a_week_or_more(month):
    days = defaultdict(set)
    for ride_id, readings in month.items():
        for slot, status, _, _ in readings:
            if status is Status.REFURBISHMENT:
                days[ride_id].add(pacific_date(slot))
    assert max(len(found) for found in days.values()) >= 7
    assert all(max(found) - min(found) <= timedelta(days=len(found)) for found in days.values())


def test_the_collector_is_off_now_and_then_for_all_parks(world):
    gaps = {day: world.collector_gaps(day) for day in MONTH}
    assert 2 <= sum(map(bool, gaps.values())) <= 15
    day = next(day for day, found in gaps.items() if found and found[0].end - found[0].start > 900)
    gap = gaps[day][0]
    for park_id in world.sites:
        assert not [slot for slot, *_ in world.readings(park_id, day, 5) if gap.start <= slot < gap.end]


def test_single_rides_are_missing_now_and_then(world):
    readings = [reading for park_id in world.sites for reading in world.readings(park_id, ORDINARY, 5)]
    slots, rides = {slot for slot, *_ in readings}, {ride_id for _, ride_id, *_ in readings}
    assert len(rides) == len(world.rides)
    assert 0.99 * len(slots) * len(rides) < len(readings) < len(slots) * len(rides)


def test_told_uptime_is_that_of_real_parks(world, month):
    for park_id in (1, 3, 5, 6, 7):
        hours = [
            (row.opening_at, row.closing_at)
            for day in MONTH
            for row in world.openings(park_id, day)
            if row.schedule_type is ScheduleType.OPERATING
        ]
        counts = {Status.OPERATING: 0, Status.DOWN: 0}
        for ride, _ in world.rides_of[park_id]:
            for slot, status, _, _ in month[ride.source_id]:
                if status in counts and any(opening <= slot < closing for opening, closing in hours):
                    counts[status] += 1
        assert 0.93 < counts[Status.OPERATING] / sum(counts.values()) < 0.995
