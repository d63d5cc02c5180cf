"""`cli migrate` and `cli check` as their users see them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import main, open_for
from service import VERSION, clock, schema
from service import database as door
from service.config import Settings
from service.errors import Unavailable
from service.models import Park, RideStatusSnapshot, ServiceState
from service.queries import state

ROOT = Path(schema.__file__).parents[2]
NAMES = schema.migration_names(Settings())
NEXT = f"{len(NAMES) + 1:03}"  # the number of a further migration


def cli(settings: Settings, *arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"DATABASE_URL": settings.database_url, **environ})


def report(result: Result) -> dict:
    return json.loads(result.stdout)


def test_migrate_brings_an_empty_database_up_to_date(blank):
    result = cli(blank, "migrate")
    assert (result.exit_code, result.stdout) == (0, f"Migrations applied: {len(NAMES)}.\n")
    assert result.stderr.splitlines() == NAMES
    assert schema.differences() == []


def test_migrating_again_does_nothing(blank):
    cli(blank, "migrate")
    result = cli(blank, "migrate")
    assert (result.exit_code, result.output) == (0, "Nothing to do: the database has all migrations.\n")


def test_a_dry_run_lists_what_would_run_and_changes_nothing(blank):
    result = cli(blank, "migrate", "--dry-run")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert [line for line in lines if line.startswith("-- ")] == [f"-- {name}" for name in NAMES]
    assert any(re.match(r"CREATE TABLE .*\bparks\b.* \(", line) for line in lines)
    assert door.db.get_tables() == []


def test_status_shows_what_is_applied(blank):
    cli(blank, "migrate")
    cli(blank, "migrate", "down")
    result = cli(blank, "migrate", "status")
    *done, last = result.stdout.splitlines()
    assert last == f"pending  {NAMES[-1]}"
    assert len(done) == len(NAMES) - 1
    for name, line in zip(NAMES, done, strict=False):
        assert re.fullmatch(rf"applied  {name}  20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ by \S+@\S+", line)


def test_down_undoes_one_migration_or_all_after_a_number(blank):
    cli(blank, "migrate")
    assert cli(blank, "migrate", "down").stdout == "Migrations undone: 1.\n"
    assert cli(blank, "migrate", "down", "--to", "004").stdout == f"Migrations undone: {len(NAMES) - 5}.\n"
    assert schema.applied() == NAMES[:4]
    result = cli(blank, "migrate", "down", "--to", "000")
    assert result.stderr.splitlines() == NAMES[3::-1]
    assert cli(blank, "migrate", "down").stdout == "Nothing to undo.\n"


@pytest.mark.parametrize("number", ["4", NEXT, "abc", ""])
def test_down_to_a_number_that_is_not_applied_is_refused(blank, number):
    cli(blank, "migrate")
    result = cli(blank, "migrate", "down", "--to", number)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Migration {number!r} is not applied: choose 000 or one of 001, ")
    assert schema.applied() == NAMES


def test_dry_run_does_not_go_with_a_subcommand(blank):
    result = cli(blank, "migrate", "--dry-run", "down")
    assert result.exit_code == 2
    assert "Options of `migrate down` are written behind its name." in result.stderr


def test_migrate_check_needs_no_database(tmp_path):
    nowhere = Settings(database_url="mysql://root@127.0.0.1:1/x")
    assert cli(nowhere, "migrate", "check").exit_code == 0
    (tmp_path / "002_add.py").write_text("")
    result = cli(nowhere, "migrate", "check", MIGRATIONS_DIR=str(tmp_path))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "There is no migration 001.",
        "002_add.py has no docstring to say what it does, why, and how long it takes.",
        "002_add.py has no function migrate.",
        "002_add.py has no function rollback.",
    ]


def test_two_processes_that_migrate_at_once_run_each_migration_once(blank):
    environ = {**os.environ, "DATABASE_URL": blank.database_url}
    command = [sys.executable, "-m", "cli", "migrate"]
    running = [
        subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outcomes = sorted((process.communicate()[0], process.returncode) for process in running)
    assert outcomes == [
        (f"Migrations applied: {len(NAMES)}.\n", 0),
        ("Nothing to do: the database has all migrations.\n", 0),
    ]
    assert schema.applied() == NAMES


def test_check_finds_nothing_wrong_with_a_migrated_database(database, settings):
    result = cli(settings, "check", "--json")
    assert result.exit_code == 0
    found = report(result)
    assert found["problems"] == found["pending"] == found["differences"] == []
    assert found["server"].startswith("MariaDB 1" if door.is_mysql() else "SQLite 3.")
    assert found["interval_minutes"] is found["oldest_reading"] is found["newest_reading"] is None
    assert found["rows"]["metrics_versions"] == 1
    assert found["rows"]["parks"] == 0
    assert found["size_bytes"] > 50_000
    assert found["settings"]["snapshot_interval_minutes"] == 5


def test_check_shows_interval_and_ends_of_the_readings(database, settings):
    ServiceState.insert({ServiceState.name: state.INTERVAL, ServiceState.value: 5}).execute()
    columns = [RideStatusSnapshot.snapshot_time, RideStatusSnapshot.ride_id]
    RideStatusSnapshot.insert_many([(1_747_555_200, 1), (1_747_580_400, 2)], columns).execute()
    found = report(cli(settings, "check", "--json"))
    assert found["interval_minutes"] == 5
    assert found["oldest_reading"] == "2025-05-18T08:00:00+00:00"
    assert found["newest_reading"] == "2025-05-18T15:00:00+00:00"
    assert found["warnings"] == []


def test_check_warns_of_readings_after_now(database, settings):
    columns = [RideStatusSnapshot.snapshot_time, RideStatusSnapshot.ride_id]
    RideStatusSnapshot.insert_many([(4_000_000_000, 1)], columns).execute()
    result = cli(settings, "check", "--json", REPLAY_NOW="2025-05-18T15:00:00Z")
    assert result.exit_code == 0
    assert report(result)["warnings"] == ["Readings after now, 2025-05-18T15:00:00+00:00, are not looked at."]


def test_check_for_people(database, settings):
    lines = cli(settings, "check").stdout.splitlines()
    assert "  snapshot_interval_minutes: 5" in lines
    assert "pending: none" in lines
    assert "oldest_reading: none" in lines
    assert lines[-1] == "Nothing would stop the service."


def test_check_of_a_database_that_is_not_migrated(blank):
    door.db.connect()
    result = cli(blank, "check")
    assert result.exit_code == 3
    assert "  001_create_baseline" in result.stdout.splitlines()
    assert result.stdout.splitlines()[-1] == "PROBLEM: Migrations are pending: run `cli migrate`."


def test_check_names_every_difference(blank):
    schema.upgrade(blank)
    door.db.execute_sql("ALTER TABLE parks ADD COLUMN colour INTEGER")
    door.db.execute_sql("DROP TABLE job_leases")
    result = cli(blank, "check", "--json")
    assert result.exit_code == 3
    assert report(result)["differences"] == [
        "column parks.colour is int NULL, models say missing",
        "table job_leases is missing",
    ]
    assert report(result)["problems"] == ["The schema differs from the models."]


def test_check_of_another_interval(database, settings):
    ServiceState.insert({ServiceState.name: state.INTERVAL, ServiceState.value: 15}).execute()
    result = cli(settings, "check", "--json")
    assert result.exit_code == 3
    assert report(result)["problems"] == [
        "The readings in this database are 15 minutes apart, but SNAPSHOT_INTERVAL_MINUTES is 5:"
        " set SNAPSHOT_INTERVAL_MINUTES=15."
    ]
    assert cli(settings, "check", SNAPSHOT_INTERVAL_MINUTES="15").exit_code == 0


def test_check_of_a_server_that_is_down_hides_the_password():
    nowhere = Settings(database_url="mysql://alice:p%40ss-word@127.0.0.1:1/parks")
    result = cli(nowhere, "check", "--json")
    assert result.exit_code == 3
    found = report(result)
    assert found["settings"]["database_url"] == "mysql://alice:***@127.0.0.1:1/parks"
    assert found["problems"][0].startswith("The database cannot be reached (")
    assert "ss-word" not in result.output


def test_check_writes_nothing(blank):
    cli(blank, "check")
    assert door.db.get_tables() == []


def test_migrate_of_a_server_that_is_down():
    result = cli(Settings(database_url="mysql://root@127.0.0.1:1/parks"), "migrate")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("The database cannot be reached (")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "url", ["postgres://x/y", "sqlite:///", "mysql://root@127.0.0.1", "mysql://root@host:abc/x", "mysql://[x"]
)
def test_a_url_that_cannot_be_used(url):
    for command in ("migrate", "check"):
        result = cli(Settings(database_url=url), command)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but long enough to look like one. " * 50)
    result = cli(Settings(database_url=f"sqlite:///{tmp_path / 'notes.txt'}"), "migrate")
    assert result.exit_code == 3
    assert result.stderr.startswith("The database cannot be reached (file is not a database)")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    result = cli(Settings(database_url=f"sqlite:///{tmp_path}/file/parks.db"), "migrate")
    assert result.exit_code == 3
    assert result.stderr.startswith("The database cannot be reached (")
    assert result.stderr.count("\n") == 1


def test_open_for_binds_a_database_that_is_ready(settings):
    open_for(settings)
    assert Park.select().count() == 0
    door.close()


def test_open_for_refuses_what_the_service_could_not_run_on(blank, tmp_path):
    with pytest.raises(Unavailable, match="not migrated"):
        open_for(blank)
    schema.upgrade(blank)
    open_for(blank)
    door.db.execute_sql("DROP TABLE job_leases")
    with pytest.raises(Unavailable, match="differs from the models: table job_leases is missing"):
        open_for(blank)


def test_open_for_refuses_another_interval(database, settings):
    ServiceState.insert({ServiceState.name: state.INTERVAL, ServiceState.value: 15}).execute()
    with pytest.raises(Unavailable, match="are 15 minutes apart, but SNAPSHOT_INTERVAL_MINUTES is 5"):
        open_for(settings)


def test_a_read_only_session_cannot_write(database, settings):
    open_for(settings, read_only=True)
    with pytest.raises(Exception, match="(?i)read.?only"):
        ServiceState.insert({ServiceState.name: "x", ServiceState.value: 1}).execute()


def test_the_clock_stands_where_the_setting_says(database, settings):
    cli(settings, "check", REPLAY_NOW="2025-05-18T15:00:00Z")
    assert clock.now().isoformat() == "2025-05-18T15:00:00+00:00"


def test_the_module_runs_like_the_console_script():
    done = subprocess.run([sys.executable, "-m", "cli", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"cli, version {VERSION}\n", "")
