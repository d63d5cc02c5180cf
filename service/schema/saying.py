"""Telling the user, line by line, what goes on."""

from collections.abc import Callable

Say = Callable[[str], None]

SECONDS_BETWEEN_LINES = 5
