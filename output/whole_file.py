"""A small file that is there whole or not at all."""

from __future__ import annotations

from pathlib import Path


def put_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file, or replace it, in one step. mode: of the new file, less the umask.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".partial-{path.name}")
    partial.touch(mode=mode)
    partial.write_bytes(content)
    partial.replace(path)
