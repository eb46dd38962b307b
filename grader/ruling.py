"""What a submission did, and the rung that earns: the ladder, judged by behaviour.

| rung | |
| --- | --- |
| 0.20 | an exception or a non-zero exit before the first optimizer step; or just what the broken job does |
| 0.40 | it runs, and training does not complete |
| 0.60 | training completes, a root cause is still there, or the job is no longer the job |
| 0.80 | the root causes are gone, success is not confirmed |
| 0.99 | all is confirmed |

A wrong claim earns 0.01 whatever was done (see `ladder`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .evidence import Observed, Run
from .examination import Examination
from .oracles.base import Repair, oracles, still_there
from .predictions import Problem
from .same_job import LEAST_WORK, breaches, work
from .task import Task

NO_START, NO_END, NOT_FIXED, NOT_CONFIRMED, SOLVED = 0.20, 0.40, 0.60, 0.80, 0.99

Trust = Literal["replayed", "artifact", "in_process"]
"""What a ruling rests on: equality with the reference on data it never saw · what the run left behind · the
trace, which a hostile submission could forge (what it left behind agrees)."""

TRACED = frozenset({"missing_eval_mode", "gradient_not_zeroed", "wrong_device", "shape_mismatch"})
"""Classes for which the trace has a say."""


@dataclass(frozen=True)
class Ruling:
    """rung: one of the ladder's. fixed: class → whether its root cause is gone; None where no run could tell.

    problems: everything that speaks against the submission, for the record: may name classes.
    feedback: what a colleague who ran the job would say; never names a class.
    """

    rung: float
    fixed: Mapping[str, bool | None]
    trust: Trust
    feedback: str
    problems: tuple[Problem, ...] = ()
    untouched: bool = False
    facts: Mapping[str, float | None] = field(default_factory=dict)


def rule(task: Task, repair: Repair, broken: Examination) -> Ruling:
    """Judge a submission by its runs; makes only those that are needed. broken: the untouched job's."""
    exam = repair.submission
    hidden = exam.hidden
    unknown = dict.fromkeys(task.bugs)
    untouched = behaves_like_broken(repair, broken)
    if not hidden.finished:
        rung, problem = unfinished(hidden)
        return Ruling(rung, unknown, "artifact", problem.text, (problem,), untouched)
    if hidden.result.trace is None:
        problem = Problem(
            "early exit", "the process ended before the script did, without a trace of its work"
        )
        return Ruling(NO_END, unknown, "artifact", problem.text, (problem,), untouched)
    done = work(repair)
    if done < LEAST_WORK:
        problem = Problem(
            "no training", f"it ends, but trains on {done:.0%} of the rows that the job trains on"
        )
        return Ruling(NO_END, unknown, "in_process", problem.text, (problem,), untouched)
    if hidden.outputs is None:
        text = "; ".join(map(str, hidden.problems))
        return Ruling(NOT_FIXED, unknown, "artifact", text, hidden.problems, untouched)
    if untouched:
        fixed: dict[str, bool | None] = dict.fromkeys(task.bugs, False)
        problem = Problem("untouched", "on hidden data it behaves exactly as the broken job does")
        return Ruling(NOT_FIXED, fixed, "artifact", STILL_THERE, (problem,), untouched=True)
    if replays(task, repair):
        return Ruling(SOLVED, dict.fromkeys(task.bugs, True), "replayed", SUCCESS)
    return _judged(task, repair)


STILL_THERE = "training completes, but the problem is still there"
SUCCESS = "the job runs, and everything checks out on data it had not seen"


def _judged(task: Task, repair: Repair) -> Ruling:
    """A submission that finished its training and is not a replay of the reference."""
    exam = repair.submission
    trust: Trust = "in_process" if TRACED & set(task.bugs) else "artifact"
    reasons = {bug: still_there()[bug](repair) for bug in task.bugs}
    fixed: dict[str, bool | None] = {bug: reason is None for bug, reason in reasons.items()}
    problems = tuple(Problem(f"still there: {bug}", why) for bug, why in reasons.items() if why)
    if problems:
        if wavers := nondeterministic(repair):
            return Ruling(NOT_FIXED, dict.fromkeys(task.bugs), trust, wavers.text, (wavers, *problems))
        return Ruling(NOT_FIXED, fixed, trust, STILL_THERE, problems)
    if spoiled := [one for one in exam.hidden.problems if one.code == "not finite"]:
        return Ruling(NOT_FIXED, fixed, trust, spoiled[0].text, tuple(spoiled))
    if breach := next(breaches(repair), None):
        return Ruling(NOT_FIXED, fixed, trust, f"this is no longer the same job: {breach.text}", (breach,))
    problems = tuple(_unconfirmed(task, repair))
    facts = {"hidden": exam.hidden.metric, "visible": exam.visible.metric}
    if problems:
        text = "the problem seems gone, but " + problems[0].text
        return Ruling(NOT_CONFIRMED, fixed, trust, text, problems, facts=facts)
    return Ruling(SOLVED, fixed, trust, SUCCESS, facts=facts)


def replays(task: Task, repair: Repair) -> bool:
    """Whether a submission does bit for bit what the reference does, on run 1 and on run 2.

    Leaks through order statistics can leave run 1 equal (minimum and maximum on 3 of 20 data seeds), and run
    2 could be noticed: where leakage is at stake the run in disguise must be equal too. A move to the CPU
    leaves all of them equal: where there is an accelerator, results must also be equal on a shifted one.
    """
    ours, theirs = repair.submission, repair.reference
    if not equal(ours.hidden, theirs.hidden) or not equal(ours.altered, theirs.altered):
        return False
    if "data_leakage" in task.bugs and not equal(ours.swapped, theirs.swapped):
        return False
    if (
        task.device == "cuda"
        and not ours.observer.real_accelerator
        and not equal(ours.shifted, theirs.shifted)
    ):
        return False
    return all(
        ours.hidden.trace.get(part) == theirs.hidden.trace.get(part)
        for part in ("mixture", "empty_steps", "devices", "eval_forwards", "swallowed", "loss_shapes")
    )


def equal(ours: Observed | None, theirs: Observed | None) -> bool:
    """Whether both runs finished with the same losses, parameters and predictions, to the bit."""
    if ours is None or theirs is None or ours.outputs is None or ours.problems or theirs.problems:
        return False
    return (
        ours.outputs.same_as(theirs.outputs)
        and ours.trace.get("losses_digest") == theirs.trace.get("losses_digest")
        and ours.trace.get("parameters") == theirs.trace.get("parameters")
        and not ours.trace.get("missing_hooks")
    )


def behaves_like_broken(repair: Repair, broken: Examination) -> bool:
    """Whether a submission does just what the untouched job does, on hidden data.

    A job that chooses its model on held-out rows can happen to choose the one that a correct job chooses.
    Where the reference itself does what the broken job does, run 2 tells them apart, as it did when the job
    was proved broken.
    """
    ours, reference = repair.submission, repair.reference
    if not same_behaviour(ours.hidden, broken.hidden):
        return False
    if not same_behaviour(reference.hidden, broken.hidden):
        return True
    return (
        ours.altered is not None
        and broken.altered is not None
        and same_behaviour(ours.altered, broken.altered)
    )


def same_behaviour(ours: Observed, theirs: Observed) -> bool:
    """Whether a run did exactly what another did: the same predictions, or the same end at the same step."""
    if ours.result.outcome != theirs.result.outcome:
        return False
    if ours.finished:
        if ours.outputs is None or theirs.outputs is None:
            return ours.outputs is theirs.outputs and ours.trace.get("losses") == theirs.trace.get("losses")
        return ours.outputs.same_as(theirs.outputs)
    facts = ("type", "message", "steps_before")
    one, other = ours.exception or {}, theirs.exception or {}
    return bool(one) and all(one.get(fact) == other.get(fact) for fact in facts)


def unfinished(run: Run) -> tuple[float, Problem]:
    """The rung of a run that did not end well, and what a colleague would say of it."""
    result = run.result
    if result.outcome == "timeout":
        return NO_END, Problem(
            "timeout", f"it was stopped after {result.wall_seconds:.0f} s without finishing"
        )
    steps = int((run.exception or {}).get("steps_before", 0) or 0) or run.trace.get("optimizer_steps", 0)
    steps = steps or run.trace.get("backward_calls", 0)
    when = "after training had begun" if steps else "before the first training step"
    rung = NO_END if steps else NO_START
    if result.outcome == "memory":
        return rung, Problem("memory", f"it ran out of memory, {when}")
    if result.outcome == "signal":
        return rung, Problem("killed", f"it was killed by signal {result.signal}")
    exception = run.exception or {}
    said = f"{exception.get('type', 'exit code')}: " if exception else ""
    text = str(exception.get("message", "")).strip().split("\n")[0][:300] or f"exit code {result.exit_code}"
    return rung, Problem("crash", f"it fails {when} ({said}{text})")


def nondeterministic(repair: Repair) -> Problem | None:
    """Whether run 1 comes out otherwise when it is made again, so that nothing can be compared."""
    first, again = repair.submission.hidden, repair.submission.again
    same_losses = first.trace.get("losses_digest") == again.trace.get("losses_digest")
    if same_losses and first.outputs is not None and first.outputs.same_as(again.outputs):
        return None
    return Problem(
        "nondeterministic", "two runs on the same data differ: seed everything, so that it can be judged"
    )


def _unconfirmed(task: Task, repair: Repair) -> list[Problem]:
    """Why success is not confirmed although the root causes are gone."""
    exam, spec = repair.submission, repair.spec
    found: list[Problem] = []
    for run, where in ((exam.hidden, "hidden"), (exam.visible, "visible")):
        if not run.finished or run.outputs is None:
            found.append(Problem("one seed only", f"it does not finish on the {where} data"))
            continue
        found += run.problems
        if run.metric is None or run.metric < spec.band.floor:
            shown = "not finite" if run.metric is None else f"{run.metric:.3f}"
            found.append(
                Problem(
                    "below band",
                    f"its {spec.metric.name} on {where} scoring rows is {shown}; "
                    f"a correct job reaches {spec.band.floor:g}",
                )
            )
    case = repair.case
    for bug, judge in oracles().items():
        if bug in task.bugs or bug == "wrong_device":
            continue  # device: `breaches` asked where it trains; scoring on the CPU at the end is no fault
        finding = judge(case)
        if finding.present:
            found.append(Problem(f"new: {bug}", "another problem has come in with the change"))
    return found
