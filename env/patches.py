"""Applying a unified diff that a language model wrote.

Models copy lines well and count badly. So a hunk is found by the lines it keeps and removes, and the numbers
of its `@@` line only choose between places that look alike. What is ambiguous is refused, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..errors import UsageError
from ..grader.runner.folder import checked_path
from ..mutators.workspace import split_lines
from .models import ActionRefused
from .patch_reader import LONGEST_SHOWN, Hunk, Section, quoted, read_patch

MOST_CHARACTERS = 1 << 20
"""Of a patch."""
MOST_COMPARISONS = 3_000_000
"""Of lines, for one file: some tenths of a second."""
NEAR = 10
"""Lines around the stated one within which a single match is preferred to others further away."""

_NOTHING = "/dev/null"


def apply_patch(files: Mapping[str, str], patch: str) -> dict[str, str]:
    """path → new text of the files that a unified diff changes; nothing is changed in place.

    Raises:
        ActionRefused: it is no diff, is too large, names a file that is not there or may not be, or a hunk
            fits nowhere or in several places; the message says where, and what stands there instead.
    """
    if len(patch) > MOST_CHARACTERS:
        raise ActionRefused(f"the patch is larger than {MOST_CHARACTERS >> 20} Mi characters")
    sections = read_patch(patch)
    if not sections:
        raise ActionRefused(
            "the patch holds no hunk: a unified diff was expected, with `--- a/FILE`, `+++ b/FILE` and hunks "
            "that begin with `@@ -LINE,COUNT +LINE,COUNT @@`"
        )
    found = dict(files)
    for section in sections:
        path = _target(section, found)
        found[path] = _apply(found.get(path, ""), section.hunks, path)
    return {path: text for path, text in found.items() if files.get(path) != text}


def _target(section: Section, files: Mapping[str, str]) -> str:
    """The path that a section changes."""
    names = ", ".join(list(files)[:20])
    if section.new == _NOTHING:
        raise ActionRefused(f"a file cannot be deleted by a patch: {section.old[:LONGEST_SHOWN]!a}")
    if not section.new:
        if len(files) == 1:
            return next(iter(files))
        raise ActionRefused(
            f"a hunk stands under no `--- a/FILE` and `+++ b/FILE`, and there are several files: {names}"
        )
    path = _plain(section.new, files)
    before = path if section.old == _NOTHING else _plain(section.old, files)
    shown = f"{path[:LONGEST_SHOWN]!a}"
    if path not in files and before in files:
        raise ActionRefused(f"renaming is not supported: {before[:LONGEST_SHOWN]!a} to {shown}")
    try:
        checked_path(path)
    except UsageError:
        raise ActionRefused(f"the patch names an unusable path: {shown}") from None
    if path.startswith("data/"):
        raise ActionRefused(f"data may not be changed: {shown}")
    if path not in files and any(hunk.old for hunk in section.hunks):
        raise ActionRefused(f"there is no file {shown}; there are: {names}")
    if section.old == _NOTHING and files.get(path):
        raise ActionRefused(f"{shown} is not new: a patch from {_NOTHING} cannot change it")
    return path


def _plain(name: str, files: Mapping[str, str]) -> str:
    """A header's name as a path of the workspace: with or without the prefix that git writes."""
    short = name.removeprefix("./")
    if short not in files and re.match(r"[ab]/.", short):
        short = short[2:].removeprefix("./")
    return short


@dataclass(frozen=True, order=True)
class _Place:
    """Where a hunk begins, from 0, its number in its file, and whether its lines stand there to the
    character."""

    at: int
    number: int
    exact: bool = True


def _apply(text: str, hunks: Sequence[Hunk], path: str) -> str:
    """Each hunk is found in the text as it was, whatever their order; then all are applied."""
    finder = _Finder(split_lines(text), path)
    places: list[_Place] = []
    drift = 0
    for number, hunk in enumerate(hunks, 1):
        place = finder.place(hunk, number, drift)
        if hunk.start is not None:
            drift = place.at + (not hunk.empty) - hunk.start
        places.append(place)
    places.sort()
    for one, other in pairwise(places):
        if one.at + len(hunks[one.number - 1].old) > other.at:
            raise ActionRefused(f"{path}: hunks {one.number} and {other.number} change the same lines")
    return _spliced(finder.lines, hunks, places)


def _spliced(lines: Sequence[str], hunks: Sequence[Hunk], places: Sequence[_Place]) -> str:
    ending = "\r\n" if lines and all(one.endswith("\r\n") for one in lines[:-1] or lines) else "\n"
    found: list[str] = []
    done = 0
    for place in places:
        found += lines[done : place.at]
        done = place.at
        for sign, text, ends in hunks[place.number - 1].body:
            if sign == "+":
                content, end = (text, "\n") if place.exact else (text.removesuffix("\r"), ending)
                found.append(content + ("" if ends else end))
                continue
            if sign == " ":
                found.append(lines[done])
            done += 1
    found += lines[done:]
    # only the last line may lack its end
    return "".join(one if one.endswith("\n") else one + ending for one in found[:-1]) + "".join(found[-1:])


class _Finder:
    """Finds hunks in the lines of one file, within a number of comparisons."""

    def __init__(self, lines: list[str], path: str) -> None:
        self.lines = lines
        self._path = path
        self._left = MOST_COMPARISONS
        self._levels = ([one.removesuffix("\n") for one in lines], [one.rstrip() for one in lines])
        self._index: list[dict[str, list[int]] | None] = [None, None]

    def place(self, hunk: Hunk, number: int, drift: int) -> _Place:
        """The one place that fits, looked for from the stated one outwards.

        Raises:
            ActionRefused: there is none, or there are several.
        """
        old = hunk.old
        if not old:
            return _Place(self._insertion(hunk, number), number)
        stated = [] if hunk.start is None else [hunk.start - 1 + drift, hunk.start - 1]
        bare = [one.rstrip() for one in old]
        for level, wanted in enumerate((old, bare)):
            at = self._search(level, wanted, stated, number)
            if at is not None:
                return _Place(at, number, exact=level == 0)
        raise ActionRefused(f"{self._path}, hunk {number}: {self._mismatch(bare, stated)}")

    def _insertion(self, hunk: Hunk, number: int) -> int:
        if not self.lines:
            return 0
        if hunk.empty and hunk.start is not None and hunk.start <= len(self.lines):
            return hunk.start
        raise ActionRefused(
            f"{self._path}, hunk {number}: it has no line that is kept or removed, so its place is unknown; "
            "give some lines of context"
        )

    def _search(self, level: int, wanted: list[str], stated: Sequence[int], number: int) -> int | None:
        for at in stated:
            if self._stands(level, wanted, at):
                return at
        around = range(stated[0] - NEAR, stated[0] + NEAR + 1) if stated else range(0)
        near = [at for at in around if self._stands(level, wanted, at)]
        if len(near) == 1:
            return near[0]
        found: list[int] = []
        for at in self._candidates(level, wanted):
            if self._stands(level, wanted, at):
                found.append(at)
                if len(found) > 5:
                    break
        if len(found) > 1:
            places = ", ".join(str(at + 1) for at in found[:5]) + (", …" if len(found) > 5 else "")
            raise ActionRefused(
                f"{self._path}, hunk {number}: its lines stand in several places (lines {places}), none "
                "of them where it says; give more lines of context, or the right line"
            )
        return found[0] if found else None

    def _stands(self, level: int, wanted: list[str], at: int) -> bool:
        """Whether these lines stand at a place; counts what that costs."""
        lines = self._levels[level]
        if at < 0 or at + len(wanted) > len(lines):
            return False
        if lines[at] != wanted[0]:
            self._spend(1)
            return False
        self._spend(len(wanted))
        return lines[at : at + len(wanted)] == wanted

    def _spend(self, comparisons: int) -> None:
        self._left -= comparisons
        if self._left < 0:
            raise ActionRefused(
                f"{self._path}: looking for the hunks takes too long, their lines stand in too many places; "
                "state the right lines"
            )

    def _candidates(self, level: int, wanted: list[str]) -> Iterator[int]:
        """Places that have the rarest of the lines where it should be."""
        index = self._index[level]
        if index is None:
            index = self._index[level] = {}
            for at, line in enumerate(self._levels[level]):
                index.setdefault(line, []).append(at)
        offset = min(range(len(wanted)), key=lambda here: len(index.get(wanted[here], ())))
        return (at - offset for at in index.get(wanted[offset], ()))

    def _mismatch(self, wanted: list[str], stated: Sequence[int]) -> str:
        """Which line was expected, and what stands there instead, at the place that fits best."""
        lines, index = self._levels[1], self._index[1] or {}
        anchors = {at for at in stated if 0 <= at < len(lines)}
        for here, line in enumerate(wanted[:20]):
            anchors.update(at - here for at in (index.get(line, []) if line else [])[:20] if at >= here)
        if not anchors:
            line = next((one for one in wanted if one), "")
            return f"none of its lines stands in the file; expected {quoted(line)}"

        def fits(at: int) -> tuple[int, int]:
            self._spend(min(len(wanted), 200))
            equal = sum(one == other for one, other in zip(wanted[:200], lines[at : at + 200], strict=False))
            return equal, -min((abs(at - one) for one in stated), default=0)

        best = max(sorted(anchors), key=fits)
        for at, line in enumerate(wanted, best):
            if at >= len(lines):
                return f"expected {quoted(line)} at line {at + 1}, where the file has ended"
            if lines[at] != line:
                return f"expected {quoted(line)} at line {at + 1}, where {quoted(lines[at])} stands"
        return "its lines do not stand in the file as they should"
