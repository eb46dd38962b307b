"""Code that divides an array and then normalises its parts, and the same code the other way round."""

from __future__ import annotations

import re
from dataclasses import dataclass

import libcst as cst

from .analysis import Script, dotted, fact, target_names
from .row_statistics import Group
from .splits import Part, Scope, bound_values, in_scope, names_in, parts


@dataclass(frozen=True)
class InPlace:
    """Arrays that are divided, then normalised each in its place: `x_train = (x_train - mean) / std`.

    split: the statement that divides. lines: what comes before it instead. gone: statements that vanish.
    """

    split: cst.CSTNode
    lines: tuple[str, ...]
    gone: tuple[cst.CSTNode, ...]


def _only_sizes(script: Script, array: str, scope: Scope, behind: int, allowed: list[cst.CSTNode]) -> bool:
    """Whether an array is used behind a place only for its shape, or inside the allowed nodes."""
    for node in script.reads(array, script.file(scope).module):
        if script.span(node)[0] < behind or any(script.inside(node, one) for one in allowed):
            continue
        if not (script.inside(node, scope) and in_scope(script, node, scope)):
            if _closed_over(script, array, node) and isinstance(scope, cst.Module):
                return False
            continue
        parent = script.parent(node)
        sized = isinstance(parent, cst.Attribute) and parent.attr.value in ("shape", "ndim", "size", "dim")
        counted = isinstance(parent, cst.Arg) and script.text(script.parent(parent) or parent).startswith(
            "len("
        )
        if not sized and not counted:
            return False
    return True


def _closed_over(script: Script, array: str, node: cst.CSTNode) -> bool:
    """Whether a function reads a name that it does not bind itself."""
    inner = script.scope(node)
    if not isinstance(inner, cst.FunctionDef) or script.writes(array, inner):
        return False
    return array not in {one.name.value for one in inner.params.params}


def _renamed(text: str, name: str, new: str) -> str:
    """Source text with one name exchanged (not attributes or keywords of that name)."""
    return re.sub(rf"(?<![\w.]){re.escape(name)}\b(?!\s*=[^=])", new, text)


@fact
def in_place(script: Script, group: Group) -> InPlace | None:
    first = group[0]
    scope = script.scope(first.call)
    array = first.part.base
    if len({dotted(one.rows) for one in group}) != 1 or not isinstance(first.rows, cst.Name):
        return None
    names = {n for one in group for n in one.names}
    statements: list[cst.CSTNode] = []
    for one in group:
        statement = script.statement(one.call)
        if not isinstance(script.small_statement(one.call), cst.Assign) or not one.names:
            return None
        if statement not in statements:
            statements.append(statement)
    block = script.block(first.call)
    start = min(script.span(one)[0] for one in statements)

    members: dict[str, Part] = {}
    tails: set[str] = set()
    for write in script.assignments(scope):
        if (
            not isinstance(write, cst.Assign)
            or not in_scope(script, write, scope)
            or script.span(write)[0] > start
        ):
            continue
        for name in (n for t in write.targets for n in target_names(t.target)):
            for value in bound_values(write, name):
                inner = [p for p in parts(script, scope) if p.base == array and script.inside(p.node, value)]
                if len(inner) == 1 and script.text(value).startswith(script.text(inner[0].node)):
                    members[name] = inner[0]
                    tails.add(script.text(value)[len(script.text(inner[0].node)) :])
    if len(members) < 2 or len(tails) != 1:
        return None

    shapes: set[str] = set()
    normalised: dict[str, cst.Assign] = {}
    expression = ""
    for write in script.assignments(scope):
        target = dotted(write.targets[0].target) if isinstance(write, cst.Assign) else None
        if target not in members or script.span(write)[0] < start or script.block(write) is not block:
            continue
        assert isinstance(write, cst.Assign) and target is not None
        read = names_in(script, write.value)
        if target in normalised or target not in read or not read & names:
            return None
        normalised[target] = write
        expression = _renamed(script.text(write.value), target, array)
        shapes.add(expression)
    if set(normalised) != set(members) or len(shapes) != 1:
        return None
    splits = sorted((script.statement(p.node) for p in members.values()), key=script.order)
    if any(script.block(one) is not block for one in splits):
        return None
    early = script.span(splits[0])[0]
    needed = names_in(script, next(iter(normalised.values())))
    needed |= {name for one in statements for name in names_in(script, one)}
    for name in needed - set(members) - names - {array}:
        if any(script.span(w)[0] >= early for w in script.writes(name, scope)):
            return None
    if not _only_sizes(script, array, scope, early, [p.node for p in members.values()]):
        return None
    tail = next(iter(tails))
    lines = [f"{array} = {array}{tail}"] if re.match(r"\.(to|cuda)\(", tail) else []
    rows = first.rows
    assert isinstance(rows, cst.Name)
    lines += [_renamed(script.text(one), rows.value, array) for one in statements]
    lines.append(f"{array} = {expression}")
    return InPlace(splits[0], tuple(lines), (*statements, *normalised.values()))


@dataclass(frozen=True)
class ByExpression:
    """Parts that are normalised where they are taken: `x_train = scale(x[train_idx])`.

    whole: that expression for all rows. values: the expressions, each with its part.
    """

    whole: str
    values: tuple[tuple[cst.BaseExpression, Part], ...]


@fact
def by_expression(script: Script, group: Group) -> ByExpression | None:
    first = group[0]
    scope = script.scope(first.call)
    array = first.part.base
    if not all(one.rows is one.part.node for one in group):
        return None
    used = [one.rows for one in group]
    computed: list[cst.CSTNode] = [script.statement(one.call) for one in group]
    values: list[tuple[cst.BaseExpression, Part]] = []
    shapes: set[str] = set()
    for part in parts(script, scope):
        if part.base != array or any(part.node is one for one in used):
            continue
        write = script.small_statement(part.node)
        if not isinstance(write, cst.Assign):
            return None
        around = [
            value
            for target in write.targets
            for name in target_names(target.target)
            for value in bound_values(write, name)
            if script.inside(part.node, value)
        ]
        if len(set(map(id, around))) != 1 or any(script.inside(one.node, around[0]) for _, one in values):
            return None
        value, node = around[0], part.node
        start, end = script.span(node)
        outer, _ = script.outer_span(value)
        text = script.file(value).slice(*script.outer_span(value)).encode()
        shapes.add((text[: start - outer] + array.encode() + text[end - outer :]).decode())
        values.append((value, part))
    if len(shapes) != 1 or len({part.index for _, part in values}) < 2 or shapes == {array}:
        return None
    if first.part.index not in {part.index for _, part in values}:
        return None
    last = max(script.span(one)[1] for one in computed)
    start = min(script.span(value)[0] for value, _ in values)
    block = script.block(values[0][0])
    if start < last or any(script.block(value) is not block for value, _ in values):
        return None
    if script.block(first.call) is not block:
        return None
    if not _only_sizes(script, array, scope, last, [value for value, _ in values]):
        return None
    return ByExpression(next(iter(shapes)), tuple(values))
