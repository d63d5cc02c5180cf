"""Open-Meteo: hours in the units of our columns, whatever the answer's are, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import BadFeed
from service.feeds import open_meteo
from service.feeds.foreign import Refusal
from service.feeds.open_meteo import MEASURES, MOST_HOURS, QUESTION, Hour, Weather
from service.jobs.adopting import weather as adopting
from service.models import WeatherForecast, WeatherObservation
from service.periods import iso_utc

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "fixtures" / "open-meteo"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers are not here")

TWO = ["2026-03-04T00:00", "2026-03-04T01:00"]
MIDNIGHT = 1772582400  # 2026-03-04T00:00Z

# One hour, said in two ways.
IMPERIAL = {
    "temperature_2m": ("°F", 50),
    "apparent_temperature": ("°F", 14),
    "precipitation": ("inch", 0.5),
    "precipitation_probability": ("%", 80),
    "rain": ("inch", 0.1),
    "snowfall": ("inch", 0.4),
    "weather_code": ("wmo code", 71),
    "cloud_cover": ("%", 100),
    "wind_speed_10m": ("mp/h", 10),
    "wind_gusts_10m": ("mp/h", 25),
    "wind_direction_10m": ("°", 270),
    "relative_humidity_2m": ("%", 93),
    "surface_pressure": ("hPa", 1013.2),
    "visibility": ("ft", 10000),
}
METRIC = IMPERIAL | {
    "temperature_2m": ("°C", 10.0),
    "apparent_temperature": ("°C", -10.0),
    "precipitation": ("mm", 12.7),
    "rain": ("mm", 2.54),
    "snowfall": ("cm", 1.016),
    "wind_speed_10m": ("km/h", 16.09344),
    "wind_gusts_10m": ("km/h", 40.2336),
    "visibility": ("m", 3048.0),
}
THE_HOUR = Hour(
    at=MIDNIGHT,
    temperature_c=10.0,
    apparent_temperature_c=-10.0,
    wind_speed_kmh=16.09,
    wind_gusts_kmh=40.23,
    wind_direction_degrees=270,
    precipitation_mm=12.7,
    rain_mm=2.54,
    snowfall_mm=10.16,
    precipitation_probability=80,
    cloud_cover_percent=100,
    humidity_percent=93,
    visibility_meters=3048,
    pressure_hpa=1013.2,
    weather_code=71,
)


def weather_of(hourly: dict[str, Any], units: object = None, **fields: object) -> Weather:
    answer = {"utc_offset_seconds": 0, "timezone": "GMT", "hourly_units": units, "hourly": hourly, **fields}
    return open_meteo.weather(json.dumps(answer).encode())


def said(measures: dict[str, tuple[str, float]], *, with_units: bool = True) -> Weather:
    """One hour of `measures`."""
    hourly = {name: [value] for name, (_, value) in measures.items()}
    units = {name: unit for name, (unit, _) in measures.items()}
    return weather_of({"time": TWO[:1], **hourly}, units if with_units else None)


def series(name: str, values: object, unit: str | None = None, column: str | None = None) -> tuple[Any, list[Refusal]]:
    """What becomes of a measure of two hours, and what was refused."""
    answer = weather_of({"time": TWO, "temperature_2m": [50, 50], name: values}, unit and {name: unit})
    return [getattr(hour, column or name) for hour in answer.hours], answer.refused


def test_the_question_is_the_documented_one() -> None:
    assert QUESTION == {
        "timezone": "UTC",
        "forecast_days": "7",
        "temperature_unit": "fahrenheit",
        "wind_speed_unit": "mph",
        "precipitation_unit": "inch",
        "hourly": "temperature_2m,apparent_temperature,precipitation,precipitation_probability,rain,snowfall,"
        "weather_code,cloud_cover,wind_speed_10m,wind_gusts_10m,wind_direction_10m,relative_humidity_2m,"
        "surface_pressure,visibility",
    }


def test_measures_are_the_columns_of_both_tables() -> None:
    keys = {"observation_id", "forecast_id", "park", "observation_time", "collected_at", "issued_at", "forecast_time"}
    for model in (WeatherObservation, WeatherForecast):
        assert tuple(name for name in model._meta.fields if name not in keys) == MEASURES
    assert adopting.MEASURES == MEASURES


# --- units -----------------------------------------------------------------------------------------------------------


def test_an_hour_in_the_units_that_were_asked_for() -> None:
    assert said(IMPERIAL) == ([THE_HOUR], [])


def test_other_units_give_the_same_hour() -> None:
    assert said(METRIC) == ([THE_HOUR], [])


def test_without_declared_units_they_are_those_that_were_asked_for() -> None:
    assert said(IMPERIAL, with_units=False) == ([THE_HOUR], [])


@pytest.mark.parametrize(("name", "unit", "value", "column", "stored"), [
    ("temperature_2m", "°F", 32, "temperature_c", 0.0),
    ("temperature_2m", "°F", -40, "temperature_c", -40.0),
    ("temperature_2m", "°F", 71.3, "temperature_c", 21.83),  # 39.3 * 5/9 = 21.833...
    ("temperature_2m", "°F", 31.9, "temperature_c", -0.06),  # -0.1 * 5/9 = -0.0555...
    ("temperature_2m", "°C", 0.005, "temperature_c", 0.01),  # binary fractions would make it 0.0
    ("temperature_2m", "°C", 999.99, "temperature_c", 999.99),
    ("wind_speed_10m", "mp/h", 1, "wind_speed_kmh", 1.61),
    ("wind_speed_10m", "mph", 100, "wind_speed_kmh", 160.93),
    ("wind_speed_10m", "m/s", 5.5, "wind_speed_kmh", 19.8),
    ("wind_gusts_10m", "kn", 10, "wind_gusts_kmh", 18.52),
    ("precipitation", "inch", 0.001, "precipitation_mm", 0.03),  # 0.0254
    ("snowfall", "cm", 0.07, "snowfall_mm", 0.7),
    ("snowfall", "mm", 0.7, "snowfall_mm", 0.7),
    ("visibility", "ft", 79, "visibility_meters", 24),  # 24.0792
    ("visibility", "ft", 78740.16, "visibility_meters", 24000),  # 24000.0008
    ("relative_humidity_2m", "%", 62.5, "humidity_percent", 63),
    ("wind_direction_10m", "°", 360, "wind_direction_degrees", 360),
    ("weather_code", "", 99, "weather_code", 99),
    ("weather_code", "wmo code", 3.0, "weather_code", 3),
])  # fmt: skip
def test_conversions_by_hand(name: str, unit: str, value: float, column: str, stored: float) -> None:
    assert series(name, [value, None], unit, column) == ([stored, None], [])


@pytest.mark.parametrize(("name", "column"), [
    ("wind_direction_10m", "wind_direction_degrees"), ("visibility", "visibility_meters"),
    ("weather_code", "weather_code"), ("cloud_cover", "cloud_cover_percent"),
])  # fmt: skip
def test_whole_columns_get_whole_numbers(name: str, column: str) -> None:
    [value, _], _ = series(name, [7.0, 8], None, column)
    assert type(value) is int


@pytest.mark.parametrize("unit", ["furlong", "°C", "MPH", 5, ["mp/h"], True])
def test_a_measure_in_an_unknown_unit_is_refused_once_as_a_whole(unit: object) -> None:
    answer = weather_of(
        {"time": TWO, "temperature_2m": [50, 59], "wind_speed_10m": [10, 20]}, {"wind_speed_10m": unit}
    )
    assert [(hour.temperature_c, hour.wind_speed_kmh) for hour in answer.hours] == [(10.0, None), (15.0, None)]
    assert [refusal.field for refusal in answer.refused] == ["wind_speed_10m"]


def test_temperature_in_an_unknown_unit_spares_the_rest() -> None:
    answer = weather_of({"time": TWO, "temperature_2m": [283, 284], "rain": [1, 2]}, {"temperature_2m": "K"})
    assert [(hour.temperature_c, hour.rain_mm) for hour in answer.hours] == [(None, 25.4), (None, 50.8)]
    assert answer.refused == [
        Refusal("hourly", "temperature_2m is in 'K': known are °C, °F", "temperature_2m"),
    ]


# --- values ----------------------------------------------------------------------------------------------------------


def test_what_is_not_said_is_unknown_and_nothing_to_report() -> None:
    answer = weather_of({"time": TWO, "temperature_2m": [50, None], "rain": [None, 0], "visibility": None})
    assert answer == ([Hour(MIDNIGHT, 10.0), Hour(MIDNIGHT + 3600, rain_mm=0.0)], [])


@pytest.mark.parametrize(("name", "column", "bad"), [
    ("rain", "rain_mm", "0.5"), ("rain", "rain_mm", True), ("rain", "rain_mm", [1]), ("rain", "rain_mm", {}),
    ("rain", "rain_mm", float("nan")), ("rain", "rain_mm", float("inf")), ("rain", "rain_mm", 10**400),
    ("rain", "rain_mm", -0.1), ("rain", "rain_mm", 393.701),  # 10000.0054 mm
    ("wind_speed_10m", "wind_speed_kmh", -1), ("wind_gusts_10m", "wind_gusts_kmh", 622),  # 1001 km/h
    ("apparent_temperature", "apparent_temperature_c", 1832),  # 1000 degrees
    ("precipitation_probability", "precipitation_probability", 101), ("cloud_cover", "cloud_cover_percent", -1),
    ("relative_humidity_2m", "humidity_percent", 100.4),
    ("wind_direction_10m", "wind_direction_degrees", 361), ("wind_direction_10m", "wind_direction_degrees", -1),
    ("weather_code", "weather_code", 100), ("weather_code", "weather_code", 2.5), ("weather_code", "weather_code", -1),
    ("visibility", "visibility_meters", -1), ("visibility", "visibility_meters", 1e300),
    ("surface_pressure", "pressure_hpa", 10000),
])  # fmt: skip
def test_a_value_that_cannot_be_stored_is_unknown_and_refused(name: str, column: str, bad: object) -> None:
    values, [refusal] = series(name, [1, bad], None, column)
    assert values[0] is not None and values[1] is None
    assert refusal.field == name
    assert refusal.reason.startswith(f"{name} has 1 of 2 values that cannot be used; the first: ")


def test_values_of_a_measure_are_refused_together() -> None:
    _, refused = series("rain", ["much", -1], None, "rain_mm")
    reason = "rain has 2 of 2 values that cannot be used; the first: 'much' is not a number"
    assert refused == [Refusal("hourly", reason, "rain")]


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3], "1,2", {"0": 1}, 5])
def test_a_measure_of_another_length_is_refused_as_a_whole(values: object) -> None:
    found, refused = series("rain", values, None, "rain_mm")
    assert (found, [refusal.field for refusal in refused]) == ([None, None], ["rain"])


# --- times -----------------------------------------------------------------------------------------------------------


def hours_at(times: list[object], **fields: object) -> list[int]:
    answer = weather_of({"time": times, "temperature_2m": [50] * len(times)}, **fields)
    return [(hour.at - MIDNIGHT) // 3600 for hour in answer.hours]


@pytest.mark.parametrize(("fields", "hours"), [
    ({}, [0, 1]),
    ({"utc_offset_seconds": None}, [0, 1]),
    ({"utc_offset_seconds": None, "timezone": None}, [0, 1]),
    ({"utc_offset_seconds": 32400, "timezone": "Asia/Tokyo"}, [-9, -8]),
    ({"utc_offset_seconds": -25200, "timezone": "America/Los_Angeles"}, [7, 8]),
])  # fmt: skip
def test_times_are_by_the_clocks_that_the_answer_names(fields: dict[str, object], hours: list[int]) -> None:
    assert hours_at([*TWO], **fields) == hours


def test_a_time_with_an_offset_of_its_own_means_that() -> None:
    assert hours_at(["2026-03-04T02:00Z", "2026-03-04T02:00+01:00"], utc_offset_seconds=32400) == [1, 2]


def test_hours_come_in_order_and_the_last_of_two_counts() -> None:
    times = [TWO[1], TWO[0], TWO[1]]
    answer = weather_of({"time": times, "temperature_2m": [32, 50, 41]})
    assert answer.hours == [Hour(MIDNIGHT, 10.0), Hour(MIDNIGHT + 3600, 5.0)]


@pytest.mark.parametrize("bad", [None, 1772582400, "2026-03-04", "tomorrow", "2026-03-04T00:30", "1026-03-04T00:00"])
def test_an_hour_of_no_known_time_is_left_out(bad: object) -> None:
    answer = weather_of({"time": [TWO[0], bad, TWO[1]], "temperature_2m": [32, 41, 50]})
    assert answer.hours == [Hour(MIDNIGHT, 0.0), Hour(MIDNIGHT + 3600, 10.0)]
    assert [refusal.field for refusal in answer.refused] == ["time"]


@pytest.mark.parametrize("fields", [
    {"utc_offset_seconds": None, "timezone": "Asia/Tokyo"},
    {"utc_offset_seconds": "0"},
    {"utc_offset_seconds": 1.5},
    {"utc_offset_seconds": 86400},
    {"utc_offset_seconds": 19800},  # every hour begins at half past
    {"hourly_units": ["°F"]},
    {"hourly_units": "metric"},
])  # fmt: skip
def test_an_answer_whose_hours_or_units_cannot_be_told_is_no_answer(fields: dict[str, object]) -> None:
    with pytest.raises(BadFeed):
        weather_of({"time": TWO, "temperature_2m": [50, 50]}, **fields)


@pytest.mark.parametrize("hourly", [
    None, [], {}, {"time": TWO}, {"temperature_2m": [50, 50]}, {"time": [], "temperature_2m": []},
    {"time": TWO, "temperature_2m": [50]}, {"time": TWO, "temperature_2m": None},
    {"time": "now", "temperature_2m": [1]},
])  # fmt: skip
def test_without_times_and_temperatures_it_is_no_answer(hourly: Any) -> None:
    with pytest.raises(BadFeed):
        weather_of(hourly)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"error": true, "reason": "Out of range"}'])
def test_something_else_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadFeed):
        open_meteo.weather(body)


def test_more_hours_than_can_be_meant_are_no_answer() -> None:
    times = [iso_utc(MIDNIGHT + 3600 * number) for number in range(MOST_HOURS + 1)]
    assert len(weather_of({"time": times[1:], "temperature_2m": [50] * MOST_HOURS}).hours) == MOST_HOURS
    with pytest.raises(BadFeed):
        weather_of({"time": times, "temperature_2m": [50] * len(times)})


# --- recorded answers ------------------------------------------------------------------------------------------------


@recorded
@pytest.mark.parametrize(("file", "count", "first"), [
    ("mt-empty-forecast.json", 168, Hour(
        1761350400, 15.5, 14.3, 4.1, 14.0, precipitation_mm=0.0, snowfall_mm=0.0, precipitation_probability=0,
        cloud_cover_percent=1, humidity_percent=61, weather_code=3,
    )),
    ("mt-empty-newyork-forecast.json", 336, Hour(
        1766880000, -2.0, -5.6, 5.9, 11.2, precipitation_mm=0.0, snowfall_mm=0.0, precipitation_probability=0,
        cloud_cover_percent=1, humidity_percent=80,
    )),
    ("shoyoyu-open_meteo_forecast.json", 24, Hour(  # midnight in Tokyo is 15:00 UTC of the day before
        1784386800, 24.1, precipitation_mm=0.0, precipitation_probability=0,
    )),
])  # fmt: skip
def test_recorded_answers_are_read_whole(file: str, count: int, first: Hour) -> None:
    answer = open_meteo.weather((RECORDED / file).read_bytes())
    assert (len(answer.hours), answer.hours[0], answer.refused) == (count, first, [])
    assert [hour.at for hour in answer.hours] == [first.at + 3600 * number for number in range(count)]
