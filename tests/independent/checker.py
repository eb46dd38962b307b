"""A second opinion on mutants and references, by hooks, alterations and thresholds of its own.

Shares nothing with the oracles that admitted them. One judgement is up to three runs on one data seed:

- as it stands: crash, gradients, modes, devices, loss shapes, metric on the scoring rows;
- *moved*: the rows that the first run declared held out get other features (−3 × another such row, half of
  them 20 deviations further) and other labels; nothing that training computes may change;
- *turned*: the same rows keep their features and get other labels, the scoring rows come in another order;
  predictions of held-out rows may not change, and scores must follow their rows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mldebug.clean_scripts.data import data_files
from mldebug.clean_scripts.library import load_job
from mldebug.clean_scripts.spec import JobData, JobSpec

DEVICE_WORDS = re.compile(r"\bdevices?\b|torch\.cuda\.|\bcuda:\d|\bon cpu\b|non-CPU|\bCUDA tensor", re.I)
SHAPE_WORDS = re.compile(
    r"\b(shapes?|sizes?|size of|input_size|batch_size|dimensions?|dims?|channels?|elements?|numel|broadcast"
    r"|mat1|mat2|squeeze|reshape|view|scalar outputs?|expanded?|axis|axes)\b|\d-?D\b|out of bounds for",
    re.I,
)
SHAPE_ERRORS = frozenset({"RuntimeError", "ValueError", "IndexError", "TypeError"})
"""What torch and numpy raise about shapes. A message about devices is never read as one about shapes."""

FAR = 20.0
"""Deviations by which half of the held-out rows are moved: a fifth of the rows at a thousandth of it would
already show in any mean, this shows in maxima, medians and counts as well."""

FOLLOWS = 1e-4
"""Largest change, as a share of the scores' spread, of a row's score when the order of rows changes. Another
batch rounds to about 3e-7; dropout and batch statistics change scores by more than a hundredth."""

CLASSES = (
    "shape_mismatch",
    "wrong_device",
    "gradient_not_zeroed",
    "data_leakage",
    "missing_eval_mode",
    "training_collapse",
)


@dataclass(frozen=True)
class Judgement:
    """What the checker saw.

    broken: the workspace fails the way at least one class in `bugs` fails.
    healthy: it ran, no sign of any class was seen, and the metric is in the band.
    per_bug: for each class in `bugs`, the sign in a sentence, or None.
    notes: metric, signs of other classes, and what prevented a check.
    """

    broken: bool
    healthy: bool
    per_bug: dict[str, str | None]
    notes: str


@dataclass(frozen=True)
class Run:
    """One execution: the worker's report, and the arrays of predictions.npz where there are any."""

    report: Mapping[str, Any]
    predictions: Mapping[str, np.ndarray[Any, Any]] | None

    @property
    def finished(self) -> bool:
        return self.report["ended"] == "finished" and self.report["error"] is None

    @property
    def crash(self) -> tuple[str, str] | None:
        error = self.report.get("error")
        return None if error is None else (error["type"], error["text"])

    def training(self) -> tuple[Any, ...]:
        return tuple(self.report[key] for key in ("losses", "final", "backwards", "steps"))


class Checker:
    """Owns one worker process. Use as a context manager; not for several threads."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="mldebug-second-opinion-"))
        self._worker: subprocess.Popen[str] | None = None
        self._data: tuple[tuple[str, int], JobData] | None = None
        self._real = os.environ.get("MLDEBUG_DEVICE") == "cuda"

    def __enter__(self) -> Checker:
        environment = dict(os.environ) | {
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        if not self._real:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        self._worker = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._root,
            env=environment,
        )
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and worker.stdin is not None and worker.stdout is not None:
            worker.stdin.close()
            try:
                worker.wait(timeout=5)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            worker.stdout.close()
        shutil.rmtree(self._root, ignore_errors=True)

    def judge(
        self,
        files: dict[str, str],
        reference: dict[str, str],
        entrypoint: str,
        script: str,
        device: str,
        bugs: tuple[str, ...],
        data_seed: int,
    ) -> Judgement:
        """Judge the workspace `files` (path → text), a job of `script`, on the data of one seed.

        device: `cpu`, or `cuda` (simulated unless MLDEBUG_DEVICE=cuda). reference: only run, on the
        accelerator, when work was seen off it.

        Raises:
            ValueError: an unknown class in `bugs`.
            RuntimeError: the worker process is gone.
        """
        unknown = set(bugs) - set(CLASSES)
        if unknown:
            raise ValueError(f"unknown bug classes: {sorted(unknown)}")
        spec = load_job(script)
        data = self._job_data(spec, data_seed)
        run = self._run(files, entrypoint, data, device)
        signs: dict[str, str | None] = dict.fromkeys(CLASSES)
        notes: list[str] = []

        if run.report["ended"] != "finished":
            notes.append(run.report["ended"])
        else:
            signs["gradient_not_zeroed"] = _gradients(run)
            signs["missing_eval_mode"] = _modes(run)
            if run.crash is not None:
                _crash(run.crash, signs, notes)
            if device == "cuda":
                away = self._off_accelerator(run, files, reference, entrypoint, data)
                signs["wrong_device"] = signs["wrong_device"] or away
        metric = None
        if run.finished:
            problem = _artifacts(run, spec, data)
            if problem is not None:
                notes.append(problem)
            else:
                metric = _metric(run, spec, data)
                notes.append(f"{spec.metric.name} {metric:.4f}, floor {spec.band.floor}")
                self._alterations(run, files, entrypoint, spec, data, device, signs, notes)
        low = metric is not None and not metric >= spec.band.floor
        if low and run.report["shapes"]:
            signs["shape_mismatch"] = f"shapes differ in {run.report['shapes'][0]}; metric {metric:.3f}"
        others = [name for name, sign in signs.items() if sign is not None and name not in bugs]
        if low and not others:
            signs["training_collapse"] = (
                f"{spec.metric.name} is {metric:.3f}, below the floor of {spec.band.floor}"
            )
        notes += [f"also {name}: {signs[name]}" for name in others]

        per_bug = {name: signs[name] for name in bugs}
        return Judgement(
            broken=any(per_bug.values()),
            healthy=metric is not None
            and not low
            and not any(signs.values())
            and "not repeatable" not in notes,
            per_bug=per_bug,
            notes="; ".join(notes),
        )

    # -- checks that need further runs -----------------------------------------------------------------------

    def _off_accelerator(
        self, run: Run, files: dict[str, str], reference: dict[str, str], entrypoint: str, data: JobData
    ) -> str | None:
        kinds = [kind for kind in ("steps", "evaluations") if run.report[kind]["off"]]
        if not kinds:
            return None
        if files != reference:
            right = self._run(reference, entrypoint, data, "cuda")
            allowed = {kind: right.report.get(kind, {"off": 0})["off"] for kind in kinds}
        else:
            allowed = dict.fromkeys(kinds, 0)
        found = [
            f"{run.report[kind]['off']} {kind} off the accelerator (reference: {allowed[kind]})"
            for kind in kinds
            if run.report[kind]["off"] > allowed[kind]
        ]
        return " and ".join(found) or None

    def _alterations(
        self,
        run: Run,
        files: dict[str, str],
        entrypoint: str,
        spec: JobSpec,
        data: JobData,
        device: str,
        signs: dict[str, str | None],
        notes: list[str],
    ) -> None:
        assert run.predictions is not None
        held_out = run.predictions["row"]
        moved = self._run(files, entrypoint, _moved(spec, data, held_out), device)
        leak = _leak(run, moved, scores=signs["missing_eval_mode"] is None)
        order = np.random.default_rng(20).permutation(len(data.score_labels))
        turned = self._run(files, entrypoint, _turned(spec, data, held_out, order), device)
        same_model = leak is None
        if turned.finished and turned.predictions is not None and turned.training() == run.training():
            same_model = np.array_equal(
                turned.predictions["output"], run.predictions["output"], equal_nan=True
            )
            if not same_model:
                leak = leak or "predictions of held-out rows changed with held-out labels alone"
            elif (strayed := _strayed(run, turned, order)) is not None:
                signs["missing_eval_mode"] = signs["missing_eval_mode"] or strayed
        else:
            leak = leak or "training changed with the labels of held-out rows"
        if leak is not None:
            again = self._run(files, entrypoint, data, device)
            if again.report["ended"] != "finished" or again.training() != run.training():
                notes.append("not repeatable")
                leak = None
        signs["data_leakage"] = leak

    # -- the worker ------------------------------------------------------------------------------------------

    def _run(self, files: Mapping[str, str], entrypoint: str, data: JobData, device: str) -> Run:
        with tempfile.TemporaryDirectory(dir=self._root) as name:
            workspace, report = Path(name, "workspace"), Path(name, "report")
            report.mkdir()
            contents = {path: text.encode() for path, text in files.items()} | data_files(data)
            for path, content in contents.items():
                target = workspace / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            answer = self._ask(
                {
                    "workspace": str(workspace),
                    "report": str(report),
                    "entrypoint": entrypoint,
                    "device": device,
                    "real": self._real and device == "cuda",
                }
            )
            return Run(answer, _predictions(workspace / "predictions.npz"))

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._worker is None or self._worker.stdin is None:
            raise RuntimeError("the checker is closed; use it inside its with block")
        self._worker.stdin.write(json.dumps(request) + "\n")
        self._worker.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._worker is not None and self._worker.stdout is not None
        line = self._worker.stdout.readline()
        if not line:
            raise RuntimeError("the checker's worker process ended; its last words are on stderr")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _job_data(self, spec: JobSpec, seed: int) -> JobData:
        if self._data is None or self._data[0] != (spec.name, seed):
            self._data = ((spec.name, seed), spec.generate(seed))
        return self._data[1]


def _predictions(path: Path) -> Mapping[str, np.ndarray[Any, Any]] | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError):
        return None
    return found if {"row", "output", "score"} <= set(found) else None


def _artifacts(run: Run, spec: JobSpec, data: JobData) -> str | None:
    """What is wrong with predictions.npz, if anything."""
    if run.predictions is None:
        return "predictions.npz is missing or unreadable"
    row, output, score = (run.predictions[name] for name in ("row", "output", "score"))
    known = np.isin(row, data.train[spec.id_field])
    if not len(row) or not known.all() or len(np.unique(row)) != len(row):
        return "held-out ids are unknown, repeated or missing"
    if len(row) < spec.least_held_out * len(data.train[spec.id_field]) * 0.99:
        return f"only {len(row)} rows are held out"
    wanted = (len(data.score_labels), *spec.output_shape)
    if np.size(score) != np.prod(wanted) or len(output) != len(row):
        return f"scores have shape {np.shape(score)}, expected {wanted}"
    return None


def _metric(run: Run, spec: JobSpec, data: JobData) -> float:
    assert run.predictions is not None
    shape = (len(data.score_labels), *spec.output_shape)
    with np.errstate(all="ignore"):
        return spec.metric.compute(run.predictions["score"].reshape(shape), data.score_labels)


def _crash(crash: tuple[str, str], signs: dict[str, str | None], notes: list[str]) -> None:
    kind, text = crash
    sentence = f"{kind}: {text.strip().splitlines()[0][:240] if text.strip() else ''}"
    if kind in SHAPE_ERRORS and DEVICE_WORDS.search(text):
        signs["wrong_device"] = sentence
    elif kind in SHAPE_ERRORS and SHAPE_WORDS.search(text):
        signs["shape_mismatch"] = sentence
    else:
        notes.append(f"crashed with {sentence}")


def _gradients(run: Run) -> str | None:
    stale, lost, steps = run.report["stale"], run.report["thrown_away"], sum(run.report["steps"].values())
    if stale:
        return f"{stale} of {steps} steps used more than the gradients since the last step"
    return f"gradients were thrown away before {lost} of {steps} steps" if lost else None


def _modes(run: Run) -> str | None:
    seen = run.report["training_mode"]
    if not seen or not run.report["backwards"]:
        return None
    return "no gradient followed, but in training mode: " + ", ".join(
        f"{name} ({count} calls)" for name, count in sorted(seen.items())
    )


def _leak(run: Run, moved: Run, scores: bool) -> str | None:
    """How the run whose held-out rows were moved differs where it may not.

    scores: compare the scores of the scoring rows too (not where batch statistics of the held-out rows reach
    them for want of evaluation mode).
    """
    assert run.predictions is not None
    if not moved.finished or moved.predictions is None:
        return f"with other held-out rows the job ends otherwise: {moved.report.get('error')}"
    if not np.array_equal(np.sort(moved.predictions["row"]), np.sort(run.predictions["row"])):
        return "other rows are held out when the held-out rows change"
    if moved.report["losses"] != run.report["losses"]:
        return "training losses changed with the held-out rows"
    if moved.training() != run.training():
        return "final parameters changed with the held-out rows"
    if scores and not np.array_equal(moved.predictions["score"], run.predictions["score"], equal_nan=True):
        return "scores of the scoring rows changed with the held-out rows, training did not"
    return None


def _strayed(run: Run, turned: Run, order: np.ndarray[Any, Any]) -> str | None:
    assert run.predictions is not None and turned.predictions is not None
    before, after = run.predictions["score"][order].astype(np.float64), turned.predictions["score"]
    spread = float(np.nanstd(before))
    if before.shape != after.shape or not np.isfinite(before).all() or not np.isfinite(after).all():
        return None
    change = float(np.abs(before - after).max())
    if change <= FOLLOWS * max(spread, 1e-12) + 1e-6 * float(np.abs(before).max()):
        return None
    return f"scores changed by up to {change:.3g} when the scoring rows came in another order"


def _positions(spec: JobSpec, data: JobData, held_out: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.flatnonzero(np.isin(data.train[spec.id_field], held_out))


def _other_labels(spec: JobSpec, labels: np.ndarray[Any, Any], at: np.ndarray[Any, Any], far: bool) -> Any:
    """New labels for the rows `at`: the next class, or values turned about their mean (and moved far)."""
    changed = labels.copy()
    if spec.label_field.kind == "label_binary":
        changed[at] = 1 - labels[at]
        return changed
    if spec.label_field.kind == "label_class":
        classes = np.unique(labels)
        changed[at] = classes[(np.searchsorted(classes, labels[at]) + 1) % len(classes)]
        return changed
    own = labels[at].astype(np.float64)
    turned = own.mean() - (3.0 if far else 1.0) * (own - own.mean())
    changed[at] = turned + (FAR * own.std() if far else 0.0)
    return changed


def _moved(spec: JobSpec, data: JobData, held_out: np.ndarray[Any, Any]) -> JobData:
    at = _positions(spec, data, held_out)
    train = dict(data.train)
    for field in spec.fields:
        if field.kind in ("id", "fixed") or field.name in spec.split_reads:
            continue
        column = train[field.name]
        if field.kind in ("category", "tokens", "pattern"):
            changed = column.copy()  # every row gets what another one, outside, holds: all the same one
            outside = np.setdiff1d(np.arange(len(column)), at)
            changed[at] = column[outside[len(outside) // 2]]
            train[field.name] = changed
            continue
        if field.kind == "target":
            train[field.name] = column.copy()
            train[field.name][at] = column[np.roll(at, 1)]
            continue
        if field.kind != "continuous":
            train[field.name] = _other_labels(spec, column, at, far=True)
            continue
        own = column[at].astype(np.float64)
        centre, spread = own.mean(axis=0), own.std(axis=0)
        far = -3.0 * (np.roll(own, 1, axis=0) - centre) + centre
        far[::2] += FAR * spread
        changed = column.copy()
        changed[at] = far
        train[field.name] = changed
    return replace(data, train=train)


def _turned(spec: JobSpec, data: JobData, held_out: np.ndarray[Any, Any], order: Any) -> JobData:
    at, label = _positions(spec, data, held_out), spec.label_field.name
    train = dict(data.train)
    if label not in spec.split_reads:
        train[label] = _other_labels(spec, train[label], at, far=False)
    score = {name: column[order] for name, column in data.score.items()}
    return replace(data, train=train, score=score, score_labels=data.score_labels[order])
