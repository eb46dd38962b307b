"""`training_collapse`: inputs and labels that are taken in different orders."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .job import File, Finding, method, name_of

BUG = "training_collapse"
REORDERING = frozenset(("sort", "sorted", "argsort", "msort", "flip", "flipud", "roll", "reversed"))
REORDERING |= frozenset(("permutation", "permuted", "randperm", "shuffle"))


def find(file: File) -> Iterator[Finding]:
    yield from _tuples(file)
    yield from _again(file)
    yield from _slices(file)


def _torn(file: File, node: ast.expr, a: str, b: str, better: str) -> Finding:
    return Finding(
        BUG,
        0.85,
        f"Inputs and labels are taken in different orders at {file.path}:{node.lineno} ({a} and {b}), so the "
        "pairs are torn apart.",
        (file.replace(node, better),),
    )


def _tuples(file: File) -> Iterator[Finding]:
    """`x[i], y[j]`."""
    for node in file.nodes:
        if not isinstance(node, ast.Tuple) or len(node.elts) < 2 or not isinstance(node.ctx, ast.Load):
            continue
        parts = [one for one in node.elts if isinstance(one, ast.Subscript)]
        if len(parts) != len(node.elts) or isinstance(file.parents.get(node), ast.Subscript):
            continue
        if any(isinstance(one.slice, ast.Slice | ast.Tuple | ast.Constant) for one in parts):
            continue
        texts = [ast.unparse(one.slice) for one in parts]
        if len({ast.unparse(one.value) for one in parts}) < len(parts) or len(set(texts)) != 2:
            continue
        if len({_kind(one.slice) for one in parts}) > 1 or _reorders(parts[-1].slice):
            first = parts[0]
            for one, text in zip(parts, texts, strict=True):
                if text != texts[0]:
                    yield _torn(file, one.slice, texts[0], text, file.text(first.slice))


def _kind(node: ast.expr) -> str:
    return type(node).__name__


def _reorders(node: ast.expr) -> bool:
    return any(
        (isinstance(one, ast.Call) and method(one) in REORDERING)
        or (isinstance(one, ast.Slice) and one.step is not None and ast.unparse(one.step) == "-1")
        for one in ast.walk(node)
    )


def _again(file: File) -> Iterator[Finding]:
    """`x[i]` here, `y[i.sort().values]` there: what is taken by an order is taken by a changed one."""
    plain: dict[tuple[ast.AST, str], set[str]] = {}
    for node in file.nodes:
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name):
            plain.setdefault((file.scope(node), node.slice.id), set()).add(ast.unparse(node.value))
    for node in file.nodes:
        if not isinstance(node, ast.Subscript) or isinstance(node.slice, ast.Name | ast.Slice | ast.Constant):
            continue
        if isinstance(file.parents.get(node), ast.Subscript) or not _reorders(node.slice):
            continue
        if isinstance(file.parents.get(node), ast.Tuple) and isinstance(node.slice, ast.Call):
            continue
        base = ast.unparse(node.value)
        for name in {one.id for one in ast.walk(node.slice) if isinstance(one, ast.Name)}:
            others = plain.get((file.scope(node), name), set())
            if others - {base} and name != base:
                yield _torn(file, node.slice, name, ast.unparse(node.slice), name)
                break
        else:
            beside = isinstance(file.parents.get(node), ast.Call | ast.Tuple | ast.keyword)
            if beside and f"len({base})" in ast.unparse(node.slice) and isinstance(node.slice, ast.Call):
                yield Finding(
                    BUG,
                    0.8,
                    f"{base} is put into an order of its own at {file.path}:{node.lineno}, so inputs and "
                    "labels do not belong together any more.",
                    (file.replace(node, file.text(node.value)),),
                )


def _slices(file: File) -> Iterator[Finding]:
    """`chosen = order[a:b]`, then `x[chosen]` beside `y[a:b]`."""
    for node in file.nodes:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Subscript):
            continue
        loop, chosen, cut = file.loop(node), name_of(node.targets[0]), node.value
        if loop is None or not chosen or not isinstance(cut.slice, ast.Slice):
            continue
        inside = [one for one in ast.walk(loop) if isinstance(one, ast.Subscript) and one is not cut]
        if not any(isinstance(one.slice, ast.Name) and one.slice.id == chosen for one in inside):
            continue
        for one in inside:
            if ast.unparse(one.slice) == ast.unparse(cut.slice) and ast.unparse(one.value) != ast.unparse(
                cut.value
            ):
                yield _torn(file, one.slice, chosen, ast.unparse(one.slice), chosen)
