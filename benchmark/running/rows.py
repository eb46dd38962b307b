"""The tasks of a JSONL file, read one at a time when they are played."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...env.tasks import Prepared
from ...errors import UsageError
from ...output.release_rows import Joiner


@dataclass(frozen=True)
class Entry:
    """Where one row lies. sha256: of its line."""

    id: str
    bugs: tuple[str, ...]
    script: str
    sha256: str
    start: int
    size: int


class TaskFile:
    """Rows as `mldebug gen --jsonl-file` writes them and releases hold them. In memory are only their ids.

    Args:
        path: the file. most: how many of its first rows are meant; all by default.

    Raises:
        UsageError: it cannot be read, holds no row, one twice, or one that was never proved.
    """

    def __init__(self, path: Path, most: int | None = None) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self._places: dict[str, int] = {}
        self._joiner = Joiner(path)
        try:
            with path.open("rb") as lines:
                start = 0
                for number, line in enumerate(lines, 1):
                    if most is not None and len(self.entries) >= most:
                        break
                    if line.strip():
                        self._add(line, number, start)
                    start += len(line)
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be read ({error.strerror}); name a file that `mldebug gen --jsonl-file` "
                "wrote, "
                "or a split of a release"
            ) from None
        if not self.entries:
            raise UsageError(f"{path}: holds no task; `mldebug gen --jsonl-file` writes some")

    def _add(self, line: bytes, number: int, start: int) -> None:
        where = f"{self.path}, line {number}"
        try:
            row = self._joiner.whole(json.loads(line))
            found = Entry(
                str(row["id"]),
                tuple(map(str, row["bugs"])),
                str(row["script"]),
                hashlib.sha256(line.rstrip(b"\n")).hexdigest(),
                start,
                len(line),
            )
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise UsageError(
                f"{where}: no row that `mldebug gen --jsonl` printed ({type(error).__name__}: {error})"
            ) from None
        if found.id in (".", "..") or not found.id.replace("-", "").replace("_", "").isalnum():
            raise UsageError(f"{where}: {found.id[:60]!r} is no id of a task")
        if row.get("verified") is not True:
            raise UsageError(f"{where}: task {found.id} was never executed; generate it without --no-verify")
        if found.id in self._places:
            raise UsageError(f"{where}: task {found.id} was there before; remove one of the two")
        self._places[found.id] = len(self.entries)
        self.entries.append(found)

    def __len__(self) -> int:
        return len(self.entries)

    def entry(self, id: str) -> Entry:
        """Raises:
        UsageError: there is no such task.
        """
        if id not in self._places:
            raise UsageError(f"{self.path}: holds no task {id}")
        return self.entries[self._places[id]]

    def row(self, entry: Entry) -> dict[str, Any]:
        """The row, read again.

        Raises:
            UsageError: the file was changed meanwhile.
        """
        with self.path.open("rb") as lines:
            lines.seek(entry.start)
            line = lines.read(entry.size)
        if hashlib.sha256(line.rstrip(b"\n")).hexdigest() != entry.sha256:
            raise UsageError(f"{self.path}: was changed while it was read; begin anew")
        return self._joiner.whole(json.loads(line))

    def prepared(self, entry: Entry) -> Prepared:
        """The task, ready for an environment."""
        return Prepared.of(self.row(entry))
