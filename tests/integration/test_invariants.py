"""What holds of the statistics of any world: parts add up to the whole, figures stay in their bounds, every day has its
rows, and whoever computes a day again gets the same.

All is checked on the stored rows alone, against each other and against the integers beside them.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

import factories
import pytest
import reference as ref
from freezegun import freeze_time
from peewee import fn

from service import clock, rules
from service.database import fetch
from service.feeds import Opening, simulation
from service.jobs import daily, demo, yearly
from service.jobs.store import store_readings, store_schedules
from service.models import (
    DailyParkStats,
    DailyStats,
    Park,
    Ride,
    RideStatusSnapshot,
    StatDay,
    YearlyParkStats,
    YearlyRideStats,
)
from service.periods import days_between, instant, pacific_date
from service.queries import state
from service.queries.hours import as_date

Row = dict[str, Any]
World = Callable[[], datetime]  # stores itself; an instant after its first day and before its last
SETTLED = timedelta(days=10)  # later than any local day of a world
STATISTICS = (StatDay, DailyParkStats, DailyStats, YearlyParkStats, YearlyRideStats)
SUMS = ("operating_minutes", "total_downtime_minutes", "wait_sum", "wait_samples")


def random_world(seed: int) -> World:
    def store() -> datetime:
        world, now = factories.random_world(seed)
        world.store()
        return instant(now)

    return store


def simulated_world(seed: int, now: str, *, parks: int = 5, days: int = 3) -> World:
    """Parks in five time zones, with seasons, storms, refurbishments, and feeds that do and do not tell a status."""

    def store() -> datetime:
        world, until = simulation.World(parks, seed, "small"), datetime.fromisoformat(now)
        demo.build_demo(world, days, interval_minutes=30, now=until, progress=lambda *_: None)
        return until

    return store


WORLDS: dict[str, World] = {
    **{f"random {seed}": random_world(seed) for seed in (2, 5, 17, 20, 37)},  # every season of FIRST_DAYS
    "simulated summer": simulated_world(1, "2025-07-06T05:00:00Z"),
    "simulated new year": simulated_world(2, "2025-01-01T20:00:00Z"),
    "simulated spring": simulated_world(3, "2025-03-10T20:00:00Z", parks=8),
}


class Stats(NamedTuple):
    """The stored statistics as rows of plain values, and as of when."""

    now: datetime
    minutes: int  # from slot to slot
    parks: list[Row]
    rides: list[Row]
    park_years: list[Row]
    ride_years: list[Row]

    def park_days(self) -> Iterator[tuple[Row, list[Row]]]:
        """Each park's row of a day, and those of its rides."""
        of_park = defaultdict(list)
        for ride in self.rides:
            of_park[ride["stat_date"], ride["park_id"]].append(ride)
        for park in self.parks:
            yield park, of_park.pop((park["stat_date"], park["park"]), [])
        assert not of_park, "rides of parks without a row"


def rows_of(model: Any) -> list[Row]:
    names = [field.name for field in model._meta.sorted_fields]
    found = [dict(zip(names, row, strict=True)) for row in fetch(model.select())]
    for row in found:
        row.update({"stat_date": as_date(row["stat_date"])} if "stat_date" in row else {})
    return sorted(found, key=lambda row: [row[field.name] for field in model._meta.get_primary_keys()])


def compute(now: datetime) -> Stats:
    """Run the daily job and read what it stored."""
    daily.aggregate(now)
    yearly.refresh_years(now)
    tables = (rows_of(model) for model in (DailyParkStats, DailyStats, YearlyParkStats, YearlyRideStats))
    return Stats(now, state.interval_minutes(), *tables)


def ran(row: Row) -> bool:
    """Whether a ride operated, or was down, at all."""
    return bool(row["operating_minutes"] or row["total_downtime_minutes"])


def thousandth(value: Any) -> Fraction:
    """A stored score, exactly: engines give decimals and floats."""
    return Fraction(round(float(value) * 1000), 1000)


def exact_score(weighted_minutes: int, park: Row, minutes: int) -> Fraction:
    """10 x weighted downtime / what the roster weighs over all observed slots."""
    return Fraction(10 * weighted_minutes, park["roster_weight"] * park["sample_count"] * minutes)


def half_up(value: Fraction, places: int) -> float:
    return float(Fraction(int(value * 10**places + Fraction(1, 2)), 10**places))


# --- what holds ------------------------------------------------------------------------------------------------------


def a_park_is_the_sum_of_its_rides(stats: Stats) -> None:
    for park, rides in stats.park_days():
        for name in SUMS:
            assert park[name] == sum(ride[name] for ride in rides), (park, name)
        weighted = sum(ride["weight"] * ride["total_downtime_minutes"] for ride in rides)
        assert park["weighted_downtime_minutes"] == weighted, park


def counts_of_a_park_are_counts_of_its_rides(stats: Stats) -> None:
    for park, rides in stats.park_days():
        assert park["rides_tracked"] == len(rides), park
        assert park["rides_with_downtime"] == sum(ride["total_downtime_minutes"] > 0 for ride in rides), park
        peaks = [ride["max_wait_time"] for ride in rides if ride["max_wait_time"] is not None]
        assert park["peak_wait_time"] == max(peaks, default=None), park
        assert {ride["open_minutes"] for ride in rides} <= {park["open_minutes"]}, park


def a_ride_has_no_more_than_was_observed(stats: Stats) -> None:
    for park, rides in stats.park_days():
        assert 0 <= park["sample_count"] * stats.minutes <= park["open_minutes"] <= 25 * 60, park
        samples = [ride["sample_count"] for ride in rides]
        assert max(samples, default=0) <= park["sample_count"] <= sum(samples), park
        for ride in rides:
            known = ride["operating_minutes"] + ride["total_downtime_minutes"]
            assert 0 <= known <= ride["sample_count"] * stats.minutes, ride
            assert 0 <= ride["wait_samples"] * stats.minutes <= ride["operating_minutes"], ride


def an_outage_is_a_part_of_the_downtime(stats: Stats) -> None:
    for ride in stats.rides:
        down, incidents = ride["total_downtime_minutes"], ride["downtime_incidents"]
        assert (ride["longest_downtime_minutes"] is None) == (incidents == 0) == (down == 0), ride
        if incidents:
            assert incidents * stats.minutes <= down <= incidents * ride["longest_downtime_minutes"], ride
            assert ride["longest_downtime_minutes"] + (incidents - 1) * stats.minutes <= down, ride
        assert 0 <= ride["status_changes"] <= 2 * incidents, ride


def uptime_is_of_the_time_a_ride_was_expected_to_run(stats: Stats) -> None:
    for row in (*stats.parks, *stats.rides):
        up, down = row["operating_minutes"], row["total_downtime_minutes"]
        if up + down == 0:
            assert row["uptime_percentage"] is None, row
        else:
            assert 0 <= row["uptime_percentage"] <= 100, row
            assert float(row["uptime_percentage"]) == half_up(Fraction(100 * up, up + down), 1), row


def waits_lie_between_the_shortest_and_the_longest(stats: Stats) -> None:
    for row in (*stats.parks, *stats.rides):
        if row["wait_samples"] == 0:
            assert (row["wait_sum"], row["avg_wait_time"]) == (0, None), row
        else:
            assert float(row["avg_wait_time"]) == half_up(Fraction(row["wait_sum"], row["wait_samples"]), 1), row
    for ride in stats.rides:
        if ride["wait_samples"]:
            assert 0 <= ride["min_wait_time"] <= ride["avg_wait_time"] <= ride["max_wait_time"] <= 480, ride
        else:
            assert ride["min_wait_time"] is ride["max_wait_time"] is None, ride


def scores_are_0_to_10_and_the_shares_of_rides_add_up(stats: Stats) -> None:
    for park, rides in stats.park_days():
        if park["roster_weight"] * park["sample_count"] == 0:
            assert park["shame_score"] is None and not any(map(ran, rides)), park
            continue
        shares = [exact_score(ride["weight"] * ride["total_downtime_minutes"], park, stats.minutes) for ride in rides]
        score = exact_score(park["weighted_downtime_minutes"], park, stats.minutes)
        assert sum(shares) == score and 0 <= score <= 10, park
        assert float(park["shame_score"]) == half_up(score, 3), park
        for ride, share in zip(rides, shares, strict=True):
            stored = ride["shame_score"]
            assert (float(stored) == half_up(share, 3)) if ran(ride) else stored is None, ride
        stored_shares = [thousandth(ride["shame_score"]) for ride in rides if ran(ride)]
        assert abs(sum(stored_shares) - thousandth(park["shame_score"])) <= Fraction(len(rides) + 1, 2000), park


def a_roster_is_what_operated_in_seven_days(stats: Stats) -> None:
    for park, _ in stats.park_days():
        last = park["stat_date"]
        week = {
            ride["ride"]: ride["weight"]
            for ride in stats.rides
            if ride["park_id"] == park["park"] and last - timedelta(days=6) <= ride["stat_date"] <= last and ran(ride)
        }
        assert park["roster_weight"] == sum(week.values()), park


def every_active_park_has_a_row_of_every_finished_day(stats: Stats) -> None:
    ((oldest,),) = fetch(RideStatusSnapshot.select(fn.MIN(RideStatusSnapshot.snapshot_time)))
    finished = set(days_between(pacific_date(oldest), pacific_date(stats.now) - timedelta(days=1)))
    active = {park.park_id for park in Park.select().where(Park.is_active)}
    found = [(park["stat_date"], park["park"]) for park in stats.parks]
    assert {key for key in found if key[1] in active} == {(day, park_id) for day in finished for park_id in active}
    assert len(set(found)) == len(found) and {day for day, _ in found} <= finished
    for park, rides in stats.park_days():
        assert park["park"] in active or rides, park
    assert {row["stat_date"] for row in rows_of(StatDay)} == finished


def the_ledger_counts_the_readings(stats: Stats) -> None:
    samples: dict[date, int] = defaultdict(int)
    for ride in stats.rides:
        samples[ride["stat_date"]] += ride["sample_count"]
    for entry in rows_of(StatDay):
        assert entry["sample_count"] == samples[entry["stat_date"]], entry


def years_are_sums_of_days(stats: Stats) -> None:
    for days, years, entity in ((stats.parks, stats.park_years, "park"), (stats.rides, stats.ride_years, "ride")):
        of_year = defaultdict(list)
        for row in days:
            of_year[row["stat_date"].year, row[entity]].append(row)
        assert {(row["year"], row[entity]) for row in years} == of_year.keys()
        for row in years:
            own = of_year[row["year"], row[entity]]
            for name in (*SUMS, "sample_count"):
                assert row[name] == sum(day[name] for day in own), (row, name)
            counted = [day for day in own if (ran(day) if entity == "ride" else day["shame_score"] is not None)]
            assert row["days_operated"] == len(counted), row
            assert (row["shame_score"] is None) == (not counted), row
            assert row["shame_score"] is None or 0 <= row["shame_score"] <= 10, row


def a_park_s_year_is_the_sum_of_its_rides(stats: Stats) -> None:
    park_of = {ride.ride_id: ride.park_id for ride in Ride.select()}
    for park in stats.park_years:
        rides = [
            row for row in stats.ride_years if (row["year"], park_of[row["ride"]]) == (park["year"], park["park"])
        ]
        for name in SUMS:
            assert park[name] == sum(row[name] for row in rides), (park, name)
        shares = [thousandth(row["shame_score"]) for row in rides if row["shame_score"] is not None]
        score = thousandth(park["shame_score"] or 0)
        assert abs(sum(shares) - score) <= Fraction(len(shares) + 1, 2000), park


INVARIANTS = (
    a_park_is_the_sum_of_its_rides,
    counts_of_a_park_are_counts_of_its_rides,
    a_ride_has_no_more_than_was_observed,
    an_outage_is_a_part_of_the_downtime,
    uptime_is_of_the_time_a_ride_was_expected_to_run,
    waits_lie_between_the_shortest_and_the_longest,
    scores_are_0_to_10_and_the_shares_of_rides_add_up,
    a_roster_is_what_operated_in_seven_days,
    every_active_park_has_a_row_of_every_finished_day,
    the_ledger_counts_the_readings,
    years_are_sums_of_days,
    a_park_s_year_is_the_sum_of_its_rides,
)


@pytest.mark.parametrize("name", WORLDS)
def test_in_every_world(database: Any, name: str) -> None:
    now = WORLDS[name]()
    for when in (now, now + SETTLED):  # while parks are still open somewhere, and when all is over
        stats = compute(when)
        for holds in INVARIANTS:
            holds(stats)
    assert any(park["total_downtime_minutes"] for park in stats.parks)  # a world to speak of
    assert any(park["shame_score"] is None for park in stats.parks)


# --- once more -------------------------------------------------------------------------------------------------------


def checksum(*, but: tuple[str, ...] = ("computed_at",)) -> str:
    """Of every column of all statistics except these."""
    digest = hashlib.sha256()
    for model in STATISTICS:
        for row in rows_of(model):
            digest.update(repr([(name, value) for name, value in row.items() if name not in but]).encode())
    return digest.hexdigest()


def stored_days() -> list[date]:
    """The days that are stored, oldest first."""
    return [row["stat_date"] for row in rows_of(StatDay)]


@pytest.mark.parametrize("name", ["random 5", "random 17", "simulated spring"])
def test_the_same_days_again_give_the_same_checksum(database: Any, name: str) -> None:
    late = WORLDS[name]() + SETTLED
    compute(late)
    days, first = stored_days(), checksum()
    years = sorted({day.year for day in days})
    later = [late + timedelta(minutes=minute) for minute in (1, 2, 3)]
    assert daily.recompute(days, later[0], rules.METRICS_VERSION).is_whole
    yearly.refresh_years(later[0], years)
    assert checksum() == first
    StatDay.update({StatDay.dirty: True}).execute()
    compute(later[1])
    assert checksum() == first
    for model in STATISTICS:
        model.delete().execute()
    for day in days:  # oldest first
        daily.compute_day(day, later[2], daily.Task(rules.METRICS_VERSION))
    yearly.refresh_years(later[2])
    assert checksum() == first
    DailyStats.update({DailyStats.status_changes: DailyStats.status_changes + 1}).execute()
    assert checksum() != first


def test_at_one_instant_even_the_time_of_computation_is_the_same(database: Any) -> None:
    late = WORLDS["random 20"]() + SETTLED
    with freeze_time(late):
        compute(clock.now())
        first = checksum(but=())
        for _ in range(2):
            assert daily.recompute(stored_days(), clock.now(), rules.METRICS_VERSION).is_whole
            yearly.refresh_years(clock.now(), {day.year for day in stored_days()})
            assert checksum(but=()) == first
    with freeze_time(late + timedelta(seconds=1)):
        daily.recompute(stored_days(), clock.now(), rules.METRICS_VERSION)
    assert checksum(but=()) != first


@pytest.mark.parametrize("seed", [301, 317])
def test_whatever_comes_when_the_rows_are_in_the_end_those_of_one_computation(database: Any, seed: int) -> None:
    """Readings come as hours go by, some four days late, half of the schedule when all is over; the job runs often."""
    world, _ = factories.random_world(seed, days=3)
    chance = random.Random(seed)
    waiting = [(row.slot + chance.choice((0,) * 40 + (4 * 86400,)), row) for row in world.readings]
    now, posted = min(when for when, _ in waiting), max(when for when, _ in waiting) - 86400
    schedules, world.schedules, world.readings = world.schedules, world.schedules[::2], []
    world.store()
    while waiting:
        now += chance.choice((3600, 20_000))
        collect(world, [row for when, row in waiting if when <= now], instant(now))
        waiting = [(when, row) for when, row in waiting if when > now]
        if schedules and now > posted:
            post(schedules, instant(now))
            schedules = []
        compute(instant(now))
    late = instant(now) + SETTLED
    compute(late)
    first = checksum()
    assert daily.recompute(stored_days(), late, rules.METRICS_VERSION, force=True).is_whole
    yearly.refresh_years(late, {day.year for day in stored_days()})
    assert checksum() == first


def collect(world: factories.World, come: list[ref.Reading], now: datetime) -> None:
    """Store readings as a collector does."""
    park_of = {ride.ride_id: ride.park_id for ride in world.rides}
    for park_id in sorted({park_of[row.ride_id] for row in come}):
        seen = [
            (row.slot, row.ride_id, rules.Status[row.status] if row.status else None, row.is_open, row.wait)
            for row in come
            if park_of[row.ride_id] == park_id
        ]
        source, minutes = rules.Source.QUEUE_TIMES, world.interval_minutes
        store_readings(park_id, seen, source=source, interval_minutes=minutes, now=now)


def post(schedules: list[ref.Schedule], now: datetime) -> None:
    """Store rows of schedules as a collector does."""
    for park_id in sorted({row.park_id for row in schedules}):
        own = [row for row in schedules if row.park_id == park_id]
        store_schedules(park_id, [Opening(row[1], rules.ScheduleType[row[2]], *row[3:]) for row in own], now)
