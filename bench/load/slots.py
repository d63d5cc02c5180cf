"""Stores new slots of the simulated world while others measure: the child process of mixed.py and fresh.py.

    python bench/load/slots.py --url mysql://user:password@host/database --count 3 --seconds 60

It simulates the next `--count` slots after the newest one and says when, as a line of JSON: {"slots": [epoch seconds]}.
From the next line of its standard input on it stores one every `--seconds`, in the middle of them, and tells what that
took: {"seconds": 0.8, "readings": 3500}. When the input ends it takes back what it stored, and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from time import monotonic, perf_counter

sys.path.insert(0, str(Path(__file__).parents[2]))

from service import config, database  # noqa: E402
from service.feeds.simulation import SlotReading  # noqa: E402
from service.jobs.demo import known_world  # noqa: E402
from service.jobs.marks import atomically, move_revisions, set_state  # noqa: E402
from service.jobs.store import NewSlot  # noqa: E402
from service.models import ParkActivitySnapshot, Ride, RideStatusSnapshot  # noqa: E402
from service.periods import instant  # noqa: E402
from service.queries import state  # noqa: E402
from service.rules import Source  # noqa: E402

LONGEST_GAP = 100  # slots in which the simulated collector was off

Slot = tuple[int, dict[int, list[SlotReading]]]  # its epoch seconds; readings by park


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="a database with a simulated world")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="between two slots")
    given = parser.parse_args()
    database.open_database(config.Settings(database_url=given.url))
    newest = state.get_state(state.NEWEST_SLOT)
    if newest is None:
        raise SystemExit("The database holds no readings.")
    slots = list(islice(_next_slots(newest), given.count))
    _tell(slots=[slot for slot, _ in slots])
    try:
        _store_in_time(slots, given.seconds)
    finally:
        atomically(lambda: _take_back([slot for slot, _ in slots], newest))
        database.close()


def _next_slots(newest: int) -> Iterator[Slot]:
    """The slots after `newest` of which the simulated feeds say anything."""
    known = known_world(instant(newest))
    if known is None:
        raise SystemExit("The database holds no simulated world: fill one with bench/production.py.")
    world, catalog = known
    interval = state.interval_minutes()
    for slot in islice(count(newest + interval * 60, interval * 60), LONGEST_GAP):
        said = {
            park: [
                (at, catalog.ride_ids[ride], status, is_open, wait)
                for at, ride, status, is_open, wait in world.slot_readings(source, slot, interval)
            ]
            for source, park in catalog.park_ids.items()
        }
        if any(said.values()):
            yield slot, said


def _store_in_time(slots: list[Slot], seconds: float) -> None:
    """Until all are stored and the input ends; at once when that ends before."""
    if not _told_before(None):
        return
    due = monotonic() + seconds / 2
    for slot in slots:
        while due > monotonic():
            if not _told_before(due):
                return
        began = perf_counter()
        readings = _store(*slot)
        _tell(seconds=perf_counter() - began, readings=readings)
        due += seconds
    while _told_before(None):
        pass


def _told_before(due: float | None) -> bool:
    """Wait for something on the input; False when it has ended. True, too, once `due` has come."""
    left = None if due is None else max(due - monotonic(), 0)
    ready, _, _ = select.select([sys.stdin], [], [], left)
    return not ready or bool(os.read(sys.stdin.fileno(), 1024))


def _store(slot: int, said: dict[int, list[SlotReading]]) -> int:
    collected = NewSlot(slot, interval_minutes=state.interval_minutes(), now=instant(slot))
    stored = sum(
        collected.store(park, (reading[1:] for reading in readings), Source.SIMULATION).stored
        for park, readings in said.items()
    )
    collected.publish()
    return stored


def _take_back(slots: list[int], newest: int) -> None:
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time << slots).execute()
    ParkActivitySnapshot.delete().where(ParkActivitySnapshot.snapshot_time << slots).execute()
    Ride.update({Ride.last_operated_at: newest}).where(Ride.last_operated_at > newest).execute()
    set_state(state.NEWEST_SLOT, newest)
    move_revisions(current=True, history=False)


def _tell(**said: object) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
