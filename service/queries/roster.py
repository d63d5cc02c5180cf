"""Which rides a park's score is made of today, and which it leaves out."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from peewee import fn

from service import rules
from service.database import fetch
from service.models import Ride, RideStatusSnapshot
from service.periods import iso_utc, pacific_date
from service.queries import Row
from service.queries.catalog import ParkFacts, RideFacts
from service.queries.days import Tallies

EXCLUDED = f"Not operated in the last {rules.ROSTER_DAYS} days"
DAY = 86_400


class Roster(NamedTuple):
    """A park's attractions: those whose weights its score is divided by, inactive ones too, and the other active ones.
    Heaviest first."""

    park: ParkFacts
    rides: list[RideFacts]
    excluded: list[RideFacts]

    @property
    def weight(self) -> int:
        """What the score is divided by."""
        return sum(ride.weight for ride in self.rides)

    @property
    def excluded_weight(self) -> int:
        """What the others weigh."""
        return sum(ride.weight for ride in self.excluded)


def roster_now(tallies: Tallies, park: ParkFacts) -> Roster:
    """The roster of the running Pacific day."""
    members = tallies.roster(park, pacific_date(tallies.now))
    rides = sorted(attractions(tallies, park), key=lambda ride: (-ride.weight, ride.name.casefold(), ride.ride_id))
    return Roster(
        park,
        [ride for ride in rides if ride.ride_id in members],
        [ride for ride in rides if ride.ride_id not in members and ride.is_active],
    )


def attractions(tallies: Tallies, park: ParkFacts) -> list[RideFacts]:
    """All attractions of a park, by id."""
    return [tallies.universe.rides[ride_id] for ride_id in tallies.universe.rides_of.get(park.park_id, [])]


def park_rides(park_id: int, now: datetime) -> Row:
    """A park's roster: its rides as `active`, the others as `excluded` with when they last operated.

    Raises NotFound.
    """
    tallies = Tallies(now, only=park_id)
    park = tallies.universe.park(park_id)
    roster = roster_now(tallies, park)
    last = _last_operated(tallies, [ride.ride_id for ride in roster.excluded])
    return {
        "park_id": park.park_id,
        "park_name": park.name,
        "effective_park_weight": roster.weight,
        "total_roster_weight": roster.weight + roster.excluded_weight,
        "rides": {
            "active": [
                {"ride_id": ride.ride_id, "name": ride.name, "tier": ride.tier, "weight": ride.weight}
                for ride in roster.rides
            ],
            "excluded": [_excluded(ride, last.get(ride.ride_id), tallies.now) for ride in roster.excluded],
        },
    }


def _excluded(ride: RideFacts, last: int | None, now: int) -> Row:
    return {
        "ride_id": ride.ride_id,
        "ride_name": ride.name,
        "tier": ride.tier,
        "tier_weight": ride.weight,
        "last_operated_at": None if last is None else iso_utc(last),
        "days_since_operation": None if last is None else (now - last) // DAY,
        "reason": EXCLUDED,
    }


def _last_operated(tallies: Tallies, ride_ids: list[int]) -> dict[int, int]:
    """When each of these rides was last seen operating, whether its park was open or not."""
    if not ride_ids:
        return {}
    query = Ride.select(Ride.ride_id, Ride.last_operated_at).where(
        Ride.ride_id.in_(ride_ids), Ride.last_operated_at.is_null(False)
    )
    known = dict(fetch(query))
    later = [ride_id for ride_id, at in known.items() if at >= tallies.held.end]
    return {ride_id: at for ride_id, at in known.items() if at < tallies.held.end} | _last_reading(tallies, later)


def _last_reading(tallies: Tallies, ride_ids: list[int]) -> dict[int, int]:
    """The same from the readings held: what is noted with a ride may lie after a replayed present, or be unseen yet."""
    if not ride_ids:
        return {}
    snapshot = RideStatusSnapshot
    query = (
        snapshot.select(snapshot.ride_id, fn.MAX(snapshot.snapshot_time))
        .where(
            snapshot.ride_id.in_(ride_ids), snapshot.snapshot_time < tallies.held.end, snapshot.is_operating
        )
        .group_by(snapshot.ride_id)
    )
    return dict(fetch(query))
