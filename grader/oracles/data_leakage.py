"""Leakage: training, or the choice of a model, changes when only held-out rows do."""

from __future__ import annotations

import math

import numpy as np

from ...clean_scripts.spec import Array
from ..alter import kept_scores
from ..by_trace.case import Traced, number
from ..evidence import Observed, Run
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


FEWER_ROWS = 0.9
"""Of the rows that the original only evaluates, the share that may be left in another run."""
FEW, MANY = 0.02, 0.5
"""Shares of the evaluated and of the trained rows between which what is both is a leak: fewer may be rows
that are alike, and who evaluates more of what is trained on measures the training part."""
STILL_EVALUATES = 0.5
"""Share of the rows which the original evaluates that a run must evaluate for its rows to be compared."""
SHIFT = 1e-3
"""Deviations by which the scale of what is trained on must differ: rounding moves it by 1e-6, statistics over
a fifth more rows by a hundredth or so."""
OF_THE_BUG = 0.25
"""Of a submission: the share of the mutant's shift that it may keep (dividing by n − 1 moves a deviation)."""
STANDARD = 1e-4
"""Mean and deviation of what was standardised lie this close to 0 and 1, over the rows of the statistics."""
MORE_ROWS = 1.02
"""Times as many different rows as the original's may be there where they are split otherwise."""
SAMPLING_ERRORS = 5.0
"""Standard errors by which moments of other rows of the same kind may differ; of a hundred columns the
farthest lies at three."""


def sign(traced: Traced) -> Finding:
    """What execution alone can show of it; which kind of evidence it is stands in the facts.

    rows: rows that the original only evaluates are trained on as well. selection: rows that the original
    keeps for the end are evaluated while training goes on. scale: rows or targets that are trained on have
    another scale, because its statistics are those of other rows.
    """
    run, original = traced.run, traced.original.first
    if not run.finished:
        return Finding(NAME, False, "a script that does not finish shows nothing of its rows")
    if not (run.trace["inputs"]["complete"] and original.trace["inputs"]["complete"]):
        return Finding(NAME, False, "too many different rows to follow", unclear=not traced.strict)
    ours, theirs = (number(one, "inputs", "evaluated_only") for one in (run, original))
    evaluates = number(run, "inputs", "evaluated") >= STILL_EVALUATES * number(
        original, "inputs", "evaluated"
    )
    if theirs and evaluates and ours < FEWER_ROWS * theirs:
        reason = f"{theirs:.0f} evaluated rows are never trained on in the original, {ours:.0f} are here"
        return _shown(traced, "rows", reason, 1 - ours / theirs, 1 - FEWER_ROWS)
    ours, theirs = (_on_both_sides(one) for one in (run, original))
    few = FEW * number(run, "inputs", "evaluated") < ours < MANY * number(run, "inputs", "trained_on")
    if traced.strict and few and not theirs:
        reason = f"the original trains on no row that it evaluates, {ours:.0f} are trained on here"
        return _shown(traced, "rows", reason, ours, 0.0)
    kept, theirs = (number(one, "inputs", "kept_for_the_end") for one in (run, original))
    if theirs and evaluates and kept < FEWER_ROWS * theirs:
        reason = (
            f"the original keeps {theirs:.0f} rows for an evaluation after training, {kept:.0f} are kept here"
        )
        return _shown(traced, "selection", reason, 1 - kept / theirs, 1 - FEWER_ROWS)
    for part, what in (("columns", "inputs"), ("targets", "targets")):
        moved = _shift(run, original, part)
        repeating = _shift(traced.original.again, original, part)
        if repeating > DRAWN_ANEW:
            continue
        floor = SHIFT + BEYOND_REPEATING * repeating
        of_the_bug = 0.0 if traced.broken is None else _shift(traced.broken, original, part)
        elsewhere = of_the_bug <= floor
        floor = max(floor, OF_THE_BUG * of_the_bug)
        if traced.redrawn and moved > floor:
            if common := _standard(original, part):
                if common & _standard(run, part) and _rows(run) <= MORE_ROWS * _rows(original):
                    continue  # of other rows the same statistics are taken
            elif elsewhere:
                floor += SAMPLING_ERRORS * _sampling_error(run, original)
        if moved > floor:
            reason = f"training {what} are scaled otherwise than the original's, by {moved:.2g} deviations"
            if _standard(original, part) and not _standard(run, part):
                reason += "; the original's have mean 0 and deviation 1 over the rows it trains on, these not"
            return _shown(traced, "scale", reason, moved, floor)
    return Finding(NAME, False, "the rows trained on, and their scale, are the original's")


BEYOND_REPEATING = 10.0
"""How many times more than the original's own repetition."""
DRAWN_ANEW = 1e-2
"""Deviations between two runs of the original from which on its rows are other rows each time (of a hundred
rows drawn anew the mean moves by a seventh): their scale says nothing then. Two runs may come out alike by
chance, so that ten times their distance is not enough alone."""


def _shown(traced: Traced, kind: str, reason: str, effect: float, floor: float) -> Finding:
    present = traced.strict or kind == "selection" or not traced.same_losses
    if not present:
        reason += ", without any effect on training losses"
    facts = {"evidence": kind}
    return Finding(NAME, present, reason, effect, floor, unclear=not present, facts=facts)


def _shift(run: Run, original: Run, part: str) -> float:
    """The largest change of a column's mean or deviation, in deviations of the original; infinite where there
    are other columns, 0 where the original has none."""
    if "inputs" not in run.trace:
        return 0.0  # the mutant crashed before its trace could be read
    ours, theirs = run.trace["inputs"][part], original.trace["inputs"][part]
    if not theirs:
        return 0.0
    if len(ours) != len(theirs):
        return math.inf
    moved = 0.0
    for (mean, spread), (old_mean, old_spread) in zip(ours, theirs, strict=True):
        if (spread < 0) != (old_spread < 0):
            return math.inf
        unit = old_spread if old_spread > 0 else max(abs(old_mean), 1e-12)
        moved = max(moved, abs(mean - old_mean) / unit, abs(spread - old_spread) / unit)
    return moved


def _standard(run: Run, part: str) -> set[str]:
    """In which groups what is trained on has mean 0 and deviation 1: by columns, by rows as a whole, or along
    the first or last axis of a row. What stands still has no deviation, and n − 1 moves one a bit."""
    seen = run.trace["inputs"]
    wide = STANDARD + 1 / max(number(run, "inputs", "trained_on"), 1.0)
    groups = {"columns": seen[part], **(seen["pools"] if part == "columns" else {})}
    return {
        name
        for name, moments in groups.items()
        if moments
        and all(
            abs(mean) < STANDARD and (abs(spread - 1) < wide or 0 <= spread < STANDARD)
            for mean, spread in moments
        )
        and any(spread >= STANDARD for _mean, spread in moments)
    }


def _on_both_sides(run: Run) -> float:
    """Different rows that are evaluated and trained on."""
    return number(run, "inputs", "evaluated") - number(run, "inputs", "evaluated_only")


def _rows(run: Run) -> float:
    """All different rows. Held-out ones that are trained on, moved by a little, are there twice."""
    return number(run, "inputs", "trained_on") + number(run, "inputs", "evaluated_only")


def _sampling_error(run: Run, original: Run) -> float:
    """Of the difference of two means, in deviations, where each is over rows of its own."""
    rows = [max(number(one, "inputs", "trained_on"), 1.0) for one in (run, original)]
    return math.sqrt(sum(1 / count for count in rows))
