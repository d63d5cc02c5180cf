"""THE aggregation. One park and one Pacific day -> counts per ride and outages; everything else is arithmetic on these.

SQL counts, Python judges: one SELECT groups a park's readings by ride and by what was said over its open hours, a
second streams the readings that may be outages, and Python folds both by `rules`. Always park by park: an index range
of one park's rides is read many times faster than all rides joined with what their parks did. Counts are in slots.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from datetime import date
from enum import Flag, auto
from fractions import Fraction
from functools import cached_property, lru_cache, reduce
from itertools import groupby, pairwise
from operator import and_, or_
from types import MappingProxyType
from typing import Any, NamedTuple

from peewee import Expression, Query, fn

from service import rules
from service.database import batches, fetch, fetch_prepared
from service.models import RideStatusSnapshot
from service.periods import Interval, pacific_day
from service.queries.catalog import ParkFacts

NOT_COUNTED = -1  # of waits that were not asked for: the sum of waits that are NULL is None
GAPS_AT_ONCE = 50  # each gap is an OR inside an OR, and SQLite's parser goes 100 deep


class Wanted(Flag):
    """What is needed of a tally; the rest of it may be 0 or unknown. All but DOWN spare the look for outages."""

    DOWN = auto()  # down slots
    OPERATING = auto()  # operating slots
    WAITS = auto()
    SAMPLES = auto()
    DETAILS = auto()  # outages, and so DOWN: how many, the longest, changes of status
    SPREAD = auto()  # how often each wait was posted; of parts of a day only
    UPTIME = DOWN | OPERATING
    ALL = UPTIME | WAITS | SAMPLES | DETAILS


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
    wait_min: int | None = None  # where readings were counted
    wait_max: int | None = None
    spread: Mapping[int, int] = {}  # how often each wait was posted

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
            extreme(min, self.wait_min, other.wait_min),
            extreme(max, self.wait_max, other.wait_max),
            added(self.spread, other.spread),
        )


class ParkTally(NamedTuple):
    """What one park did on a Pacific day or part of one, in slots; `slots` were observed of `open_slots`."""

    park_id: int
    day: date
    slots: int
    open_slots: int = 0
    roster_weight: int = 0
    rides_tracked: int = 0
    rides_with_downtime: int = 0
    operating: int = 0
    down: int = 0
    weighted_down: int = 0
    wait_sum: int = 0
    wait_samples: int = 0
    wait_max: int | None = None

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
    known: Wanted = Wanted.ALL  # what was looked at


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


def count(days: Iterable[LocalDay], wanted: Wanted = Wanted.ALL) -> DayTally:
    """Count the slots of a park's Pacific day.

    Whether a ride operated and its service window look at the whole day, and an outage is followed beyond midnight.
    """
    return reduce(_both, (local.tally(wanted) for local in days), DayTally(0, 0, {}, []))


def judged_days(
    readings: Readings, openings: Iterable[list[Interval]], day: date, until: int, *, waits: bool = True
) -> Iterator[LocalDay]:
    """The local days that a park's Pacific day has a part in, to count the slots up to `until`.

    `openings`: its open intervals, a list per local day. Without `waits` the count takes two thirds of the time.
    """
    whole = pacific_day(day)
    counted = Interval(whole.start, min(whole.end, until + 1))
    for intervals in openings:
        if any(opening.overlaps(whole) for opening in intervals):
            yield LocalDay(readings, intervals, whole, counted, waits)


class Kind(NamedTuple):
    """What the rules say of a reading."""

    operating: bool
    told: bool
    possible: bool
    counts: bool  # its wait does


@lru_cache(maxsize=256)
def kind_of(park_type: rules.ParkType, status: int | None, is_open: int | None, posted: int | None) -> Kind:
    """Judge readings that are alike; `posted` is 1 for a wait above 0, 0 for a wait of 0, None for no wait."""
    return Kind(
        rules.is_operating(status, is_open, posted),
        rules.is_told_down(status),
        rules.is_possibly_down(park_type, status, is_open, posted),
        rules.counts_as_wait(status, is_open, posted),
    )


class Alike(NamedTuple):
    """A row of the counting SELECT: the readings of a ride that the rules cannot tell apart."""

    ride_id: int
    status: int | None
    is_open: int | None
    posted: int | None
    readings: int
    first: int
    last: int
    wait_sum: int | None = NOT_COUNTED
    wait_min: int | None = None
    wait_max: int | None = None


Look = tuple[int | None, int | None, int | None]  # status, open flag, and whether a wait is posted, of like readings
NOTHING: frozenset[Look] = frozenset()  # shared by all that hold none
NEVER: Mapping[int, int] = MappingProxyType({})


class Counts:
    """One ride's counts in a piece of its park's day."""

    def __init__(self, ride_id: int) -> None:
        self.ride_id = ride_id
        self.samples = self.operating = self.told = self.wait_sum = self.wait_samples = 0
        self.suspicious: frozenset[Look] = NOTHING
        self.first: int | None = None
        self.last: int | None = None
        self.wait_min: int | None = None
        self.wait_max: int | None = None
        self.spread: Mapping[int, int] = NEVER

    def plus(self, other: Counts) -> Counts:
        """What two pieces hold together, but for when."""
        both = Counts(self.ride_id)
        both.samples, both.operating = self.samples + other.samples, self.operating + other.operating
        both.wait_sum, both.wait_samples = self.wait_sum + other.wait_sum, self.wait_samples + other.wait_samples
        both.wait_min = extreme(min, self.wait_min, other.wait_min)
        both.wait_max = extreme(max, self.wait_max, other.wait_max)
        both.spread = added(self.spread, other.spread)
        return both

    def add(self, kind: Kind, row: Alike) -> None:
        """Count readings of one kind."""
        self.samples += row.readings
        if kind.operating:
            self.operating += row.readings
            self.first, self.last = extreme(min, self.first, row.first), extreme(max, self.last, row.last)
        if kind.told:
            self.told += row.readings
        if kind.told or kind.possible:
            self.suspicious |= {(row.status, row.is_open, row.posted)}
        if kind.counts and row.wait_sum != NOT_COUNTED:
            self.wait_sum += int(row.wait_sum or 0)
            self.wait_samples += row.readings
            self.wait_min = extreme(min, self.wait_min, row.wait_min)
            self.wait_max = extreme(max, self.wait_max, row.wait_max)


class _Suspect(NamedTuple):
    """A reading that may be part of an outage."""

    ride_id: int
    slot: int
    status: int | None


class _Seen:
    """What the pieces of a local day's openings hold."""

    def __init__(self) -> None:
        self.slots = self.open_slots = 0  # of the counted pieces
        self.complete: list[Interval] = []  # counted pieces in whose every slot some ride reported
        self.inside: dict[int, list[Counts]] = defaultdict(list)  # per ride: its rows of the counted slots
        self.expected: set[int] = set()  # rides seen operating or told down that Pacific day
        self.window: dict[int, tuple[int, int]] = {}  # per ride: first and last operating slot of the local day
        self.told: set[int] = set()  # rides that were told down
        self.suspected: set[int] = set()  # rides with readings that may be outages, and how those look
        self.suspicious: set[Look] = set()

    def add(self, row: Counts, *, is_counted: bool, is_today: bool) -> None:
        """A ride in a piece, which lies in the Pacific day or in another that the local day overlaps."""
        if is_counted:
            self.inside[row.ride_id].append(row)
        if is_today and rules.operated(row.operating, row.told):
            self.expected.add(row.ride_id)
        if row.first is not None and row.last is not None:
            first, last = self.window.get(row.ride_id, (row.first, row.last))
            self.window[row.ride_id] = (min(first, row.first), max(last, row.last))
        if row.told:
            self.told.add(row.ride_id)
        if row.suspicious:
            self.suspected.add(row.ride_id)
            self.suspicious |= row.suspicious


class LocalDay:
    """The part that one local day of a park has in a Pacific day. It looks at readings, and judges them, when it is
    first asked for what that tells."""

    def __init__(
        self, readings: Readings, intervals: list[Interval], whole: Interval, counted: Interval, waits: bool
    ) -> None:
        self.readings, self.intervals, self.whole, self.counted = readings, intervals, whole, counted
        self.waits = waits  # whether they are counted

    def tally(self, wanted: Wanted = Wanted.ALL) -> DayTally:
        """The counted slots together."""
        outages = self.outages if Wanted.DOWN in wanted else {}
        rides = {
            ride_id: self.ride(ride_id, rows, self.counted, wanted) for ride_id, rows in self.seen.inside.items()
        }
        listed = [one for found in outages.values() for one in found]
        known = wanted if self.waits else wanted & ~Wanted.WAITS
        return DayTally(self.seen.slots, self.seen.open_slots, rides, listed, known)

    @cached_property
    def seen(self) -> _Seen:
        """All readings of the local day's openings, counted."""
        seen = _Seen()
        for piece in self._pieces():
            found, is_counted = ride_counts(self.readings, piece, self.waits), self._is_counted(piece)
            if is_counted:
                seen.open_slots += self.readings.slots_in(piece)
                seen.slots += self._observed(seen, piece, found)
            for row in found:
                seen.add(row, is_counted=is_counted, is_today=piece.overlaps(self.whole))
        return seen

    @cached_property
    def outages(self) -> dict[int, list[Outage]]:
        """The outages of the local day by ride."""
        found: dict[int, list[Outage]] = defaultdict(list)
        for opening in self.intervals:
            for outage in self._outages(opening):
                found[outage.ride_id].append(outage)
        return found

    def ride(
        self,
        ride_id: int,
        counts: list[Counts],
        span: Interval,
        wanted: Wanted = Wanted.ALL,
        expected: Collection[int] | None = None,
    ) -> RideTally:
        """A ride's tally of `span`, whose rows are `counts`. `expected`: the rides that operated that Pacific day, if
        that is known of its other local day too."""
        total, park_id = reduce(Counts.plus, counts), self.readings.park.park_id
        if ride_id not in (self.seen.expected if expected is None else expected):
            return RideTally(ride_id, park_id, total.samples, operated=False)
        known = self.outages.get(ride_id, []) if Wanted.DOWN in wanted else []
        outages = [one for one in known if one.slots[0] < span.end and span.start <= one.slots[-1]]
        cut = ([slot for slot in outage.slots if span.has(slot)] for outage in outages)
        within = [slots for slots in cut if slots]
        changes = sum(span.has(outage.slots[0]) for outage in outages)
        changes += sum(outage.recovered and span.has(outage.slots[-1]) for outage in outages)
        lengths = [len(slots) for slots in within]
        return RideTally(
            ride_id,
            park_id,
            total.samples,
            operated=True,
            operating=total.operating,
            down=sum(lengths),
            incidents=len(lengths),
            longest=max(lengths, default=0),
            status_changes=changes,
            wait_sum=total.wait_sum,
            wait_samples=total.wait_samples,
            wait_min=total.wait_min,
            wait_max=total.wait_max,
            spread=total.spread,
        )

    def is_complete(self, piece: Interval) -> bool:
        """Whether it was seen already that some ride reported in every slot of a part of an opening."""
        seen = self.seen.complete if "seen" in vars(self) else []  # not worth looking for
        return any(known.has(piece.start) and piece.end <= known.end for known in seen)

    def open_within(self, spans: Iterable[Interval]) -> list[Interval]:
        """Those parts of `spans` of the Pacific day in which the park was open."""
        days = (part for span in spans if (part := span.cut(self.whole)))
        return [piece for part in days for opening in self.intervals if (piece := opening.cut(part))]

    def _pieces(self) -> list[Interval]:
        """The openings, cut where what is counted begins and ends."""
        cuts = (self.whole.start, self.counted.start, self.counted.end, self.whole.end)
        return [piece for opening in self.intervals for piece in opening.split(*cuts)]

    def _is_counted(self, piece: Interval) -> bool:
        return self.counted.start <= piece.start and piece.end <= self.counted.end

    def _observed(self, seen: _Seen, piece: Interval, found: list[Counts]) -> int:
        """In how many slots of `piece` any of the rides has a reading."""
        held = piece.cut(self.readings.held)
        most = max((row.samples for row in found), default=0)
        if held is None or not most:
            return 0
        if most == self.readings.slots_in(held):  # a ride that reported in every slot there is spares the second look
            seen.complete.append(piece)
            return most
        return len(observed_slots(self.readings, piece, self.readings.ride_ids))

    def _outages(self, opening: Interval) -> list[Outage]:
        seen = self.seen
        # A ride that never ran that day can only be down if it was told so.
        ride_ids = sorted(seen.suspected & (seen.window.keys() | seen.told))
        suspects = _suspects(self.readings, opening, ride_ids, seen.suspicious)
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
        return self.seen.window.get(ride_id, (None, None))


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


def ride_counts(readings: Readings, span: Interval, waits: bool = True) -> list[Counts]:
    """Per ride with readings in `span`: how many of each kind, first and last operating slot, waits if wanted.

    The database groups readings that are alike and knows no rule; what they mean is judged here. That is also a third
    faster than conditional sums over the same rows.
    """
    found: dict[int, Counts] = {}
    for row in fetch_slots(_counting, readings, span, readings.ride_ids, waits):
        add_alike(found, row[0], readings, Alike(*row))
    return list(found.values())


def add_alike(found: dict[Any, Counts], key: Any, readings: Readings, row: Alike) -> None:
    """Count a row of the counting SELECT under `key`."""
    counts = found.get(key) or found.setdefault(key, Counts(row.ride_id))
    kind = kind_of(readings.park.park_type, row.status, row.is_open, row.posted)
    counts.add(kind._replace(possible=False) if readings.pauses else kind, row)


def _counting(values: list[int], waits: bool) -> Query:
    return counting(values, [RideStatusSnapshot.ride_id], [RideStatusSnapshot.ride_id], waits=waits)


def counting(values: list[int], first: list[Any], by: list[Any], *, waits: bool = True) -> Query:
    """SELECT `first`, which ends with the ride, and the other columns of Alike, or those before its waits; grouped `by`
    these and what the rules judge by."""
    snapshot = RideStatusSnapshot
    looks = (snapshot.status, snapshot.is_open, snapshot.wait_time > 0)
    sums = (fn.SUM(snapshot.wait_time), fn.MIN(snapshot.wait_time), fn.MAX(snapshot.wait_time)) if waits else ()
    return (
        snapshot.select(
            *first,
            *looks,
            fn.COUNT(snapshot.snapshot_time),
            fn.MIN(snapshot.snapshot_time),
            fn.MAX(snapshot.snapshot_time),
            *sums,
        )
        .where(picked(values))
        .group_by(*by, *looks)
    )


def observed_slots(readings: Readings, span: Interval, ride_ids: list[int]) -> set[int]:
    """The slots of `span` in which any of these rides has a reading."""
    return {slot for (slot,) in fetch_slots(_observing, readings, span, ride_ids)}


def _observing(values: list[int]) -> Query:
    snapshot = RideStatusSnapshot
    return snapshot.select(snapshot.snapshot_time).where(picked(values)).distinct()


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
        one.slots + other.slots,
        one.open_slots + other.open_slots,
        rides,
        one.outages + other.outages,
        one.known & other.known,
    )


def added(one: Mapping[int, int], other: Mapping[int, int]) -> Mapping[int, int]:
    """Two counts of the same kind together."""
    return {**one, **{key: one.get(key, 0) + count for key, count in other.items()}} if one and other else one or other


def extreme(pick: Callable[..., int], *values: int | None) -> int | None:
    """The least or greatest of the values that are known."""
    known = [value for value in values if value is not None]
    return pick(known) if known else None
