"""`print_shapes`: what goes into each module and what comes out."""

from __future__ import annotations

from typing import Any

from .reports import Inspection, Part, Unusable, as_list, as_text, as_whole, counted, places

MOST_LINES = 60
MOST_PASSES = 10
SHOWN_LINES = 24
"""Of one pass, where there are several."""


class PrintShapes(Inspection):
    name = "print_shapes"
    description = (
        "Run the job: shape, type and device of what goes into each module and what comes out, for the first "
        "forward pass of each kind (training, evaluation), and what loss functions get. Where a pass raises: "
        "the modules it was in, what they were given, and the parameters' shapes."
    )
    driver = "shapes"

    def say(self, report: Part, **arguments: Any) -> list[str]:
        lines: list[str] = []
        seen: dict[tuple[str, ...], int] = {}
        passes = report.parts("passes", MOST_PASSES)
        for number, one in enumerate(passes, 1):
            mode = "training" if one.flag("training") else "evaluation"
            gradients = "on" if one.flag("gradients") else "off"
            place = places(one.texts("place", 4, 80))
            calls = counted(one.whole("calls"), "call") if one.whole("calls") else "no call came to its end"
            lines.append(f"{number}. {mode} mode, gradients {gradients}; {calls}; first at {place}")
            body = [_line(part) for part in one.parts("lines", MOST_LINES)]
            known = seen.setdefault(tuple(body), number)
            if known != number:
                lines.append(f"   the same shapes as in {known}")
            else:
                most = SHOWN_LINES if len(passes) > 1 else MOST_LINES
                lines += body[:most]
                if len(body) > most or one.flag("more"):
                    lines.append("   (more modules)")
            for part in one.parts("others", 8):
                lines.append(f"   later also: {_shapes(part)}")
        if losses := report.parts("losses", 16):
            lines.append("Losses:")
            lines += [f"   {one.text('name', 60)}: {_shapes(one)}, {_times(one)}" for one in losses]
        if not lines:
            lines.append("No forward pass of a module came to its end.")
        return lines + _failed(report)


def _line(one: Part) -> str:
    depth, name, kind = one.whole("depth"), one.text("name", 60), one.text("class", 40)
    title = kind if name == kind else f"{name} ({kind})"
    if one.flag("other_mode"):
        title += " [in the other mode]"
    times = one.whole("times")
    return f"   {'  ' * min(max(depth, 0), 12)}{title}: {_shapes(one)}" + (
        f", {times} times" if times > 1 else ""
    )


def _times(one: Part) -> str:
    return counted(one.whole("times"), "time")


def _shapes(one: Part) -> str:
    out = ", ".join(one.texts("out", 8, 80)) or "?"
    return f"{', '.join(one.texts('in', 8, 80)) or 'nothing'} -> {out}"


def _failed(report: Part) -> list[str]:
    lines = []
    if report.has("failed"):
        one = report.part("failed")
        mode = "training" if one.flag("training") else "evaluation"
        gradients = "on" if one.flag("gradients") else "off"
        lines.append(
            f"The last call that raised ({one.text('error', 60)}; {mode} mode, gradients {gradients}), "
            "outermost module first:"
        )
        chain = one.parts("chain", 1000)
        for depth, part in enumerate(chain[-12:]):
            name, kind = part.text("name", 60), part.text("class", 40)
            title = kind if name == kind else f"{name} ({kind})"
            lines.append(
                f"   {'  ' * depth}{title} was given {', '.join(part.texts('in', 8, 80)) or 'nothing'}"
            )
        if layer := one.text("layer", 200):
            lines.append(f"   the innermost one: {chain[-1].text('class', 40) if chain else ''}({layer})")
        for row in one.items("parameters", 8):
            if len(as_list(row, 2)) != 2:
                raise Unusable("parameters")
            sides = ", ".join(str(as_whole(side)) for side in as_list(row[1], 16))
            lines.append(f"   its parameter {as_text(row[0], 60)}: ({sides})")
    if report.has("failed_loss"):
        one = report.part("failed_loss")
        shapes = ", ".join(one.texts("in", 8, 80))
        lines.append(f"{one.text('name', 60)} raised {one.text('error', 60)}; it was given {shapes}")
    return lines
