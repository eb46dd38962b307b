"""Tensors in words and figures, without taking part in what the job does with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

MOST_ELEMENTS = 4_000_000
"""Of a tensor that figures are made of; of a larger one, evenly spaced elements."""


@contextmanager
def quiet() -> Iterator[None]:
    """Tensor work that takes part in nothing: no gradients, no modes of the job or of its accelerator."""
    gradients = torch.is_grad_enabled()
    with torch._C.DisableTorchFunction():
        torch._C._set_grad_enabled(False)
        try:
            if torch._C._len_torch_dispatch_stack():
                with torch._C._DisableTorchDispatch():
                    yield
            else:
                yield
        finally:
            torch._C._set_grad_enabled(gradients)


def tensors_in(value: Any, depth: int = 4) -> Iterator[torch.Tensor]:
    """The tensors in nested sequences and mappings, at most some dozens."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, tuple | list):
        for one in value[:16]:
            yield from tensors_in(one, depth - 1)
    elif depth and isinstance(value, dict):
        for one in list(value.values())[:16]:
            yield from tensors_in(one, depth - 1)


def kind(tensor: torch.Tensor) -> str:
    """`(64, 16) float32 cuda:0`; the device only where it is not the CPU."""
    shape = "(" + ", ".join(map(str, tensor.shape)) + ("," if tensor.dim() == 1 else "") + ")"
    device = str(tensor.device)
    return f"{shape} {str(tensor.dtype).removeprefix('torch.')}" + ("" if device == "cpu" else f" {device}")


def kinds(value: Any, most: int = 6) -> list[str]:
    """`kind` of the tensors in a value; types of arguments that hold none."""
    found = [kind(one) for one in tensors_in(value)]
    if not found and isinstance(value, tuple | list):
        found = [type(one).__name__ for one in value]
    elif not found:
        found = [type(value).__name__]
    return found[:most] + (["…"] if len(found) > most else [])


def values(tensor: torch.Tensor) -> torch.Tensor:
    """Its elements in one row, as float64 on the CPU, thinned out where there are too many. In `quiet()`."""
    flat = tensor.detach()
    if flat.layout != torch.strided:
        flat = flat.to_dense()
    if flat.is_complex():
        flat = torch.view_as_real(flat)
    flat = flat.reshape(-1)
    if flat.numel() > MOST_ELEMENTS:
        flat = flat[:: flat.numel() // MOST_ELEMENTS + 1]
    return flat.cpu().double()


def figures(tensor: torch.Tensor) -> dict[str, Any]:
    """min, max, mean, std of the finite elements (None if there are none), and how many are not finite."""
    with quiet():
        return figures_of(values(tensor))


def figures_of(flat: torch.Tensor) -> dict[str, Any]:
    """`figures` of a row of float64. In `quiet()`."""
    finite = flat[torch.isfinite(flat)]
    nan = int(torch.isnan(flat).sum())
    found: dict[str, Any] = {"nan": nan, "inf": flat.numel() - finite.numel() - nan}
    if finite.numel():
        found |= {
            "min": float(finite.min()),
            "max": float(finite.max()),
            "mean": float(finite.mean()),
            "std": float(finite.std(unbiased=False)),
        }
    return found


def norm(tensor: torch.Tensor) -> float:
    """The Euclidean norm, in float64; nan or inf if an element is."""
    with quiet():
        return float(values(tensor).norm())


def total(norms: list[float]) -> float:
    """The norm of all together."""
    return math.sqrt(sum(one * one for one in norms)) if all(map(math.isfinite, norms)) else math.nan


class Before:
    """Gradients as they are before a backward pass."""

    def __init__(self, parameters: list[torch.Tensor]) -> None:
        self._all = [(one, one.grad, _version(one.grad)) for one in parameters]
        self._norms = {id(one): norm(one.grad) for one in parameters if one.grad is not None}

    def touched(self) -> dict[int, float]:
        """After it: id of each parameter whose gradient it made or changed → norm of what was there."""
        return {
            id(one): self._norms.get(id(one), 0.0)
            for one, gradient, version in self._all
            if one.grad is not gradient or _version(one.grad) != version
        }


def _version(gradient: torch.Tensor | None) -> int:
    return -1 if gradient is None or gradient.is_inference() else gradient._version
