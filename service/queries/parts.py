"""A park's Pacific day cut into cells of time: counts of all its rides together, or of each, in every cell.

Which slots are downtime is judged by the whole day (`tally`), then shared out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from peewee import Expression, Query, fn

from service import rules
from service.database import remainder
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
    picked,
)


class Cells(NamedTuple):
    """Time cut into cells of `width` seconds; one of them starts at `origin`."""

    width: int
    origin: int = 0

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
            observed = _observed(day, piece, cells, {}, ride_ids)
            for start, span in cells.across(piece):
                seen, opened = found.get(start, (0, 0))
                found[start] = seen + observed.get(start, 0), opened + day.readings.slots_in(span)
    return found


def _parts_of(day: LocalDay, piece: Interval, cells: Cells, wanted: Wanted) -> dict[int, Part]:
    down = _down(day, piece, cells) if Wanted.DOWN in wanted else {}
    counts = _counts(day, piece, cells, wanted) if wanted & ~Wanted.DOWN else {}
    observed = _observed(day, piece, cells, counts, day.readings.ride_ids)
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
    day: LocalDay, piece: Interval, cells: Cells, counts: Mapping[int, Counts], ride_ids: list[int]
) -> dict[int, int]:
    """In how many slots of each cell any of these rides has a reading."""
    seen = piece.cut(day.readings.held)
    if seen is None:
        return {}
    slots = {start: day.readings.slots_in(span) for start, span in cells.across(seen)}
    # What was looked at already is not asked for again; after that, one ride that reported in every slot there is
    # spares looking at all of them.
    if "seen" in vars(day) and any(known.has(piece.start) and piece.end <= known.end for known in day.seen.complete):
        return slots
    for ride_id, _ in Counter(row.ride_id for row in counts.values()).most_common(1):
        if dict(fetch_slots(_observing, day.readings, seen, [ride_id], cells)) == slots:
            return slots
    return dict(fetch_slots(_observing, day.readings, seen, ride_ids, cells))


# --- the SELECTs -----------------------------------------------------------------------------------------------------


def _counts(day: LocalDay, piece: Interval, cells: Cells, wanted: Wanted) -> dict[int, Counts]:
    """The readings of all rides together, by the start of the cell. Each row names one of the rides.

    Those that did not operate that day need not be told apart: only an operating reading adds to what is summed.
    """
    found: dict[Any, Counts] = {}
    for start, row in _alike(day, piece, cells, wanted, by_ride=False):
        add_alike(found, start, day.readings, row)
    return found


def _ride_counts(day: LocalDay, piece: Interval, cells: Cells, wanted: Wanted) -> dict[tuple[int, int], Counts]:
    """The readings by the start of the cell and the ride."""
    found: dict[Any, Counts] = {}
    for start, row in _alike(day, piece, cells, wanted, by_ride=True):
        add_alike(found, (start, row.ride_id), day.readings, row)
    return found


def _alike(
    day: LocalDay, piece: Interval, cells: Cells, wanted: Wanted, *, by_ride: bool
) -> Iterator[tuple[int, Alike]]:
    """The starts of cells with readings that the rules cannot tell apart."""
    make = _spreading if Wanted.SPREAD in wanted else _counting_cells
    for start, *row in fetch_slots(make, day.readings, piece, day.readings.ride_ids, cells, by_ride):
        yield int(start), _spread(*row) if make is _spreading else Alike(*row)


def _spread(ride_id: int, status: int | None, is_open: int | None, wait: int | None, readings: int) -> Alike:
    """Readings with the same wait. When they were does not matter in a part of a day."""
    posted = None if wait is None else int(wait > 0)
    return Alike(ride_id, status, is_open, posted, readings, 0, 0, (wait or 0) * readings, wait, wait, wait)


def _counting_cells(values: list[int], cells: Cells, by_ride: bool) -> Query:
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


def _observing(values: list[int], cells: Cells) -> Query:
    snapshot = RideStatusSnapshot
    slots = fn.COUNT(snapshot.snapshot_time.distinct())
    return snapshot.select(_cell(cells), slots).where(picked(values)).group_by(_cell(cells))


def _cell(cells: Cells) -> Expression:
    """The start of the cell that a reading lies in."""
    slot = RideStatusSnapshot.snapshot_time
    start: Expression = slot - remainder(slot - cells.origin % cells.width, cells.width)
    return start
