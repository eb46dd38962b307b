"""The same scripted episodes for every adapter, and what `DebugEnv` itself makes of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from mldebug.env import DebugEnv, Services
from mldebug.grader.runner import Pool

from ...written import rows, task

NAMES = ("shape-tabular-1", "device-tabular-1", "eval-tabular-2")


@cache
def shared(pool: Pool) -> Services:
    """One for all tests of the session, so that what was run once need not be run again."""
    return Services((rows()[name] for name in NAMES), pool=pool)


def actions(name: str) -> list[dict[str, Any]]:
    """An episode: a look, nonsense, a poor fix with a wrong claim, and the reference."""
    known = task(name)
    return [
        {"type": "inspect", "tool": "run_code", "arguments": {}},
        {"type": "inspect", "tool": "no such tool", "arguments": {}},
        {"type": "fix", "bugs": ["collapse"], "script": "print('×')\n"},
        {"type": "fix", "bugs": list(known.bugs), "files": dict(known.reference.files), "diagnosis": "why"},
    ]


@cache
def played(services: Services, name: str) -> list[dict[str, Any]]:
    """The records of all observations of that episode, the first from `reset`."""
    env = DebugEnv(services)
    seen = [env.reset(task=rows()[name])] + [env.step(action) for action in actions(name)]
    assert env.score is not None and env.score.solved
    return [one.record() for one in seen]
