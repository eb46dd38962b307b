"""One source file, parsed once: nodes with byte spans and parents, names resolved through imports."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache, cached_property
from types import MappingProxyType
from typing import TypeVar

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper

from ..errors import UsageError

Node = TypeVar("Node", bound=cst.CSTNode)
Span = tuple[int, int]
Kind = type[Node] | tuple[type[Node], ...]


@cache
def _field_names(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def children(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The direct child nodes, whitespace included, in the order of the node's fields."""
    for name in _field_names(type(node)):
        value = getattr(node, name)
        if isinstance(value, cst.CSTNode):
            yield value
        elif isinstance(value, (list, tuple)):
            for one in value:
                if isinstance(one, cst.CSTNode):
                    yield one


class SourceFile:
    """The facts of one file. Everything is computed from the text; nothing can be changed.

    Offsets are bytes of the UTF-8 text. A node's span leaves out its own parentheses, indentation, newline
    and comments around it, as libcst defines it.

    Raises:
        UsageError: the text is not Python that libcst reads back unchanged; names file and line.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.data = text.encode()
        try:
            self.module = cst.parse_module(text)
        except cst.ParserSyntaxError as error:
            raise UsageError(
                f"{name}, line {error.raw_line}: not valid Python ({error.message.splitlines()[0]}); "
                "give a script that parses"
            ) from None
        if self.module.code != text:
            raise UsageError(
                f"{name}, line 1: a byte order mark or bare carriage returns; "
                "save it as UTF-8 with plain newlines"
            )
        spans = MetadataWrapper(self.module, unsafe_skip_copy=True).resolve(ByteSpanPositionProvider)
        self._parents: dict[cst.CSTNode, cst.CSTNode] = {}
        found: list[tuple[int, int, int, cst.CSTNode]] = []
        self._spans: dict[cst.CSTNode, Span] = {}
        stack: list[cst.CSTNode] = [self.module]
        while stack:
            node = stack.pop()
            place = spans.get(node)
            if place is not None:
                start, end = place.start, place.start + place.length
                self._spans[node] = (start, end)
                found.append((start, -end, len(found), node))
            for child in children(node):
                self._parents[child] = node
                if not isinstance(child, cst.BaseParenthesizableWhitespace):
                    stack.append(child)
        found.sort(key=lambda entry: entry[:3])
        self._by_type: dict[type[cst.CSTNode], list[cst.CSTNode]] = {}
        self._order: dict[cst.CSTNode, int] = {}
        self._by_span: dict[Span, list[cst.CSTNode]] = {}
        for index, (start, end, _, node) in enumerate(found):
            self._order[node] = index
            self._by_type.setdefault(type(node), []).append(node)
            self._by_span.setdefault((start, -end), []).append(node)

    # -- places ---------------------------------------------------------------------------------------

    def __contains__(self, node: cst.CSTNode) -> bool:
        return node in self._spans

    def span(self, node: cst.CSTNode) -> Span:
        """(start, end) in bytes, without the node's own parentheses."""
        return self._spans[node]

    def order(self, node: cst.CSTNode) -> int:
        """A rank in source order: an outer node comes before those inside it."""
        return self._order[node]

    def slice(self, start: int, end: int) -> str:
        return self.data[start:end].decode()

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        starts += [index + 1 for index, byte in enumerate(self.data) if byte == 10]
        return starts

    def line_start(self, offset: int) -> int:
        """Where the line begins that holds this byte."""
        return self._line_starts[bisect_right(self._line_starts, offset) - 1]

    def line_end(self, offset: int) -> int:
        """Where the next line begins (or the text ends)."""
        index = bisect_right(self._line_starts, offset)
        return self._line_starts[index] if index < len(self._line_starts) else len(self.data)

    def line_number(self, offset: int) -> int:
        """The line that holds this byte, from 1."""
        return bisect_right(self._line_starts, offset)

    # -- structure ------------------------------------------------------------------------------------

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        return self._parents.get(node)

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The nodes around this one, innermost first, the module last."""
        current = self._parents.get(node)
        while current is not None:
            yield current
            current = self._parents.get(current)

    def nodes(self, kind: Kind[Node], within: cst.CSTNode | None = None) -> list[Node]:
        """All nodes of a kind in source order, only those inside `within` (itself included) if given."""
        kinds = kind if isinstance(kind, tuple) else (kind,)
        lists = [found for one, found in self._by_type.items() if issubclass(one, kinds)]
        nodes = [node for found in lists for node in found]
        if within is not None and within is not self.module:
            start, end = self.span(within)
            nodes = [n for n in nodes if start <= self._spans[n][0] and self._spans[n][1] <= end]
        if len(lists) > 1:
            nodes.sort(key=self._order.__getitem__)
        return nodes  # type: ignore[return-value]

    def at(self, start: int, end: int, kind: Kind[Node]) -> Node:
        """The outermost node of a kind that has exactly this span. KeyError if there is none."""
        for node in self._by_span.get((start, end), ()):
            if isinstance(node, kind):
                return node
        raise KeyError(f"{self.name}: no such node at bytes {start}-{end}")

    # -- names ----------------------------------------------------------------------------------------

    @cached_property
    def imports(self) -> Mapping[str, str]:
        """Local name → dotted name of what the import statements bind it to."""
        bound: dict[str, str] = {}
        statements: list[cst.CSTNode] = self.nodes((cst.Import, cst.ImportFrom))
        for node in statements:
            if not isinstance(node, (cst.Import, cst.ImportFrom)) or isinstance(node.names, cst.ImportStar):
                continue
            prefix = ""
            if isinstance(node, cst.ImportFrom):
                base = dotted(node.module) if node.module is not None else None
                prefix = f"{base}." if base else ""
            for alias in node.names:
                name = dotted(alias.name) or ""
                if alias.asname is not None:
                    bound[dotted(alias.asname.name) or ""] = prefix + name
                elif prefix or isinstance(node, cst.ImportFrom):
                    bound[name] = prefix + name
                else:
                    root = name.split(".")[0]
                    bound[root] = root
        return MappingProxyType(bound)

    @cached_property
    def _locals(self) -> dict[cst.CSTNode, frozenset[str]]:
        """Function → the names it binds itself (parameters and assignment targets)."""
        bound: dict[cst.CSTNode, set[str]] = {}
        kinds = (cst.Param, cst.AssignTarget, cst.AnnAssign, cst.For, cst.AsName)
        targets: list[cst.CSTNode] = self.nodes(kinds)
        for target in targets:
            expression: cst.CSTNode = getattr(target, "name", None) or target.target  # type: ignore[attr-defined]
            scope = next(
                (one for one in self.ancestors(target) if isinstance(one, (cst.FunctionDef, cst.Lambda))),
                None,
            )
            if scope is None or isinstance(self.parent(target), cst.ImportAlias):
                continue
            bound.setdefault(scope, set()).update(target_names(expression))
        return {scope: frozenset(names) for scope, names in bound.items()}

    def resolve(self, expression: cst.CSTNode) -> str | None:
        """The dotted name an expression has through imports: `nn.Linear` → `torch.nn.Linear`.

        None where its root is no import, or a parameter or local variable hides the import.
        """
        name = dotted(expression)
        if name is None:
            return None
        root, _, rest = name.partition(".")
        target = self.imports.get(root)
        if target is None:
            return None
        for scope in self.ancestors(expression):
            if root in self._locals.get(scope, ()):
                return None
        return f"{target}.{rest}" if rest else target


def dotted(expression: cst.CSTNode) -> str | None:
    """`a.b.c` for a chain of names and attributes, None for anything else."""
    if isinstance(expression, cst.Name):
        return expression.value
    if isinstance(expression, cst.Attribute):
        base = dotted(expression.value)
        return None if base is None else f"{base}.{expression.attr.value}"
    return None


def target_names(target: cst.CSTNode) -> tuple[str, ...]:
    """The dotted names an assignment target binds, in order: `a, (b, self.c)` → a, b, self.c."""
    if isinstance(target, (cst.Tuple, cst.List)):
        return tuple(name for element in target.elements for name in target_names(element.value))
    name = dotted(target)
    return () if name is None else (name,)
