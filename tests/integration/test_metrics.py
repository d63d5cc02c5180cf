"""/metrics: what is counted and by how many processes, what the database adds, and where it is answered."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from click.testing import CliRunner
from processes import ROOT, until
from prometheus_client.parser import text_string_to_metric_families
from wsgi_client import Client

from cli import main
from service import clock
from service import database as door
from service.config import Settings
from service.models import AggregationJobLog, JobStatus, ServiceState
from service.monitoring import metrics
from service.periods import epoch
from service.web import app as web

DOCUMENT = ROOT / "docs" / "metrics.md"
NOW = datetime(2025, 5, 18, 15, tzinfo=UTC)
R = TypeVar("R")
on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


class Scrape:
    """The samples of an answer: `value("requests_total", endpoint="/")`, None where there is none."""

    def __init__(self, text: bytes) -> None:
        families = text_string_to_metric_families(text.decode())
        self.samples = [sample for family in families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        found = [one.value for one in self.samples if one.name == f"hall_of_shame_{name}" and one.labels == labels]
        assert len(found) < 2, f"{name} is there twice"
        return found[0] if found else None

    def labels(self, name: str, label: str) -> set[str]:
        return {one.labels[label] for one in self.samples if one.name == f"hall_of_shame_{name}"}


def scrape(client: Client) -> Scrape:
    response = client.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(response.body)


@pytest.fixture(autouse=True)
def _off_again() -> Iterator[None]:
    yield
    metrics.start(Settings())


@pytest.fixture
def metered(database: Any, settings: Settings) -> Settings:
    clock.replay(NOW)
    return replace(settings, metrics_address="main")


# --- off, and where it is answered -----------------------------------------------------------------------------------


def test_nothing_is_imported_and_nothing_answered_by_default() -> None:
    program = """if True:
        import sys
        from wsgi_client import Client
        from service.config import Settings
        from service.monitoring import metrics
        from service.web.app import create_app, listen_for_metrics
        client = Client(create_app(Settings()))
        listen_for_metrics()
        metrics.answered("hit")
        assert client.get("/").status == 200
        assert client.get("/metrics").status == 404
        assert metrics.exposition() == b""
        sys.exit("prometheus_client" in sys.modules)
    """
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environ = {**os.environ, "PYTHONPATH": path, "METRICS_ADDRESS": ""}
    assert subprocess.run([sys.executable, "-c", program], env=environ, cwd=ROOT).returncode == 0


@on_sqlite
def test_main_address_answers_without_limit_beside_a_frontend(metered: Settings, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("page")
    client = Client(web.create_app(replace(metered, frontend_dir=tmp_path, api_rate_limit_per_hour=1)))
    assert [scrape(client).value("requests_in_progress") for _ in range(3)] == [0, 0, 0]
    assert client.request("POST", "/metrics").status == 405
    assert client.get("/metrics/").status == 404
    assert client.get("/index.html").body == b"page"
    assert scrape(client).labels("requests_total", "endpoint") == {"/<path>"}


@on_sqlite
def test_address_of_its_own_answers_nothing_else_and_the_main_one_nothing(metered: Settings) -> None:
    settings = replace(metered, metrics_address="127.0.0.1:9100")
    client = Client(web.create_app(settings))
    assert client.get("/metrics").status == 404
    own = Client(web._metrics_app())
    assert own.get("/api/health").status == 404
    assert scrape(own).value("requests_total", endpoint="unknown", status="404") == 1


# --- what is counted -------------------------------------------------------------------------------------------------


@on_sqlite
def test_requests_are_counted_by_endpoint_and_status(metered: Settings) -> None:
    client = Client(web.create_app(metered))
    for url in ("/", "/", "/api/parks/1/details", "/api/parks/2/details", "/api/parks/downtime?period=x", "/a", "/b"):
        client.get(url)
    found = scrape(client)
    for endpoint, status, count in (
        ("/", "200", 2),
        ("/api/parks/<park_id>/details", "404", 2),
        ("/api/parks/downtime", "400", 1),
        ("unknown", "404", 2),
    ):
        assert found.value("requests_total", endpoint=endpoint, status=status) == count
        assert found.value("request_duration_seconds_count", endpoint=endpoint) == count
    assert found.labels("requests_total", "endpoint") == {
        "/", "/api/parks/<park_id>/details", "/api/parks/downtime", "unknown"
    }
    bounds = sorted(map(float, found.labels("request_duration_seconds_bucket", "le")))
    assert (bounds[0], bounds[-2:]) == (0.001, [10, float("inf")])


@on_sqlite
def test_request_counts_while_its_body_is_read_and_once_when_it_failed(metered: Settings) -> None:
    web.create_app(metered)

    def failing(environ: Any, start: Any) -> Any:
        if environ["PATH_INFO"] == "/fails":
            raise ValueError
        start("200 OK", [("Content-Type", "text/plain")])
        return [str(Scrape(metrics.exposition()).value("requests_in_progress")).encode()]

    client = Client(metrics.metered(failing, lambda environ: environ["PATH_INFO"]))
    assert client.get("/runs").body == b"1.0"
    with pytest.raises(ValueError):
        client.get("/fails")
    found = Scrape(metrics.exposition())
    assert found.value("requests_in_progress") == 0
    assert found.value("requests_total", endpoint="/runs", status="200") == 1
    assert found.value("requests_total", endpoint="/fails", status="500") == 1


@on_sqlite
def test_answers_of_the_cache_begin_at_zero(metered: Settings) -> None:
    client = Client(web.create_app(metered))
    for how in ("hit", "hit", "miss"):
        metrics.answered(how)
    found = scrape(client)
    assert [found.value("cached_answers_total", outcome=how) for how in ("hit", "miss", "stale")] == [2, 1, 0]


def test_statements_are_counted_once_however_often_an_application_is_made(metered: Settings) -> None:
    for slow_ms, share in ((3_600_000, 0), (0, 1)):
        web.create_app(replace(metered, slow_query_ms=slow_ms))
        of_scrapes = counted_statements()
        for _ in range(3):
            ServiceState.select().count()
        assert counted_statements() == 2 * of_scrapes + 3
        assert Scrape(metrics.exposition()).value("slow_queries_total") == share * (3 * of_scrapes + 3)


def counted_statements() -> float:
    """So far, with those of this scrape."""
    return Scrape(metrics.exposition()).value("query_duration_seconds_count") or 0


@on_sqlite
def test_every_name_is_documented(metered: Settings) -> None:
    ServiceState.replace({ServiceState.name: "newest_slot", ServiceState.value: epoch(NOW)}).execute()
    told = re.findall("# TYPE (?:hall_of_shame_)?(.*) (?:counter|gauge|histogram)", scraped(metered))
    listed = re.findall(r"^\| `([a-z0-9_]+)` \| (?:counter|gauge|histogram)", DOCUMENT.read_text(), re.MULTILINE)
    assert sorted(name for name in told if not name.endswith("_created")) == sorted(listed)


def scraped(settings: Settings) -> str:
    return Client(web.create_app(settings)).get("/metrics").body.decode()


# --- what the database says ------------------------------------------------------------------------------------------


def job(kind: str, status: JobStatus, hours_ago: float) -> None:
    log, started = AggregationJobLog, NOW - timedelta(hours=hours_ago)
    log.insert({log.job_type: kind, log.status: status, log.started_at: started, log.owner: "test"}).execute()


def hours_ago(hours: float) -> float:
    return epoch(NOW) - hours * 3600


def test_empty_database_has_no_slot_and_no_job(metered: Settings) -> None:
    found = scrape(Client(web.create_app(metered)))
    assert found.value("database_reachable") == 1
    assert found.value("newest_slot_age_seconds") is None
    assert found.labels("job_failures_24h", "job") == set()


def test_slot_and_jobs_are_read_at_each_scrape(metered: Settings) -> None:
    job("collect", JobStatus.SUCCESS, 3)
    job("collect", JobStatus.FAILED, 2)
    job("collect", JobStatus.FAILED, 1)
    job("collect", JobStatus.SUCCESS, 0.5)
    job("aggregate", JobStatus.SUCCESS, 60)
    job("aggregate", JobStatus.FAILED, 50)
    job("prune", JobStatus.FAILED, 30)
    job("prune", JobStatus.FAILED, 6)
    client = Client(web.create_app(metered))
    for age in (600, 60):
        row = {ServiceState.name: "newest_slot", ServiceState.value: epoch(NOW) - age}
        ServiceState.replace(row).execute()
        assert scrape(client).value("newest_slot_age_seconds") == age
    found = scrape(client)
    for kind, success, failure, failures in (
        ("collect", hours_ago(0.5), hours_ago(1), 2),
        ("aggregate", hours_ago(60), hours_ago(50), 0),
        ("prune", None, hours_ago(6), 1),
    ):
        assert found.value("job_last_success_timestamp_seconds", job=kind) == success
        assert found.value("job_last_failure_timestamp_seconds", job=kind) == failure
        assert found.value("job_failures_24h", job=kind) == failures


def test_scrape_is_one_transaction_of_few_statements_and_keeps_no_connection(metered: Settings) -> None:
    job("collect", JobStatus.FAILED, 1)
    client = Client(web.create_app(metered))
    said: list[str] = []
    door.db.query_hooks.append(lambda event: said.append(event.sql))
    opened: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        reading = door.reading
        patch.setattr(door, "reading", lambda: (opened.append(1), reading())[1])
        scrape(client)
    assert (len(opened), len([sql for sql in said if sql.startswith("SELECT")])) == (1, 3)
    pool = getattr(door.db.obj, "_in_use", {})
    assert len(pool) <= 1  # this test's own


def test_database_that_is_away_takes_only_its_gauges_along() -> None:
    before = door.db.obj
    settings = Settings("mysql://nobody:secret@127.0.0.1:9/nothing", metrics_address="main")
    try:
        door.open_database(settings)
        client = Client(web.create_app(settings))
        client.get("/api/parks/downtime")
        found = scrape(client)
    finally:
        door.db.initialize(before)
    assert found.value("requests_total", endpoint="/api/parks/downtime", status="503") == 1
    assert found.value("database_reachable") == 0
    assert found.value("newest_slot_age_seconds") is None
    assert found.labels("job_failures_24h", "job") == set()


@on_sqlite
def test_database_that_hangs_is_asked_once_and_not_waited_for(
    metered: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, asked = threading.Event(), []
    answer = metrics._answer

    def hanging() -> Any:
        asked.append(1)
        goes_on.wait(30)
        return answer()

    client = Client(web.create_app(metered))
    monkeypatch.setattr(metrics, "_answer", hanging)
    monkeypatch.setattr(metrics, "DATABASE_SECONDS", 0.01)
    assert [scrape(client).value("database_reachable") for _ in range(3)] == [0, 0, 0]
    assert len(asked) == 1
    monkeypatch.setattr(metrics, "DATABASE_SECONDS", 30)
    goes_on.set()
    assert scrape(client).value("database_reachable") == 1
    assert len(asked) <= 2  # nothing has piled up


# --- several processes -----------------------------------------------------------------------------------------------


class Server(NamedTuple):
    """A running server with two workers, and the addresses of the API and of its metrics."""

    process: subprocess.Popen[bytes]
    api: str
    metrics: str
    log: Path

    def workers(self) -> list[int]:
        """The process ids of all workers that ever started."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log.read_text())]

    def status(self, path: str) -> int:
        try:
            with urlopen(self.api + path, timeout=10) as response:
                return int(response.status)
        except HTTPError as error:
            return error.code

    def scrape(self) -> Scrape:
        return patiently(self._scraped)

    def _scraped(self) -> Scrape | None:
        """None while nobody listens, or the worker that did is killed."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urlopen(self.metrics, timeout=10) as response:
                return Scrape(response.read())
        except (URLError, ConnectionError):
            return None


def patiently(found: Callable[[], R]) -> R:
    """As `until`, with pauses that leave the machine to the server."""
    return until(found, 0.05)


@contextmanager
def serving(settings: Settings, folder: Path, *, own: bool, **environ: str) -> Iterator[Server]:
    """`own`: the metrics have an address of their own. The server is gone afterwards."""
    port, other = free_port(), free_port()
    where = f"127.0.0.1:{other}" if own else "main"
    log = folder / "log"
    with log.open("w") as told, subprocess.Popen(
        [sys.executable, "-m", "gunicorn"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=told,
        stderr=told,
        env={
            **os.environ,
            "DATABASE_URL": settings.database_url,
            "PORT": str(port),
            "METRICS_ADDRESS": where,
            "WEB_CONCURRENCY": "2",
            **environ,
        },
    ) as process:
        try:
            server = Server(
                process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{other if own else port}/metrics", log
            )
            server.scrape()
            patiently(lambda: len(server.workers()) == 2)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()  # its workers see that, and end


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(server: Server, times: int) -> None:
    """Each over a connection of its own, so that both workers get some."""
    for _ in range(times):
        assert server.status("/") == 200
    assert server.status("/nowhere") == 404


@on_sqlite
def test_counts_of_all_workers_add_up_whatever_becomes_of_them(settings: Settings, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "counter_1.db").write_bytes(b"left by a run before")
    with serving(settings, tmp_path, own=True, PROMETHEUS_MULTIPROC_DIR=str(shared)) as server:
        assert server.status("/metrics") == 404  # asked of the main address
        ask(server, 40)
        assert totals(server) == (40, 40, 2)
        assert {f"counter_{pid}.db" for pid in server.workers()} <= {path.name for path in shared.iterdir()}

        with stuck_request(server):
            patiently(lambda: server.scrape().value("requests_in_progress") == 1)
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
            patiently(lambda: len(server.workers()) == 4)
            patiently(lambda: server.scrape().value("requests_in_progress") == 0)
        ask(server, 10)
        assert totals(server) == (50, 50, 3)
    assert shared.is_dir()


def totals(server: Server) -> tuple[float | None, ...]:
    """Requests for `/`, how many of them were timed, and requests for what is not there."""
    found = server.scrape()
    return (
        found.value("requests_total", endpoint="/", status="200"),
        found.value("request_duration_seconds_count", endpoint="/"),
        found.value("requests_total", endpoint="unknown", status="404"),
    )


@contextmanager
def stuck_request(server: Server) -> Iterator[None]:
    """A request that is being answered as long as its body does not come."""
    head = b"POST /api/audit/run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(server.api.rpartition(":")[2]))) as connection:
        connection.sendall(head)
        yield


@on_sqlite
def test_folder_is_made_for_the_server_and_goes_with_it(settings: Settings, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with serving(settings, tmp_path, own=False, TMPDIR=str(temporary), PROMETHEUS_MULTIPROC_DIR="") as server:
        ask(server, 10)
        assert totals(server) == (10, 10, 1)
        server.process.send_signal(signal.SIGHUP)
        patiently(lambda: server.log.read_text().count("Worker exiting") == 2)
        server.scrape()  # the old workers may be gone before the new ones listen
        ask(server, 10)
        assert totals(server) == (20, 20, 2)
        assert len(list(temporary.glob("hall-of-shame-metrics-*"))) == 1
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("address", ["on", "9100", "localhost:0"])
def test_what_is_no_address_is_refused(address: str) -> None:
    result = CliRunner().invoke(main, ["serve"], env={"METRICS_ADDRESS": address})
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"METRICS_ADDRESS='{address}' is no address: use main" in result.stderr


@on_sqlite
def test_address_that_cannot_be_had_is_refused(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refusal(settings, f"127.0.0.1:{port}", free_port())
        assert f"Cannot listen on 127.0.0.1:{port}: Address already in use. METRICS_ADDRESS" in said
    port = free_port()
    assert "has the port of the API" in refusal(settings, f"127.0.0.1:{port}", port)


def refusal(settings: Settings, address: str, port: int, **more: str) -> str:
    """What gunicorn says that does not start, in one sentence."""
    environ = {"DATABASE_URL": settings.database_url, "METRICS_ADDRESS": address, "PORT": str(port), **more}
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--log-level", "error"],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return done.stderr


@on_sqlite
def test_a_folder_with_somebodys_database_is_refused_and_left_alone(settings: Settings, tmp_path: Path) -> None:
    theirs = tmp_path / "var" / "hall_of_shame.db"
    theirs.parent.mkdir()
    theirs.write_bytes(b"readings of years")
    said = refusal(settings, "main", free_port(), PROMETHEUS_MULTIPROC_DIR=str(theirs.parent))
    assert "holds hall_of_shame.db, which is no counter" in said
    assert theirs.read_bytes() == b"readings of years"


@on_sqlite
def test_a_folder_that_cannot_be_made_is_refused(settings: Settings) -> None:
    assert "cannot be used" in refusal(settings, "main", free_port(), PROMETHEUS_MULTIPROC_DIR="/proc/nowhere")
