"""Collapse: what is offered, how numbers are written, and the equivalents that are refused."""

from __future__ import annotations

import pytest

from mldebug.clean_scripts.library import job_names, load_job, sources
from mldebug.mutators.analysis import Script, analyse
from mldebug.mutators.base import mutator
from mldebug.mutators.example_scripts import CLASSIFIER, SEQUENCES
from mldebug.mutators.training_collapse import TrainingCollapse
from mldebug.mutators.workspace import Workspace, splice


def script_of(text: str) -> Script:
    return analyse(Workspace.of({"train.py": text}, "train.py"))


def offered(script: Script, name: str) -> list[str]:
    one = mutator("training_collapse").manifestation(name)
    return [
        splice(script.workspace, one.edits(script, site, choice)).files["train.py"]
        for site in one.sites(script)
        for choice in range(site.choices)
    ]


@pytest.mark.parametrize("job", job_names())
def test_every_job_offers_several_ways(job: str) -> None:
    script = analyse(Workspace(sources(job), load_job(job).entrypoint))
    assert sum(bool(one.sites(script)) for one in TrainingCollapse.manifestations) >= 2


@pytest.mark.parametrize("output", ["logits.log_softmax(dim=1)", "torch.log_softmax(logits, dim=1)"])
def test_softmax_is_refused_where_one_was_taken_already(output: str) -> None:
    assert offered(script_of(CLASSIFIER), "softmax_before_cross_entropy")
    text = CLASSIFIER.replace("criterion(logits, yb)", f"criterion({output}, yb)")
    assert offered(script_of(text), "softmax_before_cross_entropy") == []


@pytest.mark.parametrize(
    ("rate", "high", "low"),
    [
        ("4e-3", ["0.4", "4.0"], ["4e-7", "4e-8"]),
        ("0.05", ["5.0", "50.0"], ["5e-6", "5e-7"]),
        ("2.5e-4", ["0.025", "0.25"], ["2.5e-8", "2.5e-9"]),
    ],
)
def test_rates_are_exact_and_written_as_people_do(rate: str, high: list[str], low: list[str]) -> None:
    script = script_of(CLASSIFIER.replace("1e-3", rate))
    for name, expected in (("learning_rate_too_high", high), ("learning_rate_too_low", low)):
        assert offered(script, name) == [CLASSIFIER.replace("1e-3", text) for text in expected]


def test_a_schedule_is_moved_only_beside_its_own_loop() -> None:
    assert len(offered(script_of(SEQUENCES), "scheduler_per_batch")) == 1
    apart = """\
import torch


def train(model, x, optimizer):
    for i in range(9):
        optimizer.zero_grad()
        model(x[i]).sum().backward()
        optimizer.step()


model = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
for epoch in range(3):
    train(model, torch.randn(9, 2), optimizer)
    scheduler.step()
"""
    assert offered(script_of(apart), "scheduler_per_batch") == []


def test_labels_sorted_before_they_are_summed_are_the_same_labels() -> None:
    text = SEQUENCES.replace(
        "torch.randn(100).to", "(torch.randn(100)[rows] - torch.randn(100)[rows].mean()).to"
    )
    text = text.replace("torch.randn(100, 12, 5)", "torch.randn(100, 12, 5)[rows]")
    text = text.replace("batch_size = 16\n", "batch_size = 16\nrows = torch.randperm(100)\n")
    results = [one for one in offered(script_of(text), "pairs_torn_apart") if "rows.sort()" in one]
    assert results and all("[rows].mean()" in one for one in results)
