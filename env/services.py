"""What environments share: the pool that runs jobs, the grader, where tasks come from, and what was run."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from ..clean_scripts.data import data_files
from ..grader.evidence import job_data
from ..grader.grade import Grader
from ..grader.judge import Judge
from ..grader.runner import Pool
from ..grader.runner.request import RunRequest, RunResult
from ..grader.task import Task
from .tasks import Assignment, Generated, Listed, Prepared, Source, Tasks

KEPT_RUNS = 512
"""Results kept for inspections: at most some 100 KiB each (`workbench.LIMITS`)."""
KEPT_TASKS = 256
KEPT_RULINGS = 4096
"""What was found of submissions: a few hundred bytes each."""


T = TypeVar("T")


class Services:
    """Shared by the environments of one process, and safe to share between threads.

    tasks: where tasks come from: a source of them, or variants, rows or folders; by default they are
    generated. bugs: the sets of classes a seed chooses from when it generates; by default the six classes and
    the two named compounds. pool: a running one to use; by default one with `workers` is started, and ended
    by `close()`.
    """

    def __init__(
        self,
        tasks: Tasks | Iterable[Source | Prepared] | None = None,
        *,
        bugs: Sequence[tuple[str, ...]] | None = None,
        pool: Pool | None = None,
        workers: int = 1,
        judge: Judge | None = None,
        strict_seed_scoring: bool = False,
        require: str | None = None,
    ) -> None:
        self._owns_pool = pool is None
        self.pool = pool or Pool(workers, require=require)
        self.grader = Grader(
            self.pool.run, judge=judge, strict_seed_scoring=strict_seed_scoring, keep_rulings=KEPT_RULINGS
        )
        if tasks is None:
            self.tasks: Tasks = Generated(self.pool, bugs)
        elif isinstance(tasks, Iterable):
            self.tasks = Listed(tasks)
        else:
            self.tasks = tasks
        self._runs: Memo[RunResult] = Memo(KEPT_RUNS)
        self._prepared: Memo[Prepared] = Memo(KEPT_TASKS)
        self._data: Memo[dict[str, bytes]] = Memo(KEPT_TASKS)

    def task(self, assignment: Assignment) -> Prepared:
        """The task of an assignment; the last ones are kept, so that a group meets the same one at once."""
        return self._prepared.get(repr(assignment), lambda: self.tasks.task(assignment))

    def data(self, task: Task) -> dict[str, bytes]:
        """Path → content of the data that an agent sees."""
        key = f"{task.spec.generator} {task.spec.name} {task.visible_seed}"
        return self._data.get(key, lambda: data_files(job_data(task.spec, task.visible_seed)))

    def run(self, request: RunRequest) -> RunResult:
        """Run once; the same request again is answered from memory (a run depends on nothing else)."""
        return self._runs.get(_key(request), lambda: self.pool.run(request))

    def close(self) -> None:
        """End the pool, if it was started here, with what it is running."""
        if self._owns_pool:
            self.pool.close()


class Memo(Generic[T]):
    """The last results by key; what several threads ask for at once is made once. Errors are not kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._found: OrderedDict[str, Future[T]] = OrderedDict()

    def get(self, key: str, make: Callable[[], T]) -> T:
        with self._lock:
            future = self._found.get(key)
            mine = future is None
            if future is None:
                future = self._found[key] = Future()
            self._found.move_to_end(key)
            while len(self._found) > self._most:
                self._found.popitem(last=False)
        if not mine:
            return future.result()
        try:
            future.set_result(make())
        except BaseException as error:
            with self._lock:
                if self._found.get(key) is future:
                    del self._found[key]
            future.set_exception(error)
        return future.result()


def _key(request: RunRequest) -> str:
    total = hashlib.sha256()
    for name, content in sorted(request.files.items()):
        total.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        total.update(content)
    rest = (
        request.entrypoint,
        request.arguments,
        request.device,
        request.trace,
        request.collect,
        request.limits,
        request.probe,
    )
    total.update(repr(rest).encode("utf-8", "surrogateescape"))
    return total.hexdigest()
