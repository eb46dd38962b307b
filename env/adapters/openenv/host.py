"""What all sessions of a server share, and the tasks it lists."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....errors import UsageError
from ....task_folder import BUDGET
from ...services import Services
from ...tasks import Assignment, Listed, Prepared, Source

DEFAULT_SPLIT = "train"
SPLIT_TYPES = ("train", "validation", "test")
NAMES_VARIABLE = "MLDEBUG_SERVE_NAMES"
"""The environment variable that holds `Settings.names`, separated by blanks."""


@dataclass(frozen=True)
class Settings:
    """What a server offers.

    tasks: `PATH` or `SPLIT=PATH` each, of a JSONL file or a folder; none: tasks are generated from seeds.
    sessions: the most at one time. budget: steps of an episode. workers: runs of jobs at one time.
    require: guarantees of the sandbox without which nothing runs. idle_seconds: a session that was not used
    for so long is closed. grade_token: enables `/grade` for those who know it. names: by which browsers may
    reach the server, beside addresses and localhost.
    """

    tasks: tuple[str, ...] = ()
    sessions: int = 64
    budget: int = BUDGET
    workers: int = 1
    require: str | None = None
    idle_seconds: float = 3600.0
    grade_token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()


class TaskLists:
    """Tasks prepared ahead, by split, in the order of their ids: an id is a hash, so that the order of a
    file, which may go by class, says nothing.

    Args:
        splits: name → variants, rows, folders, or prepared tasks.

    Raises:
        UsageError: a split is empty or has an unusable name, or a task was never proved.
    """

    def __init__(self, splits: Mapping[str, Iterable[Source | Prepared]]) -> None:
        self._splits: dict[str, Listed] = {}
        for name, sources in sorted(splits.items()):
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", name):
                raise UsageError(f"{name!a} names no split: letters, digits, `_`, `.` and `-`")
            found: list[Prepared] = []
            for one in sources:
                found.append(one if isinstance(one, Prepared) else Prepared.of(one))
            found.sort(key=lambda one: one.task.id)
            self._splits[name] = Listed(found)
        self.all = tuple(one[index] for one in self._splits.values() for index in range(len(one)))
        self._by_id = {one.task.id: one for one in self.all}

    @classmethod
    def read(cls, places: Iterable[str]) -> TaskLists:
        """From `PATH` or `SPLIT=PATH` each; several of one split are joined.

        Raises:
            UsageError: there is nothing at a path, or it holds no proved tasks.
        """
        splits: dict[str, list[Prepared]] = {}
        for place in places:
            name, equals, path = place.partition("=")
            if not equals or Path(place).exists():
                name, path = DEFAULT_SPLIT, place
            if not Path(path).exists():
                raise UsageError(f"--tasks {path}: there is no such file or folder")
            listed = Listed.read(Path(path))
            splits.setdefault(name, []).extend(listed[index] for index in range(len(listed)))
        return cls(splits)

    def splits(self) -> list[dict[str, Any]]:
        """Name, type and size of each split."""
        return [
            {"name": name, "type": name if name in SPLIT_TYPES else "validation", "num_tasks": len(one)}
            for name, one in self._splits.items()
        ]

    def split(self, name: Any) -> Listed:
        """The tasks of a split.

        Raises:
            UsageError: there is no such split.
        """
        found = self._splits.get(name) if isinstance(name, str) else None
        if found is None:
            known = ", ".join(self._splits) or "none: tasks are generated from seeds"
            raise UsageError(f"there is no split {str(name)[:60]!a}; there are: {known}")
        return found

    def chosen(self, split: Any, index: Any) -> Prepared:
        """A task by its place; `split` may be left out where there is one only.

        Raises:
            UsageError: there is none.
        """
        if split is None and len(self._splits) == 1:
            split = next(iter(self._splits))
        listed = self.split(split)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(listed):
            raise UsageError(f"index must be an integer from 0 to {len(listed) - 1}, got {str(index)[:60]!a}")
        return listed[index]

    def drawn(self, split: Any, assignment: Assignment) -> Prepared:
        """A task of a split, chosen by a seed."""
        return self.split(split).task(assignment)

    def find(self, task: str) -> Prepared | None:
        """A task by its id."""
        return self._by_id.get(task)


class Host:
    """Shared by the sessions of a process: services, made when they are first needed, and the lists of tasks.

    services: running ones to use; they are not ended here. lists: instead of those that the settings name.
    """

    def __init__(
        self, settings: Settings, *, services: Services | None = None, lists: TaskLists | None = None
    ) -> None:
        self.settings = settings
        self.lists = TaskLists.read(settings.tasks) if lists is None else lists
        self._lock = threading.Lock()
        self._services = services
        self._owns_services = services is None
        self._closed = False
        self._open = 0

    @property
    def services(self) -> Services:
        """
        Raises:
            UsageError: the server is going down.
        """
        with self._lock:
            if self._closed:
                raise UsageError("the server is shutting down")
            if self._services is None:
                tasks = self.lists.all or None
                self._services = Services(tasks, workers=self.settings.workers, require=self.settings.require)
            return self._services

    def close(self) -> None:
        """End the services, with what they are running. Nothing is begun afterwards."""
        with self._lock:
            services, self._closed = self._services, True
        if services is not None and self._owns_services:
            services.close()

    @property
    def open(self) -> int:
        """Environments that are not yet closed."""
        return self._open

    def opened(self, change: int) -> None:
        """Count an environment that begins (1) or ends (-1)."""
        with self._lock:
            self._open += change


def public(prepared: Prepared, split: str, index: int, budget: int) -> dict[str, Any]:
    """What anybody may know of a task: what `reset` would say, and where it stands."""
    return {
        "id": prepared.task.id,
        "split": split,
        "index": index,
        "alert": prepared.alert,
        "entrypoint": prepared.task.broken.entrypoint,
        "budget": budget,
    }


def any_seed() -> int:
    return int.from_bytes(os.urandom(4), "big")


def token_of(variable: str) -> str:
    """The token that an environment variable holds; it is taken out of the environment.

    Raises:
        UsageError: it holds none.
    """
    token = os.environ.pop(variable, "").strip()
    if not token:
        raise UsageError(
            f"--grade-token-env {variable}: the environment has no such variable, or it is empty"
        )
    return token


def names_of(names: Sequence[str]) -> tuple[str, ...]:
    """Names of hosts, in lower case.

    Raises:
        UsageError: one cannot be the name of a host.
    """
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", name):
            raise UsageError(f"--name {name!a}: give the name of a host alone, such as debug.example.org")
    return tuple(name.lower() for name in names)
