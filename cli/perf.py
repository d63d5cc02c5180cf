"""`perf`: how long the critical questions take, and whether they have become slower."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime
from functools import partial
from typing import Any

import click

from cli.output import emit, open_for, progress, say
from service import clock, database
from service.config import Settings
from service.errors import BadRequest
from service.jobs.alerts import Alerts
from service.monitoring import baselines
from service.monitoring.baselines import FINE, LEAST_SAMPLES, LEFT_OUT, NEW, SHORT, SLOWER_PERCENT, WORSE
from service.monitoring.baselines import Asked, Comparison, Measured, Timing
from service.periods import iso_utc, pacific_date

JOB = "performance"  # what an alert calls it
FAILED = 1


@click.group()
def perf() -> None:
    """Measure how long the critical questions take, and compare with earlier measurements."""


@perf.command()
@click.option(
    "--rounds", type=click.IntRange(1, 10_000), default=LEAST_SAMPLES, show_default=True,
    help=f"How often each is asked. Fewer than {LEAST_SAMPLES} are too few to compare.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def capture(context: click.Context, rounds: int, as_json: bool) -> None:
    """Measure the critical questions, and store the figures: p50, p95, p99 and the average of each.

    Every endpoint that reads readings or statistics is asked in this process, without the answers that the server
    keeps, and so are the queries that many others rest on. Captures are kept for 400 days. Exit code 1 if a question
    could not be answered: it is named, and left out.
    """
    settings: Settings = context.obj
    open_for(settings)
    now = clock.now()
    asked = _asked(settings, now)
    with progress(None, "Measuring", length=len(asked) * (rounds + 1)) as bar:
        measured = baselines.measure(asked, rounds, lambda: bar.update(1))
    removed = baselines.store_capture(measured.timings, now)
    emit(as_json, _captured(measured, removed, now), _table(measured.timings))
    for name, reason in measured.failed.items():
        say(f"{name}: {reason}")
    if measured.failed:
        context.exit(FAILED)


def _asked(settings: Settings, now: datetime) -> dict[str, Callable[[], object]]:
    queries = {name: partial(query, now) for name, query in baselines.QUERIES.items()}
    return queries | {asked.name: _answering(settings, now, asked) for asked in baselines.questions(now)}


def _answering(settings: Settings, now: datetime, asked: Asked) -> Callable[[], object]:
    """Makes an answer as the server does, but for HTTP: neither limits nor kept answers are in its way."""
    # Here, because no other command needs them, and each would wait for them.
    from service.web import app, http
    from service.web.params import Query, Request

    question = {app.template(path): found for path, found in app.QUESTIONS.items()}[asked.route]

    def answer() -> object:
        request = Request(settings, now, Query(asked.query), asked.ids)
        with database.reading():
            body = question(request)()
        return http.json_bytes(body) if isinstance(body, dict) else body

    return answer


def _captured(measured: Measured, removed: int, now: datetime) -> dict[str, Any]:
    return {
        "captured_at": iso_utc(now),
        "queries": [timing._asdict() for timing in measured.timings],
        "failed": measured.failed,
        "removed": removed,
    }


def _table(timings: list[Timing]) -> Iterator[str]:
    """The slowest first."""
    yield f"{'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9}"
    for one in sorted(timings, key=lambda one: -one.p95_ms):
        yield f"{one.p50_ms:9.1f} {one.p95_ms:9.1f} {one.p99_ms:9.1f}  {one.query_name}"


@perf.command()
@click.option(
    "--against", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE",
    help="The last capture of this Pacific day, instead of the 30 days before.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def compare(context: click.Context, against: datetime | None, as_json: bool) -> None:
    """Compare the newest capture with those of the 30 days before it.

    A query whose p95 is at least 25 % above the median of theirs has become too slow: it is named, the exit code is 1,
    and ALERT_WEBHOOK_URL is told, once, and again when all is well. Captures with fewer than 20 samples of a query say
    nothing about it. Exit code 0 also when there is nothing to compare with yet; 2 if there is no capture of the day
    given before the newest.
    """
    settings: Settings = context.obj
    # What has been told is remembered in the database.
    open_for(settings, read_only=not settings.alert_webhook_url)
    now = clock.now()
    newest = baselines.newest_capture(now)
    before = _before(newest, against.date() if against else None) if newest else {}
    compared = baselines.compare(baselines.timings_at(newest), before) if newest and before else []
    emit(as_json, _compared(newest, compared), _lines(newest, compared))
    worse = [one for one in compared if one.verdict == WORSE]
    alerts = Alerts(settings.alert_webhook_url)
    if worse:
        alerts.failed(JOB, None, "\n".join(map(_line, worse)), now)
        context.exit(FAILED)
    if baselines.is_well(compared):
        alerts.recovered(JOB, now)


def _before(newest: datetime, day: date | None) -> dict[str, list[Timing]]:
    """The captures to compare with, by query."""
    if day is None:
        return baselines.timings_before(newest)
    chosen = baselines.capture_of(day, newest)
    if chosen is None:
        raise BadRequest(f"There is no capture of {day} before the newest, of {iso_utc(newest)}: use another day.")
    return {name: [timing] for name, timing in baselines.timings_at(chosen).items()}


def _compared(newest: datetime | None, compared: list[Comparison]) -> dict[str, Any]:
    return {
        "captured_at": newest and iso_utc(newest),
        "queries": [one._asdict() for one in compared],
        "regressions": [one.query_name for one in compared if one.verdict == WORSE],
    }


def _lines(newest: datetime | None, compared: list[Comparison]) -> Iterator[str]:
    if newest is None:
        yield "There is no capture yet: `cli perf capture` makes one."
        return
    if not compared:
        yield f"There is nothing to compare with: no capture of the 30 days before {pacific_date(newest)}."
        return
    worse = [one for one in compared if one.verdict == WORSE]
    if any(one.query_name == baselines.SUM for one in worse):
        yield "The machine itself was slower: compare a capture that was made when it had nothing else to do."
    yield from map(_line, worse)
    count = Counter(one.verdict for one in compared)
    known = count[WORSE] + count[FINE]
    told = [f"{count[verdict]} {verdict}" for verdict in (SHORT, NEW, LEFT_OUT) if count[verdict]]
    yield ", ".join([f"{known} compared, {count[WORSE]} at least {SLOWER_PERCENT} % slower", *told]) + "."


def _line(one: Comparison) -> str:
    return f"{one.query_name}: p95 {one.p95_ms:.1f} ms, {one.change_percent} % above {one.baseline_ms:.1f} ms"
