"""Collapse: training ends far from what a correct job reaches, for no other class's reason."""

from __future__ import annotations

import math

from ..by_trace.case import Traced, by_chance, final_loss, lost_share
from .base import ROUNDING, Case, Finding, Repair, rows_moved, signs

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


LOST, STILL_LOST = 0.3, 0.15
"""Share of the original's progress (the fall of its training loss) that a mutant must lack to be called
collapsed, and that a submission may lack at most."""
GAINED = 1.0
"""A training loss that falls by twice what the original's does is no better training: its sign or its meaning
was changed."""
BEYOND_CHANCE = 3.0
"""How many times more than the original differs from itself with other seeds."""


def sign(traced: Traced) -> Finding:
    """A training loss that ends not finite or clearly worse than the original's, for no other class's
    reason."""
    if not traced.run.finished:
        return Finding(NAME, False, "a script that does not finish shows nothing of where training ends")
    lost = lost_share(traced.run, traced.original.first)
    if lost is None:
        reason = "the original's own training loss does not fall"
        return Finding(NAME, False, reason, unclear=not traced.strict)
    floor = STILL_LOST if traced.strict else LOST
    facts = {"final_loss": final_loss(traced.run), "original": final_loss(traced.original.first)}
    amount = f"the training loss ends at {facts['final_loss']:.3g}, the original's at {facts['original']:.3g}"
    if -GAINED < lost < floor:
        unclear = lost > floor / 2
        return Finding(NAME, False, amount, lost, floor, unclear=unclear and not traced.strict, facts=facts)
    for other, look in signs().items():
        if other != NAME and (found := look(traced)).present:
            return Finding(NAME, False, f"{amount}, but {found.reason}", lost, floor, facts=facts)
    chance = by_chance(traced)
    facts["by_chance"] = chance
    far = max(lost, -lost - GAINED) if math.isfinite(lost) else lost
    present = far >= max(floor if lost > 0 else 0.0, BEYOND_CHANCE * chance)
    if not present:
        amount += f"; its own seeds move it as far ({chance:.2g} of its progress)"
    return Finding(NAME, present, amount, lost, floor, unclear=not present and not traced.strict, facts=facts)
