"""What a tool is, and where they are registered.

One tool, one module: a subclass of `Tool` with a name, a sentence for the agent, its parameters and `use`.
Every module in this folder is found by itself; tools of other packages by the entry point `mldebug.tools`.
A tool that wants to know of edits has a method `on_edit`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from ...errors import UsageError
from ..announced import kinds
from ..models import ActionRefused
from ..workbench import Workbench

MOST_CHARACTERS = 8_000
"""Of what a tool says: what a model with a small context can still read."""

Kind = type[str] | type[int] | type[bool] | type[list[str]]
_JSON = {str: "string", int: "integer", bool: "boolean", list: "array"}


@dataclass(frozen=True)
class Parameter:
    """kind: str, int, bool, or list (of texts). required: it has no default."""

    name: str
    kind: Kind
    description: str
    required: bool = False
    default: Any = None


class Tool(ABC):
    """One way to look at the job, or to change the working copy.

    Instances hold nothing: what must be remembered within an episode lies in `workbench.notes[self.name]`.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    """For the agent: what it returns, in one or two sentences."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()

    @abstractmethod
    def use(self, workbench: Workbench, *_: Any, **arguments: Any) -> str:
        """What the agent is told. Arguments are those of `parameters`, checked, with defaults filled in.

        Raises:
            ActionRefused: the request makes no sense; its message is what the agent is told.
        """

    def on_edit(self, workbench: Workbench, path: str, before: str, after: str) -> None:  # noqa: B027
        """A file of the working copy was changed, by whichever tool or fix; `before` is empty for a new
        one."""

    def schema(self) -> dict[str, Any]:
        """Name, description and parameters, as function calling wants them."""
        properties: dict[str, Any] = {}
        for one in self.parameters:
            entry: dict[str, Any] = {"type": _JSON[one.kind], "description": one.description}
            if one.kind is list:
                entry["items"] = {"type": "string"}
            if not one.required:
                entry["default"] = one.default
            properties[one.name] = entry
        return {
            "name": self.name,
            "description": self.description,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": [one.name for one in self.parameters if one.required],
                "additionalProperties": False,
            },
        }


def checked(tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, of the right kinds, with defaults.

    Raises:
        ActionRefused: one is unknown, missing, or of another kind.
    """
    known = {one.name: one for one in tool.parameters}
    if unknown := sorted(set(arguments) - set(known)):
        takes = ", ".join(known) or "no parameters"
        raise ActionRefused(f"{tool.name} has no parameter {unknown[0][:60]!a}; it takes: {takes}")
    found: dict[str, Any] = {}
    for one in tool.parameters:
        value = arguments.get(one.name)
        if value is None:
            if one.required:
                raise ActionRefused(f"{tool.name} needs {one.name!r}: {one.description}")
            found[one.name] = one.default
        elif not _is_of(value, one.kind):
            raise ActionRefused(f"{tool.name}: {one.name!r} must be {_JSON[one.kind]}: {one.description}")
        else:
            found[one.name] = list(value) if one.kind is list else value
    return found


def _is_of(value: Any, kind: Kind) -> bool:
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31
    if kind is list:
        return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    return isinstance(value, kind)


_ABOVE = re.compile(r"(?<![\w.+/-])(?:/[\w.+-]+)*?/(workspace|site-packages|python3\.\d+(?!/site-packages))/")
"""A folder that differs between machines, or tiers of the sandbox, up to where it means something."""


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text, its middle left out where it is too long, without what no terminal shows, and without the
    folders that this machine keeps jobs and libraries in."""
    text = text.encode("utf-8", "replace").decode()
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "�", text.replace("\r\n", "\n"))
    text = _ABOVE.sub(r"/\1/", text)
    if len(text) <= most:
        return text
    head, tail = most * 2 // 5, most * 3 // 5
    return f"{text[:head]}\n[… {len(text) - head - tail} characters left out …]\n{text[-tail:]}"


class Toolbox:
    """The tools of an environment, by name."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._tools = dict(sorted(tools.items()))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def schemas(self) -> list[dict[str, Any]]:
        return [one.schema() for one in self._tools.values()]

    def use(self, workbench: Workbench, name: str, arguments: Mapping[str, Any]) -> str:
        """What the tool says, bounded.

        Raises:
            ActionRefused: there is no such tool, or it refuses the request.
        """
        tool = self._tools.get(name)
        if tool is None:
            raise ActionRefused(f"there is no tool {name[:60]!a}; there are: {', '.join(self._tools)}")
        self.attend(workbench)
        return shortened(tool.use(workbench, **checked(tool, arguments)))

    def attend(self, workbench: Workbench) -> None:
        """Have every tool told of the changes that a working copy goes through from now on."""
        if self._tell not in workbench.listeners:
            workbench.listeners.append(self._tell)

    def _tell(self, workbench: Workbench, path: str, before: str, after: str) -> None:
        for tool in self._tools.values():
            tool.on_edit(workbench, path, before, after)

    def edit(self, workbench: Workbench, path: str, after: str) -> None:
        """Change a file of the working copy; every tool is told.

        Raises:
            ActionRefused: it may not be changed, or cannot be a file of a job.
        """
        self.attend(workbench)
        workbench.change({path: after})


@cache
def registered() -> Mapping[str, Tool]:
    """All tools there are: those of this folder, and those that other packages announce.

    Raises:
        UsageError: an announced one cannot be loaded, or two have one name.
    """
    found = kinds(Tool, __package__, "mldebug.tools", "tool")  # type: ignore[type-abstract]
    return {name: kind() for name, kind in found.items()}


def toolbox(names: tuple[str, ...] | None = None) -> Toolbox:
    """The tools of these names; all by default.

    Raises:
        UsageError: a name is unknown.
    """
    known = registered()
    if unknown := sorted(set(names or ()) - set(known)):
        raise UsageError(f"unknown tool {unknown[0]!r}; choose from: {', '.join(sorted(known))}")
    return Toolbox({name: tool for name, tool in known.items() if names is None or name in names})
