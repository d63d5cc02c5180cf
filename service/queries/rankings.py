"""Who breaks down most and where the waits are longest: parks and rides, for every period and measure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

from service import periods, rules
from service.periods import Span
from service.queries import Row
from service.queries.catalog import DISNEY_UNIVERSAL, ParkFacts, RideFacts, park_columns, ride_columns
from service.queries.days import tallies_as_of
from service.queries.live import PARK_CLOSED, ParkNow, RideNow, parks_now
from service.queries.tally import ParkTally, RideTally, Wanted

PARK_SORTS = ("shame_score", "total_downtime_hours", "uptime_percentage", "rides_down")
RIDE_SORTS = ("current_is_open", "downtime_hours", "uptime_percentage", "trend_percentage")
MODES = (*periods.PERIODS, "7day-average", "peak-times")
OF_NOW = ("live", "today", "peak-times")
RELIABILITY = Wanted.UPTIME | Wanted.SAMPLES


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
        self.tallies = tallies_as_of(question.now, question.park_id)
        self.span = periods.named(self.counted, question.now)
        self.parks = self._chosen()
        self.minutes = self.tallies.interval_minutes
        self._found: dict[tuple[Span, Wanted], dict[int, RideTally]] = {}

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
        """The parks with anything observed in the span, but for their waits."""
        return self._park_spans(self.span, RELIABILITY, pooled=False)

    @cached_property
    def park_waits(self) -> dict[int, ParkSpan]:
        """The same with their waits only."""
        return self._park_spans(self.span, Wanted.WAITS)

    @cached_property
    def parks_before(self) -> dict[int, ParkSpan]:
        """The same as `park_spans` for the span before, without scores."""
        return self._park_spans(self.earlier, RELIABILITY)

    @cached_property
    def park_waits_before(self) -> dict[int, ParkSpan]:
        """The same as `park_waits` for the span before."""
        return self._park_spans(self.earlier, Wanted.WAITS)

    def _park_spans(self, span: Span, wanted: Wanted, *, pooled: bool = True) -> dict[int, ParkSpan]:
        days = self.tallies.park_days(span, self.parks, wanted, pooled=pooled)
        return _park_spans(days, self.tallies.universe.parks)

    def rides(self, wanted: Wanted = Wanted.ALL, only: Collection[int] | None = None) -> dict[int, RideTally]:
        """The attractions with readings in the span (or of these ids), inactive ones too."""
        return self._rides(self.span, wanted, only)

    def rides_before(self, wanted: Wanted = Wanted.ALL, only: Collection[int] | None = None) -> dict[int, RideTally]:
        """The same for the span before."""
        return self._rides(self.earlier, wanted, only)

    def _rides(self, span: Span, wanted: Wanted, only: Collection[int] | None) -> dict[int, RideTally]:
        """Of all rides little should be wanted: a month has 100,000 stored rows."""
        if only is not None:
            return self.tallies.rides(span, self.parks, wanted, only)
        key = (span, wanted)
        if key not in self._found:
            self._found[key] = self.tallies.rides(span, self.parks, wanted)
        return self._found[key]

    @cached_property
    def live(self) -> dict[int, ParkNow]:
        """The parks' live slots; none for spans of the past."""
        return parks_now(self.tallies, self.parks) if self.of_now else {}

    @cached_property
    def rides_down(self) -> Counter[int]:
        """How many rides of each park had downtime in the span."""
        return Counter(ride.park_id for ride in self.rides(RELIABILITY).values() if ride.down)

    @cached_property
    def rides_posting(self) -> Counter[int]:
        """How many rides of each park posted a wait above 0 in the span."""
        return Counter(ride.park_id for ride in self.rides(Wanted.WAITS).values() if ride.wait_max)

    def listed_rides(self, wanted: Wanted, *, hidden_too: bool = False) -> list[tuple[RideFacts, RideTally]]:
        """The rides a list may show: of now, the active ones only, unless it explains a number."""
        facts = self.tallies.universe.rides
        pairs = [(facts[ride_id], ride) for ride_id, ride in self.rides(wanted).items() if ride_id in facts]
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
    """The rides with downtime, and their hours down; with those that a list of now hides, whatever made the number.
    Of their tallies what makes uptime and trend is known."""
    rides = asked.listed_rides(RELIABILITY, hidden_too=hidden_too)
    hours = ((facts, ride, rules.slot_hours(ride.down, asked.minutes)) for facts, ride in rides if ride.down)
    found = [entry for entry in hours if shows(entry[2], 2)]
    return sorted(found, key=lambda entry: (-entry[1].down, entry[0].ride_id))


def waiting_rides(asked: Standings) -> list[tuple[RideFacts, RideTally, Fraction]]:
    """The rides with waits, and their average, or for live the wait posted now. Of their tallies waits are known."""
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
    found.sort(key=lambda candidate: (candidate.exact[asked.question.sort_by], candidate.row["park_id"]))
    return _numbered(candidate.row for candidate in found[: asked.question.limit])


def aggregate_stats(asked: Standings) -> Row:
    """Totals over all parks of the filter, whatever the limit: parks with data (live: those open), rides by state,
    hours, uptime. Inactive rides count: their downtime is in the hours."""
    spans = asked.park_spans.values()
    operating, down = sum(span.operating for span in spans), sum(span.down for span in spans)
    now = {status: sum(park.count(status) for park in asked.live.values()) for status in rules.Status}
    rides = asked.rides(RELIABILITY).values()
    broken, whole = sum(ride.down > 0 for ride in rides), sum(ride.operated and not ride.down for ride in rides)
    tracked = sum(park.is_open for park in asked.live.values()) if asked.period == "live" else len(spans)
    return {
        "period": asked.period,
        "filter_disney_universal": asked.question.filter == DISNEY_UNIVERSAL,
        "total_parks": tracked,
        "total_parks_tracked": tracked,
        "rides_operating": now[rules.Status.OPERATING] if asked.of_now else whole,
        "rides_down": now[rules.Status.DOWN] if asked.period == "live" else broken,
        "rides_closed": now[rules.Status.CLOSED],
        "rides_refurbishment": now[rules.Status.REFURBISHMENT],
        "total_downtime_hours": rules.rounded(rules.slot_hours(down, asked.minutes), 2),
        "avg_uptime_percentage": _or(rules.rounded(rules.uptime_percentage(operating, down), 1), 100.0),
    }


def parks_by_wait(asked: Standings) -> list[Row]:
    """Parks by average wait, longest first; of the live slot where that is asked."""
    chosen = waiting_parks(asked)[: asked.question.limit]
    return _numbered(_park_wait(asked, park, waits) for park, waits, _ in chosen)


def rides_by_downtime(asked: Standings) -> list[Row]:
    """Rides by hours down or another figure, worst first. Live shows what today does."""
    if asked.of_now:
        asked.rides(Wanted.ALL)  # where readings are counted, all at once is cheapest
    order = _RIDE_ORDERS[asked.question.sort_by](asked)
    found = sorted(broken_rides(asked), key=lambda entry: (order(entry[0], entry[1]), entry[0].ride_id))
    chosen = [facts for facts, _, _ in found[: asked.question.limit]]
    ids = {facts.ride_id for facts in chosen}
    rides, before = asked.rides(Wanted.ALL, ids), asked.rides_before(RELIABILITY, ids)
    return _numbered(_ride_downtime(asked, facts, rides[facts.ride_id], before.get(facts.ride_id)) for facts in chosen)


def rides_by_wait(asked: Standings) -> list[Row]:
    """Rides by average wait, or by peak for peak-times, or by the wait posted now for live; longest first."""
    found = _peaks(asked) if asked.period == "peak-times" else waiting_rides(asked)
    chosen = found[: asked.question.limit]
    ids = {facts.ride_id for facts, _, _ in chosen}
    before = {} if asked.period == "live" else asked.rides_before(Wanted.WAITS, ids)
    return _numbered(_ride_wait(asked, *entry, before.get(entry[0].ride_id)) for entry in chosen)


def _peaks(asked: Standings) -> list[tuple[RideFacts, RideTally, Fraction | None]]:
    listed = [(facts, ride) for facts, ride in asked.listed_rides(Wanted.WAITS) if ride.wait_max]
    listed.sort(key=lambda pair: (-(pair[1].wait_max or 0), pair[0].ride_id))
    return [(facts, ride, rules.average_wait(ride.wait_sum, ride.wait_samples)) for facts, ride in listed]


def _by_uptime(_: Standings) -> Callable[[RideFacts, RideTally], Any]:
    return lambda _, ride: rules.uptime_percentage(ride.operating, ride.down)


def _by_trend(asked: Standings) -> Callable[[RideFacts, RideTally], Any]:
    before = asked.rides_before(RELIABILITY)

    def key(facts: RideFacts, ride: RideTally) -> tuple[bool, Fraction]:
        trend = ride_trend(ride, before.get(facts.ride_id))
        return trend is None, -_or(trend, Fraction(0))

    return key


def _by_state(asked: Standings) -> Callable[[RideFacts, RideTally], Any]:
    """Those that do not operate now, then the unknown, then the others; each by downtime."""

    def key(facts: RideFacts, ride: RideTally) -> tuple[int, int]:
        is_open = _is_operating(_ride_now(asked, facts))
        return 1 if is_open is None else 2 * is_open, -ride.down

    return key


_RIDE_ORDERS: dict[str, Callable[[Standings], Callable[[RideFacts, RideTally], Any]]] = {
    "downtime_hours": lambda _: lambda _, ride: -ride.down,
    "uptime_percentage": _by_uptime,
    "trend_percentage": _by_trend,
    "current_is_open": _by_state,
}


# --- one row ---------------------------------------------------------------------------------------------------------


class _Candidate(NamedTuple):
    """A row and the exact values it may be ordered by."""

    row: Row
    exact: dict[str, Any]


def _park_downtime(asked: Standings, span: ParkSpan, score: Fraction) -> _Candidate:
    park_id = span.park.park_id
    down_now = asked.live[park_id].count(rules.Status.DOWN) if asked.period == "live" else None
    broken = _or(down_now, asked.rides_down[park_id])
    hours = rules.slot_hours(span.down, asked.minutes)
    row = _park_columns(asked, span.park) | {
        "shame_score": rules.rounded(score, 1),
        "total_downtime_hours": rules.rounded(hours, 2),
        "weighted_downtime_hours": rules.rounded(rules.slot_hours(span.weighted_down, asked.minutes), 2),
        "uptime_percentage": _or(rules.rounded(span.uptime, 1), 100.0),
        "rides_down": broken,
        "trend_percentage": rules.rounded(park_trend(span, asked.parks_before.get(park_id)), 1),
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


def _park_wait(asked: Standings, park: ParkFacts, waits: Waits) -> Row:
    before, span = None, None
    if asked.period != "live":
        before, span = asked.park_waits_before.get(park.park_id), asked.park_waits[park.park_id]
    return _park_columns(asked, park) | {
        "avg_wait_minutes": rules.rounded(waits.average, 1),
        "peak_wait_minutes": waits.peak,
        "rides_reporting": waits.rides,
        "trend_percentage": _wait_trend(span, before),
    }


def _ride_downtime(asked: Standings, facts: RideFacts, ride: RideTally, before: RideTally | None) -> Row:
    return _ride_columns(asked, facts) | {
        "downtime_hours": rules.rounded(rules.slot_hours(ride.down, asked.minutes), 2),
        "uptime_percentage": rules.rounded(rules.uptime_percentage(ride.operating, ride.down), 1),
        "trend_percentage": rules.rounded(ride_trend(ride, before), 1),
        "peak_wait_time": ride.wait_max,
        "avg_wait_time": rules.rounded(rules.average_wait(ride.wait_sum, ride.wait_samples), 1),
        "status_changes": ride.status_changes,
    }


def _ride_wait(
    asked: Standings, facts: RideFacts, ride: RideTally, average: Fraction | None, before: RideTally | None
) -> Row:
    row = _ride_columns(asked, facts) | {
        "avg_wait_minutes": _or(rules.rounded(average, 1), 0.0),
        "peak_wait_minutes": ride.wait_max,
        "trend_percentage": _wait_trend(ride, before),
    }
    if asked.of_now:
        now = _ride_now(asked, facts)
        row["current_wait_time"] = now.wait if now else None
        row["current_wait_minutes"] = rules.rounded(_posted(now), 1)
        # this list's contract has no PARK_CLOSED
        row["current_status"] = "CLOSED" if row["current_status"] == PARK_CLOSED else row["current_status"]
    return row


def _park_columns(asked: Standings, park: ParkFacts) -> Row:
    now = asked.live.get(park.park_id)
    return park_columns(park) | {"park_is_open": now.is_open if now else None} | _label(asked)


def _ride_columns(asked: Standings, facts: RideFacts) -> Row:
    park = asked.tallies.universe.parks[facts.park_id]
    park_now, now = asked.live.get(facts.park_id), _ride_now(asked, facts)
    columns: Row = ride_columns(park, facts) | {
        "park_is_open": park_now.is_open if park_now else None,
        "current_is_open": _is_operating(now),
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
        park_id: Waits(span.average_wait, span.wait_max, asked.rides_posting[park_id])
        for park_id, span in asked.park_waits.items()
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
    yield from asked.listed_rides(Wanted.WAITS)
    if asked.period != "live":
        return
    for park in asked.live.values():
        for ride_id in park.rides.keys() - asked.rides(Wanted.WAITS).keys():
            facts = asked.tallies.universe.rides[ride_id]
            if facts.is_active:
                yield facts, RideTally(ride_id, facts.park_id, 0, operated=False)


def _is_operating(now: RideNow | None) -> bool | None:
    return now.status == rules.Status.OPERATING.name if now else None


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


def _numbered(rows: Iterable[Row]) -> list[Row]:
    """The rows with their rank."""
    return [{"rank": rank} | row for rank, row in enumerate(rows, start=1)]


def shows(value: Fraction | None, places: int) -> bool:
    """Whether a row is listed: its value does not round to 0."""
    return (rules.rounded(value, places) or 0) > 0


def _or(value: Any, otherwise: Any) -> Any:
    """The value the contract wants where ours is unknown."""
    return otherwise if value is None else value
