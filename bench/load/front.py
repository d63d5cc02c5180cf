"""Warm rankings for some users through nginx, over several services, in turn with one of the services asked directly.

    python bench/load/front.py [--services 2] [--users 20] [--seconds 10] [--rounds 3] [--url mysql://user:password@...]

nginx runs with docs/nginx.conf, in a folder of its own. `kept` are the answers that it gave without asking a service,
or while it asked one for the next; the CPU is that of a request, whoever answered it: of nginx, and of all services.

Then one service is killed in the middle of a round of questions of which hardly two are the same, so that nearly all
reach a service (a line tells how often nginx met the dead one); and in the last round all are dead, and nginx has
nothing but what it keeps.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.load.client import Sample, users  # noqa: E402
from bench.load.questions import places, random_questions, rankings  # noqa: E402
from bench.load.serving import (  # noqa: E402
    ROOT,
    Server,
    described,
    free_port,
    parser,
    print_table,
    service,
    surroundings,
    verdict_on_errors,
    warm,
)

EXAMPLE = ROOT / "docs" / "nginx.conf"
PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/nginx/sbin", "/opt/homebrew/bin")  # not on every user's PATH
# In nginx's log: a service that does not take a request, or does not answer it.
MET_DEAD = re.compile("while (connecting to|sending request to|reading response header from) upstream")
KEPT = ("HIT", "STALE", "UPDATING")  # what nginx calls answers for which it made nobody wait
HEADINGS = (
    "", "requests/s", "p50 ms", "p95 ms", "p99 ms", "kept %", "nginx CPU us", "services CPU us", "client busy %",
    "errors",
)  # fmt: skip

# What docs/nginx.conf leaves to the machine; relative paths lie in the folder. {log} gets a word for each request.
MACHINE = """
worker_processes auto;
error_log stderr;
pid nginx.pid;
events {{ worker_connections 4096; }}
http {{
    log_format outcome $upstream_cache_status;
    access_log {log} outcome;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include {part};
}}
"""


class Front(NamedTuple):
    """nginx, the file in which it tells of each answer where it came from, and the services behind it."""

    nginx: Server
    outcomes: Path
    services: list[Server]

    def cpu(self) -> tuple[float, float]:
        """Seconds so far, of nginx and of all services; NaN when one of these is dead."""
        try:
            return self.nginx.cpu, sum(one.cpu for one in self.services)
        except FileNotFoundError:
            return self.nginx.cpu, float("nan")


class Round(NamedTuple):
    """A load; seconds of CPU that it took; how nginx came by its answers, empty when it was not asked."""

    sample: Sample
    nginx_cpu: float
    services_cpu: float
    outcomes: Counter[str]

    def microseconds(self, cpu: float) -> float:
        """For one request."""
        return cpu / max(len(self.sample.times), 1) * 1e6

    @property
    def kept_percent(self) -> float:
        """NaN when nginx was not asked."""
        asked = self.outcomes.total()
        return sum(self.outcomes[one] for one in KEPT) / asked * 100 if asked else float("nan")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--services", type=int, default=2, help="at least two")
    options.add_argument("--users", type=int, default=20)
    options.add_argument("--seconds", type=float, default=10, help="of each round")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    if given.services < 2:
        options.error("--services: at least 2, for one is killed")
    nginx = _find_nginx()
    with surroundings(given, given.users) as settings, ExitStack() as stack:
        services = [stack.enter_context(service(settings)) for _ in range(given.services)]
        front = stack.enter_context(_front(nginx, services))
        targets = rankings()
        for server in (*services, front.nginx):
            warm(server, targets)
        ask = partial(_round, front, seconds=given.seconds)
        rounds = [
            (ask(services[0], _warm(targets, given.users)), ask(front.nginx, _warm(targets, given.users)))
            for _ in range(given.rounds)
        ]
        known = places()
        different = [random_questions(known, user) for user in range(given.users)]
        one_dies = ask(front.nginx, different, halfway=lambda: services[-1].stop(at_once=True))
        met = len(MET_DEAD.findall(front.nginx.log))
        for server in services:
            server.stop(at_once=True)
        all_dead = ask(front.nginx, _warm(targets, given.users))
        _print(rounds, one_dies, all_dead)
        print(f"one service dies: nginx turned to another one {met:,} times")
        verdict_on_errors([one.sample for both in rounds for one in both] + [one_dies.sample, all_dead.sample])


def _find_nginx() -> str:
    """The program. Ends this one where it is not installed."""
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))
    if found is None:
        raise SystemExit("nginx is not installed: install the package nginx-light (Debian, Ubuntu) or nginx (others).")
    return found


@contextmanager
def _front(nginx: str, services: Sequence[Server]) -> Iterator[Front]:
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o711)  # started by root, nginx answers as another user
        part, outcomes = folder / "part.conf", folder / "outcomes.log"
        part.write_text(_example(port, services, folder / "kept"))
        whole = folder / "nginx.conf"
        whole.write_text(MACHINE.format(log=outcomes, part=part))
        command = [nginx, "-p", f"{folder}/", "-c", str(whole), "-g", "daemon off;"]
        with Server(command, {}, port) as server:
            yield Front(server, outcomes, list(services))


def _example(port: int, services: Sequence[Server], kept: Path) -> str:
    """docs/nginx.conf with the addresses and the folder of this machine."""
    text = EXAMPLE.read_text()
    for found, ours in (
        (r"^    server 127\.0\.0\.1:8000;", "".join("server %s:%d; " % one.address for one in services)),
        (r"/var/cache/nginx-hall-of-shame", str(kept)),
        (r"^    listen 80;", f"listen 127.0.0.1:{port};"),
    ):
        text, times = re.subn(found, ours, text, flags=re.MULTILINE)
        if times != 1:
            raise SystemExit(f"{EXAMPLE}: {found} is in it {times} times")
    return text


def _warm(targets: Sequence[str], count: int) -> list[Iterator[str]]:
    """Each user goes through all of them, and begins elsewhere."""
    return [islice(cycle(targets), number * len(targets) // count, None) for number in range(count)]


def _round(
    front: Front,
    asked: Server,
    wishes: Sequence[Iterator[str]],
    *,
    seconds: float,
    halfway: Callable[[], None] | None = None,
) -> Round:
    before, told = front.cpu(), _outcomes(front)
    sample = asyncio.run(_load(asked, wishes, seconds, halfway))
    after = front.cpu()
    return Round(sample, after[0] - before[0], after[1] - before[1], _outcomes(front) - told)


async def _load(
    asked: Server, wishes: Sequence[Iterator[str]], seconds: float, halfway: Callable[[], None] | None
) -> Sample:
    if halfway:
        asyncio.get_running_loop().call_later(seconds / 2, halfway)
    return await users(asked.address, wishes, seconds)


def _outcomes(front: Front) -> Counter[str]:
    return Counter(front.outcomes.read_text().split())


def _print(rounds: Sequence[tuple[Round, Round]], one_dies: Round, all_dead: Round) -> None:
    names = ("one service", "through nginx")
    rows = [_row(name, one) for both in rounds for name, one in zip(names, both, strict=True)]
    print_table(HEADINGS, [*rows, _row("one service dies", one_dies), _row("all are dead", all_dead)])
    through: Counter[str] = sum((one.outcomes for _, one in rounds), Counter())
    for name, outcomes in (
        ("through nginx", through), ("one service dies", one_dies.outcomes), ("all are dead", all_dead.outcomes)
    ):  # fmt: skip
        print(f"answers {name}: {described(outcomes)}")
    rates = median(other.sample.rate / one.sample.rate for one, other in rounds if one.sample.times)
    costs = [median(one.microseconds(one.services_cpu) for one in column) for column in zip(*rounds, strict=True)]
    print(f"requests/s, through nginx to one service: {rates:.2f}")
    print(f"CPU of the services for one request: {costs[0]:.0f} us directly, {costs[1]:.1f} us through nginx")


def _row(name: str, one: Round) -> tuple[object, ...]:
    sample = one.sample
    times = (sample.milliseconds(percent) for percent in (50, 95, 99))
    costs = (one.microseconds(cpu) for cpu in (one.nginx_cpu, one.services_cpu))
    errors = sum(sample.errors.values())
    return (name, sample.rate, *times, one.kept_percent, *costs, sample.client_busy * 100, errors)


if __name__ == "__main__":
    main()
