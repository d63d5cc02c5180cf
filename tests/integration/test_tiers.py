"""`catalog tiers`: rides are classified by a file or a guess; what was computed with the old tiers no longer holds."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import main
from cli.tiers import tiers as command
from service import clock
from service.config import Settings
from service.database import upsert
from service.errors import BadRequest
from service.feeds import ParkRecord, RideRecord
from service.jobs import tiers
from service.jobs.catalog import store_catalog
from service.jobs.tiers import apply_guesses, classify, export
from service.models import AggregationJobLog, JobStatus, Ride, RideStatusSnapshot, StatDay
from service.queries import state
from service.rules import Category, ParkType, Status

pytestmark = pytest.mark.usefixtures("database")

NOW = datetime(2026, 4, 14, 15, tzinfo=UTC)
LATER = datetime(2026, 4, 14, 16, tzinfo=UTC)
DAY = date(2026, 4, 10)
WIKI = "75ea578a-adc8-4116-a54d-dccb60765ef9"

Classified = tuple[int | None, str]


@pytest.fixture(autouse=True)
def catalog(database: Any) -> None:
    """Two parks; a day whose statistics are computed."""
    clock.replay(NOW)
    parks = [
        ParkRecord(1, "Lantern Bay", ParkType.DISNEY, "US", "America/Los_Angeles"),
        ParkRecord(2, "Cove", ParkType.OTHER, "FR", "Europe/Paris"),
    ]
    rides = [
        RideRecord(10, 1, "Crush's Coaster", themeparks_wiki_id=WIKI),
        RideRecord(11, 1, "Otter Carousel", queue_times_id=284, tier=2),
        RideRecord(12, 1, "Kiddie Coaster"),
        RideRecord(13, 1, "Kumba"),
        RideRecord(14, 1, "Comet Mountain Show", category=Category.SHOW),
        RideRecord(20, 2, "Comète, la Grande", queue_times_id=7),
        RideRecord(21, 2, "Twin"),
        RideRecord(22, 2, "Twin", "second"),
    ]
    store_catalog(parks, rides, NOW)
    table = RideStatusSnapshot
    columns = (table.snapshot_time, table.ride_id, table.status)
    upsert(table, columns, [(int(datetime(2026, 4, 9, 8, tzinfo=UTC).timestamp()), 10, Status.OPERATING)],
           key=columns[:2])
    days = (StatDay.stat_date, StatDay.metrics_version, StatDay.sample_count, StatDay.computed_at, StatDay.dirty)
    upsert(StatDay, days, [(DAY, 1, 1, NOW, False)], key=days[:2])


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: str, name: str = "tiers.csv") -> Path:
        path = tmp_path / name
        content = "\n".join(lines).encode() + b"\n"
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return write


def stored() -> dict[int, Classified]:
    return {ride.ride_id: (ride.tier, ride.category.name) for ride in Ride.select()}


def changed_from(before: dict[int, Classified]) -> dict[int, Classified]:
    return {ride_id: values for ride_id, values in stored().items() if values != before[ride_id]}


def known() -> tuple[int | None, int | None, bool]:
    """What other processes are told: the two revisions, and whether the computed day is dirty."""
    states = state.get_states(state.REVISION_CURRENT, state.REVISION_HISTORY)
    dirty = StatDay.get(StatDay.stat_date == DAY).dirty
    return states.get(state.REVISION_CURRENT), states.get(state.REVISION_HISTORY), dirty


# --- by a file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [
    ("ride_id,tier", "10,1", "20,3"),
    ("tier,park,ride", "1,lantern bay,CRUSH'S COASTER", '3,COVE," comÈte, LA GRANDE "'),
    ("themeparks_wiki_id,queue_times_id,tier", f"{WIKI.upper()},,1", ",7,3"),
    ("note,park,ride,ride_id,tier", "by hand,,,10,1", "too,Cove,,20,3"),
])  # fmt: skip
def test_a_file_names_rides_in_any_of_its_ways(file: Callable[..., Path], lines: tuple[str, ...]) -> None:
    before = stored()
    report = classify(file(*lines), LATER)
    assert (report.lines, len(report.changes), report.refused) == (2, 2, [])
    assert changed_from(before) == {10: (1, "ATTRACTION"), 20: (3, "ATTRACTION")}


def test_an_empty_tier_is_unclassified_and_an_empty_category_stays(file: Callable[..., Path]) -> None:
    before = stored()
    classify(file("ride_id,tier,category", "11,,", "14,1,", "13,2,EXPERIENCE"), LATER)
    assert changed_from(before) == {11: (None, "ATTRACTION"), 14: (1, "SHOW"), 13: (2, "EXPERIENCE")}


def test_a_file_with_categories_alone_leaves_tiers(file: Callable[..., Path]) -> None:
    before = stored()
    classify(file("ride_id,category", "11,SHOW"), LATER)
    assert changed_from(before) == {11: (2, "SHOW")}


def test_a_gzipped_file_with_a_byte_order_mark(file: Callable[..., Path]) -> None:
    before = stored()
    classify(file("\ufeffride_id,tier\r", "13,1\r", name="tiers.csv.gz"), LATER)
    assert changed_from(before) == {13: (1, "ATTRACTION")}


def test_a_change_makes_days_dirty_and_moves_the_revisions(file: Callable[..., Path]) -> None:
    current, history, dirty = known()
    assert not dirty
    classify(file("ride_id,tier", "10,1"), LATER)
    assert known() == ((current or 0) + 1, (history or 0) + 1, True)
    assert (Ride.get(Ride.ride_id == 10).updated_at, Ride.get(Ride.ride_id == 11).updated_at) == (LATER, NOW)


def test_the_same_file_again_changes_nothing(file: Callable[..., Path]) -> None:
    path = file("ride_id,tier", "10,1", "11,2")
    classify(path, LATER)
    StatDay.update({StatDay.dirty: False}).execute()
    before = known()
    report = classify(path, LATER)
    assert (report.lines, report.changes) == (2, [])
    assert known() == before


def test_lines_that_cannot_be_used_are_refused_and_the_others_go_on(file: Callable[..., Path]) -> None:
    before = stored()
    report = classify(
        file(
            "ride_id,park,ride,themeparks_wiki_id,tier,category", "99,,,,1,", "10,,,,4,", "10,,,,1,Ride", ",,,,1,",
            ",Atlantis,Otter Carousel,,1,", ",Cove,Otter Carousel,,1,", ",Cove,Twin,,1,", ",,,nobody,1,", "x,,,,1,",
            "20,,,,3,", "20,,,,1,", "13,Lantern Bay,Otter Carousel,,1,", "13,Lantern Bay,a ride unheard of,,1,", "1,2",
        ),
        LATER,
    )  # fmt: skip
    assert [(line, reason) for _, line, reason in report.refused] == [
        (2, "unknown ride_id '99'"),
        (3, "unknown tier '4': use 1, 2 or 3"),
        (4, "unknown category 'Ride': use ATTRACTION, MEET_AND_GREET, SHOW, EXPERIENCE"),
        (5, "names no ride"),
        (6, "unknown park 'Atlantis'"),
        (7, "unknown ride 'Otter Carousel' of park 'Cove'"),
        (8, "2 rides are called 'Twin' there: name it by ride_id"),
        (9, "unknown themeparks_wiki_id 'nobody'"),
        (10, "ride_id 'x' is not a whole number"),
        (12, "'Comète, la Grande' of 'Cove' is given twice"),
        (13, "ride_id names 'Kumba' of 'Lantern Bay', but park and ride another ride"),
        (15, "2 fields, but the header has 6"),
    ]
    assert changed_from(before) == {20: (3, "ATTRACTION"), 13: (1, "ATTRACTION")}
    [run] = AggregationJobLog.select()
    assert (run.job_type, run.status, run.rows_processed, run.warnings) == ("tiers", JobStatus.SUCCESS, 2, 12)


@pytest.mark.parametrize(("header", "words"), [
    ("name,tier", "does not name rides: its header needs ride_id, themeparks_wiki_id or queue_times_id, or both park"),
    ("park,tier", "does not name rides"),
    ("ride_id,land", "does not classify: its header needs tier or category, or both"),
    ("ride_id,tier,tier", "has the column tier twice"),
    ("", "does not name rides"),
])  # fmt: skip
def test_a_header_that_does_not_do_is_refused(file: Callable[..., Path], header: str, words: str) -> None:
    with pytest.raises(BadRequest, match=f"^tiers.csv {words}"):
        classify(file(header, "10,1"), LATER)
    assert not AggregationJobLog.select().exists()


def test_a_file_that_cannot_be_read_changes_nothing(file: Callable[..., Path], tmp_path: Path) -> None:
    before = stored()
    with pytest.raises(BadRequest, match="nowhere.csv cannot be read"):
        classify(tmp_path / "nowhere.csv", LATER)
    torn = file("ride_id,tier", "10,1")
    torn.write_bytes(torn.read_bytes() + b"11,\xff\n")
    with pytest.raises(BadRequest, match="is not UTF-8: see line 3"):
        classify(torn, LATER)
    assert stored() == before


def test_a_classification_that_is_killed_has_changed_nothing(
    file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored()

    def killed() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tiers, "mark_raw_days_dirty", killed)
    with pytest.raises(KeyboardInterrupt):
        classify(file("ride_id,tier", "10,1"), LATER)
    assert stored() == before


# --- by the guess ----------------------------------------------------------------------------------------------------


def test_a_guess_is_applied_only_to_attractions_without_a_tier(database: Any) -> None:
    before = stored()
    report = apply_guesses(LATER)
    assert [(one.ride_id, one.guess.tier, one.guess.confidence, one.is_applied) for one in report.guesses] == [
        (10, 1, 0.6, True), (12, 3, 0.45, False),
    ]  # fmt: skip
    assert report.without == 4
    assert changed_from(before) == {10: (1, "ATTRACTION")}


def test_guessing_makes_days_dirty_once() -> None:
    current, history, _ = known()
    apply_guesses(LATER)
    assert known() == ((current or 0) + 1, (history or 0) + 1, True)
    StatDay.update({StatDay.dirty: False}).execute()
    before = known()
    assert [one.ride_id for one in apply_guesses(LATER).guesses] == [12]
    assert known() == before


def test_a_ride_that_is_classified_meanwhile_keeps_its_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    guessed = tiers._guessed

    def overtaken(*, applies: bool) -> tiers.GuessReport:
        report = guessed(applies=applies)
        Ride.update({Ride.tier: 3}).where(Ride.ride_id == 10).execute()
        return report

    monkeypatch.setattr(tiers, "_guessed", overtaken)
    apply_guesses(LATER)
    assert stored()[10] == (3, "ATTRACTION")


# --- for editing -----------------------------------------------------------------------------------------------------


def test_an_exported_file_shows_rides_and_guesses(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert export(path) == 8
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["park"], line["ride"], line["tier"]) for line in lines[:2]] == [
        ("Cove", "Comète, la Grande", ""), ("Cove", "Twin", ""),
    ]  # fmt: skip
    by_id = {line["ride_id"]: line for line in lines}
    assert by_id["12"] == {
        "park": "Lantern Bay", "ride": "Kiddie Coaster", "tier": "", "guess": "3", "confidence": "0.45",
        "words": "kiddie; coaster", "category": "ATTRACTION", "ride_id": "12", "themeparks_wiki_id": "",
        "queue_times_id": "",
    }  # fmt: skip
    assert (by_id["11"]["tier"], by_id["11"]["guess"], by_id["11"]["queue_times_id"]) == ("2", "3", "284")
    assert (by_id["14"]["category"], by_id["14"]["guess"]) == ("SHOW", "")


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_an_exported_file_as_it_is_changes_nothing(tmp_path: Path, name: str) -> None:
    export(tmp_path / name)
    assert classify(tmp_path / name, LATER) == (8, [], [])
    assert sorted(path.name for path in tmp_path.glob("*out*")) == [name]


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("hours of work")
    with pytest.raises(BadRequest, match="out.csv is there already: name another file, or remove it"):
        export(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "hours of work"
    with pytest.raises(BadRequest, match=r"cannot be written \(.+\): name another file"):
        export(tmp_path / "nowhere" / "out.csv")


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setitem(main.commands, "tiers", command)
    environ = {"DATABASE_URL": settings.database_url, "REPLAY_NOW": LATER.isoformat()}
    return lambda *arguments: CliRunner().invoke(main, ["tiers", *map(str, arguments)], env=environ)


def test_the_command_reads_a_file(run: Callable[..., Result], file: Callable[..., Path]) -> None:
    result = run(file("ride_id,tier", "10,1", "11,2", "99,2"))
    assert (result.exit_code, result.stdout) == (0, (
        "2 lines used: 1 rides changed, 1 stay.\n"
        "Lines refused: 1.\n"
        "  tiers.csv, line 4: unknown ride_id '99'\n"
    ))  # fmt: skip
    assert Ride.get(Ride.ride_id == 10).tier == 1


def test_a_dry_run_shows_what_would_change_and_writes_nothing(
    run: Callable[..., Result], file: Callable[..., Path]
) -> None:
    before, told = stored(), known()
    result = run(file("ride_id,tier,category", "10,1,SHOW", "11,,"), "--guess", "--dry-run")
    assert (result.exit_code, result.stdout) == (0, (
        "park         ride             change\n"
        "Lantern Bay  Crush's Coaster  tier none -> 1, ATTRACTION -> SHOW\n"
        "Lantern Bay  Otter Carousel   tier 2 -> none\n"
        "2 lines used: 2 rides would change, 0 stay.\n"
        "park         ride             guess  confidence  applied  words\n"
        "Lantern Bay  Crush's Coaster  1      0.60        no       coaster\n"
        "Lantern Bay  Kiddie Coaster   3      0.45        review   kiddie, coaster\n"
        "1 guesses would be applied; 1 for review; 4 attractions without a tier have names that say nothing.\n"
        "Nothing was written.\n"
    ))  # fmt: skip
    assert (stored(), known()) == (before, told)
    assert not AggregationJobLog.select().exists()


def test_the_command_guesses(run: Callable[..., Result]) -> None:
    result = run("--guess")
    assert result.exit_code == 0
    assert "Lantern Bay  Crush's Coaster  1      0.60        yes      coaster\n" in result.stdout
    assert "Next: `cli catalog tiers --export FILE.csv` writes a file to fill in the rest by hand." in result.stdout
    assert Ride.get(Ride.ride_id == 10).tier == 1


def test_the_command_exports(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    result = run("--export", path)
    assert (result.exit_code, result.stdout) == (
        0, f"8 rides written to {path}.\nNext: fill in its tiers, then `cli catalog tiers {path}`.\n",
    )  # fmt: skip
    again = run(path)
    assert (again.exit_code, again.stdout) == (0, "8 lines used: 0 rides changed, 8 stay.\n")


def test_everything_as_one_object(run: Callable[..., Result], file: Callable[..., Path], tmp_path: Path) -> None:
    result = run(file("ride_id,tier", "13,1", "x,1"), "--guess", "--export", tmp_path / "out.csv", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {
        "lines": 1,
        "changed": 1,
        "changes": [{
            "ride_id": 13, "park": "Lantern Bay", "ride": "Kumba", "tier_before": None, "tier": 1,
            "category_before": "ATTRACTION", "category": "ATTRACTION",
        }],
        "refused": [{"file": "tiers.csv", "line": 3, "reason": "ride_id 'x' is not a whole number"}],
        "guesses": [
            {"ride_id": 10, "park": "Lantern Bay", "ride": "Crush's Coaster", "tier": 1, "confidence": 0.6,
             "words": ["coaster"], "applied": True},
            {"ride_id": 12, "park": "Lantern Bay", "ride": "Kiddie Coaster", "tier": 3, "confidence": 0.45,
             "words": ["kiddie", "coaster"], "applied": False},
        ],
        "applied": 1,
        "for_review": 1,
        "without_guess": 3,
        "exported": 8,
        "dry_run": False,
    })  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "Nothing to do: give a FILE.csv to read, --guess, or --export FILE.csv."),
    (("--dry-run", "--export", "out.csv"), "--dry-run writes nothing, and --export writes a file: give one of them."),
])  # fmt: skip
def test_a_question_without_sense_says_what_to_give(
    run: Callable[..., Result], arguments: tuple[str, ...], words: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_header_that_does_not_do_exits_2(run: Callable[..., Result], file: Callable[..., Path]) -> None:
    result = run(file("name,tier", "x,1"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("tiers.csv does not name rides: its header needs ride_id,")
