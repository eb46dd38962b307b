"""Where a value comes from: a walk backwards through names, calls, loops and data loaders.

The walk is an approximation that serves to tell inputs from targets and training from evaluation in code
nobody here wrote; what it finds is proved or discarded by running the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst

from .analysis import Script, dotted, fact
from .bindings import passed, passed_at, values
from .idioms import loss_calls, training_losses
from .roles import is_module_class, role

_DEPTH = 24
"""Steps after which a walk ends; from a batch back to the file it was loaded from takes about fifteen."""

_Path = tuple[int, ...]
"""Which element of a tuple is meant, outermost first."""


@dataclass(frozen=True)
class Origin:
    """An expression on the way, and the expressions the walk passed before it (nearest the use first)."""

    node: cst.CSTNode
    after: tuple[cst.CSTNode, ...]


@fact
def flow(script: Script, expression: cst.CSTNode) -> tuple[Origin, ...]:
    """Every expression a value may have passed through, the expression itself first.

    Where the walk entered a function by a call, its parameters are followed to that call alone.
    """
    found: list[Origin] = []
    seen: set[tuple[cst.CSTNode, _Path, cst.Call | None]] = set()
    queue: list[tuple[cst.CSTNode, _Path, tuple[cst.CSTNode, ...]]] = [(expression, (), ())]
    while queue:
        node, path, after = queue.pop(0)
        entered = _entered(script, node, after)
        if (node, path, entered) in seen or len(after) > _DEPTH:
            continue
        seen.add((node, path, entered))
        found.append(Origin(node, after))
        for source, rest in _sources(script, node, path, entered):
            queue.append((source, rest, (*after, node)))
    return tuple(found)


def _entered(script: Script, node: cst.CSTNode, after: tuple[cst.CSTNode, ...]) -> cst.Call | None:
    """The call by which the walk came into the function that holds a node."""
    scope = script.function(node)
    if scope is None:
        return None
    places = {scope, script.class_of(scope)} - {None}
    calls = (one for one in reversed(after) if isinstance(one, cst.Call))
    return next((call for call in calls if script.definition(call.func) in places), None)


def _sources(
    script: Script, node: cst.CSTNode, path: _Path, entered: cst.Call | None
) -> Iterator[tuple[cst.CSTNode, _Path]]:
    """One step back."""
    if isinstance(node, cst.Name) or (isinstance(node, cst.Attribute) and dotted(node)):
        scope = script.function(node)
        everywhere = passed(script, scope, dotted(node) or "") if scope is not None else ()
        here = passed_at(script, scope, dotted(node) or "", entered) if scope and entered else None
        for value in values(script, node):
            if here is None or value is here or value not in everywhere:
                yield value, path
        yield from _unpacked(script, node, path)
        if isinstance(node, cst.Attribute):
            yield node.value, ()
    elif isinstance(node, (cst.Subscript, cst.Attribute)):
        yield node.value, ()
    elif isinstance(node, cst.BinaryOperation):
        yield node.left, ()
        yield node.right, ()
    elif isinstance(node, (cst.Tuple, cst.List)):
        if path and len(node.elements) > path[0]:
            yield node.elements[path[0]].value, path[1:]
        elif not path:
            yield from ((one.value, ()) for one in node.elements)
    elif isinstance(node, (cst.ListComp, cst.GeneratorExp)):
        yield node.elt, path
    elif isinstance(node, cst.IfExp):
        yield node.body, path
        yield node.orelse, path
    elif isinstance(node, cst.Call):
        yield from _through_call(script, node, path)


def _through_call(script: Script, call: cst.Call, path: _Path) -> Iterator[tuple[cst.CSTNode, _Path]]:
    made = script.definition(call.func)
    if isinstance(made, cst.ClassDef) and not is_module_class(script, made):
        methods = [script.method(made, name) for name in ("__getitem__", "__iter__")]  # a data set of its own
        made = next((one for one in methods if one is not None), None)
    if isinstance(made, cst.FunctionDef):
        for result in script.nodes((cst.Return, cst.Yield), made):
            value = getattr(result, "value", None)
            if isinstance(value, cst.BaseExpression) and script.function(result) is made:
                yield value, path
        return
    args = [arg.value for arg in call.args if arg.keyword is None]
    name = script.resolve(call.func) or dotted(call.func) or ""
    if name in {"zip", "torch.utils.data.TensorDataset"} and path:
        if len(args) > path[0]:
            yield args[path[0]], path[1:]
    elif name == "enumerate" and path:
        if path[0] == 1 and args:
            yield args[0], path[1:]
    elif isinstance(call.func, cst.Attribute) and script.resolve(call.func) is None:
        if role(script, call.func.value) == "model":
            yield from ((arg, ()) for arg in args)
        else:
            yield call.func.value, path
    elif role(script, call.func) == "model" or name:
        yield from ((arg, path) for arg in args[:1])


def _unpacked(script: Script, name: cst.CSTNode, path: _Path) -> Iterator[tuple[cst.CSTNode, _Path]]:
    """What reaches a name by iteration, by unpacking a call's result, or by being appended to it."""
    wanted = dotted(name) or ""
    scope = script.scope(name)
    scopes = [scope] if isinstance(scope, cst.Module) else [scope, script.file(name).module]
    for one in scopes:
        writes = script.writes(wanted, one)
        for write in writes:
            if isinstance(write, cst.For):
                for place in _places(write.target, wanted):
                    yield write.iter, (*place, *path)
            elif isinstance(write, cst.Assign):
                for target in write.targets:
                    for place in _places(target.target, wanted):
                        if place and not isinstance(write.value, (cst.Tuple, cst.List)):
                            yield write.value, (*place, *path)
        for call in script.method_calls("append", within=one):
            if isinstance(call.func, cst.Attribute) and dotted(call.func.value) == wanted and call.args:
                yield call.args[0].value, path
        if writes:
            break
    for around in script.ancestors(name):
        if isinstance(around, (cst.ListComp, cst.GeneratorExp)):
            loop: cst.CompFor | None = around.for_in
            while loop is not None:
                for place in _places(loop.target, wanted):
                    yield loop.iter, (*place, *path)
                loop = loop.inner_for_in


def _places(target: cst.CSTNode, name: str) -> Iterator[_Path]:
    if isinstance(target, (cst.Tuple, cst.List)):
        for index, element in enumerate(target.elements):
            yield from ((index, *rest) for rest in _places(element.value, name))
    elif dotted(target) == name:
        yield ()


# -- the ends that matter --------------------------------------------------------------------------------


@fact
def model_calls(script: Script) -> tuple[cst.Call, ...]:
    """Where a model is applied: `model(x)`, not the layers inside module classes."""
    found = []
    for call in script.calls():
        name = dotted(call.func)
        if name is None or not call.args or script.resolve(call.func) or script.definition(call.func):
            continue
        held = not name.startswith("self.") or _held_by_trainer(script, call)
        if held and role(script, call.func) == "model":
            found.append(call)
    return tuple(found)


def _held_by_trainer(script: Script, call: cst.Call) -> bool:
    """Whether `self.net(x)` applies a model held by a trainer, not a layer of a module class."""
    owner = script.class_of(call)
    return owner is not None and not is_module_class(script, owner)


@fact
def training_inputs(script: Script) -> tuple[cst.CSTNode, ...]:
    """What is passed to a model where its result reaches a loss that is differentiated."""
    applied = set(model_calls(script))
    found = [
        arg.value
        for loss in training_losses(script)
        for origin in flow(script, loss.output)
        if isinstance(origin.node, cst.Call) and origin.node in applied
        for arg in origin.node.args
    ]
    return tuple(dict.fromkeys(found))


@fact
def training_targets(script: Script) -> tuple[cst.CSTNode, ...]:
    """The targets of the losses that are differentiated."""
    return tuple(loss.target for loss in training_losses(script))


@fact
def evaluation_ends(script: Script) -> tuple[cst.CSTNode, ...]:
    """What is passed to models under `no_grad`, and to losses that nobody differentiates."""
    trained = {loss.call for loss in training_losses(script)}
    found = [arg.value for call in model_calls(script) if without_gradient(script, call) for arg in call.args]
    for loss in loss_calls(script):
        if loss.call not in trained:
            found += [loss.output, loss.target]
    return tuple(dict.fromkeys(found))


def without_gradient(script: Script, node: cst.CSTNode) -> bool:
    """Whether a node lies in `with torch.no_grad():` or in a function decorated with it."""
    names = {"torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad"}

    def switches(expression: cst.CSTNode) -> bool:
        callee = expression.func if isinstance(expression, cst.Call) else expression
        return script.resolve(callee) in names

    for around in script.ancestors(node):
        if isinstance(around, cst.With) and any(switches(item.item) for item in around.items):
            return True
        if isinstance(around, cst.FunctionDef) and any(switches(d.decorator) for d in around.decorators):
            return True
    return False
