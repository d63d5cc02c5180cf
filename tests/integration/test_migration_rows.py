"""Rows that a migration changes in batches: all of them once, or none."""

import pytest
from migrations_lab import many_rides, put, rows, run, tables, two_tables, whole

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
    settings = two_tables(blank, tmp_path)
    many_rides(300)
    return settings


def no_rest() -> bool:
    return not any(name.endswith("__kept") for name in tables())


def column(name: str) -> list:
    return [value for (value,) in run(f"SELECT {name} FROM rides ORDER BY ride_id")]


def bar(event: str, ride: int) -> None:
    """Let the database itself refuse this change of this ride."""
    if schema.server().startswith("SQLite"):
        run(
            f"CREATE TRIGGER bar BEFORE {event} ON rides WHEN OLD.ride_id = {ride}"
            " BEGIN SELECT RAISE(ABORT, 'this one stays'); END"
        )
    else:
        run(
            f"CREATE TRIGGER bar BEFORE {event} ON rides FOR EACH ROW IF OLD.ride_id = {ride}"
            " THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'this one stays'; END IF"
        )


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


def test_rows_that_share_the_first_column_of_the_key_stay_in_one_batch(things):
    keys = "CREATE TABLE days (day INTEGER, ride INTEGER, hits INTEGER, PRIMARY KEY (day, ride))"
    run(keys)
    run("INSERT INTO days SELECT 1 + ride_id / 100, ride_id, 0 FROM rides")
    schema.upgrade(put(things, "002_count", ONE_MORE.replace('"rides"', '"days"')))
    assert run("SELECT hits, COUNT(*) FROM days GROUP BY hits") == [(1, 300)]


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
    bar(event, 250)
    before = whole()
    put(things, "002_fail", step)
    with pytest.raises(ServiceError, match=f"^Migration 002_fail failed: .*this one stays.*{AS_BEFORE}$"):
        schema.upgrade(things)
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
    bar("UPDATE", 250)
    before = whole()
    put(things, "002_fail", 'migrator.update_rows("parks", {"note": "\'x\'"}, where="TRUE")\n' + ONE_MORE)
    with pytest.raises(ServiceError, match="this one stays"):
        schema.upgrade(things)
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
    bar("UPDATE", 250)
    before = whole()
    put(things, "002_move", 'migrator.update_rows("rides", {"ride_id": "ride_id + 1000"}, where="ride_id < 1000")')
    with pytest.raises(ServiceError):
        schema.upgrade(things)
    assert whole() == before


def test_values_that_moved_up_one_place_can_move_back_or_are_refused(things):
    run("CREATE UNIQUE INDEX owners ON rides (owner_id)")
    bar("UPDATE", 250)
    before = whole()
    put(things, "002_move", 'migrator.update_rows("rides", {"owner_id": "owner_id - 1"}, where="TRUE")')
    with pytest.raises(ServiceError, match="this one stays|rides.owner_id is in a unique index"):
        schema.upgrade(things)
    assert whole() == before
    assert no_rest()
    assert schema.unfinished() is None


def on_mysql() -> bool:
    return not schema.server().startswith("SQLite")


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
    bar("DELETE", 250)
    before = whole()
    put(things, "002_forget", 'migrator.delete_rows("rides", where="ride_id <= 250")')
    with pytest.raises(ServiceError):
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
    bar("DELETE", 250)
    before = whole()
    with pytest.raises(ServiceError, match=f"this one stays.*{AS_BEFORE}"):
        schema.downgrade(things)
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
    bar("UPDATE", 250)

    def say(line: str) -> None:
        if "putting its rows back" in line:
            with mariadb.connect("blank") as others, others.cursor() as cursor:
                cursor.execute("UPDATE rides SET wait = 30 WHERE ride_id = 1")
                cursor.execute("DELETE FROM rides WHERE ride_id = 2")
                cursor.execute("INSERT INTO rides VALUES (1000, 1, 'Dive', 1000, NULL, 5)")

    with pytest.raises(ServiceError, match=AS_BEFORE):
        schema.upgrade(put(things, "002_fail", ONE_MORE), Options(say=say))
    assert column("hits") == [0] * 299 + [5]
    assert run("SELECT ride_id, wait FROM rides WHERE ride_id IN (1, 2, 3)") == [(1, 30), (3, None)]
