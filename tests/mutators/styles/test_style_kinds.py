"""Each kind of restyling by itself: its examples, and what it must leave alone."""

from __future__ import annotations

from typing import Any

import libcst as cst
import pytest

from mldebug.mutators.styles import KINDS, Kind, StyleExample, restyle
from mldebug.mutators.styles.bindings import Bindings, find_bindings
from mldebug.mutators.styles.hints import safe_sentences, speaks_of_bugs
from mldebug.mutators.styles.names import Names, Renaming
from mldebug.mutators.styles.output import Output, OutputStyle
from mldebug.mutators.styles.vocabulary import ATTRIBUTES, MODULE_API, RESERVED, TWINS, WHOLE
from mldebug.mutators.workspace import Workspace
from mldebug.seeds import Draw

EXAMPLES = [
    pytest.param(kind, example, id=f"{kind.name}-{number}")
    for kind in KINDS
    for number, example in enumerate(kind.examples)
]


def found(**files: str) -> Bindings:
    return find_bindings({f"{name}.py": cst.parse_module(text) for name, text in files.items()})


@pytest.mark.parametrize(("kind", "example"), EXAMPLES)
def test_examples_hold(kind: Kind[Any], example: StyleExample[Any]) -> None:
    trees = {"train.py": cst.parse_module(example.before)}
    assert kind.apply(trees, example.setting)["train.py"].code == example.after


@pytest.mark.parametrize(("kind", "example"), EXAMPLES)
def test_applying_a_setting_twice_changes_nothing_more(kind: Kind[Any], example: StyleExample[Any]) -> None:
    if isinstance(kind, Output):
        return  # a change of decimals is relative
    once = kind.apply({"train.py": cst.parse_module(example.before)}, example.setting)
    again = kind.apply({"train.py": cst.parse_module(once["train.py"].code)}, example.setting)
    assert again["train.py"].code == example.after


def test_kinds_have_names_of_their_own_and_examples() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert all(kind.examples for kind in KINDS)


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("import json\njson = 1\n", "json"),
        ("x = 1\nprint(f'{x=}')\n", "x"),
        ("x = 1\nd = {'x': x}\n", "x"),
        ("x = 1\n__all__ = ['x']\n", "x"),
        ("n = 0\ndef f():\n    global n\n    n = 1\n", "n"),
        ("def f():\n    n = 0\n    def g():\n        nonlocal n\n        n = 1\n    return g\n", "n"),
        ("def f(size):\n    return size\n\ng = f\ng(size=1)\n", "size"),
        ("from functools import partial\ndef f(size):\n    return size\ng = partial(f, size=1)\n", "size"),
        ("def f(size):\n    return size\nf(**{k: 1 for k in c})\n", "size"),
        ("f = lambda size: size\nf(size=1)\n", "size"),
        ("class N:\n    def __call__(self, size):\n        return size\nn = N()\nn(size=1)\n", "size"),
        ("class N:\n    def run(self, size):\n        return size\nN().run(size=1)\n", "size"),
        ("def call(f, n):\n    return f(n=n)\ndef f(n):\n    return n\ncall(f, 1)\n", "n"),
        ("class C:\n    size = 1\nsize = 2\n", "size"),
        ("x: 'Net | None' = None\nclass Net:\n    pass\n", "Net"),
        ("__version__ = 1\n", "__version__"),
        ("from model import *\nx = Net()\n", "Net"),
        ("x = 1\nprint(locals())\n", "x"),
    ],
)
def test_names_that_something_else_depends_on_stay(text: str, stays: str) -> None:
    assert stays not in found(train=text).names


def test_names_that_are_the_workspaces_own_are_found() -> None:
    bindings = found(
        train="from model import Net\n\n\ndef run(lr, steps=2):\n    total = Net(lr)\n"
        "    return [total for step in range(steps)]\n\n\nLIMIT = run(lr=0.1)\n",
        model="class Net:\n    def __init__(self, rate):\n        self.rate = rate\n",
    )
    assert bindings.names == {"Net", "run", "lr", "steps", "total", "step", "LIMIT", "rate"}
    assert bindings.attributes == {"rate"}


def test_module_used_as_object_keeps_what_is_reached_through_it() -> None:
    bindings = found(train="import model\nnet = model.Net()\n", model="class Net:\n    pass\n")
    assert bindings.names == {"net"}


def test_star_import_keeps_names() -> None:
    bindings = found(train="from model import *\nnet = Net()\n", model="class Net:\n    pass\n")
    assert "Net" not in bindings.names


@pytest.mark.parametrize(
    "text",
    [
        "class N(nn.Module):\n    def __init__(self):\n        self.fc = 1\nN().fc\n",
        "class N(nn.Module):\n    def __init__(self):\n        self.fc = 1\nstate['fc.weight']\n",
        "class N(nn.Module):\n    def __init__(self):\n        self.fc = 1\ngetattr(n, name)\n",
        "class N(nn.Module):\n    def __init__(self):\n        self.fc = 1\n[k for k in s if 'f' in k]\n",
        "class N(nn.Module):\n    def __init__(self):\n        self.fc = 1\nlist(n.named_parameters())\n",
        "class N(Dataset):\n    def __init__(self):\n        self.fc = 1\n",
        "class N(nn.Module):\n    fc = 2\n    def __init__(self):\n        self.fc = 1\n",
        "class N(nn.Module):\n    @property\n    def fc(self):\n        return self.fc\n",
        "class N(nn.Module):\n    def forward(self):\n        return self.fc\n",
    ],
)
def test_attributes_that_may_be_seen_from_outside_stay(text: str) -> None:
    assert "fc" not in found(train=text).attributes


def test_torch_api_is_no_private_attribute() -> None:
    text = "class N(nn.Module):\n    def forward(self, x):\n        self.training = x, self.forward\n"
    assert not found(train=text).attributes


def test_keywords_of_the_workspaces_own_functions_follow_their_parameters() -> None:
    trees = {
        "train.py": cst.parse_module("from model import run\nrun(lr=1)\nAdam(lr=1)\n"),
        "model.py": cst.parse_module("def run(lr):\n    return lr\n"),
    }
    renamed = Names().apply(trees, Renaming((("lr", "rate"), ("run", "go"))))
    assert renamed["train.py"].code == "from model import go\ngo(rate=1)\nAdam(lr=1)\n"
    assert renamed["model.py"].code == "def go(rate):\n    return rate\n"


def test_names_of_modules_and_attributes_are_not_variables() -> None:
    text = "from model import Net\n\n\ndef f(model):\n    return model.model, x.f(model)\n"
    trees = {"train.py": cst.parse_module(text), "model.py": cst.parse_module("class Net:\n    pass\n")}
    renamed = Names().apply(trees, Renaming((("f", "g"), ("model", "net"))))["train.py"].code
    assert renamed == "from model import Net\n\n\ndef g(net):\n    return net.model, x.f(net)\n"


def test_vocabulary_offers_identifiers_that_shadow_nothing() -> None:
    for table in (WHOLE, ATTRIBUTES):
        for name, others in table.items():
            assert len(set(others)) == len(others) and name not in others
            assert all(other.isidentifier() and other not in RESERVED for other in others)
    assert all(other not in MODULE_API for others in ATTRIBUTES.values() for other in others)
    assert all(len(WHOLE[one]) == len(WHOLE[other]) for one, other in TWINS.items())


@pytest.mark.parametrize(
    "remark",
    [
        "# zero the gradients",
        "# clear old grads",
        "# evaluation mode",
        "# statistics of the training rows only",
        "# fit on training rows only",
        "# move the batch to the GPU",
        "# the device",
        "# (batch, channels, height, width)",
        "# [n, 64]",
        "# 3 x 32 x 32",
        "# no dropout here",
        "# held-out rows",
        "# never look at the test set",
        "# a small learning rate",
        "# warm up",
        "# zero_grad first",
        "# model.eval()",
        "# x_train.mean()",
    ],
)
def test_remarks_about_what_may_break_are_recognised(remark: str) -> None:
    assert speaks_of_bugs(remark)


@pytest.mark.parametrize("remark", ["# the model", "# settings", "# read the file", "# data", "# main loop"])
def test_plain_remarks_are_left(remark: str) -> None:
    assert not speaks_of_bugs(remark)


def test_only_the_sentence_that_gives_a_bug_away_is_lost() -> None:
    assert safe_sentences("Read it all. Runs on the\nGPU. Writes a file.") == [
        "Read it all.",
        "Writes a file.",
    ]


def test_remarks_are_dropped_whatever_the_draw() -> None:
    text = (
        '"""Train. Uses dropout."""\n\n# go\n# zero the gradients\nx = f(\n    1,  # evaluation mode\n)\n\n\n'
        'def f(a):\n    """Shapes are (n, 3)."""\n\n\n"""Held-out rows only."""\n'
    )
    for number in range(40):
        styled = restyle(Workspace.of({"train.py": text}, "train.py"), Draw("remarks", number))
        assert not any(
            word in styled.files["train.py"] for word in ("zero", "dropout", "mode", "Shapes", "Held")
        )


def test_output_leaves_files_and_what_is_computed_alone() -> None:
    text = (
        'print("epoch", file=log)\nlog.write("epoch  loss")\nprint(json.dumps({"epoch": 1}))\n'
        'print(f"{table[\'loss\']:>{width}} {x:.3e}")\nprint("{epoch} %d" % loss)\nprint(*rows)\n'
    )
    setting = OutputStyle(" | ", (("epoch", "ep"), ("loss", "cost")), "upper", 1, "03")
    assert Output().apply({"a.py": cst.parse_module(text)}, setting)["a.py"].code == text


def test_files_that_are_not_python_are_carried_along() -> None:
    workspace = Workspace.of({"train.py": "x = 1\n", "notes.txt": "zero the gradients\n"}, "train.py")
    styled = restyle(workspace, Draw("notes"))
    assert styled.files["notes.txt"] == "zero the gradients\n" and styled.entrypoint == "train.py"
