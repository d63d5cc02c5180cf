"""The endpoints, one short function each.

A function that needs data checks its parameters at once and returns an Answer, which asks the database when called:
a wrong parameter is refused without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from service.periods import Span, iso_utc
from service.queries import catalog
from service.queries.rankings import Question, Standings

Body = dict[str, object]


class Table(NamedTuple):
    """What is sent as CSV: lines as they are made, and a name for the file."""

    lines: Iterator[bytes]
    name: str


Reply = tuple[int, Body | Table]  # HTTP status; a JSON object but where CSV was asked for
Answer = Callable[[], Body | Table]


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
