"""Threads of this process that share one pool."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..grader.runner import Pool
from .base import Asked, Made, Recipe, Settled


class Local:
    """Does the work here (see `base.Executor`).

    jobs: how much is done at a time. require: guarantees of the sandbox without which nothing runs (see
    `Pool`).
    """

    remote = False

    def __init__(self, jobs: int = 1, *, require: str | None = None) -> None:
        self.jobs, self.require = jobs, require

    def in_order(
        self, recipe: Recipe[Asked, Made], items: Iterable[Asked | Settled[Made]]
    ) -> Generator[Made]:
        with Pool(self.jobs, require=self.require) as pool:
            yield from in_order(items, recipe.begin(pool), pool, self.jobs)

    def as_they_end(
        self, recipe: Recipe[Asked, Made], items: Iterable[Asked]
    ) -> Generator[tuple[Asked, Made | BaseException]]:
        with Pool(self.jobs, require=self.require) as pool:
            yield from as_they_end(items, recipe.begin(pool), self.jobs)

    def close(self) -> None:
        """Nothing outlives its generators."""

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def in_order(
    items: Iterable[Asked | Settled[Made]], work: Callable[[Asked], Made], pool: Pool, jobs: int
) -> Generator[Made]:
    """See `base.Executor.in_order`. The pool, which `work` uses, is closed where it ends early."""

    def one(item: Asked | Settled[Made]) -> Made:
        return item.value if isinstance(item, Settled) else work(item)

    with ThreadPoolExecutor(jobs) as threads:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in items:
                waiting.append(threads.submit(one, item))
                if len(waiting) >= 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except (
            BaseException
        ):  # an error, Ctrl-C, or a caller who wants no more: end the runs under way at once
            for future in waiting:
                future.cancel()
            pool.close()
            raise


def as_they_end(
    items: Iterable[Asked], work: Callable[[Asked], Made], jobs: int
) -> Generator[tuple[Asked, Made | BaseException]]:
    """See `base.Executor.as_they_end`.

    The threads are daemons: one that waits for an endpoint does not hold up an interrupted command.
    """
    waiting: queue.SimpleQueue[tuple[Asked] | None] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[Asked, Made | BaseException]] = queue.SimpleQueue()
    over = threading.Event()

    def serve() -> None:
        while (found := waiting.get()) and not over.is_set():
            (item,) = found
            try:
                ended.put((item, work(item)))
            except BaseException as error:
                ended.put((item, error))

    threads = [threading.Thread(target=serve, name=f"item-{n}", daemon=True) for n in range(jobs)]
    try:
        for thread in threads:
            thread.start()
        under_way = 0
        for item in items:
            waiting.put((item,))
            under_way += 1
            if under_way >= 2 * jobs:
                yield ended.get()
                under_way -= 1
        for _ in range(under_way):
            yield ended.get()
    finally:
        over.set()
        for _ in threads:
            waiting.put(None)
