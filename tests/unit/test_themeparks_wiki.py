"""ThemeParks.wiki: what its answers say, what they do not say, and which rows are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from service.errors import BadFeed
from service.feeds import themeparks_wiki as wiki
from service.feeds.foreign import Refusal
from service.rules import Category, ScheduleType, Status, opens

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "fixtures" / "themeparks"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers are not here")

PARK = "0a1b2c3d-0000-4000-8000-000000000001"
COMET = "0a1b2c3d-0000-4000-8000-00000000000a"
OTTER = "0a1b2c3d-0000-4000-8000-00000000000b"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def body(**fields: object) -> bytes:
    return json.dumps({"id": PARK, "name": "Lantern Bay", "entityType": "PARK", **fields}).encode()


def entity(**fields: object) -> dict[str, object]:
    usual = {"id": COMET, "name": "Comet", "entityType": "ATTRACTION", "parkId": PARK, "externalId": "77"}
    now = {"status": "OPERATING", "lastUpdated": "2026-04-14T15:00:09Z", "queue": {"STANDBY": {"waitTime": 25}}}
    return {**usual, **now, **fields}


def live_of(*entities: object) -> wiki.Live:
    return wiki.live(body(liveData=list(entities)))


def only(**fields: object) -> wiki.LiveRide:
    [ride] = live_of(entity(**fields)).rides
    return ride


# --- live ------------------------------------------------------------------------------------------------------------


def test_an_attraction_says_status_wait_and_when() -> None:
    assert live_of(entity()) == (
        [wiki.LiveRide(COMET, "Comet", Status.OPERATING, 25, at("2026-04-14T15:00:09+00:00"))], [], {}, [],
    )


@pytest.mark.parametrize("status", list(Status))
def test_every_status_of_the_rules_is_read(status: Status) -> None:
    assert only(status=status.name).status is status


@pytest.mark.parametrize("status", ["BROKEN", "operating", "", None, 1, True, ["DOWN"], {"DOWN": 1}])
def test_an_unknown_status_is_no_reading_but_is_reported(status: object) -> None:
    answer = live_of(entity(status=status), entity(id=OTTER))
    assert [ride.themeparks_wiki_id for ride in answer.rides] == [OTTER]
    [refusal] = answer.refused
    assert (refusal.what, refusal.field, refusal.source_id) == ("Comet", "status", COMET)


def test_a_refusal_names_the_ride_and_what_was_said() -> None:
    [refusal] = live_of(entity(status="BROKEN")).refused
    assert refusal == Refusal(
        "Comet",
        "status 'BROKEN' is unknown: known are OPERATING, DOWN, CLOSED, REFURBISHMENT",
        "status",
        COMET,
    )


@pytest.mark.parametrize(
    "queue",
    [None, {}, {"STANDBY": {}}, {"STANDBY": None}, {"STANDBY": {"waitTime": None}}, {"SINGLE_RIDER": {"waitTime": 5}},
     {"RETURN_TIME": {"state": "AVAILABLE"}}, {"BOARDING_GROUP": {"estimatedWait": None}}],
)  # fmt: skip
def test_a_wait_that_is_not_posted_is_unknown_and_nothing_to_report(queue: object) -> None:
    answer = live_of(entity(queue=queue))
    assert answer.rides[0].wait_time is None
    assert answer.refused == []


def test_an_entity_without_a_queue_has_no_wait() -> None:
    without = {key: value for key, value in entity().items() if key != "queue"}
    assert live_of(without).rides[0].wait_time is None


@pytest.mark.parametrize("wait", [0, 5, 300, 480])
def test_a_plausible_wait_is_kept(wait: int) -> None:
    assert only(queue={"STANDBY": {"waitTime": wait}}).wait_time == wait


@pytest.mark.parametrize("wait", [-1, 481, 995, 10**17, 10**30, "25", True, 25.0, 2.5, [25], {"minutes": 25}])
def test_any_other_wait_is_dropped_and_reported_and_the_status_stays(wait: object) -> None:
    answer = live_of(entity(queue={"STANDBY": {"waitTime": wait}}))
    assert [(ride.status, ride.wait_time) for ride in answer.rides] == [(Status.OPERATING, None)]
    [refusal] = answer.refused
    assert (refusal.what, refusal.field, refusal.source_id) == ("Comet", "waitTime", COMET)


@pytest.mark.parametrize("queue", [[], "STANDBY", 5, {"STANDBY": []}, {"STANDBY": 25}, {"STANDBY": False}])
def test_a_queue_of_another_shape_is_reported_and_the_status_stays(queue: object) -> None:
    answer = live_of(entity(queue=queue))
    assert [(ride.status, ride.wait_time) for ride in answer.rides] == [(Status.OPERATING, None)]
    assert [refusal.what for refusal in answer.refused] == ["Comet"]


@pytest.mark.parametrize(
    "text",
    ["2026-04-14T15:00:09Z", "2026-04-14T15:00:09.647Z", "2026-04-14T15:00:09+00:00", "2026-04-14T11:00:09-04:00",
     "2026-04-15T00:00:09+09:00"],
)  # fmt: skip
def test_an_instant_is_read_with_its_offset(text: str) -> None:
    assert only(lastUpdated=text).updated_at == 1776178809


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-04-14", "2026-04-14T15:00:09", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 0, []]
)
def test_an_instant_that_cannot_be_meant_is_unknown_and_reported(text: object) -> None:
    answer = live_of(entity(lastUpdated=text))
    assert answer.rides[0].updated_at is None
    assert [refusal.field for refusal in answer.refused] == ["lastUpdated"]


def test_an_absent_instant_is_unknown() -> None:
    answer = live_of(entity(lastUpdated=None))
    assert (answer.rides[0].updated_at, answer.refused) == (None, [])


def test_a_value_of_years_ago_is_told_as_such() -> None:
    assert only(lastUpdated="2024-05-14T13:36:04Z").updated_at == at("2024-05-14T13:36:04+00:00")


def test_what_is_no_attraction_is_counted() -> None:
    kinds = ["SHOW", "RESTAURANT", "RESTAURANT", "PARK", "HOTEL"]
    answer = live_of(*[entity(entityType=kind, status="OPEN") for kind in kinds], entity())
    assert len(answer.rides) == 1
    assert answer.others == {"SHOW": 1, "RESTAURANT": 2, "PARK": 1, "HOTEL": 1}
    assert answer.refused == []


def test_a_single_rider_queue_is_no_ride_but_is_reported() -> None:
    answer = live_of(entity(), entity(id=OTTER, name="Comet – Single-Rider", status="NONE"))
    assert [ride.name for ride in answer.rides] == ["Comet"]
    assert answer.single_riders == ["Comet – Single-Rider"]
    assert answer.refused == []


def test_of_several_entities_with_one_id_the_last_counts() -> None:
    answer = live_of(entity(), entity(id=OTTER), entity(id=COMET.upper(), status="DOWN"), entity(status="LOST"))
    assert [(ride.themeparks_wiki_id, ride.status) for ride in answer.rides] == [
        (COMET, Status.DOWN), (OTTER, Status.OPERATING),
    ]


def test_bad_rows_are_refused_by_their_place_and_the_others_go_on() -> None:
    answer = live_of(entity(name=""), 5, None, [], entity(id="not a uuid!"), entity(entityType=None), entity(id=OTTER))
    assert [ride.themeparks_wiki_id for ride in answer.rides] == [OTTER]
    assert [refusal[:2] for refusal in answer.refused] == [
        ("entity 1", "name is missing"),
        ("entity 2", "is 5, not an object"),
        ("entity 3", "is null, not an object"),
        ("entity 4", "is a list, not an object"),
        ("Comet", "id 'not a uuid!' is not a UUID"),
        ("Comet", "entityType is missing"),
    ]


def test_names_are_stored_without_markup_and_blanks() -> None:
    assert only(name=" <b>Star Tours</b>: The Adventures Continue®  ").name == "bStar Tours/b: The Adventures Continue®"


@pytest.mark.parametrize("name", ["Com\0et", "Comet \ud83d", "C" * 256, "<>", 7, ["Comet"]])
def test_a_name_that_cannot_be_stored_is_refused(name: object) -> None:
    answer = live_of(entity(name=name))
    assert (answer.rides, [refusal.field for refusal in answer.refused]) == ([], ["name"])


def test_a_park_without_entities_is_an_answer() -> None:
    assert live_of() == ([], [], {}, [])


# --- destinations and children ---------------------------------------------------------------------------------------


def test_destinations_have_parks_or_none() -> None:
    resort, single = {"id": "r", "name": "Lantern Resort", "slug": "lantern"}, {"id": "s", "name": "Fog Pier"}
    answer = wiki.destinations(json.dumps({"destinations": [
        {**resort, "parks": [{"id": PARK, "name": "Lantern Bay"}, {"id": "w", "name": "Wet Bay"}, {"id": "x"}]},
        {**single, "parks": []},
        {"id": "t", "name": "Nowhere", "parks": None},
        {"id": "u", "name": "Odd", "parks": {}},
    ]}).encode())  # fmt: skip
    assert answer.destinations == [
        ("r", "Lantern Resort", [(PARK, "Lantern Bay"), ("w", "Wet Bay")]),
        ("s", "Fog Pier", []), ("t", "Nowhere", []), ("u", "Odd", []),
    ]
    assert [refusal[:2] for refusal in answer.refused] == [
        ("park of Lantern Resort 3", "name is missing"),
        ("Odd", "parks is an object, not a list"),
    ]


def test_children_are_rides_of_the_category_that_their_type_tells() -> None:
    ride = {"id": COMET, "name": "Comet", "entityType": "ATTRACTION", "parentId": PARK, "externalId": "77;x"}
    answer = wiki.children(body(children=[
        {**ride, "location": {"latitude": 28.5, "longitude": -81, "pointsOfInterest": []}},
        {"id": OTTER, "name": "Otter Parade", "entityType": "SHOW", "location": None},
        {"id": "c", "name": "Fish House", "entityType": "RESTAURANT"},
        {"id": "d", "name": "Comet Single Rider", "entityType": "ATTRACTION"},
    ]))  # fmt: skip
    assert answer.rides == [
        (COMET, "Comet", Category.ATTRACTION, "77;x", PARK, 28.5, -81.0),
        (OTTER, "Otter Parade", Category.SHOW, None, None, None, None),
    ]
    assert (answer.single_riders, answer.others, answer.refused) == (["Comet Single Rider"], {"RESTAURANT": 1}, [])


@pytest.mark.parametrize("location", [
    {"latitude": 91, "longitude": -181}, {"latitude": "north", "longitude": "1e1"}, {"latitude": True, "longitude": []},
])  # fmt: skip
def test_a_place_that_is_none_is_unknown_and_reported(location: object) -> None:
    answer = wiki.children(body(children=[entity(location=location)]))
    assert answer.rides[0][-2:] == (None, None)
    assert [refusal.field for refusal in answer.refused] == ["latitude", "longitude"]


# --- schedules -------------------------------------------------------------------------------------------------------


def hours(start: str | None, end: str | None, kind: object = "OPERATING", on: object = "2026-04-14") -> dict[str, Any]:
    return {"date": on, "type": kind, "openingTime": start, "closingTime": end}


def scheduled(*rows: object, timezone: object = "America/New_York") -> wiki.Schedule:
    return wiki.schedule(body(timezone=timezone, schedule=list(rows)))


def test_a_day_has_several_rows_of_which_only_the_operating_one_opens_the_park() -> None:
    answer = scheduled(
        {**hours("2026-04-14T08:30:00-04:00", "2026-04-14T09:00:00-04:00", "TICKETED_EVENT"), "description": "Early"},
        {**hours("2026-04-14T09:00:00-04:00", "2026-04-14T22:00:00-04:00"), "purchases": [{"price": {"amount": 1}}]},
        hours("2026-04-14T22:00:00-04:00", "2026-04-15T00:00:00-04:00", "EXTRA_HOURS"),
        hours("2026-04-15T02:00:00Z", "2026-04-15T05:00:00Z", "PRIVATE_EVENT"),
    )
    assert answer.timezone == "America/New_York"
    assert [(row.schedule_type.name, row.opening_at, row.closing_at) for row in answer.openings] == [
        ("TICKETED_EVENT", at("2026-04-14T12:30+00:00"), at("2026-04-14T13:00+00:00")),
        ("OPERATING", at("2026-04-14T13:00+00:00"), at("2026-04-15T02:00+00:00")),
        ("EXTRA_HOURS", at("2026-04-15T02:00+00:00"), at("2026-04-15T04:00+00:00")),
        ("PRIVATE_EVENT", at("2026-04-15T02:00+00:00"), at("2026-04-15T05:00+00:00")),
    ]
    assert [opens(*row[1:]) for row in answer.openings] == [False, True, False, False]
    assert {row.schedule_date for row in answer.openings} == {date(2026, 4, 14)}
    assert (answer.unsure_on, answer.refused) == ([], [])


@pytest.mark.parametrize("kind", ["PARTY", "operating", "Operating", None, 1, ["OPERATING"]])
def test_a_row_of_an_unknown_type_opens_nothing_and_leaves_its_date_unsure(kind: object) -> None:
    answer = scheduled(hours("2026-04-14T09:00:00-04:00", "2026-04-14T22:00:00-04:00", kind))
    assert (answer.openings, answer.unsure_on) == ([], [date(2026, 4, 14)])
    assert [refusal.field for refusal in answer.refused] == ["type"]


@pytest.mark.parametrize("kind", ["INFO", "CLOSED", "TICKETED_EVENT"])
def test_a_row_without_hours_is_a_remark_on_its_date(kind: str) -> None:
    [row] = scheduled(hours(None, None, kind)).openings
    midnight = at("2026-04-14T00:00-04:00")
    assert row == (date(2026, 4, 14), ScheduleType[kind], midnight, midnight)
    assert not opens(*row[1:])


@pytest.mark.parametrize(("start", "end"), [
    (None, None),
    ("2026-04-14T09:00:00-04:00", None),
    (None, "2026-04-14T22:00:00-04:00"),
    ("2026-04-14T09:00:00-04:00", "2026-04-14T09:00:00-04:00"),
    ("2026-04-14T22:00:00-04:00", "2026-04-14T02:00:00-04:00"),
    ("2026-04-14T09:00:00-04:00", "2026-04-15T21:00:01-04:00"),
    ("2026-04-16T09:00:00-04:00", "2026-04-16T22:00:00-04:00"),
    ("2026-04-12T09:00:00-04:00", "2026-04-12T22:00:00-04:00"),
    ("9:00", "22:00"),
    ("2026-04-14", "2026-04-14T22:00:00-04:00"),
])  # fmt: skip
def test_hours_that_cannot_be_meant_are_refused_and_leave_their_date_unsure(start: str | None, end: str | None) -> None:
    good = hours("2026-04-15T09:00:00-04:00", "2026-04-15T22:00:00-04:00", on="2026-04-15")
    answer = scheduled(hours(start, end), good)
    assert [row.schedule_date for row in answer.openings] == [date(2026, 4, 15)]
    assert answer.unsure_on == [date(2026, 4, 14)]
    assert len(answer.refused) == 1


def test_an_opening_may_lie_on_the_next_day() -> None:
    [row] = scheduled(hours("2026-04-15T00:00:00-04:00", "2026-04-15T02:00:00-04:00")).openings
    assert (row.schedule_date, row.opening_at) == (date(2026, 4, 14), at("2026-04-15T04:00+00:00"))


def test_the_park_stays_open_through_the_spring_change() -> None:
    [row] = scheduled(hours("2026-03-07T20:00:00-05:00", "2026-03-08T04:00:00-04:00", on="2026-03-07")).openings
    assert row.closing_at - row.opening_at == 7 * 3600


def test_hours_without_an_offset_are_by_the_clocks_of_the_park() -> None:
    row = hours("2026-04-14T09:00:00", "2026-04-14T22:00:00")
    assert scheduled(row).openings[0].opening_at == at("2026-04-14T09:00-04:00")
    assert scheduled(row, timezone="Asia/Tokyo").openings[0].opening_at == at("2026-04-14T09:00+09:00")


@pytest.mark.parametrize(
    "timezone", [None, "", "America/Atlantis", "../../etc/passwd", "a\0b", "\ud800", 5, [], "Z" * 999]
)
def test_without_a_time_zone_only_hours_with_an_offset_are_known(timezone: object) -> None:
    answer = scheduled(
        hours("2026-04-14T09:00:00-04:00", "2026-04-14T22:00:00-04:00"),
        hours("2026-04-15T09:00:00", "2026-04-15T22:00:00", on="2026-04-15"),
        hours(None, None, "INFO", on="2026-04-16"),
        timezone=timezone,
    )
    assert answer.timezone is None
    assert [row.schedule_date for row in answer.openings] == [date(2026, 4, 14)]
    assert answer.unsure_on == [date(2026, 4, 15), date(2026, 4, 16)]


@pytest.mark.parametrize("on", [None, "", "14 April", "2026-02-30", "1226-04-14", "2026-04-14T00:00:00", 20260414, {}])
def test_a_row_without_a_date_is_refused(on: object) -> None:
    answer = scheduled(hours("2026-04-14T09:00:00-04:00", "2026-04-14T22:00:00-04:00", on=on))
    assert (answer.openings, answer.unsure_on) == ([], [])
    assert [refusal.field for refusal in answer.refused] == ["date"]


# --- nonsense --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parse", "key"), [
    (wiki.destinations, "destinations"),
    (wiki.children, "children"),
    (wiki.live, "liveData"),
    (wiki.schedule, "schedule"),
])  # fmt: skip
def test_an_answer_without_its_list_is_nonsense(parse: Callable[[bytes], object], key: str) -> None:
    for fields in ({}, {key: None}, {key: {}}, {key: "[]"}, {"message": "no such entity"}):
        with pytest.raises(BadFeed, match=f"ThemeParks.wiki has no list {key}"):
            parse(json.dumps(fields).encode())
    with pytest.raises(BadFeed, match="is a list, not an object"):
        parse(b"[]")


# --- recorded answers ------------------------------------------------------------------------------------------------


def read(file: str) -> bytes:
    return (RECORDED / file).read_bytes()


@recorded
@pytest.mark.parametrize(("file", "rides", "operating", "down", "waits", "others"), [
    ("py-mk_live.json", 35, 32, 0, 30, 26),
    ("py-null-queue-field.json", 35, 32, 0, 29, 26),
    ("js-mk_live.json", 35, 2, 0, 0, 26),
    ("shoyoyu-tdl_live.json", 37, 29, 2, 27, 0),
    ("shoyoyu-tds_live.json", 34, 30, 0, 28, 0),
])  # fmt: skip
def test_recorded_live_data_is_read_whole(
    file: str, rides: int, operating: int, down: int, waits: int, others: int
) -> None:
    answer = wiki.live(read(file))
    statuses = [ride.status for ride in answer.rides]
    assert len(statuses) == rides
    assert (statuses.count(Status.OPERATING), statuses.count(Status.DOWN)) == (operating, down)
    assert sum(ride.wait_time is not None for ride in answer.rides) == waits
    assert all(ride.updated_at for ride in answer.rides)
    assert (sum(answer.others.values()), answer.single_riders, answer.refused) == (others, [], [])


@recorded
def test_recorded_destinations_are_read_whole() -> None:
    everywhere = wiki.destinations(read("py-destinations.json"))
    assert (len(everywhere.destinations), sum(len(one.parks) for one in everywhere.destinations)) == (101, 127)
    two = wiki.destinations(read("shoyoyu-destinations.json"))
    assert [[park.name for park in one.parks] for one in two.destinations] == [
        ["SeaWorld Orlando", "Aquatica Orlando"], ["Tokyo Disneyland", "Tokyo DisneySea"],
    ]
    assert everywhere.refused == two.refused == []


@recorded
def test_recorded_children_are_read_whole() -> None:
    answer = wiki.children(read("py-mk_children.json"))
    categories = [ride.category for ride in answer.rides]
    assert (categories.count(Category.ATTRACTION), categories.count(Category.SHOW)) == (35, 17)
    assert all(ride.external_id and ride.parent_id and ride.latitude and ride.longitude for ride in answer.rides)
    assert (answer.others, answer.single_riders, answer.refused) == ({"RESTAURANT": 21}, [], [])


@recorded
def test_a_recorded_schedule_is_read_whole() -> None:
    answer = wiki.schedule(read("py-mk_schedule.json"))
    kinds = [row.schedule_type for row in answer.openings]
    assert (answer.timezone, len(kinds)) == ("America/New_York", 69)
    assert (kinds.count(ScheduleType.OPERATING), kinds.count(ScheduleType.TICKETED_EVENT)) == (31, 38)
    assert (answer.unsure_on, answer.refused) == ([], [])


@recorded
@pytest.mark.parametrize("file", ["shoyoyu-live_malformed.json", "py-mk_entity.json"])
def test_a_recorded_answer_of_another_shape_is_nonsense(file: str) -> None:
    with pytest.raises(BadFeed):
        wiki.live(read(file))
