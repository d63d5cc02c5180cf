"""The migration files: where they are, and what is wrong with them. Needs no database."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import service
from service.config import Settings
from service.errors import BadRequest

NAME = re.compile(r"\d{3}_[a-z0-9]+(_[a-z0-9]+)*")
STEPS = ("migrate", "rollback")


def find_folder(settings: Settings) -> Path:
    """MIGRATIONS_DIR, else `migrations` beside the package: in a checkout, and where pip puts it. Raises BadRequest."""
    folder = settings.migrations_dir or Path(service.__file__).resolve().parent.parent / "migrations"
    if not folder.is_dir():
        raise BadRequest(f"There is no folder of migrations at {folder}: MIGRATIONS_DIR names the right one.")
    return folder


def migration_names(settings: Settings) -> list[str]:
    """The names of all migrations in the order they run. Raises BadRequest naming everything wrong with the files."""
    folder = find_folder(settings)
    found = findings(folder)
    if found:
        raise BadRequest(f"The migrations in {folder} cannot be run. " + " ".join(found))
    return [path.stem for path in _files(folder)]


def findings(folder: Path) -> list[str]:
    """One sentence for each thing wrong with the files of `folder`; empty when they can be run."""
    found = []
    by_number: dict[str, list[str]] = {}
    for path in _files(folder):
        if not NAME.fullmatch(path.stem):
            found.append(f"{path.name} is not named like 007_verb_noun.py: it would not run, or not in its turn.")
            continue
        by_number.setdefault(path.stem[:3], []).append(path.stem)
        found += _faults(path)
    return found + _misnumbered(by_number)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")


def _misnumbered(by_number: dict[str, list[str]]) -> list[str]:
    """Numbers that two files have, and gaps. Files written on two branches meet here."""
    found = [
        f"Number {number} is used by {' and '.join(names)}." for number, names in by_number.items() if len(names) > 1
    ]
    last = max((int(number) for number in by_number), default=0)
    missing = [f"{number:03}" for number in range(1, last + 1) if f"{number:03}" not in by_number]
    if missing:
        found.append(f"There is no migration {', '.join(missing)}.")
    return found


def _faults(path: Path) -> list[str]:
    """What keeps one file from being run, and from being undone."""
    try:
        tree = ast.parse(path.read_bytes(), path.name)
    except (SyntaxError, ValueError) as error:
        return [f"{path.name} is not Python: {error}."]
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    found = [f"{path.name} has no function {step}." for step in STEPS if step not in defined]
    if any(module.split(".")[0] == "service" for module in _imported(tree)):
        found.append(f"{path.name} imports the service, whose later changes would change what the migration does.")
    if not ast.get_docstring(tree):
        found.append(f"{path.name} has no docstring to say what it does, why, and how long it takes.")
    return found


def _imported(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names
