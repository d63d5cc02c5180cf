"""`cli recompute --parks`: the rows of some parks anew, as the whole day would make them, and no other row."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, time, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import main
from factories import World, random_world
from service import clock
from service.config import Settings
from service.database import db, fetch
from service.jobs import daily
from service.models import (
    AggregationJobLog,
    DailyParkStats,
    DailyStats,
    Park,
    RideStatusSnapshot,
    StatDay,
    YearlyParkStats,
    YearlyRideStats,
)
from service.periods import instant, iso_utc, wall_clock
from service.queries import state
from service.queries.days import ADOPTED_VERSION

DAY = date(2025, 6, 10)
ONE = timedelta(days=1)
DAYS = [DAY + offset * ONE for offset in (2, 1, 0)]
NOW = instant(wall_clock(DAY + 4 * ONE, time(12), "America/Los_Angeles"))
LATER = NOW + timedelta(hours=1)
THREE = ("--start-date", "2025-06-10", "--end-date", "2025-06-12")
SAMPLES = 24  # of a ride and day


def at(day: date, hour: int) -> int:
    return wall_clock(day, time(hour), "America/Los_Angeles")


def three_parks() -> World:
    """Parks of one, two and one ride, open 9-21, all rides reporting in every slot of three days; the first of each
    park is a little down."""
    world = World(30)
    for rides in (1, 2, 1):
        park = world.park()
        for number in range(rides):
            ride = world.ride(park, tier=1)
            for day in DAYS:
                world.day_of(ride, ("OOODDO" if number == 0 else "OOOOOO") + "O" * 18, at(day, 9))
        for day in DAYS:
            world.open(park, day, at(day, 9), at(day, 21))
    return world


@pytest.fixture
def computed(settings: Settings, database: Any) -> Settings:
    """Three days of three parks, computed at NOW."""
    three_parks().store()
    assert daily.aggregate(NOW).days == [DAY + 3 * ONE, *DAYS]  # the fourth has no readings
    return settings


def cli(settings: Settings, *arguments: str, now: Any = LATER) -> Result:
    environ = {
        "DATABASE_URL": settings.database_url, "REPLAY_NOW": iso_utc(now), "SNAPSHOT_INTERVAL_MINUTES": "30",
    }
    return CliRunner().invoke(main, ["recompute", *arguments], env=environ)


def recompute(settings: Settings, *arguments: str, code: int = 0) -> dict[str, Any]:
    """What the command reports of the three days."""
    result = cli(settings, *THREE, *arguments, "--json")
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def lose(day: date, ride: int, first_hour: int, last_hour: int) -> None:
    """Delete a ride's readings of some hours, as no command does."""
    slots = RideStatusSnapshot.snapshot_time
    RideStatusSnapshot.delete().where(
        slots >= at(day, first_hour), slots < at(day, last_hour), RideStatusSnapshot.ride_id == ride
    ).execute()


def rows(*parks: int) -> list[tuple[Any, ...]]:
    """All daily rows of these parks, every column."""
    return [
        row
        for model, park in ((DailyParkStats, DailyParkStats.park), (DailyStats, DailyStats.park_id))
        for row in sorted(fetch(model.select().where(park.in_(parks))), key=str)
    ]


def of(day: date, found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Those of one day, as dates come from either engine."""
    return [row for row in found if str(row[0]) == str(day)]


def ledger() -> list[tuple[Any, ...]]:
    return sorted(fetch(StatDay.select()))


def content() -> list[Any]:
    """Everything that is computed, the log, and the revision."""
    models = (YearlyParkStats, YearlyRideStats, AggregationJobLog)
    return [rows(1, 2, 3), ledger(), *(fetch(model.select()) for model in models), state.get_state("revision_history")]


def entry(day: date) -> tuple[int, bool, Any]:
    found = StatDay.get(StatDay.stat_date == day, StatDay.metrics_version == 1)
    return found.sample_count, found.dirty, found.computed_at


def spoil() -> None:
    """Make all daily rows wrong, but for how many readings they are of."""
    DailyStats.update({DailyStats.operating_minutes: 0, DailyStats.total_downtime_minutes: 0}).execute()
    DailyParkStats.update({DailyParkStats.operating_minutes: 0, DailyParkStats.roster_weight: 77}).execute()


# --- the rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [3, 11, 23])
def test_parks_one_by_one_give_the_rows_of_whole_days(database: Any, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    late = instant(now + 10 * 86400)
    days = daily.aggregate(late).days
    daily.recompute(days, late, 1)
    whole = rows(1, 2, 3), ledger()
    assert whole[0]
    spoil()
    for park in (2, 1, 3):
        assert (rows(1, 2, 3), ledger()) != whole
        assert daily.recompute(days, late, 1, parks=frozenset({park})).days == days
    assert (rows(1, 2, 3), ledger()) == whole


def test_no_row_of_another_park_is_touched(computed: Settings) -> None:
    spoil()
    others, before, entries = rows(1, 3), rows(2), ledger()
    found = recompute(computed, "--parks", "2")
    assert (found["days"], found["rows"], found["samples"]) == ([str(day) for day in DAYS], 9, 6 * SAMPLES)
    assert found["parks"] == [2]
    assert rows(1, 3) == others
    assert rows(2) != before
    assert {row.computed_at for row in DailyStats.select().where(DailyStats.stat_date << DAYS)} == {NOW, LATER}
    park = DailyParkStats.get(DailyParkStats.park == 2, DailyParkStats.stat_date == DAY)
    assert (park.computed_at, park.operating_minutes, park.roster_weight) == (LATER, 46 * 30, 6)
    assert ledger() == entries


def test_ids_are_separated_by_commas_or_given_again(computed: Settings) -> None:
    assert recompute(computed, "--parks", "3, 1", "--parks", "1")["parks"] == [1, 3]
    assert {row.park_id for row in DailyParkStats.select().where(DailyParkStats.computed_at == LATER)} == {1, 3}
    assert recompute(computed)["parks"] is None
    said = cli(computed, *THREE, "--parks", "1,3").stdout
    assert said.startswith("Recomputed 3 days of parks 1, 3 at version 1 in ")
    assert ": 12 rows from 144 readings in open hours.\n" in said


def test_the_rows_of_an_inactive_park_without_readings_go(computed: Settings) -> None:
    Park.update({Park.is_active: False}).where(Park.park_id == 3).execute()
    lose(DAY, 4, 0, 23)
    found = recompute(computed, "--parks", "3", "--force")
    assert found["rows"] == 4  # of the two other days
    assert {row.stat_date for row in DailyParkStats.select().where(DailyParkStats.park == 3)} >= set(DAYS[:2])
    for model, park in ((DailyParkStats, DailyParkStats.park), (DailyStats, DailyStats.park_id)):
        assert not fetch(model.select().where(model.stat_date == DAY, park == 3))
    assert entry(DAY)[0] == 3 * SAMPLES


def test_another_version_is_recomputed_beside_the_first(computed: Settings) -> None:
    whole = cli(computed, *THREE, "--metrics-version", "2", now=NOW)
    assert whole.exit_code == 0
    DailyStats.update({DailyStats.status_changes: 77}).execute()
    assert recompute(computed, "--parks", "1", "--metrics-version", "2")["years"] == []
    right = DailyStats.select().where(DailyStats.status_changes != 77)
    assert {(row.metrics_version, row.park_id) for row in right} == {(2, 1)}


def test_the_years_follow(computed: Settings) -> None:
    spoil()
    assert recompute(computed, "--parks", "2")["years"] == [2025]
    down = {row.park_id: row.total_downtime_minutes for row in YearlyParkStats.select()}
    assert down[2] == 3 * 60


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_a_dirty_day_stays_dirty_for_the_daily_job(computed: Settings) -> None:
    StatDay.update({StatDay.dirty: True}).where(StatDay.stat_date == DAY).execute()
    spoil()
    recompute(computed, "--parks", "2")
    assert [entry(day) for day in DAYS] == [(4 * SAMPLES, day == DAY, NOW) for day in DAYS]
    assert daily.missing_days(LATER, 1) == [DAY]
    daily.aggregate(LATER)
    assert entry(DAY) == (4 * SAMPLES, False, LATER)
    assert {row.roster_weight for row in DailyParkStats.select().where(DailyParkStats.stat_date == DAY)} == {3, 6}


@pytest.mark.parametrize("name", ["first", "middle", "version", "adopted", "of later"])
def test_a_day_that_is_not_stored_is_refused_before_anything_is_computed(computed: Settings, name: str) -> None:
    day, now, arguments = DAY, LATER, ["--parks", "1,2"]
    if name in ("first", "middle"):
        day = DAY if name == "first" else DAY + ONE
        StatDay.delete().where(StatDay.stat_date == day).execute()
    elif name == "version":
        arguments += ["--metrics-version", "2"]
    elif name == "adopted":
        StatDay.update({StatDay.metrics_version: ADOPTED_VERSION}).where(StatDay.stat_date == day).execute()
    else:
        now = NOW - timedelta(minutes=1)  # replayed
    before = content()
    result = cli(computed, *THREE, *arguments, now=now)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{day} has no statistics at version {2 if name == 'version' else 1} as of 2025-")
    assert "recompute it whole, without --parks" in result.stderr
    assert content() == before


def test_a_day_that_is_dropped_meanwhile_gets_no_rows(computed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop() -> None:
        for model in (StatDay, DailyStats, DailyParkStats):
            model.delete().where(model.stat_date == DAY + ONE).execute()

    after_counting(monkeypatch, DAY + ONE, drop)
    found = recompute(computed, "--parks", "2", code=1)
    assert [one["day"] for one in found["failed"]] == ["2025-06-11"]
    assert of(DAY + ONE, rows(1, 2, 3)) == []
    assert found["days"] == ["2025-06-12", "2025-06-10"]


def test_what_is_written_meanwhile_is_counted(computed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        lose(DAY + ONE, 2, 12, 15)
        daily.atomically(lambda: daily.move_revisions(current=False, history=True))
        StatDay.update({StatDay.dirty: True}).where(StatDay.stat_date == DAY + ONE).execute()

    after_counting(monkeypatch, DAY + ONE, write)
    recompute(computed, "--parks", "2", "--force")
    assert entry(DAY + ONE) == (4 * SAMPLES - 6, True, NOW)
    found = DailyStats.get(DailyStats.ride == 2, DailyStats.stat_date == DAY + ONE)
    assert (found.sample_count, found.computed_at) == (SAMPLES - 6, LATER)


def after_counting(monkeypatch: pytest.MonkeyPatch, day: date, do: Callable[[], None]) -> None:
    """Do something once between the counting of a day and its storing."""
    make, done = daily.day_stats, []

    def interrupted(tallies: Any, counted: date, version: int) -> daily.DayStats:
        stats = make(tallies, counted, version)
        if counted == day and not done:
            done.append(do())
        return stats

    monkeypatch.setattr(daily, "day_stats", interrupted)


# --- readings that are gone ------------------------------------------------------------------------------------------


def test_a_park_of_more_readings_than_are_left_stays(computed: Settings) -> None:
    lose(DAY + ONE, 2, 12, 15)
    others, before, entries = rows(1, 3), rows(2), ledger()
    assert recompute(computed, "--parks", "1,3")["refused"] == []  # they have lost nothing
    assert rows(1, 3) != others
    found = recompute(computed, "--parks", "2", code=1)
    assert found["refused"] == [{"day": "2025-06-11", "stored_samples": 2 * SAMPLES, "samples": 2 * SAMPLES - 6}]
    assert found["days"] == ["2025-06-12", "2025-06-10"]
    assert of(DAY + ONE, rows(2)) == of(DAY + ONE, before) != []
    assert ledger() == entries
    said = cli(computed, *THREE, "--parks", "2").stdout
    assert "REFUSED: 2025-06-11 was computed from 48 readings of park 2 in open hours, and 42 are there now" in said


def test_what_another_park_has_gained_does_not_make_up_for_it(settings: Settings, database: Any) -> None:
    world = three_parks()
    world.store()
    lose(DAY, 2, 9, 18)
    daily.aggregate(NOW)
    assert entry(DAY)[0] == 4 * SAMPLES - 18
    world.store()  # they have come late
    lose(DAY, 1, 12, 15)
    assert [one["day"] for one in recompute(settings, "--parks", "1", code=1)["refused"]] == ["2025-06-10"]
    recompute(settings, "--parks", "2")
    assert entry(DAY)[0] == 4 * SAMPLES
    recompute(settings, "--parks", "1", "--force")
    assert entry(DAY)[0] == 4 * SAMPLES - 6


def test_force_replaces_it_and_the_entry_says_what_is_left(computed: Settings) -> None:
    lose(DAY + ONE, 2, 12, 15)
    lose(DAY + ONE, 4, 12, 15)
    assert recompute(computed, "--parks", "2", "--force")["refused"] == []
    assert entry(DAY + ONE) == (4 * SAMPLES - 6, False, NOW)  # what park 3 has lost is not looked at
    assert DailyStats.get(DailyStats.ride == 2, DailyStats.stat_date == DAY + ONE).sample_count == SAMPLES - 6
    assert [entry(day)[0] for day in (DAY, DAY + 2 * ONE)] == [4 * SAMPLES] * 2


def test_gaps_are_warned_of_these_parks_only(computed: Settings) -> None:
    for ride in (1, 4):
        lose(DAY, ride, 12, 15)
    found = recompute(computed, "--parks", "2,3", "--force")
    assert [(gap["park_id"], gap["from"], gap["minutes"]) for gap in found["gaps"]] == [
        (3, "2025-06-10T19:00:00Z", 180)
    ]
    refused = recompute(computed, "--parks", "1", code=1)
    assert ([gap["park_id"] for gap in refused["gaps"]], len(refused["refused"])) == ([1], 1)
    assert recompute(computed, "--parks", "2")["gaps"] == []


# --- bad arguments, dry runs, failures --------------------------------------------------------------------------------


def test_bad_ids_exit_2_and_are_named(computed: Settings) -> None:
    before = content()
    for given, said in (
        ("9", "Unknown park 9."),
        ("1,99999999999999999999,8", "Unknown parks 8, 99999999999999999999."),
        ("-1", "Unknown park -1."),
        ("castle", "'castle' is no list of park ids"),
        ("1,,2", "'1,,2' is no list"),
        ("", "'' is no list"),
        ("1.5", "'1.5' is no list"),
    ):
        result = cli(computed, *THREE, "--parks", given)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr
    assert content() == before


def test_a_dry_run_says_the_same_and_writes_nothing(computed: Settings) -> None:
    lose(DAY + ONE, 2, 12, 15)
    lose(DAY, 2, 9, 21)
    lose(DAY, 3, 9, 21)
    before = content()
    dry = recompute(computed, "--parks", "2", "--dry-run", code=1)
    assert content() == before
    assert len(dry["gaps"]) == 1 and len(dry["refused"]) == 2
    wet = recompute(computed, "--parks", "2", code=1)
    assert dry == wet | {"dry_run": True, "years": []}
    assert content() != before
    said = cli(computed, *THREE, "--parks", "2", "--dry-run").stdout
    assert "Would recompute 1 day of park 2 at version 1" in said


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_while_storing_leaves_the_day_as_it_was(
    computed: Settings, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    spoil()
    before, entries, write = rows(1, 2, 3), ledger(), daily.upsert

    def broken(model: Any, columns: Any, found: Any, **options: Any) -> int:
        made = write(model, columns, found, **options)
        if model is DailyStats and found[0][0] == DAY + ONE:
            raise error("spoilt")
        return made

    monkeypatch.setattr(daily, "upsert", broken)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            daily.recompute(DAYS, LATER, 1, parks=frozenset({2}))
    else:
        done = daily.recompute(DAYS, LATER, 1, parks=frozenset({2}))
        assert done.failed == [daily.Failure(DAY + ONE, "ValueError: spoilt")]
    monkeypatch.undo()
    assert of(DAY + ONE, rows(1, 2, 3)) == of(DAY + ONE, before) != []
    assert ledger() == entries
    assert daily.recompute(DAYS, LATER, 1, parks=frozenset({1, 2, 3})).is_whole
    repaired = rows(1, 2, 3)
    daily.recompute(DAYS, LATER, 1)
    assert rows(1, 2, 3) == repaired


@pytest.fixture(autouse=True)
def _real_clock() -> Any:
    yield
    clock.replay(None)
    if not db.is_closed():
        db.close()
