"""Breakpoints and what else `pdb` remembers of an episode."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ...mutators.workspace import split_lines
from ..diffs import changed_blocks
from ..workbench import Workbench

NOTE = "pdb"


@dataclass(frozen=True)
class Breakpoint:
    """file: relative to the workspace. line: from 1. temporary: gone after its first stop."""

    file: str
    line: int
    condition: str | None = None
    temporary: bool = False
    enabled: bool = True

    def __str__(self) -> str:
        rest = [f" if {self.condition}"] if self.condition else []
        rest += [" (temporary)"] if self.temporary else []
        rest += [] if self.enabled else [" (disabled)"]
        return f"{self.file}:{self.line}{''.join(rest)}"


@dataclass(frozen=True)
class Debugging:
    """A debugger session: nothing of it lives but this.

    began_with: breakpoints when it began. commands: all so far. breakpoints: those there are now. at: where
    the job stands after these commands, "" before the first. news: what the agent has to be told.
    """

    began_with: tuple[Breakpoint, ...] = ()
    commands: tuple[str, ...] = ()
    breakpoints: tuple[Breakpoint, ...] = ()
    at: str = ""
    news: tuple[str, ...] = ()

    def anew(self) -> Debugging:
        """A session that begins, with the breakpoints of this one."""
        return Debugging(self.breakpoints, (), self.breakpoints, "", self.news)


def debugging(workbench: Workbench) -> Debugging:
    """The session of an episode."""
    found = workbench.notes.get(NOTE)
    return found if isinstance(found, Debugging) else Debugging()


def marked_lines(workbench: Workbench, path: str) -> frozenset[int]:
    """The lines of a file that have a breakpoint."""
    return frozenset(one.line for one in debugging(workbench).breakpoints if one.file == path)


def after_edit(session: Debugging, path: str, before: str, after: str) -> Debugging:
    """The session after a file was changed: it begins anew, its breakpoints are where their lines went."""
    if not session.commands and not session.breakpoints:
        return session
    kept, news = [], list(session.news)
    if session.commands and not news:
        news.append("The working copy was changed: the session begins anew.")
    places = _moved(before, after, [one.line for one in session.breakpoints if one.file == path])
    for one in session.breakpoints:
        line = places.get(one.line) if one.file == path else one.line
        if line is None:
            news.append(f"The breakpoint at {one} is gone: its line was removed.")
            continue
        if line != one.line:
            news.append(f"The breakpoint at {one} is now at line {line}.")
        kept.append(replace(one, line=line))
    return replace(session, breakpoints=tuple(kept), news=tuple(news)).anew()


def _moved(before: str, after: str, lines: Iterable[int]) -> dict[int, int | None]:
    """Line → where it went, None where it is gone. Of lines that were replaced by others, the first is where
    the first of those is, and so on."""
    blocks = changed_blocks(split_lines(before), split_lines(after))
    found: dict[int, int | None] = {}
    for line in set(lines):
        found[line] = None
        for _, old_start, old_end, new_start, new_end in blocks:
            if old_start < line <= old_end and line - old_start <= new_end - new_start:
                found[line] = line - old_start + new_start
    return found
