"""`inspect_gradients`: gradients and parameters as the first optimizer steps find them."""

from __future__ import annotations

import math
from typing import Any

from ..models import ActionRefused
from ..workbench import Workbench
from .base import Parameter
from .reports import Inspection, Part, Unusable, as_list, as_number, as_whole, columns, counted, figure

MOST_STEPS = 8
MOST_ROWS = 30
"""Parameters that are listed."""
MOST_REPORTED = 256


class InspectGradients(Inspection):
    name = "inspect_gradients"
    description = (
        "Run the job up to its first optimizer steps: the losses that were differentiated, and before each "
        "step the norm of every parameter's gradient; gradients that were there before the backward pass, "
        "and the size of the update. Of a job that steps by hand: after each of its first backward passes."
    )
    parameters = (Parameter("steps", int, f"how many steps to watch, at most {MOST_STEPS}", default=4),)
    driver = "gradients"

    def use(self, workbench: Workbench, **arguments: Any) -> str:
        if not 1 <= arguments["steps"] <= MOST_STEPS:
            raise ActionRefused(f"steps must be from 1 to {MOST_STEPS}")
        return super().use(workbench, **arguments)

    def say(self, report: Part, **arguments: Any) -> list[str]:
        parameters = report.parts("parameters", MOST_REPORTED)
        names = [
            (
                one.text("name", 60),
                "×".join(str(as_whole(side)) for side in one.items("shape", 16)) or "single",
            )
            for one in parameters
        ]
        if steps := report.parts("steps", MOST_STEPS):
            return [
                *_steps(steps),
                "",
                "Norm of each parameter's gradient when the step began, and of the parameter:",
                *_rows(names, [_read(one, names) for one in steps], "step"),
            ]
        if backwards := report.parts("backwards", MOST_STEPS):
            lines = ["No optimizer step was seen. Backward passes, with the norm of each gradient after it:"]
            for number, one in enumerate(backwards, 1):
                asked = "; its gradients were asked for, not left in .grad" if one.flag("asked") else ""
                held = "; there before: " + _held(one.items("held", 3))
                lines.append(f"backward {number}: loss {_losses(one)}{held}{asked}")
            return [*lines, *_rows(names, [_read(one, names) for one in backwards], "backward")]
        return ["No backward pass and no optimizer step was seen."]


def _steps(steps: list[Part]) -> list[str]:
    rows = []
    for number, one in enumerate(steps, 1):
        passes = one.whole("backwards")
        rows.append(
            [
                str(number),
                one.text("optimizer", 30) + (" (closure)" if one.flag("closure") else ""),
                _losses(one),
                str(passes),
                _held(one.items("held", 3)) if one.has("held") else "-",
                _number(one, "gradient"),
                _number(one, "parameter"),
                _number(one, "update"),
            ]
        )
    heads = "step,optimizer,loss,backward passes,gradients there before,|gradient|,|parameters|,|update|"
    return [
        "Norms are Euclidean, of all parameters of the optimizer together. Gradients there before: of those "
        "that the first backward pass since its previous step added to.",
        columns(rows, heads.split(",")),
    ]


def _number(one: Part, name: str) -> str:
    return figure(one.number(name), 3) if one.has(name) else "none"


def _losses(one: Part) -> str:
    found = one.items("losses", 8)
    shown = [as_shape(each) if isinstance(each, str) else figure(as_number(each)) for each in found]
    return ", ".join(shown) or "-"


def as_shape(value: str) -> str:
    """nan and inf, or the shape of what was differentiated."""
    if value in ("nan", "inf", "-inf"):
        return value
    if len(value) > 60:
        raise Unusable("no shape")
    return f"of shape {value}"


def _held(value: list[Any]) -> str:
    if len(value) != 3:
        raise Unusable("held")
    some, of, norm = as_whole(value[0]), as_whole(value[1]), as_number(value[2])
    return f"in {some} of {of} parameters, norm {figure(norm, 3)}" if some else "none"


def _read(one: Part, names: list[Any]) -> dict[int, tuple[float | None, float]]:
    """Place of a parameter → norm of its gradient, and its own."""
    found = {}
    for row in one.items("rows", MOST_REPORTED):
        if len(as_list(row, 3)) != 3 or not 0 <= as_whole(row[0]) < len(names):
            raise Unusable("row")
        found[row[0]] = (None if row[1] is None else as_number(row[1]), as_number(row[2]))
    return found


def _rows(
    names: list[tuple[str, str]], seen: list[dict[int, tuple[float | None, float]]], what: str
) -> list[str]:
    order = [index for index in range(len(names)) if any(index in one for one in seen)]
    # where there are too many, those with something special about them come first
    special = [index for index in order if any(_special(one.get(index)) for one in seen)]
    shown = sorted((special + [one for one in order if one not in special])[:MOST_ROWS])
    rows = []
    for index in shown:
        norms = [one[index][1] for one in seen if index in one]
        cells = [_cell(one[index][0]) if index in one else "" for one in seen]
        rows.append([*names[index], *cells, figure(norms[0], 3), figure(norms[-1], 3)])
    heads = [*(f"{what} {number}" for number in range(1, len(seen) + 1)), "parameter, first", "last"]
    lines = [columns(rows, ["name", "shape", *heads])]
    if len(order) > len(shown):
        lines.append(f"({counted(len(order) - len(shown), 'parameter')} more)")
    return lines


def _special(entry: tuple[float | None, float] | None) -> bool:
    return entry is not None and (entry[0] is None or not entry[0] or not math.isfinite(entry[0]))


def _cell(norm: float | None) -> str:
    return "None" if norm is None else figure(norm, 3)
