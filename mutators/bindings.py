"""What a name may be bound to, followed through the script.

A name is followed through assignments, `self` attributes, parameters to the arguments at their call sites,
and functions that return a model. All answers are in source order and are computed once per script.
"""

from __future__ import annotations

import libcst as cst

from .analysis import Script, dotted, fact
from .editing import argument

SAME_OBJECT = frozenset(
    {"to", "cuda", "cpu", "float", "double", "half", "train", "eval", "requires_grad_", "apply"}
)
"""Methods of modules that return the module itself."""

DEPTH = 8
"""How many names are followed before a role is given up; real chains have two or three."""


@fact
def values(script: Script, name: cst.CSTNode) -> tuple[cst.CSTNode, ...]:
    """The expressions a name or `self` attribute may be bound to: in its function, then at the call sites
    of its function for a parameter, then at the top level. Tuples are taken apart where both sides are
    tuples; what comes out of a loop or an unpacked call has no value here."""
    wanted = dotted(name)
    if wanted is None:
        return ()
    scope = script.scope(name)
    if wanted.startswith("self."):
        owner = script.class_of(name)
        if owner is None:
            return ()
        found = [
            value
            for method in script.functions(owner)
            for write in script.writes(wanted, method)
            for value in _assigned(write, wanted)
        ]
        return tuple(found)
    found = [value for write in script.writes(wanted, scope) for value in _assigned(write, wanted)]
    if isinstance(scope, cst.FunctionDef):
        found += passed(script, scope, wanted)
        if not found and wanted not in _parameters(scope):
            module = script.file(name).module
            found = [value for write in script.writes(wanted, module) for value in _assigned(write, wanted)]
    return tuple(found)


@fact
def origins(script: Script, expression: cst.CSTNode, depth: int = DEPTH) -> tuple[cst.CSTNode, ...]:
    """The expressions at the end of the names: `model` → the `Net(...)` that built it, through parameters,
    `.to(device)` and factories. An expression that is no name is its own origin."""
    if depth == 0:
        return ()
    if isinstance(expression, (cst.Name, cst.Attribute)):
        found = [o for value in values(script, expression) for o in origins(script, value, depth - 1)]
        return tuple(dict.fromkeys(found)) or (expression,)
    if isinstance(expression, cst.Call):
        if isinstance(expression.func, cst.Attribute) and expression.func.attr.value in SAME_OBJECT:
            return origins(script, expression.func.value, depth - 1)
        wrapped = script.resolve(expression.func) in {
            "torch.compile",
            "torch.nn.DataParallel",
            "torch.jit.script",
        }
        if wrapped and expression.args:
            return origins(script, expression.args[0].value, depth - 1)
        made = script.definition(expression.func)
        if isinstance(made, cst.FunctionDef):
            results = [
                one.value
                for one in script.nodes(cst.Return, made)
                if one.value is not None
                and script.function(one) is made
                and not isinstance(one.value, cst.Tuple)
            ]
            found = [origin for value in results for origin in origins(script, value, depth - 1)]
            return tuple(dict.fromkeys(found)) or (expression,)
    return (expression,)


@fact
def literal_behind(script: Script, expression: cst.CSTNode) -> cst.CSTNode | None:
    """The number an expression surely stands for: itself, or that of the one assignment its name has
    (`LR = 1e-3`), or of the dataclass or class field (`config.lr`), of a parameter's default, of a key of a
    dictionary (`settings["lr"]`), of a `SimpleNamespace` or of an option of the command line (`args.lr`)."""
    if isinstance(expression, (cst.Integer, cst.Float)):
        return expression
    if isinstance(expression, cst.Name):
        found = values(script, expression)
        return literal_behind(script, found[0]) if len(found) == 1 and found[0] is not expression else None
    if isinstance(expression, cst.Subscript):
        return _entry(script, expression)
    if isinstance(expression, cst.Attribute):
        field = expression.attr.value
        for origin in origins(script, expression.value):
            if isinstance(origin, cst.Call) and _is_method(origin, "parse_args"):
                return _option(script, field)
            if isinstance(origin, cst.Call) and script.resolve(origin.func) == "types.SimpleNamespace":
                given = argument(origin, None, field)
                return _number(given.value) if given is not None else None
            owner = script.definition(origin.func if isinstance(origin, cst.Call) else origin)
            if not isinstance(owner, cst.ClassDef) or (isinstance(origin, cst.Call) and origin.args):
                continue
            writes = script.nodes((cst.AnnAssign, cst.Assign), owner)
            for write in writes:
                if script.function(write) is None and script.class_of(write) is owner:
                    for value in _assigned(write, field):
                        if isinstance(value, (cst.Integer, cst.Float)):
                            return value
    return None


def _is_method(call: cst.Call, name: str) -> bool:
    return isinstance(call.func, cst.Attribute) and call.func.attr.value == name


def _text(node: cst.CSTNode) -> str | None:
    """What a plain string literal says."""
    value = node.evaluated_value if isinstance(node, cst.SimpleString) else None
    return value if isinstance(value, str) else None


def _number(value: cst.CSTNode) -> cst.CSTNode | None:
    return value if isinstance(value, (cst.Integer, cst.Float)) else None


def _entry(script: Script, expression: cst.Subscript) -> cst.CSTNode | None:
    """The number that a dictionary was made with under a key, where nothing else is ever stored there."""
    key = _key(expression)
    found = origins(script, expression.value)
    if key is None or len(found) != 1:
        return None
    stored = (
        one.target
        for write in script.assignments()
        for one in (write.targets if isinstance(write, cst.Assign) else [write])
    )
    if any(isinstance(target, cst.Subscript) and _key(target) == key for target in stored):
        return None
    (made,) = found
    numbers: list[cst.CSTNode | None] = []
    if isinstance(made, cst.Dict) and all(isinstance(one, cst.DictElement) for one in made.elements):
        numbers = [
            _number(one.value)
            for one in made.elements
            if isinstance(one, cst.DictElement) and _text(one.key) == key
        ]
    elif isinstance(made, cst.Call) and dotted(made.func) == "dict":
        numbers = [
            _number(one.value) for one in made.args if one.keyword is not None and one.keyword.value == key
        ]
    return numbers[0] if len(numbers) == 1 else None


def _key(node: cst.Subscript) -> str | None:
    if len(node.slice) != 1 or not isinstance(node.slice[0].slice, cst.Index):
        return None
    return _text(node.slice[0].slice.value)


def _option(script: Script, field: str) -> cst.CSTNode | None:
    """The default of a command line option that is called like a field (`--batch-size`: `batch_size`)."""
    found = []
    for call in script.method_calls("add_argument"):
        flags = [_text(arg.value) or "" for arg in call.args if arg.keyword is None]
        if any(one.lstrip("-").replace("-", "_") == field for one in flags):
            default = argument(call, None, "default")
            found.append(_number(default.value) if default is not None else None)
    return found[0] if len(found) == 1 else None


@fact
def passed(script: Script, function: cst.FunctionDef, name: str) -> tuple[cst.CSTNode, ...]:
    """What the calls of a top-level function (or of a class, for its `__init__`) pass for one parameter,
    and its default where a call leaves it out."""
    owner = script.class_of(function)
    if owner is not None and function.name.value != "__init__":
        return ()
    calls = script.callers(owner or function)
    found = (passed_at(script, function, name, call) for call in calls)
    return tuple(dict.fromkeys(one for one in found if one is not None))


def passed_at(script: Script, function: cst.FunctionDef, name: str, call: cst.Call) -> cst.CSTNode | None:
    """What one call passes for one parameter, or the default; None for no such parameter or no value."""
    names = _parameters(function)
    if name not in names:
        return None
    params = function.params
    position = names.index(name) - (script.class_of(function) is not None)
    keyword_only = name in {param.name.value for param in params.kwonly_params}
    arg = argument(call, None if keyword_only else position, name)
    if arg is not None:
        return arg.value
    declared = (*params.posonly_params, *params.params, *params.kwonly_params)
    return next(param.default for param in declared if param.name.value == name)


def _assigned(write: cst.CSTNode, name: str) -> list[cst.CSTNode]:
    """What an assignment binds one name to."""
    if isinstance(write, cst.Assign):
        return [v for t in write.targets for v in _matched(t.target, write.value, name)]
    if isinstance(write, (cst.AnnAssign, cst.NamedExpr)) and write.value is not None:
        return _matched(write.target, write.value, name)
    return []


def _matched(target: cst.CSTNode, value: cst.CSTNode, name: str) -> list[cst.CSTNode]:
    if isinstance(target, (cst.Tuple, cst.List)):
        if not isinstance(value, (cst.Tuple, cst.List)) or len(value.elements) != len(target.elements):
            return []
        pairs = zip(target.elements, value.elements, strict=True)
        return [found for left, right in pairs for found in _matched(left.value, right.value, name)]
    return [value] if dotted(target) == name else []


def _parameters(function: cst.FunctionDef) -> tuple[str, ...]:
    params = function.params
    return tuple(one.name.value for one in (*params.posonly_params, *params.params, *params.kwonly_params))
