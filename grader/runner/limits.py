"""The bounds that the kernel itself keeps for one run."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from pathlib import Path

from .processes import every_process, names_in
from .request import Limits

OPEN_FILES = 1024
"""The usual soft limit of a login shell; DataLoader workers share tensors through descriptors."""
THREADS_PER_PROCESS = 16
"""How many threads a process may have on average: libraries start one per core and a few of their own."""
HEADROOM = 512
"""Processes that the same user may start elsewhere meanwhile: RLIMIT_NPROC counts them too, and must not
stop a run because its user opened a browser."""
COUNT_AGAIN_SECONDS = 5.0
LOCKED_BYTES = 64 << 10
"""Of memory that may be locked: what an unprivileged user had by default for decades."""

_counted: tuple[float, int] = (float("-inf"), 0)


def threads_of_user() -> int:
    """The number of threads this user has now, in all processes; at most COUNT_AGAIN_SECONDS old."""
    global _counted
    now = time.monotonic()
    if now - _counted[0] > COUNT_AGAIN_SECONDS:
        total = 0
        for pid in every_process():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}").stat().st_uid == os.getuid():
                    total += len(names_in(f"/proc/{pid}/task"))
        _counted = (now, total)
    return _counted[1]


def apply(limits: Limits, users_threads: int) -> None:
    """Set this process's limits, for itself and all it will start.

    RLIMIT_NPROC is a net below the watchdog: it counts everything its user runs, so it is set to what was
    there plus what the run may have. It has no effect for root. A core size of 1 is the one that also keeps
    a core_pattern with a pipe from starting a program outside.
    """
    _set(resource.RLIMIT_CORE, 1, 1)
    _set(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1)
    _set(resource.RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes)
    _set(resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES)
    most = users_threads + limits.processes * THREADS_PER_PROCESS + HEADROOM
    _set(resource.RLIMIT_NPROC, most, most)
    _set(resource.RLIMIT_MEMLOCK, LOCKED_BYTES, LOCKED_BYTES)


def _set(which: int, soft: int, hard: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _now, ceiling = resource.getrlimit(which)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))
