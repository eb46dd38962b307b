"""What could be injected into a script, where, and what was looked for in vain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from .analysis import Script, analyse
from .base import Manifestation, Mutator, Site, all_mutators
from .workspace import Workspace

LONGEST_SNIPPET = 72
"""Characters of source shown for a site."""
LONGEST_PATTERN = 44
"""Characters of source that stand for what a manifestation looks for."""
PATTERNS = 3
"""Places that a reason names; a class has a dozen ways to show."""


@dataclass(frozen=True)
class Found:
    """A site, with the line (from 1) and the source that lie there."""

    bug_class: str
    manifestation: str
    site: Site
    line: int
    snippet: str


@dataclass(frozen=True)
class Missing:
    """A manifestation without a site. pattern: what a place for it looks like, from its own example.

    failed: empty, or how the search itself went wrong in this script, which is a mistake of ours.
    """

    bug_class: str
    manifestation: str
    summary: str
    pattern: str
    failed: str = ""


@dataclass(frozen=True)
class Survey:
    """All sites of a script in the order of the classes, and all manifestations that have none."""

    found: tuple[Found, ...]
    missing: tuple[Missing, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The bug classes that have sites, sorted."""
        return tuple(sorted({one.bug_class for one in self.found}))

    def reasons(self) -> dict[str, str]:
        """Bug class → one line: why it has no site in this script."""
        able = set(self.classes)
        return {
            one.bug_class: _reason([miss for miss in self.missing if miss.bug_class == one.bug_class])
            for one in all_mutators()
            if one.bug_class not in able
        }


def survey(script: Script) -> Survey:
    """Ask every manifestation of every class for its sites."""
    found: list[Found] = []
    missing: list[Missing] = []
    for owner in all_mutators():
        for way in owner.manifestations:
            sites, failed = sites_of(script, way)
            found += [_found(script, owner, way, site) for site in sites]
            if not sites:
                missing.append(Missing(owner.bug_class, way.name, way.summary, pattern(way), failed))
    return Survey(tuple(found), tuple(missing))


def sites_of(script: Script, way: Manifestation) -> tuple[list[Site], str]:
    """A manifestation's sites, and how the search failed where it did: code that nobody here has seen must
    not end a command with a traceback."""
    try:
        return way.sites(script), ""
    except Exception as error:
        return [], f"{type(error).__name__}: {error}"[:200]


def _found(script: Script, owner: type[Mutator], way: Manifestation, site: Site) -> Found:
    data = next(file.data for file in script.files if file.name == site.file)
    line = data[: site.start].count(b"\n") + 1
    return Found(
        owner.bug_class, way.name, site, line, _short(data[site.start : site.end].decode(), LONGEST_SNIPPET)
    )


@cache
def pattern(way: Manifestation) -> str:
    """The source at the site of a manifestation's own first example: what it looks for, by an instance."""
    script = analyse(Workspace.of({"train.py": way.examples[0].before}, "train.py"))
    site = way.sites(script)[0]
    return _short(script.files[0].slice(site.start, site.end), LONGEST_PATTERN)


def _reason(missing: list[Missing]) -> str:
    if failed := [one for one in missing if one.failed]:
        return f"the search for {failed[0].manifestation} failed in this script ({failed[0].failed})"
    patterns = list(dict.fromkeys(one.pattern for one in missing))
    named = ", ".join(f"`{one}`" for one in patterns[:PATTERNS])
    left = len(patterns) - PATTERNS
    more = f" and {left} more kind{'s' if left > 1 else ''}" if left > 0 else ""
    return f"looked for places like {named}{more}: none here where a change would fail"


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
