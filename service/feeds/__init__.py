"""The outside world, as typed records: whatever a source looks like, this is what comes in."""

import re
from datetime import date
from typing import NamedTuple

from service.rules import Category, ParkType, ScheduleType, Status


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Reading(NamedTuple):
    """What a source said of one ride at one instant (epoch seconds). `ride_id` is ours."""

    ride_id: int
    recorded_at: int
    status: Status | None
    is_open: bool | None
    wait_time: int | None


class ParkRecord(NamedTuple):
    """A park as a source describes it; `source_id` is its id there. None = the source does not say."""

    source_id: int
    name: str
    park_type: ParkType
    country: str
    timezone: str
    operator: str | None = None
    city: str | None = None
    state_province: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    queue_times_id: int | None = None
    themeparks_wiki_id: str | None = None
    is_active: bool | None = None


class RideRecord(NamedTuple):
    """A ride as a source describes it; `source_id` and `park_source_id` are ids there. None = it does not say."""

    source_id: int
    park_source_id: int
    name: str
    source_ride_id: str | None = None
    land_area: str | None = None
    category: Category | None = None
    tier: int | None = None
    is_active: bool | None = None
    queue_times_id: int | None = None
    themeparks_wiki_id: str | None = None


class Opening(NamedTuple):
    """One row of a park's schedule: its own date, and opening and closing in epoch seconds."""

    schedule_date: date
    schedule_type: ScheduleType
    opening_at: int
    closing_at: int


def plain_text(text: str) -> str:
    """`text` as it is stored: without the brackets that make markup, with blanks in place of line breaks and of what
    speaks to terminals, and without any around it."""
    return _CONTROL.sub(" ", text).replace("<", "").replace(">", "").strip()


def is_single_rider(name: str) -> bool:
    """Whether a ride's name is that of a single-rider queue, which is no ride of its own."""
    return "single rider" in name.casefold().replace("-", " ")
