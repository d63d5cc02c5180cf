"""Fills the database with simulated parks, through the same door as everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from itertools import takewhile
from typing import NamedTuple

from service.database import db
from service.errors import BadRequest
from service.feeds import Opening
from service.feeds.invented import SCALES
from service.feeds.simulation import World
from service.jobs.catalog import Catalog, store_catalog
from service.jobs.marks import set_state
from service.jobs.store import Stored, store_readings, store_schedules
from service.models import RideStatusSnapshot
from service.periods import days_between, epoch, last_days, pacific_date, pacific_day
from service.queries import state
from service.rules import Source

SCHEDULED_AHEAD = timedelta(days=7)

Progress = Callable[[int, int], None]  # readings done, and readings in all; those that the feeds lose are in both


class Report(NamedTuple):
    """What a demo put into the database. `stored` readings are new, `unchanged` ones were there already, `expired` ones
    are past retention and were left out."""

    parks: int
    rides: int
    first_day: date
    last_day: date
    openings: int
    stored: int
    replaced: int
    unchanged: int
    expired: int


def build_demo(
    world: World, days: int, *, interval_minutes: int, now: datetime, force: bool = False, progress: Progress
) -> Report:
    """Store the parks of `world`, their hours up to a week ahead, and the readings of `days` Pacific days up to `now`.

    The same world again changes nothing, and goes on from where the last run ended. Raises BadRequest for a database
    that holds readings, unless `force`; Unavailable for one of another interval.
    """
    if not force:
        ensure_no_readings()
    dates = last_days(pacific_date(now), days)
    _remember(world)
    catalog = store_catalog(world.parks, world.rides, now)
    openings = sum(
        store_schedules(park_id, _schedule(world, source_id, dates), now)
        for source_id, park_id in catalog.park_ids.items()
    )
    counts = _store_days(world, catalog, dates, interval_minutes, now, progress)
    return Report(len(world.parks), len(world.rides), dates[0], dates[-1], openings, *counts)


def known_world(now: datetime) -> tuple[World, Catalog] | None:
    """The world that was simulated last, and its parks and rides as they are stored; None if none ever was."""
    key = world_key()
    if key is None:
        return None
    parks, seed, scale = key
    world = World(parks, seed, SCALES[scale])
    return world, store_catalog(world.parks, world.rides, now)


def world_key() -> tuple[int, int, int] | None:
    """How many parks it has, its seed, and the number of its scale."""
    names = (state.DEMO_PARKS, state.DEMO_SEED, state.DEMO_SCALE)
    found = state.get_states(*names)
    return (found[names[0]], found[names[1]], found[names[2]]) if len(found) == len(names) else None


def _remember(world: World) -> None:
    set_state(state.DEMO_PARKS, len(world.parks))
    set_state(state.DEMO_SEED, world.seed)
    set_state(state.DEMO_SCALE, SCALES.index(world.scale))


def ensure_no_readings() -> None:
    """Raise BadRequest for a database that holds readings, migrated or not."""
    if db.table_exists(RideStatusSnapshot) and RideStatusSnapshot.select().exists():
        raise BadRequest(
            "The database holds readings already, and `cli serve` shows them. --force adds the simulated parks to them,"
            " or brings an earlier demo up to now."
        )


def _schedule(world: World, source_id: int, dates: Sequence[date]) -> list[Opening]:
    """From the local day that reaches into the first Pacific one."""
    posted = days_between(dates[0] - timedelta(days=1), dates[-1] + SCHEDULED_AHEAD)
    return [row for day in posted for row in world.openings(source_id, day)]


def _store_days(
    world: World, catalog: Catalog, dates: Sequence[date], interval: int, now: datetime, progress: Progress
) -> Stored:
    slots = {day: _slots(day, interval, now) for day in dates}
    done, total = 0, sum(slots.values()) * len(world.rides)
    counts = Stored(0, 0, 0)
    for day in dates:
        for source_id, rides in world.rides_of.items():
            one = _store_park_day(world, catalog, source_id, day, interval, now)
            counts = Stored(*(before + more for before, more in zip(counts, one, strict=True)))
            done += slots[day] * len(rides)
            progress(done, total)
    return counts


def _store_park_day(
    world: World, catalog: Catalog, source_id: int, day: date, interval: int, now: datetime
) -> Stored:
    ours, last = catalog.ride_ids, epoch(now)
    seen = takewhile(lambda reading: reading[0] <= last, world.readings(source_id, day, interval))
    return store_readings(
        catalog.park_ids[source_id],
        ((slot, ours[ride], status, is_open, wait) for slot, ride, status, is_open, wait in seen),
        source=Source.SIMULATION,
        interval_minutes=interval,
        now=now,
    )


def _slots(day: date, interval: int, now: datetime) -> int:
    """How many slots of a Pacific day are not after `now`."""
    span = pacific_day(day)
    return (min(span.end, epoch(now) + 1) - span.start + interval * 60 - 1) // (interval * 60)
