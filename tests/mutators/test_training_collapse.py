"""Collapse: what is offered, how numbers are written, and the equivalents that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mldebug.clean_scripts.library import job_names, load_job, sources
from mldebug.mutators.analysis import Script, analyse
from mldebug.mutators.base import mutator
from mldebug.mutators.example_scripts import CLASSIFIER, SEQUENCES
from mldebug.mutators.training_collapse import TrainingCollapse
from mldebug.mutators.workspace import Workspace, splice

LEAVES = Path(__file__).parents[1] / "foreign" / "02_leaves_variable" / "main.py"


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


def test_parts_that_functions_read_as_globals_are_told_apart() -> None:
    script = analyse(Workspace.of({"main.py": LEAVES.read_text(encoding="utf-8")}, "main.py"))
    one = mutator("training_collapse").manifestation("pairs_torn_apart")
    (site,) = one.sites(script)
    (edit,) = one.edits(script, site, 0)
    assert edit.replacement == "i:i + batch_size"


def test_a_batch_of_an_array_that_holds_all_rows_is_sorted() -> None:
    """`y[i : i + 16]` might be labels of held-out rows; the sorted batch has the rows that it had."""
    start, end = WITH_HELD_OUT.index("train_idx, test"), WITH_HELD_OUT.index("model = ")
    text = WITH_HELD_OUT[:start] + "x, y = torch.from_numpy(x), torch.from_numpy(y)\n" + WITH_HELD_OUT[end:]
    text = text.replace("torch.randperm(len(x_train))", "torch.randperm(80)")
    text = text.replace("x_train[pick]", "x[pick]").replace("y_train[pick]", "y[pick]")
    text = text.replace(
        "        print(criterion(model(x_test), y_test).item())", "        print(error(rest))"
    )
    text = text.replace(
        "for epoch in",
        "rest = torch.arange(80, 100)\n\n\n"
        "def error(rows):\n    return criterion(model(x[rows]), y[rows]).item()\n\n\nfor epoch in",
    )
    assert offered(script_of(text), "pairs_torn_apart") == [
        text.replace("y[pick])", "y[pick.sort().values])")
    ]


@pytest.mark.parametrize(
    ("head", "use"),
    [
        ('settings = {"lr": 1e-3, "epochs": 5}', 'settings["lr"]'),
        ("settings = dict(lr=1e-3, epochs=5)", 'settings["lr"]'),
        (
            "import argparse\nparser = argparse.ArgumentParser()\n"
            'parser.add_argument("--learning-rate", "-l", type=float, default=1e-3)\n'
            "args = parser.parse_args()",
            "args.learning_rate",
        ),
    ],
)
def test_a_rate_is_changed_where_it_is_written(head: str, use: str) -> None:
    text = CLASSIFIER.replace("lr=1e-3", f"lr={use}").replace("device = ", f"{head}\ndevice = ", 1)
    assert offered(script_of(text), "learning_rate_too_high") == [
        text.replace("1e-3", "0.1"),
        text.replace("1e-3", "1.0"),
    ]


@pytest.mark.parametrize(
    "more",
    ['settings["lr"] = 0.5', "settings = {**settings}"],
)
def test_a_rate_that_is_written_twice_is_left_alone(more: str) -> None:
    text = CLASSIFIER.replace("lr=1e-3", 'lr=settings["lr"]')
    text = text.replace("device = ", f'settings = {{"lr": 1e-3}}\n{more}\ndevice = ', 1)
    assert offered(script_of(text), "learning_rate_too_high") == []


OWN_DATA_SET = """\
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    def __init__(self, values, answers):
        self.values = values
        self.answers = answers

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index], self.answers[index]


x, y = torch.randn(100, 4), torch.randn(100)
trainidx, testidx = torch.randperm(100).split([80, 20])
train, test = Rows(x[trainidx], y[trainidx]), Rows(x[testidx], y[testidx])
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(3):
    for values, answers in DataLoader(train, batch_size=8, shuffle=True):
        optimizer.zero_grad()
        F.mse_loss(model(values).squeeze(-1), answers).backward()
        optimizer.step()
with torch.no_grad():
    for values, answers in DataLoader(test, batch_size=8):
        print(F.mse_loss(model(values).squeeze(-1), answers))
"""


def test_labels_are_found_behind_a_data_set_of_its_own() -> None:
    (torn,) = offered(script_of(OWN_DATA_SET), "pairs_torn_apart")
    assert torn == OWN_DATA_SET.replace("y[trainidx]", "y[trainidx.sort().values]")


def test_zeros_are_not_offered_where_they_have_no_gradient() -> None:
    assert offered(script_of(CLASSIFIER), "zero_initialisation")
    for logits, loss in (
        ("nn.functional.normalize(model(xb))", "criterion(logits, yb)"),
        ("model(xb)", "(logits[1:] - logits[:-1]).exp().mean()"),
    ):
        text = CLASSIFIER.replace("logits = model(xb)", f"logits = {logits}")
        text = text.replace("loss = criterion(logits, yb)", f"loss = {loss}")
        assert text != CLASSIFIER and offered(script_of(text), "zero_initialisation") == []


HELPER = """
class Scale(nn.Module):
    def __init__(self, mean):
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, x):
        return x - self.mean


scale = Scale(torch.zeros(4))
"""


def test_a_module_without_parameters_is_no_place() -> None:
    text = CLASSIFIER + HELPER
    found = [*offered(script_of(text), "zero_initialisation"), *offered(script_of(text), "softmax_output")]
    assert found and all(one.endswith(HELPER) for one in found)
    grown = text.replace('self.register_buffer("mean", mean)', "self.mean = nn.Parameter(mean)")
    assert len(offered(script_of(grown), "zero_initialisation")) > len(
        offered(script_of(text), "zero_initialisation")
    )
