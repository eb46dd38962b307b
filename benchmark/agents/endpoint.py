"""Chat completions over HTTP: one request at a time, with a deadline, tried again where that may help."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...grader.judges.posting import PostFailed, Target
from .base import AgentFailed
from .llm_config import Model

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that may be gone the next time."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds between two tries: doubled each time, or what the endpoint asks for with Retry-After."""
LARGEST = 8 << 20
"""Bytes of an answer that are read."""


@dataclass(frozen=True)
class Call:
    """A function that the model wants called. arguments: its JSON, as it came."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Answer:
    """Tokens: as the endpoint counted them; None if it did not."""

    text: str
    calls: tuple[Call, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Passing(Exception):
    """A failure that may be gone the next time. pause: what the endpoint asked for."""

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


class Endpoint:
    """Args:
    model: where it is. sleep: waits between tries.
    """

    def __init__(self, model: Model, sleep: Callable[[float], None] = time.sleep) -> None:
        self._model = model
        self._sleep = sleep
        self.tries = 0

    def answer(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], **options: Any
    ) -> Answer:
        """The first choice.

        Args:
            tools: name, description and parameters of each function the model may call.
            options: further fields of the request, e.g. temperature.

        Raises:
            AgentFailed: there is none after all tries; the message holds no key.
        """
        body: dict[str, Any] = {"model": self._model.model, "messages": list(messages), **options}
        if tools:
            body["tools"] = [{"type": "function", "function": dict(one)} for one in tools]
        sent = json.dumps(body).encode()
        pause = FIRST_PAUSE
        for left in range(self._model.retries, -1, -1):
            self.tries += 1
            try:
                return read_answer(self._post(sent))
            except _Passing as error:
                if not left:
                    tries = self._model.retries + 1
                    raise AgentFailed(f"the model {self._model.name}: {error} ({tries} tries)") from None
                self._sleep(min(LONGEST_PAUSE, error.pause if error.pause is not None else pause))
                pause *= 2
        raise AssertionError("unreachable")

    def _post(self, body: bytes) -> bytes:
        model = self._model
        try:
            reply = Target(model.base_url, model.api_key, model.timeout, LARGEST).post(body)
        except PostFailed as error:
            if error.may_pass:
                raise _Passing(str(error)) from None
            raise AgentFailed(f"the model {model.name}: {error}") from None
        if reply.status in PASSING:
            raise _Passing(f"HTTP {reply.status}", _seconds(reply.retry_after))
        if reply.status != 200:
            raise AgentFailed(f"the model {model.name}: HTTP {reply.status}; check base_url, model and key")
        return reply.content


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None  # a date: too far to be worth reading


def read_answer(content: bytes) -> Answer:
    """A chat completion.

    Raises:
        _Passing: it is none.
    """
    try:
        whole = json.loads(content)
        message = whole["choices"][0]["message"]
        text = message.get("content") or ""
        calls = tuple(
            Call(
                str(one.get("id") or "call"),
                str(one["function"]["name"]),
                one["function"]["arguments"] or "{}",
            )
            for one in message.get("tool_calls") or ()
        )
        if not isinstance(text, str) or not all(isinstance(one.arguments, str) for one in calls):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise _Passing("an answer that is no chat completion") from None
    usage = whole.get("usage")
    return Answer(text, calls, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
