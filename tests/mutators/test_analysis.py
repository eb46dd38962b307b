"""Facts, idioms, flow and edits of analysed scripts, on code written in several ways."""

from __future__ import annotations

import libcst as cst
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldebug.errors import UsageError
from mldebug.mutators import bindings, editing, flow, idioms, roles
from mldebug.mutators.analysis import Script, analyse
from mldebug.mutators.workspace import Workspace, splice

TRAINER = '''\
"""Écrit ailleurs."""
import argparse
import torch
import torch.nn.functional as F
from torch.optim import AdamW
from torch.utils.data import DataLoader
from net import build_net


class Trainer:
    def __init__(self, model, args, device):
        self.model = model.to(device)
        self.device = device
        self.opt = AdamW(self.model.parameters(), lr=args.lr)

    def fit(self, loader):
        for batch_idx, (data, target) in enumerate(loader):
            data, target = data.to(self.device), target.to(self.device)
            self.opt.zero_grad()
            output = self.model(data)
            loss = F.cross_entropy(output, target)
            loss.backward(); self.opt.step()

    @torch.no_grad()
    def test(self, loader):
        self.model.eval()
        return sum((self.model(x.to(self.device)).argmax(1) == y).sum() for x, y in loader)


def run(args):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(build_net(10), args, device)
    loader = DataLoader(make_set(), batch_size=64)
    for _ in range(3):
        trainer.fit(loader)
'''

NET = """\
import torch.nn as nn


class Base(nn.Module):
    pass


class Net(Base):
    def __init__(self, n):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.head = nn.Linear(8, n)

    def forward(self, x):
        return self.head(self.body(x))


def build_net(n):
    net = Net(n)
    return net
"""


def script_of(text: str, **others: str) -> Script:
    files = {"train.py": text, **{f"{name}.py": other for name, other in others.items()}}
    return analyse(Workspace.of(files, "train.py"))


@pytest.fixture(scope="module")
def trainer() -> Script:
    return script_of(TRAINER, net=NET)


def edited(script: Script, *edits: editing.Edit) -> str:
    return splice(script.workspace, edits).files["train.py"]


def call(script: Script, text: str) -> cst.Call:
    return next(one for one in script.calls() if script.text(one) == text)


# -- places and names ------------------------------------------------------------------------------------


def test_a_file_that_does_not_parse_is_named_with_its_line() -> None:
    with pytest.raises(UsageError, match=r"train\.py, line 3"):
        script_of("x = 1\ny = 2\nz = = 3\n")


@pytest.mark.parametrize("text", ["\ufeffx = 1\n", "x = 1\ry = 2\r"])
def test_text_that_libcst_would_change_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"train\.py, line 1"):
        script_of(text)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["é", "日本", "a", "𝄞", " "]), max_size=6).map("".join))
def test_spans_are_bytes_whatever_stands_before(noise: str) -> None:
    script = script_of(f'label = "{noise}"  # {noise}\nresult = f(label, [1, (2)])\n')
    assert {script.text(name) for name in script.nodes(cst.Name)} == {"label", "result", "f"}
    found = call(script, "f(label, [1, (2)])")
    start, end = script.span(found)
    assert script.workspace.files["train.py"].encode()[start:end].decode() == script.text(found)


def test_outer_span_takes_the_parentheses_along() -> None:
    script = script_of("y = ((a + b)) * c\n")
    both = next(one for one in script.nodes(cst.BinaryOperation) if script.text(one) == "a + b")
    assert script.file(both).slice(*script.outer_span(both)) == "((a + b))"


def test_nodes_come_in_source_order_and_answers_are_fresh(trainer: Script) -> None:
    found = trainer.nodes((cst.Call, cst.Name))
    assert [trainer.order(node) for node in found] == sorted(trainer.order(node) for node in found)
    found.clear()
    assert trainer.nodes((cst.Call, cst.Name))


@pytest.mark.parametrize(
    ("imports", "callee", "name"),
    [
        ("from torch import nn", "nn.Linear", "torch.nn.Linear"),
        ("import torch.nn as layers", "layers.Linear", "torch.nn.Linear"),
        ("import torch.nn.functional as F", "F.dropout", "torch.nn.functional.dropout"),
        ("import torch.nn.functional", "torch.nn.functional.relu", "torch.nn.functional.relu"),
        ("from torch.optim import AdamW as Opt", "Opt", "torch.optim.AdamW"),
        ("import numpy", "np.mean", None),
    ],
)
def test_callees_resolve_through_imports(imports: str, callee: str, name: str | None) -> None:
    script = script_of(f"{imports}\ny = {callee}(3)\n")
    assert script.resolve(call(script, f"{callee}(3)").func) == name


def test_a_parameter_hides_an_import() -> None:
    script = script_of("from torch import optim\ndef f(optim):\n    return optim.Adam(1)\noptim.Adam(2)\n")
    assert script.resolve(call(script, "optim.Adam(1)").func) is None
    assert script.resolve(call(script, "optim.Adam(2)").func) == "torch.optim.Adam"


def test_surroundings(trainer: Script) -> None:
    backward = call(trainer, "loss.backward()")
    assert trainer.qualname(backward) == "Trainer.fit"
    assert [trainer.line(loop) for loop in trainer.loop_stack(backward)] == [17]
    small = trainer.small_statement(backward)
    assert small is not None and trainer.text(small) == "loss.backward()"
    owner = trainer.class_of(backward)
    assert owner is not None and owner.name.value == "Trainer"
    site = trainer.site(backward)
    assert trainer.node_at(site, cst.Call) is backward


def test_definitions_are_followed_into_other_files(trainer: Script) -> None:
    made = trainer.definition(call(trainer, "build_net(10)").func)
    assert made is not None and trainer.file(made).name == "net.py"


# -- idioms ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("self.model.eval()", "model"),
        ("self.opt.zero_grad()", "optimizer"),
        ("loss.backward()", None),
    ],
)
def test_roles_are_followed_through_attributes_parameters_and_factories(
    trainer: Script, text: str, role: str | None
) -> None:
    func = call(trainer, text).func
    assert isinstance(func, cst.Attribute)
    assert roles.role(trainer, func.value) == role


@pytest.mark.parametrize(
    ("made", "role"),
    [
        ("torch.nn.Linear(2, 2)", "model"),
        ("torch.nn.Parameter(torch.zeros(2))", None),
        ("torch.optim.swa_utils.AveragedModel(net)", "model"),
        ("torch.optim.swa_utils.SWALR(optimizer, 0.1)", "scheduler"),
    ],
)
def test_roles_of_what_torch_makes(made: str, role: str | None) -> None:
    script = script_of(f"import torch\nthing = {made}\n")
    assert roles.role(script, script.assignments()[0].value) == role


def test_training_step_of_a_class(trainer: Script) -> None:
    (step,) = idioms.training_steps(trainer)
    assert [trainer.text(one) for one in step.zero_grads] == ["self.opt.zero_grad()"]
    assert [trainer.text(one) for one in step.steps] == ["self.opt.step()"]
    (loss,) = idioms.training_losses(trainer)
    assert (loss.kind, trainer.text(loss.output), trainer.text(loss.target)) == (
        "cross_entropy",
        "output",
        "target",
    )


def test_module_classes_and_layers_through_a_base_class(trainer: Script) -> None:
    assert [one.name.value for one in idioms.module_classes(trainer)] == ["Base", "Net"]
    found = [(layer.kind, layer.attribute) for layer in idioms.layers(trainer) if layer.kind == "Linear"]
    assert found == [("Linear", "body"), ("Linear", "head")]


@pytest.mark.parametrize(
    "text",
    [
        "import torch\nopt = torch.optim.SGD(p, lr=0.5)\n",
        "import torch\nRATE = 0.5\nopt = torch.optim.SGD(p, lr=RATE)\n",
        "import torch\nclass C:\n    lr: float = 0.5\nc = C()\nopt = torch.optim.SGD(p, lr=c.lr)\n",
        "import torch\ndef main(lr=0.5):\n    opt = torch.optim.SGD(p, lr=lr)\nmain()\n",
        "import torch\nfrom types import SimpleNamespace\n"
        "s = SimpleNamespace(lr=0.5, epochs=3)\nopt = torch.optim.SGD(p, lr=s.lr)\n",
    ],
)
def test_literals_behind_names_fields_and_defaults(text: str) -> None:
    script = script_of(text)
    (optimizer,) = idioms.optimizers(script)
    arg = editing.argument(optimizer.call, 1, "lr")
    assert arg is not None
    literal = bindings.literal_behind(script, arg.value)
    assert literal is not None and script.text(literal) == "0.5"


def test_flow_stays_in_the_call_it_entered_by() -> None:
    script = script_of("def f(v):\n    return v * 2\na = f(train)\nb = f(test)\nuse(b)\n")
    end = call(script, "use(b)").args[0].value
    passed = {script.text(origin.node) for origin in flow.flow(script, end)}
    assert "test" in passed and "train" not in passed


def test_flow_goes_through_loops_and_loaders(trainer: Script) -> None:
    (target,) = flow.training_targets(trainer)
    assert "target.to(self.device)" in {trainer.text(origin.node) for origin in flow.flow(trainer, target)}
    assert any(flow.without_gradient(trainer, one) for one in flow.model_calls(trainer))


# -- edits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a()\nx()\nb()\n", "a()\nb()\n"),
        ("a()\n# about x\nx()  # and this\nb()\n", "a()\nb()\n"),
        ("a()\n\nx()\n\nb()\n", "a()\n\nb()\n"),
        ("a()\nx()", "a()\n"),
        ("for i in y:\n    x()\n", "for i in y:\n    pass\n"),
        ("for i in y: x()\n", "for i in y: pass\n"),
        ("for i in y:\n    a()\n    x()\nb()\n", "for i in y:\n    a()\nb()\n"),
        ("a(); x(); b()\n", "a(); b()\n"),
        ("a(); x()\n", "a()\n"),
        ("x(); a()\n", "a()\n"),
        ("a()\r\nx()\r\nb()\r\n", "a()\r\nb()\r\n"),
    ],
)
def test_deleting_a_statement(before: str, after: str) -> None:
    script = script_of(before)
    assert edited(script, editing.delete_statement(script, call(script, "x()"))) == after


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (False, "def f():\n    a()\n    if c:\n        y = 1\n    # lead\n    x()\n"),
        (True, "def f():\n    a()\n    # lead\n    x()\n    if c:\n        y = 1\n"),
    ],
)
def test_inserting_lines_takes_the_indentation_of_the_place(after: bool, expected: str) -> None:
    script = script_of("def f():\n    a()\n    # lead\n    x()\n")
    insert = editing.insert_after if after else editing.insert_before
    assert edited(script, insert(script, call(script, "x()"), "if c:\n    y = 1")) == expected


def test_inserting_after_the_last_line_without_newline() -> None:
    script = script_of("def f():\n    x()")
    assert (
        edited(script, editing.insert_after(script, call(script, "x()"), "y()"))
        == "def f():\n    x()\n    y()"
    )


def test_moving_a_statement_into_the_loop_before_it() -> None:
    script = script_of("for i in y:\n    a()\nx()\nb()\n")
    edits = editing.move(script, call(script, "x()"), call(script, "a()"), after=True)
    assert edited(script, *edits) == "for i in y:\n    a()\n    x()\nb()\n"


@pytest.mark.parametrize(
    ("before", "index", "after"),
    [
        ("f(a, b, c)", 1, "f(a, c)"),
        ("f(a, b, c)", 0, "f(b, c)"),
        ("f(a, b,)", 1, "f(a,)"),
        ("f(a,)", 0, "f()"),
        ("f((a), k=(b))", 1, "f((a))"),
        ("f(\n    a,\n    b,\n)", 0, "f(\n    b,\n)"),
    ],
)
def test_dropping_an_argument(before: str, index: int, after: str) -> None:
    script = script_of(f"{before}\n")
    found = script.calls()[0]
    assert edited(script, editing.drop_argument(script, found, found.args[index])) == f"{after}\n"


@pytest.mark.parametrize(
    ("before", "after"), [("f()", "f(k=1)"), ("f(a)", "f(a, k=1)"), ("f(a, k=(2))", "f(a, k=1)")]
)
def test_setting_an_argument(before: str, after: str) -> None:
    script = script_of(f"{before}\n")
    assert edited(script, editing.set_argument(script, script.calls()[0], "k", "1")) == f"{after}\n"


def test_unwrapping_a_method_call() -> None:
    script = script_of("y = (a + b).to(device)\n")
    assert edited(script, editing.unwrap(script, call(script, "(a + b).to(device)"))) == "y = (a + b)\n"


def test_a_node_built_by_hand_is_rendered() -> None:
    script = script_of("y = x\n")
    name = next(one for one in script.nodes(cst.Name) if one.value == "x")
    assert edited(script, editing.replace(script, name, cst.parse_expression("f(1, *z)"))) == "y = f(1, *z)\n"
