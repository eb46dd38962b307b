"""Writing an export: the whole folder or nothing; bytes, modes and times are the same wherever it is done."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ...errors import UsageError

PARTIAL = ".partial-"

TIME = 315532800
"""1980-01-01, the earliest that archives can hold: when a file was written says nothing of its task, and
images and archives of an export come out the same."""


@dataclass(frozen=True)
class File:
    """path: below the export's folder, with slashes. runs: whether it may be executed."""

    path: str
    content: bytes = field(repr=False)
    runs: bool = False


def check_target(target: Path) -> None:
    """Raises UsageError unless an export may be written there."""
    try:
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise UsageError(f"--out {target}: is there and is no folder; name a new one")
        if target.is_dir() and any(target.iterdir()):
            raise UsageError(f"--out {target}: is not empty; name a new or an empty folder")
    except OSError as error:
        raise UsageError(f"--out {target}: cannot be read ({error.strerror}); name a new folder") from None


def write(files: Iterable[File], target: Path) -> tuple[int, int]:
    """Put an export in place, at once; how many files and bytes it has.

    Raises:
        UsageError: the folder is there and not empty, or cannot be written.
    """
    check_target(target)
    target = target.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{target.name}-", dir=target.parent))
    except OSError as error:
        raise UsageError(
            f"--out {target}: cannot write there ({error.strerror}); "
            "name a folder inside one you may write to"
        ) from None
    try:
        count = size = 0
        for one in files:
            place = partial / _plain(one.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                file.write(one.content)
            place.chmod(0o755 if one.runs else 0o644)
            os.utime(place, (TIME, TIME))
            count, size = count + 1, size + len(one.content)
        for folder, _folders, _names in os.walk(partial, topdown=False):
            Path(folder).chmod(0o755)
            os.utime(folder, (TIME, TIME))
        try:
            partial.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise UsageError(f"--out {target}: somebody wrote there meanwhile; name a new folder") from None
        return count, size
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _plain(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r} leaves the folder of the export")
    return path
