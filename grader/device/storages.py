"""Copies, pickles and files of storages: the mark travels as CUDA's location does."""

from __future__ import annotations

from typing import Any

import torch
import torch.serialization as serialization

from .patching import Patches
from .tags import mark_storage, names_accelerator, storage_is_accelerated

_Untyped: Any = torch.UntypedStorage


def patch(patches: Patches) -> None:
    location_tag = serialization.location_tag
    restore: Any = serialization.default_restore_location
    clone: Any = _Untyped.clone

    def location(storage: Any) -> str:
        return "cuda:0" if storage_is_accelerated(storage) else location_tag(storage)

    def default_restore_location(storage: Any, place: Any) -> Any:
        if str(place).startswith("cuda"):
            names_accelerator(place)
            mark_storage(storage, True)
            return storage
        if str(place) == "cpu":
            mark_storage(storage, False)
        return restore(storage, place)

    def _clone(self: Any) -> Any:
        made = clone(self)
        mark_storage(made, storage_is_accelerated(self))
        return made

    def _cuda(self: Any, device: Any = None, non_blocking: bool = False) -> Any:
        if storage_is_accelerated(self):
            return self
        made = clone(self)
        mark_storage(made, True)
        return made

    def _cpu(self: Any) -> Any:
        return clone(self) if storage_is_accelerated(self) else self

    patches.set_many(serialization, location_tag=location, default_restore_location=default_restore_location)
    patches.set_many(_Untyped, clone=_clone, cuda=_cuda, cpu=_cpu)
