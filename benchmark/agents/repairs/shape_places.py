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
    yield from _columns(job, file)
    yield from _sums(job, file)
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


def _columns(job: Job, file: File) -> Iterator[Finding]:
    """Targets that get a middle axis (`y[:, None]`) where no model gives a single number a row."""
    single = any(
        len(one.args) > 1 and number(one.args[1]) == 1.0
        for each in job.files
        for one in calls(each, "Linear")
    )
    for call in file.nodes:
        if (
            single
            or not isinstance(call, ast.Call)
            or len(call.args) != 2
            or "loss" not in _loss_name(file, call)
        ):
            continue
        target = call.args[1]
        if isinstance(target, ast.Subscript) and ast.unparse(target.slice) in ("(:, None)", ":, None"):
            yield Finding(
                BUG,
                0.8,
                f"The target gets an axis at {file.path}:{target.lineno} that the prediction does not have, "
                "so the loss broadcasts.",
                (file.replace(target, file.text(target.value)),),
            )


def _loss_name(file: File, call: ast.Call) -> str:
    """What is called, and what that was made of, in small letters."""
    name = name_of(call.func)
    made = [
        ast.unparse(node.value)
        for node in file.nodes
        if isinstance(node, ast.Assign) and name and name_of(node.targets[0]) == name
    ]
    return " ".join([name, *made]).lower()


def _sums(job: Job, file: File) -> Iterator[Finding]:
    """A prediction that is a sum of columns, each kept as a column, and is returned as one."""
    for function in file.nodes:
        if not (
            isinstance(function, Function) and function.name == "forward" and job.in_module(file, function)
        ):
            continue
        last = function.body[-1]
        value = last.value if isinstance(last, ast.Return) else None
        if isinstance(value, ast.Name):
            made = [
                one.value
                for one in ast.walk(function)
                if isinstance(one, ast.Assign) and name_of(one.targets[0]) == value.id
            ]
            total = made[-1] if made else None
        else:
            total = value
        if value is None or not isinstance(total, ast.BinOp) or not isinstance(total.op, ast.Add):
            continue
        kept = [
            one
            for one in _terms(total)
            if isinstance(one, ast.Call)
            and method(one) == "sum"
            and (keep := keyword(one, "keepdim")) is not None
            and ast.unparse(keep.value) == "True"
        ]
        if kept:
            better = (
                f"{file.text(value)}.squeeze(-1)"
                if value is not total
                else f"({file.text(value)}).squeeze(-1)"
            )
            yield Finding(
                BUG,
                0.8,
                f"The prediction is returned as a column at {file.path}:{last.lineno}, so the loss spreads "
                "it against all targets.",
                (file.replace(value, better),),
            )


def _terms(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_terms(node.left), *_terms(node.right)]
    return [node]


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
