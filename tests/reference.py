"""The rules of the service once more, in plain Python over plain lists: an oracle to test it against.

It shares no code with the service and follows the wording of the rules, not speed. Instants are epoch
seconds (UTC), days are dates, intervals are half-open pairs of instants. Counts are integers and quotients
are Fractions until a row is made; rows are rounded once, half up.

The universe is the rides of category ATTRACTION; readings after `now` do not exist.
"""
import csv
import gzip
import io
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from fractions import Fraction
from functools import wraps
from math import floor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast
from zoneinfo import ZoneInfo

PACIFIC = ZoneInfo("America/Los_Angeles")
DAY = timedelta(days=1)
LOCAL_DAY_STARTS = time(4)
LIVE_SECONDS = 7200
BRIDGED_SECONDS = 1800
SCHEDULE_REACH_DAYS = 7
ROSTER_DAYS = 7
LONGEST_WAIT = 480
WEIGHTS = {1: 3, 2: 2, 3: 1, None: 2}
SHOWN_NOW = ("live", "today", "peak-times")
FILTERS = {"all-parks": ("disney", "universal", "other"), "disney-universal": ("disney", "universal")}
ALIASES = {"7days": "last_week", "30days": "last_month"}

Interval = tuple[int, int]
Row = dict[str, Any]
# The Pacific days that are pooled, each with the last instant that counts (None: the whole day up to now).
Span = tuple[tuple[date, int | None], ...]


class Park(NamedTuple):
    park_id: int
    name: str
    park_type: str
    timezone: str
    is_active: bool
    city: str | None
    state_province: str | None
    country: str | None
    queue_times_id: int | None


class Ride(NamedTuple):
    ride_id: int
    park_id: int
    name: str
    category: str
    tier: int | None
    is_active: bool
    queue_times_id: int | None


class Schedule(NamedTuple):
    park_id: int
    schedule_date: date
    schedule_type: str
    opening_at: int | None
    closing_at: int | None


class Reading(NamedTuple):
    """What a feed said about a ride in a slot (a multiple of the snapshot interval). `wait` in minutes."""

    ride_id: int
    slot: int
    status: str | None
    is_open: bool | None
    wait: int | None


class Outage(NamedTuple):
    """A run of down slots of a ride. `reopened`: the ride operates again on the same local day."""

    ride_id: int
    slots: tuple[int, ...]
    told: bool
    reopened: bool


class RideDay(NamedTuple):
    """A ride on a Pacific day. `samples`: its readings while open; `score`: its share of its park's score."""

    weight: int
    samples: int
    operating: int
    down: int
    incidents: int
    longest_minutes: int | None
    status_changes: int
    wait_sum: int
    wait_samples: int
    wait_min: int | None
    wait_max: int | None
    score: Fraction | None


class ParkDay(NamedTuple):
    """A park on a Pacific day. `slots`: open slots with a reading; operating, down: summed over its rides."""

    slots: int
    open_slots: int
    rides_tracked: int
    rides_with_downtime: int
    operating: int
    down: int
    weighted_down: int
    roster_weight: int
    score: Fraction | None
    wait_sum: int
    wait_samples: int
    wait_max: int | None
    rides: dict[int, RideDay]


class Tally(NamedTuple):
    """Counts over a span. `observed`: the slots of a park, or the readings of a ride while open."""

    observed: int
    operating: int
    down: int
    wait_sum: int
    wait_samples: int
    wait_max: int | None


Method = TypeVar("Method", bound=Callable[..., Any])


def remembered(method: Method) -> Method:
    """Ask `method` once per arguments; the answers live and die with the Reference, which never changes."""

    @wraps(method)
    def ask(self: "Reference", *args: Any, **kwargs: Any) -> Any:
        key = (method.__name__, args, tuple(sorted(kwargs.items())))
        if key not in self.memory:
            self.memory[key] = method(self, *args, **kwargs)
        return self.memory[key]

    return cast(Method, ask)


# --- one reading ----------------------------------------------------------------------------------


def is_operating(reading: Reading) -> bool:
    if reading.status is not None:
        return reading.status == "OPERATING"
    return reading.is_open is True or (reading.wait is not None and reading.wait > 0)


def is_told_down(reading: Reading) -> bool:
    return reading.status == "DOWN"


def is_possibly_down(reading: Reading, park_type: str) -> bool:
    """Not running, but the feed does not tell why: it may be broken or merely closed."""
    if reading.status is None:
        return not is_operating(reading)
    return reading.status == "CLOSED" and park_type == "other"


def counting_wait(reading: Reading) -> int | None:
    """The wait in minutes if it counts (given that the slot is open), else None."""
    if not is_operating(reading) or reading.wait is None:
        return None
    # Without a status a feed says 0 for "no wait posted"; with one, 0 is a walk-on.
    return reading.wait if reading.status is not None or reading.wait > 0 else None


# --- time -----------------------------------------------------------------------------------------


def instant(day: date, clock: time, zone: ZoneInfo) -> int:
    return int(datetime.combine(day, clock, tzinfo=zone).timestamp())


def pacific_date(at: int) -> date:
    return datetime.fromtimestamp(at, PACIFIC).date()


def pacific_day(day: date) -> Interval:
    return instant(day, time(0), PACIFIC), instant(day + DAY, time(0), PACIFIC)


def days_between(first: date, last: date) -> list[date]:
    """Both ends included."""
    return [first + n * DAY for n in range((last - first).days + 1)]


def cut(interval: Interval, bounds: Interval) -> Interval:
    """The part of `interval` inside `bounds`; empty (start >= end) when they do not overlap."""
    return max(interval[0], bounds[0]), min(interval[1], bounds[1])


def cut_all(intervals: Iterable[Interval], bounds: Interval) -> list[Interval]:
    pieces = (cut(interval, bounds) for interval in intervals)
    return [piece for piece in pieces if piece[0] < piece[1]]


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Sorted, with overlapping and touching intervals made one."""
    result: list[Interval] = []
    for start, end in sorted(intervals):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def is_inside(slot: int, intervals: Iterable[Interval]) -> bool:
    return any(start <= slot < end for start, end in intervals)


# --- figures --------------------------------------------------------------------------------------


def rounded(value: Fraction | int, digits: int) -> float:
    """Half up; a negative tie goes away from zero, as decimal.ROUND_HALF_UP does."""
    units = floor(abs(value) * 10 ** digits + Fraction(1, 2))
    return float(Fraction(units if value >= 0 else -units, 10 ** digits))


def rounded_or_none(value: Fraction | None, digits: int) -> float | None:
    return None if value is None else rounded(value, digits)


def quotient(numerator: int, denominator: int) -> Fraction | None:
    return Fraction(numerator, denominator) if denominator else None


def mean(values: Iterable[Fraction | None]) -> Fraction | None:
    """Over the values that are not None; None if there is none."""
    known = [value for value in values if value is not None]
    return sum(known, Fraction(0)) / len(known) if known else None


def highest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def uptime(operating: int, down: int) -> Fraction | None:
    return quotient(100 * operating, operating + down)


def pooled(tallies: Iterable[Tally]) -> Tally:
    total = Tally(0, 0, 0, 0, 0, None)
    for tally in tallies:
        total = Tally(total.observed + tally.observed, total.operating + tally.operating,
                      total.down + tally.down, total.wait_sum + tally.wait_sum,
                      total.wait_samples + tally.wait_samples, highest([total.wait_max, tally.wait_max]))
    return total


def average_wait(tally: Tally) -> Fraction | None:
    return quotient(tally.wait_sum, tally.wait_samples)


def percent_change(current: Fraction | None, before: Fraction | None) -> Fraction | None:
    if current is None or before is None or before == 0:
        return None
    return 100 * (current - before) / before


def downtime_trend(current: Tally, before: Tally) -> Fraction | None:
    return percent_change(quotient(current.down, current.observed), quotient(before.down, before.observed))


def wait_trend(current: Tally, before: Tally) -> Fraction | None:
    return percent_change(average_wait(current), average_wait(before))


def shown_uptime(tally: Tally) -> float | None:
    return rounded_or_none(uptime(tally.operating, tally.down), 1)


def location(park: Park) -> str | None:
    if park.city and park.state_province:
        return f"{park.city}, {park.state_province}"
    if park.city and park.country:
        return f"{park.city}, {park.country}"
    return park.country


def ranked(entries: Iterable[tuple[tuple[Any, ...], Row]]) -> list[Row]:
    """Rows ordered by their key, which ends with the id, and numbered from 1."""
    ordered = sorted(entries, key=lambda entry: entry[0])
    return [{"rank": rank, **row} for rank, (_, row) in enumerate(ordered, start=1)]


# --- the oracle -----------------------------------------------------------------------------------


class Reference:
    def __init__(self, interval_minutes: int, parks: Iterable[Park], rides: Iterable[Ride],
                 schedules: Iterable[Schedule], readings: Iterable[Reading], now: int) -> None:
        self.memory: dict[Any, Any] = {}
        self.interval = 60 * interval_minutes
        self.now = now
        self.today = pacific_date(now)
        self.parks = {park.park_id: park for park in sorted(parks)}
        self.attractions = {ride.ride_id: ride for ride in sorted(rides) if ride.category == "ATTRACTION"}
        self.schedules = list(schedules)
        self.readings: dict[int, list[Reading]] = {ride_id: [] for ride_id in self.attractions}
        for reading in {(one.ride_id, one.slot): one for one in readings}.values():
            if reading.ride_id in self.readings and reading.slot <= now:
                self.readings[reading.ride_id].append(reading)
        for series in self.readings.values():
            series.sort(key=lambda reading: reading.slot)

    @remembered
    def attractions_of(self, park_id: int) -> list[Ride]:
        """Inactive ones too: they belong to their park's numbers."""
        return [ride for ride in self.attractions.values() if ride.park_id == park_id]

    def readings_between(self, ride_id: int, bounds: Interval) -> list[Reading]:
        series = self.readings[ride_id]
        first, after = (bisect_left(series, at, key=lambda reading: reading.slot) for at in bounds)
        return series[first:after]

    def park_readings(self, park_id: int, bounds: Interval) -> dict[int, list[Reading]]:
        """slot -> readings of the park's attractions in it, newest slot last."""
        by_slot: dict[int, list[Reading]] = {}
        for ride in self.attractions_of(park_id):
            for reading in self.readings_between(ride.ride_id, bounds):
                by_slot.setdefault(reading.slot, []).append(reading)
        return dict(sorted(by_slot.items()))

    # Local days: when is the park open, and what was broken?

    def local_day(self, park_id: int, local: date) -> Interval:
        zone = ZoneInfo(self.parks[park_id].timezone)
        return instant(local, LOCAL_DAY_STARTS, zone), instant(local + DAY, LOCAL_DAY_STARTS, zone)

    @remembered
    def local_days(self, park_id: int, day: date) -> list[date]:
        """The park's local days that overlap the Pacific day."""
        near = days_between(day - 2 * DAY, day + 2 * DAY)
        return [local for local in near if cut_all([self.local_day(park_id, local)], pacific_day(day))]

    @remembered
    def local_intervals(self, park_id: int, local: date) -> list[Interval]:
        """When the park is open on its local day."""
        rows = [row for row in self.schedules if row.park_id == park_id]
        if any(abs((row.schedule_date - local).days) <= SCHEDULE_REACH_DAYS for row in rows):
            return self.scheduled_intervals(rows, self.local_day(park_id, local))
        return self.inferred_intervals(park_id, self.local_day(park_id, local))

    def scheduled_intervals(self, rows: list[Schedule], bounds: Interval) -> list[Interval]:
        hours = [(row.opening_at, row.closing_at) for row in rows if row.schedule_type == "OPERATING"
                 and row.opening_at is not None and row.closing_at is not None]
        return merged(cut_all(hours, bounds))

    def inferred_intervals(self, park_id: int, bounds: Interval) -> list[Interval]:
        """From the first to the last slot in which at least half of the attractions read operate."""
        kept = [slot for slot, readings in self.park_readings(park_id, bounds).items()
                if 2 * sum(map(is_operating, readings)) >= len(readings)]
        return cut_all([(kept[0], kept[-1] + self.interval)], bounds) if kept else []

    @remembered
    def open_readings(self, ride_id: int, local: date) -> list[Reading]:
        """The ride's readings inside the open intervals of the local day."""
        park_id = self.attractions[ride_id].park_id
        intervals = self.local_intervals(park_id, local)
        readings = self.readings_between(ride_id, self.local_day(park_id, local))
        return [reading for reading in readings if is_inside(reading.slot, intervals)]

    @remembered
    def service_window(self, ride_id: int, local: date) -> Interval | None:
        """First and last operating slot of the ride on the local day, both included; None without one."""
        slots = [reading.slot for reading in self.open_readings(ride_id, local) if is_operating(reading)]
        return (slots[0], slots[-1]) if slots else None

    def is_down(self, reading: Reading, local: date) -> bool:
        """Of a reading inside the open intervals of the local day."""
        if is_told_down(reading):
            return True
        window = self.service_window(reading.ride_id, local)
        park = self.parks[self.attractions[reading.ride_id].park_id]
        if window is None or not is_possibly_down(reading, park.park_type):
            return False
        # Strictly inside: only a reopening proves that a closed ride was broken.
        return window[0] < reading.slot < window[1]

    @remembered
    def local_outages(self, ride_id: int, local: date) -> list[Outage]:
        outages = []
        for interval in self.local_intervals(self.attractions[ride_id].park_id, local):
            readings = [one for one in self.open_readings(ride_id, local) if is_inside(one.slot, [interval])]
            outages += [self.outage(run, local) for run in self.down_runs(readings, local)]
        return outages

    def down_runs(self, readings: list[Reading], local: date) -> Iterator[list[Reading]]:
        """Maximal runs of down readings; one that is not down ends a run, so do over 30 unknown minutes."""
        run: list[Reading] = []
        for reading in readings:
            missing = reading.slot - run[-1].slot - self.interval if run else 0
            if run and (missing > BRIDGED_SECONDS or not self.is_down(reading, local)):
                yield run
                run = []
            if self.is_down(reading, local):
                run.append(reading)
        if run:
            yield run

    def outage(self, run: list[Reading], local: date) -> Outage:
        window = self.service_window(run[0].ride_id, local)
        return Outage(run[0].ride_id, tuple(reading.slot for reading in run), any(map(is_told_down, run)),
                      window is not None and window[1] > run[-1].slot)

    # Pacific days: counts.

    @remembered
    def open_intervals(self, park_id: int, day: date) -> list[Interval]:
        """Those of the park's local days, cut to the Pacific day; two that touch at 04:00 stay two."""
        return [piece for local in self.local_days(park_id, day)
                for piece in cut_all(self.local_intervals(park_id, local), pacific_day(day))]

    def is_open_at(self, park_id: int, slot: int) -> bool:
        return is_inside(slot, self.open_intervals(park_id, pacific_date(slot)))

    def counted(self, day: date, until: int | None) -> Interval:
        """The part of the Pacific day that is counted: up to `until` (included) and never beyond now."""
        last = self.now if until is None else min(until, self.now)
        return cut(pacific_day(day), (0, last + 1))

    @remembered
    def operated(self, ride_id: int, day: date) -> bool:
        """Whether it operated, or was told down, while open on any part of the Pacific day."""
        bounds = pacific_day(day)
        return any(is_operating(reading) or is_told_down(reading)
                   for local in self.local_days(self.attractions[ride_id].park_id, day)
                   for reading in self.open_readings(ride_id, local) if is_inside(reading.slot, [bounds]))

    @remembered
    def roster(self, park_id: int, day: date) -> list[Ride]:
        """The attractions that operated on any of the seven Pacific days ending with `day`."""
        week = days_between(day - (ROSTER_DAYS - 1) * DAY, day)
        return [ride for ride in self.attractions_of(park_id)
                if any(self.operated(ride.ride_id, one) for one in week)]

    def roster_weight(self, park_id: int, day: date) -> int:
        return sum(WEIGHTS[ride.tier] for ride in self.roster(park_id, day))

    def ride_outages(self, ride_id: int, day: date, bounds: Interval) -> list[Outage]:
        """Whole outages with at least one down slot in `bounds`, which lies in the Pacific day."""
        return [outage for local in self.local_days(self.attractions[ride_id].park_id, day)
                for outage in self.local_outages(ride_id, local)
                if any(is_inside(slot, [bounds]) for slot in outage.slots)]

    @remembered
    def ride_counts(self, ride_id: int, day: date, until: int | None) -> RideDay:
        """The ride's day, still without its score, which needs the park's figures."""
        bounds = self.counted(day, until)
        judged = [(reading, self.is_down(reading, local))
                  for local in self.local_days(self.attractions[ride_id].park_id, day)
                  for reading in self.open_readings(ride_id, local) if is_inside(reading.slot, [bounds])]
        outages = self.ride_outages(ride_id, day, bounds)
        waits = [wait for reading, _ in judged if (wait := counting_wait(reading)) is not None]
        return RideDay(
            weight=WEIGHTS[self.attractions[ride_id].tier],
            samples=len(judged),
            operating=sum(is_operating(reading) for reading, _ in judged),
            down=sum(down for _, down in judged) if self.operated(ride_id, day) else 0,
            incidents=len(outages),
            longest_minutes=max((self.minutes_inside(outage, bounds) for outage in outages), default=None),
            status_changes=sum(self.status_changes(outage, bounds) for outage in outages),
            wait_sum=sum(waits),
            wait_samples=len(waits),
            wait_min=min(waits, default=None),
            wait_max=max(waits, default=None),
            score=None)

    def minutes_inside(self, outage: Outage, bounds: Interval) -> int:
        return self.minutes(sum(is_inside(slot, [bounds]) for slot in outage.slots))

    def status_changes(self, outage: Outage, bounds: Interval) -> int:
        """0 to 2: going down inside `bounds`, coming back from a last down slot inside them."""
        went_down = is_inside(outage.slots[0], [bounds])
        came_back = outage.reopened and is_inside(outage.slots[-1], [bounds])
        return went_down + came_back

    def observed_slots(self, park_id: int, day: date, until: int | None) -> int:
        read = self.park_readings(park_id, self.counted(day, until))
        return sum(is_inside(slot, self.open_intervals(park_id, day)) for slot in read)

    def open_slots(self, park_id: int, day: date, until: int | None) -> int:
        """Slots inside the open intervals, read or not; midnight is one."""
        slots = range(*self.counted(day, until), self.interval)
        return sum(is_inside(slot, self.open_intervals(park_id, day)) for slot in slots)

    @remembered
    def tally_day(self, park_id: int, day: date, until: int | None) -> ParkDay:
        ids = [ride.ride_id for ride in self.attractions_of(park_id)]
        counts = {ride_id: self.ride_counts(ride_id, day, until) for ride_id in ids}
        slots = self.observed_slots(park_id, day, until)
        roster_weight = self.roster_weight(park_id, day)
        rides = {ride_id: ride._replace(score=quotient(10 * ride.weight * ride.down, roster_weight * slots))
                 for ride_id, ride in counts.items()}
        weighted_down = sum(ride.weight * ride.down for ride in rides.values())
        return ParkDay(
            slots=slots,
            open_slots=self.open_slots(park_id, day, until),
            rides_tracked=sum(ride.samples > 0 for ride in rides.values()),
            rides_with_downtime=sum(ride.down > 0 for ride in rides.values()),
            operating=sum(ride.operating for ride in rides.values()),
            down=sum(ride.down for ride in rides.values()),
            weighted_down=weighted_down,
            roster_weight=roster_weight,
            score=quotient(10 * weighted_down, roster_weight * slots),
            wait_sum=sum(ride.wait_sum for ride in rides.values()),
            wait_samples=sum(ride.wait_samples for ride in rides.values()),
            wait_max=highest(ride.wait_max for ride in rides.values()),
            rides=rides)

    def park_day(self, park_id: int, day: date, until: int | None = None) -> Row:
        """The fields of ParkDay; in `rides` those of RideDay for every attraction, 0 and None if never read.

        `until` counts slots up to that instant only; operated and service windows look at the whole day.
        """
        tally = self.tally_day(park_id, day, until)
        rides = {ride_id: ride._asdict() for ride_id, ride in tally.rides.items()}
        return {**tally._asdict(), "rides": rides}

    def outages(self, park_id: int, day: date) -> list[Row]:
        """Outages that overlap the Pacific day, uncut, by start: ride_id, start, end, minutes, told."""
        found = [outage for ride in self.attractions_of(park_id)
                 for outage in self.ride_outages(ride.ride_id, day, pacific_day(day))]
        return [{"ride_id": outage.ride_id, "start": outage.slots[0], "end": outage.slots[-1] + self.interval,
                 "minutes": self.minutes(len(outage.slots)), "told": outage.told}
                for outage in sorted(found, key=lambda outage: (outage.slots[0], outage.ride_id))]

    # Spans of days.

    def span(self, period: str) -> Span:
        """The days of a period or mode; live figures that need a span are today's so far."""
        first, last = {
            "live": (self.today, self.today),
            "today": (self.today, self.today),
            "peak-times": (self.today, self.today),
            "yesterday": (self.today - DAY, self.today - DAY),
            "last_week": (self.sunday() - 7 * DAY, self.sunday() - DAY),
            "last_month": self.month_before(self.today),
            "7day-average": (self.today - 7 * DAY, self.today - DAY),
        }[ALIASES.get(period, period)]
        return tuple((day, None) for day in days_between(first, last))

    def span_before(self, period: str) -> Span:
        """What a span is compared with: yesterday until this time, or as many days, or the month, before."""
        first = self.span(period)[0][0]
        if period in SHOWN_NOW:
            return ((first - DAY, self.same_time_yesterday()),)
        if ALIASES.get(period, period) == "last_month":
            return tuple((day, None) for day in days_between(*self.month_before(first)))
        return tuple((day - len(self.span(period)) * DAY, None) for day, _ in self.span(period))

    def sunday(self) -> date:
        """The Sunday on which the running week began; today if it is one."""
        return self.today - (self.today.weekday() + 1) % 7 * DAY

    def month_before(self, day: date) -> tuple[date, date]:
        last = day.replace(day=1) - DAY
        return last.replace(day=1), last

    def same_time_yesterday(self) -> int:
        """The same Pacific wall-clock time. Of a doubled hour the first; 02:30 in a skipped hour is 03:30."""
        clock = datetime.fromtimestamp(self.now, PACIFIC).time().replace(fold=0)
        return instant(self.today - DAY, clock, PACIFIC)

    def park_tally(self, park_id: int, span: Span) -> Tally:
        days = [self.tally_day(park_id, day, until) for day, until in span]
        return pooled(Tally(day.slots, day.operating, day.down,
                            day.wait_sum, day.wait_samples, day.wait_max) for day in days)

    def ride_tally(self, ride_id: int, span: Span) -> Tally:
        days = [self.ride_counts(ride_id, day, until) for day, until in span]
        return pooled(Tally(day.samples, day.operating, day.down,
                            day.wait_sum, day.wait_samples, day.wait_max) for day in days)

    def weighted_down(self, park_id: int, span: Span) -> int:
        return sum(self.tally_day(park_id, day, until).weighted_down for day, until in span)

    def park_score(self, park_id: int, span: Span) -> Fraction | None:
        return mean(self.tally_day(park_id, day, until).score for day, until in span)

    def rides_with_downtime(self, park_id: int, span: Span) -> set[int]:
        return {ride_id for day, until in span
                for ride_id, ride in self.tally_day(park_id, day, until).rides.items() if ride.down > 0}

    def rides_without_downtime(self, park_id: int, span: Span) -> set[int]:
        """Those that operated in the span and were never down."""
        operated = {ride.ride_id for ride in self.attractions_of(park_id)
                    if any(self.operated(ride.ride_id, day) for day, _ in span)}
        return operated - self.rides_with_downtime(park_id, span)

    def rides_reporting(self, park_id: int, span: Span) -> int:
        """How many attractions have a counting wait above 0."""
        peaks = [self.ride_tally(ride.ride_id, span).wait_max for ride in self.attractions_of(park_id)]
        return sum(peak is not None and peak > 0 for peak in peaks)

    def hours(self, slots: int) -> Fraction:
        return Fraction(slots * self.interval, 3600)

    def minutes(self, slots: int) -> int:
        return slots * self.interval // 60

    # Live.

    @remembered
    def live_slot(self, park_id: int) -> int | None:
        """The newest slot with a reading of the park's attractions, at most two hours old."""
        return highest(self.park_readings(park_id, (self.now - LIVE_SECONDS, self.now + 1)))

    @remembered
    def is_open_now(self, park_id: int) -> bool | None:
        """None without a live slot. Inferred hours hold the newest slot iff half of its readings operate."""
        slot = self.live_slot(park_id)
        return None if slot is None else self.is_open_at(park_id, slot)

    @remembered
    def live_readings(self, park_id: int) -> list[Reading]:
        slot = self.live_slot(park_id)
        return [] if slot is None else self.park_readings(park_id, (slot, slot + 1))[slot]

    @remembered
    def live_statuses(self, park_id: int) -> dict[int, str]:
        """ride_id -> status, for the attractions with a reading in the live slot, inactive ones too."""
        return {reading.ride_id: self.live_status(reading, self.parks[park_id])
                for reading in self.live_readings(park_id)}

    def live_status(self, reading: Reading, park: Park) -> str:
        if not self.is_open_now(park.park_id):
            return "PARK_CLOSED"
        if is_operating(reading):
            return "OPERATING"
        if is_told_down(reading):
            return "DOWN" if reading.slot >= pacific_day(self.today)[0] else "CLOSED"
        if is_possibly_down(reading, park.park_type):
            return "DOWN" if self.ran_lately(reading, park.park_id) else "CLOSED"
        return "REFURBISHMENT" if reading.status == "REFURBISHMENT" else "CLOSED"

    def ran_lately(self, newest: Reading, park_id: int) -> bool:
        """Operating or told down while open, today and within two hours of now. Else it has closed."""
        since = max(self.now - LIVE_SECONDS, pacific_day(self.today)[0])
        return any(self.is_open_at(park_id, reading.slot) and (is_operating(reading) or is_told_down(reading))
                   for reading in self.readings_between(newest.ride_id, (since, newest.slot + 1)))

    def rides_now(self, park_id: int, status: str) -> list[Ride]:
        statuses = self.live_statuses(park_id)
        return [ride for ride in self.attractions_of(park_id) if statuses.get(ride.ride_id) == status]

    def live_score(self, park_id: int) -> Fraction | None:
        if not self.is_open_now(park_id):
            return None
        down_weight = sum(WEIGHTS[ride.tier] for ride in self.rides_now(park_id, "DOWN"))
        return quotient(10 * down_weight, self.roster_weight(park_id, self.today))

    def live_wait(self, ride: Ride) -> int | None:
        """The counting wait of the ride in the live slot of its park, if that slot is open."""
        if not self.is_open_now(ride.park_id):
            return None
        mine = [reading for reading in self.live_readings(ride.park_id) if reading.ride_id == ride.ride_id]
        return counting_wait(mine[0]) if mine else None

    def live_tally(self, park_id: int) -> Tally:
        """The waits of the live slot; the other counts stay 0."""
        waits = [wait for ride in self.attractions_of(park_id) if (wait := self.live_wait(ride)) is not None]
        return Tally(0, 0, 0, sum(waits), len(waits), highest(waits))

    def live_reporting(self, park_id: int) -> int:
        return sum((self.live_wait(ride) or 0) > 0 for ride in self.attractions_of(park_id))

    # Which parks and rides a list is about.

    def listed_parks(self, period: str, filter: str) -> list[Park]:
        """The parks of the filter; inactive ones only where the period lies in the past."""
        return [park for park in self.parks.values()
                if park.park_type in FILTERS[filter] and (park.is_active or period not in SHOWN_NOW)]

    def listed_rides(self, period: str, filter: str) -> list[tuple[Park, Ride]]:
        return [(park, ride) for park in self.listed_parks(period, filter)
                for ride in self.attractions_of(park.park_id) if ride.is_active or period not in SHOWN_NOW]

    def park_columns(self, park: Park, period: str) -> Row:
        return {"park_id": park.park_id, "park_name": park.name, "location": location(park),
                "park_is_open": self.is_open_now(park.park_id) if period in SHOWN_NOW else None}

    def ride_columns(self, park: Park, ride: Ride, period: str) -> Row:
        status = self.shown_status(ride, period)
        return {"ride_id": ride.ride_id, "ride_name": ride.name, "tier": ride.tier,
                "current_is_open": None if status is None else status == "OPERATING",
                **self.park_columns(park, period)}

    def shown_status(self, ride: Ride, period: str) -> str | None:
        """None for past periods and where the live status is unknown."""
        return self.live_statuses(ride.park_id).get(ride.ride_id) if period in SHOWN_NOW else None

    # Rankings and totals.

    def parks_downtime(self, period: str, filter: str = "all-parks",
                       sort_by: str = "shame_score") -> list[Row]:
        span = self.span(period)
        entries = []
        for park in self.listed_parks(period, filter):
            score = self.live_score(park.park_id) if period == "live" else self.park_score(park.park_id, span)
            if score is not None and rounded(score, 1) > 0:
                key = self.park_downtime_key(park.park_id, period, score, sort_by)
                entries.append(((key, park.park_id), self.park_downtime_row(park, period, score)))
        return ranked(entries)

    def park_downtime_key(self, park_id: int, period: str, score: Fraction, sort_by: str) -> Fraction:
        """Smallest first."""
        tally = self.park_tally(park_id, self.span(period))
        if sort_by == "uptime_percentage":
            exact = uptime(tally.operating, tally.down)
            assert exact is not None, "a park with a score above 0 has an operating or down slot"
            return exact
        return -{"shame_score": score, "total_downtime_hours": self.hours(tally.down),
                 "rides_down": Fraction(self.rides_down(park_id, period))}[sort_by]

    def rides_down(self, park_id: int, period: str) -> int:
        if period == "live":
            return len(self.rides_now(park_id, "DOWN"))
        return len(self.rides_with_downtime(park_id, self.span(period)))

    def park_downtime_row(self, park: Park, period: str, score: Fraction) -> Row:
        span = self.span(period)
        tally = self.park_tally(park.park_id, span)
        trend = downtime_trend(tally, self.park_tally(park.park_id, self.span_before(period)))
        row = {
            **self.park_columns(park, period),
            "shame_score": rounded(score, 1),
            "total_downtime_hours": rounded(self.hours(tally.down), 2),
            "weighted_downtime_hours": rounded(self.hours(self.weighted_down(park.park_id, span)), 2),
            "uptime_percentage": shown_uptime(tally),
            "rides_down": self.rides_down(park.park_id, period),
            "trend_percentage": rounded_or_none(trend, 1),
        }
        if period == "live":
            row["total_rides"] = len(self.roster(park.park_id, self.today))
        if period == "today":
            row["rides_operating"] = len(self.rides_now(park.park_id, "OPERATING"))
            row["effective_park_weight"] = self.roster_weight(park.park_id, self.today)
            row["snapshot_count"] = tally.observed
        return row

    def aggregate_stats(self, period: str, filter: str = "all-parks") -> Row:
        """Totals over the parks of the filter: their own numbers, which include their inactive rides."""
        parks = self.listed_parks(period, filter)
        tallies = [self.park_tally(park.park_id, self.span(period)) for park in parks]
        total = (sum(self.is_open_now(park.park_id) is True for park in parks) if period == "live"
                 else sum(tally.observed > 0 for tally in tallies))
        down = sum(tally.down for tally in tallies)
        percentage = uptime(sum(tally.operating for tally in tallies), down)
        return {
            "period": ALIASES.get(period, period),
            "filter_disney_universal": filter == "disney-universal",
            "total_parks": total,
            "total_parks_tracked": total,
            "total_downtime_hours": rounded(self.hours(down), 2),
            "avg_uptime_percentage": rounded(100 if percentage is None else percentage, 1),
            **self.aggregate_rides(period, filter),
        }

    def aggregate_rides(self, period: str, filter: str) -> Row:
        span = self.span(period)
        parks = self.listed_parks(period, filter)
        down = {ride_id for park in parks for ride_id in self.rides_with_downtime(park.park_id, span)}
        if period not in SHOWN_NOW:
            quiet = sum(len(self.rides_without_downtime(park.park_id, span)) for park in parks)
            return {"rides_operating": quiet, "rides_down": len(down),
                    "rides_closed": 0, "rides_refurbishment": 0}
        now = {status: sum(len(self.rides_now(park.park_id, status)) for park in parks)
               for status in ("OPERATING", "DOWN", "CLOSED", "REFURBISHMENT")}
        return {"rides_operating": now["OPERATING"],
                "rides_down": now["DOWN"] if period == "live" else len(down),
                "rides_closed": now["CLOSED"],
                "rides_refurbishment": now["REFURBISHMENT"]}

    def status_summary(self, filter: str = "all-parks", park_id: int | None = None) -> dict[str, int]:
        """Active attractions of active parks by live status; `total` is their sum."""
        statuses = [self.live_statuses(park.park_id).get(ride.ride_id)
                    for park, ride in self.listed_rides("live", filter) if park_id in (None, park.park_id)]
        names = ("OPERATING", "DOWN", "CLOSED", "REFURBISHMENT", "PARK_CLOSED")
        counts = {name: statuses.count(name) for name in names}
        return {**counts, "total": sum(counts.values())}

    def rides_downtime(self, period: str, filter: str = "all-parks",
                       sort_by: str = "downtime_hours") -> list[Row]:
        span = self.span(period)
        entries = []
        for park, ride in self.listed_rides(period, filter):
            tally = self.ride_tally(ride.ride_id, span)
            if rounded(self.hours(tally.down), 2) > 0:
                trend = downtime_trend(tally, self.ride_tally(ride.ride_id, self.span_before(period)))
                row = self.ride_downtime_row(park, ride, period, tally, trend)
                key = self.ride_downtime_key(tally, trend, row["current_is_open"], sort_by)
                entries.append(((*key, ride.ride_id), row))
        return ranked(entries)

    def ride_downtime_key(self, tally: Tally, trend: Fraction | None, is_open: bool | None,
                          sort_by: str) -> tuple[Any, ...]:
        """Smallest first."""
        if sort_by == "uptime_percentage":
            return (uptime(tally.operating, tally.down),)
        if sort_by == "trend_percentage":
            return (trend is None, -(trend or 0))
        if sort_by == "current_is_open":
            return ([False, None, True].index(is_open), -tally.down)
        return {"downtime_hours": (-tally.down,)}[sort_by]

    def ride_downtime_row(self, park: Park, ride: Ride, period: str, tally: Tally,
                          trend: Fraction | None) -> Row:
        row = {
            **self.ride_columns(park, ride, period),
            "downtime_hours": rounded(self.hours(tally.down), 2),
            "uptime_percentage": shown_uptime(tally),
            "trend_percentage": rounded_or_none(trend, 1),
            "peak_wait_time": tally.wait_max,
            "avg_wait_time": rounded_or_none(average_wait(tally), 1),
        }
        if period in SHOWN_NOW:
            row["current_status"] = self.shown_status(ride, period)
        else:
            days = [self.ride_counts(ride.ride_id, day, until) for day, until in self.span(period)]
            row["status_changes"] = sum(day.status_changes for day in days)
        return row

    def parks_waittimes(self, period: str, filter: str = "all-parks") -> list[Row]:
        entries = []
        for park in self.listed_parks(period, filter):
            tally = self.park_waits(park.park_id, period)
            average = average_wait(tally)
            if average is not None and rounded(average, 1) > 0:
                entries.append(((-average, park.park_id), self.park_wait_row(park, period, tally, average)))
        return ranked(entries)

    def park_waits(self, park_id: int, period: str) -> Tally:
        return self.live_tally(park_id) if period == "live" else self.park_tally(park_id, self.span(period))

    def park_wait_row(self, park: Park, period: str, tally: Tally, average: Fraction) -> Row:
        live = period == "live"
        trend = None if live else wait_trend(tally, self.park_tally(park.park_id, self.span_before(period)))
        return {
            **self.park_columns(park, period),
            "avg_wait_minutes": rounded(average, 1),
            "peak_wait_minutes": tally.wait_max,
            "rides_reporting": (self.live_reporting(park.park_id) if live
                                else self.rides_reporting(park.park_id, self.span(period))),
            "trend_percentage": rounded_or_none(trend, 1),
        }

    def rides_waittimes(self, mode: str, filter: str = "all-parks") -> list[Row]:
        entries = []
        for park, ride in self.listed_rides(mode, filter):
            tally = self.ride_tally(ride.ride_id, self.span(mode))
            now = self.live_wait(ride)
            average = (None if now is None else Fraction(now)) if mode == "live" else average_wait(tally)
            measure = Fraction(tally.wait_max or 0) if mode == "peak-times" else average
            if average is not None and measure is not None and self.is_listed_wait(measure, mode):
                row = self.ride_wait_row(park, ride, mode, tally, average)
                entries.append(((-measure, ride.ride_id), row))
        return ranked(entries)

    def is_listed_wait(self, measure: Fraction, mode: str) -> bool:
        return measure > 0 if mode == "peak-times" else rounded(measure, 1) > 0

    def ride_wait_row(self, park: Park, ride: Ride, mode: str, tally: Tally, average: Fraction) -> Row:
        live = mode == "live"
        trend = None if live else wait_trend(tally, self.ride_tally(ride.ride_id, self.span_before(mode)))
        row = {
            **self.ride_columns(park, ride, mode),
            "avg_wait_minutes": rounded(average, 1),
            "peak_wait_minutes": tally.wait_max,
            "trend_percentage": rounded_or_none(trend, 1),
        }
        if live:
            row["current_wait_minutes"] = self.live_wait(ride)
        elif mode in SHOWN_NOW:
            status = self.shown_status(ride, mode)
            row["current_wait_time"] = self.live_wait(ride)
            row["current_status"] = "CLOSED" if status == "PARK_CLOSED" else status
        return row


# --- recordings -----------------------------------------------------------------------------------


def load(folder: Path,
         interval_minutes: int) -> tuple[int, list[Park], list[Ride], list[Schedule], list[Reading]]:
    """The arguments of Reference but `now`, from a folder of recorded CSV files."""
    parks = [park_from(row) for row in rows_of(folder / "parks.csv")]
    rides = [ride_from(row) for row in rows_of(folder / "rides.csv")]
    rides = [ride for ride in rides if "single rider" not in ride.name.lower()]
    readings = load_readings(folder, {ride.ride_id for ride in rides}, interval_minutes * 60)
    return interval_minutes, parks, rides, load_schedules(folder, parks, rides), readings


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of `path` or of its gzipped twin; none if there is neither."""
    packed = path.with_name(path.name + ".gz")
    if not path.exists() and not packed.exists():
        return []
    content = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def number(text: str | None) -> int | None:
    return int(text) if text else None


def flag(text: str | None) -> bool | None:
    return text.lower() in ("1", "true") if text else None


def seconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp())


def is_active(row: dict[str, str]) -> bool:
    return flag(row.get("is_active")) is not False


def park_from(row: dict[str, str]) -> Park:
    return Park(int(row["park_id"]), row["name"], row["operator"], row["timezone"], is_active(row),
                row.get("city") or None, row.get("state_province") or None, row["country"] or None,
                number(row.get("queue_times_id")))


def ride_from(row: dict[str, str]) -> Ride:
    return Ride(int(row["ride_id"]), int(row["park_id"]), row["name"], row.get("category") or "ATTRACTION",
                number(row.get("tier")), is_active(row), number(row.get("queue_times_id")))


def load_readings(folder: Path, ride_ids: set[int], interval: int) -> list[Reading]:
    """One reading per ride and slot: of several the latest recorded, and of those the last in the file."""
    latest: dict[tuple[int, int], tuple[int, Reading]] = {}
    for row in rows_of(folder / "ride_status_snapshots.csv"):
        ride_id, recorded = int(row["ride_id"]), seconds(row["recorded_at_utc"])
        slot = recorded - recorded % interval
        if ride_id in ride_ids and recorded >= latest.get((ride_id, slot), (recorded,))[0]:
            latest[ride_id, slot] = (recorded, reading_from(row, slot))
    return [reading for _, reading in latest.values()]


def reading_from(row: dict[str, str], slot: int) -> Reading:
    return Reading(int(row["ride_id"]), slot, row["status"] or None, flag(row["is_open"]),
                   sane_wait(row["wait_time"]))


def sane_wait(text: str) -> int | None:
    wait = number(text)
    return wait if wait is not None and 0 <= wait <= LONGEST_WAIT else None


def load_schedules(folder: Path, parks: list[Park], rides: list[Ride]) -> list[Schedule]:
    """The posted hours of the parks, or failing those the hours of their rides."""
    posted = [Schedule(int(row["park_id"]), date.fromisoformat(row["schedule_date"]), row["type"],
                       seconds(row["opening_at_utc"]) if row["opening_at_utc"] else None,
                       seconds(row["closing_at_utc"]) if row["closing_at_utc"] else None)
              for row in rows_of(folder / "park_schedules.csv")]
    return posted or schedules_from_rides(folder, parks, rides)


def schedules_from_rides(folder: Path, parks: list[Park], rides: list[Ride]) -> list[Schedule]:
    """Per park and Pacific day: from the earliest start to the latest end of the rides' "Operating" hours."""
    park_ids = {ride.ride_id: ride.park_id for ride in rides}
    hours: dict[tuple[int, date], list[Interval]] = {}
    for row in rows_of(folder / "ride_operating_hours.csv"):
        if row["type"] == "Operating" and int(row["ride_id"]) in park_ids:
            start, end = seconds(row["starts_at_utc"]), seconds(row["ends_at_utc"])
            hours.setdefault((park_ids[int(row["ride_id"])], pacific_date(start)), []).append((start, end))
    zones = {park.park_id: ZoneInfo(park.timezone) for park in parks}
    spans = [(park_id, min(start for start, _ in pairs), max(end for _, end in pairs))
             for (park_id, _), pairs in hours.items()]
    return [Schedule(park_id, datetime.fromtimestamp(start, zones[park_id]).date(), "OPERATING", start, end)
            for park_id, start, end in spans]
