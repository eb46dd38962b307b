"""`glyph_cnn`: what it writes, how well it does, and that it does no more and no less with its rows."""

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

from mldebug.clean_scripts.data import Integers, npz_bytes
from mldebug.clean_scripts.glyph_cnn.spec import GENERATOR, SPEC, generate, glyphs
from mldebug.clean_scripts.library import sources
from mldebug.clean_scripts.spec import accuracy
from mldebug.grader.runner import Pool, RunRequest, RunResult

SEEDS = (0, 1, 2)

SHA256 = {
    0: (
        "b8382365966d8ae5e1f7a5d3ac990f88ab800896e91a063c9eb2e0c09dffb3b5",
        "359582536172621a984d3db0bd3ad58f45c6295530537f34fb168d7ab89c997b",
    ),
    41: (
        "2b9fa10e85df2e321c7b320b21eb61477af00fcffd2161498cc1a9f68edac7b4",
        "638a1fd5e1d5a376591160bd45473e03959d6028bf7c4a18dacd40f825bc7076",
    ),
}

CHANCE = 0.2

# Each must leave the band by its margin, or nothing in this job would show it.
BROKEN = {
    "no step": ("train.py", "        optimizer.step()\n", ""),
    "gradients not zeroed": ("train.py", "        optimizer.zero_grad()\n", ""),
    "learning rate x 100": ("train.py", "lr=0.025", "lr=2.5"),
    "learning rate / 1000": ("train.py", "lr=0.025", "lr=2.5e-5"),
}


def request(train, score, change=None):
    texts = dict(sources("glyph_cnn"))
    if change is not None:
        file, old, new = change
        assert texts[file].count(old) == 1
        texts[file] = texts[file].replace(old, new)
    files = {path: text.encode() for path, text in texts.items()}
    data = {"data/train.npz": npz_bytes(train), "data/score.npz": npz_bytes(score)}
    return RunRequest(files | data, SPEC.entrypoint, trace=False)


def predictions(result: RunResult):
    assert result.outcome == "ok", result.stderr
    with np.load(io.BytesIO(result.artifacts["predictions.npz"]), allow_pickle=False) as arrays:
        return dict(arrays)


def train_losses(result: RunResult):
    return [one["train_loss"] for one in json.loads(result.artifacts["metrics.json"])["history"]]


@pytest.fixture(scope="module")
def data():
    return {seed: generate(seed) for seed in SEEDS}


@pytest.fixture(scope="module")
def results(pool: Pool, data):
    return dict(zip(SEEDS, pool.map([request(one.train, one.score) for one in data.values()]), strict=True))


def test_writes_what_the_contract_asks_for(data, results):
    train, score = data[0].train, data[0].score
    written = predictions(results[0])
    held_out = len(written["row"])
    assert SPEC.least_held_out * len(train["row"]) <= held_out < len(train["row"]) / 2
    assert written["row"].dtype == np.int64
    assert len(set(written["row"])) == held_out and set(written["row"]) < set(train["row"])
    assert written["output"].shape == (held_out, *SPEC.output_shape)
    assert written["score"].shape == (len(score["image"]), *SPEC.output_shape)
    for name in ("output", "score"):
        assert written[name].dtype == np.float32 and np.isfinite(written[name]).all()

    metrics = json.loads(results[0].artifacts["metrics.json"])
    assert [one["epoch"] for one in metrics["history"]] == list(range(1, len(metrics["history"]) + 1))
    assert {"train_loss", "accuracy"} <= set(metrics["final"])
    labels = dict(zip(train["row"], train["label"], strict=True))
    truth = np.array([labels[row] for row in written["row"]])
    assert metrics["final"]["accuracy"] == pytest.approx(accuracy(written["output"], truth))


@pytest.mark.parametrize("seed", SEEDS)
def test_metric_lies_in_the_band(data, results, seed):
    value = SPEC.metric.compute(predictions(results[seed])["score"], data[seed].score_labels)
    assert SPEC.band.floor <= value <= 0.99


def test_a_cold_interpreter_elsewhere_writes_the_same_bytes(data, results, tmp_path: Path):
    folder = tmp_path / "some where"
    for path, content in request(data[0].train, data[0].score).files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, SPEC.entrypoint], cwd=folder, env=environment, check=True)
    with np.load(folder / "predictions.npz", allow_pickle=False) as again:
        for name, values in predictions(results[0]).items():
            assert again[name].tobytes() == values.tobytes(), name
    assert (folder / "metrics.json").read_bytes() == results[0].artifacts["metrics.json"]


@pytest.mark.parametrize("seed", SHA256)
def test_data_of_a_seed_is_the_same_everywhere(seed):
    made = generate(seed)
    found = tuple(hashlib.sha256(npz_bytes(part)).hexdigest() for part in (made.train, made.score))
    assert found == SHA256[seed], "raise the version in GENERATOR when the bytes are meant to change"


def test_what_was_learned_on_one_seed_does_not_serve_another(pool: Pool, data):
    pairs = [(0, 1), (1, 2), (2, 0)]
    moved = pool.map([request(data[one].train, data[other].score) for one, other in pairs])
    for (_, other), result in zip(pairs, moved, strict=True):
        value = SPEC.metric.compute(predictions(result)["score"], data[other].score_labels)
        assert value < 2 * CHANCE


def test_a_seed_has_five_different_glyphs_and_nearly_every_seed_others():
    drawn = [glyphs(Integers(GENERATOR, seed)) for seed in range(40)]
    assert all(len({shape.tobytes() for shape in shapes}) == 5 for shapes in drawn)
    assert len({shapes.tobytes() for shapes in drawn}) > 0.9 * len(drawn)


def test_held_out_rows_teach_nothing_and_are_predicted_one_by_one(pool: Pool, data, results):
    before = predictions(results[0])
    train = data[0].train
    place = {row: index for index, row in enumerate(train["row"])}
    held_out = np.array([place[row] for row in before["row"]])
    order = np.roll(np.arange(len(held_out)), 1)

    permuted = {name: values.copy() for name, values in train.items()}
    for name in ("image", "label"):
        permuted[name][held_out] = train[name][held_out[order]]
    far_out = {name: values.copy() for name, values in train.items()}
    far_out["image"][held_out] = 16 * train["image"][held_out[0]]
    far_out["label"][held_out] = (train["label"][held_out] + 1) % 5

    moved, strange = pool.map([request(one, data[0].score) for one in (permuted, far_out)])
    for result in (moved, strange):
        after = predictions(result)
        assert train_losses(result) == train_losses(results[0])
        assert after["score"].tobytes() == before["score"].tobytes()
        assert after["row"].tobytes() == before["row"].tobytes()
    scale = np.abs(before["output"]).max()
    followed = np.abs(predictions(moved)["output"] - before["output"][order]).max()
    assert followed <= 1e-5 * scale
    assert np.abs(before["output"] - before["output"][order]).max() > 0.1 * scale


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_job_misses_the_band(pool: Pool, data, fault):
    (result,) = pool.map([request(data[0].train, data[0].score, BROKEN[fault])])
    value = SPEC.metric.compute(predictions(result)["score"], data[0].score_labels)
    assert value < SPEC.band.floor - SPEC.band.margin
