"""Evaluation mode: noise in an evaluation forward, and predictions that do not follow their rows.

Two keys, because each alone can be satisfied by a job that is still wrong, or broken by one that is right.
"""

from __future__ import annotations

from .base import ROUNDING, Case, Finding, rows_moved

NAME = "missing_eval_mode"

FLOOR = 0.01
"""Real evaluation bugs move predictions by 1.4 output scales and more; 0.01 lies a thousand times above
rounding and a hundred times below them."""


def judge(case: Case) -> Finding:
    noisy = max(run.trace.get("eval_forwards", {}).get("noisy_calls", 0) for run in case.evidence.runs)
    moved = rows_moved(case)
    layers = sorted(
        {
            name
            for run in case.evidence.runs
            for name in run.trace.get("eval_forwards", {}).get("noisy_layers", [])
        }
    )
    facts = {"noisy_calls": noisy, "noisy_layers": layers, "rows_moved": moved}
    if not noisy:
        return Finding(NAME, False, "every dropout and batch norm evaluates in evaluation mode", facts=facts)
    if moved is None:
        return Finding(
            NAME, False, "noise in evaluation, its effect could not be compared", unclear=True, facts=facts
        )
    if moved >= FLOOR:
        reason = (
            f"{noisy} evaluation forwards ran {', '.join(layers)} in training mode; "
            f"predictions moved by {moved:.3g} output scales"
        )
        return Finding(NAME, True, reason, moved, FLOOR, facts=facts)
    return Finding(
        NAME,
        False,
        "noise in evaluation that changed no prediction",
        moved,
        FLOOR,
        unclear=moved > ROUNDING,
        facts=facts,
    )
