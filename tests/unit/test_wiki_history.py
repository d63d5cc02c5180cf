"""What ThemeParks.wiki remembers of a day: states in order, and what of them cannot be used."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from service.errors import BadFeed
from service.feeds.foreign import Refusal
from service.feeds.wiki_history import RideHistory, State, history
from service.rules import Status

PARK = "0a1b2c3d-0000-4000-8000-000000000001"
COMET = "0a1b2c3d-0000-4000-8000-00000000000a"
OTTER = "0a1b2c3d-0000-4000-8000-00000000000b"
MIDNIGHT = "2025-05-20T07:00:00Z"
OPERATING, DOWN, CLOSED = Status.OPERATING, Status.DOWN, Status.CLOSED


def at(clock: str) -> int:
    """Epoch seconds of a UTC time on the day."""
    return int(datetime.fromisoformat(f"2025-05-20T{clock}+00:00").timestamp())


def told(clock: str, status: object = "OPERATING", wait: object = None, **more: object) -> dict[str, Any]:
    """A row of a history: the complete state from then on."""
    return {"time": f"2025-05-20T{clock}Z", "status": status, "queue": {"STANDBY": {"waitTime": wait}}, **more}


def comet(*rows: object, **more: object) -> dict[str, Any]:
    """A ride that was closed when the day began."""
    usual = {"id": COMET, "name": "Comet", "entityType": "ATTRACTION", "coverage": {"firstRecordedAt": MIDNIGHT}}
    return {**usual, "opening": told("07:00:00", "CLOSED"), "history": list(rows), **more}


def day(*entities: object, **more: object) -> bytes:
    park = {"id": PARK, "name": "Lantern Bay", "entityType": "PARK", "timezone": "America/Los_Angeles"}
    range_ = {"from": MIDNIGHT, "to": "2025-05-21T07:00:00Z"}
    return json.dumps({**park, "range": range_, "entities": list(entities), "next": None, **more}).encode()


def states(*rows: object, **more: object) -> list[State]:
    [ride] = history(day(comet(*rows, **more))).rides
    return ride.states


def test_a_ride_is_told_by_its_opening_state_and_its_changes() -> None:
    answer = history(day(comet(
        told("16:00:00", "OPERATING", 20, changed=["status", "queue.STANDBY.waitTime"]),
        told("17:40:00", "DOWN", changed=["status", "queue.STANDBY.waitTime"]),
    )))  # fmt: skip
    assert answer == (
        [RideHistory(COMET, "Comet", [
            State(at("07:00:00"), CLOSED, None),
            State(at("16:00:00"), OPERATING, 20),
            State(at("17:40:00"), DOWN, None),
        ])],
        [],
    )  # fmt: skip


def test_a_ride_may_stay_as_it_was_all_day() -> None:
    assert states() == [State(at("07:00:00"), CLOSED, None)]


@pytest.mark.parametrize("status", [None, ""])
def test_nobody_knows_a_state_without_a_status(status: object) -> None:
    answer = history(day(comet(opening=told("07:00:00", status, 5))))
    assert answer.rides[0].states == [State(at("07:00:00"), None, 5)]
    assert answer.refused == []


def test_a_row_is_all_that_is_known_from_then_on() -> None:
    rows = states(told("16:00:00", "OPERATING", 20), {"time": "2025-05-20T17:00:00Z", "status": "OPERATING"})
    assert rows[1:] == [State(at("16:00:00"), OPERATING, 20), State(at("17:00:00"), OPERATING, None)]


def test_states_come_in_order_and_of_two_at_one_instant_the_last_counts() -> None:
    rows = states(told("18:00:00", "DOWN"), told("16:00:00"), told("18:00:00", "OPERATING", 5), told("07:00:00"))
    assert rows == [
        State(at("07:00:00"), OPERATING, None), State(at("16:00:00"), OPERATING, None),
        State(at("18:00:00"), OPERATING, 5),
    ]  # fmt: skip


def test_of_two_rides_with_one_id_the_last_counts() -> None:
    answer = history(day(comet(), comet(name="Comet II", opening=None)))
    assert answer.rides == [RideHistory(COMET, "Comet II", [])]


def test_only_attractions_are_rides_and_single_rider_queues_are_not() -> None:
    answer = history(day(
        comet(entityType="SHOW", showtimes=[]),
        comet(id="c", entityType="RESTAURANT"),
        comet(id="d", name="Comet - Single-Rider"),
        comet(id=OTTER, name="Otter"),
    ))  # fmt: skip
    assert [ride.themeparks_wiki_id for ride in answer.rides] == [OTTER]
    assert answer.refused == []


def test_an_unknown_status_is_nothing_that_is_known_and_is_reported() -> None:
    answer = history(day(comet(told("16:00:00", "BROKEN", 20))))
    assert answer.rides[0].states[1:] == [State(at("16:00:00"), None, 20)]
    [refusal] = answer.refused
    assert (refusal.what, refusal.field) == ("state of Comet 2", "status")
    assert refusal.reason == "status 'BROKEN' is unknown: known are OPERATING, DOWN, CLOSED, REFURBISHMENT"


@pytest.mark.parametrize("wait", [-1, 481, 995, "25", True, 2.5])
def test_a_wait_that_cannot_be_meant_is_refused_alone(wait: object) -> None:
    answer = history(day(comet(told("16:00:00", "OPERATING", wait))))
    assert answer.rides[0].states[1:] == [State(at("16:00:00"), OPERATING, None)]
    assert [refusal.field for refusal in answer.refused] == ["waitTime"]


@pytest.mark.parametrize("time", [None, "", "noon", "2025-05-20", "2025-05-20T16:00", 1747756800, "1225-05-20T07:00Z"])
def test_a_state_without_an_instant_is_refused_and_the_others_stay(time: object) -> None:
    answer = history(day(comet({**told("16:00:00"), "time": time}, told("17:00:00", "DOWN"))))
    assert answer.rides[0].states == [State(at("07:00:00"), CLOSED, None), State(at("17:00:00"), DOWN, None)]
    assert [(refusal.what, refusal.field) for refusal in answer.refused] == [("state of Comet 2", "time")]


@pytest.mark.parametrize("fields", [{"opening": 5}, {"opening": []}, {"history": {}}, {"history": ["x"]}])
def test_what_has_another_shape_is_refused_and_the_ride_stays(fields: dict[str, object]) -> None:
    answer = history(day(comet(**fields)))
    assert (len(answer.rides), len(answer.refused)) == (1, 1)


@pytest.mark.parametrize("fields", [{"id": None}, {"id": "not a UUID!"}, {"name": ""}, {"entityType": None}])
def test_a_ride_that_cannot_be_told_from_others_is_refused(fields: dict[str, object]) -> None:
    answer = history(day(comet(**fields), comet(id=OTTER, name="Otter")))
    assert [ride.themeparks_wiki_id for ride in answer.rides] == [OTTER]
    assert [refusal.field for refusal in answer.refused] == list(fields)


def test_a_day_on_which_nothing_is_remembered_has_no_rides() -> None:
    assert history(day()) == ([], [])


def test_a_further_page_is_reported() -> None:
    answer = history(day(comet(), next="/v1/entity/x/history?page=2"))
    assert answer.refused == [Refusal("Lantern Bay", "next names more of it, which was not asked for", "next", PARK)]
    assert len(answer.rides) == 1


@pytest.mark.parametrize("fields", [{}, {"entities": None}, {"entities": {}}, {"error": {"type": "NOT_FOUND"}}])
def test_an_answer_without_its_list_is_nonsense(fields: dict[str, object]) -> None:
    with pytest.raises(BadFeed, match="A history of ThemeParks.wiki has no list entities"):
        history(json.dumps(fields).encode())


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null"])
def test_an_answer_that_is_no_object_is_nonsense(body: bytes) -> None:
    with pytest.raises(BadFeed, match="A history of ThemeParks.wiki is"):
        history(body)
