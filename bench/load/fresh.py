"""How long it takes from a stored slot until every process of the server gives it, and nothing older any more.

    python bench/load/fresh.py [--slots 5] [--seconds 16] [--connections 20] [--url mysql://user:password@host/database]

All rankings were asked for lately, so that all of them are made anew. The connections, enough for each process to have
some, ask for one of them every 50 ms. A process of its own stores the next slot of the simulated world every --seconds,
and takes them all back in the end; half of that time the connections look for it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.load.client import Answer, Broken, Sample, Visitor  # noqa: E402
from bench.load.mixed import MOST_MINUTES, Slots  # noqa: E402
from bench.load.questions import rankings  # noqa: E402
from bench.load.serving import (  # noqa: E402
    Server,
    parser,
    print_table,
    service,
    surroundings,
    verdict,
    verdict_on_errors,
    warm,
)
from service.periods import instant  # noqa: E402

BAR_SECONDS = 5
ASKED_SECONDS = 0.05
TODAY = "/api/parks/downtime?period=today&filter=all-parks"
HEADINGS = ("slot", "readings", "stored in s", "first new s", "all new s", "answers", "errors")


class Told(Slots):
    """That says at once what it stored."""

    def __enter__(self) -> Told:
        return self

    def wait(self) -> dict[str, Any]:
        """Until the next slot is stored."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("no slot was stored")
        told: dict[str, Any] = json.loads(line)
        return told


class Slot(NamedTuple):
    """What storing it took; seconds until a connection got it first, and until no one got anything else."""

    stored: dict[str, Any]
    first: float
    all: float  # infinity when they still differed, or gave the old one, in the end
    sample: Sample


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--slots", type=int, default=5)
    options.add_argument("--seconds", type=float, default=16, help="between two slots")
    options.add_argument("--connections", type=int, default=20)
    given = options.parse_args()
    if not 1 <= given.slots <= MOST_MINUTES:
        options.error(f"--slots: from 1 to {MOST_MINUTES}")
    with surroundings(given, given.connections) as settings, Told(settings, given.slots, given.seconds) as feed:
        now = instant(feed.ready()[-1]) + timedelta(seconds=1)
        with service(settings, now, tick=True) as server:
            warm(server, rankings())
            feed.start()
            _print(asyncio.run(_slots(server, feed, given)))


async def _slots(server: Server, feed: Told, given: Any) -> list[Slot]:
    visitors = [Visitor(server.address) for _ in range(given.connections)]
    try:
        return [await _slot(visitors, feed, given.seconds / 2) for _ in range(given.slots)]
    finally:
        for visitor in visitors:
            visitor.close()


async def _slot(visitors: Sequence[Visitor], feed: Told, seconds: float) -> Slot:
    """Ask for `seconds` from the moment on when the next slot is stored."""
    before = {(await visitor.ask(TODAY)).body for visitor in visitors}
    stored = await asyncio.to_thread(feed.wait)
    began, sample = perf_counter(), Sample()
    got = await asyncio.gather(*(_answers(visitor, began + seconds, sample) for visitor in visitors))
    sample.seconds = perf_counter() - began
    last = {answers[-1].body for answers in got if answers}
    arrived = [_since(answers, last - before) for answers in got]
    is_one = len(last) == 1 and not last & before
    first, latest = (min(arrived) - began, max(arrived) - began) if is_one else (float("inf"), float("inf"))
    return Slot(stored, first, latest, sample)


async def _answers(visitor: Visitor, until: float, sample: Sample) -> list[Answer]:
    """All good ones; the others are errors of the sample."""
    found = []
    while perf_counter() < until:
        began = perf_counter()
        try:
            answer = await visitor.ask(TODAY)
        except (OSError, Broken) as error:
            sample.errors[type(error).__name__] += 1
        else:
            if answer.status == 200:
                sample.times.append((TODAY, answer.at - began))
                found.append(answer)
            else:
                sample.errors[f"status {answer.status}"] += 1
        await asyncio.sleep(ASKED_SECONDS)
    return found


def _since(answers: Sequence[Answer], bodies: set[bytes]) -> float:
    """When the first of those came after which nothing else did; infinity when something else was the last."""
    at = float("inf")
    for answer in reversed(answers):
        if answer.body not in bodies:
            break
        at = answer.at
    return at


def _print(slots: Sequence[Slot]) -> None:
    print_table(HEADINGS, (_row(number, one) for number, one in enumerate(slots, 1)))
    verdict("a stored slot, until every process gives it", (one.all for one in slots), BAR_SECONDS, " s")
    verdict_on_errors(one.sample for one in slots)


def _row(number: int, slot: Slot) -> tuple[object, ...]:
    stored, errors = slot.stored, sum(slot.sample.errors.values())
    return (str(number), stored["readings"], stored["seconds"], slot.first, slot.all, len(slot.sample.times), errors)


if __name__ == "__main__":
    main()
