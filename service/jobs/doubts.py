"""Doubts about what sources say, as data quality issues: one for each matter, replaced once a day while it lasts, and
resolved when it is over."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

from peewee import Field

from service.database import batches
from service.jobs.marks import atomically
from service.models import DataQualityIssue, IssueType
from service.models.base import rows
from service.rules import Source

REPEATED_AFTER = timedelta(hours=24)
MOST_OF_A_PARK = 20  # doubts of one kind and cycle that are kept one by one
ROWS_AT_ONCE = 500


class Matter(Enum):
    """What is doubted. The value begins the details of the issue, and so tells it from others of its type."""

    ALL_CLOSED = ("All closed", IssueType.INCONSISTENT_DATA)
    RIDES_MISSING = ("Rides missing", IssueType.MISSING_DATA)
    FROZEN = ("Frozen", IssueType.STALE_DATA)
    STALE = ("Stale", IssueType.STALE_DATA)
    NOT_USED = ("Not used", IssueType.INVALID_STATUS)
    BAD_ANSWER = ("Bad answer", IssueType.INVALID_STATUS)

    @property
    def prefix(self) -> str:
        return f"{self.value[0]}: "


class Key(NamedTuple):
    """What a doubt is about: a park as a whole, or one of its rides by its id at the source."""

    matter: Matter
    source: Source
    park_id: int
    entity: str = ""


class Doubt(NamedTuple):
    """One doubt, in words, with what is known of its ride."""

    key: Key
    details: str
    ride_id: int | None = None
    entity_name: str | None = None
    status: str | None = None
    updated_at: int | None = None  # epoch seconds: when the source last heard of it


class _Issue(NamedTuple):
    issue_id: int
    data_source: int
    park_id: int | None
    themeparks_wiki_id: str | None
    queue_times_id: int | None
    details: str | None
    detected_at: int
    resolved_at: int | None

    @property
    def key(self) -> Key | None:
        matter = next((one for one in Matter if (self.details or "").startswith(one.prefix)), None)
        if matter is None or self.park_id is None:
            return None
        entity = self.themeparks_wiki_id or str(self.queue_times_id or "")
        return Key(matter, Source(self.data_source), self.park_id, entity)


def store_doubts(found: Iterable[Doubt], asked: Collection[tuple[Source, int]], now: datetime) -> int:
    """Store the doubts of a cycle in one transaction; return how many are new.

    `asked`: the sources and parks that answered. Open issues about them that are not among `found` are resolved, and
    those that nobody has said again for a day. Open is what was so at `now`: a cycle that is played again finds the
    issues as they were then, and changes none.
    """
    doubts = _limited(found)
    return atomically(lambda: _store(doubts, asked, now)) if doubts or asked else 0


def _limited(found: Iterable[Doubt]) -> dict[Key, Doubt]:
    """One of each key, and of a park's rides MOST_OF_A_PARK of a kind: a broken answer doubts all of them."""
    kept: dict[Key, Doubt] = {}
    counts: dict[tuple[Matter, Source, int], int] = {}
    # In an order of their own: sources give theirs anew each time, and what is left out once would seem over.
    for doubt in sorted(found, key=lambda one: one.key.entity):
        kind = doubt.key[:3]
        if doubt.key in kept or counts.get(kind, 0) >= MOST_OF_A_PARK:
            continue
        counts[kind] = counts.get(kind, 0) + 1
        kept[doubt.key] = doubt
    return kept


def _store(doubts: Mapping[Key, Doubt], asked: Collection[tuple[Source, int]], now: datetime) -> int:
    issue = DataQualityIssue
    again = int((now - REPEATED_AFTER).timestamp())
    open_, lately = _known_issues(now, again)
    new = [doubt for key, doubt in doubts.items() if all(one.detected_at <= again for one in open_.get(key, []))]
    new = [doubt for doubt in new if not doubt.key.entity or lately[doubt.key[:3]] < MOST_OF_A_PARK]
    said_again = {doubt.key for doubt in new}
    over = [
        one
        for key, some in open_.items()
        for one in some
        # Also what nobody has said again, for its source is not asked any more.
        if key in said_again or key not in doubts and (key[1:3] in asked or one.detected_at <= again)
    ]
    for batch in batches([one.issue_id for one in over], ROWS_AT_ONCE):
        issue.update({issue.is_resolved: True, issue.resolved_at: now}).where(issue.issue_id << batch).execute()
    for batch in batches([list(_row(doubt, now)) for doubt in new], ROWS_AT_ONCE):
        issue.insert_many(batch, fields=list(FIELDS)).execute()
    return len(new)


def _known_issues(now: datetime, since: int) -> tuple[dict[Key, list[_Issue]], Counter[tuple[Matter, Source, int]]]:
    """The issues that were open at `now`; and how many of each kind and park were noticed after `since`, over or not.
    """
    issue = DataQualityIssue
    is_open: Any = ~issue.is_resolved | (issue.resolved_at > now)
    query = issue.select(
        issue.issue_id,
        issue.data_source,
        issue.park,
        issue.themeparks_wiki_id,
        issue.queue_times_id,
        issue.details,
        issue.detected_at,
        issue.resolved_at,
    ).where(issue.detected_at <= now, is_open | (issue.detected_at > since))
    found: dict[Key, list[_Issue]] = defaultdict(list)
    lately: Counter[tuple[Matter, Source, int]] = Counter()
    for row in rows(query, _Issue):
        if (key := row.key) is None:
            continue
        lately[key[:3]] += row.detected_at > since
        if row.resolved_at is None or row.resolved_at > now.timestamp():
            found[key].append(row)
    return found, lately


FIELDS: tuple[Field[Any], ...] = (
    DataQualityIssue.data_source,
    DataQualityIssue.issue_type,
    DataQualityIssue.detected_at,
    DataQualityIssue.park,
    DataQualityIssue.ride,
    DataQualityIssue.themeparks_wiki_id,
    DataQualityIssue.queue_times_id,
    DataQualityIssue.entity_name,
    DataQualityIssue.last_updated_at,
    DataQualityIssue.data_age_minutes,
    DataQualityIssue.reported_status,
    DataQualityIssue.details,
)


def _row(doubt: Doubt, now: datetime) -> Iterable[object]:
    matter, source, park_id, entity = doubt.key
    of_wiki = source is Source.THEMEPARKS_WIKI
    age = None if doubt.updated_at is None else max(int(now.timestamp()) - doubt.updated_at, 0) // 60
    yield source
    yield matter.value[1]
    yield now
    yield park_id
    yield doubt.ride_id
    yield (entity or None) if of_wiki else None
    yield int(entity) if entity and not of_wiki else None
    yield doubt.entity_name
    yield doubt.updated_at
    yield age
    yield doubt.status
    yield f"{matter.prefix}{doubt.details}"
