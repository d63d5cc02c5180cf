"""The migration files: where they are, and what is wrong with them. Needs no database."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import service
from service.config import Settings
from service.errors import BadRequest
from service.schema.offline import body_findings, line_in, read, reason

NAME = re.compile(r"\d{3}_[a-z0-9]+(_[a-z0-9]+)*")
OURS = ("service", "cli")
# Begins the docstring of a new file, until somebody has thought about it.
DOUBT = "CHECK:"  # begins what a draft could not know
PLACEHOLDER = "TODO what, why; 100 M rows: how long"


def find_folder(settings: Settings) -> Path:
    """MIGRATIONS_DIR, else `migrations` beside the package: in a checkout, and where pip puts it. Raises BadRequest."""
    folder = settings.migrations_dir or Path(service.__file__).resolve().parent.parent / "migrations"
    if not folder.is_dir():
        raise BadRequest(f"There is no folder of migrations at {folder}: MIGRATIONS_DIR names the right one.")
    return folder


def migration_names(settings: Settings) -> list[str]:
    """The names of all migrations in the order they run, without opening the files.

    Raises BadRequest naming every file that has no place in one line of numbers.
    """
    folder = find_folder(settings)
    files = paths(folder)
    _refuse(folder, _misnamed(files))
    return [path.stem for path in files]


def checksum(folder: Path, name: str) -> str:
    """SHA-256 of a migration file in hex. The same whichever line endings git has given it."""
    content = (folder / f"{name}.py").read_bytes()
    return hashlib.sha256(content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).hexdigest()


def ensure_sound(folder: Path) -> None:
    """Raise BadRequest naming everything wrong with the files: none is run when one cannot be."""
    _refuse(folder, findings(folder))


def findings(folder: Path) -> list[str]:
    """One sentence for each thing wrong with the files of `folder`, naming the file; empty when they can be run.

    Names and numbers, then each file by itself, then the bodies in their order for both engines (see `body_findings`).
    """
    files = paths(folder)
    found = _misnamed(files) if files else [f"There is no migration in {folder}."]
    out_of_order = bool(found)
    modules: list[ModuleType | None] = []
    for path in files:
        if NAME.fullmatch(path.stem):
            faults, module = _examined(path)
            found += faults
            modules.append(module)
    return found + body_findings(modules, doubtful=out_of_order)


def _refuse(folder: Path, found: Sequence[str]) -> None:
    if found:
        raise BadRequest(f"The migrations in {folder} cannot be run. " + " ".join(found))


def paths(folder: Path) -> list[Path]:
    """The migration files of `folder`, whatever is wrong with them, in the order of their names."""
    return sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")


def _misnamed(files: Sequence[Path]) -> list[str]:
    """Names that are not of the pattern, numbers that two files have, and gaps. Two branches' files meet here."""
    found = []
    by_number: dict[str, list[str]] = {}
    for path in files:
        if NAME.fullmatch(path.stem):
            by_number.setdefault(path.stem[:3], []).append(path.stem)
        else:
            found.append(f"{path.name} is not named like 007_verb_noun.py: it would not run, or not in its turn.")
    found += [
        f"Number {number} is used by {' and '.join(names)}." for number, names in by_number.items() if len(names) > 1
    ]
    last = max((int(number) for number in by_number), default=0)
    missing = [f"{number:03}" for number in range(1, last + 1) if f"{number:03}" not in by_number]
    if missing:
        found.append(f"There is no migration {', '.join(missing)}.")
    return found


def _examined(path: Path) -> tuple[list[str], ModuleType | None]:
    """What is wrong with a file by itself, and the file as a module, None when it cannot be executed."""
    try:
        tree = ast.parse(path.read_bytes(), path.name)
    except (SyntaxError, ValueError) as error:
        return [f"{path.name} is not Python: {error}."], None
    except OSError as error:
        return [f"{path.name} cannot be read: {error.strerror}."], None
    found = list(_faults(path, tree))
    if any(module.split(".")[0] in OURS for module in _imported(tree)):
        found.append(f"{path.name} imports the service, whose later changes would change what the migration does.")
        return found, None
    try:
        return found, read(path.parent, path.stem)
    except (Exception, SystemExit) as error:
        return [*found, f"{path.name}{line_in(str(path), error)}: the file raises {reason(error)}."], None


def _faults(path: Path, tree: ast.Module) -> Iterator[str]:
    said = ast.get_docstring(tree)
    if not said:
        yield f"{path.name} has no docstring to say what it does, why, and how long it takes."
    elif PLACEHOLDER in said:
        yield f"{path.name} still has the docstring of a new file: say what it does, why, and how long it takes."
    if f"# {DOUBT}" in path.read_text(encoding="utf-8", errors="replace"):
        yield f"{path.name} still has `# {DOUBT}` lines of its draft: decide them, and take them out."


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
