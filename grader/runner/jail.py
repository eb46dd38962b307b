"""What encloses one run: the one place that differs between tiers."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any, Protocol

from . import limits as kernel_limits
from .processes import Tree, become_subreaper, end_tree, reap_orphans, tree_below
from .request import Limits

Reaped = dict[int, tuple[int, resource.struct_rusage]]
"""Process id → its wait status and what it used."""


class Room(Protocol):
    """Where one run takes place.

    folder: below it the run has `workspace`, `home` and `tmp`.
    parent: what the run sees as its parent's process id.
    workspace_fd: the workspace, where it is made for the run and to be passed to the caller.
    """

    folder: Path
    parent: int
    workspace_fd: int | None

    def fork(self) -> int:
        """As os.fork, into the room."""

    def enter(self, limits: Limits) -> None:
        """Called in the child, in its own session, before the first line of the run; locks every door."""

    def tree(self, most: int | None) -> Tree:
        """All processes of the run now; counting ends soon after `most`."""

    def extra_bytes(self) -> int:
        """Memory of the run that no process has mapped: its files, where these lie in memory."""

    def reap_orphans(self, main: int) -> float:
        """Reap what fell back to this process and has ended, but not `main`; its CPU seconds."""

    def end(self, main: int) -> Reaped | None:
        """Kill and reap all of the run; None when something was left."""

    def close(self) -> None:
        """Let go of the descriptors."""


class Jail(Protocol):
    """An enclosure for runs. It is made once, in the zygote, before anything is imported into it."""

    tier: str

    def room(self, order: dict[str, Any], limits: Limits) -> Room:
        """A room for the next run.

        Raises:
            RuntimeError: it could not be made; the zygote is to be replaced.
        """


class PosixJail:
    """Resource limits, a watchdog, and a subreaper: no namespaces, so nothing about files or the network."""

    tier = "posix"

    def __init__(self) -> None:
        become_subreaper()

    def room(self, order: dict[str, Any], limits: Limits) -> PosixRoom:
        return PosixRoom(Path(order["folder"]), kernel_limits.threads_of_user())


class PosixRoom:
    """A folder on disk that the caller made."""

    workspace_fd: int | None = None

    def __init__(self, folder: Path, users_threads: int) -> None:
        self.folder = folder
        self.parent = os.getpid()
        self._users_threads = users_threads

    def fork(self) -> int:
        return os.fork()

    def enter(self, limits: Limits) -> None:
        kernel_limits.apply(limits, self._users_threads)

    def tree(self, most: int | None) -> Tree:
        return tree_below(os.getpid(), most)

    def extra_bytes(self) -> int:
        return 0

    def reap_orphans(self, main: int) -> float:
        return reap_orphans(main)

    def end(self, main: int) -> Reaped | None:
        return end_tree()

    def close(self) -> None:
        pass
