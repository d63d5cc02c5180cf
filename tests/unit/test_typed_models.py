"""A wrong column must fail the type check: guards our typed base against a change of peewee's type stubs."""

import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BAD, GOOD = HERE / "typing_bad.py.txt", HERE / "typing_good.py.txt"
PLANTED = re.compile(r"# B\d+$")


@pytest.fixture(scope="module")
def flagged(tmp_path_factory) -> dict[str, dict[int, str]]:
    """What mypy says with the project's own settings: file -> line -> message."""
    folder = tmp_path_factory.mktemp("typed")
    files = [shutil.copy(path, folder / path.stem) for path in (BAD, GOOD)]
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "setup.cfg", "--strict", "--hide-error-context"]
    done = subprocess.run([*command, "--no-pretty", *files], cwd=ROOT, capture_output=True, text=True)
    found: dict[str, dict[int, str]] = {BAD.stem: {}, GOOD.stem: {}}
    for line in done.stdout.splitlines():
        if match := re.match(r"(.*?):(\d+): error: (.*)", line):
            found.setdefault(Path(match[1]).name, {})[int(match[2])] = match[3]
    assert found[BAD.stem], done.stdout + done.stderr
    return found


def test_every_planted_mistake_is_found(flagged):
    lines = BAD.read_text().splitlines()
    planted = {number for number, line in enumerate(lines, 1) if PLANTED.search(line)}
    assert len(planted) >= 25
    assert [lines[number - 1] for number in sorted(planted - flagged[BAD.stem].keys())] == []


def test_nothing_else_is_flagged(flagged):
    lines = BAD.read_text().splitlines()
    alarms = {line: said for line, said in flagged[BAD.stem].items() if not PLANTED.search(lines[line - 1])}
    assert alarms == {}


def test_typical_queries_pass_without_a_false_alarm(flagged):
    assert flagged[GOOD.stem] == {}


def test_typical_queries_run(database):
    module = types.ModuleType("typing_good")
    exec(compile(GOOD.read_text(), GOOD, "exec"), module.__dict__)
    functions = [each for each in vars(module).values() if isinstance(each, types.FunctionType)]
    own = [function for function in functions if function.__module__ == "typing_good"]
    assert len(own) >= 13
    for function in own:
        function()
