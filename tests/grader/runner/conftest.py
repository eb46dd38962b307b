"""A short way to run a script in the session's pool."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from mldebug.grader.runner import Limits, Pool, RunRequest, RunResult

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
