"""Real recordings through the whole service: imported, aggregated and served by the commands, on both engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from service import clock
from service import database as door
from service.config import Settings
from service.models import DailyStats
from service.queries.rankings import MODES
from service.web.app import application
from tests.wsgi_client import Client

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "real"
pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the real recordings are not here")

WORLD, PARIS = ("wdw-2025-05", 15), ("dlp-2026-04", 5)
ENDPOINTS = ("parks/downtime", "parks/waittimes", "rides/downtime", "rides/waittimes")
PERIODS = ("live", "today", "yesterday", "last_week", "last_month", "7days", "30days")


def run(monkeypatch: pytest.MonkeyPatch, settings: Settings, minutes: int, *arguments: str) -> dict[str, Any]:
    """A command as a user would run it; its JSON, if it prints some."""
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("SNAPSHOT_INTERVAL_MINUTES", str(minutes))
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if "--json" in arguments else {}


def served(monkeypatch: pytest.MonkeyPatch, now: str) -> Client:
    """The API with the clock fixed."""
    monkeypatch.setenv("REPLAY_NOW", now)
    return Client(application())


def filled(monkeypatch: pytest.MonkeyPatch, settings: Settings, recording: tuple[str, int]) -> None:
    folder, minutes = recording
    run(monkeypatch, settings, minutes, "migrate")
    run(monkeypatch, settings, minutes, "import", str(RECORDINGS / folder))
    run(monkeypatch, settings, minutes, "aggregate")


def hours_by_park(client: Client, period: str) -> dict[str, float]:
    body = client.get(f"/api/parks/downtime?period={period}").json
    return {row["park_name"]: row["total_downtime_hours"] for row in body["data"]}


@pytest.mark.parametrize(
    ("now", "period"), [("2025-05-18T15:00:00Z", "last_week"), ("2025-06-02T18:00:00Z", "last_month")]
)
def test_walt_disney_world(
    database: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, now: str, period: str
) -> None:
    filled(monkeypatch, settings, WORLD)
    assert hours_by_park(served(monkeypatch, now), period) == {
        "Disney's Hollywood Studios": 13.75,
        "Magic Kingdom Park": 11.25,
        "EPCOT": 2.25,
        "Disney's Animal Kingdom": 4.25,
    }


def test_disneyland_paris(database: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(monkeypatch, settings, PARIS)
    found = hours_by_park(served(monkeypatch, "2026-04-20T15:00:00Z"), "yesterday")
    assert found == {"Disneyland Park Paris": 6.75, "Disney Adventure World Paris": 5.67}


def test_the_figures_of_how_a_number_is_made(
    database: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(monkeypatch, settings, WORLD)
    client = served(monkeypatch, "2025-05-18T15:00:00Z")
    (park,) = (
        row
        for row in client.get("/api/parks/downtime?period=last_week").json["data"]
        if row["park_name"] == "Magic Kingdom Park"
    )
    assert (park["rank"], park["shame_score"], park["total_downtime_hours"]) == (2, 0.2, 11.25)
    (ride,) = (
        row
        for row in client.get("/api/rides/downtime?period=last_week").json["data"]
        if row["ride_name"] == "Seven Dwarfs Mine Train"
    )
    assert (ride["rank"], ride["downtime_hours"], ride["uptime_percentage"]) == (4, 2.5, 87.2)
    day = DailyStats.get(DailyStats.ride == ride["ride_id"], DailyStats.stat_date == "2025-05-14")
    assert (day.sample_count, day.total_downtime_minutes, day.downtime_incidents) == (31, 135, 2)
    assert (day.operating_minutes, day.open_minutes) == (22 * 15, 52 * 15)
    assert (float(day.uptime_percentage or 0), float(day.shame_score or 0)) == (71.0, 0.085)


@pytest.mark.parametrize(
    ("recording", "now"),
    [(WORLD, "2025-05-15T22:40:00Z"), (WORLD, "2025-05-18T15:00:00Z"), (PARIS, "2026-04-20T15:00:00Z")],
)
def test_both_engines_give_the_same_bytes(
    mariadb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording: tuple[str, int], now: str
) -> None:
    bodies = []
    for url in (f"sqlite:///{tmp_path / 'both.db'}", mariadb.url(mariadb.create_database("both"))):
        filled(monkeypatch, Settings(database_url=url), recording)
        client = served(monkeypatch, now)
        asked = [f"/api/{endpoint}?period={period}" for endpoint in ENDPOINTS for period in PERIODS]
        asked += [f"/api/rides/waittimes?mode={mode}" for mode in MODES]
        asked += ["/api/live/status-summary", "/api/parks/downtime?filter=disney-universal&period=last_week"]
        bodies.append({path: client.get(path).body for path in asked})
        monkeypatch.delenv("REPLAY_NOW")
        _close()
    assert bodies[0] == bodies[1]
    assert sum(b'"rank"' in body for body in bodies[0].values()) > 12


def test_importing_twice_changes_nothing(
    database: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(monkeypatch, settings, PARIS)
    again = run(monkeypatch, settings, 5, "import", str(RECORDINGS / PARIS[0]), "--json")
    assert (again["read"], again["stored"], again["replaced"], again["refused"]) == (47885, 0, 0, [])
    assert len(again["single_rider"]) == 8
    assert run(monkeypatch, settings, 5, "aggregate", "--json")["days"] == []


def _close() -> None:
    door.close()
    clock.replay(None)
