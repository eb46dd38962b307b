"""Common shapes of training code, found by what they do rather than by their names: layers, models,
optimizers, training steps, losses.

What a name is bound to is found with `bindings`, what it stands for with `roles`. All answers are in source
order and are computed once per script.
"""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from .analysis import Loop, Script, dotted, fact
from .bindings import DEPTH, SAME_OBJECT, origins, values
from .editing import argument
from .roles import LOSSES, Role, is_module_class, role

ELEMENTWISE = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})
"""Losses that broadcast two unequal shapes with no more than a warning."""


@dataclass(frozen=True)
class Layer:
    """A `torch.nn` layer built somewhere: `self.fc = nn.Linear(4, 2)`, or inside `nn.Sequential(...)`.

    attribute: `fc` for an assignment to `self.fc` (also of the Sequential around it), else None.
    kind: the class in `torch.nn`, e.g. `Linear`.
    owner: the module class whose body holds it.
    """

    kind: str
    call: cst.Call
    attribute: str | None
    owner: cst.ClassDef | None


@dataclass(frozen=True)
class Optimizer:
    """`name = torch.optim.Kind(...)`; name is dotted, e.g. `optimizer` or `self.opt`."""

    name: str
    kind: str
    call: cst.Call
    assignment: cst.CSTNode


@dataclass(frozen=True)
class Model:
    """`name = Net(...)`, perhaps with `.to(device)` behind it, or a factory's result.

    definition: the class or factory function, None for a layer of `torch.nn` built in place.
    """

    name: str
    call: cst.Call
    assignment: cst.CSTNode
    definition: cst.ClassDef | cst.FunctionDef | None


@dataclass(frozen=True)
class TrainingStep:
    """Where gradients are made: one `loss.backward()` and what belongs to it.

    loss: the receiver of `backward`. batch_loop: the innermost loop around it, None in a function without
    one. epoch_loop: the outermost loop around it in this function, else around a call of this function.
    zero_grads, steps: calls on optimizers (or models, for `zero_grad`) in the same function.
    """

    backward: cst.Call
    loss: cst.BaseExpression
    batch_loop: Loop | None
    epoch_loop: Loop | None
    zero_grads: tuple[cst.Call, ...]
    steps: tuple[cst.Call, ...]


@dataclass(frozen=True)
class LossCall:
    """A loss applied: `criterion(output, target)` or `F.cross_entropy(output, target)`; kind as in `F`."""

    kind: str
    call: cst.Call
    output: cst.BaseExpression
    target: cst.BaseExpression


@fact
def module_classes(script: Script) -> tuple[cst.ClassDef, ...]:
    return tuple(one for one in script.classes() if is_module_class(script, one))


@fact
def layers(script: Script) -> tuple[Layer, ...]:
    """Every `torch.nn.Kind(...)` that is not a loss, wherever it is built."""
    found = []
    for call in script.calls():
        kind = (script.resolve(call.func) or "").removeprefix("torch.nn.")
        if not kind[:1].isupper() or "." in kind or kind in LOSSES or script.resolve(call.func) == kind:
            continue
        attribute = None
        small = script.small_statement(call)
        if isinstance(small, cst.Assign):
            name = dotted(small.targets[0].target) or ""
            attribute = name.removeprefix("self.") if name.startswith("self.") else None
        found.append(Layer(kind, call, attribute, script.class_of(call)))
    return tuple(found)


@fact
def layers_of(script: Script, owner: cst.ClassDef) -> tuple[Layer, ...]:
    """The layers built in the body of one module class."""
    return tuple(layer for layer in layers(script) if layer.owner is owner)


@fact
def models(script: Script) -> tuple[Model, ...]:
    """Assignments that build a model (not the layers inside module classes)."""
    found = []
    for node in script.assignments():
        if node.value is None or role(script, node.value) != "model":
            continue
        owner = script.class_of(node)
        target = node.targets[0].target if isinstance(node, cst.Assign) else node.target
        name, call = dotted(target), _built(node.value)
        if name is None or call is None or (owner is not None and is_module_class(script, owner)):
            continue
        found.append(Model(name, call, node, script.definition(call.func)))
    return tuple(found)


@fact
def optimizers(script: Script) -> tuple[Optimizer, ...]:
    """Assignments `name = torch.optim.Kind(...)`."""
    found = []
    for node in script.assignments():
        if isinstance(node.value, cst.Call):
            kind = (script.resolve(node.value.func) or "").removeprefix("torch.optim.")
            target = node.targets[0].target if isinstance(node, cst.Assign) else node.target
            name = dotted(target)
            if kind[:1].isupper() and "." not in kind and role(script, node.value) == "optimizer" and name:
                found.append(Optimizer(name, kind, node.value, node))
    return tuple(found)


@fact
def calls_on(script: Script, wanted: Role, *methods: str) -> tuple[cst.Call, ...]:
    """Method calls on a thing of one role: `calls_on(script, "model", "eval")` gives every `model.eval()`."""
    return tuple(
        call
        for call in script.method_calls(*methods)
        if isinstance(call.func, cst.Attribute) and role(script, call.func.value) == wanted
    )


def is_statement(script: Script, call: cst.Call) -> bool:
    """Whether a call is a statement of its own: `optimizer.step()`."""
    return isinstance(script.parent(call), cst.Expr)


@fact
def training_steps(script: Script) -> tuple[TrainingStep, ...]:
    """Every `loss.backward()` with the loops, `zero_grad` and `step` calls around it."""
    found = []
    for call in script.method_calls("backward"):
        assert isinstance(call.func, cst.Attribute)
        scope = script.scope(call)
        loops = script.loop_stack(call)
        epoch = loops[-1] if len(loops) > 1 else None
        if epoch is None and isinstance(scope, cst.FunctionDef):
            around = [loop for caller in script.callers(scope) for loop in script.loop_stack(caller)]
            epoch = around[-1] if around else None
        same = [c for c in calls_on(script, "optimizer", "zero_grad", "step") if script.scope(c) is scope]
        same += [c for c in calls_on(script, "model", "zero_grad") if script.scope(c) is scope]
        same.sort(key=script.order)
        zero = tuple(
            c for c in same if isinstance(c.func, cst.Attribute) and c.func.attr.value == "zero_grad"
        )
        steps = tuple(c for c in same if c not in zero)
        found.append(TrainingStep(call, call.func.value, loops[0] if loops else None, epoch, zero, steps))
    return tuple(found)


@fact
def loss_calls(script: Script) -> tuple[LossCall, ...]:
    """Every place where a loss of `torch.nn` or `torch.nn.functional` is applied."""
    found = []
    for call in script.calls():
        name = (script.resolve(call.func) or "").removeprefix("torch.nn.functional.")
        kind = name if name in LOSSES.values() else None
        if kind is None:
            made = call.func if isinstance(call.func, cst.Call) else None
            built = (made,) if made else origins(script, call.func)
            for one in built:
                if isinstance(one, cst.Call) and one is not call:
                    kind = kind or LOSSES.get((script.resolve(one.func) or "").removeprefix("torch.nn."))
        output, target = argument(call, 0, "input"), argument(call, 1, "target")
        if kind is not None and output is not None and target is not None:
            found.append(LossCall(kind, call, output.value, target.value))
    return tuple(found)


@fact
def training_losses(script: Script) -> tuple[LossCall, ...]:
    """The losses that are differentiated: applied in a function that calls `backward`, or returned by a
    function whose result is."""
    trained = set()
    for step in training_steps(script):
        for origin in _loss_terms(script, step.loss, DEPTH):
            trained.add(origin)
    return tuple(loss for loss in loss_calls(script) if loss.call in trained)


def _loss_terms(script: Script, expression: cst.CSTNode, depth: int) -> list[cst.CSTNode]:
    """The calls a loss is made of, through names, sums, factors and functions of this workspace."""
    if depth == 0:
        return []
    if isinstance(expression, (cst.Name, cst.Attribute)):
        return [t for v in values(script, expression) for t in _loss_terms(script, v, depth - 1)]
    if isinstance(expression, cst.BinaryOperation):
        sides = (expression.left, expression.right)
        return [term for side in sides for term in _loss_terms(script, side, depth - 1)]
    if isinstance(expression, cst.Call):
        terms: list[cst.CSTNode] = [expression]
        if isinstance(expression.func, cst.Attribute):
            terms += _loss_terms(script, expression.func.value, depth - 1)
        made = script.definition(expression.func)
        if isinstance(made, cst.FunctionDef):
            for result in script.nodes(cst.Return, made):
                if result.value is not None:
                    terms += _loss_terms(script, result.value, depth - 1)
        return terms
    return []


def _built(expression: cst.CSTNode) -> cst.Call | None:
    """The constructor call inside `Net(...).to(device)`."""
    while (
        isinstance(expression, cst.Call)
        and isinstance(expression.func, cst.Attribute)
        and expression.func.attr.value in SAME_OBJECT
    ):
        expression = expression.func.value
    return expression if isinstance(expression, cst.Call) else None
