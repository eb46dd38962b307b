"""Interventions on a run: they change what depends on gradients, or on the accelerator, and nothing else."""

from __future__ import annotations

import pytest

from mldebug.grader.evidence import Observed, Observer, job_data
from mldebug.grader.runner import Pool
from mldebug.grader.runner.request import Device, Probe
from mldebug.mutators.workspace import Workspace

from ..written import rows, task

JOBS = {"tabular": "eval-tabular-1", "glyph": "eval-glyph-1", "machine": "eval-machine-1"}


def seen(pool: Pool, name: str, device: Device, probe: Probe = "", text: str | None = None) -> Observed:
    one = task(name)
    files = dict(rows()[name]["reference"])
    if text is not None:
        files["train.py"] = text
    workspace = Workspace.of(files, "train.py")
    return Observer(pool.run, one.spec, device).observe(workspace, job_data(one.spec, 11), probe)


@pytest.mark.parametrize("probe", ["no_gradient", "no_backward"])
@pytest.mark.parametrize("job", JOBS)
def test_with_gradients_of_zero_nothing_is_learned(pool: Pool, job: str, probe: Probe) -> None:
    name = JOBS[job]
    plain, without = seen(pool, name, "cpu"), seen(pool, name, "cpu", probe)
    band = task(name).spec.band
    assert plain.metric is not None and without.metric is not None
    assert plain.metric >= band.floor
    assert without.metric < band.floor - band.margin - 0.2
    assert without.trace["backward_calls"] == plain.trace["backward_calls"]


@pytest.mark.parametrize("job", JOBS)
def test_a_shifted_accelerator_changes_what_is_computed_there_only(pool: Pool, job: str) -> None:
    name = JOBS[job]
    plain, shifted = seen(pool, name, "cuda"), seen(pool, name, "cuda", "shifted_device")
    assert plain.outputs is not None and shifted.outputs is not None and shifted.finished
    assert not plain.outputs.same_as(shifted.outputs)
    assert plain.trace["losses_digest"] != shifted.trace["losses_digest"]
    text = str(rows()[name]["reference"]["train.py"]).replace("torch.cuda.is_available()", "False")
    on_cpu = [seen(pool, name, "cuda", probe, text) for probe in ("", "shifted_device")]
    assert on_cpu[0].outputs is not None and on_cpu[0].outputs.same_as(on_cpu[1].outputs)
    assert on_cpu[0].outputs.same_as(plain.outputs)  # the same bits, elsewhere: only the shift tells


HAND_KEPT = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=LR)
x, y = torch.randn(256, 6), torch.randn(256, 1)
kept = [torch.zeros_like(p) for p in model.parameters()]
for step in range(60):
    pick = torch.randint(256, (16,))
    optimizer.zero_grad()
    (model(x[pick]) - y[pick]).square().mean().backward()
    for store, parameter in zip(kept, model.parameters()):
        store.mul_(DECAY).add_(parameter.grad)
        parameter.grad = store.clone()
    optimizer.step()
"""


@pytest.mark.parametrize(("decay", "unlike"), [("0.0", False), ("1.0", True)])
def test_a_sum_of_gradients_kept_by_hand_is_seen(pool: Pool, decay: str, unlike: bool) -> None:
    text = HAND_KEPT.replace("LR", "0.01").replace("DECAY", decay)
    trace = seen(pool, JOBS["tabular"], "cpu", text=text).trace
    used = trace["used_gradients"]
    assert trace["mixture"]["violations"] == 0 and trace["faults"] == []
    assert (used["unlike"] > 0.3 * used["steps"]) == unlike


def test_hooks_that_were_taken_away_are_named(pool: Pool) -> None:
    head = """
import torch.nn.modules.module as module
module._global_forward_hooks.clear()
import torch.autograd
torch.autograd._engine_run_backward = lambda *a, **k: None
"""
    trace = seen(pool, JOBS["tabular"], "cpu", text=head).trace
    assert len(trace["missing_hooks"]) >= 2


def test_generators_that_are_left_unseeded_repeat(pool: Pool) -> None:
    text = "import numpy, random\nprint(numpy.random.default_rng().random(), random.Random().random())\n"
    outs = {seen(pool, JOBS["tabular"], "cpu", text=text).result.stdout for _ in range(2)}
    assert len(outs) == 1
