"""Which rows a model was trained on and which it was evaluated on, and how they were scaled.

Followed only where it is asked for (scripts that do not follow the contract of the library's jobs): it costs
a set of keys and a few sums for each new row.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """What is kept of some rows.

    columns: (rows, at most MOST_COLUMNS). pools: sums and sums of squares, each (rows, groups), of all
    numbers of a row (`row`), and of rows with more than one axis those at each place of the first and of the
    last (`first`, `last`): channels may be either. sizes: how many numbers one such sum is over.
    """

    columns: Numbers
    pools: Mapping[str, tuple[Numbers, Numbers]]
    sizes: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.columns)


def _numbers(tensor: torch.Tensor) -> Numbers | None:
    """A tensor as numpy has it; None where it holds no rows of real numbers."""
    plain = Base.detach(tensor)
    if plain.layout != torch.strided or not Base.dim(plain) or not Base.numel(plain) or plain.is_complex():
        return None
    values: Numbers = Base.numpy(Base.contiguous(Base.cpu(Base.double(plain))))
    return values


def sample_of(tensor: torch.Tensor) -> Sample | None:
    """Numbers of each row; None where it holds none (call inside `Quiet`)."""
    values = _numbers(tensor)
    if values is None:
        return None
    flat = values.reshape(len(values), -1)
    step = -(-flat.shape[1] // MOST_COLUMNS)
    pools, sizes = {}, {}
    with np.errstate(all="ignore"):
        for name, grouped in _groups(values, flat):
            pools[name] = grouped.sum(axis=2), np.square(grouped).sum(axis=2)
            sizes[name] = grouped.shape[2]
    return Sample(flat[:, ::step].copy(), pools, sizes)


def _groups(values: Numbers, flat: Numbers) -> Iterator[tuple[str, Numbers]]:
    """Each kind of groups, as (rows, groups, numbers)."""
    rows = len(values)
    yield "row", flat[:, None, :]
    if values.ndim > 2:
        if values.shape[1] <= MOST_COLUMNS:
            yield "first", values.reshape(rows, values.shape[1], -1)
        if values.shape[-1] <= MOST_COLUMNS:
            yield "last", values.reshape(rows, -1, values.shape[-1]).swapaxes(1, 2)


class Moments:
    """Count, sum and sum of squares of the columns of rows, each width apart."""

    def __init__(self) -> None:
        self._sums: dict[int, tuple[int, Numbers, Numbers]] = {}

    def add(self, sums: Numbers, squares: Numbers | None = None, each: int = 1) -> None:
        """Rows, (n, width): numbers, or with `squares` sums over `each` of them, and over their squares."""
        width = sums.shape[1]
        count, total, squared = self._sums.get(width, (0, np.zeros(width), np.zeros(width)))
        with np.errstate(all="ignore"):
            squares = np.square(sums) if squares is None else squares
            self._sums[width] = (
                count + len(sums) * each,
                total + sums.sum(axis=0),
                squared + squares.sum(axis=0),
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
        self._pools: defaultdict[str, Moments] = defaultdict(Moments)
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
            self._columns.add(sample.columns[fresh])
            for name, (sums, squares) in sample.pools.items():
                self._pools[name].add(sums[fresh], squares[fresh], sample.sizes[name])

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
        values = _numbers(Base.reshape(Base.detach(tensor), (-1, 1)))
        if values is not None:
            self._targets.add(values)

    def _evaluate(self, keys: Keys, clock: int) -> None:
        for key in keys.tolist():
            self._evaluated.setdefault(key, clock)
        if len(self._evaluated) > MOST_ROWS:
            self.complete = False
            self._evaluated.clear()

    def summary(self) -> dict[str, Any]:
        """For the record: `evaluated_only` were evaluated and never trained on; `kept_for_the_end` of them
        not before the last backward. `columns`, `pools`, `targets`: see `Sample` and `Moments.summary`."""
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
            "pools": {name: pool.summary() for name, pool in sorted(self._pools.items())},
            "targets": self._targets.summary(),
        }
