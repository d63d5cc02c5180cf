"""Yearly statistics and awards: equal to a naive sum over daily rows, at every turn of a year, and run twice."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from typing import Any

import pytest
from click.testing import CliRunner
from factories import World, random_world
from wsgi_client import Client

from cli import main
from service import clock, rules
from service.config import Settings
from service.database import fetch
from service.jobs import daily, yearly
from service.models import (
    AggregationJobLog,
    DailyParkStats,
    DailyStats,
    JobStatus,
    Ride,
    RideStatusSnapshot,
    ServiceState,
    StatDay,
    YearlyParkStats,
    YearlyRideStats,
)
from service.models.base import Base
from service.periods import instant, wall_clock
from service.queries import state
from service.queries.awards import park_awards, ride_awards
from service.queries.hours import as_date
from service.web import app as web

PACIFIC = "America/Los_Angeles"
JAN_2 = (2025, 1, 2)


def at(*day: int, clock: time = time(12)) -> datetime:
    return instant(wall_clock(date(*day), clock, PACIFIC))


def noon(day: date) -> int:
    return wall_clock(day, time(12), PACIFIC)


def park_of_two(*days: date, said: tuple[str, str] = ("OODDOO", "OOOODO")) -> World:
    """A park whose two rides, of weight 3 and 2, do what is `said` at noon of these days."""
    world = World(30)
    park = world.park("disney")
    for letters, tier in zip(said, (1, None), strict=True):
        ride = world.ride(park, tier=tier)
        for day in days:
            world.day_of(ride, letters, noon(day), (10, 20))
    return world


def aggregate(now: datetime) -> list[int]:
    daily.aggregate(now)
    return yearly.refresh_years(now)


def stored_years() -> list[tuple[Any, ...]]:
    """Every yearly row."""
    found: list[tuple[Any, ...]] = []
    for model, columns in ((YearlyParkStats, yearly.PARK_COLUMNS), (YearlyRideStats, yearly.RIDE_COLUMNS)):
        found += fetch(model.select(*columns).order_by(*columns[:3]))
    return found


def days_of(model: type[Base], year: int, version: int) -> list[dict[str, Any]]:
    """The daily rows of a year, as they are stored."""
    found = model.select().where(model.metrics_version == version).dicts()  # type: ignore[attr-defined]
    return [row for row in found if as_date(row["stat_date"]).year == year]


def naive(year: int, version: int = 1) -> dict[tuple[str, int], tuple[object, ...]]:
    """What daily rows of one version add up to: days, samples, down, operating, wait sum and samples, score."""
    minutes = state.get_state(state.INTERVAL)
    parks, rides = days_of(DailyParkStats, year, version), days_of(DailyStats, year, version)
    found: dict[tuple[str, int], tuple[object, ...]] = {}
    measure = {(row["stat_date"], row["park"]): row["roster_weight"] * row["sample_count"] for row in parks}
    scored: dict[int, int] = defaultdict(int)
    for park_id in {row["park"] for row in parks}:
        own = [row for row in parks if row["park"] == park_id]
        scores = [
            Fraction(10 * row["weighted_downtime_minutes"], minutes * measure[row["stat_date"], park_id])
            for row in own
            if measure[row["stat_date"], park_id]
        ]
        scored[park_id] = len(scores)
        found["park", park_id] = (len(scores), *added(own), thousandths(scores, len(scores)))
    for ride_id in {row["ride"] for row in rides}:
        own = [row for row in rides if row["ride"] == ride_id]
        ran = [row for row in own if row["operating_minutes"] or row["total_downtime_minutes"]]
        shares = [
            Fraction(10 * row["weight"] * row["total_downtime_minutes"], minutes * slots)
            for row in ran
            if (slots := measure[row["stat_date"], row["park_id"]])
        ]
        days = scored[own[0]["park_id"]] if ran else 0
        found["ride", ride_id] = (len(ran), *added(own), thousandths(shares, days))
    return found


def added(days: list[dict[str, Any]]) -> list[int]:
    names = ("sample_count", "total_downtime_minutes", "operating_minutes", "wait_sum", "wait_samples")
    return [sum(row[name] for row in days) for name in names]


def thousandths(scores: list[Fraction], days: int) -> int | None:
    """The sum over the days, half up, in thousandths."""
    return int(sum(scores, Fraction(0)) / days * 1000 + Fraction(1, 2)) if days else None


def computed(year: int, version: int = 1) -> dict[tuple[str, int], tuple[object, ...]]:
    """The stored yearly rows in the form of `naive`."""
    found: dict[tuple[str, int], tuple[object, ...]] = {}
    for kind, columns in (("park", yearly.PARK_COLUMNS), ("ride", yearly.RIDE_COLUMNS)):
        for row in fetch(columns[0].model.select(*columns)):
            if (row[0], row[2]) == (year, version):
                score = None if row[9] is None else round(float(row[9]) * 1000)
                found[kind, row[1]] = (*row[3:9], score)
    return found


def complete(year: int) -> set[bool]:
    return {bool(row[10]) for row in stored_years() if row[0] == year}


# --- what a year is --------------------------------------------------------------------------------------------------


def test_the_numbers_of_a_year(database: Any) -> None:
    park_of_two(date(2025, 3, 1), date(2025, 3, 2)).store()
    aggregate(at(2025, 3, 3))
    park = YearlyParkStats.get()
    assert (park.year, park.days_operated, park.sample_count, park.metrics_version) == (2025, 2, 12, 1)
    assert (park.total_downtime_minutes, park.operating_minutes) == (180, 540)
    assert (park.wait_sum, park.wait_samples) == (120, 8)
    assert float(park.shame_score) == 2.667  # 10 x (3 x 2 + 2 x 1) / (5 x 6)
    assert not park.is_complete
    first, second = YearlyRideStats.select().order_by(YearlyRideStats.ride)
    assert (float(first.shame_score), float(second.shame_score)) == (2.0, 0.667)  # shares add up to the park's
    assert (first.total_downtime_minutes, second.total_downtime_minutes) == (120, 60)


def test_a_ride_that_stood_still_counts_the_days_it_ran_and_has_its_share_of_the_park_s(database: Any) -> None:
    world = park_of_two(date(2025, 3, 1), date(2025, 3, 2))
    world.readings = [one for one in world.readings if one.ride_id != 1 or one.slot < noon(date(2025, 3, 2))]
    world.store()
    aggregate(at(2025, 3, 3))
    first = YearlyRideStats.get(YearlyRideStats.ride == 1)
    assert (first.days_operated, float(first.shame_score)) == (1, 1.0)  # 10 x 3 x 2 / (5 x 6) on one of two days
    assert computed(2025) == naive(2025)


@pytest.mark.parametrize("seed", [1, 4, 6])
def test_a_year_is_the_sum_of_its_daily_rows(database: Any, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    late = instant(now + 6 * 86400)
    years = aggregate(late)
    assert years and any(row[5] for row in stored_years())
    for year in years:
        assert computed(year) == naive(year)


def test_days_of_other_versions_are_those_that_readers_take(database: Any) -> None:
    """The first of two days has rows of the active version, the second of the one before only."""
    park_of_two(date(2025, 3, 1), date(2025, 3, 2)).store()
    now = at(2025, 3, 3)
    daily.aggregate(now)
    daily.compute_day(date(2025, 3, 1), now, daily.Task(2))
    # So that it shows which rows are added up.
    newer = DailyParkStats.metrics_version == 2
    DailyParkStats.update({DailyParkStats.total_downtime_minutes: 900}).where(newer).execute()
    yearly.refresh_years(now)
    assert [(row.metrics_version, row.total_downtime_minutes) for row in YearlyParkStats.select()] == [(1, 180)]
    activate(2)
    yearly.refresh_years(now)
    found = {row.metrics_version: row.total_downtime_minutes for row in YearlyParkStats.select()}
    assert found == {1: 180, 2: 990}


def test_a_dirty_day_is_left_out_until_it_is_computed_again(database: Any) -> None:
    park_of_two(date(2025, 3, 1), date(2025, 3, 2)).store()
    now = at(2025, 3, 3)
    aggregate(now)
    StatDay.update({StatDay.dirty: True}).where(StatDay.stat_date == date(2025, 3, 2)).execute()
    yearly.refresh_years(now, [2025])
    assert YearlyParkStats.get().days_operated == 1
    assert aggregate(now + timedelta(minutes=1)) == [2025]
    assert YearlyParkStats.get().days_operated == 2


# --- where a year ends -----------------------------------------------------------------------------------------------


def test_dec_31_and_jan_1_are_of_two_years(database: Any) -> None:
    park_of_two(date(2024, 12, 31), date(2025, 1, 1)).store()
    assert aggregate(at(*JAN_2)) == [2025, 2024]
    for year in (2024, 2025):
        assert computed(year) == naive(year)
    assert [(row.year, row.days_operated) for row in YearlyParkStats.select().order_by(YearlyParkStats.year)] == [
        (2024, 1), (2025, 1),
    ]
    assert (complete(2024), complete(2025)) == ({True}, {False})


def test_last_slot_before_pacific_midnight_is_of_the_old_year(database: Any) -> None:
    world = World(30)
    ride = world.ride(world.park("disney"))
    world.day_of(ride, "ODDO", wall_clock(date(2024, 12, 31), time(23), PACIFIC))
    world.store()
    aggregate(at(*JAN_2))
    found = {row.year: row.total_downtime_minutes for row in YearlyRideStats.select()}
    assert found == {2024: 30, 2025: 30}


def test_feb_29_counts(database: Any) -> None:
    park_of_two(date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)).store()
    aggregate(at(2024, 3, 2))
    assert YearlyParkStats.get().days_operated == 3
    assert computed(2024) == naive(2024)


def test_a_year_is_complete_when_the_last_local_days_of_its_parks_are_over(database: Any) -> None:
    world = park_of_two(date(2024, 12, 30), date(2024, 12, 31))
    world.store()
    for now, is_complete in (
        (at(2024, 12, 31), False),
        (at(2025, 1, 1, clock=time(1)), False),  # a ride may reopen until 04:00
        (at(2025, 1, 1, clock=time(4, 20)), True),
    ):
        aggregate(now)
        assert complete(2024) == {is_complete}, now


def test_a_year_of_a_park_in_asia_is_complete_on_jan_2(database: Any) -> None:
    world = park_of_two(date(2024, 12, 31))
    world.parks[0] = world.parks[0]._replace(timezone="Asia/Tokyo")
    world.store()
    aggregate(at(2025, 1, 1, clock=time(4, 20)))
    assert complete(2024) == {False}
    assert aggregate(at(2025, 1, 2, clock=time(0, 30))) == [2025, 2024]
    assert complete(2024) == {True}


@pytest.mark.parametrize("flaw", ["dirty", "missing"])
def test_a_year_with_a_day_that_is_missing_or_dirty_is_not_complete(database: Any, flaw: str) -> None:
    park_of_two(date(2024, 12, 30), date(2024, 12, 31)).store()
    daily.aggregate(at(*JAN_2))
    day = StatDay.stat_date == date(2024, 12, 30)
    if flaw == "dirty":
        StatDay.update({StatDay.dirty: True}).where(day).execute()
    else:
        StatDay.delete().where(day).execute()
    yearly.refresh_years(at(*JAN_2))
    assert complete(2024) == {False}
    assert 2024 not in yearly.due_years(at(*JAN_2) + timedelta(hours=1))
    later = at(*JAN_2) + timedelta(days=1)
    assert 2024 in yearly.due_years(later)  # once a day, though no day of it may be computed again
    aggregate(later)
    assert complete(2024) == {True}


def test_a_year_stays_when_its_readings_are_removed(database: Any) -> None:
    park_of_two(date(2024, 12, 30), date(2024, 12, 31), date(2025, 1, 5)).store()
    aggregate(at(2025, 1, 6))
    before = [row[:-1] for row in stored_years()]
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < noon(date(2025, 1, 4))).execute()
    yearly.refresh_years(at(2025, 1, 6), [2024])
    assert [row[:-1] for row in stored_years()] == before
    assert complete(2024) == {True}


def test_a_late_reading_of_a_day_whose_readings_were_removed_keeps_its_year_incomplete(database: Any) -> None:
    park_of_two(date(2024, 12, 30), date(2024, 12, 31), date(2025, 1, 5)).store()
    aggregate(at(2025, 1, 6))
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < noon(date(2025, 1, 4))).execute()
    StatDay.update({StatDay.dirty: True}).where(StatDay.stat_date == date(2024, 12, 30)).execute()
    yearly.refresh_years(at(2025, 1, 6), [2024])
    assert complete(2024) == {False}
    assert YearlyParkStats.get(YearlyParkStats.year == 2024).days_operated == 2  # nothing is more right than its rows


# --- runs ------------------------------------------------------------------------------------------------------------


def test_refreshing_twice_changes_nothing(database: Any) -> None:
    park_of_two(date(2024, 12, 31), date(2025, 1, 1)).store()
    now = at(*JAN_2)
    aggregate(now)
    before = stored_years()
    assert yearly.refresh_years(now, [2024, 2025]) == [2025, 2024]
    assert stored_years() == before
    assert yearly.refresh_years(now) == []  # nothing is due


def test_a_year_that_a_killed_run_left_behind_is_due(database: Any) -> None:
    park_of_two(date(2025, 3, 1), date(2025, 3, 2)).store()
    aggregate(at(2025, 3, 2))
    daily.aggregate(at(2025, 3, 3))
    assert yearly.due_years(at(2025, 3, 3)) == [2025]
    yearly.refresh_years(at(2025, 3, 3))
    assert YearlyParkStats.get().days_operated == 2


def test_rows_of_what_has_no_days_any_more_are_removed(database: Any) -> None:
    park_of_two(date(2025, 3, 1)).store()
    aggregate(at(2025, 3, 2))
    DailyStats.delete().where(DailyStats.ride == 2).execute()
    yearly.refresh_years(at(2025, 3, 2), [2025])
    assert [row.ride_id for row in YearlyRideStats.select(YearlyRideStats.ride)] == [1]


def test_a_year_without_days_has_no_rows(database: Any) -> None:
    park_of_two(date(2025, 3, 1)).store()
    aggregate(at(2025, 3, 2))
    before = stored_years()
    assert yearly.refresh_years(at(2025, 3, 2), [2019, 2031]) == [2031, 2019]
    assert stored_years() == before


def test_each_year_is_a_run_in_the_log(database: Any) -> None:
    park_of_two(date(2024, 12, 31), date(2025, 1, 1)).store()
    aggregate(at(*JAN_2))
    log = AggregationJobLog
    found = log.select().where(log.job_type == "yearly").order_by(log.period_start)
    assert [(run.period_start, run.period_end, run.status, run.rows_processed) for run in found] == [
        (date(year, 1, 1), date(year, 12, 31), JobStatus.SUCCESS, 3) for year in (2024, 2025)
    ]


def test_a_failure_leaves_the_year_as_it_was_and_is_logged(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    park_of_two(date(2025, 3, 1), date(2025, 3, 2)).store()
    aggregate(at(2025, 3, 2))
    before = stored_years()
    daily.aggregate(at(2025, 3, 3))
    upsert = yearly.upsert

    def broken(model: type[Base], *args: Any, **kwargs: Any) -> int:
        if model is YearlyRideStats:
            raise RuntimeError("the disk is full")
        return upsert(model, *args, **kwargs)

    monkeypatch.setattr(yearly, "upsert", broken)
    with pytest.raises(RuntimeError):
        yearly.refresh_years(at(2025, 3, 3))
    assert stored_years() == before
    log = AggregationJobLog
    assert log.select().where(log.job_type == "yearly", log.status == JobStatus.FAILED).count() == 1


def test_a_day_that_is_stored_meanwhile_is_not_lost(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    park_of_two(date(2025, 3, 1), date(2025, 3, 2)).store()
    daily.aggregate(at(2025, 3, 2))
    store = yearly.atomically

    def overtaken(write: Any) -> Any:
        daily.aggregate(at(2025, 3, 3))
        return store(write)

    monkeypatch.setattr(yearly, "atomically", overtaken)
    yearly.refresh_years(at(2025, 3, 3), [2025])
    assert YearlyParkStats.get().days_operated == 2


def activate(version: int) -> None:
    ServiceState.update({ServiceState.value: version}).where(ServiceState.name == state.ACTIVE_VERSION).execute()


def invoke(settings: Settings, now: datetime, *arguments: str) -> dict[str, Any]:
    """The JSON that a command prints."""
    environment = {
        "DATABASE_URL": settings.database_url,
        "SNAPSHOT_INTERVAL_MINUTES": "30",
        "REPLAY_NOW": now.isoformat(),
    }
    result = CliRunner().invoke(main, [*arguments, "--json"], env=environment)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_aggregate_refreshes_the_years_of_its_days(database: Any, settings: Settings) -> None:
    park_of_two(date(2024, 12, 31), date(2025, 1, 1)).store()
    assert invoke(settings, at(2025, 1, 1), "aggregate")["years"] == [2024]
    assert invoke(settings, at(*JAN_2), "aggregate")["years"] == [2025]
    assert invoke(settings, at(*JAN_2), "aggregate")["years"] == []
    for year in (2024, 2025):
        assert computed(year) == naive(year)


# --- awards ----------------------------------------------------------------------------------------------------------


def test_parks_of_a_year_by_score(database: Any) -> None:
    world = park_of_two(date(2024, 5, 1), date(2025, 3, 1))
    for letters in ("OOOOOO", "ODDDDO", "ODDDDO"):  # the first has no score that shows, the others are equal
        ride = world.ride(world.park("disney"))
        world.day_of(ride, letters, noon(date(2025, 3, 1)))
    world.store()
    now = at(2025, 3, 2)
    aggregate(now)
    found = park_awards([2025, 2024, 2019], 10)
    assert [(one["year"], one["is_complete"], [row["park_id"] for row in one["data"]]) for one in found] == [
        (2025, False, [3, 4, 1]), (2024, True, [1]), (2019, False, []),
    ]
    assert found[0]["data"][2] == {
        "rank": 3, "park_id": 1, "park_name": "Park 1", "location": "Town, ST", "queue_times_id": 1,
        "queue_times_url": "https://queue-times.com/parks/1", "shame_score": 2.7, "total_downtime_hours": 1.5,
        "uptime_percentage": 75.0, "avg_wait_time": 15.0, "days_operated": 1,
    }
    assert [row["park_id"] for row in park_awards([2025], 1)[0]["data"]] == [3]


def test_rides_of_a_year_by_hours_down(database: Any) -> None:
    world = park_of_two(date(2025, 3, 1))
    for letters in ("ODOOOO", "OOOOOO", "ODDDOO"):
        world.day_of(world.ride(1), letters, noon(date(2025, 3, 1)))
    world.store()
    now = at(2025, 3, 2)
    aggregate(now)
    Ride.update({Ride.category: rules.Category.SHOW}).where(Ride.ride_id == 5).execute()  # was the worst
    (found,) = ride_awards([2025], 10)
    assert [(row["rank"], row["ride_id"], row["downtime_hours"]) for row in found["data"]] == [
        (1, 1, 1.0), (2, 2, 0.5), (3, 3, 0.5),
    ]
    assert found["data"][0] == {
        "rank": 1, "ride_id": 1, "ride_name": "Ride 1", "park_id": 1, "park_name": "Park 1", "location": "Town, ST",
        "tier": 1, "queue_times_id": 101, "park_queue_times_id": 1,
        "queue_times_url": "https://queue-times.com/parks/1/rides/101", "downtime_hours": 1.0,
        "uptime_percentage": 66.7, "avg_wait_time": 15.0, "days_operated": 1,
    }


def test_awards_are_read_from_yearly_rows_at_the_highest_version_that_is_active(database: Any) -> None:
    park_of_two(date(2025, 3, 1)).store()
    now = at(2025, 3, 2)
    aggregate(now)
    activate(2)
    daily.compute_day(date(2025, 3, 1), now, daily.Task(2))
    assert len(park_awards([2025], 10)[0]["data"]) == 1  # nothing was refreshed since
    yearly.refresh_years(now)
    YearlyRideStats.update({YearlyRideStats.total_downtime_minutes: 600}).where(
        YearlyRideStats.metrics_version == 2
    ).execute()
    DailyStats.delete().execute()
    assert [row["downtime_hours"] for row in ride_awards([2025], 10)[0]["data"]] == [10.0, 10.0]
    activate(1)
    assert [row["downtime_hours"] for row in ride_awards([2025], 10)[0]["data"]] == [1.0, 0.5]


def test_awards_over_http(database: Any, settings: Settings) -> None:
    park_of_two(date(2024, 12, 31), date(2025, 1, 1)).store()
    aggregate(at(*JAN_2))
    clock.replay(at(*JAN_2))
    client = Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=30)))
    running = client.get("/api/parks/awards").json
    assert [one["year"] for one in running["data"]] == [2025]
    assert running["span"] == {"start": "2025-01-01T08:00:00Z", "end": "2025-01-02T20:00:00Z", "label": "2025"}
    both = client.get("/api/rides/awards?year=2025&year=2024&limit=1").json
    assert [(one["year"], one["is_complete"], len(one["data"])) for one in both["data"]] == [
        (2025, False, 1), (2024, True, 1),
    ]
    assert both["span"]["label"] == "2025, 2024" and both["span"]["start"] == "2024-01-01T08:00:00Z"
    past = client.get("/api/rides/awards?year=2024").json
    assert past["span"]["end"] == "2025-01-01T08:00:00Z"
    eleven = "&".join(f"year={year}" for year in range(2000, 2011))
    for wrong in ("year=1999", "year=2100", "year=", "year=x", "year=2025&year=2025", "year=02025", eleven):
        response = client.get(f"/api/parks/awards?{wrong}")
        assert (response.status, "year" in response.json["error"]) == (400, True), wrong
