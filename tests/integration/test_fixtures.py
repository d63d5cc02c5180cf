"""The fixtures keep their word: a test finds the database as the migrations leave it, whatever another did to it."""

import pytest

from service import clock, schema
from service import database as door
from service.models import ALL_MODELS, MetricsVersion, Park, ServiceState
from service.periods import instant
from service.queries import state


@pytest.mark.parametrize("turn", [1, 2])
def test_a_test_finds_an_empty_database(database, settings, turn):
    filled = [model for model in ALL_MODELS if model.select().count()]
    assert filled == [MetricsVersion, ServiceState]
    assert state.get_state(state.ACTIVE_VERSION) == 1
    assert schema.pending(settings) == []

    park = Park()
    park.name, park.country, park.timezone, park.park_type = "x", "US", "UTC", 1
    park.created_at = park.updated_at = instant(0)
    park.save(force_insert=True)
    assert park.park_id == 1
    ServiceState.update({ServiceState.value: 2}).execute()
    MetricsVersion.delete().execute()
    clock.replay(instant(0))


@pytest.mark.parametrize("turn", [1, 2])
def test_the_clock_runs_again_after_a_test(database, turn):
    assert clock.now().year > 2000
    clock.replay(instant(0))


@pytest.mark.parametrize("turn", [1, 2])
def test_a_transaction_left_open_does_not_hold_up_the_next_test(database, settings, turn):
    assert Park.select().count() == 0
    if door.is_mysql():  # SQLite gives each test its own file
        other = door.open_database(settings)
        other.begin()
        other.execute_sql("DELETE FROM parks")


def test_a_blank_database_has_no_tables(blank):
    assert door.db.get_tables() == []
