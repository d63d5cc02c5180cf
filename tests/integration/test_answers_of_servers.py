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
from collections.abc import Iterator
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
DURABLE = ("--innodb-flush-log-at-trx-commit=1", "--innodb-doublewrite=1")


class Answer(NamedTuple):
    status: int
    how: str | None
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
        threading.Thread(target=lambda: self.log.extend(self.process.stderr or ()), daemon=True).start()
        deadline = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            return self.get("/").status == 200
        except OSError:
            return False

    def get(self, url: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", url)
            response = connection.getresponse()
            said = re.search(r"desc=(\w+)", response.getheader("Server-Timing") or "")
            return Answer(response.status, said[1] if said else None, response.read())
        finally:
            connection.close()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


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
        for _ in range(40):  # both workers
            for url in PRIMED:
                assert server.get(url).status == 200
        ends, seen = threading.Event(), []

        def ask(number: int) -> None:
            while not ends.is_set():
                seen.append(server.get(PRIMED[number % len(PRIMED)]))
                time.sleep(0.01)

        asking = [people.submit(ask, number) for number in range(8)]
        time.sleep(1)
        database.kill()
        time.sleep(3)
        unknown = server.get("/api/parks/downtime?period=today&limit=7")
        database.start_again()
        returned = time.monotonic()
        while (again := server.get("/api/parks/downtime?period=today&limit=7")).status != 200:
            assert time.monotonic() < returned + 2
            time.sleep(0.05)
        time.sleep(2)
        ends.set()
        for one in asking:
            one.result()
        assert Counter(answer.status for answer in seen).keys() == {200}
        assert "stale" in {answer.how for answer in seen} and len(seen) > 200
        assert (unknown.status, json.loads(unknown.body)["success"]) == (503, False)
        assert again.status == 200
        time.sleep(1)
        assert {server.get(url).how for url in PRIMED * 4} <= {"hit", "miss"}


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


def test_every_process_serves_a_new_slot_within_five_seconds(
    mariadb_of_its_own: tuple[PrivateMariaDB, Settings]
) -> None:
    _, settings = mariadb_of_its_own
    later = NOW + timedelta(minutes=30)
    with serving(settings, REPLAY_NOW=later.isoformat()) as server:
        before = {server.get(TODAY).body for _ in range(30)}
        assert len(before) == 1
        door.open_database(settings, time_limit=False)
        Collector(30).collect(later)
        door.close()
        stored = time.monotonic()
        while server.get(TODAY).body in before and time.monotonic() < stored + 10:
            time.sleep(0.05)
        time.sleep(max(0.0, stored + 5 - time.monotonic()))
        after = {server.get(TODAY).body for _ in range(30)}
        assert not after & before
