"""The tables of the predecessor, as far as they are adopted. They live in a database of their own, which is only read.

Which columns it has depends on its age: whoever reads asks which are there. DATETIMEs are naive UTC.
"""

from peewee import (
    BigIntegerField,
    BooleanField,
    CharField,
    DatabaseProxy,
    DateField,
    DateTimeField,
    DecimalField,
    IntegerField,
    SmallIntegerField,
)

from service.models.base import Base

source = DatabaseProxy()  # bound while a predecessor is being adopted


class _Table(Base):
    class Meta:
        database = source


class OldPark(_Table):
    """A park. The operator's two flags say what `park_type` says here."""

    park_id = IntegerField(primary_key=True)
    queue_times_id = IntegerField(null=True)
    themeparks_wiki_id = CharField(null=True)
    name = CharField()
    city = CharField(null=True)
    state_province = CharField(null=True)
    country = CharField(null=True)
    latitude = DecimalField(null=True)
    longitude = DecimalField(null=True)
    timezone = CharField()
    operator = CharField(null=True)
    is_disney = BooleanField(null=True)
    is_universal = BooleanField(null=True)
    is_active = BooleanField(null=True)
    created_at = DateTimeField(null=True)

    class Meta:
        table_name = "parks"


class OldRide(_Table):
    """A ride. `tier` and `category` are copies of its classification."""

    ride_id = IntegerField(primary_key=True)
    park_id = IntegerField()
    queue_times_id = IntegerField(null=True)
    themeparks_wiki_id = CharField(null=True)
    name = CharField()
    entity_type = CharField(null=True)
    category = CharField(null=True)
    land_area = CharField(null=True)
    tier = SmallIntegerField(null=True)
    is_active = BooleanField(null=True)
    last_operated_at = DateTimeField(null=True)

    class Meta:
        table_name = "rides"


class OldClassification(_Table):
    """What a ride was judged to be; at most one per ride."""

    ride_id = IntegerField(primary_key=True)
    tier = SmallIntegerField(null=True)
    category = CharField(null=True)

    class Meta:
        table_name = "ride_classifications"


class OldSchedule(_Table):
    """One row of a park's schedule; `schedule_date` is the park's own date."""

    schedule_id = IntegerField(primary_key=True)
    park_id = IntegerField()
    schedule_date = DateField()
    schedule_type = CharField(null=True)
    opening_time = DateTimeField(null=True)
    closing_time = DateTimeField(null=True)

    class Meta:
        table_name = "park_schedules"


class OldReading(_Table):
    """What a feed said of a ride at an instant; the status is NULL where the source was Queue-Times."""

    snapshot_id = BigIntegerField(primary_key=True)
    ride_id = IntegerField()
    recorded_at = DateTimeField()
    is_open = BooleanField(null=True)
    status = CharField(null=True)
    wait_time = IntegerField(null=True)

    class Meta:
        table_name = "ride_status_snapshots"


class OldRideDay(_Table):
    """A ride's Pacific day, in minutes; rows of several versions may stand side by side."""

    stat_id = IntegerField(primary_key=True)
    ride_id = IntegerField(null=True)
    stat_date = DateField()
    uptime_minutes = IntegerField(null=True)
    downtime_minutes = IntegerField(null=True)
    operating_hours_minutes = IntegerField(null=True)
    avg_wait_time = DecimalField(null=True)
    min_wait_time = IntegerField(null=True)
    max_wait_time = IntegerField(null=True)
    peak_wait_time = IntegerField(null=True)
    status_changes = IntegerField(null=True)
    longest_downtime_minutes = IntegerField(null=True)
    metrics_version = IntegerField(null=True)

    class Meta:
        table_name = "ride_daily_stats"


class _OldWeather(_Table):
    park_id = IntegerField()
    temperature_c = DecimalField(null=True)
    apparent_temperature_c = DecimalField(null=True)
    wind_speed_kmh = DecimalField(null=True)
    wind_gusts_kmh = DecimalField(null=True)
    wind_direction_degrees = SmallIntegerField(null=True)
    precipitation_mm = DecimalField(null=True)
    rain_mm = DecimalField(null=True)
    snowfall_mm = DecimalField(null=True)
    precipitation_probability = SmallIntegerField(null=True)
    cloud_cover_percent = SmallIntegerField(null=True)
    humidity_percent = SmallIntegerField(null=True)
    visibility_meters = IntegerField(null=True)
    pressure_hpa = DecimalField(null=True)
    weather_code = SmallIntegerField(null=True)


class OldObservation(_OldWeather):
    """The weather of the hour that begins at `observation_time`."""

    observation_id = IntegerField(primary_key=True)
    observation_time = DateTimeField()
    collected_at = DateTimeField(null=True)

    class Meta:
        table_name = "weather_observations"


class OldForecast(_OldWeather):
    """What was forecast at `issued_at` for the hour that begins at `forecast_time`."""

    forecast_id = IntegerField(primary_key=True)
    issued_at = DateTimeField()
    forecast_time = DateTimeField()

    class Meta:
        table_name = "weather_forecasts"


REQUIRED: tuple[type[Base], ...] = (OldPark, OldRide, OldReading)
OPTIONAL: tuple[type[Base], ...] = (OldClassification, OldSchedule, OldRideDay, OldObservation, OldForecast)
