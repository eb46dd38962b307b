"""Where held-out rows can reach training, in several styles, and where they only seem to."""

from __future__ import annotations

import textwrap

import pytest

from mldebug.clean_scripts.library import load_job, sources
from mldebug.mutators.analysis import analyse
from mldebug.mutators.data_leakage import DataLeakage
from mldebug.mutators.workspace import Workspace, splice

from ..jobs import each_job

CLASS = DataLeakage


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


def every_mutant(source: str) -> list[str]:
    return [text for one in CLASS.manifestations for text in mutants(one.name, source)]


def swap(source: str, *pairs: tuple[str, str]) -> str:
    text = textwrap.dedent(source)
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


LOADER = """\
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset


def fit_scaler(rows):
    low = rows.min(axis=0)
    return low, rows.max(axis=0) - low


def rescale(rows, low, width):
    return (rows - low) / width


def main():
    x, y = np.load("x.npy"), np.load("y.npy")
    held = np.zeros(len(x), dtype=bool)
    held[::5] = True
    low, width = fit_scaler(x[~held])
    x_fit = torch.from_numpy(rescale(x[~held], low, width))
    x_rest = torch.from_numpy(rescale(x[held], low, width))
    fit_set = TensorDataset(x_fit, torch.from_numpy(y[~held]))
    loader = DataLoader(fit_set, batch_size=32, shuffle=True)
    model = torch.nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(5):
        for a, b in loader:
            optimizer.zero_grad()
            loss = (model(a) - b).square().mean()
            loss.backward()
            optimizer.step()
        loss = (model(x_rest) - torch.from_numpy(y[held])).square().mean()
        print(epoch, loss.item())
"""


def test_a_fit_function_and_a_mask() -> None:
    assert mutants("scaled_by_all_rows", LOADER) == [swap(LOADER, ("fit_scaler(x[~held])", "fit_scaler(x)"))]


def test_normalised_where_the_parts_are_taken() -> None:
    assert mutants("normalised_before_split", LOADER) == [
        swap(
            LOADER,
            ("fit_scaler(x[~held])", "fit_scaler(x)"),
            ("    x_fit = ", "    x = torch.from_numpy(rescale(x, low, width))\n    x_fit = "),
            ("torch.from_numpy(rescale(x[~held], low, width))", "x[~held]"),
            ("torch.from_numpy(rescale(x[held], low, width))", "x[held]"),
        )
    ]


def test_features_and_labels_lose_their_index_together() -> None:
    assert mutants("trained_on_all_rows", LOADER) == [
        swap(LOADER, ("rescale(x[~held], low, width)", "rescale(x, low, width)"), ("y[~held]", "y"))
    ]


SLICES = """\
import torch


class Scaler:
    def fit(self, rows):
        self.mean = rows.mean(dim=0)
        self.std = rows.std(dim=0)
        return self

    def transform(self, rows):
        return (rows - self.mean) / self.std


x, y = torch.load("data.pt")
n_train = int(0.8 * len(x))
x_train, x_test = x[:n_train], x[n_train:]
y_train, y_test = y[:n_train], y[n_train:]
scaler = Scaler()
scaler.fit(x_train)
x_train = scaler.transform(x_train)
x_test = scaler.transform(x_test)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(100):
    optimizer.zero_grad()
    ((model(x_train) - y_train) ** 2).mean().backward()
    optimizer.step()
print(((model(x_test) - y_test) ** 2).mean())
"""


def test_a_scaler_object_and_slices() -> None:
    assert mutants("scaled_by_all_rows", SLICES) == [swap(SLICES, ("scaler.fit(x_train)", "scaler.fit(x)"))]
    assert mutants("trained_on_all_rows", SLICES) == [
        swap(SLICES, ("x_train, x_test = x[:n_train]", "x_train, x_test = x"), ("y[:n_train]", "y"))
    ]


DEVICE = """\
import torch

x, y = torch.load("data.pt")
order = torch.randperm(len(x))
test, train = order[:100], order[100:]
device = "cuda" if torch.cuda.is_available() else "cpu"
x_train = x[train].to(device)
x_test = x[test].to(device)
y_train = y[train].to(device)
# scale by what training sees
center = x_train.median(dim=0).values
spread = torch.quantile(x_train, 0.9, dim=0) - torch.quantile(x_train, 0.1, dim=0)
x_train = (x_train - center) / spread
x_test = (x_test - center) / spread
model = torch.nn.Linear(4, 1).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(100):
    optimizer.zero_grad()
    ((model(x_train) - y_train) ** 2).mean().backward()
    optimizer.step()
torch.save(model(x_test), "out.pt")
"""


def test_statistics_stay_on_the_device() -> None:
    wanted = textwrap.dedent(DEVICE).replace("x_train.median", "x.to(device).median")
    wanted = wanted.replace("quantile(x_train,", "quantile(x.to(device),")
    assert mutants("scaled_by_all_rows", DEVICE) == [wanted]


def test_normalisation_moves_before_the_split() -> None:
    (text,) = mutants("normalised_before_split", DEVICE)
    assert (
        """\
device = "cuda" if torch.cuda.is_available() else "cpu"
x = x.to(device)
center = x.median(dim=0).values
spread = torch.quantile(x, 0.9, dim=0) - torch.quantile(x, 0.1, dim=0)
x = (x - center) / spread
x_train = x[train].to(device)
x_test = x[test].to(device)
y_train = y[train].to(device)
model = """
        in text
    )


def test_all_or_half_of_the_held_out_indices() -> None:
    source = swap(
        DEVICE, ("order[:100], order[100:]", "order[:n], order[n:]"), ("order = ", "n = 100\norder = ")
    )
    assert mutants("overlapping_split", source) == [
        swap(source, ("order[n:]", "order")),
        swap(source, ("order[n:]", "order[n // 2 :]")),
    ]
    assert mutants("overlapping_split", DEVICE) == [swap(DEVICE, ("order[100:]", "order"))]


def test_roles_follow_training_not_names() -> None:
    source = textwrap.dedent(DEVICE)
    for old, new in (("test", "a"), ("train", "b")):
        source = source.replace(f"x_{old}", f"x_{new}").replace(f"y_{old}", f"y_{new}")
    source = source.replace("test, train = ", "first, second = ")
    source = source.replace("[train]", "[second]").replace("[test]", "[first]")
    assert mutants("overlapping_split", source) == [swap(source, ("order[100:]", "order"))]
    assert len(mutants("scaled_by_all_rows", source)) == 1


def test_a_split_function_of_another_module() -> None:
    split = textwrap.dedent(
        """\
        import numpy as np

        def divide(n, seed):
            order = np.random.default_rng(seed).permutation(n)
            k = n // 5
            return order[:k], order[k:]
        """
    )
    train = swap(
        DEVICE,
        ("import torch\n", "import torch\nfrom split import divide\n"),
        ("order = torch.randperm(len(x))\n", ""),
        ("order[:100], order[100:]", "divide(len(x), 1)"),
    )
    workspace = Workspace.of({"train.py": train, "split.py": split}, "train.py")
    script = analyse(workspace)
    one = CLASS.manifestation("overlapping_split")
    (site,) = one.sites(script)
    texts = [splice(workspace, one.edits(script, site, c)).files["split.py"] for c in range(site.choices)]
    assert texts == [split.replace("order[k:]", "order"), split.replace("order[k:]", "order[k // 2 :]")]


THREE = """\
import copy
import torch
from torch.utils.data import DataLoader, TensorDataset


def fit(model, train_loader, val_loader, epochs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    best, state = float("inf"), None
    for epoch in range(epochs):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimizer.step()
        val_loss = evaluate(model, val_loader)
        if val_loss < best:
            best, state = val_loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)


def evaluate(model, loader):
    with torch.no_grad():
        return sum((model(x) - y).square().sum().item() for x, y in loader)


x, y = torch.load("data.pt")
train_idx, val_idx, test_idx = torch.randperm(len(x)).split([600, 200, 200])
train_loader = DataLoader(TensorDataset(x[train_idx], y[train_idx]), batch_size=32, shuffle=True)
val_loader = DataLoader(TensorDataset(x[val_idx], y[val_idx]), batch_size=256)
test_loader = DataLoader(TensorDataset(x[test_idx], y[test_idx]), batch_size=256)
model = torch.nn.Linear(4, 1)
fit(model, train_loader, val_loader, 20)
print(evaluate(model, test_loader))
"""


def test_the_test_loader_given_for_validation() -> None:
    wanted = swap(
        THREE, ("fit(model, train_loader, val_loader, 20)", "fit(model, train_loader, test_loader, 20)")
    )
    assert mutants("selected_on_test", THREE) == [wanted]


def test_nothing_to_select_with_two_parts() -> None:
    source = swap(
        THREE,
        ("test_loader = DataLoader(TensorDataset(x[test_idx], y[test_idx]), batch_size=256)\n", ""),
        ("print(evaluate(model, test_loader))", "print(evaluate(model, val_loader))"),
    )
    assert mutants("selected_on_test", source) == []


def test_nothing_is_kept_so_nothing_is_selected() -> None:
    source = swap(THREE, ("best, state = val_loss, copy.deepcopy(model.state_dict())", "best = val_loss"))
    assert mutants("selected_on_test", source) == []


@pytest.mark.parametrize("names", [("x_train", "x_test"), ("Xtrain", "Xtest"), ("xTrainRows", "xTestRows")])
def test_words_decide_where_a_function_only_loads(names: tuple[str, str]) -> None:
    source = """\
        def load(x):
            x_train, x_test = x[:800], x[800:]
            mean = x_train.mean(axis=0)
            return x_train - mean, x_test - mean
        """
    source = source.replace("x_train", names[0]).replace("x_test", names[1])
    assert mutants("scaled_by_all_rows", source) == [swap(source, (f"{names[0]}.mean", "x.mean"))]
    without = textwrap.dedent(source).replace(names[0], "a").replace(names[1], "b")
    assert mutants("scaled_by_all_rows", without) == []


TRAINED = """\
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(100):
    optimizer.zero_grad()
    ((model(x_train) - y_train) ** 2).mean().backward()
    optimizer.step()
"""

SPLIT = """\
import torch

x, y = torch.load("data.pt")
x_train, x_test = x[train_idx], x[test_idx]
y_train, y_test = y[train_idx], y[test_idx]
"""

NO_STATISTIC = {
    "a count of classes": "classes = int(y_train.max()) + 1\nhead = torch.nn.Linear(4, classes)\n",
    "a count that is divided by": "n = int(y_train.max().item()) + 1\ny_train = y_train / n\n",
    "only printed": "print(x_train.mean(dim=0))\nmean = x_train.mean(dim=0)\nprint(mean)\n",
    "of held-out rows": "spread = y_test.var()\nprint(1 - loss / spread)\n",
    "of other data": "mean = reference.mean(dim=0)\nx_train = x_train - mean\n",
    "of outputs": "mean = model(x_train).mean(dim=0)\nprint(model(x_test) - mean)\n",
    "of an array changed in between": "x = x * 2\nmean = x_train.mean(dim=0)\nx_train = x_train - mean\n",
    "of a part of the training rows": "mean = x_train[:10].mean(dim=0)\nx_train = x_train - mean\n",
}


TRAINER = """\
import torch


class Trainer:
    def __init__(self, net):
        self.net = net
        self.optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def fit(self, x, y, others):
        for epoch in range(5):
            self.epoch(x, y)
            print(self.net(others).mean())

    def epoch(self, x, y):
        self.optimizer.zero_grad()
        (self.net(x) - y).square().mean().backward()
        self.optimizer.step()


def main():
    x, y = torch.load("data.pt")
    order = torch.randperm(len(x))
    one, two = order[20:], order[:20]
    mean, std = x[one].mean(dim=0), x[one].std(dim=0)
    x = (x - mean) / std
    trainer = Trainer(torch.nn.Linear(4, 1))
    trainer.fit(x[one], y[one], x[two])
    print((trainer.net(x[two]) - y[two]).square().mean())
"""


@pytest.mark.parametrize("call", ["trainer.fit", "Trainer(torch.nn.Linear(4, 1)).fit"])
def test_what_a_method_trains_with(call: str) -> None:
    source = swap(TRAINER, ("trainer.fit", call))
    found = mutants("scaled_by_all_rows", source)
    assert found and all(text != source for text in found)
    assert {"mean, std = x.mean(dim=0), x.std(dim=0)" in text for text in found} == {True}


@pytest.mark.parametrize("lines", NO_STATISTIC.values(), ids=NO_STATISTIC)
def test_no_statistic(lines: str) -> None:
    source = SPLIT + lines + TRAINED
    for name in (
        "scaled_by_all_rows",
        "target_scaled_by_all_rows",
        "filled_from_all_rows",
        "normalised_before_split",
    ):
        assert mutants(name, source) == []


def test_an_array_used_afterwards_is_not_normalised_in_its_place() -> None:
    lines = "mean = x_train.mean(dim=0)\nx_train = x_train - mean\nx_test = x_test - mean\n"
    assert len(mutants("normalised_before_split", SPLIT + lines + TRAINED)) == 1
    assert mutants("normalised_before_split", SPLIT + lines + TRAINED + "print(model(x))\n") == []
    assert mutants("normalised_before_split", SPLIT + lines + "x_test = x_test.flip(0)\n" + TRAINED) == []


def test_batches_are_no_split() -> None:
    source = """\
        import torch

        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        order = torch.randperm(len(x))
        for i in range(0, len(x), 32):
            batch = order[i : i + 32]
            optimizer.zero_grad()
            ((model(x[batch]) - y[batch]) ** 2).mean().backward()
            optimizer.step()
        """
    assert every_mutant(source) == []


def test_batch_statistics_inside_a_network_are_left_alone() -> None:
    source = """\
        import torch

        class Norm(torch.nn.Module):
            def forward(self, x, n_train):
                a, b = x[:n_train], x[n_train:]
                mean, std = a.mean(0), a.std(0)
                return (a - mean) / std, (b - mean) / std
        """
    assert every_mutant(source) == []


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
            offered.add(one.name)
    assert len(offered) >= 2
