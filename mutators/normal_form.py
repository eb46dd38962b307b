"""What is left of a workspace when everything is taken away that is spelling and not program.

Two workspaces with the same normal form are the same program: their own names are called otherwise, their
literals, comments, docstrings and layout are written otherwise, they hold other code that never runs, or they
define independent functions in another order. Whatever it cannot be sure of stays in the form, so that equal
forms say more than different ones. Nothing runs.
"""

from __future__ import annotations

import ast
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import groupby

import libcst as cst

from ..python_ast import parse_module
from ..seeds import digest
from .phrasings import DEFAULTS
from .rewrites.caution import READS_DOCS, docstrings
from .rewrites.code import Code, read
from .rewrites.idle import MODULES
from .styles.bindings import Bindings, find_bindings
from .styles.keywords import KNOWN
from .workspace import Workspace


@dataclass(frozen=True)
class Own:
    """A name of the workspace's own, wherever it occurs: which one counts, how it is spelled does not."""

    spelling: str


Token = str | Own
Statement = tuple[Token, ...]
"""A simple statement, or the head of a compound one. The first token is where it stands, e.g. `body 2`."""


def normal_form(
    workspace: Workspace, *, like: Workspace | None = None, numbers: bool = True, printed: bool = True
) -> str:
    """The text that all spellings of a program share; a workspace that may read its own source is its own.

    like: see `statements`; without it, equal forms are the same program for sure.
    numbers, printed: whether numbers, and statements that only print, belong to the program; without, the
        form tells what kind of program it is: for counting, not for a proof.
    """
    found = statements(workspace, like=like, numbers=numbers, printed=printed)
    if found is None:
        return repr((workspace.entrypoint, workspace.sources))
    return "\n".join(numbered(found))


def form_digest(workspace: Workspace) -> str:
    """A hash of the normal form."""
    return digest("normal form", normal_form(workspace)).hex()


def numbered(found: Iterable[Statement]) -> list[str]:
    """Statements as text: own names become numbers in the order in which they first occur."""
    known: dict[str, int] = {}
    return [
        " ".join(
            f"·{known.setdefault(token.spelling, len(known))}" if isinstance(token, Own) else token
            for token in statement
        )
        for statement in found
    ]


def own_names(workspace: Workspace) -> frozenset[str]:
    """The names that a normal form does without."""
    code = _code(workspace)
    if code is None or code.reads_names:
        return frozenset()
    found = _bindings(code)
    return found.names | found.attributes


def statements(
    workspace: Workspace,
    *,
    like: Workspace | None = None,
    numbers: bool = True,
    printed: bool = True,
    defaults: bool = True,
) -> list[Statement] | None:
    """The statements of all files, in order, before own names are numbered.

    like: a workspace whose own names are taken for those of this one, as those of a mutant's reference are.
    defaults: whether an argument that says what holds without it (`phrasings.DEFAULTS`) is part of the
        program: as `numbers` and `printed`, see `normal_form`.

    None: a file does not parse, or may read its own source.
    """
    program = bare(workspace, like=like, printed=printed, defaults=defaults)
    return None if program is None else program.statements(numbers=numbers)


@dataclass(frozen=True)
class Program:
    """A workspace without its comments, docstrings and dead code."""

    code: Code
    trees: Mapping[str, ast.Module]
    own: Bindings
    entrypoint: str
    data: tuple[tuple[str, str | bytes], ...]

    @cached_property
    def spelling(self) -> _Spelling:
        return _Spelling(self.own)

    def statements(self, *, numbers: bool = True) -> list[Statement]:
        """As `statements` gives them."""
        spelled = partial(self.spelling.statement, numbers=numbers)
        lines: list[Statement] = [("entry", repr(self.entrypoint))]
        for path, tree in self.trees.items():
            lines.append(("file", repr(path)))
            ordered = not self.code.reads_names
            body = _ordered(tree.body, spelled, self.code.origins) if ordered else tree.body
            for statement in body:
                lines += spelled(statement)
        return [*lines, *(("data", repr(one)) for one in self.data)]


def bare(
    workspace: Workspace,
    *,
    like: Workspace | None = None,
    printed: bool = True,
    defaults: bool = True,
    vouched: bool = False,
) -> Program | None:
    """What is left of a workspace, to be spelled with numbers or without; see `statements`.

    vouched: the engine made it of `like`, so that it compiles; what one may see of its own text, which names
        it imports among them, so may the other.
    """
    model = _code(like or workspace)
    code = model if vouched else _code(workspace)
    if code is None or model is None:
        return None
    found = _bindings(model)
    if code.reads_names:
        found = Bindings(frozenset(), frozenset(), found.taken, {}, found.modules)
    trees = {path: _parsed(text) for path, text in sorted(_python(workspace).items())}
    documented = code.reads_docs and READS_DOCS & {
        name for tree in trees.values() for name in _mentioned(tree)
    }
    for tree in trees.values():
        if not documented:
            _rewrite(tree, partial(_is_one_of, docstrings(tree)))
        if not printed:
            _rewrite(tree, _prints)
        _drop_dead(tree)
    if not code.reads_names:
        _drop_unused(trees, code.origins)
    for tree in trees.values():
        calls, origins = _calls(tree)
        _name_keywords(calls, origins)
        if not defaults:
            _drop_defaults(calls, origins)
    data = tuple(one for one in workspace.sources if not one[0].endswith(".py"))
    return Program(code, trees, found, workspace.entrypoint, data)


def _code(workspace: Workspace) -> Code | None:
    return read(_python(workspace), workspace.entrypoint)


def _python(workspace: Workspace) -> dict[str, str]:
    return {path: text for path, text in workspace if path.endswith(".py")}


def _bindings(code: Code) -> Bindings:
    return _remembered(code.texts)


@lru_cache(maxsize=128)
def _remembered(texts: tuple[tuple[str, str], ...]) -> Bindings:
    return find_bindings({path: cst.parse_module(text) for path, text in texts})


def _parsed(text: str) -> ast.Module:
    """A tree of one's own, which may be changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse_module(text)


# -- what is left out ---------------------------------------------------------------------------------------

Body = list[ast.stmt]


_BODIES = ("body", "orelse", "finalbody")
_BRANCHES = ("handlers", "cases")


def _bodies(tree: ast.AST) -> Iterator[tuple[ast.AST, str, Body]]:
    """Every list of statements, an outer one before those inside it; it may be changed when it is given."""
    left = deque([tree])
    while left:
        node = left.popleft()
        for name in (*_BODIES, *_BRANCHES):
            inner = getattr(node, name, None)
            if isinstance(inner, list):
                if name in _BODIES:
                    yield node, name, inner
                left.extend(inner)


def _rewrite(tree: ast.AST, out: Callable[[ast.stmt], bool]) -> None:
    """Leave out the statements for which `out` holds; a body that must not be empty gets a `pass`."""
    for node, name, body in _bodies(tree):
        body[:] = [one for one in body if not out(one)]
        if not body and name == "body" and not isinstance(node, ast.Module):
            body.append(ast.Pass())


def _is_one_of(texts: set[ast.AST], one: ast.stmt) -> bool:
    return isinstance(one, ast.Expr) and one.value in texts


def _prints(one: ast.stmt) -> bool:
    call = one.value if isinstance(one, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"


def _idle(one: ast.stmt) -> bool:
    """A statement without effect: `pass`, a constant, `assert True`, a block that never runs."""
    if isinstance(one, ast.Pass):
        return True
    if isinstance(one, ast.Expr):
        return isinstance(one.value, ast.Constant)
    if isinstance(one, ast.Assert):
        return isinstance(one.test, ast.Constant) and bool(one.test.value)
    if isinstance(one, ast.If | ast.While) and not one.orelse:
        return isinstance(one.test, ast.Constant) and not one.test.value and not _matters(one.body)
    return False


_BINDING = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal,
    ast.Yield, ast.YieldFrom, ast.Await, ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping,
)  # fmt: skip


def _matters(body: Sequence[ast.stmt]) -> bool:
    """Whether code matters though it never runs: it binds a name, or makes its function a generator."""
    return any(
        isinstance(node, _BINDING) or (isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load))
        for one in body
        for node in ast.walk(one)
    )


def _drop_dead(tree: ast.Module) -> None:
    for _node, _name, body in _bodies(tree):
        for index, one in enumerate(body):
            ends = isinstance(one, ast.Return | ast.Raise | ast.Break | ast.Continue)
            if ends and not _matters(body[index + 1 :]):
                del body[index + 1 :]
                break
    _rewrite(tree, _idle)


def _drop_unused(trees: Mapping[str, ast.Module], origins: Mapping[str, str]) -> None:
    """Functions that are mentioned nowhere else, and imports of that sort that only look up a module."""
    counted: dict[str, int] = {}
    for tree in trees.values():
        for name in _mentioned(tree):
            counted[name] = counted.get(name, 0) + 1
    for tree in trees.values():
        tree.body[:] = [one for one in tree.body if not _unused(one, counted, origins)]


def _unused(one: ast.stmt, counted: Mapping[str, int], origins: Mapping[str, str]) -> bool:
    if isinstance(one, ast.FunctionDef):
        special = one.name.startswith("__")  # a module's `__getattr__` is called by name
        return counted[one.name] == 1 and not special and _seen_when_made(one, origins) is not None
    if isinstance(one, ast.Import) and len(one.names) == 1:
        alias = one.names[0]
        return alias.asname is None and alias.name in MODULES and counted[alias.name] == 1
    return False


def _mentioned(tree: ast.AST) -> Iterator[str]:
    """Every identifier, each time it occurs, and every word of a text."""
    for node in ast.walk(tree):
        for _name, value in ast.iter_fields(node):
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str):
                    yield from _words(one)


def _words(text: str) -> list[str]:
    return "".join(one if one.isalnum() or one == "_" else " " for one in text).split()


# -- order of definitions ------------------------------------------------------------------------------------


def _ordered(
    body: Body, spelled: Callable[[ast.stmt], list[Statement]], origins: Mapping[str, str]
) -> Iterator[ast.stmt]:
    """The statements of a file; independent neighbouring definitions in an order that no name decides."""
    for movable, group in groupby(body, key=lambda one: _seen_when_made(one, origins) is not None):
        run = list(group)
        names = [one.name for one in run if isinstance(one, ast.FunctionDef | ast.ClassDef)]
        seen = {name for one in run for name in _seen_when_made(one, origins) or ()}
        if movable and len(set(names)) == len(names) and not seen & set(names):
            run.sort(key=lambda one: _shape(spelled(one)))
        yield from run


def _shape(definition: Iterable[Statement]) -> list[list[str]]:
    """A definition without its own names: what it is sorted by."""
    return [[token if isinstance(token, str) else "·" for token in line] for line in definition]


_VALUES = (ast.Name, ast.Constant, ast.Tuple, ast.Load)
_TYPES = (*_VALUES, ast.Attribute, ast.Subscript, ast.BinOp, ast.BitOr)
"""What defaults and annotations may be made of: nothing that runs code of the workspace."""


def _seen_when_made(one: ast.stmt, origins: Mapping[str, str]) -> set[str] | None:
    """The names that making a definition looks up; None where it might do more, or is no definition."""
    if getattr(one, "type_params", ()) or getattr(one, "decorator_list", ()):
        return None
    if isinstance(one, ast.ClassDef):
        if one.keywords or any(_origin(base, origins) != "torch.nn.Module" for base in one.bases):
            return None
        found: set[str] = set()
        for inner in one.body:
            if not isinstance(inner, ast.Pass | ast.FunctionDef):
                return None
            seen = set() if isinstance(inner, ast.Pass) else _seen_when_made(inner, origins)
            if seen is None:
                return None
            found |= seen
        return found
    if not isinstance(one, ast.FunctionDef):
        return None
    args = one.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    values = _nodes([*args.defaults, *args.kw_defaults])
    types = _nodes([one.returns, *(arg.annotation for arg in every if arg)])
    if all(isinstance(node, _VALUES) for node in values) and all(isinstance(node, _TYPES) for node in types):
        return {node.id for node in [*values, *types] if isinstance(node, ast.Name)}
    return None


def _nodes(expressions: Iterable[ast.expr | None]) -> list[ast.AST]:
    return [node for one in expressions if one is not None for node in ast.walk(one)]


# -- spelling ------------------------------------------------------------------------------------------------


def _calls(tree: ast.Module) -> tuple[list[ast.Call], dict[str, str]]:
    """The calls of a file; and the names that it imports, with what they are called where they come from."""
    calls: list[ast.Call] = []
    origins: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            calls.append(node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                origins[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            origins |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return calls, origins


def _drop_defaults(calls: Iterable[ast.Call], origins: Mapping[str, str]) -> None:
    """Leave out arguments that say the default (see `phrasings.DEFAULTS`)."""
    for call in calls:
        if said := _SAID.get(_origin(call.func, origins)):
            call.keywords[:] = [one for one in call.keywords if (one.arg, ast.unparse(one.value)) not in said]


_SAID = {
    function: {(name, repr(ast.literal_eval(value))) for name, value in known}
    for function, known in DEFAULTS.items()
}
"""Callable → its defaults, as (argument, what `ast.unparse` makes of the value)."""


def _name_keywords(calls: Iterable[ast.Call], origins: Mapping[str, str]) -> None:
    """Name the arguments that styles name or not (see `styles.keywords`), where that is possible."""
    for call in calls:
        position, name = KNOWN.get(_origin(call.func, origins), (0, ""))
        if name and len(call.args) == position + 1 and not any(isinstance(a, ast.Starred) for a in call.args):
            call.keywords.insert(0, ast.keyword(name, call.args.pop()))


def _origin(function: ast.expr, origins: Mapping[str, str]) -> str:
    parts: list[str] = []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    root = origins.get(function.id, "") if isinstance(function, ast.Name) else ""
    return ".".join([root, *reversed(parts)])


_NAMES = frozenset({"id", "name", "names", "rest", "arg", "attr"})
"""Fields of syntax nodes that hold identifiers."""

_UNSPELLED = frozenset({"ctx", "kind", "type_comment", "type_ignores", "lineno"})


@dataclass(frozen=True)
class _Number:
    """A number, which is spelled only where numbers count."""

    text: str


@dataclass
class _Spelling:
    """Spells syntax as tokens, the same for every Python that parses it; a statement once, however often it
    is asked for."""

    own: Bindings
    _found: list[list[Token | _Number]] = field(default_factory=list)
    _spelled: dict[ast.stmt, list[list[Token | _Number]]] = field(default_factory=dict)

    def statement(self, one: ast.stmt, *, numbers: bool) -> list[Statement]:
        """A statement of a file and those inside it."""
        if one not in self._spelled:
            self._found = self._spelled[one] = []
            self._statement(one, "", None)
        return [
            tuple(
                (token.text if numbers else "number") if isinstance(token, _Number) else token
                for token in line
            )
            for line in self._spelled[one]
        ]

    def _statement(self, one: ast.stmt, place: str, owner: ast.AST | None) -> None:
        head: list[Token | _Number] = [place]
        self._found.append(head)  # its place is before those of the statements inside it
        self._node(one, place, owner, head)

    def _node(self, node: ast.AST, place: str, owner: ast.AST | None, out: list[Token | _Number]) -> None:
        out.append(type(node).__name__)
        if isinstance(node, ast.Constant):
            number = isinstance(node.value, int | float | complex) and not isinstance(node.value, bool)
            out.append(_Number(repr(node.value)) if number else repr(node.value))
            return
        out.append("(")
        for name, value in ast.iter_fields(node):
            if name in _UNSPELLED or value is None or value == []:
                continue
            out.append(f"{name}=")
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, ast.stmt):
                    self._statement(one, f"{place} {name}", node)
                elif isinstance(node, ast.Call) and isinstance(one, ast.keyword):
                    out.append(self._keyword(node, one))
                    self._node(one.value, place, one, out)
                elif isinstance(one, ast.alias):
                    out += self._alias(node, one)
                elif isinstance(one, ast.AST):
                    self._node(one, place, node, out)
                elif isinstance(one, str) and name in _NAMES:
                    out.append(self._name(node, one, owner))
                else:
                    out.append(repr(one))
        out.append(")")

    def _name(self, node: ast.AST, name: str, owner: ast.AST | None) -> Token:
        of_self = (
            isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        )
        method = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and isinstance(owner, ast.ClassDef)
        if of_self or method:
            return Own(f".{name}") if name in self.own.attributes else repr(name)
        if isinstance(node, ast.Attribute):
            return repr(name)
        return Own(name) if name in self.own.names else repr(name)

    def _keyword(self, call: ast.Call, one: ast.keyword) -> Token:
        known = self.own.parameters.get(call.func.id, ()) if isinstance(call.func, ast.Name) else ()
        own = one.arg is not None and one.arg in known and one.arg in self.own.names
        return Own(str(one.arg)) if own else repr(one.arg)

    def _alias(self, node: ast.AST, one: ast.alias) -> Iterator[Token]:
        internal = isinstance(node, ast.ImportFrom) and node.module in self.own.modules
        for name in (one.name, one.asname):
            if name is not None:
                yield Own(name) if internal and name in self.own.names else repr(name)
