"""`cli serve`: the API under gunicorn, in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

import service
from cli.output import open_for, say
from service import database
from service.config import Settings
from service.errors import BadRequest, ServiceError

CONFIGURATION = "gunicorn.conf.py"
APPLICATION = "service.web.app:application()"


@click.command()
@click.option("--host", help="Address to listen on; HOST, or this machine only, by default.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on; PORT, or 8000, by default.")
@click.pass_obj
def serve(settings: Settings, host: str | None, port: int | None) -> None:
    """Serve the API with gunicorn until it is stopped.

    Refuses a database that cannot be reached, is not migrated, or holds readings of another interval.
    """
    start(settings, settings.host if host is None else host, settings.port if port is None else port)


def start(settings: Settings, host: str, port: int) -> NoReturn:
    """Become gunicorn, listening on `host` and `port`; everything else it takes from its file and the environment."""
    if not host.strip():
        raise BadRequest("The host is empty: use an address such as 127.0.0.1, or 0.0.0.0 for all of this machine.")
    open_for(settings, read_only=True)
    database.close()
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    say(f"Starting the server on http://{address} (Ctrl-C stops it)")
    sys.stderr.flush()
    sys.stdout.flush()
    # In this process's place, so that signals reach the server and its exit code is ours.
    arguments = ["-m", "gunicorn", "--config", str(configuration()), "--bind", address, APPLICATION]
    os.execv(sys.executable, [sys.executable, *arguments])


def configuration() -> Path:
    """gunicorn's configuration: beside the package in a checkout, below sys.prefix when the package is installed."""
    checkout = Path(service.__file__).resolve().parent.parent
    installed = Path(sys.prefix) / "share" / "theme-park-hall-of-shame"
    for folder in (checkout, installed):
        if (folder / CONFIGURATION).is_file():
            return folder / CONFIGURATION
    raise ServiceError(f"{CONFIGURATION} is neither in {checkout} nor in {installed}: install the package again.")
