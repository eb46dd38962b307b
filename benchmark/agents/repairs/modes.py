"""`missing_eval_mode`: what is evaluated in training mode."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .job import (
    Edit,
    File,
    Finding,
    Function,
    Job,
    Scope,
    calls,
    is_call_statement,
    keyword,
    name_of,
    number,
    receiver,
    without_gradients,
)

BUG = "missing_eval_mode"
DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")


def find(job: Job) -> Iterator[Finding]:
    for file in job.files:
        yield from _functional(file)
        for place in _evaluations(file):
            yield from _evaluation(job, file, place)


def _functional(file: File) -> Iterator[Finding]:
    for call in calls(file, *DROPOUTS):
        owner = file.owner(call)
        if owner is None or name_of(receiver(call)).startswith("self"):
            continue
        told = keyword(call, "training")
        where = f"{file.path}:{call.lineno} in {owner.name}"
        why = (
            f"The functional dropout at {where} is not told the mode (training=self.training), so it still "
            "drops in "
            "evaluation after eval()."
        )
        if told is None and len(call.args) < 3:
            yield Finding(BUG, 0.95, why, (_last_argument(file, call, "training=self.training"),))
        elif told is not None and isinstance(told.value, ast.Constant) and told.value.value is True:
            yield Finding(BUG, 0.95, why, (file.replace(told.value, "self.training"),))
        elif len(call.args) >= 3 and isinstance(call.args[2], ast.Constant) and call.args[2].value is True:
            yield Finding(BUG, 0.95, why, (file.replace(call.args[2], "self.training"),))


def _last_argument(file: File, call: ast.Call, text: str) -> Edit:
    values = [*call.args, *(one.value for one in call.keywords)]
    return file.append(values[-1], f", {text}")


def _evaluations(file: File) -> Iterator[Function | ast.With]:
    """Functions and blocks that compute without gradients and call something that may be a model."""
    for node in file.nodes:
        if (isinstance(node, Function) and without_gradients(file, node)) or (
            isinstance(node, ast.With)
            and any(
                name_of(getattr(item.context_expr, "func", None)).endswith(("no_grad", "inference_mode"))
                for item in node.items
            )
        ):
            yield node


def _evaluation(job: Job, file: File, place: Function | ast.With) -> Iterator[Finding]:
    if calls(file, "backward", within=place):
        return
    function: Scope = place if isinstance(place, Function) else file.scope(place)
    whole = isinstance(place, Function)
    if isinstance(function, Function) and whole and calls(file, "backward", within=function):
        return
    models = _models(job, file, place, function)
    if not models:
        return
    for name in models:
        around: ast.AST = function if isinstance(function, Function) else file.tree
        switches = [
            one
            for one in calls(file, "eval", "train", within=around)
            if name_of(receiver(one)) == name and is_call_statement(file, one)
        ]
        first_use = min(
            file.start(one)
            for one in ast.walk(place)
            if isinstance(one, ast.Call) and name_of(one.func) == name
        )
        loop = file.loop(place) if isinstance(place, ast.With) else None
        before = [one for one in switches if file.start(one) < first_use]
        inside = [one for one in switches if one in set(ast.walk(place)) or file.loop(one) is not loop]
        where = f"{file.path}:{place.lineno}" + (
            f" in {function.name}" if isinstance(function, Function) else ""
        )
        last = before[-1] if before else None
        why = (
            f"{name} is evaluated in training mode at {where}: {{}}, so dropout stays active and batch norm "
            "uses batch statistics."
        )
        first = place.body[0] if isinstance(place, Function) else place
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(place, Function)
            and len(place.body) > 1
        ):
            first = place.body[1]
        if last is not None and _off(last):
            stray = [one for one in inside if not _off(one) and file.start(one) > file.start(last)]
            stray = [
                one
                for one in stray
                if (file.loop(one) is not None and file.loop(one) in set(ast.walk(place)))
                or _before_use(file, one, place, name)
            ]
            if stray:
                yield Finding(
                    BUG,
                    0.9,
                    why.format(f"a stray train() at line {stray[0].lineno} undoes eval()"),
                    tuple(file.delete(file.statement(one)) for one in stray),
                )
            continue
        if last is not None:
            statement = file.statement(last)
            earlier = [one for one in before if _off(one)]
            if earlier:
                yield Finding(
                    BUG, 0.9, why.format("train() undoes the eval() before it"), (file.delete(statement),)
                )
            elif file.scope(last) is function and (
                isinstance(function, Function) and not calls(file, "backward", within=function)
            ):
                yield Finding(
                    BUG,
                    0.95,
                    why.format(f"train() is called at line {last.lineno} where eval() is meant"),
                    (file.replace(last, f"{name}.eval()"),),
                )
            else:
                yield Finding(
                    BUG,
                    0.9,
                    why.format("eval() is not called before it"),
                    (file.before(first, f"{name}.eval()"),),
                )
            continue
        if isinstance(function, Function) and _called_in_eval(job, function.name):
            continue
        late = [one for one in switches if _off(one) and file.start(one) > first_use]
        yield Finding(
            BUG,
            0.85 if isinstance(function, Function) else 0.7,
            why.format("eval() is called only afterwards" if late else "eval() is never called before it"),
            (file.before(first, f"{name}.eval()"), *(file.delete(file.statement(one)) for one in late)),
        )


def _before_use(file: File, switch: ast.Call, place: ast.AST, name: str) -> bool:
    return any(
        isinstance(one, ast.Call) and name_of(one.func) == name and file.start(one) > file.start(switch)
        for one in ast.walk(place)
    )


def _off(call: ast.Call) -> bool:
    """Whether a call turns training mode off."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "eval":
        return True
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value is False


def _models(job: Job, file: File, place: ast.AST, function: Scope) -> list[str]:
    """Names that are called within a place and are no function: parameters, or objects of module classes."""
    parameters = (
        {one.arg for one in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]}
        if isinstance(function, Function)
        else set()
    )
    made = {
        name_of(target)
        for one in job.files
        for node in one.nodes
        if isinstance(node, ast.Assign)
        and any(
            isinstance(part, ast.Call) and name_of(part.func) in job.module_classes
            for part in ast.walk(node.value)
        )
        for target in node.targets
    }
    losses = {
        name_of(target)
        for one in job.files
        for node in one.nodes
        if isinstance(node, ast.Assign) and "Loss(" in ast.unparse(node.value)
        for target in node.targets
    }
    found: list[str] = []
    inside = set(ast.walk(place))
    for one in file.nodes:
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one in inside:
            name = name_of(one.func)
            if (
                name
                and name not in found
                and _is_held_model(job, file, name)
                and not job.in_module(file, one)
            ):
                found.append(name)
        elif isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one in inside:
            name = one.func.id
            if name in losses or name in found or not (name in parameters or name in made):
                continue
            if len(one.args) == 2 and name not in made and number(one.args[1]) is None and _is_loss(name):
                continue
            found.append(name)
    return found


def _is_held_model(job: Job, file: File, name: str) -> bool:
    """Whether `self.net` and the like is a model: it is switched, or its weights are asked for."""
    return any(
        name_of(receiver(one)) == name
        for one in calls(file, "train", "eval", "parameters", "state_dict", "load_state_dict")
    )


def _is_loss(name: str) -> bool:
    return any(word in name.lower() for word in ("loss", "criterion", "objective", "cost"))


def _called_in_eval(job: Job, name: str) -> bool:
    """Whether every call of a function has an eval() before it in its own function."""
    found = False
    for file in job.files:
        for call in calls(file, name):
            scope = file.scope(call)
            nearest = [
                one
                for one in calls(file, "eval", "train", within=scope)
                if is_call_statement(file, one)
                and file.start(one) < file.start(call)
                and file.scope(one) is scope
            ]
            if not nearest or not _off(nearest[-1]):
                return False
            found = True
    return found
