"""Bringing back what a run wrote, as if it had been written by an enemy."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Refused(Exception):
    """Why a path was not collected."""


def collect(workspace_fd: int, paths: Iterable[str], largest: int) -> tuple[dict[str, bytes], dict[str, str]]:
    """The content of each path below the workspace, and for the others why not.

    Only regular files with one link are read, through folders that are no symbolic links, up to `largest`
    bytes. Nothing blocks: a FIFO is refused, not opened for reading.
    """
    artifacts: dict[str, bytes] = {}
    problems: dict[str, str] = {}
    for path in paths:
        try:
            artifacts[path] = _read(workspace_fd, path, largest)
        except _Refused as refusal:
            problems[path] = str(refusal)
    return artifacts, problems


def _read(workspace_fd: int, path: str, largest: int) -> bytes:
    *folders, name = path.split("/")
    here = os.dup(workspace_fd)
    try:
        for folder in folders:
            below = _open(folder, _FLAGS | os.O_DIRECTORY, here)
            os.close(here)
            here = below
        file_fd = _open(name, _FLAGS, here)
    finally:
        os.close(here)
    try:
        facts = os.fstat(file_fd)
        if not stat.S_ISREG(facts.st_mode):
            raise _Refused("not a regular file")
        if facts.st_nlink != 1:
            raise _Refused("not a regular file of its own: it has more than one link")
        if facts.st_size > largest:
            raise _Refused(f"larger than {largest} bytes")
        return _content(file_fd, largest)
    except OSError as error:
        raise _Refused(f"not readable: {error.strerror}") from None
    finally:
        os.close(file_fd)


def _open(name: str, flags: int, folder_fd: int) -> int:
    try:
        facts = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
        if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
            raise _Refused("not a regular file")
        return os.open(name, flags, dir_fd=folder_fd)
    except FileNotFoundError:
        raise _Refused("missing") from None
    except NotADirectoryError:
        raise _Refused("missing") from None
    except OSError as error:
        raise _Refused(f"not readable: {error.strerror}") from None


def _content(file_fd: int, largest: int) -> bytes:
    pieces: list[bytes] = []
    total = 0
    while piece := os.read(file_fd, 1 << 20):
        total += len(piece)
        if total > largest:
            raise _Refused(f"larger than {largest} bytes")
        pieces.append(piece)
    return b"".join(pieces)
