"""The schema and its changes: the migration files, running them, and how the live schema differs from the models."""

from service.schema.drafting import create
from service.schema.drift import Drift, compare, differences, ensure_equal
from service.schema.facts import server, size_bytes
from service.schema.files import find_folder, findings, migration_names
from service.schema.lock import WAIT_SECONDS
from service.schema.runner import (
    Options,
    State,
    applied,
    downgrade,
    ensure_current,
    pending,
    plans,
    states,
    undone,
    unfinished,
    upgrade,
)
from service.schema.statements import Statement

__all__ = [
    "Drift",
    "Options",
    "State",
    "Statement",
    "WAIT_SECONDS",
    "applied",
    "compare",
    "create",
    "differences",
    "downgrade",
    "ensure_current",
    "ensure_equal",
    "find_folder",
    "findings",
    "migration_names",
    "pending",
    "plans",
    "server",
    "size_bytes",
    "states",
    "undone",
    "unfinished",
    "upgrade",
]
