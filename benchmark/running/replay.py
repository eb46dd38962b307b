"""A trajectory played again: the same actions must give the same observations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...grader.runner import Pool
from ..agents.base import AgentFailed, Turn
from .episode import again
from .folder import read_json, read_trajectory
from .plan import Rules
from .rows import TaskFile
from .run import services_for


@dataclass(frozen=True)
class Difference:
    """where: the line of the trajectory, from 1 on, and the field. recorded, now: what stands there."""

    where: str
    recorded: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.where}: recorded {_short(self.recorded)}, now {_short(self.now)}"


def replay(path: Path, tasks: Path | None, pool: Pool) -> list[Difference]:
    """What differs; empty if every observation and the result are the same, to the bit.

    Args:
        path: a trajectory. tasks: the rows it is about; by default the file that its run names.

    Raises:
        UsageError: it is no trajectory, or its task is not in the file.
    """
    recorded = read_trajectory(path)
    header = recorded[0]
    rows = TaskFile(tasks or _tasks_of(path))
    entry = rows.entry(str(header["task"]))
    if entry.sha256 != header["row"]:
        raise UsageError(
            f"{rows.path}: task {entry.id} is not as it was when {path} was recorded; name the same file"
        )
    try:
        rules = Rules(**header["rules"])
        turns = [Turn(one["action"], one.get("note")) for one in recorded[2:-1]]
        tools = None if header.get("tools") is None else tuple(header["tools"])
    except TypeError as error:
        raise UsageError(f"{path}: no trajectory that this version can play ({error})") from None
    services = services_for(rules, pool)
    usage = recorded[-1]["result"].get("usage")
    try:
        now = again(services, rows.prepared(entry), header, turns, usage, rules, tools)
    except AgentFailed as error:
        return [Difference("end", f"{len(turns)} steps", str(error))]
    return differences(recorded, now)


def differences(recorded: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[Difference]:
    """All fields of all lines that are not equal."""
    found: list[Difference] = []
    if len(recorded) != len(now):
        found.append(Difference("lines", len(recorded), len(now)))
    for number, (before, after) in enumerate(zip(recorded, now, strict=False), 1):
        _compare(f"line {number}", before, after, found)
    return found


def _compare(where: str, before: Any, after: Any, found: list[Difference]) -> None:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            _compare(f"{where}, {name}", before.get(name), after.get(name), found)
    elif before != after or type(before) is not type(after):
        found.append(Difference(where, before, after))


def _tasks_of(path: Path) -> Path:
    mark = path.absolute().parent.parent.parent / "run.json"
    if not mark.is_file():
        raise UsageError(f"{path}: lies in no folder of a run; name its tasks with --tasks")
    named = Path(str(read_json(mark).get("tasks_file")))
    if not named.is_file():
        raise UsageError(f"{mark} names {named}, which is not there any more; name the tasks with --tasks")
    return named


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"
