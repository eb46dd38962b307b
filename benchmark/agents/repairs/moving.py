"""What a script calls its device, and what it moves there."""

from __future__ import annotations

import ast

from .job import File, Function, Job, calls, keyword, method, name_of, receiver

MOVES = frozenset(("to", "cuda"))


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
    return node is not None and any(
        isinstance(one, ast.Call)
        and (
            method(one) == "cuda"
            or (
                method(one) == "to"
                and any("dev" in ast.unparse(a).lower() or "cuda" in ast.unparse(a) for a in one.args)
            )
            or keyword(one, "device") is not None
        )
        for one in ast.walk(node)
    )


def moved(node: ast.expr | None) -> ast.expr | None:
    """`x` of `x.to(device)`."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in MOVES
        and moves(node)
    ):
        return node.func.value
    return None


def placed(file: File, node: ast.AST, name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a name is given, in the function where a node stands, something that was moved, or was computed
    from such."""
    scope = file.scope(node)
    for one in file.nodes:
        if not isinstance(one, ast.Assign) or not any(name_of(target) == name for target in one.targets):
            continue
        if file.scope(one) is not scope:
            continue
        if moves(one.value):
            return True
        parts = {part.id for part in ast.walk(one.value) if isinstance(part, ast.Name)} - seen - {name}
        if any(placed(file, one, part, seen | parts | {name}) for part in parts):
            return True
    return False


def moved_later(file: File, node: ast.AST, name: str) -> bool:
    """Whether a name, or rows of it, is moved by itself in the function where a node stands."""
    return any(name_of(_whole(receiver(one))) == name for one in calls(file, *MOVES, within=file.scope(node)))


def moved_where_given(job: Job, file: File, name: str) -> bool:
    """Whether a name is handed to a function or class of the job that moves the parameter it becomes."""
    places = {
        (name_of(node.func), index)
        for node in file.nodes
        if isinstance(node, ast.Call)
        for index, one in enumerate(node.args)
        if name_of(one) == name
    }
    for other in job.files:
        for node in other.nodes:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                continue
            for function in ast.walk(node):
                if isinstance(function, ast.FunctionDef) and function.name in (node.name, "__init__"):
                    params = [arg.arg for arg in function.args.args if arg.arg != "self"]
                    given = {
                        params[index] for taker, index in places if taker == node.name and index < len(params)
                    }
                    if any(name_of(receiver(one)) in given for one in calls(other, *MOVES, within=function)):
                        return True
    return False


def _whole(node: ast.expr | None) -> ast.expr | None:
    """`x` of `x[rows]`."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node


def moves_batches(job: Job) -> bool:
    """Whether batches are moved one by one: in a loop that trains, or that hands them out."""
    return any(
        moved(one) is not None
        for file in job.files
        for node in file.nodes
        if isinstance(node, ast.For)
        for one in ast.walk(node)
        if isinstance(one, ast.expr)
        and (calls(file, "backward", within=node) or any(isinstance(y, ast.Yield) for y in ast.walk(node)))
    )
