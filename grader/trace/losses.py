"""The losses that were really differentiated, and the shapes that elementwise losses were given."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

MAX_LOSSES = 20_000
"""Losses listed one by one; all are counted and digested."""


class Losses:
    """Every loss in order, as `float.hex()` (exact, and text: JSON has no NaN)."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.count = 0
        self.nonfinite = 0
        self.first_nonfinite: int | None = None
        self._digest = hashlib.sha256()

    def add(self, value: float) -> None:
        text = value.hex()
        self._digest.update(text.encode("ascii") + b"\n")
        if not math.isfinite(value):
            self.nonfinite += 1
            if self.first_nonfinite is None:
                self.first_nonfinite = self.count
        if len(self.listed) < MAX_LOSSES:
            self.listed.append(text)
        self.count += 1

    def digest(self) -> str:
        return self._digest.hexdigest()


class LossShapes:
    """Elementwise losses whose input and target had different shapes, so that one was broadcast.

    A target without dimensions (one number for every element) is no mistake and not counted.
    """

    def __init__(self) -> None:
        self.mismatched = 0
        self.first: dict[str, Any] | None = None

    def compare(
        self, function: str, given: Sequence[int], target: Sequence[int], *, crossed: bool = False
    ) -> None:
        """crossed: both were expanded to the shape they have, so that every one meets every other."""
        if (tuple(given) == tuple(target) and not crossed) or not target:
            return
        self.mismatched += 1
        if self.first is None:
            self.first = {"function": function, "input": list(given), "target": list(target)}

    def summary(self) -> dict[str, Any]:
        return {"mismatched": self.mismatched, "first": self.first}
