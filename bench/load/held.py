"""Thousands of held connections, each asking for a warm ranking every few seconds.

    python bench/load/held.py [--connections 10000] [--seconds 60] [--every 10] [--rounds 1] [--bare] [--url ...]

Times count from when a request was due by the clock; the column `late` tells how much of that was this client, which
shares the cores with the server. --bare asks a bare bottle application that returns the same bytes instead.
--conditional sends the ETag of the answer before, as browsers do.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.load.client import Sample, held, percentile  # noqa: E402
from bench.load.questions import rankings  # noqa: E402
from bench.load.serving import (  # noqa: E402
    Server,
    bare_twin,
    parser,
    print_table,
    resident_megabytes,
    service,
    surroundings,
    verdict,
    verdict_on_errors,
    warm,
)

MEAN_BAR_MS = 1000
HEADINGS = (
    "answers", "requests/s", "mean ms", "p50 ms", "p95 ms", "p99 ms", "late p95 ms", "client busy %", "server MB",
    "errors",
)  # fmt: skip


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--connections", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--every", type=float, default=10, help="seconds between two requests of a connection")
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--bare", action="store_true", help="a bare bottle application in the service's place")
    options.add_argument("--conditional", action="store_true", help="send the ETag of the answer before")
    given = options.parse_args()
    with surroundings(given, given.connections) as settings, ExitStack() as stack:
        server = stack.enter_context(service(settings))
        targets = rankings()
        if given.bare:
            server = stack.enter_context(bare_twin(settings, server, targets))
        warm(server, targets)
        asked = list(islice(cycle(targets), given.connections))
        rounds = []
        for _ in range(given.rounds):
            load = held(server.address, asked, given.seconds, given.every, remembers=given.conditional)
            rounds.append(asyncio.run(load))
        print_table(HEADINGS, (_row(one, server) for one in rounds))
        print(f"{given.connections:,} connections, each asking every {given.every:g} s for {given.seconds:g} s")
        verdict("mean", (one.mean_milliseconds for one in rounds), MEAN_BAR_MS, " ms")
        verdict_on_errors(rounds)


def _row(sample: Sample, server: Server) -> tuple[object, ...]:
    times = (sample.milliseconds(percent) for percent in (50, 95, 99))
    memory = sum(map(resident_megabytes, server.workers))
    return (
        len(sample.times), sample.rate, sample.mean_milliseconds, *times, percentile(sample.late, 95),
        sample.client_busy * 100, memory, sum(sample.errors.values()),
    )  # fmt: skip


if __name__ == "__main__":
    main()
