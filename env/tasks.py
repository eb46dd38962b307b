"""Where episodes come from: a seed that generates a task, or tasks prepared ahead."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import UsageError
from ..factory import Request, Variant, can_host, verified
from ..grader.runner import Pool
from ..grader.task import Task
from ..grading import task_of_folder, task_of_row, task_of_variant
from ..mutators.base import COMPOUNDS, bug_classes, canonical_bugs
from ..seeds import Draw
from ..task_folder import read_rows, read_task

Source = Variant | Mapping[str, Any] | str | os.PathLike[str]
"""A verified variant, a row of a JSONL file, or a task folder."""


@dataclass(frozen=True)
class Prepared:
    """A task that was proved, with what monitoring said of it."""

    task: Task
    alert: str

    @classmethod
    def of(cls, source: Source) -> Prepared:
        """From whatever holds it.

        Raises:
            UsageError: it was never executed, or does not hold a task.
        """
        if isinstance(source, Variant):
            alert, proved, made = source.alert, source.verified, task_of_variant(source)
        elif isinstance(source, Mapping):
            made = task_of_row(source)
            alert, proved = source.get("alert"), source.get("verified") is True
        else:
            made = task_of_folder(Path(source))
            records = read_task(Path(source))
            alert = records["task"].get("alert")
            # `materialize` writes no record of the runs; that there is an alert says that there were some
            proved = records["validation"] is None or records["validation"].get("verified") is True
        if not proved or not isinstance(alert, str):
            raise UsageError(
                f"task {made.id} was never executed (no alert, not verified); an episode needs a proved one: "
                "generate it without --no-verify"
            )
        return cls(made, alert)


@dataclass(frozen=True)
class Assignment:
    """What an episode is about. bugs None: the seed draws them."""

    seed: int
    bugs: tuple[str, ...] | None = None
    script: str | None = None


class Tasks(Protocol):
    """A source of tasks. The same assignment gives the same task. Used by several threads at once."""

    def task(self, assignment: Assignment) -> Prepared:
        """The task of an assignment.

        Raises:
            UsageError: there is none.
        """
        ...


def default_sets() -> tuple[tuple[str, ...], ...]:
    """The user's eight: the atomic classes, and the two compounds that have names."""
    return tuple((bug,) for bug in bug_classes()) + tuple(sorted(COMPOUNDS.values()))


def bugs_of(assignment: Assignment, sets: Sequence[tuple[str, ...]] | None = None) -> tuple[str, ...]:
    """The classes of an episode, canonical: those asked for, else one of the sets, by the seed."""
    if assignment.bugs is not None:
        return canonical_bugs(list(assignment.bugs))
    able = [one for one in sets or default_sets() if can_host(one)]
    return Draw("episode", assignment.seed).choose(able, "bugs")


class Generated:
    """Tasks made when they are asked for: some seconds each, without end."""

    def __init__(self, pool: Pool, sets: Sequence[tuple[str, ...]] | None = None) -> None:
        self._pool = pool
        self._sets = sets

    def task(self, assignment: Assignment) -> Prepared:
        request = Request.of(bugs_of(assignment, self._sets), assignment.seed, script=assignment.script)
        return Prepared.of(verified(request, self._pool.run))


class Listed:
    """Tasks prepared ahead; a seed chooses one.

    Raises:
        UsageError: there is none, or one was never proved.
    """

    def __init__(self, sources: Iterable[Source | Prepared]) -> None:
        self._all = tuple(one if isinstance(one, Prepared) else Prepared.of(one) for one in sources)
        if not self._all:
            raise UsageError("no task was given; `mldebug gen --jsonl` prints rows that hold tasks")

    @classmethod
    def read(cls, path: Path) -> Listed:
        """From a JSONL file, a task folder, or a folder that holds task folders."""
        if path.is_dir():
            folders = [path] if (path / "task.json").is_file() else sorted(path.glob("*/task.json"))
            return cls(one if one.is_dir() else one.parent for one in folders)
        return cls(read_rows(path))

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: int) -> Prepared:
        return self._all[index]

    def task(self, assignment: Assignment) -> Prepared:
        able = [
            one
            for one in self._all
            if (assignment.bugs is None or one.task.bugs == canonical_bugs(list(assignment.bugs)))
            and assignment.script in (None, one.task.spec.name)
        ]
        if not able:
            raise UsageError(f"none of the {len(self._all)} tasks fits {assignment}")
        return Draw("listed", assignment.seed).choose(able, "task")
