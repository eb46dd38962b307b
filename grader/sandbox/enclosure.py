"""Closing a jail of some tier around this process, and trying out what it holds."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ..runner.folder import remove_tree
from ..runner.jail import Jail, PosixJail
from ..runner.processes import become_subreaper
from . import canaries, strict
from .carried import Carried
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
    outside = canaries.Outside.make(base)
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
        if os.fork() != 0:
            _guard(base, control)
        strict.imprison(visible, outside.descriptors() | {control.fileno()})
        modules.install()
        jail = strict.StrictJail(visible)
    lacking = canaries.lacking(jail, base, outside, control)
    outside.close()
    if tier == "strict" and lacking:
        raise RuntimeError("; ".join(f"{name} does not hold: {why}" for name, why in lacking.items()))
    return jail, lacking


def _guard(base: Path, control: socket.socket) -> None:
    """The warden: wait until everything inside has ended, and remove the folder."""
    control.close()
    keep = (0, 1, 2)
    os.closerange(max(keep) + 1, os.sysconf("SC_OPEN_MAX"))
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    remove_tree(base)
    os._exit(0)
