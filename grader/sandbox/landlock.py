"""Landlock: which files a process may still reach, by the kernel's own rule set (Linux 5.13 and later)."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from .kernel import syscall

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_RIGHTS_SINCE = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI → how many file rights there are from it on (source: Documentation/userspace-api/landlock.rst)."""
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_TCP = 3
"""bind and connect; ABI 4."""
_SCOPES = 3
"""abstract Unix sockets and signals; ABI 6."""

READ = EXECUTE | READ_FILE | READ_DIR


class _Ruleset(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("files", "network", "scopes")]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("rights", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def abi() -> int:
    """The version of Landlock that this kernel has; 0 for none."""
    try:
        return syscall("landlock_create_ruleset", None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def every_right(version: int) -> int:
    """All file rights that a version knows."""
    return int((1 << max(count for since, count in _RIGHTS_SINCE.items() if since <= version)) - 1)


def restrict(version: int, readable: Iterable[str], writable: Iterable[str]) -> None:
    """Allow reading and executing below `readable`, everything below `writable`, and nothing else; no TCP, no
    abstract sockets and no signals out of the domain, as far as the version goes. No new privileges must have
    been set. Paths that are not there are left out.

    Raises:
        OSError: the kernel refused.
    """
    rights = every_right(version)
    wanted = _Ruleset(rights, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = syscall("landlock_create_ruleset", ctypes.byref(wanted), size, 0)
    try:
        for paths, granted in ((readable, READ), (writable, rights)):
            for path in paths:
                _allow(ruleset, path, granted & rights)
        syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _FILE_RIGHTS
        rule = _PathBeneath(rights, parent)
        syscall("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(parent)
