"""Steps that nothing takes back: once one has happened on MariaDB, a migration is carried on, never half restored."""

import threading

import pytest
from click.testing import CliRunner, Result
from mariadb import PrivateMariaDB
from migrations_lab import put, rows, run, shapes, two_tables, whole

from cli import main
from service import schema
from service.config import Settings
from service.errors import BadRequest, ServiceError, Unavailable
from service.schema import journal, runner
from service.schema.runner import Options

pytestmark = pytest.mark.parametrize("blank", ["mariadb"], indirect=True)

ADD_PRICE = 'migrator.sql("ALTER TABLE rides ADD COLUMN price DECIMAL(9,3) NULL")'
ROUND_PRICE = 'migrator.sql("ALTER TABLE rides MODIFY price INT NULL")'
NOT_NULL_WAITS = 'migrator.sql("ALTER TABLE rides MODIFY wait INT NOT NULL")'
# On the live database only: the rehearsal does not see it coming.
FAIL = """
def fail():
    if not database.database.endswith("__rehearsal"):
        raise ValueError("out of luck")

migrator.run(fail)
"""


@pytest.fixture
def things(blank, tmp_path) -> Settings:
    return two_tables(blank, tmp_path)


def cli(settings: Settings, *arguments: str) -> Result:
    environ = {"DATABASE_URL": settings.database_url, "MIGRATIONS_DIR": str(settings.migrations_dir)}
    return CliRunner().invoke(main, ["migrate", *arguments], env=environ)


def prices() -> list[str]:
    return [str(row["price"]) for row in rows("rides")]


def with_prices(things: Settings, rollback: str) -> Settings:
    schema.upgrade(put(things, "002_add_price", ADD_PRICE, rollback))
    run("UPDATE rides SET price = ride_id + 0.125")
    return things


def status() -> tuple:
    return run("SELECT name, direction, status FROM migration_log ORDER BY run_id DESC LIMIT 1")[0]


def test_an_undo_that_has_converted_values_is_carried_on(things):
    with_prices(things, f"{ROUND_PRICE}\n{NOT_NULL_WAITS}")  # ride 2 has no wait
    with pytest.raises(ServiceError, match="cannot be taken back, because of `ALTER TABLE rides MODIFY price INT"):
        schema.downgrade(things)
    assert prices() == ["1", "2", "3"]  # as they are, not dressed up as decimals again
    assert status() == ("002_add_price", "down", "running")
    run("UPDATE rides SET wait = 0 WHERE wait IS NULL")
    assert schema.downgrade(things) == ["002_add_price"]
    assert schema.applied() == ["001_create_things"]
    assert "`wait` int(11) NOT NULL" in shapes()["rides"]


def test_a_conversion_is_not_lost_to_a_locked_history(things, mariadb: PrivateMariaDB):
    with_prices(things, "'Not undone.'")
    put(things, "003_round", ROUND_PRICE)
    dump = mariadb.connect("blank")
    dump.cursor().execute("LOCK TABLES migratehistory READ")
    threading.Timer(3, dump.close).start()  # longer than one attempt
    assert schema.upgrade(things) == ["003_round"]
    assert (prices(), schema.applied()[-1]) == (["1", "2", "3"], "003_round")


def test_rows_that_were_truncated_are_not_said_to_be_as_they_were(things):
    put(things, "002_empty", f"migrator.sql('TRUNCATE TABLE rides')\n{FAIL}")
    with pytest.raises(ServiceError, match="out of luck. 002_empty cannot be taken back, because of `TRUNCATE"):
        schema.upgrade(things)
    assert status() == ("002_empty", "up", "running")


def test_a_column_that_somebody_added_meanwhile_to_another_table_stays(things, mariadb: PrivateMariaDB, meanwhile):
    put(things, "002_add_speed", f"migrator.add_fields('rides', speed=pw.IntegerField(null=True))\n{FAIL}")
    before = shapes()["rides"]
    meanwhile("ALTER TABLE parks ADD COLUMN phone VARCHAR(20)")
    with pytest.raises(ServiceError, match="out of luck. Schema and rows are as they were before it"):
        schema.upgrade(things)
    assert shapes()["rides"] == before
    assert "`phone`" in shapes()["parks"]


@pytest.fixture
def meanwhile(monkeypatch, mariadb: PrivateMariaDB):
    """What somebody else executes before a failed migration is taken back."""

    def arrange(sql: str) -> None:
        take_back = runner.take_back

        def late(*arguments: object) -> None:
            mariadb.connect("blank").cursor().execute(sql)
            take_back(*arguments)

        monkeypatch.setattr(runner, "take_back", late)

    return arrange


@pytest.mark.parametrize("noted", ["running", "paused"])
def test_a_run_that_another_release_has_noted_is_left_to_it(things, noted):
    before = whole()
    columns = "name, direction, checksum, ran_by, started_at, status"
    run(f"INSERT INTO migration_log ({columns}) VALUES ('002_x', 'up', '', '', 1, ?)", noted)
    with pytest.raises(Unavailable, match="002_x was cut short under another release"):
        schema.upgrade(things)
    assert whole() == before


def test_triggers_are_not_for_migrations(things):
    put(things, "002_add_trigger", "migrator.sql('CREATE TRIGGER t BEFORE UPDATE ON rides FOR EACH ROW SET @x = 1')")
    with pytest.raises(BadRequest, match="triggers, views and routines are not for migrations"):
        schema.upgrade(things)


@pytest.mark.parametrize(("outcome", "applied"), [("done", True), ("undone", False)])
def test_what_somebody_has_mended_by_hand_is_believed(things, outcome, applied):
    put(things, "002_empty", f"migrator.sql('TRUNCATE TABLE rides')\n{FAIL}")
    with pytest.raises(ServiceError):
        schema.upgrade(things)
    result = cli(things, "resolve", "--as", outcome, "--yes")
    assert (result.exit_code, result.stdout) == (0, f"002_empty is {outcome}.\n")
    assert journal.unfinished() is None
    assert ("002_empty" in schema.applied()) == applied
    again = cli(things, "resolve", "--as", outcome, "--yes")
    assert again.stdout == "No migration was cut short: nothing to resolve.\n"


def test_what_is_mended_is_believed_only_after_asking(things):
    result = cli(things, "resolve", "--as", "done")
    assert result.exit_code == 1  # nobody has confirmed


def test_rows_that_do_not_let_an_index_come_back_are_named(things, meanwhile):
    unique = 'migrator.add_index("rides", "owner_id", unique=True)'
    schema.upgrade(put(things, "002_add_owners", unique))
    put(things, "003_drop_owners", 'migrator.drop_index("rides", "owner_id")\n' + FAIL)
    meanwhile("UPDATE rides SET owner_id = 1")
    with pytest.raises(ServiceError, match="could not be taken back: .*Duplicate entry '1'.*resolve --as done"):
        schema.upgrade(things)
    run("UPDATE rides SET owner_id = ride_id")
    (things.migrations_dir / "003_drop_owners.py").unlink()
    said: list[str] = []
    assert schema.upgrade(things, Options(say=said.append)) == []
    assert said[-1] == "What it had done is taken back now."
    assert "UNIQUE KEY" in shapes()["rides"]
