"""One ride: what it is, and how it did over a period, hour by hour or day by day, with every outage."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from fractions import Fraction
from functools import cached_property, reduce
from typing import NamedTuple

from service import periods, rules
from service.periods import Span, iso_utc
from service.queries import Row
from service.queries.catalog import ParkFacts, find_ride, ride_page
from service.queries.days import CloseTally, Tallies
from service.queries.outages import Episode, episodes
from service.queries.series import BY_HOUR, average_wait, hours_down
from service.queries.tally import RideTally


class RideSpan:
    """A ride of any category over a named period. Raises NotFound for a ride that does not exist.

    Attractions are counted as rankings do, from stored days too; the others only from readings that are held.
    `recount`: attractions from readings too, where these are held.
    """

    def __init__(self, ride_id: int, period: str, now: datetime, *, recount: bool = False) -> None:
        self.ride = find_ride(ride_id)
        self.tallies = Tallies(now, only=self.ride.park_id, recount=recount)
        self.park: ParkFacts = self.tallies.universe.park(self.ride.park_id)
        self.span: Span = periods.named(period, now)

    @property
    def is_ranked(self) -> bool:
        """Whether it is an attraction."""
        return self.ride.ride_id in self.tallies.universe.rides

    @cached_property
    def days(self) -> dict[date, RideTally]:
        """The days on which the ride has readings while its park was open."""
        if self.is_ranked:
            found = self.tallies.ride_days(self.span, [self.park])
            mine = {day: ride for day in found for ride in found[day] if ride.ride_id == self.ride.ride_id}
        else:
            whole = {day: close.whole.rides for day, close in self.close.items()}
            mine = {day: rides[self.ride.ride_id] for day, rides in whole.items() if self.ride.ride_id in rides}
        return {day: ride for day, ride in sorted(mine.items()) if ride.samples}

    @cached_property
    def close(self) -> dict[date, CloseTally]:
        """The days whose readings are held."""
        found = {
            day: self.tallies.ride_day(self.park, self.ride.ride_id, day, BY_HOUR, self.span.until)
            for day in self.span.days
        }
        return {day: close for day, close in found.items() if close is not None}

    def hours_of(self, day: date) -> dict[int, RideTally]:
        """The hours of a day in which the ride has readings while its park was open, by their starts."""
        return self.close[day].cells if day in self.close else {}

    @property
    def outages(self) -> list[Episode]:
        """The outages that touch the period, whole, newest first; of days whose readings are held."""
        found = [outage for close in self.close.values() for outage in close.whole.outages]
        return [one for one in episodes(self.tallies, self.park, found) if one.touches(self.span.interval)]

    def hours(self, slots: int) -> Fraction:
        """Slots as hours."""
        return rules.slot_hours(slots, self.tallies.interval_minutes)


def ride_details(asked: RideSpan) -> Row:
    """The page of a ride: points by hour for a single day, by day for a longer period, and the outages."""
    by_day = len(asked.span.days) > 1
    return {
        "ride": _ride_info(asked),
        "timeseries": _daily_points(asked) if by_day else _hourly_points(asked),
        "summary": _summary(asked),
        "downtime_events": [_event(one) for one in asked.outages],
        "hourly_breakdown": (_daily_breakdown(asked) if by_day else _hourly_breakdown(asked))[::-1],
    }


def _ride_info(asked: RideSpan) -> Row:
    ride = asked.ride
    return {
        "ride_id": ride.ride_id,
        "name": ride.name,
        "park_id": asked.park.park_id,
        "park_name": asked.park.name,
        "tier": ride.tier,
        "category": rules.Category(ride.category).name,
        "queue_times_url": ride_page(asked.park, ride.facts),
    }


# --- hours and days --------------------------------------------------------------------------------------------------


def _hourly_points(asked: RideSpan) -> list[Row]:
    hours = asked.hours_of(asked.span.days[0])
    return [{"hour_start_utc": iso_utc(start)} | _point(ride) for start, ride in hours.items()]


def _daily_points(asked: RideSpan) -> list[Row]:
    return [{"date": day.isoformat()} | _point(ride) for day, ride in asked.days.items()]


def _point(ride: RideTally) -> Row:
    return _common(ride) | {"status": rules.predominant(ride.operating, ride.down, ride.samples).name}


def _hourly_breakdown(asked: RideSpan) -> list[Row]:
    return [
        {
            "hour_start_utc": iso_utc(start),
            "operating_snapshots": ride.operating,
            "down_snapshots": ride.down,
            "downtime_hours": _downtime(asked, ride),
        }
        | _common(ride)
        for start, ride in asked.hours_of(asked.span.days[0]).items()
    ]


def _daily_breakdown(asked: RideSpan) -> list[Row]:
    return [
        {
            "date": day.isoformat(),
            "operating_hours": hours.mostly_operating,
            "down_hours": hours.mostly_down,
            "downtime_hours": _downtime(asked, ride),
        }
        | _common(ride)
        for day, ride in asked.days.items()
        for hours in [_hours(asked, day)]
    ]


def _common(ride: RideTally) -> Row:
    return {
        "avg_wait_time_minutes": rules.rounded(average_wait(ride), 1),
        "uptime_percentage": rules.rounded(rules.uptime_percentage(ride.operating, ride.down), 1),
        "snapshot_count": ride.samples,
    }


def _downtime(asked: RideSpan, ride: RideTally) -> float | None:
    return rules.rounded(hours_down(ride, asked.tallies.interval_minutes), 2)


class _Hours(NamedTuple):
    """How many hours of a day in which a ride operated it was in: at all, running in, mostly running in, mostly down
    in."""

    known: int
    operating: int
    mostly_operating: int
    mostly_down: int


def _hours(asked: RideSpan, day: date) -> _Hours:
    """Whole hours by the clock; where the day's readings are gone, as many as its minutes make."""
    ride = asked.days[day]
    if not ride.operated:
        return _Hours(0, 0, 0, 0)
    if day not in asked.close:
        known, operating, down = (_whole(asked.hours(slots)) for slots in (ride.samples, ride.operating, ride.down))
        return _Hours(known, operating, operating, down)
    hours = asked.hours_of(day).values()
    uptimes = [rules.uptime_percentage(hour.operating, hour.down) for hour in hours]
    expected = [uptime for uptime in uptimes if uptime is not None]
    mostly = sum(uptime >= 50 for uptime in expected)
    return _Hours(len(hours), sum(uptime > 0 for uptime in expected), mostly, len(expected) - mostly)


def _whole(hours: Fraction) -> int:
    return int(rules.rounded(hours, 0) or 0)


def _summary(asked: RideSpan) -> Row:
    """The figures that the ride has in the rankings; None for a ride that did not operate."""
    total = _total(asked.days.values())
    if total is None or not total.operated:
        names = ("total_downtime_hours", "uptime_percentage", "avg_wait_time", "total_operating_hours")
        return dict.fromkeys(names) | {"total_hours": 0}
    hours = [_hours(asked, day) for day in asked.days]
    return {
        "total_downtime_hours": rules.rounded(asked.hours(total.down), 2),
        "uptime_percentage": rules.rounded(rules.uptime_percentage(total.operating, total.down), 1),
        "avg_wait_time": rules.rounded(rules.average_wait(total.wait_sum, total.wait_samples), 1),
        "total_operating_hours": sum(day.operating for day in hours),
        "total_hours": sum(day.known for day in hours),
    }


def _total(rides: Iterable[RideTally]) -> RideTally | None:
    found = list(rides)
    return reduce(RideTally.plus, found) if found else None


# --- outages ---------------------------------------------------------------------------------------------------------


def _event(one: Episode) -> Row:
    return {
        "start_time": iso_utc(one.start),
        "end_time": iso_utc(one.end),
        "duration_hours": rules.rounded(rules.hours(one.minutes), 2),
        "minutes": one.minutes,
        "is_ongoing": one.ongoing,
        "kind": one.kind,
    }
