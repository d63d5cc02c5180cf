"""What the check at start-up says of a table that is not as its model."""

import re

import peewee as pw
import pytest

from service import database as door
from service import schema
from service.errors import Unavailable
from service.schema import differences


class Parent(pw.Model):
    """What the foreign keys below point at."""

    parent_id = pw.AutoField()

    class Meta:
        database = door.db
        table_name = "parents"


def child(key=("day", "number"), indexes=((("day", "note"), False),), without=(), **changed) -> type[pw.Model]:
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
    settings = {"database": door.db, "table_name": "children", "primary_key": pw.CompositeKey(*key), "indexes": indexes}
    return type("Child", (pw.Model,), {**fields, "Meta": type("Meta", (), settings)})


def said_of(actual: type[pw.Model], wanted: type[pw.Model]) -> list[str]:
    door.db.create_tables([Parent, actual])
    return differences([Parent, wanted])


def test_a_table_as_its_model_differs_in_nothing(blank):
    assert said_of(child(), child()) == []


def test_a_missing_table_is_named(blank):
    assert differences([Parent]) == ["table parents is missing"]


def test_a_table_without_a_model_does_not_matter(blank):
    door.db.create_tables([Parent])
    assert differences([]) == []


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


def test_the_order_of_an_index_matters(blank):
    assert said_of(child(indexes=((("note", "day"), False),)), child()) == [
        "index children (day, note) is missing, models say not unique",
        "index children (note, day) is not unique, models say missing",
    ]


def test_uniqueness_matters(blank):
    assert said_of(child(), child(indexes=((("day", "note"), True),))) == [
        "index children (day, note) is not unique, models say unique"
    ]


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


def test_all_differences_are_named_at_once(blank):
    schema.upgrade(blank)
    door.db.execute_sql("ALTER TABLE parks ADD COLUMN colour INTEGER")
    door.db.execute_sql("DROP TABLE job_leases")
    with pytest.raises(Unavailable, match="parks.colour is int NULL, models say missing; table job_leases is missing"):
        schema.ensure_equal()


def test_a_migrated_database_can_be_used(database, settings):
    schema.ensure_current(settings)
    schema.ensure_equal()
