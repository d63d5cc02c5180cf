"""The first guess at a ride's tier: what words of a name say, and how sure that is."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.feeds import is_single_rider
from service.jobs.tiers import guess

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the recordings are not on this machine")


@pytest.mark.parametrize(("name", "tier", "word"), [
    ("Crush's Coaster", 1, "coaster"),
    ("Incredicoaster", 1, "incredicoaster"),
    ("Space Mountain", 1, "mountain"),
    ("Seven Dwarfs Mine Train", 1, "mine train"),
    ("Montaña Rusa", 1, "montana rusa"),
    ("HyperSonic", 1, "hypersonic"),
    ("Jungle Cruise", 2, "cruise"),
    ("Kilimanjaro Safaris", 2, "safaris"),
    ("PETER PAN’S FLIGHT", 2, "flight"),
    ("Old Mill Log Flume", 2, "flume"),
    ("Mad Hatter's Tea Cups", 3, "tea cups"),
    ("Teacups", 3, "teacups"),
    ("Le Carrousel de Lancelot ", 3, "carrousel"),
    ("Manège enchanté", 3, "manege"),
    ("Frontierland Playground", 3, "playground"),
    ("Country Bear Theater", 3, "theater"),
    ("Shootin' Gallery", 3, "gallery"),
])  # fmt: skip
def test_one_word_speaks_for_a_tier(name: str, tier: int, word: str) -> None:
    assert guess(name) == (tier, 0.6, (word,))


@pytest.mark.parametrize("name", ["", "DINOSAUR", "Soarin' Around the World", "Raindrops", "Towering", "™®", "Gumdrop"])
def test_a_name_without_such_a_word_says_nothing(name: str) -> None:
    assert guess(name) is None


@pytest.mark.parametrize(("name", "confidence"), [
    ("Tower of Terror™", 0.65),
    ("Expedition Terror Mountain", 0.7),
    ("Terror Mountain Drop Expedition", 0.75),
    ("Terror Mountain Drop Tower Expedition", 0.75),
    ("Mountain, Mountain, Mountain", 0.6),  # one word, however often it is said
])  # fmt: skip
def test_words_that_agree_raise_the_confidence_up_to_75(name: str, confidence: float) -> None:
    said = guess(name)
    assert said is not None
    assert (said.tier, said.confidence, said.is_sure) == (1, confidence, True)


@pytest.mark.parametrize(("name", "tier", "confidence", "is_sure"), [
    ("Thunder Mountain Railroad", 1, 0.55, True),  # a word of the tier beside it
    ("Pirates' Beach", 3, 0.55, True),
    ("River Journey Tower", 2, 0.6, True),  # two against one
    ("Kiddie Coaster", 3, 0.45, False),  # the largest against the smallest
    ("Rocky Mountain Carousel Ride", 3, 0.4, False),
    ("Mountain Tower Carousel", 1, 0.5, True),
    ("Mountain Carousel Theater Coaster Maze", 3, 0.4, False),
])  # fmt: skip
def test_words_that_do_not_agree_lower_it(name: str, tier: int, confidence: float, is_sure: bool) -> None:
    said = guess(name)
    assert said is not None
    assert (said.tier, said.confidence, said.is_sure) == (tier, confidence, is_sure)


def test_the_words_are_given_in_the_order_of_the_name() -> None:
    assert guess("Haunted Tower of the River")[2] == ("haunted", "tower", "river")  # type: ignore[index]


@given(st.text())
def test_any_name_gives_a_guess_within_bounds_or_none(name: str) -> None:
    said = guess(name)
    assert said is None or said.tier in (1, 2, 3) and 0 <= said.confidence <= 0.75 and said.words


@real
def test_names_of_real_rides() -> None:
    found: Counter[int | None] = Counter()
    tiers: dict[str, int] = {}
    for path in sorted(REAL.glob("*/rides.csv")):
        with open(path, encoding="utf-8-sig", newline="") as file:
            for name in (line["name"] for line in csv.DictReader(file)):
                said = None if is_single_rider(name) else guess(name)
                found[said and said.tier] += 1
                tiers |= {name: said.tier} if said else {}
    assert all(found[tier] >= 10 for tier in (1, 2, 3))
    expected = {
        "Big Thunder Mountain Railroad": 1, "The Twilight Zone Tower of Terror™": 1, "Kali River Rapids": 2,
        "Haunted Mansion": 2, "Walt Disney World Railroad - Fantasyland": 2, "Main Street Vehicles": 3,
        "Prince Charming Regal Carrousel": 3, "Tom Sawyer Island": 3,
    }  # fmt: skip
    assert {name: tiers[name] for name in expected} == expected
