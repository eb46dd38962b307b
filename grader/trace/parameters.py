"""The leaves a run trained: found, held as long as needed, and hashed at the end."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch

Base = torch._C.TensorBase
"""Its methods are the unpatched ones: a simulated accelerator replaces those of `torch.Tensor`."""

grad_fn_of: Any = vars(Base)["grad_fn"].__get__
"""A tensor's graph node. A simulated accelerator takes a program that asks for nodes to hook into backward
passes, and runs these in a slower way."""

HELD_ELEMENTS = 64 << 20
"""Elements held strongly, at most (256 MiB of float32): a script that builds models without end must not
exhaust memory only because it is observed. Leaves beyond it are followed as long as the script holds them."""


class Leaf:
    """A leaf tensor that was reached by an accumulating backward or stepped by an optimizer.

    value: a copy of it as of its last accumulation, None before. mixed_at: index of the backward call that
    made its gradient a mixture, None while it is not one. tensor(): None once the script dropped it and
    nothing holds it.
    """

    __slots__ = ("_held", "_weak", "elements", "mixed_at", "sightings", "stepped", "value")

    def __init__(self, tensor: torch.Tensor, weak: weakref.ref[torch.Tensor]) -> None:
        self._weak = weak
        self._held: torch.Tensor | None = None
        self.value: torch.Tensor | None = None
        self.mixed_at: int | None = None
        self.sightings = 0
        self.stepped = False
        self.elements = Base.numel(tensor)

    def tensor(self) -> torch.Tensor | None:
        return self._held if self._held is not None else self._weak()

    @property
    def held(self) -> bool:
        return self._held is not None

    def hold(self, tensor: torch.Tensor) -> None:
        self._held = tensor

    def snapshot(self, tensor: torch.Tensor) -> None:
        """Remember the present value (call inside `Quiet`)."""
        value = self.value
        if value is not None and value.shape == tensor.shape and value.dtype == tensor.dtype:
            value.copy_(tensor)
        else:
            self.value = tensor.detach().clone()

    def changed(self) -> bool:
        """Whether its value differs from the one last remembered; NaN is equal to NaN, or a run that diverged
        would look as if something moved its parameters all the time (call inside `Quiet`)."""
        tensor = self.tensor()
        if tensor is None or self.value is None:
            return False
        present, value = tensor.detach(), self.value
        if present.dtype != value.dtype or present.shape != value.shape:
            return True
        if torch.equal(present, value):
            return False
        both = present.isnan() & value.isnan()
        return not bool(((present == value) | both).all())


class Leaves:
    """All leaves seen so far, in order of first sight.

    A leaf is held when it is a parameter: an `nn.Parameter`, stepped by an optimizer, or reached a second
    time. Others (an input that requires a gradient) are followed weakly.
    """

    def __init__(self) -> None:
        self._leaves: dict[int, Leaf] = {}
        self._held_elements = 0
        self.reached = 0
        self.largest = 0
        """Elements of the leaves that one backward reached, at most."""

    def __iter__(self) -> Iterator[Leaf]:
        return iter(list(self._leaves.values()))

    def __len__(self) -> int:
        return len(self._leaves)

    def alive(self) -> list[torch.Tensor]:
        """The tensors of all leaves that still exist."""
        found = (leaf.tensor() for leaf in list(self._leaves.values()))
        return [tensor for tensor in found if tensor is not None]

    def see(self, tensor: torch.Tensor, stepped: bool = False, *, accumulated: bool = True) -> Leaf:
        """The entry of this leaf, made if there is none. accumulated: a gradient is added to it (False: one
        was asked for)."""
        key = id(tensor)
        leaf = self._leaves.get(key)
        if leaf is None or leaf.tensor() is not tensor:
            leaf = self._leaves[key] = Leaf(tensor, weakref.ref(tensor, self._forget(key)))
        if stepped:
            leaf.stepped = True
        else:
            leaf.sightings += 1
            if leaf.sightings == 1 and accumulated:
                self.reached += 1
        if not leaf.held and (stepped or leaf.sightings > 1 or isinstance(tensor, torch.nn.Parameter)):
            self._hold(leaf, tensor)
        return leaf

    def see_stepped(self, tensors: Iterable[torch.Tensor]) -> None:
        """An optimizer stepped these."""
        leaves = self._leaves
        for tensor in tensors:
            leaf = leaves.get(id(tensor))
            if leaf is None or leaf._held is not tensor or not leaf.stepped:
                self.see(tensor, stepped=True)

    def together(self, tensors: Iterable[torch.Tensor]) -> None:
        """One backward reaches these."""
        self.largest = max(self.largest, sum(Base.numel(one) for one in tensors))

    def known(self, tensors: Iterable[torch.Tensor]) -> Iterator[Leaf]:
        for tensor in tensors:
            leaf = self._leaves.get(id(tensor))
            if leaf is not None and leaf.tensor() is tensor:
                yield leaf

    def _hold(self, leaf: Leaf, tensor: torch.Tensor) -> None:
        if self._held_elements + leaf.elements <= HELD_ELEMENTS:
            self._held_elements += leaf.elements
            leaf.hold(tensor)

    def _forget(self, key: int) -> Any:
        leaves = self._leaves

        def forget(dead: weakref.ref[torch.Tensor]) -> None:
            leaf = leaves.get(key)
            if leaf is not None and leaf._weak is dead:
                del leaves[key]

        return forget

    def summary(self) -> dict[str, Any]:
        """`parameters` of the record: count, elements and SHA-256 of the held leaves, elements of those that
        an optimizer stepped, and `largest` (inside `Quiet`)."""
        digest = hashlib.sha256()
        tensors = elements = stepped = 0
        for leaf in self:
            tensor = leaf.tensor()
            if tensor is None or not leaf.held:
                continue
            tensors += 1
            elements += Base.numel(tensor)
            stepped += Base.numel(tensor) if leaf.stepped else 0
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
        return {
            "tensors": tensors,
            "elements": elements,
            "stepped": stepped,
            "largest": self.largest,
            "digest": digest.hexdigest(),
        }


def _bytes(tensor: torch.Tensor) -> bytes:
    plain = Base.detach(tensor)
    if plain.layout != torch.strided:
        plain = Base.to_dense(plain)
    plain = Base.contiguous(Base.cpu(Base.resolve_conj(plain)))
    return bytes(Base.numpy(Base.view(Base.reshape(plain, (-1,)), torch.uint8)).tobytes())
