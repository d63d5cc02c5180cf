"""Put metrics_version into the daily keys, because revisions of the rules must coexist; 100 M rows: 3-4 minutes.

Rows that exist become version 1. Measured: 1.7-2.2 s a million daily rows on MariaDB, 1.3 s on SQLite; undone: 4-5 s.
80 parks make a million in nine months.
"""

import peewee as pw

TABLES = {"daily_stats": "ride", "daily_park_stats": "park"}


def migrate(migrator, database, *, fake=False):
    # Stays in the database, so that a process of the former release can go on writing until it is replaced.
    first = {"metrics_version": pw.IntegerField(default=1, constraints=[pw.SQL("DEFAULT 1")])}
    for table, entity in TABLES.items():
        old = migrator.orm[table]
        new = remake(database, old, {**old._meta.fields, **first}, ("stat_date", entity, "metrics_version"))
        migrator.orm.add(new)
        if isinstance(database, pw.MySQLDatabase):
            migrator.sql(
                f"ALTER TABLE `{table}` ADD COLUMN metrics_version INTEGER NOT NULL DEFAULT 1 AFTER `{entity}_id`,"
                f" DROP PRIMARY KEY, ADD PRIMARY KEY (stat_date, `{entity}_id`, metrics_version)"
            )
        else:
            migrator.run(rebuild, database, old, new)


def rollback(migrator, database, *, fake=False):
    """Only version 1 is kept: the old key has room for one row a day."""
    for table in TABLES:
        migrator.delete_rows(table, where="metrics_version <> 1")
    for table, entity in TABLES.items():
        versioned = migrator.orm[table]
        kept = {name: field for name, field in versioned._meta.fields.items() if name != "metrics_version"}
        plain = remake(database, versioned, kept, ("stat_date", entity))
        migrator.orm.add(plain)
        if isinstance(database, pw.MySQLDatabase):
            migrator.sql(
                f"ALTER TABLE `{table}` DROP PRIMARY KEY, DROP COLUMN metrics_version,"
                f" ADD PRIMARY KEY (stat_date, `{entity}_id`)"
            )
        else:
            migrator.run(rebuild, database, versioned, plain)


def remake(database, model, fields, key):
    """`model` with other fields and another primary key."""
    meta = type("Meta", (), {"database": database, "table_name": model._meta.table_name})
    meta.primary_key = pw.CompositeKey(*key)
    return type(model.__name__, (pw.Model,), {**{n: field.clone() for n, field in fields.items()}, "Meta": meta})


def rebuild(database, old, new):
    """SQLite cannot change a primary key: fill a new table, which then takes the name of the old one."""
    table = old._meta.table_name
    shared = [name for name in new._meta.fields if name in old._meta.fields]
    new._meta.set_table_name(f"{table}__new")
    new._schema.create_table(safe=False)
    new.insert_from(
        old.select(*(old._meta.fields[name] for name in shared)), [new._meta.fields[name] for name in shared]
    ).execute()
    old._schema.drop_table(safe=False)
    database.execute_sql(f"ALTER TABLE {table}__new RENAME TO {table}")
    new._meta.set_table_name(table)
    new._schema.create_indexes(safe=False)
