"""What a mutator is, and the registry that finds them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import UsageError
from ..seeds import ENGINES

if TYPE_CHECKING:
    from .analysis import Script
    from .workspace import Edit


@dataclass(frozen=True)
class Example:
    """A complete small script before and after, shown in the docs and run by one generic test.

    `choice` picks the alternative at the first site; `files` are never touched by an example.
    """

    before: str
    after: str
    choice: int = 0


@dataclass(frozen=True, order=True, slots=True)
class Site:
    """A place where one manifestation can be injected.

    file, start, end: the byte span that describes the place (of the statement or expression, for people
        and for `truth.json`; the edits may reach further).
    qualname: the function it lies in, e.g. `Net.forward`, or `<module>`.
    choices: how many different edits the manifestation offers here (a wrong width by −1, ×2, …).
    facts: what `edits` needs to know, as sorted (name, value) pairs.
    """

    file: str
    start: int
    end: int
    qualname: str
    choices: int = 1
    facts: tuple[tuple[str, str | int], ...] = ()

    def fact(self, name: str) -> str | int:
        return dict(self.facts)[name]


class Manifestation(ABC):
    """One realistic way in which a bug class shows in code.

    Both methods are pure: they read the analysed script and nothing else. `sites` is complete and sorted;
    `edits` builds the edits for one of them.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """The sentence an engineer would say about the bug."""
    seen_in: ClassVar[str]
    """The research or report where it was seen."""
    since: ClassVar[str] = ENGINES[0]
    """The first engine that offers it: requests for an earlier one go on as if it were not there."""
    examples: ClassVar[tuple[Example, ...]]

    @abstractmethod
    def sites(self, script: Script) -> list[Site]:
        """Every place where this can be injected, sorted; empty where there is none."""

    @abstractmethod
    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        """The edits for one site; `choice` lies in [0, site.choices)."""


class Mutator:
    """A bug class: its names, its explanation and its manifestations.

    A subclass registers itself; its docstring is the explanation that people read.
    """

    bug_class: ClassVar[str]
    short: ClassVar[str]
    manifestations: ClassVar[tuple[Manifestation, ...]]

    _registry: ClassVar[dict[str, type[Mutator]]] = {}

    def __init_subclass__(cls) -> None:
        Mutator._registry[cls.bug_class] = cls

    @classmethod
    def explanation(cls) -> str:
        return " ".join((cls.__doc__ or "").split())

    @classmethod
    def manifestation(cls, name: str) -> Manifestation:
        return next(one for one in cls.manifestations if one.name == name)


def _load() -> None:
    from . import load_all

    load_all()


def bug_classes() -> tuple[str, ...]:
    """The canonical names of all atomic bug classes, sorted."""
    _load()
    return tuple(sorted(Mutator._registry))


def mutator(name: str) -> type[Mutator]:
    """The mutator of one atomic class, by its canonical name."""
    _load()
    return Mutator._registry[name]


def all_mutators() -> Iterator[type[Mutator]]:
    return (mutator(name) for name in bug_classes())


COMPOUNDS = {
    "compound_shape_device": ("shape_mismatch", "wrong_device"),
    "compound_leakage_eval": ("data_leakage", "missing_eval_mode"),
}
"""Named compounds: names that stand for more than one atomic class."""


def canonical_bugs(names: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Canonical, sorted atomic names for what a user wrote: `shape,device`, short or long names, compounds.

    Raises:
        UsageError: an unknown name, a name given twice, or none at all.
    """
    wanted = names.split(",") if isinstance(names, str) else list(names)
    shorts = {one.short: one.bug_class for one in all_mutators()}
    found: list[str] = []
    for name in (name.strip() for name in wanted):
        atoms = COMPOUNDS.get(name) or (shorts.get(name, name),)
        for atom in atoms:
            if atom not in bug_classes():
                known = ", ".join(f"{one.short} ({one.bug_class})" for one in all_mutators())
                raise UsageError(
                    f"unknown bug class {name!r}; choose from: {known}; or a compound: {', '.join(COMPOUNDS)}"
                )
            if atom in found:
                raise UsageError(f"bug class {atom!r} was asked for twice; name each class once")
            found.append(atom)
    return tuple(sorted(found))
