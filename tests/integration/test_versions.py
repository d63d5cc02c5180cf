"""`cli metrics`: versions of the statistics side by side, compared, promoted and dropped."""

from __future__ import annotations

import json
from datetime import date, time, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import main
from factories import World
from service import clock
from service.config import Settings
from service.database import db
from service.errors import BadRequest
from service.jobs import daily, versions
from service.models import (
    DailyParkStats,
    DailyStats,
    MetricsVersion,
    RideStatusSnapshot,
    StatDay,
    YearlyParkStats,
    YearlyRideStats,
)
from service.periods import Span, instant, iso_utc, wall_clock
from service.queries import state
from service.queries.days import ADOPTED_VERSION, Tallies

DAY = date(2025, 6, 10)
ONE = timedelta(days=1)
PACIFIC = "America/Los_Angeles"
NOW = instant(wall_clock(DAY + 3 * ONE, time(12), PACIFIC))
DAYS = [DAY + 2 * ONE, DAY + ONE, DAY]
TABLES = (StatDay, DailyStats, DailyParkStats)


@pytest.fixture(autouse=True)
def three_days(database: Any) -> Any:
    """Two parks with two rides each, three days computed at version 1: an hour down a day, of one ride of each."""
    world = World(30)
    for _ in range(2):
        park = world.park()
        for letters in ("OOODDO", "OOOOOO"):
            ride = world.ride(park)
            for day in DAYS:
                world.day_of(ride, letters, wall_clock(day, time(12), PACIFIC))
    world.store()
    daily.aggregate(NOW)
    yield
    clock.replay(None)
    if not db.is_closed():
        db.close()


def compute(version: int, days: list[date] = DAYS) -> None:
    daily.recompute(days, NOW, version)


def say_otherwise(version: int, ride_id: int, minutes: int) -> None:
    """As if the rules of `version` had found so much less downtime of a ride and its park each day."""
    for model, mine in ((DailyStats, DailyStats.ride == ride_id), (DailyParkStats, DailyParkStats.park == 1)):
        down: Any = model.total_downtime_minutes
        model.update({down: down - minutes}).where(mine, model.metrics_version == version).execute()


def cli(settings: Settings, *arguments: str) -> Result:
    environ = {
        "DATABASE_URL": settings.database_url, "REPLAY_NOW": iso_utc(NOW), "SNAPSHOT_INTERVAL_MINUTES": "30",
    }
    return CliRunner().invoke(main, ["metrics", *arguments], env=environ)


def report(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def downtime(day: date = DAY) -> int:
    """Down slots of ride 1 as an answer would count them."""
    tallies = Tallies(NOW)
    return tallies.rides(Span((day,), ""), tallies.universe.parks.values())[1].down


def counts() -> list[dict[int, int]]:
    """Rows per version of the daily tables and the ledger."""
    found = []
    for model in TABLES:
        per_version: dict[int, int] = {}
        for row in model.select():
            per_version[row.metrics_version] = per_version.get(row.metrics_version, 0) + 1
        found.append(per_version)
    return found


# --- list ------------------------------------------------------------------------------------------------------------


def test_the_list_says_how_many_days_each_version_has(settings: Settings) -> None:
    compute(2, DAYS[:2])
    StatDay.update({StatDay.dirty: True}).where(StatDay.stat_date == DAYS[0], StatDay.metrics_version == 2).execute()
    first, second = report(cli(settings, "list", "--json"))["versions"]
    assert (first["version"], first["days"], first["dirty_days"], first["active"]) == (1, 3, 0, True)
    assert (first["first_day"], first["last_day"]) == ("2025-06-10", "2025-06-12")
    assert (second["version"], second["days"], second["dirty_days"], second["active"]) == (2, 1, 1, False)
    assert second["promoted_at"] is None and second["created_at"].startswith("2025-06-13T19:00")
    lines = cli(settings, "list").stdout.splitlines()
    assert lines[0] == "   1  first rules: 3 days, 2025-06-10 to 2025-06-12  ACTIVE"
    assert lines[1].endswith("1 day and 1 to compute again, 2025-06-11 to 2025-06-12")


def test_a_version_that_has_days_is_listed_though_nobody_registered_it(settings: Settings) -> None:
    StatDay.update({StatDay.metrics_version: 7}).execute()
    found = report(cli(settings, "list", "--json"))["versions"]
    assert [(one["version"], one["days"]) for one in found] == [(1, 0), (7, 3)]


# --- promote ---------------------------------------------------------------------------------------------------------


def test_readers_take_a_version_when_it_is_promoted(settings: Settings) -> None:
    compute(2, DAYS[1:])
    say_otherwise(2, 1, 30)
    assert downtime() == 2
    revision = state.get_state(state.REVISION_HISTORY) or 0
    result = cli(settings, "promote", "2")
    assert (result.exit_code, result.stdout) == (0, "Version 2 is active now.\n")
    assert (downtime(), downtime(DAYS[0])) == (1, 2)  # a day it lacks is read at the version before
    assert MetricsVersion.get(MetricsVersion.version == 2).promoted_at == NOW
    assert (state.get_state(state.REVISION_HISTORY) or 0) > revision
    assert cli(settings, "promote", "1").exit_code == 0  # and back
    assert downtime() == 2


def test_the_years_follow_the_promotion(settings: Settings) -> None:
    compute(2)
    say_otherwise(2, 1, 30)
    assert report(cli(settings, "promote", "2", "--json")) == {"active": 2, "changed": True, "years": [2025]}
    year = YearlyRideStats.get(YearlyRideStats.ride == 1)
    assert (year.metrics_version, year.total_downtime_minutes) == (2, 3 * 30)


def test_promoting_again_changes_nothing(settings: Settings) -> None:
    compute(2)
    cli(settings, "promote", "2")
    revision = state.get_state(state.REVISION_HISTORY)
    assert versions.promote(2, NOW + ONE) is False
    assert report(cli(settings, "promote", "2", "--json"))["changed"] is False
    assert (MetricsVersion.get(MetricsVersion.version == 2).promoted_at, state.get_state(state.REVISION_HISTORY)) == (
        NOW, revision,
    )


@pytest.mark.parametrize("version", [0, 2, 9])
def test_a_version_without_a_day_that_holds_is_not_promoted(settings: Settings, version: int) -> None:
    compute(2)
    StatDay.update({StatDay.dirty: True}).where(StatDay.metrics_version == 2).execute()
    result = cli(settings, "promote", str(version))
    assert (result.exit_code, state.get_state(state.ACTIVE_VERSION)) == (2, 1)
    assert result.stderr.startswith(f"Version {version} ")


# --- drop ------------------------------------------------------------------------------------------------------------


def test_no_version_is_promoted_that_would_hide_days_whose_readings_are_gone(settings: Settings) -> None:
    compute(2)
    cli(settings, "promote", "2")
    StatDay.delete().where((StatDay.stat_date == DAY) & (StatDay.metrics_version == 1)).execute()
    assert cli(settings, "promote", "1").exit_code == 0  # it is counted from its readings
    cli(settings, "promote", "2")
    third = wall_clock(DAY + 2 * ONE, time(0), PACIFIC)
    RideStatusSnapshot.delete().where(RideStatusSnapshot.snapshot_time < third).execute()
    result = cli(settings, "promote", "1")
    assert result.exit_code == 2
    assert f"above version 1 only: 1 ({DAY})" in result.stderr
    assert state.active_version() == 2


def test_a_version_is_dropped_with_all_it_has(settings: Settings) -> None:
    before = counts()
    compute(2)
    YearlyParkStats.insert({
        YearlyParkStats.year: 2025, YearlyParkStats.park: 1, YearlyParkStats.metrics_version: 2,
        YearlyParkStats.days_operated: 1, YearlyParkStats.sample_count: 1, YearlyParkStats.is_complete: False,
        YearlyParkStats.total_downtime_minutes: 0, YearlyParkStats.operating_minutes: 0,
        YearlyParkStats.wait_sum: 0, YearlyParkStats.wait_samples: 0, YearlyParkStats.computed_at: NOW,
    }).execute()
    result = cli(settings, "drop", "2")
    assert (result.exit_code, result.stdout) == (0, "Version 2 is gone: 3 days dropped.\n")
    assert counts() == before
    assert YearlyParkStats.select().count() == 0
    assert [row.version for row in MetricsVersion.select()] == [1]
    assert report(cli(settings, "drop", "2", "--json")) == {"dropped": 2, "days": 0}  # and again


def test_the_active_version_is_not_dropped(settings: Settings) -> None:
    before = counts()
    result = cli(settings, "drop", "1")
    assert (result.exit_code, counts()) == (2, before)
    assert "active" in result.stderr


@pytest.mark.parametrize("case", ["lacking", "dirty", "not read yet"])
def test_a_version_that_is_the_only_one_of_a_day_is_not_dropped(settings: Settings, case: str) -> None:
    compute(2, DAYS[:2] if case == "lacking" else DAYS)
    if case == "dirty":
        StatDay.update({StatDay.dirty: True}).where(StatDay.stat_date == DAY, StatDay.metrics_version == 2).execute()
    versions.promote(2, NOW)
    if case == "not read yet":  # the day has another version, but above the active one
        StatDay.update({StatDay.metrics_version: 3}).where(
            StatDay.stat_date == DAY, StatDay.metrics_version == 2
        ).execute()
    before = counts()
    result = cli(settings, "drop", "1")
    assert (result.exit_code, counts()) == (2, before)
    assert "would lose their only version: 1 (2025-06-10)" in result.stderr


def test_adopted_history_keeps_a_day(settings: Settings) -> None:
    StatDay.update({StatDay.metrics_version: ADOPTED_VERSION}).where(StatDay.stat_date == DAY).execute()
    compute(2, DAYS[:2])
    versions.promote(2, NOW)
    assert cli(settings, "drop", "1").exit_code == 0
    assert cli(settings, "drop", "0").exit_code == 2


def test_a_drop_that_was_cut_short_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    compute(2)
    forget = versions._drop_day

    def cut_short(version: int, day: date) -> None:
        forget(version, day)
        if day == DAY + ONE:
            raise KeyboardInterrupt

    monkeypatch.setattr(versions, "_drop_day", cut_short)
    with pytest.raises(KeyboardInterrupt):
        versions.drop(2)
    assert [found.get(2) for found in counts()] == [2, 8, 4]  # the day it was stopped in is whole
    monkeypatch.undo()
    assert versions.drop(2) == 2
    assert [found.get(2) for found in counts()] == [None, None, None]


def test_a_day_that_loses_its_other_version_while_one_is_dropped_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    compute(2)
    ensure = versions._ensure_not_active

    def meanwhile(version: int) -> None:
        ensure(version)
        if db.in_transaction():
            StatDay.update({StatDay.dirty: True}).where(StatDay.metrics_version == 1).execute()

    monkeypatch.setattr(versions, "_ensure_not_active", meanwhile)
    with pytest.raises(BadRequest, match="2025-06-10 would lose"):
        versions.drop(2)
    assert [found.get(2) for found in counts()] == [3, 12, 6]


# --- compare ---------------------------------------------------------------------------------------------------------


def test_versions_that_agree_say_so(settings: Settings) -> None:
    compute(2)
    found = report(cli(settings, "compare", "1", "2", "--json"))
    assert found["changed"] == {"parks": 0, "rides": 0}
    assert (found["parks"], found["rides"], found["days"]["count"]) == ([], [], 3)
    one, two = found["totals"]
    assert one | {"version": 2} == two
    # two parks, an hour a day; ride days: 2 h running, or 3 h; a ride down 1 of 3 h, and both in the park's score
    assert (one["downtime_hours"], one["operating_hours"], one["uptime_percentage"]) == (6.0, 30.0, 83.3)
    assert one["shame_score"] == 1.667  # 10 x 2 x 2 / (4 x 6)


def test_the_largest_changes_come_first(settings: Settings) -> None:
    compute(2)
    say_otherwise(2, 1, 30)
    DailyStats.update({DailyStats.total_downtime_minutes: 20}).where(
        DailyStats.ride == 4, DailyStats.metrics_version == 2, DailyStats.stat_date == DAY
    ).execute()
    DailyParkStats.update({DailyParkStats.weighted_downtime_minutes: 0}).where(
        DailyParkStats.park == 2, DailyParkStats.metrics_version == 2
    ).execute()
    found = report(cli(settings, "compare", "1", "2", "--json"))
    assert found["changed"] == {"parks": 2, "rides": 2}
    assert [(row["ride_id"], row["downtime_hours_change"]) for row in found["rides"]] == [(1, -1.5), (4, 0.33)]
    assert [(row["park_id"], row["downtime_hours_change"]) for row in found["parks"]] == [(1, -1.5), (2, 0.0)]
    assert (found["rides"][0]["name"], found["rides"][0]["park_name"]) == ("Ride 1", "Park 1")
    before, after = found["rides"][0]["before"], found["rides"][0]["after"]
    assert (before["downtime_hours"], after["downtime_hours"]) == (3.0, 1.5)
    assert (before["uptime_percentage"], after["uptime_percentage"]) == (66.7, 80.0)
    scores = [(row["before"]["shame_score"], row["after"]["shame_score"]) for row in found["parks"]]
    assert scores == [(1.667, 1.667), (1.667, 0.0)]
    assert [total["downtime_hours"] for total in found["totals"]] == [6.0, 4.5]


def test_a_limit_cuts_the_lists_and_not_the_counts(settings: Settings) -> None:
    compute(2)
    for ride in (1, 3):
        say_otherwise(2, ride, 30)
    found = report(cli(settings, "compare", "1", "2", "--limit", "1", "--json"))
    assert (len(found["rides"]), found["changed"]["rides"]) == (1, 2)
    lines = cli(settings, "compare", "1", "2", "--limit", "1").stdout.splitlines()
    assert lines[0] == "3 days, 2025-06-10 to 2025-06-12:"
    assert lines[1] == "  version 1: 6.00 h down, uptime 83.3 %, score 1.667"
    assert "2 rides changed, the largest 1." in lines
    assert lines[-1] == "  -1.50 h  Ride 1 (Park 1): 3.00 h down, uptime 66.7 % -> 1.50 h down, uptime 80.0 %"


def test_only_days_that_both_have_are_compared(settings: Settings) -> None:
    compute(2, DAYS[:2])
    say_otherwise(2, 1, 30)
    assert report(cli(settings, "compare", "1", "2", "--json"))["rides"][0]["downtime_hours_change"] == -1.0
    some = cli(settings, "compare", "1", "2", "--start", "2025-06-10", "--end", "2025-06-11", "--json")
    assert report(some)["days"] == {"count": 1, "first": "2025-06-11", "last": "2025-06-11"}
    assert report(some)["rides"][0]["downtime_hours_change"] == -0.5


@pytest.mark.parametrize("arguments", [["1", "2"], ["1", "1", "--end", "2025-06-01"]], ids=["no days", "none in range"])
def test_without_a_day_in_common_it_says_what_to_do(settings: Settings, arguments: list[str]) -> None:
    result = cli(settings, "compare", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cli recompute --metrics-version" in result.stderr


def test_versions_outlive_their_readings(settings: Settings) -> None:
    compute(2)
    RideStatusSnapshot.delete().execute()
    assert cli(settings, "compare", "1", "2").exit_code == 0
    assert cli(settings, "promote", "2").exit_code == 0
