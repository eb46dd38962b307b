"""The zygote's side of one run: output pumped, limits watched, the whole tree ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from dataclasses import dataclass
from typing import Literal

from .jail import Room
from .limits import THREADS_PER_PROCESS
from .processes import Tree, proportional_bytes, seconds_waited
from .protocol import ProtocolError
from .request import MOST_PATIENCE, Limits

Reason = Literal["timeout", "memory", "processes"]

LOOK_SECONDS = 0.05
"""Between two looks at the process tree: a run fills at most a few hundred MiB in that time."""
EXACT_SECONDS = 0.01
"""For exact measurements of memory in one look. One takes 10 ms and waits while its process forks, so a look
that measured every process would let a fork bomb grow meanwhile."""
CHUNK = 1 << 16


@dataclass(frozen=True)
class Ended:
    """How the tree of one run ended. Seconds and bytes; `status` as from wait()."""

    status: int
    reason: Reason | None
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


class Pump:
    """Reads a pipe to its end, keeps the first `limit` bytes and counts the rest."""

    def __init__(self, descriptor: int, limit: int) -> None:
        self.descriptor = descriptor
        self.kept = bytearray()
        self.dropped = 0
        self._limit = limit
        os.set_blocking(descriptor, False)

    def read(self) -> bool:
        """One chunk at most. False when there is nothing (more) to read now."""
        try:
            piece = os.read(self.descriptor, CHUNK)
        except BlockingIOError:
            return False
        room = max(0, self._limit - len(self.kept))
        self.kept += piece[:room]
        self.dropped += len(piece[room:])
        return bool(piece)

    def finish(self) -> None:
        """Read what is left; nobody writes any more."""
        while self.read():
            pass
        os.close(self.descriptor)


def supervise(
    pid: int, started: float, limits: Limits, pumps: list[Pump], control: socket.socket, room: Room
) -> Ended:
    """Watch a child until it ends or breaks a limit, then end everything it started.

    Raises:
        ProtocolError: the caller went away or spoke out of turn; everything was ended.
        RuntimeError: something could not be killed.
    """
    watch = _Watch(pid, started, limits, room)
    pidfd = os.pidfd_open(pid)
    try:
        reason = _wait(pidfd, watch, pumps, control)
    finally:
        os.close(pidfd)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        reaped = room.end(pid)
    ended = time.monotonic()
    if reaped is None:
        raise RuntimeError("processes of a run could not be killed")
    status, usage = reaped[pid]
    cpu = watch.orphans_cpu + sum(one.ru_utime + one.ru_stime for _status, one in reaped.values())
    if reason is None and os.WIFSIGNALED(status):
        own = usage.ru_utime + usage.ru_stime
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU or (number == signal.SIGKILL and own >= limits.cpu_seconds):
            reason = "timeout"
    return Ended(status, reason, ended - started, cpu, max(watch.peak, usage.ru_maxrss * 1024))


def _wait(pidfd: int, watch: _Watch, pumps: list[Pump], control: socket.socket) -> Reason | None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(control, select.POLLIN)
    open_pumps = {pump.descriptor: pump for pump in pumps}
    for descriptor in open_pumps:
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, event in poll.poll(watch.milliseconds()):
            if descriptor == control.fileno():
                raise ProtocolError("the caller went away or spoke during a run")
            if descriptor == pidfd:
                return None
            if not open_pumps[descriptor].read() and event & (select.POLLHUP | select.POLLERR):
                poll.unregister(descriptor)
        if (reason := watch.look()) is not None:
            return reason


class _Watch:
    """The limits that only looking can keep: wall time, memory and processes of a whole tree."""

    def __init__(self, pid: int, started: float, limits: Limits, room: Room) -> None:
        self.peak = 0
        self.orphans_cpu = 0.0
        self._pid = pid
        self._room = room
        self._limits = limits
        self._memory = limits.memory_mib << 20
        self._deadline = self._first_deadline = started + limits.wall_seconds
        self._next = started + LOOK_SECONDS
        self._twice: dict[int, int] = {}
        self._measured: dict[int, float] = {}

    def milliseconds(self) -> int:
        """How long to wait for events at most."""
        return max(0, int(1000 * (min(self._deadline, self._next) - time.monotonic())) + 1)

    def look(self) -> Reason | None:
        """The limit that is broken, if one is."""
        now = time.monotonic()
        if now >= self._deadline and now >= self._extended():
            return "timeout"
        if now < self._next:
            return None
        self.orphans_cpu += self._room.reap_orphans(self._pid)
        tree = self._room.tree(self._limits.processes)
        if len(tree.pids) > self._limits.processes:
            return "processes"
        if tree.threads > self._limits.processes * THREADS_PER_PROCESS:
            return "processes"
        held = self._held(tree, self._room.extra_bytes())
        self.peak = max(self.peak, held)
        self._next = time.monotonic() + LOOK_SECONDS
        return "memory" if held > self._memory else None

    def _extended(self) -> float:
        """The deadline, put off by the time for which the run could have gone on and had no processor."""
        most = self._limits.wall_seconds * (MOST_PATIENCE - 1)
        self._deadline = self._first_deadline + min(seconds_waited(self._pid), most)
        return self._deadline

    def _held(self, tree: Tree, files: int) -> int:
        """Resident bytes of the tree and of its files: pages counted twice are taken off where they decide, a
        few processes in each look; those of the files alone while there are some whose shared pages are not
        known yet."""
        resident = tree.resident_bytes()
        held = sum(resident.values()) + files
        if held <= self._memory or (len(resident) == 1 and not files):
            return held
        self._twice = {pid: twice for pid, twice in self._twice.items() if pid in resident}
        until = time.monotonic() + EXACT_SECONDS
        for pid in sorted(resident, key=lambda pid: self._measured.get(pid, 0.0)):
            exact = proportional_bytes(pid)
            self._twice[pid] = max(0, resident[pid] - exact)
            self._measured[pid] = time.monotonic()
            if self._measured[pid] >= until:
                break
        if len(self._twice) < len(resident):
            return files
        return held - sum(self._twice.values())


def memory_file(name: str, content: bytes) -> int:
    """An anonymous file with this content, to be passed on."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(content)
    with contextlib.suppress(BlockingIOError):
        while view:
            view = view[os.write(descriptor, view) :]
    return descriptor
