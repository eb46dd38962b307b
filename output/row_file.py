"""A file of rows that a long request is written to, one line at a time."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..factory import Proof
from ..task_folder import Made, request_mark
from .ledger import Ledger
from .whole_file import put_whole


def row_line(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON."""
    return json.dumps(row, sort_keys=True, ensure_ascii=False)


class RowFile:
    """Where one request's rows go: a JSONL file whose lines are whole and in the order of their indices.

    `FILE.request.json` beside it says which request it belongs to, and `FILE.skipped.jsonl`, where there is
    one, which indices gave no variant. Writing the same bytes again is not an error.

    Args:
        request: what was asked for, but for the count; bugs, seed and script in it are those of the rows.
        resume: insist that this request has begun here, and trust the rows that are there; otherwise each of
            them is made again and compared.
        limit: how many indices are asked for.

    Raises:
        UsageError: the file cannot be written, or holds other things.
    """

    def __init__(
        self, path: Path, request: Mapping[str, Any], *, resume: bool = False, limit: int = sys.maxsize
    ) -> None:
        self.path = path
        self._resume = resume
        self._expected: dict[int, bytes] = {}
        mark, found = request_mark(request), path.with_name(f"{path.name}.request.json")
        if resume and not found.is_file():
            raise UsageError(
                f"--resume: nothing was begun in {path} (there is no {found.name} beside it); "
                "run without --resume"
            )
        try:
            if found.is_file():
                if found.read_bytes() != mark:
                    raise UsageError(
                        f"--jsonl-file {path}: holds the rows of another request (see {found.name} there); "
                        "name another file, or remove both"
                    )
            elif path.exists():
                raise UsageError(f"--jsonl-file {path}: is there already; name a new file, or remove it")
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                put_whole(found, mark)
            belongs = {name: request[name] for name in ("bugs", "seed")} | {"verified": request["verify"]}
            if request["script"] is not None:
                belongs["script"] = request["script"]
            skipped = path.with_name(f"{path.name}.skipped.jsonl")
            self.ledger = Ledger(path, skipped, belongs, limit)
            self.ledger.create()
        except OSError as error:
            raise UsageError(
                f"--jsonl-file {path}: cannot write there ({error.strerror or error}); "
                "name a file in a folder you may write to"
            ) from None

    def close(self) -> None:
        """Let others write here."""
        self.ledger.close()

    def done(self, index: int) -> bool:
        """Whether an index needs no further work. Asked, like `proof`, in rising order only."""
        if self._resume:
            return index < self.ledger.count
        found = self.ledger.at(index)
        return found is not None and "reasons" in found[1]

    def proof(self, index: int) -> Proof | None:
        """The proof of the row of an index; None where there is none, or it was never proved."""
        found = self.ledger.at(index)
        if found is None:
            return None
        self._expected[index], row = found
        if row.get("verified") is not True:
            return None
        try:
            return Proof(str(row["id"]), int(row["attempt"]), str(row["alert"]), ())
        except (KeyError, TypeError, ValueError):
            return None

    def skip(self, index: int, reasons: Mapping[str, int], same_as: int | None = None) -> None:
        """Write down that an index gave no row (see `Ledger.skip`)."""
        self.ledger.skip(index, reasons, same_as)

    def write(self, variant: Made, row: Mapping[str, Any]) -> tuple[Path, bool]:
        """The file, and whether a variant's row was written now (False: the same bytes were there already).

        Raises:
            UsageError: another row is there for this index.
        """
        line = row_line(row).encode()
        if variant.index >= self.ledger.count:
            self.ledger.add(variant.index, line)
            return self.path, True
        if self._expected.pop(variant.index) != line:
            raise UsageError(
                f"{self.path}: the row of index {variant.index} differs from what this request gives; "
                "move the file away and begin anew"
            )
        return self.path, False
