"""Runs spread over warm interpreters."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from ...errors import RunnerError, UsageError
from ..sandbox.guarantees import required
from .request import RunRequest, RunResult
from .worker import STOP_SECONDS, Worker, ZygoteLost, check

TRIES = 2
"""A run whose zygote died is tried once more: the machine may have killed the zygote; a run that kills it
twice does so itself."""


class _Group:
    """The runs of one call of `map`; `over` once one of them has failed."""

    over = False


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class Pool:
    """A set of zygotes, started when they are first needed. Usable from several threads at once.

    workers: how many runs may go on at the same time.
    recycle_after: runs after which a zygote is replaced.
    require: tiers and guarantees, separated by commas, without which nothing is run; by default those of
    MLDEBUG_REQUIRE. tier: the strongest to try; by default that of MLDEBUG_TIER, or else `strict`.

    After a fork of the process that holds it, the pool is empty in the new process and starts its own.
    """

    def __init__(
        self,
        workers: int = 1,
        *,
        recycle_after: int = 500,
        require: str | None = None,
        tier: str | None = None,
    ) -> None:
        if sys.platform != "linux":
            raise RunnerError(
                f"jobs run on Linux only (pidfd, /proc and child subreapers are missing on {sys.platform}); "
                "use a Linux machine or container, or `--no-verify` to generate without running"
            )
        if workers < 1 or recycle_after < 1:
            raise UsageError(
                f"a pool needs at least one worker and one run each, got {workers}, {recycle_after}"
            )
        self._workers = workers
        self._recycle_after = recycle_after
        self._required = required(require)
        self._tier = tier
        self._refused: dict[str, str] = {}
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._free = threading.Semaphore(self._workers)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: dict[Worker, _Group | None] = {}
        self._closed = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, request: RunRequest) -> RunResult:
        """Run one workspace; waits while all workers are busy.

        Raises:
            UsageError: the request itself is wrong (an unusable path, an entry point that is not there).
            RunnerError: the machinery failed twice, or after the script had ended; or the pool was closed.
        """
        check(request)
        return self._run(request, None)

    def _run(self, request: RunRequest, group: _Group | None) -> RunResult:
        with self._free:
            for attempt in range(1, TRIES + 1):
                worker = self._take(group)
                try:
                    result = worker.run(request)
                except ZygoteLost as lost:
                    interrupted = worker.interrupted
                    self._discard(worker)
                    if interrupted:
                        raise RunnerError("the run was interrupted: its pool was closed") from None
                    if attempt == TRIES:
                        raise RunnerError(f"a run failed {TRIES} times: {lost}") from None
                except (UsageError, RunnerError):
                    self._give_back(worker)
                    raise
                except BaseException:
                    self._discard(worker)
                    raise
                else:
                    self._give_back(worker)
                    return result
        raise AssertionError("unreachable")

    def map(self, requests: Iterable[RunRequest]) -> list[RunResult]:
        """Run all, as many at a time as there are workers; results in the order of the requests.

        The first failure (see `run`) ends the rest.
        """
        wanted = list(requests)
        for request in wanted:
            check(request)
        if self._workers == 1 or len(wanted) < 2:
            return [self.run(request) for request in wanted]
        executor = ThreadPoolExecutor(min(self._workers, len(wanted)), thread_name_prefix="mldebug-run")
        group = _Group()
        futures = [executor.submit(self._run, request, group) for request in wanted]
        try:
            return [future.result() for future in futures]
        except BaseException:
            group.over = True
            for future in futures:
                future.cancel()
            self._interrupt(group)
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """End all zygotes at once, with what they are running."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        self._interrupt(None)
        for worker in idle:
            worker.stop()
        for _ in range(self._workers):
            self._free.acquire(timeout=STOP_SECONDS)
        self._free.release(self._workers)

    def _take(self, group: _Group | None) -> Worker:
        with self._lock:
            self._check_open(group)
            worker = self._idle.pop() if self._idle else None
            if worker is not None:
                self._busy[worker] = group
                return worker
        worker = Worker(self._tier, refused=self._refused, required=self._required)
        try:
            with self._lock:
                self._check_open(group)
                self._busy[worker] = group
        except RunnerError:
            worker.stop()
            raise
        return worker

    def _check_open(self, group: _Group | None) -> None:
        if self._closed:
            raise RunnerError("the pool is closed")
        if group is not None and group.over:
            raise RunnerError("the run was called off: another of its map failed")

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            keep = not self._closed and worker.ready and worker.runs < self._recycle_after
            if keep:
                self._busy.pop(worker, None)
                self._idle.append(worker)
        if not keep:
            self._discard(worker)

    def _discard(self, worker: Worker) -> None:
        with self._lock:
            self._busy.pop(worker, None)
        worker.stop()

    def _interrupt(self, group: _Group | None) -> None:
        """End what is running: of one map, or everything."""
        with self._lock:
            busy = [worker for worker, of in self._busy.items() if group is None or of is group]
        for worker in busy:
            worker.interrupt()

    def _after_fork(self) -> None:
        for worker in [*self._idle, *self._busy]:
            with contextlib.suppress(OSError):
                worker.abandon()
        self._reset()


def _forked() -> None:
    for pool in list(_pools):
        pool._after_fork()


os.register_at_fork(after_in_child=_forked)
