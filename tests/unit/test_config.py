"""Settings come from the environment, and a bad one is named."""

from datetime import UTC, datetime, timedelta

import pytest
from freezegun import freeze_time

from service import clock, config
from service.errors import BadRequest


def test_defaults() -> None:
    settings = config.load({})
    assert settings == config.Settings()
    assert settings.database_url == "sqlite:///var/hall_of_shame.db"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert config.load({"PORT": "", "SNAPSHOT_INTERVAL_MINUTES": " "}) == config.Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "70000"),
        ("SNAPSHOT_INTERVAL_MINUTES", "7"),
        ("SNAPSHOT_INTERVAL_MINUTES", "-5"),
        ("SNAPSHOT_INTERVAL_MINUTES", "²"),
        ("RAW_RETENTION_DAYS", "7"),
        ("WEATHER_OBSERVATION_DAYS", "0"),
        ("WEATHER_FORECAST_DAYS", "0"),
        ("REPLAY_NOW", "yesterday"),
        ("REPLAY_NOW", "2025-05-18T15:00:00"),
        ("REPLAY_NOW", "0001-01-01T00:00:00Z"),
        ("REPLAY_NOW", "2100-01-01T00:00:00Z"),
        ("REPLAY_TICK", "maybe"),
        ("PORT", "--5"),
        ("PORT", "٥"),
        ("PORT", "9" * 5000),
        ("WEB_CONCURRENCY", "x"),
        ("SQL_ECHO", "2"),
        ("LOG_LEVEL", "LOUD"),
        ("STATEMENT_TIMEOUT_SECONDS", "0"),
        ("METRICS_ADDRESS", "on"),
        ("METRICS_ADDRESS", "9100"),
        ("METRICS_ADDRESS", ":9100"),
        ("METRICS_ADDRESS", "127.0.0.1:"),
        ("METRICS_ADDRESS", "127.0.0.1:0"),
        ("METRICS_ADDRESS", "127.0.0.1:65536"),
        ("METRICS_ADDRESS", "::1:9100"),
        ("METRICS_ADDRESS", "http://127.0.0.1:9100"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(BadRequest, match=name):
        config.load({name: value})


@pytest.mark.parametrize(("value", "address", "listener"), [
    ("", None, None),
    ("Main", "main", None),
    ("127.0.0.1:9100", "127.0.0.1:9100", ("127.0.0.1", 9100)),
    ("localhost:65535", "localhost:65535", ("localhost", 65535)),
    ("[::1]:9100", "[::1]:9100", ("::1", 9100)),
])
def test_metrics_are_off_at_the_address_of_the_api_or_at_their_own(
    value: str, address: str | None, listener: tuple[str, int] | None
) -> None:
    settings = config.load({"METRICS_ADDRESS": value})
    assert (settings.metrics_address, settings.metrics_listener) == (address, listener)


def test_an_instant_may_have_any_offset() -> None:
    assert config.load({"REPLAY_NOW": "2025-05-18T17:00:00+02:00"}).replay_now == datetime(2025, 5, 18, 15, tzinfo=UTC)


@freeze_time("2026-11-21T10:00:00.750000Z", tick=False)
def test_the_clock_is_in_utc_and_whole_seconds() -> None:
    assert clock.now() == datetime(2026, 11, 21, 10, tzinfo=UTC)


def test_a_replayed_clock_stands_still_or_runs_on() -> None:
    then = datetime(2025, 5, 18, 15, tzinfo=UTC)
    try:
        with freeze_time("2026-11-21T10:00:00Z") as frozen:
            clock.replay(then)
            frozen.tick(timedelta(hours=1))
            assert clock.now() == then
            clock.replay(then, tick=True)
            frozen.tick(timedelta(hours=1))
            assert clock.now() == then + timedelta(hours=1)
    finally:
        clock.replay(None)
