"""aggregation_job_log: every run of a job, whatever its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from typing import Any

from peewee import Field, PeeweeException

from service import clock
from service.database import asking, db
from service.errors import ServiceError
from service.jobs.leases import Lease, owner
from service.jobs.marks import atomically, move_revisions
from service.jobs.patience import PATIENCE_SECONDS, patiently
from service.models import AggregationJobLog, JobLease, JobStatus
from service.queries.jobs import JobRun, held_leases, lease_of, lives, run_of

NOTE = "its run in the job log:"  # what an error says of itself
ERROR_CHARACTERS = 10_000
KILLED = "Killed: its process ended, or stopped renewing its lease, without a word."

logger = logging.getLogger(__name__)


class Run:
    """A running job; what it counts here is stored when it ends.

    Setting `failure` makes it a failed one, though its block ended well.
    """

    def __init__(self, job_id: int = 0) -> None:
        self.job_id = job_id
        self.rows_processed = 0
        self.warnings = 0
        self.failure: str | None = None
        self.day: date | None = None  # that it turned out to be of, where its beginning could not know

    def error(self) -> ServiceError:
        """Its failure, as an error that is known to be logged."""
        error = ServiceError(self.failure or "")
        error.add_note(f"{NOTE} {self.job_id}")
        return error


def close_killed(now: datetime) -> None:
    """Log the runs that were killed as failed.

    Nobody knows how far a run came that did not end well: the revision moves, so that answers are made anew.
    """
    log = AggregationJobLog
    running = list(log.select().where(log.status == JobStatus.RUNNING))
    held = held_leases() if running else set()
    killed = [row.job_id for row in running if not lives(row.job_id, row.owner, held)]
    if killed:
        atomically(partial(_close, killed, now))


def _close(killed: list[int], now: datetime) -> None:
    log = AggregationJobLog
    ending: dict[Field[Any], object] = {
        log.status: JobStatus.FAILED, log.finished_at: now, log.error_details: KILLED
    }
    log.update(ending).where(log.job_id << killed, log.status == JobStatus.RUNNING).execute()
    JobLease.delete().where(JobLease.name << [lease_of(job_id) for job_id in killed]).execute()
    move_revisions(current=False, history=True)


@contextmanager
def logged(
    job_type: str,
    now: datetime,
    *,
    start: date | None = None,
    end: date | None = None,
    metrics_version: int | None = None,
) -> Iterator[Run]:
    """Log a job as running, and as success or failed when the block ends. An exception is logged and goes on.

    Runs that were killed before are closed. A database that is away is waited for. The query log names the job.
    """
    log = AggregationJobLog
    row: dict[Field[Any], object] = {
        log.job_type: job_type,
        log.period_start: start,
        log.period_end: end,
        log.metrics_version: metrics_version,
        log.started_at: now,
    }
    with asking(f"job {job_type}"):
        patiently(partial(close_killed, now))
        job_id, lease = patiently(partial(_begin, row))
        run = Run(job_id)
        try:
            yield run
        except BaseException as error:
            run.failure = said(error)
            error.add_note(f"{NOTE} {job_id}")
            # Whoever is told to stop does not wait for a database.
            _try_to_end(job_id, lease, run, seconds=PATIENCE_SECONDS if isinstance(error, Exception) else 0)
            raise
        _end(job_id, lease, run, PATIENCE_SECONDS)


def said(error: BaseException) -> str:
    """What the log says of an error: the words of our own, for others their type too."""
    if not isinstance(error, Exception):
        return "Stopped before its end."
    return str(error) if isinstance(error, ServiceError) else f"{type(error).__name__}: {error}"


def counted(number: int, thing: str) -> str:
    """`1 park`, `2 parks`."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def failure(job_type: str, now: datetime, error: Exception) -> JobRun:
    """The run that ended with `error`; one that failed before it began is logged now."""
    notes = getattr(error, "__notes__", ())
    job_id = next((int(note.removeprefix(NOTE)) for note in notes if note.startswith(NOTE)), 0)
    if not job_id:
        run = Run(job_id)
        run.failure = said(error)
        job_id, lease = _begin({AggregationJobLog.job_type: job_type, AggregationJobLog.started_at: now})
        _end(job_id, lease, run, seconds=0)
    return run_of(AggregationJobLog.get(AggregationJobLog.job_id == job_id), held_leases())


def _begin(row: dict[Field[Any], object]) -> tuple[int, Lease]:
    log = AggregationJobLog
    with db.atomic():
        job_id: int = log.insert({**row, log.status: JobStatus.RUNNING, log.owner: owner()}).execute()
        lease = Lease(lease_of(job_id))
        lease.take()
    return job_id, lease


def _try_to_end(job_id: int, lease: Lease, run: Run, seconds: float) -> None:
    try:
        _end(job_id, lease, run, seconds)
    except PeeweeException:
        logger.warning("How run %d of the job log ended could not be logged.", job_id)


def _end(job_id: int, lease: Lease, run: Run, seconds: float) -> None:
    log = AggregationJobLog
    ending: dict[Field[Any], object] = {
        log.status: JobStatus.FAILED if run.failure else JobStatus.SUCCESS,
        log.finished_at: clock.now(),
        log.rows_processed: run.rows_processed,
        log.warnings: run.warnings,
        log.error_details: run.failure and run.failure[:ERROR_CHARACTERS],
    }
    if run.day is not None:
        ending |= {log.period_start: run.day, log.period_end: run.day}

    def write() -> None:
        log.update(ending).where(log.job_id == job_id).execute()
        JobLease.delete().where(JobLease.name == lease.name).execute()
        if run.failure:
            move_revisions(current=False, history=True)

    try:
        patiently(lambda: atomically(write), seconds=seconds)
    finally:
        lease.renew_no_more()
