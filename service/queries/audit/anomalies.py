"""Stored days of parks and rides that are far from those before. Only finished days have anomalies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from fractions import Fraction
from functools import reduce
from operator import or_
from statistics import fmean, stdev
from typing import Any, NamedTuple

from peewee import Expression, fn

from service import rules
from service.database import fetch
from service.models import DailyStats, ParkActivitySnapshot
from service.periods import last_days, pacific_date, pacific_day
from service.queries import Row, state
from service.queries.audit import CRITICAL, METHODOLOGY_URL, SEVERITIES, WARNING
from service.queries.catalog import ParkFacts
from service.queries.days import Tallies, held_by
from service.queries.tally import ParkTally

BASELINE_DAYS, LEAST_VALUES = 30, 7
FAR, VERY_FAR = 3.0, 4.0  # standard deviations from the mean
LEAST_RIDE_DEVIATION = 0.1  # hours: a ride that hardly ever breaks down is not odd when it does for a moment
LEAST_CRITICAL_HOURS = 2.0
SUDDEN_PERCENT = 200
LEAST_SCORE = Fraction(1, 10)  # of both days, for a sudden change
TRACKED_DAYS, LEAST_TRACKED = 14, 5
FEW, VERY_FEW = 0.5, 0.25  # of the rides that are usually tracked


class Anomaly(NamedTuple):
    """A value of one park or ride and day that is not what the days before let expect."""

    anomaly_type: str
    severity: str
    entity_type: str
    entity_id: int
    entity_name: str
    stat_date: str
    metric: str
    current_value: float
    expected_value: float | None
    threshold: float | None
    message: str
    methodology_url: str = METHODOLOGY_URL

    @property
    def rank(self) -> tuple[object, ...]:
        """Critical ones first, then parks, then by id."""
        return SEVERITIES.index(self.severity), self.entity_type, self.entity_id, self.metric, self.anomaly_type


def find(tallies: Tallies, day: date, severity: str | None = None) -> list[Anomaly]:
    """The anomalies of a day, all or those of one severity, the worst first."""
    found = [*of_parks(tallies, day), *of_rides(tallies, day)]
    return sorted((one for one in found if severity in (None, one.severity)), key=lambda one: one.rank)


def summary(tallies: Tallies, day: date, severity: str | None) -> Row:
    """The anomalies of a day and how many there are of each severity, counted after the choice of one."""
    found = find(tallies, day, severity)
    return {
        "target_date": day.isoformat(),
        "total_anomalies": len(found),
        "critical_count": sum(one.severity == CRITICAL for one in found),
        "warning_count": sum(one.severity == WARNING for one in found),
        "anomalies": [one._asdict() for one in found],
    }


def flagged(tallies: Tallies, day: date, least: str) -> Row:
    """The ids of the parks and rides with anomalies of severity `least` or a graver one."""
    graver = SEVERITIES[: SEVERITIES.index(least) + 1]
    ids: dict[str, set[int]] = defaultdict(set)
    for one in find(tallies, day):
        if one.severity in graver:
            ids[one.entity_type].add(one.entity_id)
    return {
        "target_date": day.isoformat(),
        "flagged_parks": sorted(ids["park"]),
        "flagged_rides": sorted(ids["ride"]),
        "methodology_url": METHODOLOGY_URL,
    }


def _deviations(value: float, mean: float, deviation: float) -> tuple[float, str] | None:
    """How many standard deviations `value` lies from the mean, and in words, if that is far."""
    distance = (value - mean) / deviation if deviation else 0.0
    if abs(distance) <= FAR:
        return None
    side = "above" if distance > 0 else "below"
    return distance, f"{abs(distance):.1f} standard deviations {side} the mean of the {BASELINE_DAYS} days before"


# --- parks -----------------------------------------------------------------------------------------------------------


def of_parks(tallies: Tallies, day: date, parks: Iterable[ParkFacts] | None = None) -> Iterator[Anomaly]:
    """The anomalies of parks, by default of all of them. One query, and one more where a park tracked nothing."""
    if day >= pacific_date(tallies.now):
        return
    history: dict[int, dict[date, ParkTally]] = defaultdict(dict)
    for row in tallies.stored_parks(last_days(day, BASELINE_DAYS + 1)):
        history[row.park_id][row.day] = row
    silent = _Silent(tallies, day)
    for park in tallies.universe.parks.values() if parks is None else parks:
        yield from _of_park(park, day, history[park.park_id], silent)


def _of_park(park: ParkFacts, day: date, history: dict[date, ParkTally], silent: _Silent) -> Iterator[Anomaly]:
    today = history.pop(day, None)
    if today is None:
        if park.is_active:
            yield _missing(park, day)
        return
    scores = {row.day: row.score for row in history.values() if row.score is not None}
    if today.score is not None:
        yield from _far_score(park, today, list(scores.values()))
        yield from _sudden_change(park, today, scores.get(day - timedelta(days=1)))
    lately = [row.rides_tracked for row in history.values() if (day - row.day).days <= TRACKED_DAYS]
    yield from _few_rides(park, today, [tracked for tracked in lately if tracked], silent)


def _anomaly(park: ParkFacts, day: date, kind: str, severity: str, metric: str, *values: Any) -> Anomaly:
    return Anomaly(kind, severity, "park", park.park_id, park.name, day.isoformat(), metric, *values)


def _missing(park: ParkFacts, day: date) -> Anomaly:
    message = f"{park.name} has no daily statistics for {day}."
    return _anomaly(park, day, "data_quality", WARNING, "missing_daily_stats", 0, 1, None, message)


def _far_score(park: ParkFacts, today: ParkTally, before: list[Fraction]) -> Iterator[Anomaly]:
    if len(before) < LEAST_VALUES or today.score is None:
        return
    mean = fmean(before)
    far = _deviations(float(today.score), mean, stdev(map(float, before)))
    if far:
        distance, words = far
        severity, limit = (CRITICAL, VERY_FAR) if abs(distance) > VERY_FAR else (WARNING, FAR)
        score = rules.rounded(today.score, 1)
        message = f"The shame score of {park.name}, {score}, is {words}, {mean:.2f}."
        yield _anomaly(park, today.day, "zscore", severity, "shame_score", score, round(mean, 2), limit, message)


def _sudden_change(park: ParkFacts, today: ParkTally, before: Fraction | None) -> Iterator[Anomaly]:
    score = today.score
    if score is None or before is None or min(score, before) <= LEAST_SCORE:
        return
    change = 100 * (score / before - 1)
    if abs(change) > SUDDEN_PERCENT:
        values = rules.rounded(score, 1), rules.rounded(before, 1)
        message = f"The shame score of {park.name} went from {values[1]} to {values[0]} in a day: {int(change):+d} %."
        yield _anomaly(
            park, today.day, "sudden_change", WARNING, "shame_score", *values, float(SUDDEN_PERCENT), message
        )


def _few_rides(park: ParkFacts, today: ParkTally, lately: list[int], silent: _Silent) -> Iterator[Anomaly]:
    """A park that is closed tracks no ride; one that was not heard of does not either."""
    usual = sum(lately) / len(lately) if lately else 0.0
    tracked = today.rides_tracked
    if usual <= LEAST_TRACKED or tracked >= FEW * usual:
        return
    if not tracked and not today.open_slots and not silent.holds(park.park_id):
        return
    severity, share = (CRITICAL, VERY_FEW) if tracked < VERY_FEW * usual else (WARNING, FEW)
    message = f"{park.name} has readings of {tracked} rides; on the days before it had {usual:.1f}."
    yield _anomaly(
        park,
        today.day,
        "data_quality",
        severity,
        "rides_tracked",
        tracked,
        round(usual, 1),
        round(share * usual, 1),
        message,
    )


class _Silent:
    """The parks that were not heard of on a day, looked up when first asked for; none when its readings are gone."""

    def __init__(self, tallies: Tallies, day: date) -> None:
        self.day = day
        self.is_known = tallies.first_day is not None and day >= tallies.first_day
        self.heard: set[int] | None = None

    def holds(self, park_id: int) -> bool:
        """Whether no slot of the park was written that day."""
        if not self.is_known:
            return False
        if self.heard is None:
            start, end = pacific_day(self.day)
            snapshot = ParkActivitySnapshot
            slot = snapshot.snapshot_time
            query = snapshot.select(snapshot.park_id).where(slot.between(start, end - 1), slot <= state.newest_slot())
            self.heard = {found for (found,) in fetch(query.distinct())}
        return park_id not in self.heard


# --- rides -----------------------------------------------------------------------------------------------------------


def of_rides(tallies: Tallies, day: date, ride_id: int | None = None) -> Iterator[Anomaly]:
    """The rides, or the one, that were down far longer than on the days before on which they operated. Two queries."""
    *before, _ = last_days(day, BASELINE_DAYS + 1)
    that_day, baseline = _picked(tallies, (day,), ride_id), _picked(tallies, tuple(before), ride_id)
    if that_day is None or baseline is None or day >= pacific_date(tallies.now):
        return
    stats = DailyStats
    broken = stats.select(stats.ride, stats.total_downtime_minutes).where(that_day, stats.total_downtime_minutes > 0)
    minutes_of = dict(fetch(broken))
    for found, days, total, squares in _sums(baseline) if minutes_of else ():
        if found in minutes_of and found in tallies.universe.rides and days >= LEAST_VALUES:
            deviation = math.sqrt((days * squares - total**2) / (days * (days - 1))) / 60
            if deviation > LEAST_RIDE_DEVIATION:
                yield from _far_downtime(tallies, found, day, minutes_of[found], total / days / 60, deviation)


def _picked(tallies: Tallies, days: tuple[date, ...], ride_id: int | None) -> Expression | None:
    """The condition that picks the rides' rows that readers take of these days; None if there are none."""
    stats = DailyStats
    columns = (stats.stat_date, stats.metrics_version, stats.park_id)
    sources = [held_by(source, *columns) for source in tallies.stored(days)]
    if not sources:
        return None
    condition: Expression = reduce(or_, sources)
    return condition if ride_id is None else condition & (stats.ride == ride_id)


def _sums(picked: Expression) -> Iterator[tuple[int, int, int, int]]:
    """Per ride: on how many of the days it operated, its minutes down, and the sum of their squares."""
    stats = DailyStats
    minutes = stats.total_downtime_minutes
    query = (
        stats.select(stats.ride, fn.COUNT(minutes), fn.SUM(minutes), fn.SUM(minutes * minutes))
        .where(picked, (stats.operating_minutes > 0) | (minutes > 0))
        .group_by(stats.ride)
    )
    for ride_id, days, total, squares in fetch(query):
        yield ride_id, int(days), int(total), int(squares)


def _far_downtime(
    tallies: Tallies, ride_id: int, day: date, minutes: int, mean: float, deviation: float
) -> Iterator[Anomaly]:
    far = _deviations(minutes / 60, mean, deviation)
    if far is None or far[0] < 0:
        return
    distance, words = far
    is_critical = distance > VERY_FAR and minutes / 60 > LEAST_CRITICAL_HOURS
    ride = tallies.universe.rides[ride_id]
    name = f"{ride.name} ({tallies.universe.parks[ride.park_id].name})"
    hours = rules.rounded(rules.hours(minutes), 2) or 0.0
    yield Anomaly(
        "zscore",
        CRITICAL if is_critical else WARNING,
        "ride",
        ride_id,
        name,
        day.isoformat(),
        "downtime_hours",
        hours,
        round(mean, 2),
        VERY_FAR if is_critical else FAR,
        f"{name} was down for {hours} hours: {words}, {mean:.2f}.",
    )
