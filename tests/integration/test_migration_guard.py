"""What the guard round migrations promises: all or nothing, each once, nothing behind anyone's back."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mariadb import PrivateMariaDB
from migrations_lab import (
    NAMES,
    NEXT,
    NO_THINGS,
    THINGS,
    databases,
    everything,
    fill,
    one_more,
    put,
    rows,
    run,
    shapes,
    start,
    tables,
    two_tables,
    whole,
)

from cli import main
from service import database as door
from service import schema
from service.config import Settings
from service.errors import BadRequest, ServiceError, Unavailable
from service.schema import execution, journal, lock, runner
from service.schema.runner import Options
from service.schema.statements import Statement

# For what only one engine needs, or only one can do.
on_mariadb = pytest.mark.parametrize("blank", ["mariadb"], indirect=True)
on_sqlite = pytest.mark.parametrize("blank", ["sqlite"], indirect=True)

AS_BEFORE = "[Ss]chema and rows are as they were( before it)?[.]"
UNREHEARSED = Options(rehearsed=False)

# Begins most of the migrations that fail: a new table that points at one that was there, columns and an index.
ADDITIONS = """
class Visit(pw.Model):
    park = pw.ForeignKeyField(migrator.orm["parks"], column_name="park_id", backref="+", on_delete="CASCADE")
    at = pw.BigIntegerField(index=True)

    class Meta:
        table_name = "visits"

migrator.create_model(Visit)
migrator.add_fields("rides", speed=pw.IntegerField(null=True), height=pw.IntegerField(null=True))
migrator.add_index("parks", "note")
"""
UNIQUE_NAMES = 'migrator.add_index("rides", "name", unique=True)'
NOT_NULL_WAITS = 'migrator.add_not_null("rides", "wait")'
OWNERS_ARE_PARKS = (
    'migrator.sql("ALTER TABLE rides ADD CONSTRAINT owners FOREIGN KEY (owner_id) REFERENCES parks (park_id)")'
)
THREE_UPDATES = """
migrator.sql("UPDATE rides SET hits = 1 WHERE ride_id = 1")
migrator.sql("UPDATE rides SET hits = 2 WHERE ride_id = 2")
migrator.sql("UPDATE rides SET hits = NULL WHERE ride_id = 3")
"""
RAISES = """
def count_rides():
    if database.execute_sql("SELECT COUNT(*) FROM rides").fetchone() != (0,):
        raise ValueError("there are rides")

migrator.run(count_rides)
"""


@pytest.fixture
def things(blank, tmp_path) -> Settings:
    """Settings of a database with two small tables and a few rows, and a folder of migrations of its own."""
    return two_tables(blank, tmp_path)


@pytest.fixture
def unchecked(monkeypatch) -> None:
    """Files that do what their check does not see."""
    monkeypatch.setattr(runner, "ensure_sound", lambda folder: None)


def cli(settings: Settings, *arguments: str) -> Result:
    environ = {"DATABASE_URL": settings.database_url, "MIGRATIONS_DIR": str(settings.migrations_dir)}
    return CliRunner().invoke(main, ["migrate", *arguments], env=environ)


def log() -> list[tuple]:
    return run("SELECT name, direction, status FROM migration_log ORDER BY run_id")


# --- all or nothing --------------------------------------------------------------------------------------------------


FAILURES = {
    "sql error": (ADDITIONS + "migrator.sql('ALTER TABLE nowhere ADD COLUMN x INTEGER')", "nowhere"),
    "unique index over duplicates": (ADDITIONS + UNIQUE_NAMES, "UNIQUE constraint failed: rides.name|Duplicate entry"),
    "not null over nulls": (NOT_NULL_WAITS, "NOT NULL constraint failed|Data truncated for column 'wait'"),
    "the third of three updates": (THREE_UPDATES, "NOT NULL constraint failed: rides.hits|'hits' cannot be null"),
    "a function that raises": (ADDITIONS + RAISES, "there are rides"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_migration_that_fails_leaves_nothing_and_can_be_mended(things, case):
    migrate, reason = FAILURES[case]
    before = whole()
    put(things, "002_fail", migrate)
    with pytest.raises(ServiceError, match=f"^Migration 002_fail failed: .*({reason}).*{AS_BEFORE}$"):
        schema.upgrade(things, UNREHEARSED)
    assert whole() == before
    assert schema.unfinished() is None

    put(things, "002_fail", 'migrator.add_index("rides", "name")')
    assert schema.upgrade(things) == ["002_fail"]
    assert schema.applied() == ["001_create_things", "002_fail"]


@on_mariadb
def test_a_foreign_key_over_orphans_leaves_nothing(things):
    before = whole()
    put(things, "002_point_at_owners", ADDITIONS + OWNERS_ARE_PARKS)
    with pytest.raises(ServiceError, match=f"002_point_at_owners failed: .*foreign key constraint fails.*{AS_BEFORE}"):
        schema.upgrade(things)
    assert whole() == before
    run("UPDATE rides SET owner_id = 1")
    schema.upgrade(things)
    assert "CONSTRAINT `owners` FOREIGN KEY" in shapes()["rides"]


@on_mariadb
def test_not_null_behind_other_steps_is_refused_before_anything_runs(things, unchecked):
    before = whole(), log()
    put(things, "002_fail", ADDITIONS + NOT_NULL_WAITS)
    with pytest.raises(BadRequest, match="002_fail is refused at `ALTER TABLE `rides` MODIFY.*stands alone in"):
        schema.upgrade(things)
    assert (whole(), log()) == before


@on_mariadb
def test_an_error_that_needs_no_rows_is_found_by_the_rehearsal(things):
    before = whole(), log(), databases()
    put(things, "002_fail", ADDITIONS + "migrator.sql('ALTER TABLE nowhere ADD COLUMN x INTEGER')")
    with pytest.raises(ServiceError, match="^Migration 002_fail would fail, and was not begun: .*nowhere"):
        schema.upgrade(things)
    assert (whole(), log(), databases()) == before


@on_mariadb
def test_of_two_migrations_the_one_that_succeeded_stays(things):
    put(things, "002_add_speed", 'migrator.add_fields("rides", speed=pw.IntegerField(null=True))')
    put(things, "003_fail", ADDITIONS.replace("speed", "pace") + UNIQUE_NAMES)
    with pytest.raises(ServiceError, match="003_fail failed"):
        schema.upgrade(things)
    assert schema.applied() == ["001_create_things", "002_add_speed"]
    assert "speed" in shapes()["rides"]
    assert "pace" not in shapes()["rides"]


@on_sqlite
def test_of_two_migrations_sqlite_keeps_both_or_none(things):
    before = whole()
    put(things, "002_add_speed", 'migrator.add_fields("rides", speed=pw.IntegerField(null=True))')
    put(things, "003_fail", UNIQUE_NAMES)
    with pytest.raises(ServiceError, match="003_fail failed"):
        schema.upgrade(things)
    assert whole() == before


def test_an_undoing_that_fails_leaves_nothing(things):
    put(things, "002_add_note", ADD, "migrator.drop_index('parks', 'note')\n" + RAISES)
    schema.upgrade(things)
    before = whole()
    with pytest.raises(ServiceError, match=f"002_add_note failed: there are rides.*{AS_BEFORE}"):
        schema.downgrade(things)
    assert whole() == before


def test_a_migration_may_insert_more_rows_than_fit_into_a_page(things):
    put(
        things,
        "002_add_parks",
        """
        def insert(parks):
            parks.insert_many([{"name": f"Park {number}", "note": "x" * 20} for number in range(3000)]).execute()

        migrator.run(insert, migrator.orm["parks"])
        """,
    )
    schema.upgrade(things)
    assert run("SELECT COUNT(*) FROM parks") == [(3002,)]


# --- the files and the history ---------------------------------------------------------------------------------------


def test_two_files_of_one_number_are_refused_before_anything_runs(blank, tmp_path):
    both = one_more(blank, tmp_path, "007_add_something", "migrator.add_index('parks', 'name')")
    with pytest.raises(BadRequest, match="Number 007 is used by 007_add_something and 007_create_yearly_stats"):
        schema.upgrade(both)
    assert door.db.get_tables() == []


def test_a_file_that_was_changed_after_it_was_applied_is_refused_and_named(things):
    put(things, "002_add_note", "migrator.add_index('parks', 'note')", "migrator.drop_index('parks', 'note')")
    schema.upgrade(things)
    before = whole()
    put(things, "002_add_note", "migrator.add_index('parks', 'name')", "migrator.drop_index('parks', 'note')")
    put(things, "003_more", "migrator.add_index('rides', 'name')")
    for command in ([], ["--dry-run"], ["down", "--to", "001"]):
        (things.migrations_dir / "003_more.py").unlink() if command[:1] == ["down"] else None
        result = cli(things, *command)
        assert result.exit_code == 2
        assert re.match(r"Migration 002_add_note was changed after \S+@\S+ applied it at 20\S+Z: bring", result.stderr)
    assert "applied  002_add_note" in cli(things, "status").stdout
    assert cli(things, "status").stdout.splitlines()[1].endswith("  FILE CHANGED")
    assert whole() == before
    assert cli(things, "down", "--force").exit_code == 0


def test_other_line_endings_are_no_change(things):
    path = things.migrations_dir / "001_create_things.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    put(things, "002_add_note", "migrator.add_index('parks', 'note')")
    assert schema.upgrade(things) == ["002_add_note"]
    assert [state.file for state in schema.states(things)] == ["unchanged", "unchanged"]


def test_a_missing_file_is_named(things):
    put(things, "002_add_note", "migrator.add_index('parks', 'note')")
    schema.upgrade(things)
    (things.migrations_dir / "002_add_note.py").unlink()
    for command in ([], ["down"], ["--dry-run"]):
        result = cli(things, *command)
        assert result.exit_code == 3
        assert "migrations that this release does not: 002_add_note" in result.stderr
    assert "FILE MISSING" in cli(things, "status").stdout


def test_a_late_number_is_refused(things):
    put(things, "002_add_note", "migrator.add_index('parks', 'note')")
    put(things, "003_add_name", "migrator.add_index('parks', 'name')")
    schema.upgrade(things)
    run("DELETE FROM migratehistory WHERE name = '002_add_note'")
    result = cli(things)
    assert result.exit_code == 3
    assert "002_add_note has a lower number than 003_add_name" in result.stderr


def test_a_database_from_before_the_journal_is_taken_on(things):
    run("DROP TABLE migration_log")
    shown = cli(things, "status").stdout
    assert re.fullmatch(r"applied  001_create_things  20\S+ \S+Z by unknown  FILE NOT RECORDED\n", shown)
    assert "Nothing to do" in cli(things).stdout
    shown = cli(things, "status").stdout
    assert re.fullmatch(r"applied  001_create_things  20\S+ \S+Z by not recorded\n", shown)
    put(things, "001_create_things", THINGS + "migrator.sql('SELECT 1')", NO_THINGS)
    assert "001_create_things was changed after" in cli(things).stderr


# --- one process at a time -------------------------------------------------------------------------------------------


INSERTS = "migrator.sql(\"INSERT INTO parks (name) VALUES ('Gamma')\")"


@pytest.mark.parametrize("count", [2, 4])
def test_processes_that_start_at_once_run_each_migration_once(things, count):
    put(things, "002_insert", INSERTS)
    put(things, "003_add_note", "migrator.add_index('parks', 'note')")
    put(things, "004_insert", INSERTS)
    running = [start(things, "--wait", "60") for _ in range(count)]
    outcomes = sorted((*process.communicate(), process.returncode) for process in running)
    nothing = "Nothing to do: the database has all migrations.\n"
    # 3, because what they make are not the models.
    assert [out for out, _, _ in outcomes] == ["Migrations applied: 3.\n"] + [nothing] * (count - 1)
    assert [code for _, _, code in outcomes] == [3] * count
    assert sum("002_insert\n003_add_note\n004_insert\n" in err for _, err, _ in outcomes) == 1
    assert all("All migrations are applied, but the schema differs" in err for _, err, _ in outcomes)
    assert [row["name"] for row in rows("parks")] == ["Alpha", "Beta", "Gamma", "Gamma"]
    assert log()[1:] == [(name, "up", "done") for name in ("002_insert", "003_add_note", "004_insert")]


class Other:
    """A second connection that holds what a migration of another process would hold."""

    def __init__(self, settings: Settings) -> None:
        self.database = door.connect(settings, read_only=False)
        self.lines: list[str] = []

    def hold(self) -> None:
        if door.is_mysql():
            assert self.database.execute_sql("SELECT GET_LOCK('blank.migrate', 0)").fetchone() == (1,)
        else:
            self.database.execute_sql("BEGIN EXCLUSIVE")

    def release(self) -> None:
        self.database.execute_sql("SELECT RELEASE_LOCK('blank.migrate')" if door.is_mysql() else "ROLLBACK")

    def release_at_the_second(self, line: str) -> None:
        """What `say` is in these tests."""
        self.lines.append(line)
        if len(self.lines) == 2:
            self.release()


@pytest.fixture
def other(things, monkeypatch):
    monkeypatch.setattr(lock, "SECONDS_BETWEEN_LINES", 0.1)
    if not door.is_mysql():
        door.db.pragma("busy_timeout", 100)
    other = Other(things)
    yield other
    door.close(other.database)


def test_who_waits_says_so_and_then_migrates(things, other):
    put(things, "002_insert", INSERTS)
    other.hold()
    assert schema.upgrade(things, Options(say=other.release_at_the_second)) == ["002_insert"]
    first, second, third = other.lines
    holder = r" \(connection \d+ from \S+, between statements, 0 s\)" if door.is_mysql() else ""
    assert re.fullmatch(f"Waiting for another process that is migrating this database{holder}.", first)
    assert second.startswith("Waiting")
    assert third == "002_insert"
    assert [row["name"] for row in rows("parks")] == ["Alpha", "Beta", "Gamma"]


@pytest.mark.parametrize("act", [schema.upgrade, schema.downgrade])
def test_who_may_not_wait_is_told_who_migrates(things, other, act):
    put(things, "002_insert", INSERTS)
    before = whole()
    other.hold()
    holder = r" \(connection \d+ from " if door.is_mysql() else ""
    with pytest.raises(Unavailable, match=f"Another process is migrating this database{holder}.*: try") as failure:
        act(things, options=Options(wait_seconds=0, say=other.lines.append))
    assert failure.value.exit_code == 3
    other.release()
    assert whole() == before


@on_mariadb
def test_the_command_that_may_not_wait_exits_3(things, other):
    other.hold()
    result = cli(things, "--wait", "0")
    assert result.exit_code == 3
    assert re.search(r"Another process is migrating this database \(connection \d+ from .*: try again", result.stderr)
    other.release()


# --- parents and their children --------------------------------------------------------------------------------------


PARENT_CHANGES = {
    "a wider column": 'migrator.change_fields("parks", name=pw.CharField(max_length=300))',
    "not null": 'migrator.add_not_null("parks", "note")',
    "a column less": 'migrator.remove_fields("parks", "note")',
    "a column's name": 'migrator.rename_field("parks", "note", "remark")',
    "a table's name": 'migrator.rename_table("parks", "places")',
}


@pytest.mark.parametrize("change", PARENT_CHANGES)
def test_children_outlive_a_change_of_their_parent(things, change):
    run("UPDATE parks SET note = 'x'")
    children = rows("rides")
    schema.upgrade(put(things, "002_change_parent", PARENT_CHANGES[change]))
    assert rows("rides") == children
    assert len(rows("places" if "places" in tables() else "parks")) == 2
    run("DELETE FROM places WHERE park_id = 1" if "places" in tables() else "DELETE FROM parks WHERE park_id = 1")
    assert [row["ride_id"] for row in rows("rides")] == [3]


# --- rules on MariaDB ------------------------------------------------------------------------------------------------


ADD = 'migrator.add_index("parks", "note")'
UPDATE = 'migrator.sql("UPDATE parks SET note = name")'
IN_BATCHES = 'migrator.update_rows("parks", {"note": "name"}, where="note IS NULL")'
DROP = 'migrator.remove_fields("parks", "note")'

REFUSED = {
    "schema, then rows": (ADD, UPDATE, "it changes rows after the schema"),
    "rows, then schema": (UPDATE, ADD, "it changes the schema after rows"),
    "schema, then batches": (ADD, IN_BATCHES, "it changes rows after the schema"),
    "batches, then schema": (IN_BATCHES, ADD, "it changes the schema after rows"),
    "rows, then batches": (UPDATE, IN_BATCHES, "both in one transaction and in batches"),
    "schema, then removal": (ADD.replace("note", "name"), DROP, "stands alone in its file"),
    "removal, then schema": (DROP, ADD.replace("note", "name"), "stands alone in its file"),
    "removal, then rows": (DROP, UPDATE.replace("note", "name"), "it changes rows after the schema"),
    "two removals": (DROP, "migrator.sql('DROP TABLE rides')", "stands alone in its file"),
}


@on_mariadb
@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_be_taken_back_together_is_refused(things, unchecked, case):
    one, two, reason = REFUSED[case]
    before = whole(), log(), databases()
    put(things, "002_mix", f"{one}\n{two}")
    with pytest.raises(BadRequest, match=f"^Migration 002_mix is refused at `.*{reason}"):
        schema.upgrade(things)
    assert (whole(), log(), databases()) == before


@on_mariadb
@pytest.mark.parametrize("case", [case for case in REFUSED if "removal" not in case.split(", ")[0]][:6])
def test_without_a_rehearsal_it_is_refused_in_time_to_be_taken_back(things, unchecked, case):
    one, two, reason = REFUSED[case]
    before = whole()
    put(things, "002_mix", f"{one}\n{two}")
    with pytest.raises(BadRequest, match=f"^Migration 002_mix is refused at `.*{reason}.*{AS_BEFORE}"):
        schema.upgrade(things, UNREHEARSED)
    assert whole() == before
    assert log()[1:] == [("002_mix", "up", "restored")]


@on_sqlite
def test_rows_that_had_no_parent_before_keep_nobody_from_migrating(things):
    run("PRAGMA foreign_keys = 0")
    run("INSERT INTO rides VALUES (4, 77, 'Lost', 1, 1, 0)")
    run("PRAGMA foreign_keys = 1")
    put(things, "002_add_note", ADD)
    assert schema.upgrade(things) == ["002_add_note"]
    with pytest.raises(ServiceError, match="rows without their parent, first in rides"):
        schema.upgrade(put(things, "003_lose", "migrator.sql('DELETE FROM parks WHERE park_id = 2')"))
    assert [row["ride_id"] for row in rows("rides")] == [1, 2, 3, 4]


@on_mariadb
def test_a_removal_alone_runs(things):
    schema.upgrade(put(things, "002_drop_note", DROP))
    assert "note" not in shapes()["parks"]


def test_the_check_of_the_files_knows_it_on_both_engines(things):
    before = whole(), log()
    put(things, "002_mix", f"{UPDATE}\n{ADD}\nmigrator.remove_fields('rides', 'wait')")
    with pytest.raises(BadRequest, match="002_mix.py: MySQL and MariaDB would refuse migrate: it changes"):
        schema.upgrade(things)
    assert (whole(), log()) == before


@on_sqlite
def test_sqlite_takes_back_what_the_check_does_not_see(things, unchecked):
    put(things, "002_mix", f"{UPDATE}\n{ADD}\nmigrator.remove_fields('rides', 'wait')")
    assert schema.upgrade(things) == ["002_mix"]


@on_mariadb
def test_the_rehearsal_leaves_no_database_behind(things):
    before = databases()
    schema.upgrade(put(things, "002_add_note", ADD))
    schema.plans(put(things, "003_insert", INSERTS))
    assert databases() == before


DEPENDS = """
def act():
    if database.execute_sql("SELECT COUNT(*) FROM parks").fetchone() {sign} (0,):
        database.execute_sql("CREATE INDEX by_note ON parks (note)")

migrator.run(act)
"""


@on_mariadb
@pytest.mark.parametrize("sign", ["==", "!="], ids=["only without rows", "only with rows"])
def test_a_change_of_the_schema_that_depends_on_rows_is_refused(things, sign):
    before = whole()
    put(things, "002_depend", ADD.replace("note", "name") + DEPENDS.format(sign=sign))
    with pytest.raises(BadRequest, match="Migration 002_depend is refused.* must not depend on rows."):
        schema.upgrade(things)
    assert whole() == before


@pytest.fixture
def clerk(things: Settings, mariadb: PrivateMariaDB) -> Settings:
    """As an account that may do all to this database and nothing to another."""
    run("CREATE OR REPLACE USER clerk@'%%'")
    run("GRANT ALL ON blank.* TO clerk@'%%'")
    return replace(things, database_url=things.database_url.replace("root@", "clerk@"))


@on_mariadb
def test_an_account_that_may_not_create_the_rehearsal_is_told_what_it_needs(clerk):
    before = whole()
    result = cli(put(clerk, "002_add_note", ADD))
    assert result.exit_code == 3
    assert "GRANT ALL ON `blank__rehearsal`.* to it, or use --no-rehearsal" in result.stderr
    assert whole() == before

    result = cli(clerk, "--no-rehearsal")
    assert "Migrations applied: 1." in result.stdout
    assert schema.applied()[-1] == "002_add_note"


@on_mariadb
def test_with_the_grant_it_need_not_do_without(clerk):
    run("GRANT ALL ON `blank__rehearsal`.* TO clerk@'%%'")
    assert "Migrations applied: 1." in cli(put(clerk, "002_add_note", ADD)).stdout


# --- dry run ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_prints_all_and_changes_nothing(things):
    put(things, "002_add_note", ADD, "migrator.drop_index('parks', 'note')")
    put(things, "003_insert", INSERTS)
    put(things, "004_count", IN_BATCHES.replace("parks", "rides").replace("note", "wait").replace("name", "1"))
    before = whole(), log(), databases()
    result = cli(things, "--dry-run")
    assert result.exit_code == 0
    batches = "/* in batches, rows kept */ " if door.is_mysql() else ""
    assert result.stdout.replace("`", '"').splitlines() == [
        "-- 002_add_note",
        'CREATE INDEX "parks_note" ON "parks" ("note");',
        "-- 003_insert",
        "INSERT INTO parks (name) VALUES ('Gamma');",
        "-- 004_count",
        f"{batches}UPDATE rides SET wait = 1 WHERE wait IS NULL;",
    ]
    assert (whole(), log(), databases()) == before


def test_a_dry_run_of_an_undoing_changes_nothing(things):
    before = whole(), log(), databases()
    result = cli(things, "down", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.replace("`", '"').splitlines() == [
        "-- 001_create_things",
        'DROP TABLE "rides"' + (" CASCADE;" if door.is_mysql() else ";"),
        'DROP TABLE "parks"' + (" CASCADE;" if door.is_mysql() else ";"),
    ]
    assert (whole(), log(), databases()) == before


def test_a_dry_run_of_nothing_makes_not_even_a_journal(blank):
    cli(replace(blank, migrations_dir=schema.find_folder(blank)), "--dry-run")
    assert door.db.get_tables() == []


@on_mariadb
def test_the_statements_of_a_dry_run_by_hand_make_the_same_schema(blank):
    printed = cli(replace(blank, migrations_dir=schema.find_folder(blank)), "--dry-run").stdout
    for line in printed.splitlines():
        if not line.startswith("-- ") and "  -- [" not in line:
            run(line.replace("%", "%%"))
    by_hand = shapes()
    for table in tables():
        run("SET foreign_key_checks = 0")
        run(f"DROP TABLE {table}")
    run("SET foreign_key_checks = 1")
    assert schema.upgrade(blank) == NAMES
    assert by_hand == shapes()


# --- others at work --------------------------------------------------------------------------------------------------


@on_mariadb
def test_an_open_transaction_holds_up_the_migration_but_nobody_else(things, mariadb):
    reader, writer = mariadb.connect("blank"), mariadb.connect("blank")
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if "letting them pass" not in line:
            return
        with writer.cursor() as cursor:  # another visitor of the table gets his turn between two attempts
            cursor.execute("SET SESSION lock_wait_timeout = 5")
            cursor.execute("INSERT INTO parks (name) VALUES ('Gamma')")
        reader.rollback()

    with reader, writer, reader.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM parks")
        schema.upgrade(put(things, "002_add_note", ADD), Options(say=say))
    assert re.match(r"  somebody uses the table.*: letting them pass", lines[1])
    assert [row["name"] for row in rows("parks")] == ["Alpha", "Beta", "Gamma"]
    assert schema.applied()[-1] == "002_add_note"


@on_mariadb
def test_a_table_that_is_never_free_ends_the_attempts_and_leaves_nothing(things, mariadb, monkeypatch):
    monkeypatch.setattr(execution, "ATTEMPTS", 2)
    put(things, "002_add_two", 'migrator.add_index("rides", "name")\n' + ADD)
    before = whole()
    with mariadb.connect("blank") as reader, reader.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM parks")
        with pytest.raises(ServiceError, match=f"002_add_two failed: Lock wait timeout exceeded.*{AS_BEFORE}"):
            schema.upgrade(things)
    assert whole() == before


@on_mariadb
def test_taking_back_waits_for_others_too(things, mariadb, monkeypatch):
    before, lines = whole(), []
    put(things, "002_fail", f"{ADD}\n{UNIQUE_NAMES}")
    with mariadb.connect("blank") as reader, reader.cursor() as cursor:

        def comes_and_goes(line: str) -> None:
            lines.append(line)
            if "letting them pass" in line:
                reader.rollback()

        def fails(bound: Any, statement: Statement, say: Any) -> Any:
            """Somebody opens a transaction on the table that was changed, before the next step fails."""
            if "UNIQUE" in statement.sql:
                cursor.execute("BEGIN")
                cursor.execute("SELECT * FROM parks")
            return change_schema(bound, statement, say)

        change_schema = execution.change_schema
        monkeypatch.setattr(runner, "change_schema", fails)
        with pytest.raises(ServiceError, match=f"002_fail failed: Duplicate entry.*{AS_BEFORE}"):
            schema.upgrade(things, Options(say=comes_and_goes))
    assert whole() == before
    assert any("letting them pass" in line for line in lines)


@on_mariadb
def test_the_journal_tells_how_each_run_ended(things):
    put(things, "002_fail", ADDITIONS + UNIQUE_NAMES)
    with pytest.raises(ServiceError):
        schema.upgrade(things)
    run("DELETE FROM rides")
    schema.upgrade(things)
    schema.downgrade(put(things, "002_fail", ADDITIONS + UNIQUE_NAMES))
    assert log() == [
        ("001_create_things", "up", "done"),
        ("002_fail", "up", "restored"),
        ("002_fail", "up", "done"),
        ("002_fail", "down", "done"),
    ]
    assert run("SELECT COUNT(*) FROM migration_log WHERE plan IS NOT NULL") == [(0,)]
    assert journal.unfinished() is None


def test_a_project_with_rows_gets_a_failing_migration_and_keeps_all(blank, tmp_path: Path):
    schema.upgrade(blank)
    fill()
    before = whole()
    failing = one_more(blank, tmp_path, f"{NEXT}_fail", ADDITIONS.replace('"note"', '"city"') + RAISES)
    with pytest.raises(ServiceError, match=f"{NEXT}_fail failed: there are rides"):
        schema.upgrade(failing)
    assert whole() == before
    assert everything() == before[1]


# --- tables of others, and steps that peewee-migrate gets wrong ------------------------------------------------------


@pytest.mark.parametrize("command", [(), ("--dry-run",)])
def test_tables_of_another_program_are_neither_taken_over_nor_dropped(blank, command):
    run("CREATE TABLE parks (park_id INTEGER PRIMARY KEY, name VARCHAR(20))")
    run("INSERT INTO parks VALUES (1, 'theirs')")
    before = whole()
    result = CliRunner().invoke(main, ["migrate", *command], env={"DATABASE_URL": blank.database_url})
    assert result.exit_code == 2
    assert "holds tables of another program (parks)" in result.stderr and "cli adopt" in result.stderr
    assert whole() == before
    assert door.db.get_tables() == ["parks"]


def test_a_table_that_is_there_already_fails_the_migration_that_creates_it(things):
    run("CREATE TABLE visits (id INTEGER PRIMARY KEY)")
    before = whole()
    with pytest.raises(ServiceError, match="002_add .*visits.* already exists"):
        schema.upgrade(put(things, "002_add", ADDITIONS))
    assert whole() == before


@pytest.mark.parametrize(
    ("table", "old", "new"), [("rides", "hits", "rounds"), ("parks", "name", "title"), ("rides", "owner_id", "owner")]
)
def test_a_renamed_column_keeps_its_default_its_index_and_its_rows(things, table, old, new):
    added = put(things, "002_add", f"migrator.add_index('{table}', '{old}')")
    schema.upgrade(added)
    if door.is_mysql():
        run(f"ALTER TABLE {table} ALTER COLUMN {old} SET DEFAULT '7'")
    before = whole()
    renamed = put(things, "003_rename", f"migrator.rename_field('{table}', '{old}', '{new}')")
    schema.upgrade(renamed)
    assert rows(table) == [{(new if name == old else name): value for name, value in row.items()}
                           for row in before[1][table]]
    shape = {name: text.replace(old, new) for name, text in before[0].items()}
    assert {name: text.replace(old, new) for name, text in shapes().items()} == shape


def test_percent_signs_are_written_alike_on_both_engines(things):
    doubled = put(things, "002_mark", "migrator.sql(\"UPDATE parks SET note = 'all' WHERE name LIKE '%%'\")")
    schema.upgrade(doubled)
    assert {row["note"] for row in rows("parks")} == {"all"}
    plain = put(things, "003_mark", "migrator.update_rows('parks', {'note': \"'5 %'\"}, where=\"name LIKE '%'\")")
    schema.upgrade(plain)
    assert {row["note"] for row in rows("parks")} == {"5 %"}
