"""Random generators that know which device they were made for.

`torch.manual_seed` seeds every device, and on a CUDA build CPU and CUDA have streams of their own. Here a
CUDA tensor without an explicit generator draws from the CPU's default stream: kernels are CPU kernels, and
only with one stream is a correct job bit-identical to its run on the CPU.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch

from . import messages
from .patching import Patches
from .tags import CPU, CUDA, names_accelerator

_Plain: Any = torch.Generator
_on_accelerator: set[int] = set()
"""Addresses of the C++ generators made for the accelerator. The dispatcher hands a fresh Python object to
a mode, so the object itself cannot carry the mark."""


class _AnyGenerator(type(_Plain)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Plain)


class Generator(_Plain, metaclass=_AnyGenerator):  # type: ignore[misc]
    """`torch.Generator`, with a device that is believed."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        made: Generator = _Plain.__new__(cls, "cpu")
        if names_accelerator(device):
            address = made._cdata
            _on_accelerator.add(address)
            weakref.finalize(made, _on_accelerator.discard, address)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return CUDA if self._cdata in _on_accelerator else CPU


def check_generator(generator: Any, accelerated: bool) -> None:
    """Raise what a kernel raises that is handed the other device's generator."""
    mine = generator._cdata in _on_accelerator
    default: Any = torch.default_generator
    if mine == accelerated:
        return
    if not mine and generator._cdata == default._cdata:
        # torch.cuda.default_generators is the CPU's own here.
        return
    raise messages.generator_device("cuda" if accelerated else "cpu", "cuda" if mine else "cpu")


def patch(patches: Patches) -> None:
    Generator.__module__, Generator.__qualname__ = "torch", "Generator"
    patches.set(torch, "Generator", Generator)
