"""Rewrites that add what does nothing: dead code, statements without effect, imports that nobody uses."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import libcst as cst

from .base import Choice, Places, Rewrite, RewriteExample, at_places, is_string, preamble
from .code import Code

MODULES = ("itertools", "math", "time", "string", "functools", "collections", "operator", "random", "copy")
"""Modules of the standard library that torch has imported long before: importing them does nothing."""

IDLE = ("pass", "assert True", "0", "...", "if False:\n    pass", "while False:\n    break")
"""Statements without effect anywhere."""

DEAD = (
    ("optimizer", "if False:\n    optimizer.zero_grad()"),
    ("model", "if False:\n    model.eval()"),
    ("model", "if 0:\n    model.train()"),
    ("loss", "while False:\n    loss.backward()"),
    ("device", "if False:\n    print(device)"),
)
"""A name of the field → code that never runs and names a fix: a grader that reads text trips over it."""


class DeadCode(Rewrite):
    """Statements are inserted that do nothing or never run, and variables and functions that nobody uses."""

    name = "dead code"
    examples = (
        RewriteExample(
            '"""Doc."""\nfrom __future__ import annotations\nx = 1\n',
            '"""Doc."""\nfrom __future__ import annotations\nx = 1\npass\n',
        ),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        return at_places(code, choice, lambda: _DeadCode(code, choice))


class _DeadCode(Places):
    """A place is a body: of a module, or of a block inside a function."""

    def __init__(self, code: Code, choice: Choice) -> None:
        super().__init__()
        self.code = code
        self.draw = choice.draw
        self.functions: list[bool] = []

    def _statement(self) -> cst.BaseStatement:
        options = list(IDLE)
        if not self.code.reads_names:
            known = self.code.words - self.code.declared
            options += [text for name, text in DEAD if name in known]
            unused = self.code.fresh(self.draw.choose(("unused", "_scratch", "spare"), "name"))
            options += [f"{unused} = None", f"def {unused}(x):\n    return x"]
        return cst.parse_statement(self.draw.choose(options, "statement", self.count) + "\n")

    def _with_more(self, body: Sequence[cst.BaseStatement], first: int) -> list[cst.BaseStatement]:
        if not self.pick():
            return list(body)
        start = first + self.draw.below(len(body) - first + 1, "position", self.count)
        return [*body[:start], self._statement(), *body[start:]]

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.functions.append(True)

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        self.functions.pop()
        return updated_node

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.functions.append(False)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        self.functions.pop()
        return updated_node

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        if not self.functions or not self.functions[-1]:
            return updated_node  # the body of a class may be what makes its fields
        first = 1 if is_string(original_node.body[0]) else 0
        return updated_node.with_changes(body=self._with_more(updated_node.body, first))

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        return updated_node.with_changes(body=self._with_more(updated_node.body, preamble(original_node)))


class UnusedImports(Rewrite):
    """A module of the standard library is imported and not used."""

    name = "unused imports"
    examples = (RewriteExample("import json\n", "import copy\nimport json\n"),)

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        if code.reads_names:
            return {}
        paths = [path for path, _ in code.texts]
        local = {path.split("/")[0].removesuffix(".py") for path in paths}
        free = [one for one in MODULES if one not in code.words | local and one in sys.stdlib_module_names]
        if not free:
            return {}
        texts: dict[str, str] = {}
        for number in sorted(choice.places(len(paths))):
            tree = code.trees[paths[number]]
            line = cst.parse_statement(f"import {choice.draw.choose(free, 'module', number)}\n")
            first = preamble(tree)
            texts[paths[number]] = tree.with_changes(body=[*tree.body[:first], line, *tree.body[first:]]).code
        return texts
