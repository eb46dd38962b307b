"""What running a workspace left behind: runs 0 to 2, their artifacts read and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..clean_scripts.data import data_files
from ..clean_scripts.spec import JobData, JobSpec
from ..mutators.workspace import Workspace
from .alter import alter, score_order
from .predictions import Outputs, Problem, other_problems, read_final, read_outputs
from .record import well_formed
from .runner.request import METRICS, PREDICTIONS, Device, Limits, Probe, RunRequest, RunResult


@dataclass(frozen=True)
class Run:
    """One run, and its trace read as hostile (None where it is not one that a recorder makes)."""

    result: RunResult

    @property
    def finished(self) -> bool:
        return self.result.outcome == "ok"

    @property
    def trace(self) -> Mapping[str, Any]:
        return self.result.trace or {}

    @property
    def exception(self) -> Mapping[str, Any] | None:
        found = self.trace.get("exception")
        return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class Observed(Run):
    """One run of a job of the library and what was read from it.

    outputs: None where `predictions.npz` is missing or unusable.
    problems: why artifacts are unusable or break the contract; empty when all is well.
    metric: the job's metric on the scoring rows, computed here from labels the run never held.
    final: the numbers under `final` in `metrics.json`; for people, they prove nothing.
    """

    data: JobData
    outputs: Outputs | None
    problems: tuple[Problem, ...]
    metric: float | None
    final: Mapping[str, float]

    def slim(self) -> Observed:
        """How it ended and its figures, without arrays, output and trace."""
        result = replace(self.result, stdout="", stderr="", artifacts={}, trace=None)
        return replace(self, result=result, data=JobData({}, {}, np.empty(0)), outputs=None)


@dataclass(frozen=True)
class Evidence:
    """Runs 0, 1 and 2 of one workspace. A later run is None where an earlier one already crashed.

    altered_labels: False where run 2 had to keep labels because the split reads them.
    """

    visible: Observed
    hidden: Observed | None = None
    altered: Observed | None = None
    altered_labels: bool = True

    @property
    def runs(self) -> tuple[Observed, ...]:
        return tuple(run for run in (self.visible, self.hidden, self.altered) if run is not None)


@lru_cache(maxsize=16)
def job_data(spec: JobSpec, seed: int) -> JobData:
    """The data of one seed; cached, not to be changed."""
    return spec.generate(seed)


class Observer:
    """Runs workspaces of one job on one device and reads what they leave behind.

    `run` is anything that takes a RunRequest and returns a RunResult (a pool's `run`).
    """

    def __init__(self, run: Any, spec: JobSpec, device: Device, limits: Limits | None = None) -> None:
        self._run = run
        self.spec = spec
        self.device: Device = device
        self.limits = limits or Limits()
        self.runs = 0

    @property
    def real_accelerator(self) -> bool:
        """Whether jobs run on a GPU that is there."""
        return self.device == "cuda" and os.environ.get("MLDEBUG_DEVICE") == "cuda"

    def observe(self, workspace: Workspace, data: JobData, probe: Probe = "") -> Observed:
        """One run of a workspace on given data."""
        given = data_files(data)
        request = RunRequest(
            {name: text.encode() for name, text in workspace} | given,
            workspace.entrypoint,
            device=self.device,
            collect=(METRICS, PREDICTIONS, *sorted(given)),
            limits=self.limits,
            probe=probe,
        )
        self.runs += 1
        result = self._run(request)
        outputs: Outputs | None = None
        problems: tuple[Problem, ...] = ()
        if result.outcome == "ok":
            outputs, problems = read_outputs(result, self.spec, data)
            problems += other_problems(result, given)
        metric = None
        if outputs is not None and np.isfinite(outputs.score).all():
            metric = self.spec.metric.compute(outputs.score, data.score_labels)
        final = read_final(result)
        kept = replace(result, artifacts={}, trace=well_formed(result.trace))
        return Observed(kept, data, outputs, problems, metric, final)

    def gather(self, workspace: Workspace, visible_seed: int, hidden_seed: int) -> Evidence:
        """Runs 0, 1 and 2. Stops after run 1 where there is nothing to alter."""
        visible = self.observe(workspace, job_data(self.spec, visible_seed))
        hidden = self.observe(workspace, job_data(self.spec, hidden_seed))
        if hidden.outputs is None:
            return Evidence(visible, hidden)
        altered, labels = self.observe_altered(workspace, hidden, hidden_seed)
        return Evidence(visible, hidden, altered, labels)

    def observe_altered(self, workspace: Workspace, hidden: Observed, seed: int) -> tuple[Observed, bool]:
        """Run 2, and whether its labels could be altered too."""
        assert hidden.outputs is not None
        altered = self._altered(workspace, hidden, seed, labels=True)
        if altered.outputs is None or same_ids(hidden.outputs, altered.outputs):
            return altered, True
        return self._altered(workspace, hidden, seed, labels=False), False

    def _altered(self, workspace: Workspace, hidden: Observed, seed: int, *, labels: bool) -> Observed:
        assert hidden.outputs is not None
        data = alter(
            self.spec, hidden.data, hidden.outputs.rows, hidden.outputs.output, seed=seed, labels=labels
        )
        seen = self.observe(workspace, data)
        if seen.outputs is None:
            return seen
        back = np.argsort(score_order(hidden.data, seed))
        outputs = Outputs(seen.outputs.rows, seen.outputs.output, seen.outputs.score[back])
        return Observed(seen.result, data, outputs, seen.problems, None, seen.final)


def same_ids(one: Outputs, other: Outputs) -> bool:
    return np.array_equal(np.sort(one.rows), np.sort(other.rows))
