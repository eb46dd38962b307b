"""The private folder of one run: made, filled, and removed whatever the run did to it."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ...errors import UsageError

PREFIX = "mldebug-"
LONGEST_NAME = 255
"""Bytes in one part of a path, as Linux file systems allow."""


def checked_path(path: str) -> PurePosixPath:
    """The path, if it is relative, plain and stays inside.

    Raises:
        UsageError: it is absolute, or has an empty, `.` or `..` part, a NUL, or a part that is too long.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in path:
        raise UsageError(
            f"unusable path in a workspace: {path!r}; it must be relative, no part empty, '.' or '..'"
        )
    try:
        longest = max(len(os.fsencode(part)) for part in parts)
    except UnicodeEncodeError:
        raise UsageError(f"unusable path in a workspace: {path!r} cannot be encoded as a file name") from None
    if longest > LONGEST_NAME:
        raise UsageError(f"unusable path in a workspace: a part of {path[:80]!r}… is longer than 255 bytes")
    return PurePosixPath(path)


class RunFolder:
    """`<base>/run-…/` with `workspace/` (the files), and `home/` and `tmp/` beside it.

    Only the owner may enter. `workspace_fd` is a descriptor of the workspace opened before anything ran, so
    that a run which renames its folders cannot point the caller elsewhere.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.path = Path(tempfile.mkdtemp(prefix="run-", dir=base))
        self.workspace = self.path / "workspace"
        for name in ("workspace", "home", "tmp"):
            (self.path / name).mkdir(mode=0o700)
        self.workspace_fd = os.open(self.workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write the files, relative to the workspace.

        Raises:
            UsageError: a path is unusable, or one file is where another needs a folder.
        """
        for name, content in files.items():
            write_file(self.workspace_fd, name, content)

    def remove(self) -> None:
        """Remove the folder and all in it; every process of the run has to be gone."""
        os.close(self.workspace_fd)
        remove_tree(self.path)


def write_file(workspace_fd: int, name: str, content: bytes) -> None:
    """Write one new file below a workspace, and the folders it needs.

    Raises:
        UsageError: the path is unusable, or one file is where another needs a folder.
        OSError: the file system is full, say.
    """
    *folders, last = checked_path(name).parts
    here = os.dup(workspace_fd)
    try:
        for folder in folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700, dir_fd=here)
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(last, flags, 0o600, dir_fd=here)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise UsageError(f"the workspace has {name!r} both as a file and as a folder") from None
    finally:
        os.close(here)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def new_base() -> Path:
    """A folder of one zygote: its runs' folders lie in it, and it goes when the zygote goes."""
    return Path(tempfile.mkdtemp(prefix=PREFIX))


def remove_tree(path: Path) -> None:
    """Remove a folder whatever lies in it: unreadable folders, trees deeper than any path may be long.

    Every folder found is moved up into one flat heap before it is emptied, so neither the length of a path
    nor the number of open descriptors grows with the depth. What cannot be removed (an immutable file of
    root's) is left; symbolic links are removed and never followed.
    """
    try:
        heap = Path(tempfile.mkdtemp(prefix=PREFIX, dir=path.parent))
    except OSError:
        return
    heap_fd = os.open(heap, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            path.chmod(0o700)
            path.rename(heap / "0")
        waiting, made = ["0"], 1
        while waiting:
            name = waiting.pop()
            found = _empty(heap_fd, name, made)
            waiting += found
            made += len(found)
    finally:
        os.close(heap_fd)
        with contextlib.suppress(OSError):
            heap.rmdir()


def _empty(heap_fd: int, name: str, made: int) -> list[str]:
    """Empty one folder of the heap and remove it; the names its subfolders got in the heap."""
    moved: list[str] = []
    try:
        folder_fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=heap_fd)
    except OSError:
        return moved
    try:
        with os.scandir(folder_fd) as found:
            entries = [entry.name for entry in found]
        for entry in entries:
            with contextlib.suppress(OSError):
                if not stat.S_ISDIR(os.stat(entry, dir_fd=folder_fd, follow_symlinks=False).st_mode):
                    os.unlink(entry, dir_fd=folder_fd)
                    continue
                os.chmod(entry, 0o700, dir_fd=folder_fd)
                new = str(made + len(moved))
                os.rename(entry, new, src_dir_fd=folder_fd, dst_dir_fd=heap_fd)
                moved.append(new)
    finally:
        os.close(folder_fd)
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=heap_fd)
    return moved
