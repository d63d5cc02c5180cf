"""Weather at the parks: what an answer becomes, when a park is asked, and what a failure leaves."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result
from upstream import Said, Upstream, busy

import cli.weather
from service import clock
from service.config import Settings
from service.database import fetch
from service.errors import ServiceError, Silent, Unanswered
from service.feeds.open_meteo import MEASURES
from service.jobs import weather
from service.jobs.asking import GIVEN_UP_AFTER
from service.jobs.weather import WeatherCollector
from service.models import AggregationJobLog, JobStatus, Park, WeatherForecast, WeatherObservation
from service.periods import epoch, instant, iso_utc
from service.rules import ParkType

MIDNIGHT = 1772582400  # 2026-03-04T00:00Z
HOUR = 3600
WEEK = 168  # hours
NOW = datetime(2026, 3, 4, 20, 17, tzinfo=UTC)  # the 21st hour: 21 have begun, 147 are to come
IN_AN_HOUR = NOW + timedelta(hours=1)
GONE = "api.open-meteo.com did not answer in time."


def add_park(park_id: int, *, located: bool = True, is_active: bool = True, is_told_of: bool = True) -> None:
    """Park 3 lies at 3.0 degrees north."""
    Park.insert({
        Park.park_id: park_id, Park.name: f"Park {park_id}", Park.country: "US", Park.timezone: "UTC",
        Park.park_type: ParkType.OTHER, Park.is_active: is_active, Park.created_at: 0, Park.updated_at: 0,
        Park.latitude: park_id if located else None, Park.longitude: -81.5,
        Park.queue_times_id: park_id if is_told_of else None,
    }).execute()  # fmt: skip


def add_parks(count: int) -> None:
    for park_id in range(1, count + 1):
        add_park(park_id)


def forecast(*, first: int = MIDNIGHT, hours: int = WEEK, units: object = None, **series: object) -> bytes:
    """An answer; what is given of a measure is said of every hour, a list of each."""
    said = {"temperature_2m": 50, **series}
    times = [iso_utc(first + number * HOUR)[:16] for number in range(hours)]
    hourly = {name: value if isinstance(value, list) else [value] * hours for name, value in said.items()}
    answer = {"utc_offset_seconds": 0, "timezone": "GMT", "hourly_units": units, "hourly": {"time": times, **hourly}}
    return json.dumps(answer).encode()


class Meteo:
    """Answers for a park by its latitude, and notes which parks were asked for."""

    def __init__(self) -> None:
        self.usual: bytes | BaseException = forecast()
        self.answers: dict[int, bytes | BaseException] = {}
        self.asked: list[int] = []

    def __call__(self, url: str) -> bytes:
        park_id = int(float(parse_qs(urlsplit(url).query)["latitude"][0]))
        self.asked.append(park_id)
        answer = self.answers.get(park_id, self.usual)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def newly_asked(self) -> list[int]:
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def meteo() -> Meteo:
    return Meteo()


@pytest.fixture
def collector(settings: Settings, database: Any, meteo: Meteo) -> WeatherCollector:
    return WeatherCollector(settings, meteo)


def written(report: weather.Report) -> tuple[int, int]:
    return report.observations, report.forecasts


def observed(park_id: int, name: str) -> dict[int, Any]:
    """A measure by the hour of the day."""
    table = WeatherObservation
    query = table.select(table.observation_time, getattr(table, name)).where(table.park == park_id)
    rows = fetch(query.order_by(table.observation_time))
    return {(at - MIDNIGHT) // HOUR: None if value is None else float(value) for at, value in rows}


def collected() -> list[int]:
    """When each observation last changed, in seconds after NOW."""
    table = WeatherObservation
    rows = fetch(table.select(table.collected_at).order_by(table.park, table.observation_time))
    return [at - int(NOW.timestamp()) for (at,) in rows]


def issues(park_id: int = 1) -> dict[int, list[int]]:
    """The hours forecast, by the hour of issue; both counted from midnight."""
    table = WeatherForecast
    found: dict[int, list[int]] = {}
    query = table.select(table.issued_at, table.forecast_time).where(table.park == park_id)
    for issued_at, at in fetch(query.order_by(table.issued_at, table.forecast_time)):
        found.setdefault((issued_at - MIDNIGHT) // HOUR, []).append((at - MIDNIGHT) // HOUR)
    return found


def runs() -> list[tuple[JobStatus, int, int]]:
    """Status, rows and warnings of the runs in the job log."""
    log = AggregationJobLog
    query = log.select(log.status, log.rows_processed, log.warnings).where(log.job_type == "weather")
    return [(JobStatus(status), *counts) for status, *counts in fetch(query.order_by(log.job_id))]


def last_error() -> str:
    log = AggregationJobLog
    return str(fetch(log.select(log.error_details).order_by(log.job_id.desc()).limit(1))[0][0])


# --- what an answer becomes ------------------------------------------------------------------------------------------


def test_simulated_parks_have_no_weather(collector: WeatherCollector) -> None:
    add_park(1, is_told_of=False)
    assert not collector.is_due(NOW)
    assert collector.run(NOW, force=True).asked == 0


def test_hours_that_have_begun_are_observations_and_those_to_come_forecasts(collector: WeatherCollector) -> None:
    add_park(1)
    report = collector.run(NOW)
    assert (report.asked, *written(report), report.failed, report.refused) == (1, 21, 147, [], [])
    assert observed(1, "temperature_c") == dict.fromkeys(range(21), 10.0)
    assert issues() == {18: list(range(21, 168))}
    assert collected() == [0] * 21
    assert runs() == [(JobStatus.SUCCESS, 168, 0)]


def test_an_hour_that_begins_now_has_begun(collector: WeatherCollector) -> None:
    add_park(1)
    assert written(collector.run(instant(MIDNIGHT))) == (1, 167)
    assert issues() == {0: list(range(1, 168))}


def test_every_measure_is_stored_in_its_column(collector: WeatherCollector, meteo: Meteo) -> None:
    add_park(1)
    meteo.usual = forecast(
        hours=22, temperature_2m=71.3, apparent_temperature=14, precipitation=0.5, precipitation_probability=80,
        rain=0.1, snowfall=0.4, weather_code=71, cloud_cover=99, wind_speed_10m=10, wind_gusts_10m=25,
        wind_direction_10m=270, relative_humidity_2m=93, surface_pressure=1013.2, visibility=10000,
    )  # fmt: skip
    collector.run(NOW)
    for table in (WeatherObservation, WeatherForecast):
        rows = {tuple(map(float, row)) for row in fetch(table.select(*(getattr(table, name) for name in MEASURES)))}
        assert rows == {(21.83, -10, 16.09, 40.23, 270, 12.7, 2.54, 10.16, 80, 99, 93, 3048, 1013.2, 71)}


def test_units_of_the_answer_do_not_show(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(2)
    meteo.answers = {
        1: forecast(temperature_2m=68, wind_speed_10m=10, rain=0.2),
        2: forecast(
            temperature_2m=20, wind_speed_10m=16.09344, rain=5.08,
            units={"temperature_2m": "°C", "wind_speed_10m": "km/h", "rain": "mm"},
        ),
    }  # fmt: skip
    assert written(collector.run(NOW)) == (42, 294)
    for name, value in (("temperature_c", 20.0), ("wind_speed_kmh", 16.09), ("rain_mm", 5.08)):
        assert observed(1, name) == observed(2, name) == dict.fromkeys(range(21), value)


def test_what_is_unknown_is_null_and_an_hour_of_nothing_is_no_observation(
    collector: WeatherCollector, meteo: Meteo
) -> None:
    add_park(1)
    nothing_at_3 = [None if hour == 3 else 50 for hour in range(WEEK)]
    meteo.usual = forecast(temperature_2m=nothing_at_3, rain=[None] * 20 + [0.1] * 148)
    assert written(collector.run(NOW)) == (20, 147)
    assert 3 not in observed(1, "temperature_c")
    assert observed(1, "rain_mm") == {hour: None for hour in range(20) if hour != 3} | {20: 2.54}


def test_forecasts_are_of_the_issue_of_their_six_hours(collector: WeatherCollector) -> None:
    add_park(1)
    for hour in (5, 6, 11, 12, 17, 18, 23):
        collector.run(instant(MIDNIGHT + hour * HOUR + 1))
    assert {issue: (hours[0], len(hours)) for issue, hours in issues().items()} == {
        0: (6, 162), 6: (7, 161), 12: (13, 155), 18: (19, 149),
    }  # fmt: skip


# --- the same again, and something else ------------------------------------------------------------------------------


def test_the_same_answer_again_writes_nothing(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(2)
    collector.run(NOW)
    again = collector.run(NOW + timedelta(minutes=9), force=True)
    assert (again.asked, *written(again)) == (2, 0, 0)
    assert meteo.asked == [1, 2, 1, 2]
    assert collected() == [0] * 42
    assert runs() == [(JobStatus.SUCCESS, 336, 0), (JobStatus.SUCCESS, 0, 0)]


def test_the_next_hour_adds_one_observation(collector: WeatherCollector) -> None:
    add_park(1)
    collector.run(NOW)
    assert written(collector.run(IN_AN_HOUR)) == (1, 0)
    assert collected() == [0] * 21 + [3600]
    assert len(issues()[18]) == 147


def test_a_corrected_value_replaces_the_one_before(collector: WeatherCollector, meteo: Meteo) -> None:
    add_park(1)
    collector.run(NOW)
    meteo.usual = forecast(temperature_2m=[59 if hour in (4, 30) else 50 for hour in range(WEEK)])
    assert written(collector.run(IN_AN_HOUR)) == (2, 0)
    assert observed(1, "temperature_c") == {hour: 15.0 if hour == 4 else 10.0 for hour in range(22)}
    assert collected() == [3600 if hour in (4, 21) else 0 for hour in range(22)]


def test_what_is_not_said_any_more_stays(collector: WeatherCollector, meteo: Meteo) -> None:
    add_park(1)
    meteo.usual = forecast(rain=0.1)
    collector.run(NOW)
    meteo.usual = forecast(rain=0.2, temperature_2m=59, units={"rain": "drops"})
    assert written(collector.run(IN_AN_HOUR)) == (22, 0)
    assert observed(1, "rain_mm") == {**dict.fromkeys(range(21), 2.54), 21: None}
    assert observed(1, "temperature_c") == dict.fromkeys(range(22), 15.0)


def test_hours_of_today_that_were_missed_are_filled(collector: WeatherCollector) -> None:
    add_park(1)
    collector.run(instant(MIDNIGHT + 2 * HOUR))
    assert written(collector.run(NOW)) == (18, 147)
    assert list(observed(1, "temperature_c")) == list(range(21))


# --- who is asked ----------------------------------------------------------------------------------------------------


def test_a_park_is_asked_once_an_hour_and_only_then_logged(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(2)
    assert collector.is_due(NOW)
    collector.run(NOW)
    assert not collector.is_due(NOW.replace(minute=59))
    assert collector.collect(NOW.replace(minute=59)) is None
    assert (meteo.newly_asked(), len(runs())) == ([1, 2], 1)
    assert collector.is_due(NOW.replace(hour=21, minute=0))
    assert collector.collect(NOW.replace(hour=21, minute=0)) == "2 observations and 0 forecasts of 2 parks"
    assert (meteo.newly_asked(), len(runs())) == ([1, 2], 2)


def test_another_collector_knows_what_is_stored(collector: WeatherCollector, settings: Settings, meteo: Meteo) -> None:
    add_park(1)
    collector.run(NOW)
    add_park(2)
    assert WeatherCollector(settings, meteo).run(NOW).asked == 1
    assert meteo.asked == [1, 2]


def test_inactive_parks_are_not_asked_for(collector: WeatherCollector, meteo: Meteo) -> None:
    add_park(1, is_active=False)
    assert not collector.is_due(NOW)
    assert (collector.run(NOW).asked, meteo.asked, runs()) == (0, [], [])


def test_parks_without_coordinates_are_named_in_the_report(collector: WeatherCollector, meteo: Meteo) -> None:
    add_park(1, located=False)
    add_park(2)
    add_park(3, located=False)
    report = collector.run(NOW)
    assert (report.without_coordinates, meteo.asked, report.failed) == (["Park 1", "Park 3"], [2], [])
    assert runs() == [(JobStatus.SUCCESS, 168, 0)]
    assert collector.run(NOW).without_coordinates == ["Park 1", "Park 3"]


def test_a_worker_names_a_park_without_coordinates_once(
    collector: WeatherCollector, caplog: pytest.LogCaptureFixture
) -> None:
    add_park(1, located=False)
    with caplog.at_level(logging.WARNING, "service.jobs.weather"):
        assert collector.collect(NOW) is None
        assert collector.collect(IN_AN_HOUR) is None
        add_park(2, located=False)
        assert collector.collect(IN_AN_HOUR) is None
    assert caplog.messages == [
        "Parks without coordinates have no weather: Park 1.", "Parks without coordinates have no weather: Park 2.",
    ]  # fmt: skip


# --- ended early -----------------------------------------------------------------------------------------------------


def test_a_run_that_is_told_to_end_goes_on_with_the_next(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(5)
    answers = iter([True, True, False])
    report = collector.run(NOW, proceed=lambda: next(answers))
    assert (report.is_complete, report.asked, meteo.newly_asked()) == (False, 2, [1, 2])
    assert runs() == [(JobStatus.SUCCESS, 336, 0)]
    assert collector.run(NOW).is_complete
    assert meteo.newly_asked() == [3, 4, 5]


def test_a_run_that_may_not_begin_is_not_logged(collector: WeatherCollector, meteo: Meteo) -> None:
    add_park(1)
    assert collector.collect(NOW, lambda: False) is None
    assert (meteo.asked, runs(), collector.is_due(NOW)) == ([], [], True)


def test_ending_early_is_no_failure_but_failures_are_not_forgotten(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(4)
    meteo.answers = {1: Unanswered("No."), 3: Unanswered("No.")}
    answers = iter([True, False])
    assert collector.collect(NOW, lambda: next(answers)) == "0 observations and 0 forecasts of 0 parks"
    assert runs() == [(JobStatus.SUCCESS, 0, 1)]
    with pytest.raises(ServiceError, match="2 of 4 parks"):
        collector.collect(NOW)
    assert meteo.newly_asked() == [1, 2, 3, 4]


def test_progress_counts_the_parks(collector: WeatherCollector) -> None:
    add_parks(2)
    seen: list[tuple[int, int]] = []
    collector.run(NOW, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_a_killed_run_leaves_whole_parks_and_the_next_does_the_rest(
    collector: WeatherCollector, meteo: Meteo
) -> None:
    add_parks(3)
    meteo.answers = {2: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        collector.run(NOW)
    assert (len(observed(1, "rain_mm")), len(issues(1)[18])) == (21, 147)
    assert (observed(2, "rain_mm"), issues(2)) == ({}, {})
    assert runs() == [(JobStatus.FAILED, 168, 0)]
    meteo.answers, meteo.asked = {}, []
    assert written(collector.run(NOW)) == (42, 294)
    assert meteo.asked == [2, 3]


def test_a_park_is_stored_whole_or_not_at_all(
    collector: WeatherCollector, meteo: Meteo, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_parks(2)
    store = weather._store_forecasts

    def killed(park_id: int, *given: Any) -> int:
        if park_id == 2:
            raise KeyboardInterrupt
        return store(park_id, *given)

    with monkeypatch.context() as patch:
        patch.setattr(weather, "_store_forecasts", killed)
        with pytest.raises(KeyboardInterrupt):
            collector.run(NOW)
    assert (len(observed(1, "rain_mm")), observed(2, "rain_mm"), issues(2)) == (21, {}, {})
    assert written(collector.run(NOW)) == (21, 147)
    assert meteo.asked == [1, 2, 2]


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_park_that_fails_does_not_stop_the_others(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(3)
    meteo.answers = {1: b"<html>"}
    report = collector.run(NOW)
    assert [(one.park, one.reason) for one in report.failed] == [
        ("Park 1", "A forecast of Open-Meteo is not JSON: it begins with '<html>'."),
    ]
    assert (report.failure, *written(report)) == (None, 42, 294)
    assert runs() == [(JobStatus.SUCCESS, 336, 1)]


def test_a_park_that_fails_alone_is_asked_again_in_the_next_hour(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(3)
    meteo.answers = {1: Unanswered("No.")}
    collector.run(NOW)
    assert (collector.is_due(NOW), collector.run(NOW).asked, meteo.newly_asked()) == (False, 0, [1, 2, 3])
    collector.run(IN_AN_HOUR)
    assert meteo.newly_asked() == [1, 2, 3]


def test_one_park_alone_is_no_failed_run_for_the_next_process(
    collector: WeatherCollector, settings: Settings, meteo: Meteo
) -> None:
    add_parks(3)
    meteo.answers = {1: Unanswered("No.")}
    collector.run(NOW)
    assert WeatherCollector(settings, meteo).run(NOW).failure is None
    assert meteo.asked == [1, 2, 3, 1]


def test_half_of_the_parks_failing_fails_the_run_and_they_are_due_again(
    collector: WeatherCollector, meteo: Meteo
) -> None:
    add_parks(4)
    meteo.answers = {1: Unanswered("Sad."), 3: Unanswered("Sad.")}
    with pytest.raises(ServiceError) as failure:
        collector.collect(NOW)
    sentence = "2 of 4 parks have no weather of this hour. 2 parks: Sad."
    assert (str(failure.value), last_error(), runs()) == (sentence, sentence, [(JobStatus.FAILED, 336, 2)])
    assert len(observed(2, "rain_mm")) == len(observed(4, "rain_mm")) == 21
    meteo.answers, meteo.asked = {}, []
    assert collector.is_due(NOW)
    assert collector.collect(NOW) == "42 observations and 294 forecasts of 2 parks"
    assert meteo.asked == [1, 3]


def test_each_reason_is_one_sentence(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(4)
    meteo.answers = {1: Unanswered("Sad."), 2: b"", 3: Unanswered("Sad.")}
    assert collector.run(NOW).failure == (
        "3 of 4 parks have no weather of this hour. 2 parks: Sad."
        " 1 park: A forecast of Open-Meteo is not JSON: it begins with ''."
    )


def test_reasons_that_differ_for_every_park_are_not_all_told(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(12)
    meteo.answers = {park_id: Unanswered(f"Reason {park_id}.") for park_id in range(1, 13)}
    failure = collector.run(NOW).failure or ""
    assert failure.endswith("1 park: Reason 10. 2 more reasons.")


def test_a_host_that_is_away_is_asked_a_few_times_and_not_for_every_park(
    collector: WeatherCollector, meteo: Meteo
) -> None:
    add_parks(10)
    meteo.usual = Silent(GONE)
    with pytest.raises(ServiceError) as failure:
        collector.collect(NOW)
    assert str(failure.value) == f"10 of 10 parks have no weather of this hour. 10 parks: {GONE}"
    assert meteo.newly_asked() == [1, 2, 3] == list(range(1, GIVEN_UP_AFTER + 1))
    meteo.usual = forecast()
    assert collector.run(NOW).asked == 10  # another run hopes anew


def test_an_answer_that_lacks_this_hour_is_stored_but_a_failure(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(3)
    meteo.answers = {1: forecast(first=MIDNIGHT - 24 * HOUR, hours=24)}
    report = collector.run(NOW)
    assert [one.reason for one in report.failed] == [
        "Open-Meteo says nothing of the hour from 2026-03-04T20:00:00Z on."
    ]
    assert (len(observed(1, "temperature_c")), issues(1)) == (3, {})  # of the last day
    assert not collector.is_due(NOW)


def test_an_hour_of_which_nothing_is_known_is_not_answered(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(3)
    meteo.answers = {1: forecast(temperature_2m=[None if hour == 20 else 50 for hour in range(WEEK)])}
    assert [one.park_id for one in collector.run(NOW).failed] == [1]
    assert not collector.is_due(NOW)


def test_a_park_that_failed_and_was_asked_again_by_force_has_not_failed(
    collector: WeatherCollector, meteo: Meteo
) -> None:
    add_parks(3)
    meteo.answers = {1: Unanswered("No.")}
    collector.run(NOW)
    meteo.answers = {2: Unanswered("No.")}
    assert collector.run(NOW, force=True).failure is None


def test_refused_measures_are_warnings(collector: WeatherCollector, meteo: Meteo) -> None:
    add_parks(2)
    meteo.answers = {2: forecast(rain="much", cloud_cover=200)}
    report = collector.run(NOW)
    assert [(one.park, one.refusal.field) for one in report.refused] == [("Park 2", "rain"), ("Park 2", "cloud_cover")]
    assert runs() == [(JobStatus.SUCCESS, 336, 2)]


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture
def command(settings: Settings, database: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `weather` at NOW, against the upstream."""
    monkeypatch.setattr("service.jobs.asking.FIRST_PAUSE_SECONDS", 0.0)
    theirs = replace(settings, open_meteo_url=upstream.url, feed_requests_per_second=1000.0)

    def run(*arguments: str) -> Result:
        clock.replay(NOW)
        return CliRunner().invoke(cli.weather.weather, arguments, obj=theirs)

    return run


def test_command_says_what_it_wrote(command: Any, upstream: Upstream) -> None:
    add_parks(2)
    add_park(3, located=False)
    upstream.script("/forecast", Said(forecast()))
    first, again = command(), command()
    assert (first.exit_code, first.stdout) == (
        0,
        "2 parks asked for: 42 observations and 294 forecasts written.\n"
        "Without coordinates, and so without weather: Park 3.\n",
    )
    assert (again.exit_code, again.stdout) == (
        0,
        "No park lacks the weather of this hour: nothing was asked.\n"
        "Without coordinates, and so without weather: Park 3.\n",
    )
    assert [parse_qs(urlsplit(one.target).query)["latitude"] for one in upstream.log] == [["1.00000"], ["2.00000"]]


def test_command_asks_all_parks_again_when_forced(command: Any, upstream: Upstream) -> None:
    add_park(1)
    upstream.script("/forecast", Said(forecast()), Said(forecast(temperature_2m=[59] + [50] * 167)))
    command()
    assert command("--force").stdout == "1 park asked for: 1 observation and 0 forecasts written.\n"


def test_command_gives_one_json_object(command: Any, upstream: Upstream) -> None:
    add_parks(2)
    upstream.script("/forecast", Said(forecast(rain=[-1] + [0] * 167)), Said(b"", 404))
    result = command("--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "asked": 2,
        "observations": 21,
        "forecasts": 147,
        "without_coordinates": [],
        "refused": [{
            "park": "Park 1",
            "field": "rain",
            "reason": "rain has 1 of 168 values that cannot be used; the first: -1 is out of range",
        }],
        "failed": [{"park_id": 2, "park": "Park 2", "reason": "127.0.0.1 answered with status 404."}],
        "failure": "1 of 2 parks have no weather of this hour. 1 park: 127.0.0.1 answered with status 404.",
    }  # fmt: skip


def test_command_exits_1_when_one_park_of_many_failed(command: Any, upstream: Upstream) -> None:
    add_parks(3)
    upstream.script("/forecast", Said(b"[]"), Said(forecast()))
    result = command()
    assert (result.exit_code, result.stdout) == (
        1,
        "3 parks asked for: 42 observations and 294 forecasts written.\n"
        "FAILED: 1 park: A forecast of Open-Meteo is a list, not an object.\n",
    )


def test_command_gives_up_on_a_dead_host_with_one_sentence(command: Any, upstream: Upstream) -> None:
    add_parks(20)
    upstream.script("/forecast", busy(status=503))
    result = command()
    assert (result.exit_code, len(upstream.log)) == (1, 9)  # three questions, three attempts each
    assert result.stdout.splitlines()[0] == "20 parks asked for: 0 observations and 0 forecasts written."
    [sentence] = result.stdout.splitlines()[1:]
    assert sentence.startswith("FAILED: 20 parks: 127.0.0.1 ")
    assert runs() == [(JobStatus.FAILED, 0, 20)]


def test_hours_of_an_old_answer_are_no_observations(collector: WeatherCollector, meteo: Meteo) -> None:
    add_park(1)
    meteo.usual = forecast(first=MIDNIGHT - 3 * 24 * HOUR)
    assert collector.run(NOW).failure is None
    oldest = WeatherObservation.select().order_by(WeatherObservation.observation_time).get()
    assert epoch(oldest.observation_time) == epoch(NOW) // HOUR * HOUR - 23 * HOUR
    assert WeatherObservation.select().count() == 24
