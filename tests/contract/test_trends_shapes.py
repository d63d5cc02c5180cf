"""The answers of the trends endpoints have the shapes of the HTTP contract, and what the frontend takes for granted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import pytest

from contract.test_shapes import CONTRACT, FILTERS, INTERVAL, NOW, PACIFIC, client, leaves, validator
from factories import World
from service import clock
from service.config import Settings
from service.periods import PERIODS
from service.queries import charts, trends
from service.web import app as web
from wsgi_client import Client

__all__ = ["client"]  # the fixture

pytestmark = pytest.mark.skipif(not CONTRACT.is_file(), reason="the contract is not beside this checkout")

PAST = [period for period in (*PERIODS, "7days", "30days") if period != "live"]
ENTITIES = ("parks", "rides")
BAD_REQUESTS = [
    ("/api/trends", "", "category"),
    ("/api/trends", "category=parks", "category"),
    ("/api/trends", "category=parks-improving&period=live", "period"),
    ("/api/trends", "category=parks-improving&limit=101", "limit"),
    ("/api/trends", "category=parks-improving&limit=0", "limit"),
    ("/api/trends", "category=parks-improving&limit=abc", "limit"),
    ("/api/trends", "category=parks-improving&filter=", "filter"),
    ("/api/trends/chart-data", "type=heat", "type"),
    ("/api/trends/chart-data", "period=7day-average", "period"),
    ("/api/trends/chart-data", "limit=ten", "limit"),
    ("/api/trends/chart-data", "limit=0", "limit"),
    ("/api/trends/longest-wait-times", "period=live", "period"),
    ("/api/trends/longest-wait-times", "entity=park", "entity"),
    ("/api/trends/least-reliable", "entity=", "entity"),
    ("/api/trends/least-reliable", "limit=-1", "limit"),
    ("/api/trends/heatmap-data", "type=parks", "period"),
    ("/api/trends/heatmap-data", "period=today", "type"),
    ("/api/trends/heatmap-data", "period=today&type=rides", "type"),
    ("/api/trends/heatmap-data", "period=live&type=parks", "period"),
]


BETTER = {(3, 20): 6, (4, 7): 4, (5, 6): 6, (5, 16): 4, (5, 17): 3, (5, 18): 1}  # slots down of 8, by day
WORSE = {(3, 20): 1, (4, 7): 3, (5, 6): 1, (5, 16): 2, (5, 17): 4, (5, 18): 6}


@pytest.fixture
def changing(database: Any, settings: Settings) -> Iterator[Client]:
    """The API over a park that gets better and one that gets worse in every period."""
    world = World(INTERVAL)
    for downs in (BETTER, WORSE):
        park_id = world.park("disney")
        ride_id = world.ride(park_id)
        for (month, day), slots in downs.items():
            start = int(datetime(2025, month, day, 11, 30, tzinfo=PACIFIC).timestamp())
            world.open(park_id, date(2025, month, day), start, start + 8 * INTERVAL * 60)
            world.day_of(ride_id, "D" * slots + "O" * (8 - slots), start)
    world.store()
    clock.replay(NOW)
    yield Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=INTERVAL)))


@pytest.fixture
def empty(database: Any, settings: Settings) -> Client:
    """The API without any data."""
    clock.replay(NOW)
    return Client(web.create_app(settings))


def checked(client: Client, path: str, query: str = "") -> Any:
    """The answer's body, of the shape that the contract has for it."""
    response = client.get(f"{path}?{query}")
    assert response.status == 200, response.json
    errors = leaves(validator(path).iter_errors(response.json))
    problems = [f"{list(error.absolute_path)}: {error.message}" for error in errors]
    assert not problems, f"{path}?{query}\n" + "\n".join(problems)
    return response.json


def test_trends(changing: Client) -> None:
    for category in trends.CATEGORIES:
        entity, direction = category.split("-")
        for period in PAST:
            for park_filter in FILTERS:
                query = f"category={category}&period={period}&filter={park_filter}"
                body = checked(changing, "/api/trends", query)
                assert (body["period"], body["category"], body["filter"]) == (period, category, park_filter)
                found = [row[f"{entity[:-1]}_id"] for row in body[entity]]
                assert found == [1 if direction == "improving" else 2], query
                assert body["count"] == 1
    assert checked(changing, "/api/trends", "category=parks-improving")["period"] == "last_week"


def test_chart_data(client: Client) -> None:
    for period in (*PAST, "live"):
        for kind in charts.MEASURES:
            body = checked(client, "/api/trends/chart-data", f"period={period}&type={kind}&filter=all-parks")
            data = body["chart_data"]
            assert data["datasets"], f"{kind} {period}"
            assert all(len(line["data"]) == len(data["labels"]) for line in data["datasets"])
            assert not any(line.keys() & {"type", "hidden", "order", "stack", "fill"} for line in data["datasets"])
            assert ("granularity" in data) == (period == "live")
            assert body["mock"] is False


def test_chart_data_defaults_to_the_scores_of_disney_and_universal_parks_last_week(client: Client) -> None:
    body = checked(client, "/api/trends/chart-data")
    assert (body["period"], body["type"], body["filter"]) == ("last_week", "parks", "disney-universal")
    assert [line["entity_id"] for line in body["chart_data"]["datasets"]] == [1, 3]


def test_heatmap_data(client: Client) -> None:
    for period in PAST:
        for kind in charts.HEATMAPS:
            body = checked(client, "/api/trends/heatmap-data", f"period={period}&type={kind}")
            entities, matrix = body["entities"], body["matrix"]
            assert entities and len(matrix) == len(entities)
            assert {len(row) for row in matrix} == {len(body["time_labels"])}
            assert [entity["rank"] for entity in entities] == list(range(1, len(entities) + 1))
            assert all(entity["total_value"] > 0 for entity in entities)
            of_parks = kind.startswith("parks")
            assert all(bool(entity.get("location")) == ("location" in entity) == of_parks for entity in entities)


def test_awards(client: Client) -> None:
    for path in ("/api/trends/longest-wait-times", "/api/trends/least-reliable"):
        for period in PAST:
            for entity in ENTITIES:
                for park_filter in FILTERS:
                    body = checked(client, path, f"period={period}&entity={entity}&filter={park_filter}")
                    assert [row["rank"] for row in body["data"]] == list(range(1, body["count"] + 1)) != []
        body = checked(client, path)
        assert (body["period"], body["entity"], body["filter"]) == ("today", "rides", "all-parks")


def test_limits(client: Client) -> None:
    for path in ("/api/trends/longest-wait-times", "/api/trends/least-reliable"):
        assert checked(client, path, "limit=1")["count"] == 1
        checked(client, path, "limit=99")
    assert len(checked(client, "/api/trends/chart-data", "type=rides&limit=1")["chart_data"]["datasets"]) == 1
    assert len(checked(client, "/api/trends/heatmap-data", "period=today&type=parks&limit=1")["entities"]) == 1
    checked(client, "/api/trends/chart-data", "limit=21")
    checked(client, "/api/trends", "category=rides-improving&limit=100")


@pytest.mark.parametrize(("path", "query", "named"), BAD_REQUESTS)
def test_a_refusal_names_the_parameter(client: Client, path: str, query: str, named: str) -> None:
    response = client.get(f"{path}?{query}")
    assert response.status == 400
    validator(path, "400").validate(response.json)
    assert named in response.json["error"]


def test_live_heat_maps_are_refused_in_so_many_words(client: Client) -> None:
    error = client.get("/api/trends/heatmap-data?period=live&type=parks").json["error"]
    assert "live" in error and "not supported" in error
    assert error.endswith("use one of today, yesterday, last_week, last_month, 7days, 30days.")


@pytest.mark.parametrize("period", ["today", "yesterday", "last_week", "last_month"])
def test_without_data_everything_is_empty_and_nothing_is_invented(empty: Client, period: str) -> None:
    for category in trends.CATEGORIES:
        assert checked(empty, "/api/trends", f"category={category}&period={period}")["count"] == 0
    for path in ("/api/trends/longest-wait-times", "/api/trends/least-reliable"):
        assert checked(empty, path, f"period={period}")["data"] == []
    for kind in charts.MEASURES:
        body = checked(empty, "/api/trends/chart-data", f"type={kind}&period={period}")
        assert (body["chart_data"]["datasets"], body["mock"]) == ([], False)
        assert len(body["chart_data"]["labels"]) == {"last_week": 7, "last_month": 30}.get(period, 18)
    for kind, title in (("parks", "Top 0 Parks by Wait Time"), ("rides-downtime", "Top 0 Rides by Downtime")):
        body = checked(empty, "/api/trends/heatmap-data", f"type={kind}&period={period}")
        assert body["matrix"] == body["entities"] == []
        assert body["title"] == f"{title} ({period.replace('_', ' ').title()})"


def test_the_live_chart_of_an_empty_database(empty: Client) -> None:
    for kind in charts.MEASURES:
        body = checked(empty, "/api/trends/chart-data", f"type={kind}&period=live")
        assert (body["chart_data"]["datasets"], body["mock"], body["granularity"]) == ([], False, "minutes")
