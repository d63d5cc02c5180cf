"""A world of theme parks that is the same whenever and in whatever order it is looked at.

Every park's and ride's day follows from the seed, its id and the date alone. A ride's local day is painted minute by
minute (state and posted wait) and then read at the slots, so that any interval sees the same world.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time, timedelta
from functools import cached_property
from math import log, pi, sin
from random import Random
from typing import NamedTuple

from service.feeds import Opening, ParkRecord, RideRecord
from service.feeds.invented import Site, Trait, catalog
from service.periods import Interval, local_day, local_days, pacific_date, pacific_day, wall_clock
from service.rules import Category, ParkType, ScheduleType, Status

Observed = tuple[Status | None, bool | None, int | None]  # status, flag, posted wait in minutes
SlotReading = tuple[int, int, Status | None, bool | None, int | None]  # slot, ride's source id, what was observed

MISSING = 0  # beside the values of Status
NO_WAIT = 255
LONGEST_WAIT = 240

WEEKDAY_CROWDS = (0.8, 0.7, 0.75, 0.85, 1.0, 1.4, 1.2)
SEASON_CYCLE, SEASON_REST = 42, 14  # days of a seasonal park's cycle, and how many of them it is closed
ERA = 150  # days in which a ride may go into refurbishment once
TYPICAL_WAITS = {1: (35, 80), 2: (15, 45), 3: (5, 20), None: (5, 40)}  # minutes, by tier


class Habits(NamedTuple):
    """How a ride behaves on all its days."""

    popularity: float  # minutes of wait at an ordinary midday
    posts_wait: bool
    outages_per_minute: float
    outdoors: bool
    weekends_only: bool
    stops_early: int  # minutes before its park closes
    refurbishments: bool


class ParkDay(NamedTuple):
    """What all rides of a park share on a local day. Minutes count from the day's start."""

    day: date
    bounds: Interval
    hours: tuple[int, int] | None  # opening and closing minute
    early_entry: int  # minutes that some rides run before opening
    event: tuple[int, int] | None  # an evening event after closing
    crowd: float
    storms: list[tuple[int, int]]
    blackouts: list[tuple[int, int]]  # everything stands still

    @property
    def minutes(self) -> int:
        """1380, 1440 or 1500."""
        return (self.bounds.end - self.bounds.start) // 60


class World:
    """The simulated parks. Parks and rides are named by their source ids."""

    def __init__(self, parks: int, seed: int, scale: str) -> None:
        """Raises BadRequest for a number of parks or a scale that the simulator does not have."""
        self.seed, self.scale = seed, scale
        sites, self.rides = catalog(parks, seed, scale)
        self.sites = {site.record.source_id: site for site in sites}

    @property
    def parks(self) -> list[ParkRecord]:
        """As a feed describes them."""
        return [site.record for site in self.sites.values()]

    @cached_property
    def rides_of(self) -> dict[int, list[tuple[RideRecord, Habits]]]:
        """Per park: its rides and their habits."""
        groups: dict[int, list[tuple[RideRecord, Habits]]] = {park_id: [] for park_id in self.sites}
        for ride in self.rides:
            groups[ride.park_source_id].append((ride, self._habits(ride)))
        return groups

    # --- hours -------------------------------------------------------------------------------------------------------

    def openings(self, park_id: int, day: date) -> list[Opening]:
        """The schedule a park posts for its own date `day`; empty for a park that posts none."""
        site = self.sites[park_id]
        return [] if Trait.UNSCHEDULED in site.traits else _opening_rows(site, day)

    def _park_day(self, park_id: int, day: date) -> ParkDay:
        site = self.sites[park_id]
        bounds = local_day(day, site.record.timezone)
        posted = {row.schedule_type: _minutes(row, bounds) for row in _opening_rows(site, day)}
        hours = posted.get(ScheduleType.OPERATING)
        extra = posted.get(ScheduleType.EXTRA_HOURS)
        rng = self._random("park", park_id, day)
        season = 1 + 0.25 * _warmth(site, day)
        return ParkDay(
            day=day,
            bounds=bounds,
            hours=hours,
            early_entry=extra[1] - extra[0] if extra else 0,
            event=posted.get(ScheduleType.TICKETED_EVENT),
            crowd=season * WEEKDAY_CROWDS[day.weekday()] * rng.lognormvariate(0, 0.2),
            storms=_spells(rng, hours, chance=0.12, median=45),
            blackouts=_spells(rng, hours, chance=0.01, median=30),
        )

    # --- rides -------------------------------------------------------------------------------------------------------

    def _habits(self, ride: RideRecord) -> Habits:
        rng = self._random("ride", ride.source_id)
        care = self._random("care", ride.park_source_id).lognormvariate(0, 0.45)  # how well the park maintains
        is_attraction = ride.category is Category.ATTRACTION
        return Habits(
            popularity=rng.uniform(*TYPICAL_WAITS[ride.tier]),
            posts_wait=is_attraction and rng.random() < 0.8,
            outages_per_minute=care * min(rng.lognormvariate(log(0.3), 0.8), 2.5) / 720,
            outdoors=rng.random() < 0.45,
            weekends_only=is_attraction and rng.random() < 0.04,
            stops_early=rng.choice((0, 0, 0, 0, 0, 0, 0, 30, 60)),
            refurbishments=is_attraction,
        )

    def _refurbishing(self, ride: RideRecord, day: date) -> bool:
        """A ride in seven goes into refurbishment in an era, for one to seven weeks."""
        era, today = divmod(day.toordinal(), ERA)
        for number, at in ((era, today), (era - 1, today + ERA)):
            rng = self._random("refurbishment", ride.source_id, number)
            begins, length = rng.randrange(ERA), rng.randint(8, 50)
            if rng.random() < 0.15 and begins <= at < begins + length:
                return True
        return False

    def _ride_day(self, site: Site, ride: RideRecord, habits: Habits, park: ParkDay) -> RideDay:
        rng = self._random("ride", ride.source_id, park.day)
        line = RideDay(rng, habits, park.minutes, _breakdown_state(site, rng))
        if habits.refurbishments and self._refurbishing(ride, park.day):
            line.paint(0, park.minutes, Status.REFURBISHMENT)
        elif park.hours and not (habits.weekends_only and park.day.weekday() < 5):
            line.run(ride, park, *park.hours)
        line.lose_readings()
        return line

    # --- readings ----------------------------------------------------------------------------------------------------

    def readings(self, park_id: int, day: date, interval_minutes: int) -> Iterator[SlotReading]:
        """What a feed said of each ride of a park in each slot of the Pacific day `day`, in slot order.

        Slots in which the collector was off and readings that got lost are absent.
        """
        yield from self._readings(park_id, pacific_day(day), interval_minutes * 60)

    def slot_readings(self, park_id: int, slot: int, interval_minutes: int) -> Iterator[SlotReading]:
        """The same of one slot, in epoch seconds."""
        yield from self._readings(park_id, Interval(slot, slot + interval_minutes * 60), interval_minutes * 60)

    def _readings(self, park_id: int, span: Interval, step: int) -> Iterator[SlotReading]:
        slots = range(-(-span.start // step) * step, span.end, step)
        ids = [ride.source_id for ride, _ in self.rides_of[park_id]]
        off = self.collector_gaps(pacific_date(span.start))
        for slot, row in zip(slots, zip(*self._columns(park_id, span, step), strict=True), strict=True):
            if any(gap.start <= slot < gap.end for gap in off):
                continue
            for ride_id, observed in zip(ids, row, strict=True):
                if observed is not None:
                    yield (slot, ride_id, *observed)

    def _columns(self, park_id: int, span: Interval, step: int) -> list[list[Observed | None]]:
        """Per ride of a park: what its feed says of it in the slots of `span`, `step` seconds apart."""
        site, rides = self.sites[park_id], self.rides_of[park_id]
        table = _TOLD if Trait.TELLS_STATUS in site.traits else _FLAGGED
        columns: list[list[Observed | None]] = [[] for _ in rides]
        for local in local_days(span, site.record.timezone):
            park = self._park_day(park_id, local)
            seen = _sample(park.bounds, span, step)
            for column, (ride, habits) in zip(columns, rides, strict=True):
                line = self._ride_day(site, ride, habits, park)
                column += [table[state][wait] for state, wait in zip(line.states[seen], line.waits[seen], strict=True)]
        return columns

    def collector_gaps(self, day: date) -> list[Interval]:
        """When the collector was off on a Pacific day, for all parks: mostly for minutes, seldom for hours."""
        span = pacific_day(day)
        spells = _spells(self._random("collector", day), (0, (span.end - span.start) // 60), chance=0.2, median=25)
        return [Interval(span.start + start * 60, span.start + end * 60) for start, end in spells]

    def _random(self, *names: object) -> Random:
        """Chance that depends on the seed and `names` alone: a text seeds alike in every process."""
        return Random("/".join(map(str, (self.seed, *names))))


class RideDay:
    """One ride's local day, a byte for each minute: its state (a Status or MISSING) and its posted wait."""

    def __init__(self, rng: Random, habits: Habits, minutes: int, broken: Status) -> None:
        self.rng, self.habits, self.broken = rng, habits, broken
        self.states = bytearray([Status.CLOSED]) * minutes
        self.waits = bytearray([NO_WAIT]) * minutes

    def paint(self, start: int, end: int, state: int) -> None:
        """Set the state of the minutes [start, end) that lie in the day."""
        start, end = max(start, 0), min(end, len(self.states))
        if start < end:
            self.states[start:end] = bytes([state]) * (end - start)

    def run(self, ride: RideRecord, park: ParkDay, opening: int, closing: int) -> None:
        """An ordinary day: it runs, with waits, and breaks down now and then."""
        if ride.category is Category.SHOW:
            for start in range(opening + self.rng.randrange(30, 90), closing - 30, 90):
                self.paint(start, start + 30, Status.OPERATING)
            return
        # The last guests in the queue still ride when the park has closed.
        end = closing - self.habits.stops_early or closing + self.rng.randrange(15)
        self.paint(opening - (park.early_entry if ride.tier in (1, 2) else 0), end, Status.OPERATING)
        if park.event and ride.tier == 1:
            self.paint(*park.event, Status.OPERATING)
        if self.habits.posts_wait:
            self._post_waits(opening, closing, park.crowd)
        self._break_down(opening, min(end, closing))
        self._stand_still(park)

    def _post_waits(self, opening: int, closing: int, crowd: float) -> None:
        """Waits rise until noon, sag, and rise again; they change in steps of five minutes every while."""
        at = opening
        while at < closing:
            part = pi * (at - opening) / (closing - opening)
            usual = self.habits.popularity * crowd * (sin(part) ** 0.6 + 0.15 * sin(3 * part))
            wait = 5 * round(usual * self.rng.uniform(0.75, 1.3) / 5)
            length = self.rng.randrange(6, 35)
            self.waits[at : at + length] = bytes([min(max(wait, 0), LONGEST_WAIT)]) * length
            at += length

    def _break_down(self, opening: int, end: int) -> None:
        """Outages of 25 minutes in the middle and of hours at the far end; and three kinds that last."""
        rng, rate = self.rng, self.habits.outages_per_minute
        at = opening + rng.expovariate(rate)
        while at < end:
            length = min(max(rng.lognormvariate(log(25), 0.9), 3), 480)
            self.paint(int(at), min(int(at + length), end), self.broken)
            at += length + rng.expovariate(rate)
        fate, long_day = rng.random(), end - opening
        if fate < 0.03:  # opens late
            self.paint(opening - 60, min(opening + int(rng.lognormvariate(log(35), 0.7)), end), self.broken)
        elif fate < 0.04:  # is out of order for an afternoon
            start = opening + int(long_day * rng.uniform(0.25, 0.5))
            self.paint(start, start + int(long_day * rng.uniform(0.3, 0.45)), self.broken)
        elif fate < 0.055:  # does not come back in the evening
            self.paint(opening + int(long_day * rng.uniform(0.75, 0.95)), end + 30, self.broken)

    def _stand_still(self, park: ParkDay) -> None:
        """What stops many rides at once. Where they were closed anyway they stay so."""
        for start, end in [*park.blackouts, *(park.storms if self.habits.outdoors else [])]:
            for minute in range(start, min(end + self.rng.randrange(20), len(self.states))):
                if self.states[minute] == Status.OPERATING:
                    self.states[minute] = self.broken

    def lose_readings(self) -> None:
        """Now and then the feed forgets a ride for a while."""
        for start, end in _spells(self.rng, (0, len(self.states)), chance=0.06, median=20):
            self.paint(start, end, MISSING)


# --- what a feed makes of a state ------------------------------------------------------------------------------------


def _told(state: int, wait: int) -> Observed | None:
    if state == MISSING:
        return None
    posted = wait if state == Status.OPERATING and wait != NO_WAIT else None
    return Status(state), None, posted


def _flagged(state: int, wait: int) -> Observed | None:
    """Such feeds give 0 for every wait they do not know."""
    if state == MISSING:
        return None
    is_open = state == Status.OPERATING
    return None, is_open, wait if is_open and wait != NO_WAIT else 0


# By state and wait: a look-up costs a tenth of deciding anew for every reading.
_TOLD = [[_told(state, wait) for wait in range(256)] for state in range(5)]
_FLAGGED = [[_flagged(state, wait) for wait in range(256)] for state in range(5)]


def _breakdown_state(site: Site, rng: Random) -> Status:
    """How a park's feed reports what is broken: Disney and Universal as DOWN, most others as CLOSED."""
    tells = site.record.park_type is not ParkType.OTHER or rng.random() < 0.3
    return Status.DOWN if tells else Status.CLOSED


# --- hours, seasons, spells ------------------------------------------------------------------------------------------


def _opening_rows(site: Site, day: date) -> list[Opening]:
    """A park's hours of its own date, whether it posts them or not: longer in summer and at weekends."""
    if Trait.SEASONAL in site.traits and day.toordinal() % SEASON_CYCLE < SEASON_REST:
        midnight = _at(site, day, 0)
        return [Opening(day, ScheduleType.CLOSED, midnight, midnight)]
    opens = 9 * 60 if site.record.park_type is not ParkType.OTHER or day.weekday() >= 5 else 10 * 60
    closes = 60 * (18 + site.record.source_id % 3 + (day.weekday() >= 4) + round(1.5 + 1.5 * _warmth(site, day)) // 2)
    if Trait.LATE in site.traits:
        closes = 60 * (25 if day.weekday() in (4, 5) else 24)
    rows = [_row(site, day, ScheduleType.OPERATING, opens, closes)]
    if site.record.park_type is ParkType.DISNEY:
        rows.append(_row(site, day, ScheduleType.EXTRA_HOURS, opens - 30, opens))
    if site.record.park_type is ParkType.UNIVERSAL and day.weekday() == 4:
        rows.append(_row(site, day, ScheduleType.TICKETED_EVENT, closes + 60, closes + 240))
    return rows


def _row(site: Site, day: date, kind: ScheduleType, opens: int, closes: int) -> Opening:
    return Opening(day, kind, _at(site, day, opens), _at(site, day, closes))


def _at(site: Site, day: date, minutes: int) -> int:
    """Epoch seconds of a clock time on `day`, in minutes since its midnight; from 1440 on it is the next day's."""
    days, rest = divmod(minutes, 24 * 60)
    return wall_clock(day + timedelta(days=days), time(*divmod(rest, 60)), site.record.timezone)


def _minutes(row: Opening, bounds: Interval) -> tuple[int, int]:
    return (row.opening_at - bounds.start) // 60, (row.closing_at - bounds.start) // 60


def _warmth(site: Site, day: date) -> float:
    """-1 in the depth of the park's winter, 1 in its high summer."""
    north = sin(2 * pi * (day.timetuple().tm_yday - 105) / 365)
    return north if (site.record.latitude or 0) >= 0 else -north


def _spells(rng: Random, within: tuple[int, int] | None, *, chance: float, median: float) -> list[tuple[int, int]]:
    """Minutes [start, end) of something that may happen in a day, in rare cases again later; median in minutes."""
    spells: list[tuple[int, int]] = []
    if within is None:
        return spells
    first, last = within
    while first < last and rng.random() < chance:
        start = rng.randrange(first, last)
        first = min(start + max(3, int(rng.lognormvariate(log(median), 0.8))), last)
        spells.append((start, first))
    return spells


def _sample(bounds: Interval, span: Interval, step: int) -> slice:
    """Which minutes of a local day are the slots that it has in `span`."""
    first = -(-max(bounds.start, span.start) // step) * step
    end = min(bounds.end, span.end)
    return slice((first - bounds.start) // 60, (end - bounds.start) // 60, step // 60)
