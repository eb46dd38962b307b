"""What a run wrote, read as if an enemy had written it: predictions, metrics, data."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..clean_scripts.spec import Array, JobData, JobSpec
from .runner.request import METRICS, PREDICTIONS, RunResult

LARGEST_ARRAY_BYTES = 32 << 20
"""An artifact's array may hold this much: eight times the largest job of the library."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with what a run left behind. code: a short name for programs. text: for people."""

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Outputs:
    """`predictions.npz`, checked. rows (n,) int64; output (n, *shape); score (m, *shape); float64."""

    rows: Array
    output: Array
    score: Array

    def same_as(self, other: Outputs | None) -> bool:
        """Whether every bit is equal."""
        return other is not None and all(
            ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()
            for ours, theirs in (
                (self.rows, other.rows),
                (self.output, other.output),
                (self.score, other.score),
            )
        )


class _Unusable(Exception):
    """Why predictions cannot be used at all."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(code, f"{PREDICTIONS}: {text}")


def read_outputs(
    result: RunResult, spec: JobSpec, data: JobData
) -> tuple[Outputs | None, tuple[Problem, ...]]:
    """The predictions of a run and what is wrong with them.

    Usable but wrong (a number that is not finite, too few held-out rows) is returned together with the
    problem; unusable is None.
    """
    try:
        return _read_outputs(result, spec, data)
    except _Unusable as unusable:
        return None, (unusable.problem,)


def _read_outputs(result: RunResult, spec: JobSpec, data: JobData) -> tuple[Outputs, tuple[Problem, ...]]:
    if PREDICTIONS in result.problems or PREDICTIONS not in result.artifacts:
        why = result.problems.get(PREDICTIONS, "missing")
        code = "predictions missing" if why == "missing" else "predictions refused"
        raise _Unusable(code, why)
    arrays = _read_npz(result.artifacts[PREDICTIONS], ("row", "output", "score"))
    problems: list[Problem] = []
    rows = _ids(arrays["row"])
    known = data.train[spec.id_field]
    if len(np.unique(rows)) != len(rows):
        raise _Unusable("duplicate ids", "`row` holds the same id more than once")
    if not np.isin(rows, known).all():
        raise _Unusable("foreign ids", "`row` holds ids that are not in the training data")
    if len(rows) < spec.least_held_out * len(known):
        problems.append(
            Problem(
                "few held-out rows",
                f"only {len(rows)} of {len(known)} rows were held out; "
                f"hold out a share of at least {spec.least_held_out:g}",
            )
        )
    shaped: dict[str, Array] = {}
    for name, count in (("output", len(rows)), ("score", len(data.score_labels))):
        array, want = arrays[name], (count, *spec.output_shape)
        if array.dtype.kind not in "fiu":
            raise _Unusable("wrong dtype", f"`{name}` must be numbers, not {array.dtype}")
        if not _fits(array.shape, want):
            raise _Unusable("wrong shape", f"`{name}` has shape {array.shape}, expected {want}")
        with np.errstate(all="ignore"):
            shaped[name] = array.astype(np.float64).reshape(want)
        if not np.isfinite(shaped[name]).all():
            problems.append(Problem("not finite", f"`{name}` holds numbers that are not finite"))
    return Outputs(rows, shaped["output"], shaped["score"]), tuple(problems)


def _fits(shape: tuple[int, ...], want: tuple[int, ...]) -> bool:
    """The same shape, but for axes of length one behind the first: (n, 1) is as good as (n,)."""
    return shape[:1] == want[:1] and [n for n in shape[1:] if n != 1] == [n for n in want[1:] if n != 1]


def _ids(rows: Array) -> Array:
    whole = rows.dtype.kind in "iu" or (rows.dtype.kind == "f" and bool((rows == np.floor(rows)).all()))
    if rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    if rows.ndim != 1 or not whole or (np.abs(rows.astype(np.float64)) > 2**53).any():
        raise _Unusable("bad ids", "`row` must hold one integer id per held-out row")
    ids: Array = rows.astype(np.int64)
    return ids


def _read_npz(content: bytes, names: tuple[str, ...]) -> dict[str, Array]:
    """Arrays of an `.npz` without pickle, with every size checked before it is read."""
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in names:
                try:
                    entry = archive.getinfo(f"{name}.npy")
                except KeyError:
                    raise _Unusable("array missing", f"holds no array `{name}`") from None
                if entry.file_size > LARGEST_ARRAY_BYTES:
                    raise _Unusable("too large", f"`{name}` is larger than {LARGEST_ARRAY_BYTES} bytes")
                with archive.open(entry) as stream:
                    raw = stream.read(LARGEST_ARRAY_BYTES + 1)
                arrays[name] = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except _Unusable:
        raise
    except Exception as error:  # hostile bytes: whatever a parser makes of them is a verdict, not a crash
        raise _Unusable("unreadable", f"not a readable .npz ({type(error).__name__})") from None
    return arrays


def read_final(result: RunResult) -> dict[str, float]:
    """The numbers that `metrics.json` reports at the end; empty where there are none."""
    try:
        content = json.loads(result.artifacts.get(METRICS, b"{}"))
        final = content["final"]
        return {str(name): float(value) for name, value in final.items() if isinstance(value, int | float)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}


def other_problems(result: RunResult, data: Mapping[str, bytes]) -> tuple[Problem, ...]:
    """What is wrong with `metrics.json` and with the data files that the run was given and left behind."""
    found: list[Problem] = []
    if METRICS not in result.artifacts:
        found.append(Problem("metrics missing", f"{METRICS}: {result.problems.get(METRICS, 'missing')}"))
    elif not _is_json(result.artifacts[METRICS]):
        found.append(Problem("metrics unreadable", f"{METRICS}: not valid JSON"))
    for name, content in sorted(data.items()):
        if result.artifacts.get(name) != content:
            found.append(
                Problem("data changed", f"the job changed or removed {name}, which it may only read")
            )
    return tuple(found)


def _is_json(content: bytes) -> bool:
    try:
        value: Any = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict | list)
