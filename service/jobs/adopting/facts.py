"""The predecessor's parks, rides and schedules as the records that every source gives."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, time
from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple, TypeVar

from service.feeds import Opening, ParkRecord, RideRecord, is_single_rider, plain_text
from service.feeds.csv_files import LONGEST_OPENING, YEARS
from service.jobs.adopting.predecessor import Predecessor, seconds
from service.jobs.adopting.report import Remainder
from service.models.predecessor import OldClassification, OldPark, OldRide, OldSchedule
from service.periods import known_zone, wall_clock
from service.rules import Category, ParkType, ScheduleType

UNKNOWN_COUNTRY = "ZZ"  # ISO 3166 keeps it free for this
# What the entity type tells where neither classification nor category says more than the default.
CATEGORIES = {"SHOW": Category.SHOW, "RESTAURANT": Category.EXPERIENCE}

E = TypeVar("E", bound=IntEnum)


class _ParkRow(NamedTuple):
    park_id: int
    queue_times_id: int | None
    themeparks_wiki_id: str | None
    name: str
    city: str | None
    state_province: str | None
    country: str | None
    latitude: Decimal | None
    longitude: Decimal | None
    timezone: str
    operator: str | None
    is_disney: int | None
    is_universal: int | None
    is_active: int | None


class _RideRow(NamedTuple):
    ride_id: int
    park_id: int
    queue_times_id: int | None
    themeparks_wiki_id: str | None
    name: str
    entity_type: str | None
    category: str | None
    land_area: str | None
    tier: int | None
    is_active: int | None
    last_operated_at: object


class _Classification(NamedTuple):
    ride_id: int
    tier: int | None
    category: str | None


class _ScheduleRow(NamedTuple):
    park_id: int
    schedule_date: date
    schedule_type: str | None
    opening_time: object
    closing_time: object


NOT_CLASSIFIED = _Classification(0, None, None)


class Facts(NamedTuple):
    """What is adopted beside readings and statistics; ids are the predecessor's.

    `single_rider` and `last_operated` are of rides: those that are queues, and when each last ran (epoch seconds).
    """

    parks: list[ParkRecord]
    rides: list[RideRecord]
    openings: dict[int, list[Opening]]
    single_rider: dict[int, str]
    last_operated: dict[int, int]


def read_facts(old: Predecessor, left: Remainder) -> Facts:
    """Read them all; what cannot be used is left behind."""
    parks = [park for row in old.read(OldPark, _ParkRow, order=[OldPark.park_id]) if (park := _park(row, left))]
    zones = {park.source_id: park.timezone for park in parks}
    rows = [row for row in old.read(OldRide, _RideRow, order=[OldRide.ride_id]) if _is_usable(row, zones, left)]
    queues = {row.ride_id: row.name for row in rows if is_single_rider(row.name)}
    for name in queues.values():
        left.note("Single-rider queues, which are no rides", name)
    classified = _classifications(old)
    rides = [_ride(row, classified.get(row.ride_id, NOT_CLASSIFIED), left) for row in rows if row.ride_id not in queues]
    ran = {row.ride_id: at for row in rows if (at := seconds(row.last_operated_at))}
    return Facts(parks, rides, _openings(old, zones, left), queues, ran)


def _park(row: _ParkRow, left: Remainder) -> ParkRecord | None:
    if not known_zone(row.timezone) or not plain_text(row.name):
        left.note("Parks without a name or a known time zone, with all that belongs to them", f"{row.name!r}")
        return None
    country = (row.country or "").strip().upper()
    return ParkRecord(
        row.park_id,
        row.name,
        _park_type(row),
        country if len(country) == 2 and country.isalpha() else UNKNOWN_COUNTRY,
        row.timezone,
        row.operator,
        row.city,
        row.state_province,
        None if row.latitude is None else float(row.latitude),
        None if row.longitude is None else float(row.longitude),
        row.queue_times_id,
        _wiki_id(row.themeparks_wiki_id),
        None if row.is_active is None else bool(row.is_active),
    )


def _park_type(row: _ParkRow) -> ParkType:
    operator = "" if row.is_disney is not None or row.is_universal is not None else (row.operator or "").casefold()
    if row.is_disney or operator.startswith("disney"):
        return ParkType.DISNEY
    return ParkType.UNIVERSAL if row.is_universal or operator.startswith("universal") else ParkType.OTHER


def _is_usable(row: _RideRow, zones: dict[int, str], left: Remainder) -> bool:
    if row.park_id in zones and plain_text(row.name):
        return True
    left.note("Rides without a name or of no park, with all that belongs to them", f"{row.name!r}, id {row.ride_id}")
    return False


def _ride(row: _RideRow, classified: _Classification, left: Remainder) -> RideRecord:
    tier = row.tier if classified.tier is None else classified.tier
    if tier not in (1, 2, 3, None):
        left.note("Tiers outside 1-3", f"{tier} of {row.name}")
        tier = None
    category = _member(Category, classified.category) or _member(Category, row.category) or Category.ATTRACTION
    if category is Category.ATTRACTION and classified.category is None:
        category = CATEGORIES.get((row.entity_type or "").upper(), category)
    return RideRecord(
        row.ride_id,
        row.park_id,
        row.name,
        None,
        row.land_area,
        category,
        tier,
        None if row.is_active is None else bool(row.is_active),
        row.queue_times_id,
        _wiki_id(row.themeparks_wiki_id),
    )


def _classifications(old: Predecessor) -> dict[int, _Classification]:
    if old.lack(OldClassification):
        return {}
    return {row.ride_id: row for row in old.read(OldClassification, _Classification)}


def _openings(old: Predecessor, zones: dict[int, str], left: Remainder) -> dict[int, list[Opening]]:
    found: dict[int, dict[Opening, None]] = defaultdict(dict)  # without those that stand there twice
    if not old.lack(OldSchedule):
        for row in old.read(OldSchedule, _ScheduleRow, order=[OldSchedule.schedule_id]):
            if row.park_id in zones and (opening := _opening(row, zones[row.park_id], left)):
                found[row.park_id][opening] = None
    return {park_id: list(openings) for park_id, openings in found.items()}


def _opening(row: _ScheduleRow, zone: str, left: Remainder) -> Opening | None:
    kind = _member(ScheduleType, row.schedule_type)
    opens, closes = seconds(row.opening_time), seconds(row.closing_time)
    shown = f"{row.schedule_type} of park {row.park_id} on {row.schedule_date}"
    if kind is None or not isinstance(row.schedule_date, date) or row.schedule_date.year not in YEARS:
        left.note("Schedule rows of an unknown type or date", shown)
        return None
    if kind is not ScheduleType.OPERATING and opens is None and closes is None:
        opens = closes = wall_clock(row.schedule_date, time(0), zone)  # only a remark on the day
    elif opens is None or closes is None or not opens < closes <= opens + LONGEST_OPENING:
        left.note("Schedule rows whose closing is not within 36 hours after the opening", shown)
        return None
    return Opening(row.schedule_date, kind, opens, closes)


def _member(enum: type[E], name: str | None) -> E | None:
    return enum.__members__.get((name or "").upper())


def _wiki_id(text: str | None) -> str | None:
    """In small letters, as recordings have it: engines differ in which letters they take for the same."""
    return (text or "").strip().lower() or None
