"""The places where a script reduces what it has to the rows it trains on."""

from __future__ import annotations

import libcst as cst

from .analysis import Script, fact, target_names
from .row_statistics import statistics
from .splits import (
    HELD_OUT_WORDS,
    TRAIN_WORDS,
    Part,
    Scope,
    bound_values,
    held_out,
    is_order,
    is_training_index,
    parts,
    scopes,
    training,
)

_COUNTS = frozenset({"len", "max", "min", "sum", "mean", "std", "var", "median", "unique", "bincount"})
"""What takes rows to a number or a table."""


def lower_bound(part: Part) -> cst.BaseExpression | None:
    """The name in `order[n_test:]`."""
    index = part.node.slice[0].slice
    if isinstance(index, cst.Slice) and isinstance(index.lower, cst.Name) and index.upper is None:
        return index.lower
    return None


@fact
def training_orders(script: Script) -> tuple[Part, ...]:
    """The training half of an order of rows that is cut in two: `order[n_test:]` beside `order[:n_test]`."""
    found = []
    for scope in scopes(script):
        halves = [part for part in parts(script, scope) if ":" in part.index]
        for part in halves:
            other = part.index[:-1] if part.index.endswith(":") else part.index[1:]
            twin = f":{other}" if part.index.endswith(":") else f"{other}:"
            twins = [one for one in halves if one.base == part.base and one.index == twin]
            if (
                len(twins) == 1
                and is_order(script, part.base, part.node, scope)
                and _named_training(script, part, twins[0], scope)
            ):
                found.append(part)
    return tuple(sorted(found, key=lambda part: script.order(part.node)))


def _named_training(script: Script, part: Part, twin: Part, scope: Scope) -> bool:
    """Whether one half reaches training and the other does not, here or where the function is called."""
    mine, others = _bound(script, part, scope), _bound(script, twin, scope)
    if mine is None or others is None:
        return False
    (name, where), (other, there) = mine, others
    if where is not there:
        return False
    names, _ = training(script, where)
    if names:
        return name in names and other not in names
    return (
        bool(TRAIN_WORDS.search(name)) and not TRAIN_WORDS.search(other) and not HELD_OUT_WORDS.search(name)
    )


def _bound(script: Script, part: Part, scope: Scope) -> tuple[str, Scope] | None:
    """The name a part is bound to, and in which scope: for a returned tuple, at the function's only call."""
    small = script.small_statement(part.node)
    if isinstance(small, cst.Assign):
        for target in small.targets:
            for name in target_names(target.target):
                if any(value is part.node for value in bound_values(small, name)):
                    return name, scope
    if (
        isinstance(small, cst.Return)
        and isinstance(small.value, cst.Tuple)
        and isinstance(scope, cst.FunctionDef)
    ):
        position = next((i for i, one in enumerate(small.value.elements) if one.value is part.node), None)
        calls = script.callers(scope)
        if position is None or len(calls) != 1:
            return None
        write = script.small_statement(calls[0])
        if isinstance(write, cst.Assign) and write.value is calls[0]:
            names = target_names(write.targets[0].target)
            if len(names) == len(small.value.elements):
                return names[position], script.scope(calls[0])
    return None


@fact
def training_arrays(script: Script) -> tuple[tuple[Part, ...], ...]:
    """Per scope, the parts `x[train_idx]`, `y[train_idx]` from which training reads its rows.

    All of a scope's training parts that are assigned (not those inside statistics) belong together: features
    and labels must stay equally long.
    """
    found = []
    for scope in scopes(script):
        names, _ = training(script, scope)
        if not names:
            continue
        counted = {id(one.rows) for one in statistics(script, scope)}
        chosen: dict[str, list[Part]] = {}
        beside = set()
        for part in parts(script, scope):
            write = script.small_statement(part.node)
            if not isinstance(write, cst.Assign) or id(part.node) in counted or script.loop_stack(part.node):
                continue
            if is_order(script, part.base, part.node, scope) or not is_training_index(script, scope, part):
                continue
            targets = [
                n
                for t in write.targets
                for n in target_names(t.target)
                if any(script.inside(part.node, value) for value in bound_values(write, n))
            ]
            if not targets or not set(targets) <= names or _reduces(script, part.node):
                continue
            chosen.setdefault(part.index, []).append(part)
            if held_out(script, scope, part):
                beside.add(part.index)
        for index in sorted(beside):
            group = chosen[index]
            whole = [p for p in parts(script, scope) if p.index == index and script.loop_stack(p.node)]
            if len({part.base for part in group}) > 1 and not whole:
                found.append(tuple(group))
    return tuple(found)


def _reduces(script: Script, node: cst.CSTNode) -> bool:
    """Whether a method right behind a part takes it to a number (`labels[train_idx].max()`)."""
    for one in script.ancestors(node):
        if isinstance(one, cst.BaseSmallStatement):
            return False
        if isinstance(one, cst.Call) and script.text(one.func).rpartition(".")[2] in _COUNTS:
            return True
    return False
