"""`shape_mismatch`: axes that are flattened, kept or put in where they should not be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .job import File, Finding, Function, Job, calls, keyword, method, name_of, number, receiver

BUG = "shape_mismatch"
REDUCING = ("mean", "sum", "max", "amax", "logsumexp")


def find(job: Job, file: File) -> Iterator[Finding]:
    yield from _flattened(job, file)
    yield from _kept(job, file)
    yield from _targets(file)
    yield from _heads(file)


def _flattened(job: Job, file: File) -> Iterator[Finding]:
    """Flattened from another axis than the one behind the batch."""
    for call in calls(file, "Flatten"):
        start = keyword(call, "start_dim")
        first = start.value if start else call.args[0] if call.args else None
        if first is not None and number(first) not in (1.0, None):
            yield Finding(
                BUG,
                0.85,
                f"Flattened from axis {ast.unparse(first)} at {file.path}:{call.lineno}, not from the one "
                "behind the batch.",
                (file.replace(call, f"{file.text(call.func)}()"),),
            )
    for call in calls(file, "flatten"):
        owner, statement = receiver(call), file.statement(call)
        if not job.in_module(file, call) or owner is None or isinstance(statement, ast.Return):
            continue
        if name_of(owner) != "torch" and not call.args and not call.keywords:
            yield Finding(
                BUG,
                0.75,
                f"Everything is flattened at {file.path}:{call.lineno}, the batch too.",
                (file.replace(call, f"{file.text(owner)}.flatten(1)"),),
            )


def _kept(job: Job, file: File) -> Iterator[Finding]:
    """A reduced or sliced axis that stays, in what the last layer is given."""
    for function in file.nodes:
        if not (
            isinstance(function, Function) and function.name == "forward" and job.in_module(file, function)
        ):
            continue
        for call in calls(file, *REDUCING, within=function):
            kept = keyword(call, "keepdim")
            if kept is None or ast.unparse(kept.value) != "True":
                continue
            if _goes_on(file, call):
                yield Finding(
                    BUG,
                    0.75,
                    f"The reduced axis stays at {file.path}:{call.lineno} (keepdim), so the output has an "
                    "axis too many.",
                    (file.replace(kept.value, "False"),),
                )
        for node in ast.walk(function):
            if not isinstance(node, ast.Subscript) or not _returned(file, function, node):
                continue
            found = re.search(r"\[((?:(?::|\.\.\.), )+)-1:\]$", ast.unparse(node))
            if found and _goes_on(file, node):
                better = f"{file.text(node.value)}[{found[1]}-1]"
                yield Finding(
                    BUG,
                    0.75,
                    f"The last step is taken as a slice at {file.path}:{node.lineno}, which keeps its axis.",
                    (file.replace(node, better),),
                )


def _returned(file: File, function: Function, node: ast.expr) -> bool:
    """Whether it is in what a function returns."""
    statement = file.statement(node)
    names = {name_of(one.value) for one in ast.walk(function) if isinstance(one, ast.Return)} - {""}
    return isinstance(statement, ast.Return) or (
        isinstance(statement, ast.Assign) and name_of(statement.targets[0]) in names
    )


def _goes_on(file: File, node: ast.expr) -> bool:
    """Whether it is given to a layer as it is, to dropout for example."""
    parent = file.parents.get(node)
    return (
        isinstance(parent, ast.Call)
        and node in parent.args
        and (name_of(parent.func).startswith("self.") or method(parent) == "dropout")
        and "conv" not in name_of(parent.func)
    )


def _targets(file: File) -> Iterator[Finding]:
    """Classes that get an axis of their own in front of cross entropy."""
    entropy = {
        name_of(node.targets[0])
        for node in file.nodes
        if isinstance(node, ast.Assign) and "CrossEntropyLoss(" in ast.unparse(node.value)
    }
    for call in file.nodes:
        if not isinstance(call, ast.Call) or len(call.args) != 2:
            continue
        if name_of(call.func) not in entropy and method(call) != "cross_entropy":
            continue
        target = call.args[1]
        if not isinstance(target, ast.Call) or (inner := receiver(target)) is None:
            continue
        numbers = [number(one) for one in target.args]
        if (method(target) == "unsqueeze" and numbers in ([1.0], [-1.0])) or (
            method(target) in ("view", "reshape") and numbers == [-1.0, 1.0]
        ):
            yield Finding(
                BUG,
                0.9,
                f"The classes get an axis of their own at {file.path}:{target.lineno}, where cross entropy "
                "takes one number a row.",
                (file.replace(target, file.text(inner)),),
            )


def _heads(file: File) -> Iterator[Finding]:
    """`Linear(1, n)` whose only output is squeezed."""
    for node in file.nodes:
        if not isinstance(node, ast.Assign) or method(node.value) != "Linear":
            continue
        layer = node.value
        assert isinstance(layer, ast.Call)
        if len(layer.args) < 2 or number(layer.args[0]) != 1.0 or number(layer.args[1]) == 1.0:
            continue
        name = name_of(node.targets[0])
        squeezed = any(
            isinstance(inner := receiver(one), ast.Call) and name_of(inner.func) == name
            for one in calls(file, "squeeze")
        )
        if squeezed:
            first, second = layer.args[:2]
            yield Finding(
                BUG,
                0.9,
                f"The sizes of {ast.unparse(layer)} at {file.path}:{layer.lineno} are swapped: its output is "
                "squeezed.",
                (file.replace(first, file.text(second)), file.replace(second, file.text(first))),
            )
