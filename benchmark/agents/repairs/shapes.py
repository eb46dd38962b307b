"""`shape_mismatch`: layers that do not fit together, by reading, and by what the crash says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from . import shape_places
from .job import File, Finding, Function, Job, calls, keyword, method, name_of, number, receiver
from .parts import about_training

BUG = "shape_mismatch"
MAKERS = {"Linear": (0, 1), "Conv1d": (0, 1), "Conv2d": (0, 1), "GRU": (0, 1), "LSTM": (0, 1), "RNN": (0, 1)}
"""Layer → where in its arguments the sizes of its input and output stand."""
NORMS = frozenset(["BatchNorm1d", "BatchNorm2d", "LayerNorm", "InstanceNorm1d", "InstanceNorm2d"])
RECURRENT = ("GRU", "LSTM", "RNN")
NAMED = {
    "in_features": 0,
    "in_channels": 0,
    "input_size": 0,
    "out_features": 1,
    "out_channels": 1,
    "hidden_size": 1,
    "num_features": 0,
    "normalized_shape": 0,
}

LOSSES = frozenset(("MSELoss", "mse_loss", "SmoothL1", "smooth_l1", "HuberLoss", "L1Loss", "huber_loss"))
LOSSES |= frozenset(("BCEWithLogitsLoss", "BCELoss", "binary_cross_entropy"))
"""Losses that compare number by number."""


def find(job: Job) -> Iterator[Finding]:
    """What is noticed without running."""
    for file in job.files:
        yield from shape_places.find(job, file)
        yield from _chains(file)
        yield from _axes(job, file)
        yield from _states(file)
        yield from _outputs(job, file)


def argument(call: ast.Call, position: int) -> ast.expr | None:
    if len(call.args) > position:
        return call.args[position]
    return next((one.value for one in call.keywords if NAMED.get(one.arg or "") == position), None)


def _layers(file: File, scope: ast.AST) -> list[ast.Call]:
    return list(calls(file, *MAKERS, *NORMS, within=scope))


def _chains(file: File) -> Iterator[Finding]:
    """A layer whose size is not the one that the layer before it gives, both as they are written."""
    for function in file.nodes:
        if not isinstance(function, Function):
            continue
        before: ast.Call | None = None
        layers = _layers(file, function)
        for layer in layers:
            kind = method(layer)
            if before is not None:
                given, taken = argument(before, 1), argument(layer, 0)
                gap = _flattened_between(file, before, layer)
                if given is not None and taken is not None:
                    a, b = ast.unparse(given), ast.unparse(taken)
                    if kind in NORMS:
                        sizes = {ast.unparse(size) for one in layers if (size := argument(one, 1))}
                        if a != b and b not in sizes:
                            own = [
                                one
                                for one in sorted(sizes)
                                if re.search(rf"(?<!\w){re.escape(one)}(?!\w)", b)
                            ]
                            better = own[0] if len(own) == 1 else file.text(given)
                            yield _fits(file, layer, taken, better, a, b)
                    elif kind == "Linear" and gap:
                        if not re.search(rf"(?<!\w){re.escape(a)}(?!\w)", b) and number(taken) is None:
                            factors = b.split(" * ")
                            yield _fits(
                                file,
                                layer,
                                taken,
                                " * ".join([a if " " not in a or "*" in a else f"({a})", *factors[-2:]]),
                                f"{a} × area",
                                b,
                            )
                    elif re.fullmatch(rf"\d+ \* {re.escape(a)}", b) and _side_by_side(file, function):
                        pass
                    elif (a != b and kind == method(before) and not _depends_on_input(function, b)) or (
                        a != b and method(before) in RECURRENT and kind == "Linear"
                    ):
                        out = argument(layer, 1)
                        swapped = _swapped(file, layer, f"the layer before it gives {a}")
                        if out is not None and ast.unparse(out) == a and swapped is not None:
                            yield swapped
                            continue
                        yield _fits(file, layer, taken, file.text(given), a, b)
            if kind in MAKERS:
                before = layer


def _side_by_side(file: File, function: Function) -> bool:
    """Whether the class of a function joins tensors: then a layer may take several of what others give."""
    owner = file.owner(function)
    return owner is not None and bool(calls(file, "cat", "concat", "hstack", within=owner))


OF_INPUT = re.compile(r"column|feature|channel|input|sensor|(^|_)in(_|$)")


def _depends_on_input(function: Function, text: str) -> bool:
    """Whether a size is a parameter that tells of the input: several branches may take it."""
    names = [one.arg for one in function.args.args if one.arg != "self"]
    return text in names and (text == names[0] or OF_INPUT.search(text) is not None)


def _swapped(file: File, layer: ast.Call, where: str) -> Finding | None:
    """The sizes of a layer, the one in the place of the other."""
    taken, given = argument(layer, 0), argument(layer, 1)
    if taken is None or given is None:
        return None
    return Finding(
        BUG,
        0.9,
        f"The sizes of {ast.unparse(layer)[:60]} at {file.path}:{layer.lineno} are swapped: {where}.",
        (file.replace(taken, file.text(given)), file.replace(given, file.text(taken))),
    )


def _fits(file: File, layer: ast.Call, taken: ast.expr, better: str, a: str, b: str) -> Finding:
    return Finding(
        BUG,
        0.9,
        f"{ast.unparse(layer)[:60]} at {file.path}:{layer.lineno} expects {b} features, the layer before it "
        f"gives {a}.",
        (file.replace(taken, better),),
    )


def _flattened_between(file: File, before: ast.Call, layer: ast.Call) -> bool:
    return method(before).startswith("Conv") and method(layer) == "Linear"


def _axes(job: Job, file: File) -> Iterator[Finding]:
    """A model whose input size is the number of rows."""
    for call in file.nodes:
        if not isinstance(call, ast.Call) or name_of(call.func) not in job.module_classes:
            continue
        for value in [*call.args, *(one.value for one in call.keywords)]:
            axis = None
            if (
                isinstance(value, ast.Subscript)
                and isinstance(value.value, ast.Attribute)
                and value.value.attr == "shape"
            ):
                axis, node = value.slice, value.slice
            elif isinstance(value, ast.Call) and method(value) == "size" and value.args:
                axis, node = value.args[0], value.args[0]
            elif isinstance(value, ast.Call) and method(value) == "len" and _has_columns(file, value.args):
                yield _axis(file, call, value, f"{file.text(value.args[0])}.shape[-1]")
                continue
            if axis is not None and number(axis) in (0.0,):
                yield _axis(file, call, node, "-1")


def _has_columns(file: File, given: list[ast.expr]) -> bool:
    """Whether something is rows and columns: the model is told the length of a table, not of a list."""
    name = name_of(given[0]) if given else ""
    return (
        bool(name)
        and any(
            isinstance(one, ast.Attribute) and one.attr == "shape" and name_of(one.value) == name
            for one in file.nodes
        )
    ) or about_training(name)


def _axis(file: File, call: ast.Call, node: ast.expr, better: str) -> Finding:
    return Finding(
        BUG,
        0.9,
        f"The model's input size is read from the wrong axis of the data at {file.path}:{call.lineno}: the "
        "number of rows.",
        (file.replace(node, better),),
    )


def _states(file: File) -> Iterator[Finding]:
    """First states of recurrent layers: layers, batch, width."""
    recurrent = calls(file, *RECURRENT)
    if not recurrent:
        return
    layer = recurrent[0]
    owner = file.owner(layer)
    if owner is None:
        return
    width = argument(layer, 1)
    held = _attribute_of(owner, width)
    for call in calls(file, "zeros", "randn", within=owner):
        if file.scope(call) is file.scope(layer) or not name_of(call.func).startswith("torch."):
            continue
        sizes = (
            call.args[0].elts if call.args and isinstance(call.args[0], ast.Tuple | ast.List) else call.args
        )
        texts = [ast.unparse(one) for one in sizes]
        batch = next(
            (one for one in texts if ".size(0)" in one or ".shape[0]" in one or one.startswith("len(")), ""
        )
        if not sizes or not batch or not held:
            continue
        right = ["1", batch, held]
        if texts == right or (
            len(texts) == 3 and texts[0] != "1" and number(sizes[0]) is None and texts[1:] == right[1:]
        ):
            continue
        first, last = sizes[0], sizes[-1]
        from .job import Edit

        yield Finding(
            BUG,
            0.9,
            f"The first state of the recurrent layer at {file.path}:{call.lineno} has the shape "
            f"({', '.join(texts)}), "
            f"expected (1, {batch}, {held}).",
            (Edit(file.path, file.start(first), file.end(last), ", ".join(right)),),
        )
    batch_first = keyword(layer, "batch_first")
    text = ast.unparse(owner)
    if batch_first is None and re.search(r"\[:, -1\]|\[:, -1, :\]|\.size\(0\)|\.shape\[0\]", text):
        values = [*layer.args, *(one.value for one in layer.keywords)]
        yield Finding(
            BUG,
            0.85,
            f"The recurrent layer at {file.path}:{layer.lineno} lacks batch_first=True: it takes the batch "
            "for the time axis.",
            (file.append(values[-1], ", batch_first=True"),),
        )


def _attribute_of(owner: ast.ClassDef, width: ast.expr | None) -> str:
    """`self.hidden` where `self.hidden = hidden` and the layer is `hidden` wide."""
    if width is None:
        return ""
    text = ast.unparse(width)
    if text.startswith("self.") or number(width) is not None:
        return text
    for node in ast.walk(owner):
        if (
            isinstance(node, ast.Assign)
            and ast.unparse(node.value) == text
            and name_of(node.targets[0]).startswith("self.")
        ):
            return name_of(node.targets[0])
    return ""


def _outputs(job: Job, file: File) -> Iterator[Finding]:
    """Predictions with a last axis of one, against targets without it."""
    whole = "\n".join(job.sources.values())
    if not any(word in whole for word in LOSSES):
        return
    heads = {
        name_of(node.targets[0])
        for node in file.nodes
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and method(node.value) == "Linear"
        and number(argument(node.value, 1)) == 1.0
    }
    unsqueezed = [
        one
        for one in calls(file, "unsqueeze")
        if file.owner(one) is None and one.args and number(one.args[0]) in (1.0, -1.0)
    ]
    squeezed = False
    for function in file.nodes:
        if not (isinstance(function, Function) and function.name == "forward"):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.Return) or node.value is None:
                continue
            text = ast.unparse(node.value)
            squeezed = squeezed or any(
                word in text
                for word in (
                    ".squeeze(",
                    ".flatten(",
                    "[:, 0]",
                    "[..., 0]",
                    ".view(-1)",
                    ".reshape(-1)",
                    ".select(",
                )
            )
            bare = isinstance(node.value, ast.Call) and name_of(node.value.func) in heads
            if bare and not unsqueezed:
                yield Finding(
                    BUG,
                    0.85,
                    f"The prediction keeps a last axis of one at {file.path}:{node.lineno} (no squeeze), so "
                    "the loss "
                    "broadcasts it against all targets.",
                    (file.append(node.value, ".squeeze(-1)"),),
                )
            for part in ast.walk(node.value):
                if isinstance(part, ast.Subscript) and ast.unparse(part.slice) in (
                    "(slice(None), slice(0, 1))",
                ):
                    continue
                if isinstance(part, ast.Subscript) and re.search(
                    r"\[(:|\.\.\.), (:1|0:1|-1:)\]$", ast.unparse(part)
                ):
                    text = re.sub(r"\[(:|\.\.\.), (:1|0:1|-1:)\]$", r"[\1, 0]", ast.unparse(part))
                    yield Finding(
                        BUG,
                        0.85,
                        f"A slice keeps an axis of one at {file.path}:{node.lineno}, so the loss broadcasts.",
                        (file.replace(part, text),),
                    )
    if squeezed:
        for call in unsqueezed:
            inner = receiver(call)
            if inner is not None:
                yield Finding(
                    BUG,
                    0.85,
                    f"The target gets an axis at {file.path}:{call.lineno} that the prediction does not "
                    "have, so the loss "
                    "broadcasts.",
                    (file.replace(call, file.text(inner)),),
                )
