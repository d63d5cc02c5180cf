"""A MariaDB server of our own for tests and benchmarks: private folder, socket and port, nothing durable."""
from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymysql  # type: ignore[import-untyped]

# Usual places that are not on every user's PATH.
PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/mysql/bin", "/opt/homebrew/bin", "/usr/local/bin")

# Nothing is kept, so nothing is forced to disk.
FAST = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-log-file-size=64M",
    "--sync-binlog=0",
    "--skip-log-bin",
    "--performance-schema=off",
)

# Ends the server and removes its folder when the process that owns it is killed: `read` fails once the other end of
# the pipe is gone. A line on the pipe says that all is done already.
WATCHER = 'read -r line || { kill -9 "$1"; rm -rf "$2"; }'


def find_mariadbd() -> str | None:
    """Path of the server program, or None where MariaDB is not installed."""
    return _find("mariadbd")


def _find(*names: str) -> str | None:
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PrivateMariaDB:
    """A running server; `with PrivateMariaDB() as server: server.url(server.create_database("x"))`.

    `options` are further arguments of mariadbd and win over the ones set here.
    Raises RuntimeError with the end of the server's log when it does not answer within `timeout` seconds.
    """

    def __init__(self, *options: str, buffer_pool: str = "256M", timeout: float = 30) -> None:
        program = find_mariadbd()
        installer = _find("mariadb-install-db", "mysql_install_db")
        if program is None or installer is None:
            raise RuntimeError("No mariadbd on this machine: install the package mariadb-server.")
        self._owner = os.getpid()
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        # /tmp, because a socket's path may not exceed 107 characters and TMPDIR can be long.
        self.folder = Path(tempfile.mkdtemp(prefix="mariadb-", dir="/tmp"))
        self.socket = self.folder / "socket"
        self.port = 0
        atexit.register(self.stop)
        try:
            self._install(installer)
            self._command = [program, "--no-defaults", *self._arguments(buffer_pool), *options]
            self._start(timeout)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the server, None once it is stopped."""
        return self._server.pid if self._server else None

    def url(self, database: str) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database, in place of one of that name, and return the name."""
        quoted = "`" + name.replace("`", "``") + "`"
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {quoted}")
            cursor.execute(f"CREATE DATABASE {quoted} CHARACTER SET utf8mb4")
        return name

    def connect(self, database: str | None = None) -> Any:
        """A connection of pymysql as root."""
        # The socket is surely ours, while another server may answer on a port. Without ssl_disabled each connection
        # loads the machine's certificates first: 30 ms.
        return pymysql.connect(
            unix_socket=str(self.socket), user="root", database=database, ssl_disabled=True, autocommit=True
        )

    def kill(self) -> None:
        """End the server in the midst of whatever it does, and keep its folder: see `start_again`.

        What it had not written is gone, so pass options that make it write what must outlive it.
        """
        if self._server and self._watcher:
            self._server.kill()
            self._server.wait()
            self._watcher.communicate(b"done\n")
            self._server = self._watcher = None

    def start_again(self, timeout: float = 30) -> None:
        """Start the server that was killed on its old folder and port. Raises RuntimeError when it does not answer."""
        if not self._answers(time.monotonic() + timeout):
            raise RuntimeError(f"mariadbd did not start again:\n{self._log()[-2000:]}")

    def stop(self) -> None:
        """End this server, no other, and remove its folder. A second call does nothing."""
        if os.getpid() != self._owner:
            return  # a forked child that ends must not take the server of its parent with it
        atexit.unregister(self.stop)
        if self._server:
            self._server.kill()  # no data to save, so no orderly shutdown either
            self._server.wait()
            self._server = None
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._watcher:
            try:
                self._watcher.communicate(b"done\n")
            finally:
                self._watcher = None

    def _arguments(self, buffer_pool: str) -> list[str]:
        return [
            *self._placement(),
            *FAST,
            f"--innodb-buffer-pool-size={buffer_pool}",
            f"--socket={self.socket}",
            f"--pid-file={self.folder / 'pid'}",
            f"--log-error={self.folder / 'error.log'}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--skip-slave-start",
            "--character-set-server=utf8mb4",
            "--max-connections=500",
        ]

    def _placement(self) -> list[str]:
        user = ["--user=root"] if os.geteuid() == 0 else []
        return [f"--datadir={self.folder / 'data'}", f"--tmpdir={self.folder}", *user]

    def _install(self, installer: str) -> None:
        """Create the system tables, with a root that needs no password."""
        (self.folder / "data").mkdir()
        done = subprocess.run(
            [
                installer,
                "--no-defaults",
                *self._placement(),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                *FAST,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{installer} failed:\n{done.stdout[-2000:]}")

    def _start(self, timeout: float) -> None:
        """Start the server on a free port."""
        deadline = time.monotonic() + timeout
        self.port = _free_port()
        while not self._answers(deadline):
            # Another program may have taken the port since it was found free: try the next one.
            if time.monotonic() > deadline or "Address already in use" not in self._log():
                raise RuntimeError(f"mariadbd did not start:\n{self._log()[-2000:]}")
            (self.folder / "error.log").unlink()
            self.port = _free_port()

    def _answers(self, deadline: float) -> bool:
        """Start the server; False when it ended or stayed silent until the deadline."""
        # Its own session, so that Ctrl-C reaches the tests first and they stop it.
        self._server = subprocess.Popen(
            [*self._command, f"--port={self.port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCHER, "watcher", str(self._server.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        while self._server.poll() is None and time.monotonic() < deadline:
            try:
                with self.connect() as connection:
                    connection.ping(reconnect=False)
                self._watcher = watcher
                return True
            except pymysql.err.OperationalError:
                time.sleep(0.02)
        self._server.kill()
        self._server.wait()
        watcher.communicate(b"done\n")
        return False

    def _log(self) -> str:
        log = self.folder / "error.log"
        return log.read_text(errors="replace") if log.exists() else ""
