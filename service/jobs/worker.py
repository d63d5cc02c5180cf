"""The worker: one loop for all jobs, under a lease, so that two workers never do the same work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from peewee import PeeweeException

from service import clock, database, rules
from service.config import Settings
from service.jobs import daily, joblog, retention, versions, yearly
from service.feeds.sources import Ask
from service.jobs.alerts import Alerts
from service.jobs.asking import Round, sources
from service.jobs.collect import Collector
from service.jobs.leases import Lease
from service.jobs.patience import patiently
from service.jobs.schedules import Schedules
from service.jobs.syncing import sync
from service.jobs.targets import has_targets
from service.jobs.weather import WeatherCollector
from service.periods import epoch, pacific_date
from service.queries import state
from service.queries.jobs import WORKER_LEASE, succeeded_at
from service.queries.versions import clean_days

SECONDS_BETWEEN_LOOKS = 5.0
FIRST_RETRY, LONGEST_RETRY = 30.0, 1800.0  # seconds until a task that failed is tried again
LISTED_AFTER_SECONDS = 24 * 3600
DATABASE = "database"  # what an alert calls it: no task of ours, but nothing goes without it

log = logging.getLogger(__name__)

Proceed = Callable[[], bool]


class Stopped(BaseException):
    """Raised into work that is abandoned because the worker must end now."""


class Task(NamedTuple):
    """A job of the worker, by its name in the job log.

    `run` does what is due as of an instant and says in a few words what it did, None if nothing was due; between steps
    it asks whether to go on. `is_due`, where given, says whether it is so urgent that others make way for it. When it
    fails it is tried again after at most `longest_retry` seconds.
    """

    name: str
    run: Callable[[datetime, Proceed], str | None]
    is_due: Callable[[datetime], bool] | None = None
    longest_retry: float = LONGEST_RETRY


class _Failure(NamedTuple):
    times: int
    retry_at: float  # on the monotonic clock


class Worker:
    """Does the tasks in their order, again and again, while it holds the lease; else it stands by."""

    def __init__(self, tasks: Sequence[Task], alerts: Alerts) -> None:
        self.tasks = tasks
        self.alerts = alerts
        self.lease = Lease(WORKER_LEASE)
        self._stop = threading.Event()
        self._failures: dict[str, _Failure] = {}
        self._worked = False  # whether it was the last to hold the lease, as far as it knows
        self.makes_way = True

    def stop(self) -> None:
        """End after the step under way: a day, a batch, a park."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop`. Another worker takes over at once then, and within LEASE_SECONDS after a death."""
        stands_by = False
        try:
            while not self._stop.is_set():
                taken = self.lease.is_held or self._take_lease()
                if taken:
                    if stands_by:
                        log.info("This worker takes over.")
                    stands_by = False
                    self.once()
                elif taken is False and not stands_by:
                    stands_by = True
                    log.info("Another worker holds the lease: this one stands by.")
                self._stop.wait(SECONDS_BETWEEN_LOOKS)
        except Stopped:
            log.info("Stopped in the middle of a step: it is undone, and the next worker does it.")
        finally:
            self.lease.release()

    def _take_lease(self) -> bool | None:
        """Whether this worker has the lease now; None while the database is away."""
        try:
            taken = self.lease.take()
        except PeeweeException as error:
            database.raise_interruption(error)
            database.drop_connection()
            if self._worked:  # of several workers the one tells that it hit
                self._database_failed(error)
            return None
        self._worked = taken
        if taken:
            self.alerts.forget()
        return taken

    def once(self) -> bool:
        """Do what is due, each task once; whether nothing failed."""
        return all([self._do(task) for task in self.tasks if self._goes_on() and self._may(task)])

    def _goes_on(self) -> bool:
        return self.lease.is_held and not self._stop.is_set()

    def _may(self, task: Task) -> bool:
        failure = self._failures.get(task.name)
        return failure is None or time.monotonic() >= failure.retry_at

    def _proceed(self) -> bool:
        """Asked by tasks between their steps: more urgent ones do not wait for the others' end."""
        if not self._goes_on():
            return False
        urgent = (task for task in self.tasks if task.is_due and self.makes_way)
        return not any(task.is_due(clock.now()) and self._may(task) for task in urgent if task.is_due)

    def _do(self, task: Task) -> bool:
        now = clock.now()
        try:
            if not task.is_due and not self._proceed():
                return True  # not now
            said = task.run(now, self._goes_on if task.is_due else self._proceed)
        except Exception as error:
            database.raise_interruption(error)
            self._failed(task, now, error)
            return False
        self.alerts.recovered(DATABASE, now)
        if said:
            log.info("%s: %s", task.name, said)
        elif task.is_due and task.name in self._failures:
            return True  # of slots: one that was lost is not made good by there being nothing to do until the next
        if self._failures.pop(task.name, None) and not said:
            with joblog.logged(task.name, now):  # what failed is not due any more: that ends it
                pass
        self.alerts.recovered(task.name, now)
        return True

    def _failed(self, task: Task, now: datetime, error: Exception) -> None:
        times = self._failures[task.name].times + 1 if task.name in self._failures else 1
        wait = min(FIRST_RETRY * 2 ** min(times - 1, 10), task.longest_retry)
        self._failures[task.name] = _Failure(times, time.monotonic() + wait)
        shown = database.explained(error) if isinstance(error, PeeweeException) else error
        traced = log.isEnabledFor(logging.DEBUG)
        again = "it goes on with the next slot" if task.is_due else f"it is tried again in {wait:.0f} s"
        log.error("%s failed, %s: %s", task.name, again, shown, exc_info=traced)
        try:
            run = joblog.failure(task.name, now, error)
        except PeeweeException as another:
            database.drop_connection()
            self._database_failed(another)
            return
        period = f"{run.period_start}/{run.period_end}" if run.period_start else None
        self.alerts.failed(task.name, period, run.error_details or str(error), now)

    def _database_failed(self, error: PeeweeException) -> None:
        explained = database.explained(error)
        log.error("%s", explained)
        self.alerts.failed(DATABASE, None, str(explained), clock.now())


def tasks(settings: Settings, ask: Ask | None = None) -> list[Task]:
    """What a worker does, in this order: readings first, and nothing is removed before it is computed. Without `ask`,
    which gives the body of an address, it asks no public source."""
    collector = Collector(settings, ask)
    pruning = _Pruning(settings)
    found = [
        # Each slot is asked for once: what cannot be had now may be there in the next.
        Task("collect", lambda now, proceed: collector.collect(now), collector.is_due, longest_retry=FIRST_RETRY),
        Task("aggregate", _aggregate),
        Task("yearly", _refresh_years),
        Task("prune", pruning.run),
    ]
    if settings.auto_promote:
        found.insert(2, Task("promote", _promote))
    return found + (_asking(settings, ask) if ask is not None else [])


def _asking(settings: Settings, ask: Ask) -> list[Task]:
    """What public sources are asked beside readings, at most once an hour."""
    hours, weather, listing = Schedules(settings), WeatherCollector(settings, ask), _Listing(settings, ask)
    return [
        Task("schedules", partial(hours.run, ask)),
        Task("weather", weather.collect),
        Task("catalog", listing.run),
    ]


def _aggregate(now: datetime, proceed: Proceed) -> str | None:
    done = daily.aggregate(now, proceed=proceed)
    if done.failed and done.run:
        raise done.run.error()
    return f"{len(done.days)} days, {done.days[-1]} to {done.days[0]}" if done.days else None


def _promote(now: datetime, proceed: Proceed) -> str | None:
    """Make the version of the code the active one when every day that can be computed is."""
    version = rules.METRICS_VERSION
    if state.active_version() >= version or daily.missing_days(now, version) or not clean_days(version):
        return None
    with joblog.logged("promote", now, metrics_version=version):
        patiently(lambda: versions.promote(version, now))
    return f"version {version} is active now"


def _refresh_years(now: datetime, proceed: Proceed) -> str | None:
    years = yearly.refresh_years(now)
    return ", ".join(map(str, years)) if years else None


class _Listing:
    """The parks and rides that are known, once a day, in as many runs as more urgent jobs leave."""

    def __init__(self, settings: Settings, ask: Ask) -> None:
        self.settings, self.ask = settings, ask
        self._is_under_way = False
        self._done: set[int] = set()  # parks, of the round under way

    def run(self, now: datetime, proceed: Proceed) -> str | None:
        if not self._is_under_way and not patiently(partial(self._is_due, now)):
            return None
        told = sources(self.settings, Round(self.ask).ask)
        report = sync(self.settings, told, now, done=self._done, proceed=proceed)
        self._is_under_way = not report.is_complete
        self._done = set() if report.is_complete else self._done | set(report.done)
        if report.run is not None and report.run.failure:
            raise report.run.error()
        return f"{joblog.counted(report.parks_asked, 'park')}, {joblog.counted(report.changes, 'change')}"

    def _is_due(self, now: datetime) -> bool:
        at = succeeded_at("catalog", now)
        return (at is None or epoch(now) - at >= LISTED_AFTER_SECONDS) and has_targets()


class _Pruning:
    """Once on each Pacific day."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._done_on: object = None

    def run(self, now: datetime, proceed: Proceed) -> str | None:
        today = pacific_date(now)
        if self._done_on == today:
            return None
        pruned = retention.prune(self.settings, now, proceed=proceed)
        if pruned.is_complete:
            self._done_on = today
        if pruned.blocked:
            log.warning("Readings past retention stay, for %s is needed: %s", *pruned.blocked)
        removed = sum(pruned.rows.values())
        return f"{removed:,} rows" if removed else None
