"""What a kind of restyling is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import libcst as cst

from ...seeds import Draw

S = TypeVar("S")

Trees = Mapping[str, cst.Module]
"""The parsed files of one workspace: path → tree, sorted by path. Trees are values and never changed."""


@dataclass(frozen=True)
class StyleExample(Generic[S]):
    """A small file before and after one setting of a kind."""

    before: str
    after: str
    setting: S


class Kind(ABC, Generic[S]):
    """One way in which the same program may be written differently.

    A setting says which of the possible spellings is wanted. `choose` draws one, `apply` is a pure
    function of trees and setting, so a kind can be shown and tested without drawing.
    """

    name: ClassVar[str]
    examples: ClassVar[tuple[StyleExample[S], ...]]

    @abstractmethod
    def choose(self, trees: Trees, draw: Draw) -> S:
        """The setting that this draw stands for."""

    @abstractmethod
    def apply(self, trees: Trees, setting: S) -> Trees:
        """The trees respelled; what they compute and write to files stays the same."""


def each(trees: Trees, transformer: type[cst.CSTTransformer], *arguments: object) -> dict[str, cst.Module]:
    """Every tree visited by a transformer of its own."""
    return {path: tree.visit(transformer(*arguments)) for path, tree in trees.items()}
