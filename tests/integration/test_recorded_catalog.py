"""The catalog of a tape: what was there when it was recorded is there again, in an empty database."""

from __future__ import annotations

import csv
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service import clock
from service import database as door
from service.database import upsert
from service.errors import BadRequest, Unanswered, Unavailable
from service.feeds import Opening, ParkRecord, RideRecord
from service.feeds.csv_files import Recording
from service.feeds.tape import Addresses, Cycle, Recorder
from service.jobs import recorded_catalog
from service.jobs.catalog import store_catalog
from service.jobs.recorded_catalog import PLAYED, PlayedCatalog, Restored, write_catalog
from service.jobs.store import store_schedules
from service.models import AggregationJobLog, JobStatus, Park, ParkSchedule, Ride, ServiceState
from service.periods import wall_clock
from service.queries import state
from service.rules import Category, ParkType, ScheduleType

pytestmark = pytest.mark.usefixtures("database")

NOW = datetime(2026, 4, 14, 15, tzinfo=UTC)
TODAY = date(2026, 4, 14)
HOUR = 3600
CHANGING = {"created_at", "updated_at", "fetched_at", "last_operated_at", "last_listed_at"}

PARKS = (
    ParkRecord(
        3, "Lantern Bay", ParkType.DISNEY, "US", "America/Los_Angeles", "Larkspur & Vane", "Long Beach", "California",
        33.8121, -117.91899, 16, "75ea578a-adc8-4116-a54d-dccb60765ef9", True,
    ),
    ParkRecord(8, 'The "Cove", Île', ParkType.OTHER, "FR", "Europe/Paris", "Company of Cove", latitude=1e-07,
               longitude=-0.1, is_active=False),
    ParkRecord(9, "Tin Reef", ParkType.UNIVERSAL, "AU", "Australia/Sydney"),
)  # fmt: skip
RIDES = (
    RideRecord(40, 8, "Comète, la grande", "c", "Port", Category.ATTRACTION, 1, True, 284, "aa-1"),
    RideRecord(41, 3, "Otter", None, None, Category.SHOW, None, False, None, "aa-2"),
    RideRecord(7, 3, '"it is small"', "s-1", "Harbour", Category.MEET_AND_GREET, 3, True, 12, None),
    RideRecord(90, 9, "Otter"),
    RideRecord(91, 9, "Otter", "2"),
)


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "tape"


def opening(day: date, zone: str, kind: ScheduleType = ScheduleType.OPERATING, hours: int = 10) -> Opening:
    midnight = wall_clock(day, datetime.min.time(), zone)
    start = midnight if kind in (ScheduleType.CLOSED, ScheduleType.INFO) else midnight + 9 * HOUR
    return Opening(day, kind, start, start if start == midnight else start + hours * HOUR)


def fill() -> None:
    """Three parks with rides, and schedules of everything that can be in one."""
    clock.replay(NOW)
    store_catalog(PARKS, RIDES, NOW)
    store_schedules(3, [
        opening(TODAY, "America/Los_Angeles"),
        opening(TODAY, "America/Los_Angeles", ScheduleType.EXTRA_HOURS, 1),
        opening(TODAY, "America/Los_Angeles", ScheduleType.INFO),
        opening(TODAY + timedelta(days=1), "America/Los_Angeles", ScheduleType.CLOSED),
    ], NOW)  # fmt: skip
    store_schedules(8, [opening(TODAY, "Europe/Paris", hours=17)], NOW)


def contents() -> dict[str, list[dict[str, Any]]]:
    """All rows of the three tables, but for when they were written."""
    found = {}
    for model in (Park, Ride, ParkSchedule):
        rows = [dict(row) for row in model.select().dicts()]
        kept = [{name: value for name, value in row.items() if name not in CHANGING} for row in rows]
        found[model.__name__] = sorted(kept, key=repr)
    return found


def empty() -> None:
    """As a database is that was only migrated."""
    for model in (ParkSchedule, Ride, Park, AggregationJobLog):
        model.delete().execute()
    ServiceState.delete().where(ServiceState.name << [state.INTERVAL, PLAYED]).execute()


def unasked(url: str) -> bytes:
    raise Unanswered(f"{url} is not asked.")


def cycle(catalog: str | None, now: datetime = NOW) -> Cycle:
    return Cycle(now, 5, True, Addresses("a", "b", "c"), catalog, unasked)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "catalog").iterdir())


def restore(folder: Path, now: datetime = NOW) -> Restored | None:
    """Play the only catalog of the tape."""
    [name] = names(folder)
    one = cycle(name, now)
    return PlayedCatalog(folder, one).follow(one)


def written(folder: Path) -> dict[str, list[list[str]]]:
    [name] = names(folder)
    files = sorted((folder / "catalog" / name).iterdir())
    return {path.name: list(csv.reader(path.read_text().splitlines())) for path in files}


def test_everything_that_was_recorded_is_restored(tape: Path) -> None:
    fill()
    before = contents()
    assert write_catalog(tape, NOW)
    empty()
    assert restore(tape, NOW + timedelta(hours=1)) == (3, 5, 5, [], True)
    assert contents() == before
    assert [len(rows) for rows in before.values()] == [3, 5, 5]


def test_a_restored_park_goes_on_as_itself(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    empty()
    restore(tape)
    again = store_catalog(PARKS, RIDES, NOW)
    assert (again.parks_added, again.parks_changed, again.rides_added, again.rides_changed) == (0, 0, 0, 0)


def test_restoring_is_a_run_in_the_job_log(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    empty()
    restore(tape)
    [run] = AggregationJobLog.select()
    assert (run.job_type, run.status, run.rows_processed, run.warnings) == ("import", JobStatus.SUCCESS, 13, 0)


def test_schedules_of_eight_days_before_and_after_are_written(tape: Path) -> None:
    clock.replay(NOW)
    store_catalog(PARKS, (), NOW)
    for park_id, zone in ((3, "America/Los_Angeles"), (9, "Australia/Sydney")):
        days = [TODAY + timedelta(days=days) for days in range(-12, 13)]
        store_schedules(park_id, [opening(day, zone) for day in days], NOW)
    write_catalog(tape, NOW)
    lines = written(tape)["park_schedules.csv"][1:]
    for park_id in ("3", "9"):
        dates = [line[1] for line in lines if line[0] == park_id]
        assert (len(dates), dates[0], dates[-1]) == (17, "2026-04-06", "2026-04-22")


def test_a_closed_day_is_written_without_hours(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    assert ["3", "2026-04-15", "CLOSED", "", ""] in written(tape)["park_schedules.csv"]
    assert ["8", "2026-04-14", "OPERATING", "2026-04-14T07:00:00Z", "2026-04-15T00:00:00Z"] in (
        written(tape)["park_schedules.csv"]
    )


def test_what_is_written_can_be_imported_too(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    recording = Recording(tape / "catalog" / names(tape)[0])
    assert (recording.refused, list(recording.readings())) == ([], [])
    assert [park.name for park in recording.parks] == ["Lantern Bay", 'The "Cove", Île', "Tin Reef"]
    assert [ride.source_id for ride in recording.rides] == [7, 40, 41, 90, 91]


def test_a_catalog_is_written_again_whenever_it_differs(tape: Path) -> None:
    fill()
    first = write_catalog(tape, NOW)
    assert first is not None
    assert write_catalog(tape, NOW) == first
    Ride.update({Ride.tier: 2}).where(Ride.ride_id == 90).execute()
    second = write_catalog(tape, NOW)
    store_schedules(9, [opening(TODAY, "Australia/Sydney")], NOW)
    third = write_catalog(tape, NOW)
    assert names(tape) == sorted({first, second, third})
    assert len(names(tape)) == 3
    ParkSchedule.delete().where(ParkSchedule.park == 9).execute()
    Ride.update({Ride.tier: None}).where(Ride.ride_id == 90).execute()
    assert write_catalog(tape, NOW) == first


def test_what_changes_with_every_slot_is_no_other_catalog(tape: Path) -> None:
    fill()
    first = write_catalog(tape, NOW)
    later = NOW + timedelta(hours=1)
    Park.update({Park.updated_at: later, Park.created_at: later}).execute()
    Ride.update({Ride.last_operated_at: later, Ride.last_listed_at: later, Ride.updated_at: later}).execute()
    ParkSchedule.update({ParkSchedule.fetched_at: later}).execute()
    assert write_catalog(tape, later) == first


def test_equal_catalogs_have_one_name_on_every_tape(tape: Path, tmp_path: Path) -> None:
    fill()
    assert write_catalog(tape, NOW) == write_catalog(tmp_path / "other", NOW) == names(tape)[0]
    assert len(names(tape)[0]) == 16


def test_without_parks_there_is_nothing_to_write(tape: Path) -> None:
    assert write_catalog(tape, NOW) is None
    assert not tape.exists()


def test_a_catalog_that_was_killed_while_it_was_written_is_written_anew(
    tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            write_catalog(tape, NOW)
    assert names(tape) == []
    Recorder(tape)  # what is left over is no reason to refuse the folder
    assert write_catalog(tape, NOW)
    assert sorted(os.listdir(tape)) == ["bodies", "catalog", "tape.jsonl"]
    assert sorted(written(tape)) == [
        "park_schedules.csv", "parks.csv", "ride_status_snapshots.csv", "rides.csv",
    ]  # fmt: skip


def test_a_database_with_parks_is_left_as_it_is(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    Ride.delete().execute()
    ServiceState.delete().where(ServiceState.name == PLAYED).execute()
    before = contents()
    assert restore(tape) is None
    assert contents() == before


def test_a_restoration_that_is_killed_has_stored_nothing(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    write_catalog(tape, NOW)
    before = contents()
    empty()

    def killed(*_arguments: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recorded_catalog, "set_state", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(tape)
    assert not Park.select().exists()
    restore(tape)
    assert contents() == before


def test_a_tape_without_a_catalog_restores_nothing(tape: Path) -> None:
    assert PlayedCatalog(tape, cycle(None)).follow(cycle(None)) is None


def test_a_catalog_that_is_missing_is_named(tape: Path) -> None:
    with pytest.raises(BadRequest, match="tape/catalog/abc is missing: the recording names it"):
        PlayedCatalog(tape, cycle("abc")).follow(cycle("abc"))


def test_a_database_of_another_interval_is_refused(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    empty()
    upsert(ServiceState, (ServiceState.name, ServiceState.value), [(state.INTERVAL, 10)], key=(ServiceState.name,))
    with pytest.raises(Unavailable, match="are 10 minutes apart"):
        restore(tape)
    assert not Park.select().exists()


def test_a_name_on_two_lines_becomes_one(tape: Path) -> None:
    fill()
    Ride.update({Ride.name: "Otter\nand friends"}).where(Ride.ride_id == 90).execute()
    write_catalog(tape, NOW)
    empty()
    assert restore(tape) == (3, 5, 5, [], True)
    assert Ride.get(Ride.ride_id == 90).name == "Otter and friends"


def test_a_line_that_cannot_be_used_is_told(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    parks = tape / "catalog" / names(tape)[0] / "parks.csv"
    parks.write_text(parks.read_text().replace("Australia/Sydney", "Atlantis"))
    empty()
    restored = restore(tape)
    assert restored is not None
    assert [refusal.reason for refusal in restored.refused] == [
        "unknown timezone 'Atlantis'", "unknown park_id 9", "unknown park_id 9",
    ]  # fmt: skip
    assert restored[:3] == (2, 3, 5)


def test_a_catalog_without_its_columns_is_refused(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    rides = tape / "catalog" / names(tape)[0] / "rides.csv"
    rides.write_text(rides.read_text().replace(",queue_times_id,", ",nothing,"))
    empty()
    with pytest.raises(BadRequest, match="is no catalog that was recorded: 'queue_times_id' is not understood"):
        restore(tape)


def test_an_id_that_two_rides_have_is_refused(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    rides = tape / "catalog" / names(tape)[0] / "rides.csv"
    rides.write_text(rides.read_text().replace("aa-2", "aa-1"))
    empty()
    with pytest.raises(BadRequest, match="is no catalog that was recorded: themeparks_wiki_id, given twice"):
        restore(tape)


def test_a_folder_that_cannot_be_written_is_named(tape: Path) -> None:
    fill()
    tape.write_text("a file")
    with pytest.raises(BadRequest, match=r"tape/catalog/[0-9a-f]{16} cannot be written \(.+\): name another folder"):
        write_catalog(tape, NOW)
    assert door.db.transaction_depth() == 0


# --- catalogs that change --------------------------------------------------------------------------------------------


def changes() -> None:
    """Much of what can happen to a catalog, ids that go from ride to ride included."""
    park = PARKS[0]._replace(source_id=12, name="New Quay", queue_times_id=99, themeparks_wiki_id="new")
    store_catalog([*PARKS, park], [*RIDES, RideRecord(120, 12, "First", queue_times_id=500)], NOW)
    Park.update({Park.name: "Cove", Park.timezone: "Europe/Madrid", Park.latitude: None}).where(
        Park.park_id == 8
    ).execute()
    Ride.update({Ride.queue_times_id: None, Ride.tier: None}).where(Ride.ride_id == 7).execute()
    Ride.update({Ride.queue_times_id: 12, Ride.themeparks_wiki_id: None}).where(Ride.ride_id == 40).execute()
    Ride.update({Ride.themeparks_wiki_id: "aa-1", Ride.is_active: True}).where(Ride.ride_id == 41).execute()
    ParkSchedule.delete().where(ParkSchedule.park == 3, ParkSchedule.schedule_type == ScheduleType.INFO).execute()
    store_schedules(3, [opening(TODAY, "America/Los_Angeles", hours=14)], NOW)
    store_schedules(3, [opening(TODAY + timedelta(days=1), "America/Los_Angeles")], NOW)
    store_schedules(12, [opening(TODAY, "America/Los_Angeles")], NOW)


LATER = NOW + timedelta(minutes=5)


def test_a_later_cycle_brings_what_has_changed(tape: Path) -> None:
    fill()
    first = cycle(write_catalog(tape, NOW))
    before = contents()
    changes()
    second = cycle(write_catalog(tape, LATER), LATER)
    after = contents()
    empty()
    played = PlayedCatalog(tape, first)
    played.follow(first)
    assert contents() == before
    assert played.follow(first._replace(at=LATER)) is None
    assert played.follow(cycle(None, LATER)) is None
    assert contents() == before
    assert played.follow(second) == (2, 4, 5, [], False)
    assert contents() == after
    assert [(row.created_at, row.updated_at) for row in Park.select().order_by(Park.park_id)] == [
        (NOW, NOW), (NOW, LATER), (NOW, NOW), (LATER, LATER),
    ]  # fmt: skip


def test_played_again_it_goes_back_to_the_beginning_and_gives_the_same(tape: Path) -> None:
    """What is not there yet has no ids, so that nobody is asked about it, and gives no hours."""
    fill()
    first = cycle(write_catalog(tape, NOW))
    before = contents()
    changes()
    second = cycle(write_catalog(tape, LATER), LATER)
    after = contents()
    empty()
    for one in (played := PlayedCatalog(tape, first), PlayedCatalog(tape, first)):
        one.follow(first)
        one.follow(second)
    assert played.follow(second) is None
    rows = [sorted(model.select().tuples(), key=repr) for model in (Park, Ride, ParkSchedule)]
    PlayedCatalog(tape, first).follow(first)
    known = [row for row in contents()["Ride"] if row["ride_id"] != 120]
    assert known == before["Ride"]
    assert contents()["ParkSchedule"] == before["ParkSchedule"]
    new = Ride.get(Ride.ride_id == 120)
    assert (new.queue_times_id, new.themeparks_wiki_id) == (None, None)
    again = PlayedCatalog(tape, first)
    again.follow(first)
    again.follow(second)
    assert contents() == after
    assert [sorted(model.select().tuples(), key=repr) for model in (Park, Ride, ParkSchedule)] == rows


def test_hours_beyond_the_days_of_a_catalog_go_when_it_is_played_again(tape: Path) -> None:
    """Else they would be known in the days before they were told."""
    fill()
    first = cycle(write_catalog(tape, NOW))
    days_later = NOW + timedelta(days=6)
    store_schedules(9, [opening(TODAY + timedelta(days=12), "Australia/Sydney")], NOW)
    second = cycle(write_catalog(tape, days_later), days_later)
    empty()
    played = PlayedCatalog(tape, first)
    played.follow(first)
    played.follow(second)
    sydney = ParkSchedule.select().where(ParkSchedule.park == 9)
    assert sydney.count() == 1
    PlayedCatalog(tape, first).follow(first)
    assert sydney.count() == 0


@pytest.mark.parametrize("model", [Park, Ride, ParkSchedule])
def test_what_others_have_changed_since_stays(tape: Path, model: Any) -> None:
    fill()
    first = cycle(write_catalog(tape, NOW))
    changes()
    second = cycle(write_catalog(tape, LATER), LATER)
    empty()
    played = PlayedCatalog(tape, first)
    played.follow(first)
    {
        Park: Park.update({Park.name: "Mine"}).where(Park.park_id == 3),
        Ride: Ride.update({Ride.tier: 1}).where(Ride.ride_id == 41),
        ParkSchedule: ParkSchedule.delete().where(ParkSchedule.schedule_type == ScheduleType.EXTRA_HOURS),
    }[model].execute()
    mine = contents()
    again = PlayedCatalog(tape, first)
    assert (again.follow(first), again.follow(second)) == (None, None)
    assert contents() == mine


def test_parks_of_another_tape_are_left_as_they_are(tape: Path, tmp_path: Path) -> None:
    fill()
    first = cycle(write_catalog(tape, NOW))
    changes()
    other = cycle(write_catalog(tmp_path / "other", LATER), LATER)
    empty()
    PlayedCatalog(tape, first).follow(first)
    before = contents()
    assert PlayedCatalog(tmp_path / "other", other).follow(other) is None
    assert contents() == before


def test_the_catalog_of_an_older_tape_is_restored_as_ever(tape: Path) -> None:
    """It lies in `catalog/` itself, and no cycle names it. One that is recorded further names the new ones."""
    fill()
    before = contents()
    name = write_catalog(tape, NOW)
    assert name is not None
    for path in (tape / "catalog" / name).iterdir():
        path.rename(tape / "catalog" / path.name)
    (tape / "catalog" / name).rmdir()
    changes()
    second = cycle(write_catalog(tape, LATER), LATER)
    after = contents()
    empty()
    played = PlayedCatalog(tape, cycle(None))
    assert played.follow(cycle(None)) == (3, 5, 5, [], True)
    assert played.follow(cycle(None, NOW + timedelta(minutes=1))) is None
    assert contents() == before
    played.follow(second)
    assert contents() == after
