"""`data_leakage`: held-out rows in a split, in a statistic, in what is trained on, or in the choice
of a model."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .job import Edit, File, Finding, Job, calls, method, name_of, receiver
from .parts import Parts, about_held_out, about_training, about_validation, parts_of, targets

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


def find(job: Job) -> Iterator[Finding]:
    for file in job.files:
        yield from _splits(file)
        parts = parts_of(job, file)
        if parts is not None:
            yield from _statistics(file, parts)
            yield from _all_rows(file, parts)
            yield from _whole(job, file, parts)
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
    yield from _from_the_end(file, groups)
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


def _from_the_end(file: File, groups: list[list[ast.expr]]) -> Iterator[Finding]:
    """Parts of which the held-out one is the end, and the other one is all, or reaches into it."""
    for group in groups:
        last = [(one, cut) for one in group if (cut := _slice(one)) and cut[1] and not cut[2]]
        if (
            len(last) != 1
            or len(group) < 2
            or any((_slice(one) or ("", "x", ""))[1] in ("", "0") for one in group)
        ):
            continue
        held, (order, bound, _) = last[0]
        middle = [cut for cut in map(_slice, group) if cut and cut[0] == order and cut[2]]
        for other in group:
            if (
                isinstance(other, ast.Name)
                and other.id == order
                and file.parents[other] is file.parents[held]
            ):
                yield Finding(
                    BUG,
                    0.95,
                    f"The split at {file.path}:{other.lineno} overlaps: the training rows are all of "
                    f"{order}, which contains the held-out rows {ast.unparse(held)}.",
                    (file.append(other, f"[:{middle[0][1] if middle else bound}]"),),
                )


def _assignments(file: File) -> list[ast.stmt]:
    return [one for one in file.nodes if isinstance(one, ast.Assign)]


def _arrays(file: File, parts: Parts) -> set[str]:
    """Names of arrays that hold all rows: those that a part is taken out of."""
    return {
        node.value.id
        for node in file.nodes
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and isinstance(node.slice, ast.Name)
        and node.slice.id in parts.names
        and not about_training(node.value.id)
        and node.value.id not in parts.names
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


def _statistics(file: File, parts: Parts) -> Iterator[Finding]:
    arrays = _arrays(file, parts)
    index, made = parts.train, parts.made
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
        if isinstance(one, ast.Assign) and wanted & {name.id for name in targets(one)}:
            if one is place:
                return []
            needed.insert(0, one)
            wanted |= {name.id for name in ast.walk(one.value) if isinstance(name, ast.Name)}
    text = "\n".join(
        f"{file.indent(place) if number else ''}{file.text(one)}" for number, one in enumerate(needed)
    )
    return [file.before(place, text), *(file.delete(one) for one in needed)]


def _all_rows(file: File, parts: Parts) -> Iterator[Finding]:
    """What is named for training, and holds all rows."""
    arrays, index = _arrays(file, parts), parts.train
    for node in file.nodes:
        if not isinstance(node, ast.Assign) or node is parts.made:
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


def _whole(job: Job, file: File, parts: Parts) -> Iterator[Finding]:
    """Arrays that are handed over as a whole where a part is: to a data set, or where the call next to it
    is given held-out rows of the same array."""
    if calls(file, "Subset", "random_split", "SubsetRandomSampler"):
        return
    arrays = _arrays(file, parts)
    held = {
        (name_of(call.func), one.value.id)
        for call in file.nodes
        if isinstance(call, ast.Call)
        for value in _given(call)
        for one in ast.walk(value)
        if isinstance(one, ast.Subscript)
        and isinstance(one.value, ast.Name)
        and isinstance(one.slice, ast.Name)
        and one.slice.id in parts.names - {parts.train}
    }
    for call in file.nodes:
        if not isinstance(call, ast.Call) or parts.made is None:
            continue
        if file.start(call) < file.start(parts.made) or file.scope(call) is not file.scope(parts.made):
            continue
        whole = [
            one
            for value in _given(call)
            for one in ast.walk(value)
            if isinstance(one, ast.Name) and one.id in arrays and _bare(file, call, one)
        ]
        into_data = name_of(call.func).split(".")[-1] in job.dataset_classes and len(whole) > 1
        fits = method(call) in ("fit", "fit_transform") and len(call.args) == 1
        whole = [one for one in whole if fits or into_data or (name_of(call.func), one.id) in held]
        if not whole or not name_of(call.func) or not (fits or not _taken_apart(file, call, parts)):
            continue
        yield Finding(
            BUG,
            0.9,
            f"{ast.unparse(call)[:60]} at {file.path}:{call.lineno} is given all rows of "
            f"{', '.join(one.id for one in whole)}, not only the training rows {parts.train}, so held-out "
            "rows are trained on.",
            tuple(file.append(one, f"[{parts.train}]") for one in whole),
        )


def _given(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(one.value for one in call.keywords)]


def _bare(file: File, call: ast.Call, name: ast.Name) -> bool:
    """Whether rows of an array reach a call as they are, or by arithmetic."""
    for one in file.above(name):
        if one is call:
            return True
        if not isinstance(one, ast.BinOp | ast.keyword):
            return False
    return False


def _taken_apart(file: File, call: ast.Call, parts: Parts) -> bool:
    """Whether the parts are taken out of what a call gives, or it is no assignment at all."""
    statement = file.statement(call)
    if not isinstance(statement, ast.Assign) or any(about_held_out(one.id) for one in targets(statement)):
        return True
    names = {one.id for one in targets(statement)}
    return any(
        isinstance(one, ast.Subscript)
        and name_of(one.value).split(".")[0] in names
        and isinstance(one.slice, ast.Name)
        and one.slice.id in parts.names
        for one in file.nodes
    )


def _selection(file: File) -> Iterator[Finding]:
    """A validation figure that is computed from test rows."""
    names = {one.id for one in file.nodes if isinstance(one, ast.Name)}
    for node in file.nodes:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name | ast.Tuple):
            continue
        if not any(about_validation(one.id) for one in targets(node)):
            continue
        used = [one for one in ast.walk(node.value) if isinstance(one, ast.Name)]
        if any(about_validation(one.id) for one in used):
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
