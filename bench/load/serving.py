"""What the load tests share beside the client: servers of their own, what these take of the machine, and tables."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from statistics import median
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from bench import production
from bench.load import bare
from bench.load.client import Address, Answer, Broken, Sample, Visitor, allow_open_files, users
from bench.timing import print_yardstick
from cli.serve import configuration
from service import database
from service.config import Settings
from service.periods import iso_utc

ROOT = Path(__file__).parents[2]
FILES = 1024  # of this process, beside the connections
START_SECONDS = 30
STOP_SECONDS = 20  # a little more than the graceful time-out of gunicorn.conf.py
WARM_SECONDS = 120
WARM_USERS = 20  # enough connections that each worker has some

# Ends the server when the process that started it is killed: `read` fails once the other end of the pipe is gone.
WATCHER = 'read -r line || kill -TERM "$1"'
NOT_OURS = {"Date", "Server", "Connection", "Content-Length", "Transfer-Encoding"}  # written by the server
_missed: list[str] = []  # bars

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


# --- the start of every load test ------------------------------------------------------------------------------------


def parser(description: str | None) -> argparse.ArgumentParser:
    """With the options that all have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--url", help="a database filled by bench/production.py")
    made.add_argument("--days", type=int, default=production.DAYS, help="to fill a database of its own with")
    return made


@contextlib.contextmanager
def surroundings(arguments: argparse.Namespace, connections: int = 0) -> Iterator[Settings]:
    """The database, open, between lines that tell how busy the machine is. Ends the program with 1 for a missed bar."""
    end_orderly()
    allow_open_files(connections + FILES)
    with production.opened(arguments.url, arguments.days) as settings:
        print_load()
        print_yardstick()
        yield settings
        print_load()
        print_yardstick()
    if _missed:
        raise SystemExit(1)


def end_orderly() -> None:
    """On SIGTERM end this program as on Ctrl-C: through all that it has to end."""

    def end(number: int, frame: object) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    sys.excepthook = _say_why


def _say_why(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if kind is KeyboardInterrupt:
        say("stopped")
    else:
        sys.__excepthook__(kind, error, trace)


# --- servers ---------------------------------------------------------------------------------------------------------


class Server:
    """A master and its workers on a port of this machine; ended with the context.

    In `command`, `{port}` stands for a free one, unless the `port` is given. Ends the program when it does not start.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], port: int | None = None) -> None:
        self._log = tempfile.NamedTemporaryFile(suffix=".log")
        port = port or free_port()
        self.address: Address = ("127.0.0.1", port)
        # Its own session, so that Ctrl-C reaches this program first, which then stops it.
        self._process = subprocess.Popen(
            [word.replace("{port}", str(port)) for word in command],
            cwd=ROOT,
            env=os.environ | {"HOST": self.address[0]} | environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCHER, "watcher", str(self._process.pid)], stdin=subprocess.PIPE, start_new_session=True
        )

    def __enter__(self) -> Server:
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, *, at_once: bool = False) -> None:
        """End it, gracefully if it can be; `at_once` as a machine ends that loses its power. What ended, stays so."""
        if self._log.closed:
            return
        self._process.terminate()
        try:
            self._process.wait(0 if at_once else STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._watcher.communicate(b"done\n")
        self._log.close()

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return Path(self._log.name).read_text(errors="replace")

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers."""
        pid = self._process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @property
    def cpu(self) -> float:
        """Seconds of CPU that its workers took so far."""
        return sum(map(cpu_seconds, self.workers))

    def _wait(self) -> None:
        """Until it answers."""
        opener = build_opener(ProxyHandler({}))
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                opener.open("http://%s:%d/" % self.address, timeout=5).close()
                return
            except HTTPError as error:  # an answer
                error.close()
                return
            except (OSError, HTTPException):
                time.sleep(0.05)
        raise SystemExit(f"The server did not start:\n{self.log[-2000:]}")


def service(settings: Settings, now: datetime = production.NOW, *, tick: bool = False) -> Server:
    """`cli serve` over the database of `settings`, at `now`."""
    environment = {
        "DATABASE_URL": settings.database_url,
        "REPLAY_NOW": iso_utc(now),
        "REPLAY_TICK": str(int(tick)),
        "SLOW_QUERY_MS": "1000",
    }
    return Server([sys.executable, "-m", "cli", "serve", "--port={port}"], environment)


@contextlib.contextmanager
def bare_twin(settings: Settings, of: Server, targets: Iterable[str]) -> Iterator[Server]:
    """A bare bottle application under the same gunicorn, with the very answers that `of` gives to `targets`."""
    answers = asyncio.run(_fetched(of.address, targets))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({target: _kept(answer) for target, answer in answers.items()}, file)
        file.flush()
        module = f"{bare.__name__}:{bare.application.__name__}()"
        options = ["--config", str(configuration()), "--bind=127.0.0.1:{port}"]
        command = [sys.executable, "-m", "gunicorn", *options, module]
        environment = {"DATABASE_URL": settings.database_url, bare.VARIABLE: file.name}
        with Server(command, environment) as server:
            yield server


async def _fetched(address: Address, targets: Iterable[str]) -> dict[str, Answer]:
    visitor = Visitor(address)
    try:
        found = {target: await visitor.ask(target) for target in targets}
    except (OSError, Broken) as error:
        raise SystemExit(f"no answer: {error}") from None
    finally:
        visitor.close()
    for target, answer in found.items():
        if answer.status != 200:
            raise SystemExit(f"{answer.status} for {target}: {answer.body[:200]!r}")
    return found


def _kept(answer: Answer) -> dict[str, object]:
    lines = (line.split(": ", 1) for line in answer.head.decode("latin-1").split("\r\n")[1:] if line)
    headers = [(name, value) for name, value in lines if name.title() not in NOT_OURS]
    return {"headers": headers, "body": b64encode(answer.body).decode()}


def warm(server: Server, targets: Sequence[str]) -> None:
    """Let every worker answer each of `targets` once, so that what it remembers is there."""
    sample = asyncio.run(users(server.address, [iter(targets) for _ in range(WARM_USERS)], WARM_SECONDS))
    if sample.errors:
        raise SystemExit(f"while warming up: {described(sample.errors)}\n{server.log[-2000:]}")
    if len(sample.times) < WARM_USERS * len(targets):
        say(f"still cold: {len(sample.times)} of {WARM_USERS * len(targets)} answers in {WARM_SECONDS} s")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- what the machine tells ------------------------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, in its own code and in the kernel's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_megabytes(pid: int) -> float:
    """Memory of a process now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20


def peak_megabytes(pid: int) -> float:
    """The most it ever had."""
    found = re.search(r"^VmHWM:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 2**10


def database_pid() -> int | None:
    """The process id of the database server; None for SQLite, and for a server of another machine or user."""
    if not database.is_mysql():
        return None
    folder, name = database.db.execute_sql("SELECT @@datadir, @@pid_file").fetchone()
    try:
        pid = int((Path(folder) / name).read_text())
        command = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if command in ("mariadbd", "mysqld") else None


def slow_queries(log: str) -> list[tuple[float, str]]:
    """The slow queries in a server's log, the slowest first: milliseconds, and what else the log says of it."""
    found = re.findall(r"slow query, ([0-9.]+) ms[,:] (.*)", log)
    return sorted(((float(taken), told) for taken, told in found), reverse=True)


# --- tables ----------------------------------------------------------------------------------------------------------


def say(line: str) -> None:
    """Progress, beside the results."""
    print(line, file=sys.stderr, flush=True)


def print_load() -> None:
    """How many processes want the cores, over the last minutes."""
    one, five, fifteen = os.getloadavg()
    print(f"load average {one:.1f} {five:.1f} {fifteen:.1f} on {os.cpu_count()} cores")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """The first column to the left, the numbers to the right."""
    lines = [list(headings), *([_shown(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = [value.rjust(width) for value, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip(), flush=True)


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value != value:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def described(errors: dict[Any, int]) -> str:
    """How many of which kind."""
    return ", ".join(f"{number:,} x {kind}" for kind, number in sorted(errors.items(), key=lambda one: -one[1])) or "0"


def verdict(name: str, values: Iterable[float], bar: float, unit: str, *, least: bool = False) -> None:
    """Print the median of the rounds beside its bar, which is the most allowed, or the `least`."""
    found = list(values)
    middle = median(found) if found else float("nan")
    holds = middle >= bar if least else middle <= bar
    if not holds:
        _missed.append(name)
    allowed = f"{'at least' if least else 'at most'} {bar:,g}{unit}"
    several = f" (median of {len(found)})" if len(found) > 1 else ""
    print(f"{name}: {_shown(middle)}{unit}{several}, bar {allowed}{'' if holds else '  MISSED'}", flush=True)


def verdict_on_errors(samples: Iterable[Sample]) -> None:
    """Print the errors of all rounds beside their bar, which is none."""
    errors: dict[Any, int] = {}
    for sample in samples:
        for kind, number in sample.errors.items():
            errors[kind] = errors.get(kind, 0) + number
    if errors:
        _missed.append("errors")
    print(f"errors: {described(errors)}, bar 0{'  MISSED' if errors else ''}", flush=True)
