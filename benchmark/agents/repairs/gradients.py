"""`gradient_not_zeroed`: where gradients are cleared, if they are, against backward and step."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .job import File, Finding, Job, calls, is_call_statement, name_of, receiver

BUG = "gradient_not_zeroed"
LATE = 20
"""Batches between two clearings from which on it is no accumulation any more."""


def find(job: Job) -> Iterator[Finding]:
    for file in job.files:
        for backward in calls(file, "backward"):
            if is_call_statement(file, backward):
                yield from _around(file, backward)


def _around(file: File, backward: ast.Call) -> Iterator[Finding]:
    loop = file.loop(backward)
    scope: ast.AST = loop or file.scope(backward)
    steps = [
        one
        for one in calls(file, "step", within=scope)
        if is_call_statement(file, one) and file.start(one) > file.start(backward)
    ]
    steps = [one for one in steps if file.loop(one) is loop]
    backward_at = file.statement(backward)
    where = f"{file.path}:{backward_at.lineno}"
    cleared = calls(file, "zero_grad", within=scope)
    names = [name_of(receiver(one)) for one in steps]
    real = [one for one, name in zip(steps, names, strict=True) if not _is_schedule(file, name)]
    for step in real[:1] if len(real) == 1 else real:
        name = name_of(receiver(step))
        if not name:
            continue
        mine = [one for one in cleared if name_of(receiver(one)) == name or _model_of(file, name, one)]
        step_statement = file.statement(step)
        if not mine:
            if _cleared_by_hand(file, scope):
                continue
            outside = [
                one
                for one in calls(file, "zero_grad", within=file.scope(backward))
                if name_of(receiver(one)) == name and one not in cleared and is_call_statement(file, one)
            ]
            edits = [file.before(backward_at, f"{name}.zero_grad()")]
            edits += [file.delete(file.statement(one)) for one in outside]
            edits += [
                file.delete(file.statement(one))
                for one in cleared
                if is_call_statement(file, one) and len(real) == 1
            ]
            how = "only once an epoch, outside the loop over batches" if outside else "nowhere"
            yield Finding(
                BUG,
                0.95,
                f"The gradients are cleared {how}: {name}.zero_grad() is missing before the backward pass "
                f"at {where}, "
                "so gradients of earlier batches accumulate into every step.",
                tuple(edits),
            )
            continue
        for one in mine:
            statement = file.statement(one)
            between = file.start(backward_at) < file.start(statement) < file.start(step_statement)
            condition = file.parents.get(statement)
            if between and len(mine) == 1:
                yield Finding(
                    BUG,
                    0.95,
                    f"{name}.zero_grad() stands between backward and step at "
                    f"{file.path}:{statement.lineno}, so the "
                    "gradients are cleared before the optimizer uses them and every step is empty.",
                    (file.delete(statement), file.before(backward_at, file.text(statement))),
                )
            elif (
                isinstance(condition, ast.If)
                and file.parents.get(step_statement) is not condition
                and len(mine) == 1
                and not condition.orelse
                and len(condition.body) == 1
            ):
                yield Finding(
                    BUG,
                    0.9,
                    f"{name}.zero_grad() is called every few batches only, at "
                    f"{file.path}:{statement.lineno}, while the "
                    "optimizer steps at every batch, so gradients of earlier batches accumulate.",
                    (file.delete(condition), file.before(backward_at, file.text(statement))),
                )


def _is_schedule(file: File, name: str) -> bool:
    """Whether it is a learning-rate scheduler, by what it was made of or by its name."""
    last = name.split(".")[-1]
    for node in file.nodes:
        if isinstance(node, ast.Assign) and any(name_of(target) == name for target in node.targets):
            made = ast.unparse(node.value)
            if "lr_scheduler" in made or made.split("(")[0].endswith("LR"):
                return True
    return "sched" in last.lower() or last.lower().startswith("lr_")


def _model_of(file: File, optimizer: str, call: ast.Call) -> bool:
    """Whether a model is cleared that the optimizer may hold as a whole."""
    name = name_of(receiver(call))
    for node in file.nodes:
        if isinstance(node, ast.Assign) and any(name_of(target) == optimizer for target in node.targets):
            return f"{name}.parameters()" in ast.unparse(node.value)
    return False


def _cleared_by_hand(file: File, scope: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Attribute) and target.attr == "grad" for target in node.targets)
        for node in ast.walk(scope)
    ) or any(
        isinstance(node, ast.Call)
        and name_of(node.func).endswith(("grad.zero_", "autograd.grad", "torch.func.grad"))
        for node in ast.walk(scope)
    )
