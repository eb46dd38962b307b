"""`inspect_optimizer`: what optimizers hold and what they did over the run."""

from __future__ import annotations

from typing import Any

from .reports import Inspection, Part, Unusable, as_list, as_number, as_text, as_whole, counted, figure

SHOWN_RATES = 8


class InspectOptimizer(Inspection):
    name = "inspect_optimizer"
    description = (
        "Run the job: every optimizer with its parameter groups and settings, the number of steps and of "
        "zero_grad calls, what came between its steps, its learning rates, schedulers, and parameters of the "
        "models that no optimizer holds."
    )
    driver = "optimizer"

    def say(self, report: Part, **arguments: Any) -> list[str]:
        lines: list[str] = []
        for one in report.parts("optimizers", 8):
            lines += _optimizer(one)
        if not lines:
            lines.append("No optimizer of torch.optim was made.")
        for one in report.parts("schedulers", 8):
            of = f" of {one.text('of', 40)}" if one.text("of", 40) else ""
            lines.append(f"{one.text('class', 60)}{of}: {counted(one.whole('steps'), 'step')}")
        for row in report.items("models", 16):
            if len(as_list(row, 3)) != 3:
                raise Unusable("models")
            lines.append(
                f"Model that was called: {as_text(row[0], 60)}, {counted(as_whole(row[1]), 'parameter')}, "
                f"{counted(as_whole(row[2]), 'element')}"
            )
        lines.append("Parameters of models that no optimizer holds: " + _named(report, "free"))
        if report.items("frozen", 2)[:1] != [0]:
            lines.append("Parameters of models that take no gradient: " + _named(report, "frozen"))
        return lines


def _optimizer(one: Part) -> list[str]:
    steps, empty = one.whole("steps"), one.whole("empty")
    lines = [
        f"{one.text('class', 60)}: {counted(steps, 'step')}, {counted(one.whole('zeroed'), 'zero_grad call')}"
    ]
    for number, group in enumerate(one.parts("groups", 6), 1):
        settings = group.named_texts("settings", 40)
        told = ", ".join(f"{name} {value}" for name, value in list(settings.items())[:14])
        lines.append(
            f"   group {number}: {counted(group.whole('parameters'), 'parameter')}, "
            f"{counted(group.whole('elements'), 'element')}" + (f"; {told}" if told else "")
        )
        lines.append(f"      learning rate: {_rates(group)}")
        if changed := group.named_texts("changed", 40):
            told = ", ".join(f"{name} {value}" for name, value in list(changed.items())[:8])
            lines.append(f"      at the end: {told}")
    if more := one.whole("more_groups"):
        lines.append(f"   ({counted(more, 'group')} more)")
    patterns = one.items("patterns", 10)
    if patterns:
        lines.append("   before each step, since the one before:")
    for row in patterns:
        if len(as_list(row, 2)) != 2:
            raise Unusable("patterns")
        lines.append(f"      {as_text(row[0], 260)}: {counted(as_whole(row[1]), 'time')}")
    if other := one.whole("other_patterns"):
        lines.append(f"      something else: {counted(other, 'time')}")
    if empty:
        lines.append(f"   steps at which every gradient was None or zero: {empty}")
    if steps and one.items("never", 2)[:1] != [0]:
        lines.append("   parameters whose gradient was None or zero at every step: " + _named(one, "never"))
    if foreign := one.whole("foreign"):
        lines.append(f"   parameters that are in no model that was called: {foreign}")
    return lines


def _rates(group: Part) -> str:
    runs = []
    for row in group.items("rates", 64):
        if len(as_list(row, 2)) != 2:
            raise Unusable("rates")
        rate = "none" if row[0] is None else figure(as_number(row[0]))
        runs.append(f"{rate} ({counted(as_whole(row[1]), 'step')})")
    changes = group.whole("changes")
    if not runs:
        return (figure(group.number("lr")) if group.has("lr") else "none") + " (never stepped)"
    if len(runs) > SHOWN_RATES:
        runs = [*runs[: SHOWN_RATES - 3], "…", *runs[-2:]]
    text = ", ".join(runs)
    return f"{text}; {counted(changes, 'change')}" if changes else text


def _named(one: Part, name: str) -> str:
    found = one.items(name, 2)
    if len(found) != 2:
        raise Unusable(name)
    number = as_whole(found[0])
    names = [as_text(each, 80) for each in as_list(found[1], 20)]
    if not number:
        return "none"
    more = f" and {number - len(names[:10])} more" if number > len(names[:10]) else ""
    return f"{number}: {', '.join(names[:10])}{more}"
