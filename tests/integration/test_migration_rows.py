"""Rows that a migration changes in batches: all of them once, or none."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from migrations_lab import many_rides, put, rows, run, tables, two_tables, until, whole

from service import database as door
from service import schema
from service.config import Settings
from service.errors import ServiceError
from service.schema import kept_rows
from service.schema.runner import Options

on_mariadb = pytest.mark.parametrize("blank", ["mariadb"], indirect=True)

AS_BEFORE = "[Ss]chema and rows are as they were( before it)?[.]"
ONE_MORE = 'migrator.update_rows("rides", {"hits": "hits + 1"}, where="hits < 5")'


@pytest.fixture
def things(blank, tmp_path, monkeypatch) -> Settings:
    """Settings of a database with 300 rides, which are changed 20 and a few at a time."""
    monkeypatch.setattr(kept_rows, "BATCH_ROWS", 20)
    monkeypatch.setattr(kept_rows, "SECONDS_BETWEEN_LINES", -1)  # a line after each batch
    settings = two_tables(blank, tmp_path)
    many_rides(300)
    return settings


def no_rest() -> bool:
    return not any(name.endswith("__kept") for name in tables())


def column(name: str) -> list:
    return [value for (value,) in run(f"SELECT {name} FROM rides ORDER BY ride_id")]


def bar(settings: Settings, event: str, ride: int) -> Options:
    """Let the database itself refuse this change of this ride, if the migration runs with the options returned.

    Tables with triggers are not changed in batches on MariaDB, so there it comes once the first batch is done.
    """
    if schema.server().startswith("SQLite"):
        run(
            f"CREATE TRIGGER bar BEFORE {event} ON rides WHEN OLD.ride_id = {ride}"
            " BEGIN SELECT RAISE(ABORT, 'this one stays'); END"
        )
        return Options()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if re.match("  rides: .* changed", line) and sum("  rides: " in earlier for earlier in said) == 1:
            other = door.connect(settings, read_only=False)
            other.execute_sql(
                f"CREATE TRIGGER bar BEFORE {event} ON rides FOR EACH ROW IF OLD.ride_id = {ride}"
                " THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'this one stays'; END IF"
            )
            door.close(other)

    return Options(say=say)


def test_all_rows_are_changed_once(things):
    schema.upgrade(put(things, "002_count", ONE_MORE))
    assert column("hits") == [1] * 300
    assert no_rest()


def test_only_the_rows_asked_for_are_changed(things):
    put(things, "002_count", ONE_MORE.replace("hits < 5", "ride_id BETWEEN 18 AND 23 OR ride_id = 300"))
    schema.upgrade(things)
    assert [number for number, hits in enumerate(column("hits"), 1) if hits] == [18, 19, 20, 21, 22, 23, 300]


def test_rows_are_deleted(things):
    schema.upgrade(put(things, "002_forget", 'migrator.delete_rows("rides", where="ride_id % 2 = 0")'))
    assert column("ride_id") == list(range(1, 300, 2))
    assert no_rest()


def test_a_table_without_rows_is_no_trouble(things):
    run("DELETE FROM rides")
    schema.upgrade(put(things, "002_count", ONE_MORE))
    assert rows("rides") == []
    assert no_rest()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DATE", "DATE('2025-05-01') + INTERVAL n DAY"),
        ("VARCHAR(9)", "CHAR(96 + n)"),
        ("DECIMAL(9, 3)", "n / 8 - 2"),
        ("BIGINT", "(CAST(n AS SIGNED) - 15) * 1000000000000"),
        ("VARBINARY(9)", "CHAR(96 + n)"),
        ("DATETIME(6)", "TIMESTAMP('2025-05-01') + INTERVAL n MICROSECOND"),
    ],
)
@on_mariadb
def test_keys_of_all_kinds_are_walked_and_put_back(things, monkeypatch, kind, value):
    monkeypatch.setattr(kept_rows, "BATCH_ROWS", 4)
    run(f"CREATE TABLE days (day {kind}, ride INTEGER, hits INTEGER, PRIMARY KEY (day, ride))")
    run(f"INSERT INTO days SELECT {value}, n, 0 FROM (SELECT seq AS n FROM seq_1_to_26) AS numbers")
    schema.upgrade(put(things, "002_count", ONE_MORE.replace('"rides"', '"days"')))
    assert run("SELECT hits, COUNT(*) FROM days GROUP BY hits") == [(1, 26)]

    put(things, "003_fail", 'migrator.update_rows("days", {"hits": "IF(ride = 20, NULL, 7)"}, where="TRUE")')
    run("ALTER TABLE days MODIFY hits INTEGER NOT NULL")
    before = whole()
    with pytest.raises(ServiceError, match="cannot be null"):
        schema.upgrade(things)
    assert whole() == before


@pytest.mark.parametrize("kind", ["ENUM('b', 'a')", "SET('b', 'a')", "BIT(9)", "FLOAT"])
@on_mariadb
def test_keys_whose_order_is_not_that_of_their_values_are_refused(things, kind):
    run(f"CREATE TABLE days (ride INTEGER, day {kind}, hits INTEGER, PRIMARY KEY (ride, day))")
    with pytest.raises(ServiceError, match="Rows of days cannot be changed in batches: day of its key is of type "):
        schema.upgrade(put(things, "002_count", ONE_MORE.replace('"rides"', '"days"')))


def one_day(things: Settings) -> None:
    """A table whose rows all have the same first column of the key, and 002_count, which changes them."""
    run("CREATE TABLE days (day INTEGER, park INTEGER, ride INTEGER, hits INTEGER, PRIMARY KEY (day, park, ride))")
    run("INSERT INTO days SELECT 1, ride_id / 40, ride_id, 0 FROM rides")
    put(things, "002_count", ONE_MORE.replace('"rides"', '"days"').replace("hits < 5", "TRUE"))


def test_rows_that_share_the_first_columns_of_the_key_are_changed_once(things):
    one_day(things)
    schema.upgrade(things)
    assert run("SELECT hits, COUNT(*) FROM days GROUP BY hits") == [(1, 300)]


@on_mariadb
def test_a_batch_is_small_however_many_rows_share_the_first_columns_of_the_key(things):
    one_day(things)
    lines: list[str] = []
    schema.upgrade(things, Options(say=lines.append))
    changed = [int(found[1]) for line in lines if (found := re.match("  days: (.*) rows changed", line))]
    assert changed == [21, 42, 63, 84, 105, 126, 147, 168, 189, 210, 231, 252, 273, 294, 300]


@on_mariadb
def test_a_run_cut_short_goes_on_within_the_first_columns_of_the_key(things):
    one_day(things)

    def say(line: str) -> None:
        if line.startswith("  days: 63 rows"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        schema.upgrade(things, Options(say=say))
    assert run("SELECT hits, COUNT(*) FROM days GROUP BY hits ORDER BY hits") == [(0, 237), (1, 63)]
    lines: list[str] = []
    schema.upgrade(things, Options(say=lines.append))
    assert "It goes on where it was." in lines
    assert run("SELECT hits, COUNT(*) FROM days GROUP BY hits") == [(1, 300)]
    assert no_rest()


@pytest.mark.parametrize(
    ("event", "step"),
    [
        ("UPDATE", ONE_MORE),
        ("UPDATE", 'migrator.update_rows("rides", {"name": "\'Dive\'", "wait": "ride_id"}, where="TRUE")'),
        ("DELETE", 'migrator.delete_rows("rides", where="ride_id > 5")'),
    ],
    ids=["one column", "two columns", "deleted rows"],
)
def test_a_change_that_fails_in_a_late_batch_leaves_nothing(things, event, step):
    barred = bar(things, event, 250)
    before = whole()
    put(things, "002_fail", step)
    with pytest.raises(ServiceError, match=f"^Migration 002_fail failed: .*this one stays.*{AS_BEFORE}$"):
        schema.upgrade(things, barred)
    assert whole() == before
    assert no_rest()

    run("DROP TRIGGER bar")
    assert schema.upgrade(things) == ["002_fail"]


def test_a_value_that_may_not_be_in_a_late_batch_leaves_nothing(things):
    before = whole()
    seven = "CASE WHEN ride_id < 250 THEN 7 END"
    put(things, "002_fail", f'migrator.update_rows("rides", {{"hits": "{seven}"}}, where="TRUE")')
    with pytest.raises(ServiceError, match="002_fail failed: .*(NOT NULL|cannot be null)"):
        schema.upgrade(things)
    assert whole() == before


def test_batches_on_two_tables_fail_together(things):
    barred = bar(things, "UPDATE", 250)
    before = whole()
    put(things, "002_fail", 'migrator.update_rows("parks", {"note": "\'x\'"}, where="TRUE")\n' + ONE_MORE)
    with pytest.raises(ServiceError, match="this one stays"):
        schema.upgrade(things, barred)
    assert whole() == before
    assert no_rest()


def test_two_changes_of_one_table_both_happen_or_are_refused_before_the_first(things):
    before = whole()
    put(things, "002_both", ONE_MORE + '\nmigrator.update_rows("rides", {"wait": "7"}, where="wait IS NULL")')
    try:
        schema.upgrade(things)
    except ServiceError:
        assert whole() == before
    else:
        assert (column("hits"), column("wait")) == ([1] * 300, [7] * 300)


def test_a_change_of_the_key_can_be_taken_back_or_is_refused(things):
    bar(things, "UPDATE", 250)
    before = whole()
    put(things, "002_move", 'migrator.update_rows("rides", {"ride_id": "ride_id + 1000"}, where="ride_id < 1000")')
    with pytest.raises(ServiceError):
        schema.upgrade(things)
    assert whole() == before


def test_values_that_moved_up_one_place_can_move_back_or_are_refused(things):
    run("CREATE UNIQUE INDEX owners ON rides (owner_id)")
    bar(things, "UPDATE", 250)
    before = whole()
    put(things, "002_move", 'migrator.update_rows("rides", {"owner_id": "owner_id - 1"}, where="TRUE")')
    with pytest.raises(ServiceError, match="this one stays|rides.owner_id is in a unique index"):
        schema.upgrade(things)
    assert whole() == before
    assert no_rest()
    assert schema.unfinished() is None


@on_mariadb
def test_rows_with_children_are_not_deleted_in_batches(things):
    before = whole()
    with pytest.raises(ServiceError, match="Rows of parks cannot be deleted in batches: those of rides belong to them"):
        schema.upgrade(put(things, "002_forget", 'migrator.delete_rows("parks", where="park_id = 2")'))
    assert whole() == before


@on_mariadb
def test_rows_with_children_in_their_own_table_are_not_lost(things):
    run("ALTER TABLE rides ADD next_to INT, ADD FOREIGN KEY (next_to) REFERENCES rides (ride_id) ON DELETE CASCADE")
    run("UPDATE rides SET next_to = 10 WHERE ride_id IN (299, 300)")
    before = whole()
    put(things, "002_forget", 'migrator.delete_rows("rides", where="ride_id <= 250")')
    with pytest.raises(ServiceError, match="Rows of rides cannot be deleted in batches: those of rides belong to them"):
        schema.upgrade(things)
    assert whole() == before


@on_mariadb
def test_a_table_without_a_key_is_refused(things):
    run("CREATE TABLE loose (hits INT)")
    run("INSERT INTO loose VALUES (0)")
    before = whole()
    with pytest.raises(ServiceError, match="loose has no primary key"):
        schema.upgrade(put(things, "002_count", ONE_MORE.replace("rides", "loose")))
    assert whole() == before


@on_mariadb
def test_batches_before_and_after_a_change_of_the_table(things):
    put(things, "002_count", ONE_MORE)
    put(things, "003_add_speed", 'migrator.add_fields("rides", speed=pw.IntegerField(null=True))')
    put(things, "004_speed", 'migrator.update_rows("rides", {"speed": "1"}, where="speed IS NULL")')
    assert schema.upgrade(things) == ["002_count", "003_add_speed", "004_speed"]
    assert (column("hits"), column("speed")) == ([1] * 300, [1] * 300)


def test_an_undoing_may_delete_in_batches_and_then_change_the_schema(things):
    put(
        things,
        "002_add_speed",
        'migrator.add_fields("rides", speed=pw.IntegerField(null=True))',
        'migrator.delete_rows("rides", where="speed IS NOT NULL")\nmigrator.remove_fields("rides", "speed")',
    )
    schema.upgrade(things)
    run("UPDATE rides SET speed = 1 WHERE ride_id > 100")
    barred = bar(things, "DELETE", 250)
    before = whole()
    with pytest.raises(ServiceError, match=f"this one stays.*{AS_BEFORE}"):
        schema.downgrade(things, options=barred)
    assert whole() == before

    run("DROP TRIGGER bar")
    schema.downgrade(things)
    assert column("ride_id") == list(range(1, 101))
    assert no_rest()


def test_text_with_a_percent_sign_means_the_same_on_both_engines(things):
    run("UPDATE rides SET name = 'Dive' WHERE ride_id = 7")
    put(things, "002_count", ONE_MORE.replace("hits < 5", "name LIKE 'Di%' AND hits < 5"))
    schema.upgrade(things)
    assert [number for number, hits in enumerate(column("hits"), 1) if hits] == [7]


@on_mariadb
def test_what_others_do_meanwhile_stays_when_the_rest_is_taken_back(things, mariadb):
    """Other columns of the rows that were changed, rows that are new, and rows that are gone."""
    barred = bar(things, "UPDATE", 250)

    def say(line: str) -> None:
        barred.say(line)
        if "putting its rows back" in line:
            with mariadb.connect("blank") as others, others.cursor() as cursor:
                cursor.execute("UPDATE rides SET wait = 30 WHERE ride_id = 1")
                cursor.execute("DELETE FROM rides WHERE ride_id = 2")
                cursor.execute("INSERT INTO rides VALUES (1000, 1, 'Dive', 1000, NULL, 5)")

    with pytest.raises(ServiceError, match=AS_BEFORE):
        schema.upgrade(put(things, "002_fail", ONE_MORE), Options(say=say))
    assert column("hits") == [0] * 299 + [5]
    assert run("SELECT ride_id, wait FROM rides WHERE ride_id IN (1, 2, 3)") == [(1, 30), (3, None)]


# --- only what was kept is changed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "step"),
    [
        ("UPDATE", 'migrator.update_rows("rides", {"hits": "7"}, where="RAND() < 0.5 OR ride_id = 250")'),
        ("DELETE", 'migrator.delete_rows("rides", where="RAND() < 0.5 OR ride_id = 250")'),
    ],
    ids=["changed", "deleted"],
)
@on_mariadb
def test_rows_of_which_the_condition_says_one_thing_and_then_another_come_back(things, event, step):
    barred = bar(things, event, 250)
    before = whole()
    with pytest.raises(ServiceError, match=f"this one stays.*{AS_BEFORE}"):
        schema.upgrade(put(things, "002_fail", step), barred)
    assert whole() == before


@on_mariadb
def test_a_row_added_behind_the_copying_is_not_deleted(things, mariadb, monkeypatch):
    """On a server that is READ COMMITTED, others can add rows in between."""
    run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    unwatched = kept_rows.unwatched

    def then_add(bound: Any, sql: str, values: Any = ()) -> Any:
        result = unwatched(bound, sql, values)
        live = bound.database == "blank" and sql.startswith("INSERT INTO `rides__kept`")
        if live and run("SELECT 1 FROM rides WHERE ride_id = 1"):
            with mariadb.connect("blank") as others, others.cursor() as cursor:
                cursor.execute("INSERT INTO rides VALUES (-5, 1, 'Dive', 3, NULL, 0)")
        return result

    monkeypatch.setattr(kept_rows, "unwatched", then_add)
    schema.upgrade(put(things, "002_forget", 'migrator.delete_rows("rides", where="hits < 1")'))
    assert run("SELECT ride_id, name FROM rides") == [(-5, "Dive")]


# --- tables of others ------------------------------------------------------------------------------------------------


@on_mariadb
def test_a_table_that_has_the_name_of_ours_is_no_place_to_keep_rows(things):
    run("CREATE TABLE rides__kept AS SELECT * FROM rides")
    before = whole()
    with pytest.raises(ServiceError, match="kept in rides__kept, which is there and is not a migration's. Rename it."):
        schema.upgrade(put(things, "002_count", ONE_MORE))
    assert whole() == before
    assert schema.unfinished() is None


@on_mariadb
def test_tables_of_others_with_names_like_ours_are_left_alone(things):
    run("CREATE TABLE promises__kept (day INT PRIMARY KEY) COMMENT 'rows of hope'")
    run("INSERT INTO promises__kept VALUES (1)")
    found: list[list[str]] = []
    mine = door.connect(things, read_only=False)

    def say(line: str) -> None:
        if line.startswith("  rides: 21 rows"):
            mine.execute_sql("CREATE TABLE saved_rides__kept LIKE rides__kept")  # with the comment that marks it
            found.append(kept_rows.kept_tables(mine))

    schema.upgrade(put(things, "002_count", ONE_MORE), Options(say=say))
    door.close(mine)
    assert found == [["rides__kept"]]
    assert tables() == ["parks", "promises__kept", "rides", "saved_rides__kept"]
    assert rows("promises__kept") == [{"day": 1}]


# --- names of columns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["`hits`", "HITS", "`Hits`"])
def test_a_column_is_found_however_it_is_written(things, name):
    barred = bar(things, "UPDATE", 250)
    before = whole()
    put(things, "002_count", ONE_MORE.replace('"hits"', f'"{name}"'))
    with pytest.raises(ServiceError, match=f"this one stays.*{AS_BEFORE}"):
        schema.upgrade(things, barred)
    assert whole() == before
    run("DROP TRIGGER bar")
    schema.upgrade(things)
    assert column("hits") == [1] * 300


@pytest.mark.parametrize("name", ["RIDE_ID", "`ride_id`", "Owner_Id", "`OWNER_ID`"])
@on_mariadb
def test_a_column_of_a_unique_index_is_refused_however_it_is_written(things, name):
    run("CREATE UNIQUE INDEX owners ON rides (owner_id)")
    with pytest.raises(ServiceError, match="rides.(ride|owner)_id is in a unique index: it cannot be changed"):
        schema.upgrade(put(things, "002_move", ONE_MORE.replace('"hits"', f'"{name}"')))
    assert column("owner_id") == column("ride_id") == list(range(1, 301))


@on_mariadb
def test_a_column_that_is_not_there_is_refused(things):
    with pytest.raises(ServiceError, match="rides has no column speed that takes a value"):
        schema.upgrade(put(things, "002_count", ONE_MORE.replace('"hits"', '"speed"')))


def test_an_update_of_no_column_is_refused_and_deletes_nothing(things):
    with pytest.raises(ServiceError, match="update_rows of rides names no column"):
        schema.upgrade(put(things, "002_count", 'migrator.update_rows("rides", {}, where="TRUE")'))
    assert len(rows("rides")) == 300


# --- columns and rows of which the database has its own idea ---------------------------------------------------------


@on_mariadb
def test_a_column_that_notes_the_time_of_each_change_is_put_back_too(things):
    run("ALTER TABLE rides ADD changed_at TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP")
    run("UPDATE rides SET changed_at = '2025-05-01 12:00:00' WHERE ride_id < 10")
    barred = bar(things, "UPDATE", 250)
    before = whole()
    with pytest.raises(ServiceError, match="this one stays"):
        schema.upgrade(put(things, "002_fail", ONE_MORE), barred)
    assert whole() == before


@on_mariadb
def test_a_row_with_number_zero_comes_back_as_number_zero(things):
    run("UPDATE rides SET ride_id = 0 WHERE ride_id = 1")
    barred = bar(things, "DELETE", 250)
    before, mode = whole(), run("SELECT @@sql_mode")
    with pytest.raises(ServiceError, match="this one stays"):
        schema.upgrade(put(things, "002_fail", 'migrator.delete_rows("rides", where="TRUE")'), barred)
    assert whole() == before
    assert run("SELECT @@sql_mode") == mode


@pytest.mark.parametrize("event", ["UPDATE", "DELETE"])
@on_mariadb
def test_columns_that_take_no_value_or_do_not_show_come_back_with_their_rows(things, event):
    run("ALTER TABLE rides ADD twice INT AS (hits * 2) STORED, ADD thrice INT AS (hits * 3), ADD secret INT INVISIBLE")
    run("UPDATE rides SET hits = 2, secret = ride_id + 1000")
    barred = bar(things, event, 250)
    columns = "SELECT ride_id, hits, secret, twice, thrice FROM rides ORDER BY ride_id"
    before = run(columns)
    assert before[6] == (7, 2, 1007, 4, 6)
    steps = {
        "UPDATE": 'migrator.update_rows("rides", {"hits": "9", "secret": "NULL"}, where="TRUE")',
        "DELETE": 'migrator.delete_rows("rides", where="TRUE")',
    }
    with pytest.raises(ServiceError, match="this one stays"):
        schema.upgrade(put(things, "002_fail", steps[event]), barred)
    assert run(columns) == before


@on_mariadb
def test_a_generated_column_is_neither_changed_nor_unique(things):
    run("ALTER TABLE rides ADD other INT AS (owner_id - hits) STORED")
    put(things, "002_count", ONE_MORE.replace('"hits"', '"other"'))
    with pytest.raises(ServiceError, match="rides has no column other that takes a value"):
        schema.upgrade(things)

    run("CREATE UNIQUE INDEX others ON rides (other)")
    with pytest.raises(ServiceError, match="in batches: other, which is generated, is in a unique index"):
        schema.upgrade(put(things, "002_count", ONE_MORE))


@pytest.mark.parametrize("event", ["UPDATE", "INSERT", "DELETE"])
@on_mariadb
def test_a_table_with_a_trigger_is_refused(things, event):
    run(f"CREATE TRIGGER touch AFTER {event} ON rides FOR EACH ROW UPDATE parks SET note = 'touched'")
    before = whole()
    with pytest.raises(ServiceError, match="take back what trigger touch does. Drop it, and create it again"):
        schema.upgrade(put(things, "002_count", ONE_MORE))
    assert whole() == before


@on_mariadb
def test_rows_with_children_in_another_database_are_not_deleted_in_batches(things, mariadb):
    mariadb.create_database("beside")
    run("CREATE TABLE beside.visits (ride_id INT, FOREIGN KEY (ride_id) REFERENCES blank.rides (ride_id))")
    try:
        with pytest.raises(ServiceError, match="Rows of rides cannot be deleted in batches: those of visits belong to"):
            schema.upgrade(put(things, "002_forget", 'migrator.delete_rows("rides", where="TRUE")'))
    finally:
        run("DROP DATABASE beside")


# --- others who hold the same rows -----------------------------------------------------------------------------------

HELD = "  rides: others hold these rows, the batch again"


@pytest.fixture
def other(things, mariadb) -> Iterator[Any]:
    """Somebody else's open transaction. The migration waits a second for a row."""
    run("SET SESSION innodb_lock_wait_timeout = 1")
    with mariadb.connect("blank") as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        yield cursor


@on_mariadb
def test_a_batch_that_waited_too_long_for_a_row_is_tried_again(things, other):
    other.execute("SELECT * FROM rides WHERE ride_id = 50 FOR UPDATE")
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line == HELD:
            other.execute("COMMIT")

    schema.upgrade(put(things, "002_count", ONE_MORE.replace("hits < 5", "TRUE")), Options(say=say))
    assert lines.count(HELD) == 1
    assert column("hits") == [1] * 300
    assert no_rest()


@on_mariadb
def test_a_batch_that_waits_too_long_again_and_again_fails_and_leaves_nothing(things, other, monkeypatch):
    monkeypatch.setattr(kept_rows, "RETRIES", 1)
    other.execute("SELECT * FROM rides WHERE ride_id = 50 FOR UPDATE")
    before, lines = whole(), []
    with pytest.raises(ServiceError, match=f"002_count failed: Lock wait timeout exceeded.*{AS_BEFORE}"):
        schema.upgrade(put(things, "002_count", ONE_MORE), Options(say=lines.append))
    assert lines.count(HELD) == 1
    assert whole() == before


@on_mariadb
def test_a_batch_that_is_the_victim_of_a_deadlock_is_tried_again(things, other):
    run("SET SESSION innodb_lock_wait_timeout = 60")
    # More than a batch has: the server spares whoever has changed most.
    other.execute("UPDATE rides FORCE INDEX (PRIMARY) SET wait = 30 WHERE ride_id >= 45")
    waiting = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"

    def cross() -> None:
        # What is asked for more often than every 0.1 s is not looked up anew.
        until(lambda: other.execute("SELECT SLEEP(0.2)") and other.execute(waiting))
        other.execute("UPDATE rides SET wait = 30 WHERE ride_id = 43")
        other.execute("COMMIT")

    crossing = threading.Thread(target=cross)
    crossing.start()
    lines: list[str] = []
    schema.upgrade(put(things, "002_count", ONE_MORE.replace("hits < 5", "TRUE")), Options(say=lines.append))
    crossing.join()
    assert lines.count(HELD) == 1
    assert column("hits") == [1] * 300
    assert column("wait") == [None] * 42 + [30, None] + [30] * 256


@on_mariadb
def test_rows_are_put_back_though_others_hold_them_for_a_while(things, other):
    barred = bar(things, "UPDATE", 250)
    before, lines = whole(), []

    def say(line: str) -> None:
        barred.say(line)
        lines.append(line)
        if "putting its rows back" in line:
            other.execute("SELECT * FROM rides WHERE ride_id = 50 FOR UPDATE")
        if line == HELD:
            other.execute("COMMIT")

    with pytest.raises(ServiceError, match=f"this one stays.*{AS_BEFORE}"):
        schema.upgrade(put(things, "002_fail", ONE_MORE), Options(say=say))
    assert lines.count(HELD) == 1
    assert whole() == before
