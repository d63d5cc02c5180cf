"""`cli import`: a recording goes in once, whatever happens on the way."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import reference
from cli import main
from service import clock
from service import database as door
from service.config import Settings
from service.errors import BadRequest, Unavailable
from service.jobs import importing
from service.jobs.importing import ImportReport, import_folder
from service.models import ALL_MODELS, AggregationJobLog, DataQualityIssue, JobStatus, Park, ParkActivitySnapshot
from service.models import ParkSchedule, Ride, RideStatusSnapshot
from service.periods import epoch
from service.queries import state
from service.rules import Source

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the recordings are not on this machine")

PARKS = """park_id,name,operator,country,timezone,latitude,longitude,queue_times_id,themeparks_wiki_id
1,Lantern Bay,disney,US,America/Los_Angeles,33.77,-118.19,6,75ea578a
2,Cove,other,FR,Europe/Paris,,,7,
"""
RIDES = """ride_id,park_id,source_ride_id,name,land
10,1,a,Comet,Harbour
11,1,b,Comet Single Rider,Harbour
20,2,c,Comète,
"""
READINGS = """ride_id,recorded_at_utc,status,is_open,wait_time,source_updated_at_utc
10,2025-05-18T15:00:07Z,OPERATING,1,25,
10,2025-05-18T15:14:07Z,DOWN,0,,
10,2025-05-18T15:09:07Z,OPERATING,1,30,
10,2025-05-19T06:59:59Z,OPERATING,1,995,
10,2025-05-19T07:00:00Z,OPERATING,1,-7,
11,2025-05-18T15:00:07Z,OPERATING,1,5,
20,2025-05-18T15:00:07Z,,1,0,
20,2025-05-18T15:15:07Z,,0,0,
99,2025-05-18T15:15:07Z,,0,0,
"""
HOURS = """ride_id,type,starts_at_utc,ends_at_utc
10,Operating,2025-05-18T15:00:00Z,2025-05-19T05:00:00Z
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recording of two parks, two days and everything that can be odd."""
    place = tmp_path / "recording"
    place.mkdir()
    (place / "parks.csv").write_text(PARKS)
    (place / "rides.csv").write_text(RIDES)
    (place / "ride_status_snapshots.csv.gz").write_bytes(gzip.compress(READINGS.encode()))
    (place / "ride_operating_hours.csv").write_text(HOURS)
    return place


def bring(folder: Path, interval_minutes: int = 15, **more: Any) -> ImportReport:
    clock.replay(NOW)
    return import_folder(folder, interval_minutes=interval_minutes, now=NOW, **more)


def contents(*, but: tuple[str, ...] = ("AggregationJobLog",)) -> dict[str, list[tuple[Any, ...]]]:
    return {
        model.__name__: sorted(door.fetch(model.select()), key=repr)
        for model in ALL_MODELS
        if model.__name__ not in but
    }


def readings() -> list[tuple[str, int, str | None, bool | None, int | None]]:
    rows = RideStatusSnapshot.select().order_by(RideStatusSnapshot.ride_id, RideStatusSnapshot.snapshot_time)
    return [
        (f"{row.snapshot_time:%d %H:%M}", row.ride_id, row.status and row.status.name, row.is_open, row.wait_time)
        for row in rows
    ]


# --- what goes in ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("database")
def test_a_recording_goes_in(folder: Path) -> None:
    report = bring(folder)
    assert (report.read, report.readings, report.stored, report.replaced, report.unchanged) == (9, 5, 5, 0, 0)
    assert (report.superseded, report.single_rider_readings, report.dropped_waits) == (2, 1, 2)
    assert report.refused == [("ride_status_snapshots.csv.gz", 10, "unknown ride_id 99")]
    assert (report.parks, report.rides, report.schedule_rows, report.single_rider) == (2, 2, 1, ["Comet Single Rider"])
    assert (report.first_slot, report.last_slot) == (
        datetime(2025, 5, 18, 15, tzinfo=UTC),
        datetime(2025, 5, 19, 7, tzinfo=UTC),
    )
    assert readings() == [
        ("18 15:00", 10, "DOWN", False, None),  # 15:14 wins, though 15:09 comes after it in the file
        ("19 06:45", 10, "OPERATING", True, None),
        ("19 07:00", 10, "OPERATING", True, None),
        ("18 15:00", 20, None, True, 0),
        ("18 15:15", 20, None, False, 0),
    ]
    assert state.get_state(state.INTERVAL) == 15
    assert {row.park_id: row.source for row in ParkActivitySnapshot.select()} == {
        1: Source.THEMEPARKS_WIKI,
        2: Source.QUEUE_TIMES,
    }
    [opening] = ParkSchedule.select()
    assert (opening.park_id, opening.schedule_date) == (1, date(2025, 5, 18))


@pytest.mark.usefixtures("database")
def test_importing_twice_changes_nothing(folder: Path) -> None:
    bring(folder)
    before = contents()
    report = bring(folder)
    assert (report.stored, report.replaced, report.unchanged, report.schedule_rows) == (0, 0, 5, 0)
    assert contents() == before


@pytest.mark.usefixtures("database")
def test_implausible_waits_are_reported_once_per_park(folder: Path) -> None:
    bring(folder)
    bring(folder)
    [issue] = DataQualityIssue.select()
    assert (issue.park_id, issue.entity_name, issue.data_source) == (1, "Lantern Bay", Source.THEMEPARKS_WIKI)
    assert issue.details == (
        "2 waits outside 0-480 minutes were dropped, one of them 995; 2025-05-19T06:59:59Z to 2025-05-19T07:00:00Z"
    )


@pytest.mark.usefixtures("database")
def test_an_import_is_logged_as_a_job(folder: Path) -> None:
    bring(folder)
    [job] = AggregationJobLog.select()
    assert (job.job_type, job.status, job.started_at) == ("import", JobStatus.SUCCESS, NOW)
    assert (job.period_start, job.period_end) == (date(2025, 5, 18), date(2025, 5, 19))
    assert (job.rows_processed, job.warnings) == (5, 3)


@pytest.mark.usefixtures("database")
def test_of_readings_recorded_at_the_same_second_the_last_in_the_file_wins(folder: Path) -> None:
    header = READINGS.splitlines()[0]
    same = [f"10,2025-05-18T15:00:07Z,OPERATING,1,{wait}," for wait in (5, 45, 20)]
    (folder / "ride_status_snapshots.csv.gz").write_bytes(gzip.compress("\n".join([header, *same]).encode()))
    assert bring(folder).superseded == 2
    assert readings() == [("18 15:00", 10, "OPERATING", True, 20)]


@pytest.mark.usefixtures("database")
def test_an_earlier_recording_imported_later_replaces(folder: Path) -> None:
    bring(folder)
    header = READINGS.splitlines()[0]
    line = "10,2025-05-18T15:01:00Z,REFURBISHMENT,0,,"
    (folder / "ride_status_snapshots.csv.gz").write_bytes(gzip.compress(f"{header}\n{line}\n".encode()))
    assert bring(folder).replaced == 1
    assert readings()[0] == ("18 15:00", 10, "REFURBISHMENT", False, None)


@pytest.mark.usefixtures("database")
def test_a_recording_larger_than_memory_gives_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(folder)
    whole = contents()
    for model in reversed(ALL_MODELS):
        if model.__name__ not in ("MetricsVersion",):
            model.delete().execute()
    monkeypatch.setattr(importing, "HELD_READINGS", 2)
    bring(folder)
    for name in ("RideStatusSnapshot", "ParkActivitySnapshot", "Park", "Ride", "ParkSchedule"):
        assert contents()[name] == whole[name], name


@pytest.mark.usefixtures("database")
def test_two_recordings_with_the_same_ids_stay_apart(folder: Path, tmp_path: Path) -> None:
    bring(folder)
    others = PARKS.replace("Lantern Bay", "Reach").replace("Cove", "Inlet")
    (folder / "parks.csv").write_text(others.replace(",6,75ea578a", ",8,").replace(",7,", ",9,"))
    (folder / "rides.csv").write_text(RIDES.replace("Comet", "Swing"))
    report = bring(folder)
    assert (report.stored, Park.select().count(), Ride.select().count()) == (5, 4, 4)
    assert RideStatusSnapshot.select().count() == 10


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("text", ["'; DROP TABLE rides; --", "100 % %s", "🎢", "أفعوانية", "<script>alert(1)</script>"])
def test_strange_texts_go_in_and_change_nothing_else(folder: Path, text: str) -> None:
    (folder / "parks.csv").write_text(PARKS.replace("Lantern Bay", text))
    (folder / "rides.csv").write_text(RIDES.replace(",a,Comet,Harbour", f",{text},{text},{text}"))
    report = bring(folder)
    assert [refusal.line for refusal in report.refused] == [10]
    plain = text.replace("<", "").replace(">", "")
    row = Ride.get(Ride.ride_id == 10)
    assert (row.name, row.source_ride_id, row.land_area) == (plain, plain, plain)
    before = contents()
    assert bring(folder).unchanged == 5
    assert contents() == before


# --- what keeps everything out ---------------------------------------------------------------------------------------


def _without_rides(folder: Path) -> None:
    (folder / "rides.csv").unlink()


def _without_waits(folder: Path) -> None:
    text = READINGS.replace("wait_time", "wait")
    (folder / "ride_status_snapshots.csv.gz").write_bytes(gzip.compress(text.encode()))


def _cut_off(folder: Path) -> None:
    packed = folder / "ride_status_snapshots.csv.gz"
    packed.write_bytes(packed.read_bytes()[:-12])


def _latin(folder: Path) -> None:
    text = READINGS.replace("20,2025-05-18T15:15:07Z,,0,0,", "20,2025-05-18T15:15:07Z,,0,0,é")
    (folder / "ride_status_snapshots.csv.gz").write_bytes(gzip.compress(text.encode("latin-1")))


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("spoil", [_without_rides, _without_waits, _cut_off, _latin])
def test_an_unreadable_folder_leaves_the_database_as_it_was(folder: Path, spoil: Callable[[Path], None]) -> None:
    before = contents(but=())
    spoil(folder)
    with pytest.raises(BadRequest):
        bring(folder)
    assert contents(but=()) == before


@pytest.mark.usefixtures("database")
def test_another_interval_leaves_the_database_as_it_was(folder: Path) -> None:
    bring(folder)
    before = contents(but=())
    with pytest.raises(Unavailable, match="15 minutes apart"):
        bring(folder, interval_minutes=5)
    assert contents(but=()) == before


@pytest.mark.usefixtures("database")
def test_a_dry_run_writes_nothing(folder: Path) -> None:
    before = contents(but=())
    report = bring(folder, dry_run=True)
    assert (report.read, report.readings, report.superseded, report.stored) == (9, 5, 2, 0)
    assert contents(but=()) == before


@pytest.mark.usefixtures("database")
def test_a_killed_import_goes_on_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(folder)
    whole = contents()
    for model in reversed(ALL_MODELS):
        if model.__name__ != "MetricsVersion":
            model.delete().execute()
    storing = importing.store_readings
    calls = iter(range(100))

    def dying(*args: Any, **more: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return storing(*args, **more)

    monkeypatch.setattr(importing, "store_readings", dying)
    with pytest.raises(KeyboardInterrupt):
        bring(folder)
    assert [job.status for job in AggregationJobLog.select()] == [JobStatus.FAILED]
    assert 0 < RideStatusSnapshot.select().count() < 5
    assert len(readings()) == sum(row.rides_tracked for row in ParkActivitySnapshot.select())  # whole days, or nothing

    report = bring(folder)
    assert report.stored + report.unchanged == 5
    after = contents()
    for name in whole.keys() - {"ServiceState", "DataQualityIssue"}:
        assert after[name] == whole[name], name
    assert [row[1:] for row in after["DataQualityIssue"]] == [row[1:] for row in whole["DataQualityIssue"]]
    assert state.get_state(state.NEWEST_SLOT) == epoch(datetime(2025, 5, 19, 7, tzinfo=UTC))


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(settings: Settings) -> Callable[..., Result]:
    """`run(*arguments)`: a command against the database of `settings`, 15 minutes apart."""

    def invoke(*arguments: object, **environ: str) -> Result:
        usual = {"DATABASE_URL": settings.database_url, "SNAPSHOT_INTERVAL_MINUTES": "15", **environ}
        return CliRunner().invoke(main, [str(argument) for argument in arguments], env=usual)

    return invoke


def test_the_command_prints_a_summary(run: Callable[..., Result], folder: Path) -> None:
    result = run("import", folder)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Parks: 2. Rides: 2.",
        "Readings: 9 read, 2 followed by a later one in the same slot.",
        "5 stored, 0 replaced, 0 unchanged.",
        "Schedule rows written: 1.",
        "From 2025-05-18 15:00 to 2025-05-19 07:00 UTC.",
        "Waits outside 0-480 minutes, dropped: 2.",
        "Single-rider queues are no rides; 1 readings left out of:",
        "  Comet Single Rider",
        "Lines refused: 1.",
        "  ride_status_snapshots.csv.gz, line 10: unknown ride_id 99",
        "Next: `cli aggregate` computes the statistics of the finished days.",
    ]
    assert result.stderr == ""


def test_the_command_prints_one_json_object(run: Callable[..., Result], folder: Path) -> None:
    result = run("import", folder, "--json")
    answer = json.loads(result.stdout)
    assert (answer["read"], answer["stored"], answer["replaced"], answer["unchanged"]) == (9, 5, 0, 0)
    assert answer["refused"] == [
        {"file": "ride_status_snapshots.csv.gz", "line": 10, "reason": "unknown ride_id 99"},
    ]
    assert (answer["single_rider"], answer["first_slot"]) == (["Comet Single Rider"], "2025-05-18T15:00:00+00:00")


def test_only_the_first_refused_lines_are_printed_but_all_are_in_json(run: Callable[..., Result], folder: Path) -> None:
    lines = READINGS + "98,x,,,,\n" * 30
    (folder / "ride_status_snapshots.csv.gz").write_bytes(gzip.compress(lines.encode()))
    assert run("import", folder).stdout.count("unknown ride_id") == 10
    assert len(json.loads(run("import", folder, "--json").stdout)["refused"]) == 31


def test_a_bad_folder_is_exit_2_and_one_sentence(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("import", tmp_path / "nowhere")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "nowhere is not a folder" in result.stderr
    assert run("import").exit_code == 2


def test_another_interval_is_exit_3(run: Callable[..., Result], folder: Path) -> None:
    run("import", folder)
    result = run("import", folder, SNAPSHOT_INTERVAL_MINUTES="5")
    assert result.exit_code == 3
    assert "set SNAPSHOT_INTERVAL_MINUTES=15" in result.stderr


def test_a_database_without_schema_is_exit_3(blank: Settings, folder: Path) -> None:
    result = CliRunner().invoke(main, ["import", str(folder)], env={"DATABASE_URL": blank.database_url})
    assert (result.exit_code, result.stdout) == (3, "")
    assert "cli migrate" in result.stderr


def test_a_dry_run_needs_no_database(folder: Path) -> None:
    nowhere = {"DATABASE_URL": "mysql://nobody@127.0.0.1:1/nothing"}
    result = CliRunner().invoke(main, ["import", str(folder), "--dry-run"], env=nowhere)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "Nothing was written."


# --- real recordings -------------------------------------------------------------------------------------------------


@real
@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(("name", "minutes"), [("wdw-2025-05", 15), ("dlp-2026-04", 5)])
def test_a_real_recording_is_stored_as_the_reference_reads_it(name: str, minutes: int) -> None:
    report = bring(REAL / name, interval_minutes=minutes)
    _, parks, rides, schedules, expected = reference.load(REAL / name, minutes)
    stored = RideStatusSnapshot.select()
    assert {
        (epoch(row.snapshot_time), row.ride_id, row.status and row.status.name, row.is_open, row.wait_time)
        for row in stored
    } == {(row.slot, row.ride_id, row.status, row.is_open, row.wait) for row in expected}
    assert (report.stored, report.refused) == (len(expected), [])
    assert report.read == report.stored + report.superseded + report.single_rider_readings
    assert {row.ride_id: row.name for row in Ride.select()} == {ride.ride_id: ride.name.strip() for ride in rides}
    assert {row.park_id: row.park_type.name.lower() for row in Park.select()} == {
        park.park_id: park.park_type for park in parks
    }
    assert {
        (row.park_id, row.schedule_date, row.schedule_type.name, epoch(row.opening_at), epoch(row.closing_at))
        for row in ParkSchedule.select()
    } == {tuple(row) for row in schedules}


@real
@pytest.mark.usefixtures("database")
def test_the_paris_recording_names_its_single_rider_queues() -> None:
    report = bring(REAL / "dlp-2026-04", interval_minutes=5)
    assert (len(report.single_rider), report.rides, report.single_rider_readings) == (8, 53, 6280)
    assert RideStatusSnapshot.select().where(RideStatusSnapshot.status.is_null(False)).count() == 0
    again = bring(REAL / "dlp-2026-04", interval_minutes=5)
    assert (again.stored, again.replaced, again.unchanged) == (0, 0, report.stored)
