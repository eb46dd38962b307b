"""Evaluation mode: noise in an evaluation forward, and predictions that do not follow their rows.

Two keys, because each alone can be satisfied by a job that is still wrong, or broken by one that is right.
"""

from __future__ import annotations

from ..by_trace.case import Traced, number
from .base import ROUNDING, Case, Finding, Repair, roughness, rows_moved

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


ROUGH = 0.02
"""Median change of a prediction, in output scales, from which on a job does not answer a row but its last
digits: correct jobs change by about the jitter (1e-4), a mask that hangs on them by a tenth and more."""

NOISY_SHARE = 0.01
"""Rows in noisy evaluations, as a share of the rows held out and scored, from which on noise is to be called
one. A dry run of a fresh network to learn its sizes takes a row or two; an evaluation takes all."""


def still_there(repair: Repair) -> str | None:
    """Two keys that must agree: noise kept constant for each row satisfies every relation, and noise written
    by hand is seen by no hook."""
    submission = repair.submission
    outputs = submission.hidden.outputs
    asked = 0 if outputs is None else len(outputs.rows) + len(outputs.score)
    for run in (submission.hidden, submission.altered):
        found = {} if run is None else run.trace.get("eval_forwards", {})
        rows = found.get("noisy_rows_not_trained_on", 0)
        if rows > NOISY_SHARE * asked:
            return f"{rows} rows were evaluated with {', '.join(found['noisy_layers'])} in training mode"
    moved = rows_moved(repair.case)
    if moved is None:
        return "its effect could not be compared"
    if moved > ROUNDING:
        return f"predictions moved by {moved:.3g} output scales"
    rough = roughness(repair.case)
    if rough is not None and rough > ROUGH:
        return f"next to equal rows are answered differently, by {rough:.3g} output scales"
    return None


def sign(traced: Traced) -> Finding:
    """Evaluation forwards with dropout or batch norm in training mode, where the original has none.

    Where the original itself has such forwards (it measures its training rows so, say), those on rows that
    are not trained on count; and where nobody asked, since a model may be tried on a few training rows first,
    to make lazy parameters or to print shapes.
    """
    run, original = traced.run, traced.original.first
    if not run.finished:
        return Finding(NAME, False, "a script that does not finish shows nothing of its evaluation")
    kinds = ("noisy_calls", "noisy_rows_not_trained_on")
    ours, theirs = ([number(one, "eval_forwards", kind) for kind in kinds] for one in (run, original))
    layers = run.trace["eval_forwards"]["noisy_layers"]
    facts = {"noisy_calls": ours[0], "noisy_rows": ours[1], "noisy_layers": layers}
    which = 1 if theirs[0] or traced.unasked else 0
    if not ours[which]:
        return Finding(NAME, False, "no noise in an evaluation that the original has not", facts=facts)
    reason = f"{ours[0]:.0f} evaluation forwards ran {', '.join(layers)} in training mode"
    if theirs[which]:
        reason += "; the original does so itself"
        return Finding(NAME, False, reason, unclear=not traced.strict, facts=facts)
    return Finding(NAME, True, f"{reason}, none of the original's did", ours[which], 1.0, facts=facts)
