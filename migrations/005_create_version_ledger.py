"""Create metrics_versions and stat_days, because days must know if they are right; 100 M rows: new tables, a second."""

import peewee as pw


def migrate(migrator, database, *, fake=False):
    mysql = isinstance(database, pw.MySQLDatabase)

    class Table(pw.Model):
        class Meta:
            table_settings = ["ENGINE=InnoDB", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"] if mysql else None

    @migrator.create_model
    class MetricsVersion(Table):
        version = pw.IntegerField(primary_key=True)
        description = pw.CharField(max_length=255)
        created_at = pw.BigIntegerField()
        promoted_at = pw.BigIntegerField(null=True)

        class Meta:
            table_name = "metrics_versions"

    @migrator.create_model
    class StatDay(Table):
        stat_date = pw.DateField()
        metrics_version = pw.IntegerField()
        sample_count = pw.IntegerField()
        computed_at = pw.BigIntegerField()
        dirty = pw.BooleanField(column_name="is_dirty")

        class Meta:
            table_name = "stat_days"
            primary_key = pw.CompositeKey("stat_date", "metrics_version")


def rollback(migrator, database, *, fake=False):
    migrator.remove_model("stat_days")
    migrator.remove_model("metrics_versions")
