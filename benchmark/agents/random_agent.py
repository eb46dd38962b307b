"""`random`: any tool, any fix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...env.models import Observation
from ...seeds import Draw
from .base import Agent, Brief, Turn, fix, inspect
from .reading import read_sources

WORDS = ("train.py", "model.py", "loss", "model", "optimizer", "data", "p 1", "n", "s", "w", ".")
FIXES = (1, 3)
"""How many steps of how many are fixes."""


class Random(Agent):
    """The floor of agents that act: it knows the forms of actions, and nothing about what they are for."""

    name = "random"
    about = (
        "Uses any tool with any arguments, or hands in a fix: a class at random, a line of the source less."
    )
    draws = True

    def __init__(self, brief: Brief) -> None:
        super().__init__(brief)
        self._sources: dict[str, str] = {}

    def act(self, seen: Observation) -> Turn:
        draw = self.brief.draw.child(seen.step)
        if seen.step and (found := read_sources(seen.text, seen.entrypoint)):
            self._sources = found
        tools = [one for one in self.brief.tools if one["name"] not in ("submit", "rewrite")]
        if draw.chance(*FIXES, "fix") or not tools:
            size = 1 + draw.chance(1, 4, "pair")
            bugs = draw.shuffled(self.brief.classes, "classes")[:size]
            return Turn(fix(bugs, self._without_a_line(draw)))
        tool = draw.choose(tools, "tool")
        return Turn(inspect(tool["name"], **arguments(tool, draw)))

    def _without_a_line(self, draw: Draw) -> dict[str, str] | None:
        """One of the files it has seen, without one of its lines."""
        if not self._sources:
            return None
        path = draw.choose(sorted(self._sources), "file")
        lines = self._sources[path].splitlines(keepends=True)
        del lines[draw.below(len(lines), "line")]
        return {path: "".join(lines)}


def arguments(tool: Mapping[str, Any], draw: Draw) -> dict[str, Any]:
    """Arguments of the right kinds: all that are needed, each of the others half the time."""
    found: dict[str, Any] = {}
    parameters = tool["parameters"]
    for name, entry in sorted(parameters["properties"].items()):
        if name not in parameters["required"] and draw.chance(1, 2, "left out", name):
            continue
        kind = entry["type"]
        if kind == "integer":
            found[name] = 1 + draw.below(100, name)
        elif kind == "boolean":
            found[name] = draw.chance(1, 2, name)
        elif kind == "array":
            found[name] = [draw.choose(WORDS, name, index) for index in range(1 + draw.below(3, name, "n"))]
        else:
            found[name] = draw.choose(WORDS, name)
    return found
