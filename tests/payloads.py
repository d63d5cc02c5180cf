"""Answers of public sources, made up, with the traits that real ones have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from service.errors import Unanswered

Body = bytes | Exception
NAMES = ("Comet", "Swing", "Gale", "Otter Run", "Lantern", "Quarry", "Nimbus", "Heron")


def iso(seconds: int | datetime) -> str:
    """An instant as the sources write it."""
    at = seconds if isinstance(seconds, datetime) else datetime.fromtimestamp(seconds, UTC)
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def wiki_ride(
    number: int, status: str = "OPERATING", wait: int | None = None, updated: int | datetime | None = None, **more: Any
) -> dict[str, Any]:
    """An attraction in live data; its id is `ride-{number}`."""
    queue: dict[str, Any] = {"STANDBY": {} if wait is None else {"waitTime": wait}}
    ride = {
        "id": f"ride-{number}", "name": NAMES[number % len(NAMES)], "entityType": "ATTRACTION", "status": status,
        "queue": queue, **({} if updated is None else {"lastUpdated": iso(updated)}), **more,
    }  # fmt: skip
    return ride


def live(rides: Iterable[Mapping[str, Any]]) -> bytes:
    """Live data of a park, with a show and a restaurant among the attractions."""
    others = [
        {"id": "show-1", "name": "Parade", "entityType": "SHOW", "status": "OPERATING", "showtimes": []},
        {"id": "food-1", "name": "Diner", "entityType": "RESTAURANT", "status": "OPERATING"},
    ]
    return json.dumps({"id": "park", "entityType": "PARK", "liveData": [*others, *rides]}).encode()


def queue_ride(
    number: int, is_open: bool = True, wait: int = 0, updated: int | datetime | None = None
) -> dict[str, Any]:
    """A ride at Queue-Times; its id is `number`."""
    ride = {"id": number, "name": NAMES[number % len(NAMES)], "is_open": is_open, "wait_time": wait}
    return ride if updated is None else {**ride, "last_updated": iso(updated)}


def queues(rides: Iterable[Mapping[str, Any]]) -> bytes:
    """What Queue-Times says of a park: the first ride in a land, the others in none."""
    first, *others = list(rides)
    return json.dumps({"lands": [{"id": 1, "name": "Harbour", "rides": [first]}], "rides": others}).encode()


def asked_of(bodies: Mapping[str, Body]) -> tuple[Callable[[str], bytes], list[str]]:
    """What answers an address by how it ends, and the addresses that were asked."""
    log: list[str] = []

    def ask(url: str) -> bytes:
        log.append(url)
        found = next((body for end, body in bodies.items() if url.endswith(end)), None)
        if found is None:
            raise Unanswered("example.org answered with status 404.")
        if isinstance(found, Exception):
            raise found
        return found

    return ask, log
