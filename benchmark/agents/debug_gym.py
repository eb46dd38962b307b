"""debug-gym's three agents: `debug`, `rewrite` and `debug_5`, which call tools of a working copy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from ...env.models import Observation
from .base import Brief, inspect
from .chatting import Chatting, json_object
from .endpoint import Answer

SYSTEM = (
    "You are debugging a PyTorch training job. Work on the working copy with the functions you are given, "
    "one call "
    "at a time: look at the code, form a hypothesis, check it, change the code, run it. Every call costs a "
    "step. "
    "Nothing is graded before you call `submit` with the classes of bug that you repaired; call it before "
    "the "
    "steps are spent. The classes are: {classes}."
)


class Rewrite(Chatting):
    """Views, rewrites and runs, without a debugger."""

    name = "rewrite"
    about = "A language model with view, rewrite, eval and submit (debug-gym's rewrite agent)."
    tools: ClassVar[tuple[str, ...] | None] = ("eval", "listdir", "rewrite", "submit", "view")

    def system(self) -> str:
        return SYSTEM.format(classes=", ".join(self.brief.classes))

    def functions(self, seen: Observation) -> list[Mapping[str, Any]]:
        return [one for one in self.brief.tools if self.offers(str(one["name"]))]

    def offers(self, tool: str) -> bool:
        """Whether a tool of the episode may be used now."""
        return True

    def read(self, answer: Answer, seen: Observation) -> tuple[dict[str, Any] | None, str]:
        if not answer.calls:
            typed = json_object(answer.text)
            if typed is not None and typed.get("type") == "inspect" and isinstance(typed.get("tool"), str):
                return typed, ""
            return None, "Answer with a call of one of the functions."
        call = answer.calls[0]
        known = [str(one["name"]) for one in self.functions(seen)]
        if call.name not in known:
            return None, f"There is no function {call.name[:60]!r} now; there are: {', '.join(known)}."
        try:
            arguments = json.loads(call.arguments)
        except (ValueError, RecursionError) as error:
            return None, f"The arguments of {call.name} are not valid JSON ({error})."
        if not isinstance(arguments, dict):
            return None, f"The arguments of {call.name} must be a JSON object."
        return inspect(call.name, **{str(name): value for name, value in arguments.items()}), ""


class Debug(Rewrite):
    """The same, with a debugger from the beginning."""

    name = "debug"
    about = "A language model with view, rewrite, eval, pdb and submit (debug-gym's debug agent)."
    tools = ("eval", "listdir", "pdb", "rewrite", "submit", "view")


class Debug5(Debug):
    """The same, but the debugger is offered only after some rewrites.

    Settings: rewrites: how many.
    """

    name = "debug_5"
    about = "As debug, but pdb is offered only after five rewrites (debug-gym's debug_5 agent)."
    settings: ClassVar[Mapping[str, Any]] = {**Chatting.settings, "rewrites": 5}

    def __init__(self, brief: Brief) -> None:
        super().__init__(brief)
        self._rewrites = 0

    def offers(self, tool: str) -> bool:
        return tool != "pdb" or self._rewrites >= int(self.brief.settings["rewrites"])

    def _acted(self, action: Mapping[str, Any]) -> None:
        self._rewrites += action.get("tool") == "rewrite"
