"""Shapes: an exception that speaks of sizes, or a loss that broadcasts and costs the metric."""

from __future__ import annotations

from ..by_trace.case import Traced, number
from .base import Case, Finding, Repair, swallowed, swallowed_more
from .crashes import crash_of, crashes
from .training_collapse import below_band

NAME = "shape_mismatch"


def judge(case: Case) -> Finding:
    if texts := crashes(case.evidence, "shape"):
        return Finding(NAME, True, f"the job crashes on shapes ({texts[0]})", effect=1.0, floor=1.0)
    runs = case.evidence.runs
    broadcast = [run.trace.get("loss_shapes", {}).get("mismatched", 0) for run in runs]
    if min(broadcast) > 0:
        short = below_band(case)
        first = runs[0].trace["loss_shapes"]["first"]
        facts = {"broadcast": first, "below_band": short}
        if short is not None and short >= case.spec.band.margin:
            return Finding(
                NAME,
                True,
                f"{first['function']} broadcasts {first['input']} against {first['target']} "
                f"and the metric misses its band by {short:.3g}",
                effect=short,
                floor=case.spec.band.margin,
                facts=facts,
            )
        return Finding(NAME, False, "an elementwise loss broadcasts, harmlessly", unclear=True, facts=facts)
    return Finding(NAME, False, "no exception about shapes, equal shapes at every elementwise loss")


def still_there(repair: Repair) -> str | None:
    finding = judge(repair.case)
    if finding.present or finding.unclear:
        return finding.reason
    return swallowed(repair)


def sign(traced: Traced) -> Finding:
    """An exception that speaks of sizes, or a broadcast at an elementwise loss that the original has not."""
    crash = crash_of(traced.run)
    if crash is not None and crash[0] == "shape":
        return Finding(NAME, True, f"the script crashes on shapes ({crash[1]})", 1.0, 1.0)
    ours = number(traced.run, "loss_shapes", "mismatched")
    if ours and not number(traced.original.first, "loss_shapes", "mismatched"):
        first = traced.run.trace["loss_shapes"]["first"] or {}
        reason = f"an elementwise loss broadcasts {first.get('input')} against {first.get('target')}"
        return Finding(NAME, True, f"{reason} in {ours:.0f} calls, never in the original", ours, 1.0)
    if traced.strict and (found := swallowed_more(traced)):
        return Finding(NAME, True, found)
    return Finding(NAME, False, "no exception about shapes, no broadcast that the original has not")
