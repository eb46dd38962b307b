"""A real server in a thread, on loopback, and raw connections to it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from mldebug.env import Prepared, Services
from mldebug.env.adapters.openenv.host import Host, Settings, TaskLists
from mldebug.env.adapters.openenv.server import Server, create_server, listening
from mldebug.grader.runner import Pool

from ...written import rows, task

CRASHES, CRASHES_ON_GPU, SILENT = "shape-tabular-1", "device-tabular-1", "eval-tabular-2"
NAMES = (CRASHES, CRASHES_ON_GPU, SILENT)


def prepared(name: str) -> Prepared:
    return Prepared(task(name), rows()[name]["alert"])


def host_of(pool: Pool, names: tuple[str, ...] = NAMES, **settings: Any) -> Host:
    """A host whose split `train` holds the named tasks."""
    found = [prepared(name) for name in names]
    return Host(Settings(**settings), services=Services(found, pool=pool), lists=TaskLists({"train": found}))


@contextmanager
def serving(host: Host) -> Iterator[str]:
    """Its address while it runs."""
    with started(host) as (address, _):
        yield address


@contextmanager
def started(host: Host) -> Iterator[tuple[str, Server]]:
    """Its address and itself while it runs."""
    listener = listening("127.0.0.1", 0)
    server = Server(create_server(host), host)
    ended_well = []

    def run() -> None:
        server.run(sockets=[listener])
        ended_well.append(True)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", server
    finally:
        server.should_exit = True
        thread.join(60)
        assert ended_well, "the server did not end, or not well"


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Until it holds; an error if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def raw(url: str) -> ClientConnection:
    """A connection without our client."""
    return connect(url.replace("http", "ws") + "/ws", proxy=None, compression=None, max_size=None).__enter__()


def ask(connection: ClientConnection, kind: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer to one message, whole."""
    connection.send(json.dumps({"type": kind} | ({} if data is None else {"data": data})))
    return heard(connection)


def heard(connection: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(connection.recv(timeout=120)))


def drop(connection: ClientConnection) -> None:
    """Vanish, without a word of goodbye."""
    connection.socket.shutdown(socket.SHUT_RDWR)
    connection.socket.close()


def below(pid: int) -> set[int]:
    """The processes that descend from one."""
    found, waiting = set[int](), [pid]
    for one in waiting:
        for thread in Path(f"/proc/{one}/task").glob("*/children"):
            with suppress(OSError):  # it has ended meanwhile
                children = set(map(int, thread.read_text().split())) - found
                found |= children
                waiting += children
    return found
