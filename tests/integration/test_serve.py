"""`cli serve`: what it refuses, what it starts, and that the server starts and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from click.testing import CliRunner, Result

from cli import main
from service.config import Settings
from service.models import ServiceState

MALFORMED = [  # what is no request for the service, and gunicorn's answer
    (b"nonsense\r\n\r\n", 400, "Bad Request"),
    (b"GET / HTTP/9.9\r\n\r\n", 400, "Bad Request"),
    (b"GET /<b> HTTP/1.1\r\nBad Name: x\r\n\r\n", 400, "Bad Request"),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "URI Too Long"),
    (b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n", 431, "Request Header Fields Too Large"),
]
ROOT = Path(__file__).resolve().parents[2]
serve_module = sys.modules["cli.serve"]


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines that would have replaced this process."""
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: seen.append(arguments))
    return seen


def serve(settings: Settings, *arguments: str, **environ: str) -> Result:
    environ = {"DATABASE_URL": settings.database_url, "HOST": "", "PORT": "", **environ}
    return CliRunner().invoke(main, ["serve", *arguments], env=environ)


@pytest.mark.parametrize(("arguments", "environ", "address"), [
    ([], {}, "127.0.0.1:8000"),
    ([], {"HOST": "0.0.0.0", "PORT": "8080"}, "0.0.0.0:8080"),
    (["--host", "localhost", "--port", "9000"], {"HOST": "0.0.0.0", "PORT": "8080"}, "localhost:9000"),
    (["--host", "::1"], {}, "[::1]:8000"),
])
def test_gunicorn_is_started_at_the_address_asked_for(
    database: Any, settings: Settings, executed: list[list[str]],
    arguments: list[str], environ: dict[str, str], address: str,
) -> None:
    result = serve(settings, *arguments, **environ)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"http://{address}" in result.stderr
    configuration = str(ROOT / "gunicorn.conf.py")
    assert executed == [[
        sys.executable, "-m", "gunicorn", "--config", configuration, "--bind", address, "service.web.app:application()",
    ]]


def test_database_that_is_not_migrated_is_refused(blank: Settings, executed: list[list[str]]) -> None:
    result = serve(blank)
    assert (result.exit_code, executed) == (3, [])
    assert "run `cli migrate`" in result.stderr and result.stderr.count("\n") == 1


def test_readings_of_another_interval_are_refused(
    database: Any, settings: Settings, executed: list[list[str]]
) -> None:
    ServiceState.insert({ServiceState.name: "snapshot_interval_minutes", ServiceState.value: 15}).execute()
    result = serve(settings)
    assert (result.exit_code, executed) == (3, [])
    assert "SNAPSHOT_INTERVAL_MINUTES=15" in result.stderr
    serve(settings, SNAPSHOT_INTERVAL_MINUTES="15")
    assert len(executed) == 1


def test_database_that_is_gone_is_refused(executed: list[list[str]]) -> None:
    result = serve(Settings(database_url="mysql://root:secretpassword@127.0.0.1:9/x"))
    assert (result.exit_code, executed) == (3, [])
    assert "cannot be reached" in result.stderr and "secretpassword" not in result.output


@pytest.mark.parametrize("arguments", [
    ["--port", "0"], ["--port", "65536"], ["--port", "x"], ["--host", ""], ["--host", " "], ["extra"],
])
def test_bad_arguments_are_refused(
    database: Any, settings: Settings, executed: list[list[str]], arguments: list[str]
) -> None:
    assert (serve(settings, *arguments).exit_code, executed) == (2, [])


def test_installed_package_finds_its_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(serve_module.service, "__file__", str(tmp_path / "site-packages" / "service" / "__init__.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(Exception, match="install the package again"):
        serve_module.configuration()
    shipped = tmp_path / "share" / "theme-park-hall-of-shame" / "gunicorn.conf.py"
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    assert serve_module.configuration() == shipped


@contextmanager
def started(settings: Settings, **environ: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running server and its port; ended whatever happened."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    of_service = {"DATABASE_URL": settings.database_url, "REPLAY_NOW": "2025-05-18T15:00:00Z"}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve", "--port", str(port)],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **of_service, **environ},
    )
    try:
        yield process, port
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def server(settings: Settings) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with started(settings) as found:
        yield found


def test_server_answers_until_it_is_told_to_stop(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server
    body = answer(f"http://127.0.0.1:{port}/api/parks/downtime?period=today", process)
    assert body["span"]["end"] == "2025-05-18T15:00:00Z"
    for said, status, reason in MALFORMED:
        head, _, body = exchange(port, said).partition(b"\r\n\r\n")
        first, *headers = head.decode().split("\r\n")
        assert first == f"HTTP/1.1 {status} {reason}"
        assert "Content-Type: application/json" in headers and f"Content-Length: {len(body)}" in headers
        refusal = json.loads(body)
        assert set(refusal) == {"error", "message"} and refusal["error"] == reason and refusal["message"]
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said


HALF_A_BODY = (
    b"POST /api/audit/run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x", HALF_A_BODY], ids=["half a head", "half a body"])
def test_a_client_that_stops_sending_holds_no_thread_for_good(
    settings: Settings, database: Any, said: bytes
) -> None:
    with started(settings, WEB_CONCURRENCY="1", WEB_THREADS="1", WEB_SOCKET_TIMEOUT="1") as (process, port):
        answer(f"http://127.0.0.1:{port}/", process)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as silent:
            silent.sendall(said)
            time.sleep(0.3)  # it has the only thread
            answer(f"http://127.0.0.1:{port}/", process)
            silent.recv(65536)  # cut off, or refused


def test_a_client_that_does_not_read_holds_no_thread_for_good(settings: Settings, database: Any) -> None:
    with started(settings, WEB_CONCURRENCY="1", WEB_THREADS="1", WEB_SOCKET_TIMEOUT="1") as (process, port):
        answer(f"http://127.0.0.1:{port}/", process)
        asked = b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400  # some 40 MB
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", port))
            deaf.sendall(asked)
            time.sleep(0.5)
            answer(f"http://127.0.0.1:{port}/", process)


def exchange(port: int, said: bytes) -> bytes:
    """All that the server answers to these bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(said)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def answer(url: str, process: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urlopen(url, timeout=5) as response:
                return json.load(response)
        except URLError:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
            time.sleep(0.05)
