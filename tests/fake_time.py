"""A clock on which waiting takes no time, for tests of what waits for the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class FakeTime:
    """`time` for service.jobs.patience: its monotonic clock goes on when somebody sleeps, and only then."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.on_sleep: Callable[[float], Any] = lambda seconds: None

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep(self.monotonic())
