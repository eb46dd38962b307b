"""One request to a chat-completions endpoint, within a deadline that holds for all of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

LARGEST = 256 * 1024
"""Bytes of an answer that are read: a hundred times what the form asked for takes."""


class ChatError(Exception):
    """No usable answer. The message is made of our own words and numbers only: never the key, the address, a
    header, or anything the other side said."""


@dataclass(frozen=True)
class Chat:
    """An OpenAI-compatible endpoint.

    base_url: `https://host/v1`; `/chat/completions` is added. Redirects are not followed, so the key goes
        nowhere else; a proxy from the environment is not used.
    timeout: seconds for everything: name lookup, connection, and the last byte.
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
        call = _Call(self, body)
        call.start()
        call.join(self.timeout)
        if call.is_alive():
            call.abandon()
            raise ChatError(f"the endpoint did not answer within {self.timeout:g} s")
        if call.failure is not None:
            raise ChatError(call.failure)
        return _content(call.answer)


class _Call(threading.Thread):
    """The request itself. A thread of its own, because a lookup or a server that sends one byte at a time
    would outlast any time-out that a socket knows."""

    def __init__(self, chat: Chat, body: bytes) -> None:
        super().__init__(name="mldebug-judge", daemon=True)
        self._chat = chat
        self._body = body
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._abandoned = False
        self.answer = b""
        self.failure: str | None = None

    def run(self) -> None:
        try:
            self._post()
        except ChatError as error:
            self.failure = str(error)
        except Exception as error:
            # The name of the exception only: its text may quote a header, and so the key.
            self.failure = f"the endpoint could not be asked ({type(error).__name__})"

    def _post(self) -> None:
        address = urlsplit(self._chat.base_url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        if address.scheme not in kinds or not address.hostname:
            raise ChatError("the base URL is not one of the form http(s)://host[:port]/path")
        connection = kinds[address.scheme](address.hostname, address.port, timeout=self._chat.timeout)
        try:
            connection.connect()
            with self._lock:
                self._socket = connection.sock
                if self._abandoned:
                    return
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            if self._chat.api_key is not None:
                headers["Authorization"] = f"Bearer {self._chat.api_key}"
            path = f"{address.path.rstrip('/')}/chat/completions"
            connection.request(
                "POST", f"{path}?{address.query}" if address.query else path, self._body, headers
            )
            response = connection.getresponse()
            if 300 <= response.status < 400:
                raise ChatError(f"the endpoint redirects (HTTP {response.status}), which is not followed")
            if response.status != 200:
                raise ChatError(f"the endpoint answered with HTTP {response.status}")
            self.answer = response.read(LARGEST + 1)
        finally:
            connection.close()
        if len(self.answer) > LARGEST:
            raise ChatError(f"the answer is larger than {LARGEST} bytes")

    def abandon(self) -> None:
        """End the thread: whatever it waits for on its socket fails at once."""
        with self._lock:
            self._abandoned = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


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
