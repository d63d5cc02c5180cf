"""From what a source said to what is stored: one reading per slot, and word of the waits that were dropped."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, TypeAlias

from service.feeds import Reading
from service.models import DataQualityIssue, IssueType, Park
from service.periods import iso_utc
from service.rules import MAX_WAIT_MINUTES, Source

Latest: TypeAlias = "dict[tuple[int, int], Reading]"  # by slot and ride


def latest_per_slot(readings: Iterable[Reading], interval: int) -> Latest:
    """Of several readings of a ride in one slot the latest recorded, and of those the last; `interval` in seconds."""
    found: Latest = {}
    for reading in readings:
        key = (reading.recorded_at - reading.recorded_at % interval, reading.ride_id)
        if key not in found or reading.recorded_at >= found[key].recorded_at:
            found[key] = reading
    return found


def source_of(readings: Iterable[Reading]) -> Source:
    """Which source a park's readings came from: only ThemeParks.wiki gives a status."""
    tells = any(said.status is not None for said in readings)
    return Source.THEMEPARKS_WIKI if tells else Source.QUEUE_TIMES


class DroppedWaits(NamedTuple):
    """Implausible waits of one park: how many, one of them, and when the first and the last were recorded."""

    number: int
    example: int
    first: int
    last: int

    def plus(self, at: int) -> DroppedWaits:
        """One more, recorded at the instant `at`."""
        return DroppedWaits(self.number + 1, self.example, min(self.first, at), max(self.last, at))

    def __str__(self) -> str:
        span = f"{iso_utc(self.first)} to {iso_utc(self.last)}"
        range_ = f"0-{MAX_WAIT_MINUTES} minutes"
        return f"{self.number} waits outside {range_} were dropped, one of them {self.example}; {span}"


def report_dropped_waits(
    park_id: int, source: Source, waits: DroppedWaits, now: datetime, *, subject: str | None = None
) -> None:
    """Store a data quality issue, unless it is known. With a `subject`, a later report on it replaces the former."""
    issue = DataQualityIssue
    details = f"{subject}: {waits}" if subject else str(waits)
    told = issue.details.startswith(f"{subject}: ") if subject else issue.details == details
    known = issue.get_or_none(issue.park == park_id, told)
    if known is None:
        issue.insert(
            {
                issue.data_source: source,
                issue.issue_type: IssueType.INCONSISTENT_DATA,
                issue.detected_at: now,
                issue.park: park_id,
                issue.entity_name: Park.get(Park.park_id == park_id).name,
                issue.details: details,
            }
        ).execute()
    elif known.details != details:
        issue.update({issue.details: details}).where(issue.issue_id == known.issue_id).execute()
