"""What users get while the database is away, and how soon all is as before when it returns.

    python bench/load/away.py [--users 20] [--rounds 3] [--seconds-away 5] [--days 2]

In each round the database is killed while the users ask for rankings that were answered before, stays away, and is
started again. Meanwhile somebody asks every 50 ms, on a new connection, for what nobody asked before: the details of a
ride, which are quick to make, so that it is the return that is measured. The database is always one of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, islice, takewhile
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.load.client import Address, Broken, Sample, Visitor, users  # noqa: E402
from bench.load.questions import places, rankings  # noqa: E402
from bench.load.serving import (  # noqa: E402
    Server,
    described,
    end_orderly,
    print_table,
    service,
    surroundings,
    verdict,
    verdict_on_errors,
    warm,
)
from service import database  # noqa: E402
from tests.mariadb import PrivateMariaDB  # noqa: E402

BAR_SECONDS = 2
PROBE_SECONDS = 0.05
BEFORE_SECONDS = 3
AFTER_SECONDS = 5
MOST_SECONDS = 300  # of a load that ends when something else has happened
# What was written outlives the process, though not the machine.
OPTIONS = ("--innodb-flush-log-at-trx-commit=2", "--innodb-doublewrite=1", "--innodb-log-file-size=1G")
REFUSAL = "503 in the contract's shape"
HEADINGS = (
    "round", "away s", "answers before", "while", "after", "p95 ms before", "while", "after", "new key refused",
    "first answer s", "last refusal s", "errors",
)  # fmt: skip


class Probe(NamedTuple):
    """What the new key got, whole at `at` of perf_counter."""

    at: float
    got: str


class Round(NamedTuple):
    """The loads before, while and after; what the new key got before the database was started again, and then, with 0
    s at its return."""

    loads: tuple[Sample, Sample, Sample]
    seconds_away: float  # with those of the start
    refused: Counter[str]
    returned: list[Probe]

    @property
    def first_answer(self) -> float:
        """Seconds; infinity without one."""
        return next((max(probe.at, 0.0) for probe in self.returned if probe.got == "200"), float("inf"))

    @property
    def last_refusal(self) -> float:
        """Seconds; 0 without one. The workers find out by themselves that the database is back."""
        return max([0.0, *(probe.at for probe in self.returned if probe.got != "200")])

    @property
    def wrong(self) -> Counter[str]:
        """What else than refusals while away, and than answers or refusals after."""
        after = Counter(probe.got for probe in self.returned if probe.got not in ("200", REFUSAL))
        return after + Counter({got: number for got, number in self.refused.items() if got != REFUSAL})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--users", type=int, default=20)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds-away", type=float, default=5)
    options.add_argument("--days", type=int, default=2, help="to fill the database with")
    given = options.parse_args()
    end_orderly()
    with PrivateMariaDB(*OPTIONS, buffer_pool="1G") as mariadb:
        given.url = mariadb.url(mariadb.create_database("bench"))
        with surroundings(given, given.users) as settings, service(settings) as server:
            rides = places().rides[:: len(places().rides) // given.rounds]
            database.close()  # before its server is killed
            warm(server, rankings())
            _print([
                asyncio.run(_round(server, mariadb, f"/api/rides/{ride}/details?period=today", given))
                for ride in rides[: given.rounds]
            ])


async def _round(server: Server, mariadb: PrivateMariaDB, unknown: str, given: argparse.Namespace) -> Round:
    before = await users(server.address, list(_wishes(given.users, lambda: False)), BEFORE_SECONDS)
    probes: list[Probe] = []
    marks: list[float] = []  # when the database was gone, when it was being started, when it was back

    def back() -> bool:
        return len(marks) == 3

    async def interrupt() -> None:
        await asyncio.to_thread(mariadb.kill)
        marks.append(perf_counter())
        await asyncio.sleep(given.seconds_away)
        marks.append(perf_counter())
        await asyncio.to_thread(mariadb.start_again)  # which polls until it answers
        marks.append(perf_counter())

    probing = asyncio.ensure_future(_probe(server.address, unknown, probes))
    try:
        load = users(server.address, list(_wishes(given.users, back)), MOST_SECONDS)
        meanwhile, _ = await asyncio.gather(load, interrupt())
        after = await users(server.address, list(_wishes(given.users, lambda: False)), AFTER_SECONDS)
    finally:
        probing.cancel()
    gone, starting, returned = marks
    away = Counter(probe.got for probe in probes if gone <= probe.at < starting)
    since = [Probe(probe.at - returned, probe.got) for probe in probes if probe.at >= starting]
    return Round((before, meanwhile, after), returned - gone, away, since)


def _wishes(count: int, is_over: Callable[[], bool]) -> Iterator[Iterator[str]]:
    """Each user goes through all rankings, and begins elsewhere."""
    targets = rankings()
    for number in range(count):
        yield takewhile(lambda _: not is_over(), islice(cycle(targets), number * len(targets) // count, None))


async def _probe(address: Address, target: str, probes: list[Probe]) -> None:
    """Ask until cancelled."""
    while True:
        due = perf_counter() + PROBE_SECONDS
        got = await _asked(address, target)
        probes.append(Probe(perf_counter(), got))
        await asyncio.sleep(due - perf_counter())


async def _asked(address: Address, target: str) -> str:
    """A good answer's status, REFUSAL, or what else came."""
    visitor = Visitor(address)
    try:
        answer = await visitor.ask(target)
    except (OSError, Broken) as error:
        return type(error).__name__
    finally:
        visitor.close()
    if answer.status == 503 and _is_error(answer.body):
        return REFUSAL
    return str(answer.status)


def _is_error(body: bytes) -> bool:
    try:
        said = json.loads(body)
    except ValueError:
        return False
    return isinstance(said, dict) and said.keys() == {"success", "error"} and said["success"] is False


def _print(rounds: list[Round]) -> None:
    print_table(HEADINGS, (_row(number, one) for number, one in enumerate(rounds, 1)))
    print(f"the new key while away: {described(sum((one.refused for one in rounds), Counter()))}")
    wrong = sum((one.wrong for one in rounds), Counter())
    print(f"the new key, other than answers and such refusals: {described(wrong)}, bar 0{'  MISSED' if wrong else ''}")
    verdict("the first answer to it after the return", (one.first_answer for one in rounds), BAR_SECONDS, " s")
    verdict("the last refusal after the return", (one.last_refusal for one in rounds), BAR_SECONDS, " s")
    verdict_on_errors(sample for one in rounds for sample in one.loads)


def _row(number: int, one: Round) -> tuple[object, ...]:
    answers = (len(sample.times) for sample in one.loads)
    times = (sample.milliseconds(95) for sample in one.loads)
    errors = sum(sum(sample.errors.values()) for sample in one.loads)
    refused = one.refused[REFUSAL]
    return (str(number), one.seconds_away, *answers, *times, refused, one.first_answer, one.last_refusal, errors)


if __name__ == "__main__":
    main()
