"""Rankings of past periods against SQL by hand at production size: 80 parks, 3,500 rides, a month of readings.

    python bench/naive.py [--rounds 5] [--url mysql://user:password@host/database] [--only TEXT]

Starts a MariaDB of its own in a temporary folder and fills it first (or takes the database of --url, filled by
bench/production.py). Two comparisons, each asked in turn so that a slow moment of the machine meets both sides:

- Each statement by which a ranking reads daily rows, in the time of an answer, against the same query written by hand:
  plain pymysql, all rows fetched. An answer may spend 1.1 times as long in it. Under "same" is the service's own
  statement sent by hand, which tells its wording from its surroundings. Each is sent ten times --rounds, for many take
  a millisecond, where half of one is noise and not judged; the time in which peewee writes them belongs to the answer.
- Each ranking, cold and through the whole application in this process, against what an analyst would write: one GROUP
  BY over the raw readings of the same days, which counts statuses whether the park was open or not and knows neither
  scores nor trends. It must take ten times as long at least. One that takes long is sent less often than --rounds.

Figures are medians. The first lines and the last tell how quiet the machine was: counting the readings of a day takes
95 to 110 ms when nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pymysql  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.production import NOW, opened  # noqa: E402
from bench.timing import client_now, print_yardstick, watched  # noqa: E402
from service import periods, rules  # noqa: E402
from service.config import Settings  # noqa: E402
from service.periods import Span, pacific_day  # noqa: E402
from tests.wsgi_client import Client  # noqa: E402

NAIVE_BAR, DAILY_BAR = 10, 1.1
ROUTES = ("parks/downtime", "parks/waittimes", "rides/downtime", "rides/waittimes")
PAST = ("yesterday", "last_week", "last_month")
LIMIT = 200
LONG_SECONDS = 20  # after so many the naive query of a ranking is not sent again
NOISE_SECONDS = 0.0005  # what a query loses or gains by what ran right before it
DAILY_TIMES = 10  # rounds of daily statements for each of --rounds

Statement = tuple[str, Any]

# --- by hand ---------------------------------------------------------------------------------------------------------

NAIVE = """
    SELECT {entity}.{key}, {entity}.name, {measures}
    FROM ride_status_snapshots
    JOIN rides ON rides.ride_id = ride_status_snapshots.ride_id
    JOIN parks ON parks.park_id = rides.park_id
    WHERE snapshot_time BETWEEN %s AND %s
    GROUP BY {entity}.{key}, {entity}.name
    ORDER BY 3 DESC
    LIMIT {limit}
"""
NAIVE_MEASURES = {
    "downtime": f"""
        SUM(CASE WHEN status = {rules.Status.DOWN:d} THEN 1 ELSE 0 END) AS down,
        SUM(CASE WHEN status = {rules.Status.OPERATING:d} THEN 1 ELSE 0 END) AS operating
    """,
    "waittimes": "AVG(wait_time), MAX(wait_time)",
}

DAILY = """
    SELECT {columns}
    FROM {table}
    WHERE {conditions}
    {group}
"""
RELIABILITY = "SUM(sample_count), SUM(operating_minutes), SUM(total_downtime_minutes)"
WAITS = "SUM(wait_sum), SUM(wait_samples), MAX(max_wait_time)"
DETAILS = "SUM(downtime_incidents), MAX(COALESCE(longest_downtime_minutes, 0)), SUM(status_changes)"


class Shape(NamedTuple):
    """What is wanted of daily rows."""

    name: str
    table: str
    columns: str
    group: str = ""
    condition: str = ""


def _of_rides(name: str, sums: str) -> Shape:
    return Shape(name, "daily_stats", f"ride_id, park_id, {sums}", "GROUP BY ride_id, park_id")


SHAPES = (
    Shape(
        "parks by day",
        "daily_park_stats",
        "park_id, stat_date, sample_count, open_minutes, roster_weight, rides_tracked, rides_with_downtime,"
        " operating_minutes, total_downtime_minutes, weighted_downtime_minutes, wait_sum, wait_samples, peak_wait_time",
    ),
    Shape(
        "parks",
        "daily_park_stats",
        "park_id, MAX(stat_date), SUM(sample_count), SUM(operating_minutes), SUM(total_downtime_minutes),"
        " SUM(wait_sum), SUM(wait_samples), MAX(peak_wait_time)",
        "GROUP BY park_id",
    ),
    _of_rides("rides, downtime", RELIABILITY),
    _of_rides("rides, waits", WAITS),
    _of_rides("rides, all", f"{RELIABILITY}, {WAITS}, {DETAILS}"),
    Shape(
        "rides that operated",
        "daily_stats",
        "DISTINCT park_id, ride_id",
        condition="(operating_minutes > 0 OR total_downtime_minutes > 0)",
    ),
)


# --- what is compared ------------------------------------------------------------------------------------------------


class Ranking(NamedTuple):
    """A ranking of a past period."""

    route: str
    period: str

    @property
    def path(self) -> str:
        """What a client asks for."""
        return f"/api/{self.route}?period={self.period}&limit={LIMIT}"

    @property
    def span(self) -> Span:
        """Its days."""
        return periods.named(self.period, NOW)

    @property
    def naive(self) -> str:
        """The same from raw readings, as far as status counts tell."""
        entity, measure = self.route.split("/")
        return NAIVE.format(entity=entity, key=f"{entity[:-1]}_id", measures=NAIVE_MEASURES[measure], limit=LIMIT)


class Query(NamedTuple):
    """A query of daily rows: the statement by hand and that of the service, each with its values."""

    name: str
    by_hand: Statement
    by_service: Statement


class Times(NamedTuple):
    """Seconds of a query of daily rows: in an answer, by hand, and those of the answer's own statement sent by hand."""

    service: list[float]
    by_hand: list[float]
    repeated: list[float]
    rows: int

    @property
    def is_above(self) -> bool:
        """Whether the service takes longer than it may."""
        service, by_hand = median(self.service), median(self.by_hand)
        return service > max(DAILY_BAR * by_hand, by_hand + NOISE_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", help="a database filled by bench/production.py")
    parser.add_argument("--only", default="", help="only the rankings whose path contains this")
    arguments = parser.parse_args()
    rankings = [one for one in map(Ranking._make, product(ROUTES, PAST)) if arguments.only in one.path]
    with opened(arguments.url) as settings, closing(connect(settings)) as connection:
        client, cursor = client_now(settings), connection.cursor()
        _print_quiet()
        _compare_daily(client, cursor, rankings, arguments.rounds * DAILY_TIMES)
        _compare_naive(client, cursor, rankings, arguments.rounds)
        _print_quiet()


def connect(settings: Settings) -> Any:
    """A connection of one's own, as anybody would open it."""
    parts = urlsplit(settings.database_url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        database=parts.path.lstrip("/"),
    )


def _print_quiet() -> None:
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print_yardstick()


def _ask(client: Client, ranking: Ranking) -> float:
    """Seconds of an answer. Ends the program at any but 200 with rows."""
    started = perf_counter()
    answer = client.get(ranking.path)
    seconds = perf_counter() - started
    if answer.status != 200 or not answer.json["data"]:
        raise SystemExit(f"{ranking.path}: {answer.status} {answer.body[:500]!r}")
    return seconds


def send(cursor: Any, sql: str, values: Any) -> tuple[float, Sequence[tuple[object, ...]]]:
    """Seconds of a statement, and all its rows."""
    started = perf_counter()
    cursor.execute(sql, values)
    rows = cursor.fetchall()
    return perf_counter() - started, rows


# --- the raw readings ------------------------------------------------------------------------------------------------


def _compare_naive(client: Client, cursor: Any, rankings: list[Ranking], rounds: int) -> None:
    print(f"{'answer ms':>10} {'naive ms':>9} {'sent':>5} {'ratio':>7}  ranking, cold, against raw readings")
    below = 0
    for ranking in rankings:
        answers, naive = _naive(client, cursor, ranking, rounds)
        ratio = median(naive) / median(answers)
        below += ratio < NAIVE_BAR
        mark = "  BELOW" if ratio < NAIVE_BAR else ""
        print(f"{_ms(answers):10.1f} {_ms(naive):9.0f} {len(naive):5} {ratio:7.1f}  {ranking.path}{mark}", flush=True)
    print(f"{len(rankings)} rankings, {below} below the bar: naive takes at least {NAIVE_BAR} x as long\n")


def _naive(client: Client, cursor: Any, ranking: Ranking, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of a ranking's answers, and of the same from raw readings."""
    days = ranking.span.days
    values = (pacific_day(days[0]).start, pacific_day(days[-1]).end - 1)
    answers: list[float] = []
    naive: list[float] = []
    for _ in range(rounds):
        answers.append(_ask(client, ranking))
        if sum(naive) < LONG_SECONDS:
            seconds, rows = send(cursor, ranking.naive, values)
            naive.append(seconds)
            if not rows:
                raise SystemExit(f"{ranking.path}: no readings")
    return answers, naive


# --- the daily rows --------------------------------------------------------------------------------------------------


def _compare_daily(client: Client, cursor: Any, rankings: list[Ranking], rounds: int) -> None:
    print(f"{'answer ms':>10} {'by hand':>8} {'same':>8} {'ratio':>6} {'rows':>6}  daily query, {rounds} rounds")
    ratios, above = [], 0
    for ranking in rankings:
        print(f"{ranking.route}, {ranking.period}")
        for query, times in _daily(client, cursor, ranking, rounds):
            ratios.append(median(times.service) / median(times.by_hand))
            above += times.is_above
            columns = (_ms(times.service), _ms(times.by_hand), _ms(times.repeated), ratios[-1])
            mark = "  ABOVE" if times.is_above else ""
            figures = "{:10.2f} {:8.2f} {:8.2f} {:6.2f}".format(*columns)
            print(f"{figures} {times.rows:6}  {query.name}{mark}", flush=True)
    print(f"{len(ratios)} queries, {above} above the bar of {DAILY_BAR} x by hand; median {median(ratios):.2f}\n")


def _daily(client: Client, cursor: Any, ranking: Ranking, rounds: int) -> list[tuple[Query, Times]]:
    """The daily queries of a ranking, in the time of its answers and by hand."""
    queries = [_by_hand(event) for event in _statements(client, ranking)]
    found = [Times([], [], [], _count_same(cursor, query)) for query in queries]
    for _ in range(rounds):
        for event, times in zip(_statements(client, ranking), found, strict=True):
            times.service.append(event.duration)
        for query, times in zip(queries, found, strict=True):
            times.by_hand.append(send(cursor, *query.by_hand)[0])
        for query, times in zip(queries, found, strict=True):
            times.repeated.append(send(cursor, *query.by_service)[0])
    return list(zip(queries, found, strict=True))


def _statements(client: Client, ranking: Ranking) -> list[Any]:
    """The statements by which an answer reads daily rows, as peewee tells its query hooks."""
    with watched() as events:
        _ask(client, ranking)
    return [event for event in events if re.search("FROM `daily_(park_)?stats`", event.sql)]


def _by_hand(event: Any) -> Query:
    """What somebody would write who wants the rows of a statement. Ends the program where nothing here wants them."""
    plain = re.sub("`t1`[.]|`", "", event.sql)
    selected = plain.removeprefix("SELECT ").partition(" FROM ")[0].replace("%s", "0")
    shape = next((shape for shape in SHAPES if shape.columns == selected), None)
    if shape is None:
        raise SystemExit(f"There is no query by hand for {event.sql}")
    days = [value for value in event.params if isinstance(value, date)]
    further = event.params[event.params.index(days[-1]) + 1 :]  # ids stand after the days
    notes, conditions = [shape.name], ["metrics_version = %s", "stat_date BETWEEN %s AND %s"]
    values: list[object] = [rules.METRICS_VERSION, days[0], days[-1]]
    for column in ("park_id", "ride_id"):
        listed = re.search(rf"{column} IN \(([%s, ]*)\)", plain)
        if listed:
            size = listed[1].count("%s")
            conditions.append(f"{column} IN %s")
            values.append(further[:size])
            notes.append(f"of {size} {column}s")
            further = further[size:]
    conditions += [shape.condition] if shape.condition else []
    sql = DAILY.format(
        columns=shape.columns, table=shape.table, conditions=" AND ".join(conditions), group=shape.group
    )
    name = f"{', '.join(notes)}, {days[0]} to {days[-1]}"
    return Query(name, (sql, values), (event.sql, event.params))


def _count_same(cursor: Any, query: Query) -> int:
    """How many rows there are. Ends the program where the service's statement gives others than that by hand."""
    by_hand, by_service = (send(cursor, *one)[1] for one in (query.by_hand, query.by_service))
    if sorted(by_hand, key=repr) != sorted(by_service, key=repr):
        raise SystemExit(f"{query.name}: {query.by_hand} gives other rows than {query.by_service}")
    return len(by_hand)


def _ms(seconds: list[float]) -> float:
    return median(seconds) * 1000


if __name__ == "__main__":
    main()
