"""Who breaks down most and where the waits are longest: parks and rides, for every period and measure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

from service import periods, rules
from service.periods import Span
from service.queries.catalog import DISNEY_UNIVERSAL, ParkFacts, RideFacts, ride_page
from service.queries.days import Tallies
from service.queries.live import PARK_CLOSED, ParkNow, RideNow, count_statuses, parks_now
from service.queries.tally import ParkTally, RideTally

Row = dict[str, Any]

PARK_SORTS = ("shame_score", "total_downtime_hours", "uptime_percentage", "rides_down")
RIDE_SORTS = ("current_is_open", "downtime_hours", "uptime_percentage", "trend_percentage")
MODES = (*periods.PERIODS, "7day-average", "peak-times")
OF_NOW = ("live", "today", "peak-times")


class Question(NamedTuple):
    """What is asked of a ranking. `period` is a named period or, for waits of rides, a mode."""

    period: str
    filter: str
    sort_by: str
    limit: int
    now: datetime
    park_id: int | None = None  # of this park only, active or not


class ParkSpan(NamedTuple):
    """One park over a span: its days pooled, its score the mean of its day scores."""

    park: ParkFacts
    score: Fraction | None
    slots: int
    roster_weight: int  # of the last day
    operating: int
    down: int
    weighted_down: int
    wait_sum: int
    wait_samples: int
    wait_max: int | None

    @property
    def uptime(self) -> Fraction | None:
        """Operating as percent of the time its rides were expected to run."""
        return rules.uptime_percentage(self.operating, self.down)

    @property
    def average_wait(self) -> Fraction | None:
        """Pooled average wait in minutes."""
        return rules.average_wait(self.wait_sum, self.wait_samples)


class Standings:
    """Everything one ranking looks at, each part counted when it is first needed."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.period = periods.ALIASES.get(question.period, question.period)
        self.of_now = self.period in OF_NOW
        self.counted = "today" if self.period == "peak-times" else self.period  # the period that is counted
        self.tallies = Tallies(question.now, only=question.park_id)
        self.span = periods.named(self.counted, question.now)
        self.parks = self._chosen()
        self.minutes = self.tallies.interval_minutes

    def _chosen(self) -> list[ParkFacts]:
        if self.question.park_id is not None:
            return [self.tallies.universe.park(self.question.park_id)]
        return self.tallies.universe.filtered(self.question.filter, active_only=self.of_now)

    @cached_property
    def earlier(self) -> Span:
        """The span the period is compared with."""
        return periods.before(self.counted, self.question.now)

    @cached_property
    def park_spans(self) -> dict[int, ParkSpan]:
        """The parks with anything observed in the span."""
        return _park_spans(self.tallies.park_days(self.span, self.parks), self.tallies.universe.parks)

    @cached_property
    def parks_before(self) -> dict[int, ParkSpan]:
        """The same for the span before, without scores."""
        days = self.tallies.park_days(self.earlier, self.parks, rosters=False)
        return _park_spans(days, self.tallies.universe.parks)

    @cached_property
    def rides(self) -> dict[int, RideTally]:
        """The attractions with readings in the span, inactive ones too."""
        return self.tallies.rides(self.span, self.parks)

    @cached_property
    def rides_before(self) -> dict[int, RideTally]:
        """The same for the span before."""
        return self.tallies.rides(self.earlier, self.parks)

    @cached_property
    def live(self) -> dict[int, ParkNow]:
        """The parks' live slots; none for spans of the past."""
        return parks_now(self.tallies, self.parks) if self.of_now else {}

    @cached_property
    def rides_of(self) -> dict[int, list[RideTally]]:
        """The span's rides by park."""
        grouped: dict[int, list[RideTally]] = defaultdict(list)
        for ride in self.rides.values():
            grouped[ride.park_id].append(ride)
        return grouped

    def listed_rides(self, *, hidden_too: bool = False) -> list[tuple[RideFacts, RideTally]]:
        """The rides a list may show: of now, the active ones only, unless it explains a number."""
        facts = self.tallies.universe.rides
        pairs = [(facts[ride.ride_id], ride) for ride in self.rides.values() if ride.ride_id in facts]
        return [pair for pair in pairs if pair[0].is_active or hidden_too or not self.of_now]


class Waits(NamedTuple):
    """A park's waits: their exact average, the longest, how many rides posted one above 0."""

    average: Fraction | None
    peak: int | None
    rides: int


# --- who is in a ranking: everyone whose figure shows, with the exact figure, the highest first ----------------------


def scored_parks(asked: Standings) -> list[tuple[ParkSpan, Fraction]]:
    """The parks whose shame score does not round to 0.0, and that score."""
    scores = ((span, _score(asked, span)) for span in asked.park_spans.values())
    found = [(span, score) for span, score in scores if score is not None and shows(score, 1)]
    return sorted(found, key=lambda pair: (-pair[1], pair[0].park.park_id))


def waiting_parks(asked: Standings) -> list[tuple[ParkFacts, Waits, Fraction]]:
    """The parks with waits, of the live slot where that is asked, and their average."""
    parks = asked.tallies.universe.parks
    waits_of = _live_waits(asked) if asked.period == "live" else _span_waits(asked)
    found = [
        (parks[park_id], waits, waits.average)
        for park_id, waits in waits_of.items()
        if waits.average is not None and shows(waits.average, 1)
    ]
    return sorted(found, key=lambda entry: (-entry[2], entry[0].park_id))


def broken_rides(asked: Standings, *, hidden_too: bool = False) -> list[tuple[RideFacts, RideTally, Fraction]]:
    """The rides with downtime, and their hours down; with those that a list of now hides, whatever made the number."""
    rides = asked.listed_rides(hidden_too=hidden_too)
    hours = ((facts, ride, rules.hours(ride.down * asked.minutes)) for facts, ride in rides)
    return sorted(
        (entry for entry in hours if shows(entry[2], 2)), key=lambda entry: (-entry[2], entry[0].ride_id)
    )


def waiting_rides(asked: Standings) -> list[tuple[RideFacts, RideTally, Fraction]]:
    """The rides with waits, and their average, or for live the wait posted now."""
    averages = ((facts, ride, _average_wait(asked, facts, ride)) for facts, ride in _rides_seen(asked))
    found = [(facts, ride, average) for facts, ride, average in averages if average is not None and shows(average, 1)]
    return sorted(found, key=lambda entry: (-entry[2], entry[0].ride_id))


def park_trend(span: ParkSpan, before: ParkSpan | None) -> Fraction | None:
    """Percent change of a park's downtime per open slot."""
    return rules.trend_percentage(span.down, span.slots, before.down, before.slots) if before else None


def ride_trend(ride: RideTally, before: RideTally | None) -> Fraction | None:
    """Percent change of a ride's downtime per reading while its park was open."""
    return rules.trend_percentage(ride.down, ride.samples, before.down, before.samples) if before else None


# --- the rankings ----------------------------------------------------------------------------------------------------


def parks_by_downtime(asked: Standings) -> list[Row]:
    """Parks by shame score or another figure, worst first; those whose score rounds to 0.0 are left out."""
    found = [_park_downtime(asked, span, score) for span, score in scored_parks(asked)]
    return _ranked(found, asked.question.sort_by, "park_id", asked.question.limit)


def aggregate_stats(asked: Standings) -> Row:
    """Totals over all parks of the filter, whatever the limit: parks with data (live: those open), rides by state,
    hours, uptime."""
    spans = asked.park_spans.values()
    operating, down = sum(span.operating for span in spans), sum(span.down for span in spans)
    statuses = count_statuses(asked.tallies.universe, asked.live)
    broken = sum(ride.down > 0 for _, ride in asked.listed_rides())
    whole = sum(ride.operated and not ride.down for _, ride in asked.listed_rides())
    tracked = sum(park.is_open for park in asked.live.values()) if asked.period == "live" else len(spans)
    return {
        "period": asked.period,
        "filter_disney_universal": asked.question.filter == DISNEY_UNIVERSAL,
        "total_parks": tracked,
        "total_parks_tracked": tracked,
        "rides_operating": statuses["OPERATING"] if asked.of_now else whole,
        "rides_down": statuses["DOWN"] if asked.period == "live" else broken,
        "rides_closed": statuses["CLOSED"],
        "rides_refurbishment": statuses["REFURBISHMENT"],
        "total_downtime_hours": rules.rounded(rules.hours(down * asked.minutes), 2),
        "avg_uptime_percentage": _or(rules.rounded(rules.uptime_percentage(operating, down), 1), 100.0),
    }


def parks_by_wait(asked: Standings) -> list[Row]:
    """Parks by average wait, longest first; of the live slot where that is asked."""
    found = [_park_wait(asked, park, waits) for park, waits, _ in waiting_parks(asked)]
    return _ranked(found, "avg_wait_minutes", "park_id", asked.question.limit)


def rides_by_downtime(asked: Standings) -> list[Row]:
    """Rides by hours down or another figure, worst first. Live shows what today does."""
    found = [_ride_downtime(asked, facts, ride, hours) for facts, ride, hours in broken_rides(asked)]
    return _ranked(found, asked.question.sort_by, "ride_id", asked.question.limit)


def rides_by_wait(asked: Standings) -> list[Row]:
    """Rides by average wait, or by peak for peak-times, or by the wait posted now for live; longest first."""
    if asked.period == "peak-times":
        peaks = [
            _ride_wait(asked, facts, ride, _average_wait(asked, facts, ride))
            for facts, ride in asked.listed_rides()
            if ride.wait_max
        ]
        return _ranked(peaks, "peak_wait_minutes", "ride_id", asked.question.limit)
    found = [_ride_wait(asked, facts, ride, average) for facts, ride, average in waiting_rides(asked)]
    return _ranked(found, "avg_wait_minutes", "ride_id", asked.question.limit)


# --- one row ---------------------------------------------------------------------------------------------------------


class _Candidate(NamedTuple):
    """A row and the exact values it may be ordered by."""

    row: Row
    exact: dict[str, Any]


def _park_downtime(asked: Standings, span: ParkSpan, score: Fraction) -> _Candidate:
    park_id = span.park.park_id
    before = asked.parks_before.get(park_id)
    down_now = asked.live[park_id].count(rules.Status.DOWN) if asked.period == "live" else None
    broken = sum(ride.down > 0 for ride in asked.rides_of[park_id]) if down_now is None else down_now
    hours = rules.hours(span.down * asked.minutes)
    row = _park_columns(asked, span.park) | {
        "shame_score": rules.rounded(score, 1),
        "total_downtime_hours": rules.rounded(hours, 2),
        "weighted_downtime_hours": rules.rounded(rules.hours(span.weighted_down * asked.minutes), 2),
        "uptime_percentage": _or(rules.rounded(span.uptime, 1), 100.0),
        "rides_down": broken,
        "trend_percentage": rules.rounded(park_trend(span, before), 1),
        "snapshot_count": span.slots,
    }
    if asked.of_now:
        now = asked.live.get(park_id)
        row |= {
            "total_rides": len(asked.tallies.roster(span.park, asked.span.days[-1])),
            "rides_operating": now.count(rules.Status.OPERATING) if now else 0,
            "effective_park_weight": span.roster_weight,
        }
    exact = {
        "shame_score": -score,
        "total_downtime_hours": -hours,
        "uptime_percentage": _or(span.uptime, Fraction(100)),
        "rides_down": -broken,
    }
    return _Candidate(row, exact)


def _park_wait(asked: Standings, park: ParkFacts, waits: Waits) -> _Candidate:
    before, span = None, None
    if asked.period != "live":
        before, span = asked.parks_before.get(park.park_id), asked.park_spans[park.park_id]
    row = _park_columns(asked, park) | {
        "avg_wait_minutes": rules.rounded(waits.average, 1),
        "peak_wait_minutes": waits.peak,
        "rides_reporting": waits.rides,
        "trend_percentage": _wait_trend(span, before),
    }
    return _Candidate(row, {"avg_wait_minutes": -_or(waits.average, Fraction(0))})


def _ride_downtime(asked: Standings, facts: RideFacts, ride: RideTally, hours: Fraction) -> _Candidate:
    before = asked.rides_before.get(facts.ride_id)
    uptime = rules.uptime_percentage(ride.operating, ride.down)
    trend = ride_trend(ride, before)
    row = _ride_columns(asked, facts) | {
        "downtime_hours": rules.rounded(hours, 2),
        "uptime_percentage": rules.rounded(uptime, 1),
        "trend_percentage": rules.rounded(trend, 1),
        "peak_wait_time": ride.wait_max,
        "avg_wait_time": rules.rounded(rules.average_wait(ride.wait_sum, ride.wait_samples), 1),
        "status_changes": ride.status_changes,
    }
    is_open = row["current_is_open"]
    exact = {
        "downtime_hours": -hours,
        "uptime_percentage": uptime,
        "trend_percentage": (trend is None, -_or(trend, Fraction(0))),
        "current_is_open": (1 if is_open is None else 2 * is_open, -hours),
    }
    return _Candidate(row, exact)


def _ride_wait(asked: Standings, facts: RideFacts, ride: RideTally, average: Fraction | None) -> _Candidate:
    row = _ride_columns(asked, facts)
    before = asked.rides_before.get(facts.ride_id) if asked.period != "live" else None
    row |= {
        "avg_wait_minutes": _or(rules.rounded(average, 1), 0.0),
        "peak_wait_minutes": ride.wait_max,
        "trend_percentage": _wait_trend(ride, before),
    }
    if asked.of_now:
        now = _ride_now(asked, facts)
        posted = _posted(now)
        row["current_wait_time"] = now.wait if now else None
        row["current_wait_minutes"] = rules.rounded(posted, 1)
        # this list's contract has no PARK_CLOSED
        row["current_status"] = "CLOSED" if row["current_status"] == PARK_CLOSED else row["current_status"]
    exact = {"avg_wait_minutes": -_or(average, Fraction(0)), "peak_wait_minutes": -(ride.wait_max or 0)}
    return _Candidate(row, exact)


def _park_columns(asked: Standings, park: ParkFacts) -> Row:
    now = asked.live.get(park.park_id)
    return {
        "park_id": park.park_id,
        "park_name": park.name,
        "location": park.location,
        "queue_times_id": park.queue_times_id,
        "queue_times_url": park.queue_times_url,
        "park_is_open": now.is_open if now else None,
    } | _label(asked)


def _ride_columns(asked: Standings, facts: RideFacts) -> Row:
    park = asked.tallies.universe.parks[facts.park_id]
    park_now, now = asked.live.get(facts.park_id), _ride_now(asked, facts)
    columns: Row = {
        "ride_id": facts.ride_id,
        "ride_name": facts.name,
        "park_id": park.park_id,
        "park_name": park.name,
        "location": park.location,
        "tier": facts.tier,
        "queue_times_id": facts.queue_times_id,
        "park_queue_times_id": park.queue_times_id,
        "queue_times_url": ride_page(park, facts),
        "park_is_open": park_now.is_open if park_now else None,
        "current_is_open": now.status == rules.Status.OPERATING.name if now else None,
    }
    if asked.of_now:
        columns["current_status"] = now.status if now else None
    return columns | _label(asked)


def _label(asked: Standings) -> Row:
    return {} if asked.of_now else {"period_label": asked.span.label}


# --- what a row is made of -------------------------------------------------------------------------------------------


def _score(asked: Standings, span: ParkSpan) -> Fraction | None:
    if asked.period != "live":
        return span.score
    now = asked.live.get(span.park.park_id)
    return now.score(asked.tallies.universe, asked.tallies.roster(span.park, asked.span.days[-1])) if now else None


def _span_waits(asked: Standings) -> dict[int, Waits]:
    return {
        park_id: Waits(
            span.average_wait, span.wait_max, sum((ride.wait_max or 0) > 0 for ride in asked.rides_of[park_id])
        )
        for park_id, span in asked.park_spans.items()
    }


def _live_waits(asked: Standings) -> dict[int, Waits]:
    found = {}
    for park_id, park in asked.live.items():
        waits = park.waits
        found[park_id] = Waits(
            rules.average_wait(sum(waits), len(waits)), max(waits, default=None), sum(wait > 0 for wait in waits)
        )
    return found


def _rides_seen(asked: Standings) -> Iterable[tuple[RideFacts, RideTally]]:
    """The listed rides; for live also those whose live slot lies before today's first."""
    yield from asked.listed_rides()
    if asked.period != "live":
        return
    for park in asked.live.values():
        for ride_id in park.rides.keys() - asked.rides.keys():
            facts = asked.tallies.universe.rides[ride_id]
            if facts.is_active:
                yield facts, RideTally(ride_id, facts.park_id, 0, operated=False)


def _ride_now(asked: Standings, facts: RideFacts) -> RideNow | None:
    park = asked.live.get(facts.park_id)
    return park.rides.get(facts.ride_id) if park else None


def _average_wait(asked: Standings, facts: RideFacts, ride: RideTally) -> Fraction | None:
    if asked.period == "live":
        return _posted(_ride_now(asked, facts))
    return rules.average_wait(ride.wait_sum, ride.wait_samples)


def _posted(now: RideNow | None) -> Fraction | None:
    return Fraction(now.wait) if now and now.wait is not None else None


def _wait_trend(span: ParkSpan | RideTally | None, before: ParkSpan | RideTally | None) -> float | None:
    """Percent change of the average wait."""
    if span is None or before is None:
        return None
    return rules.rounded(
        rules.trend_percentage(span.wait_sum, span.wait_samples, before.wait_sum, before.wait_samples), 1
    )


def _park_spans(days: list[ParkTally], parks: dict[int, ParkFacts]) -> dict[int, ParkSpan]:
    grouped: dict[int, list[ParkTally]] = defaultdict(list)
    for day in days:
        grouped[day.park_id].append(day)
    return {park_id: _park_span(parks[park_id], found) for park_id, found in grouped.items()}


def _park_span(park: ParkFacts, days: list[ParkTally]) -> ParkSpan:
    return ParkSpan(
        park,
        rules.mean([day.score for day in days if day.score is not None]),
        sum(day.slots for day in days),
        days[-1].roster_weight,
        sum(day.operating for day in days),
        sum(day.down for day in days),
        sum(day.weighted_down for day in days),
        sum(day.wait_sum for day in days),
        sum(day.wait_samples for day in days),
        max((day.wait_max for day in days if day.wait_max is not None), default=None),
    )


def _ranked(found: list[_Candidate], sort_by: str, id_column: str, limit: int) -> list[Row]:
    """The first `limit` rows by the exact value, then the id, with their rank."""
    ordered = sorted(found, key=lambda candidate: (candidate.exact[sort_by], candidate.row[id_column]))
    return [{"rank": rank} | candidate.row for rank, candidate in enumerate(ordered[:limit], start=1)]


def shows(value: Fraction | None, places: int) -> bool:
    """Whether a row is listed: its value does not round to 0."""
    return (rules.rounded(value, places) or 0) > 0


def _or(value: Any, otherwise: Any) -> Any:
    """The value the contract wants where ours is unknown."""
    return otherwise if value is None else value
