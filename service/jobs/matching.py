"""Which of two sources' parks or rides are the same, told by their names and, for parks, by where they lie. Pure."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final, Generic, NamedTuple, TypeVar

SURE: Final = 0.9  # similarity from which names mean the same, if no other comes near
DOUBTFUL: Final = 0.7  # from which they may
MARGIN: Final = 0.05  # by which the next best has to be worse
LARGEST_PARK_KILOMETERS: Final = 30.0  # two sources' places for one park lie no further apart
EARTH_KILOMETERS: Final = 6371.0

_SIGNS = re.compile(r"[™®℠©]|\((?:tm|r|sm|c)\)", re.IGNORECASE)
_APOSTROPHES = re.compile("['’‘`´ʼ′]")
_NO_WORD = re.compile(r"[\W_]+")
_SUFFIX = re.compile(r"(?<=.) (single riders?( line)?|seasonal|holidays?|christmas|halloween|overlay)$")
_OF_OWNER = {"disneys"}
# What one source adds to a park's name and the other leaves out.
_COMMON = {"park", "parks", "theme", "themepark", "amusement", "attractiepark", "resort", "resorts", "at", "disney"}
_BRAND = re.compile("^six flags (?=.)")

K = TypeVar("K")
L = TypeVar("L")
R = TypeVar("R")


# --- names -----------------------------------------------------------------------------------------------------------


def normalised(name: str) -> str:
    """`name` as it is compared: small letters without accents, words with a blank between, and without what one source
    writes and another does not: signs, a leading "the", "Disney's", a suffix of a season. Empty if it has no word."""
    text = name
    while (shorter := _shortened(text)) != text:
        text = shorter
    return text


def _shortened(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", _SIGNS.sub(" ", name))
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter)).casefold()
    words = _NO_WORD.sub(" ", _APOSTROPHES.sub("", plain.replace("&", " and "))).split()
    kept = [word for word in words if word not in _OF_OWNER] or words
    while len(kept) > 1 and kept[0] == "the":
        del kept[0]
    return _SUFFIX.sub("", " ".join(kept))


def ride_names(name: str) -> tuple[str, ...]:
    """How a ride may be called."""
    found = normalised(name)
    return (found,) if found else ()


def park_names(name: str, destination: str | None = None, alone: bool = False) -> tuple[str, ...]:
    """How a park may be called, the most telling first: with its destination, by its own name, and, where it is the
    only park there, as the destination; without its brand at last. Words in alphabetical order, each once, and none
    that many parks bear."""
    own, resort = normalised(name), normalised(destination or "")
    called = [f"{resort} {own}", own, *([resort] if alone else []), _BRAND.sub("", own)]
    return tuple(dict.fromkeys(found for text in called if (found := _telling(text))))


def _telling(text: str) -> str:
    words = sorted(set(text.split()))
    return " ".join([word for word in words if word not in _COMMON] or words)


# --- places ----------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Degrees north and east."""

    latitude: float
    longitude: float


def kilometers(here: Place, there: Place) -> float:
    """The distance of two places, on a globe."""
    north, other_north = math.radians(here.latitude), math.radians(there.latitude)
    across, along = other_north - north, math.radians(there.longitude - here.longitude)
    chord = math.sin(across / 2) ** 2 + math.cos(north) * math.cos(other_north) * math.sin(along / 2) ** 2
    return 2 * EARTH_KILOMETERS * math.asin(min(1.0, math.sqrt(chord)))


# --- pairs -----------------------------------------------------------------------------------------------------------


class Named(NamedTuple, Generic[K]):
    """One park or ride of a source: its id there, the names to compare, the most telling first, and its place.

    Where names go `by_words`, as those of parks, one that has all words of the other, and more, may mean the same.
    """

    id: K
    names: tuple[str, ...]
    place: Place | None = None
    by_words: bool = False


class Pair(NamedTuple, Generic[L, R]):
    """Two ids, and how similar their names are, 0 to 1."""

    left: L
    right: R
    similarity: float


class Matching(NamedTuple, Generic[L, R]):
    """What is the same, and what may be. No id is in two pairs, be they certain or doubtful."""

    pairs: list[Pair[L, R]]
    doubtful: list[Pair[L, R]]


def matched(
    left: Sequence[Named[L]], right: Sequence[Named[R]], known: Collection[tuple[L, R]] = ()
) -> Matching[L, R]:
    """Pair two sources' ids. `known` ones stay paired, whatever they are called.

    Equal names pair where each is the only one, the most telling names first; then similar ones, if no other comes
    near. Parks that both have a place pair within LARGEST_PARK_KILOMETERS. What else is similar is doubtful.
    """
    work = _Matching(left, right)
    for one, other in known:
        work.pair(one, other, 1.0)
    for other_level in range(_levels(right)):
        for level in range(_levels(left)):
            work.pair_equal(level, other_level)
    likely = list(work.similar())
    work.pair_similar(likely)
    return Matching(work.pairs, work.doubtful(likely))


def likely_pairs(left: Sequence[Named[L]], right: Sequence[Named[R]]) -> Iterator[Pair[L, R]]:
    """Everything that could be a pair or a doubt."""
    yield from _Matching(left, right).similar()


class _Matching(Generic[L, R]):
    def __init__(self, left: Sequence[Named[L]], right: Sequence[Named[R]]) -> None:
        self.left = {item.id: item for item in left}
        self.right = {item.id: item for item in right}
        self.pairs: list[Pair[L, R]] = []

    def pair(self, left: L, right: R, similarity: float) -> None:
        """Pair two that are not paired yet."""
        if left in self.left and right in self.right:
            del self.left[left], self.right[right]
            self.pairs.append(Pair(left, right, similarity))

    def pair_equal(self, level: int, other_level: int) -> None:
        """Pair those whose names of these levels are equal, where neither has another to choose."""
        holders: dict[str, list[Named[R]]] = defaultdict(list)
        for other in self.right.values():
            for name in other.names[other_level : other_level + 1]:
                holders[name].append(other)
        found = [
            (one.id, other.id)
            for one in self.left.values()
            for name in one.names[level : level + 1]
            for other in holders[name]
            if _near(one, other)
        ]
        lefts, rights = Counter(one for one, _ in found), Counter(other for _, other in found)
        for one_id, other_id in found:
            if lefts[one_id] == rights[other_id] == 1:
                self.pair(one_id, other_id, 1.0)

    def similar(self) -> Iterator[Pair[L, R]]:
        """What is left and similar."""
        for other in self.right.values():
            compare = [SequenceMatcher(None, "", name, autojunk=False) for name in other.names]
            for one in self.left.values():
                if not _near(one, other):
                    continue
                similarity = _similarity(one.names, other.names, compare)
                if similarity < DOUBTFUL and one.by_words and other.by_words and _is_part(one.names, other.names):
                    similarity = DOUBTFUL
                if similarity >= DOUBTFUL:
                    yield Pair(one.id, other.id, similarity)

    def pair_similar(self, likely: Sequence[Pair[L, R]]) -> None:
        """Pair what is surely the same: similar, and no other is nearly so."""
        lefts: dict[L, list[float]] = defaultdict(list)
        rights: dict[R, list[float]] = defaultdict(list)
        for one, other, similarity in likely:
            lefts[one].append(similarity)
            rights[other].append(similarity)
        for one, other, similarity in likely:
            if similarity >= SURE and all(_stands_out(similarity, near) for near in (lefts[one], rights[other])):
                self.pair(one, other, similarity)

    def doubtful(self, likely: Sequence[Pair[L, R]]) -> list[Pair[L, R]]:
        """Of the others the most similar first, each id once."""
        found = []
        for pair in sorted(likely, key=lambda pair: -pair.similarity):
            if pair.left in self.left and pair.right in self.right:
                del self.left[pair.left], self.right[pair.right]
                found.append(pair)
        return found


def _levels(items: Iterable[Named[K]]) -> int:
    return max((len(item.names) for item in items), default=0)


def _near(one: Named[L], other: Named[R]) -> bool:
    if one.place is None or other.place is None:
        return True
    return kilometers(one.place, other.place) <= LARGEST_PARK_KILOMETERS


def _stands_out(similarity: float, among: list[float]) -> bool:
    return sum(one > similarity - MARGIN for one in among) == 1


def _similarity(names: tuple[str, ...], others: tuple[str, ...], compare: list[SequenceMatcher[str]]) -> float:
    """That of the most similar two names. Names with different numbers in them mean different things, in doubt."""
    best = 0.0
    for name in names:
        for other, matcher in zip(others, compare, strict=True):
            matcher.set_seq1(name)
            least = max(best, DOUBTFUL)
            if matcher.real_quick_ratio() >= least and matcher.quick_ratio() >= least:
                likeness = matcher.ratio()
                best = max(best, likeness if _numbers(name) == _numbers(other) else min(likeness, SURE - 0.01))
    return best


def _is_part(names: tuple[str, ...], others: tuple[str, ...]) -> bool:
    words, other_words = [set(name.split()) for name in names], [set(name.split()) for name in others]
    return any(len(one & other) > 1 and (one <= other or other <= one) for one in words for other in other_words)


def _numbers(name: str) -> list[str]:
    return [word for word in name.split() if word.isdecimal()]
