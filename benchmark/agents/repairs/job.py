"""The sources of a job as an agent sees them, read as trees, and edits of them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef


LAYERS = frozenset(["Sequential", "ModuleList", "Linear", "Conv1d", "Conv2d", "Embedding", "GRU", "LSTM"])
"""Modules of torch that people derive their own from."""


@dataclass(frozen=True, order=True)
class Edit:
    """Put text in the place of the bytes start to end of a file."""

    path: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Finding:
    """Something that looks like a bug, with its repair.

    weight: 0 to 1; from `SURE` on it is repaired unasked, below it only where nothing else is left.
    why: one sentence, for the diagnosis.
    """

    bug: str
    weight: float
    why: str
    edits: tuple[Edit, ...]


SURE = 0.6


class File:
    """One source file. Offsets are bytes."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.data = text.encode()
        self.tree = ast.parse(text)
        self.parents: dict[ast.AST, ast.AST] = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }
        starts = [0]
        for line in self.data.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts

    def start(self, node: ast.expr | ast.stmt) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        return self.data[self.start(node) : self.end(node)].decode()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes, in the order of the source where they have a place."""
        return sorted(
            ast.walk(self.tree), key=lambda one: (getattr(one, "lineno", 0), getattr(one, "col_offset", 0))
        )

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """What a node lies in, from the inside out."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def scope(self, node: ast.AST) -> Scope:
        return next(one for one in self.above(node) if isinstance(one, Scope))

    def owner(self, node: ast.AST) -> ast.ClassDef | None:
        return next((one for one in self.above(node) if isinstance(one, ast.ClassDef)), None)

    def statement(self, node: ast.AST) -> ast.stmt:
        if isinstance(node, ast.stmt):
            return node
        return next(one for one in self.above(node) if isinstance(one, ast.stmt))

    def loop(self, node: ast.AST) -> ast.For | ast.While | None:
        """The innermost loop around a node, in the same function."""
        for one in self.above(node):
            if isinstance(one, Scope):
                return None
            if isinstance(one, ast.For | ast.While):
                return one
        return None

    def block(self, statement: ast.stmt) -> list[ast.stmt]:
        """The list of statements in which one stands."""
        parent = self.parents[statement]
        for _, value in ast.iter_fields(parent):
            if isinstance(value, list) and statement in value:
                return value
        return [statement]

    def replace(self, node: ast.expr | ast.stmt, text: str) -> Edit:
        return Edit(self.path, self.start(node), self.end(node), text)

    def append(self, node: ast.expr, text: str) -> Edit:
        """Put something right behind an expression."""
        return Edit(self.path, self.end(node), self.end(node), text)

    def _line(self, statement: ast.stmt) -> int:
        decorators = getattr(statement, "decorator_list", None)
        return self._starts[(decorators[0].lineno if decorators else statement.lineno) - 1]

    def indent(self, statement: ast.stmt) -> str:
        return " " * statement.col_offset

    def before(self, statement: ast.stmt, text: str) -> Edit:
        """A line of its own in front of a statement."""
        place = self._line(statement)
        return Edit(self.path, place, place, f"{self.indent(statement)}{text}\n")

    def after(self, statement: ast.stmt, text: str) -> Edit:
        """A line of its own behind a statement."""
        assert statement.end_lineno is not None
        place = self._starts[statement.end_lineno]
        lead = "" if self.data[:place].endswith(b"\n") else "\n"
        return Edit(self.path, place, place, f"{lead}{self.indent(statement)}{text}\n")

    def delete(self, statement: ast.stmt) -> Edit:
        """A statement and its lines; `pass` where nothing would be left."""
        if len(self.block(statement)) == 1:
            return self.replace(statement, "pass")
        assert statement.end_lineno is not None
        return Edit(self.path, self._line(statement), self._starts[statement.end_lineno], "")


class Job:
    """All files of a job.

    Raises:
        SyntaxError: one cannot be read.
    """

    def __init__(self, sources: dict[str, str], entrypoint: str) -> None:
        self.sources = sources
        self.entrypoint = entrypoint
        self.files = [File(path, text) for path, text in sorted(sources.items())]

    def repaired(self, edits: Iterable[Edit]) -> dict[str, str]:
        """The sources with edits; of two that overlap the first one is made."""
        found = dict(self.sources)
        for file in self.files:
            data, before = file.data, len(file.data) + 1
            here = sorted(set(edits_of(edits, file.path)), key=lambda e: (e.end, e.start), reverse=True)
            for one in here:
                if one.end > before:
                    continue
                data = data[: one.start] + one.text.encode() + data[one.end :]
                before = one.start if one.start < one.end else one.end
            found[file.path] = data.decode()
        return found

    @cached_property
    def module_classes(self) -> set[str]:
        """Names of the classes that are modules of torch, and of what is derived from them."""
        classes = [node for file in self.files for node in file.nodes if isinstance(node, ast.ClassDef)]
        found: set[str] = set()
        while True:
            new = {
                node.name
                for node in classes
                for base in map(name_of, node.bases)
                if base.endswith("Module") or base.split(".")[-1] in found | LAYERS
            } - found
            if not new:
                return found
            found |= new

    @cached_property
    def dataset_classes(self) -> set[str]:
        """Names of the classes that hold samples."""
        return {"TensorDataset"} | {
            node.name
            for file in self.files
            for node in file.nodes
            if isinstance(node, ast.ClassDef) and any("Dataset" in name_of(base) for base in node.bases)
        }

    @cached_property
    def model_makers(self) -> set[str]:
        """Names of the functions that return a module they make."""
        return {
            node.name
            for file in self.files
            for node in file.nodes
            if isinstance(node, Function) and file.owner(node) is None and self._makes_module(node)
        }

    def _makes_module(self, function: Function) -> bool:
        last = function.body[-1]
        if not isinstance(last, ast.Return) or last.value is None:
            return False
        value = last.value
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and name_of(node.targets[0]) == name_of(value) != "":
                value = node.value
        made = name_of(value.func) if isinstance(value, ast.Call) else ""
        return made.split(".")[-1] in self.module_classes | {"Sequential"}

    def in_module_maker(self, file: File, node: ast.AST) -> bool:
        """Whether something stands in a function that makes modules."""
        return any(isinstance(one, Function) and one.name in self.model_makers for one in file.above(node))

    def in_module(self, file: File, node: ast.AST) -> bool:
        """Whether something stands in a class that is a module."""
        owner = file.owner(node)
        return owner is not None and owner.name in self.module_classes


def edits_of(edits: Iterable[Edit], path: str) -> Iterator[Edit]:
    return (one for one in edits if one.path == path)


def name_of(node: ast.AST | None) -> str:
    """`a.b.c` of such an expression, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = name_of(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def method(node: ast.AST | None) -> str:
    """The last part of what is called: `step` of `a.b.step()`, `Linear` of `nn.Linear(…)`."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def receiver(node: ast.Call) -> ast.expr | None:
    return node.func.value if isinstance(node.func, ast.Attribute) else None


def calls(file: File, *names: str, within: ast.AST | None = None) -> list[ast.Call]:
    """Calls whose last part is one of the names, in the order of the source."""
    inside = None if within is None else set(ast.walk(within))
    return [
        node
        for node in file.nodes
        if isinstance(node, ast.Call) and method(node) in names and (inside is None or node in inside)
    ]


def keyword(call: ast.Call, name: str) -> ast.keyword | None:
    return next((one for one in call.keywords if one.arg == name), None)


def is_call_statement(file: File, call: ast.Call) -> bool:
    return isinstance(file.parents.get(call), ast.Expr)


def number(node: ast.AST | None) -> float | None:
    """The value of a literal number."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return None if inner is None else -inner
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and not isinstance(node.value, bool)
    ):
        return float(node.value)
    return None


def without_gradients(file: File, function: Scope) -> bool:
    """Whether a function computes without gradients."""
    if isinstance(function, Function):
        for one in function.decorator_list:
            if method(one) in ("no_grad", "inference_mode") or name_of(one).endswith(
                ("no_grad", "inference_mode")
            ):
                return True
    return False
