"""Moves between devices: which calls are moves, and what each of them moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import libcst as cst

from .analysis import Script, dotted, fact
from .flow import evaluation_ends, flow, training_inputs, training_targets
from .roles import role

INDICES = frozenset({"torch.randperm", "torch.arange"})


@dataclass(frozen=True)
class Moves:
    """The moves of data to the accelerator, by what they serve first: training before evaluation."""

    inputs: tuple[cst.Call, ...]
    targets: tuple[cst.Call, ...]
    evaluation: tuple[cst.Call, ...]


def is_move(script: Script, node: cst.CSTNode) -> bool:
    """Whether a node is `x.to(device)`, `x.to(other.device)`, `x.to("cuda")` or `x.cuda()`."""
    if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Attribute):
        return False
    if node.func.attr.value == "cuda":
        return script.resolve(node.func) is None
    if node.func.attr.value != "to" or not node.args or node.args[0].star:
        return False
    target = node.args[0].value
    if len(node.args) > 1 and any(
        arg.keyword is None or arg.keyword.value == "dtype" for arg in node.args[1:]
    ):
        return False  # it changes the type too, and taking it away would be another bug
    if node.args[0].keyword is not None and node.args[0].keyword.value != "device":
        return False
    if isinstance(target, cst.SimpleString):
        return str(target.evaluated_value).startswith("cuda")
    if isinstance(target, cst.Attribute) and target.attr.value == "device":
        return True
    return role(script, target) == "device" or (dotted(target) or "").rpartition(".")[2] in {"device", "dev"}


def moved_value(move: cst.CSTNode) -> cst.BaseExpression:
    """What a move moves."""
    assert isinstance(move, cst.Call) and isinstance(move.func, cst.Attribute)
    return move.func.value


def to_cpu(script: Script, node: cst.CSTNode) -> bool:
    """Whether a node is `x.cpu()` or `x.to("cpu")`."""
    if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Attribute):
        return False
    if node.func.attr.value == "cpu":
        return script.resolve(node.func) is None and not node.args
    one = node.args[0].value if node.func.attr.value == "to" and len(node.args) == 1 else None
    return isinstance(one, cst.SimpleString) and one.evaluated_value == "cpu"


def arguments_device(call: cst.Call) -> cst.Arg | None:
    """The `device=...` of a call, unless it says the CPU."""
    for arg in call.args:
        if arg.keyword is not None and arg.keyword.value == "device":
            return None if isinstance(arg.value, cst.SimpleString) and "cpu" in arg.value.value else arg
    return None


def is_index(script: Script, call: cst.CSTNode) -> bool:
    """Whether a tensor only serves to index others: a tensor on the accelerator takes indices on the CPU."""
    if any(isinstance(one, cst.SubscriptElement) for one in script.ancestors(call)):
        return True
    small = script.small_statement(call)
    if not isinstance(small, cst.Assign) or len(small.targets) != 1:
        return False
    name = dotted(small.targets[0].target)
    uses = script.reads(name, script.scope(call)) if name is not None else []
    return bool(uses) and all(_indexes(script, use, 2) for use in uses)


def _indexes(script: Script, use: cst.CSTNode, depth: int) -> bool:
    """Whether a use lies in an index, or is cut (`order[i : i + 8]`) to a name that only serves as one."""
    for around in script.ancestors(use):
        if isinstance(around, cst.SubscriptElement):
            return True
        if isinstance(around, cst.BaseSmallStatement):
            value = getattr(around, "value", None)
            cut = isinstance(around, cst.Assign) and isinstance(value, cst.Subscript) and value.value is use
            return cut and depth > 0 and value is not None and is_index(script, value)
    return False


@fact
def ends_of(script: Script) -> Moves:
    """Sort the moves of data by what they serve. Refused: moves of models and indices, and moves before or
    behind another one on the same way, since without one of the two nothing breaks."""
    inputs = _moves(script, training_inputs(script))
    targets = [one for one in _moves(script, training_targets(script)) if one not in inputs]
    trained = {*inputs, *targets}
    evaluation = [one for one in _moves(script, evaluation_ends(script)) if one not in trained]
    return Moves(tuple(inputs), tuple(targets), tuple(evaluation))


def _moves(script: Script, ends: Iterable[cst.CSTNode]) -> list[cst.Call]:
    found: dict[cst.CSTNode, bool] = {}
    for end in ends:
        for origin in flow(script, end):
            node = origin.node
            if (
                not is_move(script, node)
                or is_index(script, node)
                or role(script, moved_value(node)) == "model"
            ):
                continue
            behind = [one for one in origin.after if is_move(script, one)]
            for one in behind:
                found[one] = False
            found[node] = found.get(node, True) and not behind
    return [node for node, alone in found.items() if alone and isinstance(node, cst.Call)]
