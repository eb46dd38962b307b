"""`machine_gru`: its artifacts, its metric on the scoring machines, and what its test machines can change."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mldebug.clean_scripts.data import npz_bytes
from mldebug.clean_scripts.library import sources
from mldebug.clean_scripts.machine_gru.spec import SENSORS, SPEC, STEPS, generate
from mldebug.grader.runner import Pool, RunRequest, RunResult

SEEDS = (0, 1, 2)

SHA256 = {
    0: (
        "0f8d768c97adc8c89aeca162aadd8a1a61bf2eb3b31fcc026a995f36247711f2",
        "03a94371489c937a7ce2c54c342e3fb9b6fba76ad4162feb23941634756f031b",
    ),
    41: (
        "4a12e22f78321761cf5b3639586f7d7e180c3cd93674caf6d1908c7f0b33bfce",
        "0153969c896c1e3012af38b0c9dd3a67dd2c2fc57f5688d5b26e56975a1d3b04",
    ),
}

FOREIGN = 0.2
"""What a job may reach at most, as r_squared, on machines of a data seed that it was not trained on."""

# Each must leave the band by its margin, or nothing in this job would show it.
BROKEN = {
    "loss of (batch, 1) against (batch,)": ("self.head(last).squeeze(-1)", "self.head(last)"),
    "no step": ("        optimizer.step()\n", ""),
    "gradients not zeroed": ("        optimizer.zero_grad(set_to_none=True)\n", ""),
    "learning rate x 100": ("learning_rate = 2e-2", "learning_rate = 2.0"),
    "learning rate / 1000": ("learning_rate = 2e-2", "learning_rate = 2e-5"),
    "inputs not scaled": ("torch.from_numpy((w - x_mean) / x_std)", "torch.from_numpy(w)"),
}


def workspace(train, score, change=None):
    text = dict(sources("machine_gru"))["train.py"]
    if change is not None:
        old, new = change
        assert text.count(old) == 1
        text = text.replace(old, new)
    return {
        "train.py": text.encode(),
        "data/train.npz": npz_bytes(train),
        "data/score.npz": npz_bytes(score),
    }


def run_all(pool: Pool, workspaces) -> list[RunResult]:
    results = pool.map([RunRequest(files, SPEC.entrypoint, trace=False) for files in workspaces])
    for result in results:
        assert result.outcome == "ok", result.stderr
    return list(results)


def predictions(result: RunResult):
    with np.load(io.BytesIO(result.artifacts["predictions.npz"]), allow_pickle=False) as arrays:
        return dict(arrays)


def history(result: RunResult):
    return json.loads(result.artifacts["metrics.json"])["history"]


def score_metric(result: RunResult, seed: int) -> float:
    return SPEC.metric.compute(predictions(result)["score"], generate(seed).score_labels)


@pytest.fixture(scope="module")
def data():
    return {seed: generate(seed) for seed in SEEDS}


@pytest.fixture(scope="module")
def clean(pool: Pool, data):
    results = run_all(pool, [workspace(one.train, one.score) for one in data.values()])
    return dict(zip(SEEDS, results, strict=True))


def test_data_has_the_shapes_of_the_spec(data):
    made = data[0]
    assert set(made.train) == {field.name for field in SPEC.fields}
    assert set(made.score) == {"window"}
    assert made.train["window"].shape[1:] == made.score["window"].shape[1:] == (STEPS, SENSORS)
    assert len(made.score["window"]) == len(made.score_labels) >= 2000


def test_artifacts(data, clean):
    train = data[0].train
    written = predictions(clean[0])
    tested = len(written["row"])
    assert tested >= SPEC.least_held_out * len(train["row"])
    assert written["row"].dtype == np.int64
    assert len(np.unique(written["row"])) == tested and np.isin(written["row"], train["row"]).all()
    assert written["output"].shape == (tested,) and written["score"].shape == data[0].score_labels.shape
    assert written["output"].dtype == written["score"].dtype == np.float32

    final = json.loads(clean[0].artifacts["metrics.json"])["final"]
    wear = dict(zip(train["row"], train["wear"], strict=True))
    truth = np.array([wear[row] for row in written["row"]])
    assert final["r_squared"] == pytest.approx(SPEC.metric.compute(written["output"], truth), abs=1e-4)
    assert final["val_loss"] == min(one["val_loss"] for one in history(clean[0]))


@pytest.mark.parametrize("seed", SEEDS)
def test_metric_in_band(clean, seed):
    assert SPEC.band.floor <= score_metric(clean[seed], seed) <= 0.92


def test_same_bytes_in_a_cold_interpreter_and_another_folder(data, clean, tmp_path: Path):
    for path, content in workspace(data[1].train, data[1].score).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=environment, check=True)
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as again:
        for name, values in predictions(clean[1]).items():
            np.testing.assert_array_equal(again[name], values, strict=True)
    assert (tmp_path / "metrics.json").read_bytes() == clean[1].artifacts["metrics.json"]


@pytest.mark.parametrize("seed", SHA256)
def test_pinned_data(seed):
    made = generate(seed)
    found = tuple(hashlib.sha256(npz_bytes(part)).hexdigest() for part in (made.train, made.score))
    assert found == SHA256[seed], "raise the version in GENERATOR when the bytes are meant to change"


def test_what_was_learned_on_one_seed_does_not_serve_another(pool: Pool, data):
    """Not even where the foreign readings and predictions are brought to the scales of their own seed.

    Seeds 0 and 2 are one of the rare pairs (1 in 192) whose sensors play the same parts, so they are not
    set against each other.
    """
    pairs = [(0, 1), (1, 0), (1, 2)]
    rescaled = []
    for one, other in pairs:
        home, away = data[one].train["window"], data[other].score["window"]
        standard = (away - away.mean(axis=(0, 1))) / away.std(axis=(0, 1))
        window = (standard * home.std(axis=(0, 1)) + home.mean(axis=(0, 1))).astype(np.float32)
        rescaled.append(workspace(data[one].train, {"window": window}))
    for (_, other), result in zip(pairs, run_all(pool, rescaled), strict=True):
        guess, truth = predictions(result)["score"], data[other].score_labels
        guess = (guess - guess.mean()) / guess.std() * truth.std() + truth.mean()
        assert SPEC.metric.compute(guess, truth) < FOREIGN


def test_test_machines_change_nothing_but_their_own_predictions(pool: Pool, data, clean):
    train = data[2].train
    before = predictions(clean[2])
    index = {row: place for place, row in enumerate(train["row"])}
    tested = np.array([index[row] for row in before["row"]])
    order = np.random.default_rng(0).permutation(len(tested))

    permuted = {name: values.copy() for name, values in train.items()}
    permuted["window"][tested] = train["window"][tested[order]]
    permuted["wear"][tested] = train["wear"][tested[order]]
    far_out = {name: values.copy() for name, values in train.items()}
    far_out["window"][tested] = 20 * train["window"][tested]
    far_out["wear"][tested] = -5 * train["wear"][tested]

    moved, strange = run_all(pool, [workspace(one, data[2].score) for one in (permuted, far_out)])
    for result in (moved, strange):
        after = predictions(result)
        assert history(result) == history(clean[2])
        np.testing.assert_array_equal(after["score"], before["score"], strict=True)
        np.testing.assert_array_equal(after["row"], before["row"], strict=True)
    scale = before["output"].std()
    np.testing.assert_allclose(
        predictions(moved)["output"], before["output"][order], rtol=0, atol=1e-5 * scale
    )
    assert np.abs(before["output"] - before["output"][order]).max() > scale


def test_a_broken_job_misses_the_band(pool: Pool, data):
    results = run_all(pool, [workspace(data[0].train, data[0].score, change) for change in BROKEN.values()])
    values = {fault: score_metric(result, 0) for fault, result in zip(BROKEN, results, strict=True)}
    still_in = {name: value for name, value in values.items() if value >= SPEC.band.floor - SPEC.band.margin}
    assert not still_in
