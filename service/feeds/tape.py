"""A tape: the raw answers of collecting cycles, recorded as they came in and played again later.

A folder. `tape.jsonl` is only ever appended to: a line for the beginning of a cycle, for every answer, and for its end.
Bodies lie below `bodies/`, gzipped, named by the hash of what they hold, and so only once; a body is there before a
line speaks of it. Whoever records is killed at any moment, and the tape can still be played.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import threading
import zlib
from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from os import SEEK_END, strerror
from pathlib import Path
from typing import IO, Final, NamedTuple, Self
from urllib.parse import urlsplit

from service.errors import BadFeed, BadRequest, ServiceError, Silent, Unanswered
from service.feeds.sources import Ask

INDEX: Final = "tape.jsonl"
BODIES: Final = "bodies"
CATALOG: Final = "catalog"  # where a tape keeps the parks, rides and hours that its cycles name
FORMAT: Final = 1
HEADER: Final = 200  # bytes in which the first line ends
HASH_DIGITS: Final = 64


class Addresses(NamedTuple):
    """Below which addresses the sources were asked, named as `Sources` takes them."""

    themeparks_wiki_url: str
    queue_times_url: str
    open_meteo_url: str


class Cycle(NamedTuple):
    """A collecting cycle as it was recorded, to be asked again below the same `addresses`. `catalog` names the parks,
    rides and hours that there were, if they are on the tape.

    Without `is_whole` the recording broke off in it. `ask` raises what was raised then, Unanswered for what was not
    asked, and BadFeed where the tape is damaged; an address asked several times gives its answers in their order, and
    then ever the last.
    """

    at: datetime
    interval_minutes: int
    is_whole: bool
    addresses: Addresses
    catalog: str | None
    ask: Ask


# --- recording -------------------------------------------------------------------------------------------------------


class Recorder:
    """Appends cycles to the tape in a folder, which is made. Raises BadRequest for one that cannot be a tape's.

    One recorder at a time: a cycle that begins while another is recorded there raises BadRequest. What cannot be
    written, as on a full disk, costs nobody an answer: `end` raises ServiceError then.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._index: IO[bytes] | None = None  # while a cycle is recorded; what locks the tape
        self._number = 0  # of the cycle: an answer that comes late is not one of the next
        self._problem: OSError | None = None
        try:
            _make_tape(folder)
        except OSError as error:
            raise BadRequest(f"{folder} cannot be recorded into ({_said(error)}): name a new folder.") from None

    def begin(self, at: datetime, interval_minutes: int, addresses: Addresses, catalog: str | None = None) -> None:
        """A cycle begins, `at` the instant that it collects for; one that has not ended is not whole. `catalog` names
        one that is on the tape already."""
        self.close()
        fields = {name: _without_secrets(url) for name, url in addresses._asdict().items()}
        line: dict[str, object] = {
            "cycle": at.astimezone(UTC).isoformat(), "interval_minutes": interval_minutes, "addresses": fields
        }
        if catalog is not None:
            line["catalog"] = catalog
        try:
            with self._lock:
                self._number += 1
                self._index = self._locked_index()
                self._append(line)
        except BlockingIOError:
            raise BadRequest(f"{self.folder} is being recorded into: name another folder.") from None
        except OSError as error:
            self.close()  # answers without a beginning are nobody's
            raise self._unwritten(error) from None

    def ask(self, inner: Ask) -> Ask:
        """`inner`, with every answer noted, and that there was none. Outside of a cycle nothing is noted."""

        def asked(url: str) -> bytes:
            number = self._number
            try:
                body = inner(url)
            except Unanswered as error:
                self._note(number, url, {"unanswered": str(error), "silent": isinstance(error, Silent)})
                raise
            self._note(number, url, body)
            return body

        return asked

    def end(self) -> None:
        """The cycle is whole. Raises ServiceError if part of it could not be written."""
        with self._lock:
            if self._index is not None and self._problem is None:
                try:
                    self._append({"end": True})
                except OSError as error:
                    self._problem = error
            problem, self._problem = self._problem, None
        self.close()
        if problem is not None:
            raise self._unwritten(problem)

    def close(self) -> None:
        """Let others record here. A cycle that has not ended is not whole."""
        with self._lock:
            if self._index is not None:
                self._index.close()
            self._index = self._problem = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _locked_index(self) -> IO[bytes]:
        index = open(self.folder / INDEX, "a+b", buffering=0)
        try:
            fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
            index.seek(-1, SEEK_END)
            if index.read(1) != b"\n":  # whoever wrote it was killed in the middle of a line
                index.write(b"\n")
            for left_over in self.folder.glob(".*.tmp"):
                left_over.unlink(missing_ok=True)
        except OSError:
            index.close()
            raise
        return index

    def _note(self, number: int, url: str, answer: bytes | dict[str, object]) -> None:
        if self._index is None or self._problem is not None:
            return
        try:
            said = {"body": self._keep(answer)} if isinstance(answer, bytes) else answer
            with self._lock:
                if number == self._number and self._index is not None and self._problem is None:
                    self._append({"url": _without_secrets(url), **said})
        except OSError as error:
            with self._lock:
                self._problem = error if number == self._number else self._problem

    def _keep(self, body: bytes) -> str:
        """The name of a stored body."""
        name = sha256(body).hexdigest()
        path = _body_path(self.folder, name)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            _write_whole(path, gzip.compress(body, 6, mtime=0), self.folder)
        return name

    def _append(self, fields: dict[str, object]) -> None:
        line = json.dumps(fields).encode() + b"\n"
        if self._index is not None and self._index.write(line) < len(line):
            raise OSError(errno.ENOSPC, strerror(errno.ENOSPC))

    def _unwritten(self, error: OSError) -> ServiceError:
        return ServiceError(
            f"The tape in {self.folder} could not be written ({_said(error)}): this cycle is not whole on it."
        )


def _make_tape(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / INDEX).exists():
        _ensure_tape(folder)
    elif foreign := sorted(path.name for path in folder.iterdir() if not _is_ours(path.name)):
        raise BadRequest(f"{folder} holds something else than a tape ({foreign[0]}): name a new folder.")
    else:
        _write_whole(folder / INDEX, json.dumps({"tape": FORMAT}).encode() + b"\n", folder)
    (folder / BODIES).mkdir(exist_ok=True)
    open(folder / INDEX, "ab").close()


def _is_ours(name: str) -> bool:
    return name in (BODIES, CATALOG) or name.startswith(".")


def _write_whole(path: Path, content: bytes, folder: Path) -> None:
    """Write a file that is there as a whole, or not at all."""
    temporary = folder / f".{path.name}-{threading.get_ident()}.tmp"
    temporary.write_bytes(content)
    temporary.replace(path)


def _said(error: OSError) -> str:
    return error.strerror or str(error)


# --- playing ---------------------------------------------------------------------------------------------------------


def cycles(folder: Path) -> Iterator[Cycle]:
    """The cycles of a tape in order of time; of those of one instant, the first recorded first.

    Held in memory are where each begins, and the addresses and answers' names of one; bodies are read when they are
    asked for. A line that was not written to its end is ignored. Raises BadRequest for a folder that is no tape.
    """
    _ensure_tape(folder)
    return _cycles(folder)


class _Beginning(NamedTuple):
    at: datetime
    interval_minutes: int
    addresses: Addresses
    catalog: str | None


class _Answer(NamedTuple):
    body: str | None  # its name; None where there was no answer, and then the words for it
    unanswered: str = ""
    silent: bool = False


def _ensure_tape(folder: Path) -> None:
    try:
        with open(folder / INDEX, "rb") as index:
            version = _fields(index.readline(HEADER)).get("tape")
    except OSError:
        version = None
    if version is None:
        raise BadRequest(f"{folder} is no tape: name a folder that `cli collect --record` has recorded into.")
    if version != FORMAT:
        raise BadRequest(f"{folder} is a tape of format {version}, but this version of the service plays {FORMAT}.")


def _cycles(folder: Path) -> Iterator[Cycle]:
    with open(folder / INDEX, "rb") as index:
        for _, position in sorted(_beginnings(index)):
            index.seek(position)
            yield _cycle(folder, index)


def _beginnings(index: IO[bytes]) -> Iterator[tuple[int, int]]:
    """The instant of each cycle, in epoch seconds, and where in the index it begins."""
    position = 0
    while line := index.readline():
        beginning = _beginning(_fields(line)) if line.startswith(b'{"cycle"') else None
        if beginning is not None:
            yield int(beginning.at.timestamp()), position
        position += len(line)


def _cycle(folder: Path, index: IO[bytes]) -> Cycle:
    """The cycle that begins where the index stands."""
    beginning = _beginning(_fields(index.readline()))
    if beginning is None:
        raise BadFeed(f"{folder / INDEX} was changed while it was played.")
    answers: dict[str, deque[_Answer]] = defaultdict(deque)
    is_whole = False
    while not is_whole and (line := index.readline()) and not line.startswith(b'{"cycle"'):
        fields = _fields(line)
        is_whole = "end" in fields
        url, answer = fields.get("url"), _answer(fields)
        if isinstance(url, str) and answer is not None:
            answers[url].append(answer)
    at, interval_minutes, addresses, catalog = beginning
    return Cycle(at, interval_minutes, is_whole, addresses, catalog, _Player(folder, dict(answers)).ask)


class _Player:
    """The answers of one cycle by their addresses."""

    def __init__(self, folder: Path, answers: dict[str, deque[_Answer]]) -> None:
        self.folder = folder
        self._answers = answers
        self._lock = threading.Lock()

    def ask(self, url: str) -> bytes:
        plain = _without_secrets(url)
        with self._lock:
            left = self._answers.get(plain)
            if not left:
                raise Unanswered(f"{plain} was not asked when this was recorded.")
            answer = left.popleft() if len(left) > 1 else left[0]
        if answer.body is None:
            raise (Silent if answer.silent else Unanswered)(answer.unanswered)
        return _body(self.folder, answer.body)


def _fields(line: bytes) -> dict[str, object]:
    """The object on a line of the index; an empty one for a broken line."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _beginning(fields: dict[str, object]) -> _Beginning | None:
    cycle, interval, addresses = (fields.get(name) for name in ("cycle", "interval_minutes", "addresses"))
    if not isinstance(cycle, str) or not isinstance(interval, int) or not isinstance(addresses, dict):
        return None
    try:
        at, below = datetime.fromisoformat(cycle), Addresses(**addresses)
    except (ValueError, TypeError):
        return None
    good = at.tzinfo is not None and interval > 0 and all(isinstance(url, str) for url in below)
    return _Beginning(at, interval, below, _catalog(fields.get("catalog"))) if good else None


def _catalog(name: object) -> str | None:
    """The name of a catalog; what could be another place than a tape's own folder is none."""
    return name if isinstance(name, str) and len(name) <= HASH_DIGITS and name.isalnum() else None


def _answer(fields: dict[str, object]) -> _Answer | None:
    body, unanswered = fields.get("body"), fields.get("unanswered")
    if isinstance(body, str) and len(body) == HASH_DIGITS and body.isalnum():
        return _Answer(body)
    return _Answer(None, unanswered, fields.get("silent") is True) if isinstance(unanswered, str) else None


def _body(folder: Path, name: str) -> bytes:
    path = _body_path(folder, name)
    try:
        body = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        reason = _said(error) if isinstance(error, OSError) else str(error)
        raise BadFeed(f"{path} of the tape cannot be read: {reason}.") from None
    if sha256(body).hexdigest() != name:
        raise BadFeed(f"{path} of the tape does not hold what was recorded.")
    return body


def _body_path(folder: Path, name: str) -> Path:
    return folder / BODIES / name[:2] / f"{name}.gz"


def _without_secrets(url: str) -> str:
    """An address without the user and password that it may have: a tape is given to others."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url
