"""The parks' hours: what of an answer is stored, whom to ask when, and what a run says that went badly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cli
from cli.schedules import schedules as command
from service import database as door
from service.config import Settings
from service.errors import ServiceError, Silent, Unanswered
from service.feeds import Opening, ParkRecord
from service.jobs.catalog import store_catalog
from service.jobs.joblog import logged
from service.jobs.schedules import Report, Schedules, asked_parks
from service.jobs.store import store_schedules
from service.models import AggregationJobLog, JobStatus, Park, ParkSchedule
from service.periods import epoch
from service.rules import ParkType, ScheduleType
from upstream import Said, Upstream, json_of

pytestmark = pytest.mark.usefixtures("database")

NOON = datetime(2025, 5, 20, 19, 0, tzinfo=UTC)  # in California
TOMORROW = NOON + timedelta(hours=24)
WIKI = "0a1b2c3d-0000-4000-8000-00000000000"  # and the number of the park


def at(day: int, hour: int, minute: int = 0) -> int:
    """Epoch seconds of a time on the clock in May 2025, in California."""
    return epoch(datetime(2025, 5, day, hour, minute, tzinfo=UTC) + timedelta(hours=7))


def hours(day: int, opening: int = 9, closing: int = 21, kind: str = "OPERATING") -> dict[str, object]:
    """A row of an answer, whole hours of a day in May."""
    times = (f"2025-05-{day:02}T{hour:02}:00:00-07:00" for hour in (opening, closing))
    return {"date": f"2025-05-{day:02}", "type": kind, **dict(zip(("openingTime", "closingTime"), times, strict=True))}


class Wiki:
    """ThemeParks.wiki as a function: answers by park, and which parks it was asked for."""

    def __init__(self) -> None:
        self.rows: dict[int, list[dict[str, object]] | bytes | Exception] = {}
        self.timezone = "America/Los_Angeles"
        self.asked: list[int] = []

    def __call__(self, url: str) -> bytes:
        park_id = int(url.removeprefix(f"https://api.themeparks.wiki/v1/entity/{WIKI}").removesuffix("/schedule"))
        self.asked.append(park_id)
        rows = self.rows.get(park_id, [hours(20)])
        if isinstance(rows, Exception):
            raise rows
        return rows if isinstance(rows, bytes) else json.dumps({"timezone": self.timezone, "schedule": rows}).encode()

    def asked_since(self) -> list[int]:
        """Those since this was called last."""
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def wiki() -> Wiki:
    return Wiki()


@pytest.fixture
def schedules(settings: Settings) -> Schedules:
    return Schedules(settings)


@pytest.fixture
def refresh(schedules: Schedules, wiki: Wiki) -> Callable[..., Report]:
    return lambda now=NOON, **more: schedules.refresh(wiki, now, **more)


def add_parks(*numbers: int, at: datetime = NOON, **more: Any) -> None:
    usual = {"park_type": ParkType.DISNEY, "country": "US", "timezone": "America/Los_Angeles"}
    parks = [
        ParkRecord(park_id, f"Park {park_id}", **{**usual, "themeparks_wiki_id": f"{WIKI}{park_id}", **more})
        for park_id in numbers
    ]
    store_catalog(parks, [], at)


def stored(park_id: int = 1) -> list[tuple[int, str, int, int]]:
    """Day of the month, type, opening and closing."""
    query = ParkSchedule.select().where(ParkSchedule.park == park_id)
    rows = query.order_by(ParkSchedule.schedule_date, ParkSchedule.opening_at, ParkSchedule.schedule_type)
    return [
        (row.schedule_date.day, row.schedule_type.name, epoch(row.opening_at), epoch(row.closing_at)) for row in rows
    ]


def closed(day: int) -> tuple[int, str, int, int]:
    return day, "CLOSED", at(day, 0), at(day, 0)


# --- what is stored --------------------------------------------------------------------------------------------------


def test_a_day_without_an_opening_up_to_the_last_one_is_closed(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1)
    wiki.rows[1] = [hours(22, 10, 18), hours(24)]
    report = refresh()
    assert (report.asked, report.rows, report.failed, report.without_hours, report.warnings) == (1, 5, [], [], [])
    assert stored() == [
        closed(20), closed(21), (22, "OPERATING", at(22, 10), at(22, 18)), closed(23),
        (24, "OPERATING", at(24, 9), at(24, 21)),
    ]  # fmt: skip


def test_asking_again_changes_nothing(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1)
    wiki.rows[1] = [hours(22), hours(22, 8, 9, "EXTRA_HOURS")]
    refresh()
    before = door.fetch(ParkSchedule.select())
    assert refresh(TOMORROW - timedelta(hours=2), parks=asked_parks()).rows == 0
    assert door.fetch(ParkSchedule.select()) == before


def test_a_day_of_ticket_holders_only_is_closed(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1)
    wiki.rows[1] = [hours(20, 18, 23, "TICKETED_EVENT"), hours(21), hours(21, 21, 23, "TICKETED_EVENT")]
    refresh()
    assert stored() == [
        closed(20), (20, "TICKETED_EVENT", at(20, 18), at(20, 23)),
        (21, "OPERATING", at(21, 9), at(21, 21)), (21, "TICKETED_EVENT", at(21, 21), at(21, 23)),
    ]  # fmt: skip


def test_events_after_the_last_opening_close_no_day(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1)
    wiki.rows[1] = [hours(20), hours(23, 18, 22, "TICKETED_EVENT")]
    refresh()
    assert [row[:2] for row in stored()] == [(20, "OPERATING"), (23, "TICKETED_EVENT")]


def test_a_day_of_which_a_row_was_refused_is_not_closed(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1)
    store_schedules(1, [Opening(date(2025, 5, 21), ScheduleType.OPERATING, at(21, 9), at(21, 20))], NOON)
    wiki.rows[1] = [hours(20), hours(21, 9, 9), {"date": "2025-05-21", "type": "CLOSED"}, hours(22)]
    report = refresh(parks=asked_parks())
    assert [row[:2] for row in stored()] == [(20, "OPERATING"), (21, "OPERATING"), (22, "OPERATING")]
    assert [warned.what for warned in report.warnings] == [
        "row 2 was not used: closingTime is not within 36 hours after openingTime"
    ]
    assert AggregationJobLog.get().warnings == 1


@pytest.mark.parametrize("rows", [
    [], [hours(20, 18, 23, "TICKETED_EVENT")], [{"date": "2025-05-20", "type": "CLOSED"}], [hours(18)],
])  # fmt: skip
def test_of_a_park_that_tells_no_hours_nothing_is_stored(
    wiki: Wiki, refresh: Callable[..., Report], rows: list[dict[str, object]]
) -> None:
    add_parks(1)
    wiki.rows[1] = rows
    report = refresh()
    assert (report.rows, [park.name for park in report.without_hours]) == (0, ["Park 1"])
    assert (stored(), report.failed) == ([], [])


def test_the_days_before_yesterday_are_left_alone(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1)
    wiki.rows[1] = [hours(18), hours(19, 10, 20), hours(20)]
    refresh()
    assert [row[:2] for row in stored()] == [(19, "OPERATING"), (20, "OPERATING")]


def test_today_is_the_day_in_the_park(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1, timezone="Asia/Tokyo")
    wiki.timezone = "Asia/Tokyo"
    row = {"date": "2025-05-22", "openingTime": "2025-05-22T09:00:00+09:00", "closingTime": "2025-05-22T21:00:00+09:00"}
    wiki.rows[1] = [{"type": "OPERATING", **row}]
    refresh()  # in Tokyo it is the 21st
    midnight = epoch(datetime(2025, 5, 20, 15, tzinfo=UTC))
    assert stored()[0] == (21, "CLOSED", midnight, midnight)
    assert [row[:2] for row in stored()] == [(21, "CLOSED"), (22, "OPERATING")]


def test_what_the_source_calls_closed_is_stored_once(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1)
    said = [hours(20), hours(20, 0, 1, "CLOSED"), hours(21, 0, 1, "CLOSED"), hours(22), hours(23, 0, 1, "CLOSED")]
    wiki.rows[1] = said
    refresh()
    assert [row[:2] for row in stored()] == [(20, "OPERATING"), (21, "CLOSED"), (22, "OPERATING"), (23, "CLOSED")]
    assert closed(21) in stored()


def test_a_park_that_opens_after_all_is_closed_no_more(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1)
    wiki.rows[1] = [hours(21)]
    refresh()
    wiki.rows[1] = [hours(20), hours(21)]
    refresh(parks=asked_parks())
    assert [row[:2] for row in stored()] == [(20, "OPERATING"), (21, "OPERATING")]


def test_hours_in_another_time_zone_are_stored_and_reported(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1)
    wiki.timezone = "America/Denver"
    [warned] = refresh().warnings
    assert warned.what == "it tells its hours in America/Denver, but is known to be in America/Los_Angeles"
    assert len(stored()) == 1


# --- whom to ask when ------------------------------------------------------------------------------------------------


def test_only_active_parks_that_the_source_knows_are_asked(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1, 2)
    add_parks(3, themeparks_wiki_id=None)
    Park.update({Park.is_active: False}).where(Park.park_id == 2).execute()
    refresh()
    assert wiki.asked == [1]


def test_without_such_parks_there_is_nothing_to_log(refresh: Callable[..., Report]) -> None:
    assert refresh() == Report(0, 0, [], [], [], 0, None)
    assert AggregationJobLog.select().count() == 0


def test_every_park_is_asked_once_a_day(settings: Settings, wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1, 2)
    refresh()
    almost = TOMORROW - timedelta(seconds=1)
    assert refresh(almost).run is Schedules(settings).refresh(wiki, almost).run is None
    assert wiki.asked_since() == [1, 2]
    refresh(TOMORROW)
    assert wiki.asked == [1, 2]


def test_a_new_park_is_asked_at_once_and_the_others_when_their_day_is_over(
    settings: Settings, wiki: Wiki, refresh: Callable[..., Report]
) -> None:
    add_parks(1)
    refresh()
    add_parks(1, 2, at=NOON + timedelta(hours=1))
    refresh(TOMORROW - timedelta(hours=1))
    assert wiki.asked_since() == [1, 2]
    refresh(TOMORROW)
    assert wiki.asked_since() == [1, 2]
    assert [run.period_start for run in AggregationJobLog.select()] == [date(2025, 5, 20), None, date(2025, 5, 21)]


def test_a_park_that_tells_no_hours_is_not_asked_ever_again(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1, 2)
    wiki.rows[2] = []
    refresh()
    assert refresh(NOON + timedelta(hours=11)).run is None
    wiki.asked_since()
    assert refresh(NOON + timedelta(hours=12)).run is None  # midnight in California
    refresh(TOMORROW)
    assert wiki.asked_since() == [1, 2]


def test_a_run_that_asked_nobody_makes_no_hours_fresh(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1)
    with logged("schedules", NOON):  # so the worker ends a failure of which nothing is left to do
        pass
    refresh()
    assert wiki.asked == [1]


def test_a_run_that_makes_way_goes_on_where_it_was(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1, 2, 3)
    answers = iter([True, True, False])
    report = refresh(proceed=lambda: next(answers))
    assert (report.asked, report.left, wiki.asked_since()) == (2, 1, [1, 2])
    assert refresh(NOON + timedelta(minutes=1)).left == 0
    assert wiki.asked_since() == [3]
    assert refresh(NOON + timedelta(minutes=2)).run is None


def test_a_run_that_breaks_off_goes_on_where_it_was(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1, 2, 3)
    wiki.rows[2] = RuntimeError("The machine is on fire.")
    with pytest.raises(RuntimeError):
        refresh()
    del wiki.rows[2]
    wiki.asked_since()
    assert refresh(NOON + timedelta(minutes=1)).asked == 2
    assert wiki.asked == [2, 3]


def test_a_round_that_was_not_ended_in_a_day_begins_anew(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1, 2)
    answers = iter([True, False])
    refresh(proceed=lambda: next(answers))
    wiki.asked_since()
    refresh(TOMORROW)
    assert wiki.asked == [1, 2]


def test_progress_is_in_parks(refresh: Callable[..., Report]) -> None:
    add_parks(1, 2)
    seen: list[tuple[int, int]] = []
    refresh(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


# --- what fails ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [Unanswered("The host answered with status 404."), b"<html>", b"{}"])
def test_a_park_that_fails_does_not_stop_the_others(
    wiki: Wiki, refresh: Callable[..., Report], answer: bytes | Exception
) -> None:
    add_parks(1, 2, 3)
    wiki.rows[2] = answer
    report = refresh()
    assert ([failed.park.park_id for failed in report.failed], report.rows) == ([2], 2)
    assert report.run and report.run.failure is None
    [run] = AggregationJobLog.select()
    assert (run.status, run.rows_processed, run.warnings) == (JobStatus.SUCCESS, 2, 1)
    assert refresh(NOON + timedelta(hours=1)).run is None  # it has no schedule, but was asked today


def test_a_run_of_which_half_fails_has_failed_and_those_are_asked_again(
    wiki: Wiki, refresh: Callable[..., Report]
) -> None:
    add_parks(1, 2, 3, 4, 5, 6)
    wiki.rows |= {1: Unanswered("Gone."), 2: Unanswered("Broken."), 3: Unanswered("Gone.")}
    report = refresh()
    assert report.run and report.run.failure == (
        "The hours of 2 of 6 parks could not be asked for: Gone."
        " The hours of 1 of 6 parks could not be asked for: Broken."
    )
    assert AggregationJobLog.get().status is JobStatus.FAILED
    assert len(stored(4)) == 1
    wiki.rows.clear()
    wiki.asked_since()
    assert refresh(NOON + timedelta(minutes=1)).rows == 3
    assert wiki.asked_since() == [1, 2, 3]
    assert refresh(NOON + timedelta(minutes=2)).run is None


def test_a_host_that_does_not_answer_is_given_up_on(wiki: Wiki, refresh: Callable[..., Report]) -> None:
    add_parks(1, 2, 3, 4, 5)
    wiki.rows = {park_id: Silent("The host did not answer.") for park_id in range(1, 6)}
    assert len(refresh().failed) == 5
    assert wiki.asked == [1, 2, 3]


def test_the_worker_hears_in_a_few_words_what_was_done_and_of_failures(schedules: Schedules, wiki: Wiki) -> None:
    add_parks(1, 2, 3)
    wiki.rows[3] = Unanswered("Gone.")
    assert schedules.run(wiki, NOON, lambda: True) == "3 parks asked, 2 rows, 1 failed"
    assert schedules.run(wiki, NOON, lambda: True) is None
    wiki.rows[2] = Unanswered("Gone.")
    with pytest.raises(ServiceError) as failure:
        schedules.run(wiki, TOMORROW, lambda: True)
    assert str(failure.value) == "The hours of 2 of 3 parks could not be asked for: Gone."
    assert AggregationJobLog.select().count() == 2


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture
def invoke(settings: Settings, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setitem(cli.main.commands, "schedules", command)
    environ = {"DATABASE_URL": settings.database_url, "THEMEPARKS_WIKI_URL": upstream.url,
               "FEED_REQUESTS_PER_SECOND": "1000", "REPLAY_NOW": "2025-05-20T19:00:00Z"}  # fmt: skip
    return lambda *arguments: CliRunner().invoke(cli.main, ["schedules", *arguments], env=environ)


def scripted(upstream: Upstream, park_id: int, *rows: dict[str, object]) -> None:
    answer = json_of({"timezone": "America/Los_Angeles", "schedule": list(rows)})
    upstream.script(f"/entity/{WIKI}{park_id}/schedule", answer)


def test_the_command_asks_what_is_due(invoke: Callable[..., Result], upstream: Upstream) -> None:
    add_parks(1, 2)
    scripted(upstream, 1, hours(21))
    scripted(upstream, 2)
    assert invoke().stdout == (
        "2 parks asked; schedule rows written: 2.\nNo hours are told of Park 2 (2): what is stored stays.\n"
    )
    scripted(upstream, 2, hours(20))
    result = invoke()
    assert (result.exit_code, result.stdout) == (
        0, "Nothing is due: all hours were asked for less than a day ago. --force asks for them now.\n",
    )  # fmt: skip
    assert invoke("--park", "2").stdout == "1 park asked; schedule rows written: 1.\n"
    assert len(upstream.asked()) == 3
    assert invoke("--force").stdout == "2 parks asked; schedule rows written: 0.\n"


def test_the_command_asks_for_single_parks_whenever_it_is_told(
    invoke: Callable[..., Result], upstream: Upstream
) -> None:
    add_parks(1, 2, 3)
    for park_id in (1, 2, 3):
        scripted(upstream, park_id, hours(20))
    assert invoke("--park", "3", "--park", "1").stdout == "2 parks asked; schedule rows written: 2.\n"
    assert invoke("--park", "3").stdout == "1 park asked; schedule rows written: 0.\n"
    assert invoke().stdout == "3 parks asked; schedule rows written: 1.\n"


def test_a_park_that_failed_makes_exit_1(invoke: Callable[..., Result], upstream: Upstream) -> None:
    add_parks(1, 2, 3)
    scripted(upstream, 1, hours(20))
    scripted(upstream, 3, hours(20), hours(21, 9, 9))
    result = invoke("--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "asked": 3,
        "rows": 2,
        "failed": [{"park_id": 2, "name": "Park 2", "error": "127.0.0.1 answered with status 404."}],
        "without_hours": [],
        "warnings": [{
            "park_id": 3, "name": "Park 3",
            "warning": "row 2 was not used: closingTime is not within 36 hours after openingTime",
        }],
    }  # fmt: skip


def test_people_read_the_failures_first(invoke: Callable[..., Result], upstream: Upstream) -> None:
    add_parks(1)
    upstream.script(f"/entity/{WIKI}1/schedule", Said(b"<html>"))
    result = invoke()
    assert (result.exit_code, result.stdout.splitlines()) == (1, [
        "1 park asked; schedule rows written: 0.",
        "FAILED: Park 1 (1): A schedule of ThemeParks.wiki is not JSON: it begins with '<html>'.",
    ])  # fmt: skip


def test_a_park_that_cannot_be_asked_for_is_bad_input(invoke: Callable[..., Result]) -> None:
    add_parks(1, themeparks_wiki_id=None)
    add_parks(2)
    Park.update({Park.is_active: False}).where(Park.park_id == 2).execute()
    for arguments, sentence in (
        ("1", "Nobody can be asked for the hours of park 1 (Park 1): it has no id of ThemeParks.wiki."),
        ("2", "Nobody can be asked for the hours of park 2 (Park 2): it is not active."),
        ("3", "Park 3 not found"),
        ("99999999999999999999", "Park 99999999999999999999 not found"),
    ):
        result = invoke("--park", arguments)
        assert (result.exit_code, result.stderr) == (2, f"{sentence}\n")


def test_without_parks_the_command_says_what_to_do_first(invoke: Callable[..., Result]) -> None:
    result = invoke()
    assert (result.exit_code, result.stdout) == (
        0, "No active park has an id of ThemeParks.wiki: run `cli catalog sync` first.\n",
    )  # fmt: skip
