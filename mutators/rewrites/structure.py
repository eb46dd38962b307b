"""Rewrites of statements: the same steps in another form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import libcst as cst

from .base import Choice, Places, Rewrite, RewriteExample, at_places, is_string, preamble
from .code import Code
from .layout import bracketed


class UnderIf(Rewrite):
    """The end of a block moves under `if True:`, which opens no scope and always runs."""

    name = "under if True"
    examples = (
        RewriteExample(
            '"""Doc."""\nx = 1\nfor y in x:\n    x = 2\n',
            '"""Doc."""\nif True:\n    x = 1\n    for y in x:\n        if True:\n            x = 2\n',
        ),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, lambda: _UnderIf(choice))


class _UnderIf(Places):
    def __init__(self, choice: Choice) -> None:
        super().__init__()
        self.choice = choice

    def _wrapped(self, body: Sequence[cst.BaseStatement], first: int) -> list[cst.BaseStatement]:
        if first >= len(body) or not self.pick():
            return list(body)
        start = first
        if self.choice.amount != "all":
            start += self.choice.draw.below(len(body) - first, "start", self.count)
        return [*body[:start], cst.If(cst.Name("True"), cst.IndentedBlock(body[start:]))]

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        first = 1 if is_string(original_node.body[0]) else 0
        return updated_node.with_changes(body=self._wrapped(updated_node.body, first))

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        return updated_node.with_changes(body=self._wrapped(updated_node.body, preamble(original_node)))


class SwappedBranches(Rewrite):
    """`if a: … else: …` becomes `if not a:` with its branches swapped: `a` is asked once for its truth."""

    name = "swapped branches"
    examples = (
        RewriteExample("if x:\n    a = 1\nelse:\n    b = 2\n", "if not (x):\n    b = 2\nelse:\n    a = 1\n"),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, _SwappedBranches)


class _SwappedBranches(Places):
    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If:
        other = updated_node.orelse
        if not isinstance(other, cst.Else) or not self.pick():
            return updated_node
        return updated_node.with_changes(
            test=cst.UnaryOperation(cst.Not(), bracketed(updated_node.test)),
            whitespace_before_test=cst.SimpleWhitespace(" "),
            body=other.body,
            orelse=other.with_changes(body=updated_node.body),
        )


class ConditionalStatements(Rewrite):
    """`x = a if c else b` becomes an `if` statement: the same expressions run in the same order."""

    name = "conditional statements"
    examples = (
        RewriteExample("x = 1 if y else 2\n", "if y:\n    x = 1\nelse:\n    x = 2\n"),
        RewriteExample(
            "def f(y):\n    return (1 if y else 2)\n",
            "def f(y):\n    if y:\n        return 1\n    else:\n        return 2\n",
        ),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, _ConditionalStatements)


class _ConditionalStatements(Places):
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.BaseStatement:
        if len(updated_node.body) != 1:
            return updated_node
        statement = updated_node.body[0]
        if isinstance(statement, cst.Assign):
            plain = len(statement.targets) == 1 and isinstance(statement.targets[0].target, cst.Name)
            if not plain:
                return updated_node
        elif not isinstance(statement, cst.Return):
            return updated_node
        value = statement.value
        if not isinstance(value, cst.IfExp) or not self.pick():
            return updated_node
        space = {"whitespace_after_return": cst.SimpleWhitespace(" ")}
        change = space if isinstance(statement, cst.Return) else {}

        def branch(result: cst.BaseExpression) -> cst.IndentedBlock:
            return cst.IndentedBlock(
                [cst.SimpleStatementLine([statement.with_changes(value=result, **change)])]
            )

        return cst.If(
            _on_its_own(value.test),
            branch(_on_its_own(value.body)),
            cst.Else(branch(_on_its_own(value.orelse))),
            leading_lines=updated_node.leading_lines,
        )


def _on_its_own(value: cst.BaseExpression) -> cst.BaseExpression:
    """An expression that may lose the brackets around it: if it has several lines it gets its own."""
    return bracketed(value) if "\n" in cst.Module([]).code_for_node(value) else value


class NamedReturns(Rewrite):
    """What a function returns is given a name first, one that stands nowhere else."""

    name = "named returns"
    examples = (
        RewriteExample(
            "def f(x):\n    return x, 1\n", "def f(x):\n    value_out = x, 1\n    return value_out\n"
        ),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        if code.reads_names:
            return {}
        name = code.fresh(*choice.draw.shuffled(("result", "answer", "value_out", "to_return"), "name"))
        return at_places(code, choice, lambda: _NamedReturns(name))


class _NamedReturns(Places):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.BaseStatement]:
        statement = updated_node.body[0] if len(updated_node.body) == 1 else None
        if not isinstance(statement, cst.Return) or isinstance(statement.value, cst.Name | None):
            return updated_node
        if not self.pick():
            return updated_node
        assign = cst.Assign([cst.AssignTarget(cst.Name(self.name))], statement.value)
        first = cst.SimpleStatementLine([assign], leading_lines=updated_node.leading_lines)
        last = updated_node.with_changes(body=[cst.Return(cst.Name(self.name))], leading_lines=[])
        return cst.FlattenSentinel([first, last])


class EndlessLoops(Rewrite):
    """`while True` is spelled `while 1`, and the other way round."""

    name = "endless loops"
    examples = (
        RewriteExample("while True:\n    x = 1\n", "while 1:\n    x = 1\n"),
        RewriteExample("while(1):\n    x = 1\n", "while True:\n    x = 1\n"),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, _EndlessLoops)


class _EndlessLoops(Places):
    def leave_While(self, original_node: cst.While, updated_node: cst.While) -> cst.While:
        test = updated_node.test
        other: cst.BaseExpression
        if isinstance(test, cst.Name) and test.value == "True":
            other = cst.Integer("1")
        elif isinstance(test, cst.Integer) and test.value == "1":
            other = cst.Name("True")
        else:
            return updated_node
        if not self.pick():
            return updated_node
        return updated_node.with_changes(test=other, whitespace_after_while=cst.SimpleWhitespace(" "))
