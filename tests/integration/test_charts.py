"""Line charts and heat maps, worked out by hand, and in random worlds the same numbers as the rankings."""

from __future__ import annotations

from datetime import date, time, timedelta
from fractions import Fraction
from typing import Any

import pytest
from factories import World, random_world

from service import rules
from service.jobs import daily
from service.models import ParkActivitySnapshot
from service.periods import instant, wall_clock
from service.queries import Row, charts, live, rankings
from service.queries.catalog import ParkFacts
from service.queries.rankings import Question, Standings
from service.queries.series import BY_HOUR, park_series, ride_series
from service.queries.tally import Wanted

TODAY = date(2025, 6, 11)  # a Wednesday
YESTERDAY = TODAY - timedelta(days=1)
SUNDAY = date(2025, 6, 1)  # of the last complete week
HOURS = [f"{hour}:00" for hour in range(6, 24)]
PACIFIC, TOKYO = "America/Los_Angeles", "Asia/Tokyo"
CHARTS_OF = {kind: chart for chart, kind in charts.HEATMAPS.items()}  # kind of chart -> kind of heat map


def at(hour: float, day: date = TODAY, zone: str = PACIFIC) -> int:
    """That hour on the clock; of days when the clocks change, those after the change."""
    return wall_clock(day, time(12), zone) + int((hour - 12) * 3600)


def asked(period: str, *, now: float = 20, limit: int = 10, day: date = TODAY) -> Standings:
    return Standings(Question(period, "all-parks", "", limit, instant(at(now, day))))


def chart(kind: str, period: str, **question: Any) -> Row:
    return charts.chart(asked(period, **question), kind)["chart_data"]


def points(kind: str, period: str, **question: Any) -> list[list[float | None]]:
    return [line["data"] for line in chart(kind, period, **question)["datasets"]]


def open_park(world: World, *letters: str, day: date = YESTERDAY, park_type: str = "disney") -> int:
    """A park with a ride for each of the letters, open from 12:00 to 18:00."""
    park_id = world.park(park_type)
    world.open(park_id, day, at(12, day), at(18, day))
    for told in letters:
        world.day_of(world.ride(park_id), told, at(12, day))
    return park_id


def during(first: int, *values: float | None) -> list[float | None]:
    """18 points, all None but those of the hours from `first` on."""
    before: list[float | None] = [None] * (first - 6)
    return [*before, *values, *[None] * (18 - len(before) - len(values))]


# --- by hour ---------------------------------------------------------------------------------------------------------


def test_hours_of_yesterday_have_their_own_scores(database: Any) -> None:
    world = World()
    open_park(world, "ODDOOOOO--OO", "OOOOOOOO--OO")  # weights 2 and 2, two slots an hour; 16:00 unknown
    world.store()
    found = chart("parks", "yesterday")
    (line,) = found["datasets"]
    assert found["labels"] == HOURS
    assert line["data"] == during(12, 2.5, 2.5, 0.0, 0.0, None, 0.0)  # 10 x 2 x 1 / (4 x 2)
    assert (line["label"], line["entity_id"], line["location"]) == ("Park 1", 1, "Town, ST")


def test_hours_of_rides_waits_and_downtime(database: Any) -> None:
    world = World()
    park_id = open_park(world)
    ride_id = world.ride(park_id, tier=1)
    world.day_of(ride_id, "OODDO", at(12, YESTERDAY), waits=[10, 25, None, None, 0])
    world.store()
    (hours,) = chart("rides", "yesterday")["datasets"]
    assert hours["data"] == during(12, 0.0, 1.0, 0.0)
    assert (hours["label"], hours["park"], hours["entity_id"], hours["tier"]) == ("Ride 1", "Park 1", ride_id, 1)
    assert points("ridewaittimes", "yesterday") == [during(12, 17.5, None, 0.0)]
    assert points("waittimes", "yesterday") == [during(12, 17.5, None, 0.0)]


def test_the_hours_of_today_that_are_still_to_come_are_empty(database: Any) -> None:
    world = World()
    open_park(world, "ODDDDDDDDDDD", day=TODAY)
    world.store()
    assert points("rides", "today", now=13.6) == [during(12, 0.5, 1.0)]
    assert points("rides", "today", now=13.4) == [during(12, 0.5, 0.5)]


@pytest.mark.parametrize("day", [date(2025, 3, 9), date(2025, 11, 2)])
def test_hours_are_those_on_the_clock_when_the_clocks_change(database: Any, day: date) -> None:
    world = World()
    open_park(world, "DDOOOOOOOOOO", day=day)
    world.store()
    found = chart("rides", "yesterday", day=day + timedelta(days=1))
    assert found["labels"] == HOURS
    assert [line["data"] for line in found["datasets"]] == [during(12, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)]


def test_a_closed_ride_has_no_point_on_a_day_it_did_not_operate(database: Any) -> None:
    world = World()
    park_id = world.park()
    ride_id = world.ride(park_id)
    for number, letters in enumerate(("OODD", "CCCC", "----", "OOOO")):
        day = SUNDAY + timedelta(days=number)
        world.open(park_id, day, at(12, day), at(14, day))
        world.day_of(ride_id, letters, at(12, day))
    world.store()
    for _ in ("from readings", "from stored days"):
        assert points("rides", "last_week") == [[1.0, None, None, 0.0, None, None, None]]
        daily.aggregate(instant(at(20)))


# --- by day ----------------------------------------------------------------------------------------------------------


def test_days_are_those_of_the_calendar_week_and_month(database: Any) -> None:
    world = World()
    park_id = world.park()
    ride_id = world.ride(park_id)
    for day, letters in ((SUNDAY, "ODDO"), (date(2025, 6, 7), "OODO"), (date(2025, 5, 31), "DDDD")):
        world.open(park_id, day, at(12, day), at(14, day))
        world.day_of(ride_id, letters, at(12, day), [30 if letter == "O" else None for letter in letters])
    world.store()
    for _ in ("from readings", "from stored days"):
        week = chart("parks", "last_week")
        assert week["labels"] == ["Jun 01", "Jun 02", "Jun 03", "Jun 04", "Jun 05", "Jun 06", "Jun 07"]
        assert [line["data"] for line in week["datasets"]] == [[5.0, None, None, None, None, None, 2.5]]
        month = chart("rides", "last_month")
        assert (len(month["labels"]), month["labels"][0], month["labels"][-1]) == (31, "May 01", "May 31")
        assert [line["data"] for line in month["datasets"]] == [[None] * 30 + [2.0]]
        assert points("waittimes", "7days") == [[30.0, None, None, None, None, None, 30.0]]
        daily.aggregate(instant(at(20)))


def test_a_day_without_a_roster_has_no_score(database: Any) -> None:
    world = World()
    park_id = world.park()
    ride_id = world.ride(park_id)
    for number, letters in enumerate(("CCCC", "ODDO", "CCCC")):
        day = SUNDAY + timedelta(days=number)
        world.open(park_id, day, at(12, day), at(14, day))
        world.day_of(ride_id, letters, at(12, day))
    world.store()
    assert points("parks", "last_week") == [[None, 5.0, 0.0, None, None, None, None]]
    assert charts.heatmap(asked("last_week"), "parks-shame")["entities"][0]["total_value"] == 2.5


# --- the last hour ---------------------------------------------------------------------------------------------------


def test_live_has_a_point_for_each_slot_of_the_last_hour(database: Any) -> None:
    world = World(15)
    park_id = world.park("disney")
    world.open(park_id, TODAY, at(12), at(14))
    world.day_of(world.ride(park_id), "OOOODODO", at(12), waits=[5, 5, 5, 50, None, 60])
    world.day_of(world.ride(park_id), "OOOOOO-D", at(12), waits=[5, 5, 5, 30, 20, 90])
    world.store()
    found = chart("parks", "live", now=13.8)
    assert (found["labels"], found["granularity"]) == (["13:00", "13:15", "13:30", "13:45"], "minutes")
    assert [line["data"] for line in found["datasets"]] == [[5.0, 0.0, 10 * 2 / 4, 5.0]]
    assert points("rides", "live", now=13.8) == [[0.25, 0.0, 0.25, 0.0], [0.0, 0.0, None, 0.25]]
    assert points("waittimes", "live", now=13.3) == [[5.0, 40.0, 20.0, 75.0]]
    assert points("ridewaittimes", "live", now=13.3) == [[5.0, 30.0, 20.0, 90.0], [5.0, 50.0, None, 60.0]]


def test_live_points_are_what_the_live_score_was_then(database: Any) -> None:
    """Where the feed does not tell, a closed ride is down for two hours, though its day has not proven it yet."""
    world = World(30)
    park_id = world.park("other")
    world.open(park_id, TODAY, at(10), at(20))
    world.day_of(world.ride(park_id), "OCCCCCCCC", at(12))
    world.day_of(world.ride(park_id), "OOOOOOOOO", at(12))
    world.store()
    assert points("parks", "live", now=13.5) == [[5.0, 5.0]]
    assert points("parks", "live", now=13) == [[5.0, 5.0]]
    assert points("parks", "live", now=12.5) == [[0.0, 5.0]]
    scores = {now: live_scores(park_id, now) for now in (14, 14.2, 14.5, 16, 16.5)}
    assert scores == {14: [5, 5], 14.2: [5, 0], 14.5: [5, 0], 16: [0, 0], 16.5: [0, None]}


def test_the_newest_slot_seen_is_looked_at_now(database: Any) -> None:
    world = World(30)
    park_id = world.park("other")
    world.open(park_id, TODAY, at(10), at(20))
    world.day_of(world.ride(park_id), "OCCCC", at(12))
    world.day_of(world.ride(park_id), "OOOOO", at(12))
    world.store()
    assert live_scores(park_id, 14) == [5, 5]
    assert live_scores(park_id, 14.5) == [0, None]  # closed for more than two hours, and 14:30 is still to come


def live_scores(park_id: int, now: float) -> list[Fraction | None]:
    tallies = asked("live", now=now).tallies
    slots = [tallies.now - tallies.now % tallies.step - tallies.step, tallies.now - tallies.now % tallies.step]
    return live.recent_scores(tallies, tallies.universe.parks[park_id], slots)


def test_live_leaves_out_suspect_slots_and_hours_when_the_park_is_closed(database: Any) -> None:
    world = World(15)
    park_id = world.park("disney")
    world.open(park_id, TODAY, at(12.25), at(20))
    world.day_of(world.ride(park_id), "DDDDDD", at(12))
    world.store()
    suspect = ParkActivitySnapshot.snapshot_time == at(12.5)
    ParkActivitySnapshot.update({ParkActivitySnapshot.is_suspect: True}).where(suspect).execute()
    assert points("parks", "live", now=12.8) == [[None, 10.0, None, 10.0]]


def test_live_goes_on_over_midnight(database: Any) -> None:
    world = World(15)
    park_id = world.park("disney")
    world.open(park_id, TODAY, at(20), at(26))
    world.day_of(world.ride(park_id), "D" * 12 + "DODD", at(20.5), waits=[None] * 13 + [40])
    world.day_of(world.ride(park_id), "OOOO", at(23.5), waits=[10, None, 30, 50])
    world.store()
    assert chart("parks", "live", now=24.4)["labels"] == ["23:30", "23:45", "00:00", "00:15"]
    assert points("parks", "live", now=24.4) == [[5.0, 0.0, 5.0, 5.0]]
    assert points("rides", "live", now=24.4) == [[0.25, 0.0, 0.25, 0.25]]
    assert points("waittimes", "live", now=24.4) == [[10.0, 40.0, 30.0, 50.0]]


# --- whom a chart shows ----------------------------------------------------------------------------------------------


def test_the_worst_come_first_and_no_more_than_asked_for(database: Any) -> None:
    world = World()
    for downs in (1, 3, 2, 0):
        open_park(world, "D" * downs + "O" * (12 - downs))
    world.store()
    assert entities("parks", "yesterday") == [2, 3, 1]
    assert entities("rides", "yesterday") == [2, 3, 1]
    assert entities("rides", "yesterday", limit=2) == [2, 3]


def entities(kind: str, period: str, **question: Any) -> list[int]:
    return [line["entity_id"] for line in chart(kind, period, **question)["datasets"]]


def test_a_heat_map_says_what_it_shows(database: Any) -> None:
    world = World()
    park_id = open_park(world)
    for tier, letters in ((3, "DDDOOOOOOOOO"), (1, "OOOOOOOOOOOO")):
        world.day_of(world.ride(park_id, tier=tier), letters, at(12, YESTERDAY))
    world.store()
    hours = charts.heatmap(asked("yesterday"), "rides-downtime")
    assert hours == {
        "granularity": "hourly",
        "title": "Top 1 Rides by Downtime (Yesterday)",
        "metric": "downtime_hours",
        "metric_unit": "hours",
        "timezone": PACIFIC,
        "entities": [
            {"rank": 1, "entity_id": 1, "entity_name": "Ride 1", "park_name": "Park 1", "tier": 3, "total_value": 1.5}
        ],
        "time_labels": HOURS,
        "matrix": [during(12, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0)],
    }
    scores = charts.heatmap(asked("yesterday"), "parks-shame")
    assert scores["title"] == "Top 1 Parks by Shame Score (Yesterday)"
    assert (scores["metric"], scores["metric_unit"]) == ("shame_score", "points")
    assert scores["entities"] == [
        {"rank": 1, "entity_id": 1, "entity_name": "Park 1", "location": "Town, ST", "total_value": 0.6}
    ]  # 10 x 1 x 3 / (4 x 12)
    assert charts.heatmap(asked("30days"), "parks")["title"] == "Top 0 Parks by Wait Time (Last Month)"
    assert charts.heatmap(asked("last_week"), "rides-waittimes")["time_labels"][0] == "Jun 01"


def test_the_total_is_the_figure_of_the_ranking_also_of_hours_without_a_label(database: Any) -> None:
    world = World()
    park_id = world.park("disney", TOKYO)
    day = TODAY  # in Tokyo; a park open from 9:00 there is open from 17:00 of Pacific yesterday
    world.open(park_id, day, at(9, day, TOKYO), at(18, day, TOKYO))
    world.day_of(world.ride(park_id), "DDDD" + "O" * 11 + "DDD", at(9, day, TOKYO))
    world.store()
    hours = charts.heatmap(asked("yesterday"), "rides-downtime")
    assert hours["matrix"] == [during(17, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)]
    assert hours["entities"][0]["total_value"] == 2.0
    scores = charts.heatmap(asked("yesterday"), "parks-shame")
    assert scores["entities"][0]["total_value"] == 2.9  # 10 x 4 / 14 slots until midnight


# --- the same numbers everywhere -------------------------------------------------------------------------------------

PERIODS = ("today", "yesterday", "last_week", "last_month")
RANKINGS = {  # kind of chart: its ranking, with the figure and the id that it has
    "parks": (rankings.parks_by_downtime, "shame_score", "park_id"),
    "waittimes": (rankings.parks_by_wait, "avg_wait_minutes", "park_id"),
    "rides": (rankings.rides_by_downtime, "downtime_hours", "ride_id"),
    "ridewaittimes": (rankings.rides_by_wait, "avg_wait_minutes", "ride_id"),
}


@pytest.mark.parametrize("seed", range(5))
def test_random_worlds_give_charts_and_heat_maps_the_numbers_of_the_rankings(database: Any, seed: int) -> None:
    world, now = random_world(seed)
    world.store()
    compare(now)
    daily.aggregate(instant(now + 10 * 86400))
    for later in (0, 7 * 86400, 30 * 86400):
        compare(now + later)


def compare(now: int) -> None:
    for period in PERIODS:
        standings = Standings(Question(period, "all-parks", "", 4, instant(now)))
        for kind in RANKINGS:
            compare_with_ranking(standings, kind)
        compare_points(standings)
    compare_live(now)


def compare_with_ranking(standings: Standings, kind: str) -> None:
    ranking, figure, id_ = RANKINGS[kind]
    standings.question = standings.question._replace(sort_by=figure)
    rows = ranking(standings)
    heat = charts.heatmap(standings, CHARTS_OF[kind])
    lines = charts.chart(standings, kind)["chart_data"]["datasets"]
    assert [(entity["entity_id"], entity["total_value"]) for entity in heat["entities"]] == [
        (row[id_], row[figure]) for row in rows
    ]
    assert [(line["entity_id"], line["data"]) for line in lines] == [
        (row[id_], points) for row, points in zip(rows, heat["matrix"], strict=True)
    ]


def compare_points(standings: Standings) -> None:
    """The days of a span, and all hours of a day, add up to what the rankings say."""
    tallies, span = standings.tallies, standings.span
    shown = [one.park for one in standings.park_spans.values()]
    rides = {ride.ride_id: ride for _, ride, _ in rankings.broken_rides(standings)}
    waits = {ride.ride_id: ride for _, ride, _ in rankings.waiting_rides(standings)}
    if len(span.days) > 1:
        for park_id, days in park_series(tallies, span, shown).items():
            scores = [day.score for day in days if day and day.score is not None]
            assert rules.mean(scores) == standings.park_spans[park_id].score
        found = {ride_id: [tally for tally in series if tally]
                 for ride_id, series in ride_series(tallies, span, shown).items()}
    else:
        found = {ride_id: [] for ride_id in standings.rides()}
        for park in shown:
            hours = tallies.park_parts(park, span.days[0], BY_HOUR, until=span.until).values()
            whole = standings.park_spans[park.park_id]
            compare_parts_since(standings, park)
            assert sum(hour.weighted_down for hour in hours) == whole.weighted_down
            weighed = [(hour.score or 0) * hour.slots for hour in hours]
            assert whole.score is None or sum(weighed) == whole.score * whole.slots
            for hour in tallies.ride_parts(park, span.days[0], BY_HOUR, until=span.until).values():
                for ride_id, tally in hour.items():
                    found[ride_id].append(tally)
    for ride_id, ride in rides.items():
        assert sum(part.down for part in found[ride_id]) == ride.down
    for ride_id, ride in waits.items():
        assert sum(part.wait_sum for part in found[ride_id]) == ride.wait_sum
        assert sum(part.wait_samples for part in found[ride_id]) == ride.wait_samples


def compare_parts_since(standings: Standings, park: ParkFacts) -> None:
    """Counting from the middle of a day on, or only some rides, gives the same numbers as counting all of it."""
    (day,), until, tallies = standings.span.days, standings.span.until, standings.tallies
    since, some = at(13, day), tallies.universe.rides_of[park.park_id][::2]
    parks = tallies.park_parts(park, day, BY_HOUR, until=until)
    later = tallies.park_parts(park, day, BY_HOUR, since=since, until=until)
    assert later == {start: hour for start, hour in parks.items() if start >= since}
    rides = tallies.ride_parts(park, day, BY_HOUR, until=until)
    for start, hour in tallies.ride_parts(park, day, BY_HOUR, ride_ids=some, since=since, until=until).items():
        assert hour == {ride_id: ride for ride_id, ride in rides[start].items() if ride_id in some}
    for wanted in (Wanted.WAITS, Wanted.DOWN):
        for start, hour in tallies.park_parts(park, day, BY_HOUR, until=until, wanted=wanted).items():
            whole = parks[start]
            assert hour.slots == whole.slots
            if wanted is Wanted.DOWN:
                assert (hour.score, hour.down) == (whole.score, whole.down)
            else:
                assert hour.wait_sum == whole.wait_sum and hour.operating == whole.operating


def compare_live(now: int) -> None:
    """The newest point is the live score of the ranking, unless the live slot is older than an hour."""
    standings = Standings(Question("live", "all-parks", "shame_score", 4, instant(now)))
    rows = rankings.parks_by_downtime(standings)
    lines = charts.chart(standings, "parks")["chart_data"]["datasets"]
    assert [line["entity_id"] for line in lines] == [row["park_id"] for row in rows]
    for row, line in zip(rows, lines, strict=True):
        known = [point for point in line["data"] if point is not None]
        assert not known or known[-1] == row["shame_score"]
