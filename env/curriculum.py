"""What the next episode is about."""

from __future__ import annotations

from typing import Protocol

from .tasks import Assignment


class Scheduler(Protocol):
    """Chooses assignments and learns from how episodes ended. Used by several sessions at once."""

    def next(self) -> Assignment:
        """What the next episode is about."""
        ...

    def report(self, assignment: Assignment, score: float) -> None:
        """How an episode ended."""
        ...
