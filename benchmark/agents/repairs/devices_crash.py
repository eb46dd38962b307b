"""`wrong_device`, by where a job crashed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .arrays import brought
from .crash import Crash, statements_at
from .job import Edit, File, Finding, Function, Job, calls, method, receiver
from .moving import local_device, moves, placed

BUG = "wrong_device"


def from_crash(job: Job, crash: Crash) -> Iterator[Finding]:
    """What would mend the line at which a job crashed; several ways, the likely one first."""
    if not crash.about_devices or not crash.frames:
        return
    for path, line in reversed(crash.frames):
        for file, statement in statements_at(job, path, line):
            device = local_device(file, statement)
            where = f"{path}:{line}"
            if "numpy" in crash.message:
                edits = [
                    brought(file, call)
                    for call in calls(file, "numpy", within=statement)
                    if (inner := receiver(call)) is not None and method(inner) != "cpu"
                ]
                edits += [
                    file.append(call.args[0], ".cpu()")
                    for call in calls(file, "asarray", "array", within=statement)
                    if call.args
                ]
                if edits:
                    yield Finding(
                        BUG,
                        0.9,
                        f"A tensor on the GPU is made an array without .cpu() at {where}.",
                        tuple(edits),
                    )
                    return
            if not device:
                continue
            for call in ast.walk(statement):
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or not call.args:
                    continue
                if call.func.id in (
                    "print",
                    "len",
                    "float",
                    "int",
                    "range",
                    "zip",
                    "enumerate",
                    "list",
                    "asdict",
                ):
                    continue
                tensors = [
                    one for one in call.args if isinstance(one, ast.Name | ast.Subscript) and not moves(one)
                ]
                tensors = [one for one in tensors if ast.unparse(one) != device]
                small = call.func.id in {p.arg for p in _parameters(file, statement)} or len(call.args) <= 2
                if tensors and small:
                    edits = [Edit(path, file.end(one), file.end(one), f".to({device})") for one in tensors]
                    yield Finding(
                        BUG,
                        0.7,
                        f"{ast.unparse(call)[:60]} at {where} is given tensors of the CPU.",
                        tuple(edits),
                    )
                    return
            if isinstance(statement, ast.Assign | ast.Return | ast.AugAssign) and isinstance(
                statement.value, ast.BinOp
            ):
                names = {one.id: one for one in ast.walk(statement.value) if isinstance(one, ast.Name)}
                left = [
                    made.value
                    for name in names
                    if not placed(file, statement, name)
                    and (made := _made(file, statement, name)) is not None
                ]
                if len(left) == 1 and len(names) > 1:
                    yield Finding(
                        BUG,
                        0.75,
                        f"{ast.unparse(left[0])[:60]} at {path}:{left[0].lineno} stays on the CPU, "
                        f"and meets what was moved at {where}.",
                        (file.append(left[0], f".to({device})"),),
                    )
                    return
                edits = [
                    file.append(one, f".to({device})")
                    for one in names.values()
                    if "dev" not in one.id.lower()
                ]
                yield Finding(BUG, 0.7, f"The arithmetic at {where} mixes devices.", tuple(edits))
                return


def _made(file: File, statement: ast.stmt, name: str) -> ast.Assign | None:
    """The last assignment of a name before a statement, in the same function, that is a call."""
    found = [
        one
        for one in file.nodes
        if isinstance(one, ast.Assign)
        and file.scope(one) is file.scope(statement)
        and file.start(one) < file.start(statement)
        and isinstance(one.targets[0], ast.Name)
        and one.targets[0].id == name
        and isinstance(one.value, ast.Call)
    ]
    return found[-1] if found else None


def _parameters(file: File, node: ast.AST) -> list[ast.arg]:
    scope = file.scope(node)
    return list(scope.args.args) if isinstance(scope, Function) else []
