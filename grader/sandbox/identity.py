"""Who a jailed process is: an ordinary user, and a user namespace of its own."""

from __future__ import annotations

import os
from pathlib import Path

from . import kernel

OVERFLOW = 65534
"""`nobody`, where it exists; as good as any other user that owns nothing."""


def ordinary_user() -> int | None:
    """A user and group id that root may become and that owns nothing; None for who is not root."""
    if os.geteuid() != 0:
        return None
    mapped = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    for first, _outside, count in mapped:
        if first <= OVERFLOW < first + count:
            return OVERFLOW
    first, _outside, count = mapped[-1]
    return first + count - 1 or None


def become(user: int) -> None:
    """Be this user in every respect; /proc/self stays readable for it."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)


def unshare_with_user(flags: int, inside: int) -> None:
    """New namespaces in a new user namespace, in which this process's user has the id `inside`.

    Raises:
        OSError: this machine does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER | flags)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inside} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{inside} {group} 1")
