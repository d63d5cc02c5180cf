"""How gunicorn serves the API. Every value can be set from the environment; the defaults are measured.

gunicorn finds this file in the working directory; `cli serve` names it.
"""
from __future__ import annotations

import atexit
import json
import os
import re
import resource
import shutil
import socket
import struct
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NoReturn

from gunicorn import util


def refuse(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    raise SystemExit(2)


def text(name: str, default: str) -> str:
    return os.environ.get(name, "").strip() or default


def number(name: str, default: int, least: int = 0) -> int:
    value = text(name, str(default))
    if not (value.isascii() and value.isdigit() and int(value) >= least):
        refuse(f"{name} must be a whole number, {least} or more, not {value!r}.")
    return int(value)


def flag(name: str, default: bool) -> bool:
    value = text(name, "1" if default else "0").lower()
    if value not in ("0", "1", "false", "true"):
        refuse(f"{name} must be 0 or 1, not {value!r}.")
    return value in ("1", "true")


wsgi_app = "service.web.app:application()"

# The machine itself by default; a container or a router in front needs HOST=0.0.0.0.
host = text("HOST", "127.0.0.1")
port = number("PORT", 8000)
bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

# Threads, because requests wait for the database, and an idle keep-alive connection holds none of them. The sync worker
# closes every connection; gevent was slower here and spread its connections unevenly.
worker_class = text("WEB_WORKER_CLASS", "gthread")

# Each worker holds its own answer cache, so more of them than cores cost memory and cold answers.
workers = number("WEB_CONCURRENCY", 2, least=1)

# As many requests may wait for the database in one worker. Its connection pool needs room for all of them.
threads = number("WEB_THREADS", 16, least=1)

# Held connections per worker. At the usual 1,000, a worker full of idle clients stops answering new ones.
worker_connections = number("WEB_WORKER_CONNECTIONS", 8000, least=1)

# Connections not yet accepted: a burst must queue rather than be refused. The kernel caps it at net.core.somaxconn.
backlog = number("WEB_BACKLOG", 8192, least=1)

# Bytes of a request's first line. The service refuses a URL of more than 4,000 characters, in JSON; longer lines are
# refused by gunicorn.
limit_request_line = number("WEB_LIMIT_REQUEST_LINE", 8190, least=1024)

# One listening socket per worker: with a shared one a single worker accepts most keep-alive connections.
reuse_port = flag("WEB_REUSE_PORT", True)

# Seconds. Longer than the ten seconds between two polls of a dashboard, so that it keeps its connection.
keepalive = number("WEB_KEEPALIVE", 15)

# Bounds what a slow leak can hold. Rare, because a restart resets connections that wait on the worker's own socket:
# 470 of 120,000 when it came every 20,000 requests. The jitter keeps the workers from restarting together. 0: never.
max_requests = number("WEB_MAX_REQUESTS", 500_000)
max_requests_jitter = number("WEB_MAX_REQUESTS_JITTER", 100_000)

# Seconds a worker may be silent before it is killed. Statements have their own, shorter time-out.
timeout = number("WEB_TIMEOUT", 30)

# Seconds that a client may neither send the rest of its request nor take the next part of its answer. A connection that
# is idle between two requests is not meant: it waits without a thread, for `keepalive`.
socket_timeout = number("WEB_SOCKET_TIMEOUT", 20, least=1)

# Seconds for running requests to end at a restart: longer than the statement time-out.
graceful_timeout = number("WEB_GRACEFUL_TIMEOUT", 15)

# Off: each worker opens its own database connections, and a restart by SIGHUP takes up new code.
preload_app = flag("WEB_PRELOAD", False)

# A control socket in the home directory is one more door, and two services of one user would fight over it.
# Versions before 25.1 know neither the socket nor this name, and ignore it.
control_socket_disable = not flag("WEB_CONTROL_SOCKET", False)

# Requests are not logged unless asked for ("-" is standard output): a proxy in front does that, and it costs time here.
accesslog = text("WEB_ACCESS_LOG", "") or None
loglevel = text("LOG_LEVEL", "info").lower()


METRICS_ADDRESS = text("METRICS_ADDRESS", "")
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
COUNTED = re.compile(r"(counter|histogram|summary|gauge_[a-z]+)_[0-9]+\.db")  # as prometheus_client names its files


def share_metrics() -> None:
    """Give the workers a folder in which they count together: its name must be known before they import anything.

    It is this master's own: not what another one hands down in an upgrade by SIGUSR2, but that from before a SIGHUP.
    """
    of_masters = "hall-of-shame-metrics-"
    own = f"{of_masters}{os.getpid()}-"
    name = Path(text(METRICS_FOLDER, "")).name
    if name and (name.startswith(own) or not name.startswith(of_masters)):
        return
    folder = tempfile.mkdtemp(prefix=own)
    atexit.register(remove_metrics, folder, os.getpid())
    os.environ[METRICS_FOLDER] = folder


def remove_metrics(folder: str, master: int) -> None:
    if os.getpid() == master:  # forked workers inherit what is to be done at the end
        shutil.rmtree(folder, ignore_errors=True)


def empty_metrics(server: Any) -> None:
    """Begin to count at 0, whoever made the folder, and whatever the look at the database left there."""
    folder = Path(os.environ[METRICS_FOLDER])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = list(folder.glob("*.db"))
        other = next((one.name for one in found if not COUNTED.fullmatch(one.name)), None)
        if other:  # an SQLite database, say: what adds up the counters would read it as one
            refuse(f"{METRICS_FOLDER}={str(folder)!r} holds {other}, which is no counter. Name a folder of its own.")
        if "GUNICORN_PID" not in os.environ:  # in an upgrade the old workers still count
            for counted in found:
                counted.unlink()
        if server.cfg.uid != os.geteuid():
            os.chown(folder, server.cfg.uid, server.cfg.gid)
    except OSError as error:
        refuse(f"{METRICS_FOLDER}={str(folder)!r} cannot be used: {error.strerror}. Unset it, or name another folder.")


def allow_open_files(needed: int) -> None:
    """Raise the limit of open files, often 1,024 by default, to what the held connections need, as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def on_starting(server: Any) -> None:
    """Refuse to start beside another server, or over a database that this release cannot work with."""
    refuse_taken_port(server.cfg.address, "PORT and HOST choose another address.")
    if METRICS_ADDRESS:
        refuse_metrics_address(server)
        empty_metrics(server)  # the look at the database counts
    refuse_unfit_database()
    if METRICS_ADDRESS:
        empty_metrics(server)


def refuse_unfit_database() -> None:
    """Look in a child: what the master has imported, its workers would keep when SIGHUP should take up new code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            from service.web.app import exit_code_at_start

            code = exit_code_at_start()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise SystemExit(code)


def refuse_metrics_address(server: Any) -> None:
    """Its form is known to be right. With `reuse_port` it would share the port of the API without a word."""
    if not has_own_metrics_address():
        return
    host, _, port = METRICS_ADDRESS.rpartition(":")
    if int(port) in [address[1] for address in server.cfg.address if isinstance(address, tuple)]:
        refuse(f"METRICS_ADDRESS={METRICS_ADDRESS} has the port of the API: use another one, or METRICS_ADDRESS=main.")
    refuse_taken_port([(host.strip("[]"), int(port))], "METRICS_ADDRESS chooses another address.")


def has_own_metrics_address() -> bool:
    return METRICS_ADDRESS.lower() not in ("", "main")


def refuse_taken_port(addresses: list[Any], advice: str) -> None:
    """Stop with one sentence when the port is taken.

    With `reuse_port` a second server of the same user would silently share the port, and one that cannot bind would
    restart its workers for ever.
    """
    if "GUNICORN_PID" in os.environ or "GUNICORN_FD" in os.environ:  # an upgrade by SIGUSR2 shares the port on purpose
        return
    for address in addresses:
        if not isinstance(address, tuple):
            continue
        with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except (OSError, OverflowError) as error:
                reason = error.strerror if isinstance(error, OSError) else "no such port"
                refuse(f"Cannot listen on {address[0]}:{address[1]}: {reason}. {advice}")


def when_ready(server: Any) -> None:
    """Say where: with `reuse_port` gunicorn's own line leaves the address out."""
    server.log.info("Serving on %s", ", ".join(f"http://{address}" for address in server.cfg.bind))


allow_open_files(2 * worker_connections + 1024)
if METRICS_ADDRESS:
    share_metrics()


def write_json_error(client: Any, status: int, reason: str, message: str) -> None:
    """gunicorn's own answer to what is no request at all (a malformed line or header), in the form of the service's."""
    body = json.dumps({"error": reason, "message": message or "The request could not be served"}).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {reason}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
    )
    util.write_nonblock(client, "".join(f"{line}\r\n" for line in (*head, "")).encode("latin-1") + body)


# gunicorn has no setting for it. Every kind of worker calls this one function, and does without an answer if it fails.
util.write_error = write_json_error


def post_worker_init(worker: Any) -> None:
    """Have the kernel keep connections that have not sent anything: a thread would wait five seconds for each; and end
    those that stop sending or taking in the middle: each would hold a thread for good.

    Then open the address of the metrics, if they have their own.
    """
    for listener in worker.sockets:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # accepted connections inherit them
            listener.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", socket_timeout, 0))
        if hasattr(socket, "TCP_DEFER_ACCEPT") and listener.sock.family != getattr(socket, "AF_UNIX", None):
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, keepalive or 5)
    if has_own_metrics_address():
        from service.web.app import listen_for_metrics

        listen_for_metrics()


def child_exit(server: Any, worker: Any) -> None:
    """What a worker that has ended counted stays counted, but for what it was doing."""
    if METRICS_ADDRESS:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid, os.environ[METRICS_FOLDER])
