"""Tools that attach something to a run: what they show of small jobs whose facts are known."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from mldebug.env import Services
from mldebug.env.models import ActionRefused
from mldebug.env.tools.base import Toolbox
from mldebug.env.workbench import Workbench

from ...written import task

NAMES = ("leakage-tabular-1", "leakage-glyph-1")
Use = Callable[..., str]


@pytest.fixture
def use(services: Services, tools: Toolbox) -> Use:
    """Uses a tool on a job (its entry point's text, or files), on the CPU or the simulated accelerator."""

    def used(tool: str, job: str | dict[str, str], cuda: bool = False, **arguments: object) -> str:
        known = task(NAMES[cuda])
        files = {"train.py": job} if isinstance(job, str) else job
        return tools.use(Workbench(known, services, files, services.data(known)), tool, arguments)

    return used


def line_of(text: str, *, after: str) -> int:
    return text[: text.index(after)].count("\n") + 1


TRAINING = """\
import torch
from torch import nn

torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
x, y = torch.randn(32, 4).to(device), torch.randint(0, 3, (32,)).to(device)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(8, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.body(x))


net = Net().to(device)
used = [*net.body.parameters(), *net.head.parameters()]
optimizer = torch.optim.SGD(
    [{"params": used[:2]}, {"params": used[2:], "lr": 0.5}], lr=0.1, momentum=0.9
)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
for epoch in range(2):
    for start in (0, 16):
        loss = nn.functional.cross_entropy(net(x[start : start + 16]), y[start : start + 16])
        ZERO
        loss.backward()
        print("norm", f"{used[0].grad.norm().item():.3g}", f"loss {loss.item():.4g}")
        optimizer.step()
    scheduler.step()
net.eval()
with torch.no_grad():
    net(x[:10])
print("end", torch.rand(1).item())
"""
ZEROED = TRAINING.replace("ZERO", "optimizer.zero_grad()")
NOT_ZEROED = TRAINING.replace("ZERO", "pass")


def said(services: Services, job: str, cuda: bool = False) -> str:
    known = task(NAMES[cuda])
    return Workbench(known, services, {"train.py": job}, services.data(known)).run().stdout


@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("job", [ZEROED, NOT_ZEROED], ids=["zeroed", "held"])
def test_gradients_are_those_that_the_job_itself_sees(
    use: Use, services: Services, job: str, cuda: bool
) -> None:
    text = use("inspect_gradients", job, cuda, steps=4)
    told = said(services, job, cuda)
    assert text.startswith("The job was stopped here")
    row = next(line for line in text.splitlines() if line.startswith("body.0.weight"))
    assert row.split()[2:6] == re.findall(r"norm (\S+)", told)
    steps = [line.split() for line in text.splitlines() if re.match(r"\d +SGD", line)]
    assert [one[2] for one in steps] == re.findall(r"loss (\S+)", told)
    held = [" ".join(one[4:]).split(" norm")[0] for one in steps]
    if job is ZEROED:
        assert all(one.startswith("none") for one in held)
    else:
        assert held[0].startswith("none") and set(held[1:]) == {"in 4 of 4 parameters,"}
    assert "unused" not in text  # no optimizer holds it


def test_gradients_that_are_missing_or_not_finite_stand_out(use: Use) -> None:
    job = ZEROED.replace("used[0].grad.norm().item()", "0.0").replace(
        "loss.backward()", "(loss * float('nan')).backward(); used[3].grad = None"
    )
    text = use("inspect_gradients", job, steps=2)
    assert re.search(r"body\.0\.weight +8×4 +nan +nan", text)
    assert re.search(r"head\.bias +3 +None +None", text)


BY_HAND = """\
import torch

w = torch.ones(3, requires_grad=True)
for step in range(300):
    ((w * torch.tensor([3.0, 4.0, 0.0])).sum() * 2).backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
    RESET
"""


def test_a_job_that_steps_by_hand_is_shown_by_its_backward_passes(use: Use) -> None:
    text = use("inspect_gradients", BY_HAND.replace("RESET", "w.grad.zero_()"), steps=3)
    assert "backward 2: loss 4; there before: none" in text
    assert re.search(r"3 +10 +10 +10 +1\.\d+", text)
    text = use("inspect_gradients", BY_HAND.replace("RESET", "pass"), steps=3)
    assert "backward 2: loss 4; there before: in 1 of 1 parameters, norm 10" in text
    assert re.search(r"3 +10 +20 +30 ", text)


def test_closures_and_two_optimizers_keep_their_own_passes(use: Use) -> None:
    job = """\
import torch
a, b = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
one, two = torch.optim.LBFGS(a.parameters(), max_iter=2), torch.optim.SGD(b.parameters(), lr=0.1)
def closure():
    one.zero_grad()
    loss = a(torch.ones(4, 2)).pow(2).mean()
    loss.backward()
    return loss
for _ in range(2):
    one.step(closure)
    two.zero_grad()
    b(torch.ones(4, 2)).mean().backward()
    two.step()
"""
    text = use("inspect_gradients", job, steps=4)
    assert re.search(r"1 +LBFGS \(closure\) .* none ", text) and re.search(r"4 +SGD +\S+ +1 +none ", text)
    text = use("inspect_optimizer", job)
    assert re.search(
        r"zero_grad, backward, step of LBFGS#1|step of LBFGS#1, zero_grad, backward: 2 times", text
    )


@pytest.mark.parametrize("cuda", [False, True])
def test_optimizer_settings_steps_rates_and_what_is_left_out(use: Use, cuda: bool) -> None:
    text = use("inspect_optimizer", ZEROED, cuda)
    assert "SGD: 4 steps, 4 zero_grad calls" in text
    assert "group 1: 2 parameters, 40 elements; momentum 0.9" in text
    assert "learning rate: 0.1 (2 steps), 0.05 (2 steps); 1 change" in text
    assert "learning rate: 0.5 (2 steps), 0.25 (2 steps); 1 change" in text
    assert "zero_grad, backward: 3 times" in text and "step of StepLR, zero_grad, backward: 1 time" in text
    assert "StepLR of SGD: 2 steps" in text
    assert "no optimizer holds: 2: unused.weight, unused.bias" in text
    held = use("inspect_optimizer", NOT_ZEROED, cuda)
    assert (
        "SGD: 4 steps, 0 zero_grad calls" in held and "backward onto gradients already there: 2 times" in held
    )


@pytest.mark.parametrize("cuda", [False, True])
def test_shapes_of_each_kind_of_pass(use: Use, cuda: bool) -> None:
    text = use("print_shapes", ZEROED, cuda)
    where = " cuda:0" if cuda else ""
    assert f"body.0 (Linear): (16, 4) float32{where} -> (16, 8) float32{where}" in text
    assert "1. training mode, gradients on; 4 calls; first at train.py:28" in text
    assert (
        "2. evaluation mode, gradients off; 1 call" in text
        and f"head (Linear): (10, 8) float32{where}" in text
    )
    assert f"cross_entropy: (16, 3) float32{where}, (16,) int64{where} -> () float32{where}, 4 times" in text


def test_shapes_where_a_pass_raises(use: Use) -> None:
    text = use("print_shapes", ZEROED.replace("nn.Linear(8, 3)", "nn.Linear(9, 3)"))
    assert "It raised RuntimeError: mat1 and mat2 shapes cannot be multiplied" in text
    assert "(at train.py:17 in forward)" in text
    assert "head (Linear) was given (16, 8) float32" in text
    assert "Linear(in_features=9, out_features=3, bias=True)" in text and "parameter weight: (3, 9)" in text
    text = use("print_shapes", ZEROED.replace("y[start : start + 16])", "y[:15])"))
    assert "cross_entropy raised ValueError; it was given (16, 3) float32, (15,) int64" in text


def test_data_files_and_rows_that_reach_the_model(use: Use) -> None:
    job = """\
import torch
from torch import nn
rows = torch.arange(24.0).reshape(12, 2)
train, test = rows[:8], rows[6:]
model = nn.Linear(2, 1)
for _ in range(3):
    for part in train.split(4):
        nn.functional.mse_loss(model(part).squeeze(-1), part[:, 0]).backward()
    with torch.no_grad():
        model(test[:3]), model(test[3:])
"""
    text = use("inspect_data", job)
    assert re.search(r"data/train.npz +features +1400×16 +float32", text)
    assert re.search(r"label +1400 +int64 +0 +3 .*values 0:\d+ 1:\d+ 2:\d+ 3:\d+", text)
    assert "Linear in training mode, gradients on: 6 calls, 24 rows, 8 distinct" in text
    assert "min 0, max 15, mean 7.5, std 4.61; per feature: mean 7 to 8, std 4.583 to 4.583" in text
    assert "targets of these rows, (4,) float32 in mse_loss: min 0, max 14, mean 7, std 4.583" in text
    assert "gradients off: 6 calls, 18 rows, 6 distinct" in text
    assert "in passes with gradients too: 2" in text and "3 times, overlap 2 of 3" in text


EVALUATION = """\
import torch
from torch import nn

torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)).to(device)
x = torch.randn(40, 4).to(device)
net(x).sum().backward()
net.eval()
MODE
with torch.no_grad():
    print(net(x).sum().item())
print(net[1].running_mean.sum().item(), torch.rand(1).item())
"""


@pytest.mark.parametrize("cuda", [False, True])
def test_evaluation_is_repeated_aside(use: Use, cuda: bool) -> None:
    def differences(mode: str) -> list[str]:
        text = use("repeat_eval", EVALUATION.replace("MODE", mode), cuda)
        assert "In training mode with gradients, not repeated: 1 forward pass." in text
        return re.findall(r"(?:again|halves): (no difference|rounding only|largest)", text)

    assert differences("pass")[0] == "no difference" and "largest" not in differences("pass")
    assert differences("net[1].train()") == ["no difference", "largest"]
    assert differences("net[2].train()") == ["largest", "largest"]
    text = use("repeat_eval", EVALUATION.replace("MODE", "net[2].train()"), cuda)
    assert "layers in training mode: BatchNorm1d 0 of 1, Dropout 1 of 1" in text


@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("driver", ["shapes", "optimizer", "batches", "repeat", "crash"])
def test_what_is_attached_changes_nothing(services: Services, driver: str, cuda: bool) -> None:
    """Dropout, running statistics, random numbers and losses are printed by these jobs."""
    known = task(NAMES[cuda])
    for job in (ZEROED, EVALUATION.replace("MODE", "net.train()")):
        bench = Workbench(known, services, {"train.py": job}, services.data(known))
        plain, driven = bench.run(), bench.drive(driver)
        assert plain.outcome == "ok", plain.stderr
        assert (driven.result.stdout, driven.result.stderr) == (plain.stdout, plain.stderr)
        assert driven.report.get("faults", []) == [] and driven.report["final"] is True


TWO_FILES = {
    "train.py": (
        "from parts.model import Model\nm = Model()\nfor i in range(4):\n    m.forward(\n        i,\n    )\n"
    ),
    "parts/model.py": "class Model:\n    def forward(self, x):\n        y = x * 2\n        return y\n",
}


def test_trace_shows_expressions_in_the_frame_of_a_line(use: Use) -> None:
    text = use(
        "trace",
        TWO_FILES,
        file="parts/model.py",
        line=4,
        expressions=["x", "[y + i for i in (x, y)]", "z"],
        hits=2,
    )
    assert "parts/model.py:4 was reached 2 times" in text
    assert "1. in forward, called from train.py:4" in text
    assert text.count("z = NameError: name 'z' is not defined") == 2
    assert "   x = 1\n   [y + i for i in (x, y)] = [3, 4]" in text
    # a statement of several lines is one hit each time
    text = use("trace", TWO_FILES, file="train.py", line=4, expressions=["i"], hits=50)
    assert "was reached 4 times" in text and re.findall(r"i = (\d)", text) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("cuda", [False, True])
def test_trace_shows_tensors_and_leaves_random_numbers_alone(
    use: Use, services: Services, cuda: bool
) -> None:
    line = line_of(ZEROED, after="        loss.backward()")
    asked = ["x[0, :2]", "x", "net", "torch.randn(2)", "object()", "used[0].grad", "loss"]
    text = use("trace", ZEROED, cuda, file="train.py", line=line, expressions=asked, hits=4)
    assert (
        re.search(r"x\[0, :2\] = \(2,\) float32( cuda:0)? \[1\.\S+, -\S+\]", text)
        or "x[0, :2] = (2,)" in text
    )
    assert f"x = (32, 4) float32{' cuda:0' if cuda else ''}, min " in text
    assert "net = Net in training mode, 73 elements in parameters" in text
    assert "object() = <object object>" in text
    assert "used[0].grad = None" in text  # zeroed a line before
    losses = [float(one) for one in re.findall(r"loss = (\S+)", text)]
    assert [f"{one:.4g}" for one in losses] == re.findall(r"loss (\S+)", said(services, ZEROED, cuda))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"file": "model.py"}, "there is no Python file 'model.py'"),
        ({"file": "../train.py"}, "there is no Python file"),
        ({"file": "data/train.npz"}, "there is no Python file"),
        ({"line": 0}, "has lines 1 to"),
        ({"line": 10_000}, "has lines 1 to"),
        ({"hits": 51}, "hits must be from 1 to 50"),
        ({"expressions": []}, "give 1 to 8"),
        ({"expressions": ["1"] * 9}, "give 1 to 8"),
        ({"expressions": ["x ="]}, "is no Python expression"),
        ({"expressions": ["import os"]}, "is no Python expression"),
        ({"expressions": ["(" * 200]}, "is no Python expression"),
        ({"expressions": ["1\0"]}, "is no Python expression"),
        ({"expressions": ["x" * 201]}, "at most 200 characters"),
    ],
)
def test_trace_refuses_what_makes_no_sense(use: Use, arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(ActionRefused, match=re.escape(problem)):
        use("trace", ZEROED, **({"file": "train.py", "line": 3, "expressions": ["1"]} | arguments))


def test_trace_names_the_next_line_with_code(use: Use) -> None:
    text = use("trace", ZEROED, file="train.py", line=3, expressions=["1"])
    assert text == "Line 3 of train.py holds no code that runs by itself; the next line with code is 4."


def test_steps_are_bounded(use: Use) -> None:
    for steps in (0, 9, -1):
        with pytest.raises(ActionRefused, match="steps must be from 1 to 8"):
            use("inspect_gradients", ZEROED, steps=steps)
