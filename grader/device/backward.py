"""Backward passes: unobserved where no Python code of the program can run in them."""

from __future__ import annotations

from typing import Any

import torch

from . import messages
from .patching import Patches
from .state import alone, flags, local, unobserved
from .tags import is_accelerated, mark


def _engine(original: Any) -> Any:
    def _engine_run_backward(t_outputs: Any, *args: Any, **kwargs: Any) -> Any:
        gradients = args[0] if args else ()
        for index, (output, gradient) in enumerate(zip(t_outputs, gradients, strict=False)):
            if (
                isinstance(output, torch.Tensor)
                and isinstance(gradient, torch.Tensor)
                and gradient.dim() > 0
                and is_accelerated(output) != is_accelerated(gradient)
            ):
                raise messages.invalid_gradient(index, output, gradient)
        create_graph = kwargs.get("create_graph", args[2] if len(args) > 2 else False)
        inputs = kwargs.get("inputs", args[3] if len(args) > 3 else ())
        if flags.python_in_backward or create_graph or not alone():
            before, local.in_backward = local.in_backward, True
            try:
                found = original(t_outputs, *args, **kwargs)
            finally:
                local.in_backward = before
        else:
            with unobserved():
                found = original(t_outputs, *args, **kwargs)
        for tensor, gradient in zip(inputs or (), found or (), strict=False):
            if isinstance(tensor, torch.Tensor) and isinstance(gradient, torch.Tensor):
                mark(gradient, is_accelerated(tensor))
        return found

    return _engine_run_backward


def patch(patches: Patches) -> None:
    patches.set(torch.autograd, "_engine_run_backward", _engine(vars(torch.autograd)["_engine_run_backward"]))
    function = torch.autograd.Function
    apply = vars(function)["apply"].__func__

    def run(cls: Any, *args: Any, **kwargs: Any) -> Any:
        flags.python_in_backward = True
        return apply(cls, *args, **kwargs)

    patches.set(function, "apply", classmethod(run))
    hooks = torch.autograd.graph.saved_tensors_hooks
    enter = hooks.__enter__

    def __enter__(self: Any) -> None:
        flags.python_in_backward = True
        enter(self)

    patches.set(hooks, "__enter__", __enter__)
