"""`catalog`: which parks and rides there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import click

from cli.data import FIRST_REASONS, Bars
from cli.output import emit, open_for
from service import clock
from service.config import Settings
from service.errors import BadRequest
from service.periods import is_country
from service.jobs import asking
from service.jobs.syncing import Choice, Doubt, Refused, Reidentified, Report, sync

PARTLY_FAILED = 1


@click.group()
def catalog() -> None:
    """Which parks and rides there are."""


@catalog.command("sync")
@click.option("--all", "everything", is_flag=True, help="Add all parks of both sources.")
@click.option("--country", "countries", multiple=True, metavar="CODE", help="Add the parks of a country, such as US.")
@click.option("--park", "named", multiple=True, metavar="NAME|ID", help="Add parks by a part of their name, or by id.")
@click.option("--accept-doubtful", is_flag=True, help="Take names that are merely similar for the same.")
@click.option("--dry-run", is_flag=True, help="Ask and report, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with everything that was refused.")
@click.pass_context
def sync_catalog(
    context: click.Context,
    everything: bool,
    countries: tuple[str, ...],
    named: tuple[str, ...],
    accept_doubtful: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring parks and rides up to date from ThemeParks.wiki and Queue-Times.

    Active parks that have an id of either source are refreshed; a catalog without any gets all parks, others those
    that are asked for. The two sources' parks and rides are the same where their names say so; what is merely similar
    is reported, and stays out until --accept-doubtful, or until its very id is given to --park. A ride that no list
    has had for RIDE_VANISHED_DAYS becomes inactive, and active again once it is back. One whose id is in no list any
    more stays the same ride where its name alone is listed under a new id.

    Each park is stored at once, so it can be stopped at any moment and run again. Exit code 1 if a source failed; what
    the other one said is stored.
    """
    settings: Settings = context.obj
    choice = Choice(everything, _codes(countries), _names(named), True, accept_doubtful, dry_run)
    open_for(settings, read_only=dry_run, time_limit=False)
    with Bars() as bars, asking.asking(settings) as ask:
        sources = asking.sources(settings, asking.Round(ask).ask)
        report = sync(settings, sources, clock.now(), choice, progress=bars.show)
    emit(as_json, _as_json(report), map(_printable, _lines(report)))
    if report.failures:
        context.exit(PARTLY_FAILED)


def _codes(countries: tuple[str, ...]) -> frozenset[str]:
    for code in countries:
        if not is_country(code.upper()):
            raise BadRequest(f"--country {code!r} is not a country: give its code of two letters, such as US or GB.")
    return frozenset(code.upper() for code in countries)


def _names(named: tuple[str, ...]) -> tuple[str, ...]:
    if not all(name.strip() for name in named):
        raise BadRequest("--park is empty: give a part of a park's name, or its id.")
    return tuple(name.strip() for name in named)


def _as_json(report: Report) -> dict[str, Any]:
    found = {one.name: _plain(getattr(report, one.name)) for one in fields(report) if one.name != "run"}
    refused = [{"source": one.source, "park": one.park, **one.refusal._asdict()} for one in report.refused]
    return {**found, "refused": refused}


def _plain(value: Any) -> Any:
    return [one._asdict() if hasattr(one, "_asdict") else one for one in value] if isinstance(value, list) else value


def _printable(line: str) -> str:
    """Names are others' words: nothing in them speaks to the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _lines(report: Report) -> Iterator[str]:
    yield f"Parks: {report.parks_asked:,} asked for, {len(report.parks_added):,} new, {report.parks_changed:,} changed."
    yield f"Rides: {report.rides_added:,} new, {report.rides_changed:,} changed."
    yield from _some("Renamed", (f"{one.park}: {one.before} is {one.name} now" for one in report.renamed))
    yield from _some("Another id at the source", map(_reidentified, report.reidentified))
    yield from _some("No longer listed, and inactive now", (f"{one.park}: {one.name}" for one in report.vanished))
    yield from _some("Listed again, and active", (f"{one.park}: {one.name}" for one in report.returned))
    taken = [_doubt(one) for one in report.doubtful if one.accepted]
    yield from _some("Similar names, taken for the same", taken)
    waiting = [_doubt(one) for one in report.doubtful if not one.accepted]
    yield from _some("Similar names, left apart (--accept-doubtful takes them for the same)", waiting)
    yield from _some("Conflicts, nothing changed", (f"{one.park}: {one.reason}" for one in report.conflicts))
    yield from _some("Refused", map(_refused, report.refused))
    yield from _some("FAILED", map(str, report.failures))
    if report.not_in_catalog:
        yield f"Not in the catalog: {report.not_in_catalog:,} parks of the sources. --all, --country, --park add them."
    if report.dry_run:
        yield "Nothing was written."


def _some(title: str, found: Iterable[str]) -> Iterator[str]:
    lines = list(found)
    if lines:
        yield f"{title}: {len(lines):,}."
        yield from (f"  {line}" for line in lines[:FIRST_REASONS])
    if len(lines) > FIRST_REASONS:
        yield "  ... and more: --json lists them all."


def _doubt(doubt: Doubt) -> str:
    where = f"{doubt.park}: " if doubt.park else ""
    names = f"{doubt.wiki_name} ({doubt.wiki_id}) and {doubt.queue_times_name} ({doubt.queue_times_id})"
    return f"{where}{names}, {doubt.similarity:.2f}"


def _reidentified(one: Reidentified) -> str:
    return f"{one.park}: {one.name} (ride {one.ride_id}) is {one.now} of {one.source} now, not {one.before}"


def _refused(one: Refused) -> str:
    return f"{one.source}, {one.park or 'the list of parks'}: {one.refusal.what}: {one.refusal.reason}"
