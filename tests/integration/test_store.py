"""The door through which everything enters: what is written, what is left alone, and what is made known."""

from __future__ import annotations

import random
import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from factories import random_world
from reference import Reading
from service import database as door
from service.config import Settings
from service.errors import Unavailable
from service.feeds import Opening, ParkRecord, RideRecord
from service.jobs import marks
from service.jobs.catalog import LARGEST_KEPT_ID, store_catalog
from service.jobs.daily import aggregate
from service.jobs.store import NewSlot, Stored, store_readings, store_schedules
from service.models import ALL_MODELS, DailyParkStats, DailyStats, Park, ParkActivitySnapshot, ParkSchedule, Ride
from service.models import RideStatusSnapshot, StatDay
from service.periods import epoch, instant
from service.monitoring import health
from service.queries import live, state
from service.queries.days import Tallies
from service.rules import Category, ParkType, ScheduleType, Source, Status

pytestmark = pytest.mark.usefixtures("database")

NOW = datetime(2025, 5, 20, 19, 0, tzinfo=UTC)  # noon in California
LATER = NOW + timedelta(hours=1)
MINUTES = 15
OPERATING, DOWN, CLOSED = Status.OPERATING, Status.DOWN, Status.CLOSED


def park(source_id: int = 1, name: str = "Lantern Bay", **more: Any) -> ParkRecord:
    usual = {"park_type": ParkType.DISNEY, "country": "US", "timezone": "America/Los_Angeles"}
    return ParkRecord(source_id, name, **{**usual, **more})


def ride(source_id: int = 10, name: str = "Comet", park_id: int = 1, **more: Any) -> RideRecord:
    return RideRecord(source_id, park_id, name, **more)


def at(day: int, hour: int = 0, minute: int = 0, month: int = 5) -> int:
    """Epoch seconds of a Pacific wall clock time in summer 2025."""
    return epoch(datetime(2025, month, day, hour, minute, tzinfo=UTC) + timedelta(hours=7))


def put(
    *readings: tuple[Any, ...],
    park_id: int = 1,
    now: datetime = NOW,
    source: Source = Source.QUEUE_TIMES,
) -> Stored:
    return store_readings(park_id, readings, source=source, interval_minutes=MINUTES, now=now)


def collect(
    *readings: tuple[int, int, Status | None, bool | None, int | None], park_id: int = 1, now: datetime = NOW
) -> None:
    """Store readings as a collector that is killed before anybody sees them."""
    for slot, *said in readings:
        NewSlot(slot, interval_minutes=MINUTES, now=now).store(park_id, [tuple(said)], Source.QUEUE_TIMES)


def publish(now: datetime = NOW) -> None:
    """Show what was collected."""
    NewSlot(at(20, 12), interval_minutes=MINUTES, now=now).publish()


def contents() -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    return {model.__name__: sorted(door.fetch(model.select()), key=repr) for model in ALL_MODELS}


def computed(*days: date, version: int = 1, now: datetime = NOW) -> None:
    """Enter days into the ledger as right."""
    fields = [StatDay.stat_date, StatDay.metrics_version, StatDay.sample_count, StatDay.computed_at, StatDay.dirty]
    rows = [(day, version, 1, now, False) for day in days]
    door.upsert(StatDay, fields, rows, key=fields[:2])


def dirty() -> list[int]:
    """Days of the month that are dirty."""
    return [row.stat_date.day for row in StatDay.select().where(StatDay.dirty).order_by(StatDay.stat_date)]


def may(*days: int) -> list[date]:
    return [date(2025, 5, day) for day in days]


def revisions() -> tuple[int | None, int | None]:
    return state.get_state(state.REVISION_CURRENT), state.get_state(state.REVISION_HISTORY)


@pytest.fixture
def comet(database: Any) -> None:
    """Park 1 with rides 10 and 11."""
    store_catalog([park()], [ride(), ride(11, "Orbit")], NOW)


# --- state -----------------------------------------------------------------------------------------------------------


def test_a_revision_moves_by_one() -> None:
    for expected in (1, 2, 3):
        marks.bump("x")
        assert state.get_state("x") == expected


def test_a_raised_number_is_never_lowered() -> None:
    for value, expected in ((5, 5), (3, 5), (8, 8), (8, 8)):
        marks.raise_state("x", value)
        assert state.get_state("x") == expected


def test_the_first_interval_is_kept_and_others_are_refused() -> None:
    marks.claim_interval(15)
    marks.claim_interval(15)
    with pytest.raises(Unavailable, match="15 minutes apart.*is 5: set SNAPSHOT_INTERVAL_MINUTES=15"):
        marks.claim_interval(5)
    assert state.get_state(state.INTERVAL) == 15


# --- catalog: matching -----------------------------------------------------------------------------------------------


def test_new_rows_keep_the_ids_of_the_source() -> None:
    catalog = store_catalog([park(7)], [ride(70, park_id=7)], NOW)
    assert (catalog.park_ids, catalog.ride_ids) == ({7: 7}, {70: 70})
    assert catalog[2:] == (1, 0, 1, 0)
    row = Ride.get(Ride.ride_id == 70)
    assert (row.park_id, row.name, row.category, row.is_active) == (7, "Comet", Category.ATTRACTION, True)
    assert (row.created_at, row.updated_at) == (NOW, NOW)


def test_ids_that_are_taken_or_too_large_are_given_anew() -> None:
    store_catalog([park(1)], [ride(10)], NOW)
    huge = LARGEST_KEPT_ID + 1
    catalog = store_catalog(
        [park(1, "Cove"), park(2, "Reach")], [ride(10, "Orbit", 1), ride(11, "Swing", 1), ride(huge, "Loop", 2)], NOW
    )
    assert catalog.park_ids == {1: 3, 2: 2}  # 2 is free and kept, whatever comes first
    assert catalog.ride_ids[11] == 11
    assert sorted(catalog.ride_ids.values()) == [11, 12, 13]
    assert {row.ride_id: row.park_id for row in Ride.select()} == {10: 1, 11: 3, 12: 3, 13: 2}


def test_storing_a_catalog_twice_changes_nothing() -> None:
    parks = [park(queue_times_id=6, themeparks_wiki_id="a", latitude=28.41770001, longitude=-81.5812, city="Town")]
    rides = [ride(source_ride_id="x", land_area="Bay", tier=1), ride(11, "Comet", source_ride_id="y")]
    first = store_catalog(parks, rides, NOW)
    before = contents()
    second = store_catalog(parks, rides, LATER)
    assert contents() == before
    assert second == (first.park_ids, first.ride_ids, 0, 0, 0, 0)


def test_parks_match_by_wiki_id_then_queue_times_id_then_name_and_country() -> None:
    store_catalog(
        [
            park(1, "One", themeparks_wiki_id="w", queue_times_id=100),
            park(2, "Two", queue_times_id=200),
            park(3, "Three"),
        ],
        [],
        NOW,
    )
    catalog = store_catalog(
        [
            park(51, "Three", country="CA"),  # same name elsewhere
            park(52, "Three"),
            park(53, "Renamed two", queue_times_id=200),
            park(54, "Renamed one", themeparks_wiki_id="w", queue_times_id=200),
        ],
        [],
        LATER,
    )
    assert catalog.park_ids == {51: 51, 52: 3, 53: 2, 54: 1}
    names = [row.name for row in Park.select().order_by(Park.park_id)]
    assert names == ["Renamed one", "Renamed two", "Three", "Three"]
    assert Park.get(Park.park_id == 1).queue_times_id == 100  # 200 is another park's


def test_parks_of_one_name_and_country_with_other_ids_are_other_parks() -> None:
    store_catalog([park(1, "Harbor", themeparks_wiki_id="a")], [], NOW)
    catalog = store_catalog([park(2, "Harbor", themeparks_wiki_id="b"), park(3, "Harbor", queue_times_id=5)], [], NOW)
    assert catalog.park_ids == {2: 2, 3: 1}  # the third fills in what was not known


def test_rides_match_by_source_id_then_name_within_their_park() -> None:
    store_catalog(
        [park(1), park(2, "Cove")],
        [ride(10, "Comet", source_ride_id="a"), ride(11, "Orbit"), ride(20, "Comet", 2, source_ride_id="a")],
        NOW,
    )
    catalog = store_catalog(
        [park(1), park(2, "Cove")],
        [
            ride(91, "New name", source_ride_id="a"),
            ride(92, "Orbit", source_ride_id="b"),
            ride(93, "Comet", 2, source_ride_id="c"),
        ],
        LATER,
    )
    assert catalog.ride_ids == {91: 10, 92: 11, 93: 20}
    names = [(row.name, row.source_ride_id) for row in Ride.select().order_by(Ride.ride_id)]
    assert names == [("New name", "a"), ("Orbit", "b"), ("Comet", "a")]  # the first source's id stays


def test_rides_of_one_name_are_told_apart_by_their_source_ids() -> None:
    rides = [ride(10, "Meet Mickey", source_ride_id="a"), ride(11, "Meet Mickey", source_ride_id="b")]
    assert store_catalog([park()], rides, NOW).ride_ids == {10: 10, 11: 11}
    again = [record._replace(source_id=record.source_id + 50) for record in reversed(rides)]
    assert store_catalog([park()], again, NOW).ride_ids == {61: 11, 60: 10}


def test_a_rename_is_stored_and_seen() -> None:
    store_catalog([park()], [ride(source_ride_id="a")], NOW)
    before = revisions()
    catalog = store_catalog([park()], [ride(name="Comet II", source_ride_id="a")], LATER)
    assert catalog[2:] == (0, 0, 0, 1)
    row = Ride.get(Ride.ride_id == 10)
    assert (row.name, row.created_at, row.updated_at) == ("Comet II", NOW, LATER)
    assert Park.get(Park.park_id == 1).updated_at == NOW
    assert revisions() == tuple((number or 0) + 1 for number in before)


def test_single_rider_queues_are_no_rides() -> None:
    catalog = store_catalog([park()], [ride(), ride(11, "Comet - SINGLE RIDER"), ride(12, "Comet Single-Rider")], NOW)
    assert catalog.ride_ids == {10: 10}


def test_what_a_source_does_not_say_stays() -> None:
    store_catalog(
        [park(city="Town", is_active=False, operator="Disney")],
        [ride(tier=1, category=Category.SHOW, is_active=False, land_area="Bay")],
        NOW,
    )
    before = contents()
    store_catalog([park()], [ride()], LATER)
    assert contents() == before


def test_markup_does_not_enter() -> None:
    store_catalog([park(name="<b>Bay</b>", city="<>")], [ride(name="<script>x</script>", land_area=" <Bay> ")], NOW)
    row, its_park = Ride.get(Ride.ride_id == 10), Park.get(Park.park_id == 1)
    assert (row.name, row.land_area, its_park.name, its_park.city) == ("scriptx/script", "Bay", "bBay/b", None)


@pytest.mark.parametrize("text", ["Jack's \"C\"", "100 % %s", "🎢 Комета", "أفعوانية", "x' OR 1=1; --", "\\", "é" * 255])
def test_strange_texts_come_back_as_they_are(text: str) -> None:
    parks = [park(name=text, city=text[:100], operator=text[:100])]
    rides = [ride(name=text, source_ride_id=text, land_area=text[:100])]
    store_catalog(parks, rides, NOW)
    before = contents()
    assert Ride.get(Ride.ride_id == 10).name == text
    assert store_catalog(parks, rides, LATER).ride_ids == {10: 10}
    assert contents() == before


def test_rides_of_an_unknown_park_are_a_mistake_and_store_nothing() -> None:
    before = contents()
    with pytest.raises(KeyError):
        store_catalog([park()], [ride(park_id=2)], NOW)
    assert contents() == before


# --- catalog: what it makes dirty ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parks", "rides"),
    [
        ([park(timezone="America/Denver")], [ride()]),
        ([park(park_type=ParkType.OTHER)], [ride()]),
        ([park()], [ride(tier=3)]),
        ([park()], [ride(category=Category.SHOW)]),
    ],
)
def test_what_days_are_judged_by_makes_all_raw_days_dirty(parks: list[ParkRecord], rides: list[RideRecord]) -> None:
    store_catalog([park()], [ride(tier=1)], NOW)
    put((at(10, 23), 10, OPERATING, None, None))
    computed(*may(10, 11, 19), version=1)
    computed(*may(10), version=2)
    store_catalog(parks, rides, NOW)
    assert dirty() == [10, 10, 11, 19]


def test_days_before_those_that_can_be_counted_stay_as_they_are() -> None:
    store_catalog([park()], [ride(tier=1)], NOW)
    put((at(10, 23), 10, OPERATING, None, None))
    computed(*may(9, 10, 11, 19))  # the readings of the 9th were removed: the 10th may lack some too
    store_catalog([park()], [ride(tier=3)], NOW)
    assert dirty() == [11, 19]


def test_names_and_places_make_nothing_dirty() -> None:
    store_catalog([park()], [ride(source_ride_id="a", tier=1)], NOW)
    put((at(10), 10, OPERATING, None, None))
    computed(*may(10))
    store_catalog([park(city="Town")], [ride(name="New", source_ride_id="a", land_area="Bay", tier=1)], NOW)
    assert dirty() == []


# --- schedules -------------------------------------------------------------------------------------------------------


def opening(day: int, start: int = 9, end: int = 21, kind: ScheduleType = ScheduleType.OPERATING) -> Opening:
    return Opening(date(2025, 5, day), kind, at(day, start), at(day, end))


def stored_hours() -> list[tuple[int, str, datetime, datetime]]:
    rows = ParkSchedule.select().order_by(ParkSchedule.schedule_date, ParkSchedule.opening_at)
    return [(row.schedule_date.day, row.schedule_type.name, row.opening_at, row.closing_at) for row in rows]


@pytest.mark.usefixtures("comet")
def test_a_schedule_is_stored_once() -> None:
    rows = [opening(18), opening(18, 21, 23, ScheduleType.TICKETED_EVENT), opening(19)]
    assert store_schedules(1, rows, NOW) == 3
    before = contents()
    assert store_schedules(1, rows, LATER) == 0
    assert store_schedules(1, [], LATER) == 0
    assert contents() == before


@pytest.mark.usefixtures("comet")
def test_a_later_schedule_replaces_the_hours_of_its_dates_only() -> None:
    party = opening(18, 21, 23, ScheduleType.TICKETED_EVENT)
    store_schedules(1, [opening(17), opening(18), party, opening(19)], NOW)
    assert store_schedules(1, [opening(18, 8, 22), opening(19, 9, 22)], LATER) == 3  # one moved, one longer
    hours = [(day, kind, start, end) for day, kind, start, end in stored_hours()]
    assert [(day, kind, epoch(start), epoch(end)) for day, kind, start, end in hours] == [
        (17, "OPERATING", at(17, 9), at(17, 21)),
        (18, "OPERATING", at(18, 8), at(18, 22)),
        (18, "TICKETED_EVENT", at(18, 21), at(18, 23)),
        (19, "OPERATING", at(19, 9), at(19, 22)),
    ]


@pytest.mark.usefixtures("comet")
def test_closed_and_operating_replace_each_other() -> None:
    closed = opening(18, 0, 0, ScheduleType.CLOSED)
    store_schedules(1, [opening(18)], NOW)
    store_schedules(1, [closed], NOW)
    assert [kind for _, kind, *_ in stored_hours()] == ["CLOSED"]
    store_schedules(1, [opening(18)], NOW)
    assert [kind for _, kind, *_ in stored_hours()] == ["OPERATING"]


@pytest.mark.usefixtures("comet")
def test_the_first_row_makes_a_fortnight_known_and_dirty() -> None:
    computed(*may(*range(1, 20)))
    before = revisions()
    store_schedules(1, [opening(9)], NOW)
    # Local days 2 to 16 became known; they overlap Pacific days 2 to 17, and rosters reach six days further.
    assert dirty() == list(range(2, 20))
    assert revisions() == ((before[0] or 0) + 1, (before[1] or 0) + 1)  # days up to the 23rd


@pytest.mark.usefixtures("comet")
def test_a_changed_opening_makes_its_days_dirty_and_no_others() -> None:
    store_schedules(1, [opening(day) for day in range(1, 20)], NOW)
    computed(*may(*range(1, 20)))
    before = revisions()
    assert store_schedules(1, [opening(day, 9, 22 if day == 5 else 21) for day in range(1, 20)], NOW) == 1
    assert dirty() == list(range(5, 13))  # the local day overlaps the 5th and 6th
    assert revisions() == (before[0], (before[1] or 0) + 1)


@pytest.mark.usefixtures("comet")
def test_rows_that_open_nothing_new_make_nothing_dirty() -> None:
    store_schedules(1, [opening(day) for day in range(1, 20)], NOW)
    computed(*may(*range(1, 20)))
    before = revisions()
    assert store_schedules(1, [opening(5, 21, 23, ScheduleType.TICKETED_EVENT)], NOW) == 1
    assert (dirty(), revisions()) == ([], before)


@pytest.mark.usefixtures("comet")
def test_hours_of_days_to_come_make_nothing_dirty() -> None:
    store_schedules(1, [opening(20)], NOW)
    computed(*may(18, 19))
    before = revisions()
    store_schedules(1, [opening(20, 9, 23), opening(27)], NOW)
    assert dirty() == []
    assert revisions() == ((before[0] or 0) + 1, before[1])


# --- readings: what is written ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("comet")
def test_readings_are_stored_compared_and_replaced() -> None:
    noon = at(20, 11)
    assert put((noon, 10, OPERATING, None, 25), (noon, 11, None, False, None)) == Stored(2, 0, 0)
    assert put((noon, 10, OPERATING, None, 25), (noon, 11, None, True, 0)) == Stored(0, 1, 1)
    later = (noon + 900, 10, DOWN, None, None)
    assert put((noon, 10, OPERATING, None, 30), later, (noon, 11, None, True, 0)) == Stored(1, 1, 1)
    query = RideStatusSnapshot.select().order_by(RideStatusSnapshot.snapshot_time, RideStatusSnapshot.ride_id)
    assert [(epoch(r.snapshot_time) - noon, r.ride_id, r.status, r.is_open, r.wait_time) for r in query] == [
        (0, 10, OPERATING, None, 30),
        (0, 11, None, True, 0),
        (900, 10, DOWN, None, None),
    ]


@pytest.mark.usefixtures("comet")
def test_storing_readings_twice_changes_nothing() -> None:
    computed(*may(18, 19))
    slots = [at(19, 9) + step * 900 for step in range(20)]
    readings = [(slot, ride_id, None, slot % 1800 == 0, ride_id) for slot in slots for ride_id in (10, 11)]
    put(*readings)
    StatDay.update({StatDay.dirty: False}).execute()
    before = contents()
    assert put(*readings, now=LATER) == Stored(0, 0, 40)
    assert put() == Stored(0, 0, 0)
    assert contents() == before


@pytest.mark.usefixtures("comet")
def test_of_a_ride_given_twice_in_a_slot_the_last_one_counts() -> None:
    assert put((at(20), 10, DOWN, None, None), (at(20), 10, OPERATING, None, 5)) == Stored(1, 0, 0)
    assert RideStatusSnapshot.get().status is OPERATING


@pytest.mark.usefixtures("comet")
@pytest.mark.parametrize(
    "reading",
    [
        (at(20) + 1, 10, OPERATING, None, None),
        (at(20), 10, None, None, None),
        (at(20), 10, OPERATING, None, -1),
        (at(20), 10, OPERATING, None, 481),
        (at(20), 99, OPERATING, None, 5),
    ],
)
def test_what_no_source_should_send_stores_nothing(reading: tuple[Any, ...]) -> None:
    before = contents()
    with pytest.raises(ValueError, match="slot|says nothing|wait of|not of park"):
        put((at(20), 11, OPERATING, None, 5), reading)
    assert contents() == before


@pytest.mark.usefixtures("comet")
def test_readings_of_another_interval_are_refused() -> None:
    put((at(20), 10, OPERATING, None, 5))
    before = contents()
    with pytest.raises(Unavailable, match="15 minutes apart"):
        store_readings(1, [(at(20), 10, DOWN, None, None)], source=Source.QUEUE_TIMES, interval_minutes=5, now=NOW)
    assert contents() == before


# --- readings: how the park looked -----------------------------------------------------------------------------------


def looks(slot: int) -> tuple[Any, ...]:
    row = ParkActivitySnapshot.get(ParkActivitySnapshot.snapshot_time == slot)
    counts = (row.rides_tracked, row.rides_open, row.rides_down, row.rides_closed)
    return (*counts, None if row.avg_wait_time is None else float(row.avg_wait_time), row.max_wait_time, row.source)


def test_a_slot_counts_the_attractions_that_report() -> None:
    rides = [ride(number, f"Ride {number}") for number in range(10, 16)]
    store_catalog([park()], [*rides, ride(16, "Parade", category=Category.SHOW)], NOW)
    put(
        (at(20), 10, OPERATING, None, 20),
        (at(20), 11, OPERATING, None, 25),
        (at(20), 12, OPERATING, None, 0),  # a walk-on
        (at(20), 13, None, True, 0),  # open, wait unknown
        (at(20), 14, DOWN, None, 60),
        (at(20), 15, CLOSED, None, None),
        (at(20), 16, OPERATING, None, 400),
        source=Source.THEMEPARKS_WIKI,
    )
    assert looks(at(20)) == (6, 4, 1, 1, 15.0, 25, Source.THEMEPARKS_WIKI)


@pytest.mark.usefixtures("comet")
def test_a_late_reading_joins_those_of_its_slot() -> None:
    put((at(20), 10, None, True, 10), (at(20) + 900, 10, None, True, 40))
    put((at(20), 11, None, True, 35))
    assert looks(at(20)) == (2, 2, 0, 0, 22.5, 35, Source.QUEUE_TIMES)
    assert looks(at(20) + 900)[:2] == (1, 1)


def test_a_slot_of_shows_alone_is_no_slot_of_the_park() -> None:
    store_catalog([park()], [ride(category=Category.SHOW)], NOW)
    put((at(20), 10, OPERATING, None, 5))
    assert ParkActivitySnapshot.select().count() == 0


@pytest.mark.usefixtures("comet")
def test_a_suspect_slot_has_no_readings_and_is_sound_with_some() -> None:
    new = NewSlot(at(20, 12), interval_minutes=MINUTES, now=NOW)
    assert new.store_suspect(1, [(10, None, False, None), (11, None, True, 5)], Source.QUEUE_TIMES)
    assert looks(at(20, 12)) == (2, 1, 0, 1, 5.0, 5, Source.QUEUE_TIMES)
    assert ParkActivitySnapshot.get().is_suspect is True
    assert RideStatusSnapshot.select().count() == 0
    put((at(20, 12), 11, None, True, 10))
    assert looks(at(20, 12)) == (1, 1, 0, 0, 10.0, 10, Source.QUEUE_TIMES)
    assert ParkActivitySnapshot.get().is_suspect is False
    again = NewSlot(at(20, 12), interval_minutes=MINUTES, now=NOW)
    assert not again.store_suspect(1, [(10, None, False, None)], Source.QUEUE_TIMES)
    assert ParkActivitySnapshot.get().is_suspect is False


@pytest.mark.usefixtures("comet")
def test_last_operated_only_rises() -> None:
    put((at(19, 9), 10, OPERATING, None, None), (at(19, 10), 10, DOWN, None, None), (at(19, 9), 11, None, False, None))
    assert Ride.get(Ride.ride_id == 10).last_operated_at == datetime.fromtimestamp(at(19, 9), UTC)
    assert Ride.get(Ride.ride_id == 11).last_operated_at is None
    put((at(18, 9), 10, OPERATING, None, None), (at(18, 9), 11, None, None, 5))
    assert [epoch(r.last_operated_at) for r in Ride.select().order_by(Ride.ride_id) if r.last_operated_at] == [
        at(19, 9),
        at(18, 9),
    ]
    assert Ride.get(Ride.ride_id == 10).updated_at == NOW


# --- readings: what they make known ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("comet")
def test_readings_of_today_move_the_current_revision_only() -> None:
    computed(*may(18, 19))
    current, history = revisions()
    put((at(20, 4), 10, OPERATING, None, None), (at(20, 12), 10, OPERATING, None, None))
    assert revisions() == ((current or 0) + 1, history)
    assert (state.get_state(state.NEWEST_SLOT), dirty()) == (at(20, 12), [])
    assert state.get_state(state.INTERVAL) == MINUTES


@pytest.mark.usefixtures("comet")
def test_readings_of_the_past_move_the_history_and_not_the_newest_slot_back() -> None:
    put((at(20, 12), 10, OPERATING, None, None))
    current, history = revisions()
    put((at(19, 12), 10, OPERATING, None, None))
    assert revisions() == (current, (history or 0) + 1)
    assert state.get_state(state.NEWEST_SLOT) == at(20, 12)


@pytest.mark.usefixtures("comet")
def test_late_readings_make_their_local_day_and_six_more_dirty() -> None:
    computed(*may(*range(1, 20)), version=1)
    computed(*may(7), version=2)
    put((at(5, 12), 10, OPERATING, None, None))
    assert dirty() == [5, 6, 7, 7, *range(8, 13)]  # 04:00 on the 5th to 04:00 on the 6th, and six days after each


@pytest.mark.usefixtures("comet")
def test_the_small_hours_belong_to_the_local_day_before() -> None:
    computed(*may(*range(1, 20)))
    put((at(5, 3), 10, OPERATING, None, None))
    assert dirty() == list(range(4, 12))


def test_a_local_day_of_the_far_east_lies_in_two_pacific_days() -> None:
    store_catalog([park(timezone="Asia/Tokyo")], [ride()], NOW)
    computed(*may(*range(1, 20)))
    put((at(5, 14), 10, OPERATING, None, None))  # 06:00 on the 6th in Tokyo, whose day began at 12:00 on the 5th here
    assert dirty() == list(range(5, 13))


def test_readings_of_today_that_fill_a_local_day_that_is_over_reach_back() -> None:
    store_catalog([park(timezone="Asia/Tokyo")], [ride()], NOW)
    computed(*may(18, 19))
    _, history = revisions()
    evening = datetime(2025, 5, 20, 22, 0, tzinfo=UTC)  # 15:00 in California, 07:00 the next day in Tokyo
    put((at(20, 2), 10, OPERATING, None, None), now=evening)
    assert dirty() == [19]
    assert revisions()[1] == (history or 0) + 1


@pytest.mark.usefixtures("comet")
def test_days_that_were_computed_later_than_the_writers_clock_become_dirty() -> None:
    computed(*may(15, 16))  # at NOW, the 20th
    before = revisions()[1] or 0
    put((at(15, 12), 10, DOWN, None, None), now=NOW - timedelta(days=10))  # a replayed clock: not late by it
    assert dirty() == [15, 16]
    assert (revisions()[1] or 0) > before


@pytest.mark.usefixtures("comet")
def test_a_late_correction_that_says_the_same_makes_nothing_dirty() -> None:
    put((at(5, 12), 10, OPERATING, None, None))
    computed(*may(*range(1, 20)))
    put((at(5, 12), 10, OPERATING, None, None))
    assert dirty() == []
    put((at(5, 12), 10, DOWN, None, None))
    assert dirty() == list(range(5, 13))


@pytest.mark.usefixtures("comet")
def test_readings_after_now_are_stored() -> None:
    assert put((at(25), 10, OPERATING, None, 5)) == Stored(1, 0, 0)


# --- readings that nobody sees yet -----------------------------------------------------------------------------------


@pytest.fixture
def two_parks(database: Any) -> None:
    """Park 2 with ride 20 in Tokyo, beside park 1 with ride 10 in California; 11:45 was seen of both."""
    tokyo = park(2, "Paper Crane", timezone="Asia/Tokyo")
    store_catalog([park(), tokyo], [ride(), ride(20, "Whirl", 2)], NOW)
    for park_id, ride_id in (1, 10), (2, 20):
        put((at(20, 11, 45), ride_id, OPERATING, None, None), park_id=park_id)


def shown() -> set[int | None]:
    """The live slots of the parks."""
    tallies = Tallies(NOW)
    return {live.live_slot(tallies, park) for park in tallies.universe.parks.values()}


@pytest.mark.usefixtures("two_parks")
def test_a_slot_is_seen_of_all_parks_at_once_and_as_one_revision() -> None:
    current, history = revisions()
    for park_id, ride_id in (1, 10), (2, 20):
        collect((at(20, 12), ride_id, CLOSED, None, None), park_id=park_id)
        assert (revisions(), state.get_state(state.NEWEST_SLOT)) == ((current, history), at(20, 11, 45))
        assert shown() == {at(20, 11, 45)}
    publish()
    assert (revisions(), state.get_state(state.NEWEST_SLOT)) == (((current or 0) + 1, history), at(20, 12))
    assert shown() == {at(20, 12)}
    publish()
    assert revisions() == ((current or 0) + 1, history)  # nothing is left to be seen


@pytest.mark.usefixtures("two_parks")
def test_what_was_seen_before_is_made_known_at_once() -> None:
    current, history = revisions()
    collect((at(20, 11, 45), 10, DOWN, None, None), (at(20, 12), 10, DOWN, None, None))
    assert revisions() == ((current or 0) + 1, history)
    assert state.get_state(state.NEWEST_SLOT) == at(20, 11, 45)


@pytest.mark.usefixtures("two_parks")
def test_the_next_slot_shows_what_a_killed_collector_left_and_days_computed_without_it_are_dirty() -> None:
    collect((at(20, 23, 45), 10, OPERATING, None, None))
    after_midnight = NOW + timedelta(hours=13)
    computed(*may(19, 20), now=after_midnight)
    assert dirty() == []
    collect((at(21, 0, 45), 20, OPERATING, None, None), park_id=2, now=after_midnight)
    publish(after_midnight)
    assert dirty() == [20]
    assert state.get_state(state.NEWEST_SLOT) == at(21, 0, 45)


@pytest.mark.usefixtures("two_parks")
def test_who_shows_a_newer_slot_makes_known_what_others_left_unseen() -> None:
    collect((at(20, 23, 45), 10, OPERATING, None, None))
    after_midnight = NOW + timedelta(hours=13)
    computed(*may(19, 20), now=after_midnight)
    history = revisions()[1]
    put((at(21, 0, 45), 20, OPERATING, None, None), park_id=2, now=after_midnight)
    assert dirty() == [20]
    assert (revisions()[1] or 0) > (history or 0)


def test_before_anything_was_shown_nothing_is_seen() -> None:
    store_catalog([park()], [ride()], NOW)
    collect((at(20, 11), 10, OPERATING, None, None))
    assert Tallies(NOW).held == (0, 0)
    assert health.data_collection(Settings(), NOW)["status"] == "no_data"
    publish()
    assert Tallies(NOW).held == (at(20, 11), at(20, 11) + 1)
    assert health.data_collection(Settings(), NOW)["age_minutes"] == 60


# --- two at once -----------------------------------------------------------------------------------------------------


def test_two_writers_each_move_the_revision(settings: Settings) -> None:
    store_catalog([park(), park(2, "Cove")], [ride(), ride(20, "Swing", 2)], NOW)
    current, history = revisions()
    failures: list[BaseException] = []
    start = threading.Barrier(2)

    def write(park_id: int, ride_id: int) -> None:
        try:
            start.wait()
            for step in range(10):
                put((at(19) + step * 900, ride_id, OPERATING, None, step), park_id=park_id)
                put((at(20, 9) + step * 900, ride_id, OPERATING, None, step), park_id=park_id)
        except BaseException as error:
            failures.append(error)
        finally:
            door.db.close()

    threads = [threading.Thread(target=write, args=pair) for pair in ((1, 10), (2, 20))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert revisions() == ((current or 0) + 20, (history or 0) + 20)
    assert RideStatusSnapshot.select().count() == 40
    assert state.get_state(state.NEWEST_SLOT) == at(20, 9) + 9 * 900


def test_two_catalogs_at_once_make_one(settings: Settings) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(3)

    def write() -> None:
        try:
            start.wait()
            store_catalog([park(queue_times_id=6)], [ride(number, f"Ride {number}") for number in range(10, 20)], NOW)
        except BaseException as error:
            failures.append(error)
        finally:
            door.db.close()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (Park.select().count(), Ride.select().count()) == (1, 10)


# --- dirty days against the truth ------------------------------------------------------------------------------------


class Arrivals:
    """A random world, and what to hold back of it: `late` is a few hours of one ride, a date's hours, or a tier."""

    def __init__(self, seed: int, late: str) -> None:
        self.world, self.now = random_world(seed, days=10)
        chance = random.Random(seed)
        rides = [row for row in self.world.rides if row.category == "ATTRACTION"]
        self.late_ride = chance.choice(rides) if late != "hours" else None
        self.late_from = chance.choice(self.world.readings).slot if late == "readings" else None
        dates = sorted({(row.park_id, row.schedule_date) for row in self.world.schedules})
        self.late_date = chance.choice(dates) if late == "hours" and dates else None

    def store(self, *, late: bool) -> None:
        """Bring in everything but what is late, or also that."""
        now, minutes = instant(self.now), self.world.interval_minutes
        store_catalog(*self._catalog(late), now)
        for row in self.world.parks:
            openings = [
                Opening(day, ScheduleType[kind], opening_at or 0, closing_at or 0)
                for park_id, day, kind, opening_at, closing_at in self.world.schedules
                if park_id == row.park_id and (late or (park_id, day) != self.late_date)
            ]
            store_schedules(row.park_id, openings, now)
            ride_ids = {record.ride_id for record in self.world.rides if record.park_id == row.park_id}
            readings = [
                (said.slot, said.ride_id, Status[said.status] if said.status else None, said.is_open, said.wait)
                for said in self.world.readings
                if said.ride_id in ride_ids and (late or not self._is_late(said))
            ]
            store_readings(row.park_id, readings, source=Source.SIMULATION, interval_minutes=minutes, now=now)

    def _is_late(self, said: Reading) -> bool:
        if self.late_from is None or self.late_ride is None or said.ride_id != self.late_ride.ride_id:
            return False
        return 0 <= said.slot - self.late_from < 6 * 3600

    def _catalog(self, late: bool) -> tuple[list[ParkRecord], list[RideRecord]]:
        parks = [
            park(row.park_id, row.name, park_type=ParkType[row.park_type.upper()], timezone=row.timezone)
            for row in self.world.parks
        ]
        rides = [
            ride(row.ride_id, row.name, row.park_id, tier=row.tier, category=Category[row.category])
            for row in self.world.rides
        ]
        number = next((n for n, row in enumerate(self.world.rides) if row == self.late_ride), None)
        if late and self.late_from is None and number is not None:
            rides[number] = rides[number]._replace(tier=1 if rides[number].tier == 3 else 3)
        return parks, rides


def statistics() -> list[list[tuple[str, ...]]]:
    """Daily rows without the time they were computed at."""
    tables = (DailyStats, DailyParkStats)
    return [sorted(tuple(map(str, row[:-1])) for row in door.fetch(table.select())) for table in tables]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("late", ["readings", "hours", "tier"])
def test_what_comes_late_makes_every_day_dirty_that_it_changes(seed: int, late: str) -> None:
    arrivals = Arrivals(seed, late)
    arrivals.store(late=False)
    aggregate(instant(arrivals.now))
    arrivals.store(late=True)
    aggregate(instant(arrivals.now))
    found = statistics()
    StatDay.delete().execute()
    aggregate(instant(arrivals.now))
    assert found == statistics()
    assert all(found)
