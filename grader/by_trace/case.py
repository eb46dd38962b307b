"""What the sign of a bug class is looked for in: the trace of a script beside its original's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..evidence import Run
from ..record import amount
from .job import Baseline

FIRST_SHARE, LAST_SHARE = 50, 10
"""The loss at the start is the mean over the first fiftieth of the losses that are listed, that at the end
the mean over the last tenth; the first 20,000 losses of a run are listed."""


@dataclass(frozen=True)
class Traced:
    """A run of a changed script and the runs of its original, on the same data.

    broken: None where a mutant is to be proved, which then has to show a sign by a margin. The mutant's own
        run where a submission is judged: in doubt the sign is still there.
    redrawn: the run may split its rows otherwise than the original, as a submission may.
    """

    run: Run
    original: Baseline
    broken: Run | None = None
    redrawn: bool = False

    @property
    def strict(self) -> bool:
        return self.broken is not None

    @property
    def unasked(self) -> bool:
        """A problem that a submission is not asked to mend: nothing is known of how it came in, if it did."""
        return self.redrawn and self.broken is None

    @property
    def same_losses(self) -> bool:
        theirs = self.original.first.trace.get("losses_digest")
        return bool(self.run.trace.get("losses_digest") == theirs)


def number(run: Run, *path: str) -> float:
    """A number of a run's trace; 0 where there is none."""
    return amount(run.trace, *path)


def losses(run: Run) -> list[float]:
    return [float.fromhex(text) for text in run.trace.get("losses", [])]


def first_loss(run: Run) -> float:
    """The mean training loss at the start; NaN without losses."""
    found = losses(run)
    return _mean(found[: max(1, len(found) // FIRST_SHARE)])


def final_loss(run: Run) -> float:
    """The mean training loss at the end; NaN without losses."""
    found = losses(run)
    return _mean(found[-max(1, len(found) // LAST_SHARE) :])


def lost_share(run: Run, original: Run) -> float | None:
    """Which share of the original's progress (the fall of its training loss) a run lacks at its end: 0 for
    none of it, 1 for all, infinite where its loss is not finite, negative where its loss fell further.

    None where the original's own loss does not fall, so that nothing can be measured by it.
    """
    start, end = first_loss(original), final_loss(original)
    if not start > end or not math.isfinite(start) or not math.isfinite(end):
        return None
    final = final_loss(run)
    return (final - end) / (start - end) if math.isfinite(final) else math.inf


def by_chance(traced: Traced) -> float:
    """The largest share of progress, lost or gained, by which the original differs from itself when it is run
    once more or with other seeds."""
    first = traced.original.first
    shares = [lost_share(run, first) or 0.0 for run in traced.original.others]
    return max((abs(share) for share in shares), default=0.0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
