"""Statistics of the training rows: where they are computed, and what they are used for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import libcst as cst

from .analysis import Script, dotted, fact, target_names
from .splits import Part, Scope, bound_values, held_out, in_scope, names_in, parts, reaching, scopes

REDUCTIONS = frozenset(
    {
        *("mean", "std", "var", "min", "max", "amin", "amax", "aminmax", "median", "quantile", "percentile"),
        *("nanmean", "nanstd", "nanvar", "nanmedian", "nanmin", "nanmax", "nanquantile", "nanpercentile"),
        *("std_mean", "var_mean"),
    }
)
"""Statistics that scale or fill; `sum` is left out (counts, class weights)."""

KEEPS_ROWS = frozenset(
    {"to", "cuda", "cpu", "float", "double", "astype", "clone", "copy", "contiguous", "numpy"}
)
"""Methods behind `x[index]` that change neither rows nor values."""

_COPIES = frozenset({"clone", "copy", "contiguous"})


Kind = Literal["scale", "target", "fill"]


@dataclass(frozen=True)
class Statistic:
    """A reduction over the training rows.

    call: the reduction, or the call of a function that reduces its argument.
    rows: the expression in it that stands for the rows, `x[train_idx]` or a name bound to that.
    every: the text for all rows instead.
    names: what the result is bound to.
    """

    call: cst.Call
    rows: cst.BaseExpression
    part: Part
    every: str
    names: tuple[str, ...]


Group = tuple[Statistic, ...]


# -- where they are computed ------------------------------------------------------------------------------


def root(script: Script, expression: cst.BaseExpression) -> cst.BaseExpression:
    """What a chain of calls starts from: `x[i].float().mean(0)` → `x[i]`, `np.abs(x)` → `x`."""
    while isinstance(expression, cst.Call):
        if isinstance(expression.func, cst.Attribute) and script.resolve(expression.func) is None:
            expression = expression.func.value
        elif script.resolve(expression.func) is not None and expression.args:
            expression = expression.args[0].value
        else:
            break
    return expression


def subset(script: Script, expression: cst.BaseExpression, scope: Scope) -> tuple[Part, str] | None:
    """The part an expression stands for, directly or through one name, and the text of all rows instead."""
    known = {id(part.node): part for part in parts(script, scope)}
    if isinstance(expression, cst.Subscript):
        part = known.get(id(expression))
        return (part, part.base) if part is not None else None
    name = dotted(expression)
    write = reaching(script, name, expression, scope) if name is not None else None
    values = bound_values(write, name) if write is not None and name is not None else []
    if len(values) != 1:
        return None
    steps: list[cst.Call] = []
    value = values[0]
    while isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute):
        if value.func.attr.value not in KEEPS_ROWS:
            return None
        steps.append(value)
        value = value.func.value
    part = known.get(id(value))
    if part is None or write is None:
        return None
    if reaching(script, part.base, expression, scope) is not reaching(script, part.base, write, scope):
        return None
    every = part.base
    for step in reversed(steps):
        assert isinstance(step.func, cst.Attribute)
        if step.func.attr.value not in _COPIES:
            every += script.text(step)[len(script.text(step.func.value)) :]
    return part, every


def _reduced(script: Script, call: cst.Call) -> list[cst.BaseExpression]:
    """The arguments whose rows a call reduces (or remembers, for `fit`)."""
    func = call.func
    if isinstance(func, cst.Attribute) and script.resolve(func) is None:
        if func.attr.value in REDUCTIONS:
            return [func.value]
        return [arg.value for arg in call.args[:1]] if func.attr.value == "fit" else []
    name = script.resolve(func) or ""
    if name.startswith(("torch.", "numpy.")) and name.rpartition(".")[2] in REDUCTIONS and call.args:
        return [call.args[0].value]
    made = script.definition(func)
    if isinstance(made, cst.FunctionDef):
        params = [one.name.value for one in made.params.params]
        reduced = {
            dotted(root(script, value))
            for inner in script.nodes(cst.Call, made)
            if script.definition(inner.func) is not made
            for value in _reduced_directly(script, inner)
        }
        return [
            arg.value
            for arg, name in zip(call.args, params, strict=False)
            if name in reduced and not arg.keyword
        ]
    return []


def _reduced_directly(script: Script, call: cst.Call) -> list[cst.BaseExpression]:
    return [] if script.definition(call.func) is not None else _reduced(script, call)


def _counts(script: Script, call: cst.Call) -> bool:
    """Whether a statistic becomes a whole number, `int(labels[train].max())`: it counts classes."""
    for one in script.ancestors(call):
        if isinstance(one, cst.Call) and dotted(one.func) == "int":
            return True
        if isinstance(one, cst.BaseSmallStatement):
            break
    return False


@fact
def statistics(script: Script, scope: Scope) -> tuple[Statistic, ...]:
    """The statistics of training rows in a scope where other rows of the same array are held out."""
    found = []
    for call in script.nodes(cst.Call, scope):
        if not in_scope(script, call, scope) or _counts(script, call):
            continue
        for argument in _reduced(script, call):
            rows = root(script, argument)
            known = subset(script, rows, scope)
            if known is None or not held_out(script, scope, known[0]):
                continue
            small = script.small_statement(call)
            if isinstance(small, (cst.Assign, cst.AnnAssign)):
                targets = small.targets if isinstance(small, cst.Assign) else (small,)
                names = tuple(name for one in targets for name in target_names(one.target))
            elif isinstance(call.func, cst.Attribute) and call.func.attr.value == "fit":
                names = (dotted(call.func.value) or "",)
            else:
                names = ()
            found.append(Statistic(call, rows, known[0], known[1], names))
    return tuple(found)


# -- what a statistic is used for -------------------------------------------------------------------------


@dataclass(frozen=True)
class Use:
    """scales: data is shifted or divided by it. restores: outputs are multiplied by it or shifted back (so
    it belongs to the target). fills: it stands in for missing values."""

    scales: bool = False
    restores: bool = False
    fills: bool = False

    def __or__(self, other: Use) -> Use:
        return Use(self.scales or other.scales, self.restores or other.restores, self.fills or other.fills)


SCALING = frozenset({"sub", "sub_", "div", "div_", "subtract", "divide"})
FILLING = frozenset({"where", "nan_to_num", "masked_fill", "masked_fill_", "copyto"})


@fact
def use(script: Script, scope: Scope, names: tuple[str, ...], depth: int = 3) -> Use:
    """How values bound to names in a scope are used: in it, in functions that close over it, and in the
    functions and classes of the workspace they are passed to (`depth` levels of them)."""
    wanted = _aliases(script, scope, names)
    found = Use()
    for operation in script.nodes(cst.BinaryOperation, scope):
        if _visible(script, operation, scope, wanted):
            found |= _operation(script, operation, wanted)
    writes: list[cst.AugAssign | cst.Assign] = [
        *script.nodes(cst.AugAssign, scope),
        *script.nodes(cst.Assign, scope),
    ]
    for write in writes:
        if not _visible(script, write, scope, wanted) or not _mentions(script, write.value, wanted):
            continue
        if isinstance(write, cst.AugAssign):
            found |= Use(scales=isinstance(write.operator, (cst.SubtractAssign, cst.DivideAssign)))
        else:
            found |= Use(fills=isinstance(write.targets[0].target, cst.Subscript))
    for call in script.nodes(cst.Call, scope):
        if _visible(script, call, scope, wanted):
            found |= _passed(script, call, wanted, depth)
    return found


def _aliases(script: Script, scope: Scope, names: tuple[str, ...]) -> frozenset[str]:
    """The names, and those bound to the same values (`mean_t = torch.tensor(mean)`, `{"mean": mean}`)."""
    wanted = set(names)
    for write in script.assignments(scope):
        if not in_scope(script, write, scope) or not isinstance(write, cst.Assign):
            continue
        source = root(script, write.value)
        packed = isinstance(source, (cst.Dict, cst.Tuple)) and bool(names_in(script, source) & wanted)
        if packed or dotted(source) in wanted:
            targets = {name for one in write.targets for name in target_names(one.target)}
            wanted |= targets - names_in(script, write.value)
    return frozenset(wanted)


def _mentions(script: Script, node: cst.CSTNode, wanted: frozenset[str]) -> bool:
    attributes = {dotted(one) for one in script.nodes(cst.Attribute, node)}
    return bool((names_in(script, node) | attributes) & wanted)


def _is_one(script: Script, node: cst.BaseExpression, wanted: frozenset[str]) -> bool:
    """Whether an operand is one of the names itself (`high - low`), not arithmetic with it."""
    return dotted(root(script, node)) in wanted


def _visible(script: Script, node: cst.CSTNode, scope: Scope, wanted: frozenset[str]) -> bool:
    """Whether the names mean the same at a node: in the scope, or in a function that closes over it."""
    inner = script.scope(node)
    if inner is scope:
        return True
    if not isinstance(inner, cst.FunctionDef) or not script.inside(inner, scope):
        return False
    return not ({one.name.value for one in inner.params.params} & wanted)


def _operation(script: Script, node: cst.BinaryOperation, wanted: frozenset[str]) -> Use:
    if isinstance(node.operator, (cst.Subtract, cst.Divide)):
        return Use(
            scales=_mentions(script, node.right, wanted)
            and not _is_one(script, node.left, wanted)
            and bool(names_in(script, node.left))
        )
    if isinstance(node.operator, (cst.Multiply, cst.Add)):
        return Use(restores=_is_one(script, node.right, wanted) and bool(names_in(script, node.left)))
    return Use()


def _passed(script: Script, call: cst.Call, wanted: frozenset[str], depth: int) -> Use:
    """What a call does with the names among its arguments (or with a fitted object it is a method of)."""
    func = call.func
    method = func.attr.value if isinstance(func, cst.Attribute) else ""
    receiver = dotted(func.value) if isinstance(func, cst.Attribute) else None
    given = [arg for arg in call.args if _mentions(script, arg.value, wanted)]
    found = Use(scales=method == "transform" and receiver in wanted)
    if not given:
        return found
    found |= Use(scales=method in SCALING, fills=method in FILLING)
    made = script.definition(func)
    if made is None or depth == 0:
        return found
    function = script.method(made, "__init__") if isinstance(made, cst.ClassDef) else made
    params = [one.name.value for one in function.params.params] if function is not None else []
    params = params[1:] if isinstance(made, cst.ClassDef) else params
    for position, arg in enumerate(call.args):
        if arg not in given:
            continue
        name = arg.keyword.value if arg.keyword else (params[position : position + 1] or [""])[0]
        if isinstance(made, cst.ClassDef):
            inner = [use(script, one, (f"self.{name}",), 0) for one in script.functions(made)]
        else:
            inner = [use(script, made, (name,), depth - 1)]
        for one in inner:
            found |= Use(one.scales, False, one.fills)
    return found


def _use(script: Script, statistic: Statistic) -> Use:
    scope = script.scope(statistic.call)
    if statistic.names:
        return use(script, scope, statistic.names)
    for one in script.ancestors(statistic.call):
        if (
            isinstance(one, cst.BinaryOperation)
            and isinstance(one.operator, (cst.Subtract, cst.Divide))
            and script.inside(statistic.call, one.right)
            and names_in(script, one.left)
        ):
            return Use(True, False, False)
        if isinstance(one, cst.BaseSmallStatement):
            break
    return Use(False, False, False)


@fact
def groups(script: Script) -> tuple[Group, ...]:
    """Statistics of one array's training rows that scale or fill data, together, in source order."""
    found: dict[tuple[Scope, str, str], list[Statistic]] = {}
    for scope in scopes(script):
        for one in statistics(script, scope):
            used = _use(script, one)
            if used.scales or used.fills:
                found.setdefault((scope, one.part.base, one.part.index), []).append(one)
    return tuple(tuple(group) for group in found.values())


def kind(script: Script, group: Group) -> Kind:
    uses = [_use(script, one) for one in group]
    if any(one.fills for one in uses):
        return "fill"
    return "target" if any(one.restores for one in uses) else "scale"
