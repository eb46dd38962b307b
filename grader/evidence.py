"""What running a workspace left behind: runs 0 to 2, their artifacts read and checked."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..clean_scripts.data import data_files
from ..clean_scripts.spec import Array, JobData, JobSpec
from ..mutators.workspace import Workspace
from .alter import alter, score_order
from .runner.request import METRICS, PREDICTIONS, Device, Limits, RunRequest, RunResult

LARGEST_ARRAY_BYTES = 32 << 20
"""An artifact's array may hold this much: eight times the largest job of the library."""


@dataclass(frozen=True)
class Outputs:
    """`predictions.npz`, checked. rows (n,) int64; output (n, *shape); score (m, *shape); float64."""

    rows: Array
    output: Array
    score: Array


@dataclass(frozen=True)
class Observed:
    """One run and what was read from it.

    outputs: None where `predictions.npz` is missing or unusable.
    problems: why artifacts are unusable or break the contract, as sentences; empty when all is well.
    metric: the job's metric on the scoring rows, computed here from labels the run never held.
    final: the numbers under `final` in `metrics.json`; for people, they prove nothing.
    """

    result: RunResult
    data: JobData
    outputs: Outputs | None
    problems: tuple[str, ...]
    metric: float | None
    final: Mapping[str, float]

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

    def observe(self, workspace: Workspace, data: JobData) -> Observed:
        """One run of a workspace on given data."""
        files = {name: text.encode() for name, text in workspace}
        files.update(data_files(data))
        self.runs += 1
        result = self._run(RunRequest(files, workspace.entrypoint, device=self.device, limits=self.limits))
        outputs: Outputs | None = None
        problems: list[str] = []
        if result.outcome == "ok":
            outputs, problems = read_outputs(result, self.spec, data)
        metric = None
        if outputs is not None and np.isfinite(outputs.score).all():
            metric = self.spec.metric.compute(outputs.score, data.score_labels)
        return Observed(result, data, outputs, tuple(problems), metric, read_final(result))

    def gather(self, workspace: Workspace, visible_seed: int, hidden_seed: int) -> Evidence:
        """Runs 0, 1 and 2. Stops after run 1 where there is nothing to alter."""
        visible = self.observe(workspace, job_data(self.spec, visible_seed))
        hidden = self.observe(workspace, job_data(self.spec, hidden_seed))
        if hidden.outputs is None:
            return Evidence(visible, hidden)
        altered = self._altered(workspace, hidden, hidden_seed, labels=True)
        if altered.outputs is None or _same_ids(hidden.outputs, altered.outputs):
            return Evidence(visible, hidden, altered)
        altered = self._altered(workspace, hidden, hidden_seed, labels=False)
        return Evidence(visible, hidden, altered, altered_labels=False)

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


def _same_ids(one: Outputs, other: Outputs) -> bool:
    return np.array_equal(np.sort(one.rows), np.sort(other.rows))


def read_outputs(result: RunResult, spec: JobSpec, data: JobData) -> tuple[Outputs | None, list[str]]:
    """The predictions of a run and what is wrong with them.

    Usable but wrong (a trailing axis of one too many, a non-finite number) is returned together with the
    sentence that says so; unusable is None.
    """
    if PREDICTIONS in result.problems or PREDICTIONS not in result.artifacts:
        return None, [f"{PREDICTIONS}: {result.problems.get(PREDICTIONS, 'missing')}"]
    arrays, problem = _read_npz(result.artifacts[PREDICTIONS], ("row", "output", "score"))
    if problem:
        return None, [f"{PREDICTIONS}: {problem}"]
    rows, problems = arrays["row"], []
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        return None, [f"{PREDICTIONS}: `row` must hold one integer id per held-out row"]
    known = data.train[spec.id_field]
    if len(np.unique(rows)) != len(rows) or not np.isin(rows, known).all():
        return None, [f"{PREDICTIONS}: `row` holds ids twice or ids that are not in the data"]
    if len(rows) < spec.least_held_out * len(known):
        problems.append(f"only {len(rows)} of {len(known)} rows were held out")
    shaped: dict[str, Array] = {}
    for name, count in (("output", len(rows)), ("score", len(data.score_labels))):
        array, want = arrays[name], (count, *spec.output_shape)
        if array.dtype.kind not in "fiu":
            return None, [f"{PREDICTIONS}: `{name}` must be numbers, not {array.dtype}"]
        if array.shape != want:
            problems.append(f"`{name}` has shape {array.shape}, expected {want}")
            if array.size != np.prod(want, dtype=int):
                return None, [f"{PREDICTIONS}: {problems[-1]}"]
        shaped[name] = array.astype(np.float64).reshape(want)
        if not np.isfinite(shaped[name]).all():
            problems.append(f"`{name}` holds numbers that are not finite")
    return Outputs(rows.astype(np.int64), shaped["output"], shaped["score"]), problems


def _read_npz(content: bytes, names: tuple[str, ...]) -> tuple[dict[str, Array], str | None]:
    """Arrays of an `.npz` without pickle, with every size checked before it is read."""
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in names:
                try:
                    entry = archive.getinfo(f"{name}.npy")
                except KeyError:
                    return {}, f"holds no array `{name}`"
                if entry.file_size > LARGEST_ARRAY_BYTES:
                    return {}, f"`{name}` is larger than {LARGEST_ARRAY_BYTES} bytes"
                with archive.open(entry) as stream:
                    raw = stream.read(LARGEST_ARRAY_BYTES + 1)
                arrays[name] = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except Exception as error:  # hostile bytes: whatever a parser makes of them is a verdict, not a crash
        return {}, f"not a readable .npz ({type(error).__name__})"
    return arrays, None


def read_final(result: RunResult) -> dict[str, float]:
    """The numbers that `metrics.json` reports at the end; empty where there are none."""
    try:
        content = json.loads(result.artifacts.get(METRICS, b"{}"))
        final = content["final"]
        return {str(name): float(value) for name, value in final.items() if isinstance(value, int | float)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}
