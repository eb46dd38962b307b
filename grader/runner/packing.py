"""The files of a workspace in one anonymous file, for a zygote that cannot see the caller's disk."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping

_LENGTH = struct.Struct("!Q")


def packed(files: Mapping[str, bytes]) -> int:
    """A descriptor: the length of a JSON list of names and sizes, the list, and the contents one by one.

    Raises:
        OSError: there is no memory for it.
    """
    table = json.dumps([[name, len(content)] for name, content in files.items()]).encode()
    descriptor = os.memfd_create("files", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            for piece in (_LENGTH.pack(len(table)), table, *files.values()):
                stream.write(piece)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def unpacked(descriptor: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents, in the order in which they were packed."""
    with os.fdopen(descriptor, "rb", closefd=False) as stream:
        stream.seek(0)
        (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
        for name, size in json.loads(stream.read(length)):
            yield name, stream.read(size)
