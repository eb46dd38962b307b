"""The clean jobs, found by looking: one folder, one job."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from ..errors import UsageError
from .spec import JobSpec

ROOT = Path(__file__).parent


@cache
def job_names() -> tuple[str, ...]:
    """The names of all jobs, sorted."""
    return tuple(sorted(path.parent.name for path in ROOT.glob("*/spec.py")))


@cache
def load_job(name: str) -> JobSpec:
    """The spec of one job.

    Raises:
        UsageError: there is no job of that name.
    """
    if name not in job_names():
        raise UsageError(f"unknown script {name!r}; choose one of: {', '.join(job_names())}")
    spec = import_module(f".{name}.spec", __package__).SPEC
    assert isinstance(spec, JobSpec) and spec.name == name, f"{name}/spec.py must define SPEC with that name"
    return spec


@cache
def sources(name: str) -> tuple[tuple[str, str], ...]:
    """The job's source files as (path, text), sorted by path."""
    return tuple(sorted((file, (ROOT / name / file).read_text("utf-8")) for file in load_job(name).files))
