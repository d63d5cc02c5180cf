"""Answers of Open-Meteo: the weather of a place, hour by hour."""

from __future__ import annotations

from typing import NamedTuple

from service.feeds.foreign import Refusal

QUESTION = {"timezone": "UTC"}


class Hour(NamedTuple):
    """The weather of the hour that begins at `at` (epoch seconds), in the units of the columns it is stored in."""

    at: int


class Weather(NamedTuple):
    """What `weather` found: hours in order."""

    hours: list[Hour]
    refused: list[Refusal]


def weather(body: bytes) -> Weather:
    """The hours of a place (`/v1/forecast`)."""
    raise NotImplementedError
