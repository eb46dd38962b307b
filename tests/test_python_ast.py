"""Syntax trees are made in threads beside each other."""

from __future__ import annotations

import ast
import gc
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mldebug.python_ast import literal, parse_expression, parse_module

TEXTS = ["x = [[[[1, (2, 3)], 4], f(a, b=c)] for y in z if y]\n" * 200, "value = 1 + 2\n" * 300]


@pytest.fixture
def another_thread_runs_in_the_middle() -> Iterator[None]:
    """Python code that the collector runs while a tree is built lets another thread go on."""

    def give_way(phase: str, info: object) -> None:
        time.sleep(0)

    old = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(50, 1000, 1000)
    sys.setswitchinterval(1e-6)
    gc.callbacks.append(give_way)
    yield
    gc.callbacks.remove(give_way)
    gc.set_threshold(*old[0])
    sys.setswitchinterval(old[1])


def in_threads(parse: object) -> list[object]:
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(parse, TEXTS * 8))  # type: ignore[arg-type]


@pytest.mark.usefixtures("another_thread_runs_in_the_middle")
def test_threads_do_not_disturb_each_other() -> None:
    assert all(isinstance(tree, ast.Module) for tree in in_threads(parse_module))


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="CPython counts per thread since 3.12")
@pytest.mark.usefixtures("another_thread_runs_in_the_middle")
def test_the_standard_library_alone_is_disturbed() -> None:
    with pytest.raises(SystemError, match="recursion depth mismatch"):
        in_threads(ast.parse)


def test_errors_and_values_are_those_of_ast() -> None:
    assert literal("'''two\nlines'''") == "two\nlines"
    assert ast.dump(parse_expression("a + 1")) == ast.dump(ast.parse("a + 1", mode="eval"))
    for parse in (parse_module, parse_expression, literal):
        with pytest.raises(SyntaxError):
            parse("def")
    with pytest.raises(ValueError, match="malformed"):
        literal("f(1)")
