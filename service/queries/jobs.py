"""The job log: its runs, which of them were killed, and how the jobs stand."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Collection
from datetime import date, datetime
from functools import reduce
from operator import or_
from typing import NamedTuple

from peewee import Case, Expression, fn

from service import clock
from service.database import fetch, reading
from service.models import AggregationJobLog, JobLease, JobStatus
from service.models.base import alias, rows
from service.periods import instant


class JobRun(NamedTuple):
    """A row of the log. `status`: running, success, failed, or killed: it says running, but nobody runs it."""

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


class Failures(NamedTuple):
    """Runs of a job that failed or were killed: how many, and when the first and the last of them began."""

    job_type: str
    runs: int
    first: datetime
    last: datetime


WORKER_LEASE = "worker"

# Jobs that come again by themselves: what was started by hand and failed is nobody's to mend but theirs who did.
REPEATED = ("collect", "aggregate", "promote", "yearly", "prune", "schedules", "weather", "catalog")


class Standing(NamedTuple):
    """How the jobs stand. `running`: the names of those under way. `failing`: those of the worker whose last ended run
    failed, with all failures since their last success. `recent`: the failures of any since an instant. The newest come
    first in both. `succeeded`: of each job that ever began when the last run that succeeded did; None: none has."""

    running: set[str]
    failing: list[Failures]
    recent: list[Failures]
    succeeded: dict[str, int | None]


def succeeded_at(job_type: str, now: datetime, *, dated: bool = False) -> int | None:
    """When the last run of a job that succeeded began (epoch seconds); `dated`: of those that name a day."""
    log = AggregationJobLog
    query = log.select(fn.MAX(log.started_at)).where(
        log.job_type == job_type, log.status == JobStatus.SUCCESS, log.started_at <= now
    )
    [(at,)] = fetch(query.where(log.period_start.is_null(False)) if dated else query)
    return None if at is None else int(at)


class _Success(NamedTuple):
    job_type: str
    started_at: int | None  # None: it never had any
    job_id: int | None


class _Runs(NamedTuple):
    """Failed runs of a job, or one that says it is running. `is_last`: after the last that succeeded."""

    job_type: str
    running_id: int  # 0: failed ones
    is_last: int
    is_recent: int
    owner: str
    runs: int
    first: int
    last: int
    last_id: int


def runs(limit: int, job_type: str | None = None) -> list[JobRun]:
    """The last `limit` runs, of all jobs or of one, the newest first."""
    log = AggregationJobLog
    query = log.select().order_by(log.started_at.desc(), log.job_id.desc()).limit(limit)
    with reading():  # a run that ends meanwhile gives up its lease
        found = list(query if job_type is None else query.where(log.job_type == job_type))
        held = held_leases()
    return [run_of(row, held) for row in found]


def run_of(row: AggregationJobLog, held: Collection[str]) -> JobRun:
    """A row of the log, given the leases held."""
    killed = row.status is JobStatus.RUNNING and not lives(row.job_id, row.owner, held)
    status = "killed" if killed else JobStatus(row.status).name.lower()
    return JobRun(row.job_id, row.job_type, status, *(getattr(row, name) for name in JobRun._fields[3:]))


# --- which runs live -------------------------------------------------------------------------------------------------


def lives(job_id: int, owner: str, held: Collection[str]) -> bool:
    """Whether a run that says running is: its process has not ended, and renews the lease of the run.

    `held`: the leases, read after the row of the run was, or of the same view of the database.
    """
    return lease_of(job_id) in held and not is_dead(owner)


def lease_of(job_id: int) -> str:
    """The name of a run's lease."""
    return f"run:{job_id}"


def held_leases() -> set[str]:
    """The names of all leases that have not run out."""
    query = JobLease.select(JobLease.name).where(JobLease.expires_at > clock.real())
    return {name for (name,) in fetch(query)}


def is_dead(owner: str) -> bool:
    """Whether an owner, `host:pid:token`, is a process of this host that has ended; of other hosts nothing is known."""
    host, pid, _ = [*owner.rsplit(":", 2), "", ""][:3]
    if host != host_name() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)  # no signal: only asks
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # somebody else's, but alive
        pass
    return False


def host_name() -> str:
    """This host, as owners are named after it: containers may share its name, and not its process ids."""
    try:
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:  # no Linux
        space = ""
    return f"{socket.gethostname()[:60]}~{space}"


# --- how the jobs stand ----------------------------------------------------------------------------------------------


def standing(since: datetime, now: datetime) -> Standing:
    """How the jobs stand as of `now`; `recent` are the failures of runs that began after `since`.

    To be asked in one view of the database.
    """
    successes = _last_successes(now)
    found = _unsuccessful(successes, since, now) if successes else []
    held = held_leases() if any(run.running_id for run in found) else set()
    failed = [run for run in found if not _lives(run, held)]
    return Standing(
        {run.job_type for run in found if _lives(run, held)},
        _by_job([run for run in failed if run.is_last and run.job_type in REPEATED]),
        _by_job([run for run in failed if run.is_recent]),
        {success.job_type: success.started_at for success in successes},
    )


def _last_successes(now: datetime) -> list[_Success]:
    """Of each job that ever began the last run that succeeded."""
    log = alias(AggregationJobLog)
    jobs = AggregationJobLog.select(AggregationJobLog.job_type).distinct().alias("jobs")
    last = (
        log.select()
        .where(log.job_type == jobs.c.job_type, log.status == JobStatus.SUCCESS, log.started_at <= now)
        .order_by(log.started_at.desc(), log.job_id.desc())
        .limit(1)
    )
    query = jobs.select_from(jobs.c.job_type, last.select(log.started_at), last.select(log.job_id))
    return list(rows(query, _Success))


def _is_after(success: _Success) -> Expression:
    """The condition that picks the later runs of a job: several can begin in the same second."""
    log = AggregationJobLog
    same: Expression = log.job_type == success.job_type
    if success.started_at is None:
        return same
    later = (log.started_at > success.started_at) | (log.job_id > success.job_id)
    return same & (log.started_at >= success.started_at) & later


def _unsuccessful(successes: list[_Success], since: datetime, now: datetime) -> list[_Runs]:
    """The runs that failed, by job, and each that says it is running: after the last success, or after `since`."""
    log = AggregationJobLog
    last: Expression = reduce(or_, map(_is_after, successes))
    # By job, though all are meant: the index is by job and start.
    recent = (log.job_type << [success.job_type for success in successes]) & (log.started_at > since)
    by = (
        log.job_type,
        Case(None, [(log.status == JobStatus.RUNNING, log.job_id)], 0),
        Case(None, [(last, 1)], 0),
        Case(None, [(recent, 1)], 0),
    )
    started = log.started_at
    query = log.select(
        *by, fn.MAX(log.owner), fn.COUNT(log.job_id), fn.MIN(started), fn.MAX(started), fn.MAX(log.job_id)
    ).where(last | recent, started <= now, log.status != JobStatus.SUCCESS)
    return list(rows(query.group_by(*by), _Runs))


def _lives(run: _Runs, held: Collection[str]) -> bool:
    return bool(run.running_id) and lives(run.running_id, run.owner, held)


def _by_job(failed: list[_Runs]) -> list[Failures]:
    of_job: dict[str, list[_Runs]] = defaultdict(list)
    for run in sorted(failed, key=lambda run: (run.last, run.last_id), reverse=True):
        of_job[run.job_type].append(run)
    return [
        Failures(
            job_type,
            sum(run.runs for run in found),
            instant(min(run.first for run in found)),
            instant(found[0].last),
        )
        for job_type, found in of_job.items()
    ]
