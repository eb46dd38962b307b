"""The server: OpenEnv's application around our environment, and `mldebug serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse
from openenv.core.env_server.http_server import create_app  # type: ignore[import-untyped]
from openenv.core.env_server.types import ConcurrencyConfig  # type: ignore[import-untyped]
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol
from websockets.exceptions import InvalidState

from ....errors import MldebugError, UsageError
from ....grader.runner.request import RunRequest
from ....mutators.base import COMPOUNDS, bug_classes
from ...tools.base import toolbox
from .environment import MOST_LISTED, NAME, DebugEnvironment
from .grade_route import Desk, add_grade_route
from .guard import MOST_CHARACTERS, Guard
from .host import NAMES_VARIABLE, Host, Settings, names_of, public
from .models import DebugAction, DebugObservation, DebugState
from .page_route import add_page

LONGEST_FRAME = 4 * MOST_CHARACTERS
"""In bytes. What is larger ends the connection before it is read whole; `guard` refuses what is too large."""
GRACE_SECONDS = 1

log = logging.getLogger("mldebug.serve")


def create_server(host: Host) -> FastAPI:
    """The application: OpenEnv's routes, `/tasks`, `/sessions`, `/play`, and `/grade` if there is a token.

    It ends the host when it is shut down.
    """
    settings = host.settings
    app: FastAPI = create_app(
        partial(DebugEnvironment, host),
        DebugAction,
        DebugObservation,
        env_name=NAME,
        concurrency_config=ConcurrencyConfig(
            max_concurrent_envs=settings.sessions, session_timeout=settings.idle_seconds
        ),
        state_cls=DebugState,
    )
    app.add_middleware(Guard, names=settings.names)
    app.add_exception_handler(MldebugError, _told)
    app.router.on_shutdown.append(host.close)

    @app.get("/tasks", tags=["Task API"], summary="What there is to do, and with what")
    async def tasks(
        split: str | None = None,
        start: int = Query(0, ge=0),
        count: int = Query(100, ge=0, le=MOST_LISTED),
    ) -> dict[str, Any]:
        splits = host.lists.splits()
        name = split if split is not None else splits[0]["name"] if splits else None
        places = range(len(host.lists.split(name)) if name else 0)[start : start + count]
        return {
            "splits": splits,
            "tasks": [public(host.lists.chosen(name, at), str(name), at, settings.budget) for at in places],
            "bugs": [*bug_classes(), *sorted(COMPOUNDS)],
            "tools": toolbox().schemas(),
            "action_schema": DebugAction.model_json_schema(),
        }

    @app.get("/sessions", tags=["Environment Info"], summary="How many sessions there are")
    async def sessions() -> dict[str, int]:
        return {"open": host.open, "most": settings.sessions}

    add_page(app)
    if settings.grade_token is not None:
        add_grade_route(app, Desk(host, settings.grade_token))
    return app


async def _told(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400 if isinstance(error, UsageError) else 503)


def serve(settings: Settings, address: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGINT or SIGTERM. port 0: any; the log says which.

    Raises:
        UsageError: the address cannot be listened on, or the settings name no proved tasks.
        RunnerError: something required of the sandbox is not there.
        KeyboardInterrupt: ended by SIGINT, after everything was put away.
    """
    host = Host(settings)
    app = create_server(host)
    with listening(address, port) as listener:
        try:
            if settings.require or os.environ.get("MLDEBUG_REQUIRE"):
                host.services.pool.run(RunRequest({"job.py": b""}, "job.py", trace=False, collect=()))
            server = Server(app, host)
            shown = f"[{address}]" if ":" in address else address
            url = f"http://{shown}:{listener.getsockname()[1]}"
            log.info("serving on %s", url)
            log.info("for people: %s/play", url)
            if not address.startswith("127.") and address not in ("localhost", "::1"):
                log.warning("whoever reaches %s can run code in this machine's sandbox", address)
            server.run(sockets=[listener])
        finally:
            host.close()


class Connection(AutoWebSocketsProtocol):  # type: ignore[misc, valid-type]
    """A WebSocket that can be shut down while its client is closing it; uvicorn's own raises then, and the
    rest of the server's shutdown is lost."""

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()


class Server(uvicorn.Server):
    """The application with our limits. When it ends, what is running is ended first: a step that waits for a
    run would keep its connection open."""

    def __init__(self, app: FastAPI, host: Host) -> None:
        self._host = host
        super().__init__(
            uvicorn.Config(
                app,
                log_config=LOGGING,
                access_log=False,
                ws=Connection,
                ws_max_size=LONGEST_FRAME,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await asyncio.to_thread(self._host.close)
        except Exception:
            log.exception("the runs could not be ended in order")
        await super().shutdown(sockets)


def listening(address: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: it cannot, for instance because another server has the port.
    """
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, place = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
        return listener
    except OSError as error:
        raise UsageError(
            f"cannot listen on {address} port {port}: {error.strerror}; try another --port or --host"
        ) from None


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": "INFO", "propagate": False} for name in ("uvicorn", "mldebug")
    },
}
"""All lines go to stderr."""


def __getattr__(name: str) -> Any:
    """`app`, for `uvicorn mldebug.env.adapters.openenv.server:app`: a server with default settings."""
    if name == "app":
        return create_server(Host(Settings(names=names_of(os.environ.get(NAMES_VARIABLE, "").split()))))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
