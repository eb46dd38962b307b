"""Rewrites that leave the syntax tree as it is: remarks, brackets, indentation, line ends, semicolons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import libcst as cst

from ...seeds import Draw
from .base import Choice, Places, Rewrite, RewriteExample, at_places
from .code import Code

REMARKS = (
    "TODO: tidy up",
    "see the notes",
    "fixed",
    "this was the bug",
    "optimizer.zero_grad()",
    "model.eval()",
    "model.to(device)",
    "statistics of the training rows only",
    "BUG: wrong shape",
    "loss.backward()",
    "noqa",
    "naïve, but fast enough ✓",
)
"""Some of them name a fix or a bug: a grader that reads text trips over them."""

Statement = TypeVar("Statement", cst.SimpleStatementLine, cst.If, cst.For, cst.With, cst.FunctionDef)


class Remarks(Rewrite):
    """Comments are added above statements and behind them."""

    name = "remarks"
    layout = True
    examples = (RewriteExample("x = 1\n", "# this was the bug\nx = 1\n"),)

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, lambda: _Remarks(choice.draw))


class _Remarks(Places):
    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.draw = draw

    def _comment(self) -> cst.Comment:
        return cst.Comment("# " + self.draw.choose(REMARKS, "remark", self.count))

    def _above(self, updated: Statement) -> Statement:
        if not self.pick():
            return updated
        line = cst.EmptyLine(comment=self._comment())
        return updated.with_changes(leading_lines=[*updated.leading_lines, line])

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        end = updated_node.trailing_whitespace
        if end.comment is not None or self.draw.chance(1, 2, "above", self.count):
            return self._above(updated_node)
        if not self.pick():
            return updated_node
        end = end.with_changes(whitespace=cst.SimpleWhitespace("  "), comment=self._comment())
        return updated_node.with_changes(trailing_whitespace=end)

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If:
        return self._above(updated_node)

    def leave_For(self, original_node: cst.For, updated_node: cst.For) -> cst.For:
        return self._above(updated_node)

    def leave_With(self, original_node: cst.With, updated_node: cst.With) -> cst.With:
        return self._above(updated_node)

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        return self._above(updated_node)


class Brackets(Rewrite):
    """Values and conditions get a pair of parentheses that they do not need."""

    name = "brackets"
    layout = True
    examples = (
        RewriteExample(
            "def f(x):\n    y = x + 1\n    return y\n", "def f(x):\n    y = (x + 1)\n    return (y)\n"
        ),
        RewriteExample("x = 1, 2\nwhile x:\n    x = ()\n", "x = (1, 2)\nwhile (x):\n    x = (())\n"),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, _Brackets)


def bracketed(value: cst.BaseExpression) -> cst.BaseExpression:
    """An expression in one more pair of parentheses."""
    return value.with_changes(lpar=[cst.LeftParen(), *value.lpar], rpar=[*value.rpar, cst.RightParen()])


class _Brackets(Places):
    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        if not self.pick():
            return updated_node
        return updated_node.with_changes(value=bracketed(updated_node.value))

    def leave_Return(self, original_node: cst.Return, updated_node: cst.Return) -> cst.Return:
        if updated_node.value is None or not self.pick():
            return updated_node
        return updated_node.with_changes(value=bracketed(updated_node.value))

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If:
        return updated_node.with_changes(test=bracketed(updated_node.test)) if self.pick() else updated_node

    def leave_While(self, original_node: cst.While, updated_node: cst.While) -> cst.While:
        return updated_node.with_changes(test=bracketed(updated_node.test)) if self.pick() else updated_node


class Indentation(Rewrite):
    """Blocks are indented by two, three or eight spaces, or by tabs."""

    name = "indentation"
    layout = True
    examples = (RewriteExample("if x:\n    y = 1\n", "if x:\n        y = 1\n"),)

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        indent = choice.draw.choose(("  ", "\t", "   ", "        "), "indent")
        return {path: tree.with_changes(default_indent=indent).code for path, tree in code.trees.items()}


class LineEnds(Rewrite):
    """Windows or Unix line ends, blank lines or none at the end, a declaration that the encoding is UTF-8."""

    name = "line ends"
    layout = True
    examples = (RewriteExample("x = 1\n\n", "x = 1"),)

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        way = choice.draw.below(4, "way")
        return {path: _ended(text, way) for path, text in code.texts}


def _ended(text: str, way: int) -> str:
    plain = text.replace("\r\n", "\n")
    if way == 0:
        return plain.replace("\n", "\r\n")
    if way == 1:
        return plain.rstrip("\n")
    if way == 2:
        return plain + "\n\n\n"
    first, newline, rest = plain.partition("\n")
    cookie = "# -*- coding: utf-8 -*-\n"
    return f"{first}{newline}{cookie}{rest}" if first.startswith("#!") else cookie + plain


class Semicolons(Rewrite):
    """Statements that share a line get lines of their own."""

    name = "semicolons apart"
    layout = True
    examples = (RewriteExample("x = 1; y = 2  # two\n", "x = 1\ny = 2  # two\n"),)

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, _Apart)


class _Apart(Places):
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.BaseStatement]:
        if len(updated_node.body) < 2 or not self.pick():
            return updated_node
        small = [one.with_changes(semicolon=cst.MaybeSentinel.DEFAULT) for one in updated_node.body]
        lines = [cst.SimpleStatementLine([one]) for one in small]
        lines[0] = lines[0].with_changes(leading_lines=updated_node.leading_lines)
        lines[-1] = lines[-1].with_changes(trailing_whitespace=updated_node.trailing_whitespace)
        return cst.FlattenSentinel(lines)


class JoinedLines(Rewrite):
    """Two neighbouring simple statements share a line."""

    name = "semicolons together"
    layout = True
    examples = (
        RewriteExample("def f():\n    x = 1\n    return x\n", "def f():\n    x = 1; return x\n"),
        RewriteExample("x = 1  # one\ny = 2\n", "x = 1  # one\ny = 2\n"),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, _Together)


class _Together(Places):
    def _joined(self, body: list[cst.BaseStatement]) -> list[cst.BaseStatement]:
        joined: list[cst.BaseStatement] = []
        for statement in body:
            last = joined[-1] if joined else None
            if (
                isinstance(last, cst.SimpleStatementLine)
                and isinstance(statement, cst.SimpleStatementLine)
                and len(last.body) == len(statement.body) == 1
                and last.trailing_whitespace.comment is None
                and not any(line.comment for line in statement.leading_lines)
                and self.pick()
            ):
                semicolon = cst.Semicolon(whitespace_after=cst.SimpleWhitespace(" "))
                front = last.body[0].with_changes(semicolon=semicolon)
                joined[-1] = statement.with_changes(
                    body=[front, *statement.body], leading_lines=last.leading_lines
                )
            else:
                joined.append(statement)
        return joined

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        return updated_node.with_changes(body=self._joined(list(updated_node.body)))

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        return updated_node.with_changes(body=self._joined(list(updated_node.body)))
