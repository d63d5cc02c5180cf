"""What the steps of a migration do to columns and indexes, what a rehearsal refuses, and the session they run in."""

import re
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from mariadb import PrivateMariaDB
from migrations_lab import databases, put, rows, run, shapes, two_tables, whole

from cli import main
from service import database as door
from service import schema
from service.config import Settings
from service.errors import BadRequest, ServiceError, Unavailable
from service.schema.declaration import not_null, nullable, without_default
from service.schema.execution import fresh_session, patience
from service.schema.rehearsal import blocking_lines, rehearse
from service.schema.runner import Options
from service.schema.structure import fingerprint, structure

# For what only one engine needs, or only one can do.
on_mariadb = pytest.mark.parametrize("blank", ["mariadb"], indirect=True)
on_sqlite = pytest.mark.parametrize("blank", ["sqlite"], indirect=True)

RIDE = "INSERT INTO rides (ride_id, park_id, name, owner_id) VALUES (4, 1, 'New', 1)"


@pytest.fixture
def things(blank, tmp_path) -> Settings:
    """Settings of a database with two small tables and a few rows, and a folder of migrations of its own."""
    return two_tables(blank, tmp_path)


def column(table: str, name: str) -> str:
    """How MariaDB declares a column, behind its name."""
    created = run(f"SHOW CREATE TABLE {table}")[0][1]
    (line,) = [line.strip().rstrip(",") for line in created.split("\n") if line.startswith(f"  `{name}` ")]
    return line.removeprefix(f"`{name}` ")


def indexes(table: str) -> list[str]:
    return sorted(index.name for index in door.db.get_indexes(table))


def plan(settings: Settings, name: str) -> schema.journal.Plan:
    (found,) = rehearse(door.db.obj, settings.migrations_dir, [name], "up", schema.applied())
    return found


# --- defaults --------------------------------------------------------------------------------------------------------


def test_a_default_is_of_the_schema_and_leaves_the_rows_alone(things):
    put(things, "002_default", "migrator.add_default('rides', 'wait', 7)", "migrator.drop_default('rides', 'wait')")
    before = shapes()
    schema.upgrade(things)
    assert run("SELECT wait, hits FROM rides ORDER BY ride_id") == [(5, 0), (None, 0), (5, 0)]
    run("INSERT INTO rides (ride_id, park_id, name, owner_id, hits) VALUES (4, 1, 'New', 1, 0)")
    assert run("SELECT wait FROM rides WHERE ride_id = 4") == [(7,)]

    schema.downgrade(things)
    run("INSERT INTO rides (ride_id, park_id, name, owner_id, hits) VALUES (5, 1, 'New', 1, 0)")
    assert run("SELECT wait FROM rides WHERE ride_id = 5") == [(None,)]
    if door.is_mysql():
        assert shapes() == before


TEXTS = ["it's", "closed (winter)", "50 %", "7", "a\\\\b", "?", "'"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_default_is_a_value_whatever_it_looks_like(things, text):
    put(things, "002_default", f'migrator.add_default("parks", "note", "{text}")')
    schema.upgrade(things)
    run("INSERT INTO parks (park_id, name) VALUES (3, 'Gamma')")
    assert run("SELECT note FROM parks ORDER BY park_id") == [(None,), ("x",), (text.replace("\\\\", "\\"),)]


def test_a_second_default_takes_the_place_of_the_first(things):
    put(things, "002_default", "migrator.add_default('rides', 'hits', 5)\nmigrator.add_default('rides', 'hits', -1)")
    put(things, "003_sql", "migrator.add_default('rides', 'wait', pw.SQL('(1 + 2)'))")
    schema.upgrade(things)
    run(RIDE)
    assert run("SELECT hits, wait FROM rides WHERE ride_id = 4") == [(-1, 3)]


@pytest.mark.parametrize("given", ["None", "dict"])
def test_no_default_of_nothing_or_of_a_function(things, given):
    before = whole()
    put(things, "002_default", f"migrator.add_default('rides', 'wait', {given})")
    with pytest.raises(ServiceError, match="002_default.*instead of a value or SQL"):
        schema.upgrade(things)
    assert whole() == before


@on_sqlite
def test_a_rebuild_for_a_default_keeps_indexes_and_children(things):
    run("CREATE INDEX by_note ON parks (note)")
    put(things, "002_default", "migrator.add_default('parks', 'note', 'none')")
    schema.upgrade(things)
    assert (indexes("parks"), len(rows("rides"))) == (["by_note"], 3)


# --- NULL and NOT NULL -----------------------------------------------------------------------------------------------


@on_mariadb
def test_not_null_changes_nothing_else_of_a_column(things):
    # None of this is in the model that the migrations know.
    declared = "enum('a NULL','c') CHARACTER SET latin1 COLLATE latin1_bin{null} COMMENT '50 % is DEFAULT NULL, it''s'"
    run("UPDATE parks SET note = 'c'")
    run("ALTER TABLE parks MODIFY note " + declared.format(null=" DEFAULT 'c'").replace("%", "%%"))
    before = column("parks", "note")
    put(things, "002_fill", "migrator.add_not_null('parks', 'note')", "migrator.drop_not_null('parks', 'note')")
    schema.upgrade(things)
    assert column("parks", "note") == declared.format(null=" NOT NULL DEFAULT 'c'")
    schema.downgrade(things)
    assert column("parks", "note") == before


@on_mariadb
def test_a_column_that_points_at_another_table_keeps_its_foreign_key(things):
    put(things, "002_loosen", "migrator.drop_not_null('rides', 'park')", "migrator.add_not_null('rides', 'park')")
    before = shapes()
    schema.upgrade(things)
    assert column("rides", "park_id") == "int(11) DEFAULT NULL"
    schema.downgrade(things)
    assert shapes() == before


def test_not_null_refuses_what_is_missing_and_can_be_taken_away_again(things):
    run("UPDATE rides SET wait = 0 WHERE wait IS NULL")
    put(things, "002_require", "migrator.add_not_null('rides', 'wait')", "migrator.drop_not_null('rides', 'wait')")
    schema.upgrade(things)
    with pytest.raises(Exception, match="NULL constraint failed: rides.wait|'wait' cannot be null"):
        run("UPDATE rides SET wait = NULL")
    schema.downgrade(things)
    run("UPDATE rides SET wait = NULL")


DECLARED = [
    ("int(11) DEFAULT NULL", "int(11) NOT NULL"),
    ("int DEFAULT 5", "int NOT NULL DEFAULT 5"),
    ("text", "text NOT NULL"),
    ("timestamp NULL DEFAULT NULL ON UPDATE current_timestamp()", "timestamp NOT NULL ON UPDATE current_timestamp()"),
    (
        "varchar(9) COLLATE utf8mb4_bin DEFAULT NULL CHECK (`a` is not null)",
        "varchar(9) COLLATE utf8mb4_bin NOT NULL CHECK (`a` is not null)",
    ),
    ("int CHECK (`x y NOT NULL` > 0)", "int NOT NULL CHECK (`x y NOT NULL` > 0)"),
    ("varchar(9) DEFAULT 'a NOT NULL'", "varchar(9) NOT NULL DEFAULT 'a NOT NULL'"),
    ("int /*!80023 INVISIBLE */", "int NOT NULL /*!80023 INVISIBLE */"),
    ("varchar(9) COMMENT 'it\\\\''s NULL'", "varchar(9) NOT NULL COMMENT 'it\\\\''s NULL'"),
]


@pytest.mark.parametrize(("loose", "strict"), DECLARED, ids=[loose for loose, _ in DECLARED])
def test_not_null_stands_where_it_may(loose, strict):
    assert (not_null(loose), not_null(strict)) == (strict, strict)
    assert nullable(loose) == loose
    assert nullable(strict) == strict.replace(" NOT NULL", " NULL", 1)


@pytest.mark.parametrize(
    ("declared", "without"),
    [
        ('"a" TEXT DEFAULT \'x, DEFAULT 1\' NOT NULL', '"a" TEXT NOT NULL'),
        ('"a" INT NOT NULL DEFAULT -1', '"a" INT NOT NULL'),
        ('"a" INT default (1 + (2)) CHECK (a > 0)', '"a" INT CHECK (a > 0)'),
        ('"a DEFAULT 1" INT', '"a DEFAULT 1" INT'),
    ],
)
def test_a_default_is_cut_out_of_a_declaration(declared, without):
    assert without_default(declared) == without


# --- indexes ---------------------------------------------------------------------------------------------------------


def test_the_key_is_no_index_to_drop(things):
    before = whole()
    put(things, "002_drop", "migrator.drop_index('rides', 'ride_id')")
    with pytest.raises(ServiceError, match=r"002_drop .*rides has no index on \(ride_id\)"):
        schema.upgrade(things)
    assert whole() == before


@on_mariadb
def test_an_index_on_the_columns_of_the_key_goes_without_the_key(things):
    run("CREATE INDEX again ON rides (ride_id)")
    put(things, "002_drop", "migrator.drop_index('rides', 'ride_id')")
    schema.upgrade(things)
    assert "again" not in indexes("rides")
    assert "PRIMARY" in indexes("rides")


INDEXED = {
    "a column with two indexes": "migrator.remove_fields('rides', 'wait')",
    "one of two indexes": "migrator.drop_index('rides', 'wait')",
}


@pytest.mark.parametrize("case", INDEXED)
def test_indexes_made_in_another_order_are_no_other_migration(things, case):
    run("CREATE INDEX z_first ON rides (wait)")
    run("CREATE INDEX a_second ON rides (wait)")
    schema.upgrade(put(things, "002_drop", INDEXED[case]))
    left = set(indexes("rides"))
    assert "a_second" not in left
    assert ("z_first" in left) is (case == "one of two indexes")


# --- a rehearsal stays in its copy -----------------------------------------------------------------------------------


OUTSIDE = {
    "a name": ("DELETE FROM blank.rides", "it names the database blank"),
    "in backticks": ("UPDATE `blank` . `rides` SET hits = 9", "it names the database blank"),
    "in a subquery": ("UPDATE rides SET hits = (SELECT COUNT(*) FROM (SELECT 1 FROM Blank.rides) t)", "it names the"),
    "a read": ("SELECT * FROM blank.rides FOR UPDATE", "it names the database blank"),
    "in an executed comment": ("DELETE FROM /*!50000 blank.*/rides", "it names the database blank"),
    "behind a comment": ("/* x */ DROP TABLE blank.rides", "it names the database blank"),
    "another database": ("USE mysql", "it is for the whole server"),
    "the database itself": ("DROP DATABASE blank", "it is for the whole server"),
    "an account": ("CREATE USER guest", "it is for the whole server"),
    "set global": ("SET GLOBAL max_connections = 77", "it is for the whole server"),
    "set among others": ("SET SESSION sort_buffer_size = 99999, GLOBAL max_connections = 77", "it is for the whole"),
    "@@global": ("SET @@global.max_connections = 77", "it is for the whole server"),
    "text": ("EXECUTE IMMEDIATE 'DELETE FROM rides'", "it hides what it executes"),
    "wait": ("ALTER TABLE rides WAIT 100 ADD COLUMN x INT", "how long it waits"),
    "nowait": ("CREATE INDEX i ON rides (hits) NOWAIT", "how long it waits"),
    "patience": ("SET SESSION lock_wait_timeout = 1000", "how long it waits"),
}


@on_mariadb
@pytest.mark.parametrize("case", OUTSIDE)
def test_a_rehearsal_refuses_what_would_reach_the_live_server(things, mariadb, case):
    sql, why = OUTSIDE[case]
    before, served = (whole(), databases()), run("SELECT @@GLOBAL.max_connections")
    put(things, "002_reach", f'migrator.run(lambda: database.execute_sql("{sql}"))')
    for command in (schema.plans, schema.upgrade):
        with pytest.raises(BadRequest, match=f"^Migration 002_reach is refused at `{re.escape(sql[:20])}") as refused:
            command(things)
        assert why in str(refused.value)
    assert ((whole(), databases()), run("SELECT @@GLOBAL.max_connections")) == (before, served)


@on_mariadb
def test_a_change_in_batches_stays_in_the_copy_too(things):
    put(things, "002_fill", "migrator.update_rows('rides', {'hits': '1'}, where='EXISTS (SELECT 1 FROM blank.parks)')")
    with pytest.raises(BadRequest, match="002_fill is refused .* it names the database blank"):
        schema.plans(things)


INSIDE = [
    "UPDATE rides SET name = 'blank.rides'",
    "UPDATE rides SET hits = 1 /* not blank.rides */",
    "UPDATE rides blanket JOIN parks not_blank USING (park_id) SET blanket.hits = not_blank.park_id",
    "ALTER TABLE rides ADD COLUMN nowait_2 INT, ADD COLUMN wait_5 INT COMMENT 'NOWAIT'",
    "CREATE INDEX i ON rides (wait, hits)",
    "SET SESSION group_concat_max_len = 5000",
]


@on_mariadb
@pytest.mark.parametrize("sql", INSIDE)
def test_a_rehearsal_takes_no_offence_at_words(things, sql):
    put(things, "002_words", f'migrator.run(lambda: database.execute_sql("{sql}"))')
    assert schema.upgrade(things) == ["002_words"]


@on_mariadb
def test_a_table_may_be_called_like_the_database(things):
    run("CREATE TABLE blank (id INT PRIMARY KEY, x INT)")
    run("INSERT INTO blank VALUES (1, 1)")
    put(things, "002_words", "migrator.sql('UPDATE `blank` SET `x` = 2 WHERE `blank`.`id` = 1')")
    schema.upgrade(things)
    assert run("SELECT x FROM blank") == [(2,)]


@on_mariadb
def test_somebody_elses_database_is_not_dropped_for_the_rehearsal(things):
    run("CREATE DATABASE blank__rehearsal")
    run("CREATE TABLE blank__rehearsal.precious (x INT)")
    try:
        before = whole()
        put(things, "002_add_note", "migrator.add_index('parks', 'note')")
        for command in (schema.plans, schema.upgrade):
            with pytest.raises(Unavailable, match="blank__rehearsal is in the way.* which holds precious"):
                command(things)
        environ = {"DATABASE_URL": things.database_url, "MIGRATIONS_DIR": str(things.migrations_dir)}
        result = CliRunner().invoke(main, ["migrate"], env=environ)
        assert (result.exit_code, "blank__rehearsal is in the way" in result.stderr) == (3, True)
        assert whole() == before
        assert run("SELECT COUNT(*) FROM blank__rehearsal.precious") == [(0,)]
    finally:
        run("DROP DATABASE blank__rehearsal")


@on_mariadb
@pytest.mark.parametrize("left", [[], ["migration_rehearsal", "parks"]], ids=["at its beginning", "later"])
def test_what_a_rehearsal_left_that_was_cut_short_is_cleared_away(things, left):
    run("CREATE DATABASE blank__rehearsal")
    for table in left:
        run(f"CREATE TABLE blank__rehearsal.{table} (x INT)")
    schema.upgrade(put(things, "002_add_note", "migrator.add_index('parks', 'note')"))
    assert "blank__rehearsal" not in databases()


@on_mariadb
def test_what_marks_the_copy_is_not_taken_for_a_table_of_the_schema(things):
    put(things, "002_add_note", "migrator.add_index('parks', 'note')")
    marks = [mark for _, mark in plan(things, "002_add_note").schema]
    schema.upgrade(things)
    assert marks == [fingerprint(structure(door.db.obj))]


# --- who is kept from writing ----------------------------------------------------------------------------------------


BLOCKING = {
    "ALTER TABLE rides MODIFY hits BIGINT NOT NULL": True,
    "ALTER TABLE rides ADD CONSTRAINT f FOREIGN KEY (owner_id) REFERENCES parks (park_id)": True,
    "ALTER TABLE rides ADD CONSTRAINT c CHECK (owner_id > 0)": True,
    "CREATE FULLTEXT INDEX ff ON rides (name)": True,
    "ALTER TABLE rides ADD COLUMN x INT, LOCK=SHARED": True,
    "ALTER TABLE rides ADD COLUMN g INT AS (hits + 1) STORED -- what a comment": True,
    "ALTER TABLE rides ADD COLUMN x INT": False,
    "ALTER TABLE rides ADD COLUMN x INT;": False,
    "ALTER TABLE rides ADD INDEX i (hits) -- what a comment": False,
    "CREATE INDEX i ON rides (hits)": False,
    "DROP INDEX rides_park_id_2 ON rides": False,
    "ALTER TABLE rides RENAME TO journeys": False,
    "CREATE TABLE other (x INT PRIMARY KEY)": False,
}


@on_mariadb
@pytest.mark.parametrize("sql", BLOCKING)
def test_a_rehearsal_knows_what_keeps_others_from_writing(things, sql):
    run("ALTER TABLE rides ADD INDEX rides_park_id_2 (park_id, hits)")
    run("UPDATE rides SET owner_id = 1")
    put(things, "002_change", f'migrator.sql("{sql}")')
    found = plan(things, "002_change")
    assert [str(statement) for statement in found.blocking] == [sql] * BLOCKING[sql]
    assert [str(statement) for statement, _ in found.schema] == [sql]
    marks = [mark for _, mark in found.schema]
    schema.upgrade(things)
    assert marks == [fingerprint(structure(door.db.obj))]


@on_mariadb
def test_it_is_told_with_the_size_of_the_table(things):
    run("ANALYZE TABLE rides")
    put(things, "002_widen", "migrator.sql('ALTER TABLE rides   MODIFY hits BIGINT NOT NULL')")
    (line,) = blocking_lines(door.db.obj, plan(things, "002_widen"))
    assert line == (
        "ALTER TABLE rides MODIFY hits BIGINT NOT NULL blocks writers of rides while it runs (about 3 rows)"
    )


@on_mariadb
def test_nobody_writes_to_a_table_that_is_not_there_yet(things):
    new = ("CREATE TABLE new (x INT, y TEXT)", "ALTER TABLE new ADD FULLTEXT (y)")
    put(things, "002_new", "\n".join(f"migrator.sql('{sql}')" for sql in new))
    found = plan(things, "002_new")
    assert len(found.blocking) == 1
    assert blocking_lines(door.db.obj, found) == []


# --- the session -----------------------------------------------------------------------------------------------------


SETTINGS = "SELECT @@foreign_key_checks, @@unique_checks, @@autocommit, @@sql_mode"


@on_mariadb
def test_what_one_migration_sets_is_not_there_for_the_next(things):
    fresh_session(door.db.obj)
    before = run(SETTINGS)
    run("SET SESSION foreign_key_checks = 0, unique_checks = 0, autocommit = 0, sql_mode = ''")
    assert run(SETTINGS) == [(0, 0, 0, "")]
    fresh_session(door.db.obj)
    assert run(SETTINGS) == before
    assert before[0][:3] == (1, 1, 1)
    assert "STRICT_TRANS_TABLES" in before[0][3]


@on_mariadb
def test_a_rehearsal_begins_each_migration_with_a_fresh_session_too(things):
    put(things, "002_careless", "migrator.sql('SET foreign_key_checks = 0')\nmigrator.add_index('parks', 'note')")
    orphan = "INSERT INTO rides (ride_id, park_id, name, owner_id, hits) VALUES (9, 99, 'x', 1, 0)"
    put(things, "003_orphan", f'migrator.sql("{orphan}")')
    with pytest.raises(ServiceError, match="003_orphan would fail, and was not begun.*foreign key constraint fails"):
        schema.plans(things)


@pytest.fixture
def ansi(mariadb: PrivateMariaDB) -> Iterator[None]:
    """A server whose sessions quote names and text in its own ways."""
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.sql_mode")
        (before,) = cursor.fetchone()
        cursor.execute("SET GLOBAL sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES,STRICT_TRANS_TABLES'")
        yield
        cursor.execute("SET GLOBAL sql_mode = %s", (before,))


@on_mariadb
def test_migrations_do_not_mind_how_the_server_quotes(ansi, things):
    put(things, "002_escape", "migrator.sql('UPDATE rides SET name = %s WHERE name = \"Dive\"', 'a\\\\b')")
    put(things, "003_add", "migrator.add_index('parks', 'note')")
    put(things, "004_require", "migrator.add_not_null('rides', 'owner_id')")
    assert list(schema.plans(things)) == ["002_escape", "003_add", "004_require"]
    schema.upgrade(things)
    assert run("SELECT name FROM rides WHERE ride_id = 3") == [("a\\b",)]


@on_mariadb
def test_afterwards_the_session_is_as_the_server_makes_them(ansi, things):
    with patience(door.db.obj):
        assert run("SELECT @@sql_mode, @@lock_wait_timeout") == [
            ("REAL_AS_FLOAT,PIPES_AS_CONCAT,IGNORE_SPACE,STRICT_TRANS_TABLES", 1)
        ]
    assert run("SELECT @@sql_mode = @@GLOBAL.sql_mode, @@lock_wait_timeout = @@GLOBAL.lock_wait_timeout") == [(1, 1)]


# --- functions of a migration's own ----------------------------------------------------------------------------------


SHUT = {
    "commit": "database.commit()",
    "rollback": "database.rollback()",
    "begin": "database.begin()",
    "cursor": "database.cursor().execute('DELETE FROM rides')",
    "connection": "database.connection().commit()",
    "close": "database.close()",
    "transaction": "database.top_transaction().commit()",
}
FUNCTION = """
def act():
    database.execute_sql("UPDATE rides SET hits = 99")
    {}

migrator.run(act)
"""


@pytest.mark.parametrize("way", SHUT)
@pytest.mark.parametrize("rehearsed", [True, False], ids=["rehearsed", "not rehearsed"])
def test_a_function_may_not_commit(things, way, rehearsed):
    before = whole()
    put(things, "002_act", FUNCTION.format(SHUT[way]))
    with pytest.raises(ServiceError, match="002_act .*a migration's function may not commit, nor go round the guard"):
        schema.upgrade(things, Options(rehearsed=rehearsed))
    assert whole() == before


WRITES = """
class Park(pw.Model):
    name = pw.CharField()
    park_id = pw.AutoField()

    class Meta:
        table_name = "parks"

database.bind([Park])

def act(park_id, *, name):
    with database.atomic():
        Park.insert({"park_id": park_id, "name": name}).execute()
    try:
        with database.atomic() as inner:
            Park.create(name="kept")
            inner.commit()
            Park.create(name="lost")
            raise ValueError
    except ValueError:
        pass
    with database.transaction():
        assert [park.name for park in Park.select()][-2:] == [name, "kept"] and "parks" in database.get_tables()

migrator.run(act, 7, name="Gamma")
migrator.sql("UPDATE parks SET note = 'y' WHERE park_id > 7")
"""


def test_a_function_may_do_all_else(things):
    put(things, "002_act", WRITES)
    schema.upgrade(things)
    assert run("SELECT park_id, name, note FROM parks WHERE park_id > 2") == [(7, "Gamma", None), (8, "kept", "y")]
    door.db.cursor().close()  # open again


def test_batches_after_a_function_still_commit(things):
    put(things, "002_act", "migrator.run(lambda: None)\nmigrator.update_rows('rides', {'hits': '1'}, where='hits = 0')")
    schema.upgrade(things)
    assert run("SELECT DISTINCT hits FROM rides") == [(1,)]
