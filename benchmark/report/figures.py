"""What a report counts: pure functions of outcomes, the same numbers for terminal, page and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np

from ...grader.ladder import WRONG_CLASS
from ...grader.ruling import NO_END, NO_START, NOT_CONFIRMED, NOT_FIXED, SOLVED
from .reading import Outcome

CONFIDENCE = 0.95
RESAMPLES = 10_000
"""The ends of an interval vary by less than a hundredth of its width with ten times as many."""
SEED = 20_240_229
"""Of every bootstrap. An interval follows from the values alone: other agents do not move it."""
AT_ONCE = 1 << 20
"""Drawn counts in memory at a time."""
DIGITS = 9
"""Of a mean and its interval: what lies beyond depends on how a processor adds."""

RUNGS = (0.0, WRONG_CLASS, NO_START, NO_END, NOT_FIXED, NOT_CONFIRMED, SOLVED)
"""Of the ladder; 0: no fix was handed in."""


@dataclass(frozen=True)
class Interval:
    """A mean with a confidence interval."""

    mean: float
    low: float
    high: float

    def record(self) -> dict[str, float]:
        return {name: round(value, 6) for name, value in vars(self).items()}


def interval(values: Iterable[float]) -> Interval:
    """The mean and its percentile bootstrap interval: as many values are drawn from `values`, with
    replacement, `RESAMPLES` times, and the interval holds the middle `CONFIDENCE` of their means.

    Only how often each value is drawn matters, so that is what is drawn (multinomial). The order of the
    values changes nothing. Values that are all the same have an interval without width.

    Args:
        values: at least one.
    """
    known, often = np.unique(np.asarray(list(values), dtype=np.float64), return_counts=True)
    size = int(often.sum())
    draw = np.random.Generator(np.random.PCG64(SEED))
    rows = max(1, AT_ONCE // len(known))
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - start)
        means[start : start + count] = draw.multinomial(size, often / size, count) @ known / size
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(*(round(float(one), DIGITS) for one in (often @ known / size, low, high)))


@dataclass(frozen=True)
class Standing:
    """An agent's line of the leaderboard. steps, seconds: means; seconds None where none is known."""

    who: str
    tasks: int
    solved: Interval
    score: Interval
    steps: float
    seconds: float | None

    def record(self) -> dict[str, Any]:
        return {
            "agent": self.who,
            "tasks": self.tasks,
            "solved": self.solved.record(),
            "score": self.score.record(),
            "steps": round(self.steps, 6),
            "seconds": None if self.seconds is None else round(self.seconds, 6),
        }


def by_agent(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(one.who, []).append(one)
    return dict(sorted(groups.items()))


def leaderboard(outcomes: Iterable[Outcome]) -> list[Standing]:
    """Best first: by solved, then score, then name."""
    found = []
    for who, ones in by_agent(outcomes).items():
        known = [one.seconds for one in ones if one.seconds is not None]
        found.append(
            Standing(
                who,
                len(ones),
                interval(one.solved for one in ones),
                interval(one.score for one in ones),
                fmean(one.steps for one in ones),
                fmean(known) if known else None,
            )
        )
    return sorted(found, key=lambda one: (-one.solved.mean, -one.score.mean, one.who))


def rungs(outcomes: Iterable[Outcome]) -> dict[str, dict[float, int]]:
    """Agent → rung → episodes. Every rung of the ladder is there, and whatever else occurs."""
    every = list(outcomes)
    known = sorted({*RUNGS, *(one.rung for one in every)})
    counted = {who: Counter(one.rung for one in ones) for who, ones in by_agent(every).items()}
    return {who: {rung: counts[rung] for rung in known} for who, counts in counted.items()}


@dataclass(frozen=True)
class HeatRow:
    """bugs: of the tasks that count. exact: they have these and no others; else they have them among others.
    cells: agent → solved, tasks."""

    bugs: tuple[str, ...]
    exact: bool
    cells: Mapping[str, tuple[int, int]]

    @property
    def label(self) -> str:
        return ("" if self.exact else "any with ") + " + ".join(self.bugs)

    def record(self) -> dict[str, Any]:
        return {
            "bugs": list(self.bugs),
            "exact": self.exact,
            "agents": {
                who: {"solved": solved, "tasks": tasks} for who, (solved, tasks) in self.cells.items()
            },
        }


def classes(outcomes: Iterable[Outcome]) -> list[str]:
    """The bug classes that occur, sorted."""
    return sorted({bug for one in outcomes for bug in one.bugs})


def heat(outcomes: Sequence[Outcome]) -> list[HeatRow]:
    """Where there are compounds: each class, alone or with others. Then each set of classes."""
    sets = sorted({one.bugs for one in outcomes}, key=lambda bugs: (len(bugs), bugs))
    found = []
    if any(len(bugs) > 1 for bugs in sets):
        for bug in classes(outcomes):
            found.append(HeatRow((bug,), False, _cells(one for one in outcomes if bug in one.bugs)))
    for bugs in sets:
        found.append(HeatRow(bugs, True, _cells(one for one in outcomes if one.bugs == bugs)))
    return found


def _cells(outcomes: Iterable[Outcome]) -> dict[str, tuple[int, int]]:
    return {who: (sum(one.solved for one in ones), len(ones)) for who, ones in by_agent(outcomes).items()}


START, END = "▸ start", "end ▪"
MOST_TOOLS = 24
"""Of an agent's actions are told apart in its flow; an agent may make up names without end."""
OTHERS = "(others)"


@dataclass(frozen=True)
class Flow:
    """Which action follows which. names: of actions, the frequent ones first. counts: (before, after) → how
    often, with `START` before the first and `END` after the last."""

    names: tuple[str, ...]
    counts: Mapping[tuple[str, str], int]

    @property
    def top(self) -> list[tuple[str, str, int]]:
        """The three most frequent."""
        best = sorted(self.counts.items(), key=lambda one: (-one[1], one[0]))[:3]
        return [(before, after, count) for (before, after), count in best]


def flow(episodes: Iterable[Sequence[str]]) -> Flow:
    """Args:
    episodes: the names (`use_of`) of the actions of each, in order.
    """
    known = [list(one) for one in episodes]
    often = Counter(name for one in known for name in one)
    ordered = sorted(often, key=lambda name: (-often[name], name))
    kept = ordered if len(ordered) <= MOST_TOOLS else [*ordered[: MOST_TOOLS - 1], OTHERS]
    counts: Counter[tuple[str, str]] = Counter()
    for one in known:
        path = [START, *(name if name in kept else OTHERS for name in one), END]
        counts.update(pairwise(path))
    return Flow(tuple(kept), counts)
