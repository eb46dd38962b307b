"""`training_collapse`: settings, signs, starts and schedules with which nothing is learned."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator

from . import orders
from .job import (
    File,
    Finding,
    Function,
    Job,
    calls,
    is_call_statement,
    keyword,
    name_of,
    number,
    receiver,
)
from .settings import definition

BUG = "training_collapse"
OPTIMIZERS = frozenset(["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adagrad", "Adadelta", "RMSprop", "Adamax"])
SQUASHING = frozenset(
    ["sigmoid", "relu", "tanh", "softplus", "hardtanh", "relu6", "elu", "gelu", "logsigmoid"]
)
"""Activations with which a model cannot give every number."""
USUAL = {"SGD": (1e-3, 0.6, 0.05), "": (1e-4, 0.1, 5e-3)}
"""Optimizer → the least and the largest learning rate that is nothing to wonder about, and a usual one."""
FACTORS = (1e-2, 1e-3, 1e4, 1e5, 1e3, 1e2, 1e-4)
"""By which a rate that is off by far may be off."""


def find(job: Job) -> Iterator[Finding]:
    for file in job.files:
        yield from _settings(job, file)
        yield from _signs(file)
        yield from _starts(file)
        yield from _outputs(job, file)
        yield from _detached(job, file)
        yield from _schedules(file)
        yield from orders.find(file)


def _settings(job: Job, file: File) -> Iterator[Finding]:
    plain = any(name_of(one.func).endswith("SGD") for one in calls(file, *OPTIMIZERS))
    for call in calls(file, "OneCycleLR", "CyclicLR"):
        yield from _rate(job, file, call, "max_lr", "SGD" if plain else "")
    for call in calls(file, *OPTIMIZERS):
        kind = name_of(call.func).split(".")[-1]
        where = f"{file.path}:{call.lineno}"
        yield from _rate(job, file, call, "lr", kind)
        for name, limit, instead in (("weight_decay", 0.5, "1e-3"), ("momentum", 1.0, "0.9")):
            setting = keyword(call, name)
            place = definition(job, file, setting.value) if setting else None
            if setting and place and (number(place[1]) or 0.0) >= limit:
                yield Finding(
                    BUG,
                    0.9,
                    f"{name} = {ast.unparse(place[1])} of {kind} ({where}) is far too strong, so training "
                    "collapses.",
                    (place[0].replace(place[1], instead),),
                )
        setting = keyword(call, "maximize")
        if setting and isinstance(setting.value, ast.Constant) and setting.value.value is True:
            yield Finding(
                BUG,
                0.95,
                f"{kind} at {where} is told maximize=True: it ascends the gradient, so the loss grows.",
                (file.replace(setting.value, "False"),),
            )


def _rate(job: Job, file: File, call: ast.Call, name: str, kind: str) -> Iterator[Finding]:
    """A learning rate by which nothing is learned, or everything forgotten."""
    rate = keyword(call, name)
    value = rate.value if rate else call.args[1] if len(call.args) > 1 else None
    place = definition(job, file, value) if value is not None else None
    if place is None:
        return
    least, most, usual = USUAL.get(kind, USUAL[""])
    now = number(place[1])
    assert now is not None
    if least <= now <= most:
        return
    options = [now * f for f in FACTORS if least <= now * f <= most] or [usual]
    better = min(options, key=lambda one: abs(math.log(one / usual)))
    yield Finding(
        BUG,
        0.9,
        f"The learning rate {now:g} of {kind or 'the schedule'} ({file.path}:{call.lineno}) is far too "
        f"{'high' if now > most else 'low'}, so the loss {'diverges' if now > most else 'stays flat'}.",
        (place[0].replace(place[1], f"{better:.6g}"),),
    )


def _signs(file: File) -> Iterator[Finding]:
    losses = {name_of(receiver(one)) for one in calls(file, "backward") if receiver(one) is not None} - {""}
    for node in file.nodes:
        negative = None
        if isinstance(node, ast.Assign) and any(name_of(target) in losses for target in node.targets):
            negative = node.value
        elif (
            isinstance(node, ast.Call)
            and name_of(node.func).endswith("backward") is False
            and isinstance(node.func, ast.Attribute)
        ):
            negative = node.func.value if node.func.attr == "backward" else None
        if (
            isinstance(negative, ast.UnaryOp)
            and isinstance(negative.op, ast.USub)
            and isinstance(negative.operand, ast.Call | ast.Name)
        ):
            text = ast.unparse(negative.operand)
            if isinstance(negative.operand, ast.Call) and not any(
                word in text.lower().split("(")[0]
                for word in ("loss", "entropy", "criterion", "objective", "cost")
            ):
                continue
            yield Finding(
                BUG,
                0.85,
                f"The loss has the wrong sign at {file.path}:{negative.lineno}: minimising it is gradient "
                "ascent.",
                (file.replace(negative, file.text(negative.operand)),),
            )


def _starts(file: File) -> Iterator[Finding]:
    for node in file.nodes:
        if not isinstance(node, ast.For) or "parameters()" not in ast.unparse(node.iter):
            continue
        if len(node.body) != 1:
            continue
        text = ast.unparse(node.body[0])
        zero = (
            ("zeros_(" in text and ".grad" not in text) or ("constant_(" in text) or (".data.zero_(" in text)
        )
        zero = zero or (".zero_(" in text and ".grad" not in text) or (".fill_(0" in text)
        if zero:
            yield Finding(
                BUG,
                0.95,
                f"All parameters are initialised to zero at {file.path}:{node.lineno}, so hidden units are "
                "all alike and "
                "get no gradient.",
                (file.delete(node),),
            )


def _outputs(job: Job, file: File) -> Iterator[Finding]:
    """A softmax in front of cross entropy, or an activation behind the last layer of a regression."""
    whole = "\n".join(job.sources.values())
    entropy = "cross_entropy" in whole or "CrossEntropyLoss" in whole
    regression = any(
        word in whole for word in ("MSELoss", "mse_loss", "SmoothL1", "smooth_l1", "HuberLoss", "L1Loss")
    )
    for call in calls(file, "softmax", "log_softmax"):
        if not entropy:
            continue
        parent = file.parents.get(call)
        returned = isinstance(parent, ast.Return) and file.owner(call) is not None
        fed = isinstance(parent, ast.Call) and _is_loss(parent)
        if isinstance(parent, ast.Assign):
            fed = any(
                isinstance(one, ast.Call)
                and _is_loss(one)
                and any(name_of(a) == name_of(parent.targets[0]) for a in one.args)
                for one in file.nodes
            )
            returned = file.owner(call) is not None and any(
                isinstance(one, ast.Return) and name_of(one.value) == name_of(parent.targets[0])
                for one in ast.walk(file.scope(call))
            )
        subject = receiver(call)
        owner_is_module = subject is None or name_of(subject) in (
            "torch",
            "F",
            "nn.functional",
            "torch.nn.functional",
            "functional",
        )
        inner = call.args[0] if owner_is_module and call.args else subject
        if (returned or fed) and inner is not None:
            yield Finding(
                BUG,
                0.9,
                f"A softmax stands before cross entropy at {file.path}:{call.lineno}, which takes its own "
                "softmax of the "
                "logits, so gradients vanish.",
                (file.replace(call, file.text(inner)),),
            )
    for call in calls(file, "Softmax", "LogSoftmax"):
        parent = file.parents.get(call)
        if (
            entropy
            and isinstance(parent, ast.Call)
            and parent.args
            and parent.args[-1] is call
            and len(parent.args) > 1
        ):
            yield Finding(
                BUG,
                0.9,
                f"The network ends in a softmax at {file.path}:{call.lineno}, and cross entropy takes "
                "another one.",
                (file.replace(call, "nn.Identity()"),),
            )
    if not regression:
        return
    for function in file.nodes:
        if not (isinstance(function, Function) and function.name == "forward" and file.owner(function)):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.Return) or node.value is None:
                continue
            for call in (part for part in ast.walk(node.value) if isinstance(part, ast.Call)):
                if name_of(call.func).split(".")[-1] in SQUASHING:
                    inner = call.args[0] if call.args else receiver(call)
                elif isinstance(call.func, ast.Attribute) and call.func.attr in ("sigmoid", "relu", "tanh"):
                    inner = call.func.value
                else:
                    continue
                if inner is not None and any(isinstance(one, ast.Call) for one in ast.walk(inner)):
                    yield Finding(
                        BUG,
                        0.85,
                        "The output of the regression passes through an activation at "
                        f"{file.path}:{call.lineno} that "
                        "cannot reach its targets.",
                        (file.replace(call, file.text(inner)),),
                    )


def _is_loss(call: ast.Call) -> bool:
    text = name_of(call.func).lower()
    return any(word in text for word in ("loss", "entropy", "criterion", "objective", "cost"))


def _detached(job: Job, file: File) -> Iterator[Finding]:
    for function in file.nodes:
        if not (isinstance(function, Function) and file.owner(function) is not None):
            continue
        if function.name != "forward":
            continue
        for call in calls(file, "detach", within=function):
            inner = receiver(call)
            if inner is not None and not call.args:
                yield Finding(
                    BUG,
                    0.85,
                    f"The features are detached at {file.path}:{call.lineno}, so nothing below the last "
                    "layer gets a "
                    "gradient and never learns.",
                    (file.replace(call, file.text(inner)),),
                )
        for node in ast.walk(function):
            if isinstance(node, ast.With) and "no_grad" in ast.unparse(node.items[0].context_expr):
                yield Finding(
                    BUG,
                    0.8,
                    f"Part of the forward pass is computed without gradients at {file.path}:{node.lineno}, "
                    "so it never "
                    "learns.",
                    (file.replace(node.items[0].context_expr, "torch.enable_grad()"),),
                )


def _schedules(file: File) -> Iterator[Finding]:
    """A schedule of epochs that is stepped in the loop over batches."""
    for step in calls(file, "step"):
        name = name_of(receiver(step))
        if not name or not is_call_statement(file, step) or step.args:
            continue
        made = [
            ast.unparse(node.value)
            for node in file.nodes
            if isinstance(node, ast.Assign) and any(name_of(target) == name for target in node.targets)
        ]
        schedule = any("LR(" in one or "lr_scheduler" in one for one in made) or "sched" in name.lower()
        if not schedule or any("OneCycle" in one or "len(" in one or "Lambda" in one for one in made):
            continue
        loop = file.loop(step)
        if loop is None or not calls(file, "backward", within=loop):
            continue
        nearest = [one for one in calls(file, "backward", within=loop) if file.loop(one) is loop]
        outer = file.loop(loop)
        if not nearest or outer is None:
            continue
        statement = file.statement(step)
        yield Finding(
            BUG,
            0.9,
            f"The scheduler {name} is meant for epochs and is stepped after every batch at "
            f"{file.path}:{step.lineno}, so "
            "the learning rate is gone at once.",
            (file.delete(statement), file.after(loop, file.text(statement))),
        )
