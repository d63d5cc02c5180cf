"""The catalog of the simulator: parks and rides that do not exist, in places that do."""

from __future__ import annotations

from enum import Flag, auto
from random import Random
from typing import NamedTuple

from service.errors import BadRequest
from service.feeds import ParkRecord, RideRecord
from service.rules import Category, ParkType

SMALL, PRODUCTION = "small", "production"
SCALES = (SMALL, PRODUCTION)
MOST_RIDES = 100  # a park's ride ids are its own id x 100 and on, whatever the scale
PRODUCTION_RIDES = (25, 60, 38, 47, 52, 31, 44, 53)  # eight parks have 350, so 80 parks have 3,500


class Trait(Flag):
    """What sets a park or its feed apart."""

    NONE = 0
    TELLS_STATUS = auto()  # gives a status, not only a flag and a wait
    UNSCHEDULED = auto()  # posts no hours
    SEASONAL = auto()  # closed for two weeks of every six
    LATE = auto()  # closes after midnight


class Place(NamedTuple):
    """A city, and the parks the simulator builds there."""

    city: str
    state_province: str | None
    country: str
    timezone: str
    latitude: float
    longitude: float
    park_type: ParkType
    traits: Trait
    names: tuple[str, str, str]


class Site(NamedTuple):
    """A park and how it behaves."""

    record: ParkRecord
    traits: Trait


_D, _U, _O = ParkType.DISNEY, ParkType.UNIVERSAL, ParkType.OTHER
_TELLS, _PLAIN = Trait.TELLS_STATUS, Trait.NONE
OPERATORS = {_D: "Larkspur & Vane", _U: "Halcyon Lantern Company", _O: None}

# fmt: off
PLACES = tuple(Place(*row) for row in (
    ("Long Beach", "California", "US", "America/Los_Angeles", 33.77, -118.19, _D, _TELLS,
     ("Lantern Bay", "Marigold Backlot", "The Orrery")),
    ("Denver", "Colorado", "US", "America/Denver", 39.74, -104.99, _O, Trait.UNSCHEDULED,
     ("Timberwick Fair", "Prospector's Reach", "Aspenglow Heights")),
    ("Albany", "New York", "US", "America/New_York", 42.65, -73.75, _U, _TELLS,
     ("Gaslight Isle", "Ferrywright Park", "Cogsworthy Pier")),
    ("Chicago", "Illinois", "US", "America/Chicago", 41.88, -87.63, _O, _TELLS,
     ("Prairie Lanterns", "Windmill Row", "Halyard Point")),
    ("Meaux", "Île-de-France", "FR", "Europe/Paris", 48.96, 2.88, _D, _TELLS,
     ("Jardin des Étoiles", "Les Îles d'Ambre", "Château-sur-Nuage")),
    ("Chiba", None, "JP", "Asia/Tokyo", 35.61, 140.12, _D, _TELLS,
     ("Tsukimi Gardens", "Paper Crane Harbour", "Kaze no Niwa")),
    ("Ocala", "Florida", "US", "America/New_York", 29.19, -82.14, _U, _TELLS,
     ("Cinderwick Lot", "Quicksilver Hollow", "The Velvet Reel")),
    ("Aranjuez", "Madrid", "ES", "Europe/Madrid", 40.03, -3.60, _O, Trait.LATE,
     ("Parque de los Faroles", "El Jardín del Búho", "Viñas y Norias")),
    ("Potsdam", "Brandenburg", "DE", "Europe/Berlin", 52.40, 13.06, _O, Trait.SEASONAL,
     ("Nebelwald", "Haus der Tausend Uhren", "Zur Fröhlichen Eule")),
    ("Guildford", "Surrey", "GB", "Europe/London", 51.24, -0.57, _O, _TELLS,
     ("Thistle & Thorn", "Bramblewick", "St Orin's Pleasure Garden")),
    ("Wollongong", "New South Wales", "AU", "Australia/Sydney", -34.42, 150.89, _O, _PLAIN,
     ("Southern Lanterns", "Currawong Cove", "The Tin Reef")),
    ("Mesa", "Arizona", "US", "America/Phoenix", 33.42, -111.83, _O, _TELLS,
     ("Saguaro Sky", "Ocotillo Fair", "Mesa del Sueño")),
    ("Hamilton", "Ontario", "CA", "America/Toronto", 43.26, -79.87, _O, _PLAIN,
     ("Escarpment Park", "Birchbark Bay", "Snowgoose Landing")),
    ("Toluca", None, "MX", "America/Mexico_City", 19.29, -99.66, _O, Trait.LATE,
     ("Feria del Colibrí", "Papalotes", "La Ciudad de Papel")),
    ("Campinas", "São Paulo", "BR", "America/Sao_Paulo", -22.91, -47.06, _O, _PLAIN,
     ("Parque do Tucano", "Baía das Pipas", "Vila Pirilampo")),
    ("Roskilde", None, "DK", "Europe/Copenhagen", 55.64, 12.08, _O, Trait.SEASONAL,
     ("Mågeøen", "Blåklokke Have", "Skumringsfjord")),
    ("Breda", "North Brabant", "NL", "Europe/Amsterdam", 51.59, 4.78, _O, _TELLS,
     ("De Zilveren Reiger", "Dwaallicht", "Het Knopenpaleis")),
    ("Incheon", None, "KR", "Asia/Seoul", 37.46, 126.71, _O, _PLAIN,
     ("Magpie Bridge Park", "Haneul Fair", "Moonrabbit Valley")),
    ("Suzhou", "Jiangsu", "CN", "Asia/Shanghai", 31.30, 120.59, _D, _TELLS,
     ("Silk Lantern Court", "Carp & Cloud", "Nine Bridges Fair")),
    ("Sha Tin", None, "HK", "Asia/Hong_Kong", 22.38, 114.19, _D, _TELLS,
     ("Peakside Gardens", "Junkwright Harbour", "Ember Terrace")),
    ("Changi", None, "SG", "Asia/Singapore", 1.36, 103.99, _U, _TELLS,
     ("Orchid Reel", "Monsoon Quarter", "Pelican Stage")),
    ("Pune", "Maharashtra", "IN", "Asia/Kolkata", 18.52, 73.86, _O, _PLAIN,
     ("Peacock Maidan", "Monsoon Mela", "Jugnu Gardens")),
    ("Sharjah", None, "AE", "Asia/Dubai", 25.35, 55.42, _O, Trait.LATE,
     ("Falcon Souk Park", "Mirage Gate", "Dhow & Dune")),
    ("Verona", "Veneto", "IT", "Europe/Rome", 45.44, 10.99, _O, _PLAIN,
     ("Giardino delle Lucciole", "Città Sospesa", "Isola del Gufo")),
    ("Uppsala", None, "SE", "Europe/Stockholm", 59.86, 17.64, _O, Trait.SEASONAL,
     ("Älvdansen", "Norrskenet", "Trolldalens Lustgård")),
    ("Galveston", "Texas", "US", "America/Chicago", 29.30, -94.80, _U, _TELLS,
     ("Pelican Reels", "The Brass Marquee", "Stormglass Pier")),
    ("Burnaby", "British Columbia", "CA", "America/Vancouver", 49.25, -122.98, _O, _TELLS,
     ("Cedar & Salt", "Heronwood", "Tidewrack Park")),
))

OWNERS = (
    "Captain Brine's", "Grandmother Tilda's", "Professor Quill's", "The Lamplighter's", "Señor Búho's", "Ondine's",
    "Old Man Frost's", "Zéphyr's", "O'Malley's", "The Beekeeper's", "Doña Luz's", "Baron Umbra's", "Little Émile's",
)
MOODS = (
    "Whispering", "Copper", "Upside-Down", "Tumbling", "Thirteenth", "Velvet", "Clockwork", "Runaway", "Marmalade",
    "Sleepless", "Borrowed", "Topsy", "Forgotten", "Paper", "Singing", "Crooked", "Backwards", "Gilded", "Moonlit",
    "Invisible", "Salty", "Grumbling", "Feathered", "Pocket-Sized", "Endless", "Smoky", "Jade", "Rusty", "Dizzy",
    "Northern", "Hollow", "Amber", "Floating", "Perpetual", "Sugar",
)
THINGS = (
    "Rapids", "Carousel", "Observatory", "Mine Carts", "Balloons", "Flume", "Lighthouse", "Tramway", "Pendulum",
    "Attic", "Submarine", "Teapots", "Whirligig", "Orchard", "Elevator", "Labyrinth", "Gondolas", "Catapult",
    "Windmill", "Caravan", "Aviary", "Toboggan", "Cellar", "Hot-Air Ship", "Pipe Organ", "Waterwheel", "Comet",
    "Ghost Barge", "Typewriter", "Kites", "Bobsleds",
)
WHOLE_NAMES = (
    "L'Étoile Filante", "Die Nebelbahn", "El Río Perdido", "Ça tourne !", "Grüner Drachen", "Il Gatto Volante",
    "Hvalens Sang", "Nächtliche Kutsche", "Le Moulin d'Eau-Vive", "Smörgås Spin", "Tío Paco's Buggies",
    "'Round the Bend", "A Stitch in Time", "Kumo no Funé", "The Long Way Down", "¡Arriba, Abajo!",
)
SHOWS = ("The Tin Orchestra", "Café des Ombres", "Lanterns at Dusk", "Fool's Rehearsal", "Salt & Thunder")
FRIENDS = ("Meet Pip the Badger", "Tea with Madame Héron", "Say Hello to Bramble", "Sir Otter's Porch")
WALKS = ("Glasshouse Walk", "The Whittler's Shop", "Tide Pools", "Model Village", "Musée des Jouets")
LANDS = (
    "Harbour of Hours", "Mosswood", "Copper Quarter", "Le Vieux Port", "Frostmarket", "Sunken Fair", "Clockmaker's Row",
    "Isla Serena", "Thistledown", "Gaslamp Street", "Skyward Steps", "Die Alte Mühle",
)
# fmt: on

TIERS = (1, 2, 3, 2, None, 3, 1, 2, None, 3)  # a quarter of the rides was never classified
SIDE_SHOWS = ((Category.SHOW, SHOWS), (Category.MEET_AND_GREET, FRIENDS), (Category.EXPERIENCE, WALKS))
LARGEST = len(PLACES) * len(PLACES[0].names)


def catalog(parks: int, seed: int, scale: str) -> tuple[list[Site], list[RideRecord]]:
    """The first `parks` parks and their rides: 8-14 each, 25-60 at production scale.

    More parks or a larger scale add to a smaller catalog of the same seed and change nothing in it.
    Raises BadRequest for a number or a scale that the simulator does not have.
    """
    if not 1 <= parks <= LARGEST:
        raise BadRequest(f"The simulator has 1 to {LARGEST} parks, not {parks}.")
    if scale not in SCALES:
        raise BadRequest(f"Unknown scale {scale!r}: use {' or '.join(SCALES)}.")
    sites = [_site(index, seed) for index in range(parks)]
    return sites, [ride for index in range(parks) for ride in _rides(index, _size(index, scale), seed)]


def _size(index: int, scale: str) -> int:
    if scale == PRODUCTION:
        return PRODUCTION_RIDES[index % len(PRODUCTION_RIDES)]
    return 8 + index * 5 % 7


def _site(index: int, seed: int) -> Site:
    generation, row = divmod(index, len(PLACES))
    place = PLACES[row]
    rng = Random(f"{seed}/site/{index}")
    record = ParkRecord(
        source_id=index + 1,
        name=place.names[generation],
        park_type=place.park_type,
        country=place.country,
        timezone=place.timezone,
        operator=OPERATORS[place.park_type],
        city=place.city,
        state_province=place.state_province,
        latitude=round(place.latitude + rng.uniform(-0.04, 0.04), 4),
        longitude=round(place.longitude + rng.uniform(-0.04, 0.04), 4),
    )
    return Site(record, place.traits)


def _rides(index: int, count: int, seed: int) -> list[RideRecord]:
    rng = Random(f"{seed}/rides/{index}")
    lands = rng.sample(LANDS, 5)
    names = _names(rng)
    return [_ride(index, number, names[number], lands[number % len(lands)]) for number in range(count)]


def _names(rng: Random) -> list[str]:
    """All names a park may give its rides, each once."""
    heads = [*OWNERS, *MOODS, *WHOLE_NAMES]
    things = list(THINGS)
    rng.shuffle(heads)
    rng.shuffle(things)
    return [
        head if head in WHOLE_NAMES else f"{head} {things[number % len(things)]}" for number, head in enumerate(heads)
    ]


def _ride(index: int, number: int, name: str, land: str) -> RideRecord:
    """Ride `number` of a park. What kind it is depends on the two numbers alone, so that no seed misses a kind."""
    category, tier = Category.ATTRACTION, TIERS[(number + index) % len(TIERS)]
    if number % 9 == 7:
        nth = number // 9
        category, titles = SIDE_SHOWS[(index + nth) % len(SIDE_SHOWS)]
        name, tier = titles[nth % len(titles)], None
    source_id = (index + 1) * MOST_RIDES + number
    return RideRecord(
        source_id=source_id,
        park_source_id=index + 1,
        name=name,
        source_ride_id=f"simulated-{source_id}",
        land_area=land,
        category=category,
        tier=tier,
        is_active=(number, index % 4) not in ((5, 1), (22, 2)),
    )
