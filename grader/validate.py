"""Proof by execution: a candidate counts only if its bugs fail, each alone too, and its reference passes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..clean_scripts.spec import JobSpec
from ..errors import RunnerError
from ..mutators.workspace import Workspace
from .evidence import Evidence, Observed, Observer
from .oracles.base import Case, Finding, oracles
from .runner.request import Device, Limits


@dataclass(frozen=True)
class Candidate:
    """A variant before its proof.

    reference: the correct workspace. broken: all bugs in it. alone: for each bug class, the workspace with
        that bug only, the others fixed (for a single bug, the broken one itself).
    visible_seed: data seed of run 0, the data that an agent sees. hidden_seed: of runs 1 and 2.
    """

    spec: JobSpec
    reference: Workspace
    broken: Workspace
    alone: Mapping[str, Workspace]
    device: Device
    visible_seed: int
    hidden_seed: int


@dataclass(frozen=True)
class Validation:
    """What was run and what came of it.

    discarded: why the candidate does not count, as `code: sentence`; None if it does. The code alone is what
        statistics count.
    findings: for each bug class, what its oracle says of the workspace with that bug alone.
    broken: run 0 of the workspace with all bugs, the run that the alert speaks of.
    """

    discarded: str | None
    findings: Mapping[str, Finding] = field(default_factory=dict)
    reference: Evidence | None = None
    broken: Observed | None = None
    runs: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.discarded is None

    def slim(self) -> Validation:
        """The same without arrays, output and traces: what a record needs, to be kept for long."""
        reference = self.reference
        if reference is not None:
            hidden, altered = (run and run.slim() for run in (reference.hidden, reference.altered))
            reference = Evidence(reference.visible.slim(), hidden, altered, reference.altered_labels)
        return replace(self, reference=reference, broken=self.broken and self.broken.slim())


def validate(candidate: Candidate, run: Any, limits: Limits | None = None) -> Validation:
    """Execute a candidate and decide whether it counts.

    `run` takes a RunRequest and returns a RunResult (a pool's `run`). Costs 3 runs for the reference and up
    to 3 for each bug, and one more for a compound.
    """
    observer = Observer(run, candidate.spec, candidate.device, limits)
    seeds = candidate.visible_seed, candidate.hidden_seed
    seconds = 0.0

    def spend(evidence: Evidence) -> Evidence:
        nonlocal seconds
        for one in evidence.runs:
            seconds += not_stopped(one).result.wall_seconds
        return evidence

    reference = spend(observer.gather(candidate.reference, *seeds))
    findings: dict[str, Finding] = {}
    broken: Observed | None = None

    def verdict(discarded: str | None) -> Validation:
        return Validation(discarded, findings, reference, broken, observer.runs, seconds)

    if problem := passes(Case(candidate.spec, reference, reference)):
        return verdict(f"reference: {problem}")
    for bug, workspace in candidate.alone.items():
        evidence = spend(observer.gather(workspace, *seeds))
        case = Case(candidate.spec, evidence, reference)
        findings[bug] = finding = oracles()[bug](case)
        if not finding.present:
            code = "unclear" if finding.unclear else "equivalent"
            return verdict(f"{code} {bug}: {finding.reason}")
        for other, oracle in oracles().items():
            if other != bug and (found := oracle(case)).present:
                return verdict(f"impure {bug}: the oracle of {other} fires too ({found.reason})")
        if workspace == candidate.broken:
            broken = evidence.visible
    if broken is None:
        broken = not_stopped(observer.observe(candidate.broken, reference.visible.data))
        seconds += broken.result.wall_seconds
    if problem := masked(broken, candidate, reference):
        return verdict(f"masked: {problem}")
    return verdict(None)


def not_stopped(run: Observed) -> Observed:
    """The run, unless a limit or the machine ended it.

    Jobs of the library take a hundredth of their limits, broken or not. Discarding a candidate because a
    machine was busy would give that machine other bytes for the same seed.

    Raises:
        RunnerError: the run timed out, ran out of memory or was killed.
    """
    if run.result.outcome in ("ok", "error"):
        return run
    raise RunnerError(
        f"a run of {run.result.wall_seconds:.0f} s was stopped ({run.result.outcome}"
        f"{'' if run.result.signal is None else f', signal {run.result.signal}'}); "
        "this machine is too busy or too small: run again with fewer --jobs or fewer other programs"
    )


def passes(case: Case) -> str | None:
    """Why a workspace does not pass as correct, or None if it does.

    It finishes all runs, leaves valid artifacts, has its metric in the band on runs 0 and 1, and no oracle
    fires or is in doubt.
    """
    if len(case.evidence.runs) < 3:
        return _ending(case.evidence.runs[-1])
    for run in case.evidence.runs:
        if not run.finished or run.outputs is None or run.problems:
            return _ending(run)
    for run in case.evidence.runs[:2]:
        if run.metric is None or run.metric < case.spec.band.floor:
            shown = math.nan if run.metric is None else run.metric
            return f"{case.spec.metric.name} {shown:.4f} lies below {case.spec.band.floor}"
    for oracle in oracles().values():
        finding = oracle(case)
        if finding.present or finding.unclear:
            return f"{finding.bug_class}: {finding.reason}"
    return None


def masked(broken: Observed, candidate: Candidate, reference: Evidence) -> str | None:
    """Why the workspace with all bugs does not show on run 0 that it is broken, or None if it does.

    Each bug alone was already seen to fail; here only the compound must not have healed itself: it crashes,
    or is wrong in a way that a class in it explains. A silent compound fails by its silent bugs, whose
    relations need runs 1 and 2; on run 0 it must at least differ from the reference.
    """
    if not broken.finished:
        return None
    same = broken.trace.get("losses_digest") == reference.visible.trace.get("losses_digest")
    if same and broken.outputs is not None and reference.visible.outputs is not None:
        ours, theirs = broken.outputs, reference.visible.outputs
        if (
            ours.output.tobytes() == theirs.output.tobytes()
            and ours.score.tobytes() == theirs.score.tobytes()
        ):
            return "all bugs together behave exactly like the reference"
    return None


def _ending(run: Observed) -> str:
    if not run.finished:
        text = str((run.exception or {}).get("message", "")).split("\n")[0]
        return f"it did not finish ({run.result.outcome}{': ' + text if text else ''})"
    return "; ".join(map(str, run.problems)) or "run 2 could not be made"
