"""What the grader says of a submission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .judge import Judgement
from .ladder import Claim
from .predictions import Problem
from .ruling import Trust


@dataclass(frozen=True)
class Verdict:
    """score: what is paid. rung: 0.01, 0.20, 0.40, 0.60, 0.80 or 0.99. solved: whether it is the last.

    claim: how the claimed classes relate to the true ones. root_cause_fixed: class → whether its cause is
    gone; None where the runs could not tell. trust: what this rests on (see `ruling.Trust`).
    feedback: what may be said to an agent: never a class. problems: for the record.
    runs, seconds: executions made for this verdict, and their wall time.
    guarantees: of the sandbox, those that held for every run. judgement: of the diagnosis, if solved.
    """

    score: float
    rung: float
    solved: bool
    claim: Claim
    root_cause_fixed: Mapping[str, bool | None]
    trust: Trust
    feedback: str
    problems: tuple[Problem, ...] = ()
    untouched: bool = False
    efficiency: float = 1.0
    bonus: float = 0.0
    judgement: Judgement | None = None
    runs: int = 0
    seconds: float = 0.0
    guarantees: tuple[str, ...] = ()
    facts: Mapping[str, float | None] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As JSON holds it. Names the true classes: not for agents."""
        judgement = self.judgement
        return {
            "score": round(self.score, 6),
            "rung": self.rung,
            "solved": self.solved,
            "claim": self.claim,
            "root_cause_fixed": dict(self.root_cause_fixed),
            "trust": self.trust,
            "feedback": self.feedback,
            "problems": [{"code": one.code, "text": one.text} for one in self.problems],
            "untouched": self.untouched,
            "efficiency": self.efficiency,
            "bonus": round(self.bonus, 6),
            "judge": None
            if judgement is None
            else {
                "share": judgement.share,
                "judge": judgement.judge,
                "reason": judgement.reason,
                "failure": judgement.failure,
            },
            "metric": dict(self.facts),
            "runs": self.runs,
            "seconds": round(self.seconds, 3),
            "guarantees": list(self.guarantees),
        }
