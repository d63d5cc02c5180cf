"""Recordings: what is read, what is refused line by line, and what makes a folder unusable."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from service.errors import BadRequest
from service.feeds import Opening, Reading
from service.feeds.csv_files import Recording
from service.rules import Category, ParkType, ScheduleType, Status

PARK_HEADER = "park_id,name,operator,country,timezone,latitude,longitude,queue_times_id,themeparks_wiki_id"
RIDE_HEADER = "ride_id,park_id,source_ride_id,name,land"
READING_HEADER = "ride_id,recorded_at_utc,status,is_open,wait_time,source_updated_at_utc"
SCHEDULE_HEADER = "park_id,schedule_date,type,opening_at_utc,closing_at_utc"
HOURS_HEADER = "ride_id,type,starts_at_utc,ends_at_utc"

PARK = "1,Lantern Bay,disney,US,America/Los_Angeles,33.77,-118.19,7,75ea578a-adc8"
RIDE = "10,1,abc,Comet,Harbour"
READING = "10,2025-05-18T15:00:07Z,OPERATING,1,25,2025-05-18T14:59:00Z"

Write = Callable[..., Path]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(parks=[...], rides=[...], readings=[...], **others)`: a folder; lines below the usual headers."""

    def build(
        parks: list[str] | None = None,
        rides: list[str] | None = None,
        readings: list[str] | None = None,
        schedules: list[str] | None = None,
        hours: list[str] | None = None,
    ) -> Path:
        files = {
            "parks.csv": (PARK_HEADER, [PARK] if parks is None else parks),
            "rides.csv": (RIDE_HEADER, [RIDE] if rides is None else rides),
            "ride_status_snapshots.csv": (READING_HEADER, [READING] if readings is None else readings),
            "park_schedules.csv": (SCHEDULE_HEADER, schedules),
            "ride_operating_hours.csv": (HOURS_HEADER, hours),
        }
        for name, (header, lines) in files.items():
            if lines is not None:
                (tmp_path / name).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8", newline="")
        return tmp_path

    return build


def reasons(recording: Recording) -> list[tuple[str, int, str]]:
    list(recording.readings())
    return [tuple(refusal) for refusal in recording.refused]  # type: ignore[misc]


def only_reason(folder: Path) -> str:
    refused = reasons(Recording(folder))
    assert len(refused) == 1
    return refused[0][2]


# --- what is read ----------------------------------------------------------------------------------------------------


def test_a_folder_is_read_into_records(write: Write) -> None:
    recording = Recording(write())
    [park], [ride] = recording.parks, recording.rides
    assert (park.source_id, park.name, park.park_type, park.operator) == (1, "Lantern Bay", ParkType.DISNEY, "Disney")
    assert (park.country, park.timezone, park.latitude, park.longitude) == ("US", "America/Los_Angeles", 33.77, -118.19)
    assert (park.queue_times_id, park.themeparks_wiki_id) == (7, "75ea578a-adc8")
    assert (ride.source_id, ride.park_source_id, ride.source_ride_id) == (10, 1, "abc")
    assert (ride.name, ride.land_area) == ("Comet", "Harbour")
    assert list(recording.readings()) == [Reading(10, at("2025-05-18T15:00:07"), Status.OPERATING, True, 25)]
    assert recording.refused == [] and recording.lines == 1


def test_absent_columns_say_nothing(write: Write) -> None:
    recording = Recording(write())
    assert (recording.parks[0].city, recording.parks[0].is_active) == (None, None)
    assert (recording.rides[0].category, recording.rides[0].tier, recording.rides[0].is_active) == (None, None, None)


def test_optional_columns_are_read_wherever_they_stand(write: Write) -> None:
    folder = write()
    (folder / "parks.csv").write_text(f"is_active,{PARK_HEADER},city,state_province\n0,{PARK},Long Beach,California\n")
    (folder / "rides.csv").write_text(f"tier,{RIDE_HEADER},note,category,is_active\n3,{RIDE},x,SHOW,1\n")
    recording = Recording(folder)
    park, ride = recording.parks[0], recording.rides[0]
    assert (park.city, park.state_province, park.is_active) == ("Long Beach", "California", False)
    assert (ride.category, ride.tier, ride.is_active) == (Category.SHOW, 3, True)


def test_empty_fields_are_unknown(write: Write) -> None:
    folder = write(["1,Bay,other,US,Europe/Paris,,,,"], ["10,1,,Comet,"], ["10,2025-05-18T15:00:00Z,,0,,"])
    recording = Recording(folder)
    park, ride = recording.parks[0], recording.rides[0]
    assert (park.latitude, park.queue_times_id, park.themeparks_wiki_id, park.operator) == (None, None, None, None)
    assert (ride.source_ride_id, ride.land_area) == (None, None)
    assert list(recording.readings()) == [Reading(10, at("2025-05-18T15:00"), None, False, None)]


def test_gzipped_files_and_a_byte_order_mark_are_read(write: Write) -> None:
    folder = write()
    for name in ("parks.csv", "rides.csv", "ride_status_snapshots.csv"):
        content = (folder / name).read_bytes()
        (folder / f"{name}.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + content))
        (folder / name).unlink()
    recording = Recording(folder)
    assert len(list(recording.readings())) == 1
    assert recording.position == recording.size > 0


def test_windows_line_ends_blank_lines_and_a_missing_last_line_end_are_fine(write: Write) -> None:
    folder = write()
    (folder / "ride_status_snapshots.csv").write_bytes(f"{READING_HEADER}\r\n{READING}\r\n\r\n{READING}".encode())
    recording = Recording(folder)
    assert len(list(recording.readings())) == 2
    assert recording.lines == 2


def test_other_offsets_than_utc_are_converted(write: Write) -> None:
    folder = write(readings=["10,2025-05-18T17:00:00+02:00,OPERATING,,,", "10,2025-05-18 08:00:30.9-07:00,DOWN,,,"])
    assert [reading.recorded_at for reading in Recording(folder).readings()] == [
        at("2025-05-18T15:00"),
        at("2025-05-18T15:00:30"),
    ]


def test_duplicates_and_implausible_waits_are_handed_on(write: Write) -> None:
    folder = write(readings=[READING, READING, "10,2025-05-18T15:05:00Z,,1,995,", "10,2025-05-18T15:05:00Z,,1,-5,"])
    assert [reading.wait_time for reading in Recording(folder).readings()] == [25, 25, 995, -5]


def test_markup_brackets_are_stripped_from_texts(write: Write) -> None:
    folder = write(rides=["10,1,abc,<script>alert(1)</script>,< Harbour >"])
    [ride] = Recording(folder).rides
    assert (ride.name, ride.land_area) == ("scriptalert(1)/script", "Harbour")


@pytest.mark.parametrize(
    "name",
    [
        "Jack's \"Comet\"",
        "100 % Ride; DROP TABLE rides; --",
        "🎢 Comète №7",
        "أفعوانية المذنب",
        "%s %(x)s {0} \\",
        "a,b",
        "x" * 255,
    ],
)
def test_strange_names_are_names(write: Write, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    [ride] = Recording(write(rides=[f"10,1,{quoted},{quoted},"])).rides
    assert ride.name == name
    assert ride.source_ride_id == name


# --- schedules -------------------------------------------------------------------------------------------------------


def test_park_schedules_are_read(write: Write) -> None:
    folder = write(
        schedules=[
            "1,2025-05-18,OPERATING,2025-05-18T16:00:00Z,2025-05-19T05:00:00Z",
            "1,2025-05-18,TICKETED_EVENT,2025-05-19T05:00:00Z,2025-05-19T08:00:00Z",
            "1,2025-05-19,CLOSED,,",
        ],
        hours=["10,Operating,2025-05-20T16:00:00Z,2025-05-20T18:00:00Z"],
    )
    midnight = at("2025-05-19T07:00")
    assert Recording(folder).openings == {
        1: [
            Opening(date(2025, 5, 18), ScheduleType.OPERATING, at("2025-05-18T16:00"), at("2025-05-19T05:00")),
            Opening(date(2025, 5, 18), ScheduleType.TICKETED_EVENT, at("2025-05-19T05:00"), at("2025-05-19T08:00")),
            Opening(date(2025, 5, 19), ScheduleType.CLOSED, midnight, midnight),
        ]
    }


def test_without_park_schedules_a_park_is_open_while_its_rides_are(write: Write) -> None:
    folder = write(
        ["1,Bay,disney,US,Europe/Paris,,,,", "2,Cove,other,US,Europe/Paris,,,,"],
        ["10,1,a,Comet,", "11,1,b,Orbit,", "12,1,c,Comet Single Rider,", "20,2,d,Other,"],
        hours=[
            "10,Operating,2025-05-18T08:30:00Z,2025-05-18T19:00:00Z",
            "11,Operating,2025-05-18T09:00:00Z,2025-05-18T20:00:00Z",
            "11,Early Entry,2025-05-18T07:30:00Z,2025-05-18T08:30:00Z",
            "12,Operating,2025-05-18T05:00:00Z,2025-05-18T22:00:00Z",  # a queue, not a ride
            "10,Operating,2025-05-19T08:30:00Z,2025-05-19T19:00:00Z",
        ],
    )
    assert Recording(folder).openings == {
        1: [
            Opening(date(2025, 5, 18), ScheduleType.OPERATING, at("2025-05-18T08:30"), at("2025-05-18T20:00")),
            Opening(date(2025, 5, 19), ScheduleType.OPERATING, at("2025-05-19T08:30"), at("2025-05-19T19:00")),
        ]
    }


def test_hours_after_midnight_in_the_east_are_dated_there(write: Write) -> None:
    folder = write(
        ["1,Bay,other,JP,Asia/Tokyo,,,,"], hours=["10,Operating,2025-05-18T00:00:00Z,2025-05-18T12:00:00Z"]
    )
    [opening] = Recording(folder).openings[1]
    assert opening.schedule_date == date(2025, 5, 18)  # still the 17th in California


# --- lines that are refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("99,2025-05-18T15:00:00Z,OPERATING,1,25,", "unknown ride_id 99"),
        ("x,2025-05-18T15:00:00Z,OPERATING,1,25,", "ride_id 'x' is not a whole number"),
        (",2025-05-18T15:00:00Z,OPERATING,1,25,", "ride_id '' is not a whole number"),
        ("0,2025-05-18T15:00:00Z,OPERATING,1,25,", "ride_id 0 is not between 1 and 2147483647"),
        ("٣,2025-05-18T15:00:00Z,OPERATING,1,25,", "ride_id '٣' is not a whole number"),
        ("10,yesterday,OPERATING,1,25,", "recorded_at_utc 'yesterday' is not an ISO 8601 time"),
        ("10,2025-02-30T15:00:00Z,OPERATING,1,25,", "is not an ISO 8601 time"),
        ("10,2025-05-18T15:00:00,OPERATING,1,25,", "recorded_at_utc '2025-05-18T15:00:00' has no offset"),
        ("10,2025-05-18,OPERATING,1,25,", "has no offset"),
        ("10,1999-12-31T15:00:00Z,OPERATING,1,25,", "is not between 2000 and 2099"),
        ("10,9999-12-31T23:59:59-23:59,OPERATING,1,25,", "is not between 2000 and 2099"),
        ("10,2025-05-18T15:00:00Z,BROKEN,1,25,", "unknown status 'BROKEN': use OPERATING, DOWN, CLOSED, REFURBISHMENT"),
        ("10,2025-05-18T15:00:00Z,OPERATING,yes,25,", "is_open 'yes' is not 0 or 1"),
        ("10,2025-05-18T15:00:00Z,OPERATING,1,12.5,", "wait_time '12.5' is not a whole number"),
        ("10,2025-05-18T15:00:00Z,OPERATING,1,many,", "wait_time 'many' is not a whole number"),
        (f"10,2025-05-18T15:00:00Z,OPERATING,1,{'9' * 5000},", "is not a whole number"),
        ("10,2025-05-18T15:00:00Z,,,,", "says nothing"),
        ("10,2025-05-18T15:00:00Z,,,995,", "says nothing"),
        ("10,2025-05-18T15:00:00Z,OPERATING,1,25", "5 fields, but the header has 6"),
        ("10,2025-05-18T15:00:00Z,OPERATING,1,25,,", "7 fields, but the header has 6"),
        ("10,2025-05-18T15:00:00Z,OPER\0ATING,1,25,", "contains a NUL character"),
        ('10,"2025-05-18T15:00:00Z,OPERATING,1,25,', "quotes do not match"),
        ("x" * 100_000, "longer than 65,536 bytes"),
    ],
)
def test_a_bad_reading_is_refused_and_the_rest_goes_in(write: Write, line: str, reason: str) -> None:
    recording = Recording(write(readings=[READING, line, READING]))
    assert len(list(recording.readings())) == 2
    [refusal] = recording.refused
    assert (refusal.file, refusal.line) == ("ride_status_snapshots.csv", 3)
    assert reason in refusal.reason
    assert recording.lines == 3


def test_a_refusal_does_not_repeat_a_long_field(write: Write) -> None:
    assert len(only_reason(write(readings=[f"10,{'y' * 5000},OPERATING,1,25,"]))) < 200


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2,Cove,cedar,US,America/New_York,,,,", "unknown operator 'cedar': use disney, universal, other"),
        ("2,Cove,other,usa,America/New_York,,,,", "country 'usa' is not a code of two capital letters"),
        ("2,Cove,other,US,Mars/Olympus,,,,", "unknown timezone 'Mars/Olympus'"),
        ("2,Cove,other,US,../../etc/passwd,,,,", "unknown timezone"),
        ("2,Cove,other,US,,,,,", "unknown timezone ''"),
        ("2,,other,US,America/New_York,,,,", "has no name"),
        ("2,<>,other,US,America/New_York,,,,", "has no name"),
        (f"2,{'n' * 256},other,US,America/New_York,,,,", "name has 256 characters, at most 255 fit"),
        ("2,Cove,other,US,America/New_York,91,,,", "latitude '91' is not a number from -90 to 90"),
        ("2,Cove,other,US,America/New_York,,nan,,", "longitude 'nan' is not a number"),
        ("2,Cove,other,US,America/New_York,,,x,", "queue_times_id 'x' is not a whole number"),
        ("2,Cove,other,US,America/New_York,,,,🎢", "themeparks_wiki_id '🎢' is not a UUID"),
        ("1,Cove,other,US,America/New_York,,,,", "park_id '1' is given twice"),
        ("2,Cove,other,US,America/New_York,,,7,", "queue_times_id '7' is given twice"),
        ("2,Cove,other,US,America/New_York,,,,75EA578A-ADC8", "themeparks_wiki_id '75ea578a-adc8' is given twice"),
        ("99999999999,Cove,other,US,America/New_York,,,,", "park_id 99999999999 is not between 1 and 2147483647"),
    ],
)
def test_a_bad_park_is_refused(write: Write, line: str, reason: str) -> None:
    recording = Recording(write(parks=[PARK, line]))
    assert [park.source_id for park in recording.parks] == [1]
    [refusal] = recording.refused
    assert (refusal.file, refusal.line) == ("parks.csv", 3)
    assert reason in refusal.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("11,9,b,Orbit,,,,", "unknown park_id 9"),
        ("10,1,b,Orbit,,,,", "ride_id '10' is given twice"),
        ("11,1,abc,Orbit,,,,", "source_ride_id 'abc' is given twice"),
        ("11,1,b,Orbit,,ROLLERCOASTER,,", "unknown category 'ROLLERCOASTER'"),
        ("11,1,b,Orbit,,,4,", "unknown tier '4': use 1, 2 or 3"),
        ("11,1,b,Orbit,,,,maybe", "is_active 'maybe' is not 0 or 1"),
        (f"11,1,b,Orbit,{'l' * 101},,,", "land has 101 characters, at most 100 fit"),
        (f"11,1,{'s' * 256},Orbit,,,,", "source_ride_id has 256 characters"),
    ],
)
def test_a_bad_ride_is_refused(write: Write, line: str, reason: str) -> None:
    folder = write()
    (folder / "rides.csv").write_text(f"{RIDE_HEADER},category,tier,is_active\n{RIDE},,,\n{line}\n")
    recording = Recording(folder)
    assert [ride.source_id for ride in recording.rides] == [10]
    [refusal] = recording.refused
    assert (refusal.file, refusal.line) == ("rides.csv", 3)
    assert reason in refusal.reason


def test_rides_of_two_parks_may_share_a_source_id(write: Write) -> None:
    parks = [PARK, "2,Cove,other,US,America/New_York,,,,"]
    assert len(Recording(write(parks, ["10,1,abc,Comet,", "11,2,abc,Comet,"])).rides) == 2


def test_readings_of_a_refused_ride_are_refused(write: Write) -> None:
    recording = Recording(write(parks=["1,Cove,nobody,US,America/New_York,,,,"]))
    assert [(file, line) for file, line, _ in reasons(recording)] == [
        ("parks.csv", 2),
        ("rides.csv", 2),
        ("ride_status_snapshots.csv", 2),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("9,2025-05-18,OPERATING,2025-05-18T16:00:00Z,2025-05-18T18:00:00Z", "unknown park_id 9"),
        ("1,18.5.2025,OPERATING,2025-05-18T16:00:00Z,2025-05-18T18:00:00Z", "is not a date such as 2025-05-18"),
        ("1,2025-05-18,PARTY,2025-05-18T16:00:00Z,2025-05-18T18:00:00Z", "unknown type 'PARTY'"),
        ("1,2025-05-18,OPERATING,,", "opening_at_utc '' is not an ISO 8601 time"),
        ("1,2025-05-18,CLOSED,2025-05-18T16:00:00Z,", "closing_at_utc '' is not an ISO 8601 time"),
        ("1,2025-05-18,OPERATING,2025-05-18T16:00:00Z,2025-05-18T16:00:00Z", "is not within 36 hours after"),
        ("1,2025-05-18,OPERATING,2025-05-18T16:00:00Z,2026-05-18T16:00:00Z", "is not within 36 hours after"),
        ("1,2025-06-18,OPERATING,2025-05-18T16:00:00Z,2025-05-18T18:00:00Z", "is not on schedule_date 2025-06-18"),
    ],
)
def test_a_bad_opening_is_refused(write: Write, line: str, reason: str) -> None:
    assert reason in only_reason(write(schedules=[line]))


def test_the_same_opening_twice_is_refused(write: Write) -> None:
    line = "1,2025-05-18,OPERATING,2025-05-18T16:00:00Z,2025-05-18T18:00:00Z"
    assert "is given twice" in only_reason(write(schedules=[line, line]))


def test_bad_ride_hours_are_refused(write: Write) -> None:
    folder = write(hours=["99,Operating,2025-05-18T16:00:00Z,2025-05-18T18:00:00Z", "10,Operating,x,y"])
    first, second = (reason for _, _, reason in reasons(Recording(folder)))
    assert first == "unknown ride_id 99"
    assert second.startswith("starts_at_utc 'x' is not an ISO 8601 time")


# --- folders that cannot be used -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["parks.csv", "rides.csv", "ride_status_snapshots.csv"])
def test_a_missing_file_is_named(write: Write, name: str) -> None:
    folder = write()
    (folder / name).unlink()
    with pytest.raises(BadRequest, match=f"has no {name}"):
        Recording(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="nowhere is not a folder"):
        Recording(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("parks.csv", "timezone"),
        ("rides.csv", "source_ride_id"),
        ("ride_status_snapshots.csv", "wait_time"),
        ("park_schedules.csv", "type"),
        ("ride_operating_hours.csv", "ends_at_utc"),
    ],
)
def test_a_missing_column_is_named(write: Write, name: str, column: str) -> None:
    folder = write(schedules=[], hours=[])
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace(column, "other"))
    with pytest.raises(BadRequest, match=f"{name} lacks the column {column}"):
        Recording(folder)


def test_an_empty_file_and_a_doubled_column_are_refused(write: Write) -> None:
    folder = write()
    (folder / "rides.csv").write_text("")
    with pytest.raises(BadRequest, match="rides.csv lacks the column ride_id"):
        Recording(folder)
    (folder / "rides.csv").write_text(f"{RIDE_HEADER},name\n")
    with pytest.raises(BadRequest, match="rides.csv has the column name twice"):
        Recording(folder)


@pytest.mark.parametrize("content", [b"not gzip at all", gzip.compress(b"x" * 5000, mtime=0)[:-20], b""])
def test_a_broken_gzip_file_is_named(write: Write, content: bytes) -> None:
    folder = write()
    (folder / "ride_status_snapshots.csv").unlink()
    (folder / "ride_status_snapshots.csv.gz").write_bytes(content)
    with pytest.raises(BadRequest, match=r"ride_status_snapshots.csv.gz (cannot be read|lacks)"):
        list(Recording(folder).readings())


def test_a_gzip_file_that_breaks_off_is_named(write: Write) -> None:
    folder = write()
    lines = "\n".join([READING_HEADER, *(f"10,2025-05-18T15:00:07Z,,1,{wait}," for wait in range(400))])
    (folder / "ride_status_snapshots.csv").unlink()
    (folder / "ride_status_snapshots.csv.gz").write_bytes(gzip.compress(lines.encode(), mtime=0)[:-100])
    with pytest.raises(BadRequest, match="ride_status_snapshots.csv.gz cannot be read"):
        list(Recording(folder).readings())


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_than_utf8_is_named(write: Write, encoding: str) -> None:
    folder = write()
    (folder / "rides.csv").write_bytes(f"{RIDE_HEADER}\n{RIDE}\n11,1,x,Comète,\n".encode(encoding))
    with pytest.raises(BadRequest, match="rides.csv is not UTF-8: see line"):
        Recording(folder)
