"""Which rows went through a model: a 64-bit key for each row of a call's first tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .parameters import Base

Keys = npt.NDArray[np.uint64]

MAX_WORDS = 1024
"""32-bit words of one row that its key is made from; of a larger row, evenly spaced ones."""
MAX_KEYS = 2_000_000
"""Different rows that are followed; those that come later are not."""
MERGE_AFTER = 32
NONE: Keys = np.empty(0, dtype=np.uint64)

_MULTIPLIERS = np.random.Generator(np.random.PCG64(0x6D6C)).integers(
    1, 2**63, size=MAX_WORDS, dtype=np.uint64
) * np.uint64(2) + np.uint64(1)


def row_keys(tensor: torch.Tensor) -> Keys:
    """A key for each row (n,): equal rows have equal keys in any batch (call inside `Quiet`).

    A multilinear hash: different rows of the same width share a key with probability 2**-32 at most.
    """
    plain = Base.detach(tensor)
    if plain.layout != torch.strided or Base.dim(plain) == 0 or Base.numel(plain) == 0:
        return NONE
    if torch._C._functorch.is_functorch_wrapped_tensor(plain):
        return NONE
    rows = Base.size(plain, 0)
    flat = Base.contiguous(Base.cpu(Base.resolve_conj(Base.reshape(plain, (rows, -1)))))
    data: Any = Base.numpy(Base.view(flat, torch.uint8))
    if data.shape[1] % 4:
        data = np.pad(data, ((0, 0), (0, -data.shape[1] % 4)))
    words = data.view(np.uint32)
    if words.shape[1] > MAX_WORDS:
        words = words[:, np.linspace(0, words.shape[1] - 1, MAX_WORDS, dtype=np.int64)]
    keys: Keys = (words.astype(np.uint64) * _MULTIPLIERS[: words.shape[1]]).sum(axis=1, dtype=np.uint64)
    return keys


class Sketch:
    """How often each row was seen, by its key; of bounded size, in as few objects as may be."""

    def __init__(self) -> None:
        self._keys, self._counts = NONE, np.empty(0, dtype=np.int64)
        self._waiting: list[tuple[Keys, int]] = []

    @property
    def complete(self) -> bool:
        """Whether every row seen was seen three times on average, so that new ones are hardly to come."""
        return bool(self._counts.sum() > 3 * len(self._keys) > 0)

    def add(self, keys: Keys, sign: int = 1) -> None:
        """These rows were seen once more (or, with sign −1, were not after all)."""
        if len(keys) and len(self._keys) < MAX_KEYS and not (sign > 0 and self.complete):
            self._waiting.append((keys, sign))
            if len(self._waiting) >= MERGE_AFTER:
                self._merge()

    def _merge(self) -> None:
        keys = np.concatenate([self._keys, *(keys for keys, _sign in self._waiting)])
        signs = [np.full(len(keys), sign, dtype=np.int64) for keys, sign in self._waiting]
        counts = np.concatenate([self._counts, *signs])
        self._waiting = []
        self._keys, places = np.unique(keys, return_inverse=True)
        self._counts = np.zeros(len(self._keys), dtype=np.int64)
        np.add.at(self._counts, places, counts)

    def rows(self) -> Keys:
        """The keys of all rows that were seen, each once."""
        self._merge()
        return self._keys[self._counts > 0]

    def count_beside(self, known: Keys) -> int:
        """Rows seen, each as often as it was, that are not among the known ones."""
        self._merge()
        counts = self._counts[~np.isin(self._keys, known)]
        return int(counts[counts > 0].sum())
