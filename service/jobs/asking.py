"""The public sources as settings say to ask them: at their rates, under one name, and no host that has given up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from service.config import Settings
from service.errors import Silent, Unanswered
from service.feeds.sources import Ask, Sources

GIVEN_UP_AFTER: Final = 3  # questions in a row that a host did not answer: the others of the round are not asked
STILL_ASKED: Final = 12
FIRST_PAUSE_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 60.0
LIVE_PATIENCE_SECONDS: Final = 10.0  # a slot is short, and there may be another source
HOSTS: Final = 4  # as many times the rate of one goes out in all


@contextmanager
def asking(settings: Settings, *, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[Ask]:
    """What gives the body of an address. A source that wants to be left alone for longer than `patience_seconds` is
    not waited for."""
    from service.feeds.http_client import HttpClient  # loads slowly, and most commands never ask

    rate = settings.feed_requests_per_second
    with HttpClient(
        contact=settings.feed_contact,
        per_second=rate,
        total_per_second=HOSTS * rate,
        first_pause_seconds=FIRST_PAUSE_SECONDS,
        patience_seconds=patience_seconds,
    ) as client:
        yield lambda url: client.get(url).body


def sources(settings: Settings, ask: Ask) -> Sources:
    """The sources at the addresses of `settings`, asked with `ask`."""
    return Sources(
        ask,
        themeparks_wiki_url=settings.themeparks_wiki_url,
        queue_times_url=settings.queue_times_url,
        open_meteo_url=settings.open_meteo_url,
    )


class Round:
    """One round of questions: a host that was silent at GIVEN_UP_AFTER of them in a row is not asked any more; one that
    has answered before at STILL_ASKED, for some parks may be all that it has trouble with, and be asked side by side.

    Of the `doubted` hosts, given up on before, one question has to be answered before any other is asked.
    """

    def __init__(self, ask: Ask, doubted: Collection[str] = ()) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._silent: Counter[str] = Counter()
        self._said: dict[str, str] = {}
        self._doubted = set(doubted)
        self._answers: set[str] = set()  # hosts

    @property
    def given_up_on(self) -> frozenset[str]:
        """The hosts that are not asked any more, or have not answered since they were doubted."""
        with self._lock:
            return frozenset(self._doubted.union(filter(self._is_given_up, self._silent)))

    def _is_given_up(self, host: str) -> bool:
        return self._silent[host] >= (STILL_ASKED if host in self._answers else GIVEN_UP_AFTER)

    def ask(self, url: str) -> bytes:
        """The body of an address. Raises Unanswered, and at once for a host that was given up on."""
        host = urlsplit(url).netloc
        with self._lock:
            if self._is_given_up(host):
                raise Silent(self._said.get(host, f"{urlsplit(url).hostname} did not answer before."))
            if host in self._doubted:
                self._silent[host] = GIVEN_UP_AFTER  # until this one is answered
        try:
            body = self._ask(url)
        except Silent as error:
            with self._lock:
                self._silent[host] += 1
                self._said[host] = str(error)
            raise
        except Unanswered:
            self._has_answered(host)  # that it has no answer
            raise
        self._has_answered(host)
        return body

    def _has_answered(self, host: str) -> None:
        with self._lock:
            self._silent[host] = 0
            self._doubted.discard(host)
            self._answers.add(host)
