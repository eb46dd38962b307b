"""A process that has imported torch and forks one child per run.

Started as `python -P -m mldebug.grader.runner.zygote DESCRIPTOR BASE TIER` with a small environment; it says
through the socket DESCRIPTOR which guarantees it found, or that the tier cannot be had here; then it is told
there what to run. It holds no secret, and ends when the socket does. BASE is the folder in which its runs'
folders lie, where they lie on disk; it is removed at the end, should the caller have been killed.

In the tier `strict`, the process that was started stays outside as the warden and waits; the zygote proper is
the first process in a jail.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ..sandbox import enclosure
from . import child
from .folder import remove_tree, write_file
from .jail import Jail, Room
from .packing import unpacked
from .processes import names_in
from .protocol import ProtocolError, receive, send
from .request import Limits
from .supervise import Pump, memory_file, supervise

SETUP_BYTES = 4096
"""Of the message of a child that failed before its script began."""

AHEAD = 10
"""By how much a zygote's priority is above its runs', where it may raise it (root, whom RLIMIT_NPROC does not
bind): a watchdog among hundreds of busy processes would be heard too late."""


class SetupError(Exception):
    """A child could not be made ready; nothing of the run was executed."""


def main() -> None:
    descriptor, base, tier = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    only_try = "--try" in sys.argv
    control = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    _default_signals()
    os.umask(0o022)
    child.NICENESS = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, child.NICENESS - AHEAD)
    try:
        jail, lacking = enclosure.close_around(tier, base, control)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            send(control, {"refused": str(error)})
        os._exit(0)
    try:
        send(control, {"lacking": lacking})
    except OSError:
        only_try = True
    if only_try:
        os._exit(0)
    gc.disable()  # collections during the imports find nothing and cost a fifth of them
    _preload()
    _forget_exit_hooks()
    gc.collect()
    gc.freeze()
    gc.enable()
    try:
        send(control, {"ready": os.getpid()})
        while True:
            order, descriptors = receive(control)
            _serve(control, order, descriptors, jail)
    except ProtocolError:
        pass
    except OSError as error:  # the caller finds it in the zygote's last words
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        remove_tree(base)
        os._exit(0)


def _default_signals() -> None:
    """Undo what a caller's exec passes on, as Python itself sets signals up when it starts."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _preload() -> None:
    """Import what training jobs import, and what their first optimizer imports lazily (1-2 s each)."""
    import torch
    import torch._dynamo
    import torch.optim
    import torch.utils.data

    parameter = torch.nn.Parameter(torch.zeros(1))
    for kind in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adamax", "NAdam", "RAdam", "LBFGS"):
        getattr(torch.optim, kind)([parameter], lr=0.1)
    child.preload()


def _forget_exit_hooks() -> None:
    """Keep Python's own exit hooks, drop those of the preloaded libraries (30 ms per child)."""
    import multiprocessing.util
    import weakref

    atexit._clear()
    for existing in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        existing.atexit = False
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    atexit.register(logging.shutdown)
    atexit.register(multiprocessing.util._exit_function)  # type: ignore[attr-defined]


def _serve(control: socket.socket, order: dict[str, Any], files: list[int], jail: Jail) -> None:
    """Carry out one order and answer it."""
    try:
        if len(names_in("/proc/self/task")) != 1:
            send(control, {"failed": "the zygote has more than one thread: a forked child could hang"})
            return
        limits = Limits(**order["limits"])
        room = jail.room(order, limits)
        try:
            problem = _fill(room, files)
            if problem:
                send(control, {"unusable": problem})
                return
            answer, contents = _run(control, order, limits, room)
            _answer(control, answer, contents, room.workspace_fd)
        finally:
            room.close()
    except (SetupError, RuntimeError) as error:
        send(control, {"failed": str(error)})
    finally:
        for descriptor in files:
            os.close(descriptor)


def _fill(room: Room, files: list[int]) -> str:
    """Write the files of a run, where that falls to the zygote; what is wrong with them."""
    if room.workspace_fd is None or not files:
        return ""
    try:
        for name, content in unpacked(files[0]):
            write_file(room.workspace_fd, name, content)
    except UsageError as error:
        return str(error)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return "the files of a workspace do not fit into its memory limit, which they count towards"
        raise SetupError(f"the files of a run cannot be written: {error.strerror}") from None
    return ""


def _answer(
    control: socket.socket,
    answer: dict[str, Any],
    contents: tuple[bytes, bytes, int],
    workspace_fd: int | None,
) -> None:
    descriptors = [memory_file("output", content) for content in contents[:2]] + [contents[2]]
    workspace = [] if workspace_fd is None else [workspace_fd]
    try:
        send(control, answer, [*descriptors, *workspace])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _run(
    control: socket.socket, order: dict[str, Any], limits: Limits, room: Room
) -> tuple[dict[str, Any], tuple[bytes, bytes, int]]:
    record = os.memfd_create("record", os.MFD_CLOEXEC)
    pipes = [os.pipe() for _ in range(3)]
    started = time.monotonic()
    pid = room.fork()
    if pid == 0:
        child.main(order, limits, room, child.Descriptors(pipes[0][1], pipes[1][1], pipes[2][1], record))
    for _read, write in pipes:
        os.close(write)
    output, errors = (Pump(read, limits.output_bytes) for read, _write in pipes[:2])
    ready = pipes[2][0]
    try:
        ended = supervise(pid, started, limits, [output, errors], control, room)
    except BaseException:
        os.close(record)
        raise
    finally:
        output.finish()
        errors.finish()
        os.set_blocking(ready, False)
        setup = ""
        with contextlib.suppress(BlockingIOError):
            setup = os.read(ready, SETUP_BYTES).decode(errors="replace")
        os.close(ready)
    if setup != child.READY and ended.reason is None:
        os.close(record)
        raise SetupError(f"a run could not be set up: {setup or 'its process ended at once'}")
    answer = {
        "status": ended.status,
        "reason": ended.reason,
        "wall_seconds": ended.wall_seconds,
        "cpu_seconds": ended.cpu_seconds,
        "peak_bytes": ended.peak_bytes,
        "dropped_bytes": output.dropped + errors.dropped,
    }
    return answer, (bytes(output.kept), bytes(errors.kept), record)


if __name__ == "__main__":
    main()
