"""Performance baselines: what is measured, what is kept, and from when on a query has become too slow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import broken_world
import pytest
from click.testing import CliRunner, Result
from peewee import OperationalError

from cli import main
from service.config import Settings
from service.database import db
from service.errors import Unavailable
from service.models import PerformanceBaseline
from service.monitoring import baselines
from service.monitoring.baselines import Comparison, Timing, measure, store_capture, timing
from service.periods import PERIODS, iso_utc
from service.web.app import QUESTIONS, template

NOW = datetime(2026, 3, 4, 20, tzinfo=UTC)  # noon in Los Angeles
NAME = "/api/parks/downtime?period=today"
Run = Callable[..., Result]


@pytest.fixture
def run(database: Any, settings: Settings) -> Run:
    """Run `cli perf` with these arguments as of NOW; settings are given by name."""

    def invoke(*arguments: str, **environ: str) -> Result:
        fixed = {"DATABASE_URL": settings.database_url, "REPLAY_NOW": iso_utc(NOW), "ALERT_WEBHOOK_URL": ""}
        result = CliRunner().invoke(main, ["perf", *arguments], env=fixed | environ)
        db.initialize(database)  # the command has opened its own
        return result

    return invoke


def seed(days_ago: float, p95_ms: float, *, samples: int = 20, name: str = NAME, removed: int = 0) -> None:
    """A capture of one query, so long before NOW."""
    measured = Timing(name, samples, p95_ms - 2, p95_ms - 1, p95_ms, p95_ms + 1)
    assert store_capture([measured], NOW - timedelta(days=days_ago)) == removed


# --- figures ---------------------------------------------------------------------------------------------------------


def test_percentiles_are_at_the_nearest_rank() -> None:
    found = timing("q", [1000 * ms for ms in range(1, 101)])
    assert found == Timing("q", 100, 50.5, 50.0, 95.0, 99.0)
    assert timing("q", [7, 3]) == Timing("q", 2, 0.005, 0.003, 0.007, 0.007)


def test_all_are_asked_in_turn_once_more_than_is_counted() -> None:
    asked: list[str] = []
    steps: list[int] = []
    ask = {name: (lambda name=name: asked.append(name)) for name in ("one", "two")}
    found = measure(ask, 3, lambda: steps.append(1))
    assert asked == ["one", "two"] * 4 and len(steps) == 8
    assert [(one.query_name, one.sample_count) for one in found.timings] == [("one", 3), ("two", 3)]
    assert found.failed == {}


def test_what_fails_is_left_out_and_told() -> None:
    calls: list[int] = []

    def fail_later() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Unavailable("Gone.")

    def fail() -> None:
        raise OperationalError("database is locked")

    found = measure({"later": fail_later, "now": fail, "well": list}, 5, lambda: None)
    assert [one.query_name for one in found.timings] == ["well"]
    assert found.failed["later"] == "Gone." and "locked" in found.failed["now"]
    assert len(calls) == 2


# --- the rule --------------------------------------------------------------------------------------------------------


def judged(p95_ms: float, *before: float, samples: int = 20, samples_before: int = 20) -> Comparison:
    newest = {"q": Timing("q", samples, 0, 0, p95_ms, 0)}
    (found,) = baselines.compare(newest, {"q": [Timing("q", samples_before, 0, 0, ms, 0) for ms in before]})
    return found


@pytest.mark.parametrize(
    ("p95_ms", "verdict", "change"),
    [
        (124.0, "fine", 24.0),
        (124.999, "fine", 25.0),
        (125.0, "worse", 25.0),
        (200.0, "worse", 100.0),
        (100.0, "fine", 0.0),
        (50.0, "fine", -50.0),
    ],
)
def test_a_quarter_above_the_baseline_is_too_slow(p95_ms: float, verdict: str, change: float) -> None:
    assert judged(p95_ms, 100.0) == Comparison("q", verdict, p95_ms, 100.0, change)


def test_the_limit_is_met_exactly_whatever_floats_make_of_it() -> None:
    assert {judged(1.25 * ms / 1000, ms / 1000).verdict for ms in range(4, 4000, 4)} == {"worse"}


def test_the_baseline_is_the_median_of_the_captures_before() -> None:
    assert judged(124.0, 500.0, 100.0, 1.0).baseline_ms == 100.0
    assert judged(124.0, 500.0, 400.0, 100.0, 1.0).baseline_ms == 100.0  # of two in the middle the lower


def test_too_few_samples_say_nothing() -> None:
    assert judged(500.0, 100.0, samples=19) == Comparison("q", "too few samples", 500.0)
    assert judged(500.0, 100.0, samples_before=19) == Comparison("q", "too few samples", 500.0)
    few, enough = Timing("q", 19, 0, 0, 1.0, 0), Timing("q", 20, 0, 0, 400.0, 0)
    assert baselines.compare({"q": enough}, {"q": [few, enough]}) == [Comparison("q", "fine", 400.0, 400.0, 0.0)]


def test_a_query_without_its_like_is_not_judged() -> None:
    one = Timing("one", 20, 0, 0, 5.0, 0)
    assert baselines.compare({"one": one}, {"two": [one]}) == [
        Comparison("one", "no baseline", 5.0), Comparison("two", "not captured")
    ]


@pytest.mark.parametrize(
    ("verdicts", "well"),
    [
        (["fine", "no baseline"], True),
        (["fine", "worse"], False),
        (["fine", "too few samples"], False),
        (["fine", "not captured"], False),
        (["no baseline"], False),
        ([], False),
    ],
)
def test_all_is_well_when_everything_is_known_to_be(verdicts: list[str], well: bool) -> None:
    assert baselines.is_well([Comparison("q", verdict) for verdict in verdicts]) is well


# --- cli perf capture ------------------------------------------------------------------------------------------------


def test_every_question_of_the_api_is_measured(database: Any) -> None:
    broken_world.store()
    for periods in (baselines.PERIODS, PERIODS):
        asked = list(baselines.questions(broken_world.NOW, periods))
        names = [one.name for one in asked]
        assert {one.route for one in asked} == {template(path) for path in QUESTIONS}
        assert len(set(names)) == len(names) == len({one.path for one in asked})
        assert max(map(len, [*names, *baselines.QUERIES])) <= PerformanceBaseline.query_name.max_length


def test_names_stay_the_same_while_days_and_ids_change(database: Any) -> None:
    broken_world.store()
    today, later = (
        [(one.name, one.path) for one in baselines.questions(broken_world.NOW + timedelta(days=days))]
        for days in (0, 40)
    )
    assert [name for name, _ in today] == [name for name, _ in later] and today != later
    assert ("/api/parks/<park_id>/details?period=today (hours posted)", "/api/parks/1/details?period=today") in today
    assert ("/api/parks/<park_id>/rides (hours inferred)", "/api/parks/3/rides") in today


def test_a_capture_is_stored(run: Run) -> None:
    broken_world.store()
    seed(400.1, 100.0)
    seed(399.9, 100.0)
    environ = {
        "REPLAY_NOW": iso_utc(broken_world.NOW), "SNAPSHOT_INTERVAL_MINUTES": str(broken_world.INTERVAL),
        "API_RATE_LIMIT_PER_HOUR": "1", "API_RATE_LIMIT_PER_DAY": "1",
    }
    result = run("capture", "--rounds", "1", "--json", **environ)
    assert (result.exit_code, result.stderr) == (0, "")
    said = json.loads(result.stdout)
    assert said["captured_at"] == iso_utc(broken_world.NOW) and said["failed"] == {}
    stored = list(PerformanceBaseline.select().where(PerformanceBaseline.captured_at == broken_world.NOW))
    assert sorted(row.query_name for row in stored) == sorted(row["query_name"] for row in said["queries"])
    assert {row.query_name for row in stored} > {*baselines.QUERIES, "/api/search/index"}
    for row in stored:
        assert row.sample_count == 1 and 0 < row.p50_ms == row.avg_ms == row.p95_ms == row.p99_ms


def test_an_empty_database_is_measured_too(run: Run) -> None:
    result = run("capture", "--rounds", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "  /api/search/index\n" in result.stdout and "<park_id>" not in result.stdout


def test_a_question_that_fails_is_named_and_the_others_are_stored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_now: datetime) -> None:
        raise Unavailable("Not today.")

    monkeypatch.setattr(baselines, "QUERIES", {"well": lambda now: now, "bad": fail})
    monkeypatch.setattr(baselines, "questions", lambda now: iter(()))
    result = run("capture", "--rounds", "1")
    assert (result.exit_code, result.stderr) == (1, "bad: Not today.\n")
    assert [row.query_name for row in PerformanceBaseline.select()] == ["well"]


def test_captures_of_more_than_400_days_are_deleted(database: Any) -> None:
    seed(400, 100.0)
    seed(400 - 1 / 86400, 100.0)  # a second later
    seed(0, 100.0)
    seed(-1 / 86400, 100.0, removed=1)
    assert PerformanceBaseline.select().count() == 3


def test_a_capture_of_the_same_second_replaces_the_one_before(database: Any) -> None:
    seed(0, 100.0)
    seed(0, 50.0)
    assert [row.p95_ms for row in PerformanceBaseline.select()] == [50.0]


# --- cli perf compare ------------------------------------------------------------------------------------------------


@pytest.fixture
def hook() -> Iterator[Hook]:
    receiver = Hook()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


class Hook:
    """A webhook on the loopback."""

    def __init__(self) -> None:
        got: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.got = got
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.mark.parametrize(
    ("p95_ms", "samples", "says"),
    [
        (124.0, 20, "1 compared, 0 at least 25 % slower.\n"),
        (40.0, 20, "1 compared, 0 at least 25 % slower.\n"),
        (500.0, 19, "0 compared, 0 at least 25 % slower, 1 too few samples.\n"),
    ],
    ids=["a little slower", "faster", "too few samples"],
)
def test_nobody_is_told_of_what_is_no_regression(run: Run, hook: Hook, p95_ms: float, samples: int, says: str) -> None:
    seed(10, 100.0)
    seed(1, p95_ms, samples=samples)
    result = run("compare", ALERT_WEBHOOK_URL=hook.url)
    assert (result.exit_code, result.stdout, hook.got) == (0, says, [])


def test_a_regression_is_told_once_and_its_end(run: Run, hook: Hook) -> None:
    for days_ago in (20, 19, 18):
        seed(days_ago, 100.0)
    seed(3, 125.0)
    line = f"{NAME}: p95 125.0 ms, 25.0 % above 100.0 ms"
    for _ in range(2):
        result = run("compare", ALERT_WEBHOOK_URL=hook.url)
        assert (result.exit_code, result.stdout) == (1, f"{line}\n1 compared, 1 at least 25 % slower.\n")
    at = iso_utc(NOW)
    failed = {"event": "failed", "job": "performance", "period": None, "error": line, "at": at}
    assert hook.got == [failed]
    seed(2, 100.0, samples=5)
    assert run("compare", ALERT_WEBHOOK_URL=hook.url).exit_code == 0
    assert hook.got == [failed]  # nobody knows yet
    seed(1, 101.0)
    assert run("compare", ALERT_WEBHOOK_URL=hook.url).exit_code == 0
    assert hook.got == [failed, {"event": "recovered", "job": "performance", "period": None, "error": None, "at": at}]


def test_a_regression_without_a_webhook_is_an_exit_code(run: Run) -> None:
    seed(2, 10.0)
    seed(1, 20.0)
    seed(1, 5.0, name="new")
    result = run("compare", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "captured_at": iso_utc(NOW - timedelta(days=1)),
        "queries": [
            {"query_name": NAME, "verdict": "worse", "p95_ms": 20.0, "baseline_ms": 10.0, "change_percent": 100.0},
            {"query_name": "new", "verdict": "no baseline", "p95_ms": 5.0, "baseline_ms": None, "change_percent": None},
        ],
        "regressions": [NAME],
    }


def test_the_baseline_is_of_30_days(run: Run) -> None:
    seed(31 + 1e-4, 10.0)
    seed(1, 100.0)
    assert run("compare").stdout == "There is nothing to compare with: no capture of the 30 days before 2026-03-03.\n"
    seed(31, 10.0)
    assert run("compare").exit_code == 1


def test_captures_after_now_are_not_there_yet(run: Run) -> None:
    seed(2, 10.0)
    seed(1, 10.0)
    seed(-1, 100.0)
    assert run("compare").exit_code == 0


def test_a_day_to_compare_with_is_a_pacific_one_and_its_last_capture_counts(run: Run) -> None:
    assert NOW.hour == 20
    seed(100 + 12.1 / 24, 10.0)  # minutes before midnight in Los Angeles
    seed(100 + 11.9 / 24, 50.0)
    seed(100, 100.0)
    seed(99 + 11.9 / 24, 10.0)
    seed(1, 120.0)
    day = date(2026, 3, 4) - timedelta(days=100)
    assert run("compare").stdout.startswith("There is nothing")
    assert (run("compare", "--against", str(day)).exit_code) == 0
    assert (run("compare", "--against", str(day - timedelta(days=1))).exit_code) == 1
    seed(0, 120.0)
    seed(1 / 24, 10.0)
    assert run("compare", "--against", "2026-03-04").exit_code == 1


def test_a_day_without_a_capture_is_bad_input(run: Run) -> None:
    seed(1, 10.0)
    result = run("compare", "--against", "2026-03-03")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "There is no capture of 2026-03-03 before the newest, of 2026-03-03T20:00:00Z: use another day.\n"
    )


def test_nothing_captured_is_said(run: Run) -> None:
    result = run("compare")
    assert (result.exit_code, result.stdout) == (0, "There is no capture yet: `cli perf capture` makes one.\n")
    result = run("compare", "--json")
    assert json.loads(result.stdout) == {"captured_at": None, "queries": [], "regressions": []}
