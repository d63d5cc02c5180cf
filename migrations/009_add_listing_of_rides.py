"""Remember when a list last had a ride, because what is gone has to be noticed; 100 M rows: instant, rides are few."""

import peewee as pw


def migrate(migrator, database, *, fake=False):
    migrator.add_fields("rides", last_listed_at=pw.BigIntegerField(null=True))


def rollback(migrator, database, *, fake=False):
    migrator.remove_fields("rides", "last_listed_at")
