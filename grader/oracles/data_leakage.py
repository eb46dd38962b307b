"""Leakage: training, or the choice of a model, changes when only held-out rows do."""

from __future__ import annotations

import math

import numpy as np

from ...clean_scripts.spec import Array
from ..alter import kept_scores
from ..evidence import Observed
from .base import ROUNDING, Case, Finding, Repair, distance, places, rows_moved, scale

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


def still_there(repair: Repair) -> str | None:
    """Exact: no bit of training may change with the held-out rows, be they far-out or like any other."""
    exam = repair.submission
    for name, altered in (("altering", exam.altered), ("swapping", exam.swapped)):
        if altered is None:
            return "runs 1 and 2 could not be compared"
        if altered.finished and (found := _differs(exam.hidden, altered)):
            return f"{name} held-out rows alone changes {found}"
    if exam.swapped is not None and not exam.swapped.finished:
        return "it does not finish when held-out rows are others"
    if not exam.altered_labels:
        return _knows_labels(repair)
    return None


def _differs(hidden: Observed, altered: Observed) -> str | None:
    if hidden.trace.get("losses_digest") != altered.trace.get("losses_digest"):
        return f"the training losses by {loss_change(hidden, altered):.3g}"
    if _parameters(hidden) != _parameters(altered):
        return "the trained parameters"
    if hidden.outputs is None or altered.outputs is None:
        return "whether there are predictions"
    kept = kept_scores(len(hidden.outputs.score))
    gap = distance(hidden.outputs.score[:kept], altered.outputs.score[:kept])
    return "the scores" if gap > ROUNDING * scale(hidden.outputs) else None


CHANCE_ERRORS = 5.0
"""Standard errors by which held-out predictions may agree with shuffled labels; chance stays below 4 once in
30,000 times, a job that has seen the labels agrees by tens."""


def _knows_labels(repair: Repair) -> str | None:
    """Where the split reads labels they cannot be altered in held-out rows alone. With all labels shuffled
    nothing is left to be learned, and held-out predictions that still agree with them have seen them."""
    run = repair.submission.shuffled
    outputs = run.outputs
    if outputs is None:
        return None
    spec = repair.spec
    train = run.data.train
    labels = train[spec.label_field.name][places(train[spec.id_field], outputs.rows)]
    if spec.label_field.classes:  # outputs that name no class (embeddings) cannot agree with one
        return None
    errors = agreement(outputs.output, labels, spec.label_field.kind == "label_class")
    return (
        f"held-out predictions know shuffled labels ({errors:.1f} errors)" if errors > CHANCE_ERRORS else None
    )


def agreement(output: Array, labels: Array, classes: bool) -> float:
    """How far predictions agree with labels beyond chance, in standard errors."""
    if len(labels) < 2 or not np.isfinite(output).all():
        return 0.0
    if classes:
        guess = output.argmax(axis=-1)
        shares = [np.mean(guess == value) * np.mean(labels == value) for value in np.unique(labels)]
        chance = float(np.sum(shares))
        error = math.sqrt(max(chance * (1 - chance), 1e-12) / len(labels))
        return float((np.mean(guess == labels) - chance) / error)
    flat = output.reshape(len(labels), -1).mean(axis=1)
    truth = labels.reshape(len(labels), -1).mean(axis=1)
    if flat.std() == 0 or truth.std() == 0:
        return 0.0
    return float(np.corrcoef(flat, truth.astype(np.float64))[0, 1] * math.sqrt(len(labels)))


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
