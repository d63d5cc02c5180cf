"""aggregation_job_log: every run of a job, whatever its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import NamedTuple

from service import clock
from service.models import AggregationJobLog, JobStatus


class Run:
    """A running job; what it counts here is stored when it ends.

    Setting `failure` makes it a failed one, though its block ended well.
    """

    def __init__(self) -> None:
        self.rows_processed = 0
        self.warnings = 0
        self.failure: str | None = None


def owner() -> str:
    """Who runs jobs in this process: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"[:100]


def is_dead(named: str) -> bool:
    """Whether an owner is a process of this host that has ended; of other hosts nothing is known."""
    host, _, pid = named.rpartition(":")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)  # no signal: only asks
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # somebody else's, but alive
        pass
    return False


class JobRun(NamedTuple):
    """A row of the log. `status`: running, success, failed, or killed: it says running, but its process has ended."""

    job_id: int
    job_type: str
    status: str
    period_start: date | None
    period_end: date | None
    metrics_version: int | None
    started_at: datetime
    finished_at: datetime | None
    rows_processed: int
    warnings: int
    error_details: str | None
    owner: str


def runs(limit: int) -> list[JobRun]:
    """The last `limit` runs, the newest first."""
    log = AggregationJobLog
    query = log.select().order_by(log.started_at.desc(), log.job_id.desc()).limit(limit)
    return [_run_of(row) for row in query]


def _run_of(row: AggregationJobLog) -> JobRun:
    return JobRun(row.job_id, row.job_type, _status(row), *(getattr(row, name) for name in JobRun._fields[3:]))


def _status(row: AggregationJobLog) -> str:
    killed = row.status is JobStatus.RUNNING and is_dead(row.owner)
    return "killed" if killed else JobStatus(row.status).name.lower()


@contextmanager
def logged(
    job_type: str,
    now: datetime,
    *,
    start: date | None = None,
    end: date | None = None,
    metrics_version: int | None = None,
) -> Iterator[Run]:
    """Log a job as running, and as success or failed when the block ends. An exception is logged and goes on."""
    log = AggregationJobLog
    job_id = log.insert(
        {
            log.job_type: job_type,
            log.period_start: start,
            log.period_end: end,
            log.metrics_version: metrics_version,
            log.status: JobStatus.RUNNING,
            log.started_at: now,
            log.owner: owner(),
        }
    ).execute()
    run = Run()
    try:
        yield run
    except BaseException as error:
        run.failure = f"{type(error).__name__}: {error}"
        raise
    finally:
        log.update(
            {
                log.status: JobStatus.FAILED if run.failure else JobStatus.SUCCESS,
                log.finished_at: clock.now(),
                log.rows_processed: run.rows_processed,
                log.warnings: run.warnings,
                log.error_details: run.failure,
            }
        ).where(log.job_id == job_id).execute()
