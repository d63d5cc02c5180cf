"""Parks and rides as questions need them, and the sources every answer names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from peewee import Case, ModelSelect

from service import rules
from service.database import fetch
from service.errors import NotFound
from service.models import Park, ParkActivitySnapshot, Ride, ServiceState
from service.models.base import rows
from service.periods import DAY_SECONDS, epoch
from service.queries import state

NO_PAGE = "/"  # the contract wants an address of every source
SOURCES = {
    rules.Source.THEMEPARKS_WIKI: ("ThemeParks.wiki", "https://themeparks.wiki"),
    rules.Source.QUEUE_TIMES: ("Queue-Times.com", "https://queue-times.com"),
    rules.Source.SIMULATION: ("Simulated data", NO_PAGE),
}
DISNEY_UNIVERSAL = "disney-universal"
ALL_PARKS = "all-parks"
FILTERS = (DISNEY_UNIVERSAL, ALL_PARKS)
CREDITED_DAYS = 31
LARGEST_ID = 2**31 - 1  # of any table
QUEUE_TIMES_PAGE = "https://queue-times.com/parks"

_Row = TypeVar("_Row", bound=tuple[Any, ...])


class ParkFacts(NamedTuple):
    """A park as rankings see it."""

    park_id: int
    name: str
    city: str | None
    state_province: str | None
    country: str
    timezone: str
    park_type: rules.ParkType
    is_active: bool
    queue_times_id: int | None

    @property
    def location(self) -> str:
        """`City, State`, else `City, Country`, else the country."""
        return f"{self.city}, {self.state_province or self.country}" if self.city else self.country

    @property
    def queue_times_url(self) -> str | None:
        """The park's page at Queue-Times, or None."""
        return f"{QUEUE_TIMES_PAGE}/{self.queue_times_id}" if self.queue_times_id else None


class RideFacts(NamedTuple):
    """An attraction as rankings see it."""

    ride_id: int
    park_id: int
    name: str
    tier: int | None
    is_active: bool
    queue_times_id: int | None

    @property
    def weight(self) -> int:
        """Its weight in shame scores."""
        return rules.weight_of(self.tier)


class AnyRide(NamedTuple):
    """A ride of any category."""

    ride_id: int
    park_id: int
    name: str
    tier: int | None
    is_active: bool
    queue_times_id: int | None
    category: int

    @property
    def facts(self) -> RideFacts:
        """The same without its category."""
        return RideFacts(*self[:-1])


class Universe(NamedTuple):
    """All parks, and all attractions by id and by park: what any number is made of, active or not."""

    parks: dict[int, ParkFacts]
    rides: dict[int, RideFacts]
    rides_of: dict[int, list[int]]

    def park(self, park_id: int) -> ParkFacts:
        """One park, active or not. Raises NotFound."""
        if park_id not in self.parks:
            raise NotFound(f"Park {park_id} not found")
        return self.parks[park_id]

    def filtered(self, park_filter: str, *, active_only: bool) -> list[ParkFacts]:
        """The parks of a filter, by id; lists of now show active ones only."""
        return [
            park
            for park in self.parks.values()
            if (park.is_active or not active_only)
            and (park_filter != DISNEY_UNIVERSAL or park.park_type is not rules.ParkType.OTHER)
        ]


def universe(only: int | None = None) -> Universe:
    """Every park and every attraction, or those of one park; nothing if there is no such park."""
    if only is not None and only > LARGEST_ID:
        return Universe({}, {}, {})
    parks, rides = _parks().order_by(Park.park_id), _attractions().order_by(Ride.ride_id)
    if only is not None:
        parks, rides = parks.where(Park.park_id == only), rides.where(Ride.park == only)
    facts = _facts(rides)
    by_park: dict[int, list[int]] = defaultdict(list)
    for ride in facts.values():
        by_park[ride.park_id].append(ride.ride_id)
    return Universe({row.park_id: _park(row) for row in rows(parks, ParkFacts)}, facts, dict(by_park))


def all_parks() -> dict[int, ParkFacts]:
    """The parks of the universe, for who does not need its rides."""
    return {row.park_id: _park(row) for row in rows(_parks(), ParkFacts)}


def park_zones() -> set[str]:
    """The time zones that parks are in."""
    return {zone for (zone,) in fetch(Park.select(Park.timezone).distinct())}


def attractions(ride_ids: Collection[int]) -> dict[int, RideFacts]:
    """Those of the rides that are attractions."""
    return _facts(_attractions().where(Ride.ride_id << list(ride_ids))) if ride_ids else {}


def _attractions() -> ModelSelect[Ride]:
    """The columns of RideFacts."""
    columns = (Ride.ride_id, Ride.park, Ride.name, Ride.tier, Ride.is_active, Ride.queue_times_id)
    return Ride.select(*columns).where(Ride.category == rules.Category.ATTRACTION)


def _facts(rides: ModelSelect[Ride]) -> dict[int, RideFacts]:
    return {row.ride_id: row._replace(is_active=bool(row.is_active)) for row in rows(rides, RideFacts)}


def _parks() -> ModelSelect[Park]:
    """The columns of ParkFacts."""
    return Park.select(
        Park.park_id,
        Park.name,
        Park.city,
        Park.state_province,
        Park.country,
        Park.timezone,
        Park.park_type,
        Park.is_active,
        Park.queue_times_id,
    )


def _park(row: ParkFacts) -> ParkFacts:
    return row._replace(park_type=rules.ParkType(row.park_type), is_active=bool(row.is_active))


def find_ride(ride_id: int) -> AnyRide:
    """One ride, active or not. Raises NotFound."""
    columns = (Ride.ride_id, Ride.park, Ride.name, Ride.tier, Ride.is_active, Ride.queue_times_id, Ride.category)
    if ride_id <= LARGEST_ID:
        for row in rows(Ride.select(*columns).where(Ride.ride_id == ride_id), AnyRide):
            return row
    raise NotFound(f"Ride {ride_id} not found")


def ride_page(park: ParkFacts, ride: RideFacts) -> str | None:
    """The ride's page at Queue-Times, or None."""
    if not park.queue_times_id or not ride.queue_times_id:
        return None
    return f"{park.queue_times_url}/rides/{ride.queue_times_id}"


def park_columns(park: ParkFacts) -> dict[str, object]:
    """What a list says of a park itself."""
    return {
        "park_id": park.park_id,
        "park_name": park.name,
        "location": park.location,
        "queue_times_id": park.queue_times_id,
        "queue_times_url": park.queue_times_url,
    }


def ride_columns(park: ParkFacts, ride: RideFacts) -> dict[str, object]:
    """What a list says of a ride of `park` itself."""
    return {
        "ride_id": ride.ride_id,
        "ride_name": ride.name,
        "park_id": park.park_id,
        "park_name": park.name,
        "location": park.location,
        "tier": ride.tier,
        "queue_times_id": ride.queue_times_id,
        "park_queue_times_id": park.queue_times_id,
        "queue_times_url": ride_page(park, ride),
    }


def searchable_parks() -> list[dict[str, object]]:
    """The active parks by name, as the search index has them: id, name, location, type, url."""
    return [
        {
            "id": park.park_id,
            "name": park.name,
            "location": park.location,
            "type": "park",
            "url": f"/park-detail.html?id={park.park_id}",
        }
        for park in _by_name(rows(_parks().where(Park.is_active), ParkFacts))
    ]


def searchable_rides() -> list[dict[str, object]]:
    """The active rides of active parks, of any category, by name: id, name, park_name, park_id, type, url."""
    rides = (
        Ride.select(Ride.ride_id, Ride.name, Park.park_id, Park.name)
        .join(Park, on=(Ride.park == Park.park_id))
        .where(Ride.is_active, Park.is_active)
    )
    return [
        {
            "id": ride_id,
            "name": name,
            "park_name": park_name,
            "park_id": park_id,
            "type": "ride",
            "url": f"/ride-detail.html?id={ride_id}",
        }
        for ride_id, name, park_id, park_name in _by_name(fetch(rides))
    ]


def _by_name(found: Iterable[_Row]) -> list[_Row]:
    """Rows of (id, name, ...) by name, then id: databases would each sort names in their own way."""
    return sorted(found, key=lambda row: (row[1].casefold(), row[0]))


def attribution(now: datetime) -> dict[str, object]:
    """Who the answer's data comes from: the sources of each park's newest slot, and those of any reading in the last
    CREDITED_DAYS, for an answer tells of more than the newest. Simulated data says so."""
    found = {source for (source,) in fetch(_newest_sources(now).union_all(_late_sources(now))) if source is not None}
    used = [rules.Source(source) for source in sorted(found)] or [rules.Source.THEMEPARKS_WIKI]
    named = [{"name": SOURCES[source][0], "url": SOURCES[source][1]} for source in used]
    return {
        "data_source": ", ".join(source["name"] for source in named),
        "url": named[0]["url"],
        "sources": named,
    }


def _newest_sources(now: datetime) -> ModelSelect[Park]:
    snapshot = ParkActivitySnapshot
    newest = (
        snapshot.select(snapshot.source)
        .where(
            snapshot.park_id == Park.park_id,
            snapshot.snapshot_time <= epoch(now),
            snapshot.snapshot_time <= state.newest_slot(),
        )
        .order_by(snapshot.snapshot_time.desc())
        .limit(1)
    )
    return Park.select(newest)


def _late_sources(now: datetime) -> ModelSelect[ServiceState]:
    number = Case(ServiceState.name, [(name, source.value) for source, name in state.SOURCE_SLOTS.items()])
    return ServiceState.select(number).where(
        ServiceState.name << list(state.SOURCE_SLOTS.values()),
        ServiceState.value.between(epoch(now) - CREDITED_DAYS * DAY_SECONDS, epoch(now)),
    )


def attribution_text(now: datetime) -> str:
    """The same as one line, with the page of the first source where there is one."""
    credit = attribution(now)
    has_page = credit["url"] != NO_PAGE
    return f"Data powered by {credit['data_source']} - {credit['url']}" if has_page else str(credit["data_source"])
