"""A span against the one before it, and awards: the longest waits and the least reliable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from service import rules
from service.queries import Row, rankings
from service.queries.catalog import ParkFacts, RideFacts, park_columns, ride_page
from service.queries.rankings import ParkSpan, Standings
from service.queries.tally import RideTally, Wanted

IMPROVING, DECLINING = "improving", "declining"
PARKS, RIDES = "parks", "rides"
CATEGORIES = tuple(f"{entity}-{direction}" for entity in (PARKS, RIDES) for direction in (IMPROVING, DECLINING))
ENTITIES = (PARKS, RIDES)

NOTABLE_PERCENT = 5  # a change that is not greater is not listed
WAIT_PLACES = 0  # of the average waits of awards


def changes(asked: Standings, category: str) -> list[Row]:
    """The parks or rides whose downtime per open slot fell or rose by more than 5 % against the span before, the
    greatest change first, with their uptimes in both."""
    entity, _, direction = category.partition("-")
    sign, named = (-1, "improvement_percentage") if direction == IMPROVING else (1, "decline_percentage")
    found = [change for change in _CHANGES[entity](asked) if sign * change.trend > NOTABLE_PERCENT]
    found.sort(key=lambda change: (-sign * change.trend, change.entity_id))
    return [
        change.row | {named: rules.rounded(sign * change.trend, 1)} for change in found[: asked.question.limit]
    ]


def entity_of(category: str) -> str:
    """What a category lists: parks or rides."""
    return category.partition("-")[0]


def comparison(asked: Standings) -> Row:
    """The first and the last Pacific day of both spans."""
    return {
        "current_period": f"{asked.span.days[0]} to {asked.span.days[-1]}",
        "previous_period": f"{asked.earlier.days[0]} to {asked.earlier.days[-1]}",
    }


def longest_waits(asked: Standings, entity: str) -> list[Row]:
    """Parks or rides by average wait, longest first."""
    return _ranked(_LONGEST_WAITS[entity](asked))


def least_reliable(asked: Standings, entity: str) -> list[Row]:
    """Parks by shame score, rides by hours down, worst first."""
    return _ranked(_LEAST_RELIABLE[entity](asked))


# --- changes ---------------------------------------------------------------------------------------------------------


class _Change(NamedTuple):
    """How much more downtime per open slot there was, in percent; less is negative."""

    trend: Fraction
    entity_id: int
    row: Row


def _changed_parks(asked: Standings) -> Iterator[_Change]:
    for park_id, span in asked.park_spans.items():
        before = asked.parks_before.get(park_id)
        trend = rankings.park_trend(span, before)
        if before is not None and trend is not None and span.uptime is not None:
            yield _Change(trend, park_id, park_columns(span.park) | _uptimes(asked, span, before))


def _changed_rides(asked: Standings) -> Iterator[_Change]:
    rides_before = asked.rides_before(rankings.RELIABILITY)
    for facts, ride in asked.listed_rides(rankings.RELIABILITY):
        before = rides_before.get(facts.ride_id)
        trend = rankings.ride_trend(ride, before)
        if before is not None and trend is not None and ride.operated:
            park = asked.tallies.universe.parks[facts.park_id]
            row = _ride_columns(asked, facts) | {
                "queue_times_id": facts.queue_times_id,
                "park_queue_times_id": park.queue_times_id,
                "queue_times_url": ride_page(park, facts),
            }
            yield _Change(trend, facts.ride_id, row | _uptimes(asked, ride, before))


def _uptimes(asked: Standings, span: ParkSpan | RideTally, before: ParkSpan | RideTally) -> Row:
    columns: Row = {}
    for name, counted in (("current", span), ("previous", before)):
        columns[f"{name}_uptime"] = rules.rounded(rules.uptime_percentage(counted.operating, counted.down), 1)
        columns[f"{name}_downtime_hours"] = rules.rounded(rules.slot_hours(counted.down, asked.minutes), 2)
    return columns


_CHANGES = {PARKS: _changed_parks, RIDES: _changed_rides}


# --- awards ----------------------------------------------------------------------------------------------------------


def _parks_by_wait(asked: Standings) -> list[Row]:
    waiting = [entry for entry in rankings.waiting_parks(asked) if rankings.shows(entry[2], WAIT_PLACES)]
    return [
        _park_columns(park)
        | {
            "avg_wait_time": rules.rounded(average, WAIT_PLACES),
            "rides_with_waits": waits.rides,
        }
        for park, waits, average in waiting[: asked.question.limit]
    ]


def _rides_by_wait(asked: Standings) -> list[Row]:
    waiting = [entry for entry in rankings.waiting_rides(asked) if rankings.shows(entry[2], WAIT_PLACES)]
    first = waiting[: asked.question.limit]
    several = len(asked.span.days) > 1
    days = _days_with_waits(asked, [facts for facts, _, _ in first]) if several else {}
    return [
        _ride_columns(asked, facts)
        | {
            "avg_wait_time": rules.rounded(average, WAIT_PLACES),
            "peak_wait_time": ride.wait_max,
        }
        | ({"days_with_data": days[facts.ride_id]} if several else {"snapshot_count": ride.wait_samples})
        for facts, ride, average in first
    ]


def _days_with_waits(asked: Standings, rides: list[RideFacts]) -> Counter[int]:
    """On how many days of the span each of these rides posted a wait that counts."""
    park_ids, ride_ids = {facts.park_id for facts in rides}, {facts.ride_id for facts in rides}
    parks = [park for park in asked.parks if park.park_id in park_ids]
    days = asked.tallies.ride_days(asked.span, parks, ride_ids).values() if parks else []
    return Counter(ride.ride_id for found in days for ride in found if ride.wait_samples)


def _parks_by_score(asked: Standings) -> list[Row]:
    return [
        _park_columns(span.park)
        | {
            "avg_shame_score": rules.rounded(score, 1),
            "uptime_percentage": rules.rounded(span.uptime, 1),
        }
        for span, score in rankings.scored_parks(asked)[: asked.question.limit]
    ]


def _rides_by_downtime(asked: Standings) -> list[Row]:
    first = rankings.broken_rides(asked)[: asked.question.limit]
    incidents = asked.rides(Wanted.DETAILS | Wanted.DOWN, {facts.ride_id for facts, _, _ in first})
    return [
        _ride_columns(asked, facts)
        | {
            "downtime_hours": rules.rounded(hours, 2),
            "downtime_incidents": incidents[facts.ride_id].incidents,
            "uptime_percentage": rules.rounded(rules.uptime_percentage(ride.operating, ride.down), 1),
        }
        for facts, ride, hours in first
    ]


_LONGEST_WAITS = {PARKS: _parks_by_wait, RIDES: _rides_by_wait}
_LEAST_RELIABLE = {PARKS: _parks_by_score, RIDES: _rides_by_downtime}


def _ranked(found: list[Row]) -> list[Row]:
    return [{"rank": rank} | row for rank, row in enumerate(found, start=1)]


def _park_columns(park: ParkFacts) -> Row:
    return {"park_id": park.park_id, "park_name": park.name, "location": park.location}


def _ride_columns(asked: Standings, facts: RideFacts) -> Row:
    park = asked.tallies.universe.parks[facts.park_id]
    return {
        "ride_id": facts.ride_id,
        "ride_name": facts.name,
        "park_id": park.park_id,
        "park_name": park.name,
    }
