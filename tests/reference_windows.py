"""Any window of time once more, slot by slot: an oracle for GET /api/analytics/series.

It stands on the oracle of whole days (reference.py), whose judgements it takes: when a park is open, what is down,
which rides operated, what a roster weighs. The window only picks which slots are summed. It shares no code with the
service and is written for reading, not for speed.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import reference as ref

MEASURES = (
    "downtime_minutes",
    "uptime_percentage",
    "shame_score",
    "avg_wait_time",
    "max_wait_time",
    "wait_p50",
    "wait_p90",
    "wait_p95",
)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WHOLE_DAY = 24 * 60  # minutes


class Asked(NamedTuple):
    """A question. `time_of_day` in minutes since midnight by the clock, `bucket` in minutes: WHOLE_DAY is a local day.

    `weekdays`: Monday is 0.
    """

    start: int
    end: int
    bucket: int | None = None
    group_by: str = "none"
    park_id: int | None = None
    ride_id: int | None = None
    time_of_day: tuple[int, int] | None = None
    weekdays: tuple[int, ...] | None = None
    timezone: str = "pacific"
    measures: tuple[str, ...] = MEASURES

    @property
    def columns(self) -> list[str]:
        """The keys of a row, in the order of the CSV."""
        group = {"none": [], "park": ["park_id"], "ride": ["ride_id"]}.get(self.group_by, [self.group_by])
        return ["bucket_start", *group, "samples", "coverage", *self.measures]


class Known(NamedTuple):
    """A reading of a ride while its park was open, judged."""

    operating: bool
    down: bool
    wait: int | None


class Key(NamedTuple):
    """Which row a slot belongs to; sorted, the order of the rows."""

    bucket_start: int
    group: int
    shown_start: str


class Cell:
    """What is summed for a row."""

    def __init__(self) -> None:
        self.readings: list[Known] = []
        self.open_slots = 0
        self.observed_slots = 0
        self.operated = False
        self.weighted_down: dict[date, int] = {}  # per Pacific day
        self.denominator: dict[date, int] = {}


# --- clocks ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=200_000)
def local(at: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at, ZoneInfo(zone))


@lru_cache(maxsize=10_000)
def first_instant(day: date, zone: str) -> int:
    """When the calendar day begins in the zone: not at 00:00 where the clocks go forward at midnight."""
    around = ref.instant(day, ref.time(0), ZoneInfo("UTC"))
    return next(at for at in range(around - 15 * 3600, around + 15 * 3600, 60) if local(at, zone).date() == day)


def is_picked(at: int, zone: str, time_of_day: tuple[int, int] | None, weekdays: Iterable[int] | None) -> bool:
    """Whether the clock on the wall reads a time of day that is asked for, on a day that is."""
    shown = local(at, zone)
    day, minute = shown.date(), shown.hour * 60 + shown.minute
    if time_of_day is not None:
        begin, until = time_of_day
        if begin < until:
            if not begin <= minute < until:
                return False
        elif minute < until:
            day -= ref.DAY  # the time of day began the evening before
        elif minute < begin:
            return False
    return weekdays is None or day.weekday() in weekdays


# --- the oracle ------------------------------------------------------------------------------------------------------


class Windows:
    """`rides` and `readings` of every category, with at least one reading. Answers as of `now`."""

    def __init__(
        self,
        interval_minutes: int,
        parks: list[ref.Park],
        rides: list[ref.Ride],
        schedules: list[ref.Schedule],
        readings: list[ref.Reading],
        now: int,
    ) -> None:
        self.days = ref.Reference(interval_minutes, parks, rides, schedules, readings, now)
        self.rides = {ride.ride_id: ride for ride in rides}
        slots = [reading.slot for reading in readings]
        self.first_day = ref.pacific_date(min(slots))  # days before have gone, or never were
        self.last_slot = now
        self.others = [one for one in readings if one.ride_id not in self.days.attractions and one.slot <= now]
        self.open: dict[tuple[int, date], list[int]] = {}
        self.known: dict[tuple[int, date], dict[int, Known]] = {}
        self.observed: dict[tuple[int, date], set[int]] = {}

    def rows(self, asked: Asked) -> list[dict[str, Any]]:
        """The rows of the answer, in order."""
        cells: dict[Key, Cell] = {}
        for park_id in self.parks_of(asked):
            zone = self.days.parks[park_id].timezone if asked.timezone == "park" else ref.PACIFIC.key
            first = max(ref.pacific_date(asked.start), self.first_day)
            for day in ref.days_between(first, ref.pacific_date(asked.end)):
                for slot in self.open_slots(park_id, day):
                    if not asked.start <= slot < asked.end:
                        continue
                    if is_picked(slot, zone, asked.time_of_day, asked.weekdays):
                        self.add_slot(cells, asked, park_id, day, slot, zone)
        return [self.row(asked, key, cells[key]) for key in sorted(cells) if cells[key].readings]

    def parks_of(self, asked: Asked) -> list[int]:
        if asked.ride_id is not None:
            return [self.rides[asked.ride_id].park_id]
        return list(self.days.parks) if asked.park_id is None else [asked.park_id]

    def rides_of(self, asked: Asked, park_id: int) -> list[int]:
        if asked.ride_id is not None:
            return [asked.ride_id]
        return [ride.ride_id for ride in self.days.attractions_of(park_id)]

    # --- what a day knows ---

    def open_slots(self, park_id: int, day: date) -> list[int]:
        """The slots of the Pacific day in which the park is open, observed or not."""
        if (park_id, day) not in self.open:
            start, end = ref.pacific_day(day)
            first = start + -start % self.days.interval
            slots = range(first, min(end, self.last_slot + 1), self.days.interval)
            intervals = self.days.open_intervals(park_id, day)
            self.open[park_id, day] = [slot for slot in slots if ref.is_inside(slot, intervals)]
        return self.open[park_id, day]

    def known_slots(self, ride_id: int, day: date) -> dict[int, Known]:
        """slot -> what is known of the ride then, while its park is open on the Pacific day."""
        if (ride_id, day) not in self.known:
            judge = self.judged_attraction if ride_id in self.days.attractions else self.judged_other
            self.known[ride_id, day] = dict(judge(ride_id, day))
        return self.known[ride_id, day]

    def judged_attraction(self, ride_id: int, day: date) -> Iterator[tuple[int, Known]]:
        for local_day in self.days.local_days(self.rides[ride_id].park_id, day):
            for reading in self.days.open_readings(ride_id, local_day):
                if ref.pacific_date(reading.slot) == day:
                    down = self.days.is_down(reading, local_day) and self.operated(ride_id, day)
                    yield reading.slot, Known(ref.is_operating(reading), down, ref.counting_wait(reading))

    def judged_other(self, ride_id: int, day: date) -> Iterator[tuple[int, Known]]:
        """Of what is no attraction only what a feed tells is down."""
        slots = set(self.open_slots(self.rides[ride_id].park_id, day))
        for reading in self.others:
            if reading.ride_id == ride_id and reading.slot in slots:
                down = ref.is_told_down(reading)
                yield reading.slot, Known(ref.is_operating(reading), down, ref.counting_wait(reading))

    def operated(self, ride_id: int, day: date) -> bool:
        if ride_id in self.days.attractions:
            return self.days.operated(ride_id, day)
        return any(known.operating or known.down for known in self.known_slots(ride_id, day).values())

    def observed_slots(self, park_id: int, day: date) -> set[int]:
        """The open slots in which any attraction of the park has a reading."""
        if (park_id, day) not in self.observed:
            rides = self.days.attractions_of(park_id)
            self.observed[park_id, day] = {slot for ride in rides for slot in self.known_slots(ride.ride_id, day)}
        return self.observed[park_id, day]

    # --- what a row sums ---

    def add_slot(self, cells: dict[Key, Cell], asked: Asked, park_id: int, day: date, slot: int, zone: str) -> None:
        """Add an open slot of a park to the row of each of its rides, or to the one row of all."""
        rides = self.rides_of(asked, park_id)
        for together in [[ride_id] for ride_id in rides] if asked.group_by == "ride" else [rides]:
            group = {
                "none": 0,
                "park": park_id,
                "ride": together[0] if together else 0,
                "hour": local(slot, zone).hour,
                "weekday": local(slot, zone).weekday(),
            }[asked.group_by]
            start, shown_start = self.bucket_start(asked, slot, zone)
            cell = cells.setdefault(Key(start, group, shown_start), Cell())
            self.add_to_cell(cell, asked, park_id, day, slot, together)

    def bucket_start(self, asked: Asked, slot: int, zone: str) -> tuple[int, str]:
        """The instant, and how it is written."""
        start = asked.start
        if asked.bucket is not None:
            start = first_instant(local(slot, zone).date(), zone)
            while asked.bucket < WHOLE_DAY and start + 60 * asked.bucket <= slot:
                start += 60 * asked.bucket
        # What parks of several zones share has no clock of its own.
        of_one_park = asked.park_id or asked.ride_id or asked.group_by in ("park", "ride")
        return start, local(start, zone if of_one_park else ref.PACIFIC.key).isoformat()

    def add_to_cell(self, cell: Cell, asked: Asked, park_id: int, day: date, slot: int, rides: list[int]) -> None:
        observed = slot in self.observed_slots(park_id, day)
        readings = {ride_id: known[slot] for ride_id in rides if slot in (known := self.known_slots(ride_id, day))}
        cell.open_slots += 1
        cell.observed_slots += bool(readings) if self.is_of_one_ride(asked) else observed
        cell.readings += readings.values()
        cell.operated |= any(self.operated(ride_id, day) for ride_id in rides)
        weighted = sum(ref.WEIGHTS[self.rides[ride_id].tier] * known.down for ride_id, known in readings.items())
        cell.weighted_down[day] = cell.weighted_down.get(day, 0) + weighted
        weight = self.days.roster_weight(park_id, day) * observed
        cell.denominator[day] = cell.denominator.get(day, 0) + weight

    def is_of_one_ride(self, asked: Asked) -> bool:
        return asked.group_by == "ride" or asked.ride_id is not None

    # --- what a row says ---

    def row(self, asked: Asked, key: Key, cell: Cell) -> dict[str, Any]:
        group = WEEKDAYS[key.group] if asked.group_by == "weekday" else key.group
        values = {
            "bucket_start": key.shown_start,
            **dict.fromkeys(("park_id", "ride_id", "hour", "weekday"), group),
            "samples": len(cell.readings),
            "coverage": ref.rounded(Fraction(cell.observed_slots, cell.open_slots), 3),
            **self.measures(asked, cell),
        }
        return {name: values[name] for name in asked.columns}

    def measures(self, asked: Asked, cell: Cell) -> dict[str, Any]:
        operating, down = (sum(getattr(one, name) for one in cell.readings) for name in ("operating", "down"))
        waits = sorted(one.wait for one in cell.readings if one.wait is not None)
        expected = cell.operated or not self.is_of_one_ride(asked)
        return {
            "downtime_minutes": self.days.minutes(down) if expected else None,
            "uptime_percentage": ref.rounded_or_none(ref.uptime(operating, down), 1),
            "shame_score": ref.rounded_or_none(self.score(asked, cell), 1),
            "avg_wait_time": ref.rounded_or_none(ref.quotient(sum(waits), len(waits)), 1),
            "max_wait_time": max(waits, default=None),
            **{f"wait_p{percent}": nearest_rank(waits, percent) for percent in (50, 90, 95)},
        }

    def score(self, asked: Asked, cell: Cell) -> Fraction | None:
        """The mean over the Pacific days that have one."""
        if asked.ride_id is not None and asked.ride_id not in self.days.attractions:
            return None
        return ref.mean(ref.quotient(10 * cell.weighted_down[day], cell.denominator[day]) for day in cell.denominator)


def nearest_rank(waits: list[int], percent: int) -> int | None:
    """Of waits in order."""
    return waits[ceil(Fraction(percent * len(waits), 100)) - 1] if waits else None
