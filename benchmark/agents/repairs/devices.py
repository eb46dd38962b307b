"""`wrong_device`: what was left on the CPU, by reading, and by where the job crashed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .crash import Crash, statements_at
from .job import Edit, File, Finding, Function, Job, calls, keyword, method, name_of, receiver

BUG = "wrong_device"
FACTORIES = frozenset(
    ["zeros", "ones", "empty", "full", "randn", "rand", "arange", "linspace", "eye", "tensor", "as_tensor"]
)
NO_TENSORS = tuple(
    f"torch.{one}"
    for one in ("nn.", "device", "Generator", "optim", "utils", "amp", "cuda", "finfo", "iinfo")
)
"""How expressions begin that make something else than a tensor."""
MOVES = frozenset(("to", "cuda"))


def find(job: Job) -> Iterator[Finding]:
    """What is noticed without running."""
    for file in job.files:
        device = device_name(file)
        if device:
            yield from _models(job, file, device)
            yield from _tuples(file, device)
            yield from _batches(file, device)
            yield from _siblings(file, device)
            yield from _loose(file, device)
        yield from _made(job, file)
        yield from _buffers(job, file)
        yield from _arrays(file)


def device_name(file: File) -> str:
    """What a file calls the device: a variable made of `torch.device(…)` or a choice of "cuda"."""
    for node in file.nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name | ast.Attribute):
            text = ast.unparse(node.value)
            if "cuda" in text and ("is_available" in text or "torch.device(" in text):
                return name_of(node.targets[0])
    for call in calls(file, "to"):
        if len(call.args) == 1 and name_of(call.args[0]) and "dev" in name_of(call.args[0]).lower():
            return name_of(call.args[0])
    return ""


def local_device(file: File, node: ast.AST) -> str:
    """The device's name where a node stands: a parameter of its function, else the file's."""
    name = device_name(file)
    scope = file.scope(node)
    if isinstance(scope, Function):
        given = [one.arg for one in [*scope.args.args, *scope.args.kwonlyargs]]
        if name in given:
            return name
        other = next((one for one in given if "dev" in one.lower()), "")
        if other:
            return other
    for call in calls(file, "to", within=scope):
        if len(call.args) == 1 and "dev" in name_of(call.args[0]).lower():
            return name_of(call.args[0])
    return name


def moves(node: ast.AST | None) -> bool:
    """Whether an expression moves something to a device."""
    return (
        any(
            isinstance(one, ast.Call)
            and (
                (method(one) == "cuda")
                or (
                    method(one) == "to"
                    and any("dev" in ast.unparse(a).lower() or "cuda" in ast.unparse(a) for a in one.args)
                )
                or keyword(one, "device") is not None
            )
            for one in ast.walk(node)
        )
        if node is not None
        else False
    )


def _models(job: Job, file: File, device: str) -> Iterator[Finding]:
    for node in file.nodes:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if name_of(node.value.func) not in job.module_classes or file.owner(node):
            continue
        name = name_of(node.targets[0])
        later = [one for one in calls(file, *MOVES) if name and name_of(receiver(one)) == name]
        if later:
            continue
        yield Finding(
            BUG,
            0.95,
            f"The model {name} is never moved at {file.path}:{node.lineno}: its parameters stay on the CPU "
            "while the "
            "batches are on the GPU.",
            (file.append(node.value, f".to({local_device(file, node)})"),),
        )


def _tuples(file: File, device: str) -> Iterator[Finding]:
    """`a, b = x, y.to(device)`."""
    for node in file.nodes:
        if not (isinstance(node, ast.Assign | ast.Return | ast.Expr) and isinstance(node.value, ast.Tuple)):
            continue
        if isinstance(node, ast.Expr):
            continue
        parts = node.value.elts
        moved = [moves(one) for one in parts]
        if len(parts) != 2 or all(moved) or not any(moved):
            continue
        for part, here in zip(parts, moved, strict=True):
            if not here and isinstance(part, ast.Name | ast.Subscript | ast.Call):
                yield Finding(
                    BUG,
                    0.85,
                    f"{ast.unparse(part)[:50]} is not moved to the device at {file.path}:{node.lineno}, "
                    "what stands "
                    "beside it is.",
                    (file.append(part, f".to({local_device(file, node)})"),),
                )


def _batches(file: File, device: str) -> Iterator[Finding]:
    """Loops over (inputs, targets) in which only one of the two is moved."""
    for loop in file.nodes:
        if not isinstance(loop, ast.For) or not isinstance(loop.target, ast.Tuple):
            continue
        names = [name_of(one) for one in loop.target.elts]
        if len(names) != 2 or not all(names) or not calls(file, "backward", within=loop):
            continue
        moved = {
            name: any(
                isinstance(one, ast.Call) and method(one) in MOVES and name_of(receiver(one)) == name
                for one in ast.walk(loop)
            )
            for name in names
        }
        if sum(moved.values()) != 1:
            continue
        left = next(name for name in names if not moved[name])
        if _only_length(loop, left):
            continue
        yield Finding(
            BUG,
            0.9,
            f"{left} is not moved to the device in the loop at {file.path}:{loop.lineno}, the other part of "
            "the batch is.",
            (file.before(loop.body[0], f"{left} = {left}.to({local_device(file, loop.body[0])})"),),
        )


def _only_length(loop: ast.For, name: str) -> bool:
    return not any(
        isinstance(one, ast.Name) and one.id == name for body in loop.body for one in ast.walk(body)
    )


def _siblings(file: File, device: str) -> Iterator[Finding]:
    """Small functions that make tensors: one moves them, its neighbour does not."""
    makers = [
        one
        for one in file.nodes
        if isinstance(one, ast.FunctionDef)
        and isinstance(one.body[-1], ast.Return)
        and one.body[-1].value is not None
        and any(
            name_of(c.func) in ("torch.from_numpy", "torch.tensor", "torch.as_tensor")
            for c in ast.walk(one)
            if isinstance(c, ast.Call)
        )
    ]
    moving = [moves(one.body[-1].value) for one in makers]  # type: ignore[attr-defined]
    if not any(moving) or all(moving):
        return
    for maker, here in zip(makers, moving, strict=True):
        value = maker.body[-1].value  # type: ignore[attr-defined]
        if not here:
            yield Finding(
                BUG,
                0.85,
                f"{maker.name} at {file.path}:{maker.lineno} leaves its tensors on the CPU, unlike its "
                "neighbour.",
                (file.append(value, f".to({local_device(file, maker.body[-1])})"),),
            )


def _loose(file: File, device: str) -> Iterator[Finding]:
    """Among assignments of one block that take rows out of arrays, those that are not moved."""
    groups: dict[int, list[ast.Assign]] = {}
    for node in file.nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call | ast.Subscript):
            groups.setdefault(id(file.block(node)), []).append(node)
    for group in groups.values():
        for node in group:
            bare = node.value
            if not isinstance(bare, ast.Call) or not isinstance(bare.func, ast.Name) or moves(bare):
                continue
            like = [
                one
                for one in group
                if one is not node
                and isinstance(one.value, ast.Call)
                and method(one.value) == "to"
                and isinstance(receiver(one.value), ast.Call)
                and name_of(receiver(one.value).func) == bare.func.id  # type: ignore[union-attr]
            ]
            if like:
                yield Finding(
                    BUG,
                    0.8,
                    f"{name_of(node.targets[0])} at {file.path}:{node.lineno} is not moved to the device, "
                    "its like are.",
                    (file.append(bare, f".to({local_device(file, node)})"),),
                )


def _made(job: Job, file: File) -> Iterator[Finding]:
    """Tensors that a forward pass makes on the CPU."""
    for function in file.nodes:
        if not (isinstance(function, Function) and job.in_module(file, function)):
            continue
        if function.name == "__init__":
            continue
        inputs = [one.arg for one in function.args.args if one.arg != "self"]
        if not inputs:
            continue
        for call in calls(file, *FACTORIES, within=function):
            if not name_of(call.func).startswith("torch.") or keyword(call, "device"):
                continue
            parent = file.parents.get(call)
            if isinstance(parent, ast.Attribute) and parent.attr in ("to", "cuda", "type_as"):
                continue
            values = [*call.args, *(one.value for one in call.keywords)]
            if not values:
                continue
            yield Finding(
                BUG,
                0.9,
                f"A tensor is made on the CPU at {file.path}:{call.lineno} in the forward pass, the model "
                "is on the GPU.",
                (file.append(values[-1], f", device={inputs[0]}.device"),),
            )


def _buffers(job: Job, file: File) -> Iterator[Finding]:
    """Constants of a module that are no buffers."""
    for function in file.nodes:
        if not (isinstance(function, Function) and function.name == "__init__"):
            continue
        if not job.in_module(file, function):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
                continue
            target = node.targets[0]
            text = ast.unparse(node.value)
            if name_of(target.value) != "self" or not text.startswith("torch."):
                continue
            if text.startswith(NO_TENSORS) or "Parameter(" in text or moves(node.value):
                continue
            yield Finding(
                BUG,
                0.8,
                f"self.{target.attr} at {file.path}:{node.lineno} is a plain attribute, no buffer, so "
                "model.to(device) "
                "leaves it on the CPU.",
                (file.replace(node, f'self.register_buffer("{target.attr}", {file.text(node.value)})'),),
            )


def _arrays(file: File) -> Iterator[Finding]:
    """`.numpy()` without `.cpu()`, where others have it."""
    with_cpu = any(method(receiver(one)) == "cpu" for one in calls(file, "numpy"))
    for call in calls(file, "numpy"):
        inner = receiver(call)
        if inner is None or method(inner) == "cpu" or not with_cpu:
            continue
        if isinstance(inner, ast.Call):
            yield Finding(
                BUG,
                0.9,
                f"A tensor on the GPU is made an array without .cpu() at {file.path}:{call.lineno}.",
                (file.append(inner, ".cpu()"),),
            )


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
                    file.append(inner, ".cpu()")
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
                edits = [
                    file.append(one, f".to({device})")
                    for one in names.values()
                    if "dev" not in one.id.lower()
                ]
                yield Finding(BUG, 0.7, f"The arithmetic at {where} mixes devices.", tuple(edits))
                return


def _parameters(file: File, node: ast.AST) -> list[ast.arg]:
    scope = file.scope(node)
    return list(scope.args.args) if isinstance(scope, Function) else []
