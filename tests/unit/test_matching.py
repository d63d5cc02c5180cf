"""Names of parks and rides: which mean the same in two sources, which may, and which only look alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.feeds import queue_times, themeparks_wiki
from service.jobs.matching import Matching, Named, Place, kilometers, matched, normalised, park_names, ride_names
from service.periods import country_of

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "fixtures"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers are not here")


def rides(**names: str) -> list[Named[str]]:
    return [Named(key, ride_names(name)) for key, name in names.items()]


def pairs(found: Matching[str, str]) -> set[tuple[str, str]]:
    return {(pair.left, pair.right) for pair in found.pairs}


def doubts(found: Matching[str, str]) -> set[tuple[str, str]]:
    return {(pair.left, pair.right) for pair in found.doubtful}


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "expected"), [
    ("Space Mountain", "space mountain"),
    ("The Barnstormer", "barnstormer"),
    ("The The Ride", "ride"),
    ("The", "the"),
    ("Parc Astérix", "parc asterix"),
    ("LEGOLAND® Korea", "legoland korea"),
    ("Zip(TM) Line (R)", "zip line"),
    ("Rock™ Coaster", "rock coaster"),
    ("Peter Pan’s Flight", "peter pans flight"),
    ("Disney's Animal Kingdom", "animal kingdom"),
    ("Disney’s Animal Kingdom", "animal kingdom"),
    ("TRON Lightcycle / Run", "tron lightcycle run"),
    ("Rough & Ready", "rough and ready"),
    ("Comet - Single Rider", "comet"),
    ("Comet (Single-Rider Line)", "comet"),
    ("Haunted House Holiday", "haunted house"),
    ("Holiday", "holiday"),
    ("STRASSE", "strasse"),
    ("Straße", "strasse"),
    ("東京の山", "東京の山"),
    ("<b>🎢</b>", "b b"),
    ("🎢🎡", ""),
    ("", ""),
])
def test_a_name_is_compared_without_what_sources_write_differently(name: str, expected: str) -> None:
    assert normalised(name) == expected


PIECES = [
    "the", "The", "Disney's", "disne", "ys", "™", "(R)", "(", "c)", "holiday", "single rider", "é", "ſ", "'", "-", "x",
]
PIECED = st.lists(st.sampled_from(PIECES), max_size=12)


@given(st.text(max_size=60) | PIECED.map(" ".join) | PIECED.map("".join))
def test_what_is_normalised_stays_so(name: str) -> None:
    assert normalised(normalised(name)) == normalised(name)


def test_a_park_is_called_with_its_resort_without_it_and_as_it() -> None:
    assert park_names("Disneyland Park", "Disneyland Paris") == ("disneyland paris", "disneyland")
    assert park_names("Shanghai Disneyland", "Shanghai Disney Resort", True) == ("disneyland shanghai", "shanghai")
    assert park_names("Six Flags Great Escape") == ("escape flags great six", "escape great")


# --- pairs -----------------------------------------------------------------------------------------------------------


def test_equal_names_are_one() -> None:
    found = matched(rides(a="The Comet™", b="Otter Creek"), rides(x="Otter Creek!", y="COMET"))
    assert pairs(found) == {("a", "y"), ("b", "x")}
    assert found.doubtful == []


def test_a_name_twice_on_one_side_is_in_doubt() -> None:
    found = matched(rides(a="Theatre", b="Theatre"), rides(x="Theatre"))
    assert pairs(found) == set()
    assert doubts(found) == {("a", "x")}


def test_very_similar_names_are_one_if_no_other_comes_near() -> None:
    # 2 x 19 common letters of 20 + 19: 0.97
    assert pairs(matched(rides(a="Grand Canyon Rapidss"), rides(x="Grand Canyon Rapids"))) == {("a", "x")}
    twice = matched(rides(a="Grand Canyon Rapidss", b="Grand Canyon Rapidsa"), rides(x="Grand Canyon Rapids"))
    assert pairs(twice) == set()
    assert len(twice.doubtful) == 1


def test_similar_names_are_in_doubt() -> None:
    found = matched(rides(a="Pirate Lagoon"), rides(x="Pirate Lagune"))  # "pirate lag", "n": 2 x 11 of 26
    assert pairs(found) == set()
    assert [(pair.left, pair.right, round(pair.similarity, 2)) for pair in found.doubtful] == [("a", "x", 0.85)]


def test_other_names_are_others() -> None:
    assert matched(rides(a="Comet"), rides(x="Otter Creek")) == ([], [])


def test_numbers_tell_names_apart() -> None:
    found = matched(rides(a="Grand Water Slide Tower 1"), rides(x="Grand Water Slide Tower 2"))
    assert (pairs(found), doubts(found)) == (set(), {("a", "x")})


def test_names_without_a_word_are_nothing_to_compare() -> None:
    assert matched(rides(a="🎢"), rides(x="🎢")) == ([], [])


def test_what_is_known_stays_paired_whatever_it_is_called() -> None:
    found = matched(rides(a="Comet", b="Otter"), rides(x="Comet", y="Otter"), known=[("a", "y")])
    assert pairs(found) == {("a", "y")}


def test_parks_of_one_name_are_told_apart_by_place() -> None:
    california, paris = Place(33.81, -117.92), Place(48.87, 2.78)
    left = [Named("us", ("disneyland",), california), Named("fr", ("disneyland",), paris)]
    right = [Named("x", ("disneyland",), Place(48.86, 2.77)), Named("y", ("disneyland",), Place(33.80, -117.91))]
    assert pairs(matched(left, right)) == {("us", "y"), ("fr", "x")}
    assert matched(left[:1], right[:1]) == ([], [])


def test_kilometers() -> None:
    assert round(kilometers(Place(48.8566, 2.3522), Place(51.5074, -0.1278))) == 344  # Paris to London
    assert kilometers(Place(0, 179.9), Place(0, -179.9)) == pytest.approx(22.24, abs=0.01)


FEW = ["Comet", "Comet 2", "The Comet", "Comett", "Komet", "Otter", "Otters", "🎢", ""]
NAMES = st.lists(st.sampled_from(FEW), max_size=7)


@given(NAMES, NAMES, st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=3))
def test_no_id_is_paired_twice(one: list[str], other: list[str], known: list[tuple[int, int]]) -> None:
    found = matched(
        [Named(number, ride_names(name)) for number, name in enumerate(one)],
        [Named(number, ride_names(name)) for number, name in enumerate(other)],
        known,
    )
    every = [*found.pairs, *found.doubtful]
    for side, count in (("left", len(one)), ("right", len(other))):
        ids = [getattr(pair, side) for pair in every]
        assert len(set(ids)) == len(ids)
        assert set(ids) <= set(range(count))
    assert all(0.7 <= pair.similarity <= 1 for pair in every)


@given(NAMES)
def test_a_list_of_different_names_is_matched_with_itself(names: list[str]) -> None:
    alone = {normalised(name): name for name in names if normalised(name)}
    side = [Named(name, ride_names(name)) for name in alone.values()]
    assert pairs(matched(side, side)) == {(name, name) for name in alone.values()}


# --- the real lists --------------------------------------------------------------------------------------------------


@recorded
def test_the_real_lists_pair_without_a_wrong_one() -> None:
    body = (RECORDED / "themeparks" / "py-destinations.json").read_bytes()
    parks = queue_times.parks((RECORDED / "queue-times" / "JZXHanta-parks.json").read_bytes()).parks
    left, called = [], {}
    for resort in themeparks_wiki.destinations(body).destinations:
        for park in resort.parks:
            names = park_names(park.name, resort.name, len(resort.parks) == 1)
            left.append(Named(park.themeparks_wiki_id, names, None, True))
            called[park.themeparks_wiki_id] = f"{resort.name}: {park.name}"
    right = [Named(park.source_id, park_names(park.name), None, True) for park in parks]
    found = matched(left, right)
    by_name = {called[pair.left]: pair.right for pair in found.pairs}
    assert len(by_name) >= 91
    assert by_name["Disneyland Resort: Disneyland Park"] == 16
    assert by_name["Disneyland Paris: Disneyland Park"] == 4
    assert by_name["Hong Kong Disneyland Parks: Hong Kong Disneyland Park"] == 31
    assert by_name["Shanghai Disney Resort: Shanghai Disneyland"] == 30
    assert by_name["Walt Disney World® Resort: Magic Kingdom Park"] == 6
    assert by_name["Universal Orlando Resort: Universal Islands of Adventure"] == 64
    assert by_name["Six Flags Great America: Six Flags Great America"] == 38
    assert {66, 65, 284}.isdisjoint(by_name.values())  # of Universal Studios nobody can say which without its place


# --- countries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zone", "country"), [
    ("America/Los_Angeles", "US"), ("Europe/Paris", "FR"), ("Asia/Tokyo", "JP"), ("UTC", None), ("US/Pacific", None),
    ("nowhere", None), ("", None),
])
def test_a_zone_is_of_a_country(zone: str, country: str | None) -> None:
    assert country_of(zone) == country
