"""What was decided: statistics of finished days and years, and the ledger that says which are right."""

from typing import TYPE_CHECKING

from peewee import BooleanField, CharField, CompositeKey, DateField, DecimalField, ForeignKeyField
from peewee import SQL, IntegerField, SmallIntegerField

from service.models.base import Base, UtcField
from service.models.park import Park, Ride

# Ratios are stored for people to read; code divides the whole sums beside them.


class MetricsVersion(Base):
    """A revision of the rules that statistics were computed with."""

    version = IntegerField(primary_key=True)
    description = CharField(max_length=255)
    created_at = UtcField()
    promoted_at = UtcField(null=True)

    class Meta:
        table_name = "metrics_versions"


class StatDay(Base):
    """The ledger: a Pacific day whose statistics were computed, from how many readings, and whether they still hold."""

    stat_date = DateField()
    metrics_version = IntegerField()
    sample_count = IntegerField()
    computed_at = UtcField()
    dirty = BooleanField(column_name="is_dirty", default=False)  # `is_dirty` is a method of peewee's Model

    class Meta:
        table_name = "stat_days"
        primary_key = CompositeKey("stat_date", "metrics_version")


class DailyStats(Base):
    """A ride's Pacific day. `sample_count` = readings while the park was open, `open_minutes` = the park's."""

    stat_date = DateField()
    ride = ForeignKeyField(Ride, column_name="ride_id", backref="+", on_delete="CASCADE")
    metrics_version = IntegerField(default=1, constraints=[SQL("DEFAULT 1")])
    park_id = IntegerField()
    weight = SmallIntegerField()
    sample_count = IntegerField()
    open_minutes = IntegerField()
    operating_minutes = IntegerField()
    total_downtime_minutes = IntegerField()
    downtime_incidents = IntegerField()
    longest_downtime_minutes = IntegerField(null=True)
    status_changes = IntegerField()
    uptime_percentage = DecimalField(max_digits=4, decimal_places=1, null=True)
    shame_score = DecimalField(max_digits=5, decimal_places=3, null=True)
    wait_sum = IntegerField()
    wait_samples = IntegerField()
    avg_wait_time = DecimalField(max_digits=5, decimal_places=1, null=True)
    min_wait_time = SmallIntegerField(null=True)
    max_wait_time = SmallIntegerField(null=True)
    computed_at = UtcField()

    if TYPE_CHECKING:
        ride_id: int

    class Meta:
        table_name = "daily_stats"
        primary_key = CompositeKey("stat_date", "ride", "metrics_version")


class DailyParkStats(Base):
    """A park's Pacific day. `sample_count` = observed slots while open; one row for every active park and day."""

    stat_date = DateField()
    park = ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE")
    metrics_version = IntegerField(default=1, constraints=[SQL("DEFAULT 1")])
    sample_count = IntegerField()
    open_minutes = IntegerField()
    rides_tracked = IntegerField()
    rides_with_downtime = IntegerField()
    operating_minutes = IntegerField()
    total_downtime_minutes = IntegerField()
    weighted_downtime_minutes = IntegerField()
    roster_weight = IntegerField()
    uptime_percentage = DecimalField(max_digits=4, decimal_places=1, null=True)
    shame_score = DecimalField(max_digits=5, decimal_places=3, null=True)
    wait_sum = IntegerField()
    wait_samples = IntegerField()
    avg_wait_time = DecimalField(max_digits=5, decimal_places=1, null=True)
    peak_wait_time = SmallIntegerField(null=True)
    computed_at = UtcField()

    if TYPE_CHECKING:
        park_id: int

    class Meta:
        table_name = "daily_park_stats"
        primary_key = CompositeKey("stat_date", "park", "metrics_version")


class _Year(Base):
    """What a park's and a ride's year have in common."""

    year = SmallIntegerField()
    metrics_version = IntegerField()
    days_operated = SmallIntegerField()
    sample_count = IntegerField()
    total_downtime_minutes = IntegerField()
    operating_minutes = IntegerField()
    wait_sum = IntegerField()
    wait_samples = IntegerField()
    shame_score = DecimalField(max_digits=5, decimal_places=3, null=True)
    is_complete = BooleanField()
    computed_at = UtcField()


class YearlyParkStats(_Year):
    """A park's calendar year."""

    park = ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE")

    class Meta:
        table_name = "yearly_park_stats"
        primary_key = CompositeKey("year", "park", "metrics_version")


class YearlyRideStats(_Year):
    """A ride's calendar year."""

    ride = ForeignKeyField(Ride, column_name="ride_id", backref="+", on_delete="CASCADE")

    class Meta:
        table_name = "yearly_ride_stats"
        primary_key = CompositeKey("year", "ride", "metrics_version")
