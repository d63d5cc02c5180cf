"""Doubts about the numbers: verification, checks, anomalies, data quality. Nothing here writes."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta

from service.errors import BadRequest
from service.periods import pacific_date
from service.queries import catalog
from service.queries.audit import CRITICAL, SEVERITIES, WARNING, anomalies, checks, quality, verification
from service.queries.audit.verification import Claim
from service.queries.days import Tallies
from service.web.params import Request, as_day
from service.web.routes import Answer, Body, span_of

FIELDS = ("type", "entity_id", "period", "displayed_value")
VERIFIED = (verification.PARK_SCORE, verification.RIDE_DOWNTIME)
TYPES = (*VERIFIED, verification.WAIT_TIME)
NUMBER = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*"
DEFAULT_HOURS, MOST_HOURS = 24, 8760
DEFAULT_DAYS, MOST_DAYS = 7, 365


def verify(request: Request) -> Answer:
    """Make a displayed number again and say whether it holds, with every step."""
    claim = _claim(request.json(), request.now)

    def answer() -> Body:
        verdict, span = verification.verify(claim)
        return _body(request, verdict | {"span": span_of(span)})

    return answer


def status(request: Request) -> Answer:
    """The checks of a day's stored statistics."""
    day = _day(request, request.query.day("date"))
    return lambda: _body(request, checks.status(Tallies(request.now), day))


def anomalous(request: Request) -> Answer:
    """What is odd about a day."""
    severity, day = request.query.option("severity", SEVERITIES), _day(request, request.query.day("date"))
    return lambda: _body(request, anomalies.summary(Tallies(request.now), day, severity))


def flagged_entities(request: Request) -> Answer:
    """The ids of parks and rides that are odd on a day."""
    severity = request.query.choice("severity", (CRITICAL, WARNING), WARNING)
    day = _day(request, request.query.day("date"))
    return lambda: _body(request, anomalies.flagged(Tallies(request.now), day, severity))


def run(request: Request) -> Answer:
    """The checks of a day and its anomalies in one answer."""
    asked = request.json().get("date")
    day = _day(request, None if asked is None else as_day("date", asked))

    def answer() -> Body:
        tallies = Tallies(request.now)
        found = [one._asdict() for one in anomalies.find(tallies, day)]
        return _body(request, checks.status(tallies, day) | {"anomalies_detected": len(found), "anomalies": found})

    return answer


def data_quality(request: Request) -> Answer:
    """What sources got wrong lately."""
    query = request.query
    hours, source = query.whole("hours", DEFAULT_HOURS, MOST_HOURS), query.option("source", quality.SOURCES)
    unresolved = query.flag("unresolved", default=True)

    def answer() -> Body:
        issues = quality.issues(request.now, hours, source, unresolved_only=unresolved)
        return _body(request, {"total_issues": len(issues), "issues": issues})

    return answer


def data_quality_summary(request: Request) -> Answer:
    """Whose data was stale, and how often."""
    days = request.query.whole("days", DEFAULT_DAYS, MOST_DAYS)
    source = request.query.choice("source", quality.SOURCES, quality.THEMEPARKS_WIKI)

    def answer() -> Body:
        summary = quality.staleness(request.now, days, source)
        found: Body = {"days": days, "data_source": source, "entities_with_issues": len(summary), "summary": summary}
        return _body(request, found)

    return answer


def _body(request: Request, found: Body) -> Body:
    return {"success": True, "attribution": catalog.attribution(request.now)} | found


def _day(request: Request, asked: date | None) -> date:
    """The date asked for, by default the Pacific yesterday."""
    return asked or pacific_date(request.now) - timedelta(days=1)


def _claim(body: Body, now: datetime) -> Claim:
    missing = [name for name in FIELDS if body.get(name) is None]
    if missing:
        raise BadRequest(f"Missing required fields: {', '.join(missing)}")
    kind, period = _one_of(body, "type", TYPES), _one_of(body, "period", verification.PERIODS)
    if kind not in VERIFIED:
        raise BadRequest(f"Invalid type {kind!r}: waits cannot be verified, use {' or '.join(VERIFIED)}.")
    return Claim(kind, _entity_id(body["entity_id"]), period, _displayed(body["displayed_value"]), now)


def _one_of(body: Body, name: str, accepted: tuple[str, ...]) -> str:
    value = body[name]
    if not isinstance(value, str) or value not in accepted:
        raise BadRequest(f"Invalid {name}: use one of {', '.join(accepted)}.")
    return value


def _entity_id(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequest("Invalid entity_id: use the id of a park or ride, a whole number, 1 or more.")
    return value


def _displayed(value: object) -> float:
    """A finite number, or the text of one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and re.fullmatch(NUMBER, value)):
        try:
            number = float(str(value))
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    raise BadRequest("Invalid displayed_value: use a number.")
