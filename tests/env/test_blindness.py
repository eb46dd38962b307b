"""At reset nothing but the alert's words tells which bug there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mldebug.clean_scripts.library import job_names
from mldebug.env import DebugEnv, Prepared, Services
from mldebug.env.tasks import default_sets
from mldebug.factory import Request, generate, generate_many
from mldebug.grader.runner import Pool
from mldebug.grading import task_of_variant

EPISODES = 1_200
PERMUTATIONS = 119
PROVED = 120
"""Episodes whose alerts are real; each takes seconds."""
ALERT = "Something is wrong."


def features(record: dict[str, Any]) -> list[float]:
    """Everything in an observation as numbers: each field's length, order and characters."""
    found: list[float] = []
    for value in record.values():
        text = str(value)
        found += [float(len(text)), float(sum(text.encode())), float(text.count(","))]
    found += [float(int(digit, 16)) for digit in record["task"]]
    found += [float(int(record["task"][i : i + 2], 16) % 8) for i in range(0, 16, 2)]
    return found


def accuracy(inputs: np.ndarray, labels: np.ndarray) -> float:
    """Of ridge regression on one-hot labels, on five held-out fifths in turn."""
    spread = inputs.std(0)
    inputs = np.c_[(inputs - inputs.mean(0)) / np.where(spread == 0, 1, spread), np.ones(len(inputs))]
    wanted, hits = np.eye(labels.max() + 1)[labels], 0
    for fold in range(5):
        test = np.arange(len(labels)) % 5 == fold
        known = inputs[~test]
        weights = np.linalg.solve(known.T @ known + 10 * np.eye(inputs.shape[1]), known.T @ wanted[~test])
        hits += int(((inputs[test] @ weights).argmax(1) == labels[test]).sum())
    return hits / len(labels)


def p_value(inputs: np.ndarray, labels: np.ndarray) -> float:
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))
    inputs, labels = inputs[order], labels[order]
    real = accuracy(inputs, labels)
    others = [accuracy(inputs, rng.permutation(labels)) for _ in range(PERMUTATIONS)]
    return (1 + sum(one >= real for one in others)) / (1 + PERMUTATIONS)


@pytest.fixture(scope="module")
def episodes(pool: Pool, pytestconfig: pytest.Config) -> tuple[np.ndarray, np.ndarray]:
    """Of 1,200 episodes, the eight sets in turn: what can be seen at reset, and which set it was.

    The tasks are not proved (that takes an hour), and all have one alert, whose words are left out here. They
    are made from one job, with `--deep` from all: each base of a job takes most of a second.
    """
    sets = default_sets()
    script = None if pytestconfig.getoption("--deep") else job_names()[0]
    env = DebugEnv(
        Services([Prepared(task_of_variant(generate(["eval"], 0, verify=False)), ALERT)], pool=pool)
    )
    seen, labels = [], []
    for index in range(EPISODES):
        variant = generate(sets[index % len(sets)], index // len(sets), verify=False, script=script)
        record = env.reset(task=Prepared(task_of_variant(variant), ALERT)).record()
        seen.append(features(record))
        labels.append(index % len(sets))
    return np.array(seen), np.array(labels)


def test_a_classifier_learns_nothing_from_a_reset(episodes: tuple[np.ndarray, np.ndarray]) -> None:
    assert p_value(*episodes) > 0.01


def test_the_classifier_would_find_a_leak(episodes: tuple[np.ndarray, np.ndarray]) -> None:
    inputs, labels = episodes
    leaking = inputs.copy()
    leaking[:, 0] += np.where(labels == 2, np.arange(len(labels)) % 3 == 0, 0)
    assert p_value(leaking, labels) <= 0.01


@pytest.mark.deep
def test_what_the_alert_tells(evidence: Callable[[str, dict[str, Any]], None]) -> None:
    """How well the set of classes can be guessed from the alert's words alone, figures and all."""
    sets = default_sets()
    wanted = [Request.of(one, 40_000 + seed) for seed in range(PROVED // len(sets)) for one in sets]
    seen = [variant.alert or "" for variant in generate_many(wanted, jobs=2)]
    labels = np.array([sets.index(request.bugs) for request in wanted])
    words = sorted({word for text in seen for word in text.split()})
    inputs = np.array([[float(word in text.split()) for word in words] for text in seen])
    order = np.random.default_rng(0).permutation(len(labels))
    crashed = np.array([text.startswith("Training job failed") for text in seen])
    found = accuracy(inputs[order], labels[order])
    shares = {",".join(one): float(crashed[labels == place].mean()) for place, one in enumerate(sets)}
    evidence(
        "alert_words",
        {
            "episodes": len(seen),
            "sets": len(sets),
            "guessed_from_words": found,
            "chance": 1 / len(sets),
            "crashed": shares,
        },
    )
    assert 1 / len(sets) < found < 0.6  # a crash says something, and should; a silent bug's alert says little
