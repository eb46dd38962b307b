"""Grouping of parameters by device, which optimizers and gradient clipping do in C++."""

from __future__ import annotations

from typing import Any

import torch

from .patching import Patches
from .tags import CUDA, is_accelerated

_MIXED = (
    "Tensors of the same index must be on the same device and the same dtype except `step` tensors that can "
    "be CPU and float32/64, and optimizer states that can be bfloat16 for mixed-precision training"
)


def _check_row(row: list[Any], here: bool) -> None:
    """A parameter, its gradient and its states lie together; a 0-dim `step` may stay on the CPU."""
    for one in row:
        if one is not None and one.dim() > 0 and is_accelerated(one) != here:
            raise RuntimeError(_MIXED)


def patch(patches: Patches) -> None:
    group: Any = torch._C._group_tensors_by_device_and_dtype

    def _group_tensors_by_device_and_dtype(lists: Any, with_indices: bool = False) -> Any:
        grouped: dict[Any, Any] = {}
        for (device, dtype), (columns, indices) in group(lists, True).items():
            for row, index in enumerate(indices):
                here = is_accelerated(columns[0][row])
                _check_row([column[row] for column in columns if column], here)
                kept = grouped.setdefault((CUDA if here else device, dtype), ([[] for _ in columns], []))
                for target, column in zip(kept[0], columns, strict=True):
                    if column:
                        target.append(column[row])
                kept[1].append(index)
        if with_indices:
            return grouped
        return {key: (columns, []) for key, (columns, _) in grouped.items()}

    patches.set(torch._C, "_group_tensors_by_device_and_dtype", _group_tensors_by_device_and_dtype)
