"""`collect`: the readings of the parks' public sources, now, from a recording, or from what a source remembers."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click

from cli.data import Bars
from cli.output import emit, open_for, say
from cli.worker import stop_on_signals
from service import clock
from service.config import Settings
from service.errors import BadRequest
from service.feeds import tape
from service.feeds.sources import Ask
from service.jobs import filling
from service.jobs.asking import LIVE_PATIENCE_SECONDS, PATIENCE_SECONDS, Round, asking, sources
from service.jobs.collect import Collector, Cycle, NothingCollected
from service.jobs.joblog import counted
from service.jobs.recorded_catalog import PlayedCatalog, write_catalog
from service.jobs.targets import has_targets
from service.jobs.worker import Stopped
from service.periods import instant, iso_utc

PARTLY_FAILED = 1
SECONDS_BETWEEN_LOOKS = 5.0
MOST_NAMES = 10

log = logging.getLogger("cli.collect")


@click.command()
@click.option("--once", is_flag=True, help="Collect the slot of now, and end: for a scheduler such as cron.")
@click.option("--record", "to", metavar="DIR", type=click.Path(path_type=Path), help="Keep the raw answers in DIR.")
@click.option("--replay", "of", metavar="DIR", type=click.Path(path_type=Path), help="Collect from those kept in DIR.")
@click.option("--fill", is_flag=True, help="Fill slots that were missed from what ThemeParks.wiki remembers, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def collect(context: click.Context, once: bool, to: Path | None, of: Path | None, fill: bool, as_json: bool) -> None:
    """Collect what the parks' public sources say of every ride, each slot once, until it is stopped.

    `cli worker` does the same beside all other jobs: this is for collecting alone, and for looking into it. Each park
    is asked about at ThemeParks.wiki first, and at Queue-Times where that fails, at FEED_REQUESTS_PER_SECOND to a host;
    parks that are closed by their schedule every half hour. `cli catalog sync` says which parks there are.

    A recording has every answer as it came. Replayed, it goes through all steps again, at the time it was made: into an
    empty database with the parks of the recording, else into the parks that are there.

    Exit code 1: with --once, when some park is missing; without an answer of any source nothing is stored.
    """
    settings: Settings = context.obj
    if sum((once, of is not None, fill)) > 1:
        raise BadRequest("Only one of --once, --replay and --fill can be asked for.")
    if to is not None and (of is not None or fill):
        raise BadRequest("--record keeps what is collected now: leave out --replay and --fill.")
    if as_json and not (once or of is not None or fill):
        raise BadRequest("--json is for what ends: use it with --once, --replay or --fill.")
    if of is not None:
        _replay(context, settings, of, as_json)
        return
    open_for(settings, time_limit=False)
    with asking(settings, patience_seconds=PATIENCE_SECONDS if fill else LIVE_PATIENCE_SECONDS) as ask:
        if fill:
            _fill(context, settings, ask, as_json)
        elif once:
            _once(context, settings, ask, to, as_json)
        else:
            _loop(settings, ask, to)


# --- now -------------------------------------------------------------------------------------------------------------


def _once(context: click.Context, settings: Settings, ask: Ask, to: Path | None, as_json: bool) -> None:
    now = clock.now()
    with _kept(settings, ask, to, now) as kept, _Bar("Asking about parks") as bar:
        collector = _collector(settings, kept, now)
        try:
            cycle = collector.once(now, bar.show)
        except NothingCollected as error:
            cycle = error.cycle
    emit(as_json, _as_json(cycle), () if cycle.is_empty else _lines(cycle))
    for sentence in cycle.sentences():
        say(sentence)
    if cycle.is_empty:
        say("Nothing was stored.")
    if cycle.is_empty or cycle.is_partial:
        context.exit(PARTLY_FAILED)


def _collector(settings: Settings, ask: Ask, now: datetime) -> Collector:
    collector = Collector(settings, ask)
    if not collector.has_parks(now):
        raise BadRequest("There is no park to ask about: run `cli catalog sync`, or `cli demo` for simulated ones.")
    return collector


def _loop(settings: Settings, ask: Ask, to: Path | None) -> None:
    if settings.replay_now and not settings.replay_tick:
        raise BadRequest("REPLAY_NOW stands still, and no other slot would come: set REPLAY_TICK=1, or use --once.")
    recorder = None if to is None else tape.Recorder(to)
    collector = _collector(settings, ask if recorder is None else recorder.ask(ask), clock.now())
    stopped = threading.Event()
    stop_on_signals(stopped.set)
    say("Collecting. Ctrl-C ends it.")
    try:
        while not stopped.is_set():
            _collect(collector, recorder, settings, clock.now())
            stopped.wait(SECONDS_BETWEEN_LOOKS)
    except Stopped:
        say("Stopped in the middle of a slot: what was stored of it is shown with the next one.")
    say("Collecting has ended.")


def _collect(collector: Collector, recorder: tape.Recorder | None, settings: Settings, now: datetime) -> None:
    try:
        said = collector.collect(now, partial(_recorded, recorder, settings, now))
    except NothingCollected as error:
        said = f"nothing, for {counted(error.cycle.asked, 'park')}"
    if said is not None:
        log.info("%s: %s", iso_utc(collector.slot(now)), said)


@contextmanager
def _kept(settings: Settings, ask: Ask, to: Path | None, now: datetime) -> Iterator[Ask]:
    recorder = None if to is None else tape.Recorder(to)
    with _recorded(recorder, settings, now):
        yield ask if recorder is None else recorder.ask(ask)


@contextmanager
def _recorded(recorder: tape.Recorder | None, settings: Settings, now: datetime) -> Iterator[None]:
    if recorder is not None:
        catalog = write_catalog(recorder.folder, now)
        addresses = tape.Addresses(settings.themeparks_wiki_url, settings.queue_times_url, settings.open_meteo_url)
        recorder.begin(now, settings.snapshot_interval_minutes, addresses, catalog)
    try:
        yield
    except NothingCollected:  # that nobody answered is recorded as a whole
        if recorder is not None:
            recorder.end()
        raise
    if recorder is not None:
        recorder.end()


class _Bar(Bars):
    """A bar with one label."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label

    def show(self, done: int, total: int) -> None:  # type: ignore[override]
        super().show(self._label, done, total)


# --- from a recording ------------------------------------------------------------------------------------------------


def _replay(context: click.Context, settings: Settings, of: Path, as_json: bool) -> None:
    """Every cycle of a recording at its own time, in order. Replaying twice changes nothing."""
    try:
        cycles = list(_replayed(settings, of))
    finally:
        clock.replay(settings.replay_now, tick=settings.replay_tick)
    result = {
        "cycles": len(cycles),
        "first": iso_utc(cycles[0].slot) if cycles else None,
        "last": iso_utc(cycles[-1].slot) if cycles else None,
        **{name: sum(getattr(cycle, name) for cycle in cycles) for name in ("stored", "replaced", "unchanged")},
        **{name: sum(len(getattr(cycle, name)) for cycle in cycles) for name in ("suspect", "unheard")},
    }
    emit(as_json, result, _replay_lines(cycles, result))
    for sentence, times in Counter(chain.from_iterable(cycle.sentences() for cycle in cycles)).most_common(MOST_NAMES):
        say(f"In {times:,} of the cycles: {sentence}")
    if not cycles:
        context.exit(PARTLY_FAILED)


def _replay_lines(cycles: Sequence[Cycle], result: Mapping[str, Any]) -> Iterator[str]:
    if not cycles:
        yield "The recording has no cycle."
        return
    yield f"Cycles: {len(cycles):,}, {result['first']} to {result['last']}."
    yield f"Readings: {result['stored']:,} stored, {result['replaced']:,} replaced, {result['unchanged']:,} unchanged."
    for count, what in ((result["suspect"], "not believed"), (result["unheard"], "not there")):
        if count:
            yield f"Answers about a park that were {what}: {count:,}."
    yield "Next: `cli aggregate` computes the statistics of the finished days."


def _replayed(settings: Settings, of: Path) -> Iterator[Cycle]:
    tapes = tape.cycles(of)
    first = next(tapes, None)
    if first is None:
        return
    clock.replay(first.at)
    settings = replace(settings, snapshot_interval_minutes=first.interval_minutes)
    open_for(settings, time_limit=False)
    catalog = PlayedCatalog(of, first)
    with _Bar("Replaying") as bar:
        for number, one in enumerate(chain([first], tapes), 1):
            clock.replay(one.at)
            restored = catalog.follow(one)
            if restored is not None and restored.is_first:
                say(f"There were no parks: the database has the {restored.parks} of the recording now.")
            if not has_targets():
                raise BadRequest("There are no parks, and the recording brings none: run `cli catalog sync` first.")
            yield _played(settings, one)
            bar.show(number, number)


def _played(settings: Settings, one: tape.Cycle) -> Cycle:
    """One thread, so that every replay takes the same way; and every answer of the tape counts: whom to give up on was
    decided when it was recorded, in another order."""
    wiki, queue_times, open_meteo = one.addresses
    at = replace(settings, themeparks_wiki_url=wiki, queue_times_url=queue_times, open_meteo_url=open_meteo)
    try:
        return Collector(at, one.ask, threads=1, gives_up=False).cycle(one.at)
    except NothingCollected as error:
        return error.cycle


# --- from what a source remembers ------------------------------------------------------------------------------------


def _fill(context: click.Context, settings: Settings, ask: Ask, as_json: bool) -> None:
    with _Bar("Asking for days with gaps") as bar:
        report = filling.fill(settings, sources(settings, Round(ask).ask), clock.now(), progress=bar.show)
    result = {name: value for name, value in report._asdict().items() if name != "run"}
    emit(as_json, result, _fill_lines(report))
    if report.run is not None and report.run.failure:
        say(report.run.failure)
        context.exit(PARTLY_FAILED)


def _fill_lines(report: filling.Report) -> Iterator[str]:
    if not report.parks:
        yield "No slot is missing that could be asked for."
        return
    yield f"Asked for {report.days_asked:,} days of {report.parks:,} parks."
    yield f"{report.slots_filled:,} slots filled with {report.readings_stored:,} readings."
    for reason, slots in report.gaps.items():
        yield f"{slots:,} slots stay missing: {reason}"
    if report.slots_filled:
        yield "Next: `cli aggregate`, or the worker, computes the statistics of these days anew."


# --- saying it -------------------------------------------------------------------------------------------------------


def _as_json(cycle: Cycle) -> dict[str, Any]:
    return {**vars(cycle), "slot": iso_utc(cycle.slot), "failures": cycle.sentences()}


def _lines(cycle: Cycle) -> Iterator[str]:
    yield f"Slot of {instant(cycle.slot):%Y-%m-%d %H:%M} UTC: {cycle}."
    yield f"{cycle.stored:,} stored, {cycle.replaced:,} replaced, {cycle.unchanged:,} unchanged."
    if cycle.idle:
        yield f"Closed by their schedule, and asked about every half hour only: {counted(cycle.idle, 'park')}."
    for park, reasons in cycle.suspect.items():
        yield f"Not believed: {park} ({', '.join(reasons).lower()}). Nothing of it is stored as a reading."
    for park, reasons in cycle.instead.items():
        yield f"Not believed at the first source, and taken from the other: {park} ({', '.join(reasons).lower()})."
    if cycle.new_doubts:
        yield f"New data quality issues: {cycle.new_doubts:,}. /api/audit/data-quality names them."
    for names, what in (
        (cycle.unheard, "No source told of"), (cycle.late, "Too late"), (cycle.unstored, "Could not be stored"),
    ):
        if names:
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            yield f"{what}: {', '.join(names[:MOST_NAMES])}{more}."
    if cycle.strangers:
        yield f"Attractions that are not in the catalog: {cycle.strangers:,}. `cli catalog sync` brings them in."
