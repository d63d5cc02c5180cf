"""One slot of all parks: who is asked, what is believed, what is stored, and what is left unknown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from payloads import Body, asked_of, live, queue_ride, queues, wiki_ride

from service import database as door
from service.config import Settings
from service.errors import BadFeed, Silent
from service.feeds import Opening, ParkRecord, RideRecord
from service.jobs.catalog import store_catalog
from service.jobs.collect import LEASE, Busy, Collector, Cycle, NothingCollected, _Crew
from service.jobs.leases import Lease
from service.jobs.store import store_readings, store_schedules
from service.models import AggregationJobLog, DataQualityIssue, JobStatus, Park, ParkActivitySnapshot, Ride
from service.models import RideStatusSnapshot
from service.periods import epoch
from service.queries import catalog, state
from service.queries.days import Tallies
from service.queries.live import parks_now
from service.rules import Category, ParkType, ScheduleType, Source, Status

pytestmark = pytest.mark.usefixtures("database")

NOON = datetime(2026, 3, 4, 20, tzinfo=UTC)  # in Los Angeles
FIVE = timedelta(minutes=5)
FRESH = NOON - timedelta(minutes=2)
BREAKER = Silent("api.example cannot be reached.")
OPERATING, DOWN, CLOSED, REFURBISHMENT = Status


def park(
    number: int = 1, *, wiki: bool = True, queue_times: bool = True, park_type: ParkType = ParkType.DISNEY
) -> None:
    """Park `number` with six attractions and a show, known at these sources by ids that begin with its number."""
    ids = {"queue_times_id": number} if queue_times else {}
    record = ParkRecord(
        number, f"Park {number}", park_type, "US", "America/Los_Angeles",
        **ids, **({"themeparks_wiki_id": f"park-{number}"} if wiki else {}),
    )  # fmt: skip
    rides = [
        RideRecord(
            100 * number + one, number, f"Ride {number}-{one}",
            category=Category.SHOW if one == 7 else Category.ATTRACTION,
            queue_times_id=100 * number + one if queue_times else None,
            themeparks_wiki_id=f"ride-{100 * number + one}" if wiki else None,
        )
        for one in range(1, 8)
    ]  # fmt: skip
    store_catalog([record], rides, NOON - timedelta(days=30))


def opens(number: int = 1, first_hour: float = 9, last_hour: float = 22, day: date = date(2026, 3, 4)) -> None:
    """The park's hours on a day, by the clocks of Los Angeles in winter."""
    midnight = epoch(datetime(day.year, day.month, day.day, 8, tzinfo=UTC))
    row = Opening(day, ScheduleType.OPERATING, midnight + int(first_hour * 3600), midnight + int(last_hour * 3600))
    store_schedules(number, [row], NOON - timedelta(days=1))


def wiki_says(*told: str, number: int = 1, wait: int | None = 20, updated: datetime = FRESH) -> bytes:
    return live(
        wiki_ride(100 * number + one, status, wait if status == "OPERATING" else None, updated)
        for one, status in enumerate(told, 1)
    )


def queue_times_says(*told: bool, number: int = 1, updated: datetime = FRESH) -> bytes:
    return queues(queue_ride(100 * number + one, is_open, 10 * is_open, updated) for one, is_open in enumerate(told, 1))


def collected(bodies: Mapping[str, Body], now: datetime = NOON) -> tuple[Cycle, list[str]]:
    ask, log = asked_of(bodies)
    return Collector(Settings(), ask).cycle(now), log


def readings(now: datetime = NOON) -> dict[int, tuple[Any, ...]]:
    """What is stored of a slot, by ride."""
    shot = RideStatusSnapshot
    found = shot.select(shot.ride_id, shot.status, shot.is_open, shot.wait_time).where(shot.snapshot_time == now)
    return {ride: tuple(said) for ride, *said in door.fetch(found)}


def activity(now: datetime = NOON) -> dict[int, tuple[Any, ...]]:
    """How each park looked: rides, open, down, closed, suspect, source."""
    shot = ParkActivitySnapshot
    columns = (shot.rides_tracked, shot.rides_open, shot.rides_down, shot.rides_closed, shot.is_suspect, shot.source)
    return {row[0]: row[1:] for row in door.fetch(shot.select(shot.park_id, *columns).where(shot.snapshot_time == now))}


def issues() -> list[tuple[Any, ...]]:
    """Every doubt: its matter, ride, source and whether it is over."""
    issue = DataQualityIssue
    found = issue.select(issue.details, issue.ride, issue.data_source, issue.is_resolved).order_by(issue.issue_id)
    return [(details.partition(":")[0], *others) for details, *others in door.fetch(found)]


def live_slots(now: datetime) -> list[int]:
    """The slots that are shown as the parks' present state."""
    tallies = Tallies(now)
    return [park.slot for park in parks_now(tallies, tallies.universe.parks.values()).values()]


WIKI, QUEUE_TIMES = Source.THEMEPARKS_WIKI, Source.QUEUE_TIMES
GOOD = ("OPERATING", "DOWN", "OPERATING", "CLOSED", "REFURBISHMENT", "OPERATING")


# --- what is stored --------------------------------------------------------------------------------------------------


def test_a_slot_has_what_the_preferred_source_says() -> None:
    park()
    opens()
    cycle, asked = collected({"/entity/park-1/live": wiki_says(*GOOD), "queue_times.json": queue_times_says(True)})
    assert asked == ["https://api.themeparks.wiki/v1/entity/park-1/live"]
    assert readings() == {
        101: (OPERATING, None, 20), 102: (DOWN, None, None), 103: (OPERATING, None, 20),
        104: (CLOSED, None, None), 105: (REFURBISHMENT, None, None), 106: (OPERATING, None, 20),
    }  # fmt: skip
    assert activity() == {1: (6, 3, 1, 2, 0, WIKI)}
    assert (cycle.stored, cycle.is_partial, dict(cycle.sources), issues()) == (6, False, {"ThemeParks.wiki": 1}, [])
    assert state.get_state(state.NEWEST_SLOT) == epoch(NOON)


def test_the_slot_is_that_of_the_beginning_of_the_cycle() -> None:
    park()
    now = NOON + timedelta(minutes=4, seconds=59)
    collected({"live": wiki_says(*GOOD)}, now)
    assert len(readings(NOON)) == 6


def test_where_the_preferred_source_fails_the_other_is_asked_and_both_are_credited() -> None:
    for number in (1, 2):
        park(number)
        opens(number)
    cycle, _ = collected({
        "park-1/live": wiki_says(*GOOD), "park-2/live": Silent("api.example did not answer in time."),
        "parks/2/queue_times.json": queue_times_says(True, False, True, True, number=2),
    })  # fmt: skip
    assert readings()[201] == (None, True, 10)
    assert readings()[202] == (None, False, 0)
    assert (activity()[1][-1], activity()[2][-1]) == (WIKI, QUEUE_TIMES)
    assert cycle.sentences() == ["ThemeParks.wiki: api.example did not answer in time (Park 2)."]
    assert not cycle.is_partial
    named = catalog.attribution(NOON)["sources"]
    assert [source["name"] for source in named] == ["ThemeParks.wiki", "Queue-Times.com"]  # type: ignore[attr-defined]


def test_a_failing_park_stops_no_other() -> None:
    park(1)
    park(2, queue_times=False)
    cycle, _ = collected({"park-1/live": wiki_says(*GOOD), "park-2/live": b"<html>"})
    assert set(activity()) == {1}
    assert cycle.unheard == ["Park 2"]
    assert issues() == [("Bad answer", None, WIKI, False)]
    run = AggregationJobLog.get()
    assert (run.status, run.warnings, run.rows_processed) == (JobStatus.SUCCESS, 1, 6)


def test_a_fault_of_ours_in_one_park_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    park(1)
    park(2, queue_times=False)
    ask, _ = asked_of({"park-1/live": wiki_says(*GOOD), "park-2/live": RuntimeError("a bug")})
    cycle = Collector(Settings(), ask).cycle(NOON)
    assert (set(activity()), cycle.unheard) == ({1}, ["Park 2"])


def test_a_ride_that_is_not_in_the_catalog_is_counted_and_nothing_else() -> None:
    park()
    cycle, _ = collected({"live": live([wiki_ride(101, updated=FRESH), wiki_ride(999, updated=FRESH)])})
    assert (set(readings()), cycle.strangers) == ({101}, 1)


def test_collecting_a_slot_again_changes_nothing() -> None:
    park()
    opens()
    collected({"live": wiki_says(*GOOD)})
    before = state.get_states(state.REVISION_CURRENT, state.REVISION_HISTORY, state.NEWEST_SLOT)
    cycle, _ = collected({"live": wiki_says(*GOOD)}, NOON + timedelta(minutes=2))
    assert (cycle.stored, cycle.unchanged) == (0, 6)
    assert state.get_states(state.REVISION_CURRENT, state.REVISION_HISTORY, state.NEWEST_SLOT) == before


def test_a_slot_that_is_collected_again_with_other_words_shows_them_at_once() -> None:
    park()
    collected({"live": wiki_says(*GOOD)})
    before = state.get_state(state.REVISION_CURRENT) or 0
    cycle, _ = collected({"live": wiki_says("DOWN", *GOOD[1:])}, NOON + timedelta(minutes=2))
    assert (cycle.replaced, readings()[101]) == (1, (DOWN, None, None))
    assert state.get_state(state.REVISION_CURRENT) == before + 1


# --- nobody answers --------------------------------------------------------------------------------------------------


def test_where_no_source_can_be_reached_nothing_is_stored_and_each_source_has_one_sentence() -> None:
    for number in range(1, 9):
        park(number)
    ask, log = asked_of({"live": BREAKER, "queue_times.json": Silent("queues.example cannot be reached.")})
    with pytest.raises(NothingCollected) as raised:
        Collector(Settings(), ask, threads=1).cycle(NOON)
    assert raised.value.cycle.sentences() == [
        "ThemeParks.wiki: api.example cannot be reached (8 parks).",
        "Queue-Times: queues.example cannot be reached (8 parks).",
    ]  # fmt: skip
    assert len(log) == 6  # three of each: then the host is given up on
    assert (readings(), activity(), issues(), state.get_state(state.NEWEST_SLOT)) == ({}, {}, [], None)
    assert state.get_state(state.INTERVAL) is None
    assert AggregationJobLog.get().status == JobStatus.FAILED


def test_a_host_that_answers_now_and_then_is_not_given_up_on() -> None:
    for number in range(1, 9):
        park(number, queue_times=False)
    bodies: dict[str, Body] = {f"park-{number}/live": BREAKER for number in range(1, 9)}
    bodies |= {f"park-{number}/live": wiki_says(*GOOD, number=number) for number in (3, 6)}
    ask, log = asked_of(bodies)
    cycle = Collector(Settings(), ask, threads=1).cycle(NOON)
    assert len(log) == 8
    assert len(cycle.unheard) == 6


# --- whom it asks ----------------------------------------------------------------------------------------------------


def test_a_closed_park_is_asked_about_every_half_hour() -> None:
    park(1)
    opens(1, 9, 11)
    ask, log = asked_of({"live": wiki_says(*["CLOSED"] * 6)})
    collector = Collector(Settings(), ask)
    slots = [NOON + number * FIVE for number in range(12)]
    idle = [collector.cycle(now).idle for now in slots]
    assert (len(log), sum(idle), idle[0]) == (3, 9, 0)  # at once, for nothing is known of it


def test_a_park_is_asked_about_around_its_hours_and_without_hours_always() -> None:
    park(1)
    park(2)
    opens(1, 9, 12)  # closed since a minute
    ask, log = asked_of({f"park-{number}/live": wiki_says(*["CLOSED"] * 6, number=number) for number in (1, 2)})
    collector = Collector(Settings(), ask)
    for number in range(5):
        collector.cycle(NOON + number * FIVE)
    assert len(log) == 10


def test_inactive_parks_and_parks_without_a_source_are_not_asked_about() -> None:
    park(1, wiki=False, queue_times=False)
    ask, log = asked_of({})
    assert not Collector(Settings(), ask).is_due(NOON)
    assert log == []


def test_a_slot_is_collected_once_also_when_another_process_has_done_it() -> None:
    park()
    ask, log = asked_of({"live": wiki_says(*GOOD)})
    first, second = Collector(Settings(), ask), Collector(Settings(), ask)
    assert first.collect(NOON) == "6 readings: ThemeParks.wiki of 1 park"
    assert first.collect(NOON + timedelta(minutes=1)) is None
    assert second.collect(NOON + timedelta(minutes=1)) is None
    assert len(log) == 1
    assert second.collect(NOON + FIVE) is not None


# --- what is not believed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("park_type", [ParkType.DISNEY, ParkType.OTHER])
def test_all_closed_while_the_schedule_says_open_is_no_outage(park_type: ParkType) -> None:
    park(queue_times=False, park_type=park_type)
    opens()
    ask, _ = asked_of({"live": wiki_says(*["OPERATING"] * 6)})
    Collector(Settings(), ask).cycle(NOON)
    cycle, _ = collected({"live": wiki_says(*["CLOSED"] * 6)}, NOON + FIVE)
    assert readings(NOON + FIVE) == {}
    assert activity(NOON + FIVE) == {1: (6, 0, 0, 6, 1, WIKI)}
    assert cycle.suspect == {"Park 1": ["All closed"]}
    assert issues() == [("All closed", None, WIKI, False)]
    collected({"live": wiki_says(*["OPERATING"] * 6)}, NOON + 2 * FIVE)
    assert issues() == [("All closed", None, WIKI, True)]
    assert live_slots(NOON + 2 * FIVE) == [epoch(NOON + 2 * FIVE)]


def test_of_a_suspect_slot_the_one_before_is_live() -> None:
    park(queue_times=False)
    opens()
    collected({"live": wiki_says(*GOOD)})
    collected({"live": wiki_says(*["CLOSED"] * 6)}, NOON + FIVE)
    assert live_slots(NOON + FIVE) == [epoch(NOON)]


def test_where_one_source_is_not_believed_the_other_is_asked() -> None:
    park()
    opens()
    bodies = {"live": wiki_says(*["CLOSED"] * 6), "queue_times.json": queue_times_says(*[True] * 6)}
    cycle, asked = collected(bodies)
    assert len(asked) == 2
    assert activity() == {1: (6, 6, 0, 0, 0, QUEUE_TIMES)}
    assert (cycle.suspect, cycle.instead) == ({}, {"Park 1": ["All closed"]})
    assert (dict(cycle.sources), issues()) == ({"Queue-Times": 1}, [("All closed", None, WIKI, False)])


@pytest.mark.parametrize(
    ("hours", "told"),
    [
        ((9, 22), ["DOWN", *["CLOSED"] * 5]),
        ((12, 22), ["CLOSED"] * 6),
        ((9, 12.25), ["CLOSED"] * 6),
        ((14, 22), ["CLOSED"] * 6),
        ((9, 22), ["CLOSED"] * 3),
    ],
    ids=["one is told down", "just opened", "about to close", "not open yet", "too few to tell"],
)
def test_all_closed_is_believed_where_it_can_be(hours: tuple[Any, Any], told: list[str]) -> None:
    park()
    opens(1, *hours)
    slots = [NOON, NOON + FIVE, NOON + 2 * FIVE, NOON + 3 * FIVE, NOON + 4 * FIVE, NOON + 5 * FIVE]
    for now in slots if hours[0] == 14 else slots[:1]:
        collected({"live": wiki_says(*told)}, now)
    assert {row[4] for now in slots for row in activity(now).values()} == {0}


def test_far_fewer_rides_than_the_day_before_are_not_believed_for_a_day() -> None:
    park(queue_times=False)
    opens()
    collected({"live": wiki_says(*["OPERATING"] * 6)}, NOON)
    for later in (FIVE, timedelta(hours=5)):
        cycle, _ = collected({"live": wiki_says("OPERATING", "OPERATING", updated=NOON + later)}, NOON + later)
        assert cycle.suspect == {"Park 1": ["Rides missing"]}
    assert readings(NOON + FIVE) == {}
    collected({"live": wiki_says(*["OPERATING"] * 3)}, NOON + 2 * FIVE)
    assert set(readings(NOON + 2 * FIVE)) == {101, 102, 103}  # half of them is few, not far fewer
    day_after = NOON + timedelta(hours=24, minutes=15)
    cycle, _ = collected({"live": wiki_says("OPERATING", "OPERATING", updated=day_after)}, day_after)
    assert cycle.suspect == {}


def test_a_frozen_feed_is_not_believed() -> None:
    park(queue_times=False)
    opens()
    frozen = wiki_says(*["OPERATING"] * 5, "DOWN", updated=NOON)
    ask, _ = asked_of({"live": frozen})
    collector = Collector(Settings(), ask)
    for minutes in range(0, 75, 5):
        collector.cycle(NOON + timedelta(minutes=minutes))
    suspect = [minutes for minutes in range(0, 75, 5) if activity(NOON + timedelta(minutes=minutes))[1][4]]
    assert suspect == [65, 70]
    assert issues() == [("Frozen", None, WIKI, False)]


def test_an_old_status_without_waits_is_no_frozen_feed() -> None:
    park()
    opens()
    old = NOON - timedelta(hours=6)
    collected({"live": live(wiki_ride(100 + one, "OPERATING", None, old) for one in range(1, 7))})
    assert len(readings()) == 6


def test_a_breakdown_that_is_told_for_days_is_not_believed_and_an_old_other_status_is() -> None:
    park()
    opens()
    old = NOON - timedelta(hours=25)
    rides = [
        wiki_ride(101, "DOWN", None, old),
        wiki_ride(102, "OPERATING", None, old),
        wiki_ride(103, "CLOSED", None, old),
        wiki_ride(104, "DOWN", None, NOON - timedelta(hours=23)),
        wiki_ride(105, "DOWN"),
    ]
    collected({"live": live(rides)})
    assert readings() == {
        102: (OPERATING, None, None), 103: (CLOSED, None, None), 104: (DOWN, None, None), 105: (DOWN, None, None),
    }  # fmt: skip
    assert issues() == [("Stale", 101, WIKI, False), ("Stale", 102, WIKI, False)]


def test_a_flag_that_was_not_refreshed_for_half_an_hour_is_unknown() -> None:
    park(wiki=False)
    opens()
    rides = [
        queue_ride(101, True, 5, NOON - timedelta(minutes=30)),
        queue_ride(102, False, 0, NOON - timedelta(minutes=31)),
        queue_ride(103, True, 5, FRESH),
    ]
    collected({"queue_times.json": queues(rides)})
    assert set(readings()) == {101, 103}
    assert issues() == [("Stale", 102, QUEUE_TIMES, False)]


def test_a_feed_of_old_flags_alone_is_suspect() -> None:
    park(wiki=False)
    opens()
    cycle, _ = collected({"queue_times.json": queue_times_says(*[False] * 4, updated=NOON - timedelta(hours=9))})
    assert (readings(), cycle.suspect) == ({}, {"Park 1": ["All closed", "Frozen"]})


def test_nothing_is_doubted_of_a_closed_park() -> None:
    park(1, wiki=False)
    opens(1, 14, 22)
    old = NOON - timedelta(hours=9)
    for number in range(6):
        collected({"queue_times.json": queue_times_says(*[False] * 6, updated=old)}, NOON + number * FIVE)
    assert (issues(), RideStatusSnapshot.select().count()) == ([], 0)


# --- doubts ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_used_is_reported_once_a_day_and_the_rest_of_the_ride_is_stored() -> None:
    park()
    opens()
    rides = [wiki_ride(101, "OPERATING", 995), wiki_ride(102, "BROKEN"), wiki_ride(103)]
    for minutes in (0, 5, 10):
        collected({"live": live(rides)}, NOON + timedelta(minutes=minutes))
    assert readings() == {101: (OPERATING, None, None), 103: (OPERATING, None, None)}
    assert issues() == [("Not used", 101, WIKI, False), ("Not used", 102, WIKI, False)]
    collected({"live": live(wiki_ride(one, updated=FRESH) for one in (101, 102, 103))}, NOON + 3 * FIVE)
    assert [resolved for *_, resolved in issues()] == [True, True]
    opens(1, day=date(2026, 3, 5))
    later = NOON + timedelta(hours=24, minutes=5)
    collected({"live": live(rides)}, later)
    collected({"live": live(rides)}, later + FIVE)
    assert [resolved for *_, resolved in issues()] == [True, True, False, False]


def test_a_doubt_that_lasts_is_said_again_after_a_day() -> None:
    park()
    for day in (4, 5):
        opens(1, day=date(2026, 3, day))
    rides = [wiki_ride(101, "BROKEN"), wiki_ride(102)]
    for hours in (0, 1, 25, 26):
        collected({"live": live(rides)}, NOON + timedelta(hours=hours))
    assert issues() == [("Not used", 101, WIKI, True), ("Not used", 101, WIKI, False)]


def test_a_doubt_about_a_source_that_is_not_asked_any_more_is_over_after_a_day() -> None:
    park()
    for day in (4, 5):
        opens(1, day=date(2026, 3, day))
    rides = queues([queue_ride(101, True, 995), queue_ride(102)])
    collected({"live": BREAKER, "queue_times.json": rides})
    for hours in (1, 23, 24):
        assert issues() == [("Not used", 101, QUEUE_TIMES, False)]
        later = NOON + timedelta(hours=hours)
        collected({"live": wiki_says(*GOOD, updated=later)}, later)
    assert issues() == [("Not used", 101, QUEUE_TIMES, True)]


def test_entities_that_are_others_each_time_do_not_fill_the_list_of_doubts() -> None:
    park()
    opens()
    for number in range(6):
        broken = [wiki_ride(1000 * number + one, "BROKEN") for one in range(1000, 1008)]
        collected({"live": live([*broken, wiki_ride(101)])}, NOON + number * FIVE)
    assert len(issues()) == 24


def test_a_time_in_the_future_hides_no_frozen_feed() -> None:
    park(queue_times=False)
    opens()
    rides = [wiki_ride(100 + one, "OPERATING", 20, NOON) for one in range(1, 6)]
    tomorrow = wiki_ride(106, "OPERATING", 20, NOON + timedelta(days=1))
    cycle, _ = collected({"live": live([*rides, tomorrow])}, NOON + timedelta(minutes=65))
    assert cycle.suspect == {"Park 1": ["Frozen"]}


def test_collecting_a_suspect_slot_again_changes_nothing() -> None:
    park(queue_times=False)
    opens()
    collected({"live": wiki_says(*["CLOSED"] * 6)})
    before = state.get_states(state.REVISION_CURRENT, state.NEWEST_SLOT)
    collected({"live": wiki_says(*["CLOSED"] * 6)}, NOON + timedelta(minutes=1))
    assert state.get_states(state.REVISION_CURRENT, state.NEWEST_SLOT) == before
    assert activity() == {1: (6, 0, 0, 6, 1, WIKI)}
    collected({"live": wiki_says(*["CLOSED"] * 5)}, NOON + timedelta(minutes=2))
    assert activity() == {1: (5, 0, 0, 5, 1, WIKI)}


def test_a_broken_answer_does_not_fill_the_list_of_doubts() -> None:
    park()
    opens()
    collected({"live": live([*(wiki_ride(one, "BROKEN") for one in range(1000, 1500)), wiki_ride(101)])})
    assert len(issues()) == 20


def test_an_answer_that_cannot_be_read_is_a_doubt_until_one_can() -> None:
    park(1)
    park(2)
    unreadable = BadFeed("Live data of ThemeParks.wiki is not JSON: it begins with '<'.")
    sound = {"queue_times.json": queue_times_says(*[True] * 6), "park-2/live": wiki_says(*GOOD, number=2)}
    collected({"park-1/live": unreadable, **sound})
    assert issues() == [("Bad answer", None, WIKI, False)]
    collected({f"park-{number}/live": wiki_says(*GOOD, number=number) for number in (1, 2)}, NOON + FIVE)
    assert issues() == [("Bad answer", None, WIKI, True)]


# --- what else goes on -----------------------------------------------------------------------------------------------


def test_a_park_whose_rides_only_the_other_source_knows_is_asked_about_there() -> None:
    park(wiki=False)
    Park.update({Park.themeparks_wiki_id: "park-1"}).execute()
    cycle, asked = collected({"live": live([]), "queue_times.json": queue_times_says(*[True] * 6)})
    assert [url.rpartition("/")[2] for url in asked] == ["queue_times.json"]
    assert (len(readings()), cycle.is_partial) == (6, False)


def test_a_park_without_rides_says_that_the_catalog_lacks_them() -> None:
    park()
    Ride.delete().execute()
    cycle, _ = collected({"live": wiki_says(*GOOD)})
    assert (cycle.strangers, cycle.unheard, cycle.suspect) == (6, [], {})


@pytest.mark.parametrize("stuck", [
    {"live": live([wiki_ride(101, "DOWN", None, NOON - timedelta(days=3)),
                   *(wiki_ride(100 + one, "CLOSED", None, FRESH) for one in range(2, 7))])},
    {"queue_times.json": queues([queue_ride(101, True, 5, NOON - timedelta(hours=1)),
                                 *(queue_ride(100 + one, False, 0, FRESH) for one in range(2, 7))])},
], ids=["told down for days", "an old flag"])  # fmt: skip
def test_a_ride_that_is_not_believed_hides_nothing(stuck: dict[str, Body]) -> None:
    park(wiki="live" in stuck, queue_times="live" not in stuck)
    opens()
    cycle, _ = collected(stuck)
    assert (cycle.suspect, readings()) == ({"Park 1": ["All closed"]}, {})


def test_a_flag_does_not_replace_the_status_of_a_slot() -> None:
    park()
    collected({"live": wiki_says("DOWN", *["OPERATING"] * 4)})
    cycle, _ = collected({"live": BREAKER, "queue_times.json": queue_times_says(*[False] * 6)})
    assert (readings()[101], readings()[102]) == ((DOWN, None, None), (OPERATING, None, 20))
    assert (cycle.stored, cycle.replaced, readings()[106]) == (1, 0, (None, False, 0))


def test_rides_that_are_no_attractions_any_more_are_not_missed() -> None:
    park(queue_times=False)
    opens()
    collected({"live": wiki_says(*["OPERATING"] * 6)})
    Ride.update({Ride.category: Category.EXPERIENCE}).where(Ride.ride_id > 102).execute()
    cycle, _ = collected({"live": wiki_says(*["OPERATING"] * 6)}, NOON + FIVE)
    assert (cycle.suspect, activity(NOON + FIVE)[1][:2]) == ({}, (2, 2))


def test_while_another_process_collects_nothing_is_due_for_a_moment() -> None:
    park()
    ask, log = asked_of({"live": wiki_says(*GOOD)})
    collector = Collector(Settings(), ask)
    lease = Lease(LEASE)
    lease.owner = "elsewhere:1:a"
    assert lease.take()
    try:
        assert collector.is_due(NOON)
        assert collector.collect(NOON) is None
        assert not collector.is_due(NOON + timedelta(seconds=14))
        with pytest.raises(Busy, match="Another process collects at the moment: try again in a minute."):
            collector.once(NOON, lambda done, total: None)
    finally:
        lease.release()
    assert collector.is_due(NOON + timedelta(seconds=15))
    assert collector.collect(NOON + timedelta(seconds=15)) is not None
    assert len(log) == 1


def test_what_an_import_knows_of_a_slot_does_not_stop_it_from_being_collected() -> None:
    park(1)
    park(2)
    store_readings(1, [(epoch(NOON), 101, OPERATING, None, 5)], source=WIKI, interval_minutes=5, now=NOON)
    cycle, _ = collected({"park-1/live": wiki_says(*GOOD), "park-2/live": wiki_says(*GOOD, number=2)})
    assert len(readings()) == 12
    assert state.get_state(state.COLLECTED_SLOT) == epoch(NOON)


def test_a_cycle_that_begins_late_in_its_slot_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    park()
    seconds: list[float] = []
    monkeypatch.setattr(_Crew, "next", lambda crew, left: seconds.append(left))
    for late in (0, 200, 299):
        with pytest.raises(NothingCollected, match="No park could be collected in time."):
            collected({"live": wiki_says(*GOOD)}, NOON + timedelta(seconds=late))
    assert [round(left) for left in seconds] == [240, 100, 30]


def test_of_a_host_that_was_given_up_on_one_answer_has_to_come_before_others_are_asked() -> None:
    for number in range(1, 7):
        park(number)
    bodies: dict[str, Body] = {"live": BREAKER}
    for number in range(1, 7):
        bodies[f"parks/{number}/queue_times.json"] = queue_times_says(*[True] * 6, number=number)
    ask, log = asked_of(bodies)
    collector = Collector(Settings(), ask, threads=1)
    for minutes, asked in ((0, 3), (5, 1), (10, 1)):
        log.clear()
        assert collector.cycle(NOON + timedelta(minutes=minutes)).sources == {"Queue-Times": 6}
        assert sum("live" in url for url in log) == asked
    for number in range(1, 7):
        bodies[f"park-{number}/live"] = wiki_says(*GOOD, number=number)
    bodies["live"] = bodies.pop("live")  # asked last
    assert collector.cycle(NOON + timedelta(minutes=15)).sources == {"ThemeParks.wiki": 6}


def test_a_source_stays_credited_while_answers_tell_of_its_readings() -> None:
    park()
    collected({"live": BREAKER, "queue_times.json": queue_times_says(*[True] * 6)})
    collected({"live": wiki_says(*GOOD)}, NOON + FIVE)

    def credited(now: datetime) -> list[str]:
        return [source["name"] for source in catalog.attribution(now)["sources"]]  # type: ignore[attr-defined]

    assert credited(NOON) == ["Queue-Times.com"]
    assert credited(NOON + FIVE) == credited(NOON + timedelta(days=31)) == ["ThemeParks.wiki", "Queue-Times.com"]
    assert credited(NOON + timedelta(days=31, seconds=1)) == ["ThemeParks.wiki"]
