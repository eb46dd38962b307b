"""What goes into a job's models, in training and in evaluation: figures of the rows, and which rows occur in
both."""

from __future__ import annotations

import math
from typing import Any

import torch

from .attach import before_writing, run, settings, write
from .describe import kind, quiet, values
from .watch import Call, Calls, Names, guarded, report, watch_losses, where

MOST_GROUPS = 8
MOST_SHAPES = 6
MOST_BATCHES = 12
"""Distinct batches without gradients that are listed one by one."""
MOST_KEYS = 400_000
"""Rows that are told apart; those that come later are not."""
MOST_COLUMNS = 4096
MOST_VALUES = 24
WRITTEN_CALLS = 30
"""Calls after which the report is written each time: what is left of a job that never ends."""

names = Names()
counts = {"calls": 0, "keys": 0}


class Total:
    """Figures of what is added, without keeping it: of all elements, and of each feature."""

    def __init__(self) -> None:
        self.count = self.nan = self.inf = 0
        self.least, self.most = math.inf, -math.inf
        self.columns: list[torch.Tensor] = []
        """Of each feature: how many, their sum, and the sum of their squares, about the first rows' mean."""
        self.shift: torch.Tensor | None = None

    def add(self, rows: torch.Tensor) -> None:
        """Rows (n, …) with the features on the axis of `features`."""
        if not rows.shape[0]:
            return
        columns = features(rows).double()
        finite = torch.isfinite(columns)
        self.count += columns.numel()
        self.nan += int(torch.isnan(columns).sum())
        self.inf += int(torch.isinf(columns).sum())
        kept = columns[finite]
        if kept.numel():
            self.least = min(self.least, float(kept.min()))
            self.most = max(self.most, float(kept.max()))
        if self.shift is None:
            self.shift = torch.where(finite, columns, 0.0).mean(dim=0)
            self.columns = [torch.zeros(columns.shape[1], dtype=torch.float64) for _ in range(3)]
        if columns.shape[1] != len(self.shift):
            return
        moved = torch.where(finite, columns - self.shift, 0.0)
        for sums, part in zip(self.columns, (finite.double(), moved, moved * moved), strict=True):
            sums += part.sum(dim=0)

    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = {"count": self.count, "nan": self.nan, "inf": self.inf}
        if self.shift is None or self.least > self.most:
            return found
        number, sums, squares = (one.clamp(min=1) if not at else one for at, one in enumerate(self.columns))
        means = self.shift + sums / number
        variances = (squares / number - (sums / number) ** 2).clamp(min=0)
        mean = float((means * number).sum() / number.sum())
        variance = float(((variances + (means - mean) ** 2) * number).sum() / number.sum())
        found |= {"min": self.least, "max": self.most, "mean": mean, "std": math.sqrt(variance)}
        if len(means) > 1:
            deviations = variances.sqrt()
            found["features"] = len(means)
            found["feature_means"] = [float(means.min()), float(means.max())]
            found["feature_stds"] = [float(deviations.min()), float(deviations.max())]
        return found


def features(rows: torch.Tensor) -> torch.Tensor:
    """As (values, features): the last axis of rows and of sequences, the channels of images."""
    if rows.dim() < 2:
        return rows.reshape(-1, 1)
    if rows.dim() > 3:
        rows = rows.movedim(1, -1)
    width = rows.shape[-1]
    return rows.reshape(-1, width) if width <= MOST_COLUMNS else rows.reshape(-1, 1)


class Group:
    """Forward passes of one model in one mode."""

    def __init__(self, model: str, training: bool, gradients: bool) -> None:
        self.told: dict[str, Any] = {
            "model": model,
            "training": training,
            "gradients": gradients,
            "calls": 0,
            "rows": 0,
            "shapes": {},
            "place": [],
        }
        self.keys: set[int] = set()
        self.complete = True
        self.total, self.targets = Total(), Total()
        self.target = ""
        self.labels: dict[str, int] = {}
        self.batches: dict[int, dict[str, Any]] = {}
        self.more_batches = 0
        self.fresh: torch.Tensor | None = None
        """Which rows of the last call were new."""


groups: dict[Any, Group] = {}
last: list[Group] = []
"""The group of the last call that may be followed by a loss."""


def row_keys(rows: torch.Tensor) -> list[int]:
    """A hash of the bytes of each row."""
    flat = rows.contiguous().cpu()
    content = flat.view(torch.uint8) if flat.dim() > 1 else flat.reshape(-1, 1).view(torch.uint8)
    array = content.reshape(flat.shape[0], -1).numpy()
    return [hash(row.tobytes()) for row in array]


def after(call: Call) -> None:
    if not call.is_root or next(call.module.parameters(), None) is None:
        return
    first = call.first()
    if first is None or not first.dim():
        return
    key = (id(call.module), call.module.training, call.gradients)
    group = groups.get(key)
    if group is None:
        if len(groups) >= MOST_GROUPS:
            return
        group = groups[key] = Group(names.module(call.module), call.module.training, call.gradients)
        group.told["place"] = where()
        call.note["new"] = True
    last[:] = [group]
    told = group.told
    told["calls"] += 1
    told["rows"] += first.shape[0]
    shape = kind(first)
    if shape in told["shapes"] or len(told["shapes"]) < MOST_SHAPES:
        told["shapes"][shape] = told["shapes"].get(shape, 0) + 1
    with quiet():
        look(group, first.detach(), call)
    counts["calls"] += 1
    if counts["calls"] <= WRITTEN_CALLS or call.note.get("new"):
        write(report)


def look(group: Group, rows: torch.Tensor, call: Call) -> None:
    group.fresh = None
    if rows.layout != torch.strided or not rows.numel():
        return
    if rows.shape[0] + counts["keys"] > MOST_KEYS:
        group.complete = False
        return
    keys = row_keys(rows)
    fresh = []
    for one in keys:
        fresh.append(one not in group.keys)
        group.keys.add(one)
    counts["keys"] += sum(fresh)
    group.fresh = torch.tensor(fresh)
    plain = rows.cpu()
    group.total.add(plain[group.fresh])
    if call.gradients:
        return
    digest = hash(tuple(keys))
    if digest in group.batches:
        group.batches[digest]["times"] += 1
    elif len(group.batches) < MOST_BATCHES:
        own = Total()
        own.add(plain)
        found: dict[str, Any] = {
            "shape": kind(rows),
            "times": 1,
            "place": where(),
        }
        group.batches[digest] = found | {"figures": own.figures(), "keys": set(keys)}
        call.note["new"] = True
    else:
        group.more_batches += 1


def loss(name: str, args: tuple[Any, ...], result: Any) -> None:
    """The targets of the rows that were new in the last pass."""
    if not last or not torch.is_grad_enabled() or len(args) < 2 or not isinstance(args[1], torch.Tensor):
        return
    group, target = last[0], args[1]
    last.clear()
    fresh = group.fresh
    if not group.told["gradients"] or fresh is None or not target.dim() or target.shape[0] != len(fresh):
        return
    group.target = group.target or f"{kind(target)} in {name}"
    with quiet():
        new = target.detach().cpu()[fresh]
        if target.is_floating_point():
            group.targets.add(new)
            return
        for one in values(new).tolist():
            label = str(int(one))
            if label in group.labels or len(group.labels) < MOST_VALUES:
                group.labels[label] = group.labels.get(label, 0) + 1


def summary() -> None:
    trained = set().union(*(one.keys for one in groups.values() if one.told["gradients"]))
    report["groups"] = [
        group.told
        | {
            "shapes": list(group.told["shapes"].items()),
            "distinct": len(group.keys),
            "complete": group.complete,
            "also_trained": len(group.keys & trained) if not group.told["gradients"] else 0,
            "figures": group.total.figures(),
            "target": group.target,
            "targets": group.targets.figures(),
            "labels": sorted(group.labels.items(), key=lambda one: int(one[0])),
            "batches": [
                {name: value for name, value in batch.items() if name != "keys"}
                | {"also_trained": len(batch["keys"] & trained), "distinct": len(batch["keys"])}
                for batch in group.batches.values()
            ],
            "more_batches": group.more_batches,
        }
        for group in groups.values()
    ]
    report["trained"] = len(trained)


def guarded_summary() -> None:
    with guarded():
        summary()


report.update(groups=[], trained=0)
before_writing.append(guarded_summary)
Calls(names, after=after)
watch_losses(loss)
run(report, settings()["entrypoint"])
