"""A tape gives again what was recorded, whenever whoever recorded it was killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from service.errors import BadFeed, BadRequest, ServiceError, Silent, Unanswered
from service.feeds.sources import Sources
from service.feeds.tape import Addresses, Cycle, Recorder, cycles

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 4, 14, 12, tzinfo=UTC)
BASE = "https://sources.test"
ADDRESSES = Addresses(f"{BASE}/wiki", f"{BASE}/queue", f"{BASE}/weather")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tapes" / "one"


def answering(answers: dict[str, bytes | Unanswered]) -> Callable[[str], bytes]:
    def ask(url: str) -> bytes:
        answer = answers[url]
        if isinstance(answer, Unanswered):
            raise answer
        return answer

    return ask


def record(folder: Path, answers: dict[str, bytes | Unanswered], at: datetime = NOON, *, ends: bool = True) -> None:
    """One cycle on the tape in which these are asked, in their order."""
    with Recorder(folder) as recorder:
        recorder.begin(at, 5, ADDRESSES)
        ask = recorder.ask(answering(answers))
        for url in answers:
            try:
                ask(url)
            except Unanswered:
                pass
        if ends:
            recorder.end()


def only(folder: Path) -> Cycle:
    [cycle] = cycles(folder)
    return cycle


def bodies(folder: Path) -> list[Path]:
    return sorted((folder / "bodies").rglob("*.gz"))


# --- what was recorded is played -------------------------------------------------------------------------------------


def test_a_cycle_is_played_as_it_was_recorded(folder: Path) -> None:
    record(folder, {"a": b'{"a": 1}', "b": b"", "c": bytes(range(256))})
    cycle = only(folder)
    assert (cycle.at, cycle.interval_minutes, cycle.is_whole, cycle.addresses) == (NOON, 5, True, ADDRESSES)
    assert [cycle.ask(url) for url in "abc"] == [b'{"a": 1}', b"", bytes(range(256))]


def test_a_cycle_names_its_catalog(folder: Path) -> None:
    with Recorder(folder) as recorder:
        for minutes, name in ((0, "0123abcd"), (5, None)):
            recorder.begin(NOON + timedelta(minutes=minutes), 5, ADDRESSES, name)
            recorder.end()
    assert [cycle.catalog for cycle in cycles(folder)] == ["0123abcd", None]
    assert [b"catalog" in line for line in (folder / "tape.jsonl").read_bytes().splitlines()] == [
        False, True, False, False, False,
    ]


@pytest.mark.parametrize("name", ['"../elsewhere"', '"/etc"', '"a/b"', '""', "7", '["a"]', f'"{"a" * 65}"'])
def test_what_is_no_name_of_a_catalog_names_none(folder: Path, name: str) -> None:
    record(folder, {"a": b"1"})
    index = folder / "tape.jsonl"
    index.write_text(index.read_text().replace('"addresses"', f'"catalog": {name}, "addresses"'))
    assert (only(folder).catalog, only(folder).ask("a")) == (None, b"1")


def test_recording_hands_the_answer_on(folder: Path) -> None:
    recorder = Recorder(folder)
    recorder.begin(NOON, 5, ADDRESSES)
    refusal = Silent("sources.test did not answer.")
    ask = recorder.ask(answering({"a": b"1", "b": refusal}))
    assert ask("a") == b"1"
    with pytest.raises(Silent) as raised:
        ask("b")
    assert raised.value is refusal


@pytest.mark.parametrize("kind", [Unanswered, Silent])
def test_no_answer_is_played_with_its_words(folder: Path, kind: type[Unanswered]) -> None:
    record(folder, {"a": kind("sources.test said 404 – gone.")})
    with pytest.raises(Unanswered, match="^sources.test said 404 – gone.$") as raised:
        only(folder).ask("a")
    assert type(raised.value) is kind


def test_what_was_not_asked_has_no_answer(folder: Path) -> None:
    record(folder, {f"{BASE}/a": b"1"})
    with pytest.raises(Unanswered, match=f"^{BASE}/b was not asked when this was recorded.$"):
        only(folder).ask(f"{BASE}/b")


def test_an_address_asked_again_gives_its_answers_in_order_and_then_the_last(folder: Path) -> None:
    answers: dict[str, bytes | Unanswered] = {"a": Silent("Not now.")}
    with Recorder(folder) as recorder:
        recorder.begin(NOON, 5, ADDRESSES)
        ask = recorder.ask(answering(answers))
        with pytest.raises(Silent):
            ask("a")
        for answers["a"] in (b"1", b"2"):
            ask("a")
        recorder.end()
    cycle = only(folder)
    with pytest.raises(Silent):
        cycle.ask("a")
    assert [cycle.ask("a") for _ in range(3)] == [b"1", b"2", b"2"]


def test_sources_are_asked_below_the_addresses_of_the_tape(folder: Path) -> None:
    record(folder, {f"{BASE}/queue/parks/7/queue_times.json": b'{"lands": [], "rides": []}'})
    cycle = only(folder)
    assert Sources(cycle.ask, **cycle.addresses._asdict()).queue_times(7).rides == []


def test_users_and_passwords_of_addresses_stay_off_the_tape(folder: Path) -> None:
    secret = "https://me:hush@sources.test"
    with Recorder(folder) as recorder:
        recorder.begin(NOON, 5, Addresses(f"{secret}/wiki", f"{BASE}/queue", f"{BASE}/weather"))
        recorder.ask(answering({f"{secret}/wiki/destinations": b"1"}))(f"{secret}/wiki/destinations")
        recorder.end()
    assert "hush" not in (folder / "tape.jsonl").read_text()
    cycle = only(folder)
    assert cycle.addresses == ADDRESSES
    assert cycle.ask(f"{BASE}/wiki/destinations") == cycle.ask(f"{secret}/wiki/destinations") == b"1"


def test_answers_of_many_threads_are_all_there(folder: Path) -> None:
    answers: dict[str, bytes | Unanswered] = {f"{BASE}/{number}": b"%d" % (number % 7) for number in range(300)}
    with Recorder(folder) as recorder, ThreadPoolExecutor(16) as pool:
        recorder.begin(NOON, 5, ADDRESSES)
        assert list(pool.map(recorder.ask(answering(answers)), answers)) == list(answers.values())
        recorder.end()
    cycle = only(folder)
    assert {url: cycle.ask(url) for url in answers} == answers
    assert len(bodies(folder)) == 7


def test_what_is_asked_outside_of_a_cycle_is_not_recorded(folder: Path) -> None:
    with Recorder(folder) as recorder:
        ask = recorder.ask(answering({"a": b"1", "b": b"2"}))
        assert ask("a") == b"1"
        recorder.begin(NOON, 5, ADDRESSES)
        recorder.end()
        assert ask("b") == b"2"
    for url in "ab":
        with pytest.raises(Unanswered):
            only(folder).ask(url)


def test_an_answer_that_comes_late_is_not_one_of_the_next_cycle(folder: Path) -> None:
    with Recorder(folder) as recorder:
        recorder.begin(NOON, 5, ADDRESSES)

        def slow(url: str) -> bytes:
            recorder.end()
            recorder.begin(NOON + timedelta(minutes=5), 5, ADDRESSES)
            return b"late"

        assert recorder.ask(slow)("a") == b"late"
        recorder.end()
    for cycle in cycles(folder):
        with pytest.raises(Unanswered):
            cycle.ask("a")


# --- many cycles -----------------------------------------------------------------------------------------------------


def test_cycles_are_played_in_order_of_time(folder: Path) -> None:
    tokyo = timezone(timedelta(hours=9))
    for minutes in (10, 0, 5):
        at = (NOON + timedelta(minutes=minutes)).astimezone(tokyo)
        record(folder, {"a": b"%d" % minutes}, at)
    assert [(f"{cycle.at:%H:%M %Z}", cycle.ask("a")) for cycle in cycles(folder)] == [
        ("12:00 UTC", b"0"), ("12:05 UTC", b"5"), ("12:10 UTC", b"10"),
    ]


def test_a_cycle_recorded_twice_is_two_cycles(folder: Path) -> None:
    record(folder, {"a": b"first"}, ends=False)
    record(folder, {"a": b"second"})
    assert [(cycle.is_whole, cycle.ask("a")) for cycle in cycles(folder)] == [(False, b"first"), (True, b"second")]


def test_answers_stay_in_their_cycle(folder: Path) -> None:
    record(folder, {"a": b"1"})
    record(folder, {"b": b"2"}, NOON + timedelta(minutes=5))
    first, second = cycles(folder)
    assert (first.ask("a"), second.ask("b")) == (b"1", b"2")
    for cycle, url in ((first, "b"), (second, "a")):
        with pytest.raises(Unanswered):
            cycle.ask(url)


def test_an_answer_that_does_not_change_is_stored_once(folder: Path) -> None:
    for minutes in (0, 5, 10):
        record(folder, {"a": b"the same", "b": b"%d" % minutes}, NOON + timedelta(minutes=minutes))
    assert len(bodies(folder)) == 4


def test_the_same_answers_make_the_same_files(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        record(tmp_path / name, {"a": b"x" * 1000, "b": Unanswered("Gone.")})
        files = [path for path in sorted((tmp_path / name).rglob("*")) if path.is_file()]
        made.append([(path.relative_to(tmp_path / name), path.read_bytes()) for path in files])
    assert made[0] == made[1]
    [(_, zipped), _] = made[0]
    assert zipped[4:8] == bytes(4)  # gzip's own time of writing


def test_a_body_of_eight_megabytes(folder: Path) -> None:
    body = bytes(range(256)) * 32_768
    record(folder, {"a": body})
    assert only(folder).ask("a") == body


# --- killed, and damaged ---------------------------------------------------------------------------------------------


def test_an_index_cut_off_anywhere_is_played_and_gone_on_with(folder: Path, tmp_path: Path) -> None:
    record(folder, {"a": b"1"})
    whole = (folder / "tape.jsonl").stat().st_size
    record(folder, {"a": b"2", "b": Silent("Not now.")}, NOON + timedelta(minutes=5))
    index = (folder / "tape.jsonl").read_bytes()
    for size in range(whole, len(index), 3):
        torn = tmp_path / f"torn-{size}"
        shutil.copytree(folder, torn)
        (torn / "tape.jsonl").write_bytes(index[:size])
        before = list(cycles(torn))
        assert (before[0].is_whole, before[0].ask("a")) == (True, b"1")
        assert [cycle.is_whole for cycle in before[1:]] in ([], [False], [True])
        record(torn, {"c": b"3"}, NOON + timedelta(minutes=10))
        after = list(cycles(torn))
        assert [cycle.is_whole for cycle in after] == [*(cycle.is_whole for cycle in before), True]
        assert after[-1].ask("c") == b"3"


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from service.feeds.tape import Addresses, Recorder

recorder = Recorder(Path(sys.argv[1]))
recorder.begin(datetime(2026, 4, 14, 11, 55, tzinfo=UTC), 5, Addresses("a", "b", "c"))
recorder.ask(lambda url: b"1")("a")
recorder.ask(lambda url: os.kill(os.getpid(), signal.SIGKILL))("b")
"""


def test_a_recorder_that_was_killed_leaves_what_it_had_and_locks_nobody_out(folder: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=ROOT, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    record(folder, {"a": b"2"})
    assert [(cycle.is_whole, cycle.ask("a")) for cycle in cycles(folder)] == [(False, b"1"), (True, b"2")]


def test_what_a_killed_recorder_did_not_finish_is_cleared_away(folder: Path) -> None:
    record(folder, {"a": b"1"})
    (folder / ".abc-7.tmp").write_bytes(b"half")
    record(folder, {"a": b"2"})
    assert sorted(path.name for path in folder.iterdir()) == ["bodies", "tape.jsonl"]


@pytest.mark.parametrize(("damage", "words"), [
    (lambda path: path.unlink(), "No such file"),
    (lambda path: path.write_bytes(path.read_bytes()[:-9]), "end-of-stream"),
    (lambda path: path.write_bytes(b"<html>"), "Not a gzipped file"),
    (lambda path: path.write_bytes(path.with_name("other").read_bytes()), "does not hold what was recorded"),
])
def test_a_damaged_body_is_named(folder: Path, damage: Callable[[Path], object], words: str) -> None:
    record(folder, {"a": b"1"})
    [body] = bodies(folder)
    record(folder.parent / "other", {"a": b"2"})
    body.with_name("other").write_bytes(bodies(folder.parent / "other")[0].read_bytes())
    damage(body)
    with pytest.raises(BadFeed, match=words) as raised:
        only(folder).ask("a")
    assert str(body) in str(raised.value)


def test_only_the_body_that_is_asked_for_is_read(folder: Path) -> None:
    record(folder, {"a": b"1"})
    [first] = bodies(folder)
    record(folder, {"b": b"2"}, NOON + timedelta(minutes=5))
    first.unlink()
    assert [cycle.ask("b") for cycle in list(cycles(folder))[1:]] == [b"2"]


@pytest.mark.parametrize("line", [
    b"\xff\xfe", b"[]", b"7", b"{}", b'{"cycle": "2026-04-14T12:00:00"}', b'{"url": "a", "body": "../../etc/passwd"}',
    b'{"cycle": 7, "interval_minutes": 5, "addresses": {}}', b'{"url": ["a"], "unanswered": "x"}', b"[" * 100_000,
    b'{"cycle": "2026-04-14T12:00:00+00:00", "interval_minutes": 5, "addresses": {"nope": "x"}}',
])
def test_a_line_that_says_nothing_is_ignored(folder: Path, line: bytes) -> None:
    record(folder, {"a": b"1"})
    with open(folder / "tape.jsonl", "ab") as index:
        index.write(line + b"\n")
    record(folder, {"a": b"2"}, NOON + timedelta(minutes=5))
    assert [(cycle.is_whole, cycle.ask("a")) for cycle in cycles(folder)] == [(True, b"1"), (True, b"2")]


def test_what_cannot_be_written_costs_no_answer_and_is_told_at_the_end(folder: Path) -> None:
    recorder = Recorder(folder)
    recorder.begin(NOON, 5, ADDRESSES)
    (folder / "bodies").rmdir()
    (folder / "bodies").write_text("in the way")
    ask = recorder.ask(answering({"a": b"1", "b": Unanswered("Gone.")}))
    assert ask("a") == b"1"
    with pytest.raises(Unanswered):
        ask("b")
    with pytest.raises(ServiceError, match=r"could not be written \(.+\): this cycle is not whole on it") as raised:
        recorder.end()
    assert raised.value.exit_code == 1
    (folder / "bodies").unlink()
    (folder / "bodies").mkdir()
    recorder.begin(NOON + timedelta(minutes=5), 5, ADDRESSES)
    assert ask("a") == b"1"
    recorder.end()
    assert [cycle.is_whole for cycle in cycles(folder)] == [False, True]


# --- folders that are no tapes ---------------------------------------------------------------------------------------


def test_a_folder_that_is_no_tape_cannot_be_played(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "tape.jsonl").write_text("Dear diary\n")
    for name in ("nowhere", "notes", "notes/tape.jsonl"):
        with pytest.raises(BadRequest, match="is no tape: name a folder that `cli collect --record` has recorded into"):
            cycles(tmp_path / name)


def test_a_tape_of_another_format_says_so(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "tape.jsonl").write_text(json.dumps({"tape": 2}) + "\n")
    for use in (cycles, Recorder):
        with pytest.raises(BadRequest, match="is a tape of format 2, but this version of the service plays 1"):
            use(folder)


def test_a_folder_with_something_else_is_not_recorded_into(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BadRequest, match=r"holds something else than a tape \(thesis.txt\): name a new folder"):
        Recorder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_is_no_folder_to_record_into(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRequest, match=r"cannot be recorded into \(.+\): name a new folder"):
        Recorder(tmp_path / "file" / below)


def test_a_folder_with_only_a_catalog_becomes_a_tape(folder: Path) -> None:
    (folder / "catalog").mkdir(parents=True)
    record(folder, {"a": b"1"})
    assert only(folder).ask("a") == b"1"


def test_two_do_not_record_into_one_tape_at_once(folder: Path) -> None:
    first, second = Recorder(folder), Recorder(folder)
    first.begin(NOON, 5, ADDRESSES)
    with pytest.raises(BadRequest, match="is being recorded into: name another folder"):
        second.begin(NOON, 5, ADDRESSES)
    first.end()
    second.begin(NOON, 5, ADDRESSES)
    second.end()
    assert [cycle.is_whole for cycle in cycles(folder)] == [True, True]
