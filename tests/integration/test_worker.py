"""The worker: what is due gets done, in order, by one of several; what fails is tried again, logged and told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from click.testing import CliRunner
from peewee import OperationalError

from cli import main
from factories import World as Scene
from factories import random_world
from payloads import asked_of, live, wiki_ride
from service import clock, rules
from service.config import Settings
from service.database import fetch
from service.errors import Silent
from service.feeds import ParkRecord, RideRecord
from service.feeds.simulation import World
from service.jobs import daily, worker
from service.jobs.alerts import Alerts
from service.jobs.catalog import store_catalog
from service.jobs.collect import Collector
from service.jobs.demo import build_demo
from service.jobs.joblog import logged
from service.jobs.marks import mark_raw_days_dirty
from service.jobs.patience import patiently
from service.jobs.store import NewSlot, store_readings
from service.jobs.worker import Stopped, Task, Worker
from service.models import AggregationJobLog, DailyParkStats, DailyStats, JobLease, JobStatus, MetricsVersion, Park
from service.models import ParkActivitySnapshot, ParkSchedule, Ride, RideStatusSnapshot, StatDay, WeatherForecast
from service.models import WeatherObservation, YearlyParkStats
from service.monitoring.health import health
from service.periods import epoch, instant, iso_utc, pacific_date, pacific_day
from service.queries import state
from service.queries.days import Tallies
from service.queries.live import newest_slot
from service.rules import ParkType, Source, Status

NOON = datetime(2026, 3, 4, 20, tzinfo=UTC)  # Wednesday noon in Los Angeles


@pytest.fixture
def hook() -> Iterator[Hook]:
    receiver = Hook()
    yield receiver
    receiver.close()


class Hook:
    """A webhook on the loopback; `status` is what it answers."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status < 400:
                    receiver.got.append(json.loads(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def holding(*tasks: Task, url: str | None = None) -> Worker:
    """A worker that holds the lease."""
    working = Worker(tasks, Alerts(url))
    assert working.lease.take()
    return working


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    made: list[Worker] = []
    create = Worker.__init__

    def remember(self: Worker, *arguments: Any) -> None:
        made.append(self)
        create(self, *arguments)

    Worker.__init__ = remember  # type: ignore[method-assign]
    yield
    Worker.__init__ = create  # type: ignore[method-assign]
    for working in made:
        working.lease.renew_no_more()


def doing(name: str, done: list[str], said: str | None = "something") -> Task:
    def run(_now: datetime, _proceed: worker.Proceed) -> str | None:
        done.append(name)
        return said

    return Task(name, run)


def log_rows() -> list[tuple[str, JobStatus]]:
    found = AggregationJobLog.select().order_by(AggregationJobLog.job_id)
    return [(row.job_type, row.status) for row in found]


# --- the loop --------------------------------------------------------------------------------------------------------


def test_tasks_are_done_in_their_order(database: Any) -> None:
    done: list[str] = []
    assert holding(doing("one", done), doing("two", done)).once()
    assert done == ["one", "two"]


def test_without_the_lease_nothing_is_done(database: Any) -> None:
    done: list[str] = []
    working = Worker([doing("one", done)], Alerts(None))
    working.once()
    assert done == []


def test_long_work_makes_way_for_what_is_urgent(database: Any) -> None:
    due = [False]
    asked: list[bool] = []

    def long(_now: datetime, proceed: worker.Proceed) -> str | None:
        asked.append(proceed())
        due[0] = True
        asked.append(proceed())
        return None

    urgent = Task("urgent", lambda now, proceed: str(proceed()), lambda now: due[0])
    working = holding(urgent, Task("long", long))
    working.once()
    assert asked == [True, False]


def test_a_stopped_worker_does_no_more_tasks(database: Any) -> None:
    done: list[str] = []
    working = holding(doing("never", done))
    working.stop()
    working.once()
    assert done == []


def test_what_fails_is_logged_and_tried_again_after_ever_longer_waits(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [1000.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: seconds[0])
    tried: list[float] = []

    def fail(_now: datetime, _proceed: worker.Proceed) -> str | None:
        tried.append(seconds[0] - 1000)
        raise ValueError("no good")

    other: list[str] = []
    working = Worker([Task("bad", fail), doing("good", other)], Alerts(None))
    monkeypatch.setattr(Worker, "_goes_on", lambda self: True)
    while seconds[0] < 1000 + 7200:
        working.once()
        seconds[0] += 15
    assert tried[:8] == [0, 30, 90, 210, 450, 930, 1890, 3690]  # 30 s, twice as long each time, half an hour at most
    assert tried[8] - tried[7] == 1800
    assert len(other) == 480  # it holds up nothing else
    assert log_rows() == [("bad", JobStatus.FAILED)] * len(tried)
    assert AggregationJobLog.get().error_details == "ValueError: no good"


def test_after_a_thousand_failures_it_is_still_tried(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    working = holding(Task("bad", lambda now, proceed: str(1 / 0)))
    working._failures["bad"] = worker._Failure(5000, 0)
    assert not working.once()


def test_what_was_told_to_end_ends_though_its_connection_hides_it(database: Any) -> None:
    tried: list[int] = []

    def cut(now: datetime, _proceed: worker.Proceed) -> str | None:
        def step() -> None:
            tried.append(1)
            try:
                raise Stopped  # of the signal handler, in the driver
            except Stopped:
                raise OperationalError(0, "") from None  # of the rollback

        patiently(step)
        return None

    working = Worker([Task("long", cut)], Alerts(None))
    working.run()
    assert tried == [1]


def test_a_failure_that_its_job_has_logged_is_logged_once(database: Any) -> None:
    def fail(now: datetime, _proceed: worker.Proceed) -> str | None:
        with logged("bad", now, start=date(2026, 3, 1), end=date(2026, 3, 2)):
            raise ValueError("no good")

    assert not holding(Task("bad", fail)).once()
    assert log_rows() == [("bad", JobStatus.FAILED)]


# --- alerts ----------------------------------------------------------------------------------------------------------


class Patient:
    """A task that fails while `error` is set, and no back-off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        monkeypatch.setattr(worker, "FIRST_RETRY", 0)
        self.error: Exception | None = None
        self.url = url
        self.worker = holding(Task("bad", self.run), url=url)

    def run(self, now: datetime, _proceed: worker.Proceed) -> str | None:
        with logged("bad", now, start=date(2026, 3, 1), end=date(2026, 3, 2)):
            if self.error:
                raise self.error
        return None

    def restart(self) -> None:
        self.worker.lease.renew_no_more()
        self.worker = holding(Task("bad", self.run), url=self.url)


def test_an_incident_is_told_once_and_its_end_once(
    database: Any, monkeypatch: pytest.MonkeyPatch, hook: Hook
) -> None:
    clock.replay(NOON)
    task = Patient(monkeypatch, hook.url)
    task.worker.once()
    assert hook.got == []
    task.error = ValueError("no good")
    for _ in range(3):
        task.worker.once()
    task.restart()  # another worker takes over: it knows
    task.worker.once()
    told = {"event": "failed", "job": "bad", "period": "2026-03-01/2026-03-02", "error": "ValueError: no good"}
    assert hook.got == [{**told, "at": "2026-03-04T20:00:00Z"}]
    task.restart()
    task.error = None
    for _ in range(3):
        task.worker.once()
    recovered = {"event": "recovered", "job": "bad", "period": None, "error": None, "at": "2026-03-04T20:00:00Z"}
    assert hook.got[1:] == [recovered]
    task.error = ValueError("again")
    task.worker.once()
    assert [got["event"] for got in hook.got] == ["failed", "recovered", "failed"]


def test_a_webhook_that_does_not_take_it_is_told_again(
    database: Any, monkeypatch: pytest.MonkeyPatch, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    task = Patient(monkeypatch, hook.url)
    task.error = ValueError("no good")
    hook.status = 500
    task.worker.once()
    assert "did not take word of bad failed" in caplog.text and hook.url not in caplog.text
    hook.status = 200
    task.worker.once()
    task.worker.once()
    assert [got["event"] for got in hook.got] == ["failed"]


def test_who_takes_over_knows_what_another_told(
    database: Any, monkeypatch: pytest.MonkeyPatch, hook: Hook
) -> None:
    task = Patient(monkeypatch, hook.url)
    task.worker.once()  # it looked, and nothing was told
    other = Alerts(hook.url)
    other.failed("bad", None, "elsewhere", NOON)
    assert task.worker._take_lease()
    task.worker.once()
    assert [got["event"] for got in hook.got] == ["failed", "recovered"]


def test_an_address_that_no_request_can_be_sent_to_harms_nothing(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("http://a..b/", f"http://{'a' * 64}.example/", "http://[::1/"):
        Alerts(url).failed("bad", None, "no good", NOON)


def test_a_webhook_that_is_not_there_harms_nothing(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Patient(monkeypatch, "http://127.0.0.1:9/")
    task.error = ValueError("no good")
    assert not task.worker.once()
    task.error = None
    assert task.worker.once()


def test_a_database_that_is_gone_is_told_and_its_return(
    database: Any, monkeypatch: pytest.MonkeyPatch, hook: Hook
) -> None:
    done: list[str] = []
    working = Worker([doing("one", done)], Alerts(hook.url))
    gone = [True]
    take = type(working.lease).take

    def away(lease: Any) -> bool:
        if gone[0]:
            raise OperationalError(2003, "Can't connect to server")
        return take(lease)

    monkeypatch.setattr(type(working.lease), "take", away)
    assert working._take_lease() is None and hook.got == []  # who never worked leaves it to the one that did
    gone[0] = False
    assert working._take_lease()
    gone[0] = True
    assert working._take_lease() is None and working._take_lease() is None
    gone[0] = False
    assert working._take_lease() and working.once()
    assert [(got["event"], got["job"]) for got in hook.got] == [("failed", "database"), ("recovered", "database")]


# --- all of it -------------------------------------------------------------------------------------------------------


def stored(version: int = 1) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for model, columns in ((DailyStats, daily.RIDE_COLUMNS), (DailyParkStats, daily.PARK_COLUMNS)):
        kept = [column for column in columns if column.name not in ("computed_at", "metrics_version")]
        query = model.select(*kept).where(model.metrics_version == version)  # type: ignore[attr-defined]
        found += fetch(query.order_by(*columns[:2]))
    return found


def test_over_a_simulated_day_answers_are_never_older_than_15_minutes(
    database: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 16:00 to 16:00 Pacific, while a week is computed and the day before gets final and the year refreshed."""
    monkeypatch.setattr(World, "collector_gaps", lambda self, day: [])
    world, start = World(3, 5, "small"), datetime(2026, 3, 4, tzinfo=UTC)
    build_demo(world, 9, interval_minutes=5, now=start, progress=lambda done, total: None)
    assert state.get_state(state.NEWEST_SLOT) == epoch(start)
    working = holding(*worker.tasks(settings))
    oldest: list[int] = []
    for minutes in range(2, 24 * 60, 5):
        now = start + timedelta(minutes=minutes)
        clock.replay(now)
        working.once()
        _, document = health(settings, now)
        oldest.append(document["checks"]["data_collection"]["age_minutes"])  # type: ignore[index]
        tallies = Tallies(now)
        newest = [newest_slot(tallies, park) or 0 for park in tallies.universe.parks.values()]
        assert len(newest) == 3 and epoch(now) - min(newest) <= 15 * 60
    assert max(oldest) <= 15
    assert set(log_rows()) == {(name, JobStatus.SUCCESS) for name in ("collect", "aggregate", "yearly")}
    collected = AggregationJobLog.select().where(AggregationJobLog.job_type == "collect").count()
    assert collected == 24 * 12
    assert daily.missing_days(now, 1) == []
    assert StatDay.select().count() == 9
    # What was collected slot by slot is what the same world gives as a whole.
    readings = fetch(RideStatusSnapshot.select().order_by(RideStatusSnapshot.snapshot_time, RideStatusSnapshot.ride_id))
    build_demo(world, 2, interval_minutes=5, now=now, force=True, progress=lambda done, total: None)
    again = fetch(RideStatusSnapshot.select().order_by(RideStatusSnapshot.snapshot_time, RideStatusSnapshot.ride_id))
    assert readings == again


@pytest.fixture
def scene(database: Any) -> tuple[Scene, datetime]:
    world, now = random_world(6)
    world.store()
    Park.update({Park.queue_times_id: None}).execute()  # nobody outside is asked
    return world, instant(now + 10 * 86400)


def thirty(settings: Settings, **changes: Any) -> Settings:
    return replace(settings, snapshot_interval_minutes=30, **changes)


def collecting(settings: Settings) -> tuple[Collector, datetime]:
    """A collector, and the instant of the slot after a demo's last."""
    start = datetime(2026, 3, 4, 20, tzinfo=UTC)
    build_demo(World(3, 5, "small"), 1, interval_minutes=5, now=start, progress=lambda done, total: None)
    return Collector(Settings()), start + timedelta(minutes=5)


def test_a_slot_is_collected_unseen_and_then_shown(
    database: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, now = collecting(settings)
    collector.collect(now)  # and the hours of the next days
    before = state.get_states(state.NEWEST_SLOT, state.REVISION_CURRENT)
    monkeypatch.setattr(NewSlot, "publish", lambda self: None)
    now += timedelta(minutes=5)
    collector.collect(now)
    assert state.get_states(state.NEWEST_SLOT, state.REVISION_CURRENT) == before
    monkeypatch.undo()
    collector.collect(now + timedelta(minutes=5))
    after = {state.NEWEST_SLOT: epoch(now) + 300, state.REVISION_CURRENT: before[state.REVISION_CURRENT] + 1}
    assert state.get_states(state.NEWEST_SLOT, state.REVISION_CURRENT) == after


def test_a_park_that_cannot_be_stored_stops_no_other(
    database: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, now = collecting(settings)
    store = NewSlot.store

    def refuse_the_first(new: NewSlot, park_id: int, *arguments: Any) -> Any:
        if park_id == 1:
            raise ValueError("a wait of -5 minutes")
        return store(new, park_id, *arguments)

    monkeypatch.setattr(NewSlot, "store", refuse_the_first)
    collector.collect(now)
    assert log_rows()[-1] == ("collect", JobStatus.SUCCESS)
    assert AggregationJobLog.select().order_by(AggregationJobLog.job_id.desc()).get().warnings == 1
    assert state.get_state(state.NEWEST_SLOT) == epoch(now)
    seen = ParkActivitySnapshot.select().where(ParkActivitySnapshot.snapshot_time == now)
    assert sorted(row.park_id for row in seen) == [2, 3]


def test_late_readings_and_a_changed_tier_are_put_right(settings: Settings, scene: tuple[Scene, datetime]) -> None:
    _, now = scene
    clock.replay(now)
    working = holding(*worker.tasks(thirty(settings)))
    working.once()
    days = sorted(row.stat_date for row in StatDay.select())
    ride = Ride.select().order_by(Ride.ride_id).first()
    late = pacific_day(days[1]).start + 20 * 3600
    store_readings(
        ride.park_id, [(late, ride.ride_id, Status.DOWN, None, None)], source=Source.THEMEPARKS_WIKI,
        interval_minutes=30, now=now,
    )
    dirty = {row.stat_date for row in StatDay.select().where(StatDay.dirty)}
    assert set(days[1:8]) <= dirty  # the day, and the six whose rosters look back at it
    working.once()
    assert not StatDay.select().where(StatDay.dirty).exists()
    put_right = stored()
    daily.recompute(days[::-1], now, 1)
    assert stored() == put_right
    Ride.update({Ride.tier: 1}).where(Ride.tier != 1).execute()
    mark_raw_days_dirty()  # as the catalog does
    clock.replay(now + timedelta(minutes=1))
    working.once()
    assert {row.weight for row in DailyStats.select()} == {2, 3}  # without a tier it is 2
    assert not StatDay.select().where(StatDay.dirty).exists()


def test_a_new_version_is_computed_newest_first_and_promoted_when_it_is_whole(
    settings: Settings, scene: tuple[Scene, datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, now = scene
    clock.replay(now)
    working = holding(*worker.tasks(thirty(settings)))
    working.once()
    days = sorted(row.stat_date for row in StatDay.select())
    monkeypatch.setattr(rules, "METRICS_VERSION", 2)
    computed: list[date] = []
    compute = daily.compute_day

    def slowly(day: date, *arguments: Any, **options: Any) -> Any:
        computed.append(day)
        if len(computed) == 2:
            working.stop()
        return compute(day, *arguments, **options)

    monkeypatch.setattr(daily, "compute_day", slowly)
    working.once()
    assert computed == days[::-1][:2]  # it was told to stop
    assert state.active_version() == 1
    another = holding(*worker.tasks(thirty(settings)))
    another.once()
    assert computed == days[::-1]
    assert state.active_version() == 2
    assert stored(2) == stored(1)
    assert MetricsVersion.get(MetricsVersion.version == 2).promoted_at == now
    assert {row.metrics_version for row in YearlyParkStats.select()} == {1, 2}
    assert ("promote", JobStatus.SUCCESS) in log_rows()


def test_a_version_is_not_promoted_when_a_person_wants_to(
    settings: Settings, scene: tuple[Scene, datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.replay(scene[1])
    holding(*worker.tasks(thirty(settings))).once()
    monkeypatch.setattr(rules, "METRICS_VERSION", 2)
    working = holding(*worker.tasks(thirty(settings, auto_promote=False)))
    working.once()
    assert daily.missing_days(scene[1], 2) == []
    assert state.active_version() == 1


def test_days_past_retention_go_once_a_day(
    settings: Settings, scene: tuple[Scene, datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = scene[1] - timedelta(days=3)
    clock.replay(now)
    working = holding(*worker.tasks(thirty(settings, raw_retention_days=8)))
    working.once()
    assert ("prune", JobStatus.SUCCESS) in log_rows()
    first = pacific_date(fetch(RideStatusSnapshot.select(RideStatusSnapshot.snapshot_time).order_by(
        RideStatusSnapshot.snapshot_time
    ).limit(1))[0][0])
    assert first == pacific_date(now) - timedelta(days=9)
    runs = len(log_rows())
    working.once()
    assert len(log_rows()) == runs  # nothing is due, nothing is logged
    pruned: list[datetime] = []
    monkeypatch.setattr(worker.retention, "prune", lambda settings, now, **more: pruned.append(now))
    working.once()
    assert pruned == []  # once on each Pacific day


# --- the process -----------------------------------------------------------------------------------------------------


def environment(settings: Settings, now: datetime) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "SNAPSHOT_INTERVAL_MINUTES": "30",
        "REPLAY_NOW": now.isoformat(),
        "REPLAY_TICK": "1",
        "PYTHONUNBUFFERED": "1",
    }


def started(settings: Settings, now: datetime) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "worker"], env=environment(settings, now),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_sigterm_ends_it_and_another_takes_over(settings: Settings, scene: tuple[Scene, datetime]) -> None:
    first = started(settings, scene[1])
    try:
        until(lambda: ("yearly", JobStatus.SUCCESS) in log_rows())
        second = started(settings, scene[1])
        try:
            lines = iter(second.stdout or ())
            assert any("stands by" in line for line in lines)
            first.send_signal(signal.SIGTERM)
            assert first.wait(20) == 0
            assert any("takes over" in line for line in lines)
            second.send_signal(signal.SIGTERM)
            assert second.wait(20) == 0
        finally:
            second.kill()
            second.wait()
    finally:
        first.kill()
        first.wait()
    assert JobLease.select().count() == 0
    assert JobStatus.RUNNING not in {status for _, status in log_rows()}


def test_work_that_takes_too_long_is_abandoned(database: Any) -> None:
    def long(now: datetime, _proceed: worker.Proceed) -> str | None:
        with logged("long", now):
            raise Stopped  # what the signal handler does

    working = Worker([Task("long", long)], Alerts(None))
    working.run()
    assert log_rows() == [("long", JobStatus.FAILED)]
    assert JobLease.select().count() == 0


def cli(settings: Settings, *arguments: str, **environ: str) -> Any:
    env = {"DATABASE_URL": settings.database_url, "SNAPSHOT_INTERVAL_MINUTES": "30", "REPLAY_NOW": "", **environ}
    return CliRunner().invoke(main, arguments, env=env)


def test_once_does_what_is_due(settings: Settings, scene: tuple[Scene, datetime]) -> None:
    now = scene[1].isoformat()
    assert cli(settings, "worker", "--once", REPLAY_NOW=now, REPLAY_TICK="1").exit_code == 0
    assert {name for name, _ in log_rows()} == {"aggregate", "yearly"}
    assert JobLease.select().count() == 0


def test_once_leaves_it_to_the_worker_that_runs(settings: Settings, scene: tuple[Scene, datetime]) -> None:
    holding().lease.owner = "elsewhere:1:a"
    JobLease.update({JobLease.owner: "elsewhere:1:a"}).execute()
    result = cli(settings, "worker", "--once")
    assert (result.exit_code, log_rows()) == (0, [])
    assert "Another worker runs" in result.stderr


def test_a_job_that_fails_makes_once_exit_1(
    settings: Settings, scene: tuple[Scene, datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise ValueError("spoilt")

    monkeypatch.setattr(daily, "store_day", broken)
    result = cli(settings, "worker", "--once", REPLAY_NOW=scene[1].isoformat(), REPLAY_TICK="1")
    assert result.exit_code == 1
    assert ("aggregate", JobStatus.FAILED) in log_rows()


def test_a_clock_that_stands_still_is_refused(settings: Settings, database: Any) -> None:
    result = cli(settings, "worker", REPLAY_NOW="2026-03-04T20:00:00Z")
    assert result.exit_code == 2
    assert "REPLAY_TICK=1" in result.stderr


def test_an_alert_address_must_be_one(settings: Settings, database: Any) -> None:
    result = cli(settings, "worker", "--once", ALERT_WEBHOOK_URL="hooks.example/secret")
    assert result.exit_code == 2
    assert "ALERT_WEBHOOK_URL" in result.stderr and "secret" not in result.stderr


def test_one_day_that_fails_stops_no_other(
    settings: Settings, scene: tuple[Scene, datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.replay(scene[1])
    store, bad = daily.store_day, daily.missing_days(scene[1], 1)[1]

    def broken(day: date, *arguments: Any, **more: Any) -> None:
        if day == bad:
            raise ValueError("spoilt")
        store(day, *arguments, **more)

    monkeypatch.setattr(daily, "store_day", broken)
    assert not holding(*worker.tasks(thirty(settings))).once()
    assert daily.missing_days(scene[1], 1) == [bad]
    failed = AggregationJobLog.get(AggregationJobLog.job_type == "aggregate")
    assert (failed.status, failed.error_details) == (JobStatus.FAILED, f"{bad}: ValueError: spoilt")
    result = cli(settings, "aggregate", "--json", REPLAY_NOW=scene[1].isoformat())
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] == [{"day": str(bad), "error": "ValueError: spoilt"}]


# --- live data -------------------------------------------------------------------------------------------------------


def live_park() -> None:
    """A park of both sources with four attractions, whose noon is NOON."""
    record = ParkRecord(1, "Bay", ParkType.DISNEY, "US", "America/Los_Angeles", latitude=33.8, longitude=-117.9,
                        queue_times_id=1, themeparks_wiki_id="bay")  # fmt: skip
    rides = [
        RideRecord(one, 1, f"Ride {one}", queue_times_id=one, themeparks_wiki_id=f"ride-{one}") for one in range(1, 5)
    ]
    store_catalog([record], rides, NOON - timedelta(days=30))


def answers_at(now: datetime) -> dict[str, bytes]:
    """What every source says at an instant."""
    day = {"date": "2026-03-04", "openingTime": "2026-03-04T09:00:00-08:00", "closingTime": "2026-03-04T22:00:00-08:00"}
    hours = {"timezone": "America/Los_Angeles", "schedule": [{**day, "type": "OPERATING"}]}
    listed = [{"id": f"ride-{one}", "name": f"Ride {one}", "entityType": "ATTRACTION"} for one in range(1, 5)]
    times = [iso_utc(epoch(NOON) // 86400 * 86400 + hour * 3600)[:16] for hour in range(48)]
    found = {
        "/entity/bay/schedule": hours,
        "/entity/bay/children": {"children": listed},
        "/destinations": {"destinations": [{"id": "d", "name": "Bay", "parks": [{"id": "bay", "name": "Bay"}]}]},
        "/parks.json": [],
        "/forecast": {"hourly": {"time": times, "temperature_2m": [50] * 48}},
    }
    bodies = {path: json.dumps(answer).encode() for path, answer in found.items()}
    return {**bodies, "/entity/bay/live": live(wiki_ride(one, "OPERATING", 10, now) for one in range(1, 5))}


def test_a_worker_asks_the_sources_for_all_they_tell(settings: Settings, database: Any) -> None:
    live_park()
    bodies = answers_at(NOON)

    def ask(url: str) -> bytes:
        return asked_of(bodies)[0](url.partition("?")[0])

    clock.replay(NOON)
    working = holding(*worker.tasks(settings, ask))
    assert working.once()
    assert log_rows() == [(name, JobStatus.SUCCESS) for name in ("collect", "schedules", "weather", "catalog")]
    assert RideStatusSnapshot.select().count() == 4
    assert ParkSchedule.select().count() == 1
    assert (WeatherObservation.select().count(), WeatherForecast.select().count()) == (21, 27)
    assert {ride.last_listed_at for ride in Ride.select()} == {NOON}
    clock.replay(NOON + timedelta(minutes=1))
    assert working.once()
    assert len(log_rows()) == 4  # nothing else is due in this slot
    bodies |= answers_at(NOON + timedelta(minutes=5))
    clock.replay(NOON + timedelta(minutes=5))
    assert working.once()
    assert log_rows()[4:] == [("collect", JobStatus.SUCCESS)]


def test_where_no_source_answers_every_slot_is_tried_again(
    settings: Settings, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_park()
    seconds = [1000.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: seconds[0])
    ask, _ = asked_of({"": Silent("api.example cannot be reached.")})
    working = holding(worker.tasks(settings, ask)[0])
    monkeypatch.setattr(type(working.lease), "is_held", property(lambda lease: True))
    for number in range(12):
        clock.replay(NOON + timedelta(minutes=5 * number))
        seconds[0] += 300
        assert not working.once()
        seconds[0] += 31
        assert working.once()  # there is nothing to do until the next slot, and nobody is told that it is well
    assert log_rows() == [("collect", JobStatus.FAILED)] * 12
    said = AggregationJobLog.select().order_by(AggregationJobLog.job_id).first().error_details
    assert said == " ".join(
        f"{source}: api.example cannot be reached (Bay)." for source in ("ThemeParks.wiki", "Queue-Times")
    )
    clock.replay(NOON + timedelta(hours=1))
    seconds[0] += 300
    collector = worker.tasks(settings, asked_of(answers_at(NOON + timedelta(hours=1)))[0])[0]
    working.tasks = [collector]
    assert working.once()
    assert log_rows()[-1] == ("collect", JobStatus.SUCCESS)
