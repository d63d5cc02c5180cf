"""The answers of the audit endpoints have the shapes of the HTTP contract, where that document is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from contract.test_shapes import CONTRACT, INTERVAL, NOW, fill, leaves
from factories import World
from wsgi_client import Client

from service import clock
from service.config import Settings
from service.jobs import daily
from service.models import DailyParkStats, DailyStats, DataQualityIssue, IssueType
from service.rules import Source
from service.web import app as web

jsonschema = pytest.importorskip("jsonschema")
pytestmark = pytest.mark.skipif(not CONTRACT.is_file(), reason="the contract is not beside this checkout")


@cache
def validator(path: str) -> Any:
    document = yaml.safe_load(CONTRACT.read_text())
    (operation,) = document["paths"][path].values()
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return jsonschema.Draft202012Validator({"components": document["components"], "allOf": [schema]})


@pytest.fixture
def client(database: Any, settings: Settings) -> Iterator[Client]:
    """The API over two parks that broke down, with statistics of which some cannot be, and issues of two sources."""
    world = World(INTERVAL)
    fill(world, world.park("disney"))
    fill(world, world.park("other"))
    world.store()
    daily.aggregate(NOW)
    DailyStats.update({DailyStats.uptime_percentage: 101}).where(DailyStats.uptime_percentage.is_null(False)).execute()
    DailyParkStats.update({DailyParkStats.shame_score: -1}).execute()
    issue = DataQualityIssue
    for source in (Source.THEMEPARKS_WIKI, Source.QUEUE_TIMES):
        values = {issue.data_source: source, issue.issue_type: IssueType.STALE_DATA, issue.detected_at: NOW}
        issue.insert(values).execute()
        named = {issue.park: 1, issue.ride: 1, issue.entity_name: "A", issue.data_age_minutes: 90}
        issue.insert(values | named).execute()
    clock.replay(NOW)
    yield Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=INTERVAL)))


def check(client: Client, path: str, query: str = "", sent: object = None) -> dict[str, Any]:
    """The body of an answer that has the shape of the contract; what is `sent` is posted."""
    response = client.get(f"{path}?{query}") if sent is None else client.post(path, sent)
    assert response.status == 200, response.json
    arrived: dict[str, Any] = response.json
    problems = [
        f"{list(error.absolute_path)}: {error.message}" for error in leaves(validator(path).iter_errors(arrived))
    ]
    assert not problems, f"{path}?{query}\n" + "\n".join(problems)
    return arrived


@pytest.mark.parametrize("period", ["today", "7days", "30days"])
def test_verify(client: Client, period: str) -> None:
    for kind, steps in (("park_shame_score", 5), ("ride_downtime", 3)):
        for entity_id in (1, 2, 999):
            sent = {"type": kind, "entity_id": entity_id, "period": period, "displayed_value": "1.5"}
            assert len(check(client, "/api/audit/verify", sent=sent)["computation_trace"]) == steps


def test_status(client: Client) -> None:
    names = {failure["check_name"] for failure in check(client, "/api/audit/status")["failures"]}
    assert names == {"uptime_percentage_out_of_bounds", "shame_score_negative"}
    assert check(client, "/api/audit/status", "date=2001-01-01")["status"] == "PASS"


def test_anomalies_and_flagged_entities(client: Client) -> None:
    for query in ("", "date=2025-05-13", "severity=WARNING"):
        check(client, "/api/audit/anomalies", query)
        check(client, "/api/audit/flagged-entities", query)
    assert check(client, "/api/audit/anomalies", "date=2001-01-01")["warning_count"] == 2


def test_run(client: Client) -> None:
    assert check(client, "/api/audit/run", sent={})["target_date"] == "2025-05-17"
    assert check(client, "/api/audit/run", sent={"date": "2001-01-01"})["anomalies_detected"] == 2


def test_data_quality(client: Client) -> None:
    assert check(client, "/api/audit/data-quality")["total_issues"] == 4
    assert check(client, "/api/audit/data-quality", "source=queue_times&hours=1&unresolved=false")["total_issues"] == 2


def test_data_quality_summary(client: Client) -> None:
    assert check(client, "/api/audit/data-quality/summary")["entities_with_issues"] == 2
    assert check(client, "/api/audit/data-quality/summary", "days=1&source=queue_times")["entities_with_issues"] == 2


def test_errors(client: Client) -> None:
    refused = jsonschema.Draft202012Validator(
        {"type": "object", "required": ["success", "error"], "properties": {"success": {"const": False}}}
    )
    refused.validate(client.get("/api/audit/status?date=tomorrow").json)
    for body in ({}, [1]):
        response = client.post("/api/audit/verify", body)
        assert response.status == 400
        refused.validate(response.json)
    response = client.post("/api/audit/verify", b"{")
    assert (response.status, set(response.json)) == (400, {"error", "message"})
    assert client.post("/api/audit/run", {}, content_type="text/plain").status == 415
