"""Outages, whole: those of a ride or of a park in any window whose readings are held, and how long they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import NamedTuple

from service import rules
from service.periods import DAY_SECONDS, Interval, iso_utc, pacific_days
from service.queries import Row, live
from service.queries.catalog import ParkFacts, find_ride
from service.queries.days import Tallies
from service.queries.tally import Outage

STATISTICS_SECONDS = 90 * DAY_SECONDS  # before now: of these outages statistics are made
PERCENTILES = (50, 75, 90)
BACK_WITHIN = (15, 30, 60)  # minutes


class Episode(NamedTuple):
    """An outage as people read it: first slot to the end of the last one, in epoch seconds; while it lasts, so far."""

    ride_id: int
    start: int
    end: int
    minutes: int  # down slots; those missing in between are none
    ongoing: bool
    kind: str  # told: the source said so; inferred: closed between two readings in operation

    def touches(self, window: Interval) -> bool:
        """Whether any of it lies in the window, which reaches up to now at most: what is ongoing lasts until then."""
        return max(self.start, window.start) < window.end and (self.ongoing or window.start < self.end)


def episodes(tallies: Tallies, park: ParkFacts, found: Iterable[Outage]) -> list[Episode]:
    """Each of a park's outages once, though the tallies of two Pacific days have it: newest first, then by ride."""
    once = {(-outage.slots[0], outage.ride_id): outage for outage in found}
    live_slot = live.live_slot(tallies, park) if once else None
    return [_episode(tallies, once[key], live_slot) for key in sorted(once)]


def _episode(tallies: Tallies, outage: Outage, live_slot: int | None) -> Episode:
    """It does not outlive its feed. All outages lie in openings: if one has the live slot, the park is open in that."""
    return Episode(
        outage.ride_id,
        outage.slots[0],
        outage.slots[-1] + tallies.step,
        len(outage.slots) * tallies.interval_minutes,
        live_slot is not None and outage.slots[-1] >= live_slot,
        "told" if outage.told else "inferred",
    )


def ride_outages(ride_id: int, window: Interval, limit: int, now: datetime) -> Row:
    """The outages of a ride of any category that touch [start, end): `data`, newest first, at most `limit`.

    `covered` is the part of the window from which readings are held. `statistics`: see _statistics; of the last 90
    days, whatever the window. Raises NotFound.
    """
    return _outages(find_ride(ride_id).park_id, window, limit, now, ride_id)


def park_outages(park_id: int, window: Interval, limit: int, now: datetime) -> Row:
    """The same of all attractions of a park, active or not; of equally new ones the ride with the least id first."""
    return _outages(park_id, window, limit, now)


def _outages(park_id: int, window: Interval, limit: int, now: datetime, ride_id: int | None = None) -> Row:
    tallies = Tallies(now, only=park_id)
    park = tallies.universe.park(park_id)
    seen = _until_now(window, tallies.now)
    recent = Interval(tallies.now - STATISTICS_SECONDS, tallies.now + 1)
    days = {*_held_days(tallies, seen), *_held_days(tallies, recent)}
    known = episodes(tallies, park, _of_days(tallies, park, days, ride_id))
    touching = [one for one in known if one.touches(seen)]
    return {
        "data": [_row(one) for one in touching[:limit]],
        "total": len(touching),
        "statistics": _statistics([one for one in known if recent.has(one.start)], of_ride=ride_id is not None),
        "covered": _covered(tallies, window),
    }


def _until_now(window: Interval, now: int) -> Interval:
    """The part of the window that is not in the future; the slot of now is in a window that reaches up to it."""
    return window if window.end < now else Interval(window.start, now + 1)


def _held_days(tallies: Tallies, span: Interval) -> list[date]:
    """The Pacific days of a span whose readings are held."""
    first = tallies.first_day
    return [day for day in pacific_days(span) if first is not None and day >= first] if span.start < span.end else []


def _of_days(tallies: Tallies, park: ParkFacts, days: Iterable[date], ride_id: int | None) -> Iterator[Outage]:
    """The outages of the local days that have a part in these Pacific days."""
    judged: set[int] = set()
    for day in sorted(days):
        for local in tallies.judged_rides(park, day, None if ride_id is None else [ride_id]):
            first = local.intervals[0].start
            if first not in judged:  # west of the Pacific a local day has a part in two
                judged.add(first)
                yield from (outage for found in local.outages.values() for outage in found)


def _row(one: Episode) -> Row:
    return {
        "ride_id": one.ride_id,
        "start": iso_utc(one.start),
        "end": None if one.ongoing else iso_utc(one.end),
        "minutes": one.minutes,
        "ongoing": one.ongoing,
        "kind": one.kind,
    }


def _statistics(recent: list[Episode], *, of_ride: bool) -> Row:
    """How long those take that are over, in minutes. `back_within`: of those that lasted at least as long as the one
    that the ride has now, the share (0-1) that was over within so many more minutes; of all, where none is running."""
    ended = Counter(one.minutes for one in recent if not one.ongoing)
    running = next((one.minutes for one in recent if one.ongoing), 0) if of_ride else 0
    return {
        "count": ended.total(),
        **{f"p{percent}_minutes": rules.percentile(ended, percent) for percent in PERCENTILES},
        "back_within_count": sum(count for minutes, count in ended.items() if minutes >= running),
        "back_within": {str(more): rules.rounded(rules.back_within(ended, running, more), 3) for more in BACK_WITHIN},
    }


def _covered(tallies: Tallies, window: Interval) -> Row:
    """Both None if nothing is held."""
    part = tallies.covered and window.cut(tallies.covered)
    return {"start": part and iso_utc(part.start), "end": part and iso_utc(part.end)}
