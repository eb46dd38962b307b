"""What a collapse of training starts from: numbers given to optimizers, outputs of models, orders of rows."""

from __future__ import annotations

from decimal import Decimal

import libcst as cst

from .analysis import Script, dotted
from .bindings import literal_behind
from .editing import argument
from .flow import flow
from .idioms import Optimizer, models
from .roles import is_module_class

ORDER_FREE = frozenset(
    {"mean", "std", "var", "min", "max", "sum", "float", "int", "len", "bincount", "unique"}
)
"""What forgets the order of rows: labels sorted behind one of these are the same labels."""


def setting(
    script: Script, optimizer: Optimizer, keyword: str, position: int | None
) -> cst.Integer | cst.Float | None:
    """The number that an argument of an optimizer stands for, wherever it is written."""
    arg = argument(optimizer.call, position, keyword)
    literal = literal_behind(script, arg.value) if arg is not None else None
    return literal if isinstance(literal, (cst.Integer, cst.Float)) else None


def times(literal: cst.Integer | cst.Float, factor: Decimal) -> str:
    """A number times a factor, as a person would write it: `0.4`, `100.0`, `4e-7`."""
    value = (Decimal(literal.value.replace("_", "")) * factor).normalize()
    if value < Decimal("0.001"):
        return f"{value:e}".replace("e-0", "e-")
    text = format(value, "f")
    return text if "." in text else f"{text}.0"


def local_name(script: Script, node: cst.CSTNode, wanted: str) -> str | None:
    """What a module is called in the file of a node: `nn` for `torch.nn`, else `torch.nn`, else None."""
    imports = script.file(node).imports
    for name, target in sorted(imports.items()):
        if target == wanted:
            return name
    root, _, rest = wanted.partition(".")
    return next((f"{name}.{rest}" for name, target in sorted(imports.items()) if target == root), None)


def atom(script: Script, node: cst.BaseExpression) -> str:
    """The text of an expression, in parentheses where a method could not be called on it otherwise."""
    text = script.text(node)
    return text if isinstance(node, (cst.Name, cst.Attribute, cst.Subscript, cst.Call)) else f"({text})"


def outputs(script: Script) -> list[cst.BaseExpression]:
    """What the `forward` of every model that is built returns."""
    owners = [model.definition for model in models(script)]
    found = []
    for owner in dict.fromkeys(owners):
        if isinstance(owner, cst.ClassDef) and is_module_class(script, owner):
            forward = script.method(owner, "forward")
            returns = script.nodes(cst.Return, forward) if forward is not None else []
            found += [
                one.value for one in returns if one.value is not None and script.function(one) is forward
            ]
    return [one for one in found if not isinstance(one, cst.Tuple)]


def has_softmax(script: Script, output: cst.BaseExpression) -> bool:
    """Whether a softmax was taken already: log_softmax before cross entropy changes nothing."""
    names = [script.text(origin.node) for origin in flow(script, output) if isinstance(origin.node, cst.Call)]
    names += [script.text(value) for value in outputs(script)]
    layers = script.calls("torch.nn.Softmax", "torch.nn.LogSoftmax")
    return bool(layers) or any("softmax" in name for name in names)


def indexed(script: Script, end: cst.CSTNode) -> list[cst.Subscript]:
    """The `rows[index]` a value has passed through, with one plain name as index, where order matters."""
    found = []
    for origin in flow(script, end):
        node = origin.node
        if not isinstance(node, cst.Subscript) or len(node.slice) != 1:
            continue
        index = node.slice[0].slice
        if not isinstance(index, cst.Index) or not isinstance(index.value, cst.Name):
            continue
        calls = [one.func for one in origin.after if isinstance(one, cst.Call)]
        names = {one.attr.value if isinstance(one, cst.Attribute) else dotted(one) for one in calls}
        if not names & ORDER_FREE:
            found.append(node)
    return found


def other_order(script: Script, index: cst.BaseExpression) -> str | None:
    """Another index for the same rows: the slice that cuts the permutation, or the sorted index."""
    for origin in flow(script, index):
        node = origin.node
        if isinstance(node, cst.Subscript) and len(node.slice) == 1 and len(origin.after) == 1:
            cut = node.slice[0].slice
            if isinstance(cut, cst.Slice):
                return script.text(cut)
        if isinstance(node, cst.Call):
            if script.resolve(node.func) == "torch.randperm":
                return f"{script.text(index)}.sort().values"
            numpy = local_name(script, index, "numpy")
            if isinstance(node.func, cst.Attribute) and node.func.attr.value == "permutation" and numpy:
                return f"{numpy}.sort({script.text(index)})"
    return None
