"""Rewrites that the styles already know, held to what is sure on any script."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from ...python_ast import parse_module
from ..styles.bindings import find_bindings
from ..styles.blank_lines import BlankLines
from ..styles.breaks import Breaks
from ..styles.comments import Comments
from ..styles.docstrings import Docstrings
from ..styles.keywords import KNOWN, Keywords
from ..styles.kind import Kind
from ..styles.literals import Literals
from ..styles.names import Names, Renaming
from .base import Choice, Rewrite, RewriteExample
from .caution import docstrings
from .code import Code

_DASHED_WORD = re.compile(r"-{0,2}([A-Za-z_][\w-]*)")


class Styled(Rewrite):
    """A kind of style whose result has the same syntax tree."""

    layout = True
    kind: Kind[Any]

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        trees = self.kind.apply(code.trees, self.kind.choose(code.trees, choice.draw))
        return {path: tree.code for path, tree in trees.items()}


class StyledComments(Styled):
    """Comments are dropped, kept or reworded: Python does not see them."""

    name = "comments of a style"
    kind = Comments()


class StyledBlankLines(Styled):
    """Blank lines come and go: Python does not see them."""

    name = "blank lines of a style"
    kind = BlankLines()


class StyledBreaks(Styled):
    """Lines are joined and broken inside brackets: Python does not see it."""

    name = "line breaks of a style"
    kind = Breaks()


class StyledLiterals(Styled):
    """Quotes and digits are spelled differently; each literal keeps its value and type."""

    name = "literals of a style"
    kind = Literals()


class StyledDocstrings(Styled):
    """Docstrings are dropped or written anew, in workspaces where nothing can read one."""

    name = "docstrings of a style"
    layout = False
    kind = Docstrings()

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        if code.reads_docs:
            return {}
        texts = super().apply(code, choice)
        return {path: text for path, text in texts.items() if _same_but_texts(text, code.syntax[path])}


class StyledKeywords(Styled):
    """An argument of a well-known torch callable is named or given by position, where that is sure."""

    name = "keywords of a style"
    layout = False
    kind = Keywords()

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        roots = {name.split(".")[0] for name in KNOWN}
        sure = {name for name, whole in code.origins.items() if whole.split(".")[0] in roots}
        imported = {
            alias.asname or alias.name.split(".")[0]
            for node in code.nodes
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        replaced = {name.rsplit(".", 1)[-1] for name in KNOWN} & code.assigned_attributes
        if not sure or "*" in imported or not imported <= code.origins.keys() or replaced:
            return {}
        return super().apply(code, choice)


class StyledNames(Rewrite):
    """Variables, parameters and functions get the names of a style.

    A name is renamed at every place where it stands, to one that stands nowhere, so nothing is captured.
    Names stay that anything but a plain reference could reach; so do classes and attributes, which are seen
    where an object is printed.
    """

    name = "names of a style"
    examples = (
        RewriteExample(
            "def f(model, lr):\n    return model, Adam(lr=lr)\n",
            "def handle(network, lr):\n    return network, Adam(lr=lr)\n",
        ),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        if code.reads_names:
            return {}
        kept = set(_kept(code))
        found = Names().choose(code.trees, choice.draw)
        names = tuple(pair for pair in found.names if pair[0] not in kept and pair[1] not in code.words)
        return _renamed(code, Renaming(names))


class FreshNames(Rewrite):
    """The same for any name, whatever the vocabulary of styles knows: `total` becomes `my_total`."""

    name = "fresh names"
    examples = (
        RewriteExample(
            "def f(model):\n    import os\n    for x in model:\n        print(f'{x}')\n    return os\n",
            "def my_f(my_model):\n    import os\n    for my_x in my_model:\n        print(f'{my_x}')\n"
            "    return os\n",
        ),
        RewriteExample("def f(x):\n    return f'{x=}', 'f'\n", "def f(x):\n    return f'{x=}', 'f'\n"),
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        if code.reads_names:
            return {}
        free = sorted(find_bindings(code.trees).names - set(_kept(code)) - {"_"})
        form = choice.draw.choose(("{}_2", "{}_", "my_{}", "{}_value"), "form")
        if choice.draw.chance(1, 4, "plain"):
            form = "v{1}"
        pairs = []
        for index in sorted(choice.places(len(free))):
            new = code.fresh(form.format(free[index].strip("_"), index))
            if new.isidentifier() and not keyword.iskeyword(new) and not hasattr(builtins, new):
                pairs.append((free[index], new))
        if len({new for _, new in pairs}) < len(pairs):
            return {}
        return _renamed(code, Renaming(tuple(pairs)))


def _renamed(code: Code, renaming: Renaming) -> Mapping[str, str]:
    trees = Names().apply(code.trees, renaming) if renaming.names else {}
    return {path: tree.code for path, tree in trees.items()}


def _kept(code: Code) -> Iterator[str]:
    """Names that stay, beside those that the styles leave alone: see the remarks."""
    yield from dir(builtins)  # a script may use `list` before it binds it
    functions = {one.name for one in code.nodes if isinstance(one, ast.FunctionDef)}
    for node in code.nodes:
        if isinstance(node, ast.ClassDef):
            yield node.name  # seen wherever an object is printed
        elif isinstance(node, ast.Call):
            # `dict(lr=1)`, `partial(self.run, size=2)`: a keyword may end in a parameter of that name
            if not (isinstance(node.func, ast.Name) and node.func.id in functions):
                yield from (one.arg for one in node.keywords if one.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if found := _DASHED_WORD.fullmatch(node.value):  # "--lr" becomes a parameter of that name
                yield found[1].replace("-", "_")
        elif isinstance(node, ast.Attribute) and len(code.texts) > 1:
            yield node.attr  # a module of the workspace may be used as an object


def _same_but_texts(text: str, old: ast.Module) -> bool:
    """Whether two programs differ in strings that stand alone only."""
    return ast.dump(_without_texts(parse_module(text))) == ast.dump(_without_texts(deepcopy(old)))


def _without_texts(tree: ast.Module) -> ast.Module:
    described = docstrings(tree)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _stands_alone(one, described)]  # type: ignore[attr-defined]
    return tree


def _stands_alone(statement: ast.stmt, described: set[ast.AST]) -> bool:
    if isinstance(statement, ast.Pass):
        return True
    return isinstance(statement, ast.Expr) and (
        statement.value in described
        or (isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str))
    )
