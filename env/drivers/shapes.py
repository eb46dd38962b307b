"""Shapes that go into modules and come out, for the first passes of each kind; and where a pass raised."""

from __future__ import annotations

from typing import Any

from torch import nn

from .attach import before_writing, run, settings, without_places, write
from .describe import kinds, tensors_in
from .watch import Call, Calls, Names, report, watch_losses, where

MOST_LINES = 60
"""Of one pass."""
MOST_PASSES = 10
MOST_LOSSES = 12
MOST_OTHERS = 5
"""Other input shapes of a pass that is known."""

names = Names()
passes: dict[Any, dict[str, Any]] = {}
losses: dict[Any, dict[str, Any]] = {}
modules: list[tuple[dict[str, Any], nn.Module]] = []
"""What each line is about: names are given at the end, when all models are known."""
failed: list[BaseException] = []
"""The exception that was noted last."""


def given(call: Call) -> list[str]:
    return kinds((*call.args, *call.kwargs.values()))


def has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def before(call: Call) -> None:
    root = call.inside[0] if call.inside else call
    if call.is_root:
        if not has_parameters(call.module):
            return
        key = (id(call.module), call.module.training, call.gradients)
        if key in passes:
            call.note["pass"] = passes[key]
            return
        if len(passes) >= MOST_PASSES:
            return
        call.note["pass"] = passes[key] = {
            "training": call.module.training,
            "gradients": call.gradients,
            "place": where(),
            "lines": [],
            "others": [],
            "calls": 0,
        }
        call.note["lines"] = {}
        report["passes"].append(passes[key])
    lines = root.note.get("lines")
    if lines is None:
        return
    line = (id(call.module), len(call.inside), tuple(given(call)))
    if line in lines:
        lines[line]["times"] += 1
    elif len(lines) < MOST_LINES:
        call.note["line"] = lines[line] = {
            "depth": len(call.inside),
            "class": type(call.module).__name__,
            "in": given(call),
            "out": [],
            "times": 1,
            "other_mode": call.module.training != root.module.training,
        }
        root.note["pass"]["lines"].append(lines[line])
        modules.append((lines[line], call.module))
    else:
        root.note["pass"]["more"] = True


def after(call: Call) -> None:
    line = call.note.get("line")
    if line is not None:
        line["out"] = kinds(call.result)
    if not call.is_root:
        return
    found = call.note.get("pass")
    if found is None:
        if not has_parameters(call.module) and next(tensors_in(call.args), None) is not None:
            note_loss(type(call.module).__name__, call.args, call.result, call.gradients)
        return
    found["calls"] += 1
    if line is None:
        seen = [found["lines"][0]["in"], *(one["in"] for one in found["others"])]
        if given(call) not in seen and len(found["others"]) < MOST_OTHERS:
            found["others"].append({"in": given(call), "out": kinds(call.result)})
            write(report)
    else:
        write(report)


def raised(call: Call, error: BaseException) -> None:
    if failed and failed[0] is error:
        return
    failed[:] = [error]
    own = [(name, list(one.shape)) for name, one in call.module.named_parameters(recurse=False)]
    report["failed"] = {
        "chain": [
            {"name": names.module(one.module), "class": type(one.module).__name__, "in": given(one)}
            for one in (*call.inside, call)
        ],
        "layer": without_places(call.module.extra_repr())[:200],
        "parameters": own[:8],
        "training": call.module.training,
        "gradients": call.gradients,
        "error": type(error).__name__,
    }
    write(report)


def loss(name: str, args: tuple[Any, ...], result: Any) -> None:
    stack = calls.stack
    if isinstance(result, BaseException):
        report["failed_loss"] = {"name": name, "in": kinds(args), "error": type(result).__name__}
        write(report)
    elif not (stack and not has_parameters(stack[0].module)):
        note_loss(name, args, result, True)


def note_loss(name: str, args: tuple[Any, ...], result: Any, gradients: bool) -> None:
    shapes = [kinds(args), kinds(result)]
    key = (name, str(shapes))
    if key in losses:
        losses[key]["times"] += 1
    elif len(losses) < MOST_LOSSES:
        losses[key] = {"name": name, "in": shapes[0], "out": shapes[1], "times": 1}
        report["losses"].append(losses[key])
        write(report)


def give_names() -> None:
    for line, module in modules:
        line["name"] = names.module(module)


before_writing.append(give_names)
report.update(passes=[], losses=[], failed=None, failed_loss=None)
calls = Calls(names, before=before, after=after, raised=raised)
watch_losses(loss)
run(report, settings()["entrypoint"])
