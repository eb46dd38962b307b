"""From a ruling and a claim to a score."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ..errors import UsageError
from .judge import DIAGNOSIS_BONUS
from .ruling import NO_START, NOT_FIXED, SOLVED, Ruling

WRONG_CLASS = 0.01
"""Rung of a claim that names a class which is not there, whatever the submission does."""

EFFICIENCY_CAP = 1.2

Claim = Literal["right", "partial", "wrong"]


def claim_of(claimed: Collection[str], truth: Collection[str]) -> Claim:
    """How claimed classes relate to the true ones, as sets of canonical names: equal · a proper part of
    them, not empty · anything else (so that naming all classes is wrong)."""
    ours, theirs = set(claimed), set(truth)
    if ours == theirs:
        return "right"
    return "partial" if ours and ours < theirs else "wrong"


def rung_of(ruling: Ruling, claim: Claim, *, strict_seed_scoring: bool = False) -> float:
    """The rung. A submission that does just what the broken job does earns 0.20 at most, for training agents
    that may not be paid for handing back what they were given; the first seed's scoring paid it 0.60."""
    if claim == "wrong":
        return WRONG_CLASS
    rung = ruling.rung
    if claim == "partial":
        rung = min(rung, NOT_FIXED)
    if ruling.untouched and not strict_seed_scoring:
        rung = min(rung, NO_START)
    return rung


def efficiency(step: int | None, cap: float = EFFICIENCY_CAP) -> float:
    """The factor for solving early: 1.2 by the second step of an episode, 1.1 by the third, else 1.

    step: which step of the episode the fix was, from 1 on; None outside one. cap: the most that a release or
    an environment pays.
    """
    if step is None:
        return 1.0
    return min(cap, 1.2 if step <= 2 else 1.1 if step == 3 else 1.0)


@dataclass(frozen=True)
class Score:
    """score = rung, unless solved: then rung × efficiency + bonus."""

    rung: float
    solved: bool
    efficiency: float
    bonus: float

    @property
    def score(self) -> float:
        return self.rung * self.efficiency + self.bonus if self.solved else self.rung


def score(rung: float, *, share: float = 0.0, step: int | None = None, cap: float = EFFICIENCY_CAP) -> Score:
    """share: the part of the bonus, 0 to 1, that the diagnosis earned. Whether a task counts as solved is
    decided by its rung alone, before anything is multiplied."""
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must lie between 0 and 1, got {share!r}")
    solved = rung == SOLVED
    factor = efficiency(step, cap) if solved else 1.0
    return Score(rung, solved, factor, DIAGNOSIS_BONUS * share if solved else 0.0)


@dataclass(frozen=True)
class Attempt:
    """One fix of an episode that was graded."""

    step: int
    rung: float
    share: float = 0.0


def episode_score(attempts: Sequence[Attempt], cap: float = EFFICIENCY_CAP) -> Score:
    """What an episode is paid, once, at its end: its best rung; of several solving fixes the first.

    Raises:
        UsageError: a fix was graded after one that solved the task (a solving fix ends the episode).
    """
    for earlier, later in pairwise(attempts):
        if earlier.rung == SOLVED or later.step <= earlier.step:
            raise UsageError("a fix was graded after the episode's end, or out of order")
    if not attempts:
        return Score(0.0, False, 1.0, 0.0)
    best = max(attempts, key=lambda attempt: (attempt.rung, -attempt.step))
    return score(best.rung, share=best.share, step=best.step, cap=cap)
