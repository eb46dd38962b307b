"""The namespaces of one run: made by a small process beside the zygote, which forks cheaply.

The usher (forked before torch is imported) makes a cell when asked: a process that is the first of a new pid
namespace, has network, IPC, host name and mounts of its own, and then does nothing until it is killed, which
ends everything in the cell at once. The run itself is forked by the zygote into the cell.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from dataclasses import dataclass
from typing import NoReturn

from . import kernel
from .root import mount_own

NAMESPACES = {
    "mnt": kernel.CLONE_NEWNS,
    "net": kernel.CLONE_NEWNET,
    "ipc": kernel.CLONE_NEWIPC,
    "uts": kernel.CLONE_NEWUTS,
}
_OPENED = (*NAMESPACES, "pid")
SECONDS = 20.0
"""To make a cell or to see it gone; milliseconds are usual."""
_REQUEST, _MADE, _READY = b"cell ", b"made ", b"ready"
_LONGEST = 500


class CellError(RuntimeError):
    """A cell could not be made or ended: the zygote is of no use any more."""


@dataclass(frozen=True)
class Cell:
    """Descriptors of one cell: its first process, its folder for the run, and its namespaces by name."""

    init: int
    init_pid: int
    workspace: int
    namespaces: dict[str, int]

    def join(self) -> None:
        """Enter it, in a process that is in its pid namespace already."""
        for name, kind in NAMESPACES.items():
            kernel.setns(self.namespaces[name], kind)

    def bytes_in_files(self) -> int:
        """What lies in the run's folders, /tmp and /dev/shm."""
        facts = os.fstatvfs(self.workspace)
        return (facts.f_blocks - facts.f_bfree) * facts.f_frsize

    def close(self) -> None:
        """Let go of everything but the workspace."""
        for descriptor in (self.init, *self.namespaces.values()):
            os.close(descriptor)


class Usher:
    """Makes cells. Started in the zygote while that is still small."""

    def __init__(self, covered: list[str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _serve(theirs, covered)
            finally:
                os._exit(1)
        theirs.close()
        self._socket.settimeout(SECONDS)
        self._ordered = 0

    def cell(self, size_bytes: int) -> Cell:
        """A new cell whose folders hold so many bytes at most. The next one is ordered at once: it is made
        while this one is used.

        Raises:
            CellError: it could not be made.
        """
        if self._ordered not in (0, size_bytes):
            other = self._receive()
            end(other)
            other.close()
            os.close(other.workspace)
            self._ordered = 0
        if not self._ordered:
            self._order(size_bytes)
        cell = self._receive()
        self._order(size_bytes)
        return cell

    def _order(self, size_bytes: int) -> None:
        try:
            self._socket.send(_REQUEST + str(size_bytes).encode())
        except OSError as error:
            raise CellError(f"no usher: {error}") from None
        self._ordered = size_bytes

    def _receive(self) -> Cell:
        got: list[int] = []
        try:
            pid = 0
            ready = False
            init: list[int] = []
            while not (pid and ready):
                text, descriptors, _flags, _address = socket.recv_fds(
                    self._socket, _LONGEST, len(_OPENED) + 2, socket.MSG_CMSG_CLOEXEC
                )
                got += descriptors
                if text.startswith(_MADE):
                    pid = int(text[len(_MADE) :])
                    init = descriptors
                elif text == _READY:
                    ready = True
                    workspace, *namespaces = descriptors
                else:
                    raise CellError(
                        f"a cell could not be made: {text.decode(errors='replace') or 'no usher'}"
                    )
        except BaseException as error:
            for descriptor in got:
                os.close(descriptor)
            if isinstance(error, OSError):
                raise CellError(f"no cell: {error}") from None
            raise
        return Cell(init[0], pid, workspace, dict(zip(_OPENED, namespaces, strict=True)))


def end(cell: Cell) -> None:
    """Kill all that is in a cell. It is gone when `is_gone` says so, and its zombies were reaped."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(cell.init, signal.SIGKILL)


def is_gone(cell: Cell, seconds: float) -> bool:
    """Whether nothing is left of it, waiting so long at most."""
    return bool(select.select([cell.init], [], [], seconds)[0])


def _serve(control: socket.socket, covered: list[str]) -> NoReturn:
    """The usher's life."""
    keep = control.fileno()
    os.closerange(0, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    while request := control.recv(_LONGEST):
        try:
            kernel.unshare(kernel.CLONE_NEWPID)
            pid = os.fork()
            if pid == 0:
                _be_first(control, int(request[len(_REQUEST) :]), covered)
            kernel.setns(own, kernel.CLONE_NEWPID)
            init = os.pidfd_open(pid)
        except OSError as error:
            control.send(str(error).encode()[:_LONGEST])
            continue
        socket.send_fds(control, [_MADE + str(pid).encode()], [init])
        os.close(init)
    os._exit(0)


def _be_first(control: socket.socket, size_bytes: int, covered: list[str]) -> NoReturn:
    """The life of a cell's first process: no signal from inside can end it, and its orphans vanish by
    themselves (SIGCHLD is ignored)."""
    try:
        kernel.unshare(sum(NAMESPACES.values()))
        kernel.sethostname(b"mldebug")
        workspace = mount_own(size_bytes, covered)
        namespaces = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in _OPENED]
        socket.send_fds(control, [_READY], [workspace, *namespaces])
        os.closerange(0, max(workspace, *namespaces, control.fileno()) + 1)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        while True:
            time.sleep(3600)
    except BaseException as error:
        with contextlib.suppress(OSError):
            control.send(f"{type(error).__name__}: {error}".encode()[:_LONGEST])
    finally:
        os._exit(1)
