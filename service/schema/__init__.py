"""The schema and its changes: the migration files, running them, and how the live schema differs from the models."""

from service.schema.drafting import create
from service.schema.drift import Drift, compare, differences, ensure_equal
from service.schema.facts import server, size_bytes
from service.schema.files import find_folder, findings, migration_names
from service.schema.lock import WAIT_SECONDS
from service.schema.runner import (
    Options,
    Planned,
    State,
    applied,
    downgrade,
    ensure_current,
    pending,
    plans,
    resolve,
    states,
    undone,
    unfinished,
    upgrade,
)

__all__ = [
    "Drift",
    "Options",
    "Planned",
    "State",
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
    "resolve",
    "server",
    "size_bytes",
    "states",
    "undone",
    "unfinished",
    "upgrade",
]
