"""What the parts share while the simulation runs."""

from __future__ import annotations

import threading

import torch


class _Local(threading.local):
    in_backward = False
    """Whether this thread runs a backward pass with the mode on: its operators propagate devices but are
    not checked (what autograd mixes there, it also sorts out there)."""


local = _Local()


class Flags:
    """python_in_backward: whether the program ever asked for Python code to run inside a backward pass
    (hooks, custom functions, saved-tensor hooks). Until then backward passes need no mode: gradients take
    the device of their tensors when they are read.
    """

    python_in_backward = False


flags = Flags()

unobserved = torch._C._DisableTorchDispatch
"""Context manager: no dispatch mode sees what runs inside."""


def alone() -> bool:
    """Whether ours is the only dispatch mode here, and no functorch transform is active: only then may
    operators be hidden from modes."""
    return torch._C._len_torch_dispatch_stack() == 1 and torch._C._functorch.peek_interpreter_stack() is None
