"""Data made from integers, so that a seed stands for the same bytes on every machine.

numpy's `exp`, `log`, its distributions and matrix products may change in the last bit with the processor
and the version. Everything here comes from raw PCG64 integers by integer arithmetic and one last division
by a power of two; tables hold the values of functions.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..seeds import digest
from .spec import Array, JobData

IntArray = npt.NDArray[np.int64]


class Integers:
    """Streams of integers, one per purpose: adding a stream leaves the others as they were."""

    def __init__(self, generator: str, seed: int) -> None:
        self._key = (generator, seed)

    def _words(self, purpose: str, count: int) -> npt.NDArray[np.uint64]:
        state = int.from_bytes(digest("data", *self._key, purpose)[:16], "big")
        return np.random.PCG64(state).random_raw(count)

    def bits(self, purpose: str, shape: tuple[int, ...], width: Literal[8, 16] = 16) -> IntArray:
        """Uniform integers of 8 or 16 bits."""
        count = math.prod(shape)
        words = self._words(purpose, -(-count * width // 64))
        lanes = words.astype("<u8").view("<u1" if width == 8 else "<u2")
        return lanes[:count].reshape(shape).astype(np.int64)

    def below(self, purpose: str, bound: int, shape: tuple[int, ...]) -> IntArray:
        """Uniform integers in [0, bound), bound at most 2**16 (bias below bound / 2**32)."""
        words = self._words(purpose, math.prod(shape)) >> np.uint64(32)
        return ((words * np.uint64(bound)) >> np.uint64(32)).astype(np.int64).reshape(shape)

    def bell(self, purpose: str, shape: tuple[int, ...]) -> IntArray:
        """Integers whose distribution is close to normal: mean 0, standard deviation 256.

        The sum of eight uniform bytes has mean 1020 and variance 8 (256² − 1) / 12 = 43690, so a standard
        deviation of 209; a last factor 627 / 512 brings it to 256 (Irwin–Hall, within ±4.9 deviations).
        """
        words = self._words(purpose, math.prod(shape))
        low = np.uint64(0x00FF00FF00FF00FF)
        pairs = (words & low) + ((words >> np.uint64(8)) & low)
        sums = (pairs * np.uint64(0x0001000100010001)) >> np.uint64(48)
        return ((sums.astype(np.int64) - 1020) * 627 >> 9).reshape(shape)

    def permutation(self, purpose: str, count: int) -> IntArray:
        """A uniform order of range(count)."""
        return np.argsort(self._words(purpose, count), kind="stable").astype(np.int64)

    def signs(self, purpose: str, shape: tuple[int, ...]) -> IntArray:
        """−1 or 1, each with probability one half."""
        return 1 - 2 * (self.bits(purpose, shape, width=8) & 1)


def fixed(values: IntArray, decimals: int) -> npt.NDArray[np.float32]:
    """Integers as multiples of 2**-decimals, exact in float32 while below 2**24 in size."""
    return (values / float(1 << decimals)).astype(np.float32)


def table(function: str, steps: int, scale: int) -> IntArray:
    """One period of `sin` or `cos` in `steps` steps, as integers of at most `scale`.

    Rounded to integers of at most 16 bits, where the last bit of a processor's sine plays no part.
    """
    f = getattr(math, function)
    return np.array([round(scale * f(2 * math.pi * k / steps)) for k in range(steps)], dtype=np.int64)


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """An uncompressed `.npz` with sorted names and no clock, so that equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(
                entry, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False
            )
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), entry.getvalue())
    return buffer.getvalue()


def data_files(data: JobData) -> dict[str, bytes]:
    """What the harness writes into a workspace for this data."""
    return {"data/train.npz": npz_bytes(data.train), "data/score.npz": npz_bytes(data.score)}
