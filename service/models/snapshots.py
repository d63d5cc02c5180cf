"""What was observed: one reading per ride and slot, and how each park looked when the slot was written."""

from typing import Any

from peewee import BooleanField, CompositeKey, DecimalField, IntegerField, SmallIntegerField
from playhouse.hybrid import hybrid_property  # type: ignore[import-untyped]

from service import rules
from service.models.base import Base, EnumField, UtcField


class RideStatusSnapshot(Base):
    """A reading: what a feed said of one ride in one slot. No foreign key: it would cost 8 % of every insert and a
    third index; `jobs.store` is the only writer and knows its rides."""

    snapshot_time = UtcField()
    ride_id = IntegerField()
    status = EnumField(rules.Status, null=True)
    wait_time = SmallIntegerField(null=True)
    is_open = BooleanField(null=True)

    @hybrid_property  # type: ignore[untyped-decorator]
    def is_operating(self) -> Any:
        """Whether the ride was running; an SQL expression on the class."""
        return rules.is_operating(self.status, self.is_open, self.wait_time)

    computed_is_open = is_operating  # the same fact under its other name

    class Meta:
        table_name = "ride_status_snapshots"
        without_rowid = True  # on SQLite: clustered by its key, as InnoDB is anyway
        # Time first: a slot's insert is an append, the newest slot one short range, pruning a contiguous delete.
        primary_key = CompositeKey("snapshot_time", "ride_id")
        # Ride first and covering: one park's rides over any window without touching the table.
        indexes = ((("ride_id", "snapshot_time", "status", "wait_time", "is_open"), False),)


class ParkActivitySnapshot(Base):
    """What a park's slot looked like when it was written: for display and data quality, never for a rule."""

    park_id = IntegerField()
    snapshot_time = UtcField()
    rides_tracked = SmallIntegerField()
    rides_open = SmallIntegerField()
    rides_down = SmallIntegerField()
    rides_closed = SmallIntegerField()
    avg_wait_time = DecimalField(max_digits=5, decimal_places=1, null=True)
    max_wait_time = SmallIntegerField(null=True)
    is_suspect = BooleanField(default=False)
    source = EnumField(rules.Source)

    class Meta:
        table_name = "park_activity_snapshots"
        without_rowid = True
        primary_key = CompositeKey("park_id", "snapshot_time")
        indexes = ((("snapshot_time",), False),)
