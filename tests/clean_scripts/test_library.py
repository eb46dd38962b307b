"""What holds for every job of the library, whatever it learns."""

from __future__ import annotations

import ast
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from mldebug.clean_scripts.alternatives import Alternative, alternatives
from mldebug.clean_scripts.data import data_files
from mldebug.clean_scripts.library import job_names, load_job, sources
from mldebug.clean_scripts.spec import DISCRETE, JobData, JobSpec
from mldebug.errors import SpliceError, UsageError
from mldebug.grader.calibrate import measure
from mldebug.grader.runner import Pool
from mldebug.grader.runner.request import METRICS, PREDICTIONS, RunRequest, RunResult
from mldebug.seeds import Draw

SEED = 3
LEAST_SCORING_ROWS = 2000
LEAST_ALTERNATIVES = 8
FEWEST_LINES, MOST_LINES = 60, 250
EXACT_IN_FLOAT32 = 2**24

TELLTALES = re.compile(
    r"\b(mldebug|bugs?|buggy|inject\w*|mutant\w*|mutat\w*|fault\w*|broken)\b", re.IGNORECASE
)
"""Words that would tell a reader what the scripts are used for."""

each_job = pytest.mark.parametrize("name", job_names())


@cache
def data_of(name: str, seed: int = SEED) -> JobData:
    return load_job(name).generate(seed)


def request(name: str, data: JobData) -> RunRequest:
    code = {path: text.encode() for path, text in sources(name)}
    return RunRequest(code | data_files(data), load_job(name).entrypoint)


def predictions(result: RunResult) -> dict[str, np.ndarray]:
    assert result.outcome == "ok", result.stderr
    assert not result.problems
    with np.load(io.BytesIO(result.artifacts[PREDICTIONS]), allow_pickle=False) as arrays:
        return dict(arrays)


def metrics(result: RunResult) -> dict[str, Any]:
    return json.loads(result.artifacts[METRICS])


@pytest.fixture(scope="module")
def runs(pool: Pool) -> Mapping[str, RunResult]:
    """One run of every job."""
    return dict(
        zip(job_names(), pool.map([request(name, data_of(name)) for name in job_names()]), strict=True)
    )


def test_the_library_is_found_by_looking() -> None:
    assert "tabular_classifier" in job_names()
    assert list(job_names()) == sorted(set(job_names()))


def test_an_unknown_job_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="tabular_classifier"):
        load_job("tabular_clasifier")


# --- the spec


@each_job
def test_fields_are_what_the_data_holds(name: str) -> None:
    spec, data = load_job(name), data_of(name)
    names = [field.name for field in spec.fields]
    assert len(set(names)) == len(names)
    assert sorted(data.train) == sorted(names)
    assert sum(field.kind == "id" for field in spec.fields) == 1
    assert sum(field.kind.startswith("label") for field in spec.fields) == 1 and spec.features
    unscored = {field.name for field in spec.fields if field.kind == "target"}
    assert set(data.score) == set(names) - {spec.id_field, spec.label_field.name} - unscored
    assert set(spec.split_reads) <= set(names)


@each_job
def test_arrays_agree_on_rows_shapes_and_types(name: str) -> None:
    spec, data = load_job(name), data_of(name)
    assert len({len(array) for array in data.train.values()}) == 1
    (scoring_rows,) = {len(array) for array in data.score.values()}
    assert scoring_rows == len(data.score_labels) >= LEAST_SCORING_ROWS
    for field, array in data.score.items():
        assert array.shape[1:] == data.train[field].shape[1:]
        assert array.dtype == data.train[field].dtype
    ids, labels = data.train[spec.id_field], data.train[spec.label_field.name]
    assert ids.dtype == np.int64 and len(np.unique(ids)) == len(ids)
    assert labels.dtype == data.score_labels.dtype and labels.shape[1:] == data.score_labels.shape[1:]


@each_job
def test_labels_fit_the_output(name: str) -> None:
    spec, data = load_job(name), data_of(name)
    labels = data.train[spec.label_field.name]
    if spec.label_field.kind == "label_class":
        classes = spec.label_field.classes or spec.output_shape[-1]
        assert np.issubdtype(labels.dtype, np.integer)
        assert np.array_equal(np.unique(labels), np.arange(classes))
        assert np.array_equal(np.unique(data.score_labels), np.arange(classes))
        assert spec.label_field.classes or labels.shape[1:] == spec.output_shape[:-1]
    else:
        assert np.isfinite(labels).all()
        # one output each, or several numbers for one label, such as its quantiles
        assert labels.shape[1:] in (spec.output_shape, spec.output_shape[:-1])
    if spec.label_field.kind == "label_binary":
        assert np.array_equal(np.unique(labels), [0, 1]) and np.array_equal(
            np.unique(data.score_labels), [0, 1]
        )


@each_job
def test_codes_of_scoring_rows_are_known_from_training(name: str) -> None:
    spec, data = load_job(name), data_of(name)
    for field in spec.features:
        if field.kind in ("category", "tokens"):
            train, score = data.train[field.name], data.score[field.name]
            assert np.issubdtype(train.dtype, np.integer) and train.min() >= 0
            flat = [part.reshape(len(part), -1) for part in (train, score)]
            columns = zip(*(part.T if field.kind == "category" else [part] for part in flat), strict=True)
            assert all(np.isin(there, known).all() for known, there in columns)


@each_job
def test_continuous_fields_are_exact_multiples(name: str) -> None:
    spec, data = load_job(name), data_of(name)
    for field in spec.fields:
        if field.kind == "continuous":
            for part in (data.train, data.score):
                steps = part[field.name].astype(np.float64) * 2**field.decimals
                assert np.array_equal(steps, np.round(steps))
                assert np.abs(steps).max() < EXACT_IN_FLOAT32


@each_job
def test_metric_tells_perfect_from_empty(name: str) -> None:
    spec, data = load_job(name), data_of(name)
    truth = data.score_labels
    empty = np.zeros((len(truth), *spec.output_shape), dtype=np.float32)
    perfect = truth
    if spec.label_field.classes:
        perfect = np.random.default_rng(0).normal(size=(spec.label_field.classes, *spec.output_shape))[truth]
    elif spec.label_field.kind == "label_class":
        perfect = 50.0 * np.eye(spec.output_shape[-1])[truth]
    elif spec.label_field.kind == "label_binary":
        perfect = 100.0 * truth - 50.0
    assert spec.metric.compute(perfect.astype(np.float32), truth) > 0.999
    assert spec.metric.compute(empty, truth) < spec.band.floor - 3 * spec.band.margin


@each_job
def test_band_says_where_it_comes_from(name: str) -> None:
    band = load_job(name).band
    assert 0 < band.margin < band.floor < 1
    assert len(band.reason) > 60 and re.search(r"\d", band.reason)


# --- the data


@each_job
def test_data_is_a_function_of_the_seed(name: str) -> None:
    again = load_job(name).generate(SEED)
    assert data_files(again) == data_files(data_of(name))
    assert np.array_equal(again.score_labels, data_of(name).score_labels)
    other = data_files(data_of(name, SEED + 1))
    assert all(other[path] != content for path, content in data_files(again).items())


DIGESTS = """
import hashlib
from mldebug.clean_scripts.data import data_files, npz_bytes
from mldebug.clean_scripts.library import job_names, load_job
for name in job_names():
    data = load_job(name).generate(%d)
    parts = [*sorted(data_files(data).items()), ("labels", npz_bytes({"labels": data.score_labels}))]
    print(name, *(hashlib.sha256(content).hexdigest() for _, content in parts))
"""


def test_data_is_the_same_on_every_processor() -> None:
    """numpy picks its loops by processor; with the newer ones turned off the bytes stay."""
    from numpy._core import _multiarray_umath

    lines = []
    for features in ("", "X86_V4", " ".join(_multiarray_umath.__cpu_dispatch__)):
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DIGESTS % SEED],
            env=os.environ | {"NPY_DISABLE_CPU_FEATURES": features, "PYTHONHASHSEED": "random"},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        lines.append(run.stdout)
    assert lines[0].count("\n") == len(job_names())
    assert lines[1:] == lines[:1] * 2


# --- the sources


@each_job
def test_sources_read_like_a_script(name: str) -> None:
    spec, files = load_job(name), dict(sources(name))
    assert spec.entrypoint == "train.py" and set(files) == set(spec.files)
    total = sum(text.count("\n") for text in files.values())
    assert FEWEST_LINES <= total <= MOST_LINES
    for path, text in files.items():
        assert ast.get_docstring(ast.parse(text)), f"{path} does not say what it is"
        assert not TELLTALES.search(text)
        assert text.isascii() and text.endswith("\n") and "\t" not in text


@each_job
def test_sources_need_only_torch_numpy_and_the_standard_library(name: str) -> None:
    own = {path.removesuffix(".py") for path in load_job(name).files}
    allowed = own | {"torch", "numpy"} | set(sys.stdlib_module_names)
    for _, text in sources(name):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0 and (node.module or "").split(".")[0] in allowed


# --- the honest alternatives


@each_job
def test_alternatives_apply(name: str) -> None:
    spec, original = load_job(name), dict(sources(name))
    found = alternatives(name)
    assert len(found) >= LEAST_ALTERNATIVES
    assert len({one.name for one in found}) == len(found)
    texts = [one.applied(original) for one in found]
    for one, changed in zip(found, texts, strict=True):
        assert set(changed) == set(spec.files)
        for path, text in changed.items():
            compile(text, f"{one.name}/{path}", "exec")
    assert len({tuple(sorted(changed.items())) for changed in [original, *texts]}) == len(found) + 1


@pytest.mark.parametrize(
    ("file", "old"), [("train.py", "lr = 1"), ("train.py", "epochs"), ("model.py", "depth"), ("train.py", "")]
)
def test_an_alternative_that_does_not_fit_is_refused(file: str, old: str) -> None:
    with pytest.raises(SpliceError, match="expected once"):
        Alternative("x", ((file, old, "new"),)).applied(
            {"train.py": "epochs = 3\nfor e in range(epochs): pass\n"}
        )


def test_replacements_may_not_touch_each_other() -> None:
    twice = Alternative("x", (("train.py", "lr = 1", "lr = 2"), ("train.py", "lr = 1", "lr = 3")))
    with pytest.raises(SpliceError, match="expected once"):
        twice.applied({"train.py": "lr = 1\n"})


# --- the runs


@each_job
def test_artifacts_keep_the_contract(name: str, runs: Mapping[str, RunResult]) -> None:
    spec, data, result = load_job(name), data_of(name), runs[name]
    found = predictions(result)
    assert sorted(found) == ["output", "row", "score"]
    rows, ids = found["row"], data.train[spec.id_field]
    assert rows.dtype == np.int64 and len(np.unique(rows)) == len(rows)
    assert set(rows.tolist()) <= set(ids.tolist())
    assert spec.least_held_out * len(ids) <= len(rows) <= 0.5 * len(ids)
    assert found["output"].shape == (len(rows), *spec.output_shape)
    assert found["score"].shape == (len(data.score_labels), *spec.output_shape)
    for array in (found["output"], found["score"]):
        assert array.dtype == np.float32 and np.isfinite(array).all()


@each_job
def test_metrics_tell_people_how_it_went(name: str, runs: Mapping[str, RunResult]) -> None:
    written = metrics(runs[name])
    assert sorted(written) == ["final", "history"]
    history = written["history"]
    assert [entry["epoch"] for entry in history] == list(range(1, len(history) + 1))
    assert all(math.isfinite(entry["train_loss"]) for entry in history)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert "train_loss" in written["final"] and len(written["final"]) > 1
    assert len(runs[name].stdout.splitlines()) >= len(history)


@each_job
def test_metric_is_in_its_band(name: str, runs: Mapping[str, RunResult]) -> None:
    spec, data = load_job(name), data_of(name)
    assert spec.metric.compute(predictions(runs[name])["score"], data.score_labels) >= spec.band.floor


@pytest.mark.deep
def test_metric_is_in_its_band_on_fifty_data_seeds(
    pool: Pool, evidence: Callable[[str, dict[str, Any]], None]
) -> None:
    """On seeds that no band was measured on. A job that ends without scores is an error."""
    found, out = {}, []
    for name in job_names():
        spec, code = load_job(name), {path: text.encode() for path, text in sources(name)}
        seeds = [Draw("fifty", name, number).below(2**31, "data") for number in range(50)]
        data = [spec.generate(seed) for seed in seeds]
        results = pool.map([RunRequest(code | data_files(one), spec.entrypoint, trace=False) for one in data])
        values = [measure(spec, one, name, result) for one, result in zip(data, results, strict=True)]
        missed = [
            f"{seed}: {value:.3f}"
            for seed, value in zip(seeds, values, strict=True)
            if value < spec.band.floor
        ]
        out += [f"{name}, data seed {one}" for one in missed]
        found[name] = {
            "floor": spec.band.floor,
            "lowest": round(min(values), 3),
            "mean": round(fmean(values), 3),
        }
        print(name, found[name], missed, file=sys.stderr)
    evidence("clean_jobs", {"data_seeds": 50, "jobs": found, "out_of_band": out})
    assert out == []


@each_job
def test_a_second_run_is_bit_identical(name: str, runs: Mapping[str, RunResult], pool: Pool) -> None:
    first, again = runs[name], pool.run(request(name, data_of(name)))
    assert again.outcome == "ok", again.stderr
    assert again.stdout == first.stdout
    assert metrics(again) == metrics(first)
    assert again.artifacts[PREDICTIONS] == first.artifacts[PREDICTIONS]


# --- the relations: what may and may not follow from a change in held-out rows


def far_out(spec: JobSpec, data: JobData, held: np.ndarray, labels: bool) -> JobData:
    """The data with the features of some rows far from all others and, if asked for, wrong labels."""
    train = {name: array.copy() for name, array in data.train.items()}
    for field in spec.fields:
        values = train[field.name]
        if field.name in spec.split_reads:
            continue
        if field.kind in DISCRETE:
            values[held] = values[np.setdiff1d(np.arange(len(values)), held)[0]]
        elif field.kind == "continuous" and np.issubdtype(values.dtype, np.floating):
            spread = np.abs(values).max()
            values[held] = values[held][::-1] + 8 * spread
        elif field.kind == "continuous":
            values[held] = np.iinfo(values.dtype).max - values[held][::-1]
        elif field.kind == "label_class" and labels:
            values[held] = (values[held] + 1) % (field.classes or spec.output_shape[-1])
        elif field.kind == "label_binary" and labels:
            values[held] = 1 - values[held]
        elif field.kind == "target" and labels:
            values[held] = values[held][::-1]
        elif field.kind == "label_value" and labels:
            values[held] = values[held] + 8 * np.abs(values).max()
    return JobData(train, data.score, data.score_labels)


def positions(data: JobData, spec: JobSpec, rows: np.ndarray) -> np.ndarray:
    where = {int(row): index for index, row in enumerate(data.train[spec.id_field])}
    return np.array([where[int(row)] for row in rows])


@each_job
@pytest.mark.parametrize("labels", [False, True], ids=["features", "features and labels"])
def test_training_never_reads_held_out_rows(
    name: str, labels: bool, runs: Mapping[str, RunResult], pool: Pool
) -> None:
    spec, data = load_job(name), data_of(name)
    before = predictions(runs[name])
    altered = pool.run(request(name, far_out(spec, data, positions(data, spec, before["row"]), labels)))
    after = predictions(altered)
    assert np.array_equal(after["row"], before["row"])
    assert not np.array_equal(after["output"], before["output"])
    if "training_unchanged" in spec.relations:
        losses = [[entry["train_loss"] for entry in metrics(run)["history"]] for run in (runs[name], altered)]
        assert losses[0] == losses[1]
    if "scores_unchanged" in spec.relations:
        assert np.array_equal(after["score"], before["score"])


@each_job
def test_predictions_do_not_read_held_out_labels(
    name: str, runs: Mapping[str, RunResult], pool: Pool
) -> None:
    spec, data = load_job(name), data_of(name)
    if "labels_unread" not in spec.relations:
        pytest.skip("labels are legitimately read")
    before = predictions(runs[name])
    held = positions(data, spec, before["row"])
    train = dict(far_out(spec, data, held, labels=True).train)
    train |= {field.name: data.train[field.name] for field in spec.features}
    after = predictions(pool.run(request(name, JobData(train, data.score, data.score_labels))))
    assert all(np.array_equal(after[key], before[key]) for key in before)


@each_job
def test_predictions_follow_their_rows(name: str, runs: Mapping[str, RunResult], pool: Pool) -> None:
    """Held-out rows permuted among themselves: each output moves with its row, within rounding."""
    spec, data = load_job(name), data_of(name)
    if "rows_follow" not in spec.relations:
        pytest.skip("predictions read other rows")
    before = predictions(runs[name])
    held = positions(data, spec, before["row"])
    moved = np.roll(held, 1)
    train = {field: array.copy() for field, array in data.train.items()}
    for field in spec.features:
        if field.name not in spec.split_reads:
            train[field.name][held] = data.train[field.name][moved]
    after = predictions(pool.run(request(name, JobData(train, data.score, data.score_labels))))
    assert np.array_equal(after["row"], before["row"])
    tolerance = 1e-5 * np.abs(before["output"]).max()
    assert np.abs(after["output"] - np.roll(before["output"], 1, axis=0)).max() <= tolerance
