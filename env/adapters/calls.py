"""An episode as functions that a chat model may call: each tool is one, and `fix` hands in a repair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import UsageError
from ..debug_env import DebugEnv

SYSTEM = (
    "You repair broken PyTorch training jobs, by calling functions. Each call costs a step, and there are "
    "few. Once you know what is wrong, call `fix` with the repair and the classes of bug that it repairs: "
    "the repaired job is then run on data that you have not seen. Another fix may be tried while steps are "
    "left; solving it early is paid more."
)
NO_CALL = "Nothing was called, and a step is spent. Call a function; {left} steps are left."
OVER = "The episode is over."

FIX: dict[str, Any] = {
    "name": "fix",
    "description": (
        "Hand in a repaired job, in one way: script, files or patch. None of them: the working copy as it is."
    ),
    "parameters": {
        "type": "object",
        "properties": {
            "bugs": {
                "type": "array",
                "items": {"type": "string"},
                "description": "the classes of bug that it repairs",
            },
            "script": {"type": "string", "description": "the whole new text of the entry point"},
            "files": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "path to whole new text",
            },
            "patch": {"type": "string", "description": "a unified diff against the working copy"},
            "diagnosis": {"type": "string", "description": "what was wrong, where, and what it did"},
        },
        "required": ["bugs"],
        "additionalProperties": False,
    },
}


def functions(env: DebugEnv) -> list[dict[str, Any]]:
    """Name, description and parameters (JSON schema) of all functions.

    Raises:
        UsageError: a tool of another package has the name `fix`.
    """
    if any(one["name"] == "fix" for one in env.tools):
        raise UsageError("a tool is named 'fix', as the function that hands in a repair is; leave it out")
    return [*env.tools, FIX]


def action_of(name: str, arguments: Any) -> dict[str, Any]:
    """The action that a call stands for. Whatever the arguments are: the environment refuses what makes no
    sense."""
    if name == "fix" and isinstance(arguments, Mapping):
        return {**arguments, "type": "fix"}
    return {"type": "inspect", "tool": name, "arguments": arguments}
