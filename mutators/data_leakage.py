"""Rows that are held out have a say in training: by a scale, as rows, or by which model is kept."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst

from .analysis import Script
from .base import Example, Manifestation, Mutator, Site
from .editing import delete_statement, insert_before, replace, replace_outer
from .normalisation import by_expression, in_place
from .row_statistics import Kind, Statistic, groups, kind
from .selection import selections
from .splits import Part
from .training_rows import lower_bound, training_arrays, training_orders
from .workspace import Edit

_SPLIT = """\
import torch
import torch.nn.functional as F

data = torch.load("data.pt")
x, y = data["x"], data["y"]
order = torch.randperm(len(x))
n_test = len(x) // 5
test_idx, train_idx = order[:n_test], order[n_test:]
"""

_FIT = """
model = torch.nn.Linear(x.shape[1], 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(20):
    optimizer.zero_grad()
    loss = F.mse_loss(model(x_train), y_train)
    loss.backward()
    optimizer.step()
print(F.mse_loss(model(x_test), y_test).item())
"""

_SCALED = """\
x_train, x_test = x[train_idx], x[test_idx]
y_train, y_test = y[train_idx], y[test_idx]
mean = x_train.mean(dim=0)
std = x_train.std(dim=0)
x_train = (x_train - mean) / std
x_test = (x_test - mean) / std
"""


class _Statistics(Manifestation):
    """Shared by the manifestations that compute a statistic on all rows instead of the training rows."""

    wanted: ClassVar[Kind]

    def sites(self, script: Script) -> list[Site]:
        return sorted(
            script.site(group[0].call) for group in groups(script) if kind(script, group) == self.wanted
        )

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        group = _group_at(script, site)
        return tuple(sorted({replace(script, one.rows, one.every) for one in group}))


def _group_at(script: Script, site: Site) -> tuple[Statistic, ...]:
    call = script.node_at(site, cst.Call)
    return next(group for group in groups(script) if group[0].call is call)


class ScaledByAllRows(_Statistics):
    name: ClassVar[str] = "scaled_by_all_rows"
    summary: ClassVar[str] = (
        "Mean and deviation (or minimum and maximum) come from all rows, held-out ones too."
    )
    seen_in: ClassVar[str] = (
        "Yang 2022 (preprocessing leakage); real reports of hand-written minimum and maximum, no scaler"
    )
    wanted: ClassVar[Kind] = "scale"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            _SPLIT + _SCALED + _FIT,
            _SPLIT + _SCALED.replace("x_train.mean", "x.mean").replace("x_train.std", "x.std") + _FIT,
        ),
        Example(
            "import numpy as np\n\n\ndef load(path):\n"
            "    features = np.load(path)\n    n_train = int(0.8 * len(features))\n"
            "    low, high = features[:n_train].min(axis=0), features[:n_train].max(axis=0)\n"
            "    train = (features[:n_train] - low) / (high - low)\n"
            "    test = (features[n_train:] - low) / (high - low)\n    return train, test\n",
            "import numpy as np\n\n\ndef load(path):\n"
            "    features = np.load(path)\n    n_train = int(0.8 * len(features))\n"
            "    low, high = features.min(axis=0), features.max(axis=0)\n"
            "    train = (features[:n_train] - low) / (high - low)\n"
            "    test = (features[n_train:] - low) / (high - low)\n    return train, test\n",
        ),
    )


_TARGET = """\
y_mean, y_std = y[train_idx].mean(), y[train_idx].std()
x_train, x_test = x[train_idx], x[test_idx]
y_train, y_test = (y[train_idx] - y_mean) / y_std, y[test_idx]
"""

_FIT_TARGET = _FIT.replace(
    "print(F.mse_loss(model(x_test), y_test).item())",
    "print(F.mse_loss(model(x_test) * y_std + y_mean, y_test).item())",
)


class TargetScaledByAllRows(_Statistics):
    name: ClassVar[str] = "target_scaled_by_all_rows"
    summary: ClassVar[str] = "The target's scale is computed from the labels of the held-out rows too."
    seen_in: ClassVar[str] = "Yang 2022 (preprocessing leakage), applied to the target"
    wanted: ClassVar[Kind] = "target"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            _SPLIT + _TARGET + _FIT_TARGET,
            _SPLIT
            + _TARGET.replace("y[train_idx].mean(), y[train_idx].std()", "y.mean(), y.std()")
            + _FIT_TARGET,
        ),
    )


_FILLED = """\
fill = x[train_idx].nanmedian(dim=0).values
x = torch.where(x.isnan(), fill, x)
x_train, x_test = x[train_idx], x[test_idx]
y_train, y_test = y[train_idx], y[test_idx]
"""


class FilledFromAllRows(_Statistics):
    name: ClassVar[str] = "filled_from_all_rows"
    summary: ClassVar[str] = "Missing values are filled with a statistic that the held-out rows are part of."
    seen_in: ClassVar[str] = "Yang 2022 (preprocessing leakage); bug catalogue of this project: imputer"
    wanted: ClassVar[Kind] = "fill"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            _SPLIT + _FILLED + _FIT, _SPLIT + _FILLED.replace("x[train_idx].nanmedian", "x.nanmedian") + _FIT
        ),
    )


_BEFORE_SPLIT = """\
mean = x.mean(dim=0)
std = x.std(dim=0)
x = (x - mean) / std
x_train, x_test = x[train_idx], x[test_idx]
y_train, y_test = y[train_idx], y[test_idx]
"""

_FUNCTION = """\
mean, std = x[train_idx].mean(dim=0), x[train_idx].std(dim=0)
x_train = (x[train_idx] - mean) / std
x_test = (x[test_idx] - mean) / std
y_train, y_test = y[train_idx], y[test_idx]
"""

_FUNCTION_BEFORE = """\
mean, std = x.mean(dim=0), x.std(dim=0)
x = (x - mean) / std
x_train = x[train_idx]
x_test = x[test_idx]
y_train, y_test = y[train_idx], y[test_idx]
"""


class NormalisedBeforeSplit(Manifestation):
    name: ClassVar[str] = "normalised_before_split"
    summary: ClassVar[str] = "The whole array is normalised first and divided into parts afterwards."
    seen_in: ClassVar[str] = (
        "Yang 2022 (preprocessing leakage); bug catalogue of this project: scaler before split"
    )
    examples: ClassVar[tuple[Example, ...]] = (
        Example(_SPLIT + _SCALED + _FIT, _SPLIT + _BEFORE_SPLIT + _FIT),
        Example(_SPLIT + _FUNCTION + _FIT, _SPLIT + _FUNCTION_BEFORE + _FIT),
    )

    def sites(self, script: Script) -> list[Site]:
        return sorted(
            script.site(group[0].call)
            for group in groups(script)
            if in_place(script, group) is not None or by_expression(script, group) is not None
        )

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        group = _group_at(script, site)
        array = group[0].part.base
        arrays = in_place(script, group)
        if arrays is not None:
            edits = [delete_statement(script, one) for one in arrays.gone]
            edits.append(insert_before(script, arrays.split, "\n".join(arrays.lines)))
            return tuple(sorted(edits))
        applied = by_expression(script, group)
        assert applied is not None
        edits = [replace(script, one.rows, one.every) for one in group]
        first = min((value for value, _ in applied.values), key=script.order)
        edits.append(insert_before(script, first, f"{array} = {applied.whole}"))
        edits += [replace_outer(script, value, script.text(part.node)) for value, part in applied.values]
        return tuple(sorted(edits))


class OverlappingSplit(Manifestation):
    name: ClassVar[str] = "overlapping_split"
    summary: ClassVar[str] = (
        "The training indices contain held-out rows, all of them or those behind a wrong bound."
    )
    seen_in: ClassVar[str] = "Yang 2022 (overlap leakage)"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            _SPLIT + _SCALED + _FIT,
            _SPLIT.replace("order[:n_test], order[n_test:]", "order[:n_test], order") + _SCALED + _FIT,
        ),
        Example(
            _SPLIT + _SCALED + _FIT,
            _SPLIT.replace("order[n_test:]", "order[n_test // 2 :]") + _SCALED + _FIT,
            choice=1,
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        return sorted(
            script.site(part.node, choices=2 if lower_bound(part) is not None else 1)
            for part in training_orders(script)
        )

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        node = script.node_at(site, cst.Subscript)
        part = next(one for one in training_orders(script) if one.node is node)
        if choice == 0:
            return (replace(script, node, part.base),)
        bound = lower_bound(part)
        assert bound is not None
        file = script.file(bound)
        gap = "" if file.data[script.span(bound)[1] :].startswith(b" ") else " "
        return (replace(script, bound, f"{script.text(bound)} // 2{gap}"),)


class TrainedOnAllRows(Manifestation):
    name: ClassVar[str] = "trained_on_all_rows"
    summary: ClassVar[str] = "What the loop trains on was never reduced to the training rows."
    seen_in: ClassVar[str] = "Yang 2022 (overlap leakage)"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            _SPLIT + _TARGET + _FIT_TARGET,
            _SPLIT
            + _TARGET.replace("x_train, x_test = x[train_idx]", "x_train, x_test = x").replace(
                "= (y[train_idx] - y_mean)", "= (y - y_mean)"
            )
            + _FIT_TARGET,
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        return sorted(script.site(found[0].node) for found in training_arrays(script))

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        node = script.node_at(site, cst.Subscript)
        found: tuple[Part, ...] = next(one for one in training_arrays(script) if one[0].node is node)
        return tuple(sorted(replace(script, part.node, part.base) for part in found))


_THREE = """\
import copy
import torch
import torch.nn.functional as F

data = torch.load("data.pt")
x, y = data["x"], data["y"]
order = torch.randperm(len(x))
test_idx, val_idx, train_idx = order[:200], order[200:400], order[400:]
model = torch.nn.Linear(x.shape[1], 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
best, best_state = float("inf"), None
for epoch in range(20):
    optimizer.zero_grad()
    loss = F.mse_loss(model(x[train_idx]), y[train_idx])
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        val_loss = F.mse_loss(model(x[val_idx]), y[val_idx]).item()
    if val_loss < best:
        best, best_state = val_loss, copy.deepcopy(model.state_dict())
model.load_state_dict(best_state)
print(F.mse_loss(model(x[test_idx]), y[test_idx]).item())
"""


class SelectedOnTest(Manifestation):
    name: ClassVar[str] = "selected_on_test"
    summary: ClassVar[str] = (
        "The best epoch is chosen by the loss on the test rows instead of the validation rows."
    )
    seen_in: ClassVar[str] = (
        "Yang 2022 (multi-test leakage); bug catalogue of this project: best epoch on test"
    )
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            _THREE,
            _THREE.replace(
                "F.mse_loss(model(x[val_idx]), y[val_idx])", "F.mse_loss(model(x[test_idx]), y[test_idx])"
            ),
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        return sorted(script.site(choice.measured) for choice in selections(script))

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        found = next(
            one
            for one in selections(script)
            if script.span(one.measured) == (site.start, site.end)
            and script.file(one.measured).name == site.file
        )
        return tuple(sorted(replace(script, name, other) for name, other in found.swaps))


class DataLeakage(Mutator):
    """Held-out rows must not influence what is trained or which model is kept; otherwise their score no
    longer says what happens on new rows. The influence is often small and indirect: a mean, a minimum, a
    fill value computed before the split. Nothing crashes, the metric even looks a little better, and only
    changing held-out rows shows it: training must not notice."""

    bug_class = "data_leakage"
    short = "leakage"
    manifestations = (
        ScaledByAllRows(),
        TargetScaledByAllRows(),
        FilledFromAllRows(),
        NormalisedBeforeSplit(),
        OverlappingSplit(),
        TrainedOnAllRows(),
        SelectedOnTest(),
    )
