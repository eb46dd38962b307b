"""Docstrings: kept, dropped, or written anew from the name and the arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import libcst as cst

from ...python_ast import literal
from ...seeds import Draw
from .hints import safe_sentences, speaks_of_bugs
from .kind import Kind, StyleExample, Trees, each

LONGEST = 88
"""Characters of a kept docstring that had to lose sentences: it must fit on one line at any usual depth."""

MODULE_TEXTS = ("Training script.", "Train a model and score new rows.", "Training job.", "Model code.")


Mode = Literal["keep", "drop", "write"]
Statement = TypeVar("Statement", bound=cst.CSTNode)


@dataclass(frozen=True)
class DocstringStyle:
    """mode: what happens to docstrings. variant: which wording a written one gets."""

    mode: Mode
    variant: int = 0


class Docstrings(Kind[DocstringStyle]):
    """Docstrings that stay lose every sentence that speaks of something a mutator may break."""

    name = "docstrings"
    examples = (
        StyleExample(
            'def evaluate(model):\n    """Score it. Runs in evaluation mode."""\n    return 1\n',
            'def evaluate(model):\n    """Score it."""\n    return 1\n',
            DocstringStyle("keep"),
        ),
        StyleExample(
            'def evaluate(model):\n    """Score it."""\n    return 1\n',
            "def evaluate(model):\n    return 1\n",
            DocstringStyle("drop"),
        ),
        StyleExample(
            'def read_rows(path, names):\n    """Load it."""\n    return 1\n',
            'def read_rows(path, names):\n    """Read rows. Takes path, names."""\n    return 1\n',
            DocstringStyle("write", 1),
        ),
    )

    def choose(self, trees: Trees, draw: Draw) -> DocstringStyle:
        mode: Mode = draw.choose(("keep", "drop", "write"), "mode")
        return DocstringStyle(mode, draw.below(4, "variant"))

    def apply(self, trees: Trees, setting: DocstringStyle) -> Trees:
        return each(trees, _Docstrings, setting)


def _text_of(statement: cst.CSTNode) -> str | None:
    """The text of a statement that is nothing but a string."""
    if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
        return None
    expression = statement.body[0]
    if not isinstance(expression, cst.Expr):
        return None
    value = expression.value
    if not isinstance(value, cst.SimpleString | cst.ConcatenatedString):
        return None
    text = value.evaluated_value
    return text if isinstance(text, str) else None


def _kept(text: str) -> str | None:
    """A docstring without the sentences that speak of bugs; None if nothing is left."""
    if not speaks_of_bugs(text):
        return text
    kept = ""
    for sentence in safe_sentences(text):
        if len(kept) + len(sentence) > LONGEST or not sentence[0].isalpha():
            break
        kept = f"{kept} {sentence}".strip()
    return kept if kept.endswith(".") else None


def _without_remarks(body: Sequence[Statement]) -> list[Statement]:
    """A body without the strings that stand alone further down: they are comments in all but name."""
    return [one for index, one in enumerate(body) if not index or not speaks_of_bugs(_text_of(one) or "")]


def _words(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    text = " ".join(part for part in spaced.split("_") if part)
    return text[:1].upper() + text[1:]


class _Docstrings(cst.CSTTransformer):
    def __init__(self, setting: DocstringStyle) -> None:
        self.setting = setting
        self.reads_doc = False
        self.trains = False

    def visit_Module(self, node: cst.Module) -> None:
        # a program that prints its own docstring keeps it, for its output may go anywhere
        code = node.code
        self.reads_doc = "__doc__" in code
        self.trains = ".backward(" in code

    def _restyle(self, body: Sequence[Statement], written: str) -> list[Statement]:
        """The statements of a body with its docstring respelled or dropped."""
        old = _text_of(body[0]) if body else None
        if old is None or self.reads_doc:
            return list(body)
        text: str | None = None
        if self.setting.mode == "keep":
            text = _kept(old)
        elif self.setting.mode == "write":
            options = (written, written.split(". ")[0].rstrip(".") + ".")
            text = next((one for one in options if one != "." and not speaks_of_bugs(one)), None)
        if text == old:
            return list(body)
        if text is not None and literal(quoted := f'"""{text}"""') == text:
            line = body[0].with_changes(body=[cst.Expr(cst.SimpleString(quoted))])
            return [line, *body[1:]]
        rest = list(body[1:])
        if rest:
            lines: Sequence[cst.EmptyLine] = getattr(rest[0], "leading_lines", ())
            start = next((index for index, line in enumerate(lines) if line.comment), len(lines))
            rest[0] = rest[0].with_changes(leading_lines=lines[start:])
        return rest

    def _suite(self, suite: cst.BaseSuite, written: str) -> cst.BaseSuite:
        if not isinstance(suite, cst.IndentedBlock):
            return suite
        body = self._restyle(suite.body, written)
        return suite.with_changes(body=body or [cst.SimpleStatementLine([cst.Pass()])])

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        sentence = _words(updated_node.name.value)
        names = [
            one.name.value for one in updated_node.params.params if one.name.value not in {"self", "cls"}
        ]
        listed = ", ".join(names)
        endings = ("", f" Takes {listed}.", f" Arguments: {listed}.", "")
        written = sentence + "." + (endings[self.setting.variant] if names else "")
        return updated_node.with_changes(body=self._suite(updated_node.body, written))

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        name = _words(updated_node.name.value)
        written = (f"{name}.", f"The {name.lower()}.", f"{name} class.", "")[self.setting.variant]
        return updated_node.with_changes(body=self._suite(updated_node.body, written))

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        written = MODULE_TEXTS[self.setting.variant % 3 if self.trains else 3]
        body = _without_remarks(self._restyle(updated_node.body, written))
        return updated_node.with_changes(body=body)

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        return updated_node.with_changes(body=_without_remarks(updated_node.body))
