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


WITH_HELD_OUT = """\
import numpy as np
import torch
from torch import nn

x, y = np.load("x.npy"), np.load("y.npy")
order = np.random.default_rng(0).permutation(len(x))
train_idx, test_idx = order[20:], order[:20]
x_train, x_test = torch.from_numpy(x[train_idx]), torch.from_numpy(x[test_idx])
y_train, y_test = torch.from_numpy(y[train_idx]), torch.from_numpy(y[test_idx])
model = nn.Linear(8, 3)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(5):
    shuffled = torch.randperm(len(x_train))
    for i in range(0, len(x_train), 16):
        pick = shuffled[i : i + 16]
        loss = criterion(model(x_train[pick]), y_train[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        print(criterion(model(x_test), y_test).item())
"""


def test_labels_torn_from_their_inputs_stay_among_training_rows() -> None:
    """`y[20:]` would train on labels of held-out rows, which is a leak as well."""
    assert sorted(offered(script_of(WITH_HELD_OUT), "pairs_torn_apart")) == sorted(
        [
            WITH_HELD_OUT.replace("from_numpy(y[train_idx])", "from_numpy(y[np.sort(train_idx)])"),
            WITH_HELD_OUT.replace("y_train[pick]", "y_train[i : i + 16]"),
        ]
    )


CUT_LATER = WITH_HELD_OUT.replace(
    "train_idx, test_idx = order[20:], order[:20]\n", "x, y = x[order], y[order]\n"
)


@pytest.mark.parametrize(
    "text",
    [
        CUT_LATER.replace("[train_idx]", "[20:]").replace("[test_idx]", "[:20]"),
        CUT_LATER.replace(
            "x_train, x_test = torch.from_numpy(x[train_idx]), torch.from_numpy(x[test_idx])\n"
            "y_train, y_test = torch.from_numpy(y[train_idx]), torch.from_numpy(y[test_idx])\n",
            "x_train, x_test = torch.from_numpy(x).split([80, 20])\n"
            "y_train, y_test = torch.from_numpy(y).split([80, 20])\n",
        ),
    ],
    ids=["sliced", "split"],
)
def test_an_order_that_is_cut_in_two_later_is_kept_for_labels(text: str) -> None:
    assert text != CUT_LATER
    assert all("y = x[order], y[order]" in one for one in offered(script_of(text), "pairs_torn_apart"))


def test_a_statistic_of_training_rows_makes_no_training_rows() -> None:
    text = WITH_HELD_OUT.replace("x_train, x_test", "y = y - y[train_idx].min()\nx_train, x_test")
    results = offered(script_of(text), "pairs_torn_apart")
    assert results and not any("y[20:]" in one for one in results)
