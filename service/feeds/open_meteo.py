"""Answers of Open-Meteo: the weather of a place, hour by hour."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from service.errors import BadFeed
from service.feeds.foreign import Refusal, Unusable, decoded, fields_of, instant, list_in, shown, whole
from service.rules import rounded

FORECAST: Final = "A forecast of Open-Meteo"
HOURLY: Final = "hourly"
MOST_HOURS: Final = 2000
HOUR_SECONDS: Final = 3600
FARTHEST_OFFSET: Final = 18 * HOUR_SECONDS

T = TypeVar("T")


class Hour(NamedTuple):
    """The weather of the hour that begins at `at` (epoch seconds), in the units of the columns it is stored in; None
    where it is unknown. `weather_code` is the WMO code."""

    at: int
    temperature_c: float | None = None
    apparent_temperature_c: float | None = None
    wind_speed_kmh: float | None = None
    wind_gusts_kmh: float | None = None
    wind_direction_degrees: int | None = None
    precipitation_mm: float | None = None
    rain_mm: float | None = None
    snowfall_mm: float | None = None
    precipitation_probability: int | None = None
    cloud_cover_percent: int | None = None
    humidity_percent: int | None = None
    visibility_meters: int | None = None
    pressure_hpa: float | None = None
    weather_code: int | None = None


MEASURES: Final = Hour._fields[1:]  # the columns


class Weather(NamedTuple):
    """What `weather` found: hours in order. Of each measure there is one refusal at most, which counts its values."""

    hours: list[Hour]
    refused: list[Refusal]


class _Unit(NamedTuple):
    """What makes a value one of the column's unit: (value - zero) * factor, exactly."""

    factor: Fraction
    zero: Fraction = Fraction(0)


def _units(**factors: str) -> dict[str, _Unit]:
    return {name: _Unit(Fraction(factor)) for name, factor in factors.items()}


CELSIUS: Final = {"°C": _Unit(Fraction(1)), "°F": _Unit(Fraction(5, 9), Fraction(32))}
KMH: Final = _units(**{"km/h": "1", "mp/h": "1.609344", "mph": "1.609344", "m/s": "3.6", "kn": "1.852"})
MILLIMETERS: Final = _units(**{"mm": "1", "cm": "10", "inch": "25.4"})
METERS: Final = _units(**{"m": "1", "ft": "0.3048"})
HECTOPASCAL: Final = _units(hPa="1")
PERCENT: Final = _units(**{"%": "1"})
DEGREES: Final = _units(**{"°": "1"})
WMO_CODE: Final = _units(**{"wmo code": "1"})


class _Measure(NamedTuple):
    """A list of the answer. `unit` is what was asked for, in case the answer does not tell; the limits are those of the
    column, in its own unit, and `places` its decimals."""

    name: str
    unit: str
    units: Mapping[str, _Unit]
    lowest: Fraction
    highest: Fraction
    places: int = 0


def _measure(name: str, unit: str, units: Mapping[str, _Unit], lowest: str, highest: str, places: int = 0) -> _Measure:
    return _Measure(name, unit, units, Fraction(lowest), Fraction(highest), places)


_MEASURES: Final = {  # by column, in the order in which they are asked for
    "temperature_c": _measure("temperature_2m", "°F", CELSIUS, "-999.99", "999.99", 2),
    "apparent_temperature_c": _measure("apparent_temperature", "°F", CELSIUS, "-999.99", "999.99", 2),
    "precipitation_mm": _measure("precipitation", "inch", MILLIMETERS, "0", "9999.99", 2),
    "precipitation_probability": _measure("precipitation_probability", "%", PERCENT, "0", "100"),
    "rain_mm": _measure("rain", "inch", MILLIMETERS, "0", "9999.99", 2),
    "snowfall_mm": _measure("snowfall", "inch", MILLIMETERS, "0", "9999.99", 2),
    "weather_code": _measure("weather_code", "wmo code", WMO_CODE, "0", "99"),
    "cloud_cover_percent": _measure("cloud_cover", "%", PERCENT, "0", "100"),
    "wind_speed_kmh": _measure("wind_speed_10m", "mp/h", KMH, "0", "999.99", 2),
    "wind_gusts_kmh": _measure("wind_gusts_10m", "mp/h", KMH, "0", "999.99", 2),
    "wind_direction_degrees": _measure("wind_direction_10m", "°", DEGREES, "0", "360"),
    "humidity_percent": _measure("relative_humidity_2m", "%", PERCENT, "0", "100"),
    "pressure_hpa": _measure("surface_pressure", "hPa", HECTOPASCAL, "0", "9999.99", 2),
    "visibility_meters": _measure("visibility", "ft", METERS, "0", "2147483647"),
}

QUESTION: Final = {
    "timezone": "UTC",
    "forecast_days": "7",
    "temperature_unit": "fahrenheit",
    "wind_speed_unit": "mph",
    "precipitation_unit": "inch",
    HOURLY: ",".join(measure.name for measure in _MEASURES.values()),
}


def weather(body: bytes) -> Weather:
    """The hours of a place (`/v1/forecast`). Of two with one time the later in the answer counts.

    A value that is no number or out of its column's range is unknown; a measure in a unit that nobody knows, or with
    more or fewer values than there are hours, is so for every hour. Raises BadFeed for an answer without times or
    temperatures.
    """
    answer = fields_of(decoded(body, FORECAST), FORECAST)
    hourly = fields_of(answer.get(HOURLY), f"{FORECAST}, its {HOURLY},")
    units = fields_of(_or({}, answer.get("hourly_units")), f"{FORECAST}, its hourly_units,")
    times = list_in(hourly, "time", FORECAST)
    _ensure_whole(len(times), len(list_in(hourly, "temperature_2m", FORECAST)))
    refused: list[Refusal] = []
    at = list(_read("time", times, partial(_top_of_hour, _offset_seconds(answer)), refused))
    series = {column: _series(measure, hourly, units, len(times), refused) for column, measure in _MEASURES.items()}
    hours = _hours(at, series)
    if not hours:
        raise BadFeed(f"{FORECAST} has no time that can be used.")
    return Weather(hours, refused)


def _or(otherwise: object, said: object) -> object:
    return otherwise if said in (None, "") else said


def _ensure_whole(times: int, temperatures: int) -> None:
    if not times or times != temperatures:
        raise BadFeed(f"{FORECAST} has {times} times and {temperatures} temperatures.")
    if times > MOST_HOURS:
        raise BadFeed(f"{FORECAST} has {times} hours, at most {MOST_HOURS} can be meant.")


def _hours(times: list[int | None], series: Mapping[str, list[Any]]) -> list[Hour]:
    values = zip(*series.values(), strict=True)
    by_time = {
        at: Hour(at, **dict(zip(series, row, strict=True)))
        for at, row in zip(times, values, strict=True)
        if at is not None
    }
    return sorted(by_time.values())


# --- times -----------------------------------------------------------------------------------------------------------


def _offset_seconds(answer: dict[str, object]) -> int:
    """How far its clocks are ahead of UTC. Raises BadFeed where that cannot be known: every hour would be wrong."""
    said, zone = answer.get("utc_offset_seconds"), answer.get("timezone")
    if said is None and zone in (None, "UTC", "GMT"):
        return 0
    try:
        offset = whole(said)
    except Unusable as problem:
        raise BadFeed(f"{FORECAST}: utc_offset_seconds {problem}.") from None
    if abs(offset) > FARTHEST_OFFSET:
        raise BadFeed(f"{FORECAST}: utc_offset_seconds {offset} is not the offset of any clock.")
    return offset


def _top_of_hour(offset_seconds: int, value: object) -> int:
    try:
        at = instant(value)
    except Unusable:  # it has no offset of its own, as is usual
        at = instant(value, "UTC") - offset_seconds
    if at % HOUR_SECONDS:
        raise Unusable(f"{shown(value)} is not the top of an hour in UTC")
    return at


# --- measures --------------------------------------------------------------------------------------------------------


def _series(
    measure: _Measure, hourly: dict[str, object], units: dict[str, object], hours: int, refused: list[Refusal]
) -> list[float | None]:
    """A measure of every hour, as its column holds it."""
    unknown: list[float | None] = [None] * hours
    values = hourly.get(measure.name)
    if values is None:
        return unknown
    try:
        unit = _unit_of(measure, units)
        if not isinstance(values, list):
            raise Unusable(f"is {shown(values)}, not a list")
        if len(values) != hours:
            raise Unusable(f"has {len(values)} values for {hours} hours")
    except Unusable as problem:
        refused.append(_refusal(measure.name, str(problem)))
        return unknown
    return list(_read(measure.name, values, partial(_converted, measure, unit), refused))


def _unit_of(measure: _Measure, units: dict[str, object]) -> _Unit:
    declared = _or(measure.unit, units.get(measure.name))
    unit = measure.units.get(declared) if isinstance(declared, str) else None
    if unit is None:
        raise Unusable(f"is in {shown(declared)}: known are {', '.join(measure.units)}")
    return unit


def _converted(measure: _Measure, unit: _Unit, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unusable(f"{shown(value)} is not a number")
    exact = (Fraction(str(value)) - unit.zero) * unit.factor
    if not measure.lowest <= exact <= measure.highest:
        raise Unusable(f"{shown(value)} is out of range")
    if measure.units is WMO_CODE and exact.denominator != 1:
        raise Unusable(f"{shown(value)} is not a whole number")
    number = rounded(exact, measure.places)
    return number if measure.places or number is None else int(number)


def _read(
    name: str, values: list[object], parse: Callable[[object], T], refused: list[Refusal]
) -> Iterator[T | None]:
    """What `parse` makes of each value; None for those it cannot use, which are refused together."""
    problems: list[str] = []
    for value in values:
        try:
            yield parse(value)
        except Unusable as problem:
            problems.append(str(problem))
            yield None
    if problems:
        refused.append(
            _refusal(name, f"has {len(problems)} of {len(values)} values that cannot be used; the first: {problems[0]}")
        )


def _refusal(name: str, reason: str) -> Refusal:
    return Refusal(HOURLY, f"{name} {reason}", name)
