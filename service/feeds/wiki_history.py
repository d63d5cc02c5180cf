"""What ThemeParks.wiki remembers: the states of a park's attractions on one of its local days."""

from __future__ import annotations

from typing import NamedTuple

from service.feeds import is_single_rider
from service.feeds.foreign import Refusal, Row, decoded, fields_of, instant, list_in, name, rows, text, wiki_id
from service.feeds.themeparks_wiki import ATTRACTION, STATUS, standby_wait
from service.rules import Status

HISTORY = "A history of ThemeParks.wiki"


class State(NamedTuple):
    """What an attraction did from the instant `at` (epoch seconds) until its next state; None = nobody knows."""

    at: int
    status: Status | None
    wait_time: int | None


class RideHistory(NamedTuple):
    """An attraction and its states in order."""

    themeparks_wiki_id: str
    name: str
    states: list[State]


class History(NamedTuple):
    """What `history` found."""

    rides: list[RideHistory]
    refused: list[Refusal]


def history(body: bytes) -> History:
    """A park's local day (`/entity/{id}/history?date=`): of each attraction its state when the day began, and each
    change of it. Of several with one id the last counts, and of several states at one instant.

    A status that the rules do not know is unknown, and a refusal; a wait that cannot be meant is refused alone. Raises
    BadFeed.
    """
    refused: list[Refusal] = []
    fields = fields_of(decoded(body, HISTORY), HISTORY)
    found = rows(list_in(fields, "entities", HISTORY), "entity", _ride, refused)
    rides = list({ride.themeparks_wiki_id: ride for ride in found}.values())
    answer = Row(fields, "the history", refused)
    if answer.has("next"):
        answer.refuse("next", "names more of it, which was not asked for")
    return History(rides, refused)


def _ride(row: Row) -> RideHistory | None:
    if row.needed("entityType", text) != ATTRACTION:
        return None
    called = row.needed("name", name)
    if is_single_rider(called):
        return None
    wiki = row.needed("id", wiki_id)
    told = [row.fields["opening"]] if row.has("opening") else []
    states = rows([*told, *row.list_of("history")], f"state of {called}", _state, row.refused)
    by_time = {state.at: state for state in states}
    return RideHistory(wiki, called, [by_time[at] for at in sorted(by_time)])


def _state(row: Row) -> State:
    """Every row is all that is known from then on: what it leaves out is unknown, not as it was."""
    return State(row.needed("time", instant), row.spared("status", STATUS), standby_wait(row))
