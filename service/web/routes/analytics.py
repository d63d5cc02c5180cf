"""Any window of time, for analysts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, islice
from zlib import crc32

from service.periods import Interval, Window, iso_utc
from service.queries import Row, catalog, windows
from service.queries.windows import WEEKDAYS, Key, Question, Series
from service.web.params import Query, Request
from service.web.routes import Answer, Body, Table, span_of_window

DEFAULT_ROWS, MOST_ROWS = 1000, 10_000
ZONES = PACIFIC, PARK = ("pacific", "park")
JSON, CSV = FORMATS = ("json", "csv")
ROWS_AT_ONCE = 500  # of CSV


def series(request: Request) -> Answer:
    """What happened in a window, in buckets and by group."""
    question = _question(request)
    query = request.query
    limit, number = query.strict_limit(DEFAULT_ROWS, MOST_ROWS), _number(question)
    after = query.after("cursor", number)
    echoed: Body = {
        "bucket": query.text("bucket"),
        "group_by": question.group_by,
        "measures": list(question.measures),
        "timezone": PARK if question.by_park_clock else PACIFIC,
    }
    if query.choice("format", FORMATS, JSON) == CSV:
        return lambda: _table(Series(question))
    return lambda: echoed | _page(Series(question), limit, Key(*after) if after else None, number)


def _number(question: Question) -> int:
    """Tells questions apart whose rows do not follow each other. Of two pages the end may differ, which is now."""
    window = question.window._replace(end=0, weekdays=None)
    weekdays = sorted(question.window.weekdays or ())
    return crc32(repr((question._replace(window=window, now=datetime.min, measures=()), weekdays)).encode())


def _question(request: Request) -> Question:
    query, step = request.query, request.settings.snapshot_interval_minutes
    return Question(
        _window(query, request),
        request.now,
        query.length("bucket", step),
        query.choice("group_by", windows.GROUPS, windows.NONE),
        query.choices("measures", windows.MEASURES),
        query.choice("timezone", ZONES, PACIFIC) == PARK,
        query.park_id(),
        query.ride_id(),
    )


def _window(query: Query, request: Request) -> Window:
    start, end = query.span(request.now)
    weekdays = frozenset(WEEKDAYS.index(name) for name in query.choices("weekdays", WEEKDAYS))
    return Window(start, end, query.time_of_day("time_of_day"), weekdays if len(weekdays) < len(WEEKDAYS) else None)


def _page(found: Series, limit: int, after: Key | None, number: int) -> Body:
    rows = list(islice(found.rows(after), limit + 1))
    window, covered = found.window, found.covered
    last = rows[limit - 1][0] if len(rows) > limit else None
    return {
        "success": True,
        "data": [row for _, row in rows[:limit]],
        "next_cursor": f"{last.start}.{last.group}.{number}" if last else None,
        "span": span_of_window(Interval(window.start, window.end)),
        "covered": {
            "start": iso_utc(covered.start) if covered else None,
            "end": iso_utc(covered.end) if covered else None,
        },
        "attribution": catalog.attribution(found.question.now),
        "timestamp": iso_utc(found.question.now),
    }


def _table(found: Series) -> Table:
    """All rows. The first are made at once, so that what is wrong is told by the status; the others while they are
    sent, each days' counts by themselves: a view of the database is not held for as long as somebody reads."""
    lines = _lines(found.columns, (row for _, row in found.rows()))
    return Table(chain([next(lines)], lines), "series.csv")


def _lines(columns: list[str], rows: Iterable[Row]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\r\n")
    writer.writeheader()
    left = iter(rows)
    while some := list(islice(left, ROWS_AT_ONCE)):
        writer.writerows(some)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    if text.tell():
        yield text.getvalue().encode()  # the names of the columns, of nothing
