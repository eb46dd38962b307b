"""What a program may see of its own text, from syntax alone: source, names, docstrings.

A program can read its source, look names up by their text, or list what a module holds. Where one may do so,
a rewrite leaves it alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

_WORDS = """
    inspect linecache tokenize symtable traceback dis ast jit fx settrace setprofile getsource getsourcelines
    currentframe _getframe f_lineno tb_lineno tb_next lineno __code__ __traceback__ __loader__ __spec__
    __cached__ get_data py_compile compileall
"""
READS_SOURCE = frozenset(_WORDS.split())
"""Names through which a program can see lines, bytecode or source: then nothing is rewritten."""

_WORDS = """
    locals globals __import__ __builtins__ builtins __dict__ __qualname__ __annotations__ __globals__
    __closure__ __defaults__ __kwdefaults__ __getattr__ __getattribute__ __main__ f_locals f_globals importlib
    import_module runpy get_type_hints ForwardRef gc ctypes
"""
READS_NAMES = frozenset(_WORDS.split())
"""Names through which a program can see names as text: then none is added, renamed or moved."""

BUILTIN_READERS = frozenset({"vars", "dir", "eval", "exec", "compile"})
"""Builtins that do the same. As attributes they are others' (`model.eval()`)."""

READS_DOCS = frozenset({"__doc__", "help", "getdoc", "argparse", "doctest", "docopt", "pydoc"})
"""Names through which a program can see docstrings."""

_SOURCE_FILE = re.compile(r"\.py\b")


def docstrings(tree: ast.AST) -> set[ast.AST]:
    """The nodes of all docstrings."""
    return {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node, clean=False) is not None
        and isinstance(node.body[0], ast.Expr)
    }


def reads_source(tree: ast.Module) -> bool:
    """Whether a program may see the text, the lines or the bytecode of a file of its own."""
    described = docstrings(tree)
    for node in ast.walk(tree):
        if READS_SOURCE & set(_identifiers(node)):
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node not in described and _SOURCE_FILE.search(node.value):
                return True
        elif (
            isinstance(node, ast.Attribute) and node.attr == "compile" and "torch" in _identifiers(node.value)
        ):
            return True
    return _reads_own_file(tree)


def _reads_own_file(tree: ast.Module) -> bool:
    """Whether `__file__` is used for anything but the folder it lies in."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return any(
        isinstance(node, ast.Name) and node.id == "__file__" and not _asks_folder(node, parents)
        for node in ast.walk(tree)
    )


def _asks_folder(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> bool:
    while (parent := parents.get(node)) is not None:
        if isinstance(parent, ast.Attribute):
            if parent.attr in {"parent", "parents"}:
                return True
            if parent.attr not in {"resolve", "absolute"}:
                return False
        elif isinstance(parent, ast.Call):
            called = list(_identifiers(parent.func))[:1]
            if node is not parent.func and called == ["dirname"]:
                return True
            if node is not parent.func and called not in (["Path"], ["abspath"], ["realpath"]):
                return False
        else:
            return False
        node = parent
    return False


def _identifiers(node: ast.AST) -> Iterator[str]:
    """The names a node holds itself, not those of its children."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.alias):
        yield from node.name.split(".")
    elif isinstance(node, ast.ImportFrom):
        yield from (node.module or "").split(".")
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name


def reads_names(node: ast.AST, foreign: set[str]) -> bool:
    """Whether a node looks names up by text. foreign: imports from outside the workspace, which may."""
    if READS_NAMES & set(_identifiers(node)):
        return True
    if isinstance(node, ast.Name):
        return node.id in BUILTIN_READERS
    if isinstance(node, ast.Attribute):
        of_sys = isinstance(node.value, ast.Name) and node.value.id == "sys"
        return node.attr == "__name__" or (node.attr == "modules" and of_sys)
    if isinstance(node, ast.ImportFrom):
        return node.module == "sys" and any(alias.name == "modules" for alias in node.names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id not in {"getattr", "setattr", "hasattr", "delattr"} or len(node.args) < 2:
            return False
        root: ast.AST = node.args[0]
        while isinstance(root, ast.Attribute):
            root = root.value
        known = isinstance(root, ast.Name) and (root.id in foreign or root.id == "self")
        return not known and not isinstance(node.args[1], ast.Constant)
    return False
