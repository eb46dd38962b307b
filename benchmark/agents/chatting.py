"""Agents that ask a language model (or a person) what to do next."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from ...env.models import Observation
from .base import Agent, Brief, Turn, Usage
from .endpoint import Answer, Endpoint
from .llm_config import Model, find_model

HUMAN = "human"
"""The `llm_name` with which a person answers."""
NO_ACTION = {"type": "none"}
"""What is handed to the environment when no action can be read: it refuses it, and a step is spent."""


class Asked(Protocol):
    def answer(self, messages: Any, tools: Any, **options: Any) -> Answer: ...


class Chatting(Agent):
    """Keeps the conversation, reads actions out of answers, and asks again where none can be read.

    Settings: llm_name: an entry of `llm.yaml`, or `human`. temperature, max_tokens: of each request.
    history: how many of the last exchanges a request holds (the briefing always stays). malformed: how
    often an answer that is no action is sent back with a word of correction before it costs a step.
    """

    settings: ClassVar[Mapping[str, Any]] = {
        "llm_name": "local",
        "temperature": 0.0,
        "max_tokens": 4096,
        "history": 20,
        "malformed": 2,
    }

    def __init__(self, brief: Brief) -> None:
        super().__init__(brief)
        self._exchanges: list[list[dict[str, Any]]] = []
        self._opening: list[dict[str, Any]] = []
        self._model: Model | None = None
        self._asked: Asked | None = None
        self._waiting: str | None = None
        self.usage = Usage()

    @classmethod
    def needs_terminal(cls, settings: Mapping[str, Any]) -> bool:
        return settings.get("llm_name") == HUMAN

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        if not cls.needs_terminal(settings):
            find_model(settings["llm_name"])

    # what the kinds of agents differ in

    @abstractmethod
    def system(self) -> str:
        """The first message."""

    @abstractmethod
    def functions(self, seen: Observation) -> list[Mapping[str, Any]]:
        """The functions a model may call now; none if it answers in text."""

    @abstractmethod
    def read(self, answer: Answer, seen: Observation) -> tuple[dict[str, Any] | None, str]:
        """The action in an answer; None if there is none, with what to tell the model."""

    # the conversation

    def act(self, seen: Observation) -> Turn:
        self._hear(seen)
        functions = self.functions(seen)
        said: list[str] = []
        for _ in range(int(self.brief.settings["malformed"]) + 1):
            answer = self._ask(functions)
            said.append(answer.text)
            action, correction = self.read(answer, seen)
            self._answered(answer, action is not None)
            if action is not None:
                self._acted(action)
                return Turn(action, {"said": said})
            self._exchanges[-1].append({"role": "user", "content": correction})
        self._waiting = None
        return Turn(NO_ACTION, {"said": said})

    def _acted(self, action: Mapping[str, Any]) -> None:
        """An action is taken; for those who count."""

    def _hear(self, seen: Observation) -> None:
        left = f"[{seen.budget - seen.step} of {seen.budget} steps left]"
        if not self._opening:
            self._opening = [
                {"role": "system", "content": self.system()},
                {"role": "user", "content": f"{seen.text}\n{left}"},
            ]
            self._exchanges.append([])
            return
        text = f"{'Refused: ' if seen.refused else ''}{seen.text}\n{left}"
        if self._waiting is not None:
            message = {"role": "tool", "tool_call_id": self._waiting, "content": text}
        else:
            message = {"role": "user", "content": text}
        self._exchanges[-1].append(message)
        self._exchanges.append([])

    def _answered(self, answer: Answer, used: bool) -> None:
        """Keep what the model said; of several calls the first one, as every call must get its answer."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text}
        self._waiting = None
        if used and answer.calls:
            first = answer.calls[0]
            self._waiting = first.id
            function = {"name": first.name, "arguments": first.arguments}
            message["tool_calls"] = [{"id": first.id, "type": "function", "function": function}]
        elif answer.calls:
            first = answer.calls[0]
            message["content"] = f"{answer.text}\n{first.name}({first.arguments[:2000]})".strip()
        self._exchanges[-1].append(message)

    def _ask(self, functions: list[Mapping[str, Any]]) -> Answer:
        settings = self.brief.settings
        if self._asked is None:
            self._asked = self._reached()
        kept = self._exchanges[-int(settings["history"]) - 1 :]
        messages = [*self._opening, *(one for exchange in kept for one in exchange)]
        options = {"temperature": settings["temperature"], "max_tokens": settings["max_tokens"]}
        answer = self._asked.answer(messages, functions, **options)
        self._count(answer)
        return answer

    def _reached(self) -> Asked:
        name = str(self.brief.settings["llm_name"])
        if name == HUMAN:
            from .person import Person

            return Person()
        self._model = find_model(name)
        return Endpoint(self._model)

    def _count(self, answer: Answer) -> None:
        assert self.usage is not None
        self.usage.requests += 1
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            self.usage.uncounted += 1
            return
        self.usage.prompt_tokens += answer.prompt_tokens
        self.usage.completion_tokens += answer.completion_tokens
        if self._model is not None:
            self.usage.dollars += (
                answer.prompt_tokens * self._model.prompt_price
                + answer.completion_tokens * self._model.completion_price
            ) / 1e6


def json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text that may hold others things: words, a fence."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            found, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(found, dict):
            return found
        at = text.find("{", at + 1)
    return None
