"""Waiting for the database: a job outlives its being away for minutes, and writers that are in its way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from random import uniform
from typing import TypeVar

from peewee import PeeweeException

from service import database
from service.database import db

PATIENCE_SECONDS = 300.0
FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0  # seconds

log = logging.getLogger(__name__)
R = TypeVar("R")


def patiently(work: Callable[[], R], *, seconds: float = PATIENCE_SECONDS) -> R:
    """Run `work`; anew, after ever longer waits, while its database cannot be reached or another is in the way.

    Its error is raised when that has lasted for `seconds`, and any other at once. What `work` writes must be
    transactions of its own, so that what failed has left nothing.
    """
    deadline = time.monotonic() + seconds
    wait = FIRST_WAIT
    while True:
        try:
            return work()
        except PeeweeException as error:
            database.raise_interruption(error)
            if db.in_transaction() or not database.is_passing(error) or time.monotonic() + wait > deadline:
                raise
            log.warning("%s Trying again in %.0f s.", database.explained(error), wait)
        database.drop_connection()
        time.sleep(wait * uniform(0.5, 1))  # not all at once when it is back
        wait = min(2 * wait, LONGEST_WAIT)
