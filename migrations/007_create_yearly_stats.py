"""Create statistics of years, because a year of days is too much to add up; 100 M rows: new tables, a second."""

import peewee as pw


def migrate(migrator, database, *, fake=False):
    mysql = isinstance(database, pw.MySQLDatabase)

    class Year(pw.Model):
        year = pw.SmallIntegerField()
        metrics_version = pw.IntegerField()
        days_operated = pw.SmallIntegerField()
        sample_count = pw.IntegerField()
        total_downtime_minutes = pw.IntegerField()
        operating_minutes = pw.IntegerField()
        wait_sum = pw.IntegerField()
        wait_samples = pw.IntegerField()
        shame_score = pw.DecimalField(max_digits=5, decimal_places=3, null=True)
        is_complete = pw.BooleanField()
        computed_at = pw.BigIntegerField()

        class Meta:
            table_settings = ["ENGINE=InnoDB", "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"] if mysql else None

    @migrator.create_model
    class YearlyParkStats(Year):
        park = pw.ForeignKeyField(migrator.orm["parks"], column_name="park_id", backref="+", on_delete="CASCADE")

        class Meta:
            table_name = "yearly_park_stats"
            primary_key = pw.CompositeKey("year", "park", "metrics_version")

    @migrator.create_model
    class YearlyRideStats(Year):
        ride = pw.ForeignKeyField(migrator.orm["rides"], column_name="ride_id", backref="+", on_delete="CASCADE")

        class Meta:
            table_name = "yearly_ride_stats"
            primary_key = pw.CompositeKey("year", "ride", "metrics_version")


def rollback(migrator, database, *, fake=False):
    migrator.remove_model("yearly_ride_stats")
    migrator.remove_model("yearly_park_stats")
