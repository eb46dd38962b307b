"""What the judge asks a language model, and what it takes for an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .posting import PostFailed, Target

LARGEST = 256 * 1024
"""Bytes of an answer that are read: a hundred times what the form asked for takes."""


class ChatError(Exception):
    """No usable answer. The message is made of our own words and numbers only: never the key, the address, a
    header, or anything the other side said."""


@dataclass(frozen=True)
class Chat:
    """An OpenAI-compatible endpoint.

    base_url, api_key, timeout: see `posting.Target`.
    """

    base_url: str = field(repr=False)
    model: str
    api_key: str | None = field(repr=False)
    timeout: float

    def ask(self, system: str, user: str) -> str:
        """The content of the first choice.

        Raises:
            ChatError: for whatever goes wrong.
        """
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        body = json.dumps({"model": self.model, "messages": messages, "temperature": 0}).encode()
        try:
            reply = Target(self.base_url, self.api_key, self.timeout, LARGEST).post(body)
        except PostFailed as error:
            raise ChatError(f"the endpoint: {error}") from None
        if 300 <= reply.status < 400:
            raise ChatError(f"the endpoint redirects (HTTP {reply.status}), which is not followed")
        if reply.status != 200:
            raise ChatError(f"the endpoint answered with HTTP {reply.status}")
        return _content(reply.content)


def _content(answer: bytes) -> str:
    content: Any = strict_json(answer, "the answer")
    for step in ("choices", 0, "message", "content"):
        try:
            content = content[step]
        except (KeyError, IndexError, TypeError):
            raise ChatError("the answer is no chat completion") from None
    if not isinstance(content, str):
        raise ChatError("the answer is no chat completion")
    return content


def strict_json(text: str | bytes, what: str) -> Any:
    """JSON as the standard has it: no NaN, no name twice in one object.

    Raises:
        ChatError: it is not.
    """
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise ChatError(f"{what} is not valid JSON") from None


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found
