"""Answers of ThemeParks.wiki: destinations, a park's rides, what they do now, and a park's hours.

Every function takes the bytes of one answer, and raises BadFeed if they are something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from datetime import date, time, timedelta
from functools import partial
from typing import NamedTuple

from service.errors import BadFeed
from service.feeds import Opening, is_single_rider
from service.feeds.csv_files import LONGEST_OPENING
from service.feeds.foreign import (
    LATITUDE,
    LONGITUDE,
    BadRow,
    Refusal,
    Row,
    day,
    decoded,
    fields_of,
    instant,
    list_in,
    member,
    name,
    rows,
    text,
    wait_minutes,
    wiki_id,
    zone,
)
from service.periods import local_date, wall_clock
from service.rules import Category, ScheduleType, Status

DESTINATIONS = "The list of destinations of ThemeParks.wiki"
CHILDREN = "A list of a park's entities of ThemeParks.wiki"
LIVE = "Live data of ThemeParks.wiki"
SCHEDULE = "A schedule of ThemeParks.wiki"
ENTITY = "An entity of ThemeParks.wiki"

ATTRACTION = "ATTRACTION"
CATEGORIES = {ATTRACTION: Category.ATTRACTION, "SHOW": Category.SHOW}  # the other entities are no rides

STATUS, SCHEDULE_TYPE = member(Status), member(ScheduleType)


class WikiPark(NamedTuple):
    """A park; where it lies and its time zone are in answers about itself."""

    themeparks_wiki_id: str
    name: str


class Destination(NamedTuple):
    """A resort and its parks: one or more, or none that is covered."""

    themeparks_wiki_id: str
    name: str
    parks: list[WikiPark]


class Destinations(NamedTuple):
    """What `destinations` found."""

    destinations: list[Destination]
    refused: list[Refusal]


class Entity(NamedTuple):
    """Where a park lies. None = the source does not say."""

    themeparks_wiki_id: str
    name: str
    timezone: str
    latitude: float | None
    longitude: float | None
    refused: list[Refusal]


class WikiRide(NamedTuple):
    """An attraction or a show of a park. None = the source does not say."""

    themeparks_wiki_id: str
    name: str
    category: Category
    external_id: str | None
    parent_id: str | None
    latitude: float | None
    longitude: float | None


class Children(NamedTuple):
    """What `children` found; `others` counts the entities left out by their type, as restaurants."""

    rides: list[WikiRide]
    single_riders: list[str]
    others: Counter[str]
    refused: list[Refusal]


class LiveRide(NamedTuple):
    """What an attraction does: the posted wait in minutes, and when the source last heard of it (epoch seconds)."""

    themeparks_wiki_id: str
    name: str
    status: Status
    wait_time: int | None
    updated_at: int | None


class Live(NamedTuple):
    """What `live` found; `others` counts the entities left out by their type, as shows."""

    rides: list[LiveRide]
    single_riders: list[str]
    others: Counter[str]
    refused: list[Refusal]


class Schedule(NamedTuple):
    """What `schedule` found. `unsure_on` are dates, in order, of which a row was refused: nobody knows that the park is
    closed then."""

    timezone: str | None
    openings: list[Opening]
    unsure_on: list[date]
    refused: list[Refusal]


def destinations(body: bytes) -> Destinations:
    """All resorts with their parks (`/destinations`)."""
    refused: list[Refusal] = []
    found = list_in(fields_of(decoded(body, DESTINATIONS), DESTINATIONS), "destinations", DESTINATIONS)
    return Destinations(list(rows(found, "destination", _destination, refused)), refused)


def _destination(row: Row) -> Destination:
    wiki, called = row.needed("id", wiki_id), row.needed("name", name)
    return Destination(wiki, called, list(rows(row.list_of("parks"), f"park of {called}", _park, row.refused)))


def _park(row: Row) -> WikiPark:
    return WikiPark(row.needed("id", wiki_id), row.needed("name", name))


def entity(body: bytes) -> Entity:
    """A park itself (`/entity/{id}`). Raises BadFeed also where it has no id, name or time zone of its own."""
    refused: list[Refusal] = []
    row = Row(fields_of(decoded(body, ENTITY), ENTITY), "the park", refused)
    try:
        wiki, called, timezone = row.needed("id", wiki_id), row.needed("name", name), row.needed("timezone", zone)
    except BadRow as problem:
        raise BadFeed(f"{ENTITY} cannot be used: its {problem.field} {problem.reason}.") from None
    place = row.within("location")
    latitude, longitude = place.spared("latitude", LATITUDE), place.spared("longitude", LONGITUDE)
    return Entity(wiki, called, timezone, latitude, longitude, refused)


def children(body: bytes) -> Children:
    """A park's rides (`/entity/{id}/children`). Of several with one id the last counts."""
    found = list_in(fields_of(decoded(body, CHILDREN), CHILDREN), "children", CHILDREN)
    answer = Children([], [], Counter(), [])
    rides = rows(found, "entity", partial(_child, answer), answer.refused)
    answer.rides.extend({ride.themeparks_wiki_id: ride for ride in rides}.values())
    return answer


def _child(answer: Children, row: Row) -> WikiRide | None:
    found = _kind_and_name(answer, row, CATEGORIES)
    if found is None:
        return None
    kind, called = found
    place = row.within("location")
    return WikiRide(
        row.needed("id", wiki_id),
        called,
        CATEGORIES[kind],
        row.spared("externalId", text),
        row.spared("parentId", wiki_id),
        place.spared("latitude", LATITUDE),
        place.spared("longitude", LONGITUDE),
    )


def _kind_and_name(answer: Children | Live, row: Row, kinds: Container[str]) -> tuple[str, str] | None:
    """Of an entity of these kinds that is no queue for single riders; the others are noted in `answer`."""
    kind = row.needed("entityType", text)
    if kind not in kinds:
        answer.others[kind] += 1
        return None
    called = row.needed("name", name)
    if is_single_rider(called):
        answer.single_riders.append(called)
        return None
    return kind, called


def live(body: bytes) -> Live:
    """What a park's attractions do now (`/entity/{id}/live`). Of several with one id the last counts.

    A status that the rules do not know is no reading, but a refusal; a wait that cannot be meant is refused alone.
    """
    found = list_in(fields_of(decoded(body, LIVE), LIVE), "liveData", LIVE)
    answer = Live([], [], Counter(), [])
    rides = rows(found, "entity", partial(_live_ride, answer), answer.refused)
    answer.rides.extend({ride.themeparks_wiki_id: ride for ride in rides}.values())
    return answer


def _live_ride(answer: Live, row: Row) -> LiveRide | None:
    found = _kind_and_name(answer, row, (ATTRACTION,))
    if found is None:
        return None
    _, called = found
    return LiveRide(
        row.needed("id", wiki_id),
        called,
        row.needed("status", STATUS),
        standby_wait(row),
        row.spared("lastUpdated", instant),
    )


def standby_wait(row: Row) -> int | None:
    """The posted wait of what an attraction does, in minutes; None: there is none, or it cannot be meant."""
    # STANDBY is {} where a ride does not run, and is missing where it has virtual queues only, or none.
    return row.within("queue").within("STANDBY").spared("waitTime", wait_minutes)


def schedule(body: bytes) -> Schedule:
    """A park's hours (`/entity/{id}/schedule`, also of a month): several rows a date, of which OPERATING ones open it.

    A row of a type that the rules do not know is refused. One without hours that is not OPERATING is only a remark on
    its date: it opens and closes at midnight.
    """
    refused: list[Refusal] = []
    fields = fields_of(decoded(body, SCHEDULE), SCHEDULE)
    found = list_in(fields, "schedule", SCHEDULE)
    timezone = Row(fields, "the schedule", refused).spared("timezone", zone)
    dates: Counter[date] = Counter()
    openings = list(rows(found, "row", partial(_opening, timezone, dates), refused))
    unsure_on = dates - Counter(opening.schedule_date for opening in openings)
    return Schedule(timezone, openings, sorted(unsure_on), refused)


def _opening(timezone: str | None, dates: Counter[date], row: Row) -> Opening:
    on = row.needed("date", day)
    dates[on] += 1
    kind = row.needed("type", SCHEDULE_TYPE)
    if timezone and kind is not ScheduleType.OPERATING and not row.has("openingTime") and not row.has("closingTime"):
        midnight = wall_clock(on, time(0), timezone)
        return Opening(on, kind, midnight, midnight)
    at = partial(instant, zone_name=timezone)
    opens, closes = row.needed("openingTime", at), row.needed("closingTime", at)
    if not opens < closes <= opens + LONGEST_OPENING:
        raise BadRow("closingTime", "is not within 36 hours after openingTime")
    if abs(local_date(opens, timezone or "UTC") - on) > timedelta(days=1):
        raise BadRow("openingTime", f"is not on {on}")
    return Opening(on, kind, opens, closes)
