"""Where evaluation can lose its mode, in several styles, and where losing a call changes nothing."""

from __future__ import annotations

import textwrap

import pytest

from mldebug.clean_scripts.library import load_job, sources
from mldebug.mutators.analysis import analyse
from mldebug.mutators.missing_eval_mode import MissingEvalMode
from mldebug.mutators.workspace import Workspace, splice

from ..jobs import each_job

CLASS = MissingEvalMode


def workspace_of(**files: str) -> Workspace:
    return Workspace.of({f"{name}.py": textwrap.dedent(text) for name, text in files.items()}, "train.py")


def mutants(name: str, workspace: Workspace) -> list[Workspace]:
    script = analyse(workspace)
    one = CLASS.manifestation(name)
    return [
        splice(workspace, one.edits(script, site, choice))
        for site in one.sites(script)
        for choice in range(site.choices)
    ]


def texts(name: str, source: str) -> list[str]:
    """Every mutant of one manifestation of a script in one file."""
    return [one.files["train.py"] for one in mutants(name, workspace_of(train=source))]


def everything(source: str) -> dict[str, int]:
    counts = {one.name: len(texts(one.name, source)) for one in CLASS.manifestations}
    return {name: count for name, count in counts.items() if count}


def swap(source: str, *pairs: tuple[str, str]) -> str:
    text = textwrap.dedent(source)
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


LOOP = """\
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
for epoch in range(5):
    model.train()
    nn.functional.cross_entropy(model(x), y).backward()
    model.eval()
    right = 0
    with torch.no_grad():
        for a, b in loader:
            right += (model(a).argmax(1) == b).sum().item()
    print(epoch, right)
"""

TRAINER = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.drop = nn.Dropout(p=0.5)

    def forward(self, x):
        return self.fc(self.drop(x))


class Trainer:
    def __init__(self, device):
        self.model = Net().to(device)

    def fit(self, x, y):
        for epoch in range(3):
            self.model.train()
            nn.functional.cross_entropy(self.model(x), y).backward()
            self.validate(x, y)

    def validate(self, x, y):
        self.model.eval()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(self.model(x), y)
        self.model.train()
        return loss

    def predict(self, x):
        self.model.eval()
        with torch.no_grad():
            return self.model(x)


def main():
    trainer = Trainer("cpu")
    trainer.fit(x, y)
    print(trainer.predict(z))


if __name__ == "__main__":
    main()
"""

REDUNDANT = TRAINER.replace("        self.model.train()\n        return loss\n", "        return loss\n")


@pytest.mark.parametrize(
    "taken", ["model(a).argmax(1)", "model(a).max(dim=1).indices", "model(a).T.argmax(0)"]
)
def test_a_model_is_found_below_attributes(taken: str) -> None:
    assert everything(swap(LOOP, ("model(a).argmax(1)", taken))) == everything(LOOP)


def test_a_loop_at_the_top_level() -> None:
    assert texts("eval_removed", LOOP) == [swap(LOOP, ("    model.eval()\n", ""))]
    assert texts("train_instead", LOOP) == [swap(LOOP, ("    model.eval()\n", "    model.train()\n"))]
    count = "            right += (model(a).argmax(1) == b).sum().item()\n"
    assert texts("switched_back", LOOP) == [
        swap(LOOP, (count, count + "            model.train()\n")),
        swap(LOOP, ("    right = 0\n", "    right = 0\n    model.train()\n")),
    ]
    assert texts("eval_afterwards", LOOP) == [
        swap(LOOP, ("    model.eval()\n", ""), (count, count + "    model.eval()\n"))
    ]


def test_the_prediction_of_a_class_forgets_it() -> None:
    predict = "    def predict(self, x):\n        self.model.eval()\n"
    assert texts("one_place_forgotten", TRAINER) == [swap(TRAINER, (predict, "    def predict(self, x):\n"))]


def test_a_call_that_repeats_another_is_no_site_by_itself() -> None:
    """Validation leaves the model in evaluation mode: only if it restores training the other counts."""
    predict = "    def predict(self, x):\n        self.model.eval()\n"
    assert texts("one_place_forgotten", REDUNDANT) == [
        swap(
            REDUNDANT,
            (predict, "    def predict(self, x):\n"),
            ("        return loss\n", "        self.model.train()\n        return loss\n"),
        )
    ]
    assert texts("eval_removed", REDUNDANT) == [REDUNDANT.replace("        self.model.eval()\n", "")]


def test_validation_alone_is_no_site_where_the_prediction_is_right() -> None:
    """What a job reports at its end stays right, so nothing could show the bug."""
    validate = "    def validate(self, x, y):\n        self.model.eval()\n"
    for name in ("one_place_forgotten", "train_instead"):
        for text in texts(name, TRAINER):
            assert validate in text


def test_a_dropout_layer_becomes_functional() -> None:
    assert texts("dropout_made_functional", TRAINER) == [
        swap(
            TRAINER,
            ("nn.Dropout(p=0.5)", "0.5"),
            ("self.drop(x)", "nn.functional.dropout(x, self.drop)"),
        )
    ]


@pytest.mark.parametrize(
    "use",
    [
        "self.fc(x) if self.drop is None else self.fc(self.drop(x))",
        "self.fc(self.drop(input=x))",
        "self.fc(x)",
    ],
)
def test_a_dropout_layer_used_otherwise_stays(use: str) -> None:
    source = swap(TRAINER, ("self.fc(self.drop(x))", use))
    assert texts("dropout_made_functional", source) == []


FUNCTIONAL = """\
import torch
import torch.nn.functional as F


class Net(torch.nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, x):
        x = F.dropout(x, self.p, self.training)
        return self.fc(x)


net = Net(0.2)
F.cross_entropy(net(x), y).backward()
net.eval()
print(net(z))
"""


def test_functional_dropout_with_a_positional_mode() -> None:
    assert texts("functional_ignores_mode", FUNCTIONAL) == [
        swap(FUNCTIONAL, ("F.dropout(x, self.p, self.training)", "F.dropout(x, self.p)")),
        swap(FUNCTIONAL, ("F.dropout(x, self.p, self.training)", "F.dropout(x, self.p, True)")),
    ]


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("F.alpha_dropout(x, 0.1, training=self.training)", ["F.alpha_dropout(x, 0.1, training=True)"]),
        ("torch.dropout(x, 0.1, self.training)", ["torch.dropout(x, 0.1, True)"]),
        ("F.dropout(x, training=self.training, p=0.1)", ["F.dropout(x, training=True, p=0.1)"]),
        ("F.dropout(x, 0.0, training=self.training)", []),
        ("F.dropout(x, 0.1, training=False)", []),
    ],
)
def test_functional_dropouts(call: str, wanted: list[str]) -> None:
    source = swap(FUNCTIONAL, ("F.dropout(x, self.p, self.training)", call))
    assert texts("functional_ignores_mode", source) == [source.replace(call, one) for one in wanted]


def test_a_functional_dropout_alone_makes_eval_matter() -> None:
    assert texts("eval_removed", FUNCTIONAL) == [swap(FUNCTIONAL, ("net.eval()\n", ""))]


def test_a_model_in_a_second_module() -> None:
    net = """\
        from torch import nn

        def block(width):
            return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = block(4)

            def forward(self, x):
                return self.body(x)
        """
    train = """\
        from net import Net

        def predict(model, x):
            model.eval()
            return model(x)

        def main():
            model = Net()
            model(x).sum().backward()
            return predict(model, z)

        main()
        """
    (one,) = mutants("eval_removed", workspace_of(train=train, net=net))
    assert one.files["train.py"] == swap(train, ("    model.eval()\n", ""))
    plain = textwrap.dedent(net).replace("nn.BatchNorm1d(width)", "nn.GroupNorm(1, width)")
    for name in (one.name for one in CLASS.manifestations):
        assert mutants(name, workspace_of(train=train, net=plain)) == []


@pytest.mark.parametrize(
    "layer",
    ["nn.LayerNorm(8)", "nn.GroupNorm(2, 8)", "nn.Identity()", "nn.Dropout(0.0)", "nn.InstanceNorm1d(8)"],
)
def test_layers_without_modes(layer: str) -> None:
    assert everything(swap(LOOP, ("nn.BatchNorm1d(8)", layer))) == {}


@pytest.mark.parametrize(
    "layer",
    ["nn.Dropout()", "nn.BatchNorm2d(8)", "nn.InstanceNorm1d(8, track_running_stats=True)", "nn.RReLU()"],
)
def test_layers_with_modes(layer: str) -> None:
    assert everything(swap(LOOP, ("nn.BatchNorm1d(8)", layer)))


def test_of_two_models_only_the_one_with_modes() -> None:
    source = """\
        from torch import nn

        plain = nn.Linear(4, 4)
        noisy = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        noisy(plain(x)).sum().backward()
        plain.eval()
        noisy.eval()
        print(noisy(plain(z)))
        """
    assert texts("train_instead", source) == [swap(source, ("noisy.eval()", "noisy.train()"))]


def test_a_flag_for_the_mode() -> None:
    source = """\
        from torch import nn

        def run(model, batches, optimizer=None):
            model.train(optimizer is not None)
            for x in batches:
                model(x)

        model = nn.Dropout(0.5)
        run(model, data, optimizer)
        run(model, data)
        """
    assert texts("train_instead", source) == [
        swap(source, ("model.train(optimizer is not None)", "model.train()"))
    ]


def test_train_false_is_eval() -> None:
    source = swap(LOOP, ("model.eval()", "model.train(False)"))
    assert texts("eval_removed", source) == [swap(source, ("    model.train(False)\n", ""))]
    assert texts("train_instead", source) == [swap(source, ("model.train(False)", "model.train()"))]


def test_a_function_nobody_here_calls() -> None:
    source = """\
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm = nn.BatchNorm1d(4)

        def evaluate(network, loader):
            network.eval()
            with torch.no_grad():
                return torch.cat([network(x) for x in loader])
        """
    assert texts("eval_removed", source) == [swap(source, ("    network.eval()\n", ""))]
    assert everything(source.replace("nn.BatchNorm1d(4)", "nn.LayerNorm(4)")) == {}


NOWHERE = {
    "never evaluated": LOOP.replace("    model.eval()\n", ""),
    "another eval": "import pandas as pd\nframe = pd.read_csv('x.csv')\nframe.eval('a + b')\n",
    "never called": LOOP.replace("model(a)", "other(a)"),
}


@pytest.mark.parametrize("source", NOWHERE.values(), ids=NOWHERE)
def test_nowhere(source: str) -> None:
    assert everything(source) == {}


def test_of_two_calls_in_a_row_none_is_needed_but_both_are() -> None:
    source = swap(LOOP, ("    model.eval()\n", "    model.eval()\n    model.eval()\n"))
    assert texts("one_place_forgotten", source) == []
    assert texts("eval_removed", source) == [swap(LOOP, ("    model.eval()\n", ""))]


@each_job("job", __name__)
def test_library(job: str) -> None:
    workspace = Workspace.of(dict(sources(job)), load_job(job).entrypoint)
    script = analyse(workspace)
    offered = set()
    for one in CLASS.manifestations:
        sites = one.sites(script)
        assert sites == sorted(sites) == one.sites(analyse(workspace))
        for site in sites:
            found = {splice(workspace, one.edits(script, site, choice)) for choice in range(site.choices)}
            assert len(found) == site.choices and workspace not in found
            offered.add(one.name)
    assert len(offered) >= 2
