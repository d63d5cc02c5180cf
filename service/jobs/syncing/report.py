"""What a sync did, and what it left for somebody to decide."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final, NamedTuple

from service.feeds.foreign import Refusal
from service.jobs.joblog import Run

WIKI: Final = "ThemeParks.wiki"
QUEUE_TIMES: Final = "Queue-Times"


class Doubt(NamedTuple):
    """Two names that may mean the same; `park` says where, None if they are parks. `accepted`: it was taken so."""

    park: str | None
    wiki_name: str
    wiki_id: str
    queue_times_name: str
    queue_times_id: int
    similarity: float
    accepted: bool


class Conflict(NamedTuple):
    """What the sources say that our rows do not fit; nothing was changed for it."""

    park: str
    reason: str


class Renamed(NamedTuple):
    """A park (`ride_id` None) or ride that is called otherwise now."""

    park: str
    ride_id: int | None
    before: str
    name: str


class Reidentified(NamedTuple):
    """A ride that has another id at `source` now."""

    park: str
    ride_id: int
    name: str
    source: str
    before: str | int
    now: str | int


class Moved(NamedTuple):
    """A ride that left the lists, or came back."""

    park: str
    ride_id: int
    name: str


class Refused(NamedTuple):
    """What a source said and was not used."""

    source: str
    park: str | None
    refusal: Refusal


class Failure(NamedTuple):
    """A question without an answer, or a park that cannot be stored; `park` is None where it was a whole list."""

    source: str
    park: str | None
    reason: str

    def __str__(self) -> str:
        """Who failed, and why; a sentence that names its source already is enough."""
        said = self.reason if self.source in self.reason else f"{self.source}: {self.reason}"
        return f"{self.park}: {said}" if self.park else said


@dataclass
class Report:
    """What a sync did, or with `dry_run` would do. `done` are our ids of the parks whose turn it was; `is_complete`
    says whether none is left. `not_in_catalog` counts parks of the sources that were not asked for."""

    dry_run: bool = False
    parks_asked: int = 0
    parks_added: list[str] = field(default_factory=list)
    parks_changed: int = 0
    rides_added: int = 0
    rides_changed: int = 0
    not_in_catalog: int = 0
    renamed: list[Renamed] = field(default_factory=list)
    reidentified: list[Reidentified] = field(default_factory=list)
    vanished: list[Moved] = field(default_factory=list)
    returned: list[Moved] = field(default_factory=list)
    doubtful: list[Doubt] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    is_complete: bool = False
    run: Run | None = None

    @property
    def changes(self) -> int:
        """How many rows are new or different."""
        parks = len(self.parks_added) + self.parks_changed
        return parks + self.rides_added + self.rides_changed + len(self.vanished) + len(self.returned)

    def add(self, part: Report) -> None:
        """Count and list also what is in the report of one park."""
        for one in fields(self):
            mine, more = getattr(self, one.name), getattr(part, one.name)
            if isinstance(mine, list) or type(mine) is int:  # a flag is about the whole
                setattr(self, one.name, mine + more)
