"""`wrong_device`: tensors of the GPU that are made arrays."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .job import (
    Edit,
    File,
    Finding,
    Function,
    Job,
    calls,
    is_call_statement,
    method,
    name_of,
    receiver,
    without_gradients,
)
from .moving import device_name, moved

BUG = "wrong_device"


def find(job: Job, file: File) -> Iterator[Finding]:
    """`.numpy()` without `.cpu()`: where others have it, or where a model's answers stay where they are."""
    with_cpu = any(method(receiver(one)) == "cpu" for one in calls(file, "numpy"))
    fetched = {
        method(inner)
        for one in calls(file, "cpu")
        if isinstance(inner := receiver(one), ast.Call) and not isinstance(inner.func, ast.Attribute)
    }
    on_device = any(map(device_name, job.files))
    for call in calls(file, "numpy"):
        inner = receiver(call)
        if inner is None or method(inner) == "cpu":
            continue
        makers = set(_made_by(file, inner)) if isinstance(inner, ast.Name | ast.Call) else set()
        by_call = with_cpu and isinstance(inner, ast.Call | ast.BinOp) and not makers
        by_call = by_call or (isinstance(inner, ast.Call) and _of_moved(inner))
        if by_call or makers & fetched or (on_device and any(_stays(job, one) for one in makers)):
            yield Finding(
                BUG,
                0.9,
                f"A tensor on the GPU is made an array without .cpu() at {file.path}:{call.lineno}.",
                (brought(file, call),),
            )


def brought(file: File, call: ast.Call) -> Edit:
    """`.cpu()` in front of the `.numpy()` of a call."""
    place = file.end(call.func) - len("numpy")
    return Edit(file.path, place, place, "cpu().")


def _of_moved(node: ast.Call) -> bool:
    """`torch.cat([net(x.to(device)) …])`."""
    inside = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
    return (
        method(node) in ("cat", "stack", "concat", "vstack")
        and any(moved(one) is not None for one in inside)
        and not any(method(one) in ("cpu", "to") and moved(one) is None for one in inside)
    )


def _made_by(file: File, node: ast.expr) -> Iterator[str]:
    """The functions whose results something is made of."""
    if isinstance(node, ast.Name):
        before = [
            one
            for one in file.nodes
            if isinstance(one, ast.Assign)
            and file.start(one) < file.start(node)
            and file.scope(one) is file.scope(node)
            and name_of(one.targets[0]) == node.id
        ]
        if not before:
            return
        node = before[-1].value
    if isinstance(node, ast.BinOp):
        yield from _made_by(file, node.left)
    elif isinstance(node, ast.Call):
        yield method(node)


def _stays(job: Job, name: str) -> bool:
    """Whether a function of the job evaluates a model and leaves the answers on its device."""
    for file in job.files:
        for function in file.nodes:
            if not isinstance(function, Function) or function.name != name or job.in_module(file, function):
                continue
            evaluates = without_gradients(file, function) or any(
                is_call_statement(file, one) for one in calls(file, "eval", within=function)
            )
            return evaluates and not calls(file, "cpu", "numpy", "item", "tolist", within=function)
    return False
