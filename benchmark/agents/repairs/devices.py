"""`wrong_device`: what was left on the CPU, by reading, and by where the job crashed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from . import arrays
from .job import File, Finding, Function, Job, calls, keyword, method, name_of, receiver
from .moving import (
    MOVES,
    device_name,
    local_device,
    moved,
    moved_later,
    moved_where_given,
    moves,
    moves_batches,
    placed,
)
from .parts import about_training

BUG = "wrong_device"
FACTORIES = frozenset(
    ["zeros", "ones", "empty", "full", "randn", "rand", "arange", "linspace", "eye", "tensor", "as_tensor"]
)
NO_TENSORS = tuple(
    f"torch.{one}"
    for one in ("nn.", "device", "Generator", "optim", "utils", "amp", "cuda", "finfo", "iinfo")
)
"""How expressions begin that make something else than a tensor."""


def find(job: Job) -> Iterator[Finding]:
    """What is noticed without running."""
    for file in job.files:
        device = device_name(file)
        if device:
            yield from _models(job, file)
            yield from _beside(file)
            yield from _batches(file)
            yield from _siblings(file)
            yield from _loose(job, file)
            yield from _weights(file)
            yield from _idle(job, file)
        yield from _made(job, file)
        yield from _buffers(job, file)
        yield from arrays.find(job, file)


def _models(job: Job, file: File) -> Iterator[Finding]:
    for node in file.nodes:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        made = name_of(node.value.func)
        if made not in job.module_classes | job.model_makers or file.owner(node) or made == "nn.Sequential":
            continue
        if isinstance(node.targets[0], ast.Tuple) or job.in_module_maker(file, node):
            continue
        name = name_of(node.targets[0])
        later = [one for one in calls(file, *MOVES) if name and name_of(receiver(one)) == name]
        if later or (name and moved_where_given(job, file, name)):
            continue
        yield Finding(
            BUG,
            0.95,
            f"The model {name} is never moved at {file.path}:{node.lineno}: its parameters stay on the CPU "
            "while the "
            "batches are on the GPU.",
            (file.append(node.value, f".to({local_device(file, node)})"),),
        )


def _beside(file: File) -> Iterator[Finding]:
    """`net(a.to(device), b)`, `yield a.to(device), b`: what stands beside something that is moved, and is of
    its kind."""
    for node in file.nodes:
        if isinstance(node, ast.Call) and method(node) not in ("print", "to", "cuda", "zip", "isinstance"):
            parts = [*node.args, *(one.value for one in node.keywords)]
        elif isinstance(node, ast.Tuple) and isinstance(
            file.parents.get(node), ast.Assign | ast.Return | ast.Yield
        ):
            parts = list(node.elts)
        else:
            continue
        those = [inner for one in parts if (inner := moved(one)) is not None]
        if not those:
            continue
        for part in parts:
            alone = isinstance(node, ast.Tuple) and len(those) == len(parts) - 1 and _is_tensor(file, part)
            if moves(part) or not (alone or any(_alike(file, part, one) for one in those)):
                continue
            if isinstance(part, ast.Name) and (
                moved_later(file, part, part.id) or placed(file, part, part.id)
            ):
                continue
            yield Finding(
                BUG,
                0.85,
                f"{ast.unparse(part)[:50]} is not moved to the device at {file.path}:{part.lineno}, what "
                "stands beside it is.",
                (file.append(part, f".to({local_device(file, node)})"),),
            )


def _is_tensor(file: File, node: ast.expr) -> bool:
    """Whether a function that returns it was given it, or made a tensor of it."""
    if isinstance(node, ast.Call | ast.Subscript):
        return True
    scope = file.scope(node)
    if not isinstance(node, ast.Name) or not isinstance(scope, Function):
        return False
    made = [
        one for one in ast.walk(scope) if isinstance(one, ast.Assign) and name_of(one.targets[0]) == node.id
    ]
    return any(name_of(getattr(one.value, "func", None)).startswith("torch.") for one in made)


def _alike(file: File, one: ast.expr, other: ast.expr) -> bool:
    """Whether two things come from the same place: rows by one index, parameters, parts of a batch."""
    if isinstance(one, ast.Subscript) and isinstance(other, ast.Subscript):
        return ast.unparse(one.slice) == ast.unparse(other.slice)
    if isinstance(one, ast.Call) and isinstance(other, ast.Call):
        return bool(name_of(one.func)) and name_of(one.func) == name_of(other.func)
    if not (isinstance(one, ast.Name) and isinstance(other, ast.Name)) or one.id == other.id:
        return False
    if "dev" in one.id.lower():
        return False
    scope = file.scope(one)
    unpacked = [
        one for one in ast.walk(scope) if isinstance(one, ast.Tuple) and isinstance(one.ctx, ast.Store)
    ]
    if any({one.id, other.id} <= set(map(name_of, each.elts)) for each in unpacked):
        return True
    if not isinstance(scope, Function):
        return False
    called = {name_of(node.func) for node in ast.walk(scope) if isinstance(node, ast.Call)}
    given = {argument.arg for argument in scope.args.args} - called
    plain = {one.id, other.id} <= given
    return plain and not any(
        isinstance(node, ast.Attribute) and name_of(node.value) == one.id and node.attr in ("train", "eval")
        for node in ast.walk(scope)
    )


def _batches(file: File) -> Iterator[Finding]:
    """Loops over (inputs, targets) in which only one of the two is moved."""
    for loop in file.nodes:
        if not isinstance(loop, ast.For) or not isinstance(loop.target, ast.Tuple):
            continue
        names = [name_of(one) for one in loop.target.elts]
        if len(names) < 2 or not all(names) or not calls(file, "backward", within=loop):
            continue
        there = {
            name_of(receiver(one))
            for one in ast.walk(loop)
            if isinstance(one, ast.Call) and method(one) in MOVES and isinstance(one.func, ast.Attribute)
        }
        there |= {
            name_of(inner)
            for one in ast.walk(loop)
            if isinstance(one, ast.Call)
            for value in one.args
            if method(one) in MOVES and isinstance(inner := value, ast.Name)
        } & set(names)
        left = [name for name in names if name not in there and _is_used(loop, name)]
        if not there & set(names) or len(left) != 1:
            continue
        yield Finding(
            BUG,
            0.9,
            f"{left[0]} is not moved to the device in the loop at {file.path}:{loop.lineno}, the other part "
            "of the batch is.",
            (file.before(loop.body[0], f"{left[0]} = {left[0]}.to({local_device(file, loop.body[0])})"),),
        )


def _is_used(loop: ast.For, name: str) -> bool:
    """Whether a part of a batch is given to something that computes."""
    return any(
        isinstance(one, ast.Call)
        and method(one) not in ("len", "print", "append", "extend", "enumerate")
        and any(isinstance(value, ast.Name) and value.id == name for value in one.args)
        for body in loop.body
        for one in ast.walk(body)
    )


def _siblings(file: File) -> Iterator[Finding]:
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
    moving = [any(map(moves, one.body)) for one in makers]
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


def _loose(job: Job, file: File) -> Iterator[Finding]:
    """Among assignments of one block that compute alike, those whose result is not moved."""
    groups: dict[int, list[tuple[ast.expr, ast.expr]]] = {}
    for node in file.nodes:
        if not isinstance(node, ast.Assign):
            continue
        target, value = node.targets[0], node.value
        pairs = (
            list(zip(target.elts, value.elts, strict=False))
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            else [(target, value)]
        )
        groups.setdefault(id(file.block(node)), []).extend(pairs)
    one_by_one = moves_batches(job)
    for group in groups.values():
        there = [_form(inner) for _, value in group if (inner := moved(value)) is not None]
        left = [
            (name_of(target), value)
            for target, value in group
            if name_of(target) and not moves(value) and _form(value) in there
        ]
        for name, value in left:
            form = _form(value)
            like = [one for one in left if _form(one[1]) == form]
            if not form or len(like) > min(2, there.count(form)) or moved_later(file, value, name):
                continue
            if one_by_one and (about_training(name) or _feeds_loader(file, name)):
                continue
            yield Finding(
                BUG,
                0.8,
                f"{name} at {file.path}:{value.lineno} is not moved to the device, its like are.",
                (file.append(value, f".to({local_device(file, value)})"),),
            )


def _idle(job: Job, file: File) -> Iterator[Finding]:
    """A function that is told the device, or whose object knows it, and gives a model what was not moved."""
    held = {name_of(call.args[0]) for call in calls(file, *MOVES) if call.args}
    for function in file.nodes:
        if not isinstance(function, Function) or job.in_module(file, function):
            continue
        switched = {name_of(receiver(one)) for one in calls(file, "eval", "train", within=function)} - {""}
        told = [
            one.arg
            for one in function.args.args
            if one.arg in ("device", "dev") or "device" in one.arg.lower()
        ]
        known = [one for one in sorted(held) if one.startswith("self.") and file.owner(function) is not None]
        name = (told or known or [""])[0]
        if (
            not name
            or not switched
            or any(name_of(one) == name for one in ast.walk(function) if isinstance(one, ast.expr))
        ):
            continue
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and name_of(call.func) in switched and call.args:
                yield Finding(
                    BUG,
                    0.8,
                    f"{function.name} at {file.path}:{call.lineno} gives the model what was not moved to "
                    f"{name}.",
                    tuple(file.append(one, f".to({name})") for one in call.args),
                )


def _form(value: ast.expr) -> str:
    """What an expression does, whatever it does it to; empty if it does nothing but name something."""
    by_index = isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Name)
    if not isinstance(value, ast.Call) and not by_index:
        return ""

    def form(node: ast.expr) -> str:
        if isinstance(node, ast.Call):
            inner = ",".join(map(form, node.args))
            if isinstance(node.func, ast.Attribute) and name_of(node.func.value) not in ("torch", "np"):
                return f"{form(node.func.value)}.{node.func.attr}({inner})"
            return f"{name_of(node.func)}({inner})"
        if isinstance(node, ast.Subscript):
            return f"_[{ast.unparse(node.slice)}]" if by_index else f"{form(node.value)}[]"
        return "_"

    found = form(value)
    return re.sub(r"\(_(\[\])*\)", "(_)", found)


def _feeds_loader(file: File, name: str) -> bool:
    return any(
        name in {name_of(one) for one in ast.walk(call) if isinstance(one, ast.Name)}
        for call in calls(file, "TensorDataset", "DataLoader")
    )


def _weights(file: File) -> Iterator[Finding]:
    """Weights of a loss that stay on the CPU."""
    for call in file.nodes:
        if not isinstance(call, ast.Call) or "loss" not in method(call).lower():
            continue
        for part in call.keywords:
            value = part.value
            if part.arg not in ("weight", "pos_weight") or moves(value) or not isinstance(value, ast.Name):
                continue
            scope = file.scope(call)
            given = isinstance(scope, Function) and value.id in {one.arg for one in scope.args.args}
            moved_whole = isinstance(file.parents.get(call), ast.Attribute)
            if not given and not moved_whole and not placed(file, call, value.id):
                yield Finding(
                    BUG,
                    0.85,
                    f"The weights of the loss at {file.path}:{call.lineno} stay on the CPU.",
                    (file.append(value, f".to({local_device(file, call)})"),),
                )


def _made(job: Job, file: File) -> Iterator[Finding]:
    """Tensors that a forward pass makes on the CPU."""
    for function in file.nodes:
        if not isinstance(function, Function) or function.name == "__init__":
            continue
        if not (job.in_module(file, function) or _helps_modules(job, function)):
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


def _helps_modules(job: Job, function: Function) -> bool:
    """Whether a function is called in the forward pass of a module."""
    return any(
        job.in_module(file, call)
        and isinstance(scope := file.scope(call), Function)
        and scope.name == "forward"
        for file in job.files
        for call in calls(file, function.name)
        if isinstance(call.func, ast.Name)
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
