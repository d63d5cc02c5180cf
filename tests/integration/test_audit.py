"""Numbers made again, checks that find what is wrong, odd days, doubts about sources. Slots are half an hour, from
12:00 to 18:00."""

from __future__ import annotations

import io
import json
from collections import Counter
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from factories import World, random_world

from service.config import Settings
from service.errors import BadRequest
from service.jobs import daily
from service.models import DailyParkStats, DailyStats, DataQualityIssue, IssueType, Park, RideStatusSnapshot, StatDay
from service.periods import days_between, epoch, instant, pacific_day, wall_clock, week_of
from service.queries import Row, rankings
from service.queries.audit import anomalies, checks, quality, verification
from service.queries.audit.verification import Claim
from service.queries.catalog import ALL_PARKS
from service.queries.days import ADOPTED_VERSION, Tallies
from service.queries.rankings import Question, Standings
from service.queries.ride_details import RideSpan, ride_details
from service.rules import Source
from service.web import app
from service.web.params import Query, Request
from service.web.routes import audit

TODAY = date(2025, 6, 11)  # a Wednesday
YESTERDAY = TODAY - timedelta(days=1)
WEEK = list(days_between(date(2025, 6, 1), date(2025, 6, 7)))
SLOTS = 12


def at(hour: float, day: date = TODAY) -> int:
    return wall_clock(day, time(0), "America/Los_Angeles") + int(hour * 3600)


NOW = instant(at(20))


def down(slots: int) -> str:
    """A day of a ride that is down for so many slots."""
    return "O" + "D" * slots + "O" * (SLOTS - 1 - slots)


class Parks(World):
    """Parks open from 12:00 to 18:00, whose rides do something."""

    def add(self, days: dict[date, list[str]], tiers: tuple[int | None, ...] = (), park_type: str = "disney") -> int:
        park_id = self.park(park_type)
        given = next(iter(days.values()))
        rides = [self.ride(park_id, tier=tier) for tier in tiers or [None] * len(given)]
        for day, letters in days.items():
            self.open(park_id, day, at(12, day), at(18, day))
            for ride_id, told in zip(rides, letters, strict=True):
                self.day_of(ride_id, told, at(12, day))
        return park_id


def tallies() -> Tallies:
    return Tallies(NOW)


def verified(kind: str, entity_id: int, period: str, displayed: float, now: datetime = NOW) -> Row:
    return verification.verify(Claim(kind, entity_id, period, displayed, now))[0]


# --- verification ----------------------------------------------------------------------------------------------------


def test_a_park_score_is_made_again_step_by_step(database: Any) -> None:
    world = Parks()
    # Weights 3 and 1. Sunday: 2 x 3 + 4 x 1 = 10 of 4 x 12; Monday: 6 x 1 of 4 x 12: scores 2.083 and 1.25.
    world.add({WEEK[0]: [down(2), down(4)], WEEK[1]: [down(0), down(6)]}, (1, 3))
    world.store()
    daily.aggregate(NOW)
    found = verified("park_shame_score", 1, "7days", 1.7)
    assert (found["verified"], found["computed_value"], found["entity_name"]) == (True, 1.7, "Park 1")
    assert (found["metric"], found["entity_type"], found["period"]) == ("shame_score", "park", "7days")
    opened, roster, slots, weighted, score = found["computation_trace"]
    assert [step["step"] for step in found["computation_trace"]] == [1, 2, 3, 4, 5]
    assert opened["output"] == [
        {"date": "2025-06-01", "open_slots": 12, "slots_observed": 12},
        {"date": "2025-06-02", "open_slots": 12, "slots_observed": 12},
    ]
    assert opened["inputs"]["from_readings"] == ["2025-06-01", "2025-06-02"]
    assert [day["roster_weight"] for day in roster["output"]] == [4, 4]
    assert [(ride["ride_id"], ride["weight"], ride["days_on_roster"]) for ride in roster["inputs"]["rides"]] == [
        (1, 3, 2),
        (2, 1, 2),
    ]
    assert [(ride["ride_id"], ride["by_day"]) for ride in slots["output"]] == [
        (1, {"2025-06-01": 2}),
        (2, {"2025-06-01": 4, "2025-06-02": 6}),
    ]
    assert [day["weighted_down_slots"] for day in weighted["output"]] == [10, 6]
    assert [day["score"] for day in score["inputs"]["days"]] == [2.083, 1.25]
    assert score["output"] == 1.7
    assert found["data_quality"] == {
        "avg_rides_tracked": 2.0,
        "total_downtime_hours": 6.0,
        "avg_uptime_percentage": 75.0,
        "days_with_data": 2,
        "expected_days": 7,
        "data_completeness": 28.6,
        "days_from_stored_rows": [],
    }


def test_a_ride_downtime_is_made_again_step_by_step(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: [down(3), down(0)]})
    world.day_of(1, "CC", at(10, YESTERDAY))  # before the park opened
    world.readings = [reading for reading in world.readings if reading[:2] != (1, at(17, YESTERDAY))]
    world.store()
    found = verified("ride_downtime", 1, "yesterday", 1.5)
    assert (found["verified"], found["computed_value"], found["entity_name"]) == (True, 1.5, "Ride 1")
    readings, slots, hours = found["computation_trace"]
    assert readings["output"] == [{"date": "2025-06-10", "readings": 11, "operating_slots": 8}]
    assert slots["output"] == [{"date": "2025-06-10", "down_slots": 3}]
    assert (hours["inputs"], hours["output"]) == ({"down_slots": 3, "interval_minutes": 30}, 1.5)
    assert found["data_quality"] == {
        "total_snapshots": 13,
        "park_open_snapshots": 11,
        "coverage_percentage": 91.7,
        "days_from_stored_rows": [],
    }


@pytest.mark.parametrize(
    ("displayed", "holds"), [(2.5, True), (2.55, True), (2.45, True), (2.5501, False), (2.4, False), (-2.5, False)]
)
def test_a_value_holds_within_the_tolerance(database: Any, displayed: float, holds: bool) -> None:
    world = Parks()
    world.add({YESTERDAY: [down(6), down(0)]})  # 10 x 2 x 6 / (4 x 12)
    world.store()
    found = verified("park_shame_score", 1, "yesterday", displayed)
    assert (found["computed_value"], found["tolerance"], found["verified"]) == (2.5, 0.05, holds)


@pytest.mark.parametrize("seed", range(6))
def test_what_the_rankings_show_holds(database: Any, seed: int) -> None:
    world, now = random_world(seed, days=5)
    world.store()
    asked_on = [now, now + 6 * 86400, now + 25 * 86400]
    for settled in (False, True):
        for number, period in enumerate(("today", "last_week", "last_month")):
            assert_holds(instant(asked_on[number]), period)
        if not settled:
            daily.aggregate(instant(asked_on[-1]))


def assert_holds(now: datetime, period: str) -> None:
    """Every park's score and every ride's hours are what verification makes of them."""
    question = Question(period, ALL_PARKS, "shame_score", 99, now)
    alias = {"last_week": "7days", "last_month": "30days"}.get(period, period)
    for row in rankings.parks_by_downtime(Standings(question)):
        found = verified("park_shame_score", row["park_id"], alias, row["shame_score"], now)
        assert (found["computed_value"], found["verified"]) == (row["shame_score"], True)
        assert found["data_quality"]["total_downtime_hours"] == row["total_downtime_hours"]
    for row in rankings.rides_by_downtime(Standings(question._replace(sort_by="downtime_hours"))):
        found = verified("ride_downtime", row["ride_id"], alias, row["downtime_hours"], now)
        assert (found["computed_value"], found["verified"]) == (row["downtime_hours"], True)


def test_verification_does_not_believe_stored_rows(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: [down(6), down(0)]})
    world.store()
    daily.aggregate(NOW + timedelta(days=3))
    DailyParkStats.update({DailyParkStats.weighted_downtime_minutes: 720}).execute()
    DailyStats.update({DailyStats.total_downtime_minutes: 300}).execute()
    now = NOW + timedelta(days=4)
    question = Question("last_week", ALL_PARKS, "shame_score", 9, now)
    (row,) = rankings.parks_by_downtime(Standings(question))
    assert row["shame_score"] == 5.0
    found = verified("park_shame_score", 1, "7days", row["shame_score"], now)
    assert (found["computed_value"], found["verified"]) == (2.5, False)
    assert verified("ride_downtime", 1, "7days", 5.0, now)["computed_value"] == 3.0


def test_days_whose_readings_are_gone_come_from_rows_and_are_named(database: Any) -> None:
    world = Parks()
    world.add({day: [down(6), down(0)] for day in WEEK})
    world.store()
    daily.aggregate(NOW)
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < pacific_day(WEEK[2]).start).execute()
    found = verified("park_shame_score", 1, "7days", 2.5)
    # Of the first day that is left the parks may lack the beginning: it stays what it was.
    gone = ["2025-06-01", "2025-06-02", "2025-06-03"]
    assert (found["verified"], found["data_quality"]["days_from_stored_rows"]) == (True, gone)
    assert found["computation_trace"][0]["inputs"]["from_stored_rows"] == gone
    ride = verified("ride_downtime", 1, "7days", 21.0)
    assert (ride["verified"], ride["data_quality"]["days_from_stored_rows"]) == (True, gone)
    assert ride["data_quality"]["total_snapshots"] == 7 * SLOTS


@pytest.mark.parametrize("entity_id", [999, 2**31, 10**30])
def test_an_unknown_id_counts_nothing(database: Any, entity_id: int) -> None:
    world = Parks()
    world.add({YESTERDAY: [down(6)]})
    world.store()
    for kind, steps in (("park_shame_score", 5), ("ride_downtime", 3)):
        found = verified(kind, entity_id, "30days", 0)
        assert (found["entity_name"], found["entity_id"], found["computed_value"]) == ("Unknown", entity_id, 0.0)
        assert (len(found["computation_trace"]), found["anomalies_detected"]) == (steps, [])
        figures = {name: value for name, value in found["data_quality"].items() if name != "expected_days"}
        assert not any(figures.values())


@pytest.mark.parametrize("days", ["counted", "stored", "adopted"])
def test_a_show_has_the_downtime_of_its_page(database: Any, days: str) -> None:
    world = Parks()
    park_id = world.add({day: [down(1)] for day in WEEK[:2]}, park_type="other")
    show = world.ride(park_id, category="SHOW")
    world.day_of(show, "CCCC", at(10, WEEK[0]))  # before the park opened
    for day in WEEK[:2]:
        world.day_of(show, "OCCOCCODD", at(12, day))  # closed between performances; then told to be down
    world.store()
    if days != "counted":
        daily.aggregate(NOW)
    for table in (StatDay, DailyParkStats, DailyStats) if days == "adopted" else ():
        table.update({table.metrics_version: ADOPTED_VERSION}).execute()
    found = verified("ride_downtime", show, "7days", 2.0)
    page = ride_details(RideSpan(show, "7days", NOW))
    assert found["computed_value"] == page["summary"]["total_downtime_hours"] == 2.0
    assert (found["verified"], found["entity_name"], found["anomalies_detected"]) == (True, "Ride 2", [])
    readings, slots, _ = found["computation_trace"]
    assert readings["output"] == [
        {"date": day, "readings": 9, "operating_slots": 3} for day in ("2025-06-01", "2025-06-02")
    ]
    assert "possibly" not in slots["formula"]
    assert found["data_quality"] == {
        "total_snapshots": 22,
        "park_open_snapshots": 18,
        "coverage_percentage": 75.0,
        "days_from_stored_rows": [],
    }


def test_of_a_show_nothing_is_known_without_its_readings(database: Any) -> None:
    world = Parks()
    show = world.ride(world.add({day: [down(1)] for day in WEEK}), category="SHOW")
    for day in WEEK:
        world.day_of(show, "OD", at(12, day))
    world.store()
    daily.aggregate(NOW)
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < pacific_day(WEEK[5]).start).execute()
    found = verified("ride_downtime", show, "7days", 0.5)
    assert (found["verified"], found["data_quality"]["days_from_stored_rows"]) == (True, [])
    # Of the first day that is left the park may lack the beginning.
    assert found["computation_trace"][0]["inputs"]["from_readings"] == ["2025-06-07"]


def test_a_verdict_brings_the_anomalies_of_its_own_entity(database: Any) -> None:
    odd_days({YESTERDAY: 10})
    for kind, entity_type in (("park_shame_score", "park"), ("ride_downtime", "ride")):
        found = verified(kind, 1, "7days", 0)["anomalies_detected"]
        assert {(one["entity_type"], one["entity_id"], one["stat_date"]) for one in found} == {
            (entity_type, 1, "2025-06-10")
        }
        assert verified(kind, 2, "7days", 0)["anomalies_detected"] == []


# --- what is asked ---------------------------------------------------------------------------------------------------


def sent(body: str, query: str = "") -> Request:
    environ: dict[str, Any] = {
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body.encode())),
        "wsgi.input": io.BytesIO(body.encode()),
    }
    return Request(Settings(), NOW, Query(query), {}, environ)


CLAIM: Row = {"type": "park_shame_score", "entity_id": 1, "period": "today", "displayed_value": 1.5}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"type": None, "displayed_value": None}, "Missing required fields: type, displayed_value"),
        ({"type": "wait_time"}, "waits cannot be verified"),
        ({"type": "downtime"}, "Invalid type: use one of park_shame_score, ride_downtime, wait_time."),
        ({"type": ["park_shame_score"]}, "Invalid type"),
        ({"period": "live"}, "Invalid period: use one of today"),
        ({"period": 7}, "Invalid period"),
        ({"entity_id": "1"}, "Invalid entity_id"),
        ({"entity_id": True}, "Invalid entity_id"),
        ({"entity_id": 0}, "Invalid entity_id"),
        ({"entity_id": 1.5}, "Invalid entity_id"),
        *(
            ({"displayed_value": value}, "Invalid displayed_value")
            for value in ("abc", "", "NaN", "Infinity", "-inf", "1e400", "1_0", "1,5", True, [1], {"a": 1}, 10**400)
        ),
    ],
)
def test_a_claim_that_cannot_be_understood_is_refused(change: Row, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        audit.verify(sent(json.dumps(CLAIM | change)))


def test_an_empty_claim_lacks_every_field_in_order() -> None:
    with pytest.raises(BadRequest, match="type, entity_id, period, displayed_value"):
        audit.verify(sent("{}"))


@pytest.mark.parametrize("text", ["1.5", " 1.5 ", "15e-1", "+1.50"])
def test_a_displayed_value_may_be_the_text_of_a_number(database: Any, text: str) -> None:
    body = audit.verify(sent(json.dumps(CLAIM | {"displayed_value": text})))()
    assert (body["success"], body["displayed_value"]) == (True, 1.5)


@pytest.mark.parametrize("text", ["2025-6-1", "20250601", "2025-02-29", "", "yesterday", "1999-12-31", "9999-12-31"])
def test_a_date_that_is_none_is_refused(text: str) -> None:
    for route in (audit.status, audit.anomalous, audit.flagged_entities):
        with pytest.raises(BadRequest, match="date"):
            route(sent("", f"date={text}"))
    with pytest.raises(BadRequest, match="date"):
        audit.run(sent(json.dumps({"date": text})))


@pytest.mark.parametrize(
    ("route", "query"),
    [
        (audit.anomalous, "severity=warning"),
        (audit.anomalous, "severity="),
        (audit.flagged_entities, "severity=INFO"),
        (audit.data_quality, "hours=0"),
        (audit.data_quality, "hours=8761"),
        (audit.data_quality, "hours=-1"),
        (audit.data_quality, "hours=abc"),
        (audit.data_quality, "source=disney"),
        *((audit.data_quality, f"unresolved={value}") for value in ("", "maybe", "1", "0", "yes", "true%20")),
        (audit.data_quality_summary, "days=366"),
        (audit.data_quality_summary, "days=1.5"),
        (audit.data_quality_summary, "source="),
    ],
)
def test_other_parameters_are_checked(route: Any, query: str) -> None:
    with pytest.raises(BadRequest, match=query.partition("=")[0]):
        route(sent("", query))


def test_run_is_status_and_anomalies_in_one(database: Any) -> None:
    odd_days({YESTERDAY: 10})
    body = audit.run(sent("{}"))()
    assert body["target_date"] == "2025-06-10"
    assert (body["total_checks"], body["status"]) == (10, "PASS")
    assert body["anomalies"] == audit.anomalous(sent(""))()["anomalies"]
    assert body["anomalies_detected"] == len(anomalies.find(tallies(), YESTERDAY)) > 0
    assert audit.run(sent('{"date": "2025-06-09"}'))()["anomalies"] == []
    assert audit.run(sent('{"date": null}'))()["target_date"] == "2025-06-10"


# --- checks ----------------------------------------------------------------------------------------------------------


def checked(day: date = YESTERDAY) -> dict[str, Row]:
    """The checks that fail, by name."""
    return {failure["check_name"]: failure for failure in checks.status(tallies(), day)["failures"]}


@pytest.fixture
def stored_day(database: Any) -> None:
    """Yesterday, with a park whose first ride was down for an hour."""
    world = Parks()
    world.add({YESTERDAY: [down(2), down(0)]})
    world.store()
    daily.aggregate(NOW)


@pytest.mark.usefixtures("stored_day")
def test_an_ordinary_day_passes() -> None:
    assert checks.status(tallies(), YESTERDAY) == {
        "target_date": "2025-06-10",
        "total_checks": 10,
        "passed": 10,
        "failed": 0,
        "critical_failures": 0,
        "status": "PASS",
        "failures": [],
    }


RIDES, PARKS = DailyStats, DailyParkStats


@pytest.mark.usefixtures("stored_day")
@pytest.mark.parametrize(
    ("name", "model", "column", "value"),
    [
        ("uptime_percentage_out_of_bounds", RIDES, RIDES.uptime_percentage, 100.1),
        ("uptime_percentage_out_of_bounds", RIDES, RIDES.uptime_percentage, -0.1),
        ("negative_downtime", RIDES, RIDES.total_downtime_minutes, -1),
        ("shame_score_negative", PARKS, PARKS.shame_score, -0.5),
        ("park_uptime_out_of_bounds", PARKS, PARKS.uptime_percentage, 101),
        ("downtime_exceeds_operating_hours", RIDES, RIDES.open_minutes, 59),
        ("rides_with_downtime_exceeds_total", PARKS, PARKS.rides_with_downtime, 3),
    ],
)
def test_an_impossible_value_fails_its_check(name: str, model: Any, column: Any, value: float) -> None:
    model.update({column: value}).execute()
    failure = checked()[name]
    assert (failure["severity"], failure["passed"], failure["max_allowed"]) == ("CRITICAL", False, 0)
    assert failure["violations"] == len(failure["sample"]) > 0
    assert failure["sample"][0][column.name] == value
    assert checks.status(tallies(), YESTERDAY)["status"] == "FAIL"


@pytest.mark.usefixtures("stored_day")
@pytest.mark.parametrize(("day", "hours"), [(YESTERDAY, 24), (date(2025, 3, 9), 23), (date(2024, 11, 3), 25)])
def test_a_ride_cannot_be_down_for_longer_than_the_day(day: date, hours: int) -> None:
    changed = {RIDES.stat_date: day, RIDES.total_downtime_minutes: hours * 60}
    RIDES.update(changed).where(RIDES.ride == 1).execute()
    assert "downtime_exceeds_24h" not in checked(day)
    RIDES.update({RIDES.total_downtime_minutes: hours * 60 + 1}).where(RIDES.ride == 1).execute()
    failure = checked(day)["downtime_exceeds_24h"]
    assert failure["sample"] == [
        {"ride_id": 1, "ride_name": "Ride 1", "park_name": "Park 1", "total_downtime_minutes": hours * 60 + 1}
    ]


def test_up_to_fifty_active_parks_may_lack_rides(database: Any) -> None:
    world = World()
    for _ in range(51):
        world.park()
    world.park(is_active=False)
    world.store()
    failure = checked()["no_ride_data_for_date"]
    assert (failure["severity"], failure["violations"], failure["max_allowed"]) == ("WARNING", 51, 50)
    assert [row["park_id"] for row in failure["sample"]] == [1, 2, 3, 4, 5]
    assert checks.status(tallies(), YESTERDAY)["status"] == "WARN"
    assert checked(TODAY) == {}  # which is not over yet
    Park.update({Park.is_active: False}).where(Park.park_id == 51).execute()
    assert checked() == {}


def test_a_day_that_was_not_computed_does_not_pass(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: [down(2), down(0)]})
    world.store()
    found = checks.status(tallies(), YESTERDAY)
    assert (found["status"], found["passed"], found["failed"], found["critical_failures"]) == ("WARN", 9, 1, 0)
    (failure,) = found["failures"]
    assert (failure["check_name"], failure["severity"]) == ("no_ride_data_for_date", "WARNING")
    assert (failure["violations"], failure["max_allowed"]) == (1, 0)
    assert failure["sample"] == [{"park_id": 1, "park_name": "Park 1"}]
    assert checks.status(tallies(), YESTERDAY - timedelta(days=1))["status"] == "PASS"  # nobody looked
    assert checks.status(tallies(), TODAY)["status"] == "PASS"  # it is not over
    daily.aggregate(NOW)
    assert checks.status(tallies(), YESTERDAY)["status"] == "PASS"


def test_a_day_on_which_every_park_was_closed_passes(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: ["C" * SLOTS]})
    world.open(1, TODAY, at(12), at(18))
    world.schedules.pop(0)
    world.store()
    daily.aggregate(NOW)
    assert not DailyStats.select().exists()
    assert checked() == {}


def test_up_to_a_hundred_rides_may_never_operate(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: [down(0), *["RR"] * 101]})
    world.store()
    daily.aggregate(NOW)
    failure = checked()["rides_with_zero_operating_time"]
    assert (failure["severity"], failure["violations"], failure["max_allowed"]) == ("INFO", 101, 100)
    assert checks.status(tallies(), YESTERDAY)["status"] == "WARN"
    RIDES.update({RIDES.operating_minutes: 30}).where(RIDES.ride == 2).execute()
    assert checked() == {}


def test_the_week_of_a_park_is_the_sum_of_its_rides_days(database: Any) -> None:
    world = Parks()
    world.add({day: [down(2), down(1)] for day in WEEK})
    world.store()
    daily.aggregate(NOW)
    assert week_of(WEEK[3]) == tuple(WEEK)
    add_minutes(30, WEEK[0])
    assert checked(WEEK[3]) == {}
    add_minutes(1, WEEK[6])
    failure = checked(WEEK[3])["weekly_vs_daily_sum_mismatch"]
    assert failure["severity"] == "WARNING"
    assert failure["sample"] == [
        {"park_id": 1, "park_name": "Park 1", "weekly_downtime_hours": 11.02, "daily_sum_hours": 10.5}
    ]
    assert checked(YESTERDAY) == {}  # another week


def add_minutes(minutes: int, day: date) -> None:
    longer = PARKS.total_downtime_minutes + minutes
    PARKS.update({PARKS.total_downtime_minutes: longer}).where(PARKS.stat_date == day).execute()


@pytest.mark.usefixtures("stored_day")
def test_rows_that_no_reader_takes_are_not_checked() -> None:
    RIDES.update({RIDES.metrics_version: 2, RIDES.total_downtime_minutes: -1}).where(RIDES.ride == 2).execute()
    assert checked() == {}


# --- anomalies -------------------------------------------------------------------------------------------------------


def odd_days(last: dict[date, int], before: int = 8) -> None:
    """A park whose first ride was down for no or for two slots on the days before, by turns, and then for as many as
    `last` says; its score is 5/12 of the slots."""
    first = min(last)
    days = {first - timedelta(days=ago): (2 if ago % 2 else 0) for ago in range(1, before + 1)} | last
    world = Parks()
    world.add({day: [down(slots), down(0)] for day, slots in sorted(days.items())})
    world.store()
    daily.aggregate(NOW)


def found(day: date = YESTERDAY) -> list[tuple[str, str, str, float]]:
    rows = anomalies.find(tallies(), day)
    return [(row.anomaly_type, row.severity, row.metric, row.current_value) for row in rows]


def test_a_value_beyond_four_deviations_is_critical(database: Any) -> None:
    odd_days({YESTERDAY: 10})  # 8.4 deviations: of scores 0.445 round 0.417, of hours 0.535 round 0.5
    assert found() == [
        ("zscore", "CRITICAL", "shame_score", 4.2),
        ("zscore", "CRITICAL", "downtime_hours", 5.0),
        ("sudden_change", "WARNING", "shame_score", 4.2),  # 0.8 the day before
    ]
    park, ride, sudden = anomalies.find(tallies(), YESTERDAY)
    assert (park.entity_name, park.expected_value, park.threshold) == ("Park 1", 0.42, 4.0)
    assert (ride.entity_name, ride.expected_value, ride.threshold) == ("Ride 1 (Park 1)", 0.5, 4.0)
    assert (sudden.expected_value, sudden.threshold) == (0.8, 200)
    assert "8.4 standard deviations above the mean of the 30 days before, 0.42" in park.message
    assert "+400 %" in sudden.message


def test_a_value_beyond_three_deviations_is_a_warning(database: Any) -> None:
    odd_days({YESTERDAY: 5})  # 3.7 deviations
    assert found() == [("zscore", "WARNING", "shame_score", 2.1), ("zscore", "WARNING", "downtime_hours", 2.5)]
    assert {one.threshold for one in anomalies.find(tallies(), YESTERDAY)} == {3.0}


def test_within_three_deviations_nothing_is_odd(database: Any) -> None:
    odd_days({YESTERDAY: 4})  # 2.8 deviations
    assert found() == []


@pytest.mark.parametrize(("before", "odd"), [(7, 2), (6, 0)])
def test_fewer_than_seven_days_tell_nothing(database: Any, before: int, odd: int) -> None:
    odd_days({YESTERDAY: 11}, before)
    assert [kind for kind, *_ in found()].count("zscore") == odd


def test_days_that_are_all_alike_have_no_deviation(database: Any) -> None:
    world = Parks()
    days = {YESTERDAY - timedelta(days=ago): [down(1), down(0)] for ago in range(1, 9)}
    world.add(days | {YESTERDAY: [down(2), down(0)]})
    world.store()
    daily.aggregate(NOW)
    assert found() == []


def test_days_on_which_a_ride_did_not_operate_are_no_values(database: Any) -> None:
    world = Parks()
    world.add({day: [down(0), "R" * SLOTS] for day in days_between(date(2025, 5, 20), date(2025, 6, 7))})
    for day, slots in {date(2025, 6, 8): 2, date(2025, 6, 9): 0, YESTERDAY: 10}.items():
        world.open(1, day, at(12, day), at(18, day))
        world.day_of(1, down(0), at(12, day))
        world.day_of(2, down(slots), at(12, day))
    world.store()
    daily.aggregate(NOW)
    assert "downtime_hours" not in [metric for _, _, metric, _ in found()]


def test_a_sudden_fall_is_no_change_by_two_hundred_percent(database: Any) -> None:
    odd_days({YESTERDAY - timedelta(days=1): 11, YESTERDAY: 1})
    assert found() == []


def test_a_change_from_next_to_nothing_is_not_sudden(database: Any) -> None:
    odd_days({YESTERDAY - timedelta(days=1): 0, YESTERDAY: 4})
    assert found() == []


def test_the_running_day_has_no_anomalies(database: Any) -> None:
    odd_days({YESTERDAY: 0, TODAY: 11})
    assert found(TODAY) == []


def test_an_active_park_without_statistics_of_a_finished_day(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: [down(1)]})
    world.park(is_active=False)
    world.store()
    assert found() == [("data_quality", "WARNING", "missing_daily_stats", 0)]
    daily.aggregate(NOW)
    assert found() == []


@pytest.mark.parametrize(
    ("tracked", "severity"), [(8, None), (4, None), (3, "WARNING"), (2, "WARNING"), (1, "CRITICAL")]
)
def test_few_rides_tracked(database: Any, tracked: int, severity: str | None) -> None:
    rides_day(["OO"] * tracked + [""] * (8 - tracked))
    assert found() == ([("data_quality", severity, "rides_tracked", tracked)] if severity else [])


def test_a_closed_park_tracks_no_ride_and_that_is_not_odd(database: Any) -> None:
    rides_day(["C"] + [""] * 7, opens=False)
    assert found() == []


def test_a_park_that_was_not_heard_of_is_odd(database: Any) -> None:
    rides_day([""] * 8, opens=False)
    assert found() == [("data_quality", "CRITICAL", "rides_tracked", 0)]


def rides_day(letters: list[str], *, opens: bool = True) -> None:
    """Eight rides that ran on five days, and then did something."""
    world = Parks()
    world.add({YESTERDAY - timedelta(days=ago): ["OO"] * 8 for ago in range(1, 6)})
    if opens:
        world.open(1, YESTERDAY, at(12, YESTERDAY), at(18, YESTERDAY))
    for ride_id, said in enumerate(letters, start=1):
        world.day_of(ride_id, said, at(12, YESTERDAY))
    world.store()
    daily.aggregate(NOW)


def test_severities_choose_and_count(database: Any) -> None:
    odd_days({YESTERDAY: 10})
    body = anomalies.summary(tallies(), YESTERDAY, "WARNING")
    assert (body["total_anomalies"], body["critical_count"], body["warning_count"]) == (1, 0, 1)
    body = anomalies.summary(tallies(), YESTERDAY, None)
    assert (body["total_anomalies"], body["critical_count"], body["warning_count"]) == (3, 2, 1)
    assert anomalies.summary(tallies(), YESTERDAY, "INFO")["anomalies"] == []


def test_flagged_are_those_with_an_anomaly_of_that_severity_or_graver(database: Any) -> None:
    odd_days({YESTERDAY: 5})
    body = anomalies.flagged(tallies(), YESTERDAY, "WARNING")
    assert (body["flagged_parks"], body["flagged_rides"]) == ([1], [1])
    body = anomalies.flagged(tallies(), YESTERDAY, "CRITICAL")
    assert (body["flagged_parks"], body["flagged_rides"]) == ([], [])


def test_more_parks_do_not_take_more_queries(database: Any) -> None:
    world = Parks()
    counts = []
    for parks in (1, 4):
        for _ in range(parks):
            world.add({day: [down(1)] for day in days_between(WEEK[0], YESTERDAY)})
        world.store()
        daily.aggregate(NOW)
        counts.append(queries_of(database, lambda: (found(), checked())))
    assert counts[0] == counts[1]


def queries_of(database: Any, ask: Any) -> int:
    seen: Counter[str] = Counter()
    database.query_hooks.append(hook := lambda event: seen.update([event.sql]))
    ask()
    database.query_hooks.remove(hook)
    return seen.total()


# --- data quality ----------------------------------------------------------------------------------------------------


def issue(hours_ago: float, **values: Any) -> None:
    table = DataQualityIssue
    row = {
        "data_source": Source.THEMEPARKS_WIKI,
        "issue_type": IssueType.STALE_DATA,
        "detected_at": epoch(NOW) - int(hours_ago * 3600),
    } | values
    table.insert({getattr(table, name): value for name, value in row.items()}).execute()


def test_issues_newest_first_with_the_names_they_are_about(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: [down(0)]})
    world.store()
    issue(2, park=1, ride=1, entity_name="Ride", data_age_minutes=90, last_updated_at=epoch(NOW) - 3 * 3600)
    issue(1, data_source=Source.QUEUE_TIMES, issue_type=IssueType.INCONSISTENT_DATA, queue_times_id=7, details="odd")
    issue(25, entity_name="too long ago")
    issue(-1, entity_name="not yet")
    newest, older = quality.issues(NOW, 24, None, unresolved_only=True)
    assert older == {
        "issue_id": 1,
        "data_source": "themeparks_wiki",
        "issue_type": "STALE_DATA",
        "detected_at": "2025-06-12T01:00:00Z",
        "themeparks_wiki_id": None,
        "queue_times_id": None,
        "entity_name": "Ride",
        "last_updated_api": "2025-06-12T00:00:00Z",
        "data_age_minutes": 90,
        "reported_status": None,
        "details": None,
        "is_resolved": False,
        "park_name": "Park 1",
        "ride_name": "Ride 1",
    }
    assert (newest["data_source"], newest["issue_type"]) == ("queue_times", "INCONSISTENT_DATA")
    assert (newest["queue_times_id"], newest["park_name"], newest["details"]) == (7, None, "odd")
    assert [row["issue_id"] for row in quality.issues(NOW, 24, "queue_times", unresolved_only=True)] == [2]


def test_resolved_issues_are_shown_when_asked_for(database: Any) -> None:
    issue(1, is_resolved=True)
    issue(2)
    for unresolved, ids in (("", [2]), ("=TRUE", [2]), ("=false", [1, 2]), ("=False", [1, 2])):
        body = audit.data_quality(sent("", f"unresolved{unresolved}" if unresolved else ""))()
        assert [row["issue_id"] for row in body["issues"]] == ids  # type: ignore[attr-defined]
        assert body["total_issues"] == len(ids)


def test_at_most_a_hundred_issues(database: Any) -> None:
    for number in range(101):
        issue(number / 60)
    found = quality.issues(NOW, 24, None, unresolved_only=True)
    assert [row["issue_id"] for row in found] == list(range(1, 101))


def test_at_most_so_many_entities_those_with_the_most_issues(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "MOST_ENTITIES", 3)
    for name, ages in {"a": [1], "b": [60], "c": [60], "d": [9, 9], "e": [None]}.items():
        for hours, age in enumerate(ages):
            issue(hours, entity_name=name, data_age_minutes=age)
    body = audit.data_quality_summary(sent(""))()
    assert [row["entity_name"] for row in body["summary"]] == ["d", "b", "c"]  # type: ignore[attr-defined]
    assert body["entities_with_issues"] == 3


def test_the_document_bounds_the_entities() -> None:
    document = json.loads((Path(app.__file__).parent / "openapi.json").read_text(encoding="utf-8"))
    schema = document["components"]["schemas"]["DataQualitySummaryResponse"]
    assert schema["properties"]["summary"]["maxItems"] == quality.MOST_ENTITIES
    assert str(quality.MOST_ENTITIES) in schema["description"]


def test_staleness_is_summed_up_by_entity(database: Any) -> None:
    world = Parks()
    world.add({YESTERDAY: [down(0)]})
    world.store()
    for hours, age, status in ((1, 90, "OPERATING"), (2, 61, "CLOSED"), (3, 70, "OPERATING")):
        issue(hours, themeparks_wiki_id="a", entity_name="A", park=1, data_age_minutes=age, reported_status=status)
    issue(4, themeparks_wiki_id="b", entity_name="B")
    issue(4, themeparks_wiki_id="c", entity_name="C", data_age_minutes=500)
    issue(1, issue_type=IssueType.MISSING_DATA, entity_name="not stale")
    issue(1, data_source=Source.QUEUE_TIMES, entity_name="of the other source")
    issue(7 * 24 + 1, themeparks_wiki_id="a", entity_name="A", park=1)
    body = audit.data_quality_summary(sent(""))()
    first, *others = body["summary"]  # type: ignore[misc]
    assert first == {
        "themeparks_wiki_id": "a",
        "entity_name": "A",
        "park_name": "Park 1",
        "issue_count": 3,
        "max_staleness_minutes": 90,
        "avg_staleness_minutes": 73.6667,
        "first_detected": "2025-06-12T00:00:00Z",
        "last_detected": "2025-06-12T02:00:00Z",
        "statuses_seen": "CLOSED,OPERATING",
    }
    assert [(row["entity_name"], row["max_staleness_minutes"]) for row in others] == [("C", 500), ("B", None)]
    assert (body["days"], body["data_source"], body["entities_with_issues"]) == (7, "themeparks_wiki", 3)
