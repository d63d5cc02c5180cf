"""What the load tests ask."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import product
from random import Random
from typing import NamedTuple
from urllib.parse import urlencode

from bench.production import NOW
from service import database
from service.models import Ride
from service.periods import PERIODS, iso_utc, pacific_date, pacific_day
from service.queries.catalog import FILTERS
from service.queries.charts import HEATMAPS, MEASURES
from service.queries.details import CHARTS
from service.queries.rankings import PARK_SORTS

RANKINGS = ("parks/downtime", "parks/waittimes", "rides/downtime", "rides/waittimes")
PAST_AND_TODAY = ("today", "yesterday", "last_week", "last_month")
KINDS = (("rankings", 50), ("charts", 20), ("details", 15), ("live", 7), ("search", 5), ("windows", 3))  # of a hundred
WINDOWS = 40  # different ones


class Places(NamedTuple):
    """Ids of what there is, the attractions of each park together."""

    parks: list[int]
    rides: list[int]


def places() -> Places:
    """Of the open database."""
    rides = database.fetch(Ride.select(Ride.ride_id, Ride.park).order_by(Ride.park, Ride.ride_id))
    return Places(sorted({park for _, park in rides}), [ride for ride, _ in rides])


def kind_of(target: str) -> str:
    """The path of a question, with `N` in the place of ids."""
    return re.sub(r"/[0-9]+", "/N", target.partition("?")[0])


def rankings() -> list[str]:
    """Every ranking of every period, as the frontend asks for it."""
    return [f"/api/{path}?period={period}&filter=all-parks" for path, period in product(RANKINGS, PERIODS)]


def mixed(known: Places, seed: int) -> Iterator[str]:
    """Without end: what users of the dashboards and an analyst ask."""
    rng, kinds = Random(seed), _kinds(known)
    names, weights = zip(*KINDS, strict=True)
    while True:
        yield rng.choice(kinds[rng.choices(names, weights)[0]])


def common(known: Places) -> list[str]:
    """Of the mixed load, what all users share: to be warm with."""
    kinds = _kinds(known)
    return [target for name in ("rankings", "charts", "live", "search") for target in kinds[name]]


def _kinds(known: Places) -> dict[str, Sequence[str]]:
    """Of the rides and parks, those that few hundred of them would look at."""
    parks, rides = known.parks, known.rides[:: max(len(known.rides) // 300, 1)]
    return {
        "rankings": rankings(),
        "charts": [
            *(f"/api/trends/chart-data?type={kind}&period={one}" for kind, one in product(MEASURES, PAST_AND_TODAY)),
            *(f"/api/trends/heatmap-data?type={kind}&period={one}" for kind, one in product(HEATMAPS, PAST_AND_TODAY)),
            *(f"/api/trends/least-reliable?period={period}" for period in PAST_AND_TODAY),
            *(f"/api/trends/longest-wait-times?period={period}" for period in PAST_AND_TODAY),
        ],
        "details": [
            *(f"/api/parks/{park}/details?period={one}" for park, one in product(parks, ("today", "yesterday"))),
            *(f"/api/rides/{ride}/details?period=today" for ride in rides),
        ],
        "live": ["/api/live/status-summary"],
        "search": ["/api/search/index"],
        "windows": _windows(known),
    }


def _windows(known: Places) -> list[str]:
    """A ride over a week by the hour, a park over a day by quarters of one."""
    rng, today = Random(0), pacific_date(NOW)
    found = []
    for number in range(WINDOWS):
        day = today - timedelta(days=rng.randint(1, 7))
        if number % 2:
            first, asked = day - timedelta(days=6), {"group_by": "ride", "ride_id": rng.choice(known.rides)}
        else:
            first, asked = day, {"group_by": "park", "park_id": rng.choice(known.parks)}
        start, end = pacific_day(first).start, pacific_day(day).end
        found.append(_window(start, end, bucket="1h" if number % 2 else "15m", **asked))
    return found


def _window(start: int, end: int, **parameters: object) -> str:
    return "/api/analytics/series?" + urlencode({"start": iso_utc(start), "end": iso_utc(end), **parameters})


def random_questions(known: Places, seed: int) -> Iterator[str]:
    """Without end: valid questions that are hardly ever the same twice."""
    rng = Random(seed)
    while True:
        yield _random_question(known, rng)


def _random_question(known: Places, rng: Random) -> str:
    park, ride = rng.choice(known.parks), rng.choice(known.rides)
    period, limit = rng.choice(PERIODS), rng.randint(1, 100)
    park_filter, past = rng.choice(FILTERS), rng.choice(PAST_AND_TODAY)
    kind = rng.random()
    if kind < 0.4:
        return f"/api/{rng.choice(RANKINGS)}?period={period}&filter={park_filter}&limit={limit}"
    if kind < 0.5:
        return f"/api/parks/downtime?period={period}&sort_by={rng.choice(PARK_SORTS)}&limit={limit}"
    if kind < 0.6:
        return f"/api/trends/chart-data?type={rng.choice(list(MEASURES))}&period={past}&limit={rng.randint(1, 20)}"
    if kind < 0.7:
        return f"/api/parks/{park}/details?period={period}"
    if kind < 0.85:
        return f"/api/rides/{ride}/details?period={period}"
    if kind < 0.9:
        return f"/api/parks/{park}/rides/charts?type={rng.choice(CHARTS)}&period={past}"
    end = pacific_day(pacific_date(NOW)).start - 300 * rng.randint(0, 2000)
    return _window(end - 3600 * rng.randint(1, 48), end, bucket="1h", group_by="ride", ride_id=ride)
