"""Expressions, evaluated in the job's own frames each time a line is about to run."""

from __future__ import annotations

import ast
import os
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import numpy
import torch
from torch import nn

from .attach import FOLDER, finish, frames_of_job, place, run, settings, without_places, write
from .describe import figures, kind, quiet, values
from .watch import forked, guarded, report

FEW = 6
"""Values of a tensor that are shown."""
MOST_PARTS = 8
"""Of a container."""

wanted = settings()
path = os.path.join(FOLDER, wanted["file"])  # noqa: PTH118
line: int = wanted["line"]
rest: set[int] = set()
"""The further lines of the statement that begins there."""
most: int = wanted["longest"]
expressions = [compile(text.strip(), "<expression>", "eval") for text in wanted["expressions"]]
matching: dict[int, tuple[bool, CodeType]] = {}
"""By the code's identity (its hash is made of all its parts); the code itself is kept alive."""


def show(value: Any, depth: int = 2) -> str:
    """A value in one line."""
    if isinstance(value, torch.Tensor):
        return show_tensor(value)
    if isinstance(value, numpy.ndarray):
        try:
            return "array " + show_tensor(torch.from_numpy(numpy.ascontiguousarray(value)))
        except TypeError:
            return f"array {value.shape} {value.dtype}"
    if isinstance(value, nn.Module):
        mode = "training" if value.training else "evaluation"
        count = sum(one.numel() for one in value.parameters())
        return f"{type(value).__name__} in {mode} mode, {count} elements in parameters"
    if type(value) in (list, tuple, set, frozenset, dict):
        return show_container(value, depth)
    if isinstance(value, str | bytes) and len(value) > 400:
        return f"{value[:200]!r}… ({len(value)} long)"
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"an integer of {value.bit_length()} bits"
    return without_places(repr(value))[:500]


def show_container(value: Any, depth: int) -> str:
    if not depth:
        return f"{type(value).__name__} of {len(value)}"
    parts = []
    for count, one in enumerate(value):
        if count == MOST_PARTS:
            parts.append(f"… ({len(value)} in all)")
            break
        key = f"{show(one, 0)}: " if isinstance(value, dict) else ""
        parts.append(key + show(value[one] if isinstance(value, dict) else one, depth - 1))
    left, right = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
    return left + ", ".join(parts) + right


def show_tensor(tensor: torch.Tensor) -> str:
    if tensor.dim() == 0:
        with quiet():
            return f"{tensor.detach().item():.6g} {kind(tensor)}"
    found = figures(tensor)
    parts = [kind(tensor)]
    if tensor.requires_grad:
        parts.append("requires grad")
    with quiet():
        few = values(tensor)[:FEW].tolist()
    if "min" in found and tensor.numel() > FEW:
        parts.append(" ".join(f"{name} {found[name]:.4g}" for name in ("min", "max", "mean", "std")))
    parts += [f"{found[name]} {name}" for name in ("nan", "inf") if found[name]]
    more = ", …" if tensor.numel() > FEW else ""
    return ", ".join(parts) + f" [{', '.join(f'{one:.4g}' for one in few)}{more}]"


def evaluated(code: CodeType, frame: FrameType) -> str:
    try:
        here = dict(frame.f_locals)  # among the globals too, for what a comprehension in the expression needs
        text = show(eval(code, frame.f_globals | here, here))
    except Exception as error:
        text = without_places(f"{type(error).__name__}: {str(error)[:300]}")
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


@contextmanager
def random_kept() -> Iterator[None]:
    """What an expression draws at random is not missing in the job."""
    states = torch.get_rng_state(), numpy.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        numpy.random.set_state(states[1])
        random.setstate(states[2])


def is_wanted(code: CodeType) -> bool:
    found = matching.get(id(code))
    if found is None:
        same = os.path.realpath(code.co_filename) == os.path.realpath(path)
        found = (same and any(number == line for _, _, number in code.co_lines()), code)
        matching[id(code)] = found
    return found[0]


def on_call(frame: FrameType, kind_of: str, _: Any) -> Any:
    return tracer() if is_wanted(frame.f_code) else None


def tracer() -> Any:
    """Follows one frame. A statement of several lines comes back to its first one, which is no new hit."""
    before = 0

    def on_line(frame: FrameType, kind_of: str, _: Any) -> Any:
        nonlocal before
        if kind_of == "line":
            if frame.f_lineno == line and before not in rest and not forked():
                with guarded():
                    hit(frame)
            before = frame.f_lineno
        return on_line

    return on_line


def hit(frame: FrameType) -> None:
    callers = [place(one) for one, _ in zip(frames_of_job(frame.f_back), range(2), strict=False)]
    shown = ["(was being evaluated)"] * len(expressions)
    report["hits"].append({"in": frame.f_code.co_name, "from": callers, "values": shown})
    write(report)
    with random_kept():
        for index, code in enumerate(expressions):
            shown[index] = evaluated(code, frame)
    if len(report["hits"]) >= wanted["hits"]:
        sys.settrace(None)
        finish(report)
    write(report)


def lines_with_code(code: CodeType) -> set[int]:
    found: set[int] = set()
    waiting = [code]
    while waiting:
        one = waiting.pop()
        found.update(number for _, _, number in one.co_lines() if number)
        waiting += [each for each in one.co_consts if isinstance(each, CodeType)]
    return found


def read() -> None:
    """Find out about the line. nearest: itself if something runs there, else the next one where it does (0 if
    there is none); None if the file cannot be compiled."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            tree = ast.parse(file.read(), path)
        found = lines_with_code(compile(tree, path, "exec", dont_inherit=True))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    report["nearest"] = min((one for one in found if one >= line), default=0)
    for one in ast.walk(tree):
        if isinstance(one, ast.stmt) and one.lineno == line and not hasattr(one, "body"):
            rest.update(range(line + 1, (one.end_lineno or line) + 1))


report.update(hits=[], nearest=None)
read()
if report["nearest"] in (line, None):
    threading.settrace(on_call)
    sys.settrace(on_call)
    run(report, wanted["entrypoint"])
else:
    finish(report)
