"""Rewrites that move code: numbers to the top of a file, the body of a script into a function."""

from __future__ import annotations

import symtable
from collections.abc import Mapping, Sequence

import libcst as cst

from .base import Choice, Places, Rewrite, RewriteExample, at_places, preamble
from .code import Code


class NamedConstants(Rewrite):
    """A number in the code becomes a constant at the top of its file; its name stands nowhere else."""

    name = "named constants"
    examples = (
        RewriteExample(
            '"""Doc."""\ndef f(x, y=2):\n    return x * 0.5 if x is not 1 else f"{x:3}"\n',
            '"""Doc."""\n_VALUE = 2\n_VALUE_2 = 0.5\ndef f(x, y=_VALUE):\n'
            '    return x * _VALUE_2 if x is not 1 else f"{x:3}"\n',
        ),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        if code.reads_names:
            return {}
        names = choice.draw.shuffled(("SETTING", "FIXED", "_VALUE", "LIMIT"), "name")
        return at_places(code, choice, lambda: _NamedConstants(code, names[0]))


MOST_CONSTANTS = 12
"""Constants that one file gets at most: more would only make it slow to read."""


class _NamedConstants(Places):
    def __init__(self, code: Code, name: str) -> None:
        super().__init__()
        self.code = code
        self.name = name
        self.constants: dict[str, cst.BaseExpression] = {}

    def on_visit(self, node: cst.CSTNode) -> bool:
        barred = cst.FormattedString | cst.Annotation | cst.Match
        is_test = isinstance(node, cst.Comparison) and any(
            isinstance(one.operator, cst.Is | cst.IsNot) for one in node.comparisons
        )
        return not isinstance(node, barred) and not is_test and type(node).__name__ != "TypeAlias"

    def _named(self, literal: cst.Integer | cst.Float) -> cst.BaseExpression:
        if len(self.constants) >= MOST_CONSTANTS or not self.pick():
            return literal
        number = len(self.constants) + 1
        name = self.code.fresh(self.name if number == 1 else f"{self.name}_{number}")
        if name in self.constants:
            return literal
        self.constants[name] = literal.with_changes(lpar=[], rpar=[])
        return cst.Name(name, lpar=literal.lpar, rpar=literal.rpar)

    def leave_Integer(self, original_node: cst.Integer, updated_node: cst.Integer) -> cst.BaseExpression:
        return self._named(updated_node)

    def leave_Float(self, original_node: cst.Float, updated_node: cst.Float) -> cst.BaseExpression:
        return self._named(updated_node)

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        lines = [
            cst.SimpleStatementLine([cst.Assign([cst.AssignTarget(cst.Name(name))], value)])
            for name, value in self.constants.items()
        ]
        first = preamble(original_node)
        body = [*updated_node.body[:first], *lines, *updated_node.body[first:]]
        return updated_node.with_changes(body=body)


class InFunction(Rewrite):
    """The end of the script becomes the body of a function that is called at once.

    The function declares every name that it binds as global, so each stays what and where it was.
    """

    name = "in a function"
    examples = (
        RewriteExample(
            "import json\nx = 1\nfor y in [x]:\n    z = y\n",
            "def everything():\n    global json, x, y, z\n    import json\n    x = 1\n    for y in [x]:\n"
            "        z = y\neverything()\n",
        ),
        RewriteExample("x: int = 1\n", "x: int = 1\n"),
        RewriteExample("from math import *\n", "from math import *\n"),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        tree = code.trees.get(code.entrypoint)
        if tree is None or code.reads_names:
            return {}
        first, end = preamble(tree), len(tree.body)
        if first == end:
            return {}
        start = first
        if choice.amount != "all":
            start += choice.draw.below(end - first, "start")
        name = code.fresh(*choice.draw.shuffled(("run_script", "script_body", "everything", "job"), "name"))
        moved = _in_function(tree.body[start:], name)
        if moved is None:
            return {}
        return {code.entrypoint: tree.with_changes(body=[*tree.body[:start], *moved]).code}


class _Unmovable(cst.CSTVisitor):
    """Whether statements hold what only a module may: `import *`, or annotations of its own variables."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def visit_ImportStar(self, node: cst.ImportStar) -> None:
        self.found = True

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        self.found = True

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return False

    def visit_ClassDef(self, node: cst.ClassDef) -> bool:
        return False

    def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
        self.found = True

    def visit_Global(self, node: cst.Global) -> None:
        self.found = True


def _in_function(statements: Sequence[cst.BaseStatement], name: str) -> list[cst.BaseStatement] | None:
    block = cst.Module(list(statements))  # type: ignore[arg-type]
    unmovable = _Unmovable()
    block.visit(unmovable)
    if unmovable.found:
        return None
    symbols = symtable.symtable(block.code, "<script>", "exec").get_symbols()
    bound = sorted(
        one.get_name() for one in symbols if one.is_assigned() or one.is_imported() or one.is_namespace()
    )
    body = list(statements)
    if bound:
        listed = ", ".join(bound)
        body.insert(0, cst.parse_statement(f"global {listed}\n"))
    defined = cst.FunctionDef(cst.Name(name), cst.Parameters(), cst.IndentedBlock(body))
    return [defined, cst.parse_statement(f"{name}()\n")]
