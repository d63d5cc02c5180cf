"""Jobs beside jobs, and beside a writer of readings: every day is of one computation, and no reading is lost."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import (
    DAILY,
    DAYS,
    FIRST,
    LATER,
    NOW,
    ONE,
    Stream,
    at_once,
    clean_days,
    disagreements,
    facts_of,
    fresh_statistics,
    rows_of_days,
    running,
    started,
    statistics,
    stored_facts,
    until,
    writing,
)

from service.config import Settings
from service.jobs import daily, versions
from service.models import MetricsVersion, StatDay
from service.queries import state

MINUTE = timedelta(minutes=1)


def run(settings: Settings, *arguments: str, now: datetime = LATER) -> None:
    with started(settings, *arguments, now=now) as process:
        assert process.wait() == 0


def recomputing(first: int, last: int) -> list[str]:
    return ["recompute", "--start-date", str(FIRST + first * ONE), "--end-date", str(FIRST + last * ONE)]


def alive(processes: list[Any]) -> bool:
    return any(process.poll() is None for process in processes)


def assert_whole(settings: Settings) -> None:
    """Every day is of one computation; the ledger's word is true now, and of every day once the daily job has run."""
    assert disagreements() == []
    clean = clean_days()
    held = rows_of_days(clean)
    run(settings, "aggregate")
    assert clean_days() == {FIRST + number * ONE for number in range(DAYS)}
    completed = statistics()
    assert completed == fresh_statistics(LATER)
    assert held == rows_of_days(clean)


@pytest.mark.parametrize("seed", [1, 2])
def test_two_recomputations_beside_a_writer_of_slots_and_late_readings(
    settings: Settings, database: Any, tmp_path: Path, seed: int
) -> None:
    stream = Stream(seed)
    stream.store_past()
    daily.aggregate(NOW)
    commands = (NOW + MINUTE, recomputing(0, 17)), (NOW + 2 * MINUTE, recomputing(6, DAYS - 1))
    coming = stream.coming()
    beside_both = 0
    with writing(settings) as writer:
        stream.store(next(coming), writer)
        with at_once(settings, tmp_path, *commands) as processes:
            while alive(processes):
                stream.store(next(coming), writer)
                beside_both += len(running()) == 2
            assert [process.returncode for process in processes] == [0, 0]
    assert beside_both  # how many depends on the machine
    assert stored_facts() == facts_of(stream.stored)
    assert_whole(settings)


def test_two_daily_jobs_at_once(settings: Settings, database: Any, tmp_path: Path) -> None:
    Stream(3).store_past()
    aggregate = ["aggregate"]
    with at_once(settings, tmp_path, (NOW + MINUTE, aggregate), (NOW + 2 * MINUTE, aggregate)) as processes:
        until(lambda: len(running()) == 2)
        until(lambda: not alive(processes))
        assert [process.returncode for process in processes] == [0, 0]
    assert {row.computed_at for row in StatDay.select()} <= {NOW + MINUTE, NOW + 2 * MINUTE}
    assert len(clean_days()) == DAYS
    assert_whole(settings)


def test_a_version_is_promoted_and_another_dropped_beside_the_daily_job(
    settings: Settings, database: Any, tmp_path: Path
) -> None:
    stream = Stream(4)
    stream.store_past()
    daily.aggregate(NOW)
    stream.store(stream.late())
    days = daily.days_to_recompute(NOW, None, None, DAYS)
    for version in (2, 3):
        assert daily.recompute(days, NOW, version).is_whole
    versions.promote(2, NOW)
    assert 0 < len(clean_days()) < DAYS
    jobs = ["aggregate"], ["metrics", "promote", "1"], ["metrics", "drop", "3"]
    with at_once(settings, tmp_path, *((LATER, job) for job in jobs)) as processes:
        until(lambda: not alive(processes))
        aggregated, promoted, dropped = (process.returncode for process in processes)
    assert (aggregated, promoted) == (0, 0)
    assert disagreements() == []
    if dropped:  # the first version was promoted already, and a day of it was still to be computed
        assert dropped == 2
        run(settings, "metrics", "drop", "3")
    assert statistics(3) == dict.fromkeys(statistics(1), [])
    assert {row.version for row in MetricsVersion.select()} == {1, 2}
    assert state.active_version() == 1
    assert_whole(settings)
    assert statistics(2, DAILY) == statistics(1, DAILY)
