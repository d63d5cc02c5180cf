"""A burst of requests at once, each on a new connection: how long until all are answered.

    python bench/load/burst.py [--requests 1000] [--rounds 7] [--cold] [--url mysql://user:password@host/database]

All ask for rankings, which are warm but for the first round of --cold: that one comes before anything was asked.
The client's own work of opening the connections is in the time.
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.load.client import Sample, burst  # noqa: E402
from bench.load.questions import rankings  # noqa: E402
from bench.load.serving import (  # noqa: E402
    parser,
    print_table,
    service,
    surroundings,
    verdict,
    verdict_on_errors,
    warm,
)

BAR_SECONDS = 2
BETWEEN_SECONDS = 1  # for the server to see that the connections are gone
HEADINGS = ("", "all answered s", "p50 ms", "p95 ms", "client CPU s", "errors")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--requests", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--cold", action="store_true", help="another round first, with nothing remembered")
    given = options.parse_args()
    with surroundings(given, given.requests) as settings, service(settings) as server:
        targets = rankings()
        asked = list(islice(cycle(targets), given.requests))
        cold = [asyncio.run(burst(server.address, asked))] if given.cold else []
        warm(server, targets)
        rounds = []
        for _ in range(given.rounds):
            time.sleep(BETWEEN_SECONDS)
            rounds.append(asyncio.run(burst(server.address, asked)))
        print_table(HEADINGS, [*(_row("cold", one) for one in cold), *(_row("warm", one) for one in rounds)])
        verdict(f"{given.requests:,} requests at once", (one.seconds for one in rounds), BAR_SECONDS, " s")
        verdict_on_errors([*cold, *rounds])


def _row(name: str, sample: Sample) -> tuple[object, ...]:
    times = (sample.milliseconds(percent) for percent in (50, 95))
    return (name, sample.seconds, *times, sample.client_cpu, sum(sample.errors.values()))


if __name__ == "__main__":
    main()
