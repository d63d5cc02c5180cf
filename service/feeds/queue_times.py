"""Answers of Queue-Times: all parks by company, and what a park's rides do now.

Every function takes the bytes of one answer, and raises BadFeed if they are something else.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from service.errors import BadFeed
from service.feeds import ParkRecord, is_single_rider
from service.feeds.csv_files import OPERATORS
from service.feeds.foreign import (
    LATITUDE,
    LONGITUDE,
    BadRow,
    Refusal,
    Row,
    Unusable,
    decoded,
    fields_of,
    flag,
    instant,
    list_in,
    name,
    number_id,
    rows,
    shown,
    text,
    wait_minutes,
    zone,
)
from service.rules import ParkType

PARKS = "The list of parks of Queue-Times"
QUEUES = "An answer of Queue-Times about a park"
NO_COMPANY = "Other"  # the heading of the parks that belong to none

# By the word in a company's name that tells it. The others are called as the source calls them.
COMPANIES: dict[str, tuple[ParkType, str | None]] = {
    "disney": OPERATORS["disney"],
    "universal": OPERATORS["universal"],
    "cedar fair": (ParkType.OTHER, "Cedar Fair"),
    "six flags": (ParkType.OTHER, "Six Flags"),
    "seaworld": (ParkType.OTHER, "SeaWorld"),
}

COUNTRIES = {
    "Argentina": "AR", "Australia": "AU", "Austria": "AT", "Bahrain": "BH", "Belarus": "BY", "Belgium": "BE",
    "Bolivia": "BO", "Brazil": "BR", "Bulgaria": "BG", "Cambodia": "KH", "Canada": "CA", "Chile": "CL", "China": "CN",
    "Colombia": "CO", "Costa Rica": "CR", "Croatia": "HR", "Cyprus": "CY", "Czech Republic": "CZ", "Czechia": "CZ",
    "Denmark": "DK", "Dominican Republic": "DO", "Ecuador": "EC", "Egypt": "EG", "El Salvador": "SV", "England": "GB",
    "Estonia": "EE", "Finland": "FI", "France": "FR", "Georgia": "GE", "Germany": "DE", "Great Britain": "GB",
    "Greece": "GR", "Guatemala": "GT", "Honduras": "HN", "Hong Kong": "HK", "Hungary": "HU", "Iceland": "IS",
    "India": "IN", "Indonesia": "ID", "Iran": "IR", "Iraq": "IQ", "Ireland": "IE", "Israel": "IL", "Italy": "IT",
    "Jamaica": "JM", "Japan": "JP", "Jordan": "JO", "Kazakhstan": "KZ", "Kenya": "KE", "Kuwait": "KW", "Latvia": "LV",
    "Lebanon": "LB", "Lithuania": "LT", "Luxembourg": "LU", "Macau": "MO", "Malaysia": "MY", "Malta": "MT",
    "Mexico": "MX", "Monaco": "MC", "Mongolia": "MN", "Morocco": "MA", "Netherlands": "NL", "New Zealand": "NZ",
    "Nicaragua": "NI", "Nigeria": "NG", "North Macedonia": "MK", "Northern Ireland": "GB", "Norway": "NO",
    "Oman": "OM", "Pakistan": "PK", "Panama": "PA", "Paraguay": "PY", "Peru": "PE", "Philippines": "PH",
    "Poland": "PL", "Portugal": "PT", "Puerto Rico": "PR", "Qatar": "QA", "Romania": "RO", "Russia": "RU",
    "Saudi Arabia": "SA", "Scotland": "GB", "Serbia": "RS", "Singapore": "SG", "Slovakia": "SK", "Slovenia": "SI",
    "South Africa": "ZA", "South Korea": "KR", "Spain": "ES", "Sri Lanka": "LK", "Sweden": "SE", "Switzerland": "CH",
    "Taiwan": "TW", "Thailand": "TH", "Tunisia": "TN", "Turkey": "TR", "Türkiye": "TR", "Ukraine": "UA",
    "United Arab Emirates": "AE", "United Kingdom": "GB", "United States": "US", "Uruguay": "UY", "Venezuela": "VE",
    "Vietnam": "VN", "Wales": "GB",
}  # fmt: skip


class Parks(NamedTuple):
    """What `parks` found; `source_id` and `queue_times_id` of a park are the same."""

    parks: list[ParkRecord]
    refused: list[Refusal]


class QueueRide(NamedTuple):
    """What a ride does: whether it is open, the posted wait in minutes, and when the source last heard of it (epoch
    seconds). A wait is as it was posted: that 0 is unknown here is for the rules to say. At least one of flag and wait
    is there."""

    queue_times_id: int
    name: str
    land_area: str | None
    is_open: bool | None
    wait_time: int | None
    updated_at: int | None


class Queues(NamedTuple):
    """What `queue_times` found."""

    rides: list[QueueRide]
    single_riders: list[str]
    refused: list[Refusal]


def parks(body: bytes) -> Parks:
    """All parks of all companies (`/parks.json`). Of several with one id the last counts."""
    companies = decoded(body, PARKS)
    if not isinstance(companies, list):
        raise BadFeed(f"{PARKS} is {shown(companies)}, not a list.")
    refused: list[Refusal] = []
    found = [park for of_company in rows(companies, "company", _company, refused) for park in of_company]
    return Parks(list({park.source_id: park for park in found}.values()), refused)


def _company(row: Row) -> list[ParkRecord]:
    # A company without a name is left out: it might be one whose parks tell a breakdown from a closure.
    park_type, operator = _operator(row.needed("name", _short))
    return list(rows(row.list_of("parks"), "park", partial(_park, park_type, operator), row.refused))


def _short(value: object) -> str:
    return text(value, 100)


def _operator(company: str) -> tuple[ParkType, str | None]:
    told = next((meant for word, meant in COMPANIES.items() if word in company.casefold()), None)
    return told or (ParkType.OTHER, None if company == NO_COMPANY else company)


def _park(park_type: ParkType, operator: str | None, row: Row) -> ParkRecord:
    park_id = row.needed("id", number_id)
    country = row.needed("country", _country)
    longitude = row.spared("longitude", LONGITUDE)
    if country == "US" and longitude is not None:
        longitude = -abs(longitude)  # the source forgets the sign now and then
    return ParkRecord(
        park_id,
        row.needed("name", name),
        park_type,
        country,
        row.needed("timezone", zone),
        operator,
        latitude=row.spared("latitude", LATITUDE),
        longitude=longitude,
        queue_times_id=park_id,
    )


def _country(value: object) -> str:
    """The code of a country that is called by its English name."""
    code = COUNTRIES.get(text(value))
    if code is None:
        raise Unusable(f"{shown(value)} is unknown")
    return code


def queue_times(body: bytes) -> Queues:
    """What a park's rides do now (`/parks/{id}/queue_times.json`), those of lands and those of none. Of several with
    one id the last counts, in the land that any of them named."""
    fields = fields_of(decoded(body, QUEUES), QUEUES)
    given = {key: list_in(fields, key, QUEUES) for key in ("lands", "rides") if fields.get(key) is not None}
    if not given:
        raise BadFeed(f"{QUEUES} has neither lands nor rides.")
    answer = Queues([], [], [])
    lands = rows(given.get("lands", []), "land", partial(_land, answer), answer.refused)
    found = [ride for of_land in lands for ride in of_land]
    found += rows(given.get("rides", []), "ride", partial(_ride, answer, None), answer.refused)
    merged: dict[int, QueueRide] = {}
    for ride in found:
        earlier = merged.get(ride.queue_times_id, ride)
        merged[ride.queue_times_id] = ride._replace(land_area=ride.land_area or earlier.land_area)
    answer.rides.extend(merged.values())
    return answer


def _land(answer: Queues, row: Row) -> list[QueueRide]:
    land = row.spared("name", _short)
    return list(rows(row.list_of("rides"), "ride", partial(_ride, answer, land), answer.refused))


def _ride(answer: Queues, land: str | None, row: Row) -> QueueRide | None:
    called = row.needed("name", name)
    if is_single_rider(called):
        answer.single_riders.append(called)
        return None
    ride_id = row.needed("id", number_id)
    is_open, wait_time = row.spared("is_open", flag), row.spared("wait_time", wait_minutes)
    if is_open is None and not wait_time:
        raise BadRow("is_open", "is missing, and so is a wait: that says nothing")
    return QueueRide(ride_id, called, land, is_open, wait_time, row.spared("last_updated", instant))
