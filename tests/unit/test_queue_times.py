"""Queue-Times: what its answers say, what they do not say, and which rows are refused."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from service.errors import BadFeed
from service.feeds import ParkRecord
from service.feeds import queue_times as queues
from service.periods import known_zone
from service.rules import ParkType, counts_as_wait, is_operating

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "fixtures" / "queue-times"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers are not here")

UPDATED = int(datetime.fromisoformat("2024-05-23T18:40:04+00:00").timestamp())


def park(**fields: object) -> dict[str, object]:
    place = {"latitude": "33.77", "longitude": "-118.19", "timezone": "America/Los_Angeles"}
    return {"id": 7, "name": "Lantern Bay", "country": "United States", "continent": "North America", **place, **fields}


def parks_of(*parks: object, company: object = "Herschend Family Entertainment") -> queues.Parks:
    return queues.parks(json.dumps([{"id": 1, "name": company, "parks": list(parks)}]).encode())


def ride(**fields: object) -> dict[str, object]:
    usual = {"id": 10, "name": "Comet", "is_open": True, "wait_time": 25, "last_updated": "2024-05-23T18:40:04.000Z"}
    return {**usual, **fields}


def queues_of(*rides: object, lands: object = ()) -> queues.Queues:
    return queues.queue_times(json.dumps({"lands": lands, "rides": list(rides)}).encode())


# --- parks -----------------------------------------------------------------------------------------------------------


def test_a_park_is_a_record_with_the_ids_of_the_source() -> None:
    assert parks_of(park()) == ([
        ParkRecord(
            7, "Lantern Bay", ParkType.OTHER, "US", "America/Los_Angeles", "Herschend Family Entertainment",
            latitude=33.77, longitude=-118.19, queue_times_id=7,
        )
    ], [])  # fmt: skip


@pytest.mark.parametrize(("company", "park_type", "operator"), [
    ("Walt Disney Attractions", ParkType.DISNEY, "Disney"),
    ("The DISNEY Company", ParkType.DISNEY, "Disney"),
    ("Universal Parks & Resorts", ParkType.UNIVERSAL, "Universal"),
    ("Cedar Fair Entertainment Company", ParkType.OTHER, "Cedar Fair"),
    ("Six Flags Entertainment Corporation", ParkType.OTHER, "Six Flags"),
    ("SeaWorld Parks & Entertainment", ParkType.OTHER, "SeaWorld"),
    ("Merlin Entertainments", ParkType.OTHER, "Merlin Entertainments"),
    ("Other", ParkType.OTHER, None),
])  # fmt: skip
def test_the_company_tells_whose_park_it_is(company: str, park_type: ParkType, operator: str | None) -> None:
    [record] = parks_of(park(name="Universal Disney World"), company=company).parks
    assert (record.park_type, record.operator) == (park_type, operator)


@pytest.mark.parametrize("company", [None, "", 5, ["Walt Disney Attractions"], "W" * 101])
def test_the_parks_of_a_company_without_a_name_are_left_out(company: object) -> None:
    answer = parks_of(park(), company=company)
    assert answer.parks == []
    assert [refusal.field for refusal in answer.refused] == ["name"]


@pytest.mark.parametrize(("country", "code"), [
    ("United States", "US"), ("England", "GB"), ("South Korea", "KR"), ("Hong Kong", "HK"), ("Germany", "DE"),
])  # fmt: skip
def test_countries_are_known_by_name(country: str, code: str) -> None:
    assert parks_of(park(country=country)).parks[0].country == code


@pytest.mark.parametrize("field", ["id", "name", "country", "timezone"])
@pytest.mark.parametrize("value", [None, "", "Atlantis \0", -1, 0, 2**31, 10**40, True, 1.5, [], {}])
def test_a_park_that_cannot_be_stored_is_refused_and_the_others_go_on(field: str, value: object) -> None:
    answer = parks_of(park(**{field: value}), park(id=8))
    assert [record.source_id for record in answer.parks] == [8]
    assert [refusal.field for refusal in answer.refused] == [field]


@pytest.mark.parametrize(("latitude", "longitude", "place", "refused"), [
    ("33.77", "-118.19", (33.77, -118.19), []),
    (33.77, 118, (33.77, -118.0), []),  # nothing of the country lies east
    (None, "", (None, None), []),
    ("91", "-181", (None, None), ["latitude", "longitude"]),
    ("33,77", "nan", (None, None), ["latitude", "longitude"]),
    (True, [118], (None, None), ["latitude", "longitude"]),
])  # fmt: skip
def test_where_a_park_lies(latitude: object, longitude: object, place: object, refused: list[str]) -> None:
    answer = parks_of(park(latitude=latitude, longitude=longitude))
    assert (answer.parks[0].latitude, answer.parks[0].longitude) == place
    assert sorted(refusal.field or "" for refusal in answer.refused) == refused


def test_elsewhere_the_east_is_the_east() -> None:
    assert parks_of(park(country="Japan", longitude="139.88")).parks[0].longitude == 139.88


def test_of_several_parks_with_one_id_the_last_counts() -> None:
    assert [record.name for record in parks_of(park(), park(name="Fog Pier")).parks] == ["Fog Pier"]


def test_a_company_may_have_no_parks() -> None:
    body = json.dumps([{"name": "A"}, {"name": "B", "parks": None}, {"name": "C", "parks": {}}, "D", {"name": "E"}])
    answer = queues.parks(body.encode())
    assert answer.parks == []
    assert [refusal[:2] for refusal in answer.refused] == [
        ("C", "parks is an object, not a list"), ("company 4", "is 'D', not an object"),
    ]


# --- rides -----------------------------------------------------------------------------------------------------------


def test_rides_of_lands_and_of_none_are_one_list() -> None:
    harbour = {"id": 1, "name": " Harbour ", "rides": [ride(), ride(id=11, name="Otter")]}
    answer = queues_of(ride(id=12, name="Kite", is_open=False, wait_time=0), lands=[harbour, {"id": 2, "rides": []}])
    assert answer.rides == [
        (10, "Comet", "Harbour", True, 25, UPDATED),
        (11, "Otter", "Harbour", True, 25, UPDATED),
        (12, "Kite", None, False, 0, UPDATED),
    ]
    assert (answer.single_riders, answer.refused) == ([], [])


@pytest.mark.parametrize("body", [{"rides": [ride()]}, {"lands": [{"name": "Harbour", "rides": [ride()]}]}])
def test_one_of_both_lists_is_enough(body: object) -> None:
    assert len(queues.queue_times(json.dumps(body).encode()).rides) == 1


def test_a_ride_in_both_lists_is_one_ride_in_its_land_as_said_last() -> None:
    answer = queues_of(ride(wait_time=40), lands=[{"name": "Harbour", "rides": [ride()]}])
    assert answer.rides == [(10, "Comet", "Harbour", True, 40, UPDATED)]


def test_a_land_without_a_name_keeps_its_rides() -> None:
    answer = queues_of(lands=[{"name": 5, "rides": [ride()]}, {"name": "Pier", "rides": "none"}, None])
    assert [(one.name, one.land_area) for one in answer.rides] == [("Comet", None)]
    assert [refusal[:2] for refusal in answer.refused] == [
        ("land 1", "name is 5, not a text"),
        ("Pier", "rides is 'none', not a list"),
        ("land 3", "is null, not an object"),
    ]


@pytest.mark.parametrize(("is_open", "wait", "operating", "counts"), [
    (True, 25, True, True),
    (True, 0, True, False),
    (True, None, True, False),
    (False, 0, False, False),
    (False, None, False, False),
    (False, 10, True, True),
    (None, 10, True, True),
])  # fmt: skip
def test_flag_and_wait_are_what_was_said_and_the_rules_say_what_they_mean(
    is_open: bool | None, wait: int | None, operating: bool, counts: bool
) -> None:
    answer = queues_of(ride(is_open=is_open, wait_time=wait))
    [one] = answer.rides
    assert (one.is_open, one.wait_time, answer.refused) == (is_open, wait, [])
    assert is_operating(None, one.is_open, one.wait_time) == operating
    assert counts_as_wait(None, one.is_open, one.wait_time) == counts


@pytest.mark.parametrize("wait", [-5, 481, 995, 10**30, "25", True, 2.5, [5]])
def test_a_wait_that_cannot_be_meant_is_dropped_and_reported(wait: object) -> None:
    answer = queues_of(ride(wait_time=wait))
    assert [(one.is_open, one.wait_time) for one in answer.rides] == [(True, None)]
    [refusal] = answer.refused
    assert (refusal.what, refusal.field, refusal.source_id) == ("Comet", "wait_time", 10)


@pytest.mark.parametrize(
    ("is_open", "wait"), [(None, None), (None, 0), ("", None), ("true", 0), (1, None), (None, 995)]
)
def test_a_ride_of_which_nothing_is_said_is_no_reading(is_open: object, wait: object) -> None:
    answer = queues_of(ride(is_open=is_open, wait_time=wait), ride(id=11))
    assert [one.queue_times_id for one in answer.rides] == [11]
    assert answer.refused[-1].reason == "is_open is missing, and so is a wait: that says nothing"


@pytest.mark.parametrize("text", ["now", "2024-05-23", "2024-05-23T18:40:04", 1716489604, {}])
def test_an_instant_that_cannot_be_meant_is_unknown_and_reported(text: object) -> None:
    answer = queues_of(ride(last_updated=text))
    assert (answer.rides[0].updated_at, [refusal.field for refusal in answer.refused]) == (None, ["last_updated"])


def test_single_rider_queues_are_no_rides_but_are_reported() -> None:
    body = [ride(), ride(id=11, name="Comet Single Rider"), ride(id=None, name="Otter single-rider")]
    answer = queues_of(*body[:2], lands=[{"name": "Harbour", "rides": body[2:]}])
    assert [one.name for one in answer.rides] == ["Comet"]
    assert (answer.single_riders, answer.refused) == (["Otter single-rider", "Comet Single Rider"], [])


# --- nonsense --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", ["{}", '{"lands": null}', '{"error": "x"}', "[]", "null", '{"lands": {}, "rides": []}']
)
def test_an_answer_without_rides_is_nonsense(body: str) -> None:
    with pytest.raises(BadFeed, match="of Queue-Times about a park"):
        queues.queue_times(body.encode())


@pytest.mark.parametrize("body", ["{}", "null", "5", '"parks"'])
def test_a_list_of_parks_that_is_none_is_nonsense(body: str) -> None:
    with pytest.raises(BadFeed, match="The list of parks of Queue-Times is .*, not a list"):
        queues.parks(body.encode())


# --- recorded answers ------------------------------------------------------------------------------------------------


@recorded
def test_the_recorded_parks_are_read_whole() -> None:
    answer = queues.parks((RECORDED / "JZXHanta-parks.json").read_bytes())
    types = [record.park_type for record in answer.parks]
    assert (len(types), types.count(ParkType.DISNEY), types.count(ParkType.UNIVERSAL)) == (120, 12, 5)
    assert all(record.latitude and record.longitude and known_zone(record.timezone) for record in answer.parks)
    assert answer.refused == []


@recorded
@pytest.mark.parametrize(("file", "rides", "single_riders", "is_open", "waits"), [
    ("01iwier-queue_times.json", 40, 2, 24, 18),
    ("01iwier-queue_times_wdsp.json", 15, 6, 9, 9),
    ("JZXHanta-epcot.json", 17, 2, 17, 12),
    ("JZXHanta-hollywoodstudios.json", 20, 2, 4, 0),
])  # fmt: skip
def test_recorded_queue_times_are_read_whole(
    file: str, rides: int, single_riders: int, is_open: int, waits: int
) -> None:
    answer = queues.queue_times((RECORDED / file).read_bytes())
    assert (len(answer.rides), len(answer.single_riders), answer.refused) == (rides, single_riders, [])
    assert sum(one.is_open is True for one in answer.rides) == is_open
    assert sum(counts_as_wait(None, one.is_open, one.wait_time) for one in answer.rides) == waits
    assert all(one.land_area and one.updated_at for one in answer.rides)
