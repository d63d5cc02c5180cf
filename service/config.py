"""Settings: one frozen value, read from the environment once. docs/configuration.md lists them all."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from service.errors import BadRequest

DEFAULT_DATABASE_URL = "sqlite:///var/hall_of_shame.db"
DEFAULT_INTERVAL_MINUTES = 5
THEMEPARKS_WIKI_URL: Final = "https://api.themeparks.wiki/v1"
QUEUE_TIMES_URL: Final = "https://queue-times.com"
OPEN_METEO_URL: Final = "https://api.open-meteo.com/v1"
METRICS_ON_MAIN: Final = "main"  # METRICS_ADDRESS: at the address of the API


@dataclass(frozen=True)
class Settings:
    """Everything that may differ between two installations."""

    database_url: str = DEFAULT_DATABASE_URL
    host: str = "127.0.0.1"
    port: int = 8000
    replay_now: datetime | None = None
    replay_tick: bool = False
    snapshot_interval_minutes: int = DEFAULT_INTERVAL_MINUTES
    raw_retention_days: int = 90
    weather_observation_days: int = 730
    weather_forecast_days: int = 90
    themeparks_wiki_url: str = THEMEPARKS_WIKI_URL
    queue_times_url: str = QUEUE_TIMES_URL
    open_meteo_url: str = OPEN_METEO_URL
    feed_requests_per_second: float = 1.0  # to a host
    feed_contact: str | None = None
    ride_vanished_days: int = 14
    auto_promote: bool = True
    alert_webhook_url: str | None = field(default=None, repr=False)
    migrations_dir: Path | None = None
    slow_query_ms: int = 1000
    sql_echo: bool = False
    statement_timeout_seconds: int = 10
    log_level: str = "INFO"
    web_concurrency: int = 2
    web_threads: int = 16
    frontend_dir: Path | None = None
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    api_rate_limit_per_hour: int = 0  # 0: no limit
    api_rate_limit_per_day: int = 0
    metrics_address: str | None = None  # METRICS_ON_MAIN or HOST:PORT
    prometheus_multiproc_dir: Path | None = None

    @property
    def metrics_listener(self) -> tuple[str, int] | None:
        """Host and port of the address that the metrics have for themselves."""
        if self.metrics_address in (None, METRICS_ON_MAIN):
            return None
        host, _, port = str(self.metrics_address).rpartition(":")
        return host.strip("[]"), int(port)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `environ` (the process environment by default). Raises BadRequest naming a bad variable."""
    read = _Reader(os.environ if environ is None else environ)
    return Settings(
        database_url=read.text("DATABASE_URL", DEFAULT_DATABASE_URL),
        host=read.text("HOST", "127.0.0.1"),
        port=read.integer("PORT", 8000, 1, 65535),
        replay_now=read.instant("REPLAY_NOW"),
        replay_tick=read.flag("REPLAY_TICK"),
        snapshot_interval_minutes=read.divisor_of_60("SNAPSHOT_INTERVAL_MINUTES", DEFAULT_INTERVAL_MINUTES),
        raw_retention_days=read.integer("RAW_RETENTION_DAYS", 90, 8, 100_000),
        weather_observation_days=read.integer("WEATHER_OBSERVATION_DAYS", 730, 1, 100_000),
        weather_forecast_days=read.integer("WEATHER_FORECAST_DAYS", 90, 1, 100_000),
        themeparks_wiki_url=read.web_address("THEMEPARKS_WIKI_URL") or THEMEPARKS_WIKI_URL,
        queue_times_url=read.web_address("QUEUE_TIMES_URL") or QUEUE_TIMES_URL,
        open_meteo_url=read.web_address("OPEN_METEO_URL") or OPEN_METEO_URL,
        feed_requests_per_second=read.number("FEED_REQUESTS_PER_SECOND", 1.0, 0.01, 1000.0),
        feed_contact=read.line("FEED_CONTACT"),
        ride_vanished_days=read.integer("RIDE_VANISHED_DAYS", 14, 1, 100_000),
        auto_promote=read.flag("AUTO_PROMOTE", "1"),
        alert_webhook_url=read.web_address("ALERT_WEBHOOK_URL"),
        migrations_dir=read.path("MIGRATIONS_DIR"),
        slow_query_ms=read.integer("SLOW_QUERY_MS", 1000, 0, 3_600_000),
        sql_echo=read.flag("SQL_ECHO"),
        statement_timeout_seconds=read.integer("STATEMENT_TIMEOUT_SECONDS", 10, 1, 3600),
        log_level=read.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
        web_concurrency=read.integer("WEB_CONCURRENCY", 2, 1, 512),
        web_threads=read.integer("WEB_THREADS", 16, 1, 512),
        frontend_dir=read.path("FRONTEND_DIR"),
        api_keys=read.names("API_KEYS"),
        api_rate_limit_per_hour=read.integer("API_RATE_LIMIT_PER_HOUR", 0, 0, 999_999_999),
        api_rate_limit_per_day=read.integer("API_RATE_LIMIT_PER_DAY", 0, 0, 999_999_999),
        metrics_address=read.metrics_address("METRICS_ADDRESS"),
        prometheus_multiproc_dir=read.path("PROMETHEUS_MULTIPROC_DIR"),
    )


class _Reader:
    """One typed look at an environment variable; an empty one counts as not set."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    def text(self, name: str, default: str) -> str:
        return self.environ.get(name, "").strip() or default

    def names(self, name: str) -> tuple[str, ...]:
        """What commas separate, trimmed. Commas alone are a mistake: what looks set would be off."""
        value = self.text(name, "")
        found = tuple(part.strip() for part in value.split(",") if part.strip())
        if value and not found:
            raise BadRequest(f"{name}={value!r} names nothing: write one or more, separated by commas.")
        return found

    def path(self, name: str) -> Path | None:
        value = self.text(name, "")
        return Path(value) if value else None

    def web_address(self, name: str) -> str | None:
        value = self.text(name, "")
        if value and not re.fullmatch(r"https?://[^/\s]+\S*", value):
            raise BadRequest(f"{name} is not an address that begins with https:// or http://.")  # it may hold a secret
        return value or None

    def metrics_address(self, name: str) -> str | None:
        value = self.text(name, "")
        if not value or value.lower() == METRICS_ON_MAIN:
            return value.lower() or None
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]@]+):([0-9]{1,5})", value, re.ASCII)
        if not found or not 1 <= int(found[2]) <= 65535:
            raise BadRequest(
                f"{name}={value!r} is no address: use {METRICS_ON_MAIN} for that of the API, one of their own such as"
                " 127.0.0.1:9100 or [::1]:9100, or leave it empty for no metrics."
            )
        return value

    def flag(self, name: str, default: str = "0") -> bool:
        value = self.text(name, default).lower()
        if value not in ("0", "1", "true", "false", "yes", "no"):
            raise BadRequest(f"{name}={value!r} is not a switch: use 1 or 0.")
        return value in ("1", "true", "yes")

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.text(name, str(default))
        if not re.fullmatch("-?[0-9]{1,9}", value) or not low <= int(value) <= high:
            raise BadRequest(f"{name}={value!r} is not a whole number from {low} to {high}.")
        return int(value)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value, re.ASCII) or not low <= float(value) <= high:
            raise BadRequest(f"{name}={value!r} is not a number from {low:g} to {high:g}.")
        return float(value)

    def line(self, name: str) -> str | None:
        value = self.text(name, "")
        if not (value.isascii() and value.isprintable()):
            raise BadRequest(f"{name} is not one line of plain ASCII.")
        return value or None

    def divisor_of_60(self, name: str, default: int) -> int:
        value = self.integer(name, default, 1, 60)
        if 60 % value:
            raise BadRequest(f"{name}={value} does not divide 60: use 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 or 60.")
        return value

    def choice(self, name: str, default: str, accepted: tuple[str, ...]) -> str:
        value = self.text(name, default).upper()
        if value not in accepted:
            raise BadRequest(f"{name}={value!r} is not one of {', '.join(accepted)}.")
        return value

    def instant(self, name: str) -> datetime | None:
        value = self.text(name, "")
        if not value:
            return None
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            raise BadRequest(f"{name}={value!r} is not an ISO 8601 instant such as 2025-05-18T15:00:00Z.") from None
        if instant.tzinfo is None:
            raise BadRequest(f"{name}={value!r} has no offset: write 2025-05-18T15:00:00Z for UTC.")
        if not 2000 <= instant.year <= 2099:
            raise BadRequest(f"{name}={value!r} is not in the years 2000 to 2099.")
        return instant.astimezone(UTC)
