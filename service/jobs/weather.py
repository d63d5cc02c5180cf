"""The weather at the parks: what each hour was like, and every six hours what is forecast."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from peewee import JOIN

from service.config import Settings
from service.database import fetch, upsert
from service.errors import BadFeed, Unanswered
from service.feeds.foreign import Refusal
from service.feeds.open_meteo import HOUR_SECONDS, MEASURES, Hour, Weather
from service.feeds.sources import Ask, Sources
from service.jobs.asking import Round, sources
from service.jobs.joblog import Run, counted, logged
from service.jobs.marks import atomically
from service.jobs.patience import patiently
from service.models import Park, WeatherForecast, WeatherObservation
from service.models.base import Base, rows
from service.periods import epoch, iso_utc, pacific_date

ISSUE_SECONDS: Final = 6 * HOUR_SECONDS
DAY_SECONDS: Final = 24 * HOUR_SECONDS
MOST_REASONS: Final = 10  # that are told of, the most frequent ones

Progress = Callable[[int, int], object]  # parks asked, of how many

log = logging.getLogger(__name__)


class Failure(NamedTuple):
    """A park without the weather of this hour, and why: a sentence."""

    park_id: int
    park: str
    reason: str


class Refused(NamedTuple):
    """What was not used of a park's answer."""

    park: str
    refusal: Refusal


class Report:
    """What a run did: rows written, parks asked, and what went wrong. `failure` says why it failed as a whole."""

    def __init__(self, without_coordinates: list[str]) -> None:
        self.without_coordinates = without_coordinates  # names
        self.asked = 0
        self.observations = 0
        self.forecasts = 0
        self.refused: list[Refused] = []
        self.failed: list[Failure] = []
        self.is_complete = True  # it was not told to end early
        self.run: Run | None = None  # in the job log; None: nothing was due

    @property
    def failure(self) -> str | None:
        """Why it failed as a whole, if it did."""
        return self.run.failure if self.run else None

    def note(self, run: Run) -> None:
        """Count for the job log."""
        self.run = run
        run.rows_processed = self.observations + self.forecasts
        run.warnings = len(self.refused) + len(self.failed)


class Stored(NamedTuple):
    """Rows that were added or changed."""

    observations: int
    forecasts: int


class WeatherCollector:
    """Asks for the weather of every active park once an hour, a question and a transaction each.

    It remembers, for the hour, the parks that gave none while most others did: they are not asked again and again.
    """

    def __init__(self, settings: Settings, ask: Ask) -> None:
        self._settings, self._ask = settings, ask
        self._hour = 0
        self._failed: dict[int, Failure] = {}  # of `_hour`, by park
        self._named: set[str] = set()

    def is_due(self, now: datetime) -> bool:
        """Whether a park's weather of this hour is still to be asked for. One query."""
        return bool(self._due(patiently(partial(_sites, now)), now))

    def collect(self, now: datetime, proceed: Callable[[], bool] = lambda: True) -> str | None:
        """`run` for the worker: what it did in a few words, None if nothing was due. Raises ServiceError when it
        failed. Parks without coordinates are named in the log, each once."""
        report = self.run(now, proceed=proceed)
        new = [name for name in report.without_coordinates if name not in self._named]
        if new:
            self._named.update(new)
            log.warning("Parks without coordinates have no weather: %s.", ", ".join(new))
        if report.run is None:
            return None
        if report.failure:
            raise report.run.error()
        written = f"{report.observations:,} observations and {report.forecasts:,} forecasts"
        return f"{written} of {report.asked - len(report.failed)} parks"

    def run(
        self,
        now: datetime,
        *,
        force: bool = False,
        proceed: Callable[[], bool] = lambda: True,
        progress: Progress = lambda done, total: None,
    ) -> Report:
        """Ask for the parks that lack the weather of this hour, with `force` for all. One run in the job log, unless
        there is none to ask for.

        What was asked is stored, however the run ends; `proceed` is asked before each park, and when it says no, the
        next run goes on with the others. The run has failed when half or more of the parks have no answer for this
        hour: then all those are due again. Fewer are left until the next hour.
        """
        sites = patiently(partial(_sites, now))
        report = Report([site.name for site in sites if not site.has_coordinates])
        due = self._due(sites, now, force)
        if not due or not proceed():
            report.is_complete = not due
            return report
        with logged("weather", now, start=pacific_date(now), end=pacific_date(now)) as run:
            try:
                self._ask_all(due, now, report, proceed, progress)
                if report.is_complete:
                    run.failure = self._judged(sites, due)
            finally:
                report.note(run)
        return report

    def _due(self, sites: Sequence[_Site], now: datetime, force: bool = False) -> list[_Site]:
        hour = _down_to(HOUR_SECONDS, now)
        if hour != self._hour:
            self._hour = hour
            self._failed.clear()
        located = [site for site in sites if site.has_coordinates]
        return [site for site in located if force or not site.is_known and site.park_id not in self._failed]

    def _ask_all(
        self, due: list[_Site], now: datetime, report: Report, proceed: Callable[[], bool], progress: Progress
    ) -> None:
        source = sources(self._settings, Round(self._ask).ask)
        for number, site in enumerate(due):
            progress(number, len(due))
            if number and not proceed():
                report.is_complete = False
                return
            report.asked += 1
            self._failed.pop(site.park_id, None)
            try:
                _collect_site(source, site, now, report)
            except (Unanswered, BadFeed) as error:
                self._failed[site.park_id] = Failure(site.park_id, site.name, str(error))
                report.failed.append(self._failed[site.park_id])
        progress(len(due), len(due))

    def _judged(self, sites: Sequence[_Site], asked: list[_Site]) -> str | None:
        """Why the hour's weather is not to be had, if so. Parks that have it count as asked, whoever asked."""
        failed = list(self._failed.values())
        tried = {site.park_id for site in sites if site.is_known} | {site.park_id for site in asked} | set(self._failed)
        if not failed or 2 * len(failed) < len(tried):
            return None
        self._failed.clear()
        return f"{len(failed)} of {len(tried)} parks have no weather of this hour. {' '.join(sentences(failed))}"


def sentences(failures: Sequence[Failure]) -> list[str]:
    """Each reason once, with its number of parks, the most frequent ones first."""
    counts = Counter(failure.reason for failure in failures).most_common()
    told = [f"{counted(parks, 'park')}: {reason}" for reason, parks in counts[:MOST_REASONS]]
    return told + [f"{counted(len(counts) - len(told), 'more reason')}."] * (len(told) < len(counts))


def _down_to(step_seconds: int, now: datetime) -> int:
    """Epoch seconds of the step of UTC that `now` is in."""
    return epoch(now) // step_seconds * step_seconds


# --- parks -----------------------------------------------------------------------------------------------------------


class _Site(NamedTuple):
    """An active park, and whether its weather of this hour is stored."""

    park_id: int
    name: str
    latitude: float | None
    longitude: float | None
    observed_at: int | None

    @property
    def has_coordinates(self) -> bool:
        return self.latitude is not None and self.longitude is not None

    @property
    def is_known(self) -> bool:
        return self.observed_at is not None


def _sites(now: datetime) -> list[_Site]:
    """The parks that a source tells of: simulated ones have no weather."""
    observation = WeatherObservation
    this_hour: Any = observation.observation_time == _down_to(HOUR_SECONDS, now)
    query = (
        Park.select(Park.park_id, Park.name, Park.latitude, Park.longitude, observation.observation_time)
        .join(observation, JOIN.LEFT_OUTER, on=(observation.park == Park.park_id) & this_hour)
        .where(Park.is_active, Park.themeparks_wiki_id.is_null(False) | Park.queue_times_id.is_null(False))
        .order_by(Park.park_id)
    )
    return list(rows(query, _Site))


def _collect_site(source: Sources, site: _Site, now: datetime, report: Report) -> None:
    assert site.latitude is not None and site.longitude is not None
    found = source.weather(site.latitude, site.longitude)
    report.refused += [Refused(site.name, refusal) for refusal in found.refused]
    stored = store_weather(site.park_id, found, now)
    report.observations += stored.observations
    report.forecasts += stored.forecasts
    hour = _down_to(HOUR_SECONDS, now)
    if not any(one.at == hour and _says_anything(one) for one in found.hours):
        raise BadFeed(f"Open-Meteo says nothing of the hour from {iso_utc(hour)} on.")


# --- storing ---------------------------------------------------------------------------------------------------------


def store_weather(park_id: int, weather: Weather, now: datetime) -> Stored:
    """Store what an answer says of a park, in one transaction: the hours that have begun as observations, and those to
    come as forecasts of the issue of these six hours, unless that is there. A database that is away is waited for.

    A value replaces the one observed before, what is unknown now does not; `collected_at` is when a row last changed.
    What an answer says of hours more than a day ago was a forecast, whatever it is now: it is left out.
    """
    since = epoch(now) - DAY_SECONDS
    hours = [hour for hour in weather.hours if hour.at > since and _says_anything(hour)]
    return patiently(partial(atomically, partial(_store, park_id, hours, now)))


def _says_anything(hour: Hour) -> bool:
    return any(value is not None for value in hour[1:])


def _store(park_id: int, hours: list[Hour], now: datetime) -> Stored:
    begun = [hour for hour in hours if hour.at <= epoch(now)]
    observations = _store_observations(park_id, begun, now) if begun else 0
    return Stored(observations, _store_forecasts(park_id, hours[len(begun) :], now))


def _columns(model: type[Base]) -> list[Any]:
    return [getattr(model, name) for name in MEASURES]


def _store_observations(park_id: int, hours: list[Hour], now: datetime) -> int:
    table = WeatherObservation
    query = table.select(table.observation_time, *_columns(table)).where(
        table.park == park_id, table.observation_time.between(hours[0].at, hours[-1].at)
    )
    held = {at: tuple(map(_number, measures)) for at, *measures in fetch(query)}
    unknown = (None,) * len(MEASURES)
    changed = []
    for at, *told in hours:
        before = held.get(at, unknown)
        after = tuple(old if new is None else new for new, old in zip(told, before, strict=True))
        if after != before:
            changed.append((park_id, at, now, *after))
    fields = [table.park, table.observation_time, table.collected_at, *_columns(table)]
    return upsert(table, fields, changed, key=fields[:2])


def _number(value: Any) -> float | None:
    """A decimal as either driver gives it."""
    return None if value is None else float(value)


def _store_forecasts(park_id: int, hours: list[Hour], now: datetime) -> int:
    table = WeatherForecast
    issued_at = _down_to(ISSUE_SECONDS, now)
    of_issue: Any = (table.park == park_id) & (table.issued_at == issued_at)
    if not hours or table.select().where(of_issue).exists():
        return 0
    fields = [table.park, table.issued_at, table.forecast_time, *_columns(table)]
    return upsert(table, fields, [(park_id, issued_at, *hour) for hour in hours], key=fields[:3])
