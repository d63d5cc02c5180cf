"""A displayed number made again, from the readings where they are held, step by step."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cached_property, reduce
from operator import or_
from typing import NamedTuple

from peewee import fn

from service import periods, rules
from service.database import fetch
from service.errors import NotFound
from service.models import RideStatusSnapshot
from service.periods import Interval, Span, merged, pacific_date, pacific_day
from service.queries import Row
from service.queries.audit import METHODOLOGY_URL, anomalies
from service.queries.catalog import ParkFacts
from service.queries.days import Tallies
from service.queries.ride_details import RideSpan
from service.queries.tally import ParkTally, RideTally

PARK_SCORE, RIDE_DOWNTIME, WAIT_TIME = "park_shame_score", "ride_downtime", "wait_time"
PERIODS = ("today", "yesterday", "last_week", "last_month", *periods.ALIASES)
TOLERANCE = Fraction(5, 100)
UNKNOWN = "Unknown"

OPEN_SLOTS = (
    "slots inside the open intervals: opening <= slot < closing of the posted schedule; without one, from the first to"
    " the last slot of the local day in which at least half of the attractions with a reading operate"
)
ROSTER = "roster_weight = sum of the weights of the rides that operated on any of the seven Pacific days ending with it"
DOWN_SLOTS = (
    "told down: status DOWN while the park is open; possibly down: not running where the feed does not tell why, only"
    " strictly between the first and the last operating reading of the local day (OPEN -> CLOSED -> OPEN)"
)
TOLD_SLOTS = "told down: status DOWN while the park is open; what pauses between performances is not down then"
SCORE = "10 x weighted_down_slots / (roster_weight x slots_observed) for each day; the mean of the days with a score"
HOURS = "downtime_hours = down_slots x interval_minutes / 60"


class Claim(NamedTuple):
    """A number somebody saw, and what it was said to be. `type` is PARK_SCORE or RIDE_DOWNTIME."""

    type: str
    entity_id: int
    period: str
    displayed: float
    now: datetime


class Recount(NamedTuple):
    """What comes out when a number is made again."""

    name: str
    computed: float
    steps: list[Row]
    data_quality: Row
    found: list[anomalies.Anomaly]


class Recounted:
    """The counts behind a claim, from readings where these are held."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.span = periods.named(claim.period, claim.now)
        self.ride = _find_ride(claim) if claim.type == RIDE_DOWNTIME else None
        self.tallies = self.ride.tallies if self.ride else Tallies(claim.now, recount=True)
        self.minutes = self.tallies.interval_minutes

    @cached_property
    def park(self) -> ParkFacts | None:
        """The park the claim is about, or that of its ride."""
        if self.claim.type == RIDE_DOWNTIME:
            return self.ride.park if self.ride else None
        return self.tallies.universe.parks.get(self.claim.entity_id)

    @cached_property
    def days(self) -> list[ParkTally]:
        """The park's days with anything observed, in order; those that count a ride that is not ranked."""
        found = self.tallies.park_days(self.span, [self.park]) if self.park else []
        return [row for row in found if self.ride is None or self.ride.is_ranked or row.day in self.ride.close]

    @cached_property
    def rides(self) -> dict[date, list[RideTally]]:
        """Its rides' days."""
        return self.tallies.ride_days(self.span, [self.park]) if self.park else {}

    @cached_property
    def from_rows(self) -> set[date]:
        """The days with data whose readings are gone, or that another system counted: they come from stored rows.
        Rides that are not ranked have none."""
        if self.park is None or (self.ride and not self.ride.is_ranked):
            return set()
        return self.tallies.from_rows(self.span, self.park) & {row.day for row in self.days}

    @cached_property
    def from_readings(self) -> list[date]:
        """The other days with data."""
        return [row.day for row in self.days if row.day not in self.from_rows]

    @property
    def sources(self) -> Row:
        """Which days came from where, for people to read."""
        return {"from_readings": _dates(self.from_readings), "from_stored_rows": _dates(sorted(self.from_rows))}

    def hours(self, slots: int) -> Fraction:
        """Slots as hours."""
        return rules.slot_hours(slots, self.minutes)


def _find_ride(claim: Claim) -> RideSpan | None:
    """The ride of a claim, of any category, counted as its page counts it."""
    with suppress(NotFound):
        return RideSpan(claim.entity_id, claim.period, claim.now, recount=True)
    return None


def verify(claim: Claim) -> tuple[Row, Span]:
    """The verdict on a claim with every step that led to it, and the span it is about. Unknown ids count nothing."""
    counted = Recounted(claim)
    found = _ride_recount(counted) if claim.type == RIDE_DOWNTIME else _park_recount(counted)
    off = abs(Fraction(str(claim.displayed)) - Fraction(str(found.computed)))
    verdict = {
        "verified": off <= TOLERANCE,
        "displayed_value": claim.displayed,
        "computed_value": found.computed,
        "tolerance": float(TOLERANCE),
        "entity_type": "ride" if claim.type == RIDE_DOWNTIME else "park",
        "entity_id": claim.entity_id,
        "entity_name": found.name,
        "period": claim.period,
        "metric": "downtime_hours" if claim.type == RIDE_DOWNTIME else "shame_score",
        "computation_trace": [{"step": number} | step for number, step in enumerate(found.steps, start=1)],
        "data_quality": found.data_quality | {"days_from_stored_rows": _dates(sorted(counted.from_rows))},
        "methodology_url": METHODOLOGY_URL,
        "anomalies_detected": [one._asdict() for one in found.found],
    }
    return verdict, counted.span


def _step(name: str, description: str, formula: str | None, inputs: Row, output: object, label: str) -> Row:
    return {
        "name": name,
        "description": description,
        "formula": formula,
        "inputs": inputs,
        "output": output,
        "output_label": label,
    }


def _dates(days: list[date]) -> list[str]:
    return [day.isoformat() for day in days]


def _latest_finished(claim: Claim) -> date:
    return pacific_date(claim.now) - timedelta(days=1)


# --- the score of a park ---------------------------------------------------------------------------------------------


def _park_recount(counted: Recounted) -> Recount:
    park, days = counted.park, counted.days
    computed = rules.rounded(rules.mean([row.score for row in days if row.score is not None]), 1) or 0.0
    steps = [
        _open_step(counted),
        _roster_step(counted),
        _down_step(counted),
        _weighted_step(counted),
        _step(
            "Shame score",
            "The score of each day, and their mean: 0 is nothing down, 10 every ride down all the time.",
            SCORE,
            {"days": [_score_of(row) for row in days]},
            computed,
            "shame score",
        ),
    ]
    on = _latest_finished(counted.claim)
    found = list(anomalies.of_parks(Tallies(counted.claim.now), on, [park])) if park else []
    return Recount(park.name if park else UNKNOWN, computed, steps, _park_quality(counted), found)


def _open_step(counted: Recounted) -> Row:
    return _step(
        "Slots while the park was open",
        "Only readings inside the open intervals count. A slot without any reading is unknown, never downtime.",
        OPEN_SLOTS,
        {"interval_minutes": counted.minutes} | counted.sources,
        [
            {"date": row.day.isoformat(), "open_slots": row.open_slots, "slots_observed": row.slots}
            for row in counted.days
        ],
        "slots observed by day",
    )


def _roster_step(counted: Recounted) -> Row:
    weights = {"tier 1": rules.weight_of(1), "tier 2": rules.weight_of(2), "tier 3": rules.weight_of(3)}
    return _step(
        "Roster",
        "The rides that operated lately weigh together what the park could have lost. The rides are those of the days"
        " that come from readings.",
        ROSTER,
        {"weights": weights | {"no tier": rules.weight_of(None)}, "rides": _roster_rides(counted)},
        [{"date": row.day.isoformat(), "roster_weight": row.roster_weight} for row in counted.days],
        "roster weight by day",
    )


def _roster_rides(counted: Recounted) -> list[Row]:
    park = counted.park
    rosters = [counted.tallies.roster(park, day) for day in counted.from_readings] if park else []
    on_roster = Counter(ride_id for roster in rosters for ride_id in roster)
    return [_ride_columns(counted, ride_id) | {"days_on_roster": on_roster[ride_id]} for ride_id in sorted(on_roster)]


def _ride_columns(counted: Recounted, ride_id: int) -> Row:
    ride = counted.tallies.universe.rides[ride_id]
    return {"ride_id": ride_id, "ride_name": ride.name, "tier": ride.tier, "weight": ride.weight}


def _down_step(counted: Recounted) -> Row:
    down: dict[int, dict[str, int]] = defaultdict(dict)
    for day, rides in sorted(counted.rides.items()):
        for ride in rides:
            if ride.down:
                down[ride.ride_id][day.isoformat()] = ride.down
    output = [
        _ride_columns(counted, ride_id) | {"down_slots": sum(by_day.values()), "by_day": by_day}
        for ride_id, by_day in sorted(down.items())
        if ride_id in counted.tallies.universe.rides
    ]
    operated = {ride.ride_id for rides in counted.rides.values() for ride in rides if ride.operated}
    return _step(
        "Down slots of each ride",
        "A ride that did not operate on a day has no downtime that day.",
        DOWN_SLOTS,
        {"rides_that_operated": len(operated)},
        output,
        "down slots by ride",
    )


def _weighted_step(counted: Recounted) -> Row:
    return _step(
        "Weighted down slots",
        "Each ride's down slots times its weight, added up for each day.",
        "weighted_down_slots = sum(weight x down_slots)",
        {"down_slots": {row.day.isoformat(): row.down for row in counted.days}},
        [{"date": row.day.isoformat(), "weighted_down_slots": row.weighted_down} for row in counted.days],
        "weighted down slots by day",
    )


def _score_of(row: ParkTally) -> Row:
    return {
        "date": row.day.isoformat(),
        "weighted_down_slots": row.weighted_down,
        "roster_weight": row.roster_weight,
        "slots_observed": row.slots,
        "score": rules.rounded(row.score, 3),
    }


def _park_quality(counted: Recounted) -> Row:
    days, expected = counted.days, len(counted.span.days)
    down = sum(row.down for row in days)
    uptime = rules.rounded(rules.uptime_percentage(sum(row.operating for row in days), down), 1)
    unknown = 0.0 if counted.park is None else 100.0  # as rankings say of a park without any expected time
    return {
        "avg_rides_tracked": rules.rounded(rules.mean([Fraction(row.rides_tracked) for row in days]), 1) or 0.0,
        "total_downtime_hours": rules.rounded(counted.hours(down), 2),
        "avg_uptime_percentage": unknown if uptime is None else uptime,
        "days_with_data": len(days),
        "expected_days": expected,
        "data_completeness": rules.rounded(Fraction(100 * len(days), expected), 1),
    }


# --- the downtime of a ride ------------------------------------------------------------------------------------------


def _ride_recount(counted: Recounted) -> Recount:
    claim, shown = counted.claim, counted.ride
    days = shown.days if shown else {}
    down = sum(ride.down for ride in days.values())
    computed = rules.rounded(counted.hours(down), 2) or 0.0
    inputs = {"down_slots": down, "interval_minutes": counted.minutes}
    steps = [
        _step(
            "Readings while the park was open",
            "Only readings inside the park's open intervals count. A missing one is unknown, never downtime.",
            OPEN_SLOTS,
            counted.sources,
            [
                {"date": day.isoformat(), "readings": ride.samples, "operating_slots": ride.operating}
                for day, ride in days.items()
            ],
            "readings by day",
        ),
        _step(
            "Down slots",
            "A ride that did not operate on a day has no downtime that day.",
            TOLD_SLOTS if shown and not shown.is_ranked else DOWN_SLOTS,
            {"did_not_operate_on": _dates([day for day, ride in days.items() if not ride.operated])},
            [{"date": day.isoformat(), "down_slots": ride.down} for day, ride in days.items()],
            "down slots by day",
        ),
        _step("Downtime", "Down slots as hours.", HOURS, inputs, computed, "downtime hours"),
    ]
    on = _latest_finished(claim)
    found = list(anomalies.of_rides(Tallies(claim.now), on, claim.entity_id)) if shown else []
    return Recount(shown.ride.name if shown else UNKNOWN, computed, steps, _ride_quality(counted, days), found)


def _ride_quality(counted: Recounted, days: dict[date, RideTally]) -> Row:
    """Readings of the ride; coverage is those while its park was open of the slots it was."""
    samples = sum(ride.samples for ride in days.values())
    gone = sum(ride.samples for day, ride in days.items() if day in counted.from_rows)
    open_slots = sum(row.open_slots for row in counted.days)
    return {
        "total_snapshots": gone + _readings(counted),
        "park_open_snapshots": samples,
        "coverage_percentage": rules.rounded(Fraction(100 * samples, open_slots), 1) if open_slots else 0.0,
    }


def _readings(counted: Recounted) -> int:
    """How many readings of the ride are held of the days that do not come from rows, park open or not."""
    days = [pacific_day(day) for day in counted.span.days if day not in counted.from_rows]
    seen = [part for day in merged(days) if (part := _seen(counted, day))]
    if not seen or counted.ride is None:
        return 0
    snapshot = RideStatusSnapshot
    within = reduce(or_, (snapshot.snapshot_time.between(part.start, part.end - 1) for part in seen))
    query = snapshot.select(fn.COUNT(snapshot.ride_id)).where(snapshot.ride_id == counted.claim.entity_id, within)
    return int(fetch(query)[0][0])


def _seen(counted: Recounted, part: Interval) -> Interval | None:
    return part.cut(counted.span.interval.cut(counted.tallies.held) or Interval(0, 0))
