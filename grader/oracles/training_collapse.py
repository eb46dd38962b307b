"""Collapse: training ends far from what a correct job reaches, for no other class's reason."""

from __future__ import annotations

import math

from .base import ROUNDING, Case, Finding, Repair, rows_moved

NAME = "training_collapse"

EMPTY_SHARE = 0.1
"""Share of steps without any gradient from which on the gradients are to blame, not the training."""


def below_band(case: Case) -> float | None:
    """How far the metric lies below its floor: the smaller miss of runs 0 and 1 (negative inside the band).

    Infinite where a score is not finite; None where a run left no usable scores.
    """
    misses = []
    for run in (case.evidence.visible, case.evidence.hidden):
        if run is None or run.outputs is None:
            return None
        misses.append(math.inf if run.metric is None else case.spec.band.floor - run.metric)
    return min(misses)


def judge(case: Case) -> Finding:
    short = below_band(case)
    if short is None:
        return Finding(NAME, False, "the job left no usable scores")
    margin = case.spec.band.margin
    facts = {"below_band": short}
    if short < margin:
        return Finding(
            NAME, False, "the metric lies in its band", short, margin, unclear=short > 0, facts=facts
        )
    other = _other_reason(case)
    if other is not None:
        return Finding(NAME, False, f"the metric misses its band, but {other}", short, margin, facts=facts)
    amount = "scores are not finite" if math.isinf(short) else f"the metric misses its band by {short:.3g}"
    return Finding(NAME, True, f"training ends and {amount}", short, margin, facts=facts)


def still_there(repair: Repair) -> str | None:
    """The metric decides, on both data seeds: what does not reach the band has not been shown to train."""
    floor = repair.spec.band.floor
    for run in (repair.submission.hidden, repair.submission.visible):
        if run.metric is None or run.metric < floor:
            shown = "is not finite" if run.metric is None else f"is {run.metric:.3f}, below {floor:g}"
            return f"{repair.spec.metric.name} {shown}"
    return None


def _other_reason(case: Case) -> str | None:
    """What another class would say of this evidence, or None."""
    for run in case.evidence.runs:
        trace = run.trace
        if trace.get("mixture", {}).get("violations", 0):
            return "gradients are mixed"
        if trace.get("empty_steps", 0) >= EMPTY_SHARE * max(trace.get("optimizer_steps", 0), 1):
            return "steps are taken without gradients"
        if trace.get("eval_forwards", {}).get("noisy_calls", 0):
            return "evaluation is noisy"
        if trace.get("loss_shapes", {}).get("mismatched", 0):
            return "a loss broadcasts"
    hidden, altered = case.evidence.hidden, case.evidence.altered
    if hidden is None or altered is None or not altered.finished:
        return "run 2 did not finish"
    if hidden.trace.get("losses_digest") != altered.trace.get("losses_digest"):
        return "training reads held-out rows"
    moved = rows_moved(case)
    if moved is not None and math.isfinite(moved) and moved > ROUNDING:
        return "predictions do not follow their rows"
    return None
