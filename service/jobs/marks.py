"""What every write makes known: the revisions move, and days whose statistics no longer hold become dirty.

Written last in their transaction, so that these rows are locked for moments only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Any, TypeVar

from peewee import Case, IntegrityError, OperationalError

from service import periods, rules
from service.database import CONFLICT_CODES, batches, db, fetch, is_mysql
from service.models import ServiceState, StatDay
from service.queries import state
from service.queries.days import ADOPTED_VERSION, first_whole_day, whole_from

ATTEMPTS = 5
DUPLICATE_KEY = 1062
OVERTAKEN = {DUPLICATE_KEY, *CONFLICT_CODES}

R = TypeVar("R")


def atomically(write: Callable[[], R]) -> R:
    """Run `write` in one transaction; anew when another writer got in between."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with db.atomic():
                return write()
        except (IntegrityError, OperationalError) as error:
            code = error.args[0] if error.args else None
            if attempt == ATTEMPTS or code not in OVERTAKEN or db.in_transaction():
                raise
    raise AssertionError("not reached")


# --- what the service keeps about itself -----------------------------------------------------------------------------


def bump(name: str) -> None:
    """Move a revision on by one; writers at the same moment each move it."""
    _write_state(name, 1, ServiceState.value + 1)


def raise_state(name: str, value: int) -> None:
    """Store `value` unless a larger one is there."""
    _write_state(name, value, Case(None, [(ServiceState.value < value, value)], ServiceState.value))


def set_state(name: str, value: int) -> None:
    """Store `value`, whatever is there."""
    _write_state(name, value, value)


def move_revisions(*, current: bool, history: bool) -> None:
    """To be called before days are marked dirty: a day that is being computed meanwhile is stored only if the
    revision is still the one it began with, so either it is not stored, or its entry is there to be marked."""
    if current:
        bump(state.REVISION_CURRENT)
    if history:
        bump(state.REVISION_HISTORY)


def locked_revision() -> int:
    """The revision of the past, which nobody moves until this transaction ends."""
    return _locked(state.REVISION_HISTORY) or 0


def _locked(name: str) -> int | None:
    """The number as it is now, not as it was when the transaction began to read; it stays so until the end of it."""
    query = ServiceState.select(ServiceState.value).where(ServiceState.name == name)
    row = fetch(query.for_update() if is_mysql() else query)
    return row[0][0] if row else None


def _write_state(name: str, first: int, later: object) -> None:
    target = {} if is_mysql() else {"conflict_target": [ServiceState.name]}
    query = ServiceState.insert({ServiceState.name: name, ServiceState.value: first})
    query.on_conflict(update={ServiceState.value: later}, **target).execute()


def claim_interval(interval_minutes: int) -> None:
    """Make this the interval of the stored readings; raise Unavailable if they have another."""
    stored = state.get_state(state.INTERVAL)
    if stored is None:
        ServiceState.insert({ServiceState.name: state.INTERVAL, ServiceState.value: interval_minutes}).execute()
    elif stored != interval_minutes:
        state.ensure_interval(interval_minutes)


# --- days whose statistics no longer hold ----------------------------------------------------------------------------


def judged_on(local_dates: Iterable[date], zone: str) -> set[date]:
    """The Pacific days whose statistics use readings of these local days: those that overlap them and, for the
    roster, the six that follow each."""
    overlapping = {day for local in local_dates for day in periods.pacific_days(periods.local_day(local, zone))}
    return {day + timedelta(days=later) for day in overlapping for later in range(rules.ROSTER_DAYS)}


def mark_dirty(days: Iterable[date], *, seen: int = 0) -> int:
    """Mark the days whose statistics were computed, at the instant `seen` or later; the others will be computed anyway.
    Returns how many were marked."""
    in_order = sorted(days)
    if not in_order:
        return 0
    marked, can_be_dirty = 0, _can_be_dirty()
    for batch in batches(in_order, 500):
        computed = StatDay.update({StatDay.dirty: True}).where(
            StatDay.stat_date << batch, StatDay.computed_at >= seen, can_be_dirty
        )
        marked += int(computed.execute() or 0)
    return marked


def mark_raw_days_dirty() -> None:
    """Every day that can be computed again."""
    first = first_whole_day()
    if first is not None:
        StatDay.update({StatDay.dirty: True}).where(StatDay.stat_date >= first, _can_be_dirty()).execute()


def _can_be_dirty() -> Any:
    """Adopted statistics are not made of the readings held: what those become does not spoil them. Nor does anything
    spoil those of days whose readings are gone: they stay what they were computed to be."""
    clean = ~StatDay.dirty & (StatDay.metrics_version != ADOPTED_VERSION)
    raw_from = _locked(state.RAW_FROM)
    return clean if raw_from is None else clean & (StatDay.stat_date >= whole_from(raw_from))
