"""The clock itself, moved over its edges: both days of clock changes, midnight, new year, a leap day, and the nights
in which the daily job runs. Nothing is replayed: `clock.now()` reads the time of the process, which is frozen here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory

from factories import World
from service import clock, rules
from service.config import Settings
from service.database import fetch
from service.jobs import daily, yearly
from service.jobs.store import store_readings
from service.models import DailyParkStats, DailyStats, RideStatusSnapshot, StatDay, YearlyParkStats, YearlyRideStats
from service.periods import epoch, instant, iso_utc, pacific_date, pacific_day, wall_clock
from service.web import app as web
from wsgi_client import Client

LOS_ANGELES, PARIS, TOKYO = "America/Los_Angeles", "Europe/Paris", "Asia/Tokyo"
ONE = timedelta(days=1)
AFTER_THE_SLOT = timedelta(seconds=20)  # when its readings are fetched
ROUND_THE_CLOCK = (0, 24)


@pytest.fixture
def now(database: Any) -> Iterator[FrozenDateTimeFactory]:
    """The clock of the process: it stands still, and goes where it is told to."""
    with freeze_time("2020-01-01", ignore=["_pytest.timing"]) as frozen:  # so that pytest knows how long tests take
        yield frozen


def at(day: date, hour: int = 0, minute: int = 0, zone: str = LOS_ANGELES) -> int:
    """The instant at which clocks show this; hour 24 and on is of the next date."""
    days, hour = divmod(hour, 24)
    return wall_clock(day + days * ONE, time(hour, minute), zone)


def set_clock(now: FrozenDateTimeFactory, *when: Any) -> None:
    """Move to what clocks in Los Angeles show: a date, hour, minute."""
    now.move_to(instant(at(*when)))


def run_job() -> daily.Computation:
    """What a worker does after each slot."""
    report = daily.aggregate(clock.now())
    yearly.refresh_years(clock.now())
    return report


def always(zone: str, first: date, last: date, hours: tuple[int, int], said: tuple[str, str] = ("O", "D")) -> World:
    """A park open at these `hours` of its own clock, of whose two equal rides one always operates and the other is
    always told down: a reading each in every slot from the Pacific day `first` to `last`."""
    world = World(5)
    park = world.park("disney", zone)
    day = first - 2 * ONE
    while day <= last + ONE:
        world.open(park, day, at(day, hours[0], zone=zone), at(day, hours[1], zone=zone))
        day += ONE
    start, end = pacific_day(first).start, pacific_day(last).end
    for letter in said:
        world.day_of(world.ride(park), letter * ((end - start) // 300), start)
    return world


def park_days() -> dict[date, Any]:
    """The daily rows of the only park."""
    return {row.stat_date: row for row in DailyParkStats.select()}


def down_hours(url: str, client: Client) -> list[tuple[int, float]]:
    """The rides of a ranking, by id, and for how many hours they were down."""
    answer = client.get(url)
    assert answer.status == 200, answer.body
    return sorted((row["ride_id"], row["downtime_hours"]) for row in answer.json["data"])


def client_of(settings: Settings, world: World) -> Client:
    return Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=world.interval_minutes)))


# --- the days on which clocks are changed ----------------------------------------------------------------------------

SPRING, AUTUMN = date(2025, 3, 9), date(2025, 11, 2)  # in Los Angeles
PARIS_SPRING, PARIS_AUTUMN = date(2025, 3, 30), date(2025, 10, 26)


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_a_day_of_23_or_25_hours_has_every_slot_of_them_and_no_other(
    now: FrozenDateTimeFactory, settings: Settings, day: date, hours: int
) -> None:
    world = always(LOS_ANGELES, day - ONE, day + ONE, ROUND_THE_CLOCK)
    world.store()
    client = client_of(settings, world)
    set_clock(now, day, 23, 55)
    assert down_hours("/api/rides/downtime?period=today", client) == [(2, hours)]
    set_clock(now, day + ONE, 0, 5)
    assert down_hours("/api/rides/downtime?period=yesterday", client) == [(2, hours)]  # from readings
    set_clock(now, day + 2 * ONE, 12)
    run_job()
    for which, row in park_days().items():
        length = hours if which == day else 24
        assert (row.open_minutes, row.sample_count) == (length * 60, length * 12), which
        assert (row.operating_minutes, row.total_downtime_minutes) == (length * 60, length * 60), which
        assert (row.weighted_downtime_minutes, float(row.shame_score)) == (2 * length * 60, 5.0), which
    rides = DailyStats.select().where(DailyStats.stat_date == day).order_by(DailyStats.ride)
    found = [(row.sample_count, row.operating_minutes, row.total_downtime_minutes) for row in rides]
    assert found == [(hours * 12, hours * 60, 0), (hours * 12, 0, hours * 60)]
    assert StatDay.get(StatDay.stat_date == day).sample_count == 2 * hours * 12
    year = YearlyParkStats.get()
    assert (year.total_downtime_minutes, year.sample_count) == ((48 + hours) * 60, (48 + hours) * 12)
    set_clock(now, day + ONE, 12)
    assert down_hours("/api/rides/downtime?period=yesterday", client) == [(2, hours)]  # from the stored day


@pytest.mark.parametrize(("day", "after_midnight"), [(SPRING, 2), (AUTUMN, 4)])
def test_an_opening_over_the_change_is_as_long_as_it_lasts(
    now: FrozenDateTimeFactory, day: date, after_midnight: int
) -> None:
    """From 22:00 to 03:00 by the clock: two hours before midnight, and after it one more or one less than three."""
    always(LOS_ANGELES, day - ONE, day, (22, 27)).store()
    set_clock(now, day + ONE, 12)
    run_job()
    found = {which: row.total_downtime_minutes // 60 for which, row in park_days().items()}
    assert found == {day - ONE: 3 + 2, day: after_midnight + 2}
    row = DailyStats.get(DailyStats.ride == 2, DailyStats.stat_date == day)
    assert (row.downtime_incidents, row.longest_downtime_minutes) == (2, 60 * after_midnight)


def test_an_outage_over_the_hour_that_clocks_show_twice_is_one(now: FrozenDateTimeFactory) -> None:
    world = always(LOS_ANGELES, AUTUMN, AUTUMN, ROUND_THE_CLOCK, said=("O", ""))
    world.day_of(2, "O" + "D" * 40 + "O", at(AUTUMN, 0, 30))  # 200 minutes, of which 65 after the second 01:59
    world.store()
    set_clock(now, AUTUMN + ONE, 12)
    run_job()
    row = DailyStats.get(DailyStats.ride == 2)
    assert (row.downtime_incidents, row.longest_downtime_minutes, row.total_downtime_minutes) == (1, 200, 200)


@pytest.mark.parametrize(
    ("middle", "hours"),
    [
        (SPRING, [12, 11, 12]),  # midnight in Los Angeles is 09:00 in Paris before, 08:00 after
        (PARIS_SPRING - ONE, [12, 13, 12]),  # 08:00 before, 09:00 after
        (PARIS_AUTUMN - ONE, [12, 11, 12]),
        (AUTUMN, [12, 13, 12]),
    ],
)
def test_clocks_of_paris_and_los_angeles_are_changed_on_different_days(
    now: FrozenDateTimeFactory, middle: date, hours: list[int]
) -> None:
    """A park open from 08:00 to 20:00 in Paris: its first hour falls on either side of the Pacific midnight."""
    always(PARIS, middle - ONE, middle + ONE, (8, 20)).store()
    set_clock(now, middle + 2 * ONE, 12)
    run_job()
    rows = [row for _, row in sorted(park_days().items())]
    assert [row.open_minutes // 60 for row in rows] == hours
    assert [row.sample_count // 12 for row in rows] == hours
    assert [row.operating_minutes // 60 for row in rows] == hours
    assert [row.total_downtime_minutes // 60 for row in rows] == hours


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (PARIS_SPRING, 8, 15),  # midnight in Los Angeles is 09:00 in Paris, eight hours into the date
        (PARIS_AUTUMN, 9, 16),  # 08:00, nine hours into it
    ],
)
def test_a_date_in_paris_has_23_or_25_hours_though_the_pacific_days_have_24(
    now: FrozenDateTimeFactory, change: date, before: int, after: int
) -> None:
    world = always(PARIS, change - 2 * ONE, change + ONE, ROUND_THE_CLOCK)
    world.schedules = [row for row in world.schedules if row.schedule_date == change]
    world.store()
    set_clock(now, change + 2 * ONE, 12)
    run_job()
    found = {which: row.total_downtime_minutes // 60 for which, row in park_days().items() if row.sample_count}
    assert found == {change - ONE: before, change: after}


# --- midnight --------------------------------------------------------------------------------------------------------


def night(day: date) -> World:
    """A park open from 20:00 to 03:00. The first ride is down in the last slot of `day`, the second in the first two
    slots of the next."""
    world = World(5)
    park = world.park("disney")
    for said in ("O" * 47 + "D" + "O" * 36, "O" * 48 + "DD" + "O" * 34):
        world.day_of(world.ride(park), said, at(day, 20))
    world.open(park, day, at(day, 20), at(day, 27))
    return world


FIVE_MINUTES, TEN_MINUTES = 0.08, 0.17  # in hours


@pytest.mark.parametrize("day", [date(2025, 7, 8), date(2026, 1, 13)])
def test_today_is_another_day_at_once(now: FrozenDateTimeFactory, settings: Settings, day: date) -> None:
    world = night(day)
    world.store()
    client = client_of(settings, world)
    today, yesterday = "/api/rides/downtime?period=today", "/api/rides/downtime?period=yesterday"
    set_clock(now, day, 23, 59)
    now.tick(59)
    assert down_hours(today, client) == [(1, FIVE_MINUTES)]
    assert down_hours(yesterday, client) == []
    label = client.get("/api/parks/downtime?period=today").json["span"]["label"]
    now.tick(1)
    assert down_hours(today, client) == [(2, FIVE_MINUTES)]  # the slot that begins with the day
    assert down_hours(yesterday, client) == [(1, FIVE_MINUTES)]
    assert client.get("/api/parks/downtime?period=yesterday").json["span"]["label"] == label
    now.tick(300)
    assert down_hours(today, client) == [(2, TEN_MINUTES)]
    assert down_hours(yesterday, client) == [(1, FIVE_MINUTES)]


@pytest.mark.parametrize("day", [date(2025, 7, 8), date(2025, 12, 31), date(2024, 2, 29)])
def test_the_last_slot_before_midnight_and_the_first_after_it_are_of_two_days(
    now: FrozenDateTimeFactory, settings: Settings, day: date
) -> None:
    world = night(day)
    world.store()
    set_clock(now, day + 2 * ONE, 0, 5)
    run_job()
    rows = DailyStats.select().where(DailyStats.total_downtime_minutes > 0).order_by(DailyStats.stat_date)
    found = [(row.stat_date, row.ride_id, row.total_downtime_minutes) for row in rows]
    assert found == [(day, 1, 5), (day + ONE, 2, 10)]
    assert [row.total_downtime_minutes for _, row in sorted(park_days().items())] == [5, 10]
    years = {row.year: row.total_downtime_minutes for row in YearlyParkStats.select()}
    assert years == ({2025: 5, 2026: 10} if day.month == 12 else {day.year: 15})
    stored = down_hours("/api/rides/downtime?period=yesterday", client_of(settings, world))
    assert stored == [(2, TEN_MINUTES)]


# --- new year, and the leap day --------------------------------------------------------------------------------------

EVE, NEW_YEAR = date(2024, 12, 31), date(2025, 1, 1)


def turn_of_the_year(*zones: str) -> World:
    """A park in each zone, without a schedule: both rides run from 10:00 to 20:00 by its clock, and one is down from
    12:00 to 13:00, from Dec 29 to Jan 2."""
    world = World(30)
    for zone in zones:
        park = world.park("other", zone)
        steady, broken = world.ride(park), world.ride(park)
        for offset in range(-2, 3):
            day = EVE + offset * ONE
            world.day_of(steady, "O" * 20, at(day, 10, zone=zone))
            world.day_of(broken, "OOOOCC" + "O" * 14, at(day, 10, zone=zone))
    return world


def complete_years() -> set[int]:
    """The years of which every row of parks and rides is complete."""
    rows = [*YearlyParkStats.select(), *YearlyRideStats.select()]
    return {row.year for row in rows} - {row.year for row in rows if not row.is_complete}


def yearly_rows() -> list[tuple[Any, ...]]:
    """All of 2024, but for when it was computed."""
    found: list[tuple[Any, ...]] = []
    for columns in (yearly.PARK_COLUMNS, yearly.RIDE_COLUMNS):
        model: Any = columns[0].model
        found += fetch(model.select(*columns[:-1]).where(model.year == 2024).order_by(*columns[:3]))
    return found


@pytest.mark.parametrize(
    ("zones", "hour"),
    [
        ((LOS_ANGELES,), 4),  # when its last local day is over; late slots have a quarter of an hour
        ((TOKYO,), 11),  # 04:00 there, on Jan 2
        ((LOS_ANGELES, TOKYO, PARIS), 19),  # 04:00 in Paris
    ],
)
def test_the_old_year_is_complete_before_jan_2_for_parks_everywhere(
    now: FrozenDateTimeFactory, zones: tuple[str, ...], hour: int
) -> None:
    turn_of_the_year(*zones).store()
    for when in ((EVE, 23, 59), (NEW_YEAR, 0), (NEW_YEAR, hour, 14)):
        set_clock(now, *when)
        run_job()
        assert complete_years() == set(), when
    set_clock(now, NEW_YEAR, hour, 15)
    run_job()
    assert complete_years() == {2024}
    made = yearly_rows()
    set_clock(now, date(2025, 1, 9), 12)
    run_job()
    yearly.refresh_years(clock.now(), [2024])
    assert yearly_rows() == made
    assert complete_years() == {2024}


def test_parks_everywhere_have_the_hours_of_the_last_pacific_day_in_the_old_year(now: FrozenDateTimeFactory) -> None:
    """Open from 10:00 to 20:00 by their clocks. The year ends at midnight, 09:00 in Paris and 17:00 in Tokyo."""
    turn_of_the_year(LOS_ANGELES, PARIS, TOKYO).store()
    set_clock(now, date(2025, 1, 9), 12)
    run_job()
    found = {
        (row.stat_date, row.park_id): (row.open_minutes // 60, row.total_downtime_minutes)
        for row in DailyParkStats.select().where(DailyParkStats.stat_date.between(EVE, NEW_YEAR))
    }
    assert found == {(day, park): (10, 60) for day in (EVE, NEW_YEAR) for park in (1, 2, 3)}
    years = {(row.year, row.park_id): row.total_downtime_minutes // 60 for row in YearlyParkStats.select()}
    assert years == {(2024, 1): 3, (2024, 2): 3, (2024, 3): 4, (2025, 1): 2, (2025, 2): 2, (2025, 3): 1}


def test_last_month_is_the_old_year_s_from_the_first_second_of_the_new(
    now: FrozenDateTimeFactory, settings: Settings
) -> None:
    world = turn_of_the_year(LOS_ANGELES)
    world.store()
    client = client_of(settings, world)
    last_month = "/api/parks/downtime?period=last_month"
    set_clock(now, EVE, 23, 59)
    now.tick(59)
    assert (said := client.get(last_month).json)["span"]["label"] == "November 2024" and said["data"] == []
    now.tick(1)
    for _ in ("from readings", "from stored days"):
        said = client.get(last_month).json
        assert (said["span"]["label"], said["data"][0]["total_downtime_hours"]) == ("December 2024", 3.0)
        set_clock(now, date(2025, 1, 2), 12)
        run_job()
    set_clock(now, date(2025, 1, 31), 23, 59)
    assert client.get(last_month).json["span"]["label"] == "December 2024"
    set_clock(now, date(2025, 2, 1))
    assert client.get(last_month).json["span"]["label"] == "January 2025"
    assert client.get(last_month).json["data"][0]["total_downtime_hours"] == 2.0


@pytest.mark.parametrize(("year", "days"), [(2024, 29), (2025, 28)])
def test_last_month_is_february_with_all_its_days(
    now: FrozenDateTimeFactory, settings: Settings, year: int, days: int
) -> None:
    world = World(30)
    ride = world.ride(world.park("disney"))
    first, march = date(year, 2, 1), date(year, 3, 1)
    for offset in range(-1, days + 1):
        world.day_of(ride, "ODDO", at(first + offset * ONE, 12))
    world.store()
    client = client_of(settings, world)
    set_clock(now, march - ONE, 23, 59)
    assert client.get("/api/parks/downtime?period=last_month").json["span"]["label"] == f"January {year}"
    set_clock(now, march)
    for _ in ("from readings", "from stored days"):
        said = client.get("/api/parks/downtime?period=last_month").json
        assert (said["span"]["label"], said["data"][0]["total_downtime_hours"]) == (f"February {year}", float(days))
        assert said["span"]["start"] == f"{year}-02-01T08:00:00Z"
        run_job()
    rows = park_days()
    assert list(sorted(rows)) == [first + offset * ONE for offset in range(-1, days)]
    assert {row.total_downtime_minutes for row in rows.values()} == {60}
    assert YearlyParkStats.get().days_operated == days + 1
    set_clock(now, march + ONE)
    run_job()
    assert YearlyParkStats.get().days_operated == days + 2
    assert len(park_days()) == days + 2


# --- a night of the worker -------------------------------------------------------------------------------------------

STEP = timedelta(minutes=10)
PARK_DOWN = [column.name for column in daily.PARK_COLUMNS].index("total_downtime_minutes")


def parks_of_a_night(day: date) -> World:
    """Three parks whose feeds do not tell a breakdown from a closure, in which one of two rides stands still over the
    Pacific midnight that ends `day` and runs again later: in Los Angeles an hour after it, in a park with posted hours;
    in Tokyo and Paris, whose parks post none, two hours. And a park that says nothing."""
    world = World(10)
    midnight = pacific_day(day).end
    opens = at(day, 18)
    late = world.park("other", LOS_ANGELES)
    world.open(late, day, opens, at(day, 26))
    world.day_of(world.ride(late), "O" * 48, opens)
    world.day_of(world.ride(late, tier=1), "O" * 33 + "C" * 9 + "O" * 6, opens)  # from 23:30 for 90 minutes
    for zone in (TOKYO, PARIS):
        park = world.park("other", zone)
        world.day_of(world.ride(park), "O" * 48, midnight - 4 * 3600)
        world.day_of(world.ride(park), "O" * 12 + "C" * 24 + "O" * 12, midnight - 4 * 3600)
    world.park("other")
    return world


def collect(world: World, slot: int) -> None:
    """Store the readings of one slot, as the collector does."""
    park_of = {ride.ride_id: ride.park_id for ride in world.rides}
    for park in world.parks:
        seen = [
            (row.slot, row.ride_id, rules.Status[row.status] if row.status else None, row.is_open, row.wait)
            for row in world.readings
            if row.slot == slot and park_of[row.ride_id] == park.park_id
        ]
        source, minutes = rules.Source.THEMEPARKS_WIKI, world.interval_minutes
        store_readings(park.park_id, seen, source=source, interval_minutes=minutes, now=clock.now())


def history_until(world: World, slot: int) -> World:
    """The same parks, with only the readings before `slot`."""
    past = World(world.interval_minutes)
    past.parks, past.rides, past.schedules = world.parks, world.rides, world.schedules
    past.readings = [row for row in world.readings if row.slot < slot]
    return past


def stored_day(day: date) -> list[tuple[Any, ...]]:
    """The rows of a day, but for when they were computed."""
    found: list[tuple[Any, ...]] = []
    for columns in (daily.PARK_COLUMNS, daily.RIDE_COLUMNS):
        model: Any = columns[0].model
        found += fetch(model.select(*columns[:-1]).where(model.stat_date == day).order_by(*columns[:3]))
    return found


class Run(NamedTuple):
    """A run of the job that made the rows of a day anew, and these rows."""

    at: datetime
    rows: list[tuple[Any, ...]]


def night_of_the_worker(now: FrozenDateTimeFactory, world: World, day: date, end: datetime) -> list[Run]:
    """Slot by slot until `end`: first what is collected, then the job."""
    runs: list[Run] = []
    while clock.now() < end:
        collect(world, epoch(clock.now()))
        now.tick(AFTER_THE_SLOT)
        run_job()
        entry = StatDay.get_or_none(StatDay.stat_date == day)
        if entry and entry.computed_at == clock.now():
            runs.append(Run(clock.now(), stored_day(day)))
        now.tick(STEP - AFTER_THE_SLOT)
    return runs


@pytest.mark.parametrize(
    ("day", "midnight", "settled"),
    [
        # The last is Paris: its local day is over at 04:00, and late slots have a quarter of an hour.
        (date(2026, 1, 13), "2026-01-14T08:00:20Z", "2026-01-15T03:20:20Z"),
        (date(2025, 7, 8), "2025-07-09T07:00:20Z", "2025-07-10T02:20:20Z"),
        (SPRING - ONE, "2025-03-09T08:00:20Z", "2025-03-10T03:20:20Z"),  # clocks in Los Angeles will not show 02:00
        (AUTUMN - ONE, "2025-11-02T07:00:20Z", "2025-11-03T03:20:20Z"),  # and here 01:00 twice
    ],
)
def test_a_finished_day_is_computed_by_two_and_again_when_it_is_over_everywhere(
    now: FrozenDateTimeFactory, day: date, midnight: str, settled: str
) -> None:
    world = parks_of_a_night(day)
    set_clock(now, day, 23, 50)
    history_until(world, epoch(clock.now())).store()
    first, last = night_of_the_worker(now, world, day, datetime.fromisoformat(settled) + STEP)
    assert (iso_utc(first.at), iso_utc(last.at)) == (midnight, settled)
    assert first.at < instant(at(day + ONE, 2))
    assert len(first.rows) == len(last.rows) == len(world.parks) + len(world.rides)
    assert [row[PARK_DOWN] for row in first.rows[:4]] == [0, 0, 0, 0]
    assert [row[PARK_DOWN] for row in last.rows[:4]] == [30, 120, 120, 0]  # the rides reopened
    now.tick(timedelta(days=7))
    daily.compute_day(day, clock.now(), daily.Task(rules.METRICS_VERSION, recount=True))
    assert StatDay.get(StatDay.stat_date == day).computed_at == clock.now()
    assert stored_day(day) == last.rows


def test_yesterday_is_answered_as_it_is_known_while_its_rows_wait_for_the_last_park(
    now: FrozenDateTimeFactory, settings: Settings
) -> None:
    day = date(2026, 1, 13)
    world = parks_of_a_night(day)
    set_clock(now, day, 23, 50)
    history_until(world, epoch(clock.now())).store()
    client = client_of(settings, world)
    seen: dict[str, list[tuple[int, float]]] = {}
    while clock.now() < instant(at(day + ONE, 4)):
        collect(world, epoch(clock.now()))
        run_job()
        if clock.now() >= instant(at(day + ONE)) and clock.now().minute in (0, 50):
            said = client.get("/api/parks/downtime?period=yesterday").json["data"]
            local = clock.now() - timedelta(hours=8)
            seen[f"{local:%H:%M}"] = sorted((row["park_id"], row["total_downtime_hours"]) for row in said)
        now.tick(STEP)
    assert seen["00:00"] == seen["00:50"] == []
    assert seen["01:00"] == seen["01:50"] == [(1, 0.5)]  # the ride in Los Angeles runs again
    assert seen["02:00"] == seen["03:00"] == [(1, 0.5), (2, 2.0), (3, 2.0)]
    assert RideStatusSnapshot.select().count() == len(world.readings)


def test_a_slot_that_comes_after_midnight_is_in_the_next_run(now: FrozenDateTimeFactory) -> None:
    day = date(2026, 1, 13)
    world = night(day)
    set_clock(now, day + ONE)
    last = epoch(clock.now()) - 300
    history_until(world, last).store()
    now.tick(AFTER_THE_SLOT)
    run_job()
    assert (park_days()[day].total_downtime_minutes, pacific_date(last)) == (0, day)
    collect(world, last)  # the ride that was down at 23:55
    now.tick(AFTER_THE_SLOT)
    run_job()
    assert park_days()[day].total_downtime_minutes == 5
