"""The migrations run on real databases: from nothing to the models, back, and with rows in the tables."""

import pytest
from migrations_lab import NAMES, NEXT, everything, fill, first, one_more, rows, run, sample, shapes, tables

from service import database as door
from service import schema
from service.errors import BadRequest, ServiceError, Unavailable
from service.models import ALL_MODELS


def test_all_migrations_from_nothing_give_the_schema_of_the_models(blank):
    assert schema.upgrade(blank) == NAMES
    assert schema.differences() == []
    assert sorted(tables()) == sorted(model._meta.table_name for model in ALL_MODELS)


def test_the_time_series_are_clustered_by_their_keys(blank):
    schema.upgrade(blank)
    for table in ("ride_status_snapshots", "park_activity_snapshots"):
        if door.is_mysql():
            assert "ENGINE=InnoDB" in shapes()[table]
        else:
            assert shapes()[table].endswith("WITHOUT ROWID")


def test_text_of_every_language_fits_whatever_the_default_of_the_server(blank):
    if not door.is_mysql():
        pytest.skip("SQLite knows only Unicode")
    run("ALTER DATABASE blank CHARACTER SET latin1")
    schema.upgrade(blank)
    assert all("CHARSET=utf8mb4 COLLATE=utf8mb4_bin" in shape for shape in shapes().values())


def test_running_twice_changes_nothing(blank):
    schema.upgrade(blank)
    fill()
    before = shapes(), everything()
    assert schema.upgrade(blank) == []
    assert (shapes(), everything()) == before
    assert schema.applied() == NAMES


@pytest.mark.parametrize("number", range(1, len(NAMES) + 1), ids=NAMES)
def test_up_down_up_with_rows_in_the_tables(blank, tmp_path, number):
    before, after = first(number - 1, blank, tmp_path), first(number, blank, tmp_path)
    if number > 1:
        schema.upgrade(before)
    fill()
    old_shapes, old_rows = shapes(), everything()

    assert schema.upgrade(after) == [NAMES[number - 1]]
    new_shapes, new_rows = shapes(), everything()
    fill()  # what the migration created must not keep it from being undone
    assert schema.downgrade(after) == [NAMES[number - 1]]

    assert shapes() == old_shapes
    if NAMES[number - 1] == "004_drop_hourly_stats":
        old_rows["hourly_stats"] = []
    assert everything() == old_rows
    schema.upgrade(after)
    assert shapes() == new_shapes
    assert everything() == new_rows


def test_all_down_leaves_nothing_and_all_up_again_the_models(blank):
    schema.upgrade(blank)
    fill()
    assert schema.downgrade(blank, "000") == NAMES[::-1]
    assert tables() == []
    assert schema.applied() == []
    schema.upgrade(blank)
    assert schema.differences() == []


def test_daily_rows_that_exist_become_version_1(blank, tmp_path):
    schema.upgrade(first(2, blank, tmp_path))
    fill()
    before = {table: rows(table) for table in ("daily_stats", "daily_park_stats")}
    schema.upgrade(blank)
    for table, old in before.items():
        new = rows(table)
        assert [row.pop("metrics_version") for row in new] == [1, 1]
        assert new == old


def test_versions_of_a_day_coexist_and_only_the_first_survives_the_old_key(blank, tmp_path):
    three = first(3, blank, tmp_path)
    schema.upgrade(three)
    fill()
    old = rows("daily_stats")
    columns = [column.name for column in door.db.get_columns("daily_stats")]
    copied = ", ".join("2" if name == "metrics_version" else name for name in columns)
    run(f"INSERT INTO daily_stats ({', '.join(columns)}) SELECT {copied} FROM daily_stats")
    assert len(rows("daily_stats")) == 4

    schema.downgrade(three)
    schema.upgrade(three)
    assert rows("daily_stats") == old


def test_a_process_of_the_former_release_writes_version_1(blank, tmp_path):
    schema.upgrade(first(3, blank, tmp_path))
    fill()
    run("DELETE FROM daily_stats")
    columns = [column for column in door.db.get_columns("daily_stats") if column.name != "metrics_version"]
    run(
        f"INSERT INTO daily_stats ({', '.join(column.name for column in columns)})"
        f" VALUES ({', '.join('?' * len(columns))})",
        *(sample(column, 1) for column in columns),
    )
    assert [row["metrics_version"] for row in rows("daily_stats")] == [1]


def test_version_1_is_registered_and_active_once(blank, tmp_path):
    schema.upgrade(first(5, blank, tmp_path))
    run("INSERT INTO service_state (name, value) VALUES ('active_metrics_version', 1)")
    schema.upgrade(blank)
    assert [(row["version"], row["description"]) for row in rows("metrics_versions")] == [(1, "first rules")]
    assert rows("service_state") == [{"name": "active_metrics_version", "value": 1}]


def test_children_survive_a_change_of_their_parent(blank, tmp_path):
    schema.upgrade(blank)
    fill()
    before = everything()
    wider = "migrator.change_fields('parks', name=pw.CharField(max_length=300))"
    schema.upgrade(one_more(blank, tmp_path, f"{NEXT}_widen_name", wider))
    assert everything() == before
    if not door.is_mysql():
        assert run("PRAGMA foreign_keys") == [(1,)]


def test_a_migration_that_leaves_orphans_is_not_kept_on_sqlite(blank, tmp_path):
    if door.is_mysql():
        pytest.skip("MariaDB refuses the statement itself")
    schema.upgrade(blank)
    fill()
    before = shapes(), everything()
    with pytest.raises(ServiceError, match="rows without their parent, first in "):
        schema.upgrade(one_more(blank, tmp_path, f"{NEXT}_lose_parks", "migrator.sql('DELETE FROM parks')"))
    assert (shapes(), everything()) == before
    assert schema.applied() == NAMES
    assert run("PRAGMA foreign_keys") == [(1,)]


def test_a_migration_that_fails_is_named_and_not_recorded(blank, tmp_path):
    broken = one_more(blank, tmp_path, f"{NEXT}_break_things", "migrator.sql('UPDATE nowhere SET x = 1')")
    with pytest.raises(ServiceError, match=f"Migration {NEXT}_break_things .*fail.*: .*nowhere"):
        schema.upgrade(broken)
    assert schema.applied() == []  # nothing was begun: it had failed in the rehearsal, or all was taken back
    schema.upgrade(blank)
    assert schema.differences() == []


def test_down_keeps_the_number_it_is_given(blank):
    schema.upgrade(blank)
    assert schema.downgrade(blank, "006") == NAMES[:5:-1]
    assert schema.applied() == NAMES[:6]
    with pytest.raises(BadRequest, match="'007' is not applied: choose 000 or one of 001, 002, 003, 004, 005, 006"):
        schema.downgrade(blank, "007")


def test_nothing_to_undo(blank):
    assert schema.downgrade(blank) == []
    assert schema.downgrade(blank, "000") == []


def test_a_database_without_migrations_is_refused(blank):
    with pytest.raises(Unavailable, match=f"not migrated .{len(NAMES)} pending, the first is 001_create_baseline.: "):
        schema.ensure_current(blank)


def test_a_database_that_lacks_one_migration_is_refused(blank, tmp_path):
    schema.upgrade(first(len(NAMES) - 1, blank, tmp_path))
    with pytest.raises(Unavailable, match=f"1 pending, the first is {NAMES[-1]}.: run `cli migrate`"):
        schema.ensure_current(blank)
    schema.upgrade(blank)
    schema.ensure_current(blank)


def test_a_database_of_a_later_release_is_refused(blank, tmp_path):
    schema.upgrade(blank)
    for act in (schema.ensure_current, schema.upgrade, schema.downgrade):
        with pytest.raises(Unavailable, match=f"migrations that this release does not: {NAMES[-1]}"):
            act(first(len(NAMES) - 1, blank, tmp_path))


def test_a_number_below_an_applied_one_is_refused(blank, tmp_path):
    schema.upgrade(blank)
    run("DELETE FROM migratehistory WHERE name = ?", NAMES[-2])
    with pytest.raises(Unavailable, match=f"{NAMES[-2]} has a lower number than {NAMES[-1]}"):
        schema.upgrade(blank)


def test_a_history_that_was_written_twice_is_refused(blank):
    schema.upgrade(blank)
    run("INSERT INTO migratehistory (name, migrated_at) VALUES (?, '2026-01-01')", "002_add_composite_indexes")
    with pytest.raises(Unavailable, match="twice or out of order"):
        schema.ensure_current(blank)
