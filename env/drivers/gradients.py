"""Gradients and parameters as the first optimizer steps find them, or the first backward passes of a job that
steps by hand."""

from __future__ import annotations

from typing import Any

import torch

from .attach import finish, run, settings, write
from .describe import Before, norm, quiet, total
from .watch import Calls, Names, report, watch_backward, watch_steps

MOST_BACKWARDS = 200
"""Without any optimizer step, before the job is stopped; and those that are remembered."""
MOST_PARAMETERS = 200
MOST_LOSSES = 4
"""Of one step."""

wanted = int(settings()["steps"])
names = Names()
parameters: dict[int, tuple[int, torch.Tensor]] = {}
"""id → place in the report, and the parameter."""
noted: dict[str, Any] = {"backwards": 0, "closure": False, "before": []}
history: list[dict[str, Any]] = []
"""The last backward passes. loss; touched: id of each parameter whose gradient was made → norm before."""
since: dict[int, int] = {}
"""id of an optimizer → how many backward passes there had been at its last step."""


def place_of(parameter: torch.Tensor) -> int | None:
    known = parameters.get(id(parameter))
    if known is None:
        if len(parameters) >= MOST_PARAMETERS:
            return None
        known = parameters[id(parameter)] = (len(parameters), parameter)
        report["parameters"].append({"name": "", "shape": list(parameter.shape)})
    return known[0]


def leaves(roots: list[torch.Tensor]) -> list[torch.Tensor]:
    """Parameters of the models that were called; of a job without any, the leaves that these depend on."""
    found: list[torch.Tensor] = [
        one for root in names.roots for one in root.parameters() if one.requires_grad
    ]
    found += [one for _, one in parameters.values() if not any(one is other for other in found)]
    if found:
        return found
    waiting = [one.grad_fn for one in roots]
    seen = set(waiting)
    while waiting and len(seen) < 10_000:
        node: Any = waiting.pop()
        if node is None:
            continue
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, torch.Tensor):
            found.append(leaf)
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                waiting.append(below)
    return found


def rows(of: list[tuple[torch.Tensor, torch.Tensor | None]]) -> list[list[Any]]:
    """For each parameter and its gradient: its place, the gradient's norm or None, its own norm."""
    found = []
    for parameter, gradient in of:
        index = place_of(parameter)
        if index is not None:
            found.append([index, None if gradient is None else norm(gradient), norm(parameter)])
    for index, parameter in parameters.values():
        report["parameters"][index]["name"] = names.parameter(parameter)
    return found


def before_backward(roots: list[torch.Tensor]) -> None:
    noted["backwards"] += 1
    noted["gradients"] = Before(leaves(roots))
    loss: Any = None
    for root in roots[:1]:
        with quiet():
            loss = float(root.detach()) if root.numel() == 1 else str(tuple(root.shape))
    history.append({"number": noted["backwards"], "loss": loss, "touched": {}})
    del history[:-MOST_BACKWARDS]


def after_backward(roots: list[torch.Tensor], asked: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    last = history[-1]
    last["touched"] = noted.pop("gradients").touched() if not asked else {id(one): 0.0 for one, _ in asked}
    if report["steps"]:
        return
    if len(report["backwards"]) < wanted:
        given: list[Any] = asked or [(one, one.grad) for one in leaves(roots)]
        found = {"asked": bool(asked), "held": held(last["touched"].values()), "rows": rows(given)}
        report["backwards"].append(found | {"losses": [last["loss"]]})
        write(report)
    if noted["backwards"] >= MOST_BACKWARDS:
        finish(report)


def held(norms: Any) -> list[Any]:
    """How many gradients were there before and not zero, of how many, and the norm of all."""
    norms = list(norms)
    return [sum(one != 0 for one in norms), len(norms), total(norms)]


def parameters_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [one for group in optimizer.param_groups for one in group["params"]]


def look(optimizer: torch.optim.Optimizer) -> None:
    own = parameters_of(optimizer)
    report["backwards"] = []
    ids = {id(one) for one in own}
    passes = [
        one for one in history if one["number"] > since.get(id(optimizer), 0) and ids & set(one["touched"])
    ]
    found: dict[str, Any] = {
        "optimizer": type(optimizer).__name__,
        "backwards": len(passes),
        "losses": [one["loss"] for one in passes[:MOST_LOSSES]],
        "held": None,
        "rows": rows([(one, one.grad) for one in own]),
    }
    if passes:
        found["held"] = held(norm for one, norm in passes[0]["touched"].items() if one in ids)
    since[id(optimizer)] = noted["backwards"]
    gradients = [one.grad for one in own if one.grad is not None]
    found["gradient"] = total([norm(one) for one in gradients]) if gradients else None
    found["parameter"] = total([norm(one) for one in own])
    report["steps"].append(found)


def before_step(optimizer: torch.optim.Optimizer, closure: bool) -> None:
    noted["closure"] = closure
    if not closure:
        look(optimizer)
    with quiet():
        noted["before"] = [one.detach().clone() for one in parameters_of(optimizer)]


def after_step(optimizer: torch.optim.Optimizer) -> None:
    if noted["closure"]:
        look(optimizer)
    with quiet():
        pairs = zip(parameters_of(optimizer), noted["before"], strict=False)
        changes = [norm(one.detach() - before) for one, before in pairs]
    report["steps"][-1] |= {"closure": noted["closure"], "update": total(changes)}
    noted["before"] = []
    if len(report["steps"]) >= wanted:
        finish(report)
    write(report)


report.update(parameters=[], steps=[], backwards=[])
Calls(names)
watch_backward(before_backward, after_backward)
watch_steps(before_step, after_step)
run(report, settings()["entrypoint"])
