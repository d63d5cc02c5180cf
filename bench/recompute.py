"""How long `cli recompute` takes at production size: 80 parks, 3,500 rides, a million readings a day on MariaDB.

    python bench/recompute.py [--days 7] [--rounds 3] [--url mysql://user:password@host/database] [--profile]

Starts a MariaDB of its own in a temporary folder and fills it with these days, those before them that rosters look
back to, and the running one (or takes the database of --url, filled by bench/production.py). Each round is, in turn:
the very command in a process of its own, for its whole time and its peak memory; the same days in this process, for
the time of each and where it goes; and the SELECTs of these, with their values, through pymysql alone.

The first day counts the six before it for its rosters; every further day takes one new one. So 90 days are reckoned as
the first, 89 times the mean of the others, and what the command takes beside its days. The bars hold on a quiet
machine of two cores: the first line and the last tell, counting the readings of a day takes 95 to 110 ms when nothing
else runs.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.production import NOW, opened  # noqa: E402
from bench.timing import print_yardstick, watched  # noqa: E402
from service import database, rules  # noqa: E402
from service.config import Settings  # noqa: E402
from service.jobs import daily  # noqa: E402
from service.periods import iso_utc  # noqa: E402
from service.queries.days import first_whole_day  # noqa: E402

MANY_DAYS, MANY_DAYS_BAR_SECONDS = 90, 240
MEMORY_BAR_MB = 200
RATIO_BAR = 2.5
BEFORE = rules.ROSTER_DAYS  # the other days of the first roster, and one that shares local days with the oldest
PROFILED_LINES = 40

# Between this process and the command: a child begins with the peak memory of its parent, and this one fills databases.
LAUNCHER = (
    "import resource, subprocess, sys;"
    "code = subprocess.call(sys.argv[1:]);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr);"
    "sys.exit(code)"
)

Statement = tuple[str, Any]


class Command(NamedTuple):
    """A run of the command: its seconds from start to end, and its peak memory."""

    seconds: float
    megabytes: float


class Run(NamedTuple):
    """The same days in this process: seconds of each, and of them all in SELECTs and in statements that write."""

    days: dict[date, float]
    selects: float
    writes: float
    statements: list[Statement]  # the SELECTs, with their values

    @property
    def seconds(self) -> float:
        """All days."""
        return sum(self.days.values())

    @property
    def many_days(self) -> float:
        """Seconds of MANY_DAYS such days."""
        first, *others = self.days.values()
        return first + (MANY_DAYS - 1) * mean(others)


class Round(NamedTuple):
    """What is compared: the command, the days in this process, and seconds of their SELECTs by hand."""

    command: Command
    run: Run
    by_hand: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=7, help="how many days to recompute, two at least")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="a database filled by bench/production.py")
    parser.add_argument("--profile", action="store_true", help="also print where Python's time goes, by function")
    arguments = parser.parse_args()
    if arguments.days < 2:
        parser.error("--days: the first day says nothing of further ones")
    with opened(arguments.url, arguments.days + BEFORE + 1) as settings:
        days = daily.days_to_recompute(NOW, None, None, arguments.days)
        _ensure_rosters(days)
        print_yardstick()
        _print([_round(settings, days) for _ in range(arguments.rounds)])
        print_yardstick()
        if arguments.profile:
            _profile(days)


def _ensure_rosters(days: list[date]) -> None:
    """End the program where the oldest of the days would find less before it than it does in production."""
    held = first_whole_day()
    if held is None or held > min(days) - timedelta(days=BEFORE):
        raise SystemExit(f"{len(days)} days need the readings of {BEFORE} more: fewer --days, or another --url.")


def _round(settings: Settings, days: list[date]) -> Round:
    command = _command(settings, len(days))
    run = _run(days)
    return Round(command, run, _by_hand(run.statements))


def _command(settings: Settings, days: int) -> Command:
    """`cli recompute` in a process of its own. Ends the program unless it computed every day."""
    command = [sys.executable, "-m", "cli", "recompute", "--days", str(days), "--json"]
    environment = os.environ | {"DATABASE_URL": settings.database_url, "REPLAY_NOW": iso_utc(NOW)}
    started = perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    seconds = perf_counter() - started
    if done.returncode or len(json.loads(done.stdout)["days"]) != days:
        raise SystemExit(done.stderr)
    peak = int(done.stderr.split()[-1])
    return Command(seconds, peak / (2**20 if sys.platform == "darwin" else 2**10))


def _run(days: list[date]) -> Run:
    """The same days in this process. Ends the program unless every day was computed."""
    taken: dict[date, float] = {}
    with watched() as events:
        began = perf_counter()

        def step(_: daily.Computation, day: date) -> None:
            nonlocal began
            taken[day] = perf_counter() - began
            began = perf_counter()

        done = daily.recompute(days, NOW, rules.METRICS_VERSION, progress=step)
    if not done.is_whole:
        raise SystemExit(f"{done.refused} {done.failed}")
    selects = [event for event in events if event.sql.startswith("SELECT")]
    in_selects = sum(event.duration for event in selects)
    in_writes = sum(event.duration for event in events) - in_selects
    return Run(taken, in_selects, in_writes, [(event.sql, event.params) for event in selects])


def _by_hand(statements: list[Statement]) -> float:
    cursor = database.db.connection().cursor()
    started = perf_counter()
    for sql, values in statements:
        cursor.execute(sql, values)
        cursor.fetchall()
    return perf_counter() - started


def _profile(days: list[date]) -> None:
    profile = cProfile.Profile()
    profile.runcall(daily.recompute, days, NOW, rules.METRICS_VERSION)
    pstats.Stats(profile).sort_stats("tottime").print_stats(PROFILED_LINES)


# --- the figures -----------------------------------------------------------------------------------------------------


def _print(rounds: list[Round]) -> None:
    print("seconds of each day, newest first, in this process")
    for day in rounds[0].run.days:
        print(f"  {day} {_spread([one.run.days[day] for one in rounds])}")
    statements = rounds[0].run.statements
    repeated = len(statements) - len({repr(statement) for statement in statements})
    print(f"\nall days, seconds; {len(statements):,} SELECTs, {repeated:,} of which were sent before")
    print(f"  in this process  {_spread([one.run.seconds for one in rounds])}")
    print(f"    in SELECTs     {_spread([one.run.selects for one in rounds])}")
    print(f"    writing rows   {_spread([one.run.writes for one in rounds])}")
    print(f"    else in Python {_spread([one.run.seconds - one.run.selects - one.run.writes for one in rounds])}")
    print(f"  the command      {_spread([one.command.seconds for one in rounds])}")
    print(f"  SELECTs by hand  {_spread([one.by_hand for one in rounds])}\n")
    _judge("in this process to SELECTs by hand", [one.run.seconds / one.by_hand for one in rounds], RATIO_BAR, "")
    _judge("the command to SELECTs by hand", [one.command.seconds / one.by_hand for one in rounds], RATIO_BAR, "")
    _judge(f"{MANY_DAYS} days", [_many_days(one) for one in rounds], MANY_DAYS_BAR_SECONDS, " s")
    _judge("peak memory", [one.command.megabytes for one in rounds], MEMORY_BAR_MB, " MB")


def _many_days(one: Round) -> float:
    """Seconds of the command for MANY_DAYS."""
    return one.run.many_days + max(one.command.seconds - one.run.seconds, 0)


def _spread(values: list[float]) -> str:
    return f"{median(values):8.2f}   ({min(values):.2f} to {max(values):.2f})"


def _judge(what: str, values: list[float], bar: float, unit: str) -> None:
    verdict = "below" if median(values) <= bar else "ABOVE"
    figures = f"{median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})"
    print(f"{what}: {figures}, {verdict} the bar of {bar}{unit}")


if __name__ == "__main__":
    main()
