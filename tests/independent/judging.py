"""What the independent checker holds against the engine's claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from queue import Queue
from typing import Any

from mldebug.factory import Variant

FRESH = 990_000_001
"""Data seeds that no variant of these tests draws for itself (they are 32-bit hashes)."""


def judged(checker: Any, variant: Variant, data_seed: int) -> list[str]:
    """What the checker holds against the engine's claim: nothing, if it agrees."""
    shared = (variant.entrypoint, variant.script, variant.device, variant.bugs, data_seed)
    mutant = checker.judge(dict(variant.files), dict(variant.reference), *shared)
    reference = checker.judge(dict(variant.reference), dict(variant.reference), *shared)
    against = []
    if not mutant.broken:
        against.append(f"mutant not broken: {mutant}")
    if len(variant.bugs) == 1 and mutant.per_bug[variant.bugs[0]] is None:
        against.append(f"no sign of its class: {mutant}")
    if mutant.healthy:
        against.append(f"mutant healthy: {mutant}")
    if reference.broken or not reference.healthy:
        against.append(f"reference not healthy: {reference}")
    return [
        f"{variant.id} seed {variant.seed} {variant.script} {variant.injections}: {one}" for one in against
    ]


@contextmanager
def judges(checker_module: Any) -> Iterator[Callable[[Variant, int], list[str]]]:
    """`judged` by two checkers, from any thread: a call waits for the one that is free."""
    with ExitStack() as stack:
        idle: Queue[Any] = Queue()
        for _ in range(2):
            idle.put(stack.enter_context(checker_module.Checker()))

        def judge(variant: Variant, data_seed: int) -> list[str]:
            checker = idle.get()
            try:
                return judged(checker, variant, data_seed)
            finally:
                idle.put(checker)

        yield judge
