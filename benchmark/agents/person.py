"""A person in the place of a language model: sees what it would be told, and types what it would answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...env.terminal import Terminal, plain
from ...env.typed import Mistyped, split, typed, usage
from .base import AgentFailed
from .endpoint import Answer, Call


class Person:
    """Answers with one tool a line (`view train.py 1 40`), or with the JSON of an action."""

    def __init__(self) -> None:
        self._schemas: dict[str, Mapping[str, Any]] = {}
        self._terminal = Terminal(lambda before: [] if " " in before else list(self._schemas))

    def answer(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], **options: Any
    ) -> Answer:
        """What was typed.

        Raises:
            AgentFailed: the person left.
        """
        self._schemas = {str(one["name"]): one for one in tools}
        say = self._terminal.say
        say(plain(str(messages[-1].get("content") or "")))
        for one in tools:
            say(f"  {usage(one)}")
        while True:
            try:
                line = self._terminal.ask("action> ").strip()
            except (EOFError, KeyboardInterrupt):
                raise AgentFailed("the person left before the end of the episode") from None
            if line.startswith("{"):
                return Answer(line)
            name, _, rest = line.partition(" ")
            if name in self._schemas:
                try:
                    return Answer(
                        "", (Call("typed", name, json.dumps(typed(self._schemas[name], split(rest)))),)
                    )
                except Mistyped as error:
                    say(plain(str(error)))
            elif line:
                say(f"there is no tool {name[:60]!r}; type one of those above, or an action as JSON")
