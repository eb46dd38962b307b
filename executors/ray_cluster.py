"""Workers of a Ray cluster, one that runs already or one that is started for a command."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import sys
import tempfile
import uuid
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import RunnerError, UsageError
from .base import Asked, Made, Recipe, Settled
from .ray_worker import Ticket, serve

TRIES = 8
"""Times that an item is given to another worker, where the machinery under it died. What the item itself
raises is final."""

KNOCK_SECONDS = 10.0

STORE_BYTES = 256 << 20
"""Of the memory that processes of a cluster that is started here share; results are small."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use the interpreter that is running, as it is
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # or a node that dies is told of on stderr
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""For Ray, unless the user has said otherwise. The last: an accelerator stays visible to those who ask for
none."""

OF_WORKERS = {"env_vars": {"RAY_kill_child_processes_on_worker_exit": "0"}}
"""What a pool has started ends itself when its caller is gone, and tidies up, unless it is killed first."""


class Ray:
    """Does the work by Ray's workers (see `base.Executor`).

    Each item is a task of one CPU. A worker that dies, or its node, costs the items it was doing, which are
    done again elsewhere. Connects, or starts a cluster, when there is something to do.

    jobs: how much is done at a time, on all nodes together. require: see `Pool`. address: of a running
    cluster; by default one is started on this machine, and ended by `close`.

    Raises:
        UsageError: Ray is not installed, or the address is of another kind.
    """

    remote = True

    def __init__(self, jobs: int = 1, *, require: str | None = None, address: str | None = None) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError:
            raise UsageError("--executor ray needs Ray; pip install 'mldebug[ray]'") from None
        if address is not None and "://" in address:
            raise UsageError(f"--ray-address {address}: give HOST:PORT of the cluster's head node, or `auto`")
        self._ray: Any = ray
        self.jobs, self.require, self._address = jobs, require, address
        self._connected = False
        self._folder: Path | None = None

    def in_order(
        self, recipe: Recipe[Asked, Made], items: Iterable[Asked | Settled[Made]]
    ) -> Generator[Made]:
        batch = _Batch(self, recipe)
        waiting: deque[Any] = deque()
        with batch.cancelled():
            for item in items:
                waiting.append(item if isinstance(item, Settled) else batch.send(item))
                if len(waiting) >= 2 * self.jobs:
                    yield batch.made(waiting.popleft())
            while waiting:
                yield batch.made(waiting.popleft())

    def as_they_end(
        self, recipe: Recipe[Asked, Made], items: Iterable[Asked]
    ) -> Generator[tuple[Asked, Made | BaseException]]:
        batch = _Batch(self, recipe)
        under_way: dict[Any, Asked] = {}
        with batch.cancelled():
            for item in items:
                while len(under_way) >= self.jobs:
                    reference = batch.first(under_way)
                    yield under_way.pop(reference), batch.outcome(reference)
                under_way[batch.send(item)] = item
            while under_way:
                reference = batch.first(under_way)
                yield under_way.pop(reference), batch.outcome(reference)

    def connect(self) -> None:
        """Be part of a cluster.

        Raises:
            RunnerError: it cannot be reached or started, or offers no CPU.
        """
        if self._connected or self._ray.is_initialized():
            return  # the second: by whoever called this, who will also end it
        try:
            if self._address is not None:
                _knock(self._address)
                settings: dict[str, Any] = {"address": self._address}
            else:
                self._folder = Path(tempfile.mkdtemp(prefix="mldebug-ray-", dir="/tmp"))
                settings = {
                    "address": "local",
                    "num_cpus": self.jobs,
                    "include_dashboard": False,
                    "object_store_memory": STORE_BYTES,
                    "_temp_dir": str(self._folder),
                }
            with _silenced():
                self._ray.init(**settings, log_to_driver=False, logging_level=logging.CRITICAL)
        except (OSError, RuntimeError, ValueError) as error:
            self._connected = self._ray.is_initialized()
            self.close()
            where = "started" if self._address is None else f"reached at {self._address}"
            reason = " ".join(str(error).split())[:300]
            raise RunnerError(f"a Ray cluster cannot be {where}: {reason}") from None
        self._connected = True
        if self._ray.cluster_resources().get("CPU", 0) < 1:
            raise RunnerError("no node of the Ray cluster offers a CPU")

    def close(self) -> None:
        """Leave the cluster, or end it where it was started here."""
        if self._connected:
            self._connected = False
            self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Ray:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Nothing that code outside of Python writes to stderr is seen: Ray says there how much it will say."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at an address: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS):
            pass


class _Batch:
    """The items of one recipe, those under way and those that ended."""

    def __init__(self, executor: Ray, recipe: Any) -> None:
        self._executor, self._recipe = executor, recipe
        self._ray = executor._ray
        self._unfinished: dict[Any, None] = {}
        self._call: Any = None

    def send(self, item: Any) -> Any:
        """Give an item away, once there are less under way than may be; a reference to what comes of it."""
        if self._call is None:
            self._begin()
        while len(self._unfinished) >= self._executor.jobs:
            self.first(self._unfinished)
        reference = self._call(item)
        self._unfinished[reference] = None
        return reference

    def _begin(self) -> None:
        self._executor.connect()
        ticket = Ticket.of(uuid.uuid4().hex, self._executor.require)
        recipe = [self._ray.put(self._recipe)]
        made = self._ray.remote(num_cpus=1, max_retries=TRIES, retry_exceptions=False, runtime_env=OF_WORKERS)
        task = made(serve)
        self._call = lambda item: task.remote(ticket, recipe, item)

    def first(self, references: Iterable[Any]) -> Any:
        """One that has ended."""
        (reference,), _others = self._ray.wait(list(references), num_returns=1, fetch_local=False)
        self._unfinished.pop(reference, None)
        return reference

    def outcome(self, reference: Any) -> Any:
        """The result of an item, or what was raised."""
        try:
            value = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:300]
            value = RunnerError(f"Ray could not do an item ({type(error).__name__}: {reason})")
        self._unfinished.pop(reference, None)
        return value

    def made(self, one: Any) -> Any:
        """The result of an item.

        Raises:
            Exception: what the item raised.
        """
        if isinstance(one, Settled):
            return one.value
        value = self.outcome(one)
        if isinstance(value, BaseException):
            raise value
        return value

    @contextlib.contextmanager
    def cancelled(self) -> Iterator[None]:
        """Nothing is under way any more when this is left."""
        try:
            yield
        finally:
            for reference in self._unfinished:
                with contextlib.suppress(Exception):
                    self._ray.cancel(reference, force=True)
            self._unfinished.clear()
