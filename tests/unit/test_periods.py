"""Days, periods and intervals, around both changes of the clocks."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import periods
from service.errors import BadRequest
from service.periods import Interval, Span

HOUR = 3600
DATES = st.dates(date(2000, 1, 1), date(2060, 12, 31))
ZONES = st.sampled_from(sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc")))
NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)  # Saturday, 10:00 Pacific


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_pacific_days_have_23_24_or_25_hours() -> None:
    spans = [periods.pacific_day(day) for day in (date(2026, 3, 8), date(2026, 6, 1), date(2026, 11, 1))]
    assert [(span.end - span.start) // HOUR for span in spans] == [23, 24, 25]


def test_a_winter_day_begins_at_8_and_a_summer_day_at_7_utc() -> None:
    assert periods.instant(periods.pacific_day(date(2026, 1, 5)).start) == at("2026-01-05T08:00:00+00:00")
    assert periods.instant(periods.pacific_day(date(2026, 7, 5)).start) == at("2026-07-05T07:00:00+00:00")


@given(DATES)
def test_days_tile_time(day: date) -> None:
    assert periods.pacific_day(day).end == periods.pacific_day(day + timedelta(days=1)).start


@given(st.datetimes(datetime(2000, 1, 2), datetime(2060, 1, 1), timezones=st.just(UTC)))
def test_every_instant_is_in_the_day_of_its_date(moment: datetime) -> None:
    assert periods.pacific_day(periods.pacific_date(moment)).has(int(moment.timestamp()))


@given(DATES, ZONES)
def test_local_days_cover_a_pacific_day(day: date, zone: str) -> None:
    span = periods.pacific_day(day)
    days = periods.local_days(span, zone)
    bounds = [periods.local_day(local, zone) for local in days]
    assert bounds[0].start <= span.start and bounds[-1].end >= span.end
    assert all(one.end == other.start for one, other in zip(bounds, bounds[1:], strict=False))
    assert periods.settles_at(day, zone) == bounds[-1].end + 15 * 60
    assert periods.local_day_of(span.start, zone) == days[0]


@pytest.mark.parametrize(
    ("period", "first", "last", "label"),
    [
        ("today", "2026-11-21", "2026-11-21", "Nov 21, 2026"),
        ("yesterday", "2026-11-20", "2026-11-20", "Nov 20, 2026"),
        ("last_week", "2026-11-08", "2026-11-14", "Nov 8-14, 2026"),
        ("7days", "2026-11-08", "2026-11-14", "Nov 8-14, 2026"),
        ("last_month", "2026-10-01", "2026-10-31", "October 2026"),
        ("30days", "2026-10-01", "2026-10-31", "October 2026"),
        ("7day-average", "2026-11-14", "2026-11-20", "Nov 14-20, 2026"),
    ],
)
def test_named_periods(period: str, first: str, last: str, label: str) -> None:
    span = periods.named(period, NOW)
    assert (str(span.days[0]), str(span.days[-1]), span.label) == (first, last, label)
    assert len(span.days) == (span.days[-1] - span.days[0]).days + 1


def test_a_week_across_months_names_both() -> None:
    assert periods.named("last_week", at("2026-12-06T20:00:00+00:00")).label == "Nov 29 - Dec 5, 2026"


@pytest.mark.parametrize("weekday", range(7))
def test_last_week_is_sunday_to_saturday_on_every_weekday(weekday: int) -> None:
    span = periods.named("last_week", NOW + timedelta(days=weekday))
    assert [span.days[0].isoweekday(), span.days[-1].isoweekday()] == [7, 6]
    assert 1 <= (periods.pacific_date(NOW + timedelta(days=weekday)) - span.days[-1]).days <= 7


def test_the_day_turns_at_pacific_midnight_not_at_utc_midnight() -> None:
    assert str(periods.named("today", at("2026-07-02T06:59:59+00:00")).days[0]) == "2026-07-01"
    assert str(periods.named("today", at("2026-07-02T07:00:00+00:00")).days[0]) == "2026-07-02"


def test_today_ends_now() -> None:
    span = periods.named("today", NOW)
    assert span.until == int(NOW.timestamp())
    assert span.interval == Interval(periods.pacific_day(date(2026, 11, 21)).start, int(NOW.timestamp()) + 1)


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        ("yesterday", "2026-11-19", "2026-11-19"),
        ("last_week", "2026-11-01", "2026-11-07"),
        ("last_month", "2026-09-01", "2026-09-30"),
        ("7day-average", "2026-11-07", "2026-11-13"),
    ],
)
def test_the_span_before(period: str, first: str, last: str) -> None:
    span = periods.before(period, NOW)
    assert (str(span.days[0]), str(span.days[-1]), span.until) == (first, last, None)


@pytest.mark.parametrize("period", ["today", "live"])
def test_today_is_compared_with_yesterday_until_the_same_time_on_the_clock(period: str) -> None:
    morning_after_the_change = at("2026-11-02T18:37:00+00:00")  # 10:37 PST, the day before was 25 hours long
    span = periods.before(period, morning_after_the_change)
    assert span.days == (date(2026, 11, 1),)
    assert periods.instant(span.until or 0) == at("2026-11-01T18:37:00+00:00")
    first_summer_day = at("2026-03-08T17:37:00+00:00")  # 10:37 PDT
    assert periods.instant(periods.before(period, first_summer_day).until or 0) == at("2026-03-07T18:37:00+00:00")


@given(st.datetimes(datetime(2001, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)))
def test_spans_do_not_overlap_the_span_before(moment: datetime) -> None:
    for period in ("yesterday", "last_week", "last_month", "7day-average"):
        assert periods.before(period, moment).days[-1] + timedelta(days=1) == periods.named(period, moment).days[0]


def test_an_unknown_period_is_refused_with_what_is_accepted() -> None:
    with pytest.raises(BadRequest, match="last_week"):
        periods.named("fortnight", NOW)


def test_a_span_of_days_is_their_interval() -> None:
    span = Span((date(2026, 11, 1), date(2026, 11, 2)), "")
    assert (span.interval.end - span.interval.start) // HOUR == 49


@given(st.integers(0, 100), st.integers(1, 100), st.lists(st.integers(0, 220), max_size=4))
def test_the_pieces_of_a_split_interval_are_the_whole(start: int, length: int, cuts: list[int]) -> None:
    whole = Interval(start, start + length)
    pieces = whole.split(*cuts)
    assert (pieces[0].start, pieces[-1].end) == whole
    assert all(one.end == other.start for one, other in zip(pieces, pieces[1:], strict=False))
    assert all(not piece.start < cut < piece.end for piece in pieces for cut in cuts)
