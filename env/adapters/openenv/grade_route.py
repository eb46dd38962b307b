"""`POST /grade`: a verdict on a submission for a listed task. Off unless the server was given a token."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from ....errors import MldebugError, UsageError
from ...debug_env import DebugEnv
from .host import Host

FIELDS = ("bugs", "diagnosis", "script", "files", "patch")
AT_ONCE = 2
PER_MINUTE = 60
SHORTEST_TOKEN = 16


class Desk:
    """Who may have something graded, and how much at a time.

    token: what a request must show. at_once: submissions under way. per_minute: taken on within a minute.
    """

    def __init__(
        self, host: Host, token: str, *, at_once: int = AT_ONCE, per_minute: int = PER_MINUTE
    ) -> None:
        if len(token) < SHORTEST_TOKEN:
            raise UsageError(f"the token of /grade must have at least {SHORTEST_TOKEN} characters")
        self._host = host
        self._wanted = b"Bearer " + token.encode()
        self._at_once = at_once
        self._per_minute = per_minute
        self._busy = 0
        self._taken: deque[float] = deque()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="mldebug-grade")

    def check(self, authorization: str | None) -> None:
        """
        Raises:
            HTTPException: 401, not the token.
        """
        shown = (authorization or "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(shown, self._wanted):
            raise HTTPException(401, "show the server's token: `Authorization: Bearer …`")

    def begin(self, content: dict[str, Any]) -> Future[dict[str, Any]]:
        """Have a submission graded, in a thread. To be called from one thread only.

        Raises:
            HTTPException: 422, no such submission; 404, no such task; 429, too many.
        """
        unknown = sorted(set(content) - {"task", *FIELDS})
        if unknown or not isinstance(content.get("task"), str):
            raise HTTPException(422, f"a submission has `task` (an id) and some of: {', '.join(FIELDS)}")
        if self._host.lists.find(content["task"]) is None:
            raise HTTPException(404, "there is no such task on this server's lists")
        now = time.monotonic()
        while self._taken and self._taken[0] < now - 60:
            self._taken.popleft()
        if self._busy >= self._at_once or len(self._taken) >= self._per_minute:
            raise HTTPException(429, "too many submissions; try again later", {"Retry-After": "10"})
        self._taken.append(now)
        self._busy += 1
        return self._threads.submit(self._grade, content)

    def ended(self) -> None:
        """A submission that began is done with."""
        self._busy -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _grade(self, content: dict[str, Any]) -> dict[str, Any]:
        """An episode of one step, in which nothing is paid for being early."""
        prepared = self._host.lists.find(content["task"])
        fields = {name: content[name] for name in FIELDS if name in content}
        with DebugEnv(self._host.services, budget=1, tools=(), efficiency_cap=1.0) as env:
            env.reset(task=prepared)
            seen = env.step({"type": "fix", **fields})
            if not env.verdicts:
                raise HTTPException(422, seen.text)
            verdict = env.verdicts[-1]
        return {
            "task": seen.task,
            "score": round(verdict.score, 6),
            "rung": verdict.rung,
            "solved": verdict.solved,
            "trust": verdict.trust,
            "feedback": verdict.feedback,
        }


def add_grade_route(app: FastAPI, desk: Desk) -> None:
    """Offer `POST /grade`: `{"task": ID, "bugs": […], "script" | "files" | "patch": …, "diagnosis": …}`."""

    @app.post("/grade", tags=["Grading"], summary="Grade a submission for a listed task")
    async def grade(request: Request) -> dict[str, Any]:
        desk.check(request.headers.get("authorization"))
        content = await request.json() if await request.body() else {}
        future = desk.begin(content)
        loop = asyncio.get_running_loop()

        def ended(_: Future[dict[str, Any]]) -> None:
            with suppress(RuntimeError):  # the loop is gone: the server has ended
                loop.call_soon_threadsafe(desk.ended)

        future.add_done_callback(ended)  # also when the client does not wait for it
        try:
            return await asyncio.wrap_future(future)
        except UsageError as error:
            raise HTTPException(422, str(error)) from None
        except MldebugError:
            raise HTTPException(503, "the server could not run the job; try again") from None

    app.router.on_shutdown.append(desk.close)
