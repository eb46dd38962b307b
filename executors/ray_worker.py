"""The side of a Ray worker: one process, one pool, one recipe at a time."""

from __future__ import annotations

import atexit
import os
import pickle
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import RunnerError
from ..grader.runner import Pool
from ..versions import made_by, run_by

PASSED_ON = (
    "ATEN_CPU_CAPABILITY",
    "MLDEBUG_DEVICE",
    "MLDEBUG_REQUIRE",
    "MLDEBUG_SHOW",
    "MLDEBUG_TIER",
    "NPY_DISABLE_CPU_FEATURES",
)
"""Variables of the environment that results follow from, or what they may rest on."""


def versions() -> dict[str, str]:
    """What the bytes of results follow from besides recipe and item; the same wherever work is done."""
    return made_by() | run_by()


@dataclass(frozen=True)
class Ticket:
    """What a worker has to know of whom it works for. id: of recipe and caller together."""

    id: str
    require: str | None
    versions: Mapping[str, str]
    environment: Mapping[str, str]

    @classmethod
    def of(cls, id: str, require: str | None) -> Ticket:
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return cls(id, require, versions(), environment)


class _Bench:
    """The pool of this process, and what does the work of one ticket with it."""

    def __init__(self, ticket: Ticket, recipe: Any) -> None:
        here = versions()
        if other := [name for name, found in ticket.versions.items() if here.get(name) != found]:
            said = ", ".join(f"{name} {here.get(name)} instead of {ticket.versions[name]}" for name in other)
            raise RunnerError(f"node {platform.node()} has {said}; all nodes need the same versions")
        for name in PASSED_ON:
            os.environ.pop(name, None)
        os.environ.update(ticket.environment)
        self.id = ticket.id
        self._pool = Pool(1, require=ticket.require)
        self.work: Callable[[Any], Any] = recipe.begin(self._pool)

    def close(self) -> None:
        self._pool.close()


_bench: _Bench | None = None


def serve(ticket: Ticket, recipe: list[Any], item: Any) -> Any:
    """The result of an item, or what was raised.

    recipe: a reference to it, in a list, so that it is fetched once and not for every item.
    """
    global _bench
    try:
        if _bench is None or _bench.id != ticket.id:
            _leave()
            import ray

            _bench = _Bench(ticket, ray.get(recipe[0]))
        return _bench.work(item)
    except Exception as error:
        return portable(error)


def portable(error: Exception) -> Exception:
    """The error, if another process can read it; else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RunnerError(f"{type(error).__name__}: {error}")
    return error


@atexit.register
def _leave() -> None:
    global _bench
    if _bench is not None:
        _bench.close()
        _bench = None
