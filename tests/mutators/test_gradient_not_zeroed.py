"""Where clearing gradients can go wrong, in several styles of training code, and where it cannot."""

from __future__ import annotations

import textwrap

import pytest

from mldebug.clean_scripts.library import load_job, sources
from mldebug.mutators.analysis import analyse
from mldebug.mutators.gradient_not_zeroed import GradientNotZeroed
from mldebug.mutators.workspace import Workspace, splice

from ..jobs import each_job

CLASS = GradientNotZeroed


def mutants(name: str, source: str) -> list[str]:
    """Every mutant of one manifestation, as text."""
    workspace = Workspace.of({"train.py": textwrap.dedent(source)}, "train.py")
    script = analyse(workspace)
    one = CLASS.manifestation(name)
    return [
        splice(workspace, one.edits(script, site, choice)).files["train.py"]
        for site in one.sites(script)
        for choice in range(site.choices)
    ]


def swap(source: str, *pairs: tuple[str, str]) -> str:
    text = textwrap.dedent(source)
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


TRAINER = """\
import torch


class Trainer:
    def __init__(self, model, loader):
        self.model = model
        self.loader = loader
        self.opt = torch.optim.Adam(model.parameters())

    def fit(self, epochs):
        for epoch in range(epochs):
            self.run_epoch()

    def run_epoch(self):
        for x, y in self.loader:
            self.opt.zero_grad(set_to_none=True)
            loss = (self.model(x) - y).square().mean()
            loss.backward()
            self.opt.step()
"""

ACCUMULATION = """\
import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer.zero_grad()
for i, (x, y) in enumerate(batches):
    loss = (model(x) - y).square().mean() / 4
    loss.backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()
"""

TAIL = """\
import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in batches:
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""

STEP_FUNCTION = """\
def train_step(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()
"""

CLOSURE = """\
import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.LBFGS(model.parameters())
for epoch in range(10):
    def closure():
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
"""


def test_removed_in_a_class() -> None:
    assert mutants("call_removed", TRAINER) == [
        swap(TRAINER, ("            self.opt.zero_grad(set_to_none=True)\n", ""))
    ]


def test_removed_in_a_step_function() -> None:
    assert mutants("call_removed", STEP_FUNCTION) == [
        swap(STEP_FUNCTION, ("    optimizer.zero_grad()\n", ""))
    ]


def test_removed_in_a_closure() -> None:
    assert mutants("call_removed", CLOSURE) == [swap(CLOSURE, ("        optimizer.zero_grad()\n", ""))]


def test_only_the_call_that_matters_is_removed_from_accumulation() -> None:
    assert mutants("call_removed", ACCUMULATION) == [
        swap(
            ACCUMULATION,
            ("        optimizer.step()\n        optimizer.zero_grad()\n", "        optimizer.step()\n"),
        )
    ]


def test_moved_out_of_the_batch_loop_of_a_class() -> None:
    before, after = mutants("once_per_epoch", TRAINER)
    gone = ("            self.opt.zero_grad(set_to_none=True)\n", "")
    loop = "        for x, y in self.loader:\n"
    assert before == swap(TRAINER, gone, (loop, "        self.opt.zero_grad(set_to_none=True)\n" + loop))
    assert after == swap(TRAINER, gone) + "        self.opt.zero_grad(set_to_none=True)\n"


def test_never_once_per_epoch_behind_a_loop_that_runs_once() -> None:
    assert len(mutants("once_per_epoch", TAIL)) == 1


def test_a_call_beside_the_loop_already_clears_once() -> None:
    assert mutants("once_per_epoch", ACCUMULATION) == []


def test_clearing_behind_the_step_becomes_clearing_before_it() -> None:
    wanted = swap(
        TAIL,
        (
            "    optimizer.step()\n    optimizer.zero_grad()\n",
            "    optimizer.zero_grad()\n    optimizer.step()\n",
        ),
    )
    assert mutants("between_backward_and_step", TAIL) == [wanted]


def test_clearing_in_front_is_never_moved_directly_behind_the_step() -> None:
    """In a plain loop that is the same program."""
    source = swap(
        TAIL,
        ("    optimizer.zero_grad()\n", ""),
        ("    loss = ", "    optimizer.zero_grad()\n    loss = "),
    )
    everything = [text for one in CLASS.manifestations for text in mutants(one.name, source)]
    assert everything and TAIL not in everything


@pytest.mark.parametrize(
    ("loop", "wanted"),
    [
        ("for x, y in batches:", ("for step, (x, y) in enumerate(batches):", "step % 16 == 0")),
        ("for (x, y) in batches:", ("for step, (x, y) in enumerate(batches):", "step % 16 == 0")),
        (
            "for n, (x, y) in enumerate(batches, 1):",
            ("for n, (x, y) in enumerate(batches, 1):", "n % 16 == 0"),
        ),
        ("for n in range(100):", ("for n in range(100):", "n % 16 == 0")),
        ("for s in range(0, 800, 32):", ("for s in range(0, 800, 32):", "s % 512 == 0")),
        ("for s in range(0, 1600, size):", ("for s in range(0, 1600, size):", "s % (16 * size) == 0")),
    ],
)
def test_every_sixteenth_batch(loop: str, wanted: tuple[str, str]) -> None:
    source = swap(TAIL, ("for x, y in batches:", loop))
    header, condition = wanted
    text = mutants("every_kth_batch", source)[0]
    clearing = f"    if {condition}:\n        optimizer.zero_grad()\n"
    assert text == swap(TAIL, ("for x, y in batches:", header), ("    optimizer.zero_grad()\n", clearing))


def test_a_name_in_use_is_not_taken_for_counting() -> None:
    source = swap(TAIL, ("for x, y", "step = 0\nfor x, y"))
    assert "for i, (x, y) in enumerate(batches):" in mutants("every_kth_batch", source)[0]


def test_no_counting_where_there_is_nothing_to_count() -> None:
    for loop in ("while True:", "for _ in range(100):"):
        assert mutants("every_kth_batch", swap(TAIL, ("for x, y in batches:", loop))) == []
    assert mutants("every_kth_batch", ACCUMULATION) == []


@pytest.mark.parametrize("more", ["", "        self.scale = nn.Parameter(torch.ones(1))\n"])
def test_one_part_of_a_model_cleared_in_a_second_module(more: str) -> None:
    net = textwrap.dedent(
        """\
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.encoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
                self.drop = nn.Dropout(0.1)
                self.head = nn.Linear(8, 1)
        """
    )
    net += more
    train = TAIL.replace("import torch\n", "import torch\nfrom net import Net\n", 1).replace(
        "torch.nn.Linear(4, 1)", "Net()"
    )
    workspace = Workspace.of({"train.py": train, "net.py": net}, "train.py")
    script = analyse(workspace)
    one = CLASS.manifestation("wrong_object")
    (site,) = one.sites(script)
    texts = [splice(workspace, one.edits(script, site, c)).files["train.py"] for c in range(site.choices)]
    assert texts == [train.replace("optimizer.zero_grad()", "model.head.zero_grad()")]


def test_a_model_of_one_layer_has_no_part_to_clear() -> None:
    assert mutants("wrong_object", TAIL) == []


TWO = """\
import torch

enc_opt = torch.optim.Adam(encoder.parameters())
dec_opt = torch.optim.Adam(decoder.parameters())
for x in batches:
    enc_opt.zero_grad()
    dec_opt.zero_grad()
    loss = (decoder(encoder(x)) - x).square().mean()
    loss.backward()
    enc_opt.step()
    dec_opt.step()
"""


def test_one_of_two_optimizers() -> None:
    assert mutants("one_of_two", TWO) == [
        swap(TWO, ("    enc_opt.zero_grad()\n", "")),
        swap(TWO, ("    dec_opt.zero_grad()\n", "")),
    ]
    assert mutants("wrong_object", TWO) == [
        swap(TWO, ("enc_opt.zero_grad()", "dec_opt.zero_grad()")),
        swap(TWO, ("dec_opt.zero_grad()", "enc_opt.zero_grad()")),
    ]
    assert mutants("call_removed", TWO) == []


BY_HAND = """\
import torch

w = torch.zeros(4, requires_grad=True)
b = torch.zeros(1, requires_grad=True)
for x, y in batches:
    loss = ((x @ w + b - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
        b -= 0.1 * b.grad
    w.grad.zero_()
    b.grad = None
"""


def test_by_hand() -> None:
    assert mutants("manual_reset_removed", BY_HAND) == [
        swap(BY_HAND, ("    w.grad.zero_()\n", "")),
        swap(BY_HAND, ("    b.grad = None\n", "")),
    ]


def test_a_loop_that_only_clears_goes_as_a_whole() -> None:
    source = swap(
        TAIL,
        (
            "    optimizer.zero_grad()\n",
            "    for p in model.parameters():\n        if p.grad is not None:\n            p.grad.zero_()\n",
        ),
    )
    assert mutants("manual_reset_removed", source) == [swap(TAIL, ("    optimizer.zero_grad()\n", ""))]


NOWHERE = {
    "no training": "optimizer.zero_grad()\n",
    "never stepped": """\
        import torch
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in batches:
            optimizer.zero_grad()
            (model(x) - y).mean().backward()
        """,
    "cleared twice": swap(
        TAIL, ("    loss.backward()\n", "    optimizer.zero_grad()\n    loss.backward()\n")
    ),
    "cleared through the model too": swap(
        TAIL, ("    loss.backward()\n", "    model.zero_grad()\n    loss.backward()\n")
    ),
    "a new optimizer each round": """\
        import torch
        for model in models:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            optimizer.zero_grad()
            model(x).mean().backward()
            optimizer.step()
        """,
    "cleared by hand as well": swap(
        TAIL, ("    optimizer.zero_grad()\n", "    optimizer.zero_grad()\n    w.grad = None\n")
    ),
}


@pytest.mark.parametrize("source", NOWHERE.values(), ids=NOWHERE)
def test_nowhere(source: str) -> None:
    assert [text for one in CLASS.manifestations for text in mutants(one.name, source)] == []


def test_a_scaler_would_raise_instead_of_stepping_on_nothing() -> None:
    source = swap(TAIL, ("    optimizer.step()\n", "    scaler.step(optimizer)\n"))
    assert mutants("between_backward_and_step", source) == []
    assert mutants("call_removed", source) == [swap(source, ("    optimizer.zero_grad()\n", ""))]


@each_job("job", __name__)
def test_library(job: str) -> None:
    workspace = Workspace.of(dict(sources(job)), load_job(job).entrypoint)
    script = analyse(workspace)
    offered = set()
    for one in CLASS.manifestations:
        sites = one.sites(script)
        assert sites == sorted(sites) == one.sites(analyse(workspace))
        for site in sites:
            texts = {splice(workspace, one.edits(script, site, choice)) for choice in range(site.choices)}
            assert len(texts) == site.choices and workspace not in texts
            assert [splice(workspace, one.edits(script, site, c)) for c in range(site.choices)] == [
                splice(workspace, one.edits(script, site, c)) for c in range(site.choices)
            ]
            offered.add(one.name)
    assert len(offered) >= 2
