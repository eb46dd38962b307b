"""Leakage: training, or the choice of a model, changes when only held-out rows do."""

from __future__ import annotations

import math

from ..evidence import Observed
from .base import Case, Finding, rows_moved

NAME = "data_leakage"

FLOOR = 1e-3
"""A correct job's losses are bit-identical in runs 1 and 2. Far-out rows at 8 to 32 deviations, in a tenth
of the data and more, move a leaking job's statistics, and with them its losses, by percents at the least;
a thousandth keeps clear of anything a processor could round."""


def judge(case: Case) -> Finding:
    hidden, altered = case.evidence.hidden, case.evidence.altered
    if hidden is None or altered is None or not (hidden.finished and altered.finished):
        return Finding(NAME, False, "runs 1 and 2 could not be compared")
    same_losses = hidden.trace.get("losses_digest") == altered.trace.get("losses_digest")
    same_parameters = _parameters(hidden) == _parameters(altered)
    facts = {"same_losses": same_losses, "same_parameters": same_parameters}
    if same_losses and same_parameters:
        return Finding(NAME, False, "altering held-out rows changes nothing in training", facts=facts)
    if not same_losses:
        change = loss_change(hidden, altered)
        reason = f"altering held-out rows alone changes the training losses by {change:.3g}"
        return Finding(NAME, change >= FLOOR, reason, change, FLOOR, unclear=change < FLOOR, facts=facts)
    moved = rows_moved(case) or 0.0
    reason = f"altering held-out rows alone changes which model is kept (predictions move by {moved:.3g})"
    return Finding(NAME, moved >= FLOOR, reason, moved, FLOOR, unclear=moved < FLOOR, facts=facts)


def _parameters(run: Observed) -> object:
    return run.trace.get("parameters", {}).get("digest")


def loss_change(one: Observed, other: Observed) -> float:
    """Largest change of a training loss between two runs, as a share of the first run's mean loss."""
    first = [float.fromhex(text) for text in one.trace.get("losses", [])]
    second = [float.fromhex(text) for text in other.trace.get("losses", [])]
    if len(first) != len(second) or not first:
        return math.inf
    level = sum(abs(loss) for loss in first if math.isfinite(loss)) / len(first) or 1.0
    gaps = [0.0 if a == b or (a != a and b != b) else abs(a - b) for a, b in zip(first, second, strict=True)]
    return math.inf if any(map(math.isnan, gaps)) else max(gaps) / level
