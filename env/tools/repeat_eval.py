"""`repeat_eval`: whether evaluation gives the same result again."""

from __future__ import annotations

from typing import Any

from .reports import Inspection, Part, Unusable, as_list, as_text, as_whole, counted, figure, places

ROUNDING = 1e-5
"""Of the outputs' spread: what the order of additions alone makes, in single precision."""


class RepeatEval(Inspection):
    name = "repeat_eval"
    description = (
        "Run the job and repeat its forward passes without gradients on the same input, aside, without "
        "touching the job: the largest difference between repetitions, and to the same rows given in two "
        "halves, with the modes of dropout and normalisation layers meanwhile."
    )
    driver = "repeat"

    def say(self, report: Part, **arguments: Any) -> list[str]:
        lines: list[str] = []
        for number, one in enumerate(report.parts("groups", 16), 1):
            lines += _group(number, one)
        if not lines:
            lines.append("No forward pass without gradients or in evaluation mode was seen.")
        if report.flag("more_groups"):
            lines.append("(more kinds of passes were not looked at)")
        training = counted(report.whole("training_calls"), "forward pass", "forward passes")
        lines.append(f"In training mode with gradients, not repeated: {training}.")
        return lines


def _group(number: int, one: Part) -> list[str]:
    mode = "training" if one.flag("training") else "evaluation"
    gradients = "on" if one.flag("gradients") else "off"
    lines = [
        f"{number}. {one.text('model', 60)} in {mode} mode, gradients {gradients}, called at "
        f"{places(one.texts('place', 4, 80))}",
        f"   {counted(one.whole('calls'), 'call')}, the first with {', '.join(one.texts('in', 8, 80))}",
    ]
    layers = []
    for row in one.items("layers", 12):
        if len(as_list(row, 3)) != 3:
            raise Unusable("layers")
        layers.append(f"{as_text(row[0], 40)} {as_whole(row[1])} of {as_whole(row[2])}")
    if layers:
        lines.append(f"   layers in training mode: {', '.join(layers)}")
    repeated = one.whole("repeated")
    if repeated:
        spread = one.number("std")
        lines.append(
            f"   repeated {counted(repeated, 'call')}; the outputs' standard deviation is {figure(spread, 3)}"
        )
        lines.append(f"   same input again: {_difference(one, 'again', spread)}")
        if one.has("halves"):
            lines.append(f"   same rows in two halves: {_difference(one, 'halves', spread)}")
    if failed := one.text("failed", 60):
        lines.append(f"   not repeated: {failed}")
    return lines


def _difference(one: Part, name: str, spread: float) -> str:
    largest = one.number(name)
    if largest == 0:
        return "no difference"
    if largest <= ROUNDING * spread:
        return "rounding only"
    return f"largest difference {figure(largest, 3)}"
