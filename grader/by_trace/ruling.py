"""What a submission to a task of somebody's own script did, by its trace, and the rung that earns.

One run, on the data that came with the script: there is no hidden data and no metric here. So what is said
rests on a trace that was recorded in the submission's own process, and the feedback says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..evidence import Run
from ..oracles.base import signs
from ..predictions import Problem
from ..ruling import NO_END, NOT_CONFIRMED, NOT_FIXED, SOLVED, Ruling, unfinished
from ..same_job import ENOUGH_WORK, LEAST_WORK, other_size, switched_off
from .case import Traced, by_chance, final_loss, lost_share, number
from .job import Baseline
from .prove import same_trace

RESTS = " (judged by the trace of one run alone)"
FAR, BEYOND_CHANCE = 0.25, 3.0
"""Share of the original's progress by which a training loss may end elsewhere, or so many times more than the
original differs from itself with other seeds."""


def rule_by_trace(
    bugs: tuple[str, ...], run: Run, broken: Run, original: Baseline, *, same_sources: bool = False
) -> Ruling:
    """Judge a submission's run beside the untouched job's and the original's.

    same_sources: it is the broken job, byte for byte (which a script that does not repeat itself hides).
    """
    unknown: dict[str, bool | None] = dict.fromkeys(bugs)
    untouched = same_sources or (same_trace(run, broken) and not same_trace(run, original.first))

    def ruling(rung: float, problem: Problem, fixed: dict[str, bool | None] = unknown) -> Ruling:
        return Ruling(rung, fixed, "in_process", problem.text + RESTS, (problem,), untouched)

    if not run.finished:
        rung, problem = unfinished(run)
        return ruling(rung, problem)
    if run.result.trace is None:
        return ruling(NO_END, Problem("early exit", "the process ended without a trace of its work"))
    done = _work(run, original.first)
    if done < LEAST_WORK:
        text = f"it ends, but does {done:.0%} of the training that the job does"
        return ruling(NO_END, Problem("no training", text))
    if untouched:
        problem = Problem("untouched", "it behaves exactly as the broken job does")
        return ruling(NOT_FIXED, problem, dict.fromkeys(bugs, False))
    facts = {"final_loss": final_loss(run), "original": final_loss(original.first)}
    if same_trace(run, original.first) and not run.trace["missing_hooks"]:
        fixed: dict[str, bool | None] = dict.fromkeys(bugs, True)
        return Ruling(SOLVED, fixed, "in_process", SUCCESS + RESTS, facts=facts)
    traced = Traced(run, original, broken, redrawn=True)
    found = {bug: signs()[bug](traced) for bug in bugs}
    fixed = {bug: not finding.present for bug, finding in found.items()}
    problems = tuple(
        Problem(f"still there: {bug}", finding.reason) for bug, finding in found.items() if finding.present
    )
    if problems:
        return Ruling(NOT_FIXED, fixed, "in_process", STILL_THERE + RESTS, problems, facts=facts)
    if breach := next(_breaches(run, original.first, done), None):
        text = f"this is no longer the same job: {breach.text}"
        return Ruling(NOT_FIXED, fixed, "in_process", text + RESTS, (breach,), facts=facts)
    problems = tuple(_unconfirmed(bugs, traced))
    if problems:
        text = "the problem seems gone, but " + problems[0].text
        return Ruling(NOT_CONFIRMED, fixed, "in_process", text + RESTS, problems, facts=facts)
    return Ruling(SOLVED, fixed, "in_process", SUCCESS + RESTS, facts=facts)


STILL_THERE = "training completes, but the problem is still there"
SUCCESS = "the job runs, and nothing in it is unlike a correct one"


def _work(run: Run, original: Run) -> float:
    """The smaller of two shares: times a loss was differentiated, and rows trained on (counted where both
    train modules). Larger batches make fewer steps of as many rows, so rows decide where they are known."""
    ours, theirs = (number(one, "train_forwards", "rows") for one in (run, original))
    if ours and theirs:
        return ours / theirs
    steps = [number(one, "backward_calls") + number(one, "gradient_calls") for one in (run, original)]
    return steps[0] / max(steps[1], 1.0)


def _breaches(run: Run, original: Run, done: float) -> Iterator[Problem]:
    if run.trace["missing_hooks"]:
        yield Problem("observation", "it took away what observes the run, so nothing can be said of it")
    if done < ENOUGH_WORK:
        yield Problem("too little training", f"it does {done:.0%} of the training that the job does")
    ours, theirs = (number(one, "inputs", "trained_on") for one in (run, original))
    if ours < ENOUGH_WORK * theirs:
        yield Problem("too few rows", "it trains on less than half of the different rows that there are")
    ours, theirs = (number(one, "eval_forwards", "rows") for one in (run, original))
    if ours < ENOUGH_WORK * theirs:
        yield Problem("no evaluation", "it evaluates less than half of what the job evaluates")
    if resting := switched_off(run.trace, original.trace):
        yield resting
    if resized := other_size(run.trace, original.trace):
        yield resized
    ours, theirs = (number(one, "swallowed") for one in (run, original))
    if ours > theirs:
        yield Problem("swallowed exceptions", f"{ours:.0f} forwards or backwards raised and were swallowed")
    cuda, cpu = (number(original, "devices", f"step_{where}") for where in ("cuda", "cpu"))
    if cuda and not cpu and (number(run, "devices", "step_cpu") or number(run, "devices", "train_cpu")):
        yield Problem("left the accelerator", "it trains on the CPU, the job trains on the accelerator")


def _unconfirmed(bugs: tuple[str, ...], traced: Traced) -> Iterator[Problem]:
    unasked = replace(traced, broken=None)
    for bug, look in signs().items():
        if bug not in bugs and look(unasked).present:
            yield Problem(f"new: {bug}", "another problem has come in with the change")
    lost = lost_share(traced.run, traced.original.first)
    if lost is not None and abs(lost) > FAR and abs(lost) > BEYOND_CHANCE * by_chance(traced):
        ends = [f"{final_loss(run):.3g}" for run in (traced.run, traced.original.first)]
        text = f"its training loss ends at {ends[0]}, a correct job's at {ends[1]}"
        yield Problem("another loss", text)
