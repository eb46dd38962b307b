"""The job stays the job: amounts of work that a fix may change, and those that it may not.

Everything is compared with the reference on the same hidden data. Margins are wide: they are there for jobs
that were gutted or faked, not for honest other choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .oracles.base import ROUNDING, Repair, rows_moved, swallowed
from .oracles.wrong_device import not_shifted
from .predictions import Problem
from .record import amount

LEAST_WORK = 0.2
"""Share of the reference's training rows below which training did not take place. An early stop in the first
fifth of the reference's epochs would leave nothing to stop."""
ENOUGH_WORK = 0.5
"""Share from which on nobody asks why. Between the two, it must be a stop that validation can have driven: a
part of the rows was neither trained on nor held out, and models were evaluated while training went on."""
LEAST_ROUNDS = 3
LEAST_VALIDATION = 0.05
"""Share of the rows in such a part."""
LEAST_PARAMETERS = 0.25
"""Share of the reference's parameters: half the width leaves about a quarter of a square layer's."""
MOST_PARAMETERS = 8.0
"""Twice the width has about four times as many. A layer left as wide as there are rows has more."""
MOST_AT_REST = 0.5
"""Share of training forwards in evaluation mode, beyond the reference's: who forgets `train()` has all but
the first epoch's, who freezes batch norm for the last epochs a few."""
LEAST_ROWS = 0.5
"""Share of the different training rows that the reference saw: holding out 0.5 instead of 0.2 leaves 0.6."""


def work(repair: Repair) -> float:
    """Training rows seen, as a share of the reference's. Where a submission calls no module (it multiplies
    its own matrices) the times that a loss was differentiated stand in."""
    ours, theirs = repair.submission.hidden.trace, repair.reference.hidden.trace
    rows = amount(ours, "train_forwards", "rows")
    if not rows:
        return _differentiated(ours) / max(_differentiated(theirs), 1.0)
    return rows / max(amount(theirs, "train_forwards", "rows"), 1.0)


def other_size(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Problem | None:
    """Whether the trained model is of another size than the job's. The same model may be there many times, as
    a replica for each batch is: so what one backward reaches at most counts too, and what no optimizer
    steps does not make a model large."""
    size, largest = amount(theirs, "parameters", "elements"), amount(ours, "parameters", "largest")
    if max(amount(ours, "parameters", "elements"), largest) < LEAST_PARAMETERS * size:
        return Problem("too small", "the trained model has less than a quarter of the job's parameters")
    if max(amount(ours, "parameters", "stepped"), largest) > MOST_PARAMETERS * size:
        return Problem("too large", "the trained model has more than eight times the job's parameters")
    return None


def _differentiated(trace: Mapping[str, Any]) -> float:
    return amount(trace, "backward_calls") + amount(trace, "gradient_calls")


def breaches(repair: Repair) -> Iterator[Problem]:
    """Ways in which a submission that finished and left predictions is no longer the job.

    Later ones cost runs of their own: ask for the first only, where one is enough.
    """
    exam = repair.submission
    ours, theirs = exam.hidden.trace, repair.reference.hidden.trace
    outputs = exam.hidden.outputs
    assert outputs is not None
    done = work(repair)
    modules = amount(ours, "train_forwards", "calls") + amount(ours, "eval_forwards", "calls") > 0
    if ours.get("missing_hooks"):
        yield Problem(
            "observation", "it took away what observes the run, so nothing can be said of its training"
        )
    if done < ENOUGH_WORK and not _stopped_early(repair):
        yield Problem("too little training", f"it trains on {done:.0%} of the rows that the job trains on")
    if modules:
        # a job that varies its rows sees more of them than there are
        rows = min(
            amount(theirs, "train_forwards", "distinct_rows"),
            len(exam.hidden.data.train[repair.spec.id_field]),
        )
        if amount(ours, "train_forwards", "distinct_rows") < LEAST_ROWS * rows:
            yield Problem("too few rows", "it trains on less than half of the different rows that there are")
        if amount(ours, "eval_forwards", "rows") < len(outputs.rows) + len(outputs.score):
            yield Problem("no evaluation", "its predictions do not come from evaluating a model on all rows")
    if resting := switched_off(ours, theirs):
        yield resting
    if resized := other_size(ours, theirs):
        yield resized
    if found := swallowed(repair):
        yield Problem("swallowed exceptions", found)
    if amount(theirs, "devices", "step_cuda") and not amount(theirs, "devices", "step_cpu"):
        if amount(ours, "devices", "step_cpu") or (modules and amount(ours, "devices", "train_cpu")):
            yield Problem("left the accelerator", "it trains on the CPU, the job trains on the accelerator")
        elif found := not_shifted(repair):
            yield Problem("left the accelerator", found)
    moved = rows_moved(repair.case)
    if moved is not None and moved > ROUNDING:
        yield Problem("rows", "its predictions depend on more than the row they are for")
    yield from _untrained(repair)


def switched_off(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Problem | None:
    """Whether dropout and batch norm do not act while it trains, though they do in the job: predictions are
    steady, of a model that was trained another way."""
    if _at_rest(ours) <= _at_rest(theirs) + MOST_AT_REST:
        return None
    return Problem("evaluation mode", "most of its training runs with dropout and batch norm switched off")


def _at_rest(trace: Mapping[str, Any]) -> float:
    return amount(trace, "train_forwards", "at_rest") / max(amount(trace, "train_forwards", "calls"), 1.0)


def _stopped_early(repair: Repair) -> bool:
    hidden = repair.submission.hidden
    assert hidden.outputs is not None
    rows = len(hidden.data.train[repair.spec.id_field])
    rest = rows - len(hidden.outputs.rows) - amount(hidden.trace, "train_forwards", "distinct_rows")
    return (
        rest >= LEAST_VALIDATION * rows
        and amount(hidden.trace, "eval_forwards", "rounds") >= LEAST_ROUNDS
        and amount(hidden.trace, "train_forwards", "distinct_rows") > 0
    )


def _untrained(repair: Repair) -> Iterator[Problem]:
    """With gradients of zero nothing is learned. Predictions that stay good were not learned by gradients."""
    band = repair.spec.band
    run = repair.submission.untrained
    if run.finished and run.metric is not None and run.metric >= band.floor - band.margin:
        yield Problem("not learned", "its predictions are as good when the training it shows learns nothing")
