"""A short way to run a script in the session's pool."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mldebug.grader.runner import Limits, Pool, RunRequest, RunResult
from mldebug.grader.runner.processes import tree_below

Go = Callable[..., RunResult]


@pytest.fixture
def request_for() -> Callable[..., RunRequest]:
    """A request for a script given as indented text, with more files, and limits by name."""

    def build(script: str, **options: Any) -> RunRequest:
        files = {"train.py": textwrap.dedent(script).encode(), **options.pop("files", {})}
        names = {field for field in Limits.__dataclass_fields__ if field in options}
        limits = Limits(**{name: options.pop(name) for name in names})
        options.setdefault("trace", False)
        options.setdefault("collect", ())
        return RunRequest(files, "train.py", limits=limits, **options)

    return build


@pytest.fixture
def go(pool: Pool, request_for: Callable[..., RunRequest]) -> Go:
    """Run a script in the pool that the test's module sees."""
    return lambda script, **options: pool.run(request_for(script, **options))


@pytest.fixture(scope="session")
def posix_pool() -> Iterator[Pool]:
    with Pool(tier="posix") as running:
        yield running


@pytest.fixture(params=["strongest", "posix"])
def any_pool(request: pytest.FixtureRequest, pool: Pool) -> Pool:
    """The session's pool, and one of the weakest tier."""
    return pool if request.param == "strongest" else request.getfixturevalue("posix_pool")


@pytest.fixture
def go_any(any_pool: Pool, request_for: Callable[..., RunRequest]) -> Go:
    return lambda script, **options: any_pool.run(request_for(script, **options))


@pytest.fixture
def at_rest(any_pool: Pool) -> Callable[[], bool]:
    """Whether no process of a run is left: only the zygote, or the warden, the zygote, its usher
    and the next run's cell."""

    def look() -> bool:
        deadline = time.monotonic() + 30
        while not all(
            len(tree_below(worker._process.pid).pids) == (3 if worker.tier == "strict" else 0)
            for worker in any_pool._idle
        ):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)  # an empty cell is taken down meanwhile
        return True

    return look
