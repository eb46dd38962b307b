"""`shape_mismatch`, by what a crash says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .crash import Crash, statements_at
from .job import File, Finding, Function, Job, calls, method, name_of, number, receiver
from .shapes import BUG, NORMS, RECURRENT, argument


def from_crash(job: Job, crash: Crash) -> Iterator[Finding]:
    """What would mend a crash, by its message."""
    message = crash.message
    if found := re.search(
        r"mat1 and mat2 shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)", message
    ):
        given, taken = int(found[2]), int(found[3])
        flat = ("flatten", "Flatten", "view", "reshape", "mean")
        if "Conv" in "\n".join(job.sources.values()) and not any(calls(file, *flat) for file in job.files):
            yield from _unflattened(job, crash)
        yield from _resized(job, crash, "Linear", 0, taken, given)
        for file in job.files:
            for call in calls(file, "Flatten"):
                if call.args or call.keywords:
                    yield Finding(
                        BUG,
                        0.75,
                        f"Flattened from the wrong axis at {file.path}:{call.lineno}.",
                        (file.replace(call, f"{file.text(call.func)}()"),),
                    )
            for call in calls(file, "flatten"):
                inner = receiver(call)
                numbers = [number(one) for one in call.args if number(one) is not None]
                if inner is not None and numbers and numbers[-1] != 1.0:
                    yield Finding(
                        BUG,
                        0.75,
                        f"Flattened from the wrong axis at {file.path}:{call.lineno}.",
                        (file.replace(call.args[-1], "1"),),
                    )
        yield from _unflattened(job, crash)
    if found := re.search(r"running_mean should contain (\d+) elements not (\d+)", message):
        for kind in sorted(NORMS):
            yield from _resized(job, crash, kind, 0, int(found[2]), int(found[1]))
    if found := re.search(
        r"expected input\[[^\]]*\] to have (\d+) channels, but got (\d+) channels", message
    ):
        if int(found[1]) == 1:
            yield from _channel(job)
        for kind in ("Conv1d", "Conv2d"):
            yield from _resized(job, crash, kind, 0, int(found[1]), int(found[2]))
    if found := re.search(
        r"input.size\(-1\) must be equal to input_size. Expected (\d+), got (\d+)", message
    ):
        for kind in RECURRENT:
            yield from _resized(job, crash, kind, 0, int(found[1]), int(found[2]))
    if (
        ("shape '[" in message and "is invalid" in message)
        or "Expected hidden" in message
        or "size of tensor" in message
    ):
        yield from _batch(job)


def _unflattened(job: Job, crash: Crash) -> Iterator[Finding]:
    for path, line in reversed(crash.frames):
        for file, statement in statements_at(job, path, line):
            for call in calls(file, *_heads(file), within=statement):
                if call.args and file.owner(call):
                    yield Finding(
                        BUG,
                        0.65,
                        f"Feature maps reach {method(call)} unflattened at {path}:{line}.",
                        (file.append(call.args[0], ".flatten(1)"),),
                    )


def _heads(file: File) -> list[str]:
    return [
        name_of(node.targets[0]).split(".")[-1]
        for node in file.nodes
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and method(node.value) in ("Linear", "Sequential")
    ] or ["Linear"]


def _resized(job: Job, crash: Crash, kind: str, position: int, wrong: int, right: int) -> Iterator[Finding]:
    """Layers of a kind whose size may be the wrong one: those that the crashed line calls first. What was
    added to a size is taken away again; else the number that is right takes its place."""
    named = _called(job, crash)
    candidates = [
        (file, call, size)
        for file in job.files
        for call in calls(file, kind)
        if (size := argument(call, position)) is not None
    ]
    exact = [one for one in candidates if number(one[2]) == wrong]
    there = [one for one in candidates if _held_as(one[0], one[1]) in named]
    odd = [one for one in candidates if isinstance(one[2], ast.BinOp)]
    for file, call, size in there or exact or odd or candidates:
        yield Finding(
            BUG,
            0.8,
            f"{ast.unparse(call)[:60]} at {file.path}:{call.lineno} is built for {wrong} features and gets "
            f"{right} "
            f"({crash.message[:80]}).",
            (file.replace(size, _other(size, wrong, right)),),
        )


def _called(job: Job, crash: Crash) -> set[str]:
    """What the innermost line of the job calls on itself."""
    for path, line in crash.frames[-1:]:
        return {
            name_of(call.func)
            for _, statement in statements_at(job, path, line)
            for call in ast.walk(statement)
            if isinstance(call, ast.Call) and name_of(call.func).startswith("self.")
        }
    return set()


def _held_as(file: File, call: ast.Call) -> str:
    """`self.head` of `self.head = nn.Linear(…)`, or of a sequence it stands in."""
    statement = file.statement(call)
    return name_of(statement.targets[0]) if isinstance(statement, ast.Assign) else ""


def _other(size: ast.expr, wrong: int, right: int) -> str:
    """A size as it should be written: without the number that makes the wrong one of the right one."""
    if isinstance(size, ast.BinOp):
        for inner, other in ((size.left, size.right), (size.right, size.left)):
            value = number(other)
            if value is None or number(inner) is not None:
                continue
            made = {
                ast.Mult: right * value,
                ast.FloorDiv: right // value if value else 0,
                ast.Add: right + value,
                ast.Sub: right - value,
            }.get(type(size.op))
            if made == wrong:
                return ast.unparse(inner)
    return str(right)


def _channel(job: Job) -> Iterator[Finding]:
    """Images without a channel axis: it is put in where the model takes them."""
    for file in job.files:
        for function in file.nodes:
            if isinstance(function, Function) and function.name == "forward" and file.owner(function):
                inputs = [one.arg for one in function.args.args if one.arg != "self"]
                owner = file.owner(function)
                if inputs and owner is not None and ("Conv" in "\n".join(job.sources.values())):
                    first = function.body[0]
                    yield Finding(
                        BUG,
                        0.75,
                        "Grey images reach the convolution without their channel axis "
                        f"({file.path}:{function.lineno}).",
                        (
                            file.before(
                                first,
                                f"{inputs[0]} = {inputs[0]}.unsqueeze(1) if {inputs[0]}.dim() == 3 else "
                                f"{inputs[0]}",
                            ),
                        ),
                    )


def _batch(job: Job) -> Iterator[Finding]:
    """A batch size that is written into a model."""
    for file in job.files:
        for function in file.nodes:
            if not (isinstance(function, Function) and function.name == "forward"):
                continue
            inputs = [one.arg for one in function.args.args if one.arg != "self"]
            for call in calls(file, "view", "reshape", "zeros", "expand", within=function):
                sizes = call.args[0].elts if call.args and isinstance(call.args[0], ast.Tuple) else call.args
                at = 1 if method(call) == "zeros" and len(sizes) == 3 else 0
                size = sizes[at] if len(sizes) > at else None
                if size is not None and (
                    (number(size) or 0) > 1
                    or (isinstance(size, ast.Name) and size.id.lower().startswith(("batch", "mini")))
                ):
                    yield Finding(
                        BUG,
                        0.8,
                        f"The batch size is written into the model at {file.path}:{call.lineno}.",
                        (file.replace(size, f"{inputs[0]}.size(0)"),),
                    )
