"""What `cli collect` records, it plays again: the same rows from the same answers, however often."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result
from payloads import live_of, live_path, queues_of, queues_path, store_parks
from upstream import Said, Upstream

from cli import main
from cli.collect import _recorded
from service import models
from service.config import Settings
from service.database import fetch
from service.feeds import Opening, ParkRecord, RideRecord, queue_times, tape, themeparks_wiki
from service.jobs import asking
from service.jobs.catalog import store_catalog
from service.jobs.collect import Collector, Cycle, NothingCollected
from service.jobs.recorded_catalog import PLAYED
from service.jobs.store import store_schedules
from service.models import AggregationJobLog, JobLease, Park, ParkSchedule, Ride, RideStatusSnapshot, ServiceState
from service.periods import epoch, iso_utc, local_date, wall_clock
from service.queries import state
from service.rules import ParkType, ScheduleType

pytestmark = pytest.mark.usefixtures("database")

NOON = datetime(2026, 3, 4, 20, tzinfo=UTC)
FIVE = timedelta(minutes=5)
DAY = date(2026, 3, 4)
WIKI, QUEUES = "/wiki", "/queues"
PARKS = range(1, 8)

Rows = dict[str, list[tuple[Any, ...]]]

# What a replay cannot know: when the catalog and the hours came in, and which numbers rows and revisions had.
OF_THE_WRITING = {
    "parks": {"created_at", "updated_at"},
    "rides": {"created_at", "updated_at"},
    "park_schedules": {"fetched_at"},
    "data_quality_issues": {"issue_id"},
}
OF_THE_RUN = {"aggregation_job_log", "job_leases"}
REVISIONS = {state.REVISION_CURRENT, state.REVISION_HISTORY}
ONLY_PLAYED = {*REVISIONS, PLAYED}


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.setattr(asking, "FIRST_PAUSE_SECONDS", 0.01)
    with Upstream() as server:
        yield server


@pytest.fixture
def run(settings: Settings, upstream: Upstream) -> Callable[..., Result]:
    """`cli collect` with these arguments at an instant."""

    def invoke(*arguments: str, now: datetime = NOON, **environ: str) -> Result:
        environment = {
            "DATABASE_URL": settings.database_url, "REPLAY_NOW": iso_utc(now), "FEED_REQUESTS_PER_SECOND": "1000",
            "THEMEPARKS_WIKI_URL": upstream.url + WIKI, "QUEUE_TIMES_URL": upstream.url_of("localhost") + QUEUES,
        }  # fmt: skip
        return CliRunner().invoke(main, ["collect", *arguments], env={**environment, **environ})

    return invoke


def tables(but_for: set[str] = OF_THE_RUN) -> Rows:
    """All rows of all tables."""
    every = models.ALL_MODELS
    return {name: _rows(model) for model in every if (name := model._meta.table_name) not in but_for}


def comparable(rows: Rows) -> Rows:
    """What a replay gives alike."""
    found = {}
    for name, of_table in rows.items():
        columns = next(_columns(model) for model in models.ALL_MODELS if model._meta.table_name == name)
        kept = [number for number, column in enumerate(columns) if column not in OF_THE_WRITING.get(name, ())]
        found[name] = sorted((tuple(row[number] for number in kept) for row in of_table), key=str)
    found["service_state"] = [row for row in found["service_state"] if row[0] not in ONLY_PLAYED]
    return found


def _columns(model: Any) -> list[str]:
    return [field.name for field in model._meta.sorted_fields]


def _rows(model: Any) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in fetch(model.select(*model._meta.sorted_fields))), key=str)


def by_park(readings: list[tuple[Any, ...]]) -> dict[tuple[int, int], list[tuple[Any, ...]]]:
    """Readings by their slot and park."""
    found: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
    for slot, ride, *said in readings:
        found.setdefault((slot, ride // 100), []).append((ride, *said))
    return found


def forget_all() -> None:
    """As if the database had just been migrated."""
    for model in (
        models.RideStatusSnapshot, models.ParkActivitySnapshot, models.DataQualityIssue, models.ParkSchedule,
        models.Ride, models.Park, models.StatDay, JobLease, AggregationJobLog,
    ):  # fmt: skip
        model.delete().execute()
    ServiceState.delete().where(ServiceState.name != state.ACTIVE_VERSION).execute()


def opens(park: int, first_hour: int, last_hour: int) -> None:
    midnight = epoch(datetime(2026, 3, 4, 8, tzinfo=UTC))
    row = Opening(DAY, ScheduleType.OPERATING, midnight + first_hour * 3600, midnight + last_hour * 3600)
    store_schedules(park, [row], NOON - timedelta(days=1))


# --- a world whose answers change ------------------------------------------------------------------------------------


def arrange() -> None:
    """Seven parks of six rides: 2 to 4 are at Queue-Times, too; 5 and 6 say when they are open."""
    store_parks(PARKS, [2, 3, 4], at=NOON - timedelta(days=30))
    opens(5, 9, 22)
    opens(6, 18, 23)


def answers(upstream: Upstream, number: int) -> None:
    """What the sources say in the slot of this number."""
    now = NOON + number * FIVE
    turned = ["ODOCRO", "OODCRO", "DOOCRO", "OOOOOO"][number % 4]
    told: dict[int, Said] = {
        1: Said(live_of(1, turned, now, wait=5 * number)),
        2: Said(b"", 404),
        3: Said(status=500) if number % 2 else Said(live_of(3, turned, now)),
        4: Said(b"<html>") if number < 2 else Said(live_of(4, turned, now, wait=995)),
        5: Said(live_of(5, "CCCCCC" if number in (2, 3) else "OOODDO", now - timedelta(hours=30))),
        6: Said(live_of(6, "CCCCCC", now)),
        7: Said(drops="at once") if number in (1, 4) else Said(live_of(7, turned, now)),
    }
    for park, said in told.items():
        upstream.script(WIKI + live_path(park), said)
    for park in (2, 3):
        upstream.script(QUEUES + queues_path(park), Said(queues_of(park, "ococoo"[number % 3 :] + "ooo", now)))
    upstream.script(QUEUES + queues_path(4), Said(b"", 503) if number == 1 else Said(queues_of(4, "cccooo", now)))


def record(upstream: Upstream, run: Callable[..., Result], folder: Path, slots: int = 6) -> None:
    for number in range(slots):
        answers(upstream, number)
        result = run("--once", "--record", str(folder), now=NOON + number * FIVE + timedelta(seconds=70))
        assert result.exit_code in (0, 1), result.output


# --- a replay --------------------------------------------------------------------------------------------------------


def test_a_replay_into_an_empty_database_gives_the_rows_that_were_recorded(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    arrange()
    record(upstream, run, tmp_path / "tape")
    recorded = tables()
    assert len(recorded["ride_status_snapshots"]) == 36 + 36 + 36 + 30 + 16 + 6 + 24  # of parks 1 to 7
    forget_all()
    result = run("--replay", str(tmp_path / "tape"))
    assert result.exit_code == 0, result.output
    assert comparable(tables()) == comparable(recorded)


def test_replaying_twice_changes_nothing(upstream: Upstream, run: Callable[..., Result], tmp_path: Path) -> None:
    arrange()
    record(upstream, run, tmp_path / "tape")
    forget_all()
    run("--replay", str(tmp_path / "tape"))
    once = tables()
    result = run("--replay", str(tmp_path / "tape"), "--json")
    assert (result.exit_code, json.loads(result.stdout)["stored"], json.loads(result.stdout)["replaced"]) == (0, 0, 0)
    assert tables() == once


def test_a_replay_over_what_was_recorded_changes_nothing(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    arrange()
    record(upstream, run, tmp_path / "tape")
    recorded = tables()
    assert run("--replay", str(tmp_path / "tape")).exit_code == 0
    assert tables() == recorded


def test_a_host_that_was_given_up_on_is_played_as_it_was(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    """Eight threads ask at once: the last five have their answers before anybody gives up on the first three."""
    store_parks(range(1, 9))
    for park in range(1, 9):
        upstream.script(WIKI + live_path(park), Said(status=500) if park <= 3 else Said(live_of(park, "OODOOO", NOON)))
    run("--once", "--record", str(tmp_path / "tape"))
    recorded = tables()
    assert len(recorded["ride_status_snapshots"]) == 5 * 6
    forget_all()
    assert run("--replay", str(tmp_path / "tape")).exit_code == 0
    assert comparable(tables()) == comparable(recorded)


def test_a_tape_that_breaks_off_is_played_to_where_it_does(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    arrange()
    record(upstream, run, tmp_path / "tape", slots=3)
    recorded = by_park(tables()["ride_status_snapshots"])
    index = (tmp_path / "tape" / "tape.jsonl").read_bytes()
    in_first = index.index(b"\n", index.index(b'"body"')) + 10  # in the line after the first answer
    for number, size in enumerate((len(index) - 3, len(index) * 3 // 4, len(index) // 2, in_first)):
        cut = tmp_path / f"cut-{number}"
        shutil.copytree(tmp_path / "tape", cut)
        (cut / "tape.jsonl").write_bytes(index[:size])
        forget_all()
        assert run("--replay", str(cut)).exit_code == 0
        played = by_park(tables()["ride_status_snapshots"])
        assert played or size == in_first  # the first answer may be of a park that is not believed
        assert played == {key: recorded[key] for key in played}


def test_a_damaged_body_costs_one_answer(upstream: Upstream, run: Callable[..., Result], tmp_path: Path) -> None:
    store_parks([1, 2])
    for park in (1, 2):
        upstream.script(WIKI + live_path(park), Said(live_of(park, "OODOOO", NOON)))
    run("--once", "--record", str(tmp_path / "tape"))
    bodies = sorted((tmp_path / "tape" / "bodies").rglob("*.gz"))
    bodies[0].write_bytes(b"broken")
    forget_all()
    result = run("--replay", str(tmp_path / "tape"))
    assert (result.exit_code, RideStatusSnapshot.select().count()) == (0, 6)


def test_a_cycle_in_which_nobody_answered_is_whole_on_the_tape(tmp_path: Path) -> None:
    store_parks([1])
    with pytest.raises(NothingCollected), _recorded(tape.Recorder(tmp_path / "tape"), Settings(), NOON):
        raise NothingCollected(Cycle(epoch(NOON)))
    [cycle] = tape.cycles(tmp_path / "tape")
    assert cycle.is_whole
    assert cycle.catalog is not None


# --- a catalog that changes while it is recorded ---------------------------------------------------------------------

DAYS = 4
NEW_RIDE, NEW_PARK = 199, 9


def catalog_of(number: int) -> None:
    """What has changed of the catalog on a day: hours are told and change, rides and a park come, names change. On the
    days of odd numbers park 1 closes a quarter of an hour before noon."""
    if number == 0:
        store_parks([1, 2], [2], at=NOON - timedelta(days=30))
        opens(1, 9, 22)
    elif number == 1:
        opens_on(number, 1, until=time(11, 45))
        opens_on(number, 2)
        rides = [RideRecord(NEW_RIDE, 1, "Ride 1-7", themeparks_wiki_id="ride-107")]
        store_catalog([ParkRecord(1, "Park 1", ParkType.DISNEY, "US", "America/Los_Angeles")], rides, NOON)
    elif number == 2:
        opens_on(number, 1)
        opens_on(number, 2)
        Ride.update({Ride.name: "The Otter", Ride.queue_times_id: None}).where(Ride.ride_id == 201).execute()
        Park.update({Park.name: "Otter Park"}).where(Park.park_id == 2).execute()
    else:
        opens_on(number, 1, until=time(11, 45))
        opens_on(number, 2)
        store_parks([NEW_PARK], rides=2)
        Ride.update({Ride.tier: 1, Ride.themeparks_wiki_id: None}).where(Ride.ride_id == 102).execute()


def opens_on(number: int, park: int, until: time = time(22)) -> None:
    day = DAY + timedelta(days=number)
    at = [wall_clock(day, clock, "America/Los_Angeles") for clock in (time(9), until)]
    store_schedules(park, [Opening(day, ScheduleType.OPERATING, *at)], NOON + timedelta(days=number - 1))


def record_days(upstream: Upstream, run: Callable[..., Result], folder: Path) -> None:
    """Two slots of each day. All that is told of is told of on every day, whether it is in the catalog yet or not."""
    for number in range(DAYS):
        catalog_of(number)
        for now in (NOON + timedelta(days=number), NOON + timedelta(days=number) + FIVE):
            upstream.script(WIKI + live_path(1), Said(live_of(1, "CCCCCCC" if number % 2 else "OODOOOO", now)))
            upstream.script(WIKI + live_path(2), Said(status=404))
            upstream.script(QUEUES + queues_path(2), Said(queues_of(2, "oocooo", now)))
            upstream.script(WIKI + live_path(NEW_PARK), Said(live_of(NEW_PARK, "OD", now)))
            result = run("--once", "--record", str(folder), now=now)
            assert result.exit_code == 0, result.output


def test_a_catalog_that_changes_is_played_as_it_was_in_each_slot(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    record_days(upstream, run, tmp_path / "tape")
    recorded = tables()
    # Of parks 1 and 2 on each day: a ride that came later, others that have lost their ids; and of park 9.
    assert len(recorded["ride_status_snapshots"]) == 2 * ((6 + 6) + (7 + 6) + (7 + 5) + (6 + 5) + 2)
    assert recorded["data_quality_issues"] == []
    assert len(list((tmp_path / "tape" / "catalog").iterdir())) == DAYS
    forget_all()
    assert run("--replay", str(tmp_path / "tape")).exit_code == 0
    assert comparable(tables()) == comparable(recorded)


def test_a_changing_catalog_played_twice_changes_nothing(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    record_days(upstream, run, tmp_path / "tape")
    forget_all()
    run("--replay", str(tmp_path / "tape"))
    once = tables()
    result = run("--replay", str(tmp_path / "tape"), "--json")
    assert (result.exit_code, json.loads(result.stdout)["stored"], json.loads(result.stdout)["replaced"]) == (0, 0, 0)
    again = tables()
    for rows in (once, again):
        rows["service_state"] = [row for row in rows["service_state"] if row[0] not in REVISIONS]
    assert again == once


@pytest.mark.parametrize("cycles", range(1, 2 * DAYS))
def test_a_replay_that_is_interrupted_and_run_again_gives_what_one_in_one_piece_does(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cycles: int
) -> None:
    record_days(upstream, run, tmp_path / "tape")
    forget_all()
    run("--replay", str(tmp_path / "tape"))
    whole = comparable(tables())
    forget_all()
    left, cycle = iter(range(cycles)), Collector.cycle

    def interrupted(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return cycle(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Collector, "cycle", interrupted)
        run("--replay", str(tmp_path / "tape"))
    assert comparable(tables()) != whole
    assert run("--replay", str(tmp_path / "tape")).exit_code == 0
    assert comparable(tables()) == whole


def test_parks_that_were_there_before_a_replay_stay_as_they_are(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    record_days(upstream, run, tmp_path / "tape")
    forget_all()
    catalog_of(0)
    before = {name: comparable(tables())[name] for name in ("parks", "park_schedules")}
    assert run("--replay", str(tmp_path / "tape")).exit_code == 0
    assert {name: comparable(tables())[name] for name in before} == before
    assert not Ride.select().where(Ride.ride_id == NEW_RIDE).exists()
    assert ParkSchedule.select().count() == 1


def test_a_tape_of_before_is_played_with_its_one_catalog(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    arrange()
    record(upstream, run, tmp_path / "tape", slots=2)
    recorded = tables()
    [catalog] = (tmp_path / "tape" / "catalog").iterdir()
    for path in catalog.iterdir():
        path.rename(catalog.parent / path.name)
    catalog.rmdir()
    index = tmp_path / "tape" / "tape.jsonl"
    index.write_text(index.read_text().replace(f', "catalog": "{catalog.name}"', ""))
    assert "catalog" not in index.read_text()
    forget_all()
    assert run("--replay", str(tmp_path / "tape")).exit_code == 0
    assert comparable(tables()) == comparable(recorded)


# --- what cannot be played, and what cannot be asked for -------------------------------------------------------------


def test_a_folder_that_is_no_tape_is_refused(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tape.jsonl").write_text("{}\n")
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "tape.jsonl").write_text('{"tape": 2}\n')
    for name in ("missing", "empty", "other"):
        result = run("--replay", str(tmp_path / name))
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            f"{tmp_path / name} is no tape: name a folder that `cli collect --record` has recorded into.\n"
        )
    result = run("--replay", str(tmp_path / "newer"))
    assert result.exit_code == 2
    assert result.stderr == (
        f"{tmp_path / 'newer'} is a tape of format 2, but this version of the service plays 1.\n"
    )
    store_parks([1])
    result = run("--once", "--record", str(tmp_path / "other" / "tape.jsonl"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("arguments", [
    ["--once", "--replay", "x"], ["--fill", "--once"], ["--fill", "--replay", "x"], ["--record", "x", "--replay", "y"],
    ["--fill", "--record", "x"], ["--once", "--fill", "--record", "x"],
])  # fmt: skip
def test_options_that_contradict_each_other_are_refused(
    run: Callable[..., Result], tmp_path: Path, arguments: list[str]
) -> None:
    result = run(*(str(tmp_path / one) if one in "xy" else one for one in arguments))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert list(tmp_path.glob("[xy]")) == []


def test_without_parks_there_is_nobody_to_ask(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("--once", "--record", str(tmp_path / "tape"))
    assert result.exit_code == 2
    assert result.stderr == (
        "There is no park to ask about: run `cli catalog sync`, or `cli demo` for simulated ones.\n"
    )


def test_a_tape_without_a_cycle_is_said_to_have_none(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "tape.jsonl").write_text('{"tape": 1}\n')
    result = run("--replay", str(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "The recording has no cycle.\n")


def test_a_tape_is_played_at_the_interval_it_was_recorded_at(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    store_parks([1])
    for minutes in (0, 5, 10):
        now = NOON + timedelta(minutes=minutes)
        upstream.script(WIKI + live_path(1), Said(live_of(1, "OODOOO", now)))
        run("--once", "--record", str(tmp_path / "tape"), now=now, SNAPSHOT_INTERVAL_MINUTES="10")
    forget_all()
    assert run("--replay", str(tmp_path / "tape"), SNAPSHOT_INTERVAL_MINUTES="5").exit_code == 0
    assert RideStatusSnapshot.select().count() == 2 * 6
    assert state.get_state(state.INTERVAL) == 10


def test_a_database_of_another_interval_takes_no_tape(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    store_parks([1])
    upstream.script(WIKI + live_path(1), Said(live_of(1, "OODOOO", NOON)))
    run("--once", "--record", str(tmp_path / "tape"), SNAPSHOT_INTERVAL_MINUTES="10")
    forget_all()
    store_parks([1])
    run("--once", SNAPSHOT_INTERVAL_MINUTES="5")
    before = tables(set())
    result = run("--replay", str(tmp_path / "tape"), SNAPSHOT_INTERVAL_MINUTES="5")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)
    assert tables(set()) == before


# --- nobody answers --------------------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_where_nobody_can_be_reached_each_source_has_one_sentence_and_nothing_is_written(
    upstream: Upstream, run: Callable[..., Result]
) -> None:
    arrange()
    before = tables({"aggregation_job_log", "service_state"})
    nowhere = {
        "THEMEPARKS_WIKI_URL": f"http://127.0.0.1:{closed_port()}/v1",
        "QUEUE_TIMES_URL": f"http://localhost:{closed_port()}",
    }
    result = run("--once", **nowhere)
    assert (result.exit_code, result.stdout) == (1, "")
    said = [line for line in result.stderr.splitlines() if " INFO " not in line]
    assert sorted(said) == [
        "Nothing was stored.", "Queue-Times: localhost cannot be reached (3 parks).",
        "ThemeParks.wiki: 127.0.0.1 cannot be reached (7 parks).",
    ]  # fmt: skip
    assert tables({"aggregation_job_log", "service_state"}) == before
    assert state.get_state(state.NEWEST_SLOT) is None
    assert [run_.status.name for run_ in AggregationJobLog.select()] == ["FAILED"]


@pytest.mark.parametrize("are_there", [True, False], ids=["somebody answers", "nobody answers"])
def test_json_is_one_object(upstream: Upstream, run: Callable[..., Result], are_there: bool) -> None:
    arrange()
    if are_there:
        answers(upstream, 1)
    result = run("--once", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert found["slot"] == "2026-03-04T20:00:00Z"
    assert found["sources"] == ({"ThemeParks.wiki": 3, "Queue-Times": 2} if are_there else {})
    assert found["stored"] == (28 if are_there else 0)
    assert len(found["failures"]) == (5 if are_there else 2)


# --- what sources have really said -----------------------------------------------------------------------------------

REAL = Path(__file__).parents[3] / "shared" / "data" / "fixtures"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the recorded answers are not here")
ORLANDO, TOKYO, PARIS = "America/New_York", "Asia/Tokyo", "Europe/Paris"


class Real(NamedTuple):
    """A real answer about one park, and what has to come of it."""

    file: str
    now: str
    zone: str
    readings: int
    look: tuple[int, int, int, int]  # rides told of, open, down, closed
    doubts: list[str]
    hours: tuple[int, int] | None = None  # of that local day, if its schedule is known


ANSWERS = [
    Real("themeparks/py-mk_live.json", "2026-04-14T22:27:30Z", ORLANDO, 35, (35, 32, 0, 3), [], (9, 22)),
    Real("themeparks/py-mk_live.json", "2026-04-14T23:30:00Z", ORLANDO, 0, (35, 32, 0, 3), ["Frozen"], (9, 22)),
    Real("themeparks/js-mk_live.json", "2026-04-15T10:36:30Z", ORLANDO, 35, (35, 2, 0, 33), []),
    Real("themeparks/shoyoyu-tdl_live.json", "2026-07-18T06:27:00Z", TOKYO, 37, (37, 29, 2, 6), [], (9, 21)),
    Real("themeparks/shoyoyu-tds_live.json", "2026-07-18T06:27:00Z", TOKYO, 34, (34, 30, 0, 4), [], (9, 21)),
    Real("queue-times/01iwier-queue_times.json", "2024-05-23T18:41:00Z", PARIS, 40, (40, 24, 0, 16), []),
    Real("queue-times/01iwier-queue_times_wdsp.json", "2024-05-25T11:11:00Z", PARIS, 15, (15, 9, 0, 6), []),
    Real("queue-times/JZXHanta-epcot.json", "2023-11-02T21:41:00Z", ORLANDO, 17, (17, 17, 0, 0), []),
    Real("queue-times/JZXHanta-hollywoodstudios.json", "2023-11-02T11:26:00Z", ORLANDO, 20, (20, 4, 0, 16), []),
]


@real
@pytest.mark.parametrize("answer", ANSWERS, ids=[f"{one.file.partition('/')[2]} at {one.now}" for one in ANSWERS])
def test_a_real_answer_is_recorded_and_played(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path, answer: Real
) -> None:
    body, now = (REAL / answer.file).read_bytes(), datetime.fromisoformat(answer.now)
    upstream.script(store_real(answer, body, now), Said(body))
    result = run("--once", "--record", str(tmp_path / "tape"), now=now)
    assert result.exit_code == 0, result.output
    recorded = tables()
    assert len(recorded["ride_status_snapshots"]) == answer.readings
    shot = models.ParkActivitySnapshot
    look = shot.select(shot.rides_tracked, shot.rides_open, shot.rides_down, shot.rides_closed)
    assert [tuple(row) for row in fetch(look)] == [answer.look]
    details = fetch(models.DataQualityIssue.select(models.DataQualityIssue.details))
    assert [said.partition(":")[0] for (said,) in details] == answer.doubts
    forget_all()
    assert run("--replay", str(tmp_path / "tape")).exit_code == 0
    assert comparable(tables()) == comparable(recorded)


def store_real(answer: Real, body: bytes, now: datetime) -> str:
    """A park with the rides of the answer, and its hours of that day; where it is asked about."""
    of_wiki = answer.file.startswith("themeparks")
    wiki = themeparks_wiki.live(body).rides if of_wiki else []
    queues = [] if of_wiki else queue_times.queue_times(body).rides
    park = ParkRecord(
        1, "Real", ParkType.DISNEY, "US", answer.zone,
        themeparks_wiki_id="real" if of_wiki else None, queue_times_id=None if of_wiki else 1,
    )  # fmt: skip
    rides = [
        *(RideRecord(number, 1, one.name, themeparks_wiki_id=one.themeparks_wiki_id)
          for number, one in enumerate(wiki, 1)),
        *(RideRecord(number, 1, one.name, queue_times_id=one.queue_times_id) for number, one in enumerate(queues, 1)),
    ]  # fmt: skip
    store_catalog([park], rides, now)
    if answer.hours is not None:
        today = local_date(now, answer.zone)
        at = [wall_clock(today, time(hour), answer.zone) for hour in answer.hours]
        store_schedules(1, [Opening(today, ScheduleType.OPERATING, at[0], at[1])], now)
    return f"{WIKI}/entity/real/live" if of_wiki else QUEUES + queues_path(1)


def test_without_any_parks_there_is_nothing_to_replay(
    upstream: Upstream, run: Callable[..., Result], tmp_path: Path
) -> None:
    arrange()
    record(upstream, run, tmp_path / "tape", slots=1)
    shutil.rmtree(tmp_path / "tape" / "catalog")
    index = tmp_path / "tape" / "tape.jsonl"
    index.write_text(re.sub(r', "catalog": "[0-9a-f]+"', "", index.read_text()))
    forget_all()
    result = run("--replay", str(tmp_path / "tape"))
    said = "There are no parks, and the recording brings none: run `cli catalog sync` first.\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", said)
