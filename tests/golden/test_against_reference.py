"""Random worlds and real recordings give the same numbers as the independent reference, from raw readings, from
stored days, and with the data gone on since."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

import reference as ref
from factories import World, random_world
from service.jobs import daily
from service.periods import instant, named, pacific_date
from service.queries import live, rankings
from service.queries.catalog import FILTERS, ParkFacts
from service.queries.days import Tallies
from service.queries.rankings import Question, Standings
from service.queries.series import BY_HOUR
from service.queries.tally import RideTally

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "real"
PERIODS = ("live", "today", "yesterday", "last_week", "last_month")
ALL = 10**6


@pytest.mark.parametrize("seed", range(8))
def test_a_random_world_gives_the_reference_numbers(database: Any, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    compare_days(world, now)
    compare_rankings(world, now)
    daily.aggregate(instant(now))
    compare_rankings(world, now)
    daily.aggregate(instant(now) + timedelta(days=30))  # all readings seen, and asked again as of then and later
    compare_rankings(world, now)
    compare_rankings(world, now + 20 * 86400)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the real recordings are not here")
@pytest.mark.parametrize(
    ("folder", "minutes", "now"),
    [
        ("wdw-2025-05", 15, "2025-05-18T15:00:00+00:00"),
        ("wdw-2025-05", 15, "2025-06-02T18:00:00+00:00"),
        ("wdw-2025-05", 15, "2025-05-15T22:40:00+00:00"),
        ("dlp-2026-04", 5, "2026-04-20T15:00:00+00:00"),
    ],
)
def test_a_real_recording_gives_the_reference_numbers(database: Any, folder: str, minutes: int, now: str) -> None:
    world = World(minutes)
    _, world.parks, world.rides, world.schedules, world.readings = ref.load(RECORDINGS / folder, minutes)
    world.store()
    at = int(ref.datetime.fromisoformat(now).timestamp())
    compare_rankings(world, at)
    daily.aggregate(instant(at))
    compare_rankings(world, at)


def compare_days(world: World, now: int) -> None:
    """Every park and day, and every ride of them, from raw readings."""
    oracle, tallies = world.reference(now), Tallies(instant(now))
    for day in sorted({pacific_date(reading.slot) for reading in world.readings}):
        for park in tallies.universe.parks.values() if day <= pacific_date(now) else ():
            expected, found = oracle.park_day(park.park_id, day), tallies.park_day(park, day)._asdict()
            for name in found.keys() & expected.keys():
                assert found[name] == expected[name], (day, park, name)
            rides = tallies.count(park, day).rides
            assert set(rides) == {ride for ride, counts in expected["rides"].items() if counts["samples"]}
            for ride_id, ride in rides.items():
                counts = expected["rides"][ride_id]
                assert (ride.longest * world.interval_minutes or None) == counts["longest_minutes"]
                for name in ride._asdict().keys() & counts.keys():
                    assert getattr(ride, name) == counts[name], (day, ride_id, name)
            compare_parts(tallies, park, day)


def compare_parts(tallies: Tallies, park: ParkFacts, day: date) -> None:
    """The hours of a day add up to it, those of the park and those of its rides."""
    whole, hours = tallies.park_day(park, day), tallies.park_parts(park, day, BY_HOUR).values()
    for name in ("slots", "open_slots", "operating", "down", "weighted_down", "wait_sum", "wait_samples"):
        assert sum(getattr(hour, name) for hour in hours) == getattr(whole, name), (day, park, name)
    assert max((hour.wait_max for hour in hours if hour.wait_max is not None), default=None) == whole.wait_max
    by_ride = tallies.ride_parts(park, day, BY_HOUR).values()
    for ride_id, ride in tallies.count(park, day).rides.items():
        parts = [rides[ride_id] for rides in by_ride if ride_id in rides]
        for name in ("samples", "operating", "down", "status_changes", "wait_sum", "wait_samples"):
            assert sum(getattr(part, name) for part in parts) == getattr(ride, name), (day, ride_id, name)
        assert max((part.wait_max for part in parts if part.wait_max is not None), default=None) == ride.wait_max


def compare_rankings(world: World, now: int) -> None:
    """Every ranking, period, filter and order."""
    oracle = world.reference(now)

    def ask(period: str, park_filter: str, sort_by: str = "") -> Standings:
        return Standings(Question(period, park_filter, sort_by, ALL, instant(now)))

    for park_filter in FILTERS:
        for period in PERIODS:
            asked = ask(period, park_filter)
            same([rankings.aggregate_stats(asked)], [oracle.aggregate_stats(period, park_filter)])
            same(rankings.parks_by_wait(asked), oracle.parks_waittimes(period, park_filter))
            for sort_by in rankings.PARK_SORTS:
                asked.question = asked.question._replace(sort_by=sort_by)
                same(rankings.parks_by_downtime(asked), oracle.parks_downtime(period, park_filter, sort_by))
            for sort_by in rankings.RIDE_SORTS:
                asked.question = asked.question._replace(sort_by=sort_by)
                same(rankings.rides_by_downtime(asked), oracle.rides_downtime(period, park_filter, sort_by))
        compare_ride_days(world, now, park_filter)
        for mode in rankings.MODES:
            same(rankings.rides_by_wait(ask(mode, park_filter)), oracle.rides_waittimes(mode, park_filter))
        assert live.status_summary(park_filter, None, instant(now)) == oracle.status_summary(park_filter)


def compare_ride_days(world: World, now: int, park_filter: str) -> None:
    """The days of a month add up to it, stored or not."""
    tallies, span = Tallies(instant(now)), named("last_month", instant(now))
    parks = tallies.universe.filtered(park_filter, active_only=False)
    summed: dict[int, RideTally] = {}
    for rides in tallies.ride_days(span, parks).values():
        for ride in rides:
            summed[ride.ride_id] = summed[ride.ride_id].plus(ride) if ride.ride_id in summed else ride
    assert summed == tallies.rides(span, parks)


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Our rows may say more than the reference's, never something else."""
    pairs = zip(found, expected, strict=True)
    assert [{name: row.get(name, "missing") for name in wanted} for row, wanted in pairs] == expected
