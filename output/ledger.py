"""What a long request has done so far, in files that only grow: so that a killed run can be gone on with."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError

BLOCK = 1 << 16
"""Bytes read at a time where the end of a file is searched for its last line."""


class Lines:
    """A file of JSON objects, one a line, appended to. A line is there whole or not at all.

    The file appears with its first line. What a killed run left half written at its end is cut off by `mend`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def create(self) -> None:
        """Make the file, if it is not there, and keep it open for this process alone.

        Raises:
            UsageError: another run is writing to it.
        """
        if self._descriptor is not None:
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UsageError(
                f"{self.path}: another run is writing there; wait for it, or name another file"
            ) from None

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def mend(self) -> None:
        """Cut off a last line that has no end, or that is no JSON object.

        Raises:
            UsageError: another run is writing to the file.
        """
        if not self.path.exists():
            return
        self.create()
        with self.path.open("r+b") as file:
            end = _line_start(file, file.seek(0, os.SEEK_END))
            if end:
                start = _line_start(file, end - 1)
                file.seek(start)
                if _object(file.read(end - start)) is None:
                    end = start
            file.truncate(end)

    def append(self, line: bytes) -> None:
        """Add a line (without its end). Interrupted, or with no room left, the file is as it was before."""
        self.create()
        assert self._descriptor is not None
        before = os.fstat(self._descriptor).st_size
        rest = memoryview(line + b"\n")
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BaseException:
            os.ftruncate(self._descriptor, before)
            raise

    def __iter__(self) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
        """Number (from 1), text (without its end) and value of every line, one at a time.

        Raises:
            UsageError: a line is no JSON object.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                value = _object(line)
                if value is None:
                    raise UsageError(f"{self.path}, line {number}: is no JSON object; {_MOVE}")
                yield number, line.rstrip(b"\n"), value


_MOVE = "somebody changed the file: move it away and begin anew"


def _line_start(file: Any, end: int) -> int:
    """Where the line begins that the byte before `end` belongs to: after the last newline before `end`."""
    while end > 0:
        start = max(0, end - BLOCK)
        file.seek(start)
        found = int(file.read(end - start).rfind(b"\n"))
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@dataclass
class Skips:
    """The indices that gave no variant: how many, the first, and why their attempts were discarded."""

    count: int = 0
    first: int | None = None
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, index: int, reasons: Mapping[str, int]) -> None:
        self.count += 1
        self.first = index if self.first is None else self.first
        self.reasons.update(reasons)


class Ledger:
    """Which indices of a request are done: `made` has a line for each that gave a variant, `skipped` one for
    each that gave none, or none of its own. Both are appended to in the order of the indices: together
    they always hold 0, 1, … up to `count`, and what is read of them at a time is one line.

    limit: indices from here on are of no interest to the caller, who asked for fewer than were made.

    Raises:
        UsageError: a line is not the one that has to follow, or another run is writing there.
    """

    def __init__(self, made: Path, skipped: Path, belongs: Mapping[str, Any], limit: int) -> None:
        self._made, self._skipped = Lines(made), Lines(skipped)
        self._belongs = belongs
        self.count = 0
        self.skips = Skips()
        """Those up to the limit."""
        try:
            for lines in (self._made, self._skipped):
                lines.mend()
            for index, _line, record in self._merged():
                self.count = index + 1
                if index < limit and record.get("reasons"):
                    self.skips.add(index, record["reasons"])
        except BaseException:
            self.close()
            raise
        self._reading = self._merged()
        self._head: tuple[int, bytes, dict[str, Any]] | None = None

    @property
    def skipped_path(self) -> Path:
        """Where the skipped indices are listed."""
        return self._skipped.path

    def create(self) -> None:
        """Make the file of what was made, though it is empty, and lock it."""
        self._made.create()

    def close(self) -> None:
        self._made.close()
        self._skipped.close()

    def at(self, index: int) -> tuple[bytes, dict[str, Any]] | None:
        """The line of an index, and its value; None where it is not done. Asked in rising order only."""
        if index >= self.count:
            return None
        while self._head is None or self._head[0] < index:
            self._head = next(self._reading)
        return self._head[1:]

    def add(self, index: int, line: bytes) -> None:
        """Write down that the next index gave a variant."""
        self._expect(index)
        self._made.append(line)
        self.count += 1

    def skip(self, index: int, reasons: Mapping[str, int], same_as: int | None = None) -> None:
        """Write down that the next index gave none, with the reasons, counted; or that what it gives is what
        an earlier index gave, `same_as`.

        Raises:
            UsageError: there is a line for it that says that it gave one.
        """
        if index < self.count:
            raise UsageError(
                f"{self._made.path}: has a line for index {index}, for which this request gives nothing "
                f"valid; {_MOVE}"
            )
        self._expect(index)
        record = {"index": index, "reasons": dict(reasons)}
        if same_as is not None:
            record["same_as"] = same_as
        self._skipped.append(json.dumps(record, sort_keys=True, ensure_ascii=False).encode())
        self.count += 1
        if reasons:
            self.skips.add(index, reasons)

    def _expect(self, index: int) -> None:
        if index != self.count:
            raise ValueError(f"index {index} was given where {self.count} is next")

    def _merged(self) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
        """The lines of both files in the order of their indices, each checked."""
        sources = [iter(self._made), iter(self._skipped)]
        heads = [next(source, None) for source in sources]
        expected = 0
        while any(heads):
            for which, head in enumerate(heads):
                if head is not None and self._fits(head[2], expected, skipped=which == 1):
                    yield expected, *head[1:]
                    heads[which] = next(sources[which], None)
                    break
            else:
                shown = heads[0] or heads[1]
                lines = self._made if heads[0] else self._skipped
                assert shown is not None
                raise UsageError(
                    f"{lines.path}, line {shown[0]}: is not what this request has for index {expected}, "
                    f"which is next; {_MOVE}"
                )
            expected += 1

    def _fits(self, record: Mapping[str, Any], index: int, *, skipped: bool) -> bool:
        found = record.get("index")
        if isinstance(found, bool) or found != index:
            return False
        if skipped:
            reasons = record.get("reasons")
            return isinstance(reasons, dict) and all(isinstance(one, int) for one in reasons.values())
        return all(record.get(name) == value for name, value in self._belongs.items())
