"""Any window of time: what parks and rides did in it, in buckets of time and by group, counted from readings.

The window only picks which slots are summed: what they mean is judged by whole days, as everywhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import cached_property
from math import gcd
from typing import NamedTuple

from peewee import fn

from service import rules
from service.database import fetch
from service.errors import BadRequest
from service.models import StatDay
from service.periods import (
    DAY_SECONDS,
    PACIFIC,
    Interval,
    Span,
    Window,
    calendar_day,
    days_between,
    iso_local,
    local_date,
    local_hour,
    pacific_date,
    pacific_day,
    pacific_days,
)
from service.queries import Row
from service.queries.catalog import AnyRide, ParkFacts, find_ride
from service.queries.days import Tallies
from service.queries.hours import as_date
from service.queries.parts import Cells, Part, park_parts, park_slots, ride_parts
from service.queries.tally import LocalDay, ParkTally, RideTally, Wanted, added

RIDE, PARK, HOUR, WEEKDAY, NONE = GROUPS = ("ride", "park", "hour", "weekday", "none")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DOWNTIME, UPTIME, SCORE = "downtime_minutes", "uptime_percentage", "shame_score"
AVERAGE, LONGEST = "avg_wait_time", "max_wait_time"
PERCENTILES = {"wait_p50": 50, "wait_p90": 90, "wait_p95": 95}
MEASURES = (DOWNTIME, UPTIME, SCORE, AVERAGE, LONGEST, *PERCENTILES)

MOST_PARK_DAYS = 600  # counted for one answer: some five seconds at production size
STORED_DAYS_AS_ONE = 10  # that are only read
MOST_ROWS_A_DAY = 100_000  # of rides, which are all held until the day is counted: some 50 MB
HOUR_SECONDS = 3600
UNCUT = 7 * DAY_SECONDS  # longer than any day: cuts nothing


class Question(NamedTuple):
    """What is asked of a window. Without `bucket`, in seconds, the whole window is one."""

    window: Window
    now: datetime
    bucket: int | None = None
    group_by: str = NONE
    measures: tuple[str, ...] = MEASURES
    by_park_clock: bool = False  # else the Pacific one
    park_id: int | None = None
    ride_id: int | None = None


class Key(NamedTuple):
    """A row: the start of its bucket (epoch seconds) and its group: an id, an hour, a weekday (Monday 0), or 0."""

    start: int
    group: int


class _Sum:
    """What is added up for one row."""

    def __init__(self) -> None:
        self.samples = self.operating = self.down = self.wait_sum = self.wait_samples = 0
        self.wait_max = 0
        self.operated = self.is_stored = False
        self.spread: Mapping[int, int] = {}
        self.weighted_down: dict[date, int] = {}  # by Pacific day

    def add(self, day: date, tally: Part | RideTally | ParkTally, samples: int, down: int, weighted: int) -> None:
        """A part of a Pacific day."""
        self.samples += samples
        self.operating += tally.operating
        self.down += down
        if weighted:
            self.weighted_down[day] = self.weighted_down.get(day, 0) + weighted
        self.wait_sum += tally.wait_sum
        self.wait_samples += tally.wait_samples
        self.wait_max = max(self.wait_max, tally.wait_max or 0)
        if not isinstance(tally, ParkTally):
            self.spread = added(self.spread, tally.spread)


class _Base:
    """What a row's sums are a share of; rides of a park share one."""

    def __init__(self) -> None:
        self.slots = self.open_slots = 0
        self.weight_slots: dict[date, int] = {}  # roster weight x observed slots, by Pacific day

    def add(self, day: date, slots: int, open_slots: int, roster_weight: int) -> None:
        """A part of a Pacific day of one park."""
        self.slots += slots
        self.open_slots += open_slots
        self.weight_slots[day] = self.weight_slots.get(day, 0) + roster_weight * slots


Measure = Callable[[_Sum, _Base], float | None]


class Series:
    """A window's rows. Raises NotFound for an unknown park or ride, BadRequest for a window that is too large."""

    def __init__(self, question: Question) -> None:
        self.question, self.window = question, question.window
        self.ride: AnyRide | None = None if question.ride_id is None else find_ride(question.ride_id)
        only = self.ride.park_id if self.ride else question.park_id
        if question.park_id not in (None, only):
            raise BadRequest(f"Ride {question.ride_id} is not of park {question.park_id}: leave park_id out.")
        self.tallies = Tallies(question.now, only=only)
        universe = self.tallies.universe
        self.parks = list(universe.parks.values()) if only is None else [universe.park(only)]
        self.by_ride = self.ride is not None or question.group_by == RIDE
        self._intervals: dict[str, list[Interval]] = {}  # by zone
        self._sums: dict[Key, _Sum] = defaultdict(_Sum)
        self._bases: dict[Key, _Base] = defaultdict(_Base)
        self._ensure_size()

    @cached_property
    def covered(self) -> Interval | None:
        """The part of the window from which readings, or the rows of whole days, are held."""
        known = [self.tallies.covered] if self.tallies.covered else []
        if self._takes_rows:
            known += self._stored_span()
        window = Interval(self.window.start, self.window.end)
        inside = [part for span in known if (part := span.cut(window))]
        return Interval(min(inside).start, max(part.end for part in inside)) if inside else None

    @property
    def zone(self) -> str:
        """By whose clock the starts of rows that no park has are written."""
        return PACIFIC if self.tallies.only is None else self._zone(self.parks[0])

    @property
    def columns(self) -> list[str]:
        """The names in a row."""
        return ["bucket_start", *self._group_name, "samples", "coverage", *self.question.measures]

    @property
    def _group_name(self) -> list[str]:
        group = self.question.group_by
        return [] if group == NONE else [f"{group}_id" if group in (PARK, RIDE) else group]

    def rows(self, after: Key | None = None) -> Iterator[tuple[Key, Row]]:
        """The rows with anything observed, by start and group; those that follow `after`.

        Days are counted as rows are taken, so that neither time nor memory is spent on what nobody takes.
        """
        for day in self._days:
            if after is None or self.question.bucket is None or day >= pacific_date(after.start):
                self._add_day(day)
                yield from self._ready(self._floor(pacific_day(day).end), after)
        yield from self._ready(None, after)

    # --- which days, cut how -----------------------------------------------------------------------------------------

    @cached_property
    def _days(self) -> list[date]:
        """The Pacific days that the window touches and that something is held of."""
        if self.covered is None:
            return []
        within = [interval for park in self.parks for interval in self._within(self._zone(park))]
        touched = (pacific_days(part) for part in set(within))
        days = {day for found in touched for day in found}
        return sorted(day for day in days if self._is_held(day) or self._is_whole(day))

    def _ensure_size(self) -> None:
        held = sum(self._is_held(day) for day in self._days)
        cost = held + (len(self._days) - held) / STORED_DAYS_AS_ONE
        if cost * len(self.parks) > MOST_PARK_DAYS:
            raise BadRequest(
                f"The window is too large: {len(self._days)} days of {len(self.parks)} parks, at most {MOST_PARK_DAYS}"
                " days of parks are counted for one answer. Ask for a shorter window, or for one park_id or ride_id."
            )
        rides = 1 if self.ride else len(self.tallies.universe.rides)
        rows = rides * DAY_SECONDS // (self.question.bucket or DAY_SECONDS)
        if self.question.group_by == RIDE and rows > MOST_ROWS_A_DAY:
            raise BadRequest(
                f"The window is cut too fine: {rows:,} buckets of rides a day, at most {MOST_ROWS_A_DAY:,} are counted"
                " at once. Ask for wider buckets, or for one park_id or ride_id."
            )

    def _within(self, zone: str) -> list[Interval]:
        """The instants that the window means by the clocks of `zone`, on the days that something is held of, up to now:
        that a feed fell silent shows in what is covered."""
        if zone not in self._intervals:
            known = self.covered or Interval(0, 0)
            first = pacific_day(pacific_date(known.start)).start
            cut = self.window._replace(
                start=max(self.window.start, first), end=min(self.window.end, self.tallies.now + 1)
            )
            self._intervals[zone] = cut.intervals(zone)
        return self._intervals[zone]

    def _stored_span(self) -> list[Interval]:
        """From the first to the last day with rows but without readings that lies whole in the window, if any does."""
        days = StatDay.select(fn.MIN(StatDay.stat_date), fn.MAX(StatDay.stat_date))
        if self.tallies.first_day:
            days = days.where(StatDay.stat_date < self.tallies.first_day)
        first, last = fetch(days)[0]
        if first is None:
            return []
        start = max(as_date(first), pacific_date(self.window.start - 1) + timedelta(days=1))
        end = min(as_date(last), pacific_date(self.window.end) - timedelta(days=1))
        return [Interval(pacific_day(start).start, pacific_day(end).end)] if start <= end else []

    @property
    def _takes_rows(self) -> bool:
        """Whether stored rows of Pacific days may stand in for readings that are gone."""
        whole = self.question.bucket in (None, DAY_SECONDS) and self.question.group_by != HOUR
        return self._is_of_attractions and whole and not self.question.by_park_clock and self.window.time_of_day is None

    def _is_held(self, day: date) -> bool:
        return self.tallies.first_day is not None and day >= self.tallies.first_day

    def _is_whole(self, day: date) -> bool:
        """Whether a day whose readings are gone is answered from its rows."""
        span = pacific_day(day)
        return self._takes_rows and self.window.start <= span.start and span.end <= self.window.end

    def _zone(self, park: ParkFacts) -> str:
        return park.timezone if self.question.by_park_clock else PACIFIC

    def _pieces(self, park: ParkFacts, day: date) -> Iterator[tuple[Cells, list[Interval]]]:
        """The window's part of a Pacific day, by the calendar days of the zone, each with how it is cut."""
        zone, whole = self._zone(park), pacific_day(day)
        for local in days_between(local_date(whole.start, zone), local_date(whole.end - 1, zone)):
            bounds = calendar_day(local, zone)
            spans = (part for interval in self._within(zone) if (part := interval.cut(whole)))
            inside = [part for span in spans if (part := span.cut(bounds))]
            if inside:
                yield Cells(self._width(bounds), bounds.start), inside

    def _width(self, local: Interval) -> int:
        """The widest cells of a calendar day of which each lies in one bucket and one group."""
        bucket = self.question.bucket or DAY_SECONDS
        if self.question.group_by == HOUR:
            # Clocks change by whole hours nearly everywhere, and so do the hours after that.
            return gcd(bucket, HOUR_SECONDS, local.end - local.start)
        return UNCUT if bucket == DAY_SECONDS else bucket

    def _bucket(self, midnight: int, at: int) -> int:
        """The start of the bucket in which `at` lies, in the calendar day that begins at `midnight`."""
        if self.question.bucket is None:
            return self.window.start
        return midnight if self.question.bucket == DAY_SECONDS else Cells(self.question.bucket, midnight).start_of(at)

    def _group(self, park: ParkFacts, at: int) -> int:
        """The group of a park's slots at `at`; of its rides', see `_add_rides`."""
        match self.question.group_by:
            case "park":
                return park.park_id
            case "hour":
                return local_hour(at, self._zone(park))
            case "weekday":
                return local_date(at, self._zone(park)).weekday()
        return 0

    # --- adding up ---------------------------------------------------------------------------------------------------

    @cached_property
    def _wanted(self) -> Wanted:
        asked, wanted = set(self.question.measures), Wanted.SAMPLES
        if asked & {DOWNTIME, UPTIME, SCORE}:
            wanted |= Wanted.DOWN
        if asked & PERCENTILES.keys():
            wanted |= Wanted.SPREAD
        return wanted | Wanted.OPERATING | Wanted.WAITS  # these come with the samples

    @property
    def _is_scored(self) -> bool:
        """Whether there are scores, and they are asked for."""
        return self._is_of_attractions and SCORE in self.question.measures

    @property
    def _is_of_attractions(self) -> bool:
        """Only attractions have scores, and daily rows."""
        return self.ride is None or self.ride.ride_id in self.tallies.universe.rides

    @cached_property
    def _stored_weights(self) -> dict[tuple[int, date], int]:
        return self.tallies.stored_weights(self.parks, tuple(day for day in self._days if self._is_held(day)))

    def _roster_weight(self, park: ParkFacts, day: date) -> int:
        """What scores are divided by; 0 where there are none."""
        if not self._is_scored:
            return 0
        known = self._stored_weights.get((park.park_id, day))
        return self.tallies.roster_weight(park, day) if known is None else known

    def _add_day(self, day: date) -> None:
        if not self._is_held(day):
            self._add_stored(day)
            return
        only = None if self.ride is None else [self.ride.ride_id]
        for park in self.parks:
            judged = self.tallies.judged_rides(park, day, only)
            weight = self._roster_weight(park, day)
            for cells, inside in self._pieces(park, day):
                if self.by_ride:
                    self._add_rides(park, day, judged, cells, inside, weight)
                else:
                    self._add_park(park, day, judged, cells, inside, weight)

    def _add_park(
        self, park: ParkFacts, day: date, judged: list[LocalDay], cells: Cells, inside: list[Interval], weight: int
    ) -> None:
        rides = self.tallies.universe.rides
        for start, part in park_parts(judged, cells, inside, self._wanted).items():
            key = Key(self._bucket(cells.origin, start), self._group(park, start))
            weighted = sum(down * rides[ride_id].weight for ride_id, down in part.down.items())
            self._bases[key].add(day, part.slots, part.open_slots, weight)
            self._sums[key].add(day, part, part.samples, sum(part.down.values()), weighted)
            self._sums[key].operated = True  # of a park it is known that nothing was down

    def _add_rides(
        self, park: ParkFacts, day: date, judged: list[LocalDay], cells: Cells, inside: list[Interval], weight: int
    ) -> None:
        known = self.tallies.universe.rides_of.get(park.park_id, []) if weight else []
        # Of a ride that operated on a day it is known that it was not down where it has no reading.
        operated = set[int]().union(*(local.seen.expected for local in judged)) if Wanted.DOWN in self._wanted else ()
        for start, (slots, open_slots) in park_slots(judged, cells, inside, known).items():
            self._bases[self._base_key(cells.origin, start, park)].add(day, slots, open_slots, weight)
            for ride_id in operated:
                self._sums[self._ride_key(cells.origin, start, park, ride_id)].operated = True
        for start, rides in ride_parts(judged, cells, inside, self._wanted).items():
            for ride in rides.values():
                self._add_ride(day, ride, self._ride_key(cells.origin, start, park, ride.ride_id))

    def _add_ride(self, day: date, ride: RideTally, key: Key) -> None:
        facts = self.tallies.universe.rides.get(ride.ride_id)
        row = self._sums[key]
        row.operated |= ride.operated
        row.add(day, ride, ride.samples, ride.down, ride.down * facts.weight if facts else 0)

    def _ride_key(self, midnight: int, at: int, park: ParkFacts, ride_id: int) -> Key:
        group = ride_id if self.question.group_by == RIDE else self._group(park, at)
        return Key(self._bucket(midnight, at), group)

    def _base_key(self, midnight: int, at: int, park: ParkFacts) -> Key:
        """What rows of rides have in common: their park's, unless there is one ride only."""
        group = park.park_id if self.question.group_by == RIDE else self._group(park, at)
        return Key(self._bucket(midnight, at), group)

    def _add_stored(self, day: date) -> None:
        start = pacific_day(day).start
        rides, parks = self._stored_rides.get(day, []), self._stored_parks.get(day, [])
        samples = Counter[int]()
        for ride in rides:
            samples[ride.park_id] += ride.samples
        for row in parks:
            park = self.tallies.universe.parks[row.park_id]
            weight = row.roster_weight if self._is_scored else 0
            self._bases[self._base_key(start, start, park)].add(day, row.slots, row.open_slots, weight)
            if not self.by_ride:
                found = self._sums[Key(self._bucket(start, start), self._group(park, start))]
                found.add(day, row, samples[row.park_id], row.down, row.weighted_down)
                found.operated = found.is_stored = True
        for ride in rides if self.by_ride else []:
            park = self.tallies.universe.parks[ride.park_id]
            key = self._ride_key(start, start, park, ride.ride_id)
            self._add_ride(day, ride, key)
            self._sums[key].is_stored = True

    @cached_property
    def _gone(self) -> Span:
        return Span(tuple(day for day in self._days if not self._is_held(day)), "")

    @cached_property
    def _stored_parks(self) -> dict[date, list[ParkTally]]:
        found: dict[date, list[ParkTally]] = defaultdict(list)
        park_ids = {park.park_id for park in self.parks}
        for row in self.tallies.stored_parks(self._gone.days):  # those with nothing observed too
            if row.park_id in park_ids:
                found[row.day].append(row)
        return found

    @cached_property
    def _stored_rides(self) -> dict[date, list[RideTally]]:
        only = None if self.ride is None else [self.ride.ride_id]
        return self.tallies.ride_days(self._gone, self.parks, only)

    # --- rows --------------------------------------------------------------------------------------------------------

    def _floor(self, at: int) -> int | None:
        """Before which start no row can grow any more, once everything before `at` is counted."""
        if self.question.bucket is None:
            return self.window.start
        zones = {self._zone(park) for park in self.parks}
        midnights = (calendar_day(local_date(at, zone), zone).start for zone in zones)
        return min((self._bucket(midnight, at) for midnight in midnights), default=None)

    def _ready(self, floor: int | None, after: Key | None) -> Iterator[tuple[Key, Row]]:
        """Hand over the rows before `floor`, and forget them."""
        for key in sorted(key for key in self._sums if floor is None or key.start < floor):
            found = self._sums.pop(key)
            if found.samples and (after is None or key > after):
                yield key, self._row(key, found)
        for key in [key for key in self._bases if floor is None or key.start < floor]:
            del self._bases[key]

    def _row(self, key: Key, found: _Sum) -> Row:
        park = self._park_of(key)
        base = self._bases[Key(key.start, park.park_id) if park else key]
        observed = found.samples if self.by_ride else base.slots
        row: Row = {"bucket_start": iso_local(key.start, self._zone(park) if park else self.zone)}
        for name in self._group_name:
            row[name] = WEEKDAYS[key.group] if name == WEEKDAY else key.group
        row["samples"] = found.samples
        row["coverage"] = rules.rounded(rules.coverage(observed, base.open_slots), 3)
        for name, measure in self._measures:
            row[name] = measure(found, base)
        return row

    def _park_of(self, key: Key) -> ParkFacts | None:
        """The park that a row of a park or of a ride is of."""
        universe = self.tallies.universe
        match self.question.group_by:
            case "park":
                return universe.parks[key.group]
            case "ride":
                ride = self.ride or universe.rides[key.group]
                return universe.parks[ride.park_id]
        return None

    @cached_property
    def _measures(self) -> list[tuple[str, Measure]]:
        minutes = self.tallies.interval_minutes
        known: dict[str, Measure] = {
            DOWNTIME: lambda found, _: found.down * minutes if found.operated else None,
            UPTIME: lambda found, _: rules.rounded(rules.uptime_percentage(found.operating, found.down), 1),
            SCORE: _score,
            AVERAGE: lambda found, _: rules.rounded(rules.average_wait(found.wait_sum, found.wait_samples), 1),
            LONGEST: lambda found, _: found.wait_max if found.wait_samples else None,
            **{name: _percentile(percent) for name, percent in PERCENTILES.items()},
        }
        return [(name, known[name]) for name in self.question.measures]


def _score(found: _Sum, base: _Base) -> float | None:
    weighted = found.weighted_down
    scores = [rules.shame_score(weighted.get(day, 0), weighed, 1) for day, weighed in base.weight_slots.items()]
    return rules.rounded(rules.mean([score for score in scores if score is not None]), 1)


def _percentile(percent: int) -> Measure:
    return lambda found, _: None if found.is_stored else rules.percentile(found.spread, percent)
