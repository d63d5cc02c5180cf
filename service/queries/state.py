"""Whole numbers the service keeps about itself."""

from typing import Final

from service import rules
from service.config import DEFAULT_INTERVAL_MINUTES
from service.errors import Unavailable
from service.models import ServiceState

INTERVAL: Final = "snapshot_interval_minutes"
ACTIVE_VERSION: Final = "active_metrics_version"
NEWEST_SLOT: Final = "newest_slot"
REVISION_CURRENT: Final = "revision_current"  # moves with readings of the running Pacific day
REVISION_HISTORY: Final = "revision_history"  # moves with everything else


def get_state(name: str) -> int | None:
    """The stored number, or None before the first one."""
    row = ServiceState.get_or_none(ServiceState.name == name)
    return None if row is None else row.value


def active_version() -> int:
    """The highest version of statistics that readers take."""
    return get_state(ACTIVE_VERSION) or rules.METRICS_VERSION


def interval_minutes() -> int:
    """How far apart the stored readings are, or will be."""
    return get_state(INTERVAL) or DEFAULT_INTERVAL_MINUTES


def ensure_interval(minutes: int) -> None:
    """Raise Unavailable unless the stored readings, if there are any, are `minutes` apart."""
    stored = get_state(INTERVAL)
    if stored is not None and stored != minutes:
        raise Unavailable(
            f"The readings in this database are {stored} minutes apart, but SNAPSHOT_INTERVAL_MINUTES is {minutes}:"
            f" set SNAPSHOT_INTERVAL_MINUTES={stored}."
        )
