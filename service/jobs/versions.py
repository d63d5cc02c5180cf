"""Versions of the statistics: made known, promoted, dropped. Each can be stopped at any moment and run again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from functools import partial

from service import VERSION, rules
from service.database import fetch
from service.errors import BadRequest
from service.jobs.marks import atomically, locked_revision, move_revisions, set_state
from service.models import DailyParkStats, DailyStats, MetricsVersion, StatDay, YearlyParkStats, YearlyRideStats
from service.queries import state
from service.queries.days import ADOPTED_VERSION, first_whole_day
from service.queries.hours import as_date
from service.queries.versions import clean_days

SOME_DAYS = 3  # of those that stand in the way are named
DAILY = (DailyStats, DailyParkStats, StatDay)
YEARLY = (YearlyParkStats, YearlyRideStats)


def register(version: int, now: datetime) -> None:
    """Make a version known that days are about to be computed at, unless it is."""
    atomically(partial(_register, version, now))


def _register(version: int, now: datetime) -> None:
    table = MetricsVersion
    if table.get_or_none(table.version == version) is None:
        description = f"rules {rules.METRICS_VERSION} of release {VERSION}"
        table.insert({table.version: version, table.description: description, table.created_at: now}).execute()


def promote(version: int, now: datetime) -> bool:
    """Let readers take this version, and below it the highest each day has. False if it was active already.

    Raises BadRequest for a version without a day that holds, and for adopted history, which is read without that.
    """
    if version == ADOPTED_VERSION:
        raise BadRequest("Version 0 is adopted history: it is read wherever no other version holds.")
    return atomically(partial(_promote, version, now))


def _promote(version: int, now: datetime) -> bool:
    locked_revision()
    if state.get_state(state.ACTIVE_VERSION) == version:
        return False
    if not clean_days(version):
        raise BadRequest(
            f"Version {version} has no day that holds: compute it first, `cli recompute --metrics-version {version}"
            " --days N`."
        )
    _ensure_nothing_disappears(version)
    _register(version, now)
    table = MetricsVersion
    table.update({table.promoted_at: now}).where(table.version == version).execute()
    set_state(state.ACTIVE_VERSION, version)
    # Of the running day too: its trends look at the days before.
    move_revisions(current=True, history=True)
    return True


def _ensure_nothing_disappears(version: int) -> None:
    """Raise BadRequest if days whose readings are gone have rows above this version only."""
    held = first_whole_day()
    above = StatDay.select(StatDay.stat_date).where(StatDay.metrics_version > version)
    gone = {day for day in (as_date(found) for (found,) in fetch(above)) if held is None or day < held}
    lost = sorted(gone - _readable(gone, version))
    if lost:
        raise BadRequest(
            f"Days whose readings are gone, with statistics above version {version} only: {_some(lost)}. Answers would"
            " not know them any more. Nothing was changed."
        )


def drop(version: int) -> int:
    """Delete a version and its statistics, a day a transaction; how many days it had.

    Raises BadRequest for the active version, and while a day would lose its only version: what remains of a day must
    hold, and not be above the active one.
    """
    _ensure_not_active(version)
    days = sorted(_days(version))
    lonely = _left_without(version, days)
    if lonely:
        raise BadRequest(_would_be_lost(version, lonely))
    for day in days:
        atomically(partial(_drop_day, version, day))
    atomically(partial(_forget, version, bool(days)))
    return len(days)


def _ensure_not_active(version: int) -> None:
    if version == state.active_version():
        raise BadRequest(f"Version {version} is the active one: promote another first, `cli metrics promote V`.")


def _would_be_lost(version: int, lonely: list[date]) -> str:
    return (
        f"Days that would lose their only version: {_some(lonely)}. Compute them at another first,"
        f" `cli recompute --metrics-version V`. Nothing of version {version} was dropped."
    )


def _some(days: list[date]) -> str:
    named = ", ".join(str(day) for day in days[:SOME_DAYS]) + (", ..." if len(days) > SOME_DAYS else "")
    return f"{len(days)} ({named})"


def _days(version: int) -> set[date]:
    query = StatDay.select(StatDay.stat_date).where(StatDay.metrics_version == version)
    return {as_date(day) for (day,) in fetch(query)}


def _left_without(version: int, days: Collection[date]) -> list[date]:
    """Those of the days that readers could take of no other version."""
    return sorted(set(days) - _readable(days, state.active_version(), but=version))


def _readable(days: Collection[date], active: int, but: int | None = None) -> set[date]:
    """Those of the days that readers would take of a version up to `active`, other than `but`."""
    if not days:
        return set()
    found = StatDay.select(StatDay.stat_date, StatDay.metrics_version).where(
        StatDay.stat_date.between(min(days), max(days)), StatDay.metrics_version <= active, ~StatDay.dirty
    )
    return {as_date(day) for day, version in fetch(found) if version != but}


def _drop_day(version: int, day: date) -> None:
    """Delete a day's rows and entry, unless it has become its only version meanwhile."""
    locked_revision()
    _ensure_not_active(version)
    if _left_without(version, [day]):
        raise BadRequest(f"{day} would lose its only version: it has changed meanwhile. Run the command again.")
    for table in DAILY:
        table.delete().where(table.stat_date == day, table.metrics_version == version).execute()


def _forget(version: int, days_dropped: bool) -> None:
    _ensure_not_active(version)
    for table in YEARLY:
        table.delete().where(table.metrics_version == version).execute()
    gone = MetricsVersion.delete().where(MetricsVersion.version == version).execute()
    if gone or days_dropped:
        move_revisions(current=True, history=True)
