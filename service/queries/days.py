"""The one door to counts: stored days where the ledger says they are right, raw readings everywhere else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import date, datetime, timedelta
from functools import cached_property
from operator import attrgetter
from threading import Lock
from typing import Any, NamedTuple

from peewee import Expression, fn

from service import rules
from service.database import among, fetch
from service.models import DailyParkStats, DailyStats, RideStatusSnapshot, StatDay
from service.models.base import rows
from service.periods import (
    SETTLING_SECONDS,
    Interval,
    Span,
    epoch,
    last_days,
    local_days,
    pacific_date,
    pacific_day,
    settles_at,
    week_of,
)
from service.queries import hours, state
from service.queries.catalog import ParkFacts, park_zones, universe
from service.queries.hours import NO_SCHEDULE, Schedule, as_date
from service.queries.parts import Cells, Part, PartTally, park_parts, ride_parts
from service.queries.tally import DayTally, LocalDay, ParkTally, Readings, RideTally, Wanted, count, judged_days

MINUTES = {"operating", "down", "longest"}  # stored as minutes, tallied as slots
EXTREMES = {"wait_max"}  # may be unknown

ADOPTED_VERSION = 0  # of days that another system counted: the readings held of them, if any, are a part
LATEST_SETTLING = 26 * 3600  # no park's local day ends later than this after the Pacific day it overlaps


class Stored(NamedTuple):
    """Days whose rows of one version hold: for all parks, or for these."""

    version: int
    days: tuple[date, ...]
    park_ids: tuple[int, ...] | None = None


class CloseTally(NamedTuple):
    """One ride's Pacific day, whole and by the starts of cells of time."""

    whole: DayTally
    cells: dict[int, RideTally]


class _Entry(NamedTuple):
    stat_date: date | str
    metrics_version: int
    computed_at: int
    dirty: int


class Tallies:
    """All counts as of one instant. Remembers what it counted: one answer counts each park and day once."""

    def __init__(
        self,
        now: datetime,
        *,
        version: int | None = None,
        recount: bool = False,
        only: int | None = None,
        shared: bool = False,
    ) -> None:
        """`version`: compute for it, whatever is active. `recount`: count the readings of stored days too, where they
        are held and rows of the same rules stand. `only`: the one park that will be asked for; that reads less.
        `shared`: several answers look at this, so that each day is counted for all of them at once."""
        self.now = epoch(now)
        self.only = None if only is None else (only,)
        self.recount = recount
        self.shared = shared
        self.universe = universe(only)
        self.version = version or state.active_version()
        self.least_version = version or 0  # what is computed must not rest on rows of older rules
        self.interval_minutes = state.interval_minutes()
        self.step = self.interval_minutes * 60
        self.revision = state.get_state(state.REVISION_HISTORY) or 0
        raw_from = state.get_state(state.RAW_FROM)
        oldest = _oldest_slot(raw_from)
        self.first_day = _first_whole_day(oldest, raw_from)
        self.held = self._held(oldest)
        self._schedules: dict[date, dict[int, Schedule]] = {}  # by the first of the week
        self._openings: dict[tuple[int, date], list[Interval]] = {}
        self._counts: dict[tuple[int, date, int], DayTally] = {}  # by park, day and last slot counted
        self._judged_days: dict[tuple[int, date], list[LocalDay]] = {}
        self._stored_rosters: dict[Stored, dict[int, set[int]]] = {}
        self._ledgers: dict[tuple[date, ...], dict[date, list[_Entry]]] = {}

    @cached_property
    def covered(self) -> Interval | None:
        """From when until when readings are held that can be counted, at most until now; None without any. A reading
        holds for its slot."""
        if self.first_day is None:
            return None
        first = max(self.held.start, pacific_day(self.first_day).start)
        last = min(self.held.end - 1 + self.step, self.now)
        return Interval(first, last) if first < last else None

    def park_days(
        self, span: Span, parks: Iterable[ParkFacts], wanted: Wanted = Wanted.ALL, *, pooled: bool = False
    ) -> list[ParkTally]:
        """One ParkTally per park and day of `span` with anything observed, by day and park.

        `pooled`: stored days of a park are one, and there may be no scores; that spares counting the week before.
        """
        wanted_parks = {park.park_id: park for park in parks}
        stored, raw = self._sources(span, list(wanted_parks.values()))
        found = [
            row
            for source in stored
            for row in (self._pooled_parks(source) if pooled else self._stored_parks(source))
            if row.park_id in wanted_parks
        ]
        roster = Wanted.DOWN in wanted and not pooled
        found += [self.park_day(park, day, span.until, wanted, roster=roster) for day, park in raw]
        return sorted((row for row in found if row.slots), key=attrgetter("day", "park_id"))

    def rides(
        self,
        span: Span,
        parks: Iterable[ParkFacts],
        wanted: Wanted = Wanted.ALL,
        only: Collection[int] | None = None,
    ) -> dict[int, RideTally]:
        """One RideTally per ride (or of these ids) with readings while its park was open in `span`, summed over the
        days."""
        totals: dict[int, RideTally] = {}
        for _, ride in self._rides(span, parks, wanted, only, by_day=False):
            known = totals.get(ride.ride_id)
            totals[ride.ride_id] = known.plus(ride) if known else ride
        return totals

    def ride_days(
        self, span: Span, parks: Iterable[ParkFacts], only: Collection[int] | None = None
    ) -> dict[date, list[RideTally]]:
        """The same day by day."""
        found: dict[date, list[RideTally]] = defaultdict(list)
        for day, ride in self._rides(span, parks, Wanted.ALL, only, by_day=True):
            found[day].append(ride)
        return found

    def _rides(
        self, span: Span, parks: Iterable[ParkFacts], wanted: Wanted, only: Collection[int] | None, *, by_day: bool
    ) -> Iterator[tuple[date, RideTally]]:
        of_park = {park.park_id: park for park in parks}
        stored, raw = self._sources(span, list(of_park.values()))
        for source in stored:
            # The database need not look at the rides of all parks for the days of a few.
            few = source._replace(park_ids=tuple(of_park)) if by_day and source.park_ids is None else source
            found = self._stored_rides(few, wanted, only, by_day=by_day)
            # A ride that is no attraction any more is in no list, though its days are in those of its park.
            known = self.universe.rides
            yield from ((day, ride) for day, ride in found if ride.park_id in of_park and ride.ride_id in known)
        for day, park in raw:
            rides = self.count(park, day, span.until, wanted).rides.values()
            yield from ((day, ride) for ride in rides if only is None or ride.ride_id in only)

    def stored_parks(self, days: tuple[date, ...]) -> list[ParkTally]:
        """The rows that readers take of these days, if they are stored: those with nothing observed too."""
        return [row for source in self.stored(days) for row in self._stored_parks(source)]

    def stored(self, days: tuple[date, ...]) -> list[Stored]:
        """Those of the days, in order, whose stored rows readers take, by version."""
        entries = self._ledger(days)
        whole: dict[int, list[date]] = defaultdict(list)
        for day in days:
            version, settled_by = self._standing(day, entries[day])
            if settled_by is not None:
                whole[version].append(day)
        return [Stored(version, tuple(found)) for version, found in whole.items()]

    def from_rows(self, span: Span, park: ParkFacts) -> set[date]:
        """The days of `span` that are read from stored rows, if anything is."""
        return {day for source in self._sources(span, [park])[0] for day in source.days}

    def park_day(
        self,
        park: ParkFacts,
        day: date,
        until: int | None = None,
        wanted: Wanted = Wanted.ALL,
        *,
        roster: bool = True,
    ) -> ParkTally:
        """A park's Pacific day from raw readings."""
        roster_weight = self.roster_weight(park, day) if roster else 0
        return self._park_tally(park, day, self.count(park, day, until, wanted), roster_weight)

    def park_parts(
        self,
        park: ParkFacts,
        day: date,
        cells: Cells,
        *,
        since: int | None = None,
        until: int | None = None,
        wanted: Wanted = Wanted.ALL,
    ) -> dict[int, PartTally]:
        """The cells of a park's Pacific day in which it was open, by their starts, from raw readings; those from the
        instant `since` on. The roster is the day's."""
        judged, within = self.judged(park, day), self._within(day, since, until)
        parts = park_parts(judged, cells, within, wanted)
        roster_weight = self.roster_weight(park, day) if Wanted.DOWN in wanted else 0
        return {start: self._part_tally(part, roster_weight) for start, part in sorted(parts.items())}

    def _part_tally(self, part: Part, roster_weight: int) -> PartTally:
        weights = self.universe.rides
        return PartTally(
            part.slots,
            part.open_slots,
            roster_weight,
            part.operating,
            sum(part.down.values()),
            sum(down * weights[ride_id].weight for ride_id, down in part.down.items()),
            len(part.down),
            part.wait_sum,
            part.wait_samples,
            part.wait_max,
        )

    def _park_tally(self, park: ParkFacts, day: date, counted: DayTally, roster_weight: int) -> ParkTally:
        rides = counted.rides.values()
        weights = self.universe.rides
        return ParkTally(
            park.park_id,
            day,
            counted.slots,
            counted.open_slots,
            roster_weight,
            len(rides),
            sum(ride.down > 0 for ride in rides),
            sum(ride.operating for ride in rides),
            sum(ride.down for ride in rides),
            sum(ride.down * weights[ride.ride_id].weight for ride in rides),
            sum(ride.wait_sum for ride in rides),
            sum(ride.wait_samples for ride in rides),
            max((ride.wait_max for ride in rides if ride.wait_max is not None), default=None),
        )

    def stored_weights(self, parks: list[ParkFacts], days: tuple[date, ...]) -> dict[tuple[int, date], int]:
        """The roster weights of those of the parks and days whose rows stand."""
        stored, _ = self._sources(Span(days, ""), parks)
        return {(row.park_id, row.day): row.roster_weight for source in stored for row in self._stored_parks(source)}

    def roster_weight(self, park: ParkFacts, day: date) -> int:
        """What the rides of the roster weigh together."""
        return sum(self.universe.rides[ride_id].weight for ride_id in self.roster(park, day))

    def roster(self, park: ParkFacts, day: date) -> set[int]:
        """The attractions that operated on any of the seven Pacific days that end with `day`."""
        *earlier, _ = last_days(day, rules.ROSTER_DAYS)
        stored, raw = self._sources(Span(tuple(earlier), ""), [park])
        known = (self._operated(source).get(park.park_id, set()) for source in stored)
        days = [day, *(other for other, _ in raw)]
        # Who computes days counts those whole next: their waits too, in one look at the readings.
        wanted = Wanted.SAMPLES | Wanted.WAITS if self.least_version else Wanted.SAMPLES
        counted = (self.count(park, other, wanted=wanted).rides.values() for other in days)
        seen = {ride.ride_id for rides in counted for ride in rides if ride.operated}
        return seen.union(*known) & self.universe.rides.keys()

    def count(
        self, park: ParkFacts, day: date, until: int | None = None, wanted: Wanted = Wanted.ALL
    ) -> DayTally:
        """Raw counts of a park's Pacific day, or of its slots up to `until`."""
        if self.shared:
            wanted = Wanted.ALL
        elif Wanted.DETAILS in wanted:
            wanted |= Wanted.DOWN
        last = self._last(day, until)
        key = (park.park_id, day, last)
        known = self._counts.get(key)
        if known is None or wanted not in known.known:
            wanted |= known.known if known else wanted
            waits = Wanted.WAITS in wanted
            whole = last == self._last(day, None)
            judged = self.judged(park, day, waits=waits) if whole else self._judge(park, day, None, last, waits=waits)
            known = self._counts[key] = count(judged, wanted)
        return known

    def ride_parts(
        self,
        park: ParkFacts,
        day: date,
        cells: Cells,
        *,
        ride_ids: list[int] | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> dict[int, dict[int, RideTally]]:
        """The same as `park_parts` of each attraction, or of these, by the start of the cell, then the ride."""
        judged = self.judged(park, day) if ride_ids is None else self.judged_rides(park, day, ride_ids)
        return ride_parts(judged, cells, self._within(day, since, until))

    def ride_day(
        self, park: ParkFacts, ride_id: int, day: date, cells: Cells, until: int | None = None
    ) -> CloseTally | None:
        """One ride's Pacific day, whole and by cells, of any category; None where its readings are no longer held.
        Slots are the ride's."""
        if self.first_day is None or day < self.first_day:
            return None
        judged = self._judge(park, day, [ride_id], until)
        cut = ride_parts(judged, cells, self._within(day, None, until))
        return CloseTally(count(judged), {start: rides[ride_id] for start, rides in sorted(cut.items())})

    def judged(self, park: ParkFacts, day: date, *, waits: bool = False) -> list[LocalDay]:
        """The park's day up to now, once, or once more where waits are wanted later."""
        key = (park.park_id, day)
        known = self._judged_days.get(key)
        if known is None or waits and not all(local.waits for local in known):
            known = self._judged_days[key] = self._judge(park, day, waits=waits)
        return known

    def judged_rides(self, park: ParkFacts, day: date, ride_ids: list[int] | None) -> list[LocalDay]:
        """The same of these rides, of any category, or of all attractions; not remembered."""
        return self._judge(park, day, ride_ids, waits=False)

    def _judge(
        self,
        park: ParkFacts,
        day: date,
        ride_ids: list[int] | None = None,
        until: int | None = None,
        *,
        waits: bool = True,
    ) -> list[LocalDay]:
        """A park's day, with all attractions or these rides of any category."""
        readings = self._readings(park)
        if ride_ids is not None:
            # What has performances closes between them: only what a feed tells of it is downtime.
            pauses = not self.universe.rides.keys() >= set(ride_ids)
            readings = readings._replace(ride_ids=ride_ids, pauses=pauses)
        openings = [self.openings(park, local) for local in local_days(pacific_day(day), park.timezone)]
        return list(judged_days(readings, openings, day, self._last(day, until), waits=waits))

    def _within(self, day: date, since: int | None, until: int | None) -> list[Interval]:
        first = pacific_day(day).start if since is None else since
        last = self._last(day, until)
        return [Interval(first, last + 1)] if first <= last else []

    def _last(self, day: date, until: int | None) -> int:
        """The last instant of a day that may be counted."""
        return min(pacific_day(day).end - 1, self.now if until is None else min(until, self.now))

    def forget(self, *, after: date) -> None:
        """Drop the counts of later days, so that a long run from new to old keeps a week of them at most."""
        self._counts = {key: counted for key, counted in self._counts.items() if key[1] <= after}
        self._judged_days = {key: judged for key, judged in self._judged_days.items() if key[1] <= after}

    def openings(self, park: ParkFacts, local: date) -> list[Interval]:
        """When the park was open on one of its local days."""
        key = (park.park_id, local)
        if key not in self._openings:
            schedule = self._schedule(local).get(park.park_id, NO_SCHEDULE)
            self._openings[key] = (
                schedule.open_intervals(local, park.timezone)
                if schedule.knows(local)
                else hours.inferred_intervals(self._readings(park), local)
            )
        return self._openings[key]

    def _readings(self, park: ParkFacts) -> Readings:
        return Readings(park, self.universe.rides_of.get(park.park_id, []), self.held, self.step)

    def _held(self, oldest: int | None) -> Interval:
        newest = state.get_state(state.NEWEST_SLOT)
        if oldest is None or newest is None:  # what is there was not shown yet
            return Interval(0, 0)
        return Interval(oldest, max(oldest, min(self.now, newest) + 1))

    def _schedule(self, local: date) -> dict[int, Schedule]:
        """The schedules around a local day; loaded a week at a time, because neighbours are asked for next."""
        first, *_, last = week_of(local)
        if first not in self._schedules:
            self._schedules[first] = hours.schedules(first, last, self.only)
        return self._schedules[first]

    # --- which days are stored ---------------------------------------------------------------------------------------

    def _sources(
        self, span: Span, parks: list[ParkFacts]
    ) -> tuple[list[Stored], list[tuple[date, ParkFacts]]]:
        """Where to read `span`: stored rows by version, and the (day, park) pairs that need raw readings."""
        if span.until is not None:
            return [], [(day, park) for day in span.days for park in parks]
        whole: dict[int, list[date]] = defaultdict(list)
        stored: list[Stored] = []
        raw: list[tuple[date, ParkFacts]] = []
        entries = self._ledger(span.days)
        for day in span.days:
            version, settled_by = self._standing(day, entries[day])
            unsettled = [park for park in parks if not self._settled(park, day, settled_by)]
            raw += [(day, park) for park in unsettled]
            if not unsettled:
                whole[version].append(day)
            elif len(unsettled) < len(parks):
                settled = tuple(park.park_id for park in parks if park not in unsettled)
                stored.append(Stored(version, (day,), settled))
        return [Stored(version, tuple(days), self.only) for version, days in whole.items()] + stored, raw

    def _standing(self, day: date, entries: list[_Entry]) -> tuple[int, int | None]:
        """The version to read a day at, and up to which instant its rows have seen the readings (None: not at all)."""
        clean = [
            entry
            for entry in entries
            if not entry.dirty and (entry.metrics_version >= self.least_version or _is_adopted(entry))
        ]
        if clean:
            best = max(clean, key=attrgetter("metrics_version"))
            if _is_adopted(best):  # no reading that comes in can change it
                return ADOPTED_VERSION, pacific_day(day).end + LATEST_SETTLING
            if not (self.recount and self._can_recount(day, best.metrics_version)):
                return best.metrics_version, min(best.computed_at, self.now)
        if self.first_day is None or day < self.first_day:  # without its readings nothing is more right than the rows
            return max((entry.metrics_version for entry in entries), default=self.version), self.now
        return self.version, None

    def _can_recount(self, day: date, version: int) -> bool:
        return version == rules.METRICS_VERSION and self.first_day is not None and day >= self.first_day

    def _settled(self, park: ParkFacts, day: date, settled_by: int | None) -> bool:
        """Whether stored rows saw all that can still change what the Pacific day was for the park."""
        if settled_by is None:
            return False
        return settled_by >= pacific_day(day).end + LATEST_SETTLING or settled_by >= self._settles_at(park, day)

    def _settles_at(self, park: ParkFacts, day: date) -> int:
        """When the last local day that overlaps the Pacific day is over; with a posted schedule, when its last opening
        is, and at midnight if the park does not open before."""
        span = pacific_day(day)
        last = span.end
        for local in local_days(span, park.timezone):
            if not self._schedule(local).get(park.park_id, NO_SCHEDULE).knows(local):
                return settles_at(day, park.timezone)
            openings = self.openings(park, local)
            if any(opening.overlaps(span) for opening in openings):
                last = max(last, openings[-1].end)
        return last + SETTLING_SECONDS

    def _ledger(self, days: tuple[date, ...]) -> dict[date, list[_Entry]]:
        if days not in self._ledgers:
            self._ledgers[days] = self._entries(days)
        return self._ledgers[days]

    def _entries(self, days: tuple[date, ...]) -> dict[date, list[_Entry]]:
        query = StatDay.select(StatDay.stat_date, StatDay.metrics_version, StatDay.computed_at, StatDay.dirty).where(
            StatDay.stat_date.between(days[0], days[-1]), StatDay.metrics_version <= self.version
        )
        entries: dict[date, list[_Entry]] = defaultdict(list)
        for entry in rows(query, _Entry):
            entries[as_date(entry.stat_date)].append(entry)
        return entries

    # --- stored rows as tallies --------------------------------------------------------------------------------------

    def _stored_parks(self, source: Stored) -> list[ParkTally]:
        stats = DailyParkStats
        query = stats.select(
            stats.park,
            stats.stat_date,
            stats.sample_count,
            stats.open_minutes,
            stats.roster_weight,
            stats.rides_tracked,
            stats.rides_with_downtime,
            stats.operating_minutes,
            stats.total_downtime_minutes,
            stats.weighted_downtime_minutes,
            stats.wait_sum,
            stats.wait_samples,
            stats.peak_wait_time,
        ).where(held_by(source, stats.stat_date, stats.metrics_version, stats.park))
        return [
            row._replace(
                day=as_date(row.day),
                open_slots=row.open_slots // self.interval_minutes,
                operating=row.operating // self.interval_minutes,
                down=row.down // self.interval_minutes,
                weighted_down=row.weighted_down // self.interval_minutes,
            )
            for row in rows(query, ParkTally)
        ]

    def _pooled_parks(self, source: Stored) -> list[ParkTally]:
        """One tally a park for all the stored days, without scores."""
        stats = DailyParkStats
        query = (
            stats.select(
                stats.park,
                fn.MAX(stats.stat_date),
                fn.SUM(stats.sample_count),
                fn.SUM(stats.operating_minutes),
                fn.SUM(stats.total_downtime_minutes),
                fn.SUM(stats.wait_sum),
                fn.SUM(stats.wait_samples),
                fn.MAX(stats.peak_wait_time),
            )
            .where(held_by(source, stats.stat_date, stats.metrics_version, stats.park))
            .group_by(stats.park)
        )
        found = []
        for park_id, day, *sums, peak in fetch(query):
            slots, operating, down, wait_sum, waits = map(int, sums)
            pooled = ParkTally(park_id, as_date(day), slots, wait_sum=wait_sum, wait_samples=waits, wait_max=peak)
            minutes = self.interval_minutes
            found.append(pooled._replace(operating=operating // minutes, down=down // minutes))
        return found

    def _stored_rides(
        self, source: Stored, wanted: Wanted, only: Collection[int] | None, *, by_day: bool
    ) -> Iterator[tuple[date, RideTally]]:
        """The rides of the stored days, each with its sums `by_day`, or over all of them with the last day."""
        stats, last = DailyStats, source.days[-1]
        names, columns = _sums(wanted)
        by = [stats.ride, stats.park_id, *([stats.stat_date] if by_day else [])]
        query = stats.select(*by, *columns).where(*self._rides_held_by(source, only)).group_by(*by)
        for row in fetch(query):
            day = as_date(row[2]) if by_day else last
            sums = dict(zip(names, row[len(by) :], strict=True))
            yield day, self._ride_tally(row[0], row[1], sums)

    def _ride_tally(self, ride_id: int, park_id: int, sums: dict[str, Any]) -> RideTally:
        for name in sums.keys() - EXTREMES:
            sums[name] = int(sums[name])
        for name in sums.keys() & MINUTES:
            sums[name] //= self.interval_minutes
        # Only rides that operated have downtime, or waits that count.
        operated = rules.operated(sums.get("operating", 0), sums.get("down", 0)) or sums.get("wait_samples", 0) > 0
        return RideTally(ride_id, park_id, sums.pop("samples", 0), operated, **sums)

    def _rides_held_by(self, source: Stored, only: Collection[int] | None = None) -> list[Expression]:
        """The condition that picks the rows of rides; where only some are asked for by their ids too, which are part of
        the key: a quarter of the time."""
        stats = DailyStats
        rides = self.universe.rides.keys() if only is None and self.only else only
        held = held_by(source, stats.stat_date, stats.metrics_version, stats.park_id, few=rides is not None)
        # SQLite would rather read all years of the rides than the days of the span.
        return [held] if rides is None else [held, among(DailyStats.ride, sorted(rides))]

    def _operated(self, source: Stored) -> dict[int, set[int]]:
        """Per park the rides that operated on any of the stored days."""
        if source not in self._stored_rosters:
            stats = DailyStats
            query = stats.select(stats.park_id, stats.ride).where(
                *self._rides_held_by(source),
                (stats.operating_minutes > 0) | (stats.total_downtime_minutes > 0),
            )
            rosters: dict[int, set[int]] = defaultdict(set)
            for park_id, ride_id in fetch(query.distinct()):
                rosters[park_id].add(ride_id)
            self._stored_rosters[source] = rosters
        return self._stored_rosters[source]


# --- counts that several answers share -------------------------------------------------------------------------------


class Shared:
    """The counts of all parks as of one instant, for the answers of one revision, one answer at a time."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._tallies: Tallies | None = None
        self._lock = Lock()

    @contextmanager
    def taken(self) -> Iterator[Tallies]:
        """Them, for nobody else meanwhile."""
        with self._lock:
            self._tallies = self._tallies or Tallies(self.now, shared=True)
            yield self._tallies


class _Block:
    """A block of one thread that may use what is shared."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.ending = ExitStack()
        self._taken: Tallies | None = None

    def take(self) -> Tallies:
        """What is shared, to itself until the block ends."""
        if self._taken is None:
            self._taken = self.ending.enter_context(self.shared.taken())
        return self._taken


_block: ContextVar[_Block | None] = ContextVar("block", default=None)


@contextmanager
def sharing(shared: Shared) -> Iterator[None]:
    """Have `tallies_as_of` give what is shared to this thread, in a block that sees the database in that revision."""
    block = _Block(shared)
    with block.ending:
        token = _block.set(block)
        try:
            yield
        finally:
            _block.reset(token)


def tallies_as_of(now: datetime, only: int | None = None) -> Tallies:
    """All counts as of `now`: those that answers share, or new ones. Those of one park are its own: they read less."""
    block = _block.get()
    if block is None or only is not None or block.shared.now != now:
        return Tallies(now, only=only)
    return block.take()


def settled_at(day: date, zones: Iterable[str]) -> int:
    """When a Pacific day is final for parks of all these zones, in epoch seconds."""
    return max((settles_at(day, zone) for zone in zones), default=0)


def is_settled(now: datetime) -> bool:
    """Whether yesterday is final for every park."""
    return epoch(now) >= settled_at(pacific_date(now) - timedelta(days=1), park_zones())


def _sums(wanted: Wanted) -> tuple[list[str], list[Any]]:
    """The fields of a RideTally that are wanted, and the columns that add up to them."""
    stats = DailyStats
    sums = {
        Wanted.SAMPLES: {"samples": fn.SUM(stats.sample_count)},
        Wanted.OPERATING: {"operating": fn.SUM(stats.operating_minutes)},
        Wanted.DOWN: {"down": fn.SUM(stats.total_downtime_minutes)},
        Wanted.WAITS: {
            "wait_sum": fn.SUM(stats.wait_sum),
            "wait_samples": fn.SUM(stats.wait_samples),
            "wait_max": fn.MAX(stats.max_wait_time),
        },
        Wanted.DETAILS: {
            "incidents": fn.SUM(stats.downtime_incidents),
            "longest": fn.MAX(fn.COALESCE(stats.longest_downtime_minutes, 0)),
            "status_changes": fn.SUM(stats.status_changes),
        },
    }
    found = [pair for part, columns in sums.items() if part in wanted for pair in columns.items()]
    return [name for name, _ in found], [column for _, column in found]


def oldest_slot() -> int | None:
    """The oldest slot with a reading that retention has not given up, or None."""
    return _oldest_slot(state.get_state(state.RAW_FROM))


def _oldest_slot(raw_from: int | None) -> int | None:
    slot = RideStatusSnapshot.snapshot_time
    query = RideStatusSnapshot.select(fn.MIN(slot))
    oldest: int | None = fetch(query if raw_from is None else query.where(slot >= raw_from))[0][0]
    return oldest


def first_whole_day() -> date | None:
    """The first Pacific day that can be counted from readings; None without any.

    Where retention has not said which readings were removed, days with statistics before the oldest reading's tell
    that some were, and that day's parks may lack the beginning of their local days: it stays what it was computed to
    be.
    """
    raw_from = state.get_state(state.RAW_FROM)
    return _first_whole_day(_oldest_slot(raw_from), raw_from)


def _first_whole_day(oldest: int | None, raw_from: int | None) -> date | None:
    if oldest is None:
        return None
    day = pacific_date(oldest)
    if raw_from is not None:
        return max(day, whole_from(raw_from))
    computed = StatDay.select().where(StatDay.stat_date < day, StatDay.metrics_version != ADOPTED_VERSION)
    return day + timedelta(days=1) if computed.exists() else day


def whole_from(raw_from: int) -> date:
    """The first Pacific day that lost no reading of the local days that overlap it: those begin on the day before."""
    return pacific_date(raw_from) + timedelta(days=1)


def _is_adopted(entry: _Entry) -> bool:
    return entry.metrics_version == ADOPTED_VERSION


def held_by(source: Stored, day: Any, version: Any, park: Any, *, few: bool = False) -> Expression:
    """The condition that picks the rows of `source`, given a table's columns. `few`: with ids of the key beside it."""
    first, last = source.days[0], source.days[-1]
    is_run = (last - first).days + 1 == len(source.days)
    # A run of days is read in one go; but of few ids in many days each is looked up by the whole key.
    days = day.between(first, last) if is_run and source.park_ids is None and not few else day.in_(source.days)
    picked: Expression = (version == source.version) & days
    return picked if source.park_ids is None else picked & park.in_(source.park_ids)
