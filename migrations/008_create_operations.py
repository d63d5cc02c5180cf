"""Create leases, baselines and data doubts, because operation needs a memory; 100 M rows: new tables, a second."""

import peewee as pw


def migrate(migrator, database, *, fake=False):
    mysql = isinstance(database, pw.MySQLDatabase)

    class Table(pw.Model):
        class Meta:
            table_settings = ["ENGINE=InnoDB", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"] if mysql else None

    @migrator.create_model
    class JobLease(Table):
        name = pw.CharField(max_length=50, primary_key=True)
        owner = pw.CharField(max_length=100)
        acquired_at = pw.BigIntegerField()
        expires_at = pw.BigIntegerField()

        class Meta:
            table_name = "job_leases"

    @migrator.create_model
    class PerformanceBaseline(Table):
        query_name = pw.CharField(max_length=100)
        captured_at = pw.BigIntegerField()
        sample_count = pw.IntegerField()
        avg_ms = pw.DoubleField()
        p50_ms = pw.DoubleField()
        p95_ms = pw.DoubleField()
        p99_ms = pw.DoubleField()

        class Meta:
            table_name = "performance_baselines"
            primary_key = pw.CompositeKey("query_name", "captured_at")

    @migrator.create_model
    class DataQualityIssue(Table):
        issue_id = pw.BigAutoField()
        data_source = pw.SmallIntegerField()
        issue_type = pw.SmallIntegerField()
        detected_at = pw.BigIntegerField(index=True)
        park = pw.ForeignKeyField(
            migrator.orm["parks"], column_name="park_id", backref="+", on_delete="SET NULL", null=True
        )
        ride = pw.ForeignKeyField(
            migrator.orm["rides"], column_name="ride_id", backref="+", on_delete="SET NULL", null=True
        )
        themeparks_wiki_id = pw.CharField(max_length=36, null=True)
        queue_times_id = pw.IntegerField(null=True)
        entity_name = pw.CharField(max_length=255, null=True)
        last_updated_at = pw.BigIntegerField(null=True)
        data_age_minutes = pw.IntegerField(null=True)
        reported_status = pw.CharField(max_length=50, null=True)
        details = pw.TextField(null=True)
        is_resolved = pw.BooleanField()
        resolved_at = pw.BigIntegerField(null=True)

        class Meta:
            table_name = "data_quality_issues"


def rollback(migrator, database, *, fake=False):
    migrator.remove_model("data_quality_issues")
    migrator.remove_model("performance_baselines")
    migrator.remove_model("job_leases")
