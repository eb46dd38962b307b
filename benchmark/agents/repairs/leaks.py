"""`data_leakage`: held-out rows in a split, in a statistic, in what is trained on, or in the choice
of a model."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .job import Edit, File, Finding, Job, about_training, method, name_of, receiver

BUG = "data_leakage"
STATISTICS = frozenset(
    [
        "mean",
        "std",
        "var",
        "median",
        "quantile",
        "percentile",
        "nanmean",
        "nanstd",
        "nanmedian",
        "nanquantile",
        "std_mean",
        "var_mean",
        "average",
    ]
)
EXTREMES = frozenset(["min", "max", "amin", "amax", "nanmin", "nanmax", "aminmax"])
PASSING = frozenset(
    [
        "to",
        "float",
        "double",
        "astype",
        "cpu",
        "numpy",
        "cuda",
        "reshape",
        "view",
        "flatten",
        "clone",
        "copy",
        "contiguous",
    ]
)
VALIDATION = re.compile(r"(?<![a-z])(val|valid|validation|dev)(?![a-z])", re.IGNORECASE)


def find(job: Job) -> Iterator[Finding]:
    for file in job.files:
        yield from _splits(file)
        index = _training_index(file)
        if index:
            yield from _statistics(file, index)
            yield from _all_rows(file, index)
        yield from _selection(file)


def _slice(node: ast.expr) -> tuple[str, str, str] | None:
    """Of `a[b:c]`: the three texts; an empty one where a bound is missing."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice) and node.slice.step is None:
        lower = ast.unparse(node.slice.lower) if node.slice.lower else ""
        upper = ast.unparse(node.slice.upper) if node.slice.upper else ""
        return ast.unparse(node.value), lower, upper
    return None


def _splits(file: File) -> Iterator[Finding]:
    """Parts of one order that overlap."""
    groups: list[list[ast.expr]] = [
        list(node.elts)
        for node in file.nodes
        if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load)
    ]
    for block in {id(one): one for one in map(file.block, _assignments(file))}.values():
        values = [one.value for one in block if isinstance(one, ast.Assign)]
        groups.append([value for value in values if _slice(value) or isinstance(value, ast.Name)])
    done: set[int] = set()
    for group in groups:
        for held in group:
            found = _slice(held)
            if found is None or (found[1] not in ("", "0") or not found[2]):
                continue
            order, _, bound = found
            others = [one for one in group if one is not held]
            middle = [s for s in map(_slice, others) if s and s[0] == order and s[1] and s[2]]
            last = middle[-1][2] if middle else bound
            for other in others:
                whole = ast.unparse(other) == order and isinstance(other, ast.Name)
                part = _slice(other)
                wrong = part is not None and part[0] == order and part[1] != last and not part[2]
                if (whole or wrong) and id(other) not in done:
                    done.add(id(other))
                    yield Finding(
                        BUG,
                        0.95 if isinstance(file.parents.get(held), ast.Tuple) or wrong else 0.7,
                        f"The split at {file.path}:{other.lineno} overlaps: the training rows are "
                        f"{ast.unparse(other)}, which contains held-out rows of {ast.unparse(held)}, so the "
                        "model is "
                        "trained on the rows it is evaluated on.",
                        (file.replace(other, f"{order}[{last}:]"),),
                    )


def _assignments(file: File) -> list[ast.stmt]:
    return [one for one in file.nodes if isinstance(one, ast.Assign)]


def _targets(node: ast.Assign) -> list[ast.Name]:
    return [one for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)]


def _training_index(file: File) -> str:
    """The name by which training rows are taken out of arrays."""
    used = [
        node.slice.id
        for node in file.nodes
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Name)
        and about_training(node.slice.id)
    ]
    if used:
        return max(sorted(set(used)), key=used.count)
    together = [
        one.id
        for node in file.nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)
        for one in _targets(node)
        if about_training(one.id) and len(_targets(node)) in (2, 3)
    ]
    return together[0] if together else ""


def _defined(file: File, name: str) -> ast.Assign | None:
    return next(
        (
            one
            for one in file.nodes
            if isinstance(one, ast.Assign) and any(t.id == name for t in _targets(one))
        ),
        None,
    )


def _arrays(file: File, index: str) -> set[str]:
    """Names of arrays that hold all rows: those that are indexed by the training index, or by one of the
    parts that were made together with it."""
    made = _defined(file, index)
    parts = {index} | ({one.id for one in _targets(made)} if made else set())
    return {
        node.value.id
        for node in file.nodes
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and isinstance(node.slice, ast.Name)
        and node.slice.id in parts
        and not about_training(node.value.id)
    }


def _base(node: ast.expr) -> ast.expr:
    """What a chain of conversions begins with."""
    while True:
        if isinstance(node, ast.Call) and method(node) in PASSING and receiver(node) is not None:
            node = receiver(node)  # type: ignore[assignment]
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple | ast.Slice):
            node = node.value
        else:
            return node


def _statistics(file: File, index: str) -> Iterator[Finding]:
    arrays = _arrays(file, index)
    made = _defined(file, index)
    for call in file.nodes:
        if not isinstance(call, ast.Call) or method(call) not in STATISTICS | EXTREMES:
            continue
        along = bool(call.keywords) or (receiver(call) is not None and bool(call.args))
        if method(call) in EXTREMES and not along:
            continue
        owner = receiver(call)
        direct = owner is not None and name_of(owner) not in ("np", "numpy", "torch")
        subject = owner if direct else call.args[0] if call.args else None
        if subject is None:
            continue
        base = _base(subject)
        if not isinstance(base, ast.Name) or base.id not in arrays:
            continue
        statement = file.statement(call)
        if not isinstance(statement, ast.Assign):
            continue
        edits: list[Edit] = [file.append(base, f"[{index}]")]
        if made is not None and file.start(made) > file.start(statement):
            moved = _moved(file, made, statement)
            if not moved:
                continue
            edits += moved
        yield Finding(
            BUG,
            0.9,
            f"The statistic at {file.path}:{statement.lineno} ({ast.unparse(call)[:60]}) is computed from "
            "all rows, "
            f"held-out ones too, before or without the split; only the training rows {index} may be used to "
            "normalise.",
            tuple(edits),
        )


def _moved(file: File, made: ast.Assign, place: ast.stmt) -> list[Edit]:
    """Edits that put the split, and what it needs, in front of a statement of the same block."""
    block = file.block(made)
    if place not in block:
        return []
    needed, wanted = [made], {one.id for one in ast.walk(made.value) if isinstance(one, ast.Name)}
    for one in reversed(block[block.index(place) : block.index(made)]):
        if isinstance(one, ast.Assign) and wanted & {name.id for name in _targets(one)}:
            if one is place:
                return []
            needed.insert(0, one)
            wanted |= {name.id for name in ast.walk(one.value) if isinstance(name, ast.Name)}
    text = "\n".join(
        f"{file.indent(place) if number else ''}{file.text(one)}" for number, one in enumerate(needed)
    )
    return [file.before(place, text), *(file.delete(one) for one in needed)]


def _all_rows(file: File, index: str) -> Iterator[Finding]:
    """What is named for training, and holds all rows."""
    arrays = _arrays(file, index)
    for node in file.nodes:
        if not isinstance(node, ast.Assign) or node is _defined(file, index):
            continue
        pairs: list[tuple[str, ast.expr]] = []
        target = node.targets[0]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = [(name_of(t), v) for t, v in zip(target.elts, node.value.elts, strict=False)]
        elif isinstance(target, ast.Name):
            pairs = [(target.id, node.value)]
        for name, value in pairs:
            if not about_training(name) or re.search(
                r"loss|acc|num|^n_|size|count|score", name, re.IGNORECASE
            ):
                continue
            for one in ast.walk(value):
                if not isinstance(one, ast.Name) or one.id not in arrays:
                    continue
                parent = file.parents[one]
                if isinstance(parent, ast.Attribute) and parent.attr in ("shape", "size"):
                    continue
                if isinstance(parent, ast.Subscript) and parent.value is one:
                    continue
                if isinstance(parent, ast.Call) and method(parent) == "len":
                    continue
                yield Finding(
                    BUG,
                    0.9,
                    f"{name} at {file.path}:{node.lineno} holds all rows of {one.id}, not only the training "
                    "rows "
                    f"{index}, so the model is trained on held-out rows.",
                    (file.append(one, f"[{index}]"),),
                )


def _selection(file: File) -> Iterator[Finding]:
    """A validation figure that is computed from test rows."""
    names = {one.id for one in file.nodes if isinstance(one, ast.Name)}
    for node in file.nodes:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name | ast.Tuple):
            continue
        if not any(VALIDATION.search(one.id.replace("_", " ")) for one in _targets(node)):
            continue
        used = [one for one in ast.walk(node.value) if isinstance(one, ast.Name)]
        if any(VALIDATION.search(one.id.replace("_", " ")) for one in used):
            continue
        edits = []
        for one in used:
            for word in ("val", "valid", "dev", "validation"):
                other = re.sub(r"test", word, one.id)
                if other != one.id and other in names:
                    edits.append(file.replace(one, other))
                    break
        if edits and file.loop(node) is not None:
            yield Finding(
                BUG,
                0.9,
                f"The best epoch is selected at {file.path}:{node.lineno} by the loss on the test rows "
                "instead of the "
                "validation rows, so the test rows choose the model that is kept.",
                tuple(edits),
            )
