"""Weather at a park: hourly observations, and forecasts as they were issued."""

from typing import TYPE_CHECKING

from peewee import BigAutoField, DecimalField, ForeignKeyField, IntegerField, SmallIntegerField

from service.models.base import Base, UtcField
from service.models.park import Park


class _Weather(Base):
    """The measures of one hour; `weather_code` is the WMO code."""

    temperature_c = DecimalField(max_digits=5, decimal_places=2, null=True)
    apparent_temperature_c = DecimalField(max_digits=5, decimal_places=2, null=True)
    wind_speed_kmh = DecimalField(max_digits=5, decimal_places=2, null=True)
    wind_gusts_kmh = DecimalField(max_digits=5, decimal_places=2, null=True)
    wind_direction_degrees = SmallIntegerField(null=True)
    precipitation_mm = DecimalField(max_digits=6, decimal_places=2, null=True)
    rain_mm = DecimalField(max_digits=6, decimal_places=2, null=True)
    snowfall_mm = DecimalField(max_digits=6, decimal_places=2, null=True)
    precipitation_probability = SmallIntegerField(null=True)
    cloud_cover_percent = SmallIntegerField(null=True)
    humidity_percent = SmallIntegerField(null=True)
    visibility_meters = IntegerField(null=True)
    pressure_hpa = DecimalField(max_digits=6, decimal_places=2, null=True)
    weather_code = SmallIntegerField(null=True)


class WeatherObservation(_Weather):
    """What the hour beginning at `observation_time` was like."""

    observation_id = BigAutoField()
    park = ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE", index=False)
    observation_time = UtcField()
    collected_at = UtcField()

    if TYPE_CHECKING:
        park_id: int

    class Meta:
        table_name = "weather_observations"
        indexes = ((("park", "observation_time"), True), (("observation_time",), False))


class WeatherForecast(_Weather):
    """What was forecast at `issued_at` for the hour beginning at `forecast_time`."""

    forecast_id = BigAutoField()
    park = ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE", index=False)
    issued_at = UtcField()
    forecast_time = UtcField()

    if TYPE_CHECKING:
        park_id: int

    class Meta:
        table_name = "weather_forecasts"
        indexes = ((("park", "issued_at", "forecast_time"), True), (("issued_at",), False))
