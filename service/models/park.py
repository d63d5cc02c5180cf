"""Parks, their rides, and when they are open."""

from typing import TYPE_CHECKING

from peewee import (
    AutoField,
    BooleanField,
    CharField,
    CompositeKey,
    DateField,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    SmallIntegerField,
)

from service import rules
from service.models.base import Base, EnumField, UtcField


class Park(Base):
    """A park. `timezone` is an IANA name."""

    park_id = AutoField()
    queue_times_id = IntegerField(null=True, unique=True)
    themeparks_wiki_id = CharField(max_length=36, null=True, unique=True)
    name = CharField(max_length=255)
    city = CharField(max_length=100, null=True)
    state_province = CharField(max_length=100, null=True)
    country = CharField(max_length=2)
    latitude = DoubleField(null=True)
    longitude = DoubleField(null=True)
    timezone = CharField(max_length=50)
    operator = CharField(max_length=100, null=True)
    park_type = EnumField(rules.ParkType)
    is_active = BooleanField(default=True)
    created_at = UtcField()
    updated_at = UtcField()

    class Meta:
        table_name = "parks"


class Ride(Base):
    """A ride of a park. `source_ride_id` is its id in the recording or feed it first came from; `last_listed_at` is
    when a list of the sources last had it."""

    ride_id = AutoField()
    park = ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE")
    source_ride_id = CharField(max_length=255, null=True)
    queue_times_id = IntegerField(null=True, unique=True)
    themeparks_wiki_id = CharField(max_length=36, null=True, unique=True)
    name = CharField(max_length=255)
    category = EnumField(rules.Category, default=rules.Category.ATTRACTION)
    land_area = CharField(max_length=100, null=True)
    tier = SmallIntegerField(null=True)
    is_active = BooleanField(default=True)
    last_operated_at = UtcField(null=True)
    last_listed_at = UtcField(null=True)
    created_at = UtcField()
    updated_at = UtcField()

    if TYPE_CHECKING:
        park_id: int

    class Meta:
        table_name = "rides"


class ParkSchedule(Base):
    """One opening of a park; `schedule_date` is the park's own date. A fetched day without one has a CLOSED row."""

    park = ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="CASCADE", index=False)
    schedule_date = DateField()
    schedule_type = EnumField(rules.ScheduleType)
    opening_at = UtcField()
    closing_at = UtcField()
    fetched_at = UtcField()

    if TYPE_CHECKING:
        park_id: int

    class Meta:
        table_name = "park_schedules"
        primary_key = CompositeKey("park", "schedule_date", "schedule_type", "opening_at")
