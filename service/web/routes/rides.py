"""Rankings of rides, and the page of one."""

from service.queries import rankings
from service.queries.awards import ride_awards
from service.queries.rankings import Question
from service.queries.outages import ride_outages
from service.queries.ride_details import RideSpan, ride_details
from service.web.params import PERIODS, Request
from service.web.routes import Answer, Body, listed_outages, page, ranking, yearly

DEFAULT_ROWS, MOST_ROWS = 100, 200


def downtime(request: Request) -> Answer:
    """Rides by downtime or another measure of it, worst first."""
    query = request.query
    period, park_filter = query.period(), query.filter()
    sort_by = query.choice("sort_by", rankings.RIDE_SORTS, "downtime_hours")
    question = Question(period, park_filter, sort_by, query.limit(DEFAULT_ROWS, MOST_ROWS), request.now)
    return lambda: ranking(question, data=rankings.rides_by_downtime)


def waittimes(request: Request) -> Answer:
    """Rides by wait, longest first. `mode` selects the rows; `period` is its default, and echoed."""
    query = request.query
    period = query.period()
    mode = query.mode(period)
    park_filter = query.filter()
    question = Question(mode, park_filter, "avg_wait_minutes", query.limit(DEFAULT_ROWS, MOST_ROWS), request.now)
    return lambda: ranking(question, data=rankings.rides_by_wait) | {"period": period, "mode": mode}


def awards(request: Request) -> Answer:
    """The rides of one or more calendar years by hours down, worst first."""
    return yearly(request, MOST_ROWS, ride_awards)


def details(request: Request) -> Answer:
    """What a ride is, and how it did over a period; live is today so far."""
    ride_id, now = request.ids["ride_id"], request.now
    period = request.query.choice("period", PERIODS, "today")

    def answer() -> Body:
        asked = RideSpan(ride_id, period, now)
        return page(period, asked.span, now, ride_details(asked))

    return answer


def outages(request: Request) -> Answer:
    """When a ride was down, how long that takes, and how soon it is back as a rule."""
    ride_id, now = request.ids["ride_id"], request.now
    return listed_outages(request, lambda window, limit: ride_outages(ride_id, window, limit, now))
