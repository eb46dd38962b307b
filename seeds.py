"""Choices from hashes.

A choice is a pure function of what it is for. There is no generator object whose state could depend on
which choices were made before, so variants do not depend on order, process or machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

ENGINE_VERSION = "3"
"""What makes variants: a change of the engine that would change bytes of the same request raises it."""

ENGINES = ("2", ENGINE_VERSION)
"""Engines whose variants this version makes, oldest first. A release says which one made it."""

DRAWS = "2"
"""Part of every choice, so that other choices come of it once what is drawn is drawn otherwise. What engines
2 and 3 both draw, they draw alike."""

T = TypeVar("T")
Part = str | int | tuple[str, ...]


def digest(*parts: Part) -> bytes:
    """SHA-256 of the parts as canonical JSON (so that `("a", "b")` and `("ab",)` differ)."""
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).digest()


class Draw:
    """A node in a tree of independent choices, addressed by what each choice is for.

    >>> Draw("request", 7).below(10, "colour") == Draw("request", 7).below(10, "colour")
    True
    """

    __slots__ = ("_path",)

    def __init__(self, *path: Part) -> None:
        self._path = path

    def child(self, *parts: Part) -> Draw:
        """The subtree below this node."""
        return Draw(*self._path, *parts)

    def number(self, *purpose: Part) -> int:
        """A uniform integer of 128 bits."""
        return int.from_bytes(digest(*self._path, *purpose)[:16], "big")

    def below(self, bound: int, *purpose: Part) -> int:
        """A uniform integer in [0, bound). The bias of the modulus is below bound / 2**128."""
        if bound < 1:
            raise ValueError(f"below() needs a positive bound, got {bound}")
        return self.number(*purpose) % bound

    def chance(self, numerator: int, denominator: int, *purpose: Part) -> bool:
        """True with probability numerator / denominator."""
        return self.below(denominator, *purpose) < numerator

    def choose(self, options: Sequence[T], *purpose: Part) -> T:
        """One of the options, each equally likely."""
        return options[self.below(len(options), *purpose)]

    def shuffled(self, options: Sequence[T], *purpose: Part) -> list[T]:
        """All options, in an order of which every one is equally likely."""
        ranked = sorted(range(len(options)), key=lambda i: digest(*self._path, *purpose, "rank", i))
        return [options[i] for i in ranked]
