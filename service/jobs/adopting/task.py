"""What the parts of one run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from service.jobs.adopting.facts import Facts
from service.jobs.adopting.position import Position
from service.jobs.adopting.predecessor import Predecessor
from service.jobs.adopting.report import AdoptionReport, Remainder
from service.jobs.catalog import Catalog
from service.jobs.joblog import Run

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much


@dataclass
class Task:
    """One run under way. `write` is off in a dry run; `run` is its entry in the job log."""

    old: Predecessor
    facts: Facts
    position: Position
    left: Remainder
    interval_minutes: int
    now: datetime
    progress: Progress
    write: bool
    report: AdoptionReport = field(default_factory=AdoptionReport)
    run: Run = field(default_factory=Run)
    catalog: Catalog = Catalog({}, {}, 0, 0, 0, 0)
