"""Data loaders over plain tensors: fetching rows one by one is hidden from the mode.

A batch of 64 rows is 128 selections. Where dataset and collation are PyTorch's own and all tensors lie on one
device, the batch lies there too, and nothing needs to be observed.
"""

from __future__ import annotations

from typing import Any

from torch.utils.data import Subset, TensorDataset
from torch.utils.data._utils.collate import default_collate
from torch.utils.data._utils.fetch import _MapDatasetFetcher

from .patching import Patches
from .state import alone, unobserved
from .tags import is_accelerated, mark_all


def patch(patches: Patches) -> None:
    fetch: Any = _MapDatasetFetcher.fetch

    def _fetch(self: Any, index: Any) -> Any:
        dataset = self.dataset
        while type(dataset) is Subset:
            dataset = dataset.dataset
        if type(dataset) is not TensorDataset or self.collate_fn is not default_collate or not alone():
            return fetch(self, index)
        places = {is_accelerated(one) for one in dataset.tensors}
        if len(places) != 1:
            return fetch(self, index)
        with unobserved():
            batch = fetch(self, index)
        if places == {True}:
            mark_all(batch)
        return batch

    patches.set(_MapDatasetFetcher, "fetch", _fetch)
