"""THE aggregation. One park and one Pacific day -> counts per ride and outages; everything else is arithmetic on these.

SQL counts, Python judges: one SELECT groups a park's readings by ride and by what was said over its open hours, a
second streams the readings that may be outages, and Python folds both by `rules`. Always park by park: an index range
of one park's rides is read many times faster than all rides joined with what their parks did. Counts are in slots.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import date
from fractions import Fraction
from functools import cached_property, lru_cache, reduce
from itertools import groupby, pairwise
from operator import and_, or_
from typing import Any, NamedTuple

from peewee import Expression, Query, fn

from service import rules
from service.database import batches, fetch, fetch_prepared, remainder
from service.models import RideStatusSnapshot
from service.periods import Interval, pacific_day
from service.queries.catalog import ParkFacts

GAPS_AT_ONCE = 50  # each gap is an OR inside an OR, and SQLite's parser goes 100 deep


class RideTally(NamedTuple):
    """What one ride did in a span: slots, and waits in minutes. A ride that did not operate has only samples."""

    ride_id: int
    park_id: int
    samples: int  # readings while the park was open
    operated: bool
    operating: int = 0
    down: int = 0
    incidents: int = 0
    longest: int = 0
    status_changes: int = 0
    wait_sum: int = 0
    wait_samples: int = 0
    wait_min: int | None = None
    wait_max: int | None = None

    def plus(self, other: RideTally) -> RideTally:
        """Both spans together."""
        return RideTally(
            self.ride_id,
            self.park_id,
            self.samples + other.samples,
            self.operated or other.operated,
            self.operating + other.operating,
            self.down + other.down,
            self.incidents + other.incidents,
            max(self.longest, other.longest),
            self.status_changes + other.status_changes,
            self.wait_sum + other.wait_sum,
            self.wait_samples + other.wait_samples,
            _extreme(min, self.wait_min, other.wait_min),
            _extreme(max, self.wait_max, other.wait_max),
        )


class ParkTally(NamedTuple):
    """What one park did on a Pacific day or part of one, in slots; `slots` were observed of `open_slots`."""

    park_id: int
    day: date
    slots: int
    open_slots: int
    roster_weight: int
    rides_tracked: int
    rides_with_downtime: int
    operating: int
    down: int
    weighted_down: int
    wait_sum: int
    wait_samples: int
    wait_max: int | None

    @property
    def score(self) -> Fraction | None:
        """The shame score of the day or of the part."""
        return rules.shame_score(self.weighted_down, self.roster_weight, self.slots)


class Outage(NamedTuple):
    """A run of down slots of one ride inside one opening of its park, not cut at midnight."""

    ride_id: int
    slots: tuple[int, ...]
    told: bool
    recovered: bool  # the ride operated again before its local day ended


class DayTally(NamedTuple):
    """Raw counts of one park and one Pacific day."""

    slots: int
    open_slots: int
    rides: dict[int, RideTally]
    outages: list[Outage]


class Readings(NamedTuple):
    """The readings of one park that may be counted: of these rides, in these slots, `step` seconds apart."""

    park: ParkFacts
    ride_ids: list[int]
    held: Interval  # from the oldest reading to the newest slot that may be seen
    step: int
    pauses: bool = False  # what has performances closes between them: only what a feed tells is downtime

    def slots_in(self, span: Interval) -> int:
        """How many slots lie in `span`."""
        return -(-span.end // self.step) - -(-span.start // self.step)


def count(readings: Readings, openings: Iterable[list[Interval]], day: date, until: int) -> DayTally:
    """Count the slots of a park's Pacific day up to `until`. `openings`: its open intervals, a list per local day.

    Whether a ride operated and its service window look at the whole day, and an outage is followed beyond midnight.
    """
    total = DayTally(0, 0, {}, [])
    for local in _local_days(readings, openings, day, until):
        total = _both(total, local.tally())
    return total


def count_buckets(
    readings: Readings, openings: Iterable[list[Interval]], day: date, until: int, width: int, since: int | None = None
) -> dict[int, DayTally]:
    """The same cut into buckets of `width` seconds, by their starts (multiples of `width`): those in which the park was
    open, from the one that starts at `since` on. Which slots are down is judged by the whole day; outages are not
    listed."""
    found: dict[int, DayTally] = {}
    for local in _local_days(readings, openings, day, until, since, width):
        _add_buckets(found, local.buckets())
    return found


class CloseTally(NamedTuple):
    """Raw counts of one park and one Pacific day, whole and by buckets of time."""

    whole: DayTally
    buckets: dict[int, DayTally]


def count_closely(
    readings: Readings, openings: Iterable[list[Interval]], day: date, until: int, width: int
) -> CloseTally:
    """Both `count` and `count_buckets`, from looking once at what was down."""
    total, found = DayTally(0, 0, {}, []), dict[int, DayTally]()
    for local in _local_days(readings, openings, day, until, width=width):
        total = _both(total, local.tally())
        _add_buckets(found, local.buckets())
    return CloseTally(total, found)


def _local_days(
    readings: Readings,
    openings: Iterable[list[Interval]],
    day: date,
    until: int,
    since: int | None = None,
    width: int | None = None,
) -> Iterator[_LocalDay]:
    whole = pacific_day(day)
    counted = Interval(max(whole.start, since or whole.start), min(whole.end, until + 1))
    for intervals in openings:
        if any(opening.overlaps(whole) for opening in intervals):
            yield _LocalDay(readings, intervals, whole, counted, width)


class _Kind(NamedTuple):
    """What the rules say of a reading."""

    operating: bool
    told: bool
    possible: bool
    counts: bool  # its wait does


@lru_cache(maxsize=256)
def _kind(park_type: rules.ParkType, status: int | None, is_open: int | None, posted: int | None) -> _Kind:
    """Judge readings that are alike; `posted` is 1 for a wait above 0, 0 for a wait of 0, None for no wait."""
    return _Kind(
        rules.is_operating(status, is_open, posted),
        rules.is_told_down(status),
        rules.is_possibly_down(park_type, status, is_open, posted),
        rules.counts_as_wait(status, is_open, posted),
    )


class _Alike(NamedTuple):
    """A row of the counting SELECT: the readings of a ride that the rules cannot tell apart."""

    ride_id: int
    status: int | None
    is_open: int | None
    posted: int | None
    readings: int
    first: int
    last: int
    wait_sum: int | None
    wait_min: int | None
    wait_max: int | None


class _Counts:
    """One ride's counts in a piece of its park's day."""

    def __init__(self, ride_id: int) -> None:
        self.ride_id = ride_id
        self.samples = self.operating = self.told = self.wait_sum = self.wait_samples = 0
        self.suspicious: set[Look] = set()
        self.first: int | None = None
        self.last: int | None = None
        self.wait_min: int | None = None
        self.wait_max: int | None = None

    def add(self, kind: _Kind, row: _Alike) -> None:
        """Count readings of one kind."""
        self.samples += row.readings
        if kind.operating:
            self.operating += row.readings
            self.first, self.last = _extreme(min, self.first, row.first), _extreme(max, self.last, row.last)
        if kind.told:
            self.told += row.readings
        if kind.told or kind.possible:
            self.suspicious.add((row.status, row.is_open, row.posted))
        if kind.counts:
            self.wait_sum += int(row.wait_sum or 0)
            self.wait_samples += row.readings
            self.wait_min = _extreme(min, self.wait_min, row.wait_min)
            self.wait_max = _extreme(max, self.wait_max, row.wait_max)


class _Suspect(NamedTuple):
    """A reading that may be part of an outage."""

    ride_id: int
    slot: int
    status: int | None


Look = tuple[int | None, int | None, int | None]  # status, open flag, and whether a wait is posted, of like readings


class _LocalDay:
    """The part that one local day of a park has in a Pacific day."""

    def __init__(
        self,
        readings: Readings,
        intervals: list[Interval],
        whole: Interval,
        counted: Interval,
        width: int | None,
    ) -> None:
        self.readings, self.intervals, self.whole, self.counted = readings, intervals, whole, counted
        self.width = width  # of buckets, in seconds
        self.by_bucket: dict[Interval, ByBucket] = {}  # per piece that is counted
        self.slots = self.open_slots = 0
        self.inside: dict[int, list[_Counts]] = defaultdict(list)  # per ride: its rows of the counted slots
        self.expected: set[int] = set()  # rides seen operating or told down that Pacific day
        self.window: dict[int, tuple[int, int]] = {}  # per ride: first and last operating slot of the local day
        self.told: set[int] = set()  # rides that were told down
        self.suspected: set[int] = set()  # rides with readings that may be outages, and how those look
        self.suspicious: set[Look] = set()

    def tally(self) -> DayTally:
        """The counted slots together."""
        outages = self._judged
        rides = {ride_id: self._ride(ride_id, rows, outages, self.counted) for ride_id, rows in self.inside.items()}
        return DayTally(self.slots, self.open_slots, rides, [one for found in outages.values() for one in found])

    def buckets(self) -> dict[int, DayTally]:
        """The counted slots by the bucket they lie in."""
        outages, width = self._judged, self.width or 0
        found: dict[int, DayTally] = {}
        for piece, counts in self.by_bucket.items():
            observed = _observed_by_bucket(self.readings, piece, width, counts)
            for bucket in _buckets_of(piece, width):
                span = bucket.cut(piece) or piece
                rides = {
                    row.ride_id: self._ride(row.ride_id, [row], outages, span) for row in counts.get(bucket.start, [])
                }
                part = DayTally(observed.get(bucket.start, 0), self.readings.slots_in(span), rides, [])
                _add_buckets(found, {bucket.start: part})
        return found

    @cached_property
    def _judged(self) -> dict[int, list[Outage]]:
        """Count every piece of the openings, then find the outages, by ride."""
        for piece in self._pieces():
            self._count(piece)
        found: dict[int, list[Outage]] = defaultdict(list)
        for opening in self.intervals:
            for outage in self._outages(opening):
                found[outage.ride_id].append(outage)
        return found

    def _pieces(self) -> list[Interval]:
        """The openings, cut where what is counted begins and ends."""
        cuts = (self.whole.start, self.counted.start, self.counted.end, self.whole.end)
        return [piece for opening in self.intervals for piece in opening.split(*cuts)]

    def _is_counted(self, piece: Interval) -> bool:
        return self.counted.start <= piece.start and piece.end <= self.counted.end

    def _count(self, piece: Interval) -> None:
        is_counted = self._is_counted(piece)
        found, by_bucket = _ride_counts(self.readings, piece, self.width if is_counted else None)
        if is_counted:
            self.by_bucket[piece] = by_bucket
            self.open_slots += self.readings.slots_in(piece)
            self.slots += _observed_slots(self.readings, piece, found)
        for row in found:
            if is_counted:
                self.inside[row.ride_id].append(row)
            if piece.overlaps(self.whole) and rules.operated(row.operating, row.told):
                self.expected.add(row.ride_id)
            if row.first is not None and row.last is not None:
                first, last = self.window.get(row.ride_id, (row.first, row.last))
                self.window[row.ride_id] = (min(first, row.first), max(last, row.last))
            if row.told:
                self.told.add(row.ride_id)
            if row.suspicious:
                self.suspected.add(row.ride_id)
                self.suspicious |= row.suspicious

    def _outages(self, opening: Interval) -> list[Outage]:
        # A ride that never ran that day can only be down if it was told so.
        ride_ids = sorted(self.suspected & (self.window.keys() | self.told))
        suspects = _suspects(self.readings, opening, ride_ids, self.suspicious)
        judged = [(row, self._is_down(row)) for row in suspects]
        interrupted = _interrupted(self.readings, _gaps(judged, self.readings.step))
        found: list[Outage] = []
        for ride_id, group in groupby(judged, key=lambda pair: pair[0].ride_id):
            last = self._window(ride_id)[1] or 0
            for run in _runs(group, self.readings.step, interrupted):
                slots = tuple(row.slot for row in run)
                told = any(rules.is_told_down(row.status) for row in run)
                found.append(Outage(ride_id, slots, told, last > slots[-1]))
        return found

    def _is_down(self, row: _Suspect) -> bool:
        return rules.is_down(row.slot, rules.is_told_down(row.status), *self._window(row.ride_id))

    def _window(self, ride_id: int) -> tuple[int | None, int | None]:
        return self.window.get(ride_id, (None, None))

    def _ride(
        self, ride_id: int, counts: list[_Counts], outages: dict[int, list[Outage]], span: Interval
    ) -> RideTally:
        """A ride's tally of `span`, whose rows are `counts`."""
        samples = sum(row.samples for row in counts)
        if ride_id not in self.expected:
            return RideTally(ride_id, self.readings.park.park_id, samples, operated=False)
        of_ride = outages.get(ride_id, [])
        cut = ([slot for slot in outage.slots if span.has(slot)] for outage in of_ride)
        within = [slots for slots in cut if slots]
        changes = sum(span.has(outage.slots[0]) for outage in of_ride)
        changes += sum(outage.recovered and span.has(outage.slots[-1]) for outage in of_ride)
        return RideTally(
            ride_id,
            self.readings.park.park_id,
            samples,
            operated=True,
            operating=sum(row.operating for row in counts),
            down=sum(len(slots) for slots in within),
            incidents=len(within),
            longest=max((len(slots) for slots in within), default=0),
            status_changes=changes,
            wait_sum=sum(row.wait_sum for row in counts),
            wait_samples=sum(row.wait_samples for row in counts),
            wait_min=min((row.wait_min for row in counts if row.wait_min is not None), default=None),
            wait_max=max((row.wait_max for row in counts if row.wait_max is not None), default=None),
        )


# --- the SELECTs -----------------------------------------------------------------------------------------------------


def fetch_slots(
    make: Callable[..., Query], readings: Readings, span: Interval, ride_ids: list[int], *shape: Hashable
) -> list[tuple[Any, ...]]:
    """The rows of `make(values, *shape)` for these rides and the seen part of `span`; see `picked` for the values."""
    seen = span.cut(readings.held)
    if seen is None or not ride_ids:
        return []
    return fetch_prepared(make, [*ride_ids, seen.start, seen.end - 1], *shape)


def picked(values: list[int]) -> Expression:
    """The condition that picks readings: the rides' ids, then the first and the last slot."""
    *ride_ids, first, last = values
    snapshot = RideStatusSnapshot
    condition: Expression = snapshot.ride_id.in_(ride_ids) & snapshot.snapshot_time.between(first, last)
    return condition


ByBucket = dict[int, list[_Counts]]  # by the start of the bucket, one a ride


def _ride_counts(readings: Readings, span: Interval, width: int | None = None) -> tuple[list[_Counts], ByBucket]:
    """Per ride with readings in `span`: how many of each kind, first and last operating slot, waits; and the same by
    buckets of `width` seconds, if that is given.

    The database groups readings that are alike and knows no rule; what they mean is judged here. That is also a third
    faster than conditional sums over the same rows.
    """
    found: dict[int, _Counts] = {}
    by_bucket: dict[int, dict[int, _Counts]] = defaultdict(dict)
    for row in fetch_slots(_counting, readings, span, readings.ride_ids, *([] if width is None else [width])):
        alike = _Alike._make(row[: len(_Alike._fields)])
        _add(found, readings, alike)
        if width is not None:
            _add(by_bucket[int(row[-1])], readings, alike)
    return list(found.values()), {start: list(counts.values()) for start, counts in by_bucket.items()}


def _add(found: dict[int, _Counts], readings: Readings, row: _Alike) -> None:
    counts = found.get(row.ride_id) or found.setdefault(row.ride_id, _Counts(row.ride_id))
    kind = _kind(readings.park.park_type, row.status, row.is_open, row.posted)
    counts.add(kind._replace(possible=False) if readings.pauses else kind, row)


def _bucket(width: int) -> Expression:
    """The start of the bucket that a reading lies in."""
    slot = RideStatusSnapshot.snapshot_time
    start: Expression = slot - remainder(slot, width)
    return start


def _buckets_of(span: Interval, width: int) -> list[Interval]:
    """The buckets that overlap `span`."""
    return [Interval(start, start + width) for start in range(span.start - span.start % width, span.end, width)]


def _counting(values: list[int], width: int | None = None) -> Query:
    snapshot = RideStatusSnapshot
    alike = (snapshot.ride_id, snapshot.status, snapshot.is_open, snapshot.wait_time > 0)
    bucket = [] if width is None else [_bucket(width)]
    return (
        snapshot.select(
            *alike,
            fn.COUNT(snapshot.snapshot_time),
            fn.MIN(snapshot.snapshot_time),
            fn.MAX(snapshot.snapshot_time),
            fn.SUM(snapshot.wait_time),
            fn.MIN(snapshot.wait_time),
            fn.MAX(snapshot.wait_time),
            *bucket,
        )
        .where(picked(values))
        .group_by(*alike, *bucket)
    )


def _observed_slots(readings: Readings, span: Interval, found: list[_Counts]) -> int:
    """In how many slots of `span` any of the rides has a reading."""
    seen = span.cut(readings.held)
    most = max((row.samples for row in found), default=0)
    if seen is None or not most or most == readings.slots_in(seen):
        return most  # a ride that reported in every slot there is spares the second look
    return int(fetch_slots(_observing, readings, span, readings.ride_ids)[0][0])


def _observing(values: list[int]) -> Query:
    snapshot = RideStatusSnapshot
    return snapshot.select(fn.COUNT(snapshot.snapshot_time.distinct())).where(picked(values))


def _observed_by_bucket(readings: Readings, span: Interval, width: int, counts: ByBucket) -> dict[int, int]:
    """In how many slots of each bucket any of the rides has a reading, by the bucket's start."""
    seen = span.cut(readings.held) or span
    most = {start: max(row.samples for row in found) for start, found in counts.items()}
    whole = (
        reported == readings.slots_in(Interval(start, start + width).cut(seen) or seen)
        for start, reported in most.items()
    )
    if len(readings.ride_ids) == 1 or all(whole):
        return most  # in every bucket there was a ride that reported in every slot there is
    found = fetch_slots(_observing_buckets, readings, span, readings.ride_ids, width)
    return {int(start): int(slots) for start, slots in found}


def _observing_buckets(values: list[int], width: int) -> Query:
    snapshot = RideStatusSnapshot
    slots = fn.COUNT(snapshot.snapshot_time.distinct())
    return snapshot.select(_bucket(width), slots).where(picked(values)).group_by(_bucket(width))


def _suspects(readings: Readings, opening: Interval, ride_ids: list[int], looks: set[Look]) -> list[_Suspect]:
    """The readings of these rides that look like one of these, by ride and slot."""
    found = fetch_slots(_suspecting, readings, opening, ride_ids, frozenset(looks))
    return [_Suspect._make(row) for row in found]


def _suspecting(values: list[int], looks: frozenset[Look]) -> Query:
    snapshot = RideStatusSnapshot
    columns = (snapshot.status, snapshot.is_open, snapshot.wait_time > 0)
    alike = (reduce(and_, (column == value for column, value in zip(columns, look, strict=True))) for look in looks)
    return (
        snapshot.select(snapshot.ride_id, snapshot.snapshot_time, snapshot.status)
        .where(picked(values), reduce(or_, alike))
        .order_by(snapshot.ride_id, snapshot.snapshot_time)
    )


class _Gap(NamedTuple):
    """Two down slots of a ride in a row that are not neighbours, but near enough to be one outage."""

    ride_id: int
    after: int
    until: int


def _gaps(judged: list[tuple[_Suspect, bool]], step: int) -> list[_Gap]:
    return [
        _Gap(row.ride_id, row.slot, after.slot)
        for (row, down), (after, still_down) in pairwise(judged)
        if down and still_down and row.ride_id == after.ride_id
        if 0 < after.slot - row.slot - step <= rules.OUTAGE_GAP_SECONDS
    ]


def _interrupted(readings: Readings, gaps: list[_Gap]) -> set[tuple[int, int]]:
    """The (ride, slot after which) of the gaps that are not silent: a reading in between says the ride was not down."""
    snapshot = RideStatusSnapshot
    found: set[tuple[int, int]] = set()
    for some in batches(gaps, GAPS_AT_ONCE):
        between = [
            (snapshot.ride_id == gap.ride_id)
            & (snapshot.snapshot_time > gap.after)
            & (snapshot.snapshot_time < gap.until)
            for gap in some
        ]
        query = snapshot.select(snapshot.ride_id, snapshot.snapshot_time).where(reduce(or_, between))
        known = fetch(query)
        found |= {
            (gap.ride_id, gap.after)
            for gap in some
            if any(ride_id == gap.ride_id and gap.after < slot < gap.until for ride_id, slot in known)
        }
    return found


def _runs(
    judged: Iterable[tuple[_Suspect, bool]], step: int, interrupted: set[tuple[int, int]]
) -> Iterator[list[_Suspect]]:
    """The outages of one ride: a known slot that is not down ends one, up to 30 minutes of silence do not."""
    run: list[_Suspect] = []
    for row, down in judged:
        if run and down:
            silence = row.slot - run[-1].slot - step
            if silence > rules.OUTAGE_GAP_SECONDS or (row.ride_id, run[-1].slot) in interrupted:
                yield run
                run = []
        elif run:
            yield run
            run = []
        if down:
            run.append(row)
    if run:
        yield run


# --- small arithmetic ------------------------------------------------------------------------------------------------


def _both(one: DayTally, other: DayTally) -> DayTally:
    """Two local days' parts of one Pacific day."""
    rides = dict(one.rides)
    for ride_id, ride in other.rides.items():
        rides[ride_id] = rides[ride_id].plus(ride) if ride_id in rides else ride
    return DayTally(
        one.slots + other.slots, one.open_slots + other.open_slots, rides, one.outages + other.outages
    )


def _add_buckets(found: dict[int, DayTally], more: dict[int, DayTally]) -> None:
    for start, tally in more.items():
        found[start] = _both(found[start], tally) if start in found else tally


def _extreme(pick: Callable[..., int], *values: int | None) -> int | None:
    """The least or greatest of the values that are known."""
    known = [value for value in values if value is not None]
    return pick(known) if known else None
