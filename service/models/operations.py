"""What the service knows of itself: its state, jobs, leases, baselines, and doubts about the data."""

from enum import IntEnum

from peewee import AutoField, BigAutoField, BigIntegerField, BooleanField, CharField, CompositeKey, DateField
from peewee import DoubleField, ForeignKeyField, IntegerField, TextField

from service import rules
from service.models.base import Base, EnumField, UtcField
from service.models.park import Park, Ride


class JobStatus(IntEnum):
    """How a job stands; the row of one that was killed stays RUNNING."""

    RUNNING = 1
    SUCCESS = 2
    FAILED = 3


class IssueType(IntEnum):
    """What is wrong with a reading or a feed."""

    STALE_DATA = 1
    MISSING_DATA = 2
    INVALID_STATUS = 3
    INCONSISTENT_DATA = 4


class ServiceState(Base):
    """Whole numbers the service keeps about itself, by name (read by `queries.state`, written by `jobs.marks`)."""

    name = CharField(max_length=50, primary_key=True)
    value = BigIntegerField()

    class Meta:
        table_name = "service_state"


class AggregationJobLog(Base):
    """One run of a job."""

    job_id = AutoField()
    job_type = CharField(max_length=30)
    period_start = DateField(null=True)
    period_end = DateField(null=True)
    metrics_version = IntegerField(null=True)
    status = EnumField(JobStatus)
    started_at = UtcField()
    finished_at = UtcField(null=True)
    rows_processed = IntegerField(default=0)
    warnings = IntegerField(default=0)
    error_details = TextField(null=True)
    owner = CharField(max_length=100)

    class Meta:
        table_name = "aggregation_job_log"
        indexes = ((("job_type", "started_at"), False),)


class JobLease(Base):
    """Who may run a job until when: a row, so that it holds on replicated clusters."""

    name = CharField(max_length=50, primary_key=True)
    owner = CharField(max_length=100)
    acquired_at = UtcField()
    expires_at = UtcField()

    class Meta:
        table_name = "job_leases"


class PerformanceBaseline(Base):
    """How long a critical query took when it was captured."""

    query_name = CharField(max_length=100)
    captured_at = UtcField()
    sample_count = IntegerField()
    avg_ms = DoubleField()
    p50_ms = DoubleField()
    p95_ms = DoubleField()
    p99_ms = DoubleField()

    class Meta:
        table_name = "performance_baselines"
        primary_key = CompositeKey("query_name", "captured_at")


class DataQualityIssue(Base):
    """A doubt about what a source said; the reading itself is stored or dropped as the rules say."""

    issue_id = BigAutoField()
    data_source = EnumField(rules.Source)
    issue_type = EnumField(IssueType)
    detected_at = UtcField()
    park = ForeignKeyField(Park, column_name="park_id", backref="+", on_delete="SET NULL", null=True)
    ride = ForeignKeyField(Ride, column_name="ride_id", backref="+", on_delete="SET NULL", null=True)
    themeparks_wiki_id = CharField(max_length=36, null=True)
    queue_times_id = IntegerField(null=True)
    entity_name = CharField(max_length=255, null=True)
    last_updated_at = UtcField(null=True)
    data_age_minutes = IntegerField(null=True)
    reported_status = CharField(max_length=50, null=True)
    details = TextField(null=True)
    is_resolved = BooleanField(default=False)
    resolved_at = UtcField(null=True)

    class Meta:
        table_name = "data_quality_issues"
        indexes = ((("detected_at",), False),)
