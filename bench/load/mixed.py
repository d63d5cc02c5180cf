"""Users who ask all kinds of things, while a new slot is stored every minute.

    python bench/load/mixed.py [--users 50] [--minutes 5] [--minute 60] [--pause 0] [--url mysql://...]

Rankings, charts, details, the live view, the search index and a few windows, in the shares of questions.KINDS. The
users ask again as soon as they are answered, or about --pause seconds later. A process of its own stores the next slot
of the simulated world in the middle of each minute (--minute makes it shorter, to try it), and takes them all back in
the end. The server's clock runs, and has all those slots behind it from the start.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.load import slots  # noqa: E402
from bench.load.client import Sample, percentile, users  # noqa: E402
from bench.load.questions import Places, common, kind_of, mixed, places  # noqa: E402
from bench.load.serving import (  # noqa: E402
    Server,
    cpu_seconds,
    database_pid,
    described,
    parser,
    print_table,
    service,
    slow_queries,
    surroundings,
    verdict,
    verdict_on_errors,
    warm,
)
from service.config import Settings  # noqa: E402
from service.periods import instant  # noqa: E402

P95_BAR_MS = 100
DATABASE_BAR_PERCENT = 70
MOST_MINUTES = 20  # the slots of more would not all be within the two hours that the live view looks back
STOP_SECONDS = 60
HEADINGS = (
    "minute", "requests/s", "p50 ms", "p95 ms", "p99 ms", "longest ms", "database CPU %", "server CPU %",
    "client busy %", "errors",
)  # fmt: skip


class Minute(NamedTuple):
    """A load of a minute; percent of a core that the database (None where it cannot be seen) and the server took."""

    sample: Sample
    database: float | None
    server: float


class Slots:
    """The process that stores them."""

    def __init__(self, settings: Settings, number: int, seconds: float) -> None:
        command = [sys.executable, slots.__file__, "--url", settings.database_url]
        self._process = subprocess.Popen(
            [*command, f"--count={number}", f"--seconds={seconds}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # it ends with its input, so that it can take back what it stored
        )

    def __enter__(self) -> Slots:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ready(self) -> list[int]:
        """Wait until it has simulated them: the slots, in epoch seconds."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("no slots to store")
        found: list[int] = json.loads(line)["slots"]
        return found

    def start(self) -> None:
        """Store the first one half a minute from now."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def stop(self) -> list[dict[str, Any]]:
        """Take all back; what storing each took. A second call gives nothing."""
        if self._process.returncode is not None:
            return []
        told, _ = self._process.communicate(timeout=STOP_SECONDS)
        return [json.loads(line) for line in told.splitlines()]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--users", type=int, default=50)
    options.add_argument("--minutes", type=int, default=5)
    options.add_argument("--minute", type=float, default=60, help="its seconds")
    options.add_argument("--pause", type=float, default=0, help="seconds between an answer and the next request")
    options.add_argument("--conditional", action="store_true", help="send the ETag of the answer before")
    given = options.parse_args()
    if not 1 <= given.minutes <= MOST_MINUTES:
        options.error(f"--minutes: from 1 to {MOST_MINUTES}")
    with surroundings(given, given.users) as settings, Slots(settings, given.minutes, given.minute) as feed:
        known = places()
        now = instant(feed.ready()[-1]) + timedelta(seconds=1)
        with service(settings, now, tick=True) as server:
            warm(server, common(known))
            feed.start()
            pid = database_pid()
            minutes = [_minute(server, known, number, given, pid) for number in range(given.minutes)]
            _print(minutes, feed.stop(), server.log)


def _minute(server: Server, known: Places, number: int, given: Any, pid: int | None) -> Minute:
    wishes = [mixed(known, number * given.users + user) for user in range(given.users)]
    before, began = (cpu_seconds(pid) if pid else 0.0, server.cpu), perf_counter()
    load = users(server.address, wishes, given.minute, pause=given.pause, remembers=given.conditional)
    sample = asyncio.run(load)
    in_database, in_server = (cpu_seconds(pid) if pid else 0.0) - before[0], server.cpu - before[1]
    seconds = perf_counter() - began
    return Minute(sample, in_database / seconds * 100 if pid else None, in_server / seconds * 100)


def _print(minutes: Sequence[Minute], stored: Sequence[dict[str, Any]], log: str) -> None:
    print_table(HEADINGS, (_row(number, one) for number, one in enumerate(minutes, 1)))
    print()
    groups: dict[str, list[float]] = {}
    for one in minutes:
        for kind, seconds in one.sample.by(kind_of).items():
            groups.setdefault(kind, []).extend(seconds)
    by_slowest = sorted(groups.items(), key=lambda item: -percentile(item[1], 95))
    print_table(("question", "answers", "p50 ms", "p95 ms", "longest ms"), (_of(*item) for item in by_slowest))
    print()
    for slot in stored:
        print(f"a slot of {slot['readings']:,} readings stored in {slot['seconds']:.2f} s")
    _print_verdicts(minutes, slow_queries(log))


def _print_verdicts(minutes: Sequence[Minute], slow: Sequence[tuple[float, str]]) -> None:
    verdict("p95", (one.sample.milliseconds(95) for one in minutes), P95_BAR_MS, " ms")
    shares = [one.database for one in minutes if one.database is not None]
    if shares:
        verdict("database CPU, of a core", shares, DATABASE_BAR_PERCENT, " %")
    else:
        print("database CPU: not a MariaDB or MySQL whose process is to be seen here")
    print(f"queries over a second: {len(slow)}, bar 0{'  MISSED' if slow else ''}")
    for milliseconds, told in slow[:1]:
        print(f"  the slowest, {milliseconds:,.0f} ms: {told[:300]}")
    verdict_on_errors(one.sample for one in minutes)


def _row(number: int, minute: Minute) -> tuple[object, ...]:
    sample = minute.sample
    times = (sample.milliseconds(percent) for percent in (50, 95, 99, 100))
    shares = ("-" if minute.database is None else minute.database, minute.server, sample.client_busy * 100)
    return (str(number), sample.rate, *times, *shares, described(sample.errors))


def _of(kind: str, seconds: Sequence[float]) -> tuple[object, ...]:
    return (kind, len(seconds), *(percentile(seconds, percent) for percent in (50, 95, 100)))


if __name__ == "__main__":
    main()
