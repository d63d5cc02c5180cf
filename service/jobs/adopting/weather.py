"""The predecessor's weather: columns of the same names, compared first, so that a second run changes nothing."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from peewee import Field, fn

from service.database import fetch, upsert
from service.feeds.open_meteo import MEASURES
from service.jobs.adopting.predecessor import Window, naive, seconds
from service.jobs.adopting.task import Task
from service.jobs.marks import atomically
from service.models import WeatherForecast, WeatherObservation
from service.models.base import Base
from service.models.predecessor import OldForecast, OldObservation

Times: TypeAlias = "tuple[Any, ...]"  # epoch seconds, as `Kind.key`
Measures: TypeAlias = "tuple[Any, ...]"

# The predecessor may correct what it collected lately.
LATE = timedelta(days=2)


class Kind(NamedTuple):
    """A table of weather, there and here. `key` beside the park: the time it is walked by, and those it is known by."""

    name: str
    old: type[Base]
    ours: type[Base]
    walk: Field[Any]
    key: tuple[str, ...]
    extra: tuple[str, ...]
    step: timedelta  # some ten thousand rows of a park at most

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are copied."""
        return (*self.key, *self.extra, *MEASURES)


OBSERVATIONS = Kind(
    "observations",
    OldObservation,
    WeatherObservation,
    OldObservation.observation_time,
    ("observation_time",),
    ("collected_at",),
    timedelta(days=90),
)
FORECASTS = Kind(
    "forecasts",
    OldForecast,
    WeatherForecast,
    OldForecast.issued_at,
    ("issued_at", "forecast_time"),
    (),
    timedelta(days=7),
)


def adopt_weather(task: Task, kind: Kind) -> int:
    """Copy the rows of one table that are new or differ; return how many."""
    if task.old.lack(kind.old):
        return 0
    times = task.old.times(kind.walk)
    copied = 0
    for done, (old_id, window) in enumerate(times.items()):
        task.progress(f"Adopting {kind.name}, parks", done, len(times))
        park_id = task.catalog.park_ids.get(old_id)
        if park_id is None:
            task.left.note("Weather of parks left behind", f"park {old_id}")
            continue
        start = max(window.first, _resumes_at(kind, park_id) or window.first)
        while start <= window.last:
            part = Window(start, start + kind.step)
            copied += _adopt_part(task, kind, old_id, park_id, part)
            start = part.last
    task.progress(f"Adopting {kind.name}, parks", len(times), len(times))
    return copied


def _resumes_at(kind: Kind, park_id: int) -> Any:
    """Rows are stored by park in the order of time: the newest says how far a park has come."""
    ours: Any = kind.ours
    newest = fetch(ours.select(fn.MAX(getattr(ours, kind.walk.name))).where(ours.park == park_id))[0][0]
    return None if newest is None else naive(newest) - LATE


def _adopt_part(task: Task, kind: Kind, old_id: int, park_id: int, part: Window) -> int:
    given: dict[Times, Measures] = {}
    of_park = getattr(kind.old, "park_id") == old_id
    for row in task.old.rows(kind.old, kind.names, of_park, kind.walk >= part.first, kind.walk < part.last):
        key = tuple(seconds(at) for at in row[: len(kind.key)])
        extra = (seconds(at) or key[0] for at in row[len(kind.key) : -len(MEASURES)])
        if None not in key:
            given[key] = (*extra, *map(_number, row[-len(MEASURES) :]))
    if not given:
        return 0
    if task.write:
        return atomically(partial(_store_part, kind, park_id, given))
    return len(_changed_rows(kind, park_id, given))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _store_part(kind: Kind, park_id: int, given: dict[Times, Measures]) -> int:
    ours: Any = kind.ours
    fields = [ours.park, *(getattr(ours, name) for name in kind.names)]
    return upsert(ours, fields, _changed_rows(kind, park_id, given), key=fields[: 1 + len(kind.key)])


def _changed_rows(kind: Kind, park_id: int, given: dict[Times, Measures]) -> list[tuple[Any, ...]]:
    """The rows that are not stored as they are given, laid out as the park and `kind.names`."""
    ours: Any = kind.ours
    walked = getattr(ours, kind.walk.name)
    query = ours.select(*(getattr(ours, name) for name in kind.names)).where(
        ours.park == park_id, walked.between(min(given)[0], max(given)[0])
    )
    width = len(kind.key)
    held = {row[:width]: tuple(map(_number, row[width:])) for row in fetch(query)}
    return [(park_id, *key, *row) for key, row in given.items() if held.get(key) != row]
