"""Smaller observations: custom autograd functions, `zero_grad`, and TorchScript's compiler."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd import Function
from torch.optim import Optimizer

from .forwards import Forwards
from .gradients import Mixture
from .quiet import Faults, Quiet
from .threads import Forward, Thread

Patch = tuple[Any, str, Any]
Active = Callable[[], bool]


def observe_custom_functions(thread: Thread, faults: Faults, forwards: Forwards, active: Active) -> Patch:
    """`Function.apply` runs its forward with gradients off though they do follow (a checkpoint, a reversible
    block): module calls inside are classified by the outputs of `apply`."""
    original = vars(Function)["apply"].__func__

    @functools.wraps(original)
    def apply(cls: type[Function], *args: Any, **kwargs: Any) -> Any:
        if not active() or thread.stack or thread.engine or thread.region is not None:
            return original(cls, *args, **kwargs)
        region: list[Forward] = []
        thread.region = region
        try:
            result = original(cls, *args, **kwargs)
        finally:
            thread.region = None
        if region:
            with faults.guard("custom function"):
                forwards.classify(region, result)
        return result

    return Function, "apply", classmethod(apply)


def observe_zero_grad(
    owner: type[Optimizer] | type[nn.Module], faults: Faults, mixture: Mixture, active: Active
) -> Patch:
    """A gradient that was a mixture and is cleared unused does no harm: a later change of the parameter
    without a gradient (clamping, a restored checkpoint) is then none of the rule's business."""
    original: Callable[..., None] = vars(owner)["zero_grad"]

    @functools.wraps(original)
    def zero_grad(self: Any, *args: Any, **kwargs: Any) -> None:
        if not active() or not mixture.any_mixed:
            original(self, *args, **kwargs)
            return
        parameters: list[torch.Tensor] = []
        with faults.guard("zero_grad"), Quiet():
            if isinstance(self, nn.Module):
                parameters = list(self.parameters())
            else:
                parameters = [p for group in self.param_groups for p in group["params"]]
            mixture.moved(parameters)
        original(self, *args, **kwargs)
        with faults.guard("zero_grad"), Quiet():
            mixture.cleared(parameters)

    return owner, "zero_grad", zero_grad


def observe_scripting(without_wrappers: Callable[[Callable[[], Any]], Any], active: Active) -> Patch:
    """TorchScript compiles the source of torch.nn.functional, which must then be the original."""
    original = torch.jit.script

    @functools.wraps(original)
    def script(*args: Any, **kwargs: Any) -> Any:
        if not active():
            return original(*args, **kwargs)
        return without_wrappers(lambda: original(*args, **kwargs))

    return torch.jit, "script", script
