"""Rows of a release, which keeps what an agent may see and the solution in files apart, made whole again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError

SOLUTIONS = "solutions.jsonl"


def is_apart(row: Mapping[str, Any]) -> bool:
    """Whether a row is an agent's part of a release's task."""
    return "release" in row and "files" in row and "truth" not in row


class Solutions:
    """The solutions of a release, found by id; one is read at a time.

    Args:
        tasks: a file of tasks in the release: `FOLDER/tasks/SPLIT.jsonl`.

    Raises:
        UsageError: they are not there, or a line is no JSON object with an id.
    """

    def __init__(self, tasks: Path) -> None:
        self._path = tasks.absolute().parent.parent / SOLUTIONS
        self._places: dict[str, int] = {}
        try:
            with self._path.open("rb") as file:
                place = 0
                for number, line in enumerate(file, 1):
                    try:
                        self._places[str(json.loads(line)["id"])] = place
                    except (ValueError, TypeError, KeyError, RecursionError) as error:
                        raise UsageError(f"{self._path}, line {number}: is no solution ({error})") from None
                    place += len(line)
        except OSError as error:
            raise UsageError(
                f"{tasks}: holds the part of a release that agents may see, which alone cannot be made into "
                f"tasks; {self._path} has to lie beside its folder ({error.strerror})"
            ) from None

    def joined(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A task's row as `mldebug gen --jsonl` prints it.

        Raises:
            UsageError: it has no solution, or one of another form.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._places[str(row["id"])])
                solution = json.loads(file.readline())
            truth = solution["truth"]
            copied = ("bugs", "script", "seed", "index", "attempt", "device", "data")
            return {name: truth[name] for name in copied} | {
                "id": row["id"],
                "alert": row["alert"],
                "entrypoint": row["entrypoint"],
                "files": row["files"],
                "reference": solution["reference"],
                "truth": truth,
                "verified": True,
            }
        except KeyError as error:
            raise UsageError(
                f"{self._path}: has no whole solution of task {row.get('id')} ({error})"
            ) from None


class Joiner:
    """Makes the rows of one file whole; the solutions are looked for when a row needs one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._solutions: Solutions | None = None

    def whole(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of a release with its solution; any other as it is.

        Raises:
            UsageError: there is no solution.
        """
        if not is_apart(row):
            return row
        if self._solutions is None:
            self._solutions = Solutions(self._path)
        return self._solutions.joined(row)


def whole_rows(rows: Iterator[dict[str, Any]], path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, those of a release with their solutions."""
    return map(Joiner(path).whole, rows)
