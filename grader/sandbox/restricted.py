"""The tier `restricted`: what most containers allow. Landlock and seccomp around each run, no namespaces."""

from __future__ import annotations

import contextlib
import os
import signal
import sysconfig
from pathlib import Path
from typing import Any

from ..runner import limits as kernel_limits
from ..runner.jail import PosixJail, PosixRoom
from ..runner.processes import PR_SET_PDEATHSIG
from ..runner.request import Limits
from . import identity, kernel, landlock, seccomp
from .visible import DEVICES, Shown

_PROC = ("self", "cpuinfo", "meminfo", "stat", "loadavg", "uptime", "version", "filesystems", "sys/vm")
_SHARED = ("/dev/shm", "/dev/null", "/dev/zero", "/dev/full")
"""Writable for every run: torch's DataLoader passes tensors through /dev/shm."""


class RestrictedJail(PosixJail):
    """Made in the zygote, before torch is imported."""

    tier = "restricted"

    def __init__(self, shown: Shown) -> None:
        super().__init__()
        self._landlock = landlock.abi()
        if not self._landlock:
            raise OSError(38, "Landlock is not there or switched off")
        self._filter = seccomp.program(times=True)
        kernel.bound_capabilities()
        self._readable = (
            *shown.paths(),
            *(f"/proc/{name}" for name in _PROC),
            *(f"/dev/{name}" for name in DEVICES),
        )
        self._user = identity.ordinary_user()
        if self._user is not None and not _can_use(self._user):
            self._user = None
        self._try()

    def _try(self) -> None:
        """Whether a child can lock itself in at all."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            problem = b""
            try:
                kernel.drop_capabilities()
                landlock.restrict(self._landlock, self._readable, ())
                seccomp.install(self._filter)
            except BaseException as error:
                problem = str(error).encode()
            os.write(write, problem)
            os._exit(0)
        os.close(write)
        problem = os.read(read, 1000)
        os.close(read)
        os.waitpid(pid, 0)
        if problem:
            raise OSError(38, problem.decode())

    def room(self, order: dict[str, Any], limits: Limits) -> RestrictedRoom:
        room = RestrictedRoom(Path(order["folder"]), kernel_limits.threads_of_user())
        room.settle(self._user, self._landlock, self._readable, self._filter)
        return room


def _can_use(user: int) -> bool:
    """Whether a user may read this interpreter and its libraries."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(OSError):
            identity.become(user)
            wanted = (sysconfig.get_path("stdlib"), sysconfig.get_path("platlib"))
            code = int(not all(os.access(path, os.R_OK | os.X_OK) for path in wanted))
        os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


class RestrictedRoom(PosixRoom):
    """A folder on disk, and a child that may reach little else."""

    def settle(self, user: int | None, version: int, readable: tuple[str, ...], program: bytes) -> None:
        """Who the child becomes, and what it may still reach."""
        self._user = user
        self._landlock = version
        self._readable = readable
        self._filter = program
        if user is not None:
            _give(self.folder, user)

    def enter(self, limits: Limits) -> None:
        super().enter(limits)
        if self._user is not None:
            identity.become(self._user)
            kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user forgets it
        kernel.drop_capabilities()
        own = tuple(str(self.folder / name) for name in ("workspace", "home", "tmp"))
        landlock.restrict(self._landlock, self._readable, (*own, *_SHARED))
        seccomp.install(self._filter)


def _give(folder: Path, user: int) -> None:
    """Make a user the owner of a run's folder and of all in it; the folders above only let it through."""
    folder.parent.chmod(0o711)
    for path, _folders, files in os.walk(folder):
        for name in (".", *files):
            os.chown(Path(path, name), user, user, follow_symlinks=False)
