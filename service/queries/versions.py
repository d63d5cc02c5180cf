"""Revisions of the rules side by side: which there are, and what one would say that another did not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from fractions import Fraction
from typing import Any, NamedTuple

from peewee import Case, fn

from service import rules
from service.database import batches, fetch
from service.errors import BadRequest
from service.models import DailyParkStats, DailyStats, MetricsVersion, Park, Ride, StatDay
from service.queries import Row, state
from service.queries.hours import as_date

DAYS_AT_ONCE = 100  # of the rows of parks and rides that are added up in one statement


class Version(NamedTuple):
    """A revision of the rules: how many days are held of it, and whether readers may take those (`active`: of the
    highest they may). `days` can be read, `dirty_days` are to be computed again."""

    version: int
    description: str | None
    created_at: datetime | None
    promoted_at: datetime | None
    days: int
    dirty_days: int
    first_day: date | None
    last_day: date | None
    active: bool


class _Held(NamedTuple):
    days: int
    dirty_days: int
    first_day: date | None
    last_day: date | None


class Sums(NamedTuple):
    """What a park or ride did on the days compared, in minutes; the mean score of a park's days."""

    downtime: int
    operating: int
    score: Fraction | None = None


def versions() -> list[Version]:
    """All versions that were registered or have days, the lowest first."""
    known = {row.version: row for row in MetricsVersion.select()}
    held = _held()
    active = state.active_version()
    found = []
    for version in sorted({*known, *held}):
        row, days = known.get(version), held.get(version, _Held(0, 0, None, None))
        found.append(
            Version(
                version,
                row.description if row else None,
                row.created_at if row else None,
                row.promoted_at if row else None,
                *days,
                active=version == active,
            )
        )
    return found


def _held() -> dict[int, _Held]:
    dirty = fn.SUM(Case(None, [(StatDay.dirty, 1)], 0))
    day = StatDay.stat_date
    query = StatDay.select(StatDay.metrics_version, fn.COUNT(day), dirty, fn.MIN(day), fn.MAX(day))
    return {
        version: _Held(days - int(spoilt), int(spoilt), as_date(first), as_date(last))
        for version, days, spoilt, first, last in fetch(query.group_by(StatDay.metrics_version))
    }


def clean_days(version: int) -> set[date]:
    """The days whose statistics of this version hold."""
    query = StatDay.select(StatDay.stat_date).where(StatDay.metrics_version == version, ~StatDay.dirty)
    return {as_date(day) for (day,) in fetch(query)}


def compare(one: int, other: int, first: date | None, last: date | None, limit: int) -> Row:
    """What changes from version `one` to version `other` on the days that both hold, from `first` to `last`.

    `parks` and `rides`: at most `limit` of those that changed, the largest change of downtime first; `changed` counts
    all, `totals` adds up all parks. Raises BadRequest where no day is held of both.
    """
    days = sorted(day for day in clean_days(one) & clean_days(other) if _lies_in(day, first, last))
    if not days:
        raise BadRequest(
            f"No day is computed at both version {one} and version {other}: `cli metrics list` says which are,"
            " `cli recompute --metrics-version V` computes days at another."
        )
    before, after = _parks(one, days), _parks(other, days)
    parks, rides = _changes(before, after), _changes(_rides(one, days), _rides(other, days))
    names = {park.park_id: park.name for park in Park.select(Park.park_id, Park.name)}
    return {
        "versions": [one, other],
        "days": {"count": len(days), "first": str(days[0]), "last": str(days[-1])},
        "changed": {"parks": len(parks), "rides": len(rides)},
        "totals": [{"version": one, **_totals(before)}, {"version": other, **_totals(after)}],
        "parks": [{"park_id": park, "name": names.get(park), **_row(*pair)} for park, pair in parks[:limit]],
        "rides": _named_rides(rides[:limit], names),
    }


def _lies_in(day: date, first: date | None, last: date | None) -> bool:
    return (first is None or first <= day) and (last is None or day <= last)


def _parks(version: int, days: list[date]) -> dict[int, Sums]:
    stats = DailyParkStats
    minutes = state.interval_minutes()
    sums: dict[int, Sums] = defaultdict(lambda: Sums(0, 0))
    scores: dict[int, list[Fraction]] = defaultdict(list)
    columns = (stats.total_downtime_minutes, stats.operating_minutes)
    scored = (stats.weighted_downtime_minutes, stats.roster_weight, stats.sample_count)
    for some in batches(days, DAYS_AT_ONCE):
        query = stats.select(stats.park, *columns, *scored)
        for park_id, down, operating, weighted, weight, slots in fetch(query.where(*_rows_of(stats, version, some))):
            known = sums[park_id]
            sums[park_id] = Sums(known.downtime + down, known.operating + operating)
            score = rules.shame_score(weighted, weight, slots * minutes)
            if score is not None:
                scores[park_id].append(score)
    return {park_id: known._replace(score=rules.mean(scores[park_id])) for park_id, known in sums.items()}


def _rides(version: int, days: list[date]) -> dict[int, Sums]:
    stats = DailyStats
    sums: dict[int, Sums] = defaultdict(lambda: Sums(0, 0))
    for some in batches(days, DAYS_AT_ONCE):
        query = stats.select(stats.ride, fn.SUM(stats.total_downtime_minutes), fn.SUM(stats.operating_minutes))
        for ride_id, down, operating in fetch(query.where(*_rows_of(stats, version, some)).group_by(stats.ride)):
            known = sums[ride_id]
            sums[ride_id] = Sums(known.downtime + int(down), known.operating + int(operating))
    return dict(sums)


def _rows_of(stats: Any, version: int, days: list[date]) -> tuple[Any, ...]:
    return stats.stat_date.in_(days), stats.metrics_version == version


def _totals(parks: dict[int, Sums]) -> Row:
    """All parks together; of their scores the mean."""
    downtime, operating = (sum(column) for column in zip(*(park[:2] for park in parks.values()), strict=True))
    scores = [park.score for park in parks.values() if park.score is not None]
    return _figures(Sums(downtime, operating, rules.mean(scores)))


def _changes(before: dict[int, Sums], after: dict[int, Sums]) -> list[tuple[int, tuple[Sums, Sums]]]:
    """Those that differ, the largest change of downtime first, then of the score, then by id."""
    nothing = Sums(0, 0)
    pairs = {key: (before.get(key, nothing), after.get(key, nothing)) for key in before.keys() | after.keys()}
    changed = [(key, pair) for key, pair in pairs.items() if pair[0] != pair[1]]
    return sorted(changed, key=lambda item: (*_size(*item[1]), item[0]))


def _size(before: Sums, after: Sums) -> tuple[int, Fraction]:
    return -abs(after.downtime - before.downtime), -abs((after.score or Fraction(0)) - (before.score or Fraction(0)))


def _row(before: Sums, after: Sums) -> Row:
    return {
        "before": _figures(before),
        "after": _figures(after),
        "downtime_hours_change": rules.rounded(rules.hours(after.downtime - before.downtime), 2),
    }


def _figures(sums: Sums) -> Row:
    return {
        "downtime_hours": rules.rounded(rules.hours(sums.downtime), 2),
        "operating_hours": rules.rounded(rules.hours(sums.operating), 2),
        "uptime_percentage": rules.rounded(rules.uptime_percentage(sums.operating, sums.downtime), 1),
        "shame_score": rules.rounded(sums.score, 3),
    }


def _named_rides(changes: Iterable[tuple[int, tuple[Sums, Sums]]], parks: dict[int, str]) -> list[Row]:
    shown = list(changes)
    query = Ride.select(Ride.ride_id, Ride.name, Ride.park).where(Ride.ride_id.in_([ride for ride, _ in shown]))
    facts = {ride_id: (name, parks.get(park_id)) for ride_id, name, park_id in fetch(query)} if shown else {}

    def listed() -> Iterator[Row]:
        for ride_id, pair in shown:
            name, park = facts.get(ride_id, (None, None))
            row = _row(*pair)
            for side in ("before", "after"):
                del row[side]["shame_score"]  # a ride's is a part of its park's
            yield {"ride_id": ride_id, "name": name, "park_name": park, **row}

    return list(listed())
