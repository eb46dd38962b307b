"""Whether the gradients that optimizers use are those that the engine computed.

A mixture that is kept by hand, outside `.grad`, passes the mixture rule. Here the largest parameters that
each backward reaches are followed: what was computed for them since the last step (or since they were
cleared) is added up, and at the step compared with the gradient that is there. Clipping, scaling and decay
keep the direction; a sum over the past does not. And a gradient that was computed for a parameter must still
be there when that is stepped; what was cleared before the step, and is no part of the gradient used there,
was computed for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from .gradients import is_nonzero

LOOK_AT_FIRST, LOOK_EVERY = 16, 6
"""Steps that are looked at: the first ones, then every sixth. A sum over the past shows at all of them."""
FOLLOWED = 4
"""Parameters followed at a time: of a job with several models, the largest of each."""
ALIKE = 0.5
"""Cosine from which on a used gradient counts as the computed one. Clipping by value keeps it above 0.6; a
sum over an epoch or more lies at 0.1 to 0.6, once it has run for a while."""


def _product_and_size(one: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    """The inner product, and what it would be if both pointed the same way."""
    one, other = one.double(), other.double()
    return float((one * other).sum()), float(one.norm() * other.norm())


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    product, size = _product_and_size(one, other)
    return product / size if size > 0 else 0.0


def _unlike(used: torch.Tensor, computed: torch.Tensor) -> bool:
    product, size = _product_and_size(used, computed)
    return size > 0 and not product >= ALIKE * size


def _lookahead(optimizer: Optimizer, parameter: torch.Tensor) -> torch.Tensor | None:
    """What Nesterov's momentum adds to a gradient, where it is asked for."""
    for group in optimizer.param_groups:
        if group.get("nesterov") and any(one is parameter for one in group["params"]):
            buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
            if isinstance(buffer, torch.Tensor) and buffer.shape == parameter.shape:
                return buffer * float(group["momentum"])
    return None


class Usage:
    """Every method is called inside `Quiet`."""

    def __init__(self) -> None:
        self.steps = 0
        self.unlike = 0
        self.looked = 0
        self.erased = 0
        """Steps, of those looked at, that found no gradient where a backward had left one."""
        self.backwards = 0
        """Backward calls that were looked at."""
        self.discarded = 0
        """Those of them whose gradients were cleared before the step came, which went without them."""
        self._held = self._cleared = 0
        """Backward calls since the last step whose gradients lie there, and whose gradients do no more."""
        self._holders: list[torch.Tensor] = []
        """Parameters with these gradients."""
        self._value: tuple[torch.Tensor, torch.Tensor] | None = None
        """The largest of them, and what it was when it got them."""
        self._everything: dict[int, torch.Tensor] = {}
        """Of those followed: all that was computed since the last step, cleared or not."""
        self._all_steps = 0
        self._reached: list[torch.Tensor] = []
        self._left: dict[int, torch.Tensor] = {}
        """Parameters that a backward left a gradient for since they were stepped."""
        self._before: dict[int, torch.Tensor | None] = {}
        self._computed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._using: tuple[torch.Tensor, torch.Tensor] | None = None
        """What the step under way is about to use, and what was computed."""

    def _looking(self) -> bool:
        return self._all_steps < LOOK_AT_FIRST or self._all_steps % LOOK_EVERY == 0

    def _follow(self, parameter: torch.Tensor) -> None:
        if id(parameter) not in self._computed and len(self._computed) < FOLLOWED:
            self._computed[id(parameter)] = (parameter, torch.zeros_like(parameter))

    def before_backward(self, leaves: Sequence[torch.Tensor]) -> None:
        """Leaves are about to be added to."""
        self._before, self._reached = {}, []
        if not self._looking():
            self._forget()
            return
        self._notice_cleared()
        parameters = [leaf for leaf in leaves if isinstance(leaf, torch.nn.Parameter)]
        self._reached = [*parameters]
        if parameters:
            self._follow(max(parameters, key=torch._C.TensorBase.numel))
        for leaf in parameters:
            if id(leaf) in self._computed:
                self._before[id(leaf)] = leaf.grad.clone() if is_nonzero(leaf.grad) else None  # type: ignore[union-attr]

    def after_backward(self) -> None:
        """They were."""
        reached = [one for one in self._reached if is_nonzero(one.grad)]
        if reached:
            largest = max(reached, key=torch._C.TensorBase.numel)
            self.backwards += 1
            self._held += 1
            self._holders, self._value = reached, (largest, largest.detach().clone())
        self._left |= {id(one): one for one in reached}
        self._reached = []
        for key, before in self._before.items():
            leaf, total = self._computed[key]
            if leaf.grad is None or leaf.grad.layout != torch.strided or leaf.grad.shape != total.shape:
                continue
            everything = self._everything.get(key)
            if everything is None or everything.shape != total.shape:
                everything = self._everything[key] = torch.zeros_like(total)
            everything.add_(leaf.grad)
            if before is None:
                total.copy_(leaf.grad)
            else:
                total.add_(leaf.grad).sub_(before)
                everything.sub_(before)

    def _notice_cleared(self) -> None:
        """Whether the gradients of the backward calls before were cleared, and nothing moved by them."""
        if self._value is None or any(is_nonzero(one.grad) for one in self._holders):
            return
        parameter, value = self._value
        if parameter.shape == value.shape and torch.equal(parameter, value):
            self._cleared += self._held
        self._held, self._holders, self._value = 0, [], None

    def _forget(self) -> None:
        self._held = self._cleared = 0
        self._holders, self._value = [], None
        self._everything.clear()

    def returned(self, inputs: Sequence[Any], gradients: Sequence[Any]) -> None:
        """`autograd.grad` gave these."""
        if not self._looking():
            return
        pairs = [
            (leaf, gradient)
            for leaf, gradient in zip(inputs, gradients, strict=False)
            if isinstance(leaf, torch.nn.Parameter) and isinstance(gradient, torch.Tensor)
        ]
        if not pairs:
            return
        largest, _gradient = max(pairs, key=lambda pair: torch._C.TensorBase.numel(pair[0]))
        self._follow(largest)
        for leaf, gradient in pairs:
            if id(leaf) in self._computed and gradient.shape == leaf.shape:
                self._computed[id(leaf)][1].add_(gradient)

    def before_step(self, parameters: Sequence[torch.Tensor]) -> None:
        """An optimizer is about to use the gradients of these."""
        looked, self._all_steps = self._looking(), self._all_steps + 1
        left = [one for one in parameters if self._left.pop(id(one), None) is one]
        if not looked:
            self._forget()
            return
        self.looked += 1
        self.erased += not all(is_nonzero(one.grad) for one in left)
        for parameter in parameters:
            known = self._computed.get(id(parameter))
            if known is None or known[0] is not parameter:
                continue
            total, used = known[1], parameter.grad
            if used is None or used.layout != torch.strided or used.shape != total.shape:
                continue
            self.steps += 1
            if _unlike(used, total):
                self.unlike += 1
            else:
                self._using = parameter, total.clone()
            everything = self._everything.get(id(parameter), total)
            if self._cleared and _cosine(used, total) > _cosine(used, everything):
                self.discarded += self._cleared
            total.zero_()
            self._forget()
            return

    def after_step(self, optimizer: Optimizer) -> None:
        """It did. A hook of its own may have changed them after `before_step` looked.

        An optimizer of the script's own may work in its gradients; torch's leave them as they are, but for
        SGD on several tensors at once, which adds Nesterov's share of the momentum to them.
        """
        using, self._using = self._using, None
        if using is None or not type(optimizer).__module__.startswith("torch.optim."):
            return
        parameter, total = using
        used = parameter.grad
        if used is None or used.layout != torch.strided or used.shape != total.shape:
            return
        lookahead = _lookahead(optimizer, parameter)
        self.unlike += _unlike(used, total) and (lookahead is None or _unlike(used - lookahead, total))

    def summary(self) -> dict[str, int]:
        return {
            "steps": self.steps,
            "unlike": self.unlike,
            "looked": self.looked,
            "erased": self.erased,
            "backwards": self.backwards,
            "discarded": self.discarded,
        }
