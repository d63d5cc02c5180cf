"""A world in which everything the API can tell happens: for tests that look at the shape of every answer."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from factories import World

from service import clock, rules
from service.database import upsert
from service.jobs import daily, yearly
from service.models import AggregationJobLog, DailyParkStats, DataQualityIssue, JobLease, JobStatus
from service.models.operations import IssueType
from service.periods import days_between

PACIFIC = ZoneInfo("America/Los_Angeles")
NOW = datetime(2025, 5, 18, 15, 0, tzinfo=PACIFIC)  # a Sunday
INTERVAL = 30
ODD_DAY = date(2025, 5, 17)  # everything breaks down more than ever
DAYS = (date(2025, 4, 7), date(2025, 4, 8), *days_between(date(2025, 5, 3), date(2025, 5, 18)))

# Slots from 11:30 to 15:00 Pacific, and the tier: breakdowns told and inferred, walk-ons, refurbishment, closures.
RIDES = {
    "OODDOODD": 1, "OOOOOOOO": None, "RRRRRRRR": 3, "CCCCCCCC": 2, "oooccooo": 2, "OCCOOCOC": 3, "OODOOOOO": None,
}
WAITS = (5, 10, None, None, 20, 35, 60, 25)


def store(now: datetime = NOW) -> World:
    """Fill the open database with parks of each type, the last one without a town, a page or a schedule; with their
    statistics, of which one is wrong; and with what jobs and sources did. The clock stands at `now`."""
    world = World(INTERVAL)
    for park_type in ("disney", "other", "universal"):
        _fill(world, world.park(park_type), with_schedule=park_type != "universal")
    world.parks[-1] = world.parks[-1]._replace(city=None, state_province=None, queue_times_id=None)
    world.rides[-1] = world.rides[-1]._replace(queue_times_id=None)
    world.park("disney")  # never seen
    world.store()
    clock.replay(now)
    daily.aggregate(now)
    yearly.refresh_years(now)
    DailyParkStats.update({DailyParkStats.uptime_percentage: 120}).where(DailyParkStats.park_id == 1).execute()
    _store_issues(now)
    _store_jobs(now)
    return world


def _fill(world: World, park_id: int, *, with_schedule: bool) -> None:
    rides = {world.ride(park_id, tier=tier): said for said, tier in RIDES.items()}
    world.ride(park_id, category="SHOW", tier=1)
    for day in DAYS:
        start = int(datetime(day.year, day.month, day.day, 11, 30, tzinfo=PACIFIC).timestamp())
        if with_schedule:
            world.open(park_id, day, start, start + len(WAITS) * INTERVAL * 60)
        for ride_id, said in rides.items():
            world.day_of(ride_id, _of_day(said, day), start, WAITS)


def _of_day(said: str, day: date) -> str:
    if day == ODD_DAY:
        return said.replace("OO", "OD")
    # Two days are not alike, or nothing would be odd about the odd one.
    return said if day.day % 2 else said.replace("ODD", "OOD", 1)


def _store_issues(now: datetime) -> None:
    issue = DataQualityIssue
    columns = [
        issue.issue_id,
        issue.data_source,
        issue.issue_type,
        issue.detected_at,
        issue.park,
        issue.ride,
        issue.themeparks_wiki_id,
        issue.queue_times_id,
        issue.entity_name,
        issue.last_updated_at,
        issue.data_age_minutes,
        issue.reported_status,
        issue.is_resolved,
    ]
    wiki, queue_times = rules.Source.THEMEPARKS_WIKI, rules.Source.QUEUE_TIMES
    hour = timedelta(hours=1)
    found: list[tuple[object, ...]] = [
        (1, wiki, IssueType.STALE_DATA, now - hour, 1, 1, "a" * 36, None, "Ride 1", now - 3 * hour, 120, "DOWN", False),
        (2, wiki, IssueType.STALE_DATA, now, 1, 1, "a" * 36, None, "Ride 1", now - 3 * hour, 180, "CLOSED", False),
        (3, queue_times, IssueType.STALE_DATA, now - hour, 2, None, None, 7, "Park 2", None, None, None, True),
        *((4 + kind, wiki, kind, now, None, None, None, None, None, None, None, None, False) for kind in IssueType),
    ]
    upsert(issue, columns, found, key=columns[:1])


def _store_jobs(now: datetime) -> None:
    job = AggregationJobLog
    job.insert({
        job.job_type: "collect",
        job.status: JobStatus.FAILED,
        job.started_at: now - timedelta(hours=1),
        job.finished_at: now,
        job.error_details: "a secret of the server",
        job.owner: "host",
    }).execute()
    lease = JobLease
    lease.insert({
        lease.name: "worker",
        lease.owner: "host",
        lease.acquired_at: now - timedelta(hours=1),
        lease.expires_at: now + timedelta(hours=1),
    }).execute()
