"""Classifies rides: tier 1 are the flagships, 3 the small ones, None are those that nobody has classified.

By a CSV file, made by hand; and for what is left by a first guess at the name.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from peewee import Field

from service.database import batches
from service.errors import BadRequest
from service.feeds import csv_files, plain_text
from service.feeds.csv_files import Refusal
from service.jobs.joblog import Run, logged
from service.jobs.marks import atomically, mark_raw_days_dirty, move_revisions
from service.models import Park, Ride
from service.models.base import rows
from service.rules import Category

# --- the guess -------------------------------------------------------------------------------------------------------

REVIEWED: Final = 0.5  # a guess that is less sure is for a person to judge
ONE_WORD, MORE_WORDS, MOST = 60, 5, 75  # confidence in hundredths: of the first word, of each further, and at most
CONFLICT: Final = {1: 5, 2: 15}  # what a word takes off that speaks for a tier so far away
PREFERRED: Final = (3, 1, 2)  # where as many words speak for each: "junior" says more than "coaster", both than "ride"

# Words of names, as regular expressions on small letters without accents. Of several that overlap the first counts.
PATTERNS: Final[tuple[tuple[int, str], ...]] = (
    (3, "observation tower|panorama tower|splash (?:pad|zone|n soak)|play ?(?:area|ground|house|land|place|zone)s?"),
    (3, "tea ?cups?|tea party|merry go round|petting|ferris wheel|flying carpets?|tree ?house|walk ?through"),
    (3, "aire de jeux|spielplatz"),
    (2, "people ?mover|mine tour|drop ?slides?"),
    (1, "mine train|roller coasters?|free ?fall|montagnes? russes?|montana rusa"),
    (1, "[a-z]*coasters?|mountain|tower|drop|expedition|hyper[a-z]*|giga|strata|terror|everest|dragster|looping"),
    (1, "achterbahn|achtbaan"),
    (3, "carr?ou?ss?ell?|karussell|manege|tiovivo|kiddie|kids?|kinder|junior|jr|mini|spinners?|theat(?:er|re)"),
    (3, "trails?|trek|galler(?:y|ies)|exhibits?|museum|aquarium|arcade|maze|labyrinth|balloons?|bumper|swings?"),
    (3, "carpets?|isle|island|beach|garden|vehicles|canoes|buggies|scooters|sing along|festival|castle|meet"),
    (2, "rides?|adventures?|cruise|journey|safaris?|voyages?|flight|tours?|quest|mission|hunt|haunted|mansion|manor"),
    (2, "pirates?|train|rail(?:road|way)|river|riverboat|rapids|flume|boats?|rafts?|monorail|speedway|raceway|racer"),
)
_WORDS = re.compile("|".join(rf"(?P<n{index}>\b(?:{words})\b)" for index, (_, words) in enumerate(PATTERNS)))


class Guess(NamedTuple):
    """A tier, how sure it is (0 to 1), and the words of the name that speak for it or against it, in their order."""

    tier: int
    confidence: float
    words: tuple[str, ...]

    @property
    def is_sure(self) -> bool:
        """Whether it may be taken without anybody looking at it."""
        return self.confidence >= REVIEWED


def guess(name: str) -> Guess | None:
    """The tier that the words of a ride's name speak for; None if none of them says anything.

    One word gives a confidence of 0.60; those that agree raise it up to 0.75, those that do not lower it, tier 1 and 3
    against each other so far that it is less than REVIEWED.
    """
    found = _words(name)
    if not found:
        return None
    votes = Counter(found.values())
    tier = min(votes, key=lambda tier: (-votes[tier], PREFERRED.index(tier)))
    hundredths = min(ONE_WORD + MORE_WORDS * (votes[tier] - 1), MOST)
    hundredths -= sum(CONFLICT[abs(other - tier)] * count for other, count in votes.items() if other != tier)
    return Guess(tier, max(hundredths, 0) / 100, tuple(found))


def _words(name: str) -> dict[str, int]:
    """The tier of each word that has one, in the order of the name."""
    letters = unicodedata.normalize("NFD", name.casefold().replace("'", "").replace("’", ""))
    plain = "".join(letter if letter.isalnum() else " " for letter in letters if not unicodedata.combining(letter))
    text = " ".join(plain.split())
    return {match[0]: PATTERNS[int((match.lastgroup or "n0")[1:])][0] for match in _WORDS.finditer(text)}


# --- the rides -------------------------------------------------------------------------------------------------------


class Classified(NamedTuple):
    """A ride as it is classified."""

    ride_id: int
    park: str
    ride: str
    themeparks_wiki_id: str | None
    queue_times_id: int | None
    category: int
    tier: int | None


class Change(NamedTuple):
    """What becomes of a ride."""

    ride_id: int
    park: str
    ride: str
    tier_before: int | None
    tier: int | None
    category_before: Category
    category: Category


def _stored() -> list[Classified]:
    """All rides, by park and name."""
    query = Ride.select(
        Ride.ride_id, Park.name, Ride.name, Ride.themeparks_wiki_id, Ride.queue_times_id, Ride.category, Ride.tier
    ).join(Park)
    return sorted(rows(query, Classified), key=lambda it: (it.park.casefold(), it.ride.casefold(), it.ride_id))


Values = tuple[int | None, Category]  # tier and category


def _change(ride: Classified, values: Values) -> Change:
    tier, category = values
    return Change(ride.ride_id, ride.park, ride.ride, ride.tier, tier, Category(ride.category), category)


def _write(changes: Sequence[Change], now: datetime, where: Sequence[Any] = ()) -> None:
    """Store the changes, and make known that what statistics were computed with is another."""
    if not changes:
        return
    alike: dict[Values, list[int]] = defaultdict(list)
    for change in changes:
        alike[change.tier, change.category].append(change.ride_id)
    for (tier, category), ride_ids in alike.items():
        values: dict[Field[Any], object] = {Ride.tier: tier, Ride.category: category, Ride.updated_at: now}
        for batch in batches(ride_ids, 500):
            Ride.update(values).where(Ride.ride_id << batch, *where).execute()
    move_revisions(current=True, history=True)
    mark_raw_days_dirty()


# --- by a file -------------------------------------------------------------------------------------------------------

TIER, CATEGORY, PARK, RIDE = "tier", "category", "park", "ride"
RIDE_ID, WIKI_ID, QUEUE_TIMES_ID = "ride_id", "themeparks_wiki_id", "queue_times_id"
COLUMNS: Final = (RIDE_ID, WIKI_ID, QUEUE_TIMES_ID, PARK, RIDE, TIER, CATEGORY)
WAYS: Final = ((RIDE_ID,), (WIKI_ID,), (QUEUE_TIMES_ID,), (PARK, RIDE))  # to name a ride, the first given counts


class FileReport(NamedTuple):
    """What a file said: how many lines could be used, what changes, and the lines that were refused."""

    lines: int
    changes: list[Change]
    refused: list[Refusal]


def classify(path: Path, now: datetime, *, dry_run: bool = False) -> FileReport:
    """Classify rides as a CSV file says, plain or .gz; all lines in one transaction.

    An empty `tier` makes a ride unclassified; an empty `category` leaves it as it is, and so does a column that is not
    there. Raises BadRequest for a file that cannot be read, or whose header does not do: nothing is written then.
    """
    _File(path)
    if dry_run:
        return _judged(path)
    with logged("tiers", now) as run:
        report = atomically(partial(_classify, path, now))
        _count(run, report.changes, len(report.refused))
    return report


def _classify(path: Path, now: datetime) -> FileReport:
    report = _judged(path)
    _write(report.changes, now)
    return report


def _judged(path: Path) -> FileReport:
    file = _File(path)
    catalog = _Catalog(_stored())
    found = list(file.records(lambda fields: catalog.said(dict(zip(COLUMNS, fields)), file.given)))
    changes = [_change(ride, values) for ride, values in found if values != (ride.tier, ride.category)]
    return FileReport(len(found), changes, file.refused)


def _count(run: Run, changes: Sequence[Change], warnings: int) -> None:
    run.rows_processed, run.warnings = len(changes), warnings


class _File(csv_files.Table):
    """The file, whose header may name rides in several ways."""

    def __init__(self, path: Path) -> None:
        self.path, self.refused = path, list[Refusal]()
        self.lines = self.position = 0
        header = [column.strip() for column in csv_files.header_of(path)]
        self.given = {column for column in COLUMNS if column in header}
        twice = [column for column in COLUMNS if header.count(column) > 1]
        if twice:
            raise BadRequest(f"{path.name} has the column {twice[0]} twice: leave one out.")
        if not any(self.given.issuperset(way) for way in WAYS):
            raise BadRequest(
                f"{path.name} does not name rides: its header needs {RIDE_ID}, {WIKI_ID} or {QUEUE_TIMES_ID}, or both"
                f" {PARK} and {RIDE}."
            )
        if not self.given & {TIER, CATEGORY}:
            raise BadRequest(f"{path.name} does not classify: its header needs {TIER} or {CATEGORY}, or both.")
        self.width = len(header)
        self.pick = itemgetter(*(header.index(column) if column in self.given else self.width for column in COLUMNS))


class _Catalog:
    """The rides by everything that a line may call them."""

    def __init__(self, stored: Iterable[Classified]) -> None:
        self._rides: dict[tuple[object, ...], list[Classified]] = defaultdict(list)
        self._parks: set[str] = set()
        self._taken: set[int] = set()
        for ride in stored:
            self._parks.add(ride.park.casefold())
            for key in (
                (RIDE_ID, ride.ride_id), (WIKI_ID, ride.themeparks_wiki_id), (QUEUE_TIMES_ID, ride.queue_times_id),
                (PARK, ride.park.casefold(), ride.ride.casefold()),
            ):  # fmt: skip
                self._rides[key].append(ride)

    def said(self, line: dict[str, str], given: set[str]) -> tuple[Classified, Values]:
        """The ride of a line, and how it is to be classified."""
        tier = csv_files.tier_of(line[TIER]) if line[TIER] else None
        category = csv_files.member_of(Category, line[CATEGORY], CATEGORY) if line[CATEGORY] else None
        ride = self._named(line)
        if ride.ride_id in self._taken:
            raise csv_files.BadLine(f"{ride.ride!r} of {ride.park!r} is given twice")
        self._taken.add(ride.ride_id)
        return ride, (tier if TIER in given else ride.tier, category or Category(ride.category))

    def _named(self, line: dict[str, str]) -> Classified:
        keys = list(_keys(line))
        if not keys:
            raise csv_files.BadLine("names no ride")
        found = self._rides.get(keys[0], [])
        if len(found) != 1:
            raise csv_files.BadLine(self._unknown(line, keys[0]) if not found else _ambiguous(line, len(found)))
        for key in keys[1:]:
            # A file of another database may have other ids: what it says is not to go to any ride.
            others = self._rides.get(key)
            if others and found[0] not in others:
                raise csv_files.BadLine(
                    f"{keys[0][0]} names {found[0].ride!r} of {found[0].park!r}, but {_way(key)} another ride"
                )
        return found[0]

    def _unknown(self, line: dict[str, str], key: tuple[object, ...]) -> str:
        if key[0] != PARK:
            return f"unknown {key[0]} {csv_files.shown(str(key[1]))}"
        of_park = f"{PARK} {csv_files.shown(line[PARK])}"
        return f"unknown {RIDE} {csv_files.shown(line[RIDE])} of {of_park}" if key[1] in self._parks else (
            f"unknown {of_park}"
        )


def _keys(line: dict[str, str]) -> Iterator[tuple[object, ...]]:
    """What a line calls its ride, the way that counts first."""
    parse: dict[str, Callable[[str], object]] = {
        RIDE_ID: lambda text: csv_files.id_of(text, RIDE_ID),
        WIKI_ID: csv_files.uuid_of,
        QUEUE_TIMES_ID: lambda text: csv_files.id_of(text, QUEUE_TIMES_ID),
    }
    for column, parsed in parse.items():
        if line[column]:
            yield column, parsed(line[column])
    if line[PARK] and line[RIDE]:
        yield PARK, plain_text(line[PARK]).casefold(), plain_text(line[RIDE]).casefold()


def _way(key: tuple[object, ...]) -> str:
    return f"{PARK} and {RIDE}" if key[0] == PARK else str(key[0])


def _ambiguous(line: dict[str, str], count: int) -> str:
    return f"{count} rides are called {csv_files.shown(line[RIDE])} there: name it by {RIDE_ID}"


# --- by the guess ----------------------------------------------------------------------------------------------------


class Guessed(NamedTuple):
    """A ride without a tier, what its name says, and whether that was applied."""

    ride_id: int
    park: str
    ride: str
    guess: Guess
    is_applied: bool


class GuessReport(NamedTuple):
    """The guesses, by park and name, and how many rides have names that say nothing."""

    guesses: list[Guessed]
    without: int


def apply_guesses(now: datetime, *, dry_run: bool = False) -> GuessReport:
    """Give attractions without a tier the one that their names say, where that is sure enough."""
    if dry_run:
        return _guessed(applies=False)
    with logged("tiers", now) as run:
        return atomically(partial(_apply_guesses, now, run))


def _apply_guesses(now: datetime, run: Run) -> GuessReport:
    report = _guessed(applies=True)
    category = Category.ATTRACTION
    changes = [
        Change(one.ride_id, one.park, one.ride, None, one.guess.tier, category, category)
        for one in report.guesses if one.is_applied
    ]
    # One that was classified since it was read is not classified over.
    _write(changes, now, [Ride.tier.is_null(), Ride.category == category])
    _count(run, changes, len(report.guesses) - len(changes))
    return report


def _guessed(*, applies: bool) -> GuessReport:
    unclassified = [it for it in _stored() if it.tier is None and it.category == Category.ATTRACTION]
    found = [(ride, said) for ride in unclassified if (said := guess(ride.ride))]
    guesses = [Guessed(it.ride_id, it.park, it.ride, said, applies and said.is_sure) for it, said in found]
    return GuessReport(guesses, len(unclassified) - len(found))


# --- for editing -----------------------------------------------------------------------------------------------------

EXPORTED: Final = (PARK, RIDE, TIER, "guess", "confidence", "words", CATEGORY, RIDE_ID, WIKI_ID, QUEUE_TIMES_ID)


def export(path: Path) -> int:
    """Write all rides with their tiers, and what their names say, as a file that `classify` reads; how many.

    The guess is only shown: as it is written, the file changes nothing. `.gz` is gzipped. Raises BadRequest for a file
    that is there already, as its tiers may have been filled in by hand, and for one that cannot be written.
    """
    if path.exists():
        raise BadRequest(f"{path} is there already: name another file, or remove it.")
    stored = _stored()
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(temporary, "wt", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(EXPORTED)
            writer.writerows(_exported(ride) for ride in stored)
        temporary.replace(path)
    except OSError as error:
        raise BadRequest(f"{path} cannot be written ({error.strerror or error}): name another file.") from None
    finally:
        temporary.unlink(missing_ok=True)
    return len(stored)


def _exported(it: Classified) -> tuple[object, ...]:
    said = guess(it.ride) if it.category == Category.ATTRACTION else None
    shown = (said.tier, f"{said.confidence:.2f}", "; ".join(said.words)) if said else (None, None, None)
    names = (name.replace("\n", " ") for name in (it.park, it.ride))  # no field of the format holds a line break
    return *names, it.tier, *shown, Category(it.category).name, it.ride_id, it.themeparks_wiki_id, it.queue_times_id
