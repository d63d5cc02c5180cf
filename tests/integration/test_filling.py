"""Filling gaps: which slots are missing, what is known of them, and what stays a gap."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from service import database as door
from service.config import Settings
from service.errors import Silent, Unanswered
from service.feeds import Opening, ParkRecord, RideRecord
from service.feeds.sources import Sources
from service.jobs import filling
from service.jobs.asking import Round
from service.jobs.catalog import store_catalog
from service.jobs.filling import ARCHIVE_ENDS, DOUBTED, NO_RIDES, NOT_ASKED, NOT_TOLD, Report
from service.jobs.marks import set_state
from service.jobs.store import store_readings, store_schedules
from service.models import AggregationJobLog, JobStatus, Park, ParkActivitySnapshot, Ride, RideStatusSnapshot, StatDay
from service.periods import epoch
from service.queries import state
from service.rules import ParkType, ScheduleType, Source, Status

pytestmark = pytest.mark.usefixtures("database")

NOON = datetime(2025, 5, 20, 19, 0, tzinfo=UTC)  # in California
TODAY = date(2025, 5, 20)
MINUTES = 15
BAY, PIER = "0a1b2c3d-0000-4000-8000-000000000001", "0a1b2c3d-0000-4000-8000-000000000002"
COMET, OTTER, WAVE = (f"0a1b2c3d-0000-4000-8000-00000000000{letter}" for letter in "abc")
OPERATING, DOWN, CLOSED = Status.OPERATING, Status.DOWN, Status.CLOSED

Told = tuple[str, Status | None, int | None]  # what clocks in UTC+offset show, status, wait


def at(clock: str, day: int = 20, hours_behind: int = 7) -> int:
    """Epoch seconds of a time on the clock in May 2025, in California."""
    hour, minute = map(int, clock.split(":"))
    return epoch(datetime(2025, 5, day, hour, minute, tzinfo=UTC) + timedelta(hours=hours_behind))


def times(first: str, last: str, day: int = 20) -> list[int]:
    return list(range(at(first, day), at(last, day) + 1, MINUTES * 60))


def ride_told(wiki_id: str, *rows: Told, day: int = 20, hours_behind: int = 7) -> dict[str, Any]:
    """An entity of a history: closed at midnight, or as the first row says if that is of midnight."""
    states = [
        {"time": datetime.fromtimestamp(at(clock, day, hours_behind), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
         "status": status.name if status else None, "queue": {"STANDBY": {"waitTime": wait}}}
        for clock, status, wait in (rows if rows and rows[0][0] == "0:00" else (("0:00", CLOSED, None), *rows))
    ]  # fmt: skip
    opening, *changes = states
    return {"id": wiki_id, "name": "A ride", "entityType": "ATTRACTION", "opening": opening, "history": changes}


class Wiki:
    """ThemeParks.wiki as a function: answers by park and day, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[dict[str, Any]] | bytes | Exception] = {}
        self.asked: list[tuple[str, str]] = []

    def __call__(self, url: str) -> bytes:
        path, _, day = url.partition("/history?date=")
        key = (path.removeprefix("https://wiki.test/entity/"), day)
        self.asked.append(key)
        answer = self.answers.get(key, Unanswered("wiki.test answered with status 403."))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps({"entities": answer, "next": None}).encode()


@pytest.fixture
def wiki() -> Wiki:
    return Wiki()


@pytest.fixture
def fill(settings: Settings, wiki: Wiki) -> Callable[..., Report]:
    def run(now: datetime = NOON, **more: Any) -> Report:
        addresses = {f"{name}_url": f"https://{name}.test" for name in ("queue_times", "open_meteo")}
        sources = Sources(Round(wiki).ask, themeparks_wiki_url="https://wiki.test", **addresses)
        return filling.fill(replace(settings, snapshot_interval_minutes=MINUTES), sources, now, **more)

    return run


@pytest.fixture
def bay() -> None:
    """Park 1 with Comet (10) and Otter (11), collected from 9 until 10 today; it is open from 9 until 21."""
    add_park(1, BAY)
    store_catalog_of(1, BAY, {10: COMET, 11: OTTER})
    collect(times("9:00", "10:00"))
    open_on(TODAY, "9:00", "21:00")


def add_park(park_id: int, wiki_id: str | None, **more: Any) -> ParkRecord:
    usual = {"park_type": ParkType.DISNEY, "country": "US", "timezone": "America/Los_Angeles"}
    park = ParkRecord(park_id, f"Park {park_id}", **{**usual, **more}, themeparks_wiki_id=wiki_id)
    store_catalog([park], [], NOON)
    return park


def store_catalog_of(park_id: int, wiki_id: str | None, rides: dict[int, str | None], **more: Any) -> None:
    found = [RideRecord(ride, park_id, f"Ride {ride}", themeparks_wiki_id=wiki) for ride, wiki in rides.items()]
    store_catalog([add_park(park_id, wiki_id, **more)], found, NOON)


def collect(slots: list[int], rides: tuple[int, ...] = (10, 11), park_id: int = 1) -> None:
    readings = [(slot, ride, OPERATING, None, 5) for slot in slots for ride in rides]
    store_readings(park_id, readings, source=Source.QUEUE_TIMES, interval_minutes=MINUTES, now=NOON)


def open_on(day: date, opening: str, closing: str, park_id: int = 1) -> None:
    row = Opening(day, ScheduleType.OPERATING, at(opening, day.day), at(closing, day.day))
    store_schedules(park_id, [row], NOON)


def readings(ride_id: int, first: int, last: int) -> list[tuple[int, int | None, int | None]]:
    snapshot = RideStatusSnapshot
    query = snapshot.select(snapshot.snapshot_time, snapshot.status, snapshot.wait_time)
    query = query.where(snapshot.ride_id == ride_id, snapshot.snapshot_time.between(first, last))
    return door.fetch(query.order_by(snapshot.snapshot_time))


def contents() -> list[tuple[Any, ...]]:
    return [
        tuple(door.fetch(model.select()))
        for model in (RideStatusSnapshot, ParkActivitySnapshot, Ride, AggregationJobLog, StatDay)
    ]


# --- what is filled --------------------------------------------------------------------------------------------------


def test_missing_slots_get_the_state_that_held_then(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    wiki.answers[BAY, "2025-05-20"] = [
        ride_told(COMET, ("9:00", OPERATING, 20), ("10:40", DOWN, None), ("11:00", DOWN, 5), ("11:10", OPERATING, 35)),
        ride_told(OTTER, ("9:05", OPERATING, None)),
    ]
    report = fill()
    assert report[:6] == (1, 1, 6, 12, {}, 0)
    assert readings(10, at("10:15"), at("12:00")) == [
        (at("10:15"), OPERATING, 20), (at("10:30"), OPERATING, 20), (at("10:45"), DOWN, None), (at("11:00"), DOWN, 5),
        (at("11:15"), OPERATING, 35), (at("11:30"), OPERATING, 35),
    ]  # fmt: skip
    assert readings(11, at("10:15"), at("12:00")) == [(slot, OPERATING, None) for slot in times("10:15", "11:30")]
    assert readings(10, at("9:00"), at("10:00")) == [(slot, OPERATING, 5) for slot in times("9:00", "10:00")]
    activity = ParkActivitySnapshot.get(ParkActivitySnapshot.snapshot_time == at("10:45"))
    assert (activity.rides_tracked, activity.rides_down, activity.source) == (2, 1, Source.THEMEPARKS_WIKI)
    assert state.get_state(state.NEWEST_SLOT) == at("11:30")


def test_filling_twice_changes_nothing_and_asks_nobody(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    wiki.answers[BAY, "2025-05-20"] = [ride_told(COMET, ("9:00", OPERATING, 20))]
    fill()
    before = contents()
    report = fill()
    assert report == Report(0, 0, 0, 0, {}, 0, None)
    assert contents() == before
    assert wiki.asked == [(BAY, "2025-05-20")]


def test_a_run_is_in_the_job_log(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    wiki.answers[BAY, "2025-05-20"] = [ride_told(COMET, ("9:00", OPERATING, 995))]
    assert fill().refused == 1
    [run] = AggregationJobLog.select()
    assert (run.job_type, run.status, run.rows_processed, run.warnings) == ("fill", JobStatus.SUCCESS, 6, 1)
    assert (run.period_start, run.period_end) == (TODAY, TODAY)


def test_a_ride_that_is_not_known_here_is_left_out(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    wiki.answers[BAY, "2025-05-20"] = [ride_told(WAVE, ("9:00", OPERATING, 1)), ride_told(OTTER, ("9:00", DOWN, None))]
    assert fill()[2:5] == (6, 6, {})
    assert readings(10, at("10:15"), at("12:00")) == []
    assert len(readings(11, at("10:15"), at("12:00"))) == 6


def test_a_finished_day_is_computed_again(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    open_on(date(2025, 5, 19), "9:00", "10:00")
    collect([at("9:00", 19)])
    fields = [StatDay.stat_date, StatDay.metrics_version, StatDay.sample_count, StatDay.computed_at, StatDay.dirty]
    door.upsert(StatDay, fields, [(date(2025, 5, 19), 1, 1, NOON, False)], key=fields[:2])
    wiki.answers[BAY, "2025-05-19"] = [ride_told(COMET, ("9:00", OPERATING, 20), day=19)]
    assert fill()[1:4] == (2, 3, 3)
    assert StatDay.get().dirty is True


# --- which slots are missing -----------------------------------------------------------------------------------------


def test_what_is_younger_than_two_intervals_may_still_come(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    wiki.answers[BAY, "2025-05-20"] = [ride_told(COMET, ("9:00", OPERATING, 20))]
    quarter_to = datetime(2025, 5, 20, 17, 44, 59, tzinfo=UTC)
    assert fill(quarter_to).run is None
    assert fill(quarter_to + timedelta(seconds=1)).slots_filled == 1
    assert [slot for slot, *_ in readings(10, at("10:01"), at("23:00"))] == [at("10:15")]


def test_no_past_is_invented_before_the_first_slot_of_a_park(wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(1, BAY, {10: COMET})
    store_catalog_of(2, PIER, {20: WAVE})  # never collected
    collect([at("11:15")], (10,))
    wiki.answers[BAY, "2025-05-20"] = [ride_told(COMET, ("9:00", OPERATING, 20))]
    fill()
    assert wiki.asked == [(BAY, "2025-05-20")]
    assert [slot for slot, *_ in readings(10, 0, at("23:00"))] == [at("11:15"), at("11:30")]


def test_a_closed_park_misses_nothing(wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(1, BAY, {10: COMET})
    open_on(TODAY, "9:00", "10:30")
    collect([at("8:00")], (10,))
    wiki.answers[BAY, "2025-05-20"] = [ride_told(COMET, ("9:00", OPERATING, 20))]
    assert fill().slots_filled == 6
    assert [slot for slot, *_ in readings(10, at("8:01"), at("23:00"))] == times("9:00", "10:15")


def test_without_a_schedule_every_slot_is_missed(wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(1, BAY, {10: COMET})
    collect([at("8:00")], (10,))
    wiki.answers[BAY, "2025-05-20"] = [ride_told(COMET, ("9:00", OPERATING, 20))]
    fill()
    assert readings(10, at("8:15"), at("9:00")) == [
        (at("8:15"), CLOSED, None), (at("8:30"), CLOSED, None), (at("8:45"), CLOSED, None), (at("9:00"), OPERATING, 20),
    ]  # fmt: skip


def test_a_suspect_slot_is_not_filled_by_those_who_were_not_believed(
    bay: None, wiki: Wiki, fill: Callable[..., Report]
) -> None:
    suspect = ParkActivitySnapshot.snapshot_time == at("9:30")
    ParkActivitySnapshot.update({ParkActivitySnapshot.is_suspect: True}).where(suspect).execute()
    wiki.answers[BAY, "2025-05-20"] = [ride_told(COMET, ("9:00", OPERATING, 20)), ride_told(OTTER, ("9:00", DOWN, 0))]
    assert fill().slots_filled == 6
    assert ParkActivitySnapshot.get(suspect).is_suspect is True
    assert fill().run is None


def test_days_that_were_given_up_are_not_missed(wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(1, BAY, {10: COMET})
    collect([at("12:00", 18)], (10,))
    set_state(state.RAW_FROM, at("0:00", 20))
    fill()
    assert wiki.asked == [(BAY, "2025-05-20")]


def test_only_the_last_days_are_looked_at(wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(1, BAY, {10: COMET})
    collect([at("12:00", 1)], (10,))
    fill(days=2)
    assert wiki.asked == [(BAY, "2025-05-20"), (BAY, "2025-05-19"), (BAY, "2025-05-18")]


@pytest.mark.parametrize("change", [{Park.is_active: False}, {Park.themeparks_wiki_id: None}])
def test_a_park_that_nobody_can_be_asked_about_is_left_out(
    bay: None, wiki: Wiki, fill: Callable[..., Report], change: dict[Any, object]
) -> None:
    Park.update(change).execute()
    assert fill().run is None
    assert wiki.asked == []


def test_days_are_those_of_the_clocks_in_the_park(wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(1, BAY, {10: COMET}, timezone="Asia/Tokyo")
    tokyo = {"hours_behind": -9}
    collect([at("23:15", 20, **tokyo)], (10,))
    wiki.answers[BAY, "2025-05-20"] = [ride_told(COMET, ("22:00", OPERATING, 20), **tokyo)]
    wiki.answers[BAY, "2025-05-21"] = [ride_told(COMET, ("0:00", DOWN, None), day=21, **tokyo)]
    report = fill(datetime(2025, 5, 20, 15, 45, tzinfo=UTC))  # a quarter to one on the 21st
    assert report[1:5] == (2, 4, 4, {})
    assert readings(10, at("23:30", 20, **tokyo), at("3:00", 21, **tokyo)) == [
        (at("23:30", 20, **tokyo), OPERATING, 20), (at("23:45", 20, **tokyo), OPERATING, 20),
        (at("0:00", 21, **tokyo), DOWN, None), (at("0:15", 21, **tokyo), DOWN, None),
    ]  # fmt: skip


def test_the_hour_that_autumn_repeats_is_filled_twice(wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(1, BAY, {10: COMET})
    first = epoch(datetime(2025, 11, 2, 7, 45, tzinfo=UTC))  # 0:45 in summer
    collect([first], (10,))
    row = {"time": "2025-11-02T07:00:00Z", "status": "OPERATING"}
    comet = {"id": COMET, "name": "Comet", "entityType": "ATTRACTION", "opening": row, "history": []}
    wiki.answers[BAY, "2025-11-02"] = [comet]
    report = fill(datetime(2025, 11, 2, 10, 30, tzinfo=UTC))  # 2:30 in winter
    assert report.slots_filled == 9  # from one o'clock, eight quarters, until two
    assert wiki.asked == [(BAY, "2025-11-02")]


# --- what stays a gap ------------------------------------------------------------------------------------------------


def test_a_slot_of_which_no_ride_is_known_stays_a_gap(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    wiki.answers[BAY, "2025-05-20"] = [
        ride_told(COMET, ("0:00", None, None), ("10:50", OPERATING, 20)),
        ride_told(OTTER, ("0:00", None, None), ("11:20", DOWN, None)),
    ]
    report = fill()
    assert report[1:5] == (1, 3, 4, {NOT_TOLD: 3})
    assert readings(10, at("10:15"), at("12:00")) == [(slot, OPERATING, 20) for slot in times("11:00", "11:30")]
    assert readings(11, at("10:15"), at("12:00")) == [(at("11:30"), DOWN, None)]


@pytest.mark.parametrize("rides", [[], [ride_told(WAVE, ("9:00", OPERATING, 1))]])
def test_a_day_of_which_nothing_is_told_stays_a_gap(
    bay: None, wiki: Wiki, fill: Callable[..., Report], rides: list[dict[str, Any]]
) -> None:
    wiki.answers[BAY, "2025-05-20"] = rides
    assert fill()[1:5] == (1, 0, 0, {NOT_TOLD: 6})


def test_nobody_knows_what_went_on_after_the_archive_ends(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    wiki.answers[BAY, "2025-05-20"] = [
        ride_told(COMET, ("9:00", OPERATING, 20)), ride_told(OTTER, ("10:00", OPERATING, None)),
    ]  # fmt: skip
    report = fill(datetime(2025, 5, 20, 23, 45, tzinfo=UTC))  # 16:45: the last slot is of 16:15
    assert report[2:5] == (8, 16, {ARCHIVE_ENDS: 17})
    assert [slot for slot, *_ in readings(10, at("10:01"), at("23:00"))] == times("10:15", "12:00")


def test_a_last_state_of_six_hours_is_believed(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    wiki.answers[BAY, "2025-05-20"] = [ride_told(COMET, ("9:00", OPERATING, 20)), ride_told(WAVE, ("10:00", DOWN, 0))]
    report = fill(datetime(2025, 5, 20, 23, 30, tzinfo=UTC))  # 16:30: the last slot is of 16:00
    assert report[2:5] == (24, 24, {})


@pytest.mark.parametrize("answer", [
    Unanswered("wiki.test answered with status 404."), b"<html>", b'{"entities": null}',
])  # fmt: skip
def test_a_day_that_is_not_given_stays_a_gap_and_the_others_are_filled(
    bay: None, wiki: Wiki, fill: Callable[..., Report], answer: Any
) -> None:
    store_catalog_of(2, PIER, {20: WAVE})
    collect([at("11:15")], (20,), park_id=2)
    wiki.answers[BAY, "2025-05-20"] = answer
    wiki.answers[PIER, "2025-05-20"] = [ride_told(WAVE, ("9:00", OPERATING, 20))]
    report = fill()
    assert report[:4] == (2, 2, 1, 1)
    assert list(report.gaps.values()) == [6]
    [run] = AggregationJobLog.select()
    assert (run.status, run.warnings) == (JobStatus.SUCCESS, 1)
    fill()
    assert wiki.asked[2:] == [(BAY, "2025-05-20")]


def test_a_park_whose_rides_are_not_known_there_is_not_asked_for(wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(1, BAY, {10: None})
    collect([at("11:15")], (10,))
    assert fill()[:5] == (1, 0, 0, 0, {NO_RIDES: 1})
    assert wiki.asked == []


def test_a_run_that_nobody_answers_has_failed(wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(1, BAY, {10: COMET})
    collect([at("12:00", 14)], (10,))
    for day in range(13, 21):
        wiki.answers[BAY, f"2025-05-{day}"] = Silent("wiki.test did not answer in time.")
    report = fill()
    assert report.run and report.run.failure == "No gap could be filled: wiki.test did not answer in time."
    assert list(report.gaps) == ["wiki.test did not answer in time."]
    assert (report.days_asked, len(wiki.asked)) == (7, 3)  # and then it was given up on
    assert AggregationJobLog.get().status is JobStatus.FAILED


def test_a_run_that_somebody_answers_has_not_failed(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(2, PIER, {20: WAVE})
    collect([at("11:15")], (20,), park_id=2)
    wiki.answers[BAY, "2025-05-20"] = Silent("wiki.test did not answer in time.")
    wiki.answers[PIER, "2025-05-20"] = [ride_told(WAVE, ("9:00", OPERATING, 20))]
    report = fill()
    assert (report.slots_filled, report.gaps) == (1, {"wiki.test did not answer in time.": 6})
    assert report.run and report.run.failure is None


def test_what_makes_way_is_filled_by_the_next_run(bay: None, wiki: Wiki, fill: Callable[..., Report]) -> None:
    wiki.answers[BAY, "2025-05-20"] = [ride_told(COMET, ("9:00", OPERATING, 20))]
    collect([at("23:30", 19)])
    open_on(date(2025, 5, 19), "23:30", "23:59")
    answers = iter([False, True, True])
    assert fill(proceed=lambda: next(answers))[:5] == (1, 0, 0, 0, {NOT_ASKED: 7})
    assert wiki.asked == []
    assert fill().slots_filled == 6


def test_progress_is_in_days_of_a_park(wiki: Wiki, fill: Callable[..., Report]) -> None:
    store_catalog_of(1, BAY, {10: COMET})
    collect([at("12:00", 19)], (10,))
    seen: list[tuple[int, int]] = []
    fill(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def six_rides() -> list[str]:
    """A park like `bay` with six rides, whose ids by the wiki are returned."""
    ids = [f"0a1b2c3d-0000-4000-8000-0000000001{number:02}" for number in range(6)]
    store_catalog_of(1, BAY, {10 + number: wiki_id for number, wiki_id in enumerate(ids)})
    collect(times("9:00", "10:00"))
    open_on(TODAY, "9:00", "21:00")
    return ids


def test_a_hole_in_what_is_remembered_stays_a_gap(wiki: Wiki, fill: Callable[..., Report]) -> None:
    told: list[Told] = [("9:00", OPERATING, 20), ("10:10", OPERATING, 30), ("15:00", OPERATING, 40)]
    wiki.answers[BAY, "2025-05-20"] = [ride_told(one, *told) for one in six_rides()]
    report = fill(NOON + timedelta(hours=4))  # 16:00 there
    assert [slot for slot, *_ in readings(10, at("10:15"), at("16:00"))] == [
        *times("10:15", "11:00"), *times("15:00", "15:30"),
    ]  # fmt: skip
    assert report.gaps == {DOUBTED: 15}


def test_what_would_not_have_been_believed_is_not_filled(wiki: Wiki, fill: Callable[..., Report]) -> None:
    told: list[Told] = [("10:10", OPERATING, 20), ("10:40", CLOSED, None), ("11:10", OPERATING, 20)]
    wiki.answers[BAY, "2025-05-20"] = [ride_told(one, *told) for one in six_rides()]
    report = fill()
    assert [slot for slot, *_ in readings(10, at("10:15"), at("12:00"))] == [
        at("10:15"), at("10:30"), at("11:15"), at("11:30"),
    ]  # fmt: skip
    assert report.gaps == {DOUBTED: 2}
