"""Leases: who does what, until when. A row, not a lock of the server's: it holds on replicated clusters too.

A lease keeps work from being done twice; it does not make it safe. Every job stays right when two do it at once.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from datetime import timedelta
from functools import partial
from typing import Any

from peewee import Field, PeeweeException

from service import clock, database
from service.database import db, is_mysql
from service.jobs.marks import atomically
from service.models import JobLease
from service.queries.jobs import host_name, is_dead

LEASE_SECONDS = 90.0  # without a sign of life
RENEWAL_SECONDS = 20.0
RETRY_SECONDS = 3.0  # of a renewal that failed

log = logging.getLogger(__name__)
_token = secrets.token_hex(3)  # a container that is started again is another one, though its name and pid are the same


def owner() -> str:
    """Who runs jobs in this process: `host:pid:token`."""
    return f"{host_name()}:{os.getpid()}:{_token}"


class Lease:
    """`name`, for one owner at a time. A thread of its own renews it from `take` until `release`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner = owner()
        self._renewed = 0.0  # on the monotonic clock
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have it."""
        return self._thread is not None and not self._lost.is_set() and time.monotonic() < self._renewed + LEASE_SECONDS

    def take(self) -> bool:
        """Become its owner, unless another is. Raises PeeweeException."""
        self.renew_no_more()  # of an earlier time
        if not atomically(self._take):
            return False
        self._renewed = time.monotonic()
        self._ended.clear()
        self._lost.clear()
        self._thread = threading.Thread(target=self._keep, name=f"lease {self.name}", daemon=True)
        self._thread.start()
        return True

    def release(self) -> None:
        """Let others have it at once. Without its database they have it when it runs out."""
        self.renew_no_more()
        try:
            JobLease.delete().where((JobLease.name == self.name) & (JobLease.owner == self.owner)).execute()
        except PeeweeException:
            log.debug("the lease %s could not be released", self.name, exc_info=True)

    def renew_no_more(self) -> None:
        """Leave the row as it is: it was deleted already, or runs out."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(RETRY_SECONDS)  # no longer: it may wait for a server that does not answer
            self._thread = None

    def _row(self) -> JobLease | None:
        query = JobLease.select().where(JobLease.name == self.name)
        row: JobLease | None = (query.for_update() if is_mysql() else query).first()
        return row

    def _take(self) -> bool:
        now, row = clock.real(), self._row()
        changes: dict[Field[Any], object]
        if row is not None and row.owner != self.owner and row.expires_at > now and not is_dead(row.owner):
            return False
        until = now + timedelta(seconds=LEASE_SECONDS)
        if row is None:
            changes = {JobLease.owner: self.owner, JobLease.acquired_at: now, JobLease.expires_at: until}
            JobLease.insert({JobLease.name: self.name, **changes}).execute()
        else:
            since = row.acquired_at if row.owner == self.owner else now
            changes = {JobLease.owner: self.owner, JobLease.acquired_at: since, JobLease.expires_at: until}
            JobLease.update(changes).where(JobLease.name == self.name).execute()
        return True

    def _keep(self) -> None:
        wait = RENEWAL_SECONDS
        while not self._ended.wait(wait):
            try:
                with db.connection_context():
                    self._renew()
                wait = RENEWAL_SECONDS
            except PeeweeException:
                log.debug("the lease %s could not be renewed", self.name, exc_info=True)
                database.drop_connection()
                wait = RETRY_SECONDS

    def _renew(self) -> None:
        """It is still ours though it ran out, as long as nobody else has taken it."""
        if atomically(partial(self._extend, clock.real() + timedelta(seconds=LEASE_SECONDS))):
            self._renewed = time.monotonic()
        else:
            self._lost.set()
            self._ended.set()

    def _extend(self, until: object) -> bool:
        row = self._row()
        if row is None or row.owner != self.owner:
            return False
        JobLease.update({JobLease.expires_at: until}).where(JobLease.name == self.name).execute()
        return True
