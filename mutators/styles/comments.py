"""Comments: dropped, kept, or replaced by plain ones that say nothing a mutator could make false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import libcst as cst

from ...seeds import Draw
from .hints import speaks_of_bugs
from .kind import Kind, StyleExample, Trees, each

LINES = {
    "settings": ("settings", "configuration", "constants", "knobs", "hyper-parameters"),
    "model": ("the model", "network", "model definition", "architecture"),
    "epochs": ("main loop", "the epochs", "epoch loop", "go"),
    "main": ("entry point", "script starts here", "run it", "main"),
    "results": ("results", "write everything out", "save results", "output files"),
}
"""Where a plain comment may stand → how it may be worded."""

FRAMES = ("# {}", "# {}.", "# --- {} ---", "#: {}")

Statement = TypeVar("Statement", bound=cst.CSTNode)


@dataclass(frozen=True)
class CommentStyle:
    """mode: drop all, keep what is safe, reword what was there, or add plain ones throughout.

    variant: which wording plain comments get. frame: how they are drawn. capital: their first letter.
    """

    mode: Literal["drop", "keep", "reword", "add"]
    variant: int = 0
    frame: int = 0
    capital: bool = False


class Comments(Kind[CommentStyle]):
    """In every mode comments go that speak of something a mutator may break."""

    name = "comments"
    examples = (
        StyleExample(
            "# read the rows\nx = 1  # zero the gradients\n# evaluation mode\ny = 2\n",
            "# read the rows\nx = 1\ny = 2\n",
            CommentStyle("keep"),
        ),
        StyleExample("# read the rows\nx = 1  # here\n", "x = 1\n", CommentStyle("drop")),
        StyleExample(
            "# how often\nfor epoch in range(3):\n    # say so\n    print(epoch)\n",
            "# main loop\nfor epoch in range(3):\n    print(epoch)\n",
            CommentStyle("reword"),
        ),
        StyleExample(
            "SEED = 1\nLIMIT = 2\n", "# Settings\nSEED = 1\nLIMIT = 2\n", CommentStyle("add", 0, 0, True)
        ),
    )

    def choose(self, trees: Trees, draw: Draw) -> CommentStyle:
        return CommentStyle(
            draw.choose(("drop", "keep", "keep", "reword", "add"), "mode"),
            draw.below(20, "variant"),
            draw.below(len(FRAMES), "frame"),
            draw.chance(1, 2, "capital"),
        )

    def apply(self, trees: Trees, setting: CommentStyle) -> Trees:
        return each(trees, _Comments, setting)


def _topic(statement: cst.CSTNode) -> str | None:
    """Which plain comment fits above a statement."""
    if isinstance(statement, cst.ClassDef):
        bases = [one.value for one in statement.bases]
        is_model = any(isinstance(one, cst.Attribute) and one.attr.value == "Module" for one in bases)
        return "model" if is_model else None
    if isinstance(statement, cst.For):
        target = statement.target
        return "epochs" if isinstance(target, cst.Name) and target.value.startswith("ep") else None
    if isinstance(statement, cst.If):
        test = statement.test
        is_main = (
            isinstance(test, cst.Comparison)
            and isinstance(test.left, cst.Name)
            and test.left.value == "__name__"
        )
        return "main" if is_main else None
    if isinstance(statement, cst.SimpleStatementLine):
        first = statement.body[0]
        if isinstance(first, cst.Assign | cst.AnnAssign):
            target = first.target if isinstance(first, cst.AnnAssign) else first.targets[0].target
            return "settings" if isinstance(target, cst.Name) and target.value.isupper() else None
        if isinstance(first, cst.Expr) and isinstance(first.value, cst.Call):
            call = first.value.func
            writes = isinstance(call, cst.Attribute) and call.attr.value in {"savez", "savez_compressed"}
            return "results" if writes else None
    return None


def _spoiled(code: str) -> frozenset[str]:
    """The comments that must go: those that speak of bugs, and all lines of a block with one of them.

    Half a remark reads worse than none. A line that looks like a comment inside a string does no harm here.
    """
    spoiled: set[str] = set()
    block: list[str] = []
    for line in [*code.splitlines(), ""]:
        if (text := line.strip()).startswith("#"):
            block.append(text)
            continue
        if speaks_of_bugs(" ".join(one.lstrip("#: ") for one in block)):
            spoiled.update(block)
        block = []
        if "#" in line:
            # every place where a comment could start: only real comments are looked up
            pieces = [line[index:].rstrip() for index, one in enumerate(line) if one == "#"]
            spoiled.update(one for one in pieces if speaks_of_bugs(one))
    return frozenset(spoiled)


class _Comments(cst.CSTTransformer):
    def __init__(self, setting: CommentStyle) -> None:
        self.setting = setting
        self.spoiled: frozenset[str] = frozenset()

    def visit_Module(self, node: cst.Module) -> None:
        self.spoiled = _spoiled(node.code)

    def _stays(self, comment: cst.Comment) -> bool:
        if comment.value.startswith("#!"):
            return True
        return self.setting.mode == "keep" and comment.value not in self.spoiled

    def leave_EmptyLine(
        self, original_node: cst.EmptyLine, updated_node: cst.EmptyLine
    ) -> cst.EmptyLine | cst.RemovalSentinel:
        if updated_node.comment is None or self._stays(updated_node.comment):
            return updated_node
        return cst.RemoveFromParent()

    def leave_TrailingWhitespace(
        self, original_node: cst.TrailingWhitespace, updated_node: cst.TrailingWhitespace
    ) -> cst.TrailingWhitespace:
        if updated_node.comment is None or self._stays(updated_node.comment):
            return updated_node
        return updated_node.with_changes(whitespace=cst.SimpleWhitespace(""), comment=None)

    def _line(self, topic: str) -> cst.EmptyLine:
        wordings = LINES[topic]
        text = wordings[self.setting.variant % len(wordings)]
        if self.setting.capital:
            text = text[0].upper() + text[1:]
        return cst.EmptyLine(comment=cst.Comment(FRAMES[self.setting.frame].format(text)))

    def _body(
        self, old: Sequence[cst.CSTNode], new: Sequence[Statement], header: Sequence[cst.EmptyLine] = ()
    ) -> list[Statement]:
        """The statements of one body with plain comments above those where one fits."""
        if self.setting.mode not in {"reword", "add"} or len(old) != len(new):
            return list(new)
        seen: set[str] = set()
        body = []
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            topic = _topic(after)
            lines = [*(header if index == 0 else ()), *getattr(before, "leading_lines", ())]
            wanted = self.setting.mode == "add" or any(line.comment for line in lines)
            if topic and wanted and topic not in seen:
                seen.add(topic)
                after = after.with_changes(leading_lines=[*after.leading_lines, self._line(topic)])  # type: ignore[attr-defined]
            body.append(after)
        return body

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        return updated_node.with_changes(body=self._body(original_node.body, updated_node.body))

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        body = self._body(original_node.body, updated_node.body, original_node.header)
        return updated_node.with_changes(body=body)
