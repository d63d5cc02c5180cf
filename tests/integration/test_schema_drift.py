"""What is said of a table that is not as its model, and what a start on such a database does."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import peewee as pw
import pytest
from click.testing import CliRunner, Result
from mariadb import PrivateMariaDB
from wsgi_client import Client

from cli import main
from service import database as door
from service import schema
from service.config import Settings
from service.errors import Unavailable
from service.jobs.marks import raise_state
from service.models import RideStatusSnapshot, StatDay
from service.monitoring.health import health
from service.periods import epoch, pacific_date
from service.queries import state
from service.schema import Drift, compare, differences
from service.web.app import create_app

ROOT = Path(schema.__file__).parents[2]
NOW = datetime(2025, 5, 18, 15, tzinfo=UTC)

ON_MARIADB = pytest.mark.parametrize("blank", ["mariadb"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("blank", ["sqlite"], indirect=True)

# Of our tables on MariaDB; a database of another character set gives its own to those that do not say.
STORAGE = ["ENGINE=InnoDB", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"]


class Parent(pw.Model):
    """What the foreign keys below point at."""

    parent_id = pw.AutoField()

    class Meta:
        database = door.db
        table_name = "parents"


def child(key=("day", "number"), indexes=((("day", "note"), False),), without=(), storage=STORAGE, **changed):
    """A table of all kinds of columns, with some changed or left out."""
    fields = {
        "day": pw.DateField(),
        "number": pw.BigIntegerField(),
        "small": pw.SmallIntegerField(null=True),
        "flag": pw.BooleanField(),
        "share": pw.DecimalField(max_digits=5, decimal_places=3, null=True),
        "degrees": pw.FloatField(null=True),
        "seconds": pw.DoubleField(null=True),
        "note": pw.CharField(max_length=20),
        "text": pw.TextField(null=True),
        "parent": pw.ForeignKeyField(Parent, column_name="parent_id", backref="+", on_delete="CASCADE", null=True),
        **changed,
    }
    for name in without:
        del fields[name]
    meta = {"database": door.db, "table_name": "children", "primary_key": pw.CompositeKey(*key), "indexes": indexes}
    meta["table_settings"] = storage if door.is_mysql() else None
    return type("Child", (pw.Model,), {**fields, "Meta": type("Meta", (), meta)})


def compared(actual: type[pw.Model], wanted: type[pw.Model]) -> Drift:
    create_parents()
    door.db.create_tables([actual])
    return compare([Parent, wanted])


def create_parents() -> None:
    Parent._meta.table_settings = STORAGE if door.is_mysql() else None
    door.db.create_tables([Parent])


def said_of(actual: type[pw.Model], wanted: type[pw.Model]) -> list[str]:
    return compared(actual, wanted).differences


def said_after(*statements: str, wanted: type[pw.Model] | None = None) -> list[str]:
    """The differences once `statements` changed the table of `child()`."""
    create_parents()
    door.db.create_tables([child()])
    for statement in statements:
        door.db.execute_sql(statement)
    return differences([Parent, wanted or child()])


# --- tables and columns ----------------------------------------------------------------------------------------------


def test_a_table_as_its_model_differs_in_nothing(blank):
    assert compared(child(), child()) == ([], [])


def test_a_missing_table_is_named(blank):
    assert compare([Parent]) == (["table parents is missing"], [])


def test_a_view_is_no_table(blank):
    door.db.execute_sql("CREATE VIEW parents AS SELECT 1 AS parent_id")
    assert differences([Parent]) == ["table parents is missing"]


def test_a_table_without_a_model_does_not_matter(blank):
    create_parents()
    assert compare([]) == ([], [])


def test_a_missing_column_is_named_with_what_it_should_be(blank):
    assert said_of(child(without=["share"]), child()) == [
        "column children.share is missing, models say decimal(5,3) NULL"
    ]


def test_a_column_too_many_is_named(blank):
    assert said_of(child(extra=pw.IntegerField()), child()) == [
        "column children.extra is int NOT NULL, models say missing"
    ]


# SQLite has one type for all whole numbers.
@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"degrees": pw.TextField(null=True)}, r"degrees is (long)?text NULL, models say (float|real) NULL"),
        ({"note": pw.CharField(max_length=19)}, r"note is varchar\(19\) NOT NULL, models say varchar\(20\) NOT NULL"),
        (
            {"share": pw.DecimalField(max_digits=4, decimal_places=1, null=True)},
            r"share is decimal\(4,1\) NULL, models say decimal\(5,3\) NULL",
        ),
        ({"flag": pw.BooleanField(null=True)}, r"flag is (\S+) NULL, models say \1 NOT NULL"),
        ({"small": pw.SmallIntegerField()}, r"small is ((small)?int) NOT NULL, models say \1 NULL"),
    ],
    ids=["type", "length", "digits", "null", "not-null"],
)
def test_another_type_or_null_is_named(blank, changed, sentence):
    (said,) = said_of(child(**changed), child())
    assert re.fullmatch(f"column children.{sentence}", said)


def test_the_width_of_whole_numbers_matters_where_there_is_one(blank):
    said = said_of(child(number=pw.IntegerField()), child())
    mysql = ["column children.number is int NOT NULL, models say bigint NOT NULL"]
    assert said == (mysql if door.is_mysql() else [])


def test_the_order_of_the_primary_key_matters(blank):
    assert said_of(child(key=("number", "day")), child()) == [
        "primary key of children is (number, day), models say (day, number)"
    ]


@ON_MARIADB
def test_whole_numbers_without_a_sign_are_named(blank):
    assert said_after("ALTER TABLE children MODIFY small SMALLINT UNSIGNED NULL") == [
        "column children.small is smallint unsigned NULL, models say smallint NULL"
    ]


@ON_MARIADB
def test_a_wider_flag_is_named(blank):
    assert said_after("ALTER TABLE children MODIFY flag TINYINT NOT NULL") == [
        "column children.flag is tinyint NOT NULL, models say tinyint(1) NOT NULL"
    ]


def number(default: str | None) -> pw.IntegerField:
    return pw.IntegerField(constraints=[pw.SQL(f"DEFAULT {default}")] if default else [])


def test_a_default_of_the_database_alone_is_named(blank):
    assert said_of(child(version=number("1")), child(version=number(None))) == [
        "column children.version is int NOT NULL DEFAULT 1, models say int NOT NULL"
    ]


def test_a_default_of_the_model_alone_is_named(blank):
    assert said_of(child(version=number(None)), child(version=number("1"))) == [
        "column children.version is int NOT NULL, models say int NOT NULL DEFAULT 1"
    ]


def test_another_default_is_named(blank):
    assert said_of(child(version=number("2")), child(version=number("1"))) == [
        "column children.version is int NOT NULL DEFAULT 2, models say int NOT NULL DEFAULT 1"
    ]


@pytest.mark.parametrize("column", [
    lambda: pw.CharField(max_length=9, constraints=[pw.SQL("DEFAULT 'Abc'")]),
    lambda: pw.CharField(max_length=9, constraints=[pw.SQL("DEFAULT ''")]),
    lambda: pw.CharField(max_length=9, null=True, constraints=[pw.SQL("DEFAULT NULL")]),
    lambda: pw.DecimalField(max_digits=5, decimal_places=2, constraints=[pw.SQL("DEFAULT 0.5")]),
    lambda: pw.DecimalField(max_digits=5, decimal_places=2, constraints=[pw.SQL("DEFAULT 10")]),
    lambda: pw.BigIntegerField(constraints=[pw.SQL("DEFAULT -10")]),
    lambda: pw.BooleanField(constraints=[pw.SQL("DEFAULT 1")]),
    lambda: pw.DateTimeField(null=True, constraints=[pw.SQL("DEFAULT CURRENT_TIMESTAMP")]),
], ids=["text", "empty", "null", "fraction", "decimal", "negative", "flag", "now"])
def test_a_default_as_declared_differs_in_nothing(blank, column):
    assert said_of(child(extra=column()), child(extra=column())) == []


def test_a_default_that_only_python_knows_is_none_of_the_database(blank):
    assert said_of(child(), child(number=pw.BigIntegerField(default=7))) == []


@ON_MARIADB
def test_a_key_that_lost_its_numbering_is_named_on_mariadb(blank):
    create_parents()
    door.db.execute_sql("ALTER TABLE parents MODIFY parent_id INT NOT NULL")
    assert differences([Parent]) == [
        "column parents.parent_id is int NOT NULL, models say int NOT NULL auto_increment"
    ]


@ON_SQLITE
def test_a_key_that_lost_its_numbering_is_named_on_sqlite(blank):
    door.db.execute_sql("CREATE TABLE parents (parent_id INT NOT NULL PRIMARY KEY)")
    assert differences([Parent]) == ["column parents.parent_id is int NOT NULL, models say int NOT NULL rowid"]


@pytest.mark.parametrize("kind", ["virtual", "stored"])
def test_a_column_that_the_database_computes_is_named(blank, kind):
    create_parents()
    door.db.execute_sql(
        f"CREATE TABLE IF NOT EXISTS sums (number INT NOT NULL PRIMARY KEY, twice INT AS (number * 2) {kind})"
        + (" ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" if door.is_mysql() else "")
    )
    meta = {"database": door.db, "table_name": "sums"}
    fields = {"number": pw.IntegerField(primary_key=True), "twice": pw.IntegerField(null=True)}
    sums = type("Sums", (pw.Model,), {**fields, "Meta": type("Meta", (), meta)})
    assert f"column sums.twice is int NULL {kind} generated, models say int NULL" in differences([sums])


# --- how tables are stored -------------------------------------------------------------------------------------------


@ON_MARIADB
def test_another_engine_is_named(blank):
    said = said_after("ALTER TABLE children DROP FOREIGN KEY children_ibfk_1", "ALTER TABLE children ENGINE=MyISAM")
    assert said == [
        "table children is MyISAM, models say InnoDB (remedy: ALTER TABLE children ENGINE=InnoDB)",
        "foreign key of children.parent_id is none, models say parents.parent_id ON DELETE CASCADE",
    ]


REMEDY = "(remedy: ALTER TABLE children CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)"


@ON_MARIADB
def test_another_character_set_is_named_of_the_table_and_its_text(blank):
    said = said_after("ALTER TABLE children CONVERT TO CHARACTER SET latin1 COLLATE latin1_swedish_ci")
    assert said == [
        f"table children is latin1_swedish_ci, models say utf8mb4_bin {REMEDY}",
        f"column children.note is latin1_swedish_ci, models say utf8mb4_bin {REMEDY}",
        f"column children.text is latin1_swedish_ci, models say utf8mb4_bin {REMEDY}",
    ]
    door.db.execute_sql(said[0].partition("remedy: ")[2].rstrip(")"))
    assert [sentence for sentence in differences([child()]) if "utf8mb4_bin" in sentence] == []


@ON_MARIADB
def test_another_collation_of_one_column_is_named(blank):
    said = said_after("ALTER TABLE children MODIFY note VARCHAR(20) COLLATE utf8mb4_general_ci NOT NULL")
    assert said == [f"column children.note is utf8mb4_general_ci, models say utf8mb4_bin {REMEDY}"]


@ON_MARIADB
def test_a_collation_of_tables_to_come_is_named(blank):
    said = said_after("ALTER TABLE children DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    assert said == [f"table children is utf8mb4_general_ci, models say utf8mb4_bin {REMEDY}"]


def clustered(yes: bool) -> type[pw.Model]:
    meta = {"database": door.db, "table_name": "slots", "without_rowid": yes}
    return type("Slot", (pw.Model,), {"name": pw.CharField(primary_key=True), "Meta": type("Meta", (), meta)})


@ON_SQLITE
@pytest.mark.parametrize("model", [True, False])
def test_a_table_with_rowids_or_without_is_named(blank, model):
    door.db.create_tables([clustered(not model)])
    kinds = {True: "WITHOUT ROWID", False: "a table with rowids"}
    assert differences([clustered(model)]) == [f"table slots is {kinds[not model]}, models say {kinds[model]}"]


@ON_SQLITE
def test_tables_without_rowids_are_known_however_they_are_written(blank):
    door.db.execute_sql("create table slots (name varchar(255) not null primary key) without\n  rowid")
    assert differences([clustered(True)]) == []


# --- keys and indexes ------------------------------------------------------------------------------------------------


def add(index: str, columns: str = "(day, note)") -> str:
    """The statement that adds `index` to children."""
    if door.is_mysql():
        return f"ALTER TABLE children ADD {index} {columns}"
    return f"CREATE {index} ON children {columns}"


def instead(dropped: str, index: str, columns: str = "(day, note)") -> str:
    """The remedy that puts an index in the place of another one."""
    if door.is_mysql():
        return f"ALTER TABLE children DROP INDEX `{dropped}`, ADD {index} {columns}"
    return f"DROP INDEX `{dropped}`; CREATE {index} ON children {columns}"


def drop(index: str) -> str:
    return f"ALTER TABLE children DROP INDEX `{index}`" if door.is_mysql() else f"DROP INDEX `{index}`"


UNIQUE = ((("day", "note"), True),)


def test_a_missing_index_is_a_warning_with_its_remedy(blank):
    drift = compared(child(indexes=()), child())
    remedy = add("INDEX `child_day_note`")
    assert drift == ([], [f"index children (day, note) is missing, models say not unique (remedy: {remedy})"])
    door.db.execute_sql(remedy)
    assert compare([Parent, child()]) == ([], [])


def test_a_missing_unique_index_is_a_difference(blank):
    drift = compared(child(indexes=()), child(indexes=UNIQUE))
    remedy = add("UNIQUE INDEX `child_day_note`")
    assert drift == ([f"index children (day, note) is missing, models say unique (remedy: {remedy})"], [])
    door.db.execute_sql(remedy)
    assert compare([Parent, child(indexes=UNIQUE)]) == ([], [])


def test_another_index_does_not_matter(blank):
    more = ((("day", "note"), False), (("small", "flag"), False))
    assert compared(child(indexes=more), child()) == ([], [])


def test_another_unique_index_is_a_difference(blank):
    drift = compared(child(indexes=((("day", "note"), False), (("small",), True))), child())
    remedy = drop("child_small")
    assert drift == ([f"index children (small) is unique, models say missing (remedy: {remedy})"], [])
    door.db.execute_sql(remedy)
    assert compare([Parent, child()]) == ([], [])


@ON_SQLITE
def test_a_unique_constraint_cannot_be_dropped(blank):
    create_parents()
    sql, _ = door.db.get_sql_context().sql(child()._schema._create_table(safe=False)).query()
    door.db.execute_sql(sql.removesuffix(")") + ", UNIQUE (small))")
    door.db.execute_sql(add("INDEX `child_day_note`"))
    door.db.execute_sql(add("INDEX `child_parent_id`", "(parent_id)"))
    assert compare([child()]) == (["index children (small) is unique, models say missing"], [])


def test_the_order_of_an_index_matters(blank):
    """The one that is there has the name, so it has to go first."""
    drift = compared(child(indexes=((("note", "day"), False),)), named(child(), "child_note_day"))
    remedy = instead("child_note_day", "INDEX `child_note_day`")
    assert drift == ([], [f"index children (day, note) is missing, models say not unique (remedy: {remedy})"])


def named(model: type[pw.Model], name: str) -> type[pw.Model]:
    """`model` with another name for its own index."""
    model._meta.indexes = [model.index(model.day, model.note, name=name)]
    return model


@pytest.mark.parametrize("wanted", [True, False])
def test_uniqueness_matters(blank, wanted):
    words = {True: "unique", False: "not unique"}
    drift = compared(child(indexes=((("day", "note"), not wanted),)), child(indexes=((("day", "note"), wanted),)))
    remedy = instead("child_day_note", f"{'UNIQUE ' if wanted else ''}INDEX `child_day_note`")
    assert drift == (
        [f"index children (day, note) is {words[not wanted]}, models say {words[wanted]} (remedy: {remedy})"], []
    )
    for statement in remedy.split("; "):
        door.db.execute_sql(statement)
    assert compare([Parent, child(indexes=((("day", "note"), wanted),))]) == ([], [])


def test_an_index_twice_is_as_unique_as_either(blank):
    create_parents()
    door.db.create_tables([child()])
    door.db.execute_sql(add("UNIQUE INDEX `second`"))
    assert said_after() == [
        f"index children (day, note) is unique, models say not unique"
        f" (remedy: {instead('second', 'INDEX `child_day_note`')})"
    ]


@ON_SQLITE
@pytest.mark.parametrize(("sql", "columns"), [
    ("(day, note) WHERE flag", "(day, note, WHERE ...)"),
    ("(day, note DESC)", "(day, note DESC)"),
    ("(day, note COLLATE NOCASE)", "(day, note COLLATE NOCASE)"),
    ("(day, lower(note))", "(day, an expression)"),
])
def test_an_index_of_some_rows_or_another_order_is_another_one(blank, sql, columns):
    create_parents()
    door.db.create_tables([child(indexes=())])
    door.db.execute_sql(f"CREATE UNIQUE INDEX own ON children {sql}")
    assert differences([child()]) == [
        f"index children {columns} is unique, models say missing (remedy: DROP INDEX `own`)"
    ]
    assert len(compare([child()]).warnings) == 1


@ON_MARIADB
@pytest.mark.parametrize(("sql", "columns"), [
    ("UNIQUE INDEX own (day, note(3))", "(day, note(3))"), ("UNIQUE INDEX own (day, note DESC)", "(day, note DESC)"),
])
def test_an_index_of_a_part_or_another_order_is_another_one(blank, sql, columns):
    create_parents()
    door.db.create_tables([child(indexes=())])
    door.db.execute_sql(f"ALTER TABLE children ADD {sql}")
    if "DESC" in sql and not door.db.execute_sql("SHOW CREATE TABLE children").fetchone()[1].count(" DESC"):
        pytest.skip("MariaDB before 10.8 ignores the order")
    assert differences([child()]) == [
        f"index children {columns} is unique, models say missing (remedy: ALTER TABLE children DROP INDEX `own`)"
    ]
    assert len(compare([child()]).warnings) == 1


@ON_MARIADB
def test_an_index_of_words_is_another_one(blank):
    create_parents()
    door.db.create_tables([child(indexes=())])
    door.db.execute_sql("ALTER TABLE children ADD FULLTEXT INDEX own (note)")
    assert len(compare([child(indexes=((("note",), False),))]).warnings) == 1


# --- foreign keys ----------------------------------------------------------------------------------------------------


def test_a_missing_foreign_key_is_named(blank):
    loose = child(parent=pw.IntegerField(null=True, column_name="parent_id", index=True))
    assert said_of(loose, child()) == [
        "foreign key of children.parent_id is none, models say parents.parent_id ON DELETE CASCADE"
    ]


def test_what_happens_to_the_children_matters(blank):
    kept = pw.ForeignKeyField(Parent, column_name="parent_id", backref="+", on_delete="SET NULL", null=True)
    assert said_of(child(parent=kept), child()) == [
        "foreign key of children.parent_id is parents.parent_id ON DELETE SET NULL,"
        " models say parents.parent_id ON DELETE CASCADE"
    ]


def test_a_foreign_key_that_follows_changes_is_named(blank):
    following = pw.ForeignKeyField(
        Parent, column_name="parent_id", backref="+", on_delete="CASCADE", on_update="CASCADE", null=True
    )
    assert said_of(child(parent=following), child()) == [
        "foreign key of children.parent_id is parents.parent_id ON DELETE CASCADE ON UPDATE CASCADE,"
        " models say parents.parent_id ON DELETE CASCADE"
    ]


def test_restrict_is_what_happens_without_a_rule(blank):
    strict = pw.ForeignKeyField(Parent, column_name="parent_id", backref="+", on_delete="RESTRICT", null=True)
    plain = pw.ForeignKeyField(Parent, column_name="parent_id", backref="+", null=True)
    assert said_of(child(parent=strict), child(parent=plain)) == []


def test_a_foreign_key_too_many_is_named(blank):
    linked = pw.ForeignKeyField(Parent, column_name="small", backref="+", null=True, index=False)
    loose = pw.IntegerField(column_name="small", null=True)
    index = ((("day", "note"), False), (("small",), False))
    assert said_of(child(small=linked, indexes=index), child(small=loose, indexes=index)) == [
        "foreign key of children.small is parents.parent_id ON DELETE NO ACTION, models say none"
    ]


@ON_MARIADB
def test_two_foreign_keys_on_a_column_are_named_both(blank):
    assert said_after("ALTER TABLE children ADD FOREIGN KEY (parent_id) REFERENCES parents (parent_id)") == [
        "foreign key of children.parent_id is parents.parent_id ON DELETE CASCADE and parents.parent_id ON DELETE"
        " NO ACTION, models say parents.parent_id ON DELETE CASCADE"
    ]


@ON_SQLITE
def test_a_foreign_key_without_columns_points_at_the_key(blank):
    create_parents()
    sql, _ = door.db.get_sql_context().sql(child()._schema._create_table(safe=False)).query()
    door.db.execute_sql(sql.replace('REFERENCES "parents" ("parent_id")', "REFERENCES parents"))
    assert differences([child()]) == []


@pytest.fixture
def reader(mariadb: PrivateMariaDB) -> Iterator[tuple[Settings, Any]]:
    """Settings of an account that may only read, and a cursor of one that may do all, on a migrated database."""
    owned = Settings(database_url=mariadb.url(mariadb.create_database("read")))
    door.open_database(owned, time_limit=False)
    schema.upgrade(owned)
    door.close()
    with mariadb.connect("read") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER reader@'127.0.0.1'")
        cursor.execute("GRANT SELECT ON `read`.* TO reader@'127.0.0.1'")
        settings = Settings(database_url=owned.database_url.replace("root@", "reader@"))
        door.open_database(settings, read_only=True)
        yield settings, cursor
        door.close()
        cursor.execute("DROP USER reader@'127.0.0.1'")


def test_an_account_that_may_only_read_sees_foreign_keys_too(reader):
    settings, cursor = reader
    assert compare() == ([], [])
    assert run(settings, "check").exit_code == 0
    door.open_database(settings, read_only=True)
    cursor.execute("ALTER TABLE rides DROP FOREIGN KEY rides_ibfk_1")
    cursor.execute("ALTER TABLE yearly_ride_stats DROP FOREIGN KEY yearly_ride_stats_ibfk_1")
    cursor.execute(
        "ALTER TABLE yearly_ride_stats ADD FOREIGN KEY (ride_id) REFERENCES rides (ride_id)"
        " ON DELETE CASCADE ON UPDATE CASCADE"
    )
    assert compare() == ([
        "foreign key of rides.park_id is none, models say parks.park_id ON DELETE CASCADE",
        "foreign key of yearly_ride_stats.ride_id is rides.ride_id ON DELETE CASCADE ON UPDATE CASCADE,"
        " models say rides.ride_id ON DELETE CASCADE",
    ], [])


def test_what_an_account_that_may_write_to_one_table_sees_is_whole(reader):
    _, cursor = reader
    cursor.execute("GRANT INSERT ON `read`.rides TO reader@'127.0.0.1'")
    assert compare() == ([], [])


# --- start-up --------------------------------------------------------------------------------------------------------


@pytest.fixture
def migrated(blank: Settings) -> Settings:
    schema.upgrade(blank)
    return blank


@pytest.fixture
def slow(migrated: Settings) -> Settings:
    """Without an index."""
    door.db.execute_sql("DROP INDEX park_activity_snapshots_snapshot_time" + on("park_activity_snapshots"))
    return migrated


@pytest.fixture
def broken(migrated: Settings) -> Settings:
    """With two differences, and without an index."""
    door.db.execute_sql("ALTER TABLE parks DROP COLUMN operator")
    door.db.execute_sql("DROP TABLE job_leases")
    door.db.execute_sql("DROP INDEX park_activity_snapshots_snapshot_time" + on("park_activity_snapshots"))
    return migrated


def on(table: str) -> str:
    return f" ON {table}" if door.is_mysql() else ""


NO_COLUMN = "column parks.operator is missing, models say varchar(100) NULL"
NO_TABLE = "table job_leases is missing"
NO_INDEX = "index park_activity_snapshots (snapshot_time) is missing, models say not unique"


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"DATABASE_URL": settings.database_url})


def test_a_migrated_database_can_be_used(database, settings):
    schema.ensure_current(settings)
    assert schema.ensure_equal() == []


def test_all_differences_are_named_at_once(broken):
    with pytest.raises(Unavailable, match=f"{re.escape(NO_COLUMN)}; {NO_TABLE}"):
        schema.ensure_equal()


def test_the_schema_is_read_once_for_both(slow):
    asked: list[str] = []
    door.db.obj.query_hooks.append(lambda event: asked.append(event.sql))
    assert [warning.partition(" (remedy")[0] for warning in schema.ensure_equal()] == [NO_INDEX]
    assert len(asked) == (5 if door.is_mysql() else 4)


def test_a_missing_index_stops_nothing(slow, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING, "service.health"):
        response = Client(create_app(slow)).get("/api/parks/waittimes")
    assert response.status == 200
    assert [record.levelname for record in caplog.records if NO_INDEX in record.message] == ["WARNING"]
    monkeypatch.setattr(os, "execv", lambda *_: None)
    served = run(slow, "serve")
    assert served.exit_code == 0
    assert f"Warning: {NO_INDEX} (remedy: " in served.stderr


def test_health_warns_of_a_missing_index(slow):
    reading = RideStatusSnapshot
    reading.insert({reading.snapshot_time: NOW, reading.ride_id: 1}).execute()
    raise_state(state.NEWEST_SLOT, epoch(NOW))
    StatDay.insert({
        StatDay.stat_date: pacific_date(NOW) - timedelta(days=1), StatDay.metrics_version: 1,
        StatDay.sample_count: 1, StatDay.computed_at: NOW,
    }).execute()
    status, document = health(slow, NOW)
    found = document["checks"]["schema"]
    assert (status, document["status"], found["status"]) == (200, "healthy", "warning")
    assert found["message"].startswith(NO_INDEX)
    assert document["checks"]["data_collection"]["status"] == "healthy"


def test_check_lists_a_missing_index_and_is_content(slow):
    result = run(slow, "check")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[lines.index("warnings:") + 1].startswith(f"  {NO_INDEX}")
    assert lines[-1] == "Nothing would stop the service."


def test_web_refuses_a_database_that_differs_and_names_each_difference(broken, caplog):
    response = Client(create_app(broken)).get("/api/parks/waittimes")
    assert response.status == 503
    assert response.json["error"] == (
        "Differences between the schema and this release's: 2. The log and `cli check` name each."
    )
    named = [record.message for record in caplog.records if record.name == "service.health"]
    assert named == [NO_COLUMN, NO_TABLE]
    status, document = health(broken, NOW)
    assert (status, document["checks"]["schema"]["status"]) == (503, "unhealthy")


def test_gunicorn_refuses_to_start_and_names_each_difference(broken):
    started = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0"],
        cwd=ROOT, env=os.environ | {"DATABASE_URL": broken.database_url}, capture_output=True, text=True, timeout=60,
    )
    assert started.returncode == 3
    assert NO_COLUMN in started.stderr and NO_TABLE in started.stderr
    assert "Traceback" not in started.stderr


def test_server_is_not_started_on_a_database_that_differs(broken, monkeypatch):
    started: list[object] = []
    monkeypatch.setattr(os, "execv", lambda *arguments: started.append(arguments))
    result = run(broken, "serve")
    assert (result.exit_code, started) == (3, [])
    assert f"{NO_COLUMN}; {NO_TABLE}." in result.stderr


def test_check_names_differences_and_warnings(broken):
    result = run(broken, "check")
    assert result.exit_code == 3
    assert {f"  {NO_COLUMN}", f"  {NO_TABLE}"} <= set(result.stdout.splitlines())
    assert NO_INDEX in result.stdout
