"""A park's Pacific day cut into cells of time: counts of all its rides together, or of each, in every cell.

Which slots are downtime is judged by the whole day (`tally`), then shared out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from operator import itemgetter
from typing import Any, NamedTuple

from peewee import Expression, Query, fn

from service import rules
from service.database import fetch, remainder
from service.models import RideStatusSnapshot
from service.periods import Interval
from service.queries.tally import (
    Alike,
    Counts,
    LocalDay,
    RideTally,
    Wanted,
    add_alike,
    added,
    counting,
    extreme,
    fetch_slots,
    kind_of,
    observed_slots,
    picked,
)

FEW_SLOTS = 48  # are looked up one by one for all rides


class Cells(NamedTuple):
    """Time cut into cells of `width` seconds; one of them starts at `origin`."""

    width: int
    origin: int = 0

    @property
    def shape(self) -> Cells:
        """The same cells, said in the same way on every day: what a prepared statement is remembered by."""
        return Cells(self.width, self.origin % self.width)

    def start_of(self, at: int) -> int:
        """The start of the cell that an instant lies in."""
        return at - (at - self.origin) % self.width

    def across(self, span: Interval) -> Iterator[tuple[int, Interval]]:
        """The start of every cell that overlaps `span`, with the part inside."""
        for start in range(self.start_of(span.start), span.end, self.width):
            yield start, Interval(max(start, span.start), min(start + self.width, span.end))


class Part(NamedTuple):
    """What one park did in a part of a Pacific day, in slots; waits in minutes."""

    slots: int = 0  # observed, of `open_slots`
    open_slots: int = 0
    samples: int = 0  # readings of all its rides
    operating: int = 0
    down: Mapping[int, int] = {}  # by ride
    wait_sum: int = 0
    wait_samples: int = 0
    wait_max: int | None = None
    spread: Mapping[int, int] = {}  # how often each wait was posted

    def plus(self, other: Part) -> Part:
        """Both parts together."""
        return Part(
            self.slots + other.slots,
            self.open_slots + other.open_slots,
            self.samples + other.samples,
            self.operating + other.operating,
            added(self.down, other.down),
            self.wait_sum + other.wait_sum,
            self.wait_samples + other.wait_samples,
            extreme(max, self.wait_max, other.wait_max),
            added(self.spread, other.spread),
        )


class PartTally(NamedTuple):
    """A part of a Pacific day with its weights: what a chart has a point of."""

    slots: int
    open_slots: int
    roster_weight: int  # of the day
    operating: int
    down: int
    weighted_down: int
    rides_with_downtime: int
    wait_sum: int
    wait_samples: int
    wait_max: int | None

    @property
    def score(self) -> Fraction | None:
        """The shame score of the part."""
        return rules.shame_score(self.weighted_down, self.roster_weight, self.slots)


def park_parts(
    days: Iterable[LocalDay], cells: Cells, within: Sequence[Interval], wanted: Wanted = Wanted.ALL
) -> dict[int, Part]:
    """What the park did in the parts of its day that lie `within`, by the starts of the cells in which it was open."""
    found: dict[int, Part] = {}
    for day in days:
        for piece in day.open_within(within):
            for start, part in _parts_of(day, piece, cells, wanted).items():
                found[start] = found[start].plus(part) if start in found else part
    return found


def ride_parts(
    days: Iterable[LocalDay], cells: Cells, within: Sequence[Interval], wanted: Wanted = Wanted.ALL
) -> dict[int, dict[int, RideTally]]:
    """The same of each ride with readings while the park was open, by the start of the cell, then the ride."""
    found: dict[int, dict[int, RideTally]] = defaultdict(dict)
    days = list(days)
    expected = set[int]().union(*(day.seen.expected for day in days))
    for day in days:
        for piece in day.open_within(within):
            spans = dict(cells.across(piece))
            for (start, ride_id), counts in _ride_counts(day, piece, cells, wanted).items():
                ride = day.ride(ride_id, [counts], spans[start], wanted, expected)
                known = found[start].get(ride_id)
                found[start][ride_id] = known.plus(ride) if known else ride
    return found


def park_slots(
    days: Iterable[LocalDay], cells: Cells, within: Sequence[Interval], ride_ids: list[int]
) -> dict[int, tuple[int, int]]:
    """In how many slots any of these rides of the park reported, and in how many it was open, by cells."""
    found: dict[int, tuple[int, int]] = {}
    for day in days:
        for piece in day.open_within(within):
            observed = _observed(day, piece, cells, day.readings.ride_ids, ride_ids)
            for start, span in cells.across(piece):
                seen, opened = found.get(start, (0, 0))
                found[start] = seen + observed.get(start, 0), opened + day.readings.slots_in(span)
    return found


def _parts_of(day: LocalDay, piece: Interval, cells: Cells, wanted: Wanted) -> dict[int, Part]:
    down = _down(day, piece, cells) if Wanted.DOWN in wanted else {}
    counts = _counts(day, piece, cells, wanted) if wanted & ~Wanted.DOWN else {}
    likely = [ride_id for ride_id, _ in Counter(row.ride_id for row in counts.values()).most_common(1)]
    observed = _observed(day, piece, cells, likely, day.readings.ride_ids)
    found = {}
    for start, span in cells.across(piece):
        row = counts.get(start) or Counts(0)
        found[start] = Part(
            observed.get(start, 0),
            day.readings.slots_in(span),
            row.samples,
            row.operating,
            down.get(start, {}),
            row.wait_sum,
            row.wait_samples,
            row.wait_max,
            row.spread,
        )
    return found


def _down(day: LocalDay, piece: Interval, cells: Cells) -> dict[int, Counter[int]]:
    """The down slots of `piece` by the start of the cell, then the ride."""
    found: dict[int, Counter[int]] = defaultdict(Counter)
    for ride_id, outages in day.outages.items():
        # As everywhere: a ride that did not operate that Pacific day has no downtime on it.
        for slot in (slot for one in outages for slot in one.slots if ride_id in day.seen.expected and piece.has(slot)):
            found[cells.start_of(slot)][ride_id] += 1
    return found


def _observed(
    day: LocalDay, piece: Interval, cells: Cells, likely: list[int], ride_ids: list[int]
) -> Mapping[int, int]:
    """In how many slots of each cell any of these rides has a reading.

    One that is `likely` to have reported in nearly every slot spares looking at all of them: 0.3 ms instead of 4.
    """
    seen = piece.cut(day.readings.held)
    if seen is None or not ride_ids:
        return {}
    if day.is_complete(piece):
        return {start: day.readings.slots_in(span) for start, span in cells.across(seen)}
    step = day.readings.step
    reported = observed_slots(day.readings, seen, likely[:1])
    missing = [slot for slot in range(-(-seen.start // step) * step, seen.end, step) if slot not in reported]
    if len(missing) > FEW_SLOTS:
        reported |= observed_slots(day.readings, seen, ride_ids)
    elif missing:
        reported |= {slot for (slot,) in fetch(_reporting(ride_ids, missing))}
    return Counter(map(cells.start_of, reported))


# --- the SELECTs -----------------------------------------------------------------------------------------------------


def _counts(day: LocalDay, piece: Interval, cells: Cells, wanted: Wanted) -> dict[int, Counts]:
    """The readings of all rides together, by the start of the cell. Each row names one of the rides.

    Those that did not operate that day need not be told apart: only an operating reading adds to what is summed.
    """
    return _folded(day, piece, cells, wanted, itemgetter(0), by_ride=False)


def _ride_counts(day: LocalDay, piece: Interval, cells: Cells, wanted: Wanted) -> dict[tuple[int, int], Counts]:
    """The readings by the start of the cell and the ride."""
    return _folded(day, piece, cells, wanted, itemgetter(0, 1), by_ride=True)


def _folded(
    day: LocalDay, piece: Interval, cells: Cells, wanted: Wanted, key_of: Callable[..., Any], *, by_ride: bool
) -> dict[Any, Counts]:
    """The readings of rows, by what of a row `key_of` takes for the key."""
    make = _spreading if Wanted.SPREAD in wanted else _counting
    rows = fetch_slots(make, day.readings, piece, day.readings.ride_ids, cells.shape, by_ride)
    if make is _spreading:
        return _spread(day, rows, key_of)
    found: dict[Any, Counts] = {}
    for row in rows:
        add_alike(found, key_of(row), day.readings, Alike(*row[1:]))
    return found


def _spread(day: LocalDay, rows: list[tuple[Any, ...]], key_of: Callable[..., Any]) -> dict[Any, Counts]:
    """Rows of a start, a ride, what its readings look like with their wait, and how many there are: ten times as many
    as the others, so they are added up here and now."""
    found: dict[Any, Counts] = {}
    spreads: dict[Any, dict[int, int]] = {}
    park_type = day.readings.park.park_type
    for row in rows:
        key, (_, ride_id, status, is_open, wait, readings) = key_of(row), row
        if key not in found:
            found[key], spreads[key] = Counts(ride_id), {}
        counts, kind = found[key], kind_of(park_type, status, is_open, wait and 1)
        counts.samples += readings
        if kind.operating:
            counts.operating += readings
        if kind.counts:
            spreads[key][wait or 0] = spreads[key].get(wait or 0, 0) + readings
    for key, spread in spreads.items():
        counts = found[key]
        counts.spread, counts.wait_samples = spread, sum(spread.values())
        counts.wait_sum = sum(wait * readings for wait, readings in spread.items())
        counts.wait_min, counts.wait_max = min(spread, default=None), max(spread, default=None)
    return found


def _counting(values: list[int], cells: Cells, by_ride: bool) -> Query:
    ride, start = RideStatusSnapshot.ride_id, _cell(cells)
    return counting(values, [start, ride if by_ride else fn.MIN(ride)], [start, *([ride] if by_ride else [])])


def _spreading(values: list[int], cells: Cells, by_ride: bool) -> Query:
    snapshot, start = RideStatusSnapshot, _cell(cells)
    ride = snapshot.ride_id
    alike = (snapshot.status, snapshot.is_open, snapshot.wait_time)
    return (
        snapshot.select(start, ride if by_ride else fn.MIN(ride), *alike, fn.COUNT(snapshot.snapshot_time))
        .where(picked(values))
        .group_by(start, *([ride] if by_ride else []), *alike)
    )


def _reporting(ride_ids: list[int], slots: list[int]) -> Query:
    snapshot = RideStatusSnapshot
    which = snapshot.ride_id.in_(ride_ids) & snapshot.snapshot_time.in_(slots)
    return snapshot.select(snapshot.snapshot_time).where(which).distinct()


def _cell(cells: Cells) -> Expression:
    """The start of the cell that a reading lies in."""
    slot = RideStatusSnapshot.snapshot_time
    start: Expression = slot - remainder(slot - cells.origin, cells.width)
    return start
