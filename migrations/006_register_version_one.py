"""Register the first rules as version 1, because readers take the promoted one; 100 M rows: two inserts, a second."""

RELEASED_AT = 1_767_225_600  # 2026-01-01 00:00 UTC: the same on every installation


def migrate(migrator, database, *, fake=False):
    migrator.run(register, migrator.orm["metrics_versions"], migrator.orm["service_state"])


def rollback(migrator, database, *, fake=False):
    migrator.run(unregister, migrator.orm["metrics_versions"], migrator.orm["service_state"])


def register(versions, state):
    if versions.get_or_none(versions.version == 1) is None:
        versions.insert(
            version=1, description="first rules", created_at=RELEASED_AT, promoted_at=RELEASED_AT
        ).execute()
    if state.get_or_none(state.name == "active_metrics_version") is None:
        state.insert(name="active_metrics_version", value=1).execute()


def unregister(versions, state):
    state.delete().where(state.name == "active_metrics_version").execute()
    versions.delete().where(versions.version == 1).execute()
