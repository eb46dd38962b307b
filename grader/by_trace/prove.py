"""Proof of a mutant of somebody's own script, by running both under the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...errors import RunnerError
from ...mutators.workspace import Workspace
from ..evidence import Run
from ..oracles.base import Finding, signs
from .case import Traced
from .job import Baseline, Tracer

HANGS = 5.0
"""How many times longer than its original a mutant must have run for its time-out to be its own doing; else
the machine or the limit may be to blame, and nothing is concluded."""


@dataclass(frozen=True)
class TraceProof:
    """What came of a candidate. discarded: why it does not count, `code: sentence`; None if it does.

    findings: class → its sign in the script with that bug alone. broken: the run with all bugs.
    """

    discarded: str | None
    findings: Mapping[str, Finding] = field(default_factory=dict)
    broken: Run | None = None

    @property
    def ok(self) -> bool:
        return self.discarded is None


def prove(
    tracer: Tracer, original: Baseline, broken: Workspace, alone: Mapping[str, Workspace]
) -> TraceProof:
    """Run each bug alone (the others fixed), then all together: each must show its own class's sign, and no
    other's; together they must not do what the original does.

    Raises:
        RunnerError: a run was stopped by its time limit though the original took nearly as long.
    """
    findings: dict[str, Finding] = {}
    together: Run | None = None
    for bug, workspace in alone.items():
        run = tracer.observe(workspace)
        if problem := _stopped(run, original, tracer):
            return TraceProof(f"stopped: {problem}", findings)
        if bug not in signs():
            return TraceProof(f"no sign: nothing is known of how {bug} shows in a trace", findings)
        traced = Traced(run, original)
        findings[bug] = finding = signs()[bug](traced)
        if not finding.present:
            code = "unclear" if finding.unclear else "equivalent"
            return TraceProof(f"{code} {bug}: {finding.reason}", findings)
        for other, look in signs().items():
            if other != bug and (found := look(traced)).present:
                return TraceProof(f"impure {bug}: a sign of {other} shows too ({found.reason})", findings)
        if workspace == broken:
            together = run
    if together is None:
        together = tracer.observe(broken)
        if problem := _stopped(together, original, tracer):
            return TraceProof(f"stopped: {problem}", findings)
    if same_trace(together, original.first):
        return TraceProof("masked: all bugs together do what the original does", findings)
    return TraceProof(None, findings, together)


COMPARED = (
    "losses_digest",
    "parameters",
    "mixture",
    "empty_steps",
    "devices",
    "eval_forwards",
    "train_forwards",
    "loss_shapes",
    "inputs",
    "swallowed",
)
"""Parts of a trace in which a script that does the same shows the same."""


def same_trace(one: Run, other: Run) -> bool:
    """Whether two runs ended alike and their traces agree, to the bit."""
    if one.result.outcome != other.result.outcome or not (one.trace or other.trace):
        return False
    facts = ("type", "message", "steps_before")
    ends = [tuple((run.exception or {}).get(fact) for fact in facts) for run in (one, other)]
    return ends[0] == ends[1] and all(one.trace.get(part) == other.trace.get(part) for part in COMPARED)


def _stopped(run: Run, original: Baseline, tracer: Tracer) -> str | None:
    """Why a run that did not end by itself says nothing of its bug."""
    result, theirs = run.result, original.first.result
    if result.outcome == "timeout":
        if result.wall_seconds >= HANGS * theirs.wall_seconds:
            return f"it did not finish in {HANGS:g} times what the original takes"
        raise RunnerError(
            f"a mutant was stopped after {result.wall_seconds:.0f} s, the original takes "
            f"{theirs.wall_seconds:.0f} s of the {tracer.job.timeout:g} s allowed; give a larger --timeout"
        )
    if result.outcome in ("memory", "signal"):
        return f"it was ended by the machine ({result.outcome})"
    if result.trace is None:
        return "it ended without a trace"
    return None
