"""The options of commands that can work on a cluster. Heavy imports stay inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError

if TYPE_CHECKING:
    from .base import Executor

Command = TypeVar("Command", bound=Callable[..., Any])

NAMES = ("local", "ray")
MOST_HERE = 64
MOST_ANYWHERE = 4096

JOBS = click.IntRange(1, MOST_ANYWHERE)
"""Of `--jobs`."""


def executor_options(command: Command) -> Command:
    """Adds `--executor` and `--ray-address`, which are None where they are not given."""
    command = click.option(
        "--ray-address",
        metavar="HOST:PORT",
        help="With --executor ray: a running cluster, or `auto`.  [default: one on this machine, for this "
        "command]",
    )(command)
    return click.option(
        "--executor",
        type=click.Choice(NAMES),
        help="Where --jobs are done: in this process, or by Ray's workers; the bytes are the same.  "
        "[default: local]",
    )(command)


def executor_of(name: str | None, jobs: int, *, require: str | None, ray_address: str | None) -> Executor:
    """The executor that was asked for.

    Raises:
        UsageError: there is no such executor, Ray is not installed, or the options do not go together.
    """
    if name not in (None, *NAMES):
        raise UsageError(f"executor: there is none called {name!r}; choose from {', '.join(NAMES)}")
    if name == "ray":
        from .ray_cluster import Ray

        return Ray(jobs, require=require, address=ray_address)
    if ray_address is not None:
        raise UsageError("--ray-address belongs to --executor ray")
    if jobs > MOST_HERE:
        raise UsageError(f"--jobs {jobs}: at most {MOST_HERE} are done at a time without --executor ray")
    from .local import Local

    return Local(jobs, require=require)
