"""`catalog sync`: parks and rides as two sources list them, and what becomes of rides that no list has any more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from upstream import Said, Upstream, json_of

from cli.catalog import catalog
from service import database as door
from service.config import Settings
from service.errors import BadRequest, ServiceError, Silent, Unanswered
from service.feeds import ParkRecord, RideRecord
from service.feeds.sources import Sources
from service.jobs.asking import STILL_ASKED, Round
from service.jobs.catalog import store_catalog
from service.jobs.syncing import Choice, Report, sync
from service.models import AggregationJobLog, JobStatus, Park, Ride
from service.queries import state
from service.rules import Category, ParkType

pytestmark = pytest.mark.usefixtures("database")

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ALL = Choice(everything=True)
BAY, COVE, COMET, OTTER, PARADE = (f"0a1b2c3d-0000-4000-8000-{number:012d}" for number in (1, 2, 10, 11, 12))
HERE, FAR = (33.8, -117.9), (48.8, 2.7)


def wiki_ride(ride_id: str, name: str, kind: str = "ATTRACTION") -> dict[str, Any]:
    return {"id": ride_id, "name": name, "entityType": kind}


def queue_ride(ride_id: int, name: str) -> dict[str, Any]:
    return {"id": ride_id, "name": name, "is_open": True, "wait_time": 5}


def wiki_park(name: str, zone: str | None = "America/Los_Angeles", at: tuple[float, float] = HERE) -> dict[str, Any]:
    return {"name": name, "timezone": zone, "location": {"latitude": at[0], "longitude": at[1]}}


def queue_park(
    park_id: int, name: str, country: str = "United States", at: tuple[float, float] = HERE
) -> dict[str, Any]:
    place = {"latitude": str(at[0]), "longitude": str(at[1])}
    return {"id": park_id, "name": name, "country": country, "timezone": "America/Los_Angeles", **place}


class World:
    """Two sources, as they would be asked: what each lists, by path, or what asking them raises."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        self.asked: list[str] = []
        self.silent: set[str] = set()
        self.resorts: list[dict[str, Any]] = []
        self.parks: list[dict[str, Any]] = []
        self.company = "Bay Parks"

    def wiki(self, park_id: str, name: str, *rides: dict[str, Any], resort: str = "", **entity: Any) -> None:
        """A park of ThemeParks.wiki and its rides."""
        self.resorts = [one for one in self.resorts if one["id"] != park_id]
        listed = [{"id": park_id, "name": name}]
        self.resorts.append({"id": park_id, "name": resort or name, "parks": listed})
        self.said[f"/w/entity/{park_id}"] = {"id": park_id, **wiki_park(name, **entity)}
        self.said[f"/w/entity/{park_id}/children"] = {"children": list(rides)}

    def queues(self, park_id: int, name: str, *rides: dict[str, Any], land: str = "Harbor", **park: Any) -> None:
        """A park of Queue-Times and its rides."""
        self.parks = [one for one in self.parks if one["id"] != park_id] + [queue_park(park_id, name, **park)]
        lands = [{"id": 1, "name": land, "rides": list(rides)}]
        self.said[f"/q/parks/{park_id}/queue_times.json"] = {"lands": lands, "rides": []}

    def ask(self, url: str) -> bytes:
        path = url.removeprefix("http://sources.example")
        self.asked.append(path)
        if any(path.startswith(one) for one in self.silent):
            raise Silent(f"sources.example did not answer {path}.")
        lists = {"/w/destinations": {"destinations": self.resorts}}
        lists["/q/parks.json"] = [{"id": 1, "name": self.company, "parks": self.parks}]  # type: ignore[assignment]
        answer = {**lists, **self.said}.get(path)
        if answer is None:
            raise Unanswered(f"sources.example has no {path}.")
        return json.dumps(answer).encode()

    def sources(self, ask: Callable[[str], bytes] | None = None) -> Sources:
        root = "http://sources.example"
        return Sources(
            ask or self.ask, themeparks_wiki_url=f"{root}/w", queue_times_url=f"{root}/q", open_meteo_url=root
        )


@pytest.fixture
def world() -> World:
    """One park in both sources, called a little differently; two of its rides in both, one in each alone."""
    found = World()
    found.wiki(
        BAY, "Lantern Bay Park", wiki_ride(COMET, "The Comet™"), wiki_ride(OTTER, "Otter Creek"),
        wiki_ride(PARADE, "Lantern Parade", "SHOW"), {"id": "x", "name": "Diner", "entityType": "RESTAURANT"},
    )
    found.queues(7, "Lantern Bay", queue_ride(71, "Comet"), queue_ride(72, "Otter Creek"), queue_ride(73, "Windmill"))
    return found


@pytest.fixture
def run(settings: Settings, world: World) -> Callable[..., Report]:
    def run(choice: Choice = ALL, now: datetime = NOW, **more: Any) -> Report:
        return sync(settings, world.sources(), now, choice, **more)

    return run


Run = Callable[..., Report]


def parks() -> dict[str, Park]:
    return {row.name: row for row in Park.select().order_by(Park.park_id)}


def rides() -> dict[str, Ride]:
    return {row.name: row for row in Ride.select().order_by(Ride.ride_id)}


def contents() -> list[Any]:
    """Every park and ride but when it was listed, and the revisions."""
    columns = [field for field in Ride._meta.sorted_fields if field is not Ride.last_listed_at]
    found = [door.fetch(Park.select().order_by(Park.park_id)), door.fetch(Ride.select(*columns).order_by(Ride.ride_id))]
    return [found, state.get_states(state.REVISION_CURRENT, state.REVISION_HISTORY)]


# --- what is stored --------------------------------------------------------------------------------------------------


def test_a_park_of_both_sources_is_one_and_so_are_its_rides(run: Run) -> None:
    report = run()
    [park] = parks().values()
    assert (park.name, park.themeparks_wiki_id, park.queue_times_id) == ("Lantern Bay Park", BAY, 7)
    assert (park.country, park.timezone, park.latitude, park.longitude) == ("US", "America/Los_Angeles", *HERE)
    assert (park.park_type, park.operator) == (ParkType.OTHER, "Bay Parks")
    found = {name: (row.themeparks_wiki_id, row.queue_times_id, row.land_area, row.category)
             for name, row in rides().items()}
    assert found == {
        "The Comet™": (COMET, 71, "Harbor", Category.ATTRACTION),
        "Otter Creek": (OTTER, 72, "Harbor", Category.ATTRACTION),
        "Lantern Parade": (PARADE, None, None, Category.SHOW),
        "Windmill": (None, 73, "Harbor", Category.ATTRACTION),
    }
    assert (report.parks_added, report.rides_added, report.failures, report.is_complete) == (
        ["Lantern Bay Park"], 4, [], True
    )
    assert {row.last_listed_at for row in rides().values()} == {NOW}


def test_a_sources_numbers_are_no_keys_of_ours(run: Run) -> None:
    run()
    assert [row.park_id for row in parks().values()] == [1]
    assert [row.ride_id for row in rides().values()] == [1, 2, 3, 4]


def test_the_same_answers_again_change_nothing(run: Run) -> None:
    run()
    before = contents()
    report = run(Choice(), NOW + DAY)
    assert contents() == before
    assert report.changes == 0
    assert {row.last_listed_at for row in rides().values()} == {NOW + DAY}


def test_the_place_of_a_park_is_asked_for_once(run: Run, world: World) -> None:
    run()
    assert world.asked.count(f"/w/entity/{BAY}") == 1
    world.asked.clear()
    run(Choice(), NOW + DAY)
    assert sorted(world.asked) == [
        "/q/parks.json", "/q/parks/7/queue_times.json", "/w/destinations", f"/w/entity/{BAY}/children",
    ]


def test_a_park_of_the_wiki_alone_gets_country_and_type_from_its_zone_and_name(run: Run, world: World) -> None:
    world.wiki(COVE, "Cove", resort="Disney Cove Resort", zone="Europe/Paris", at=FAR)
    run()
    cove = parks()["Cove"]
    assert (cove.country, cove.park_type, cove.operator) == ("FR", ParkType.DISNEY, "Disney")
    Park.update({Park.park_type: ParkType.OTHER, Park.timezone: "Europe/Rome"}).where(Park.name == "Cove").execute()
    run(Choice(), NOW + DAY)
    cove = parks()["Cove"]  # a guess never overrides
    assert (cove.park_type, cove.timezone) == (ParkType.OTHER, "Europe/Rome")


def test_a_park_without_a_country_is_left_out_and_reported(run: Run, world: World) -> None:
    world.wiki(COVE, "Cove", zone="UTC", at=FAR)
    report = run()
    assert list(parks()) == ["Lantern Bay Park"]
    assert [failure.reason for failure in report.failures] == ["Cove is left out: no source says its country."]


def test_category_tier_and_zone_that_were_set_by_hand_stay(run: Run) -> None:
    run()
    Ride.update({Ride.category: Category.EXPERIENCE, Ride.tier: 1}).execute()
    Park.update({Park.timezone: "America/Denver"}).execute()
    run(Choice(), NOW + DAY)
    assert {(row.category, row.tier) for row in rides().values()} == {(Category.EXPERIENCE, 1)}
    assert [row.timezone for row in parks().values()] == ["America/Denver"]


def test_hostile_names_do_no_harm(run: Run, world: World) -> None:
    names = ["<script>alert(1)</script>", "x" * 300, "🎢🎢", "Slide", "Slide", "'; DROP TABLE rides; --"]
    world.wiki(BAY, "Lantern Bay", *(wiki_ride(f"w{number}", name) for number, name in enumerate(names)))
    world.queues(7, "Lantern Bay", *(queue_ride(number + 1, name) for number, name in enumerate(names)))
    report = run()
    stored = [row.name for row in Ride.select().order_by(Ride.name)]
    assert stored.count("Slide") == 2
    assert "scriptalert(1)/script" in stored
    assert {len(refused.refusal.reason) < 100 for refused in report.refused} == {True}
    before = contents()
    run(Choice(), NOW + DAY)
    assert contents() == before


# --- which parks -----------------------------------------------------------------------------------------------------


@pytest.fixture
def three(world: World) -> World:
    world.wiki(COVE, "Cove", zone="Europe/Paris", at=FAR)
    world.queues(9, "Alpine Village", country="Austria", at=(47.0, 12.0))
    return world


@pytest.mark.parametrize(("choice", "expected"), [
    (Choice(), []),
    (Choice(fills_empty=True), ["Alpine Village", "Cove", "Lantern Bay Park"]),
    (Choice(fills_empty=True, countries=frozenset({"US"})), ["Lantern Bay Park"]),
    (Choice(countries=frozenset({"FR", "AT"})), ["Alpine Village", "Cove"]),
    (Choice(named=("ALPINE",)), ["Alpine Village"]),
    (Choice(named=("9", BAY)), ["Alpine Village", "Lantern Bay Park"]),
    (ALL, ["Alpine Village", "Cove", "Lantern Bay Park"]),
])
def test_parks_are_added_when_asked_for(run: Run, three: World, choice: Choice, expected: list[str]) -> None:
    report = run(choice)
    assert sorted(parks()) == sorted(report.parks_added) == expected
    assert report.not_in_catalog == 3 - len(expected)


def test_a_catalog_with_parks_is_not_filled(run: Run, three: World) -> None:
    run(Choice(named=("cove",)))
    report = run(Choice(fills_empty=True), NOW + DAY)
    assert (list(parks()), report.not_in_catalog) == (["Cove"], 2)


def test_a_park_made_inactive_is_neither_asked_for_nor_added(run: Run, world: World) -> None:
    run()
    Park.update({Park.is_active: False}).execute()
    world.asked.clear()
    report = run(ALL, NOW + DAY)
    assert sorted(world.asked) == ["/q/parks.json", "/w/destinations"]
    assert (report.parks_asked, len(parks()), report.not_in_catalog) == (0, 1, 0)


def test_a_name_of_no_park_is_refused(run: Run) -> None:
    with pytest.raises(BadRequest, match="'Atlantis'"):
        run(Choice(named=("Atlantis",)))
    assert parks() == {}
    assert [log.status for log in AggregationJobLog.select()] == [JobStatus.SUCCESS]  # no failure of the job's


def test_namesakes_far_apart_are_two_parks(run: Run, world: World) -> None:
    world.queues(7, "Lantern Bay", at=FAR)
    report = run()
    assert [(row.themeparks_wiki_id, row.queue_times_id) for row in Park.select().order_by(Park.park_id)] == [
        (BAY, None), (None, 7),
    ]
    [conflict] = report.conflicts
    assert "km away" in conflict.reason


# --- rows that are there already -------------------------------------------------------------------------------------


def imported(*more: RideRecord, **park: Any) -> None:
    usual = {"park_type": ParkType.OTHER, "country": "US", "timezone": "America/Los_Angeles", "queue_times_id": 7}
    record = ParkRecord(100, "Lantern Bay", **{**usual, **park})
    store_catalog([record], list(more), NOW - 100 * DAY)


def test_ids_of_the_wiki_are_attached_to_what_queue_times_brought(run: Run) -> None:
    imported(RideRecord(700, 100, "Comet", queue_times_id=71), RideRecord(701, 100, "Otter Creek", tier=2))
    report = run(Choice())
    assert {row.ride_id: (row.name, row.themeparks_wiki_id, row.queue_times_id, row.tier) for row in rides().values()
            if row.ride_id < 702} == {700: ("The Comet™", COMET, 71, None), 701: ("Otter Creek", OTTER, 72, 2)}
    assert [(park.park_id, park.themeparks_wiki_id) for park in parks().values()] == [(100, BAY)]
    assert [(one.ride_id, one.before, one.name) for one in report.renamed] == [
        (None, "Lantern Bay", "Lantern Bay Park"), (700, "Comet", "The Comet™"),
    ]
    assert report.rides_added == 2


def test_they_are_attached_while_queue_times_is_silent_too(run: Run, world: World) -> None:
    imported(RideRecord(700, 100, "Comet", queue_times_id=71))
    world.silent = {"/q"}
    run(Choice())
    assert [(row.ride_id, row.queue_times_id) for row in rides().values() if row.themeparks_wiki_id == COMET] == [
        (700, 71)
    ]


def test_a_park_without_any_id_gets_them(run: Run) -> None:
    imported(RideRecord(700, 100, "Comet"), queue_times_id=None)
    run()
    assert [(row.park_id, row.themeparks_wiki_id, row.queue_times_id) for row in parks().values()] == [(100, BAY, 7)]
    assert rides()["The Comet™"].ride_id == 700


def test_two_rows_that_are_one_now_are_a_conflict(run: Run) -> None:
    imported(
        RideRecord(700, 100, "Comet", queue_times_id=71), RideRecord(701, 100, "The Comet™", themeparks_wiki_id=COMET),
        themeparks_wiki_id=BAY,
    )
    report = run(Choice())
    assert [conflict.reason for conflict in report.conflicts] == [
        "The Comet™ (ThemeParks.wiki) and Comet (Queue-Times) are one, but 701 and 700 of our rides."
    ]
    found = {row.ride_id: (row.name, row.themeparks_wiki_id, row.queue_times_id) for row in rides().values()}
    assert (found[700], found[701]) == (("Comet", None, 71), ("The Comet™", COMET, None))


def test_a_ride_of_another_park_is_not_taken_from_it(run: Run, world: World) -> None:
    store_catalog(
        [ParkRecord(5, "Cove", ParkType.OTHER, "FR", "Europe/Paris", is_active=True)],
        [RideRecord(50, 5, "Comet", themeparks_wiki_id=COMET)], NOW - DAY,
    )
    report = run()
    found = [(row.ride_id, row.park_id, row.queue_times_id) for row in Ride.select().where(Ride.name == "Comet")]
    assert sorted(found)[0] == (50, 5, None)
    assert Ride.get(Ride.themeparks_wiki_id == COMET).ride_id == 50
    assert [conflict.reason for conflict in report.conflicts] == [
        "The Comet™ (ThemeParks.wiki) is ride 50 of park 5 already."
    ]


# --- doubts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def doubtful(world: World) -> World:
    world.wiki(BAY, "Lantern Bay", wiki_ride(COMET, "Pirate Lagoon"))
    world.queues(7, "Lantern Bay", queue_ride(71, "Pirate Lagune"))
    return world


def test_a_doubtful_name_waits_and_is_reported(run: Run, doubtful: World) -> None:
    report = run()
    [doubt] = report.doubtful
    assert doubt[:5] == ("Lantern Bay", "Pirate Lagoon", COMET, "Pirate Lagune", 71)
    assert (round(doubt.similarity, 2), doubt.accepted) == (0.85, False)
    assert [(row.name, row.queue_times_id) for row in rides().values()] == [("Pirate Lagoon", None)]
    before = contents()
    run(Choice(), NOW + DAY)
    assert contents() == before


def test_a_doubt_can_be_accepted_later(run: Run, doubtful: World) -> None:
    run()
    report = run(Choice(accepts_doubtful=True), NOW + DAY)
    assert [doubt.accepted for doubt in report.doubtful] == [True]
    assert [(row.name, row.themeparks_wiki_id, row.queue_times_id) for row in rides().values()] == [
        ("Pirate Lagoon", COMET, 71)
    ]
    assert run(Choice(), NOW + 2 * DAY).doubtful == []  # known by both ids it stays


def test_a_doubtful_park_waits_unless_its_id_is_given(run: Run, world: World) -> None:
    world.queues(7, "Lantarn Boy")  # 2 x 9 letters of 11 + 11: 0.82
    report = run()
    assert [(doubt.wiki_name, doubt.queue_times_name) for doubt in report.doubtful] == [
        ("Lantern Bay Park", "Lantarn Boy")
    ]
    assert (list(parks()), report.not_in_catalog) == (["Lantern Bay Park"], 1)
    run(Choice(named=("7",)), NOW + DAY)
    assert list(parks()) == ["Lantern Bay Park", "Lantarn Boy"]


# --- sources that fail -----------------------------------------------------------------------------------------------


def test_what_one_source_does_not_answer_the_other_still_says(run: Run, world: World) -> None:
    run()
    world.silent = {f"/w/entity/{BAY}/children"}
    world.queues(7, "Lantern Bay", queue_ride(71, "Comet II"), queue_ride(79, "Swan Boats"))
    report = run(Choice(), NOW + 30 * DAY)
    assert [(failure.source, failure.park) for failure in report.failures] == [("ThemeParks.wiki", "Lantern Bay Park")]
    assert rides()["The Comet™"].last_listed_at == NOW + 30 * DAY  # the wiki's name stays while it is silent
    assert rides()["Swan Boats"].queue_times_id == 79
    assert all(row.is_active for row in rides().values())


@pytest.mark.parametrize(("silent", "ids"), [("/w/destinations", (None, 7)), ("/q/parks.json", (BAY, None))])
def test_without_a_list_the_other_source_is_used_alone(
    run: Run, world: World, silent: str, ids: tuple[str | None, int | None]
) -> None:
    world.silent = {silent}
    report = run()
    assert [(row.themeparks_wiki_id, row.queue_times_id) for row in parks().values()] == [ids]
    assert [failure.park for failure in report.failures] == [None]
    [log] = AggregationJobLog.select()
    source = "ThemeParks.wiki" if silent.startswith("/w") else "Queue-Times"
    assert (log.status, log.error_details) == (JobStatus.FAILED, f"{source}: sources.example did not answer {silent}.")
    world.silent = set()
    run(Choice(), NOW + DAY)
    assert [(row.themeparks_wiki_id, row.queue_times_id) for row in parks().values()] == [(BAY, 7)]
    assert {(row.themeparks_wiki_id, row.queue_times_id) for row in rides().values()} == {
        (COMET, 71), (OTTER, 72), (PARADE, None), (None, 73)
    }


def test_without_any_list_nothing_is_written(run: Run, world: World) -> None:
    world.silent = {"/"}
    with pytest.raises(ServiceError) as raised:
        run()
    assert str(raised.value) == (
        "ThemeParks.wiki: sources.example did not answer /w/destinations."
        " Queue-Times: sources.example did not answer /q/parks.json."
    )
    assert raised.value.exit_code == 1
    assert (parks(), rides()) == ({}, {})


def test_a_dead_host_is_given_up_on(settings: Settings, world: World) -> None:
    for number in range(20, 40):
        world.queues(number, f"Park Number {number}", at=(number, number))
    world.silent = {"/q/parks/"}
    report = sync(settings, world.sources(Round(world.ask).ask), NOW, ALL)
    silent = [path for path in world.asked if path.startswith("/q/parks/")]
    assert len(report.failures) >= 21
    assert len(silent) == STILL_ASKED  # it has answered with its list before


def test_an_answer_that_lists_too_much_is_none(run: Run, world: World) -> None:
    world.wiki(BAY, "Lantern Bay", *(wiki_ride(f"w{number}", f"Ride {number}") for number in range(501)))
    report = run()
    assert [failure.reason for failure in report.failures] == [
        "ThemeParks.wiki lists 501 rides of Lantern Bay: no park has more than 500."
    ]
    assert len(rides()) == 3


# --- stopping --------------------------------------------------------------------------------------------------------


def test_it_stops_between_parks_and_goes_on_where_it_was(run: Run, three: World) -> None:
    run()
    three.asked.clear()
    turns = iter([True, False])
    first = run(Choice(), NOW + DAY, proceed=lambda: next(turns))
    assert (first.is_complete, len(first.done)) == (False, 1)
    rest = run(Choice(), NOW + DAY, done=first.done)
    assert (rest.is_complete, len(rest.done)) == (True, 2)
    assert len([path for path in three.asked if path.endswith("queue_times.json")]) == 2


def test_a_park_is_stored_before_the_next_is_asked(run: Run, three: World) -> None:
    def killed(label: str, done: int, total: int) -> None:
        if (label, done) == ("Parks", 1):
            raise KeyboardInterrupt

    fill = Choice(fills_empty=True)
    with pytest.raises(KeyboardInterrupt):
        run(fill, progress=killed)
    assert len(parks()) == 1
    run(fill)  # goes on filling what was empty
    assert len(parks()) == 3
    three.wiki("c0ffee", "Dune", zone="Europe/Rome", at=(41.9, 12.5))
    run(fill, NOW + DAY)  # and does no more when it has
    assert "Dune" not in parks()


# --- rides that leave the lists --------------------------------------------------------------------------------------


def without_otter(world: World) -> None:
    world.wiki(BAY, "Lantern Bay Park", wiki_ride(COMET, "The Comet™"), wiki_ride(PARADE, "Lantern Parade", "SHOW"))
    world.queues(7, "Lantern Bay", queue_ride(71, "Comet"), queue_ride(73, "Windmill"))


def with_otter(world: World) -> None:
    world.wiki(BAY, "Lantern Bay Park", wiki_ride(COMET, "The Comet™"), wiki_ride(OTTER, "Otter Creek"),
               wiki_ride(PARADE, "Lantern Parade", "SHOW"))
    world.queues(7, "Lantern Bay", queue_ride(71, "Comet"), queue_ride(72, "Otter Creek"), queue_ride(73, "Windmill"))


def test_a_ride_that_no_list_has_for_long_becomes_inactive_and_returns(run: Run, world: World) -> None:
    run()
    without_otter(world)
    for day in range(1, 15):
        assert run(Choice(), NOW + day * DAY).vanished == []
    revisions = state.get_states(state.REVISION_CURRENT, state.REVISION_HISTORY)
    [gone] = run(Choice(), NOW + 15 * DAY).vanished
    assert (gone.park, gone.name, rides()["Otter Creek"].is_active) == ("Lantern Bay Park", "Otter Creek", False)
    moved = state.get_states(state.REVISION_CURRENT, state.REVISION_HISTORY)
    assert all(moved[name] > revisions[name] for name in moved)
    assert run(Choice(), NOW + 16 * DAY).vanished == []
    with_otter(world)
    [back] = run(Choice(), NOW + 17 * DAY).returned
    assert (back.name, rides()["Otter Creek"].is_active) == ("Otter Creek", True)


def test_a_ride_that_was_never_listed_is_missed_since_it_came_and_returns(run: Run, world: World) -> None:
    imported(RideRecord(700, 100, "Otter Creek", queue_times_id=72, themeparks_wiki_id=OTTER), themeparks_wiki_id=BAY)
    without_otter(world)
    assert [one.ride_id for one in run(Choice()).vanished] == [700]
    with_otter(world)
    assert [one.ride_id for one in run(Choice(), NOW + DAY).returned] == [700]


def test_a_ride_made_inactive_by_hand_stays_so_while_it_is_listed(run: Run, world: World) -> None:
    run()
    Ride.update({Ride.is_active: False}).where(Ride.name == "Otter Creek").execute()
    for now in (NOW + DAY, NOW + 100 * DAY):  # that nobody asked for long is no absence
        assert run(Choice(), now).returned == []
    assert not rides()["Otter Creek"].is_active


@pytest.mark.parametrize("silent", [f"/w/entity/{BAY}/children", "/q/parks/7/", "/w/destinations", "/q/parks.json"])
def test_nothing_vanishes_while_a_source_is_silent(run: Run, world: World, silent: str) -> None:
    run()
    without_otter(world)
    world.silent = {silent}
    assert run(Choice(), NOW + 30 * DAY).vanished == []
    world.silent = set()
    assert len(run(Choice(), NOW + 31 * DAY).vanished) == 1


def test_an_empty_list_makes_nothing_vanish(run: Run, world: World) -> None:
    run()
    world.wiki(BAY, "Lantern Bay Park")
    world.queues(7, "Lantern Bay")
    assert run(Choice(), NOW + 30 * DAY).vanished == []


def test_a_ride_whose_row_is_refused_is_listed_all_the_same(run: Run, world: World) -> None:
    run()
    without_otter(world)
    world.queues(7, "Lantern Bay", queue_ride(71, "Comet"), queue_ride(72, "x" * 300))
    report = run(Choice(), NOW + 30 * DAY)
    assert [one.name for one in report.vanished] == ["Windmill"]
    assert rides()["Otter Creek"].last_listed_at == NOW + 30 * DAY


def test_days_until_a_ride_has_vanished_are_a_setting(settings: Settings, run: Run, world: World) -> None:
    run()
    without_otter(world)
    assert len(sync(replace(settings, ride_vanished_days=2), world.sources(), NOW + 3 * DAY).vanished) == 1


# --- rides whose id at a source changes ------------------------------------------------------------------------------

NEW_OTTER = "0a1b2c3d-0000-4000-8000-000000000099"


def ids(report: Report) -> list[tuple[str, str | int, str | int]]:
    return [(one.source, one.before, one.now) for one in report.reidentified]


def otter_is(world: World, wiki_id: str = OTTER, queue_times_id: int = 72, name: str = "Otter Creek") -> None:
    world.wiki(BAY, "Lantern Bay Park", wiki_ride(COMET, "The Comet™"), wiki_ride(wiki_id, name),
               wiki_ride(PARADE, "Lantern Parade", "SHOW"))
    rides_listed = queue_ride(71, "Comet"), queue_ride(queue_times_id, name), queue_ride(73, "Windmill")
    world.queues(7, "Lantern Bay", *rides_listed)


@pytest.mark.parametrize(("changed", "expected"), [
    ({"wiki_id": NEW_OTTER}, [("ThemeParks.wiki", OTTER, NEW_OTTER)]),
    ({"queue_times_id": 99}, [("Queue-Times", 72, 99)]),
    ({"wiki_id": NEW_OTTER, "queue_times_id": 99}, [("ThemeParks.wiki", OTTER, NEW_OTTER), ("Queue-Times", 72, 99)]),
    ({"wiki_id": NEW_OTTER, "name": "THE OTTER CREEK!"}, [("ThemeParks.wiki", OTTER, NEW_OTTER)]),
])
def test_a_ride_whose_id_changes_stays_the_same(
    run: Run, world: World, changed: dict[str, Any], expected: list[tuple[str, str | int, str | int]]
) -> None:
    run()
    otter = rides()["Otter Creek"]
    otter_is(world, **changed)
    dry = run(Choice(dry_run=True), NOW + DAY)
    assert (rides()["Otter Creek"].themeparks_wiki_id, rides()["Otter Creek"].queue_times_id) == (OTTER, 72)
    report = run(Choice(), NOW + DAY)
    assert ids(report) == ids(dry) == expected
    assert [(one.park, one.ride_id, one.name) for one in report.reidentified] == (
        [("Lantern Bay Park", otter.ride_id, "Otter Creek")] * len(expected)
    )
    assert (report.rides_added, report.rides_changed, report.conflicts, report.doubtful) == (0, 1, [], [])
    assert (dry.rides_added, dry.rides_changed) == (0, 1)
    row = Ride.get(Ride.ride_id == otter.ride_id)
    assert (row.themeparks_wiki_id, row.queue_times_id) == (
        changed.get("wiki_id", OTTER), changed.get("queue_times_id", 72)
    )
    assert (row.is_active, row.last_listed_at, Ride.select().count()) == (True, NOW + DAY, 4)
    before = contents()
    assert (ids(run(Choice(), NOW + 2 * DAY)), contents()) == ([], before)


def test_an_id_changes_also_while_the_other_source_is_silent(run: Run, world: World) -> None:
    run()
    otter_is(world, NEW_OTTER)
    world.silent = {"/q"}
    assert ids(run(Choice(), NOW + DAY)) == [("ThemeParks.wiki", OTTER, NEW_OTTER)]
    assert len(rides()) == 4


def test_a_source_that_is_silent_changes_no_id(run: Run, world: World) -> None:
    run()
    otter_is(world, NEW_OTTER, 99)
    world.silent = {f"/w/entity/{BAY}/children", "/q/parks/7/"}
    assert ids(run(Choice(), NOW + DAY)) == []
    assert rides()["Otter Creek"].themeparks_wiki_id == OTTER


def test_a_ride_that_vanished_is_the_one_of_its_name_that_comes_later(run: Run, world: World) -> None:
    run()
    otter = rides()["Otter Creek"]
    without_otter(world)
    assert [one.name for one in run(Choice(), NOW + 15 * DAY).vanished] == ["Otter Creek"]
    otter_is(world, NEW_OTTER, 99)
    report = run(Choice(), NOW + 200 * DAY)
    assert ids(report) == [("ThemeParks.wiki", OTTER, NEW_OTTER), ("Queue-Times", 72, 99)]
    assert [one.ride_id for one in report.returned] == [otter.ride_id]
    row = rides()["Otter Creek"]
    assert (row.ride_id, row.themeparks_wiki_id, row.queue_times_id, row.is_active, len(rides())) == (
        otter.ride_id, NEW_OTTER, 99, True, 4
    )


def test_a_ride_made_inactive_by_hand_stays_so_under_its_new_id(run: Run, world: World) -> None:
    run()
    Ride.update({Ride.is_active: False}).where(Ride.name == "Otter Creek").execute()
    otter_is(world, NEW_OTTER)
    report = run(Choice(), NOW + DAY)
    assert (len(report.reidentified), report.returned, rides()["Otter Creek"].is_active) == (1, [], False)


@pytest.mark.parametrize(("first", "then"), [
    (["s1", "s2"], ["s3"]),  # two rows, either of which it may be
    (["s1", "s2"], ["s1", "s3"]),
    (["s1"], ["s2", "s3"]),  # two that it may be
])
def test_names_that_two_have_tell_nothing_about_an_id(
    run: Run, world: World, first: list[str], then: list[str]
) -> None:
    world.parks = []
    world.wiki(BAY, "Lantern Bay", *(wiki_ride(ride_id, "Slide") for ride_id in first))
    run()
    world.wiki(BAY, "Lantern Bay", *(wiki_ride(ride_id, "Slide") for ride_id in then))
    report = run(Choice(), NOW + DAY)
    new = sorted(set(then) - set(first))
    assert (ids(report), report.rides_added) == ([], len(new))
    stored = [row.themeparks_wiki_id for row in Ride.select().order_by(Ride.ride_id)]
    assert (stored[:len(first)], sorted(filter(None, stored[len(first):]))) == (first, new)


@pytest.mark.parametrize("name", ["Otter Creek 2", "Otter Creeks"])
def test_a_name_that_is_merely_similar_tells_nothing_about_an_id(run: Run, world: World, name: str) -> None:
    run()
    otter = rides()["Otter Creek"].ride_id
    otter_is(world, NEW_OTTER, 72, name)
    report = run(Choice(), NOW + DAY)
    assert (ids(report), report.rides_added) == ([], 1)
    assert Ride.get(Ride.ride_id == otter).themeparks_wiki_id == OTTER


def test_a_ride_that_takes_the_name_of_one_that_left_keeps_its_own_id(run: Run, world: World) -> None:
    world.parks = []
    world.wiki(BAY, "Lantern Bay", wiki_ride("s1", "Slide"), wiki_ride("s2", "Windmill"))
    run()
    world.wiki(BAY, "Lantern Bay", wiki_ride("s2", "Slide"))
    report = run(Choice(), NOW + DAY)
    assert (ids(report), report.rides_added, report.rides_changed) == ([], 0, 1)
    found = [(row.themeparks_wiki_id, row.name) for row in Ride.select().order_by(Ride.ride_id)]
    assert found == [("s1", "Slide"), ("s2", "Slide")]


def test_names_without_a_word_tell_nothing_about_an_id(run: Run, world: World) -> None:
    world.parks = []
    world.wiki(BAY, "Lantern Bay", wiki_ride("s1", "🎢"))
    run()
    world.wiki(BAY, "Lantern Bay", wiki_ride("s2", "🎢"))
    report = run(Choice(), NOW + DAY)
    assert (ids(report), report.rides_added) == ([], 1)


def test_an_id_whose_entry_is_refused_is_listed_and_does_not_change(run: Run, world: World) -> None:
    run()
    world.wiki(BAY, "Lantern Bay Park", wiki_ride(COMET, "The Comet™"), wiki_ride(OTTER, "x" * 300),
               wiki_ride(NEW_OTTER, "Otter Creek"), wiki_ride(PARADE, "Lantern Parade", "SHOW"))
    report = run(Choice(), NOW + DAY)
    assert (ids(report), report.rides_added) == ([], 1)


def test_an_id_that_a_ride_of_another_park_has_is_no_new_one(run: Run, world: World) -> None:
    store_catalog(
        [ParkRecord(5, "Cove", ParkType.OTHER, "FR", "Europe/Paris", is_active=True)],
        [RideRecord(50, 5, "Otter Creek", themeparks_wiki_id=NEW_OTTER)], NOW - DAY,
    )
    run()
    otter_is(world, NEW_OTTER)
    report = run(Choice(), NOW + DAY)
    assert (ids(report), len(report.conflicts), report.rides_added) == ([], 1, 0)
    assert Ride.get(Ride.themeparks_wiki_id == NEW_OTTER).ride_id == 50


# --- without writing, and the command --------------------------------------------------------------------------------


def test_a_dry_run_reports_the_same_and_writes_nothing(run: Run, world: World) -> None:
    dry = run(ALL._replace(dry_run=True))
    assert (parks(), rides(), AggregationJobLog.select().count()) == ({}, {}, 0)
    wet = run()
    assert (dry.parks_added, dry.rides_added) == (wet.parks_added, wet.rides_added) == (["Lantern Bay Park"], 4)
    without_otter(world)
    world.wiki(BAY, "Lantern Bay Garden", wiki_ride(COMET, "Comet III"))
    before = contents()
    dry = run(Choice(dry_run=True), NOW + 30 * DAY)
    assert contents() == before
    assert {row.last_listed_at for row in rides().values()} == {NOW}
    wet = run(Choice(), NOW + 30 * DAY)
    assert (dry.renamed, dry.vanished, dry.parks_changed, dry.rides_changed) == (
        wet.renamed, wet.vanished, wet.parks_changed, wet.rides_changed
    )
    assert (len(wet.renamed), [one.name for one in wet.vanished]) == (2, ["Otter Creek", "Lantern Parade"])


@pytest.fixture
def upstream(world: World) -> Iterator[Upstream]:
    with Upstream() as found:
        found.script("/w/destinations", json_of({"destinations": world.resorts}))
        found.script("/q/parks.json", json_of([{"id": 1, "name": world.company, "parks": world.parks}]))
        for path, said in world.said.items():
            found.script(path, json_of(said))
        yield found


def command(settings: Settings, upstream: Upstream, *arguments: str) -> Any:
    here = replace(
        settings, themeparks_wiki_url=f"{upstream.url}/w", queue_times_url=f"{upstream.url}/q",
        feed_requests_per_second=1000.0,
    )
    return CliRunner().invoke(catalog, ["sync", *arguments], obj=here)


def test_the_command_says_what_it_did(settings: Settings, upstream: Upstream) -> None:
    dry = command(settings, upstream, "--dry-run")
    assert dry.exception is None
    assert (dry.exit_code, dry.stdout.splitlines()) == (0, [
        "Parks: 1 asked for, 1 new, 0 changed.", "Rides: 4 new, 0 changed.", "Nothing was written.",
    ])
    result = command(settings, upstream, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["parks_added"], told["rides_added"]) == (0, ["Lantern Bay Park"], 4)
    assert len(parks()) == 1


def test_the_command_says_which_ids_changed(settings: Settings, upstream: Upstream) -> None:
    command(settings, upstream)
    number = rides()["Windmill"].ride_id
    found = {"lands": [], "rides": [queue_ride(71, "Comet"), queue_ride(72, "Otter Creek"), queue_ride(99, "Windmill")]}
    upstream.script("/q/parks/7/queue_times.json", json_of(found))
    dry = command(settings, upstream, "--dry-run")
    assert dry.stdout.splitlines() == [
        "Parks: 1 asked for, 0 new, 0 changed.", "Rides: 0 new, 1 changed.", "Another id at the source: 1.",
        f"  Lantern Bay Park: Windmill (ride {number}) is 99 of Queue-Times now, not 73", "Nothing was written.",
    ]
    assert json.loads(command(settings, upstream, "--json").stdout)["reidentified"] == [{
        "park": "Lantern Bay Park", "ride_id": number, "name": "Windmill", "source": "Queue-Times", "before": 73,
        "now": 99,
    }]


def test_a_failing_source_makes_the_command_exit_1(settings: Settings, upstream: Upstream) -> None:
    upstream.script("/q/parks.json", Said(b"[", 200))
    result = command(settings, upstream)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[:3] == [
        "Parks: 1 asked for, 1 new, 0 changed.", "Rides: 3 new, 0 changed.", "FAILED: 1.",
    ]


@pytest.mark.parametrize("arguments", [("--country", "USA"), ("--park", " "), ("--park", "Atlantis")])
def test_bad_arguments_are_refused(settings: Settings, upstream: Upstream, arguments: tuple[str, ...]) -> None:
    result = command(settings, upstream, *arguments)
    assert isinstance(result.exception, BadRequest)
    assert parks() == {}
