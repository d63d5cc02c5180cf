"""The schema and its changes: the migration files, running them, and how the live schema differs from the models."""

from service.schema.drift import differences, ensure_equal
from service.schema.facts import server, size_bytes
from service.schema.files import find_folder, findings, migration_names
from service.schema.runner import applied, downgrade, ensure_current, pending, upgrade

__all__ = [
    "applied",
    "differences",
    "downgrade",
    "ensure_current",
    "ensure_equal",
    "find_folder",
    "findings",
    "migration_names",
    "pending",
    "server",
    "size_bytes",
    "upgrade",
]
