"""Helper functions that are not there yet, and those that need not be: places for `phrasings`.

An expression becomes the result of a function of its own; or a function that only returns an expression goes,
and its expression stands where it was called. What is computed, and when, stays as it is.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import libcst as cst

from .analysis import Script
from .editing import insert_before, is_docstring
from .workspace import Edit

Way = tuple[Edit, ...]
Places = Iterator[tuple[cst.CSTNode, Sequence[Way]]]

SHORTEST, LONGEST = 18, 88
"""Characters of an expression that somebody would put into a function of its own."""

MOST_PARAMETERS = 4

_BOUND_APART = (
    cst.Lambda, cst.NamedExpr, cst.Await, cst.Yield, cst.ListComp, cst.SetComp, cst.DictComp,
    cst.GeneratorExp, cst.StarredElement, cst.StarredDictElement, cst.FormattedString,
)  # fmt: skip
"""What binds names of its own, or may not stand just anywhere."""


def extracted(script: Script) -> Places:
    """`x = (a - b) / c` is `x = quotient(a, b, c)`, and above it a function that returns this."""
    taken = {word for file in script.files for word in re.findall(r"\w+", file.data.decode())}
    for statement in script.nodes((cst.Assign, cst.Return)):
        value = getattr(statement, "value", None)
        if not isinstance(value, (cst.BinaryOperation, cst.Call)) or not _worth_it(script, value):
            continue
        known = list(dict.fromkeys(name.value for name in _read(script, value) if _is_local(script, name)))
        top = _top(script, statement)
        if not 1 <= len(known) <= MOST_PARAMETERS or top is None or not _means_the_same(script, value):
            continue
        name = next((one for one in _names(value) if one not in taken), None)
        if name is None:
            continue
        taken.add(name)
        file, given = script.file(statement), ", ".join(known)
        newline, indent = file.module.default_newline, file.module.default_indent
        body = f"def {name}({given}):\n{indent}return {script.text(value)}"
        above = insert_before(script, top, body)
        before = file.data[: above.start].replace(b"\r", b"")
        gap = newline * max(1, len(before) - len(before.rstrip(b"\n")) - 1)
        above = Edit(above.file, above.start, above.end, above.replacement + gap)
        yield value, [(above, Edit(file.name, *script.outer_span(value), f"{name}({given})"))]


MOST_CALLS = 3


def inlined(script: Script) -> Places:
    """`share(found, y)`, where `share` returns `(a == b).mean()`, is `(found == y).mean()`."""
    for file in script.files:
        statements = script.statements(file.module)
        for one, following in pairwise(statements):
            value = _only_result(script, one)
            if not isinstance(one, cst.FunctionDef) or value is None:
                continue
            calls = script.callers(one)
            name = re.compile(rf"\b{one.name.value}\b")
            mentions = sum(len(name.findall(other.data.decode())) for other in script.files)
            if not 1 <= len(calls) <= MOST_CALLS or mentions != len(calls) + 1:
                continue
            if any(script.file(call) is not file or script.inside(call, one) for call in calls):
                continue
            start, end = (insert_before(script, it, "_").start for it in (one, following))
            if file.data[file.span(one)[1] : end].strip():
                continue
            edits = [Edit(file.name, start, end, "")]
            for call in calls:
                if (text := _at_its_call(script, one, value, call)) is not None:
                    edits.append(Edit(file.name, *script.span(call), text))
            if len(edits) == len(calls) + 1:
                yield calls[0], [tuple(edits)]


_WORDS = """
    abs amax amin argmax clamp cumsum exp flatten float item log max mean min norm pow prod reshape sigmoid
    softmax sqrt square squeeze std sum unsqueeze var view
"""
METHODS = frozenset(_WORDS.split())
"""What arithmetic calls on arrays and tensors."""


def _worth_it(script: Script, value: cst.BaseExpression) -> bool:
    """Whether an expression is arithmetic, and neither so short nor so long that it stays where it is."""
    text = script.text(value)
    if "\n" in text or not SHORTEST <= len(text) <= LONGEST:
        return False
    if script.nodes(_BOUND_APART, value) or any(arg.star for arg in script.nodes(cst.Arg, value)):
        return False
    if any(name.value in ("self", "cls", "super") for name in script.nodes(cst.Name, value)):
        return False
    calls = script.nodes(cst.Call, value)
    if not all(_is_arithmetic(script, call) for call in calls):
        return False
    return len(script.nodes((cst.BinaryOperation, cst.Comparison), value)) + len(calls) >= 2


def _is_arithmetic(script: Script, call: cst.Call) -> bool:
    if isinstance(call.func, cst.Name):
        return call.func.value in ("abs", "float", "len", "max", "min", "sum")
    if isinstance(call.func, cst.Attribute) and script.resolve(call.func) is None:
        return call.func.attr.value in METHODS
    return (script.resolve(call.func) or "").startswith(("torch.", "numpy.")) and (
        call.func.attr.value if isinstance(call.func, cst.Attribute) else ""
    ) in METHODS | {"cat", "stack", "where", "log1p", "expm1", "maximum", "minimum"}


def _read(script: Script, value: cst.CSTNode) -> list[cst.Name]:
    """The names that an expression looks up, in order."""
    found = []
    for name in script.nodes(cst.Name, value):
        parent = script.parent(name)
        attribute = isinstance(parent, cst.Attribute) and parent.attr is name
        keyword = isinstance(parent, cst.Arg) and parent.keyword is name
        if not attribute and not keyword:
            found.append(name)
    return found


def _is_local(script: Script, name: cst.Name) -> bool:
    """Whether a function around a place binds a name: as a parameter, or in its body."""
    return any(
        isinstance(one, cst.FunctionDef) and _binds(script, one, name.value) for one in script.ancestors(name)
    )


def _binds(script: Script, function: cst.FunctionDef, name: str) -> bool:
    if name in {param.name.value for param in script.nodes(cst.Param, function.params)}:
        return True
    inner = script.nodes((cst.FunctionDef, cst.ClassDef, cst.ImportAlias), function)
    named = {getattr(one, "name", None) for one in inner if one is not function}
    return bool(script.writes(name, function)) or any(
        isinstance(one, cst.Name) and one.value == name for one in named
    )


def _means_the_same(script: Script, value: cst.BaseExpression) -> bool:
    """Whether every name that is not passed is looked up in the file, where it is something."""
    file = script.file(value)
    defined: list[cst.FunctionDef | cst.ClassDef] = script.nodes((cst.FunctionDef, cst.ClassDef), file.module)
    own = {one.name.value for one in defined}
    return all(
        _is_local(script, name)
        or name.value in file.imports
        or name.value in own
        or hasattr(builtins, name.value)
        or script.writes(name.value, file.module)
        for name in _read(script, value)
    )


def _top(script: Script, node: cst.CSTNode) -> cst.CSTNode | None:
    """The statement of the file that holds a place; None in front of which no function may stand."""
    module = script.file(node).module
    around = (node, *script.ancestors(node))
    top = next((one for one in around if script.parent(one) is module), None)
    return top if isinstance(top, (cst.FunctionDef, cst.ClassDef)) else None


_OPERATORS = {
    cst.Add: ("total", "added", "raised"),
    cst.Subtract: ("difference", "gap", "reduced"),
    cst.Multiply: ("product", "times", "weighted"),
    cst.Divide: ("quotient", "ratio", "fraction", "relative"),
    cst.MatrixMultiply: ("projected", "mixed"),
    cst.Power: ("power", "raised_to"),
}


def _names(value: cst.BaseExpression) -> Sequence[str]:
    """What the function may be called: after what it does last."""
    if isinstance(value, cst.BinaryOperation):
        return _OPERATORS.get(type(value.operator), ("combined", "joined"))
    function = value.func if isinstance(value, cst.Call) else value
    last = function.attr if isinstance(function, cst.Attribute) else function
    word = last.value.strip("_").lower() if isinstance(last, cst.Name) else ""
    return (f"{word}_of", f"{word}_value", f"get_{word}", f"take_{word}") if word else ()


def _only_result(script: Script, one: cst.CSTNode) -> cst.BaseExpression | None:
    """The expression of a function that only returns one: at the top level, plain, on one line."""
    if not isinstance(one, cst.FunctionDef) or one.decorators or one.asynchronous is not None:
        return None
    params = one.params
    if (
        params.star_kwarg
        or params.kwonly_params
        or params.posonly_params
        or isinstance(params.star_arg, cst.Param)
    ):
        return None
    if any(param.default is not None for param in params.params):
        return None
    body = script.statements(one)
    if len(body) == 2 and is_docstring(body[0]):
        body = body[1:]
    line = body[0] if len(body) == 1 else None
    last = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
    value = last.value if isinstance(last, cst.Return) else None
    if value is None or "\n" in script.text(value) or script.nodes(_BOUND_APART, value):
        return None
    return None if isinstance(value, cst.Tuple) else value


def _comes_first(script: Script, value: cst.BaseExpression, param: str) -> bool:
    """Whether nothing is called before a parameter is looked up."""
    start = next(script.span(name)[0] for name in _read(script, value) if name.value == param)
    return all(script.span(call)[1] > start for call in script.nodes(cst.Call, value))


def _at_its_call(
    script: Script, function: cst.FunctionDef, value: cst.BaseExpression, call: cst.Call
) -> str | None:
    """What a call gives, written where it is made; None where that would be something else, or later."""
    params = [one.name.value for one in function.params.params]
    if len(call.args) != len(params) or any(arg.keyword is not None or arg.star for arg in call.args):
        return None
    read = _read(script, value)
    used = [name.value for name in read if name.value in params]
    given = {}
    for param, arg in zip(params, call.args, strict=True):
        text, times = script.text(arg.value), used.count(param)
        if not isinstance(arg.value, (cst.Name, cst.Attribute, cst.Integer, cst.Float)) and (
            times != 1 or arg.value.lpar or "\n" in text
        ):
            return None
        runs = script.nodes((cst.Call, *_BOUND_APART), arg.value)
        if runs and (param != params[0] or used[0] != param or not _comes_first(script, value, param)):
            return None
        if not isinstance(arg.value, (cst.Name, cst.Attribute, cst.Subscript, cst.Call)):
            text = f"({text})"
        given[param] = text
    if script.nodes((cst.IfExp, cst.BooleanOperation), value):
        return None
    around = [one for one in script.ancestors(call) if isinstance(one, (cst.FunctionDef, *_BOUND_APART))]
    if any(isinstance(one, _BOUND_APART) for one in around):
        return None
    start, end = script.outer_span(value)
    pieces, position, data = [], start, script.file(value).data
    for name in read:
        if name.value not in given:
            if any(isinstance(one, cst.FunctionDef) and _binds(script, one, name.value) for one in around):
                return None
            continue
        left, right = script.span(name)
        pieces += [data[position:left].decode(), given[name.value]]
        position = right
    text = "".join([*pieces, data[position:end].decode()])
    simple = isinstance(value, (cst.Name, cst.Call, cst.Subscript, cst.Attribute)) or value.lpar
    return text if simple else f"({text})"
