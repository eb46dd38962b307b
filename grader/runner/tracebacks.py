"""Tracebacks as plain `python train.py` would print them: without the frames of what runs and observes it."""

from __future__ import annotations

import dis
import os
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
"""Frames of files below it are ours. Not the whole repository: a virtual environment may lie in it."""
_DISPATCH = tuple(
    f"/torch/{name}" for name in ("utils/_python_dispatch.py", "_ops.py", "overrides.py", "_compile.py")
)
"""Frames that are there only because one of ours, further out, intercepts what torch does."""
_MODULE = "/torch/nn/modules/module.py"
_ENGINE = "/torch/autograd/graph.py"

MOST_FRAMES = 50
LONGEST_MESSAGE = 2000
"""Characters of an exception's message in the record."""


def family(error: BaseException) -> Iterator[BaseException]:
    """An exception with its causes, contexts and members, each once."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def went_through_torch(error: BaseException) -> bool:
    """Whether it left a module's forward or the autograd engine on its way."""
    for one in family(error):
        for frame in _links(one.__traceback__):
            code = frame.tb_frame.f_code
            if code.co_filename.endswith(_MODULE) and code.co_name == "_call_impl":
                return True
            if code.co_filename.endswith(_ENGINE) and code.co_name == "_engine_run_backward":
                return True
    return False


def clean(error: BaseException) -> None:
    """Take our frames out of an exception and of all that is chained to it."""
    for one in family(error):
        one.__traceback__ = _without_ours(one.__traceback__)


def _links(link: TracebackType | None) -> Iterator[TracebackType]:
    while link is not None:
        yield link
        link = link.tb_next


def _without_ours(first: TracebackType | None) -> TracebackType | None:
    kept: list[tuple[FrameType, int, int]] = []
    inside = False
    for link in _links(first):
        code = link.tb_frame.f_code
        ours = code.co_filename.startswith(PACKAGE)
        inside = ours or (inside and code.co_filename.endswith(_DISPATCH))
        if code.co_name == "inner" and code.co_filename.endswith(_MODULE) and kept:
            caller = kept[-1][0]
            if not _has_hooks(caller.f_locals.get("self")):
                kept[-1] = (caller, *_call_without_hooks(caller.f_code))
                continue
        if not inside:
            kept.append((link.tb_frame, link.tb_lasti, link.tb_lineno))
    result: TracebackType | None = None
    for frame, instruction, line in reversed(kept):
        result = TracebackType(result, frame, instruction, line)
    return result


def _has_hooks(module: Any) -> bool:
    """Whether a module has hooks of the script's own, so that plain Python takes the longer way too."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name, None) for name in names)


def _call_without_hooks(code: CodeType) -> tuple[int, int]:
    """Instruction and line at which `Module._call_impl` calls `forward` when no hooks are there: its first
    call with `*args, **kwargs`."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "CALL_FUNCTION_EX" and instruction.positions is not None:
            return instruction.offset, instruction.positions.lineno or code.co_firstlineno
    return 0, code.co_firstlineno


def describe(error: BaseException, workspace: str, steps: int) -> dict[str, Any]:
    """The record of the exception that ended a run; files are relative to the workspace or to what holds
    the library they belong to."""
    try:
        message = str(error)
    except Exception:
        message = ""
    frames = [
        {
            "file": _short(link.tb_frame.f_code.co_filename, workspace),
            "line": link.tb_lineno,
            "function": link.tb_frame.f_code.co_name,
        }
        for link in _links(error.__traceback__)
    ]
    return {
        "type": type(error).__name__,
        "message": message.replace(workspace + os.sep, "")[:LONGEST_MESSAGE],
        "frames": frames[-MOST_FRAMES:],
        "steps_before": steps,
    }


def _short(file: str, workspace: str) -> str:
    if file.startswith(workspace + os.sep):
        return file[len(workspace) + 1 :]
    for marker in ("site-packages" + os.sep, "dist-packages" + os.sep):
        if marker in file:
            return file.rsplit(marker, 1)[1]
    return Path(file).name
