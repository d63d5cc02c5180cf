"""New migration files: what is written, what is refused, and that a draft leads from the migrations to the models."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import peewee as pw
import pytest
import service

from service import database as door
from service import schema
from service.config import Settings
from service.errors import BadRequest
from service.models import ALL_MODELS
from service.schema import drafting, files
from service.schema.shape import live
from service.schema.statements import OWN_TABLES

MYSQL_SETTINGS = ["ENGINE=InnoDB", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"]

FIRST = '''"""Create two tables; 100 M rows: new."""

import peewee as pw


def migrate(migrator, database, *, fake=False):
    mysql = isinstance(database, pw.MySQLDatabase)
    text = ["ENGINE=InnoDB", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"] if mysql else None

    @migrator.create_model
    class Resort(pw.Model):
        name = pw.CharField(max_length=50)
        motto = pw.CharField(max_length=50, null=True, index=True)
        code = pw.IntegerField()

        class Meta:
            table_name = "resorts"
            table_settings = text

    @migrator.create_model
    class Ticket(pw.Model):
        ticket_id = pw.AutoField()
        resort = pw.ForeignKeyField(Resort, column_name="resort_id", backref="+", on_delete="CASCADE", index=False)
        sold_at = pw.BigIntegerField(unique=True)
        price = pw.DecimalField(max_digits=6, decimal_places=2)

        class Meta:
            table_name = "tickets"
            table_settings = text
            indexes = ((("resort", "sold_at"), True),)


def rollback(migrator, database, *, fake=False):
    migrator.remove_model("tickets")
    migrator.remove_model("resorts")
'''


class Epoch(pw.BigIntegerField):
    """A column of our own, as the models have."""


def resort(**changes):
    """The model of the table that the first migration gives, with `changes`; None takes a field away."""
    fields = {
        "name": pw.CharField(max_length=50),
        "motto": pw.CharField(max_length=50, null=True, index=True),
        "code": pw.IntegerField(),
        **changes,
    }
    return model("Resort", "resorts", **fields)


def ticket(parent, **changes):
    fields = {
        "ticket_id": pw.AutoField(),
        "resort": pw.ForeignKeyField(parent, column_name="resort_id", backref="+", on_delete="CASCADE", index=False),
        "sold_at": Epoch(unique=True),
        "price": pw.DecimalField(max_digits=6, decimal_places=2),
        **changes,
    }
    indexes = ((("resort", "sold_at"), True),) if fields["resort"] else ()
    return model("Ticket", "tickets", indexes=indexes, **fields)


def model(name, table, /, *, key=None, indexes=(), **fields):
    mysql = isinstance(door.db.obj, pw.MySQLDatabase)
    options = {"table_name": table, "indexes": indexes, "table_settings": MYSQL_SETTINGS if mysql else None}
    options |= {"primary_key": key} if key else {}
    given = {field: column for field, column in fields.items() if column}
    return type(name, (pw.Model,), {**given, "Meta": type("Meta", (), options)})


@pytest.fixture
def settings(tmp_path):
    """Settings of a folder with the one migration above."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "001_create_resorts.py").write_text(FIRST)
    return Settings(migrations_dir=folder)


def draft(settings, *models, name="follow_models"):
    """The text of the file drafted for `models`, which is sound but for its docstring and its doubts."""
    path = drafting.create(settings, name, auto=True, models=models)
    text = path.read_text()
    found = [f"{path.name} still has the docstring of a new file: say what it does, why, and how long it takes."]
    if "# CHECK:" in text:
        found.append(f"{path.name} still has `# CHECK:` lines of its draft: decide them, and take them out.")
    assert files.findings(settings.migrations_dir)[: len(found)] == found
    decided = re.sub(r"^ *# CHECK:.*\n", "", text, flags=re.M)
    path.write_text(decided.replace(files.PLACEHOLDER, "Follow the models; 100 M rows: minutes"))
    if "NOT NULL without a DEFAULT" not in " ".join(files.findings(settings.migrations_dir)):
        assert files.findings(settings.migrations_dir) == []
    return text


def lines(text, step="migrate"):
    """The statements of a body, without those that only ask for a look."""
    body = text.split(f"def {step}(")[1].split("\ndef ")[0]
    shown = [line.strip() for line in body.splitlines()[1:]]
    return [line for line in shown if line and not line.startswith("#")]


def checks(text, step="migrate"):
    body = text.split(f"def {step}(")[1].split("\ndef ")[0]
    return [line.strip().removeprefix("# CHECK: ") for line in body.splitlines() if "# CHECK: " in line]


def picture():
    """Every table as the database has it, but for the names of indexes."""
    return {
        name: table._replace(indexes={columns: index.unique for columns, index in table.indexes.items()})
        for name, table in live(door.db.get_tables()).items()
        if name not in (*OWN_TABLES, "sqlite_sequence")
    }


@pytest.fixture
def ensure_drafts_lead_there(blank, settings, tmp_path):
    """Draft what is left to do, run all drafts on a real database, under the guard, and undo them.

    The database must come to what the models create, and back. Returns the statements of the further drafts.
    """
    here = replace(blank, migrations_dir=settings.migrations_dir)
    first = tmp_path / "first"

    def ensure(*models):
        shutil.copytree(here.migrations_dir, first, ignore=shutil.ignore_patterns("002_*"))
        schema.upgrade(replace(blank, migrations_dir=first))
        before = picture()
        further = further_drafts(settings, models)
        schema.upgrade(here)
        assert schema.differences(models) == []
        after = picture()
        schema.downgrade(here, "001")
        assert picture() == before
        schema.downgrade(here, "000")
        for one in models:
            one._meta.without_rowid &= not door.is_mysql()
        with door.db.obj.bind_ctx(models):
            door.db.obj.create_tables(models)
        assert after == picture()
        return further

    return ensure


def further_drafts(settings, models):
    """Draft until models and migrations agree. Returns the statements of each."""
    found = []
    for number in range(3, 20):
        try:
            found.append(lines(draft(settings, *models, name=f"follow_{number}")))
        except BadRequest:
            break
    return found


# --- new files -------------------------------------------------------------------------------------------------------


def test_a_new_file_has_the_next_number_and_says_what_is_to_be_done(settings):
    path = drafting.create(settings, "add_height")
    assert path == settings.migrations_dir / "002_add_height.py"
    assert files.findings(settings.migrations_dir) == [
        "002_add_height.py still has the docstring of a new file: say what it does, why, and how long it takes.",
        "002_add_height.py: migrate queues nothing.",
        "002_add_height.py: rollback queues nothing, and no docstring says why.",
    ]
    assert drafting.create(settings, "add_width").name == "003_add_width.py"


def test_the_first_file_is_number_one(tmp_path):
    assert drafting.create(Settings(migrations_dir=tmp_path), "create_tables").name == "001_create_tables.py"


@pytest.mark.parametrize(("name", "better"), [
    ("AddHeight", "add_height"),
    ("add-ride height", "add_ride_height"),
    ("009_add_height", "add_height"),
    ("_add", "add"),
    ("../add", "add"),
    ("Ünlü", "nl"),
    ("", "add_ride_height"),
    ("123", "add_ride_height"),
])
def test_a_name_that_is_not_words_is_refused_with_a_better_one(settings, name, better):
    with pytest.raises(BadRequest, match=f"is not lower_case words .*: for example, {better}[.]$"):
        drafting.create(settings, name)


def test_a_name_in_use_is_refused(settings):
    with pytest.raises(BadRequest, match="a migration of this name, 001_create_resorts"):
        drafting.create(settings, "create_resorts")


@pytest.mark.parametrize("name", ["001_create_parks.py", "003_add_height.py", "add_height.py"])
def test_nothing_is_numbered_behind_files_that_are_not_in_line(settings, name):
    (settings.migrations_dir / name).write_text(FIRST)
    with pytest.raises(BadRequest, match="cannot be run"):
        drafting.create(settings, "add_width")


def test_an_existing_file_is_kept(settings, monkeypatch):
    drafting.create(settings, "add_height").write_text("mine")
    monkeypatch.setattr(drafting, "migration_names", lambda _: ["001_create_resorts"])  # as a moment ago
    with pytest.raises(BadRequest, match="002_add_height.py exists already"):
        drafting.create(settings, "add_height")
    assert (settings.migrations_dir / "002_add_height.py").read_text() == "mine"


def test_a_folder_that_takes_no_file_is_named(settings):
    with pytest.raises(BadRequest, match="/002_a+.py cannot be written: File name too long"):
        drafting.create(settings, "a" * 300)


def test_nothing_is_written_into_an_installed_package(tmp_path, monkeypatch):
    (tmp_path / "migrations").mkdir()
    monkeypatch.setattr(service, "__file__", str(tmp_path / "service" / "__init__.py"))
    with pytest.raises(BadRequest, match="belongs to an installed package: write migrations in a checkout"):
        drafting.create(Settings(), "add_height")
    (tmp_path / "pyproject.toml").write_text("")
    assert drafting.create(Settings(), "add_height").parent == tmp_path / "migrations"


# --- drafts ----------------------------------------------------------------------------------------------------------


def test_models_and_migrations_of_the_project_agree(tmp_path):
    folder = tmp_path / "migrations"
    shutil.copytree(files.find_folder(Settings()), folder)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(BadRequest, match="The models and the migrations agree: there is nothing to draft."):
        drafting.create(Settings(migrations_dir=folder), "follow_models", auto=True)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_what_the_project_migrates_from_its_eighth_file_on_could_have_been_drafted(tmp_path):
    folder = tmp_path / "migrations"
    shutil.copytree(files.find_folder(Settings()), folder, ignore=lambda _, names: [it for it in names if it >= "008"])
    text = draft(Settings(migrations_dir=folder), *ALL_MODELS)
    table_settings = '["ENGINE=InnoDB", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"] if mysql else None'
    tables = re.findall(r'table_name = "(\w+)"', text)
    assert {"data_quality_issues", "job_leases", "performance_baselines"} <= set(tables)
    assert text.count(f"table_settings = {table_settings}") == len(tables)
    assert 'primary_key = pw.CompositeKey("query_name", "captured_at")' in text
    assert "data_source = pw.SmallIntegerField()" in text
    assert 'migrator.add_fields("rides", last_listed_at=pw.BigIntegerField(null=True))' in lines(text)
    with pytest.raises(BadRequest, match="agree"):
        drafting.create(Settings(migrations_dir=folder), "follow_again", auto=True)


def test_names_of_fields_and_classes_of_our_own_make_no_difference(settings):
    parent = resort(motto=None, slogan=pw.CharField(max_length=50, null=True, index=True, column_name="motto"))
    with pytest.raises(BadRequest, match="agree"):
        drafting.create(settings, "follow_models", auto=True, models=[parent, ticket(parent)])


def test_an_added_column(settings, ensure_drafts_lead_there):
    parent = resort(height=Epoch(null=True), code=pw.IntegerField())
    text = draft(settings, parent, ticket(parent))
    assert lines(text) == ['migrator.add_fields("resorts", height=pw.BigIntegerField(null=True))']
    assert lines(text, "rollback") == ['migrator.remove_fields("resorts", "height")']
    assert checks(text) == []
    assert "This is a draft" in text
    assert ensure_drafts_lead_there(parent, ticket(parent)) == []


def test_an_added_column_with_an_index_gets_it_once(settings, ensure_drafts_lead_there):
    parent = resort(height=pw.IntegerField(null=True, index=True), width=pw.IntegerField(null=True, unique=True))
    text = draft(settings, parent, ticket(parent))
    assert lines(text) == [
        'migrator.add_fields("resorts", height=pw.IntegerField(index=True, null=True))',
        'migrator.add_fields("resorts", width=pw.IntegerField(unique=True, null=True))',
    ]
    assert ensure_drafts_lead_there(parent, ticket(parent)) == []


def test_added_columns_and_an_index_on_them_are_undone_with_the_index_first(settings, ensure_drafts_lead_there):
    parent = resort(height=pw.IntegerField(null=True), width=pw.IntegerField(index=True, null=True))
    parent._meta.indexes = ((("height", "code"), False), (("name", "code"), False))
    child = ticket(parent, gate=pw.IntegerField(null=True))
    text = draft(settings, parent, child)
    assert lines(text, "rollback") == [
        'migrator.drop_index("resorts", "name", "code")',
        'migrator.remove_fields("tickets", "gate")',
        'migrator.remove_fields("resorts", "width")',
        'migrator.remove_fields("resorts", "height")',  # which takes its index along
    ]
    assert ensure_drafts_lead_there(parent, child) == []


def test_rows_that_exist_take_the_default_of_the_column(settings, ensure_drafts_lead_there):
    parent = resort(stars=pw.SmallIntegerField(default=3, constraints=[pw.SQL("DEFAULT 3")]))
    text = draft(settings, parent, ticket(parent))
    assert lines(text) == [
        "migrator.add_fields(",
        '"resorts", allow_not_null=True, stars=pw.SmallIntegerField(constraints=[pw.SQL("DEFAULT 3")])',
        ")",
    ]
    assert checks(text) == []
    assert ensure_drafts_lead_there(parent, ticket(parent)) == []


def test_rows_that_exist_need_a_default(settings):
    parent = resort(stars=pw.SmallIntegerField(default=3))
    text = draft(settings, parent, ticket(parent))
    assert lines(text) == ['migrator.add_fields("resorts", allow_not_null=True, stars=pw.SmallIntegerField())']
    assert checks(text) == ["stars may not be NULL and has no DEFAULT for the rows that exist: give it one, or"]
    assert "    # add it with NULL, fill it by update_rows in a second file, and add_not_null in a third.\n" in text


def test_a_default_and_a_check_of_the_database_are_kept(settings, ensure_drafts_lead_there):
    parent = resort(stars=pw.IntegerField(null=True, constraints=[pw.SQL("DEFAULT 3"), pw.Check("stars < 6")]))
    text = draft(settings, parent, ticket(parent))
    assert 'pw.IntegerField(constraints=[pw.SQL("DEFAULT 3"), pw.SQL("CHECK (stars < 6)")], null=True)' in text
    assert ensure_drafts_lead_there(parent, ticket(parent)) == []


def test_an_added_foreign_key_can_be_undone(settings, ensure_drafts_lead_there):
    parent = resort()
    child = ticket(parent, sold_by=pw.ForeignKeyField(parent, column_name="sold_by", backref="+", null=True))
    text = draft(settings, parent, child)
    assert 'migrator.orm["resorts"], column_name="sold_by", backref="+", null=True' in " ".join(lines(text))
    assert lines(text, "rollback") == ['migrator.remove_fields("tickets", "sold_by")']
    assert ensure_drafts_lead_there(parent, child) == []


def test_a_removed_column_goes_with_its_index(settings, ensure_drafts_lead_there):
    parent = resort(motto=None)
    text = draft(settings, parent, ticket(parent))
    assert lines(text) == ['migrator.remove_fields("resorts", "motto")']
    assert checks(text) == ["the values of motto are lost. The release that still runs may not need them."]
    assert lines(text, "rollback") == [
        'migrator.add_fields("resorts", motto=pw.CharField(max_length=50, index=True, null=True))'
    ]
    assert ensure_drafts_lead_there(parent, ticket(parent)) == []


def test_a_removed_foreign_key_goes_with_all_indexes_it_is_in(settings, ensure_drafts_lead_there):
    parent = resort()
    child = ticket(parent, resort=None)
    text = draft(settings, parent, child)
    assert lines(text) == ['migrator.remove_fields("tickets", "resort")']
    assert lines(text, "rollback")[-1] == 'migrator.add_index("tickets", "resort", "sold_at", unique=True)'
    assert ensure_drafts_lead_there(parent, child) == []


def test_a_removed_and_an_added_column_may_be_a_new_name(settings, ensure_drafts_lead_there):
    parent = resort(motto=None, slogan=pw.CharField(max_length=50, null=True))
    text = draft(settings, parent, ticket(parent))
    assert checks(text) == [
        "more is left, for files of its own: when this one is right, --auto drafts the next.",
        "if it is only a new name of motto: migrator.rename_field, in a file of its own, keeps what is there.",
    ]
    assert lines(text) == ['migrator.add_fields("resorts", slogan=pw.CharField(max_length=50, null=True))']
    assert ensure_drafts_lead_there(parent, ticket(parent)) == [['migrator.remove_fields("resorts", "motto")']]


def test_each_changed_type_has_a_file_of_its_own(settings, ensure_drafts_lead_there):
    parent = resort(code=pw.BigIntegerField(), name=pw.CharField(max_length=80))
    text = draft(settings, parent, ticket(parent))
    assert lines(text) == ['migrator.change_fields("resorts", name=pw.CharField(max_length=80))']
    assert lines(text, "rollback") == ['migrator.change_fields("resorts", name=pw.CharField(max_length=50))']
    assert checks(text) == [
        "more is left, for files of its own: when this one is right, --auto drafts the next.",
        "every row is written anew, and a value that does not fit makes it fail.",
    ]
    assert ensure_drafts_lead_there(parent, ticket(parent)) == [
        ['migrator.change_fields("resorts", code=pw.BigIntegerField())']
    ]


def test_a_changed_type_leaves_the_index_alone(settings, ensure_drafts_lead_there):
    parent = resort(motto=pw.CharField(max_length=80, null=True, index=True))
    child = ticket(parent, sold_at=pw.IntegerField(unique=True))
    text = draft(settings, parent, child)
    assert lines(text) == [
        'migrator.change_fields("resorts", motto=pw.CharField(max_length=80, index=True, null=True))'
    ]
    assert ensure_drafts_lead_there(parent, child) == [
        ['migrator.change_fields("tickets", sold_at=pw.IntegerField(unique=True))']
    ]


def test_a_changed_decimal_names_nothing_that_the_file_does_not_know(settings, ensure_drafts_lead_there):
    parent = resort()
    child = ticket(parent, price=pw.DecimalField(max_digits=8, decimal_places=2))
    assert lines(draft(settings, parent, child)) == [
        'migrator.change_fields("tickets", price=pw.DecimalField(max_digits=8, decimal_places=2))'
    ]
    assert ensure_drafts_lead_there(parent, child) == []


def test_a_changed_default(settings, ensure_drafts_lead_there):
    parent = resort(code=pw.IntegerField(constraints=[pw.SQL("DEFAULT 7")]))
    text = draft(settings, parent, ticket(parent))
    assert lines(text) == [
        'migrator.change_fields("resorts", code=pw.IntegerField(constraints=[pw.SQL("DEFAULT 7")]))'
    ]
    assert ensure_drafts_lead_there(parent, ticket(parent)) == []


def test_a_column_that_may_be_null_and_one_that_may_not_any_more(settings, ensure_drafts_lead_there):
    parent = resort(code=pw.IntegerField(null=True), motto=pw.CharField(max_length=50, index=True))
    text = draft(settings, parent, ticket(parent))
    assert lines(text) == ['migrator.add_not_null("resorts", "motto")']
    assert checks(text)[1:] == ["rows whose motto is NULL make it fail: update_rows first."]
    assert ensure_drafts_lead_there(parent, ticket(parent)) == [['migrator.drop_not_null("resorts", "code")']]


def test_a_column_that_may_be_null_keeps_its_default(settings, ensure_drafts_lead_there):
    first = settings.migrations_dir / "001_create_resorts.py"
    default = 'constraints=[pw.SQL("DEFAULT 7")]'
    first.write_text(FIRST.replace("code = pw.IntegerField()", f"code = pw.IntegerField({default})"))
    parent = resort(code=pw.IntegerField(null=True, constraints=[pw.SQL("DEFAULT 7")]))
    text = draft(settings, parent, ticket(parent))
    assert lines(text) == ['migrator.drop_not_null("resorts", "code")']
    assert ensure_drafts_lead_there(parent, ticket(parent)) == []


def test_a_foreign_key_that_may_be_null(settings, ensure_drafts_lead_there):
    parent = resort()
    key = pw.ForeignKeyField(
        parent, column_name="resort_id", backref="+", on_delete="CASCADE", index=False, null=True
    )
    assert lines(draft(settings, parent, ticket(parent, resort=key))) == [
        'migrator.drop_not_null("tickets", "resort")'
    ]
    assert ensure_drafts_lead_there(parent, ticket(parent, resort=key)) == []


def test_added_changed_and_removed_indexes(settings, ensure_drafts_lead_there):
    parent = resort(motto=pw.CharField(max_length=50, null=True, unique=True), code=pw.IntegerField(index=True))
    child = ticket(parent)
    child._meta.indexes = ((("resort", "price"), False),)
    text = draft(settings, parent, child)
    assert lines(text) == [
        'migrator.add_index("resorts", "code")',
        'migrator.drop_index("resorts", "motto")',
        'migrator.add_index("resorts", "motto", unique=True)',
        'migrator.add_index("tickets", "resort", "price")',  # before: the foreign key needs one of the two
        'migrator.drop_index("tickets", "resort", "sold_at")',
    ]
    assert lines(text, "rollback") == [
        'migrator.add_index("tickets", "resort", "sold_at", unique=True)',
        'migrator.drop_index("tickets", "resort", "price")',
        'migrator.drop_index("resorts", "motto")',
        'migrator.add_index("resorts", "motto")',
        'migrator.drop_index("resorts", "code")',
    ]
    assert checks(text) == ["rows that are equal in these columns make it fail: look for them first."]
    assert ensure_drafts_lead_there(parent, child) == []


def test_a_new_table(settings, ensure_drafts_lead_there):
    parent = resort()
    gate = model(
        "Gate", "gates", key=pw.CompositeKey("resort", "number"), indexes=((("number", "opened_at"), False),),
        resort=pw.ForeignKeyField(parent, column_name="resort_id", backref="+", on_delete="CASCADE", index=False),
        number=pw.IntegerField(), opened_at=Epoch(index=True),
    )
    text = draft(settings, parent, ticket(parent), gate)
    assert lines(text) == [
        "mysql = isinstance(database, pw.MySQLDatabase)",
        "@migrator.create_model",
        "class Gate(pw.Model):",
        "resort = pw.ForeignKeyField(",
        'migrator.orm["resorts"], column_name="resort_id", backref="+", on_delete="CASCADE", index=False',
        ")",
        "number = pw.IntegerField()",
        "opened_at = pw.BigIntegerField(index=True)",
        "class Meta:",
        'table_name = "gates"',
        'table_settings = ["ENGINE=InnoDB", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"] if mysql else None',
        'primary_key = pw.CompositeKey("resort", "number")',
        'indexes = ((("number", "opened_at"), False),)',
    ]
    assert lines(text, "rollback") == ['migrator.remove_model("gates")']
    assert ensure_drafts_lead_there(parent, ticket(parent), gate) == []


def test_a_removed_table_comes_back_by_the_rollback(settings, ensure_drafts_lead_there):
    text = draft(settings, resort())
    assert lines(text) == ['migrator.remove_model("tickets")']
    assert checks(text) == ["the rows of tickets are lost. The release that still runs may not need them."]
    assert lines(text, "rollback")[1:3] == ["@migrator.create_model", "class Ticket(pw.Model):"]
    assert ensure_drafts_lead_there(resort()) == []


def test_a_removed_and_a_new_table_may_be_a_new_name(settings):
    parent = resort()
    sale = model("Sale", "sales", **{name: field.clone() for name, field in ticket(parent)._meta.fields.items()})
    assert checks(draft(settings, parent, sale))[1] == (
        "if it is only a new name of tickets: migrator.rename_table, in a file of its own, keeps what is there."
    )


def test_many_changes_at_once_begin_with_what_can_be_taken_back(settings, ensure_drafts_lead_there):
    parent = resort(motto=None, height=pw.IntegerField(null=True, index=True), name=pw.CharField(max_length=70))
    child = ticket(parent, price=None, gate=pw.ForeignKeyField(parent, column_name="gate_id", backref="+", null=True))
    guide = model("Guide", "guides", boss=pw.ForeignKeyField("self", column_name="boss_id", backref="+", null=True))
    text = draft(settings, parent, child, guide)
    assert 'boss = pw.ForeignKeyField("self", column_name="boss_id", backref="+", null=True)' in lines(text)
    assert "remove_fields" not in "".join(lines(text)) and "change_fields" not in "".join(lines(text))
    assert ensure_drafts_lead_there(parent, child, guide) == [
        ['migrator.change_fields("resorts", name=pw.CharField(max_length=70))'],
        ['migrator.remove_fields("resorts", "motto")'],
        ['migrator.remove_fields("tickets", "price")'],
    ]


@pytest.mark.parametrize(("change", "sentence"), [
    ({"resort": pw.IntegerField(column_name="resort_id")}, "tickets.resort_id, which is a key, has changed."),
    ({"ticket_id": pw.BigAutoField()}, "tickets.ticket_id, which is a key, has changed."),
    ({"ticket_id": None}, "the primary key of tickets, from (ticket_id) to (id): see 003."),
])
def test_keys_are_left_to_hands(settings, change, sentence):
    parent = resort()
    path = drafting.create(settings, "follow", auto=True, models=[parent, ticket(parent, **change)])
    assert checks(path.read_text()) == [f"not drafted: {sentence}"]
    assert files.findings(settings.migrations_dir)[2:] == [
        "002_follow.py: migrate queues nothing.",
        "002_follow.py: rollback queues nothing, and no docstring says why.",
    ]


def test_what_is_left_to_hands_does_not_stop_the_rest(settings):
    parent = resort(height=pw.IntegerField(null=True))
    text = draft(settings, parent, ticket(parent, ticket_id=pw.BigAutoField()))
    assert checks(text) == ["not drafted: tickets.ticket_id, which is a key, has changed."]
    assert lines(text) == ['migrator.add_fields("resorts", height=pw.IntegerField(null=True))']


def test_a_type_that_peewee_does_not_have_is_not_guessed(settings):
    class Point(pw.TextField):
        field_type = "POINT"

    with pytest.raises(BadRequest, match="Resort.place is POINT, but a TextField of peewee is TEXT"):
        drafting.create(settings, "follow", auto=True, models=[resort(place=Point(null=True))])
    assert len(list(Path(settings.migrations_dir).glob("*.py"))) == 1


def test_a_draft_needs_no_database(tmp_path):
    settings = Settings(migrations_dir=tmp_path, database_url="mysql://nobody@127.0.0.1:1/nowhere")
    assert drafting.create(settings, "create_all", auto=True).name == "001_create_all.py"


def test_a_table_without_rowids_stays_so(settings, ensure_drafts_lead_there):
    first = settings.migrations_dir / "001_create_resorts.py"
    clustered = FIRST.replace('"tickets"\n', '"tickets"\n            without_rowid = not mysql\n')
    first.write_text(clustered.replace("ticket_id = pw.AutoField()", "ticket_id = pw.IntegerField(primary_key=True)"))
    key, price = pw.IntegerField(primary_key=True), pw.DecimalField(max_digits=8, decimal_places=2)
    parent = resort()
    child = ticket(parent, ticket_id=key, price=price)
    child._meta.without_rowid = True
    assert "price=pw.DecimalField" in "".join(lines(draft(settings, parent, child)))
    assert ensure_drafts_lead_there(parent, child) == []


def test_a_table_that_gets_no_rowids_is_left_to_hands(settings):
    parent, child = resort(), ticket(resort())
    child._meta.without_rowid = True
    path = drafting.create(settings, "follow", auto=True, models=[parent, child])
    assert checks(path.read_text()) == [
        "not drafted: the primary key of tickets, from (ticket_id) to (ticket_id) WITHOUT ROWID: see 003."
    ]


def test_an_index_with_a_condition_is_not_guessed(settings):
    gate = model("Gate", "gates", number=pw.IntegerField())
    gate.add_index(gate.number, where=gate.number > 3, name="high_gates")
    with pytest.raises(BadRequest, match="index high_gates of Gate has expressions or a condition"):
        drafting.create(settings, "follow", auto=True, models=[gate])


def test_a_collation_is_kept(settings):
    gate = model("Gate", "gates", name=pw.CharField(max_length=9, collation="NOCASE"))
    parent = resort()
    text = draft(settings, parent, ticket(parent), gate)
    assert 'name = pw.CharField(max_length=9, collation="NOCASE")' in lines(text)
