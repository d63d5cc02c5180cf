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
from service.errors import BadRequest, Unavailable
from service.feeds import Opening, ParkRecord, RideRecord
from service.feeds.csv_files import Recording
from service.feeds.tape import Recorder
from service.jobs import recorded_catalog
from service.jobs.catalog import store_catalog
from service.jobs.recorded_catalog import restore_catalog, write_catalog
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
    ServiceState.delete().where(ServiceState.name == state.INTERVAL).execute()


def written(folder: Path) -> dict[str, list[list[str]]]:
    files = sorted((folder / "catalog").iterdir())
    return {path.name: list(csv.reader(path.read_text().splitlines())) for path in files}


def test_everything_that_was_recorded_is_restored(tape: Path) -> None:
    fill()
    before = contents()
    assert write_catalog(tape, NOW)
    empty()
    assert restore_catalog(tape, 5, NOW + timedelta(hours=1)) == (3, 5, 5, [])
    assert contents() == before
    assert [len(rows) for rows in before.values()] == [3, 5, 5]


def test_a_restored_park_goes_on_as_itself(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    empty()
    restore_catalog(tape, 5, NOW)
    again = store_catalog(PARKS, RIDES, NOW)
    assert (again.parks_added, again.parks_changed, again.rides_added, again.rides_changed) == (0, 0, 0, 0)


def test_restoring_is_a_run_in_the_job_log(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    empty()
    restore_catalog(tape, 5, NOW)
    [run] = AggregationJobLog.select()
    assert (run.job_type, run.status, run.rows_processed, run.warnings) == ("import", JobStatus.SUCCESS, 13, 0)


def test_schedules_of_eight_days_before_and_after_are_written(tape: Path) -> None:
    clock.replay(NOW)
    store_catalog(PARKS, (), NOW)
    sydney = date(2026, 4, 15)  # when it is still the 14th elsewhere
    for park_id, zone in ((3, "America/Los_Angeles"), (9, "Australia/Sydney")):
        days = [TODAY + timedelta(days=days) for days in range(-12, 13)]
        store_schedules(park_id, [opening(day, zone) for day in days], NOW)
    write_catalog(tape, NOW)
    lines = written(tape)["park_schedules.csv"][1:]
    for park_id, middle in (("3", TODAY), ("9", sydney)):
        dates = [line[1] for line in lines if line[0] == park_id]
        assert (len(dates), dates[0], dates[-1]) == (
            17, str(middle - timedelta(days=8)), str(middle + timedelta(days=8)),
        )


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
    recording = Recording(tape / "catalog")
    assert (recording.refused, list(recording.readings())) == ([], [])
    assert [park.name for park in recording.parks] == ["Lantern Bay", 'The "Cove", Île', "Tin Reef"]
    assert [ride.source_id for ride in recording.rides] == [7, 40, 41, 90, 91]


def test_the_catalog_of_a_tape_is_written_once(tape: Path) -> None:
    fill()
    assert write_catalog(tape, NOW)
    before = written(tape)
    Ride.update({Ride.tier: 2}).execute()
    assert not write_catalog(tape, NOW)
    assert written(tape) == before


def test_without_parks_there_is_nothing_to_write(tape: Path) -> None:
    assert not write_catalog(tape, NOW)
    assert not (tape).exists()


def test_a_catalog_that_was_killed_while_it_was_written_is_written_anew(
    tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recorded_catalog, "_schedule_lines", killed)
        with pytest.raises(KeyboardInterrupt):
            write_catalog(tape, NOW)
    assert not (tape / "catalog").exists()
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
    before = contents()
    assert restore_catalog(tape, 5, NOW) is None
    assert contents() == before


def test_a_restoration_that_is_killed_has_stored_nothing(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    write_catalog(tape, NOW)
    before = contents()
    empty()

    def killed(*_arguments: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recorded_catalog, "store_schedules", killed)
        with pytest.raises(KeyboardInterrupt):
            restore_catalog(tape, 5, NOW)
    assert not Park.select().exists()
    restore_catalog(tape, 5, NOW)
    assert contents() == before


def test_a_tape_without_a_catalog_restores_nothing(tape: Path) -> None:
    assert restore_catalog(tape, 5, NOW) is None


def test_a_database_of_another_interval_is_refused(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    empty()
    upsert(ServiceState, (ServiceState.name, ServiceState.value), [(state.INTERVAL, 10)], key=(ServiceState.name,))
    with pytest.raises(Unavailable, match="are 10 minutes apart"):
        restore_catalog(tape, 5, NOW)
    assert not Park.select().exists()


def test_a_name_on_two_lines_becomes_one(tape: Path) -> None:
    fill()
    Ride.update({Ride.name: "Otter\nand friends"}).where(Ride.ride_id == 90).execute()
    write_catalog(tape, NOW)
    empty()
    assert restore_catalog(tape, 5, NOW) == (3, 5, 5, [])
    assert Ride.get(Ride.ride_id == 90).name == "Otter and friends"


def test_a_line_that_cannot_be_used_is_told(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    parks = tape / "catalog" / "parks.csv"
    parks.write_text(parks.read_text().replace("Australia/Sydney", "Atlantis"))
    empty()
    restored = restore_catalog(tape, 5, NOW)
    assert restored is not None
    assert [refusal.reason for refusal in restored.refused] == [
        "unknown timezone 'Atlantis'", "unknown park_id 9", "unknown park_id 9",
    ]  # fmt: skip
    assert restored[:3] == (2, 3, 5)


def test_a_catalog_without_its_columns_is_refused(tape: Path) -> None:
    fill()
    write_catalog(tape, NOW)
    rides = tape / "catalog" / "rides.csv"
    rides.write_text(rides.read_text().replace(",queue_times_id,", ",nothing,"))
    empty()
    with pytest.raises(BadRequest, match="is no catalog that was recorded: 'queue_times_id' is not understood"):
        restore_catalog(tape, 5, NOW)


def test_a_folder_that_cannot_be_written_is_named(tape: Path) -> None:
    fill()
    tape.write_text("a file")
    with pytest.raises(BadRequest, match=r"tape/catalog cannot be written \(.+\): name another folder"):
        write_catalog(tape, NOW)
    assert door.db.transaction_depth() == 0
