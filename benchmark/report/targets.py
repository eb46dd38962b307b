"""Files that a report writes: whole, or as they were before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...errors import UsageError

BEGINS = b"<!doctype html>"


@dataclass(frozen=True)
class Target:
    path: Path
    content: bytes


def check_page(path: Path) -> None:
    """Whether a page may be put there. Only a page is ever replaced by one: a slip of the pen does not cost
    somebody a run's results.

    Raises:
        UsageError: something else is there.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageError(f"--html {path}: is no ordinary file; name one, e.g. report.html")
    try:
        if path.exists() and path.open("rb").read(len(BEGINS)).lower() not in (BEGINS, b""):
            raise UsageError(f"--html {path}: holds something that is no page; name another file")
    except OSError as error:
        raise UsageError(f"--html {path}: cannot be replaced ({error.strerror}); name another file") from None
    if not path.parent.is_dir():
        raise UsageError(f"--html {path}: there is no folder {path.parent}; make it, or name another file")


def write(targets: Iterable[Target], folder: Path | None = None) -> None:
    """Put files in place, after all of them were written beside their places.

    Args:
        folder: made if need be.

    Raises:
        UsageError: one cannot be written; those that were there are as they were.
    """
    begun: list[tuple[Path, Path]] = []
    path = folder
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        for one in targets:
            path = one.path
            if path.is_dir():
                raise UsageError(f"{path}: is a folder; a file should be written there: move it away")
            partial = path.with_name(f".partial-{path.name}")
            begun.append((partial, path))
            partial.write_bytes(one.content)
        for partial, path in begun:
            partial.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({error.strerror or error}); name a place you may write to, with "
            "room for it"
        ) from None
    finally:
        for partial, _ in begun:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
