"""A manifestation told in one method: the places, and for each the ways in which it can go wrong there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import libcst as cst

from .analysis import Script, fact
from .base import Manifestation, Site
from .workspace import Edit

Alternatives = Sequence[Iterable[Edit]]
Candidates = Iterator[tuple[cst.CSTNode, Alternatives]]


class Listed(Manifestation):
    """A subclass lists its candidates; sites, their order and the lookup of edits follow from that.

    The list is made once per script, so that the edits of a chosen site are a look-up.
    """

    @abstractmethod
    def candidates(self, script: Script) -> Candidates:
        """Nodes that describe a place, each with its alternatives (edits that belong together).

        Pure, in any order. A node named twice has the alternatives of both; one without any is no site.
        """

    def sites(self, script: Script) -> list[Site]:
        return sorted(_listed(script, self))

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        return _listed(script, self)[site][choice]


@fact
def _listed(script: Script, manifestation: Listed) -> dict[Site, list[tuple[Edit, ...]]]:
    merged: dict[cst.CSTNode, list[tuple[Edit, ...]]] = {}
    for node, alternatives in manifestation.candidates(script):
        known = merged.setdefault(node, [])
        known += [one for edits in alternatives if (one := tuple(sorted(edits))) not in known]
    return {script.site(node, len(found)): found for node, found in merged.items() if found}
