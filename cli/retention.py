"""`prune`: removes what is past retention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from cli.data import Bars
from cli.output import emit, open_for
from service import clock
from service.config import Settings
from service.jobs import retention


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def prune(settings: Settings, dry_run: bool, as_json: bool) -> None:
    """Remove readings older than RAW_RETENTION_DAYS, and what only they needed. Statistics stay for ever.

    Days go oldest first, and none before its statistics are right: where one stands in the way, it says which, and
    what to do. Old weather, data quality issues and runs of the job log go too. It can be stopped at any moment and
    run again.
    """
    open_for(settings, read_only=dry_run, time_limit=False)
    now = clock.now()
    if dry_run:
        found = retention.plan(settings, now)
    else:
        with Bars() as bars:
            found = retention.prune(settings, now, progress=bars.show)
    emit(as_json, _result(found, dry_run), _lines(found, dry_run))


def _result(found: retention.Pruned, dry_run: bool) -> dict[str, Any]:
    blocked = found.blocked and {"day": str(found.blocked.day), "reason": found.blocked.reason}
    held_from = found.held_from and str(found.held_from)
    return {"rows": found.rows, "held_from": held_from, "blocked": blocked, "dry_run": dry_run}


def _lines(found: retention.Pruned, dry_run: bool) -> Iterator[str]:
    yield "Rows that would be removed:" if dry_run else "Rows removed:"
    yield from (f"  {table}: {count:,}" for table, count in found.rows.items())
    if found.blocked:
        yield f"Older readings stay for {found.blocked.day}: {found.blocked.reason}"
    if found.held_from is None:
        yield "No readings are held."
    else:
        yield f"Readings {'would be' if dry_run else 'are'} held from {found.held_from} on."
