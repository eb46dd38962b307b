"""The `ast` module for several threads at once.

Until CPython 3.12 all threads of an interpreter count the depth of a syntax tree in one place, so that a
parse which the collector interrupts to run Python code (a finalizer, a callback in `gc.callbacks`) can meet
another thread's count and end in SystemError, though nothing is wrong with the text
(https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

import ast
import threading

TRIES = 10
"""Our own parses exclude each other; what another library parses meanwhile rarely meets one of ours twice."""

_one_at_a_time = threading.RLock()


def parse_module(text: str) -> ast.Module:
    """`ast.parse(text)`. Raises what it raises."""
    tree: ast.Module = _tree(text, "exec")
    return tree


def parse_expression(text: str) -> ast.Expression:
    """`ast.parse(text, mode="eval")`. Raises what it raises."""
    tree: ast.Expression = _tree(text, "eval")
    return tree


def literal(text: str) -> object:
    """`ast.literal_eval(text)`. Raises what it raises."""
    value: object = ast.literal_eval(parse_expression(text))
    return value


def _tree(text: str, mode: str):  # type: ignore[no-untyped-def]  # the mode decides the type
    for _ in range(TRIES - 1):
        try:
            with _one_at_a_time:
                return ast.parse(text, mode=mode)
        except SystemError:
            continue
    return ast.parse(text, mode=mode)
