"""The memory of the web workers, before and after very many different questions.

    python bench/load/memory.py [--requests 100000] [--users 20] [--most-seconds 3600] [--url mysql://...]

Rankings, charts, details and windows with random parameters, hardly two of them the same, so that whatever remembers
answers has to forget. What counts is the most that a worker ever had.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import islice
from pathlib import Path
from time import monotonic

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.load.client import Sample, users  # noqa: E402
from bench.load.questions import Places, places, random_questions, rankings  # noqa: E402
from bench.load.serving import (  # noqa: E402
    Server,
    parser,
    peak_megabytes,
    print_table,
    resident_megabytes,
    say,
    service,
    surroundings,
    verdict,
    verdict_on_errors,
    warm,
)

BAR_MB = 150
ROUNDS = 10
HEADINGS = ("requests", "requests/s", "p50 ms", "p95 ms", "MB of each worker", "most MB", "errors")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--requests", type=int, default=100_000)
    options.add_argument("--users", type=int, default=20)
    options.add_argument("--most-seconds", type=float, default=3600, help="to give up after")
    given = options.parse_args()
    with surroundings(given, given.users) as settings, service(settings) as server:
        known, workers = places(), server.workers
        warm(server, rankings()[:1])
        rows, samples = [_row(0, Sample(), server)], []
        until = monotonic() + given.most_seconds
        for number in range(ROUNDS):
            sample = _round(server, known, number, given.users, given.requests // ROUNDS, until - monotonic())
            samples.append(sample)
            rows.append(_row(sum(len(one.times) for one in samples), sample, server))
            say(f"{rows[-1][0]:,} of {given.requests:,} requests")
        print_table(HEADINGS, rows)
        verdict("a worker's memory at its most", [max(map(peak_megabytes, server.workers))], BAR_MB, " MB")
        if server.workers != workers:
            print("Workers were started again meanwhile: WEB_MAX_REQUESTS is too low for this.")
        verdict_on_errors(samples)


def _round(server: Server, known: Places, number: int, count: int, requests: int, seconds: float) -> Sample:
    """`requests` by `count` users, unless the time is over before."""
    wishes = [
        islice(random_questions(known, number * count + user), requests // count + (user < requests % count))
        for user in range(count)
    ]
    return asyncio.run(users(server.address, wishes, max(seconds, 0)))


def _row(requests: int, sample: Sample, server: Server) -> tuple[object, ...]:
    workers = server.workers
    now = " ".join(f"{resident_megabytes(pid):.0f}" for pid in workers)
    most = max(map(peak_megabytes, workers))
    times = (sample.milliseconds(percent) for percent in (50, 95))
    return (requests, sample.rate, *times, now, most, sum(sample.errors.values()))


if __name__ == "__main__":
    main()
