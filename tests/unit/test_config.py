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
        ("THEMEPARKS_WIKI_URL", "api.themeparks.wiki/v1"),
        ("QUEUE_TIMES_URL", "ftp://queue-times.com"),
        ("QUEUE_TIMES_URL", "https://"),
        ("OPEN_METEO_URL", "https://api.open meteo.com"),
        ("FEED_REQUESTS_PER_SECOND", "0"),
        ("FEED_REQUESTS_PER_SECOND", "0.009"),
        ("FEED_REQUESTS_PER_SECOND", "1000.1"),
        ("FEED_REQUESTS_PER_SECOND", "-1"),
        ("FEED_REQUESTS_PER_SECOND", "two"),
        ("FEED_REQUESTS_PER_SECOND", "1,5"),
        ("FEED_REQUESTS_PER_SECOND", "1e2"),
        ("FEED_REQUESTS_PER_SECOND", "nan"),
        ("FEED_REQUESTS_PER_SECOND", "٥"),
        ("FEED_CONTACT", "ops@example.org\nX-Header: 1"),
        ("FEED_CONTACT", "ops\r@example.org"),
        ("FEED_CONTACT", "ö@example.org"),
        ("RIDE_VANISHED_DAYS", "0"),
        ("RIDE_VANISHED_DAYS", "100001"),
        ("RIDE_VANISHED_DAYS", "14.5"),
        ("RIDE_VANISHED_DAYS", "fortnight"),
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


def test_sources_are_asked_where_how_often_and_by_whom_the_environment_says() -> None:
    settings = config.load({
        "THEMEPARKS_WIKI_URL": "http://127.0.0.1:8080/wiki", "QUEUE_TIMES_URL": "https://example.org",
        "OPEN_METEO_URL": "https://example.org/v1/forecast", "FEED_REQUESTS_PER_SECOND": "0.5",
        "FEED_CONTACT": " ops@example.org ", "RIDE_VANISHED_DAYS": "1",
    })  # fmt: skip
    assert settings.themeparks_wiki_url == "http://127.0.0.1:8080/wiki"
    assert settings.queue_times_url == "https://example.org"
    assert settings.open_meteo_url == "https://example.org/v1/forecast"
    assert settings.feed_requests_per_second == 0.5
    assert settings.feed_contact == "ops@example.org"
    assert settings.ride_vanished_days == 1


def test_sources_are_asked_at_their_own_addresses_once_a_second_by_nobody_named() -> None:
    settings = config.load({})
    assert settings.themeparks_wiki_url == "https://api.themeparks.wiki/v1"
    assert settings.queue_times_url == "https://queue-times.com"
    assert settings.open_meteo_url == "https://api.open-meteo.com/v1"
    assert settings.feed_requests_per_second == 1.0
    assert settings.feed_contact is None
    assert settings.ride_vanished_days == 14


@pytest.mark.parametrize(("value", "per_second"), [("0.01", 0.01), ("1000", 1000.0), ("2.50", 2.5)])
def test_the_slowest_and_the_fastest_rate_are_accepted(value: str, per_second: float) -> None:
    assert config.load({"FEED_REQUESTS_PER_SECOND": value}).feed_requests_per_second == per_second


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
