"""The outages of a ride and of a park in any window, and how long they take. By hand, slots are half an hour and the
park is open 12:00-18:00 Pacific; random worlds are compared with the reference."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from fractions import Fraction
from itertools import product
from math import ceil
from typing import Any

import pytest
from integration.test_ride_details import MONDAY, TODAY, TUESDAY, YESTERDAY, a_ride, at
from wsgi_client import Client

import reference as ref
from factories import World, random_world
from service import clock, rules
from service.config import Settings
from service.jobs import daily
from service.models import RideStatusSnapshot
from service.periods import instant, iso_utc
from service.queries import Row
from service.web import app as web

RIDE, PARK = "/api/rides/1/outages", "/api/parks/1/outages"


@pytest.fixture
def client(database: Any, settings: Settings) -> Client:
    return Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=30)))


def ask(client: Client, path: str, now: int, start: int | None = None, end: int | None = None, **more: object) -> Row:
    """The answer at `now`; instants are epoch seconds."""
    clock.replay(instant(now))
    given = {name: iso_utc(value) for name, value in (("start", start), ("end", end)) if value is not None}
    response = client.get(path + "?" + "&".join(f"{name}={value}" for name, value in {**given, **more}.items()))
    assert response.status == 200, response.json
    return response.json


def listed(client: Client, path: str, now: int, start: int | None = None, end: int | None = None) -> list[Any]:
    """Start and end (UTC, without the month), minutes; None is the end of what is ongoing."""
    rows = ask(client, path, now, start, end)["data"]
    assert all(row["ongoing"] == (row["end"] is None) for row in rows)
    return [(row["start"][8:16], row["end"] and row["end"][8:16], row["minutes"]) for row in rows]


# --- which outages ---------------------------------------------------------------------------------------------------


def test_outages_are_whole_and_newest_first(client: Client) -> None:
    a_ride({YESTERDAY: "ODDDDDOODOOO", TODAY: "ODOOOOOOOOOO"})
    found = [("11T19:30", "11T20:00", 30), ("10T23:00", "10T23:30", 30), ("10T19:30", "10T22:00", 150)]
    assert listed(client, RIDE, at(20)) == listed(client, PARK, at(20)) == found


def test_answer_says_its_span_and_what_of_it_is_held(client: Client) -> None:
    a_ride({YESTERDAY: "OOOOOOOOOOOO", TODAY: "ODDO"})
    assert ask(client, RIDE, at(14)) | {"attribution": {}} == {
        "success": True,
        "data": [{
            "ride_id": 1, "start": "2025-06-11T19:30:00Z", "end": "2025-06-11T20:30:00Z", "minutes": 60,
            "ongoing": False, "kind": "told",
        }],
        "statistics": {
            "count": 1, "p50_minutes": 60, "p75_minutes": 60, "p90_minutes": 60,
            "back_within_count": 1, "back_within": {"15": 0.0, "30": 0.0, "60": 1.0},
        },
        "total": 1,
        "span": {"start": "2025-05-12T21:00:00Z", "end": "2025-06-11T21:00:00Z", "label": "May 12 - Jun 11, 2025"},
        "covered": {"start": "2025-06-10T19:00:00Z", "end": "2025-06-11T21:00:00Z"},
        "attribution": {},
        "timestamp": "2025-06-11T21:00:00Z",
    }


def test_an_outage_across_midnight_is_one(client: Client) -> None:
    a_ride({YESTERDAY: "OODDDDOO"}, hours=(22, 26))  # down from 23:00 to 01:00
    once = [("11T06:00", "11T08:00", 120)]
    for path in (RIDE, PARK):
        assert listed(client, path, at(20)) == once
        assert listed(client, path, at(20), at(0, YESTERDAY), at(0)) == once
        assert listed(client, path, at(20), at(0), at(24)) == once
        assert ask(client, path, at(20))["statistics"]["count"] == 1


def test_a_local_day_that_lies_in_two_pacific_days_is_judged_once(client: Client, database: Any) -> None:
    world = World(30)
    park = world.park("disney", "Asia/Tokyo")
    ride = world.ride(park)
    for back in range(1, 11):
        start = at(18, TODAY - timedelta(days=back))  # from 10:00 to 22:00 in Tokyo, over Pacific midnight
        world.open(park, TODAY - timedelta(days=back - 1), start, start + 12 * 3600)
        world.day_of(ride, "ODDO" + "O" * 8 + "DDDOOOOOOOOO", start)
    world.store()
    sent: list[str] = []
    database.query_hooks.append(lambda event: sent.append(event.sql))
    assert len(ask(client, PARK, at(20))["data"]) == 20
    found = [sql for sql in sent if "ride_status_snapshots" in sql and "BETWEEN" in sql]
    assert len(found) <= 3 * 10  # its counts on both sides of midnight, and the readings that may be outages


def test_half_an_hour_of_silence_does_not_end_an_outage(client: Client) -> None:
    a_ride({YESTERDAY: "OD.DO.D..DOO"})
    assert listed(client, RIDE, at(20)) == [
        ("10T23:30", "11T00:00", 30),
        ("10T22:00", "10T22:30", 30),
        ("10T19:30", "10T21:00", 60),  # of which half an hour is unknown
    ]


def test_what_a_feed_tells_and_what_is_inferred(client: Client) -> None:
    a_ride({YESTERDAY: "CCOOCCOODDCCOOCC"}, park_type="other")
    rows = ask(client, RIDE, at(20))["data"]
    assert [(row["start"][8:16], row["minutes"], row["kind"]) for row in rows] == [
        ("10T23:00", 60, "told"),  # only of what happened until closing time; it does not reopen before
        ("10T21:00", 60, "inferred"),
    ]


def test_a_told_slot_makes_an_outage_told(client: Client) -> None:
    a_ride({YESTERDAY: "OOCDCOOOOOOO"}, park_type="other")
    assert [(row["minutes"], row["kind"]) for row in ask(client, RIDE, at(20))["data"]] == [(90, "told")]


WINDOWS = [
    (12, 13.5, False),  # half-open: it begins at the end
    (12, 13.5003, True),  # a second later
    (14.5, 18, True),  # in a slot without a reading
    (15.9997, 16, True),
    (16, 18, False),
    (13, 17, True),
    (14, 14.25, True),
]


def test_an_outage_that_touches_the_window_is_listed_whole(client: Client) -> None:
    a_ride({YESTERDAY: "OOODD.DDOOOO"})  # down from 13:30 to 16:00
    for path, (start, end, is_listed) in product((RIDE, PARK), WINDOWS):
        found = [("10T20:30", "10T23:00", 120)] if is_listed else []
        assert listed(client, path, at(20), at(start, YESTERDAY), at(end, YESTERDAY)) == found, (start, end)


def test_an_outage_that_reaches_the_newest_slot_lasts(client: Client) -> None:
    a_ride({TODAY: "OODDDDOO"})
    for path in (RIDE, PARK):
        assert listed(client, path, at(13)) == [("11T20:00", None, 30)]  # the slot of now is seen
        assert listed(client, path, at(13), at(12), at(13)) == [("11T20:00", None, 30)]
        assert listed(client, path, at(14.9)) == [("11T20:00", None, 120)]
        assert listed(client, path, at(15)) == [("11T20:00", "11T22:00", 120)]


def test_an_outage_that_lasts_does_so_until_now(client: Client) -> None:
    a_ride({TODAY: "OODD"})
    assert listed(client, RIDE, at(15.4), at(15.1), at(15.2)) == [("11T20:00", None, 60)]
    assert listed(client, RIDE, at(15.4), at(15.1), at(16)) == [("11T20:00", None, 60)]
    assert listed(client, RIDE, at(15.4), at(15.5), at(16)) == []  # nothing is known of later


def test_an_outage_does_not_outlive_its_feed(client: Client) -> None:
    a_ride({TODAY: "OODD"})
    assert listed(client, RIDE, at(15.5)) == [("11T20:00", None, 60)]
    assert listed(client, RIDE, at(15.6)) == [("11T20:00", "11T21:00", 60)]  # not heard of for two hours
    assert listed(client, RIDE, at(15.6), at(15.1), at(15.2)) == []


def test_a_park_has_the_outages_of_all_its_attractions(client: Client) -> None:
    world = World(30)
    park, other = world.park(), world.park()
    rides = [world.ride(park, is_active=active) for active in (True, False)]
    show, stranger = world.ride(park, category="SHOW"), world.ride(other)
    for ride in (rides[1], show, stranger, rides[0]):
        world.day_of(ride, "OODDOODO"[ride == 1 :], at(12))
    for one in (park, other):
        world.open(one, TODAY, at(12), at(18))
    world.store()
    rows = ask(client, PARK, at(20))["data"]
    assert [(row["ride_id"], row["start"][11:16]) for row in rows] == [
        (2, "22:00"), (1, "21:30"), (2, "20:00"), (1, "19:30"),
    ]
    assert [row["ride_id"] for row in ask(client, f"/api/rides/{show}/outages", at(20))["data"]] == [show, show]


def test_of_equally_new_outages_the_one_of_the_least_id_is_first(client: Client) -> None:
    world = World(30)
    park = world.park()
    for _ in range(3):
        world.day_of(world.ride(park), "ODO", at(12))
    world.open(park, TODAY, at(12), at(18))
    world.store()
    assert [row["ride_id"] for row in ask(client, PARK, at(20))["data"]] == [1, 2, 3]
    assert [row["ride_id"] for row in ask(client, PARK, at(20), limit=2)["data"]] == [1, 2]


# --- how long they take ----------------------------------------------------------------------------------------------


def days_before(count: int) -> date:
    return TODAY - timedelta(days=count)


# Minutes: 30, 30, 60, 90, 150 within the 90 days; one of 300 before them.
HISTORY = {
    days_before(91): "OODDDDDDDDDD",
    days_before(80): "ODDDDDODDDOO",
    days_before(40): "ODDODOOOOOOO",
    YESTERDAY: "ODOOOOOOOOOO",
}


def test_statistics_are_of_ninety_days_whatever_the_window(client: Client) -> None:
    a_ride(HISTORY)
    for path, start in ((RIDE, None), (PARK, None), (RIDE, at(0)), (PARK, at(0, days_before(85)))):
        assert ask(client, path, at(20), start)["statistics"] == {
            "count": 5, "p50_minutes": 60, "p75_minutes": 90, "p90_minutes": 150,
            "back_within_count": 5, "back_within": {"15": 0.0, "30": 0.4, "60": 0.6},
        }


def test_an_outage_belongs_to_the_ninety_days_it_begins_in(client: Client) -> None:
    a_ride({days_before(90): "OODDDDDDDDDD"})  # down from 13:00 on
    assert ask(client, RIDE, at(13))["statistics"]["count"] == 1
    assert ask(client, RIDE, at(13.01))["statistics"]["count"] == 0
    assert len(ask(client, RIDE, at(13.01), at(0, days_before(92)), at(0))["data"]) == 1


def test_how_soon_a_ride_is_back_that_is_down_now(client: Client) -> None:
    a_ride(HISTORY | {TODAY: "ODD"})
    found = ask(client, RIDE, at(13.2))["statistics"]  # down for an hour, as 60, 90 and 150 minutes lasted at least
    assert (found["count"], found["p50_minutes"]) == (5, 60)  # that one is not over
    assert (found["back_within_count"], found["back_within"]) == (3, {"15": 0.333, "30": 0.667, "60": 0.667})
    assert ask(client, PARK, at(13.2))["statistics"]["back_within"] == {"15": 0.0, "30": 0.4, "60": 0.6}


def test_nobody_knows_how_long_an_outage_lasts_that_is_longer_than_all(client: Client) -> None:
    a_ride(HISTORY | {TODAY: "ODDDDDDD"})
    assert ask(client, RIDE, at(15.9))["statistics"]["back_within"] == {"15": None, "30": None, "60": None}


def test_a_ride_without_outages_has_no_statistics(client: Client) -> None:
    a_ride({TODAY: "OOOO"})
    for path in (RIDE, PARK):
        found = ask(client, path, at(20))
        assert found["data"] == []
        assert found["statistics"] == {
            "count": 0, "p50_minutes": None, "p75_minutes": None, "p90_minutes": None,
            "back_within_count": 0, "back_within": {"15": None, "30": None, "60": None},
        }


@pytest.mark.parametrize(("values", "percent", "expected"), [
    ([], 50, None), ([7], 1, 7), ([7], 100, 7), ([15, 20, 35, 40, 50], 30, 20), ([15, 20, 35, 40, 50], 40, 20),
    ([15, 20, 35, 40, 50], 50, 35), ([15, 20, 35, 40, 50], 100, 50), ([3, 3, 3, 9], 75, 3), ([3, 3, 3, 9], 76, 9),
    (list(range(1, 101)), 90, 90), (list(range(1, 12)), 90, 10), ([0, 0, 5], 50, 0),
])
def test_nearest_rank(values: list[int], percent: int, expected: int | None) -> None:
    assert rules.percentile({value: values.count(value) for value in values}, percent) == expected


@pytest.mark.parametrize(("lasted", "more", "expected"), [
    (0, 15, Fraction(2, 5)), (0, 14, Fraction(0)), (15, 0, Fraction(2, 5)), (16, 14, Fraction(2, 3)),
    (16, 74, Fraction(1)), (90, 0, Fraction(1)), (91, 60, None),
])
def test_share_that_is_over_soon(lasted: int, more: int, expected: Fraction | None) -> None:
    assert rules.back_within({15: 2, 30: 2, 90: 1}, lasted, more) == expected


# --- what is held, and what is asked ---------------------------------------------------------------------------------


def test_days_without_their_readings_have_no_outages(client: Client) -> None:
    a_ride({MONDAY: "ODDOOOOOOOOO", TUESDAY: "ODOOOOOOOOOO", YESTERDAY: "ODOOOOOOOOOO", TODAY: "OO"})
    daily.aggregate(instant(at(20)))
    assert len(listed(client, RIDE, at(20))) == 3
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < at(0, TUESDAY)).execute()
    found = ask(client, RIDE, at(20))
    assert [row["start"] for row in found["data"]] == ["2025-06-10T19:30:00Z"]
    # The day of the oldest reading may lack what was removed, where days before it have statistics.
    assert found["covered"] == {"start": "2025-06-04T07:00:00Z", "end": "2025-06-11T20:00:00Z"}
    assert found["statistics"]["count"] == 1


COVERED = [
    (10, 11, (None, None)),
    (10, 12, (None, None)),
    (10, 12.5, (12, 12.5)),
    (12.25, 12.5, (12.25, 12.5)),
    (13, 20, (13, 14)),  # the last reading holds for its slot
    (14, 15, (None, None)),
    (21, 22, (None, None)),
]


def test_covered_is_the_part_of_the_window_that_is_held(client: Client) -> None:
    a_ride({TODAY: "OOOO"})
    for start, end, covered in COVERED:
        found = ask(client, PARK, at(15), at(start), at(end))
        expected = [None if hour is None else iso_utc(at(hour)) for hour in covered]
        assert [found["covered"]["start"], found["covered"]["end"]] == expected, (start, end)
        assert (found["span"]["start"], found["span"]["end"]) == (iso_utc(at(start)), iso_utc(at(end)))


def test_without_a_start_the_window_is_the_thirty_days_before_its_end(client: Client) -> None:
    a_ride(HISTORY)
    assert listed(client, RIDE, at(20), end=at(20, days_before(39))) == [
        ("02T21:00", "02T21:30", 30), ("02T19:30", "02T20:30", 60),
    ]
    assert listed(client, RIDE, at(20), start=at(0, YESTERDAY)) == [("10T19:30", "10T20:00", 30)]


@pytest.mark.parametrize("path", [RIDE, PARK])
@pytest.mark.parametrize(("query", "named"), [
    ("start=2025-06-01T00:00:00Z&end=2025-06-01T00:00:00Z", "start"),
    ("start=2025-06-02T00:00:00Z&end=2025-06-01T00:00:00Z", "start"),
    ("start=2025-06-12T00:00:00Z", "start"),  # after now
    ("start=2025-03-01T00:00:00Z&end=2025-06-02T00:00:01Z", "93"),
    ("start=2025-01-01T00:00:00Z", "93"),
    ("start=2025-06-01", "start"),
    ("start=2025-06-01T00:00:00", "start"),
    ("end=2025-06-31T00:00:00Z", "end"),
    ("end=yesterday", "end"),
    ("end=", "end"),
    ("limit=0", "limit"),
    ("limit=10001", "limit"),
])
def test_what_cannot_be_asked(monkeypatch: pytest.MonkeyPatch, path: str, query: str, named: str) -> None:
    monkeypatch.setattr(clock, "now", lambda: instant(at(12)))
    response = Client(web.create_app(Settings())).get(f"{path}?{query}")  # it is told without a database
    assert response.status == 400
    assert named in response.json["error"]


def test_the_longest_window(client: Client) -> None:
    a_ride(HISTORY)
    query = "start=2025-03-01T00:00:00%2B02:00&end=2025-06-01T15:00:00-07:00"
    assert client.get(f"{RIDE}?{query}").status == 200  # 93 days and no second more
    assert client.get(f"{RIDE}?{query.replace('15:00:00', '15:00:01')}").status == 400


# --- random worlds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_outages_are_those_of_the_reference(database: Any, settings: Settings, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    oracle, chance = world.reference(now), random.Random(seed)
    client = Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=world.interval_minutes)))
    windows = [(None, None), *(tuple(sorted(chance.sample(range(now - 5 * 86400, now + 7200), 2))) for _ in range(4))]
    for path, rides in places(oracle):
        known = sorted(outages_of(oracle, rides), key=lambda one: (-one.slots[0], one.ride_id))
        for start, end in windows:
            found = ask(client, path, now, start, end)
            until = now + 1 if end is None or end >= now else end
            expected = [one for one in known if touches(oracle, one, start or now - 30 * 86400, until)]
            assert found["data"] == [row(oracle, one) for one in expected], (path, start, end)
            assert found["statistics"] == statistics(oracle, known, is_ride="/rides/" in path)


@pytest.mark.parametrize("seed", range(2))
def test_the_page_of_a_ride_has_the_same_outages(database: Any, settings: Settings, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    client = Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=world.interval_minutes)))
    for ride in world.rides:
        clock.replay(instant(now))
        for period in ("today", "yesterday", "last_week"):
            page = client.get(f"/api/rides/{ride.ride_id}/details?period={period}").json
            events = [(one["start_time"], one["minutes"], one["is_ongoing"]) for one in page["downtime_events"]]
            window = f"start={page['span']['start']}&end={page['span']['end']}"
            found = client.get(f"/api/rides/{ride.ride_id}/outages?{window}").json["data"]
            assert [(one["start"], one["minutes"], one["ongoing"]) for one in found] == events


def places(oracle: ref.Reference) -> Iterator[tuple[str, list[int]]]:
    """Every park and attraction, with the attractions it is made of."""
    for park_id in oracle.parks:
        yield f"/api/parks/{park_id}/outages", [ride.ride_id for ride in oracle.attractions_of(park_id)]
    for ride_id in oracle.attractions:
        yield f"/api/rides/{ride_id}/outages", [ride_id]


def outages_of(oracle: ref.Reference, rides: list[int]) -> set[ref.Outage]:
    """Of all days: random worlds are shorter than two weeks."""
    days = ref.days_between(oracle.today - timedelta(days=14), oracle.today)
    return {one for ride_id in rides for day in days for one in oracle.ride_outages(ride_id, day, ref.pacific_day(day))}


def lasts(oracle: ref.Reference, one: ref.Outage) -> bool:
    live_slot = oracle.live_slot(oracle.attractions[one.ride_id].park_id)
    return live_slot is not None and one.slots[-1] >= live_slot


def touches(oracle: ref.Reference, one: ref.Outage, start: int, end: int) -> bool:
    last = oracle.now if lasts(oracle, one) else one.slots[-1] + oracle.interval - 1
    return one.slots[0] < end and last >= start


def row(oracle: ref.Reference, one: ref.Outage) -> Row:
    ongoing = lasts(oracle, one)
    return {
        "ride_id": one.ride_id,
        "start": iso_utc(one.slots[0]),
        "end": None if ongoing else iso_utc(one.slots[-1] + oracle.interval),
        "minutes": oracle.minutes(len(one.slots)),
        "ongoing": ongoing,
        "kind": "told" if one.told else "inferred",
    }


def statistics(oracle: ref.Reference, known: list[ref.Outage], *, is_ride: bool) -> Row:
    """Over sorted lengths; random worlds are shorter than 90 days."""
    ended = sorted(oracle.minutes(len(one.slots)) for one in known if not lasts(oracle, one))
    running = [oracle.minutes(len(one.slots)) for one in known if lasts(oracle, one)]
    lasted = running[0] if running and is_ride else 0
    as_long = [minutes for minutes in ended if minutes >= lasted]
    shares = {
        more: ref.rounded_or_none(ref.quotient(sum(one <= lasted + more for one in as_long), len(as_long)), 3)
        for more in (15, 30, 60)
    }
    ranks = {percent: ceil(Fraction(percent, 100) * len(ended)) for percent in (50, 75, 90)}
    return {
        "count": len(ended),
        **{f"p{percent}_minutes": ended[rank - 1] if ended else None for percent, rank in ranks.items()},
        "back_within_count": len(as_long),
        "back_within": {str(more): share for more, share in shares.items()},
    }
