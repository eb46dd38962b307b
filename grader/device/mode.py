"""The dispatch mode that carries devices from operands to results."""

from __future__ import annotations

import threading
from typing import Any

from torch._library import simple_registry
from torch.utils._python_dispatch import TorchDispatchMode

from .patching import Patches
from .rules import Plan, plan_for
from .state import local
from .tags import is_accelerated

SHIFT = 2.0**-7
"""By what share a shifted accelerator's products are too large: far above rounding, and small enough that
training goes on."""

PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm", "convolution", "linear", "matmul"})

_plans: dict[int, tuple[Plan, Any]] = {}
"""By the operator's identity (its hash is computed in Python); the operator itself is kept alive."""

_shifted = False


def set_shifted(on: bool) -> None:
    """Whether accelerators entered from now on are shifted; forgets what was planned before."""
    global _shifted
    _shifted = on
    _plans.clear()


def _plan(func: Any) -> Plan:
    plan = plan_for(func)
    if not _shifted or func.overloadpacket.__name__ not in PRODUCTS:
        return plan

    def shifted(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = plan(func, args, kwargs)
        if local.in_backward:  # backward passes run without the mode where they can: never shifted, then
            return out
        return out.mul_(1 + SHIFT) if is_accelerated(out) and out.is_floating_point() else out

    return shifted


class AcceleratorMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator below autograd, including those inside C++ composites.

    Errors leave it with no frame of their own making: what a program sees is its own call.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise every call goes through a guard against compilation that doubles its cost.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = _plans.get(id(func))
        if known is None:
            known = _plans[id(func)] = (_plan(func), func)
        try:
            return known[0](func, args, kwargs or {})
        except Exception as error:
            error.__traceback__ = None
            raise error from None


def patch(patches: Patches, mode: AcceleratorMode) -> None:
    """New threads enter the mode too: modes are per thread, the accelerator is not."""
    find = simple_registry.find_torch_dispatch_rule

    def find_torch_dispatch_rule(op: Any, torch_dispatch_class: type) -> Any:
        # Asked for by every call of every operator, and slow; nobody registers rules for this mode.
        return None if torch_dispatch_class is AcceleratorMode else find(op, torch_dispatch_class)

    patches.set(simple_registry, "find_torch_dispatch_rule", find_torch_dispatch_rule)
    start = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]

    def _bootstrap_inner(self: threading.Thread) -> None:
        with mode:
            start(self)

    patches.set(threading.Thread, "_bootstrap_inner", _bootstrap_inner)
