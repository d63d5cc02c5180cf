"""One slot of readings, now: what the parks' sources say of each ride."""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from service.feeds.simulation import World
from service.jobs.catalog import Catalog
from service.jobs.demo import SCHEDULED_AHEAD, known_world, world_key
from service.jobs.joblog import logged
from service.jobs.patience import patiently
from service.jobs.store import publish_slots, store_readings, store_schedules
from service.periods import days_between, epoch, pacific_date
from service.rules import Source

log = logging.getLogger("service.jobs.collect")


class Collector:
    """Collects each slot once. A slot that was missed stays missing: nobody can tell any more what it was like."""

    def __init__(self, interval_minutes: int) -> None:
        self.interval_minutes = interval_minutes
        self._last_slot = 0
        self._scheduled: date | None = None
        self._key: tuple[int, ...] | None = None
        self._simulated: tuple[World, Catalog] | None = None

    def slot(self, now: datetime) -> int:
        """The slot of an instant, in epoch seconds."""
        step = self.interval_minutes * 60
        return epoch(now) // step * step

    def is_due(self, now: datetime) -> bool:
        """Whether the slot of `now` is still to be collected, and there is somebody to ask."""
        if self.slot(now) <= self._last_slot:
            return False
        patiently(partial(self._look, now))
        return self._simulated is not None

    def _look(self, now: datetime) -> None:
        """The world may have changed since."""
        key = world_key()
        if key != self._key:
            self._simulated = known_world(now)
            self._key = key

    def collect(self, now: datetime) -> str | None:
        """Store the slot of `now`, a park a transaction, all seen at once; once a day the hours of the next days."""
        if not self.is_due(now) or self._simulated is None:
            return None
        world, catalog = self._simulated
        slot, today = self.slot(now), pacific_date(now)
        with logged("collect", now, start=today, end=today) as run:
            if self._scheduled != today:
                self._store_schedules(world, catalog, today, now)
            failures: list[Exception] = []
            for source_id, park_id in catalog.park_ids.items():
                said = world.slot_readings(source_id, slot, self.interval_minutes)
                rides = [(at, catalog.ride_ids[ride], *told) for at, ride, *told in said]
                try:
                    run.rows_processed += self._store(park_id, rides, now)
                except ValueError as error:  # of this park alone: the others go on
                    log.exception("The readings of park %s could not be stored", park_id)
                    failures.append(error)
            publish_slots(now)
            if failures:
                raise failures[0]
        self._last_slot, self._scheduled = slot, today
        return f"{run.rows_processed:,} readings of {len(catalog.park_ids)} simulated parks"

    def _store(self, park_id: int, readings: list[tuple[Any, ...]], now: datetime) -> int:
        return store_readings(
            park_id,
            readings,
            source=Source.SIMULATION,
            interval_minutes=self.interval_minutes,
            now=now,
            unseen=True,
        ).stored

    def _store_schedules(self, world: World, catalog: Catalog, today: date, now: datetime) -> None:
        days = list(days_between(today - timedelta(days=1), today + SCHEDULED_AHEAD))
        for source_id, park_id in catalog.park_ids.items():
            store_schedules(park_id, [row for day in days for row in world.openings(source_id, day)], now)
