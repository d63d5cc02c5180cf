"""Spans of time: Pacific days, the named periods, a park's local days. The only user of zoneinfo; pure."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from service.errors import BadRequest

PACIFIC = "America/Los_Angeles"
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
def pacific_day(day: date) -> Interval:
    """Midnight to midnight in Los Angeles: 23, 24 or 25 hours."""
    return Interval(wall_clock(day, time(0), PACIFIC), wall_clock(day + timedelta(days=1), time(0), PACIFIC))


def pacific_date(at: datetime | int) -> date:
    """The Pacific calendar date of an instant (aware datetime or epoch seconds)."""
    return local_date(at, PACIFIC)


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
    """`Nov 19, 2026`, `Nov 8-14, 2026`, `Nov 29 - Dec 5, 2026`, or `October 2026` for a whole month."""
    if first == last:
        return day_label(first)
    if first.day == 1 and last == month_end(first):
        return f"{first:%B %Y}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first:%b} {first.day}-{last.day}, {last.year}"
    return f"{first:%b} {first.day} - {last:%b} {last.day}, {last.year}"


def month_end(day: date) -> date:
    """The last day of the month of `day`."""
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
