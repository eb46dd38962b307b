"""Gradients: old ones mixed into new ones (or thrown away unused), with an effect on training.

Two keys: the trace shows the mixture, and training shows its effect (the metric misses its band, or the
loss curve runs elsewhere than the reference's).
"""

from __future__ import annotations

import math
from itertools import pairwise

from ..by_trace.case import Traced, number
from ..evidence import Observed, Run
from .base import Case, Finding, Repair
from .training_collapse import below_band

NAME = "gradient_not_zeroed"

MIXED_SHARE = 0.1
"""Share of the optimizer steps that must be affected: a job that forgets once is odd, not broken."""

BEYOND_RESEEDING = 1.5
"""The training loss must differ from the reference's by this much more than another random seed moves it
(`JobSpec.reseed_factor`, 1.03 to 1.29 on the library's jobs; the bugs that count moved it by 1.2 to 22, and
always by more than the job's own noise)."""


def judge(case: Case) -> Finding:
    if not all(run.finished for run in case.evidence.runs):
        return Finding(NAME, False, "a job that does not finish shows nothing of its gradients' effect")
    trace = case.evidence.runs[-1].trace
    steps = max(int(trace.get("optimizer_steps", 0)), 1)
    mixed = int(trace.get("mixture", {}).get("violations", 0))
    empty = int(trace.get("empty_steps", 0))
    facts: dict[str, object] = {"mixed": mixed, "empty_steps": empty, "steps": steps}
    if max(mixed, empty) < MIXED_SHARE * steps:
        return Finding(NAME, False, "gradients are fresh at nearly every step", facts=facts)
    short = below_band(case)
    factors = [
        curve_factor(run, reference)
        for run, reference in zip(case.evidence.runs[:2], case.reference.runs[:2], strict=True)
    ]
    facts |= {"below_band": short, "loss_factors": factors}
    what = f"{mixed} mixed and {empty} empty gradients in {steps} steps"
    if short is not None and short >= case.spec.band.margin:
        return Finding(
            NAME,
            True,
            f"{what}; the metric misses its band by {short:.3g}",
            short,
            case.spec.band.margin,
            facts=facts,
        )
    factor = min(factors)
    floor = 1 + BEYOND_RESEEDING * (case.spec.reseed_factor - 1)
    present = factor >= floor
    effect = f"the loss runs {factor:.3g} times off" if present else "without effect"
    return Finding(NAME, present, f"{what}; {effect}", factor, floor, unclear=not present, facts=facts)


UNLIKE_SHARE = 0.1
"""Share of the steps at which a gradient was used that is not the computed one: none in correct programs."""

ERASED_SHARE = 0.1
"""Share of the steps that found a parameter's gradient erased after it was computed: none in correct ones."""


DISCARDED_SHARE = 0.25
"""Share of the backward calls whose gradients were cleared before a step: the rest of an epoch that does not
fill a group of micro-batches is less, and so are batches that are left out for what their loss is."""


UNDAMPED = 0.9999
"""Momentum from which on a buffer is the sum that the bug kept in `.grad`; 0.99 is the largest in use."""


def still_there(repair: Repair) -> str | None:
    """What the trace says decides here, whether or not it shows in the metric: a tuned learning rate hides
    stale gradients (in 2 to 3 of 6 trials)."""
    finding = judge(repair.case)
    if finding.present or finding.unclear:
        return finding.reason
    used = repair.submission.hidden.trace.get("used_gradients", {})
    if used.get("unlike", 0) > UNLIKE_SHARE * max(used.get("steps", 0), 1):
        return f"{used['unlike']} of {used['steps']} steps used gradients that are not those computed"
    if used.get("erased", 0) > ERASED_SHARE * max(used.get("looked", 0), 1):
        return f"{used['erased']} of {used['looked']} steps found gradients erased that had been computed"
    if used.get("discarded", 0) > DISCARDED_SHARE * max(used.get("backwards", 0), 1):
        return f"the gradients of {used['discarded']} of {used['backwards']} backward calls were never used"
    momentum = repair.submission.hidden.trace.get("momentum")
    if isinstance(momentum, int | float) and momentum >= UNDAMPED:
        return f"a momentum of {momentum:g} adds up all gradients there ever were"
    return None


def tenths(run: Observed) -> list[float]:
    """Mean training loss over each tenth of the backward calls, in order; empty where there are fewer."""
    losses = [float.fromhex(text) for text in run.trace.get("losses", [])]
    cuts = [len(losses) * part // 10 for part in range(11)]
    if len(losses) < 10:
        return []
    return [sum(losses[a:b]) / (b - a) for a, b in pairwise(cuts)]


def curve_factor(run: Observed, reference: Observed) -> float:
    """By which factor, at least 1, the training loss differs from the reference's: the geometric mean over
    the tenths of the run, whichever way each differs. Infinite where a loss is not finite."""
    ours, theirs = tenths(run), tenths(reference)
    if not ours or not theirs or not all(0 < loss < math.inf for loss in (*ours, *theirs)):
        return 1.0 if ours == theirs else math.inf
    return math.exp(sum(abs(math.log(a / b)) for a, b in zip(ours, theirs, strict=True)) / 10)


def sign(traced: Traced) -> Finding:
    """Mixed or empty gradients in a tenth of the steps, none in the original, and other losses."""
    run, original = traced.run, traced.original.first
    if not run.finished:
        return Finding(NAME, False, "a script that does not finish shows nothing of its gradients' effect")
    mixed, empty = number(run, "mixture", "violations"), number(run, "empty_steps")
    steps = max(number(run, "optimizer_steps") or number(run, "backward_calls"), 1.0)
    share = max(mixed, empty) / steps
    facts = {"mixed": mixed, "empty_steps": empty, "steps": steps}
    what = f"{mixed:.0f} mixed and {empty:.0f} empty gradients in {steps:.0f} steps"
    if share >= MIXED_SHARE:
        if number(original, "mixture", "violations") or number(original, "empty_steps"):
            reason = f"{what}, but the original has such gradients too"
            return Finding(NAME, False, reason, share, MIXED_SHARE, unclear=not traced.strict, facts=facts)
        present = traced.strict or not traced.same_losses
        reason = f"{what}, none in the original; training losses {'differ' if present else 'are the same'}"
        return Finding(NAME, present, reason, share, MIXED_SHARE, unclear=not present, facts=facts)
    if traced.strict and (found := _used_others(run, original)):
        return Finding(NAME, True, found, facts=facts)
    return Finding(NAME, False, "gradients are fresh at nearly every step", share, MIXED_SHARE, facts=facts)


def _used_others(run: Run, original: Run) -> str | None:
    """Sums of gradients that are kept outside `.grad`, where the original keeps none."""
    unlike, steps = number(run, "used_gradients", "unlike"), number(run, "used_gradients", "steps")
    theirs = number(original, "used_gradients", "unlike")
    if unlike > UNLIKE_SHARE * max(steps, 1) and theirs <= UNLIKE_SHARE * steps:
        return f"{unlike:.0f} of {steps:.0f} steps used gradients that are not those computed"
    erased, looked = number(run, "used_gradients", "erased"), number(run, "used_gradients", "looked")
    if erased > ERASED_SHARE * max(looked, 1) and not number(original, "used_gradients", "erased"):
        return f"{erased:.0f} of {looked:.0f} steps found gradients erased that had been computed"
    discarded, calls = (number(run, "used_gradients", name) for name in ("discarded", "backwards"))
    if discarded > DISCARDED_SHARE * max(calls, 1) and not number(original, "used_gradients", "discarded"):
        return f"the gradients of {discarded:.0f} of {calls:.0f} backward calls were never used"
    momentum = number(run, "momentum")
    if momentum >= UNDAMPED > number(original, "momentum"):
        return f"a momentum of {momentum:g} adds up all gradients there ever were"
    return None
