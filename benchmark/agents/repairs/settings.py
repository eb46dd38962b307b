"""Where the numbers are written that a script is run with."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .job import File, Job, keyword, method, name_of, number


def definition(job: Job, file: File, node: ast.expr) -> tuple[File, ast.expr] | None:
    """Where a number is written that a name, an attribute, an entry or a parameter stands for; the node
    itself if it is a number. None where that is unclear."""
    if number(node) is not None:
        return file, node
    name = _asked(node)
    if not name:
        return None
    found = [(one, value) for one in job.files for value in _written(one, name) if number(value) is not None]
    return found[0] if len(found) == 1 else None


def _asked(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return ""


def _written(file: File, name: str) -> Iterator[ast.expr]:
    """The values that a name is given: by assignment, as a default, as an entry, as an argument."""
    for part in file.nodes:
        if isinstance(part, ast.Assign | ast.AnnAssign):
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            if part.value is not None and name in {name_of(target).split(".")[-1] for target in targets}:
                yield part.value
            for target in targets:
                if isinstance(target, ast.Tuple) and isinstance(part.value, ast.Tuple):
                    together = zip(target.elts, part.value.elts, strict=False)
                    yield from (value for one, value in together if name_of(one).split(".")[-1] == name)
        elif isinstance(part, ast.arguments):
            positional = [*part.posonlyargs, *part.args]
            pairs = [
                *zip(positional[len(positional) - len(part.defaults) :], part.defaults, strict=True),
                *((a, d) for a, d in zip(part.kwonlyargs, part.kw_defaults, strict=True) if d is not None),
            ]
            yield from (value for argument, value in pairs if argument.arg == name)
        elif isinstance(part, ast.Dict):
            for key, value in zip(part.keys, part.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == name:
                    yield value
        elif isinstance(part, ast.Call):
            default = keyword(part, "default")
            if method(part) == "add_argument" and default is not None:
                flags = [one.value for one in part.args if isinstance(one, ast.Constant)]
                if any(str(one).lstrip("-").replace("-", "_") == name for one in flags):
                    yield default.value
            elif method(part)[:1].isupper() or method(part) in ("dict", "namedtuple", "field"):
                given = keyword(part, name)
                if given is not None:
                    yield given.value
