"""Behaviour-preserving rewrites of any training script: the same program, spelled by somebody else.

Styles (`mutators/styles`) are for scripts of the library and may reword what a run prints. A rewrite is for
any source, one that somebody submitted too, and changes nothing that a run leaves behind: neither artifacts
nor standard output. What a rewrite is not sure of it leaves alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .base import Amount, Choice, Rewrite, RewriteExample, rewritten
from .counters import Counters
from .definitions import DefinitionOrder, ImportsApart
from .idle import DeadCode, UnusedImports
from .keyword_order import KeywordOrder
from .layout import Brackets, Indentation, JoinedLines, LineEnds, Remarks, Semicolons
from .moved import InFunction, NamedConstants
from .spelling import (
    FreshNames,
    StyledBlankLines,
    StyledBreaks,
    StyledComments,
    StyledDocstrings,
    StyledKeywords,
    StyledLiterals,
    StyledNames,
)
from .structure import (
    ConditionalStatements,
    EndlessLoops,
    NamedReturns,
    SwappedBranches,
    UnderIf,
)

__all__ = ["REWRITES", "Amount", "Choice", "Rewrite", "RewriteExample", "rewrite_all", "rewritten"]

REWRITES: tuple[Rewrite, ...] = (
    StyledBlankLines(),
    StyledComments(),
    Remarks(),
    Brackets(),
    StyledBreaks(),
    StyledLiterals(),
    StyledDocstrings(),
    Semicolons(),
    JoinedLines(),
    LineEnds(),
    Indentation(),
    StyledNames(),
    FreshNames(),
    StyledKeywords(),
    KeywordOrder(),
    ImportsApart(),
    UnusedImports(),
    DeadCode(),
    UnderIf(),
    EndlessLoops(),
    SwappedBranches(),
    ConditionalStatements(),
    NamedReturns(),
    Counters(),
    NamedConstants(),
    DefinitionOrder(),
    InFunction(),
)
"""From the plainest to the one that moves most."""


def rewrite_all(
    files: Mapping[str, str], entrypoint: str, steps: Iterable[tuple[Rewrite, Choice]]
) -> dict[str, str]:
    """The files after several rewrites, one after the other. Never raises on what the files hold."""
    current = dict(files)
    for rewrite, choice in steps:
        current = rewritten(current, entrypoint, rewrite, choice)
    return current
