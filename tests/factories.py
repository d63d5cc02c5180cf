"""Arranging data: one line a park, a ride, a day; and random worlds to compare with the reference."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import date, timedelta

import reference as ref
from service import rules
from service.database import db, upsert
from service.models import Park, ParkActivitySnapshot, ParkSchedule, Ride, RideStatusSnapshot, ServiceState
from service.periods import instant
from service.queries import state

LONG_AGO = instant(0)
LETTERS = {  # a slot of a ride: one letter; anything else is no reading
    "O": ("OPERATING", None, None),
    "D": ("DOWN", None, None),
    "C": ("CLOSED", None, None),
    "R": ("REFURBISHMENT", None, None),
    "o": (None, True, 0),
    "c": (None, False, 0),
}


class World:
    """A small data set as plain records, to be stored and to be given to the reference alike."""

    def __init__(self, interval_minutes: int = 30) -> None:
        self.interval_minutes = interval_minutes
        self.parks: list[ref.Park] = []
        self.rides: list[ref.Ride] = []
        self.schedules: list[ref.Schedule] = []
        self.readings: list[ref.Reading] = []

    def park(self, park_type: str = "disney", zone: str = "America/Los_Angeles", *, is_active: bool = True) -> int:
        """Add a park; its id."""
        park_id = len(self.parks) + 1
        self.parks.append(ref.Park(park_id, f"Park {park_id}", park_type, zone, is_active, "Town", "ST", "US", park_id))
        return park_id

    def ride(
        self, park_id: int, *, tier: int | None = None, category: str = "ATTRACTION", is_active: bool = True
    ) -> int:
        """Add a ride; its id."""
        ride_id = len(self.rides) + 1
        self.rides.append(ref.Ride(ride_id, park_id, f"Ride {ride_id}", category, tier, is_active, 100 + ride_id))
        return ride_id

    def open(self, park_id: int, day: date, opening: int, closing: int, kind: str = "OPERATING") -> None:
        """Add a row to a park's schedule."""
        self.schedules.append(ref.Schedule(park_id, day, kind, opening, closing))

    def day_of(self, ride_id: int, letters: str, start: int, waits: Iterable[int | None] = ()) -> None:
        """Add a ride's readings from `start` on, one letter a slot (see LETTERS), with waits for the first of them."""
        posted = list(waits)
        for number, letter in enumerate(letters):
            if letter in LETTERS:
                status, is_open, wait = LETTERS[letter]
                wait = posted[number] if number < len(posted) else wait
                slot = start + number * self.interval_minutes * 60
                self.readings.append(ref.Reading(ride_id, slot, status, is_open, wait))

    def reference(self, now: int) -> ref.Reference:
        """The oracle for this world."""
        return ref.Reference(self.interval_minutes, self.parks, self.rides, self.schedules, self.readings, now)

    def store(self) -> None:
        """Put everything into the open database, as it is."""
        with db.atomic():
            _store_parks(self.parks)
            _store_rides(self.rides)
            _store_schedules(self.schedules)
            _store_readings(self)
            _set(state.INTERVAL, self.interval_minutes)
            _set(state.NEWEST_SLOT, max((reading.slot for reading in self.readings), default=0))
            _set(state.REVISION_HISTORY, 1)


def _store_parks(parks: list[ref.Park]) -> None:
    columns = [
        Park.park_id,
        Park.name,
        Park.park_type,
        Park.timezone,
        Park.is_active,
        Park.city,
        Park.state_province,
        Park.country,
        Park.queue_times_id,
        Park.created_at,
        Park.updated_at,
    ]
    found = [
        (*park[:2], rules.ParkType[park.park_type.upper()], *park[3:], LONG_AGO, LONG_AGO) for park in parks
    ]
    upsert(Park, columns, found, key=columns[:1])


def _store_rides(rides: list[ref.Ride]) -> None:
    columns = [
        Ride.ride_id,
        Ride.park,
        Ride.name,
        Ride.category,
        Ride.tier,
        Ride.is_active,
        Ride.queue_times_id,
        Ride.created_at,
        Ride.updated_at,
    ]
    found = [(*ride[:3], rules.Category[ride.category], *ride[4:], LONG_AGO, LONG_AGO) for ride in rides]
    upsert(Ride, columns, found, key=columns[:1])


def _store_schedules(schedules: list[ref.Schedule]) -> None:
    table = ParkSchedule
    columns = [
        table.park,
        table.schedule_date,
        table.schedule_type,
        table.opening_at,
        table.closing_at,
        table.fetched_at,
    ]
    found = [(*row[:2], rules.ScheduleType[row.schedule_type], *row[3:], LONG_AGO) for row in schedules]
    upsert(table, columns, found, key=columns[:4])


def _store_readings(world: World) -> None:
    table, activity = RideStatusSnapshot, ParkActivitySnapshot
    columns = [table.ride_id, table.snapshot_time, table.status, table.is_open, table.wait_time]
    found = [
        (row.ride_id, row.slot, rules.Status[row.status] if row.status else None, row.is_open, row.wait)
        for row in world.readings
    ]
    upsert(table, columns, found, key=columns[:2])
    park_of = {ride.ride_id: ride.park_id for ride in world.rides if ride.category == "ATTRACTION"}
    slots = {(park_of[row.ride_id], row.slot) for row in world.readings if row.ride_id in park_of}
    counts = [
        activity.park_id,
        activity.snapshot_time,
        activity.rides_tracked,
        activity.rides_open,
        activity.rides_down,
        activity.rides_closed,
        activity.is_suspect,
        activity.source,
    ]
    rows = [(park_id, slot, 1, 0, 0, 0, False, rules.Source.THEMEPARKS_WIKI) for park_id, slot in sorted(slots)]
    upsert(activity, counts, rows, key=counts[:2])


def _set(name: str, value: int) -> None:
    upsert(ServiceState, [ServiceState.name, ServiceState.value], [(name, value)], key=[ServiceState.name])


ZONES = ("America/Los_Angeles", "America/New_York", "Europe/Paris", "Asia/Tokyo", "Asia/Kolkata", "Australia/Sydney")
FIRST_DAYS = (date(2025, 6, 10), date(2025, 3, 7), date(2025, 10, 31), date(2024, 12, 29), date(2025, 3, 28))


def random_world(seed: int, days: int = 4) -> tuple[World, int]:
    """A world with everything the rules speak of, and an instant to ask about it."""
    chance = random.Random(seed)
    world = World(chance.choice((15, 20, 30)))
    first = chance.choice(FIRST_DAYS)
    for _ in range(3):
        park_type = chance.choice(("disney", "universal", "other", "other"))
        park_id = world.park(park_type, chance.choice(ZONES), is_active=chance.random() > 0.15)
        _random_schedule(world, chance, park_id, first, days)
        for _ in range(chance.randint(2, 6)):
            _random_ride(world, chance, park_id, first, days)
    start = ref.Reference(world.interval_minutes, world.parks, world.rides, [], [], 0).counted(first, None)[0]
    now = start + chance.randint(days * 86400 // 2, (days + 1) * 86400)
    return world, now


def _random_schedule(world: World, chance: random.Random, park_id: int, first: date, days: int) -> None:
    kind = chance.choice(("none", "daily", "daily", "split", "late", "holes", "other", "far"))
    zone = ref.ZoneInfo(world.parks[-1].timezone)
    if kind == "far":
        day = first - timedelta(days=chance.choice((6, 7, 8, 9)))
        world.open(park_id, day, 0, 3600)
    for offset in range(-2, days + 2) if kind not in ("none", "far") else ():
        day = first + timedelta(days=offset)
        midnight = int(ref.datetime.combine(day, ref.time(0), zone).timestamp())

        def at(hours: float, midnight: int = midnight) -> int:
            return midnight + int(hours * 3600) + chance.choice((0, 0, 420))

        if kind == "split":
            world.open(park_id, day, at(9), at(13))
            world.open(park_id, day, at(chance.choice((13, 15))), at(21))
        elif kind == "late":
            world.open(park_id, day, at(10), at(chance.choice((25, 28, 30))))
        elif kind == "other":
            world.open(park_id, day, at(18), at(23), "TICKETED_EVENT")
        elif kind == "daily" or chance.random() > 0.4:
            world.open(park_id, day, at(chance.choice((8, 9.5))), at(chance.choice((18, 22))))


def _random_ride(world: World, chance: random.Random, park_id: int, first: date, days: int) -> None:
    ride_id = world.ride(
        park_id,
        tier=chance.choice((None, 1, 2, 3)),
        category=chance.choice(("ATTRACTION",) * 6 + ("SHOW",)),
        is_active=chance.random() > 0.15,
    )
    with_status = chance.random() > 0.4
    zone = ref.ZoneInfo(world.parks[-1].timezone)
    begin = ref.Reference(world.interval_minutes, world.parks, world.rides, [], [], 0).counted(first, None)[0]
    step = world.interval_minutes * 60
    letter = "C"
    for slot in range(begin - begin % step, begin + days * 86400, step):
        hour = ref.datetime.fromtimestamp(slot, zone).hour
        if chance.random() < 0.25:
            running = 8 <= hour < 22
            letter = chance.choices("ODCRoc", (9, 2, 1, 0.3, 1, 1) if running else (0.3, 0.3, 9, 0.3, 0.1, 2))[0]
        if chance.random() < 0.12:
            continue  # no reading in this slot
        status, is_open, wait = LETTERS[letter] if with_status else LETTERS["o" if letter in "Oo" else "c"]
        if chance.random() < 0.5:
            wait = chance.choice((0, 5, 10, 45, 120, None))
        if status is None and is_open is None and wait is None:
            continue
        world.readings.append(ref.Reading(ride_id, slot, status, is_open, wait))
