"""What reaches the protocol's code: JSON objects of bounded size and depth, to the places that are offered.

OpenEnv's endpoints read a request's body without limit and end a session at the first frame that is not what
they expect. Here such a request or frame is answered, and the session goes on.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_CHARACTERS = 4 << 20
"""Of one message: twice what an action may hold, as JSON takes more room than the texts in it."""
MOST_TAKEN_IN = 8 * MOST_CHARACTERS
MOST_PARTS = 100_000
DEEPEST = 32
MOST_BAD_FRAMES = 100
"""In a row; a client that sends more is cut off."""
BODY_SECONDS = 30.0
NO_MCP = -32601
RESERVED = frozenset({"self", "func", "session_id"})
"""Options of `reset` that OpenEnv would take for arguments of its own."""


def problem_of(text: str, path: str = "/ws") -> str | None:
    """What is wrong with a message; None if it is a JSON object within the limits."""
    if len(text) > MOST_CHARACTERS:
        return f"a message holds at most {MOST_CHARACTERS >> 20} Mi characters"
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        return f"a message is nested {DEEPEST} deep at most"
    except ValueError as error:
        return f"not valid JSON: {str(error)[:200]}"
    if not isinstance(value, dict):
        return "a message is a JSON object"
    if path == "/ws" and value.get("type") == "mcp":
        return "this environment does not speak MCP"  # its answers would tell the session's name
    return _too_much(value) or _reserved(value, path)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _reserved(value: dict[str, Any], path: str) -> str | None:
    options: Any = value if path == "/reset" else None
    if path == "/ws" and value.get("type") == "reset":
        options = value.get("data")
    found = sorted(RESERVED & options.keys()) if isinstance(options, dict) else []
    return f"reset has no option {found[0]!r}" if found else None


def _too_much(value: Any) -> str | None:
    level, parts = [value], 0
    for _ in range(DEEPEST):
        below: list[Any] = []
        for one in level:
            parts += 1
            if isinstance(one, float) and not math.isfinite(one):
                return "a number is too large"
            if isinstance(one, str) and not _is_text(one):
                return "a text holds half a character"
            if isinstance(one, dict):
                below += one.keys()
                below += one.values()
            elif isinstance(one, list):
                below += one
        if parts + len(below) > MOST_PARTS:
            return f"a message has at most {MOST_PARTS:,} parts"
        if not below:
            return None
        level = below
    return f"a message is nested {DEEPEST} deep at most"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class Guard:
    """ASGI middleware. Refuses what a browser sends in the name of another site, too: only our own page has
    business with a server on this machine.

    names: by which browsers may reach the server, beside addresses and localhost.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = frozenset(one.lower() for one in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._foreign(scope):
            return await _answer(send, 403, {"detail": "requests of other sites are refused"})
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return await self._app(scope, receive, send)
        try:
            body = await asyncio.wait_for(_body(receive), BODY_SECONDS)
        except TimeoutError:
            return await _answer(send, 408, {"detail": f"the body took longer than {BODY_SECONDS:.0f} s"})
        if body is None:
            detail = f"a message holds at most {MOST_CHARACTERS >> 20} Mi characters"
            return await _answer(send, 413, {"detail": detail})
        if scope["path"] == "/mcp":
            error = {"code": NO_MCP, "message": "this environment does not speak MCP; use /ws"}
            return await _answer(send, 200, {"jsonrpc": "2.0", "id": None, "error": error})
        if body and (problem := _problem_of_bytes(body, scope["path"])):
            return await _answer(send, 400, {"detail": problem})

        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        return await self._app(scope, replay, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        # `session_id` would attach to a session that another connection owns
        attach = "session_id" in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["path"] != "/ws" or attach or self._foreign(scope):
            await receive()
            return await send({"type": "websocket.close", "code": 1008})

        gone = False

        async def tell(message: Message) -> None:
            """A client that is gone hears nothing, which is no error: `receive` says that it is gone."""
            nonlocal gone
            if not gone:
                try:
                    await send(message)
                except OSError:
                    gone = True

        async def checked() -> Message:
            for _ in range(MOST_BAD_FRAMES):
                message = await receive()
                if message["type"] != "websocket.receive":
                    return message
                text = message.get("text")
                problem = "frames hold text" if text is None else problem_of(text)
                if problem is None:
                    return message
                await tell({"type": "websocket.send", "text": _error(problem)})
            return {"type": "websocket.disconnect", "code": 1008}

        return await self._app(scope, checked, tell)

    def _foreign(self, scope: Scope) -> bool:
        """Whether a browser sends this from another site's page. Clients that are no browser name no origin.

        A site can have its own name lead to this machine once its page is loaded. To the browser that page
        and this server are then one site, so that a name has to be known; an address cannot be taken over.
        """
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if not origins:
            return False
        if len(origins) > 1 or len(hosts) != 1:
            return True
        origin, host = origins[0].decode("latin-1"), hosts[0].decode("latin-1")
        try:
            parts = urlsplit(origin)
            known = _cannot_be_taken_over(parts.hostname or "") or parts.hostname in self._names
        except ValueError:
            return True
        return parts.scheme not in ("http", "https") or parts.netloc != host or not known


def _error(problem: str) -> str:
    return json.dumps({"type": "error", "data": {"message": problem, "code": "INVALID_JSON"}})


def _problem_of_bytes(body: bytes, path: str) -> str | None:
    try:
        return problem_of(body.decode("utf-8"), path)
    except UnicodeDecodeError:
        return "not valid UTF-8"


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None if it is too large.

    Some of what is too much is taken in as well: a client that is cut off while it sends hears no answer.
    """
    found, size = bytearray(), 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= MOST_CHARACTERS:
            found += part
        if message["type"] == "http.disconnect" or not message.get("more_body") or size > MOST_TAKEN_IN:
            return bytes(found) if size <= MOST_CHARACTERS else None


def _cannot_be_taken_over(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _answer(send: Send, status: int, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in (408, 413):
        headers.append((b"connection", b"close"))  # the rest of the body is not waited for
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
