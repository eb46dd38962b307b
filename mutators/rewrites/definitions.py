"""Rewrites of what a file defines: the order of definitions, imports one by one."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from .base import Choice, Places, Rewrite, RewriteExample, at_places
from .code import Code, origin


class DefinitionOrder(Rewrite):
    """Neighbouring functions and classes of a file change places.

    Only where making one cannot see the other: no decorators, no calls in defaults and annotations, and
    classes that hold nothing but methods and have no base, or `nn.Module`.
    """

    name = "definition order"
    examples = (
        RewriteExample(
            "def f():\n    return g()\n\n\ndef g():\n    return 1\n",
            "\n\ndef g():\n    return 1\ndef f():\n    return g()\n",
        ),
        RewriteExample(
            "def f():\n    return 1\ndef g(x=f):\n    return x\n",
            "def f():\n    return 1\ndef g(x=f):\n    return x\n",
        ),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return {} if code.reads_names else at_places(code, choice, lambda: _Order(code.origins))


class _Order(Places):
    def __init__(self, origins: Mapping[str, str]) -> None:
        super().__init__()
        self.origins = origins

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        body = list(updated_node.body)
        seen = [_seen_when_made(one, self.origins) for one in original_node.body]
        index = 0
        while index + 1 < len(body):
            one, other = original_node.body[index], original_node.body[index + 1]
            if self._independent(one, other, seen[index], seen[index + 1]) and self.pick():
                body[index], body[index + 1] = body[index + 1], body[index]
                index += 1
            index += 1
        return updated_node.with_changes(body=body)

    def _independent(
        self, one: cst.CSTNode, other: cst.CSTNode, seen: set[str] | None, seen_too: set[str] | None
    ) -> bool:
        kinds = cst.FunctionDef | cst.ClassDef
        if not isinstance(one, kinds) or not isinstance(other, kinds) or seen is None or seen_too is None:
            return False
        name, other_name = one.name.value, other.name.value
        return name != other_name and name not in seen_too and other_name not in seen


PLAIN: tuple[type[cst.CSTNode], ...] = (
    cst.Name,
    cst.Integer,
    cst.Float,
    cst.SimpleString,
    cst.Tuple,
    cst.Element,
    cst.Comma,
    cst.LeftParen,
    cst.RightParen,
    cst.BaseParenthesizableWhitespace,
)
"""What a default may be made of."""

TYPES: tuple[type[cst.CSTNode], ...] = (
    *PLAIN,
    cst.Attribute,
    cst.Dot,
    cst.Subscript,
    cst.SubscriptElement,
    cst.Index,
    cst.BinaryOperation,
    cst.BitOr,
    cst.LeftSquareBracket,
    cst.RightSquareBracket,
)
"""What an annotation may be made of."""


class _Pure(cst.CSTVisitor):
    """The names in an expression; `sure` while it is made of nothing that could run code of the workspace."""

    def __init__(self, kinds: tuple[type[cst.CSTNode], ...]) -> None:
        super().__init__()
        self.kinds = kinds
        self.names: set[str] = set()
        self.sure = True

    def on_visit(self, node: cst.CSTNode) -> bool:
        self.sure = self.sure and isinstance(node, self.kinds)
        if isinstance(node, cst.Name):
            self.names.add(node.value)
        return True


def _seen_when_made(statement: cst.CSTNode, origins: Mapping[str, str]) -> set[str] | None:
    """The names that making a definition looks up; None where it might do more than look up names."""
    if isinstance(statement, cst.ClassDef):
        bases = [one.value for one in statement.bases]
        module = [
            one
            for one in bases
            if isinstance(one, cst.Attribute) and origin(one, origins) == "torch.nn.Module"
        ]
        if statement.decorators or statement.keywords or len(module) < len(bases):
            return None
        if not isinstance(statement.body, cst.IndentedBlock):
            return None
        found: set[str] = set()
        for one in statement.body.body:
            seen = _seen_when_made(one, origins) if isinstance(one, cst.FunctionDef) else _nothing(one)
            if seen is None:
                return None
            found |= seen
        return found
    if not isinstance(statement, cst.FunctionDef) or statement.decorators:
        return None
    if getattr(statement, "type_parameters", None) is not None:
        return None
    defaults, types = _Pure(PLAIN), _Pure(TYPES)
    params = statement.params
    every = [
        *params.posonly_params,
        *params.params,
        *params.kwonly_params,
        params.star_kwarg,
        params.star_arg,
    ]
    for param in every:
        if isinstance(param, cst.Param):
            if param.default is not None:
                param.default.visit(defaults)
            if param.annotation is not None:
                param.annotation.annotation.visit(types)
    if statement.returns is not None:
        statement.returns.annotation.visit(types)
    return defaults.names | types.names if defaults.sure and types.sure else None


def _nothing(statement: cst.CSTNode) -> set[str] | None:
    """No names for `pass` and strings, None for anything that runs."""
    if not isinstance(statement, cst.SimpleStatementLine):
        return None
    still = all(
        isinstance(one, cst.Pass) or (isinstance(one, cst.Expr) and isinstance(one.value, cst.SimpleString))
        for one in statement.body
    )
    return set() if still else None


class ImportsApart(Rewrite):
    """`import a, b` becomes two statements: a module that was imported once is only looked up."""

    name = "imports apart"
    examples = (
        RewriteExample(
            "import json, os.path as p\nfrom math import (pi, e as E)\n",
            "import json\nimport os.path as p\nfrom math import pi\nfrom math import e as E\n",
        ),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, _ImportsApart)


class _ImportsApart(Places):
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.BaseStatement]:
        statement = updated_node.body[0] if len(updated_node.body) == 1 else None
        if not isinstance(statement, cst.Import | cst.ImportFrom) or isinstance(
            statement.names, cst.ImportStar
        ):
            return updated_node
        if len(statement.names) < 2 or not self.pick():
            return updated_node
        bare = {"lpar": None, "rpar": None} if isinstance(statement, cst.ImportFrom) else {}
        lines = [
            cst.SimpleStatementLine(
                [statement.with_changes(names=[one.with_changes(comma=cst.MaybeSentinel.DEFAULT)], **bare)]
            )
            for one in statement.names
        ]
        lines[0] = lines[0].with_changes(leading_lines=updated_node.leading_lines)
        return cst.FlattenSentinel(lines)
