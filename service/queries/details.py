"""One park: what it is, how it does now, and what its shame score of a period is made of."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from fractions import Fraction
from functools import cached_property

from service import rules
from service.database import fetch
from service.models import Park, ParkActivitySnapshot
from service.periods import Interval, iso_utc, last_days, local_days, pacific_clock, pacific_date, pacific_day
from service.queries import Row, live, rankings, series
from service.queries.catalog import ParkFacts, RideFacts
from service.queries.live import ParkNow
from service.queries.parts import PartTally
from service.queries.rankings import ParkSpan, Standings
from service.queries.roster import EXCLUDED, Roster, attractions, roster_now
from service.queries.series import BY_HOUR, HOUR
from service.queries.tally import ParkTally, RideTally, Wanted

DOWNTIME, WAIT_TIMES = "downtime", "wait_times"
CHARTS = (DOWNTIME, WAIT_TIMES)

SESSION_DAYS = 30
MOST_SESSIONS = 100
UNCLASSIFIED = 2  # shown as the tier of a ride without one: it weighs as much


class _Page:
    """What the parts of a park's page look at. `asked` is of this park only."""

    def __init__(self, asked: Standings) -> None:
        self.asked = asked
        self.tallies = asked.tallies
        self.park: ParkFacts = asked.parks[0]
        self.now: ParkNow | None = live.parks_now(self.tallies, [self.park]).get(self.park.park_id)
        self.seen = self.now or live.last_seen(self.tallies, self.park)
        self.roster: Roster = roster_now(self.tallies, self.park)

    @cached_property
    def days(self) -> list[ParkTally]:
        """The days of the period."""
        return self.tallies.park_days(self.asked.span, [self.park])

    @property
    def span(self) -> ParkSpan | None:
        """The period's figures; None where nothing was observed."""
        return self.asked.park_spans.get(self.park.park_id)

    @property
    def score(self) -> Fraction:
        """The shame score of the period, or of now; 0 without one."""
        if self.asked.period != "live":
            return (self.span.score if self.span else None) or Fraction(0)
        members = {ride.ride_id for ride in self.roster.rides}
        return (self.now.score(self.tallies.universe, members) if self.now else None) or Fraction(0)

    @cached_property
    def by_hour(self) -> dict[int, PartTally]:
        """The hours of a single day in which the park was observed while open, by their starts."""
        span = self.asked.span
        hours = self.tallies.park_parts(self.park, span.days[0], BY_HOUR, until=span.until)
        return {start: hour for start, hour in hours.items() if hour.slots}

    def hours(self, slots: int) -> Fraction:
        """Slots as hours."""
        return rules.slot_hours(slots, self.tallies.interval_minutes)


def park_details(asked: Standings) -> Row:
    """The page of a park over the period asked for."""
    page = _Page(asked)
    breakdown = BREAKDOWNS[asked.period](page)
    return {
        "park": _park_info(page.park),
        "tier_distribution": _tier_distribution(page),
        "operating_sessions": _operating_sessions(page),
        "current_status": _current_status(page),
        "shame_breakdown": breakdown,
        "excluded_rides_count": len(page.roster.excluded),
        "effective_park_weight": page.roster.weight,
        "chart_data": CHARTS_OF[asked.period](page),
    }


def rides_chart(asked: Standings, chart_type: str) -> Row:
    """The attractions of a park that operated (or have waits), each with its hours down (or its average wait in
    minutes) at every point of the period's grid; None where there is nothing to say. By tier, then name."""
    grid = series.grid_of(asked.span)
    value = _hours_down if chart_type == DOWNTIME else _wait
    found: list[tuple[RideFacts, list[float | None]]] = []
    listed = asked.listed_rides(Wanted.ALL)  # first: what it judges serves the points too
    points_of = series.ride_series(asked.tallies, asked.span, asked.parks)
    for facts, ride in listed:
        if ride.operated if chart_type == DOWNTIME else ride.wait_samples:
            points = points_of.get(facts.ride_id, [None] * len(grid.points))
            found.append((facts, [None if point is None else value(point, asked.minutes) for point in points]))
    found.sort(key=lambda pair: (_tier(pair[0]), pair[0].name.casefold(), pair[0].ride_id))
    return {
        "granularity": grid.granularity,
        "labels": grid.labels,
        "datasets": [
            {"label": facts.name, "ride_id": facts.ride_id, "tier": _tier(facts), "data": data} for facts, data in found
        ],
    }


def _hours_down(ride: RideTally, minutes: int) -> float | None:
    return rules.rounded(series.hours_down(ride, minutes), 2)


def _wait(ride: RideTally, _: int) -> float | None:
    return rules.rounded(series.average_wait(ride), 1)


# --- the park --------------------------------------------------------------------------------------------------------


def _park_info(park: ParkFacts) -> Row:
    ((operator,),) = fetch(Park.select(Park.operator).where(Park.park_id == park.park_id))
    return {
        "park_id": park.park_id,
        "name": park.name,
        "location": park.location,
        "operator": operator,
        "timezone": park.timezone,
        "queue_times_url": park.queue_times_url,
    }


def _active(page: _Page) -> list[RideFacts]:
    return [ride for ride in attractions(page.tallies, page.park) if ride.is_active]


def _tier_distribution(page: _Page) -> Row:
    tiers = [ride.tier for ride in _active(page)]
    return {
        "park_id": page.park.park_id,
        "park_name": page.park.name,
        **{f"tier_{tier}_count": tiers.count(tier) for tier in (1, 2, 3)},
        "unclassified_count": tiers.count(None),
        "total_rides": len(tiers),
    }


def _operating_sessions(page: _Page) -> list[Row]:
    """The openings of the last 30 Pacific days in which the park was observed, newest first."""
    today = pacific_date(page.tallies.now)
    lately = Interval(pacific_day(last_days(today, SESSION_DAYS)[0]).start, page.tallies.held.end)
    if lately.start >= lately.end:
        return []
    slots = _observed_slots(page, lately)
    found = []
    for day in local_days(lately, page.park.timezone):
        for opening in page.tallies.openings(page.park, day):
            inside = slots[bisect_left(slots, opening.start) : bisect_left(slots, opening.end)]
            if inside and lately.has(opening.start):
                found.append(_session(page, inside))
    return found[::-1][:MOST_SESSIONS]


def _observed_slots(page: _Page, span: Interval) -> list[int]:
    """The slots of `span` in which any attraction of the park has a reading."""
    activity = ParkActivitySnapshot
    query = (
        activity.select(activity.snapshot_time)
        .where(
            activity.park_id == page.park.park_id,
            activity.snapshot_time.between(span.start, span.end - 1),
            activity.rides_tracked > 0,
        )
        .order_by(activity.snapshot_time)
    )
    return [slot for (slot,) in fetch(query)]


def _session(page: _Page, slots: list[int]) -> Row:
    return {
        "park_id": page.park.park_id,
        "date": pacific_date(slots[0]).isoformat(),
        "first_open_at": iso_utc(slots[0]),
        "last_open_at": iso_utc(slots[-1]),
        "operating_hours": rules.rounded(Fraction(slots[-1] - slots[0], HOUR), 2),
        "snapshot_count": len(slots),
    }


def _current_status(page: _Page) -> Row:
    """The live slot; where there is none, what the newest slot said, with nothing open or operating now."""
    seen = page.seen
    statuses = live.count_statuses(page.tallies.universe, {page.park.park_id: seen} if seen else {})
    running = statuses[rules.Status.OPERATING.name]
    waits = seen.waits if seen else []
    return {
        "park_id": page.park.park_id,
        "park_name": page.park.name,
        "is_open": page.now is not None and page.now.is_open,
        "last_updated": iso_utc(seen.slot) if seen else None,
        "rides_open": running,
        "rides_closed": statuses["total"] - running,
        "total_rides": len(_active(page)) if seen else 0,
        "avg_wait_time": rules.rounded(rules.average_wait(sum(waits), len(waits)), 1),
        "max_wait_time": max(waits, default=None),
        "operating": running if page.now else 0,
    }


# --- the shame score's parts -----------------------------------------------------------------------------------------


def _live_breakdown(page: _Page) -> Row:
    down = _down_now(page)
    # The contract wants an instant here: for a park that was never seen, the present one.
    last = page.seen.slot if page.seen else page.tallies.now
    return {
        "breakdown_type": "live",
        "shame_score": rules.rounded(page.score, 1),
        "is_live": True,
        "last_updated": iso_utc(last),
        "park_is_open": page.now is not None and page.now.is_open,
        "rides_down": _rows(page, down),
        "rides_excluded": [
            {
                "ride_id": ride.ride_id,
                "ride_name": ride.name,
                "tier": ride.tier,
                "tier_weight": ride.weight,
                "exclusion_reason": EXCLUDED,
            }
            for ride in page.roster.excluded
        ],
        "total_park_weight": page.roster.weight,
        "total_weighted_down": page.now.weighted_down(page.tallies.universe) if page.now else 0,
        "total_excluded_weight": page.roster.excluded_weight,
    }


def _down_now(page: _Page) -> list[tuple[RideFacts, int]]:
    """The rides that are down, inactive ones too, for they are in the score; with their down slots of today."""
    today, facts = page.asked.rides(), page.tallies.universe.rides
    return [
        (facts[ride_id], today[ride_id].down if ride_id in today else 0)
        for ride_id, ride in (page.now.rides.items() if page.now else ())
        if ride.status == rules.Status.DOWN.name
    ]


def _span_breakdown(page: _Page) -> Row:
    """What all periods but live have in common; equal to the park's row in the ranking."""
    span = page.span
    down, weighted = (span.down, span.weighted_down) if span else (0, 0)
    broken = [(facts, ride.down) for facts, ride, _ in rankings.broken_rides(page.asked, hidden_too=True)]
    rows = _rows(page, broken)
    uptime = rules.rounded(span.uptime if span else None, 1)
    return {
        "breakdown_type": page.asked.period,
        "shame_score": rules.rounded(page.score, 1),
        "total_downtime_hours": rules.rounded(page.hours(down), 2),
        "weighted_downtime_hours": rules.rounded(page.hours(weighted), 2),
        "avg_uptime_percentage": 100.0 if uptime is None else uptime,
        "total_park_weight": rules.rounded(_weight(page), 2),
        "rides": rows,
        "rides_affected_count": len(rows),
    }


def _weight(page: _Page) -> Fraction:
    """What the rosters of the days weigh, each as much as its slots: 10 x weighted hours / (this x open hours)."""
    slots = sum(day.slots for day in page.days)
    return Fraction(sum(day.roster_weight * day.slots for day in page.days), slots) if slots else Fraction(0)


def _today_breakdown(page: _Page) -> Row:
    return _span_breakdown(page) | {
        "hours_tracked": len(page.by_hour),
        "park_is_open": page.now.is_open if page.now else None,
    }


def _yesterday_breakdown(page: _Page) -> Row:
    return _span_breakdown(page) | {
        "rides_with_downtime": page.asked.rides_down[page.park.park_id],
        "park_is_open": None,
    }


def _past_breakdown(page: _Page) -> Row:
    breakdown = _span_breakdown(page)
    down = page.span.down if page.span else 0
    broken_days: dict[int, int] = {}
    for rides in page.tallies.ride_days(page.asked.span, [page.park]).values():
        for ride in rides:
            broken_days[ride.ride_id] = broken_days.get(ride.ride_id, 0) + (ride.down > 0)
    for row in breakdown["rides"]:
        row["days_with_downtime"] = broken_days[row["ride_id"]]
    daily = page.hours(down) / len(page.days) if page.days else Fraction(0)
    return breakdown | {
        "avg_daily_downtime": rules.rounded(daily, 2),
        "days_tracked": len(page.days),
        "days_in_period": len(page.asked.span.days),
        "period_label": page.asked.span.label,
    }


def _rows(page: _Page, broken: list[tuple[RideFacts, int]]) -> list[Row]:
    """Rides with their down slots as rows, what weighs most first."""
    ordered = sorted(broken, key=lambda pair: (-pair[1] * pair[0].weight, pair[0].ride_id))
    return [
        {
            "ride_id": ride.ride_id,
            "ride_name": ride.name,
            "tier": _tier(ride),
            "tier_weight": ride.weight,
            "downtime_hours": rules.rounded(page.hours(down), 2),
            "weighted_contribution": rules.rounded(page.hours(down * ride.weight), 2),
            "status": rules.Status.DOWN.name,
        }
        for ride, down in ordered
    ]


def _tier(ride: RideFacts) -> int:
    """The tier where the contract wants one of every ride."""
    return ride.tier or UNCLASSIFIED


# --- the chart -------------------------------------------------------------------------------------------------------


def _minutes_chart(page: _Page) -> Row:
    """The live scores of the last 60 minutes' slots, up to the live slot."""
    last = page.now.slot if page.now else 0
    slots = [slot for slot in series.recent_slots(page.tallies).points if isinstance(slot, int) and slot <= last]
    scores = live.recent_scores(page.tallies, page.park, slots) if slots else []
    return {
        "labels": [pacific_clock(slot) for slot in slots],
        "data": [rules.rounded(score, 1) for score in scores],
        "granularity": series.MINUTES,
        "current": rules.rounded(page.score, 1),
    }


def _hours_chart(page: _Page) -> Row:
    hours = page.by_hour.values()
    return {
        "labels": [_hour_label(start) for start in page.by_hour],
        "data": [rules.rounded(hour.score, 1) for hour in hours],
        "rides_down": [hour.rides_with_downtime for hour in hours],
        "avg_wait": [rules.rounded(rules.average_wait(hour.wait_sum, hour.wait_samples), 1) for hour in hours],
        "granularity": series.HOURLY,
        **_figures(page),
    }


def _hour_label(start: int) -> str:
    """`9:00`, Pacific."""
    return pacific_clock(start).removeprefix("0")


def _days_chart(page: _Page) -> Row:
    return {
        "labels": [f"{day.day:%b %d}" for day in page.days],
        "data": [rules.rounded(day.score or Fraction(0), 1) for day in page.days],
        "downtime_hours": [rules.rounded(page.hours(day.down), 2) for day in page.days],
        "rides_down": [day.rides_with_downtime for day in page.days],
        "granularity": series.DAILY,
        **_figures(page),
    }


def _figures(page: _Page) -> Row:
    """The period's own score, twice: a mean of the points would be another figure."""
    return {"average": rules.rounded(page.score, 1), "shame_score": rules.rounded(page.score, 1)}


BREAKDOWNS: dict[str, Callable[[_Page], Row]] = {
    "live": _live_breakdown,
    "today": _today_breakdown,
    "yesterday": _yesterday_breakdown,
    "last_week": _past_breakdown,
    "last_month": _past_breakdown,
}
CHARTS_OF: dict[str, Callable[[_Page], Row]] = {
    "live": _minutes_chart,
    "today": _hours_chart,
    "yesterday": _hours_chart,
    "last_week": _days_chart,
    "last_month": _days_chart,
}
