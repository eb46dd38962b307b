"""One manifestation, site and choice for each bug class asked for, so that all edits go together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ..errors import MldebugError, SpliceError
from ..seeds import ENGINE_VERSION, ENGINES, Draw
from .analysis import Script, fact
from .base import Mutator, Site, all_mutators, mutator
from .workspace import Edit, Workspace, splice

TRIES = 32
"""Draws before a combination is called impossible. Sites of different classes seldom touch: where half of
all pairs of sites overlapped, 32 draws would all fail once in 4e9 requests."""


class NoCompositionError(MldebugError):
    """The sites of the bug classes overlap in every draw that was made, or one class has none."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Offer:
    """A manifestation that has sites in a script.

    since: the first engine that offers it. edits: of a site and a choice in [0, site.choices).
    """

    manifestation: str
    since: str
    sites: tuple[Site, ...]
    edits: Callable[[Site, int], tuple[Edit, ...]]

    def settled(self) -> Offer:
        """The same with every edit worked out, so that nobody needs the script any more."""
        known = {
            (site, choice): self.edits(site, choice) for site in self.sites for choice in range(site.choices)
        }
        return Offer(self.manifestation, self.since, self.sites, lambda site, choice: known[site, choice])


Offers = Mapping[str, tuple[Offer, ...]]
"""Bug class → its manifestations that have sites somewhere."""


def hostable(script: Script) -> dict[str, list[tuple[str, list[Site]]]]:
    """Bug class → its manifestations that have sites in this script, with the sites; [] where none has."""
    return {
        bug: [(one.manifestation, list(one.sites)) for one in found] for bug, found in offers(script).items()
    }


def offers(script: Script) -> Offers:
    """What every bug class has to offer in a script."""
    return {one.bug_class: _offers(script, one) for one in all_mutators()}


def compose(script: Script, bugs: Sequence[str], draw: Draw) -> tuple[Injection, ...]:
    """An injection for each class (canonical names, in any order) into a script; see `choose`."""
    found = {name: _offers(script, mutator(name)) for name in sorted(set(bugs))}
    return choose(script.workspace, found, bugs, draw)


def choose(
    workspace: Workspace, found: Offers, bugs: Sequence[str], draw: Draw, engine: str = ENGINE_VERSION
) -> tuple[Injection, ...]:
    """An injection for each class, sorted by class, of what a workspace offers.

    A class first draws one of its manifestations that have sites here, each equally likely, then a site,
    then a choice. What one class draws does not depend on which others were asked for, unless their edits
    overlap or the file would not compile: then all of them draw again.

    Raises:
        NoCompositionError: a class has no site here, or no draw of `TRIES` went together.
    """
    names = sorted(set(bugs))
    known = {name: offered(found[name], engine) for name in names}
    if missing := [name for name in names if not known[name]]:
        raise NoCompositionError(f"no site for {', '.join(missing)} in {workspace.entrypoint}")
    reason = ""
    for attempt in range(TRIES):
        picked = tuple(_pick(name, known[name], draw.child(name, attempt)) for name in names)
        try:
            splice(workspace, edits_of(picked))
        except SpliceError as error:
            reason = str(error)
            continue
        return picked
    raise NoCompositionError(f"{', '.join(names)} do not go together after {TRIES} draws: {reason}")


def offered(found: Iterable[Offer], engine: str) -> tuple[Offer, ...]:
    """Those of some offers that an engine knows."""
    known = ENGINES[: ENGINES.index(engine) + 1]
    return tuple(one for one in found if one.since in known)


@fact
def _offers(script: Script, owner: type[Mutator]) -> tuple[Offer, ...]:
    found = (
        Offer(one.name, one.since, tuple(one.sites(script)), partial(one.edits, script))
        for one in owner.manifestations
    )
    return tuple(one for one in found if one.sites)


def _pick(bug_class: str, found: Sequence[Offer], draw: Draw) -> Injection:
    offer = draw.choose(found, "manifestation")
    site = draw.choose(offer.sites, "site", offer.manifestation)
    choice = draw.below(site.choices, "choice", offer.manifestation)
    edits = offer.edits(site, choice)
    return Injection(bug_class, offer.manifestation, site, choice, tuple(sorted(edits)))
