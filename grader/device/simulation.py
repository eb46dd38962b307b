"""Switching the simulated accelerator on and off."""

from __future__ import annotations

import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch._dynamo import trace_rules
from torch.utils._device import _device_constructors

from . import (
    backward,
    cuda_api,
    factories,
    generators,
    loading,
    mode,
    optimizers,
    recurrent,
    storages,
    tensors,
)
from .patching import Patches
from .state import flags

_HERE = str(Path(__file__).parent)


def without_own_frames(frames: types.TracebackType | None) -> types.TracebackType | None:
    """The same traceback without the simulation's frames: what a program would see on a real device."""
    kept = []
    while frames is not None:
        if not frames.tb_frame.f_code.co_filename.startswith(_HERE):
            kept.append(frames)
        frames = frames.tb_next
    result = None
    for one in reversed(kept):
        result = types.TracebackType(result, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return result


def _clean(error: BaseException | None) -> None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = without_own_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _patch_tracebacks(patches: Patches) -> None:
    hook, walk = sys.excepthook, traceback.walk_tb
    kind = traceback.TracebackException
    make = kind.__init__

    def excepthook(cls: Any, error: Any, frames: Any) -> None:
        _clean(error)
        hook(cls, error, without_own_frames(frames))

    def __init__(self: Any, exc_type: Any, exc_value: Any, exc_traceback: Any, **kwargs: Any) -> None:
        make(self, exc_type, exc_value, without_own_frames(exc_traceback), **kwargs)

    def walk_tb(frames: Any) -> Iterator[Any]:
        return walk(without_own_frames(frames))

    patches.set(sys, "excepthook", excepthook)
    patches.set(kind, "__init__", __init__)
    patches.set(traceback, "walk_tb", walk_tb)


def _start(shifted: bool = False) -> tuple[Patches, mode.AcceleratorMode]:
    # Both are built from torch's own functions when first needed, and then kept: not from replaced ones.
    trace_rules.get_torch_obj_rule_map()
    _device_constructors()
    patches, dispatch = Patches(), mode.AcceleratorMode()  # type: ignore[no-untyped-call]
    mode.set_shifted(shifted)
    flags.python_in_backward = False
    try:
        parts = (cuda_api, generators, storages, tensors, factories, recurrent, backward, loading, optimizers)
        for part in parts:
            part.patch(patches)
        mode.patch(patches, dispatch)
        _patch_tracebacks(patches)
    except BaseException:
        patches.restore()
        raise
    return patches, dispatch


@contextmanager
def simulated_accelerator() -> Iterator[Patches]:
    """Inside, this process has one accelerator, `cuda:0`.

    Yields the attributes that are replaced. Not reentrant. Threads started inside take part.
    """
    fastpath = torch.backends.mha.get_fastpath_enabled()
    patches, dispatch = _start()
    # The fused attention of `eval()` rounds differently and is skipped when a mode is on.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with dispatch:
            yield patches
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        patches.restore()


def install(*, shifted: bool = False) -> None:
    """Give this process an accelerator for good (for a forked child, before its job runs).

    shifted: products and convolutions on the accelerator come out larger by `mode.SHIFT`, so that a job's
    results tell whether it computed there. Work on the CPU stays as it is.
    """
    _, dispatch = _start(shifted)
    torch.backends.mha.set_fastpath_enabled(False)
    dispatch.__enter__()  # type: ignore[no-untyped-call]
