"""Trying out what a jail holds back: attacks of its own making, whose success is looked for from outside."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..runner.folder import RunFolder
from ..runner.jail import Jail
from ..runner.request import Limits
from ..runner.supervise import Ended, Pump, supervise
from .guarantees import GUARANTEES
from .outside import Outside

SLOW_SECONDS = 0.08
"""Wall limit of the canary that sleeps for ever."""
_REPORT_BYTES = 1 << 14
_IPC_CREATE = 0o1000
_LIBC = ctypes.CDLL(None, use_errno=True)

Problems = dict[str, str]
"""Guarantee → what a canary got away with."""


def lacking(jail: Jail, base: Path, outside: Outside, control: socket.socket) -> Problems:
    """Try everything in this jail: guarantee → why it does not hold. What is not in it holds.

    Raises:
        RuntimeError: the jail makes no room, or a canary could not be heard: nothing is known then.
    """
    trial = _Trial(jail, base, outside, control)
    before = os.fstat(outside.secret_fd)
    report, survived, _ended = trial.run(_attack, Limits(wall_seconds=20))
    problems: Problems = dict(report)
    if survived:
        problems["no_survivor"] = "a process that forked twice outlived its run"
    facts = os.fstat(outside.secret_fd)
    if (facts.st_mode, facts.st_size, facts.st_mtime_ns) != (
        before.st_mode,
        before.st_size,
        before.st_mtime_ns,
    ):
        problems["no_write"] = "the mode or the times of a file outside were changed"
    problems |= trial.run(_look_for_leftovers, Limits(wall_seconds=20))[0]
    if written := outside.found_written():
        problems["no_write"] = f"a file was made in {written[0]}"
    problems |= _bounds(trial)
    return {name: problems[name] for name in GUARANTEES if name in problems}


def _bounds(trial: _Trial) -> Problems:
    problems: Problems = {}
    ended = trial.run(_be_slow_and_noisy, Limits(wall_seconds=SLOW_SECONDS, file_bytes=4096))[2]
    if ended.reason != "timeout":
        problems["bounded_time"] = "a run that sleeps was not ended"
    if trial.said or trial.dropped == 0:
        problems["bounded_output"] = "a file or an output beyond the limit was taken"
    if trial.run(_be_slow_and_noisy, Limits(memory_mib=1))[2].reason != "memory":
        problems["bounded_memory"] = "a run beyond its memory was not ended"
    if trial.run(_multiply, Limits(processes=1))[2].reason != "processes":
        problems["bounded_processes"] = "a run with too many processes was not ended"
    return problems


class _Trial:
    """Runs canaries as runs are run, but without a script."""

    def __init__(self, jail: Jail, base: Path, outside: Outside, control: socket.socket) -> None:
        self._jail = jail
        self._base = base
        self._outside = outside
        self._control = control
        self.dropped, self.said = 0, b""

    def run(
        self, canary: Callable[[Outside, Path], Problems], limits: Limits
    ) -> tuple[Problems, bool, Ended]:
        """What the canary reported, whether anything of it was left afterwards, and how it ended."""
        folder = None if self._jail.tier == "strict" else RunFolder(self._base)
        room = self._jail.room({"folder": str(folder.path) if folder else ""}, limits)
        life, alive = os.pipe()
        report, output, errors = (os.pipe() for _ in range(3))
        started = time.monotonic()
        pid = room.fork()
        if pid == 0:
            try:
                os.setsid()
                os.dup2(report[1], 1)
                os.dup2(output[1], 2)
                room.enter(limits)
                os.closerange(3, alive)
                os.closerange(alive + 1, os.sysconf("SC_OPEN_MAX"))
                os.write(1, json.dumps(canary(self._outside, room.folder)).encode())
            except BaseException as error:
                with contextlib.suppress(OSError):
                    os.write(1, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(0)
        for descriptor in (alive, report[1], output[1], errors[1]):
            os.close(descriptor)
        pumps = [Pump(report[0], _REPORT_BYTES), Pump(output[0], 100), Pump(errors[0], 100)]
        try:
            ended = supervise(pid, started, limits, pumps, self._control, room)
            survived = not select.select([life], [], [], 0)[0]
        finally:
            for pump in pumps:
                pump.finish()
            os.close(life)
            room.close()
            if folder is not None:
                folder.remove()
        self.dropped, self.said = pumps[1].dropped, bytes(pumps[0].kept)
        if ended.reason is not None:
            return {}, survived, ended
        try:
            problems = json.loads(self.said)
        except ValueError:
            said = self.said.decode(errors="replace")[:300]
            raise RuntimeError(f"a trial run could not be set up: {said or 'it said nothing'}") from None
        return problems, survived, ended


def _attack(outside: Outside, folder: Path) -> Problems:
    """The first canary. Everything it tries is harmless where it succeeds."""
    problems: Problems = {}
    for path in (*outside.secrets, *(f"/proc/{pid}/environ" for pid in outside.processes)):
        for way in ("", "/proc/1/root", "/proc/self/root"):
            with contextlib.suppress(OSError), open(way + path, "rb") as stream:  # noqa: PTH123
                if stream.read(1):
                    problems["no_read"] = f"{'a file of the package' if 'scripts' in path else path} was read"
    families = (socket.AF_INET, socket.AF_UNIX, socket.AF_UNIX)
    kinds = ("a TCP listener", "an abstract Unix socket", "a Unix socket in a folder")
    addresses: list[Any] = [outside.tcp_address, f"\0{outside.mark}", outside.socket_path]
    for family, kind, address in zip(families, kinds, addresses, strict=True):
        with contextlib.suppress(OSError), socket.socket(family) as one:
            if address is outside.socket_path:  # see Outside.make
                os.chdir(Path(address).parent)
                address = "socket"
            one.connect(address)
            problems["no_network"] = f"{kind} was reached"
    _signal(outside, problems)
    _write(outside)
    _leave(outside, folder)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 3)
            time.sleep(600)
        os._exit(0)
    return problems


def _signal(outside: Outside, problems: Problems) -> None:
    apart = Path("/proc/self/ns/pid").stat().st_ino != outside.pid_namespace
    for pid in {*outside.processes, os.getppid()} - {0}:
        if apart and pid <= os.getpid():  # another process, which has this id in here
            continue
        with contextlib.suppress(OSError):
            os.kill(pid, 0)
            problems["no_signal"] = "a process outside could have been signalled"


def _write(outside: Outside) -> None:
    for folder in outside.folders:
        with contextlib.suppress(OSError):
            Path(folder, outside.mark).touch()
    secret = outside.secrets[0]
    with contextlib.suppress(OSError):
        Path(secret).chmod(0o640)
    with contextlib.suppress(OSError):
        os.utime(secret, (1, 1))
    with contextlib.suppress(OSError):
        os.utime(secret)


def _places(outside: Outside, folder: Path) -> list[Path]:
    own = [folder / name for name in ("workspace", "home", "tmp")]
    return [path / outside.mark for path in (*own, Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))]


def _leave(outside: Outside, folder: Path) -> None:
    """Something for the next run to meet."""
    for place in _places(outside, folder):
        with contextlib.suppress(OSError):
            place.touch()
    _LIBC.shmget(outside.key, 4096, _IPC_CREATE | 0o600)
    _LIBC.msgget(outside.key, _IPC_CREATE | 0o600)


def _look_for_leftovers(outside: Outside, folder: Path) -> Problems:
    """The second canary: what the first one left. It is removed where it can be."""
    problems: Problems = {}
    for place in _places(outside, folder):
        if place.exists():
            problems["no_memory_between_runs"] = f"a file of the last run was in {place.parent}"
    shared, messages = _LIBC.shmget(outside.key, 0, 0), _LIBC.msgget(outside.key, 0)
    if shared >= 0 or messages >= 0:
        problems["no_memory_between_runs"] = "SysV IPC of the last run was there"
    if shared >= 0:
        _LIBC.shmctl(shared, 0, None)
    if messages >= 0:
        _LIBC.msgctl(messages, 0, None)
    return problems


def _be_slow_and_noisy(outside: Outside, folder: Path) -> Problems:
    os.write(2, b"x" * 1000)
    with contextlib.suppress(OSError), (folder / "workspace" / "large").open("wb", 0) as stream:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if stream.write(b"x" * 8192) > 4096:
            os.write(1, b"too large")
    time.sleep(600)
    return {}


def _multiply(outside: Outside, folder: Path) -> Problems:
    for _ in range(2):
        if os.fork() == 0:
            break
    time.sleep(600)
    return {}
