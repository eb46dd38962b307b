"""One manifestation, site and choice for each bug class asked for, so that all edits go together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import MldebugError, SpliceError
from ..seeds import Draw
from .analysis import Script, fact
from .base import Manifestation, Mutator, Site, all_mutators, mutator
from .workspace import Edit, splice

TRIES = 32
"""Draws before a combination is called impossible. Sites of different classes seldom touch: where half of
all pairs of sites overlapped, 32 draws would all fail once in 4e9 requests."""


class NoCompositionError(MldebugError):
    """The sites of the bug classes overlap in every draw that was made, or one class has none."""


@dataclass(frozen=True)
class Injection:
    """One bug as it was injected: the truth about it."""

    bug_class: str
    manifestation: str
    site: Site
    choice: int
    edits: tuple[Edit, ...]


def edits_of(injections: Iterable[Injection]) -> tuple[Edit, ...]:
    """The edits of several injections together, sorted."""
    return tuple(sorted(edit for one in injections for edit in one.edits))


def only(injections: Iterable[Injection], bug_class: str) -> tuple[Injection, ...]:
    """The injections of one class: a compound is validated with each of its bugs alone."""
    return tuple(one for one in injections if one.bug_class == bug_class)


def without(injections: Iterable[Injection], bug_class: str) -> tuple[Injection, ...]:
    """All injections but those of one class: the compound with that bug fixed."""
    return tuple(one for one in injections if one.bug_class != bug_class)


def hostable(script: Script) -> dict[str, list[tuple[str, list[Site]]]]:
    """Bug class → its manifestations that have sites in this script, with the sites; [] where none has."""
    return {
        one.bug_class: [(found.name, list(sites)) for found, sites in _offers(script, one)]
        for one in all_mutators()
    }


def compose(script: Script, bugs: Sequence[str], draw: Draw) -> tuple[Injection, ...]:
    """An injection for each class (canonical names, in any order), sorted by class.

    A class first draws one of its manifestations that have sites here, each equally likely, then a site,
    then a choice. What one class draws does not depend on which others were asked for, unless their edits
    overlap or the file would not compile: then all of them draw again.

    Raises:
        NoCompositionError: a class has no site here, or no draw of `TRIES` went together.
    """
    names = sorted(set(bugs))
    offers = {name: _offers(script, mutator(name)) for name in names}
    if missing := [name for name in names if not offers[name]]:
        raise NoCompositionError(f"no site for {', '.join(missing)} in {script.workspace.entrypoint}")
    reason = ""
    for attempt in range(TRIES):
        picked = tuple(_pick(script, name, offers[name], draw.child(name, attempt)) for name in names)
        try:
            splice(script.workspace, edits_of(picked))
        except SpliceError as error:
            reason = str(error)
            continue
        return picked
    raise NoCompositionError(f"{', '.join(names)} do not go together after {TRIES} draws: {reason}")


@fact
def _offers(script: Script, owner: type[Mutator]) -> tuple[tuple[Manifestation, tuple[Site, ...]], ...]:
    found = ((one, tuple(one.sites(script))) for one in owner.manifestations)
    return tuple((one, sites) for one, sites in found if sites)


def _pick(
    script: Script, bug_class: str, offers: tuple[tuple[Manifestation, tuple[Site, ...]], ...], draw: Draw
) -> Injection:
    manifestation, sites = draw.choose(offers, "manifestation")
    site = draw.choose(sites, "site", manifestation.name)
    choice = draw.below(site.choices, "choice", manifestation.name)
    edits = manifestation.edits(script, site, choice)
    return Injection(bug_class, manifestation.name, site, choice, tuple(sorted(edits)))
