"""`inspect_data`: the data files, and what of them reaches the models."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..workbench import Workbench
from .reports import (
    Inspection,
    Part,
    Unusable,
    as_list,
    as_number,
    as_text,
    as_whole,
    columns,
    counted,
    figure,
    places,
)

MOST_ARRAYS = 24
MOST_DISTINCT = 12
SHOWN_BATCHES = 8


class InspectData(Inspection):
    name = "inspect_data"
    description = (
        "The arrays of the data files; then run the job: figures of the rows that its models were given in "
        "training and in evaluation, of the targets that loss functions got, and which rows occur in both."
    )
    driver = "batches"

    def use(self, workbench: Workbench, **arguments: Any) -> str:
        shown = {path: content for path, content in workbench.data.items() if not workbench.hidden(path)}
        return "\n".join([*files(shown), "", super().use(workbench, **arguments)])

    def say(self, report: Part, **arguments: Any) -> list[str]:
        lines: list[str] = []
        trained = report.whole("trained")
        for number, one in enumerate(report.parts("groups", 8), 1):
            lines += _group(number, one, trained)
        return lines or ["No forward pass of a model with parameters was seen."]


def files(data: dict[str, bytes]) -> list[str]:
    """What lies in the data files, as a table."""
    rows: list[list[str]] = []
    for path, content in sorted(data.items()):
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                rows += [[path, *_array(name, archive[name])] for name in archive.files[:MOST_ARRAYS]]
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError, TypeError):
            rows.append([path, "", f"{len(content)} bytes"])
    heads = ["file", "array", "shape", "type", "min", "max", "mean", "std", "nan", "more"]
    return [columns(rows, heads)] if rows else ["There are no data files."]


def _array(name: str, array: npt.NDArray[Any]) -> list[str]:
    shape = "×".join(map(str, array.shape)) or "single"
    if array.dtype.kind not in "fiub" or not array.size:
        return [name[:40], shape, str(array.dtype), "", "", "", "", "", f"{len(np.unique(array))} distinct"]
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    numbers = [finite.min(), finite.max(), finite.mean(), finite.std()] if finite.size else []
    digits = 6 if array.dtype.kind in "iu" else 4
    cells = [figure(float(one), digits) for one in numbers] or [""] * 4
    return [
        name[:40],
        shape,
        str(array.dtype),
        *cells,
        str(int(np.isnan(values).sum())),
        "; ".join(_more(array)),
    ]


def _more(array: npt.NDArray[Any]) -> Iterator[str]:
    if array.dtype.kind in "iub":
        distinct, times = np.unique(array, return_counts=True)
        if len(distinct) <= MOST_DISTINCT:
            yield "values " + " ".join(f"{one}:{count}" for one, count in zip(distinct, times, strict=True))
        else:
            yield f"{len(distinct)} distinct"
    elif array.ndim in (2, 3) and 1 < array.shape[-1] <= 4096:
        flat = array.reshape(-1, array.shape[-1]).astype(np.float64)
        with np.errstate(all="ignore"):
            means, deviations = np.nanmean(flat, axis=0), np.nanstd(flat, axis=0)
        spread = _range(deviations.min(), deviations.max())
        yield f"per feature: mean {_range(means.min(), means.max())}, std {spread}"


def _group(number: int, one: Part, trained: int) -> list[str]:
    gradients = one.flag("gradients")
    mode = "training" if one.flag("training") else "evaluation"
    distinct = one.whole("distinct")
    lines = [
        f"{number}. {one.text('model', 60)} in {mode} mode, gradients {'on' if gradients else 'off'}: "
        f"{counted(one.whole('calls'), 'call')}, {counted(one.whole('rows'), 'row')}, {distinct} distinct"
        + ("" if one.flag("complete") else " (of the first ones)"),
        f"   first at {places(one.texts('place', 4, 80))}",
    ]
    shapes = []
    for row in one.items("shapes", 8):
        if len(as_list(row, 2)) != 2:
            raise Unusable("shapes")
        shapes.append(f"{as_text(row[0], 60)} ×{as_whole(row[1])}")
    lines.append(f"   input: {', '.join(shapes)}")
    lines.append(f"   distinct rows: {_figures(one.part('figures'))}")
    if not gradients:
        lines.append(
            f"   of the {distinct} distinct rows, in passes with gradients too: {one.whole('also_trained')}"
        )
    if target := one.text("target", 80):
        lines.append(f"   targets of these rows, {target}: {_targets(one)}")
    batches = one.parts("batches", 12)
    if len(batches) + one.whole("more_batches") < 2:
        return lines
    lines.append(
        "   each distinct batch, in order of appearance; overlap: those of its rows that passes with "
        "gradients had too"
    )
    for batch in batches[:SHOWN_BATCHES]:
        lines.append(
            f"     {batch.text('shape', 60)}, {counted(batch.whole('times'), 'time')}, overlap "
            f"{batch.whole('also_trained')} of {batch.whole('distinct')}, at "
            f"{places(batch.texts('place', 4, 80)[-1:])}: {_figures(batch.part('figures'))}"
        )
    more = one.whole("more_batches") + sum(batch.whole("times") for batch in batches[SHOWN_BATCHES:])
    if more:
        lines.append(f"     and {counted(more, 'other batch', 'other batches')}")
    return lines


def _targets(one: Part) -> str:
    labels = []
    for row in one.items("labels", 32):
        if len(as_list(row, 2)) != 2:
            raise Unusable("labels")
        labels.append(f"{as_text(row[0], 24)}:{as_whole(row[1])}")
    return "values " + " ".join(labels) if labels else _figures(one.part("targets"))


def _figures(one: Part) -> str:
    if not one.has("min"):
        return "no finite values"
    least, most, mean, std = (one.number(name) for name in ("min", "max", "mean", "std"))
    parts = [f"min {figure(least)}, max {figure(most)}, mean {_relative(mean, std)}, std {figure(std)}"]
    if one.has("features"):
        means, deviations = (one.items(f"feature_{name}", 2) for name in ("means", "stds"))
        if len(means) != 2 or len(deviations) != 2:
            raise Unusable("features")
        low, high = (as_number(each) for each in means)
        least, most = (as_number(each) for each in deviations)
        parts.append(f"per feature: mean {_range(low, high, std)}, std {_range(least, most)}")
    parts += [f"{one.whole(name)} {name}" for name in ("nan", "inf") if one.whole(name)]
    return "; ".join(parts)


def _range(low: float, high: float, std: float = 0.0) -> str:
    return f"{_relative(float(low), std)} to {_relative(float(high), std)}"


def _relative(mean: float, std: float) -> str:
    """A mean; what is nothing beside the spread is 0, as rounding decides its digits."""
    return "0" if abs(mean) <= 2e-5 * std else figure(mean)
