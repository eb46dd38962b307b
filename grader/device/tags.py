"""Which tensors count as lying on the accelerator.

The mark is a Python attribute of the untyped storage, so everything that shares memory (views, `.data`,
`detach`, tensors saved for backward) shares it. Tensors without a storage (sparse ones, the wrappers of
`torch.func`) carry the mark themselves.
"""

from __future__ import annotations

from typing import Any

import torch

_storage_of = torch._C.TensorBase.untyped_storage
_MARK = "_on_accelerator"
_PINNED = "_pinned"

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")


def is_accelerated(tensor: torch.Tensor) -> bool:
    """Whether the tensor lies on the simulated accelerator. Needs no mode and dispatches nothing."""
    try:
        return getattr(_storage_of(tensor), _MARK, False)
    except (RuntimeError, ValueError):
        return getattr(tensor, _MARK, False)


def mark(tensor: torch.Tensor, on: bool = True) -> None:
    """Put the tensor, and all that shares its memory, on the accelerator (or take it off)."""
    try:
        storage: Any = _storage_of(tensor)
    except (RuntimeError, ValueError):
        storage = tensor
    if on:
        storage._on_accelerator = True
    elif getattr(storage, _MARK, False):
        storage._on_accelerator = False


def mark_all(value: Any) -> None:
    """Put every tensor of an operator's result (nested lists and tuples) on the accelerator."""
    if isinstance(value, torch.Tensor):
        mark(value)
    elif isinstance(value, (list, tuple)):
        for one in value:
            mark_all(one)


def storage_is_accelerated(storage: Any) -> bool:
    """The same question for an untyped or typed storage."""
    return bool(getattr(getattr(storage, "_untyped_storage", storage), _MARK, False))


def mark_storage(storage: Any, on: bool) -> None:
    """`mark` for an untyped or typed storage."""
    if on or storage_is_accelerated(storage):
        setattr(getattr(storage, "_untyped_storage", storage), _MARK, on)


def is_pinned(tensor: torch.Tensor) -> bool:
    try:
        return bool(getattr(_storage_of(tensor), _PINNED, False))
    except (RuntimeError, ValueError):
        return False


def mark_pinned(tensor: torch.Tensor) -> None:
    setattr(_storage_of(tensor), _PINNED, True)


def device_of(tensor: torch.Tensor) -> torch.device:
    """The device a program sees; `meta` and others stay what they are."""
    return CUDA if is_accelerated(tensor) else real_device(tensor)


def real_device(tensor: torch.Tensor) -> torch.device:
    """Where the memory really is."""
    return torch._C.TensorBase.device.__get__(tensor)


def names_accelerator(device: Any) -> bool:
    """Whether a device argument (None, index, string, `torch.device`) means the accelerator.

    Raises:
        RuntimeError: it names an accelerator that is not there, as CUDA says it.
    """
    if device is None:
        return False
    if isinstance(device, int) and not isinstance(device, bool):
        device = torch.device("cuda", device)
    elif not isinstance(device, torch.device):
        device = torch.device(device)
    if device.type != "cuda":
        return False
    if device.index not in (None, 0):
        raise torch.AcceleratorError("CUDA error: invalid device ordinal")
    return True
