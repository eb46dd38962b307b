"""The process tree below a zygote: who is in it, what it holds in memory, and how it is ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import cast

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_LIBC = ctypes.CDLL(None, use_errno=True)

PATIENCE_SECONDS = 20.0
"""How long killed processes may take to go. Only an uninterruptible system call takes longer than
milliseconds."""


def prctl(option: int, value: int) -> bool:
    """Whether the kernel accepted it."""
    return bool(_LIBC.prctl(option, value, 0, 0, 0) == 0)


def names_in(folder: str | Path | int) -> list[str]:
    """The names in a folder (a path or a descriptor), in no particular order."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def group_of(pid: int) -> int | None:
    """The process group; None when there is no such process."""
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def parent_and_threads(pid: int) -> tuple[int | None, int]:
    """The parent's id and the number of threads; (None, 0) when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None, 0
    fields = text[text.rindex(b")") + 1 :].split()
    return int(fields[1]), int(fields[17])


def children_of(pid: int) -> tuple[set[int], int]:
    """The direct children and the number of threads of a process. Both are empty when it is gone."""
    found: set[int] = set()
    try:
        tasks = names_in(f"/proc/{pid}/task")
    except OSError:
        return found, 0
    for task in tasks:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(map(int, Path(f"/proc/{pid}/task/{task}/children").read_bytes().split()))
    return found, len(tasks)


def every_process() -> Iterator[int]:
    return (int(name) for name in names_in("/proc") if name.isdigit())


def _has_children_files() -> bool:
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


@dataclass(frozen=True)
class Tree:
    """All processes below one, at one moment. `threads` counts those of all of them."""

    pids: frozenset[int]
    threads: int

    def resident_bytes(self) -> dict[int, int]:
        """The resident size of each with its page tables, which a run can make larger than all else; pages
        that processes share count for each of them."""
        return {pid: held for pid in self.pids if (held := _status_bytes(pid, b"VmRSS:", b"VmPTE:"))}


def _status_bytes(pid: int, *names: bytes) -> int:
    """The sum of these sizes of a process; 0 when it is gone or has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_bytes().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(names)) * 1024


def proportional_bytes(pid: int) -> int:
    """Resident memory of a process with shared pages divided among their holders, and its page tables: exact,
    but slow."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024 + _status_bytes(pid, b"VmPTE:")
    return 0


def seconds_waited(pid: int) -> float:
    """How long a process's first thread was ready to run and had no processor, by /proc/PID/schedstat
    (nanoseconds run, nanoseconds waited, slices); 0 where the kernel does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def tree_below(root: int, most: int | None = None) -> Tree:
    """The descendants of a process, without itself; counting ends soon after `most` of them."""
    if not _has_children_files():
        return _tree_by_parents(root)
    return tree_of(children_of(root)[0], most)


def tree_of(pids: Set[int], most: int | None = None) -> Tree:
    """These processes and all their descendants; counting ends soon after `most` of them."""
    waiting = set(pids)
    found: set[int] = set()
    threads = 0
    while waiting and (most is None or len(found) <= most):
        pid = waiting.pop()
        found.add(pid)
        below, own = children_of(pid)
        threads += own
        waiting |= below - found
    return Tree(frozenset(found), threads)


def _tree_by_parents(root: int) -> Tree:
    """The same from every process's parent, for kernels without /proc/…/children."""
    facts = {pid: parent_and_threads(pid) for pid in every_process()}
    found: set[int] = set()
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in facts.items() if parent in found or parent == root} - found
        grown = bool(more)
        found |= more
    return Tree(frozenset(found), sum(facts[pid][1] for pid in found))


def send_signal(pid: int, number: int, parents: Set[int]) -> None:
    """Signal a process, provided that its parent is one of these.

    The check comes after the descriptor was opened, so an id that was given to a stranger meanwhile is safe.
    """
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if parent_and_threads(pid)[0] in parents:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def stop_below(root: int) -> frozenset[int]:
    """Stop every descendant of a child subreaper, parents before their children.

    What was sent a stop forks no more (another thread of it may, for an instant), so its list of children is
    final when it is read and one walk finds all of them, however fast they fork. Those whose parent ended
    meanwhile fell back to `root`, which is read again until it has none that is new.
    """
    stopped: set[int] = set()
    parents = {root}
    by_children = _has_children_files()
    while True:
        below = children_of(root)[0] if by_children else set(_tree_by_parents(root).pids)
        waiting = below - stopped
        if not waiting:
            return frozenset(stopped)
        while waiting:
            pid = waiting.pop()
            stopped.add(pid)
            send_signal(pid, signal.SIGSTOP, parents if by_children else parents | below)
            parents.add(pid)
            waiting |= children_of(pid)[0] - stopped


def reap_orphans(main: int) -> float:
    """Reap what fell back to this process and has ended, but not `main`; the CPU seconds it had used."""
    spent = 0.0
    with contextlib.suppress(ChildProcessError):
        while True:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None or found.si_pid in (0, main):
                break
            _pid, _status, usage = os.wait4(found.si_pid, 0)
            spent += usage.ru_utime + usage.ru_stime
    return spent


def end_tree() -> dict[int, tuple[int, resource.struct_rusage]] | None:
    """Kill and reap every descendant of this process, which has to be a child subreaper.

    Whole process groups are killed first, which the kernel does in one step that no fork can outrun. They
    hold descendants only: a run has its own session. Then all that is left is stopped before any of it is
    killed (see `stop_below`). Returns wait status and resource usage of each child that was reaped, or None
    when something was left after PATIENCE_SECONDS.
    """
    me = os.getpid()
    reaped: dict[int, tuple[int, resource.struct_rusage]] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return reaped
        if pid:
            reaped[pid] = (status, usage)
            continue
        if time.monotonic() > deadline:
            return None
        for group in {group_of(pid) for pid in tree_below(me).pids} - {None, os.getpgid(me)}:
            with contextlib.suppress(OSError):
                os.killpg(cast(int, group), signal.SIGKILL)
        pids = stop_below(me)
        for one in pids:
            send_signal(one, signal.SIGKILL, pids | {me})
        time.sleep(0.0005)


def _marks(pid: int) -> bytes:
    process = Path(f"/proc/{pid}")
    return (process / "environ").read_bytes() + os.fsencode((process / "cwd").readlink())


def end_marked(mark: str) -> None:
    """Kill every process in whose start environment or working folder the mark occurs.

    The mark is the folder of a zygote that died before it could end its run. A process that hides both is
    missed: without namespaces there is no better handle on it.
    """
    wanted = os.fsencode(mark)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = False
        for pid in every_process():
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(pid)
                try:
                    if pid != os.getpid() and wanted in _marks(pid):
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                        found = True
                finally:
                    os.close(descriptor)
        if not found:
            return
        time.sleep(0.002)


def become_subreaper() -> bool:
    """Ask that orphans below fall back to this process, and try it out with one."""
    if not prctl(PR_SET_CHILD_SUBREAPER, 1):
        return False
    hold, release = os.pipe()
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os.close(release)
            os.read(hold, 1)
        os._exit(0)
    os.close(hold)
    os.waitpid(child, 0)
    orphans = tree_below(os.getpid()).pids
    os.close(release)
    if not orphans:
        return False
    os.wait()
    return True
