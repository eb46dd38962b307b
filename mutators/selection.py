"""How a script chooses the epoch whose weights it keeps, and on which rows."""

from __future__ import annotations

import re
from dataclasses import dataclass

import libcst as cst

from .analysis import Script, dotted, fact, target_names
from .splits import (
    Scope,
    bound_values,
    differentiates,
    in_scope,
    is_order,
    names_in,
    reaching,
    scopes,
    training,
)

_KEEPING = re.compile(r"deepcopy|state_dict|\.save\(|\.clone\(|\bbreak\b")
"""What a script does when an epoch is the best so far, or the last one."""


@dataclass(frozen=True)
class Selection:
    """The measurement by which the best epoch is chosen, and which names to swap to take it on test rows.

    measured: the assigned expression, or the call that is given the validation rows.
    """

    measured: cst.BaseExpression
    swaps: tuple[tuple[cst.Name, str], ...]


@fact
def selections(script: Script) -> tuple[Selection, ...]:
    found: list[Selection] = []
    for scope in scopes(script):
        for loop, measured in _measured(script, scope):
            swaps = _swaps(script, measured, script.span(loop)[1], scope)
            if swaps:
                found.append(Selection(measured, swaps))
            if not isinstance(scope, cst.FunctionDef):
                continue
            params = [one.name.value for one in scope.params.params]
            read = names_in(script, measured) & set(params)
            for call in script.callers(scope):
                outer = script.scope(call)
                given = [
                    arg.value
                    for position, arg in enumerate(call.args)
                    if (arg.keyword.value if arg.keyword else (params[position : position + 1] or [""])[0])
                    in read
                ]
                over = [s for value in given for s in _swaps(script, value, script.span(call)[1], outer)]
                if over:
                    found.append(Selection(call, tuple(over)))
    unique = {script.span(one.measured): one for one in found}
    return tuple(sorted(unique.values(), key=lambda one: script.order(one.measured)))


def _measured(script: Script, scope: Scope) -> list[tuple[cst.For | cst.While, cst.BaseExpression]]:
    """(epoch loop, expression) for `loss = …` … `if loss < best: keep` in a loop that trains."""
    found = []
    for condition in script.nodes(cst.If, scope):
        loops = script.loop_stack(condition)
        if (
            not loops
            or not in_scope(script, condition, scope)
            or not isinstance(condition.test, cst.Comparison)
        ):
            continue
        if not _KEEPING.search(script.text(condition.body)):
            continue
        loop = loops[0]
        made = [script.definition(call.func) for call in script.nodes(cst.Call, loop)]
        if not script.method_calls("backward", within=loop) and not any(
            one is not None and differentiates(script, one) for one in made
        ):
            continue
        for name in sorted(names_in(script, condition.test)):
            write = reaching(script, name, condition, scope)
            if write is None or not script.inside(write, loop) or not isinstance(write, cst.Assign):
                continue
            found += [(loop, value) for value in bound_values(write, name)]
    return found


def _swaps(
    script: Script, measured: cst.BaseExpression, behind: int, scope: Scope
) -> tuple[tuple[cst.Name, str], ...]:
    """The names of validation rows in an expression, each with its counterpart among rows that are neither
    trained on nor looked at before the end. Empty unless all of them have one, from the same part."""
    names, _ = training(script, scope)
    swaps: list[tuple[cst.Name, str]] = []
    chosen: set[str] = set()
    for node in script.nodes(cst.Name, measured):
        parent = script.parent(node)
        if isinstance(parent, cst.Attribute) and parent.attr is node:
            continue
        if isinstance(parent, cst.Arg) and parent.keyword is node:
            continue
        options = []
        for other in _siblings(script, node.value, scope):
            late = [one for one in script.reads(other, scope) if script.span(one)[0] > behind]
            base = _index_of(script, node.value, other, scope)
            if other not in names and late and base is not None:
                options.append((other, base))
        if len(options) == 1:
            swaps.append((node, options[0][0]))
            chosen.add(options[0][1])
    return tuple(swaps) if len(chosen) == 1 else ()


def _siblings(script: Script, name: str, scope: Scope) -> list[str]:
    """Other names of the scope that are bound once, in the same way as this one but for the rows."""
    if not _definition(script, name, scope):
        return []
    return [
        other
        for other in sorted(_bound_names(script, scope))
        if other != name and _index_of(script, name, other, scope) is not None
    ]


@fact
def _bound_names(script: Script, scope: Scope) -> frozenset[str]:
    return frozenset(
        name
        for write in script.assignments(scope)
        if isinstance(write, cst.Assign) and in_scope(script, write, scope)
        for target in write.targets
        for name in target_names(target.target)
    )


def _definition(script: Script, name: str, scope: Scope) -> tuple[cst.CSTNode, cst.BaseExpression] | None:
    writes = script.writes(name, scope)
    values = bound_values(writes[0], name) if len(writes) == 1 else []
    return (writes[0], values[0]) if len(values) == 1 and isinstance(writes[0], cst.Assign) else None


@fact
def _index_of(script: Script, name: str, other: str, scope: Scope, depth: int = 6) -> str | None:
    """The index name in which two definitions differ (that of `other`); None where they are no counterparts.

    Counterparts are two parts of one division (`test_idx, val_idx, train_idx = split(...)`, or slices of one
    order), or names whose definitions are equal but for counterparts.
    """
    mine, theirs = _definition(script, name, scope), _definition(script, other, scope)
    if mine is None or theirs is None or name == other or depth == 0:
        return None
    (write, value), (written, same) = mine, theirs
    if write is written and value is same and isinstance(value, cst.Call):
        return other
    if isinstance(value, cst.Subscript) and isinstance(same, cst.Subscript):
        sliced = all(isinstance(one.slice[0].slice, cst.Slice) for one in (value, same))
        base = dotted(value.value)
        if sliced and base is not None and base == dotted(same.value):
            return other if is_order(script, base, value, scope) else None
    tokens = [re.findall(r"\w+|[^\w\s]", script.text(one)) for one in (value, same)]
    if len(tokens[0]) != len(tokens[1]):
        return None
    differing = {(a, b) for a, b in zip(*tokens, strict=True) if a != b}
    found = {
        _index_of(script, a, b, scope, depth - 1) if a.isidentifier() and b.isidentifier() else None
        for a, b in differing
    }
    return next(iter(found)) if len(found) == 1 else None
