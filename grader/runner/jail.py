"""What encloses one run: the one place that differs between tiers."""

from __future__ import annotations

from typing import Protocol

from . import limits as kernel_limits
from .processes import become_subreaper
from .request import Limits


class Jail(Protocol):
    """An enclosure for runs. It is made once, in the zygote, before anything is imported into it.

    guarantees: those of DESIGN section 7 that hold for every run in it, found out by trying.
    """

    guarantees: tuple[str, ...]

    def before_fork(self) -> None:
        """Called in the zygote before each run."""

    def enter_child(self, limits: Limits) -> None:
        """Called in the child, in its own session and folder, before the first line of the run."""


class PosixJail:
    """Resource limits, a watchdog, and a subreaper: no namespaces, so nothing about files or the network."""

    def __init__(self) -> None:
        bounds = ("bounded_memory", "bounded_output", "bounded_processes", "bounded_time")
        self.guarantees: tuple[str, ...] = bounds
        if become_subreaper():
            self.guarantees = (*bounds, "no_survivor")
        self._users_threads = 0

    def before_fork(self) -> None:
        self._users_threads = kernel_limits.threads_of_user()

    def enter_child(self, limits: Limits) -> None:
        kernel_limits.apply(limits, self._users_threads)
