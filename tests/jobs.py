"""Which jobs of the library a test looks at: a quarter of them by default, all with `--deep`.

Each module of tests has another quarter, so that all jobs are looked at by some, and a job that `-k` names is
looked at wherever it can be. `clean_scripts/test_library.py` asks all jobs what a job must satisfy.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

from mldebug.clean_scripts.library import job_names
from mldebug.seeds import Draw

DEEP = settings.default.max_examples > 100
SHARES = 4


def few(where: str, count: int | None = None) -> tuple[str, ...]:
    """Names of the module's quarter of all jobs, or of so many; of all jobs with `--deep`."""
    names = job_names()
    kept = Draw("tests", where.rpartition(".")[2]).shuffled(names, "jobs")[: count or len(names) // SHARES]
    return names if DEEP else tuple(sorted(kept))


def each_job(argument: str, where: str, *more: str) -> pytest.MarkDecorator:
    """Parametrizes a test by all jobs; `conftest.py` skips those that are not the module's quarter."""
    jobs: list[Any] = [pytest.param(name, marks=pytest.mark.other_job(name)) for name in job_names()]
    for name in few(where):
        jobs[job_names().index(name)] = name
    return pytest.mark.parametrize(argument, [*jobs, *more])
