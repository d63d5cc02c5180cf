"""The only reader of the clock."""

from datetime import UTC, datetime, timedelta

_replay_from: datetime | None = None
_replay_started: datetime | None = None


def replay(instant: datetime | None, *, tick: bool = False) -> None:
    """Fix the clock at `instant`, or let it run on from there with `tick`; None gives the real clock back."""
    global _replay_from, _replay_started
    _replay_from = instant
    _replay_started = datetime.now(UTC) if tick else None


def real() -> datetime:
    """The present instant in UTC, to the second, whatever is replayed: for leases, which other processes look at."""
    return datetime.now(UTC).replace(microsecond=0)


def now() -> datetime:
    """The present instant in UTC, to the second: everything stored and compared is in whole seconds."""
    if _replay_from is None:
        return real()
    elapsed = datetime.now(UTC) - _replay_started if _replay_started else timedelta(0)
    return (_replay_from + elapsed).replace(microsecond=0)
