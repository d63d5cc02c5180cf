"""What ThemeParks.wiki remembers: the states of a park's attractions on one of its local days."""

from __future__ import annotations

from typing import NamedTuple

from service.feeds.foreign import Refusal
from service.rules import Status


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
    """A park's local day (`/entity/{id}/history?date=`)."""
    raise NotImplementedError
