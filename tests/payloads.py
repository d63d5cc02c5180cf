"""Answers of public sources, made up, with the traits that real ones have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from service.errors import Unanswered
from service.feeds import ParkRecord, RideRecord
from service.jobs.catalog import store_catalog
from service.rules import ParkType

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


# --- parks that both sources know ------------------------------------------------------------------------------------


def ride_id(park: int, number: int) -> int:
    """Ours, and the same at both sources."""
    return 100 * park + number


def store_parks(
    wiki: Iterable[int], queue_times: Iterable[int] = (), *, rides: int = 6, zone: str = "America/Los_Angeles",
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC),
) -> None:
    """Parks by their numbers, each with as many attractions, known at ThemeParks.wiki and at Queue-Times."""
    of_wiki, of_queues = set(wiki), set(queue_times)
    numbers = sorted(of_wiki | of_queues)
    parks = [
        ParkRecord(
            park, f"Park {park}", ParkType.DISNEY, "US", zone,
            queue_times_id=park if park in of_queues else None,
            themeparks_wiki_id=f"park-{park}" if park in of_wiki else None,
        )
        for park in numbers
    ]  # fmt: skip
    store_catalog(parks, [_record(park, one, of_wiki, of_queues) for park in numbers for one in range(rides)], at)


def _record(park: int, one: int, of_wiki: set[int], of_queues: set[int]) -> RideRecord:
    number = ride_id(park, one + 1)
    return RideRecord(
        number, park, f"Ride {park}-{one + 1}",
        queue_times_id=number if park in of_queues else None,
        themeparks_wiki_id=f"ride-{number}" if park in of_wiki else None,
    )  # fmt: skip


def live_of(park: int, letters: str, updated: int | datetime | None = None, wait: int | None = 20) -> bytes:
    """Live data of a park, a letter a ride: O runs, D is down, C closed, R refurbished, - is not told of."""
    statuses = {"O": "OPERATING", "D": "DOWN", "C": "CLOSED", "R": "REFURBISHMENT"}
    return live(
        wiki_ride(ride_id(park, one), statuses[letter], wait if letter == "O" else None, updated)
        for one, letter in enumerate(letters, 1)
        if letter != "-"
    )


def queues_of(park: int, letters: str, updated: int | datetime | None = None, wait: int = 10) -> bytes:
    """What Queue-Times says of a park, a letter a ride: o is open, c is not."""
    flags = [letter == "o" for letter in letters]
    return queues(queue_ride(ride_id(park, one), flag, wait * flag, updated) for one, flag in enumerate(flags, 1))


def live_path(park: int) -> str:
    """Where a park's live data is, below the address of ThemeParks.wiki."""
    return f"/entity/park-{park}/live"


def queues_path(park: int) -> str:
    """Where a park's waits are, below the address of Queue-Times."""
    return f"/parks/{park}/queue_times.json"
