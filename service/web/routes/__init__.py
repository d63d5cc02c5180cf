"""The endpoints, one short function each.

A function that needs data checks its parameters at once and returns an Answer, which asks the database when called:
a wrong parameter is refused without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

from service.periods import Interval, Span, days_label, iso_utc, pacific_date, pacific_day, pacific_days
from service.queries import catalog
from service.queries.rankings import Question, Standings
from service.web.params import Request

Body = dict[str, object]


class Table(NamedTuple):
    """What is sent as CSV: lines as they are made, and a name for the file."""

    lines: Iterator[bytes]
    name: str


class Sent(NamedTuple):
    """What is sent as it is."""

    body: bytes
    headers: dict[str, str]


Reply = tuple[int, Body | Table | Sent]  # HTTP status, and a JSON object but where CSV was asked for or bytes were kept
Answer = Callable[[], Body | Table]

OUTAGE_DAYS, MOST_OUTAGE_DAYS = timedelta(days=30), timedelta(days=93)
OUTAGES, MOST_OUTAGES = 1000, 10_000
AWARDS = 50  # rows of each year


def ranking(question: Question, **parts: Callable[[Standings], object]) -> Body:
    """The envelope of every ranking, with `parts` that look at the same standings."""
    standings = Standings(question)
    return {
        "success": True,
        "period": question.period,
        "filter": question.filter,
        "span": span_of(standings.span),
        "attribution": catalog.attribution(question.now),
        **{name: part(standings) for name, part in parts.items()},
    }


def page(period: str, span: Span, now: datetime, document: Body) -> Body:
    """The envelope of what is said of one park or ride over a period."""
    return {
        "success": True,
        "period": period,
        "span": span_of(span),
        "attribution": catalog.attribution(now),
        **document,
    }


def span_of(span: Span) -> Body:
    """Start and end in UTC, and the name people give it; a span that still runs ends now."""
    start, end = span.interval
    return {
        "start": iso_utc(start),
        "end": iso_utc(end if span.until is None else span.until),
        "label": span.label,
    }


def listed_outages(request: Request, document: Callable[[Interval, int], Body]) -> Answer:
    """`document` of the window and the number of rows asked for, in the envelope of outages."""
    now = request.now
    window = request.query.window(now, OUTAGE_DAYS, MOST_OUTAGE_DAYS)
    limit = request.query.strict_limit(OUTAGES, MOST_OUTAGES)
    return lambda: {
        "success": True,
        "span": span_of_window(window),
        "attribution": catalog.attribution(now),
        "timestamp": iso_utc(now),
        **document(window, limit),
    }


def yearly(request: Request, most: int, awards: Callable[[list[int], int], object]) -> Answer:
    """`awards` of the years and the number of rows asked for, in their envelope."""
    now = request.now
    years = request.query.years(pacific_date(now).year)
    limit = request.query.limit(AWARDS, most)
    return lambda: {
        "success": True,
        "span": span_of_years(years, now),
        "attribution": catalog.attribution(now),
        "data": awards(years, limit),
    }


def span_of_years(years: list[int], now: datetime) -> Body:
    """From the beginning of the first year to the end of the last, named after all; a year that still runs ends now."""
    start, end = pacific_day(date(min(years), 1, 1)).start, pacific_day(date(max(years), 12, 31)).end
    is_running = pacific_date(now).year == max(years)
    return {
        "start": iso_utc(start),
        "end": iso_utc(now if is_running else end),
        "label": ", ".join(str(year) for year in years),
    }


def span_of_window(window: Interval) -> Body:
    """The same of any stretch of time, named after its Pacific days."""
    days = pacific_days(window)
    return {"start": iso_utc(window.start), "end": iso_utc(window.end), "label": days_label(days[0], days[-1])}
