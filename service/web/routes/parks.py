"""Rankings of parks, and the pages of one."""

from collections.abc import Callable

from service.queries import catalog, rankings, roster
from service.queries.awards import park_awards
from service.queries.details import CHARTS, DOWNTIME, park_details, rides_chart
from service.queries.outages import park_outages
from service.queries.rankings import Question, Standings
from service.web.params import PERIODS, Request
from service.web.routes import Answer, Body, listed_outages, page, ranking, yearly

DEFAULT_ROWS, MOST_ROWS = 50, 100
CHART_PERIODS = tuple(period for period in PERIODS if period != "live")


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


def awards(request: Request) -> Answer:
    """The parks of one or more calendar years by shame score, worst first."""
    return yearly(request, MOST_ROWS, park_awards)


def rides(request: Request) -> Answer:
    """The rides that a park's score is made of, and those it leaves out."""
    park_id, now = request.ids["park_id"], request.now
    return lambda: {"success": True, **roster.park_rides(park_id, now), "attribution": catalog.attribution(now)}


def details(request: Request) -> Answer:
    """What a park is, how it does now, and what its shame score of a period is made of."""
    return _of_park(request, request.query.period(), park_details)


def rides_charts(request: Request) -> Answer:
    """A park's rides side by side, by hour or by day."""
    park_id, query = request.ids["park_id"], request.query
    period = query.choice("period", CHART_PERIODS, "yesterday")
    chart_type = query.choice("type", CHARTS, DOWNTIME)
    echoed: Body = {"park_id": park_id, "chart_type": chart_type}
    chart = _of_park(request, period, lambda asked: rides_chart(asked, chart_type))
    return lambda: echoed | chart()


def outages(request: Request) -> Answer:
    """When which of a park's rides was down, and how long that takes."""
    park_id, now = request.ids["park_id"], request.now
    return listed_outages(request, lambda window, limit: park_outages(park_id, window, limit, now))


def _of_park(request: Request, period: str, document: Callable[[Standings], Body]) -> Callable[[], Body]:
    """`document` of the park in the path, in its envelope."""
    question = Question(period, catalog.ALL_PARKS, "shame_score", MOST_ROWS, request.now, request.ids["park_id"])

    def answer() -> Body:
        asked = Standings(question)
        return page(period, asked.span, request.now, document(asked))

    return answer
