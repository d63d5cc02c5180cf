from pathlib import Path

import pytest

from service import schema
from service.config import Settings
from service.errors import BadRequest

GOOD = '''"""What, why and how long."""

def migrate(migrator, database, *, fake=False): ...

def rollback(migrator, database, *, fake=False): ...
'''


def folder_of(path: Path, *names: str, **sources: str) -> Path:
    """Good files of these names, and files `_<name>` of these sources."""
    for name in names:
        (path / name).write_text(GOOD)
    for name, source in sources.items():
        (path / f"{name[1:]}.py").write_text(source)
    return path


def test_the_migrations_of_the_project_have_no_faults():
    assert schema.findings(schema.find_folder(Settings())) == []


def test_the_first_line_says_how_long_a_large_database_takes():
    for path in schema.find_folder(Settings()).glob("*.py"):
        assert "100 M" in path.read_text().splitlines()[0], path.name


def test_good_files_run_in_the_order_of_their_numbers(tmp_path):
    settings = Settings(migrations_dir=folder_of(tmp_path, "002_add_b.py", "001_add_a.py"))
    assert schema.migration_names(settings) == ["001_add_a", "002_add_b"]


def test_two_files_of_one_number_are_named(tmp_path):
    folder_of(tmp_path, "001_add_a.py", "002_add_b.py", "002_add_c.py")
    assert schema.findings(tmp_path) == ["Number 002 is used by 002_add_b and 002_add_c."]


def test_a_gap_is_named(tmp_path):
    folder_of(tmp_path, "002_add_b.py", "005_add_e.py")
    assert schema.findings(tmp_path) == ["There is no migration 001, 003, 004."]


@pytest.mark.parametrize("name", ["1_add.py", "001-add.py", "001_Add.py", "add.py", "001_add_.py", "0001_add.py"])
def test_a_file_that_would_be_left_out_is_named(tmp_path, name):
    folder_of(tmp_path, name)
    (found,) = schema.findings(tmp_path)
    assert found == f"{name} is not named like 007_verb_noun.py: it would not run, or not in its turn."


def test_a_migration_that_cannot_be_undone_is_refused(tmp_path):
    folder_of(tmp_path, _001_a='"""Doc."""\ndef migrate(m, d, *, fake=False): ...\n')
    assert schema.findings(tmp_path) == ["001_a.py has no function rollback."]


def test_a_file_that_is_not_python_is_refused_before_anything_runs(tmp_path):
    folder_of(tmp_path, _001_a="def migrate(:\n")
    (found,) = schema.findings(tmp_path)
    assert found.startswith("001_a.py is not Python: ")


@pytest.mark.parametrize("line", ["import service.models", "from service import rules", "from service.rules import X"])
def test_a_migration_stands_alone(tmp_path, line):
    folder_of(tmp_path, _001_a=f"{GOOD}\n{line}\n")
    assert [finding.split(",")[0] for finding in schema.findings(tmp_path)] == ["001_a.py imports the service"]


def test_a_migration_says_what_it_does(tmp_path):
    folder_of(tmp_path, _001_a=GOOD.split("\n", 1)[1])
    assert schema.findings(tmp_path) == ["001_a.py has no docstring to say what it does, why, and how long it takes."]


def test_faulty_files_stop_everything(tmp_path):
    folder_of(tmp_path, "001_add_a.py", "003_add_c.py")
    with pytest.raises(BadRequest, match="There is no migration 002."):
        schema.migration_names(Settings(migrations_dir=tmp_path))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BadRequest, match="no folder of migrations at .*/nowhere: MIGRATIONS_DIR"):
        schema.find_folder(Settings(migrations_dir=tmp_path / "nowhere"))
