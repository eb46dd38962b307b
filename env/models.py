"""What an agent sends and what it gets back: frozen values, no behaviour but their reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import MldebugError

MOST_ACTION_CHARACTERS = 2 << 20
"""Of all texts of one action together."""
LONGEST_DIAGNOSIS = 20_000


class ActionRefused(MldebugError):
    """An action that makes no sense, in words for the agent. It costs a step, like any other."""


@dataclass(frozen=True)
class Inspect:
    """Use one tool. arguments: by name, as the tool declares them."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fix:
    """Hand in a repaired job. It is applied to the agent's working copy, which is then graded.

    At most one of: script (the whole text of the entry point), files (path → whole text), patch (a unified
    diff). None of them: the working copy as it is. bugs: the classes it claims to have fixed, by any name.
    diagnosis: what was wrong, in words.
    """

    bugs: tuple[str, ...] = ()
    diagnosis: str = ""
    script: str | None = None
    files: Mapping[str, str] | None = None
    patch: str | None = None


Action = Inspect | Fix


@dataclass(frozen=True)
class Observation:
    """What the agent sees after `reset` and after each step.

    text: after `reset` the briefing, after a step what came of it. alert: what monitoring said.
    task: an opaque id. entrypoint: the file that starts the job. step of budget: how many are spent.
    tools: the names of those there are. refused: the action made no sense; `text` says why.
    reward: 0.0 until the episode is done, then what it is paid. done: no further step is taken.
    """

    text: str
    alert: str
    task: str
    entrypoint: str
    step: int
    budget: int
    tools: tuple[str, ...]
    refused: bool = False
    reward: float = 0.0
    done: bool = False

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"tools": list(self.tools)}


def read_action(value: Any) -> Action:
    """An action from what a client sent: an `Inspect` or `Fix`, or a mapping with `type` and their fields.

    Raises:
        ActionRefused: it is none, with what was expected.
    """
    if isinstance(value, Inspect | Fix):
        value = {"type": "inspect" if isinstance(value, Inspect) else "fix"} | vars(value)
    if not isinstance(value, Mapping):
        raise ActionRefused('an action is an object with "type": "inspect" or "fix"')
    if _characters(value) > MOST_ACTION_CHARACTERS:
        raise ActionRefused(f"the action is larger than {MOST_ACTION_CHARACTERS >> 20} Mi characters")
    kind = value.get("type")
    if kind not in ("inspect", "fix"):
        raise ActionRefused('"type" must be "inspect" or "fix"')
    parts = ["type", *(field.name for field in fields(Inspect if kind == "inspect" else Fix))]
    if foreign := sorted(str(name)[:40] for name in value if name not in parts)[:3]:
        named = ", ".join(map(repr, foreign))
        raise ActionRefused(f"{kind}: there is no {named}; it has: {', '.join(parts)}")
    return _read_inspect(value) if kind == "inspect" else _read_fix(value)


def _read_inspect(value: Mapping[str, Any]) -> Inspect:
    tool, arguments = value.get("tool"), value.get("arguments")
    if not isinstance(tool, str):
        raise ActionRefused('an inspection names its tool: {"type": "inspect", "tool": "run_code"}')
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping) or not all(isinstance(name, str) for name in arguments):
        raise ActionRefused('"arguments" must be an object: the tool\'s parameters by name')
    return Inspect(tool, dict(arguments))


def _read_fix(value: Mapping[str, Any]) -> Fix:
    bugs = value.get("bugs", ())
    if isinstance(bugs, str):
        bugs = [part.strip() for part in bugs.split(",") if part.strip()]
    if not isinstance(bugs, list | tuple | set | frozenset) or not all(isinstance(one, str) for one in bugs):
        raise ActionRefused('"bugs" must be a list of class names, or names separated by commas')
    diagnosis = value.get("diagnosis") or ""
    if not isinstance(diagnosis, str):
        raise ActionRefused('"diagnosis" must be text')
    given = {name: value[name] for name in ("script", "files", "patch") if value.get(name) is not None}
    if len(given) > 1:
        raise ActionRefused("a fix is given in one way: script, files or patch; not " + " and ".join(given))
    for name in ("script", "patch"):
        if not isinstance(given.get(name, ""), str):
            raise ActionRefused(f'"{name}" must be text')
    files = given.get("files")
    if files is not None and not (
        isinstance(files, Mapping)
        and all(isinstance(path, str) and isinstance(text, str) for path, text in files.items())
    ):
        raise ActionRefused('"files" must be an object: path to whole text')
    return Fix(
        tuple(sorted(bugs)[:64]),
        diagnosis[:LONGEST_DIAGNOSIS],
        given.get("script"),
        None if files is None else dict(files),
        given.get("patch"),
    )


def _characters(value: Any) -> int:
    """Characters of all texts in it, without recursion; what has too many parts counts as too large."""
    total, parts, waiting = 0, 0, [value]
    while waiting:
        one = waiting.pop()
        parts += 1
        if parts > 100_000:
            return MOST_ACTION_CHARACTERS + 1
        if isinstance(one, str | bytes):
            total += len(one)
        elif isinstance(one, Mapping):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
    return total
