"""Whole numbers the service keeps about itself."""

from typing import Any, Final

from service import rules
from service.config import DEFAULT_INTERVAL_MINUTES
from service.database import fetch
from service.errors import Unavailable
from service.models import ServiceState

INTERVAL: Final = "snapshot_interval_minutes"
ACTIVE_VERSION: Final = "active_metrics_version"
NEWEST_SLOT: Final = "newest_slot"
COLLECTED_SLOT: Final = "collected_slot"  # the last one that was asked for to its end
# The last slot with readings of each source: who is credited.
SOURCE_SLOTS: Final = {source: f"newest_slot_of_{source.name.lower()}" for source in rules.Source}
REVISION_CURRENT: Final = "revision_current"  # moves with readings of the running Pacific day
REVISION_HISTORY: Final = "revision_history"  # moves with everything else
RAW_FROM: Final = "raw_from"  # a Pacific midnight: readings before it are given up, deleted or not
# The world of the last `cli demo`: its parks go on for as long as there is a worker.
DEMO_PARKS: Final = "demo_parks"
DEMO_SEED: Final = "demo_seed"
DEMO_SCALE: Final = "demo_scale"


def get_state(name: str) -> int | None:
    """The stored number, or None before the first one."""
    row = ServiceState.get_or_none(ServiceState.name == name)
    return None if row is None else row.value


def newest_slot() -> Any:
    """The newest slot that readers see, as a part of a query: what is stored beyond it is not of all parks yet."""
    return ServiceState.select(ServiceState.value).where(ServiceState.name == NEWEST_SLOT)


def get_states(*names: str) -> dict[str, int]:
    """Those of the numbers that are stored, as they are at one instant."""
    found = ServiceState.select(ServiceState.name, ServiceState.value).where(ServiceState.name << list(names))
    return dict(fetch(found))


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
