"""Where a script calls `zero_grad`, and what lies around such a place."""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from .analysis import Loop, Script, dotted, fact
from .base import Site
from .bindings import origins
from .editing import replace
from .idioms import calls_on, is_statement, layers_of
from .manual_resets import manual_statements
from .roles import PARAMETERLESS, TENSORS, role
from .workspace import Edit

Region = Loop | cst.FunctionDef

COUNTERS = ("step", "i", "batch_idx", "it", "batch_index")


@dataclass(frozen=True)
class CallReset:
    """A statement `receiver.zero_grad(...)` that every round of a training loop needs.

    region: the innermost loop around it, or the function where there is none; backward and step lie in it.
    loop: the region if it is a loop.
    steps: the calls that step what is cleared here.
    """

    call: cst.Call
    receiver: str
    region: Region
    loop: Loop | None
    steps: tuple[cst.Call, ...]


def _receiver(call: cst.Call) -> str:
    assert isinstance(call.func, cst.Attribute)
    return dotted(call.func.value) or ""


def _region(script: Script, node: cst.CSTNode) -> Region | None:
    """The innermost loop or function around a node; the enclosing one for a closure given to `step`."""
    loops = script.loop_stack(node)
    if loops:
        return loops[0]
    function = script.function(node)
    if function is None:
        return None
    for step in script.method_calls("step"):
        if any(dotted(arg.value) == function.name.value for arg in step.args):
            return _region(script, step)
    return function


@fact
def call_resets(script: Script) -> tuple[CallReset, ...]:
    """Every `zero_grad` whose absence lets gradients of different rounds mix.

    Left out: a second one for the same parameters in the region, an optimizer that the region itself builds
    (its gradients may be new each round), and regions where nothing is differentiated or stepped.
    """
    calls = [*calls_on(script, "optimizer", "zero_grad"), *calls_on(script, "model", "zero_grad")]
    found = []
    for call in sorted(calls, key=script.order):
        region, receiver = _region(script, call), _receiver(call)
        if region is None or not receiver or not is_statement(script, call):
            continue
        assert isinstance(call.func, cst.Attribute)
        of_model = role(script, call.func.value) == "model"
        others = [one for one in calls if one is not call and script.inside(one, region)]
        if any(of_model or _receiver(one) == receiver or _is_model(script, one) for one in others):
            continue
        if manual_statements(script, region) or not script.method_calls("backward", within=region):
            continue
        if any(script.inside(write, region) for write in script.writes(receiver, script.scope(call))):
            continue
        steps = tuple(
            step
            for step in script.method_calls("step", within=region)
            if isinstance(step.func, cst.Attribute)
            and (
                _receiver(step) == receiver
                or any(dotted(arg.value) == receiver for arg in step.args)
                or (of_model and role(script, step.func.value) == "optimizer")
            )
        )
        if steps:
            loop = region if isinstance(region, (cst.For, cst.While)) else None
            found.append(CallReset(call, receiver, region, loop, steps))
    return tuple(found)


def _is_model(script: Script, call: cst.Call) -> bool:
    assert isinstance(call.func, cst.Attribute)
    return role(script, call.func.value) == "model"


def reset_at(script: Script, site: Site) -> CallReset:
    call = script.node_at(site, cst.Call)
    return next(reset for reset in call_resets(script) if reset.call is call)


def others_stepped(script: Script, reset: CallReset) -> bool:
    """Whether the region clears a second optimizer too."""
    return any(
        other is not reset and script.inside(other.call, reset.region) for other in call_resets(script)
    )


def cleared_beside(script: Script, reset: CallReset) -> bool:
    """Whether the same receiver is also cleared right outside the loop (a second one there would be odd)."""
    assert reset.loop is not None
    block = script.block(reset.loop)
    return any(
        _receiver(call) == reset.receiver
        and not script.inside(call, reset.loop)
        and script.inside(call, block)
        for call in script.method_calls("zero_grad")
    )


def repeats(script: Script, loop: Loop) -> bool:
    """Whether a loop as a whole runs again: it lies in another one, or in a function called from one."""
    if script.loop_stack(loop):
        return True
    function = script.function(loop)
    if function is None:
        return False
    if script.class_of(function) is not None:
        return any(script.loop_stack(call) for call in script.method_calls(function.name.value))
    return any(script.loop_stack(call) for call in script.callers(function))


def between(script: Script, reset: CallReset) -> tuple[cst.CSTNode, ...]:
    """Statements before which clearing would throw new gradients away unused: the step itself, and what
    follows `backward` where something lies in between. Empty where there is no such place."""
    block = script.block(reset.call)
    steps = [
        one
        for one in reset.steps
        if _receiver(one) and script.block(one) is block and is_statement(script, one)
    ]
    direct = len(steps) == 1 and len(reset.steps) == 1 and not steps[0].args
    if not direct or any(script.attributes("grad", within=reset.region)):
        return ()
    step = script.statement(steps[0])
    statements = script.statements(block)
    before = statements[: statements.index(step)]
    if not any(script.method_calls("backward", within=one) for one in before):
        # accumulation: `backward` lies in the loop around the block that steps
        return (step,) if _precedes(script, reset, step) else ()
    last = max(i for i, one in enumerate(before) if script.method_calls("backward", within=one))
    follows = statements[last + 1]
    cleared = script.statement(reset.call)
    if last < statements.index(cleared) < statements.index(step):
        return ()
    return (step,) if follows is step else (step, follows)


def _precedes(script: Script, reset: CallReset, step: cst.CSTNode) -> bool:
    return any(
        script.order(call) < script.order(step)
        for call in script.method_calls("backward", within=reset.region)
    )


# -- counting batches -------------------------------------------------------------------------------------


def every_batch(script: Script, reset: CallReset) -> bool:
    """Whether the call is a line of its own that runs in every round of a `for` loop."""
    if not isinstance(reset.loop, cst.For):
        return False
    for one in script.ancestors(reset.call):
        if one is reset.loop:
            break
        if isinstance(one, cst.SimpleStatementLine) and len(one.body) > 1:
            return False
        if isinstance(one, (cst.If, cst.Try, cst.SimpleStatementSuite)):
            return False
    return True


def counter(script: Script, reset: CallReset, period: int) -> tuple[str, tuple[Edit, ...]] | None:
    """A condition that holds every `period` batches, and the edits that it needs (an `enumerate`)."""
    loop = reset.loop
    assert isinstance(loop, cst.For)
    iterable, target = loop.iter, loop.target
    name = dotted(iterable.func) if isinstance(iterable, cst.Call) else None
    if name == "enumerate" and isinstance(target, cst.Tuple):
        first = dotted(target.elements[0].value)
        return (f"{first} % {period} == 0", ()) if first and first != "_" else None
    if name == "range" and isinstance(iterable, cst.Call):
        index = dotted(target)
        if index is None or index == "_":
            return None
        if len(iterable.args) < 3:
            return f"{index} % {period} == 0", ()
        stride = iterable.args[2].value
        if isinstance(stride, cst.Integer):
            return f"{index} % {period * stride.evaluated_value} == 0", ()
        if dotted(stride) is None:
            return None
        return f"{index} % ({period} * {script.text(stride)}) == 0", ()
    used = {
        one.value
        for one in script.nodes(cst.Name, script.file(loop).module)
        if not (isinstance(parent := script.parent(one), cst.Attribute) and parent.attr is one)
    }
    index = next((one for one in COUNTERS if one not in used), None)
    if index is None:
        return None
    bound = script.text(target)
    if isinstance(target, cst.Tuple) and not bound.startswith("("):
        bound = f"({bound})"
    edits = (
        _replace_outer(script, target, f"{index}, {bound}"),
        replace(script, iterable, f"enumerate({script.text(iterable)})"),
    )
    return f"{index} % {period} == 0", edits


def _replace_outer(script: Script, node: cst.CSTNode, text: str) -> Edit:
    start, end = script.outer_span(node)
    return Edit(script.file(node).name, start, end, text)


# -- other objects with a zero_grad -------------------------------------------------------------------------


@fact
def other_objects(script: Script, reset: CallReset) -> tuple[str, ...]:
    """Names that have a `zero_grad`, are at hand in the region, and do not cover the same parameters: the
    other optimizers, the last layer of a model with several, the loss."""
    assert isinstance(reset.call.func, cst.Attribute)
    found: list[str] = []
    if others_stepped(script, reset):
        found += [
            other.receiver
            for other in call_resets(script)
            if other is not reset and other.region is reset.region
        ]
    losses: list[str] = []
    for call in script.nodes(cst.Call, reset.region):
        name = dotted(call.func)
        if name is None or script.resolve(call.func) is not None or script.definition(call.func) is not None:
            continue
        kind = role(script, call.func)
        if kind == "model" and not others_stepped(script, reset):
            found += [f"{name}.{part}" for part in _parts(script, call.func)]
        elif kind == "criterion":
            losses.append(name)
    return tuple(dict.fromkeys(one for one in (*found, *losses) if one != reset.receiver))


def _parts(script: Script, model: cst.CSTNode) -> tuple[str, ...]:
    """The last submodule with parameters, where a model has at least two.

    Clearing only the first ones leaves so little stale that a library job's loss moved by ×1.2: as much as
    another random seed moves it.
    """
    built = origins(script, model)
    owner = script.definition(built[0].func) if len(built) == 1 and isinstance(built[0], cst.Call) else None
    if not isinstance(owner, cst.ClassDef):
        return ()
    init = script.method(owner, "__init__")
    names: list[str] = []
    for write in script.assignments(init) if init is not None else []:
        target = dotted(write.targets[0].target) if isinstance(write, cst.Assign) else None
        if target is None or not target.startswith("self.") or not isinstance(write.value, cst.Call):
            continue
        kind = (script.resolve(write.value.func) or "").removeprefix("torch.nn.")
        if kind in ("Sequential", "ModuleList"):
            inside = {
                layer.kind for layer in layers_of(script, owner) if script.inside(layer.call, write)
            } - {kind}
            made = any(script.definition(one.func) for one in script.nodes(cst.Call, write))
            weighty = made or any(not one.startswith(PARAMETERLESS) for one in inside)
        elif kind[:1].isupper() and "." not in kind:
            weighty = kind not in TENSORS and not kind.startswith(PARAMETERLESS)
        else:
            weighty = isinstance(script.definition(write.value.func), (cst.ClassDef, cst.FunctionDef))
        if weighty:
            names.append(target.removeprefix("self."))
    return (names[-1],) if len(names) > 1 else ()
