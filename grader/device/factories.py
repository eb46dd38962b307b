"""Functions that make tensors, and composites that make helpers of their own.

Most factories reach the dispatch mode with their device and need nothing here but the translation of a
device index. `tensor`, `as_tensor` and `asarray` copy in C++ before a mode can see it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from .patching import Patches
from .state import alone, unobserved
from .tags import is_accelerated, mark, mark_all, names_accelerator
from .tensors import as_device, move

Tensor = torch.Tensor

_INDEXED = """
arange bartlett_window blackman_window empty empty_permuted empty_strided eye full hamming_window
hann_window kaiser_window linspace logspace ones rand randint randn randperm range scalar_tensor
tril_indices triu_indices zeros empty_like full_like ones_like rand_like randint_like randn_like
zeros_like
"""

_COMPOSITES = (
    (torch.nn.functional, "one_hot"),
    (torch.nn.functional, "scaled_dot_product_attention"),  # makes its causal mask
    (torch, "combinations"),
    (torch, "vander"),
    (torch, "quantile"),
    (torch, "nanquantile"),
    (Tensor, "quantile"),
    (Tensor, "nanquantile"),
    (torch, "cov"),
    (torch, "corrcoef"),
    (torch, "block_diag"),
    (torch, "tensordot"),
    (torch, "ctc_loss"),
    (torch.sparse, "mm"),
    (torch._C._nn, "pad_sequence"),
)
"""Composites that make tensors with their operand's options in C++: the mode would see a plain CPU factory.
They are run unobserved where all operands agree."""


def _default_is_accelerated() -> bool:
    if torch._C._len_torch_function_stack() == 0:
        return False
    stack: Any = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    for mode in reversed(stack):
        if isinstance(mode, DeviceContext):
            return bool(mode.device.type == "cuda")
    return False


def _with_index(original: Callable[..., Any]) -> Callable[..., Any]:
    def factory(*args: Any, **kwargs: Any) -> Any:
        device = kwargs.get("device")
        if isinstance(device, int):
            kwargs["device"] = as_device(device)
        return original(*args, **kwargs)

    return _named(factory, original)


def _tensor(original: Callable[..., Any]) -> Callable[..., Any]:
    def tensor(data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
        device = as_device(device)
        if device is not None and torch.device(device).type not in ("cpu", "cuda"):
            return original(data, device=device, **kwargs)  # type: ignore[no-any-return]
        if device is not None:
            accelerated = names_accelerator(device)
        elif isinstance(data, Tensor):
            accelerated = is_accelerated(data)
        else:
            accelerated = _default_is_accelerated()
        pinned = kwargs.pop("pin_memory", False)
        with unobserved():
            made: Tensor = original(data, device="cpu", **kwargs)
        mark(made, accelerated)
        return made.pin_memory() if pinned else made

    return _named(tensor, original)


def _as_tensor(original: Callable[..., Any]) -> Callable[..., Any]:
    def as_tensor(data: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Tensor:
        device = as_device(device)
        if device is not None and torch.device(device).type not in ("cpu", "cuda"):
            return original(data, dtype=dtype, device=device, **kwargs)  # type: ignore[no-any-return]
        if isinstance(data, Tensor):
            accelerated = is_accelerated(data) if device is None else names_accelerator(device)
            moved = move(data, accelerated, dtype, bool(kwargs.pop("copy", False)), None)
            return moved.requires_grad_(True) if kwargs.get("requires_grad") else moved
        accelerated = _default_is_accelerated() if device is None else names_accelerator(device)
        made: Tensor = original(data, dtype=dtype, device="cpu", **kwargs)
        if not accelerated:
            return made
        # What shares memory with a numpy array stays on the CPU: the accelerator gets a copy.
        needs_grad = made.requires_grad
        return move(made.detach(), True, None, False, None).requires_grad_(needs_grad)

    return _named(as_tensor, original)


def _composite(original: Callable[..., Any]) -> Callable[..., Any]:
    def composite(*args: Any, **kwargs: Any) -> Any:
        found = {is_accelerated(one) for one in _tensors((*args, *kwargs.values()))}
        if found != {True} or not alone():
            return original(*args, **kwargs)
        with unobserved():
            out = original(*args, **kwargs)
        mark_all(out)
        return out

    return _named(composite, original)


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found


def _named(wrapper: Callable[..., Any], original: Any) -> Callable[..., Any]:
    wrapper.__name__ = wrapper.__qualname__ = original.__name__
    wrapper.__doc__ = original.__doc__
    return wrapper


def patch(patches: Patches) -> None:
    for name in _INDEXED.split():
        patches.set(torch, name, _with_index(getattr(torch, name)))
    patches.set(torch, "tensor", _tensor(torch.tensor))
    patches.set(torch, "as_tensor", _as_tensor(torch.as_tensor))
    patches.set(torch, "asarray", _as_tensor(torch.asarray))
    for owner, name in _COMPOSITES:
        patches.set(owner, name, _composite(getattr(owner, name)))
