"""What an adoption did, and what it left behind and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime


@dataclass(frozen=True)
class LeftBehind:
    """One reason: how many rows it kept back, and one of them."""

    reason: str
    count: int
    example: str


class Remainder:
    """Collects what is left behind, by reason, in the order the reasons came up."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def note(self, reason: str, example: object, count: int = 1) -> None:
        """`count` more rows are left behind; the first example stays."""
        before, first = self._found.get(reason, (0, str(example)))
        self._found[reason] = (before + count, first)

    def __iter__(self) -> Iterator[LeftBehind]:
        return (LeftBehind(reason, *found) for reason, found in self._found.items())


@dataclass
class AdoptionReport:
    """What one run read and wrote.

    Readings that were `read` are left behind, superseded by a later one of their ride and slot, or one of `readings`;
    those are stored, replaced or unchanged. Only writing tells these three, and of schedule and history rows how many
    it takes. `notes` say what the numbers cannot.
    """

    parks: int = 0
    rides: int = 0
    schedule_rows: int = 0
    read: int = 0
    readings: int = 0
    superseded: int = 0
    stored: int = 0
    replaced: int = 0
    unchanged: int = 0
    first_reading: datetime | None = None
    last_reading: datetime | None = None
    history_days: int = 0
    first_history_day: date | None = None
    last_history_day: date | None = None
    history_rows: int = 0
    weather_observations: int = 0
    weather_forecasts: int = 0
    left_behind: list[LeftBehind] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
