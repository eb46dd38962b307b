"""Restyling: the same job as another engineer would have written it.

Styles come before bugs: a styled base is made from a clean script, then a bug is spliced into it. A style
changes what source looks like and what a run prints, never what it computes or writes to files.
"""

from __future__ import annotations

from typing import Any

import libcst as cst

from ...seeds import Draw
from ..workspace import Workspace, check_python
from .blank_lines import BlankLines
from .breaks import Breaks
from .comments import Comments
from .docstrings import Docstrings
from .keywords import Keywords
from .kind import Kind, StyleExample
from .literals import Literals
from .names import Names
from .output import Output

__all__ = ["KINDS", "Kind", "StyleExample", "restyle"]

KINDS: tuple[Kind[Any], ...] = (
    Names(),
    Docstrings(),
    Comments(),
    Output(),
    Literals(),
    Keywords(),
    Breaks(),
    BlankLines(),
)
"""In the order in which they are applied: docstrings speak of the new names, breaks see the final texts."""


def restyle(workspace: Workspace, draw: Draw) -> Workspace:
    """The workspace in the style that a draw stands for.

    Whatever the draw, comments and docstring sentences go that a mutator could make false (see `hints`).

    Raises:
        SpliceError: a file of the workspace is not valid Python.
    """
    for path, text in workspace:
        if path.endswith(".py"):
            check_python(path, text)
    trees: Any = {path: cst.parse_module(text) for path, text in workspace if path.endswith(".py")}
    for kind in KINDS:
        trees = kind.apply(trees, kind.choose(trees, draw.child("kind", kind.name)))
    files = {**workspace.files, **{path: tree.code for path, tree in trees.items()}}
    for path in trees:
        check_python(path, files[path])
    return Workspace.of(files, workspace.entrypoint)
