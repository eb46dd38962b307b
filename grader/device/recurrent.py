"""Recurrent layers: one check with cuDNN's words, then the whole layer unobserved.

On the CPU an RNN is a composite of a dozen small operators for each time step; on CUDA it is one kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import messages
from .patching import Patches
from .state import alone, unobserved
from .tags import is_accelerated, mark, mark_all

_LAYERS = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def _layer(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    def layer(*args: Any) -> Any:
        input = args[0]
        packed = isinstance(args[3], (list, tuple))
        hidden, parameters = (args[2], args[3]) if packed else (args[1], args[2])
        here = is_accelerated(input)
        for one in hidden if isinstance(hidden, (list, tuple)) else (hidden,):
            if is_accelerated(one) != here:
                raise messages.recurrent("hidden", input, one)
        for one in parameters:
            if is_accelerated(one) != here:
                raise messages.recurrent("parameter", input, one)
        if not alone():
            return original(*args)
        with unobserved():
            out = original(*args)
        if here:
            mark_all(out)
        return out

    layer.__name__ = name
    return layer


def _padding(original: Callable[..., Any]) -> Callable[..., Any]:
    def _pad_packed_sequence(data: torch.Tensor, *args: Any) -> Any:
        if not is_accelerated(data):
            return original(data, *args)
        with unobserved():
            padded, lengths = original(data, *args)
        mark(padded)
        return padded, lengths  # lengths stay on the CPU

    return _pad_packed_sequence


def patch(patches: Patches) -> None:
    functions = torch._VF
    for name in _LAYERS:
        replacement = _layer(getattr(functions, name), name)
        patches.set(functions, name, replacement)
        patches.set(torch, name, replacement)
    replacement = _padding(functions._pad_packed_sequence)
    patches.set(functions, "_pad_packed_sequence", replacement)
    patches.set(torch, "_pad_packed_sequence", replacement)
