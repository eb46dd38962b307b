"""The tier `strict`: the zygote in namespaces with a root of its own, and a cell for each run."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from ..runner import limits as kernel_limits
from ..runner.jail import Reaped
from ..runner.processes import PATIENCE_SECONDS, PR_SET_PDEATHSIG, Tree, children_of, names_in, tree_of
from ..runner.request import Limits
from . import identity, kernel, landlock, seccomp
from .cells import Cell, CellError, Usher, end, is_gone
from .root import OWN, USER, covered_by_own, enter, mount_for_zygote
from .visible import Shown

FIRST = "/"
"""Below which a run has `workspace`, `home` and `tmp`."""
_OUTER = (
    kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
)
_WRITABLE = (*(f"/{name}" for name in OWN), "/dev/null", "/dev/zero", "/dev/full")
_LANDLOCK_NEEDED = 1
_OWN_PROCESSES = 3
"""Of the zygote's user in its namespace, beside a run: the zygote, the usher and a cell's first."""


def imprison(shown: Shown, keep: set[int], adopted: int) -> None:
    """Go, through forks, from the warden's process into the jail: returns in the zygote only, which is the
    first process of its pid namespace. Every process that stays outside leaves through `os._exit`.

    keep: descriptors that may stay open inside. adopted: one from which a byte can be read as soon as the
    warden is the zygote's parent.

    Raises:
        OSError: this machine does not allow some part of it.
    """
    user = identity.ordinary_user()
    if user is not None:
        kernel.unshare(kernel.CLONE_NEWNS)
        enter(shown)
        identity.become(user)
        identity.unshare_with_user(_OUTER, USER)
    else:
        identity.unshare_with_user(_OUTER, USER)
        enter(shown)
    with contextlib.suppress(OSError):
        kernel.unshare(kernel.CLONE_NEWCGROUP)
    if os.fork() != 0:
        os._exit(0)
    # only from now on does the signal at a parent's death mean the warden's
    if not os.read(adopted, 1):
        os._exit(1)
    kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    mount_for_zygote(covered_by_own(shown))
    for name in names_in("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))


class StrictJail:
    """Made in the zygote, after `imprison` and before torch is imported."""

    tier = "strict"

    def __init__(self, shown: Shown) -> None:
        self._landlock = landlock.abi()
        if self._landlock < _LANDLOCK_NEEDED:
            raise OSError(38, "Landlock is not there or switched off")
        self._filter = seccomp.program()
        kernel.bound_capabilities()
        self._pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._usher = Usher(covered_by_own(shown))
        self._leaving: Cell | None = None

    def room(self, order: dict[str, Any], limits: Limits) -> StrictRoom:
        if self._leaving is not None:
            if not is_gone(self._leaving, PATIENCE_SECONDS):
                raise CellError("the cell of the last run did not go")
            self._leaving.close()
        cell = self._leaving = self._usher.cell(limits.memory_mib << 20)
        return StrictRoom(cell, self._usher.pid, self._pid_namespace, self._filter, self._landlock)


class StrictRoom:
    """Where one run takes place."""

    folder = Path(FIRST)
    parent = 0
    """What the run sees as its parent: nothing."""

    def __init__(self, cell: Cell, usher: int, pid_namespace: int, program: bytes, version: int) -> None:
        self._cell = cell
        self._usher = usher
        self._pid_namespace = pid_namespace
        self._program = program
        self._landlock = version
        self.workspace_fd: int | None = cell.workspace

    def fork(self) -> int:
        """As os.fork, the child being in the cell's pid namespace."""
        kernel.setns(self._cell.namespaces["pid"], kernel.CLONE_NEWPID)
        try:
            pid = os.fork()
        except BaseException:
            kernel.setns(self._pid_namespace, kernel.CLONE_NEWPID)
            raise
        if pid:
            kernel.setns(self._pid_namespace, kernel.CLONE_NEWPID)
        return pid

    def enter(self, limits: Limits) -> None:
        """In the child: the cell's other namespaces, and every lock behind it."""
        self._cell.join()
        kernel_limits.apply(limits, _OWN_PROCESSES)
        kernel.drop_capabilities()
        landlock.restrict(self._landlock, ("/",), _WRITABLE)
        seccomp.install(self._program)

    def tree(self, most: int | None) -> Tree:
        roots = (children_of(os.getpid())[0] - {self._usher}) | children_of(self._cell.init_pid)[0]
        return tree_of(roots, most)

    def extra_bytes(self) -> int:
        return self._cell.bytes_in_files()

    def reap_orphans(self, main: int) -> float:
        return 0.0  # the cell's first process has them

    def end(self, main: int) -> Reaped | None:
        """Kill all that is in the cell, and wait until it is gone. Where the run alone was in it, only that
        is waited for: the kernel takes the empty cell down meanwhile, and `room` makes sure of it."""
        reaped: Reaped = {}
        alone = _reap(main, self._usher, reaped) and self._is_empty()
        end(self._cell)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not alone and time.monotonic() < deadline:
            _reap(main, self._usher, reaped)
            alone = is_gone(self._cell, 0.005) and main in reaped
        return reaped if alone else None

    def _is_empty(self) -> bool:
        """Whether the cell's first process is alone in it. Nothing can join it then."""
        if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
            return False
        return not children_of(self._cell.init_pid)[0] and children_of(os.getpid())[0] == {self._usher}

    def close(self) -> None:
        end(self._cell)  # of a run that never began, too
        if self.workspace_fd is not None:
            os.close(self.workspace_fd)


def _reap(main: int, usher: int, reaped: Reaped) -> bool:
    """Reap what has ended; whether the run's main process is among it.

    Raises:
        CellError: the usher has ended.
    """
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == usher:
                raise CellError("the usher is gone")
            reaped[pid] = (status, usage)
    return main in reaped
