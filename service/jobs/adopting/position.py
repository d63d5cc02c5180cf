"""How far the adoption of readings has come, as whole numbers in service_state.

It cannot be told from the target: retention removes readings there, which must not come back, and a day that is half
there looks like one that the predecessor recorded half.

A stretch is a span of time from which every reading was adopted. Each run makes the last one longer. A new one begins
where the predecessor has removed readings before they were adopted: what lies between two stretches, and before the
first, is known from its daily history alone.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from service.jobs.marks import atomically, raise_state
from service.models import ServiceState
from service.periods import pacific_date, pacific_day
from service.queries.state import get_state

PREFIX = "adopted_"
SOURCE, STRETCHES = f"{PREFIX}source", f"{PREFIX}stretches"
# The predecessor stores a whole cycle at its end, under the time of its beginning: what is younger may still grow.
LATE_SECONDS = 3600


class Stretch(NamedTuple):
    """From the first reading adopted up to the instant before which none can follow; epoch seconds, both included."""

    start: int
    through: int


class Position:
    """Where an adoption stands; `source` tells which predecessor it is of."""

    def __init__(self) -> None:
        self.source = get_state(SOURCE)
        count = get_state(STRETCHES) or 0
        self.stretches = [_stretch(number) for number in range(1, count + 1)]
        self.is_open = True  # whether readings may follow those of the last stretch

    def begin(self, source: int, oldest: int | None) -> None:
        """Begin a stretch, unless the predecessor's readings, whose oldest is of this instant, continue the last."""
        self.source = source
        self.is_open = oldest is not None
        if oldest is not None and (not self.stretches or oldest > self.stretches[-1].through + 1):
            self.stretches.append(Stretch(oldest, oldest - 1))

    def reach(self, through: int) -> None:
        """Everything up to this instant is adopted; never back."""
        last = self.stretches[-1]
        self.stretches[-1] = last._replace(through=max(last.through, through))

    def save(self) -> None:
        """Store it."""
        atomically(self._save)

    def _save(self) -> None:
        if self.source is not None:
            raise_state(SOURCE, self.source)
        if self.stretches:
            number, last = len(self.stretches), self.stretches[-1]
            raise_state(_start(number), last.start)
            raise_state(_through(number), last.through)
            raise_state(STRETCHES, number)

    def forget(self, *, write: bool) -> None:
        """Begin anew; what is stored goes only with `write`."""
        if write:
            ServiceState.delete().where(ServiceState.name.startswith(PREFIX)).execute()
        self.source = None
        self.stretches.clear()

    @property
    def resumes_on(self) -> date | None:
        """The Pacific day to go on with; None before the first stretch."""
        return pacific_date(self.stretches[-1].through + 1) if self.stretches else None

    def holds(self, day: date) -> bool:
        """Whether a stretch has a Pacific day from beginning to end; an open one has all that follow it."""
        return any(
            pacific_date(stretch.start) < day
            and (pacific_day(day).end <= stretch.through + 1 or self.is_open and stretch is self.stretches[-1])
            for stretch in self.stretches
        )


def _stretch(number: int) -> Stretch:
    return Stretch(get_state(_start(number)) or 0, get_state(_through(number)) or 0)


def _start(number: int) -> str:
    return f"{PREFIX}from_{number}"


def _through(number: int) -> str:
    return f"{PREFIX}through_{number}"
