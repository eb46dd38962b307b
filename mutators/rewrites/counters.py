"""Counters spelled without `+=`."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from .base import Choice, Places, Rewrite, RewriteExample, at_places
from .code import Code


class Counters(Rewrite):
    """`n += 1` becomes `n = n + 1` for a local that is a plain number whatever path is taken.

    For anything else the two may differ (`+=` changes a tensor in place, and all its other names with it).
    """

    name = "counters"
    examples = (
        RewriteExample(
            "def f(x):\n    n, m = 0, 1\n    k = 0\n    k += 2\n    n += 1\n    x += 1\n    return k\n",
            "def f(x):\n    n, m = 0, 1\n    k = 0\n    k = k + 2\n    n += 1\n    x += 1\n    return k\n",
        ),
        RewriteExample(
            "def f(x):\n    k = 0\n    for k in x:\n        k += 2\n",
            "def f(x):\n    k = 0\n    for k in x:\n        k += 2\n",
        ),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, _Counters)


OPERATORS: dict[type[cst.BaseAugOp], type[cst.BaseBinaryOp]] = {
    cst.AddAssign: cst.Add,
    cst.SubtractAssign: cst.Subtract,
    cst.MultiplyAssign: cst.Multiply,
}


def _is_number(value: cst.BaseExpression) -> bool:
    return isinstance(value, cst.Integer | cst.Float)


class _Counters(Places):
    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[set[str]] = []

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        found = _Bindings()
        node.visit(found)
        self.numbers.append(found.numbers - found.others)

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        self.numbers.pop()
        return updated_node

    def leave_AugAssign(
        self, original_node: cst.AugAssign, updated_node: cst.AugAssign
    ) -> cst.AugAssign | cst.Assign:
        target = updated_node.target
        operator = OPERATORS.get(type(updated_node.operator))
        if operator is None or not isinstance(target, cst.Name) or not _is_number(updated_node.value):
            return updated_node
        if not self.numbers or target.value not in self.numbers[-1] or not self.pick():
            return updated_node
        total = cst.BinaryOperation(cst.Name(target.value), operator(), updated_node.value)
        return cst.Assign([cst.AssignTarget(cst.Name(target.value))], total, semicolon=updated_node.semicolon)


class _Bindings(cst.CSTVisitor):
    """numbers: names that a function sets to numbers; others: those it binds in another way, at any depth."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: set[str] = set()
        self.others: set[str] = set()

    def visit_Assign(self, node: cst.Assign) -> bool:
        targets = [one.target for one in node.targets]
        if _is_number(node.value) and all(isinstance(one, cst.Name) for one in targets):
            self.numbers.update(one.value for one in targets if isinstance(one, cst.Name))
        else:
            for one in targets:
                self._bind(one)
        node.value.visit(self)
        return False

    def visit_AugAssign(self, node: cst.AugAssign) -> bool:
        if type(node.operator) not in OPERATORS or not _is_number(node.value):
            self._bind(node.target)
        node.value.visit(self)
        return False

    def _bind(self, target: cst.CSTNode) -> None:
        """Every name inside a target; more than it binds, which is the safe side."""
        names = _Names()
        target.visit(names)
        self.others |= names.found

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        self._bind(node.target)

    def visit_For(self, node: cst.For) -> None:
        self._bind(node.target)

    def visit_CompFor(self, node: cst.CompFor) -> None:
        self._bind(node.target)

    def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
        self._bind(node.target)

    def visit_AsName(self, node: cst.AsName) -> None:
        self._bind(node.name)

    def visit_Param(self, node: cst.Param) -> None:
        self._bind(node.name)

    def visit_Del(self, node: cst.Del) -> None:
        self._bind(node.target)

    def visit_NameItem(self, node: cst.NameItem) -> None:
        self._bind(node.name)

    def visit_ImportAlias(self, node: cst.ImportAlias) -> None:
        self._bind(node)

    def visit_MatchCase(self, node: cst.MatchCase) -> None:
        self._bind(node.pattern)

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._bind(node.name)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._bind(node.name)


class _Names(cst.CSTVisitor):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def visit_Name(self, node: cst.Name) -> None:
        self.found.add(node.value)
