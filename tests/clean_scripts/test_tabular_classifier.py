"""The tabular classifier: its data, its metric, its band, and what its training may read."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mldebug.clean_scripts.alternatives import Alternative
from mldebug.clean_scripts.data import data_files
from mldebug.clean_scripts.library import load_job, sources
from mldebug.clean_scripts.spec import Array, JobData, accuracy
from mldebug.grader.runner import Pool
from mldebug.grader.runner.request import PREDICTIONS, RunRequest, RunResult

NAME = "tabular_classifier"
SPEC = load_job(NAME)

GOLDEN = {
    0: (
        "1b98ff9382f6e3dbd9c90fe1cd5ad5f8c750c8c5c97eaadc40e4efed883b588f",
        "3c24f011b55dc593c1e348588ddb4cd08e9be24ec463678101de8ab2854e56df",
    ),
    7: (
        "308946bd3f08ebfd8c2e1eee501577f728dc576cedb222b787d1f047506b8749",
        "b1b088a299f3a3b0ddeb9942daa4d0519f68f5db890bce36ac4bfbf6c39af73b",
    ),
}
"""SHA-256 of data/train.npz and data/score.npz. A change of these needs a new generator name."""


def request(data: JobData, change: tuple[tuple[str, str], ...] = ()) -> RunRequest:
    texts = Alternative("test", tuple(("train.py", old, new) for old, new in change)).applied(
        dict(sources(NAME))
    )
    code = {path: text.encode() for path, text in texts.items()}
    return RunRequest(code | data_files(data), SPEC.entrypoint)


def predictions(result: RunResult) -> dict[str, Array]:
    assert result.outcome == "ok", result.stderr
    with np.load(io.BytesIO(result.artifacts[PREDICTIONS]), allow_pickle=False) as arrays:
        return dict(arrays)


def value(result: RunResult, data: JobData) -> float:
    return SPEC.metric.compute(predictions(result)["score"], data.score_labels)


# --- the data


@pytest.mark.parametrize("seed", GOLDEN)
def test_data_bytes_are_pinned(seed: int) -> None:
    files = data_files(SPEC.generate(seed))
    digests = tuple(hashlib.sha256(files[f"data/{part}.npz"]).hexdigest() for part in ("train", "score"))
    assert digests == GOLDEN[seed]


@pytest.mark.parametrize("seed", range(5))
def test_rows_come_in_no_order(seed: int) -> None:
    data = SPEC.generate(seed)
    labels = data.train["label"]
    shares = np.bincount(labels, minlength=4) / len(labels)
    assert abs(shares - 0.25).max() < 0.06
    halves = [np.bincount(half, minlength=4) / len(half) for half in np.array_split(labels, 2)]
    assert abs(halves[0] - halves[1]).max() < 0.12
    assert (np.diff(data.train["row"]) < 0).mean() > 0.4
    assert (np.diff(labels) == 0).mean() < 0.35


def test_columns_differ_in_scale_by_more_than_an_order_of_magnitude() -> None:
    spreads = [SPEC.generate(seed).train["features"].std(axis=0) for seed in range(20)]
    ratios = sorted(spread.max() / spread.min() for spread in spreads)
    assert ratios[1] > 10, "almost every seed spans an order of magnitude"
    assert ratios[-1] < 200


@pytest.mark.parametrize("seed", range(3))
def test_no_linear_model_says_anything(seed: int) -> None:
    """Least squares on standardised columns stays at chance (0.25), far below the job's accuracy (0.86)."""
    data = SPEC.generate(seed)
    mean, std = data.train["features"].mean(axis=0), data.train["features"].std(axis=0)
    weights, *_ = np.linalg.lstsq(
        (data.train["features"] - mean) / std, np.eye(4)[data.train["label"]], rcond=None
    )
    assert accuracy(((data.score["features"] - mean) / std) @ weights, data.score_labels) < 0.35


# --- the metric


def test_brier_skill_by_hand() -> None:
    labels = np.array([0, 1])
    assert SPEC.metric.compute(np.zeros((2, 4)), labels) == pytest.approx(0.0)
    # Probabilities 0.7, 0.1, 0.1, 0.1 for the right class: squared error 0.09 + 3 × 0.01 = 0.12 of 0.75.
    output = np.log(np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]]))
    assert SPEC.metric.compute(output, labels) == pytest.approx(1 - 0.12 / 0.75)
    assert SPEC.metric.compute(output + 1000.0, labels) == pytest.approx(1 - 0.12 / 0.75)
    assert SPEC.metric.compute(-100 * np.eye(4)[labels], labels) < 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_brier_skill_of_useless_logits_is_that_of_guessing(bad: float) -> None:
    output = 50.0 * np.eye(4)
    output[2, 1] = bad
    assert SPEC.metric.compute(output, np.arange(4)) == 0.0


# --- the job


@pytest.mark.parametrize("seed", [0, 11, 2**31])
def test_metric_is_in_its_band(seed: int, pool: Pool) -> None:
    data = SPEC.generate(seed)
    result = pool.run(request(data))
    assert value(result, data) >= SPEC.band.floor
    assert 0.80 < accuracy(predictions(result)["score"], data.score_labels) < 0.92


MISTAKES = {
    "softmax before the cross entropy": (
        ("return self.head(x)", "return torch.softmax(self.head(x), dim=1)"),
    ),
    "learning rate x 100": (("rate: float = 5e-3", "rate: float = 5e-1"),),
    "learning rate / 1000": (("rate: float = 5e-3", "rate: float = 5e-6"),),
    "labels the other way round": (
        ("criterion(logits, labels)\n        loss", "criterion(logits, 3 - labels)\n        loss"),
    ),
    "gradients summed over all steps": (("        optimizer.zero_grad()\n", ""),),
    "one epoch": (("epochs: int = 12", "epochs: int = 1"),),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_training_needs_its_parts(mistake: str, pool: Pool) -> None:
    """What would ruin any training misses the band with room to spare, so the job tells right from wrong."""
    data = SPEC.generate(1)
    assert value(pool.run(request(data, MISTAKES[mistake])), data) < SPEC.band.floor - 3 * SPEC.band.margin


def test_the_concept_is_another_for_every_seed(pool: Pool) -> None:
    """A model of seed 5 is at chance on seed 6, even with columns brought to the scales of seed 5."""
    old, new = SPEC.generate(5), SPEC.generate(6)
    source, target = new.train["features"], old.train["features"]
    standard = (new.score["features"] - source.mean(axis=0)) / source.std(axis=0)
    moved = (standard * target.std(axis=0) + target.mean(axis=0)).astype(np.float32)
    mixed = JobData(old.train, {"features": moved}, new.score_labels)
    found = predictions(pool.run(request(mixed)))
    assert accuracy(found["score"], new.score_labels) < 0.35
    assert SPEC.metric.compute(found["score"], new.score_labels) < 0.05


def test_python_train_py_anywhere_gives_the_same_bytes(tmp_path: Path, pool: Pool) -> None:
    """A cold interpreter in a folder of another name and depth, started as people start it."""
    wanted = request(SPEC.generate(2))
    home = tmp_path / "some where" / "deeper"
    for path, content in wanted.files.items():
        target = home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [sys.executable, "train.py"], cwd=home, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in home.iterdir() if path.name != "__pycache__") == [
        "data",
        "metrics.json",
        "predictions.npz",
        "train.py",
    ]
    warm = pool.run(wanted)
    assert run.stdout == warm.stdout
    assert (home / PREDICTIONS).read_bytes() == warm.artifacts[PREDICTIONS]


def test_scaling_over_all_rows_would_be_noticed(pool: Pool) -> None:
    """The relation has teeth: where scaling reads held-out rows, altering them moves losses and scores."""
    leak = (("mean = features[train_rows].mean(axis=0)", "mean = features.mean(axis=0)"),)
    data = SPEC.generate(4)
    before = pool.run(request(data, leak))
    held = np.isin(data.train["row"], predictions(before)["row"])
    features = data.train["features"].copy()
    features[held] *= 2
    altered = JobData(data.train | {"features": features}, data.score, data.score_labels)
    after = pool.run(request(altered, leak))
    assert after.artifacts["metrics.json"] != before.artifacts["metrics.json"]
    assert not np.array_equal(predictions(after)["score"], predictions(before)["score"])
    clean = [predictions(pool.run(request(one)))["score"] for one in (data, altered)]
    assert np.array_equal(*clean)
