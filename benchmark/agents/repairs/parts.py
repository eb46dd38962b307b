"""Which rows are trained on: the names by which a script takes its parts out of arrays."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .job import File, Function, Job, method, name_of

_TRAIN = re.compile(r"train(?!er|able)|(?<![a-z])(?:trn|fit|tr)(?![a-z])")
_HELD = re.compile(
    r"test|held|holdout|hold_out|eval|(?<![a-z])(?:val|valid|validation|dev|tst|heldout)(?![a-z])"
    r"|^val(?!u|s)|(?<!inter)(?<!arri)(?<!retrie)(?<!inte)val(?:id)?$|check|measure|report"
)
_VALIDATION = re.compile(
    r"(?<![a-z])(?:val|valid|validation|dev)(?![a-z])|^valid|^val(?!u|s|ley)"
    r"|(?<!inter)(?<!arri)(?<!retrie)(?<!e)(?:val|valid)$"
)
_NO_ROWS = re.compile(r"constrain|restrain|strainer")


def words(name: str) -> str:
    """`idxTrain` and `IDX_TRAIN` as `idx train`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("_", " ")


def about_training(name: str) -> bool:
    """Whether a name speaks of training rows: `idx_train`, `trainX`, `rowstrain`."""
    text = words(name)
    return bool(_TRAIN.search(text)) and not _NO_ROWS.search(text)


def about_held_out(name: str) -> bool:
    return bool(_HELD.search(words(name)))


def about_validation(name: str) -> bool:
    return bool(_VALIDATION.search(words(name)))


@dataclass(frozen=True)
class Parts:
    """train: by which training rows are taken out of arrays. names: of all parts. made: where."""

    train: str
    names: frozenset[str]
    made: ast.Assign | None


def targets(node: ast.Assign) -> list[ast.Name]:
    return [one for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)]


def defined(file: File, name: str) -> ast.Assign | None:
    return next(
        (
            one
            for one in file.nodes
            if isinstance(one, ast.Assign) and any(each.id == name for each in targets(one))
        ),
        None,
    )


def parts_of(job: Job, file: File) -> Parts | None:
    """The parts of a file; None where no name takes the training rows."""
    used = [
        node.slice.id
        for node in file.nodes
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name)
    ]
    named = [one for one in used if about_training(one)]
    if named:
        return _with(job, file, max(sorted(set(named)), key=named.count))
    for pairs in _groups(job, file):
        if not any(name in used for name, _ in pairs):
            continue
        train = _training(file, pairs)
        if train:
            return _with(job, file, train)
    return None


def _with(job: Job, file: File, train: str) -> Parts:
    names = {train}
    for pairs in _groups(job, file):
        here = {name for name, _ in pairs}
        cut = {name_of(one) for _, value in pairs for one in _cut(value)}
        if (here | cut) & names:
            names |= here
    return Parts(train, frozenset(names), defined(file, train))


def _cut(value: ast.expr | None) -> list[ast.expr]:
    """What a part is cut from: `held` of `held[:n]`, and of `np.split(held, …)`."""
    if isinstance(value, ast.Subscript):
        return [value.value]
    return value.args[:1] if isinstance(value, ast.Call) else []


def _groups(job: Job, file: File) -> Iterator[list[tuple[str, ast.expr | None]]]:
    """Names that are assigned together, with their values where these are known."""
    done: set[int] = set()
    for node in file.nodes:
        if not isinstance(node, ast.Assign):
            continue
        target = node.targets[0]
        if isinstance(target, ast.Tuple) and 2 <= len(target.elts) <= 3:
            names = [name_of(one) for one in target.elts]
            if all(names):
                yield list(zip(names, _values(job, node.value, len(names)), strict=True))
        elif isinstance(target, ast.Name) and (other := _complement(node.value)):
            yield [(target.id, node.value), (other, None)]
        elif isinstance(target, ast.Name) and id(file.block(node)) not in done:
            done.add(id(file.block(node)))
            cuts: dict[str, list[tuple[str, ast.expr | None]]] = {}
            for one in file.block(node):
                if (
                    isinstance(one, ast.Assign)
                    and isinstance(one.targets[0], ast.Name)
                    and isinstance(one.value, ast.Subscript)
                    and isinstance(one.value.slice, ast.Slice)
                ):
                    cuts.setdefault(ast.unparse(one.value.value), []).append((one.targets[0].id, one.value))
            yield from (pairs for pairs in cuts.values() if len(pairs) > 1)


def _complement(node: ast.expr) -> str:
    """`test` of `~test`, and of `~test & known`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        return _complement(node.left) or _complement(node.right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return name_of(node.operand)
    if isinstance(node, ast.Call) and name_of(node.func).endswith("logical_not") and node.args:
        return name_of(node.args[0])
    return ""


def _values(job: Job, value: ast.expr, count: int) -> list[ast.expr | None]:
    """The parts of a tuple, or of the tuple that a function of the job returns."""
    if isinstance(value, ast.Call):
        made = name_of(value.func).split(".")[-1]
        for node in (node for file in job.files for node in file.nodes):
            if isinstance(node, Function) and node.name == made:
                last = node.body[-1]
                if isinstance(last, ast.Return) and isinstance(last.value, ast.Tuple):
                    value = last.value
                    break
    if isinstance(value, ast.Tuple) and len(value.elts) == count:
        return list(value.elts)
    if isinstance(value, ast.Call) and method(value) in ("split", "array_split", "tensor_split"):
        return [value] * count
    return [None] * count


def _training(file: File, pairs: list[tuple[str, ast.expr | None]]) -> str:
    """Which of the parts that are made together is trained on: by name, else by what it is cut from."""
    named = [name for name, _ in pairs if about_training(name)]
    if named:
        return named[0] if len(named) == 1 else ""
    by_slices = all(isinstance(one, ast.Subscript) and isinstance(one.slice, ast.Slice) for _, one in pairs)
    inverted = pairs[0][1] is not None and bool(_complement(pairs[0][1]))
    if not by_slices and not inverted:
        return ""
    left = [name for name, _ in pairs if not about_held_out(name)]
    if len(left) == 1:
        return left[0]
    if inverted:
        return pairs[0][0]
    ends = {
        (one.slice.lower is None, one.slice.upper is None): (name, one)  # type: ignore[union-attr]
        for name, one in pairs
    }
    first, rest = ends.get((True, False)), ends.get((False, True))
    if first is None or rest is None:
        return ""
    bound = first[1].slice.upper  # type: ignore[union-attr]
    made = defined(file, bound.id) if isinstance(bound, ast.Name) else None
    text = ast.unparse(made.value if made is not None else bound)
    return first[0] if re.search(r"\b1(\.0)? - |0\.[6-9]", text) else rest[0]
