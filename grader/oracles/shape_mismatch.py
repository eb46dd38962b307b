"""Shapes: an exception that speaks of sizes, or a loss that broadcasts and costs the metric."""

from __future__ import annotations

from .base import Case, Finding, Repair, swallowed
from .crashes import crashes
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
