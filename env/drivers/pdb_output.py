"""What a debugger session prints, and where it gets its commands from."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

RESERVED = 200
"""Bytes kept back for each command that is still to come."""


class Sink(io.RawIOBase):
    """Passes on what is printed: of each command's output the beginning, and the end when it is complete.

    room: bytes for all of `parts` commands; what one does not use is the next one's.
    """

    def __init__(self, descriptor: int, room: int, parts: int) -> None:
        self._descriptor = descriptor
        self._room, self._parts = room, parts
        self._tail = bytearray()
        self.live = False
        self._begin()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The run's own output, for what asks whether this is a terminal."""
        return 1

    def write(self, data: Any) -> int:
        content = bytes(data)
        if self.live:
            head, tail = content[: self._left], content[self._left :]
            self._left -= len(head)
            self._pass(head)
            self._tail += tail
            if len(self._tail) > 2 * self._last:
                self._drop()
        return len(content)

    def complete(self) -> None:
        """A command is done: pass on the end of its output."""
        if len(self._tail) > self._last:
            self._drop()
        if self._lost:
            start = self._tail.find(b"\n", 0, RESERVED) + 1
            self._pass(f"\n[… {self._lost + start} bytes left out …]\n".encode())
            del self._tail[:start]
        self._pass(bytes(self._tail))
        self._room -= self._most - self._left + len(self._tail)
        self._begin()

    def _begin(self) -> None:
        self._parts -= 1
        share = max(RESERVED, self._room - RESERVED * self._parts)
        self._most = self._left = share // 3
        self._last = share - self._most
        self._tail.clear()
        self._lost = 0

    def _drop(self) -> None:
        beyond = len(self._tail) - self._last
        self._lost += beyond
        del self._tail[:beyond]

    def _pass(self, content: bytes) -> None:
        while content:
            content = content[os.write(self._descriptor, content) :]


class Feed:
    """Standard input for a debugger: lines from a function."""

    def __init__(self, read: Callable[[], str]) -> None:
        self.readline = read
