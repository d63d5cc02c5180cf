"""Random questions about any window of time, asked over HTTP of random worlds, have the answers of the independent
reference: as JSON, as CSV and page by page, from readings and with the days stored."""

from __future__ import annotations

import csv
import io
import random
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

import reference as ref
from factories import LETTERS, World
from reference_windows import MEASURES, WEEKDAYS, WHOLE_DAY, Asked, Windows
from service import clock
from service.config import Settings
from service.jobs import daily
from service.periods import instant
from service.web import app as web
from wsgi_client import Client

Row = dict[str, Any]

QUESTIONS = 40  # of a world
ONE_PAGE = 10_000  # rows: the most that a page may have
SMALL_PAGE = 7
PAGED = 40  # rows: longer answers are not asked for in small pages, for time's sake
GROUPS = ("none", "park", "ride", "hour", "weekday")
LA, NEW_YORK, PARIS, TOKYO = "America/Los_Angeles", "America/New_York", "Europe/Paris", "Asia/Tokyo"
KOLKATA, LORD_HOWE = "Asia/Kolkata", "Australia/Lord_Howe"


class Scene(NamedTuple):
    """A world to make: readings of `days` Pacific days from `first` on, but for its first hours, every `interval`
    minutes, of a park a zone."""

    seed: int
    interval: int
    first: date
    days: int
    zones: tuple[str, ...]
    silent_hours: int = 0

    def __str__(self) -> str:
        return f"{self.first}-{self.interval}m"


SCENES = (
    Scene(1, 5, date(2025, 3, 8), 2, (LA, PARIS)),  # spring forward
    Scene(2, 15, date(2025, 3, 7), 4, (LA, NEW_YORK, TOKYO), 11),
    Scene(3, 30, date(2025, 10, 31), 4, (LA, LA, PARIS)),  # fall back
    Scene(4, 15, date(2025, 3, 28), 3, (PARIS, PARIS, LA)),  # Paris springs forward
    Scene(5, 30, date(2025, 6, 1), 10, (LA, LORD_HOWE, NEW_YORK)),  # rosters lose rides
    Scene(6, 15, date(2025, 10, 4), 3, (LORD_HOWE, KOLKATA, NEW_YORK)),  # half an hour's summer time begins
)


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_random_windows_have_the_reference_rows(database: Any, settings: Settings, scene: Scene) -> None:
    chance = random.Random(scene.seed)
    world, now = random_scene(scene, chance)
    world.store()
    oracle = Windows(world.interval_minutes, world.parks, world.rides, world.schedules, world.readings, now)
    clock.replay(instant(now))
    ask = Questioner(Client(web.create_app(Settings(settings.database_url, snapshot_interval_minutes=scene.interval))))
    asked = [random_question(scene, world, now, chance, number) for number in range(QUESTIONS)]
    written = [parameters(one, now, chance) for one in asked]
    expected = [oracle.rows(one) for one in asked]
    assert sum(map(bool, expected)) > QUESTIONS / 2, "most questions should be about something"
    for query, rows in zip(written, expected, strict=True):
        assert ask.rows(query) == rows, query
    for one, query, rows in zip(asked, written, expected, strict=True):
        assert ask.csv(query) == (one.columns, rows), query
        if SMALL_PAGE < len(rows) <= PAGED:
            assert ask.pages(query) == rows, query
    daily.aggregate(instant(now))
    for query, rows in zip(written, expected, strict=True):
        assert ask.rows(query) == rows, ("with stored days", query)


# --- asking ----------------------------------------------------------------------------------------------------------


class Questioner:
    """Asks the service for a window, in each of the forms that an answer has."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def _get(self, query: Row) -> Any:
        url = f"/api/analytics/series?{urlencode(query)}"
        response = self.client.get(url)
        assert response.status == 200, (url, response.body)
        return response

    def rows(self, query: Row) -> list[Row]:
        """All rows of one page. What the envelope says of the question is looked at too."""
        answer = self._get({**query, "limit": ONE_PAGE}).json
        assert answer["success"] is True and answer["next_cursor"] is None
        assert (answer["bucket"], answer["timezone"]) == (query.get("bucket"), query.get("timezone", "pacific"))
        start, end = (answer["covered"][name] for name in ("start", "end"))
        assert (start is None) == (end is None)
        if start is not None:
            span = answer["span"]
            assert at(span["start"]) <= at(start) < at(end) <= at(span["end"])
        rows: list[Row] = answer["data"]
        assert start is not None or not rows
        return rows

    def pages(self, query: Row) -> list[Row]:
        """The rows of many small pages."""
        found: list[Row] = []
        cursor: Row = {}
        while True:
            answer = self._get({**query, **cursor, "limit": SMALL_PAGE}).json
            assert len(answer["data"]) <= SMALL_PAGE
            found += answer["data"]
            if answer["next_cursor"] is None:
                return found
            assert len(answer["data"]) == SMALL_PAGE
            cursor = {"cursor": answer["next_cursor"]}

    def csv(self, query: Row) -> tuple[list[str], list[Row]]:
        """The header and the rows of the CSV, which knows no limit."""
        response = self._get({**query, "format": "csv", "limit": 1})
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        header, *lines = csv.reader(io.StringIO(response.body.decode(), newline=""))
        return header, [dict(zip(header, map(value, header, line), strict=True)) for line in lines]


def value(name: str, text: str) -> Any:
    """What JSON says where CSV says `text`."""
    if name in ("bucket_start", "weekday"):
        return text
    return float(text) if text else None


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def parameters(asked: Asked, now: int, chance: random.Random) -> Row:
    """The question as it is written in a URL, with defaults left out now and then."""
    given = {
        "start": written_instant(asked.start, chance),
        "end": written_instant(asked.end, chance),
        "bucket": written_bucket(asked.bucket, chance),
        "group_by": asked.group_by,
        "park_id": asked.park_id,
        "ride_id": asked.ride_id,
        "timezone": asked.timezone,
        "measures": ",".join(asked.measures),
    }
    if asked.time_of_day:
        given["time_of_day"] = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in asked.time_of_day)
    if asked.weekdays is not None:
        given["weekdays"] = ",".join(WEEKDAYS[day] for day in asked.weekdays)
    defaults = {"group_by": "none", "timezone": "pacific", "measures": ",".join(MEASURES)}
    if asked.end == now:
        del given["end"]
    silent = {name for name, default in defaults.items() if given[name] == default and chance.random() < 0.5}
    return {name: value for name, value in given.items() if value is not None and name not in silent}


def written_instant(at: int, chance: random.Random) -> str:
    zone = chance.choice((UTC, ref.PACIFIC, ref.ZoneInfo(PARIS), timezone(timedelta(hours=-3, minutes=-30))))
    text = datetime.fromtimestamp(at, zone).isoformat()
    return text.replace("+00:00", "Z") if chance.random() < 0.5 else text.replace("+", chance.choice("+ "))


def written_bucket(minutes: int | None, chance: random.Random) -> str | None:
    if minutes is None:
        return None
    forms = [f"{minutes}m"]
    forms += [f"{minutes // 60}h"] if minutes % 60 == 0 else []
    forms += ["1d"] * 2 if minutes == WHOLE_DAY else []
    return chance.choice(forms)


# --- questions -------------------------------------------------------------------------------------------------------


def random_question(scene: Scene, world: World, now: int, chance: random.Random, number: int) -> Asked:
    start, end = random_bounds(scene, now, chance)
    park_id, ride_id = random_subject(world, chance)
    widths = [minutes for minutes in (scene.interval, 30, 45, 60, 120) if minutes % scene.interval == 0]
    return Asked(
        start,
        end,
        bucket=chance.choice((None, None, WHOLE_DAY, *widths)),
        group_by=GROUPS[number % len(GROUPS)],
        park_id=park_id,
        ride_id=ride_id,
        time_of_day=random_time_of_day(chance) if chance.random() < 0.45 else None,
        weekdays=tuple(chance.sample(range(7), chance.randint(2, 6))) if chance.random() < 0.3 else None,
        timezone=chance.choice(("pacific", "park")),
        measures=tuple(chance.sample(MEASURES, chance.randint(1, 8))) if chance.random() < 0.4 else MEASURES,
    )


def random_bounds(scene: Scene, now: int, chance: random.Random) -> tuple[int, int]:
    """Mostly some hours or days among the readings; also a single slot, nothing at all, before them and beyond now."""
    first = ref.instant(scene.first, time(0), ref.PACIFIC)
    last = first + scene.days * 86400
    step = 60 * scene.interval
    inside = chance.randrange(first, last)
    kinds = ("all", "hours", "days", "slot", "nothing", "before", "beyond", "now")
    match chance.choices(kinds, (6, 4, 4, 2, 1, 1, 2, 2))[0]:
        case "all":
            return first - chance.randrange(86400), last + chance.randrange(86400)
        case "hours":
            return inside, inside + chance.randrange(step, 86400)
        case "days":
            days = sorted(chance.sample(range(-1, scene.days + 2), 2))
            start, end = (ref.instant(scene.first + ref.DAY * day, time(0), ref.PACIFIC) for day in days)
            return start, end
        case "slot":
            noon = first + chance.randrange(scene.days) * 86400 + 12 * 3600
            return noon, noon + chance.choice((1, step))
        case "nothing":
            return inside // step * step + 1, inside // step * step + step
        case "before":
            return first - 20 * 86400, first + chance.choice((-1, 12, 30)) * 3600
        case "now":
            return now - chance.randrange(1, 2 * 86400), now
        case _:
            return now - chance.randrange(86400), now + chance.randrange(1, 3 * 86400)


def random_subject(world: World, chance: random.Random) -> tuple[int | None, int | None]:
    """Of everything, of a park, of a ride; sometimes of what is no attraction."""
    ride = chance.choice([one for one in world.rides if one.category == "ATTRACTION" or chance.random() < 0.7])
    match chance.choice(("all", "all", "all", "park", "park", "ride", "both")):
        case "all":
            return None, None
        case "park":
            return ride.park_id, None
        case "ride":
            return None, ride.ride_id
    return ride.park_id, ride.ride_id


def random_time_of_day(chance: random.Random) -> tuple[int, int]:
    """Minutes since midnight; the second may be smaller, and 24:00."""
    begin = chance.choice((0, 90, 9 * 60, 11 * 60 + 30, 18 * 60, 22 * 60, chance.randrange(WHOLE_DAY)))
    until = chance.choice((WHOLE_DAY, 60, 150, 14 * 60, 20 * 60, chance.randrange(WHOLE_DAY)))
    return (begin, until) if begin != until else (begin, WHOLE_DAY)


# --- worlds ----------------------------------------------------------------------------------------------------------


def random_scene(scene: Scene, chance: random.Random) -> tuple[World, int]:
    """The world, and an instant to ask about it: before its last reading or after."""
    world = World(scene.interval)
    types = ["disney", "other", "universal"]
    for number, zone in enumerate(scene.zones):
        park_id = world.park(types[(scene.seed + number) % 3], zone, is_active=number != 1)
        add_schedule(world, scene, park_id, chance)
        silent = silences(scene, chance)
        for ride_number in range(5):
            ride_id = world.ride(
                park_id,
                tier=chance.choice((None, 1, 2, 3)),
                category="SHOW" if ride_number == 2 else "ATTRACTION",
                is_active=chance.random() > 0.2,
            )
            add_readings(world, scene, ride_id, silent + silences(scene, chance), chance)
    last = max(reading.slot for reading in world.readings)
    return world, last + chance.choice((-13 * 3600, -1800, 0, 7, 3600, 40 * 3600))


def add_schedule(world: World, scene: Scene, park_id: int, chance: random.Random) -> None:
    """None, one opening a day, two, one past midnight, or days without."""
    kind = chance.choice(("none", "daily", "split", "late", "holes"))
    zone = ref.ZoneInfo(world.parks[-1].timezone)
    for offset in range(-2, scene.days + 2) if kind != "none" else ():
        day = scene.first + offset * ref.DAY

        def clocks(hours: float, day: date = day) -> int:
            return ref.instant(day, time(0), zone) + int(hours * 3600) + chance.choice((0, 0, 420))

        if kind == "split":
            world.open(park_id, day, clocks(9), clocks(13))
            world.open(park_id, day, clocks(chance.choice((13, 15))), clocks(21))
        elif kind == "late":
            world.open(park_id, day, clocks(10), clocks(chance.choice((24, 25, 28))))
        elif kind == "daily" or chance.random() > 0.4:
            world.open(park_id, day, clocks(chance.choice((8, 9.5))), clocks(chance.choice((18, 22))))


def silences(scene: Scene, chance: random.Random) -> list[ref.Interval]:
    """When nothing was read, of a park or of a ride."""
    first = ref.instant(scene.first, time(0), ref.PACIFIC)
    starts = [first + chance.randrange(scene.days * 86400) for _ in range(3)]
    return [(start, start + chance.choice((1800, 7200, 9 * 3600))) for start in starts]


def add_readings(world: World, scene: Scene, ride_id: int, silent: list[ref.Interval], chance: random.Random) -> None:
    """With a status or with a flag only; waits of all kinds, gaps, days of rest; some end early, so that rosters lose
    them."""
    zone = ref.ZoneInfo(world.parks[-1].timezone)
    begin = ref.instant(scene.first, time(0), ref.PACIFIC)
    end = begin + 86400 * (scene.days if chance.random() < 0.8 else 1)
    step = 60 * scene.interval
    with_status, letter, turn = chance.random() < 0.6, "C", min(0.25, step / 3600)
    resting = {scene.first + ref.DAY * offset for offset in range(scene.days) if chance.random() < 0.2}
    for slot in range(begin + scene.silent_hours * 3600, end, step):
        shown = datetime.fromtimestamp(slot, zone)
        running = 8 <= shown.hour < 22
        if shown.date() in resting:
            letter = "C"
        elif chance.random() < turn:
            letter = chance.choices("ODCR", (9, 2, 2, 0.3) if running else (0.5, 0.3, 9, 0.3))[0]
        if chance.random() < 0.1 or ref.is_inside(slot, silent):
            continue
        status, is_open, wait = LETTERS[letter if with_status else "o" if letter == "O" else "c"]
        if chance.random() < 0.6 and shown.date() not in resting:
            wait = chance.choice((None, 0, 5, 10, 15, 25, 45, 70, 120))
        if not with_status and chance.random() < 0.1:
            is_open = None  # then the wait alone tells
        if status is not None or is_open is not None or wait is not None:
            world.readings.append(ref.Reading(ride_id, slot, status, is_open, wait))
