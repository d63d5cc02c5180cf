"""What the sources got wrong, as it was noticed when their readings were stored."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

from peewee import JOIN, Expression, fn

from service import rules
from service.models import DataQualityIssue, IssueType, Park, Ride
from service.models.base import rows
from service.periods import iso_utc
from service.queries import Row

MOST_ISSUES = 100
MOST_ENTITIES = 500
SOURCES = tuple(source.name.lower() for source in rules.Source)
THEMEPARKS_WIKI = rules.Source.THEMEPARKS_WIKI.name.lower()


class _Issue(NamedTuple):
    issue_id: int
    data_source: int
    issue_type: int
    detected_at: int
    themeparks_wiki_id: str | None
    queue_times_id: int | None
    entity_name: str | None
    last_updated_at: int | None
    data_age_minutes: int | None
    reported_status: str | None
    details: str | None
    is_resolved: int
    park_name: str | None
    ride_name: str | None


def issues(now: datetime, hours: int, source: str | None, *, unresolved_only: bool) -> list[Row]:
    """The issues noticed in the last `hours`, newest first, MOST_ISSUES at most."""
    issue = DataQualityIssue
    query = (
        issue.select(
            issue.issue_id,
            issue.data_source,
            issue.issue_type,
            issue.detected_at,
            issue.themeparks_wiki_id,
            issue.queue_times_id,
            issue.entity_name,
            issue.last_updated_at,
            issue.data_age_minutes,
            issue.reported_status,
            issue.details,
            issue.is_resolved,
            Park.name,
            Ride.name,
        )
        .join(Park, JOIN.LEFT_OUTER)
        .switch(issue)
        .join(Ride, JOIN.LEFT_OUTER)
        .where(_noticed(now, timedelta(hours=hours)))
        .order_by(issue.detected_at.desc(), issue.issue_id.desc())
        .limit(MOST_ISSUES)
    )
    if source is not None:
        query = query.where(issue.data_source == rules.Source[source.upper()])
    if unresolved_only:
        query = query.where(~issue.is_resolved)
    return [_shown(row) for row in rows(query, _Issue)]


def _noticed(now: datetime, within: timedelta) -> Expression:
    noticed: Expression = DataQualityIssue.detected_at.between(now - within, now)
    return noticed


def _shown(row: _Issue) -> Row:
    return {
        "issue_id": row.issue_id,
        "data_source": rules.Source(row.data_source).name.lower(),
        "issue_type": IssueType(row.issue_type).name,
        "detected_at": iso_utc(row.detected_at),
        "themeparks_wiki_id": row.themeparks_wiki_id,
        "queue_times_id": row.queue_times_id,
        "entity_name": row.entity_name,
        "last_updated_api": None if row.last_updated_at is None else iso_utc(row.last_updated_at),
        "data_age_minutes": row.data_age_minutes,
        "reported_status": row.reported_status,
        "details": row.details,
        "is_resolved": bool(row.is_resolved),
        "park_name": row.park_name,
        "ride_name": row.ride_name,
    }


class _Stale(NamedTuple):
    """The stale readings of one entity."""

    themeparks_wiki_id: str | None
    entity_name: str | None
    park_id: int | None
    park_name: str | None
    issues: int
    longest: int | None
    age_sum: int | None
    ages: int
    first: int
    last: int
    statuses: str | None  # separated by commas, in no order


def staleness(now: datetime, days: int, source: str) -> list[Row]:
    """The stale data of one source in the last `days` by entity: those with the most issues, MOST_ENTITIES at most."""
    issue = DataQualityIssue
    entity = (issue.themeparks_wiki_id, issue.entity_name, issue.park, Park.name)
    number, longest = fn.COUNT(issue.issue_id), fn.MAX(issue.data_age_minutes)
    query = (
        issue.select(
            *entity,
            number,
            longest,
            fn.SUM(issue.data_age_minutes),
            fn.COUNT(issue.data_age_minutes),
            fn.MIN(issue.detected_at),
            fn.MAX(issue.detected_at),
            fn.GROUP_CONCAT(issue.reported_status.distinct()),
        )
        .join(Park, JOIN.LEFT_OUTER)
        .where(
            _noticed(now, timedelta(days=days)),
            issue.issue_type == IssueType.STALE_DATA,
            issue.data_source == rules.Source[source.upper()],
        )
        .group_by(*entity)
        .order_by(number.desc(), fn.COALESCE(longest, 0).desc(), *entity)
        .limit(MOST_ENTITIES)
    )
    return [_summed(row) for row in rows(query, _Stale)]


def _summed(row: _Stale) -> Row:
    average = Fraction(int(row.age_sum), row.ages) if row.age_sum is not None else None
    return {
        "themeparks_wiki_id": row.themeparks_wiki_id,
        "entity_name": row.entity_name,
        "park_name": row.park_name,
        "issue_count": row.issues,
        "max_staleness_minutes": row.longest,
        "avg_staleness_minutes": rules.rounded(average, 4),
        "first_detected": iso_utc(row.first),
        "last_detected": iso_utc(row.last),
        "statuses_seen": ",".join(sorted(filter(None, (row.statuses or "").split(",")))) or None,
    }
