"""Blank lines: how much air a file has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import libcst as cst

from ...seeds import Draw
from .kind import Kind, StyleExample, Trees, each

Statement = TypeVar("Statement", bound=cst.CSTNode)

COMPOUND = (cst.For, cst.With, cst.While, cst.FunctionDef)


@dataclass(frozen=True)
class BlankStyle:
    """between: blank lines around definitions of a file, None leaves them.

    inside: within functions: as they are, none, or one before every loop, `with` and `return`.
    """

    between: Literal[1, 2] | None = None
    inside: Literal["keep", "none", "airy"] = "keep"


class BlankLines(Kind[BlankStyle]):
    """Comments keep their place above what follows them."""

    name = "blank lines"
    examples = (
        StyleExample(
            "import json\n\n\ndef f():\n    return 1\n\n\nx = f()\n",
            "import json\n\ndef f():\n    return 1\n\nx = f()\n",
            BlankStyle(1),
        ),
        StyleExample(
            "def f(x):\n    y = x\n\n    y += 1\n    return y\n",
            "def f(x):\n    y = x\n    y += 1\n    return y\n",
            BlankStyle(None, "none"),
        ),
        StyleExample(
            "def f(x):\n    y = x\n    for z in y:\n        g(z)\n    return y\n",
            "def f(x):\n    y = x\n\n    for z in y:\n        g(z)\n\n    return y\n",
            BlankStyle(None, "airy"),
        ),
    )

    def choose(self, trees: Trees, draw: Draw) -> BlankStyle:
        return BlankStyle(
            draw.choose((None, 1, 2), "between"),
            draw.choose(("keep", "none", "airy"), "inside"),
        )

    def apply(self, trees: Trees, setting: BlankStyle) -> Trees:
        return each(trees, _BlankLines, setting)


def _spaced(statement: Statement, blanks: int) -> Statement:
    """The statement with so many blank lines in front; blank lines between its comments are left."""
    lines: Sequence[cst.EmptyLine] = getattr(statement, "leading_lines", ())
    start = next((index for index, line in enumerate(lines) if line.comment), len(lines))
    empty = [cst.EmptyLine(indent=False) for _ in range(blanks)]
    return statement.with_changes(leading_lines=[*empty, *lines[start:]])


def _returns(statement: cst.CSTNode) -> bool:
    return isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Return)


class _BlankLines(cst.CSTTransformer):
    def __init__(self, setting: BlankStyle) -> None:
        self.setting = setting
        self.functions = 0

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.functions += 1

    def leave_EmptyLine(self, original_node: cst.EmptyLine, updated_node: cst.EmptyLine) -> cst.EmptyLine:
        """Without blanks where there is nothing else: code that was moved into a block may have them."""
        if updated_node.comment is not None:
            return updated_node
        return updated_node.with_changes(indent=False, whitespace=cst.SimpleWhitespace(""))

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        self.functions -= 1
        return updated_node

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        if not self.functions or self.setting.inside == "keep":
            return updated_node
        body = list(updated_node.body)
        for index, statement in enumerate(body[1:], start=1):
            if self.setting.inside == "none":
                body[index] = _spaced(statement, 0)
            elif isinstance(statement, COMPOUND) or (_returns(statement) and len(body) > 2):
                body[index] = _spaced(statement, 1)
        return updated_node.with_changes(body=body)

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        blanks = self.setting.between
        if blanks is None:
            return updated_node
        body = list(updated_node.body)
        definition = (cst.FunctionDef, cst.ClassDef)
        for index, statement in enumerate(body[1:], start=1):
            if isinstance(statement, definition) or isinstance(body[index - 1], definition):
                body[index] = _spaced(statement, blanks)
        return updated_node.with_changes(body=body)
