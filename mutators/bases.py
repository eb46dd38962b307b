"""Where a variant starts: a job of the library as another engineer would have written it.

First what another engineer may have decided otherwise: one of the honest alternatives with which the job's
band was measured (sizes, hyper-parameters, another norm or optimizer). Then how the same thing may be
written: another structure, another style. Last what only looks wrong (`distractors`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..clean_scripts.alternatives import alternatives
from ..clean_scripts.library import load_job, sources
from ..seeds import DRAWS, Draw
from .analysis import Script, analyse
from .compose import Offer, Offers, offers
from .distractors import Distractor, distracted
from .phrasings import Phrasing, phrasings
from .rewrites import Choice, Rewrite, rewritten
from .rewrites.counters import Counters
from .rewrites.definitions import DefinitionOrder, ImportsApart
from .rewrites.keyword_order import KeywordOrder
from .rewrites.moved import InFunction
from .rewrites.structure import NamedReturns, SwappedBranches
from .styles import restyle
from .workspace import Workspace

STYLE_COUNT = 32
"""Bases a job has. Each is made and analysed once, which costs half a second and more, and what came of it is
kept: then bugs are spliced in at full speed."""

KEPT = 1024
"""Bases that are remembered, some tens of kilobytes each: all of 32 jobs."""

ANALYSED = 4
"""Bases whose syntax trees are remembered, a megabyte or two each, for those who ask for `Base.script`."""

STRUCTURES: tuple[Rewrite, ...] = (
    DefinitionOrder(),
    ImportsApart(),
    KeywordOrder(),
    Counters(),
    NamedReturns(),
    SwappedBranches(),
    InFunction(),
)
"""Rewrites that leave code which a person could have written. Each is taken with probability one third."""


@dataclass(frozen=True)
class Base:
    """What one number stands for.

    workspace: the result. alternative: which of the job's honest alternatives it is, "" for the job itself;
    origin: its sources. structures: names of the rewrites. offers: every bug that can be put into it, edits
    and all. phrasings: where a variant may say something otherwise.
    """

    workspace: Workspace
    origin: Workspace
    alternative: str
    structures: tuple[str, ...]
    distractors: tuple[Distractor, ...]
    offers: Offers
    phrasings: tuple[Phrasing, ...]

    @property
    def script(self) -> Script:
        """The workspace, analysed again unless that was done lately."""
        return analysed(self.workspace)


@lru_cache(maxsize=KEPT)
def base(name: str, style: int) -> Base:
    """One base of a job, `style` in [0, STYLE_COUNT); kept."""
    draw = Draw("base", DRAWS, name, style)
    chosen, varied = alternative(name, draw)
    structures, plain = restructured(varied, draw.child("structure"))
    styled = analyse(restyle(plain, draw.child("style")))
    workspace, distractors = distracted(styled, draw.child("distractors"))
    script = styled if workspace == styled.workspace else analyse(workspace)
    settled = {bug: tuple(map(Offer.settled, found)) for bug, found in offers(script).items()}
    return Base(workspace, varied, chosen, structures, distractors, settled, phrasings(script))


@lru_cache(maxsize=ANALYSED)
def analysed(workspace: Workspace) -> Script:
    """A workspace analysed, remembered for a while."""
    return analyse(workspace)


def alternative(name: str, draw: Draw) -> tuple[str, Workspace]:
    """The job itself (one time in three), or one of its honest alternatives, and what that is called."""
    own = Workspace(sources(name), load_job(name).entrypoint)
    if draw.chance(1, 3, "own"):
        return "", own
    chosen = draw.choose(alternatives(name), "alternative")
    return chosen.name, Workspace.of(chosen.applied(own.files), own.entrypoint)


def restructured(workspace: Workspace, draw: Draw) -> tuple[tuple[str, ...], Workspace]:
    """The workspace after some rewrites that change no bit of what it computes, and their names."""
    files, taken = dict(workspace.files), []
    for one in STRUCTURES:
        if not draw.chance(1, 3, one.name):
            continue
        if isinstance(one, InFunction) and "__name__" in files[workspace.entrypoint]:
            continue  # it has a main function already: nobody would write another one around all
        after = rewritten(files, workspace.entrypoint, one, Choice(draw.child(one.name), "some"))
        if after != files:
            files = after
            taken.append(one.name)
    return tuple(taken), Workspace.of(files, workspace.entrypoint)
