"""Wrong sizes that look right, and the places in a model where sizes are written."""

from __future__ import annotations

import libcst as cst

from .analysis import Script, dotted, fact
from .bindings import literal_behind, values
from .editing import argument, replace_outer
from .idioms import Layer, module_classes
from .workspace import Edit

BATCH_NAMES = frozenset({"batch_size", "batchsize", "train_batch_size"})


def wrong_sizes(script: Script, size: cst.BaseExpression) -> list[str]:
    """Other texts for the size of a layer, none of which can stand for the same number.

    A number becomes its double, three or one (channels), its half and its neighbours; a product loses a
    factor; a name is doubled, halved, or one more.
    """
    text = script.text(size)
    if isinstance(size, cst.Integer):
        number = int(size.value.replace("_", ""), 0)
        wrong = [2 * number, 3 if number == 1 else 0, number // 2 if number % 2 == 0 else 0]
        wrong += [number + 1, number - 1]
        return [str(one) for one in dict.fromkeys(wrong) if one > 0 and one != number]
    factors = _factors(size)
    if len(factors) > 1:
        texts = [script.text(one) if not one.lpar else f"({script.text(one)})" for one in factors]
        left_out = [i for i in reversed(range(len(texts))) if texts[i] != "1"]
        return list(dict.fromkeys(" * ".join(texts[:i] + texts[i + 1 :]) for i in left_out))
    if not isinstance(size, (cst.Name, cst.Attribute, cst.Subscript, cst.Call)):
        text = f"({text})"
    if any(isinstance(one, cst.Integer) and one.value == "1" for one in values(script, size)):
        return [f"2 * {text}", f"{text} + 1"]  # half of one would be a layer without inputs
    return [f"2 * {text}", f"{text} // 2", f"{text} + 1"]


def swapped(script: Script, one: cst.BaseExpression, other: cst.BaseExpression) -> list[list[Edit]]:
    """The two expressions in each other's place; nothing where they read the same."""
    first, second = script.text(one), script.text(other)
    if first == second:
        return []
    return [[replace_outer(script, one, second), replace_outer(script, other, first)]]


def is_used(script: Script, layer: Layer) -> bool:
    """Whether a layer kept as `self.name` is read anywhere in its class (others are taken to be used)."""
    if layer.attribute is None or layer.owner is None:
        return True
    places = script.attributes(layer.attribute, within=layer.owner)
    return sum(dotted(place) == f"self.{layer.attribute}" for place in places) > 1


@fact
def forwards(script: Script) -> tuple[cst.FunctionDef, ...]:
    """The `forward` methods of all module classes."""
    found = (script.method(owner, "forward") for owner in module_classes(script))
    return tuple(one for one in found if one is not None)


@fact
def batch_size_text(script: Script, forward: cst.FunctionDef) -> str | None:
    """How `forward` could name the training batch size: a global of its file, else the number itself."""
    file = script.file(forward)
    for name in sorted(BATCH_NAMES | {one.upper() for one in BATCH_NAMES}):
        if len(script.writes(name, file.module)) == 1:
            return name
    for node in script.assignments():
        target = node.targets[0].target if isinstance(node, cst.Assign) else node.target
        if (dotted(target) or "").lower() in BATCH_NAMES and isinstance(node.value, cst.Integer):
            return node.value.value
    for call in script.calls("torch.utils.data.DataLoader"):
        arg = argument(call, 1, "batch_size")
        number = literal_behind(script, arg.value) if arg is not None else None
        if isinstance(number, cst.Integer):
            return number.value
    for param in script.nodes(cst.Param):
        if param.name.value in BATCH_NAMES and isinstance(param.default, cst.Integer):
            return param.default.value
    return None


def _factors(node: cst.BaseExpression) -> list[cst.BaseExpression]:
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply) and not node.lpar:
        return [*_factors(node.left), *_factors(node.right)]
    return [node]
