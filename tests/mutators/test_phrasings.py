"""Other ways to say the same thing: where they are found, how they are drawn, what they leave alone."""

from __future__ import annotations

import ast
import importlib
import inspect
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mldebug.clean_scripts.library import job_names
from mldebug.factory import Request, draft
from mldebug.mutators.analysis import analyse
from mldebug.mutators.base import bug_classes
from mldebug.mutators.bases import base
from mldebug.mutators.compose import NoCompositionError, choose, edits_of
from mldebug.mutators.normal_form import normal_form, statements
from mldebug.mutators.phrasings import DEFAULTS, KINDS, RARER, phrased, phrasings
from mldebug.mutators.workspace import Workspace, check_python, splice
from mldebug.seeds import ENGINES, Draw

from ..jobs import each_job, few

HEAD = """\
import json
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
"""

EXAMPLES = {
    "methods": [
        ("y = F.relu(x)", ["y = torch.relu(x)", "y = x.relu()"]),
        ("y = torch.sigmoid(f(x))", ["y = f(x).sigmoid()"]),
        ("y = F.softmax(x, dim=1)", ["y = torch.softmax(x, dim=1)", "y = x.softmax(dim=1)"]),
        ("y = F.relu(x + 1)", ["y = torch.relu(x + 1)"]),
        ("y = F.relu(x, inplace=True), F.relu(input=x), relu(x), torch.sigmoid(*x)", []),
        ("y = torch.sigmoid(\n    x\n)", []),
    ],
    "products": [("y = torch.matmul(a, b)", ["y = (a @ b)"]), ("y = torch.matmul(a, b, out=c)", [])],
    "powers": [
        ("y = (a - b).square()", ["y = (a - b).pow(2)"]),
        ("y = x.pow(2), x.pow(3)", ["y = x.square(), x.pow(3)"]),
    ],
    "lengths": [
        ("n = x.shape[0]", ["n = len(x)"]),
        ("n = x.size(1)", ["n = x.shape[1]"]),
        ("n = x.shape[1], x.shape[0:2], x.size(), (a + b).shape[0]", []),
        ("def f(len):\n    return x.shape[0]", []),
    ],
    "views": [("y = x.view(-1, 2)", ["y = x.reshape(-1, 2)"]), ("y = x.view(torch.int32)", [])],
    "new_axes": [
        ("y = x.unsqueeze(1)", ["y = x[:, None]"]),
        ("y = x.unsqueeze(-1)", ["y = x[..., None]"]),
        ("y = x.unsqueeze(dim), (a + b).unsqueeze(0)", []),
    ],
    "numbers": [
        ("total = train_loss.item()", ["total = float(train_loss.detach())"]),
        ("n = right.item(), loss.sum().item()", []),
    ],
    "contexts": [
        ("with torch.no_grad():\n    pass", ["with torch.set_grad_enabled(False):\n    pass"]),
        ("with torch.enable_grad():\n    pass", []),
    ],
    "modes": [
        ("m = nn.Linear(1, 2)\nm.train()", ["m = nn.Linear(1, 2)\nm.train(True)"]),
        ("m = nn.Linear(1, 2).eval()", ["m = nn.Linear(1, 2).train(False)"]),
        ("m = nn.Linear(1, 2)\nm.train(flag)\nframe.eval()", []),
    ],
    "cleared": [
        ("o = torch.optim.SGD(p)\no.zero_grad()", ["o = torch.optim.SGD(p)\no.zero_grad(set_to_none=True)"]),
        (
            "o = torch.optim.SGD(p)\no.zero_grad(set_to_none = True)",
            ["o = torch.optim.SGD(p)\no.zero_grad()"],
        ),
        ("o = torch.optim.SGD(p)\no.zero_grad(set_to_none=False)", []),
    ],
    "supers": [
        (
            "class A(nn.Module):\n    def __init__(self):\n        super().__init__()",
            ["class A(nn.Module):\n    def __init__(self):\n        super(A, self).__init__()"],
        ),
        ("def f():\n    class A:\n        def g(self):\n            super().g()", []),
        ("class A:\n    @classmethod\n    def g(cls):\n        super().g()", []),
    ],
    "ranges": [
        ("for i in range(n):\n    pass", ["for i in range(0, n):\n    pass"]),
        ("r = range(1, n), range(*n)", []),
    ],
    "comparisons": [
        ("if loss < best:\n    pass", ["if best > loss:\n    pass"]),
        ("while a.b >= c:\n    pass", ["while c <= a.b:\n    pass"]),
        ("y = a < 1, f(a) < b, a < b < c, a == b", []),
    ],
    "sums": [
        ("t = 0.0\nt += loss.item() * len(y)", ["t = 0.0\nt = t + (loss.item() * len(y))"]),
        ("n = 0\nn += 1", ["n = 0\nn = n + 1"]),
        ("t = []\nt += 1", []),
        ("t = 0.0\nt += loss", []),
        ("t += 1", []),
    ],
    "dicts": [
        ('m = {"loss": x, "epoch": 1}', ["m = dict(loss=x, epoch=1)"]),
        ('m = {"class": x}, {"a b": 1}, {**x}, {}, {"a": 1, "a": 2}, {1: 2}', []),
    ],
    "extracted": [
        (
            "def f(a, b):\n    c = (a - b) / abs(b + 1)\n    return c",
            [
                "def quotient(a, b):\n    return (a - b) / abs(b + 1)\n\n"
                "def f(a, b):\n    c = quotient(a, b)\n    return c"
            ],
        ),
        (
            "N = 3\ndef f(x):\n    return (x == N).float().mean()",
            [
                "N = 3\ndef mean_of(x):\n    return (x == N).float().mean()\n\n"
                "def f(x):\n    return mean_of(x)"
            ],
        ),
        (
            "def f(mean_of, x):\n    return np.abs(x).mean() + mean_of.mean()",
            [
                "def total(x, mean_of):\n    return np.abs(x).mean() + mean_of.mean()\n\n"
                "def f(mean_of, x):\n    return total(x, mean_of)"
            ],
        ),
        ("c = (a - b) / abs(b) + abs(a)", []),
        ("def f(a, b):\n    return model(a) / abs(b) + b.mean()", []),
        ("def f(a, b):\n    return sum(x - y for x in a) / len(b)", []),
        ("def f(a, b):\n    return a + b", []),
        ("class A:\n    def f(self, a):\n        return self.weight * a.mean() / len(a)", []),
        ("def f(a):\n    return a.mean() / (unknown - a)", []),
    ],
    "inlined": [
        (
            'def g(a, b):\n    """It."""\n    return (a == b).mean()\n\ndef f(x, y):\n    return g(x, y[0])',
            ["def f(x, y):\n    return (x == y[0]).mean()"],
        ),
        (
            "def g(a, b):\n    return a / b\n\ndef f(x, y):\n    return g(h(x), y) + g(x, -1)",
            ["def f(x, y):\n    return (h(x) / y) + (x / (-1))"],
        ),
        ("def g(a, b):\n    return b / a\n\ndef f(x, y):\n    return g(h(x), y)", []),
        ("def g(a):\n    return a * a\n\ndef f(x):\n    return g(x[0])", []),
        ("def g(a):\n    return a / scale\n\ndef f(x, scale):\n    return g(x)", []),
        ("def g(a):\n    return a / 2\n\ndef f(x):\n    return [g(y) for y in x]", []),
        ("def g(a):\n    return a / 2\n\ndef f(x):\n    return map(g, g(x))", []),
        ("def g(a, b=1):\n    return a / b\n\ndef f(x):\n    return g(x, 2)", []),
        ("@h\ndef g(a):\n    return a / 2\n\ndef f(x):\n    return g(x)", []),
    ],
    "opened": [("f = open(path)", ['f = open(path, "r")']), ("f = open(path, mode), path.open()", [])],
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_each_kind_says_otherwise(kind: str) -> None:
    assert set(EXAMPLES) == set(KINDS)
    for text, wanted in EXAMPLES[kind]:
        workspace = Workspace.of({"train.py": f"{HEAD}{text}\n"}, "train.py")
        ways = [way for one in phrasings(analyse(workspace)) if one.kind == kind for way in one.ways]
        found = [splice(workspace, way).files["train.py"].removeprefix(HEAD).rstrip() for way in ways]
        assert found == wanted


def test_defaults_are_said_where_they_are_not_said() -> None:
    others = "b = nn.Linear(3, 4, False)\nc = nn.Linear(3, 4, bias=False)\nd = nn.Linear(*e)\n"
    text = "a = nn.Linear(3, 4)\n" + others
    workspace = Workspace.of({"train.py": HEAD + text}, "train.py")
    (one,) = phrasings(analyse(workspace))
    changed = splice(workspace, one.ways[0])
    assert changed.files["train.py"] == HEAD + text.replace(
        "a = nn.Linear(3, 4)", "a = nn.Linear(3, 4, bias=True)"
    )
    assert normal_form(changed) != normal_form(workspace)
    assert statements(changed, defaults=False) == statements(workspace, defaults=False)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_defaults_are_those_of_the_library(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    target = getattr(importlib.import_module(module), attribute)
    if name == "torch.nn.GRU" or name == "torch.nn.LSTM":
        target = torch.nn.RNNBase
    if name in ("torch.cat", "torch.stack"):
        parts = [torch.arange(6).reshape(2, 3)] * 2
        assert torch.equal(target(parts), target(parts, dim=0))
        return
    known = inspect.signature(target).parameters
    for argument, value in DEFAULTS[name]:
        assert known[argument].default == ast.literal_eval(value), argument


@each_job("name", __name__)
def test_every_way_compiles_and_keeps_all_lines(name: str) -> None:
    made = base(name, 5)
    assert len({one.kind for one in made.phrasings}) >= 8
    for one in made.phrasings:
        for way in one.ways:
            changed = splice(made.workspace, way)
            assert changed != made.workspace
            for path, text in changed:
                check_python(path, text)
                lines = text.count("\n") - made.workspace.files[path].count("\n")
                assert lines == 0 or one.kind in RARER


@given(
    st.sampled_from(few(__name__, 3)),
    st.integers(0, 3),
    st.sampled_from(bug_classes()),
    st.integers(0, 2**30),
)
def test_a_bug_is_the_same_in_other_words(name: str, style: int, bug: str, seed: int) -> None:
    made = base(name, style)
    try:
        before = choose(made.workspace, made.offers, (bug,), Draw("test", seed))
    except NoCompositionError:
        return
    worded = phrased(made.workspace, made.phrasings, before, Draw("words", seed))
    clean, after = worded.workspace, worded.injections
    assert (clean != made.workspace) == bool(worded.kinds) == bool(worded.edits)
    for old, new in zip(before, after, strict=True):
        assert (old.manifestation, old.choice, old.bug_class) == (
            new.manifestation,
            new.choice,
            new.bug_class,
        )
        assert (old.site.file, old.site.qualname) == (new.site.file, new.site.qualname)
        for one, other in ((old.site, new.site), *zip(old.edits, new.edits, strict=True)):
            theirs, ours = (space.files[one.file].encode() for space in (made.workspace, clean))
            line = worded.line(made.workspace, one.file, theirs[: one.start].count(b"\n") + 1)
            assert ours[: other.start].count(b"\n") + 1 == line
            if one is not old.site:
                assert theirs[one.start : one.end] == ours[other.start : other.end]
    assert phrased(splice(made.workspace, ()), made.phrasings, before, Draw("words", seed)) == worded
    broken = splice(clean, edits_of(after))
    lines = [
        (path, number)
        for path, text in broken
        for number, line in enumerate(text.split("\n"))
        if line not in clean.files[path].split("\n")
    ]
    plain = splice(made.workspace, edits_of(before))
    assert len(lines) <= sum(
        line not in made.workspace.files[path].split("\n")
        for path, text in plain
        for line in text.split("\n")
    )


def test_one_place_in_six_is_said_otherwise_wherever_the_bug_is() -> None:
    made = base(job_names()[0], 0)
    counts, kept = [], []
    for bug in bug_classes():
        for number in range(60):
            chosen = choose(made.workspace, made.offers, (bug,), Draw("t", number))
            worded = phrased(made.workspace, made.phrasings, chosen, Draw("t", bug, number))
            counts.append(len(worded.kinds))
            near = [
                one
                for one in made.phrasings
                for way in one.ways
                if not one.fits(way, edits_of(chosen), [it.site for it in chosen])
            ]
            kept.append(len(near))
    places = len(made.phrasings)
    assert places / 10 <= sum(counts) / len(counts) <= places / 5
    assert sum(kept) / len(kept) <= 1, "a bug keeps more than one place in the words of its base"


def test_distractors_are_where_they_say_in_other_words_too() -> None:
    moved = 0
    for seed in range(120):
        made = draft(Request(("data_leakage",), seed, script="keyword_audio"), 0)
        for before, after in zip(made.variant.base.distractors, made.variant.distractors, strict=True):
            texts = (made.variant.base.workspace.files[before.file], made.base.files[after.file])
            theirs, ours = (
                text.split("\n")[one.line - 1] for text, one in zip(texts, (before, after), strict=True)
            )
            assert re.split(r"[.(]", theirs)[0] == re.split(r"[.(]", ours)[0]
            moved += before.line != after.line
    assert moved


def test_an_earlier_engine_says_everything_as_its_base_does() -> None:
    request = Request(("shape_mismatch",), 4, script="tabular_classifier")
    now = draft(request, 0)
    old = draft(Request(request.bugs, request.seed, request.index, request.script, ENGINES[0]), 0)
    assert old.base == old.variant.base.workspace and not old.variant.phrasings
    assert now.variant.phrasings and now.base != old.base
    assert [one.manifestation for one in now.variant.injections] == [
        one.manifestation for one in old.variant.injections
    ]
    assert now.variant.data == old.variant.data and now.variant.style == old.variant.style
