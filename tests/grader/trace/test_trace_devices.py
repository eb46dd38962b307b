"""The recorder together with the simulated accelerator, whichever is started first."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mldebug.grader.device import simulated_accelerator
from mldebug.grader.trace import Recorder

ROWS = torch.randn(32, 6, generator=torch.Generator().manual_seed(4))
LABELS = torch.randint(3, (32,), generator=torch.Generator().manual_seed(5))


def train(evaluate_on: str | None = None) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(9)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for index in range(5):
        if index != 3:
            optimizer.zero_grad()
        F.cross_entropy(model(ROWS.to(device)), LABELS.to(device)).backward()
        optimizer.step()
    model.to(evaluate_on or device)
    with torch.no_grad():
        model(ROWS.to(evaluate_on or device))


def observe(recorder_first: bool, evaluate_on: str | None = None) -> dict:
    recorder = Recorder()
    if recorder_first:
        with recorder, simulated_accelerator():
            train(evaluate_on)
    else:
        with simulated_accelerator(), recorder:
            train(evaluate_on)
    assert recorder.record is not None
    assert recorder.record["faults"] == []
    return recorder.record


@pytest.mark.parametrize("recorder_first", [True, False])
def test_the_record_is_that_of_the_processor_but_for_devices(recorder_first: bool) -> None:
    with Recorder() as plain:
        train()
    assert plain.record is not None
    record = observe(recorder_first)
    assert record["devices"] == {
        "step_cpu": 0,
        "step_cuda": 5,
        "train_cpu": 0,
        "train_cuda": 5,
        "eval_cpu": 0,
        "eval_cuda": 1,
    }
    assert {**record, "devices": plain.record["devices"]} == plain.record
    assert record["mixture"]["violations"] > 0
    assert record["eval_forwards"]["noisy_layers"] == ["BatchNorm1d", "Dropout"]


def test_an_evaluation_moved_to_the_processor_is_seen() -> None:
    record = observe(False, evaluate_on="cpu")
    assert record["devices"] == {
        "step_cpu": 0,
        "step_cuda": 5,
        "train_cpu": 0,
        "train_cuda": 5,
        "eval_cpu": 1,
        "eval_cuda": 0,
    }
