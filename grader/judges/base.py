"""What is asked about a diagnosis, and what a judge answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Question:
    """One diagnosis and the truth it is held against.

    bugs: the true canonical classes.
    explanations: class → the paragraph that explains it (`Mutator.explanation()`).
    causes: class → the sentence about the manifestation (`Manifestation.summary`).
    places: class → `train.py:110 in entry`.
    patch: the reference fix, a unified diff.
    diagnosis: free text of an agent. Hostile.
    """

    bugs: tuple[str, ...]
    explanations: Mapping[str, str]
    causes: Mapping[str, str]
    places: Mapping[str, str]
    patch: str
    diagnosis: str


@dataclass(frozen=True)
class Judgement:
    """What a diagnosis earns.

    share: the part of the bonus, in [0, 1].
    judge: who spoke: `offline` or `endpoint:<model>`.
    reason: one sentence for people. Names the true classes: not to be shown before an episode has ended.
    failure: why the endpoint gave no answer, where the offline judge spoke in its place. Costs nothing.
    """

    share: float
    judge: str
    reason: str
    failure: str | None = None


class Judge(Protocol):
    """Reads a diagnosis. Never raises, whatever the diagnosis is."""

    def assess(self, question: Question) -> Judgement: ...
