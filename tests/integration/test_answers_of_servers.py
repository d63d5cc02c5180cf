"""The answer cache of real servers: without their database, under a stampede, and when a slot comes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import NamedTuple

import pytest
from mariadb import PrivateMariaDB

from service import schema
from service import database as door
from service.config import Settings
from service.feeds.simulation import World
from service.jobs import daily, yearly
from service.jobs.collect import Collector
from service.jobs.demo import build_demo

NOW = datetime.now(UTC).replace(hour=20, minute=0, second=0, microsecond=0) - timedelta(days=1)
TODAY = "/api/parks/downtime?period=today"
PRIMED = (
    TODAY, "/api/rides/downtime?period=last_week", "/api/live/status-summary", "/api/trends/chart-data?type=parks"
)
UNKNOWN = "/api/parks/downtime?period=today&limit=7"
DURABLE = ("--innodb-flush-log-at-trx-commit=1", "--innodb-doublewrite=1")
PATIENCE_SECONDS = 60  # for what takes moments, on a machine that has other work too
ENOUGH = 30  # requests, each on a new connection, so that both workers surely got some


class Answer(NamedTuple):
    status: int
    how: str | None
    warning: str | None
    body: bytes


class Server:
    """gunicorn with two workers on a loopback port."""

    def __init__(self, settings: Settings, **environ: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve", "--port", str(self.port)],
            env={
                **os.environ, "DATABASE_URL": settings.database_url, "SNAPSHOT_INTERVAL_MINUTES": "30",
                "REPLAY_NOW": NOW.isoformat(), "REPLAY_TICK": "1", "HOST": "127.0.0.1", **environ,
            },
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        self.log: list[str] = []
        self._reading = threading.Thread(target=lambda: self.log.extend(self.process.stderr or ()), daemon=True)
        self._reading.start()
        eventually(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None
        try:
            return self.get("/").status == 200
        except OSError:
            return False

    def get(self, url: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", url)
            response = connection.getresponse()
            said = re.search(r"desc=(\w+)", response.getheader("Server-Timing") or "")
            how = said[1] if said else None
            return Answer(response.status, how, response.getheader("Warning"), response.read())
        finally:
            connection.close()

    def get_often(self, url: str) -> list[Answer]:
        """From every worker."""
        return [self.get(url) for _ in range(ENOUGH)]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        self._reading.join(PATIENCE_SECONDS)  # its last lines may still be on their way


def eventually(happened: Callable[[], bool]) -> None:
    """Wait for it; how long it takes is for bench/load to say."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"not in {PATIENCE_SECONDS} s"
        time.sleep(0.05)


@contextmanager
def serving(settings: Settings, **environ: str) -> Iterator[Server]:
    server = Server(settings, **environ)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def mariadb_of_its_own(mariadb: PrivateMariaDB) -> Iterator[tuple[PrivateMariaDB, Settings]]:
    """A server that survives being killed, with a simulated fortnight. Without the tests' one there is none either."""
    with PrivateMariaDB(*DURABLE) as server:
        settings = Settings(database_url=server.url(server.create_database("served")))
        fill(settings)
        yield server, settings


def fill(settings: Settings) -> None:
    door.open_database(settings, time_limit=False)
    schema.upgrade(settings)
    build_demo(World(3, 1, "small"), 15, interval_minutes=30, now=NOW, progress=lambda done, total: None)
    daily.aggregate(NOW)
    yearly.refresh_years(NOW)
    door.close()


def test_what_was_answered_is_answered_while_the_database_is_stopped_and_started(
    mariadb_of_its_own: tuple[PrivateMariaDB, Settings]
) -> None:
    database, settings = mariadb_of_its_own
    with serving(settings) as server, ThreadPoolExecutor(8) as people:
        for url in PRIMED:
            assert {answer.status for answer in server.get_often(url)} == {200}
        ends, seen, forsaken = threading.Event(), Counter[int](), set[str]()

        def ask(number: int) -> None:
            url = PRIMED[number % len(PRIMED)]
            while not ends.is_set():
                answer = server.get(url)
                seen[answer.status] += 1
                if answer.how == "stale" and (answer.warning or "").startswith("110 "):
                    forsaken.add(url)
                time.sleep(0.01)

        asking = [people.submit(ask, number) for number in range(8)]
        try:
            eventually(lambda: seen.total() > ENOUGH)
            database.kill()
            eventually(lambda: forsaken == set(PRIMED))
            refused = server.get_often(UNKNOWN)
            database.start_again(PATIENCE_SECONDS)
            eventually(lambda: recovered(server.get(UNKNOWN)))
            eventually(lambda: all(answer.how in ("hit", "miss") for url in PRIMED for answer in server.get_often(url)))
        finally:
            ends.set()
        for one in asking:
            one.result()
    assert seen.keys() == {200}
    assert {answer.status for answer in refused} == {503}
    assert all(is_error(answer) for answer in refused)


def recovered(answer: Answer) -> bool:
    """Whether it is an answer again. Until then it is the same refusal."""
    assert answer.status == 200 or (answer.status == 503 and is_error(answer))
    return answer.status == 200


def is_error(answer: Answer) -> bool:
    said = json.loads(answer.body)
    return said.keys() == {"success", "error"} and said["success"] is False and isinstance(said["error"], str)


def test_a_stampede_runs_its_query_once_in_each_process(mariadb_of_its_own: tuple[PrivateMariaDB, Settings]) -> None:
    _, settings = mariadb_of_its_own
    with serving(settings, SQL_ECHO="1") as server, ThreadPoolExecutor(200) as people:
        server.get("/api/search/index")
        gate = threading.Barrier(200)

        def ask() -> Answer:
            gate.wait()
            return server.get("/api/rides/downtime?period=last_month&limit=77")

        answers = [one.result() for one in [people.submit(ask) for _ in range(200)]]
    assert {answer.status for answer in answers} == {200} and len({answer.body for answer in answers}) == 1
    looked = [line for line in server.log if "asked by /api/rides/downtime" in line and "daily_stats" in line]
    made = Counter(re.sub(r".*?asked by", "", line) for line in looked)
    assert made and max(made.values()) <= 2  # a statement of the answer, once in each of two processes


def test_every_process_serves_a_new_slot_and_never_the_old_one_again(
    mariadb_of_its_own: tuple[PrivateMariaDB, Settings]
) -> None:
    _, settings = mariadb_of_its_own
    later = NOW + timedelta(minutes=30)
    with serving(settings, REPLAY_NOW=later.isoformat()) as server:
        before = {answer.body for answer in server.get_often(TODAY)}
        assert len(before) == 1
        door.open_database(settings, time_limit=False)
        Collector(Settings(snapshot_interval_minutes=30)).collect(later)
        door.close()
        eventually(lambda: not before & {answer.body for answer in server.get_often(TODAY)})
        after = server.get_often(TODAY)
    assert {answer.status for answer in after} == {200}
    assert len({answer.body for answer in after}) == 1 and not before & {answer.body for answer in after}
