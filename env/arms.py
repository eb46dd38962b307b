"""What a scheduler chooses from: sets of bug classes, at levels of difficulty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..clean_scripts.library import sources
from ..errors import UsageError
from ..factory import hosts
from ..mutators.base import canonical_bugs
from .tasks import Listed, Tasks, default_sets


@dataclass(frozen=True)
class Arm:
    """One of the things to choose from. bugs: canonical classes. scripts: the jobs of one level of
    difficulty; empty: any."""

    bugs: tuple[str, ...]
    scripts: tuple[str, ...] = ()


def arms_of(
    tasks: Tasks | None = None, sets: Iterable[Sequence[str]] | None = None, *, levels: int = 1
) -> tuple[Arm, ...]:
    """The arms for a source of tasks: each set of classes at each level of difficulty.

    Args:
        tasks: where tasks come from. Of tasks prepared ahead only what is there becomes an arm.
        sets: the sets of classes; by default those that are there, or the eight that are generated.
        levels: how many levels the jobs are sorted into by measured size, their lines of source. (The other
            difficulty that is known beforehand, how many bugs there are, is in the set.)

    Raises:
        UsageError: an unknown class, or nothing is left to choose from.
    """
    if levels < 1:
        raise UsageError(f"levels must be an integer from 1 on, got {levels!r}")
    able: dict[tuple[str, ...], set[str]] = {}
    if isinstance(tasks, Listed):
        for one in (tasks[index].task for index in range(len(tasks))):
            able.setdefault(one.bugs, set()).add(one.spec.name)
    else:
        able = {one: set(hosts(one)) for one in map(_canonical, default_sets() if sets is None else sets)}
    wanted = sorted(able) if sets is None else sorted(set(map(_canonical, sets)))
    if levels == 1:
        found = [Arm(one) for one in wanted if able.get(one)]
    else:
        groups = _by_size(set().union(*able.values()), levels)
        found = [
            Arm(one, scripts)
            for one in wanted
            for group in groups
            if (scripts := tuple(name for name in group if name in able.get(one, ())))
        ]
    if not found:
        raise UsageError("there is nothing to choose from: no task, or no job, has these sets of classes")
    return tuple(found)


def _canonical(bugs: Sequence[str]) -> tuple[str, ...]:
    found = canonical_bugs(bugs if isinstance(bugs, str) else list(bugs))
    if not found:
        raise UsageError("a set of classes names one at least")
    return found


def _by_size(names: Iterable[str], levels: int) -> list[list[str]]:
    """Jobs in groups of about one size each, small ones first."""
    ranked = sorted(names, key=lambda name: (sum(text.count("\n") for _, text in sources(name)), name))
    edges = [len(ranked) * level // levels for level in range(levels + 1)]
    return [sorted(ranked[low:high]) for low, high in pairwise(edges) if low < high]
