"""Counting one park's day, with literals worked out by hand. Slots are half an hour; the park day is 10:00-22:00."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import pytest

from factories import World
from service.models import RideStatusSnapshot
from service.periods import instant, wall_clock
from service.queries.days import Tallies
from service.queries.parts import Cells
from service.queries.series import BY_HOUR
from service.queries.tally import RideTally, Wanted

DAY = date(2025, 6, 10)
PACIFIC = "America/Los_Angeles"
SLOTS = 24  # of half an hour, 10:00 to 22:00


class OneRide:
    """A park open 10:00-22:00 with one ride."""

    def __init__(self, park_type: str = "disney", zone: str = PACIFIC, *, scheduled: bool = True) -> None:
        self.world, self.zone = World(30), zone
        self.park = self.world.park(park_type, zone)
        self.ride = self.world.ride(self.park)
        if scheduled:
            self.world.open(self.park, DAY, self.at(10), self.at(22))

    def at(self, hour: int, day: date = DAY) -> int:
        """An hour of the park's clock, in epoch seconds."""
        return wall_clock(day + timedelta(days=hour // 24), time(hour % 24), self.zone)

    def tally(self, letters: str, hour: int = 10, *, day: date = DAY, now: int | None = None) -> RideTally:
        """Store the ride's readings from `hour` on and count the day."""
        self.world.day_of(self.ride, letters, self.at(hour))
        return self.counted(day, now)

    def counted(self, day: date = DAY, now: int | None = None) -> RideTally:
        """Store everything and count the day."""
        self.world.store()
        tallies = Tallies(instant(self.at(30) if now is None else now))
        return tallies.count(tallies.universe.parks[self.park], day).rides[self.ride]


def test_ride_down_all_afternoon_counts_every_slot(database: Any) -> None:
    ride = OneRide().tally("OOOO" + "D" * 10 + "O" * 10)
    assert (ride.samples, ride.operating, ride.down) == (24, 14, 10)
    assert (ride.incidents, ride.longest, ride.status_changes) == (1, 10, 2)


def test_down_from_opening_until_closing_counts_though_it_never_ran(database: Any) -> None:
    ride = OneRide().tally("D" * SLOTS)
    assert (ride.operated, ride.down, ride.status_changes) == (True, 24, 1)


def test_closed_park_has_no_downtime(database: Any) -> None:
    one = OneRide()
    one.world.day_of(one.ride, "D" * 8, one.at(6))  # before opening
    one.world.day_of(one.ride, "D" * 4, one.at(22))  # the slot of the closing time is closed
    ride = one.tally("O" * SLOTS)
    assert (ride.samples, ride.operating, ride.down) == (24, 24, 0)


def test_a_disney_ride_that_is_closed_at_midday_is_not_down(database: Any) -> None:
    assert OneRide("disney").tally("OOCCCCOO").down == 0


def test_elsewhere_closed_between_two_runs_is_an_outage(database: Any) -> None:
    ride = OneRide("other").tally("CCOOCCCCOOCC")
    assert (ride.down, ride.incidents, ride.status_changes) == (4, 1, 2)


def test_a_late_opening_and_an_early_closing_are_no_outage(database: Any) -> None:
    assert OneRide("other").tally("CCCCOOOOCCCC").down == 0


def test_a_silent_feed_tells_no_breakdown_from_a_closure_so_the_reopening_decides(database: Any) -> None:
    assert OneRide("disney").tally("ccoocccoocc").down == 3


def test_refurbishment_is_never_down_and_not_expected_to_run(database: Any) -> None:
    ride = OneRide("other").tally("R" * SLOTS)
    assert (ride.operated, ride.operating, ride.down, ride.samples) == (False, 0, 0, 24)


def test_a_gap_is_not_downtime_and_does_not_end_an_outage_of_half_an_hour(database: Any) -> None:
    ride = OneRide().tally("OODD_DDOO")
    assert (ride.down, ride.incidents, ride.longest) == (4, 1, 4)


def test_a_longer_gap_ends_an_outage(database: Any) -> None:
    ride = OneRide().tally("OODD__DDOO")
    assert (ride.down, ride.incidents, ride.longest) == (4, 2, 2)


def test_a_known_slot_that_is_not_down_ends_an_outage(database: Any) -> None:
    ride = OneRide().tally("OODDCDDOO")
    assert (ride.down, ride.incidents) == (4, 2)


def test_a_running_day_knows_only_what_was_seen(database: Any) -> None:
    one = OneRide("other")
    assert one.tally("OOCCCO", now=one.at(12)).down == 0  # still closed at noon: it may have closed for the day
    assert one.counted(now=one.at(13)).down == 3  # reopened at 12:30


def test_waits_count_while_operating_and_known(database: Any) -> None:
    one = OneRide()
    one.world.day_of(one.ride, "OOOOC", one.at(10), waits=[30, 0, None, 45, 90])
    ride = one.counted()
    assert (ride.wait_sum, ride.wait_samples, ride.wait_min, ride.wait_max) == (75, 3, 0, 45)


def test_a_flag_only_feed_cannot_post_a_wait_of_0(database: Any) -> None:
    one = OneRide()
    one.world.day_of(one.ride, "ooo", one.at(10), waits=[30, 0, 60])
    ride = one.counted()
    assert (ride.wait_sum, ride.wait_samples) == (90, 2)


def test_an_outage_over_pacific_midnight_is_cut_into_both_days(database: Any) -> None:
    one = OneRide("other", "Asia/Tokyo")  # Pacific midnight is 16:00 there
    ride = one.tally("O" + "C" * 20 + "OOO", day=date(2025, 6, 9))
    assert (ride.operating, ride.down, ride.incidents, ride.status_changes) == (1, 11, 1, 1)
    later = one.counted(date(2025, 6, 10))
    assert (later.operating, later.down, later.incidents, later.status_changes) == (3, 9, 1, 1)


def test_a_park_that_closes_after_midnight_is_open_until_then(database: Any) -> None:
    one = OneRide(scheduled=False)
    one.world.open(one.park, DAY, one.at(20), one.at(26))
    one.world.day_of(one.ride, "O" * 16, one.at(20))
    assert one.counted(DAY).operating == 8
    assert one.counted(DAY + timedelta(days=1)).operating == 4


@pytest.mark.parametrize(("away", "operating"), [(7, 0), (8, 6)])
def test_a_schedule_within_a_week_means_closed_outside_it(database: Any, away: int, operating: int) -> None:
    one = OneRide(scheduled=False)
    posted = DAY - timedelta(days=away)
    one.world.open(one.park, posted, one.at(10, posted), one.at(22, posted))
    one.world.day_of(one.ride, "CCOOOOOOCC", one.at(10))
    one.world.store()
    tallies = Tallies(instant(one.at(30)))
    ride = tallies.count(tallies.universe.parks[one.park], DAY).rides.get(one.ride)
    assert (ride.operating if ride else 0) == operating


def test_without_a_schedule_half_of_the_rides_open_the_park(database: Any) -> None:
    one = OneRide(scheduled=False)
    other = one.world.ride(one.park)
    third = one.world.ride(one.park)
    one.world.day_of(other, "CCCOOOOOCC", one.at(10))
    one.world.day_of(third, "CCCCCCCCCC", one.at(10))
    ride = one.tally("COOOODDOOO")  # open from the fourth to the eighth slot
    assert (ride.samples, ride.operating, ride.down) == (5, 3, 2)


@pytest.mark.parametrize(("day", "hours"), [(date(2025, 3, 9), 23), (date(2025, 11, 2), 25), (DAY, 24)])
def test_a_day_has_the_hours_of_its_clock(database: Any, day: date, hours: int) -> None:
    one = OneRide(scheduled=False)
    start = wall_clock(day, time(0), PACIFIC)
    one.world.open(one.park, day, start - 86400, start + 2 * 86400)
    one.world.day_of(one.ride, "O" * 200, start - 86400)
    assert one.counted(day, start + 10 * 86400).operating == 2 * hours


def test_slots_are_observed_when_any_ride_reports(database: Any) -> None:
    one = OneRide()
    other = one.world.ride(one.park)
    one.world.day_of(one.ride, "OO__OO", one.at(10))
    one.world.day_of(other, "_OO__O", one.at(10))
    one.world.store()
    tallies = Tallies(instant(one.at(30)))
    counted = tallies.count(tallies.universe.parks[one.park], DAY)
    assert (counted.slots, counted.open_slots) == (5, 24)


def test_shows_are_not_counted(database: Any) -> None:
    one = OneRide()
    one.world.day_of(one.world.ride(one.park, category="SHOW"), "D" * SLOTS, one.at(10))
    one.world.day_of(one.ride, "O" * SLOTS, one.at(10))
    one.world.store()
    tallies = Tallies(instant(one.at(30)))
    assert list(tallies.count(tallies.universe.parks[one.park], DAY).rides) == [one.ride]


def test_an_inactive_ride_still_counts_for_its_park(database: Any) -> None:
    one = OneRide()
    gone = one.world.ride(one.park, tier=1, is_active=False)
    one.world.day_of(one.ride, "O" * SLOTS, one.at(10))
    one.world.day_of(gone, "O" * 12 + "D" * 12, one.at(10))
    one.world.store()
    tallies = Tallies(instant(one.at(30)))
    total = tallies.park_day(tallies.universe.parks[one.park], DAY)
    assert (total.roster_weight, total.weighted_down, total.slots) == (5, 36, 24)
    assert total.score == 3  # 10 x 36 / (5 x 24)


@pytest.mark.parametrize(("days_ago", "weight"), [(6, 5), (7, 2)])
def test_the_roster_is_what_operated_within_seven_days(database: Any, days_ago: int, weight: int) -> None:
    one = OneRide()
    idle = one.world.ride(one.park, tier=1)
    before = DAY - timedelta(days=days_ago)
    one.world.open(one.park, before, one.at(10, before), one.at(22, before))
    one.world.day_of(idle, "O", one.at(10, before))
    one.world.day_of(one.ride, "O" * SLOTS, one.at(10))
    one.world.store()
    tallies = Tallies(instant(one.at(30)))
    assert tallies.park_day(tallies.universe.parks[one.park], DAY).roster_weight == weight


def test_a_reading_knows_whether_it_operates_in_python_and_in_sql(database: Any) -> None:
    one = OneRide()
    one.world.day_of(one.ride, "ODCRoc", one.at(10))
    one.world.store()
    readings = list(RideStatusSnapshot.select().order_by(RideStatusSnapshot.snapshot_time))
    assert [reading.is_operating for reading in readings] == [True, False, False, False, True, False]
    assert [reading.computed_is_open for reading in readings] == [reading.is_operating for reading in readings]
    for condition in (RideStatusSnapshot.is_operating, RideStatusSnapshot.computed_is_open):
        assert RideStatusSnapshot.select().where(condition).count() == 2


# --- buckets ---------------------------------------------------------------------------------------------------------


def test_an_hour_has_its_share_of_an_outage(database: Any) -> None:
    one = OneRide()
    one.world.day_of(one.ride, "OODDDO", one.at(10), [10, 30])
    one.world.store()
    tallies = Tallies(instant(one.at(30)))
    park = tallies.universe.parks[one.park]
    hours = tallies.park_parts(park, DAY, BY_HOUR)
    rides = {start: rides[one.ride] for start, rides in tallies.ride_parts(park, DAY, BY_HOUR).items()}
    assert list(hours) == [one.at(hour) for hour in range(10, 22)]
    assert {start: (ride.operating, ride.down, ride.incidents) for start, ride in rides.items()} == {
        one.at(10): (2, 0, 0),
        one.at(11): (0, 2, 1),
        one.at(12): (1, 1, 1),
    }
    assert (rides[one.at(10)].wait_sum, rides[one.at(10)].wait_samples, rides[one.at(10)].wait_max) == (40, 2, 30)
    assert [(hours[one.at(hour)].operating, hours[one.at(hour)].down) for hour in (10, 11, 12)] == [
        (2, 0),
        (0, 2),
        (1, 1),
    ]
    assert (hours[one.at(10)].wait_sum, hours[one.at(10)].wait_samples, hours[one.at(10)].wait_max) == (40, 2, 30)
    assert [hours[one.at(hour)].slots for hour in (10, 12, 13)] == [2, 2, 0]
    assert [hours[one.at(hour)].score for hour in (10, 11, 12, 13)] == [0, 10, 5, None]


def test_a_cell_longer_than_an_opening_holds_only_what_was_open(database: Any) -> None:
    one = OneRide()
    one.world.day_of(one.ride, "OD" * 30, one.at(0))
    one.world.store()
    tallies = Tallies(instant(one.at(30)))
    cells = tallies.park_parts(tallies.universe.parks[one.park], DAY, Cells(6 * 3600))
    assert [cell.open_slots for cell in cells.values()] == [2, 12, 10]  # 17:00-18:00, 18:00-24:00, 0:00-5:00 UTC
    assert sum(cell.slots for cell in cells.values()) == 24


def test_cells_begin_where_they_are_told_to(database: Any) -> None:
    one = OneRide()
    one.world.day_of(one.ride, "OODDDO", one.at(10))
    one.world.store()
    tallies = Tallies(instant(one.at(30)))
    cells = tallies.park_parts(tallies.universe.parks[one.park], DAY, Cells(3600, one.at(10) + 1800))
    assert [(start - one.at(10), cell.operating, cell.down) for start, cell in cells.items()][:4] == [
        (-1800, 1, 0),
        (1800, 1, 1),
        (5400, 0, 2),
        (9000, 1, 0),
    ]


@pytest.mark.parametrize("missing", [(), (0,), (0, 1)], ids=["none", "of one ride", "of both rides"])
def test_a_slot_is_observed_when_any_ride_reports(database: Any, missing: tuple[int, ...]) -> None:
    """Whether or not downtime is wanted: both look for a ride that spares counting all of them."""
    one = OneRide()
    rides = [one.ride, one.world.ride(one.park)]
    for number, ride_id in enumerate(rides):
        one.world.day_of(ride_id, "OOO.OO" if number in missing else "OOOOOO", one.at(10))
    one.world.store()
    for wanted in Wanted:
        tallies = Tallies(instant(one.at(30)))
        hours = tallies.park_parts(tallies.universe.parks[one.park], DAY, BY_HOUR, wanted=wanted)
        slots = [2, 1 if len(missing) == 2 else 2, 2, 0]
        assert [hours[one.at(hour)].slots for hour in (10, 11, 12, 13)] == slots, wanted


def test_what_is_wanted_brings_what_it_rests_on(database: Any) -> None:
    """A tally that was asked for less is counted again when more is wanted, and says nothing of what it did not see."""
    one = OneRide()
    one.world.day_of(one.ride, "OODDDO", one.at(10), [10, 30])
    one.world.store()
    tallies = Tallies(instant(one.at(30)))
    park = tallies.universe.parks[one.park]

    def ride(wanted: Wanted) -> RideTally:
        return tallies.count(park, DAY, wanted=wanted).rides[one.ride]

    assert (ride(Wanted.OPERATING).operating, ride(Wanted.OPERATING).wait_samples) == (3, 0)
    assert (ride(Wanted.DETAILS).incidents, ride(Wanted.DETAILS).longest, ride(Wanted.DETAILS).down) == (1, 3, 3)
    assert (ride(Wanted.WAITS).wait_sum, ride(Wanted.WAITS).wait_samples, ride(Wanted.WAITS).down) == (40, 2, 3)
