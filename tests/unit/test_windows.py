"""Windows of time by the clocks of a zone, against a walk from minute to minute that looks at the clock."""

from __future__ import annotations

import random
from datetime import date, time

import pytest

import reference as ref
from reference_windows import WHOLE_DAY, is_picked
from service.periods import Interval, Window

HOUR = 3600

CHANGES = [
    ("America/Los_Angeles", date(2025, 3, 9)),
    ("America/Los_Angeles", date(2025, 11, 2)),
    ("America/New_York", date(2025, 11, 2)),
    ("America/St_Johns", date(2025, 3, 9)),
    ("Europe/Paris", date(2025, 3, 30)),
    ("Europe/Paris", date(2025, 10, 26)),
    ("Australia/Lord_Howe", date(2025, 4, 6)),  # by half an hour
    ("Australia/Lord_Howe", date(2025, 10, 5)),
    ("America/Sao_Paulo", date(2018, 2, 18)),  # at midnight, back to 23:00 of the day before
    ("America/Sao_Paulo", date(2018, 11, 4)),  # at midnight: the day begins at 01:00
    ("America/Havana", date(2025, 11, 2)),  # at 01:00, back to midnight of the same day
    ("Asia/Tokyo", date(2025, 3, 9)),  # never
    ("Asia/Kolkata", date(2025, 3, 9)),
]


def walked(window: Window, zone: str) -> list[tuple[int, int]]:
    """What `Window.intervals` should say."""
    times = window.time_of_day
    minutes = None if times is None else (minute_of(times[0]), minute_of(times[1]) or WHOLE_DAY)
    bounds = window.start, window.end
    begun = range(window.start - window.start % 60, window.end, 60)
    picked = [(at, at + 60) for at in begun if is_picked(at, zone, minutes, window.weekdays)]
    return ref.merged(ref.cut_all(picked, bounds))


def minute_of(clock: time) -> int:
    return clock.hour * 60 + clock.minute


def clock_of(minute: int) -> time:
    return time(minute // 60 % 24, minute % 60)


def random_window(start: int, end: int, chance: random.Random) -> Window:
    begin = chance.choice((0, 30, 90, 120, 150, 23 * 60, chance.randrange(WHOLE_DAY)))
    until = chance.choice((WHOLE_DAY, 60, 105, 150, 180, 23 * 60 + 30, chance.randrange(WHOLE_DAY)))
    return Window(
        start + chance.choice((0, 61, chance.randrange(40 * HOUR))),
        end - chance.choice((0, 59, chance.randrange(30 * HOUR))),
        (clock_of(begin), clock_of(until)) if begin != until and chance.random() < 0.8 else None,
        frozenset(chance.sample(range(7), chance.randint(1, 6))) if chance.random() < 0.6 else None,
    )


@pytest.mark.parametrize(("zone", "day"), CHANGES, ids=[f"{zone}-{day}" for zone, day in CHANGES])
def test_a_window_is_what_the_clock_on_the_wall_says(zone: str, day: date) -> None:
    chance = random.Random(f"{zone} {day}")
    start, end = (ref.instant(day + offset * ref.DAY, time(0), ref.PACIFIC) for offset in (-2, 2))
    windows = [random_window(start, end, chance) for _ in range(16)]
    assert sum(bool(walked(window, zone)) for window in windows) > 8
    for window in windows:
        found = window.intervals(zone)
        assert found == walked(window, zone), window
        assert all(isinstance(one, Interval) for one in found)


def clocks(zone: str, *windows: tuple[date, time, time, int]) -> list[tuple[int, int]]:
    """Instants of `(day, from, until, days later)` by the clock."""
    place = ref.ZoneInfo(zone)
    return [
        (ref.instant(day, begin, place), ref.instant(day + later * ref.DAY, until, place))
        for day, begin, until, later in windows
    ]


def test_saturday_night_ends_on_sunday() -> None:
    zone, saturday = "Europe/Paris", date(2025, 6, 7)
    start, end = clocks(zone, (saturday - 2 * ref.DAY, time(0), time(0), 5))[0]
    window = Window(start, end, (time(22), time(2)), frozenset({5}))
    assert window.intervals(zone) == clocks(zone, (saturday, time(22), time(2), 1))


def test_a_night_that_began_before_the_window_is_cut() -> None:
    zone, day = "Europe/Paris", date(2025, 6, 7)
    ((start, end),) = clocks(zone, (day, time(1), time(23), 0))
    window = Window(start, end, (time(22), time(2)), None)
    assert window.intervals(zone) == clocks(zone, (day, time(1), time(2), 0), (day, time(22), time(23), 0))


@pytest.mark.parametrize(("day", "hours"), [(date(2025, 3, 9), 0), (date(2025, 6, 1), 1)])
def test_a_skipped_hour_is_no_time(day: date, hours: int) -> None:
    window = Window(*ref.pacific_day(day), (time(2), time(3)), None)
    assert sum(end - start for start, end in window.intervals("America/Los_Angeles")) == hours * HOUR


def test_of_an_hour_shown_twice_both_count() -> None:
    start, end = ref.pacific_day(date(2025, 11, 2))
    whole = Window(start, end, (time(1), time(2)), None).intervals("America/Los_Angeles")
    assert whole == [(start + HOUR, start + 3 * HOUR)]
    late = Window(start, end, (time(1, 30), time(2)), None).intervals("America/Los_Angeles")
    assert late == [(start + 5400, start + 7200), (start + 9000, start + 10800)]


def test_midnight_to_midnight_is_all_of_the_days() -> None:
    start, end = ref.pacific_day(date(2025, 6, 7))
    assert Window(start, end, (time(0), time(0)), None).intervals("Asia/Tokyo") == [(start, end)]


def test_without_a_time_of_day_weekdays_are_whole_local_days() -> None:
    saturday = date(2018, 11, 3)
    start, end = clocks("America/Sao_Paulo", (saturday, time(12), time(12), 3))[0]
    sunday = Window(start, end, None, frozenset({6})).intervals("America/Sao_Paulo")
    assert sunday == [(start + 12 * HOUR, start + 35 * HOUR)]  # it has 23 hours


def test_an_empty_window_has_no_intervals() -> None:
    assert Window(1_700_000_000, 1_700_000_000).intervals("Asia/Tokyo") == []
