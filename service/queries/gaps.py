"""Gaps: stretches in which a park was open and none of its attractions has a reading."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from service import rules
from service.periods import Interval, local_days, pacific_day
from service.queries.catalog import ParkFacts
from service.queries.days import Tallies
from service.queries.tally import Readings, observed_slots


class Gap(NamedTuple):
    """From the first open slot without a reading until the next one with a reading, or the end of the opening."""

    park_id: int
    start: int  # epoch seconds
    end: int


def day_gaps(tallies: Tallies, day: date) -> list[Gap]:
    """The gaps longer than rules.OUTAGE_GAP_SECONDS that touch a Pacific day, by park, oldest first.

    Not cut: one that reaches over midnight is a gap of both days. Only parks that lack slots are looked at again.
    """
    found: list[Gap] = []
    for park in tallies.universe.parks.values():
        counted = tallies.count(park, day)
        if counted.slots < counted.open_slots and (park.is_active or counted.rides):
            found += _park_gaps(tallies, park, pacific_day(day))
    return found


def _park_gaps(tallies: Tallies, park: ParkFacts, span: Interval) -> Iterator[Gap]:
    readings = Readings(park, tallies.universe.rides_of.get(park.park_id, []), tallies.held, tallies.step)
    for local in local_days(span, park.timezone):
        for opening in tallies.openings(park, local):
            # What is still to come of an opening is not missing.
            known = Interval(opening.start, min(opening.end, tallies.now + 1))
            yield from (gap for gap in _silences(readings, known) if Interval(gap.start, gap.end).overlaps(span))


def _silences(readings: Readings, opening: Interval) -> Iterator[Gap]:
    step = readings.step
    observed = sorted(observed_slots(readings, opening, readings.ride_ids))
    expected = -(-opening.start // step) * step
    for slot in [*observed, expected + readings.slots_in(opening) * step]:
        if slot - expected > rules.OUTAGE_GAP_SECONDS:
            yield Gap(readings.park.park_id, expected, slot)
        expected = slot + step
