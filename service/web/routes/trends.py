"""What changed, awards, and charts over all parks."""

from collections.abc import Callable

from service import periods
from service.periods import iso_utc
from service.queries import Row, catalog, charts, trends
from service.queries.rankings import Question, Standings
from service.web.params import Query, Request
from service.web.routes import Answer, Body, span_of

PAST_AND_TODAY = tuple(period for period in (*periods.PERIODS, *periods.ALIASES) if period != "live")
DEFAULT_CHANGES, MOST_CHANGES = 50, 100
DEFAULT_ROWS, MOST_ROWS = 10, 20


def changes(request: Request) -> Answer:
    """Parks or rides that break down less or more than in the span before."""
    query = request.query
    period = _period(query, "last_week")
    category = query.choice("category", trends.CATEGORIES)
    question = _question(request, period, query.filter(), query.strict_limit(DEFAULT_CHANGES, MOST_CHANGES))

    def rows(asked: Standings) -> Body:
        found = trends.changes(asked, category)
        return {
            "category": category,
            "comparison": trends.comparison(asked),
            "count": len(found),
            trends.entity_of(category): found,
        }

    return lambda: _envelope(question, rows)


def longest_wait_times(request: Request) -> Answer:
    """Who had the longest average wait."""
    return _award(request, trends.longest_waits)


def least_reliable(request: Request) -> Answer:
    """Who broke down most."""
    return _award(request, trends.least_reliable)


def chart_data(request: Request) -> Answer:
    """The first of a ranking as lines of a chart."""
    query = request.query
    period = query.choice("period", (*periods.PERIODS, *periods.ALIASES), "last_week")
    kind = query.choice("type", tuple(charts.MEASURES), "parks")
    park_filter = query.filter(catalog.DISNEY_UNIVERSAL)
    question = _question(request, period, park_filter, query.limit(DEFAULT_ROWS, MOST_ROWS))
    return lambda: _envelope(question, lambda asked: charts.chart(asked, kind) | {"type": kind, "mock": False})


def heatmap_data(request: Request) -> Answer:
    """The first of a ranking as a matrix."""
    query = request.query
    period = _period(query)
    kind = query.choice("type", tuple(charts.HEATMAPS))
    question = _question(request, period, query.filter(), query.limit(DEFAULT_ROWS, MOST_ROWS))
    return lambda: _envelope(question, lambda asked: charts.heatmap(asked, kind))


def _award(request: Request, rows: Callable[[Standings, str], list[Row]]) -> Answer:
    query = request.query
    period, park_filter = _period(query, "today"), query.filter()
    entity = query.choice("entity", trends.ENTITIES, trends.RIDES)
    question = _question(request, period, park_filter, query.limit(DEFAULT_ROWS, MOST_ROWS))

    def award(asked: Standings) -> Body:
        found = rows(asked, entity)
        return {"entity": entity, "count": len(found), "data": found, "cached": True}  # the contract knows no false

    return lambda: _envelope(question, award)


def _period(query: Query, default: str | None = None) -> str:
    return query.choice("period", PAST_AND_TODAY, default, unsupported=("live",))


def _question(request: Request, period: str, park_filter: str, limit: int) -> Question:
    return Question(period, park_filter, "", limit, request.now)


def _envelope(question: Question, part: Callable[[Standings], Body]) -> Body:
    standings = Standings(question)
    return {
        "success": True,
        "period": question.period,
        "filter": question.filter,
        "span": span_of(standings.span),
        "attribution": catalog.attribution_text(question.now),
        "timestamp": iso_utc(question.now),
        **part(standings),
    }
