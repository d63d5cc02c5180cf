"""How long the critical questions take: what is measured, and when it is too slow. Times are in milliseconds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import product
from time import perf_counter_ns
from typing import Any, NamedTuple
from urllib.parse import urlencode

from peewee import Expression, Field, PeeweeException, fn

from service import rules
from service.database import asking, db, explained, fetch, upsert
from service.errors import ServiceError
from service.models import ParkSchedule, PerformanceBaseline, Ride, RideStatusSnapshot
from service.models.base import rows
from service.periods import instant, iso_utc, pacific_date, pacific_day
from service.queries import live, state
from service.queries.charts import HEATMAPS, MEASURES
from service.queries.days import Tallies
from service.queries.details import CHARTS
from service.queries.trends import CATEGORIES, ENTITIES
from service.queries.versions import clean_days

SLOWER_PERCENT = 25  # from here on a query has become too slow
LEAST_SAMPLES = 20  # with fewer, the 95th percentile is the slowest of them
SUM = "a sum, without the database"
BASELINE = timedelta(days=30)
KEPT = timedelta(days=400)

PERIODS = ("live", "today", "last_month")  # of the newest slot, from readings, from stored days
MONTH, DAY = timedelta(days=30), timedelta(days=1)
OF_PARK, OF_RIDE = "/api/parks/<park_id>", "/api/rides/<ride_id>"

WORSE, FINE = "worse", "fine"
SHORT, NEW, LEFT_OUT = "too few samples", "no baseline", "not captured"


# --- what is measured ------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A question that users put: the template of its path with the ids in it, and its parameters. `name` is the same
    in every database, on every day."""

    name: str
    route: str
    query: str
    ids: Mapping[str, int]

    @property
    def path(self) -> str:
        """What a client asks for."""
        path = self.route
        for name, number in self.ids.items():
            path = path.replace(f"<{name}>", str(number))
        return f"{path}?{self.query}" if self.query else path


def questions(now: datetime, periods: Collection[str] = PERIODS) -> Iterator[Asked]:
    """Every path that is asked by GET and reads readings or statistics, with every kind it has, over these periods."""
    spans = [period for period in periods if period != "live"]
    for route, period in product(("parks/downtime", "parks/waittimes", "rides/downtime", "rides/waittimes"), periods):
        yield _asked(f"/api/{route}", period=period, limit=200)
    for mode in ("7day-average", "peak-times"):
        yield _asked("/api/rides/waittimes", mode=mode)
    for kind, period in product(MEASURES, periods):
        yield _asked("/api/trends/chart-data", type=kind, period=period, limit=20)
    for kind, period in product(HEATMAPS, spans):
        yield _asked("/api/trends/heatmap-data", type=kind, period=period, limit=20)
    for route, entity, period in product(("longest-wait-times", "least-reliable"), ENTITIES, spans):
        yield _asked(f"/api/trends/{route}", entity=entity, period=period)
    for category, period in product(CATEGORIES, spans):
        yield _asked("/api/trends", category=category, period=period)
    for route in ("live/status-summary", "search/index", "parks/awards", "rides/awards"):
        yield _asked(f"/api/{route}")
    for route in ("status", "anomalies", "flagged-entities", "data-quality", "data-quality/summary"):
        yield _asked(f"/api/audit/{route}")
    yield _of_window(_asked("/api/analytics/series", group_by="park", time_of_day="11:30-13:45"), now, DAY)
    for note, park_id, ride_id in _examples():
        yield from _of_one(note, {"park_id": park_id}, {"ride_id": ride_id}, now, periods)


def _of_one(
    note: str, park: dict[str, int], ride: dict[str, int], now: datetime, periods: Collection[str]
) -> Iterator[Asked]:
    """What is asked of one park and a ride of it."""
    yield _asked(f"{OF_PARK}/rides", note, park)
    for period in periods:
        yield _asked(f"{OF_PARK}/details", note, park, period=period)
        yield _asked(f"{OF_RIDE}/details", note, ride, period=period)
    for kind, period in product(CHARTS, periods):
        if period != "live":
            yield _asked(f"{OF_PARK}/rides/charts", note, park, type=kind, period=period)
    yield _asked(f"{OF_PARK}/outages", note, park)
    yield _asked(f"{OF_RIDE}/outages", note, ride)
    for group, one in (("park", park), ("ride", ride)):
        asked = _of_window(_asked("/api/analytics/series", note, group_by=group, bucket="1h"), now, MONTH)
        yield asked._replace(query=f"{asked.query}&{urlencode(one)}")


def _asked(route: str, note: str = "", ids: Mapping[str, int] | None = None, **parameters: object) -> Asked:
    query = urlencode(parameters, safe=":")
    return Asked(f"{route}?{query}{note}" if query else f"{route}{note}", route, query, ids or {})


def _of_window(asked: Asked, now: datetime, length: timedelta) -> Asked:
    """`asked` of the time up to now."""
    window = urlencode({"start": iso_utc(now - length), "end": iso_utc(now)})
    return asked._replace(query=f"{asked.query}&{window}")


def _examples() -> Iterator[tuple[str, int, int]]:
    """A park with posted hours and one whose hours are inferred, where there are such, and the first ride of each."""
    posted = {park_id for (park_id,) in fetch(ParkSchedule.select(ParkSchedule.park).distinct())}
    found: dict[bool, tuple[int, int]] = {}
    for park_id, ride_id in fetch(Ride.select(Ride.park, Ride.ride_id).order_by(Ride.ride_id)):
        found.setdefault(park_id in posted, (park_id, ride_id))
    for is_posted, (park_id, ride_id) in sorted(found.items()):
        yield f" (hours {'posted' if is_posted else 'inferred'})", park_id, ride_id


def _readings_of_a_day(now: datetime) -> int:
    day = pacific_day(pacific_date(now) - timedelta(days=1))
    slot = RideStatusSnapshot.snapshot_time
    return RideStatusSnapshot.select().where(slot >= day.start, slot < day.end).count()


def _newest_slots(now: datetime) -> list[int | None]:
    tallies = Tallies(now)
    return [live.newest_slot(tallies, park) for park in tallies.universe.parks.values()]


QUERIES: dict[str, Callable[[datetime], object]] = {  # that many answers and jobs rest on
    SUM: lambda now: sum(range(300_000)),  # tells a slower machine from slower questions
    "the readings of a day, counted": _readings_of_a_day,
    "the newest slot of each park": _newest_slots,
    "the days of the ledger": lambda now: clean_days(state.active_version()),
}


# --- measuring -------------------------------------------------------------------------------------------------------


class Timing(NamedTuple):
    """How long a query took, in milliseconds. Percentiles are at the nearest rank."""

    query_name: str
    sample_count: int
    avg_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Measured(NamedTuple):
    """What was measured, and why the rest could not be, by name."""

    timings: list[Timing]
    failed: dict[str, str]


def measure(asked: Mapping[str, Callable[[], object]], rounds: int, progress: Callable[[], None]) -> Measured:
    """Ask each so many times, after one time that does not count: it imports and connects. One that fails is left out.

    All are asked in turn: what disturbs the machine for a moment spoils a sample of each, not all samples of one.
    """
    samples: dict[str, list[int]] = {name: [] for name in asked}
    failed: dict[str, str] = {}
    for number, (name, ask) in product(range(rounds + 1), asked.items()):
        progress()
        if name in failed:
            continue
        started = perf_counter_ns()
        try:
            with asking(f"cli perf, {name}"):
                ask()
        except (ServiceError, PeeweeException) as error:
            failed[name] = str(explained(error) if isinstance(error, PeeweeException) else error)
        if number:
            samples[name].append((perf_counter_ns() - started) // 1000)
    return Measured([timing(name, found) for name, found in samples.items() if name not in failed], failed)


def timing(query_name: str, microseconds: Sequence[int]) -> Timing:
    """The figures of one or more samples."""
    counts = Counter(microseconds)
    p50, p95, p99 = ((rules.percentile(counts, percent) or 0) / 1000 for percent in (50, 95, 99))
    average = round(Fraction(sum(microseconds), len(microseconds)))
    return Timing(query_name, len(microseconds), average / 1000, p50, p95, p99)


# --- judging ---------------------------------------------------------------------------------------------------------


class Comparison(NamedTuple):
    """A query against its baseline. What is not known is None."""

    query_name: str
    verdict: str  # worse, fine, too few samples, no baseline, not captured
    p95_ms: float | None = None
    baseline_ms: float | None = None
    change_percent: float | None = None


def compare(newest: Mapping[str, Timing], before: Mapping[str, Sequence[Timing]]) -> list[Comparison]:
    """Each query of the newest capture against those before, by name; then those that are no more in it."""
    found = [_compared(newest[name], before.get(name, ())) for name in sorted(newest)]
    return [*found, *(Comparison(name, LEFT_OUT) for name in sorted(set(before) - set(newest)))]


def _compared(newest: Timing, before: Sequence[Timing]) -> Comparison:
    """Against the median of the 95th percentiles of all captures with enough samples."""
    name, p95 = newest.query_name, newest.p95_ms
    if not before:
        return Comparison(name, NEW, p95)
    enough = Counter(_microseconds(one.p95_ms) for one in before if one.sample_count >= LEAST_SAMPLES)
    baseline = rules.percentile(enough, 50)
    if not baseline or newest.sample_count < LEAST_SAMPLES:
        return Comparison(name, SHORT, p95)
    change = 100 * (Fraction(_microseconds(p95), baseline) - 1)
    verdict = WORSE if change >= SLOWER_PERCENT else FINE
    return Comparison(name, verdict, p95, baseline / 1000, rules.rounded(change, 1))


def _microseconds(milliseconds: float) -> int:
    """Whole, as they were measured: a limit is met exactly."""
    return round(milliseconds * 1000)


def is_well(compared: Sequence[Comparison]) -> bool:
    """Whether everything that was measured before is known to be as fast as it was."""
    verdicts = {one.verdict for one in compared}
    return FINE in verdicts and verdicts <= {FINE, NEW}


# --- what is kept ----------------------------------------------------------------------------------------------------


def store_capture(timings: Sequence[Timing], now: datetime) -> int:
    """Store a capture, in the place of one of the same second, and delete what is past its time. Returns the rows
    deleted."""
    table = PerformanceBaseline
    key: list[Field[Any]] = [table.query_name, table.captured_at]
    columns = [*key, table.sample_count, table.avg_ms, table.p50_ms, table.p95_ms, table.p99_ms]
    with db.atomic():
        upsert(table, columns, [(one.query_name, now, *one[1:]) for one in timings], key=key)
        return int(table.delete().where(table.captured_at < now - KEPT).execute())


def newest_capture(now: datetime) -> datetime | None:
    """When the newest capture was made."""
    captured = PerformanceBaseline.captured_at
    newest = fetch(PerformanceBaseline.select(fn.MAX(captured)).where(captured <= now))[0][0]
    return None if newest is None else instant(newest)


def capture_of(day: date, before: datetime) -> datetime | None:
    """When the last capture of a Pacific day was made that is older than another."""
    span, captured = pacific_day(day), PerformanceBaseline.captured_at
    found = PerformanceBaseline.select(fn.MAX(captured)).where(
        captured >= instant(span.start), captured < min(instant(span.end), before)
    )
    newest = fetch(found)[0][0]
    return None if newest is None else instant(newest)


def timings_at(captured_at: datetime) -> dict[str, Timing]:
    """A capture, by query."""
    found = _timings(PerformanceBaseline.captured_at == captured_at)
    return {name: one for name, (one,) in found.items()}


def timings_before(captured_at: datetime) -> dict[str, list[Timing]]:
    """The captures of the 30 days before another, by query."""
    captured = PerformanceBaseline.captured_at
    return _timings((captured >= captured_at - BASELINE) & (captured < captured_at))


def _timings(condition: Expression) -> dict[str, list[Timing]]:
    table = PerformanceBaseline
    query = table.select(
        table.query_name, table.sample_count, table.avg_ms, table.p50_ms, table.p95_ms, table.p99_ms
    ).where(condition)
    found: dict[str, list[Timing]] = defaultdict(list)
    for row in rows(query, Timing):
        found[row.query_name].append(row)
    return found
