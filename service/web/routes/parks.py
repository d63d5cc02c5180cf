"""Rankings of parks."""

from service.queries import rankings
from service.queries.rankings import Question
from service.web.params import Request
from service.web.routes import Answer, ranking

DEFAULT_ROWS, MOST_ROWS = 50, 100


def downtime(request: Request) -> Answer:
    """Parks by shame score or another measure of downtime, worst first, with totals over all parks of the filter."""
    query = request.query
    limit = query.limit(DEFAULT_ROWS, MOST_ROWS)
    period, park_filter = query.period(), query.filter()
    sort_by = query.choice("sort_by", rankings.PARK_SORTS, "shame_score")
    echoed: dict[str, object] = {"sort_by": sort_by, "weighted": query.weighted()}  # `weighted` has no effect
    question = Question(period, park_filter, sort_by, limit, request.now)
    return lambda: echoed | ranking(
        question, data=rankings.parks_by_downtime, aggregate_stats=rankings.aggregate_stats
    )


def waittimes(request: Request) -> Answer:
    """Parks by average wait, longest first."""
    query = request.query
    period, park_filter = query.period(), query.filter()
    question = Question(period, park_filter, "avg_wait_minutes", query.limit(DEFAULT_ROWS, MOST_ROWS), request.now)
    return lambda: ranking(question, data=rankings.parks_by_wait)
