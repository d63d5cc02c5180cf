"""kill -9 in the midst of a migration, of the command and of the server: the next run finishes it or leaves nothing."""

import random
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mariadb import PrivateMariaDB
from migrations_lab import (
    NAMES,
    everything,
    fill,
    first,
    many_rides,
    put,
    rows,
    run,
    shapes,
    started,
    tables,
    two_tables,
    until,
    whole,
)

from cli import main
from service import database as door
from service import schema
from service.config import Settings
from service.errors import Unavailable

on_mariadb = pytest.mark.parametrize("blank", ["mariadb"], indirect=True)

# What a server must be told so that it keeps what it has said is done.
DURABLE = ("--innodb-flush-log-at-trx-commit=1", "--innodb-doublewrite=1")

NEW_TABLE = """
class Visit(pw.Model):
    at = pw.BigIntegerField(index=True)

    class Meta:
        table_name = "visits"

migrator.create_model(Visit)
"""
ADD_SPEED = 'migrator.add_fields("rides", speed=pw.IntegerField(null=True))'
ADD_NOTE = 'migrator.add_index("parks", "note")'
BACK = 'migrator.drop_index("parks", "note")\nmigrator.remove_fields("rides", "speed")\nmigrator.remove_model("visits")'
UNIQUE_NAMES = 'migrator.add_index("rides", "name", unique=True)'


@pytest.fixture
def things(blank, tmp_path) -> Settings:
    return two_tables(blank, tmp_path)


def cli(settings: Settings, *arguments: str) -> Result:
    environ = {"DATABASE_URL": settings.database_url, "MIGRATIONS_DIR": str(settings.migrations_dir)}
    return CliRunner().invoke(main, ["migrate", *arguments], env=environ)


class Gate:
    """A place in a migration where it waits until the test lets it go; rehearsals and later runs do not stop there."""

    def __init__(self, folder: Path) -> None:
        self.reached = folder / "reached"
        self.opened = folder / "opened"

    @property
    def step(self) -> str:
        return f"""
def wait_at_the_gate():
    from pathlib import Path
    from time import sleep
    if not str(database.database).endswith("__rehearsal"):
        Path({str(self.reached)!r}).touch()
        while not Path({str(self.opened)!r}).exists():
            sleep(0.01)

migrator.run(wait_at_the_gate)
"""

    def open(self) -> None:
        self.opened.touch()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.open()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def killed_at_the_gate(settings: Settings, gate: Gate, *arguments: str) -> None:
    with started(settings, *arguments) as process:
        until(gate.reached.exists)
        kill(process)
    gate.open()


@contextmanager
def reading(server: PrivateMariaDB, table: str) -> Iterator[Any]:
    """Meanwhile a visitor has an open transaction, which no change of `table` gets past."""
    with server.connect("blank") as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT * FROM {table}")
        yield cursor


def executes(cursor: Any, what: str, state: str = "%") -> bool:
    """Whether a connection is at a statement like `what`, in a state like `state`."""
    cursor.execute(
        "SELECT 1 FROM information_schema.processlist WHERE db = 'blank' AND info LIKE %s AND state LIKE %s"
        " AND id <> CONNECTION_ID()",
        (what, state),
    )
    return bool(cursor.fetchall())


def nobody_migrates() -> bool:
    return run("SELECT IS_FREE_LOCK('blank.migrate')") == [(1,)]


def no_rest() -> bool:
    return schema.unfinished() is None and not any(name.endswith("__kept") for name in tables())


def hits() -> list[tuple]:
    return run("SELECT hits, COUNT(*) FROM rides GROUP BY hits ORDER BY hits")


# --- the command -----------------------------------------------------------------------------------------------------


def three_steps(settings: Settings, gate: Gate, place: int) -> tuple:
    """002_grow of three steps, with the gate behind step `place`; returns what it makes of the database."""
    put(settings, "002_grow", "\n".join([NEW_TABLE, ADD_SPEED, ADD_NOTE]), BACK)
    schema.upgrade(settings)
    after = whole()
    schema.downgrade(settings)
    steps = [NEW_TABLE, ADD_SPEED, ADD_NOTE]
    steps.insert(place, gate.step)
    put(settings, "002_grow", "\n".join(steps), BACK)
    return after


@on_mariadb
def test_killed_while_the_first_step_waits_for_its_table(things, gate, mariadb):
    after = three_steps(things, gate, 3)
    put(things, "002_grow", "\n".join([ADD_SPEED, NEW_TABLE, ADD_NOTE]), BACK)
    with reading(mariadb, "rides") as cursor, started(things) as process:
        until(lambda: executes(cursor, "ALTER TABLE%", "Waiting for table metadata lock"))
        kill(process)
        until(nobody_migrates)  # the server gives up too, once it has waited for a second
    result = cli(things)
    assert re.match(r"Migration 002_grow was cut short; \S+@\S+ began it at 20\S+Z\.\n", result.stderr)
    assert "Nothing of it is left.\n002_grow\n" in result.stderr
    assert whole() == after
    assert no_rest()


@pytest.mark.parametrize("place", [1, 2, 3])
def test_killed_behind_a_step(things, gate, place):
    after = three_steps(things, gate, place)
    before = whole()
    killed_at_the_gate(things, gate)
    assert everything()["rides"] == before[1]["rides"] or place > 1
    result = cli(things)
    if door.is_mysql():
        assert "Migration 002_grow was cut short; " in result.stderr
        assert "It is finished now." in result.stderr
        assert result.stdout == "Nothing to do: the database has all migrations.\n"
    else:
        assert result.stdout == "Migrations applied: 1.\n"
    assert whole() == after
    assert no_rest()
    schema.downgrade(things)
    assert whole() == before


@on_mariadb
def test_killed_without_a_rehearsal_it_is_taken_back_and_run_again(things, gate):
    after = three_steps(things, gate, 2)
    killed_at_the_gate(things, gate, "--no-rehearsal")
    assert "visits" in tables()
    result = cli(things, "--no-rehearsal")
    assert "What it had done was taken back.\n002_grow\n" in result.stderr
    assert whole() == after
    assert no_rest()


@on_mariadb
def test_killed_and_its_file_changed_since_it_is_taken_back_and_run_as_it_is_now(things, gate):
    three_steps(things, gate, 2)
    killed_at_the_gate(things, gate)
    put(things, "002_grow", ADD_NOTE)
    result = cli(things)
    assert "What it had done was taken back.\n002_grow\n" in result.stderr
    assert "visits" not in tables()
    assert "speed" not in shapes()["rides"]
    assert "parks_note" in shapes()["parks"]


@on_mariadb
def test_killed_and_its_file_gone_it_is_taken_back(things, gate):
    three_steps(things, gate, 2)
    before = whole()
    killed_at_the_gate(things, gate)
    (things.migrations_dir / "002_grow.py").unlink()
    assert "What it had done was taken back." in cli(things).stderr
    assert whole() == before
    assert no_rest()


@on_mariadb
def test_killed_and_then_undone_it_is_undone_and_no_more(things, gate):
    put(things, "002_add_wait", 'migrator.add_index("rides", "wait")', 'migrator.drop_index("rides", "wait")')
    schema.upgrade(things)
    before = whole()
    put(things, "003_fail", "\n".join([NEW_TABLE, gate.step, ADD_SPEED]))
    killed_at_the_gate(things, gate, "--no-rehearsal")
    result = cli(things, "down")
    assert "What it had done was taken back.\n" in result.stderr
    assert result.stdout == "Migrations undone: 1.\n"
    assert whole() == before


REMOVALS = {
    "a column": ('migrator.remove_fields("parks", "note")', "ALTER TABLE `parks`%"),
    "a table": ("migrator.sql('DROP TABLE parks_of_old')", "DROP TABLE parks_of_old%"),
    "a table's name": ('migrator.rename_table("parks", "places")', "RENAME TABLE `parks`%"),
    "a column's type": ('migrator.change_fields("parks", name=pw.CharField(max_length=99))', "ALTER TABLE `parks`%"),
}


@on_mariadb
@pytest.mark.parametrize("arguments", [(), ("--no-rehearsal",)], ids=["rehearsed", "not rehearsed"])
@pytest.mark.parametrize("case", REMOVALS)
def test_killed_in_a_removal_that_the_server_carries_out_all_the_same(things, mariadb, case, arguments):
    step, statement = REMOVALS[case]
    run("CREATE TABLE parks_of_old (x INT)")
    put(things, "002_remove", step)
    with reading(mariadb, statement.split()[2].strip("`%")) as cursor, started(things, *arguments) as process:
        until(lambda: executes(cursor, statement, "Waiting for table metadata lock"))
        kill(process)
    until(nobody_migrates)
    cli(things, *arguments)
    assert schema.applied()[-1] == "002_remove"
    assert [len(rows(table)) for table in tables() if table in ("parks", "places")] == [2]
    assert len(rows("rides")) == 3
    assert no_rest()


@on_mariadb
def test_a_service_does_not_start_on_half_a_migration(things, gate):
    three_steps(things, gate, 3)
    killed_at_the_gate(things, gate)
    status = cli(things, "status").stdout
    assert status.splitlines()[-1] == (
        "CUT SHORT or running: 002_grow. `cli migrate` waits for it, then finishes or restores."
    )
    assert "pending  002_grow" in status


THREE_UPDATES = """
migrator.sql("UPDATE rides SET hits = hits + 1 WHERE ride_id = 1")
{gate}
migrator.sql("UPDATE rides SET hits = hits + 1 WHERE ride_id <> 1")
migrator.sql("INSERT INTO parks (name) VALUES ('Gamma')")
"""


def test_killed_in_a_data_migration(things, gate):
    put(things, "002_count", THREE_UPDATES.format(gate=gate.step))
    before = everything()
    killed_at_the_gate(things, gate)
    assert everything() == before
    assert cli(things).stdout == "Migrations applied: 1.\n"
    assert hits() == [(1, 3)]
    assert [row["name"] for row in rows("parks")] == ["Alpha", "Beta", "Gamma"]


# Waits at one row for a lock that the test holds; the rehearsal finds no row.
COUNT_WITH_GATE = """
migrator.update_rows("parks", {"note": "CONCAT(note, 'x')"}, where="note IS NOT NULL")
migrator.update_rows(
    "rides", {"hits": "hits + 1 + IF(ride_id = 7000, 0 * GET_LOCK('blank.gate', 60), 0)"}, where="TRUE"
)
"""


@contextmanager
def holding_the_gate(server: PrivateMariaDB) -> Iterator[Any]:
    with server.connect("blank") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('blank.gate', 0)")
        yield cursor


def killed_in_the_second_batch(settings: Settings, server: PrivateMariaDB) -> None:
    many_rides(12_000)
    put(settings, "002_count", COUNT_WITH_GATE)
    with holding_the_gate(server) as cursor, started(settings) as process:
        until(lambda: executes(cursor, "UPDATE rides SET%", "User lock"))
        kill(process)
    until(nobody_migrates)
    assert hits() == [(0, 6999), (1, 5001)]


@on_mariadb
def test_killed_between_batches_it_goes_on_where_it_was(things, mariadb):
    run("CREATE TABLE touched (ride_id INT)")
    killed_in_the_second_batch(things, mariadb)
    run("CREATE TRIGGER touch BEFORE UPDATE ON rides FOR EACH ROW INSERT INTO touched VALUES (OLD.ride_id)")
    result = cli(things)
    assert "It goes on where it was.\n002_count\n" in result.stderr
    assert hits() == [(1, 12_000)]
    assert run("SELECT MIN(ride_id), COUNT(*) FROM touched") == [(5002, 6999)]
    assert [row["note"] for row in rows("parks")] == [None, "xx"]
    assert no_rest()


@on_mariadb
def test_killed_between_batches_and_then_undone_no_row_is_changed(things, mariadb):
    put(things, "002_add_note", ADD_NOTE, 'migrator.drop_index("parks", "note")')
    schema.upgrade(things)
    many_rides(12_000)
    put(things, "003_count", COUNT_WITH_GATE)
    with holding_the_gate(mariadb) as cursor, started(things) as process:
        until(lambda: executes(cursor, "UPDATE rides SET%", "User lock"))
        kill(process)
    result = cli(things, "down")
    assert "  rides: putting its rows back\n" in result.stderr
    assert hits() == [(0, 12_000)]
    assert no_rest()


@on_mariadb
def test_killed_behind_the_last_batch(things, gate):
    many_rides(100)
    put(things, "002_count", 'migrator.update_rows("rides", {"hits": "hits + 1"}, where="TRUE")' + gate.step)
    killed_at_the_gate(things, gate)
    result = cli(things)
    assert "It goes on where it was." in result.stderr
    assert hits() == [(1, 100)]
    assert no_rest()


@on_mariadb
def test_killed_while_it_tidies_up(things, gate, mariadb):
    many_rides(100)
    put(things, "002_count", 'migrator.update_rows("rides", {"hits": "hits + 1"}, where="TRUE")' + gate.step)
    with started(things) as process:
        until(gate.reached.exists)
        with reading(mariadb, "rides__kept") as cursor:
            gate.open()
            until(lambda: executes(cursor, "DROP TABLE `rides__kept`%", "Waiting for table metadata lock"))
            kill(process)
    until(nobody_migrates)
    with pytest.raises(Unavailable, match="Migration 002_count runs, or was cut short: wait for it, or run `cli mig"):
        schema.ensure_current(things)
    result = cli(things)
    assert "It had finished.\n" in result.stderr
    assert hits() == [(1, 100)]
    assert no_rest()


THREE_TABLES = """
for name in ("one", "two", "three"):
    migrator.sql(f"CREATE TABLE {name} (x INT)")
"""
DROP_THREE = """
for name in ("one", "two", "three"):
    migrator.sql(f"DROP TABLE {name}")
"""


def killed_while_it_drops_the_second_table(settings: Settings, server: PrivateMariaDB, *arguments: str) -> None:
    put(settings, "002_add_note", ADD_NOTE, 'migrator.drop_index("parks", "note")')
    put(settings, "003_three", THREE_TABLES, DROP_THREE)
    schema.upgrade(settings)
    with reading(server, "two") as cursor, started(settings, "down", *arguments) as process:
        until(lambda: executes(cursor, "DROP TABLE two", "Waiting for table metadata lock"))
        kill(process)
        until(nobody_migrates)
    assert tables() == ["parks", "rides", "three", "two"]


@on_mariadb
def test_killed_while_it_undoes_it_undoes_the_rest_and_no_more(things, mariadb):
    killed_while_it_drops_the_second_table(things, mariadb)
    result = cli(things, "down")
    assert result.exit_code == 0
    assert "The undoing of migration 003_three was cut short; " in result.stderr
    assert "It is finished now." in result.stderr
    assert tables() == ["parks", "rides"]
    assert schema.applied() == ["001_create_things", "002_add_note"]
    assert no_rest()


@on_mariadb
def test_killed_while_it_undoes_it_goes_on_though_somebody_made_a_table(things, mariadb):
    killed_while_it_drops_the_second_table(things, mariadb)
    run("CREATE TABLE two_by_hand AS SELECT * FROM two")
    result = cli(things, "down")
    assert "It is finished now." in result.stderr
    assert tables() == ["parks", "rides", "two_by_hand"]
    assert no_rest()


@on_mariadb
def test_killed_while_it_undoes_and_then_migrated_it_undoes_the_rest_first(things, mariadb):
    killed_while_it_drops_the_second_table(things, mariadb)
    result = cli(things)
    assert "It is finished now.\n003_three\n" in result.stderr
    assert schema.applied() == ["001_create_things", "002_add_note", "003_three"]
    assert {"one", "two", "three"} < set(tables())
    assert no_rest()


@on_mariadb
def test_killed_while_it_undoes_without_a_rehearsal_it_asks_for_help(things, mariadb):
    killed_while_it_drops_the_second_table(things, mariadb, "--no-rehearsal")
    result = cli(things, "down")
    assert result.exit_code == 3
    assert "It was not rehearsed, and had come to `DROP TABLE two`, which nothing takes back. Mend" in result.stderr
    assert {"two", "three"} < set(tables())
    run("CREATE TABLE one (x INT)")
    assert cli(things, "resolve", "--as", "undone", "--yes").exit_code == 0
    assert cli(things, "down").exit_code == 0
    assert tables() == ["parks", "rides"]


# --- killed while it is taken back -----------------------------------------------------------------------------------


@on_mariadb
def test_killed_while_the_schema_is_restored(things, gate, mariadb):
    before = whole()
    put(things, "002_fail", "\n".join([ADD_NOTE, NEW_TABLE, gate.step, UNIQUE_NAMES]))
    with started(things) as process:
        until(gate.reached.exists)
        with reading(mariadb, "parks") as cursor:
            gate.open()
            until(lambda: executes(cursor, "ALTER TABLE `parks` DROP KEY%", "Waiting for table metadata lock"))
            kill(process)
            until(nobody_migrates)
    # As it was behind the first step, on the way back.
    assert "visits" not in tables()
    assert "parks_note" in shapes()["parks"]

    result = cli(things)
    assert "What it had done is taken back now.\n002_fail\n" in result.stderr
    assert "Duplicate entry 'Comet'" in result.stderr
    assert whole() == before
    assert no_rest()
    run("UPDATE rides SET name = ride_id")
    cli(things)
    assert schema.applied()[-1] == "002_fail"


@on_mariadb
def test_killed_in_a_step_that_cannot_succeed(things, mariadb):
    before = whole()
    put(things, "002_fail", "\n".join([NEW_TABLE, ADD_NOTE, UNIQUE_NAMES]))
    with reading(mariadb, "rides") as cursor, started(things) as process:
        until(lambda: executes(cursor, "CREATE UNIQUE INDEX%", "Waiting for table metadata lock"))
        kill(process)
    until(nobody_migrates)
    result = cli(things)
    assert result.exit_code != 0
    assert "Duplicate entry 'Comet' for key 'rides_name'" in result.stderr
    assert whole() == before
    assert schema.unfinished() is None
    run("UPDATE rides SET name = ride_id")
    cli(things)
    assert schema.applied()[-1] == "002_fail"


@on_mariadb
def test_killed_while_rows_are_put_back_they_are_all_changed_by_the_next_run(things, mariadb):
    many_rides(12_000)
    # In a late batch it waits at the gate, and fails then, while there are two parks.
    parks = "(SELECT 1 FROM parks WHERE park_id <= rides.park_id + 1)"
    hits_of_11000 = f"IF(ride_id = 11000 AND GET_LOCK('blank.gate', 60) IS NOT NULL, {parks}, hits + 1)"
    put(things, "002_count", f'migrator.update_rows("rides", {{"hits": "{hits_of_11000}"}}, where="TRUE")')
    with holding_the_gate(mariadb) as cursor, mariadb.connect("blank") as other, started(things) as process:
        until(lambda: executes(cursor, "%GET_LOCK%", "User lock"))
        with other.cursor() as blocker:  # of the second batch: the first can be put back
            blocker.execute("BEGIN")
            blocker.execute("SELECT * FROM rides WHERE ride_id = 6000 FOR UPDATE")
        cursor.execute("SELECT RELEASE_LOCK('blank.gate')")
        until(lambda: run("SELECT hits FROM rides WHERE ride_id = 1") == [(0,)])
        kill(process)
    until(nobody_migrates)
    run("DELETE FROM parks WHERE park_id = 2")
    cli(things)
    assert hits() == [(1, 12_000)]
    assert no_rest()


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def durable(mariadb: PrivateMariaDB) -> Iterator[PrivateMariaDB]:
    """A server that can be killed, where there can be one at all."""
    with PrivateMariaDB(*DURABLE, buffer_pool="32M") as server:
        yield server


@pytest.fixture
def fragile(durable, tmp_path) -> Iterator[Settings]:
    settings = Settings(database_url=durable.url(durable.create_database("blank")))
    door.open_database(settings, time_limit=False)
    yield two_tables(settings, tmp_path)
    door.close()
    if durable.pid is None:
        durable.start_again()


def end(server: PrivateMariaDB, process: subprocess.Popen[str]) -> None:
    """Kill the server; the command says so and ends. Start it again."""
    door.close()
    server.kill()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "Traceback" not in said
    assert "Lost connection to MySQL server during query" in said or "cannot be reached" in said
    assert "run `cli migrate`" in said
    server.start_again()


def test_the_server_dies_behind_a_step(fragile, durable, gate):
    after = three_steps(fragile, gate, 2)
    with started(fragile) as process:
        until(gate.reached.exists)
        durable.kill()
        gate.open()
        end(durable, process)
    result = cli(fragile)
    assert "It is finished now." in result.stderr
    assert whole() == after
    assert no_rest()


def test_the_server_dies_while_a_step_waits(fragile, durable, gate):
    after = three_steps(fragile, gate, 3)
    gate.open()
    with reading(durable, "parks") as cursor, started(fragile) as process:
        until(lambda: executes(cursor, "CREATE INDEX%", "Waiting for table metadata lock"))
        end(durable, process)
    result = cli(fragile)
    assert "It is finished now." in result.stderr
    assert whole() == after
    assert no_rest()


def test_the_server_dies_in_a_batch(fragile, durable):
    many_rides(12_000)
    put(fragile, "002_count", COUNT_WITH_GATE)
    with holding_the_gate(durable) as cursor, started(fragile) as process:
        until(lambda: executes(cursor, "UPDATE rides SET%", "User lock"))
        end(durable, process)
    assert hits() == [(0, 6999), (1, 5001)]
    assert "It goes on where it was." in cli(fragile).stderr
    assert hits() == [(1, 12_000)]
    assert no_rest()


def test_the_server_dies_in_a_data_migration(fragile, durable, gate):
    put(fragile, "002_count", THREE_UPDATES.format(gate=gate.step))
    before = everything()
    with started(fragile) as process:
        until(gate.reached.exists)
        durable.kill()
        gate.open()
        end(durable, process)
    assert everything() == before
    assert "Nothing of it is left." in cli(fragile).stderr
    assert hits() == [(1, 3)]


# --- anywhere --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_killed_anywhere_nothing_is_lost(blank, tmp_path, seed):
    """Some migrations of the project, over tables with rows, are killed at work, and so is their undoing."""
    chance = random.Random(seed)
    for number in chance.sample(range(1, len(NAMES) + 1), k=2 if door.is_mysql() else 1):
        schema.downgrade(first(len(NAMES), blank, tmp_path), "000")
        before, after = first(number - 1, blank, tmp_path), first(number, blank, tmp_path)
        if number > 1:
            schema.upgrade(before)
        fill()
        schema.upgrade(after)
        expected = whole()
        killed_at_work(after, chance, "down", "--to", f"{number - 1:03}")
        undone = whole()
        killed_at_work(after, chance)
        assert whole() == expected
        schema.downgrade(after)
        assert whole() == undone
        assert undone[2] == NAMES[: number - 1]


def killed_at_work(settings: Settings, chance: random.Random, *arguments: str) -> None:
    """Kill the command some time after it has begun, and let another one do what is left."""
    with started(settings, *arguments) as process:
        process.stderr.readline()  # the name of the migration
        time.sleep(chance.random() * 0.15)
        kill(process)
    result = cli(settings, *arguments)
    assert "Traceback" not in result.stderr
    assert result.exit_code in (0, 3)  # 3 because the first migrations alone do not make the models
    assert no_rest()


@on_mariadb
def test_what_others_made_meanwhile_is_not_taken_back(things, gate):
    three_steps(things, gate, 1)
    killed_at_the_gate(things, gate)
    run("CREATE TABLE by_hand (x INT)")
    run("INSERT INTO by_hand VALUES (1)")
    cli(things)
    assert schema.applied()[-1] == "002_grow"
    assert rows("by_hand") == [{"x": 1}]
