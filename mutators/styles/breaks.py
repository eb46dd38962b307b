"""Breaks: how long a line may get, and where brackets are broken over several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import libcst as cst

from ...seeds import Draw
from .kind import Kind, StyleExample, Trees, each

WIDTHS = (64, 72, 80, 90, 100, 110)
"""Longest lines, in characters, of formatters and style guides in use."""


@dataclass(frozen=True)
class BreakStyle:
    """width: statements that fit are joined into one line, a call that does not is broken; None leaves all.

    trailing_comma: whether the last argument of a call that is broken here has one.
    """

    width: int | None = None
    trailing_comma: bool = True


class Breaks(Kind[BreakStyle]):
    """Statements with a comment or a text of several lines inside are left as they are."""

    name = "breaks"
    examples = (
        StyleExample("x = f(\n    a,\n    b=1,\n)\n", "x = f(a, b=1)\n", BreakStyle(40)),
        StyleExample(
            "if a:\n    result = function(argument, other)\n",
            "if a:\n    result = function(\n        argument,\n        other,\n    )\n",
            BreakStyle(30),
        ),
        StyleExample(
            "result = function(argument, other)\n",
            "result = function(\n    argument,\n    other\n)\n",
            BreakStyle(30, False),
        ),
    )

    def choose(self, trees: Trees, draw: Draw) -> BreakStyle:
        return BreakStyle(draw.choose((None, *WIDTHS), "width"), draw.chance(2, 3, "comma"))

    def apply(self, trees: Trees, setting: BreakStyle) -> Trees:
        return trees if setting.width is None else each(trees, _Breaks, setting)


Listed = TypeVar("Listed", cst.List, cst.Dict, cst.Tuple)
Opening = TypeVar("Opening", cst.LeftParen, cst.LeftSquareBracket, cst.LeftCurlyBrace)
Closing = TypeVar("Closing", cst.RightParen, cst.RightSquareBracket, cst.RightCurlyBrace)


class _Join(cst.CSTTransformer):
    """Puts what is inside brackets on one line; `spoiled` if a comment stands in the way."""

    def __init__(self) -> None:
        self.spoiled = False

    def visit_Comment(self, node: cst.Comment) -> None:
        self.spoiled = True

    def leave_ParenthesizedWhitespace(
        self, original_node: cst.ParenthesizedWhitespace, updated_node: cst.ParenthesizedWhitespace
    ) -> cst.BaseParenthesizableWhitespace:
        return cst.SimpleWhitespace(" ")

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if not updated_node.args or not isinstance(original_node.whitespace_before_args, _BROKEN):
            return updated_node
        last = updated_node.args[-1].with_changes(
            comma=cst.MaybeSentinel.DEFAULT, whitespace_after_arg=cst.SimpleWhitespace("")
        )
        return updated_node.with_changes(
            args=[*updated_node.args[:-1], last], whitespace_before_args=cst.SimpleWhitespace("")
        )

    def _listed(self, original: Listed, updated: Listed) -> Listed:
        """A display whose closing bracket stood on a line of its own, without the comma before it."""
        if len(original.elements) < 2:
            return updated
        comma = original.elements[-1].comma
        if not isinstance(comma, cst.Comma):
            return updated
        last = updated.elements[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        return updated.with_changes(elements=[*updated.elements[:-1], last])

    def leave_List(self, original_node: cst.List, updated_node: cst.List) -> cst.List:
        return self._listed(original_node, updated_node)

    def leave_Dict(self, original_node: cst.Dict, updated_node: cst.Dict) -> cst.Dict:
        return self._listed(original_node, updated_node)

    def leave_Tuple(self, original_node: cst.Tuple, updated_node: cst.Tuple) -> cst.Tuple:
        return self._listed(original_node, updated_node)

    def _opening(self, original: Opening, updated: Opening) -> Opening:
        broken = isinstance(original.whitespace_after, _BROKEN)
        return updated.with_changes(whitespace_after=cst.SimpleWhitespace("")) if broken else updated

    def _closing(self, original: Closing, updated: Closing) -> Closing:
        broken = isinstance(original.whitespace_before, _BROKEN)
        return updated.with_changes(whitespace_before=cst.SimpleWhitespace("")) if broken else updated

    def leave_LeftParen(self, original_node: cst.LeftParen, updated_node: cst.LeftParen) -> cst.LeftParen:
        return self._opening(original_node, updated_node)

    def leave_LeftSquareBracket(
        self, original_node: cst.LeftSquareBracket, updated_node: cst.LeftSquareBracket
    ) -> cst.LeftSquareBracket:
        return self._opening(original_node, updated_node)

    def leave_LeftCurlyBrace(
        self, original_node: cst.LeftCurlyBrace, updated_node: cst.LeftCurlyBrace
    ) -> cst.LeftCurlyBrace:
        return self._opening(original_node, updated_node)

    def leave_RightParen(self, original_node: cst.RightParen, updated_node: cst.RightParen) -> cst.RightParen:
        return self._closing(original_node, updated_node)

    def leave_RightSquareBracket(
        self, original_node: cst.RightSquareBracket, updated_node: cst.RightSquareBracket
    ) -> cst.RightSquareBracket:
        return self._closing(original_node, updated_node)

    def leave_RightCurlyBrace(
        self, original_node: cst.RightCurlyBrace, updated_node: cst.RightCurlyBrace
    ) -> cst.RightCurlyBrace:
        return self._closing(original_node, updated_node)


_BROKEN = cst.ParenthesizedWhitespace


def _line_break(indent: str) -> cst.ParenthesizedWhitespace:
    return cst.ParenthesizedWhitespace(indent=True, last_line=cst.SimpleWhitespace(indent))


class _Breaks(cst.CSTTransformer):
    def __init__(self, setting: BreakStyle) -> None:
        assert setting.width is not None
        self.width = setting.width
        self.trailing_comma = setting.trailing_comma
        self.depth = 0

    def visit_IndentedBlock(self, node: cst.IndentedBlock) -> None:
        self.depth += 1

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        self.depth -= 1
        return updated_node

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        if len(updated_node.body) != 1:
            return updated_node
        statement = updated_node.body[0]
        code = cst.Module([]).code_for_node(statement)
        room = self.width - 4 * self.depth
        if "\n" in code:
            join = _Join()
            joined = statement.visit(join)
            assert isinstance(joined, cst.BaseSmallStatement)
            text = cst.Module([]).code_for_node(joined)
            if join.spoiled or "\n" in text or len(text) > room:
                return updated_node
            return updated_node.with_changes(body=[joined])
        if len(code) <= room:
            return updated_node
        value = getattr(statement, "value", None)
        if not isinstance(value, cst.Call) or not value.args:
            return updated_node
        if len(value.args) == 1 and "(" in cst.Module([]).code_for_node(value.func):
            return updated_node  # Net(a, b).to(device): the last call is not what makes it long
        return updated_node.with_changes(body=[statement.with_changes(value=self._broken(value))])

    def _broken(self, call: cst.Call) -> cst.Call:
        *front, last = call.args
        bare = cst.SimpleWhitespace("")
        args = [
            arg.with_changes(comma=cst.Comma(whitespace_after=_line_break("    ")), whitespace_after_arg=bare)
            for arg in front
        ]
        lone = not front and isinstance(last.value, cst.GeneratorExp)
        if self.trailing_comma and not lone:
            last = last.with_changes(
                comma=cst.Comma(whitespace_after=_line_break("")), whitespace_after_arg=bare
            )
        else:
            last = last.with_changes(comma=cst.MaybeSentinel.DEFAULT, whitespace_after_arg=_line_break(""))
        return call.with_changes(args=[*args, last], whitespace_before_args=_line_break("    "))
