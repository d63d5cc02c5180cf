"""Leases: one owner at a time, for as long as it shows signs of life."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from peewee import OperationalError

from service import clock
from service.database import db
from service.jobs import leases
from service.jobs.leases import LEASE_SECONDS, Lease
from service.models import JobLease
from service.queries.jobs import host_name

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@contextmanager
def of(owner: str) -> Iterator[Lease]:
    """The lease `worker` as another process sees it."""
    lease = Lease("worker")
    lease.owner = owner
    yield lease
    lease.release()


def row() -> JobLease | None:
    return JobLease.get_or_none(JobLease.name == "worker")


def at(monkeypatch: pytest.MonkeyPatch, instant: datetime) -> None:
    monkeypatch.setattr(clock, "real", lambda: instant)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a thread."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lease_has_one_owner(database: Any) -> None:
    with of("elsewhere:1:a") as one, of("elsewhere:2:b") as other:
        assert one.take() and one.is_held
        assert not other.take() and not other.is_held
        one.release()
        assert not one.is_held and row() is None
        assert other.take() and other.is_held


def test_its_owner_may_take_it_again(database: Any) -> None:
    with of("elsewhere:1:a") as one:
        assert one.take()
        one.renew_no_more()
        assert one.take() and one.is_held


def test_who_does_not_renew_loses_it_after_lease_seconds(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with of("elsewhere:1:a") as one, of("elsewhere:2:b") as other:
        at(monkeypatch, NOW)
        assert one.take()
        one.renew_no_more()  # as if it were dead
        at(monkeypatch, NOW + timedelta(seconds=LEASE_SECONDS - 1))
        assert not other.take()
        at(monkeypatch, NOW + timedelta(seconds=LEASE_SECONDS))
        assert other.take()
        found = row()
        assert found and (found.owner, found.acquired_at) == (other.owner, NOW + timedelta(seconds=LEASE_SECONDS))


def test_within_two_intervals_of_the_shortest_day_another_takes_over() -> None:
    from service.jobs.worker import SECONDS_BETWEEN_LOOKS

    assert LEASE_SECONDS + SECONDS_BETWEEN_LOOKS < 2 * 60  # an interval of a minute is the shortest there is


def test_a_dead_process_of_this_machine_loses_it_at_once(database: Any) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])  # noqa: S603
    child.wait()
    with of(f"{host_name()}:{child.pid}:a") as one, of("elsewhere:2:b") as other:
        assert one.take()
        one.renew_no_more()
        assert other.take()


def test_an_earlier_process_of_the_same_pid_is_another(database: Any) -> None:
    name, pid, _ = leases.owner().rsplit(":", 2)
    with of(f"{name}:{pid}:before") as earlier, of(leases.owner()) as now:
        assert earlier.take()
        assert not now.take()  # nothing is known of it until its lease runs out


def test_a_thread_renews_it(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.05)
    at(monkeypatch, NOW)
    with of("elsewhere:1:a") as one:
        one.take()
        at(monkeypatch, NOW + timedelta(seconds=60))
        until(lambda: (found := row()) is not None and found.expires_at == NOW + timedelta(seconds=60 + LEASE_SECONDS))
        assert one.is_held


def test_a_lease_that_another_has_taken_is_lost(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.05)
    with of("elsewhere:1:a") as one:
        one.take()
        JobLease.update({JobLease.owner: "elsewhere:2:b"}).execute()
        until(lambda: not one.is_held)
        one.release()
        assert row()  # the other's stays
        JobLease.delete().execute()


def test_a_renewal_that_fails_is_tried_again(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.05)
    monkeypatch.setattr(leases, "RETRY_SECONDS", 0.05)
    failed: list[int] = []
    renew = Lease._renew

    def sometimes(lease: Lease) -> None:
        if len(failed) < 3:
            failed.append(1)
            raise OperationalError(2013, "Lost connection")
        renew(lease)

    monkeypatch.setattr(Lease, "_renew", sometimes)
    at(monkeypatch, NOW)
    with of("elsewhere:1:a") as one:
        one.take()
        at(monkeypatch, NOW + timedelta(seconds=60))
        until(lambda: (found := row()) is not None and found.expires_at > NOW + timedelta(seconds=LEASE_SECONDS))
        assert len(failed) == 3 and one.is_held


def test_who_cannot_renew_in_time_does_not_think_it_holds_it(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with of("elsewhere:1:a") as one:
        one.take()
        monkeypatch.setattr(one, "_renewed", time.monotonic() - LEASE_SECONDS)
        assert not one.is_held


def test_its_thread_leaves_no_connection_behind(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.02)
    with of("elsewhere:1:a") as one:
        one.take()
        renewed = one._renewed
        until(lambda: one._renewed > renewed)
    if hasattr(db.obj, "_in_use"):  # the pool of MariaDB
        assert len(db.obj._in_use) <= 1
