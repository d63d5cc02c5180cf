"""The rules, against literals worked out by hand."""

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import rules
from service.rules import ParkType, Status

OPERATING, DOWN, CLOSED, REFURBISHMENT = Status
COUNTS = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("status", "is_open", "wait", "operating"),
    [
        (OPERATING, None, None, True),
        (OPERATING, False, 0, True),  # a status outranks the flag
        (DOWN, True, 20, False),
        (CLOSED, True, None, False),
        (REFURBISHMENT, None, None, False),
        (None, True, 0, True),
        (None, False, 5, True),  # a posted wait outranks the flag
        (None, False, 0, False),
        (None, None, 0, False),
    ],
)
def test_operating(status: Status | None, is_open: bool | None, wait: int | None, operating: bool) -> None:
    assert rules.is_operating(status, is_open, wait) is operating


@pytest.mark.parametrize(
    ("park_type", "status", "is_open", "possible"),
    [
        (ParkType.DISNEY, CLOSED, None, False),  # told to be closed, and the park tells breakdowns apart
        (ParkType.UNIVERSAL, CLOSED, None, False),
        (ParkType.OTHER, CLOSED, None, True),
        (ParkType.OTHER, DOWN, None, False),  # that one is told
        (ParkType.OTHER, REFURBISHMENT, None, False),
        (ParkType.DISNEY, None, False, True),
        (ParkType.OTHER, None, True, False),
    ],
)
def test_possibly_down(park_type: ParkType, status: Status | None, is_open: bool | None, possible: bool) -> None:
    assert rules.is_possibly_down(park_type, status, is_open, None) is possible


@pytest.mark.parametrize("reading", list(product([None, *Status], [None, False, True], [None, 0, 7])))
@pytest.mark.parametrize("park_type", ParkType)
def test_no_reading_is_two_things_at_once(
    park_type: ParkType, reading: tuple[Status | None, bool | None, int | None]
) -> None:
    operating = rules.is_operating(*reading)
    told, possible = rules.is_told_down(reading[0]), rules.is_possibly_down(park_type, *reading)
    assert operating + told + possible <= 1
    assert operating or not rules.counts_as_wait(*reading)


@pytest.mark.parametrize(
    ("status", "is_open", "wait", "counts"),
    [
        (OPERATING, None, 0, True),  # a walk-on
        (None, True, 0, False),  # unknown: the feed cannot say "none posted"
        (None, True, 15, True),
        (OPERATING, None, None, False),
        (CLOSED, None, 15, False),  # left over from when it ran
    ],
)
def test_a_wait_that_counts(status: Status | None, is_open: bool | None, wait: int | None, counts: bool) -> None:
    assert rules.counts_as_wait(status, is_open, wait) is counts


@pytest.mark.parametrize(("posted", "stored"), [(None, None), (-1, None), (0, 0), (300, 300), (480, 480), (481, None)])
def test_absurd_waits_are_not_stored(posted: int | None, stored: int | None) -> None:
    assert rules.plausible_wait(posted) == stored


def test_down_only_strictly_inside_the_service_window() -> None:
    assert rules.is_down(10, told=False, first_operating=5, last_operating=15)
    assert not rules.is_down(5, told=False, first_operating=5, last_operating=15)
    assert not rules.is_down(15, told=False, first_operating=5, last_operating=15)
    assert not rules.is_down(10, told=False, first_operating=None, last_operating=None)
    assert rules.is_down(10, told=True, first_operating=None, last_operating=None)


@pytest.mark.parametrize(
    ("operating", "reporting", "is_open"), [(0, 0, False), (1, 2, True), (1, 3, False), (3, 3, True)]
)
def test_half_of_the_rides_make_a_park_look_open(operating: int, reporting: int, is_open: bool) -> None:
    assert rules.looks_open(operating, reporting) is is_open


def test_weights() -> None:
    assert [rules.weight_of(tier) for tier in (1, 2, 3, None)] == [3, 2, 1, 2]


def test_score_of_one_flagship_down_for_half_the_day() -> None:
    # weight 3 of 6, down in 24 of 48 slots: 10 x 72 / (6 x 48)
    assert rules.shame_score(3 * 24, 6, 48) == Fraction("2.5")


def test_no_score_without_roster_or_open_slot() -> None:
    assert rules.shame_score(0, 0, 48) is None
    assert rules.shame_score(0, 6, 0) is None
    assert rules.shame_score(0, 6, 48) == 0


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 100)), min_size=1, max_size=60), st.integers(1, 10**4))
def test_a_score_is_between_0_and_10_and_the_shares_add_up(rides: list[tuple[int, int]], slots: int) -> None:
    roster = sum(weight for weight, _ in rides)
    downs = [(weight, slots * percent // 100) for weight, percent in rides]
    score = rules.shame_score(sum(weight * down for weight, down in downs), roster, slots)
    shares = [rules.shame_score(weight * down, roster, slots) for weight, down in downs]
    assert score is not None and 0 <= score <= 10
    assert sum(share for share in shares if share is not None) == score


@given(COUNTS, COUNTS)
def test_uptime_is_a_percentage_or_unknown(operating: int, down: int) -> None:
    uptime = rules.uptime_percentage(operating, down)
    assert (uptime is None) == (operating + down == 0)
    assert uptime is None or 0 <= uptime <= 100


def test_trend() -> None:
    assert rules.trend_percentage(30, 100, 20, 100) == 50
    assert rules.trend_percentage(10, 50, 20, 100) == 0  # half the downtime in half the slots
    assert rules.trend_percentage(0, 100, 20, 100) == -100
    assert rules.trend_percentage(10, 100, 0, 100) is None
    assert rules.trend_percentage(10, 0, 10, 100) is None


def test_a_mean_of_thirds_and_sevenths_is_exact() -> None:
    scores = [rules.shame_score(down, 10, 12) for down in (0, 5, 2, 25, 16, 11, 4)]
    mean = rules.mean([score for score in scores if score is not None])
    assert mean == Fraction(3, 4)
    assert rules.rounded(mean, 1) == 0.8


def test_mean_of_nothing_is_unknown() -> None:
    assert rules.mean([]) is None
    assert rules.mean([Fraction(1), Fraction(2)]) == Fraction("1.5")


@pytest.mark.parametrize(
    ("value", "places", "shown"),
    [
        ("0.05", 1, 0.1),
        ("0.049", 1, 0.0),
        ("2.675", 2, 2.68),
        ("11.25", 2, 11.25),
        ("99.95", 1, 100.0),
        ("-0.04", 1, 0.0),
        ("-0.05", 1, -0.1),
        ("1/3", 2, 0.33),
    ],
)
def test_rounding_is_half_up_on_the_exact_value(value: str, places: int, shown: float) -> None:
    assert rules.rounded(Fraction(value), places) == shown
    assert str(rules.rounded(Fraction(value), places)) != "-0.0"
