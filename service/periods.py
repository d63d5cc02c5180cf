"""Spans of time: Pacific days, the named periods, a park's local days. The only user of zoneinfo; pure."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo

from service.errors import BadRequest

PACIFIC = "America/Los_Angeles"
DAY_SECONDS = 86_400
LOCAL_DAY_STARTS = time(4)  # parks that close after midnight still close before this
SETTLING_SECONDS = 15 * 60  # what was seen in a slot may be written this much later

ALIASES = {"7days": "last_week", "30days": "last_month"}
PERIODS = ("live", "today", "yesterday", "last_week", "last_month")


class Interval(NamedTuple):
    """Half-open [start, end) in epoch seconds."""

    start: int
    end: int

    def cut(self, other: "Interval") -> "Interval | None":
        """The part that lies in `other` too, or None."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Interval(start, end) if start < end else None

    def overlaps(self, other: "Interval") -> bool:
        """Whether the two share an instant."""
        return self.start < other.end and other.start < self.end

    def has(self, at: int) -> bool:
        """Whether the instant lies inside."""
        return self.start <= at < self.end

    def split(self, *cuts: int) -> "list[Interval]":
        """The pieces between the cuts that lie inside."""
        edges = [self.start, *sorted({cut for cut in cuts if self.start < cut < self.end}), self.end]
        return [Interval(start, end) for start, end in zip(edges, edges[1:], strict=False)]


class Window(NamedTuple):
    """A stretch [start, end) of epoch seconds, or of it a time of day on some weekdays, by the clocks of a zone.

    `time_of_day` is (from, until): what a clock shows from the one until just before the other. An `until` that is
    not later reaches past midnight, and belongs to the day it begins on. `weekdays`: Monday is 0.
    """

    start: int
    end: int
    time_of_day: tuple[time, time] | None = None
    weekdays: frozenset[int] | None = None

    def intervals(self, zone: str) -> list[Interval]:
        """The instants it means, in order: both of two hours that clocks show alike, none of one they skip."""
        whole = Interval(self.start, self.end)
        if self.time_of_day is None and self.weekdays is None:
            return [whole] if self.start < self.end else []
        first, last = local_date(self.start, zone) - timedelta(days=1), local_date(self.end, zone)
        days = (day for day in days_between(first, last) if self.weekdays is None or day.weekday() in self.weekdays)
        return merged(part for day in days for meant in self._on(day, zone) if (part := meant.cut(whole)))

    def _on(self, day: date, zone: str) -> list[Interval]:
        if self.time_of_day is None:
            return [calendar_day(day, zone)]
        start, until = (clock.hour * 3600 + clock.minute * 60 + clock.second for clock in self.time_of_day)
        if start < until:
            return _clock_intervals(day, start, until, zone)
        after = day + timedelta(days=1)
        return [*_clock_intervals(day, start, DAY_SECONDS, zone), *_clock_intervals(after, 0, until, zone)]


class Span(NamedTuple):
    """A run of whole Pacific days, or of one day up to `until`, and what people call it."""

    days: tuple[date, ...]
    label: str
    until: int | None = None  # only slots up to this instant (epoch seconds); None = whole days

    @property
    def interval(self) -> Interval:
        """Half-open epoch seconds from the first midnight to the last, or to just after `until`."""
        end = pacific_day(self.days[-1]).end
        return Interval(pacific_day(self.days[0]).start, end if self.until is None else min(end, self.until + 1))


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def known_zone(name: str) -> bool:
    """Whether `name` is a time zone of the IANA database."""
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def country_of(zone_name: str) -> str | None:
    """The code of the country that a time zone is mainly of; None for one of none, and for old names of zones."""
    return _countries().get(zone_name)


def is_country(code: str) -> bool:
    """Whether two capital letters are the code of a country (ISO 3166)."""
    return code in _countries().values()


@lru_cache(maxsize=1)
def _countries() -> dict[str, str]:
    lines = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return {row[2]: row[0] for row in rows if len(row) > 2}


def epoch(instant: datetime) -> int:
    """Whole epoch seconds of an aware instant."""
    return int(instant.timestamp())


def instant(seconds: int) -> datetime:
    """The aware UTC datetime of epoch seconds."""
    return datetime.fromtimestamp(seconds, UTC)


def iso_utc(at: datetime | int) -> str:
    """`2026-11-20T22:50:00Z`, of an aware datetime or epoch seconds."""
    moment = instant(at) if isinstance(at, int) else at.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def wall_clock(day: date, clock: time, zone: str) -> int:
    """Epoch seconds at which clocks in `zone` show `clock` on `day`; the first of two in autumn."""
    return epoch(datetime.combine(day, clock, _zone(zone)))


@lru_cache(maxsize=4096)
def iso_local(at: int, zone: str) -> str:
    """`2026-11-20T14:50:00-08:00`, of epoch seconds by the clocks of `zone`."""
    return instant(at).astimezone(_zone(zone)).isoformat()


@lru_cache(maxsize=4096)
def pacific_day(day: date) -> Interval:
    """Midnight to midnight in Los Angeles: 23, 24 or 25 hours."""
    return calendar_day(day, PACIFIC)


@lru_cache(maxsize=65_536)
def calendar_day(day: date, zone: str) -> Interval:
    """Midnight to midnight by the clocks of `zone`."""
    return Interval(wall_clock(day, time(0), zone), wall_clock(day + timedelta(days=1), time(0), zone))


def local_hour(at: int, zone: str) -> int:
    """The hour, 0-23, that clocks in `zone` show at epoch seconds."""
    return instant(at).astimezone(_zone(zone)).hour


def _clock_intervals(day: date, start: int, until: int, zone: str) -> list[Interval]:
    """When on `day` the clocks of `zone` show from `start` until `until`, in seconds after midnight by the clock."""
    midnight = epoch(datetime.combine(day, time(0), UTC))
    pieces = _steady(day, zone)
    shown = ((Interval(midnight + start - ahead, midnight + until - ahead), piece) for piece, ahead in pieces)
    return [part for interval, piece in shown if (part := interval.cut(piece))]


@lru_cache(maxsize=4096)
def _steady(day: date, zone: str) -> list[tuple[Interval, int]]:
    """The calendar day in pieces of one UTC offset, and that offset in seconds: two when clocks are changed."""
    whole = calendar_day(day, zone)
    first, last = _offset(whole.start, zone), _offset(whole.end - 1, zone)
    if first == last:
        return [(whole, first)]
    before, change = whole.start, whole.end - 1
    while change - before > 1:
        middle = (before + change) // 2
        before, change = (middle, change) if _offset(middle, zone) == first else (before, middle)
    return [(Interval(whole.start, change), first), (Interval(change, whole.end), last)]


def _offset(at: int, zone: str) -> int:
    offset = instant(at).astimezone(_zone(zone)).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Overlapping and touching intervals as one, in order."""
    result: list[Interval] = []
    for interval in sorted(intervals):
        if result and interval.start <= result[-1].end:
            result[-1] = Interval(result[-1].start, max(result[-1].end, interval.end))
        else:
            result.append(interval)
    return result


def pacific_date(at: datetime | int) -> date:
    """The Pacific calendar date of an instant (aware datetime or epoch seconds)."""
    return _pacific_date((at if isinstance(at, int) else epoch(at)) // 3600)


@lru_cache(maxsize=65_536)
def _pacific_date(hour: int) -> date:
    """That of a whole hour: Los Angeles is whole hours away from UTC, and each request asks."""
    return local_date(hour * 3600, PACIFIC)


def pacific_clock(at: int) -> str:
    """`14:05`, what clocks in Los Angeles show at epoch seconds."""
    return f"{instant(at).astimezone(_zone(PACIFIC)):%H:%M}"


def local_date(at: datetime | int, zone: str) -> date:
    """The calendar date of an instant in `zone`."""
    moment = instant(at) if isinstance(at, int) else at
    return moment.astimezone(_zone(zone)).date()


@lru_cache(maxsize=65_536)
def local_day(day: date, zone: str) -> Interval:
    """04:00 to 04:00 in the park's own zone: the day of service windows and outages."""
    start, end = (wall_clock(date_, LOCAL_DAY_STARTS, zone) for date_ in (day, day + timedelta(days=1)))
    return Interval(start, end)


def local_days(span: Interval, zone: str) -> list[date]:
    """The park-local dates whose local day overlaps `span`."""
    first = local_date(span.start, zone) - timedelta(days=1)
    last = local_date(span.end, zone)
    return [day for day in days_between(first, last) if local_day(day, zone).overlaps(span)]


def local_day_of(at: int, zone: str) -> date:
    """The park-local date whose local day holds an instant."""
    return local_days(Interval(at, at + 1), zone)[0]


def pacific_days(span: Interval) -> list[date]:
    """The Pacific dates that overlap `span`."""
    return list(days_between(pacific_date(span.start), pacific_date(span.end - 1)))


def settles_at(day: date, zone: str) -> int:
    """When nothing more can change a Pacific day of a park: soon after the last local day that overlaps it."""
    return local_day(local_days(pacific_day(day), zone)[-1], zone).end + SETTLING_SECONDS


def days_between(first: date, last: date) -> Iterator[date]:
    """All dates from `first` to `last`, both included; none if last is before first."""
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


def last_days(day: date, count: int) -> tuple[date, ...]:
    """The `count` dates that end with `day`, oldest first."""
    return tuple(days_between(day - timedelta(days=count - 1), day))


def week_of(day: date) -> tuple[date, ...]:
    """The seven dates, Sunday to Saturday, among which `day` is."""
    return last_days(day + timedelta(days=6 - day.isoweekday() % 7), 7)


def named(period: str, now: datetime) -> Span:
    """The span of a named period as of `now`. Raises BadRequest for an unknown name."""
    today = pacific_date(now)
    match ALIASES.get(period, period):
        case "live" | "today":
            return Span((today,), day_label(today), epoch(now))
        case "yesterday":
            return _days(today - timedelta(days=1), today - timedelta(days=1))
        case "last_week":
            sunday, *_, saturday = week_of(today - timedelta(days=7))
            return _days(sunday, saturday)
        case "last_month":
            last = today.replace(day=1) - timedelta(days=1)
            return _days(last.replace(day=1), last)
        case "7day-average":
            return _days(today - timedelta(days=7), today - timedelta(days=1))
    raise BadRequest(f"Invalid period {period!r}: use one of {', '.join([*PERIODS, *ALIASES])}.")


def before(period: str, now: datetime) -> Span:
    """The span a named period is compared with: for today, yesterday until the same time on the clock."""
    span = named(period, now)
    first = span.days[0]
    if span.until is not None:
        clock = now.astimezone(_zone(PACIFIC)).time()
        yesterday = first - timedelta(days=1)
        return Span((yesterday,), day_label(yesterday), wall_clock(yesterday, clock, PACIFIC))
    if ALIASES.get(period, period) == "last_month":
        return named("last_month", instant(pacific_day(first).start))
    return _days(first - timedelta(days=len(span.days)), first - timedelta(days=1))


def _days(first: date, last: date) -> Span:
    return Span(tuple(days_between(first, last)), days_label(first, last))


def day_label(day: date) -> str:
    """`Nov 19, 2026`"""
    return f"{day:%b} {day.day}, {day.year}"


def days_label(first: date, last: date) -> str:
    """`Nov 19, 2026`, `Nov 8-14, 2026`, `Nov 29 - Dec 5, 2026`, or `October 2026` for a whole month. A week is named by
    the year it ends in, what is longer and crosses years by both."""
    if first == last:
        return day_label(first)
    if first.day == 1 and last == month_end(first):
        return f"{first:%B %Y}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first:%b} {first.day}-{last.day}, {last.year}"
    year = f", {first.year}" if first.year != last.year and (last - first).days >= 7 else ""
    return f"{first:%b} {first.day}{year} - {last:%b} {last.day}, {last.year}"


def month_end(day: date) -> date:
    """The last day of the month of `day`."""
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
