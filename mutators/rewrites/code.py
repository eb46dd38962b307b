"""The code of a workspace, parsed once, and what a rewrite may ask of it."""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import libcst as cst

from ...python_ast import parse_module
from .caution import READS_DOCS, reads_names, reads_source

LARGEST = 200_000
"""Characters of a file; anything larger is no script that a person wrote, and is left alone."""

DEEPEST = 150
"""Nesting of a syntax tree. Ours is below 30; libcst's parser overflows the stack somewhere above 1000."""

_COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_IDENTIFIER = re.compile(r"\w+")


@lru_cache(maxsize=512)
def parsed(text: str) -> ast.Module | None:
    """The syntax tree of a text that compiles and that rewriting can handle, else None."""
    if len(text) > LARGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text.encode()
            tree = parse_module(text)
            compile(tree, "<rewritten>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree if _depth(tree) <= DEEPEST else None


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level and depth <= DEEPEST:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth


@dataclass(frozen=True)
class Code:
    """The Python files of a workspace: path → text, sorted by path; every one of them parses.

    entrypoint: the file that is run.
    """

    texts: tuple[tuple[str, str], ...]
    entrypoint: str

    @cached_property
    def trees(self) -> dict[str, cst.Module]:
        return {path: _tree(path, text) for path, text in self.texts}

    @cached_property
    def syntax(self) -> dict[str, ast.Module]:
        found = {path: parsed(text) for path, text in self.texts}
        return {path: tree for path, tree in found.items() if tree is not None}

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(node for tree in self.syntax.values() for node in ast.walk(tree))

    @cached_property
    def words(self) -> frozenset[str]:
        """Everything in the files that looks like an identifier, in strings and comments too."""
        return frozenset(word for _, text in self.texts for word in _IDENTIFIER.findall(text))

    @cached_property
    def reads_names(self) -> bool:
        """Whether names may be seen as text, so that none may be added, renamed or moved."""
        if any(_spells_twice(self.trees[path]) for path, text in self.texts if not text.isascii()):
            return True
        if any(name == "*" for name, _ in _imports(self.nodes)):
            return True  # what that brings in may hide any name of the file
        modules = {path.removesuffix(".py").split("/")[-1] for path, _ in self.texts}
        foreign = {name for name, whole in _imports(self.nodes) if not modules & set(whole.split("."))}
        return any(reads_names(node, foreign) for node in self.nodes)

    @cached_property
    def reads_docs(self) -> bool:
        return bool(self.words & READS_DOCS)

    @cached_property
    def origins(self) -> dict[str, str]:
        """Names that mean one and the same import wherever they stand in the workspace → what it is."""
        found: dict[str, set[str]] = {}
        for name, whole in _imports(self.nodes):
            found.setdefault(name, set()).add(whole)
        bound = set(_bound(self.nodes))
        sure = "*" not in found
        return {
            name: next(iter(whole))
            for name, whole in found.items()
            if sure and len(whole) == 1 and name not in bound
        }

    @cached_property
    def bindings(self) -> Counter[str]:
        """How often each name is bound, by whatever statement and in whatever scope."""
        return Counter([*_bound(self.nodes), *(name for name, _ in _imports(self.nodes))])

    @cached_property
    def declared(self) -> frozenset[str]:
        """The names in `global` and `nonlocal` statements."""
        kinds = (ast.Global, ast.Nonlocal)
        return frozenset(name for one in self.nodes if isinstance(one, kinds) for name in one.names)

    @cached_property
    def assigned_attributes(self) -> frozenset[str]:
        """The last names of `a.b = …`: what such a name means elsewhere is not sure."""
        stores = (ast.Store, ast.Del)
        return frozenset(
            one.attr for one in self.nodes if isinstance(one, ast.Attribute) and isinstance(one.ctx, stores)
        )

    def fresh(self, *wanted: str) -> str:
        """An identifier that occurs nowhere in the workspace, as close as possible to one of these."""
        taken = self.words
        for number in range(1, len(taken) + 2):
            for name in wanted:
                option = name if number == 1 else f"{name}_{number}"
                if option not in taken:
                    return option
        raise AssertionError("more names than words")


def read(files: Mapping[str, str], entrypoint: str) -> Code | None:
    """The code of a workspace; None where nothing in it may be rewritten.

    That is where a file does not parse, is not plain UTF-8, or may be read as text by the program itself.
    """
    try:
        texts = tuple(
            sorted((path, text) for path, text in files.items() if path.endswith(".py") or path == entrypoint)
        )
        return _read(texts, entrypoint)
    except (TypeError, AttributeError):
        return None


@lru_cache(maxsize=64)
def _read(texts: tuple[tuple[str, str], ...], entrypoint: str) -> Code | None:
    return Code(texts, entrypoint) if texts and all(_rewritable(*one) for one in texts) else None


@lru_cache(maxsize=512)
def _rewritable(path: str, text: str) -> bool:
    """Whether a file parses, means what it says, and is not read as text by itself."""
    syntax = parsed(text)
    if syntax is None or _foreign_cookie(text) or reads_source(syntax):
        return False
    try:
        return _tree(path, text).code == text
    except (cst.ParserSyntaxError, cst.CSTValidationError, ValueError, RecursionError):
        return False


@lru_cache(maxsize=64)
def _tree(path: str, text: str) -> cst.Module:
    """A file as libcst reads it. Nodes are known by identity, so no two files of a workspace may share them:
    hence the path."""
    return cst.parse_module(text)


def _spells_twice(tree: cst.Module) -> bool:
    """Whether a file writes an identifier in a form that Python normalises: it may be written two ways."""
    found = False

    class Names(cst.CSTVisitor):
        def visit_Name(self, node: cst.Name) -> None:
            nonlocal found
            found |= unicodedata.normalize("NFKC", node.value) != node.value

    tree.visit(Names())
    return found


def _foreign_cookie(text: str) -> bool:
    """Whether a file declares another encoding than UTF-8: its bytes mean something else then."""
    found = [_COOKIE.match(line) for line in text.split("\n")[:2]]
    return any(one and one[1].lower().replace("_", "-") not in {"utf-8", "utf8"} for one in found)


def _imports(nodes: tuple[ast.AST, ...]) -> Iterator[tuple[str, str]]:
    """(name, what it is) of everything that import statements bind."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (root, root)
        elif isinstance(node, ast.ImportFrom):
            prefix = f"{'.' * node.level}{node.module or ''}"
            for alias in node.names:
                yield alias.asname or alias.name, f"{prefix}.{alias.name}"


NAMED = (
    ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler | ast.MatchAs | ast.MatchStar
)


def _bound(nodes: tuple[ast.AST, ...]) -> Iterator[str]:
    """Every name bound by anything but an import."""
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, NAMED) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest


def origin(expression: cst.Attribute, origins: Mapping[str, str]) -> str:
    """The dotted name that an attribute has through imports: `nn.Linear` → `torch.nn.Linear`."""
    root = expression.value
    whole = origins.get(root.value, "") if isinstance(root, cst.Name) else ""
    if isinstance(root, cst.Attribute):
        whole = origin(root, origins)
    return f"{whole}.{expression.attr.value}"
