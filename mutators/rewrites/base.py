"""What a behaviour-preserving rewrite is, how it is chosen, and how it is applied."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import libcst as cst

from ...seeds import Draw
from .code import Code, parsed, read

Amount = Literal["one", "some", "all"]


@dataclass(frozen=True)
class RewriteExample:
    """A small file before a rewrite and after it, every place taken, with the draw `Draw("example")`."""

    before: str
    after: str


@dataclass(frozen=True)
class Choice:
    """Which places of a workspace are rewritten, and how: one of them, about half, or all."""

    draw: Draw
    amount: Amount = "all"

    def places(self, count: int) -> frozenset[int]:
        """The numbers of the places that are taken, of so many."""
        if self.amount == "all" or count == 0:
            return frozenset(range(count))
        if self.amount == "one":
            return frozenset({self.draw.below(count, "place")})
        return frozenset(number for number in range(count) if self.draw.chance(1, 2, "place", number))


class Rewrite(ABC):
    """One way to write the same program differently.

    A rewrite may ask what the workspace sees of itself (`Code`) and leaves alone what it is not sure of. The
    docstring of a subclass says why behaviour stays the same.
    """

    name: ClassVar[str]
    layout: ClassVar[bool] = False
    """Whether the syntax tree stays the same; it is checked each time, and the rewrite dropped if not."""
    examples: ClassVar[tuple[RewriteExample, ...]] = ()

    @abstractmethod
    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        """The new texts of the files that change."""


def rewritten(files: Mapping[str, str], entrypoint: str, rewrite: Rewrite, choice: Choice) -> dict[str, str]:
    """The files after one rewrite; unchanged where it does not fit. Never raises on what the files hold."""
    unchanged = dict(files)
    code = read(files, entrypoint)
    if code is None:
        return unchanged
    try:
        texts = rewrite.apply(code, choice)
    except Exception:  # a strange script, not a reason to fail: it stays as it is
        return unchanged
    for path, text in texts.items():
        tree = parsed(text)
        if tree is None or (rewrite.layout and ast.dump(tree) != ast.dump(code.syntax[path])):
            return unchanged
    return {**unchanged, **texts}


class Places(cst.CSTTransformer):
    """A transformer that asks at every place where it could change something whether it shall."""

    def __init__(self, picked: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.picked = picked
        self.count = 0

    def pick(self) -> bool:
        self.count += 1
        return self.count - 1 in self.picked


def at_places(code: Code, choice: Choice, make: Callable[[], Places]) -> dict[str, str]:
    """Visits every file twice: to count the places, and to change those that the choice takes."""
    counts: dict[str, int] = {}
    for path, tree in code.trees.items():
        visitor = make()
        tree.visit(visitor)
        counts[path] = visitor.count
    taken = choice.places(sum(counts.values()))
    texts: dict[str, str] = {}
    first = 0
    for path, tree in code.trees.items():
        visitor = make()
        visitor.picked = frozenset(number - first for number in taken if number >= first)
        first += counts[path]
        if any(number < counts[path] for number in visitor.picked):
            texts[path] = tree.visit(visitor).code
    return texts


def is_string(statement: cst.CSTNode) -> bool:
    """Whether a statement line begins with a plain string, as a docstring does."""
    if not isinstance(statement, cst.SimpleStatementLine) or not statement.body:
        return False
    first = statement.body[0]
    return isinstance(first, cst.Expr) and isinstance(first.value, cst.SimpleString | cst.ConcatenatedString)


def is_future(statement: cst.CSTNode) -> bool:
    """Whether a statement line holds a `from __future__ import`."""
    return isinstance(statement, cst.SimpleStatementLine) and any(
        isinstance(one, cst.ImportFrom)
        and isinstance(one.module, cst.Name)
        and one.module.value == "__future__"
        for one in statement.body
    )


def preamble(module: cst.Module) -> int:
    """How many statements of a module must stay in front: its docstring, `__future__` imports."""
    found = 0
    for index, statement in enumerate(module.body):
        if is_future(statement) or (index == 0 and is_string(statement)):
            found = index + 1
    return found
