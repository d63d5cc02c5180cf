"""A column's declaration as text, behind its name: as SHOW CREATE TABLE gives it, or as SQLite keeps it."""

from __future__ import annotations

import re
from typing import cast

# What is no part of a declaration's grammar.
MYSQL_QUOTED = re.compile(r"'(?:[^'\\]|\\.|'')*'|`(?:[^`]|``)*`")
SQLITE_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^]]*\]""")
IN_PARENTHESES = re.compile(r"\([^()]*\)")

NULLABLE = re.compile(r" (NOT NULL|NULL DEFAULT NULL|DEFAULT NULL|NULL)\b")
BEHIND_TYPE = re.compile(r" (DEFAULT|ON UPDATE|AUTO_INCREMENT|INVISIBLE|COMMENT|CHECK)\b| /\*|$")
DEFAULT = re.compile(r" DEFAULT [-+]? ?[\w.]+", re.I)


def not_null(declared: str) -> str:
    """A column's declaration of SHOW CREATE TABLE with NOT NULL."""
    masked = _masked(declared, MYSQL_QUOTED)
    found = NULLABLE.search(masked)
    if found:
        return f"{declared[: found.start()]} NOT NULL{declared[found.end() :]}"
    place = cast("re.Match[str]", BEHIND_TYPE.search(masked)).start()
    return f"{declared[:place]} NOT NULL{declared[place:]}"


def nullable(declared: str) -> str:
    """A column's declaration of SHOW CREATE TABLE without NOT NULL."""
    found = NULLABLE.search(_masked(declared, MYSQL_QUOTED))
    if found is None or found[1] != "NOT NULL":
        return declared
    return f"{declared[: found.start()]} NULL{declared[found.end() :]}"


def without_default(declared: str) -> str:
    """A column's declaration, as SQLite keeps it, without its DEFAULT."""
    found = DEFAULT.search(_masked(declared, SQLITE_QUOTED))
    return f"{declared[: found.start()]}{declared[found.end() :]}" if found else declared


def _masked(declared: str, quoted: re.Pattern[str]) -> str:
    """As long as `declared`, with underscores for what is in quotes or in parentheses."""

    def mask(found: re.Match[str]) -> str:
        return "_" * len(found[0])

    masked = quoted.sub(mask, declared)
    while (shorter := IN_PARENTHESES.sub(mask, masked)) != masked:
        masked = shorter
    return masked
