"""Create the first tables, because everything stands on them; 100 M rows: they are new, a second."""

import peewee as pw


def migrate(migrator, database, *, fake=False):
    mysql = isinstance(database, pw.MySQLDatabase)

    class Table(pw.Model):
        class Meta:
            # A binary collation compares text as SQLite does. The server's default may be another character set.
            table_settings = ["ENGINE=InnoDB", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"] if mysql else None

    @migrator.create_model
    class Park(Table):
        park_id = pw.AutoField()
        queue_times_id = pw.IntegerField(null=True, unique=True)
        themeparks_wiki_id = pw.CharField(max_length=36, null=True, unique=True)
        name = pw.CharField(max_length=255)
        city = pw.CharField(max_length=100, null=True)
        state_province = pw.CharField(max_length=100, null=True)
        country = pw.CharField(max_length=2)
        latitude = pw.DoubleField(null=True)
        longitude = pw.DoubleField(null=True)
        timezone = pw.CharField(max_length=50)
        operator = pw.CharField(max_length=100, null=True)
        park_type = pw.SmallIntegerField()
        is_active = pw.BooleanField()
        created_at = pw.BigIntegerField()
        updated_at = pw.BigIntegerField()

        class Meta:
            table_name = "parks"

    @migrator.create_model
    class Ride(Table):
        ride_id = pw.AutoField()
        park = pw.ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE")
        source_ride_id = pw.CharField(max_length=255, null=True)
        queue_times_id = pw.IntegerField(null=True, unique=True)
        themeparks_wiki_id = pw.CharField(max_length=36, null=True, unique=True)
        name = pw.CharField(max_length=255)
        category = pw.SmallIntegerField()
        land_area = pw.CharField(max_length=100, null=True)
        tier = pw.SmallIntegerField(null=True)
        is_active = pw.BooleanField()
        last_operated_at = pw.BigIntegerField(null=True)
        created_at = pw.BigIntegerField()
        updated_at = pw.BigIntegerField()

        class Meta:
            table_name = "rides"

    @migrator.create_model
    class ParkSchedule(Table):
        park = pw.ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE", index=False)
        schedule_date = pw.DateField()
        schedule_type = pw.SmallIntegerField()
        opening_at = pw.BigIntegerField()
        closing_at = pw.BigIntegerField()
        fetched_at = pw.BigIntegerField()

        class Meta:
            table_name = "park_schedules"
            primary_key = pw.CompositeKey("park", "schedule_date", "schedule_type", "opening_at")

    # The two snapshot tables have no foreign keys: checking them costs 8 % of every insert, and a third index.
    @migrator.create_model
    class RideStatusSnapshot(Table):
        snapshot_time = pw.BigIntegerField()
        ride_id = pw.IntegerField()
        status = pw.SmallIntegerField(null=True)
        wait_time = pw.SmallIntegerField(null=True)
        is_open = pw.BooleanField(null=True)

        class Meta:
            table_name = "ride_status_snapshots"
            primary_key = pw.CompositeKey("snapshot_time", "ride_id")
            without_rowid = not mysql  # clustered by its key, as InnoDB is anyway

    @migrator.create_model
    class ParkActivitySnapshot(Table):
        park_id = pw.IntegerField()
        snapshot_time = pw.BigIntegerField()
        rides_tracked = pw.SmallIntegerField()
        rides_open = pw.SmallIntegerField()
        rides_down = pw.SmallIntegerField()
        rides_closed = pw.SmallIntegerField()
        avg_wait_time = pw.DecimalField(max_digits=5, decimal_places=1, null=True)
        max_wait_time = pw.SmallIntegerField(null=True)
        is_suspect = pw.BooleanField()
        source = pw.SmallIntegerField()

        class Meta:
            table_name = "park_activity_snapshots"
            primary_key = pw.CompositeKey("park_id", "snapshot_time")
            without_rowid = not mysql

    @migrator.create_model
    class HourlyStats(Table):
        hour_start_utc = pw.BigIntegerField()
        ride = pw.ForeignKeyField(Ride, column_name="ride_id", backref="+", on_delete="CASCADE")
        park_id = pw.IntegerField()
        avg_wait_time_minutes = pw.DecimalField(max_digits=6, decimal_places=2, null=True)
        operating_snapshots = pw.IntegerField()
        down_snapshots = pw.IntegerField()
        downtime_hours = pw.DecimalField(max_digits=6, decimal_places=2)
        uptime_percentage = pw.DecimalField(max_digits=5, decimal_places=2, null=True)
        snapshot_count = pw.IntegerField()
        ride_operated = pw.BooleanField()

        class Meta:
            table_name = "hourly_stats"
            primary_key = pw.CompositeKey("hour_start_utc", "ride")

    @migrator.create_model
    class DailyStats(Table):
        stat_date = pw.DateField()
        ride = pw.ForeignKeyField(Ride, column_name="ride_id", backref="+", on_delete="CASCADE")
        park_id = pw.IntegerField()
        weight = pw.SmallIntegerField()
        sample_count = pw.IntegerField()
        open_minutes = pw.IntegerField()
        operating_minutes = pw.IntegerField()
        total_downtime_minutes = pw.IntegerField()
        downtime_incidents = pw.IntegerField()
        longest_downtime_minutes = pw.IntegerField(null=True)
        status_changes = pw.IntegerField()
        uptime_percentage = pw.DecimalField(max_digits=4, decimal_places=1, null=True)
        shame_score = pw.DecimalField(max_digits=5, decimal_places=3, null=True)
        wait_sum = pw.IntegerField()
        wait_samples = pw.IntegerField()
        avg_wait_time = pw.DecimalField(max_digits=5, decimal_places=1, null=True)
        min_wait_time = pw.SmallIntegerField(null=True)
        max_wait_time = pw.SmallIntegerField(null=True)
        computed_at = pw.BigIntegerField()

        class Meta:
            table_name = "daily_stats"
            primary_key = pw.CompositeKey("stat_date", "ride")

    @migrator.create_model
    class DailyParkStats(Table):
        stat_date = pw.DateField()
        park = pw.ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE")
        sample_count = pw.IntegerField()
        open_minutes = pw.IntegerField()
        rides_tracked = pw.IntegerField()
        rides_with_downtime = pw.IntegerField()
        operating_minutes = pw.IntegerField()
        total_downtime_minutes = pw.IntegerField()
        weighted_downtime_minutes = pw.IntegerField()
        roster_weight = pw.IntegerField()
        uptime_percentage = pw.DecimalField(max_digits=4, decimal_places=1, null=True)
        shame_score = pw.DecimalField(max_digits=5, decimal_places=3, null=True)
        wait_sum = pw.IntegerField()
        wait_samples = pw.IntegerField()
        avg_wait_time = pw.DecimalField(max_digits=5, decimal_places=1, null=True)
        peak_wait_time = pw.SmallIntegerField(null=True)
        computed_at = pw.BigIntegerField()

        class Meta:
            table_name = "daily_park_stats"
            primary_key = pw.CompositeKey("stat_date", "park")

    @migrator.create_model
    class ServiceState(Table):
        name = pw.CharField(max_length=50, primary_key=True)
        value = pw.BigIntegerField()

        class Meta:
            table_name = "service_state"

    @migrator.create_model
    class AggregationJobLog(Table):
        job_id = pw.AutoField()
        job_type = pw.CharField(max_length=30)
        period_start = pw.DateField(null=True)
        period_end = pw.DateField(null=True)
        metrics_version = pw.IntegerField(null=True)
        status = pw.SmallIntegerField()
        started_at = pw.BigIntegerField()
        finished_at = pw.BigIntegerField(null=True)
        rows_processed = pw.IntegerField()
        warnings = pw.IntegerField()
        error_details = pw.TextField(null=True)
        owner = pw.CharField(max_length=100)

        class Meta:
            table_name = "aggregation_job_log"

    class Weather(Table):
        temperature_c = pw.DecimalField(max_digits=5, decimal_places=2, null=True)
        apparent_temperature_c = pw.DecimalField(max_digits=5, decimal_places=2, null=True)
        wind_speed_kmh = pw.DecimalField(max_digits=5, decimal_places=2, null=True)
        wind_gusts_kmh = pw.DecimalField(max_digits=5, decimal_places=2, null=True)
        wind_direction_degrees = pw.SmallIntegerField(null=True)
        precipitation_mm = pw.DecimalField(max_digits=6, decimal_places=2, null=True)
        rain_mm = pw.DecimalField(max_digits=6, decimal_places=2, null=True)
        snowfall_mm = pw.DecimalField(max_digits=6, decimal_places=2, null=True)
        precipitation_probability = pw.SmallIntegerField(null=True)
        cloud_cover_percent = pw.SmallIntegerField(null=True)
        humidity_percent = pw.SmallIntegerField(null=True)
        visibility_meters = pw.IntegerField(null=True)
        pressure_hpa = pw.DecimalField(max_digits=6, decimal_places=2, null=True)
        weather_code = pw.SmallIntegerField(null=True)

    @migrator.create_model
    class WeatherObservation(Weather):
        observation_id = pw.BigAutoField()
        park = pw.ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE", index=False)
        observation_time = pw.BigIntegerField(index=True)
        collected_at = pw.BigIntegerField()

        class Meta:
            table_name = "weather_observations"
            indexes = ((("park", "observation_time"), True),)

    @migrator.create_model
    class WeatherForecast(Weather):
        forecast_id = pw.BigAutoField()
        park = pw.ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE", index=False)
        issued_at = pw.BigIntegerField(index=True)
        forecast_time = pw.BigIntegerField()

        class Meta:
            table_name = "weather_forecasts"
            indexes = ((("park", "issued_at", "forecast_time"), True),)


def rollback(migrator, database, *, fake=False):
    for table in (
        "weather_forecasts",
        "weather_observations",
        "aggregation_job_log",
        "service_state",
        "daily_park_stats",
        "daily_stats",
        "hourly_stats",
        "park_activity_snapshots",
        "ride_status_snapshots",
        "park_schedules",
        "rides",
        "parks",
    ):
        migrator.remove_model(table)
