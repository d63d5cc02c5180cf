"""The predecessor's database: what it has, and what it says. Every SELECT on it is here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, TypeVar, cast

from peewee import Database, Field, Node, PeeweeException, Query, Table, Value, fn

from service.config import Settings
from service.database import batches, close, connect, explained, fetch
from service.errors import BadRequest
from service.models.base import Base
from service.models.predecessor import (
    OPTIONAL,
    REQUIRED,
    OldClassification,
    OldForecast,
    OldObservation,
    OldPark,
    OldReading,
    OldRide,
    OldRideDay,
    OldSchedule,
    source,
)
from service.periods import Interval, instant

NAMED = "--from"
RIDES_AT_ONCE = 500  # with more than 1,000 ids MariaDB reads the whole table
# UNIX_TIMESTAMP, the fastest way to have a DATETIME, knows no others.
EARLIEST, LATEST = datetime(2000, 1, 1), datetime(2038, 1, 1)

# Without these a table is not what it seems.
KEYS: dict[type[Base], tuple[Field[Any], ...]] = {
    OldPark: (OldPark.park_id, OldPark.name, OldPark.timezone),
    OldRide: (OldRide.ride_id, OldRide.park_id, OldRide.name),
    OldReading: (OldReading.ride_id, OldReading.recorded_at),
    OldClassification: (OldClassification.ride_id,),
    OldSchedule: (
        OldSchedule.park_id,
        OldSchedule.schedule_date,
        OldSchedule.schedule_type,
        OldSchedule.opening_time,
        OldSchedule.closing_time,
    ),
    OldRideDay: (
        OldRideDay.ride_id,
        OldRideDay.stat_date,
        OldRideDay.uptime_minutes,
        OldRideDay.downtime_minutes,
        OldRideDay.operating_hours_minutes,
    ),
    OldObservation: (OldObservation.park_id, OldObservation.observation_time),
    OldForecast: (OldForecast.park_id, OldForecast.issued_at, OldForecast.forecast_time),
}

R = TypeVar("R", bound=NamedTuple)


class RawReading(NamedTuple):
    """A reading as it stands there; `recorded_at` in epoch seconds."""

    ride_id: int
    recorded_at: int
    status: str | None
    is_open: int | None
    wait_time: int | None


class RideSpan(NamedTuple):
    """How many readings a ride has, and when the first and the last were recorded, in epoch seconds."""

    ride_id: int
    readings: int
    first: int
    last: int


class Window(NamedTuple):
    """When readings were recorded, from the first to the last, both included; naive UTC."""

    first: datetime
    last: datetime

    def has(self) -> Any:
        """The condition that a reading was recorded in it."""
        return OldReading.recorded_at.between(self.first, self.last)


@contextmanager
def opened(settings: Settings, url: str) -> Iterator[Predecessor]:
    """The predecessor at `url`, in a session that cannot write.

    Raises BadRequest for another kind of URL or database, Unreachable when it does not answer.
    """
    scheme = url.partition(":")[0]
    if scheme not in ("mysql", "mariadb"):
        raise BadRequest(f"{NAMED} begins with {scheme!r}: only mysql://user:password@host:port/name can be adopted.")
    database = connect(replace(settings, database_url=url), named=NAMED)
    source.initialize(database)
    try:
        yield Predecessor()
    finally:
        close(database)
        source.initialize(None)


class Predecessor:
    """An open predecessor. Columns that it lacks read as NULL."""

    def __init__(self) -> None:
        with _asking():
            self.tables = set(source.get_tables())
            self._columns = {
                model: {column.name for column in source.get_columns(name_of(model))}
                for model in (*REQUIRED, *OPTIONAL)
                if name_of(model) in self.tables
            }
        for model in REQUIRED:
            if lack := self.lack(model):
                raise BadRequest(f"{NAMED} is not a predecessor's database: {lack} is missing.")

    def lack(self, model: type[Base]) -> str | None:
        """What is missing of a table, if it cannot be read: itself, or a column."""
        if model not in self._columns:
            return f"the table {name_of(model)}"
        missing = [key.column_name for key in KEYS[model] if key.column_name not in self._columns[model]]
        return f"the column {name_of(model)}.{missing[0]}" if missing else None

    def read(self, model: type[Base], shape: type[R], *conditions: Node, order: Sequence[Field[Any]] = ()) -> list[R]:
        """Rows of a table as `shape`, whose fields are names of columns."""
        return [shape._make(row) for row in self.rows(model, shape._fields, *conditions, order=order)]

    def rows(
        self, model: type[Base], names: Sequence[str], *conditions: Node, order: Sequence[Field[Any]] = ()
    ) -> list[tuple[Any, ...]]:
        """Rows of a table, laid out as `names` of its columns."""
        query = model.select(*(self._column(getattr(model, name)) for name in names))
        query = query.order_by(*(field for field in order if self._has(field)))
        return _fetch(query.where(*conditions) if conditions else query)

    def count(self, table: str) -> int:
        """How many rows any table has."""
        [[rows]] = _fetch(Table(table).select(fn.COUNT(Value(1))))
        return int(rows)

    # --- readings ----------------------------------------------------------------------------------------------------

    def window(self) -> Window | None:
        """When its readings were recorded; None without any."""
        times = OldReading.recorded_at
        found = _fetch(OldReading.select(fn.MIN(times), fn.MAX(times)).where(times.between(EARLIEST, LATEST)))
        first, last = found[0]
        return Window(first, last) if first else None

    def readings_outside(self) -> int:
        """How many readings were recorded at a time that cannot be."""
        times = OldReading.recorded_at
        counts = (OldReading.select(fn.COUNT(times)).where(end) for end in (times < EARLIEST, times > LATEST))
        return sum(int(_fetch(query)[0][0]) for query in counts)

    def ride_spans(self, window: Window) -> list[RideSpan]:
        """The rides with readings in `window`, rides that no table knows among them."""
        times = OldReading.recorded_at
        query = OldReading.select(
            OldReading.ride_id, fn.COUNT(times), _seconds(fn.MIN(times)), _seconds(fn.MAX(times))
        ).where(window.has())
        return [RideSpan(*map(int, row)) for row in _fetch(query.group_by(OldReading.ride_id))]

    def readings(self, ride_ids: Sequence[int], span: Interval, window: Window) -> Iterator[RawReading]:
        """The readings of these rides that lie in both spans, each ride's in the order they were recorded."""
        columns = [self._column(field) for field in (OldReading.status, OldReading.is_open, OldReading.wait_time)]
        order = [field for field in (OldReading.recorded_at, OldReading.snapshot_id) if self._has(field)]
        for some in batches(ride_ids, RIDES_AT_ONCE):
            query = OldReading.select(OldReading.ride_id, _seconds(OldReading.recorded_at), *columns).where(
                OldReading.ride_id << some,
                OldReading.recorded_at >= max(naive(span.start), window.first),
                OldReading.recorded_at < naive(span.end),
                OldReading.recorded_at <= window.last,
            )
            for ride_id, recorded_at, *said in _fetch(query.order_by(OldReading.ride_id, *order)):
                yield RawReading(ride_id, int(recorded_at), *said)

    def next_reading(self, after: int, window: Window) -> int | None:
        """The instant of the first reading of `window` at `after` or later."""
        times = OldReading.recorded_at
        [[found]] = _fetch(OldReading.select(_seconds(fn.MIN(times))).where(times >= naive(after), window.has()))
        return None if found is None else int(found)

    def minutes_apart(self, ride_id: int) -> int | None:
        """The usual distance of the last hundred readings of a ride; None if it has not so many."""
        times = OldReading.recorded_at
        query = OldReading.select(_seconds(times)).where(
            OldReading.ride_id == ride_id, times.between(EARLIEST, LATEST)
        )
        latest = [int(at) for (at,) in _fetch(query.order_by(times.desc()).limit(100))]
        gaps = sorted(later - earlier for later, earlier in zip(latest, latest[1:], strict=False))
        return round(gaps[len(gaps) // 2] / 60) if len(latest) == 100 else None

    # --- days and weather --------------------------------------------------------------------------------------------

    def ride_days(self) -> dict[date, int]:
        """The days of the daily statistics, and how many rows each has."""
        days = OldRideDay.stat_date
        return dict(_fetch(OldRideDay.select(days, fn.COUNT(days)).group_by(days).order_by(days)))

    def times(self, field: Field[Any]) -> dict[int, Window]:
        """Per park the first and the last value of a table's DATETIME column."""
        model: Any = field.model
        query = model.select(model.park_id, fn.MIN(field), fn.MAX(field)).group_by(model.park_id)
        return {park_id: Window(first, last) for park_id, first, last in _fetch(query.order_by(model.park_id))}

    def first_created(self) -> int:
        """When its first park was entered, in epoch seconds: by this it is known again elsewhere. 0 = unknown."""
        if not self._has(OldPark.created_at):
            return 0
        return seconds(_fetch(OldPark.select(fn.MIN(OldPark.created_at)))[0][0]) or 0

    def _has(self, field: Field[Any]) -> bool:
        return field.column_name in self._columns[field.model]

    def _column(self, field: Field[Any]) -> Any:
        return field if self._has(field) else Value(None)


def seconds(moment: object) -> int | None:
    """Epoch seconds of a naive UTC datetime; None for NULL, and for the zero dates MySQL knows."""
    return int(moment.replace(tzinfo=UTC).timestamp()) if isinstance(moment, datetime) else None


def naive(at: int) -> datetime:
    """Epoch seconds as the predecessor writes instants."""
    return instant(at).replace(tzinfo=None)


def _seconds(moment: Any) -> Any:
    return fn.UNIX_TIMESTAMP(moment)


def name_of(model: type[Base]) -> str:
    """The name of a model's table."""
    name: str = model._meta.table_name
    return name


def _fetch(query: Query) -> list[tuple[Any, ...]]:
    with _asking():
        return fetch(query, cast("Database", source))


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except PeeweeException as error:
        raise explained(error, NAMED) from error
