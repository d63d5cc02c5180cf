"""Warm rankings for some users, in turn with a bare bottle application that returns the same bytes.

    python bench/load/users.py [--users 20] [--seconds 10] [--rounds 5] [--url mysql://user:password@host/database]

Both run under gunicorn with the project's settings. The users ask again as soon as they are answered, for every ranking
of every period. Requests a second of both are compared round by round, so that a slow moment of the machine meets both;
beside them stands the CPU that the server's workers took for one request, which says the same where the cores are
shared with this client. That is one process, `busy` when it works or waits for a core: near 100 % it is the client, or
the machine's other work, that is measured.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.load.client import Sample, users  # noqa: E402
from bench.load.questions import rankings  # noqa: E402
from bench.load.serving import (  # noqa: E402
    Server,
    bare_twin,
    parser,
    print_table,
    service,
    surroundings,
    verdict,
    verdict_on_errors,
    warm,
)

P95_BAR_MS = 20
RATIO_BAR = 0.8
HEADINGS = (
    "", "requests/s", "p50 ms", "p95 ms", "p99 ms", "KB each", "server CPU us", "client CPU %", "busy %", "errors"
)  # fmt: skip


class Round(NamedTuple):
    """A load, and the seconds of CPU that the server took for it."""

    sample: Sample
    server_cpu: float

    @property
    def microseconds(self) -> float:
        """CPU of the server for one request."""
        return self.server_cpu / max(len(self.sample.times), 1) * 1e6


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--users", type=int, default=20)
    options.add_argument("--seconds", type=float, default=10, help="of each round")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with surroundings(given, given.users) as settings, service(settings) as served:
        targets = rankings()
        warm(served, targets)
        with bare_twin(settings, served, targets) as bare:
            rounds: list[tuple[Round, Round]] = []
            for _ in range(given.rounds):
                one, other = (
                    _round(server, targets, given.users, given.seconds) for server in (served, bare)
                )
                rounds.append((one, other))
        _print(rounds)


def _round(server: Server, targets: list[str], count: int, seconds: float) -> Round:
    started = server.cpu
    sample = asyncio.run(users(server.address, list(_wishes(targets, count)), seconds))
    return Round(sample, server.cpu - started)


def _wishes(targets: list[str], count: int) -> Iterator[Iterator[str]]:
    """Each user goes through all of them, and begins elsewhere."""
    for number in range(count):
        yield islice(cycle(targets), number * len(targets) // count, None)


def _print(rounds: list[tuple[Round, Round]]) -> None:
    names = ("service", "bare bottle")
    print_table(HEADINGS, (_row(name, one) for both in rounds for name, one in zip(names, both, strict=True)))
    verdict("p95 of the service", (one.sample.milliseconds(95) for one, _ in rounds), P95_BAR_MS, " ms")
    ratios = [one.sample.rate / other.sample.rate for one, other in rounds if other.sample.times]
    verdict("requests/s, service to bare bottle", ratios, RATIO_BAR, "", least=True)
    costs = median(other.microseconds / one.microseconds for one, other in rounds if one.microseconds)
    print(f"requests for a second of the server's CPU, service to bare bottle: {costs:.2f}")
    verdict_on_errors(one.sample for both in rounds for one in both)


def _row(name: str, one: Round) -> tuple[object, ...]:
    sample = one.sample
    each = sample.bytes_received / max(len(sample.times), 1) / 1024
    times = (sample.milliseconds(percent) for percent in (50, 95, 99))
    client = (sample.client_share * 100, sample.client_busy * 100)
    errors = sum(sample.errors.values())
    return (name, sample.rate, *times, each, one.microseconds, *client, errors)


if __name__ == "__main__":
    main()
