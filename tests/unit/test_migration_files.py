"""What `cli migrate check` finds in migration files, and how they are read; none of it needs a database."""

import traceback
from pathlib import Path

import peewee as pw
import pytest

from service import schema
from service.config import Settings
from service.errors import BadRequest, ServiceError
from service.schema import files
from service.schema.offline import TouchesDatabase, barred, read, replay, unconnected
from service.schema.steps import Steps

GOOD = '''"""What, why and how long."""

def migrate(migrator, database, *, fake=False):
    migrator.sql("SELECT 1")

def rollback(migrator, database, *, fake=False):
    migrator.sql("SELECT 1")
'''

CREATE = '''"""What, why and how long."""
import peewee as pw

def migrate(migrator, database, *, fake=False):
    @migrator.create_model
    class Gate(pw.Model):
        number = pw.IntegerField()
        class Meta:
            table_name = "gates"

def rollback(migrator, database, *, fake=False):
    migrator.remove_model("gates")
'''


def folder_of(path: Path, *names: str, **sources: str) -> Path:
    """Good files of these names, and files `_<name>` of these sources."""
    for name in names:
        (path / name).write_text(GOOD)
    for name, source in sources.items():
        (path / f"{name[1:]}.py").write_text(source)
    return path


def with_body(lines: str, step: str = "migrate") -> str:
    """A good file whose `step` has these lines instead: `migrate` from line 4 on, `rollback` from line 7 on."""
    head, _, rest = GOOD.partition(f"def {step}(migrator, database, *, fake=False):\n")
    body = "".join(f"    {line}\n" for line in lines.splitlines())
    return f"{head}def {step}(migrator, database, *, fake=False):\n{body}{rest.partition(chr(10))[2]}"


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
    folder_of(tmp_path, _001_a=GOOD.partition("def rollback")[0])
    assert schema.findings(tmp_path) == ["001_a.py has no function rollback."]


def test_a_file_that_is_not_python_is_refused_before_anything_runs(tmp_path):
    folder_of(tmp_path, _001_a="def migrate(:\n")
    (found,) = schema.findings(tmp_path)
    assert found.startswith("001_a.py is not Python: ")


@pytest.mark.parametrize("line", [
    "import service.models", "from service import rules", "from service.rules import X", "import cli",
])
def test_a_migration_stands_alone(tmp_path, line):
    folder_of(tmp_path, _001_a=f"{GOOD}\n{line}\n")
    assert [finding.split(",")[0] for finding in schema.findings(tmp_path)] == ["001_a.py imports the service"]


def test_a_migration_says_what_it_does(tmp_path):
    folder_of(tmp_path, _001_a=GOOD.split("\n", 1)[1])
    assert schema.findings(tmp_path) == ["001_a.py has no docstring to say what it does, why, and how long it takes."]


def test_files_without_a_place_in_line_stop_everything(tmp_path):
    folder_of(tmp_path, "001_add_a.py", "003_add_c.py")
    with pytest.raises(BadRequest, match="There is no migration 002."):
        schema.migration_names(Settings(migrations_dir=tmp_path))


def test_names_are_told_without_reading_the_files(tmp_path):
    folder_of(tmp_path, _001_a="not Python")
    assert schema.migration_names(Settings(migrations_dir=tmp_path)) == ["001_a"]


def test_all_that_is_wrong_is_said_before_anything_runs(tmp_path):
    folder_of(tmp_path, "001_a.py", _002_b=with_body("1 / 0"), _004_d=with_body("pass"))
    with pytest.raises(BadRequest) as refused:
        files.ensure_sound(tmp_path)
    assert str(refused.value) == (
        f"The migrations in {tmp_path} cannot be run. There is no migration 003. 004_d.py: migrate queues nothing."
    )
    (tmp_path / "004_d.py").rename(tmp_path / "003_d.py")
    with pytest.raises(BadRequest, match="002_b.py, line 4: migrate raises ZeroDivisionError: division by zero. 003_d"):
        files.ensure_sound(tmp_path)
    (tmp_path / "003_d.py").write_text(GOOD)
    (tmp_path / "002_b.py").write_text(GOOD)
    files.ensure_sound(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BadRequest, match="no folder of migrations at .*/nowhere: MIGRATIONS_DIR"):
        schema.find_folder(Settings(migrations_dir=tmp_path / "nowhere"))


# --- files by themselves ---------------------------------------------------------------------------------------------


def test_line_endings_do_not_count_in_a_checksum(tmp_path):
    sums = set()
    for end in (b"\n", b"\r\n", b"\r"):
        (tmp_path / "001_a.py").write_bytes(b"a = 1" + end + b"b = 2" + end)
        sums.add(files.checksum(tmp_path, "001_a"))
    # sha256sum of the first
    assert sums == {"fe9c2dadb34bee2ae03fc8fe25e26c64ce2f572a53a127db5d6e73899b64fc11"}


@pytest.mark.parametrize("content", [
    b"a = 1\nb = 2", b"a = 1\n\nb = 2\n", b"a = 1\nb = 2 \n", b"\xef\xbb\xbfa = 1\nb = 2\n",
])
def test_everything_else_counts_in_a_checksum(tmp_path, content):
    (tmp_path / "001_a.py").write_bytes(b"a = 1\nb = 2\n")
    (tmp_path / "002_b.py").write_bytes(content)
    assert files.checksum(tmp_path, "001_a") != files.checksum(tmp_path, "002_b")


def test_a_mistake_in_the_grammar_is_told_with_its_line(tmp_path):
    folder_of(tmp_path, _001_a="x = 1\ndef migrate(:\n")
    assert schema.findings(tmp_path) == ["001_a.py is not Python: invalid syntax (001_a.py, line 2)."]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "001_a.py").mkdir()
    (tmp_path / "002_b.py").write_bytes(b"x = '\xff'")
    first, second = schema.findings(tmp_path)
    assert first == "001_a.py cannot be read: Is a directory."
    assert second.startswith("002_b.py is not Python: ")


@pytest.mark.parametrize(("line", "raised"), [
    ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
    ("from . import neighbour", "ImportError: attempted relative import with no known parent package"),
    ("raise SystemExit(1)", "SystemExit: 1"),
    ("raise ValueError", "ValueError"),
])
def test_a_file_that_fails_when_it_is_loaded(tmp_path, line, raised):
    folder_of(tmp_path, _001_a=f"{GOOD}\n{line}\n")
    assert schema.findings(tmp_path) == [f"001_a.py, line 9: the file raises {raised}."]


@pytest.mark.parametrize("head", [
    "def migrate(migrator, database):",
    "def migrate(migrator, *, fake=False):",
    "def migrate(migrator, database, more, *, fake=False):",
    "async def migrate(migrator, database, *, fake=False):",
])
def test_a_body_that_cannot_be_called_as_one(tmp_path, head):
    folder_of(tmp_path, _001_a=GOOD.replace("def migrate(migrator, database, *, fake=False):", head))
    assert schema.findings(tmp_path) == [
        "001_a.py: migrate is not a plain function of (migrator, database, *, fake=False)."
    ]


def test_a_body_that_would_not_start(tmp_path):
    folder_of(tmp_path, _001_a=with_body("yield migrator.sql('SELECT 1')"), _002_b=f"{GOOD}rollback = 'none'\n")
    assert schema.findings(tmp_path) == [
        "001_a.py: migrate is not a plain function of (migrator, database, *, fake=False).",
        "002_b.py: rollback is not a plain function of (migrator, database, *, fake=False).",
    ]


def test_the_docstring_of_a_new_file_has_to_be_filled_in(tmp_path):
    folder_of(tmp_path, _001_a=GOOD.replace("What, why and how long", files.PLACEHOLDER))
    assert schema.findings(tmp_path) == [
        "001_a.py still has the docstring of a new file: say what it does, why, and how long it takes."
    ]


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [
    "database.execute_sql('SELECT 1')",
    "database.get_tables()",
    "database.cursor()",
    "database.connection()",
    "database.connect()",
    "database.close()",
    "database.atomic().__enter__()",
    "database.commit()",
    "for row in migrator.orm['gates'].select(): pass",
    "migrator.orm['gates'].select().count()",
    "migrator.orm['gates'].create(number=1)",
    "migrator.orm['gates'].table_exists()",
    "migrator.run(migrator.orm['gates'].delete().execute())",
    "migrator()",
])
def test_a_body_that_touches_the_database_is_found(tmp_path, line):
    folder_of(tmp_path, _001_a=CREATE, _002_b=with_body(f"migrator.sql('SELECT 1')\n{line}"))
    assert schema.findings(tmp_path) == [
        "002_b.py, line 5: migrate touches the database, which is for functions given to migrator.run."
    ]


def test_a_body_that_goes_on_when_the_database_is_refused_is_found(tmp_path):
    hidden = "try:\n    database.get_tables()\nexcept Exception:\n    migrator.sql('SELECT 1')"
    other = hidden.replace("migrator.sql", "raise OSError")
    folder_of(tmp_path, _001_a=with_body(hidden), _002_b=with_body(other, "rollback"))
    assert schema.findings(tmp_path) == [
        "001_a.py, line 5: migrate touches the database, which is for functions given to migrator.run.",
        "002_b.py, line 8: rollback touches the database, which is for functions given to migrator.run.",
    ]


def test_functions_for_later_are_queued_and_not_called(tmp_path):
    folder_of(tmp_path, _001_a=with_body("migrator.run(lambda: 1 / 0)"))
    assert schema.findings(tmp_path) == []


def test_a_query_that_is_only_built_is_no_touch(tmp_path):
    body = "gates = migrator.orm['gates']\nmigrator.run(gates.delete().where(gates.number == 1).execute)"
    folder_of(tmp_path, _001_a=CREATE, _002_b=with_body(body))
    assert schema.findings(tmp_path) == []


def test_a_body_that_fails_on_one_engine_only(tmp_path):
    mysql = (
        "import peewee as pw\nmigrator.sql('SELECT 1')\n"
        "if isinstance(database, pw.MySQLDatabase):\n    migrator.orm['rides']"
    )
    sqlite = mysql.replace("MySQL", "Sqlite")
    folder_of(tmp_path, _001_a=with_body(mysql), _002_b=with_body(sqlite))
    assert schema.findings(tmp_path) == [
        "002_b.py, line 7: migrate raises KeyError: 'rides' (on SQLite).",
        "001_a.py, line 7: migrate raises KeyError: 'rides' (on MySQL and MariaDB).",
    ]


def test_a_body_may_have_work_for_one_engine_only(tmp_path):
    body = "import peewee as pw\nif isinstance(database, pw.MySQLDatabase):\n    migrator.sql('SELECT 1')"
    folder_of(tmp_path, _001_a=with_body(body))
    assert schema.findings(tmp_path) == []


def test_what_follows_from_a_failure_is_not_reported_but_what_does_not_is(tmp_path):
    folder_of(
        tmp_path,
        _001_a=with_body("1 / 0"),
        _002_b=with_body("migrator.orm['gates']"),
        _003_c=with_body("database.get_tables()"),
        _004_d=with_body("pass"),
    )
    assert schema.findings(tmp_path) == [
        "001_a.py, line 4: migrate raises ZeroDivisionError: division by zero.",
        "003_c.py, line 4: migrate touches the database, which is for functions given to migrator.run.",
        "004_d.py: migrate queues nothing.",
    ]


@pytest.mark.parametrize("source", ["def migrate(:", "import nowhere"])
def test_what_follows_from_an_unreadable_file_is_not_reported(tmp_path, source):
    folder_of(tmp_path, _001_a=f"'Doc.'\n{source}\n", _002_b=with_body("migrator.remove_model('gates')"))
    (found,) = schema.findings(tmp_path)
    assert found.startswith("001_a.py")


def test_a_body_finds_what_earlier_files_made(tmp_path):
    add = "import peewee as pw\nmigrator.add_fields('gates', width=pw.IntegerField(null=True))"
    remove = "migrator.remove_fields('gates', 'width')"
    folder_of(tmp_path, _001_a=CREATE, _002_b=with_body(add), _003_c=with_body(remove))
    assert schema.findings(tmp_path) == []


def test_a_rollback_finds_the_models_as_its_own_migration_left_them(tmp_path):
    folder_of(tmp_path, _001_a=CREATE, _002_b=CREATE.replace("gates", "doors").replace("Gate", "Door"))
    folder_of(tmp_path, _003_c=with_body("migrator.remove_model('doors')", "rollback"))
    assert schema.findings(tmp_path) == []
    (tmp_path / "003_c.py").unlink()
    folder_of(tmp_path, _002_b=CREATE.replace('remove_model("gates")', 'remove_model("doors")').replace("Gate", "Door"))
    assert schema.findings(tmp_path) == ["002_b.py, line 12: rollback raises ValueError: Model doors not found."]


def test_a_rollback_that_does_nothing_is_found(tmp_path):
    for number, body in enumerate(["pass", "...", "return", "if fake:\n    migrator.sql('SELECT 1')"], 1):
        folder_of(tmp_path, **{f"_00{number}_a{number}": with_body(body, "rollback")})
    assert schema.findings(tmp_path) == [
        f"00{number}_a{number}.py: rollback queues nothing, and no docstring says why." for number in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("body", ["'Keeps the rows.'", "raise NotImplementedError('The names are gone.')"])
def test_a_rollback_may_decide_to_do_nothing(tmp_path, body):
    folder_of(tmp_path, _001_a=with_body(body, "rollback"))
    assert schema.findings(tmp_path) == []


@pytest.mark.parametrize("body", ["raise NotImplementedError", "raise ValueError('no')"])
def test_a_rollback_that_fails_without_a_decision_is_found(tmp_path, body):
    folder_of(tmp_path, _001_a=with_body(body, "rollback"))
    (found,) = schema.findings(tmp_path)
    assert found.startswith("001_a.py, line 7: rollback raises ")


@pytest.mark.parametrize("body", [
    "if not SEEN:\n    SEEN.append(migrator.sql('SELECT 1'))",
    "SEEN.append(migrator.sql('SELECT 1'))\nif SEEN[1:]:\n    migrator.sql('SELECT 1')",
    "migrator.sql('SELECT 1')\nif not fake:\n    migrator.sql('SELECT 1')",
])
def test_a_body_that_does_another_thing_the_next_time_is_found(tmp_path, body):
    folder_of(tmp_path, _001_a=f"{with_body(body)}\nSEEN = []\n")
    assert schema.findings(tmp_path) == [
        "001_a.py: migrate queues other operations when it runs again, as later migrations make it."
    ]


def test_a_body_that_fails_the_next_time_is_found(tmp_path):
    folder_of(tmp_path, _001_a=f"{with_body('migrator.sql(LEFT.pop())')}\nLEFT = ['SELECT 1']\n")
    assert schema.findings(tmp_path) == [
        "001_a.py, line 4: migrate raises IndexError: pop from empty list when it runs again."
    ]


# --- replaying -------------------------------------------------------------------------------------------------------


def test_replaying_gives_the_models_and_queues_nothing(tmp_path):
    folder_of(tmp_path, _001_a=CREATE, _002_b=GOOD)
    database = pw.SqliteDatabase(":memory:")
    migrator = Steps(database)
    replay(tmp_path, ["001_a", "002_b"], migrator, database)
    assert [model._meta.table_name for model in migrator.orm] == ["gates"]
    migrator()
    assert database.get_tables() == []
    migrator.orm["gates"].create_table()
    assert migrator.orm["gates"].create(number=7).number == 7
    assert database.get_tables() == ["gates"]


def test_a_migration_that_cannot_be_replayed_is_named(tmp_path):
    folder_of(tmp_path, _001_a=with_body("database.get_tables()"))
    database = unconnected(mysql=True)
    with pytest.raises(ServiceError, match="001_a cannot be replayed: TouchesDatabase: it touches the database"):
        replay(tmp_path, ["001_a"], Steps(database), database)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_live_database_is_barred_and_open_again(wrapped):
    database = pw.SqliteDatabase(":memory:")
    if wrapped:
        database.execute_sql = lambda *values: pw.SqliteDatabase.execute_sql(database, *values)
    mine = dict(vars(database))
    with pytest.raises(TouchesDatabase), barred(database) as refused:
        assert refused == []
        database.execute_sql("SELECT 1")
    assert len(refused) == 1
    assert vars(database) == mine
    assert database.execute_sql("SELECT 1").fetchone() == (1,)


def test_a_traceback_shows_the_line_of_the_file(tmp_path):
    folder_of(tmp_path, _001_a=with_body("1 / 0"))
    with pytest.raises(ZeroDivisionError) as raised:
        read(tmp_path, "001_a").migrate(None, None)
    last = traceback.extract_tb(raised.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.line) == (str(tmp_path / "001_a.py"), 4, "1 / 0")


def test_a_file_is_executed_afresh_each_time_it_is_read(tmp_path):
    folder_of(tmp_path, _001_a="SEEN = []")
    read(tmp_path, "001_a").SEEN.append(1)
    assert read(tmp_path, "001_a").SEEN == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "migrator.sql('ALTER TABLE a ADD b INT'); migrator.update_rows('a', {'b': '1'}, where='b IS NULL')",
            "it changes rows after the schema",
        ),
        ("migrator.sql('DELETE FROM a'); migrator.sql('CREATE INDEX x ON a (b)')", "it changes the schema after rows"),
        ("migrator.sql('DROP TABLE a'); migrator.sql('ALTER TABLE b ADD c INT')", "that nothing takes back beside"),
        (
            "migrator.update_rows('a', {'b': '1'}, where='b < 1'); migrator.delete_rows('a', where='b > 1')",
            "rows of one table in batches twice",
        ),
    ],
    ids=["rows-after-schema", "schema-after-rows", "final-beside-others", "one-table-twice"],
)
def test_what_mariadb_would_refuse_is_known_without_it(tmp_path, body, why):
    folder_of(tmp_path, _001_a=with_body(body))
    (found,) = schema.findings(tmp_path)
    assert found.startswith("001_a.py: MySQL and MariaDB would refuse migrate: ") and why in found


@pytest.mark.parametrize(
    ("field", "refused"),
    [
        ("pw.IntegerField()", True),
        ("pw.IntegerField(default=1)", True),
        ("pw.IntegerField(null=True)", False),
        ("pw.IntegerField(constraints=[pw.SQL('DEFAULT 1')])", False),
    ],
)
def test_a_new_column_leaves_no_row_without_a_value(tmp_path, field, refused):
    table = (
        "import peewee as pw; A = type('A', (pw.Model,), {'Meta': type('Meta', (), {'table_name': 'a'})});"
        " migrator.create_model(A)"
    )
    folder_of(tmp_path, _001_a=with_body(table))
    added = f"import peewee as pw; migrator.add_fields('a', allow_not_null=True, b={field})"
    folder_of(tmp_path, _002_b=with_body(added))
    found = schema.findings(tmp_path)
    assert found == (
        [
            "002_b.py: MySQL and MariaDB would refuse migrate:"
            " column b is NOT NULL without a DEFAULT, and rows that are there need a value."
        ]
        if refused
        else []
    )


def test_a_folder_without_migrations_is_named(tmp_path):
    assert schema.findings(tmp_path) == [f"There is no migration in {tmp_path}."]


def test_a_draft_that_nobody_has_decided_is_not_run(tmp_path):
    folder_of(tmp_path, _001_a=f"{GOOD}\n# CHECK: is it only a new name?\n")
    assert schema.findings(tmp_path) == [
        "001_a.py still has `# CHECK:` lines of its draft: decide them, and take them out."
    ]
