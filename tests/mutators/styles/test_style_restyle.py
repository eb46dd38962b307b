"""Restyled scripts of the library: the same program, in many distinct texts, the same on every machine."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import symtable
import sys
import tokenize
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldebug.clean_scripts.library import load_job, sources
from mldebug.errors import SpliceError
from mldebug.mutators.bases import base
from mldebug.mutators.styles import restyle
from mldebug.mutators.styles.hints import speaks_of_bugs
from mldebug.mutators.styles.keywords import KNOWN
from mldebug.mutators.workspace import Workspace
from mldebug.seeds import Draw

from ...jobs import each_job, few

STYLES, LEAST_DISTINCT = 16, 12
"""Of so many styles of a script, so many differ at the least (all do; a table that shrinks is noticed)."""

NAMED_OR_NOT = {name for _, name in KNOWN.values()}


def clean(name: str) -> Workspace:
    return Workspace.of(dict(sources(name)), load_job(name).entrypoint)


def text_of(workspace: Workspace) -> str:
    return "\n".join(text for _, text in workspace)


DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


class Same:
    """Walks two programs side by side: equal up to names, printed texts, docstrings and spelling.

    `names` and `attributes` collect what old names became; a name that became two, or two that became one,
    fails.
    """

    def __init__(self, old: Workspace) -> None:
        nodes = [node for _, text in old for node in ast.walk(ast.parse(text))]
        self.defined = {node.name for node in nodes if isinstance(node, DEFINITIONS)}
        self.names: dict[str, str] = {}
        self.attributes: dict[str, str] = {}

    def rename(self, table: dict[str, str], old: str, new: str) -> None:
        assert table.setdefault(old, new) == new, f"{old} became {table[old]} and {new}"

    def check(self, old: object, new: object) -> None:
        assert type(old) is type(new), f"{old} became {new}"
        if isinstance(old, list) and isinstance(new, list):
            old, new = _without_texts(old), _without_texts(new)
            assert len(old) == len(new)
            for one, other in zip(old, new, strict=True):
                self.check(one, other)
        elif isinstance(old, ast.AST) and isinstance(new, ast.AST):
            self.check_node(old, new)
        else:
            assert old == new and repr(old) == repr(new)

    def check_node(self, old: ast.AST, new: ast.AST) -> None:
        skipped: set[str] = set()
        if isinstance(old, ast.Name) and isinstance(new, ast.Name):
            self.rename(self.names, old.id, new.id)
            skipped = {"id"}
        elif isinstance(old, ast.arg) and isinstance(new, ast.arg):
            self.rename(self.names, old.arg, new.arg)
            skipped = {"arg"}
        elif isinstance(old, DEFINITIONS) and isinstance(new, DEFINITIONS):
            self.rename(self.names, old.name, new.name)
            skipped = {"name"}
        elif isinstance(old, ast.alias) and isinstance(new, ast.alias):
            self.rename(self.names, old.asname or old.name, new.asname or new.name)
            skipped = {"name"}
        elif isinstance(old, ast.Attribute) and isinstance(new, ast.Attribute):
            if isinstance(old.value, ast.Name) and old.value.id == "self":
                self.rename(self.attributes, old.attr, new.attr)
                skipped = {"attr"}
        elif isinstance(old, ast.Call) and isinstance(new, ast.Call):
            self.check_call(old, new)
            return
        for field in old._fields:
            if field not in skipped:
                self.check(getattr(old, field, None), getattr(new, field, None))

    def check_call(self, old: ast.Call, new: ast.Call) -> None:
        self.check(old.func, new.func)
        if isinstance(old.func, ast.Name) and old.func.id == "print":
            return
        given = [[*call.args, *(one.value for one in call.keywords)] for call in (old, new)]
        self.check(*given)
        own = isinstance(old.func, ast.Name) and old.func.id in self.defined
        for one, other in zip(reversed(old.keywords), reversed(new.keywords), strict=False):
            if NAMED_OR_NOT & {one.arg, other.arg}:
                break
            if own:
                self.rename(self.names, str(one.arg), str(other.arg))
            else:
                assert one.arg == other.arg

    def finish(self) -> None:
        for table in (self.names, self.attributes):
            assert len(set(table.values())) == len(table), "two names became one"


def _without_texts(items: list[object]) -> list[object]:
    kept = [
        one
        for one in items
        if not (
            isinstance(one, ast.Expr)
            and isinstance(one.value, ast.Constant)
            and isinstance(one.value.value, str)
        )
    ]
    return [one for one in kept if len(kept) == 1 or not isinstance(one, ast.Pass)]


def assert_same_program(old: Workspace, new: Workspace) -> None:
    assert old.files.keys() == new.files.keys() and old.entrypoint == new.entrypoint
    walk = Same(old)
    for path, text in old:
        compile(new.files[path], path, "exec")
        walk.check(ast.parse(text), ast.parse(new.files[path]))
    walk.finish()
    for path, text in old:
        assert_same_scopes(
            symtable.symtable(text, path, "exec"),
            symtable.symtable(new.files[path], path, "exec"),
            walk.names,
        )


def assert_same_scopes(old: symtable.SymbolTable, new: symtable.SymbolTable, names: dict[str, str]) -> None:
    """Every scope holds as many names as before, each bound where it was bound."""

    def facts(table: symtable.SymbolTable, names: dict[str, str]) -> set[tuple[object, ...]]:
        return {
            (
                # methods and fields belong to their class and are looked up as attributes
                "" if table.get_type() == "class" else names.get(one.get_name(), one.get_name()),
                one.is_local(),
                one.is_global(),
                one.is_free(),
                one.is_parameter(),
                one.is_imported(),
                one.is_namespace(),
            )
            for one in table.get_symbols()
        }

    assert len(old.get_symbols()) == len(new.get_symbols())
    assert facts(old, names) == facts(new, {})
    for one, other in zip(old.get_children(), new.get_children(), strict=True):
        assert one.get_type() == other.get_type()
        assert_same_scopes(one, other, names)


def assert_no_remark_gives_away(workspace: Workspace) -> None:
    for path, text in workspace:
        for token in tokenize.generate_tokens(StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                assert not speaks_of_bugs(token.string), f"{path}: {token.string}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                assert not speaks_of_bugs(ast.get_docstring(node) or ""), ast.get_docstring(node)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x = 1\n", "x = 2\n"),
        ("x = 1\n", "x = 1.0\n"),
        ("x = y = 1\n", "x = x = 1\n"),
        ("x = 1\ny = x\n", "x = 1\ny = z\n"),
        ("def f(x):\n    return lambda y: x\n", "def f(x):\n    return lambda x: x\n"),
        ("x.mean()\n", "x.sum()\n"),
        ("f(a, b)\n", "f(a, a)\n"),
        ("g(a=1)\ng(b=1)\n", "g(a=1)\ng(a=1)\n"),
        ("def f():\n    g()\n    h()\n", "def f():\n    g()\n"),
        ("print(1)\n", "print(1)\nprint(2)\n"),
        ("d['x']\n", "d['y']\n"),
        ("m.f(lr=1)\n", "m.f(rate=1)\n"),
    ],
)
def test_the_comparison_sees_a_changed_program(old: str, new: str) -> None:
    with pytest.raises(AssertionError):
        assert_same_program(Workspace.of({"a.py": old}, "a.py"), Workspace.of({"a.py": new}, "a.py"))


@each_job("name", __name__)
@settings(max_examples=settings.default.max_examples // 5)
@given(number=st.integers(0, 2**64))
def test_any_draw_gives_the_same_program(name: str, number: int) -> None:
    old = clean(name)
    new = restyle(old, Draw("property", number))
    assert_same_program(old, new)
    assert_no_remark_gives_away(new)


def styled(name: str, number: int) -> Workspace:
    return restyle(clean(name), Draw("style", name, number))


@each_job("name", __name__)
def test_styles_differ(name: str) -> None:
    all_of_them = [styled(name, number) for number in range(STYLES)]
    distinct = len(set(all_of_them))
    named = len({frozenset(re.findall(r"[A-Za-z_]\w*", text_of(one))) for one in all_of_them})
    print(f"{name}: {distinct} distinct texts and {named} distinct sets of words of {STYLES}")
    assert distinct >= LEAST_DISTINCT


CHILD = """
import hashlib, json, sys
from mldebug.mutators.bases import base
for name, style in reversed(json.load(sys.stdin)):
    made = base(name, style).workspace
    print(name, style, hashlib.sha256(repr(made.sources).encode()).hexdigest())
"""


def test_another_process_with_another_hash_seed_gives_the_same_bytes() -> None:
    requests, expected = [], []
    for number, name in enumerate(few(__name__, 6)):
        style = number % STYLES
        requests.append((name, style))
        digest = hashlib.sha256(repr(base(name, style).workspace.sources).encode()).hexdigest()
        expected.append(f"{name} {style} {digest}")
    for seed in ("0", "4242"):
        run = subprocess.run(
            [sys.executable, "-c", CHILD],
            env={**os.environ, "PYTHONHASHSEED": seed},
            input=json.dumps(requests),
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.splitlines() == expected[::-1]


def test_source_that_is_not_python_is_refused() -> None:
    with pytest.raises(SpliceError, match="not valid Python"):
        restyle(Workspace.of({"train.py": "x = (\n"}, "train.py"), Draw("broken"))
