"""Drop hourly_stats, because hours are computed from readings when asked; 100 M rows: seconds, files are removed.

So a corrected rule corrects past hours too. The rollback brings back the table, not its rows.
"""

import peewee as pw


def migrate(migrator, database, *, fake=False):
    migrator.remove_model("hourly_stats")


def rollback(migrator, database, *, fake=False):
    mysql = isinstance(database, pw.MySQLDatabase)

    @migrator.create_model
    class HourlyStats(pw.Model):
        hour_start_utc = pw.BigIntegerField()
        ride = pw.ForeignKeyField(migrator.orm["rides"], column_name="ride_id", backref="+", on_delete="CASCADE")
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
            table_settings = ["ENGINE=InnoDB", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"] if mysql else None
