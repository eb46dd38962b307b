"""Which rows a model was trained on and which it was evaluated on, and how they were scaled.

Followed only where it is asked for (scripts that do not follow the contract of the library's jobs): it costs
a set of keys and a few sums for each new row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .parameters import Base
from .rows import Keys

MOST_ROWS = 500_000
"""Different rows that are followed (about 100 MiB); with more, nothing is said of rows."""
MOST_COLUMNS = 64
"""Columns of a row whose mean and deviation are taken; of a wider row, evenly spaced ones."""

Sample = npt.NDArray[np.float64]


def sample_of(tensor: torch.Tensor) -> Sample | None:
    """Some columns of each row (n, at most MOST_COLUMNS); None without numbers (call inside `Quiet`)."""
    plain = Base.detach(tensor)
    if plain.layout != torch.strided or not Base.dim(plain) or not Base.numel(plain) or plain.is_complex():
        return None
    flat = Base.reshape(plain, (Base.size(plain, 0), -1))
    step = -(-Base.size(flat, 1) // MOST_COLUMNS)
    some = flat[:, ::step]
    found: Sample = Base.numpy(Base.contiguous(Base.cpu(Base.double(some))))
    return found


class Moments:
    """Count, sum and sum of squares of the columns of rows, each width apart."""

    def __init__(self) -> None:
        self._sums: dict[int, tuple[int, Sample, Sample]] = {}

    def add(self, sample: Sample) -> None:
        width = sample.shape[1]
        count, total, squares = self._sums.get(width, (0, np.zeros(width), np.zeros(width)))
        with np.errstate(all="ignore"):
            self._sums[width] = (
                count + len(sample),
                total + sample.sum(axis=0),
                squares + np.square(sample).sum(axis=0),
            )

    def summary(self) -> list[list[float]]:
        """[mean, deviation] of each column, of the width that most rows had; a number that is not finite is
        given as −1 for a deviation and 0 for a mean."""
        if not self._sums:
            return []
        count, total, squares = max(self._sums.values(), key=lambda entry: entry[0])
        found = []
        for one, square in zip(total.tolist(), squares.tolist(), strict=True):
            mean = one / count
            variance = square / count - mean * mean
            finite = math.isfinite(mean) and math.isfinite(variance)
            found.append([mean, math.sqrt(max(variance, 0.0))] if finite else [0.0, -1.0])
        return found


class Inputs:
    """Every method is called inside `Quiet` or touches numpy only."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._trained: set[int] = set()
        self._evaluated: dict[int, int] = {}
        """Row → how many backward calls there had been when it was first evaluated."""
        self._pending: dict[int, tuple[int, Keys]] = {}
        self._columns = Moments()
        self._targets = Moments()
        self.complete = True

    def trained(self, keys: Keys, sample: Sample | None, pending: int | None = None) -> None:
        """A loss that hangs on these rows was differentiated."""
        if pending is not None:
            self._pending.pop(pending, None)
        names = keys.tolist()
        fresh = [place for place, key in enumerate(names) if key not in self._trained]
        if len(self._trained) + len(fresh) > MOST_ROWS:
            self.complete = False
            return
        self._trained.update(names)
        if fresh and sample is not None and len(sample) == len(names):
            self._columns.add(sample[fresh])

    def evaluated(self, keys: Keys) -> None:
        """No gradient will be taken of these rows' outputs."""
        self._evaluate(keys, self._clock())

    def perhaps(self, keys: Keys) -> int:
        """A gradient can be taken of these rows' outputs; a number to call it by if it is."""
        number = next(self._numbers)
        self._pending[number] = (self._clock(), keys)
        return number

    def target(self, tensor: torch.Tensor) -> None:
        """An elementwise loss that can be differentiated was given this target."""
        found = sample_of(Base.reshape(Base.detach(tensor), (-1, 1)))
        if found is not None:
            self._targets.add(found)

    def _evaluate(self, keys: Keys, clock: int) -> None:
        for key in keys.tolist():
            self._evaluated.setdefault(key, clock)
        if len(self._evaluated) > MOST_ROWS:
            self.complete = False
            self._evaluated.clear()

    def summary(self) -> dict[str, Any]:
        """For the record: `evaluated_only` were evaluated and never trained on; `kept_for_the_end` of them
        not before the last backward. `columns`, `targets`: see `Moments.summary`."""
        for clock, keys in self._pending.values():
            self._evaluate(keys, clock)
        self._pending.clear()
        only = {key: at for key, at in self._evaluated.items() if key not in self._trained}
        end = self._clock()
        return {
            "complete": self.complete,
            "trained_on": len(self._trained),
            "evaluated": len(self._evaluated),
            "evaluated_only": len(only),
            "kept_for_the_end": sum(at >= end for at in only.values()),
            "columns": self._columns.summary(),
            "targets": self._targets.summary(),
        }
