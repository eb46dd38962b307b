"""Closing a jail of some tier around this process, and trying out what it holds."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import NoReturn

from ..runner.folder import remove_tree
from ..runner.jail import Jail, PosixJail
from ..runner.processes import become_subreaper
from . import canaries, strict
from .carried import Carried
from .outside import Outside
from .restricted import RestrictedJail
from .visible import shown


def close_around(tier: str, base: Path, control: socket.socket) -> tuple[Jail, canaries.Problems]:
    """The jail, in which this process now is, and why each guarantee that it lacks is lacking.

    For `strict` it returns in another process than it was called in; the caller's own stays behind as the
    warden and never returns.

    Raises:
        OSError: this machine does not allow what the tier consists of.
        RuntimeError: a trial run went wrong, or the tier is strict and a guarantee does not hold.
    """
    outside = Outside.make(base)
    jail: Jail
    if tier == "posix":
        jail = PosixJail()
    elif tier == "restricted":
        jail = RestrictedJail(shown())
    else:
        visible = shown()
        modules = Carried()
        if not become_subreaper():
            raise OSError(38, "child subreapers are missing")
        adopted, adopting = os.pipe()
        between = os.fork()
        if between != 0:
            os.close(adopted)
            _guard(base, control, between, adopting)
        os.close(adopting)
        strict.imprison(visible, outside.descriptors() | {control.fileno()}, adopted)
        modules.install()
        jail = strict.StrictJail(visible)
    lacking = canaries.lacking(jail, base, outside, control)
    outside.close()
    if tier == "strict" and lacking:
        raise RuntimeError("; ".join(f"{name} does not hold: {why}" for name, why in lacking.items()))
    return jail, lacking


def _guard(base: Path, control: socket.socket, between: int, adopting: int) -> NoReturn:
    """The warden: be the parent of what the process in between leaves, wait until everything inside has
    ended, and remove the folder."""
    control.close()
    os.closerange(3, adopting)
    os.closerange(adopting + 1, os.sysconf("SC_OPEN_MAX"))
    os.waitpid(between, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(adopting, b"x")
    os.close(adopting)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    remove_tree(base)
    os._exit(0)
