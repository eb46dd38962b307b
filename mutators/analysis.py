"""A workspace analysed once: what mutators may ask of it, and nothing that could change it.

`analyse(workspace)` parses every Python file once. A mutator asks the resulting `Script` for nodes in source
order, for the bytes and text of a node, for what surrounds it, and for the torch name of a callee. Edits are
built with `editing`, common shapes of training code (steps, models, layers, losses) are found with `idioms`,
and where a value comes from with `flow`. No mutator parses or visits by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

import libcst as cst

from .base import Site
from .syntax import Kind, Node, SourceFile, Span, dotted, target_names
from .workspace import Workspace

__all__ = ["Script", "SourceFile", "analyse", "dotted", "fact", "target_names"]

Result = TypeVar("Result")

Loop = cst.For | cst.While
Block = cst.Module | cst.IndentedBlock | cst.SimpleStatementSuite
Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement


def analyse(workspace: Workspace) -> Script:
    """Parse every Python file of a workspace. About 60 ms per 100 lines; the caller keeps the result.

    Raises:
        UsageError: a file is not Python; the message names file and line.
    """
    return Script(workspace)


class Script:
    """The facts of one workspace. Questions about a node take the node alone; its file is known."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._files = {name: SourceFile(name, text) for name, text in workspace if name.endswith(".py")}
        self._known: dict[tuple[object, ...], Any] = {}
        """Answers of functions marked `fact`, computed once."""

    # -- files and places -----------------------------------------------------------------------------

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """All Python files, sorted by path."""
        return tuple(self._files.values())

    def file(self, node: cst.CSTNode) -> SourceFile:
        """The file a node lies in. KeyError for a node that was not parsed from this workspace."""
        for file in self._files.values():
            if node in file:
                return file
        raise KeyError("the node does not belong to this workspace")

    def span(self, node: cst.CSTNode) -> Span:
        """(start, end) in bytes; a node's own parentheses, indentation and newline lie outside."""
        return self.file(node).span(node)

    def outer_span(self, node: cst.CSTNode) -> Span:
        """The span with the node's own parentheses: `(a + b)` where `span` gives `a + b`."""
        file = self.file(node)
        start, end = file.span(node)
        blank = b" \t\r\n\\"
        for _ in getattr(node, "lpar", ()):
            left, right = start, end
            while left > 0 and file.data[left - 1] in blank:
                left -= 1
            while right < len(file.data) and file.data[right] in blank:
                right += 1
            if file.data[left - 1 : left] != b"(" or file.data[right : right + 1] != b")":
                break  # a comment lies between: leave those parentheses where they are
            start, end = left - 1, right + 1
        return start, end

    def text(self, node: cst.CSTNode) -> str:
        """The exact source text of a node's `span`."""
        file = self.file(node)
        return file.slice(*file.span(node))

    def line(self, node: cst.CSTNode) -> int:
        """The line a node starts on, from 1."""
        file = self.file(node)
        return file.line_number(file.span(node)[0])

    def site(
        self, node: cst.CSTNode, choices: int = 1, facts: tuple[tuple[str, str | int], ...] = ()
    ) -> Site:
        """A site that describes this node; `node_at(site, type(node))` gives it back."""
        file = self.file(node)
        start, end = file.span(node)
        return Site(file.name, start, end, self.qualname(node), choices, tuple(sorted(facts)))

    def node_at(self, site: Site, kind: Kind[Node]) -> Node:
        """The outermost node of a kind at a site's span."""
        return self._files[site.file].at(site.start, site.end, kind)

    def order(self, node: cst.CSTNode) -> tuple[str, int]:
        """A sort key: files by path, then source order."""
        file = self.file(node)
        return file.name, file.order(node)

    # -- iteration, always in source order --------------------------------------------------------------

    def nodes(self, kind: Kind[Node], within: cst.CSTNode | None = None) -> list[Node]:
        """All nodes of a kind; only those inside `within` (itself included) if given."""
        if within is not None:
            return self.file(within).nodes(kind, within)
        return [node for file in self.files for node in file.nodes(kind)]

    def calls(self, *names: str, within: cst.CSTNode | None = None) -> list[cst.Call]:
        """Calls; with names, only those whose callee resolves to one of them (`torch.nn.Linear`)."""
        found = self.nodes(cst.Call, within)
        return [call for call in found if not names or self.resolve(call.func) in names]

    def method_calls(self, *methods: str, within: cst.CSTNode | None = None) -> list[cst.Call]:
        """Calls `anything.method(...)` for one of the method names; import roots (`torch.x()`) excluded."""
        return [
            call
            for call in self.nodes(cst.Call, within)
            if isinstance(call.func, cst.Attribute)
            and call.func.attr.value in methods
            and self.resolve(call.func) is None
        ]

    def assignments(self, within: cst.CSTNode | None = None) -> list[cst.Assign | cst.AnnAssign]:
        """`a = …`, `a = b = …`, `a: T = …` (also fields of dataclasses)."""
        return self.nodes((cst.Assign, cst.AnnAssign), within)

    def attributes(self, *names: str, within: cst.CSTNode | None = None) -> list[cst.Attribute]:
        """Attribute accesses; with names, only those of one of these attributes."""
        found = self.nodes(cst.Attribute, within)
        return [node for node in found if not names or node.attr.value in names]

    def functions(self, within: cst.CSTNode | None = None) -> list[cst.FunctionDef]:
        return self.nodes(cst.FunctionDef, within)

    def classes(self) -> list[cst.ClassDef]:
        return self.nodes(cst.ClassDef)

    def loops(self, within: cst.CSTNode | None = None) -> list[Loop]:
        return self.nodes((cst.For, cst.While), within)

    # -- surroundings ------------------------------------------------------------------------------------

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        return self.file(node).parent(node)

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The nodes around this one, innermost first, the module last."""
        return self.file(node).ancestors(node)

    def inside(self, node: cst.CSTNode, outer: cst.CSTNode) -> bool:
        """Whether `outer` is the node itself or lies around it."""
        return node is outer or any(one is outer for one in self.ancestors(node))

    def function(self, node: cst.CSTNode) -> cst.FunctionDef | None:
        """The innermost function around a node (not the node itself)."""
        return next((one for one in self.ancestors(node) if isinstance(one, cst.FunctionDef)), None)

    def class_of(self, node: cst.CSTNode) -> cst.ClassDef | None:
        """The innermost class around a node (not the node itself)."""
        return next((one for one in self.ancestors(node) if isinstance(one, cst.ClassDef)), None)

    def qualname(self, node: cst.CSTNode) -> str:
        """`Net.forward` for what lies in that method, `<module>` at the top level."""
        names = [
            one.name.value for one in self.ancestors(node) if isinstance(one, (cst.FunctionDef, cst.ClassDef))
        ]
        return ".".join(reversed(names)) or "<module>"

    def scope(self, node: cst.CSTNode) -> cst.FunctionDef | cst.Module:
        """The function around a node, or its module."""
        return self.function(node) or self.file(node).module

    def loop_stack(self, node: cst.CSTNode) -> list[Loop]:
        """The loops around a node within its function, innermost first."""
        found: list[Loop] = []
        for one in self.ancestors(node):
            if isinstance(one, cst.FunctionDef):
                break
            if isinstance(one, (cst.For, cst.While)):
                found.append(one)
        return found

    def small_statement(self, node: cst.CSTNode) -> cst.BaseSmallStatement | None:
        """The `x = …`, `f()`, `return …` a node belongs to; None in the header of a compound statement."""
        for one in (node, *self.ancestors(node)):
            if isinstance(one, cst.BaseSmallStatement):
                return one
            if isinstance(one, cst.BaseCompoundStatement):
                return None
        return None

    def statement(self, node: cst.CSTNode) -> Statement:
        """The statement a node belongs to: a line of simple statements or a compound statement.

        For a small statement in a one-line suite (`if x: f()`) that is the compound statement.
        """
        for one in (node, *self.ancestors(node)):
            if isinstance(one, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
                return one
        raise KeyError("the node is not part of a statement")

    def block(self, node: cst.CSTNode) -> Block:
        """The block that directly holds a node's statement."""
        statement = node if isinstance(node, cst.BaseCompoundStatement) else self.statement(node)
        for one in self.ancestors(statement):
            if isinstance(one, (cst.Module, cst.IndentedBlock, cst.SimpleStatementSuite)):
                return one
        raise KeyError("the node is not part of a block")

    def statements(self, block: cst.CSTNode) -> list[Statement]:
        """The statements of a block (of a function, loop, … its body), in order."""
        body = getattr(block, "body", ())
        if isinstance(body, cst.BaseSuite):
            body = body.body
        return [one for one in body if isinstance(one, (cst.SimpleStatementLine, cst.BaseCompoundStatement))]

    # -- names ---------------------------------------------------------------------------------------------

    def resolve(self, expression: cst.CSTNode) -> str | None:
        """The dotted name an expression has through imports: `F.dropout` → `torch.nn.functional.dropout`.

        None where its root is not imported, or hidden by a parameter or local variable.
        """
        return self.file(expression).resolve(expression)

    def definition(self, callee: cst.CSTNode) -> cst.FunctionDef | cst.ClassDef | None:
        """The top-level function or class of this workspace that a callee names, imported or not."""
        file = self.file(callee)
        name = dotted(callee)
        if name is None:
            return None
        if resolved := file.resolve(callee):
            module, _, name = resolved.rpartition(".")
            path = module.replace(".", "/")
            found = self._files.get(f"{path}.py") or self._files.get(f"{path}/__init__.py")
            if found is None:
                return None
            file = found
        return _top_level(self, file).get(name)

    def method(self, owner: cst.ClassDef, name: str) -> cst.FunctionDef | None:
        """A method defined in the body of a class."""
        for one in self.statements(owner):
            if isinstance(one, cst.FunctionDef) and one.name.value == name:
                return one
        return None

    def callers(self, function: cst.FunctionDef | cst.ClassDef) -> list[cst.Call]:
        """The calls in this workspace that name a top-level function or class."""
        return [call for call in self.nodes(cst.Call) if self.definition(call.func) is function]

    def writes(self, name: str, scope: cst.CSTNode) -> list[cst.CSTNode]:
        """The assignments (any kind, loop and `with` targets too) that bind a dotted name in a scope."""
        return list(_bindings(self, scope).get(name, ()))

    def reads(self, name: str, within: cst.CSTNode) -> list[cst.Name]:
        """The places where a plain name is used (not assigned, no keyword, no attribute) inside a node."""
        return [one for one in self.nodes(cst.Name, within) if one.value == name and _is_read(self, one)]


def fact(function: Callable[..., Result]) -> Callable[..., Result]:
    """Remember a pure function's answer per script: `f(script, *nodes_and_names)` is computed once."""

    @wraps(function)
    def remembered(script: Script, *args: Any) -> Result:
        key = (function.__module__, function.__qualname__, *args)
        if key not in script._known:
            script._known[key] = function(script, *args)
        result: Result = script._known[key]
        return result

    return remembered


@fact
def _top_level(script: Script, file: SourceFile) -> dict[str, cst.FunctionDef | cst.ClassDef]:
    return {
        one.name.value: one
        for one in script.statements(file.module)
        if isinstance(one, (cst.FunctionDef, cst.ClassDef))
    }


@fact
def _bindings(script: Script, scope: cst.CSTNode) -> dict[str, list[cst.CSTNode]]:
    bound: dict[str, list[cst.CSTNode]] = {}
    kinds = (cst.Assign, cst.AnnAssign, cst.AugAssign, cst.For, cst.AsName, cst.NamedExpr)
    for node in script.nodes(kinds, scope):
        if script.scope(node) is not scope:
            continue
        targets: list[cst.CSTNode]
        if isinstance(node, cst.Assign):
            targets = [one.target for one in node.targets]
        elif isinstance(node, cst.AsName):
            targets = [node.name]
        else:
            targets = [node.target]  # type: ignore[attr-defined]
        for target in targets:
            for name in target_names(target):
                bound.setdefault(name, []).append(node)
    return bound


def _is_read(script: Script, name: cst.Name) -> bool:
    node: cst.CSTNode = name
    parent = script.parent(node)
    if isinstance(parent, cst.Attribute):
        return parent.value is name
    if isinstance(parent, cst.Arg):
        return parent.keyword is not name
    if isinstance(parent, (cst.Param, cst.FunctionDef, cst.ClassDef, cst.ImportAlias, cst.AsName)):
        return isinstance(parent, cst.Param) and parent.default is name
    while isinstance(parent, (cst.Tuple, cst.List, cst.Element, cst.StarredElement)):
        node, parent = parent, script.parent(parent)
    if isinstance(parent, (cst.For, cst.CompFor, cst.AnnAssign, cst.NamedExpr)):
        return parent.target is not node
    return not isinstance(parent, (cst.AssignTarget, cst.NameItem, cst.Global, cst.Nonlocal))
