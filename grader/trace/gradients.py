"""The gradient rule: a parameter must not move along a mixture of gradients taken at different values.

At every accumulating engine call, for each leaf reached: if its gradient is None or zero it is clean; else,
if its value differs from its value at the previous accumulation, its gradient becomes a mixture. A parameter
that changes while its gradient is a mixture was not zeroed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from .parameters import Leaf, Leaves

MANY_LEAVES = 2000
"""Leaves up to which all of them are looked at where a walk through the graph would find those reached."""


def is_nonzero(gradient: torch.Tensor | None) -> bool:
    """Whether there is a gradient with an element other than zero; NaN counts as one (inside `Quiet`)."""
    if gradient is None:
        return False
    if gradient.layout != torch.strided:
        gradient = gradient.coalesce().values() if gradient.layout == torch.sparse_coo else gradient.values()
    return bool(gradient.detach().any())


class Mixture:
    """The rule's state over one run. Every method is called inside `Quiet`."""

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves
        self._mixed: set[Leaf] = set()
        self.violations = 0
        self.first_backward: int | None = None

    @property
    def any_mixed(self) -> bool:
        return bool(self._mixed)

    def all_clear(self) -> bool:
        """Whether no leaf that is known has a gradient: none of those reached next becomes a mixture."""
        if self._mixed or len(self._leaves) > MANY_LEAVES:
            return False
        return all(tensor.grad is None for tensor in self._leaves.alive())

    def accumulate(self, tensors: Iterable[torch.Tensor], index: int) -> None:
        """Backward call number `index` is about to add to the gradients of these leaves."""
        fresh: list[torch.Tensor] = []
        copies: list[torch.Tensor] = []
        for tensor in tensors:
            leaf = self._leaves.see(tensor)
            self._check(leaf)
            if not is_nonzero(tensor.grad):
                self._clear(leaf)
            elif leaf.value is not None and leaf.changed():
                leaf.mixed_at = index
                self._mixed.add(leaf)
            value = leaf.value
            if value is not None and value.shape == tensor.shape and value.dtype == tensor.dtype:
                fresh.append(tensor)
                copies.append(value)
            else:
                leaf.snapshot(tensor)
        if copies:
            torch._foreach_copy_(copies, fresh)

    def moved(self, tensors: Iterable[torch.Tensor]) -> None:
        """These parameters may just have changed (an optimizer stepped)."""
        if self._mixed:
            for leaf in self._leaves.known(tensors):
                self._check(leaf)

    def cleared(self, tensors: Iterable[torch.Tensor]) -> None:
        """A `zero_grad` of these parameters just ran."""
        if self._mixed:
            for leaf in self._leaves.known(tensors):
                tensor = leaf.tensor()
                if tensor is not None and not is_nonzero(tensor.grad):
                    self._clear(leaf)

    def finish(self) -> None:
        """The run is over: look once more at every gradient that is a mixture."""
        for leaf in list(self._mixed):
            self._check(leaf)

    def summary(self) -> dict[str, Any]:
        return {
            "violations": self.violations,
            "first_backward": self.first_backward,
            "leaves": self._leaves.reached,
        }

    def _clear(self, leaf: Leaf) -> None:
        if leaf.mixed_at is not None:
            leaf.mixed_at = None
            self._mixed.discard(leaf)

    def _check(self, leaf: Leaf) -> None:
        if leaf.mixed_at is not None and leaf.changed():
            self.violations += 1
            if self.first_backward is None:
                self.first_backward = leaf.mixed_at
            self._clear(leaf)
