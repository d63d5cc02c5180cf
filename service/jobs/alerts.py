"""Tells a webhook when a job begins to fail, and when it is well again: once each."""

from __future__ import annotations

import logging
from datetime import datetime

from peewee import PeeweeException

from service import VERSION
from service.jobs.marks import set_state
from service.periods import epoch, iso_utc
from service.queries import state

SECONDS = 10.0
FAILED, RECOVERED = "failed", "recovered"

log = logging.getLogger(__name__)


class Alerts:
    """Posts to `url`, or to nobody. What it has told outlives the process: it is in the database too."""

    def __init__(self, url: str | None) -> None:
        self.url = url
        self._told: dict[str, bool] = {}
        self._unstored: set[str] = set()  # told while the database was away

    def failed(self, job: str, period: str | None, error: str, at: datetime) -> None:
        """Tell that `job` fails, unless that was told."""
        if self.url and not self._knows(job) and self._post(FAILED, job, period, error, at):
            self._remember(job, at)

    def recovered(self, job: str, at: datetime) -> None:
        """Tell that `job` is well again, if its failure was told."""
        if self.url and self._knows(job) and self._post(RECOVERED, job, None, None, at):
            self._remember(job, None)

    def forget(self) -> None:
        """Look into the database again: another process may have told meanwhile."""
        self._told = {job: told for job, told in self._told.items() if told and job in self._unstored}

    def _knows(self, job: str) -> bool:
        if job not in self._told:
            try:
                self._told[job] = bool(state.get_state(_name(job)))
            except PeeweeException:  # it is what has failed
                return False
        return self._told[job]

    def _remember(self, job: str, since: datetime | None) -> None:
        self._told[job] = since is not None
        try:
            set_state(_name(job), epoch(since) if since else 0)
            self._unstored.discard(job)
        except PeeweeException:
            self._unstored.add(job)
            log.debug("the alert on %s could not be remembered", job, exc_info=True)

    def _post(self, event: str, job: str, period: str | None, error: str | None, at: datetime) -> bool:
        # Here, because no other command needs it, and each would wait for it.
        import httpx2

        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it says every address, and this one is a secret
        body = {"event": event, "job": job, "period": period, "error": error, "at": iso_utc(at)}
        try:
            agent = f"theme-park-hall-of-shame/{VERSION}"
            httpx2.post(self.url or "", json=body, timeout=SECONDS, headers={"User-Agent": agent}).raise_for_status()
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as problem:
            # Not the message, which may hold the URL, which is a secret of most receivers.
            log.warning("ALERT_WEBHOOK_URL did not take word of %s %s: %s.", job, event, type(problem).__name__)
            return False
        return True


def _name(job: str) -> str:
    return f"alerted:{job}"
