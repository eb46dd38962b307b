"""`llm`: the first seed's agent. It answers in JSON, so any model will do that can write text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...env.models import Observation
from .chatting import Chatting, json_object
from .endpoint import Answer

SYSTEM = (
    "You are an engineer on call. A PyTorch training job has raised an alert. Gather evidence with tools, "
    "form a "
    "hypothesis, then hand in a fix; every answer is one action and costs a step. An action is one JSON "
    "object and "
    "nothing else:\n"
    '{{"type": "inspect", "tool": "<name>", "arguments": {{}}}}\n'
    '{{"type": "fix", "bugs": ["<class>"], "diagnosis": "<what was wrong, where, and why>", '
    '"files": {{"<path>": '
    '"<the whole repaired file>"}}}}\n'
    "Tools: {tools}\nClasses: {classes}\nA fix is executed: the repaired job must run, finish, and do what "
    "it should."
)


class Llm(Chatting):
    """Gets the five tools that the first seed had."""

    name = "llm"
    about = "A language model with the first seed's five tools, which answers in JSON."
    tools = ("get_traceback", "inspect_gradients", "print_shapes", "run_code", "view_source")

    def system(self) -> str:
        tools = "; ".join(f"{one['name']} ({one['description']})" for one in self.brief.tools)
        return SYSTEM.format(tools=tools, classes=", ".join(self.brief.classes))

    def functions(self, seen: Observation) -> list[Mapping[str, Any]]:
        return []

    def read(self, answer: Answer, seen: Observation) -> tuple[dict[str, Any] | None, str]:
        found = json_object(answer.text)
        if found is None:
            return (
                None,
                "Your answer held no JSON object. Answer with one action as a JSON object, nothing else.",
            )
        if found.get("type") not in ("inspect", "fix"):
            return None, '"type" must be "inspect" or "fix". Answer with one action as a JSON object.'
        if found["type"] == "inspect" and not isinstance(found.get("tool"), str):
            return None, f"An inspection names its tool; there are: {', '.join(map(str, self.tools or ()))}."
        return found, ""
