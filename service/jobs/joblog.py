"""aggregation_job_log: every run of a job, whatever its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime

from service import clock
from service.models import AggregationJobLog, JobStatus


class Run:
    """A running job; what it counts here is stored when it ends."""

    def __init__(self) -> None:
        self.rows_processed = 0
        self.warnings = 0


def owner() -> str:
    """Who runs jobs in this process: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"[:100]


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
    failure: str | None = None
    try:
        yield run
    except BaseException as error:
        failure = f"{type(error).__name__}: {error}"
        raise
    finally:
        log.update(
            {
                log.status: JobStatus.FAILED if failure else JobStatus.SUCCESS,
                log.finished_at: clock.now(),
                log.rows_processed: run.rows_processed,
                log.warnings: run.warnings,
                log.error_details: failure,
            }
        ).where(log.job_id == job_id).execute()
