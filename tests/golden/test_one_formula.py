"""One formula everywhere: whatever endpoint shows a figure of a park or ride over a span, it is the same number.

Every endpoint that shows a figure is asked over HTTP, and says what it shows: who says which figure of whom, and of
when. The independent reference says its own. Then nobody may contradict anybody, and nobody may have been silent.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import reference as ref
from factories import World, random_world
from wsgi_client import Client

from service import clock
from service.config import Settings
from service.jobs import daily
from service.periods import instant
from service.web import app as web

Row = dict[str, Any]
Entity = tuple[str, int]  # ("park", 3), ("ride", 7); (the name of a list, 0)

DAYS = 8  # of readings: a week and parts of those beside it, and rosters that lose rides
SEEDS = (13, 19)
RIDES = 4  # of a world, whose pages are asked for
NOW = ("live", "today", "yesterday")
SINGLE_DAYS, LONG = ("today", "yesterday"), ("last_week", "last_month")
NAMES = {"all-parks": {}, "disney-universal": {"last_week": "7days", "last_month": "30days"}}  # both names are asked
CATEGORIES = tuple(f"{entity}-{direction}" for entity in ("parks", "rides") for direction in ("improving", "declining"))
HOURS = {f"{hour}:00": hour for hour in range(6, 24)}  # the labels of a day
STATUSES = {
    "OPERATING": "rides_operating",
    "DOWN": "rides_down",
    "CLOSED": "rides_closed",
    "REFURBISHMENT": "rides_refurbishment",
}
EVERYTHING = 20  # rows: the most that charts and awards give, and more than these worlds have


class Kind(NamedTuple):
    """A type of chart and the heat map of the same: of parks or rides, and which figure."""

    chart: str
    heatmap: str
    noun: str
    figure: str


KINDS = (
    Kind("parks", "parks-shame", "park", "score"),
    Kind("waittimes", "parks", "park", "wait"),
    Kind("rides", "rides-downtime", "ride", "hours"),
    Kind("ridewaittimes", "rides-waittimes", "ride", "wait"),
)

# Whom the walk must have heard of each figure, beside the reference.
WITNESSES = {
    ("park", "score"): {"parks/downtime", "parks/details", "parks/details chart", "heatmap", "least-reliable", "verify",
                        "shares of the rides"},
    ("park", "point of score"): {"chart", "heatmap", "parks/details chart"},
    ("park", "hours"): {"parks/downtime", "parks/details", "parks/details chart", "trends", "verify"},
    ("park", "weighted"): {"parks/downtime", "parks/details"},
    ("park", "uptime"): {"parks/downtime", "parks/details", "least-reliable", "trends", "verify"},
    ("park", "rides_down"): {"parks/downtime", "parks/details", "parks/details chart"},
    ("park", "trend"): {"parks/downtime", "trends"},
    ("park", "weight"): {"parks/downtime", "parks/details", "parks/rides", "verify"},
    ("park", "slots"): {"parks/downtime", "verify"},
    ("park", "wait"): {"parks/waittimes", "parks/details", "chart", "heatmap"},
    ("park", "whole_wait"): {"longest-wait-times"},
    ("park", "peak"): {"parks/waittimes", "parks/details"},
    ("park", "wait_trend"): {"parks/waittimes"},
    ("ride", "hours"): {"rides/downtime", "rides/details", "rides/details point", "parks/details", "parks/rides/charts",
                        "chart", "heatmap", "least-reliable", "trends", "verify"},
    ("ride", "uptime"): {"rides/downtime", "rides/details", "rides/details point", "least-reliable", "trends"},
    ("ride", "trend"): {"rides/downtime", "trends"},
    ("ride", "incidents"): {"least-reliable"},
    ("ride", "wait"): {"rides/downtime", "rides/waittimes", "rides/details", "rides/details point",
                       "parks/rides/charts", "chart", "heatmap"},
    ("ride", "whole_wait"): {"longest-wait-times"},
    ("ride", "peak"): {"rides/downtime", "rides/waittimes", "longest-wait-times"},
    ("ride", "wait_trend"): {"rides/waittimes"},
}  # fmt: skip
REFERENCE = "the reference"


class Api:
    """Asks over HTTP at instants of a replayed clock, and remembers what was answered."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.answers: dict[tuple[int, str, str], Row] = {}

    def ask(self, at: int, path: str, body: Row | None = None, **query: object) -> Row:
        question = (at, f"/api/{path}?{urlencode(query)}", json.dumps(body) if body else "")
        if question not in self.answers:
            self.answers[question] = self._send(*question)
        return self.answers[question]

    def ask_again(self, why: str, chance: random.Random, share: float) -> None:
        """Answers are what they were: a share of them, for time's sake."""
        for question in chance.sample(list(self.answers), round(share * len(self.answers))):
            assert self._send(*question) == self.answers[question], (why, question)

    def _send(self, at: int, url: str, body: str) -> Row:
        clock.replay(instant(at))
        response = self.client.post(url, json.loads(body)) if body else self.client.get(url)
        assert response.status == 200, (url, response.body)
        answer: Row = response.json
        answer.pop("anomalies_detected", None)  # a day without statistics is one
        return answer


class Figures:
    """What was said: per scope (a period, a day, an hour), entity and figure each value, with who said it."""

    def __init__(self) -> None:
        self.said: dict[tuple[str, Entity, str], dict[object, set[str]]] = defaultdict(lambda: defaultdict(set))

    def say(self, who: str, scope: str, entity: Entity, **figures: object) -> None:
        for name, value in figures.items():
            self.said[scope, entity, name][value].add(who)

    def contradictions(self) -> dict[tuple[str, Entity, str], dict[object, set[str]]]:
        return {about: dict(values) for about, values in self.said.items() if len(values) > 1}

    def witnesses(self) -> dict[tuple[str, str], set[str]]:
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for (_, (noun, _), name), values in self.said.items():
            found[noun, name].update(*values.values())
        return found


def day_label(day: date) -> str:
    return f"{day:%b %d}"


def park(row: Row) -> Entity:
    return "park", row["park_id"]


def ride(row: Row) -> Entity:
    return "ride", row["ride_id"]


class Walk:
    """All questions of one instant, what the endpoints say to them and what the reference does."""

    def __init__(self, api: Api, world: World, now: int, figures: Figures) -> None:
        self.api, self.world, self.now, self.figures = api, world, now, figures
        self.oracle = world.reference(now)
        self.today = ref.pacific_date(now)
        self.say = figures.say

    def get(self, path: str, **query: object) -> Row:
        return self.api.ask(self.now, path, **query)

    def scope(self, period: str) -> str:
        """What a figure of the period is about; yesterday is a day like those that a week consists of."""
        return day_label(self.today - ref.DAY) if period == "yesterday" else period

    def scope_before(self, period: str) -> str:
        return day_label(self.today - 2 * ref.DAY) if period == "yesterday" else f"before {period}"

    def slots(self, hours: float | None) -> int:
        """As many slots as make these rounded hours; that is exact, because a slot is much longer than 0.01 hours."""
        return round((hours or 0) * 60 / self.world.interval_minutes)

    def say_points(self, who: str, period: str, entity: Entity, figure: str, chart: Row, values: list[Any]) -> None:
        """What the points of a chart show, each labelled with its slot, its hour or its day."""
        name = "point of score" if figure == "score" else figure  # the contract lets no other score be null
        for label, value in zip(chart["labels"], values, strict=True):
            self.say(who, self.point(period, label), entity, **{name: value})

    def point(self, period: str, label: str) -> str:
        return label if period in LONG else f"{self.scope(period)} {label}"

    # --- lists over all parks ----------------------------------------------------------------------------------------

    def lists(self, period: str, park_filter: str) -> None:
        """All rankings, charts, awards and changes of a period."""
        asked = {"period": NAMES[park_filter].get(period, period), "filter": park_filter}
        self.parks_by_downtime(period, park_filter, asked)
        self.rides_by_downtime(period, park_filter, asked)
        self.waits(period, park_filter, asked)
        for kind in KINDS:
            self.chart(period, kind, asked)
        if period != "live":
            self.awards(period, asked)
            for category in CATEGORIES:
                self.changes(period, category, asked)

    def say_order(self, who: str, period: str, asked: Row, noun: str, figure: str, ids: list[int]) -> None:
        about = f"{noun}s of {asked['filter']}"
        self.say(who, self.scope(period), (about, 0), **{f"order by {figure}": tuple(ids)})

    def parks_by_downtime(self, period: str, park_filter: str, asked: Row) -> None:
        found = self.get("parks/downtime", **asked, limit=100)
        same(found["data"], self.oracle.parks_downtime(period, park_filter))
        total = found["aggregate_stats"]
        same([total], [self.oracle.aggregate_stats(period, park_filter)])
        now = self.get("live/status-summary", filter=park_filter)["status_summary"]
        assert now == self.oracle.status_summary(park_filter)
        for status, name in STATUSES.items() if period in ("live", "today") else ():
            if period == "live" or status != "DOWN":
                assert total[name] == now[status] + self.hidden(status, park_filter)
        self.say_order("parks/downtime", period, asked, "park", "score", [row["park_id"] for row in found["data"]])
        for row in found["data"]:
            who = "parks/downtime", self.scope("today" if period == "live" else period), park(row)
            self.say(
                *who, hours=row["total_downtime_hours"], weighted=row["weighted_downtime_hours"],
                uptime=row["uptime_percentage"], trend=row["trend_percentage"], slots=row["snapshot_count"],
            )  # fmt: skip
            self.say(who[0], self.scope(period), park(row), score=row["shame_score"], rides_down=row["rides_down"])
            if "effective_park_weight" in row:
                self.say(*who, weight=row["effective_park_weight"])

    def hidden(self, status: str, park_filter: str) -> int:
        """How many inactive rides do this now: they are in the totals, not in the summary."""
        parks = self.oracle.listed_parks("live", park_filter)
        return sum(not one.is_active for it in parks for one in self.oracle.rides_now(it.park_id, status))

    def rides_by_downtime(self, period: str, park_filter: str, asked: Row) -> None:
        rows = self.get("rides/downtime", **asked, limit=200)["data"]
        same(rows, self.oracle.rides_downtime(period, park_filter))
        self.say_order("rides/downtime", period, asked, "ride", "hours", [row["ride_id"] for row in rows])
        for row in rows:
            self.say(
                "rides/downtime", self.scope("today" if period == "live" else period), ride(row),
                hours=row["downtime_hours"], uptime=row["uptime_percentage"], trend=row["trend_percentage"],
                wait=row["avg_wait_time"], peak=row["peak_wait_time"],
            )  # fmt: skip

    def waits(self, period: str, park_filter: str, asked: Row) -> None:
        parks = self.get("parks/waittimes", **asked, limit=100)["data"]
        same(parks, self.oracle.parks_waittimes(period, park_filter))
        self.say_order("parks/waittimes", period, asked, "park", "wait", [row["park_id"] for row in parks])
        for row in parks:
            self.say(
                "parks/waittimes", self.scope(period), park(row),
                wait=row["avg_wait_minutes"], peak=row["peak_wait_minutes"], wait_trend=row["trend_percentage"],
            )  # fmt: skip
        rides = self.get("rides/waittimes", **asked, limit=200)["data"]
        same(rides, self.oracle.rides_waittimes(period, park_filter))
        self.say_order("rides/waittimes", period, asked, "ride", "wait", [row["ride_id"] for row in rides])
        for row in rides:
            self.say("rides/waittimes", self.scope(period), ride(row), wait=row["avg_wait_minutes"])
            if period != "live":  # there the average is of now, beside the peak of today
                figures = {"peak": row["peak_wait_minutes"], "wait_trend": row["trend_percentage"]}
                self.say("rides/waittimes", self.scope(period), ride(row), **figures)

    def modes(self, park_filter: str) -> None:
        """The orders of ride waits that are no periods."""
        for mode in ("7day-average", "peak-times"):
            rows = self.get("rides/waittimes", mode=mode, filter=park_filter, limit=200)["data"]
            same(rows, self.oracle.rides_waittimes(mode, park_filter))
            for row in rows if mode == "peak-times" else ():
                self.say("rides/waittimes", "today", ride(row), peak=row["peak_wait_minutes"])

    def chart(self, period: str, kind: Kind, asked: Row) -> None:
        """A chart, and but for live the heat map of the same."""
        data = self.get("trends/chart-data", **asked, type=kind.chart, limit=EVERYTHING)["chart_data"]
        lines = data["datasets"]
        self.say_order("chart", period, asked, kind.noun, kind.figure, [line["entity_id"] for line in lines])
        for line in lines:
            self.say_points("chart", period, (kind.noun, line["entity_id"]), kind.figure, data, line["data"])
        if period == "live":
            return
        heat = self.get("trends/heatmap-data", **asked, type=kind.heatmap, limit=EVERYTHING)
        ids = [entity["entity_id"] for entity in heat["entities"]]
        self.say_order("heatmap", period, asked, kind.noun, kind.figure, ids)
        for entity, points in zip(heat["entities"], heat["matrix"], strict=True):
            of = (kind.noun, entity["entity_id"])
            self.say("heatmap", self.scope(period), of, **{kind.figure: entity["total_value"]})
            self.say_points("heatmap", period, of, kind.figure, {"labels": heat["time_labels"]}, points)
            if kind.figure == "hours" and period in LONG:
                assert sum(map(self.slots, points)) == self.slots(entity["total_value"])

    def awards(self, period: str, asked: Row) -> None:
        for noun, entity, figure in (("park", park, "score"), ("ride", ride, "hours")):
            query = {**asked, "entity": f"{noun}s", "limit": EVERYTHING}
            rows = self.get("trends/least-reliable", **query)["data"]
            ids = [row[f"{noun}_id"] for row in rows]
            self.say_order("least-reliable", period, asked, noun, figure, ids)
            for row in rows:
                shown = {"uptime": row["uptime_percentage"]}
                if noun == "park":
                    shown["score"] = row["avg_shame_score"]
                else:
                    shown |= {"hours": row["downtime_hours"], "incidents": row["downtime_incidents"]}
                self.say("least-reliable", self.scope(period), entity(row), **shown)
            rows = self.get("trends/longest-wait-times", **query)["data"]
            ids = [row[f"{noun}_id"] for row in rows]
            self.say_order("longest-wait-times", period, asked, noun, "whole wait", ids)
            for row in rows:
                shown = {"peak": row["peak_wait_time"]} if noun == "ride" else {}
                shown |= {"whole_wait": row["avg_wait_time"]}
                self.say("longest-wait-times", self.scope(period), entity(row), **shown)

    def changes(self, period: str, category: str, asked: Row) -> None:
        noun, _, direction = category.partition("s-")
        rows = self.get("trends", **asked, category=category, limit=100)[f"{noun}s"]
        self.say_order("trends", period, asked, noun, direction, [row[f"{noun}_id"] for row in rows])
        for row in rows:
            of = (noun, row[f"{noun}_id"])
            trend = -row["improvement_percentage"] if direction == "improving" else row["decline_percentage"]
            for scope, name in ((self.scope(period), "current"), (self.scope_before(period), "previous")):
                shown = {"hours": row[f"{name}_downtime_hours"], "uptime": row[f"{name}_uptime"]}
                self.say("trends", scope, of, **shown)
            self.say("trends", self.scope(period), of, trend=trend)

    # --- pages of one park and one ride ------------------------------------------------------------------------------

    def pages(self, period: str, parks: list[int], rides: list[int]) -> None:
        """The pages of these parks and rides and, but for live, the verification of what they show."""
        for park_id in parks:
            page = self.get(f"parks/{park_id}/details", period=period)
            if period == "live":
                self.park_now(park_id)
                self.live_page(park_id, page)
            else:
                self.park_page(period, park_id, page)
                self.side_by_side(period, park_id)
                self.verified_park(period, park_id, page["shame_breakdown"])
        for ride_id in rides:
            self.ride_page(period, ride_id)
        if period != "live":
            self.verified_ride(period, rides[0])

    def park_now(self, park_id: int) -> None:
        statuses = self.get("live/status-summary", park_id=park_id)["status_summary"]
        assert statuses == self.oracle.status_summary("all-parks", park_id)
        roster = self.get(f"parks/{park_id}/rides")
        assert sum(row["weight"] for row in roster["rides"]["active"]) == roster["effective_park_weight"]
        self.say("parks/rides", "today", ("park", park_id), weight=roster["effective_park_weight"])

    def live_page(self, park_id: int, page: Row) -> None:
        parts, chart, status = page["shame_breakdown"], page["chart_data"], page["current_status"]
        who = "parks/details", "live", ("park", park_id)
        self.say(*who, score=parts["shame_score"], rides_down=len(parts["rides_down"]))
        self.say("parks/details chart", *who[1:], score=chart["current"])
        self.say_points("parks/details chart", "live", who[2], "score", chart, chart["data"])
        if chart["data"]:  # the live slot is not older than an hour
            self.say("parks/details chart", *who[1:], score=chart["data"][-1] or 0.0)
        self.say("parks/details", "today", who[2], weight=parts["total_park_weight"])
        for row in parts["rides_down"]:
            self.say("parks/details", "today", ride(row), hours=row["downtime_hours"])
        shares = [row["tier_weight"] for row in parts["rides_down"]]
        assert sum(shares) == parts["total_weighted_down"]
        if shares:
            score = Fraction(10 * sum(shares), parts["total_park_weight"])
            assert parts["shame_score"] == ref.rounded(score, 1)
        if status["is_open"]:
            self.say(*who, wait=status["avg_wait_time"], peak=status["max_wait_time"])

    def park_page(self, period: str, park_id: int, page: Row) -> None:
        parts, chart = page["shame_breakdown"], page["chart_data"]
        who = "parks/details", self.scope(period), ("park", park_id)
        self.say(
            *who, score=parts["shame_score"], hours=parts["total_downtime_hours"],
            weighted=parts["weighted_downtime_hours"], uptime=parts["avg_uptime_percentage"],
            rides_down=parts["rides_affected_count"],
        )  # fmt: skip
        if period in SINGLE_DAYS and chart["labels"]:  # unseen, it has no weight
            self.say(*who, weight=int(parts["total_park_weight"]))
        for row in parts["rides"]:
            self.say(who[0], who[1], ride(row), hours=row["downtime_hours"])
            assert self.slots(row["weighted_contribution"]) == self.slots(row["downtime_hours"]) * row["tier_weight"]
        totals = {"downtime_hours": "total_downtime_hours", "weighted_contribution": "weighted_downtime_hours"}
        for share, total in totals.items():
            assert sum(self.slots(row[share]) for row in parts["rides"]) == self.slots(parts[total])
        self.say("parks/details chart", *who[1:], score=chart["shame_score"])
        self.say("parks/details chart", *who[1:], score=chart["average"])
        self.park_points(period, park_id, chart)
        if period in LONG:
            assert sum(map(self.slots, chart["downtime_hours"])) == self.slots(parts["total_downtime_hours"])

    def park_points(self, period: str, park_id: int, chart: Row) -> None:
        """The hours that have a label everywhere, or the days."""
        for number, label in enumerate(chart["labels"]):
            who = "parks/details chart", self.point(period, label), ("park", park_id)
            if period in LONG:
                self.say(*who, score=chart["data"][number], hours=chart["downtime_hours"][number])
            elif label in HOURS:
                self.say(*who, **{"point of score": chart["data"][number], "wait": chart["avg_wait"][number]})
            if period in LONG or label in HOURS:
                self.say(*who, rides_down=chart["rides_down"][number])

    def side_by_side(self, period: str, park_id: int) -> None:
        for kind, figure in (("downtime", "hours"), ("wait_times", "wait")):
            chart = self.get(f"parks/{park_id}/rides/charts", period=period, type=kind)
            for line in chart["datasets"]:
                self.say_points("parks/rides/charts", period, ride(line), figure, chart, line["data"])

    def ride_page(self, period: str, ride_id: int) -> None:
        page = self.get(f"rides/{ride_id}/details", period=period)
        who = "rides/details", self.scope("today" if period == "live" else period), ("ride", ride_id)
        summary, rows = page["summary"], page["hourly_breakdown"]
        self.say(
            *who, hours=summary["total_downtime_hours"], uptime=summary["uptime_percentage"],
            wait=summary["avg_wait_time"],
        )  # fmt: skip
        down = [row["down_snapshots"] if "down_snapshots" in row else self.slots(row["downtime_hours"]) for row in rows]
        assert sum(down) == self.slots(summary["total_downtime_hours"])
        if period == "live":
            return
        for row in [*rows, *page["timeseries"]]:
            shown = {"uptime": row["uptime_percentage"], "wait": row["avg_wait_time_minutes"]}
            if "downtime_hours" in row:
                shown["hours"] = row["downtime_hours"]
            label = row_label(row)
            if period in LONG or label in HOURS:
                self.say("rides/details point", self.point(period, label), who[2], **shown)
        self.hours_add_up(period, ride_id, page)

    def hours_add_up(self, period: str, ride_id: int, page: Row) -> None:
        """The points of its park's chart make the ride's whole, where no hour without a label has downtime."""
        broken = [row_label(row) for row in page["hourly_breakdown"] if row["downtime_hours"]]
        if page["summary"]["total_downtime_hours"] is None or (period in SINGLE_DAYS and not set(broken) <= set(HOURS)):
            return
        charts = self.get(f"parks/{page['ride']['park_id']}/rides/charts", period=period, type="downtime")
        lines = [line["data"] for line in charts["datasets"] if line["ride_id"] == ride_id]
        assert bool(lines) == (self.oracle.attractions[ride_id].is_active or period != "today")
        for points in lines:
            assert sum(map(self.slots, points)) == self.slots(page["summary"]["total_downtime_hours"])

    def verified(self, kind: str, entity_id: int, period: str, displayed: float) -> tuple[Row, dict[str, Row]]:
        """The verdict, and the steps that led to it by name."""
        claim = {"type": kind, "entity_id": entity_id, "period": period, "displayed_value": displayed}
        verdict = self.api.ask(self.now, "audit/verify", claim)
        assert verdict["verified"], (claim, verdict["computed_value"])
        return verdict, {step["name"]: step for step in verdict["computation_trace"]}

    def verified_park(self, period: str, park_id: int, parts: Row) -> None:
        """The shares of the rides add up to the score, day by day."""
        verdict, steps = self.verified("park_shame_score", park_id, period, parts["shame_score"])
        who = "verify", self.scope(period), ("park", park_id)
        quality, days = verdict["data_quality"], steps["Shame score"]["inputs"]["days"]
        uptime = quality["avg_uptime_percentage"]
        self.say(*who, score=verdict["computed_value"], hours=quality["total_downtime_hours"], uptime=uptime)
        broken = steps["Down slots of each ride"]["output"]
        for row in broken:
            hours = Fraction(row["down_slots"] * self.world.interval_minutes, 60)
            self.say(who[0], who[1], ride(row), hours=ref.rounded(hours, 2))
        scores = []
        for day in days:
            weighted = sum(row["weight"] * row["by_day"].get(day["date"], 0) for row in broken)
            assert weighted == day["weighted_down_slots"]
            scores.append(ref.quotient(10 * weighted, day["roster_weight"] * day["slots_observed"]))
            if period in SINGLE_DAYS:
                self.say(*who, weight=day["roster_weight"], slots=day["slots_observed"])
        self.say("shares of the rides", *who[1:], score=ref.rounded(ref.mean(scores) or 0, 1))

    def verified_ride(self, period: str, ride_id: int) -> None:
        shown = self.get(f"rides/{ride_id}/details", period=period)["summary"]["total_downtime_hours"]
        verdict, steps = self.verified("ride_downtime", ride_id, period, shown or 0.0)
        down = steps["Down slots"]
        operated = len(down["inputs"]["did_not_operate_on"]) < len(down["output"])
        computed = verdict["computed_value"] if operated else None  # the contract wants a number
        self.say("verify", self.scope(period), ("ride", ride_id), hours=computed)

    def totals_add_up(self, period: str, park_filter: str) -> None:
        """The hours of all parks are what their pages say, whether they are listed or not."""
        asked = {"period": NAMES[park_filter].get(period, period), "filter": park_filter}
        total = self.get("parks/downtime", **asked, limit=100)["aggregate_stats"]
        pages = [
            self.get(f"parks/{one.park_id}/details", period="today" if period == "live" else period)
            for one in self.oracle.listed_parks(period, park_filter)
        ]
        hours = [page["shame_breakdown"]["total_downtime_hours"] for page in pages]
        assert self.slots(total["total_downtime_hours"]) == sum(map(self.slots, hours))


def row_label(row: Row) -> str:
    """The label of a point of a ride's page: its day, or its hour on Pacific clocks."""
    if "date" in row:
        return day_label(date.fromisoformat(row["date"]))
    at = datetime.fromisoformat(row["hour_start_utc"]).astimezone(ref.PACIFIC)
    return f"{at.hour}:00"


def same(found: list[Row], expected: list[Row]) -> None:
    """Our rows may say more than the reference's, never something else."""
    pairs = zip(found, expected, strict=True)
    assert [{name: row.get(name, "missing") for name in wanted} for row, wanted in pairs] == expected


class Reference:
    """What the reference says of every park and ride, of a period and its points."""

    def __init__(self, walk: Walk) -> None:
        self.walk, self.oracle = walk, walk.oracle

    def say(self, scope: str, entity: Entity, **figures: object) -> None:
        self.walk.say(REFERENCE, scope, entity, **figures)

    def of_period(self, period: str) -> None:
        for one in self.oracle.parks.values():
            self.park(period, one)
            for attraction in self.oracle.attractions_of(one.park_id):
                self.ride(period, one, attraction)
        if period in LONG:
            for day, _ in self.oracle.span(period):
                self.day(day)
        elif period in SINGLE_DAYS:
            self.hours(period)

    def orders(self, period: str, park_filter: str) -> None:
        """Who is listed where, and in which order."""
        oracle, asked = self.oracle, {"filter": park_filter}
        for noun, figure, rows in (
            ("park", "score", oracle.parks_downtime(period, park_filter)),
            ("ride", "hours", oracle.rides_downtime(period, park_filter)),
            ("park", "wait", oracle.parks_waittimes(period, park_filter)),
            ("ride", "wait", oracle.rides_waittimes(period, park_filter)),
        ):
            ids = [row[f"{noun}_id"] for row in rows]
            self.walk.say_order(REFERENCE, period, asked, noun, figure, ids)
            if figure == "wait" and period != "live":
                whole = [id_ for id_ in ids if self.whole_wait(noun, id_, period)]
                self.walk.say_order(REFERENCE, period, asked, noun, "whole wait", whole)
        if period != "live":
            self.changes(period, park_filter)

    def changes(self, period: str, park_filter: str) -> None:
        """Who changed by more than five percent, the greatest change first."""
        listed = {
            "park": [one.park_id for one in self.oracle.listed_parks(period, park_filter)],
            "ride": [one.ride_id for _, one in self.oracle.listed_rides(period, park_filter)],
        }
        for noun, ids in listed.items():
            for direction, sign in (("improving", -1), ("declining", 1)):
                found = [
                    (-sign * trend, id_) for id_ in ids
                    if (trend := self.trend(noun, id_, period)) is not None and sign * trend > 5
                ]  # fmt: skip
                order = [id_ for _, id_ in sorted(found)]
                self.walk.say_order(REFERENCE, period, {"filter": park_filter}, noun, direction, order)

    def tally(self, noun: str, id_: int, span: ref.Span) -> ref.Tally:
        return self.oracle.park_tally(id_, span) if noun == "park" else self.oracle.ride_tally(id_, span)

    def trend(self, noun: str, id_: int, period: str) -> Fraction | None:
        """None without a base, and for whom was not expected to run."""
        now = self.tally(noun, id_, self.oracle.span(period))
        before = self.tally(noun, id_, self.oracle.span_before(period))
        return ref.downtime_trend(now, before) if now.operating + now.down else None

    def whole_wait(self, noun: str, id_: int, period: str) -> float | None:
        average = ref.average_wait(self.tally(noun, id_, self.oracle.span(period)))
        return ref.rounded_or_none(average, 0)

    def park(self, period: str, one: ref.Park) -> None:
        oracle, scope, of = self.oracle, self.walk.scope(period), ("park", one.park_id)
        waits = oracle.park_waits(one.park_id, period)
        self.say(scope, of, wait=ref.rounded_or_none(ref.average_wait(waits), 1), peak=waits.wait_max)
        if period == "live":
            score = ref.rounded(oracle.live_score(one.park_id) or 0, 1)
            self.say(scope, of, score=score, rides_down=oracle.rides_down(one.park_id, period), wait_trend=None)
            return
        span, before = oracle.span(period), oracle.span_before(period)
        self.park_figures(scope, one.park_id, span)
        row = oracle.park_downtime_row(one, period, Fraction(0))
        trend = ref.rounded_or_none(ref.wait_trend(waits, oracle.park_tally(one.park_id, before)), 1)
        self.say(scope, of, trend=row["trend_percentage"], wait_trend=trend)
        self.say(scope, of, whole_wait=self.whole_wait("park", one.park_id, period))
        if period in SINGLE_DAYS:
            self.say(scope, of, weight=oracle.roster_weight(one.park_id, span[0][0]))
        self.before(self.walk.scope_before(period), of, oracle.park_tally(one.park_id, before))

    def park_figures(self, scope: str, park_id: int, span: ref.Span) -> None:
        oracle = self.oracle
        tally, score = oracle.park_tally(park_id, span), oracle.park_score(park_id, span)
        uptime = ref.shown_uptime(tally)
        self.say(
            scope, ("park", park_id), score=ref.rounded(score or 0, 1), hours=self.in_hours(tally.down),
            weighted=self.in_hours(oracle.weighted_down(park_id, span)), slots=tally.observed,
            uptime=100.0 if uptime is None else uptime, rides_down=len(oracle.rides_with_downtime(park_id, span)),
        )  # fmt: skip

    def ride(self, period: str, of_park: ref.Park, one: ref.Ride) -> None:
        oracle, scope, of = self.oracle, self.walk.scope(period), ("ride", one.ride_id)
        if period == "live":
            posted = oracle.live_wait(one)
            self.say(scope, of, wait=None if posted is None else float(posted))
            return
        span, before = oracle.span(period), oracle.ride_tally(one.ride_id, oracle.span_before(period))
        tally = oracle.ride_tally(one.ride_id, span)
        self.ride_figures(scope, one.ride_id, span)
        trends = ref.downtime_trend(tally, before), ref.wait_trend(tally, before)
        trend, wait_trend = (ref.rounded_or_none(value, 1) for value in trends)
        incidents = sum(oracle.ride_counts(one.ride_id, day, until).incidents for day, until in span)
        self.say(scope, of, trend=trend, wait_trend=wait_trend, incidents=incidents)
        self.say(scope, of, peak=tally.wait_max, whole_wait=self.whole_wait("ride", one.ride_id, period))
        self.before(self.walk.scope_before(period), of, before)

    def ride_figures(self, scope: str, ride_id: int, span: ref.Span) -> None:
        """A ride that did not operate has no downtime, which is not a downtime of 0."""
        tally = self.oracle.ride_tally(ride_id, span)
        operated = any(self.oracle.operated(ride_id, day) for day, _ in span)
        self.say(
            scope, ("ride", ride_id), hours=self.in_hours(tally.down) if operated else None,
            uptime=ref.shown_uptime(tally), wait=ref.rounded_or_none(ref.average_wait(tally), 1),
        )  # fmt: skip

    def before(self, scope: str, of: Entity, tally: ref.Tally) -> None:
        """The span before, where it is one to compare with: a park or ride that was down then."""
        if tally.down:
            self.say(scope, of, hours=self.in_hours(tally.down), uptime=ref.shown_uptime(tally))

    def in_hours(self, slots: int) -> float:
        return ref.rounded(self.oracle.hours(slots), 2)

    # --- points ------------------------------------------------------------------------------------------------------

    def day(self, day: date) -> None:
        scope, span = day_label(day), ((day, None),)
        for one in self.oracle.parks.values():
            tally = self.oracle.tally_day(one.park_id, day, None)
            self.park_figures(scope, one.park_id, span)
            wait = ref.quotient(tally.wait_sum, tally.wait_samples)
            points = {"point of score": ref.rounded_or_none(tally.score, 1), "wait": ref.rounded_or_none(wait, 1)}
            self.say(scope, ("park", one.park_id), **points)
            for attraction in self.oracle.attractions_of(one.park_id):
                self.ride_figures(scope, attraction.ride_id, span)

    def hours(self, period: str) -> None:
        ((day, until),) = self.oracle.span(period)
        for label, hour in HOURS.items():
            start = ref.instant(day, time(hour), ref.PACIFIC)
            for one in self.oracle.parks.values():
                self.hour(self.walk.point(period, label), one.park_id, day, start)

    def hour(self, scope: str, park_id: int, day: date, start: int) -> None:
        """What an hour adds to the counts of its day."""
        oracle = self.oracle
        ends = start - 1, start + 3599
        before, after = (oracle.tally_day(park_id, day, end) for end in ends)
        rides = {ride_id: window(before.rides[ride_id], now) for ride_id, now in after.rides.items()}
        slots = after.slots - before.slots
        weighted = after.weighted_down - before.weighted_down
        wait = ref.quotient(after.wait_sum - before.wait_sum, after.wait_samples - before.wait_samples)
        points = {
            "point of score": ref.rounded_or_none(ref.quotient(10 * weighted, after.roster_weight * slots), 1),
            "wait": ref.rounded_or_none(wait, 1),
            "rides_down": sum(counted.down > 0 for counted in rides.values()),
        }
        self.say(scope, ("park", park_id), **points)
        for ride_id, counted in rides.items():
            known = counted.observed and oracle.operated(ride_id, day)
            self.say(
                scope, ("ride", ride_id), hours=self.in_hours(counted.down) if known else None,
                uptime=ref.shown_uptime(counted), wait=ref.rounded_or_none(ref.average_wait(counted), 1),
            )  # fmt: skip


def window(before: ref.RideDay, after: ref.RideDay) -> ref.Tally:
    names = ("samples", "operating", "down", "wait_sum", "wait_samples")
    counts = [getattr(after, name) - getattr(before, name) for name in names]
    return ref.Tally(*counts, None)


# --- the test --------------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """A world, and the instants to ask about it: while it lasts, in the week after most of it, in the month after."""

    world: World
    now: int
    week_later: int
    month_later: int


def plan(seed: int, chance: random.Random) -> Plan:
    world, _ = random_world(seed, DAYS)
    first = ref.pacific_date(min(one.slot for one in world.readings))
    fall_silent(world, ref.instant(first + ref.DAY, time(0), ref.PACIFIC))
    late = ref.instant(first + 6 * ref.DAY, time(0), ref.PACIFIC)
    now = chance.choice([one.slot for one in world.readings if ref.is_told_down(one) and one.slot > late])
    middle = first + DAYS // 2 * ref.DAY
    sunday = middle + (7 - middle.isoweekday() % 7) * ref.DAY
    month = max((middle.replace(day=28) + timedelta(days=4)).replace(day=1), first + (DAYS + 2) * ref.DAY)
    return Plan(
        world,
        now + chance.randrange(world.interval_minutes * 60),
        ref.instant(sunday + 3 * ref.DAY, time(chance.randrange(24), 17), ref.PACIFIC),
        ref.instant(month + ref.DAY, time(chance.randrange(24), 41), ref.PACIFIC),
    )


def fall_silent(world: World, after: int) -> None:
    """Let a ride of every park end, so that rosters lose it a week later."""
    ending = {one.park_id: one.ride_id for one in world.rides if one.category == "ATTRACTION"}.values()
    world.readings = [one for one in world.readings if one.ride_id not in ending or one.slot < after]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_figure_is_the_same_number_wherever_it_is_shown(database: Any, settings: Settings, seed: int) -> None:
    chance = random.Random(seed)
    world, now, week_later, month_later = plan(seed, chance)
    world.store()
    own = Settings(settings.database_url, snapshot_interval_minutes=world.interval_minutes)
    api = Api(Client(web.create_app(own)))
    rides = chance.sample([one.ride_id for one in world.rides if one.category == "ATTRACTION"], RIDES)
    heard: dict[tuple[str, str], set[str]] = defaultdict(set)
    for at, periods in ((now, NOW), (week_later, ("last_week",)), (month_later, ("last_month",))):
        figures = Figures()
        walk(api, world, at, periods, rides, figures)
        if at == week_later:
            days_one_by_one(api, world, at, rides, chance, figures)
        assert figures.contradictions() == {}
        for about, witnesses in figures.witnesses().items():
            heard[about] |= witnesses
    assert {about: silent for about in WITNESSES if (silent := WITNESSES[about] - heard[about])} == {}
    for finished, share in ((now, 0.2), (month_later, 0.4)):
        daily.aggregate(instant(finished))
        api.ask_again(f"with the days stored that were over at {instant(finished)}", chance, share)


def walk(
    api: Api, world: World, at: int, periods: tuple[str, ...], rides: list[int], figures: Figures
) -> None:
    """Everything about these periods, by all who know of it."""
    here = Walk(api, world, at, figures)
    reference = Reference(here)
    for period in periods:
        reference.of_period(period)
        for park_filter in NAMES:
            reference.orders(period, park_filter)
            here.lists(period, park_filter)
            here.totals_add_up(period, park_filter)
        here.pages(period, list(here.oracle.parks), rides)
    for park_filter in NAMES if "live" in periods else ():
        here.modes(park_filter)


def days_one_by_one(
    api: Api, world: World, at: int, rides: list[int], chance: random.Random, figures: Figures
) -> None:
    """Some days of last week, asked for as yesterday late on the day after, when they are over in every time zone."""
    week = [day for day, _ in world.reference(at).span("last_week")]
    for day in chance.sample(week, 2):
        then = Walk(api, world, ref.instant(day + ref.DAY, time(23, 30), ref.PACIFIC), figures)
        then.parks_by_downtime("yesterday", "all-parks", {"period": "yesterday", "filter": "all-parks"})
        for kind in KINDS:
            then.chart("yesterday", kind, {"period": "yesterday", "filter": "all-parks"})
        then.pages("yesterday", list(then.oracle.parks), rides)
