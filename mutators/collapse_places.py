"""What a collapse of training starts from: numbers given to optimizers, outputs of models, orders of rows."""

from __future__ import annotations

from decimal import Decimal

import libcst as cst

from .analysis import Script, dotted, fact
from .bindings import literal_behind
from .editing import argument
from .flow import Origin, evaluation_ends, flow, training_inputs, training_targets
from .idioms import Optimizer, models
from .roles import is_module_class, learns
from .splits import held_out, parts, scopes

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
    """What the `forward` of every model that is built and can learn returns."""
    owners = [model.definition for model in models(script)]
    found = []
    for owner in dict.fromkeys(owners):
        if isinstance(owner, cst.ClassDef) and is_module_class(script, owner) and learns(script, owner):
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
        if not forgets_order(origin):
            found.append(node)
    return found


def forgets_order(origin: Origin) -> bool:
    """Whether what was found on the way back to a value is reduced to something without rows before it."""
    return any(isinstance(one, cst.Call) and called(one) in ORDER_FREE for one in origin.after)


def called(call: cst.Call) -> str:
    """The last name of a callee: `mean` in `x.float().mean()`."""
    return call.func.attr.value if isinstance(call.func, cst.Attribute) else dotted(call.func) or ""


def other_order(script: Script, labels: cst.Subscript, index: cst.BaseExpression) -> str | None:
    """Another index for what `labels[index]` takes: the slice that cuts the permutation, or the sorted index.

    Labels of rows that are held out must not come among them, since that would be a leak: a slice of another
    order takes other rows, and an order that is cut in two later gives the training part other rows (a batch
    is not cut any more). None where that cannot be told.
    """
    among = not holds_rows_out(script) or trained_on(script, labels.value)
    batch = bool(script.loop_stack(labels)) and labels not in evaluation_reach(script)
    same = among or batch or labels in training_selections(script)
    for origin in flow(script, index):
        node = origin.node
        if among and isinstance(node, cst.Subscript) and len(node.slice) == 1 and len(origin.after) == 1:
            cut = node.slice[0].slice
            if isinstance(cut, cst.Slice):
                return script.text(cut)
        if same and isinstance(node, cst.Call):
            if script.resolve(node.func) == "torch.randperm":
                return f"{script.text(index)}.sort().values"
            numpy = local_name(script, index, "numpy")
            if isinstance(node.func, cst.Attribute) and node.func.attr.value == "permutation" and numpy:
                return f"{numpy}.sort({script.text(index)})"
    return None


@fact
def training_selections(script: Script) -> frozenset[cst.Subscript]:
    """Every `labels[train_idx]` that takes the training rows of an array, beside parts that are held out."""
    everything = [(scope, part) for scope in scopes(script) for part in parts(script, scope)]
    found = [part.node for scope, part in everything if held_out(script, scope, part)]
    ours, theirs = read_apart(script)
    for node in ours:  # functions that take no arguments read the parts as globals
        bases = [other.value for other in theirs if script.scope(other) is script.scope(node)]
        if dotted(node.value) and dotted(node.value) in map(dotted, bases):
            found.append(node)
    return frozenset(found)


def trained_on(script: Script, rows: cst.BaseExpression) -> bool:
    """Whether an array went through a selection of training rows, and not only a number computed from it."""
    selections = training_selections(script)
    return any(origin.node in selections and not forgets_order(origin) for origin in flow(script, rows))


@fact
def holds_rows_out(script: Script) -> bool:
    """Whether evaluation may see other rows than training: there are selections of training rows, or it reads
    a selection that training does not, or both read what something called a split gives them."""
    splitting = [
        node
        for node in training_reach(script) & evaluation_reach(script)
        if isinstance(node, cst.Call) and "split" in called(node)
    ]
    return bool(training_selections(script) or read_apart(script)[1] or splitting)


@fact
def read_apart(script: Script) -> tuple[tuple[cst.Subscript, ...], tuple[cst.Subscript, ...]]:
    """The selections of rows that only training reads, and those that only evaluation reads."""
    trained, evaluated = training_reach(script), evaluation_reach(script)
    one, other = (
        tuple(node for node in part if isinstance(node, cst.Subscript) and not is_entry(node))
        for part in (trained - evaluated, evaluated - trained)
    )
    return one, other


@fact
def training_reach(script: Script) -> frozenset[cst.CSTNode]:
    """Every expression that what training reads may have passed through."""
    return reached(script, (*training_inputs(script), *training_targets(script)))


@fact
def evaluation_reach(script: Script) -> frozenset[cst.CSTNode]:
    """Every expression that what evaluation reads may have passed through."""
    return reached(script, evaluation_ends(script))


def is_entry(node: cst.Subscript) -> bool:
    """`arrays["label"]` or `arrays[0]`: an element by its name or number, not a selection of rows."""
    slices = [one.slice for one in node.slice]
    return all(
        isinstance(one, cst.Index) and isinstance(one.value, (cst.SimpleString, cst.Integer))
        for one in slices
    )


def reached(script: Script, ends: tuple[cst.CSTNode, ...]) -> frozenset[cst.CSTNode]:
    return frozenset(origin.node for end in ends for origin in flow(script, end))
